"""Runs a sweep and evaluates it. For each K and seed: the mixture M, the tagged run M_tag, and for
each component c of M the diluted specialist D_c and the specialist P_c; for one K all of that on
shuffled documents too, the control.

    python sweep.py config/cpu.py --jobs=2
    python sweep.py config/cpu.py --k='1 2 3' --seeds='0 1' --control=0 --n_layer=4
    python sweep.py config/demo.py --k='1 2 4 8' --seeds=0 --parts=False    # the mixtures alone
    python sweep.py config/cpu.py --sets='cs.DS,math.ST; cs.DS,math.ST tag=True; cs.DS'
    python sweep.py --parts_of=out/wider --jobs=2    # what a run of yours is compared with
    python sweep.py config/cpu.py --list=True    # prints the runs' commands, for a shell or sbatch

It takes eval_xe.py's keys, and train.py's but for those of which each run has its own value. Steps
and number type are the same for all; a run's seed is its mix_seed, its output out/<run>.log.

With --sets the runs are those alone, for each seed: components with commas between, and what else
tells a run apart, of token_budget, shares, tag, shuffle_components and constant_per_component. A
config file may reckon them: see config/pairs.py. With --parts_of they are what the runs named there
lack, in folders beside them, with the settings, budget, steps and seeds that they must have.
The same command goes on where it was stopped (docs/outputs.md: Runs that are cut short).
"""
# -----------------------------------------------------------------------------
k = '1 2 3 4 5'          # K of the mixtures; 1 = the specialists of all candidates
seeds = '0 1 2'          # seed and mix_seed of the runs
control = -1             # K of the shuffled control; 0 = none, -1 = the largest, where it has parts
parts = True             # False: the mixtures alone, without what they are compared with
sets = ''                # exactly these runs: components key=value .., with ; or new lines between
parts_of = ''            # exactly what these lack: folders of runs, patterns, with commas between
jobs = 1                 # runs at a time, on each GPU where there are GPUs
out_dir = ''             # the folder of the runs' folders; '' = out
results_dir = ''         # where eval_xe.py writes; '' = results/<config files, --dataset, or run>
list = False             # True: print the runs' commands, one a line, and run nothing
# -----------------------------------------------------------------------------
from configurator import override

settings = override(globals(), shared=('train.py', 'split', 'ckpt', 'windows_per_component',
                                       'eval_components', 'dump', 'unfinished'))

import contextlib
import itertools
import math
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time

import torch
from tqdm import tqdm

import checkpoint
import configurator
import runs
import sample_mix
from configurator import cpu_cores, fail, join_names, lock_holder, parsed, split_names, split_sets
from machine import choose_device, choose_dtype

TRAIN_DEFAULTS = configurator.train_defaults()
OWN_DEFAULTS = {key: x for key, (x, _) in configurator.read_settings(__file__).items()}
OF_EVAL = [key for key in settings if key not in TRAIN_DEFAULTS | OWN_DEFAULTS]  # eval_xe.py's keys
SETS_MAY_HAVE = ('token_budget', 'shares', 'tag', 'shuffle_components', 'constant_per_component')
# keys of train.py that each run has its own value of, so that they cannot be handed on
SET_BY_SWEEP = {'components', 'seed', 'mix_seed', 'init_from', *SETS_MAY_HAVE} - {'token_budget'}
OF_NO_RUN = checkpoint.NOT_PART_OF_A_SETTING - {'out_dir', 'init_from', 'epochs'}
ALWAYS_SHOWN = ('components', 'token_budget', 'seed', 'mix_seed', 'max_iters')  # in a command

# ---- the runs: {folder: keys of train.py} ------------------------------------

