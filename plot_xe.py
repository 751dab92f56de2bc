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

# of a matplotlibrc, which does not count, and of FONTS that are not there
logging.getLogger('matplotlib').setLevel(logging.ERROR)

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from configurator import fail, lock, looked_in, replace_file, safe_name

# matplotlib's own font, then those that have other letters
FONTS = ('DejaVu Sans', 'Noto Sans', 'Noto Sans CJK JP', 'Noto Sans CJK SC', 'Noto Sans CJK KR',
         'Noto Sans Arabic', 'Noto Sans Hebrew', 'Noto Sans Devanagari', 'Noto Sans Bengali',
         'Noto Sans Thai', 'WenQuanYi Zen Hei', 'WenQuanYi Micro Hei', 'Droid Sans Fallback',
         'PingFang SC', 'Hiragino Sans', 'Microsoft YaHei', 'Yu Gothic', 'Malgun Gothic',
         'Arial Unicode MS', 'Symbola', 'Noto Emoji', 'Noto Sans Symbols', 'Noto Sans Symbols2')
matplotlib.rcdefaults()  # the same pictures whatever a matplotlibrc says
plt.rcParams.update({
    'font.family': FONTS, 'figure.constrained_layout.use': True, 'savefig.dpi': 160,
    'grid.alpha': 0.3, 'legend.fontsize': 8, 'legend.framealpha': 0.7, 'legend.edgecolor': 'none'})
warnings.filterwarnings('ignore', 'Glyph')  # a letter that none of them has is drawn as a box

PANELS = {'xe': ('xe', 'ci', 'XE (nats per token)'),  # column, its interval, label
          'delta': ('delta_xe', 'delta_ci', 'ΔXE from the K = 1 runs (nats per token)'),
          'excess': ('excess', 'excess_ci', 'XE above the Bayes optimum (nats per token)')}
INTERVALS = ('intervals: 95%, of another draw of components; of another seed where K has one set of'
             ' them, or is 1; of other documents where no set has two runs')
# columns that are names, though they may look like numbers
NAMES = dict.fromkeys('dataset setting shown_as run split component components'.split(), str)
# of ΔXE's terms, from Okabe and Ito's palette, which colour-blind readers tell apart; the hatches
# are for print
COLORS = {'dilution': ('#E69F00', ''), 'transfer': ('#56B4E9', '//'),
          'ambiguity': ('#009E73', '..')}


def read_csv(folder, name):
    """Returns a CSV file as a DataFrame: an empty field is nan, an empty setting ''."""
    path = os.path.join(folder, f'{name}.csv')
    try:
        frame = pd.read_csv(path, keep_default_na=False, na_values=[''], dtype=NAMES)
    except (FileNotFoundError, ValueError) as e:  # pandas' own errors are ValueErrors
        fail(f'{path} cannot be read ({e}): write it with python eval_xe.py {looked_in(path)}')
    return frame.fillna({'setting': '', 'shown_as': ''})


def read_settings_shown(folder):
    """Returns {(dataset, setting): (words, tables)} of the settings that have curves: 'key=value,
    key=value', which tell it from the others of its data set, and {file: the rows of it}."""
    frames = {name: read_csv(folder, name) for name in ('curves', 'xe_vs_k', 'xe_by_component')}
    if 'shown_as' not in frames['xe_vs_k']:
        fail(f'{folder}/xe_vs_k.csv is of an older version: write it again with python eval_xe.py')
    shown = {}
    for dataset, setting in sorted(set(zip(*map(frames['curves'].get, ('dataset', 'setting'))))):
        tables = {name: frame[(frame['dataset'] == dataset) & (frame['setting'] == setting)]
                  for name, frame in frames.items()}
        shown[dataset, setting] = tables['xe_vs_k']['shown_as'].iloc[0], tables
    return shown


# -----------------------------------------------------------------------------
# pictures


def plain(name):
    """Returns a name as matplotlib draws it: $ begins no formula."""
    return name.replace('$', r'\$')


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
        of_k = {name: rows for name, rows in curves[curves['k'] == k].groupby('quantity')}
        if quantity in of_k and (k > 1 or quantity in ('xe', 'excess')):
            x, n = of_k[quantity]['position'], of_k[quantity]['n_runs'].iloc[0]
            ax.plot(x, of_k[quantity]['mean'], color=color, lw=1.4,
                    label=f'K = {k} ({n} run{"s" * int(n > 1)})')
            ax.fill_between(x, of_k[quantity]['band_low'], of_k[quantity]['band_high'],
                            color=color, alpha=0.2, lw=0)
        if quantity == 'xe' and 'bayes' in of_k:
            ax.plot(of_k['bayes']['position'], of_k['bayes']['mean'], color=color, lw=2, ls=':',
                    label='' if i else 'Bayes optimum')
    ticks = [t for t in (0, 1, 3, 10, 30, 100, 300, 1000) if t < 0.8 * T] + [T - 1]
    ax.set_xscale('symlog', linthresh=1, linscale=0.4)
    ax.set_xticks(ticks, [str(t) for t in ticks])
    ax.xaxis.minorticks_off()
    ax.set(xlim=(0, T - 1), xlabel='tokens of context', ylabel=label)
    if quantity != 'xe':
        ax.axhline(0, color='black', lw=0.8)
    ax.legend()


