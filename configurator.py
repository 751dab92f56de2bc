"""
Settings: defaults in the script, then config files, then --key=value, each overriding what came before.

    python train.py config/cpu.py config/k2.py --batch_size=64
    python train.py --help

A script lists its settings as commented globals and then calls override(globals()). A config file is
Python that assigns to those names; it may compute with them (min_lr = learning_rate / 10).
"""
import ast
import csv
import difflib
import hashlib
import io
import os
import sys
import tokenize
import types

import numpy as np
from tqdm import tqdm

ROOT = os.path.dirname(os.path.abspath(__file__))
SCRIPTS = ('prepare.py', 'sample_mix.py', 'train.py', 'eval_xe.py')  # those that share settings


def fail(message):
    """Ends the program over a user's mistake: one line on stderr, exit status 2 (raises SystemExit)."""
    message = ' '.join(message.split())
    if os.environ.get('RANK', '0') == '0':  # under torchrun every rank finds the same mistake; one says it
        tqdm.write(f'{os.path.basename(sys.argv[0])}: {message}', file=sys.stderr)  # clears a progress bar first
    sys.exit(2)


def replace_file(path, write):
    """
    Calls write(f) on a temporary file, syncs it and renames it to path, so that a file of that name is always a whole
    one. Fails where it cannot be written (a full disk, say); what was at path then stays as it was.
    """
    try:
        with open(path + '.tmp', 'wb') as f:
            write(f)
            f.flush()
            os.fsync(f.fileno())
        os.replace(path + '.tmp', path)
    except (OSError, RuntimeError) as e:  # torch.save turns some of the first into the second
        if os.path.exists(path + '.tmp'):
            os.remove(path + '.tmp')
        fail(f'{path} cannot be written ({e}); what was there before is kept')


def write_csv(path, rows, columns):
    """Writes rows, a list of dicts, as replace_file does. What is missing, or not a number, is an empty field."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator='\n')
    writer.writeheader()
    writer.writerows({key: '' if value != value else value for key, value in row.items()} for row in rows)
    replace_file(path, lambda f: f.write(text.getvalue().encode()))
    return path


def file_hash(path):
    """Returns the sha256 of a file, in hexadecimal."""
    with open(path, 'rb') as f:
        return hashlib.file_digest(f, 'sha256').hexdigest()


def random_stream(*name):
    """A numpy Generator that depends on nothing but the name (strings and ints)."""
    return np.random.default_rng(list(hashlib.sha256(repr(name).encode()).digest()))


def split_names(text):
    """'a,b' -> ['a', 'b']; fails where a name is there twice."""
    names = [name.strip() for name in text.split(',') if name.strip()]
    if len(set(names)) < len(names):
        fail(f'{text}: a component is named twice')
    return names


def check_name(name, what):
    """Fails unless a name will do as a folder and in a comma-separated list."""
    if not name or name != os.path.basename(name.strip()) or name.startswith('.') or ',' in name:
        fail(f'{what} {name!r}: a name must do as a folder, without / or a dot or space in front, and have no comma')


def read_settings(path):
    """
    Returns {key: (default, comment)} of a script, read from its source: the literals that it assigns above
    its call of override(globals()), and the comment that trails each.
    """
    with open(path, encoding='utf-8') as f:
        source = f.read()
    comments = {t.start[0]: t.string.lstrip('# ') for t in tokenize.generate_tokens(io.StringIO(source).readline)
                if t.type == tokenize.COMMENT}
    settings, lines = {}, source.split('\n')
    for node in ast.parse(source).body:
        if 'override(globals())' in lines[node.lineno - 1]:
            break
        if isinstance(node, ast.Assign):
            settings[node.targets[0].id] = ast.literal_eval(node.value), comments.get(node.lineno, '')
    return settings


def checked(key, value, default, where):
    """Returns value if it has the type of default (an int becomes a float where the default is one), else fails."""
    if type(default) is float and type(value) is int:
        value = float(value)
    if type(value) is not type(default):
        kind = 'True or False' if type(default) is bool else f'a value of type {type(default).__name__}'
        fail(f'{where}{key}={value!r}: expected {kind}, such as the default {default!r}')
    return value


def run_file(path, known):
    """Returns {key: value} of what a config file assigns; it can read the values in `known`, a dict."""
    if not path.endswith('.py'):
        fail(f'{path}: write --key=value to set a key, or name a config file that ends in .py')
    found = path if os.path.exists(path) else os.path.join(ROOT, path)
    if not os.path.isfile(found):
        fail(f'no config file {path}; there are {", ".join(sorted(os.listdir(os.path.join(ROOT, "config"))))} in config/')
    names = dict(known)
    try:
        with open(found, encoding='utf-8') as f:
            exec(compile(f.read(), path, 'exec'), names)
    except Exception as e:  # a config file is the user's program: whatever it raises is his to mend
        line = e.lineno if isinstance(e, SyntaxError) else e.__traceback__.tb_next and e.__traceback__.tb_next.tb_lineno
        fail(f'{path}, line {line}: {type(e).__name__}: {e}')
    return {k: v for k, v in names.items() if not (k.startswith('_') or k in known and v is known[k])
            and not (callable(v) or isinstance(v, types.ModuleType))}


def unknown(key, keys, where='', dashes=''):
    """Fails over a key that is not among the keys, naming the nearest."""
    close = difflib.get_close_matches(key, keys, n=1)
    fail(f'{where}unknown key {dashes}{key}' + (f'; did you mean {dashes}{close[0]}?' if close else '; see --help'))


def override(script):
    """
    Applies sys.argv to a script's globals(), in place.

    Returns the script's settings as a dict, or {} where the script is imported rather than run: then its
    defaults stay as they are. A file may set a key that only another script knows, so that one file serves
    all of them; a key that no script knows, or a value of another type than the default's, is an error.
    """
    if script['__name__'] != '__main__':
        return {}
    own = read_settings(script['__file__'])
    by_script = {name: read_settings(os.path.join(ROOT, name)) for name in SCRIPTS}
    everyone = {key: setting for settings in by_script.values() for key, setting in settings.items()} | own
    if any(arg in ('-h', '--help') for arg in sys.argv[1:]):
        print(script['__doc__'].strip() + '\n\nsettings, with their defaults:')
        width = max(len(f'{k}={default!r}') for k, (default, _) in own.items())
        for k, (default, comment) in own.items():
            print(f'  --{f"{k}={default!r}":{width}}  {comment}')
        sys.exit(0)
    values = {k: default for k, (default, _) in everyone.items()}
    for arg in sys.argv[1:]:
        if not arg.startswith('--'):
            for key, value in run_file(arg, values).items():
                if key not in everyone:
                    unknown(key, everyone, where=f'{arg}: ')
                values[key] = checked(key, value, everyone[key][0], f'{arg}: ')
            continue
        key, equals, text = arg[2:].partition('=')
        if key in everyone and key not in own:
            others = ', '.join(name for name, settings in by_script.items() if key in settings)
            fail(f'--{key} is not a key of this script: it belongs to {others}')
        if key not in own:
            unknown(key, own, dashes='--')
        if not equals:
            fail(f'--{key} needs a value: --{key}={own[key][0]!r}, say')
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError):
            value = text
        if type(own[key][0]) is str and type(value) is not str:
            value = text  # --dataset=2024 names a folder
        values[key] = checked(key, value, own[key][0], '--')
    settings = {k: values[k] for k in own}
    script.update(settings)
    return settings
