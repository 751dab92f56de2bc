"""Runs that are stopped, killed, starved of disk, or given what is broken: nothing is lost, and nothing wrong looks right."""
import glob
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from child import start
from conftest import ROOT, SMALL, TRAIN, run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_scripts import rows
from tqdm import tqdm

import configurator
from configurator import SCRIPTS, read_settings

KILLS = int(os.environ.get('KILLS', 12))  # `make torture` sets it higher
ARGS = [*TRAIN, '--k=2', '--dropout=0.1', '--max_iters=47', '--log_interval=4', '--eval_interval=9', '--compile=False']


def state(folder):
    """What two runs that are the same agree in: the checkpoint but for its config, and log.csv but for times and events."""
    ckpt = torch.load(os.path.join(folder, 'ckpt.pt'), weights_only=True)
    best = torch.load(os.path.join(folder, 'best.pt'), weights_only=True)
    log = [{key: r[key] for key in r if key not in ('seconds', 'tokens_per_second', 'event')} for r in rows(f'{folder}/log.csv')]
    return {**{f'{name} {key}': x for name, c in (('ckpt', ckpt), ('best', best)) for key, x in c.items() if key != 'config'},
            'log': [r for r in log if r['train_xe'] or r['val_xe']]}


def equal(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    return len(a) == len(b) and all(map(equal, a, b)) if isinstance(a, (list, tuple)) else a == b


@pytest.fixture
def whole(small):
    """The run that nothing happened to."""
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


# ---- item 1: splits

def test_any_split_over_processes_is_the_whole_run(whole, signalled, capsys):
    for case, stops in enumerate(([1, 2, 36], [8, 20], [9, 45, 46])):
        folder, how = f'survive/split{case}', []
        for i, step in enumerate(stops):
            number = (signal.SIGTERM, signal.SIGINT)[i % 2]
            signalled(step, number)
            with pytest.raises(SystemExit) as e:
                run('train.py', *ARGS, f'--out_dir={folder}', *how)
            out = capsys.readouterr().out
            assert e.value.code == 128 + number and f'{number.name} after step {step}' in out and '--init_from=resume' in out
            how = ['--init_from=resume']
        signalled(0, None)
        run('train.py', *ARGS, f'--out_dir={folder}', *how)
        after = state(folder)
        assert [key for key in whole if not equal(whole[key], after[key])] == []
        events = ' '.join(r['event'] for r in rows(f'{folder}/log.csv'))
        assert events.count('interrupted by') == events.count('resumed at step') == len(stops) and events.endswith('finished')
        assert [r['iter'] for r in rows(f'{folder}/log.csv')] == sorted((r['iter'] for r in rows(f'{folder}/log.csv')), key=int)


def test_a_resume_names_all_that_differs(whole, fails):
    said = fails('train.py', *ARGS, '--out_dir=survive/whole', '--init_from=resume', '--seed=3', '--batch_size=4', '--learning_rate=1e-3')
    assert all(x in said for x in ('seed=0, not 3', 'batch_size=8, not 4', 'learning_rate=0.003, not 0.001'))
    for other in ('--components=a,b.B', '--token_budget=3200', '--n_embd=32', '--tag=True', '--mix_seed=1'):
        assert 'was trained with' in fails('train.py', *ARGS, '--out_dir=survive/whole', '--init_from=resume', other)
    shutil.copytree('survive/whole', 'survive/longer')
    run('train.py', *ARGS, '--out_dir=survive/longer', '--init_from=resume', '--max_iters=50', '--eval_interval=50', '--epochs=9')
    assert rows('survive/longer/log.csv')[-1]['iter'] == '50'


# ---- item 2: kills, a full disk

def test_killed_at_random_moments_it_ends_as_if_it_had_not_been(whole):
    rng, kills, folder = random.Random(0), 0, 'survive/killed'
    began = time.time()
    child = start('train.py', *ARGS, '--out_dir=survive/time')
    child.join()
    seconds = time.time() - began
    assert child.exitcode == 0, open('output.txt').read()
    while kills < KILLS:
        how = '--init_from=resume' if os.path.exists(f'{folder}/ckpt.pt') else '--overwrite=True'
        if how == '--init_from=resume':  # whatever the moment, the checkpoint is a whole one
            assert torch.load(f'{folder}/ckpt.pt', weights_only=True)['iter_num'] <= 47
        child = start('train.py', *ARGS, f'--out_dir={folder}', how)
        child.join(rng.uniform(0.2, 0.9) * seconds)
        child.kill()
        child.join()
        kills += child.exitcode == -signal.SIGKILL
        if child.exitcode != -signal.SIGKILL:  # it was through: once more from the start, after a look at what it left
            assert child.exitcode == 0, open('output.txt').read()
            after = state(folder)
            assert [key for key in whole if not equal(whole[key], after[key])] == []
            shutil.rmtree(folder)
    child = start('train.py', *ARGS, f'--out_dir={folder}', '--init_from=resume' if os.path.exists(f'{folder}/ckpt.pt') else '--overwrite=True')
    child.join()
    if child.exitcode != 0:
        assert 'nothing to resume' in open('output.txt').read()
    after = state(folder)
    assert [key for key in whole if not equal(whole[key], after[key])] == []


def test_a_full_disk_keeps_the_old_checkpoint(whole):
    folder = 'survive/full'
    shutil.rmtree(folder, ignore_errors=True)
    child = start('train.py', *ARGS, f'--out_dir={folder}', '--max_iters=9', '--lr_decay_iters=47')
    child.join()
    before = [open(f'{folder}/{name}.pt', 'rb').read() for name in ('ckpt', 'best')]
    for largest, says in ((len(before[0]) // 2, '.pt cannot be written'), (1000, 'cannot be written')):
        child = start('train.py', *ARGS, f'--out_dir={folder}', '--init_from=resume', largest_file=largest)
        child.join()
        said = open('output.txt').read()
        assert child.exitcode == 2 and says in said and 'Traceback' not in said, said
        assert [open(f'{folder}/{name}.pt', 'rb').read() for name in ('ckpt', 'best')] == before and not glob.glob(f'{folder}/*.tmp')
    child = start('train.py', *ARGS, f'--out_dir={folder}', '--init_from=resume')
    child.join()
    after = state(folder)
    assert [key for key in whole if not equal(whole[key], after[key])] == []


def test_checkpoints_are_written_as_time_allows_and_the_end_is_the_same(whole, monkeypatch):
    """A save that takes .3 s on a run of a second: few are made, and the best of all still counts."""
    written, replace = [], configurator.replace_file

    def slow(path, write):
        if path.endswith('.pt'):
            written.append(path)
            time.sleep(0.3)
        return replace(path, write)
    monkeypatch.setattr(configurator, 'replace_file', slow)
    run('train.py', *ARGS, '--out_dir=survive/slow')
    assert len(written) <= 3, written  # of 6 evaluations: the first, and the last
    after = state('survive/slow')
    assert [key for key in whole if not equal(whole[key], after[key])] == []


def test_a_state_that_is_best_and_last_is_written_once(small):
    run('train.py', *ARGS, '--max_iters=9', '--lr_decay_iters=47', '--out_dir=survive/once')
    best, last = (os.stat(f'survive/once/{name}.pt') for name in ('best', 'ckpt'))
    assert best.st_ino == last.st_ino
    run('train.py', *ARGS, '--lr_decay_iters=47', '--out_dir=survive/once', '--init_from=resume',
        '--learning_rate=3e-3', '--max_iters=10')  # the best stays as it was when ckpt.pt moves on
    assert torch.load('survive/once/ckpt.pt', weights_only=True)['iter_num'] == 10
    best = torch.load('survive/once/best.pt', weights_only=True)
    assert best['iter_num'] == best['best_iter'] in (9, 10)


# ---- item 3: what is not finite

def test_a_gradient_that_is_not_finite_stops_the_run(small, fails):
    args = [*ARGS, '--out_dir=survive/nan', '--learning_rate=1e30', '--grad_clip=0.0', '--overwrite=True', '--log_interval=1']
    said = fails('train.py', *args)
    told, log = json.load(open('survive/nan/nonfinite.json')), rows('survive/nan/log.csv')
    assert f'the gradient is not finite in step {told["step"]}, learning rate' in said and 'ckpt.pt is of a step before it' in said
    assert len(told['windows']) == 8 and all(len(w['tokens']) == 16 and w['component'] in 'a b.B c' for w in told['windows'])
    assert log[-1]['event'] == 'the gradient is not finite' and log[-1]['train_xe'] == '' and log[-1]['iter'] == str(told['step'])
    for r in log:
        assert all(np.isfinite(float(x)) for key, x in r.items() if x and key != 'event')
    kept = torch.load('survive/nan/ckpt.pt', weights_only=True)
    assert kept['iter_num'] < told['step'] and all(x.isfinite().all() for x in kept['model'].values())


# ---- item 4: what is damaged

def spoil(path, content=None, size=None, at=None):
    """Replaces a file, cuts it, or changes a byte."""
    with open(path, 'r+b' if content is None else 'wb') as f:
        if content is not None:
            f.write(content)
        elif size is not None:
            f.truncate(size)
        else:
            f.seek(at)
            byte = f.read(1)[0]
            f.seek(at)
            f.write(bytes([byte ^ 1]))


def change_meta(change):
    meta = json.load(open('data/small/meta.json'))
    change(meta)
    with open('data/small/meta.json', 'w') as f:
        json.dump(meta, f)


def reversed_inside(x):
    return np.concatenate((x[:1], x[1:-1][::-1], x[-1:]))


class Malicious:
    def __reduce__(self):
        return os.system, ('touch harmed',)


DAMAGES = {
    'a .bin that was cut': (lambda: spoil('data/small/a/train.bin', size=100), 'train', 'is not what meta.json says it is'),
    'a .bin that was cut, evaluated': (lambda: spoil('data/small/a/test.bin', size=100), 'eval', 'is not what meta.json says it is'),
    'a .bin with another byte, evaluated': (lambda: spoil('data/small/a/test.bin', at=10), 'eval', 'is not what was prepared'),
    'a .bin with another byte, verified': (lambda: spoil('data/small/a/train.bin', at=10), 'verify', 'is not what was prepared'),
    'a token that is none': (lambda: spoil('data/small/a/train.bin', at=11) or [spoil('data/small/a/train.bin', at=i) for i in range(1, 4001, 2)],
                             'train', 'its vocabulary ends at 299'),
    'a .bin that is gone': (lambda: os.remove('data/small/a/train.bin'), 'train', 'is damaged'),
    'offsets that are gone': (lambda: os.remove('data/small/a/train.idx.npy'), 'train', 'is damaged'),
    'offsets that are none': (lambda: spoil('data/small/a/train.idx.npy', b'nothing'), 'train', 'is damaged'),
    'offsets that go back': (lambda: np.save('data/small/a/train.idx.npy', reversed_inside(np.load('data/small/a/train.idx.npy'))),
                             'train', 'is not what meta.json says it is'),
    'a meta.json cut short': (lambda: spoil('data/small/meta.json', size=50), 'train', 'cannot be read'),
    'a meta.json of another version': (lambda: change_meta(lambda m: m['components']['a']['val'].pop('docs')), 'train', 'another version'),
    'a meta.json that is a list': (lambda: spoil('data/small/meta.json', b'[1]'), 'train', 'another version'),
    'a data set that was renamed': (lambda: change_meta(lambda m: m.update(dataset='other')), 'train', 'was prepared as other'),
    'a resume on other data': (lambda: change_meta(lambda m: m['components']['a']['train'].update(sha256='0' * 64)), 'resume', 'not the data that'),
    'a run of other data, evaluated': (lambda: change_meta(lambda m: m['components']['a']['train'].update(sha256='0' * 64)), 'eval', 'was trained on other data'),
    'a checkpoint cut short': (lambda: spoil('out/run/ckpt.pt', size=5000), 'resume', 'is not a checkpoint'),
    'a checkpoint that is text': (lambda: spoil('out/run/ckpt.pt', b'hello'), 'resume', 'is not a checkpoint'),
    'an empty checkpoint': (lambda: spoil('out/run/best.pt', b''), 'eval', 'is not a checkpoint'),
    'a checkpoint of something else': (lambda: torch.save({'model': {}}, 'out/run/best.pt'), 'eval', 'is not a checkpoint'),
    'a checkpoint that is malicious': (lambda: spoil('out/run/ckpt.pt', pickle.dumps(Malicious())), 'resume', 'is not a checkpoint'),
    'a malicious one, from torch': (lambda: torch.save({'model': Malicious()}, 'out/run/best.pt'), 'eval', 'is not a checkpoint'),
    'a malicious one, continued': (lambda: torch.save({'model': Malicious()}, 'out/run/best.pt'), 'continue', 'is not a checkpoint'),
    'a checkpoint of another run': (lambda: shutil.copy('out/other/best.pt', 'out/run/best.pt'), 'eval', 'is not of the run'),
    'no checkpoint': (lambda: os.remove('out/run/ckpt.pt'), 'resume', '--overwrite=True'),
    'a config.json cut short': (lambda: spoil('out/run/config.json', size=20), 'eval', 'cannot be used'),
    'a mix.json that is a number': (lambda: spoil('out/run/mix.json', b'1'), 'eval', 'cannot be used'),
    'a folder that is a file': (lambda: spoil('out/file', b''), 'file', 'is a file, not a folder'),
    'a log.csv that is a folder': (lambda: (os.remove('out/run/log.csv'), os.mkdir('out/run/log.csv')), 'resume', 'log.csv cannot be read'),
    'a results_dir that is a file': (lambda: spoil('results', b''), 'eval', '--results_dir=results'),
    'a tokenizer that is gone': (lambda: os.remove('data/small/tokenizer.json'), 'show', 'tokenizer.json'),
}
COMMANDS = {
    'train': ['train.py', *TRAIN, '--components=a', '--max_iters=2', '--out_dir=out/new'],
    'verify': ['train.py', *TRAIN, '--components=a', '--max_iters=2', '--out_dir=out/new', '--verify=True'],
    'resume': ['train.py', *TRAIN, '--components=a', '--max_iters=5', '--lr_decay_iters=2', '--out_dir=out/run', '--init_from=resume'],
    'file': ['train.py', *TRAIN, '--components=a', '--max_iters=5', '--out_dir=out/file'],
    'eval': ['eval_xe.py', '--runs=out/run'],
    'show': ['sample_mix.py', *SMALL, '--components=a'],
    'continue': ['sample_mix.py', *SMALL, '--components=a', '--from_run=out/run'],
}


@pytest.fixture
def copied(small, tmp_path, monkeypatch):
    """Works on copies of the data set and of two runs."""
    for name in ('a', 'b.B'):
        if not os.path.exists(f'survive/{name}'):
            run('train.py', *TRAIN, f'--components={name}', '--max_iters=2', f'--out_dir=survive/{name}')
    shutil.copytree('data/small', tmp_path / 'data/small')
    shutil.copytree('survive/a', tmp_path / 'out/run')
    shutil.copytree('survive/b.B', tmp_path / 'out/other')
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize('what', DAMAGES)
def test_what_is_damaged_is_named_in_one_line(copied, fails, what):
    damage, command, says = DAMAGES[what]
    damage()
    said = fails(*COMMANDS[command])
    assert says in said, said
    assert not os.path.exists('harmed') and not os.path.exists('out/new')


# ---- item 5: processes

def test_a_dead_process_ends_the_run_which_goes_on_with_another_number(whole):
    shutil.rmtree('survive/ranks', ignore_errors=True)
    args = [*ARGS, '--out_dir=survive/ranks', '--max_iters=4000', '--lr_decay_iters=47', '--eval_interval=20', '--dropout=0.0']
    env = os.environ | {'OMP_NUM_THREADS': '1'}
    run_of_two = subprocess.Popen([sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2', os.path.join(ROOT, 'train.py'), *args],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
    while not os.path.exists('survive/ranks/ckpt.pt') and run_of_two.poll() is None:
        time.sleep(0.1)
    second, = [pid for pid in map(int, filter(str.isdigit, os.listdir('/proc'))) if second_of(pid, run_of_two.pid)]
    os.kill(second, signal.SIGKILL)
    said, _ = run_of_two.communicate(timeout=60)
    assert run_of_two.returncode != 0 and 'cannot go on' in said and '--init_from=resume, with any number of processes' in said, said
    step = torch.load('survive/ranks/ckpt.pt', weights_only=True)['iter_num']
    run('train.py', *args, '--init_from=resume', f'--max_iters={step + 20}')
    assert rows('survive/ranks/log.csv')[-1]['iter'] == str(step + 20)


def second_of(pid, parent):
    """Whether pid is rank 1 among the children of parent."""
    try:
        status, environ = (open(f'/proc/{pid}/{name}').read() for name in ('status', 'environ'))
    except OSError:
        return False
    return f'PPid:\t{parent}\n' in status and '\0RANK=1\0' in '\0' + environ


def test_sigterm_to_torchrun_saves_too(whole):
    shutil.rmtree('survive/ranks', ignore_errors=True)
    args = [*ARGS, '--out_dir=survive/ranks', '--max_iters=100000', '--lr_decay_iters=47', '--eval_interval=20000']
    run_of_two = subprocess.Popen([sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2', os.path.join(ROOT, 'train.py'), *args],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | {'OMP_NUM_THREADS': '1'})
    while not (os.path.exists('survive/ranks/log.csv') and len(rows('survive/ranks/log.csv')) > 3) and run_of_two.poll() is None:
        time.sleep(0.1)
    run_of_two.terminate()
    said, _ = run_of_two.communicate(timeout=60)
    assert 'interrupted by SIGTERM after step' in said, said
    assert torch.load('survive/ranks/ckpt.pt', weights_only=True)['iter_num'] == int(rows('survive/ranks/log.csv')[-1]['iter']) > 0


# ---- item 6: what log.csv says, wandb

def test_snapshots_and_early_stopping_are_in_the_log(small):
    run('train.py', *TRAIN, '--k=2', '--max_iters=40', '--eval_interval=5', '--patience=1', '--learning_rate=0.3', '--min_lr=0.3', '--snapshots=True', '--out_dir=survive/early')
    log = rows('survive/early/log.csv')
    last, events = int(log[-1]['iter']), ' '.join(r['event'] for r in log)
    assert last < 40 and events.endswith('stopped early') and log[0]['event'] == 'best'
    kept = sorted(glob.glob('survive/early/step-*.pt'))
    assert kept == [f'survive/early/step-{2**i:06d}.pt' for i in range(last.bit_length())]
    assert [torch.load(path, weights_only=True)['iter_num'] for path in kept] == [2**i for i in range(len(kept))]
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
    log = rows('survive/wandb/log.csv')
    assert wandb.config['n_embd'] == 16 and wandb.config['commit'] is not None and len(wandb.rows) == 3 and not wandb.finished
    assert [{key: str(x) for key, x in row.items()} for row in wandb.rows] == [{key: x for key, x in r.items() if key in row} for r, row in zip(log, wandb.rows)]
    assert capsys.readouterr().out.count('wandb.log failed, the run goes on without it: no network') == 1
    assert log[-1]['iter'] == '47'


def test_the_real_wandb_offline(small, tmp_path, monkeypatch):
    pytest.importorskip('wandb')
    child_env = {'WANDB_MODE': 'offline', 'WANDB_DIR': str(tmp_path), 'WANDB_SILENT': 'true'}
    done = subprocess.run([sys.executable, os.path.join(ROOT, 'train.py'), *ARGS, '--wandb_log=True', '--out_dir=survive/offline'],
                          capture_output=True, text=True, env=os.environ | child_env)
    assert done.returncode == 0 and 'failed' not in done.stdout, done.stdout + done.stderr
    path, = glob.glob(str(tmp_path / 'wandb/offline-run-*/run-*.wandb'))
    kept = open(path, 'rb').read()
    assert all(word in kept for word in (b'n_embd', b'val_xe', b'tokens_per_second', rows('survive/offline/log.csv')[-1]['val_xe'][:12].encode()))


# ---- item 7: any settings

KEYS = {script: [*read_settings(os.path.join(ROOT, script))] for script in SCRIPTS}
FIXED = {'train.py': [*TRAIN, '--max_iters=1', '--out_dir=survive/any', '--overwrite=True', '--val_windows_per_component=4'],
         'sample_mix.py': [*SMALL, '--num_samples=1'], 'eval_xe.py': ['--runs=survive/whole', '--windows_per_component=8', '--results_dir=survive/r'],
         'prepare.py': ['--source=corpus', '--dataset=any', '--vocab_size=300', '--overwrite=True']}
WORDS = st.one_of(st.integers(-2, 40), st.booleans(), st.none(), st.sampled_from(
    ['', 'a', 'a,c', 'a,a', 'b.B', '..', '/', 'cpu', 'float32', 'bfloat16', 'best', 'test', 'resume', 'scratch', 'auto', '[1]', '{}', 'a\nb', "'", '\0', 'é', '*',
     'survive/whole', 'corpus', 'synthetic', 'coins:2', '1e400', 'None']))
VALUES = st.one_of(WORDS, st.floats(), st.sampled_from([10**9, 2**63, -2**70]))
SIZES = ('n_layer', 'n_head', 'n_embd', 'block_size', 'epochs', 'max_iters', 'num_samples', 'batch_size', 'gradient_accumulation_steps', 'vocab_size',
         'documents_per_process', 'document_length', 'num_proc', 'mess3_states', 'markov_vocab')  # large ones are no mistake, they take all day
ELSEWHERE = ('out_dir', 'results_dir', 'compile', 'wandb_log', 'dataset')  # write to other folders, compile for a minute, or go online


@settings(max_examples=int(os.environ.get('EXAMPLES', 60)), deadline=None, derandomize='EXAMPLES' not in os.environ, database=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_any_settings_start_or_end_in_one_line(whole, capsys, data):
    script = data.draw(st.sampled_from(list(FIXED)))
    key = data.draw(st.one_of(st.sampled_from([key for key in KEYS[script] if key not in ELSEWHERE]), st.text('abk_=-', max_size=6)))
    value = data.draw(WORDS if key in SIZES else VALUES)
    capsys.readouterr()
    try:
        run(script, *FIXED[script], f'--{key}={value}')
    except SystemExit as e:
        captured = capsys.readouterr()
        said = [line for line in captured.err.splitlines() if line.startswith(f'{os.path.basename(script)}: ')]
        assert e.code in (0, 2) and len(said) == (e.code == 2) and 'Traceback' not in captured.err, (key, value, captured.err)


def test_auto_starts_resumes_and_leaves_alone(whole, signalled, fails, capsys):
    args = [*ARGS, '--out_dir=survive/auto', '--init_from=auto']
    os.makedirs('survive/auto')
    shutil.copy('survive/whole/best.pt', 'survive/auto/best.pt')  # as a kill between the first best.pt and ckpt.pt leaves it
    signalled(9, signal.SIGTERM)
    with pytest.raises(SystemExit) as e:
        run('train.py', *args)
    assert e.value.code == 128 + signal.SIGTERM
    signalled(0, None)
    assert 'max_iters=47, not 50' in fails('train.py', *args, '--max_iters=50')  # that is another run
    run('train.py', *args)
    after = state('survive/auto')
    assert [key for key in whole if not equal(whole[key], after[key])] == []
    with pytest.raises(SystemExit) as e:
        run('train.py', *args)
    assert e.value.code == 0 and 'is done, after 47 of at most 47 steps' in capsys.readouterr().out


def test_auto_leaves_a_run_that_stopped_early(small, capsys):
    args = [*ARGS, '--out_dir=survive/no-better', '--init_from=auto', '--learning_rate=0', '--min_lr=0', '--patience=2']  # nothing is ever better
    run('train.py', *args)
    with open('survive/no-better/log.csv') as f:
        log = f.read()
    assert log.endswith('stopped early\n')
    with pytest.raises(SystemExit) as e:
        run('train.py', *args)
    with open('survive/no-better/log.csv') as f:
        assert e.value.code == 0 and 'survive/no-better is done' in capsys.readouterr().out and f.read() == log


def test_a_run_goes_on_in_the_number_type_that_it_began_in(small):
    args = [arg for arg in ARGS if not arg.startswith('--dtype')] + ['--out_dir=survive/dtype']
    run('train.py', *args, '--max_iters=2', '--lr_decay_iters=4', '--dtype=bfloat16')
    assert run('train.py', *args, '--max_iters=4', '--init_from=resume')['dtype'] == 'bfloat16'
    assert torch.load('survive/dtype/ckpt.pt', weights_only=True)['config']['dtype'] == 'bfloat16'
