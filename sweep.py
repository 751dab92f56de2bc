"""
Runs a sweep and evaluates it. For each K and seed: the mixture M, the tagged run M_tag, and for
each component c of M the diluted specialist D_c and the specialist P_c; for one K all of that on
shuffled documents too, the control.

    python sweep.py config/cpu.py --jobs=2
    python sweep.py config/cpu.py --k='1 2 3' --seeds='0 1' --control=0 --n_layer=4
    python sweep.py config/demo.py --k='1 2 4 8' --seeds=0 --parts=False    # the mixtures alone
    python sweep.py config/cpu.py --list=True    # prints the runs' commands, for a shell or sbatch

It takes every key of train.py and hands it on to every run; the number of steps follows from them
as it does there, and is the same for all runs. seed and mix_seed of a run are the same number. What
a run prints goes to out/<run>.log. Where a component is too small for its specialist, that run is
left out and named.

The same command goes on where it was stopped: what is done is left, what is begun is resumed. A run
is done when its ckpt.pt says so, for these settings, data and code. Ctrl-C and SIGTERM reach the
runs, which save. Two sweeps at once share the runs: none is trained twice.
"""
import ctypes
import os
import re
import shlex
import signal
import subprocess
import sys
import time

# first, so that Ctrl-C ends in one line while the others are imported
from configurator import (
    ROOT,
    fail,
    join_names,
    lock_holder,
    override,
    read_settings,
    split_names,
    train_defaults,
)

# isort: split
import torch
from tqdm import tqdm

import sample_mix
from model import choose_device, read_checkpoint, run_state, why_not_resume

# -----------------------------------------------------------------------------
k = '1 2 3 4 5'          # K of the mixtures; 1 = the specialists of all candidates
seeds = '0 1 2'          # seed and mix_seed of the runs
control = -1             # K of the shuffled control; 0 = none, -1 = the largest
parts = True             # False: the mixtures alone, without what they are compared with
jobs = 1                 # runs at a time, on each GPU where there are GPUs
results_dir = ''         # where eval_xe.py writes; '' = results/<name of the config file>
list = False             # True: print the runs' commands, one a line, and run nothing
# -----------------------------------------------------------------------------
settings = override(globals(), shared='all')

# keys of train.py that each run has its own value of, so that they cannot be handed on; with
# overwrite a sweep replaces the runs of other settings
SET_BY_SWEEP = ('components', 'seed', 'mix_seed', 'shuffle_components', 'constant_per_component',
                'tag', 'out_dir', 'init_from')
TRAIN_DEFAULTS = train_defaults()
SIGNALS = [getattr(signal, name) for name in ('SIGINT', 'SIGTERM', 'SIGHUP')
           if hasattr(signal, name)]


def parse_numbers(key):
    """Returns the whole numbers of a key such as '1 2 3', sorted; fails where there is none."""
    try:
        numbers = sorted({int(word) for word in settings[key].replace(',', ' ').split()})
    except ValueError as e:
        fail(f'--{key}={settings[key]}: a list of whole numbers, such as 1 2 3 ({e})')
    if not numbers or numbers[0] < 0:
        fail(f'--{key}={settings[key]}: one whole number at least, none below 0')
    return numbers


# -----------------------------------------------------------------------------
# the runs


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
        chosen, pool = sample_mix.choose_components(meta, K, candidates, '', seed)
        same = {'seed': seed, 'mix_seed': seed, 'shuffle_components': shuffled}
        needed = {}  # {(part, component): (folder, keys)}
        if K == 1:  # each candidate's specialist, or one where no mixture is compared with them
            tokens = budget // T * T
            for c in pool if parts else chosen:
                name = sample_mix.run_name(dataset, 1, seed, seed, shuffled,
                                           only=sample_mix.name_components([c], tokens))
                needed['specialist', c] = f'out/{name}', {'components': join_names([c]),
                                                          'token_budget': tokens}
        else:
            folder = f'out/{sample_mix.run_name(dataset, K, seed, seed, shuffled)}'
            _, record = sample_mix.draw_mix(dataset, T, K, candidates, '', budget, seed, shuffled)
            runs[folder] = {'k': K, 'token_budget': budget} | same
            if parts:
                needed = sample_mix.parts_of(folder, record, settings | runs[folder])
        for (part, c), (folder, keys) in needed.items():
            if part != 'tagged':
                docs = sample_mix.list_documents(meta, c, 'train', shuffled)
                held = T * sample_mix.held_windows(docs, T)
                if keys['token_budget'] > held:
                    too_small[c + ' (shuffled)' * shuffled] = held
                    continue
            runs[folder] = keys | same
    return runs, too_small


