"""
Turns labelled text, or synthetic processes, into uint16 tokens:
data/<dataset>/<component>/<split>.bin, <split>.idx.npy and meta.json.

    python prepare.py                      # ccdv/arxiv-classification from the hub, BPE of 32,000
    python prepare.py config/cpu.py        # the same papers for a laptop: BPE of 1,024
    python prepare.py --dataset=mine --source=my_texts.jsonl  # or a folder: parquet, jsonl, csv
    python prepare.py --dataset=mine --source=my_folder       # my_folder/<component>/*.txt
    python prepare.py --dataset=arxiv-gpt2 --tokenizer=gpt2   # or the path of a tokenizer.json
    python prepare.py config/demo.py       # eight Markov chains, whose exact XE is known
    python prepare.py --dataset=mess3 --source=synthetic --processes=mess3:4

A source of text has a text column, a label column that names each document's component, and the
splits train, validation and test. Where validation or test is missing, a hash of the text deals a
tenth of train's documents to it. A text that is there twice is kept once, in test or validation
rather than in train. The documents are first staged on disk by component and split, then a
tokenizer is trained on train, then they are encoded. Each pass holds a few megabytes of text at a
time, and some 110 bytes for each document.

A synthetic process is a hidden Markov chain, T[v, i, j] = P(emit v and go to state j | in state i),
saved as process.npy beside its tokens (see processes.py).
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
from multiprocessing.pool import ThreadPool

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
from sample_mix import data_table

matplotlib.use('Agg')
import matplotlib.pyplot as plt

# -----------------------------------------------------------------------------
source = 'ccdv/arxiv-classification'  # a data set on the hub, a local folder or file, or synthetic
source_config = 'no_ref'      # which of the source's configurations ('' where it has but one)
text_column = 'text'          # the column that holds a document
label_column = 'label'        # the column that names its component
labels = ''                   # keep these components only, comma separated ('' = all)
tokenizer = 'bpe'             # bpe: train one on this text; gpt2; or the path of a tokenizer.json
vocab_size = 32000            # tokens of the bpe to train, its end-of-text token included
bpe_bytes = 20_000_000        # bytes of text that each component gives to its training, at most
# for --source=synthetic
processes = 'markov:8'        # coins:N, mess3:N, markov:N, golden_mean, even, z1r, T.npy; commas between
markov_vocab = 16             # symbols, and states, of a markov component
documents_per_process = 1000  # training documents of each; validation and test have a fifth each
document_length = 5000        # tokens in each
data_seed = 0                 # which markov chains, and the documents of every process
# for all
hdf5 = False                  # True: write the windows as HDF5 files too, the older pipeline's layout
num_proc = 0                  # cores to use; 0 = all
overwrite = False             # True: replace a data set that is there already
# -----------------------------------------------------------------------------
settings = override(globals(), shared=('dataset', 'block_size'))
dataset, block_size = settings['dataset'], settings['block_size']

# the source's name of a split: ours, in the order in which they are read
SPLITS = {'test': 'test', 'validation': 'val', 'train': 'train'}
END_OF_TEXT = '<|endoftext|>'
BATCH_BYTES = 4_000_000  # documents are read and encoded so many bytes at a time
# how GPT-2 splits text into words (Radford et al. 2019, encoder.py)
GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

# -----------------------------------------------------------------------------
# sources: each returns {source's split: iterator over (component, document in bytes)}


def fail_on_source(error):
    """Fails with a library's message (datasets, pyarrow and the network raise many types)."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    fail(f'--source={source} cannot be loaded: {lines[0][:300]}'
         ' (a local folder or file of parquet, json lines, csv or .txt works too)')


