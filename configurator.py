"""Settings: defaults in the script, then config files, then --key=value, each overriding the last.

    python train.py config/cpu.py config/k2.py --batch_size=64

A script begins with its docstring and its settings, commented globals, and then calls
override(globals()). What takes time to import comes below. A config file is Python that assigns to
those names; it may compute with them (min_lr = learning_rate / 10). The rest of this file is what
every script needs: one line for a mistake, files that are whole or not there, names, hashes.
"""
import ast
import csv
import difflib
import functools
import glob
import hashlib
import io
import json
import math
import os
import pathlib
import re
import shlex
import signal
import socket
import sys
import time

ROOT = os.path.dirname(os.path.abspath(__file__))
SCRIPTS = ('prepare.py', 'sample_mix.py', 'sweep.py', 'eval_xe.py', 'plot_xe.py', 'fit_law.py',
           'train.py')  # whose defaults hold where several scripts have a key
END_OF_SETTINGS = '\nfrom configurator import override\n'

# ---- settings ----------------------------------------------------------------

def read_settings(path):
    """Returns {key: (default, comment)} of a script: what it assigns above its call of override.
    That part of it is run. Fails where it raises, or a default is no plain value."""
    head = pathlib.Path(path).read_text('utf-8').partition(END_OF_SETTINGS)[0]
    values = {'__file__': path, '__name__': 'settings'}
    run_source(head, path, values)
    comments = dict(re.findall(r'^(\w+)\b[^#\n]*# *(.*)', head, re.MULTILINE))
    settings = {key: (value, comments.get(key, '')) for key, value in values.items()
                if key[0] != '_' and getattr(value, '__name__', '') not in (key, *sys.modules)}
    for key, (value, _) in settings.items():
        if not isinstance(value, (bool, int, float, str, tuple, list, type(None))):
            fail(f'{path}: {key} is no plain value: assign it below override(globals())')
    return settings

def run_source(source, path, values):
    """Runs Python text of a user's, with and into `values`; fails with its line where it raises."""
    try:
        exec(compile(source, path, 'exec'), values)
    except Exception as e:  # whatever it raises
        frame = e.__traceback__.tb_next  # None where it is no Python
        line = frame.tb_lineno if frame else getattr(e, 'lineno', 1)
        fail(f'{path}, line {line}: {type(e).__name__}: {e}')

@functools.cache
def train_defaults():
    """Returns {key: default} of train.py."""
    return {key: x for key, (x, _) in read_settings(os.path.join(ROOT, 'train.py')).items()}

def checked(key, value, default, where):
    """Returns value if it has the type of default, else fails. An int becomes a float where the
    default is one, and a number a string: dataset = 2024 names a folder."""
    highest = 2**63 if type(value) is int else math.inf
    if isinstance(value, (int, float)) and not abs(value) < highest:
        fail(f'{where}{key}={str(value)[:30]}: expected a finite number, whole ones below 2^63')
    if (type(default), type(value)) in ((float, int), (str, int), (str, float), (tuple, list)):
        value = type(default)(value)
    if default is not None and type(value) is not type(default):
        fail(f'{where}{key}={value!r}: expected {type(default).__name__}, such as {default!r}')
    return value

def parsed(key, text, default, where):
    """Returns the value of key=text, checked: a literal of Python, or the text for a string."""
    try:
        value = text if type(default) is str else ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError):
        value = text  # it is not of the default's type
    return checked(key, value, default, where)

def run_file(path, known):
    """Returns {key: value} of what a config file assigns; it can read the values in `known`."""
    full_path = path if os.path.exists(path) else os.path.join(ROOT, path)
    if not (path.endswith('.py') and os.path.isfile(full_path)):
        files = sorted(glob.glob('config/*.py', root_dir=ROOT))
        fail(f'no config file {path}{nearest(path, files) or "."} There are {", ".join(files)}; to'
             ' set a key, write --key=value')
    values = dict(known)
    run_source(pathlib.Path(full_path).read_bytes(), path, values)
    return {key: value for key, value in values.items() if key[0] != '_'
            and value is not known.get(key, ...) and not hasattr(value, '__name__')}  # no module

