"""Draws the pictures of the law of K from results/law_*.csv alone.

    python plot_law.py
    python plot_law.py --results_dir=results/law

fit_law.py writes the CSV files and calls draw at its end.
"""
# -----------------------------------------------------------------------------
results_dir = 'results'  # where the CSV files are and the pictures go
# -----------------------------------------------------------------------------
from configurator import override

override(globals())

import os

import matplotlib.pyplot as plt
import numpy as np

from configurator import replace_file
from plot_xe import draw_intervals, figure, label_k_axis, plain, read_csv

# laws that the picture of XE shows beside --law of fit_law.py: colour, line
LAWS = {'additive': ('tab:green', '-.'), 'one power': ('tab:red', '--'), 'dilution': ('gray', ':')}
READERS = {'b': 'the specialist of j', 'c': 'bigrams of j', 'd': 'the specialist of j'}


def law_taken(tokens):
    """Returns the name of the law that law_tokens.csv has beside the measured shares."""
    return tokens['law'].iloc[0] if len(tokens) else 'additive'


def draw_vs_k(title, tables):
    """XE and ΔXE of mixtures against K, measured and by laws. Returns the figure."""
    forecasts, tokens = tables['forecast'], tables['tokens']
    means = forecasts[forecasts['component'].isna()]
    means = means[means['way'] == means['way'].iloc[0]]
    runs = tokens.groupby(['components', 'k'])[['xe', 'delta']].mean().reset_index()
    one = (forecasts['forecast'] - forecasts['delta']).groupby(forecasts['component']).mean().mean()
    taken = law_taken(tokens)
    fig, axes = figure(title, f'lines: means over all sets; band: 90%, {taken} law', 2, 4.5)
    for ax, (column, low, high, measured, first, label) in zip(axes, (
            ('forecast', 'low', 'high', 'xe', one, 'XE (nats per token)'),
            ('delta', 'delta_low', 'delta_high', 'delta', 0, 'ΔXE from K = 1 (nats per token)'))):
        for law, (color, line) in (LAWS | {taken: ('tab:blue', '-')}).items():
            of_law = means[means['law'] == law].dropna(subset=column)
            of_k = of_law.groupby('k')[[column, low, high]].mean()
            ax.plot([1, *of_k.index], [first, *of_k[column]], line, color=color, label=law)
            if law == taken:
                ax.fill_between(of_k.index, of_k[low], of_k[high], color=color, lw=0, alpha=0.2)
        ax.scatter(runs['k'], runs[measured], s=14, color='black', zorder=3,
                   label='a mixture, trained')
        label_k_axis(ax, [1, *means['k']], label, zero=False)
        ax.legend()
    return fig


def draw_tokens(title, tables):
    """Effective tokens, and the tokens that K components need, against K. Returns the figure."""
    tokens, eta = tables['tokens'], tables['eta']
    names = sorted(set(eta['component'].dropna()))
    by_k = tokens.groupby('k')[['share', 'law_share']].mean()
    K = np.arange(1, tables['forecast']['k'].max() + 1)
    mean, *ends = eta[eta['component'].isna()][['eta', 'eta_low', 'eta_high']].to_numpy()[0]
    fig, axes = figure(title, 'marks: a mixture and component, 90%', 2, 4.5)
    for ax, sign, label in zip(axes, (1, -1), (
            'effective tokens of a component, n / B', 'tokens for the XE of K = 1, times B')):
        for i, c in enumerate(names):
            of_c = tokens[tokens['component'] == c]
            y, low, high = (of_c[['share', 'share_low', 'share_high']].to_numpy().T)**sign
            draw_intervals(ax, of_c['k'] * 1.02**(i - len(names) / 2), y, low, high, fmt='o', ms=3,
                           color=plt.cm.viridis(i / len(names)),
                           label=plain(c) if sign > 0 else None)
        ax.plot([1, *by_k.index], [1, *by_k['law_share']**sign], color='tab:blue',
                label=f'{law_taken(tokens)} law, its mean')
        ax.plot(by_k.index, by_k['share']**sign, 'D', color='black', ms=5,
                label='the mean of the marks')
        ax.plot(K, ((1 + (K - 1) * mean) / K)**sign, '-.', color='tab:green',
                label=f'additive, mean η {mean:.2f} [{ends[0]:.2f}, {ends[1]:.2f}]')
        ax.fill_between(K, *(((1 + (K - 1) * end) / K)**sign for end in ends), color='tab:green',
                        alpha=0.2, lw=0)
        ax.plot(K, (1.0 * K)**(sign * np.log2((1 + mean) / 2)), '--', color='tab:red',
                label='power of K')
        ax.plot(K, (1.0 * K)**-sign, ':', color='gray', label='dilution alone')
        if sign < 0:
            ax.plot(K, 1.66**np.log2(K), color='black', lw=0.8,
                    label='ATLAS, 1.66 for a doubling')
        ax.set(xscale='log', yscale='log')
        ticks = [x for x in (.1, .15, .2, .3, .4, .5, .7, 1, 1.5, 2, 3, 4, 6, 8, 10)
                 if ax.get_ylim()[0] <= x <= ax.get_ylim()[1]]
        ax.minorticks_off()
        ax.set_yticks(ticks, [f'{x:g}' for x in ticks])
        label_k_axis(ax, K, label, zero=False)
        ax.set_xticks(K, [str(k) for k in K])
        ax.legend()
    return fig


