"""
Turns labelled text, or synthetic processes, into uint16 tokens:
data/<dataset>/<component>/<split>.bin, <split>.idx.npy and meta.json.

    python prepare.py                                         # ccdv/arxiv-classification from the hub, BPE of 32,000
    python prepare.py config/cpu.py                           # the same papers for a laptop: BPE of 4,096
    python prepare.py --source=my_texts --dataset=mine        # a local folder or file: parquet, json lines or csv
    python prepare.py --dataset=arxiv-gpt2 --tokenizer=gpt2   # GPT-2's tokens
    python prepare.py config/demo.py                          # eight Markov chains, whose exact XE is known
    python prepare.py --source=synthetic --dataset=mess3 --processes=mess3:4

A source of text has a text column, a label column that names each document's component, and the splits train,
validation and test; where validation and test are missing, a hash of the text deals every tenth and every
other tenth document of train to them.

A synthetic process is a hidden Markov chain: an array T[v, i, j] = P(emit v and go to state j | in state i), saved as
process.npy beside its tokens. Its documents are stationary: they begin in the stationary state distribution.
"""
import contextlib
import hashlib
import itertools
import json
import os
import shutil
import sys
import tempfile

import datasets
import huggingface_hub
import numpy as np
import scipy.sparse.csgraph
import tiktoken
import tokenizers
from tqdm import tqdm

from config import fail, override
from sample_mix import random_stream, split_names, stationary

# -----------------------------------------------------------------------------
dataset = 'arxiv'                       # the folder under data/ to write
source = 'ccdv/arxiv-classification'    # a data set on the Hugging Face hub, or a local folder or file
source_config = 'no_ref'                # which of the source's configurations ('' where it has but one)
text_column = 'text'                    # the column that holds a document
label_column = 'label'                  # the column that names its component
labels = ''                             # keep these components only, comma separated ('' = all)
tokenizer = 'bpe'                       # bpe: train one on this text; gpt2; or the path of a tokenizer.json
vocab_size = 32000                      # tokens of the bpe to train, its end-of-text token included
bpe_bytes = 20_000_000                  # bytes of text that each component gives to the bpe's training, at most
# for --source=synthetic
processes = 'markov:8'                  # coins:N, mess3:N, markov:N, golden_mean, even, z1r or T.npy, comma separated
markov_vocab = 16                       # symbols, and states, of a markov component
documents_per_process = 1000            # training documents of each component; validation and test have a fifth each
document_length = 5000                  # tokens in each
data_seed = 0                           # which markov chains, and the documents of every process
# for both
overwrite = False                       # True: replace a data set that is there already
# -----------------------------------------------------------------------------
override(globals())

SPLITS = {'train': 'train', 'validation': 'val', 'test': 'test'}  # the source's name: ours
END_OF_TEXT = '<|endoftext|>'


def load_source(source, source_config, cache_dir):
    """
    Returns a datasets.DatasetDict of the source with the splits train, val and test, not tokenized.

    A local source is read anew into cache_dir each time: datasets' own cache can serve an old copy of a changed file.
    """
    huggingface_hub.logging.set_verbosity_error()  # no line for each retry
    local = os.path.exists(source)
    if local:
        datasets.disable_progress_bars()
    kinds = {'.parquet': 'parquet', '.json': 'json', '.jsonl': 'json', '.csv': 'csv'}
    kind = kinds.get(os.path.splitext(source)[1]) if os.path.isfile(source) else None
    try:
        if kind:
            found = datasets.load_dataset(kind, data_files={'train': source}, cache_dir=cache_dir)
        elif local:
            configs = datasets.get_dataset_config_names(source)
            config = source_config if source_config in configs or len(configs) > 1 else configs[0]
            found = datasets.load_dataset(source, config or None, cache_dir=cache_dir)
        else:
            found = datasets.load_dataset(source, source_config or None)
    except Exception as e:  # the library raises a dozen kinds, its own, the network's and pyarrow's
        why = str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__
        fail(f'--source={source} cannot be loaded: {why} (a local folder of parquet, json lines or csv works too)')
    if 'train' not in found:
        fail(f'--source={source} has no split named train; it has {", ".join(found)}')
    found = datasets.DatasetDict({SPLITS[name]: found[name] for name in SPLITS if name in found})
    for column in (text_column, label_column):
        if column not in found['train'].column_names:
            fail(f'--source={source} has no column {column!r}; it has {", ".join(found["train"].column_names)}'
                 ' (set --text_column and --label_column)')
    missing = [split for split in SPLITS.values() if split not in found]
    if missing:
        tenth = [int(hashlib.sha256(str(t).encode()).hexdigest(), 16) % 10 for t in found['train'][text_column]]
        here = {split: 8 + i for i, split in enumerate(('val', 'test')) if split in missing}  # val: 8, test: 9
        for split, digit in here.items():
            found[split] = found['train'].select([i for i, d in enumerate(tenth) if d == digit])
        found['train'] = found['train'].select([i for i, d in enumerate(tenth) if d not in here.values()])
    return found


