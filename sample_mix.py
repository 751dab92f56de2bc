"""
The mixture: reads prepared data, picks K components, cuts the token budget exactly, draws the
windows. The other scripts import it. Run by itself it shows a mixture, and with a run's folder also
what that run's model makes of it.

    python sample_mix.py --k=3 --show_dataset=True
    python sample_mix.py config/cpu.py --components=cs.DS,math.ST --token_budget=100000
    python sample_mix.py config/cpu.py --k=2 --from_run=out/arxiv-cpu-k2-s0

How a budget becomes windows, with T = block_size: each of the K components gives
n = floor(token_budget / (K T)) windows. A document of L tokens holds floor(L / T) windows.
Documents are drawn without replacement, in an order fixed by mix_seed and component alone, until
they hold n, and the last one is cut. So what a component gives at a larger K is a prefix of what it
gives at a smaller one, and the K sets of one mix_seed are nested.
"""
import contextlib
import glob
import itertools
import json
import math
import os
import sys

# first, so that Ctrl-C ends in one line while the others are imported
import configurator
from configurator import (
    check_parts,
    fail,
    is_count,
    join_names,
    override,
    random_stream,
    safe_name,
    split_names,
)

# isort: split
import numpy as np
import pandas as pd
import torch
from scipy.special import entr, rel_entr

from model import load_checkpoint
from tokenizer import decoder

# -----------------------------------------------------------------------------
# what is shown; the mixture has train.py's keys
num_samples = 3          # windows to show
show_dataset = False     # True: the data set's table too, as prepare.py prints it
from_run = ''            # a run's folder: its best.pt continues the first half of each window
temperature = 0.8        # of the continuation; below 1 is less random, 0 takes the likeliest token
top_k = 200              # the continuation draws from this many likeliest tokens
# -----------------------------------------------------------------------------
settings = override(globals(), shared=(
    'dataset', 'candidates', 'components', 'k', 'token_budget', 'mix_seed', 'shuffle_components',
    'constant_per_component', 'block_size', 'seed'))

AGAIN = 'prepare the data set again with --overwrite=True'
THOUSANDS = '{:,.0f}'.format


# -----------------------------------------------------------------------------
# data on disk


def data_path(dataset, *names):
    """Returns the path of a data set, or of a file in it; fails on a name that is no folder's."""
    if safe_name(dataset) != dataset:
        fail(f'--dataset={dataset}: a name must do as a folder: it has letters, digits and'
             f' . _ + - = alone, such as {safe_name(dataset)}')
    return os.path.join('data', dataset, *names)


def read_meta(dataset):
    """
    Returns data/<dataset>/meta.json, a dict. Fails where it is missing or of another version, or a
    field has another type or range than prepare.py writes.
    """
    path = data_path(dataset, 'meta.json')
    try:
        with open(path, encoding='utf-8') as f:
            meta = json.load(f)
        check_parts(path, meta_parts(meta), AGAIN)
    except (FileNotFoundError, NotADirectoryError):
        fail(why_not_there(dataset))
    except OSError as e:
        fail(f'{path} cannot be read ({e.strerror})')
    except (ValueError, RecursionError) as e:
        fail(f'{path} cannot be read ({e}): {AGAIN}')
    except (KeyError, TypeError, AttributeError) as e:  # a list, say, where a dict should be
        fail(f'{path} was written by another version ({e!r}): {AGAIN}')
    if meta['dataset'] != dataset:  # the name seeds what is drawn from it
        fail(f'data/{dataset} was prepared as {meta["dataset"]}: give the folder that name again,'
             ' or prepare it again')
    return meta


def meta_parts(meta):
    """Yields (name, value, whether it is right) of each field of a meta.json."""
    V = meta['vocab_size']
    yield 'vocab_size', V, is_count(V, 65536) and V > 0
    yield 'bos_id', meta['bos_id'], is_count(meta['bos_id'], V)
    for key in ('dataset', 'source', 'tokenizer'):
        yield key, meta[key], type(meta[key]) is str
    cut = meta.get('cut_from_train', [])
    yield 'cut_from_train', cut, type(cut) is list and all(type(split) is str for split in cut)
    yield 'components', meta['components'], len(meta['components']) > 0
    for component, splits in meta['components'].items():
        for split in ('train', 'val', 'test'):
            facts, where = {'duplicates': 0} | splits[split], f' of {component} in {split}'
            for key in ('docs', 'tokens', 'bytes', 'duplicates'):
                yield key + where, facts[key], is_count(facts[key])
            yield 'bytes' + where, facts['bytes'], facts['bytes'] > 0 or facts['tokens'] == 0
            is_hash = type(facts['sha256']) is str and len(facts['sha256']) == 64
            yield 'sha256' + where, facts['sha256'], is_hash


