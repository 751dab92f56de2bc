"""
Reads labelled text: a source becomes {split: iterator over (component, document)}, the splits in
the order test, val, train, a document the bytes of its text in UTF-8.

Not a letter of a text or label is changed, and nothing is guessed. What a file does not say for
certain is refused, by file and line. These are read, a few megabytes of text at a time:

  .csv, .tsv    every field is text. The separator, a comma, tab or semicolon, is read off the
                header. Quotation marks are those of RFC 4180: around a whole field, doubled within.
  .jsonl, .json an object a line, or a list of objects. A label may be a number or boolean: its name
                is what the file says, 1.10 or true.
  .parquet      a label may be a string, number or boolean, or a class of datasets' ClassLabel
  .txt          a document, of the component whose folder it is in
  .hdf5         the older pipeline's windows of tokens

A source is a file, a folder of such files, or a data set of the hub. Files may be packed (.gz .xz
.zst .bz2 .zip), but for .parquet and .hdf5. In a folder, a file whose name, or whose folder's name,
has the word train, val or test is of that split; where none has one all are train.
"""
import bz2
import codecs
import csv
import functools
import gzip
import io
import itertools
import json
import logging
import lzma
import os
import pkgutil
import re
import zipfile

import h5py
import huggingface_hub
import pyarrow.parquet

from configurator import fail

# datasets takes a third of a second to import: the functions that need it do

# our splits, in the order in which they are read, and what others call them
SPLITS = {'test': 'test testing', 'val': 'val valid validation dev eval', 'train': 'train training'}
SPLIT_OF = {word: split for split, words in SPLITS.items() for word in words.split()}
PACKED = ('.gz', '.xz', '.zst', '.bz2', '.zip')
SEPARATORS = ',\t;'
LONGEST = 1 << 25  # characters of a field, or of an object in a list: more is an open quotation
HUB_ID = r'[\w.-]+(/[\w.-]+)?'
BYTE_ORDER_MARKS = {codecs.BOM_UTF8: 'utf-8-sig', codecs.BOM_UTF32_LE: 'utf-32',
                    codecs.BOM_UTF32_BE: 'utf-32', codecs.BOM_UTF16_LE: 'utf-16',
                    codecs.BOM_UTF16_BE: 'utf-16'}
csv.field_size_limit(LONGEST)


def fail_on_source(name, error, where='', also=''):
    """Fails with a library's message (datasets, pyarrow and the network raise many types)."""
    if isinstance(error, MemoryError):
        raise error
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    fail(f'{name} cannot be loaded{where and f" after {where}"}: {line[:300]}{also}')


def check_columns(name, columns, present, also=''):
    """Fails where one of the columns is not among those that a file has, or is there twice."""
    for column in columns:
        if present.count(column) != 1:
            fail(f'{name} has {"more than one" if column in present else "no"} column {column!r};'
                 f' it has {", ".join(present)[:200] or "none"}'
                 f' (set --text_column, --label_column{also})')


# -----------------------------------------------------------------------------
# files


def open_packed(path, name):
    """Opens a file for reading its bytes, unpacked as the ending of its name says."""
    ending = os.path.splitext(name)[1].lower()
    if ending == '.zip':
        archive = zipfile.ZipFile(path)
        if len(names := zipped_names(archive)) != 1:
            raise ValueError(f'it holds {len(names)} files: unpack it, and give the folder')
        return archive.open(names[0])
    if ending == '.zst':
        return pyarrow.CompressedInputStream(path, 'zstd')
    return {'.gz': gzip.open, '.xz': lzma.open, '.bz2': bz2.open}.get(ending, open)(path, 'rb')


def zipped_names(archive):
    """Returns the names of the files in a zipfile.ZipFile, hidden ones aside."""
    return [name for name in archive.namelist() if not name.startswith('__MACOSX/')
            and not os.path.basename(name).startswith('.') and not name.endswith('/')]


def encoding_of(start):
    """Returns the encoding of a file that starts with these bytes: UTF-8, or as its mark says."""
    return next((BYTE_ORDER_MARKS[m] for m in BYTE_ORDER_MARKS if start.startswith(m)), 'utf-8')


