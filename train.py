"""Trains one model on one mixture, to out/<run>/: ckpt.pt, which holds all of the run, and what
people and other tools read of it: best.pt, config.json, mix.json, log.csv.

    python train.py config/k2.py                          # the experiment at K = 2, on a GPU
    python train.py config/cpu.py config/k2.py            # on a laptop
    python train.py config/cpu.py --components=cs.DS      # the K = 1 specialist of one component
    torchrun --standalone --nproc_per_node=4 train.py config/k2.py
    python train.py config/cpu.py config/k2.py --init_from=resume    # go on with that run

A run can be killed at any instant and goes on as if it had not been: docs/outputs.md has the rules.
A step reads gradient_accumulation_steps x batch_size windows of block_size tokens, however many
processes share them. The number of steps follows from the budget: epochs x windows in the budget /
windows in a step, rounded down. A key that you add below counts as part of the run's setting.
"""
# -----------------------------------------------------------------------------
# the data: see sample_mix.py
dataset = 'arxiv'           # folder under data/, written by prepare.py
candidates = 'cs.DS,math.ST,math.GR,cs.IT,cs.PL'  # the K are chosen of these; '' = of all
components = ''             # exactly these, overriding k, comma separated
k = 2                       # number of components
shares = ''                 # '3,1': what they give of the budget, in their order; '' = equal
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
lr_decay_iters = 0          # the cosine reaches min_lr here; 0 = at the last step before a resume
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
dtype = ''                  # of products, float32 or bfloat16; '' = bfloat16 on GPUs and AMX
compile = True              # torch.compile: some 20 s at first, then faster steps
compile_mode = 'default'    # or reduce-overhead (CUDA graphs), or max-autotune: for a GPU
backend = ''                # of torchrun's processes: nccl or gloo; '' = what fits the device
# -----------------------------------------------------------------------------
from configurator import override

config = override(globals())

import copy
import csv
import math
import os
import signal
import sys
import time
from contextlib import nullcontext

import numpy as np
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

import checkpoint
import configurator
import sample_mix
from configurator import fail, random_stream, say
from machine import choose_device, choose_dtype, compile_model, find_ranks
from model import GPT
from sample_mix import with_first

checkpoint.check_ranges(config)
if wandb_log:
    try:
        import wandb
    except ImportError:
        fail('--wandb_log=True needs a package that is not installed: pip install wandb')

# the machine: processes and device
rank, world_size = find_ranks()
master = rank == 0  # writes files, and shows the progress
if batch_size % world_size:
    fail(f'--batch_size={batch_size} does not divide among {world_size} processes')
device = choose_device(device)
device_type = device.partition(':')[0]

# the mixture: the whole budget in one array on the device, two bytes a token
meta = sample_mix.read_meta(dataset)
if verify:
    sample_mix.check_hashes(meta, meta['components'], ('train', 'val'))
mix, record = sample_mix.draw_mix(meta, block_size, k, candidates, components, token_budget,
                                  mix_seed, shuffle_components, constant_per_component, shares)
names, token_budget, shares = (record[key] for key in ('components', 'token_budget', 'shares'))
k, T, windows_per_step = len(names), block_size, gradient_accumulation_steps * batch_size
max_iters = checkpoint.count_steps(config, token_budget)
lr_decay_iters = lr_decay_iters or max_iters * (init_from != 'resume')  # 0: the run's own
train_tokens = torch.from_numpy(mix['tokens'].view(np.int16)).to(device)  # (N,)
tags = dict(zip(names, sample_mix.first_tokens(meta, names, tag)))  # BOS for all without --tag
first = torch.tensor([*tags.values()], dtype=torch.int32, device=device)  # (K,)

# Validation windows, the same at every evaluation. Rank r takes each world_size-th of them, padded
# to whole micro-batches: of five, rank 0 of 2 takes 0, 2 and 4 and, with two at a time, one pad.
micro_batch = batch_size // world_size  # windows that one process takes at once
val = [sample_mix.eval_windows(meta, name, 'val', T, val_windows_per_component,
                               shuffle_components)['tokens'] for name in names]
