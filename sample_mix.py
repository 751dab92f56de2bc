"""The mixture: reads prepared data, picks K components, cuts the token budget exactly, draws the
windows. The other scripts import it. Run by itself it shows a mixture, and with a run's folder also
what that run's model makes of it.

    python sample_mix.py --k=3 --show_dataset=True
    python sample_mix.py config/cpu.py --components=cs.DS,math.ST --token_budget=100000
    python sample_mix.py config/cpu.py --k=2 --from_run=out/arxiv-cpu-k2-s0

How a budget becomes windows, with T = block_size: a component with the share h of the budget,
1 / K unless `shares` says otherwise, gives n = floor(h token_budget / T) windows. A document of L
tokens holds floor(L / T) windows. Documents are drawn without replacement, in an order fixed by
mix_seed and component alone, until they hold n, and the last one is cut. So what a component gives
at a smaller share is a prefix of what it gives at a larger one: sets of one mix_seed are nested.
"""
# -----------------------------------------------------------------------------
# what is shown; the mixture has train.py's keys
num_samples = 3          # windows to show
show_dataset = False     # True: the data set's table too, as prepare.py prints it
from_run = ''            # a run's folder: its best.pt continues the first half of each window
temperature = 0.8        # of the continuation; below 1 is less random, 0 takes the likeliest token
top_k = 200              # the continuation draws from this many likeliest tokens
# -----------------------------------------------------------------------------
from configurator import override

settings = override(globals(), shared=(
    'dataset', 'candidates', 'components', 'k', 'shares', 'token_budget', 'mix_seed',
    'shuffle_components', 'constant_per_component', 'block_size', 'seed'))

import glob
import itertools
import json
import math
import os
from fractions import Fraction

import numpy as np

from configurator import (fail, file_hash, is_sealed, join_names, lock_holder, looked_in, nearest,
                          random_stream, safe_name, split_names)

# torch and pandas are imported where they are needed, for they take seconds
AGAIN = 'prepare the data set again with --overwrite=True'
THOUSANDS = '{:,.0f}'.format

# ---- data on disk ------------------------------------------------------------

def data_path(dataset, *names):
    """Returns the path of a data set, or of a file in it; fails on a name that is no folder's."""
    if safe_name(dataset) != dataset:
        fail(f'--dataset={dataset}: a name must do as a folder: it has letters, digits and'
             f' . _ + - = alone, such as {safe_name(dataset)}')
    return os.path.join('data', dataset, *names)

def read_meta(dataset):
    """Returns data/<dataset>/meta.json, a dict. Fails where its seal does not fit, or without."""
    path = data_path(dataset, 'meta.json')
    if not os.path.exists(path):
        if writer := lock_holder(f'data/.{dataset}.lock'):
            fail(f'data/{dataset} is being written by {writer}: start again when that is done')
        there = sorted(map(os.path.dirname, glob.glob('*/meta.json', root_dir='data')))
        fail(f'data/{dataset} is not a prepared data set (data/ has {", ".join(there) or "none"}'
             f'{nearest(dataset, there)}): run python prepare.py first, with the same config files'
             f' {looked_in(f"data/{dataset}")}')
    try:
        with open(path, encoding='utf-8') as f:
            meta = json.load(f)
    except (ValueError, RecursionError):
        meta = None
    if not is_sealed(meta):
        fail(f'{path} is not what prepare.py wrote there, or of an older version: {AGAIN}')
    if meta['dataset'] != dataset:  # the name seeds what is drawn from it
        fail(f'data/{dataset} was prepared as {meta["dataset"]}: give the folder that name again,'
             ' or prepare it again')
    return meta

def check_unchanged(meta):
    """Fails where a data set is no longer what read_meta said: call it when all is read."""
    if read_meta(meta['dataset'])['seal'] != meta['seal']:
        fail(f'{data_path(meta["dataset"])} was replaced while it was read: start again')

def bin_path(meta, component, split):
    """Returns the path of the tokens of a component's split."""
    return data_path(meta['dataset'], safe_name(component), f'{split}.bin')

def check_hashes(meta, components, splits):
    """Fails where the tokens of a split of a component do not have meta.json's sha256."""
    for component, split in itertools.product(components, splits):
        path = bin_path(meta, component, split)
        if file_hash(path) != meta['components'][component][split]['sha256']:
            fail(f'{path} is not what was prepared (its sha256 is not that in meta.json): {AGAIN}')

