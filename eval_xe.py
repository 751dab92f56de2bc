"""Evaluates runs on fixed windows: losses by position to results/*.csv, a table, and pictures.

    python eval_xe.py                                         # every run under out/, test split
    python eval_xe.py --runs='out/arxiv-k?-s0' --split=val
    python eval_xe.py --runs='out/*' --eval_components=cs.CV  # a component they were not trained on
    python eval_xe.py --dump=True                             # also out/<run>/xe_windows.npz

XE is the mean loss over windows, in nats per token. All runs are evaluated on the same windows, so
differences between runs are taken window by window. curves.py has the intervals and the CSV rows,
runs.py says what a run is compared with, plot_xe.py prints the table and draws.
"""
# -----------------------------------------------------------------------------
runs = 'out/*'                # folders of runs, a pattern; several with commas between
split = 'test'                # train, val or test
ckpt = 'best'                 # best: lowest val_xe; last: the last step; step-000064: a snapshot
windows_per_component = 4096  # evaluation windows of each component; 0 = all
eval_components = ''          # on exactly these, comma separated, or all; '' = each run's own
results_dir = 'results'       # where the CSV files and pictures go
dump = False                  # True: also write out/<run>/xe_windows.npz, the loss of every token
batch_size = 256              # windows that go through the model at once, fewer where they are long
device = ''                   # cuda, mps or cpu; '' = the best there is
dtype = ''                    # of matrix products, float32 or bfloat16; '' = as in training
compile = True                # torch.compile: some 10 s at first, then faster
unfinished = False            # True: runs that are not finished count too
any_code = False              # True: runs of other code count as of today's, for you know better
# -----------------------------------------------------------------------------
from configurator import override

override(globals())

import collections
import contextlib
import functools
import inspect
import os
import re
import shlex
import sys

import numpy as np
import torch
from tqdm import tqdm

import plot_xe
import sample_mix
from checkpoint import WEIGHTS, load_model, read_code, why_other_code
from configurator import code_of, fail, file_hash, lock, replace_file, short_hash, split_names
from curves import (COLUMNS, DIFFERENCES, TERMS, average, cluster_bootstrap, component_rows,
                    curve_rows, setting_words, summarise, term_rows, write_csv)
from machine import choose_device, choose_dtype, compile_model
from model import GPT
from processes import optimal_losses
from runs import match_parts, missing_parts, parts_alone, read_runs

# ---- losses ------------------------------------------------------------------

WINDOWS = {}  # of run_windows: runs share them

def run_windows(run, component):
    """Returns eval_windows of a component as a run is evaluated on it, with `document` (N,), a
    number that windows of one document share, and `name`, which seeds their resamples."""
    meta, T, shuffled = run['meta'], run['block_size'], run['shuffle_components']
    name = run['dataset'], split, component, shuffled
    if (T, *name) not in WINDOWS:
        w = sample_mix.eval_windows(meta, component, split, T, windows_per_component, shuffled)
        sample_mix.check_hashes(meta, meta['components'] if shuffled else [component], [split])
        w['document'] = w['source'] * (1 + w['doc'].max()) + w['doc']
        WINDOWS[T, *name] = w | {'name': name}
    return WINDOWS[T, *name]

@functools.cache
def get_model(**model_args):
    """Returns a model without weights: one for all runs of a shape, so it is compiled once."""
    model = GPT(**model_args).to(device).eval()
    if compile:
        compile_model(model, device)
    return model

