"""Reads labelled text: a source becomes {split: iterator over (component, document)}, the splits in
the order test, val, train, a document the bytes of its text in UTF-8.

Not a letter of a text or label is changed, and nothing is guessed: what a file does not say for
certain is refused, by file and line. A few megabytes are held at a time, but a JSON list is whole.
docs/outputs.md has what is read, and how files of a folder are dealt to splits.
"""
import bz2
import codecs
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

# datasets takes a third of a second to import: the functions that need it do

# our splits, in the order in which they are read, and what others call them
SPLITS = {'test': 'test testing', 'val': 'val valid validation dev eval', 'train': 'train training'}
SPLIT_OF = {word: split for split, words in SPLITS.items() for word in words.split()}
MARKS = {codecs.BOM_UTF8: 'utf-8-sig', codecs.BOM_UTF32_LE: 'utf-32', codecs.BOM_UTF32_BE: 'utf-32',
         codecs.BOM_UTF16_LE: 'utf-16', codecs.BOM_UTF16_BE: 'utf-16'}
LONGEST = 1 << 25  # characters of a field: more is an open quotation
csv.field_size_limit(LONGEST)

# -----------------------------------------------------------------------------
# files


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


def check_pointer(path):
    """Raises ValueError where a file is git-lfs's note of where its content lies."""
    with open(path, 'rb') as file:
        if file.read(50).startswith(b'version https://git-lfs'):
            raise ValueError('it is a pointer of git-lfs to the file: git lfs pull fetches that')


def open_letters(path, name):
    """Opens a packed or plain file for reading text, in UTF-8 or as its byte-order mark says. The
    ends of lines stay. What is not UTF-8 becomes lone surrogates, which encode() refuses later."""
    unpack = UNPACK.get(os.path.splitext(name)[1].lower(), functools.partial(open, mode='rb'))
    file = io.BufferedReader(unpack(path), 1 << 16)
    start = file.peek(1)[:1000]
    encoding = next((MARKS[mark] for mark in MARKS if start.startswith(mark)), 'utf-8')
    if encoding == 'utf-8' and len(start) > 3 and not (any(start[::2]) and any(start[1::2])):
        raise ValueError('every other byte is zero; is it UTF-16 without its byte-order mark?')
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


def by_split(source, names, split_of):
    """Returns {split: those of the names that split_of maps to it}; fails where none is train."""
    splits = {split: [name for name in names if split_of(name) == split] for split in SPLITS}
    if not splits['train']:
        fail(f'--source={source} has no split train; it has {", ".join(names)[:200]}')
    if left_out := sorted({*names}.difference(*splits.values())):
        print(f'left out of {source}, of no split: {", ".join(left_out)[:200]}', flush=True)
    return {split: splits[split] for split in splits if splits[split]}


# -----------------------------------------------------------------------------
# rows: a reader returns an iterator over (place in the file, row as it is there), and a parser of
# such a row, which returns the values of the columns or raises ValueError


def check_columns(columns, present):
    """Raises ValueError unless each of the columns is once among those that are present."""
    for column in columns:
        if present.count(column) != 1:
            raise ValueError(f'it has {"more than one" if column in present else "no"} column'
                             f' {column!r}; it has {", ".join(map(repr, present))[:200] or "none"}'
                             ' (see --text_column, --label_column and --separator)')


