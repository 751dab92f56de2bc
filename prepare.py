"""
Turns labelled text, or synthetic processes, into uint16 tokens:
data/<dataset>/<component>/<split>.bin, <split>.idx.npy and meta.json.

    python prepare.py                      # ccdv/arxiv-classification from the hub, BPE of 32,000
    python prepare.py config/cpu.py        # for a laptop, after `make arxiv`: a BPE of 1,024
    python prepare.py --dataset=mine --source=my_texts.jsonl  # or a folder: parquet, jsonl, csv
    python prepare.py --dataset=mine --source=my_folder       # my_folder/<component>/*.txt
    python prepare.py --dataset=arxiv-gpt2 --tokenizer=gpt2   # or the path of a tokenizer.json
    python prepare.py config/demo.py       # eight Markov chains, whose exact XE is known
    python prepare.py --dataset=mess3 --source=synthetic --processes=mess3:4

A source of text (sources.py) has a text column, a label column that names each document's
component, and the splits train, validation and test. Where validation or test is missing, a hash of
the text deals a tenth of train's documents to it. A text that is there twice is kept once, in test
or validation rather than in train. The documents are first staged on disk by component and split,
then a tokenizer is trained on train, then they are encoded. Each pass holds a few megabytes of text
at a time, and some 110 bytes for each document. A component's folder has its label's name, or one
like it (configurator.safe_name) where a path or a shell would read the label otherwise.

A synthetic process is an array T[v, i, j] (see processes.py), saved beside its tokens.
"""
import array
import hashlib
import io
import itertools
import json
import os
import pathlib
import shlex
import shutil
import unicodedata
import warnings

# first, so that Ctrl-C ends in one line while the others are imported
import configurator
from configurator import (
    fail,
    join_names,
    override,
    random_stream,
    replace_file,
    safe_name,
    split_names,
)

# isort: split
import h5py
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from tqdm import tqdm

import plot_xe
from sample_mix import data_path, data_table
from sources import SPLITS, open_hdf5, open_text
from tokenizer import END_OF_TEXT, encoder, open_gpt2, read_tokenizer, to_tiktoken, train_bpe

# -----------------------------------------------------------------------------
source = 'ccdv/arxiv-classification'  # a data set on the hub, a local folder or file, or synthetic
source_config = 'no_ref'      # which of the source's configurations ('' where it has but one)
text_column = 'text'          # the column that holds a document, or several: 'title,abstract'
label_column = 'label'        # the column that names its component
separator = ''                # between the fields of .csv and .tsv ('' = as the header has it)
quotes = True                 # False: quotation marks in .csv and .tsv are letters
labels = ''                   # keep these components only, comma separated ('' = all)
tokenizer = 'bpe'             # bpe: train one on this text; gpt2; or the path of a tokenizer.json
vocab_size = 32000            # tokens of the bpe to train, its end-of-text token included
lossy = False                 # True: take a tokenizer.json that does not give the text back
bpe_bytes = 20_000_000        # bytes of text that each component gives to its training, at most
# for --source=synthetic
processes = 'markov:8'        # of coins:N, mess3:N, markov:N, golden_mean, even, z1r and T.npy
markov_vocab = 16             # symbols, and states, of a markov component
documents_per_process = 1000  # training documents of each; validation and test have a fifth each
document_length = 5000        # tokens in each
data_seed = 0                 # which markov chains, and the documents of every process
# for all
hdf5 = False                  # True: also write windows as HDF5, in the older pipeline's layout
num_proc = 0                  # cores to use; 0 = all
overwrite = False             # True: replace a data set that is there already
# -----------------------------------------------------------------------------
settings = override(globals(), shared=('dataset', 'block_size'))
dataset, block_size = settings['dataset'], settings['block_size']

BATCH_BYTES = 4_000_000  # documents are read and encoded so many bytes at a time
BAR = {'leave': False, 'disable': None}  # progress bars go when done, and need a terminal

# -----------------------------------------------------------------------------
# documents by component and split


def split_path(folder, component, split):
    """Returns where a component's split lies in a folder: the path less the ending of a file."""
    return os.path.join(folder, safe_name(component), split)


