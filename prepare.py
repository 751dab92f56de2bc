"""Turns labelled text, or synthetic processes, into uint16 tokens:
data/<dataset>/<component>/<split>.bin, <split>.idx.npy and meta.json.

    python prepare.py                      # ccdv/arxiv-classification from the hub, BPE of 32,000
    python prepare.py config/cpu.py        # for a laptop, after `make arxiv`: a BPE of 1,024
    python prepare.py --dataset=mine --source=my_texts.jsonl  # or a folder: parquet, jsonl, csv
    python prepare.py --dataset=mine --source=my_folder       # my_folder/<component>/*.txt
    python prepare.py --dataset=arxiv-gpt2 --tokenizer=gpt2   # or the path of a tokenizer.json
    python prepare.py config/demo.py       # eight Markov chains, whose exact XE is known

Documents of a source of text (sources.py) are staged on disk, a tokenizer is trained on train, and
they are encoded, with some megabytes and 120 bytes a document held. docs/outputs.md has more.
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
from tokenizer import encoder, open_tokenizer

dataset, T = settings['dataset'], settings['block_size']
SPLITS = ('train', 'val', 'test')
BATCH_BYTES = 4_000_000  # documents are read and encoded so many bytes at a time
# progress bars go when done, and need a terminal
BAR = {'leave': False, 'disable': None, 'unit_scale': True}

# ---- documents by component and split ----------------------------------------

def check_labels(labels):
    """Fails where a label cannot be a component, or may be taken for another: their letters look
    the same, but for their case (some file systems have one folder for both)."""
    taken = {}
    for label in labels:
        kinds = [unicodedata.category(c) for c in label]
        shown = ''.join(c for c, kind in zip(label, kinds) if kind != 'Cf')
        look = ' '.join(unicodedata.normalize('NFKC', shown).casefold().split())
        other, reason = taken.setdefault(look, label), ''
        if label != label.strip() or not label or {'Cc', 'Cs', 'Zl', 'Zp'} & {*kinds}:
            reason = 'it is empty, has spaces at an end, or a character that cannot be printed'
        elif other != label:
            reason = f'it may be taken for {other!a}'
        if reason:
            fail(f'--source={source}: the label {label!a} cannot name a component: {reason}')

def words_of(doc):
    """Returns a text's words, by which duplicates are found: white space does not count."""
    return unicodedata.normalize('NFC', ' '.join(doc.decode().split())).encode()

def stage_documents(streams, path, key=words_of):
    """Writes the documents of {split: iterable of (component, document in bytes)} to a file, end to
    end: each once, in the first of test, validation and train that has one of its key. Where test
    or validation is missing, it is cut from train.

    Returns {component: {split: {'starts' and 'lengths': arrays of where its documents lie in the
    file, 'duplicates': how many were dropped}}}. Fails where one has no text in a split."""
    staged = collections.defaultdict(lambda: {split: {
        'starts': array.array('q'), 'lengths': array.array('q'), 'duplicates': 0}
        for split in SPLITS})
    keep, seen, end = split_names(labels), set(), 0
    documents = ((split, *document) for split in streams for document in streams[split])
    with open(path, 'wb') as f:
        for split, component, doc in tqdm(documents, 'reading', unit=' documents', **BAR):
            if first_label:
                component = re.split(r'[\s,;]', component.strip())[0]
            if keep and component not in keep:
                continue
            if split == 'train':  # the last digit of its hash deals a tenth to each that is cut
                digit = int.from_bytes(hashlib.sha256(doc).digest(), 'big') % 10
                dealt = {8: 'val', 9: 'test'}.get(digit, 'train')
                split = split if dealt in streams else dealt
            facts, content = staged[component][split], key(doc)
            digest = hashlib.sha256(content).digest()[:16]
            if content and digest in seen:  # empty documents are not duplicates
                facts['duplicates'] += 1
                continue
            seen.add(digest)
            f.write(doc)
            facts['starts'].append(end)
            facts['lengths'].append(len(doc))
            end += len(doc)
    check_labels(staged)
    check_full(staged)
    return dict(sorted(staged.items()))

def check_full(staged):
    """Fails where a component, or one that is to be kept, has no text in a split."""
    names = sorted({*split_names(labels), *staged})
    lacks = {name: [split for split in SPLITS if not any(staged[name][split]['lengths'])]
             for name in names}
    full = [name for name in names if not lacks[name]]
    advice = f'; leave it out: --labels={shlex.quote(join_names(full))}' * bool(full)
    for name in [name for name in names if lacks[name]]:
        fail(f'component {name} has no text in {", ".join(lacks[name])}{advice} (what helps: val'
             ' and test of their own, or more and shorter documents)')
    if not names:
        fail(f'--source={source} has no documents')

