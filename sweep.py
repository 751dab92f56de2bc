"""
Runs a sweep and evaluates it. For each K and seed: the mixture M, the tagged run M_tag, and for
each component c of M the diluted specialist D_c and the specialist P_c; for one K all of that on
shuffled documents too, the control.

    python sweep.py config/cpu.py --jobs=2
    python sweep.py config/cpu.py --k='1 2 3' --seeds='0 1' --control=0 --n_layer=4
    python sweep.py config/demo.py --k='1 2 4 8' --seeds=0 --parts=False    # the mixtures alone
    python sweep.py config/cpu.py --sets='cs.DS,math.ST; cs.DS,math.ST tag=True; cs.DS'
    python sweep.py config/cpu.py --list=True    # prints the runs' commands, for a shell or sbatch

It takes the keys of train.py, but for those that each run has a value of its own of, and hands them
on to every run. The number of steps follows from them as it does there, and is the same for all
runs. seed and mix_seed of a run are the same number. What a run prints goes to out/<run>.log. Where
a component is too small for its specialist, that run is left out and named.

With --sets the runs are those alone, for each seed: components with commas between, and what else
tells a run apart, of token_budget, tag, shuffle_components and constant_per_component. A config
file may reckon them: see config/pairs.py.

The same command goes on where it was stopped: what is done is left, what is begun is resumed. A run
is done when its ckpt.pt says so, for these settings, data and code. Runs of other settings in the
same folders end the sweep before it begins, or are replaced by --overwrite=True. Ctrl-C and SIGTERM
reach the runs, which save. Two sweeps at once share the runs: none is trained twice.
"""
import contextlib
import ctypes
import importlib
import itertools
import multiprocessing
import os
import re
import runpy
import shlex
import signal
import subprocess
import sys
import threading
import time

# first, so that Ctrl-C ends in one line while the others are imported
from configurator import (
    ROOT,
    check_ranges,
    checked,
    cpu_cores,
    fail,
    flush_output,
    join_names,
    lock_holder,
    override,
    read_settings,
    show,
    split_names,
    train_defaults,
)

PARENT = os.getppid()  # noted before the imports that take seconds

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
sets = ''                # exactly these runs: components key=value .., with ; or new lines between
jobs = 1                 # runs at a time, on each GPU where there are GPUs
out_dir = ''             # the folder of the runs' folders; '' = out
results_dir = ''         # where eval_xe.py writes; '' = results/<names of config files>
list = False             # True: print the runs' commands, one a line, and run nothing
# -----------------------------------------------------------------------------
settings = override(globals(), shared='all')

# keys of train.py that each run has its own value of, so that they cannot be handed on
SET_BY_SWEEP = ('components', 'seed', 'mix_seed', 'shuffle_components', 'constant_per_component',
                'tag', 'init_from')
SETS_MAY_HAVE = ('token_budget', 'tag', 'shuffle_components', 'constant_per_component')
TRAIN_DEFAULTS = train_defaults()

