"""
Runs that are stopped, killed, starved of disk, or given what is broken: nothing is lost, and
nothing wrong looks right.
"""
import contextlib
import functools
import glob
import io
import itertools
import json
import os
import pathlib
import pickle
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from child import start, start_two
from conftest import BY_TWO, ROOT, SMALL, TRAIN, run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_prepare import LABELS, write_lines
from test_scripts import rows
from tqdm import tqdm

import checkpoint
import configurator
import model
import sample_mix
from checkpoint import run_state

KILLS = int(os.environ.get('KILLS', 1))  # `make torture` sets it higher
ARGS = [*TRAIN, '--k=2', '--dropout=0.1', '--max_iters=47', '--log_interval=4', '--eval_interval=9',
        '--compile=False']

def load(path):
    return torch.load(path, weights_only=True)

def state(folder):
    """
    What two runs that are the same agree in: their checkpoints but for config, and log.csv but for
    times and events.
    """
    of_its_own = 'config', 'metadata', 'log', 'seal'
    values = {f'{name} {key}': x for name in ('ckpt', 'best')
              for key, x in load(f'{folder}/{name}.pt').items() if key not in of_its_own}
    log = [{key: r[key] for key in r if key not in ('seconds', 'tokens_per_second', 'event')}
           for r in rows(f'{folder}/log.csv')]
    return {**values, 'log': [r for r in log if r['train_xe'] or r['val_xe']]}

