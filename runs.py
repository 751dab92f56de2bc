"""The runs in out/: what each is, which share a setting, and what a mixture is compared with.
The parts of a mixture M are P_c, D_c and M_tag of README.md (What is measured).
"""
import collections
import glob
import os

from checkpoint import (NOT_PART_OF_A_SETTING, VARIES_IN_A_SETTING, WEIGHTS, name_components,
                        read_checkpoint, run_name, run_state)
from configurator import (code_of, fail, join_names, lock_holder, looked_in, short_hash,
                          split_names, train_defaults)
from sample_mix import data_path, held_windows, list_documents, read_meta

# ---- runs --------------------------------------------------------------------

def code_hash(code):
    """Returns a hash of the code of a run, or of several in a row, lists of {file: text}."""
    return short_hash([{name: code_of(text) for name, text in texts.items()} for texts in code])

def read_run(folder, components=(), any_code=False):
    """Returns a run as a dict, or None where there is none: the config of its ckpt.pt, a key that
    it lacks as in train.py, and more; `folder` and `why` alone where its data are gone or other."""
    saved = read_checkpoint(folder)
    if saved is None:
        return None
    config, mix = train_defaults() | saved['config'], saved['mix']
    path = data_path(config['dataset'], 'meta.json')
    meta = read_meta(config['dataset']) if os.path.exists(path) else {'seal': ''}
    if mix['data'] != meta['seal']:
        return {'folder': folder, 'why': f'of other data than {os.path.dirname(path)} holds now'}
    state = 'being trained' if lock_holder(os.path.join(folder, 'lock')) else run_state(saved)
    settings = {key: value for key, value in config.items()
                if key not in NOT_PART_OF_A_SETTING | VARIES_IN_A_SETTING}
    return config | {
        'folder': folder, 'config': config, 'mix': mix, 'meta': meta,  # as mix.json, meta.json
        # the components that it is evaluated on
        'evaluated': (sorted(meta['components']) if components == ['all'] else
                      [*components] or mix['components']),
        # the components whose documents it read
        'known': sorted(meta['components']) if config['shuffle_components'] else mix['components'],
        'code': saved['code'],  # that trained it, [{file: text}], the last one last
        # the keys that make its setting, and a hash of all its code
        'settings': settings | {'code': '' if any_code else code_hash(saved['code'])},
        'state': state, 'steps': f'{saved["iter_num"]:,} of {config["max_iters"]:,} steps',
        'unfinished': state not in ('finished', 'stopped early'),
        'untrained': saved['best_iter'] == 0}  # its best weights are those that it began with

def tokens_of_each(mix):
    """Returns {component: the tokens an epoch that it gives} of draw_mix's record."""
    return {name: facts['tokens'] for name, facts in mix['of_each'].items()}

def identity(run, *without):
    """Returns what runs of one setting and the same seeds share, a hash, but for some keys."""
    values = run['settings'] | {key: run[key] for key in ('seed', 'mix_seed')}
    return short_hash({key: value for key, value in values.items() if key not in without})

def read_runs(patterns, components=(), any_code=False, unfinished=False, which='best'):
    """Returns read_run's runs in the folders that match patterns, with commas between; `run` is a
    folder's name, or its path if two have that. Those that repeat others, lack the checkpoint
    `which` or, unless `unfinished`, have not ended are named and left out. any_code: see --help."""
    names = [patterns] if os.path.isdir(patterns) else split_names(patterns)
    found = {name: [name] if os.path.isdir(name) else glob.glob(name) for name in names}
    folders = {os.path.normpath(folder) for name in found for folder in found[name]}
    chosen, left_out = {}, collections.defaultdict(list)
    if missing := [name for name in found if folders and not found[name]]:
        left_out['no such folder'] = missing
    for run in sorted(filter(None, [read_run(x, components, any_code) for x in sorted(folders)]),
                      key=lambda run: run.get('unfinished', False)):  # what has ended comes first
        folder = run['folder']
        key = 'mix' in run and (identity(run), *sorted(tokens_of_each(run['mix']).items()))
        if 'why' in run:
            left_out[run['why']].append(folder)
        elif which not in WEIGHTS and not os.path.isfile(os.path.join(folder, f'{which}.pt')):
            left_out[f'without {which}.pt'].append(folder)
        elif run['unfinished'] and not unfinished:
            left_out['unfinished (--unfinished=True takes them)'].append(
                f'{folder} ({run["state"]}, {run["steps"]})')
        elif chosen.setdefault(key, run) is not run:  # it would count as another seed
            left_out['they repeat others'].append(f'{folder} repeats {chosen[key]["folder"]}')
    for reason, folders in left_out.items():
        print(f'left out, {reason}: {", ".join(folders)}')
    if not chosen:
        fail(f'{patterns}: no run there{" but those left out" * bool(left_out)} {looked_in("out")};'
             " train one first, or give a pattern such as 'out/*'")
    names = [os.path.basename(run['folder']) for run in chosen.values()]
    return [run | {'run': name if names.count(name) == 1 else run['folder']}
            for run, name in zip(chosen.values(), names)]

