"""Turns labelled text, or synthetic processes, into uint16 tokens:
data/<dataset>/<component>/<split>.bin, <split>.idx.npy and meta.json.

    python prepare.py                      # ccdv/arxiv-classification from the hub, BPE of 32,000
    python prepare.py config/cpu.py        # for a laptop, after `make arxiv`: a BPE of 1,024
    python prepare.py --dataset=mine --source=my_texts.jsonl  # or a folder: parquet, jsonl, csv
    python prepare.py --dataset=mine --source=my_folder       # my_folder/<component>/*.txt
    python prepare.py --dataset=arxiv-gpt2 --tokenizer=gpt2   # or the path of a tokenizer.json
    python prepare.py config/demo.py       # eight Markov chains, whose exact XE is known
    python prepare.py --dataset=mess3 --source=synthetic --processes=mess3:4

A source of text (sources.py) has a text column, a label column that names each document's
component, and splits; a hash of the text deals a tenth of train's documents to each of val and test
that is missing. A text is kept once, in test or val rather than in train. The documents are staged
on disk by component and split, a tokenizer is trained on train, and they are encoded. A few
megabytes are held at a time, and some 110 bytes for each document. All is written to
data/.<dataset>.part, which becomes data/<dataset> in one step when it is whole.

A synthetic process is an array T[v, i, j] (see processes.py), saved beside its tokens.
"""
# -----------------------------------------------------------------------------
source = 'ccdv/arxiv-classification'  # a data set on the hub, a local folder or file, or synthetic
source_config = 'no_ref'      # which of the source's configurations ('' where it has but one)
text_column = 'text'          # the column that holds a document, or several: 'title,abstract'
label_column = 'label'        # the column that names its component
separator = ''                # between the fields of .csv and .tsv ('' = as the header has it)
quotes = True                 # False: quotation marks in .csv and .tsv are letters
first_label = False           # True: of several names in a label, 'cs.DS math.CO', the first
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
from configurator import override

settings = override(globals(), shared=('dataset', 'block_size'))

import array
import collections
import hashlib
import io
import itertools
import json
import os
import re
import shlex
import shutil
import unicodedata

import numpy as np
from tqdm import tqdm

import plot_xe
from configurator import (fail, join_names, lock, random_stream, replace_file, safe_name, sealed,
                          split_names)
from sample_mix import data_path, data_table
from sources import open_text, split_of
from tokenizer import encoder, open_tokenizer, spell

dataset, T = settings['dataset'], settings['block_size']
SPLITS = ('train', 'val', 'test')
BATCH_BYTES = 4_000_000  # documents are read and encoded so many bytes at a time
BAR = {'leave': False, 'disable': None}  # progress bars go when done, and need a terminal

# -----------------------------------------------------------------------------
# documents by component and split


def split_path(folder, component, split):
    """Returns where a component's split lies in a folder: the path less the ending of a file."""
    return os.path.join(folder, safe_name(component), split)


def check_labels(labels):
    """Fails where a label cannot be a component, or may be taken for another: its letters look the
    same, or a file system has one folder for both."""
    taken = dict.fromkeys(('meta.json', 'tokenizer.json', 'documents.png'), 'a file of the data')
    for label in labels:
        unprintable = any(unicodedata.category(c) in ('Cc', 'Cs', 'Zl', 'Zp') for c in label)
        shown = ''.join(c for c in label if unicodedata.category(c) != 'Cf')
        look = ' '.join(unicodedata.normalize('NFKC', shown).split())
        folder = unicodedata.normalize('NFC', safe_name(label)).casefold()
        others = {taken.setdefault(key, label) for key in (look, folder)} - {label}
        reason = ''
        if label != label.strip() or not label or unprintable:
            reason = 'it is empty, has spaces at an end, or a character that cannot be printed'
        elif others or folder.endswith('.hdf5'):
            reason = f'it may be taken for {spell(max(others, default=label))}'
        if reason:
            fail(f'--source={source}: the label {spell(label)} cannot name a component: {reason}')


