"""
Evaluates runs on fixed windows: per-position losses to CSV files and pictures in results/.

    python eval_xe.py                                         # every run under out/, on the test split
    python eval_xe.py --runs='out/arxiv-k?-s0' --split=val
    python eval_xe.py --runs='out/*' --eval_components=cs.CV  # on a component that they were not trained on
    python eval_xe.py --dump=True                             # also out/<run>/xe_windows.npz, every single loss

XE is the mean over windows of the loss in nats a token. The windows are the same for every run, so that a difference of
two runs is taken window by window. Windows of one document resemble each other: an interval comes from
resampling a component's documents, all windows and positions of a document together (percentiles of 1,000 resamples).
The same resamples serve every run: those of a difference are the differences of the runs' resamples, hence paired.
"""
import functools
import glob
import json
import math
import os
import re
import shlex
import textwrap
import zipfile
from contextlib import nullcontext

import matplotlib
import numpy as np
import scipy.special
import scipy.stats
import torch
from tqdm import tqdm

from configurator import fail, file_hash, override, random_stream, replace_file, split_names, write_csv
from model import GPT, choose_device, choose_dtype, compile_model, load_checkpoint
from processes import component_losses, entropy_rate, loss_so_far, mixture_losses, read_process, unigram_xe
from sample_mix import (check_hashes, eval_windows, first_tokens, held_windows, list_documents, read_meta, read_tokens, run_name)

matplotlib.use('Agg')
import matplotlib.pyplot as plt

plt.rcParams.update({'figure.constrained_layout.use': True, 'savefig.dpi': 160, 'grid.alpha': 0.3, 'legend.fontsize': 8,
                     'legend.framealpha': 0.7, 'legend.edgecolor': 'none'})

# -----------------------------------------------------------------------------
runs = 'out/*'                # folders of runs, a pattern; several with commas between
split = 'test'                # train, val or test
ckpt = 'best'                 # best: best.pt, the lowest val_xe; last: ckpt.pt, the last step; step-000064: that snapshot
windows_per_component = 4096  # evaluation windows of each component; 0 = all
eval_components = ''          # evaluate on exactly these, comma separated ('' = each run's own)
results_dir = 'results'       # where the CSV files and pictures go
dump = False                  # True: also write out/<run>/xe_windows.npz, the loss of every token
batch_size = 256              # windows that go through the model at once
device = ''                   # cuda, mps or cpu; '' = the best there is
dtype = ''                    # of matrix products: float32 or bfloat16; '' = what the run was trained in. The softmax is float32
compile = True                # torch.compile: some 10 s at first, then faster
# -----------------------------------------------------------------------------
override(globals())

RESAMPLES = 1000
CHECKPOINT = {'best': 'best.pt', 'last': 'ckpt.pt'}.get(ckpt, f'{ckpt}.pt')
# runs that agree in these answer the same question, and differ in K, components and seeds alone
SETTING = ('dataset', 'block_size', 'token_budget', 'max_iters', 'batch_size', 'gradient_accumulation_steps', 'tag',
           'shuffle_components', 'constant_per_component', 'n_layer', 'n_head', 'n_embd', 'dropout', 'bias', 'learning_rate',
           'min_lr', 'decay_lr', 'warmup_iters', 'lr_decay_iters', 'weight_decay', 'beta1', 'beta2', 'grad_clip', 'dtype',
           'eval_interval', 'patience', 'val_windows_per_component')  # the last three choose best.pt


@functools.cache
def windows_of(dataset, component, T, shuffled):
    """
    eval_windows of the split and number asked for, and `unit` (N,): which document a window is of, as a number. Texts that
    begin with the same window are one document, for a text that is there twice says nothing twice.
    """
    meta = read_meta(dataset)
    windows = eval_windows(meta, component, split, T, windows_per_component, shuffled)
    check_hashes(meta, meta['components'] if shuffled else [component], [split])
    source_and_doc = windows['source'] * (1 + windows['doc'].max()) + windows['doc']
    _, opening, unit = np.unique(source_and_doc, return_index=True, return_inverse=True)  # opening: a document's first window
    if meta['source'] != 'synthetic':  # two documents of coins begin alike by chance
        unit = np.unique(windows['tokens'][opening], axis=0, return_inverse=True)[1][unit]
    return windows | {'unit': unit}


@functools.cache
def model_of(**model_args):
    """Returns a model for a run's weights: one for all runs of the same shape, so that it is compiled once."""
    model = GPT(**model_args).to(device).eval()
    if compile:
        compile_model(model, device)
    return model


@torch.no_grad()
def window_losses(model, tokens, first, autocast=nullcontext()):
    """
    Returns the loss of every token in nats, float32 (N, T): [:, t] is -ln p(w_t | first, w_0 .. w_{t-1}).

    tokens is (N, T), integers; first is the id that each window begins with, (N,). Every batch has batch_size windows,
    the last one filled up, for a compiled model knows one shape.
    """
    N, device = len(tokens), model.lm_head.weight.device
    fill = ((0, -N % batch_size), (0, 0))
    inputs = torch.from_numpy(np.pad(np.column_stack((first, tokens)), fill)).to(device)  # (N and more, 1 + T)
    with autocast:
        losses = [model(x[:, :-1], x[:, 1:]) for x in inputs.split(batch_size)]
    return torch.cat(losses)[:N].cpu().numpy()


def read_losses(path):
    """Returns what run_losses has kept, {key: (N, T) float32}; {} where there is nothing, or nothing that can be read."""
    try:
        with np.load(path) as kept:
            return dict(kept)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile):
        return {}


