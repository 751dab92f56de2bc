"""
The mixture: picks K components, cuts the token budget exactly, and draws the windows. The other scripts import it.
Run by itself it shows a mixture, and with a run's folder also what that run's model makes of it.

    python sample_mix.py --k=3
    python sample_mix.py config/cpu.py --components=cs.DS,math.ST --token_budget=100000
    python sample_mix.py config/cpu.py --k=2 --from_run=out/arxiv-cpu-k2-s0
    python sample_mix.py config/cpu.py --sweep_k='1 2 3 4 5'    # the commands of a whole sweep, for xargs, parallel or Slurm

How a budget becomes windows, with T = block_size: each of the K components gives n = floor(token_budget / (K T))
windows. A document of L tokens holds floor(L / T) windows; documents are drawn without replacement, in an order fixed
by mix_seed and component alone, until they hold n, and the last one is cut. So what a component gives at a larger K is
a prefix of what it gives at a smaller one, and the K sets of one mix_seed are nested.
"""
import json
import math
import os
import shlex
import sys

import numpy as np
import tiktoken
import tokenizers
import torch

from configurator import fail, file_hash, override, random_stream, split_names
from model import load_checkpoint

# -----------------------------------------------------------------------------
dataset = 'arxiv'        # folder under data/, written by prepare.py
candidates = 'cs.DS,math.ST,math.GR,cs.IT,cs.PL'  # what the K components are chosen from ('' = all in the dataset)
components = ''          # exactly these, overriding k, comma separated
k = 2                    # number of components
token_budget = 0         # training tokens of one epoch, the same for every K; 0 = what the smallest candidate holds
mix_seed = 0             # which components, and which documents of each
shuffle_components = False  # True: the control, documents are dealt to the components at random
constant_per_component = False  # True: the control, token_budget is what each component gives, not what all give
block_size = 100         # tokens in a window
seed = 0                 # order of the windows that are shown, and what is sampled
num_samples = 3          # windows to show
from_run = ''            # a run's folder: also let its best.pt continue the first half of each window
temperature = 0.8        # of the continuation; below 1 is less random, 0 takes the likeliest token
top_k = 200              # the continuation draws from this many likeliest tokens
# a sweep: with sweep_k, print the commands of all its runs instead
sweep_k = ''             # K of its mixtures, '1 2 3 4 5' say
sweep_seeds = '0 1 2'    # seed and mix_seed of each of them
sweep_control = -1       # K of the shuffled control; 0 = none, -1 = the largest
epochs = 20              # as in train.py: the runs all take the steps that these give for the budget
max_iters = 0            # as in train.py
batch_size = 512         # as in train.py
gradient_accumulation_steps = 1  # as in train.py
# -----------------------------------------------------------------------------
override(globals())


def read_meta(dataset):
    """Returns data/<dataset>/meta.json as a dict; fails where the data set is not prepared, or not as this version does it."""
    path = os.path.join('data', dataset, 'meta.json')
    if not os.path.isfile(path):
        fail(f'data/{dataset} is not a prepared data set: run python prepare.py --dataset={dataset} first')
    try:
        with open(path, encoding='utf-8') as f:
            meta = json.load(f)
        for key in ('source', 'tokenizer', 'vocab_size', 'bos_id'):  # looked up for the KeyError
            meta[key]
        for facts in meta['components'].values():
            for split in ('train', 'val', 'test'):
                facts[split]['sha256'], *(int(facts[split][key]) for key in ('docs', 'tokens', 'bytes'))
        name = meta['dataset']
    except (OSError, ValueError) as e:
        fail(f'{path} cannot be read ({e}): prepare the data set again with --overwrite=True')
    except (KeyError, TypeError, AttributeError) as e:
        fail(f'{path} was written by another version ({type(e).__name__}: {e}): prepare the data set again with --overwrite=True')
    if name != dataset:  # the name seeds what is drawn from it
        fail(f'data/{dataset} was prepared as {name}: give the folder that name again, or prepare it again')
    return meta


def check_hashes(meta, components, splits):
    """Fails where the tokens of a split of a component are not those that meta.json has the sha256 of."""
    for name in components:
        for split in splits:
            path = bin_path(meta, name, split)
            if not os.path.isfile(path) or file_hash(path) != meta['components'][name][split]['sha256']:
                fail(f'{path} is not what was prepared (its sha256 differs from that in meta.json): prepare the data set again'
                     ' with --overwrite=True')


