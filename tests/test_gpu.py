"""tests/gpu.py without a GPU (.ci/run runs the whole of it), the choice of a device where torch
believes in some GPUs, and sweep.sbatch.
"""
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import gpu
import pytest
import torch
from conftest import ROOT, TRAIN, run
from torch.overrides import TorchFunctionMode

import machine
import model
from machine import choose_device, choose_dtype

H100 = 'NVIDIA H100 80GB HBM3'

# ---- tests/gpu.py

@pytest.fixture
def run_rows(monkeypatch, tmp_path):
    """run_rows(rows, *args): runs these rows on the CPU; returns (the status, what their file
    holds).
    """
    def check(*rows, args=()):
        if rows:
            monkeypatch.setattr(gpu, 'ROWS', list(rows))
        status = gpu.main(['--device=cpu', '--tiny', f'--file={tmp_path}/new/rows.txt', *args])
        return status, (tmp_path / 'new/rows.txt').read_text()
    return check

def test_a_row_that_goes_wrong_is_a_fault_and_the_others_go_on(run_rows, capsys):
    def raises():
        gpu.note('what was measured before')
        raise ValueError('one line\nand another')

    def ends():
        gpu.fail('a mistake')

    def disagrees():
        gpu.note('seen 3')
        return '2', False

    def a_run_fails():
        gpu.train(['--dataset=nowhere'])

    def agrees():
        gpu.note('seen 2')
        return '2', True

    status, rows = run_rows(raises, ends, disagrees, a_run_fails, agrees)
    out, err = capsys.readouterr()
    assert status == 1 and 'and another' in err and 'and another' in rows
    for text in (re.sub(r', \d+ s([:;])', r', 0 s\1', text) for text in (out, rows)):
        assert '[1/5] raises\nwhat was measured before\n' in text
        assert '\nFAULT, 0 s: ValueError: one line\n' in text
        assert '\nFAULT, 0 s: SystemExit: 2\n' in text
        assert '[3/5] disagrees\nseen 3\nFAULT, 0 s; expected: 2\n' in text
        assert '[5/5] agrees\nseen 2\nok, 0 s; expected: 2\n' in text
        assert ': RuntimeError: status 2: train.py: data/nowhere is not a prepared' in text
        assert '1 ok, 4 FAULT, 0 skipped' in text

def test_what_is_measured_is_in_the_file_at_once(run_rows, tmp_path):
    """A machine that is taken away in the midst of a row leaves all that was measured."""
    def looks():
        gpu.note('measured')
        seen.append((tmp_path / 'new/rows.txt').read_text())
        return '', True
    seen = []
    run_rows(looks)
    run_rows(looks)
    assert seen == ['\n[1/1] looks\nmeasured\n', seen[1]] and seen[1].count('measured') == 2

def test_a_row_that_hangs_is_a_fault_and_its_run_is_killed(run_rows, monkeypatch):
    started = []

    def hangs():
        with gpu.launched(['--dataset=nowhere']) as (process, *_):
            started.append(process)
            time.sleep(600)
    monkeypatch.setattr(gpu, 'ROW_LIMIT', 0.5)
    status, rows = run_rows(hangs)
    assert status == 1 and 'TimeoutError: took longer than' in rows
    assert started[0].returncode == -signal.SIGKILL

def test_rows_are_skipped_when_the_time_is_spent(run_rows, monkeypatch):
    monkeypatch.setattr(gpu, 'BUDGET', 0)
    status, rows = run_rows()
    assert status == 0 and '0 ok, 0 FAULT' in rows
    assert rows.count('the 0 s are spent') == len(gpu.ROWS)

def test_a_run_outlives_its_parent_by_no_more_than_the_time_left(run_rows, monkeypatch, tmp_path):
    """Where gpu.py is killed, nothing ends the processes that it started."""
    def starts():
        monkeypatch.setattr(gpu, '__file__', str(tmp_path / 'never_ends.py'))
        with gpu.launched([]) as (process, *_):
            return '', process.wait() == 1
    (tmp_path / 'never_ends.py').write_text(
        f'import sys, time; sys.path.insert(0, "{ROOT}/tests"); import gpu\n'
        'gpu.register_optimizer_step_post_hook = lambda hook: time.sleep(600)\n'
        'gpu.watch(*sys.argv[2:])')
    monkeypatch.setattr(gpu, 'LAST', 1)
    assert run_rows(starts)[0] == 0

