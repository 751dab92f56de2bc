"""How well mixtures of processes infer the process: efficiency by the tokens of a component.

    python studies/efficiency.py results/efficiency/decomposition.csv

The files are eval_xe.py's, of mixtures on synthetic processes and their tagged runs. Efficiency is
the least possible ambiguity over the measured one, XE(M) - XE(M_tag), both over the window, and
1 where a mixture infers as the Bayes reader does. Prints a row for each K and budget, in the order
of the tokens that a component gives: the mean over runs of both, the runs' efficiencies, and their
mean; how far apart mixtures of different K are at equal tokens; the line of efficiency against
log2 of these tokens, with its residuals; and what inference costs above the least possible, in
nats, by tokens of context. Draws efficiency to efficiency.png beside the first file.
"""
import os
import sys

import numpy as np
import pandas as pd

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from configurator import fail, replace_file
from plot_xe import figure, plt
from studies.parts import bin_names, by_mixture


def read_runs(paths):
    """Returns (efficiencies, a DataFrame with a row for each run: k, tokens of a component, least
    and measured ambiguity in nats a token, efficiency; the ambiguity above the least possible, nats
    by position, a DataFrame of the same rows)."""
    ambiguity, least = (pd.concat([by_mixture(path, term) for path in paths])
                        for term in ('ambiguity', 'bayes_ambiguity'))
    if not len(least) or not ambiguity.index.equals(least.index):
        fail(f'{" ".join(paths)}: no mixtures of processes with their tagged runs')
    if ambiguity.index.has_duplicates:
        fail(f'{" ".join(paths)}: a run is there twice: leave one of the files out')
    table = ambiguity.index.to_frame(index=False)
    budget = table['setting'].str.extract(r'token_budget=(\d+)')[0].astype(float)
    table = table.assign(tokens=budget / table['k'], least=least.mean(axis=1).to_numpy(),
                         measured=ambiguity.mean(axis=1).to_numpy())
    return table.assign(efficiency=table['least'] / table['measured']), ambiguity - least


def by_tokens(table):
    """Returns of read_runs' efficiencies a DataFrame by (tokens, k): runs, the means of least and
    measured ambiguity, the mean efficiency and the standard deviation of a run."""
    groups = table.groupby(['tokens', 'k'])
    return pd.DataFrame({
        'runs': groups.size(), 'least': groups['least'].mean(),
        'measured': groups['measured'].mean(), 'efficiency': groups['efficiency'].mean(),
        'sd': groups['efficiency'].std()})


def compare(means):
    """Returns a DataFrame of the pairs of K that by_tokens has at equal tokens of a component:
    tokens, both K, and the efficiency of the larger K less that of the smaller."""
    rows = []
    for tokens, of_tokens in means['efficiency'].groupby(level='tokens'):
        values = of_tokens.droplevel('tokens')
        rows += [(tokens, a, b, values[b] - values[a]) for a in values.index
                 for b in values.index if a < b]
    return pd.DataFrame(rows, columns=['tokens', 'K', 'larger K', 'difference'])


def draw(means, path):
    """Draws efficiency against the tokens of a component, a line for each K."""
    fig, (ax,) = figure('efficiency of inference on Markov chains',
                        'least possible ambiguity over the measured one; bars: sd of a run')
    ks = sorted({*means.index.get_level_values('k')})
    for i, k in enumerate(ks):
        of_k = means.xs(k, level='k')
        ax.errorbar(of_k.index, of_k['efficiency'], of_k['sd'], fmt='o-', ms=4, capsize=3, lw=1,
                    color=plt.cm.viridis(0.85 * i / max(1, len(ks) - 1)), label=f'K = {k}')
    ax.set_xscale('log', base=2)
    ax.xaxis.set_major_formatter('{x:,.0f}')
    ax.tick_params(axis='x', rotation=30)
    ax.set(xlabel='tokens of a component, an epoch', ylabel='efficiency', ylim=(0, 1))
    ax.legend()
    replace_file(path, lambda f: fig.savefig(f, format='png'))
    plt.close(fig)


if __name__ == '__main__':
    paths = sys.argv[1:] or ['results/decomposition.csv']
    table, above = read_runs(paths)
    means = by_tokens(table)
    print('ambiguity in nats a token, over the window\n'
          + means.reset_index().to_string(index=False, formatters={'tokens': '{:,.0f}'.format},
                                          float_format='{:.4f}'.format))
    pairs = compare(means)
    if len(pairs):
        difference = pairs['difference']
        print('\nat equal tokens of a component\n' + pairs.to_string(
            index=False, float_format='{:+.3f}'.format, formatters={'tokens': '{:,.0f}'.format}))
        print(f'mean {difference.mean():+.3f} ± {difference.sem():.3f}, largest'
              f' {difference.abs().max():.3f}')
    x = np.log2(means.index.get_level_values('tokens'))
    slope, level = np.polyfit(x, means['efficiency'], 1)
    residuals = means['efficiency'] - (slope * x + level)
    print(f'\nefficiency = {slope:.3f} log2(tokens of a component) {level:+.3f}; residuals by K: '
          + ', '.join(f'{r:+.3f} at {k}' for k, r in residuals.groupby(level='k').mean().items()))
    by_bin = above.T.groupby(bin_names(above.shape[1]), sort=False).mean().T
    by_bin = by_bin.groupby([table['tokens'].to_numpy(), table['k'].to_numpy()]).mean()
    print('\nambiguity above the least possible, in nats by tokens of context\n'
          + by_bin.rename_axis(['tokens', 'K']).to_string(float_format='{:.4f}'.format))
    path = os.path.join(os.path.dirname(paths[0]), 'efficiency.png')
    draw(means, path)
    print(path)
