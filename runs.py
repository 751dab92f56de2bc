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
from model import read_checkpoint, run_state
from sample_mix import held_windows, list_documents, parts_of, read_meta, same_data

NO_SETTING = configurator.NOT_PART_OF_A_SETTING | configurator.VARIES_IN_A_SETTING
SEEDS = ('seed', 'mix_seed')
TRAIN_DEFAULTS = configurator.train_defaults()


def read_run(folder, checkpoint, components, any_code):
    """
    Returns a run as a dict: the config of its ckpt.pt, where a key that it lacks has train.py's
    default, and

        folder, run    its path, and the folder's name
        mix, meta      what its components gave, and its data set's meta.json
        evaluated      the components that it is evaluated on
        known          those whose documents it read
        model_code     the hash of its model.py, '' if unknown
        settings       the keys that make its setting, `code` among them: one hash of all its code
        untrained      whether its best step is 0: best.pt has the weights that it began with
        state          run_state, or 'being trained', or 'ended by a number that is not finite'
        unfinished     whether that is neither 'finished' nor 'stopped early'
        steps          how far it is: '600 of 6,000 steps'
        left_out       why it cannot be evaluated, or ''

    Returns None where there is no run. Fails where its data are not the data there are now.
    """
    path = os.path.join(folder, 'ckpt.pt')
    saved = read_checkpoint(path)
    if saved is None:
        return None
    try:
        config, mix = TRAIN_DEFAULTS | saved['config'], saved['mix']
        trained_on = {c: mix['of_each'][c]['sha256'] for c in mix['components']}
        trained_on = mix.get('dealt_from') or trained_on
        code = {} if any_code else saved.get('code', {})
        model_code = code.get('model.py', '').rpartition('+')[2]  # of the code that trained last
        steps = f'{saved["iter_num"]:,} of {config["max_iters"]:,} steps'
        state = run_state(saved)
    except (KeyError, TypeError, AttributeError) as e:
        fail(f'{path} was written by another version ({e!r}): train the run again, or leave it out'
             ' of --runs')
    bad_step = (configurator.read_json(os.path.join(folder, 'nonfinite.json')) or {}).get('step')
    if state == 'unfinished' and configurator.is_count(bad_step) and bad_step > saved['iter_num']:
        state = 'ended by a number that is not finite'
    if configurator.lock_holder(os.path.join(folder, 'lock')):
        state = 'being trained'
    left_out = ''
    if not os.path.isfile(os.path.join(folder, checkpoint)):
        left_out = f'without {checkpoint}'
    elif not (says_the_same(os.path.join(folder, 'config.json'), saved['config'])
              and says_the_same(os.path.join(folder, 'mix.json'), mix)):
        left_out = 'with a config.json or mix.json of another run than their ckpt.pt'
    meta = read_meta(config['dataset'])
    if not same_data(mix, meta):
        fail(f'{folder} was trained on other data than data/{config["dataset"]} holds now: train it'
             ' again, or leave it out of --runs')
    settings = {key: value for key, value in config.items() if key not in NO_SETTING}
    return config | {'folder': folder, 'run': os.path.basename(folder), 'mix': mix, 'meta': meta,
                     'evaluated': components or mix['components'],
                     'known': sorted(trained_on) if mix.get('dealt_from') else mix['components'],
                     'model_code': model_code, 'state': state, 'steps': steps,
                     'untrained': saved['best_iter'] == 0,
                     'unfinished': state not in ('finished', 'stopped early'), 'left_out': left_out,
                     'settings': settings | {'code': short_hash(code) if code else ''}}


def says_the_same(path, content):
    """Returns whether a JSON file has the keys and values of a dict, or is not there."""
    recorded = configurator.read_json(path)
    return recorded is None or recorded == recorded | json.loads(json.dumps(content))