def read_documents(path, facts):
    """Yields lists of a component's documents (bytes) in a split, of about BATCH_BYTES each."""
    places = np.transpose([facts['starts'], facts['lengths']])
    n_lists = min(len(places), 1 + sum(facts['lengths']) // BATCH_BYTES)
    with open(path, 'rb') as f:
        for part in np.array_split(places, n_lists):
            yield [os.pread(f.fileno(), length, start) for start, length in part.tolist()]

def sample_texts(path, staged):
    """Yields the training text: of each component as much as the smallest has, or bpe_bytes."""
    share = min(*(sum(splits['train']['lengths']) for splits in staged.values()), bpe_bytes)
    for splits in staged.values():
        left = share
        for doc in itertools.chain.from_iterable(read_documents(path, splits['train'])):
            yield doc[:left].decode(errors='ignore')
            left -= len(doc)
            if left <= 0:
                break

# ---- what is written ---------------------------------------------------------

def save_array(path, values):
    """Writes a .npy file; np.save itself does not say why it cannot."""
    content = io.BytesIO()
    np.save(content, values)
    with open(path, 'wb') as f:
        f.write(content.getbuffer())

def write_tokens(folder, component, split, batches, encode, bar, count_bytes=len):
    """Encodes lists of documents (bytes, or arrays of tokens) to <split>.bin (uint16, end to end)
    and <split>.idx.npy (int64, where each begins, and the end). encode maps such a list to a list
    of uint16 arrays. Returns {'docs', 'tokens', 'bytes', 'sha256'} as meta.json has them."""
    path = os.path.join(folder, safe_name(component), split)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    lengths, n_bytes, digest = array.array('q', [0]), 0, hashlib.sha256()
    with open(path + '.bin', 'xb') as f:
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

def prepare_text(folder):
    """Tokenizes a source's documents into a folder; returns what meta.json says of them."""
    staging, count_bytes = f'{folder}.staged', len
    path = os.path.expanduser(source)
    names = os.listdir(path) if os.path.isdir(path) else [path]
    chunks = [name for name in names if name.endswith(('.hdf5', '.h5'))]
    if any(name == path or split_of(name) for name in chunks):  # of tokens, which stay
        from studies.hdf5 import byte_counter, open_hdf5, to_tokens, tokenizer_of
        streams = open_hdf5(source)
        staged = stage_documents(streams, staging, bytes)
        name, tok, n_vocab, bos_id = tokenizer_of(source, staging, tokenizer)
        encode, count_bytes = to_tokens, byte_counter(tok)
    else:
        columns = [*split_names(text_column), label_column]
        streams = open_text(source, source_config, columns, separator, quotes)
        staged, name = stage_documents(streams, staging), tokenizer
        print(f'{tokenizer} tokenizer ...', flush=True)
        texts = sample_texts(staging, staged)
        tok, encoding, n_vocab, bos_id = open_tokenizer(tokenizer, texts, vocab_size)
        encode = encoder(tok, encoding, num_proc, lossy)
    components = {component: {} for component in staged}
    with tqdm(total=os.path.getsize(staging), desc='encoding', unit='B', **BAR) as bar:
        for component, split in itertools.product(staged, SPLITS):
            facts = staged[component][split]
            written = write_tokens(folder, component, split, read_documents(staging, facts), encode,
                                   bar, count_bytes)
            components[component][split] = written | {'duplicates': facts['duplicates']}
    if tok:
        replace_file(os.path.join(folder, 'tokenizer.json'), tok.to_str(pretty=True))
    return {'source_config': source_config, 'tokenizer': name, 'vocab_size': n_vocab,
            'bos_id': bos_id, 'lossy': lossy and name not in ('bpe', 'gpt2'),
            'components': components,
            'cut_from_train': [split for split in ('test', 'val') if split not in streams]}

def prepare_synthetic(folder):
    """Samples the processes' documents, a byte a symbol; returns what meta.json says of them."""
    from processes import build_processes, sample_process  # scipy, which text does not need
    tensors = build_processes(processes, markov_vocab, data_seed)
    check_labels(tensors)
    components, fifth = {name: {} for name in sorted(tensors)}, documents_per_process // 5
    n_docs = {'train': documents_per_process, 'val': fifth, 'test': fifth}
    total = len(tensors) * sum(n_docs.values()) * document_length
    with tqdm(total=total, desc='sampling', unit=' tokens', **BAR) as bar:
        for component, split in itertools.product(tensors, n_docs):
            rng = random_stream('process', data_seed, component, split)
            docs = sample_process(tensors[component], n_docs[split], document_length, rng)
            components[component][split] = write_tokens(folder, component, split,
                                                        [docs.astype('<u2')], list, bar)
    for component, process in tensors.items():
        save_array(os.path.join(folder, safe_name(component), 'process.npy'), process)
    n_vocab = 1 + max(len(process) for process in tensors.values())
    return {'processes': processes, 'data_seed': data_seed, 'tokenizer': 'none',
            'vocab_size': n_vocab, 'bos_id': n_vocab - 1, 'components': components}

# ---- the data set's folder, whole or not there -------------------------------

if __name__ == '__main__':
    if T < 2 or document_length < 2 or documents_per_process < 10 or num_proc < 0:
        fail('--block_size and --document_length must be at least 2, --documents_per_process at'
             ' least 10, --num_proc at least 0')
    if source != 'synthetic' and tokenizer == 'bpe' and not 257 <= vocab_size <= 65535:
        fail(f'--vocab_size={vocab_size}: a byte-level BPE in uint16 has 257 to 65,535 tokens')
    if num_proc:
        os.environ['RAYON_NUM_THREADS'] = str(num_proc)  # the tokenizers library reads it, once

    out, work, lock_file = data_path(dataset), f'data/.{dataset}.part', f'data/.{dataset}.lock'
    held = lock(lock_file, out)
    try:
        shutil.rmtree(work, ignore_errors=True)  # of one that was killed
        if os.path.exists(out) and not (overwrite and os.path.isfile(f'{out}/meta.json')):
            fail(f'{out} is there already: choose another --dataset, or set --overwrite=True (which'
                 ' replaces no folder without a meta.json)')
        folder = os.path.join(work, 'new')
        os.makedirs(folder)
        meta = prepare_synthetic(folder) if source == 'synthetic' else prepare_text(folder)
        meta = sealed({'dataset': dataset, 'source': source} | meta)
        if hdf5:
            from studies.hdf5 import write_hdf5
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
