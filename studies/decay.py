"""How XE falls with the context, and whether ΔXE and its terms are zero: fits and tests on
results/.

    python eval_xe.py --dump=True   # results/*.csv, and out/<run>/xe_windows.npz
    python studies/decay.py         # prints two tables, and writes results/decay.csv
    python studies/decay.py --runs='out/demo*' --results_dir=results/demo

A row is a setting and K. Its mean XE over runs is fitted by a + b n^-c (power_a ..) and by
a + b exp(-n / c) (exponential_a ..) from n = 1 token of context on. power_error is a chi-squared:
about the number of bins minus 3 where the form is true. power_gain says how much likelier documents
that were held out are by the power law, nats in all, each tenth of them by a fit to the other nine;
better_fit is 'not decided' where its interval, t over the tenths, holds zero. delta_p, dilution_p
and so on are t-tests that ΔXE, or that term, is zero: over the sets of components where there are
several, else over the runs of one, with Holm's correction for the K's of a setting.
"""
# -----------------------------------------------------------------------------
runs = 'out/*'           # folders of the runs, a pattern; several with commas between
results_dir = 'results'  # where eval_xe.py wrote its CSV files, and decay.csv goes
# -----------------------------------------------------------------------------
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from configurator import override

override(globals())

import glob

import numpy as np
import pandas as pd
import scipy.stats

from configurator import fail, random_stream, replace_file
from curves import Curve, by_set, ci_columns, cluster_bootstrap, log_bins, t_interval
from plot_xe import read_csv

FOLDS = 10
FORMS = {'power': (np.geomspace(0.1, 5, 200), lambda n, c: n**-c),
         'exponential': (np.geomspace(0.3, 300, 200), lambda n, c: np.exp(-n / c))}
TERMS = {'delta': 'delta_xe', 'dilution': 'dilution', 'transfer': 'transfer',
         'ambiguity': 'ambiguity'}  # and their columns

# -----------------------------------------------------------------------------
# fits

def fold_means(values, document, *name):
    """Returns the mean over windows of values (N, T) in each tenth of their documents, (FOLDS, T);
    nan where there are fewer documents. `name` seeds which tenth one is in.
    """
    _, document = np.unique(document, return_inverse=True)
    n = document.max() + 1
    if n < FOLDS:
        return np.full((FOLDS, values.shape[1]), np.nan)
    fold = (random_stream('folds', *name).permutation(n) % FOLDS)[document]  # (N,)
    return np.stack([values[fold == i].mean(0, dtype=np.float64) for i in range(FOLDS)])

def fit_decay(curve, folds):
    """Fits the two forms to a Curve at positions n >= 1, in bins that grow by a factor of about
    1.4. Squared errors are weighed by the inverse of the bins' covariance over resamples, for a
    document that is hard is hard in all of them. a and b are exact for each of 200 values of c; c
    is the best of those.

    Returns {form: (a, b, c, error, held_out)}. The first four are (1 + RESAMPLES,), of the curve,
    then of its resamples; error is a chi-squared of bins - 3 degrees of freedom where the form is
    true. held_out (FOLDS,) is that of each of the folds (FOLDS, T), of a fit to the nine others.
    """
    T = len(curve.mean)
    n, bins = np.arange(1, T), np.unique(log_bins(T, 2)[1:], return_inverse=True)[1]
    in_bin = bins == np.arange(bins.max() + 1)[:, None]
    member = in_bin / np.bincount(bins)[:, None]  # (bins, T - 1): averages within a bin
    others = (folds.sum(0) - folds) / (FOLDS - 1)
    y, left_out = (x[:, 1:] @ member.T  # (1 + R + F, bins), (F, bins)
                   for x in (np.vstack((curve.mean[None], curve.boot, others)), folds))
    covariance = np.cov(curve.boot[:, 1:] @ member.T, rowvar=False)
    ridge = 1e-6 * np.trace(covariance) / len(covariance) + 1e-18
    whiten = np.linalg.inv(np.linalg.cholesky(covariance + ridge * np.eye(len(covariance))))
    y, left_out, fits = whiten @ y.T, whiten @ left_out.T, {}
    for form, (grid, f) in FORMS.items():
        X = np.stack([np.stack((np.ones(len(member)), member @ f(n, c)), axis=1) for c in grid])
        X = whiten @ X  # (C, bins, 2)
        ab = np.linalg.pinv(X) @ y  # (C, 2, 1 + R + F)
        error = ((X @ ab - y)**2).sum(1)  # (C, 1 + R + F)
        best, i = error.argmin(0), np.arange(error.shape[1])
        a, b, c, error = (x[:-FOLDS] for x in (ab[best, 0, i], ab[best, 1, i], grid[best],
                                               error[best, i]))
        of_others = (X[best[-FOLDS:]] @ ab[best[-FOLDS:], :, i[-FOLDS:], None])[:, :, 0]
        fits[form] = a, b, c, error, ((of_others.T - left_out)**2).sum(0) / FOLDS
    return fits

def fit_columns(curve, folds):
    """Returns the columns of decay.csv on fits; {} where there are no resamples, or T < 16."""
    if not np.isfinite(curve.boot).all() or len(curve.mean) < 16:
        return {}
    row, fits = {}, fit_decay(curve, folds)
    for form, (*abc, error, _) in fits.items():
        for letter, values in zip('abc', abc):
            row |= ci_columns(f'{form}_{letter}', [Curve(values[0], values[1:])])
        row[f'{form}_error'] = error[0]
    gain = FOLDS * (fits['exponential'][4] - fits['power'][4]) / 2
    low, high = t_interval(gain)
    return row | {'power_gain': gain.mean(), 'power_gain_ci_low': low, 'power_gain_ci_high': high,
                  'better_fit': 'power' if low > 0 else 'exponential' if high < 0 else
                  'not decided'}