def words_of(doc):
    """Returns a text's words, by which duplicates are found: white space does not count."""
    return unicodedata.normalize('NFC', ' '.join(doc.decode().split())).encode()


def stage_documents(streams, staging, key=words_of):
    """Writes the documents of {split: iterable of (component, document in bytes)} to
    staging/<component>/<split>, end to end: each once, in the first of test, validation and train
    that has one of its key. Where test or validation is missing, it is cut from train.

    Returns {component: {split: {'lengths': array of the documents' bytes, 'duplicates': how many
    were dropped}}}. Fails where a component has no text in a split."""
    staged = collections.defaultdict(lambda: {
        split: {'lengths': array.array('q'), 'duplicates': 0} for split in SPLITS})
    keep, passed, seen, buffer, size = split_names(labels), 0, set(), {}, 0
    documents = ((split, *document) for split in streams for document in streams[split])
    for split, component, doc in tqdm(documents, 'reading', unit=' documents', **BAR):
        if first_label:
            component = re.split(r'[\s,;]', component.strip())[0]
        if keep and component not in keep:
            passed += 1
            continue
        if split == 'train':  # the last digit of its hash deals a tenth to each split that is cut
            digit = int.from_bytes(hashlib.sha256(doc).digest(), 'big') % 10
            dealt = {8: 'val', 9: 'test'}.get(digit, 'train')
            split = split if dealt in streams else dealt
        facts, content = staged[component][split], key(doc)
        digest = hashlib.sha256(content).digest()[:16]
        if content and digest in seen:  # empty documents are not duplicates
            facts['duplicates'] += 1
            continue
        seen.add(digest)
        facts['lengths'].append(len(doc))
        buffer.setdefault((component, split), []).append(doc)
        size += len(doc)
        if size >= BATCH_BYTES:
            append_files(staging, buffer)
            buffer, size = {}, 0
    append_files(staging, buffer)
    if passed:
        print(f'passed over: {passed:,} documents of other labels', flush=True)
    check_labels(staged)
    check_full(staged)
    return dict(sorted(staged.items()))


def append_files(staging, buffer):
    """Appends {(component, split): documents} to staging/<component>/<split>."""
    for (component, split), docs in buffer.items():
        path = split_path(staging, component, split)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'ab') as f:
            f.writelines(docs)


def check_full(staged):
    """Fails where a component, or one that is to be kept, has no text in a split."""
    lacks = {component: [split for split, facts in staged[component].items()
                         if not any(facts['lengths'])]
             for component in sorted({*split_names(labels), *staged})}
    full = [component for component in lacks if not lacks[component]]
    advice = f'leave it out: --labels={shlex.quote(join_names(full))}'
    for component in [component for component in lacks if lacks[component]]:
        fail(f'component {component} has no text in {", ".join(lacks[component])}; '
             + (advice if full else 'no component has')
             + ' (what helps: val and test of their own, or more and shorter documents)')
    if not full:
        fail(f'--source={source} has no documents')


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
    """Encodes documents and writes path.bin (uint16, end to end) and path.idx.npy (int64, where
    each begins, and the end). batches is an iterable of lists of documents (bytes, or what else has
    a length), encode maps such a list to a list of uint16 arrays, bar advances by their lengths.

    Returns {'docs', 'tokens', 'bytes', 'sha256'} as meta.json has them."""
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


def write_components(staged, folder, encode, count_bytes=len):
    """Encodes what was staged in a folder; returns {component: {split: facts}} as in meta.json."""
    components = {component: {} for component in staged}
    total = sum(sum(facts['lengths']) for splits in staged.values() for facts in splits.values())
    with tqdm(total=total, desc='encoding', unit='B', unit_scale=True, **BAR) as bar:
        for component, split in itertools.product(staged, SPLITS):
            path, facts = split_path(folder, component, split), staged[component][split]
            batches = read_documents(path, facts['lengths'])
            written = write_tokens(path, batches, encode, bar, count_bytes)
            components[component][split] = written | {'duplicates': facts['duplicates']}
            os.remove(path)
    return components


