"""
Prints speeds and memory, medians of several repetitions, every comparison within one run. Keep the machine idle.

    python tests/bench.py                                       # everything
    python tests/bench.py prepare                               # tokenizing
    python tests/bench.py prepare ../shared/arxiv-abstracts     # on a local folder of text instead of made-up words
    python tests/bench.py train ../nanoGPT                      # training and evaluation, and nanoGPT's checkout beside them

A token's share of the matmul peak counts 6 N + 12 n_layer n_embd T floating-point operations for training and a third of
that for evaluation, N being the parameters without the positions (Chowdhery et al. 2204.02311, appendix B).
"""
import csv
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time

import datasets
import numpy as np
import torch
from tqdm import tqdm

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)
import eval_xe
import prepare
import sample_mix
from model import GPT, choose_device, choose_dtype


def seconds(function, repeats=5):
    """The median time of a call in seconds."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def peak_memory(script, *args, cwd):
    """Runs a script to its end in a process of its own; returns the largest memory it held at one time, in MiB (Linux)."""
    code = ('import runpy, sys; sys.path.insert(0, sys.argv[1]); sys.argv = sys.argv[2:]; runpy.run_path(sys.argv[0], run_name="__main__");'
            'print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")))')
    done = subprocess.run([sys.executable, '-c', code, ROOT, os.path.join(ROOT, script), *args], cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return int(done.stdout.split()[-2]) / 1024


def some_texts(folder):
    """(text, label) pairs: the train split of a local folder, or 40,000 texts of made-up words that follow Zipf's law."""
    if folder:
        rows = datasets.load_dataset(folder, streaming=True)['train']
        return [(row['text'], str(row['label'])) for row in rows]
    rng = np.random.default_rng(0)
    words = np.array([''.join(rng.choice(list('etaoinshrdlucmfwyp'), rng.integers(1, 11))) for _ in range(50_000)])
    return [(' '.join(words[rng.zipf(1.2, rng.integers(50, 250)) % len(words)]), str(i % 10)) for i in range(40_000)]


def bench_prepare(folder=None):
    pairs = some_texts(folder)
    texts = [text for text, _ in pairs]
    size = sum(len(text.encode()) for text in texts)
    with tempfile.TemporaryDirectory() as work:
        path = os.path.join(work, 'documents')
        with open(path, 'wb') as f:
            f.writelines(text.encode() for text in texts)
        os.makedirs(os.path.join(work, 'all'))
        os.rename(path, os.path.join(work, 'all', 'train'))
        lengths = [len(text.encode()) for text in texts]
        tok = prepare.train_bpe(work, {'all': {'train': {'lengths': lengths}}}, 8192)
        tok.encode_special_tokens = True
        encode, docs = prepare.encoder(tok), [text.encode() for text in texts]
        ends = np.searchsorted(np.cumsum(lengths), np.arange(0, size, prepare.BATCH_BYTES)).tolist() + [len(docs)]

        def ours():
            with tqdm(disable=True) as bar:
                prepare.write_tokens(os.path.join(work, 'ours'), (docs[a:b] for a, b in zip(ends, ends[1:])), encode, bar)

        def theirs():
            ids = np.concatenate([np.array(e.ids, dtype='<u2') for e in tok.encode_batch(texts, add_special_tokens=False)])
            ids.tofile(os.path.join(work, 'theirs'))
        a, b = [], []
        for _ in range(5):  # in turn, so that what else the machine does meets both
            a.append(seconds(ours, 1))
            b.append(seconds(theirs, 1))
        with open(os.path.join(work, 'ours.bin'), 'rb') as f, open(os.path.join(work, 'theirs'), 'rb') as g:
            same = f.read() == g.read()
        n, a, b = os.path.getsize(os.path.join(work, 'theirs')) / 2e6, float(np.median(a)), float(np.median(b))
        print(f'tokenizing {size / 1e6:.0f} MB to {n:.1f} M tokens on disk, BPE of 8,192, {os.cpu_count()} cores: prepare.py {n / a:.2f} M tokens/s,'
              f' encode_batch {n / b:.2f}: {b / a:.2f} times as fast, {"the same" if same else "OTHER"} bytes')

        peaks = []
        for times in (1, 10):
            datasets.disable_progress_bars()
            datasets.Dataset.from_generator(
                lambda times: ({'text': f'{i} {text}', 'label': label} for i in range(times) for text, label in pairs),
                gen_kwargs={'times': times}, cache_dir=os.path.join(work, f'cache{times}')).to_parquet(os.path.join(work, f'{times}.parquet'))
            peaks.append(peak_memory('prepare.py', f'--dataset=x{times}', f'--source={times}.parquet', '--vocab_size=8192', cwd=work))
        print(f'prepare.py, peak memory: {peaks[0]:.0f} MiB for {size / 1e6:.0f} MB of text, {peaks[1]:.0f} MiB for ten times as much:'
              f' {peaks[1] / peaks[0]:.2f} times')


