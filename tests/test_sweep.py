"""The sweep: it lists and runs all that the decomposition needs, whatever happens to it."""
import contextlib
import csv
import gc
import glob
import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from unittest import mock

import pytest
import torch
from child import start
from conftest import ROOT, TRAIN, run
from test_survive import equal, state
from tqdm import tqdm

import checkpoint
import configurator
import sweep
from machine import choose_dtype
from runs import parts_of
from sample_mix import held_windows, list_documents, read_meta

SETTINGS = [*TRAIN, '--token_budget=800', '--max_iters=4', '--compile=False']

def write_config(path, settings):
    """Writes a config file that sets what the arguments --key=value set."""
    def literal(value):
        return value if value[:1].isdigit() or value in ('True', 'False') else repr(value)
    pairs = [arg[2:].split('=', 1) for arg in settings]
    with open(path, 'w') as f:
        f.writelines(f'{key} = {literal(value)}\n' for key, value in pairs)

@pytest.fixture
def project(small, tmp_path, monkeypatch):
    """A folder with the scripts, data/small and tiny.py, a config file."""
    for name in os.listdir(ROOT):
        if name.endswith('.py') or name in ('Makefile', 'config'):
            os.symlink(os.path.join(ROOT, name), tmp_path / name)
    os.symlink(small / 'data', tmp_path / 'data')
    write_config(tmp_path / 'tiny.py', [*SETTINGS, '--windows_per_component=8'])
    monkeypatch.chdir(tmp_path)
    return tmp_path

def list_runs(*args):
    """Has sweep.py print its list."""
    with pytest.raises(SystemExit) as e:
        run('sweep.py', 'tiny.py', '--list=True', *args)
    assert not e.value.code

@pytest.fixture
def listed(project, capsys):
    """listed(*args): the arguments of each run that sweep.py lists, as a shell would split them."""
    def check(*args):
        capsys.readouterr()
        list_runs(*args)
        lines = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
        assert lines and {tuple(line[:3]) for line in lines} == {('python', 'train.py', 'tiny.py')}
        return [line[2:] for line in lines]
    return check