def panels_of(tables):
    """Returns what is known of XE, ΔXE and the excess over the Bayes optimum, keys of PANELS."""
    rows = tables['xe_vs_k']
    rows = rows.assign(delta_xe=rows['delta_xe'].where(rows['k'] > 1))
    return [key for key, (column, _, _) in PANELS.items() if rows[column].notna().any()]


def trained_on(rows):
    """Returns the rows of xe_by_component.csv of components that the run was trained on."""
    return rows[rows['in_training'].astype(str) == 'True']


def label_k_axis(ax, ks, label, zero=True):
    """Labels an axis over K, with a line at zero."""
    if zero:
        ax.axhline(0, color='black', lw=0.8)
    ax.set(xlabel='K, components in the training data', ylabel=label, xticks=sorted(set(ks)))


def draw_by_position(title, tables):
    """XE, ΔXE and the excess against context position. Returns the figure."""
    panels = panels_of(tables)
    fig, axes = figure(title, 'bands: 95%, simultaneous over positions, documents resampled',
                       len(panels), 4.5)
    for ax, quantity in zip(axes, panels):
        draw_curves(ax, tables['curves'], quantity, PANELS[quantity][2])
    return fig


def draw_vs_k(title, tables):
    """The means over positions against K: each run a dot, and the mean over runs. Returns it."""
    vs_k, runs = tables['xe_vs_k'], trained_on(tables['xe_by_component'])
    runs = runs.groupby(['run', 'k']).filter(lambda rows: len(rows) == rows['k'].iloc[0])
    shares = [dict(rows['component'].value_counts(normalize=True)) for _, rows in runs.groupby('k')]
    comparable = all(share == shares[0] for share in shares)
    panels, note = panels_of(tables), INTERVALS
    if not comparable:
        note += '. XE at different K is of different components: by itself it says nothing of K'
        note += '. ΔXE compares the same components' * ('delta' in panels)
    fig, axes = figure(title, note, len(panels), 4.5)
    for ax, quantity in zip(axes, panels):
        column, ci, label = PANELS[quantity]
        dots = runs.groupby(['run', 'k'])[column].mean().reset_index().dropna()
        ax.scatter(dots['k'], dots[column], s=18, color='tab:orange', alpha=0.7, zorder=3,
                   label='a run')
        joined = comparable or quantity != 'xe'
        rows = vs_k.dropna(subset=[column])
        draw_intervals(ax, *rows[['k', column, f'{ci}_low', f'{ci}_high']].to_numpy().T,
                       fmt='o-' if joined else 'o', color='black', ms=4, capsize=4,
                       label='mean and interval')
        if quantity == 'xe' and rows['bayes_xe'].notna().any():
            ax.plot(rows['k'], rows['bayes_xe'], color='tab:blue', marker='s', ms=4,
                    ls=':' if joined else '', label='Bayes optimum')
        label_k_axis(ax, vs_k['k'], label, zero=quantity != 'xe')
        ax.margins(x=0.1)
        ax.legend()
    return fig


def draw_parts(title, tables):
    """ΔXE's terms as stacked bars by K, what is negative below zero. Returns the figure."""
    rows = tables['xe_vs_k'].dropna(subset=[*COLORS]).to_dict('records')
    if not rows:
        return None
    fig, (ax,) = figure(title, INTERVALS, width=7)
    for row in rows:
        ends = {1: 0.0, -1: 0.0}  # of the stack above zero, and of that below
        k, label = row['k'], (lambda text: text) if row is rows[0] else (lambda text: None)
        for i, (term, (color, hatch)) in enumerate(COLORS.items()):
            sign = 1 if row[term] >= 0 else -1
            start, ends[sign] = ends[sign], ends[sign] + row[term]
            ax.bar(k, row[term], 0.6, bottom=start, color=color, hatch=hatch, edgecolor='white',
                   label=label(term))
            draw_intervals(ax, k - 0.2 + 0.1 * i, ends[sign], start + row[f'{term}_ci_low'],
                           start + row[f'{term}_ci_high'], color='black', capsize=3)
        if pd.notna(row['bayes_ambiguity']):
            ax.plot([k - 0.4, k + 0.4], [row['bayes_ambiguity']] * 2, color='#CC79A7', lw=2.5,
                    label=label('least possible ambiguity (Bayes), from zero'))
        draw_intervals(ax, k + 0.2, row['delta_xe'], row['delta_ci_low'], row['delta_ci_high'],
                       fmt='D', color='black', ms=5, capsize=3, label=label('ΔXE, the sum'))
    label_k_axis(ax, [row['k'] for row in rows], 'part of ΔXE (nats per token)')
    ax.legend(loc='upper left', bbox_to_anchor=(1, 1))
    return fig


