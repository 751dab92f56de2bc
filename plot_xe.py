"""Draws the pictures and prints the table from results/*.csv alone, without torch or checkpoints.

    python plot_xe.py
    python plot_xe.py --results_dir=results/demo

eval_xe.py writes the CSV files and calls draw and table at its end. There is a picture of each kind
for each setting, whose name tells it from the others; pictures of other settings stay.
"""
# -----------------------------------------------------------------------------
results_dir = 'results'  # where the CSV files are and the pictures go
# -----------------------------------------------------------------------------
from configurator import override

override(globals())

import logging
import os
import textwrap
import warnings

logging.getLogger('matplotlib').setLevel(logging.ERROR)  # of a matplotlibrc, of missing FONTS

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from configurator import fail, lock, looked_in, replace_file, safe_name

# matplotlib's own font, then those that have other letters
FONTS = ('DejaVu Sans', 'Noto Sans', 'Noto Sans CJK JP', 'Noto Sans Arabic', 'Noto Sans Hebrew',
         'Noto Sans Devanagari', 'Noto Sans Bengali', 'Noto Sans Thai', 'WenQuanYi Zen Hei',
         'PingFang SC', 'Microsoft YaHei', 'Malgun Gothic', 'Arial Unicode MS', 'Noto Emoji')
matplotlib.rcdefaults()  # the same pictures whatever a matplotlibrc says
plt.rcParams.update({
    'font.family': FONTS, 'figure.constrained_layout.use': True, 'savefig.dpi': 160,
    'grid.alpha': 0.3, 'legend.fontsize': 8, 'legend.framealpha': 0.7, 'legend.edgecolor': 'none'})
warnings.filterwarnings('ignore', 'Glyph')  # a letter that none of them has is drawn as a box

PANELS = {'xe': ('xe', 'XE (nats per token)'),  # {quantity: (its column, label)}
          'delta': ('delta_xe', 'ΔXE from the K = 1 runs (nats per token)'),
          'excess': ('excess', 'XE above the Bayes optimum (nats per token)')}
INTERVALS = ('intervals: 95%, of another draw of components; of another seed where K has one set of'
             ' them, or is 1; of other documents where no set has two runs')
# columns that are names, though they may look like numbers
NAMES = dict.fromkeys('dataset setting shown_as run split component components other'.split(), str)
# of ΔXE's terms, from Okabe and Ito's palette, for colour-blind readers; hatches are for print
COLORS = {'dilution': ('#E69F00', ''), 'transfer': ('#56B4E9', '//'),
          'ambiguity': ('#009E73', '..')}

def read_csv(folder, name, columns=()):
    """Returns a CSV file that has columns, a DataFrame: an empty field is nan, a setting ''."""
    path = os.path.join(folder, f'{name}.csv')
    try:
        frame = pd.read_csv(path, keep_default_na=False, na_values=[''], dtype=NAMES)
        frame[[*columns]]
    except (FileNotFoundError, ValueError, KeyError) as e:  # pandas' own errors are ValueErrors
        script = 'fit_law.py' if name.startswith('law_') else 'eval_xe.py'
        fail(f'{path} cannot be read ({e}): write it with python {script} {looked_in(path)}')
    return frame.fillna({'setting': '', 'shown_as': ''})

def read_settings_shown(folder):
    """Returns {(dataset, setting): (words, tables)} of the settings that have curves: 'key=value,
    key=value', which tell it from the others of its data set, and {file: the rows of it}."""
    frames = {name: read_csv(folder, name) for name in ('curves', 'xe_vs_k', 'xe_by_component')}
    rows = frames['xe_by_component']
    rows = rows[rows['in_training'].astype(str) == 'True']  # of runs with all of their components
    n = rows.groupby(['dataset', 'setting', 'run'])['k'].transform('size')
    frames['xe_by_component'] = rows[n == rows['k']]
    frames = {name: frame.groupby(['dataset', 'setting']) for name, frame in frames.items()}
    shown = {}
    for key in frames['curves'].groups:
        tables = {name: frame.get_group(key) for name, frame in frames.items()}
        shown[key] = tables['xe_vs_k']['shown_as'].iloc[0], tables
    return shown