def short_hash(value):
    """Returns 12 hexadecimal digits that change with a value of plain Python."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def identity(run, *without):
    """Returns what runs of one setting and the same seeds share, a hash, but for some keys."""
    values = run['settings'] | {key: run[key] for key in SEEDS}
    return short_hash({key: value for key, value in values.items() if key not in without})


def find_folders(patterns):
    """Returns the folders that match patterns, with commas between, or have that very name."""
    folders = set()
    for pattern in [patterns] if os.path.isdir(patterns) else patterns.split(','):
        is_name = os.path.isdir(pattern.strip())
        folders |= {pattern.strip()} if is_name else {*glob.glob(pattern.strip())}
    return sorted({os.path.normpath(folder) for folder in folders})


def read_runs(patterns, checkpoint, components, any_code=False, unfinished=False):
    """
    Returns (runs, left out), lists of read_run's runs in folders that match patterns, with commas
    between. A run that repeats another is in neither. Left out are those without the file
    `checkpoint` and, unless `unfinished`, those that are not finished. Each run is to be evaluated
    on `components`, a list, or on its own where that is empty. With any_code all count as trained
    by today's code.
    """
    runs = [read_run(folder, checkpoint, components, any_code) for folder in find_folders(patterns)]
    runs = [run | {'left_out': 'unfinished'} if run['unfinished'] and not (
        unfinished or run['left_out']) else run for run in runs if run]
    first = {}
    for run in sorted(runs, key=lambda run: run['left_out'] > ''):  # one that is whole comes first
        key = identity(run), *sorted(run['mix']['components'])
        if first.setdefault(key, run) is not run:  # it would count as another seed
            print(f'{run["folder"]} repeats {first[key]["folder"]}: left out')
    runs = sorted(first.values(), key=lambda run: run['folder'])
    chosen, left_out = ([run for run in runs if (run['left_out'] > '') == out]
                        for out in (False, True))
    for reason in sorted({run['left_out'] for run in left_out}):
        names = ', '.join(f'{run["folder"]} ({run["state"]}, {run["steps"]})'
                          for run in left_out if run['left_out'] == reason)
        hint = '; --unfinished=True takes them' if reason == 'unfinished' else ''
        print(f'left out, {reason}: {names.replace("(unfinished, ", "(")}{hint}')
    if not chosen:
        fail(f'--runs={patterns}: no {"finished " * bool(left_out)}run there'
             f' {configurator.looked_in("out")}; train one first, or give a pattern such as'
             " --runs='out/*'")
    silent = sum(not run['model_code'] for run in chosen)
    if any_code:
        print("any_code: all runs are evaluated with today's model.py, and those of other code are"
              ' averaged with them')
    elif silent:
        print(f'{silent} of {len(chosen)} runs do not say what code they were trained with: they'
              " are evaluated with today's model.py")
    return chosen, left_out


# -----------------------------------------------------------------------------
# parts: what a run is compared with


def needed_parts(run):
    """Returns parts_of a run: {(part, component): (folder, {key: value} where it differs)}."""
    return parts_of(run['folder'], run['mix'], run['settings'] | {key: run[key] for key in SEEDS})


def match_parts(runs, candidates):
    """
    Returns {folder: {'specialist': {c: run}, 'diluted': {c: run}, 'tagged': {'': run}}}: those of
    the candidates that each run is compared with, as far as they are there. They agree with it in
    setting, steps and seeds. The specialists are of the components that it is evaluated on.
    """
    def key(run, components, tokens, tag=False):
        free = 'token_budget', 'tag', 'constant_per_component'
        return identity(run, *free), tag, tokens, *sorted(components)
    trained = {key(run, run['mix']['components'], run['mix']['tokens'], run['tag']): run
               for run in candidates}
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


def missing_parts(runs, parts, left_out):
    """
    Returns a list of (run, part, begun, command), one for each run that ΔXE or its terms lack: a
    run that lacks it; whether it is a specialist, diluted or tagged; that very run where it is in
    left_out, or None; and the command that trains it, or goes on with it, '' while it is being
    trained. A part whose component holds too few tokens is not listed.
    """
    missing, parts_left_out = {}, match_parts(runs, left_out)
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
            values |= {key: run[key] for key in (*SEEDS, 'max_iters')} | {'init_from': 'auto'}
            words = tuple(f'--{key}={value}' for key, value in values.items())
            begun = parts_left_out[run['folder']][part].get(c)
            folder = begun['folder'] if begun else folder
            command = shlex.join(['python', 'train.py', *words, f'--out_dir={folder}'])
            if begun and begun['state'] == 'being trained':
                command = ''
            missing.setdefault(words, (run, part, begun, command))  # another run may lack the same
    return list(missing.values())


def write_missing(results_dir, runs, parts, left_out):
    """
    Writes the commands of missing_parts to missing.txt, or removes it where there are none. Returns
    the lines that say which runs are missing.
    """
    missing, path = missing_parts(runs, parts, left_out), os.path.join(results_dir, 'missing.txt')
    groups = collections.defaultdict(list)
    for run, part, begun, _ in missing:
        groups[run['dataset'], part].append((run['k'], begun is not None))
    lines = []
    for (dataset, part), lacking in sorted(groups.items()):
        n, n_begun = len(lacking), sum(begun for _, begun in lacking)
        ks = ', '.join(str(k) for k in sorted({k for k, _ in lacking}))
        lines.append(f'{dataset}: {"ΔXE" if part == "specialist" else "the decomposition"} of K ='
                     f' {ks} lacks {n} {part} run{"s" * (n > 1)}'
                     + f', {n_begun} of them begun and not finished' * (n_begun > 0))
    today = short_hash(configurator.run_code())
    other = sum(run['settings']['code'] not in ('', today) for run, _, _, _ in missing)
    if other:
        lines.append(f'{other} of them belong to runs of other code than today: runs are compared'
                     ' only where their code is the same')
    commands = [command for _, _, _, command in missing if command]
    if not commands:
        pathlib.Path(path).unlink(missing_ok=True)
        return lines
    configurator.replace_file(path, ''.join(f'{command}\n' for command in commands))
    return [*lines, f'{path} has the {len(commands)} commands that train them, with the budget,'
            ' steps and seeds that they must have:', *(f'  {command}' for command in commands[:3]),
            *['  ..'] * (len(commands) > 3), 'All, two at a time:'
            f" tr '\\n' '\\0' < {shlex.quote(path)} | OMP_NUM_THREADS=1 xargs -0 -n1 -P2 sh -c", '']
