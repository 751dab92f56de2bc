"""Tokenizers: trains a byte-level BPE, reads a tokenizer.json, encodes texts and decodes tokens.

Each has an end-of-text token, which every window begins with, and fits uint16.
"""
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tiktoken
import tokenizers
from tiktoken_ext.openai_public import r50k_pat_str
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from configurator import cpu_cores, fail

END_OF_TEXT = '<|endoftext|>'

def train_bpe(texts, vocab_size):
    """Returns a byte-level BPE (tokenizers.Tokenizer) of vocab_size tokens, END_OF_TEXT the first,
    trained on texts, an iterable. Fails where they yield fewer tokens."""
    tok = tokenizers.Tokenizer(BPE())
    tok.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tok.decoder = tokenizers.decoders.ByteLevel()
    tok.train_from_iterator(texts, tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[END_OF_TEXT], show_progress=sys.stderr.isatty(),
        initial_alphabet=ByteLevel.alphabet()))
    if tok.get_vocab_size() < vocab_size:
        fail(f'the text yields {tok.get_vocab_size()} tokens, fewer than'
             f' --vocab_size={vocab_size}: ask for fewer')
    tok.encode_special_tokens = True  # text that spells a special token is text
    return tok

def read_tokenizer(path):
    """Returns (tokenizers.Tokenizer, its number of tokens, the id of its end-of-text token) of a
    tokenizer.json, without its BPE dropout, truncation and padding. Fails where it has no
    end-of-text token or does not fit uint16."""
    try:
        tok = tokenizers.Tokenizer.from_file(os.path.expanduser(path))
    except Exception as e:  # the library raises Exception itself
        fail(f'--tokenizer={path} is no tokenizer.json ({e}): write bpe, gpt2 or the path of one')
    tok.no_truncation()
    tok.no_padding()
    tok.encode_special_tokens = True  # text that spells a special token is text
    if isinstance(tok.model, BPE):
        tok.model.dropout = None  # it would give other tokens each time
    vocab = tok.get_vocab()
    n_vocab = 1 + max(vocab.values(), default=0)
    if n_vocab > 65535:
        fail(f'--tokenizer={path} has {n_vocab} tokens; uint16 holds at most 65,535')
    ends = [vocab[token] for token in (END_OF_TEXT, '[SEP]', '</s>') if token in vocab]
    if not ends:
        fail(f'--tokenizer={path} has no end-of-text token ({END_OF_TEXT}, [SEP] or </s>)'
             ' to begin a window with')
    return tok, n_vocab, ends[0]

def open_tokenizer(name, texts, vocab_size):
    """Returns (tokenizers.Tokenizer or None, tiktoken.Encoding or None, number of tokens, id of the
    end-of-text token) of bpe, trained on texts, of gpt2, or of a tokenizer.json's path."""
    if name == 'gpt2':
        encoding = open_gpt2()
        return None, encoding, encoding.n_vocab, encoding.eot_token
    if name == 'bpe':
        tok = train_bpe(texts, vocab_size)
        return tok, to_tiktoken(tok), vocab_size, tok.token_to_id(END_OF_TEXT)
    tok, n_vocab, bos_id = read_tokenizer(name)
    return tok, to_tiktoken(tok), n_vocab, bos_id

def open_gpt2():
    """Returns GPT-2's tiktoken.Encoding, whose merges tiktoken fetches once and keeps."""
    try:
        return tiktoken.get_encoding('gpt2')
    except OSError as e:  # requests' errors are OSErrors
        fail(f'--tokenizer=gpt2: its merges cannot be fetched ({type(e).__name__});'
             ' --tokenizer=bpe needs no network')

def is_byte_level(tok):
    """Returns whether a tokenizer is a BPE in GPT-2's words that takes a text as it is."""
    model, words = tok.model, tok.pre_tokenizer
    options = ('dropout', 'ignore_merges', 'continuing_subword_prefix', 'end_of_word_suffix')
    return (type(model) is BPE and not any(getattr(model, key) for key in options)
            and type(words) is ByteLevel and words.use_regex and not words.add_prefix_space
            and type(tok.decoder) is tokenizers.decoders.ByteLevel and tok.normalizer is None
            and all(token.special for token in tok.get_added_tokens_decoder().values()))

