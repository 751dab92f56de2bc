# Learning curves, as runs of sweep.py: the specialists of all candidates, on the whole budget and
# on a half, a third, a quarter, a sixth and an eighth of it:
#     python sweep.py config/cpu.py config/specialists.py --seeds='0 1' --jobs=2
from configurator import join_names, split_names

assert candidates and token_budget, 'a file before this one must name them'
sets = ';'.join(f'{join_names([c])} token_budget={token_budget // part}'
                for c in split_names(candidates) for part in (1, 2, 3, 4, 6, 8))