def write_program(path, text):
    """Writes a shell script that can be run."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'w') as f:
        f.write('#!/bin/sh\n' + text)
    os.chmod(path, 0o755)

def value_of(key, args):
    """The value that the last of the arguments --key=value gives to a key, or None."""
    return dict(arg[2:].split('=', 1) for arg in args if arg.startswith('--')).get(key)

def test_a_sweep_lists_all_that_the_decomposition_needs(listed, capsys):
    lines = listed('--token_budget=0', '--k=1 2', '--seeds=0 1')
    folders = [value_of('out_dir', args) for args in lines]
    # of each seed: 3 P_c, M, M_tag and 2 D_c, and on shuffled documents M, M_tag, 2 D_c and 2 P_c
    assert len(set(folders)) == len(lines) == 2 * (3 + 2 + 2 + 2 + 2 + 2)
    lines = [args for args in lines if value_of('seed', args) == '0']
    folders = [value_of('out_dir', args) for args in lines]
    for args in lines:
        run('train.py', *args)
    assert {json.load(open(f'{folder}/config.json'))['max_iters'] for folder in folders} == {4}
    capsys.readouterr()
    run('eval_xe.py', 'tiny.py')
    assert '--parts_of' not in capsys.readouterr().out  # nothing is missing
    with open('results/xe_vs_k.csv') as f:
        whole = [row for row in csv.DictReader(f) if row['dilution']]
    assert sorted((row['k'], 'shuffle_components=True' in row['setting']) for row in whole) == [
        ('2', False), ('2', True)]

def test_runs_are_the_same_however_their_folder_is_spelled(listed):
    args = '--token_budget=0', '--k=1 2', '--seeds=0'
    assert listed(*args, '--out_dir=./out/w/') == listed(*args, '--out_dir=out/w')

def test_sets_are_the_runs_that_they_name_and_no_others(listed, capsys):
    a, b, c = sorted(read_meta('small')['components'])
    sets = f'{a},{b}; {b},{a} tag=True\n{c} token_budget=320;{a},{b} token_budget=320'
    lines = listed(f'--sets={sets}', '--seeds=0 1', '--out_dir=there')
    keys = ('components', 'token_budget', 'tag', 'seed')
    assert [[value_of(key, args) for key in keys] for args in lines] == [
        [*of_run, seed] for seed in '01' for of_run in (
            (f'{a},{b}', '800', None), (f'{b},{a}', '800', 'True'), (c, '320', None),
            (f'{a},{b}', '320', None))]
    folders = {value_of('out_dir', args) for args in lines}
    assert len(folders) == 8 and {os.path.dirname(folder) for folder in folders} == {'there'}
    for wrong, words in ((f'{a} n_layer=2', 'n_layer is none of'), (f'{a},nowhere', 'nowhere'),
                         (f'{a} tag=2', 'expected bool')):
        with pytest.raises(SystemExit) as e:
            run('sweep.py', 'tiny.py', '--list=True', f'--sets={wrong}')
        assert e.value.code == 2 and words in capsys.readouterr().err

def test_what_a_mixture_lacks_is_what_the_sweep_would_train(listed, capsys):
    """The parts of M by parts_of, trained with M's command and their keys, are done in a sweep."""
    lines = listed('--k=1 2', '--seeds=1', '--control=0')
    M, = [args for args in lines
          if ',' in value_of('components', args) and not value_of('tag', args)]
    run('train.py', *M)
    folder = value_of('out_dir', M)
    config, record = (json.load(open(f'{folder}/{name}.json')) for name in ('config', 'mix'))
    parts = parts_of(folder, record, config)
    assert set(parts) == {('tagged', '')} | {
        (part, c) for part in ('specialist', 'diluted') for c in record['components']}
    for part_folder, keys in parts.values():
        replaced = [*keys, 'out_dir']
        kept = [word for word in M if word[2:].partition('=')[0] not in replaced]
        given = [f'--{key}={value}' for key, value in (keys | {'out_dir': part_folder}).items()]
        run('train.py', *kept, *given)
    capsys.readouterr()
    trained = set(os.listdir('out'))
    for args in lines:
        if os.path.basename(value_of('out_dir', args)) in trained:
            with pytest.raises(SystemExit) as e:
                run('train.py', *args)
            assert e.value.code == 0 and 'is done' in capsys.readouterr().out
            trained.remove(os.path.basename(value_of('out_dir', args)))
    assert trained == set()

def test_a_specialist_trained_by_hand_is_the_sweeps(listed, capsys):
    run('train.py', 'tiny.py', '--components=a')
    config = json.load(open('out/small-k1-s0-a-800tokens/config.json'))
    args, = [args for args in listed('--k=1', '--seeds=0') if value_of('out_dir', args)
             == config['out_dir']]
    with pytest.raises(SystemExit) as e:
        run('train.py', *args)
    assert e.value.code == 0 and 'is done' in capsys.readouterr().out

def test_a_sweep_hands_on_every_key_of_train(listed):
    quoted = "it's a name, with spaces"
    for args in listed('--k=2', '--n_layer=3', '--learning_rate=1e-2', f'--wandb_project={quoted}'):
        assert {'--n_layer=3', '--learning_rate=1e-2', f'--wandb_project={quoted}'} < set(args)
    of_each = ('k', 'token_budget', 'max_iters', 'components', 'seed', 'mix_seed', 'tag', 'out_dir',
               'shuffle_components', 'constant_per_component', 'init_from', 'overwrite',
               'shares')
    keys = configurator.read_settings(os.path.join(ROOT, 'train.py'))
    others = [f'--{key}={default}' for key, (default, _) in keys.items()
              if key not in (*of_each, 'dataset', 'candidates', 'block_size')]
    for args in listed('--k=2', *others):
        assert set(others) < set(args)

