"""
Settings: defaults in the script, then config files, then --key=value, each overriding the last.

    python train.py config/cpu.py config/k2.py --batch_size=64

A script lists its settings as commented globals and then calls override(globals()). A default may
be any expression. A config file is Python that assigns to those names; it may compute with them
(min_lr = learning_rate / 10).
"""
import ast
import atexit
import csv
import difflib
import errno
import functools
import glob
import hashlib
import io
import json
import logging
import os
import re
import shlex
import signal
import socket
import sys
import tempfile
import tokenize
import types

import filelock
import numpy as np
from tqdm import tqdm

ROOT = os.path.dirname(os.path.abspath(__file__))
SCRIPTS = ('prepare.py', 'sample_mix.py', 'train.py', 'sweep.py', 'eval_xe.py', 'plot_xe.py',
           'fit_law.py')

# Keys of train.py that move none of a run's numbers (epochs does through max_iters, which is
# recorded), those that --init_from=resume may change besides, and those in which runs of one
# setting differ. Every other key is part of a run's setting: a key that you add to train.py counts.
NOT_PART_OF_A_SETTING = {
    'out_dir', 'init_from', 'overwrite', 'epochs', 'log_interval', 'snapshots', 'verify',
    'wandb_log', 'wandb_project', 'wandb_run_name', 'device', 'compile', 'compile_mode', 'backend',
    'any_code'}
MAY_CHANGE_ON_RESUME = {'max_iters', 'lr_decay_iters', 'eval_interval', 'patience'}
VARIES_IN_A_SETTING = {'k', 'components', 'candidates', 'mix_seed', 'seed'}


# What keys of train.py must be: (the rule, whether a value keeps it, keys).
RULES = (
    ('at least 1', lambda x: x >= 1, 'n_layer n_head n_embd batch_size gradient_accumulation_steps'
     ' epochs eval_interval log_interval'),
    ('at least 0', lambda x: x >= 0, 'max_iters token_budget val_windows_per_component seed'
     ' patience learning_rate min_lr weight_decay grad_clip warmup_iters lr_decay_iters'),
    ('at least 0 and below 1', lambda x: 0 <= x < 1, 'dropout beta1 beta2'),
    ('choose scratch, resume or auto', lambda x: x in ('scratch', 'resume', 'auto'), 'init_from'),
    ('choose default, reduce-overhead or max-autotune',
     lambda x: x in ('default', 'reduce-overhead', 'max-autotune'), 'compile_mode'))


# -----------------------------------------------------------------------------
# how a script ends


def silence(stream):
    """Sends a stream that cannot be written to nowhere: Python's last flush would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def say(message):
    """Prints a line on stderr, by one of torchrun's ranks; where its disk is full there is none."""
    try:
        if os.environ.get('RANK', '0') == '0':
            line = f'{os.path.basename(sys.argv[0])}: {" ".join(message.split())}'
            tqdm.write(line, file=sys.stderr)  # clears a progress bar first
    except OSError:
        silence(sys.stderr)


def fail(message, status=2):
    """Ends the program over a user's mistake: one line on stderr, an exit status (SystemExit)."""
    say(message)
    sys.exit(status)


def cause(error):
    """
    Returns what the machine refused, and why, where that is what an exception comes from
    ('out/run/ckpt.pt: Permission denied'); '' where it is of another kind, a damaged file or a bug.
    """
    text = ' '.join(str(error).split())
    says_so = re.search("out of memory|can(no|')t allocate|ALLOC_FAILED", text, re.IGNORECASE)
    if isinstance(error, MemoryError) or isinstance(error, (OSError, RuntimeError)) and says_so:
        batches = 'lower --batch_size, or ' * hasattr(sys.modules['__main__'], 'batch_size')
        return f'out of memory ({text[:150]}): {batches}use a machine with more'
    refused = 'ENOSPC EDQUOT EFBIG EACCES EPERM EROFS EMFILE ENFILE EIO EAGAIN'.split()
    if isinstance(error, OSError) and errno.errorcode.get(error.errno) in refused:
        return f'{error.filename}: {error.strerror}' if error.filename else error.strerror
    return cause(error.__cause__) if error.__cause__ else ''