def open_rows():
    """
    Returns the documents of a hub data set, or of local parquet, json lines or csv.

    A local source is streamed from its files: datasets' cache can serve an old copy of a file.
    """
    huggingface_hub.logging.set_verbosity_error()  # no line for each retry
    datasets.logging.set_verbosity(logging.CRITICAL)  # fail_on_source() says what goes wrong, once
    kinds = {'.parquet': 'parquet', '.json': 'json', '.jsonl': 'json', '.csv': 'csv'}
    local, ending = os.path.exists(source), os.path.splitext(source)[1]
    if not local:
        print(f'loading {source} from the hub ...', flush=True)
    try:
        if os.path.isfile(source):
            if ending not in kinds:
                raise ValueError(f'the ending {ending!r} is none of {", ".join(kinds)}, .hdf5, .h5')
            builder = datasets.load_dataset_builder(kinds[ending], data_files={'train': source})
        else:
            configs = datasets.get_dataset_config_names(source) if local else []
            config = configs[0] if len(configs) == 1 else source_config
            builder = datasets.load_dataset_builder(source, config or None)
        if not local:
            builder.download_and_prepare()
        elif type(builder.config).__name__ == 'CsvConfig':  # not 10,000 rows at a time
            builder.config.chunksize = 100
        splits = builder.as_streaming_dataset() if local else builder.as_dataset()
        rows = next(iter(splits.values()))
        columns = rows.column_names or list(next(iter(rows), {}))  # a csv file's, once it is read
    except Exception as e:
        fail_on_source(e)
    if not columns:
        fail(f'--source={source} has no rows')
    for column in (text_column, label_column):
        if column not in columns:
            fail(f'--source={source} has no column {column!r}; it has {", ".join(columns)}'
                 ' (set --text_column and --label_column)')
    streams = {}
    for split in SPLITS:
        if split in splits:
            batches = splits[split].select_columns([text_column, label_column]).iter(100)
            if local and type(builder.config).__name__ == 'ParquetConfig':
                batches = read_parquet(builder.config.data_files[split])
            feature = (splits[split].features or {}).get(label_column)
            streams[split] = read_rows(split, batches, feature)
    return streams


def read_parquet(paths):
    """
    Yields {column: list of 100 values} of the text and label columns. datasets would hold a row
    group of a file, 100 MB say, several times over.
    """
    for path in paths:
        file = pyarrow.parquet.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False)
        for batch in file.iter_batches(100, columns=[text_column, label_column], use_threads=False):
            yield batch.to_pydict()


def read_rows(split, batches, feature):
    """Yields the (component, document) of batches, {column: list}; feature is the label column's."""
    n = 0
    try:
        for batch in batches:
            for text, label in zip(batch[text_column], batch[label_column]):
                n += 1
                where = f'--source={source}: document {n:,} of {split} has'
                if type(text) is not str:
                    fail(f'{where} no text: {text_column} is of type {type(text).__name__}')
                if label is None or label == -1:
                    fail(f'{where} no label: {label_column}={label!r}')
                if isinstance(feature, datasets.ClassLabel):
                    if not 0 <= label < feature.num_classes:
                        fail(f'{where} the label {label}; there are 0 .. {feature.num_classes - 1}')
                    label = feature.int2str(label)
                yield str(label), text.encode(errors='replace')
    except Exception as e:
        fail_on_source(e)


def open_texts():
    """
    Returns the documents of <component>/*.txt, or of <split>/<component>/*.txt, in a folder, or {}
    where there are none. What is not UTF-8 becomes U+FFFD.
    """
    folders = {split: os.path.join(source, split) for split in SPLITS}
    if not list_texts(folders['train']):
        folders = {'train': source}
    return {split: read_texts(list_texts(folder)) for split, folder in folders.items()
            if list_texts(folder)}


def list_texts(folder):
    return sorted(glob.glob(os.path.join(glob.escape(folder), '*', '*.txt')))


def read_texts(paths):
    for path in paths:
        try:
            with open(path, 'rb') as f:
                text = f.read()
        except OSError as e:
            fail_on_source(e)
        yield os.path.basename(os.path.dirname(path)), text.decode(errors='replace').encode()


