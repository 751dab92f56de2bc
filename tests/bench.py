"""
Prints speeds and memory, medians of several repetitions, what is compared within one run. Keep the
machine idle.

    python tests/bench.py                                    # all of it
    python tests/bench.py prepare                            # tokenizing made-up words
    python tests/bench.py prepare my_folder                  # tokenizing a folder of text
    python tests/bench.py head                               # TokenXE alone, on the CPU
    python tests/bench.py train                              # training and evaluation
    python tests/bench.py train ../nanoGPT                   # and nanoGPT's checkout beside them
    python tests/bench.py save                               # what checkpoints cost a run
    python tests/bench.py scale                              # 10, 100 and 400 million tokens
    python tests/bench.py scale 10 1000                      # other sizes, in millions

A token's share of the matmul peak counts 6 N + 12 n_layer n_embd T floating-point operations for
training, N being the parameters without the positions (Chowdhery et al. 2204.02311, appendix B).
"""
import contextlib
import csv
import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from unittest import mock

import datasets
import numpy as np
import torch
from tqdm import tqdm

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)
import eval_xe
import machine
import model
import prepare
import sample_mix
import tokenizer
from configurator import file_hash

# n_layer, n_head, n_embd, V, windows in a batch, T, dropout
DEFAULT = 6, 4, 256, 32000, 64, 100, 0.0
LAPTOP = 2, 2, 128, 1024, 16, 100, 0.0  # config/cpu.py
TINY = 2, 2, 64, 33, 64, 100, 0.0
MIDDLE = 6, 4, 256, 8192, 64, 100, 0.0
SIZES = (DEFAULT, MIDDLE, LAPTOP, (2, 2, 128, 4096, 16, 100, 0.0),
         (2, 2, 128, 4096, 16, 100, 0.1), TINY)

def size_name(L, H, C, V, B, T, dropout):
    return f'{L}/{H}/{C}, V = {V:,}, {B} x {T}' + (f', dropout {dropout}' if dropout else '')

