"""
Evaluates runs on fixed windows: per-position losses to CSV files and pictures in results/.

    python eval_xe.py                                       # every run under out/, on the test split
    python eval_xe.py --runs='out/arxiv-k?-s0' --split=val
    python eval_xe.py --runs='out/*' --components=cs.CV     # on a component that they were not trained on
    python eval_xe.py --dump=True                           # also out/<run>/xe_windows.npz, every single loss

XE is the mean over windows of the loss in nats a token. The windows are the same for every run, so that a difference of
two runs is taken window by window. Windows of one document resemble each other: an interval comes from
resampling a component's documents, all windows and positions of a document together (percentiles of 1,000 resamples).
The same resamples serve every run: those of a difference are the differences of the runs' resamples, hence paired.
"""
import csv
import functools
import glob
import json
import math
import os

import matplotlib
import numpy as np
import scipy.stats
import torch
from tqdm import tqdm

from config import fail, override
from model import choose_device, load_checkpoint
from sample_mix import eval_windows, first_tokens, random_stream, read_meta, split_names, with_first

matplotlib.use('Agg')
import matplotlib.pyplot as plt

# -----------------------------------------------------------------------------
runs = 'out/*'                # folders of runs, a pattern; several with commas between
split = 'test'                # train, val or test
ckpt = 'best'                 # best: best.pt, the lowest val_xe; last: ckpt.pt, the last step
windows_per_component = 4096  # evaluation windows of each component; 0 = all
components = ''               # evaluate on exactly these, comma separated ('' = each run's own)
results_dir = 'results'       # where the CSV files and pictures go
dump = False                  # True: also write out/<run>/xe_windows.npz, the loss of every token
batch_size = 256              # windows that go through the model at once
device = ''                   # cuda, mps or cpu; '' = the best there is
# -----------------------------------------------------------------------------
override(globals())

RESAMPLES = 1000
# runs that agree in these answer the same question, and differ in K, components and seeds alone
SETTING = ('dataset', 'block_size', 'token_budget', 'max_iters', 'batch_size', 'gradient_accumulation_steps', 'tag',
           'shuffle_components', 'n_layer', 'n_head', 'n_embd', 'dropout', 'bias', 'learning_rate', 'min_lr', 'decay_lr',
           'warmup_iters', 'lr_decay_iters', 'weight_decay', 'beta1', 'beta2', 'grad_clip', 'dtype')


@torch.no_grad()
def window_losses(model, tokens, first, batch_size=256, device='cpu'):
    """
    Returns the loss of every token in nats, float32 (N, T): [:, t] is -ln p(w_t | first, w_0 .. w_{t-1}).

    tokens is (N, T), integers; first is the id that every window begins with.
    """
    losses = []
    for w in torch.from_numpy(tokens).split(batch_size):
        w = w.to(device)
        losses.append(model(with_first(w, torch.full((len(w),), first, dtype=w.dtype, device=device)), w).cpu())
    return torch.cat(losses).numpy()


@functools.cache
def resamples(n_docs, *name):
    """How often each document is in each resample: (RESAMPLES, n_docs) float32, a function of the arguments alone."""
    counts = random_stream('resample', *name).multinomial(n_docs, np.full(n_docs, 1 / n_docs), size=RESAMPLES)
    return counts.astype(np.float32)


def mean_by_document(xe, doc, *name):
    """
    Returns (mean (T,), boot (RESAMPLES, T)): the mean over windows of xe (N, T), and the same mean in each resample of
    the documents. doc (N,) says whose each window is; `name` seeds the resamples.
    """
    _, doc = np.unique(doc, return_inverse=True)
    n = np.bincount(doc)  # (D,) windows of each document
    total = np.zeros((len(n), xe.shape[1]))
    np.add.at(total, doc, xe)  # (D, T)
    counts = resamples(len(n), *name)
    return total.sum(0) / n.sum(), counts @ total.astype(np.float32) / (counts @ n.astype(np.float32))[:, None]


def interval(boot):
    """The 95% percentile interval of a statistic's resamples (RESAMPLES, ...): (low, high)."""
    return np.quantile(boot, (0.025, 0.975), axis=0)