def draw_eta(title, tables):
    """The matrix of rates. Returns the figure."""
    eta = tables['eta'][tables['eta']['way'] == tables['eta']['way'].iloc[0]].dropna(
        subset=['component', 'eta'])
    names = sorted({*eta['component'], *eta['other']})
    values = eta.pivot(index='component', columns='other', values='eta')
    values = values.reindex(index=names, columns=names)
    fig, ax = plt.subplots(figsize=(3.5 + 0.7 * len(names), 2.5 + 0.7 * len(names)))
    fig.colorbar(ax.imshow(values, vmin=min(0, eta['eta'].min())), label='η', shrink=0.8)
    for row in eta.to_dict('records'):
        ax.text(names.index(row['other']), names.index(row['component']),
                f'{row["eta"]:.2f}\n±{(row["eta_high"] - row["eta_low"]) / 2:.2f}', ha='center',
                va='center', fontsize=8,
                color='white' if row['eta'] < 0.6 * eta['eta'].max() else 'black')
    ax.set_xticks(range(len(names)), map(plain, names), rotation=45, ha='right')
    ax.set_yticks(range(len(names)), map(plain, names))
    ax.set(xlabel='a token of j', ylabel='is worth so many tokens of c')
    fig.suptitle(f'{plain(title)}\nη by ({eta["way"].iloc[0]}), ± 90%', fontsize=9)
    return fig


def draw_lines(title, tables):
    """The rates of pairs against the gaps, with the lines. Returns the figure, or None."""
    eta = tables['eta'].dropna(subset='component').set_index(['component', 'other'])
    ways = [way for way in READERS if way in set(eta['way'])]
    if not ways:
        return None
    pairs = eta[eta['way'] == 'a']
    fig, axes = figure(title, 'marks: a pair, 90%; line and band: rates by the line, 90%',
                       len(ways), 4.5)
    for ax, way in zip(axes, ways):
        of_way = eta[eta['way'] == way].sort_values('gap')
        both = pairs.drop(columns='gap').join(of_way['gap']).dropna(subset=['eta', 'gap'])
        if len(both):
            r = np.corrcoef(both['gap'], both['eta'])[0, 1]
            draw_intervals(ax, *both[['gap', 'eta', 'eta_low', 'eta_high']].to_numpy().T, fmt='o',
                           ms=4, label=f'a pair; r = {r:.2f}')
        ax.plot(of_way['gap'], of_way['eta'], color='black',
                label=f'({way}), line of {"other results" if way == "d" else "a few pairs"}')
        ax.fill_between(of_way['gap'], of_way['eta_low'], of_way['eta_high'], color='black',
                        alpha=0.12, lw=0)
        ax.set(xlabel=f"XE on c of {READERS[way]}, minus c's own (nats per token)",
               ylabel='η, what a token of j is worth in tokens of c')
        ax.legend()
    low, high = zip(*(ax.get_ylim() for ax in axes))
    plt.setp(axes, ylim=(min(low), max(high)))
    return fig


PICTURES = {'law_xe_vs_k': draw_vs_k, 'law_tokens': draw_tokens, 'law_eta': draw_eta,
            'law_lines': draw_lines}


def draw(folder):
    """Draws the pictures from the CSV files in a folder. Returns their paths."""
    tables = {name: read_csv(folder, f'law_{name}') for name in ('tokens', 'eta', 'forecast')}
    row, paths = tables['forecast'].iloc[0], []
    for name, plot in PICTURES.items():
        fig = plot(f'{row["dataset"]}, {row["budget"]:,} tokens an epoch', tables)
        if fig:
            paths.append(os.path.join(folder, f'{name}.png'))
            replace_file(paths[-1], lambda f: fig.savefig(f, format='png'))
            plt.close(fig)
    return paths


if __name__ == '__main__':
    print(*draw(results_dir), sep='\n')