def list_runs(meta, ks, seeds, control, budget):
    """Returns {folder: keys}, the sweep's runs in order, each with the keys that are its own. The
    mixtures have a budget of so many tokens an epoch. A specialist is left out, and named, whose
    component holds too few tokens."""
    dataset, candidates, T, parent = (
        settings[key] for key in ('dataset', 'candidates', 'block_size', 'out_dir'))
    found, kinds = {}, [(K, False) for K in ks] + [(control, True)] * (control > 0)
    for seed, (K, shuffled) in itertools.product(seeds, kinds):
        chosen, pool = sample_mix.choose_components(meta, K, candidates, '', seed)
        same = {'seed': seed, 'mix_seed': seed, 'shuffle_components': shuffled}
        if K == 1:  # each candidate's specialist, or one where no mixture is compared with them
            for c in pool if parts else chosen:
                keys = {'components': join_names([c]), 'token_budget': budget} | same
                only = checkpoint.name_components([c], budget // T * T)
                name = checkpoint.run_name(dataset, 1, seed, seed, shuffled, only=only)
                found[f'{parent}/{name}'] = keys
            continue
        keys = {'components': join_names(chosen), 'token_budget': budget} | same
        folder = f'{parent}/{checkpoint.run_name(dataset, K, seed, seed, shuffled)}'
        _, record = sample_mix.draw_mix(meta, T, K, candidates, '', budget, seed, shuffled)
        needed = runs.parts_of(folder, record, settings | keys).values() if parts else ()
        found |= {folder: keys} | {of_part: more | same for of_part, more in needed}
    held = {}  # of a component that is too small
    for folder, keys in [*found.items()]:
        names, shuffled = split_names(keys['components']), keys['shuffle_components']
        docs = sample_mix.list_documents(meta, names[0], 'train', shuffled)
        tokens = T * sample_mix.held_windows(docs, T)
        if len(names) == 1 and tokens < keys['token_budget'] // T * T:
            held[names[0] + ' (shuffled)' * shuffled] = f'{tokens:,}'
            del found[folder]
    if held:
        print(f'ΔXE will be missing where a component holds less than {budget:,} tokens:'
              f' {", ".join(map(" ".join, held.items()))}; lower --token_budget', file=sys.stderr)
    return found

def list_sets(meta, seeds, budget):
    """Returns {folder: keys} of the runs that --sets names. Fails at a mistake."""
    found, same = {}, {key: settings[key] for key in SETS_MAY_HAVE} | {'token_budget': budget}
    for seed, line in itertools.product(seeds, split_sets(sets)):
        names, *words = re.split(r'\s+(?=\w+=[\w.,/]+(?:\s+\w+=[\w.,/]+)*$)', line)
        keys = same | {'components': names, 'seed': seed, 'mix_seed': seed}
        for key, _, text in (word.partition('=') for word in words):
            if key not in same:
                fail(f'--sets, {line}: {key} is none of {", ".join(same)}')
            keys[key] = parsed(key, text, same[key], f'--sets, {line}: ')
        chosen = split_names(names)
        controls = keys['shuffle_components'], keys['constant_per_component']
        _, record = sample_mix.draw_mix(meta, settings['block_size'], 0, '', names,
                                        keys['token_budget'], seed, *controls, keys['shares'])
        keys['shares'] = record['shares']
        only = checkpoint.name_components(chosen, record['tokens'])
        if len(chosen) > 1 and keys['token_budget'] != budget:
            only += f'-{record["tokens"]}tokens'
        name = checkpoint.run_name(settings['dataset'], len(chosen), seed, seed, *controls,
                                   keys['tag'], only, keys['shares'])
        found[os.path.join(settings['out_dir'], name)] = keys
    return found

def list_parts(compared):
    """Returns {folder: all keys} of what runs of read_runs lack among themselves."""
    today, matched, found = runs.code_hash([checkpoint.read_code()]), runs.match_parts(compared), {}
    for run in compared:
        missing = runs.missing_parts(run, matched[run['folder']])
        if missing and run['settings']['code'] not in ('', today):
            fail(f'{run["folder"]} is of other code than today, and runs are compared only where'
                 ' their code is the same: train it again, or --any_code=True')
        for folder, keys in missing.values():
            config = {key: run['config'][key] for key in TRAIN_DEFAULTS} | keys
            config |= {key: settings[key] for key in OF_NO_RUN}
            config |= {key: TRAIN_DEFAULTS[key] for key in ('k', 'candidates', 'epochs', 'out_dir')}
            found.setdefault(configurator.short_hash(config), (folder, config, run['settings']))
    parts = {}
    for folder, config, setting in found.values():
        if folder in parts or read_state(folder, config)[1]:  # a run of another setting has it
            folder += f'-{configurator.short_hash(setting)}'
        parts[folder] = config
    return parts

def run_words(folder, config, base, passed_on):
    """Returns train.py's arguments for a run: what is passed on, and what differs from `base`."""
    said = {key: x for key, x in config.items() if key in ALWAYS_SHOWN or x != base[key]}
    said |= {'init_from': 'auto', 'out_dir': folder}
    return ['train.py', *passed_on, *(f'--{key}={x}' for key, x in said.items())]

def read_state(folder, config):
    """Returns (the share of its steps that a run has taken, 1 where it is done; in what its folder
    holds another run than that of `config`, '' where it does not)."""
    saved = checkpoint.read_checkpoint(folder)
    if not saved:
        return 0, ''
    why = checkpoint.why_another(saved, config, split_names(config['components']))
    if saved['mix']['data'] != sample_mix.read_meta(config['dataset'])['seal']:
        why = f'was trained on other data than data/{config["dataset"]} holds now'
    is_done = checkpoint.run_state(saved) != 'unfinished'
    share = 1 if is_done else saved['iter_num'] / config['max_iters']
    return (0, why) if why else (share, '')

# ---- running them ------------------------------------------------------------

# What a run is started by. It leaves a process beside the run that reads a pipe of the sweep's: a
# line when the run has ended, the pipe's end when the sweep has, by a kill too. Then the run gets
# SIGTERM. PR_SET_PDEATHSIG would send one for each thread, and a run that gets two does not save.
LAUNCHER = 'exec 3<&0; (read -r _ <&3 || kill $$) & exec "$@" </dev/null 3<&-'
signals = []  # that ask the sweep to end, and are not handed on to the runs yet

def list_gpus():
    """Returns the GPUs for runs, as CUDA_VISIBLE_DEVICES names them; [''] where --device says."""
    if settings['device'] not in ('', 'cuda') or not torch.cuda.is_available():
        return ['']
    gpus = [name for name in os.environ.get('CUDA_VISIBLE_DEVICES', '').split(',') if name]
    return gpus or [str(i) for i in range(torch.cuda.device_count())]

def start(words, gpu='', share=1, log=None):
    """Starts a script, with its part of the cores where `share` run at a time, on a GPU, its output
    in a file. Returns its Popen. It gets signals from the sweep alone, and ends with it."""
    environment = os.environ | ({'CUDA_VISIBLE_DEVICES': gpu} if gpu else {})
    if not re.match('[1-9]', os.environ.get('OMP_NUM_THREADS', '')):  # unset, or no number
        environment['OMP_NUM_THREADS'] = str(max(1, cpu_cores() // share))
    command = [sys.executable, os.path.join(configurator.ROOT, words[0]), *words[1:]]
    return subprocess.Popen(['sh', '-c', LAUNCHER, 'sh', *command], stdin=subprocess.PIPE,
                            stdout=log, stderr=log, env=environment, process_group=0)

def pause(processes):
    """Waits a moment. Hands a signal that has come on to the processes, and returns its number, or
    0. At a second one they end at once."""
    time.sleep(0.1)
    if not signals:
        return 0
    for process in processes:
        process.terminate()
    return signals.pop(0)

def steps_in_log(folder, since):
    """Returns the steps that a run has taken, as the last row of its log.csv since then says."""
    try:
        with open(os.path.join(folder, 'log.csv'), 'rb') as f:
            f.seek(max(0, os.path.getsize(f.name) - 4000))
            steps = int(f.read().split(b'\n')[-2].partition(b',')[0])
            return steps if os.path.getmtime(f.name) > since else 0
    except (OSError, ValueError, IndexError):  # none yet, or a header alone
        return 0

def last_line(path):
    """Returns the last line of a log that is no progress bar, or ''."""
    with open(path, errors='replace') as f:
        lines = f.read().replace('\r', '\n').split('\n')
    return next((line for line in reversed(lines) if line.strip() and '%|' not in line), '')

if __name__ == '__main__':
    # the settings that a mistake would break; with --parts_of a run has all of its own
    free = OF_NO_RUN | {'parts_of', 'jobs', 'results_dir', 'list', *OF_EVAL}
    named = {word[2:].partition('=')[0] for word in sys.argv[1:]} if parts_of else set()
    for key in sorted(settings.keys() - free if parts_of else SET_BY_SWEEP):
        if key in named or settings[key] != (TRAIN_DEFAULTS | OWN_DEFAULTS)[key]:
            fail(f'--{key}={settings[key]}: a sweep chooses {key} of each run itself: leave it out')
    checkpoint.check_ranges(settings)
    for key in ('k', 'seeds'):
        if not re.fullmatch(r'[\s,]*\d[\d\s,]*', settings[key]):
            fail(f'--{key}={settings[key]}: a list of whole numbers, such as 1 2 3')
    ks, seeds = (sorted({int(n) for n in re.findall(r'\d+', text)}) for text in (k, seeds))
    if control < 0:
        control = ks[-1] if ks[-1] > 1 and parts and not sets else 0

    # the runs, each with all keys of train.py; `base` are those that a command need not say
    out_dir = settings['out_dir'] = os.path.normpath(out_dir or 'out')
    base, passed_on, compared = TRAIN_DEFAULTS, [], []
    names = [os.path.basename(word)[:-3] for word in sys.argv[1:] if word[:2] != '--']  # of files
    if parts_of:
        with contextlib.redirect_stdout(sys.stderr):  # standard output is for --list
            compared = runs.read_runs(parts_of, any_code=settings['any_code'], unfinished=True)
        wanted = list_parts(compared)
        names = names or ['parts-' + compared[0]['dataset'] if compared[1:] else compared[0]['run']]
    else:  # the same budget and steps for all; an automatic budget is what all have
        meta, T = sample_mix.read_meta(settings['dataset']), settings['block_size']
        budgets = [settings['token_budget'] or sample_mix.draw_mix(
            meta, T, 1, settings['candidates'], shuffle_components=shuffled)[1]['token_budget']
            for shuffled in (False, control > 0)]
        budget = min(budgets)
        if budget < budgets[0]:
            print(f'--token_budget={budget}, all that the shuffled control holds; --control=0 has'
                  f' {budgets[0]}', file=sys.stderr)
        max_iters = checkpoint.count_steps(settings, budget)
        wanted = list_sets(meta, seeds, budget) if sets else (
            list_runs(meta, ks, seeds, control, budget))
        if not sets and any(budget % (K * T) > 0.001 * budget for K in ks):
            print(f'--token_budget={budget}: not every K can use all of it, as of a multiple of'
                  f' {T * math.lcm(*ks)}', file=sys.stderr)
        wanted or fail('there is no run to train: --sets names none, or none holds the budget')
        base = {key: settings[key] for key in TRAIN_DEFAULTS} | {
            'max_iters': max_iters, 'lr_decay_iters': settings['lr_decay_iters'] or max_iters}
        wanted = {folder: base | keys for folder, keys in wanted.items()}
        replaced = {*OWN_DEFAULTS, *OF_EVAL, *ALWAYS_SHOWN, *SET_BY_SWEEP}
        passed_on = [word for word in sys.argv[1:] if word[2:].partition('=')[0] not in replaced]
    if list:
        for folder, config in wanted.items():
            print(shlex.join(['python', *run_words(folder, config, base, passed_on)]))
        sys.exit()

    # the number type, that of a run that is there or the machine's, and what is there already
    gpus = list_gpus()
    device = 'cuda' if gpus[0] else choose_device(settings['device'])
    if not settings['dtype'] and not parts_of:
        there = [saved['config']['dtype']
                 for saved in map(checkpoint.read_checkpoint, wanted) if saved]
        dtype = there[0] if there else choose_dtype('', device)[0]
        wanted = {folder: config | {'dtype': dtype} for folder, config in wanted.items()}
    states = {folder: read_state(folder, config) for folder, config in wanted.items()}
    others = [f'{folder} {why}' for folder, (_, why) in states.items() if why]
    if others and not settings['overwrite']:
        fail(f'{len(others)} of {len(wanted)} folders hold another run: {others[0]}. Set that back,'
             ' choose another --out_dir, or replace these runs by --overwrite=True')

    # run them
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has SIGHUP
            signal.signal(number, lambda number, frame: signals.append(number))
    progress = {folder: share for folder, (share, _) in states.items()}
    pending = [folder for folder in wanted if progress[folder] < 1]
    running, failed, stop_signal, is_compiled = {}, {}, 0, not settings['compile']
    bar = tqdm(total=len(wanted), initial=sum(progress.values()), disable=not pending, smoothing=0,
               bar_format='{desc}{bar} {n:.1f}/{total} [{elapsed}<{remaining}]', dynamic_ncols=True,
               mininterval=0.2 if sys.stderr.isatty() else 30, miniters=0)
    while running or pending and not stop_signal:
        # start what can start; a run goes first, so that the others find its model compiled
        for folder in pending.copy():
            if stop_signal or len(running) >= (jobs * len(gpus) if is_compiled else 1):
                break
            if lock_holder(os.path.join(folder, 'lock')):
                continue
            pending.remove(folder)
            progress[folder], _ = read_state(folder, wanted[folder])
            if progress[folder] < 1:  # nor has another sweep done it meanwhile
                gpu = min(gpus, key=[gpu for _, gpu, _ in running.values()].count)
                words = run_words(folder, wanted[folder], base, passed_on)
                os.makedirs(os.path.dirname(folder) or '.', exist_ok=True)
                with open(f'{folder}.log', 'a') as log:
                    running[folder] = start(words, gpu, jobs * len(gpus), log), gpu, time.time()
        if not running:  # all that is left is in the hands of other processes
            break
        stop_signal = pause([process for process, *_ in running.values()]) or stop_signal

        # look at what runs, and at what has ended
        for folder, (process, gpu, began) in running.copy().items():
            share = steps_in_log(folder, began) / wanted[folder]['max_iters']
            if share > progress[folder]:
                progress[folder], is_compiled = share, True
            if process.poll() is None:
                continue
            process.communicate(b'\n')  # what LAUNCHER has left ends too
            del running[folder]
            progress[folder], difference = read_state(folder, wanted[folder])
            if progress[folder] == 1 or stop_signal:
                continue
            if lock_holder(os.path.join(folder, 'lock')):  # another process was faster
                pending.append(folder)
                continue
            failed[folder] = f'{folder} ' + (
                difference or f'failed{gpu and " on GPU " + gpu} (status {process.returncode}),'
                f' {folder}.log ends: {last_line(folder + ".log")}')
            if share == 0 and len(gpus) > 1:  # it may be the GPU that fails: it gets no other run
                gpus = [other for other in gpus if other != gpu]
            tqdm.write(failed[folder], file=sys.stderr)
        n_done = sum(share == 1 for share in progress.values())
        bar.set_description_str(f'stopping, {len(running)} to save ' if stop_signal else
                                f'{n_done} done, {len(running)} running, {len(failed)} failed ',
                                refresh=False)
        bar.update(sum(progress.values()) - bar.n)
    bar.close()

    # evaluate what is done
    progress |= {folder: read_state(folder, wanted[folder])[0] for folder in pending}
    n_done, status = sum(share == 1 for share in progress.values()), 0
    if (n_done or compared) and not stop_signal:
        folders = dict.fromkeys([*(run['folder'] for run in compared), *wanted])
        names += [settings['dataset']] * (not names or '--dataset=' in ' '.join(sys.argv))
        names += [configurator.safe_name(out_dir)] * (out_dir != 'out')
        results_dir = results_dir or os.path.join('results', '-'.join(names))
        words = [f'--{key}={settings[key]}' for key in ('device', 'compile', 'any_code', *OF_EVAL)]
        with tempfile.NamedTemporaryFile('w', suffix='.py') as file:  # for a command line too many
            print(f'runs = {",".join(folders)!a}', file=file, flush=True)
            process = start(['eval_xe.py', file.name, f'--results_dir={results_dir}', *words])
            while process.poll() is None:
                stop_signal = pause([process]) or stop_signal
            process.communicate(b'\n')
        status = process.returncode

    # the end
    if stop_signal:
        fail(f'interrupted by {signal.Signals(stop_signal).name}: {n_done} of {len(wanted)} runs'
             ' are done, others have saved; the same command goes on', 128 + stop_signal)
    if failed:
        print(*failed.values(), f'{len(failed)} of {len(wanted)} runs failed: mend what these lines'
              ' say, and the same command tries them again', sep='\n', file=sys.stderr)
    elsewhere = [folder for folder in pending if progress[folder] < 1]
    if elsewhere:
        print(f'{len(elsewhere)} runs are being trained by another process, such as {elsewhere[0]}:'
              ' the same command evaluates all when it has ended', file=sys.stderr)
    sys.exit(1 if failed or elsewhere else status)
