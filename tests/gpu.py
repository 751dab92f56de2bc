"""
Settles on a machine with a GPU what cannot be checked without one, and prints one table.

    python tests/gpu.py                        # ten minutes on one H100; no data, no network
    python tests/gpu.py --device=cpu --tiny    # tries this script: what needs CUDA is skipped

A row that fails or raises is a FAULT, and the others go on. The exit status is then 1, else 0.
What a faulty row printed goes to stderr at once. Rows are skipped when ten minutes are over.
"""
import argparse
import contextlib
import copy
import csv
import faulthandler
import functools
import glob
import hashlib
import itertools
import json
import os
import platform
import re
import resource
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import traceback
from unittest import mock

import numpy as np
import torch
import torch._functorch.config
from tqdm import tqdm

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)
import model as model_file
from configurator import fail, read_settings, replace_file
from model import GPT, TokenXE, choose_device, choose_dtype, compile_model

BUDGET, ROW_LIMIT = 600, 180  # seconds: of all rows, of one
PEAK = {'H100 PCIe': 756e12, 'H100': 989e12, 'H200': 989e12, 'A100': 312e12}  # dense bf16 FLOP/s
TINY = ['--dataset=v64', '--n_layer=1', '--n_head=2', '--n_embd=16', '--dropout=0.0',
        '--block_size=16', '--batch_size=8', '--val_windows_per_component=32', '--warmup_iters=2']
device, tiny, asked, began, work = 'cpu', True, '', 0.0, ''  # main sets them


class Skipped(Exception):
    """Why a row is skipped."""


# -----------------------------------------------------------------------------
# runs of train.py, each in a process of its own

def write_data_set(name, vocab_size, T):
    """
    Writes data/<name> to the work folder: one component, 2,000 documents of 10 T tokens to train on
    and 100 in each other split. A token is the one before it plus one of eight steps, so that there
    is something to learn: the entropy rate is ln 8 nats.
    """
    folder, rng, splits = os.path.join(work, 'data', name), np.random.default_rng(0), {}
    os.makedirs(os.path.join(folder, 'a'))
    for split, docs in (('train', 2000), ('val', 100), ('test', 100)):
        tokens = (7 * rng.integers(0, 8, docs * 10 * T)).cumsum() % (vocab_size - 1)
        raw = tokens.astype('<u2').tobytes()
        with open(os.path.join(folder, 'a', f'{split}.bin'), 'wb') as f:
            f.write(raw)
        np.save(os.path.join(folder, 'a', f'{split}.idx.npy'), np.arange(docs + 1) * 10 * T)
        splits[split] = {'docs': docs, 'tokens': len(tokens), 'bytes': len(tokens),
                         'sha256': hashlib.sha256(raw).hexdigest()}
    with open(os.path.join(folder, 'meta.json'), 'w') as f:
        json.dump({'dataset': name, 'source': 'random', 'tokenizer': 'none', 'components':
                   {'a': splits}, 'vocab_size': vocab_size, 'bos_id': vocab_size - 1}, f)


def default_args(*args):
    """Returns train.py's arguments for its default size, V = 32,000."""
    return [*(TINY if tiny else ['--dataset=v32000']), '--components=a', *args]


def small_args(*args):
    """Returns train.py's arguments for a run of config/cpu.py's size, V = 1,024."""
    size = TINY if tiny else [os.path.join(ROOT, 'config/cpu.py'), '--dataset=v1024']
    steps = (200, 50, 10) if tiny else (1000, 250, 50)
    return [*size, '--components=a', '--patience=0', *args, *(
        f'--{key}={n}' for key, n in zip(('max_iters', 'eval_interval', 'log_interval'), steps)
        if not any(arg.startswith(f'--{key}=') for arg in args))]