def open_hdf5():
    """
    Returns the documents of HDF5 files of the older layout, one file, or a folder with one for each
    split, or {} where there are none. A document is a run of chunks of one number and category; its
    bytes are its tokens', uint16.
    """
    if os.path.isfile(source):
        return {'train': read_hdf5(source)} if source.endswith(('.hdf5', '.h5')) else {}
    streams = {}
    for split, name in SPLITS.items():
        paths = [path for ending in (name, split)
                 for path in glob.glob(os.path.join(glob.escape(source), f'*_{ending}.hdf5'))]
        if paths:
            streams[split] = read_hdf5(paths[0])
    return streams


def read_chunks(path):
    """Yields (category, number of the document, tokens (T,) uint16) of each chunk of a file."""
    with h5py.File(path, 'r') as f:
        names = ('token_chunks', 'category_for_chunk', 'doc_idx_for_chunk')
        chunks, category, number = (f[name] for name in names)
        for i in range(0, len(chunks), 10_000):
            tokens = chunks[i:i + 10_000]
            for extreme in (tokens.min(), tokens.max()):
                if not 0 <= extreme <= 65534:
                    fail(f'{path} has the token {extreme}; uint16 holds 0 .. 65,534')
            yield from zip(category[i:i + 10_000], number[i:i + 10_000], tokens.astype('<u2'))


def read_hdf5(path):
    try:
        runs = itertools.groupby(read_chunks(path), key=lambda chunk: chunk[:2])
        for (category, _), chunks in runs:
            yield category.decode(), b''.join(tokens.tobytes() for *_, tokens in chunks)
    except (OSError, KeyError, ValueError, AttributeError) as e:
        fail_on_source(f'{path} is not an HDF5 file of token_chunks, category_for_chunk and'
                       f' doc_idx_for_chunk ({e})')


# -----------------------------------------------------------------------------
# staging: the documents on disk, by component and split


def stage_documents(streams, folder):
    """
    Writes the documents to folder/<component>/<split>, end to end: each once, in the first of test,
    validation and train that has it. Where test or validation is missing, it is cut from train.

    streams is {source's split: iterable of (component, document in bytes)}. Returns {component:
    {split: {'lengths': array of the documents' bytes, 'duplicates': how many were dropped}}}, and
    the list of splits cut from train. Fails where a component has no text in a split.
    """
    cut = [split for source_split, split in SPLITS.items() if source_split not in streams]
    keep, seen, staged, buffer, size = split_names(labels), set(), {}, {}, 0
    with tqdm(desc='reading', unit=' documents', leave=False, disable=None) as bar:
        for source_split in SPLITS:
            for component, doc in streams.get(source_split, ()):
                bar.update()
                if keep and component not in keep:
                    continue
                if component not in staged:
                    check_name(component, 'component')
                    os.mkdir(os.path.join(folder, component))
                    staged[component] = {split: {'lengths': array.array('q'), 'duplicates': 0}
                                         for split in SPLITS.values()}
                digest, split = hashlib.sha256(doc).digest(), SPLITS[source_split]
                if split == 'train':  # a tenth of the documents by the last digit of their hash
                    by_digit = {8: 'val', 9: 'test'}.get(int.from_bytes(digest, 'big') % 10)
                    split = by_digit if by_digit in cut else 'train'
                if doc and digest[:16] in seen:  # empty documents are not duplicates
                    staged[component][split]['duplicates'] += 1
                    continue
                seen.add(digest[:16])
                staged[component][split]['lengths'].append(len(doc))
                buffer.setdefault(os.path.join(folder, component, split), []).append(doc)
                size += len(doc)
                if size >= BATCH_BYTES:
                    append_files(buffer)
                    buffer, size = {}, 0
    append_files(buffer)
    full = [component for component, splits in sorted(staged.items())
            if all(sum(facts['lengths']) for facts in splits.values())]
    for component in sorted({*keep, *staged} - {*full}):
        empty = [split for split in ('train', 'val', 'test')
                 if component not in staged or not sum(staged[component][split]['lengths'])]
        fail(f'component {component} has no text in {", ".join(empty)}; '
             + (f'leave it out: --labels={",".join(full)}' if full else 'no component has'))
    if not staged:
        fail(f'--source={source} has no documents')
    return dict(sorted(staged.items())), cut


