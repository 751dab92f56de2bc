"""The parts of ΔXE from many mixtures: dilution, transfer and ambiguity by K and tokens of context.

    python eval_xe.py --runs='out/*' --results_dir=results/parts     # mixtures and their parts
    python studies/parts.py results/parts/decomposition.csv

The files are eval_xe.py's. A mixture is one value, the mean over its components, and a mean over n
mixtures has a 95% t-interval over them. Sets that are dealt share no component within a mix_seed,
but their weights start alike, and another mix_seed has the components again; so `seeds` has one
over the means of mix_seeds, and `p` says whether these differ by more than their mixtures do.
Printed are, for each split, setting and K, mean and half-width of the interval in nats a token,
over the window and in bins of context; of the ambiguity also how many tokens of context make the
component as good as known: from there on the interval of each bin lies within 0.01 nats of zero.
`less K = 2` is the ambiguity less that at K = 2. Where the files have the shuffled control of a
setting and K too, whose tags say nothing, `less control` is the ambiguity less the control's: what
knowing the component is worth without what a tag costs or brings in training. Intervals of such
differences are Welch's, those of `seeds` of the differences in the mix_seeds that both have.
"""
import math
import os
import sys

import numpy as np
import pandas as pd
import scipy.stats

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from configurator import fail
from curves import OWN_COLUMNS, TERMS, log_bins, t_interval

KIND = ['dataset', 'split', *OWN_COLUMNS, 'setting_hash', 'k']  # of mixtures whose mean is taken
KNOWN = 0.01  # nats: less ambiguity than this at both ends of an interval is as good as none

def by_mixture(path, term):
    """Returns a term in nats a token, a DataFrame with a row for each run and mix_seed, of a KIND,
    and a column for each position, of a decomposition.csv; without rows where no mixture has the
    runs that the term is made of. Fails where it is no decomposition.csv."""
    index = [*KIND, 'run', 'mix_seed']
    try:
        rows = pd.read_csv(path, dtype={'shares': str, 'setting_hash': str})
        rows = rows[[*index, 'component', 'position', term]].fillna(
            {'shares': '', 'setting_hash': ''})
    except (OSError, ValueError, KeyError, EOFError) as e:
        fail(f'{path} is no decomposition.csv of eval_xe.py as it is now ({e})')
    rows = rows[rows['component'].isna()].dropna(subset=['position', term])
    if rows.duplicated([*index, 'position']).any():
        fail(f'{path}: a run is there twice')
    return rows.astype({'position': int}).pivot(index=index, columns='position', values=term)

def bin_means(values):
    """Returns the means of values (N, T), a DataFrame, over bins of tokens of context, a DataFrame
    (N, B) whose columns are the names of the bins: '0', '1', '2-3' .."""
    bins = log_bins(values.shape[1])
    ends = [np.flatnonzero(bins == b)[[0, -1]] for b in bins]
    names = [f'{first}-{last}' if last > first else f'{first}' for first, last in ends]
    return values.T.groupby(names, sort=False).mean().T

def window_and_bins(values):
    """Returns bin_means with a column 'all' before them, the mean over the window."""
    return pd.concat([values.mean(axis=1).rename('all'), bin_means(values)], axis=1)

def summarise(values):
    """Returns a DataFrame of by_mixture's mixtures, of one K, with a row for the window, 'all', and
    for each bin of tokens of context: mean, low and high of its 95% interval, in nats."""
    return pd.DataFrame({name: (x.mean(), *t_interval(x))
                         for name, x in window_and_bins(values).items()},
                        index=['mean', 'low', 'high']).T

def difference(values, others):
    """Returns summarise's DataFrame of the mean of mixtures less that of others: 95% intervals of a
    difference of two means with unequal variances (Welch 1947)."""
    a, b = window_and_bins(values), window_and_bins(others)
    low, high = scipy.stats.ttest_ind(a, b, equal_var=False).confidence_interval()
    return pd.DataFrame({'mean': a.mean() - b.mean(), 'low': low, 'high': high})

def seed_means(values):
    """Returns the means over the window and the mixtures of each mix_seed, a Series by mix_seed."""
    return values.mean(axis=1).groupby(level='mix_seed').mean()

def seeds_p(values):
    """Returns the p of the one-way analysis of variance (Fisher) of mixtures' means over the window
    by mix_seed; nan of a single mix_seed, or where each has one mixture."""
    groups = [group for _, group in values.mean(axis=1).groupby(level='mix_seed')]
    return scipy.stats.f_oneway(*groups).pvalue if 1 < len(groups) < len(values) else math.nan

def cells(mixtures, table, seeds):
    """Returns a line of what is printed, a dict: the number of mixtures, {bin: 'mean ± half-width'}
    of a table of summarise, and of two or more seeds (S,) the same over them."""
    def text(mean, high):
        return f'{mean:+.4f} ± {high - mean:.4f}'

    return {'mixtures': len(mixtures),
            **{name: text(row['mean'], row['high']) for name, row in table.iterrows()},
            'seeds': text(seeds.mean(), t_interval(seeds)[1]) if len(seeds) > 1 else '-'}

def known_from(table):
    """Returns the tokens of context from which on the component is as good as known, or None, by
    the ambiguity that summarise returns."""
    found = None
    for name, row in table.drop('all').iloc[::-1].iterrows():
        if max(-row['low'], row['high']) > KNOWN:
            break
        found = int(name.partition('-')[0])
    return found

if __name__ == '__main__':
    paths, found = sys.argv[1:] or ['results/decomposition.csv'], {}
    for term in TERMS:
        values = pd.concat([by_mixture(path, term) for path in paths])
        if values.index.has_duplicates:
            fail(f'{" ".join(paths)}: a run is there twice: leave one of the files out')
        groups = {key: group for key, group in values.groupby(level=KIND) if len(group) > 1}
        for key, mixtures in groups.items():
            table, seeds = summarise(mixtures), seed_means(mixtures)
            found[term, *key] = cells(mixtures, table, seeds) | {'p': round(seeds_p(mixtures), 3)}
            if term != 'ambiguity':
                continue
            found[term, *key]['known from'] = known_from(table)
            others = {f'less K = {other[-1]}': other for other in groups
                      if other[:-1] == key[:-1] and other[-1] < key[-1]}
            control = tuple(name == 'shuffle_components' or x for name, x in zip(KIND, key))
            if control != key and control in groups:
                others['less control'] = control
            for name, other in others.items():
                found[name, *key] = cells(mixtures, difference(mixtures, groups[other]),
                                          (seeds - seed_means(groups[other])).dropna())
    if not found:
        fail(f'{" ".join(paths)}: no two mixtures of a K with tagged or diluted runs (sweep.py'
             ' --parts_of= trains them)')
    print('nats a token, over the window and by tokens of context, with 95% intervals')
    table = pd.DataFrame(found).T.rename_axis(['', *KIND])
    alike = [name for name in KIND[:-1] if table.index.get_level_values(name).nunique() == 1]
    print(table.droplevel(alike).to_string(na_rep='-'))
