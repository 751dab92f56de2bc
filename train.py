"""
Trains one model on one mixture. Writes config.json, mix.json, log.csv, ckpt.pt and best.pt to
out/<run>/.

    python train.py config/k2.py                          # the experiment at K = 2, on a GPU
    python train.py config/cpu.py config/k2.py            # on a laptop
    python train.py config/cpu.py --components=cs.DS      # the K = 1 specialist of one component
    torchrun --standalone --nproc_per_node=4 train.py config/k2.py
    python train.py config/cpu.py config/k2.py --init_from=resume    # go on with that run

A run can be killed at any instant: ckpt.pt is always whole, and a run that is resumed equals one
that was never stopped, bit for bit with one process on the CPU. SIGTERM and SIGINT (Ctrl-C) end it
after the step under way, torchrun's processes at the next row of log.csv, with a checkpoint (status
143 and 130). A resume may change the number of steps, eval_interval, patience, logging and the
machine; any other key that differs is refused by name, and so is another model.py. A folder has one
writer, who holds its file `lock`: a second one is refused. With --init_from=auto one command starts
a run, goes on with it or leaves it as it is, whichever it needs.

A step reads gradient_accumulation_steps x batch_size windows of block_size tokens, however many
processes share them. The number of steps follows from the budget: epochs x windows in the budget /
windows in a step, rounded down. A key that you add below counts as part of the run's setting.
"""
import copy
import csv
import glob
import json
import math
import os
import platform
import signal
import subprocess
import sys
import time
from contextlib import nullcontext

# first, so that Ctrl-C ends in one line while the others are imported
import configurator
from configurator import fail, override, replace_file, say, show

# isort: split
import numpy as np
import pandas as pd
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

import sample_mix
from model import (
    GPT,
    choose_device,
    choose_dtype,
    compile_model,
    load_checkpoint,
    run_state,
    why_not_resume,
)
from sample_mix import with_first

# -----------------------------------------------------------------------------
# the data: see sample_mix.py
dataset = 'arxiv'           # folder under data/, written by prepare.py
candidates = 'cs.DS,math.ST,math.GR,cs.IT,cs.PL'  # the K are chosen of these; '' = of all
components = ''             # exactly these, overriding k, comma separated
k = 2                       # number of components
token_budget = 0            # tokens of an epoch at every K; 0 = what the smallest candidate holds
mix_seed = 0                # which components, and which documents of each
shuffle_components = False  # True: the control, documents are dealt to the components at random
constant_per_component = False  # True: the control, each component gives token_budget tokens
tag = False                 # True: a window's first token names its component; False: BOS for all
block_size = 100            # tokens in a window: contexts of 0 .. 99 tokens
# the model
n_layer = 6                 # transformer blocks
n_head = 4                  # attention heads in each
n_embd = 256                # channels
dropout = 0.1               # of embeddings, attention, and what each sub-layer adds
bias = False                # True: biases in Linear and LayerNorm, as in GPT-2
# the run
out_dir = ''                # '' = out/<dataset>-k<K>-s<seed> and what else tells it apart
init_from = 'scratch'       # or resume: go on from ckpt.pt; or auto: start, resume or leave it
any_code = False            # True: go on with a run of another model.py, for you know better
overwrite = False           # True: replace a run that is there already
seed = 0                    # weights and the order of windows
epochs = 20                 # passes over the budget
max_iters = 0               # steps; 0 = as many as the epochs give
batch_size = 512            # windows in a micro-step, over all processes
gradient_accumulation_steps = 1  # micro-steps in a step
# AdamW
learning_rate = 5e-4        # the highest
weight_decay = 0.1          # of matrices and embeddings, not of LayerNorm and biases
beta1 = 0.9                 # decay of the gradient's mean
beta2 = 0.95                # decay of its mean square
grad_clip = 1.0             # largest norm of the gradient; 0 = any
decay_lr = True             # False: constant after the warm-up
warmup_iters = 100          # steps of linear warm-up
lr_decay_iters = 0          # the cosine reaches min_lr here; 0 = at the last step
min_lr = 5e-5               # a tenth of learning_rate
# evaluation and logging
eval_interval = 250         # steps between evaluations on the validation split, and checkpoints
val_windows_per_component = 1024  # validation windows of each component; 0 = all
patience = 0                # stop after so many evaluations without a new lowest val_xe; 0 = never
log_interval = 10           # steps between rows of log.csv
snapshots = False           # True: also keep the checkpoints of steps 1, 2, 4, 8 ..
verify = False              # True: check the data's sha256 before training, not their sizes alone
wandb_log = False           # True: log to Weights & Biases too (pip install wandb)
wandb_project = 'nanoXE'    # its project
wandb_run_name = ''         # its name for the run; '' = the folder's
# the machine
device = ''                 # cuda, cuda:1, mps or cpu; '' = the best there is
dtype = ''                  # of products, float32 or bfloat16; '' = bfloat16 where it is faster
compile = True              # torch.compile: some 20 s at first, then faster steps
compile_mode = 'default'    # or reduce-overhead (CUDA graphs), or max-autotune: for a GPU
backend = ''                # of torchrun's processes: nccl or gloo; '' = what fits the device
# -----------------------------------------------------------------------------
config = override(globals())

