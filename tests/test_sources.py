"""sources.py gives every label and text back letter by letter, or says in which line it cannot."""
import bz2
import csv
import gzip
import io
import json
import lzma
import os
import re
import zipfile

import datasets
import hypothesis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import run
from hypothesis import strategies as st
from test_prepare import write_lines

import sources
from configurator import split_names

@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

def write(path, content):
    """Writes a file, text or bytes, and the folders that it is in."""
    os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
    with open(path, 'wb') as f:
        f.write(content if isinstance(content, bytes) else content.encode())

def delimited(rows, header=('text', 'label'), **dialect):
    text = io.StringIO()
    csv.writer(text, **dialect).writerows([header, *rows])
    return text.getvalue()

def lines(*rows):
    return ''.join(json.dumps({'text': text, 'label': label}) + '\n' for text, label in rows)

def read(source, columns='text,label', **keys):
    """{split: [(label, text)]} of a source."""
    streams = sources.open_text(source, 'no_ref', split_names(columns), **keys)
    return {split: [(label, doc.decode()) for label, doc in streams[split]] for split in streams}

@pytest.fixture
def refused(capsys):
    """refused(source ..): asserts one line on stderr, without a traceback, and returns it."""
    def check(*args, **keys):
        with pytest.raises(SystemExit) as e:
            read(*args, **keys)
        line, = capsys.readouterr().err.splitlines()
        assert e.value.code == 2
        return line
    return check

# ---- nothing is taken for something else

SPELLINGS = [['01', '02', '10'], ['1.1', '1.10', '1.2'], ['4', '4.5', '1e3', '1000'],
             ['true', 'false', 'True'], ['NA', 'null', 'None', 'nan', 'n/a', 'N/A', '-1'],
             ['2020-01-01', '2020-01-02'], ['Sci/Tech', 'a,b', ' a', 'a\nb', 'a"b', "it's"]]

@pytest.mark.parametrize('spellings', SPELLINGS)
@pytest.mark.parametrize('ending', ['csv', 'tsv', 'jsonl', 'parquet'])
def test_labels_and_texts_stay_as_they_are_spelled(spellings, ending):
    """Where they change within a long file too: readers that infer do so by chunks."""
    words = [word for word in spellings for _ in range(90)]
    rows = [(word, word) for word in words] + [(f'the {word}', word) for word in words]
    if ending == 'parquet':
        pq.write_table(pa.table(dict(zip(['text', 'label'], zip(*rows)))), 'some.parquet')
    else:
        write(f'some.{ending}', lines(*rows) if ending == 'jsonl' else
              delimited(rows, delimiter='\t' if ending == 'tsv' else ','))
    assert read(f'some.{ending}') == {'train': [(label, text) for text, label in rows]}

def test_numbers_and_booleans_of_json_keep_their_spelling():
    spelled = ['1.10', '1e3', '-0', '12345678901234567890123', 'true', 'false']
    write('some.jsonl', ''.join(f'{{"text": "a", "label": {label}}}\n' for label in spelled))
    assert [label for label, _ in read('some.jsonl')['train']] == spelled

def test_numbers_and_booleans_of_parquet():
    for values, spelled in (([1, 2], ['1', '2']), ([True, False], ['true', 'false'])):
        pq.write_table(pa.table({'text': ['a', 'b'], 'label': values}), 'some.parquet')
        assert [label for label, _ in read('some.parquet')['train']] == spelled

