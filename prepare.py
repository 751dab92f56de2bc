"""
Turns labelled text, or synthetic processes, into uint16 tokens:
data/<dataset>/<component>/<split>.bin, <split>.idx.npy and meta.json.

    python prepare.py                                         # ccdv/arxiv-classification from the hub, BPE of 32,000
    python prepare.py config/cpu.py                           # the same papers for a laptop: BPE of 1,024
    python prepare.py --source=my_texts.jsonl --dataset=mine  # a local file or folder: parquet, json lines or csv
    python prepare.py --source=my_folder --dataset=mine       # my_folder/<component>/*.txt
    python prepare.py --dataset=arxiv-gpt2 --tokenizer=gpt2   # GPT-2's tokens; or the path of a tokenizer.json
    python prepare.py config/demo.py                          # eight Markov chains, whose exact XE is known
    python prepare.py --source=synthetic --dataset=mess3 --processes=mess3:4

A source of text has a text column, a label column that names each document's component, and the splits train,
validation and test; where validation or test is missing, a hash of the text deals a tenth of train's documents to it. A
text that is there twice is kept once, in test or validation rather than in train. The documents are gathered
from the source by component and split, then a tokenizer is trained on train, then they are encoded: each pass holds a few
megabytes of text at a time, and some 110 bytes for each document.

A synthetic process is a hidden Markov chain: an array T[v, i, j] = P(emit v and go to state j | in state i), saved as
process.npy beside its tokens. Its documents are stationary: they begin in the stationary state distribution.
"""
import array
import glob
import hashlib
import itertools
import json
import logging
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor

import datasets
import filelock
import h5py
import huggingface_hub
import matplotlib
import numpy as np
import pyarrow.parquet
import tiktoken
import tokenizers
from tqdm import tqdm

from configurator import check_name, fail, override, random_stream, split_names
from processes import build_processes, sample_process
from sample_mix import data_table, number_windows

matplotlib.use('Agg')
import matplotlib.pyplot as plt

# -----------------------------------------------------------------------------
dataset = 'arxiv'                       # the folder under data/ to write
source = 'ccdv/arxiv-classification'    # a data set on the Hugging Face hub, a local folder or file, or synthetic
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
# for all
block_size = 100                        # tokens in a window: for the table of budgets, and of an HDF5 file's chunks
hdf5 = False                            # True: also write the windows as HDF5 files, in the layout of the older pipeline
num_proc = 0                            # cores to use; 0 = all
overwrite = False                       # True: replace a data set that is there already
# -----------------------------------------------------------------------------
override(globals())

SPLITS = {'test': 'test', 'validation': 'val', 'train': 'train'}  # the source's name: ours, in the order they are read
END_OF_TEXT = '<|endoftext|>'
BATCH_BYTES = 4_000_000  # documents are read and encoded so many bytes at a time
GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"  # Radford et al. 2019, encoder.py


def complain(e):
    """Fails over what a library said of the source: they raise a dozen kinds, their own, the network's and pyarrow's."""
    why = str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__
    fail(f'--source={source} cannot be loaded: {why[:300]} (a local folder or file of parquet, json lines, csv or .txt works too)')


