"""Tokenizers: trains a byte-level BPE, reads a tokenizer.json, encodes documents and decodes
tokens.

Each has an end-of-text token, which every window begins with, and fits uint16.
"""
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
    ends = [vocab[token] for token in (END_OF_TEXT, '[SEP]', '</s>') if token in vocab]
    if n_vocab > 65535 or not ends:
        fail(f'--tokenizer={path} has {n_vocab} tokens: it needs an end-of-text token'
             f' ({END_OF_TEXT}, [SEP] or </s>) to begin a window with, and at most 65,535 (uint16)')
    return tok, n_vocab, ends[0]


def open_tokenizer(name, texts, vocab_size):
    """Returns (tokenizers.Tokenizer or None, tiktoken.Encoding or None, number of tokens, id of the
    end-of-text token) of --tokenizer: bpe, trained on texts, gpt2, or the path of a tokenizer.json.
    """
    if name == 'bpe':
        tok = train_bpe(texts, vocab_size)
        return tok, to_tiktoken(tok), vocab_size, tok.token_to_id(END_OF_TEXT)
    if name == 'gpt2':
        encoding = tiktoken.get_encoding('gpt2')  # its merges are fetched once, and kept
        return None, encoding, encoding.n_vocab, encoding.eot_token
    tok, n_vocab, bos_id = read_tokenizer(name)
    return tok, None, n_vocab, bos_id


def to_tiktoken(tok):
    """Returns a tiktoken.Encoding that gives the ids of a tokenizer of train_bpe, faster.

    tokenizers joins the pairs that are merges, in their order; tiktoken joins any neighbours that
    make up a token, in the order of ids. That is the same, for ids ascend with the merges, and no
    two merges make up one token: no merge before that of l and r crossed their borders, so the text
    l + r alone is cut into l and r too, and a text is cut in one way."""
    # GPT-2 writes each byte as a letter: most as they are, the rest as the letters from 256 on
    letters = sorted(ByteLevel.alphabet())
    byte = {letter: ord(letter) for letter in letters if ord(letter) < 256}
    byte |= zip(letters[len(byte):], sorted(set(range(256)) - set(byte.values())))
    ranks = {bytes(byte[letter] for letter in token): i for token, i in tok.get_vocab().items()
             if token != END_OF_TEXT}
    # r50k_pat_str splits text into words as ByteLevel does
    return tiktoken.Encoding('bpe', pat_str=r50k_pat_str, mergeable_ranks=ranks, special_tokens={})


def spell(text):
    """Returns a text for a message, in which every letter shows, and fail() folds no blanks."""
    return ascii(text).replace('  ', r' \x20')


def encoder(tok, encoding=None, num_proc=0, lossy=False):
    """Returns a function from a list of documents (UTF-8, bytes) to the list of their tokens
    (uint16 arrays): by `encoding`, a tiktoken.Encoding, in num_proc threads, or where it is None by
    tok, a tokenizers.Tokenizer. Fails on a document that does not come back from tok's tokens
    letter by letter, unless lossy is True."""
    def by_tokenizers(docs):
        texts = [doc.decode() for doc in docs]
        try:
            encodings = tok.encode_batch_fast(texts, add_special_tokens=False)
        except Exception as e:  # the library raises Exception itself
            fail(f'--tokenizer cannot encode a document: {e}')
        ids = [encoding.ids for encoding in encodings]
        for text, back in zip(texts, tok.decode_batch(ids, skip_special_tokens=False)):
            if text != back and not lossy:
                i = len(os.path.commonprefix([text, back]))  # where they part
                here, there = (spell(t[max(0, i - 20):i + 20]) for t in (text, back))
                fail(f'--tokenizer does not give a document back: {here} comes back as {there}'
                     f' (the document begins {text[:40]!r}): see its normalizer, pre_tokenizer,'
                     ' decoder and unknown token, or take it all the same by --lossy=True: XE and'
                     ' bits per byte are then those of another text')
        return [np.array(tokens, dtype='<u2') for tokens in ids]

    def by_tiktoken(docs):
        try:
            return list(pool.map(lambda doc: encoding.encode_to_numpy(
                doc.decode(), disallowed_special=()).astype('<u2'), docs))
        except ValueError as e:  # its pattern gives up on a hundred thousand spaces in a row
            if tok:
                return by_tokenizers(docs)
            fail(f'--tokenizer=gpt2 cannot encode a document ({e}): has it very many spaces?')

    pool = ThreadPoolExecutor(num_proc or cpu_cores())  # tiktoken works outside Python's lock
    return by_tiktoken if encoding else by_tokenizers


def decoder(name, path):
    """Returns a function from token ids to text, of the tokenizer `name` of a data set, which is
    bpe or that of the tokenizer.json at path. A synthetic process's symbols are numbers."""
    if name == 'none':
        return lambda ids: ' '.join(map(str, ids))
    if name == 'gpt2':
        return tiktoken.get_encoding('gpt2').decode
    tok, *_ = read_tokenizer(path)
    return lambda ids: tok.decode(ids, skip_special_tokens=False)
