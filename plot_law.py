"""Draws the pictures of the law of K from results/law_*.csv, as fit_law.py does at its end.

    python plot_law.py
    python plot_law.py --results_dir=results/law --law='soft minimum'
"""
# -----------------------------------------------------------------------------
results_dir = 'results'  # where the CSV files are and the pictures go
law = 'line cut at 0'    # of LAWS of fit_law.py: the one with a band
# -----------------------------------------------------------------------------
from configurator import override

override(globals())

import os

import matplotlib.pyplot as plt
import numpy as np

from configurator import fail, replace_file
from plot_xe import draw_intervals, figure, label_k_axis, plain, read_csv

RIVALS = {'a ln K': ('tab:red', '--'), 'power of K': ('tab:purple', ':'),
          'soft minimum': ('tab:green', '-.')}

def draw_vs_k(tables, law):
    """ΔXE against K, over components: measured, by the law with its band, by others."""
    fig, (ax,) = figure('ΔXE against the number of components, in equal shares', 'marks: measured,'
                        f' a mean over components; band: a mixture by {law}; 90%', width=6.5)
    equal = tables['forecast'][tables['forecast']['shares'].isna()]
    rows, sets = equal[equal['component'].notna()], equal[equal['component'].isna()]
    for name, (color, style) in (RIVALS | {law: ('tab:blue', '-')}).items():
        means = rows[rows['law'] == name].pivot_table('forecast', 'component', 'k').mean()
        ax.plot([1, *means.index], [0, *means], style, color=color, label=name)
    band = sets[sets['law'] == law].groupby('k')[['low', 'high']].mean()
    ax.fill_between(band.index, band['low'], band['high'], color='tab:blue', alpha=0.15, lw=0)
    means = rows[rows['law'] == law].pivot_table('measured', 'component', 'k')
    y, half = means.mean(), 1.645 * means.sem()
    draw_intervals(ax, y.index, y, y - half, y + half, fmt='ok', ms=4, label='measured')
    ax.set_xscale('log', base=2)
    label_k_axis(ax, [1, *rows['k']], 'ΔXE (nats per token)')
    ax.xaxis.set_major_formatter('{x:.0f}')
    ax.legend(loc='upper left')
    return fig

def draw_errors(tables, law):
    """Forecasts against what was measured, a mark for each component of a mixture."""
    rows = tables['forecast'].dropna(subset=['component', 'measured'])
    rows = rows[rows['law'] == law]
    fig, (ax,) = figure(f'what mixtures cost, by {law}', 'a mark: one component of one mixture,'
                        ' with the 90% interval of a run', width=5)
    ks = sorted({*rows['k']})
    for i, k in enumerate(ks):
        of_k = rows[rows['k'] == k]
        draw_intervals(ax, of_k['measured'], of_k['forecast'], of_k['low'], of_k['high'], fmt='o',
                       ms=3, alpha=0.7, color=plt.cm.viridis(0.9 * i / max(1, len(ks) - 1)),
                       label=f'K = {k}')
    ends = [rows[['measured', 'low']].min().min(), rows[['measured', 'high']].max().max()]
    ax.plot(ends, ends, color='black', lw=0.8)
    ax.set(xlabel='ΔXE, measured (nats per token)', ylabel='ΔXE, forecast (nats per token)')
    ax.grid()
    ax.legend(loc='upper left')
    return fig

def draw_worth(tables, law):
    """What a token is worth against the gap: by the law, and by pairs that were trained."""
    rows = tables['worth'].query('law == @law').sort_values('gap')
    pairs = rows.dropna(subset='worth_of_pair')
    note = f'{len(pairs)} marks: c in the pair of c and j, where it was trained'
    fig, (ax,) = figure(f'what a token of j is worth to c, by {law}', note)
    if len(pairs) > 2:
        r = np.corrcoef(pairs['gap'], pairs['worth_of_pair'])[0, 1]
        ax.plot(pairs['gap'], pairs['worth_of_pair'], 'o', ms=3, alpha=0.7, color='black',
                label=f'{len(pairs)} by pairs; r = {r:.2f}')
    ax.plot(rows['gap'], rows['worth'], color='tab:blue', label=law)
    ax.set(xlabel="gap: XE on c of j's specialist, less that of c's own (nats per token)",
           ylabel='worth, in tokens of c')
    ax.legend(loc='upper right')
    return fig

def draw_matrix(tables, law):
    """What a token of each component is worth to each other, a matrix."""
    worth = tables['worth'].query('law == @law').pivot(index='component', columns='other')['worth']
    n = len(worth)
    fig, ax = plt.subplots(figsize=(4 + 0.25 * n, 3 + 0.25 * n))
    fig.suptitle(f'what a token is worth, by {law}', fontsize=9)
    fig.colorbar(ax.imshow(worth), label='worth, in tokens of c', shrink=0.8)
    ax.set_xticks(range(n), map(plain, worth.columns), rotation=90)
    ax.set_yticks(range(n), map(plain, worth.index))
    ax.set(xlabel='a token of j', ylabel='c, whose specialist it would replace')
    return fig

PICTURES = {'law_vs_k': draw_vs_k, 'law_errors': draw_errors, 'law_worth': draw_worth,
            'law_matrix': draw_matrix}

def draw(folder, law):
    """Draws the pictures from the CSV files in a folder. Returns their paths."""
    tables = {name: read_csv(folder, f'law_{name}', ['law']) for name in ('forecast', 'worth')}
    if law not in set(tables['forecast']['law']):
        fail(f'--law={law}: {folder}/law_forecast.csv has it not')
    paths = []
    for name, plot in PICTURES.items():
        fig = plot(tables, law)
        paths.append(os.path.join(folder, f'{name}.png'))
        replace_file(paths[-1], lambda f: fig.savefig(f, format='png'))
        plt.close(fig)
    return paths

if __name__ == '__main__':
    print(*draw(results_dir, law), sep='\n')