def matmul_peak(dtype, device):
    """Floating-point operations a second of a product of two matrices of 4,096 (2,048 on a CPU) squared."""
    n = 2048 if device == 'cpu' else 4096
    a, b = torch.randn(2, n, n, device=device, dtype=dtype)

    def product():
        a @ b
        if device != 'cpu':
            float((a @ b)[0, 0])  # waits for both
    product()
    return 2 * n**3 * (1 if device == 'cpu' else 2) / seconds(product, 20)


def write_data_set(name, vocab_size, T):
    """data/<name>: one component of random tokens, 2,000 documents of 10 T tokens to train on and 100 in each other split."""
    os.makedirs(f'data/{name}/a')
    rng, splits = np.random.default_rng(0), {}
    for split, docs in (('train', 2000), ('val', 100), ('test', 100)):
        raw = rng.integers(0, vocab_size - 1, docs * 10 * T).astype('<u2').tobytes()
        with open(f'data/{name}/a/{split}.bin', 'wb') as f:
            f.write(raw)
        np.save(f'data/{name}/a/{split}.idx.npy', np.arange(docs + 1) * 10 * T)
        splits[split] = {'docs': docs, 'tokens': docs * 10 * T, 'bytes': docs * 10 * T, 'sha256': hashlib.sha256(raw).hexdigest()}
    with open(f'data/{name}/meta.json', 'w') as f:
        json.dump({'dataset': name, 'source': 'random', 'tokenizer': 'none', 'vocab_size': vocab_size, 'bos_id': vocab_size - 1,
                   'components': {'a': splits}}, f)


