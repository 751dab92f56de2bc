# Mixtures that a law of K is tried on, as runs of sweep.py: six sets each of 3, 4, 5 and 6 of eight
# candidates, three of 7, and all 8. The sets are drawn at random, the same ones each time:
#     python sweep.py config/cpu.py config/mixtures.py --seeds='0 1' --jobs=2
import itertools
import random

from configurator import join_names, split_names

assert candidates, 'a file before this one must name the candidates'
sets = ';'.join(join_names(names)
                for size, count in ((3, 6), (4, 6), (5, 6), (6, 6), (7, 3), (8, 1))
                for names in random.Random(size).sample(
                    [*itertools.combinations(split_names(candidates), size)], count))
