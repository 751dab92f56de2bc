"""How well mixtures of processes infer the process: efficiency by the tokens of a component.

    python studies/efficiency.py results/efficiency/decomposition.csv

The files are eval_xe.py's, of mixtures on synthetic processes and of their tagged runs, on several
budgets, whose settings may differ (in steps, say). Efficiency is the least possible ambiguity over
the measured one, XE(M) - XE(M_tag), each the mean over the window and over runs before the ratio is
taken, as a run's own ambiguity may be near zero: 1 where a mixture infers as the Bayes reader does.
Prints a row for each K and number of tokens that a component gives of an epoch: runs, least and
measured ambiguity with the standard deviation of a run, efficiency. Then, at equal tokens, the
efficiency of K less that of K / 2 and of K / 4; the curve efficiency = 1 / (1 + (n0 / n)^p) at n
tokens of a component, for all K with p = 1 and free and for each K with p = 1, with 95% intervals;
and what inference costs above the least possible, in nats, by tokens of context. Draws
results/efficiency.png: each run as a dot, the curves with p = 1 dotted.
"""
import math
import os
import sys
import warnings

import numpy as np
import pandas as pd
import scipy.optimize
import scipy.stats

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from configurator import fail, replace_file
from plot_xe import figure, plt
from studies.parts import KIND, bin_means, by_mixture

def read_runs(paths):
    """Returns (a DataFrame with a row for each mixture: k, tokens of a component, least and
    measured ambiguity in nats a token; the measured less the least, nats by position, a DataFrame
    of the same rows). Fails where a budget has runs of several settings."""
    ambiguity, least = (pd.concat([by_mixture(path, term) for path in paths])
                        for term in ('ambiguity', 'bayes_ambiguity'))
    least = least.reindex(ambiguity.index)
    if not len(least) or least.isna().any(axis=None):
        fail(f'{" ".join(paths)}: mixtures of processes with their tagged runs are wanted alone')
    if ambiguity.index.has_duplicates:
        fail(f'{" ".join(paths)}: a run is there twice: leave one of the files out')
    table = ambiguity.index.to_frame(index=False)
    table['tokens'] = table['token_budget'] // table['k']
    alike = table[KIND].drop(columns='k').drop_duplicates()
    if (alike['token_budget'].duplicated().any()
            or table.drop_duplicates(KIND).duplicated(['tokens', 'k']).any()
            or len(alike.drop(columns=['token_budget', 'setting_hash']).drop_duplicates()) > 1):
        fail(f'{" ".join(paths)}: name runs of one setting for each token_budget')
    return table.assign(least=least.mean(axis=1).to_numpy(),
                        measured=ambiguity.mean(axis=1).to_numpy()), ambiguity - least

def by_tokens(table):
    """Returns of read_runs' table a DataFrame by (tokens, k): runs, the mean least and measured
    ambiguity, the standard deviation of a run's measured one, and the efficiency of the means."""
    groups = table.groupby(['tokens', 'k'])
    least, measured = groups['least'].mean(), groups['measured'].mean()
    return pd.DataFrame({'runs': groups.size(), 'least': least, 'measured': measured,
                         'sd of a run': groups['measured'].std(), 'efficiency': least / measured})

def compare(means):
    """Returns a DataFrame of by_tokens' pairs of K at equal tokens of a component, the larger twice
    or four times the smaller: tokens, both K, the larger's efficiency less the smaller's."""
    rows = []
    for tokens, of_tokens in means['efficiency'].groupby(level='tokens'):
        values = of_tokens.droplevel('tokens')
        rows += [(tokens, a, b, values[b] - values[a]) for a in values.index
                 for b in values.index if b in (2 * a, 4 * a)]
    return pd.DataFrame(rows, columns=['tokens', 'K', 'larger K', 'difference'])

def curve(n, ln_n0, p=1):
    """Returns 1 / (1 + (n0 / n)^p), an efficiency, of n tokens of a component."""
    return 1 / (1 + np.exp(p * (ln_n0 - np.log(n))))