def read_delimited(file, columns, separator, quotes):
    """Returns the rows of a delimited file, of which every value is a string, and their parser."""
    # the header, by the separator that gives the columns
    quoting = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
    header = file.readline(LONGEST)
    if mark := re.fullmatch('"?(sep=(.))"?\r?\n', header, re.IGNORECASE):
        raise ValueError(f'line 1, {mark[1].lower()!r}, is no header but for spreadsheets: remove'
                         f' it, and set --separator={mark[2]!r}')
    end = '\r\n' if header.endswith('\r\n') else '\n'
    if '\r' in header.removesuffix(end):
        raise ValueError(r'line 1 has a carriage return within: lines end in \n or \r\n')
    names_by = {s: next(csv.reader([header], delimiter=s, quoting=quoting), [])
                for s in separator or ',\t;'}
    separator = max(names_by, key=lambda s: (set(columns) <= {*names_by[s]}, len(names_by[s])))
    names = names_by[separator]
    check_columns(columns, names)
    places = [names.index(column) for column in columns]

    # csv takes more for a row than is one: a mark within a field that has none around it, say
    s = re.escape(separator)
    field = rf'(?:"(?:[^"]++|"")*+"|[^"\r\n{s}]*+)' if quotes else rf'[^\r\n{s}]*+'
    is_row = re.compile(rf'{field}(?:{s}{field})*+(?:{end})?').fullmatch

    def parse(record):
        if not is_row(record):
            raise ValueError('it is not as RFC 4180 has it: a field that holds a quotation mark, a'
                             ' carriage return or the end of a line needs marks around it, doubled'
                             ' within, and lines end as the header does (--quotes=False takes all'
                             ' marks for letters)')
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
        if not row.keys() >= {*columns}:
            check_columns(columns, list(row))
        return [row[column] for column in columns]

    lines = ((f'line {i}', line) for i, line in enumerate(file, 1) if not line.isspace())
    first = next(lines, ('', ''))
    if first[1].lstrip().startswith('['):
        values = JSON.decode(first[1] + file.read())
        return ((f'object {i}', value) for i, value in enumerate(values, 1)), pick
    return itertools.chain(filter(any, [first]), lines), lambda line: pick(JSON.decode(line))


def read_parquet(path, columns, *_):
    """Returns the rows of a parquet file, and their parser."""
    # datasets would hold a row group, 100 MB say, several times
    file = pyarrow.parquet.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False)
    check_columns(columns, file.schema_arrow.names)
    batches = file.iter_batches(100, columns=columns, use_threads=False)
    return number_rows((batch.to_pydict() for batch in batches), columns), list


def number_rows(batches, columns):
    """Yields ('row 1', its values) of batches, {column: values}."""
    rows = (row for batch in batches for row in zip(*(batch[column] for column in columns)))
    yield from ((f'row {number}', row) for number, row in enumerate(rows, 1))


READERS = {'.parquet': read_parquet, '.csv': read_delimited, '.tsv': read_delimited,
           '.json': read_json, '.jsonl': read_json, '.ndjson': read_json}


# -----------------------------------------------------------------------------
# documents


def fail_on_source(name, error, where='', also=''):
    """Fails with a library's message (datasets, pyarrow and the network raise many types)."""
    if isinstance(error, MemoryError):
        raise error
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    fail(f'{name} cannot be loaded{where and f" after {where}"}: {line[:300]}{also}')


def read_classes(names, in_csv=False):
    """Returns what labels stand for where names are those of classes: {number: its class} and
    {string: its class}, a name, or where none is another's number, a number. Raises ValueError
    where in_csv, whose numbers are strings, a label may be both."""
    numbers, strings = {str(i): name for i, name in enumerate(names)}, {n: n for n in names}
    both = [name for name in names if numbers.get(name, name) != name]
    if both and in_csv:
        raise ValueError(f'its label {both[0]!r} may be a class, or the number of class'
                         f' {numbers[both[0]]!r}: take class_label out of README.md, or use .jsonl')
    return numbers, strings if both else numbers | strings


def class_names(path, column):
    """Returns the names of a column's classes (datasets' ClassLabel) in a parquet file, or []."""
    metadata = pyarrow.parquet.read_schema(path).metadata or {}
    info = json.loads(metadata.get(b'huggingface', '{}')).get('info', {})
    return info.get('features', {}).get(column, {}).get('names', [])


