"""The older pipeline's windows of tokens: HDF5 files, one a split, read and written by prepare.py.

token_chunks [N, T] int32, category_for_chunk and doc_idx_for_chunk (the windows of a document have
one number), and the attributes chunk_size, total_chunks, tokenizer_name_or_path,
selected_categories_in_file and reference_chunk_budget_smallest_top_category.
"""
import itertools
import os

import h5py
import numpy as np

from configurator import fail, safe_name
from sources import by_split, check_pointer, fail_on_source, split_of
from tokenizer import read_tokenizer

ARRAYS = ('token_chunks', 'category_for_chunk', 'doc_idx_for_chunk')

# -----------------------------------------------------------------------------
# reading


def open_hdf5(source):
    """Returns {split: iterator over (component, tokens of a document as bytes, uint16)} of a file,
    or a folder with one for each split."""
    path = os.path.expanduser(source)
    if os.path.isfile(path):
        return {'train': read_hdf5(path)}
    files = sorted(os.listdir(path))
    splits = {file: split_of(file) for file in files if file.endswith(('.hdf5', '.h5'))}
    return {split: itertools.chain.from_iterable(read_hdf5(os.path.join(path, file))
                                                 for file in part)
            for split, part in by_split(source, files, splits.get).items()}


def read_hdf5(path):
    """Yields the documents of a file: the chunks of one category and number, in the file's order.
    Holds some 24 bytes for each chunk, and 300 for each document."""
    def values(array):
        for i in range(0, len(array), 10_000):
            yield from array[i:i + 10_000]

    def chunks(array, order):
        for i in range(0, len(order), 10_000):
            rows = order[i:i + 10_000]
            tokens = array[np.sort(rows)][np.argsort(np.argsort(rows))]
            if tokens.min() < 0 or tokens.max() > 65533:
                fail(f'{path} has the tokens {tokens.min()} .. {tokens.max()}; uint16 holds 0 ..'
                     ' 65,533 and BOS')
            yield from tokens.astype('<u2')

    try:
        check_pointer(path)
        with h5py.File(path, 'r') as f:
            tokens, *keys = arrays = [f[name] for name in ARRAYS]
            if len({*map(len, arrays)}) > 1:
                fail(f'{path} has {len(tokens)}, {len(keys[0])} and {len(keys[1])} rows of'
                     f' {", ".join(ARRAYS)}: as many of each are needed')
            places = {}  # of each document among those of the file
            document = np.fromiter((places.setdefault(key, len(places))
                                    for key in zip(*map(values, keys))), np.int64, len(tokens))
            order = np.argsort(document, kind='stable')
            chunks_of = itertools.groupby(zip(document[order], chunks(tokens, order)),
                                          key=lambda chunk: chunk[0])
            for (category, _), (_, run) in zip(places, chunks_of):
                yield category.decode(), b''.join(tokens.tobytes() for _, tokens in run)
    except (OSError, KeyError, ValueError, AttributeError, TypeError) as e:
        fail_on_source(path, e, also=f' (an HDF5 file of {", ".join(ARRAYS)})')


def to_tokens(docs):
    """Returns the tokens of documents as open_hdf5 has them."""
    return [np.frombuffer(doc, dtype='<u2') for doc in docs]


def tokenizer_of(source, folder, staged, name):
    """Returns (name, tokenizers.Tokenizer, number of tokens, BOS id) of the tokenizer.json that
    --tokenizer names, or ('none', None, ..) where it names none. Fails where a token that
    prepare.stage_documents staged in a folder is not the tokenizer's."""
    largest = max(int(np.fromfile(os.path.join(folder, safe_name(component), split), '<u2').max())
                  for component in staged for split in staged[component])
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


# -----------------------------------------------------------------------------
# writing


def write_hdf5(folder, meta, T):
    """Writes the windows of T tokens of the documents in a data set's folder, from each one's
    start, to folder/custom_tokenized_data_chunked_len<T>_<split>.hdf5."""
    names = list(meta['components'])
    for split in ('train', 'val', 'test'):
        paths = [os.path.join(folder, safe_name(name), split) for name in names]
        offsets = [np.load(path + '.idx.npy') for path in paths]
        windows = [np.diff(o) // T for o in offsets]  # of each document of each component
        counts = [int(n.sum()) for n in windows]
        path = os.path.join(folder, f'custom_tokenized_data_chunked_len{T}_{split}.hdf5')
        # into a file of Python's: over a full disk HDF5's own crash
        with open(path, 'w+b') as file, h5py.File(file, 'w') as f:
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