@torch.no_grad()
def window_losses(model, tokens, first, autocast=contextlib.nullcontext()):
    """Returns the loss of every token in nats, float32 (N, T): [:, t] is -ln p(w_t | first, w_0 ..
    w_{t-1}). tokens is (N, T), integers; first is the id that each window begins with, (N,)."""
    (N, T), device = tokens.shape, model.lm_head.weight.device
    losses = np.empty((N, T), dtype=np.float32)
    n = max(1, min(batch_size, 25_600 // T, 2**24 // T**2))  # a CPU holds T x T scores of each
    for i in range(0, N, n):
        batch = np.column_stack((first[i:i + n], tokens[i:i + n]))
        padding = (0, n - len(batch)), (0, 0)  # a compiled model knows one shape
        inputs = torch.from_numpy(np.pad(batch, padding)).to(device)
        with autocast:
            losses[i:i + n] = model(inputs[:, :-1], inputs[:, 1:])[:len(batch)].cpu().numpy()
    return losses

def run_losses(run, components):
    """Returns {component: window_losses on its windows} of a run, from a file in its folder whose
    name is a hash of all that they come from: checkpoint, data, code, settings. Returns None where
    there is no such file, and another model.py than today's, with other losses, has trained it."""
    kind, autocast = choose_dtype(dtype or run['dtype'], device)
    today = read_code()
    model_code = code_of((today if any_code else run['code'][-1])['model.py'])
    trained = os.path.join(run['folder'], f'{"ckpt" if ckpt in WEIGHTS else ckpt}.pt')
    weights = file_hash(trained)
    key = short_hash([weights, run['meta']['seal'], model_code, code_of(today['sample_mix.py']),
                      inspect.getsource(window_losses), split, ckpt, windows_per_component, kind,
                      components])
    path = os.path.join(run['folder'], f'losses-{key}.npz')
    with contextlib.suppress(Exception), np.load(path) as f:  # it is not there, or damaged
        return {c: f[c] for c in components}

    # by its model
    if model_code != code_of(today['model.py']):
        return None
    loaded, checkpoint = load_model(run['folder'], ckpt)
    if (checkpoint['mix'], checkpoint['config']['seed']) != (run['mix'], run['seed']):
        fail(f'{run["folder"]}/{ckpt}.pt is of another run than ckpt.pt: delete it')
    model, losses = get_model(**checkpoint['model_args'] | {'dropout': 0.0}), {}
    model.load_state_dict(loaded.state_dict())
    for c in components:
        tokens = run_windows(run, c)['tokens']
        first = np.repeat(sample_mix.first_tokens(run['meta'], [c], run['tag']), len(tokens))
        losses[c] = window_losses(model, tokens, first, autocast)
    if os.access(run['folder'], os.W_OK) and file_hash(trained) == weights:  # not trained on
        replace_file(path, lambda f: np.savez(f, **losses))
    return losses

def write_dump(run, losses):
    """Writes xe_windows.npz of {component: losses}: the windows, where they lie, their losses."""
    windows = {c: run_windows(run, c) for c in losses}
    arrays = {key: np.concatenate([w[key] for w in windows.values()])
              for key in ('tokens', 'source', 'doc', 'start', 'document')}
    arrays['tokens'] = arrays['tokens'].astype(np.int32)  # who reads them may subtract
    arrays['xe'] = np.concatenate([*losses.values()])
    arrays['component'] = np.repeat(np.arange(len(losses)), [len(xe) for xe in losses.values()])
    optimal = [optimal_losses(run, c, windows[c]) for c in losses]
    if all(optimal):
        arrays['bayes_xe'] = np.concatenate([best for best, _ in optimal])
    replace_file(os.path.join(run['folder'], 'xe_windows.npz'),
                 lambda f: np.savez(f, names=[*losses], **arrays))

# ---- curves, and those that ΔXE is made of (README: What is measured) --------

def bootstrap(run, losses):
    """Returns {component: {quantity: Curve}} of a run's losses: xe, and what theory knows."""
    curves = {}
    for c, xe in losses.items():
        windows, values = run_windows(run, c), {'xe': xe}
        if optimal := optimal_losses(run, c, windows):
            values |= {'bayes': optimal[0], 'bayes_ambiguity': optimal[0] - optimal[1]}
        curves[c] = {quantity: cluster_bootstrap(x, windows['document'], *windows['name'])
                     for quantity, x in values.items()}
    return curves

def decompose(run, parts, curves):
    """Returns {component: {quantity: Curve}} of a run: its curves, those of its parts (match_parts)
    and their differences. curves is {folder: bootstrap's result}."""
    result = {}
    for c, quantities in curves[run['folder']].items():
        known = dict(quantities)
        for (part, of), other in parts.items():
            if of in ('', c) and c in curves[other['folder']]:
                known[part] = curves[other['folder']][c]['xe']
        result[c] = known | {name: known[a] - known[b] for name, (a, b) in DIFFERENCES.items()
                             if a in known and b in known}
    return result

def notes(evaluated, means):
    """Returns lines that name runs which are not what they seem; the table has those of means."""
    found = collections.defaultdict(list)
    for run in evaluated:
        if run['untrained'] and ckpt == 'best':
            found['untrained: the best step is 0, so learning_rate or data are wrong, and the table'
                  ' has what they began with'].append(run['folder'])
        mix = run['mix']
        if means and run['folder'] not in means:
            found['in xe_by_component.csv alone, as they lack components'].append(run['folder'])
        asked = mix['token_budget'] * (mix['k'] if mix['constant_per_component'] else 1)
        if mix['tokens'] < 0.999 * asked:  # the specialists read more
            found[f'K x block_size does not divide the budget: K = {mix["k"]} reads'
                  f' {mix["tokens"]:,} of its {asked:,} tokens'].append(run['folder'])
    if any_code:
        found["any_code, so by today's model.py; runs of other code are averaged with the others"
              ] += [run['folder'] for run in evaluated]
    return [f'\n{what}: {", ".join(names)}' for what, names in found.items()]

# ---- the work in its order ---------------------------------------------------

if __name__ == '__main__':
    if split not in ('train', 'val', 'test'):
        fail(f'--split={split}: choose train, val or test')
    if ckpt not in WEIGHTS and not re.fullmatch(r'step-\d{6,}', ckpt):
        fail(f'--ckpt={ckpt}: choose best or last, or a snapshot such as step-000064')
    if batch_size < 1 or windows_per_component < 0:
        fail('--batch_size must be at least 1, --windows_per_component at least 0')
    device = choose_device(device)
    all_runs = read_runs(runs, split_names(eval_components), any_code, unfinished, ckpt)
    results_lock = lock(os.path.join(results_dir, '.lock'), results_dir, wait=True)

    # the losses of every run on the windows of every component, and their curves
    curves = {}
    for run in tqdm(all_runs, 'evaluating', leave=False, unit=' runs', miniters=0,
                    mininterval=0.1 if sys.stderr.isatty() else 10):
        losses = run_losses(run, run['evaluated'])
        if losses is None:
            why = why_other_code(run['code'][-1]['model.py'])
            tqdm.write(f'left out: {run["folder"]} {why}; set model.py back to evaluate it')
            continue
        curves[run['folder']] = bootstrap(run, losses)
        if dump:
            write_dump(run, losses)
    how = {'ckpt': ckpt, 'windows': windows_per_component}  # losses of others are not set beside
    evaluated = [run | {'split': split, 'settings': run['settings'] | how} for run in all_runs
                 if run['folder'] in curves]
    if not evaluated:
        fail(f'--runs={runs}: no run that this model.py can evaluate')
    words = setting_words(evaluated)
    evaluated = [run | {'setting': shlex.join(words[run['folder']])} for run in evaluated]
    parts = match_parts(evaluated)

    # rows of runs, and the means of those that were evaluated on all components of theirs
    rows, means, groups = {name: [] for name in COLUMNS}, {}, {}
    for run in evaluated:
        by_component = decompose(run, parts[run['folder']], curves)
        for c, quantities in by_component.items():
            by_position, row = component_rows(run, c, run_windows(run, c), quantities)
            rows['xe_by_position'] += by_position
            rows['xe_by_component'].append(row)
        if set(run['mix']['components']) <= by_component.keys():
            mean = average([by_component[c] for c in run['mix']['components']])
            means[run['folder']] = mean
            if TERMS.keys() & mean.keys():
                rows['decomposition'] += term_rows(run, by_component, mean)
            groups.setdefault((run['dataset'], run['setting'], run['k']), []).append(run)

    # rows of settings and K; settings of parts alone come last, without curves or `shown_as`
    parts_only = parts_alone(evaluated, parts)
    shown = {key[:2] for key in groups if {r['folder'] for r in groups[key]} - parts_only}
    words = setting_words([groups[key][0] for key in sorted(groups) if key[:2] in shown])
    for key in sorted(groups, key=lambda key: (key[:2] not in shown, key)):
        row, mean = summarise(groups[key], means)
        shown_as = ', '.join(words.get(groups[key][0]['folder'], []))
        rows['xe_vs_k'].append(row | {'shown_as': shown_as})
        rows['curves'] += curve_rows(row, mean) if key[:2] in shown else []
    for run in evaluated:  # all was read of one state of the data
        sample_mix.check_unchanged(run['meta'])

    # the CSV files and pictures, what is missing, and last the table
    for name in COLUMNS:
        write_csv(results_dir, name, rows[name])
    pictures = plot_xe.draw(results_dir)
    missing = {folder: part for run in evaluated if groups for (part, _), (folder, _)
               in missing_parts(run, parts[run['folder']]).items()}
    if missing:  # parts that are begun under names of their own are found among --runs
        counts = collections.Counter(missing.values()).items()
        print(f'ΔXE or its parts lack {", ".join(f"{n} {part}" for part, n in counts)} run(s),'
              f" which python sweep.py --parts_of='{runs}' trains")
    head = f'{split} split, {ckpt} checkpoint; nats per token; docs/outputs.md has the columns'
    lines = plot_xe.table(results_dir) or [f'{row["run"]} on {row["component"]}: XE {row["xe"]:.4f}'
                                           for row in rows['xe_by_component']]
    text = '\n'.join([head, plot_xe.INTERVALS, *lines, *notes(evaluated, means), ''])
    replace_file(os.path.join(results_dir, 'table.txt'), text)
    print(f'{text}\n{results_dir}/: this table, {len(COLUMNS)} CSV files, {len(pictures)} pictures')