def override(script, shared=()):
    """Applies sys.argv to a script's globals(), in place, and returns its settings, a dict; where
    the script is imported, the defaults. `shared` are keys of other scripts that it takes too, or a
    script's name for all of them. A file may set a key that only another script knows, so that one
    file serves all. A key that no script knows, or a value of another type, is an error."""
    by_script = {name: read_settings(os.path.join(ROOT, name)) for name in SCRIPTS}
    known = {key: x for settings in by_script.values() for key, x in settings.items()}
    names = [key for name in shared for key in by_script.get(name, [name])]
    keys = {key: known[key] for key in names} | read_settings(script['__file__'])
    if script['__name__'] != '__main__':
        return {key: default for key, (default, _) in keys.items()}
    if {'-h', '--help'} & {*sys.argv[1:]}:
        print(script['__doc__'].strip() + '\n\nsettings, with their defaults:')
        for key, (default, comment) in keys.items():
            print(f'  --{f"{key}={default!r}":40}  {comment}')
        sys.exit(0)
    values = {key: default for key, (default, _) in (known | keys).items()}
    for arg in [*sys.argv[1:], *(arg for arg in sys.argv[1:] if arg[:2] == '--')]:  # pairs win
        if not arg.startswith('--'):
            for key, value in run_file(arg, values).items():
                if key not in values:
                    fail(f'{arg}: unknown key {key}{nearest(key, values) or "; see --help"}')
                values[key] = checked(key, value, values[key], f'{arg}: ')
            continue
        key, equals, text = arg[2:].partition('=')
        others = ', '.join(name for name in SCRIPTS if key in by_script[name])
        if key not in keys:
            fail(f'--{key} is not a key of this script: it belongs to {others}' if others else
                 f'unknown key --{key}{nearest(key, keys, "--") or "; see --help"}')
        if not equals:
            fail(f'--{key} needs a value behind an equals sign: --{key}={keys[key][0]}')
        values[key] = parsed(key, text, keys[key][0], '--')
    settings = {key: values[key] for key in keys}
    script.update(settings)
    return settings

@functools.cache
def code_of(source):
    """Returns the code in a script's text as Python prints it: without comments, docstrings and
    line breaks, and without the defaults of settings, which a run records by themselves."""
    head, _, rest = source.rpartition(END_OF_SETTINGS)
    tree, assignments = ast.parse(rest), (ast.Assign, ast.AnnAssign, ast.AugAssign)
    tree.body[:0] = [node for node in ast.parse(head).body  # what is no setting
                     if not isinstance(node, assignments) or ast.unparse(node)[0] == '_']
    for node in ast.walk(tree):
        has_docstring = isinstance(node, (ast.Module, ast.FunctionDef, ast.ClassDef))
        if has_docstring and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)

# ---- how a script ends -------------------------------------------------------

class Output(io.FileIO):
    """Standard output, which ends the program where it cannot be written, without a word where
    `| head` has ended; or standard error, which ends nothing."""

    def write(self, data):
        try:
            return super().write(data)
        except OSError as e:
            if self.fileno() == 2:
                return len(data)
            if isinstance(e, BrokenPipeError):
                os._exit(128 + signal.SIGPIPE)
            say(f'standard output cannot be written ({e.strerror})')
            os._exit(2)

for number, name in ((1, 'stdout'), (2, 'stderr')):
    stream = getattr(sys, name)
    if stream and stream is getattr(sys, f'__{name}__'):  # not closed, and no notebook's
        setattr(sys, name, io.TextIOWrapper(  # a letter that a terminal lacks shows its number
            io.BufferedWriter(Output(number, 'w', closefd=False)), stream.encoding,
            'backslashreplace', line_buffering=stream.line_buffering or stream.write_through))