def flush_output(probe=b''):
    """
    Writes what print has kept, and then a probe. Where that fails the program ends: quietly if
    standard output is a pipe that was closed, else with a line.
    """
    try:
        if sys.stdout:  # not closed from the start
            sys.stdout.flush()
            os.write(sys.stdout.fileno(), probe)
    except OSError as e:
        silence(sys.stdout)
        if isinstance(e, BrokenPipeError):  # by `| head`, say
            os._exit(128 + signal.SIGPIPE)
        say(f'standard output cannot be written ({e.strerror})')
        os._exit(2)


def report_error(kind, error, trace):
    """sys.excepthook: one line for Ctrl-C and for what the machine refused, else the traceback."""
    # a failed print does not say of which file it is, nor does it fail again
    flush_output(b'\n' if isinstance(error, OSError) and not error.filename else b'')
    if kind is KeyboardInterrupt:
        fail('interrupted', 128 + signal.SIGINT)
    if cause(error):
        fail(cause(error))
    sys.__excepthook__(kind, error, trace)


sys.excepthook = report_error
atexit.register(flush_output)
if hasattr(sys.stdout, 'reconfigure'):  # a terminal that has no letter such as Δ shows its number
    sys.stdout.reconfigure(errors='backslashreplace')


# -----------------------------------------------------------------------------
# what the environment says

# a notebook's, or none that matplotlib has: it would fail when it is imported
os.environ['MPLBACKEND'] = 'Agg'
logging.getLogger('matplotlib').setLevel(logging.ERROR)  # of a matplotlibrc that does not count


