"""
Prints speeds and memory, medians of several repetitions, every comparison within one run. Keep the machine idle.

    python tests/bench.py                                       # everything
    python tests/bench.py prepare                               # tokenizing
    python tests/bench.py prepare ../shared/arxiv-abstracts     # on a local folder of text instead of made-up words
"""
import os
import subprocess
import sys
import tempfile
import time

import datasets
import numpy as np
from tqdm import tqdm

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)
import prepare


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


if __name__ == '__main__':
    benches = {'prepare': bench_prepare}
    chosen, *rest = sys.argv[1:] or ['all']
    for name, bench in benches.items():
        if chosen in ('all', name):
            bench(*rest)
