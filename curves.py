"""Curves: means over windows, their intervals from resampling documents, and the rows of the CSV
files that eval_xe.py makes of them.

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

from configurator import random_stream, replace_file, short_hash
from processes import theory, unigram_xe
from runs import tokens_of_each

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
        """A 95% band that holds the whole curve at once, (low, high): as many standard errors
        around it at every position as the 95% quantile over resamples of the largest |t|."""
        se = np.maximum(self.boot.std(0, ddof=1), 1e-12)
        reach = np.quantile(np.abs((self.boot - self.boot.mean(0)) / se).max(1), 0.95)
        return self.mean - reach * se, self.mean + reach * se

@functools.cache
def resamples(n_docs, *name):
    """How often each document is in each resample: uint16 (RESAMPLES, n_docs), fixed by name."""
    rng, p = random_stream('resample', *name), np.full(n_docs, 1 / n_docs)
    return np.stack([rng.multinomial(n_docs, p).astype(np.uint16) for _ in range(RESAMPLES)])

def cluster_bootstrap(values, document, *name):
    """Returns the Curve of the mean over windows of values (N, T). Its resamples draw documents,
    with all their windows, document (N,); `name` seeds them. They are nan for a single one."""
    _, n = np.unique(document, return_counts=True)  # (D,) windows of each
    order = np.argsort(document, kind='stable')
    total = np.add.reduceat(values[order].astype(np.float64), np.cumsum(n) - n, axis=0)  # (D, T)
    boot = np.full((RESAMPLES, values.shape[1]), np.nan)
    if len(n) > 1:  # no interval from a single document
        counts = resamples(len(n), *name).astype(np.float32)
        boot = counts @ total.astype(np.float32) / (counts @ n.astype(np.float32))[:, None]
    return Curve(total.sum(0) / n.sum(), boot)

def average(curves):
    """Averages dicts {quantity: Curve}, each weighing the same, over what all of them have."""
    return {quantity: Curve(*(np.mean(x, axis=0) for x in zip(*(c[quantity] for c in curves))))
            for quantity in curves[0] if all(quantity in c for c in curves)}

def t_interval(values):
    """The 95% t-interval of the mean of independent values (n,), n >= 2: (low, high)."""
    half = scipy.stats.t.ppf(0.975, len(values) - 1) * scipy.stats.sem(values)
    return np.mean(values) - half, np.mean(values) + half

def by_set(values, sets):
    """Returns the values (n,) of runs in groups of one set of components, a list of lists."""
    groups = {}
    for value, names in zip(values, sets):
        groups.setdefault(names, []).append(value)
    return [*groups.values()]

def mean_over_runs(numbers, sets):
    """Returns (mean, (low, high), kind) of a number, a Curve of each run, whose components are in
    sets. Every set weighs the same. The 95% interval is, by kind, for another draw of components
    ('draws'), for other seeds of these, as for K = 1, whose runs are no draws of one thing
    ('seeds'), or for other documents, where no set has two runs ('documents')."""
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

def log_bins(T, per_doubling=1):
    """Returns the bin of each position 0 .. T-1, (T,) int: 0, 1, 2-3, 4-7, 8-15 and so on."""
    log2 = np.log2(np.arange(1, T))
    return np.append(0, 1 + np.floor(per_doubling * log2)).astype(int)

# ---- the CSV files: their columns, and their rows ----------------------------

# what ΔXE is made of (README: What is measured), each one curve minus another
TERMS = {'dilution': ('diluted', 'specialist'), 'transfer': ('tagged', 'diluted'),
         'ambiguity': ('xe', 'tagged')}
DIFFERENCES = {'delta': ('xe', 'specialist'), 'excess': ('xe', 'bayes'), **TERMS}
QUANTITIES = ('xe', 'bayes', *DIFFERENCES, 'bayes_ambiguity')
# settings with a column each in xe_by_component.csv, whose setting_hash is that of all others
OWN_COLUMNS = 'token_budget', 'shares', 'tag', 'shuffle_components', 'constant_per_component'
RUN_COLUMNS = 'run dataset split k seed mix_seed components component'
DELTA = 'delta_xe delta_ci_low delta_ci_high'
COLUMNS = {  # of the CSV files; name+ stands for name, name_ci_low and name_ci_high
    'xe_by_position': f'{RUN_COLUMNS} position n_windows n_docs xe se ci_low ci_high bayes_xe'
                      ' in_training setting unfinished',
    'xe_by_component': f'{RUN_COLUMNS} n_windows n_docs n_tokens xe se ci_low ci_high perplexity'
                       f' bits_per_byte xe_k1 {DELTA} in_training setting bayes_xe excess+'
                       ' entropy_rate entropy_rate_se unfinished token_budget tag'
                       ' shuffle_components constant_per_component setting_hash shares',
    'xe_vs_k': f'dataset k n_runs n_sets xe ci_low ci_high {DELTA} dilution+ transfer+ ambiguity+'
               ' bayes_ambiguity+ efficiency+ icl_score icl_ci_low icl_ci_high interval setting'
               ' bayes_xe excess+ worst_bin_excess bayes_icl_score entropy_rate unigram_xe'
               ' token_budget shuffle_components unfinished shown_as',
    'decomposition': f'{RUN_COLUMNS} position {DELTA} dilution+ transfer+ ambiguity+'
                     f' bayes_ambiguity+ setting {" ".join(OWN_COLUMNS)} setting_hash',
    'curves': 'dataset setting k n_runs quantity position mean band_low band_high'}
NAMES = {  # columns of numbers that do not have the quantity's name, and of their intervals
    'xe': ('xe', 'ci'), 'delta': ('delta_xe', 'delta_ci'), 'icl': ('icl_score', 'icl_ci'),
    'specialist': ('xe_k1', 'xe_k1_ci'), 'bayes': ('bayes_xe', 'bayes_xe_ci')}

def ci_columns(quantity, numbers, sets=((),)):
    """Returns the columns of the mean over runs of a number, and of its interval, a dict."""
    name, ci = NAMES.get(quantity, (quantity, f'{quantity}_ci'))
    mean, (low, high), _ = mean_over_runs(numbers, sets)
    return {name: mean, f'{ci}_low': low, f'{ci}_high': high}

def tell_apart(settings):
    """Returns the keys that tell the different ones of some dicts apart, as few as will do."""
    def groups(keys):
        return len({tuple(str(setting.get(key)) for key in keys) for setting in settings})
    keys = [*dict.fromkeys(key for setting in settings for key in setting)]
    for key in reversed(keys):  # one that tells no more of them apart than the others can go
        fewer = [other for other in keys if other != key]
        keys = fewer if groups(fewer) == groups(keys) else keys
    return keys

def setting_words(runs):
    """Returns {folder: ['key=value', ..]} of runs: what tells the settings of a data set apart."""
    keys = {dataset: tell_apart([run['settings'] for run in runs if run['dataset'] == dataset])
            for dataset in {run['dataset'] for run in runs}}
    return {run['folder']: [f'{key}={run["settings"].get(key)}' for key in keys[run['dataset']]]
            for run in runs}

def run_columns(run, component):
    """Returns what tells a run's rows of a component apart in the CSV files, a dict."""
    others = {key: value for key, value in run['settings'].items() if key not in OWN_COLUMNS}
    known = run | run['mix'] | {'components': '+'.join(run['mix']['components']),
                                'component': component, 'setting_hash': short_hash(others)}
    names = *RUN_COLUMNS.split(), *OWN_COLUMNS, 'setting', 'setting_hash', 'unfinished'
    return {name: known[name] for name in names}

