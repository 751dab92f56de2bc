"""
Turns labelled text into uint16 tokens: data/<dataset>/<component>/<split>.bin, <split>.idx.npy and meta.json.

    python prepare.py                                         # ccdv/arxiv-classification from the hub, BPE of 32,000
    python prepare.py config/cpu.py                           # the same papers for a laptop: BPE of 4,096
    python prepare.py --source=my_texts --dataset=mine        # a local folder or file: parquet, json lines or csv
    python prepare.py --dataset=arxiv-gpt2 --tokenizer=gpt2   # GPT-2's tokens

A source has a text column, a label column that names each document's component, and the splits train,
validation and test; where validation and test are missing, a hash of the text deals every tenth and every
other tenth document of train to them.
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
import tiktoken
import tokenizers
from tqdm import tqdm

from config import fail, override

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


def documents(rows):
    """Yields (component, text) of each document of one split, in the source's order."""
    label = rows.features[label_column]
    keep = set(filter(None, labels.split(',')))
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
        tok = tokenizers.Tokenizer.from_file(name)
    else:
        fail(f'--tokenizer={name}: write bpe, gpt2 or the path of a tokenizer.json')
    ends = [i for i in map(tok.token_to_id, (END_OF_TEXT, '[SEP]', '</s>')) if i is not None]
    if not ends:
        fail(f'--tokenizer={name} has no end-of-text token ({END_OF_TEXT}, [SEP] or </s>) to begin a window with')
    tok.encode_special_tokens = True  # text that spells a special token is text

    def encode(texts):
        return [e.ids for e in tok.encode_batch_fast(texts, add_special_tokens=False)]
    return encode, tok.get_vocab_size(), ends[0], tok


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


if __name__ == '__main__':
    out = os.path.join('data', dataset)
    if os.path.exists(out) and not overwrite:
        fail(f'{out} is there already: choose another --dataset, or replace it with --overwrite=True')
    if tokenizer == 'bpe' and not 257 <= vocab_size <= 65535:
        fail(f'--vocab_size={vocab_size}: a byte-level BPE in uint16 has 257 to 65,535 tokens')
    os.makedirs('data', exist_ok=True)
    with tempfile.TemporaryDirectory(dir='data', prefix=f'.{dataset}-') as work:
        splits = load_source(source, source_config, os.path.join(work, 'cache'))

        # a component needs documents in every split, and a name that can be a folder's
        counts = {split: {} for split in splits}
        for split in splits:
            for name, _ in documents(splits[split]):
                counts[split][name] = counts[split].get(name, 0) + 1
        asked = set(filter(None, labels.split(','))) or set().union(*counts.values())
        for name in sorted(asked):
            if name != os.path.basename(name) or name.startswith('.') or ',' in name or not name:
                fail(f'component {name!r}: a name must do as a folder and in a comma-separated list')
            empty = [split for split in SPLITS.values() if name not in counts[split]]
            if empty:
                rest = ','.join(sorted(set.intersection(*map(set, counts.values()))))
                fail(f'component {name} has no documents in {", ".join(empty)}; leave it out: --labels={rest}')

        print(f'{tokenizer} tokenizer ...', flush=True)
        encode, n_vocab, bos_id, tok = load_tokenizer(tokenizer, splits['train'])
        if n_vocab > 65535:
            fail(f'--tokenizer={tokenizer} has {n_vocab} tokens; uint16 holds ids below 65,536: at most 65,535 tokens')

        # all is written beside its place and moved there at the end, meta.json last
        made = os.path.join(work, 'made')
        os.makedirs(made)
        written = {split: write_split(made, split, splits[split], encode) for split in SPLITS.values()}
        if tok:
            tok.save(os.path.join(made, 'tokenizer.json'))
        meta = {'dataset': dataset, 'source': source, 'source_config': source_config, 'tokenizer': tokenizer,
                'vocab_size': n_vocab, 'bos_id': bos_id,
                'components': {name: {split: written[split][name] for split in SPLITS.values()}
                               for name in sorted(asked)}}
        with open(os.path.join(made, 'meta.json'), 'w') as f:
            json.dump(meta, f, indent=1)
        if os.path.exists(out):
            shutil.rmtree(out)
        os.rename(made, out)

    print(f'{"component":20} {"split":5} {"documents":>10} {"tokens":>12} {"bytes/token":>11}')
    for name, per_split in meta['components'].items():
        for split, s in per_split.items():
            print(f'{name:20} {split:5} {s["docs"]:10,} {s["tokens"]:12,} {s["bytes"] / max(1, s["tokens"]):11.2f}')
    print(f'wrote {out}/: {len(asked)} components, vocabulary of {n_vocab:,}')