def open_rows():
    """
    Returns {their split: iterator over (component, document)} of a hub data set, or a local one of the same form.

    A local source is streamed from its files: datasets' cache can serve an old copy of a file that has changed.
    """
    huggingface_hub.logging.set_verbosity_error()  # no line for each retry
    datasets.logging.set_verbosity(logging.CRITICAL)  # what goes wrong is said once, by complain()
    kinds = {'.parquet': 'parquet', '.json': 'json', '.jsonl': 'json', '.csv': 'csv'}
    ending = os.path.splitext(source)[1]
    try:
        if os.path.isfile(source):
            if ending not in kinds:
                raise ValueError(f'the ending {ending!r} is none of {", ".join(kinds)}, .hdf5, .h5')
            builder = datasets.load_dataset_builder(kinds[ending], data_files={'train': source})
        else:
            local = datasets.get_dataset_config_names(source) if os.path.exists(source) else []
            config = local[0] if len(local) == 1 else source_config
            builder = datasets.load_dataset_builder(source, config or None)
        if os.path.exists(source):
            if type(builder.config).__name__ == 'CsvConfig':  # not 10,000 rows at a time
                builder.config.chunksize = 100
            found = builder.as_streaming_dataset()
        else:
            builder.download_and_prepare()
            found = builder.as_dataset()
        rows = next(iter(found.values()))
        columns = rows.column_names or list(next(iter(rows), {}))  # a csv file's are known once it is read
    except Exception as e:
        complain(e)
    if not columns:
        fail(f'--source={source} has no rows')
    for column in (text_column, label_column):
        if column not in columns:
            fail(f'--source={source} has no column {column!r}; it has {", ".join(columns)} (set --text_column and --label_column)')

    def documents(split, rows):
        label, n = (rows.features or {}).get(label_column), 0
        batches = iter(rows.select_columns([text_column, label_column]).iter(100))
        if os.path.exists(source) and type(builder.config).__name__ == 'ParquetConfig':
            # datasets would hold a row group of the file, 100 MB say, several times over
            batches = (batch.to_pydict() for path in builder.config.data_files[split]
                       for batch in pyarrow.parquet.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False).iter_batches(
                           100, columns=[text_column, label_column], use_threads=False))
        while True:
            try:
                batch = next(batches, None)
            except Exception as e:
                complain(e)
            if batch is None:
                return
            for text, value in zip(batch[text_column], batch[label_column]):
                n += 1
                if type(text) is not str or value is None or value == -1:
                    fail(f'--source={source}: document {n:,} of {split} has no {"label" if type(text) is str else "text"}:'
                         f' {label_column}={value!r}, {text_column} of type {type(text).__name__}')
                if isinstance(label, datasets.ClassLabel):
                    if not 0 <= value < label.num_classes:
                        fail(f'--source={source}: document {n:,} of {split} has the label {value}; there are 0 .. {label.num_classes - 1}')
                    value = label.int2str(value)
                yield str(value), text.encode(errors='replace')
    return {split: documents(split, found[split]) for split in SPLITS if split in found}


def open_texts():
    """
    Returns {split: iterator over (component, document)} of a folder of text files, <component>/*.txt, or
    <split>/<component>/*.txt, or {} where there are none. What is not UTF-8 becomes U+FFFD.
    """
    def documents(folder):
        for path in sorted(glob.glob(os.path.join(glob.escape(folder), '*', '*.txt'))):
            try:
                with open(path, 'rb') as f:
                    text = f.read()
            except OSError as e:
                complain(e)
            yield os.path.basename(os.path.dirname(path)), text.decode(errors='replace').encode()
    splits = {split: os.path.join(source, split) for split in SPLITS}
    if not glob.glob(os.path.join(glob.escape(source), 'train', '*', '*.txt')):
        splits = {'train': source}
    return {split: documents(folder) for split, folder in splits.items()
            if glob.glob(os.path.join(glob.escape(folder), '*', '*.txt'))}