def run_losses(run, names):
    """
    Returns {component: window_losses on its evaluation windows} of a run. They are kept in the run's folder, under a key that has
    the checkpoint's hash and that of the data set's meta.json, and are computed where they are not there.
    """
    meta, T, path = read_meta(run['dataset']), run['block_size'], os.path.join(run['folder'], CHECKPOINT)
    kind, autocast = choose_dtype(dtype or run['dtype'], device)
    hashes = [file_hash(path), file_hash(os.path.join('data', run['dataset'], 'meta.json'))]
    keys = {name: ' '.join(map(str, (*hashes, split, windows_per_component, kind, name))) for name in names}
    cache = os.path.join(run['folder'], f'losses-{split}-{ckpt}.npz')
    kept = {key: xe for key, xe in read_losses(cache).items() if key.startswith(' '.join(hashes))}
    new = [name for name in names if keys[name] not in kept]
    if new:
        trained, checkpoint = load_checkpoint(path)
        if checkpoint['mix'] != run['mix']:
            fail(f'{path} is not of the run that config.json and mix.json beside it tell of: train it again')
        args = checkpoint['model_args']
        if args['vocab_size'] != meta['vocab_size'] + (len(meta['components']) if run['tag'] else 0):
            fail(f'{run["folder"]} was trained with another vocabulary than data/{run["dataset"]} has now: train it again')
        model = model_of(**args | {'dropout': 0.0})
        model.load_state_dict(trained.state_dict())
        windows = [windows_of(run['dataset'], name, T, run['shuffle_components'])['tokens'] for name in new]
        first = np.repeat(first_tokens(meta, new, run['tag']), [len(w) for w in windows])
        xe = window_losses(model, np.concatenate(windows), first, autocast)
        kept |= zip((keys[name] for name in new), np.split(xe, np.cumsum([len(w) for w in windows])[:-1]))
        replace_file(cache, lambda f: np.savez(f, **kept))
    return {name: kept[keys[name]] for name in names}


@functools.cache
def resamples(n_docs, *name):
    """How often each document is in each resample: (RESAMPLES, n_docs) float32, a function of the arguments alone."""
    counts = random_stream('resample', *name).multinomial(n_docs, np.full(n_docs, 1 / n_docs), size=RESAMPLES)
    return counts.astype(np.float32)


def mean_by_document(xe, doc, *name):
    """
    Returns (mean (T,), boot (RESAMPLES, T)): the mean over windows of xe (N, T), and the same mean in each resample of
    the documents (nan where there is but one). doc (N,) says whose each window is; `name` seeds the resamples.
    """
    _, doc = np.unique(doc, return_inverse=True)
    if doc.max() == 0:  # one document says nothing of how documents differ
        return xe.mean(0), np.full((RESAMPLES, xe.shape[1]), np.nan)
    n = np.bincount(doc)  # (D,) windows of each document
    by_doc = np.argsort(doc, kind='stable')
    total = np.add.reduceat(xe[by_doc].astype(np.float64), np.cumsum(n) - n, axis=0)  # (D, T)
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


def log_bins(T):
    """Returns the bin of each position 0 .. T-1, (T,) int: 0, 1, 2-3, 4-7, 8-15 and so on."""
    return np.ceil(np.log2(np.arange(T) + 1)).astype(int)


@functools.cache
def theory(dataset, component, split):
    """Returns (process, rate, its standard error) of a synthetic component."""
    meta = read_meta(dataset)
    process = read_process(meta, component)
    docs = list_documents(meta, component, split)
    return process, *entropy_rate(process, read_tokens(meta, split, docs).reshape(len(docs), -1))


@functools.cache
def losses_under(dataset, process_of, component, T, shuffled):
    """component_losses of one component's evaluation windows under the process of another."""
    return component_losses(theory(dataset, process_of, split)[0], windows_of(dataset, component, T, shuffled)['tokens'])


def bayes_losses(run, meta, component):
    """The least possible loss on the evaluation windows, (N, T), of a model that knows what the run's training data tell."""
    known = [component] if run['tag'] else run['mix']['components']
    if run['shuffle_components']:  # whatever it is called, a component holds documents of all
        known = sorted(meta['components'])
    key = component, run['block_size'], run['shuffle_components']
    return mixture_losses(np.stack([losses_under(run['dataset'], name, *key) for name in known]))


# -----------------------------------------------------------------------------


def read_run(folder):
    """
    Returns a run's config as a dict, with the folder's name under 'run' and mix.json under 'mix', or None where the folder
    is no run or has no checkpoint yet. Fails where the run's data are not the data there are now.
    """
    try:
        with open(os.path.join(folder, 'config.json')) as f, open(os.path.join(folder, 'mix.json')) as g:
            run = json.load(f) | {'run': os.path.basename(os.path.normpath(folder)), 'folder': folder, 'mix': json.load(g)}
            run.setdefault('constant_per_component', False)  # older runs have no such key
            [run[key] for key in (*SETTING, 'k', 'seed', 'mix_seed', 'command')]
            [run['mix']['of_each'][name]['sha256'] for name in run['mix']['components']]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as e:
        fail(f'{folder}: config.json or mix.json cannot be used ({e!r}): train the run again, or leave it out of --runs')
    if not os.path.isfile(os.path.join(folder, CHECKPOINT)):
        print(f'{folder} has no {CHECKPOINT} yet: left out')
        return None
    then = run['mix'].get('dealt_from') or {name: facts['sha256'] for name, facts in run['mix']['of_each'].items()}
    now = {name: facts['train']['sha256'] for name, facts in read_meta(run['dataset'])['components'].items()}
    for name in then:
        if then[name] != now.get(name):
            fail(f'{folder} was trained on other data than data/{run["dataset"]} holds for {name} now: train it again, or leave'
                 ' it out of --runs')
    return run


def curve_of(run, name, values):
    """mean_by_document of values (N, T) on a component's windows: the same resamples for every run, so that differences are paired."""
    unit = windows_of(run['dataset'], name, run['block_size'], run['shuffle_components'])['unit']
    return mean_by_document(values, unit, run['dataset'], split, name, run['shuffle_components'])


