"""How near do runs on synthetic processes come to the least possible XE? The table of
docs/results.md, and a check: exit status 1 where a run is too far from it somewhere.

    make known-answer
    python studies/known_answer.py results/known-coins results/known-mess3 results/known-markov

The folders are eval_xe.py's. Of each data set, setting and K: the number of runs; the largest
excess over the Bayes optimum in any run and any bin of positions (0, 1, 2-3, 4-7, ..), the mean
over components of a run; and the mean excess over runs with the sd of a run, in nats a token and in
percent of what context can bring, unigram XE - entropy rate.
"""
import os
import sys

import pandas as pd

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from configurator import fail
from curves import log_bins
from plot_xe import read_csv

GOAL = 0.01  # nats, in every bin
KIND = ['dataset', 'setting', 'k']  # of runs whose mean is taken

def summarise(folder):
    """Returns a DataFrame of a folder of eval_xe.py's, a row for each KIND; fails without runs."""
    rows = read_csv(folder, 'xe_by_position', ['bayes_xe']).dropna(subset='bayes_xe')
    if not len(rows):
        fail(f'{folder} has no run on synthetic processes, whose least possible XE is known')
    rows = rows.assign(excess=rows['xe'] - rows['bayes_xe'],
                       bin=log_bins(rows['position'].max() + 1)[rows['position']])
    of_run = rows.groupby([*KIND, 'run'])['excess'].mean().reset_index()
    worst = rows.groupby([*KIND, 'run', 'bin'])['excess'].mean().abs()
    means = of_run.groupby(KIND)['excess']
    vs_k = read_csv(folder, 'xe_vs_k').groupby(KIND)
    context = (vs_k['unigram_xe'].mean() - vs_k['entropy_rate'].mean()).round(9)  # 0 for one coin
    return pd.DataFrame({
        'runs': means.count(), 'worst bin': worst.groupby(KIND).max(),
        'excess': means.mean(), 'sd': means.std(),
        'percent': 100 * means.mean() / context.where(context > 0)})

if __name__ == '__main__':
    table = pd.concat(map(summarise, sys.argv[1:] or ['results']))
    print('XE above the Bayes optimum, nats a token\n' + table.reset_index().to_string(
        index=False, na_rep='', float_format='{:.4f}'.format))
    far = table[table['worst bin'] > GOAL]
    for (dataset, _, k), worst in far['worst bin'].items():
        print(f'{dataset}, K = {k}: {worst:.4f} nats off the optimum in a bin: not trained to it')
    sys.exit(1 if len(far) else 0)
