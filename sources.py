"""Reads labelled text: a source becomes {split: iterator over (component, document)}, the splits in
the order test, val, train, a document the bytes of its text in UTF-8.

Not a letter of a text or label is changed, and nothing is guessed: what a file does not say for
certain is refused, by file and line. A few megabytes are held at a time, but a JSON list is whole.
docs/outputs.md has what is read, and how files of a folder are dealt to splits.
"""
import bz2
import csv
import functools
import glob
import gzip
import io
import itertools
import json
import logging
import lzma
import os
import re
import zipfile

import pyarrow.parquet

from configurator import fail

# our splits, in the order in which they are read, and what others call them
SPLITS = {'test': 'test testing', 'val': 'val valid validation dev eval', 'train': 'train training'}
SPLIT_OF = {word: split for split, words in SPLITS.items() for word in words.split()}
LONGEST = 1 << 25  # characters of a field: more is an open quotation
csv.field_size_limit(LONGEST)

# ---- files -------------------------------------------------------------------

def zipped_files(path):
    """Returns the names of the files in an archive, hidden ones aside."""
    return [name for name in zipfile.ZipFile(path).namelist() if not name.startswith('__MACOSX/')
            and not re.search(r'(^|/)\.|/$', name)]

def open_zip(path):
    """Opens the one file in an archive; raises ValueError where it has another number of them."""
    names = zipped_files(path)
    if len(names) != 1:
        raise ValueError(f'it holds {len(names)} files: unpack it, and give the folder')
    return zipfile.ZipFile(path).open(names[0])

UNPACK = {'.gz': gzip.open, '.xz': lzma.open, '.bz2': bz2.open, '.zip': open_zip,
          '.zst': lambda path: pyarrow.CompressedInputStream(path, 'zstd')}

def kind_of(path):
    """Returns the ending of a file's name that says what it holds: that before .gz, say."""
    stem, ending = os.path.splitext(path.lower())
    if ending == '.zip' and '.' not in os.path.basename(stem) and zipfile.is_zipfile(path):
        stem = ''.join(zipped_files(path)[:1]).lower()
    return ending in UNPACK and os.path.splitext(stem)[1] or ending

def open_letters(path, name):
    """Opens a packed or plain file for reading text, in UTF-8 or as its byte-order mark says. The
    ends of lines stay. What is not UTF-8 becomes lone surrogates, which encode() refuses later."""
    unpack = UNPACK.get(os.path.splitext(name)[1].lower(), functools.partial(open, mode='rb'))
    file = io.BufferedReader(unpack(path), 1 << 16)
    encoding = json.detect_encoding(file.peek(4)[:4])
    if encoding.endswith(('le', 'be')):  # a zero among the first letters, and no mark
        raise ValueError(f'is it {encoding.upper()} without its byte-order mark? Write it as UTF-8')
    return io.TextIOWrapper(file, encoding, 'surrogateescape', newline='\n')

def split_of(path):
    """Returns the split that a word of a file's name is, or else of its folders' names, or None."""
    for part in reversed(path.split(os.sep)):
        words = map(str.lower, re.findall('[A-Z]?[a-z]+|[A-Z]+(?![a-z])', part))
        splits = {SPLIT_OF[word] for word in words if word in SPLIT_OF}
        if len(splits) > 1:
            fail(f'{path}: which split is it, {" or ".join(sorted(splits))}? Rename it')
        if splits:
            return splits.pop()

def by_split(source, names, split_of, read):
    """Returns {split: iterator over the documents that `read` gives of each of the names that
    split_of maps to it}; fails where none is train."""
    splits = {split: [name for name in names if split_of(name) == split] for split in SPLITS}
    if not splits['train']:
        fail(f'--source={source} has no split train; it has {", ".join(names)[:200]}')
    if left_out := sorted({*names}.difference(*splits.values())):
        print(f'left out of {source}, of no split: {", ".join(left_out)[:200]}', flush=True)
    return {split: itertools.chain.from_iterable(map(read, splits[split]))
            for split in splits if splits[split]}

# ---- rows --------------------------------------------------------------------