def list_documents(meta, component, split, shuffle_components=False):
    """Returns the documents of one component as a structured array with the fields source (index
    into sorted(meta['components']): whose .bin it lies in), doc (index into that .bin's idx.npy),
    start and length (tokens, in that .bin). With shuffle_components they are as many, but of all
    components at random, dealt alike for every run. Fails where files are not as meta.json says."""
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
    try:
        offsets = np.load(path.removesuffix('.bin') + '.idx.npy')
    except (ValueError, EOFError):  # it is damaged
        offsets = np.zeros(0)
    is_right = offsets.shape == (facts['docs'] + 1,) and offsets.dtype.kind in 'iu' and (
        offsets[0] == 0 and offsets[-1] == facts['tokens'] and (np.diff(offsets) >= 0).all())
    if not is_right or os.path.getsize(path) != 2 * facts['tokens']:
        fail(f'{path} or its .idx.npy is not what meta.json says it is: {AGAIN}')
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
        with open(bin_path(meta, names[source], split), 'rb', 2**17) as f:
            for start, a, b in zip(docs['start'][mine], (end - docs['length'])[mine], end[mine]):
                f.seek(2 * start)
                f.readinto(tokens[a:b])
    if tokens.max(initial=0) >= meta['vocab_size']:
        fail(f'data/{meta["dataset"]} holds the token {tokens.max()}, and its vocabulary ends at'
             f' {meta["vocab_size"] - 1}: {AGAIN}')
    return tokens