def check_name(name, what):
    """Fails unless a name will do as a folder and in a comma-separated list."""
    if not name or name != os.path.basename(name.strip()) or name.startswith('.') or ',' in name:
        fail(f'{what} {name!r}: a name must do as a folder, without / or a dot or space in front, and have no comma')


def documents(rows):
    """Yields (component, text) of each document of one split, in the source's order."""
    label = rows.features[label_column]
    keep = split_names(labels)
    for batch in rows.select_columns([text_column, label_column]).iter(1000):
        for text, value in zip(batch[text_column], batch[label_column]):
            if type(text) is not str or value is None or value == -1:
                fail(f'--source={source}: a document without {"a label" if type(text) is str else "text"}')
            name = label.int2str(value) if isinstance(label, datasets.ClassLabel) else str(value)
            if not keep or name in keep:
                yield name, text


def train_bpe(rows, vocab_size):
    """
    Returns a byte-level BPE (tokenizers.Tokenizer) of vocab_size tokens, END_OF_TEXT among them, trained on the
    documents of one split, every component giving the same number of bytes (the smallest one's, or bpe_bytes).
    """
    size = {}
    for name, text in documents(rows):
        size[name] = size.get(name, 0) + len(text.encode())
    share = min(*size.values(), bpe_bytes)
    if share <= 0:
        fail(f'component {min(size, key=size.get)} has no text to train a tokenizer on: its documents are empty')

    def sample():
        left = dict.fromkeys(size, share)
        for name, text in documents(rows):
            if left[name] > 0:
                text = text.encode()[:left[name]].decode(errors='ignore')
                left[name] -= max(1, len(text.encode()))
                yield text

    tok = tokenizers.Tokenizer(tokenizers.models.BPE())
    tok.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = tokenizers.decoders.ByteLevel()
    tok.train_from_iterator(sample(), tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[END_OF_TEXT], show_progress=sys.stderr.isatty(),
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet()))
    if tok.get_vocab_size() < vocab_size:
        fail(f'the text yields {tok.get_vocab_size()} tokens, fewer than --vocab_size={vocab_size}: ask for fewer')
    return tok


def load_tokenizer(name, rows):
    """Returns (encode, vocab_size, bos_id, tok): encode maps a list of texts to a list of id lists."""
    if name == 'gpt2':
        try:
            enc = tiktoken.get_encoding('gpt2')
        except OSError as e:  # requests' errors are OSErrors
            fail(f'--tokenizer=gpt2: its merges cannot be fetched ({type(e).__name__}); --tokenizer=bpe needs no network')
        return enc.encode_ordinary_batch, enc.n_vocab, enc.eot_token, None
    if name == 'bpe':
        tok = train_bpe(rows, vocab_size)
    elif os.path.isfile(name):
        try:
            tok = tokenizers.Tokenizer.from_file(name)
        except Exception as e:  # the library raises Exception itself
            fail(f'--tokenizer={name} is not a tokenizer.json ({e})')
        tok.no_truncation()
        tok.no_padding()
    else:
        fail(f'--tokenizer={name}: write bpe, gpt2 or the path of a tokenizer.json')
    ends = [i for i in map(tok.token_to_id, (END_OF_TEXT, '[SEP]', '</s>')) if i is not None]
    if not ends:
        fail(f'--tokenizer={name} has no end-of-text token ({END_OF_TEXT}, [SEP] or </s>) to begin a window with')
    tok.encode_special_tokens = True  # text that spells a special token is text

    def encode(texts):
        return [e.ids for e in tok.encode_batch_fast(texts, add_special_tokens=False)]
    return encode, 1 + max(tok.get_vocab().values()), ends[0], tok


