"""Settles on a machine with a GPU what cannot be checked without one.

    python tests/gpu.py                        # eight minutes at most; no data, no network
    python tests/gpu.py --rows=head,profile    # these rows alone
    python tests/gpu.py --device=cpu --tiny    # tries this script: what needs CUDA is skipped

A row is printed, and appended to --file, line by line as it is measured; the most telling come
first. A row that raises is a FAULT, and the others go on; what went wrong goes to stderr and to the
file in full. The exit status is 1 after a FAULT, else 0. All ends within 480 s, imports included.
"""
import time

BEGAN = time.perf_counter()
import argparse
import contextlib
import copy
import csv
import faulthandler
import functools
import itertools
import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from unittest import mock

import numpy as np
import torch
import torch._functorch.config
from torch.optim.optimizer import register_optimizer_step_post_hook

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)
from configurator import fail, file_hash, read_settings, replace_file, sealed
from machine import choose_device, choose_dtype, compile_model
from model import GPT, TokenXE

ROW_LIMIT, BUDGET, LAST = 150, 465, 478  # seconds: of one row, of all; then no process is left
# dense bfloat16 FLOP/s and bytes a second, of the vendor's data sheets, by torch's name in full:
# part of a name may be another card's (GH200, a slice of an H100, a laptop's 4090)
CARDS = {'NVIDIA H100 80GB HBM3': (989e12, 3.35e12), 'NVIDIA H100 PCIe': (756e12, 2.0e12),
         'NVIDIA H100 NVL': (835e12, 3.9e12),
         'NVIDIA H200': (989e12, 4.8e12), 'NVIDIA H200 NVL': (835e12, 4.8e12),
         'NVIDIA A100-SXM4-40GB': (312e12, 1.555e12), 'NVIDIA A100-PCIE-40GB': (312e12, 1.555e12),
         'NVIDIA A100-SXM4-80GB': (312e12, 2.039e12), 'NVIDIA A100 80GB PCIe': (312e12, 1.935e12),
         'NVIDIA GeForce RTX 4090': (165e12, 1.008e12)}
# bytes of a step's kernels but the head's products: see roofline. HEAD_BYTES was 9.8e9 while
# TokenXE kept the logits, and took logsumexp in two passes
TRUNK_BYTES, HEAD_BYTES = 18.7e9, 6.6e9
TINY = {'n_layer': 1, 'n_head': 2, 'n_embd': 16, 'dropout': 0.0, 'block_size': 16, 'batch_size': 8,
        'val_windows_per_component': 32, 'warmup_iters': 2, 'dtype': 'float32', 'compile': False}
GRAPHS = ['--compile=True', '--compile_mode=reduce-overhead']
device, cuda, tiny, asked, began, work = 'cpu', False, True, [], BEGAN, ''  # main sets them
record = None  # the file of the rows, open

class Skipped(Exception):
    """Why a row is skipped."""

def note(text, stream=None):
    """Prints lines, and appends them to the file, at once."""
    for f in [stream or sys.stdout] + [record] * bool(record):
        print(text, file=f, flush=True)

# -----------------------------------------------------------------------------
# runs of train.py, each in a process of its own

def write_data_set(name, vocab_size, T):
    """Writes data/<name>: one component, 2,000 documents of 10 T tokens to train on and 100 in each
    other split. Each token is the one before plus one of eight steps: ln 8 nats can be learned.
    """
    folder, rng, splits = os.path.join(work, 'data', name), np.random.default_rng(0), {}
    os.makedirs(os.path.join(folder, 'a'))
    for split, docs in (('train', 2000), ('val', 100), ('test', 100)):
        tokens = (7 * rng.integers(0, 8, docs * 10 * T)).cumsum() % (vocab_size - 1)
        path = os.path.join(folder, 'a', f'{split}.bin')
        tokens.astype('<u2').tofile(path)
        np.save(os.path.join(folder, 'a', f'{split}.idx.npy'), np.arange(docs + 1) * 10 * T)
        splits[split] = {'docs': docs, 'tokens': len(tokens), 'bytes': len(tokens),
                         'sha256': file_hash(path)}
    with open(os.path.join(folder, 'meta.json'), 'w') as f:
        json.dump(sealed({'dataset': name, 'source': 'random', 'tokenizer': 'none',
                          'components': {'a': splits}, 'vocab_size': vocab_size,
                          'bos_id': vocab_size - 1}), f)

