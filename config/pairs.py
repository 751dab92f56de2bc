# All pairs of the candidates, as runs of sweep.py:
#     python sweep.py config/cpu.py config/pairs.py --seeds='0 1' --jobs=2
import itertools

sets = ';'.join(map(','.join, itertools.combinations(candidates.split(','), 2)))
