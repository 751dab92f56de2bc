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

import configurator
from configurator import fail
from sample_mix import held_windows, list_documents, parts_of, read_meta

METADATA = {'versions', 'commit', 'command', 'world_size', 'parameters', 'code'}  # of config.json
NO_SETTING = configurator.NOT_PART_OF_A_SETTING | configurator.VARIES_IN_A_SETTING | METADATA
SEEDS = ('seed', 'mix_seed')
TRAIN_PY = os.path.join(configurator.ROOT, 'train.py')
TRAIN_DEFAULTS = {key: json.loads(json.dumps(default))  # as config.json has it: lists, no tuples
                  for key, (default, _) in configurator.read_settings(TRAIN_PY).items()}


def read_run(folder, checkpoint, components, any_code):
    """
    Returns a run as a dict: its config.json (a key that it lacks has train.py's default), and

        folder, run    its path, and the folder's name
        mix            its mix.json
        evaluated      the components that it is evaluated on
        known          those whose documents it read
        model_code     the hash of its model.py, '' if unknown
        settings       the keys that make its setting, `code` among them: one hash of all its code

    Returns None where there is no run, or no checkpoint yet. Fails where its data are not the data
    there are now.
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
    settings = {key: value for key, value in config.items() if key not in NO_SETTING}
    return config | {'folder': folder, 'run': os.path.basename(folder), 'mix': mix,
                     'evaluated': components or mix['components'],
                     'known': sorted(trained_on) if mix.get('dealt_from') else mix['components'],
                     'model_code': model_code,
                     'settings': settings | {'code': short_hash(code) if code else ''}}


def short_hash(value):
    """Returns 12 hexadecimal digits that change with a value of plain Python."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def identity(run, *without):
    """Returns what runs of one setting and the same seeds share, a hash, but for some keys."""
    values = run['settings'] | {key: run[key] for key in SEEDS}
    return short_hash({key: value for key, value in values.items() if key not in without})


def read_runs(patterns, checkpoint, components, any_code=False):
    """
    Returns a list of the runs (read_run) in folders that match patterns, with commas between, that
    have the file `checkpoint`; one that repeats another is left out. Each is to be evaluated on
    `components`, a list, or on its own where that is empty. With any_code all count as trained by
    today's code.
    """
    folders = {os.path.normpath(folder) for pattern in patterns.split(',')
               for folder in glob.glob(pattern.strip())}
    first = {}
    for folder in sorted(folders):
        run = read_run(folder, checkpoint, components, any_code)
        if run:
            key = identity(run), *sorted(run['mix']['components'])
            if first.setdefault(key, run) is not run:  # it would count as another seed
                print(f'{folder} repeats {first[key]["folder"]}: left out')
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
        T, mix = run['block_size'], run['mix']
        tokens = {name: keys['token_budget'] // T * T
                  for name, (_, keys) in needed_parts(run).items()}
        budget = tokens.get(('specialist', mix['components'][0]), mix['tokens'])
        wanted = {'specialist': {c: key(run, [c], budget) for c in run['evaluated']},
                  'diluted': {c: key(run, [c], n) for (part, c), n in tokens.items()
                              if part == 'diluted'},
                  'tagged': {c: key(run, mix['components'], mix['tokens'], tag=True)
                             for part, c in tokens if part == 'tagged'}}
        result[run['folder']] = {part: {c: trained[k] for c, k in keys.items() if k in trained}
                                 for part, keys in wanted.items()}
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
                if held_windows(docs, T) < changes['token_budget'] // T:
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


def write_missing(results_dir, runs, parts):
    """
    Writes the commands of missing_parts to missing.txt, or removes it where there are none. Returns
    the lines that say which runs are missing.
    """
    missing, path = missing_parts(runs, parts), pathlib.Path(results_dir, 'missing.txt')
    if not missing:
        path.unlink(missing_ok=True)
        return []
    text = ''.join(f'{command}\n' for command, _, _ in missing)
    configurator.replace_file(str(path), lambda f: f.write(text.encode()))
    count = collections.Counter((run['dataset'], run['k'], part) for _, run, part in missing)
    lines = [f'{dataset}: {"ΔXE" if part == "specialist" else "the decomposition"} of K = {k} lacks'
             f' {n} {part} run{"s" * (n > 1)}' for (dataset, k, part), n in sorted(count.items())]
    today = short_hash({name: configurator.code_hash(name)
                        for name in ('model.py', 'sample_mix.py', 'train.py')})
    other = sum(run['settings']['code'] != today for _, run, _ in missing)
    if other:
        lines.append(f'{other} of them belong to runs of other code than today: runs are compared'
                     ' only where their code is the same')
    return [*lines, f'The first of {len(missing)} commands that train them, with the budget, steps'
            ' and seeds that they must have:', f'  {missing[0][0]}',
            f"All, two at a time: tr '\\n' '\\0' < {path} | xargs -0 -n1 -P2 sh -c", '']