def bin_path(meta, component, split):
    return os.path.join('data', meta['dataset'], component, f'{split}.bin')


def list_documents(meta, component, split, shuffle_components=False):
    """
    Returns the documents of one component as a structured array with the fields
    source (index into sorted(meta['components']): whose .bin it lies in), doc (index into that .bin's idx.npy),
    start and length (tokens, in that .bin).

    With shuffle_components the documents of the whole data set are dealt anew: each component keeps its number of
    documents but gets them from all of them at random, the same deal for every run.
    """
    names = sorted(meta['components'])
    if component not in names:
        fail(f'component {component!r} is not in data/{meta["dataset"]}; it has {",".join(names)}'
             ' (--candidates= chooses from all of them)')
    if shuffle_components:
        pool = np.concatenate([list_documents(meta, name, split) for name in names])
        ends = np.cumsum([meta['components'][name][split]['docs'] for name in names])
        order = random_stream('shuffle_components', meta['dataset'], split).permutation(len(pool))
        return np.split(pool[order], ends)[names.index(component)]

    path, facts = bin_path(meta, component, split), meta['components'][component][split]
    try:
        offsets = np.load(path.removesuffix('.bin') + '.idx.npy')
        size = os.path.getsize(path)
    except (OSError, ValueError) as e:
        fail(f'data/{meta["dataset"]} is damaged ({e}): prepare it again with --overwrite=True')
    if size != 2 * facts['tokens'] or offsets.shape != (facts['docs'] + 1,) or (
            offsets[0] != 0 or offsets[-1] != facts['tokens'] or (np.diff(offsets) < 0).any()):
        fail(f'{path} is not what meta.json says it is ({facts["tokens"]} tokens): prepare it again with --overwrite=True')
    docs = np.zeros(facts['docs'], dtype=[('source', 'i8'), ('doc', 'i8'), ('start', 'i8'), ('length', 'i8')])
    docs['source'], docs['doc'] = names.index(component), np.arange(facts['docs'])
    docs['start'], docs['length'] = offsets[:-1], np.diff(offsets)
    return docs