def write_split(folder, split, rows, encode):
    """
    Writes <component>/<split>.bin and .idx.npy for every component of one split.

    Returns {component: {'docs', 'tokens', 'bytes', 'sha256'}}.
    """
    offsets, size, digest = {}, {}, {}  # of each component
    with contextlib.ExitStack() as stack, tqdm(total=len(rows), desc=split, unit=' docs', leave=False) as bar:
        files = {}
        stream = documents(rows)
        while batch := list(itertools.islice(stream, 1000)):
            for (name, text), ids in zip(batch, encode([text for _, text in batch])):
                if name not in files:
                    os.makedirs(os.path.join(folder, name), exist_ok=True)
                    files[name] = stack.enter_context(open(os.path.join(folder, name, f'{split}.bin'), 'wb'))
                    offsets[name], size[name], digest[name] = [0], 0, hashlib.sha256()
                tokens = np.array(ids, dtype='<u2').tobytes()
                files[name].write(tokens)
                digest[name].update(tokens)
                offsets[name].append(offsets[name][-1] + len(ids))
                size[name] += len(text.encode())
            bar.update(len(batch))
    for name in offsets:
        np.save(os.path.join(folder, name, f'{split}.idx.npy'), np.array(offsets[name], dtype=np.int64))
    return {name: {'docs': len(offsets[name]) - 1, 'tokens': offsets[name][-1], 'bytes': size[name],
                   'sha256': digest[name].hexdigest()} for name in sorted(offsets)}


def prepare_text(folder, work):
    """Reads, tokenizes and writes the source's components to the folder; returns meta.json's content as a dict."""
    if tokenizer == 'bpe' and not 257 <= vocab_size <= 65535:
        fail(f'--vocab_size={vocab_size}: a byte-level BPE in uint16 has 257 to 65,535 tokens')
    splits = load_source(source, source_config, os.path.join(work, 'cache'))

    # a component needs documents in every split, and a name that can be a folder's
    counts = {split: {} for split in splits}
    for split in splits:
        for name, _ in documents(splits[split]):
            counts[split][name] = counts[split].get(name, 0) + 1
    asked = split_names(labels) or set().union(*counts.values())
    for name in sorted(asked):
        check_name(name, 'component')
        empty = [split for split in SPLITS.values() if name not in counts[split]]
        if empty:
            rest = ','.join(sorted(set.intersection(*map(set, counts.values()))))
            fail(f'component {name} has no documents in {", ".join(empty)}; leave it out: --labels={rest}')

    print(f'{tokenizer} tokenizer ...', flush=True)
    encode, n_vocab, bos_id, tok = load_tokenizer(tokenizer, splits['train'])
    if n_vocab > 65535:
        fail(f'--tokenizer={tokenizer} has {n_vocab} tokens; uint16 holds ids below 65,536: at most 65,535 tokens')
    written = {split: write_split(folder, split, splits[split], encode) for split in SPLITS.values()}
    for split in SPLITS.values():
        for name in asked:
            if not written[split][name]['tokens']:
                fail(f'component {name} has no text in {split}: its documents are empty')
    if tok:
        tok.save(os.path.join(folder, 'tokenizer.json'))
    return {'source_config': source_config, 'tokenizer': tokenizer, 'vocab_size': n_vocab, 'bos_id': bos_id,
            'components': {name: {split: written[split][name] for split in SPLITS.values()} for name in sorted(asked)}}


# -----------------------------------------------------------------------------
# synthetic processes: each is an array T[v, i, j] = P(emit v, go to state j | in state i), float64


def coin(p):
    """Independent tosses: 1 with probability p. One state."""
    return np.array([[[1 - p]], [[p]]])


def mess3(x, a=0.85):
    """
    Three states; the chain stays with probability 1 - 2x, goes to each other state with x, and emits the new state's
    symbol with probability a, each other symbol with (1 - a) / 2. From Marzen and Crutchfield 2017, entropy 19, 214.
    """
    move = np.full((3, 3), x) + (1 - 3 * x) * np.eye(3)
    emit = np.full((3, 3), (1 - a) / 2) + (a - (1 - a) / 2) * np.eye(3)  # [j, v]
    return np.einsum('ij,jv->vij', move, emit)