def default_run(max_iters, log_interval=1000, *args):
    """Returns train.py's arguments for a run of its default size with V = 32,000."""
    size = [f'--{key}={value}' for key, value in TINY.items()] if tiny else []
    return [f'--dataset=v{64 if tiny else 32000}', *size, f'--max_iters={max_iters}', *args,
            f'--log_interval={log_interval}', '--eval_interval=1000']

def small_run(*args):
    """Returns train.py's arguments for a run of config/cpu.py's size with V = 1,024."""
    if tiny:
        return [*default_run(200, 10), '--eval_interval=50', *args]
    return [os.path.join(ROOT, 'config/cpu.py'), '--dataset=v1024', '--patience=0',
            '--max_iters=1000', '--eval_interval=250', '--log_interval=50', *args]

def quick_compile(function, mode=None, compile=torch.compile, **more):
    """torch.compile without its code generator, which takes a minute on a CPU."""
    return compile(function, backend='aot_eager', **more)

def watch(how, folder, *args):
    """What a child does: train.py with these arguments, until the parent's time is over. Writes
    <folder>.json: when it ended each step, how many it had ended when each CUDA graph was recorded,
    and bytes of the GPU at most. How: 'sync', what waits for the GPU between steps 3 and 49 raises;
    'profile', steps 21 to 30 and the evaluation after step 50 are traced to <folder>-train.json and
    -eval.json.
    """
    faulthandler.dump_traceback_later(max(1, float(os.environ['ENDS']) - time.time()), exit=True)
    times, recorded, traces = [], [], []

    def after_step(*_):
        times.append(time.time())
        if how == 'sync':
            torch.cuda.set_sync_debug_mode('error' if 2 < len(times) < 49 else 'default')
        if how == 'profile' and len(times) == 30:
            end_trace('train')
        if how == 'profile' and len(times) in (20, 50):
            traces.append(torch.profiler.profile())
            traces[-1].start()

    def end_trace(name):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        traces[-1].stop()
        traces[-1].export_chrome_trace(f'{folder}-{name}.json')

    register_optimizer_step_post_hook(after_step)
    if GRAPHS[1] in args:
        watch_graphs(lambda: recorded.append(len(times)))
    sys.argv = ['train.py', *args]
    if 'TINY' in os.environ:
        torch.compile = quick_compile
    try:
        runpy.run_path(os.path.join(ROOT, 'train.py'), run_name='__main__')
        if how == 'profile':
            end_trace('eval')
    finally:
        peak = torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else 0
        with open(f'{folder}.json', 'w') as f:
            json.dump({'times': times, 'recorded': recorded, 'peak': peak}, f)

def watch_graphs(function):
    """Calls a function whenever torch.compile records a CUDA graph."""
    from torch._inductor.cudagraph_trees import CUDAGraphTreeManager
    record_function = CUDAGraphTreeManager.record_function

    def watched(*args):
        function()
        return record_function(*args)
    CUDAGraphTreeManager.record_function = watched

@contextlib.contextmanager
def launched(args, how='', folder='', processes=1, **environment):
    """Starts train.py, which prints to <folder>.txt; gives (process, folder, when it was started);
    ends with its end.
    """
    folder = folder or tempfile.mkdtemp(dir=work)
    torchrun = ['-m', 'torch.distributed.run', '--standalone', f'--nproc_per_node={processes}']
    command = [sys.executable, *(torchrun if processes > 1 else []), __file__, 'watch', how, folder]
    environment |= {'ENDS': str(time.time() + began + LAST - time.perf_counter())} | (
        {'TINY': '1', 'OMP_NUM_THREADS': '1'} if tiny else {})
    with open(f'{folder}.txt', 'w') as f:
        start, process = time.time(), subprocess.Popen(
            [*command, *args, *asked, '--components=a', f'--out_dir={folder}'], cwd=work,
            env=os.environ | environment, stdout=f, stderr=f, start_new_session=True)
    try:
        yield process, folder, start
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

