"""Odd machines and environments: ranks without torchrun, quotas, locks, number types, budgets."""
import builtins
import errno
import fcntl
import io
import os
import shutil
import threading

import filelock
import pytest
import torch
from child import start_two
from conftest import SMALL, TRAIN, run
from filelock import _unix
from test_scripts import rows

import configurator
import machine

ONE = [*TRAIN, '--k=1', '--max_iters=1', '--compile=False']

def test_a_rank_without_a_world_is_a_process_like_any_other(small, monkeypatch, fails):
    """Platforms set RANK for every process: the run is written, and a mistake is said."""
    monkeypatch.setenv('RANK', '1')
    run('train.py', *ONE, '--out_dir=machine/rank')
    assert rows('machine/rank/log.csv')[-1]['iter'] == '1'
    assert 'unknown key' in fails('prepare.py', '--sourc=x')

@pytest.mark.parametrize('environment, says', [
    ({'WORLD_SIZE': '4'}, 'no RANK or MASTER_ADDR: start it by torchrun, or unset WORLD_SIZE'),
    ({'WORLD_SIZE': '4', 'RANK': '0'}, 'no RANK or MASTER_ADDR')])
def test_a_world_that_cannot_be_is_named(small, monkeypatch, fails, environment, says):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert says in fails('train.py', *ONE, '--out_dir=machine/world')
    assert not os.path.exists('machine/world')

def test_of_several_processes_one_speaks_and_of_another_script_all(monkeypatch):
    monkeypatch.setenv('WORLD_SIZE', '2')
    for rank, script, speaks in (('0', 'train.py', True), ('1', 'train.py', False),
                                 ('1', 'eval_xe.py', True)):
        monkeypatch.setenv('RANK', rank)
        monkeypatch.setattr('sys.argv', [script])
        assert configurator.is_master() is speaks

def test_a_process_that_fails_alone_says_why_once(small, tmp_path):
    """A mistake that only rank 1 makes, as a GPU that only it lacks."""
    (tmp_path / 'mine.py').write_text(
        "import os\nbatch_size = 'x' if os.environ['RANK'] == '1' else 8\n")
    first, second = start_two(*ONE, f'{tmp_path}/mine.py', '--out_dir=machine/alone')
    second.join()
    first.kill()  # as torchrun does
    with open('output1.txt') as f:
        said = f.read()
    assert second.exitcode == 2 and said.startswith(
        f'train.py: process 1: {tmp_path}/mine.py: batch_') and said.count('\n') == 1, said

def test_python_h_that_is_missing_is_named(monkeypatch, fails, capsys):
    def missing(device):
        raise RuntimeError('C++ compile error\nmain.cpp:2: fatal error: Python.h: No such file\n')
    monkeypatch.setattr(machine, 'try_compiler', missing)
    with pytest.raises(SystemExit):
        machine.compile_model(torch.nn.Linear(1, 1), 'cuda:0')
    said = capsys.readouterr().err
    assert 'python3-dev' in said and 'compile error' in said and '--compile=False' in said

def test_who_looks_at_a_lock_is_not_taken_for_who_holds_it(tmp_path):
    path = str(tmp_path / 'lock')
    with open(path, 'w') as other:  # another process: flock is of an open file
        other.write('process 1 on host')
        other.flush()
        fcntl.flock(other, fcntl.LOCK_EX)
        assert configurator.lock_holder(path) == 'process 1 on host'
        threading.Timer(0.02, fcntl.flock, (other, fcntl.LOCK_UN)).start()
        assert configurator.lock_holder(path) == ''

def test_a_file_system_without_locks_is_named_and_leaves_no_marker(small, monkeypatch, capsys):
    def refuse(*args):
        raise OSError(errno.ENOSYS, 'Function not implemented')
    monkeypatch.setattr(_unix, 'lock_fd_nonblocking', refuse)
    for _ in range(2):
        run('train.py', *ONE, '--out_dir=machine/lock', '--overwrite=True')
        said = capsys.readouterr().err
        assert said.count('machine/lock cannot be locked on this file system') == 1
    assert not any(name.endswith('.lock') for name in os.listdir('machine/lock'))
    assert isinstance(filelock.FileLock('x'), filelock.UnixFileLock)