def evaluate_run(run):
    """
    Returns one cell for each component that the run is evaluated on: {component: dict} with n_windows, n_docs, bytes_per_token, and the
    curves 'xe' and, where the processes are known, 'bayes' and 'bayes_ambiguity'. A curve is (mean (T,), boot (RESAMPLES, T)): nats
    by position, and the same in each resample. Writes xe_windows.npz where asked for.
    """
    meta, own = read_meta(run['dataset']), run['mix']['components']
    cells, dumped = {}, []
    for name, xe in run_losses(run, split_names(eval_components) or own).items():
        windows = windows_of(run['dataset'], name, run['block_size'], run['shuffle_components'])
        facts = [meta['components'][other][split] for other in (meta['components'] if run['shuffle_components'] else [name])]
        cells[name] = {'xe': curve_of(run, name, xe), 'n_windows': len(xe), 'n_docs': len(np.unique(windows['unit'])),
                       'bytes_per_token': sum(f['bytes'] for f in facts) / sum(f['tokens'] for f in facts)}
        dumped.append({key: windows[key] for key in ('tokens', 'source', 'doc', 'start')} | {'xe': xe})
        if meta['source'] == 'synthetic' and (name in own or run['shuffle_components']):
            bayes, told = (bayes_losses(run | {'tag': tag}, meta, name) for tag in (run['tag'], True))
            cells[name] |= {'bayes': curve_of(run, name, bayes), 'bayes_ambiguity': curve_of(run, name, bayes - told)}
            dumped[-1]['bayes_xe'] = bayes
    if dump:
        names = list(cells)
        everything = {key: np.concatenate([d[key] for d in dumped]) for key in dumped[0] if all(key in d for d in dumped)}
        replace_file(os.path.join(run['folder'], 'xe_windows.npz'), lambda f: np.savez(
            f, names=names, component=np.repeat(np.arange(len(names)), [len(d['xe']) for d in dumped]), **everything))
    return cells


# -----------------------------------------------------------------------------
# what ΔXE is made of (README: What ΔXE is made of)


TERMS = {'dilution': ('diluted', 'base'), 'transfer': ('told', 'diluted'), 'ambiguity': ('xe', 'told')}  # one curve minus another
DIFFERENCES = {'delta': ('xe', 'base'), 'excess': ('xe', 'bayes'), **TERMS}
CURVES = ('xe', 'bayes', *DIFFERENCES, 'bayes_ambiguity', 'specialist_gap', 'posterior')


def add_differences(cell):
    """Adds the differences whose two curves the cell has; their resamples are the differences of the resamples."""
    for which, (a, b) in DIFFERENCES.items():
        if a in cell and b in cell:
            cell[which] = tuple(x - y for x, y in zip(cell[a], cell[b]))


def find_parts(found):
    """
    Gives each cell of a run M the curves that it is compared with, where their runs are there: 'base' of P_c, the K = 1 run of the
    component with M's budget, 'diluted' of D_c, the K = 1 run with what the component gives to M, and 'told' of M_tag. All agree with
    M in setting (the number of steps included) and seeds. Where M has all of its D_c, their Bayes mixture is put in as well
    (see specialist_mixture).

    Returns the commands that would train what is missing, and marks the runs that are a D_c or M_tag and nothing else by 'part'.
    """
    def identity(run):
        return tuple(run[key] for key in (*SETTING, 'seed', 'mix_seed') if key not in ('token_budget', 'tag', 'constant_per_component'))

    def trained_on(run):
        return tuple(sorted(run['mix']['components'])), run['mix']['tokens']
    specialists = {(*identity(run), *trained_on(run)): run for run in found if run['k'] == 1 and not run['tag']}
    tagged = {(*identity(run), *trained_on(run)): run for run in found if run['tag']}
    missing, baselines, parts = {}, set(), set()

    def command(run, name, *more):
        """Adds the command of a part that is missing; `name` is its folder's."""
        own = ('k', 'components', 'token_budget', 'out_dir', 'tag', 'overwrite', 'init_from', 'constant_per_component', 'max_iters')
        words = [word for word in run['command'] if word.partition('=')[0].removeprefix('--') not in own]
        missing[shlex.join(['python', *words, *more, f'--max_iters={run["max_iters"]}',
                            f'--out_dir={os.path.join(os.path.dirname(run["folder"]), name)}'])] = None

    for run in found:
        T, names, is_mixture = run['block_size'], run['mix']['components'], run['k'] > 1 and not run['tag']
        budget = run['token_budget'] // T * T * (run['k'] if run['constant_per_component'] else 1)  # of each P_c
        told = tagged.get((*identity(run), *trained_on(run))) if is_mixture else None
        if told:
            parts.add(told['folder'])
        elif is_mixture:
            command(run, f'{run["run"]}-tag', '--tag=True', f'--components={",".join(names)}', f'--token_budget={run["token_budget"]}',
                    f'--constant_per_component={run["constant_per_component"]}')
        for name, cell in run['cells'].items():
            own = name in names
            given = run['mix']['of_each'][name]['tokens'] if own else 0
            base = specialists.get((*identity(run), (name,), budget))
            diluted = specialists.get((*identity(run), (name,), given)) if is_mixture and own else None
            cell['diluted_run'] = diluted
            for which, part in (('base', base), ('diluted', diluted), ('told', told)):
                if part and name in part['cells']:
                    cell[which] = part['cells'][name]['xe']
            add_differences(cell)
            if base and is_mixture:
                baselines.add(base['folder'])
            if diluted:
                parts.add(diluted['folder'])
            if not own:
                continue
            docs = list_documents(read_meta(run['dataset']), name, 'train', run['shuffle_components'])
            for part, tokens in [(base, budget), (diluted, given)] if is_mixture else [(base, budget)]:
                if not part and tokens <= T * held_windows(docs, T):
                    folder = run_name(run['dataset'], 1, run['seed'], run['mix_seed'], run['shuffle_components'],
                                      only=f'{name}-{tokens}tokens-{run["max_iters"]}steps')
                    command(run, folder, f'--components={name}', f'--token_budget={tokens}')
        if is_mixture and all(run['cells'].get(name, {}).get('diluted_run') for name in names):
            specialist_mixture(run)
    for run in found:
        run['part'] = run['folder'] in parts - baselines
    return list(missing)


def specialist_mixture(run):
    """
    Gives each cell of a run on K components its specialist mixture: Q, which predicts by Bayes' rule with the K diluted
    specialists D_c as if each were the truth. 'specialist_gap' is the loss of Q minus that of the component's own D_c,
    'posterior' the probability that Q gives to the true component; each a curve.

    In every window the gap sums to at most ln K, whatever the models are, as Q is at least 1 / K of each D_c.
    """
    names = run['mix']['components']
    of_each = [run_losses(run['cells'][name]['diluted_run'], names) for name in names]
    for i, name in enumerate(names):
        losses = np.stack([losses[name] for losses in of_each]).astype(np.float64)  # (K, N, T)
        gap = mixture_losses(losses) - losses[i]  # (N, T)
        assert gap.sum(1).max() <= math.log(len(names)) + 1e-6, 'the gap of a Bayes mixture is at most ln K in every window'
        posterior = scipy.special.softmax(-loss_so_far(losses)[:, :, :-1], axis=0)[i]  # (N, T)
        run['cells'][name] |= {'specialist_gap': curve_of(run, name, gap), 'posterior': curve_of(run, name, posterior)}