def finish(process, folder, start, status=0):
    """Waits for a run to end with that status. Returns what watch() wrote of it, and `folder`;
    `start`; `val_xe`, the last; `speed`, the median of tokens a second; `step_tokens`. Raises what
    it printed where it fails.
    """
    process.wait()
    with open(f'{folder}.txt') as f:
        lines = [line for line in re.split(r'[\r\n]+', f.read()) if line.strip()]
    says = [line for line in lines if re.match(r'train\.py: |[\w.]*(Error|Exception)\b', line)]
    eager = [line for line in lines if line.startswith('torch.compile does not work')]
    if process.returncode != status or eager:
        first, = (eager or says or lines or ['it printed nothing'])[-1:]
        raise RuntimeError('\n'.join([f'status {process.returncode}: {first}', *lines[-40:]]))
    rows, watched = read_log(folder), {}
    speeds = [float(row['tokens_per_second']) for row in rows if row['tokens_per_second']]
    if os.path.exists(f'{folder}.json'):
        with open(f'{folder}.json') as f:
            watched = json.load(f)
    return watched | {'folder': folder, 'start': start,
                      'speed': float(np.median(speeds[2:] or speeds or [0])),
                      'step_tokens': int(rows[-1]['tokens']) / max(1, int(rows[-1]['iter'])),
                      'val_xe': float([row['val_xe'] for row in rows if row['val_xe']][-1])}

def read_log(folder):
    """Returns the rows of log.csv that are there by now, dicts."""
    if not os.path.exists(f'{folder}/log.csv'):
        return []
    with open(f'{folder}/log.csv', newline='') as f:
        return [row for row in csv.DictReader(f) if None not in row.values()]

def train(args, **more):
    """Runs train.py to its end; returns what finish() does."""
    with launched(args, **more) as run:
        return finish(*run)

@functools.cache
def train_once(*args):
    """For runs that several rows look at."""
    return train(args)

def need(there, what):
    if not there:
        raise Skipped(f'needs {what}')

# -----------------------------------------------------------------------------
# the rows: each notes what it measures; returns (what is expected, whether it is so)

def versions():
    def first_line(*command):
        path = shutil.which(command[0])
        return path and subprocess.run(command, capture_output=True,
                                       text=True).stdout.split('\n')[0]

    compiler = first_line(os.environ.get('CC', 'cc'), '--version') or first_line('gcc', '--version')
    note(f'Python {sys.version.split()[0]}, torch {torch.__version__}; {compiler or "no gcc"}')
    if cuda:
        import triton
        driver = (first_line('nvidia-smi', '--query-gpu=driver_version', '--format=csv,noheader')
                  or first_line('head', '-n1', '/proc/driver/nvidia/version'))
        note(f'CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}, triton'
             f' {triton.__version__}, driver {driver}')
        note(f'{torch.cuda.device_count()} x {torch.cuda.get_device_name()}, sm_%d%d'
             % torch.cuda.get_device_capability())
    return 'a C compiler; driver 580 or newer for CUDA 13', bool(compiler)

def first_step():
    args = default_run(1, 1000, '--compile=True')  # no row before this one fills the cache
    for what, function in (('cold', train), ('warm', lambda args: train_once(*args))):
        run = function(args)
        note(f'{what}: {run["times"][0] - run["start"]:.1f} s')
    return 'not reckoned', True

def no_waiting():
    need(cuda, 'CUDA')
    steps = len(train(default_run(50), how='sync')['times'])
    note(f'{steps} steps, nothing waited between logs')
    return '50 steps', steps == 50

def model_args():
    """Returns GPT's arguments at the default size without dropout; and the windows of a step."""
    size = {key: value for key, (value, _) in read_settings(f'{ROOT}/train.py').items()}
    size |= TINY if tiny else {}
    return {key: size[key] for key in ('n_layer', 'n_head', 'n_embd', 'block_size', 'bias')} | {
        'vocab_size': 64 if tiny else 32000}, size['batch_size']