def open_hdf5():
    """
    Returns {split: iterator over (component, document)} of HDF5 files of the older layout, one file, or a folder with one
    for each split, or {} where there are none. A document is a run of chunks of the same number and category: its
    bytes are its tokens', uint16.
    """
    def documents(path):
        try:
            with h5py.File(path, 'r') as f:
                chunks, category, number = (f[name] for name in ('token_chunks', 'category_for_chunk', 'doc_idx_for_chunk'))
                rest, name, doc = [], None, None  # the document that is being read
                for i in range(0, len(chunks), 10_000):
                    tokens = chunks[i:i + 10_000]
                    if tokens.min() < 0 or tokens.max() > 65534:
                        fail(f'{path} has the token {tokens.max() if tokens.max() > 65534 else tokens.min()}; uint16 holds 0 .. 65,534')
                    for row, c, d in zip(tokens.astype('<u2'), category[i:i + 10_000], number[i:i + 10_000]):
                        if rest and (c, d) != (name, doc):
                            yield name.decode(), b''.join(rest)
                            rest = []
                        name, doc = c, d
                        rest.append(row.tobytes())
                if rest:
                    yield name.decode(), b''.join(rest)
        except (OSError, KeyError, ValueError, AttributeError) as e:
            complain(f'{path} is not an HDF5 file of token_chunks, category_for_chunk and doc_idx_for_chunk ({e})')
    if os.path.isfile(source):
        return {'train': documents(source)} if source.endswith(('.hdf5', '.h5')) else {}
    paths = {split: glob.glob(os.path.join(glob.escape(source), f'*_{name}.hdf5')) for split, name in SPLITS.items()}
    paths['validation'] = paths['validation'] or glob.glob(os.path.join(glob.escape(source), '*_validation.hdf5'))
    return {split: documents(some[0]) for split, some in paths.items() if some}


def gather(streams, folder):
    """
    Writes the documents of every split to folder/<component>/<split>, end to end: each once, in the first of test,
    validation and train that has it. Where test or validation are missing, they are cut from train.

    streams is {their split: iterable of (component, document in bytes)}.
    Returns {component: {split: {'lengths': array of the documents' bytes, 'duplicates': how many were dropped}}}.
    """
    cut = {}  # the last digit of a hash: the split that train's documents with it go to
    if 'test' not in streams:
        cut[9] = 'test'
    if 'validation' not in streams:
        cut[8] = 'val'
    keep, seen, found, waiting, size = split_names(labels), set(), {}, {}, 0

    def flush():
        for (name, split), docs in waiting.items():
            with open(os.path.join(folder, name, split), 'ab') as f:
                f.writelines(docs)
        waiting.clear()

    with tqdm(desc='reading', unit=' documents', leave=False, disable=None) as bar:
        for theirs, ours in SPLITS.items():
            for name, doc in streams.get(theirs, ()):
                bar.update()
                if keep and name not in keep:
                    continue
                if name not in found:
                    check_name(name, 'component')
                    os.mkdir(os.path.join(folder, name))
                    found[name] = {split: {'lengths': array.array('q'), 'duplicates': 0} for split in SPLITS.values()}
                digest = hashlib.sha256(doc).digest()
                split = cut.get(int.from_bytes(digest, 'big') % 10, ours) if ours == 'train' else ours
                if doc and digest[:16] in seen:  # an empty document is nobody's copy
                    found[name][split]['duplicates'] += 1
                    continue
                seen.add(digest[:16])
                found[name][split]['lengths'].append(len(doc))
                waiting.setdefault((name, split), []).append(doc)
                size += len(doc)
                if size >= BATCH_BYTES:
                    flush()
                    size = 0
    flush()
    for name in sorted(set(keep) | set(found)):
        empty = [split for split in ('train', 'val', 'test') if name not in found or not sum(found[name][split]['lengths'])]
        if empty:
            rest = ','.join(sorted(n for n in found if all(sum(s['lengths']) for s in found[n].values())))
            fail(f'component {name} has no text in {", ".join(empty)}; ' + (f'leave it out: --labels={rest}' if rest else 'no component has'))
    if not found:
        fail(f'--source={source} has no documents')
    return dict(sorted(found.items()))


def read_documents(path, lengths):
    """Yields lists of documents (bytes) from a file that has them end to end, BATCH_BYTES or a document more at a time."""
    with open(path, 'rb') as f:
        batch, size = [], 0
        for n in lengths:
            batch.append(f.read(n))
            size += n
            if size >= BATCH_BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch


