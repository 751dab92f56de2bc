"""prepare.py gives every document back byte for byte, and leaves nothing half done."""
import contextlib
import glob
import json
import os
import re
import resource
import signal
import subprocess
import sys

import datasets
import h5py
import hypothesis
import numpy as np
import pytest
import tokenizers
from conftest import ROOT, run
from hypothesis import strategies as st

from checkpoint import name_components, run_name
from configurator import is_sealed, join_names, lock, split_names
from prepare import check_labels
from runs import parts_of
from sample_mix import bin_path, draw_mix, read_meta

NASTY = ['', ' ', '\r\n', 'a\r\nb\r\n', 'emoji 🙂🏽 👩‍👩‍👧', '$\\alpha_{i} \\to \\infty$',
         '<|endoftext|>', '[SEP] [PAD]', 'é\u0301 ﬁ 中文', '\t\x00\x7f', ' leading', 'trailing ',
         "don't we'll", '   many   spaces \n\n here', 'x' * 3000, '123456789', '\u00a0\u2003\u3000']

def documents(dataset, component, split, decode):
    """The decoded documents of a prepared component, as bytes."""
    tokens = np.fromfile(f'data/{dataset}/{component}/{split}.bin', dtype='<u2')
    offsets = np.load(f'data/{dataset}/{component}/{split}.idx.npy')
    return [decode(tokens[a:b].tolist()).encode() for a, b in zip(offsets, offsets[1:])]

def everything(dataset):
    """The bytes of every file of a data set but its picture."""
    paths = sorted(path for path in glob.glob(f'data/{dataset}/**', recursive=True)
                   if os.path.isfile(path) and not path.endswith('.png'))
    return {os.path.relpath(p, f'data/{dataset}'): open(p, 'rb').read() for p in paths}

def write_lines(path, rows):
    with open(path, 'w') as f:
        f.writelines(json.dumps({'text': text, 'label': label}) + '\n' for text, label in rows)

ROWS = [(f'{"xy"[i % 2]}{i} is the text of number {i}, ' * (3 + i % 7), 'xy'[i % 2])
        for i in range(200)]

# ---- sources

def test_decoding_gives_the_documents_back_byte_for_byte(small):
    meta, tok = read_meta('small'), tokenizers.Tokenizer.from_file('data/small/tokenizer.json')
    decode, kept = lambda ids: tok.decode(ids, skip_special_tokens=False), set()
    for source_split, split in (('test', 'test'), ('validation', 'val'), ('train', 'train')):
        source = datasets.Dataset.from_parquet(f'corpus/{source_split}.parquet', cache_dir='cache')
        expected = {name: [] for name in meta['components']}
        for r in source:
            if not r['text'] or r['text'] not in kept:  # each text once, where it is met first
                kept.add(r['text'])
                label = source.features['label'].int2str(r['label'])
                expected[label].append(r['text'].encode())
        for name, facts in meta['components'].items():
            assert documents('small', name, split, decode) == expected[name]
            tokens = np.fromfile(f'data/small/{name}/{split}.bin', dtype='<u2')
            offsets = np.load(f'data/small/{name}/{split}.idx.npy')
            assert offsets.dtype == np.int64
            assert len(offsets) == len(expected[name]) + 1 == facts[split]['docs'] + 1
            assert offsets[-1] == len(tokens) == facts[split]['tokens']
            assert facts[split]['bytes'] == sum(map(len, expected[name]))
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
        assert len(files) == 14  # 12 of tokens
        assert all(files[name] == first[name] for name in files if name != 'meta.json')
    meta = read_meta('some.csv')
    assert meta['cut_from_train'] == ['test', 'val']
    n = [[splits[split]['docs'] for split in splits] for splits in meta['components'].values()]
    assert np.shape(n) == (2, 3) and np.min(n) > 0 and np.sum(n) == 200