# ---- pictures ----------------------------------------------------------------

def plain(name):
    """Returns a name as matplotlib draws it: $ begins no formula."""
    return name.replace('$', r'\$')

def with_ends(name):
    """Returns the columns of a number of xe_vs_k.csv and of its interval, low and high."""
    ci = {'xe': 'ci', 'delta_xe': 'delta_ci'}.get(name, f'{name}_ci')
    return [name, f'{ci}_low', f'{ci}_high']

def figure(title, note, panels=1, width=5.5):
    """Returns a figure and its axes, a list; the title is wrapped to the figure's width."""
    width = 1.5 + width * panels
    fig, axes = plt.subplots(1, panels, figsize=(width, 4.5), squeeze=False)
    fig.suptitle('\n'.join(textwrap.fill(plain(line), int(14 * width)) for line in (title, note)),
                 fontsize=9)
    for ax in axes[0]:
        ax.grid(axis='both' if panels > 1 else 'y')
    return fig, axes[0]

def draw_intervals(ax, x, y, low, high, **style):
    """Marks at (x, y) with their intervals from low to high: numbers, or (n,) each."""
    ax.errorbar(x, y, yerr=np.abs([y - low, high - y]).reshape(2, -1), lw=1, **style)

def draw_curves(ax, curves, quantity, label):
    """One curve per K against context position, each with its band."""
    T, ks = curves['position'].max() + 1, sorted(set(curves['k']))
    for i, k in enumerate(ks):
        color = plt.cm.viridis(0.85 * i / max(1, len(ks) - 1))
        of_k = curves[curves['k'] == k]
        rows, bayes = (of_k[of_k['quantity'] == name] for name in (quantity, 'bayes'))
        if len(rows) and (k > 1 or quantity in ('xe', 'excess')):
            n = rows['n_runs'].iloc[0]
            ax.plot(rows['position'], rows['mean'], color=color, lw=1.4,
                    label=f'K = {k} ({n} run{"s" * int(n > 1)})')
            ax.fill_between(rows['position'], rows['band_low'], rows['band_high'], color=color,
                            alpha=0.2, lw=0)
        if quantity == 'xe' and len(bayes):
            ax.plot(bayes['position'], bayes['mean'], color=color, lw=2, ls=':',
                    label='' if i else 'Bayes optimum')
    ticks = [t for t in (0, 1, 3, 10, 30, 100, 300, 1000) if t < 0.8 * T] + [T - 1]
    ax.set_xscale('symlog', linthresh=1, linscale=0.4)
    ax.set_xticks(ticks, [str(t) for t in ticks])
    ax.xaxis.minorticks_off()
    ax.set(xlim=(0, T - 1), xlabel='tokens of context', ylabel=label)
    if quantity != 'xe':
        ax.axhline(0, color='black', lw=0.8)
    ax.legend()

def panels(title, note, tables):
    """Returns a figure, and {quantity: axes} of what is known of those of PANELS."""
    rows = tables['xe_vs_k']
    rows = rows.assign(delta_xe=rows['delta_xe'].where(rows['k'] > 1))
    known = [key for key, (column, _) in PANELS.items() if rows[column].notna().any()]
    fig, axes = figure(title, note, len(known), 4.5)
    return fig, dict(zip(known, axes))

def label_k_axis(ax, ks, label, zero=True):
    """Labels an axis over K, with a line at zero."""
    if zero:
        ax.axhline(0, color='black', lw=0.8)
    ax.set(xlabel='K, components in the training data', ylabel=label, xticks=sorted(set(ks)))

def draw_by_position(title, tables):
    """XE, ΔXE and the excess against context position. Returns the figure."""
    fig, axes = panels(title, 'bands: 95%, simultaneous over positions, of other documents', tables)
    for quantity, ax in axes.items():
        draw_curves(ax, tables['curves'], quantity, PANELS[quantity][1])
    return fig