NANOGPT = '''
import contextlib, io, json, sys, time
import torch
sys.path.insert(0, sys.argv[1])
from model import GPT, GPTConfig
L, H, C, V, B, T, dropout = (float(x) if '.' in x else int(x) for x in sys.argv[2:])
with contextlib.redirect_stdout(io.StringIO()):
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    net = GPT(GPTConfig(block_size=T, vocab_size=V, n_layer=L, n_head=H, n_embd=C, dropout=dropout, bias=False)).to(device)
    optimizer = net.configure_optimizers(0.1, 5e-4, (0.9, 0.95), device)
net, (x, y) = torch.compile(net), torch.randint(V, (2, B, T), device=device)
context = torch.autocast(device, torch.bfloat16) if device == 'cuda' else contextlib.nullcontext()  # as its train.py does
times = []
while len(times) < 8 or sum(times) < 15:
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


def bench_train(nanogpt=None):
    device = choose_device()
    kind = choose_dtype('', device)[0]
    peak = {dtype: matmul_peak(getattr(torch, dtype), device) for dtype in ('float32', 'bfloat16')}
    print(f'matmul peak on {device}: float32 {peak["float32"] / 1e9:,.0f}, bfloat16 {peak["bfloat16"] / 1e9:,.0f} GFLOP/s; {kind} is used below')

    def call(*args, **environment):
        began = time.perf_counter()
        done = subprocess.run([sys.executable, *args], env=os.environ | environment, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        return done.stdout, time.perf_counter() - began

    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        torch.set_num_threads(1)
        write_data_set('windows', 1000, 100)
        mix, _ = sample_mix.draw_mix('windows', 100, components='a')
        windows, batches = torch.from_numpy(mix['tokens']).unfold(0, 100, 1), sample_mix.draw_batches(mix, 100, 512, 0)
        spent = seconds(lambda: [windows.index_select(0, next(batches)[0]) for _ in range(200)])
        print(f'windows of 100 tokens, on one core, batches of 512, the order of the epochs included: {200 * 512 / spent / 1e6:.2f} M a second')
        torch.set_num_threads(os.cpu_count())

        for label, L, H, C, V, B, T, dropout in (
                ('6/4/256, V = 32,000, 64 x 100', 6, 4, 256, 32000, 64, 100, 0.0),
                ('6/4/256, V = 8,192, 64 x 100', 6, 4, 256, 8192, 64, 100, 0.0),
                ("2/2/128, V = 4,096, 16 x 100", 2, 2, 128, 4096, 16, 100, 0.0),
                ('the same with dropout 0.1', 2, 2, 128, 4096, 16, 100, 0.1),
                ('2/2/64, V = 33, 64 x 100', 2, 2, 64, 33, 64, 100, 0.0)):
            if not os.path.exists(f'data/v{V}'):
                write_data_set(f'v{V}', V, T)
            model_args = dict(n_layer=L, n_head=H, n_embd=C, block_size=T, vocab_size=V, dropout=dropout)
            n = sum(p.numel() for p in GPT(**model_args).parameters()) - T * C
            flops = 6 * n + 12 * L * C * T
            args = [f'--{key}={value}' for key, value in model_args.items() if key != 'vocab_size'] + [
                f'--dataset=v{V}', '--components=a', f'--batch_size={B}', '--val_windows_per_component=256', '--overwrite=True']
            train, cache = os.path.join(ROOT, 'train.py'), {'TORCHINDUCTOR_CACHE_DIR': os.path.join(work, f'cache-{V}-{dropout}')}
            first = [call(train, *args, '--max_iters=1', '--out_dir=out/first', **cache)[1] for _ in range(2)]
            steps = max(20, int(40e9 / (flops * B * T)) // 10 * 10)
            os.environ |= cache
            memory = peak_memory('train.py', *args, f'--max_iters={steps}', '--eval_interval=100000', f'--log_interval={steps // 10}',
                                 '--out_dir=out/speed', cwd=work)
            with open('out/speed/log.csv', newline='') as f:
                speed = float(np.median([float(row['tokens_per_second']) for row in csv.DictReader(f) if row['tokens_per_second']][2:]))

            eval_xe.device, eval_xe.batch_size = device, 64
            model, tokens = eval_xe.model_of(**model_args | {'dropout': 0.0}), np.random.default_rng(0).integers(0, V, (256, T))
            autocast = choose_dtype(kind, device)[1]
            eval_xe.window_losses(model, tokens, tokens[:, 0], autocast)
            evaluated = tokens.size / seconds(lambda: eval_xe.window_losses(model, tokens, tokens[:, 0], autocast), 7)
            line = (f'{label}: {speed:,.0f} training tokens/s, {flops * speed / peak[kind]:.0%} of the {kind} peak;'
                    f' evaluation {evaluated:,.0f}, {evaluated / speed:.1f} times that; peak memory {memory:,.0f} MiB;'
                    f' start to the end of a run of one step {first[0]:.1f} s cold, {first[1]:.1f} s warm')
            if nanogpt:
                theirs = float(call('-c', NANOGPT, nanogpt, *map(str, (L, H, C, V, B, T, dropout)))[0].split()[-1])
                line += f'; nanoGPT as it comes {theirs:,.0f}: {speed / theirs:.2f} times as fast'
            print(line, flush=True)


if __name__ == '__main__':
    benches = {'train': bench_train, 'prepare': bench_prepare}
    chosen, *rest = sys.argv[1:] or ['all']
    for name, bench in benches.items():
        if chosen in ('all', name):
            bench(*map(os.path.abspath, rest))