def append_files(buffer):
    for path, docs in buffer.items():
        with open(path, 'ab') as f:
            f.writelines(docs)


def read_documents(path, lengths):
    """Yields lists of the documents (bytes) that lie end to end in a file, BATCH_BYTES at a time."""
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


# -----------------------------------------------------------------------------
# tokenizers


def train_bpe(folder, staged, vocab_size):
    """
    Returns a byte-level BPE (tokenizers.Tokenizer) of vocab_size tokens, END_OF_TEXT the first,
    trained on what stage_documents() wrote of train. Every component gives the same number of
    bytes: the smallest one's, or bpe_bytes.
    """
    share = min(*(sum(splits['train']['lengths']) for splits in staged.values()), bpe_bytes)

    def sample():
        for component, splits in staged.items():
            path, left = os.path.join(folder, component, 'train'), share
            batches = read_documents(path, splits['train']['lengths'])
            for doc in itertools.chain.from_iterable(batches):
                yield doc[:left].decode(errors='ignore')
                left -= len(doc)
                if left <= 0:
                    break

    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    tok = tokenizers.Tokenizer(tokenizers.models.BPE())
    tok.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = tokenizers.decoders.ByteLevel()
    tok.train_from_iterator(sample(), tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[END_OF_TEXT], show_progress=sys.stderr.isatty(),
        initial_alphabet=alphabet))
    if tok.get_vocab_size() < vocab_size:
        fail(f'the text yields {tok.get_vocab_size()} tokens, fewer than'
             f' --vocab_size={vocab_size}: ask for fewer')
    tok.encode_special_tokens = True  # text that spells a special token is text
    return tok


def to_tiktoken(tok):
    """
    Returns a tiktoken.Encoding with the ids of a tokenizer of train_bpe, 2.4 times as fast.

    tokenizers joins the pairs that training joined, in that order; tiktoken joins any two
    neighbours that make up a token, the token of the lowest id first. Training gave ids in the order
    of its merges, so the two differ only if two pairs make up one token. They cannot: where training
    joins l and r, no earlier merge crossed their borders, so alone l + r is cut into l, r as well,
    and there is but one way to cut it.
    """
    # GPT-2 writes bytes as letters: most as they are, the others as the letters from 256 on
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    byte = {letter: ord(letter) for letter in letters if ord(letter) < 256}
    byte |= zip(letters[len(byte):], sorted(set(range(256)) - set(byte.values())))
    ranks = {bytes(byte[letter] for letter in token): i for token, i in tok.get_vocab().items()
             if token != END_OF_TEXT}
    return tiktoken.Encoding('bpe', pat_str=GPT2_PATTERN, mergeable_ranks=ranks, special_tokens={})