def leaves_out_zero(low_high):
    return low_high[0] > 0 or low_high[1] < 0


def moved_with_steps(members, others):
    """
    Returns {term: (mean, (low, high))} of how far ΔXE and its terms move from the members, runs of one setting and K, to
    the same runs with twice the steps among the others; {} where there are none. A term whose interval leaves out 0 has moved.
    """
    def identity(run, steps):
        same = tuple(run[key] for key in SETTING if key not in ('max_iters', 'lr_decay_iters', 'eval_interval'))
        return (*same, run['seed'], run['mix_seed'], tuple(run['mix']['components']), steps)
    longer = {identity(run, run['max_iters']): run for run in others}
    pairs = [(run, longer.get(identity(run, 2 * run['max_iters']))) for run in members]
    moves = {}
    for term in ('delta', *TERMS):
        some = [(a['curves'][term], b['curves'][term]) for a, b in pairs if b and term in a['curves'] and term in b['curves']]
        if some:
            moves[term] = over_runs([b.mean() - a.mean() for (a, _), (b, _) in some],
                                    [b.mean(1) - a.mean(1) for (_, a), (_, b) in some])[:2]
    return moves


FORMS = {'power': (np.geomspace(0.1, 5, 200), lambda n, c: n**-c),
         'exponential': (np.geomspace(0.3, 300, 200), lambda n, c: np.exp(-n / c))}


def fit_decay(xe, boot):
    """
    Fits XE(n) = a + b n^-c ('power') and a + b exp(-n / c) ('exponential') to a curve xe (T,), positions n >= 1, in bins that grow by
    a factor of about 1.4, each weighing as its variance over the resamples boot (R, T) tells. The best a and b for each of 200
    values of c are exact; c is the best of those.

    Returns {form: (a, b, c, squared error)}, each (1 + R,): of the curve itself, then of its resamples.
    """
    n = np.arange(1, len(xe))
    bins = np.unique(np.floor(2 * np.log2(n)), return_inverse=True)[1]
    member = (bins == np.arange(bins.max() + 1)[:, None]) / np.bincount(bins)[:, None]  # (bins, T - 1): averages within a bin
    y = np.vstack((xe[None, 1:], boot[:, 1:])) @ member.T  # (1 + R, bins)
    weight = 1 / np.maximum(y[1:].std(0, ddof=1), 1e-9)
    fits = {}
    for form, (grid, f) in FORMS.items():
        X = np.stack([np.stack((np.ones(len(member)), member @ f(n, c)), axis=1) for c in grid]) * weight[:, None]  # (C, bins, 2)
        ab = np.linalg.pinv(X) @ (y * weight).T  # (C, 2, 1 + R)
        error = ((X @ ab - (y * weight).T)**2).sum(1)  # (C, 1 + R)
        best, i = error.argmin(0), np.arange(error.shape[1])
        fits[form] = ab[best, 0, i], ab[best, 1, i], grid[best], error[best, i]
    return fits


def with_interval(name, value, low_high, ci=None):
    """{name: value, <ci>_low: .., <ci>_high: ..} for a CSV row."""
    ci = ci or f'{name}_ci'
    return {name: value, f'{ci}_low': low_high[0], f'{ci}_high': low_high[1]}


def over_positions(curve):
    """Returns (mean, (low, high)): a curve's mean over positions, and its interval over documents."""
    mean, boot = curve
    return mean.mean(), interval(boot.mean(1))


def over_runs(values, boots):
    """
    Returns (mean, (low, high), 'runs' or 'documents') of one number per run: a t-interval over runs where there are
    several, else the interval from resampling the one run's documents. boots: each run's (RESAMPLES,).
    """
    if len(values) > 1:
        return np.mean(values), t_interval(values), 'runs'
    return values[0], interval(boots[0]), 'documents'


def about(run, component):
    """Returns what tells a run's rows of a component apart in the CSV files, a dict."""
    return {'run': run['run'], 'dataset': run['dataset'], 'split': split, 'k': run['k'], 'seed': run['seed'], 'mix_seed': run['mix_seed'],
            'components': '+'.join(run['mix']['components']), 'component': component, 'setting': run['setting']}


def rows_of(run):
    """Returns a run's rows of xe_by_position.csv and of xe_by_component.csv, two lists of dicts."""
    by_position, by_component = [], []
    for name, cell in run['cells'].items():
        same = about(run, name) | {'n_windows': cell['n_windows'], 'n_docs': cell['n_docs'],
                                   'in_training': name in run['mix']['components']}
        mean, boot = cell['xe']
        low, high = interval(boot)
        for t, se in enumerate(boot.std(0, ddof=1)):
            by_position.append(same | {'position': t, 'xe': mean[t], 'se': se, 'ci_low': low[t], 'ci_high': high[t],
                                       'bayes_xe': cell['bayes'][0][t] if 'bayes' in cell else ''})
        xe = mean.mean()
        row = same | with_interval('xe', *over_positions(cell['xe']), 'ci') | {
            'n_tokens': cell['n_windows'] * len(mean), 'se': boot.mean(1).std(ddof=1), 'perplexity': math.exp(xe),
            'bits_per_byte': xe / math.log(2) / cell['bytes_per_token']}
        if 'delta' in cell:
            row |= {'xe_k1': cell['base'][0].mean()} | with_interval('delta_xe', *over_positions(cell['delta']), 'delta_ci')
        if 'bayes' in cell:
            row |= {'bayes_xe': cell['bayes'][0].mean()} | with_interval('excess', *over_positions(cell['excess']))
            if not run['shuffle_components']:  # documents of all the processes have no rate of their own
                _, row['entropy_rate'], row['entropy_rate_se'] = theory(run['dataset'], name, split)
        by_component.append(row)
    return by_position, by_component