def check_labels(labels):
    """Fails where a label cannot be a component, or two of them would have the same folder."""
    folders = {}
    for label in labels:
        unprintable = any(unicodedata.category(c) in ('Cc', 'Cs', 'Zl', 'Zp') for c in label)
        folder = '' if unprintable else unicodedata.normalize('NFC', safe_name(label)).casefold()
        reasons = {
            'it is empty': not label,
            'lists of components lose the spaces around a name': label != label.strip(),
            'it has a character that cannot be printed': unprintable,
            'a file of the data set is called so': folder.endswith('.hdf5') or folder in (
                'meta.json', 'tokenizer.json', 'documents.png'),
            f'a file system that ignores case takes it for {folders.get(folder)!r}':
                folders.setdefault(folder, label) != label}
        for reason in [reason for reason in reasons if reasons[reason]]:
            fail(f'--source={source}: the label {label!r} cannot name a component: {reason}')


def stage_documents(streams, staging):
    """
    Writes the documents to staging/<component>/<split>, end to end: each once, in the first of
    test, validation and train that has it. Where test or validation is missing, it is cut from
    train. streams is {split: iterable of (component, document in bytes)}.

    Returns {component: {split: {'lengths': array of the documents' bytes, 'duplicates': how many
    were dropped}}} and the list of splits cut. Fails where a component has no text in a split.
    """
    cut = [split for split in SPLITS if split not in streams]
    keep, seen, staged, buffer, size = split_names(labels), set(), {}, {}, 0
    documents = ((split, *document) for split in SPLITS for document in streams.get(split, ()))
    for split, component, doc in tqdm(documents, desc='reading', unit=' documents', **BAR):
        if keep and component not in keep:
            continue
        if component not in staged:
            check_labels([component])
            staged[component] = {split: {'lengths': array.array('q'), 'duplicates': 0}
                                 for split in SPLITS}
        digest = hashlib.sha256(doc).digest()
        if split == 'train':  # the last digit of the hash deals a tenth to each split that is cut
            dealt = {8: 'val', 9: 'test'}.get(int.from_bytes(digest, 'big') % 10)
            split = dealt if dealt in cut else 'train'
        if doc and digest[:16] in seen:  # empty documents are not duplicates
            staged[component][split]['duplicates'] += 1
            continue
        seen.add(digest[:16])
        staged[component][split]['lengths'].append(len(doc))
        buffer.setdefault((component, split), []).append(doc)
        size += len(doc)
        if size >= BATCH_BYTES:
            append_files(staging, buffer)
            buffer, size = {}, 0
    append_files(staging, buffer)

    # every component needs a folder of its own, and text in every split
    check_labels(staged)
    if not (staged or keep):
        fail(f'--source={source} has no documents')
    empty = {component: [split for split in ('train', 'val', 'test') if component not in staged
                         or not any(staged[component][split]['lengths'])]
             for component in sorted({*keep, *staged})}
    full = [component for component in empty if not empty[component]]
    for component in [component for component in empty if empty[component]]:
        fail(f'component {component} has no text in {", ".join(empty[component])}; '
             + (f'leave it out: --labels={shlex.quote(join_names(full))}' if full else
                'no component has'))
    return {component: staged[component] for component in full}, cut


def append_files(staging, buffer):
    """Appends {(component, split): documents} to staging/<component>/<split>."""
    for (component, split), docs in buffer.items():
        path = split_path(staging, component, split)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'ab') as f:
            f.writelines(docs)


def read_documents(path, lengths):
    """Yields lists of the documents (bytes) that lie end to end in a file, BATCH_BYTES a list."""
    batch, size = [], 0
    with open(path, 'rb') as f:
        for n in lengths:
            batch.append(f.read(n))
            size += n
            if size >= BATCH_BYTES:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def sample_texts(staging, staged):
    """Yields the training text: of each component as much as the smallest has, or bpe_bytes."""
    share = min(*(sum(splits['train']['lengths']) for splits in staged.values()), bpe_bytes)
    for component, splits in staged.items():
        left, batches = share, read_documents(split_path(staging, component, 'train'),
                                              splits['train']['lengths'])
        for doc in itertools.chain.from_iterable(batches):
            yield doc[:left].decode(errors='ignore')
            left -= len(doc)
            if left <= 0:
                break


# -----------------------------------------------------------------------------
# what is written


def save_array(path, values):
    """Writes a .npy file; np.save itself does not say why it cannot."""
    content = io.BytesIO()
    np.save(content, values)
    with open(path, 'wb') as f:
        f.write(content.getbuffer())


