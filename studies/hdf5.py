"""The older pipeline's windows of tokens: HDF5 files, one a split, read and written by prepare.py.

token_chunks [N, T] int32, category_for_chunk and doc_idx_for_chunk (the windows of a document have
one number), and the attributes chunk_size, total_chunks, tokenizer_name_or_path,
selected_categories_in_file and reference_chunk_budget_smallest_top_category.
"""
import os

import h5py
import numpy as np

from configurator import fail, safe_name
from sources import by_split, fail_on_source, split_of
from tokenizer import read_tokenizer

ARRAYS = ('token_chunks', 'category_for_chunk', 'doc_idx_for_chunk')

# ---- reading -----------------------------------------------------------------

def open_hdf5(source):
    """Returns {split: iterator over (component, tokens of a document as bytes, uint16)} of a file,
    or a folder with one for each split."""
    path = os.path.expanduser(source)
    if os.path.isfile(path):
        return {'train': read_hdf5(path)}
    files = sorted(os.listdir(path))
    splits = {file: split_of(file) for file in files if file.endswith(('.hdf5', '.h5'))}
    return by_split(source, files, splits.get, lambda file: read_hdf5(os.path.join(path, file)))

def read_hdf5(path):
    """Yields the documents of a file: the chunks of one category and number, in the file's order.
    The file is held whole."""
    try:
        with h5py.File(path) as f:
            tokens, categories, numbers = (f[name][:] for name in ARRAYS)
        if not len(tokens) == len(categories) == len(numbers):
            raise ValueError(f'{len(tokens)}, {len(categories)} and {len(numbers)} rows')
        if tokens.size and (tokens.min() < 0 or tokens.max() > 65533):
            raise ValueError(f'tokens of {tokens.min()} .. {tokens.max()}, not of 0 .. 65,533')
        rows_of = {}  # of each document
        for row, document in enumerate(zip(categories, numbers.tolist())):
            rows_of.setdefault(document, []).append(row)
        for (category, _), rows in rows_of.items():
            yield category.decode(), tokens[rows].astype('<u2').tobytes()
    except (OSError, KeyError, ValueError, AttributeError, TypeError) as e:
        fail_on_source(path, e, also=f' (as many rows of {", ".join(ARRAYS)} are needed)')

def to_tokens(docs):
    """Returns the tokens of documents as open_hdf5 has them."""
    return [np.frombuffer(doc, dtype='<u2') for doc in docs]

def tokenizer_of(source, staging, name):
    """Returns (name, tokenizers.Tokenizer, number of tokens, BOS id) of the tokenizer.json that
    --tokenizer names, or ('none', None, ..) where it names none. Fails where a token in the file
    that prepare.stage_documents wrote is not the tokenizer's."""
    largest = int(np.fromfile(staging, '<u2').max())
    if name in ('bpe', 'gpt2'):
        return 'none', None, largest + 2, largest + 1
    tok, n_vocab, bos_id = read_tokenizer(name)
    if largest >= n_vocab:
        fail(f'--source={source} has the token {largest}; --tokenizer={name} has {n_vocab}')
    return name, tok, n_vocab, bos_id

def byte_counter(tok):
    """Returns a function from a document, as open_hdf5 has it, to the bytes of its text by a
    tokenizers.Tokenizer, or where tok is None to its number of tokens."""
    def count_bytes(doc):
        ids = np.frombuffer(doc, dtype='<u2').tolist()
        return len(tok.decode(ids, skip_special_tokens=False).encode() if tok else ids)
    return count_bytes

# ---- writing -----------------------------------------------------------------

def write_hdf5(folder, meta, T):
    """Writes the windows of T tokens of the documents in a data set's folder, from each one's
    start, to folder/custom_tokenized_data_chunked_len<T>_<split>.hdf5."""
    names = list(meta['components'])
    for split in ('train', 'val', 'test'):
        documents, counts = [], []  # tokens [windows, T] of each, windows of each component
        for name in names:
            path = os.path.join(folder, safe_name(name), split)
            tokens, offsets = np.fromfile(path + '.bin', '<u2'), np.load(path + '.idx.npy')
            ends = offsets[1:] - np.diff(offsets) % T
            windows = [tokens[a:b].reshape(-1, T) for a, b in zip(offsets, ends)]
            counts.append(sum(map(len, windows)))
            documents += windows
        path = os.path.join(folder, f'custom_tokenized_data_chunked_len{T}_{split}.hdf5')
        # into a file of Python's: over a full disk HDF5's own crash
        with open(path, 'w+b') as file, h5py.File(file, 'w') as f:
            numbers = np.arange(len(documents), dtype='i4')
            f['doc_idx_for_chunk'] = np.repeat(numbers, list(map(len, documents)))
            f.create_dataset('category_for_chunk', dtype=h5py.string_dtype(),
                             data=np.repeat(np.array(names, dtype=object), counts))
            f['token_chunks'] = np.concatenate(documents, dtype='i4')
            f.attrs.update({'chunk_size': T, 'total_chunks': sum(counts),
                            'tokenizer_name_or_path': meta['tokenizer'],
                            'selected_categories_in_file': names,
                            'reference_chunk_budget_smallest_top_category': min(counts)})