def run_words(folder, keys, passed_on, max_iters):
    """Returns the arguments of train.py for a run, a list, without keys that change nothing."""
    always = ('k', 'components', 'token_budget', 'seed', 'mix_seed')
    shown = {key: value for key, value in keys.items() if key in always or value != settings[key]}
    shown |= {'max_iters': max_iters, 'out_dir': folder}
    return ['train.py', *passed_on, '--init_from=auto',
            *(f'--{key}={value}' for key, value in shown.items())]


def read_state(folder, meta, config):
    """
    Returns (is_done, steps, difference) of a run's folder: whether its run has ended, how many
    steps its checkpoint has seen, and in what it is another run than that of `config`, all the
    settings of train.py, '' where it is the same.
    """
    checkpoint = read_checkpoint(os.path.join(folder, 'ckpt.pt'))
    if not checkpoint:
        return False, 0, ''
    difference = why_not_resume(checkpoint, config, TRAIN_DEFAULTS)
    mix, data = checkpoint['mix'], {name: splits['train']['sha256']
                                    for name, splits in meta['components'].items()}
    if mix.get('dealt_from', data) != data or any(
            data.get(c) != facts['sha256'] for c, facts in mix['of_each'].items()):
        difference = f'was trained on other data than data/{meta["dataset"]} holds now'
    # a run whose best.pt is missing is trained again
    has_ended = run_state(checkpoint) != 'unfinished' and os.path.exists(f'{folder}/best.pt')
    return has_ended and not difference, checkpoint['iter_num'], difference


# -----------------------------------------------------------------------------
# running them


def list_slots():
    """
    Returns the GPU of each of the runs at a time, a list of what CUDA_VISIBLE_DEVICES may hold:
    first one run on each GPU, then a second. '' is the CPU.
    """
    device = settings['device']
    if ':' in device:
        fail(f'--device={device}: a sweep chooses the GPU of each run; CUDA_VISIBLE_DEVICES says'
             ' which it may use')
    if device in ('cpu', 'mps') or not torch.cuda.is_available():
        choose_device(device)  # fails where there is a GPU that torch cannot use
        return [''] * jobs
    gpus = [name for name in os.environ.get('CUDA_VISIBLE_DEVICES', '').split(',') if name]
    if not gpus:
        try:  # torch sees but one MIG instance where none is named
            text = subprocess.run(['nvidia-smi', '-L'], capture_output=True, text=True).stdout
        except OSError:
            text = ''
        cards = re.split(r'^(?=GPU )', text, flags=re.M)[1:]
        for uuids in [re.findall(r'UUID: ([^)\s]+)', card) for card in cards]:
            gpus += uuids[1:] or uuids  # the instances of a GPU that is split, or the GPU
    return (gpus or [str(i) for i in range(torch.cuda.device_count())]) * jobs