def open_letters(path, name):
    """
    Opens a packed or plain file for reading text. The ends of lines stay. What is not UTF-8 becomes
    lone surrogates, which encode() refuses later.
    """
    file = io.BufferedReader(open_packed(path, name), 1 << 16)
    return io.TextIOWrapper(file, encoding_of(file.peek(4)), 'surrogateescape', newline='\n')


def find_files(folder):
    """
    Returns the paths of the files below a folder, relative to it and sorted, but for hidden ones.
    Links are followed, and every folder is read once, whatever leads to it.
    """
    paths, seen = [], {os.path.realpath(folder)}
    for here, folders, names in os.walk(folder, followlinks=True):
        below = {name: os.path.realpath(os.path.join(here, name)) for name in sorted(folders)
                 if not name.startswith('.')}
        folders[:] = [name for name in below if below[name] not in seen]
        seen.update(below.values())
        inside = os.path.join(os.path.relpath(here, folder), '').removeprefix('./')
        paths += [inside + name for name in names if not name.startswith('.')]
    return sorted(paths)


def kind_of(path):
    """Returns the ending of a file's name that says what it holds: that before .gz, say."""
    stem, ending = os.path.splitext(path.lower())
    if ending not in PACKED:
        return ending
    inner = os.path.splitext(stem)[1]
    if ending == '.zip' and not inner and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            inner = os.path.splitext((zipped_names(archive) + [''])[0].lower())[1]
    return inner or ending


def split_of(path):
    """
    Returns which split a path's words name, or None: those of the file's name, else of the nearest
    folder's. Fails where they name two.
    """
    for part in reversed(path.split(os.sep)):
        splits = {SPLIT_OF[word] for word in re.findall('[a-z]+', part.lower()) if word in SPLIT_OF}
        if len(splits) > 1:
            fail(f'{path}: which split is it, {" or ".join(sorted(splits))}? Rename it')
        if splits:
            return splits.pop()


def by_split(source, names, split_of):
    """Returns {split: those of the names that split_of maps to it}; fails where none is train."""
    splits = {split: [name for name in names if split_of(name) == split] for split in SPLITS}
    if not splits['train']:
        fail(f'--source={source} has no split train; it has {", ".join(names)[:200]}')
    return {split: splits[split] for split in splits if splits[split]}


def say_left_out(source, names, reason):
    """Prints a line on what is not read of a source, if anything."""
    if names := sorted(names):
        more = f' and {len(names) - 5:,} more' * (len(names) > 5)
        print(f'left out of {source}: {", ".join(names[:5])}{more} ({reason})', flush=True)


# -----------------------------------------------------------------------------
# rows: a reader yields ('line 2', values of the columns) for each


def read_delimited(path, name, columns, separator, quotes):
    """
    Yields the rows of a delimited file, every value a string. Without quotes a quotation mark is a
    letter as any other, and a value holds neither separators nor line ends.
    """
    def keep(file):
        for line in file:
            lines.append(line)
            yield line

    def refuse(reason):
        fail(f'{name}, line {number} {reason}')

    number, lines, quoting = 1, [], csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
    with open_letters(path, name) as file:
        # the header, by the separator that gives the columns
        header = file.readline(LONGEST)
        end = header[len(header.rstrip('\r\n')):]
        if end == '\r' or '\r' in header.removesuffix(end):
            refuse(r'has a carriage return within: lines end in \n or \r\n')
        names_by = {s: next(csv.reader([header], delimiter=s, quoting=quoting), [])
                    for s in separator or SEPARATORS}
        separator = max(names_by, key=lambda s: (set(columns) <= {*names_by[s]}, len(names_by[s])))
        names = names_by[separator]
        check_columns(name, columns, names, also=', --separator')
        places = [names.index(column) for column in columns]

        # the rows; csv does not mind a mark within a field that has none around it
        s = re.escape(separator)
        field = rf'(?:"(?:[^"]++|"")*+"|[^"\r\n{s}]*+)'
        as_in_rfc = re.compile(rf'{field}(?:{s}{field})*+\r?\n?').fullmatch
        reader = csv.reader(keep(file), delimiter=separator, quoting=quoting, strict=True)
        number = 2
        try:
            for row in reader:
                raw = ''.join(lines)
                if row and quotes and '"' in raw and not as_in_rfc(raw):
                    raise csv.Error('a quotation mark in a field that has none around it')
                if row and len(row) != len(names):
                    refuse(f'has {len(row)} fields, and the header {len(names)}: put quotation'
                           f' marks around a field that holds {separator!r} or the end of a line')
                line_end = '\r\n' if raw.endswith('\r\n') else raw[-1]
                if line_end in ('\r\n', '\n', '\r') and line_end != end:
                    refuse(f'ends in {line_end!r}, and the header in {end!r}: is the carriage'
                           ' return a letter? End all lines alike, and put quotation marks around'
                           ' a field that holds one')
                if row:
                    yield f'line {number}', [row[place] for place in places]
                number = reader.line_num + 2
                lines.clear()
        except csv.Error as e:
            refuse(f'is not as RFC 4180 has it ({e}): put quotation marks around the whole field,'
                   ' and double those within; --quotes=False takes them for letters everywhere')