def average(some):
    """Averages dicts of curves, each weighing the same: {which: (mean, boot)} of what all of them have."""
    return {which: tuple(np.mean(x, axis=0) for x in zip(*(one[which] for one in some)))
            for which in CURVES if all(which in one for one in some)}


def rows_of_parts(run):
    """Returns a run's rows of decomposition.csv: the mean over components by position, then each component's over positions."""
    if not any(term in run['curves'] for term in (*TERMS, 'specialist_gap')):
        return []
    rows = []
    for name in ['', *run['mix']['components']]:
        curves = run['cells'][name] if name else run['curves']
        for t in ['', *range(run['block_size'] if not name else 0)]:
            row = about(run, name) | {'position': t}
            for which in ('delta', *TERMS, 'bayes_ambiguity', 'specialist_gap', 'posterior'):
                if which in curves:
                    mean, boot = curves[which]
                    value, low_high = over_positions(curves[which]) if t == '' else (mean[t], interval(boot[:, t]))
                    column, ci = ('delta_xe', 'delta_ci') if which == 'delta' else (which, None)
                    row |= with_interval(column, value, low_high, ci)
            rows.append(row)
    return rows


def summarise(members):
    """
    Returns (row of xe_vs_k.csv, curves averaged over the runs) of runs that agree in setting and K.
    """
    T, k = members[0]['block_size'], members[0]['k']
    early = max(0, T // 10 - 1)  # position 9 of 0 .. 99

    def over(which, number=lambda x: x.mean(-1)):
        """over_runs of a number made of each run's curve: its mean over positions, unless told otherwise."""
        curves = [run['curves'][which] for run in members]
        return over_runs([number(mean) for mean, _ in curves], [number(boot) for _, boot in curves])
    xe, ci, kind = over('xe')
    icl, icl_ci, _ = over('xe', lambda x: x[..., -1] - x[..., early])
    row = {'dataset': members[0]['dataset'], 'k': k, 'n_runs': len(members), **with_interval('xe', xe, ci, 'ci'),
           **with_interval('icl_score', icl, icl_ci, 'icl_ci'), 'interval': kind, 'setting': members[0]['setting']}
    curves = average([run['curves'] for run in members])
    if 'delta' in curves:
        row |= with_interval('delta_xe', *over('delta')[:2], 'delta_ci')
    for which in (*TERMS, 'bayes_ambiguity', 'specialist_gap'):
        if which in curves and k > 1:
            row |= with_interval(which, *over(which)[:2])
    # a share of what may be nothing is no number, and nothing is no share
    if {'ambiguity', 'bayes_ambiguity'} <= set(curves) and row['ambiguity_ci_low'] > 0 and row['bayes_ambiguity'] > 1e-9:
        some = [[run['curves'][which] for which in ('bayes_ambiguity', 'ambiguity')] for run in members]
        row |= with_interval('efficiency', *over_runs([b.mean() / a.mean() for (b, _), (a, _) in some],
                                                      [b.mean(1) / a.mean(1) for (_, b), (_, a) in some])[:2])
    if np.isfinite(curves['xe'][1]).all() and T >= 16:
        fits = fit_decay(*curves['xe'])
        for form, (*abc, error) in fits.items():
            for name, values in zip('abc', abc):
                row |= with_interval(f'{form}_{name}', values[0], interval(values[1:]))
            row[f'{form}_error'] = error[0]
        power, exponential = (fits[form][3] for form in ('power', 'exponential'))
        row |= {'better_fit': 'power' if power[0] < exponential[0] else 'exponential',
                'power_is_better': np.mean(power[1:] < exponential[1:])}
    if 'excess' in curves:
        known_processes = [[theory(run['dataset'], name, split) for name in (
            read_meta(run['dataset'])['components'] if run['shuffle_components'] else run['mix']['components'])] for run in members]
        bins = log_bins(T)
        row |= {'bayes_xe': curves['bayes'][0].mean(), **with_interval('excess', *over('excess')[:2]),
                'worst_bin_excess': np.mean([max(run['curves']['excess'][0][bins == b].mean() for b in set(bins))
                                             for run in members]),
                'bayes_icl_score': curves['bayes'][0][-1] - curves['bayes'][0][early],
                'entropy_rate': np.mean([[rate for _, rate, _ in some] for some in known_processes]),
                'unigram_xe': np.mean([unigram_xe([process for process, _, _ in some]) for some in known_processes])}
    return row, curves


def holm(p):
    """Holm's correction of p-values, (m,) to (m,): those below .05 are together wrong in at most 5% of experiments (Holm 1979)."""
    order = np.argsort(p)
    corrected = np.empty(len(p))
    corrected[order] = np.maximum.accumulate(np.sort(p) * np.arange(len(p), 0, -1)).clip(max=1)
    return corrected


def significance(members, by_k):
    """
    Adds <term>_p to the rows of by_k whose K has several runs among the members: the p-value of a t-test over runs that ΔXE, or a term
    of it, is zero, with Holm's correction for the K's that are tested.
    """
    for term in ('delta', *TERMS):
        values = {k: [run['curves'][term][0].mean() for run in members if run['k'] == k] for k, (row, curves) in by_k.items()
                  if k > 1 and row['n_runs'] > 1 and term in curves}
        for k, p in zip(values, holm([scipy.stats.ttest_1samp(some, 0).pvalue for some in values.values()])):
            by_k[k][0][f'{term}_p'] = p


def field(row, name, ci, sign='+'):
    """A number of a row with its interval, for a table; '-' where it is not known."""
    if name not in row:
        return '-'
    return f'{row[name]:{sign}.4f} [{row[f"{ci}_low"]:{sign}.4f}, {row[f"{ci}_high"]:{sign}.4f}]'


def table(rows):
    """Returns the lines of the table that is printed for the rows of one setting."""
    lines = [f'{"K":>3} {"runs":>4}  {"XE":26} {"ΔXE from K = 1":28} {"icl_score":>9}']
    lines += [f'{row["k"]:3} {row["n_runs"]:4}  {field(row, "xe", "ci", ""):26} {field(row, "delta_xe", "delta_ci"):28}'
              f' {row["icl_score"]:9.4f}' for row in rows]
    if all('excess' in row for row in rows):
        lines[0] += f'  {"Bayes XE":>8}  {"XE - Bayes":28} {"of unigram XE - rate":>20} {"worst bin":>9}'
        for i, row in enumerate(rows, 1):
            drop = row['unigram_xe'] - row['entropy_rate']
            share = f'{row["excess"] / drop:.1%} of {drop:.4f}' if drop > 1e-6 else '-'
            lines[i] += (f'  {row["bayes_xe"]:8.4f}  {field(row, "excess", "excess_ci"):28} {share:>20}'
                         f' {row["worst_bin_excess"]:+9.4f}')
    return lines


def parts_table(by_k, moves):
    """Returns the lines of the table of ΔXE's parts, for one setting; moves is {k: moved_with_steps's result}."""
    names = ('dilution', 'transfer', 'ambiguity', 'bayes_ambiguity', 'efficiency', 'specialist_gap')
    rows = [row for row, _ in by_k.values()]
    names = [name for name in names if any(name in row for row in rows)]
    if not names:
        return []
    lines = ['', 'what ΔXE is made of: ΔXE = dilution + transfer + ambiguity', f'{"K":>3} ' + ' '.join(f'{name:27}' for name in names)]
    for row in rows:
        if any(name in row for name in names):
            lines.append(f'{row["k"]:3} ' + ' '.join(f'{field(row, name, f"{name}_ci"):27}' for name in names))
    tested = [row for row in rows if 'delta_p' in row or 'ambiguity_p' in row]
    if tested:
        lines += ['', 'p of a t-test over runs that it is zero, with Holm\'s correction for the K tested', f'{"K":>3} ' + ' '.join(
            f'{name:>9}' for name in ('ΔXE', *TERMS))]
        for row in tested:
            p = [f'{row[f"{name}_p"]:.2g}' if f'{name}_p' in row else '-' for name in ('delta', *TERMS)]
            lines.append(f'{row["k"]:3} ' + ' '.join(f'{x:>9}' for x in p))
    for k, terms in moves.items():
        moved = [f'{"ΔXE" if term == "delta" else term} {mean:+.4f} [{ends[0]:+.4f}, {ends[1]:+.4f}]'
                 for term, (mean, ends) in terms.items() if leaves_out_zero(ends)]
        if moved:
            lines.append(f'K = {k}: with twice the steps {", ".join(moved)}: these runs were undertrained, and their terms measure'
                         ' that too')
        elif terms:
            lines.append(f'K = {k}: with twice the steps no term moves beyond its interval')
    return lines


PANELS = {'xe': ('XE (nats per token)', 'ci'), 'delta': ('ΔXE from the K = 1 runs (nats per token)', 'delta_ci'),
          'excess': ('XE above the Bayes optimum (nats per token)', 'excess_ci')}


def save(fig, path):
    """Writes a figure and returns its path."""
    fig.savefig(path)
    plt.close(fig)
    return path


def figure(by_k, title):
    """Returns a figure and {which: its axes}: XE, ΔXE where there is a baseline, the excess where Bayes is known."""
    shown = [which for which in PANELS if any(which in curves and (which != 'delta' or k > 1) for k, (_, curves) in by_k.items())]
    fig, axes = plt.subplots(1, len(shown), figsize=(1.5 + 4.5 * len(shown), 4.3), squeeze=False)
    fig.suptitle(title, fontsize=9)
    for ax, which in zip(axes[0], shown):
        ax.set_ylabel(PANELS[which][0])
        ax.grid()
        if which != 'xe':
            ax.axhline(0, color='black', lw=0.8)
    return fig, dict(zip(shown, axes[0]))


def draw_intervals(ax, x, y, low, high, **how):
    """Marks at (x, y) with their intervals from low to high: numbers, or (n,) each."""
    ax.errorbar(x, y, yerr=np.abs([y - low, high - y]).reshape(2, -1), lw=1, **how)


def draw_by_position(by_k, title, path):
    """One curve per K against context position. by_k is {k: summarise's result}. Returns the path."""
    fig, axes = figure(by_k, f'{title}\nbands: 95%, simultaneous over positions, documents resampled')
    for which, ax in axes.items():
        draw_curves(ax, by_k, which)
    return save(fig, path)


def draw_curves(ax, by_k, which):
    """Draws one kind of curve for each K, with its band, against context position."""
    T = max(len(curves['xe'][0]) for _, curves in by_k.values())
    for i, (k, (row, curves)) in enumerate(by_k.items()):
        if which not in curves or (which != 'xe' and which != 'excess' and k == 1):
            continue
        mean, boot = curves[which]
        color = plt.cm.viridis(0.85 * i / max(1, len(by_k) - 1))
        ax.plot(mean, color=color, lw=1.4, label=f'K = {k} ({row["n_runs"]} run{"s" * (row["n_runs"] > 1)})')
        ax.fill_between(range(T), *simultaneous_band(mean, boot), color=color, alpha=0.2, lw=0)
        if which == 'xe' and 'bayes' in curves:
            ax.plot(curves['bayes'][0], color=color, lw=2, ls=':', label=f'K = {k}, Bayes optimum')
    ticks = [t for t in (0, 1, 3, 10, 30, 100, 300, 1000) if t < 0.8 * T] + [T - 1]
    ax.set_xscale('symlog', linthresh=1, linscale=0.4)
    ax.set_xticks(ticks, [str(t) for t in ticks])
    ax.xaxis.minorticks_off()
    ax.set_xlim(0, T - 1)
    ax.set_xlabel('tokens of context')
    ax.legend()


def draw_posterior(by_k, title, path):
    """The specialist mixture by context position: the probability of the true component, and its gap. Returns the path."""
    fig, axes = plt.subplots(1, 2, figsize=(10.5, 4.3))
    fig.suptitle(f'{title}\nthe Bayes mixture of the specialists trained on B / K; bands: 95%, simultaneous over positions', fontsize=9)
    for ax, which, label in zip(axes, ('posterior', 'specialist_gap'), (
            'probability of the true component', 'loss of the mixture minus that of the\ntrue specialist (nats per token)')):
        draw_curves(ax, by_k, which)
        ax.set_ylabel(label)
        ax.grid()
    axes[0].set_ylim(0, 1)
    axes[1].axhline(0, color='black', lw=0.8)
    return save(fig, path)


# of Okabe and Ito's palette, which colour-blind readers tell apart; the hatches are for print
COLORS = {'dilution': ('#E69F00', ''), 'transfer': ('#56B4E9', '//'), 'ambiguity': ('#009E73', '..')}


def draw_parts(by_k, title, path):
    """ΔXE's parts as stacked bars by K, what is negative below zero, each with its interval. Returns the path."""
    fig, ax = plt.subplots(figsize=(7, 4.5))
    fig.suptitle(f'{title}\nintervals: 95%, t over runs, or documents resampled where there is one run', fontsize=9)
    rows = [row for row, _ in by_k.values() if TERMS.keys() <= row.keys()]
    for row in rows:
        ends = {1: 0.0, -1: 0.0}  # of the stack above zero, and of that below
        for i, (term, (color, hatch)) in enumerate(COLORS.items()):
            sign = 1 if row[term] >= 0 else -1
            ax.bar(row['k'], row[term], 0.6, bottom=ends[sign], color=color, hatch=hatch, edgecolor='white',
                   label=term if row is rows[0] else None)
            start, ends[sign] = ends[sign], ends[sign] + row[term]
            draw_intervals(ax, row['k'] - 0.2 + 0.1 * i, ends[sign], start + row[f'{term}_ci_low'], start + row[f'{term}_ci_high'],
                           color='black', capsize=3)
        if 'bayes_ambiguity' in row:
            ax.plot([row['k'] - 0.4, row['k'] + 0.4], [row['bayes_ambiguity']] * 2, color='#CC79A7', lw=2.5,
                    label='least possible ambiguity (Bayes), from zero' if row is rows[0] else None)
        draw_intervals(ax, row['k'] + 0.2, row['delta_xe'], row['delta_ci_low'], row['delta_ci_high'], fmt='D', color='black', ms=5,
                       capsize=3, label='ΔXE, the sum' if row is rows[0] else None)
    ax.axhline(0, color='black', lw=0.8)
    ax.set_xticks([row['k'] for row in rows])
    ax.set_xlabel('K, components in the training data')
    ax.set_ylabel('part of ΔXE (nats per token)')
    ax.grid(axis='y')
    ax.legend()
    return save(fig, path)


def draw_by_component(members, title, path):
    """ΔXE of each component against K: every run a mark with its interval over documents. Returns the path."""
    names = sorted({name for run in members for name in run['mix']['components']})
    fig, ax = plt.subplots(figsize=(7.5, 4.5))
    fig.suptitle(f'{title}\none mark a run; intervals: 95%, documents resampled', fontsize=9)
    for i, name in enumerate(names):
        some = []
        for run in members:
            cell = run['cells'].get(name)
            if run['k'] > 1 and name in run['mix']['components'] and 'delta' in cell:
                mean, (low, high) = over_positions(cell['delta'])
                some.append((run['k'] + 0.6 * (i + 0.5) / len(names) - 0.3, mean, low, high))
        if some:
            k, mean, low, high = np.array(some).T
            draw_intervals(ax, k, mean, low, high, fmt='osD^vPX*<>'[i % 10], color=plt.cm.viridis(0.9 * i / max(1, len(names) - 1)),
                           ms=5, capsize=2, label=name)
    ax.axhline(0, color='black', lw=0.8)
    ax.set_xticks(sorted({run['k'] for run in members if run['k'] > 1}))
    ax.set_xlabel('K, components in the training data')
    ax.set_ylabel(PANELS['delta'][0])
    ax.grid(axis='y')
    ax.legend(ncols=2)
    return save(fig, path)


def draw_vs_k(by_k, members, title, path):
    """The means over positions against K: every run a dot, the mean over runs with its interval. Returns the path."""
    fig, axes = figure(by_k, f'{title}\nintervals: 95%, t over runs (spread over seeds and components), or documents resampled where'
                             ' there is one run')
    for which, ax in axes.items():
        name, ci = 'delta_xe' if which == 'delta' else which, PANELS[which][1]
        dots = [(run['k'], run['curves'][which][0].mean()) for run in members if which in run['curves']]
        ax.scatter(*zip(*dots), s=18, color='tab:orange', alpha=0.7, zorder=3, label='a run')
        rows = [row for row, _ in by_k.values() if name in row]
        k, mean, low, high = (np.array([row[key] for row in rows]) for key in ('k', name, f'{ci}_low', f'{ci}_high'))
        draw_intervals(ax, k, mean, low, high, fmt='o-', color='black', ms=4, capsize=4, label='mean and 95% interval')
        if which == 'xe' and 'bayes_xe' in rows[0]:
            ax.plot(k, [row['bayes_xe'] for row in rows], color='tab:blue', marker='s', ms=4, ls=':', label='Bayes optimum')
        ax.set_xticks(list(by_k))
        ax.set_xlabel('K, components in the training data')
        ax.legend()
    return save(fig, path)


if __name__ == '__main__':
    if split not in ('train', 'val', 'test'):
        fail(f'--split={split}: choose train, val or test')
    if ckpt not in ('best', 'last') and not re.fullmatch(r'step-\d{6,}', ckpt):
        fail(f'--ckpt={ckpt}: choose best or last, or a snapshot such as step-000064')
    if batch_size < 1 or windows_per_component < 0:
        fail('--batch_size must be at least 1, --windows_per_component at least 0')
    device = choose_device(device)
    folders = sorted({os.path.normpath(folder) for pattern in runs.split(',') for folder in glob.glob(pattern.strip())})
    different = {}
    for run in filter(None, map(read_run, folders)):
        key = (*(run[x] for x in (*SETTING, 'seed', 'mix_seed')), *sorted(run['mix']['components']))
        if different.setdefault(key, run) is not run:  # it would count as another seed
            print(f'{run["folder"]} repeats {different[key]["folder"]}: left out')
    found = list(different.values())
    if not found:
        fail(f"--runs={runs}: no run there; train one first, or give a pattern such as --runs='out/*'")

    # the losses of every run on the windows of every component
    def groups(keys):
        return len({tuple(run[key] for key in keys) for run in found})
    differ = [key for key in SETTING if groups([key]) > 1]
    for key in reversed(differ):  # a key that tells no more runs apart than the others do can go
        fewer = [other for other in differ if other != key]
        if groups(fewer) == groups(differ):
            differ = fewer
    for run in tqdm(found, unit=' runs', desc='evaluating', dynamic_ncols=True, leave=False):
        run['setting'] = ' '.join(f'{key}={run[key]}' for key in differ)
        run['cells'] = evaluate_run(run)
    missing = find_parts(found)

    # by run; then by setting and K, over the runs that were evaluated on all of their own components
    by_position, by_component, vs_k, of_parts, pictures = [], [], [], [], []
    for run in found:
        rows = rows_of(run)
        by_position += rows[0]
        by_component += rows[1]
        own = [run['cells'][name] for name in run['mix']['components'] if name in run['cells']]
        run['curves'] = average(own) if len(own) == len(run['mix']['components']) else None
    whole = [run for run in found if run['curves']]
    for run in whole:
        of_parts += rows_of_parts(run)
    try:
        os.makedirs(results_dir, exist_ok=True)
    except OSError as e:
        fail(f'--results_dir={results_dir} cannot be written ({e})')
    for kind in ('xe_by_position', 'xe_vs_k', 'parts', 'posterior', 'delta_by_component'):
        for stale in glob.glob(os.path.join(results_dir, f'{kind}*.png')):
            os.remove(stale)  # of another number of settings
    lines = [f'{split} split, {ckpt} checkpoint; XE in nats a token, with 95% intervals over documents where K has one run, else over runs']
    shown = sorted({run['setting'] for run in whole if not run['part']})
    told_apart = [key for key in differ if len({run[key] for run in whole if not run['part']}) > 1]  # what titles must say
    for setting in [*shown, *sorted({run['setting'] for run in whole} - set(shown))]:
        members = [run for run in whole if run['setting'] == setting]
        by_k = {k: summarise([run for run in members if run['k'] == k]) for k in sorted({run['k'] for run in members})}
        significance(members, by_k)
        moves = {k: moved_with_steps([run for run in members if run['k'] == k], whole) for k in by_k if k > 1}
        for k, terms in moves.items():
            by_k[k][0]['moved_with_steps'] = ' '.join(term for term, (_, ends) in terms.items() if leaves_out_zero(ends)) or (
                'none' if terms else '')
        vs_k += [row for row, _ in by_k.values()]
        if setting not in shown:  # nothing but parts of others: they are in the CSV files
            continue
        suffix = f'-{shown.index(setting) + 1}' if len(shown) > 1 else ''
        lines.append('')
        if suffix:
            lines.append(f'setting {suffix[1:]}: {setting}')
        lines += [*table([row for row, _ in by_k.values()]), *parts_table(by_k, moves)]
        title = ', '.join([members[0]['dataset'], f'{split} split', f'{members[0]["token_budget"]:,} tokens an epoch',
                           *(f'{key} = {members[0][key]}' for key in told_apart if key not in ('dataset', 'token_budget'))])
        title = textwrap.fill(title, 95)

        def path(name):
            return os.path.join(results_dir, f'{name}{suffix}.png')
        pictures += [draw_by_position(by_k, title, path('xe_by_position')), draw_vs_k(by_k, members, title, path('xe_vs_k'))]
        if any(TERMS.keys() <= row.keys() for row, _ in by_k.values()):
            pictures.append(draw_parts(by_k, title, path('parts')))
        if any('posterior' in curves for _, curves in by_k.values()):
            pictures.append(draw_posterior(by_k, title, path('posterior')))
        if any('delta' in curves and k > 1 for k, (_, curves) in by_k.items()):
            pictures.append(draw_by_component(members, title, path('delta_by_component')))

    run_columns = ['run', 'dataset', 'split', 'k', 'seed', 'mix_seed', 'components', 'component']
    delta = ['delta_xe', 'delta_ci_low', 'delta_ci_high']
    excess = ['bayes_xe', 'excess', 'excess_ci_low', 'excess_ci_high']

    def with_ends(*names):
        return [f'{name}{end}' for name in names for end in ('', '_ci_low', '_ci_high')]
    files = [
        write_csv(os.path.join(results_dir, 'xe_by_position.csv'), by_position, run_columns + [
            'position', 'n_windows', 'n_docs', 'xe', 'se', 'ci_low', 'ci_high', 'bayes_xe', 'in_training', 'setting']),
        write_csv(os.path.join(results_dir, 'xe_by_component.csv'), by_component, run_columns + [
            'n_windows', 'n_docs', 'n_tokens', 'xe', 'se', 'ci_low', 'ci_high', 'perplexity', 'bits_per_byte', 'xe_k1',
            *delta, 'in_training', 'setting', *excess, 'entropy_rate', 'entropy_rate_se']),
        write_csv(os.path.join(results_dir, 'xe_vs_k.csv'), vs_k, [
            'dataset', 'k', 'n_runs', 'xe', 'ci_low', 'ci_high', *delta, *with_ends(*TERMS, 'bayes_ambiguity', 'efficiency'),
            'icl_score', 'icl_ci_low', 'icl_ci_high', 'interval', 'setting', *excess, 'worst_bin_excess', 'bayes_icl_score', 'entropy_rate',
            'unigram_xe', *with_ends('specialist_gap', *(f'{form}_{name}' for form in FORMS for name in 'abc')), 'power_error',
            'exponential_error', 'better_fit', 'power_is_better', 'moved_with_steps', 'delta_p', *(f'{term}_p' for term in TERMS)]),
        write_csv(os.path.join(results_dir, 'decomposition.csv'), of_parts, run_columns + [
            'position', *delta, *with_ends(*TERMS, 'bayes_ambiguity', 'specialist_gap', 'posterior'), 'setting'])]

    lines += ['', *files, *pictures]
    replace_file(os.path.join(results_dir, 'table.txt'), lambda f: f.write(('\n'.join(lines) + '\n').encode()))
    if missing:
        print('ΔXE, or its parts, are empty where runs are missing; these commands would fill them:', *missing, '', sep='\n  ')
    print('\n'.join(lines))