def test_rows_are_chosen_by_name(run_rows, capsys):
    status, rows = run_rows(args=['--rows=ceilings,several_with_mps'])
    assert status == 0 and '1 ok, 0 FAULT, 1 skipped' in rows
    with pytest.raises(SystemExit):
        run_rows(args=['--rows=ceilings,no_such_row'])
    assert 'there are versions,first_step' in capsys.readouterr().err

@pytest.fixture
def on_cuda(monkeypatch):
    """The rows believe in two H100; nothing runs on them."""
    monkeypatch.setattr(gpu, 'cuda', True)
    monkeypatch.setattr(gpu, 'tiny', False)
    monkeypatch.setitem(sys.modules, 'triton', SimpleNamespace(__version__='3.7.1'))
    for name, answer in {'get_device_name': H100, 'device_count': 2,
                         'get_device_capability': (9, 0)}.items():
        monkeypatch.setattr(torch.cuda, name, lambda answer=answer: answer)

def test_versions_name_the_gpu(on_cuda, capsys):
    gpu.versions()
    assert f'2 x {H100}, sm_90' in capsys.readouterr().out

@pytest.mark.parametrize('card, tokens, peak, ok', [
    (H100, 2.8e6, 7e9, True), (H100, 1.7e6, 7e9, False), (H100, 2.8e6, 12e9, False),
    ('NVIDIA H200', 2.8e6, 7e9, True), ('NVIDIA H200', 2.2e6, 7e9, False),
    ('NVIDIA GeForce RTX 4090', 0.5e6, 7e9, True), ('NVIDIA GeForce RTX 4090', 0.4e6, 7e9, False),
    ('NVIDIA GeForce RTX 4090 Laptop GPU', 0.1e6, 7e9, True), ('NVIDIA GH200 480GB', 1, 12e9, True),
    (f'{H100} MIG 1g.10gb', 1e5, 7e9, True)])
def test_speed_is_held_against_the_roofline_of_a_card_that_is_known(on_cuda, monkeypatch, capsys,
                                                                    card, tokens, peak, ok):
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda: card)
    monkeypatch.setattr(gpu, 'train', lambda *args: {'speed': tokens, 'peak': peak,
                                                     'step_tokens': 51200})
    _, as_reckoned = gpu.speed()
    out = capsys.readouterr().out
    assert as_reckoned == ok and '79.3 MFLOP a token' in out
    share = f' {79.3e6 * tokens / gpu.CARDS.get(card, (989e12,))[0]:.1%} of the data sheet'
    assert (share in out) == ('roofline' in out) == (card in gpu.CARDS)

def test_the_roofline_is_that_of_the_code_that_inductor_writes(on_cuda, monkeypatch):
    """Kernel by kernel, at 2.8 TB/s and 600 TFLOP/s, an H100 reaches 3.9 M tokens a second."""
    for card, best in ((H100, 3.9e6), ('NVIDIA H200', 4.9e6), ('NVIDIA A100-SXM4-80GB', 1.8e6)):
        monkeypatch.setattr(torch.cuda, 'get_device_name', lambda card=card: card)
        assert gpu.attainable() == pytest.approx(best, rel=0.02)
        assert gpu.attainable(50257) < 0.8 * gpu.attainable()

@pytest.mark.parametrize('row, peak, ok', [('eager', 12e9, True), ('eager', 38e9, False),
                                           ('two_chunks', 12e9, True)])
def test_other_heads_show_their_memory(on_cuda, monkeypatch, tmp_path, capsys, row, peak, ok):
    ran = []
    monkeypatch.setattr(gpu, 'work', str(tmp_path))
    monkeypatch.setattr(gpu, 'train', lambda args: ran.append(args) or {
        'speed': 1e6, 'peak': peak, 'step_tokens': 51200})
    assert getattr(gpu, row)()[1] == ok
    assert f'peak memory {peak / 1e9:.2f} GB' in capsys.readouterr().out
    assert ('--compile=False' in ran[0]) == (row == 'eager')
    assert (tmp_path / 'data/v50257/meta.json').exists() == (row == 'two_chunks')

@pytest.mark.parametrize('recorded, ok', [
    ([1, 1, 2], True), ([1, 2, 2, 250, 251, 251], True), ([], False),
    ([1, 1, *[250] * 64], False), ([1, 1, 2, 500], False)])
def test_a_graph_for_each_batch_of_an_evaluation_is_a_fault(on_cuda, monkeypatch, recorded, ok):
    monkeypatch.setattr(gpu, 'train_once', lambda *args: {'recorded': recorded})
    assert gpu.graphs()[1] == ok