def name_label(label, classes):
    """Returns a label's component: its text, or its class by read_classes."""
    if type(label) is bool:
        label = str(label).lower()
    if type(label) not in (str, int, float, Number) or label == '' or label != label:
        raise ValueError(f'it has no label, but {label!r:.50}')
    if any(classes):
        numbers, strings = classes
        known = strings if type(label) is str else numbers
        if str(label) not in known:
            raise ValueError(f'it has the label {label}; there are {", ".join(known):.200}')
        return known[str(label)]
    return str(label)


def to_document(texts, label, classes=()):
    """Returns (component, document in bytes): several texts are joined by an empty line."""
    for text in texts:
        if type(text) is not str:
            raise ValueError(f'it has no text, but {text!r:.50}')
    try:
        component = name_label(label, classes)
        component.encode()
        return component, '\n\n'.join(filter(None, texts)).encode()
    except UnicodeEncodeError as e:
        before = e.object[:e.start]
        raise ValueError(f'it is not UTF-8, at {before[-20:] + e.object[e.start]!r} in its line'
                         f' {1 + before.count(chr(10))}')


def read_documents(name, rows, parse, classes=()):
    """Yields (component, document in bytes) of the rows of a file; fails at one that is none."""
    where = ''
    try:
        for where, row in rows:
            try:
                *texts, label = parse(row)
                document = to_document(texts, label, classes)
            except ValueError as e:
                fail(f'{name}, {where}: {e}')
            yield document
    except Exception as e:
        fail_on_source(name, e, where)


def read_file(path, columns, separator, quotes, name='', names=()):
    """Yields the documents of a file of rows. name is its own where path is that of a download,
    names are those of the label's classes where the file does not say."""
    name = name or path
    try:
        kind = kind_of(name)
        if kind not in READERS:
            raise ValueError(f'the ending {kind!r} is none of {", ".join(READERS)}, and .txt are'
                             ' read in folders, one a component')
        check_pointer(path)
        if kind == '.parquet':
            file, names = path, names or class_names(path, columns[-1])
        else:
            file = open_letters(path, name)
        classes = read_classes(names, kind in ('.csv', '.tsv'))
        rows, parse = READERS[kind](file, columns, separator, quotes)
    except Exception as e:
        fail_on_source(name, e)
    yield from read_documents(name, rows, parse, classes)


def read_text(path):
    """Yields the document of a text file, whose component is the folder that it is in."""
    try:
        check_pointer(path)
        with open_letters(path, path) as file:
            yield to_document([file.read()], os.path.basename(os.path.dirname(path)))
    except Exception as e:
        fail_on_source(path, e)


# -----------------------------------------------------------------------------
# sources


def open_text(source, config, columns, separator='', quotes=True):
    """Returns {split: iterator over (component, document in bytes)} of a source of text: a file, a
    folder, or the id of a data set of the hub, of which config names a configuration. columns are
    those of the texts, and that of the label. Fails where there is nothing to read."""
    if len(columns) < 2:
        fail('--text_column names no column')
    separator = {'tab': '\t', r'\t': '\t'}.get(separator, separator)
    if len(separator) > 1 or separator in ('"', '\r', '\n'):
        fail(f'--separator={separator!r}: it is one character, such as ";", or tab')
    path = os.path.expanduser(source)
    read = functools.partial(read_file, columns=columns, separator=separator, quotes=quotes)
    if os.path.isdir(path):
        return open_folder(source, path, config, columns, read)
    if os.path.isfile(path):
        return {'train': read(path)}
    no_id = not re.fullmatch(r'[\w.-]+(/[\w.-]+)?', source)
    if no_id or kind_of(path) in (*READERS, '.txt', '.hdf5', '.h5'):
        fail(f'--source={source}: there is no such file or folder')
    return open_hub(source, source, config, columns, read)


