# All candidates at every K, as runs of sweep.py: in an order that the seed draws they are dealt
# into sets of k, for each k of --k, which divides their number. Sets of one k share nothing, and
# hold all candidates together.
# So a mean over them is over all components:
#     python sweep.py config/cpu.py --k='1 2 4 8' --seeds=0 config/dealt.py --jobs=2
import random

from configurator import join_names, split_names

assert candidates, 'a file before this one must name the candidates'
sets = ''
if isinstance(k, str):  # sweep.py's; the runs that it starts read this file too
    assert seeds.isdigit(), 'name one seed before this file, such as --seeds=0, and the k'
    _order = random.Random(int(seeds)).sample(split_names(candidates), len(split_names(candidates)))
    assert not any(len(_order) % K for K in map(int, k.split())), 'a k does not divide them'
    sets = ';'.join(join_names(_order[i:i + K]) for K in map(int, k.split())
                    for i in range(0, len(_order) - K + 1, K))