def t_interval(values):
    """The 95% t-interval of the mean of independent values (n,), n >= 2: (low, high)."""
    half = scipy.stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    return np.mean(values) - half, np.mean(values) + half


def simultaneous_band(mean, boot):
    """
    A 95% band that holds the whole curve at once: mean (T,) plus and minus the same number of standard errors at
    every position, that number being the 95% quantile over resamples of the largest |t|. Returns (low, high), (T,) each.
    """
    se = np.maximum(boot.std(0, ddof=1), 1e-12)
    reach = np.quantile(np.abs((boot - boot.mean(0)) / se).max(1), 0.95)
    return mean - reach * se, mean + reach * se


def read_run(folder):
    """Returns a run's config (a dict, with the folder's name under 'run' and mix.json under 'mix'), or None if it is no run."""
    try:
        with open(os.path.join(folder, 'config.json')) as f, open(os.path.join(folder, 'mix.json')) as g:
            return json.load(f) | {'run': os.path.basename(os.path.normpath(folder)), 'folder': folder, 'mix': json.load(g)}
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as e:
        fail(f'{folder}: config.json or mix.json cannot be read ({e}): train the run again, or leave it out of --runs')


def evaluate_run(run, bar):
    """
    Returns one cell for each component that the run is evaluated on: {component: dict} with xe (T,) and boot
    (RESAMPLES, T), n_windows, n_docs and bytes_per_token. Writes xe_windows.npz where asked for.
    """
    meta, own, T = read_meta(run['dataset']), run['mix']['components'], run['block_size']
    for name in own:
        if meta['components'].get(name, {}).get('train', {}).get('sha256') != run['mix']['of_each'][name]['sha256']:
            fail(f'{run["folder"]} was trained on other data than data/{run["dataset"]} holds for {name} now:'
                 ' train it again, or leave it out of --runs')
    model, _ = load_checkpoint(os.path.join(run['folder'], {'best': 'best.pt', 'last': 'ckpt.pt'}[ckpt]), device)
    cells, dumped = {}, []
    for name in split_names(components) or own:
        windows = eval_windows(meta, name, split, T, windows_per_component, run['shuffle_components'])
        first = first_tokens(meta, [name], run['tag'])[0]
        xe = window_losses(model, windows['tokens'], first, batch_size, device)
        doc = windows['source'] * (1 + windows['doc'].max()) + windows['doc']  # unique over sources
        mean, boot = mean_by_document(xe, doc, run['dataset'], split, name, run['shuffle_components'])
        facts = meta['components'][name][split]
        cells[name] = {'xe': mean, 'boot': boot, 'n_windows': len(xe), 'n_docs': len(np.unique(doc)),
                       'bytes_per_token': facts['bytes'] / facts['tokens']}
        dumped.append(windows | {'xe': xe})
        bar.update()
    if dump:
        path, names = os.path.join(run['folder'], 'xe_windows.npz'), list(cells)
        everything = {key: np.concatenate([d[key] for d in dumped]) for key in dumped[0]}
        with open(path + '.tmp', 'wb') as f:
            np.savez(f, names=names, component=np.repeat(np.arange(len(names)), [len(d['xe']) for d in dumped]), **everything)
        os.replace(path + '.tmp', path)
    return cells


def write_csv(name, rows, columns):
    """Writes results_dir/name: to a temporary file, renamed. A value that is missing is an empty field."""
    path = os.path.join(results_dir, name)
    with open(path + '.tmp', 'w', newline='') as f:
        writer = csv.DictWriter(f, columns)
        writer.writeheader()
        writer.writerows(rows)
    os.replace(path + '.tmp', path)
    return path


def with_interval(name, value, low_high, ci=None):
    """{name: value, <ci>_low: .., <ci>_high: ..} for a CSV row."""
    ci = ci or f'{name}_ci'
    return {name: value, f'{ci}_low': low_high[0], f'{ci}_high': low_high[1]}


def over_runs(values, boots):
    """
    Returns (mean, (low, high), 'runs' or 'documents') of one number per run: a t-interval over runs where there are
    several, else the interval from resampling the one run's documents. boots: each run's (RESAMPLES,).
    """
    if len(values) > 1:
        return np.mean(values), t_interval(values), 'runs'
    return values[0], interval(boots[0]), 'documents'