def train_bpe(folder, found, vocab_size):
    """
    Returns a byte-level BPE (tokenizers.Tokenizer) of vocab_size tokens, END_OF_TEXT among them, trained on what
    gather() wrote of train, every component giving the same number of bytes (the smallest one's, or bpe_bytes).
    """
    share = min(*(sum(of['train']['lengths']) for of in found.values()), bpe_bytes)

    def sample():
        for name in found:
            left, batches = share, read_documents(os.path.join(folder, name, 'train'), found[name]['train']['lengths'])
            for doc in itertools.chain.from_iterable(batches):
                yield doc[:left].decode(errors='ignore')
                left -= len(doc)
                if left <= 0:
                    break

    tok = tokenizers.Tokenizer(tokenizers.models.BPE())
    tok.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = tokenizers.decoders.ByteLevel()
    tok.train_from_iterator(sample(), tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[END_OF_TEXT], show_progress=sys.stderr.isatty(),
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet()))
    if tok.get_vocab_size() < vocab_size:
        fail(f'the text yields {tok.get_vocab_size()} tokens, fewer than --vocab_size={vocab_size}: ask for fewer')
    return tok


def tiktoken_of(tok):
    """
    Returns (a tiktoken.Encoding, the id in tok of each of its ids) for a byte-level BPE that splits text into words as
    GPT-2 does (tokenizers.Tokenizer), or None where equal ids are not certain.

    tokenizers joins only the pairs that are listed as merges, the earliest listed first; tiktoken joins any two neighbours
    that make up a token, the earliest token first. The two are the same if every merge joins what earlier merges made, no two make
    the same token, and every token, as a word, becomes itself. For let l and r be neighbours that make up the token s, after
    all merges listed before that of s. As no merge crossed their borders so far, the same merges turn s alone into l, r too;
    and they turn s into the pair that is listed, as s becomes itself. So l, r is that pair.
    """
    spec = json.loads(tok.to_str())
    model, words = spec['model'], spec['pre_tokenizer'] or {}
    if (model['type'] != 'BPE' or spec['normalizer'] or words.get('type') != 'ByteLevel' or not words.get('use_regex', True)
            or any(model.get(key) for key in ('dropout', 'continuing_subword_prefix', 'end_of_word_suffix', 'ignore_merges'))
            or not all(token['special'] for token in spec['added_tokens'])):
        return None
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]  # GPT-2 writes these bytes as they are, the
    others = [b for b in range(256) if b not in printable]             # others as the letters from 256 on
    byte = {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}
    names = sorted(byte, key=byte.get) + [left + right for left, right in model['merges']]  # of tiktoken's ids 0, 1, ..
    rank = {name: i for i, name in enumerate(names)}
    certain = (len(rank) == len(names) and rank.keys() <= model['vocab'].keys()
               and all(max(rank.get(part, i) for part in merge) < i for i, merge in enumerate(model['merges'], 256))
               and all([token.value for token in tok.model.tokenize(name)] == [name] for name in names))
    if not certain:
        return None
    ranks = {bytes(byte[letter] for letter in name): i for name, i in rank.items()}
    encoding = tiktoken.Encoding('bpe', pat_str=GPT2_PATTERN, mergeable_ranks=ranks, special_tokens={})
    return encoding, np.array([model['vocab'][name] for name in names], dtype='<u2')


