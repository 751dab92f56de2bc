"""
Settles on a machine with a GPU what cannot be checked without one, and prints one table.

    python tests/gpu.py                        # ten minutes on one H100; no data, no network
    python tests/gpu.py --device=cpu --tiny    # tries this script: what needs CUDA is skipped

A row that raises is a FAULT, and the others go on. The exit status is 1 after a FAULT, else 0.
What went wrong goes to stderr in full. Rows are skipped when ten minutes are over.
"""
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
import textwrap
import time
import traceback
from unittest import mock

import numpy as np
import torch
import torch._functorch.config
from torch.optim.optimizer import register_optimizer_step_post_hook

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)
from configurator import fail, file_hash, read_settings, replace_file
from machine import choose_device, choose_dtype, compile_model
from model import GPT, TokenXE

BUDGET, ROW_LIMIT = 600, 180  # seconds: of all rows, of one
PEAK = {'H100 PCIe': 756e12, 'H100': 989e12, 'H200': 989e12, 'A100': 312e12}  # dense bf16 FLOP/s
TINY = {'n_layer': 1, 'n_head': 2, 'n_embd': 16, 'dropout': 0.0, 'block_size': 16, 'batch_size': 8,
        'val_windows_per_component': 32, 'warmup_iters': 2, 'dtype': 'float32', 'compile': False}
GRAPHS = ['--compile=True', '--compile_mode=reduce-overhead']
device, cuda, tiny, asked, began, work = 'cpu', False, True, [], 0.0, ''  # main sets them


class Skipped(Exception):
    """Why a row is skipped."""


# -----------------------------------------------------------------------------
# runs of train.py, each in a process of its own

def write_data_set(name, vocab_size, T):
    """
    Writes data/<name>: one component, 2,000 documents of 10 T tokens to train on and 100 in each
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
        json.dump({'dataset': name, 'source': 'random', 'tokenizer': 'none', 'components':
                   {'a': splits}, 'vocab_size': vocab_size, 'bos_id': vocab_size - 1}, f)


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
    """
    What a child does: train.py with these arguments. Writes <folder>.json: seconds from its launch
    to the first step's end, number of steps, and bytes of the GPU at most. How: 'sync', what waits
    for the GPU between steps 3 and 49 raises; 'profile', steps 21 to 30 and the evaluation after
    step 50 are traced to <folder>-train.json and -eval.json.
    """
    times, traces = [], []

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
            json.dump({'first_step': times[0] - float(os.environ['LAUNCHED']) if times else None,
                       'steps': len(times), 'peak': peak}, f)


@contextlib.contextmanager
def launched(args, how='', folder='', processes=1, **environment):
    """Starts train.py, which prints to <folder>.txt; gives (process, folder); ends with its end."""
    folder = folder or tempfile.mkdtemp(dir=work)
    torchrun = ['-m', 'torch.distributed.run', '--standalone', f'--nproc_per_node={processes}']
    command = [sys.executable, __file__, 'watch', how, folder] if processes == 1 else [
        sys.executable, *torchrun, os.path.join(ROOT, 'train.py')]
    environment |= {'LAUNCHED': str(time.time())} | (
        {'TINY': '1', 'OMP_NUM_THREADS': '1'} if tiny else {})
    with open(f'{folder}.txt', 'w') as f:
        process = subprocess.Popen(
            [*command, *args, *asked, '--components=a', f'--out_dir={folder}'], cwd=work,
            env=os.environ | environment, stdout=f, stderr=f, start_new_session=True)
    try:
        yield process, folder
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def finish(process, folder, status=0):
    """
    Waits for a run to end with that status; returns what watch() wrote of it, its folder, its last
    `val_xe`, and `speed`, the median of tokens a second. Raises what it printed where it fails.
    """
    process.wait()
    with open(f'{folder}.txt') as f:
        lines = [line for line in re.split(r'[\r\n]+', f.read()) if line.strip()]
    says = [line for line in lines if re.match(r'train\.py: |[\w.]*(Error|Exception)\b', line)]
    eager = [line for line in lines if line.startswith('torch.compile does not work')]
    if process.returncode != status or eager:
        first, = (eager or says or lines or ['it printed nothing'])[-1:]
        raise RuntimeError('\n'.join([f'status {process.returncode}: {first}', *lines[-60:]]))
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
# the rows: each returns (measured, expected, whether they agree)

def versions():
    def first_line(*command):
        path = shutil.which(command[0])
        return path and subprocess.run(command, capture_output=True,
                                       text=True).stdout.split('\n')[0]

    compiler = first_line(os.environ.get('CC', 'cc'), '--version') or first_line('gcc', '--version')
    lines = [f'Python {sys.version.split()[0]}, torch {torch.__version__}', compiler or 'no gcc']
    if cuda:
        import triton
        driver = (first_line('nvidia-smi', '--query-gpu=driver_version', '--format=csv,noheader')
                  or first_line('head', '-n1', '/proc/driver/nvidia/version'))
        lines += [f'CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}, triton'
                  f' {triton.__version__}', f'driver {driver}',
                  f'{torch.cuda.device_count()} x {torch.cuda.get_device_name()}, sm_%d%d'
                  % torch.cuda.get_device_capability()]
    return '\n'.join(lines), 'a C compiler; driver 580 or newer for CUDA 13', bool(compiler)


def first_step():
    args = default_run(1, 1000, '--compile=True')  # no row before this one fills the cache
    cold, warm = train(args)['first_step'], train_once(*args)['first_step']
    return f'cold {cold:.1f} s, warm {warm:.1f} s', 'not reckoned', True


def no_waiting():
    need(cuda, 'CUDA')
    steps = train(default_run(50), how='sync')['steps']
    return f'{steps} steps, nothing waited between logs', '50 steps', steps == 50


def model_args():
    """Returns GPT's arguments at the default size without dropout; and the windows of a step."""
    size = {key: value for key, (value, _) in read_settings(f'{ROOT}/train.py').items()}
    size |= TINY if tiny else {}
    return {key: size[key] for key in ('n_layer', 'n_head', 'n_embd', 'block_size', 'bias')} | {
        'vocab_size': 64 if tiny else 32000}, size['batch_size']