def to_tiktoken(tok):
    """Returns a tiktoken.Encoding that gives the ids of a tokenizers.Tokenizer, faster, or None
    where it might give others: tok is then no byte-level BPE, or an unusual one.

    tokenizers joins the pairs that are merges, in their order; tiktoken joins any neighbours that
    make up a token, in the order of ids. That is the same where ids ascend with the merges, no two
    of which make up one token, and tok cuts the text of a token into that token alone. For no merge
    before that of l and r crossed their borders, so other neighbours would mean another cut."""
    vocab, letters = tok.get_vocab(), sorted(ByteLevel.alphabet())
    has_bytes = vocab.keys() >= {*letters} and len({*vocab.values()}) == len(vocab)
    if not (is_byte_level(tok) and has_bytes):
        return None
    merges = [*map(tuple, json.loads(tok.to_str())['model']['merges'])]
    model, tokens, last = BPE(vocab, merges), {*letters}, -1
    for left, right in merges:
        token = left + right
        is_usual = {left, right} <= tokens and vocab[token] > last
        if not is_usual or len(model.tokenize(token)) > 1:
            return None
        tokens.add(token)
        last = vocab[token]

    # GPT-2 writes each byte as a letter: most as they are, the rest as the letters from 256 on
    byte = {letter: ord(letter) for letter in letters if ord(letter) < 256}
    byte |= zip(letters[len(byte):], sorted(set(range(256)) - set(byte.values())))
    ranks = {bytes(byte[letter] for letter in token): vocab[token] for token in tokens}
    # r50k_pat_str splits text into words as ByteLevel does
    return tiktoken.Encoding('bpe', pat_str=r50k_pat_str, mergeable_ranks=ranks, special_tokens={})

def describe_loss(text, back):
    """Returns a sentence on a document that comes back from its tokens as another text, `back`."""
    i = len(os.path.commonprefix([text, back]))  # where they part
    here, there = (ascii(t[max(0, i - 20):i + 20]) for t in (text, back))
    return (f'--tokenizer does not give a document back: {here} comes back as {there} (it begins'
            f' {text[:40]!r}): XE would be of another text; --lossy=True takes it all the same')

def encoder(tok, encoding=None, num_proc=0, lossy=False):
    """Returns a function from a list of documents (UTF-8, bytes) to the list of their tokens
    (uint16 arrays), by a tiktoken.Encoding in num_proc threads, or without one by tok, a
    tokenizers.Tokenizer: it fails on a document that does not come back, unless lossy is True."""
    def by_tokenizers(docs):
        texts = [doc.decode() for doc in docs]
        try:
            encodings = tok.encode_batch_fast(texts, add_special_tokens=False)
        except Exception as e:  # the library raises Exception itself
            fail(f'--tokenizer cannot encode a document: {e}')
        ids = [encoding.ids for encoding in encodings]
        backs = texts if lossy else tok.decode_batch(ids, skip_special_tokens=False)
        for text, back in zip(texts, backs):
            if text != back:
                fail(describe_loss(text, back))
        return [np.array(tokens, dtype='<u2') for tokens in ids]

    def by_tiktoken(docs):
        try:
            return list(pool.map(lambda doc: encoding.encode_to_numpy(
                doc.decode(), disallowed_special=()).astype('<u2'), docs))
        except ValueError as e:  # its pattern gives up on a hundred thousand spaces in a row
            return by_tokenizers(docs) if tok else fail(
                f'--tokenizer=gpt2 cannot encode a document ({e}): has it very many spaces?')

    pool = ThreadPoolExecutor(num_proc or cpu_cores())  # tiktoken works outside Python's lock
    return by_tiktoken if encoding else by_tokenizers

def decoder(name, path):
    """Returns a function from token ids to text, of a data set with the tokenizer `name` (none: a
    process's symbols are numbers), whose tokenizer.json is at path."""
    if name == 'none':
        return lambda ids: ' '.join(map(str, ids))
    if name == 'gpt2':
        return open_gpt2().decode
    tok, *_ = read_tokenizer(path)
    return lambda ids: tok.decode(ids, skip_special_tokens=False)