def draw_by_component(title, tables):
    """ΔXE of each component against K: each run a mark with its interval. Returns the figure."""
    rows = trained_on(tables['xe_by_component'])
    rows = rows[rows['k'] > 1].dropna(subset=['delta_xe'])
    if not len(rows):
        return None
    fig, (ax,) = figure(title, 'one mark a run; intervals: 95%, documents resampled')
    names = sorted(set(rows['component']))
    for i, name in enumerate(names):
        k, *delta = rows[rows['component'] == name][
            ['k', 'delta_xe', 'delta_ci_low', 'delta_ci_high']].to_numpy().T
        draw_intervals(ax, k + 0.6 * (i + 0.5) / len(names) - 0.3, *delta, fmt='osD^vPX*<>'[i % 10],
                       color=plt.cm.viridis(0.9 * i / max(1, len(names) - 1)), ms=5, capsize=2,
                       label=plain(name))
    label_k_axis(ax, rows['k'], PANELS['delta'][2])
    ax.set_xlim(rows['k'].min() - 0.6, rows['k'].max() + 0.6)
    ax.legend(ncols=2)
    return fig


PICTURES = {'xe_by_position': draw_by_position, 'xe_vs_k': draw_vs_k, 'parts': draw_parts,
            'delta_by_component': draw_by_component}


def draw(folder):
    """Draws all pictures from the CSV files in a folder and returns their paths."""
    shown, paths = read_settings_shown(folder), []
    several = len({dataset for dataset, _ in shown}) > 1
    for (dataset, _), (words, tables) in shown.items():
        row, split = tables['xe_vs_k'].iloc[0], tables['xe_by_component']['split'].iloc[0]
        title = ', '.join([dataset, f'{split} split', f'{row["token_budget"]:,} tokens an epoch',
                           *filter(None, [words.replace('=', ' = ')])])
        names = [dataset] * several + [word for word in words.split(', ')
                                       if word and not word.endswith('=False')]
        suffix = f'-{safe_name("-".join(names))}' if names else ''
        for kind, plot in PICTURES.items():
            if fig := plot(title, tables):
                paths.append(os.path.join(folder, f'{kind}{suffix}.png'))
                replace_file(paths[-1], lambda f: fig.savefig(f, format='png'))
                plt.close(fig)
    return paths


def draw_documents(folder, meta, T):
    """Draws the components' tokens and training documents' lengths to folder/documents.png."""
    names = list(meta['components'])[::-1]
    labels = [plain(name[:40]) for name in names]
    fig, (left, right) = plt.subplots(1, 2, figsize=(11, 1.4 + 0.28 * len(names)), sharey=True)
    tokens = pd.DataFrame([{split: meta['components'][name][split]['tokens']
                            for split in ('train', 'val', 'test')} for name in names], labels)
    tokens.plot.barh(stacked=True, ax=left, xlabel='tokens')
    lengths = [np.diff(np.load(os.path.join(folder, safe_name(name), 'train.idx.npy')))
               for name in names]
    right.boxplot([n.clip(1) for n in lengths], positions=range(len(names)), whis=(5, 95),
                  orientation='horizontal', showfliers=False, manage_ticks=False)
    right.axvline(T, color='black', ls=':', label=f'a window, {T} tokens')
    right.set(xscale='log', xlabel='tokens of a training document (5, 25, 50, 75, 95%)')
    right.xaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
    for ax in (left, right):
        ax.xaxis.set_major_formatter(matplotlib.ticker.EngFormatter(sep=''))
        ax.grid(axis='x')
        ax.set_axisbelow(True)
        ax.legend(ncols=3, loc='lower center', bbox_to_anchor=(0.5, 1), frameon=False)
    fig.suptitle(f'data/{meta["dataset"]}', fontsize=10)
    replace_file(os.path.join(folder, 'documents.png'),
                 lambda f: fig.savefig(f, format='png', dpi=130))
    plt.close(fig)


# -----------------------------------------------------------------------------
# the table