def seconds(function, repeats=5):
    """The median time of a call in seconds."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return float(np.median(times))

def call(*args):
    """Runs Python in a process of its own to its end; returns what it printed, and the seconds."""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, *args], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout, time.perf_counter() - began

def peak_memory(script, *args):
    """Runs a script; returns the largest memory that it held at one time, in MiB (Linux)."""
    code = ('import runpy, sys; sys.path.insert(0, sys.argv[1]); sys.argv = sys.argv[2:];'
            'runpy.run_path(sys.argv[0], run_name="__main__");'
            'status = open("/proc/self/status").read();'
            'print(status.partition("VmHWM:")[2].split()[0])')
    return int(call('-c', code, ROOT, os.path.join(ROOT, script), *args)[0].split()[-1]) / 1024

def read_texts(folder):
    """
    (text, label) pairs: the train split of a local folder, or 40,000 texts of made-up words that
    follow Zipf's law.
    """
    if folder:
        rows = datasets.load_dataset(folder, streaming=True)['train']
        return [(row['text'], str(row['label'])) for row in rows]
    rng, letters = np.random.default_rng(0), list('etaoinshrdlucmfwyp')
    words = np.array([''.join(rng.choice(letters, rng.integers(1, 11))) for _ in range(50_000)])
    return [(' '.join(words[rng.zipf(1.2, rng.integers(50, 250)) % len(words)]), str(i % 10))
            for i in range(40_000)]

# what prepare.py does with a parquet file, by the libraries as they come, all of it in memory
PLAIN = '''
import hashlib, json, os, sys
import numpy as np
import pandas as pd
import tokenizers
frame, seen, docs = pd.read_parquet(sys.argv[1]), set(), {}
for text, label in zip(frame['text'], frame['label']):
    digest = hashlib.sha256(text.encode()).digest()
    if digest not in seen:
        seen.add(digest)
        split = {8: 'val', 9: 'test'}.get(int.from_bytes(digest, 'big') % 10, 'train')
        docs.setdefault(label, {}).setdefault(split, []).append(text)
share = min(sum(len(text.encode()) for text in docs[label]['train']) for label in docs)
def sample():
    for label in docs:
        left = share
        for text in docs[label]['train']:
            yield text.encode()[:max(left, 0)].decode(errors='ignore')
            left -= len(text.encode())
bpe = tokenizers.ByteLevelBPETokenizer()
bpe.train_from_iterator(sample(), vocab_size=8192, min_frequency=0, show_progress=False,
                        special_tokens=['<|endoftext|>'])
facts = {}
for label, split in [(label, split) for label in docs for split in docs[label]]:
    os.makedirs(f'plain/{label}', exist_ok=True)
    ids = [encoding.ids for encoding in bpe.encode_batch(docs[label][split])]
    np.concatenate([np.array(x, np.uint16) for x in ids]).tofile(f'plain/{label}/{split}.bin')
    np.save(f'plain/{label}/{split}.idx.npy', np.cumsum([0, *map(len, ids)]))
    facts[f'{label} {split}'] = len(ids)
bpe.save('plain/tokenizer.json')
json.dump(facts, open('plain/meta.json', 'w'))
'''

def bench_prepare(folder=None):
    pairs = read_texts(folder)
    texts = [text for text, _ in pairs]
    docs = [text.encode() for text in texts]
    lengths = list(map(len, docs))
    with open('staged', 'wb') as f:
        f.writelines(docs)
    facts = {'starts': np.cumsum([0, *lengths[:-1]]), 'lengths': lengths}
    tok = tokenizer.train_bpe(prepare.sample_texts('staged', {'all': {'train': facts}}), 8192)
    encode = prepare.encoder(tok, tokenizer.to_tiktoken(tok))
    batches = list(prepare.read_documents('staged', facts))

    def ours():
        shutil.rmtree('ours', ignore_errors=True)
        with tqdm(disable=True) as bar:
            prepare.write_tokens('.', 'ours', 'train', batches, encode, bar)

    def theirs():
        encodings = tok.encode_batch(texts, add_special_tokens=False)
        np.concatenate([np.array(e.ids, dtype='<u2') for e in encodings]).tofile('theirs')

    # in turn, so that what else the machine does meets both
    times = [(seconds(ours, 1), seconds(theirs, 1)) for _ in range(5)]
    with open('ours/train.bin', 'rb') as f, open('theirs', 'rb') as g:
        same = 'the same' if f.read() == g.read() else 'OTHER'
    n, (a, b) = os.path.getsize('theirs') / 2e6, np.median(times, axis=0)
    print(f'tokenizing {sum(lengths) / 1e6:.0f} MB to {n:.1f} M tokens on disk, BPE of 8,192,'
          f' {os.cpu_count()} cores: prepare.py {n / a:.2f} M tokens/s, encode_batch {n / b:.2f}:'
          f' {b / a:.2f} times as fast, {same} bytes', flush=True)

    datasets.disable_progress_bars()

    def repeat(times):
        return ({'text': f'{i} {text}', 'label': label} for i in range(times)
                for text, label in pairs)

    def spent(function, *args):
        """(what it returns, processor time of the processes it starts, seconds)"""
        cpu, began = sum(os.times()[2:4]), time.perf_counter()
        result = function(*args)
        return result, sum(os.times()[2:4]) - cpu, time.perf_counter() - began

    for times in (1, 10):
        rows = datasets.Dataset.from_generator(repeat, gen_kwargs={'times': times},
                                               cache_dir='cache')
        rows.to_parquet(f'{times}.parquet')
    prepare_py = [os.path.join(ROOT, 'prepare.py'), '--vocab_size=8192']

    # as whole processes, in turn
    runs = [(spent(call, *prepare_py, '--dataset=x', '--source=1.parquet', '--overwrite=True')[1:],
             spent(call, '-c', PLAIN, '1.parquet')[1:]) for _ in range(3)]
    ours, theirs = np.median(runs, axis=0)  # (processor time, seconds) of each
    files = glob.glob('*/*.bin', root_dir='plain')
    same = all(file_hash(f'plain/{name}') == file_hash(f'data/x/{name}') for name in files)
    print('whole processes, processor time and seconds: prepare.py {:.1f}, {:.1f}; a plain script'
          ' of encode_batch {:.1f}, {:.1f}: {:.2f} and {:.2f} times'.format(
              *ours, *theirs, *theirs / ours)
          + f', {"the same" if same else "OTHER"} bytes in {len(files)} files', flush=True)

    (peak, cpu, _), (peak_10, cpu_10, _) = (
        spent(peak_memory, 'prepare.py', f'--dataset=x{times}', f'--source={times}.parquet',
              '--vocab_size=8192') for times in (1, 10))
    print(f'prepare.py on that text and on ten times as much: peak memory {peak:.0f} and'
          f' {peak_10:.0f} MiB, {peak_10 / peak:.2f} times; processor time {cpu:.1f} and'
          f' {cpu_10:.1f} s, {cpu_10 / cpu:.2f} times')

class Head(torch.nn.Module):
    """TokenXE alone, as a module that compile_model compiles."""

    def __init__(self, V, C, chunk, is_kept):
        super().__init__()
        self.chunk, self.is_kept = chunk, is_kept
        self.weight = torch.nn.Parameter(0.02 * torch.randn(V, C))

    def forward(self, h, y):
        return model.TokenXE.apply(h, self.weight, y, self.chunk, self.is_kept)

def bench_head():
    """Forward and backward with the logits kept, in one chunk, and recomputed, in several."""
    dtype, autocast = machine.choose_dtype('', 'cpu')
    for L, H, C, V, B, T, dropout in (DEFAULT, LAPTOP):
        N, results = B * T, []
        for chunks in (1, 4, 13):  # 13 is what CHUNK makes of DEFAULT
            rows, saved = -(-N // chunks), {}
            h, y = torch.randn(N, C, requires_grad=True), torch.randint(V, (N,))
            head = Head(V, C, rows * V, chunks == 1)

            def keep(x):
                saved[x.data_ptr()] = x.nbytes
                return x

            def step():
                h.grad = head.weight.grad = None
                with autocast:
                    loss = head(h, y).mean()
                loss.backward()

            torch._dynamo.reset()
            machine.compile_model(head, 'cpu')
            step()
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
                step()
            results.append(f'{chunks} x {rows} rows {1e3 * seconds(step, 15):.1f} ms,'
                           f' {sum(saved.values()) / 1e6:.1f} MB kept')
        print(f'TokenXE at {size_name(L, H, C, V, B, T, dropout)}, {dtype},'
              f' {torch.get_num_threads()} threads: ' + '; '.join(results), flush=True)

def matmul_peak(dtype, device):
    """Floating-point operations a second of a product of matrices of 4,096 (CPU: 2,048) squared."""
    n, times = (2048, 1) if device == 'cpu' else (4096, 2)
    a, b = torch.randn(2, n, n, device=device, dtype=dtype)

    def product():
        for _ in range(times):
            c = a @ b
        float(c[0, 0])  # waits for all of them
    product()
    return 2 * n**3 * times / seconds(product, 20)

def write_data_set(name, vocab_size, T):
    """
    data/<name>: one component of random tokens, 2,000 documents of 10 T tokens to train on and 100
    in each other split.
    """
    os.makedirs(f'data/{name}/a', exist_ok=True)
    rng, splits = np.random.default_rng(0), {}
    for split, docs in (('train', 2000), ('val', 100), ('test', 100)):
        n, path = docs * 10 * T, f'data/{name}/a/{split}'
        rng.integers(0, vocab_size - 1, n).astype('<u2').tofile(f'{path}.bin')
        np.save(f'{path}.idx.npy', np.arange(docs + 1) * 10 * T)
        splits[split] = {'docs': docs, 'tokens': n, 'bytes': n, 'sha256': file_hash(f'{path}.bin')}
    with open(f'data/{name}/meta.json', 'w') as f:
        json.dump({'dataset': name, 'source': 'random', 'tokenizer': 'none',
                   'vocab_size': vocab_size, 'bos_id': vocab_size - 1,
                   'components': {'a': splits}}, f)

NANOGPT = '''
import contextlib, io, json, sys, time
import torch
sys.path.insert(0, sys.argv[1])
from model import GPT, GPTConfig
L, H, C, V, B, T, dropout = json.loads(sys.argv[2])
device = 'cuda' if torch.cuda.is_available() else 'cpu'
with contextlib.redirect_stdout(io.StringIO()):
    net = GPT(GPTConfig(block_size=T, vocab_size=V, n_layer=L, n_head=H, n_embd=C, dropout=dropout,
                        bias=False)).to(device)
    optimizer = net.configure_optimizers(0.1, 5e-4, (0.9, 0.95), device)
net, (x, y) = torch.compile(net), torch.randint(V, (2, B, T), device=device)
context = contextlib.nullcontext()
if device == 'cuda':  # as its train.py does
    context = torch.autocast(device, torch.bfloat16)
times = []
while len(times) < 8 or sum(times) < 4:
    began = time.perf_counter()
    with context:
        _, loss = net(x, y)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    loss.item()
    times.append(time.perf_counter() - began)
print(B * T / sorted(times[2:])[(len(times) - 2) // 2])
'''

SAVES = '''
import copy, csv, runpy, sys, time
sys.path.insert(0, sys.argv[1])
import configurator
spent = 0.0
def timed(function):
    def call(*args, **kwargs):
        global spent
        began = time.perf_counter()
        result = function(*args, **kwargs)
        spent += time.perf_counter() - began
        return result
    return call
copy.deepcopy = timed(copy.deepcopy)
configurator.replace_file = timed(configurator.replace_file)
sys.argv = sys.argv[1:]
sys.argv[0] += '/train.py'
runpy.run_path(sys.argv[0], run_name='__main__')
rows = list(csv.DictReader(open('out/saves/log.csv')))
print(spent, rows[-1]['seconds'], rows[-1]['iter'])
'''

def bench_save():
    """The share of a run's seconds that its files take: checkpoints, their copies in memory."""
    for size, steps, interval in ((LAPTOP, 1500, 50), (MIDDLE, 120, 10), (DEFAULT, 60, 10)):
        L, H, C, V, B, T, dropout = size
        write_data_set(f'v{V}', V, T)
        spent, total, steps = map(float, call(
            '-c', SAVES, ROOT, f'--n_layer={L}', f'--n_head={H}', f'--n_embd={C}',
            f'--dataset=v{V}', f'--dropout={dropout}', '--components=a', f'--batch_size={B}',
            '--overwrite=True', '--val_windows_per_component=128', '--learning_rate=1e-5',
            f'--max_iters={steps}', f'--eval_interval={interval}',
            '--out_dir=out/saves')[0].split()[-3:])
        print(f'{size_name(*size)}: {steps:.0f} steps in {total:.1f} s, of which {spent:.2f} s'
              f' ({spent / total:.1%}) for files', flush=True)