DIALECT = 'it is not as RFC 4180 has it'
CSV = [  # a row that is no row, and what is said of it
    ('well, a comma,x', 'line 3: it has 3 fields, and the header 2'),
    ('a,x,2020', 'line 3: it has 3 fields, and the header 2'),
    ('a', 'line 3: it has 1 fields'), ('a,x,', 'line 3: it has 3 fields'),
    ('"Hello" said I,x', f'line 3: {DIALECT}'), (r'"he said \"hi\"",x', f'line 3: {DIALECT}'),
    ('he said "hi",x', f'line 3: {DIALECT}'), (' "a",x', f'line 3: {DIALECT}'),
    ('"a" ,x', f'line 3: {DIALECT}'), ('5" pipe,x', f'line 3: {DIALECT}'),
    ('"never closed,x', f'line 3: {DIALECT}'), ('a\rb,x', f'line 3: {DIALECT}'),
    ('a,x\r', f'line 3: {DIALECT}'), ('a\r,x', f'line 3: {DIALECT}'),
    ('a,', "line 3: it has no label, but ''"),
    (b'\xe9t\xe9,x', "line 3: it is not UTF-8, at '\\udce9'"),
    (b'a,\xe9', 'line 3: it is not UTF-8')]

@pytest.mark.parametrize('row, says', CSV)
def test_a_row_that_does_not_fit_is_refused(refused, row, says):
    row = row if isinstance(row, bytes) else row.encode()
    write('some.csv', b'text,label\nfirst,x\n' + row + b'\nlast,x\n')
    assert f'some.csv, {says}' in refused('some.csv')

JSONL = [
    ('{"text": 1, "label": "x"}', 'it has no text, but 1'),
    ('{"text": true, "label": "x"}', 'it has no text, but True'),
    ('{"text": null, "label": "x"}', 'it has no text, but None'),
    ('{"text": ["a"], "label": "x"}', "it has no text, but ['a']"),
    ('{"text": "a", "label": ["x"]}', "it has no label, but ['x']"),
    ('{"text": "a", "label": {"x": 1}}', "it has no label, but {'x':"),
    ('{"text": "a", "label": null}', 'it has no label, but None'),
    ('{"text": "a", "label": NaN}', 'it has no label, but None'),
    ('{"text": "a", "label": ""}', "it has no label, but ''"),
    ('{"text": "a"}', "it has no column 'label'; it has 'text'"),
    ('{"text": "a", "label": "x", "label": "y"}', 'a name is there twice'),
    ('["a", "x"]', 'it is no object with the keys text, label'),
    ('{"text": "a"', "Expecting ',' delimiter"),
    (r'{"text": "\ud800", "label": "x"}', "it is not UTF-8, at '\\ud800'"),
    (b'{"text": "\xe9", "label": "x"}', "it is not UTF-8, at '\\udce9'")]

@pytest.mark.parametrize('row, says', JSONL)
def test_an_object_that_is_no_document_is_refused(refused, row, says):
    row = row if isinstance(row, bytes) else row.encode()
    good = b'{"text": "a", "label": "x"}'
    write('some.jsonl', good + b'\n\n' + row + b'\n' + good)
    assert f'some.jsonl, line 3: {says}' in refused('some.jsonl')
    write('list.json', b'[' + good + b',\n\n' + row + b',\n' + good + b']')
    if 'twice' in says or 'Expecting' in says:
        assert 'list.json cannot be loaded: ' in refused('list.json')
    else:
        assert f'list.json, object 2: {says}' in refused('list.json')

@pytest.mark.parametrize('name, content, says', [
    ('broken.parquet', b'not at all', 'broken.parquet cannot be loaded'),
    ('broken.jsonl', b'not at all', 'broken.jsonl, line 1: Expecting value'),
    ('open.json', b'[{"text": "a", "label": "x"},\n{"text"', 'open.json cannot be loaded: Exp'),
    ('two.json', b'[{"text": "a", "label": "x"}] 1', 'two.json cannot be loaded: Extra data'),
    ('no-comma.json', b'[{"text": "a", "label": "x"} {}]', "Expecting ',' delimiter: line 1"),
    ('short.csv.gz', gzip.compress(b'text,label\n' + b'a,x\n' * 99, mtime=0)[:-9],
     'short.csv.gz cannot be'),
    ('none.csv.xz', b'no xz', 'none.csv.xz cannot be loaded'),
    ('none.csv.zip', b'no zip', 'none.csv.zip cannot be loaded'),
    ('some.doc', b'word', "the ending '.doc' is none of .parquet, .csv, .tsv, .json"),
    ('mac.csv', b'text,label\ra,x\rb,y\r', 'new-line character seen in unquoted field'),
    ('twice.csv', b'text,label,text\na,x,b\n', "has more than one column 'text'"),
    ('bar.csv', b'text|label\na|x\n', "no column 'text'; it has 'text|label' (see --text_column,"
     ' --label_column and --separator)'),
    ('empty.csv', b'', "has no column 'text'"),
])
def test_a_file_that_is_not_what_its_ending_says(refused, name, content, says):
    write(name, content)
    assert says in refused(name)