def unique(pairs):
    """Returns the dict of a JSON object; raises ValueError where it has a name twice."""
    row = dict(pairs)
    if len(row) < len(pairs):
        raise ValueError('a name is there twice')
    return row


# a number becomes a tuple of its spelling, which no other value of JSON does; NaN is none
JSON = json.JSONDecoder(object_pairs_hook=unique, parse_int=lambda text: (text,),
                        parse_float=lambda text: (text,), parse_constant=lambda text: None)
SPACE, COMMA, END = (re.compile(rf'\s*{mark}\s*') for mark in ('', ',', ']'))


def read_json(path, name, columns, *_):
    """Yields the rows of a JSON file, an object a line or a list of objects."""
    with open_letters(path, name) as file:
        start = file.readline(1 << 16)
        blank = 0
        while start.isspace():
            start, blank = file.readline(1 << 16), blank + 1
        values = json_list if start.lstrip().startswith('[') else json_lines
        for number, row in values(name, file, start, blank + 1):
            if type(row) is not dict:
                fail(f'{name}, line {number} is no object with the keys {", ".join(columns)}')
            if any(column not in row for column in columns):
                check_columns(f'{name}, line {number}', columns, list(row))
            yield f'line {number}', [row[column] for column in columns]


def json_lines(name, file, start, number):
    """Yields (line, value) of a file of which `start`, the beginning of line `number`, is read."""
    rest = '' if start.endswith('\n') else file.readline()
    for number, line in enumerate(itertools.chain([start + rest], file), number):
        if line and not line.isspace():
            try:
                value = JSON.decode(line)
            except ValueError as e:
                fail(f'{name}, line {number} is no JSON: {e}')
            yield number, value


def json_list(name, file, start, number):
    """As json_lines of a file that is a list; it is not held whole."""
    text, at, gap = start, start.index('[') + 1, SPACE
    while not END.match(text, at):
        try:
            if not (between := gap.match(text, at)):
                raise ValueError('a comma is missing')
            value, end = JSON.raw_decode(text, between.end())
        except ValueError as e:  # perhaps it is not whole
            more = file.read(max(1 << 20, len(text) - at)) if len(text) - at < LONGEST else ''
            if not more:
                fail(f'{name}, line {number + text.count(chr(10), at)} is no JSON: {e}')
            text, at = text[at:] + more, 0
            continue
        number += text.count('\n', at, between.end())
        yield number, value
        number += text.count('\n', between.end(), end)
        at, gap = end, COMMA
    if text[END.match(text, at).end():] or file.read(1 << 20).strip():
        fail(f'{name} does not end where its list does')


