"""A tokenizer gives every document back letter by letter, or says that it does not."""
import json
import os

import hypothesis
import pytest
import tiktoken
import tokenizers
from conftest import run
from hypothesis import strategies as st
from test_prepare import NASTY, ROWS, documents, everything, write_lines
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers.trainers import BpeTrainer, UnigramTrainer, WordLevelTrainer, WordPieceTrainer

from sample_mix import read_meta
from tokenizer import encoder, read_tokenizer, to_tiktoken, train_bpe

SPECIAL = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']
WORDS = ['the cat sat on the mat, and then that cat sat there again'] * 9 + NASTY + [
    'aaa aaaa abab banana bananas 111 1111 ... !!!']
PLAIN = 'that  banana sat, 111'  # of the letters that all of these are trained on

def trained(model, trainer, vocab_size=400, pre_tokenizer=None, decoder=None, normalizer=None,
            **options):
    """A tokenizer as others train it."""
    tok = tokenizers.Tokenizer(model)
    parts = {'pre_tokenizer': pre_tokenizer, 'decoder': decoder, 'normalizer': normalizer}
    for name in [name for name in parts if parts[name]]:
        setattr(tok, name, parts[name])
    tok.train_from_iterator(WORDS[:9] + WORDS[-1:], trainer(
        vocab_size=vocab_size, special_tokens=SPECIAL, show_progress=False, **options))
    return tok