def why_not_there(dataset):
    """Returns what to do about data/<dataset>, which has no meta.json."""
    folder, old = os.path.join('data', dataset), os.path.join('data', f'.{dataset}.old')
    if writer := configurator.lock_holder(os.path.join('data', f'.{dataset}.lock')):
        return f'{folder} is being written by {writer}: start again when that is done'
    if os.path.isdir(old):
        return (f'{folder} was being replaced when prepare.py was killed: mv {old} {folder} brings'
                ' the old one back, or prepare it again')
    there = sorted(os.path.dirname(name) for name in glob.glob('*/meta.json', root_dir='data'))
    command = f'python prepare.py --dataset={dataset}'
    if os.path.basename(sys.argv[0]) in ('sample_mix.py', 'train.py', 'sweep.py'):
        command = configurator.same_command('prepare.py')  # it names the config files
    return (f'{folder} is not a prepared data set (data/ has {", ".join(there) or "none"}'
            f'{configurator.nearest(dataset, there)}): run {command} first'
            f' {configurator.looked_in(folder)}')


def check_unchanged(meta):
    """Fails where a data set is no longer what read_meta said: call it when all is read."""
    if read_meta(meta['dataset']) != meta:
        fail(f'{data_path(meta["dataset"])} was replaced while it was read: start again')


def fail_on_data(meta, what):
    """Fails where data are not what was prepared: they were replaced meanwhile, or `what` is so."""
    check_unchanged(meta)
    fail(f'{what}: {AGAIN}')


@contextlib.contextmanager
def reading(meta):
    """Ends what it holds in one line where a file of a data set cannot be read."""
    try:
        yield
    except (OSError, ValueError, EOFError) as e:
        if refused := configurator.cause(e):
            fail(refused)
        fail_on_data(meta, f'data/{meta["dataset"]} is damaged, or of an older version ({e})')


def same_data(record, meta):
    """Returns whether a mixture, the content of mix.json, was drawn from the data of meta."""
    now = {name: splits['train']['sha256'] for name, splits in meta['components'].items()}
    drawn = {name: facts['sha256'] for name, facts in record['of_each'].items()}
    return record.get('dealt_from', now) == now and drawn == {name: now.get(name) for name in drawn}


def bin_path(meta, component, split):
    """Returns the path of the tokens of a component's split."""
    return data_path(meta['dataset'], safe_name(component), f'{split}.bin')


def check_hashes(meta, components, splits):
    """Fails where the tokens of a split of a component do not have meta.json's sha256."""
    for component, split in itertools.product(components, splits):
        path = bin_path(meta, component, split)
        with reading(meta):
            sha256 = configurator.file_hash(path)
        if sha256 != meta['components'][component][split]['sha256']:
            fail_on_data(meta, f'{path} is not what was prepared (its sha256 is not that in'
                         ' meta.json)')


