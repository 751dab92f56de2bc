"""
The runs in out/: which of them share a setting, what each is compared with, and what is missing.

M is a mixture of K components with budget B. P_c is the specialist of component c, trained on c
alone with budget B. D_c is diluted: trained on c alone with what c gives to M, B / K. M_tag is
tagged: M whose windows begin with the name of their component. sample_mix.parts_of knows which of
them M needs.
"""
import collections
import glob
import hashlib
import json
import os
import pathlib
import shlex

from configurator import (
    NOT_PART_OF_A_SETTING,
    ROOT,
    VARIES_IN_A_SETTING,
    code_hash,
    fail,
    read_settings,
)
from sample_mix import list_documents, parts_of, read_meta

TRAIN_DEFAULTS = {key: default for key, (default, _)
                  in read_settings(os.path.join(ROOT, 'train.py')).items()}
TRAIN_DEFAULTS = json.loads(json.dumps(TRAIN_DEFAULTS))  # as config.json has them: lists, no tuples
METADATA = {'versions', 'commit', 'command', 'world_size', 'parameters', 'code'}  # of config.json
SEEDS = ('seed', 'mix_seed')


def read_run(folder, checkpoint, components, any_code):
    """
    Returns a run as a dict: its config.json, and `folder`, `run` (the folder's name), `mix` (its
    mix.json), `evaluated` (the components that it is evaluated on), `known` (those whose documents
    it read), `model_code` (the hash of its model.py, '' if unknown) and `settings`: the keys that
    make its setting. A key that it does not know has train.py's default there, and `code` is one
    hash of the code that it was trained with. Returns None where there is no run or no checkpoint
    yet. Fails where the run's data are not the data there are now.
    """
    try:
        config, mix = (json.loads(pathlib.Path(folder, name).read_text())
                       for name in ('config.json', 'mix.json'))
        missing = {'dataset', 'k', 'token_budget', 'max_iters', 'dtype', *SEEDS} - config.keys()
        if missing:
            raise ValueError(f'no {", ".join(sorted(missing))}')
        trained_on = {c: mix['of_each'][c]['sha256'] for c in mix['components']}
        trained_on = mix.get('dealt_from') or trained_on
        code = {} if any_code else config.get('code', {})
        model_code = code.get('model.py', '').rpartition('+')[2]  # of the code that trained last
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        fail(f'{folder}: config.json or mix.json cannot be used ({e!r}): train the run again, or'
             ' leave it out of --runs')
    if not os.path.isfile(os.path.join(folder, checkpoint)):
        print(f'{folder} has no {checkpoint} yet: left out')
        return None
    meta = read_meta(config['dataset'])['components']
    for c, sha256 in trained_on.items():
        if c not in meta or meta[c]['train']['sha256'] != sha256:
            fail(f'{folder} was trained on other data than data/{config["dataset"]} holds for {c}'
                 ' now: train it again, or leave it out of --runs')
    config = TRAIN_DEFAULTS | config
    settings = {key: value for key, value in config.items()
                if key not in NOT_PART_OF_A_SETTING | VARIES_IN_A_SETTING | METADATA}
    settings['code'] = short_hash(code) if code else ''
    return config | {'folder': folder, 'run': os.path.basename(folder), 'mix': mix,
                     'evaluated': components or mix['components'],
                     'known': sorted(trained_on) if mix.get('dealt_from') else mix['components'],
                     'model_code': model_code, 'settings': settings}