def equal(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    return len(a) == len(b) and all(map(equal, a, b)) if isinstance(a, (list, tuple)) else a == b

def differences(whole, folder):
    """The parts of `whole`, a state, that the run in a folder does not agree with."""
    after = state(folder)
    return [key for key in whole if not equal(whole[key], after[key])]

@pytest.fixture
def whole(small):
    """The state of the run that nothing happened to."""
    if not os.path.exists('survive/whole'):
        run('train.py', *ARGS, '--out_dir=survive/whole')
    return state('survive/whole')

@pytest.fixture
def signalled(monkeypatch):
    """signalled(step, number): the next run gets the signal during that step."""
    update = tqdm.update

    def at(step, number):
        def watched(bar, n=1):
            if bar.n + 1 == step:
                os.kill(os.getpid(), number)
            return update(bar, n)
        monkeypatch.setattr(tqdm, 'update', watched)
    return at

# ---- stopped by a signal, and resumed

def test_any_split_over_processes_is_the_whole_run(whole, signalled, capsys):
    for case, stops in enumerate(([1, 2, 36], [8, 20], [9, 45, 46])):
        folder, resume = f'survive/split{case}', []
        for i, step in enumerate(stops):
            number = (signal.SIGTERM, signal.SIGINT)[i % 2]
            signalled(step, number)
            with pytest.raises(SystemExit) as e:
                run('train.py', *ARGS, f'--out_dir={folder}', *resume)
            out = capsys.readouterr().out
            assert e.value.code == 128 + number
            assert f'{number.name} after step {step}' in out and '--init_from=resume' in out
            resume = ['--init_from=resume']
        signalled(0, None)
        run('train.py', *ARGS, f'--out_dir={folder}', *resume)
        assert differences(whole, folder) == []
        log = rows(f'{folder}/log.csv')
        events, steps = ' '.join(r['event'] for r in log), [int(r['iter']) for r in log]
        assert events.count('interrupted by') == events.count('resumed at step') == len(stops)
        assert events.endswith('finished') and steps == sorted(steps)

def test_a_resume_names_all_that_differs(whole, fails):
    resume = [*ARGS, '--out_dir=survive/whole', '--init_from=resume']
    said = fails('train.py', *resume, '--seed=3', '--batch_size=4', '--learning_rate=1e-3')
    assert all(x in said for x in ('seed=0, not 3', 'batch_size=8, not 4',
                                   'learning_rate=0.003, not 0.001'))
    for other in ('--components=a,b.B', '--token_budget=3200', '--n_embd=32', '--tag=True',
                  '--mix_seed=1'):
        assert 'was trained with' in fails('train.py', *resume, other)
    longer = [*ARGS, '--max_iters=50', '--epochs=9', '--out_dir=survive/longer']
    shutil.copytree('survive/whole', 'survive/longer')
    for other in ('--eval_interval=50', '--lr_decay_iters=50'):
        assert 'was trained with' in fails('train.py', *longer, '--init_from=resume', other)
    run('train.py', *longer, '--init_from=resume')
    assert rows('survive/longer/log.csv')[-1]['iter'] == '50'
    # it is the run that had these steps, and the shorter cosine, from the start, and no other
    weights = load('survive/longer/ckpt.pt')['model']
    assert 'was trained with lr_decay_iters=47, not 50' in fails('train.py', *longer,
                                                                 '--init_from=auto')
    run('train.py', *longer, '--lr_decay_iters=47', '--overwrite=True')
    assert equal(weights, load('survive/longer/ckpt.pt')['model'])

def test_what_is_not_of_a_run_stays_in_its_folder(small, fails):
    os.makedirs('survive/mine', exist_ok=True)
    mine = ('notes.tmp', 'step-final.pt', 'config.json')
    for name in mine:
        pathlib.Path('survive/mine', name).write_text('mine')
    args = [*ARGS, '--max_iters=1', '--out_dir=survive/mine']
    assert 'holds a run already (config.json)' in fails('train.py', *args)
    os.rename('survive/mine/config.json', 'survive/mine/other.json')
    run('train.py', *args)
    run('train.py', *args, '--max_iters=2', '--init_from=resume')
    assert all(pathlib.Path('survive/mine', name).read_text() == 'mine'
               for name in (*mine[:2], 'other.json'))

# ---- killed, or out of disk

def test_killed_at_random_moments_it_ends_as_if_it_had_not_been(whole):
    rng, kills, folder = random.Random(0), 0, 'survive/killed'

    def start_or_resume():
        there = os.path.exists(f'{folder}/ckpt.pt')
        if there:  # whatever the moment, the checkpoint is a whole one
            assert load(f'{folder}/ckpt.pt')['iter_num'] <= 47
        return start('train.py', *ARGS, f'--out_dir={folder}',
                     '--init_from=resume' if there else '--overwrite=True')

    start('train.py', '--help').join()  # which starts the server
    began = time.time()
    child = start('train.py', *ARGS, '--out_dir=survive/time')
    child.join()
    seconds = time.time() - began
    assert child.exitcode == 0, open('output.txt').read()
    while kills < KILLS:
        child = start_or_resume()
        child.join(rng.uniform(0.2, 0.9) * seconds)
        child.kill()
        child.join()
        kills += child.exitcode == -signal.SIGKILL
        if child.exitcode != -signal.SIGKILL:  # it was through: look at it, then from the start
            assert child.exitcode == 0, open('output.txt').read()
            assert differences(whole, folder) == []
            shutil.rmtree(folder)
    child = start_or_resume()
    child.join()
    if child.exitcode != 0:
        assert 'nothing to resume' in open('output.txt').read()
    else:
        assert not glob.glob(f'{folder}/*.tmp')
    assert differences(whole, folder) == []

def test_killed_before_the_last_checkpoint_best_pt_is_that_of_the_end(whole, monkeypatch):
    """A run that is done writes nothing more, so ckpt.pt comes last; best.pt never comes first."""
    written, replace, folder = [], configurator.replace_file, 'survive/order'
    monkeypatch.setattr(checkpoint, 'replace_file', lambda path, content: (
        written.append(os.path.basename(path)), replace(path, content)))
    run('train.py', *ARGS, f'--out_dir={folder}')
    files = [name for name in written if name.endswith('.pt')]
    assert files[:2] == ['ckpt.pt', 'best.pt'] and files[-2:] == ['best.pt', 'ckpt.pt']

def test_a_full_disk_keeps_the_old_checkpoint(whole):
    folder = 'survive/full'
    shutil.rmtree(folder, ignore_errors=True)

    def ckpt():
        return open(f'{folder}/ckpt.pt', 'rb').read()

    start('train.py', *ARGS, f'--out_dir={folder}', '--max_iters=9', '--lr_decay_iters=47').join()
    before, resume = ckpt(), [*ARGS, f'--out_dir={folder}', '--init_from=resume']
    for largest, says in ((len(before) // 2, '.pt cannot be written'),
                          (1000, 'cannot be written')):
        child = start('train.py', *resume, largest_file=largest)
        child.join()
        said = open('output.txt').read()
        assert child.exitcode == 2 and says in said and 'Traceback' not in said, said
        assert ckpt() == before and not glob.glob(f'{folder}/*.tmp')
    start('train.py', *resume).join()
    assert differences(whole, folder) == []

def test_checkpoints_are_written_as_time_allows_and_the_end_is_the_same(whole, monkeypatch):
    """A save takes as long as the run: few are written, and the best of all counts."""
    written, replace = [], configurator.replace_file

    def slow(path, write):
        if path.endswith('ckpt.pt'):
            written.append(path)
        return replace(path, write)
    ticks = itertools.count()
    monkeypatch.setattr(time, 'perf_counter', lambda: 60 * len(written) + 0.001 * next(ticks))
    monkeypatch.setattr(checkpoint, 'replace_file', slow)
    run('train.py', *ARGS, '--out_dir=survive/slow')
    assert len(written) == 2, written  # of 6 evaluations: the first, and the last
    assert differences(whole, 'survive/slow') == []

# ---- one writer, and a resume that comes to nothing

def contents(folder):
    return {name: (open(f'{folder}/{name}', 'rb').read(), os.stat(f'{folder}/{name}').st_mtime_ns)
            for name in os.listdir(folder)}

def test_a_folder_has_one_writer(small, fails):
    folder = 'survive/writer'
    args = [*ARGS, f'--out_dir={folder}', '--max_iters=100000', '--lr_decay_iters=47']
    first = start('train.py', *args)
    while not os.path.exists(f'{folder}/config.json') and first.is_alive():
        time.sleep(0.02)
    os.kill(first.pid, signal.SIGSTOP)  # what is written from here on is written by another
    before = contents(folder)
    for more in ('--init_from=auto', '--init_from=resume', '--overwrite=True'):
        said = fails('train.py', *args, more)
        assert f'{folder} is being written by process {first.pid} on' in said
    assert contents(folder) == before
    first.kill()
    first.join()
    assert fails('train.py', *args, '--init_from=auto', '--seed=1').endswith('--overwrite=True')

def test_a_resume_that_dies_before_its_first_step_leaves_the_run_as_it_was(small, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt
    args = [*ARGS, '--lr_decay_iters=47', '--out_dir=survive/dies']
    run('train.py', *args, '--max_iters=9')
    names = ('config.json', 'mix.json', 'ckpt.pt', 'best.pt')
    before = contents('survive/dies')
    with monkeypatch.context() as m, pytest.raises(KeyboardInterrupt):
        m.setattr(sample_mix, 'gather_windows', interrupt)
        run('train.py', *args, '--max_iters=12', '--init_from=resume')
    assert all(contents('survive/dies')[name] == before[name] for name in names)
    run('train.py', *args, '--max_iters=12', '--init_from=resume')
    config, kept = json.load(open('survive/dies/config.json')), load('survive/dies/ckpt.pt')
    assert config['max_iters'] == kept['config']['max_iters'] == kept['iter_num'] == 12

def test_what_lies_beside_the_checkpoint_is_never_read(whole):
    """best.pt, config.json, mix.json and log.csv may be gone or changed: ckpt.pt is the run."""
    def train(*more):
        run('train.py', *ARGS, '--lr_decay_iters=47', '--out_dir=survive/alone', *more)
    train('--max_iters=18')
    for name in ('best.pt', 'config.json'):
        os.remove(f'survive/alone/{name}')
    put('survive/alone/mix.json', b'1')
    put('survive/alone/log.csv', b'nothing')
    train('--init_from=resume')
    assert differences(whole, 'survive/alone') == []
    assert json.load(open('survive/alone/mix.json'))['k'] == 2

def test_weights_without_a_checkpoint_are_not_replaced_unasked(small, fails):
    """Whoever kept best.pt alone keeps it."""
    os.makedirs('survive/weights')
    put('survive/weights/best.pt', b'mine')
    for more in ((), ('--init_from=auto',)):
        said = fails('train.py', *ARGS, '--out_dir=survive/weights', *more)
        assert 'holds a run already (best.pt)' in said
    assert open('survive/weights/best.pt').read() == 'mine'

def test_data_that_are_replaced_while_a_run_starts_are_not_mixed(copied, fails, monkeypatch):
    windows = sample_mix.eval_windows

    def replaced(*args):
        other_data()
        return windows(*args)
    monkeypatch.setattr(sample_mix, 'eval_windows', replaced)
    assert 'data/small was replaced while it was read: start again' in fails(*COMMANDS['train'])
    assert not os.path.exists('out/new')

def test_a_run_on_components_of_any_name_stays_in_its_folder(tmp_path, monkeypatch):
    """Three by themselves, and all together with a resume; log.csv has their names."""
    (tmp_path / 'deep/er/here').mkdir(parents=True)
    monkeypatch.chdir(tmp_path / 'deep/er/here')
    os.mkdir('named')
    for split in ('train', 'validation', 'test'):
        write_lines(f'named/{split}.jsonl', [(f'{split} {i} {label} ' * 20, label)
                                             for i in range(3) for label in LABELS])
    run('prepare.py', '--dataset=n', '--source=named', '--vocab_size=300')
    args = ['--dataset=n', '--candidates=', *TRAIN[2:], '--log_interval=1', '--lr_decay_iters=2']
    for label in ('../../../x', '$(touch pwned)', 'x' * 300):
        run('train.py', *args, f'--components={label}', '--max_iters=1')
    args += [f'--components={configurator.join_names(LABELS)}',
             f'--token_budget={16 * len(LABELS)}']
    run('train.py', *args, '--max_iters=1')
    run('train.py', *args, '--max_iters=2', '--init_from=resume')
    assert len(glob.glob('out/*/best.pt')) == 4
    assert glob.glob(f'{tmp_path}/**/ckpt.pt', recursive=True) == [
        os.path.abspath(path) for path in glob.glob('out/*/ckpt.pt')]
    folder = max(glob.glob('out/*'), key=lambda folder: os.path.getmtime(f'{folder}/ckpt.pt'))
    log = rows(f'{folder}/log.csv')
    assert len(log) == 3 and all(float(log[2][f'val_xe_{label}']) > 0 for label in LABELS)

@pytest.mark.parametrize('step, best, config, state', [
    (20, 20, {}, 'finished'), (21, 0, {'patience': 2}, 'finished'), (19, 0, {}, 'unfinished'),
    (19, 0, {'patience': 0}, 'unfinished'), (10, 0, {'patience': 2}, 'stopped early'),
    (9, 0, {'patience': 2}, 'unfinished'), (15, 5, {'patience': 2}, 'stopped early')])
def test_the_state_of_a_run_is_in_its_checkpoint(step, best, config, state):
    """Also in one that was written before there was a key."""
    config = {'max_iters': 20, 'eval_interval': 5} | config
    assert run_state({'iter_num': step, 'best_iter': best, 'config': config}) == state

# ---- what the machine refuses

PREAMBLE = f'import os, signal, sys; sys.path.insert(0, {ROOT!r}); import configurator\n'
NO_SPACE = 'standard output cannot be written (No space left on device)'

@pytest.mark.parametrize('code, shell, status, says', [
    ('print(1)', '> /dev/full', 2, NO_SPACE),
    ('print(1, flush=True)', '> /dev/full', 2, NO_SPACE),
    ('print(1); sys.exit(0)', '> /dev/full', 2, NO_SPACE),
    ('print(1); sys.exit(0)', '| true', 128 + signal.SIGPIPE, ''),
    ('print("x" * 10**6)', '> /dev/full', 2, NO_SPACE),
    ('print(1)', '> /dev/full 2> /dev/full', 2, ''),
    ('print(1)', '>&-', 0, ''),
    ('print("Δ")', '', 0, ''),
    ('print("x" * 10**6)', '| true', 128 + signal.SIGPIPE, ''),
    ('[print(i) for i in range(10**5)]', '| head -1 > /dev/null', 128 + signal.SIGPIPE, ''),
    ('os.kill(os.getpid(), signal.SIGINT)', '', 130, 'interrupted'),
    ('import numpy; numpy.ones(10**15)', '', 2, 'out of memory (Unable to allocate'),
    ('raise OSError(13, "Permission denied", "a.bin")', '', 2, 'a.bin: Permission denied'),
    ('raise RuntimeError from OSError(28, "No space", "a.bin")', '', 2, 'a.bin: No space'),
    ('configurator.fail("a mistake")', '2> /dev/full', 2, ''),
    ('raise OSError(2, "No usable temporary directory found in /tmp")', '', 2,
     'No usable temporary directory found in /tmp'),
    ('print(1, file=sys.stderr)', '2> /dev/full', 0, ''),
    ('print(1, file=sys.stderr)', '2>&-', 0, ''),
    ('open("nothing")', '', 2, 'nothing: No such file or directory'), ('1 / 0', '', 1, None)])
def test_an_error_of_the_machine_is_one_line_and_a_bug_is_not(tmp_path, code, shell, status, says):
    (tmp_path / 'script.py').write_text(PREAMBLE + code, encoding='utf-8')
    line = f'set -o pipefail; unset PYTHONUNBUFFERED; {sys.executable} script.py {shell}'
    done = subprocess.run(['bash', '-c', line], cwd=tmp_path, capture_output=True, text=True,
                          env=os.environ | {'PYTHONIOENCODING': 'ascii'})
    assert done.returncode == status, done.stderr
    if says is None:
        assert done.stderr.startswith('Traceback')
    else:
        assert done.stderr.startswith(f'script.py: {says}' if says else '')
        assert done.stderr.count('\n') == (says > '')

def test_memory_that_is_not_there_and_ctrl_c_while_torch_is_imported(small, tmp_path, fails):
    said = fails('train.py', *TRAIN, '--k=2', '--n_embd=1000000000000', '--n_head=1',
                 '--out_dir=large')
    assert 'train.py: out of memory (' in said and 'lower --batch_size' in said
    (tmp_path / 'torch.py').write_text('raise KeyboardInterrupt')
    done = subprocess.run([sys.executable, os.path.join(ROOT, 'train.py')], capture_output=True,
                          text=True, env=os.environ | {'PYTHONPATH': str(tmp_path)})
    assert (done.returncode, done.stderr) == (130, 'train.py: interrupted\n')

def test_a_checkpoint_that_may_not_be_read_is_not_called_damaged(whole, fails, monkeypatch):
    def refuse(path, **more):
        raise PermissionError(13, 'Permission denied', path)
    monkeypatch.setattr(torch, 'load', refuse)
    said = fails('train.py', *ARGS, '--out_dir=survive/whole', '--init_from=resume')
    assert said == 'train.py: survive/whole/ckpt.pt: Permission denied'

def test_a_signal_that_breaks_a_step_is_named_and_not_what_it_broke(small, monkeypatch, capsys):
    """Ctrl-C kills the compiler too, which torch.compile then complains of."""
    hooks = []

    def broken(self, *args):
        hooks.append(sys.excepthook)
        os.kill(os.getpid(), signal.SIGINT)
        raise RuntimeError('g++ died with <Signals.SIGINT: 2>')
    monkeypatch.setattr(model.GPT, 'forward', broken)
    with pytest.raises(RuntimeError) as e:
        run('train.py', *ARGS, '--out_dir=survive/broken')
    with pytest.raises(SystemExit) as end:
        hooks[0](e.type, e.value, e.tb)
    assert end.value.code == 128 + signal.SIGINT
    assert 'interrupted by SIGINT in step 1; survive/broken goes on' in capsys.readouterr().err

def test_a_full_disk_under_stderr_takes_the_bar_and_not_the_run(whole):
    done = subprocess.run(
        f'{sys.executable} {ROOT}/train.py {" ".join(ARGS)} --out_dir=survive/no-bar 2> /dev/full',
        shell=True, capture_output=True, text=True)
    assert done.returncode == 0 and 'best val_xe' in done.stdout, done.stdout
    assert differences(whole, 'survive/no-bar') == []

# ---- a gradient that is not finite

def test_a_gradient_that_is_not_finite_stops_the_run(small, fails):
    said = fails('train.py', *ARGS, '--out_dir=survive/nan', '--learning_rate=1e30',
                 '--grad_clip=0.0', '--overwrite=True', '--log_interval=1')
    step = int(re.search('in step (\\d+), learning rate', said)[1])
    log, kept = rows('survive/nan/log.csv'), load('survive/nan/ckpt.pt')
    assert 'the gradient is not finite' in said and 'ckpt.pt is of a step before it' in said
    assert (log[-1]['event'], log[-1]['train_xe'], log[-1]['iter']) == (
        'the gradient is not finite', '', str(step))
    for r in log:
        assert all(np.isfinite(float(x)) for key, x in r.items() if x and key != 'event')
    assert kept['iter_num'] < step
    assert all(x.isfinite().all() for x in kept['model'].values())

# ---- files that are damaged

BIN, TEST_BIN = 'data/small/a/train.bin', 'data/small/a/test.bin'
IDX, META = 'data/small/a/train.idx.npy', 'data/small/meta.json'
CKPT = 'out/run/ckpt.pt'

def put(path, content):
    with open(path, 'wb') as f:
        f.write(content)

def flip(path, *places):
    """Changes a bit of the bytes at these places."""
    raw = bytearray(open(path, 'rb').read())
    for i in places:
        raw[i] ^= 1
    put(path, raw)

def change_meta(change, seal=False):
    """Changes meta.json; without a seal as an editor would, else as prepare.py would write it."""
    meta = json.load(open(META))
    change(meta)
    put(META, json.dumps(configurator.sealed(meta) if seal else meta).encode())

def other_data():
    change_meta(lambda meta: meta.update(source='elsewhere'), seal=True)

def change_checkpoint(change):
    saved = load(CKPT)
    change(saved)
    torch.save(saved, CKPT)

def of_meta(**fields):
    """A row of DAMAGES: fields of meta.json with other values."""
    return 'train', 'is not what prepare.py wrote there', lambda: change_meta(
        lambda meta: meta.update(fields))

def of_checkpoint(part='', **fields):
    """A row of DAMAGES: fields of a checkpoint, or of a part of it, with other values."""
    return 'resume', 'ckpt.pt is not a checkpoint of train.py', lambda: change_checkpoint(
        lambda saved: (saved[part] if part else saved).update(fields))

def swap_offsets():
    x = np.load(IDX)
    np.save(IDX, np.concatenate((x[:1], x[1:-1][::-1], x[-1:])))

class Malicious:
    def __reduce__(self):
        return os.system, ('touch harmed',)

DAMAGES = {  # what: (the command that meets it, what it says, how it comes to be)
    'a .bin that was cut': (
        'train', 'is not what meta.json says it is', lambda: os.truncate(BIN, 100)),
    'a .bin that was cut, evaluated': (
        'eval', 'is not what meta.json says it is', lambda: os.truncate(TEST_BIN, 100)),
    'a .bin with another byte, evaluated': (
        'eval', 'is not what was prepared', lambda: flip(TEST_BIN, 10)),
    'a .bin with another byte, verified': (
        'verify', 'is not what was prepared', lambda: flip(BIN, 10)),
    'a token that is none': (
        'train', 'its vocabulary ends at 299', lambda: flip(BIN, *range(1, 4001, 2))),
    'a .bin that is gone': ('train', 'train.bin: No such file', lambda: os.remove(BIN)),
    'offsets that are gone': ('train', 'idx.npy: No such file', lambda: os.remove(IDX)),
    'offsets that are none': (
        'train', 'is not what meta.json says it is', lambda: put(IDX, b'nothing')),
    'offsets that go back': ('train', 'is not what meta.json says it is', swap_offsets),
    'a meta.json cut short': (
        'train', 'is not what prepare.py wrote there', lambda: os.truncate(META, 50)),
    'a meta.json of an older version': (
        'train', 'or of an older version', lambda: change_meta(lambda meta: meta.pop('seal'))),
    'a meta.json that is a list': (
        'train', 'is not what prepare.py wrote there', lambda: put(META, b'[1]')),
    'a data set that was renamed': (
        'train', 'was prepared as other',
        lambda: change_meta(lambda meta: meta.update(dataset='other'), True)),
    'a resume on other data': ('resume', 'was trained on other data than', other_data),
    'a run of other data, evaluated': ('eval', 'no run there but those left out', other_data),
    'a checkpoint cut short': (
        'resume', 'is not a checkpoint', lambda: os.truncate(CKPT, 5000)),
    'a checkpoint that is text': ('resume', 'is not a checkpoint', lambda: put(CKPT, b'hello')),
    'an empty checkpoint': ('eval', 'is not a checkpoint', lambda: put(CKPT, b'')),
    'a checkpoint of something else': (
        'eval', 'is not a checkpoint', lambda: torch.save({'model': {}}, CKPT)),
    'a checkpoint that is malicious': (
        'resume', 'is not a checkpoint', lambda: put(CKPT, pickle.dumps(Malicious()))),
    'a malicious one, from torch': (
        'eval', 'is not a checkpoint', lambda: torch.save({'model': Malicious()}, CKPT)),
    'a malicious one, continued': (
        'continue', 'is not a checkpoint', lambda: torch.save({'model': Malicious()}, CKPT)),
    'no checkpoint': ('resume', '--overwrite=True', lambda: os.remove(CKPT)),
    'a folder that is a file': ('file', 'out/file: File exists', lambda: put('out/file', b'')),
    'a log.csv that is a folder': (
        'resume', 'log.csv: Is a directory',
        lambda: (os.remove('out/run/log.csv'), os.mkdir('out/run/log.csv'))),
    'a results_dir that is a file': (
        'eval', 'results: File exists', lambda: put('results', b'')),
    'a vocabulary of another size': of_meta(vocab_size=299),
    'a BOS below 0': of_meta(bos_id=-5),
    'no components': of_meta(components={}),
    'offsets that are no whole numbers': (
        'train', 'is not what meta.json says it is',
        lambda: np.save(IDX, np.load(IDX).astype(np.float64))),
    'another rate': of_checkpoint('config', learning_rate=0.1),
    'another step': of_checkpoint(iter_num=1),
    'other components': of_checkpoint('mix', components=['b.B']),
    'other code': of_checkpoint(code=[]),
    'a tokenizer that is gone': (
        'show', 'tokenizer.json', lambda: os.remove('data/small/tokenizer.json')),
}
TRAIN_ON_A = ['train.py', *TRAIN, '--components=a']
COMMANDS = {
    'train': [*TRAIN_ON_A, '--max_iters=2', '--out_dir=out/new'],
    'verify': [*TRAIN_ON_A, '--max_iters=2', '--out_dir=out/new', '--verify=True'],
    'resume': [*TRAIN_ON_A, '--max_iters=5', '--lr_decay_iters=2', '--out_dir=out/run',
               '--init_from=resume'],
    'file': [*TRAIN_ON_A, '--max_iters=5', '--out_dir=out/file'],
    'eval': ['eval_xe.py', '--runs=out/run'],
    'show': ['sample_mix.py', *SMALL, '--components=a'],
    'continue': ['sample_mix.py', *SMALL, '--components=a', '--from_run=out/run'],
}

@pytest.fixture
def copied(small, tmp_path, monkeypatch):
    """Works on copies of the data set and of two runs."""
    for name in ('a', 'b.B'):
        if not os.path.exists(f'survive/{name}'):
            run('train.py', *TRAIN, f'--components={name}', '--max_iters=2',
                f'--out_dir=survive/{name}')
    shutil.copytree('data/small', tmp_path / 'data/small')
    shutil.copytree('survive/a', tmp_path / 'out/run')
    shutil.copytree('survive/b.B', tmp_path / 'out/other')
    monkeypatch.chdir(tmp_path)

@pytest.mark.parametrize('what', DAMAGES)
def test_what_is_damaged_is_named_in_one_line(copied, fails, what):
    command, says, damage = DAMAGES[what]
    damage()
    said = fails(*COMMANDS[command])
    assert says in said, said
    assert not os.path.exists('harmed') and not os.path.exists('out/new')

# ---- several processes

def test_a_dead_process_ends_the_run_which_goes_on_with_another_number(whole):
    args = [*ARGS, '--out_dir=survive/ranks', '--max_iters=4000', '--lr_decay_iters=47',
            '--eval_interval=20', '--dropout=0.0']
    shutil.rmtree('survive/ranks', ignore_errors=True)
    first, second = start_two(*args)
    while not os.path.exists('survive/ranks/ckpt.pt') and first.is_alive():
        time.sleep(0.1)
    second.kill()
    first.join(60)
    with open('output.txt') as f:
        said = f.read()
    assert first.exitcode == 1 and 'process 0 of 2 cannot go on' in said, said
    assert 'goes on by --init_from=auto, with any number of processes' in said, said
    step = load('survive/ranks/ckpt.pt')['iter_num']
    run('train.py', *args, '--init_from=resume', f'--max_iters={step + 20}')
    assert rows('survive/ranks/log.csv')[-1]['iter'] == str(step + 20)

def test_sigterm_to_torchrun_saves_too(whole):
    log = 'survive/ranks/log.csv'
    shutil.rmtree('survive/ranks', ignore_errors=True)
    torchrun = subprocess.Popen(
        [*BY_TWO, *ARGS, '--out_dir=survive/ranks', '--max_iters=100000', '--lr_decay_iters=47',
         '--eval_interval=20000'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while torchrun.poll() is None and not (os.path.exists(log) and len(rows(log)) > 3):
        time.sleep(0.1)
    torchrun.terminate()
    said, _ = torchrun.communicate(timeout=60)
    assert 'interrupted by SIGTERM after step' in said, said
    assert load('survive/ranks/ckpt.pt')['iter_num'] == int(rows(log)[-1]['iter']) > 0

# ---- what log.csv and wandb say

def test_snapshots_and_early_stopping_are_in_the_log(small):
    run('train.py', *TRAIN, '--k=2', '--max_iters=40', '--eval_interval=5', '--patience=1',
        '--learning_rate=0.3', '--min_lr=0.3', '--snapshots=True', '--out_dir=survive/early')
    log = rows('survive/early/log.csv')
    last, events = int(log[-1]['iter']), ' '.join(r['event'] for r in log)
    assert last < 40 and events.endswith('stopped early') and log[0]['event'] == 'best'
    kept = sorted(glob.glob('survive/early/step-*.pt'))
    steps = [2**i for i in range(last.bit_length())]
    assert kept == [f'survive/early/step-{step:06d}.pt' for step in steps]
    assert [load(path)['iter_num'] for path in kept] == steps
    assert 'snapshot of step 1; snapshot of step 2; snapshot of step 4' in events
    run('eval_xe.py', '--runs=survive/early', '--ckpt=step-000004', '--results_dir=survive/r')

class Wandb:
    """Stands in for the package: keeps what it is given, and fails at its third row."""
    def __init__(self):
        self.config, self.rows, self.finished = None, [], 0

    def init(self, project, name, config):
        self.config = config

    def log(self, row, step):
        self.rows.append(dict(row))
        if len(self.rows) == 3:
            raise ConnectionError('no network')

    def finish(self):
        self.finished += 1

def test_a_failure_of_wandb_does_not_stop_the_run(small, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'wandb', wandb := Wandb())
    run('train.py', *ARGS, '--wandb_log=True', '--out_dir=survive/wandb')
    log, err = rows('survive/wandb/log.csv'), capsys.readouterr().err
    assert wandb.config['n_embd'] == 16 and wandb.config['commit'] is not None
    assert len(wandb.rows) == 3 and not wandb.finished
    for r, row in zip(log, wandb.rows):
        assert {key: str(x) for key, x in row.items()} == {key: r[key] for key in r if key in row}
    assert err.count('wandb.log failed, the run goes on without it: no network') == 1
    assert log[-1]['iter'] == '47'

def test_the_real_wandb_offline(small, tmp_path, monkeypatch):
    pytest.importorskip('wandb')
    child_env = {'WANDB_MODE': 'offline', 'WANDB_DIR': str(tmp_path), 'WANDB_SILENT': 'true'}
    done = subprocess.run([sys.executable, os.path.join(ROOT, 'train.py'), *ARGS,
                           '--wandb_log=True', '--out_dir=survive/offline'],
                          capture_output=True, text=True, env=os.environ | child_env)
    assert done.returncode == 0 and 'failed' not in done.stdout, done.stdout + done.stderr
    path, = glob.glob(str(tmp_path / 'wandb/offline-run-*/run-*.wandb'))
    kept, val_xe = open(path, 'rb').read(), rows('survive/offline/log.csv')[-1]['val_xe']
    assert all(word.encode() in kept
               for word in ('n_embd', 'val_xe', 'tokens_per_second', val_xe[:12]))

# ---- any value of any setting

FIXED = {
    'train.py': [*TRAIN, '--max_iters=1', '--out_dir=survive/any', '--overwrite=True',
                 '--val_windows_per_component=4'],
    'sample_mix.py': [*SMALL, '--num_samples=1'],
    'eval_xe.py': ['--runs=survive/whole', '--windows_per_component=8', '--results_dir=survive/r'],
    'prepare.py': ['--source=corpus', '--dataset=any', '--vocab_size=300', '--overwrite=True']}
WORDS = st.one_of(st.integers(-2, 40), st.booleans(), st.none(), st.sampled_from(
    ['', 'a', 'a,c', 'a,a', 'b.B', '..', '/', 'cpu', 'float32', 'bfloat16', 'best', 'test',
     'resume', 'scratch', 'auto', '[1]', '{}', 'a\nb', "'", '\0', 'é', '*', 'survive/whole',
     'corpus', 'synthetic', 'coins:2', '1e400', 'None']))
VALUES = st.one_of(WORDS, st.floats(), st.sampled_from([10**9, 2**63, -2**70]))
# large ones are no mistake, they take all day
SIZES = ('n_layer', 'n_head', 'n_embd', 'block_size', 'epochs', 'max_iters', 'num_samples',
         'batch_size', 'gradient_accumulation_steps', 'vocab_size', 'documents_per_process',
         'document_length', 'num_proc', 'markov_vocab')
# they write to other folders, compile for a minute, or go online
ELSEWHERE = ('out_dir', 'results_dir', 'compile', 'wandb_log', 'dataset')

@functools.cache
def keys_of(script):
    """The keys that a script takes, as its --help lists them."""
    with contextlib.redirect_stdout(io.StringIO()) as out, pytest.raises(SystemExit):
        run(script, '--help')
    return re.findall(r'^  --(\w+)=', out.getvalue(), re.MULTILINE)

def test_the_keys_that_are_held_small_or_left_out_are_keys():
    assert {*SIZES, *ELSEWHERE} <= {key for script in FIXED for key in keys_of(script)}

@settings(max_examples=int(os.environ.get('EXAMPLES', 12)), deadline=None,
          derandomize='EXAMPLES' not in os.environ, database=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_any_settings_start_or_end_in_one_line(whole, capsys, data):
    script = data.draw(st.sampled_from(list(FIXED)))
    keys = [key for key in keys_of(script) if key not in ELSEWHERE]
    key = data.draw(st.one_of(st.sampled_from(keys), st.text('abk_=-', max_size=6)))
    value = data.draw(WORDS if key in SIZES else VALUES)
    capsys.readouterr()
    try:
        run(script, *FIXED[script], f'--{key}={value}')
    except SystemExit as e:
        err = capsys.readouterr().err
        said = [line for line in err.splitlines() if line.startswith(f'{script}: ')]
        assert e.code in (0, 2) and len(said) == (e.code == 2), (key, value, err)
        assert 'Traceback' not in err, (key, value, err)

# ---- --init_from=auto, and the number type of a resume

def test_auto_starts_resumes_and_leaves_alone(whole, signalled, fails, capsys):
    args = [*ARGS, '--out_dir=survive/auto', '--init_from=auto']
    signalled(9, signal.SIGTERM)
    with pytest.raises(SystemExit) as e:
        run('train.py', *args)
    assert e.value.code == 128 + signal.SIGTERM
    signalled(0, None)
    # that is another run
    assert 'max_iters=47, not 50' in fails('train.py', *args, '--max_iters=50')
    run('train.py', *args)
    assert differences(whole, 'survive/auto') == []
    with pytest.raises(SystemExit) as e:
        run('train.py', *args)
    assert e.value.code == 0
    assert 'is done, after 47 of at most 47 steps' in capsys.readouterr().out

def test_auto_leaves_a_run_that_stopped_early(small, capsys):
    args = [*ARGS, '--out_dir=survive/no-better', '--init_from=auto', '--patience=2',
            '--learning_rate=0', '--min_lr=0']  # nothing is ever better
    run('train.py', *args)
    with open('survive/no-better/log.csv') as f:
        log = f.read()
    assert log.endswith('stopped early\n')
    with pytest.raises(SystemExit) as e:
        run('train.py', *args)
    assert e.value.code == 0 and 'survive/no-better is done' in capsys.readouterr().out
    with open('survive/no-better/log.csv') as f:
        assert f.read() == log

def test_a_run_goes_on_in_the_number_type_that_it_began_in(small):
    args = [arg for arg in ARGS if not arg.startswith('--dtype')] + ['--out_dir=survive/dtype']
    run('train.py', *args, '--max_iters=2', '--lr_decay_iters=4', '--dtype=bfloat16')
    assert run('train.py', *args, '--max_iters=4', '--init_from=resume')['dtype'] == 'bfloat16'
    assert load('survive/dtype/ckpt.pt')['config']['dtype'] == 'bfloat16'