def test_recordings_of_graphs_are_counted(monkeypatch):
    from torch._inductor.cudagraph_trees import CUDAGraphTreeManager
    monkeypatch.setattr(CUDAGraphTreeManager, 'record_function', lambda self, inputs, i: inputs + i)
    seen = []
    gpu.watch_graphs(lambda: seen.append(1))
    manager = CUDAGraphTreeManager.__new__(CUDAGraphTreeManager)
    assert manager.record_function(2, 3) == 5 and seen == [1]

def test_tokens_are_counted_while_all_runs_train():
    runs = [{'times': [1.0, 4.0, 6.0, 8.0], 'step_tokens': 100},  # starts early, ends early
            {'times': [5.0, 6.0, 7.0, 8.0, 9.0, 20.0], 'step_tokens': 10}]
    assert gpu.count_tokens(runs) == (2 * 100 + 3 * 10) / 3
    with pytest.raises(RuntimeError, match='overlap'):
        gpu.count_tokens([runs[0], {'times': [8.5, 9.0], 'step_tokens': 10}])

@pytest.mark.parametrize('attention, ok', [
    (('pytorch_flash::flash_fwd_kernel', 'pytorch_flash::flash_fwd_kernel'), True),
    (('pytorch_flash::flash_fwd_kernel', 'cudnn_generated_sdpa_sm90_flash_fprop'), False),
    (('cudnn_generated_sdpa_sm90_flash_fprop', 'cudnn_generated_sdpa_sm90_flash_fprop'), False),
    (('gemm', 'gemm'), False),
])
def test_a_profile_tells_busy_time_and_attention(on_cuda, monkeypatch, capsys, tmp_path, attention,
                                                 ok):
    for what, kernel in zip(('train', 'eval'), attention):  # 3 + 1 of 8 ms, two kernels at once
        events = [{'cat': 'kernel', 'name': kernel, 'ts': 1000, 'dur': 3000},
                  {'cat': 'kernel', 'name': 'triton_cudnn_fused', 'ts': 2000, 'dur': 1000},
                  {'cat': 'gpu_memcpy', 'name': 'copy', 'ts': 8000, 'dur': 1000},
                  {'cat': 'cpu_op', 'name': 'cudnn', 'ts': 0, 'dur': 90000}]
        (tmp_path / f'run-{what}.json').write_text(json.dumps({'traceEvents': events}))
    monkeypatch.setattr(gpu, 'train', lambda *args, **more: {'folder': tmp_path / 'run'})
    assert gpu.profile()[1] == ok
    measured = capsys.readouterr().out
    assert measured.count('busy 50% of 8 ms') == 2
    assert f'3.0 ms {attention[0]}' in measured and '90.0 ms' not in measured

@pytest.fixture
def mps(on_cuda, monkeypatch, tmp_path):
    """mps(daemon, client): a daemon and a client that do this in sh. Returns the list of folders
    that runs were given, which grows; tmp_path/calls has what the daemon was told.
    """
    def make(daemon='true', client='true'):
        for name, does in (('nvidia-cuda-mps-control',
                            f'echo "$1 $CUDA_MPS_PIPE_DIRECTORY" >> {tmp_path}/calls\n'
                            f'if [ "$1" ]; then {daemon}; else cat >> {tmp_path}/calls; fi'),
                           ('python', client)):
            (tmp_path / name).write_text(f'#!/bin/sh\n{does}\n')
            (tmp_path / name).chmod(0o755)
        monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
        monkeypatch.setattr(sys, 'executable', str(tmp_path / 'python'))
        monkeypatch.setattr(gpu, 'several_processes', several)
        return seen

    def several(**environment):
        seen.append(environment['CUDA_MPS_PIPE_DIRECTORY'])
        return '', True
    seen = []
    return make

@pytest.mark.parametrize('fails', [False, True])
def test_the_mps_daemon_is_always_stopped(mps, monkeypatch, tmp_path, fails):
    def several(**environment):
        seen.append(environment['CUDA_MPS_PIPE_DIRECTORY'])
        raise RuntimeError
    seen = mps()
    if fails:
        monkeypatch.setattr(gpu, 'several_processes', several)
    with pytest.raises(RuntimeError) if fails else contextlib.nullcontext():
        gpu.several_with_mps()
    assert (tmp_path / 'calls').read_text() == f'-d {seen[0]}\n {seen[0]}\nquit\n'

@pytest.mark.parametrize('daemon, client, says', [
    ('exit 1', 'true', 'none starts here'),
    ('true', 'echo CUDA error: MPS client failed to connect >&2; exit 1', 'failed to connect'),
    ('true', 'sleep 9', 'timed out')])