def seconds_of(function):
    """Returns the seconds of a call that returns a tensor, the mean of ten after three."""
    for n in (3, 10):
        start = time.perf_counter()
        for _ in range(n):
            x = function()
        x.flatten()[0].item()  # waits for the device
        seconds = (time.perf_counter() - start) / n
    return seconds

def ceilings():
    n = 64 if tiny else 8192
    a, b = torch.randn(2, n, n, device=device, dtype=torch.bfloat16)
    rate = 2 * n ** 3 / seconds_of(lambda: a @ b)
    x = torch.randn(n * n * 8, device=device)  # 2.1 GB
    y = torch.empty_like(x)
    bandwidth = 8 * len(x) / seconds_of(lambda: y.copy_(x))
    note(f'a product of {n} x {n} in bfloat16: {rate / 1e12:.3g} TFLOP/s; a copy:'
         f' {bandwidth / 1e12:.3g} TB/s, read and written')
    if not tiny:
        note(f'with these a step of the default size would reach'
             f' {roofline(bandwidth, rate) / 1e6:.2f} M tokens/s')
    return 'data sheets: ' + (', '.join(f'{x / 1e12:.3g}' for x in CARDS.get(card(), ()))
                              or 'none known'), True

def card():
    return torch.cuda.get_device_name() if cuda else 'CPU'

def roofline(bandwidth, rate, vocab_size=32000):
    """Returns the tokens a second that a step of 512 x 100 at the default size would reach at this
    many bytes and FLOP a second, as read off the code that inductor writes for sm_90 (LOG.md): 28.5
    GB of kernels, which grow with the vocabulary in the head alone, and its three products of 3.3
    GB, which arithmetic may bound.
    """
    of_head = vocab_size / 32000
    product = max(3.32e9 / bandwidth, 0.84e12 / rate) * of_head
    return 51200 / ((TRUNK_BYTES + HEAD_BYTES * of_head) / bandwidth + 3 * product)

def attainable(vocab_size=32000):
    """Returns the roofline at the share of a data sheet's bandwidth, 5 in 6, and FLOP/s, 3 in 5,
    that kernels reach; None where the card or the size is another.
    """
    if tiny or card() not in CARDS:
        return None
    rate, bandwidth = CARDS[card()]
    return roofline(bandwidth * 5 / 6, rate * 3 / 5, vocab_size)

def note_speed(run, vocab_size=32000):
    """Notes a run's tokens a second beside the roofline, and its memory."""
    best = attainable(vocab_size)
    note(f'{run["speed"] / 1e6:.3f} M tokens/s, {1e3 * run["step_tokens"] / run["speed"]:.1f} ms a'
         ' step' + (f'; roofline {best / 1e6:.2f} M' if best else ''))
    if cuda:
        note(f'peak memory {run["peak"] / 1e9:.2f} GB')

def speed(*args):
    run = train(default_run(*((40, 10) if tiny else (400, 40)), *args))
    note_speed(run)
    size, _ = model_args()
    n = sum(p.numel() for name, p in GPT(**size).named_parameters() if 'wpe' not in name)
    flop = 6 * n + 12 * size['n_layer'] * size['n_embd'] * size['block_size']  # a token
    share = (f', {flop * run["speed"] / CARDS[card()][0]:.1%} of the data sheet'
             if card() in CARDS else '')
    note(f'{flop / 1e6:.3g} MFLOP a token: {flop * run["speed"] / 1e12:.3g} TFLOP/s{share}')
    return ('H100: 2.8 to 3.3 M tokens/s, at most 3.5; H200: 3.4 to 4.0, at most 4.5; 7.5 GB;'
            ' FAULT below half the roofline or above 11.3 GB, where the card is known',
            not attainable() or run['speed'] > attainable() / 2 and run['peak'] < 11.3e9)

def speed_with_tags():
    return speed('--tag=True')

def eager():
    need(cuda, 'CUDA')
    run = train(default_run(40, 10, '--compile=False'))
    note_speed(run)
    return ('2 to 3 times slower than compiled; under 20 GB, the head in chunks of 2^28 logits',
            run['peak'] < 20e9)

