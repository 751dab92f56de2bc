# Control: every component gives token_budget tokens, as many as a K = 1 run on it reads:
# K x token_budget in all.
#
#     python train.py config/cpu.py config/k2.py config/constant_per_component.py
#     -> out/arxiv-cpu-k2-s0-constant
#
# The steps stay those of the budget B = token_budget, epochs x B / (block_size x windows a step),
# so an epoch is read 1/K as often. D_c is the K = 1 run with B tokens: read transfer and ambiguity,
# as P_c, in dilution, reads K x B. For config/cpu.py with K = 2: 2 x 84,000 tokens, at most 3,150
# steps x 16 windows x 100 tokens = 5,040,000 tokens, 30 epochs.
constant_per_component = True