def speed(*args):
    run = train(default_run(*((40, 10) if tiny else (400, 40)), *args))
    size, batch_size = model_args()
    n = sum(p.numel() for name, p in GPT(**size).named_parameters() if 'wpe' not in name)
    flop = 6 * n + 12 * size['n_layer'] * size['n_embd'] * size['block_size']  # a token
    name = torch.cuda.get_device_name() if cuda else 'CPU'
    peak = next((peak for part, peak in PEAK.items() if part in name), None)
    share = f', {flop * run["speed"] / peak:.1%} of {peak / 1e12:.0f} TFLOP/s' if peak else ''
    return (f'{run["speed"] / 1e6:.3f} M tokens/s,'
            f' {1e3 * size["block_size"] * batch_size / run["speed"]:.1f} ms a step\n'
            f'{flop / 1e6:.3g} MFLOP a token{share}'
            + (f'\npeak memory {run["peak"] / 1e9:.2f} GB' if cuda else ''),
            'H100: 2.5 to 3.2 M tokens/s, at most 4.4; 79 MFLOP a token; 7.5 GB',
            'H100' not in name or run['speed'] > 1.25e6 and run['peak'] < 11.3e9)  # half, 1.5 times


def speed_with_tags():
    return speed('--tag=True')


def head():
    size, batch_size = model_args()
    N, C, V = batch_size * size['block_size'], size['n_embd'], size['vocab_size']
    h, weight = (torch.randn(n, C, device=device, requires_grad=True) for n in (N, V))
    y, lines, losses = torch.randint(V, (N,), device=device), [], []
    autocast = choose_dtype('bfloat16', device)[1]

    def step():
        with autocast:
            loss = compiled(h * 0.1, weight * 0.1, y).mean()
        loss.backward()
        h.grad = weight.grad = None
        return loss.detach()

    for cse, chunks in itertools.product((True, False), (1, 4, 16)):
        max_logits = -(-N // chunks) * V
        with torch._functorch.config.patch(cse=cse):
            torch._dynamo.reset()
            compiled = torch.compile(
                lambda h, weight, y, most=max_logits: TokenXE.apply(h, weight, y, most),
                fullgraph=True, dynamic=False)
            losses += [float(step()) for _ in range(3)]
            if cuda:
                torch.cuda.reset_peak_memory_stats()
            start = time.perf_counter()
            for _ in range(10):
                loss = step()
            float(loss)  # waits for all ten
            ms = 100 * (time.perf_counter() - start)
        peak = f', {torch.cuda.max_memory_allocated() / 1e9:.2f} GB' if cuda else ''
        lines.append(f'{chunks} chunk{"s" * (chunks > 1)}, CSE {"on" if cse else "off"}:'
                     f' {ms:.2f} ms{peak}')
    return ('\n'.join(lines), 'published: 4 chunks take 1.06 and 16 chunks 1.21 times as long as'
            ' one; CSE keeps all logits, 3.28 GB; equal losses',
            max(losses) - min(losses) < 0.01 * max(losses))


def profile():
    run = train(default_run(50), how='profile')
    of = ('kernel', 'gpu_memcpy', 'gpu_memset') if cuda else ('cpu_op',)
    lines, families = [], []
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
        lines += [f'{what}: busy {busy:.0%} of {until[-1] - start[0]:.0f} ms, attention: '
                  + (' and '.join(sorted(families[-1])) or 'not fused')]
        lines += [f'  {spent[name]:.1f} ms {name[:60]}'
                  for name in sorted(spent, key=spent.get, reverse=True)[:5]]
    return ('\n'.join(lines), 'attention: flash in both, as cuDNN has no dropout',
            not cuda or families == [{'flash'}, {'flash'}])


def numbers():
    size, _ = model_args()
    torch.manual_seed(0)
    reference = GPT(**size)
    idx, targets = torch.randint(size['vocab_size'], (2, 16, size['block_size']))

    def losses_and_gradient(where, dtype, compiled=False):
        net = copy.deepcopy(reference).to(where)
        if compiled:
            compile_model(net, where, 'default')
        with choose_dtype(dtype, where)[1]:
            losses = net(idx.to(where), targets.to(where))
        losses.mean().backward()
        return losses.detach().cpu(), torch.cat([p.grad.flatten().cpu() for p in net.parameters()])

    cpu = losses_and_gradient('cpu', 'float32')
    eager = losses_and_gradient(device, 'float32')
    compiled = losses_and_gradient(device, 'bfloat16', compiled=True)
    lines, ok = [], True
    for what, a, b in (('float32, eager, minus CPU', eager, cpu),
                       ('bfloat16, compiled, minus float32', compiled, eager),
                       ('bfloat16, compiled, minus CPU', compiled, cpu)):
        mean, most = (a[0] - b[0]).mean().abs(), (a[0] - b[0]).abs().max()
        off = (a[1] - b[1]).norm() / b[1].norm()
        lines.append(f'{what}: mean {mean:.1e}, one token {most:.1e} nats, gradient {off:.2%}')
        ok = ok and bool(mean < 2e-3 and most < 2e-2 and off < 0.02)
    return '\n'.join(lines), 'mean loss to 2e-3, of one token to 2e-2; gradient to 2% in norm', ok


def reduce_overhead():
    half = [f'--batch_size={4 if tiny else 8}', '--gradient_accumulation_steps=2']
    xe = [train_once(*small_run(*args))['val_xe'] for args in ([], GRAPHS, GRAPHS + half)]
    return (f'val_xe {xe[0]:.5f}\nreduce-overhead {xe[1]:.5f}\nand accumulation {xe[2]:.5f}',
            'equal to 1e-3 nats', max(xe) - min(xe) < 1e-3)


def small_size():
    lines = [f'{mode}: {train_once(*small_run(*args))["speed"]:,.0f} tokens/s' for mode, args in {
        'eager': ['--compile=False'], 'default': [], 'reduce-overhead': GRAPHS}.items()]
    return '\n'.join(lines), 'on a GPU bound by the host: reduce-overhead is the fastest', True


def saving():
    run = train_once(*default_run(1, 1000, '--compile=True'))  # that of first_step
    path = os.path.join(run['folder'], 'ckpt.pt')
    checkpoint, times = torch.load(path, map_location=device, weights_only=True), []
    for _ in range(3):
        start = time.perf_counter()
        replace_file(path, lambda f: torch.save(checkpoint, f))
        times.append(time.perf_counter() - start)
    return (f'{np.median(times):.2f} s for {os.path.getsize(path) / 1e6:.1f} MB, synced',
            'some 2 s for 157 MB', True)


def wait_for_rows(process, folder, n):
    """Waits until a run has n rows in log.csv, and a checkpoint."""
    while len(read_log(folder)) < n or not os.path.exists(f'{folder}/ckpt.pt'):
        if process.poll() is not None:
            finish(process, folder)
            raise RuntimeError('the run was over before it could be interrupted')
        time.sleep(0.005)


@functools.cache
def terminated_run():
    """Returns the folder of a small run that SIGTERM ended."""
    with launched(small_run()) as (process, folder):
        wait_for_rows(process, folder, 3)
        process.terminate()
        finish(process, folder, status=128 + signal.SIGTERM)
    return folder


def sigterm():
    folder = terminated_run()
    saved = torch.load(f'{folder}/ckpt.pt', map_location='cpu', weights_only=True)['iter_num']
    last = int(read_log(folder)[-1]['iter'])
    return f'status 143, saved at step {saved} of {last}', 'at the last', saved == last > 0


def kill_and_resume():
    folder, resume = terminated_run(), small_run('--init_from=resume')
    with launched(resume, folder=folder) as (process, _):
        wait_for_rows(process, folder, len(read_log(folder)) + 2)
        process.kill()
        process.wait()
    resumed, whole = train(resume, folder=folder)['val_xe'], train_once(*small_run())['val_xe']
    steps = re.findall(r'resumed at step (\d+)', ' '.join(r['event'] for r in read_log(folder)))
    apart = abs(resumed - whole)
    return (f'val_xe {resumed:.6f}, resumed at step {" and ".join(steps)}\nundisturbed {whole:.6f}',
            'equal on a CPU, to 1e-3 nats on a GPU',
            bool(steps) and (apart < 1e-3 if cuda else apart == 0))


def two_gpus():
    need(cuda, 'CUDA')
    need(torch.cuda.device_count() > 1, 'two GPUs')
    one, two = train_once(*small_run()), train(small_run(), processes=2)
    return (f'val_xe {one["val_xe"]:.5f}, by torchrun {two["val_xe"]:.5f}\n'
            f'{one["speed"]:,.0f} and {two["speed"]:,.0f} tokens/s', 'equal to 1e-3 nats',
            abs(one['val_xe'] - two['val_xe']) < 1e-3)


def several_processes(**environment):
    lines = [f'1: {train_once(*small_run())["speed"]:,.0f} tokens/s']
    for n in (2,) if tiny else (4, 8):
        with contextlib.ExitStack() as stack:
            args = small_run(*([] if tiny else ['--max_iters=2000']))
            runs = [stack.enter_context(launched(args, **environment)) for _ in range(n)]
            lines.append(f'{n}: {sum(finish(*run)["speed"] for run in runs):,.0f} in all')
    return '\n'.join(lines), 'not reckoned', True


def several_with_mps():
    need(cuda, 'CUDA')
    control = shutil.which('nvidia-cuda-mps-control')
    need(control, 'nvidia-cuda-mps-control')
    with tempfile.TemporaryDirectory(prefix='mps') as folder:  # a short path: it holds sockets
        where = {'CUDA_MPS_PIPE_DIRECTORY': folder, 'CUDA_MPS_LOG_DIRECTORY': folder}
        try:
            done = subprocess.run([control, '-d'], env=os.environ | where, timeout=20)
            need(done.returncode == 0, 'an MPS daemon; it does not start here')
            return several_processes(**where)
        finally:
            subprocess.run([control], input='quit\n', text=True, env=os.environ | where,
                           timeout=20, capture_output=True)


ROWS = [versions, first_step, no_waiting, speed, speed_with_tags, head, profile, numbers,
        reduce_overhead, small_size, saving, sigterm, kill_and_resume, two_gpus,
        several_processes, several_with_mps]


# -----------------------------------------------------------------------------
# all rows, and the table

def check(row):
    """Returns (measured, expected, status) of a row: FAULT where it raises or takes too long."""
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
        print(traceback.format_exc(), file=sys.stderr, flush=True)
        return f'{type(e).__name__}: {(str(e).splitlines() or [""])[0]}', '', 'FAULT'
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        torch._dynamo.reset()
        if cuda:
            torch.cuda.empty_cache()


def table(rows):
    """Returns the table as text; rows are (check, measured, expected, status)."""
    widths, lines = (17, 44, 28, 7), []
    for row in [('check', 'measured', 'expected', 'status'), *rows]:
        cells = [[part for line in cell.split('\n')
                  for part in textwrap.wrap(line, width, subsequent_indent='    ') or ['']]
                 for cell, width in zip(row, widths)]
        lines += ['  '.join(part.ljust(width) for part, width in zip(parts, widths)).rstrip()
                  for parts in itertools.zip_longest(*cells, fillvalue='')]
        lines.append('-' * (sum(widths) + 6))
    return '\n'.join(lines)


def main(args):
    """Runs all rows and prints the table; returns the exit status."""
    global device, cuda, tiny, asked, began, work
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[1])
    parser.add_argument('--device', default='', help="cuda, cuda:1 or cpu; '' = the best there is")
    parser.add_argument('--tiny', action='store_true', help='small models, for a CPU')
    options = parser.parse_args(args)
    device, tiny = choose_device(options.device), options.tiny
    cuda = device.startswith('cuda')
    asked = [f'--device={options.device}'] if options.device else []
    if not cuda and not tiny:
        fail('there is no CUDA device here; --device=cpu --tiny tries the script itself')
    if tiny:
        torch.set_num_threads(1)  # as its runs do
    began, rows = time.perf_counter(), []
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
    counts = [f'{sum(row[3] == status for row in rows)} {status}'
              for status in ('ok', 'FAULT', 'skipped')]
    print(f'\n{table(rows)}\n{", ".join(counts)}, in {time.perf_counter() - began:.0f} s')
    return int(any(row[3] == 'FAULT' for row in rows))


if __name__ == '__main__':
    if sys.argv[1:2] == ['watch']:
        watch(*sys.argv[2:])
    else:
        faulthandler.dump_traceback_later(BUDGET + 60, exit=True)  # what no alarm can end
        sys.exit(main(sys.argv[1:]))