sample_mix.check_unchanged(meta)  # all has been read from one and the same data set
n_val = np.array([len(w) for w in val])  # (K,)
val_component = np.repeat(np.arange(k), n_val)[rank::world_size]
n_counted, pad = len(val_component), -len(val_component) % micro_batch
val_component = torch.from_numpy(np.pad(val_component, (0, pad)))
val_tokens = np.concatenate(val, dtype=np.int32)[rank::world_size]
val_tokens = torch.from_numpy(np.pad(val_tokens, ((0, pad), (0, 0)))).to(device)
val_first = first[val_component.to(device)]

# the run's folder, and the checkpoint to go on from, whose number type stays; no file but a lock
out_dir = out_dir or checkpoint.usual_folder(config, record)
if master:
    held = configurator.lock(os.path.join(out_dir, 'lock'), out_dir)  # until the process ends
config = {key: globals()[key] for key in config}  # with what was derived above
saved = checkpoint.find_checkpoint(out_dir, config, names, record, __file__)
if saved:  # another machine would choose another dtype, a longer run another learning rate
    dtype, old = dtype or saved['config']['dtype'], saved['config']['lr_decay_iters']
    config['lr_decay_iters'] = lr_decay_iters = lr_decay_iters or (old if decay_lr else max_iters)
config['dtype'], autocast = choose_dtype(dtype, device)

# the model and its optimizer
model_args = dict(n_layer=n_layer, n_head=n_head, n_embd=n_embd, block_size=block_size, bias=bias,
                  vocab_size=meta['vocab_size'] + (len(meta['components']) if tag else 0),
                  dropout=dropout)
torch.manual_seed(seed)
model = GPT(**model_args).to(device)
matrices = [p for p in model.parameters() if p.dim() >= 2]
vectors = [p for p in model.parameters() if p.dim() < 2]
optimizer = torch.optim.AdamW([{'params': matrices, 'weight_decay': weight_decay},
                               {'params': vectors, 'weight_decay': 0.0}],
                              lr=learning_rate, betas=(beta1, beta2), fused=True)
lr = torch.zeros((), device=device)  # a tensor, so that no kernel waits for the host

# the run's state: what a checkpoint holds
iter_num, best_val_loss, best_iter, best = 0, math.inf, 0, None  # best: the weights of best_iter
loss_sum, loss_steps = torch.zeros((), device=device), 0  # since the last row of log.csv
rows, events = [], []  # of log.csv; what has happened since the last of them
code = [checkpoint.read_code(__file__)]  # that has trained it, one after the other
if saved:
    iter_num, best_val_loss, best_iter, best, loss_steps, rows = (saved[key] for key in (
        'iter_num', 'best_val_loss', 'best_iter', 'best', 'loss_steps', 'log'))
    loss_sum += saved['loss_sum']
    checkpoint.load_weights(model, saved['model'], out_dir)
    optimizer.load_state_dict(saved['optimizer'])
    new = [x for x in code[0] if checkpoint.why_other_code(saved['code'][-1][x], x, code[0])]
    events.append(' by another '.join([f'resumed at step {iter_num}', *new]))
    code = saved['code'] + code * bool(new)
torch.manual_seed(int(random_stream('dropout', seed, rank, iter_num).integers(2**62)))
if saved and master:  # it holds rank 0's; the others go on with a stream of their own
    torch.set_rng_state(saved['rng']['cpu'])
    if device_type != 'cpu' and device_type in saved['rng']:
        getattr(torch, device_type).set_rng_state(saved['rng'][device_type])
for group in optimizer.param_groups:
    group['lr'] = lr

# compiled, and in several processes
if compile:
    compile_model(model, device, compile_mode)
cuda_graphs = compile and compile_mode != 'default' and device_type == 'cuda'
for p in model.parameters() if cuda_graphs else ():
    p.grad = torch.zeros_like(p)  # not in a graph's memory, which its next replay overwrites
net = model  # what a training step calls
if world_size > 1:
    backend = backend or ('nccl' if device_type == 'cuda' else 'gloo')
    dist.init_process_group(backend, device_id=torch.device(device) if backend == 'nccl' else None)
    net = DistributedDataParallel(model)  # averages the gradient over processes

# ---- what the loop calls -----------------------------------------------------

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
            if cuda_graphs:  # one graph serves all batches
                torch.compiler.cudagraph_mark_step_begin()
            x.copy_(model(with_first(w, f), w).mean(1))
    model.train()
    total = torch.zeros(k, dtype=torch.float64)
    total.index_add_(0, val_component[:n_counted], xe[:n_counted].cpu().double())
    return total_over_processes(total) / n_val

