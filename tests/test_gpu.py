"""
tests/gpu.py without a GPU (.ci/run runs the whole of it), and the choice of a device where torch
believes in some GPUs.
"""
import contextlib
import json
import os
import signal
import sys
import time
from types import SimpleNamespace

import gpu
import pytest
import torch
from conftest import TRAIN, run
from torch.overrides import TorchFunctionMode

import machine
import model
from machine import choose_device, choose_dtype

TINY = ['--device=cpu', '--tiny']


# ---- tests/gpu.py

def test_a_row_that_goes_wrong_is_a_fault_and_the_others_go_on(monkeypatch, capsys):
    def raises():
        raise ValueError('one line\nand another')

    def ends():
        gpu.fail('a mistake')

    def disagrees():
        return 'seen 3', 'expected 2', False

    def a_run_fails():
        gpu.train(['--dataset=nowhere'])

    def agrees():
        return 'seen 2', 'expected 2', True

    monkeypatch.setattr(gpu, 'ROWS', [raises, ends, disagrees, a_run_fails, agrees])
    assert gpu.main(TINY) == 1
    out, err = capsys.readouterr()
    table = ' '.join(out.split('check ')[1].split())
    assert 'raises ValueError: one line FAULT' in table and 'and another' in err
    assert 'ends SystemExit: 2 FAULT' in table
    assert 'disagrees seen 3 expected 2 FAULT' in table and 'agrees seen 2 expected 2 ok' in table
    assert 'data/nowhere' in table and 'train.py: data/nowhere is not a prepared data set' in err
    assert '1 ok, 4 FAULT, 0 skipped' in out


def test_a_row_that_hangs_is_a_fault_and_its_run_is_killed(monkeypatch, capsys):
    started = []

    def hangs():
        with gpu.launched(['--dataset=nowhere']) as (process, _):
            started.append(process)
            time.sleep(600)
    monkeypatch.setattr(gpu, 'ROWS', [hangs])
    monkeypatch.setattr(gpu, 'ROW_LIMIT', 0.5)
    assert gpu.main(TINY) == 1
    assert 'TimeoutError: took longer than' in capsys.readouterr().out
    assert started[0].returncode == -signal.SIGKILL


def test_rows_are_skipped_when_the_time_is_spent(monkeypatch, capsys):
    monkeypatch.setattr(gpu, 'BUDGET', 0)
    assert gpu.main(TINY) == 0
    out = capsys.readouterr().out
    assert out.count('the 0 s are spent') == len(gpu.ROWS) and '0 ok, 0 FAULT' in out


@pytest.fixture
def on_cuda(monkeypatch):
    """The rows believe in two H100; nothing runs on them."""
    monkeypatch.setattr(gpu, 'cuda', True)
    monkeypatch.setattr(gpu, 'tiny', False)
    monkeypatch.setitem(sys.modules, 'triton', SimpleNamespace(__version__='3.7.1'))
    for name, answer in {'get_device_name': 'NVIDIA H100 80GB HBM3', 'device_count': 2,
                         'get_device_capability': (9, 0)}.items():
        monkeypatch.setattr(torch.cuda, name, lambda answer=answer: answer)


def test_versions_name_the_gpu(on_cuda):
    assert '2 x NVIDIA H100 80GB HBM3, sm_90' in gpu.versions()[0]


@pytest.mark.parametrize('tokens, peak, ok', [(2.8e6, 7e9, True), (1e6, 7e9, False),
                                              (2.8e6, 12e9, False)])
def test_speed_is_held_against_what_was_reckoned(on_cuda, monkeypatch, tokens, peak, ok):
    monkeypatch.setattr(gpu, 'train', lambda *args: {'speed': tokens, 'peak': peak})
    measured, _, as_reckoned = gpu.speed()
    assert as_reckoned == ok and '79.3 MFLOP a token' in measured
    assert f'{79.3e6 * tokens / 989e12:.1%} of 989 TFLOP/s' in measured


