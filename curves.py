"""
Statistics of curves: means over windows, their intervals from resampling documents, and how they
stand in the CSV files of eval_xe.py.

Windows of one document resemble each other, so the unit is the document: a resample draws a
component's documents, all windows and positions of a document together. Every run is resampled
alike, so the resamples of a difference are the differences of the resamples: it is paired.
"""
import functools
import math
import os
import re
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.stats

from configurator import random_stream, replace_file

RESAMPLES, FOLDS = 1000, 10


class Curve(NamedTuple):
    """Nats by position, or another number, and the same number in each resample of documents."""
    mean: np.ndarray  # (T,), or () for a number
    boot: np.ndarray  # (RESAMPLES, T), or (RESAMPLES,)
    folds: np.ndarray = math.nan  # (FOLDS, T): the mean over each tenth of the documents

    def __sub__(self, other):
        return Curve(self.mean - other.mean, self.boot - other.boot)

    def over_positions(self):
        return Curve(self.mean.mean(-1), self.boot.mean(-1))

    def at(self, position):
        return Curve(self.mean[position], self.boot[:, position])

    def ci(self):
        """The 95% percentile interval (low, high), each of the shape of mean."""
        return np.quantile(self.boot, (0.025, 0.975), axis=0)

    def band(self):
        """
        A 95% band that holds the whole curve at once, (low, high): as many standard errors around
        it at every position as the 95% quantile over resamples of the largest |t|.
        """
        se = np.maximum(self.boot.std(0, ddof=1), 1e-12)
        reach = np.quantile(np.abs((self.boot - self.boot.mean(0)) / se).max(1), 0.95)
        return self.mean - reach * se, self.mean + reach * se


@functools.cache
def resamples(n_docs, *name):
    """How often each document is in each resample: uint16 (RESAMPLES, n_docs), fixed by name."""
    rng, p = random_stream('resample', *name), np.full(n_docs, 1 / n_docs)
    return np.stack([rng.multinomial(n_docs, p).astype(np.uint16) for _ in range(RESAMPLES)])


def cluster_bootstrap(values, cluster, *name):
    """
    Returns the Curve of the mean over windows of values (N, T). Its resamples draw clusters of
    windows, cluster (N,), with replacement; `name` seeds them. They are nan for a single cluster;
    folds are nan where there are fewer clusters.
    """
    _, cluster = np.unique(cluster, return_inverse=True)
    n = np.bincount(cluster)  # (D,) windows in each cluster
    order = np.argsort(cluster, kind='stable')
    total = np.add.reduceat(values[order].astype(np.float64), np.cumsum(n) - n, axis=0)  # (D, T)
    boot, folds = (np.full((rows, values.shape[1]), np.nan) for rows in (RESAMPLES, FOLDS))
    if len(n) > 1:  # no interval from a single document
        counts = resamples(len(n), *name).astype(np.float32)
        boot = counts @ total.astype(np.float32) / (counts @ n.astype(np.float32))[:, None]
    if len(n) >= FOLDS:
        dealt = random_stream('folds', *name).permutation(len(n)) % FOLDS
        in_fold = dealt == np.arange(FOLDS)[:, None]  # (FOLDS, D)
        folds = in_fold @ total / (in_fold @ n)[:, None]
    return Curve(total.sum(0) / n.sum(), boot, folds)


def average(curves):
    """Averages dicts {quantity: Curve}, each weighing the same, over what all of them have."""
    return {quantity: Curve(*(np.mean(x, axis=0) for x in zip(*(c[quantity] for c in curves))))
            for quantity in curves[0] if all(quantity in c for c in curves)}


def t_interval(values):
    """The 95% t-interval of the mean of independent values (n,), n >= 2: (low, high)."""
    n = len(values)
    half = scipy.stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / math.sqrt(n)
    return np.mean(values) - half, np.mean(values) + half


def by_set(values, sets):
    """Returns the values (n,) of runs in groups of one set of components, a list of lists."""
    groups = {}
    for value, names in zip(values, sets):
        groups.setdefault(names, []).append(value)
    return [*groups.values()]


def mean_over_runs(numbers, sets):
    """
    Returns (mean, (low, high), kind) of one number per run, each a Curve, and the set of components
    of each run, a tuple. Every set weighs the same. The 95% interval is for, by kind,

        draws      another draw of components, and another seed: t over the means of several sets
        seeds      these components, and other seeds: t, with the variance within a set. The
                   specialists of K = 1 are no draws of one thing, so theirs are never 'draws'
        documents  these models, and other test documents, where no set has two runs
    """
    groups = by_set([number.mean for number in numbers], sets)
    means, n = [np.mean(group) for group in groups], np.array([len(group) for group in groups])
    mean, df = np.mean(means), n.sum() - len(groups)
    if len(groups) > 1 and len(sets[0]) > 1:
        return mean, t_interval(means), 'draws'
    if df:
        variance = sum(np.var(group) * len(group) for group in groups) / df
        half = scipy.stats.t.ppf(0.975, df) * math.sqrt(variance * (1 / n).sum()) / len(n)
        return mean, (mean - half, mean + half), 'seeds'
    return mean, np.quantile(np.mean([x.boot for x in numbers], 0), (0.025, 0.975)), 'documents'


def holm(p):
    """
    Holm's correction of p-values, (m,) to (m,): those below .05 are together wrong in at most 5% of
    experiments (Holm 1979).
    """
    order = np.argsort(p)
    corrected = np.empty(len(p))
    corrected[order] = np.maximum.accumulate(np.sort(p) * np.arange(len(p), 0, -1)).clip(max=1)
    return corrected