# A reader returns an iterator over (place in the file, row as it is there), and a parser of
# such a row, which returns the values of the columns or raises ValueError

def check_columns(columns, present):
    """Raises ValueError unless each of the columns is once among those that are present."""
    for column in columns:
        if present.count(column) != 1:
            raise ValueError(f'it has {"more than one" if column in present else "no"} column'
                             f' {column!r}; it has {", ".join(map(repr, present))[:150] or "none"}'
                             ' (see --text_column, --label_column and --separator)')

def read_delimited(file, columns, separator, quotes):
    """Returns the rows of a delimited file, of which every value is a string, and their parser."""
    # the header, by the separator that gives the columns
    quoting = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
    header = file.readline(LONGEST)
    names_by = {s: next(csv.reader([header], delimiter=s, quoting=quoting), [])
                for s in separator or ',\t;'}
    separator = max(names_by, key=lambda s: (set(columns) <= {*names_by[s]}, len(names_by[s])))
    names = names_by[separator]
    check_columns(columns, names)
    places = [names.index(column) for column in columns]

    # csv takes more for a row than is one: a mark within a field that has none around it, say
    s, end = re.escape(separator), '\r\n' if header.endswith('\r\n') else '\n'
    field = rf'(?:"(?:[^"]++|"")*+"|[^"\r\n{s}]*+)' if quotes else rf'[^\r\n{s}]*+'
    is_row = re.compile(rf'{field}(?:{s}{field})*+(?:{end})?').fullmatch

    def parse(record):
        if not is_row(record):
            raise ValueError('it is not as RFC 4180 has it: marks go around a field that holds a'
                             ' mark or the end of a line, doubled within, and lines end as the'
                             ' header does (--quotes=False takes all marks for letters)')
        row, = csv.reader([record], delimiter=separator, quoting=quoting)
        if len(row) != len(names):
            raise ValueError(f'it has {len(row)} fields, and the header {len(names)}: put quotation'
                             f' marks around a field that holds {separator!r}')
        return [row[place] for place in places]

    return join_lines(file, quotes), parse

def join_lines(file, quotes):
    """Yields ('line 2', record) from the second line of a file on. A record is a line, or as many
    as make its quotation marks even: within them a line may end. Blank lines are left out."""
    record, number, is_open = '', 2, False
    for next_number, line in enumerate(file, 3):
        record += line
        is_open ^= quotes and line.count('"') % 2 == 1
        if not is_open or len(record) > LONGEST:
            if record.strip('\r\n'):
                yield f'line {number}', record
            record, number, is_open = '', next_number, False
    if record:
        yield f'line {number}', record

def unique(pairs):
    """Returns the dict of a JSON object; raises ValueError where it has a name twice."""
    row = dict(pairs)
    if len(row) < len(pairs):
        raise ValueError('a name is there twice')
    return row

class Number(str):
    """A number of JSON, as it is spelled: no string of JSON is one."""
    __repr__ = str.__str__

JSON = json.JSONDecoder(object_pairs_hook=unique, parse_int=Number, parse_float=Number,
                        parse_constant=lambda text: None)  # NaN is none

def read_json(file, columns, *_):
    """Returns the rows of a JSON file, an object a line or a list of objects, and their parser."""
    def pick(row):
        if type(row) is not dict:
            raise ValueError(f'it is no object with the keys {", ".join(columns)}')
        check_columns(columns, list(row))
        return [row[column] for column in columns]

    lines = ((f'line {i}', line) for i, line in enumerate(file, 1) if not line.isspace())
    first = next(lines, ('', '[]'))
    if first[1].lstrip().startswith('['):
        values = JSON.decode(first[1] + file.read())
        return ((f'object {i}', value) for i, value in enumerate(values, 1)), pick
    return itertools.chain([first], lines), lambda line: pick(JSON.decode(line))

def read_parquet(path, columns, *_):
    """Returns the rows of a parquet file, and their parser."""
    # datasets would hold a row group, 100 MB say, several times
    file = pyarrow.parquet.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False)
    check_columns(columns, file.schema_arrow.names)
    batches = file.iter_batches(100, columns=columns, use_threads=False)
    rows = (row for batch in batches for row in zip(*(batch[c].to_pylist() for c in columns)))
    return ((f'row {i}', row) for i, row in enumerate(rows, 1)), list