def draw_vs_k(title, tables):
    """The means over positions against K: each run a dot, and the mean over runs. Returns it."""
    vs_k, runs = tables['xe_vs_k'], tables['xe_by_component']
    shares = pd.crosstab(runs['k'], runs['component'], normalize='index')
    comparable = (shares == shares.iloc[0]).all(axis=None)
    note = '. XE at different K is of different components; ΔXE compares the same components'
    fig, axes = panels(title, INTERVALS + note * (not comparable), tables)
    for quantity, ax in axes.items():
        column, label = PANELS[quantity]
        dots = runs.groupby(['run', 'k'])[column].agg('mean', skipna=False).dropna().reset_index()
        ax.scatter(dots['k'], dots[column], s=18, c='C1', alpha=0.7, zorder=3, label='a run')
        joined = comparable or quantity != 'xe'
        rows = vs_k.dropna(subset=[column])
        draw_intervals(ax, *rows[['k', *with_ends(column)]].to_numpy().T, color='black', ms=4,
                       fmt='o-' if joined else 'o', capsize=4, label='mean and interval')
        if quantity == 'xe' and rows['bayes_xe'].notna().any():
            ax.plot(rows['k'], rows['bayes_xe'], color='tab:blue', marker='s', ms=4,
                    ls=':' if joined else '', label='Bayes optimum')
        label_k_axis(ax, vs_k['k'], label, zero=quantity != 'xe')
        ax.margins(x=0.1)
        ax.legend()
    return fig

def draw_parts(title, tables):
    """ΔXE's terms as stacked bars by K, what is negative below zero. Returns the figure."""
    rows = tables['xe_vs_k'].dropna(subset=[*COLORS])
    if not len(rows):
        return None
    fig, (ax,) = figure(title, INTERVALS, width=7)
    k, above, below = rows['k'], 0.0 * rows['k'], 0.0 * rows['k']  # the ends of the stacks
    for i, (term, (color, hatch)) in enumerate(COLORS.items()):
        start = above.where(rows[term] >= 0, below)
        ax.bar(k, rows[term], 0.6, start, color=color, hatch=hatch, edgecolor='white', label=term)
        draw_intervals(ax, k - 0.2 + 0.1 * i, start + rows[term], start + rows[f'{term}_ci_low'],
                       start + rows[f'{term}_ci_high'], fmt='none', color='black', capsize=3)
        above, below = above + rows[term].clip(lower=0), below + rows[term].clip(upper=0)
    bayes = rows['bayes_ambiguity'].dropna()
    if len(bayes):
        ax.hlines(bayes, k[bayes.index] - 0.4, k[bayes.index] + 0.4, color='#CC79A7', lw=2.5,
                  label='least possible ambiguity (Bayes), from zero')
    draw_intervals(ax, k + 0.2, rows['delta_xe'], rows['delta_ci_low'], rows['delta_ci_high'],
                   fmt='D', color='black', ms=5, capsize=3, label='ΔXE, the sum')
    label_k_axis(ax, k, 'part of ΔXE (nats per token)')
    ax.legend(loc='upper left', bbox_to_anchor=(1, 1))
    return fig

PICTURES = {'xe_by_position': draw_by_position, 'xe_vs_k': draw_vs_k, 'parts': draw_parts}

def draw(folder):
    """Draws all pictures from the CSV files in a folder and returns their paths."""
    shown, paths = read_settings_shown(folder), []
    several = len({dataset for dataset, _ in shown}) > 1
    for (dataset, _), (words, tables) in shown.items():
        row, split = tables['xe_vs_k'].iloc[0], tables['xe_by_component']['split'].iloc[0]
        words = words.split(', ') if words else []
        title = ', '.join([dataset, f'{split} split', f'{row["token_budget"]:,} tokens an epoch',
                           *(word.replace('=', ' = ') for word in words)])
        names = [dataset] * several + [word for word in words if not word.endswith('=False')]
        suffix = f'-{safe_name("-".join(names))}' if names else ''
        for kind, plot in PICTURES.items():
            if fig := plot(title, tables):
                paths.append(os.path.join(folder, f'{kind}{suffix}.png'))
                replace_file(paths[-1], lambda f: fig.savefig(f, format='png'))
                plt.close(fig)
    return paths