def held_windows(docs, T):
    """Returns how many windows of T tokens the documents of list_documents hold."""
    return int((docs['length'] // T).sum())


def number_windows(windows):
    """
    Numbers the windows of documents that hold windows (D,) of them each, one document after another. Returns (N,) the document of each
    window, and (N,) which of its document's windows it is, from 0 on.
    """
    doc = np.repeat(np.arange(len(windows)), windows)
    return doc, np.arange(len(doc)) - (np.cumsum(windows) - windows)[doc]


def read_tokens(meta, split, docs):
    """Returns the tokens of the documents end to end, int32."""
    names = sorted(meta['components'])
    files = {s: np.memmap(bin_path(meta, names[s], split), dtype='<u2', mode='r') for s in np.unique(docs['source'])}
    tokens = np.concatenate([files[s][start:start + length].astype(np.int32)
                             for s, start, length in zip(docs['source'], docs['start'], docs['length'])])
    if tokens.max(initial=0) >= meta['vocab_size']:
        fail(f'data/{meta["dataset"]} holds a token {tokens.max()}, its vocabulary ends at {meta["vocab_size"] - 1}:'
             ' prepare the data set again with --overwrite=True')
    return tokens


def choose_components(meta, k, candidates, components, mix_seed):
    """Returns (the mixture's components, the candidates that the automatic budget looks at), lists of names."""
    pool = sorted(split_names(candidates)) or sorted(meta['components'])
    chosen = split_names(components)
    if chosen:
        return chosen, (pool if set(chosen) <= set(pool) else chosen)
    if not 1 <= k <= len(pool):
        fail(f'--k={k}: choose 1 to {len(pool)}, there are {len(pool)} candidates ({",".join(pool)})')
    order = random_stream('components', mix_seed).permutation(len(pool))
    return [pool[i] for i in order[:k]], pool


def draw_mix(dataset, block_size, k=2, candidates='', components='', token_budget=0, mix_seed=0,
             shuffle_components=False, constant_per_component=False):
    """
    Chooses the components and their training documents (see this file's docstring).

    Returns (mix, record). mix holds the whole budget: tokens (N,) int32, and for each of the D documents in it
    start, windows, slack and component, each (D,) int64: where in tokens it begins, how many windows it gives, by how
    many tokens their phase can move, and which component (index into record['components']) it belongs to.
    record is what mix.json says: components, and documents, windows, tokens and sha256 of each; all plain Python.
    Fails where a component does not hold its share of the budget, naming the largest budget that would do.
    """
    T, meta = block_size, read_meta(dataset)
    if T < 2:
        fail(f'--block_size={T}: a window needs at least 2 tokens')
    chosen, pool = choose_components(meta, k, candidates, components, mix_seed)
    docs = {name: list_documents(meta, name, 'train', shuffle_components) for name in dict.fromkeys([*chosen, *pool])}
    held = {name: held_windows(d, T) for name, d in docs.items()}  # windows in each component
    for name, n in held.items():
        if n == 0:
            fail(f'--block_size={T}: no document of {name} is that long, the longest has {docs[name]["length"].max()} tokens')
    if token_budget == 0:
        smallest = min(held[name] for name in pool)
        multiple = math.lcm(*range(1, len(pool) + 1))  # of this many windows, every K gets exactly 1/K
        rounded = smallest // multiple * multiple
        token_budget = T * (rounded if smallest - rounded < 0.01 * smallest else smallest)
    K = len(chosen)
    shares = 1 if constant_per_component else K
    n = token_budget // (shares * T)
    largest = min(held[name] for name in chosen) * shares * T
    if n < 1:
        fail(f'--token_budget={token_budget} gives {K} components no window of {T} tokens each: at least {shares * T}')
    if n * shares * T > largest:
        small = min(chosen, key=held.get)
        fail(f'--token_budget={token_budget}: {small} holds {held[small] * T} tokens in windows of {T}, not its 1/{shares}'
             f' ({n * T}); the largest budget for these components is {largest}')

    parts = []  # the documents drawn from each component
    record = {'dataset': dataset, 'components': chosen, 'k': K, 'block_size': T, 'mix_seed': mix_seed,
              'shuffle_components': shuffle_components, 'constant_per_component': constant_per_component,
              'token_budget': token_budget, 'windows': n * K, 'tokens': n * K * T, 'of_each': {}}
    for name in chosen:
        order = random_stream('documents', mix_seed, name).permutation(len(docs[name]))
        drawn = docs[name][order]
        drawn = drawn[drawn['length'] >= T]
        total = np.cumsum(drawn['length'] // T)
        drawn = drawn[:np.searchsorted(total, n) + 1]
        excess = total[len(drawn) - 1] - n  # windows of the last document that are not needed
        if excess:
            drawn['length'][-1] = T * (drawn['length'][-1] // T - excess)
        parts.append(drawn)
        record['of_each'][name] = {'documents': len(drawn), 'windows': n, 'tokens': n * T,
                                   'sha256': meta['components'][name]['train']['sha256']}
    if shuffle_components:
        record['dealt_from'] = {name: facts['train']['sha256'] for name, facts in meta['components'].items()}
    drawn, component = np.concatenate(parts), np.repeat(np.arange(K), [len(part) for part in parts])
    mix = {'tokens': read_tokens(meta, 'train', drawn), 'start': np.cumsum(drawn['length']) - drawn['length'],
           'windows': drawn['length'] // T, 'slack': drawn['length'] % T, 'component': component}
    return mix, record


def draw_epoch(mix, block_size, seed, epoch):
    """
    Returns the windows of one epoch in the order in which training reads them: start (N,) in mix['tokens'], and
    component (N,), int64. Each document is cut from a phase of its own, uniform in its slack 0 .. L mod T.
    """
    rng = random_stream('windows', seed, epoch)
    phase = rng.integers(0, mix['slack'] + 1)  # (D,)
    doc, nth = number_windows(mix['windows'])  # (N,) each
    start = (mix['start'] + phase)[doc] + block_size * nth
    order = rng.permutation(len(doc))
    return start[order], mix['component'][doc[order]]


def draw_batches(mix, block_size, batch, seed, skip=0, device='cpu'):
    """
    Yields (start, component), int64 tensors (batch,) on the device, for ever: one epoch's windows after another's,
    without a gap, so that a batch may hold the end of one and the beginning of the next. `skip` windows are left out.
    """
    N = int(mix['windows'].sum())
    epoch, skip = divmod(skip, N)
    ahead = torch.empty(2, 0, dtype=torch.int64, device=device)
    while True:
        while ahead.shape[1] < batch:
            windows = torch.from_numpy(np.stack(draw_epoch(mix, block_size, seed, epoch))[:, skip:])  # (2, N)
            if ahead.is_cuda:
                windows = windows.pin_memory()  # then the copy does not wait for the steps under way
            ahead = torch.cat((ahead, windows.to(device, non_blocking=True)), dim=1)
            epoch, skip = epoch + 1, 0
        yield ahead[:, :batch]
        ahead = ahead[:, batch:]


def gather_windows(tokens, start, T):
    """Returns the windows of T tokens that begin at start (B,), (B, T), of tokens (N,)."""
    return tokens[start[:, None] + torch.arange(T, device=tokens.device)]


def first_tokens(meta, components, tag):
    """Returns the id that a window of each component begins with, a list: its tag if tag, else BOS for all."""
    names = sorted(meta['components'])
    return [meta['vocab_size'] + names.index(name) if tag else meta['bos_id'] for name in components]


def with_first(windows, first):
    """Returns the model's inputs [first, w_0 .. w_{T-2}], (B, T), for windows (B, T), its targets, and first (B,)."""
    return torch.cat((first[:, None], windows[:, :-1]), dim=1)


def eval_windows(meta, component, split, block_size, cap=0, shuffle_components=False):
    """
    Returns the evaluation windows of one component: tokens (N, T) int32, and source, doc and start (N,) int64 as in
    list_documents (start is that of w_0 in the source's .bin).

    They are cut from each document's start without overlap, one window of every document before a second of any, in
    an order that depends on data set, split and component alone; a cap > 0 keeps the first so many.
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
            'source': chosen['source'], 'doc': chosen['doc'], 'start': chosen['start']}


def run_name(dataset, k, seed, mix_seed, shuffled=False, constant=False, tag=False, only=''):
    """Returns the name of a run's folder; `only` says which components, where K and mix_seed do not."""
    parts = [dataset, f'k{k}', f's{seed}', f'm{mix_seed}' if mix_seed else '', 'shuffled' if shuffled else '',
             'constant' if constant else '', 'tag' if tag else '', only]
    return '-'.join(part for part in parts if part)


def sweep_commands(train, ks, seeds, control, budget, max_iters):
    """
    Returns the commands of a sweep's runs, a list: for each seed (mix_seed is the same number) and each K the mixture M, M_tag, the
    diluted specialists D_c and the specialists P_c (README: What ΔXE is made of), and all of that on shuffled documents for K = control.
    `train` is what every command begins with; the mixtures have a budget of so many tokens an epoch, and every run takes at most
    max_iters steps. A specialist that its component is too small for is left out, and named on stderr.
    """
    commands, lacking, meta = {}, {}, read_meta(dataset)

    def add(settings, **name):
        folder = 'out/' + run_name(dataset, seed=seed, mix_seed=seed, shuffled=shuffled, **name)
        commands[folder] = (f'{train} {settings} --seed={seed} --mix_seed={seed}' + (' --shuffle_components=True' if shuffled else '')
                            + f' --max_iters={max_iters} --out_dir={folder}')
    for seed in seeds:
        for K, shuffled in [(K, False) for K in ks] + [(K, True) for K in ks if K == control]:
            chosen, pool = choose_components(meta, K, candidates, '', seed)
            if K > 1:
                draw_mix(dataset, block_size, K, candidates, '', budget, seed, shuffled)  # fails where the mixture cannot be had
                add(f'--k={K} --token_budget={budget}', k=K)
                add(f'--k={K} --token_budget={budget} --tag=True', k=K, tag=True)
            for name in chosen if K > 1 else pool:
                held = held_windows(list_documents(meta, name, 'train', shuffled), block_size)
                for n in sorted({budget // (K * block_size), budget // block_size}):  # windows of D_c and P_c
                    if n <= held:
                        tokens = n * block_size
                        add(f'--components={name} --token_budget={tokens}', k=1, only=f'{name}-{tokens}tokens')
                    else:
                        lacking[name + (' (shuffled)' if shuffled else '')] = held * block_size
    if lacking:
        print(f'ΔXE will be missing where a component holds less than {budget:,} tokens: ' + ', '.join(
            f'{name} {held:,}' for name, held in lacking.items()) + '; a smaller --token_budget has them all', file=sys.stderr)
    return list(commands.values())


def data_table(meta, block_size):
    """Returns the lines of a table of the data set, and of the budgets that its components allow."""
    lines = [f'{"component":16} {"split":5} {"documents":>9} {"tokens":>13} {"bytes/token":>11} {"median":>8} {"longest":>8}'
             f' {"duplicates dropped":>18}']
    held, T = [], block_size
    for name, of in meta['components'].items():
        for split in ('train', 'val', 'test'):
            docs, facts = list_documents(meta, name, split), of[split]
            lines.append(f'{name:16} {split:5} {facts["docs"]:9,} {facts["tokens"]:13,} {facts["bytes"] / facts["tokens"]:11.2f}'
                         f' {np.median(docs["length"]):8,.0f} {docs["length"].max():8,} {facts.get("duplicates", 0):18,}')
            if split == 'train':
                held.append(held_windows(docs, T))
    if meta.get('cut_from_train'):
        lines.append(f'{" and ".join(meta["cut_from_train"])}: cut from train, a tenth of its documents each, by a hash of the text')
    held.sort(reverse=True)
    lines += ['', f'largest --token_budget in windows of {T} tokens, for any K components, and for those that hold most:',
              f'{"K":>3} {"any":>15} {"the largest":>15}']
    lines += [f'{k:3} {k * held[-1] * T:15,} {k * held[k - 1] * T:15,}' for k in range(1, len(held) + 1)]
    return [*lines, f'the same for every K, whichever the components: {held[-1] * T:,}']


def load_decoder(meta):
    """Returns a function from a list of token ids to text; the symbols of a synthetic process are their numbers."""
    if meta['tokenizer'] == 'none':
        return lambda ids: ' '.join(map(str, ids))
    if meta['tokenizer'] == 'gpt2':
        return tiktoken.get_encoding('gpt2').decode
    path = os.path.join('data', meta['dataset'], 'tokenizer.json')
    try:
        tok = tokenizers.Tokenizer.from_file(path)
    except Exception as e:  # the library raises plain Exception
        fail(f'{path} cannot be loaded ({e}): prepare the data set again with --overwrite=True')
    return lambda ids: tok.decode(ids, skip_special_tokens=False)


@torch.no_grad()
def continue_window(model, prompt, length, temperature, top_k, generator):
    """Returns `length` token ids (a list) sampled after the prompt (a list of ids, its first token BOS or a tag)."""
    ids = torch.tensor([prompt])
    for _ in range(length):
        logits = model.logits(ids)[0, -1].float() / max(temperature, 1e-6)  # (V,)
        likely, choice = logits.topk(min(top_k if temperature else 1, len(logits)))
        ids = torch.cat((ids, choice[torch.multinomial(likely.softmax(0), 1, generator=generator)][None]), dim=1)
    return ids[0, len(prompt):].tolist()


if __name__ == '__main__':
    T, meta, tag, model = block_size, read_meta(dataset), False, None
    if num_samples < 0 or temperature < 0 or top_k < 1:
        fail('--num_samples and --temperature must be at least 0, --top_k at least 1')
    if sweep_k:
        try:
            ks, seeds = (sorted(map(int, text.replace(',', ' ').split())) for text in (sweep_k, sweep_seeds))
        except ValueError as e:
            fail(f'--sweep_k={sweep_k} and --sweep_seeds={sweep_seeds} are lists of numbers such as 1 2 3 ({e})')
        if not ks or not seeds:
            fail('--sweep_k and --sweep_seeds need a number each, at least')
        control = max(ks) if sweep_control < 0 else sweep_control
        if control and control not in ks:
            fail(f'--sweep_control={control} is not among --sweep_k={sweep_k}')
        if components or shuffle_components or constant_per_component:
            fail('a sweep chooses components and shuffle_components itself, and has no constant_per_component: leave them out')
        # an automatic budget is what all the runs can have, those on shuffled documents too
        budget = token_budget or min(draw_mix(dataset, T, 1, candidates, shuffle_components=shuffled)[1]['token_budget']
                                     for shuffled in {False, control > 0})
        steps = max_iters or epochs * (budget // T) // (gradient_accumulation_steps * batch_size)
        kept = ('--dataset', '--candidates', '--block_size', '--batch_size', '--gradient_accumulation_steps')
        words = [word for word in sys.argv[1:] if not word.startswith('--') or word.partition('=')[0] in kept]
        train = shlex.join(['python', 'train.py', *words, '--init_from=auto'])
        print('\n'.join(sweep_commands(train, ks, seeds, control, budget, steps)))
        sys.exit(0)
    if from_run:
        model, checkpoint = load_checkpoint(os.path.join(from_run, 'best.pt'))
        if (checkpoint['config']['dataset'], model.block_size) != (dataset, T):
            fail(f'{from_run} was trained on {checkpoint["config"]["dataset"]} with block_size {model.block_size}:'
                 ' give the same --dataset and --block_size')
        tag = checkpoint['config']['tag']
    mix, record = draw_mix(dataset, T, k, candidates, components, token_budget, mix_seed, shuffle_components, constant_per_component)
    names = record['components']

    print('\n'.join(data_table(meta, T)) + '\n')

    # a table of the mixture's components, from the tokens of the documents drawn
    length = mix['windows'] * T + mix['slack']
    owner = np.repeat(mix['component'], length)  # (N,) the component of each token
    counts = np.stack([np.bincount(mix['tokens'][owner == i], minlength=meta['vocab_size']) for i in range(len(names))])
    p = counts[:, counts.any(0)] / counts.sum(1, keepdims=True)  # (K, V that occur) unigram distributions
    entropy = -(p * np.log(np.where(p > 0, p, 1))).sum(1)  # (K,) nats
    # Jensen-Shannon divergence: the mean over components of KL(component || mean of the components), in nats
    kl = (p * np.log(np.where(p > 0, p / p.mean(0), 1))).sum(1)  # (K,)
    print(f'{"component":12} {"documents":>9} {"tokens":>11} {"share":>6} {"bytes/token":>11} {"median length":>13}'
          f' {"unigram entropy":>15} {"KL to the mean":>14}')
    for i, name in enumerate(names):
        facts, whole = record['of_each'][name], meta['components'][name]['train']
        print(f'{name:12} {facts["documents"]:9,} {facts["tokens"]:11,} {facts["tokens"] / record["tokens"]:6.1%}'
              f' {whole["bytes"] / whole["tokens"]:11.2f} {np.median(length[mix["component"] == i]):13.0f}'
              f' {entropy[i]:15.4f} {kl[i]:14.4f}')
    print(f'{"all":12} {len(length):9,} {record["tokens"]:11,} {1:6.1%} {"":11} {np.median(length):13.0f}'
          f' {"":15} {kl.mean():14.4f}')
    print(f'one epoch: {record["windows"]:,} windows of {T} tokens, {record["windows"] // len(names):,} of each component'
          f' (of a budget of {record["token_budget"]:,} tokens).\n'
          f'Entropies in nats a token. The Jensen-Shannon divergence of the unigrams is the last column\'s mean,'
          f' {kl.mean():.4f}; it is at most ln K = {math.log(len(names)):.4f}.')

    # the first windows that training reads, and what a model makes of their first halves
    decode, (start, component) = load_decoder(meta), draw_epoch(mix, T, seed, 0)
    generator = torch.Generator().manual_seed(seed)
    for s, c in zip(start[:num_samples], component):
        w = mix['tokens'][s:s + T].tolist()
        print(f'\n--- {names[c]}, window\n{decode(w)}')
        if model:
            prompt = first_tokens(meta, [names[c]], tag) + w[:T // 2]
            ids = continue_window(model, prompt, T - T // 2, temperature, top_k, generator)
            print(f'--- {from_run} continues its first {T // 2} tokens\n{decode(w[:T // 2])} [...] {decode(ids)}')