def save(name):
    """Writes the run as it stands, whole or not at all: a dict with nanoGPT's keys, and more."""
    rng = {'cpu': torch.get_rng_state()}
    if device_type != 'cpu':
        rng[device_type] = getattr(torch, device_type).get_rng_state()
    state = {'model_args': model_args, 'iter_num': iter_num, 'best_val_loss': best_val_loss,
             'best_iter': best_iter, 'config': config, 'mix': record, 'tags': tags, 'code': code,
             'order': {'seed': seed, 'windows_read': iter_num * windows_per_step}, 'log': rows,
             'loss_sum': float(loss_sum), 'loss_steps': loss_steps, 'metadata': metadata}
    checkpoint.write_checkpoint(out_dir, name, state, {
        'model': model.state_dict(), 'best': best, 'optimizer': optimizer.state_dict(), 'rng': rng})

def write_row(row, events):
    """Adds a row, with what has happened since the last one, to the log and to wandb."""
    rows.append(row | {'tokens': row['iter'] * windows_per_step * T, 'event': '; '.join(events),
                       'seconds': round(seconds_before + time.perf_counter() - start_time, 2)})
    log.writerow(rows[-1])
    log_file.flush()
    call_wandb('log', rows[-1], step=row['iter'])

def call_wandb(function, *args, **kwargs):
    """Calls a function of wandb. If it fails, one line says so and the run goes on without it."""
    global wandb_log
    if not wandb_log:
        return
    try:
        getattr(wandb, function)(*args, **kwargs)
    except Exception as e:  # whatever the network, the account or the package gives
        wandb_log = False
        say(f'wandb.{function} failed, the run goes on without it: {str(e)[:200]}')

def stop_not_finite(quantity, step):
    """Ends the run over a number that is not finite, in step 1, 2, ..; ckpt.pt stays."""
    rate = get_lr(max(0, step - 1))
    if master:
        write_row({'iter': step, 'lr': rate}, [f'{quantity} is not finite'])
    bar.close()
    fail(f'{quantity} is not finite in step {step}, learning rate {rate:.3g}; {out_dir}/ckpt.pt is'
         ' of a step before it; start anew with a lower --learning_rate or --grad_clip')

def request_stop(number, frame):
    """Notes the first signal that asks the run to end; at a second one it ends at once."""
    global stop_signal
    stop_signal = stop_signal or number
    if world_size == 1:  # torchrun sends its processes more than one
        signal.signal(number, signal.SIG_DFL)

def end_on_error(kind, error, trace):
    """sys.excepthook in the loop: one line for what a signal broke, and for one of processes."""
    how = 'resume' if saved else 'auto'  # a run made longer is another to auto
    go_on = f'{out_dir} goes on by --init_from={how}, with any number of processes'
    if world_size > 1:  # torchrun ends the others
        reason = f'{kind.__name__}: {" ".join(str(error).split())[:300]}'
        say(f'process {rank} of {world_size} cannot go on ({reason}); {go_on}', by_all=True)
        os._exit(128 + stop_signal if stop_signal else 1)
    if stop_signal:  # Ctrl-C kills a compiler too
        fail(f'interrupted by {signal.Signals(stop_signal).name} in step {iter_num + 1}; {go_on}',
             128 + stop_signal)
    configurator.report_error(kind, error, trace)

# ---- the run's folder, with log.csv up to the checkpoint ---------------------

