"""
Evaluates runs on fixed windows: losses by position to results/*.csv, a table, and pictures.

    python eval_xe.py                                         # every run under out/, test split
    python eval_xe.py --runs='out/arxiv-k?-s0' --split=val
    python eval_xe.py --runs='out/*' --eval_components=cs.CV  # a component they were not trained on
    python eval_xe.py --dump=True                             # also out/<run>/xe_windows.npz

Runs -> losses -> curves -> parts -> tables. XE is the mean loss over windows, in nats per token.
All runs are evaluated on the same windows, so differences between runs are taken window by window.
Intervals come from resampling documents, or over runs where there are several (curves.py). runs.py
says what M, P_c, D_c and M_tag are, and which runs are compared; plot_xe.py prints the table and
draws.
"""
import functools
import hashlib
import inspect
import math
import os
import re
import shlex
import sys
from contextlib import nullcontext

# first, so that Ctrl-C ends in one line while the others are imported
from configurator import code_hash, fail, file_hash, lock, override, replace_file, split_names

# isort: split
import numpy as np
import scipy.special
import torch
from tqdm import tqdm

import plot_xe
import processes
import sample_mix
from curves import (
    COLUMNS,
    Curve,
    average,
    by_set,
    ci_columns,
    cluster_bootstrap,
    fit_columns,
    log_bins,
    mean_over_runs,
    p_values,
    write_csv,
)
from model import GPT, choose_device, choose_dtype, compile_model, load_checkpoint
from runs import SEEDS, identity, match_parts, parts_alone, read_runs, short_hash, write_missing

# -----------------------------------------------------------------------------
runs = 'out/*'                # folders of runs, a pattern; several with commas between
split = 'test'                # train, val or test
ckpt = 'best'                 # best: lowest val_xe; last: the last step; step-000064: a snapshot
windows_per_component = 4096  # evaluation windows of each component; 0 = all
eval_components = ''          # evaluate on exactly these, comma separated; '' = each run's own
results_dir = 'results'       # where the CSV files and pictures go
dump = False                  # True: also write out/<run>/xe_windows.npz, the loss of every token
batch_size = 256              # windows that go through the model at once, fewer where they are long
device = ''                   # cuda, mps or cpu; '' = the best there is
dtype = ''                    # of matrix products, float32 or bfloat16; '' = as in training
compile = True                # torch.compile: some 10 s at first, then faster
unfinished = False            # True: runs that are not finished count too
any_code = False              # True: runs of other code count as of today's, for you know better
# -----------------------------------------------------------------------------
override(globals())

CHECKPOINT = {'best': 'best.pt', 'last': 'ckpt.pt'}.get(ckpt, f'{ckpt}.pt')
SHAPES = set()  # of the models that were compiled
# settings with a column each in xe_by_component.csv, whose setting_hash is that of all others
OWN_COLUMNS = 'token_budget', 'tag', 'shuffle_components', 'constant_per_component'
read_meta = functools.cache(sample_mix.read_meta)


def name_settings(runs):
    """
    Returns the runs, each with `setting`: 'key=value key=value', quoted as for a shell, of the keys
    that tell the settings of its data set apart, as few as will do.
    """
    keys = {dataset: plot_xe.tell_apart([run['settings'] for run in runs
                                         if run['dataset'] == dataset])
            for dataset in {run['dataset'] for run in runs}}
    return [run | {'setting': shlex.join(f'{key}={run["settings"].get(key)}'
                                         for key in keys[run['dataset']])} for run in runs]


# -----------------------------------------------------------------------------
# losses