READERS = {'.parquet': read_parquet, '.csv': read_delimited, '.tsv': read_delimited,
           '.json': read_json, '.jsonl': read_json, '.ndjson': read_json}

# ---- documents ---------------------------------------------------------------

def fail_on_source(name, error, where='', also=''):
    """Fails with a library's message (datasets, pyarrow and the network raise many types)."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    fail(f'{name}{f", {where}" if where else " cannot be loaded"}: {line[:300]}{also}')

def to_document(texts, label, by_number, by_name):
    """Returns (component, document in bytes): several texts are joined by an empty line. A label is
    its component, or where there are classes, {number or name: name}, the one that it says."""
    if wrong := [text for text in texts if type(text) is not str]:
        raise ValueError(f'it has no text, but {wrong[0]!r:.50}')
    if type(label) is bool:
        label = str(label).lower()
    if type(label) not in (str, int, float, Number) or label == '' or label != label:
        raise ValueError(f'it has no label, but {label!r:.50}')
    known = by_name if type(label) is str else by_number
    if known and str(label) not in known:
        raise ValueError(f'it has the label {label}; there are {", ".join(known):.200}')
    component = known.get(str(label), str(label))
    try:
        component.encode()
        return component, '\n\n'.join(filter(None, texts)).encode()
    except UnicodeEncodeError as e:
        before = e.object[:e.start]
        raise ValueError(f'it is not UTF-8, at {before[-20:] + e.object[e.start]!r} in its line'
                         f' {1 + before.count(chr(10))}')

def read_file(path, columns, separator, quotes, name='', names=()):
    """Yields the documents of a file; fails at what is none. That of a .txt is its text, of the
    component whose folder it is in. name is the file's own where path is that of a download, names
    are those of the label's classes where the file does not say."""
    name, where = name or path, ''
    try:
        kind = kind_of(name)
        with open(path, 'rb') as file:
            if file.read(50).startswith(b'version https://git-lfs'):
                raise ValueError('it is a pointer of git-lfs to the file: git lfs pull fetches it')
        if kind == '.txt':
            text, folder = open_letters(path, name).read(), os.path.dirname(path)
            rows, parse = [('', (text, os.path.basename(folder)))], list
        elif kind == '.parquet':
            metadata = pyarrow.parquet.read_schema(path).metadata or {}  # of datasets' ClassLabel
            info = json.loads(metadata.get(b'huggingface', '{}')).get('info', {})
            names = names or info.get('features', {}).get(columns[-1], {}).get('names', [])
            rows, parse = read_parquet(path, columns)
        elif kind in READERS:
            rows, parse = READERS[kind](open_letters(path, name), columns, separator, quotes)
        else:
            raise ValueError(f'the ending {kind!r} is none of {", ".join(READERS)} and .txt')
        by_number = {str(i): class_name for i, class_name in enumerate(names)}
        by_name = dict(zip(names, names))
        if kind in ('.csv', '.tsv'):  # where a number is a string
            if by_name | by_number != by_number | by_name:
                raise ValueError(f'its labels may be classes or their numbers: {", ".join(names)}'
                                 ' (take class_label out of README.md, or use .jsonl)')
            by_name |= by_number
        for where, row in rows:
            *texts, label = parse(row)
            yield to_document(texts, label, by_number, by_name)
    except Exception as e:
        fail_on_source(name, e, where)

# ---- sources -----------------------------------------------------------------