def read_parquet(path, name, columns, *_):
    """Yields the rows of a parquet file."""
    # datasets would hold a row group, 100 MB say, several times
    file = pyarrow.parquet.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False)
    check_columns(name, columns, file.schema_arrow.names)
    batches = file.iter_batches(100, columns=columns, use_threads=False)
    yield from number_rows((batch.to_pydict() for batch in batches), columns)


def number_rows(batches, columns):
    """Yields the rows of batches, {column: values}."""
    rows = (row for batch in batches for row in zip(*(batch[column] for column in columns)))
    for number, row in enumerate(rows, 1):
        yield f'row {number}', row


READERS = {'.parquet': read_parquet, '.csv': read_delimited, '.tsv': read_delimited,
           '.json': read_json, '.jsonl': read_json, '.ndjson': read_json}


# -----------------------------------------------------------------------------
# documents


def describe(value):
    """Returns what a value is that is no text, for a message."""
    names = {type(None): 'null', bool: 'a boolean', tuple: 'a number', int: 'a number',
             float: 'a number', list: 'a list', dict: 'an object'}
    return names.get(type(value), f'of type {type(value).__name__}')


def name_label(label, column, feature):
    """
    Returns the component's name that a label gives: its text, or that of the class where feature is
    a datasets.ClassLabel. Raises ValueError where there is none.
    """
    if type(label) is bool:
        label = str(label).lower()
    if type(label) is tuple:
        label, = label
    if label is None or label == '' or label != label or feature and label == -1:
        value = {None: 'null', '': 'empty'}.get(label, label)
        raise ValueError(f'has no label: {column} is {value}')
    if type(label) not in (str, int, float):
        raise ValueError(f'has no label: {column} is {describe(label)}')
    if feature and label not in feature.names:
        if not (str(label).isdecimal() and int(label) < feature.num_classes):
            raise ValueError(f'has the label {label}; there are 0 .. {feature.num_classes - 1}')
        label = feature.names[int(label)]
    return str(label)


def read_documents(name, rows, columns, feature=None):
    """
    Yields (component, document in bytes) of the rows of a file. Several texts are joined by an
    empty line, those that are empty aside.
    """
    where = ''
    try:
        for where, (*texts, label) in rows:
            try:
                for column, text in zip(columns, texts):
                    if type(text) is not str:
                        raise ValueError(f'has no text: {column} is {describe(text)}')
                if type(label) is not str or not label or feature:
                    label = name_label(label, columns[-1], feature)
                document = '\n\n'.join(filter(None, texts)).encode()
                label.encode()
            except UnicodeEncodeError as e:
                fail(f'{name}, {where} is not UTF-8, at {e.object[max(e.start - 20, 0):e.end]!r}')
            except ValueError as e:
                fail(f'{name}, {where} {e}')
            yield label, document
    except Exception as e:
        fail_on_source(name, e, where)


def read_file(path, columns, separator, quotes, name='', feature=None):
    """Yields the documents of a file of rows; name is its name where path is that of a download."""
    name = name or path
    try:
        kind = kind_of(name)
        if kind == '.parquet' and not feature:
            feature = class_label(pyarrow.parquet.read_schema(path), columns[-1])
    except Exception as e:
        fail_on_source(name, e)
    rows = READERS[kind](path, name, columns, separator, quotes)
    yield from read_documents(name, rows, columns, feature)


def class_label(schema, column):
    """Returns the datasets.ClassLabel of a column of an Arrow schema, or None."""
    if b'huggingface' not in (schema.metadata or {}):
        return None
    import datasets
    feature = datasets.Features.from_arrow_schema(schema).get(column)
    return feature if isinstance(feature, datasets.ClassLabel) else None


def read_texts(paths):
    """Yields the documents of text files, whose components are the folders that they are in."""
    for path in paths:
        try:
            with open_packed(path, path) as file:
                data = file.read()
            text = data.decode(encoding_of(data), 'surrogateescape')
            document = text.encode()
        except UnicodeEncodeError as e:
            line = 1 + text.count('\n', 0, e.start)
            fail(f'{path}, line {line} is not UTF-8, at {text[max(e.start - 20, 0):e.end]!r}')
        except Exception as e:
            fail_on_source(path, e)
        start = document[:1000]
        if len(start) > 3 and not (any(start[::2]) and any(start[1::2])):
            fail(f'{path}: every other byte is zero; is it UTF-16 without its byte-order mark?')
        yield os.path.basename(os.path.dirname(path)), document