def encoder(tok, encoding=None, num_proc=0):
    """
    Returns a function from a list of documents (UTF-8, bytes) to the list of their tokens (uint16
    arrays): by a tiktoken.Encoding in num_proc threads where there is one, else by tok, a
    tokenizers.Tokenizer. Where there are both they have the same ids. What tok does not know is a
    failure: its XE would be that of another text.
    """
    unknown = None
    if tok:
        model = json.loads(tok.to_str())['model']
        name = model.get('unk_token')
        unknown = tok.token_to_id(name) if name else model.get('unk_id')

    def by_tokenizers(docs):
        texts = [doc.decode() for doc in docs]
        encodings = tok.encode_batch_fast(texts, add_special_tokens=False)
        token_lists = [np.array(e.ids, dtype='<u2') for e in encodings]
        for text, tokens in zip(texts, token_lists):
            if unknown is not None and (tokens == unknown).any():
                fail(f'--tokenizer={tokenizer} maps part of a document to its unknown token'
                     f' {tok.id_to_token(unknown)!r}, so its XE would be that of another text;'
                     f' the document begins {text[:60]!r}')
        return token_lists

    def by_tiktoken(docs):
        try:
            return pool.map(to_numpy, docs)
        except ValueError as e:  # its pattern gives up on a hundred thousand spaces in a row
            return by_tokenizers(docs) if tok else fail(
                f'--tokenizer={tokenizer} cannot encode a document ({e}): has it very many spaces?')

    def to_numpy(doc):
        return encoding.encode_to_numpy(doc.decode(), disallowed_special=()).astype('<u2')

    if not encoding:
        return by_tokenizers
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    pool = ThreadPool(num_proc or allowed)  # tiktoken works outside Python's lock
    return by_tiktoken


def read_tokenizer(path):
    """
    Returns (tokenizers.Tokenizer, its number of tokens, the id of its end-of-text token) of a
    tokenizer.json. Fails where it would leave out text, does not fit uint16 or has no such token.
    """
    if not os.path.isfile(path):
        fail(f'--tokenizer={path}: write bpe, gpt2 or the path of a tokenizer.json')
    try:
        tok = tokenizers.Tokenizer.from_file(path)
    except Exception as e:  # the library raises Exception itself
        fail(f'--tokenizer={path} is not a tokenizer.json ({e})')
    tok.no_truncation()
    tok.no_padding()
    tok.encode_special_tokens = True  # text that spells a special token is text
    spec = json.loads(tok.to_str())
    knows_all_bytes = spec['model'].get('byte_fallback') or (
        'ByteLevel' in json.dumps([spec['pre_tokenizer'], spec['normalizer']])
        and set(tokenizers.pre_tokenizers.ByteLevel.alphabet()) <= tok.get_vocab().keys())
    if spec['model']['type'] == 'BPE' and not (knows_all_bytes or spec['model'].get('unk_token')):
        fail(f'--tokenizer={path} would silently leave out the letters that it does not know:'
             ' give its model an unk_token')
    n_vocab = 1 + max(tok.get_vocab().values())
    if n_vocab > 65535:
        fail(f'--tokenizer={path} has {n_vocab} tokens; uint16 holds at most 65,535')
    ends = [tok.token_to_id(token) for token in (END_OF_TEXT, '[SEP]', '</s>')]
    ends = [i for i in ends if i is not None]
    if not ends:
        fail(f'--tokenizer={path} has no end-of-text token ({END_OF_TEXT}, [SEP] or </s>)'
             ' to begin a window with')
    return tok, n_vocab, ends[0]


# -----------------------------------------------------------------------------
# what is written


def write_tokens(path, batches, encode, bar):
    """
    Encodes documents and writes path.bin (uint16, end to end) and path.idx.npy (int64, where each
    begins, and the end).

    batches is an iterable of lists of documents (bytes, or what else has a length); encode maps
    such a list to a list of uint16 arrays; bar advances by the documents' lengths.
    Returns {'docs', 'tokens', 'bytes', 'sha256'} as meta.json has them.
    """
    lengths, n_bytes, digest = array.array('q', [0]), 0, hashlib.sha256()
    with open(path + '.bin', 'wb') as f:
        for docs in batches:
            token_lists = encode(docs)
            lengths.extend(map(len, token_lists))
            raw = np.concatenate(token_lists).tobytes()
            f.write(raw)
            digest.update(raw)
            size = sum(map(len, docs))
            n_bytes += size
            bar.update(size)
    offsets = np.cumsum(lengths, dtype=np.int64)
    np.save(path + '.idx.npy', offsets)
    return {'docs': len(offsets) - 1, 'tokens': int(offsets[-1]), 'bytes': n_bytes,
            'sha256': digest.hexdigest()}