def test_a_cell_is_not_held_for_ever(refused, monkeypatch):
    """A mark that is never closed would take the rest of the file for one text."""
    write('some.csv', 'text,label\n"a,x\n' + 'more,x\n' * 100)
    monkeypatch.setattr(sources, 'LONGEST', 500)
    assert f'some.csv, line 2: {DIALECT}' in refused('some.csv')

# ---- how files are written

NASTY = [('a,b;c\td', 'x'), ('two\nlines\r\nof\rthem', 'y'), ('"quoted"', '"y"'), ('\\"', 'x'),
         ('', 'x'), (' ', 'y'), ('\ufeff中文 🙂\u2028\x85\x0b\0', 'é')]

@pytest.mark.parametrize('keys', [{}, {'quotes': False}, {'separator': '|'}, {'separator': 'tab'}])
@pytest.mark.parametrize('end', ['\n', '\r\n'])
def test_separators_and_quotation_marks(keys, end):
    marks, given = keys.get('quotes', True), keys.get('separator')
    rows = NASTY if marks else [(t, label) for t, label in NASTY if not {*'\r\n\t'} & {*t}]
    for s in [{'tab': '\t'}.get(given, given)] if given else ',\t;' if marks else '\t':
        write('some.csv', delimited(rows, delimiter=s, lineterminator=end, quoting=csv.QUOTE_ALL)
              if marks else end.join('\t'.join(row) for row in [('text', 'label'), *rows]))
        assert read('some.csv', **keys) == {'train': [(label, text) for text, label in rows]}

def test_a_separator_that_is_none(refused):
    write('some.csv', 'text;label;"more, and, more"\na;x;\n')
    assert read('some.csv') == {'train': [('x', 'a')]}
    assert 'it is one character, such as ";", or tab' in refused('some.csv', separator='::')

@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16', 'utf-32'])
def test_a_byte_order_mark_is_no_letter(encoding):
    for name, content in (('some.csv', delimited(NASTY)), ('some.jsonl', lines(*NASTY))):
        write(name, content.encode(encoding))
        assert read(name) == {'train': [(label, text) for text, label in NASTY]}
    write('texts/é and so on/a.txt', 'é\r\n\n'.encode(encoding))
    write('texts/é and so on/b.txt', b'\xc3\xa9\r\n')
    assert read('texts') == {'train': [('é and so on', 'é\r\n\n'), ('é and so on', 'é\r\n')]}