def p_values(values):
    """
    Returns {k: p} of {k: [number of each run, or set of components]}: t-tests over them that the
    mean is zero, with Holm's correction for the K's.
    """
    p = holm([scipy.stats.ttest_1samp(numbers, 0).pvalue for numbers in values.values()])
    return dict(zip(values, p))


def log_bins(T, per_doubling=1):
    """Returns the bin of each position 0 .. T-1, (T,) int: 0, 1, 2-3, 4-7, 8-15 and so on."""
    log2 = np.log2(np.arange(1, T))
    return np.append(0, 1 + np.floor(per_doubling * log2)).astype(int)


FORMS = {'power': (np.geomspace(0.1, 5, 200), lambda n, c: n**-c),
         'exponential': (np.geomspace(0.3, 300, 200), lambda n, c: np.exp(-n / c))}


def fit_decay(curve):
    """
    Fits XE(n) = a + b n^-c ('power') and a + b exp(-n / c) ('exponential') to a Curve at positions
    n >= 1, in bins that grow by a factor of about 1.4. Squared errors are weighed by the inverse of
    the bins' covariance over resamples, for a document that is hard is hard in all of them. a and b
    are exact for each of 200 values of c; c is the best of those.

    Returns {form: (a, b, c, error, held_out)}. The first four are (1 + RESAMPLES,), of the curve,
    then of its resamples; error is a chi-squared of bins - 3 degrees of freedom where the form is
    true. held_out (FOLDS,) is that of each tenth of the documents, of a fit to the nine others.
    """
    T = len(curve.mean)
    n, bins = np.arange(1, T), np.unique(log_bins(T, 2)[1:], return_inverse=True)[1]
    in_bin = bins == np.arange(bins.max() + 1)[:, None]
    member = in_bin / np.bincount(bins)[:, None]  # (bins, T - 1): averages within a bin
    folds = np.broadcast_to(curve.folds, (FOLDS, T))
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


# -----------------------------------------------------------------------------
# columns of the CSV files


def ci_columns(quantity, numbers, sets=((),)):
    """Returns the columns of the mean over runs of a number, and of its interval, a dict."""
    names = {'xe': ('xe', 'ci'), 'delta': ('delta_xe', 'delta_ci'), 'icl': ('icl_score', 'icl_ci')}
    name, ci = names.get(quantity, (quantity, f'{quantity}_ci'))
    mean, (low, high), _ = mean_over_runs(numbers, sets)
    return {name: mean, f'{ci}_low': low, f'{ci}_high': high}


def fit_columns(curve):
    """
    Returns the columns of xe_vs_k.csv that say how XE falls with context (fit_decay). power_gain is
    how much likelier held-out documents are by the power law, nats in all; it decides where its
    t-interval over folds excludes zero.
    """
    if not np.isfinite(curve.boot).all() or len(curve.mean) < 16:
        return {}
    row, fits = {}, fit_decay(curve)
    for form, (*abc, error, _) in fits.items():
        row[f'{form}_error'] = error[0]
        for letter, values in zip('abc', abc):
            row |= ci_columns(f'{form}_{letter}', [Curve(values[0], values[1:])])
    gain = FOLDS * (fits['exponential'][4] - fits['power'][4]) / 2
    low, high = t_interval(gain)
    return row | {'power_gain': gain.mean(), 'power_gain_ci_low': low, 'power_gain_ci_high': high,
                  'better_fit': 'power' if low > 0 else 'exponential' if high < 0 else
                  'not decided'}


RUN_COLUMNS = 'run dataset split k seed mix_seed components component'
COLUMNS = {  # of the CSV files; name+ stands for name, name_ci_low and name_ci_high
    'xe_by_position': f'{RUN_COLUMNS} position n_windows n_docs xe se ci_low ci_high bayes_xe'
                      ' in_training setting unfinished',
    'xe_by_component': f'{RUN_COLUMNS} n_windows n_docs n_tokens xe se ci_low ci_high perplexity'
                       ' bits_per_byte xe_k1 delta_xe delta_ci_low delta_ci_high in_training '
                       ' setting bayes_xe excess+ entropy_rate entropy_rate_se unfinished'
                       ' token_budget tag shuffle_components constant_per_component setting_hash',
    'xe_vs_k': 'dataset k n_runs n_sets xe ci_low ci_high delta_xe delta_ci_low delta_ci_high'
               ' dilution+ transfer+ ambiguity+ bayes_ambiguity+ efficiency+ icl_score icl_ci_low'
               ' icl_ci_high interval setting bayes_xe excess+ worst_bin_excess bayes_icl_score'
               ' entropy_rate unigram_xe specialist_gap+ power_a+ power_b+ power_c+ exponential_a+'
               ' exponential_b+ exponential_c+ power_error exponential_error better_fit'
               ' power_gain+ moved_with_steps delta_p dilution_p transfer_p ambiguity_p'
               ' token_budget shuffle_components unfinished',
    'decomposition': f'{RUN_COLUMNS} position delta_xe delta_ci_low delta_ci_high dilution+'
                     ' transfer+ ambiguity+ bayes_ambiguity+ specialist_gap+ posterior+ setting',
    'curves': 'dataset setting k n_runs quantity position mean band_low band_high'}


def write_csv(folder, name, rows):
    """Writes dicts to <name>.csv; missing values and nan are empty fields. Returns its path."""
    path = os.path.join(folder, f'{name}.csv')
    columns = re.sub(r'(\S+)\+', r'\1 \1_ci_low \1_ci_high', COLUMNS[name]).split()
    text = pd.DataFrame(rows, columns=columns, dtype=object).to_csv(index=False)
    replace_file(path, text)
    return path