def read_curve(folder, rows):
    """Returns (mean, resamples, folds) of a run's XE over its components, (T,), (R, T) and (FOLDS,
    T), from the dump in its folder; rows are those of xe_by_component.csv of the same run.
    """
    path = os.path.join(folder, 'xe_windows.npz')
    if not os.path.exists(path):
        fail(f'{path} is not there: write it with python eval_xe.py --dump=True')
    with np.load(path) as f:
        dumped, curves = dict(f), []
    for row in rows.to_dict('records'):
        is_mine = dumped['component'] == [*dumped['names']].index(row['component'])
        xe, document = dumped['xe'][is_mine], dumped['document'][is_mine]
        if abs(xe.mean(dtype=np.float64) - row['xe']) > 1e-6:
            fail(f'{path} is of another evaluation than {results_dir}/xe_by_component.csv: run'
                 ' python eval_xe.py --dump=True again')
        name = row['dataset'], row['split'], row['component'], row['shuffle_components']
        curves.append((*cluster_bootstrap(xe, document, *name), fold_means(xe, document, *name)))
    return mean_of(curves)

def mean_of(curves):
    """Returns the mean of tuples of arrays, a tuple."""
    return tuple(np.mean(x, axis=0) for x in zip(*curves))

# -----------------------------------------------------------------------------
# tests

def holm(p):
    """Holm's correction of p-values, (m,) to (m,): those below .05 are together wrong in at most 5%
    of experiments (Holm 1979).
    """
    order = np.argsort(p)
    corrected = np.empty(len(p))
    corrected[order] = np.maximum.accumulate(np.sort(p) * np.arange(len(p), 0, -1)).clip(max=1)
    return corrected

def p_values(numbers, sets):
    """Returns {k: p} of {k: number of each run} and {k: set of components of each}: t-tests that
    the mean is zero, over sets or over the runs of one, with Holm's correction for the K's.
    """
    tested = {}
    for k in numbers:
        groups = by_set(numbers[k], sets[k])
        values = numbers[k] if len(groups) == 1 else [np.mean(group) for group in groups]
        if k > 1 and len(values) > 1 and not np.isnan(values).any():
            tested[k] = scipy.stats.ttest_1samp(values, 0).pvalue
    return dict(zip(tested, holm([*tested.values()])))

# -----------------------------------------------------------------------------
# the table

def describe_runs(rows, terms, folders):
    """Returns rows of decay.csv of one setting, from its rows of xe_by_component.csv; `terms` are
    the rows of decomposition.csv that are means of a run, indexed by run. folders is {run: folder}.
    """
    table, numbers, sets = {}, {term: {} for term in TERMS}, {}
    for k, of_k in rows.groupby('k'):
        whole = [(run, group) for run, group in of_k.groupby('run') if len(group) == k]
        if not whole:
            continue
        sets[k] = [tuple(sorted(group['component'])) for _, group in whole]
        curves = [read_curve(folders[run], group) for run, group in whole]
        mean, boot, folds = mean_of([mean_of(of_set) for of_set in by_set(curves, sets[k])])
        table[k] = {'k': k, 'n_runs': len(whole), **fit_columns(Curve(mean, boot), folds)}
        for term, column in TERMS.items():
            numbers[term][k] = [group['delta_xe'].mean(skipna=False) if term == 'delta'
                                else terms[column].get(run, np.nan) for run, group in whole]
    for term in TERMS:
        for k, p in p_values(numbers[term], sets).items():
            table[k][f'{term}_p'] = p
    return [*table.values()]

if __name__ == '__main__':
    folders = [os.path.normpath(folder) for pattern in runs.split(',')
               for folder in glob.glob(pattern.strip())]
    folders = {name: folder for folder in folders for name in (folder, os.path.basename(folder))}
    by_component = read_csv(results_dir, 'xe_by_component', ['in_training'])
    by_component = by_component[by_component['in_training'].astype(str) == 'True']
    by_component = by_component[by_component['run'].isin(folders)]
    terms = read_csv(results_dir, 'decomposition')
    terms = terms[terms['component'].isna() & terms['position'].isna()].set_index('run')
    rows = [{'dataset': dataset, 'setting': setting, **row}
            for (dataset, setting), group in by_component.groupby(['dataset', 'setting'])
            for row in describe_runs(group, terms, folders)]
    if not rows:
        fail(f'{results_dir}/xe_by_component.csv has none of --runs={runs}')
    table = pd.DataFrame(rows)
    replace_file(os.path.join(results_dir, 'decay.csv'), table.to_csv(index=False))
    for columns in (['power_c', 'power_error', 'exponential_c', 'exponential_error', 'power_gain',
                     'better_fit'], [f'{term}_p' for term in TERMS]):
        shown = table.reindex(columns=['dataset', 'setting', 'k', 'n_runs', *columns])
        shown = shown.dropna(subset=columns, how='all')
        if len(shown):
            print(shown.to_string(index=False, float_format='{:.3g}'.format, na_rep='-'), '\n')
    print(f'{results_dir}/decay.csv has these and their intervals')