def held_windows(docs, T):
    """Returns how many windows of T tokens the documents of list_documents hold."""
    return int((docs['length'] // T).sum())

def data_table(meta, block_size):
    """Returns the lines of two tables: the data set, and the budgets that its components allow."""
    import pandas as pd
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
    if cut := meta.get('cut_from_train'):
        lines.append(f'{" and ".join(cut)}: cut from train, a tenth each, by a hash of the text')
    held = sorted((T * held_windows(list_documents(meta, component, 'train'), T)
                   for component in meta['components']), reverse=True)
    budgets = pd.DataFrame([(K, K * held[-1], K * tokens) for K, tokens in enumerate(held, 1)],
                           columns=['K', 'any K components', 'the K largest'])
    return [*lines, '', f'largest --token_budget, in tokens (whole windows of {T}):',
            *budgets.to_string(index=False, formatters=[str, THOUSANDS, THOUSANDS]).split('\n'),
            f'the same for every K, whichever the components: {held[-1]:,}']

# ---- mixture -----------------------------------------------------------------

def choose_components(meta, k, candidates, components, mix_seed):
    """Returns (the mixture's components, those that set an automatic budget), lists of names. These
    are all candidates, or the components where they are named and not all candidates."""
    pool = sorted(split_names(candidates)) or sorted(meta['components'])
    if chosen := split_names(components):  # named: it need not have the other candidates
        pool = [name for name in pool if name in meta['components']]
        return chosen, pool if set(chosen) <= set(pool) else chosen
    if not 1 <= k <= len(pool):
        fail(f'--k={k}: at least 1, at most {len(pool)} (the candidates: {join_names(pool)})')
    order = random_stream('components', mix_seed).permutation(len(pool))
    return [pool[i] for i in order[:k]], pool

def read_shares(shares, K):
    """Returns (what each of K components gives of a budget, Fractions that sum to 1; the text that
    says so in the smallest whole numbers, '' where all are equal) of '3,1', '0.75,0.25' or ''."""
    try:
        parts = [Fraction(word) for word in shares.split(',')] if shares else [Fraction(1)] * K
    except (ValueError, ZeroDivisionError):
        parts = []
    if len(parts) != K or min(parts) <= 0:
        fail(f'--shares={shares}: a number above 0 for each of the {K} components, such as'
             f' {",".join(["3", *"1" * (K - 1)])}')
    unit = Fraction(math.gcd(*(part.numerator for part in parts)),
                    math.lcm(*(part.denominator for part in parts)))
    text = ','.join(str(part / unit) for part in parts) if len(set(parts)) > 1 else ''
    return [part / sum(parts) for part in parts], text

def automatic_budget(windows, T):
    """Returns what the smallest of the candidates holds, whose windows are given, in tokens: a
    multiple of lcm(1 .. candidates) windows where that costs under 1%, as every K then gets 1/K."""
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

def draw_mix(meta, block_size, k=2, candidates='', components='', token_budget=0, mix_seed=0,
             shuffle_components=False, constant_per_component=False, shares=''):
    """Chooses the components and their training documents (see this file's docstring).

    Returns (mix, record). mix holds the whole budget: tokens (N,) uint16, and for each of the D
    documents in it start, windows, slack and component, each (D,) int64: where in tokens it begins,
    how many windows it gives, by how many tokens their phase can move, and of which of
    record['components'] it is. record is what mix.json says, plain Python. Fails where a component
    does not hold its share of the budget, naming the largest budget that would do."""
    T = block_size
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
    K = len(chosen)
    parts, shares = read_shares(shares, K)
    if shares and constant_per_component:
        fail(f'--shares={shares}: with --constant_per_component=True all give token_budget tokens')
    share = dict(zip(chosen, [Fraction(1)] * K if constant_per_component else parts))
    token_budget = token_budget or automatic_budget([held[name] for name in pool], T)
    n = {name: int(token_budget * share[name] / T) for name in chosen}
    if min(n.values()) < 1:
        fail(f'--token_budget={token_budget} gives {K} components no window of {T} tokens each:'
             f' at least {math.ceil(T / min(share.values()))}')
    largest = {name: int(held[name] * T / share[name]) for name in chosen}  # budgets
    for name in [name for name in chosen if n[name] > held[name]]:
        fail(f'--token_budget={token_budget}: {name} holds {held[name] * T} tokens in windows of'
             f' {T}, not its {share[name]} ({n[name] * T}); the largest budget for these components'
             f' is {min(largest.values())}')

    # the documents, and what mix.json says of them
    drawn = {name: draw_documents(docs[name], n[name], T,
                                  random_stream('documents', mix_seed, name)) for name in chosen}
    record = {
        'dataset': meta['dataset'], 'data': meta['seal'], 'components': chosen, 'k': K,
        'block_size': T, 'mix_seed': mix_seed, 'shuffle_components': shuffle_components,
        'constant_per_component': constant_per_component, 'token_budget': token_budget,
        'shares': shares, 'windows': sum(n.values()), 'tokens': sum(n.values()) * T,
        'of_each': {name: {'documents': len(drawn[name]), 'windows': n[name],
                           'tokens': n[name] * T} for name in chosen}}
    component = np.repeat(np.arange(K), [len(drawn[name]) for name in chosen])
    docs = np.concatenate([drawn[name] for name in chosen])
    mix = {'tokens': read_tokens(meta, 'train', docs),
           'start': np.cumsum(docs['length']) - docs['length'],
           'windows': docs['length'] // T, 'slack': docs['length'] % T, 'component': component}
    return mix, record

def draw_epoch(mix, block_size, seed, epoch):
    """Returns the windows of one epoch in the order in which training reads them: start (N,) in
    mix['tokens'], and component (N,), int64. A document's phase is uniform in 0 .. L mod T."""
    rng, n = random_stream('windows', seed, epoch), mix['windows']
    phase = rng.integers(0, mix['slack'] + 1)  # (D,)
    # of a document whose first window is the i-th of all, less i windows: then all rise alike
    start = np.repeat(mix['start'] + phase - block_size * (np.cumsum(n) - n), n)
    start += np.arange(0, block_size * len(start), block_size)
    order = rng.permutation(len(start))
    return start[order], np.repeat(mix['component'], n)[order]

def draw_batches(mix, block_size, batch, seed, skip=0, device='cpu'):
    """Yields (start, component), one int64 tensor (2, batch) on the device, for ever: one epoch's
    windows after another's, without a gap. The first `skip` windows are left out."""
    import torch
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
    """Returns the windows (B, T), int32, that begin at start (B,), int64, of tokens (N,): int16
    with the bits of uint16, for which few devices have operations."""
    if tokens.device.type == 'mps':  # where index_select would write out all N - T + 1 windows
        windows = tokens[start[:, None] + start.new_tensor(range(T))]
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
    inputs = windows.roll(1, 1)
    inputs[:, 0] = first
    return inputs

# ---- evaluation windows ------------------------------------------------------

def eval_windows(meta, component, split, block_size, cap=0, shuffle_components=False):
    """Returns the evaluation windows of one component: tokens (N, T) uint16, and source, doc and
    start (N,) int64 as in list_documents, start that of w_0. They are cut from each document's
    start on without overlap, one of every document before a second of any, in an order that depends
    on data set, split and component alone; a cap > 0 keeps the first so many."""
    T, docs = block_size, list_documents(meta, component, split, shuffle_components)
    rank = random_stream('evaluation', meta['dataset'], split, component).permutation(len(docs))
    n = docs['length'] // T  # (D,)
    doc = np.repeat(np.arange(len(docs)), n)  # (N,) of each window
    nth = np.arange(len(doc)) - (np.cumsum(n) - n)[doc]  # its place in the document
    order = np.lexsort((rank[doc], nth))[:cap or None]
    if len(order) == 0:
        fail(f'--block_size={T}: no {split} document of {component} is that long')
    chosen = docs[doc[order]]
    chosen['start'] += T * nth[order]
    chosen['length'] = T
    return {'tokens': read_tokens(meta, split, chosen).reshape(-1, T),
            **{key: chosen[key] for key in ('source', 'doc', 'start')}}

# ---- a mixture shown ---------------------------------------------------------

if __name__ == '__main__':
    import pandas as pd
    import torch
    from scipy.special import entr, rel_entr

    from checkpoint import load_model, why_other_code
    from tokenizer import decoder

    dataset, T, seed = (settings[key] for key in ('dataset', 'block_size', 'seed'))
    meta, tag, model = read_meta(dataset), False, None
    if num_samples < 0 or temperature < 0 or top_k < 1:
        fail('--num_samples and --temperature must be at least 0, --top_k at least 1')
    if from_run:
        model, checkpoint = load_model(from_run)
        trained_on, tag = checkpoint['config']['dataset'], checkpoint['config']['tag']
        if (trained_on, model.block_size) != (dataset, T):
            fail(f'{from_run} was trained on {trained_on} with block_size {model.block_size}:'
                 ' give the same --dataset and --block_size')
        if checkpoint['mix']['data'] != meta['seal']:
            fail(f'{from_run} was trained on other data than data/{dataset} holds now')
        if why := why_other_code(checkpoint['code'][-1]['model.py']):
            fail(f'{from_run} {why}: set model.py back')
    mix, record = draw_mix(meta, **{key: settings[key] for key in (
        'block_size', 'k', 'candidates', 'components', 'token_budget', 'mix_seed',
        'shuffle_components', 'constant_per_component', 'shares')})
    names = record['components']
    decode = decoder(meta['tokenizer'], data_path(dataset, 'tokenizer.json'))
    check_unchanged(meta)
    if show_dataset:
        print('\n'.join(data_table(meta, T)) + '\n')

    # a table of the mixture's components, from the tokens of the documents drawn
    length = mix['windows'] * T + mix['slack']
    begins = mix['start'][np.searchsorted(mix['component'], range(1, len(names)))]
    counts = np.stack([np.bincount(tokens, minlength=meta['vocab_size'])
                       for tokens in np.split(mix['tokens'], begins)])
    p = counts / counts.sum(1, keepdims=True)  # (K, V) unigram distributions
    share = np.array([facts['tokens'] for facts in record['of_each'].values()]) / record['tokens']
    kl = rel_entr(p, share @ p).sum(1)  # (K,) nats; their mean is the Jensen-Shannon divergence
    table = pd.DataFrame(record['of_each'].values(), names)[['documents', 'tokens']]
    table['share'] = share
    table['median length'] = [np.median(length[mix['component'] == i]) for i in range(len(names))]
    table['unigram entropy'], table['KL to the mean'] = entr(p).sum(1), kl
    table.loc['all'] = len(length), record['tokens'], 1, np.median(length), math.nan, share @ kl
    print(table.to_string(na_rep='', float_format='{:.4f}'.format, formatters={
        'share': '{:.1%}'.format,
        **dict.fromkeys(('documents', 'tokens', 'median length'), THOUSANDS)}))
    print(f'one epoch: {record["windows"]:,} windows of {T} tokens (of a budget of'
          f' {record["token_budget"]:,} tokens).\nEntropies in nats a token. The last number is the'
          f" unigrams' Jensen-Shannon divergence, at most {entr(share).sum():.4f} (ln K if equal).")

    # the first windows that training reads, and what a model makes of their first halves
    start, component = draw_epoch(mix, T, seed, 0)
    generator = torch.Generator().manual_seed(seed)
    for s, c in zip(start[:num_samples], component):
        window = mix['tokens'][s:s + T].tolist()
        print(f'\n--- {names[c]}, window\n{decode(window)}')
        if model:
            prompt = torch.tensor([first_tokens(meta, [names[c]], tag) + window[:T // 2]])
            ids = model.generate(prompt, T - T // 2, temperature, top_k, generator)
            print(f'--- {from_run} continues its first {T // 2} tokens\n'
                  f'{decode(window[:T // 2])} [...] {decode(ids[0, prompt.shape[1]:].tolist())}')