def write_tokens(path, batches, encode, bar, count_bytes=len):
    """
    Encodes documents and writes path.bin (uint16, end to end) and path.idx.npy (int64, where each
    begins, and the end). batches is an iterable of lists of documents (bytes, or what else has a
    length), encode maps such a list to a list of uint16 arrays, bar advances by their lengths.

    Returns {'docs', 'tokens', 'bytes', 'sha256'} as meta.json has them.
    """
    lengths, n_bytes, digest = array.array('q', [0]), 0, hashlib.sha256()
    with open(path + '.bin', 'wb') as f:
        for docs in batches:
            token_lists = encode(docs)
            raw = np.concatenate(token_lists).tobytes()
            f.write(raw)
            digest.update(raw)
            lengths.extend(map(len, token_lists))
            n_bytes += sum(map(count_bytes, docs))
            bar.update(sum(map(len, docs)))
    offsets = np.cumsum(lengths, dtype=np.int64)
    save_array(path + '.idx.npy', offsets)
    return {'docs': len(offsets) - 1, 'tokens': int(offsets[-1]), 'bytes': n_bytes,
            'sha256': digest.hexdigest()}


def write_components(staged, staging, folder, encode, count_bytes=len):
    """Encodes and writes what was staged; returns {component: {split: facts}} as in meta.json."""
    components = {component: {} for component in staged}
    total = sum(sum(facts['lengths']) for splits in staged.values() for facts in splits.values())
    with tqdm(total=total, desc='encoding', unit='B', unit_scale=True, **BAR) as bar:
        for component, split in itertools.product(staged, ('train', 'val', 'test')):
            path, facts = split_path(staging, component, split), staged[component][split]
            os.makedirs(split_path(folder, component, ''), exist_ok=True)
            written = write_tokens(split_path(folder, component, split),
                                   read_documents(path, facts['lengths']), encode, bar, count_bytes)
            components[component][split] = written | {'duplicates': facts['duplicates']}
            os.remove(path)
    return components


class HDF5Target(io.FileIO):
    """A file whose writes do not fail, but leave their error: HDF5's library crashes over one."""
    error = None

    def write(self, data):
        left = memoryview(data).cast('B')
        try:
            while left:
                left = left[super().write(left):]
        except OSError as e:
            self.error = e
        return len(data)

    def truncate(self, size):
        try:
            super().truncate(size)
        except OSError as e:
            self.error = e


