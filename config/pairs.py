# All pairs of the candidates, as runs of sweep.py:
#     python sweep.py config/cpu.py config/pairs.py --seeds='0 1' --jobs=2
import itertools

from configurator import join_names, split_names

assert candidates, 'a file before this one must name the candidates'
sets = ';'.join(join_names(pair) for pair in itertools.combinations(split_names(candidates), 2))