def test_packed_files(refused):
    def zipped(content, name='inner.csv'):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, 'w') as archive:
            archive.writestr('__MACOSX/._inner.csv', b'left out')
            archive.writestr(name, content)
        return packed.getvalue()

    def zstandard(content):  # in two frames
        return b''.join(pa.compress(part, 'zstd', asbytes=True)
                        for part in (content[:9], content[9:]))

    packers = {'gz': gzip.compress, 'xz': lzma.compress, 'bz2': bz2.compress, 'zst': zstandard,
               'zip': zipped}
    rows = [(label, text) for text, label in NASTY]
    for ending, pack in packers.items():
        for name, content in (('csv', delimited(NASTY)), ('jsonl', lines(*NASTY))):
            write(f'all/{ending}.{name}.{ending}', pack(content.encode()))
            assert read(f'all/{ending}.{name}.{ending}') == {'train': rows}
        write(f'texts/x/{ending}.txt.{ending}', pack(b'text'))
    write('all/archive.zip', zipped(delimited(NASTY)))
    for name, ending in (('two.csv.zip', 'csv'), ('all/pictures.zip', 'png')):  # is left out
        with zipfile.ZipFile(name, 'w') as archive:
            archive.writestr(f'a.{ending}', 'text,label\n')
            archive.writestr(f'b.{ending}', 'text,label\n')
    assert 'it holds 2 files: unpack it' in refused('two.csv.zip')
    assert read('all') == {'train': rows * 11}
    assert read('texts') == {'train': [('x', 'text')] * 5}

def test_a_list_of_objects(refused):
    rows = [(f'{i} \n[]{{}}' * 40, str(i % 3)) for i in range(9000)]  # 4 MB
    objects = [{'text': text, 'label': label} for text, label in rows]
    for indent in (None, 1):
        write('some.json', json.dumps(objects, indent=indent))
        assert read('some.json') == {'train': [(label, text) for text, label in rows]}
    write('some.json', json.dumps([*objects, {'text': 1, 'label': '1'}], indent=1))
    assert 'some.json, object 9001: it has no text, but 1' in refused('some.json')
    for empty in (' [ ] \n', '', '\n \n'):
        write('empty.json', empty)
        assert read('empty.json') == {'train': []}

def test_several_text_columns():
    write('some.tsv', '\ttitle\tlabel\tabstract\n0\tA title\tx\tand more\n1\t\tx\tno title\n')
    assert read('some.tsv', 'title,abstract,label') == {
        'train': [('x', 'A title\n\nand more'), ('x', 'no title')]}

WORDS = st.one_of(st.text(st.characters(blacklist_categories=())),
                  st.text('",;\t\r\n\\\0 a1é', max_size=6))