def draw_by_position(groups, title, path):
    """XE, and where there is a baseline ΔXE, against context position: one curve per K. Returns the path."""
    deltas = {k: g for k, g in groups.items() if k > 1 and g['delta'] is not None}
    fig, axes = plt.subplots(1, 2 if deltas else 1, figsize=(10 if deltas else 6, 4.2), layout='constrained', squeeze=False)
    for ax, which, label in zip(axes[0], ('xe', 'delta'), ('XE (nats per token)', 'ΔXE from the K = 1 runs (nats per token)')):
        for i, (k, g) in enumerate(groups.items()):
            if g[which] is None or (which == 'delta' and k == 1):
                continue
            mean, boot = g[which]
            color = plt.cm.viridis(0.85 * i / max(1, len(groups) - 1))
            n = f'{g["n_runs"]} run{"s" * (g["n_runs"] > 1)}'
            ax.plot(mean, color=color, lw=1.4, label=f'K = {k} ({n}; {", ".join(g["names"]) if len(g["names"]) < 3 else str(len(g["names"])) + " components"})')
            ax.fill_between(range(len(mean)), *simultaneous_band(mean, boot), color=color, alpha=0.2, lw=0)
        ticks = [t for t in (0, 1, 3, 10, 30, 100, 300, 1000) if t < 0.8 * len(mean)] + [len(mean) - 1]
        ax.set_xscale('symlog', linthresh=1, linscale=0.4)
        ax.set_xticks(ticks, [str(t) for t in ticks])
        ax.xaxis.minorticks_off()
        ax.set_xlim(0, len(mean) - 1)
        ax.set_xlabel('tokens of context')
        ax.set_ylabel(label)
        ax.grid(alpha=0.3)
        ax.legend(fontsize=8, frameon=False)
    if deltas:
        axes[0][1].axhline(0, color='black', lw=0.8)
    fig.suptitle(f'{title}\nbands: 95%, simultaneous over positions, documents resampled', fontsize=9)
    fig.savefig(path, dpi=160)
    plt.close(fig)
    return path


def draw_vs_k(rows, per_run, title, path):
    """XE and ΔXE against K: every run a dot, the mean with its interval. Returns the path."""
    fig, axes = plt.subplots(1, 2, figsize=(10, 4.2), layout='constrained')
    for ax, which, ci, label in zip(axes, ('xe', 'delta_xe'), ('ci', 'delta_ci'),
                                    ('XE (nats per token)', 'ΔXE from the K = 1 runs (nats per token)')):
        ax.scatter([r['k'] for r in per_run], [r[which] for r in per_run], s=18, color='tab:orange', alpha=0.7, zorder=3,
                   label='a run')
        known = [r for r in rows if r[which] != '']
        ax.errorbar([r['k'] for r in known], [r[which] for r in known],
                    yerr=np.abs([[r[which] - r[f'{ci}_low'] for r in known], [r[f'{ci}_high'] - r[which] for r in known]]),
                    fmt='o-', color='black', ms=4, lw=1, capsize=4, label='mean and 95% interval')
        ax.set_xticks(sorted({r['k'] for r in rows}))
        ax.set_xlabel('K, components in the training data')
        ax.set_ylabel(label)
        ax.grid(alpha=0.3)
    axes[0].legend(fontsize=8, frameon=False)
    axes[1].axhline(0, color='black', lw=0.8)
    if all(math.isnan(r['delta_xe']) for r in per_run):
        axes[1].text(0.5, 0.5, 'no K = 1 runs of these components', ha='center', transform=axes[1].transAxes)
    fig.suptitle(f'{title}\nintervals: t over runs, or documents resampled where there is one run', fontsize=9)
    fig.savefig(path, dpi=160)
    plt.close(fig)
    return path