# -----------------------------------------------------------------------------
# sources


def open_text(source, config, columns, separator='', quotes=True):
    """
    Returns {split: iterator over (component, document in bytes)} of a source of text: a file, a
    folder, or the id of a data set of the hub, of which config names a configuration. columns are
    those of the texts, and that of the label. Fails where there is nothing to read.
    """
    if len(columns) < 2:
        fail('--text_column names no column')
    separator = {'tab': '\t', r'\t': '\t'}.get(separator, separator)
    if len(separator) > 1 or separator in ('"', '\r', '\n'):
        fail(f'--separator={separator!r}: it is one character, such as ";", or tab')
    path = os.path.expanduser(source)
    read = functools.partial(read_file, columns=columns, separator=separator, quotes=quotes)
    if os.path.isdir(path):
        files = find_files(path)
        if streams := open_texts(source, path, files):
            return streams
        if has_card(path):
            return open_hub(source, os.path.abspath(path), config, columns, read)
        return open_rows(source, path, files, read)
    kind = kind_of(path)
    if os.path.exists(path):
        if kind not in READERS:
            fail(f'--source={source} cannot be loaded: the ending {kind!r} is none of'
                 f' {", ".join(READERS)}, .hdf5, .h5; .txt files lie in folders, one a component')
        return {'train': read(path)}
    import datasets
    readers = [module.name for module in pkgutil.iter_modules(datasets.packaged_modules.__path__)]
    if (kind in (*READERS, '.txt', '.hdf5', '.h5') or not re.fullmatch(HUB_ID, source)
            or source in readers):  # datasets would read what lies in the current folder
        fail(f'--source={source}: there is no such file or folder')
    print(f'loading {source} from the hub ...', flush=True)
    return open_hub(source, source, config, columns, read)


def open_texts(source, folder, files):
    """
    Returns the documents of <component>/*.txt, or <split>/<component>/*.txt, among the files of a
    folder, or {} where there are none.
    """
    texts = [file.split(os.sep) for file in files
             if kind_of(os.path.join(folder, file)) == '.txt']
    splits = {split: [parts for parts in texts if len(parts) == 3
                      and SPLIT_OF.get(parts[0].lower()) == split] for split in SPLITS}
    if not splits['train']:
        splits = {'train': [parts for parts in texts if len(parts) == 2]}
    splits = {split: [os.path.join(*parts) for parts in splits[split]] for split in splits}
    if splits['train']:
        say_left_out(source, {*files}.difference(*splits.values()),
                     'no .txt of a component of train, val or test')
    return {split: read_texts([os.path.join(folder, file) for file in splits[split]])
            for split in splits if splits[split] and splits['train']}


def open_rows(source, folder, files, read):
    """Returns the documents of the files of rows in a folder, of the splits that they name."""
    rows = [file for file in files if kind_of(os.path.join(folder, file)) in READERS]
    if not rows:
        fail(f'--source={source} cannot be loaded: it has no {", ".join(READERS)} or .hdf5, and no'
             ' .txt in folders, one a component')
    splits = {'train': rows}
    if any(map(split_of, rows)):
        splits = by_split(source, rows, split_of)
    say_left_out(source, {*files}.difference(*splits.values()),
                 f'none of {", ".join(READERS)} of train, val or test')
    return {split: itertools.chain.from_iterable(
        read(os.path.join(folder, file)) for file in splits[split]) for split in splits}


def has_card(folder):
    """Returns whether a folder is as that of a data set of the hub, whose README.md lists files."""
    path = os.path.join(folder, 'README.md')
    if not os.path.isfile(path):
        return False
    try:
        card = huggingface_hub.DatasetCard.load(path).data.to_dict()
    except Exception as e:  # that of the YAML library
        fail_on_source(path, e)
    return bool(card.get('configs') or card.get('dataset_info'))