def markov(vocab, rng):
    """
    A sparse Markov chain whose state is its last symbol: four permutations that never collide give each symbol four
    successors, of probability 1/2, 1/4, 1/8 and 1/8. So symbols are uniform, and the entropy rate is 1.75 ln 2.
    """
    symbols, permutations = np.arange(vocab), []
    while len(permutations) < 4:
        p = rng.permutation(vocab)
        if all((p != other).all() for other in permutations):
            permutations.append(p)
    process = np.zeros((vocab, vocab, vocab))
    for p, weight in zip(permutations, (1 / 2, 1 / 4, 1 / 8, 1 / 8)):
        process[p, symbols, p] = weight
    return process


def edges(*rows):
    """A process of two symbols from its edges (v, i, j, probability)."""
    process = np.zeros((2, *[1 + max(max(i, j) for _, i, j, _ in rows)] * 2))
    for v, i, j, probability in rows:
        process[v, i, j] = probability
    return process


def build_processes(spec, markov_vocab, data_seed):
    """Returns {component: process} of a specification such as 'coins:4,even,mine.npy'; fails on what it cannot build."""
    mess3_x = (0.05, 0.15, 0.30, 0.45, 0.10, 0.20, 0.25, 0.40)
    single = {'golden_mean': edges((1, 0, 0, 1 / 2), (0, 0, 1, 1 / 2), (1, 1, 0, 1)),  # no two 0s in a row
              'even': edges((0, 0, 0, 1 / 2), (1, 0, 1, 1 / 2), (1, 1, 0, 1)),  # 1s come in runs of even length
              'z1r': edges((0, 0, 1, 1), (1, 1, 2, 1), (0, 2, 0, 1 / 2), (1, 2, 0, 1 / 2))}  # 0, 1, random, again
    built = {}
    for item in filter(None, (item.strip() for item in spec.split(','))):
        family, colon, number = item.partition(':')
        if colon and not (number.isdigit() and int(number) > 0):
            fail(f'--processes: {item}: write {family}:4 for four of them')
        n = int(number or 1)
        if family == 'coins':
            some = {f'coin-{p:.3g}': coin(p) for p in np.linspace(0.05, 0.95, n)}
        elif family == 'mess3' and n <= len(mess3_x):
            some = {f'mess3-{x:.2f}': mess3(x) for x in mess3_x[:n]}
        elif family == 'markov' and 8 <= markov_vocab <= 1000:
            some = {f'markov-{i}': markov(markov_vocab, random_stream('markov', data_seed, i)) for i in range(n)}
        elif family in single and n == 1:
            some = {family: single[family]}
        elif item.endswith('.npy') and os.path.isfile(item):
            try:
                some = {os.path.basename(item)[:-len('.npy')]: np.load(item).astype(np.float64)}
            except (ValueError, EOFError) as e:
                fail(f'--processes: {item} is not an array of numbers ({e})')
        else:
            fail(f'--processes: cannot make {item!r}: choose from coins:N, mess3:N (N <= {len(mess3_x)}), markov:N'
                 f' (--markov_vocab 8 to 1000), {", ".join(single)}, or the path of an array T[v, i, j] in a .npy file')
        if some.keys() & built.keys() or len(some) < n:
            fail(f'--processes={spec}: two components of the same name')
        built |= some
    if not built:
        fail('--processes is empty: name some, such as --processes=coins:4')
    for name, process in list(built.items()):
        check_name(name, 'process')
        if process.ndim != 3 or process.shape[1] != process.shape[2]:
            fail(f'process {name} has the shape {process.shape}: it must be T[v, i, j], (V, S, S)')
        if not (process >= 0).all():
            fail(f'process {name} has an entry that is no probability: {process[~(process >= 0)][0]}')
        rows = process.sum((0, 2))
        worst = abs(rows - 1).argmax()
        if abs(rows[worst] - 1) > 1e-6:
            fail(f'process {name}: the row T[:, i, :] of each state must sum to 1; that of state {worst} sums to {rows[worst]}')
        built[name] = process = process / rows[:, None]  # exactly 1, also where it came rounded
        if len(process) > 65534:
            fail(f'process {name} has {len(process)} symbols; uint16 holds 65,534 and BOS')
        n, label = scipy.sparse.csgraph.connected_components(process.sum(0) > 0, connection='strong')
        leaves = {label[i] for _, i, j in np.argwhere(process > 0) if label[i] != label[j]}
        if n - len(leaves) > 1:
            fail(f'process {name} is not ergodic: {n - len(leaves)} groups of states are never left; make each its own component')
    return built