def byte_level(prefix=False, decoder=decoders.ByteLevel, normalizer=None, added=(), dropout=None):
    """A byte-level BPE."""
    tok = trained(models.BPE(dropout=dropout), BpeTrainer, 400,
                  pre_tokenizers.ByteLevel(add_prefix_space=prefix), decoder and decoder(),
                  normalizer, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tok.add_tokens(list(added))
    return tok

def with_all_set():
    """A byte-level BPE with a post-processor, truncation and padding, which change no token."""
    tok = byte_level()
    tok.post_processor = processors.TemplateProcessing(
        single='[CLS] $A [SEP]', special_tokens=[('[CLS]', 2), ('[SEP]', 3)])
    tok.enable_truncation(8)
    tok.enable_padding(length=50)
    return tok

def unigram(scheme):
    return trained(models.Unigram(), UnigramTrainer, 200, pre_tokenizers.Metaspace(
        prepend_scheme=scheme), decoders.Metaspace(prepend_scheme=scheme), unk_token='[UNK]')

def byte_fallback(decoder=decoders.ByteFallback):
    """As Llama 2's: a space before the text, bytes for letters that the vocabulary lacks."""
    tokens = ['[UNK]', '[SEP]', *(f'<0x{byte:02X}>' for byte in range(256)), '▁', 't', 'h', 'th']
    vocab = {token: i for i, token in enumerate(tokens)}
    tok = tokenizers.Tokenizer(models.BPE(vocab, [('t', 'h')], unk_token='[UNK]', fuse_unk=True,
                                          byte_fallback=True))
    tok.normalizer = normalizers.Sequence([normalizers.Prepend('▁'), normalizers.Replace(' ', '▁')])
    tok.decoder = decoders.Sequence([decoders.Replace('▁', ' '), decoder(), decoders.Fuse(),
                                     decoders.Strip(' ', 1, 0)])
    return tok

def words(model, trainer, decoder=None):
    return trained(model(unk_token='[UNK]'), trainer, 200, pre_tokenizers.WhitespaceSplit(),
                   decoder)

# what gives every text back: how it is made, and the texts
EXACT = {
    'byte-level BPE': (byte_level, NASTY),
    'post-processor, truncation, padding': (with_all_set, NASTY),
    'an added token that is not special': (
        lambda: byte_level(added=[AddedToken('<tool>'), AddedToken('  ', normalized=False)]),
        [*NASTY, 'a <tool>b', '<tool><tool>  ']),
    'Unigram and Metaspace, no space before': (lambda: unigram('never'), [PLAIN, '  cat ']),
    'Unigram and Metaspace': (lambda: unigram('always'), [PLAIN]),
    'byte fallback': (byte_fallback, NASTY),
    'words and one space': (lambda: words(models.WordLevel, WordLevelTrainer), ['the cat sat on']),
}
# what does not: how it is made, the first text that differs, and what the message has of it
LOSSY = {
    'Lowercase': (lambda: byte_level(normalizer=normalizers.Lowercase()), 'the Cat',
                  "'the Cat' comes back as 'the cat' (it begins 'the Cat'"),
    'NFKC': (lambda: byte_level(normalizer=normalizers.NFKC()), 'a ﬁ',
             r"'a \ufb01' comes back as 'a fi'"),
    'NFC': (lambda: byte_level(normalizer=normalizers.NFC()), 'e\u0301',
            r"'e\u0301' comes back as '\xe9'"),
    'Strip': (lambda: byte_level(normalizer=normalizers.Strip()), 'end ', "'end '"),
    'BertNormalizer': (lambda: byte_level(normalizer=normalizers.BertNormalizer()), 'a\tb', 'a b'),
    'white space is dropped': (
        lambda: trained(models.BPE(unk_token='[UNK]'), BpeTrainer, 400,
                        pre_tokenizers.Whitespace()), 'cat  mat',
        "'cat  mat' comes back as 'cat mat'"),
    'no decoder': (lambda: byte_level(decoder=None), 'the cat',
                   r"comes back as 'the \u0120cat' (it begins"),
    'a space before': (lambda: byte_level(prefix=True), 'the cat',
                       "'the cat' comes back as ' the cat' (it begins"),
    'Metaspace': (lambda: unigram('always'), ' cat', "' cat' comes back as 'cat' (it begins"),
    'WordPiece': (lambda: words(models.WordPiece, WordPieceTrainer, decoders.WordPiece()),
                  'mat , cat', "'mat , cat' comes back as 'mat, cat'"),
    'an unknown letter': (lambda: unigram('never'), 'the Ж',
                          "comes back as 'the [UNK]' (it begins"),
    'an unknown word': (lambda: words(models.WordLevel, WordLevelTrainer), 'the dog',
                        "comes back as 'the [UNK]' (it begins"),
    'a letter is left out': (lambda: trained(models.BPE(), BpeTrainer, decoder=decoders.Fuse()),
                             'the Ж', r"'the \u0416' comes back as 'the '"),
    'byte fallback, no decoder of bytes': (lambda: byte_fallback(decoders.Fuse), 'cat', '<0x63>'),
    'an added token takes the spaces': (
        lambda: byte_level(added=[AddedToken('<tool>', lstrip=True, rstrip=True)]), 'a <tool> b',
        "'a <tool> b' comes back as 'a<tool>b'"),
}

@pytest.mark.parametrize('kind', EXACT)
def test_what_gives_the_text_back_is_taken(tmp_path, kind):
    make, texts = EXACT[kind]
    make().save(str(tmp_path / 'own.json'))
    tok, n_vocab, bos_id = read_tokenizer(str(tmp_path / 'own.json'))
    assert (n_vocab, bos_id) == (tok.get_vocab_size(), tok.token_to_id('[SEP]'))
    for text, tokens in zip(texts, encoder(tok)([text.encode() for text in texts]), strict=True):
        assert tok.decode(tokens.tolist(), skip_special_tokens=False) == text
        assert bos_id not in tokens  # text that spells [SEP] is text

@pytest.mark.parametrize('kind', LOSSY)
def test_what_does_not_is_refused(tmp_path, capsys, kind):
    make, text, says = LOSSY[kind]
    make().save(str(tmp_path / 'own.json'))
    tok, *_ = read_tokenizer(str(tmp_path / 'own.json'))
    with pytest.raises(SystemExit):
        encoder(tok)([text.encode()])
    err = capsys.readouterr().err
    assert '--tokenizer does not give a document back: ' in err and says in err
    assert "(it begins '" in err and '--lossy=True' in err
    assert err.count('\n') == 1
    encode = encoder(tok, lossy=True)
    assert encode([text.encode()])[0].tolist() == tok.encode(text, add_special_tokens=False).ids
    assert not any(capsys.readouterr())

@pytest.mark.parametrize('make, says', [
    (lambda: models.WordLevel({'the': 0, '</s>': 1}), 'Missing [UNK] token'),
    (lambda: models.WordPiece({'the': 0, '</s>': 1}), 'Missing [UNK] token'),
    (lambda: models.Unigram([('t', -1.0), ('</s>', 0.0)]), '`unk_id` is missing'),
])
def test_a_model_without_its_unknown_token(tmp_path, monkeypatch, fails, make, says):
    monkeypatch.chdir(tmp_path)
    write_lines('lines.jsonl', ROWS)
    tokenizers.Tokenizer(make()).save('own.json')
    for lossy in (False, True):
        said = fails('prepare.py', '--dataset=bad', '--source=lines.jsonl', '--tokenizer=own.json',
                     f'--lossy={lossy}')
        assert '--tokenizer cannot encode a document' in said and says in said
    assert not os.path.exists('data')

def test_a_lossy_tokenizer_and_its_data_set(tmp_path, monkeypatch, fails):
    monkeypatch.chdir(tmp_path)
    rows = [(f'{i} {text}' + ' And So' * (i == 150), label) for i, (text, label) in enumerate(ROWS)]
    write_lines('lines.jsonl', rows)
    byte_level(normalizer=normalizers.Lowercase()).save('own.json')
    args = ['--dataset=t', '--source=lines.jsonl', '--tokenizer=own.json']
    assert "And So' comes back as" in fails('prepare.py', *args)
    assert not os.path.exists('data')
    run('prepare.py', *args, '--lossy=True')
    meta, tok = read_meta('t'), tokenizers.Tokenizer.from_file('data/t/tokenizer.json')
    got = [doc for name in 'xy' for split in ('train', 'val', 'test')
           for doc in documents('t', name, split, tok.decode)]
    assert sorted(got) == sorted(text.lower().encode() for text, _ in rows)
    assert meta['lossy'] and sum(facts['bytes'] for splits in meta['components'].values()
                                 for facts in splits.values()) == sum(map(len, got))

def test_dropout_is_off(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_lines('lines.jsonl', ROWS)
    tok = byte_level(dropout=0.5)
    assert len({tuple(tok.encode(WORDS[0]).ids) for _ in range(20)}) > 1
    tok.save('own.json')
    for dataset in ('a', 'b'):
        run('prepare.py', f'--dataset={dataset}', '--source=lines.jsonl', '--tokenizer=own.json')
    a, b = everything('a'), everything('b')
    assert len(a) == 14 and all(a[name] == b[name] for name in a if name != 'meta.json')
    assert json.loads(a['tokenizer.json'])['model']['dropout'] is None

@pytest.mark.parametrize('vocab, says', [
    ({'a': 0, '</s>': 65535}, 'has 65536 tokens; uint16 holds'),
    ({'a': 0}, 'has no end-of-text token'), ({}, 'has no end-of-text token')])
def test_a_tokenizer_that_will_not_do(tmp_path, capsys, vocab, says):
    tokenizers.Tokenizer(models.WordLevel(vocab, unk_token='a')).save(str(tmp_path / 'own.json'))
    with pytest.raises(SystemExit):
        read_tokenizer(str(tmp_path / 'own.json'))
    assert says in capsys.readouterr().err

# ---- the BPE that prepare.py trains, and GPT-2's

def as_read(tok, folder):
    """A tokenizer as prepare.py reads it from a file."""
    tok.save(str(folder / 'own.json'))
    return read_tokenizer(str(folder / 'own.json'))[0]

@pytest.fixture(scope='module', params=['ours', "another's"])
def both_ways(request, tmp_path_factory):
    """The ids of a text by tiktoken and by tokenizers alone: two functions."""
    tok = train_bpe(WORDS, 400)
    if request.param != 'ours':
        tok = as_read(with_all_set(), tmp_path_factory.mktemp('own'))
    encode = encoder(tok, to_tiktoken(tok), 2)
    return (lambda text: encode([text.encode()])[0].tolist(),
            lambda text: tok.encode(text, add_special_tokens=False).ids)

@hypothesis.settings(max_examples=400, deadline=None,
                     suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(text=st.one_of(
    st.text(), st.text(alphabet='abn 1.!\n\'\u00a0tsle🙂é', max_size=60),
    st.lists(st.sampled_from(NASTY + WORDS)).map(''.join)))
def test_tiktoken_gives_the_ids_of_tokenizers(both_ways, text):
    by_tiktoken, by_tokenizers = both_ways
    assert by_tiktoken(text) == by_tokenizers(text)

def of_merges(merges, **options):
    """A byte-level BPE of these merges, 'a b' say, their ids in the order given."""
    merges = [tuple(merge.split()) for merge in merges]
    tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *dict.fromkeys(map(''.join, merges))]
    vocab = {token: i for i, token in enumerate(dict.fromkeys(tokens))} | {'</s>': 1000}
    tok = tokenizers.Tokenizer(models.BPE(vocab, merges, **options))
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens(['</s>'])
    return tok

def with_ids_turned_round():
    """The merges 'a b', 'c d' and 'b c', of which the first has the highest id."""
    tok = json.loads(of_merges(['a b', 'c d', 'b c']).to_str())
    vocab = tok['model']['vocab']
    vocab['ab'], vocab['bc'] = vocab['bc'], vocab['ab']
    return tokenizers.Tokenizer.from_str(json.dumps(tok))

# a byte-level BPE to which tiktoken would give, or might give, other ids
UNUSUAL = {
    'a token of two merges': lambda: of_merges(['a b', 'b c', 'ab c', 'a bc']),
    'a token that no text becomes': lambda: of_merges(['a b', 'b c', 'a bc']),
    'a merge before its parts': lambda: of_merges(['ab c', 'a b']),
    'ids in another order than merges': with_ids_turned_round,
    'whole words first': lambda: of_merges(['a b'], ignore_merges=True),
    'an end of words': lambda: of_merges(['a b'], end_of_word_suffix='c'),
    'a normalizer': lambda: byte_level(normalizer=normalizers.NFC()),
    'a space before': lambda: byte_level(prefix=True),
    'no decoder': lambda: byte_level(decoder=None),
    'an added token': lambda: byte_level(added=[AddedToken('<tool>')]),
    'no byte level': byte_fallback,
    'no BPE': lambda: unigram('never'),
}

@pytest.mark.parametrize('kind', UNUSUAL)
def test_an_unusual_tokenizer_is_not_given_to_tiktoken(kind):
    assert to_tiktoken(UNUSUAL[kind]()) is None

def test_a_tokenizer_json_gives_the_same_bytes_either_way(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [(f'{i} {NASTY[i % len(NASTY)]}{text}', label) for i, (text, label) in enumerate(ROWS)]
    write_lines('lines.jsonl', rows)
    tok = with_all_set()
    assert to_tiktoken(tok)
    tok.save('tiktoken.json')
    tok.add_tokens([AddedToken('no such words are there')])  # so that it goes the other way
    tok.save('tokenizers.json')
    for name in ('tiktoken', 'tokenizers'):
        run('prepare.py', f'--dataset={name}', '--source=lines.jsonl', f'--tokenizer={name}.json')
    a, b = everything('tiktoken'), everything('tokenizers')
    assert len(a) == 14
    assert all(a[name] == b[name] for name in a if name.endswith(('.bin', '.npy')))

def test_a_million_spaces_and_other_long_documents(both_ways):
    by_tiktoken, by_tokenizers = both_ways
    for text in (' ' * 10**6, 'a' * 10**6, ' \n' * 10**5 + 'x'):
        assert by_tiktoken(text) == by_tokenizers(text)

def test_gpt2_is_tiktokens(tmp_path, monkeypatch):
    """Its merges come from the network: here another encoding stands in for them."""
    monkeypatch.chdir(tmp_path)
    ranks = {bytes([b]): b for b in range(256)} | {b'th': 256, b'the': 257}
    fake = tiktoken.Encoding('gpt2', pat_str=r'\w+|\W', mergeable_ranks=ranks,
                             special_tokens={'<|endoftext|>': 258})
    monkeypatch.setattr(tiktoken, 'get_encoding', {'gpt2': fake}.get)
    write_lines('lines.jsonl', ROWS)
    run('prepare.py', '--dataset=g', '--source=lines.jsonl', '--tokenizer=gpt2')
    meta = read_meta('g')
    assert (meta['vocab_size'], meta['bos_id'], meta['tokenizer']) == (259, 258, 'gpt2')
    got = [doc for name in 'xy' for split in ('train', 'val', 'test')
           for doc in documents('g', name, split, fake.decode)]
    assert sorted(got) == sorted(text.encode() for text, _ in ROWS)