if __name__ == '__main__':
    if split not in ('train', 'val', 'test'):
        fail(f'--split={split}: choose train, val or test')
    if ckpt not in ('best', 'last'):
        fail(f'--ckpt={ckpt}: choose best or last')
    device = choose_device(device)
    folders = sorted({f for pattern in runs.split(',') for f in glob.glob(pattern.strip())})
    found = [run for run in map(read_run, folders) if run]
    if not found:
        fail(f'--runs={runs}: no run there; train one first, or give a pattern such as --runs=\'out/*\'')

    # the losses of every run on the windows of every component
    n_cells = sum(len(split_names(components) or run['mix']['components']) for run in found)
    with tqdm(total=n_cells, unit=' components', desc='evaluating', dynamic_ncols=True, leave=False) as bar:
        for run in found:
            run['cells'] = evaluate_run(run, bar)

    # each run's baseline on each component: the K = 1 run of the same setting and seeds, untagged
    differ = [key for key in SETTING if len({run[key] for run in found}) > 1]
    for run in found:
        run['setting'] = ' '.join(f'{key}={run[key]}' for key in differ)
    def identity(run, names, **other):
        return (*(other.get(key, run[key]) for key in SETTING), run['seed'], run['mix_seed'], tuple(names))
    specialists = {identity(run, run['mix']['components']): run for run in found if run['k'] == 1}
    missing = {}
    for run in found:
        for name, cell in run['cells'].items():
            cell['base'] = specialists.get(identity(run, [name], tag=False), {}).get('cells', {}).get(name)
            if name in run['mix']['components'] and not cell['base']:
                words = [w for w in run['command'] if w.partition('=')[0] not in ('--k', '--components', '--out_dir', '--tag',
                         '--overwrite', '--init_from', '--wandb_run_name')]
                missing['python ' + ' '.join(words + [f'--components={name}'])] = None

    by_position, by_component, per_run = [], [], []
    for run in found:
        own = run['mix']['components']
        about = {'run': run['run'], 'dataset': run['dataset'], 'split': split, 'k': run['k'], 'seed': run['seed'],
                 'mix_seed': run['mix_seed'], 'components': '+'.join(own)}
        after = {'setting': run['setting']}
        for name, cell in run['cells'].items():
            T, total = len(cell['xe']), cell['boot'].mean(1)  # (RESAMPLES,) of the mean over positions
            head = about | {'component': name, 'n_windows': cell['n_windows'], 'n_docs': cell['n_docs']}
            tail = after | {'in_training': name in own}
            low, high = interval(cell['boot'])
            by_position += [head | {'position': t, 'xe': cell['xe'][t], 'se': se, 'ci_low': low[t], 'ci_high': high[t],
                                    'bayes_xe': ''} | tail for t, se in enumerate(cell['boot'].std(0, ddof=1))]
            xe = cell['xe'].mean()
            row = head | with_interval('xe', xe, interval(total), 'ci') | tail | {
                'n_tokens': cell['n_windows'] * T, 'se': total.std(ddof=1), 'perplexity': math.exp(xe),
                'bits_per_byte': xe / math.log(2) / cell['bytes_per_token']}
            if cell['base']:
                row |= {'xe_k1': cell['base']['xe'].mean()} | with_interval(
                    'delta_xe', xe - cell['base']['xe'].mean(), interval(total - cell['base']['boot'].mean(1)), 'delta_ci')
            by_component.append(row)

        # the run as a whole: each of its own components weighs the same
        if all(name in run['cells'] for name in own):
            cells = [run['cells'][name] for name in own]
            run['curve'] = np.mean([c['xe'] for c in cells], axis=0), np.mean([c['boot'] for c in cells], axis=0)
            run['delta_curve'] = None
            if all(c['base'] for c in cells):
                run['delta_curve'] = tuple(np.mean([c[key] - c['base'][key] for c in cells], axis=0) for key in ('xe', 'boot'))
            per_run.append(run)

    # by setting and K: mean over runs
    vs_k, shown, early = [], {}, None
    for setting in sorted({run['setting'] for run in per_run}):
        shown[setting] = groups = {}
        for k in sorted({run['k'] for run in per_run if run['setting'] == setting}):
            members = [run for run in per_run if (run['setting'], run['k']) == (setting, k)]
            T = len(members[0]['curve'][0])
            early = max(0, T // 10 - 1)  # position 9 of 0 .. 99
            curves = [run['curve'] for run in members]
            xe, ci, kind = over_runs([m.mean() for m, _ in curves], [b.mean(1) for _, b in curves])
            icl, icl_ci, _ = over_runs([m[-1] - m[early] for m, _ in curves], [b[:, -1] - b[:, early] for _, b in curves])
            row = {'dataset': members[0]['dataset'], 'k': k, 'n_runs': len(members), **with_interval('xe', xe, ci, 'ci'),
                   'delta_xe': '', 'interval': kind, 'setting': setting, **with_interval('icl_score', icl, icl_ci, 'icl_ci')}
            groups[k] = {'xe': tuple(np.mean(x, axis=0) for x in zip(*curves)), 'delta': None, 'n_runs': len(members),
                         'names': sorted({name for run in members for name in run['mix']['components']})}
            deltas = [run['delta_curve'] for run in members]
            if all(deltas):
                delta, delta_ci, _ = over_runs([m.mean() for m, _ in deltas], [b.mean(1) for _, b in deltas])
                row |= with_interval('delta_xe', delta, delta_ci, 'delta_ci')
                groups[k]['delta'] = tuple(np.mean(x, axis=0) for x in zip(*deltas))
            vs_k.append(row)

    # files, then pictures, one of each kind per setting, then the table
    run_columns = ['run', 'dataset', 'split', 'k', 'seed', 'mix_seed', 'components', 'component']
    terms = ['dilution', 'transfer', 'ambiguity', 'bayes_ambiguity', 'efficiency']
    os.makedirs(results_dir, exist_ok=True)
    paths = [
        write_csv('xe_by_position.csv', by_position, run_columns + [
            'position', 'n_windows', 'n_docs', 'xe', 'se', 'ci_low', 'ci_high', 'bayes_xe', 'in_training', 'setting']),
        write_csv('xe_by_component.csv', by_component, run_columns + [
            'n_windows', 'n_docs', 'n_tokens', 'xe', 'se', 'ci_low', 'ci_high', 'perplexity', 'bits_per_byte', 'xe_k1',
            'delta_xe', 'delta_ci_low', 'delta_ci_high', 'in_training', 'setting']),
        write_csv('xe_vs_k.csv', vs_k, [
            'dataset', 'k', 'n_runs', 'xe', 'ci_low', 'ci_high', 'delta_xe', 'delta_ci_low', 'delta_ci_high',
            *(column for term in terms for column in (term, f'{term}_ci_low', f'{term}_ci_high')),
            'icl_score', 'icl_ci_low', 'icl_ci_high', 'interval', 'setting'])]
    for setting, groups in shown.items():
        members = [run for run in per_run if run['setting'] == setting]
        suffix = '-' + setting.replace(' ', ',').replace('/', '_') if setting else ''
        title = f'{members[0]["dataset"]}, {split} split, {members[0]["token_budget"]:,} tokens an epoch {setting}'
        dots = [{'k': run['k'], 'xe': run['curve'][0].mean(),
                 'delta_xe': run['delta_curve'][0].mean() if run['delta_curve'] else math.nan} for run in members]
        paths.append(draw_by_position(groups, title, os.path.join(results_dir, f'xe_by_position{suffix}.png')))
        paths.append(draw_vs_k([row for row in vs_k if row['setting'] == setting], dots, title,
                               os.path.join(results_dir, f'xe_vs_k{suffix}.png')))

    for setting in shown:
        print(f'\n{split} split, {ckpt} checkpoint {setting}\n{"K":>3} {"runs":>4}  {"XE, nats a token":28}'
              f'{"ΔXE from K = 1":30} {"icl_score":8} interval over')
        for row in vs_k:
            if row['setting'] == setting:
                delta = f'{row["delta_xe"]:+.4f} [{row["delta_ci_low"]:+.4f}, {row["delta_ci_high"]:+.4f}]' if row['delta_xe'] != '' else ''
                print(f'{row["k"]:3} {row["n_runs"]:4}  {row["xe"]:.4f} [{row["ci_low"]:.4f}, {row["ci_high"]:.4f}]    {delta:30}'
                      f' {row["icl_score"]:8.4f} {row["interval"]}')
    if missing:
        print('\nΔXE is empty where a K = 1 run is missing; these commands would fill it:\n  ' + '\n  '.join(missing))
    print('\n' + '\n'.join(paths))
