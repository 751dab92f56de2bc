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

RESAMPLES = 1000


class Curve(NamedTuple):
    """Nats by position, or another number, and the same number in each resample of documents."""
    mean: np.ndarray  # (T,), or () for a number
    boot: np.ndarray  # (RESAMPLES, T), or (RESAMPLES,)

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
    windows, cluster (N,), with replacement; `name` seeds them. They are nan for a single cluster.
    """
    _, cluster = np.unique(cluster, return_inverse=True)
    if cluster.max() == 0:  # no interval from a single document
        return Curve(values.mean(0), np.full((RESAMPLES, values.shape[1]), np.nan))
    n = np.bincount(cluster)  # (D,) windows in each cluster
    order = np.argsort(cluster, kind='stable')
    total = np.add.reduceat(values[order].astype(np.float64), np.cumsum(n) - n, axis=0)  # (D, T)
    counts = resamples(len(n), *name).astype(np.float32)
    boot = counts @ total.astype(np.float32) / (counts @ n.astype(np.float32))[:, None]
    return Curve(total.sum(0) / n.sum(), boot)


def average(curves):
    """Averages dicts {quantity: Curve}, each weighing the same, over what all of them have."""
    return {quantity: Curve(*(np.mean(x, axis=0) for x in zip(*(c[quantity] for c in curves))))
            for quantity in curves[0] if all(quantity in c for c in curves)}


def t_interval(values):
    """The 95% t-interval of the mean of independent values (n,), n >= 2: (low, high)."""
    n = len(values)
    half = scipy.stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / math.sqrt(n)
    return np.mean(values) - half, np.mean(values) + half


def mean_ci_over_runs(numbers):
    """
    Returns (mean, (low, high)) of one number per run, each a Curve: a t-interval over runs where
    there are several, else one over the documents of the one run.
    """
    means = [number.mean for number in numbers]
    return (np.mean(means), t_interval(means)) if len(means) > 1 else (means[0], numbers[0].ci())


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
    Returns {k: p} of {k: [number of each run]}: t-tests over runs that the mean is zero, with
    Holm's correction for the K's.
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
    n >= 1, in bins that grow by a factor of about 1.4, each weighing as its variance over resamples
    tells. a and b are exact for each of 200 values of c; c is the best of those.

    Returns {form: (a, b, c, squared error)}, each (1 + RESAMPLES,): of the curve, then of its
    resamples.
    """
    T = len(curve.mean)
    n, bins = np.arange(1, T), np.unique(log_bins(T, 2)[1:], return_inverse=True)[1]
    in_bin = bins == np.arange(bins.max() + 1)[:, None]
    member = in_bin / np.bincount(bins)[:, None]  # (bins, T - 1): averages within a bin
    y = np.vstack((curve.mean[None, 1:], curve.boot[:, 1:])) @ member.T  # (1 + R, bins)
    weight = 1 / np.maximum(y[1:].std(0, ddof=1), 1e-9)
    fits = {}
    for form, (grid, f) in FORMS.items():
        X = np.stack([np.stack((np.ones(len(member)), member @ f(n, c)), axis=1) for c in grid])
        X = X * weight[:, None]  # (C, bins, 2)
        ab = np.linalg.pinv(X) @ (y * weight).T  # (C, 2, 1 + R)
        error = ((X @ ab - (y * weight).T)**2).sum(1)  # (C, 1 + R)
        best, i = error.argmin(0), np.arange(error.shape[1])
        fits[form] = ab[best, 0, i], ab[best, 1, i], grid[best], error[best, i]
    return fits


# -----------------------------------------------------------------------------
# columns of the CSV files


def ci_columns(quantity, numbers):
    """Returns the columns of the mean over runs of a number, and of its interval, a dict."""
    names = {'xe': ('xe', 'ci'), 'delta': ('delta_xe', 'delta_ci'), 'icl': ('icl_score', 'icl_ci')}
    name, ci = names.get(quantity, (quantity, f'{quantity}_ci'))
    mean, (low, high) = mean_ci_over_runs(numbers)
    return {name: mean, f'{ci}_low': low, f'{ci}_high': high}


def fit_columns(curve):
    """Returns the columns of xe_vs_k.csv that say how XE falls with context (fit_decay)."""
    if not np.isfinite(curve.boot).all() or len(curve.mean) < 16:
        return {}
    row, fits = {}, fit_decay(curve)
    for form, (*abc, error) in fits.items():
        row[f'{form}_error'] = error[0]
        for letter, values in zip('abc', abc):
            row |= ci_columns(f'{form}_{letter}', [Curve(values[0], values[1:])])
    power, exponential = (fits[form][3] for form in FORMS)
    return row | {'better_fit': 'power' if power[0] < exponential[0] else 'exponential',
                  'power_is_better': np.mean(power[1:] < exponential[1:])}


RUN_COLUMNS = 'run dataset split k seed mix_seed components component'
COLUMNS = {  # of the CSV files; name+ stands for name, name_ci_low and name_ci_high
    'xe_by_position': f'{RUN_COLUMNS} position n_windows n_docs xe se ci_low ci_high bayes_xe'
                      ' in_training setting unfinished',
    'xe_by_component': f'{RUN_COLUMNS} n_windows n_docs n_tokens xe se ci_low ci_high perplexity'
                       ' bits_per_byte xe_k1 delta_xe delta_ci_low delta_ci_high in_training '
                       ' setting bayes_xe excess+ entropy_rate entropy_rate_se unfinished'
                       ' token_budget tag shuffle_components constant_per_component setting_hash',
    'xe_vs_k': 'dataset k n_runs xe ci_low ci_high delta_xe delta_ci_low delta_ci_high dilution+'
               ' transfer+ ambiguity+ bayes_ambiguity+ efficiency+ icl_score icl_ci_low icl_ci_high'
               ' interval setting bayes_xe excess+ worst_bin_excess bayes_icl_score entropy_rate'
               ' unigram_xe specialist_gap+ power_a+ power_b+ power_c+ exponential_a+'
               ' exponential_b+ exponential_c+ power_error exponential_error better_fit'
               ' power_is_better moved_with_steps delta_p dilution_p transfer_p ambiguity_p'
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
