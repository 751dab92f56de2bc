"""prepare.py: every source and tokenizer gives the documents back byte for byte; nothing is left half done."""
import glob
import json
import os
import resource
import signal
import subprocess
import sys

import datasets
import filelock
import h5py
import hypothesis
import numpy as np
import pytest
import tiktoken
import tokenizers
from conftest import ROOT, run
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from prepare import encoder, tiktoken_of
from sample_mix import read_meta

NASTY = ['', ' ', '\r\n', 'a\r\nb\r\n', 'emoji 🙂🏽 👩‍👩‍👧', '$\\alpha_{i} \\to \\infty$', '<|endoftext|>', '[SEP] [PAD]', 'é\u0301 ﬁ 中文',
         '\t\x00\x7f', ' leading', 'trailing ', "don't we'll", '   many   spaces \n\n here', 'x' * 3000, '1234567890', '\u00a0\u2003\u3000']


def documents(dataset, component, split, decode):
    """The decoded documents of a prepared component, as bytes."""
    tokens = np.fromfile(f'data/{dataset}/{component}/{split}.bin', dtype='<u2')
    offsets = np.load(f'data/{dataset}/{component}/{split}.idx.npy')
    return [decode(tokens[a:b].tolist()).encode() for a, b in zip(offsets, offsets[1:])]


def everything(dataset):
    """The bytes of every file of a data set but its picture."""
    paths = sorted(p for p in glob.glob(f'data/{dataset}/**', recursive=True) if os.path.isfile(p) and not p.endswith('.png'))
    return {os.path.relpath(p, f'data/{dataset}'): open(p, 'rb').read() for p in paths}


def write_lines(path, rows):
    with open(path, 'w') as f:
        f.writelines(json.dumps({'text': text, 'label': label}) + '\n' for text, label in rows)


ROWS = [(f'{"xy"[i % 2]}{i} is the text of number {i}, ' * (3 + i % 7), 'xy'[i % 2]) for i in range(200)]


# ---- sources

def test_decoding_gives_the_documents_back_byte_for_byte(small):
    meta, tok = read_meta('small'), tokenizers.Tokenizer.from_file('data/small/tokenizer.json')
    kept = set()
    for theirs, ours in (('test', 'test'), ('validation', 'val'), ('train', 'train')):
        source = datasets.Dataset.from_parquet(f'corpus/{theirs}.parquet', cache_dir='cache')
        expected = {name: [] for name in meta['components']}
        for r in source:
            if not r['text'] or r['text'] not in kept:  # each text once, where it is met first
                kept.add(r['text'])
                expected[source.features['label'].int2str(r['label'])].append(r['text'].encode())
        for name, facts in meta['components'].items():
            assert documents('small', name, ours, lambda ids: tok.decode(ids, skip_special_tokens=False)) == expected[name]
            tokens = np.fromfile(f'data/small/{name}/{ours}.bin', dtype='<u2')
            offsets = np.load(f'data/small/{name}/{ours}.idx.npy')
            assert offsets.dtype == np.int64 and len(offsets) == len(expected[name]) + 1 == facts[ours]['docs'] + 1
            assert offsets[-1] == len(tokens) == facts[ours]['tokens']
            assert facts[ours]['bytes'] == sum(map(len, expected[name]))
            assert meta['bos_id'] not in tokens  # text that spells <|endoftext|> is text
    assert meta['vocab_size'] == tok.get_vocab_size() == 300 and meta['cut_from_train'] == []


def test_every_format_of_the_same_documents_gives_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_lines('lines.jsonl', ROWS)
    data = datasets.Dataset.from_list([{'text': text, 'label': label} for text, label in ROWS])
    data.to_parquet('some.parquet')
    data.to_csv('some.csv')
    os.makedirs('folder')
    data.to_parquet('folder/train-00000-of-00001.parquet')
    for source in ('lines.jsonl', 'some.parquet', 'some.csv', 'folder'):
        run('prepare.py', f'--dataset={source}', f'--source={source}', '--vocab_size=300')
        files, first = everything(source), everything('lines.jsonl')
        assert len(files) == 14 and all(files[name] == first[name] for name in files if name != 'meta.json')  # 12 of tokens
    meta = read_meta('some.csv')
    assert meta['cut_from_train'] == ['test', 'val']
    assert sum(facts[split]['docs'] for facts in meta['components'].values() for split in facts) == 200
    assert all(facts['val']['docs'] and facts['test']['docs'] for facts in meta['components'].values())