def draw_documents(folder, meta, T):
    """Draws the lengths of the components' training documents to folder/documents.png."""
    names = [*meta['components']][::-1]
    lengths = [np.diff(np.load(os.path.join(folder, safe_name(name), 'train.idx.npy'))).clip(1)
               for name in names]
    fig, ax = plt.subplots(figsize=(7, 1.4 + 0.28 * len(names)))
    ax.boxplot(lengths, tick_labels=[plain(name[:40]) for name in names], whis=(5, 95),
               orientation='horizontal', showfliers=False)
    ax.axvline(T, color='black', ls=':', label=f'a window, {T} tokens')
    ax.set_xscale('log', base=2)
    ax.xaxis.set_major_formatter('{x:,.0f}')
    ax.set_xlabel('tokens of a training document (5, 25, 50, 75, 95%)')
    ax.grid(axis='x')
    ax.legend(loc='lower right', bbox_to_anchor=(1, 1), frameon=False)
    ax.set_title(f'data/{meta["dataset"]}', fontsize=10, loc='left')
    replace_file(os.path.join(folder, 'documents.png'), lambda f: fig.savefig(f, format='png'))
    plt.close(fig)

# ---- the table ---------------------------------------------------------------

# columns of xe_vs_k.csv that stand beside one another: docs/outputs.md says what they are
TABLES = {'n_runs n_sets xe delta_xe interval icl_score': '',
          'bayes_xe excess worst_bin_excess': '',
          'dilution transfer ambiguity': 'ΔXE = dilution + transfer + ambiguity',
          'bayes_ambiguity efficiency': ''}

def format_number(row, name):
    """A number of a row of xe_vs_k.csv, with its interval where there is one; '-' if unknown."""
    if pd.isna(row[name]):
        return '-'
    if name in ('n_runs', 'n_sets', 'interval'):
        return str(row[name])
    sign = '' if name in ('xe', 'bayes_xe', 'icl_score') else '+'
    x, *ends = (f'{row[column]:{sign}.4f}' for column in with_ends(name) if column in row)
    return f'{x} [{", ".join(ends)}]' if ends else x

def setting_lines(rows):
    """Returns the lines of the tables of one setting, rows of xe_vs_k.csv, and of its controls."""
    rows = rows.assign(delta_xe=rows['delta_xe'].where(rows['k'] > 1))  # zero by definition
    rows, lines = rows.to_dict('records'), []
    for names, title in TABLES.items():
        cells = pd.DataFrame([{'K': row['k']} | {name: format_number(row, name)
                                                 for name in names.split()} for row in rows])
        known = cells != '-'
        cells = cells.loc[known.sum(axis=1) > 1, known.any()]
        if len(cells):
            lines += ['', *filter(None, [title]), cells.to_string(index=False)]
    for row in rows:
        if row['unfinished'] > 0:
            lines.append(f'K = {row["k"]}: {row["unfinished"]} of {row["n_runs"]} runs unfinished')
        if str(row['shuffle_components']) == 'True' and pd.notna(row['ambiguity_ci_low']):
            holds = row['ambiguity_ci_low'] <= 0 <= row['ambiguity_ci_high']
            verdict = 'holds' if holds else 'does not hold, so the parts measure training'
            lines.append(f'K = {row["k"]}: the shuffled control {verdict}: ambiguity'
                         f' {format_number(row, "ambiguity")}')
    return lines

def table(folder):
    """Returns the lines of the table of all settings, each data set under a heading."""
    lines, last = [], None
    for (dataset, _), (words, tables) in read_settings_shown(folder).items():
        lines += ['', f'==== {dataset} ===='] if dataset != last else []
        if words:
            runs = tables['xe_by_component'].sort_values(['k', 'run'], ascending=[False, True])
            lines += ['', words, textwrap.shorten(', '.join(runs['run'].unique()), 100,
                                                  placeholder=' ..', break_on_hyphens=False)]
        lines += setting_lines(tables['xe_vs_k'])
        last = dataset
    return lines

if __name__ == '__main__':
    try:
        os.path.isdir(results_dir) or read_settings_shown(results_dir)  # a lock makes the folder
        results_lock = lock(os.path.join(results_dir, '.lock'), results_dir)
        print(*draw(results_dir), *table(results_dir), sep='\n')
    except (KeyError, TypeError, ValueError) as e:
        fail(f'{results_dir}: files of several evaluations, or of other code ({e}): run eval_xe.py')