def open_folder(source, folder, config, columns, read):
    """Returns the documents of a folder: <split>/<component>/*.txt, <component>/*.txt, the files
    that its README.md lists, as on the hub, or all files of rows."""
    files = sorted(file for file in glob.glob('**', root_dir=folder, recursive=True)  # none hidden
                   if not os.path.isdir(os.path.join(folder, file)))
    kinds = {file: kind_of(os.path.join(folder, file)) for file in files}
    texts = [file for file in files if kinds[file] == '.txt']
    in_splits = {file: SPLIT_OF.get(file.split(os.sep)[0].lower()) for file in texts
                 if file.count(os.sep) == 2}
    in_components = {file: 'train' for file in texts if file.count(os.sep) == 1}
    rows = [file for file in files if kinds[file] in READERS]
    if texts := in_splits if 'train' in in_splits.values() else in_components:
        read, splits = read_text, texts
    elif has_card(os.path.join(folder, 'README.md')):
        return open_hub(source, os.path.abspath(folder), config, columns, read)
    elif rows:
        named = {file: split_of(file) for file in rows}
        splits = named if any(named.values()) else dict.fromkeys(rows, 'train')
        for file in [file for file in rows if not named[file] and len(rows) > 1]:
            begun = re.findall(f'(?:^|/)({"|".join(SPLIT_OF)})', file.lower())
            if any(SPLIT_OF[word] != splits[file] for word in begun):
                fail(f'{file} begins with the word of a split, but goes on: call it'
                     f' {begun[-1]}-.. if it is of that, else otherwise')
    else:
        fail(f'--source={source} cannot be loaded: it has no {", ".join(READERS)} or .hdf5, and no'
             ' .txt in folders, one a component')
    return {split: itertools.chain.from_iterable(read(os.path.join(folder, file)) for file in part)
            for split, part in by_split(source, files, splits.get).items()}


def has_card(path):
    """Returns whether a README.md lists files, as that of a data set of the hub does."""
    if not os.path.isfile(path):
        return False
    with open(path, encoding='utf-8', errors='replace') as f:
        card = re.match(r'---\s*\n(.*?)\n---', f.read(), re.DOTALL)
    return bool(card and re.search('^(configs|dataset_info):', card[1], re.MULTILINE))


def open_hub(source, place, config, columns, read):
    """Returns the documents of a data set at `place`: its hub id, or the absolute path of one."""
    import datasets
    import huggingface_hub
    huggingface_hub.logging.set_verbosity_error()  # no line for each retry
    datasets.logging.set_verbosity(logging.CRITICAL)  # what goes wrong is said once, at the end
    local = os.path.isabs(place)
    if hasattr(datasets.packaged_modules, place):  # csv, say, would be all of the current folder
        fail(f'--source={source}: there is no such file or folder')
    if not local:
        print(f'loading {source} from the hub ...', flush=True)
    try:
        configs = datasets.get_dataset_config_names(place) if local else []
        config = configs[0] if len(configs) == 1 else config
        builder = datasets.load_dataset_builder(place, config or None)
        features = builder.info.features or {}
        names = getattr(features.get(columns[-1]), 'names', [])  # of a ClassLabel
        as_files = local or type(builder.config).__name__ in ('CsvConfig', 'JsonConfig')
        if as_files:
            parts = {part: [*map(str, files)] for part, files in builder.config.data_files.items()}
        else:  # datasets reads the files, and keeps them as Arrow
            builder.download_and_prepare()
            parts = builder.as_dataset()
            check_columns(columns, list(features))
        splits = by_split(source, list(parts), SPLIT_OF.get)
        paths = {part: datasets.DownloadManager().download(parts[part])
                 for part in itertools.chain(*splits.values()) if as_files}
    except Exception as e:
        fail_on_source(f'--source={source}', e, also=' (a local folder or file of parquet, json'
                       ' lines, csv or .txt works too)')

    def read_part(part):
        if as_files:
            for path, name in zip(paths[part], parts[part]):
                yield from read(path, name=name, names=names)
        else:
            rows = number_rows(parts[part].select_columns(columns).iter(100), columns)
            yield from read_documents(f'{source}, {part}', rows, list, read_classes(names))

    return {split: itertools.chain.from_iterable(map(read_part, splits[split])) for split in splits}