def write_hdf5(folder, meta, T):
    """
    Writes the documents' windows of T tokens, from each one's start, in the layout of the older
    pipeline, a file for each split: folder/custom_tokenized_data_chunked_len<T>_<split>.hdf5.
    """
    names = list(meta['components'])
    for split in ('train', 'val', 'test'):
        paths = [split_path(folder, name, split) for name in names]
        offsets = [np.load(path + '.idx.npy') for path in paths]
        windows = [np.diff(o) // T for o in offsets]  # of each document of each component
        counts = [int(n.sum()) for n in windows]
        path = os.path.join(folder, f'custom_tokenized_data_chunked_len{T}_{split}.hdf5')
        with HDF5Target(path, 'w+') as target, h5py.File(target, 'w') as f:
            windows = np.concatenate(windows)
            f['doc_idx_for_chunk'] = np.repeat(np.arange(len(windows), dtype='i4'), windows)
            f.create_dataset('category_for_chunk', dtype=h5py.string_dtype(),
                             data=np.repeat(np.array(names, dtype=object), counts))
            chunks, row = f.create_dataset('token_chunks', (sum(counts), T), 'i4'), 0
            for path, starts in zip(paths, offsets):
                tokens = np.memmap(path + '.bin', '<u2', 'r')
                for start, n in zip(starts, np.diff(starts) // T):
                    chunks[row:row + n] = tokens[start:start + n * T].reshape(n, T)
                    row += n
            f.attrs.update({'chunk_size': T, 'total_chunks': len(chunks),
                            'tokenizer_name_or_path': meta['tokenizer'],
                            'selected_categories_in_file': names,
                            'reference_chunk_budget_smallest_top_category': min(counts)})
        if target.error:
            raise target.error


def draw_documents(folder, meta, T):
    """Draws the components' tokens and training documents' lengths to folder/documents.png."""
    names = list(meta['components'])[::-1]
    labels = [plot_xe.plain(name[:40]) for name in names]
    plot_xe.say_what_lacks(plot_xe.choose_fonts(names))
    warnings.filterwarnings('ignore', 'Glyph')  # of boxes: that line has said it
    fig, (left, right) = plt.subplots(1, 2, figsize=(11, 1.4 + 0.28 * len(names)),
                                      layout='constrained', sharey=True)
    tokens = pd.DataFrame([{split: meta['components'][name][split]['tokens']
                            for split in ('train', 'val', 'test')} for name in names], labels)
    tokens.plot.barh(stacked=True, ax=left, xlabel='tokens')
    lengths = [np.diff(np.load(split_path(folder, name, 'train') + '.idx.npy')) for name in names]
    right.boxplot([n.clip(1) for n in lengths], positions=range(len(names)), whis=(5, 95),
                  orientation='horizontal', showfliers=False, manage_ticks=False)
    right.axvline(T, color='black', ls=':', label=f'a window, {T} tokens')
    right.set(xscale='log', xlabel='tokens of a training document (5, 25, 50, 75, 95%)')
    right.xaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
    for ax in (left, right):
        ax.xaxis.set_major_formatter(matplotlib.ticker.EngFormatter(sep=''))
        ax.grid(alpha=0.3, axis='x')
        ax.set_axisbelow(True)
        ax.legend(fontsize=8, ncols=3, loc='lower center', bbox_to_anchor=(0.5, 1), frameon=False)
    fig.suptitle(f'data/{meta["dataset"]}', fontsize=10)
    fig.savefig(os.path.join(folder, 'documents.png'), dpi=130)
    plt.close(fig)


def prepare_text(streams, staging, folder):
    """Tokenizes a source's documents, by way of `staging`; returns what meta.json says of them."""
    staged, cut = stage_documents(streams, staging)
    print(f'{tokenizer} tokenizer ...', flush=True)
    tok, encoding = None, None
    if tokenizer == 'bpe':
        tok = train_bpe(sample_texts(staging, staged), vocab_size)
        encoding, n_vocab, bos_id = to_tiktoken(tok), vocab_size, tok.token_to_id(END_OF_TEXT)
    elif tokenizer == 'gpt2':
        encoding = open_gpt2()
        n_vocab, bos_id = encoding.n_vocab, encoding.eot_token
    else:
        tok, n_vocab, bos_id = read_tokenizer(tokenizer)
    components = write_components(staged, staging, folder, encoder(tok, encoding, num_proc, lossy))
    if tok:
        replace_file(os.path.join(folder, 'tokenizer.json'), tok.to_str(pretty=True))
    return {'source_config': source_config, 'tokenizer': tokenizer, 'vocab_size': n_vocab,
            'bos_id': bos_id, 'cut_from_train': cut, 'components': components
            } | ({'lossy': True} if lossy and not encoding else {})


def prepare_hdf5(streams, staging, folder):
    """As prepare_text of HDF5 files, whose tokens stay; --tokenizer may be the path of theirs."""
    tok = None
    if tokenizer not in ('bpe', 'gpt2'):
        tok, n_vocab, bos_id = read_tokenizer(tokenizer)
        replace_file(os.path.join(folder, 'tokenizer.json'), tok.to_str(pretty=True))

    def to_tokens(doc):
        return np.frombuffer(doc, dtype='<u2')

    def count_bytes(doc):  # of its text, or without a tokenizer as many as there are tokens
        tokens = to_tokens(doc).tolist()
        return len(tok.decode(tokens, skip_special_tokens=False).encode() if tok else tokens)

    staged, cut = stage_documents(streams, staging)
    components = write_components(staged, staging, folder, lambda docs: list(map(to_tokens, docs)),
                                  count_bytes)
    largest = max(int(np.fromfile(split_path(folder, component, f'{split}.bin'), '<u2').max())
                  for component in components for split in components[component])
    if not tok:
        n_vocab, bos_id = largest + 2, largest + 1
    if n_vocab > 65535:
        fail(f'--source={source} has {n_vocab - 1} tokens; uint16 holds 65,534 and BOS')
    if largest >= n_vocab:
        fail(f'--source={source} has the token {largest}; --tokenizer={tokenizer} has {n_vocab}')
    return {'source_config': source_config, 'tokenizer': tokenizer if tok else 'none',
            'vocab_size': n_vocab, 'bos_id': bos_id, 'cut_from_train': cut,
            'components': components}


def prepare_synthetic(folder):
    """Samples the processes' documents, a byte a symbol; returns what meta.json says of them."""
    if documents_per_process < 10 or document_length < 2:
        fail('--documents_per_process must be at least 10 and --document_length at least 2')
    from processes import build_processes, sample_process  # scipy, which text does not need
    tensors = build_processes(processes, markov_vocab, data_seed)
    check_labels(tensors)
    components, held_out = {name: {} for name in sorted(tensors)}, documents_per_process // 5
    n_docs = {'train': documents_per_process, 'val': held_out, 'test': held_out}
    total = len(tensors) * sum(n_docs.values()) * document_length
    with tqdm(total=total, desc='sampling', unit=' tokens', unit_scale=True, **BAR) as bar:
        for component, process in tensors.items():
            os.mkdir(split_path(folder, component, ''))
            save_array(split_path(folder, component, 'process.npy'), process)
            for split, n in n_docs.items():
                rng = random_stream('process', data_seed, component, split)
                docs = sample_process(process, n, document_length, rng).astype('<u2')
                path = split_path(folder, component, split)
                components[component][split] = write_tokens(path, [docs], list, bar)
    n_vocab = 1 + max(len(process) for process in tensors.values())
    return {'processes': processes, 'data_seed': data_seed, 'tokenizer': 'none',
            'vocab_size': n_vocab, 'bos_id': n_vocab - 1, 'components': components}


# -----------------------------------------------------------------------------
# the data set's folder, whole or not there


def tidy(out, old, work):
    """Gives a data set its folder back if it was being replaced, and removes what is left over."""
    shutil.rmtree(work, ignore_errors=True)
    if os.path.lexists(old) and not os.path.exists(out):
        os.rename(old, out)
    elif os.path.lexists(old):  # moved before it is removed: what is called `old` is whole
        os.makedirs(work)
        os.rename(old, os.path.join(work, 'old'))
        shutil.rmtree(work, ignore_errors=True)


def hash_files(folder):
    """Returns {path: sha256} of the files in a folder, pictures aside."""
    paths = [path for path in pathlib.Path(folder).rglob('*') if path.suffix != '.png']
    return {path.relative_to(folder): configurator.file_hash(path) for path in paths
            if path.is_file()}


if __name__ == '__main__':
    if block_size < 2 or num_proc < 0:
        fail('--block_size must be at least 2, --num_proc at least 0')
    if source != 'synthetic' and tokenizer == 'bpe' and not 257 <= vocab_size <= 65535:
        fail(f'--vocab_size={vocab_size}: a byte-level BPE in uint16 has 257 to 65,535 tokens')
    if num_proc:
        os.environ['RAYON_NUM_THREADS'] = str(num_proc)  # the tokenizers library reads it, once

    # All is written to `work`. At the end the data set that is there becomes `old`, and the new one
    # takes its place: a kill at any moment leaves one of them, and the next call tidies up.
    out = data_path(dataset)
    old, work, lock_file = (f'data/.{dataset}.{ending}' for ending in ('old', 'part', 'lock'))
    held = configurator.lock(lock_file, out)
    try:
        tidy(out, old, work)
        if os.path.exists(out) and not overwrite:
            fail(f'{out} is there already: choose another --dataset, or set --overwrite=True')
        if os.path.exists(out) and not os.path.isfile(data_path(dataset, 'meta.json')):
            fail(f'{out} is no data set of prepare.py (it has no meta.json): move it away, or'
                 ' choose another --dataset')
        folder, staging = os.path.join(work, 'new'), os.path.join(work, 'staging')
        os.makedirs(folder)
        os.makedirs(staging)

        # the components
        if source == 'synthetic':
            meta = prepare_synthetic(folder)
        elif streams := open_hdf5(source):
            meta = prepare_hdf5(streams, staging, folder)
        else:
            columns = [*split_names(text_column), label_column]
            streams = open_text(source, source_config, columns, separator, quotes)
            meta = prepare_text(streams, staging, folder)
        meta = {'dataset': dataset, 'source': source} | meta
        if hdf5:
            write_hdf5(folder, meta, block_size)
        draw_documents(folder, meta, block_size)
        replace_file(os.path.join(folder, 'meta.json'), json.dumps(meta, indent=1))

        # into its place, unless the very same data are there: runs may be reading them
        same = os.path.exists(out) and hash_files(folder) == hash_files(out)
        if not same:
            if os.path.exists(out):
                os.rename(out, old)
            os.rename(folder, out)
    except OSError as e:
        fail(f'{e.filename or out} cannot be written ({e.strerror or e}): nothing was kept;'
             ' make room, or work in another folder')
    finally:
        tidy(out, old, work)
        if os.listdir('data') == [os.path.basename(lock_file)]:  # nothing came of it
            os.remove(lock_file)
            os.rmdir('data')
        held.release()

    print('\n'.join(data_table(meta, block_size)))
    print(f'{out}/ is as it was' if same else f'wrote {out}/', end='')
    print(f': {len(meta["components"])} components, vocabulary of {meta["vocab_size"]:,}'
          f' | {out}/documents.png')