def test_a_file_is_prepared_without_slow_imports(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_lines('lines.jsonl', ROWS)
    code = ("import runpy, sys; sys.modules['datasets'] = None;"
            " sys.argv = ['prepare.py', '--dataset=t', '--source=lines.jsonl', '--vocab_size=300'];"
            f' runpy.run_path({os.path.join(ROOT, "prepare.py")!r}, run_name="__main__")')
    subprocess.run([sys.executable, '-c', code], check=True, env={**os.environ, 'PYTHONPATH': ROOT})
    assert read_meta('t')['vocab_size'] == 300

@pytest.fixture
def texts(tmp_path, monkeypatch):
    """A folder with texts/<component>/*.txt: {component: their bytes in the order of names}."""
    monkeypatch.chdir(tmp_path)
    texts = {}
    for name in ('p', 'q'):
        docs = [f'{name} {i} and so on '.encode() * (1 + i % 9) for i in range(120)]
        docs += [f'{name}{i}{text}'.encode() for i, text in enumerate(NASTY)]
        if name == 'p':  # an empty one, one of a megabyte
            docs += [b'', b'word ' * 200_000]
        os.makedirs(f'texts/{name}')
        for i, doc in enumerate(docs):
            with open(f'texts/{name}/{i:04}.txt', 'wb') as f:
                f.write(doc)
        texts[name] = docs
    return texts

def test_text_files_come_back_byte_for_byte(texts):
    with open('texts/train_test_split.py', 'w') as f:  # no text, and of no split
        f.write('')
    run('prepare.py', '--dataset=t', '--source=texts', '--vocab_size=300')
    tok = tokenizers.Tokenizer.from_file('data/t/tokenizer.json')
    for name, docs in texts.items():
        got = [doc for split in ('train', 'val', 'test')
               for doc in documents('t', name, split, tok.decode)]
        assert sorted(got) == sorted(docs)

def test_text_files_in_folders_of_splits(texts):
    for split, few in (('train', '*'), ('validation', '*1'), ('test', '*2')):
        for path in glob.glob(f'texts/[pq]/{few}.txt'):
            target = path.replace('texts/', f'split/{split}/')
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(path, 'rb') as f, open(target, 'wb') as g:
                g.write(f.read())
    run('prepare.py', '--dataset=t', '--source=split', '--vocab_size=300')
    meta = read_meta('t')
    q, held_out = meta['components']['q'], len(glob.glob('texts/q/*[12].txt'))
    assert meta['cut_from_train'] == [] and q['test']['docs'] == len(glob.glob('texts/q/*2.txt'))
    assert q['train']['docs'] == len(texts['q']) - held_out  # they are in train too, dropped there
    assert q['train']['duplicates'] == held_out

def test_a_text_is_kept_once_and_not_in_train(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    os.makedirs('twice')
    test = [('the test has it', 'x'), ('y in the test', 'y')]
    validation = [('the validation has it', 'x'), ('y in validation', 'y')]
    train = [*ROWS, *test, *validation, ROWS[0], (ROWS[1][0], 'x')]
    for split, rows in (('test', test), ('validation', validation), ('train', train)):
        write_lines(f'twice/{split}.jsonl', rows)
    run('prepare.py', '--dataset=twice', '--source=twice', '--vocab_size=300')
    x, y = (read_meta('twice')['components'][name] for name in 'xy')
    assert [splits[split]['docs'] for splits in (x, y) for split in ('train', 'val', 'test')] == (
        [100, 1, 1] * 2)
    assert (x['train']['duplicates'], y['train']['duplicates']) == (4, 2)
    table = capsys.readouterr().out
    run('sample_mix.py', '--dataset=twice', '--candidates=', '--block_size=16', '--num_samples=0',
        '--show_dataset=True')
    rows = [line for line in table.splitlines() if ' train ' in line]
    assert len(rows) == 2 and rows[0] in capsys.readouterr().out  # the same table later

def test_hdf5_is_written_and_read_back(small):
    T = 16
    run('prepare.py', '--dataset=h', '--source=corpus', '--vocab_size=300', '--hdf5=True',
        f'--block_size={T}')
    files = {split: f'data/h/custom_tokenized_data_chunked_len{T}_{split}.hdf5'
             for split in ('train', 'val', 'test')}
    meta, windows = read_meta('h'), {}
    names = list(meta['components'])
    for split, path in files.items():
        with h5py.File(path) as f:
            chunks, doc = f['token_chunks'][:], f['doc_idx_for_chunk'][:]
            category, attrs = f['category_for_chunk'].asstr()[:], dict(f.attrs)
        assert chunks.dtype == doc.dtype == np.int32
        assert chunks.shape == (len(category), T) == (len(doc), T)
        assert attrs['chunk_size'] == T and attrs['total_chunks'] == len(doc)
        assert list(attrs['selected_categories_in_file']) == names
        assert attrs['reference_chunk_budget_smallest_top_category'] == min(
            (category == name).sum() for name in names)
        for name in names:
            tokens = np.fromfile(f'data/h/{name}/{split}.bin', dtype='<u2')
            offsets = np.load(f'data/h/{name}/{split}.idx.npy')
            docs = [tokens[a:b][:(b - a) // T * T] for a, b in zip(offsets, offsets[1:])]
            assert np.array_equal(chunks[category == name].ravel(), np.concatenate(docs))
            windows[name, split] = [d for d in docs if len(d)]
            assert len(np.unique(doc[category == name])) == len(windows[name, split])
    for args, vocab in (([], None), (['--tokenizer=data/h/tokenizer.json'], 300)):
        run('prepare.py', '--dataset=back', '--source=data/h', '--overwrite=True', *args)
        back = read_meta('back')
        assert back['cut_from_train'] == []
        assert back['vocab_size'] == (vocab or back['bos_id'] + 1)
        for (name, split), docs in windows.items():
            got = np.fromfile(f'data/back/{name}/{split}.bin', dtype='<u2')
            facts = back['components'][name][split]
            assert got.max() < back['bos_id'] or vocab
            assert facts['docs'] + facts['duplicates'] == len(docs)
            if len({d.tobytes() for d in docs}) == len(docs):
                assert np.array_equal(got, np.concatenate(docs))
    run('prepare.py', '--dataset=one', f'--source={files["train"]}')
    assert read_meta('one')['cut_from_train'] == ['test', 'val']

def test_hdf5_without_a_window(texts):
    run('prepare.py', '--dataset=h', '--source=texts', '--vocab_size=300', '--hdf5=True',
        '--block_size=1000000')
    with h5py.File('data/h/custom_tokenized_data_chunked_len1000000_val.hdf5') as f:
        assert f['token_chunks'].shape == (0, 10**6) and f['category_for_chunk'].shape == (0,)

def test_the_bytes_of_hdf5_are_those_of_its_text(texts):
    """Where its tokenizer.json is given; else each token counts as a byte."""
    run('prepare.py', '--dataset=h', '--source=texts', '--vocab_size=300', '--hdf5=True',
        '--block_size=2')
    for args in ([], ['--tokenizer=data/h/tokenizer.json']):
        run('prepare.py', '--dataset=back', '--source=data/h', '--overwrite=True', *args)
        tok = tokenizers.Tokenizer.from_file('data/h/tokenizer.json')
        facts = read_meta('back')['components']['q']['train']
        text = b''.join(documents('back', 'q', 'train', tok.decode))
        assert facts['bytes'] == (len(text) if args else facts['tokens']) and text

# ---- interrupted, twice at once, on a full disk

COINS = ['--dataset=coins', '--source=synthetic', '--processes=coins:2', '--document_length=50',
         '--documents_per_process=10']

def kill_at(function, n):
    """A SIGKILL where a function, 'os.rename' say, is called for the n-th time."""
    return f'''
import datasets, glob, numpy, os, shutil, signal
real, calls = {function}, []
def fake(*args, **kwargs):
    calls.append(1)
    if len(calls) == {n}:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **kwargs)
{function} = fake'''

@pytest.mark.parametrize('function, n', [('glob.glob', 1), ('numpy.save', 5)])
def test_killed_it_leaves_nothing_that_looks_finished(small, function, n):
    """Before the source is read, and at the fifth file."""
    args = ['--dataset=killed', '--source=corpus', '--vocab_size=300', '--overwrite=True']
    run('prepare.py', *args)
    before = everything('killed')
    code = kill_at(function, n) + f'''
import runpy, sys
sys.argv = ['prepare.py', *{args!r}]
sys.path.insert(0, {ROOT!r})
runpy.run_path({os.path.join(ROOT, 'prepare.py')!r}, run_name='__main__')'''
    killed = subprocess.run([sys.executable, '-c', code], capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    assert everything('killed') == before and os.path.isdir('data/.killed.part')
    run('prepare.py', *args)
    assert everything('killed') == before and glob.glob('data/.killed*') == ['data/.killed.lock']

@pytest.mark.parametrize('function, n, left', [
    ('os.rename', 1, 'old'), ('os.rename', 2, 'neither'), ('shutil.rmtree', 2, 'new')])
def test_killed_while_it_replaces_a_data_set(tmp_path, monkeypatch, fails, function, n, left):
    """Before and after the old one goes, and when the new one is in its place."""
    monkeypatch.chdir(tmp_path)
    run('prepare.py', *COINS, '--data_seed=1')
    new = everything('coins')
    run('prepare.py', *COINS, '--overwrite=True')
    old = everything('coins')
    if not (child := os.fork()):
        exec(kill_at(function, n), {})
        run('prepare.py', *COINS, '--data_seed=1', '--overwrite=True')
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert everything('coins') == {'old': old, 'new': new, 'neither': {}}[left]
    if left == 'neither':
        assert 'run python prepare.py' in fails('sample_mix.py', '--dataset=coins')
    run('prepare.py', *COINS, '--data_seed=1', '--overwrite=True')
    assert everything('coins') == new
    assert sorted(os.listdir('data')) == ['.coins.lock', 'coins']

def test_the_very_same_data_have_the_very_same_seal(tmp_path, monkeypatch):
    """So that runs on them stay valid; what was damaged is replaced."""
    monkeypatch.chdir(tmp_path)
    run('prepare.py', *COINS)
    meta, files = read_meta('coins'), everything('coins')
    assert is_sealed(meta) and is_sealed(json.loads(files['meta.json']))
    for change in (lambda: None, lambda: os.truncate('data/coins/coin-0.05/val.bin', 10)):
        change()
        run('prepare.py', *COINS, '--overwrite=True')
        assert everything('coins') == files
    run('prepare.py', *COINS, '--overwrite=True', '--data_seed=1')
    assert read_meta('coins')['seal'] != meta['seal']

def test_a_folder_that_is_no_data_set_is_not_replaced(tmp_path, monkeypatch, fails):
    monkeypatch.chdir(tmp_path)
    os.makedirs('data/coins/mine')
    said = fails('prepare.py', *COINS, '--overwrite=True')
    assert 'replaces no folder without a meta.json' in said
    assert os.listdir('data/coins') == ['mine']

@contextlib.contextmanager
def writer_of(dataset):
    """Another process that holds the lock of a data set: its id."""
    reader, writer = os.pipe()
    if not (child := os.fork()):
        with lock(f'data/.{dataset}.lock', f'data/{dataset}'):
            os.write(writer, b'held')
            signal.pause()
    os.read(reader, 4)
    try:
        yield child
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)

def test_two_at_once_into_the_same_folder(small, fails):
    with writer_of('busy') as pid:
        said = fails('prepare.py', '--dataset=busy', '--source=corpus', '--vocab_size=300')
    assert f'data/busy is being written by process {pid} on' in said
    assert not os.path.exists('data/busy')

@pytest.mark.parametrize('room', [400, 5000, 60_000, 90_000])  # for .idx.npy, .bin, .png and .hdf5
def test_a_full_disk_ends_in_one_line(small, fails, room):
    before, limit = sorted(glob.glob('data/*')), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limit[1]))  # a write past it fails
    try:
        said = fails('prepare.py', '--dataset=full', '--source=corpus', '--vocab_size=300',
                     '--hdf5=True', '--block_size=16')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert re.search('data/.*File too large', said), said
    assert sorted(glob.glob('data/*')) == before
    assert glob.glob('data/.full*') == ['data/.full.lock']

# ---- names

LABELS = ['World News', 'R&D', "it's", '100%', 'a:b', 'a(b)', '[abc]', '$(touch pwned)',
          '`touch pwned`', '$\\bad$', 'C++', '../../../x', 'a/b', 'x' * 300, '中文', '-rf',
          '.hidden', 'a"b', 'a,b', '"a" b', 'a\\b', '#1', '*', 'k=1', 'CON', 'train', '👩‍👩‍👧']

@hypothesis.given(st.lists(st.text(st.characters(blacklist_categories=('Cc', 'Cs', 'Zl', 'Zp')),
                                   min_size=1).filter(lambda s: s == s.strip()), unique=True))
def test_lists_of_names(names):
    assert split_names(join_names(names)) == names

def test_any_name_works_from_the_text_to_a_mixture(tmp_path, monkeypatch, capfd):
    (tmp_path / 'deep/er/here').mkdir(parents=True)
    monkeypatch.chdir(tmp_path / 'deep/er/here')
    os.makedirs('named')
    for split in ('train', 'validation', 'test'):
        write_lines(f'named/{split}.jsonl', [
            (f'{j} {i} {split} is what it says' * (10 if split == 'train' else 1), label)
            for i in range(3) for j, label in enumerate(LABELS)])
    run('prepare.py', '--dataset=n', '--source=named', '--vocab_size=270', '--hdf5=True',
        '--block_size=8')
    run('prepare.py', '--dataset=back', '--source=data/n',
        '--tokenizer=data/n/tokenizer.json')
    tok = tokenizers.Tokenizer.from_file('data/n/tokenizer.json')
    for dataset in ('n', 'back'):
        meta = read_meta(dataset)
        assert sorted(meta['components']) == sorted(LABELS)
        for j, label in enumerate(LABELS):
            _, record = draw_mix(meta, 8, components=join_names([label]))
            assert record['components'] == [label]
            folder = os.path.basename(os.path.dirname(bin_path(meta, label, 'val')))
            assert re.fullmatch(r'[\w+=][\w.+=-]*', folder) and len(folder.encode()) < 120
            docs = documents(dataset, folder, 'val', tok.decode)
            expected = [f'{j} {i} validation is what it says'.encode() for i in range(3)]
            assert all(text.startswith(doc) for text, doc in zip(expected, docs, strict=True))
            assert docs == expected or dataset == 'back'  # whole windows alone
        _, record = draw_mix(meta, 8, components=join_names(LABELS))
        settings = {key: record[key] for key in (
            'dataset', 'block_size', 'mix_seed', 'token_budget', 'shuffle_components',
            'constant_per_component')}
        only = name_components(LABELS, record['tokens'])
        parts = parts_of(f'out/{run_name("n", len(LABELS), 0, 0, only=only)}', record,
                         settings | {'seed': 0})
        folders = {folder for folder, _ in parts.values()}
        assert len(folders) == len(parts) == 1 + 2 * len(LABELS)
        assert all(re.fullmatch(r'out/[\w.+=-]{1,250}', folder) for folder in folders)
        run('sample_mix.py', f'--dataset={dataset}', f'--components={join_names(LABELS)}',
            '--block_size=8', '--show_dataset=True')
    out, _ = capfd.readouterr()
    assert all(out.count(label) >= 4 for label in LABELS)
    assert os.path.exists('data/n/documents.png')
    assert sorted(os.listdir()) == ['data', 'named'] and not glob.glob(f'{tmp_path}/**/pwned')
    assert os.listdir(tmp_path) == ['deep'] and os.listdir(tmp_path / 'deep/er') == ['here']

@pytest.mark.parametrize('labels, reason', [
    ([''], 'it is empty'), ([' a'], 'spaces at an end'),
    (['a\0b'], 'cannot be printed'), (['a\nb'], 'cannot be printed'),
    (['\ud800'], 'cannot be printed'), (['cs', 'CS'], "taken for 'cs'"),
    (['World News', 'world news'], "taken for 'World News'"),
    (['\u00c5', '\u212b'], r"taken for '\xc5'")])
def test_a_label_that_will_not_do_is_refused(capsys, labels, reason):
    with pytest.raises(SystemExit):
        check_labels(labels)
    assert f'the label {labels[-1]!a} cannot name a component: ' in (err := capsys.readouterr().err)
    assert reason in err and err.count('\n') == 1

@pytest.mark.parametrize('name', ['a/b', '../x', 'my data', '.part', '', 'x' * 300])
def test_a_data_sets_name_is_that_of_a_folder(tmp_path, monkeypatch, fails, name):
    monkeypatch.chdir(tmp_path)
    for script in ('prepare.py', 'sample_mix.py'):
        assert 'a name must do as a folder' in fails(script, f'--dataset={name}')
    assert not os.listdir(tmp_path)

# ---- mistakes

@pytest.mark.parametrize('args, says', [
    (['--text_column=body'], "has no column 'body'; it has 'text', 'label'"),
    (['--label_column=field'], "has no column 'field'; it has 'text', 'label'"),
    (['--labels=a,zz'], 'component zz has no text in train, val, test; leave it out: --labels=a'),
    (['--vocab_size=70000'], '257 to 65,535'),
    (['--vocab_size=60000'], 'fewer than --vocab_size=60000'),
    (['--tokenizer=missing.json'], 'write bpe, gpt2 or the path of one'),
    (['--tokenizer=corpus/train.parquet'], 'is no tokenizer.json'),
    (['--source=corpus/none'], 'cannot be loaded'),  # as a hub that cannot be reached
    (['--source=none.csv'], '--source=none.csv: no such file or folder'),
    (['--source=/no/such/folder'], 'no such file or folder'),
    (['--source=corpus/none'], 'a local folder or file of parquet, json lines, csv or .txt works'),
    (['--dataset=small'], 'data/small is there already'),
    (['--num_proc=-1'], '--num_proc at least 0'),
])
def test_a_mistake_in_preparing_writes_nothing(small, fails, args, says):
    before = glob.glob('data/*')
    usual = ['--dataset=bad', '--source=corpus', '--vocab_size=300']
    assert says in fails('prepare.py', *usual, *args)
    assert glob.glob('data/*') == before
    assert not [path for path in glob.glob('data/.*') if not path.endswith('.lock')]

def test_an_empty_component_is_named(tmp_path, monkeypatch, fails):
    monkeypatch.chdir(tmp_path)
    write_lines('few.jsonl', [(f'some text {i}', 'many' if i else 'one') for i in range(200)])
    said = fails('prepare.py', '--dataset=bad', '--source=few.jsonl', '--vocab_size=260')
    assert 'component one has no text in' in said and 'leave it out: --labels=many' in said

# ---- wrong that looked right

@pytest.mark.parametrize('change', [
    lambda text: text.replace(' ', '\r\n'), lambda text: text + '\n',
    lambda text: ' ' + text + '\u00a0\t', lambda text: text.replace('é', 'e\u0301')])
def test_a_text_in_other_white_space_is_a_duplicate(tmp_path, monkeypatch, change):
    """Of 100 texts in test 85 were trained on."""
    monkeypatch.chdir(tmp_path)
    os.makedirs('twice')
    rows = [(f'é {text}', label) for text, label in ROWS]
    write_lines('twice/test.jsonl', rows[:50])
    write_lines('twice/validation.jsonl', rows[50:60] + [(' ', 'x')])
    write_lines('twice/train.jsonl', [(change(text), label) for text, label in rows] + [
        ('\n', 'x'), ('', 'y'), ('', 'y'), (rows[100][0].replace(' ', ''), 'x')])
    run('prepare.py', '--dataset=twice', '--source=twice', '--vocab_size=300')
    facts = [splits['train'] for splits in read_meta('twice')['components'].values()]
    assert sum(f['duplicates'] for f in facts) == 60 and sum(f['docs'] for f in facts) == 144

@pytest.mark.parametrize('labels', [
    ['math', '\ufeffmath'], ['cs.DS', 'cs.\u00adDS'], ['caf\u00e9', 'cafe\u0301'],
    ['a b', 'a\u00a0b'], ['a b', 'a  b'], ['fi', '\ufb01'], ['x', '\u2060x']])
def test_labels_that_look_alike_are_refused(capsys, labels):
    """They were two components, with the data split between them."""
    for pair in (labels, labels[::-1]):
        with pytest.raises(SystemExit):
            check_labels(['other', *pair])
        err = capsys.readouterr().err
        first, second = map(ascii, pair)
        assert f'label {second} cannot name a component: it may be taken for {first}\n' in err
        assert err.count('\n') == 1
    check_labels(['World News', 'World-News', '\ufeffmath'])

def write_chunks(path, tokens, category, number):
    with h5py.File(path, 'w') as f:
        f['token_chunks'] = np.array(tokens, 'i4')
        f.create_dataset('category_for_chunk', data=category, dtype=h5py.string_dtype())
        f['doc_idx_for_chunk'] = np.array(number, 'i4')

def test_chunks_of_a_document_need_not_be_neighbours(tmp_path, monkeypatch, fails):
    """They became several documents, which the hash dealt to train and test."""
    monkeypatch.chdir(tmp_path)
    rng, n = np.random.default_rng(0), 300
    document = rng.integers(0, n, 25_000)
    tokens = np.stack([document, np.arange(25_000) % 60_000], axis=1)
    write_chunks('some.hdf5', tokens, [f'c{d % 2}' for d in document], document)
    (_, stream), = run('studies/hdf5.py')['open_hdf5']('some.hdf5').items()
    got = [(component, np.frombuffer(doc, '<u2').reshape(-1, 2)) for component, doc in stream]
    _, first = np.unique(document, return_index=True)
    assert len(got) == n
    for (component, chunks), d in zip(got, document[np.sort(first)], strict=True):
        assert component == f'c{d % 2}' and np.array_equal(chunks, tokens[document == d])
    write_chunks('short.hdf5', tokens, ['c'] * 24_999, document)
    assert 'short.hdf5 cannot be loaded: 25000, 24999 and 25000 rows' in fails(
        'prepare.py', '--dataset=t', '--source=short.hdf5')

def test_too_few_documents_for_a_split_says_what_helps(tmp_path, monkeypatch, fails):
    monkeypatch.chdir(tmp_path)
    write_lines('few.jsonl', [(f'{i} text', name) for name in ('ann', 'bob') for i in range(4)])
    said = fails('prepare.py', '--dataset=t', '--source=few.jsonl', '--vocab_size=260')
    assert 'component ann has no text in ' in said
    assert 'val and test of their own, or more and shorter documents' in said

def test_no_shared_memory_is_needed(tmp_path, monkeypatch, fails):
    """A read-only /dev/shm was told as 'data/x cannot be written: make room'."""
    monkeypatch.chdir(tmp_path)
    write_lines('lines.jsonl', ROWS)

    def refuse(*_, **__):
        raise OSError(30, 'Read-only file system')
    with monkeypatch.context() as m:
        m.setattr('multiprocessing.synchronize.SemLock.__init__', refuse)
        run('prepare.py', '--dataset=t', '--source=lines.jsonl', '--vocab_size=300')
    monkeypatch.setattr('tokenizers.Tokenizer.train_from_iterator', refuse)
    said = fails('prepare.py', '--dataset=u', '--source=lines.jsonl', '--vocab_size=300')
    assert 'Read-only file system' in said and 'written' not in said