def check_compiler_cache():
    """Goes on without TORCHINDUCTOR_CACHE_DIR where it cannot be written: torch would not start."""
    folder = os.environ.get('TORCHINDUCTOR_CACHE_DIR', '')
    try:
        if folder:
            os.makedirs(folder, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
    except OSError as e:
        say(f'TORCHINDUCTOR_CACHE_DIR={folder} cannot be written ({e.strerror}): going on without')
        del os.environ['TORCHINDUCTOR_CACHE_DIR']


# -----------------------------------------------------------------------------
# files and names


def looked_in(path):
    """
    Returns '(looked in <the current folder>)', of a relative path that is not there, and what to do
    where it is in the folder of the scripts.
    """
    there = os.path.join(ROOT, path)  # of an absolute path the path itself
    is_there = os.path.exists(there) and not os.path.exists(path)
    return f'(looked in {os.getcwd()}' + (
        f'; {there} is there: cd {shlex.quote(ROOT)} first)' if is_there else ')')


def replace_file(path, content):
    """
    Writes content, a string or a function that writes to the binary file it is given. A file of
    that name is always whole: it is written under a name of this process, synced and renamed. Fails
    where that cannot be done (a full disk, say); what was at path then stays.
    """
    temporary = f'{path}.{os.getpid()}.tmp'
    try:
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


def file_hash(path):
    """Returns the sha256 of a file, in hexadecimal."""
    with open(path, 'rb') as f:
        return hashlib.file_digest(f, 'sha256').hexdigest()


def random_stream(*name):
    """A numpy Generator that depends on nothing but the name (strings and ints)."""
    return np.random.default_rng(list(hashlib.sha256(repr(name).encode()).digest()))


def split_names(text):
    """
    'a,b' -> ['a', 'b'], and '"a,b",c' -> ['a,b', 'c'], as a line of csv; spaces around a name are
    dropped. Fails where a name is there twice.
    """
    names = [name.strip() for row in csv.reader(text.splitlines(), skipinitialspace=True)
             for name in row if name.strip()]
    if len(set(names)) < len(names):
        fail(f'{text}: one of these is named twice')
    return names


def join_names(names):
    """Returns the text that split_names takes for the names: one with a comma is in marks."""
    line = io.StringIO()
    csv.writer(line, lineterminator='').writerow(names)
    return line.getvalue()


def safe_name(name):
    """
    Returns a name for a file or folder, which no shell, path or pattern reads otherwise: the name
    itself if it has letters, digits and . _ + - = alone. Else other characters become _, and six
    digits of a hash tell apart what then looks alike. It is short enough for any file system.
    """
    safe = re.sub(r'[^\w.+=-]', '_', name).lstrip('.-').encode()[:100].decode(errors='ignore')
    digest = hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()
    return safe if safe == name != '' else f'{safe or "_"}-{digest[:6]}'


def lock(path, what, wait=False):
    """
    Holds a lock file until the process ends, however it ends: a kill releases it. Returns the
    lock, which must be kept.
    Where another process holds it a line says which, and `what` it writes: then this one waits, or
    fails.
    """
    held = filelock.FileLock(path, is_singleton=True)  # no process locks itself out
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if lock_holder(path) and wait:
            print(f'{what} is being written by {lock_holder(path)}: waiting for it', flush=True)
        # lock_holder takes it for an instant
        held.acquire(timeout=-1 if wait else 0.5, poll_interval=0.05)
        with open(path, 'w', encoding='utf-8', errors='backslashreplace') as f:
            f.write(f'process {os.getpid()} on {socket.gethostname()}: {shlex.join(sys.argv)}')
    except filelock.Timeout:
        fail(f'{what} is being written by {lock_holder(path)}: wait for it, or choose another name')
    except OSError as e:
        fail(f'{e.filename or path} cannot be written ({e.strerror or e})')
    return held


def lock_holder(path):
    """Returns which other process holds a lock file, '123 on host: train.py ..', or ''."""
    if not os.path.exists(path):
        return ''
    try:
        with filelock.FileLock(path, is_singleton=True).acquire(timeout=0):
            return ''
    except filelock.Timeout:
        with open(path, encoding='utf-8') as f:
            return f.read() or 'another process'
    except OSError:  # a folder that cannot be written has no writer
        return ''


def nearest(name, names):
    """'; did you mean ..?' with the nearest of the names, or '' where none is near."""
    close = difflib.get_close_matches(name, names, n=1)
    return f'; did you mean {close[0]}?' if close else ''


# -----------------------------------------------------------------------------
# what a script's source says


def settings_block(tree):
    """Returns (the statements that assign the settings, {name: the import that binds it})."""
    block, imports = [], {}
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            imports |= {alias.asname or alias.name.partition('.')[0]: node for alias in node.names}
        elif any(isinstance(n, ast.Name) and n.id == 'override' for n in ast.walk(node)):
            break
        elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            block.append(node)
    return block, imports


def read_settings(path, script=None):
    """
    Returns {key: (default, comment)} of a script: the names that it assigns above its call of
    override, and the comment that trails each. Defaults are those in `script`, its globals(), or
    are computed from its source. Fails where that raises.
    """
    with open(path, encoding='utf-8') as f:
        source = f.read()
    comments = {token.start[0]: token.string.lstrip('# ')
                for token in tokenize.generate_tokens(io.StringIO(source).readline)
                if token.type == tokenize.COMMENT}
    block, imports = settings_block(ast.parse(source))
    settings, values = {}, dict(script or {})
    for node in block:
        names = [n for n in ast.walk(node) if isinstance(n, ast.Name)]
        if not script:
            try:  # of a script's imports those alone that a default needs: torch takes two seconds
                needed = [imports[n.id] for n in names if n.id in imports]
                exec(compile(ast.Module([*needed, node], []), path, 'exec'), values)
            except Exception as e:  # the line is the user's: report whatever it raises
                fail(f'{path}, line {node.lineno}: {type(e).__name__}: {e}')
        comment = comments.get(node.end_lineno) or comments.get(node.lineno, '')
        for key in [n.id for n in names if isinstance(n.ctx, ast.Store)]:
            if key.startswith('_') or key not in values:  # declared without a value
                continue
            value = values[key].item() if isinstance(values[key], np.generic) else values[key]
            try:
                json.dumps(value)  # as a run's config.json has it
            except TypeError:
                fail(f'{path}, line {node.lineno}: {key} is no plain value, as a setting must be:'
                     ' assign it below override(globals())')
            settings[key] = value, comment
    return settings


@functools.cache
def train_defaults():
    """Returns {key: default} of train.py."""
    settings = read_settings(os.path.join(ROOT, 'train.py'))
    return {key: default for key, (default, _) in settings.items()}


def code_hash(*paths):
    """
    Returns 8 hexadecimal digits that change with the code of files of the project: not with
    comments, docstrings or line breaks, nor with the defaults of settings, which a run records by
    themselves.
    """
    digest = hashlib.sha256()
    for path in paths:
        with open(os.path.join(ROOT, path), encoding='utf-8') as f:
            tree = ast.parse(f.read())
        if any(isinstance(n, ast.Name) and n.id == 'override' for n in ast.walk(tree)):
            block, _ = settings_block(tree)
            tree.body = [node for node in tree.body if node not in block or any(
                isinstance(n, ast.Name) and n.id.startswith('_') for n in ast.walk(node))]
        for node in ast.walk(tree):
            has_docstring = isinstance(node, (ast.Module, ast.FunctionDef, ast.ClassDef))
            if has_docstring and ast.get_docstring(node) is not None:
                node.body = node.body[1:] or [ast.Pass()]
        digest.update(ast.unparse(tree).encode())  # ast.dump differs between versions of Python
    return digest.hexdigest()[:8]


def run_code():
    """Returns {file: code_hash} of the files that decide a run's numbers, as they are now."""
    return {name: code_hash(name) for name in ('model.py', 'sample_mix.py', 'train.py')}


# -----------------------------------------------------------------------------
# files and the command line


def checked(key, value, default, where):
    """
    Returns value if it has the type of default, else fails. An int becomes a float where the
    default is one, and a number a string: dataset = 2024 names a folder.
    """
    if type(default) is float and type(value) is int:
        value = float(value)
    if type(default) is str and type(value) in (int, float):
        value = str(value)
    if {type(default), type(value)} == {tuple, list}:  # JSON knows lists alone
        value = type(default)(value)
    if type(value) is float and not np.isfinite(value) or type(value) is int and (
            abs(value) >= 2**63):
        fail(f'{where}{key}={str(value)[:30]}: expected a finite number, whole ones below 2^63')
    if default is not None and type(value) is not type(default):
        is_bool = type(default) is bool
        kind = 'True or False' if is_bool else f'a value of type {type(default).__name__}'
        fail(f'{where}{key}={value!r}: expected {kind}, such as the default {default!r}')
    return value


def read_json(path):
    """Returns the dict in a JSON file, None where there is no file, {} where it cannot be used."""
    try:
        with open(path, encoding='utf-8') as f:
            content = json.load(f)
        return content if isinstance(content, dict) else {}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError):  # it may not be read, or is damaged
        return {}