@functools.cache
def get_eval_windows(dataset, component, T, shuffled):
    """
    Returns eval_windows of the split and number asked for, and `cluster` (N,), the bootstrap
    cluster of each window: windows of one document share one. Documents that begin with the same
    window are duplicates and share one too.
    """
    meta = read_meta(dataset)
    windows = sample_mix.eval_windows(meta, component, split, T, windows_per_component, shuffled)
    sample_mix.check_hashes(meta, meta['components'] if shuffled else [component], [split])
    document = windows['source'] * (1 + windows['doc'].max()) + windows['doc']
    _, first, cluster = np.unique(document, return_index=True, return_inverse=True)
    if meta['source'] != 'synthetic':  # two documents of coins begin alike by chance
        _, same_text = np.unique(windows['tokens'][first], axis=0, return_inverse=True)
        cluster = same_text[cluster]
    return windows | {'cluster': cluster}


def run_windows(run, component):
    """Returns get_eval_windows of a component as a run is evaluated on it."""
    shuffled = run['shuffle_components']
    return get_eval_windows(run['dataset'], component, run['block_size'], shuffled)


@functools.cache
def get_model(**model_args):
    """Returns a model without weights: one for all runs of a shape, so it is compiled once."""
    model = GPT(**model_args).to(device).eval()
    if compile:
        compile_model(model, device)
    return model