def list_documents(meta, component, split, shuffle_components=False):
    """
    Returns the documents of one component as a structured array with the fields source (index into
    sorted(meta['components']): whose .bin it lies in), doc (index into that .bin's idx.npy), start
    and length (tokens, in that .bin). Fails where the files are not what meta.json says.

    With shuffle_components the documents of the whole data set are dealt anew: each component keeps
    its number of documents but gets them from all of them at random, the same deal for every run.
    """
    names = sorted(meta['components'])
    if component not in names:
        fail(f'component {component!r} is not in data/{meta["dataset"]}; it has {join_names(names)}'
             ' (--candidates= chooses from all of them)')
    if shuffle_components:
        pool = np.concatenate([list_documents(meta, name, split) for name in names])
        ends = np.cumsum([meta['components'][name][split]['docs'] for name in names])
        rng = random_stream('shuffle_components', meta['dataset'], split)
        return pool[np.split(rng.permutation(len(pool)), ends)[names.index(component)]]

    path, facts = bin_path(meta, component, split), meta['components'][component][split]
    with reading(meta):
        offsets, size = np.load(path.removesuffix('.bin') + '.idx.npy'), os.path.getsize(path)
    right_shape = offsets.shape == (facts['docs'] + 1,) and offsets.dtype.kind in 'iu'
    if not right_shape or size != 2 * facts['tokens'] or (
            offsets[0] != 0 or offsets[-1] != facts['tokens'] or (np.diff(offsets) < 0).any()):
        fail_on_data(meta, f'{path} is not what meta.json says it is ({facts["tokens"]} tokens)')
    docs = np.zeros(facts['docs'], [(key, 'i8') for key in ('source', 'doc', 'start', 'length')])
    docs['source'], docs['doc'] = names.index(component), np.arange(facts['docs'])
    docs['start'], docs['length'] = offsets[:-1], np.diff(offsets)
    return docs


def read_tokens(meta, split, docs):
    """Returns the tokens of the documents end to end, uint16. Each file is read in its order."""
    names, end = sorted(meta['components']), np.cumsum(docs['length'])
    tokens = np.empty(docs['length'].sum(), dtype='<u2')
    for source in np.unique(docs['source']):
        mine = np.flatnonzero(docs['source'] == source)
        mine = mine[np.argsort(docs['start'][mine])]
        with reading(meta), open(bin_path(meta, names[source], split), 'rb', 2**17) as f:
            for start, a, b in zip(docs['start'][mine], (end - docs['length'])[mine], end[mine]):
                f.seek(2 * start)
                f.readinto(tokens[a:b])
    if tokens.max(initial=0) >= meta['vocab_size']:
        fail_on_data(meta, f'data/{meta["dataset"]} holds a token {tokens.max()}, its vocabulary'
                     f' ends at {meta["vocab_size"] - 1}')
    return tokens


