# Control: documents are dealt to the components at random, so that no component differs from
# another but by chance.
#
#     python train.py config/cpu.py config/k2.py config/shuffled.py
#     -> out/arxiv-cpu-k2-s0-shuffled
#
# Budget, windows and steps are those of the run without it, and P_c, D_c and M_tag are trained on
# the dealt documents too. There is nothing to infer: ambiguity must be zero within its interval.
# The sum of dilution and transfer is then zero too, for a mixture of the K components is B tokens
# of one source, as P_c is.
shuffle_components = True