configurator.check_ranges(config)
if wandb_log:
    try:
        import wandb
    except ImportError:
        fail('--wandb_log=True needs a package that is not installed: pip install wandb')

# the machine: processes, device, number type
rank, world_size = int(os.environ.get('RANK', 0)), int(os.environ.get('WORLD_SIZE', 1))
master = rank == 0  # writes files, and shows the progress
if batch_size % world_size:
    fail(f'--batch_size={batch_size} does not divide among {world_size} processes')
device, wanted_dtype = choose_device(device), dtype
device_type = device.partition(':')[0]
dtype, autocast = choose_dtype(dtype, device, batch_size // world_size * block_size, n_embd)

# the mixture: the whole budget in one array on the device, two bytes a token
meta = sample_mix.read_meta(dataset)
if verify:
    sample_mix.check_hashes(meta, meta['components'], ('train', 'val'))
mix, record = sample_mix.draw_mix(dataset, block_size, k, candidates, components, token_budget,
                                  mix_seed, shuffle_components, constant_per_component)
names, T = record['components'], block_size
k, token_budget = len(names), record['token_budget']
windows_per_step = gradient_accumulation_steps * batch_size
max_iters = sample_mix.count_steps(config, token_budget)
lr_decay_iters = lr_decay_iters or max_iters
train_tokens = torch.from_numpy(mix['tokens'].view(np.int16)).to(device)  # (N,)
first = sample_mix.first_tokens(meta, names, tag)
first = torch.tensor(first, dtype=torch.int32, device=device)  # (K,)

# Validation windows, the same at every evaluation. Rank r takes each world_size-th of them, padded
# to whole micro-batches: of five, rank 0 of 2 takes 0, 2 and 4 and, with two at a time, one pad.
micro_batch = batch_size // world_size  # windows that one process takes at once
val = [sample_mix.eval_windows(meta, name, 'val', T, val_windows_per_component,
                               shuffle_components)['tokens'] for name in names]
sample_mix.check_unchanged(meta)  # all has been read from one and the same data set
n_val = np.array([len(w) for w in val])  # (K,)
val_component = np.repeat(np.arange(k), n_val)[rank::world_size]
n_counted = len(val_component)
pad = -n_counted % micro_batch
val_component = torch.from_numpy(np.pad(val_component, (0, pad)))
val_tokens = np.concatenate(val, dtype=np.int32)[rank::world_size]
val_tokens = torch.from_numpy(np.pad(val_tokens, ((0, pad), (0, 0)))).to(device)
val_first = first[val_component.to(device)]

# the run's folder, and the checkpoint to go on from; nothing is written yet
if not out_dir:
    only = sample_mix.name_components(names, record['tokens']) if components or k == 1 else ''
    out_dir = 'out/' + sample_mix.run_name(dataset, k, seed, mix_seed, shuffle_components,
                                           constant_per_component, tag, only)
ckpt_path, best_path, log_path = (os.path.join(out_dir, name)
                                  for name in ('ckpt.pt', 'best.pt', 'log.csv'))
if os.path.exists(out_dir) and not os.path.isdir(out_dir):
    fail(f'--out_dir={out_dir} is a file, not a folder')
if init_from == 'resume' and not os.path.exists(ckpt_path):
    fail(f'--init_from=resume: there is no {ckpt_path}; start the run anew by'
         ' --init_from=scratch --overwrite=True')
if master:
    held = configurator.lock(os.path.join(out_dir, 'lock'), out_dir)  # until the process ends
there_already = os.path.exists(ckpt_path) or os.path.exists(best_path)
if init_from == 'scratch' and there_already and not overwrite:
    fail(f'{out_dir} holds a run already: go on with it by --init_from=resume, replace it by'
         ' --overwrite=True, or choose another --out_dir')

# the checkpoint to go on from, where it is one of the same run
checkpoint, is_auto = None, init_from == 'auto'
may_replace = is_auto and overwrite  # what is there if it is another run
if init_from != 'scratch' and os.path.exists(ckpt_path):
    model, checkpoint = load_checkpoint(ckpt_path)
    if not wanted_dtype:  # then the run's: another machine would choose another
        dtype, autocast = choose_dtype(checkpoint['config'].get('dtype', ''), device)
config = {key: globals()[key] for key in config}  # with what was derived above
code = configurator.run_code()
if checkpoint:
    defaults = {key: default for key, (default, _) in configurator.read_settings(__file__).items()}
    reason = why_not_resume(checkpoint, config, defaults, names, record,
                            set() if is_auto else configurator.MAY_CHANGE_ON_RESUME)
    if reason and may_replace:
        if master:
            print(f'{out_dir} {reason}: it is replaced')
        checkpoint = None
    elif reason:
        fail(f'--init_from={init_from}: {out_dir} {reason}: set that back, or choose another'
             ' --out_dir, or --overwrite=True')
    elif not os.path.exists(best_path):
        if not is_auto:
            fail(f'--init_from=resume: there is no {best_path}, and only training gives it back;'
                 ' start the run anew by --init_from=scratch --overwrite=True')
        if master:
            print(f'{best_path} is gone: {out_dir} is trained again from the start')
        checkpoint = None
if checkpoint:
    if run_state(checkpoint | {'config': config}) != 'unfinished':
        done = f'{out_dir} is done, after {checkpoint["iter_num"]:,} of at most {max_iters:,} steps'
        if not is_auto:
            fail(f'{done}: nothing to resume (raise --epochs, --max_iters or --patience)')
        if master:
            for name in ('config', 'mix'):  # a kill may have left those of before the last resume
                path = os.path.join(out_dir, f'{name}.json')
                content = configurator.read_json(path) or {}
                if content | checkpoint[name] != content:
                    replace_file(path, json.dumps(content | checkpoint[name], indent=1))
            print(done)
        sys.exit(0)
    code_before = code | checkpoint.get('code', {})  # '+' joins the code before and after a resume
    new_code = [name for name in code if not code_before[name].endswith(code[name])]
    code = {name: f'{code_before[name]}+{x}' if name in new_code else code_before[name]
            for name, x in code.items()}

# the model and its optimizer
model_args = dict(n_layer=n_layer, n_head=n_head, n_embd=n_embd, block_size=block_size, bias=bias,
                  vocab_size=meta['vocab_size'] + (len(meta['components']) if tag else 0),
                  dropout=dropout)
torch.manual_seed(seed)
if not checkpoint:
    model = GPT(**model_args)
model.to(device)
matrices = [p for p in model.parameters() if p.dim() >= 2]
vectors = [p for p in model.parameters() if p.dim() < 2]
optimizer = torch.optim.AdamW([{'params': matrices, 'weight_decay': weight_decay},
                               {'params': vectors, 'weight_decay': 0.0}],
                              lr=learning_rate, betas=(beta1, beta2), fused=True)
lr = torch.zeros((), device=device)  # a tensor, so that no kernel waits for the host

# the run's state: what a checkpoint holds
iter_num, best_val_loss, best_iter = 0, math.inf, 0
loss_sum, loss_steps = torch.zeros((), device=device), 0  # since the last row of log.csv
if checkpoint:
    iter_num, best_val_loss, best_iter, loss_steps = (
        checkpoint[key] for key in ('iter_num', 'best_val_loss', 'best_iter', 'steps'))
    loss_sum += checkpoint['loss_sum']
    optimizer.load_state_dict(checkpoint['optimizer'])
torch.manual_seed(int(configurator.random_stream('dropout', seed, rank, iter_num).integers(2**62)))
if checkpoint and master:  # it holds rank 0's; the others go on with a stream of their own
    torch.set_rng_state(checkpoint['rng']['cpu'].cpu())
    if device_type != 'cpu' and device_type in checkpoint['rng']:
        getattr(torch, device_type).set_rng_state(checkpoint['rng'][device_type].cpu())
for group in optimizer.param_groups:
    group['lr'] = lr

# compiled, and in several processes
if compile:
    compile_model(model, device, compile_mode)
cuda_graphs = compile and compile_mode != 'default' and device_type == 'cuda'
if cuda_graphs:  # gradients must not lie in a graph's memory, which its next replay overwrites
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
net = model  # what a training step calls
if world_size > 1:
    backend = backend or ('nccl' if device_type == 'cuda' else 'gloo')
    dist.init_process_group(backend, device_id=torch.device(device) if backend == 'nccl' else None)
    sys.excepthook = configurator.report_error  # in place of torch's, which keeps its line
    net = DistributedDataParallel(model)  # averages the gradient over processes

# -----------------------------------------------------------------------------
# what the loop calls

columns = ['iter', 'tokens', 'seconds', 'lr', 'train_xe', 'val_xe',
           *(f'val_xe_{name}' for name in names), 'grad_norm', 'tokens_per_second', 'event']
events = []  # since the last row of log.csv
stop_signal = 0  # the number of one that asks the run to end
best_state = None  # the checkpoint of best_iter, where it is not on the disk yet
saved_at, save_seconds = -math.inf, 0.0  # when checkpoints were written last, and how long it took
unwritten = {}  # config.json and mix.json, until the first checkpoint of this process


def get_lr(it):
    """The learning rate of step it = 0, 1, ..: linear warm-up, then a cosine down to min_lr."""
    if it < warmup_iters:
        return learning_rate * (it + 1) / (warmup_iters + 1)
    if not decay_lr:
        return learning_rate
    progress = min(1, (it - warmup_iters) / max(1, lr_decay_iters - warmup_iters))
    return min_lr + (learning_rate - min_lr) * (1 + math.cos(math.pi * progress)) / 2


def total_over_processes(x):
    """Returns the sum of a tensor over the processes as a numpy array."""
    if world_size > 1:
        x = x.to(device)
        dist.all_reduce(x)
    return x.cpu().numpy()


@torch.no_grad()
def evaluate():
    """Returns the mean validation XE of each component in nats a token, (K,) float64."""
    model.eval()
    xe = torch.empty(len(val_tokens), device=device)  # one array: a list's would lie in the way
    with autocast:
        for x, w, f in zip(*(x.split(micro_batch) for x in (xe, val_tokens, val_first))):
            x.copy_(model(with_first(w, f), w).mean(1))
    model.train()
    total = torch.zeros(k, dtype=torch.float64)
    total.index_add_(0, val_component[:n_counted], xe[:n_counted].cpu().double())
    return total_over_processes(total) / n_val


def get_state():
    """Returns the checkpoint of this step: a dict with nanoGPT's keys, its tensors the run's."""
    rng = {'cpu': torch.get_rng_state()}
    if device_type != 'cpu':
        rng[device_type] = getattr(torch, device_type).get_rng_state()
    return {'model': model.state_dict(), 'optimizer': optimizer.state_dict(),
            'model_args': model_args, 'iter_num': iter_num, 'best_val_loss': best_val_loss,
            'best_iter': best_iter, 'config': config, 'rng': rng, 'mix': record, 'code': code,
            'order': {'seed': seed, 'windows_read': iter_num * windows_per_step},
            'loss_sum': float(loss_sum), 'steps': loss_steps}


def save(path, state):
    """Writes a checkpoint, whole or not at all."""
    replace_file(path, lambda f: torch.save(state, f))


def link_file(source, path):
    """Gives a file a second name. Returns whether the file system could."""
    try:
        os.link(source, path + '.link.tmp')
        os.replace(path + '.link.tmp', path)
    except OSError:
        return False
    return True


def save_checkpoints():
    """
    Writes best.pt, where it is not on the disk yet, and then ckpt.pt: in this order, so that a run
    that is killed in between comes past its best step again. A state that is both is written once.
    config.json and mix.json follow the first.
    """
    global best_state, saved_at, save_seconds
    began = time.perf_counter()
    if best_state:
        save(best_path, best_state)
    if not (best_state and best_iter == iter_num and link_file(best_path, ckpt_path)):
        save(ckpt_path, get_state())
    while unwritten:
        name, content = unwritten.popitem()
        replace_file(os.path.join(out_dir, name), json.dumps(content, indent=1))
    best_state, saved_at = None, time.perf_counter()
    save_seconds = saved_at - began


def write_row(row):
    """Adds a row to log.csv, and to wandb, with the events since the last one."""
    row = row | {'tokens': row['iter'] * windows_per_step * T, 'event': '; '.join(events),
                 'seconds': round(seconds_before + time.perf_counter() - start_time, 2)}
    events.clear()
    try:
        log.writerow(row)
        log_file.flush()
    except OSError as e:
        fail(f'{log_path} cannot be written ({e}); {ckpt_path} is whole: make room, then'
             ' --init_from=resume')
    if wandb_log:
        call_wandb('log', row, step=row['iter'])


def call_wandb(function, *args, **kwargs):
    """Calls a function of wandb. If it fails, one line says so and the run goes on without it."""
    global wandb_log
    try:
        getattr(wandb, function)(*args, **kwargs)
    except Exception as e:  # whatever the network, the account or the package gives
        wandb_log = False
        say(f'wandb.{function} failed, the run goes on without it: {str(e)[:200]}')


def stop_not_finite(quantity, step):
    """
    Ends the run over a number that is not finite, in step 1, 2, ..: writes the windows of that
    step, and keeps ckpt.pt.
    """
    skip, rate = max(0, step - 1) * windows_per_step, get_lr(max(0, step - 1))
    path = os.path.join(out_dir, 'nonfinite.json')
    if master:
        batch = next(sample_mix.draw_batches(mix, T, windows_per_step, seed, skip))
        windows = [{'component': names[c], 'start': s, 'tokens': mix['tokens'][s:s + T].tolist()}
                   for s, c in zip(*batch.tolist())]
        replace_file(path, json.dumps({'step': step, 'lr': rate, 'what': quantity,
                                       'windows': windows}))
        if best_state:  # it is of a step before
            save(best_path, best_state)
        events.append(f'{quantity} is not finite')
        write_row({'iter': step, 'lr': rate})
    show(bar.close)
    fail(f'{quantity} is not finite in step {step}, learning rate {rate:.3g}, windows {skip} to'
         f' {skip + windows_per_step - 1} of the order (they are in {path}). {ckpt_path} is of a'
         ' step before it; start anew with a lower --learning_rate or --grad_clip')


def request_stop(number, frame):
    """
    Notes the first signal that asks the run to end. A single process ends at once at a second one;
    torchrun sends its processes more than one.
    """
    global stop_signal
    stop_signal = stop_signal or number
    if world_size == 1:
        signal.signal(number, signal.SIG_DFL)


def end_on_error(kind, error, trace):
    """
    sys.excepthook from here on. One line for what a signal broke (Ctrl-C kills a compiler too), and
    for one of several processes, whereupon torchrun ends the others.
    """
    go_on = f'{out_dir} goes on by --init_from=auto, with any number of processes'
    if world_size > 1:
        reason = ' '.join(str(error).split())[:300]
        try:
            print(f'train.py: process {rank} of {world_size} cannot go on ({kind.__name__}:'
                  f' {reason}); {go_on}', file=sys.stderr, flush=True)
        finally:
            os._exit(128 + stop_signal if stop_signal else 1)
    if stop_signal:
        fail(f'interrupted by {signal.Signals(stop_signal).name} in step {iter_num + 1}; {go_on}',
             128 + stop_signal)
    configurator.report_error(kind, error, trace)


# -----------------------------------------------------------------------------
# the run's folder: config.json, mix.json, and log.csv up to the checkpoint

seconds_before = 0.0  # of the processes that trained this run before
if master:
    old = ['*.pt.*.tmp', '*.json.*.tmp', 'log.csv.*.tmp']  # what killed processes left
    if not checkpoint:  # a run that is replaced goes whole, the checkpoint to resume from first
        old += ['ckpt.pt', 'best.pt', 'config.json', 'mix.json', 'log.csv', 'step-*.pt',
                'losses-*.npz', 'xe_windows.npz', 'nonfinite.json']
    for path in [path for pattern in old for path in glob.glob(pattern, root_dir=out_dir)]:
        os.remove(os.path.join(out_dir, path))
    try:
        git = ['git', '-C', configurator.ROOT, 'describe', '--always', '--dirty', '--abbrev=40']
        commit = subprocess.run(git, capture_output=True, text=True).stdout.strip()
    except OSError:  # no git here
        commit = ''
    if checkpoint:
        causes = [f'commit {commit}'] * bool(commit) + [f'another {name}' for name in new_code]
        events.append(' by '.join([f'resumed at step {iter_num}', *causes]))
    n_parameters = sum(p.numel() for p in model.parameters())
    metadata = {'versions': {'python': platform.python_version(), 'torch': torch.__version__,
                             'numpy': np.__version__},
                'command': [os.path.basename(sys.argv[0]), *sys.argv[1:]], 'commit': commit,
                'code': code, 'world_size': world_size, 'parameters': n_parameters}
    unwritten |= {'config.json': config | metadata, 'mix.json': record}
    rows = []
    if checkpoint and os.path.exists(log_path):  # whole rows up to the checkpoint stay
        try:
            with open(log_path, newline='', encoding='utf-8') as f:
                rows = [row for row in csv.DictReader(f)
                        if None not in (*row, *row.values()) and int(row['iter']) <= iter_num]
            seconds_before = float(rows[-1]['seconds']) if rows else 0.0
        except (OSError, ValueError, KeyError) as e:
            fail(f'{log_path} cannot be read ({e!r}): move it away, and --init_from=resume starts'
                 ' another')
    replace_file(log_path, pd.DataFrame(rows, columns=columns).to_csv(index=False))
    log_file = open(log_path, 'a', newline='', encoding='utf-8')
    log = csv.DictWriter(log_file, columns, lineterminator='\n')
    print(f'K = {k} ({", ".join(names)}): {record["windows"]:,} windows of {T} tokens an epoch,'
          f' {record["tokens"]:,} tokens\n'
          f'{n_parameters / 1e6:.2f} M parameters on {device} in {dtype}: {max_iters:,} steps x'
          f' {windows_per_step} windows x {T} tokens = {max_iters * windows_per_step * T:,} tokens,'
          f' {max_iters * windows_per_step / record["windows"]:.2f} epochs -> {out_dir}',
          flush=True)
    if wandb_log:
        call_wandb('init', project=wandb_project, config=config | metadata,
                   name=wandb_run_name or os.path.basename(os.path.normpath(out_dir)))

# -----------------------------------------------------------------------------
# training

sys.excepthook = end_on_error
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, request_stop)
batches = sample_mix.draw_batches(mix, T, batch_size, seed, iter_num * windows_per_step, device)
bar = tqdm(total=max_iters, initial=iter_num, unit=' steps', disable=not master,
           dynamic_ncols=True, desc='compiling' if compile else None,
           mininterval=0.1 if sys.stderr.isatty() else 10)