def count_tokens(tokens, vocab_size):
    """Returns how often each id is in tokens (N,), (vocab_size,) int64."""
    pieces = np.array_split(tokens, 1 + len(tokens) // 2**20)  # bincount makes int64 of them
    return sum(np.bincount(piece, minlength=vocab_size) for piece in pieces)


def held_windows(docs, T):
    """Returns how many windows of T tokens the documents of list_documents hold."""
    return int((docs['length'] // T).sum())


def number_windows(windows):
    """
    Numbers the windows of D documents that hold windows (D,) of them, one document after another.
    Returns (N,) each one's document, and (N,) which of its document's windows it is, from 0 on.
    """
    doc = np.repeat(np.arange(len(windows)), windows)
    return doc, np.arange(len(doc)) - (np.cumsum(windows) - windows)[doc]


def data_table(meta, block_size):
    """Returns the lines of two tables: the data set, and the budgets that its components allow."""
    rows, T = [], block_size
    for component, splits in meta['components'].items():
        for split in ('train', 'val', 'test'):
            length, facts = list_documents(meta, component, split)['length'], splits[split]
            rows.append({
                'component': component, 'split': split, 'documents': facts['docs'],
                'tokens': facts['tokens'], 'bytes/token': facts['bytes'] / facts['tokens'],
                'median': np.median(length), 'longest': length.max(),
                'duplicates dropped': facts.get('duplicates', 0)})
    lines = pd.DataFrame(rows).to_string(index=False, formatters=dict.fromkeys(
        ['documents', 'tokens', 'median', 'longest', 'duplicates dropped'], THOUSANDS)
        | {'bytes/token': '{:.2f}'.format}).split('\n')
    if meta.get('cut_from_train'):
        lines.append(f'{" and ".join(meta["cut_from_train"])}: cut from train, a tenth of its'
                     ' documents each, by a hash of the text')
    held = sorted((T * held_windows(list_documents(meta, component, 'train'), T)
                   for component in meta['components']), reverse=True)
    budgets = pd.DataFrame([(K, K * held[-1], K * tokens) for K, tokens in enumerate(held, 1)],
                           columns=['K', 'any K components', 'the K largest'])
    return [*lines, '', f'largest --token_budget, in tokens (whole windows of {T}):',
            *budgets.to_string(index=False, formatters=[str, THOUSANDS, THOUSANDS]).split('\n'),
            f'the same for every K, whichever the components: {held[-1]:,}']


# -----------------------------------------------------------------------------
# mixture


def choose_components(meta, k, candidates, components, mix_seed):
    """
    Returns (the mixture's components, those that set an automatic budget): names. The latter are
    all candidates, or the components where they are named and not all candidates.
    """
    pool = sorted(split_names(candidates)) or sorted(meta['components'])
    if chosen := split_names(components):  # named: it need not have the other candidates
        pool = [name for name in pool if name in meta['components']]
        return chosen, pool if set(chosen) <= set(pool) else chosen
    if not 1 <= k <= len(pool):
        are = 'is 1 candidate' if len(pool) == 1 else f'are {len(pool)} candidates'
        fail(f'--k={k}: there {are} ({join_names(pool)})')
    order = random_stream('components', mix_seed).permutation(len(pool))
    return [pool[i] for i in order[:k]], pool


def automatic_budget(windows, T):
    """
    Returns the tokens that each of the candidates holds, whose windows are given. It is a multiple
    of lcm(1 .. number of candidates) windows where that costs under 1%: every K then gets 1/K.
    """
    smallest, multiple = min(windows), math.lcm(*range(1, len(windows) + 1))
    rounded = smallest // multiple * multiple
    return T * (rounded if smallest - rounded < 0.01 * smallest else smallest)


def draw_documents(docs, n, T, rng):
    """Returns documents of list_documents at random that hold n windows; the last one is cut."""
    drawn = docs[rng.permutation(len(docs))]
    drawn = drawn[drawn['length'] >= T]
    total = np.cumsum(drawn['length'] // T)
    drawn = drawn[:np.searchsorted(total, n) + 1]
    excess = total[len(drawn) - 1] - n  # windows of the last document that are not needed
    if excess:
        drawn['length'][-1] = T * (drawn['length'][-1] // T - excess)
    return drawn


def draw_mix(dataset, block_size, k=2, candidates='', components='', token_budget=0, mix_seed=0,
             shuffle_components=False, constant_per_component=False):
    """
    Chooses the components and their training documents (see this file's docstring).

    Returns (mix, record). mix holds the whole budget: tokens (N,) uint16, and for each of the D
    documents in it start, windows, slack and component, each (D,) int64: where in tokens it begins,
    how many windows it gives, by how many tokens their phase can move, and which component (index
    into record['components']) it belongs to. record is what mix.json says: components, and
    documents, windows, tokens and sha256 of each; all plain Python. Fails where a component does
    not hold its share of the budget, naming the largest budget that would do.
    """
    T, meta = block_size, read_meta(dataset)
    if T < 2:
        fail(f'--block_size={T}: a window needs at least 2 tokens')
    chosen, pool = choose_components(meta, k, candidates, components, mix_seed)
    needed = chosen if components and token_budget else dict.fromkeys([*chosen, *pool])
    docs = {name: list_documents(meta, name, 'train', shuffle_components) for name in needed}
    held = {name: held_windows(docs[name], T) for name in docs}  # windows in each component
    for name in [name for name in docs if held[name] == 0]:
        fail(f'--block_size={T}: no document of {name} is that long, the longest has'
             f' {docs[name]["length"].max()} tokens')

    # the budget in windows: n of each component
    K, smallest = len(chosen), min(chosen, key=held.get)
    shares = 1 if constant_per_component else K
    token_budget = token_budget or automatic_budget([held[name] for name in pool], T)
    n = token_budget // (shares * T)
    if n < 1:
        fail(f'--token_budget={token_budget} gives {K} components no window of {T} tokens each:'
             f' at least {shares * T}')
    if n > held[smallest]:
        fail(f'--token_budget={token_budget}: {smallest} holds {held[smallest] * T} tokens in'
             f' windows of {T}, not its 1/{shares} ({n * T}); the largest budget for these'
             f' components is {held[smallest] * shares * T}')

    # the documents, and what mix.json says of them
    drawn = {name: draw_documents(docs[name], n, T, random_stream('documents', mix_seed, name))
             for name in chosen}
    sha256 = {name: splits['train']['sha256'] for name, splits in meta['components'].items()}
    record = {
        'dataset': dataset, 'components': chosen, 'k': K, 'block_size': T, 'mix_seed': mix_seed,
        'shuffle_components': shuffle_components, 'constant_per_component': constant_per_component,
        'token_budget': token_budget, 'windows': n * K, 'tokens': n * K * T,
        'of_each': {name: {'documents': len(drawn[name]), 'windows': n, 'tokens': n * T,
                           'sha256': sha256[name]} for name in chosen}}
    if shuffle_components:
        record['dealt_from'] = sha256
    component = np.repeat(np.arange(K), [len(drawn[name]) for name in chosen])
    docs = np.concatenate([drawn[name] for name in chosen])
    mix = {'tokens': read_tokens(meta, 'train', docs),
           'start': np.cumsum(docs['length']) - docs['length'],
           'windows': docs['length'] // T, 'slack': docs['length'] % T, 'component': component}
    return mix, record


def draw_epoch(mix, block_size, seed, epoch):
    """
    Returns the windows of one epoch in the order in which training reads them: start (N,) in
    mix['tokens'], and component (N,), int64. Each document is cut from a phase of its own, uniform
    in its slack 0 .. L mod T.
    """
    rng, n = random_stream('windows', seed, epoch), mix['windows']
    phase = rng.integers(0, mix['slack'] + 1)  # (D,)
    # of a document whose first window is the i-th of all, less i windows: then all rise alike
    start = np.repeat(mix['start'] + phase - block_size * (np.cumsum(n) - n), n)
    start += np.arange(0, block_size * len(start), block_size)
    order = rng.permutation(len(start))
    return start[order], np.repeat(mix['component'], n)[order]


def draw_batches(mix, block_size, batch, seed, skip=0, device='cpu'):
    """
    Yields (start, component), one int64 tensor (2, batch) on the device, for ever: one epoch's
    windows after another's, without a gap, so that a batch may hold the end of one and the
    beginning of the next. `skip` windows are left out.
    """
    epoch, skip = divmod(skip, int(mix['windows'].sum()))
    ahead = torch.empty(2, 0, dtype=torch.int64, device=device)
    while True:
        while ahead.shape[1] < batch:
            windows = np.stack(draw_epoch(mix, block_size, seed, epoch))[:, skip:]  # (2, N)
            windows = torch.from_numpy(windows)
            if ahead.is_cuda:  # the copy from pinned memory does not wait for the steps under way
                windows = windows.pin_memory()
            windows = windows.to(device, non_blocking=ahead.is_cuda)
            ahead, windows = torch.cat((ahead, windows), dim=1), None  # held once
            epoch, skip = epoch + 1, 0
        yield ahead[:, :batch]
        ahead = ahead[:, batch:]


def gather_windows(tokens, start, T):
    """
    Returns the windows (B, T), int32, that begin at start (B,), int64, of tokens (N,): int16 with
    the bits of uint16, for which few devices have operations.
    """
    if tokens.device.type == 'mps':  # where index_select would write out all N - T + 1 windows
        windows = tokens[start[:, None] + torch.arange(T, device=start.device)]
    else:
        windows = tokens.unfold(0, T, 1).index_select(0, start)  # 12 times as fast on a CPU
    return windows.int() & 0xFFFF


def first_tokens(meta, components, tag):
    """Returns the id that each component's windows begin with, a list: its tag if tag, else BOS."""
    names = sorted(meta['components'])
    return [meta['vocab_size'] + names.index(name) if tag else meta['bos_id']
            for name in components]


def with_first(windows, first):
    """Returns the model's inputs [first, w_0 .. w_{T-2}], (B, T), for its targets (B, T)."""
    return torch.cat((first[:, None], windows[:, :-1]), dim=1)


def count_steps(settings, token_budget):
    """
    Returns max_iters, or where it is 0 the steps of train.py that its epochs of a budget are. They
    follow from the budget, not from what a K can use of it: every K takes the same. Fails where
    that is less than one step.
    """
    windows = token_budget // settings['block_size']
    windows_per_step = settings['gradient_accumulation_steps'] * settings['batch_size']
    steps = settings['max_iters'] or settings['epochs'] * windows // windows_per_step
    if steps < 1 or windows < 1:
        fail(f'{settings["epochs"]} epochs of {windows} windows are less than one step of'
             f' {windows_per_step}: lower --batch_size or raise --epochs')
    return steps


# -----------------------------------------------------------------------------
# evaluation windows


def eval_windows(meta, component, split, block_size, cap=0, shuffle_components=False):
    """
    Returns the evaluation windows of one component: tokens (N, T) uint16, and source, doc and start
    (N,) int64 as in list_documents (start is that of w_0 in the source's .bin).

    They are cut from each document's start without overlap, one window of every document before a
    second of any, in an order that depends on data set, split and component alone; a cap > 0 keeps
    the first so many.
    """
    T, docs = block_size, list_documents(meta, component, split, shuffle_components)
    rank = random_stream('evaluation', meta['dataset'], split, component).permutation(len(docs))
    doc, nth = number_windows(docs['length'] // T)
    order = np.lexsort((rank[doc], nth))[:cap or None]
    if len(order) == 0:
        fail(f'--block_size={T}: no {split} document of {component} is that long')
    chosen = docs[doc[order]]
    chosen['start'] += T * nth[order]
    chosen['length'] = T
    return {'tokens': read_tokens(meta, split, chosen).reshape(-1, T),
            **{key: chosen[key] for key in ('source', 'doc', 'start')}}


# -----------------------------------------------------------------------------
# names and parts of a run


def run_name(dataset, k, seed, mix_seed, shuffled=False, constant=False, tag=False, only=''):
    """Returns the name of a run's folder; `only` is name_components where they were named."""
    words = [dataset, f'k{k}', f's{seed}', f'm{mix_seed}' if mix_seed else '',
             'shuffled' if shuffled else '', 'constant' if constant else '', 'tag' if tag else '',
             only]
    return '-'.join(word for word in words if word)


def name_components(components, tokens):
    """Returns 'a+b', or for a single component 'a-90000tokens', as a folder's name can have it."""
    joined = safe_name('+'.join(map(safe_name, components)))
    return joined + (f'-{tokens}tokens' if len(components) == 1 else '')


def parts_of(run_folder, record, settings):
    """
    Returns the runs that a run M is compared with, {(part, component): (folder, keys)}:
    ('specialist', c) is P_c, trained on c alone with the budget of M; ('diluted', c) is D_c, on c
    alone with what c gives to M; ('tagged', '') is M_tag. They have the settings, seeds and steps
    of M but for keys, {key: value}. A component may hold too few tokens for its P_c or D_c. A run
    on one component is its own P_c and has no parts; with tags, it has P_c, as M_tag has.

    record is the content of M's mix.json. settings has M's dataset, seed, mix_seed, block_size,
    token_budget, shuffle_components and constant_per_component, and tag where that may be True.
    """
    parent, M = os.path.split(os.path.normpath(run_folder))
    components, K, T = record['components'], len(record['components']), settings['block_size']
    constant, tag = settings['constant_per_component'], settings.get('tag', False)
    seeds = settings['seed'], settings['mix_seed'], settings['shuffle_components']
    # Where M's folder has the name that train.py gives it (the components in it or not), its parts
    # have theirs. Else they are called after M. {name of M: name of M_tag}
    usual_names = {run_name(settings['dataset'], K, *seeds, constant, tag, only):
                   run_name(settings['dataset'], K, *seeds, constant, True, only)
                   for only in ('', name_components(components, record['tokens']))}

    def alone(component, tokens):
        name = name_components([component], tokens)
        usual = run_name(settings['dataset'], 1, *seeds, only=name)
        return os.path.join(parent, usual if M in usual_names else f'{M}-{name}'), {
            'components': join_names([component]), 'token_budget': tokens,
            'constant_per_component': False, 'tag': False}
    parts = {}
    if K > 1 and not tag:
        parts['tagged', ''] = os.path.join(parent, usual_names.get(M, f'{M}-tag')), {
            'components': join_names(components), 'token_budget': settings['token_budget'],
            'constant_per_component': constant, 'tag': True}
        parts |= {('diluted', c): alone(c, record['of_each'][c]['tokens']) for c in components}
    if K > 1 or tag:
        budget = settings['token_budget'] // T * T * (K if constant else 1)
        parts |= {('specialist', c): alone(c, budget) for c in components}
    return parts


# -----------------------------------------------------------------------------
# a mixture shown


@torch.no_grad()
def continue_window(model, prompt, length, temperature, top_k, generator):
    """Returns `length` token ids, a list, sampled after the prompt, a list with BOS or a tag."""
    ids = torch.tensor([prompt])
    for _ in range(length):
        logits = model.logits(ids)[0, -1].float() / max(temperature, 1e-6)  # (V,)
        likely, choice = logits.topk(min(top_k if temperature else 1, len(logits)))
        sampled = choice[torch.multinomial(likely.softmax(0), 1, generator=generator)]
        ids = torch.cat((ids, sampled[None]), dim=1)
    return ids[0, len(prompt):].tolist()


if __name__ == '__main__':
    dataset, T, seed = (settings[key] for key in ('dataset', 'block_size', 'seed'))
    meta, tag, model = read_meta(dataset), False, None
    if num_samples < 0 or temperature < 0 or top_k < 1:
        fail('--num_samples and --temperature must be at least 0, --top_k at least 1')
    if from_run:
        model, checkpoint = load_checkpoint(os.path.join(from_run, 'best.pt'))
        trained_on, tag = checkpoint['config']['dataset'], checkpoint['config']['tag']
        if (trained_on, model.block_size) != (dataset, T):
            fail(f'{from_run} was trained on {trained_on} with block_size {model.block_size}:'
                 ' give the same --dataset and --block_size')
        code = checkpoint.get('code', {}).get('model.py', '').rpartition('+')[2]
        if code not in ('', configurator.code_hash('model.py')):
            fail(f'{from_run} was trained with another model.py ({code}): set model.py back')
    mix, record = draw_mix(**{key: settings[key] for key in (
        'dataset', 'block_size', 'k', 'candidates', 'components', 'token_budget', 'mix_seed',
        'shuffle_components', 'constant_per_component')})
    names = record['components']
    decode = decoder(meta['tokenizer'], data_path(dataset, 'tokenizer.json'))
    check_unchanged(meta)
    if show_dataset:
        print('\n'.join(data_table(meta, T)) + '\n')

    # a table of the mixture's components, from the tokens of the documents drawn
    length = mix['windows'] * T + mix['slack']
    begins = mix['start'][np.searchsorted(mix['component'], range(1, len(names)))]
    counts = np.stack([count_tokens(tokens, meta['vocab_size'])
                       for tokens in np.split(mix['tokens'], begins)])
    p = counts / counts.sum(1, keepdims=True)  # (K, V) unigram distributions
    # Jensen-Shannon divergence: the mean over components of KL(component || mean of the components)
    kl = rel_entr(p, p.mean(0)).sum(1)  # (K,) nats
    table = pd.DataFrame(record['of_each'].values(), names)[['documents', 'tokens']]
    table['share'] = table['tokens'] / record['tokens']
    table['median length'] = [np.median(length[mix['component'] == i]) for i in range(len(names))]
    table['unigram entropy'], table['KL to the mean'] = entr(p).sum(1), kl
    table.loc['all'] = len(length), record['tokens'], 1, np.median(length), math.nan, kl.mean()
    print(table.to_string(na_rep='', float_format='{:.4f}'.format, formatters={
        'share': '{:.1%}'.format,
        **dict.fromkeys(('documents', 'tokens', 'median length'), THOUSANDS)}))
    print(f'one epoch: {record["windows"]:,} windows of {T} tokens,'
          f' {record["windows"] // len(names):,} of each component'
          f' (of a budget of {record["token_budget"]:,} tokens).\n'
          'Entropies in nats a token. The Jensen-Shannon divergence of the unigrams is the last'
          f' column\'s mean, {kl.mean():.4f}; it is at most ln K = {math.log(len(names)):.4f}.')

    # the first windows that training reads, and what a model makes of their first halves
    start, component = draw_epoch(mix, T, seed, 0)
    generator = torch.Generator().manual_seed(seed)
    for s, c in zip(start[:num_samples], component):
        window = mix['tokens'][s:s + T].tolist()
        print(f'\n--- {names[c]}, window\n{decode(window)}')
        if model:
            prompt = first_tokens(meta, [names[c]], tag) + window[:T // 2]
            ids = continue_window(model, prompt, T - T // 2, temperature, top_k, generator)
            print(f'--- {from_run} continues its first {T // 2} tokens\n'
                  f'{decode(window[:T // 2])} [...] {decode(ids)}')