def open_text(source, config, columns, separator='', quotes=True):
    """Returns {split: iterator over (component, document in bytes)} of a source of text: a file, a
    folder, or the id of a data set of the hub, of which config names a configuration. columns are
    those of the texts, and that of the label. Fails where there is nothing to read."""
    separator = {'tab': '\t', r'\t': '\t'}.get(separator, separator)
    if len(columns) < 2 or len(separator) > 1 or separator in ('"', '\r', '\n'):
        fail('--separator: it is one character, such as ";", or tab; --text_column names a column')
    path = os.path.expanduser(source)
    read = functools.partial(read_file, columns=columns, separator=separator, quotes=quotes)
    if os.path.isdir(path):
        return open_folder(source, path, config, columns, read)
    if os.path.isfile(path):
        return {'train': read(path)}
    is_id = re.fullmatch(r'[\w.-]+/[\w.-]+', source)
    if not is_id or kind_of(path) in (*READERS, '.txt', '.hdf5', '.h5'):
        fail(f'--source={source}: no such file or folder (owner/name is a data set of the hub)')
    print(f'loading {source} from the hub ...', flush=True)
    return open_hub(source, source, config, columns, read)

def open_folder(source, folder, config, columns, read):
    """Returns the documents of a folder: <split>/<component>/*.txt, <component>/*.txt, the files
    that its README.md lists, as on the hub, or all files of rows."""
    files = sorted(file for file in glob.glob('**', root_dir=folder, recursive=True)  # none hidden
                   if not os.path.isdir(os.path.join(folder, file)))
    kinds = {file: kind_of(os.path.join(folder, file)) for file in files}
    texts = [file for file in files if kinds[file] == '.txt']
    rows = [file for file in files if kinds[file] in READERS]
    in_splits = {file: SPLIT_OF.get(file.split(os.sep)[0].lower()) for file in texts
                 if file.count(os.sep) == 2}
    in_components = {file: 'train' for file in texts if file.count(os.sep) == 1}
    splits = in_splits if 'train' in in_splits.values() else in_components
    if not splits and 'README.md' in files and has_card(os.path.join(folder, 'README.md')):
        return open_hub(source, os.path.abspath(folder), config, columns, read)
    if not splits:
        named = {file: split_of(file) for file in rows}
        splits = named if any(named.values()) else dict.fromkeys(rows, 'train')
        for file in [file for file in rows if not named[file] and len(rows) > 1]:
            begun = re.findall(f'(?:^|/)({"|".join(SPLIT_OF)})', file.lower())
            if {SPLIT_OF[word] for word in begun} - {splits[file]}:
                fail(f'{file} begins with the word of a split, but goes on: call it {begun[-1]}-..'
                     ' if it is of that, else otherwise')
    if not splits:
        fail(f'--source={source} cannot be loaded: it has no {", ".join(READERS)} or .hdf5, and no'
             ' .txt in folders, one a component')
    return by_split(source, files, splits.get, lambda file: read(os.path.join(folder, file)))

def has_card(path):
    """Returns whether a README.md lists files, as that of a data set of the hub does."""
    with open(path, encoding='utf-8', errors='replace') as f:
        return bool(re.match(r'---\s*\n((?!---).*\n)*?(configs|dataset_info):', f.read()))

def open_hub(source, place, config, columns, read):
    """Returns the documents of a data set at `place`: its hub id, or the absolute path of one."""
    import datasets  # a third of a second
    import huggingface_hub
    huggingface_hub.logging.set_verbosity_error()  # no line for each retry
    datasets.logging.set_verbosity(logging.CRITICAL)  # what goes wrong is said once, at the end
    try:
        configs = datasets.get_dataset_config_names(place) if os.path.isabs(place) else []
        config = configs[0] if len(configs) == 1 else config
        builder = datasets.load_dataset_builder(place, config or None)
        feature = (builder.info.features or {}).get(columns[-1])
        names = getattr(feature, 'names', [])  # of a ClassLabel
        files = {str(part): [*map(str, part_files)]
                 for part, part_files in builder.config.data_files.items()}
        wanted = {part: files[part] for part in files if part in SPLIT_OF}
        paths = datasets.DownloadManager().download(wanted)
    except Exception as e:
        fail_on_source(f'--source={source}', e, also=' (a local folder or file of parquet, json'
                       ' lines, csv or .txt works too)')

    def read_part(part):
        for path, name in zip(paths[part], files[part]):
            yield from read(path, name=name, names=names)

    return by_split(source, list(files), SPLIT_OF.get, read_part)