def encoder(tok, num_proc=0):
    """
    Returns a function from a list of documents (UTF-8, bytes) to the list of their tokens (uint16 arrays), on num_proc
    cores. tok is a tiktoken.Encoding or a tokenizers.Tokenizer; the latter's ids come by way of tiktoken where that is
    sure to give the same, some three times as fast.
    """
    num_proc = num_proc or (len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count())
    encoding, ids, prefix, unknown = tok, np.arange(65536, dtype='<u2'), False, None
    if isinstance(tok, tokenizers.Tokenizer):
        encoding, ids = tiktoken_of(tok) or (None, None)
        spec = json.loads(tok.to_str())
        prefix = (spec['pre_tokenizer'] or {}).get('add_prefix_space', False)
        unknown = spec['model'].get('unk_id')
        if spec['model'].get('unk_token'):
            unknown = tok.token_to_id(spec['model']['unk_token'])

    def by_tokenizers(docs):
        texts = [doc.decode() for doc in docs]
        every = [np.array(e.ids, dtype='<u2') for e in tok.encode_batch_fast(texts, add_special_tokens=False)]
        for text, some in zip(texts, every):
            if unknown is not None and (some == unknown).any():
                fail(f'--tokenizer={tokenizer} maps some of a document to its unknown token {tok.id_to_token(unknown)!r}, so its'
                     f' XE would be that of another text; the document begins {text[:60]!r}')
        return every

    def by_tiktoken(docs):
        every = []
        for doc in docs:
            text = doc.decode()
            text = ' ' + text if prefix and text and not text.startswith(' ') else text
            try:
                every.append(ids[encoding.encode_to_numpy(text, disallowed_special=())])
            except ValueError as e:  # its regular expressions give up on a hundred thousand spaces in a row
                if encoding is tok:
                    fail(f'--tokenizer={tokenizer} cannot encode the document that begins {text[:60]!r} ({e})')
                every += by_tokenizers([doc])
        return every
    if not encoding:
        return by_tokenizers
    pool = ThreadPoolExecutor(num_proc)  # tiktoken works outside Python's lock

    def in_threads(docs):
        n = 1 + len(docs) // (4 * num_proc)  # a few pieces for each thread, as they differ in length
        return [tokens for some in pool.map(by_tiktoken, [docs[i:i + n] for i in range(0, len(docs), n)]) for tokens in some]
    return in_threads


def load_tokenizer(name, folder, found):
    """Returns (tok, vocab_size, bos_id): tok is a tokenizers.Tokenizer, or for gpt2 a tiktoken.Encoding."""
    if name == 'gpt2':
        try:
            tok = tiktoken.get_encoding('gpt2')
        except OSError as e:  # requests' errors are OSErrors
            fail(f'--tokenizer=gpt2: its merges cannot be fetched ({type(e).__name__}); --tokenizer=bpe needs no network')
        return tok, tok.n_vocab, tok.eot_token
    if name == 'bpe':
        tok = train_bpe(folder, found, vocab_size)
    elif os.path.isfile(name):
        try:
            tok = tokenizers.Tokenizer.from_file(name)
        except Exception as e:  # the library raises Exception itself
            fail(f'--tokenizer={name} is not a tokenizer.json ({e})')
        tok.no_truncation()
        tok.no_padding()
        spec = json.loads(tok.to_str())
        every_byte = 'ByteLevel' in json.dumps([spec['pre_tokenizer'], spec['normalizer']]) and (
            set(tokenizers.pre_tokenizers.ByteLevel.alphabet()) <= tok.get_vocab().keys())
        if spec['model']['type'] == 'BPE' and not (every_byte or spec['model'].get('byte_fallback') or spec['model'].get('unk_token')):
            fail(f'--tokenizer={name} would leave out the letters that it does not know, and not say so: give its model an unk_token')
    else:
        fail(f'--tokenizer={name}: write bpe, gpt2 or the path of a tokenizer.json')
    n_vocab = 1 + max(tok.get_vocab().values())
    if n_vocab > 65535:
        fail(f'--tokenizer={name} has {n_vocab} tokens; uint16 holds ids below 65,536: at most 65,535 tokens')
    ends = [i for i in map(tok.token_to_id, (END_OF_TEXT, '[SEP]', '</s>')) if i is not None]
    if not ends:
        fail(f'--tokenizer={name} has no end-of-text token ({END_OF_TEXT}, [SEP] or </s>) to begin a window with')
    tok.encode_special_tokens = True  # text that spells a special token is text
    return tok, n_vocab, ends[0]