def open_hub(source, place, config, columns, read):
    """Returns the documents of a data set at `place`: its hub id, or the absolute path of one."""
    import datasets
    huggingface_hub.logging.set_verbosity_error()  # no line for each retry
    datasets.logging.set_verbosity(logging.CRITICAL)  # what goes wrong is said once, at the end
    local = os.path.isabs(place)
    try:
        configs = datasets.get_dataset_config_names(place) if local else []
        config = configs[0] if len(configs) == 1 else config
        builder = datasets.load_dataset_builder(place, config or None)
        feature = (builder.info.features or {}).get(columns[-1])
        feature = feature if isinstance(feature, datasets.ClassLabel) else None
        if as_files := local or type(builder.config).__name__ in ('CsvConfig', 'JsonConfig'):
            files = builder.config.data_files
            parts = {part: [str(name) for name in files[part]] for part in files}
            for name in itertools.chain.from_iterable(parts.values()):
                if kind_of(name) not in READERS:
                    raise ValueError(f'{name} is none of {", ".join(READERS)}')
        else:  # datasets reads the files, and keeps them as Arrow
            builder.download_and_prepare()
            parts = builder.as_dataset()
        splits = by_split(source, list(parts), SPLIT_OF.get)
        if as_files:
            paths = {part: datasets.DownloadManager().download(parts[part])
                     for split in splits for part in splits[split]}
    except Exception as e:
        fail_on_source(f'--source={source}', e, also=' (a local folder or file of parquet, json'
                       ' lines, csv or .txt works too)')
    say_left_out(source, {*parts}.difference(*splits.values()), 'no split train, val or test')

    def read_part(part):
        if as_files:
            for path, name in zip(paths[part], parts[part]):
                yield from read(path, name=name, feature=feature)
        else:
            name, rows = f'{source}, {part}', parts[part]
            check_columns(name, columns, rows.column_names)
            batches = rows.select_columns(columns).iter(100)
            yield from read_documents(name, number_rows(batches, columns), columns, feature)

    return {split: itertools.chain.from_iterable(map(read_part, splits[split])) for split in splits}


def open_hdf5(source):
    """
    Returns the documents of HDF5 files of the older layout, one file, or a folder with one for each
    split, or {} where there are none. The bytes of a document are its tokens', uint16.
    """
    path, endings = os.path.expanduser(source), ('.hdf5', '.h5')
    if os.path.isfile(path):
        return {'train': read_hdf5(path)} if path.endswith(endings) else {}
    files = sorted(os.listdir(path)) if os.path.isdir(path) else []
    files = [file for file in files if file.endswith(endings)]
    if not any(map(split_of, files)):
        return {}
    splits = by_split(source, files, split_of)
    say_left_out(source, {*files}.difference(*splits.values()), 'no split train, val or test')
    return {split: itertools.chain.from_iterable(
        read_hdf5(os.path.join(path, file)) for file in splits[split]) for split in splits}


def read_hdf5(path):
    """Yields the documents of a file: runs of chunks of one category and number."""
    def chunks(f):
        names = ('token_chunks', 'category_for_chunk', 'doc_idx_for_chunk')
        all_tokens, category, number = (f[name] for name in names)
        for i in range(0, len(all_tokens), 10_000):
            tokens = all_tokens[i:i + 10_000]
            for extreme in (tokens.min(), tokens.max()):
                if not 0 <= extreme <= 65534:
                    fail(f'{path} has the token {extreme}; uint16 holds 0 .. 65,534')
            yield from zip(category[i:i + 10_000], number[i:i + 10_000], tokens.astype('<u2'))

    try:
        with h5py.File(path, 'r') as f:
            for (category, _), run in itertools.groupby(chunks(f), key=lambda chunk: chunk[:2]):
                yield category.decode(), b''.join(tokens.tobytes() for *_, tokens in run)
    except (OSError, KeyError, ValueError, AttributeError) as e:
        fail_on_source(f'{path} is not an HDF5 file of token_chunks, category_for_chunk and'
                       f' doc_idx_for_chunk ({e})', e)