def test_a_container_without_mps_is_skipped(mps, monkeypatch, tmp_path, daemon, client, says):
    monkeypatch.setattr(gpu.subprocess, 'run', lambda *args, run=subprocess.run, **more: run(
        *args, **more | {'timeout': min(2, more['timeout'])}))
    seen = mps(daemon, client)
    with pytest.raises(gpu.Skipped, match=says):
        gpu.several_with_mps()
    assert not seen and (tmp_path / 'calls').read_text().endswith('quit\n')

def test_a_daemon_that_still_writes_is_no_fault(mps, monkeypatch, tmp_path):
    """Its folder may get a file while it is removed."""
    remove = os.rmdir

    def removes(path, **more):
        if '/mps' in str(path) or str(path).startswith('mps'):
            raise OSError(39, 'Directory not empty')
        remove(path, **more)
    seen = mps()
    monkeypatch.setattr(os, 'rmdir', removes)
    assert gpu.several_with_mps() == ('', True) and len(seen) == 1
    monkeypatch.undo()
    os.rmdir(seen[0])

# ---- the choice of a device: torch's Python is real, and below it there are stand-ins

@pytest.fixture
def fake_cuda(monkeypatch):
    """fake_cuda(count): from here on torch.cuda sees that many GPUs, of compute capability 9.0 or
    as `majors` says. Returns the list of the devices that are set, which grows. Nothing runs there.
    """
    for name in ('LOCAL_RANK', 'LOCAL_WORLD_SIZE', 'TORCHELASTIC_RUN_ID'):
        monkeypatch.delenv(name, raising=False)

    def see(count, majors=(9, 9, 9, 9)):
        devices = []

        def set_device(index):
            if not 0 <= index < count:
                raise RuntimeError('CUDA error: invalid device ordinal')
            devices.append(index)

        below = {'_cuda_getDeviceCount': lambda: count, '_cuda_init': lambda: None,
                 '_cuda_setDevice': set_device, '_cuda_getDevice': lambda: (devices or [0])[-1]}
        for name, stand_in in below.items():
            monkeypatch.setattr(torch._C, name, stand_in, raising=False)
        # what torch.cuda has from torch._C, or keeps of what that answered
        properties = [SimpleNamespace(name='NVIDIA H100', major=major, minor=0, total_memory=2**36)
                      for major in majors]
        for name, value in {
                '_cudart': SimpleNamespace(), '_device_count_nvml': lambda: -1,
                '_get_device_properties': properties.__getitem__,
                'default_generators': tuple(torch.Generator() for _ in range(count)),
                '_initialized': False, '_queued_calls': [], '_cached_device_count': None}.items():
            monkeypatch.setattr(torch.cuda, name, value, raising=False)
        return devices
    return see

@pytest.mark.parametrize('asked, count, environment, chosen', [
    ('', 1, {}, 0),
    ('cuda', 1, {}, 0),
    ('cuda', 2, {}, 0),
    ('cuda:1', 2, {}, 1),
    ('', 2, {'LOCAL_RANK': '1'}, 1),
    ('cuda', 2, {'LOCAL_RANK': '1', 'TORCHELASTIC_RUN_ID': 'x'}, 1),
    ('', 1, {'LOCAL_RANK': '1'}, 0),  # Slurm's --gpus-per-task=1: each process sees its own
])
def test_a_gpu_has_its_number_and_becomes_the_current_one(fake_cuda, monkeypatch, asked, count,
                                                          environment, chosen):
    devices = fake_cuda(count)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert choose_device(asked) == f'cuda:{chosen}'
    assert devices == [chosen] and torch.cuda.current_device() == chosen

@pytest.mark.parametrize('asked, count, environment', [
    ('cuda:7', 2, {}),
    ('cuda:-1', 2, {}),
    ('cuda:x', 2, {}),
    ('cuda', 1, {'LOCAL_RANK': '1', 'LOCAL_WORLD_SIZE': '2', 'TORCHELASTIC_RUN_ID': 'x'}),
])
def test_a_gpu_that_is_not_there_is_named_in_one_line(fake_cuda, monkeypatch, capsys, asked, count,
                                                      environment):
    devices = fake_cuda(count)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as e:
        choose_device(asked)
    err = capsys.readouterr().err
    assert e.value.code == 2 and err.count('\n') == 1 and 'this machine has' in err
    assert devices == []

def test_the_cpu_is_had_where_it_is_asked_for(fake_cuda):
    devices = fake_cuda(1)
    assert choose_device('cpu') == 'cpu' and devices == []

