"""
Runs the scripts in this process, on a small corpus that is written here: three components,
documents of many lengths.
"""
import gc
import os
import random
import re
import runpy
import signal
import sys
from unittest import mock

os.environ['HF_HUB_OFFLINE'] = '1'  # a missing source fails at once, not after five retries
os.environ['CUDA_VISIBLE_DEVICES'] = ''  # the suite is the CPU's; tests/gpu.py is for GPUs
os.environ['OMP_NUM_THREADS'] = '1'  # these models are too small for two threads

import datasets
import pytest
import torch

torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's & has it ignored
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)
import configurator  # noqa: E402
import plot_xe  # noqa: E402
from curves import COLUMNS  # noqa: E402

SMALL = ['--dataset=small', '--candidates=', '--block_size=16']
MODEL = ['--n_layer=1', '--n_head=2', '--n_embd=16', '--dropout=0.0', '--device=cpu',
         '--dtype=float32']
TRAIN = [*SMALL, *MODEL, '--batch_size=8', '--epochs=2', '--eval_interval=10', '--warmup_iters=2',
         '--learning_rate=3e-3']
# `torchrun --standalone --nproc_per_node=2 train.py`
BY_TWO = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2',
          os.path.join(ROOT, 'train.py')]

def pytest_configure(config):
    for text in ('Glyph', '`torch.jit', 'Detected pickle protocol 4'):  # of others' code, expected
        config.addinivalue_line('filterwarnings', f'ignore:{text}')

def pytest_collection_finish():
    gc.freeze()  # run() collects garbage each time: not among the imports' objects

def run(script, *args):
    """Runs a script as `python script args` would, in the current folder; returns its globals."""
    is_set = any(arg.startswith('--compile=') or arg == '--help' for arg in args)
    if script in ('train.py', 'eval_xe.py') and not is_set:
        args = [*args, '--compile=False']  # compiling takes longer than these runs
    argv, sys.argv, hook = sys.argv, [script, *args], sys.excepthook
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return runpy.run_path(os.path.join(ROOT, script), run_name='__main__')
    finally:
        sys.argv, sys.excepthook = argv, hook
        gc.collect()  # the locks of the script go
        for number, handler in handlers.items():
            signal.signal(number, handler)

def write_rows(rows, path, name='xe_by_component'):
    """Writes a DataFrame with the columns that eval_xe.py gives the file of that name; returns the
    path."""
    columns = re.sub(r'(\S+)\+', r'\1 \1_ci_low \1_ci_high', COLUMNS[name]).split()
    rows.reindex(columns=columns).to_csv(path, index=False)
    return str(path)

@pytest.fixture
def fails(capsys):
    """
    fails(script, *args): asserts status 2 and one line on stderr, without a traceback; returns the
    line.
    """
    def check(script, *args):
        with pytest.raises(SystemExit) as e:
            try:
                run(script, *args)
            except (OSError, MemoryError, RuntimeError) as error:  # python's hook, in its place
                with mock.patch.object(sys, 'argv', [script]):
                    configurator.report_error(type(error), error, error.__traceback__)
        err, name = capsys.readouterr().err, os.path.basename(script)
        lines = [line for line in err.splitlines() if line.startswith(f'{name}: ')]
        assert e.value.code == 2 and len(lines) == 1 and 'Traceback' not in err, err
        return lines[0]
    return check

def make_texts(n, words, rng):
    """n documents of 1 to 80 words, most of which end in what a tokenizer may stumble over."""
    ends = ['', ' ', '\r\n', 'emoji 🙂🏽', '$\\alpha_{i} \\to \\infty$', '<|endoftext|>',
            'é\u0301 ﬁ 中文', '\t\x00\x7f']
    return [' '.join(rng.choices(words, k=rng.randint(1, 80))) + rng.choice(ends)
            for _ in range(n)]

@pytest.fixture(scope='session')
def corpus(tmp_path_factory):
    """A folder with corpus/{train,validation,test}.parquet, as a hub data set would be laid out."""
    folder, rng = tmp_path_factory.mktemp('work'), random.Random(0)
    names = ['a', 'b.B', 'c']
    words = {name: [f'{name[0]}{i}' for i in range(20)] + ['the', 'of'] for name in names}
    features = datasets.Features({'text': datasets.Value('string'),
                                  'label': datasets.ClassLabel(names=names)})
    os.makedirs(folder / 'corpus')
    for split, n in (('train', 150), ('validation', 12), ('test', 12)):
        rows = [(text, i) for i, name in enumerate(names)
                for text in make_texts(n, words[name], rng)] + [('', 0)]
        rng.shuffle(rows)
        table = {'text': [text for text, _ in rows], 'label': [label for _, label in rows]}
        datasets.Dataset.from_dict(table, features=features).to_parquet(
            folder / 'corpus' / f'{split}.parquet')
    return folder

@pytest.fixture(scope='session')
def prepared(corpus):
    """The folder in which data/small is prepared."""
    here = os.getcwd()
    os.chdir(corpus)
    try:
        run('prepare.py', '--dataset=small', '--source=corpus', '--vocab_size=300')
    finally:
        os.chdir(here)
    return corpus

@pytest.fixture
def small(prepared, monkeypatch):
    """Works in the folder that has data/small."""
    monkeypatch.chdir(prepared)
    return prepared

@pytest.fixture
def all_pictures():
    """For a test that looks at pictures: all are drawn, as a user gets them."""

@pytest.fixture(autouse=True)
def few_pictures(request, monkeypatch):
    """Elsewhere one of each setting, without a layout: most of an evaluation's time is pictures."""
    if 'all_pictures' not in request.fixturenames:
        monkeypatch.setattr(plot_xe, 'PICTURES', {'xe_vs_k': plot_xe.draw_vs_k})
        monkeypatch.setitem(plot_xe.plt.rcParams, 'figure.constrained_layout.use', False)