def cpu_cores():
    """Returns how many cores this process may use."""
    has_affinity = hasattr(os, 'sched_getaffinity')  # not on a Mac
    return len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count()


def show(progress):
    """Calls a method of a bar. The work goes on without one where stderr cannot be written."""
    try:
        progress()
    except OSError:
        silence(sys.stderr)


def check_ranges(config, where='--'):
    """Fails where a key of train.py is outside the range that RULES gives it."""
    for rule, holds, keys in RULES:
        for key in keys.split():
            if key in config and not holds(config[key]):
                fail(f'{where}{key}={config[key]}: {rule}')
    if {'n_embd', 'n_head'} <= config.keys() and config['n_embd'] % config['n_head']:
        fail(f'{where}n_embd={config["n_embd"]} does not divide into {where}n_head='
             f'{config["n_head"]} heads')


def is_count(x, below=2**63):
    """Returns whether x is a whole number, 0 .. below - 1."""
    return type(x) is int and 0 <= x < below


def check_parts(path, parts, remedy):
    """
    Fails where a file has a part that is wrong, in one line that names it. parts are (name, value,
    whether it is right).
    """
    for name, value, is_right in parts:
        if not is_right:
            fail(f'{path}: {name} cannot be {repr(value)[:50]}: {remedy}')