sys.stderr = sys.stderr or open(os.devnull, 'w')  # a service has it closed
os.environ['MPLBACKEND'] = 'Agg'  # whatever a notebook has set

def is_master():
    """Returns whether this process speaks: of torchrun's, of train.py or a copy, the first does."""
    script, rank = os.path.basename(sys.argv[0]), os.environ.get('RANK', '0')
    is_of_several = os.environ.get('WORLD_SIZE', '1') != '1' and 'train' in script
    return not (is_of_several and rank.isdigit() and int(rank))

def say(message, by_all=False):
    """Prints a line on stderr; a progress bar makes way for it. Of several processes one does."""
    if by_all or is_master():
        lines = filter(None, map(str.strip, message.splitlines()))
        line = f'{os.path.basename(sys.argv[0])}: {" ".join(lines)}'
        bars = sys.modules.get('tqdm')
        bars.tqdm.write(line, file=sys.stderr) if bars else print(line, file=sys.stderr)

def fail(message, status=2):
    """Ends the program over a user's mistake: one line on stderr, an exit status (SystemExit). Of
    torchrun's processes the first to end ends all; the others wait, so that one of them speaks."""
    if not is_master():
        time.sleep(2 + int(os.environ['RANK']))
        message = f'process {os.environ["RANK"]}: {message}'
    say(message, by_all=True)
    sys.exit(status)

def refusal(error):
    """Returns what the machine refused, and why, where an exception comes of that, or ''."""
    text = ' '.join(str(error).split())
    no_memory = re.search("out of memory|can(no|')t allocate|ALLOC_FAILED", text, re.IGNORECASE)
    if isinstance(error, MemoryError) or isinstance(error, (OSError, RuntimeError)) and no_memory:
        return (f'out of memory ({text[:150]}): use a machine with more, or lower --batch_size if'
                ' there is one')
    if isinstance(error, OSError):
        return (f'{error.filename}: ' if error.filename else '') + (error.strerror or text)
    return refusal(error.__cause__) if error.__cause__ else ''

def report_error(kind, error, trace):
    """sys.excepthook: one line for Ctrl-C and for what the machine refused, else the traceback."""
    if kind is KeyboardInterrupt:
        fail('interrupted', 128 + signal.SIGINT)
    if refused := refusal(error):
        fail(refused)
    sys.__excepthook__(kind, error, trace)

sys.excepthook = report_error

# ---- files and names ---------------------------------------------------------

def replace_file(path, content):
    """Writes content, a string or a function that writes to the binary file it is given, by one
    rename, and its folder: the file is whole. Fails on a full disk, say, and the old one stays."""
    temporary = f'{path}.{os.getpid()}.tmp'
    try:
        os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
        with open(temporary, 'wb') as f:
            f.write(content.encode()) if isinstance(content, str) else content(f)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as e:  # torch.save turns some of the first into the second
        fail(f'{path} cannot be written ({e}); what was there before is kept')
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)

def lock(path, what, wait=False):
    """Returns a lock on a file, which must be kept. It ends with the process, by a kill too. Where
    another process holds it, this one waits, or fails."""
    import filelock
    os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
    open(path, 'a').close()  # what is refused from here on is a lock, not a file
    # no process locks itself out; a marker in a lock's place would outlive a kill
    held = filelock.FileLock(path, is_singleton=True, fallback_to_soft=False)
    if wait and (holder := lock_holder(path)):
        print(f'{what} is being written by {holder}: waiting for it', flush=True)
    try:  # lock_holder takes it for an instant
        held.acquire(timeout=-1 if wait else 0.5, poll_interval=0.05)
    except filelock.Timeout:
        fail(f'{what} is being written by {lock_holder(path)}: wait for it, or choose another name')
    except OSError as e:
        say(f'{what} cannot be locked on this file system ({e.strerror}): start no second writer')
    pathlib.Path(path).write_text(f'process {os.getpid()} on {socket.gethostname()}', 'utf-8')
    return held

