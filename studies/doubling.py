"""What do twice as many components cost? By seed, without a specialist.

    python studies/doubling.py 'studies/law/k32-[012]*.csv.gz,studies/law/large.csv.gz'

The files are eval_xe.py's, patterns with commas between; mixtures in equal shares count, those of
the largest budget. XE_c of the mixtures of 2 K that hold c, in the mean, less that of those of K,
in nats: XE_c(P_c) stands in both ΔXE, and cancels. Prints for each K and seed the mean over the n
components that have both, and its standard error over them; those of one seed share documents,
weights and models, so the last row of each K has the mean over n seeds, its standard error over
seeds, and half of its t-interval of 95%.
"""
import os
import sys

import numpy as np
import pandas as pd
import scipy.stats

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from configurator import fail
from fit_law import read_results

def doublings(rows):
    """Returns, of read_results' rows, a DataFrame with K, seed and mix_seed (of their mean: ''),
    the number of components (of seeds), the mean, its standard error and, of the mean over seeds,
    the half width of its interval, in nats. Fails where no mixture is twice another."""
    rows = rows[[len(S) > 1 and len({h for _, h in S}) == 1 and c in dict(S)
                 for S, c in zip(rows['mixture'], rows['component'])]]
    rows = rows[rows['tokens'] == rows['tokens'].max()]
    xe = rows.assign(K=rows['mixture'].map(len)).pivot_table(
        'xe', ['seed', 'mix_seed', 'component'], 'K')
    found = []
    for K in xe:
        if 2 * K not in xe:
            continue
        cost = (xe[2 * K] - xe[K]).dropna().groupby(['seed', 'mix_seed'])
        means = cost.mean()
        found += [(K, *map(int, seeds), n, mean, se, np.nan) for seeds, n, mean, se in zip(
            means.index, cost.size(), means, cost.sem())]
        if len(means) > 1:
            half = scipy.stats.t.ppf(0.975, len(means) - 1) * means.sem()
            found.append((K, '', '', len(means), means.mean(), means.sem(), half))
    if not found:
        fail('no component is in mixtures of K and of 2 K, in equal shares and of the same seeds')
    return pd.DataFrame(found, columns='K,seed,mix_seed,n,from K to 2 K,se,+-'.split(','))

if __name__ == '__main__':
    if len(sys.argv) != 2:
        fail('name the files of mixtures, in one argument')
    print(doublings(read_results(sys.argv[1])).to_string(
        index=False, float_format='{:.4f}'.format, na_rep=''))