def watch(how, folder, *args):
    """
    What a child does: train.py with these arguments. Writes <folder>.json: the seconds from its
    launch to the end of the first step, its number of steps, and the most memory it held, in bytes.
    How: 'sync', what waits for the GPU between the third step and the 49th raises; 'profile',
    steps 21 to 30 and all after the 50th are traced to <folder>-train.json and <folder>-eval.json.
    """
    times, update = [], tqdm.update
    profiler = torch.profiler.profile()

    def watched(bar, n=1):
        times.append(time.time())
        if how == 'sync':
            torch.cuda.set_sync_debug_mode('error' if 2 < len(times) < 49 else 'default')
        if how == 'profile' and len(times) in (20, 50):
            profiler.__init__()
            profiler.start()
        if how == 'profile' and len(times) == 30:
            stop('train')
        return update(bar, n)

    def stop(name):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        profiler.stop()
        profiler.export_chrome_trace(f'{folder}-{name}.json')

    tqdm.update, sys.argv = watched, ['train.py', *args]
    if 'TINY' in os.environ:
        torch.compile = quick_compile
    try:
        runpy.run_path(os.path.join(ROOT, 'train.py'), run_name='__main__')
        if how == 'profile':
            stop('eval')
    finally:
        peak = (torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else
                1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        with open(f'{folder}.json', 'w') as f:
            json.dump({'first_step': times and times[0] - float(os.environ['LAUNCHED']),
                       'steps': len(times), 'peak': peak}, f)


def quick_compile(function, mode=None, compile=torch.compile, **more):
    """torch.compile without its code generator, which takes a minute on a CPU."""
    return compile(function, backend='aot_eager', **more)


def launch(*args, how='', folder='', processes=1, **environment):
    """Starts train.py; returns (its process, the run's folder). It prints to <folder>.txt."""
    folder = folder or tempfile.mkdtemp(dir=work)
    command = ([sys.executable, __file__, 'watch', how, folder] if processes == 1 else
               [sys.executable, '-m', 'torch.distributed.run', '--standalone',
                f'--nproc_per_node={processes}', os.path.join(ROOT, 'train.py')])
    command += [*args, f'--out_dir={folder}'] + ([f'--device={asked}'] if asked else [])
    environment |= {'LAUNCHED': str(time.time())} | ({'TINY': '1'} if tiny else {})
    with open(f'{folder}.txt', 'a') as f:
        return subprocess.Popen(command, cwd=work, env=os.environ | environment, stdout=f,
                                stderr=f, start_new_session=True), folder


@contextlib.contextmanager
def killed_after(*processes):
    """Whatever happens in the block, no process of theirs outlives it."""
    try:
        yield
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def finish(process, folder, status=0):
    """
    Waits for a run to end with that status; returns what watch() wrote of it, its folder, its last
    `val_xe`, and `speed`, the median of tokens a second. Raises with what it printed otherwise.
    """
    if process.wait() != status:
        with open(f'{folder}.txt') as f:
            lines = [line for line in re.split(r'[\r\n]+', f.read()) if line.strip()]
        says = [line for line in lines if re.match(r'train\.py: |[\w.]*(Error|Exception)\b', line)]
        raise RuntimeError(f'train.py ended with {process.returncode}, not {status}: '
                           + '\n'.join([*(says or lines)[-1:], '', *lines[-60:]]))
    rows = read_log(folder)
    speeds = [float(row['tokens_per_second']) for row in rows if row['tokens_per_second']]
    watched = {}
    if os.path.exists(f'{folder}.json'):
        with open(f'{folder}.json') as f:
            watched = json.load(f)
    return watched | {'folder': folder, 'speed': float(np.median(speeds[2:] or speeds or [0])),
                      'val_xe': float([row['val_xe'] for row in rows if row['val_xe']][-1])}


def read_log(folder):
    """Returns the rows of log.csv that are there by now, dicts."""
    if not os.path.exists(f'{folder}/log.csv'):
        return []
    with open(f'{folder}/log.csv', newline='') as f:
        return [row for row in csv.DictReader(f) if None not in row.values()]


def train(*args, **more):
    """Runs train.py to its end; returns what finish() does."""
    process, folder = launch(*args, **more)
    with killed_after(process):
        return finish(process, folder)


train_once = functools.cache(train)  # for runs that several rows look at


def need(there, what):
    if not there:
        raise Skipped(f'needs {what}')


# -----------------------------------------------------------------------------
# the rows: each returns (measured, reckoned or expected, whether they agree)

def versions():
    compiler = next(filter(None, map(shutil.which, (os.environ.get('CC', 'cc'), 'gcc', 'clang'))),
                    None)
    lines = [f'Python {platform.python_version()}, torch {torch.__version__}']
    if compiler:
        lines.append(subprocess.run([compiler, '--version'], capture_output=True,
                                    text=True).stdout.split('\n')[0])
    if device != 'cpu':
        import triton
        lines.append(f'triton {triton.__version__}, CUDA {torch.version.cuda},'
                     f' cuDNN {torch.backends.cudnn.version()}')
        lines.append(f'{torch.cuda.get_device_name()}, sm_%d%d, {torch.cuda.device_count()} there'
                     % torch.cuda.get_device_capability())
        if os.path.exists('/proc/driver/nvidia/version'):
            with open('/proc/driver/nvidia/version') as f:
                lines.append(f.readline().strip())
        elif shutil.which('nvidia-smi'):
            lines.append('driver ' + subprocess.run(
                ['nvidia-smi', '--query-gpu=driver_version', '--format=csv,noheader'],
                capture_output=True, text=True).stdout.split('\n')[0])
    return '\n'.join(lines), 'a C compiler; driver 580 or newer for CUDA 13', bool(compiler)


def first_step():
    cold = train(*default_args('--max_iters=1'))['first_step']  # the cache is empty: row 2 of all
    warm = train_once(*default_args('--max_iters=1'))['first_step']
    return f'cold {cold:.1f} s, warm {warm:.1f} s', 'not reckoned', True


def no_waiting():
    need(device != 'cpu', 'CUDA')
    steps = train(*default_args('--max_iters=50', '--log_interval=1000', '--eval_interval=1000'),
                  how='sync')['steps']
    return f'{steps} steps without a wait', '50 steps', steps == 50


def speed(*args):
    run = train(*default_args('--max_iters=400' if not tiny else '--max_iters=40', *args,
                              '--log_interval=40' if not tiny else '--log_interval=10',
                              '--eval_interval=1000'))
    size = model_size()
    n = sum(p.numel() for name, p in GPT(**size).named_parameters() if 'wpe' not in name)
    flop = 6 * n + 12 * size['n_layer'] * size['n_embd'] * size['block_size']  # a token
    name = torch.cuda.get_device_name() if device != 'cpu' else 'CPU'
    peak = next((peak for part, peak in PEAK.items() if part in name), None)
    step_ms = 1e3 * size['block_size'] * size['batch_size'] / run['speed']
    share = f', {flop * run["speed"] / peak:.0%} of {peak / 1e12:.0f} TFLOP/s' if peak else ''
    return (f'{run["speed"] / 1e6:.3f} M tokens/s, {step_ms:.1f} ms a step\n{flop / 1e6:.1f} MFLOP'
            f' a token{share}\n{run["peak"] / 1e9:.2f} GB at most',
            'H100: 2.5 to 3.2 M tokens/s, ceiling 4.4; 79 MFLOP a token; 7.5 GB a process.'
            ' FAULT: half the speed, 1.5 times the memory',
            'H100' not in name or run['speed'] > 1.25e6 and run['peak'] < 11.3e9)


def speed_with_tags():
    return speed('--tag=True')


def model_size():
    """Returns GPT's arguments of the default size, without dropout, and batch_size."""
    settings = {key: value for key, (value, _) in read_settings(f'{ROOT}/train.py').items()}
    if tiny:
        settings |= {key: int(value) for key, _, value in (
            arg[2:].partition('=') for arg in TINY) if value.isdigit()}
    keys = ('n_layer', 'n_head', 'n_embd', 'block_size', 'bias', 'batch_size')
    return {key: settings[key] for key in keys} | {'vocab_size': 64 if tiny else 32000}


def head():
    size, kind = model_size(), device.partition(':')[0]
    N, C, V = size['batch_size'] * size['block_size'], size['n_embd'], size['vocab_size']
    torch.manual_seed(0)
    h, weight = (torch.randn(n, C, device=device, requires_grad=True) for n in (N, V))
    y = torch.randint(V, (N,), device=device)
    lines, losses = [], []

    def step():
        with choose_dtype('', device)[1]:
            loss = compiled(h * 0.1, weight * 0.1, y).mean()
        loss.backward()
        h.grad = weight.grad = None
        return loss.detach()

    for cse, chunks in itertools.product((True, False), (1, 4, 16)):
        with torch._functorch.config.patch(cse=cse), mock.patch.dict(
                model_file.HEAD_LOGITS, {kind: -(-N // chunks) * V}):
            torch._dynamo.reset()
            compiled = torch.compile(lambda h, weight, y: TokenXE.apply(h, weight, y),
                                     fullgraph=True, dynamic=False)
            losses += [float(step()) for _ in range(3)]
            if device != 'cpu':
                torch.cuda.reset_peak_memory_stats()
            start = time.perf_counter()
            for _ in range(10):
                loss = step()
            float(loss)  # waits for all ten
            ms = 100 * (time.perf_counter() - start)
            peak = torch.cuda.max_memory_allocated() / 1e9 if device != 'cpu' else 0
            lines.append(f'CSE {"on, " if cse else "off,"} {chunks:2} chunks: {ms:6.2f} ms'
                         + (f', {peak:.2f} GB' if peak else ''))
    torch._dynamo.reset()
    return ('\n'.join(lines), 'published, compiled: 4 chunks 1.06 and 16 chunks 1.21 times the ms'
            ' of one. With CSE all logits are kept (3.28 GB), without they are not. FAULT: losses'
            ' differ by 1%', max(losses) - min(losses) < 0.01 * max(losses))


def profile():
    run = train(*default_args('--max_iters=50', '--log_interval=1000', '--eval_interval=1000'),
                how='profile')
    of, lines, families = ('kernel', 'gpu_memcpy', 'gpu_memset'), [], []
    if device == 'cpu':
        of = ('cpu_op',)
    for what in ('train', 'eval'):
        with open(f'{run["folder"]}-{what}.json') as f:
            events = [e for e in json.load(f)['traceEvents'] if e.get('cat') in of]
        events.sort(key=lambda e: e['ts'])
        start, ms = (np.array([e[key] for e in events]) / 1e3 for key in ('ts', 'dur'))
        until = np.maximum.accumulate(start + ms)
        gaps, span = np.maximum(0, start[1:] - until[:-1]).sum(), until[-1] - start[0]
        spent = {}
        for e in events:
            spent[e['name']] = spent.get(e['name'], 0) + e['dur'] / 1e3
        families.append({next(part for part in ('cudnn', 'flash', 'fmha') if part in name.lower())
                         for name in spent if re.search('cudnn|flash|fmha', name.lower())})
        lines.append(f'{what}: busy {1 - gaps / span:.0%} of {span:.0f} ms, attention by '
                     + (' and '.join(sorted(families[-1])) or 'no fused kernel'))
        lines += [f'  {spent[name]:.1f} ms {name[:60]}'
                  for name in sorted(spent, key=spent.get, reverse=True)[:5]]
    same = len(families[0]) == 1 and families[0] == families[1] and families[0] != {'cudnn'}
    return ('\n'.join(lines), 'one kernel for attention in both, flash, not cudnn',
            device == 'cpu' or same)


def numbers():
    size = model_size()
    torch.manual_seed(0)
    reference = GPT(**{key: value for key, value in size.items() if key != 'batch_size'})
    idx, targets = torch.randint(size['vocab_size'], (2, 16, size['block_size']))

    def outcome(where, context, compiled=False):
        net = copy.deepcopy(reference).to(where)
        if compiled:
            compile_model(net, where, 'default')
        with context:
            losses = net(idx.to(where), targets.to(where))
        losses.mean().backward()
        gradient = torch.cat([p.grad.flatten().cpu() for p in net.parameters()])
        return losses.detach().cpu(), gradient

    cpu = outcome('cpu', contextlib.nullcontext())
    exact = outcome(device, contextlib.nullcontext())
    fast = outcome(device, choose_dtype('bfloat16', device)[1], compiled=True)
    lines, ok = [], True
    for what, a, b in (('eager float32, here - CPU', exact, cpu),
                       ('compiled bfloat16 - eager float32', fast, exact),
                       ('compiled bfloat16 - CPU', fast, cpu)):
        apart = float((a[0] - b[0]).abs().mean())
        off = float((a[1] - b[1]).norm() / b[1].norm())
        lines.append(f'{what}: losses {apart:.1e}, gradient {off:.2%}')
        ok = ok and apart < 2e-3 and off < 0.02
    return '\n'.join(lines), 'losses (mean difference) to 2e-3 nats, gradient to 2% in norm', ok


def reduce_overhead():
    halves = (('--batch_size=4' if tiny else '--batch_size=8'), '--gradient_accumulation_steps=2')
    xe = [train_once(*small_args(*args))['val_xe'] for args in (
        (), ('--compile_mode=reduce-overhead',), ('--compile_mode=reduce-overhead', *halves))]
    return ('val_xe %.5f; reduce-overhead %.5f, with accumulation %.5f' % tuple(xe),
            'ends with status 0; equal to 1e-3 nats', max(xe) - min(xe) < 1e-3)


def small_size():
    modes = {'eager': ('--compile=False',), 'default': (),
             'reduce-overhead': ('--compile_mode=reduce-overhead',)}
    speeds = {mode: train_once(*small_args(*args))['speed'] for mode, args in modes.items()}
    return ('\n'.join(f'{mode}: {speed:,.0f} tokens/s' for mode, speed in speeds.items()),
            'bound by the host: reduce-overhead is the fastest on a GPU', True)


def several_processes(**environment):
    lines = [f'1 process: {train_once(*small_args())["speed"]:,.0f} tokens/s']
    for n in (2,) if tiny else (4, 8):
        started = [launch(*small_args(*([] if tiny else ['--max_iters=3000'])), **environment)
                   for _ in range(n)]
        with killed_after(*(process for process, _ in started)):
            speeds = [finish(*run)['speed'] for run in started]
        lines.append(f'{n} processes: {sum(speeds):,.0f} together')
    return '\n'.join(lines), 'not reckoned', True


def several_with_mps():
    need(device != 'cpu', 'CUDA')
    control = shutil.which('nvidia-cuda-mps-control')
    need(control, 'nvidia-cuda-mps-control')
    with tempfile.TemporaryDirectory(prefix='mps') as folder:  # a short path: it holds sockets
        where = {'CUDA_MPS_PIPE_DIRECTORY': folder, 'CUDA_MPS_LOG_DIRECTORY': folder}
        try:
            subprocess.run([control, '-d'], env=os.environ | where, check=True, timeout=20)
            return several_processes(**where)
        finally:
            subprocess.run([control], input='quit\n', text=True, env=os.environ | where,
                           timeout=20, capture_output=True)


def saving():
    path = os.path.join(train_once(*default_args('--max_iters=1'))['folder'], 'ckpt.pt')
    checkpoint, times = torch.load(path, map_location=device, weights_only=True), []
    for _ in range(3):
        start = time.perf_counter()
        replace_file(path, lambda f: torch.save(checkpoint, f))
        times.append(time.perf_counter() - start)
    return (f'{np.median(times):.2f} s for {os.path.getsize(path) / 1e6:.1f} MB, synced',
            'some 2 s for 157 MB', True)


def wait_for_rows(process, folder):
    """Waits until a run has a checkpoint and two rows of log.csv after that of step 0."""
    while len(read_log(folder)) < 3 or not os.path.exists(f'{folder}/ckpt.pt'):
        if process.poll() is not None:
            finish(process, folder)
            raise RuntimeError('the run was over before it could be interrupted')
        time.sleep(0.005)


def sigterm():
    process, folder = launch(*small_args('--max_iters=1000000'))
    with killed_after(process):
        wait_for_rows(process, folder)
        process.terminate()
        finish(process, folder, status=128 + signal.SIGTERM)
    saved = torch.load(f'{folder}/ckpt.pt', map_location='cpu', weights_only=True)['iter_num']
    last = int(read_log(folder)[-1]['iter'])
    return f'status 143, saved at step {saved} of {last}', 'the last step', saved == last > 0


def kill_and_resume():
    process, folder = launch(*small_args())
    with killed_after(process):
        wait_for_rows(process, folder)
    xe = train(*small_args('--init_from=resume'), folder=folder)['val_xe']
    whole = train_once(*small_args())['val_xe']
    events = [row['event'] for row in read_log(folder) if 'resumed' in row['event']]
    step = re.search(r'resumed at step \d+', ' '.join(events))
    return (f'val_xe {xe:.6f} ({step[0] if step else "NOT resumed"}), undisturbed {whole:.6f}',
            'equal on a CPU, to 1e-3 nats on a GPU',
            bool(step) and (xe == whole if device == 'cpu' else abs(xe - whole) < 1e-3))


def two_gpus():
    need(device != 'cpu', 'CUDA')
    need(torch.cuda.device_count() > 1, 'two GPUs')
    one, two = train_once(*small_args()), train(*small_args(), processes=2)
    return (f'val_xe {one["val_xe"]:.5f} in one process, {two["val_xe"]:.5f} in two\n'
            f'{one["speed"]:,.0f} and {two["speed"]:,.0f} tokens/s', 'val_xe equal to 1e-3 nats',
            abs(one['val_xe'] - two['val_xe']) < 1e-3)


ROWS = [versions, first_step, no_waiting, speed, speed_with_tags, head, profile, numbers,
        reduce_overhead, small_size, several_processes, several_with_mps, saving, sigterm,
        kill_and_resume, two_gpus]


# -----------------------------------------------------------------------------
# all rows, and the table

def check(row):
    """Returns (measured, expected, status) of a row; one that raises or takes too long is a FAULT."""
    def too_long(number, frame):
        raise TimeoutError(f'took longer than {seconds:.0f} s')

    seconds = min(ROW_LIMIT, began + BUDGET - time.perf_counter())
    if seconds <= 0:
        return f'the {BUDGET} s are spent', '', 'skipped'
    handler = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        measured, expected, ok = row()
        return measured, expected, 'ok' if ok else 'FAULT'
    except Skipped as e:
        return str(e), '', 'skipped'
    except (Exception, SystemExit) as e:  # whatever a machine that was never seen may give
        signal.setitimer(signal.ITIMER_REAL, 0)
        tqdm.write(traceback.format_exc(), file=sys.stderr)
        return f'{type(e).__name__}: {(str(e).splitlines() or [""])[0]}', '', 'FAULT'
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)


def table(rows):
    """Returns the table as text; rows are (check, measured, expected, status)."""
    widths, lines = (17, 44, 27, 7), []
    for row in [('check', 'measured', 'expected', ''), *rows]:
        cells = [[part for line in cell.split('\n') for part in textwrap.wrap(
            line, width, subsequent_indent='  ' if line[:1] == ' ' else '') or ['']]
                 for cell, width in zip(row, widths)]
        lines += ['  '.join(part.ljust(width) for part, width in zip(parts, widths)).rstrip()
                  for parts in itertools.zip_longest(*cells, fillvalue='')]
        lines.append('-' * (sum(widths) + 6))
    return '\n'.join(lines)


def main(args):
    """Runs all rows and prints the table; returns the exit status."""
    global device, tiny, asked, began, work
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[1])
    parser.add_argument('--device', default='', help="cuda, cuda:1 or cpu; '' = the best there is")
    parser.add_argument('--tiny', action='store_true', help='small models, for a CPU')
    options = parser.parse_args(args)
    asked, tiny, device = options.device, options.tiny, choose_device(options.device)
    if not device.startswith('cuda') and not tiny:
        fail('there is no CUDA device here; --device=cpu --tiny tries the script itself')
    began, rows = time.perf_counter(), []
    faulthandler.dump_traceback_later(BUDGET + 60, exit=True)  # nothing hangs for ever
    with tempfile.TemporaryDirectory(prefix='gpu') as work, mock.patch.dict(
            os.environ, TORCHINDUCTOR_CACHE_DIR=os.path.join(work, 'cache')), mock.patch.object(
            torch, 'compile', quick_compile if tiny else torch.compile):
        for vocab_size, T in ((64, 16),) if tiny else ((32000, 100), (1024, 100)):
            write_data_set(f'v{vocab_size}', vocab_size, T)
        for row in ROWS:
            name, start = row.__name__.replace('_', ' '), time.perf_counter()
            print(f'[{len(rows) + 1}/{len(ROWS)}] {name}: ', end='', flush=True)
            rows.append((name, *check(row)))
            print(f'{rows[-1][3]} in {time.perf_counter() - start:.0f} s', flush=True)
    faulthandler.cancel_dump_traceback_later()
    print('\n' + table(rows))
    count = {status: sum(row[3] == status for row in rows) for status in ('ok', 'FAULT', 'skipped')}
    print(', '.join(f'{n} {status}' for status, n in count.items())
          + f', in {time.perf_counter() - began:.0f} s')
    return int(count['FAULT'] > 0)


if __name__ == '__main__':
    if sys.argv[1:2] == ['watch']:
        watch(*sys.argv[2:])
    else:
        sys.exit(main(sys.argv[1:]))