def component_rows(run, component, windows, curves):
    """Returns a list of rows of xe_by_position.csv and a row of xe_by_component.csv, of one
    component of a run: its evaluation windows, and {quantity: Curve}."""
    (mean, boot), (low, high) = curves['xe'], curves['xe'].ci()
    columns = run_columns(run, component) | {
        'n_windows': len(windows['tokens']), 'n_docs': len(np.unique(windows['document'])),
        'in_training': component in run['mix']['components']}
    values = {'position': range(len(mean)), 'xe': mean, 'se': boot.std(0, ddof=1), 'ci_low': low,
              'ci_high': high}
    if 'bayes' in curves:
        values['bayes_xe'] = curves['bayes'].mean
    by_position = [columns | dict(zip(values, x)) for x in zip(*values.values())]

    # over positions
    components, shuffled = run['meta']['components'], run['shuffle_components']
    facts = [components[c][run['split']] for c in (components if shuffled else [component])]
    bytes_per_token = sum(f['bytes'] for f in facts) / sum(f['tokens'] for f in facts)
    row = columns | {'n_tokens': windows['tokens'].size, 'se': boot.mean(1).std(ddof=1),
                     'bits_per_byte': mean.mean() / math.log(2) / bytes_per_token,
                     'perplexity': math.exp(mean.mean())}
    for quantity, curve in curves.items():
        row |= ci_columns(quantity, [curve.over_positions()])
    if 'bayes' in curves and not shuffled:
        _, row['entropy_rate'], row['entropy_rate_se'] = theory(
            run['dataset'], run['meta']['seal'], component, run['split'])
    return by_position, row