def sample_process(process, n_docs, length, rng):
    """
    Returns n_docs stationary documents, (n_docs, length) uint16. All advance together: one Python step a position.
    """
    V, S, _ = process.shape
    joint = process.transpose(1, 0, 2).reshape(S, V * S)  # P(v, j | i)
    outcomes = np.argsort(-joint, axis=1)[:, :(joint > 0).sum(1).max()]  # (S, M) those that can occur, the likeliest first
    reach = np.take_along_axis(joint, outcomes, axis=1).cumsum(1)[:, :-1]  # (S, M - 1)
    state = rng.choice(S, n_docs, p=stationary(process))
    tokens = np.empty((length, n_docs), dtype=np.uint16)
    for t in range(length):
        pick = outcomes[state, (rng.random(n_docs)[:, None] >= reach[state]).sum(1)]
        tokens[t], state = pick // S, pick % S
    return tokens.T


def prepare_synthetic(folder):
    """Samples and writes the processes' documents to the folder; returns meta.json's content as a dict."""
    if documents_per_process < 10 or document_length < 2:
        fail('--documents_per_process must be at least 10 and --document_length at least 2')
    built, components = build_processes(processes, markov_vocab, data_seed), {}
    n_docs = {'train': documents_per_process, 'val': documents_per_process // 5, 'test': documents_per_process // 5}
    for name, process in tqdm(built.items(), desc='sampling', unit=' processes', leave=False):
        os.makedirs(os.path.join(folder, name))
        np.save(os.path.join(folder, name, 'process.npy'), process)
        components[name] = {}
        for split, n in n_docs.items():
            tokens = sample_process(process, n, document_length, random_stream('process', data_seed, name, split))
            raw = tokens.astype('<u2').tobytes()
            with open(os.path.join(folder, name, f'{split}.bin'), 'wb') as f:
                f.write(raw)
            np.save(os.path.join(folder, name, f'{split}.idx.npy'), np.arange(n + 1) * document_length)
            components[name][split] = {'docs': n, 'tokens': tokens.size, 'bytes': tokens.size,  # a symbol counts as a byte
                                       'sha256': hashlib.sha256(raw).hexdigest()}
    n_vocab = 1 + max(len(process) for process in built.values())
    return {'processes': processes, 'data_seed': data_seed, 'tokenizer': 'none', 'vocab_size': n_vocab,
            'bos_id': n_vocab - 1, 'components': dict(sorted(components.items()))}


if __name__ == '__main__':
    check_name(dataset, '--dataset')
    out = os.path.join('data', dataset)
    if os.path.exists(out) and not (overwrite and os.path.isfile(os.path.join(out, 'meta.json'))):
        fail(f'{out} is there already: choose another --dataset, or replace it with --overwrite=True' if not overwrite else
             f'{out} is no data set of prepare.py (it has no meta.json): move it away, or choose another --dataset')
    os.makedirs('data', exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir='data', prefix=f'.{dataset}-') as work:
            # all is written beside its place and moved there at the end, meta.json last
            made = os.path.join(work, 'made')
            os.makedirs(made)
            meta = {'dataset': dataset, 'source': source} | (
                prepare_synthetic(made) if source == 'synthetic' else prepare_text(made, work))
            with open(os.path.join(made, 'meta.json'), 'w') as f:
                json.dump(meta, f, indent=1)
            if os.path.exists(out):
                shutil.rmtree(out)
            os.rename(made, out)
    finally:
        if not os.listdir('data'):
            os.rmdir('data')

    print(f'{"component":20} {"split":5} {"documents":>10} {"tokens":>12} {"bytes/token":>11}')
    for name, per_split in meta['components'].items():
        for split, s in per_split.items():
            print(f'{name:20} {split:5} {s["docs"]:10,} {s["tokens"]:12,} {s["bytes"] / max(1, s["tokens"]):11.2f}')
    print(f'wrote {out}/: {len(meta["components"])} components, vocabulary of {meta["vocab_size"]:,}')