TABLES = [  # title, {heading: column, or column and its interval}, note
    ('', {'runs': 'n_runs', 'sets': 'n_sets', 'XE': 'xe ci', 'ΔXE from K = 1': 'delta_xe delta_ci',
          'interval': 'interval', 'icl_score': 'icl_score'},
     'icl_score: XE at the last position minus XE after a tenth of the context'),
    ('', {'Bayes XE': 'bayes_xe', 'XE - Bayes': 'excess excess_ci', 'of unigram XE - rate': 'share',
          'worst bin': 'worst_bin_excess'},
     'of unigram XE - rate: XE - Bayes as a share of all that context can bring, the best XE'
     ' without\ncontext minus the entropy rate; worst bin: XE - Bayes in the worst of the positions'
     ' 0, 1, 2-3, 4-7 ..'),
    ('what ΔXE is made of: ΔXE = dilution + transfer + ambiguity',
     {term: f'{term} {term}_ci' for term in COLORS}, ''),
    ('', {name: f'{name} {name}_ci' for name in ('bayes_ambiguity', 'efficiency')}, '')]


def format_number(row, columns):
    """A number of a row of xe_vs_k.csv, with its interval where there is one; '-' if unknown."""
    name, *ci = columns.split()
    if pd.isna(row[name]):
        return '-'
    if name in ('n_runs', 'n_sets', 'interval'):
        return str(row[name])
    if name == 'share':
        return f'{row[name]:.1%} of {row["drop"]:.4f}'
    sign = '' if name in ('xe', 'icl_score', 'bayes_xe') else '+'
    ends = ', '.join(f'{row[f"{ci[0]}_{end}"]:{sign}.4f}' for end in ('low', 'high')) if ci else ''
    return f'{row[name]:{sign}.4f}' + (f' [{ends}]' if ci else '')


def setting_lines(rows, notes):
    """Returns the lines of the tables of one setting, rows of xe_vs_k.csv, and of its controls;
    with `notes` also what the columns mean."""
    lines, drop = [], rows['unigram_xe'] - rows['entropy_rate']
    rows = rows.assign(drop=drop, share=(rows['excess'] / drop).where(drop > 1e-6),
                       delta_xe=rows['delta_xe'].where(rows['k'] > 1))  # zero by definition
    for title, headings, note in TABLES:
        cells = pd.DataFrame({heading: [format_number(row, columns) for _, row in rows.iterrows()]
                              for heading, columns in headings.items()})
        cells.insert(0, 'K', rows['k'].to_numpy())
        known = cells != '-'
        cells = cells.loc[known.sum(axis=1) > 1, known.any()]
        if len(cells):
            lines += ['', *filter(None, (title, cells.to_string(index=False), notes and note))]
    for _, row in rows.iterrows():
        start, moved = f'K = {row["k"]}:', row['moved_with_steps']
        if row.get('unfinished', 0) > 0:
            lines.append(f'{start} {row["unfinished"]} of {row["n_runs"]} runs not finished')
        if str(row['shuffle_components']) == 'True' and pd.notna(row['ambiguity']):
            holds = row['ambiguity_ci_low'] <= 0 <= row['ambiguity_ci_high']
            ambiguity = f'ambiguity {format_number(row, "ambiguity ambiguity_ci")}'
            lines.append(
                f'{start} the shuffled control holds: {ambiguity} includes zero' if holds else
                f'{start} the shuffled control does not hold: {ambiguity} excludes zero, so\n'
                'the ambiguity and transfer of this table measure training, not K')
        if moved == 'none':
            lines.append(f'{start} with twice the steps no term moves beyond its interval')
        elif pd.notna(moved):
            terms = moved.replace('delta', 'ΔXE').replace(' ', ', ')
            lines.append(f'{start} with twice the steps {terms} moves beyond its interval:'
                         ' these runs were undertrained, and their terms measure that too')
    return lines


def table(folder):
    """Returns the lines of the table of all settings, each data set under a heading."""
    lines, last = [], None
    for (dataset, _), (words, tables) in read_settings_shown(folder).items():
        lines += ['', f'==== {dataset} ===='] if dataset != last else []
        if words:
            runs = tables['xe_by_component'].sort_values(['k', 'run'], ascending=[False, True])
            names = ', '.join(dict.fromkeys(runs['run']))
            lines += ['', words,
                      textwrap.shorten(names, 100, placeholder=' ..', break_on_hyphens=False)]
        lines += setting_lines(tables['xe_vs_k'], notes=dataset != last)
        last = dataset
    return lines


if __name__ == '__main__':
    results_lock = lock(os.path.join(results_dir, '.lock'), results_dir)
    print(*draw(results_dir), *table(results_dir), sep='\n')