@pytest.mark.parametrize('kind', ['lines.jsonl', 'folder'])
def test_a_changed_source_is_read_anew(tmp_path, monkeypatch, kind):
    """datasets' cache was seen to serve the old copy of a local folder whose files had changed."""
    monkeypatch.chdir(tmp_path)
    os.makedirs('folder')
    for dataset, rows in (('before', ROWS), ('after', ROWS[:-40])):
        write_lines('lines.jsonl' if kind == 'lines.jsonl' else 'folder/train.jsonl', rows)
        run('prepare.py', f'--dataset={dataset}', f'--source={kind}', '--vocab_size=300')
        found = read_meta(dataset)['components'].values()
        assert sum(facts[split]['docs'] for facts in found for split in facts) == len(rows)


@pytest.fixture
def texts(tmp_path, monkeypatch):
    """A folder of .txt files, texts/<component>/*.txt; returns {component: their bytes in the order of their names}."""
    monkeypatch.chdir(tmp_path)
    found = {}
    for name in ('p', 'q'):
        docs = [f'{name} {i} and so on '.encode() * (1 + i % 9) for i in range(120)] + [f'{name}{text}'.encode() for text in NASTY]
        if name == 'p':
            docs += [b'', b'not \xff UTF-8 \xe9t\xe9', b'word ' * 200_000]  # an empty one, a broken one, one of a megabyte
        os.makedirs(f'texts/{name}')
        for i, doc in enumerate(docs):
            with open(f'texts/{name}/{i:04}.txt', 'wb') as f:
                f.write(doc)
        found[name] = docs
    return found


def test_text_files_come_back_byte_for_byte(texts):
    run('prepare.py', '--dataset=t', '--source=texts', '--vocab_size=300')
    tok = tokenizers.Tokenizer.from_file('data/t/tokenizer.json')
    for name, docs in texts.items():
        got = [doc for split in ('train', 'val', 'test') for doc in documents('t', name, split, tok.decode)]
        assert sorted(got) == sorted(doc.decode(errors='replace').encode() for doc in docs)


def test_text_files_in_folders_of_splits(texts):
    for split, few in (('train', '*'), ('validation', '*1'), ('test', '*2')):
        for path in glob.glob(f'texts/[pq]/{few}.txt'):
            target = path.replace('texts/', f'split/{split}/')
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(path, 'rb') as f, open(target, 'wb') as g:
                g.write(f.read())
    run('prepare.py', '--dataset=t', '--source=split', '--vocab_size=300')
    meta = read_meta('t')
    assert meta['cut_from_train'] == [] and meta['components']['q']['test']['docs'] == len(glob.glob('texts/q/*2.txt'))
    held_out = len(glob.glob('texts/q/*[12].txt'))  # they are in train too, and dropped there
    assert meta['components']['q']['train']['docs'] == len(texts['q']) - held_out
    assert meta['components']['q']['train']['duplicates'] == held_out