def two_chunks():
    need(cuda, 'CUDA')
    write_data_set('v50257', 50257, 100)  # more than 2^31 logits
    run = train(default_run(200, 20, '--dataset=v50257'))
    note_speed(run, 50257)
    return "gpt2's vocabulary; some 12 GB, as the logits of both chunks are kept", True

def head():
    size, batch_size = model_args()
    N, C, V = batch_size * size['block_size'], size['n_embd'], size['vocab_size']
    h, weight = (torch.randn(n, C, device=device, requires_grad=True) for n in (N, V))
    y, losses = torch.randint(V, (N,), device=device), []
    autocast = choose_dtype('bfloat16', device)[1]

    def step():
        with autocast:
            loss = compiled(h * 0.1, weight * 0.1, y).mean()
        loss.backward()
        h.grad = weight.grad = None
        return loss.detach()

    for cse, chunks in itertools.product((False, True), (1, 4, 16)):
        max_logits = -(-N // chunks) * V
        with torch._functorch.config.patch(cse=cse):
            torch._dynamo.reset()
            compiled = torch.compile(
                lambda h, weight, y, most=max_logits: TokenXE.apply(
                    h, weight, y, most, chunks == 1),
                fullgraph=True, dynamic=False)
            losses.append(float(step()))
            if cuda:
                torch.cuda.reset_peak_memory_stats()
            ms = 1e3 * seconds_of(step)
        peak = f', {torch.cuda.max_memory_allocated() / 1e9:.2f} GB' if cuda else ''
        note(f'{chunks} chunk{"s" * (chunks > 1)}, CSE {"on" if cse else "off"}: {ms:.2f} ms{peak}')
    return ('published: 4 chunks take 1.06 and 16 chunks 1.21 times as long as one; CSE keeps all'
            ' logits, 3.28 GB; equal losses', max(losses) - min(losses) < 0.01 * max(losses))

def profile():
    run = train(default_run(50), how='profile')
    of = ('kernel', 'gpu_memcpy', 'gpu_memset') if cuda else ('cpu_op',)
    families = []
    for what in ('train', 'eval'):
        with open(f'{run["folder"]}-{what}.json') as f:
            events = [e for e in json.load(f)['traceEvents'] if e.get('cat') in of]
        if not events:
            raise RuntimeError('the profiler saw no kernel; it may need other rights here')
        events.sort(key=lambda e: e['ts'])
        start, ms = (np.array([e[key] for e in events]) / 1e3 for key in ('ts', 'dur'))
        until, spent = np.maximum.accumulate(start + ms), {}
        busy = 1 - np.maximum(0, start[1:] - until[:-1]).sum() / (until[-1] - start[0])
        for e in events:
            spent[e['name']] = spent.get(e['name'], 0) + e['dur'] / 1e3
        names = [re.search('cudnn|flash|fmha', name.lower()) for name in spent
                 if not name.startswith('triton')]
        families.append({name[0] for name in names if name})  # cudnn_.._flash_.. is cuDNN's
        note(f'{what}: busy {busy:.0%} of {until[-1] - start[0]:.0f} ms, attention: '
             + (' and '.join(sorted(families[-1])) or 'not fused'))
        for name in sorted(spent, key=spent.get, reverse=True)[:5 + 5 * (what == 'train')]:
            note(f'  {spent[name]:.1f} ms {name[:80]}')
    return ('attention: flash in both, as cuDNN has no dropout',
            not cuda or families == [{'flash'}, {'flash'}])

def numbers():
    size, _ = model_args()
    torch.manual_seed(0)
    reference, ok = GPT(**size), True
    idx, targets = torch.randint(size['vocab_size'], (2, 16, size['block_size']))

    def losses_and_gradient(where, dtype, compiled=False):
        net = copy.deepcopy(reference).to(where)
        if compiled:
            compile_model(net, where, 'default')
        with choose_dtype(dtype, where)[1]:
            losses = net(idx.to(where), targets.to(where))
        losses.mean().backward()
        return losses.detach().cpu(), torch.cat([p.grad.flatten().cpu() for p in net.parameters()])

    def compare(what, a, b):
        mean, most = (a[0] - b[0]).mean().abs(), (a[0] - b[0]).abs().max()
        off = (a[1] - b[1]).norm() / b[1].norm()
        note(f'{what}: mean {mean:.1e}, one token {most:.1e} nats, gradient {off:.2%}')
        return bool(mean < 2e-3 and most < 2e-2 and off < 0.02)

    cpu, eager = (losses_and_gradient(where, 'float32') for where in ('cpu', device))
    ok = compare('float32, eager, minus CPU', eager, cpu)
    compiled = losses_and_gradient(device, 'bfloat16', compiled=True)
    ok &= compare('bfloat16, compiled, minus float32', compiled, eager)
    ok &= compare('bfloat16, compiled, minus CPU', compiled, cpu)
    return 'mean loss to 2e-3, of one token to 2e-2; gradient to 2% in norm', ok

def reduce_overhead():
    half, xe = [f'--batch_size={4 if tiny else 8}', '--gradient_accumulation_steps=2'], []
    for what, args in {'default': [], 'reduce-overhead': GRAPHS,
                       'and accumulation': GRAPHS + half}.items():
        xe.append(train_once(*small_run(*args))['val_xe'])
        note(f'{what}: val_xe {xe[-1]:.5f}')
    return 'equal to 1e-3 nats', max(xe) - min(xe) < 1e-3

def graphs():
    """Evaluation records one graph, whatever the number of its batches and of evaluations."""
    run = train_once(*small_run(*GRAPHS))
    late = [step for step in run['recorded'] if step > 300]  # the second evaluation is at 250
    note(f'{len(run["recorded"])} CUDA graphs recorded, {len(late)} after step 300')
    return ('3: a training step, its backward pass, evaluation; FAULT at none, over 8, or one after'
            ' step 300', not cuda or 0 < len(run['recorded']) <= 8 and not late)

def small_size():
    for mode, args in {'default': [], 'reduce-overhead': GRAPHS,
                       'eager': ['--compile=False']}.items():
        note(f'{mode}: {train_once(*small_run(*args))["speed"]:,.0f} tokens/s')
    return 'on a GPU bound by the host: reduce-overhead is the fastest', True

def saving():
    run = train_once(*default_run(1, 1000, '--compile=True'))  # that of first_step
    path = os.path.join(run['folder'], 'ckpt.pt')
    checkpoint, times = torch.load(path, map_location=device, weights_only=True), []
    for _ in range(3):
        start = time.perf_counter()
        replace_file(path, lambda f: torch.save(checkpoint, f))
        times.append(time.perf_counter() - start)
    note(f'{np.median(times):.2f} s for {os.path.getsize(path) / 1e6:.1f} MB, synced')
    return 'some 2 s for 157 MB', True

def wait_for_rows(run, n):
    """Waits until a launched run has n rows in log.csv, and a checkpoint."""
    process, folder, _ = run
    while len(read_log(folder)) < n or not os.path.exists(f'{folder}/ckpt.pt'):
        if process.poll() is not None:
            finish(*run)
            raise RuntimeError('the run was over before it could be interrupted')
        time.sleep(0.005)

@functools.cache
def terminated_run():
    """Returns the folder of a small run that SIGTERM ended."""
    with launched(small_run()) as run:
        wait_for_rows(run, 3)
        run[0].terminate()
        return finish(*run, status=128 + signal.SIGTERM)['folder']

def sigterm():
    folder = terminated_run()
    saved = torch.load(f'{folder}/ckpt.pt', map_location='cpu', weights_only=True)['iter_num']
    last = int(read_log(folder)[-1]['iter'])
    note(f'status 143, saved at step {saved} of {last}')
    return 'at the last', saved == last > 0

def kill_and_resume():
    folder, resume = terminated_run(), small_run('--init_from=resume')
    with launched(resume, folder=folder) as run:
        wait_for_rows(run, len(read_log(folder)) + 2)
        run[0].kill()
        run[0].wait()
    resumed = train(resume, folder=folder)['val_xe']
    steps = re.findall(r'resumed at step (\d+)', ' '.join(r['event'] for r in read_log(folder)))
    note(f'val_xe {resumed:.6f}, resumed at step {" and ".join(steps)}')
    whole = train_once(*small_run())['val_xe']
    note(f'undisturbed {whole:.6f}')
    apart = abs(resumed - whole)
    return ('equal on a CPU, to 1e-3 nats on a GPU',
            bool(steps) and (apart < 1e-3 if cuda else apart == 0))

def several_gpus():
    need(cuda, 'CUDA')
    need(torch.cuda.device_count() > 1, 'two GPUs')
    n = 4 if torch.cuda.device_count() > 3 else 2
    one, several = train_once(*small_run()), train(small_run(), processes=n)
    note(f'val_xe {one["val_xe"]:.5f}, by torchrun with {n} {several["val_xe"]:.5f}')
    speeds = [train(default_run(200, 20), processes=count)['speed'] for count in (1, n)]
    note(f'default size: {speeds[0] / 1e6:.3f} and {speeds[1] / 1e6:.3f} M tokens/s,'
         f' {speeds[1] / speeds[0]:.2f} times')
    return ('val_xe equal to 1e-3 nats; four GPUs are 3.5 times as fast, FAULT below half of that',
            abs(one['val_xe'] - several['val_xe']) < 1e-3 and speeds[1] > speeds[0] * 1.75 * n / 4)

def speed_together(n, **environment):
    """Returns the tokens a second of n small runs at once, in all, while all of them train."""
    with contextlib.ExitStack() as stack:
        runs = [stack.enter_context(launched(small_run('--max_iters=1000000'), **environment))
                for _ in range(n)]
        for run in runs:
            wait_for_rows(run, 3)
        time.sleep(1 if tiny else 8)
        for process, *_ in runs:
            process.terminate()
        return count_tokens([finish(*run, status=128 + signal.SIGTERM) for run in runs])

def count_tokens(runs):
    """Returns the tokens a second of runs from the last one's first step to the first one's end."""
    start, end = max(run['times'][0] for run in runs), min(run['times'][-1] for run in runs)
    if start >= end:
        raise RuntimeError('the runs did not overlap')
    return sum(run['step_tokens'] * sum(start < time <= end for time in run['times'])
               for run in runs) / (end - start)

def several_processes(**environment):
    note(f'1: {train_once(*small_run())["speed"]:,.0f} tokens/s')
    for n in (2,) if tiny else (4, 8):
        note(f'{n}: {speed_together(n, **environment):,.0f} tokens/s in all')
    return 'not reckoned', True

def several_with_mps():
    need(cuda, 'CUDA')
    control = shutil.which('nvidia-cuda-mps-control')
    need(control, 'nvidia-cuda-mps-control')
    # a short path, as it holds sockets; the daemon may write to it until it has ended, and after
    with tempfile.TemporaryDirectory(prefix='mps', ignore_cleanup_errors=True) as folder:
        where = {'CUDA_MPS_PIPE_DIRECTORY': folder, 'CUDA_MPS_LOG_DIRECTORY': folder}
        run = functools.partial(subprocess.run, env=os.environ | where, text=True)
        try:
            try_mps(control, run)
            return several_processes(**where)
        finally:
            with contextlib.suppress(subprocess.TimeoutExpired):  # it waits for a client
                run([control], input='quit\n', timeout=10, capture_output=True)

def try_mps(control, run):
    """Starts the MPS daemon and one cheap client of it; a container may allow neither."""
    try:
        need(run([control, '-d'], timeout=20).returncode == 0, 'an MPS daemon: none starts here')
        client = run([sys.executable, '-c', f'import torch; torch.ones(1, device="{device}") + 1'],
                     timeout=60, capture_output=True)
        need(client.returncode == 0, 'an MPS daemon that serves: its client ended with '
             + (client.stderr.strip().splitlines() or ['no word'])[-1][:200])
    except subprocess.TimeoutExpired as e:
        raise Skipped(f'needs an MPS daemon that answers: {e}') from None

ROWS = [versions, first_step, no_waiting, numbers, ceilings, speed, sigterm, kill_and_resume,
        saving, reduce_overhead, graphs, several_gpus, small_size, profile, eager,
        several_processes, several_with_mps, two_chunks, head, speed_with_tags]

# -----------------------------------------------------------------------------
# all rows

def check(row):
    """Runs a row, and notes how it ended; returns that: 'ok', 'skipped', or 'FAULT' where it
    raises, takes too long, or finds what was not expected.
    """
    def too_long(number, frame):
        raise TimeoutError(f'took longer than {seconds:.0f} s')

    start = time.perf_counter()
    seconds, status = min(ROW_LIMIT, began + BUDGET - start), 'FAULT'
    if seconds <= 0:
        note(f'skipped: the {BUDGET} s are spent')
        return 'skipped'
    handler = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        expected, ok = row()
        status, word = 'ok' if ok else 'FAULT', f'; expected: {expected}'
    except Skipped as e:
        status, word = 'skipped', f': {e}'
    except (Exception, SystemExit) as e:  # whatever a machine that was never seen may give
        signal.setitimer(signal.ITIMER_REAL, 0)
        note(traceback.format_exc(), sys.stderr)
        word = f': {type(e).__name__}: {(str(e).splitlines() or [""])[0]}'
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        torch._dynamo.reset()
        if cuda:
            torch.cuda.empty_cache()
    note(f'{status}, {time.perf_counter() - start:.0f} s{word}')
    return status

def choose_rows(names):
    """Returns the rows of these names, with commas between; all for ''."""
    chosen = [row for row in ROWS if not names or row.__name__ in names.split(',')]
    if names and len(chosen) < len(names.split(',')):
        fail(f'--rows={names}: there are {",".join(row.__name__ for row in ROWS)}')
    return chosen

def main(args, start=None):
    """Runs the rows; returns the exit status."""
    global device, cuda, tiny, asked, began, work, record
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--device', default='', help="cuda, cuda:1 or cpu; '' = the best there is")
    parser.add_argument('--tiny', action='store_true', help='small models, for a CPU')
    parser.add_argument('--rows', default='', help="names with commas between; '' = all")
    parser.add_argument('--file', default='out/gpu.txt', help='what the rows are appended to')
    options = parser.parse_args(args)
    began, rows = start or time.perf_counter(), choose_rows(options.rows)
    device, tiny = choose_device(options.device), options.tiny
    cuda = device.startswith('cuda')
    asked = [f'--device={options.device}'] if options.device else []
    if not cuda and not tiny:
        fail('there is no CUDA device here; --device=cpu --tiny tries the script itself')
    if tiny:
        torch.set_num_threads(1)  # as its runs do
    os.makedirs(os.path.dirname(options.file) or '.', exist_ok=True)
    with open(options.file, 'a') as record, tempfile.TemporaryDirectory(
            prefix='gpu', ignore_cleanup_errors=True) as work, mock.patch.dict(
            os.environ, TORCHINDUCTOR_CACHE_DIR=os.path.join(work, 'cache')), mock.patch.object(
            torch, 'compile', quick_compile if tiny else torch.compile):
        for vocab_size, T in ((64, 16),) if tiny else ((32000, 100), (1024, 100)):
            write_data_set(f'v{vocab_size}', vocab_size, T)
        ends = []
        for i, row in enumerate(rows):
            note(f'\n[{i + 1}/{len(rows)}] {row.__name__}')
            ends.append(check(row))
        counts = [f'{ends.count(status)} {status}' for status in ('ok', 'FAULT', 'skipped')]
        note(f'\n{", ".join(counts)}, in {time.perf_counter() - began:.0f} s')
    record = None
    return int('FAULT' in ends)

if __name__ == '__main__':
    if sys.argv[1:2] == ['watch']:
        watch(*sys.argv[2:])
    else:  # what no alarm can end
        faulthandler.dump_traceback_later(BEGAN + LAST - time.perf_counter(), exit=True)
        sys.exit(main(sys.argv[1:], BEGAN))