def term_rows(run, curves, mean, names=('delta', *TERMS, 'bayes_ambiguity')):
    """Returns a run's rows of decomposition.csv, of the quantities that names has: the mean over
    components, over all positions and at each, then each component's over positions."""
    cells = [('', '', mean), *(('', t, mean) for t in range(run['block_size'])),
             *((c, '', curves[c]) for c in run['mix']['components'])]
    rows = []
    for c, t, quantities in cells:
        rows.append(run_columns(run, c) | {'position': t})
        for name in {*names} & quantities.keys():
            curve = quantities[name]
            rows[-1] |= ci_columns(name, [curve.over_positions() if t == '' else curve.at(t)])
    return rows

def set_of(run):
    """Returns the components that a run was trained on, with the tokens of each, sorted."""
    return tuple(sorted(tokens_of_each(run['mix']).items()))

def summarise(members, means):
    """Returns (row of xe_vs_k.csv, {quantity: Curve} averaged over runs) of runs of one setting and
    K. means is {folder: {quantity: Curve}} of each run, averaged over its components."""
    run, curves = members[0], [means[run['folder']] for run in members]
    sets = [set_of(run) for run in members]
    mean = average([average(of_set) for of_set in by_set(curves, sets)])
    early = max(0, run['block_size'] // 10 - 1)  # position 9 of 0 .. 99
    same = 'dataset', 'k', 'setting', 'token_budget', 'shuffle_components'
    icl = [c['xe'].at(-1) - c['xe'].at(early) for c in curves]
    row = {key: run[key] for key in same} | {
        'n_runs': len(members), 'n_sets': len({*sets}), 'interval': mean_over_runs(icl, sets)[2],
        'unfinished': sum(run['unfinished'] for run in members), **ci_columns('icl', icl, sets)}
    for quantity in mean if run['k'] > 1 else mean.keys() & {'xe', 'delta', 'excess'}:
        row |= ci_columns(quantity, [c[quantity].over_positions() for c in curves], sets)
    # a ratio of means, spread by the delta method, unless the ambiguity's interval reaches zero
    if row.get('ambiguity_ci_low', 0) > 0 and row.get('bayes_ambiguity', 0) > 1e-9:
        a, r = row['ambiguity'], row['bayes_ambiguity'] / row['ambiguity']
        row |= ci_columns('efficiency', [Curve(*(r + (y - r * x).mean(-1) / a for x, y in zip(
            c['ambiguity'], c['bayes_ambiguity']))) for c in curves], sets)
    if 'bayes' in mean:  # synthetic components
        bayes, bins = mean['bayes'].mean, log_bins(run['block_size'])
        known = [[theory(run['dataset'], run['meta']['seal'], c, run['split'])
                  for c in run['known']] for run in members]
        worst = [max(c['excess'].mean[bins == b].mean() for b in set(bins)) for c in curves]
        row |= {'bayes_xe': bayes.mean(), 'bayes_icl_score': bayes[-1] - bayes[early],
                'worst_bin_excess': np.mean(worst),
                'entropy_rate': np.mean([[rate for _, rate, _ in of_run] for of_run in known]),
                'unigram_xe': np.mean([unigram_xe([x for x, _, _ in of_run]) for of_run in known])}
    return row, mean

def curve_rows(row, curves, names=QUANTITIES):
    """Returns the rows of curves.csv of {quantity: Curve}, and of their row of xe_vs_k.csv."""
    return [row | dict(quantity=quantity, position=t, mean=mean, band_low=low, band_high=high)
            for quantity, curve in ((name, curves[name]) for name in names if name in curves)
            for t, (mean, low, high) in enumerate(zip(curve.mean, *curve.band()))]

def write_csv(folder, name, rows):
    """Writes dicts to <name>.csv; missing values and nan are empty fields."""
    columns = re.sub(r'(\S+)\+', r'\1 \1_ci_low \1_ci_high', COLUMNS[name]).split()
    text = pd.DataFrame(rows, columns=columns, dtype=object).to_csv(index=False)
    replace_file(os.path.join(folder, f'{name}.csv'), text)