def end_with_parent():
    """Has the kernel send SIGTERM to this process when its parent ends, a kill included."""
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def start(words, gpu='', share=1, output=None):
    """Starts a script with a share of the cores; returns the process. It gets our signals alone."""
    cores = max(1, len(os.sched_getaffinity(0)) // share)
    env = {'OMP_NUM_THREADS': str(cores), 'TORCHINDUCTOR_COMPILE_THREADS': str(cores)} | os.environ
    env |= {'CUDA_VISIBLE_DEVICES': gpu} if gpu else {}
    words = [sys.executable, os.path.join(ROOT, words[0]), *words[1:]]
    return subprocess.Popen(words, env=env, stdout=output, stderr=output, process_group=0,
                            preexec_fn=end_with_parent)


def last_line(path):
    """Returns the last line of a log, without what a progress bar wrote over, or ''."""
    with open(path, encoding='utf-8', errors='replace') as f:
        lines = f.read().replace('\r', '\n').split('\n')
    return next((line for line in reversed(lines) if line.strip()), '')


def progress(is_done, steps, max_iters):
    """Returns how many runs are done, a float: what is under way counts by its share of steps."""
    return sum(1 if is_done[folder] else steps[folder] / max_iters for folder in steps)


def steps_in_log(folder, since):
    """Returns the steps that a run has taken, as its log.csv says if it is younger than `since`."""
    path = os.path.join(folder, 'log.csv')
    try:
        if os.path.getmtime(path) < since:
            return 0
        with open(path, 'rb') as f:
            f.seek(max(0, os.path.getsize(path) - 4000))
            return int(f.read().split(b'\n')[-2].partition(b',')[0])
    except (OSError, ValueError, IndexError):  # none yet, or a header alone
        return 0


if __name__ == '__main__':
    dataset, T = settings['dataset'], settings['block_size']
    meta = sample_mix.read_meta(dataset)

    # the settings that a mistake would break
    for key in SET_BY_SWEEP:
        if settings[key] != TRAIN_DEFAULTS[key]:
            fail(f'--{key}={settings[key]}: a sweep chooses {key} of each run itself: leave it out')
    for key in ('block_size', 'batch_size', 'gradient_accumulation_steps', 'jobs'):
        if settings[key] < 1:
            fail(f'--{key}={settings[key]}: at least 1')
    ks, seeds = parse_numbers('k'), parse_numbers('seeds')
    control = ks[-1] if control < 0 else control
    if control and control not in ks:
        fail(f'--control={control} is not among --k={settings["k"]}')

    # the same budget and steps for all; an automatic budget is what all have, the control's too
    budget = settings['token_budget'] or min(
        sample_mix.draw_mix(dataset, T, 1, settings['candidates'],
                            shuffle_components=shuffled)[1]['token_budget']
        for shuffled in {False, control > 0})
    windows_per_step = settings['gradient_accumulation_steps'] * settings['batch_size']
    max_iters = settings['max_iters'] or settings['epochs'] * (budget // T) // windows_per_step
    if max_iters < 1 or budget < T:
        fail(f'{settings["epochs"]} epochs of {budget // T} windows are less than one step of'
             f' {windows_per_step}: lower --batch_size or raise --epochs')

    # the runs, and their commands
    runs, too_small = list_runs(meta, ks, seeds, control, budget)
    replaced = {*read_settings(__file__), 'token_budget', 'max_iters', 'overwrite', *SET_BY_SWEEP}
    passed_on = [word for word in sys.argv[1:]
                 if not word.startswith('--') or word[2:].partition('=')[0] not in replaced]
    words = {folder: run_words(folder, keys, passed_on, max_iters) for folder, keys in runs.items()}
    if list:
        print(*(shlex.join(['python', *words[folder]]) for folder in runs), sep='\n')
    if too_small:
        held = ', '.join(f'{c} {tokens:,}' for c, tokens in too_small.items())
        print(f'ΔXE will be missing where a component holds less than {budget:,} tokens: {held};'
              ' a smaller --token_budget has them all', file=sys.stderr)
    if list:
        sys.exit()

    # what is there already: runs that are done, runs to resume, and other runs in their folders
    same = {key: settings[key] for key in TRAIN_DEFAULTS} | {
        'max_iters': max_iters, 'lr_decay_iters': settings['lr_decay_iters'] or max_iters}
    config = {folder: same | keys | {'k': keys.get('k') or len(split_names(keys['components']))}
              for folder, keys in runs.items()}
    is_done, steps, difference = (dict(zip(runs, column)) for column in zip(
        *(read_state(folder, meta, config[folder]) for folder in runs)))
    others = [folder for folder in runs if difference[folder]]
    if others and not settings['overwrite']:
        fail(f'{len(others)} of {len(runs)} folders hold another run: {others[0]}'
             f' {difference[others[0]]}. --overwrite=True replaces these runs')
    for folder in others:
        words[folder] += ['--init_from=scratch', '--overwrite=True']
        steps[folder] = 0

    # run them
    pending = [folder for folder in runs if not is_done[folder]]
    slots, running, failed, compiled = list_slots(), {}, {}, set()
    free, stop_signal = sorted(enumerate(slots)), 0
    shape = {folder: keys.get('tag', False) for folder, keys in runs.items()}  # of the model

    def request_stop(number, frame):
        """Hands a signal on to the runs, or to eval_xe.py. A second one ends them at once."""
        global stop_signal
        stop_signal = number
        for process, *_ in running.values():
            process.send_signal(signal.SIGTERM)

    for number in SIGNALS:
        signal.signal(number, request_stop)
    if 'MAKELEVEL' in os.environ:  # make sweep: it ends with make
        end_with_parent()
    os.makedirs('out', exist_ok=True)
    bar = tqdm(total=len(runs), initial=progress(is_done, steps, max_iters), disable=not pending,
               bar_format='{desc}{bar} {n:.1f}/{total} [{elapsed}<{remaining}]', smoothing=0,
               miniters=0, mininterval=0.2 if sys.stderr.isatty() else 30, dynamic_ncols=True)
    while running or pending and not stop_signal:

        # start what can start; one run of a shape goes first, so that others find it compiled
        for folder in pending.copy():
            first_of_shape = not settings['compile'] or shape[folder] in compiled or (
                shape[folder] not in [shape[other] for other in running])
            if stop_signal or not free or not first_of_shape or lock_holder(f'{folder}/lock'):
                continue
            pending.remove(folder)
            is_done[folder] = folder not in others and read_state(folder, meta, config[folder])[0]
            if not is_done[folder]:  # nor has another sweep done it meanwhile
                slot = free.pop(0)
                with open(f'{folder}.log', 'a') as log:
                    process = start(words[folder], slot[1], len(slots), log)
                running[folder] = process, slot, time.time()
        if not running:  # all that is left is in the hands of other processes
            break
        time.sleep(0.1)

        # look at what runs, and at what has ended
        for folder, (process, slot, began) in running.copy().items():
            steps_now = steps_in_log(folder, began)
            if steps_now > steps[folder]:
                compiled.add(shape[folder])
                steps[folder] = steps_now
            if process.poll() is None:
                continue
            del running[folder]
            free = sorted([*free, slot])
            is_done[folder], steps[folder], _ = read_state(folder, meta, config[folder])
            if stop_signal or is_done[folder]:
                continue
            if lock_holder(f'{folder}/lock'):  # another process was faster
                pending.append(folder)
                continue
            failed[folder] = (f'{folder} failed (status {process.returncode}), {folder}.log ends:'
                              f' {last_line(folder + ".log")}')
            tqdm.write(failed[folder], file=sys.stderr)
        bar.set_description_str(f'{sum(is_done.values())} done, {len(running)} running,'
                                f' {len(failed)} failed ', refresh=False)
        bar.update(progress(is_done, steps, max_iters) - bar.n)
    bar.close()

    # evaluate them
    status = 0
    if any(is_done.values()) and not stop_signal:
        results_dir = results_dir or os.path.join('results', next(
            (os.path.basename(word).removesuffix('.py') for word in sys.argv[1:]
             if word.endswith('.py') and not word.startswith('--')), dataset))
        machine = [f'--{key}={settings[key]}' for key in ('device', 'compile', 'any_code')
                   if settings[key] != TRAIN_DEFAULTS[key]]
        process = start(['eval_xe.py', f'--runs={",".join(runs)}', f'--results_dir={results_dir}',
                         *machine])
        running['eval_xe.py'] = process, None, time.time()
        status = process.wait()

    # the end
    if stop_signal:
        print(f'interrupted by {signal.Signals(stop_signal).name}: {sum(is_done.values())} of'
              f' {len(runs)} runs are done, and those under way have saved; the same command goes'
              ' on', file=sys.stderr)
        sys.exit(128 + stop_signal)
    for line in failed.values():
        print(line, file=sys.stderr)
    if pending:
        holder = lock_holder(os.path.join(pending[0], 'lock'))
        print(f'{len(pending)} of {len(runs)} runs are being trained by another process, such as'
              f' {pending[0]} by {holder}: the same command evaluates all once it has ended',
              file=sys.stderr)
    if failed:
        print(f'{len(failed)} of {len(runs)} runs failed; the same command tries them again',
              file=sys.stderr)
    sys.exit(1 if failed or pending else status)
