"""The machine: which device and number type a run uses, and how its model is compiled."""
import ctypes
import glob
import os
import re
import warnings
from contextlib import nullcontext

import torch

from configurator import cpu_cores, fail, say

def find_ranks():
    """Returns (rank, number of processes) as torchrun sets them; (0, 1) without WORLD_SIZE > 1,
    whatever RANK a platform sets. Fails without RANK or MASTER_ADDR where there are several."""
    world_size = int(os.environ.get('WORLD_SIZE', 1))
    if world_size < 2:
        return 0, 1
    if not {'RANK', 'MASTER_ADDR'} <= os.environ.keys():
        fail(f'WORLD_SIZE={world_size} in the environment, and no RANK or MASTER_ADDR: start it by'
             ' torchrun, or unset WORLD_SIZE')
    return int(os.environ['RANK']), world_size

def choose_device(device=''):
    """Returns the device asked for, or the best there is: 'cpu', 'mps', or 'cuda:0' with its
    number, which becomes the current one: of several processes that of LOCAL_RANK, or the only one
    in sight. Fails where it is not here, or torch cannot use the GPU, unless asked for cpu."""
    has_cuda, has_mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    is_hidden = os.environ.get('CUDA_VISIBLE_DEVICES', '0') in ('', '-1')
    if device[:4] in ('', 'cuda') and not (has_cuda or is_hidden) and (
            glob.glob('/proc/driver/nvidia/gpus/*') or glob.glob('/dev/nvidia[0-9]*')):
        kind = f'for CUDA {torch.version.cuda}' if torch.version.cuda else 'without CUDA'
        fail(f'torch {torch.__version__}, built {kind}, cannot use the NVIDIA GPU that is here:'
             ' update the driver (CUDA 13 needs 580 or newer; nvidia-smi shows it), or install the'
             ' torch that fits it from pytorch.org, or go on without the GPU: --device=cpu')
    kinds = ['cuda'] * has_cuda + ['mps'] * has_mps + ['cpu']  # the best first
    kind, _, number = (device or kinds[0]).partition(':')
    if kind not in kinds or (number and kind != 'cuda'):
        fail(f'--device={device}: this machine has {", ".join(kinds)}')
    if kind == 'cpu':
        keep_freed_memory()
        if not os.environ.get('OMP_NUM_THREADS'):  # torch does not know of a container's quota
            torch.set_num_threads(min(torch.get_num_threads(), cpu_cores()))
    if kind != 'cuda':
        return kind
    count = torch.cuda.device_count()
    if not number:  # srun --gpus-per-task=1 shows each process a single GPU, torchrun all of them
        alone = count == 1 and 'TORCHELASTIC_RUN_ID' not in os.environ
        number = '0' if alone else os.environ.get('LOCAL_RANK', '0')
    if not number.isdigit() or int(number) >= count:
        fail(f'--device=cuda:{number}: this machine has {count} GPU{"s" * (count > 1)} for'
             f' {os.environ.get("LOCAL_WORLD_SIZE", 1)} process(es)')
    torch.cuda.set_device(int(number))
    # cuDNN's attention refuses dropout: one kernel, flash, for training and for evaluation
    torch.backends.cuda.enable_cudnn_sdp(False)
    return f'cuda:{number}'

def keep_freed_memory():
    """Has glibc, where it is there, keep what is freed for the next step. Else the system clears
    large blocks anew each time, up to a third of a small step (LOG.md 2026-11-25)."""
    try:
        mallopt = ctypes.CDLL('libc.so.6').mallopt
    except (OSError, AttributeError):
        return
    mallopt(-3, 2**30)  # M_MMAP_THRESHOLD: smaller blocks come from the heap,
    mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: whose end stays with the process

def choose_dtype(dtype, device):
    """Returns (the number type of matrix products, float32 or bfloat16; the context that a forward
    pass runs in). '' stands for bfloat16 where the device has units for it: a GPU, or AMX on a CPU.
    Others take twice as long in it (LOG.md 2026-11-24), or were not measured. Weights and softmax
    are float32 in either; float32 is float32 on a GPU too, not TF32. Call choose_device first."""
    kind = device.partition(':')[0]
    if not dtype:
        has_units = kind == 'cuda' and torch.cuda.is_bf16_supported(including_emulation=False) or (
            kind == 'cpu' and torch.cpu._is_amx_tile_supported())
        dtype = 'bfloat16' if has_units else 'float32'
    if dtype not in ('float32', 'bfloat16'):
        fail(f'--dtype={dtype}: choose float32 or bfloat16')
    return dtype, torch.autocast(kind, torch.bfloat16) if dtype == 'bfloat16' else nullcontext()

def try_compiler(device):
    """Compiles and runs something small on the device; raises what that raises."""
    torch.compile(torch.exp)(torch.zeros(64, device=device))  # by vector instructions

def compile_model(model, device, mode='default'):
    """Compiles a model's forward in place, as one graph for one shape, so that its parameters keep
    their names. Where torch.compile does not work (no C++ compiler, say) a CPU goes on without it,
    which one line says; on a GPU, where a run would take days, it fails and names the remedy."""
    if device == 'mps':  # whose compiler lacks operations of the model
        return
    threads = cpu_cores() // int(os.environ.get('LOCAL_WORLD_SIZE', 1))  # of each process here
    if not os.environ.get('TORCHINDUCTOR_COMPILE_THREADS', '').isdigit():  # torch fails at ''
        os.environ['TORCHINDUCTOR_COMPILE_THREADS'] = str(max(1, min(32, threads)))
    import torch._dynamo  # they take a second, which a script that does not compile need not wait
    import torch._functorch.config
    import torch._inductor.config
    # without this a start takes 3 s more (LOG.md)
    torch._functorch.config.autograd_cache_allow_custom_autograd_functions = True
    # with common subexpressions removed, the logits that TokenXE recomputes would be kept instead
    torch._functorch.config.cse = False
    torch._dynamo.config.recompile_limit = 10_000  # one for each shape of model
    torch._dynamo.config.accumulated_recompile_limit = 10_000
    torch._dynamo.config.optimize_ddp = False  # one graph, the same for one process and for several
    warnings.filterwarnings('ignore', message='TensorFloat32')  # left off on purpose
    # torch's own test of vector instructions takes a second at each start, ours uses them
    torch._inductor.config.cpp.vec_isa_ok = True
    try:
        try:
            try_compiler(device)
        except Exception:  # whatever a compiler that is missing, old or broken gives
            torch._inductor.config.cpp.vec_isa_ok = None
            torch._inductor.cpu_vec_isa.valid_vec_isa_list.cache_clear()
            try_compiler(device)
    except Exception as e:
        reasons = re.findall('.*(?:error|Error|not found|No such).*', str(e)) or [str(e)]
        cause = ' '.join(reasons[0].split())[:200]
        needed = 'python3-dev (its Python.h)' if 'Python.h' in str(e) else 'gcc'
        if device.startswith('cuda'):
            fail(f'torch.compile does not work here ({cause}): install {needed}, or go on without'
                 ' it, 2 to 3 times slower, by --compile=False')
        say(f'torch.compile does not work here, going on without it, slower: {cause}')
        return
    model.compile(fullgraph=True, dynamic=False, mode=mode)