@pytest.mark.parametrize('quota, cores', [
    ('150000 100000', 1), ('200000 100000', 2), ('6400000 100000', 8), ('max 100000', 8),
    ('1000 100000', 1), (None, 8)])
def test_a_container_has_the_cores_of_its_quota(monkeypatch, quota, cores):
    def opened(path, *args, **more):
        if path != '/sys/fs/cgroup/cpu.max':
            return real(path, *args, **more)
        if quota is None:
            raise FileNotFoundError(2, 'No such file', path)
        return io.StringIO(quota)
    real = builtins.open
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: set(range(8)))
    monkeypatch.setattr(builtins, 'open', opened)
    assert configurator.cpu_cores() == cores

def test_the_number_type_is_by_the_processor(monkeypatch):
    """A Xeon without AMX has bfloat16 instructions, which take twice as long as float32's."""
    monkeypatch.setattr(torch.cpu, '_is_avx512_bf16_supported', lambda: True)
    for has_amx, best in ((True, 'bfloat16'), (False, 'float32')):
        monkeypatch.setattr(torch.cpu, '_is_amx_tile_supported', lambda: has_amx)
        assert machine.choose_dtype('', 'cpu')[0] == best
        assert machine.choose_dtype('float32', 'cpu')[0] == 'float32'

@pytest.mark.parametrize('text', ['', 'x', '3'])
def test_the_compilers_threads_are_a_number_whatever_the_environment_says(monkeypatch, text):
    monkeypatch.setenv('TORCHINDUCTOR_COMPILE_THREADS', text)
    monkeypatch.setattr(machine, 'try_compiler', lambda device: None)
    machine.compile_model(torch.nn.Linear(1, 1), 'cpu')
    threads = os.environ['TORCHINDUCTOR_COMPILE_THREADS']
    assert int(threads) >= 1 and (threads == '3' or text != '3')

def test_a_folder_with_control_characters_is_refused(small, fails):
    said = fails('train.py', *ONE, '--out_dir=machine/run\r')
    assert 'a folder, printable, without commas' in said
    assert not os.path.exists('machine/run\r')

def test_what_a_budget_loses_is_said(small, capsys):
    """K windows of T tokens do not divide it: 5 windows of 16 for two components are 4."""
    for budget, says in ((80, '64 tokens of a budget of 80\n'), (64, '64 tokens\n')):
        run('train.py', *TRAIN, '--k=2', f'--token_budget={budget}', '--batch_size=2',
            '--out_dir=machine/budget', '--overwrite=True')
        assert f'4 windows of 16 tokens an epoch, {says}' in capsys.readouterr().out

def test_tags_do_not_move(tmp_path, monkeypatch, fails):
    """
    A tag is a place among all components of the data set: with another one before it, the same
    bytes have another tag. The seal tells.
    """
    monkeypatch.chdir(tmp_path)
    data = ['--dataset=tags', '--source=synthetic', '--documents_per_process=20',
            '--document_length=64', '--overwrite=True']
    args = ['--dataset=tags', '--components=even,golden_mean', '--tag=True', *SMALL[2:],
            *TRAIN[3:], '--lr_decay_iters=9', '--token_budget=320', '--out_dir=out/tagged']
    run('prepare.py', *data, '--processes=even,golden_mean,z1r')
    before = open('data/tags/even/train.bin', 'rb').read()
    run('train.py', *args, '--max_iters=1')
    run('prepare.py', *data, '--processes=coins:1,even,golden_mean')
    assert open('data/tags/even/train.bin', 'rb').read() == before
    said = 'out/tagged was trained on other data than data/tags holds now'
    assert said in fails('train.py', *args, '--max_iters=2', '--init_from=resume')
    assert 'out/tagged: no run there but those left out' in fails('eval_xe.py', '--runs=out/tagged')
    shutil.rmtree('data/tags')
    assert 'out/*: no run there but those left out' in fails('eval_xe.py')
    run('prepare.py', *data, '--processes=even,golden_mean,z1r')  # the same again
    run('train.py', *args, '--max_iters=2', '--init_from=resume')