if master:
    checkpoint.tidy_folder(out_dir, is_new=not saved)
    n_parameters = sum(p.numel() for p in model.parameters())
    metadata = checkpoint.describe_process() | {'parameters': n_parameters}
    columns = ['iter', 'tokens', 'seconds', 'lr', 'train_xe', 'val_xe',
               *(f'val_xe_{name}' for name in names), 'grad_norm', 'tokens_per_second', 'event']
    log_file = open(os.path.join(out_dir, 'log.csv'), 'w', newline='', encoding='utf-8')
    log = csv.DictWriter(log_file, columns, lineterminator='\n')
    log.writeheader()
    log.writerows(rows)
    budget = token_budget * (k if constant_per_component else 1)  # which K T may not divide
    of_budget = f' of a budget of {budget:,}' * (record['tokens'] < 0.999 * budget)
    print(f'K = {k} ({", ".join(names)}): {record["windows"]:,} windows of {T} tokens an epoch,'
          f' {record["tokens"]:,} tokens{of_budget}\n'
          f'{n_parameters / 1e6:.2f} M parameters on {device} in {config["dtype"]}: {max_iters:,}'
          f' steps x {windows_per_step} windows = {max_iters * windows_per_step * T:,} tokens,'
          f' {max_iters * windows_per_step / record["windows"]:.2f} epochs -> {out_dir}',
          flush=True)
    call_wandb('init', project=wandb_project, config=config | metadata,
               name=wandb_run_name or os.path.basename(os.path.normpath(out_dir)))

# ---- training ----------------------------------------------------------------

stop_signal, stop_reason = 0, ''
sys.excepthook = end_on_error
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, request_stop)
batches = sample_mix.draw_batches(mix, T, batch_size, seed, iter_num * windows_per_step, device)
bar = tqdm(total=max_iters, initial=iter_num, unit=' steps', disable=not master,
           dynamic_ncols=True, desc='compiling' if compile else None,
           mininterval=0.1 if sys.stderr.isatty() else 10)
first_iter, last_logged = iter_num, iter_num if saved else -1  # the step of log.csv's last row
bad_step = torch.tensor(-1, device=device)  # the first whose gradient is not finite
grad_norm = torch.zeros((), device=device)  # of the last step
seconds_before = rows[-1]['seconds'] if rows else 0.0  # of the processes that trained it before
saved_at, save_seconds = -math.inf, 0.0  # when ckpt.pt was written last, and how long it took
start_time = row_time = time.perf_counter()
model.train()
while True:
    # a row of log.csv: the first and the last are evaluated too
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
        row['val_xe'] = float(val_xe.mean())
        row |= {f'val_xe_{name}': float(xe) for name, xe in zip(names, val_xe)}
        if row['val_xe'] < best_val_loss:
            best_val_loss, best_iter = row['val_xe'], iter_num
            best = copy.deepcopy(model.state_dict())
            events.append('best')

    # the end?
    if iter_num == max_iters:
        stop_reason = 'finished'
    elif patience and iter_num - best_iter >= patience * eval_interval:
        stop_reason = 'stopped early'
    elif stop_now:
        stop_reason = f'interrupted by {signal.Signals(stop_now).name}'
    events += [f'snapshot of step {iter_num}'] * snapshot_now + [stop_reason] * bool(stop_reason)
    if master and (log_now or stop_reason):
        write_row(row, events)
        events = []
        train_xe = f'train {row["train_xe"]:.3f}, ' if 'train_xe' in row else ''
        bar.set_postfix_str(f'{train_xe}best val {best_val_loss:.3f}', refresh=False)

    # checkpoints, as often as they take less than a fiftieth of the time, and at the end
    if master and snapshot_now:  # at 1, 2, 4, 8 ..
        save(f'step-{iter_num:06d}.pt')
    is_due = evaluate_now and time.perf_counter() - saved_at >= 50 * save_seconds
    if master and (is_due or stop_reason):
        began = time.perf_counter()
        save('ckpt.pt')
        saved_at, save_seconds = time.perf_counter(), time.perf_counter() - began
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
        del losses, loss  # what is alive keeps its place in a CUDA graph
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
    bar.update()

bar.close()
status = 128 + stop_now if stop_reason.startswith('interrupted') else 0
if master:
    log_file.close()
    print(f'{stop_reason} after step {iter_num:,} of {max_iters:,}, and saved; the same command'
          f' with --init_from=resume goes on | {out_dir}/ckpt.pt' if status else
          f'best val_xe {best_val_loss:.4f} nats at step {best_iter:,} of {iter_num:,},'
          f' {rows[-1]["tokens"]:,} tokens in {rows[-1]["seconds"]:.0f} s | {out_dir}/best.pt',
          flush=True)
    call_wandb('finish')
if world_size > 1:
    # All is written. gloo's threads were seen to abort the interpreter's shutdown (LOG.md): none.
    dist.barrier()
    os._exit(status)
if status:
    sys.exit(status)