@hypothesis.settings(max_examples=150, deadline=None,
                     suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(data=st.data(), rows=st.lists(st.tuples(WORDS, WORDS.filter(len)), min_size=1,
                                                max_size=5))
@pytest.mark.parametrize('kind', ['csv', 'tsv', 'jsonl', 'json', 'parquet'])
def test_any_text_comes_back_or_is_refused(kind, data, rows):
    try:
        if kind in ('csv', 'tsv'):
            end = data.draw(st.sampled_from(['\n', '\r\n']))
            text = delimited(rows, delimiter=data.draw(st.sampled_from(',;')) if kind == 'csv' else
                             '\t', quoting=data.draw(st.sampled_from([csv.QUOTE_ALL, 0])),
                             lineterminator=end)
            write(f'some.{kind}', text.removesuffix(end * data.draw(st.booleans())))
        elif kind == 'parquet':
            pq.write_table(pa.table(dict(zip(['text', 'label'], zip(*rows)))), 'some.parquet')
        else:
            objects, letters = [{'text': t, 'label': label} for t, label in rows], data.draw(
                st.booleans())
            write(f'some.{kind}', json.dumps(objects, ensure_ascii=letters) if kind == 'json' else
                  '\n'.join(json.dumps(o, ensure_ascii=letters) for o in objects))
    except (UnicodeEncodeError, pa.ArrowException):
        return  # no file holds it
    try:
        got = read(f'some.{kind}')['train']
    except SystemExit:  # csv.writer puts no marks around \r; JSON spells half a surrogate pair
        assert any('\r' in word if kind in ('csv', 'tsv') else re.search('[\ud800-\udfff]', word)
                   for row in rows for word in row)
    else:
        assert got == [(label, text) for text, label in rows]

# ---- folders

@pytest.mark.parametrize('word', ['val', 'valid', 'validation', 'dev', 'eval'])
def test_validation_has_many_names(word):
    for split in ('train', word, 'test'):
        write(f'rows/{split}-0000-of-0001.jsonl', lines((split, 'x')))
        write(f'folders/{split}/0.jsonl', lines((split, 'x')))
        write(f'texts/{split}/x/0.txt', split)
    for source in ('rows', 'folders', 'texts'):
        assert read(source) == {split: [('x', word if split == 'val' else split)]
                                for split in ('test', 'val', 'train')}

def test_what_is_left_out_is_named(capsys):
    for split in ('train', 'extra'):
        write(f'rows/{split}.csv', f'text,label\n{split},x\n')
        write(f'texts/{split}/x/0.txt', split)
    write('rows/README.md', '# no card\n')
    write('rows/.hidden/train.csv', 'text,label\nhidden,x\n')
    write('texts/notes.txt', 'stray')
    write('plain/x/0.txt', 'train')
    for i in range(7):
        write(f'plain/x/{i}.md', 'beside')
    for source, says in (('rows', 'README.md, extra.csv\n'),
                         ('texts', 'extra/x/0.txt, notes.txt\n'),
                         ('plain', 'x/0.md, x/1.md, x/2.md, x/3.md, x/4.md, x/5.md, x/6.md\n')):
        assert read(source) == {'train': [('x', 'train')]}
        out = capsys.readouterr().out
        assert out == f'left out of {source}, of no split: {says}' and out.count('\n') == 1

def test_a_folder_without_train(refused):
    write('rows/test.csv', 'text,label\na,x\n')
    write('none/notes.md', 'a')
    write('both/train_or_test.csv', 'text,label\na,x\n')
    assert '--source=rows has no split train; it has test.csv' in refused('rows')
    assert '--source=none cannot be loaded: it has no .parquet' in refused('none')
    assert 'train_or_test.csv: which split is it, test or train?' in refused('both')

def test_links():
    write('there/0.txt', 'a')
    write('texts/x/0.txt', 'b')
    os.symlink('../there', 'texts/linked')
    os.symlink('../../there/0.txt', 'texts/x/1.txt')
    os.symlink('there/0.txt', 'link.txt')
    assert read('texts') == {'train': [('linked', 'a'), ('x', 'b'), ('x', 'a')]}
    write('rows/rows.csv', 'text,label\na,x\n')
    os.symlink('rows/rows.csv', 'link.csv')
    for source in ('link.csv', 'rows'):
        assert read(source) == {'train': [('x', 'a')]}

@pytest.mark.parametrize('content, says', [
    (b'one\ntwo \xff', "it is not UTF-8, at 'one\\ntwo \\udcff' in its line 2"),
    ('ascii'.encode('utf-16-le'), 'is it UTF-16-LE without its byte-order mark?'),
    (None, 'cannot be loaded')])
def test_a_text_file_that_cannot_be_read(refused, content, says):
    write('texts/p/0.txt', 'first')
    if content is None:
        os.symlink('nowhere', 'texts/p/1.txt')
    else:
        write('texts/p/1.txt', content)
    said = refused('texts')
    assert 'texts/p/1.txt' in said and says in said

@pytest.mark.parametrize('name', ['csv', 'json', 'parquet', 'text'])
def test_a_folder_called_as_a_reader(refused, name):
    write('some.jsonl', lines(('b', 'y')))
    assert f'--source={name}: no such file or folder' in refused(name)
    write(f'{name}/train.jsonl', lines(('a', 'x')))
    assert read(name) == {'train': [('x', 'a')]}

def test_home(monkeypatch):
    monkeypatch.setenv('HOME', os.getcwd())
    write('texts.jsonl', lines(('a', 'x')))
    assert read('~/texts.jsonl') == {'train': [('x', 'a')]}

# ---- data sets of the hub, and their classes

CARD = '''---
configs:
- config_name: other
  data_files: [{split: train, path: other/*}]
- config_name: no_ref
  data_files:
  - {split: train, path: mine/a*}
  - {split: dev, path: mine/b*}
  - {split: unsupervised, path: mine/c*}
dataset_info:
- config_name: no_ref
  features:
  - {name: text, dtype: string}
  - {name: label, dtype: {class_label: {names: {'0': '01', '1': Sci/Tech}}}}
---
'''

def test_a_folder_as_on_the_hub(capsys, monkeypatch):
    """Its README.md lists the files; csv has the numbers of classes. And the same from the hub."""
    write('csv/README.md', CARD)
    write('csv/other/a.csv', 'text,label\nother,0\n')
    for name, label in (('a', 0), ('b', 1), ('c', -1)):
        write(f'csv/mine/{name}.csv', f'text,label\n{name},{label}\n')
    expected = {'val': [('Sci/Tech', 'b')], 'train': [('01', 'a')]}
    left_out = 'of no split: unsupervised\n'
    assert read('csv') == expected
    assert capsys.readouterr().out == f'left out of csv, {left_out}'
    local, real = os.path.abspath('csv'), datasets.load_dataset_builder
    monkeypatch.setattr(datasets, 'load_dataset_builder', lambda _, config: real(local, config))
    assert read('someone/something') == expected
    assert capsys.readouterr().out == ('loading someone/something from the hub ...\n'
                                       f'left out of someone/something, {left_out}')

def test_parquet_of_the_hub(monkeypatch):
    features = datasets.Features({'text': datasets.Value('string'), 'more': datasets.Value('int64'),
                                  'label': datasets.ClassLabel(names=['x', 'y'])})
    for split in ('train', 'validation'):
        rows = {'text': [split, 'b'], 'more': [1, 2], 'label': [1, 0]}
        table = datasets.Dataset.from_dict(rows, features=features)
        table.to_parquet(f'there/{split}-00000-of-00001.parquet')
    there, real = os.path.abspath('there'), datasets.load_dataset_builder
    monkeypatch.setattr(datasets, 'load_dataset_builder', lambda *_: real(there))
    assert read('someone/something') == {'val': [('y', 'validation'), ('x', 'b')],
                                         'train': [('y', 'train'), ('x', 'b')]}

def test_a_hub_source_is_named_before_it_is_fetched(capsys):
    """The hub's retries take half a minute where it cannot be reached."""
    with pytest.raises(SystemExit):
        run('prepare.py', '--dataset=bad', '--source=someone/something')
    assert capsys.readouterr().out == 'loading someone/something from the hub ...\n'

@pytest.mark.parametrize('label, says', [
    (7, 'row 3: it has the label 7; there are 0, 1'), (-1, 'row 3: it has the label -1'),
    (None, 'row 3: it has no label')])
def test_a_label_out_of_range(refused, label, says):
    features = datasets.Features({'text': datasets.Value('string'),
                                  'label': datasets.ClassLabel(names=['x', 'y'])})
    rows = {'text': ['a', 'b', 'c'], 'label': [0, 1, 1]}
    table = datasets.Dataset.from_dict(rows, features=features).data.table
    labels = pa.array([0, 1, label], pa.int64())
    changed = table.set_column(1, table.schema.field('label'), labels)
    pq.write_table(changed.replace_schema_metadata(table.schema.metadata), 'some.parquet')
    assert f'some.parquet, {says}' in refused('some.parquet')

@pytest.mark.parametrize('kind', ['lines.jsonl', 'folder'])
def test_a_changed_source_is_read_anew(kind):
    """datasets' cache was seen to serve the old copy of a local folder whose files had changed."""
    os.makedirs('folder')
    for rows in ([('a', 'x'), ('b', 'y')], [('a', 'y')]):
        write_lines('lines.jsonl' if kind == 'lines.jsonl' else 'folder/train.jsonl', rows)
        assert read(kind) == {'train': [(label, text) for text, label in rows]}

# ---- wrong that looked right

NUMBERED = '''---
dataset_info:
  features:
  - {name: text, dtype: string}
  - {name: label, dtype: {class_label: {names: {'0': '1', '1': '2', '2': '3'}}}}
---
'''

def test_a_number_is_the_place_of_a_class_and_a_string_its_name(refused):
    """Of classes called 1, 2, 3 the numbers 0, 1, 2 gave 1, 1, 2."""
    write('stars/README.md', NUMBERED)
    write('stars/train.jsonl', lines(*[(f'text {i}', i) for i in range(3)]))
    assert [label for label, _ in read('stars')['train']] == ['1', '2', '3']
    write('stars/train.jsonl', lines(*[(f'text {i}', str(i)) for i in (1, 2, 3)]))
    assert [label for label, _ in read('stars')['train']] == ['1', '2', '3']
    write('stars/train.jsonl', lines(('a', '0')))
    assert 'it has the label 0; there are 1, 2, 3' in refused('stars')
    os.remove('stars/train.jsonl')
    write('stars/train.csv', 'text,label\na,0\n')
    assert ('train.csv cannot be loaded: its labels may be classes or their numbers: 1, 2, 3'
            in refused('stars'))
    write('stars/README.md', NUMBERED.replace("'0': '1', '1': '2', '2': '3'", "'0': '0', '1': x"))
    write('stars/train.csv', 'text,label\na,0\nb,1\nc,x\n')
    assert [label for label, _ in read('stars')['train']] == ['0', 'x', 'x']

@pytest.mark.parametrize('train, test', [
    ('trainData.jsonl', 'testData.jsonl'), ('TRAIN1.jsonl', 'Test2.jsonl'),
    ('TRAINSet.jsonl', 'myTestSet.jsonl'), ('trainFiles/a.jsonl', 'testFiles/a.jsonl')])
def test_words_end_at_capitals_and_digits(train, test):
    """All was train, and a test set was cut from the union."""
    for file in (train, test):
        write(f'rows/{file}', lines((file, 'x')))
    assert read('rows') == {'test': [('x', test)], 'train': [('x', train)]}

@pytest.mark.parametrize('train, test', [
    ('trainset.jsonl', 'testset.jsonl'), ('train.jsonl', 'testset.jsonl'),
    ('trainset/a.jsonl', 'testset/a.jsonl'), ('news.jsonl', 'evaluated.jsonl')])
def test_a_name_that_only_begins_with_a_split_is_refused(refused, train, test):
    for file in (train, test):
        write(f'rows/{file}', lines((file, 'x')))
    assert f'{test} begins with the word of a split' in refused('rows')
    os.remove(f'rows/{test}')
    assert read('rows') == {'train': [('x', train)]}
    write('rows/newest.jsonl', lines(('b', 'x')))  # 'test' is within

POINTER = b'version https://git-lfs.github.com/spec/v1\noid sha256:' + b'4d' * 32 + b'\nsize 9876\n'

@pytest.mark.parametrize('ending', ['txt', 'csv', 'csv.gz', 'jsonl', 'jsonl.zip', 'parquet'])
def test_a_pointer_of_git_lfs_is_no_text(refused, ending):
    """As .txt it was a document; else it was refused without the cause."""
    file = f'cloned/x/train.{ending}'
    write(file, POINTER)
    said = refused('cloned' if ending == 'txt' else file)
    assert file in said and 'git lfs pull' in said

def test_the_names_in_a_header_are_shown_as_they_are(refused):
    write('blanks.csv', 'text, label\na,x\n')
    assert "it has no column 'label'; it has 'text', ' label'" in refused('blanks.csv')
    write('excel.csv', 'sep=;\ntext;label\na;x\n')
    assert "it has no column 'text'; it has 'sep=', ''" in refused('excel.csv')