@pytest.mark.parametrize('attention, ok', [
    (('pytorch_flash::flash_fwd_kernel', 'pytorch_flash::flash_fwd_kernel'), True),
    (('pytorch_flash::flash_fwd_kernel', 'cudnn_generated_sdpa_sm90_flash_fprop'), False),
    (('cudnn_generated_sdpa_sm90_flash_fprop', 'cudnn_generated_sdpa_sm90_flash_fprop'), False),
    (('gemm', 'gemm'), False),
])
def test_a_profile_tells_busy_time_and_attention(on_cuda, monkeypatch, tmp_path, attention, ok):
    for what, kernel in zip(('train', 'eval'), attention):  # 3 + 1 of 8 ms, two kernels at once
        events = [{'cat': 'kernel', 'name': kernel, 'ts': 1000, 'dur': 3000},
                  {'cat': 'kernel', 'name': 'triton_cudnn_fused', 'ts': 2000, 'dur': 1000},
                  {'cat': 'gpu_memcpy', 'name': 'copy', 'ts': 8000, 'dur': 1000},
                  {'cat': 'cpu_op', 'name': 'cudnn', 'ts': 0, 'dur': 90000}]
        (tmp_path / f'run-{what}.json').write_text(json.dumps({'traceEvents': events}))
    monkeypatch.setattr(gpu, 'train', lambda *args, **more: {'folder': tmp_path / 'run'})
    measured, _, same = gpu.profile()
    assert same == ok and measured.count('busy 50% of 8 ms') == 2
    assert f'3.0 ms {attention[0]}' in measured and '90.0 ms' not in measured


@pytest.mark.parametrize('fails', [False, True])
def test_the_mps_daemon_is_always_stopped(on_cuda, monkeypatch, tmp_path, fails):
    control = tmp_path / 'nvidia-cuda-mps-control'
    control.write_text(f'#!/bin/sh\necho "$1 $CUDA_MPS_PIPE_DIRECTORY" >> {tmp_path}/calls\n'
                       f'[ "$1" ] || cat >> {tmp_path}/calls\n')
    control.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    seen = []

    def several(**environment):
        seen.append(environment['CUDA_MPS_PIPE_DIRECTORY'])
        if fails:
            raise RuntimeError
        return 'measured', '', True
    monkeypatch.setattr(gpu, 'several_processes', several)
    with pytest.raises(RuntimeError) if fails else contextlib.nullcontext():
        gpu.several_with_mps()
    assert (tmp_path / 'calls').read_text() == f'-d {seen[0]}\n {seen[0]}\nquit\n'


# ---- the choice of a device: torch's Python is real, and below it there are stand-ins

@pytest.fixture
def fake_cuda(monkeypatch):
    """
    fake_cuda(count): from here on torch.cuda sees that many GPUs, of compute capability 9.0 or as
    `majors` says. Returns the list of the devices that are set, which grows. Nothing runs on them.
    """
    if torch.cuda.is_available():
        pytest.skip('there is a GPU here: nothing to stand in for')
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
                '_cudart': SimpleNamespace(), '_get_device_properties': properties.__getitem__,
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


def test_the_stand_ins_leave_torch_its_own_checks(fake_cuda):
    devices = fake_cuda(1)
    for wrong in ('cuda', 'cpu'):
        with pytest.raises(ValueError):
            torch.cuda.set_device(wrong)
    with pytest.raises(RuntimeError):
        torch.cuda.set_device(1)
    assert devices == []


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
    with pytest.raises((NotImplementedError, RuntimeError), match='CUDA'):
        run('train.py', *on_cuda_device(TRAIN), '--k=2', '--out_dir=gpu/none')
    assert devices == [1] and not os.path.exists('gpu/none')


@pytest.mark.parametrize('accumulation', [1, 2])
def test_every_branch_of_a_run_on_cuda_is_that_of_the_cpu(fake_cuda, small, monkeypatch,
                                                          accumulation):
    """Gradients that stay in their place, CUDA's random state saved and set, a resume, the rest."""
    args = [*TRAIN, '--k=2', '--lr_decay_iters=20', '--compile=True', '--overwrite=True',
            f'--gradient_accumulation_steps={accumulation}', '--compile_mode=reduce-overhead']
    monkeypatch.setattr(torch.nn.Module, 'compile', lambda self, **settings: None)
    monkeypatch.setattr(model, 'try_compiler', lambda device: None)
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


@pytest.mark.skipif(torch.cuda.is_available(), reason='torch can use the GPU')
def test_a_gpu_that_torch_cannot_use_is_not_passed_over(monkeypatch, capsys):
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
    monkeypatch.setattr(model, 'try_compiler', missing)
    with pytest.raises(SystemExit) as e:
        machine.compile_model(model.GPT(16, 4, 1, 1, 16), 'cuda:0')
    err = capsys.readouterr().err
    assert e.value.code == 2 and 'install gcc' in err and '--compile=False' in err