def test_the_number_type_is_that_of_the_device_that_is_set(fake_cuda):
    fake_cuda(2, majors=(7, 9))  # a V100 and an H100
    assert choose_dtype('', choose_device('cuda:1'))[0] == 'bfloat16'
    assert choose_dtype('', choose_device('cuda:0'))[0] == 'float32'

# ---- train.py and eval_xe.py where the device is CUDA by name, and its tensors lie on the CPU

class OnCpu(TorchFunctionMode):
    """Puts what is made on, or moved to, a CUDA device on the CPU."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        def on_cpu(x):
            return 'cpu' if isinstance(x, str) and x.startswith('cuda') else x
        kwargs = {key: on_cpu(x) for key, x in (kwargs or {}).items()}
        return func(*map(on_cpu, args), **kwargs)

def on_cuda_device(args):
    return [arg for arg in args if not arg.startswith('--device')] + ['--device=cuda:1']

def test_nothing_is_moved_before_the_device_is_set(fake_cuda, small):
    devices = fake_cuda(2)
    with pytest.raises(RuntimeError, match='CUDA'):  # torch's own, or a kind of it
        run('train.py', *on_cuda_device(TRAIN), '--k=2', '--out_dir=gpu/none')
    assert devices == [1] and not os.path.exists('gpu/none')

@pytest.mark.parametrize('accumulation', [1, 2])
def test_every_branch_of_a_run_on_cuda_is_that_of_the_cpu(fake_cuda, small, monkeypatch,
                                                          accumulation):
    """Gradients that stay in their place, CUDA's random state saved and set, a resume, the rest."""
    args = [*TRAIN, '--k=2', '--lr_decay_iters=20', '--compile=True', '--overwrite=True',
            f'--gradient_accumulation_steps={accumulation}', '--compile_mode=reduce-overhead']
    monkeypatch.setattr(torch.nn.Module, 'compile', lambda self, **settings: None)
    monkeypatch.setattr(machine, 'try_compiler', lambda device: None)
    run('train.py', *args, '--max_iters=20', '--out_dir=gpu/cpu')
    devices = fake_cuda(2)
    with OnCpu():
        run('train.py', *on_cuda_device(args), '--max_iters=12', '--out_dir=gpu/cuda')
        run('train.py', *on_cuda_device(args), '--max_iters=20', '--out_dir=gpu/cuda',
            '--init_from=resume')
        run('eval_xe.py', '--runs=gpu/cuda', '--device=cuda:1', '--results_dir=gpu/results')
    a, b = (torch.load(f'gpu/{name}/ckpt.pt', weights_only=True) for name in ('cpu', 'cuda'))
    assert set(devices) == {1} and 'cuda' in b['rng']
    assert all(torch.equal(a['model'][name], b['model'][name]) for name in a['model'])
    assert b['iter_num'] == 20 and a['best_val_loss'] == b['best_val_loss']

def test_a_gpu_that_torch_cannot_use_is_not_passed_over(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(machine.glob, 'glob', lambda pattern: ['/dev/nvidia0'])
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    for asked in ('', 'cuda', 'cuda:0'):
        with pytest.raises(SystemExit) as e:
            choose_device(asked)
        err = capsys.readouterr().err
        assert e.value.code == 2 and err.count('\n') == 1 and '--device=cpu' in err
    assert choose_device('cpu') == 'cpu'
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')  # the user hides it
    assert choose_device('') in ('cpu', 'mps')

def test_without_a_compiler_a_gpu_run_stops_and_names_the_remedy(monkeypatch, capsys):
    def missing(device):
        raise RuntimeError('Failed to find C compiler')
    monkeypatch.setattr(machine, 'try_compiler', missing)
    with pytest.raises(SystemExit) as e:
        machine.compile_model(model.GPT(16, 4, 1, 1, 16), 'cuda:0')
    err = capsys.readouterr().err
    assert e.value.code == 2 and 'gcc' in err and '--compile=False' in err

# ---- the suite, and Slurm

def test_the_suite_hides_gpus_from_itself(tmp_path):
    """Else eval_xe.py would run on CUDA here and there, and what stands in for a GPU be skipped."""
    assert os.environ['CUDA_VISIBLE_DEVICES'] == '' and not torch.cuda.is_available()
    (tmp_path / 'torch.py').write_text(  # one that says what it would see
        'import os; print(repr(os.environ["CUDA_VISIBLE_DEVICES"]))')
    done = subprocess.run(
        [sys.executable, '-c', 'import conftest'], capture_output=True, text=True,
        env=os.environ | {'CUDA_VISIBLE_DEVICES': '0', 'PYTHONPATH': f'{tmp_path}:{ROOT}/tests'})
    assert done.stdout.startswith("''")