def write_tokens(path, batches, encode, bar):
    """
    Encodes documents and writes path.bin (uint16, end to end) and path.idx.npy (where each begins, and the end).

    batches is an iterable of lists of documents (bytes, or what else has a length), encode maps such a list to a list of uint16 arrays.
    Returns {'docs', 'tokens', 'bytes', 'sha256'} as meta.json has them.
    """
    lengths, size, digest = array.array('q', [0]), 0, hashlib.sha256()
    with open(path + '.bin', 'wb') as f:
        for docs in batches:
            every = encode(docs)
            lengths.extend(map(len, every))
            raw = np.concatenate(every).tobytes()
            f.write(raw)
            digest.update(raw)
            size += sum(map(len, docs))
            bar.update(sum(map(len, docs)))
    offsets = np.cumsum(lengths, dtype=np.int64)
    np.save(path + '.idx.npy', offsets)
    return {'docs': len(offsets) - 1, 'tokens': int(offsets[-1]), 'bytes': size, 'sha256': digest.hexdigest()}


def write_hdf5(folder, meta, T):
    """
    Writes the documents' windows of T tokens, from each one's start, in the layout of the older pipeline, one
    file for each split: folder/custom_tokenized_data_chunked_len<T>_<split>.hdf5.
    """
    names = list(meta['components'])
    for split in ('train', 'val', 'test'):
        with h5py.File(os.path.join(folder, f'custom_tokenized_data_chunked_len{T}_{split}.hdf5'), 'w') as f:
            tokens = f.create_dataset('token_chunks', (0, T), 'i4', maxshape=(None, T), chunks=(1000, T))
            category = f.create_dataset('category_for_chunk', (0,), h5py.string_dtype(), maxshape=(None,))
            number = f.create_dataset('doc_idx_for_chunk', (0,), 'i4', maxshape=(None,))
            counts, first = {}, 0  # first: the number of the component's first document
            for name in names:
                offsets = np.load(os.path.join(folder, name, f'{split}.idx.npy'))
                windows = np.diff(offsets) // T
                doc, nth = number_windows(windows)
                start = offsets[doc] + T * nth
                raw = np.memmap(os.path.join(folder, name, f'{split}.bin'), dtype='<u2', mode='r')
                for i in range(0, len(doc), 10_000):
                    n = len(tokens)
                    some = slice(i, i + 10_000)
                    for data, values in ((tokens, raw[start[some, None] + np.arange(T)]), (category, [name] * len(doc[some])),
                                         (number, first + doc[some])):
                        data.resize(n + len(doc[some]), axis=0)
                        data[n:] = values
                counts[name], first = len(doc), first + len(windows)
            f.attrs.update({'chunk_size': T, 'total_chunks': len(tokens), 'tokenizer_name_or_path': meta['tokenizer'],
                            'selected_categories_in_file': names,
                            'reference_chunk_budget_smallest_top_category': min(counts.values())})


