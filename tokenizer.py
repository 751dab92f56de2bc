"""Tokenizers: trains a byte-level BPE, reads a tokenizer.json, encodes documents and decodes
tokens.

Each has an end-of-text token, which every window begins with, and fits uint16.
"""
import json
import os
import sys
from multiprocessing.pool import ThreadPool

import numpy as np
import tiktoken
import tokenizers
from tiktoken_ext.openai_public import r50k_pat_str
from tokenizers.pre_tokenizers import ByteLevel
from tqdm import tqdm

from configurator import cpu_cores, fail

END_OF_TEXT = '<|endoftext|>'


def train_bpe(texts, vocab_size):
    """Returns a byte-level BPE (tokenizers.Tokenizer) of vocab_size tokens, END_OF_TEXT the first,
    trained on texts, an iterable. Fails where they yield fewer tokens.
    """
    tok = tokenizers.Tokenizer(tokenizers.models.BPE())
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
    end-of-text token or does not fit uint16.
    """
    try:
        tok = tokenizers.Tokenizer.from_file(os.path.expanduser(path))
    except Exception as e:  # the library raises Exception itself
        fail(f'--tokenizer={path} is no tokenizer.json ({e}): write bpe, gpt2 or the path of one')
    tok.no_truncation()
    tok.no_padding()
    tok.encode_special_tokens = True  # text that spells a special token is text
    if isinstance(tok.model, tokenizers.models.BPE):
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
    end-of-text token) of --tokenizer: bpe, trained on texts, gpt2, or the path of a tokenizer.json.
    """
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


def to_tiktoken(tok):
    """Returns a tiktoken.Encoding that gives the ids of a tokenizers.Tokenizer, faster, or None
    where it might give others: tok is then no byte-level BPE, or an unusual one.

    tokenizers joins the pairs that are merges, in their order; tiktoken joins any neighbours that
    make up a token, in the order of ids. That is the same where ids ascend with the merges, no two
    of which make up one token, and tok cuts the text of a token into that token alone. For no merge
    before that of l and r crossed their borders, so other neighbours would mean another cut.
    """
    parts = json.loads(tok.to_str())
    vocab, merges = parts['model'].get('vocab'), parts['model'].get('merges')
    if not is_byte_level(parts) or len({*vocab.values()}) < len(vocab):
        return None
    model = tokenizers.models.BPE(vocab, [*map(tuple, merges)])
    tokens = dict.fromkeys(ByteLevel.alphabet())  # a set that keeps its order
    for left, right in merges:
        token = left + right
        is_usual = left in tokens and right in tokens and token not in tokens
        if not is_usual or len(model.tokenize(token)) > 1:
            return None
        tokens[token] = None
    ids = [vocab[left + right] for left, right in merges]
    if ids != sorted(ids):
        return None

    # GPT-2 writes each byte as a letter: most as they are, the rest as the letters from 256 on
    letters = sorted(ByteLevel.alphabet())
    byte = {letter: ord(letter) for letter in letters if ord(letter) < 256}
    byte |= zip(letters[len(byte):], sorted(set(range(256)) - set(byte.values())))
    ranks = {bytes(byte[letter] for letter in token): vocab[token] for token in tokens}
    # r50k_pat_str splits text into words as ByteLevel does
    return tiktoken.Encoding('bpe', pat_str=r50k_pat_str, mergeable_ranks=ranks, special_tokens={})


def is_byte_level(parts):
    """Returns whether the JSON of a tokenizer is that of a BPE of all bytes, in GPT-2's words, that
    neither changes a text nor looks for tokens in it before it is split into words.
    """
    words, decoder, model = (parts[key] or {} for key in ('pre_tokenizer', 'decoder', 'model'))
    others = ('dropout', 'ignore_merges', 'continuing_subword_prefix', 'end_of_word_suffix')
    return (words.get('type') == decoder.get('type') == 'ByteLevel' and model['type'] == 'BPE'
            and words['use_regex'] and not words['add_prefix_space']
            and parts['normalizer'] is None
            and all(token['special'] for token in parts['added_tokens'])
            and not any(model[key] for key in others)
            and model['vocab'].keys() >= {*ByteLevel.alphabet()})


def describe_loss(tok, text, back):
    """Returns a sentence on a document that comes back from its tokens as another text, `back`."""
    i = len(os.path.commonprefix([text, back]))  # where they part
    here, there = (ascii(t[max(0, i - 20):i + 20]).replace('  ', r' \x20') for t in (text, back))
    why = 'see its pre_tokenizer, decoder and unknown token'
    if tok.normalizer and tok.normalizer.normalize_str(text) != text:
        why = 'its normalizer changes the text'
    return (f'--tokenizer does not give a document back: {here} comes back as {there} ({why};'
            f' the document begins {text[:40]!r})')


def encoder(tok, encoding=None, num_proc=0, lossy=False):
    """Returns a function from a list of documents (UTF-8, bytes) to the list of their tokens
    (uint16 arrays): by `encoding`, a tiktoken.Encoding, in num_proc threads, or where it is None by
    tok, a tokenizers.Tokenizer. Fails on a document that does not come back from tok's tokens
    letter by letter, or where lossy is True prints which is the first.
    """
    first_loss = True

    def by_tokenizers(docs):
        nonlocal first_loss
        texts = [doc.decode() for doc in docs]
        try:
            encodings = tok.encode_batch_fast(texts, add_special_tokens=False)
        except Exception as e:  # the library raises Exception itself
            fail(f'--tokenizer cannot encode a document: {e}')
        ids = [encoding.ids for encoding in encodings]
        for text, back in zip(texts, tok.decode_batch(ids, skip_special_tokens=False)):
            if text != back and first_loss:
                first_loss, loss = False, describe_loss(tok, text, back)
                if not lossy:
                    fail(f'{loss}; XE and bits per byte would be those of another text'
                         ' (--lossy=True takes it all the same)')
                tqdm.write(f'{loss}: XE and bits per byte are those of another text')
        return [np.array(tokens, dtype='<u2') for tokens in ids]

    def by_tiktoken(docs):
        try:
            return pool.map(lambda doc: encoding.encode_to_numpy(
                doc.decode(), disallowed_special=()).astype('<u2'), docs)
        except ValueError as e:  # its pattern gives up on a hundred thousand spaces in a row
            return by_tokenizers(docs) if tok else fail(
                f'--tokenizer=gpt2 cannot encode a document ({e}): has it very many spaces?')

    if not encoding:
        return by_tokenizers
    cores = cpu_cores()
    pool = ThreadPool(min(num_proc or cores, cores))  # tiktoken works outside Python's lock
    return by_tiktoken


def decoder(name, path):
    """Returns a function from token ids to text, of a data set whose meta.json says that its
    tokenizer is `name` and whose tokenizer.json is at path. A synthetic process's symbols are
    numbers.
    """
    if name == 'none':
        return lambda ids: ' '.join(map(str, ids))
    if name == 'gpt2':
        return open_gpt2().decode
    try:
        tok = tokenizers.Tokenizer.from_file(path)
    except Exception as e:  # the library raises plain Exception
        fail(f'{path} cannot be loaded ({e}): prepare the data set again with --overwrite=True')
    return lambda ids: tok.decode(ids, skip_special_tokens=False)