first_iter, last_logged = iter_num, iter_num if checkpoint else -1  # the step of log.csv's last row
bad_step = torch.tensor(-1, device=device)  # the first whose gradient is not finite
grad_norm = torch.zeros((), device=device)  # of the last step
stop_reason = ''
start_time = row_time = time.perf_counter()
model.train()
while True:

    # what is due: a row of log.csv, which is evaluated at the first and the last step too?
    is_new = iter_num != last_logged  # a run that is resumed begins with a step that is in log.csv
    evaluate_now = is_new and (iter_num % eval_interval == 0 or iter_num == max_iters)
    log_now = evaluate_now or is_new and iter_num % log_interval == 0
    snapshot_now = snapshots and iter_num > first_iter and iter_num & (iter_num - 1) == 0
    stop_now = stop_signal
    if world_size > 1:  # all end at the same row, the only place where they talk of anything else
        asked = log_now and total_over_processes(torch.tensor(stop_now)) > 0
        stop_now = (stop_now or signal.SIGTERM) if asked else 0
    if (log_now or snapshot_now or stop_now) and bad_step >= 0:  # waits for the device
        stop_not_finite('the gradient', int(bad_step))
    row = {'iter': iter_num, 'lr': get_lr(max(0, iter_num - 1))}
    if snapshot_now:  # at 1, 2, 4, 8 ..
        events.append(f'snapshot of step {iter_num}')
        if master:
            save(os.path.join(out_dir, f'step-{iter_num:06d}.pt'), get_state())
    if log_now:
        if loss_steps:
            row_tokens = (iter_num - last_logged) * windows_per_step * T
            row |= {'train_xe': float(total_over_processes(loss_sum)) / loss_steps / world_size,
                    'tokens_per_second': round(row_tokens / (time.perf_counter() - row_time)),
                    'grad_norm': float(grad_norm)}
        loss_sum, loss_steps, last_logged = torch.zeros((), device=device), 0, iter_num
    if evaluate_now:
        val_xe = evaluate()
        if not np.isfinite(val_xe).all():
            stop_not_finite('the validation XE', iter_num)
        row |= {'val_xe': val_xe.mean()} | {f'val_xe_{c}': xe for c, xe in zip(names, val_xe)}
        if val_xe.mean() < best_val_loss:
            best_val_loss, best_iter = float(val_xe.mean()), iter_num
            events.append('best')

    # the end?
    if iter_num == max_iters:
        stop_reason = 'finished'
    elif patience and iter_num - best_iter >= patience * eval_interval:
        stop_reason = 'stopped early'
    elif stop_now:
        stop_reason = f'interrupted by {signal.Signals(stop_now).name}'
    if stop_reason:
        events.append(stop_reason)

    # checkpoints, as often as they take less than a fiftieth of the time, and at the end
    if master and (log_now or stop_reason):
        write_row(row)
        train_xe = f'train {row["train_xe"]:.3f}, ' if 'train_xe' in row else ''
        bar.set_postfix_str(f'{train_xe}best val {best_val_loss:.3f}', refresh=False)
    if master and (evaluate_now or stop_reason):
        save_now = stop_reason or time.perf_counter() - saved_at >= 50 * save_seconds
        if evaluate_now and best_iter == iter_num:
            best_state = get_state() if save_now else copy.deepcopy(get_state())
        if save_now:
            save_checkpoints()
    if stop_reason:
        break
    if log_now:
        row_time = time.perf_counter()

    # one step
    lr.fill_(get_lr(iter_num))
    for micro_step in range(gradient_accumulation_steps):
        start, component = next(batches)[:, rank * micro_batch:(rank + 1) * micro_batch]  # (B,)
        w = sample_mix.gather_windows(train_tokens, start, T)  # (B, T)
        is_last = micro_step == gradient_accumulation_steps - 1  # the gradient travels once a step
        if cuda_graphs:
            torch.compiler.cudagraph_mark_step_begin()
        with nullcontext() if world_size == 1 or is_last else net.no_sync():
            with autocast:
                losses = net(with_first(w, first[component]), w)  # (B, T)
                loss = losses.mean() / gradient_accumulation_steps
            loss.backward()
        loss_sum += loss.detach()
    grad_norm = torch.nn.utils.clip_grad_norm_(model.parameters(), grad_clip or math.inf)
    bad_step = torch.where((bad_step < 0) & ~torch.isfinite(grad_norm), iter_num + 1, bad_step)
    if device_type == 'cpu' and bad_step >= 0:  # at once where nothing has to be waited for
        stop_not_finite('the gradient', int(bad_step))
    optimizer.step()
    optimizer.zero_grad(set_to_none=not cuda_graphs)
    iter_num, loss_steps = iter_num + 1, loss_steps + 1
    if iter_num == first_iter + 1:  # the time to go is reckoned without the compilation
        bar.set_description(refresh=False)
        bar.unpause()
    show(bar.update)

show(bar.close)
if master:
    log_file.close()
    if stop_reason.startswith('interrupted'):
        print(f'{stop_reason} after step {iter_num:,} of {max_iters:,}, and saved; the same command'
              f' with --init_from=resume goes on | {ckpt_path}')
    else:
        seconds = seconds_before + time.perf_counter() - start_time
        print(f'best val_xe {best_val_loss:.4f} nats at step {best_iter:,} of {iter_num:,}'
              f' | {iter_num * windows_per_step * T:,} tokens in {seconds:.0f} s | {best_path}')
    if wandb_log:
        call_wandb('finish')
status = 128 + stop_now if stop_reason.startswith('interrupted') else 0
if world_size > 1:
    # All is written. gloo's threads were seen to abort the interpreter's shutdown (LOG.md): none.
    dist.barrier()
    configurator.flush_output()
    os._exit(status)
if status:
    sys.exit(status)