def draw_documents(folder, meta, T):
    """Draws the tokens of each component and how long its training documents are to folder/documents.png."""
    names = list(meta['components'])[::-1]
    fig, (left, right) = plt.subplots(1, 2, figsize=(11, 1.4 + 0.28 * len(names)), layout='constrained', sharey=True)
    rows, base = np.arange(len(names)), np.zeros(len(names))
    for split, color in (('train', 'tab:blue'), ('val', 'tab:orange'), ('test', 'tab:green')):
        tokens = np.array([meta['components'][name][split]['tokens'] for name in names])
        left.barh(rows, tokens, left=base, color=color, label=split)
        base += tokens
    left.set_yticks(rows, names)
    left.set_xlabel('tokens')
    lengths = [np.diff(np.load(os.path.join(folder, name, 'train.idx.npy'))) for name in names]
    low, first, median, third, high = np.array([np.quantile(x, (0.05, 0.25, 0.5, 0.75, 0.95)) for x in lengths]).clip(1).T
    right.hlines(rows, low, high, color='tab:blue', lw=1, label='5% to 95% of the documents')
    right.hlines(rows, first, third, color='tab:blue', lw=5, label='25% to 75%')
    right.plot(median, rows, 'o', color='white', ms=4, mec='black', label='median')
    right.axvline(T, color='black', ls=':', label=f'a window, {T} tokens')
    right.set_xscale('log')
    right.xaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
    right.xaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
    right.set_xlabel('tokens in a training document')
    for ax, columns in ((left, 3), (right, 4)):
        ax.xaxis.set_major_formatter(matplotlib.ticker.EngFormatter(sep=''))
        ax.grid(alpha=0.3, axis='x')
        ax.set_axisbelow(True)
        ax.legend(fontsize=8, ncols=columns, loc='lower center', bbox_to_anchor=(0.5, 1), frameon=False, columnspacing=1.2)
    fig.suptitle(f'data/{meta["dataset"]}', fontsize=10)
    fig.savefig(os.path.join(folder, 'documents.png'), dpi=130)
    plt.close(fig)


def prepare_text(made, work):
    """Reads, tokenizes and writes the source's components to the folder `made`; returns meta.json's content as a dict."""
    if tokenizer == 'bpe' and not 257 <= vocab_size <= 65535:
        fail(f'--vocab_size={vocab_size}: a byte-level BPE in uint16 has 257 to 65,535 tokens')
    gathered = os.path.join(work, 'gathered')
    os.mkdir(gathered)
    chunks = open_hdf5()
    streams = chunks or open_texts() or open_rows()
    found = gather(streams, gathered)

    tok, n_vocab, bos_id = None, 0, 0
    if not chunks or tokenizer not in ('bpe', 'gpt2'):  # an HDF5 file has tokens already, and may come with their tokenizer.json
        print(f'{tokenizer} tokenizer ...', flush=True)
        tok, n_vocab, bos_id = load_tokenizer(tokenizer, gathered, found)
    encode = encoder(tok, num_proc) if not chunks else lambda docs: [np.frombuffer(doc, dtype='<u2') for doc in docs]
    components = {}
    total = sum(sum(s['lengths']) for of in found.values() for s in of.values())
    with tqdm(total=total, desc='encoding', unit='B', unit_scale=True, leave=False, disable=None) as bar:
        for name, of in found.items():
            os.mkdir(os.path.join(made, name))
            components[name] = {}
            for split in ('train', 'val', 'test'):
                path, out = os.path.join(gathered, name, split), os.path.join(made, name, split)
                facts = write_tokens(out, read_documents(path, of[split]['lengths']), encode, bar)
                components[name][split] = facts | {'duplicates': of[split]['duplicates']}
                os.remove(path)
                if chunks:  # bytes of text, where there is a tokenizer to tell; else a token counts as one
                    tokens, offsets = np.fromfile(out + '.bin', dtype='<u2'), np.load(out + '.idx.npy')
                    components[name][split]['bytes'] = len(tokens) if not tok else sum(
                        len(tok.decode(tokens[a:b].tolist(), skip_special_tokens=False).encode()) for a, b in zip(offsets, offsets[1:]))
                    if tok and tokens.max() >= n_vocab:
                        fail(f'--source={source} has the token {tokens.max()}; --tokenizer={tokenizer} has {n_vocab}')
                    if not tok:  # BOS follows the largest token
                        bos_id = max(bos_id, 1 + int(tokens.max()))
                        n_vocab = 1 + bos_id
    if n_vocab > 65535:
        fail(f'--source={source} has {n_vocab - 1} tokens; uint16 holds 65,534 and BOS')
    if isinstance(tok, tokenizers.Tokenizer):
        tok.save(os.path.join(made, 'tokenizer.json'))
    cut = [split for theirs, split in SPLITS.items() if theirs not in streams]
    return {'source_config': source_config, 'tokenizer': tokenizer if tok else 'none', 'vocab_size': n_vocab, 'bos_id': bos_id,
            'cut_from_train': cut, 'components': components}


