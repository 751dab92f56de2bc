"""
Lists the runs of a sweep, one command a line. For each K and seed: the mixture M, the tagged run
M_tag, and for each component c of M the diluted specialist D_c and the specialist P_c; for one K
all of that on shuffled documents too, the control.

    python sweep.py config/cpu.py
    python sweep.py config/cpu.py --k='1 2 3' --seeds='0 1' --control=0 --n_layer=4
    make sweep CONFIG=config/cpu.py K='1 2 3' J=2    # runs them, two at a time, and evaluates them

It takes every key of train.py and hands it on to every run; the number of steps follows from them
as it does there, and is the same for all runs. seed and mix_seed of a run are the same number. A
run that is there already is left as it is, and one that was cut short goes on (--init_from=auto).
Where a component is too small for its specialist, that run is left out and named on stderr.
"""
import os
import shlex
import sys

from configurator import ROOT, fail, override, read_settings
from sample_mix import (
    choose_components,
    draw_mix,
    held_windows,
    list_documents,
    name_components,
    parts_of,
    read_meta,
    run_name,
)

# -----------------------------------------------------------------------------
k = '1 2 3 4 5'          # K of the mixtures; 1 = the specialists of all candidates
seeds = '0 1 2'          # seed and mix_seed of the runs
control = -1             # K of the shuffled control; 0 = none, -1 = the largest
list = True              # print the runs' commands, one a line: this version does nothing else
# -----------------------------------------------------------------------------
settings = override(globals(), shared='all')

# keys of train.py that each run has its own value of, so that they cannot be handed on
SET_BY_SWEEP = ('components', 'seed', 'mix_seed', 'shuffle_components', 'constant_per_component',
                'tag', 'out_dir', 'init_from', 'overwrite')


def parse_numbers(key):
    """Returns the whole numbers of a key such as '1 2 3', sorted; fails where there is none."""
    try:
        numbers = sorted({int(word) for word in settings[key].replace(',', ' ').split()})
    except ValueError as e:
        fail(f'--{key}={settings[key]}: a list of whole numbers, such as 1 2 3 ({e})')
    if not numbers or numbers[0] < 0:
        fail(f'--{key}={settings[key]}: one whole number at least, none below 0')
    return numbers


def list_runs(meta, ks, seeds, control, budget):
    """
    Returns ({folder: keys}, {component: the tokens that it holds}): the sweep's runs in order, each
    with the keys of train.py, {key: value}, that are its own, and the components that are too small
    for a run that the sweep should have. The mixtures have a budget of so many tokens an epoch.
    Fails where a mixture cannot be had.
    """
    dataset, candidates, T = (settings[key] for key in ('dataset', 'candidates', 'block_size'))
    runs, too_small = {}, {}
    kinds = [(K, False) for K in ks] + [(control, True)] * (control > 0)
    for seed, (K, shuffled) in [(seed, kind) for seed in seeds for kind in kinds]:
        chosen, pool = choose_components(meta, K, candidates, '', seed)
        same = {'seed': seed, 'mix_seed': seed, 'shuffle_components': shuffled}
        if K > 1:
            folder = 'out/' + run_name(dataset, K, seed, seed, shuffled)
            _, record = draw_mix(dataset, T, K, candidates, '', budget, seed, shuffled)
            runs[folder] = {'k': K, 'token_budget': budget, **same}
            parts = parts_of(folder, record, settings | same | {'token_budget': budget})
        else:  # each candidate's specialist
            tokens = budget // T * T
            parts = {('specialist', c): (
                'out/' + run_name(dataset, 1, seed, seed, shuffled,
                                  only=name_components([c], tokens)),
                {'components': c, 'token_budget': tokens}) for c in pool}
        for (part, c), (folder, keys) in parts.items():
            if part != 'tagged':
                tokens = T * held_windows(list_documents(meta, c, 'train', shuffled), T)
                if keys['token_budget'] > tokens:
                    too_small[c + ' (shuffled)' * shuffled] = tokens
                    continue
            runs[folder] = keys | same
    return runs, too_small


def command(folder, keys, passed_on, max_iters):
    """Returns the command line of a run, quoted for a shell, without keys that change nothing."""
    always = ('k', 'components', 'token_budget', 'seed', 'mix_seed')
    shown = {key: value for key, value in keys.items() if key in always or value != settings[key]}
    shown |= {'max_iters': max_iters, 'out_dir': folder}
    return shlex.join(['python', 'train.py', *passed_on, '--init_from=auto',
                       *(f'--{key}={value}' for key, value in shown.items())])


if __name__ == '__main__':
    dataset, T = settings['dataset'], settings['block_size']
    meta = read_meta(dataset)

    # the settings that a mistake would break
    defaults = read_settings(os.path.join(ROOT, 'train.py'))
    for key in SET_BY_SWEEP:
        if settings[key] != defaults[key][0]:
            fail(f'--{key}={settings[key]}: a sweep chooses {key} of each run itself: leave it out')
    for key in ('block_size', 'batch_size', 'gradient_accumulation_steps'):
        if settings[key] < 1:
            fail(f'--{key}={settings[key]}: at least 1')
    if not list:
        fail('--list=False: sweep.py runs nothing yet; make sweep and sweep.sbatch run its list')
    ks, seeds = parse_numbers('k'), parse_numbers('seeds')
    control = ks[-1] if control < 0 else control
    if control and control not in ks:
        fail(f'--control={control} is not among --k={settings["k"]}')

    # the same budget and steps for all; an automatic budget is what all have, the control's too
    records = [draw_mix(dataset, T, 1, settings['candidates'], shuffle_components=shuffled)[1]
               for shuffled in {False, control > 0} if settings['token_budget'] == 0]
    budget = settings['token_budget'] or min(record['token_budget'] for record in records)
    windows_per_step = settings['gradient_accumulation_steps'] * settings['batch_size']
    max_iters = settings['max_iters'] or settings['epochs'] * (budget // T) // windows_per_step
    if max_iters < 1 or budget < T:
        fail(f'{settings["epochs"]} epochs of {budget // T} windows are less than one step of'
             f' {windows_per_step}: lower --batch_size or raise --epochs')

    # the list
    runs, too_small = list_runs(meta, ks, seeds, control, budget)
    replaced = {'k', 'seeds', 'control', 'list', 'token_budget', 'max_iters', *SET_BY_SWEEP}
    passed_on = [word for word in sys.argv[1:]
                 if not word.startswith('--') or word[2:].partition('=')[0] not in replaced]
    for folder, keys in runs.items():
        print(command(folder, keys, passed_on, max_iters))
    if too_small:
        held = ', '.join(f'{c} {tokens:,}' for c, tokens in too_small.items())
        print(f'ΔXE will be missing where a component holds less than {budget:,} tokens: {held};'
              ' a smaller --token_budget has them all', file=sys.stderr)