def test_a_text_is_kept_once_and_not_in_train(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    os.makedirs('twice')
    held = [('the test has it', 'x'), ('y in the test', 'y')], [('the validation has it', 'x'), ('y in validation', 'y')]
    for split, rows in zip(('test', 'validation', 'train'), (*held, [*ROWS, *held[0], *held[1], ROWS[0], (ROWS[1][0], 'x')])):
        write_lines(f'twice/{split}.jsonl', rows)
    run('prepare.py', '--dataset=twice', '--source=twice', '--vocab_size=300')
    found = read_meta('twice')['components']
    assert {name: [of[split]['docs'] for split in ('train', 'val', 'test')] for name, of in found.items()} == {
        'x': [100, 1, 1], 'y': [100, 1, 1]}
    assert (found['x']['train']['duplicates'], found['y']['train']['duplicates']) == (4, 2)
    table = capsys.readouterr().out
    run('sample_mix.py', '--dataset=twice', '--candidates=', '--block_size=16', '--num_samples=0')
    rows = [line for line in table.splitlines() if ' train ' in line]
    assert len(rows) == 2 and all(row in capsys.readouterr().out for row in rows[:1])  # the same table later


def test_hdf5_is_written_and_read_back(small):
    T = 16
    run('prepare.py', '--dataset=h', '--source=corpus', '--vocab_size=300', '--hdf5=True', f'--block_size={T}')
    files = {split: f'data/h/custom_tokenized_data_chunked_len{T}_{split}.hdf5' for split in ('train', 'val', 'test')}
    meta, windows = read_meta('h'), {}
    for split, path in files.items():
        with h5py.File(path) as f:
            chunks, category, doc = f['token_chunks'][:], f['category_for_chunk'].asstr()[:], f['doc_idx_for_chunk'][:]
            assert chunks.dtype == np.int32 and chunks.shape == (len(category), T) == (len(doc), T)
            counts = {name: int((category == name).sum()) for name in meta['components']}
            assert f.attrs['chunk_size'] == T and list(f.attrs['selected_categories_in_file']) == list(meta['components'])
            assert f.attrs['reference_chunk_budget_smallest_top_category'] == min(counts.values())
        for name in meta['components']:
            tokens, offsets = np.fromfile(f'data/h/{name}/{split}.bin', dtype='<u2'), np.load(f'data/h/{name}/{split}.idx.npy')
            docs = [tokens[a:b][:(b - a) // T * T] for a, b in zip(offsets, offsets[1:])]
            assert np.array_equal(chunks[category == name].ravel(), np.concatenate(docs))
            windows[name, split] = [d for d in docs if len(d)]
            assert len(np.unique(doc[category == name])) == len(windows[name, split])
    for args, vocab in (([], None), (['--tokenizer=data/h/tokenizer.json'], 300)):
        run('prepare.py', '--dataset=back', '--source=data/h', '--overwrite=True', *args)
        back = read_meta('back')
        assert back['cut_from_train'] == [] and back['vocab_size'] == (vocab or back['bos_id'] + 1)
        for (name, split), docs in windows.items():
            once = {d.tobytes() for d in docs}
            got = np.fromfile(f'data/back/{name}/{split}.bin', dtype='<u2')
            assert got.max() < back['bos_id'] or vocab
            assert back['components'][name][split]['docs'] + back['components'][name][split]['duplicates'] == len(docs)
            if len(once) == len(docs):
                assert np.array_equal(got, np.concatenate(docs))
    run('prepare.py', '--dataset=one', f'--source={files["train"]}')  # one file: validation and test are cut from it
    assert read_meta('one')['cut_from_train'] == ['test', 'val']


# ---- tokenizers

def trained(texts, prefix=False, special=('[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'), size=600):
    """A byte-level BPE as others train it: special tokens in front, a post-processor, truncation."""
    tok = tokenizers.Tokenizer(models.BPE(unk_token='[UNK]'))
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=size, special_tokens=list(special), show_progress=False,
                                                       initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tok.post_processor = tokenizers.processors.TemplateProcessing(single='[CLS] $A [SEP]', special_tokens=[
        ('[CLS]', tok.token_to_id('[CLS]')), ('[SEP]', tok.token_to_id('[SEP]'))])
    tok.enable_truncation(8)
    return tok


@pytest.mark.parametrize('prefix', [False, True])
def test_a_tokenizer_of_ones_own(texts, prefix):
    trained([doc.decode(errors='replace') for docs in texts.values() for doc in docs], prefix).save('own.json')
    run('prepare.py', '--dataset=t', '--source=texts', '--tokenizer=own.json')
    meta, tok = read_meta('t'), tokenizers.Tokenizer.from_file('data/t/tokenizer.json')
    assert (meta['vocab_size'], meta['bos_id']) == (tok.get_vocab_size(), tok.token_to_id('[SEP]'))
    for name, docs in texts.items():
        got = [doc for split in ('train', 'val', 'test') for doc in documents('t', name, split, tok.decode)]
        docs = [doc.decode(errors='replace').encode() for doc in docs]
        assert sorted(got) == sorted(b' ' * (prefix and doc[:1] not in (b'', b' ')) + doc for doc in docs)


WORDS = ['the cat sat on the mat, and then that cat sat there again'] * 9 + NASTY + ['aaa aaaa abab banana bananas 111 1111 ... !!!']


@pytest.fixture(scope='module', params=[False, True])
def both_ways(request):
    """(by way of tiktoken, tokenizers alone): two functions from a text to a list of ids."""
    tok = trained(WORDS, request.param)
    tok.no_truncation()
    tok.encode_special_tokens = True
    assert tiktoken_of(tok)
    encode = encoder(tok, 2)
    return (lambda text: encode([text.encode()])[0].tolist()), (lambda text: tok.encode(text, add_special_tokens=False).ids)


@hypothesis.settings(max_examples=400, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(text=st.one_of(st.text(), st.text(alphabet='abn 1.!\n\'\u00a0tsle🙂é', max_size=60),
                                 st.lists(st.sampled_from(NASTY + WORDS)).map(''.join)))
def test_tiktoken_gives_the_ids_of_tokenizers(both_ways, text):
    ours, theirs = both_ways
    assert ours(text) == theirs(text)


def test_a_million_spaces_and_other_long_documents(both_ways):
    ours, theirs = both_ways
    for text in (' ' * 10**6, 'a' * 10**6, ' \n' * 10**5 + 'x'):
        assert ours(text) == theirs(text)


def test_no_tiktoken_where_its_ids_would_differ():
    """With the merges b c, a b, ab c the word abc is a|bc for tokenizers; tiktoken would join a and bc."""
    def bpe(merges, **args):
        tok = trained([], size=0)
        vocab = tok.get_vocab() | {left + right: 300 + i for i, (left, right) in enumerate(merges)}
        other = tokenizers.Tokenizer(models.BPE(vocab, merges, **args))
        other.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        return other
    tok = bpe([('b', 'c'), ('a', 'b'), ('ab', 'c')])
    assert tok.encode('abc').tokens == ['a', 'bc'] and tiktoken_of(tok) is None
    assert encoder(tok, 1)([b'abc'])[0].tolist() == tok.encode('abc').ids
    fine = bpe([('a', 'b'), ('ab', 'c')])
    assert tiktoken_of(fine) is not None
    assert tiktoken_of(bpe([('a', 'b')], ignore_merges=True)) is None and tiktoken_of(bpe([('a', 'b')], dropout=0.1)) is None
    assert tiktoken_of(bpe([('ab', 'c'), ('a', 'b')])) is None  # made before its part
    fine.normalizer = normalizers.Lowercase()
    assert tiktoken_of(fine) is None
    fine.normalizer = None
    fine.add_tokens(['token'])  # cut out of the text, special or not
    assert tiktoken_of(fine) is None


def test_gpt2_is_tiktokens(tmp_path, monkeypatch):
    """Its merges come from the network: here another encoding stands in for them."""
    monkeypatch.chdir(tmp_path)
    ranks = {bytes([b]): b for b in range(256)} | {b'th': 256, b'the': 257}
    fake = tiktoken.Encoding('gpt2', pat_str=r'\w+|\W', mergeable_ranks=ranks, special_tokens={'<|endoftext|>': 258})
    monkeypatch.setattr(tiktoken, 'get_encoding', {'gpt2': fake}.get)
    write_lines('lines.jsonl', ROWS)
    run('prepare.py', '--dataset=g', '--source=lines.jsonl', '--tokenizer=gpt2')
    meta = read_meta('g')
    assert (meta['vocab_size'], meta['bos_id'], meta['tokenizer']) == (259, 258, 'gpt2')
    got = [doc for name in 'xy' for split in ('train', 'val', 'test') for doc in documents('g', name, split, fake.decode)]
    assert sorted(got) == sorted(text.encode() for text, _ in ROWS)


# ---- interrupted, twice at once, on a full disk

@pytest.mark.parametrize('where', ['prepare.gather', 'np.save', 'os.rename'])
def test_killed_it_leaves_nothing_that_looks_finished(small, where):
    """SIGKILL after the documents are gathered, at the fifth file, and between the two renames that replace a data set."""
    args = ['--dataset=killed', '--source=corpus', '--vocab_size=300', '--overwrite=True']
    run('prepare.py', *args)
    before = everything('killed')
    patch = {'prepare.gather': 'datasets.logging.set_verbosity = die(1)', 'np.save': 'numpy.save = die(5)',
             'os.rename': 'os.rename = die(2)'}[where]
    code = f'''
import datasets, numpy, os, runpy, signal, sys
def die(n, calls=[]):
    real = {{'prepare.gather': datasets.logging.set_verbosity, 'np.save': numpy.save, 'os.rename': os.rename}}[{where!r}]
    def fake(*a, **k):
        calls.append(1)
        if len(calls) == n:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*a, **k)
    return fake
{patch}
sys.argv = ['prepare.py', *{args!r}]
sys.path.insert(0, {ROOT!r})
runpy.run_path({os.path.join(ROOT, 'prepare.py')!r}, run_name='__main__')'''
    assert subprocess.run([sys.executable, '-c', code], capture_output=True).returncode == -signal.SIGKILL
    if os.path.exists('data/killed'):
        assert where != 'os.rename' and everything('killed') == before  # the old one, untouched
    assert os.path.isdir('data/.killed.part')
    run('prepare.py', *args)
    assert everything('killed') == before and not glob.glob('data/.killed*')


def test_two_at_once_into_the_same_folder(small, fails):
    with filelock.FileLock('data/.busy.lock'):
        assert 'another prepare.py is writing data/busy' in fails('prepare.py', '--dataset=busy', '--source=corpus', '--vocab_size=300')
    assert not os.path.exists('data/busy')


def test_a_full_disk_ends_in_one_line(small, fails):
    before, limit = sorted(glob.glob('data/*')), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limit[1]))  # a write that goes on past it fails, as on a full disk
    try:
        said = fails('prepare.py', '--dataset=full', '--source=corpus', '--vocab_size=300')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert 'cannot be written (File too large): nothing was kept' in said
    assert sorted(glob.glob('data/*')) == before and not glob.glob('data/.full*')


# ---- mistakes

@pytest.mark.parametrize('args, says', [
    (['--text_column=body'], "has no column 'body'; it has text, label"),
    (['--label_column=field'], "has no column 'field'; it has text, label"),
    (['--labels=a,zz'], 'component zz has no text in train, val, test; leave it out: --labels=a'),
    (['--vocab_size=70000'], '257 to 65,535'),
    (['--vocab_size=60000'], 'fewer than --vocab_size=60000'),
    (['--tokenizer=missing.json'], 'write bpe, gpt2 or the path of a tokenizer.json'),
    (['--tokenizer=corpus/train.parquet'], 'is not a tokenizer.json'),
    (['--source=corpus/none'], 'cannot be loaded'),  # as a hub that cannot be reached
    (['--source=corpus/none'], 'a local folder or file of parquet, json lines, csv or .txt works too'),
    (['--dataset=small'], 'data/small is there already'),
    (['--num_proc=-1'], '--num_proc at least 0'),
])
def test_a_mistake_in_preparing_writes_nothing(small, fails, args, says):
    before = sorted(glob.glob('data/*') + glob.glob('data/.*'))
    assert says in fails('prepare.py', *(['--dataset=bad', '--source=corpus', '--vocab_size=300'] + args))
    assert sorted(glob.glob('data/*') + glob.glob('data/.*')) == before


@pytest.mark.parametrize('name, content, says', [
    ('broken.parquet', b'not at all', 'broken.parquet cannot be loaded'),
    ('broken.jsonl', b'not at all', 'broken.jsonl cannot be loaded'),
    ('broken.hdf5', b'not at all', 'broken.hdf5 is not an HDF5 file of token_chunks'),
    ('latin.csv', b'text,label\n\xe9t\xe9,x\n', 'latin.csv cannot be loaded'),
    ('some.doc', b'word', "the ending '.doc' is none of .parquet, .json, .jsonl, .csv"),
    ('none.csv', b'text,label\nword,x\nword again,\n', "document 2 of train has no label: label=None"),
    ('empty.csv', b'text,label\n', 'empty.csv has no rows'),
])
def test_a_file_that_is_not_what_its_ending_says(tmp_path, monkeypatch, fails, name, content, says):
    monkeypatch.chdir(tmp_path)
    with open(name, 'wb') as f:
        f.write(content)
    assert says in fails('prepare.py', '--dataset=bad', f'--source={name}', '--vocab_size=300')
    assert not os.path.exists('data')


@pytest.mark.parametrize('label, says', [(7, 'document 3 of train has the label 7; there are 0 .. 1'), (-1, 'document 3 of train has no label'),
                                         (None, 'document 3 of train has no label')])
def test_a_label_out_of_range(tmp_path, monkeypatch, fails, label, says):
    monkeypatch.chdir(tmp_path)
    features = datasets.Features({'text': datasets.Value('string'), 'label': datasets.ClassLabel(names=['x', 'y'])})
    table = datasets.Dataset.from_dict({'text': ['a', 'b', 'c'], 'label': [0, 1, 1]}, features=features).data.table
    import pyarrow as pa
    import pyarrow.parquet as pq
    table = table.set_column(1, table.schema.field('label'), pa.array([0, 1, label], pa.int64())).replace_schema_metadata(table.schema.metadata)
    pq.write_table(table, 'some.parquet')
    assert says in fails('prepare.py', '--dataset=bad', '--source=some.parquet', '--vocab_size=300')


def test_an_empty_component_is_named(tmp_path, monkeypatch, fails):
    monkeypatch.chdir(tmp_path)
    write_lines('few.jsonl', [(f'some text {i}', 'many' if i else 'one') for i in range(200)])
    said = fails('prepare.py', '--dataset=bad', '--source=few.jsonl', '--vocab_size=260')
    assert 'component one has no text in' in said and 'leave it out: --labels=many' in said


def test_a_tokenizer_that_maps_text_to_unknown(tmp_path, monkeypatch, fails):
    monkeypatch.chdir(tmp_path)
    write_lines('lines.jsonl', ROWS)
    tok = tokenizers.Tokenizer(models.WordLevel({'[UNK]': 0, '</s>': 1, 'text': 2, 'x0': 3}, unk_token='[UNK]'))
    tok.pre_tokenizer = pre_tokenizers.Whitespace()
    tok.save('words.json')
    assert "to its unknown token '[UNK]'" in fails('prepare.py', '--dataset=bad', '--source=lines.jsonl', '--tokenizer=words.json')


@pytest.mark.parametrize('words', [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel()])
def test_a_tokenizer_that_drops_what_it_does_not_know(tmp_path, monkeypatch, fails, words):
    monkeypatch.chdir(tmp_path)
    write_lines('lines.jsonl', ROWS)
    vocab = {letter: i for i, letter in enumerate(['</s>', *'etx'])}
    tok = tokenizers.Tokenizer(models.BPE(vocab, []))
    tok.pre_tokenizer = words
    assert len(tok.encode('text 7').ids) == len('text')  # the library says nothing of the 7
    tok.save('letters.json')
    assert 'give its model an unk_token' in fails('prepare.py', '--dataset=bad', '--source=lines.jsonl', '--tokenizer=letters.json')


def test_a_text_file_that_cannot_be_read(texts, fails):
    os.remove('texts/p/0003.txt')
    os.mkdir('texts/p/0003.txt')
    said = fails('prepare.py', '--dataset=bad', '--source=texts', '--vocab_size=300')
    assert 'cannot be loaded' in said and 'texts/p/0003.txt' in said


@pytest.mark.parametrize('vocab, says', [({'a': 0, '</s>': 65535}, 'has 65536 tokens; uint16 holds'), ({'a': 0}, 'has no end-of-text token')])
def test_a_tokenizer_that_will_not_do(tmp_path, monkeypatch, fails, vocab, says):
    monkeypatch.chdir(tmp_path)
    write_lines('lines.jsonl', ROWS)
    tokenizers.Tokenizer(models.WordLevel(vocab, unk_token='a')).save('own.json')
    assert says in fails('prepare.py', '--dataset=bad', '--source=lines.jsonl', '--tokenizer=own.json')