def write_components(staged, staging, folder, encode):
    """
    Encodes the documents that stage_documents() wrote to `staging` and writes them to the folder.
    Returns {component: {split: facts}} as meta.json has them.
    """
    components = {}
    total = sum(sum(facts['lengths']) for splits in staged.values() for facts in splits.values())
    with tqdm(total=total, desc='encoding', unit='B', unit_scale=True, leave=False,
              disable=None) as bar:
        for component, splits in staged.items():
            os.mkdir(os.path.join(folder, component))
            components[component] = {}
            for split in ('train', 'val', 'test'):
                staged_path = os.path.join(staging, component, split)
                batches = read_documents(staged_path, splits[split]['lengths'])
                path = os.path.join(folder, component, split)
                components[component][split] = write_tokens(path, batches, encode, bar) | {
                    'duplicates': splits[split]['duplicates']}
                os.remove(staged_path)
    return components


def write_hdf5(folder, meta, T):
    """
    Writes the documents' windows of T tokens, from each one's start, in the layout of the older
    pipeline, a file for each split: folder/custom_tokenized_data_chunked_len<T>_<split>.hdf5.
    """
    components = list(meta['components'])
    for split in ('train', 'val', 'test'):
        offsets = [np.load(os.path.join(folder, component, f'{split}.idx.npy'))
                   for component in components]
        windows = np.concatenate([np.diff(o) // T for o in offsets])  # (D,) of each document
        counts = [int((np.diff(o) // T).sum()) for o in offsets]  # of each component
        path = os.path.join(folder, f'custom_tokenized_data_chunked_len{T}_{split}.hdf5')
        with h5py.File(path, 'w') as f:
            chunks = f.create_dataset('token_chunks', (sum(counts), T), 'i4')
            f['doc_idx_for_chunk'] = np.repeat(np.arange(len(windows), dtype='i4'), windows)
            f.create_dataset('category_for_chunk', dtype=h5py.string_dtype(),
                             data=np.repeat(components, counts).astype(object))
            n = 0
            for component, starts in zip(components, offsets):
                tokens = np.fromfile(os.path.join(folder, component, f'{split}.bin'), dtype='<u2')
                for a, b in zip(starts, starts[1:]):
                    rows = (b - a) // T
                    chunks[n:n + rows] = tokens[a:a + rows * T].reshape(rows, T)
                    n += rows
            f.attrs.update({
                'chunk_size': T, 'total_chunks': n, 'tokenizer_name_or_path': meta['tokenizer'],
                'selected_categories_in_file': components,
                'reference_chunk_budget_smallest_top_category': min(counts)})


def draw_documents(folder, meta, T):
    """Draws the components' tokens and training documents' lengths to folder/documents.png."""
    names = list(meta['components'])[::-1]
    fig, (left, right) = plt.subplots(1, 2, figsize=(11, 1.4 + 0.28 * len(names)),
                                      layout='constrained', sharey=True)
    # on the left the tokens of each split
    rows, end = np.arange(len(names)), np.zeros(len(names))
    for split, color in (('train', 'tab:blue'), ('val', 'tab:orange'), ('test', 'tab:green')):
        tokens = np.array([meta['components'][name][split]['tokens'] for name in names])
        left.barh(rows, tokens, left=end, color=color, label=split)
        end += tokens
    left.set_yticks(rows, names)
    left.set_xlabel('tokens')
    # on the right how long the training documents are
    lengths = [np.diff(np.load(os.path.join(folder, name, 'train.idx.npy'))) for name in names]
    quantiles = [np.quantile(x, (0.05, 0.25, 0.5, 0.75, 0.95)).clip(1) for x in lengths]
    low, first, median, third, high = np.transpose(quantiles)
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
        ax.legend(fontsize=8, ncols=columns, loc='lower center', bbox_to_anchor=(0.5, 1),
                  frameon=False, columnspacing=1.2)
    fig.suptitle(f'data/{meta["dataset"]}', fontsize=10)
    fig.savefig(os.path.join(folder, 'documents.png'), dpi=130)
    plt.close(fig)


# -----------------------------------------------------------------------------
# a data set: each function writes the components to a folder and returns meta.json's content


def prepare_text(streams, staging, folder):
    """Tokenizes a source's documents, by way of the folder `staging`."""
    if tokenizer == 'bpe' and not 257 <= vocab_size <= 65535:
        fail(f'--vocab_size={vocab_size}: a byte-level BPE in uint16 has 257 to 65,535 tokens')
    staged, cut = stage_documents(streams, staging)

    print(f'{tokenizer} tokenizer ...', flush=True)
    tok, encoding = None, None
    if tokenizer == 'gpt2':
        try:
            encoding = tiktoken.get_encoding('gpt2')
        except OSError as e:  # requests' errors are OSErrors
            fail(f'--tokenizer=gpt2: its merges cannot be fetched ({type(e).__name__});'
                 ' --tokenizer=bpe needs no network')
        n_vocab, bos_id = encoding.n_vocab, encoding.eot_token
    elif tokenizer == 'bpe':
        tok = train_bpe(staging, staged, vocab_size)
        encoding, n_vocab, bos_id = to_tiktoken(tok), vocab_size, tok.token_to_id(END_OF_TEXT)
    else:
        tok, n_vocab, bos_id = read_tokenizer(tokenizer)

    components = write_components(staged, staging, folder, encoder(tok, encoding, num_proc))
    if tok:
        tok.save(os.path.join(folder, 'tokenizer.json'))
    return {'source_config': source_config, 'tokenizer': tokenizer, 'vocab_size': n_vocab,
            'bos_id': bos_id, 'cut_from_train': cut, 'components': components}


def prepare_hdf5(streams, staging, folder):
    """Copies the tokens of HDF5 files; --tokenizer may name the tokenizer.json they were made by."""
    tok = None
    if tokenizer not in ('bpe', 'gpt2'):
        tok, n_vocab, bos_id = read_tokenizer(tokenizer)
    staged, cut = stage_documents(streams, staging)
    components = write_components(staged, staging, folder, lambda docs: [
        np.frombuffer(doc, dtype='<u2') for doc in docs])

    # the largest token, and the bytes of text; without a tokenizer a token counts as a byte
    largest = 0
    for component, splits in components.items():
        for split, facts in splits.items():
            path = os.path.join(folder, component, split)
            tokens, offsets = np.fromfile(path + '.bin', dtype='<u2'), np.load(path + '.idx.npy')
            largest, facts['bytes'] = max(largest, int(tokens.max())), len(tokens)
            if tok:
                docs = (tokens[a:b].tolist() for a, b in zip(offsets, offsets[1:]))
                facts['bytes'] = sum(len(tok.decode(doc, skip_special_tokens=False).encode())
                                     for doc in docs)
    if not tok:
        n_vocab, bos_id = largest + 2, largest + 1
    if n_vocab > 65535:
        fail(f'--source={source} has {n_vocab - 1} tokens; uint16 holds 65,534 and BOS')
    if largest >= n_vocab:
        fail(f'--source={source} has the token {largest}; --tokenizer={tokenizer} has {n_vocab}')
    if tok:
        tok.save(os.path.join(folder, 'tokenizer.json'))
    return {'source_config': source_config, 'tokenizer': tokenizer if tok else 'none',
            'vocab_size': n_vocab, 'bos_id': bos_id, 'cut_from_train': cut, 'components': components}


def prepare_synthetic(folder):
    """Samples the documents of the processes. They are tokens already: a symbol counts as a byte."""
    if documents_per_process < 10 or document_length < 2:
        fail('--documents_per_process must be at least 10 and --document_length at least 2')
    built, components = build_processes(processes, markov_vocab, data_seed), {}
    n_docs = {'train': documents_per_process, 'val': documents_per_process // 5,
              'test': documents_per_process // 5}
    total = len(built) * sum(n_docs.values()) * document_length
    with tqdm(total=total, desc='sampling', unit=' tokens', unit_scale=True, leave=False,
              disable=None) as bar:
        for component, process in built.items():
            os.mkdir(os.path.join(folder, component))
            np.save(os.path.join(folder, component, 'process.npy'), process)
            components[component] = {}
            for split, n in n_docs.items():
                rng = random_stream('process', data_seed, component, split)
                docs = sample_process(process, n, document_length, rng).astype('<u2')
                path = os.path.join(folder, component, split)
                components[component][split] = write_tokens(path, [docs], list, bar)
    n_vocab = 1 + max(len(process) for process in built.values())
    return {'processes': processes, 'data_seed': data_seed, 'tokenizer': 'none',
            'vocab_size': n_vocab, 'bos_id': n_vocab - 1,
            'components': dict(sorted(components.items()))}


def prepare(folder, staging):
    """Writes the whole data set to the folder, meta.json last; returns meta.json's content."""
    meta = {'dataset': dataset, 'source': source}
    if source == 'synthetic':
        meta |= prepare_synthetic(folder)
    elif streams := open_hdf5():
        meta |= prepare_hdf5(streams, staging, folder)
    else:
        meta |= prepare_text(open_texts() or open_rows(), staging, folder)
    if hdf5:
        write_hdf5(folder, meta, block_size)
    draw_documents(folder, meta, block_size)
    with open(os.path.join(folder, 'meta.json'), 'w') as f:
        json.dump(meta, f, indent=1)
    return meta


if __name__ == '__main__':
    check_name(dataset, '--dataset')
    if block_size < 2 or num_proc < 0:
        fail('--block_size must be at least 2, --num_proc at least 0')
    if num_proc:
        os.environ['RAYON_NUM_THREADS'] = str(num_proc)  # read once by the tokenizers library
    out, work = os.path.join('data', dataset), os.path.join('data', f'.{dataset}.part')
    if os.path.exists(out) and not overwrite:
        fail(f'{out} is there already: choose another --dataset, or replace it'
             ' with --overwrite=True')
    if os.path.exists(out) and not os.path.isfile(os.path.join(out, 'meta.json')):
        fail(f'{out} is no data set of prepare.py (it has no meta.json): move it away,'
             ' or choose another --dataset')

    # one process at a time writes a data set
    lock = filelock.FileLock(os.path.join('data', f'.{dataset}.lock'))
    try:
        os.makedirs('data', exist_ok=True)
        lock.acquire(timeout=0)
    except filelock.Timeout:
        fail(f'another prepare.py is writing {out}: wait for it, or choose another --dataset')
    except OSError as e:
        fail(f'{e.filename or "data"} cannot be written ({e.strerror or e})')

    # all is written to `work`, which a killed process may have left, and moved to its place last
    folder, staging = os.path.join(work, 'new'), os.path.join(work, 'staging')
    try:
        shutil.rmtree(work, ignore_errors=True)
        os.makedirs(folder)
        os.makedirs(staging)
        meta = prepare(folder, staging)
        if os.path.exists(out):
            os.rename(out, os.path.join(work, 'old'))
        os.rename(folder, out)
    except OSError as e:
        fail(f'{e.filename or out} cannot be written ({e.strerror or e}): nothing was kept;'
             ' make room, or work in another folder')
    except KeyboardInterrupt:
        fail(f'interrupted: {out} was not written')
    finally:
        shutil.rmtree(work, ignore_errors=True)
        os.remove(lock.lock_file)
        lock.release()
        if not os.listdir('data'):
            os.rmdir('data')

    print('\n'.join(data_table(meta, block_size)))
    print(f'wrote {out}/: {len(meta["components"])} components, vocabulary of'
          f' {meta["vocab_size"]:,} | {out}/documents.png')