def windows_at_once(T):
    """
    Returns how many windows of T tokens go through the model at once: batch_size, but no more than
    25,600 tokens, and no more than 2^24 pairs of tokens: a CPU holds a score of attention for
    each.
    """
    return max(1, min(batch_size, 25_600 // T, 2**24 // T**2))


@torch.no_grad()
def window_losses(model, tokens, first, autocast=nullcontext()):
    """
    Returns the loss of every token in nats, float32 (N, T): [:, t] is
    -ln p(w_t | first, w_0 .. w_{t-1}).

    tokens is (N, T), integers; first is the id that each window begins with, (N,). The last batch
    is filled up to windows_at_once, as a compiled model knows one shape.
    """
    (N, T), device = tokens.shape, model.lm_head.weight.device
    padding = ((0, -N % windows_at_once(T)), (0, 0))
    inputs = torch.from_numpy(np.pad(np.column_stack((first, tokens)), padding)).to(device)
    with autocast:
        losses = [model(x[:, :-1], x[:, 1:]) for x in inputs.split(windows_at_once(T))]
    return torch.cat(losses)[:N].cpu().numpy()


def evaluate_checkpoint(run, components, autocast, bar):
    """
    Returns {component: window_losses on its evaluation windows} of a run's checkpoint. The bar
    advances by one for each component.
    """
    path, meta = os.path.join(run['folder'], CHECKPOINT), read_meta(run['dataset'])
    trained, checkpoint = load_checkpoint(path)
    code = checkpoint.get('code', {}).get('model.py', run['model_code']).rpartition('+')[2]
    if checkpoint['mix'] != run['mix'] or code != run['model_code'] and not any_code:
        fail(f'{path} is not of the run that ckpt.pt beside it is of: train it again')
    args = checkpoint['model_args']
    if args['vocab_size'] != meta['vocab_size'] + run['tag'] * len(meta['components']):
        fail(f'{run["folder"]} was trained with another vocabulary than data/{run["dataset"]} has'
             ' now: train it again')
    if compile and tuple(args.items()) not in SHAPES:  # its first batch takes seconds to minutes
        bar.set_description_str('compiling')
        SHAPES.add(tuple(args.items()))
    model = get_model(**args | {'dropout': 0.0})
    model.load_state_dict(trained.state_dict())
    tokens = [run_windows(run, c)['tokens'] for c in components]
    sizes = [len(w) for w in tokens]
    first = np.repeat(sample_mix.first_tokens(meta, components, run['tag']), sizes)
    tokens = np.concatenate(tokens)
    losses = np.empty(tokens.shape, dtype=np.float32)  # one array: a list's would lie in the way
    for i in range(0, len(tokens), windows_at_once(run['block_size'])):
        batch = slice(i, i + windows_at_once(run['block_size']))
        losses[batch] = window_losses(model, tokens[batch], first[batch], autocast)
        bar.set_description_str('evaluating', refresh=False)
        bar.update(len(components) * len(losses[batch]) / len(tokens))
    return dict(zip(components, np.split(losses, np.cumsum(sizes)[:-1])))


def digest_of(arrays):
    """Returns the sha256 of the names and contents of arrays, {name: array}, in hexadecimal."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f'{name} {arrays[name].dtype} {arrays[name].shape}'.encode())
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()


def read_cache(path, source, shapes):
    """
    Returns (the losses in a cache whose names begin with source, {name: (N, T) float32}; whether it
    is damaged, and they are left out). `shapes` are those of the losses wanted, by name. A cache
    without a digest, of an older version, is passed over.
    """
    try:
        with np.load(path) as f:
            arrays = {name: f[name] for name in f.files}
        if 'digest' not in arrays:
            return {}, False
        digest = str(arrays.pop('digest'))
        cached = {name: x for name, x in arrays.items() if name.startswith(source)}
        is_whole = digest == digest_of(arrays) and all(
            x.dtype == np.float32 and x.shape == shapes.get(name, x.shape) and np.isfinite(x).all()
            for name, x in cached.items())
    except FileNotFoundError:
        return {}, False
    except Exception:  # numpy and zipfile each raise their own types
        return {}, True
    return (cached, False) if is_whole else ({}, True)


def run_losses(run, components, bar):
    """
    Returns {component: window_losses on its evaluation windows} of a run, from the cache in the
    run's folder as far as it holds them. Its keys name all that the losses come from: checkpoint,
    data, code and settings. Returns None where the run was trained with another model.py than
    today's, which would give other losses, and the cache does not have them all. The bar advances
    by one for each component.
    """
    kind, autocast = choose_dtype(dtype or run['dtype'], device)
    today = code_hash('model.py')
    weights = file_hash(os.path.join(run['folder'], CHECKPOINT))
    source = short_hash([weights, run['meta'], run['model_code'] or today,
                         code_hash('sample_mix.py'), inspect.getsource(window_losses)])
    keys = {c: f'{source} {windows_per_component} {kind} {c}' for c in components}
    path = os.path.join(run['folder'], f'losses-{split}-{ckpt}.npz')
    shapes = {keys[c]: run_windows(run, c)['tokens'].shape for c in components}
    cached, is_damaged = read_cache(path, source, shapes)
    if is_damaged:
        bar.write(f'{path} is damaged: its losses are computed anew')
    new = [c for c in components if keys[c] not in cached]
    if new and run['model_code'] not in ('', today):
        bar.update(len(components))
        return None
    bar.update(len(components) - len(new))
    if new:
        losses = evaluate_checkpoint(run, new, autocast, bar)
        cached |= {keys[c]: losses[c] for c in new}
        is_same = file_hash(os.path.join(run['folder'], CHECKPOINT)) == weights  # not trained on
        if is_same and os.access(run['folder'], os.W_OK):
            replace_file(path, lambda f: np.savez(f, digest=digest_of(cached), **cached))
    return {c: cached[keys[c]] for c in components}


@functools.cache
def theory(dataset, component):
    """Returns (process, entropy rate, its standard error) of a synthetic component."""
    meta = read_meta(dataset)
    process = processes.read_process(meta, component)
    docs = sample_mix.list_documents(meta, component, split)
    tokens = sample_mix.read_tokens(meta, split, docs).reshape(len(docs), -1)
    return process, *processes.entropy_rate(process, tokens)


@functools.cache
def losses_under(process_of, dataset, component, T, shuffled):
    """component_losses of a component's evaluation windows under the process of another."""
    tokens = get_eval_windows(dataset, component, T, shuffled)['tokens']
    return processes.component_losses(theory(dataset, process_of)[0], tokens)


def optimal_losses(run, component):
    """
    Returns the least possible losses on a component's evaluation windows, (N, T) float64 each: of a
    model that knows what the run's training data tell, and of one that knows the component too.
    Returns None where the processes are not known.
    """
    known, shuffled = run['known'], run['shuffle_components']
    if read_meta(run['dataset'])['source'] != 'synthetic' or component not in known:
        return None
    where = run['dataset'], component, run['block_size'], shuffled
    best_given_component, best = (
        processes.mixture_losses(np.stack([losses_under(c, *where) for c in names]))
        for names in (known if shuffled else [component], known))
    return best_given_component if run['tag'] else best, best_given_component


def write_dump(run, losses):
    """Writes xe_windows.npz of {component: losses}: the windows, where they lie, their losses."""
    windows = [run_windows(run, c) for c in losses]
    arrays = {key: np.concatenate([w[key] for w in windows])
              for key in ('tokens', 'source', 'doc', 'start')}
    arrays['tokens'] = arrays['tokens'].astype(np.int32)  # who reads them may subtract
    arrays['xe'] = np.concatenate(list(losses.values()))
    arrays['component'] = np.repeat(np.arange(len(losses)), [len(xe) for xe in losses.values()])
    optimal = [optimal_losses(run, c) for c in losses]
    if all(optimal):
        arrays['bayes_xe'] = np.concatenate([best for best, _ in optimal])
    replace_file(os.path.join(run['folder'], 'xe_windows.npz'),
                 lambda f: np.savez(f, names=list(losses), **arrays))


# -----------------------------------------------------------------------------
# curves


def component_curve(run, component, values):
    """Returns the Curve of values (N, T) on a component's windows; every run is resampled alike."""
    return cluster_bootstrap(values, run_windows(run, component)['cluster'], run['dataset'], split,
                             component, run['shuffle_components'])


def bootstrap(run, losses):
    """
    Returns {component: {quantity: Curve}} of a run's losses: 'xe', and 'bayes' and
    'bayes_ambiguity' where the processes are known.
    """
    curves = {}
    for c, xe in losses.items():
        values, optimal = {'xe': xe}, optimal_losses(run, c)
        if optimal:
            values |= {'bayes': optimal[0], 'bayes_ambiguity': optimal[0] - optimal[1]}
        curves[c] = {quantity: component_curve(run, c, x) for quantity, x in values.items()}
    return curves


# -----------------------------------------------------------------------------
# parts: what ΔXE is made of (README: What is measured)


TERMS = {'dilution': ('diluted', 'specialist'), 'transfer': ('tagged', 'diluted'),
         'ambiguity': ('xe', 'tagged')}  # one curve minus another
DIFFERENCES = {'delta': ('xe', 'specialist'), 'excess': ('xe', 'bayes'), **TERMS}
QUANTITIES = ('xe', 'bayes', *DIFFERENCES, 'bayes_ambiguity', 'specialist_gap', 'posterior')


def specialist_mixture(run, diluted, bar):
    """
    Returns {component: {'specialist_gap': Curve, 'posterior': Curve}} of a run on K components,
    given its diluted specialists {c: run}; {} without their losses. Q predicts by Bayes' rule with
    the K specialists D_c, as if each were the truth. The gap is the loss of Q minus that of the
    component's own D_c; the posterior is the probability that Q gives to the true component.

    In every window the gap sums to at most ln K, whatever the models are, as Q is at least 1 / K of
    each D_c.
    """
    components, curves = run['mix']['components'], {}
    by_model = [run_losses(diluted[c], components, bar) for c in components]
    if None in by_model:
        return {}
    for i, c in enumerate(components):
        losses = np.stack([losses[c] for losses in by_model]).astype(np.float64)  # (K, N, T)
        gap = processes.mixture_losses(losses) - losses[i]  # (N, T)
        assert gap.sum(1).max() <= math.log(len(components)) + 1e-6, 'more than ln K in a window'
        pieces = np.array_split(losses, 1 + losses.shape[1] // 1024, axis=1)  # as softmax copies
        posterior = np.concatenate([scipy.special.softmax(
            -processes.loss_so_far(piece)[:, :, :-1], axis=0)[i] for piece in pieces])  # (N, T)
        curves[c] = {'specialist_gap': component_curve(run, c, gap),
                     'posterior': component_curve(run, c, posterior)}
    return curves


def decompose(run, parts, curves, bar):
    """
    Returns {component: {quantity: Curve}} of a run: its curves, those of its parts (match_parts)
    and their differences. curves is {folder: bootstrap's result}.
    """
    components, result, mixture = run['mix']['components'], {}, {}
    if len(parts['diluted']) == len(components) and set(components) <= curves[run['folder']].keys():
        mixture = specialist_mixture(run, parts['diluted'], bar)
    for c, quantities in curves[run['folder']].items():
        compared = {part: by_component.get('' if part == 'tagged' else c)
                    for part, by_component in parts.items()}
        others = {part: curves[other['folder']][c]['xe'] for part, other in compared.items()
                  if other and c in curves[other['folder']]}
        known = quantities | others
        result[c] = known | mixture.get(c, {}) | {
            quantity: known[a] - known[b] for quantity, (a, b) in DIFFERENCES.items()
            if a in known and b in known}
    return result


def set_of(run):
    """Returns the components that a run was trained on, sorted, a tuple."""
    return tuple(sorted(run['mix']['components']))


def moved_with_steps(members, runs, means):
    """
    Returns which of ΔXE and its terms move from the members, runs of one setting and K, to the same
    runs with twice the steps: names with spaces between, 'none', or '' without such runs. means is
    {folder: {quantity: Curve}}. A term has moved where the interval of its difference excludes 0.
    """
    def key(run, steps):
        same = identity(run, 'max_iters', 'lr_decay_iters', 'eval_interval')
        return same, steps, *run['mix']['components']
    longer = {key(run, run['max_iters']): means.get(run['folder'], {}) for run in runs}
    pairs = [(means[run['folder']], longer.get(key(run, 2 * run['max_iters']), {}), set_of(run))
             for run in members]
    moves = {term: [(after[term].over_positions() - before[term].over_positions(), names)
                    for before, after, names in pairs if term in before and term in after]
             for term in ('delta', *TERMS)}
    intervals = {term: mean_over_runs(*zip(*found))[1] for term, found in moves.items() if found}
    moved = [term for term, (low, high) in intervals.items() if low > 0 or high < 0]
    return ' '.join(moved) or ('none' if intervals else '')


# -----------------------------------------------------------------------------
# tables


def run_columns(run, component):
    """Returns what tells a run's rows of a component apart in the CSV files, a dict."""
    return {key: run[key] for key in ('run', 'dataset', 'k', *SEEDS, 'setting')} | {
        'split': split, 'components': '+'.join(run['mix']['components']), 'component': component,
        'unfinished': run['unfinished'], 'tag': run['tag'],
        **{key: run['mix'][key] for key in OWN_COLUMNS if key != 'tag'},
        'setting_hash': short_hash({key: value for key, value in run['settings'].items()
                                    if key not in OWN_COLUMNS})}


def component_rows(run, component, curves):
    """
    Returns a list of rows of xe_by_position.csv and a row of xe_by_component.csv, of one component
    of a run. curves is {quantity: Curve}.
    """
    windows, shuffled = run_windows(run, component), run['shuffle_components']
    mean, boot, _ = curves['xe']
    columns = run_columns(run, component) | {
        'n_windows': len(windows['tokens']), 'n_docs': len(np.unique(windows['cluster'])),
        'in_training': component in run['mix']['components']}
    bayes = curves['bayes'].mean if 'bayes' in curves else [''] * len(mean)
    values = zip(range(len(mean)), mean, boot.std(0, ddof=1), *curves['xe'].ci(), bayes)
    by_position = [columns | dict(zip(('position', 'xe', 'se', 'ci_low', 'ci_high', 'bayes_xe'), x))
                   for x in values]

    # over positions
    number = {quantity: curve.over_positions() for quantity, curve in curves.items()}
    components = read_meta(run['dataset'])['components']
    facts = [components[c][split] for c in (components if shuffled else [component])]
    bytes_per_token = sum(f['bytes'] for f in facts) / sum(f['tokens'] for f in facts)
    xe = number['xe'].mean
    row = columns | {'n_tokens': windows['tokens'].size, 'se': boot.mean(1).std(ddof=1),
                     'bits_per_byte': xe / math.log(2) / bytes_per_token,
                     'perplexity': math.exp(xe)}
    for quantity in {'xe', 'delta', 'excess'} & number.keys():
        row |= ci_columns(quantity, [number[quantity]])
    for quantity, name in (('specialist', 'xe_k1'), ('bayes', 'bayes_xe')):
        if quantity in number:
            row[name] = number[quantity].mean
    if 'bayes' in curves and not shuffled:
        _, row['entropy_rate'], row['entropy_rate_se'] = theory(run['dataset'], component)
    return by_position, row


def decomposition_rows(run, curves, mean):
    """
    Returns a run's rows of decomposition.csv: the mean over components, over all positions and at
    each, then each component's over positions; [] where no term is known.
    """
    if not any(term in mean for term in (*TERMS, 'specialist_gap')):
        return []
    names = ('delta', *TERMS, 'bayes_ambiguity', 'specialist_gap', 'posterior')
    cells = [('', '', mean), *(('', t, mean) for t in range(run['block_size'])),
             *((c, '', curves[c]) for c in run['mix']['components'])]
    rows = []
    for c, t, quantities in cells:
        rows.append(run_columns(run, c) | {'position': t})
        for name in names:
            if name in quantities:
                curve = quantities[name]
                number = curve.over_positions() if t == '' else curve.at(t)
                rows[-1] |= ci_columns(name, [number])
    return rows


def bayes_columns(members, curves, bayes, early):
    """Returns the columns of xe_vs_k.csv on the least possible XE; bayes is its mean over runs."""
    bins = log_bins(len(bayes.mean))
    known = [[theory(run['dataset'], c) for c in run['known']] for run in members]
    return {'bayes_xe': bayes.mean.mean(), 'bayes_icl_score': bayes.mean[-1] - bayes.mean[early],
            'worst_bin_excess': np.mean([max(c['excess'].mean[bins == b].mean() for b in set(bins))
                                         for c in curves]),
            'entropy_rate': np.mean([[rate for _, rate, _ in theories] for theories in known]),
            'unigram_xe': np.mean([processes.unigram_xe([process for process, _, _ in theories])
                                   for theories in known])}


def summarise(members, means):
    """
    Returns (row of xe_vs_k.csv, {quantity: Curve} averaged over runs) of runs that agree in setting
    and K. means is {folder: {quantity: Curve}} of each run, averaged over its components.
    """
    run, curves = members[0], [means[run['folder']] for run in members]
    sets = [set_of(run) for run in members]
    mean = average([average(of_set) for of_set in by_set(curves, sets)])
    early = max(0, run['block_size'] // 10 - 1)  # position 9 of 0 .. 99
    same = 'dataset', 'k', 'setting', 'token_budget', 'shuffle_components'
    icl = [c['xe'].at(-1) - c['xe'].at(early) for c in curves]
    row = {key: run[key] for key in same} | {
        'n_runs': len(members), 'n_sets': len({*sets}), 'interval': mean_over_runs(icl, sets)[2],
        'unfinished': sum(run['unfinished'] for run in members), **ci_columns('icl', icl, sets)}
    of_any_k = {'xe', 'delta', 'excess'}
    for quantity in of_any_k | {*TERMS, 'bayes_ambiguity', 'specialist_gap'}:
        if quantity in mean and (run['k'] > 1 or quantity in of_any_k):
            row |= ci_columns(quantity, [c[quantity].over_positions() for c in curves], sets)
    # efficiency is undefined unless the ambiguity is significantly above zero
    if {'ambiguity', 'bayes_ambiguity'} <= mean.keys() and (
            row['ambiguity_ci_low'] > 0 and row['bayes_ambiguity'] > 1e-9):
        pairs = [(c['bayes_ambiguity'].over_positions(), c['ambiguity'].over_positions())
                 for c in curves]
        row |= ci_columns('efficiency', [Curve(a.mean / b.mean, a.boot / b.boot)
                                         for a, b in pairs], sets)
    if 'excess' in mean:
        row |= bayes_columns(members, curves, mean['bayes'], early)
    return row | fit_columns(mean['xe']), mean


def significance(members, means):
    """
    Returns {k: {'<term>_p': p_values}} of runs of one setting: whether ΔXE and its terms are zero,
    for each K > 1 that has several sets of components, or several runs of one set.
    """
    result = {k: {} for k in {run['k'] for run in members}}
    for term in ('delta', *TERMS):
        values = {}
        for k in sorted(result):
            of_k = [run for run in members if run['k'] == k]
            numbers = [means[run['folder']][term].mean.mean() if term in means[run['folder']]
                       else math.nan for run in of_k]
            sets = by_set(numbers, map(set_of, of_k))
            values[k] = numbers if len(sets) == 1 else [np.mean(group) for group in sets]
        for k, p in p_values({k: x for k, x in values.items()
                              if k > 1 and len(x) > 1 and not np.isnan(x).any()}).items():
            result[k][f'{term}_p'] = p
    return result


def curve_rows(row, curves):
    """Returns the rows of curves.csv of {quantity: Curve}, and of their row of xe_vs_k.csv."""
    return [row | {'quantity': quantity, 'position': t, 'mean': mean, 'band_low': low,
                   'band_high': high}
            for quantity in QUANTITIES if quantity in curves
            for t, (mean, low, high) in enumerate(zip(curves[quantity].mean,
                                                      *curves[quantity].band()))]


def untrained_lines(evaluated):
    """Returns the lines under the table that name runs which have learned nothing."""
    folders = [run['folder'] for run in evaluated if run['untrained'] and ckpt == 'best']
    return [] if not folders else [
        '', f'untrained: the best step of {len(folders)} of {len(evaluated)} runs is 0, so their'
        ' learning_rate or data are wrong, and the', f'table has what they began with:'
        f' {", ".join(folders)}']


# -----------------------------------------------------------------------------
# the work in its order


def evaluate_runs(all_runs, bar):
    """
    Returns {folder: bootstrap's result}: the losses of every run on the windows of every component,
    and their curves. Says which runs this model.py cannot evaluate.
    """
    curves, of_other_code = {}, {}
    for run in all_runs:
        bar.set_description_str('evaluating')
        losses = run_losses(run, run['evaluated'], bar)
        if losses is None:
            of_other_code.setdefault(run['model_code'], []).append(run['folder'])
            continue
        curves[run['folder']] = bootstrap(run, losses)
        if dump:
            write_dump(run, losses)
    for code, folders in of_other_code.items():
        bar.write(f'left out, trained with another model.py ({code}): {", ".join(folders)}; set'
                  ' model.py back to evaluate them')
    return curves


def rows_of_runs(evaluated, parts, curves, bar):
    """
    Returns ({name: rows} of the CSV files that have rows of single runs, {folder: {quantity:
    Curve}}: the means over components of runs that were evaluated on all of theirs).
    """
    rows, means = {'xe_by_position': [], 'xe_by_component': [], 'decomposition': []}, {}
    for run in evaluated:
        bar.set_description_str('resampling')
        by_component = decompose(run, parts[run['folder']], curves, bar)
        for c, quantities in by_component.items():
            by_position, row = component_rows(run, c, quantities)
            rows['xe_by_position'] += by_position
            rows['xe_by_component'].append(row)
            bar.update()
        if set(run['mix']['components']) <= by_component.keys():
            mean = average([by_component[c] for c in run['mix']['components']])
            means[run['folder']] = mean
            rows['decomposition'] += decomposition_rows(run, by_component, mean)
    return rows, means


def rows_of_settings(evaluated, parts, means):
    """Returns {name: rows} of the CSV files that have rows by setting and K, of rows_of_runs."""
    rows, groups, parts_only = {'xe_vs_k': [], 'curves': []}, {}, parts_alone(evaluated, parts)
    for run in evaluated:
        if run['folder'] in means:
            groups.setdefault((run['dataset'], run['setting']), []).append(run)
    shown = {key for key in groups if not parts_only.issuperset(r['folder'] for r in groups[key])}
    for key in sorted(groups, key=lambda key: (key not in shown, key)):  # those of parts alone last
        p = significance(groups[key], means)
        for k in sorted({run['k'] for run in groups[key]}):
            members = [run for run in groups[key] if run['k'] == k]
            row, mean = summarise(members, means)
            moved = moved_with_steps(members, evaluated, means) if k > 1 else ''
            rows['xe_vs_k'].append(row | p[k] | {'moved_with_steps': moved})
            rows['curves'] += curve_rows(row, mean) if key in shown else []
    return rows


if __name__ == '__main__':
    if split not in ('train', 'val', 'test'):
        fail(f'--split={split}: choose train, val or test')
    if ckpt not in ('best', 'last') and not re.fullmatch(r'step-\d{6,}', ckpt):
        fail(f'--ckpt={ckpt}: choose best or last, or a snapshot such as step-000064')
    if batch_size < 1 or windows_per_component < 0:
        fail('--batch_size must be at least 1, --windows_per_component at least 0')
    device = choose_device(device)
    all_runs, left_out = read_runs(runs, CHECKPOINT, split_names(eval_components), any_code,
                                   unfinished)
    results_lock = lock(os.path.join(results_dir, '.lock'), results_dir, wait=True)
    read_only = [run['folder'] for run in all_runs if not os.access(run['folder'], os.W_OK)]
    if read_only:
        print(f'folders that cannot be written, so losses are not kept: {", ".join(read_only)}')

    # the bar counts components: evaluated, also by the specialists of a mixture, resampled, drawn
    parts = match_parts(all_runs, all_runs)
    work = sum(len(run['evaluated']) for run in all_runs)
    mixed = sum(run['k']**2 for run in all_runs
                if len(parts[run['folder']]['diluted']) == run['k'] > 1)
    # (a little more, as shares of a component may sum to over 1, and past its end a bar is lost)
    with tqdm(total=3 * work + mixed + 1e-6, leave=False, dynamic_ncols=True, miniters=0,
              mininterval=0.1 if sys.stderr.isatty() else 10,
              bar_format='{desc:10}{bar} {percentage:3.0f}% [{elapsed}<{remaining}]') as bar:
        curves = evaluate_runs(all_runs, bar)
        evaluated = name_settings([run for run in all_runs if run['folder'] in curves])
        if not evaluated:
            fail(f'--runs={runs}: no run that this model.py can evaluate')
        parts = match_parts(evaluated, evaluated)
        rows, means = rows_of_runs(evaluated, parts, curves, bar)
        rows |= rows_of_settings(evaluated, parts, means)
        for run in evaluated:  # all was read of one state of the data
            sample_mix.check_unchanged(run['meta'])

        # the CSV files and pictures
        bar.set_description_str('drawing')
        for name in COLUMNS:
            write_csv(results_dir, name, rows[name])
        pictures = plot_xe.draw(results_dir, lambda share: bar.update(share * work))

    # what is missing, and last the table
    for line in write_missing(results_dir, evaluated, parts, left_out):
        print(line)
    if not rows['decomposition']:
        print('decomposition.csv has no rows: it needs a run of K > 1 and its parts')
    text = '\n'.join([f'{split} split, {ckpt} checkpoint; XE in nats per token, with 95% intervals'
                      ' of other test', 'documents, of other seeds on these components, or of'
                      ' another draw of components',
                      *plot_xe.table(results_dir), *untrained_lines(evaluated), ''])
    replace_file(os.path.join(results_dir, 'table.txt'), text)
    print(f'{text}\n{results_dir}/ has this table, {len(COLUMNS)} CSV files and {len(pictures)}'
          ' pictures')