def test_the_steps_follow_from_what_the_runs_are_given(listed):
    lines = listed('--token_budget=0', '--max_iters=0', '--k=2', '--seeds=0', '--control=0',
                   '--batch_size=4', '--epochs=3', '--gradient_accumulation_steps=2')
    budget = int(value_of('token_budget', lines[0]))
    assert {value_of('max_iters', args) for args in lines} == {str(3 * (budget // 16) // 8)}

def test_a_control_that_lowers_the_budget_says_so(listed, capsys):
    args = '--token_budget=0', '--k=2', '--seeds=0'
    plain, lower = (value_of('token_budget', listed(*args, *more)[0])
                    for more in (['--control=0'], []))
    assert int(lower) < int(plain)
    list_runs(*args)
    err = capsys.readouterr().err
    assert f'--token_budget={lower}, all that' in err and f'--control=0 has {plain}' in err

def test_defaults_edited_in_train_change_the_steps(project, listed, monkeypatch):
    write_config('tiny.py', [arg for arg in SETTINGS if not arg.startswith(
        ('--epochs', '--batch_size', '--max_iters', '--token_budget'))])
    with open(os.path.join(ROOT, 'train.py')) as f:
        train = f.read()
    for key, value in (('epochs', '40'), ('batch_size', '4 * 16'), ('token_budget', '16 * 640')):
        train, n = re.subn(f'^{key} = .*?( #.*)$', f'{key} = {value} \\1', train, flags=re.M)
        assert n == 1
    os.remove('train.py')
    with open('train.py', 'w') as f:
        f.write(train)
    monkeypatch.setattr(configurator, 'ROOT', str(project))
    lines = listed('--k=2', '--seeds=0', '--control=0')
    assert {value_of('max_iters', args) for args in lines} == {str(40 * 640 // 64)}
    assert {value_of('token_budget', args) for args in lines} == {'10240', '5120'}

def test_the_control_is_of_a_sweep_with_parts_alone(listed):
    def shuffled(*args):
        return sum('--shuffle_components=True' in line for line in listed(*args, '--seeds=0'))
    assert shuffled('--k=2') > 0 and shuffled('--k=2', '--control=2', '--parts=False') == 1
    assert shuffled('--k=2', '--parts=False') == 0
    budgets = {value_of('token_budget', line) for args in ([], ['--control=0'])
               for line in listed('--sets=a,c; a; c', '--seeds=0', '--token_budget=0', *args)}
    assert len(budgets) == 1  # of an automatic budget none is kept for a control

@pytest.mark.parametrize('args, says', [
    (['--k= '], 'a list of whole numbers, such as 1 2 3'),
    (['--seeds=0 x'], 'a list of whole numbers, such as 1 2 3'),
    (['--k=4'], 'at least 1, at most 3 (the candidates: a,b.B,c)'),
    (['--k=2', '--token_budget=50000'], 'the largest budget for these components is'),
    (['--k=2', '--shuffle_components=True'], 'shuffle_components of each run itself'),
    (['--k=2', '--components=a,c'], 'components of each run itself'),
    (['--k=2', '--seed=1'], 'seed of each run itself: leave it out'),
    (['--k=2', '--max_iters=0', '--batch_size=800'], 'less than one step of 800'),
    (['--k=1', '--token_budget=15'], '2 epochs of 0 windows are less than one step'),
    (['--k=1', '--block_size=0'], '--block_size=0: at least 2'),
    (['--k=1', '--block_size=1', '--token_budget=90'], '--block_size=1: at least 2'),
    (['--k=2', '--n_head=3'], 'does not divide into --n_head=3 heads'),
    (['--k=2', '--max_iters=-3'], '--max_iters=-3: at least 0'),
    (['--jobs=0'], '--jobs=0: at least 1'),
    (['--k=0 1'], '--k=0: at least 1'),
    (['--sets=;'], 'there is no run to train: --sets names none'),
    (['--out_dir=a,b'], '--out_dir=a,b: a folder, printable, without commas'),
    (['--runs=out/*'], 'runs is not a key of this script: it belongs to eval_xe.py'),
    (['--n_layers=4'], 'did you mean --n_layer?'),
])
def test_mistakes_end_in_one_line(project, fails, args, says):
    assert says in fails('sweep.py', 'tiny.py', *args)

def test_a_specialist_that_does_not_fit_is_named(project, capsys):
    """Whatever the seed: components that hold less than the budget have a D_c, but no P_c."""
    docs = {name: list_documents(read_meta('small'), name, 'train') for name in ('a', 'b.B', 'c')}
    held = {name: 16 * held_windows(docs[name], 16) for name in docs}
    assert min(held.values()) < 11200 <= max(held.values())
    for seed in range(3):
        list_runs('--token_budget=11200', '--k=1 3', f'--seeds={seed}', '--control=0')
        lines, err = capsys.readouterr()
        for name, tokens in held.items():
            assert (f'{name}-11200tokens' in lines) == (tokens >= 11200)
            assert (f'{name} {tokens:,}' in err) == (tokens < 11200)

NAMES = ['World News', 'R&D', "it's", '100%', 'a:b', 'a(b)', '[abc]', '$(touch pwned)',
         '`touch pwned`', '$\\bad$', 'C++', '../../../x', 'a/b', '--k=1', 'x' * 300, '数学']

def test_a_shell_reads_the_very_arguments_whatever_the_names(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with open('texts.jsonl', 'w') as f:
        f.writelines(json.dumps({'text': f'{i} {label} and so on', 'label': label}) + '\n'
                     for label in NAMES for i in range(80))
    odd = ['--dataset=odd', '--block_size=8']
    run('prepare.py', '--source=texts.jsonl', '--vocab_size=257', *odd)
    capsys.readouterr()
    with pytest.raises(SystemExit):
        run('sweep.py', '--list=True', '--k=1 2', '--seeds=0', '--candidates=',
            '--token_budget=64', '--max_iters=2', *odd)
    lines = capsys.readouterr().out.splitlines()
    assert {value_of('components', shlex.split(line)) for line in lines} >= {*NAMES}
    write_program('bin/python', 'printf "%s\\0" "$@" >>arguments')
    monkeypatch.setenv('PATH', f'bin:{os.environ["PATH"]}')
    with open('sweep.txt', 'w') as f:
        f.write('\n'.join(lines))
    subprocess.run(['sh', 'sweep.txt'], check=True)
    with open('arguments') as f:
        words = f.read().split('\0')[:-1]
    assert words == [word for line in lines for word in shlex.split(line)[1:]]
    assert not os.path.exists('pwned') and not os.path.exists('../x')
    for line in lines:  # each run has a folder of its own under out/
        assert os.path.dirname(value_of('out_dir', shlex.split(line))) == 'out'
    assert len({value_of('out_dir', shlex.split(line)) for line in lines}) == len(lines)

@pytest.mark.parametrize('end', ['\n', '\r\n'])
def test_a_task_of_a_slurm_array_trains_the_run_of_its_line(project, end):
    """bash and sbatch's array read the very arguments that the sweep means; Windows' ends too."""
    lines = ['python train.py one', "python train.py '--wandb_project=it'\"'\"'s  mine' two"]
    with open('sweep.txt', 'w', newline='') as f:
        f.write(end.join(lines) + end)
    write_program('bin/python', 'for word; do echo "<$word>"; done')
    env = os.environ | {'PATH': f'{os.getcwd()}/bin:{os.environ["PATH"]}',
                        'SLURM_ARRAY_TASK_ID': '2'}
    done = subprocess.run(['bash', os.path.join(ROOT, 'sweep.sbatch'), 'sweep.txt'], env=env,
                          capture_output=True, text=True)
    assert done.stdout.splitlines() == [f'<{word}>' for word in shlex.split(lines[1])[1:]]

# ---- running it

RUN = ['tiny.py', '--control=0', '--seeds=0', '--jobs=2']

def begin(*args, output='sweep.txt'):
    """Starts `python sweep.py args` in the current folder, in a process of its own."""
    return start('sweep.py', *RUN, *args, output=output)

def end(process, output='sweep.txt'):
    """Waits for begin's process; returns (its status, what it printed)."""
    process.join(200)
    with open(output) as f:
        return process.exitcode, f.read()

def stand_in(monkeypatch, play):
    """Has play(words, env=.., stdout=..), which returns a status, stand in for the scripts that a
    sweep starts in this process. Returns the list of their words, as they come.
    """
    started, popen = [], subprocess.Popen

    def begun(command, *args, **more):
        if command[0] != 'sh':  # git, say
            return popen(command, *args, **more)
        started.append(command[5:])
        status = play(command[5:], **more)
        return mock.Mock(returncode=status, poll=lambda: status)
    monkeypatch.setattr(subprocess, 'Popen', begun)
    return started

def play_here(words, stdout=None, **more):
    """Runs a script in this process, as `python words` would; returns its status."""
    out = stdout or sys.stdout
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            run(*words)
        except OSError as error:  # python's hook, in its place
            print(f'train.py: {configurator.refusal(error)}', file=out)
            return 2
        except SystemExit as e:
            return e.code or 0
        finally:
            gc.collect()  # its lock goes
    return 0

def runs_alive():
    """The processes that train in the current folder, as the kernel knows them."""
    alive = []
    for path in glob.glob('/proc/[0-9]*'):
        try:
            with open(f'{path}/cmdline') as f:
                if 'train.py' in f.read().split('\0')[1] and (
                        os.readlink(f'{path}/cwd') == os.getcwd()):
                    alive.append(path)
        except (OSError, IndexError):  # it has ended
            pass
    return alive

def test_a_sweep_goes_on_past_a_failure_and_the_same_command_mends_it(project, fails, capsys,
                                                                      monkeypatch):
    def sweep_once(*args):
        with pytest.raises(SystemExit) as e:
            run('sweep.py', *RUN, *args)
        return e.value.code or 0, ''.join(capsys.readouterr())
    stand_in(monkeypatch, play_here)
    mixtures = ['--k=2', '--parts=False', '--seeds=0 1', '--split=val', '--dataset=small']
    good, bad = 'out/small-k2-s0', 'out/small-k2-s1-m1'
    os.mkdir('out')
    with open(bad, 'w'):  # a file where a run's folder should be
        pass
    status, output = sweep_once(*mixtures)
    assert status == 1, output
    reason = f'{bad} failed (status 2), {bad}.log ends: train.py: {bad}: File exists'
    assert output.count(reason) == 2 and '1 of 2 runs failed' in output  # at once, and at the end
    with open('results/tiny-small/xe_vs_k.csv') as f:
        assert next(csv.DictReader(f))['n_runs'] == '1'
    with open('results/tiny-small/xe_by_component.csv') as f:  # tiny.py has 8
        assert {(row['n_windows'], row['split']) for row in csv.DictReader(f)} == {('8', 'val')}

    # other settings are refused before anything starts, or such runs are replaced
    os.remove(bad)
    before = os.stat(f'{good}/ckpt.pt').st_mtime_ns
    assert 'max_iters=4, not 6' in fails('sweep.py', *RUN, *mixtures, '--max_iters=6')
    assert os.stat(f'{good}/ckpt.pt').st_mtime_ns == before and not os.path.exists(bad)
    status, output = sweep_once(*mixtures, '--max_iters=6', '--overwrite=True')
    assert status == 0, output
    for folder in (good, bad):
        assert torch.load(f'{folder}/ckpt.pt')['iter_num'] == 6

def test_a_run_that_another_process_trains_is_left_to_it(listed, capsys, monkeypatch):
    args = ['--k=2', '--parts=False', '--seeds=0 1', '--max_iters=1000000']
    words, _ = listed(*args, '--control=0')
    other = start('train.py', *words)
    while not os.path.exists('out/small-k2-s0/ckpt.pt'):
        assert other.is_alive()
        time.sleep(0.1)
    started = stand_in(monkeypatch, lambda words, **more: 1)

    def trained():
        started.clear()
        with pytest.raises(SystemExit):
            run('sweep.py', *RUN, *args)
        return {value_of('out_dir', words) for words in started}
    assert trained() == {'out/small-k2-s1-m1'}
    said = '1 runs are being trained by another process, such as out/small-k2-s0: '
    assert said in capsys.readouterr().err
    other.terminate()
    other.join()
    assert trained() == {'out/small-k2-s0', 'out/small-k2-s1-m1'}

def test_no_run_goes_on_without_its_sweep(project):
    """A sweep is killed: its run gets one SIGTERM. At a second one it would not save."""
    process = begin('--k=2', '--parts=False', '--seeds=0', '--max_iters=1000000')
    while not os.path.exists('out/small-k2-s0/best.pt'):
        assert process.is_alive()
        time.sleep(0.1)
    process.kill()
    assert end(process)[0] == -signal.SIGKILL
    for _ in range(300):
        if runs_alive():
            time.sleep(0.1)
    assert not runs_alive()
    with open('out/small-k2-s0.log') as f:
        assert 'interrupted by SIGTERM after step' in f.read()  # it has saved

@pytest.mark.skipif('KILLS' not in os.environ, reason='a minute: .ci/run and `make torture` set it')
def test_a_sweep_that_is_killed_at_random_goes_on_bit_for_bit(listed):
    """The same command ends as its runs do by themselves. KILLS=20 kills it 20 times."""
    kills, rng = int(os.environ.get('KILLS', 1)), random.Random(0)
    seeds = '0 1' if kills > 1 else '0'
    args = ['--k=2', f'--seeds={seeds}', '--parts=False', '--max_iters=150']
    for line in listed(*args, '--control=0'):
        run('train.py', *line)
    undisturbed = {folder: state(folder) for folder in glob.glob('out/*/')}
    assert len(undisturbed) == len(seeds.split())
    signals = signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP
    while kills:
        shutil.rmtree('out')
        status = None
        while status != 0:  # until it is through
            process, number = begin(*args), signals[kills % 4]
            while kills % 2 and process.is_alive() and not glob.glob('out/*/ckpt.pt'):
                time.sleep(0.1)  # in training, or any time
            if kills:
                time.sleep(rng.uniform(0, 2))
            if kills and process.is_alive():
                os.kill(process.pid, number)
                kills -= 1
            status, output = end(process)
            assert status in (0, -number, 128 + number) and 'Traceback' not in output, output
            for _ in range(100):
                if runs_alive():
                    time.sleep(0.1)
            assert not runs_alive()
        for folder in undisturbed:
            assert equal(state(folder), undisturbed[folder]), folder

def test_the_runs_have_the_number_type_of_those_that_are_there(project, monkeypatch):
    """Another machine would choose another, and runs of two types are not compared."""
    other, = {'bfloat16', 'float32'} - {choose_dtype('', 'cpu')[0]}
    run('train.py', 'tiny.py', '--k=2', f'--dtype={other}')
    started = stand_in(monkeypatch, lambda words, **more: 1)  # each run fails
    with pytest.raises(SystemExit):
        run('sweep.py', *RUN, '--k=2', '--parts=False', '--seeds=0 1', '--dtype=')
    ours = [words for words in started if 'train.py' in ' '.join(words)]
    assert [value_of('out_dir', words) for words in ours] == ['out/small-k2-s1-m1']
    assert value_of('dtype', ours[0]) == other

# ---- what runs lack

def list_parts(capsys, *args):
    """The arguments of each run that --parts_of lists."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as e:
        run('sweep.py', '--list=True', *args)
    assert not e.value.code
    return [shlex.split(line)[2:] for line in capsys.readouterr().out.splitlines()]

def test_what_a_run_lacks_is_trained_and_evaluated_with_it(project, capsys, monkeypatch):
    """Settings that no config file has; a part that is begun, in a folder of another name."""
    wider = ['tiny.py', '--n_layer=2', '--max_iters=6']
    run('train.py', *wider, '--k=2', '--out_dir=out/wider')
    lines = list_parts(capsys, '--parts_of=out/wider')
    assert len(lines) == 5 and all({'--n_layer=2', '--max_iters=6'} < set(args) for args in lines)
    begun, update = lines[-1], tqdm.update
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(tqdm, 'update', lambda bar, n=1: (
            update(bar, n), os.kill(os.getpid(), signal.SIGTERM) if bar.n == 3 else None))
        run('train.py', *begun, '--out_dir=out/elsewhere')
    assert torch.load('out/elsewhere/ckpt.pt')['iter_num'] == 3
    both = list_parts(capsys, '--parts_of=out/wider,out/else*')
    assert [value_of('out_dir', args) for args in both] == [
        *(value_of('out_dir', args) for args in lines[:-1]), 'out/elsewhere']

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as e:
        stand_in(patch, play_here)
        run('sweep.py', '--parts_of=out/wider,out/else*', '--jobs=2', '--compile=False')
    assert not e.value.code
    assert torch.load('out/elsewhere/ckpt.pt')['iter_num'] == 6
    with open('out/elsewhere/log.csv') as f:
        assert 'resumed at step 3' in f.read()
    with open('results/parts-small/xe_vs_k.csv') as f:
        row, = [row for row in csv.DictReader(f) if row['dilution']]
    assert row['k'] == '2' and row['delta_xe'] and row['transfer'] and row['ambiguity']
    assert list_parts(capsys, '--parts_of=out/*/') == []

def test_runs_of_several_settings_lack_parts_of_their_own(project, capsys):
    """A part that two of them lack is trained once."""
    for more in (['--out_dir=out/one'], ['--out_dir=out/tagged', '--tag=True'],
                 ['--out_dir=out/other', '--n_embd=8', '--constant_per_component=True']):
        run('train.py', 'tiny.py', '--k=2', *more)
    lines = list_parts(capsys, '--parts_of=out/*')
    found = sorted((value_of('n_embd', args), value_of('token_budget', args),
                    len(value_of('components', args)), '--tag=True' in args) for args in lines)
    # out/one and out/tagged: two D_c and two P_c; out/other: two P_c, two D_c and M_tag
    assert found == [('16', '400', 1, False)] * 2 + [('16', '800', 1, False)] * 2 + [
        ('8', '1600', 1, False)] * 2 + [('8', '800', 1, False)] * 2 + [('8', '800', 3, True)]
    assert len({value_of('out_dir', args) for args in lines}) == len(lines)

def test_parts_of_two_settings_that_want_one_folder_have_two(project, capsys):
    """Together, and where the first setting's part is there already."""
    run('train.py', 'tiny.py', '--k=2')
    run('train.py', 'tiny.py', '--k=3', '--learning_rate=1e-3')
    names = 'out/small-k2-s0', 'out/small-k3-s0'
    lacking = [list_parts(capsys, f'--parts_of={name}') for name in names]
    both = list_parts(capsys, f'--parts_of={",".join(names)}')
    folders = [value_of('out_dir', args) for args in both]
    assert len({*folders}) == len(both) == sum(map(len, lacking))
    wanted = [value_of('out_dir', args) for args in lacking[1]]
    first = [args for args in lacking[0] if value_of('out_dir', args) in wanted][0]  # a P_c
    run('train.py', *first)
    now = {value_of('out_dir', args) for args in list_parts(capsys, f'--parts_of={names[1]}')}
    assert len(now) == len(wanted) and value_of('out_dir', first) not in now
    assert now <= {*folders}  # of the same name as above

@pytest.mark.parametrize('args, says', [
    (['--n_layer=6'], 'n_layer of each run itself: leave it out'),  # train.py's default too
    (['tiny.py'], 'of each run itself: leave it out'),
    (['--seeds=1'], 'seeds of each run itself'),
    (['--out_dir=there'], 'out_dir of each run itself'),
    (['--parts_of=out/nothing'], 'no run there'),
])
def test_keys_that_the_runs_have_themselves_are_refused(project, fails, args, says):
    run('train.py', 'tiny.py', '--k=2', '--out_dir=out/wider')
    assert says in fails('sweep.py', '--parts_of=out/wider', *args)

def test_what_a_run_of_other_code_lacks_is_not_trained_in_vain(project, capsys, monkeypatch, fails):
    run('train.py', 'tiny.py', '--k=2', '--out_dir=out/wider')
    code = checkpoint.read_code()
    monkeypatch.setattr(checkpoint, 'read_code',
                        lambda: code | {'model.py': code['model.py'] + '\nchanged = 1\n'})
    assert 'out/wider is of other code' in fails('sweep.py', '--parts_of=out/wider')
    assert len(list_parts(capsys, '--parts_of=out/wider', '--any_code=True')) == 5

# ---- the machine, and make

@pytest.mark.parametrize('visible, device, gpus', [
    (None, '', ['0', '1']), ('1,MIG-c', 'cuda', ['1', 'MIG-c']), ('1', 'cpu', ['']),
    ('0,1', 'cuda:1', [''])])
def test_the_gpus_are_those_that_may_be_used(monkeypatch, visible, device, gpus):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    if visible:
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', visible)
    monkeypatch.setitem(sweep.settings, 'device', device)
    assert sweep.list_gpus() == gpus

def test_make_sweep_hands_its_variables_on(project):
    words = make('-n', 'sweep', 'PYTHON=python', 'CONFIG=tiny.py', 'K=1 2', 'SEEDS=0 1', '-j3')
    assert shlex.split(words.stdout) == ['python', 'sweep.py', 'tiny.py', '--k=1 2', '--seeds=0 1',
                                         '--jobs=3']

def make(*args):
    return subprocess.run(['make', '--no-print-directory', *args], capture_output=True, text=True)

def test_make_alone_lists_its_targets_and_knows_its_variables(project):
    with open('Makefile') as f:
        targets = re.search(r'\.PHONY: help (.*)', f.read())[1].split()
    shown = make().stdout
    assert {'demo', 'test', 'lint', 'sweep'} < set(targets)
    assert all(f'make {target} ' in shown for target in targets)
    for wrong in ('config=tiny.py', 'k=1', 'SEED=0'):
        made = make('-n', 'sweep', wrong)
        assert made.returncode == 2 and f'{wrong}: no such variable, there are' in made.stderr
        assert len(made.stderr.splitlines()) == 1

# ---- odd environments, budgets and GPUs

@pytest.mark.parametrize('value', [None, '', '0', 'abc', '3'])
def test_a_run_has_a_number_of_threads_whatever_the_environment_says(monkeypatch, value):
    """Slurm may set OMP_NUM_THREADS to nothing."""
    seen = []
    monkeypatch.setattr(subprocess, 'Popen', lambda *args, env, **more: seen.append(env))
    monkeypatch.setattr(sweep, 'cpu_cores', lambda: 8)
    for name in ('OMP_NUM_THREADS', 'TORCHINDUCTOR_COMPILE_THREADS'):
        monkeypatch.delenv(name, raising=False)
    if value is not None:
        monkeypatch.setenv('OMP_NUM_THREADS', value)
    sweep.start(['train.py'], share=2)
    assert seen[0]['OMP_NUM_THREADS'] == ('3' if value == '3' else '4')
    assert 'TORCHINDUCTOR_COMPILE_THREADS' not in seen[0]  # the first, alone, has all cores for it

def test_a_name_in_marks_may_have_a_semicolon_in_sets():
    assert configurator.split_sets('"a;b",c; d\n"e\nf" tag=True;g;') == [
        '"a;b",c', 'd', '"e\nf" tag=True', 'g']

def test_a_budget_that_a_k_cannot_use_is_named_with_those_that_it_can(listed, capsys):
    for budget, says in ((16 * 31, 'as of a multiple of 96'), (16 * 30, '')):
        capsys.readouterr()
        list_runs('--k=1 2 3', '--seeds=0', '--control=0', f'--token_budget={budget}')
        err = capsys.readouterr().err
        assert says in err and ('can use all' in err) == bool(says)

def test_a_gpu_whose_run_ends_without_a_step_gets_no_other(project, monkeypatch, capsys):
    """
    A GPU that fails ends its runs in seconds, and would swallow the sweep. And a sweep with a
    folder of its own has results of its own: it would replace those of the one in out/.
    """
    given = []

    def play(words, env, **more):  # on GPU 1 a run dies at once
        folder, gpu = value_of('out_dir', words), env['CUDA_VISIBLE_DEVICES']
        if not folder:  # the evaluation
            return 0
        given.append(gpu)
        if gpu == '0':
            shutil.copytree('done', folder, dirs_exist_ok=True)
        return int(gpu)
    run('train.py', 'tiny.py', '--k=2', '--out_dir=done', '--seed=0')
    started = stand_in(monkeypatch, play)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(checkpoint, 'why_another', lambda *args: '')
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '0,1')
    with pytest.raises(SystemExit) as e:
        run('sweep.py', 'tiny.py', '--k=2', '--parts=False', '--seeds=0 1 2 3 4 5', '--device=cuda',
            '--control=0', '--dtype=float32', '--out_dir=wide')
    assert e.value.code and sorted(given).count('1') == 1 and given.count('0') == 5, given
    assert 'failed on GPU 1 (status 1)' in capsys.readouterr().err
    assert value_of('results_dir', started[-1]) == 'results/tiny-wide'