def prepare_synthetic(folder):
    """Samples and writes the processes' documents to the folder; returns meta.json's content as a dict."""
    if documents_per_process < 10 or document_length < 2:
        fail('--documents_per_process must be at least 10 and --document_length at least 2')
    built, components = build_processes(processes, markov_vocab, data_seed), {}
    n_docs = {'train': documents_per_process, 'val': documents_per_process // 5, 'test': documents_per_process // 5}
    with tqdm(total=len(built) * sum(n_docs.values()) * document_length, desc='sampling', unit=' tokens', unit_scale=True, leave=False,
              disable=None) as bar:
        for name, process in built.items():
            os.makedirs(os.path.join(folder, name))
            np.save(os.path.join(folder, name, 'process.npy'), process)
            components[name] = {}
            for split, n in n_docs.items():
                tokens = sample_process(process, n, document_length, random_stream('process', data_seed, name, split))
                # they are encoded already, and so a symbol counts as a byte
                components[name][split] = write_tokens(os.path.join(folder, name, split), [tokens.astype('<u2')], list, bar)
    n_vocab = 1 + max(len(process) for process in built.values())
    return {'processes': processes, 'data_seed': data_seed, 'tokenizer': 'none', 'vocab_size': n_vocab,
            'bos_id': n_vocab - 1, 'components': dict(sorted(components.items()))}


if __name__ == '__main__':
    check_name(dataset, '--dataset')
    if block_size < 2 or num_proc < 0:
        fail('--block_size must be at least 2, --num_proc at least 0')
    if num_proc:
        os.environ['RAYON_NUM_THREADS'] = str(num_proc)  # the tokenizers library reads it once, when training a bpe too
    out, work = os.path.join('data', dataset), os.path.join('data', f'.{dataset}.part')
    if os.path.exists(out) and not (overwrite and os.path.isfile(os.path.join(out, 'meta.json'))):
        fail(f'{out} is there already: choose another --dataset, or replace it with --overwrite=True' if not overwrite else
             f'{out} is no data set of prepare.py (it has no meta.json): move it away, or choose another --dataset')
    try:
        os.makedirs('data', exist_ok=True)
        with filelock.FileLock(os.path.join('data', f'.{dataset}.lock'), timeout=0) as lock:
            # all is written to `work`, which an earlier process may have left when it was killed, and moved to its place at the end
            shutil.rmtree(work, ignore_errors=True)
            made = os.path.join(work, 'made')
            os.makedirs(made)
            try:
                meta = {'dataset': dataset, 'source': source} | (
                    prepare_synthetic(made) if source == 'synthetic' else prepare_text(made, work))
                if hdf5:
                    write_hdf5(made, meta, block_size)
                draw_documents(made, meta, block_size)
                with open(os.path.join(made, 'meta.json'), 'w') as f:
                    json.dump(meta, f, indent=1)
                if os.path.exists(out):
                    os.rename(out, os.path.join(work, 'old'))
                os.rename(made, out)
            finally:
                shutil.rmtree(work, ignore_errors=True)
                os.remove(lock.lock_file)
    except filelock.Timeout:
        fail(f'another prepare.py is writing {out}: wait for it, or choose another --dataset')
    except OSError as e:
        fail(f'{e.filename or out} cannot be written ({e.strerror or e}): nothing was kept; make room, or work in another folder')
    except KeyboardInterrupt:
        fail(f'interrupted: {out} was not written')
    finally:
        if os.path.isdir('data') and not os.listdir('data'):
            os.rmdir('data')

    print('\n'.join(data_table(meta, block_size)))
    print(f'wrote {out}/: {len(meta["components"])} components, vocabulary of {meta["vocab_size"]:,} | {out}/documents.png')