# ---- parts: what a run is compared with --------------------------------------

def parts_of(run_folder, record, settings):
    """Returns the runs that a run M is compared with, {(part, component): (folder, keys)}: P_c is
    ('specialist', c), D_c ('diluted', c), M_tag ('tagged', ''). They have the settings, seeds and
    steps of M but for keys, {key: value}. A component may hold too few tokens for its P_c or D_c. A
    run on one component is its own P_c and has no parts; with tags, it has P_c, as M_tag has.
    record is draw_mix's, and settings are M's, among them tag where that may be True."""
    parent, M = os.path.split(os.path.normpath(run_folder))
    components, K, T = record['components'], len(record['components']), settings['block_size']
    constant, tag = settings['constant_per_component'], settings.get('tag', False)
    dataset, shares = settings['dataset'], record['shares']
    seeds = settings['seed'], settings['mix_seed'], settings['shuffle_components']
    # Where M's folder has the name that train.py gives it (the components in it or not), its parts
    # have theirs. Else they are called after M. {name of M: name of M_tag}
    usual_names = {run_name(dataset, K, *seeds, constant, tag, only, shares):
                   run_name(dataset, K, *seeds, constant, True, only, shares)
                   for only in ('', name_components(components, record['tokens']))}

    def alone(component, budget):
        name = name_components([component], budget // T * T)
        name = run_name(dataset, 1, *seeds, only=name) if M in usual_names else f'{M}-{name}'
        return os.path.join(parent, name), {
            'components': join_names([component]), 'token_budget': budget, 'shares': '',
            'constant_per_component': False, 'tag': False}
    parts = {}
    if K > 1 and not tag:
        parts['tagged', ''] = os.path.join(parent, usual_names.get(M, f'{M}-tag')), {
            'components': join_names(components), 'token_budget': settings['token_budget'],
            'shares': shares, 'constant_per_component': constant, 'tag': True}
        parts |= {('diluted', c): alone(c, record['of_each'][c]['tokens']) for c in components}
    if K > 1 or tag:
        budget = settings['token_budget']
        budget = budget // T * T * K if constant else budget
        parts |= {('specialist', c): alone(c, budget) for c in components}
    return parts

def match_parts(runs):
    """Returns {folder: {(part, component): run}}, the keys of parts_of: what each run is compared
    with, as far as it is among the runs. They agree with it in setting, steps and seeds. The
    specialists are of the components that it is evaluated on."""
    def key(run, gives, tag=False):
        free = 'token_budget', 'tag', 'constant_per_component', 'shares'
        return identity(run, *free), tag, *sorted(gives.items())
    trained = {key(run, tokens_of_each(run['mix']), run['tag']): run for run in runs}
    result = {}
    for run in runs:
        mix = run['mix']
        tokens = {name: keys['token_budget'] // run['block_size'] * run['block_size']
                  for name, (_, keys) in parts_of(run['folder'], mix, run).items()}
        budget = tokens.get(('specialist', mix['components'][0]), mix['tokens'])
        wanted = {(part, c): key(run, {c: n} if c else tokens_of_each(mix), tag=not c)
                  for (part, c), n in tokens.items() if part != 'specialist'}
        wanted |= {('specialist', c): key(run, {c: budget}) for c in run['evaluated']}
        result[run['folder']] = {name: trained[k] for name, k in wanted.items() if k in trained}
    return result

def parts_alone(runs, parts):
    """Returns the folders of runs that are a D_c or M_tag of others and nothing else, a set."""
    used = {(part, other['folder']) for run in runs if run['k'] > 1 and not run['tag']
            for (part, _), other in parts[run['folder']].items()}
    return {folder for part, folder in used if ('specialist', folder) not in used}

def missing_parts(run, parts):
    """Returns {(part, component): (folder, keys)} of parts_of a run less those in `parts`, what
    match_parts has of it, that have ended, and those whose component holds too few tokens. A part
    that is begun has its folder."""
    missing, T = {}, run['block_size']
    for (part, c), (folder, keys) in parts_of(run['folder'], run['mix'], run).items():
        there = parts.get((part, c), {'unfinished': True, 'folder': folder})
        if not there['unfinished'] or part == 'specialist' and c not in run['evaluated']:
            continue
        docs = list_documents(run['meta'], c, 'train', run['shuffle_components']) if c else None
        if not c or held_windows(docs, T) >= keys['token_budget'] // T:
            missing[part, c] = there['folder'], keys
    return missing