def lock_holder(path):
    """Returns which other process holds a lock file, 'process 123 on host', or ''."""
    import filelock
    if not os.path.exists(path):
        return ''
    try:
        with filelock.FileLock(path, is_singleton=True, fallback_to_soft=False).acquire(timeout=.1):
            return ''  # others look for an instant too
    except filelock.Timeout:
        return pathlib.Path(path).read_text('utf-8') or 'another process'
    except OSError:  # a folder that cannot be written has no writer
        return ''

def file_hash(path):
    """Returns the sha256 of a file, in hexadecimal."""
    with open(path, 'rb') as f:
        return hashlib.file_digest(f, 'sha256').hexdigest()

def short_hash(value):
    """Returns 12 hexadecimal digits that change with a value of plain Python."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]

def sealed(content):
    """Returns a dict of plain Python with a hash of itself, by which a change of it is known."""
    return content | {'seal': short_hash({key: content[key] for key in content if key != 'seal'})}

def is_sealed(content):
    """Returns whether a value is a dict as `sealed` gave it."""
    return isinstance(content, dict) and content.get('seal') == sealed(content)['seal']

def random_stream(*name):
    """A numpy Generator that depends on nothing but the name (strings and ints)."""
    import numpy as np
    return np.random.default_rng(list(hashlib.sha256(repr(name).encode()).digest()))

def split_names(text):
    """'a,b' -> ['a', 'b'], and '"a,b",c' -> ['a,b', 'c'], as a line of csv; spaces around a name
    are dropped. Fails where a name is there twice."""
    names = [name.strip() for row in csv.reader(text.splitlines(), skipinitialspace=True)
             for name in row if name.strip()]
    if len(set(names)) < len(names):
        fail(f'{text}: one of these is named twice')
    return names

def split_sets(text):
    """Returns the lines of several sets, with ; or new lines between, but not within quotation
    marks: 'a,b; "c;d" tag=True' -> ['a,b', '"c;d" tag=True']."""
    lines = re.split(r'[;\n](?=(?:[^"]*"[^"]*")*[^"]*$)', text)
    return [line.strip() for line in lines if line.strip()]

def join_names(names):
    """Returns the text that split_names takes for the names: one with a comma is in marks."""
    line = io.StringIO()
    csv.writer(line, lineterminator='').writerow(names)
    return line.getvalue()

def safe_name(name):
    """Returns a name for a file or folder, of letters, digits and . _ + - = alone: the name itself,
    or with _ for other characters, and six digits of a hash."""
    safe = re.sub(r'[^\w.+=-]', '_', name).lstrip('.-').encode()[:100].decode(errors='ignore')
    digest = hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()
    return safe if safe == name != '' else f'{safe or "_"}-{digest[:6]}'

def nearest(name, names, prefix=''):
    """'; did you mean ..?' with the nearest of the names, or '' where none is near."""
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.8)
    return f'; did you mean {prefix}{close[0]}?' if close else ''

def looked_in(path):
    """Returns '(looked in <the current folder>)', and what to do where the scripts' has it."""
    is_there = os.path.exists(os.path.join(ROOT, path)) and not os.path.exists(path)
    hint = f'; {ROOT}/{path} is there: cd {shlex.quote(ROOT)} first' * is_there
    return f'(looked in {os.getcwd()}{hint})'

def cpu_cores():
    """Returns how many cores this process may use: by its affinity, and its container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    try:
        with open('/sys/fs/cgroup/cpu.max') as f:
            quota, period = map(int, f.read().split())
    except (OSError, ValueError):  # no container, or one without a quota, 'max 100000'
        return cores
    return max(1, min(cores, quota // period))