def is_hdf5(source):
    """Returns whether a source is a file of the older pipeline, or a folder of such files."""
    path = os.path.expanduser(source)
    names = filter(split_of, os.listdir(path)) if os.path.isdir(path) else [path]
    return any(name.endswith(('.hdf5', '.h5')) for name in names)


def prepare_text(folder):
    """Tokenizes a source's documents into a folder; returns what meta.json says of them."""
    encoding, count_bytes = None, len
    if is_hdf5(source):  # of tokens, which stay
        from hdf5 import byte_counter, open_hdf5, to_tokens, tokenizer_of
        streams = open_hdf5(source)
        staged = stage_documents(streams, folder, bytes)
        name, tok, n_vocab, bos_id = tokenizer_of(source, folder, staged, tokenizer)
        encode, count_bytes = to_tokens, byte_counter(tok)
    else:
        columns = [*split_names(text_column), label_column]
        streams = open_text(source, source_config, columns, separator, quotes)
        staged, name = stage_documents(streams, folder), tokenizer
        print(f'{tokenizer} tokenizer ...', flush=True)
        texts = sample_texts(folder, staged)
        tok, encoding, n_vocab, bos_id = open_tokenizer(tokenizer, texts, vocab_size)
        encode = encoder(tok, encoding, num_proc, lossy)
    components = write_components(staged, folder, encode, count_bytes)
    if tok:
        replace_file(os.path.join(folder, 'tokenizer.json'), tok.to_str(pretty=True))
    return {'source_config': source_config, 'tokenizer': name, 'vocab_size': n_vocab,
            'bos_id': bos_id, 'lossy': lossy and not encoding, 'components': components,
            'cut_from_train': [split for split in ('test', 'val') if split not in streams]}


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

if __name__ == '__main__':
    if T < 2 or num_proc < 0:
        fail('--block_size must be at least 2, --num_proc at least 0')
    if source != 'synthetic' and tokenizer == 'bpe' and not 257 <= vocab_size <= 65535:
        fail(f'--vocab_size={vocab_size}: a byte-level BPE in uint16 has 257 to 65,535 tokens')
    if num_proc:
        os.environ['RAYON_NUM_THREADS'] = str(num_proc)  # the tokenizers library reads it, once

    out, work, lock_file = data_path(dataset), f'data/.{dataset}.part', f'data/.{dataset}.lock'
    held = lock(lock_file, out)
    try:
        shutil.rmtree(work, ignore_errors=True)  # of one that was killed
        if os.path.exists(out) and not overwrite:
            fail(f'{out} is there already: choose another --dataset, or set --overwrite=True')
        if os.path.exists(out) and not os.path.isfile(data_path(dataset, 'meta.json')):
            fail(f'{out} is no data set of prepare.py (it has no meta.json): move it away, or'
                 ' choose another --dataset')
        folder = os.path.join(work, 'new')
        os.makedirs(folder)
        meta = prepare_synthetic(folder) if source == 'synthetic' else prepare_text(folder)
        meta = sealed({'dataset': dataset, 'source': source} | meta)
        if hdf5:
            from hdf5 import write_hdf5
            write_hdf5(folder, meta, T)
        plot_xe.draw_documents(folder, meta, T)
        replace_file(os.path.join(folder, 'meta.json'), json.dumps(meta, indent=1))

        # into its place
        if os.path.exists(out):
            os.rename(out, os.path.join(work, 'old'))
        os.rename(folder, out)
    except OSError as e:
        fail(f'{out} could not be made: {e}')
    finally:
        shutil.rmtree(work, ignore_errors=True)
        if os.listdir('data') == [os.path.basename(lock_file)]:  # nothing came of it
            os.remove(lock_file)
            os.rmdir('data')
        held.release()

    print('\n'.join(data_table(meta, T)))
    print(f'wrote {out}/: {len(meta["components"])} components, vocabulary of'
          f' {meta["vocab_size"]:,} | {out}/documents.png')