def fit_curves(means):
    """Returns a DataFrame with a row for each constant of curves by least squares over by_tokens'
    rows, those of all K with p = 1 and with p free, of one K with p = 1: K, constant, value (n0 in
    tokens), the ends of its 95% t-interval, as if the rows' errors were alike and independent, the
    mean and largest absolute error of the efficiency. A curve that is not told is left out."""
    columns = ['K', 'constant', 'value', 'low', 'high', 'mean absolute error', 'largest']
    wanted = [('all', means, ['n0']), ('all', means, ['n0', 'p'])]
    wanted += [(k, of_k, ['n0']) for k, of_k in means.groupby(level='k')]
    tables = [pd.DataFrame(columns=columns)]
    for k, of_k, names in wanted:
        n, efficiency = of_k.index.get_level_values('tokens').to_numpy(float), of_k['efficiency']
        if len(n) <= len(names):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('error', scipy.optimize.OptimizeWarning)
                fitted, cov = scipy.optimize.curve_fit(curve, n, efficiency,
                                                       [math.log(n.mean()), 1][:len(names)])
        except (RuntimeError, scipy.optimize.OptimizeWarning):
            continue
        half = scipy.stats.t.ppf(0.975, len(n) - len(names)) * np.sqrt(np.diag(cov))
        values = np.stack([fitted, fitted - half, fitted + half])  # (3, constants)
        values[:, 0] = np.exp(values[:, 0])
        error = np.abs(curve(n, *fitted) - efficiency)
        tables.append(pd.DataFrame(dict(zip(
            columns, [k, names, *values, error.mean(), error.max()]))))
    return pd.concat(tables)

def above_by_context(table, above):
    """Returns what inference costs above the least possible, in nats, a DataFrame by (tokens, k)
    with a column for each bin of tokens of context."""
    keys = [table['tokens'].to_numpy(), table['k'].to_numpy()]
    return bin_means(above).groupby(keys).mean().rename_axis(['tokens', 'k'])

def draw(table, means, curves, path):
    """Draws efficiency against the tokens of a component: for each K a line, each run's own, and
    dotted fit_curves' curve; in black that of all K with p = 1, and the interval of its n0."""
    fig, (ax,) = figure('efficiency of inference of the component',
                        'least possible ambiguity over the measured one; dots: single runs')
    n0 = curves[curves['constant'] == 'n0'].drop_duplicates('K').set_index('K')
    ks = sorted({*table['k']})
    for i, k in enumerate(ks):
        color = plt.cm.viridis(0.85 * i / max(1, len(ks) - 1))
        of_k, runs = means.xs(k, level='k'), table[table['k'] == k]
        ax.plot(of_k.index, of_k['efficiency'], color=color, lw=1.2, label=f'K = {k}')
        ax.plot(runs['tokens'], runs['least'] / runs['measured'], 'o', ms=4, alpha=0.7, color=color)
        if k in n0.index:
            n = np.geomspace(of_k.index.min(), of_k.index.max())
            ax.plot(n, curve(n, math.log(n0['value'][k])), ':', color=color, lw=1)
    if 'all' in n0.index:
        n = np.geomspace(table['tokens'].min(), table['tokens'].max())
        best, *ends = [curve(n, math.log(x)) for x in n0.loc['all', ['value', 'low', 'high']]]
        ax.plot(n, best, ':', color='black', lw=1,
                label=f'n / (n + {n0["value"]["all"]:,.0f}), 95%')
        ax.fill_between(n, *ends, color='black', alpha=0.1, lw=0)
    ax.set_xscale('log', base=2)
    ax.xaxis.set_major_formatter('{x:,.0f}')
    ax.set(xlabel='tokens of a component, an epoch', ylabel='efficiency')
    ax.legend()
    replace_file(path, lambda f: fig.savefig(f, format='png'))
    plt.close(fig)

if __name__ == '__main__':
    paths = sys.argv[1:] or ['results/decomposition.csv']
    table, above = read_runs(paths)
    means = by_tokens(table)
    pairs = compare(means)
    path = os.path.join('results', 'efficiency.png')
    curves = fit_curves(means)
    draw(table, means, curves, path)
    for title, rows in (
            ('ambiguity in nats a token, over the window', means.reset_index()),
            ('efficiency at equal tokens of a component', pairs),
            ('curves', curves),
            ('ambiguity above the least possible, in nats by tokens of context',
             above_by_context(table, above).reset_index())):
        print(f'{title}\n{rows.to_string(index=False, float_format="{:.4f}".format)}\n')
    off = pairs['difference']
    print(f'{len(off)} differences, {(off < 0).sum()} below zero: {off.mean():+.3f} in the mean,'
          f' in size {off.abs().mean():.3f}, {off.abs().max():.3f} at most | {path}')
