"""Where in the window K costs, and whether ΔXE has one shape over positions.

    python eval_xe.py --runs='out/*' --split=val --results_dir=results/val
    python eval_xe.py --runs='out/*' --split=test --results_dir=results/test
    python studies/positions.py --train=results/val --test=results/test

D_c(S, t) = XE_c(M_S, t) - XE_c(P_c, t) in nats, as in fit_law.py but at each position t. It prints

1. D in bins of t by K, means over components of their means, with standard errors over components;
2. how well D of one half of the documents (--train) says D of the other (--test), of the same runs,
   as a root mean square error in nats: from its mean over positions alone ('constant'), from its
   best matrices of rank 1, 2 and 3 over (S, c) and bins, and from itself ('free'). Where rank 1 is
   the best, D_c(S, t) = D_c(S) g(t), one shape for all components, sets and K;
3. g in bins: the shape of rank 1, whose mean over the window's tokens is 1, with its jackknife over
   components.
"""
# -----------------------------------------------------------------------------
train = 'results/val'    # results of eval_xe.py on one split
test = 'results/test'    # of the same runs on another
# -----------------------------------------------------------------------------
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from configurator import override

override(globals())

import math

import numpy as np
import pandas as pd

from configurator import fail
from curves import log_bins
from fit_law import jackknife
from plot_xe import read_csv
from studies.parts import bin_means

def costs_by_position(folder):
    """Returns D in nats, a DataFrame with a row (k, run, component, ..) and a column a position:
    the specialist is that of the same setting, budget and seeds. Controls, tagged and unfinished
    runs, and mixtures in unequal shares, are left out. Fails where two runs of a name or two
    specialists cannot be told apart."""
    run = ['run', 'component', 'seed', 'mix_seed']
    switches = ['tag', 'shuffle_components', 'constant_per_component', 'unfinished']
    facts = read_csv(folder, 'xe_by_component', [*run, *switches]).set_index(run)
    is_equal = facts.reindex(columns=['shares'])['shares'].isna()  # older files do not have it
    facts = facts[~facts[switches].astype(bool).any(axis=1) & is_equal]
    facts = facts[['setting_hash', 'token_budget']]
    rows = read_csv(folder, 'xe_by_position').join(facts, on=run, how='inner')
    same = ['component', 'seed', 'mix_seed', 'setting_hash', 'token_budget', 'position']
    alone = rows[(rows['k'] == 1) & rows['in_training']].set_index(same)['xe'].rename('alone')
    if not (facts.index.is_unique and alone.index.is_unique):
        fail(f'{folder} has several runs of one name, or specialists of one budget and seed:'
             ' evaluate the runs that are compared by themselves (eval_xe.py --runs=..)')
    mixed = rows[(rows['k'] > 1) & rows['in_training']].join(alone, on=same)
    return mixed.assign(D=mixed['xe'] - mixed['alone']).pivot(
        index=['k', *run], columns='position', values='D').dropna()

def low_rank(D, weight, rank):
    """Returns the matrix of a rank that is nearest to D (N, B), squared errors weighed by (B,)."""
    left, size, right = np.linalg.svd(D * np.sqrt(weight), full_matrices=False)
    return (left[:, :rank] * size[:rank]) @ right[:rank] / np.sqrt(weight)

def held_out_errors(train, test, weight):
    """Returns {guess: root mean square error of test (N, B) in nats} of what is taken from train
    (N, B); each bin is weighed by its tokens, (B,)."""
    weight = weight / weight.sum()
    guesses = {'constant': np.repeat((train @ weight)[:, None], len(weight), axis=1),
               **{f'rank {r}': low_rank(train, weight, r) for r in (1, 2, 3)}, 'free': train}
    return {name: math.sqrt((((guess - test)**2) @ weight).mean())
            for name, guess in guesses.items()}

def shape(D, weight):
    """Returns g (B,): the shape over bins of the nearest matrix of rank 1; its mean is 1."""
    row = low_rank(D, weight, 1)[np.argmax(np.abs(D @ weight))]
    return row / (row @ weight / weight.sum())

if __name__ == '__main__':
    D, other = costs_by_position(train), costs_by_position(test)
    there = D.index.intersection(other.index)
    if len(there) < 4:
        fail(f'{train} and {test} have {len(there)} components of mixtures in common that have'
             ' specialists: evaluate the same runs on two splits')
    D, other = D.loc[there], other.loc[there]
    weight = np.bincount(log_bins(D.shape[1])).astype(float)  # tokens in each bin
    binned, other = bin_means(D), bin_means(other)
    names = binned.columns
    binned, other = binned.to_numpy(), other.to_numpy()
    components = D.index.get_level_values('component')

    means = pd.DataFrame((binned + other) / 2, D.index, names).groupby(['k', 'component']).mean()
    by_k = means.groupby('k')
    print('D in nats by K and tokens of context, and its standard error over components')
    print((by_k.mean().map('{:.3f}'.format) + ' ± ' + by_k.sem().map('{:.3f}'.format)).to_string())
    print('\nD of one half of the documents, by what the other half says: error in nats')
    ks = D.index.get_level_values('k')
    print(pd.DataFrame({K: held_out_errors(binned[chosen], other[chosen], weight)
                        for K, chosen in [('all', ks > 0), *((K, ks == K) for K in sorted({*ks}))]
                        if chosen.sum() > 3}).T.to_string(float_format='{:.4f}'.format))
    both = (binned + other) / 2
    g = shape(both, weight)
    se = jackknife(np.stack([shape(both[components != c], weight) for c in sorted({*components})]))
    print('\ng(t), the shape of rank 1, ± its standard error: ' + ', '.join(
        f'{name} {x:.2f} ± {s:.2f}' for name, x, s in zip(names, g, se)))