def bench_train(nanogpt=None):
    device = machine.choose_device()
    dtype = machine.choose_dtype('', device)[0]
    peak = {name: matmul_peak(getattr(torch, name), device) for name in ('float32', 'bfloat16')}
    print(f'matmul peak on {device}: float32 {peak["float32"] / 1e9:,.0f}, bfloat16'
          f' {peak["bfloat16"] / 1e9:,.0f} GFLOP/s', flush=True)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    write_data_set('windows', 1000, 100)
    mix, _ = sample_mix.draw_mix(sample_mix.read_meta('windows'), 100, components='a')
    tokens = torch.from_numpy(mix['tokens'])
    batches = sample_mix.draw_batches(mix, 100, 512, 0)
    spent = seconds(lambda: [sample_mix.gather_windows(tokens, next(batches)[0], 100)
                             for _ in range(200)])
    print('windows of 100 tokens, on one core, batches of 512, the order of the epochs included:'
          f' {200 * 512 / spent / 1e6:.2f} M a second', flush=True)
    torch.set_num_threads(threads)

    for size in SIZES:
        bench_size(size, device, dtype, peak, nanogpt)

def bench_size(size, device, dtype, peak, nanogpt):
    L, H, C, V, B, T, dropout = size
    if not os.path.exists(f'data/v{V}'):
        write_data_set(f'v{V}', V, T)
    sizes = dict(n_layer=L, n_head=H, n_embd=C, block_size=T)
    n = sum(p.numel() for p in model.GPT(**sizes, vocab_size=V).parameters()) - T * C
    flops = 6 * n + 12 * L * C * T  # a token

    # the first run fills the compiler's cache
    args = [*(f'--{key}={value}' for key, value in sizes.items()), f'--dropout={dropout}',
            f'--dataset=v{V}', '--components=a', f'--batch_size={B}',
            '--val_windows_per_component=256', '--overwrite=True']
    os.environ['TORCHINDUCTOR_CACHE_DIR'] = os.path.abspath('cache-' + '-'.join(map(str, size)))
    one_step = [os.path.join(ROOT, 'train.py'), *args, '--max_iters=1', '--out_dir=out/first']
    cold, warm = (call(*one_step)[1] for _ in range(2))
    steps = max(20, int(1e12 / (flops * B * T)) // 10 * 10)
    long_run = ['train.py', *args, f'--max_iters={steps}', '--eval_interval=100000',
                f'--log_interval={steps // 10}', '--out_dir=out/speed']

    # evaluation
    eval_xe.device, eval_xe.batch_size = device, 64
    net = eval_xe.get_model(**sizes, vocab_size=V, dropout=0.0)
    tokens = np.random.default_rng(0).integers(0, V, (256, T))
    autocast = machine.choose_dtype(dtype, device)[1]

    def evaluate():
        eval_xe.window_losses(net, tokens, tokens[:, 0], autocast)
    evaluate()
    evaluated = tokens.size / seconds(evaluate, 7)

    # training, in turn with nanoGPT's; small sizes on one core too, and as on CPUs that have
    # nothing but float32
    all_threads, is_small = torch.get_num_threads(), device == 'cpu' and size in (LAPTOP, TINY)
    dtypes = list(dict.fromkeys((dtype, 'float32'))) if is_small else [dtype]
    for threads in (all_threads, 1) if is_small else (all_threads,):
        rounds, memory = [], {}
        with mock.patch.dict(os.environ, OMP_NUM_THREADS=str(threads)):
            for _ in range(5):
                rounds.append({})
                for kind in dtypes:
                    memory[kind] = peak_memory(*long_run, f'--dtype={kind}')
                    with open('out/speed/log.csv', newline='') as f:
                        rows = [row['tokens_per_second'] for row in csv.DictReader(f)]
                    rounds[-1][kind] = np.median([float(x) for x in rows if x][2:])
                if nanogpt:
                    output = call('-c', NANOGPT, nanogpt, json.dumps(size))[0]
                    rounds[-1]['nanoGPT'] = float(output.split()[-1])
        speeds = {kind: sorted(x[kind] for x in rounds) for kind in rounds[0]}
        for kind in dtypes:
            low, _, speed, _, high = speeds[kind]
            share = flops * speed / (peak[kind] * threads / all_threads)
            line = (f'{size_name(*size)}, {kind}, {threads} thread{"s" * (threads > 1)}:'
                    f' {speed:,.0f} training tokens/s ({low:,.0f} .. {high:,.0f}), {share:.0%} of'
                    f' the peak, {memory[kind]:,.0f} MiB')
            if nanogpt:
                low, _, theirs, _, high = speeds['nanoGPT']
                line += (f'; nanoGPT as it comes {theirs:,.0f} ({low:,.0f} .. {high:,.0f}):'
                         f' {speed / theirs:.2f} times as fast')
            print(line, flush=True)
    print(f'    evaluation {evaluated:,.0f} tokens/s; start to the end of a run of one step'
          f' {cold:.1f} s cold, {warm:.1f} s warm', flush=True)

def write_large_data_set(name, n_train, n_test):
    """
    data/<name>: four components of random tokens below 256, documents of 100 to 1,900 tokens, with
    about n_train tokens to train on and n_test in the other splits each, over all components.
    """
    rng, components = np.random.default_rng(0), {}
    for component in 'abcd':
        os.makedirs(f'data/{name}/{component}')
        components[component] = {}
        for split, n in (('train', n_train), ('val', n_test), ('test', n_test)):
            path = f'data/{name}/{component}/{split}'
            offsets = np.append(0, rng.integers(100, 1900, n // 4000).cumsum())
            with open(f'{path}.bin', 'wb') as f:
                for size in np.diff([*range(0, offsets[-1], 10**7), offsets[-1]]):
                    rng.integers(0, 256, size, dtype=np.uint16).astype('<u2').tofile(f)
            np.save(f'{path}.idx.npy', offsets)
            components[component][split] = {
                'docs': len(offsets) - 1, 'tokens': int(offsets[-1]), 'bytes': int(offsets[-1]),
                'sha256': file_hash(f'{path}.bin')}
    with open(f'data/{name}/meta.json', 'w') as f:
        json.dump({'dataset': name, 'source': 'random', 'tokenizer': 'none', 'vocab_size': 257,
                   'bos_id': 256, 'components': components}, f)

def bench_scale(*millions):
    """Three scripts on a whole data set; bytes a token are between the first size and the last."""
    rows = []
    for size in map(int, millions or (10, 100, 400)):
        n, name = 10**6 * size, f'm{size}'
        n_test = n // 10 if size <= 10 else n // 25  # 1, 4, 16 million
        write_large_data_set(name, n, n_test)
        data = [f'--dataset={name}', '--candidates=', '--k=4', '--block_size=100',
                '--constant_per_component=True']
        scripts = {'train.py': [*data, '--n_layer=1', '--n_head=1', '--n_embd=16', '--max_iters=1',
                                '--batch_size=64', '--val_windows_per_component=64',
                                '--dtype=float32', '--compile=False', f'--out_dir=out-{name}/run'],
                   'sample_mix.py': [*data, '--num_samples=0'],
                   'eval_xe.py': [f'--runs=out-{name}/run', '--windows_per_component=0',
                                  '--compile=False', f'--results_dir=results-{name}']}
        for script, args in scripts.items():
            began, before = time.perf_counter(), sum(os.times()[2:4])
            memory = peak_memory(script, *args)
            spent, cpu = time.perf_counter() - began, sum(os.times()[2:4]) - before
            tokens = n_test if script == 'eval_xe.py' else n
            rows.append((script, tokens, memory))
            print(f'{script} with {tokens / 1e6:.0f} M tokens: {spent:.1f} s, {cpu:.1f} of'
                  f' processor time; peak memory {memory:,.0f} MiB', flush=True)
        shutil.rmtree(f'data/{name}')
    for script in scripts:
        sizes, peaks = zip(*[row[1:] for row in rows if row[0] == script])
        if len(sizes) > 1:
            slope = 2**20 * (peaks[-1] - peaks[0]) / (sizes[-1] - sizes[0])
            print(f'{script}: {slope:.2f} bytes a token')

if __name__ == '__main__':
    benches = {'train': bench_train, 'head': bench_head, 'save': bench_save,
               'prepare': bench_prepare, 'scale': bench_scale}
    chosen, *rest = sys.argv[1:] or ['all']
    for name, bench in benches.items():
        if chosen in ('all', name):
            args = [x if x.isdigit() else os.path.abspath(x) for x in rest]
            with tempfile.TemporaryDirectory() as work, contextlib.chdir(work):
                bench(*args)