def run_file(path, known):
    """Returns {key: value} of what a config file assigns; it can read the values in `known`."""
    if not path.endswith('.py'):
        fail(f'{path}: write --key=value to set a key, or name a config file, which ends in .py')
    full_path = path if os.path.exists(path) else os.path.join(ROOT, path)
    if not os.path.isfile(full_path):
        files = sorted(glob.glob('config/*.py', root_dir=ROOT))
        fail(f'no config file {path}{nearest(path, files)} There are {", ".join(files)}')
    names = dict(known)
    try:
        with open(full_path, encoding='utf-8') as f:
            exec(compile(f.read(), path, 'exec'), names)
    except Exception as e:  # the file is the user's program: report whatever it raises
        inside = e.__traceback__.tb_next
        line = e.lineno if isinstance(e, SyntaxError) else inside and inside.tb_lineno
        fail(f'{path}, line {line}: {type(e).__name__}: {e}')
    return {key: value for key, value in names.items()
            if not (key.startswith('_') or key in known and value is known[key])
            and not callable(value) and not isinstance(value, types.ModuleType)}


def print_help(script, own_settings):
    """Prints a script's docstring, and its settings with their defaults and comments."""
    print(script['__doc__'].strip() + '\n\nsettings, with their defaults:')
    width = max(len(f'{key}={default!r}') for key, (default, _) in own_settings.items())
    for key, (default, comment) in own_settings.items():
        print(f'  --{f"{key}={default!r}":{width}}  {comment}')


def parse_argument(arg, following, own_settings, by_script):
    """Returns (key, value) of --key=value; `own_settings` is {key: (default, comment)}."""
    key, equals, text = arg[2:].partition('=')
    if key not in own_settings:
        others = ', '.join(name for name, settings in by_script.items() if key in settings)
        if others:
            fail(f'--{key} is not a key of this script: it belongs to {others}')
        keys = [f'--{name}' for name in own_settings]
        fail(f'unknown key --{key}{nearest(f"--{key}", keys) or "; see --help"}')
    if not equals:
        separate = following and not following.startswith('--') and not following.endswith('.py')
        example = following if separate else own_settings[key][0]
        fail(f'--{key} needs a value behind an equals sign: --{key}={example}')
    value, default = text, own_settings[key][0]
    if type(default) is not str:
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError):
            pass  # it is not of the default's type
    return key, checked(key, value, default, '--')


def override(script, shared=()):
    """
    Applies sys.argv to a script's globals(), in place, and returns its settings, a dict. Where the
    script is imported rather than run these are the defaults, and its globals stay as they are.

    `shared` are keys of train.py that the script takes too ('all' for every one of them): their
    defaults stand there alone. A file may set a key that only another script knows, so that one
    file serves all of them; a key that no script knows, or a value of another type than the
    default's, is an error.
    """
    path = script['__file__']
    # where the script is imported, other scripts' keys need not be known
    read = SCRIPTS if script['__name__'] == '__main__' else ('train.py',) if shared else ()
    by_script = {name: read_settings(os.path.join(ROOT, name)) for name in read
                 if os.path.basename(path) != name}
    train = by_script.get('train.py', {})
    own_settings = {key: train[key] for key in (train if shared == 'all' else shared)}
    own_settings |= read_settings(path, script)
    if script['__name__'] != '__main__':
        return {key: default for key, (default, _) in own_settings.items()}
    if any(arg in ('-h', '--help') for arg in sys.argv[1:]):
        print_help(script, own_settings)
        sys.exit(0)
    all_settings = {key: setting for settings in [*by_script.values(), train, own_settings]
                for key, setting in settings.items()}  # sweep.py's k hides no other's
    values = {key: default for key, (default, _) in all_settings.items()}
    for arg, following in zip(sys.argv[1:], [*sys.argv[2:], '']):
        if arg.startswith('--'):
            key, values[key] = parse_argument(arg, following, own_settings, by_script)
            continue
        for key, value in run_file(arg, values).items():
            if key not in all_settings:
                fail(f'{arg}: unknown key {key}{nearest(key, all_settings) or "; see --help"}')
            values[key] = checked(key, value, all_settings[key][0], f'{arg}: ')
    settings = {key: values[key] for key in own_settings}
    script.update(settings)
    if 'torch' in sys.modules:
        check_compiler_cache()
    return settings


def same_command(script):
    """Returns the command of another script with the config files and keys of this command line."""
    keys = {'dataset', *read_settings(os.path.join(ROOT, script))}
    words = [arg for arg in sys.argv[1:]
             if not arg.startswith('--') or arg[2:].partition('=')[0] in keys]
    return shlex.join(['python', script, *words])