def short_hash(value):
    """Returns 12 hexadecimal digits that change with a value of plain Python."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def identity(run, *without):
    """Returns what runs of one setting and the same seeds share, a string, but for some keys."""
    values = run['settings'] | {key: run[key] for key in SEEDS}
    return json.dumps({key: values[key] for key in sorted(values) if key not in without})


def read_runs(patterns, checkpoint, components, any_code=False):
    """
    Returns the runs (read_run) in folders that match patterns, with commas between, a list. One
    that repeats another is left out. They have the file `checkpoint`, and are to be evaluated on
    `components`, a list, or each on its own where that is empty. With any_code all count as trained
    by today's code.
    """
    folders = {os.path.normpath(folder) for pattern in patterns.split(',')
               for folder in glob.glob(pattern.strip())}
    first = {}
    for folder in sorted(folders):
        run = read_run(folder, checkpoint, components, any_code)
        if run is None:
            continue
        key = identity(run), *sorted(run['mix']['components'])
        if first.setdefault(key, run) is not run:  # it would count as another seed
            print(f'{run["folder"]} repeats {first[key]["folder"]}: left out')
    if not first:
        fail(f"--runs={patterns}: no run there; train one first, or give a pattern such as"
             " --runs='out/*'")
    silent = sum(not run['model_code'] for run in first.values())
    if any_code:
        print("any_code: all runs are evaluated with today's model.py, and those of other code are"
              ' averaged with them')
    elif silent:
        print(f'{silent} of {len(first)} runs do not say what code they were trained with: they are'
              " evaluated with today's model.py")
    return list(first.values())


# -----------------------------------------------------------------------------
# parts: what a run is compared with


def needed_parts(run):
    """Returns parts_of a run: {(part, component): (folder, {key: value} where it differs)}."""
    return parts_of(run['folder'], run['mix'], run['settings'] | {key: run[key] for key in SEEDS})


def match_parts(runs):
    """
    Returns {folder: {'specialist': {c: run}, 'diluted': {c: run}, 'tagged': {'': run}}}: the runs
    that each run is compared with, as far as they are there. They agree with it in setting, steps
    and seeds. The specialists are of the components that it is evaluated on.
    """
    def key(run, components, tokens, tag=False):
        free = 'token_budget', 'tag', 'constant_per_component'
        return identity(run, *free), tag, tokens, *sorted(components)
    trained = {key(run, run['mix']['components'], run['mix']['tokens'], run['tag']): run
               for run in runs}
    result = {}
    for run in runs:
        mix, T, budget = run['mix'], run['block_size'], run['mix']['tokens']
        parts = {'specialist': {}, 'diluted': {}, 'tagged': {}}
        for (part, c), (_, changes) in needed_parts(run).items():
            tokens = changes['token_budget'] // T * T
            if part == 'tagged':
                parts[part][''] = key(run, mix['components'], mix['tokens'], True)
            if part == 'diluted':
                parts[part][c] = key(run, [c], tokens)
            if part == 'specialist':
                budget = tokens
        parts['specialist'] = {c: key(run, [c], budget) for c in run['evaluated']}
        result[run['folder']] = {part: {c: trained[k] for c, k in keys.items() if k in trained}
                                 for part, keys in parts.items()}
    return result


def parts_alone(runs, parts):
    """Returns the folders of runs that are a D_c or M_tag of others and nothing else, a set."""
    folders = {part: {other['folder'] for run in runs if run['k'] > 1 and not run['tag']
                      for other in parts[run['folder']][part].values()}
               for part in ('specialist', 'diluted', 'tagged')}
    return (folders['diluted'] | folders['tagged']) - folders['specialist']


def missing_parts(runs, parts):
    """
    Returns a list of (command, run, part): the commands that train the runs that ΔXE and its terms
    lack, a run that lacks it, and whether it is a specialist, diluted or tagged. A part whose
    component holds too few tokens is not listed.
    """
    missing = {}
    for run in runs:
        T, settings, meta = run['block_size'], run['settings'], read_meta(run['dataset'])
        for (part, c), (folder, changes) in needed_parts(run).items():
            if c in parts[run['folder']][part]:
                continue
            if part != 'tagged':
                docs = list_documents(meta, c, 'train', run['shuffle_components'])
                if (docs['length'] // T).sum() < changes['token_budget'] // T:
                    continue
            values = {key: settings[key] for key in TRAIN_DEFAULTS if key in settings}
            values |= {key: run[key] for key in ('candidates', 'compile')} | changes
            defaults = TRAIN_DEFAULTS | {'lr_decay_iters': run['max_iters']}  # which its 0 means
            values = {key: x for key, x in values.items() if x != defaults[key]}
            values |= {key: run[key] for key in (*SEEDS, 'max_iters')}
            words = tuple(f'--{key}={value}' for key, value in values.items())
            command = shlex.join(['python', 'train.py', *words, f'--out_dir={folder}'])
            missing.setdefault(words, (command, run, part))  # another run may lack the same
    return list(missing.values())


def missing_lines(missing, path):
    """Returns the lines that say which runs are missing; all their commands stand in path."""
    count = collections.Counter((run['dataset'], run['k'], part) for _, run, part in missing)
    lines = [f'{dataset}: ' + (f'ΔXE of K = {k} needs a K = 1 run of each of its components with'
                               ' the same budget, steps and seeds' if part == 'specialist' else
                               f'the terms of ΔXE of K = {k} need its {part} runs')
             + f': {n} {"run is" if n == 1 else "runs are"} missing'
             for (dataset, k, part), n in sorted(count.items())]
    today = short_hash({name: code_hash(name)
                        for name in ('model.py', 'sample_mix.py', 'train.py')})
    other = sum(run['settings']['code'] != today for _, run, _ in missing)
    if other:
        lines.append(f'{other} of them belong to runs of other code than today: runs are compared'
                     ' only where their code is the same')
    if missing:
        lines += [f'The first of {len(missing)} commands that train what is missing:',
                  *(f'  {command}' for command, _, _ in missing[:3]),
                  f"All, two at a time: tr '\\n' '\\0' < {path} | xargs -0 -n1 -P2 sh -c"]
    return lines