# what runs now: {folder: (process, slot, age of its log.csv when it began)}
running = {}
STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
stop_signal = 0  # the number of one that asks the sweep to end


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
    Returns ({folder: keys}, {folder: components}, {component: the tokens that it holds}): the
    sweep's runs in order, each with the keys of train.py, {key: value}, that are its own, and the
    components of its mixture; and the components that are too small for a run that the sweep should
    have. The mixtures have a budget of so many tokens an epoch. Fails where one cannot be had.
    """
    dataset, candidates, T, parent = (
        settings[key] for key in ('dataset', 'candidates', 'block_size', 'out_dir'))
    runs, components, too_small = {}, {}, {}
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
                needed['specialist', c] = f'{parent}/{name}', {'components': join_names([c]),
                                                               'token_budget': tokens}
        else:
            folder = f'{parent}/{sample_mix.run_name(dataset, K, seed, seed, shuffled)}'
            _, record = sample_mix.draw_mix(dataset, T, K, candidates, '', budget, seed, shuffled)
            runs[folder] = {'k': K, 'token_budget': budget} | same
            components[folder] = chosen
            if parts:
                needed = sample_mix.parts_of(folder, record, settings | runs[folder])
        for (part, c), (folder, keys) in needed.items():
            if part != 'tagged':
                docs = sample_mix.list_documents(meta, c, 'train', shuffled)
                held = T * sample_mix.held_windows(docs, T)
                if keys['token_budget'] > held:
                    too_small[c + ' (shuffled)' * shuffled] = held
                    continue
            runs[folder], components[folder] = keys | same, [c] if c else chosen
    return runs, components, too_small


def list_sets(seeds, budget):
    """Returns the first two of list_runs, for the runs that --sets names. Fails at a mistake."""
    dataset, T, runs, components = settings['dataset'], settings['block_size'], {}, {}
    same = {key: TRAIN_DEFAULTS[key] for key in SETS_MAY_HAVE} | {'token_budget': budget}
    for seed, line in itertools.product(seeds, re.split('[;\n]', settings['sets'])):
        names = line.strip()
        keys = same | {'seed': seed, 'mix_seed': seed}
        while match := re.fullmatch(r'(.*\S)\s+(\w+)=(\w+)', names):
            names, key, text = match.groups()
            if key not in same:
                fail(f'--sets, {line.strip()}: {key} is none of {", ".join(same)}')
            value = {'True': True, 'False': False}.get(text, int(text) if text.isdigit() else text)
            keys[key] = checked(key, value, same[key], f'--sets, {line.strip()}: ')
        if not names:  # an empty line
            continue
        chosen = split_names(names)
        controls = keys['shuffle_components'], keys['constant_per_component']
        _, record = sample_mix.draw_mix(dataset, T, 0, '', names, keys['token_budget'], seed,
                                        *controls)
        only = sample_mix.name_components(chosen, record['tokens'])
        if len(chosen) > 1 and keys['token_budget'] != budget:
            only += f'-{record["tokens"]}tokens'
        name = sample_mix.run_name(dataset, len(chosen), seed, seed, *controls, keys['tag'], only)
        folder = os.path.join(settings['out_dir'], name)
        runs[folder], components[folder] = {'components': join_names(chosen)} | keys, chosen
    return runs, components


def run_words(folder, keys, passed_on, max_iters):
    """Returns the arguments of train.py for a run, a list, without keys that change nothing."""
    always = ('k', 'components', 'token_budget', 'seed', 'mix_seed')
    shown = {key: value for key, value in keys.items() if key in always or value != settings[key]}
    shown |= {'max_iters': max_iters, 'out_dir': folder}
    return ['train.py', *passed_on, '--init_from=auto',
            *(f'--{key}={value}' for key, value in shown.items())]


def read_state(folder, meta, config, components):
    """
    Returns (is_done, steps, difference) of a run's folder: whether its run has ended, how many
    steps its checkpoint has seen, and in what it is another run than that of `config`, all the
    settings of train.py, on `components`; '' where it is the same.
    """
    checkpoint = read_checkpoint(os.path.join(folder, 'ckpt.pt'))
    if not checkpoint:
        return False, 0, ''
    difference = why_not_resume(checkpoint, config, TRAIN_DEFAULTS, components)
    if not sample_mix.same_data(checkpoint['mix'], meta):
        difference = f'was trained on other data than data/{meta["dataset"]} holds now'
    if difference:
        return False, 0, difference
    has_best = os.path.exists(os.path.join(folder, 'best.pt'))  # without it, it is trained again
    return run_state(checkpoint) != 'unfinished' and has_best, checkpoint['iter_num'], ''


# -----------------------------------------------------------------------------
# running them


def end_with_parent(parent):
    """Has the kernel send SIGTERM to this process when its parent ends, a kill included."""
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:  # it has ended already
        sys.exit(128 + signal.SIGTERM)


def stop_without(parent):
    """
    Sends this process one SIGTERM when its parent has ended. The kernel's own may come twice, as
    it is sent when a thread of the parent ends, and a run that gets a second one does not save.
    """
    while os.getppid() == parent:
        time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGTERM)


def run_script(words, environment, log, parent):
    """
    What a process of `parent` does: `python words`, a script of ROOT and its arguments, with its
    output in a log where there is one. It gets signals from the parent alone, and ends with it.
    """
    os.setpgid(0, 0)
    multiprocessing.current_process().daemon = False  # it may start processes, a DataLoader's say
    for number in STOP_SIGNALS:
        if signal.getsignal(number) == request_stop:
            is_ctrl_c = number == signal.SIGINT
            signal.signal(number, signal.default_int_handler if is_ctrl_c else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    threading.Thread(target=stop_without, args=(parent,), daemon=True).start()
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(15, words[0].encode())  # PR_SET_NAME: what top shows
    if log:
        for stream in (1, 2):
            os.dup2(os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY), stream)
    os.environ.update(environment)
    torch.set_num_threads(int(environment['OMP_NUM_THREADS'].partition(',')[0]))
    for name, module in [*sys.modules.items()]:  # a script reads the project's files as they are
        if os.path.dirname(getattr(module, '__file__', None) or '') == ROOT and name[:2] != '__':
            del sys.modules[name]
    tqdm._instances.clear()  # the sweep's bar, which would be drawn in the log
    sys.argv = [*words]
    try:
        runpy.run_path(os.path.join(ROOT, words[0]), run_name='__main__')
    except (Exception, KeyboardInterrupt):
        sys.excepthook(*sys.exc_info())
        sys.exit(1)
    finally:
        flush_output()


def choose_context(slots):
    """
    Returns the context of multiprocessing that starts the runs. CUDA and a Mac's libraries do not
    live on in a fork; elsewhere it spares a run 4 s of imports, which are done here, once.
    """
    if sys.platform != 'linux' or any(slots):
        return multiprocessing.get_context('spawn')
    compiler = ('torch._dynamo', 'torch._inductor.compile_fx', 'torch._inductor.cpu_vec_isa')
    for name in ('pandas', 'torch.nn.parallel', *compiler * settings['compile']):
        importlib.import_module(name)
    if settings['compile']:
        with contextlib.suppress(Exception):  # no compiler: each run says so
            torch._inductor.cpu_vec_isa.valid_vec_isa_list()
    return multiprocessing.get_context('fork')


def request_stop(number, frame):
    """Hands a signal on to what runs. A second one ends it at once."""
    global stop_signal
    stop_signal = number
    for process, *_ in running.values():
        process.terminate()


def list_slots():
    """
    Returns the GPU of each of the runs at a time, a list of what CUDA_VISIBLE_DEVICES may hold:
    first one run on each GPU, then a second. '' is the CPU.
    """
    device = settings['device']
    if ':' in device:
        fail(f'--device={device}: a sweep chooses the GPU of each run; CUDA_VISIBLE_DEVICES says'
             ' which it may use')
    if device == 'cpu':  # without a question to CUDA, which does not live on in a fork
        return [''] * jobs
    if device == 'mps' or not torch.cuda.is_available():
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


def start(name, words, slot=(0, ''), share=1, log=''):
    """
    Starts a script and notes it in `running`: with a share of the cores, on the GPU of a slot, its
    output in a log.
    """
    cores = str(max(1, cpu_cores() // share))
    environment = {'OMP_NUM_THREADS': cores, 'TORCHINDUCTOR_COMPILE_THREADS': cores} | os.environ
    environment |= {'CUDA_VISIBLE_DEVICES': slot[1]} if slot[1] else {}
    process = context.Process(target=run_script, args=(words, environment, log, os.getpid()),
                              daemon=True)
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # until they can be handed on
    process.start()
    running[name] = process, slot, log_age(name)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def log_age(folder):
    """Returns when a run's log.csv was last written, or 0."""
    path = os.path.join(folder, 'log.csv')
    return os.path.getmtime(path) if os.path.exists(path) else 0


def steps_in_log(folder):
    """Returns the steps that a run has taken, as the last row of its log.csv says."""
    try:
        with open(os.path.join(folder, 'log.csv'), 'rb') as f:
            f.seek(max(0, os.path.getsize(f.name) - 4000))
            return int(f.read().split(b'\n')[-2].partition(b',')[0])
    except (OSError, ValueError, IndexError):  # none yet, or a header alone
        return 0


def last_line(path):
    """Returns the last line of a log that is no progress bar, or ''."""
    with open(path, errors='replace') as f:
        lines = f.read().replace('\r', '\n').split('\n')
    return next((line for line in reversed(lines) if line.strip() and '%|' not in line), '')


if __name__ == '__main__':
    # no threads here: a fork has none of them, and would wait for a lock that one held
    torch.set_num_threads(1)
    tqdm.monitor_interval = 0
    tqdm.set_lock(threading.RLock())  # tqdm's is shared by all processes
    if 'MAKELEVEL' in os.environ:  # make sweep: it ends with make
        end_with_parent(PARENT)

    # the settings that a mistake would break
    dataset, T = settings['dataset'], settings['block_size']
    for key in SET_BY_SWEEP:
        if settings[key] != TRAIN_DEFAULTS[key]:
            fail(f'--{key}={settings[key]}: a sweep chooses {key} of each run itself: leave it out')
    check_ranges(settings)
    for key, lowest in (('block_size', 2), ('jobs', 1), ('control', -1)):
        if settings[key] < lowest:
            fail(f'--{key}={settings[key]}: at least {lowest}')
    ks, seeds = parse_numbers('k'), parse_numbers('seeds')
    if control < 0:
        control = ks[-1] if ks[-1] > 1 else 0
    if control and control not in ks and not sets:
        fail(f'--control={control} is not among --k={settings["k"]}')
    settings['out_dir'] = settings['out_dir'] or 'out'
    if not results_dir:
        files = [word for word in sys.argv[1:] if word.endswith('.py') and word[:2] != '--']
        names = [os.path.basename(path).removesuffix('.py') for path in files]
        results_dir = os.path.join('results', '-'.join(names) or dataset)

    # the same budget and steps for all; an automatic budget is what all have, the control's too
    meta = sample_mix.read_meta(dataset)
    budget = settings['token_budget'] or min(
        sample_mix.draw_mix(dataset, T, 1, settings['candidates'],
                            shuffle_components=shuffled)[1]['token_budget']
        for shuffled in {False, control > 0})
    max_iters = sample_mix.count_steps(settings, budget)

    # the runs, and their commands
    if sets:
        (runs, components), too_small = list_sets(seeds, budget), {}
    else:
        runs, components, too_small = list_runs(meta, ks, seeds, control, budget)
    replaced = {*read_settings(__file__), 'token_budget', 'max_iters', *SET_BY_SWEEP}
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

    # what is there already
    of_all = {key: settings[key] for key in TRAIN_DEFAULTS} | {
        'max_iters': max_iters, 'lr_decay_iters': settings['lr_decay_iters'] or max_iters}

    def look(folder):
        """Returns read_state of one of the runs."""
        return read_state(folder, meta, of_all | runs[folder], components[folder])
    state = {folder: look(folder) for folder in runs}
    others = [folder for folder in runs if state[folder][2]]
    if others and not settings['overwrite']:
        fail(f'{len(others)} of {len(runs)} folders hold another run: {others[0]}'
             f' {state[others[0]][2]}. Set that back, move these'
             ' folders away, or replace their runs by --overwrite=True')

    # run them
    for number in STOP_SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has SIGHUP
            signal.signal(number, request_stop)
    os.makedirs(settings['out_dir'], exist_ok=True)
    pending = [folder for folder in runs if not state[folder][0]]
    slots, failed, compiled = list_slots(), {}, set()
    free, context = sorted(enumerate(slots)), choose_context(slots)
    tagged = {folder: keys.get('tag', False) for folder, keys in runs.items()}  # a shape of its own

    def count_done():
        """Returns how many runs are done, a float: others count by their share of the steps."""
        return sum(1 if is_done else steps / max_iters for is_done, steps, _ in state.values())
    bar = tqdm(total=len(runs), initial=count_done(), disable=not pending, smoothing=0, miniters=0,
               bar_format='{desc}{bar} {n:.1f}/{total} [{elapsed}<{remaining}]', dynamic_ncols=True,
               mininterval=0.2 if sys.stderr.isatty() else 30)
    while running or pending and not stop_signal:

        # start what can start; one run of a shape goes first, so that others find it compiled
        for folder in pending.copy():
            waits = settings['compile'] and tagged[folder] not in compiled and (
                tagged[folder] in [tagged[other] for other in running])
            if stop_signal or not free or waits or lock_holder(os.path.join(folder, 'lock')):
                continue
            pending.remove(folder)
            state[folder] = look(folder)
            if not state[folder][0]:  # nor has another sweep done it meanwhile
                with open(f'{folder}.log', 'a') as log:  # fails here where it cannot be written
                    start(folder, words[folder], free.pop(0), len(slots), log.name)
        if not running:  # all that is left is in the hands of other processes
            break
        time.sleep(0.1)

        # look at what runs, and at what has ended
        for folder, (process, slot, age) in running.copy().items():
            steps = steps_in_log(folder) if log_age(folder) != age else 0
            if steps > state[folder][1]:
                compiled.add(tagged[folder])
                state[folder] = False, steps, ''
            if process.is_alive():
                continue
            del running[folder]
            free = sorted([*free, slot])
            state[folder] = look(folder)
            is_done, _, difference = state[folder]
            if is_done or stop_signal:
                continue
            if lock_holder(os.path.join(folder, 'lock')):  # another process was faster
                pending.append(folder)
                continue
            failed[folder] = (f'{folder} {difference}' if difference else
                              f'{folder} failed (status {process.exitcode}), {folder}.log ends:'
                              f' {last_line(folder + ".log")}')
            show(lambda: tqdm.write(failed[folder], file=sys.stderr))
        n_done = sum(is_done for is_done, *_ in state.values())
        bar.set_description_str(f'stopping, {len(running)} to save ' if stop_signal else
                                f'{n_done} done, {len(running)} running, {len(failed)} failed ',
                                refresh=False)
        show(lambda: bar.update(count_done() - bar.n))
    show(bar.close)

    # evaluate what is done
    state |= {folder: look(folder) for folder in pending}  # another process may have ended
    status, n_done = 0, sum(is_done for is_done, *_ in state.values())
    if n_done and not stop_signal:
        machine = [f'--{key}={settings[key]}' for key in ('device', 'compile', 'any_code')
                   if settings[key] != TRAIN_DEFAULTS[key]]
        start('eval_xe.py', ['eval_xe.py', f'--runs={",".join(runs)}',
                             f'--results_dir={results_dir}', *machine])
        evaluation = running['eval_xe.py'][0]
        evaluation.join()
        status = evaluation.exitcode

    # the end
    if stop_signal:
        fail(f'interrupted by {signal.Signals(stop_signal).name}: {n_done} of {len(runs)} runs are'
             ' done, and those under way have saved; the same command goes on', 128 + stop_signal)
    lines = [*failed.values()]
    if failed:
        lines.append(f'{len(failed)} of {len(runs)} runs failed: mend what these lines say, and the'
                     ' same command tries them again')
    elsewhere = [folder for folder in pending if not state[folder][0]]
    if elsewhere:
        lines.append(f'{len(elsewhere)} of {len(runs)} runs are being trained by another process,'
                     f' such as {elsewhere[0]}: the same command evaluates all when it has ended')
    for line in lines:
        print(line, file=sys.stderr)
    sys.exit(1 if lines else status)
