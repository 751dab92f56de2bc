"""
Trains one model on one mixture: writes config.json, mix.json, log.csv, ckpt.pt and best.pt to out/<run>/.

    python train.py config/k2.py                          # the experiment at K = 2, on a GPU
    python train.py config/cpu.py config/k2.py            # on a laptop
    python train.py config/cpu.py --components=cs.DS      # the K = 1 specialist of one component
    torchrun --standalone --nproc_per_node=4 train.py config/k2.py
    python train.py config/cpu.py config/k2.py --init_from=resume    # go on with a run that was cut short

A run can be killed at any instant: ckpt.pt is always whole, and what is resumed equals what was never stopped, bit for bit with one
process on the CPU. SIGTERM and SIGINT (Ctrl-C) end it after the step under way, torchrun's processes at the next row of log.csv,
with a checkpoint (status 143 and 130).

A step reads gradient_accumulation_steps x batch_size windows of block_size tokens, however many processes share
them. The number of steps follows from the budget: epochs x windows in the budget / windows in a step, rounded down.
"""
import csv
import glob
import io
import json
import math
import os
import platform
import signal
import subprocess
import sys
import time
from contextlib import nullcontext

import numpy as np
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from configurator import ROOT, fail, override, random_stream, replace_file
from model import GPT, choose_device, choose_dtype, compile_model, load_checkpoint
from sample_mix import check_hashes, draw_batches, draw_mix, eval_windows, first_tokens, read_meta, run_name, with_first

# -----------------------------------------------------------------------------
# the data: see sample_mix.py
dataset = 'arxiv'           # folder under data/, written by prepare.py
candidates = 'cs.DS,math.ST,math.GR,cs.IT,cs.PL'  # what the K components are chosen from ('' = all in the dataset)
components = ''             # exactly these, overriding k, comma separated
k = 2                       # number of components
token_budget = 0            # training tokens of one epoch, the same for every K; 0 = what the smallest candidate holds
mix_seed = 0                # which components, and which documents of each
shuffle_components = False  # True: the control, documents are dealt to the components at random
constant_per_component = False  # True: the control, token_budget is what each component gives, not what all give
tag = False                 # True: the first token of a window names its component; False: one BOS for all
block_size = 100            # tokens in a window: contexts of 0 .. 99 tokens
# the model
n_layer = 6                 # transformer blocks
n_head = 4                  # attention heads in each
n_embd = 256                # channels
dropout = 0.1               # of embeddings, attention, and what each sub-layer adds
bias = False                # True: biases in Linear and LayerNorm, as in GPT-2
# the run
out_dir = ''                # '' = out/<dataset>-k<K>-s<seed>, then mix_seed, controls, tag and named components
init_from = 'scratch'       # or resume: go on from ckpt.pt in out_dir; or auto: resume what is begun, start what is not, leave what is done
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
patience = 0                # stop after so many evaluations without a new lowest val_xe; 0 = never: best.pt has the best
log_interval = 10           # steps between rows of log.csv
snapshots = False           # True: also keep a checkpoint of step 1, 2, 4, 8 ..: step-000001.pt and so on
verify = False              # True: check the data's sha256 before training; their sizes are always checked
wandb_log = False           # True: log to Weights & Biases too (pip install wandb)
wandb_project = 'nanoXE'    # its project
wandb_run_name = ''         # its name for the run; '' = the folder's
# the machine
device = ''                 # cuda, cuda:1, mps or cpu; '' = the best there is
dtype = ''                  # float32 or bfloat16 (autocast, weights stay float32); '' = bfloat16 where it is faster
compile = True              # torch.compile: some 20 s at first, then faster steps
compile_mode = 'default'    # or reduce-overhead (CUDA graphs), or max-autotune: for a GPU
backend = ''                # of torchrun's processes: nccl or gloo; '' = what fits the device
# -----------------------------------------------------------------------------
config = override(globals())

# the machine: device, number type, processes
rank, world_size = int(os.environ.get('RANK', 0)), int(os.environ.get('WORLD_SIZE', 1))
if world_size > 1 and device in ('', 'cuda') and torch.cuda.is_available():
    if int(os.environ['LOCAL_WORLD_SIZE']) > torch.cuda.device_count():
        fail(f'torchrun started {os.environ["LOCAL_WORLD_SIZE"]} processes here for {torch.cuda.device_count()} GPUs')
    device = f'cuda:{os.environ["LOCAL_RANK"]}'
device = choose_device(device)
device_type = device.partition(':')[0]
asked_dtype, (dtype, autocast) = dtype, choose_dtype(dtype, device)
if device_type == 'cuda':
    torch.cuda.set_device(device)
    torch.set_float32_matmul_precision('high')  # TF32 where the type is float32
if compile_mode not in ('default', 'reduce-overhead', 'max-autotune'):
    fail(f'--compile_mode={compile_mode}: choose default, reduce-overhead or max-autotune')

# the settings that a mistake would break
for key in ('n_layer', 'n_head', 'n_embd', 'batch_size', 'gradient_accumulation_steps', 'epochs', 'eval_interval',
            'log_interval'):
    if globals()[key] < 1:
        fail(f'--{key}={globals()[key]}: at least 1')
for key in ('max_iters', 'token_budget', 'val_windows_per_component', 'patience', 'learning_rate', 'min_lr', 'weight_decay',
            'grad_clip', 'warmup_iters', 'lr_decay_iters', 'seed'):
    if not globals()[key] >= 0:
        fail(f'--{key}={globals()[key]}: at least 0')
for key in ('dropout', 'beta1', 'beta2'):
    if not 0 <= globals()[key] < 1:
        fail(f'--{key}={globals()[key]}: at least 0 and below 1')
if n_embd % n_head:
    fail(f'--n_embd={n_embd} does not divide into --n_head={n_head} heads')
if batch_size % world_size:
    fail(f'--batch_size={batch_size} does not divide among {world_size} processes')
if wandb_log:
    try:
        import wandb
    except ImportError:
        fail('--wandb_log=True needs a package that is not installed: pip install wandb')
if init_from not in ('scratch', 'resume', 'auto'):
    fail(f'--init_from={init_from}: choose scratch, resume or auto')

# the mixture: the whole budget in one array on the device
meta = read_meta(dataset)
if verify:
    check_hashes(meta, meta['components'], ('train', 'val'))
mix, record = draw_mix(dataset, block_size, k, candidates, components, token_budget, mix_seed, shuffle_components,
                       constant_per_component)
names, T = record['components'], block_size
k, token_budget = len(names), record['token_budget']
windows_per_step = gradient_accumulation_steps * batch_size
if max_iters == 0:  # from the budget, not from what a K can use of it, so that every K takes the same steps
    max_iters = epochs * (token_budget // T) // windows_per_step
if max_iters < 1:
    fail(f'{epochs} epochs of {token_budget // T} windows are less than one step of {windows_per_step}:'
         ' lower --batch_size or raise --epochs')
lr_decay_iters = lr_decay_iters or max_iters
train_tokens = torch.from_numpy(mix['tokens']).to(device)  # (N,) int32
first = torch.tensor(first_tokens(meta, names, tag), dtype=torch.int32, device=device)  # (K,) BOS, or the tags

# validation windows, the same at every evaluation: rank r takes each world_size-th, filled up to whole batches
val = [eval_windows(meta, name, 'val', T, val_windows_per_component, shuffle_components)['tokens'] for name in names]
n_val = np.array([len(w) for w in val])  # (K,)
share = batch_size // world_size  # windows that one process takes at once
val_component = np.repeat(np.arange(k), n_val)[rank::world_size]
fill = -len(val_component) % share
val_component = torch.from_numpy(np.pad(val_component, (0, fill), constant_values=k))  # component k: not counted
val_tokens = torch.from_numpy(np.pad(np.concatenate(val)[rank::world_size], ((0, fill), (0, 0)))).to(device)
val_first = first[val_component.clamp(max=k - 1).to(device)]

# the run's folder; nothing is written before this line
if not out_dir:
    out_dir = 'out/' + run_name(dataset, k, seed, mix_seed, shuffle_components, constant_per_component, tag,
                                '+'.join(names) if components else '')
ckpt_path, best_path, log_path = (os.path.join(out_dir, name) for name in ('ckpt.pt', 'best.pt', 'log.csv'))
if os.path.exists(out_dir) and not os.path.isdir(out_dir):
    fail(f'--out_dir={out_dir} is a file, not a folder')
auto = init_from == 'auto'
if auto:
    init_from = 'resume' if os.path.exists(ckpt_path) else 'scratch'
if init_from == 'scratch' and not (overwrite or auto) and (os.path.exists(ckpt_path) or os.path.exists(best_path)):
    fail(f'{out_dir} holds a run already: go on with it by --init_from=resume, replace it by --overwrite=True,'
         ' or choose another --out_dir')
checkpoint = None
if init_from == 'resume':
    if not os.path.exists(ckpt_path):
        fail(f'--init_from=resume: there is no {ckpt_path}; start the run anew by --init_from=scratch --overwrite=True')
    model, checkpoint = load_checkpoint(ckpt_path)
    if not asked_dtype:  # then the run's own: another machine would choose another
        dtype, autocast = choose_dtype(checkpoint['config'].get('dtype', ''), device)
config = {key: globals()[key] for key in config}  # with what was derived above

# the model and its optimizer
model_args = dict(n_layer=n_layer, n_head=n_head, n_embd=n_embd, block_size=block_size, bias=bias,
                  vocab_size=meta['vocab_size'] + (len(meta['components']) if tag else 0), dropout=dropout)
torch.manual_seed(seed)
iter_num, best_val_loss, best_iter = 0, math.inf, 0
if not checkpoint:
    model = GPT(**model_args)
else:
    iter_num, best_val_loss, best_iter = (checkpoint[key] for key in ('iter_num', 'best_val_loss', 'best_iter'))
    free = {'out_dir', 'init_from', 'overwrite', 'epochs', 'max_iters', 'lr_decay_iters', 'eval_interval', 'patience',
            'log_interval', 'snapshots', 'verify', 'wandb_log', 'wandb_project', 'wandb_run_name', 'device', 'compile',
            'compile_mode', 'backend'}
    if auto:  # which goes on with the same run, not with a longer one
        free -= {'max_iters', 'lr_decay_iters', 'eval_interval', 'patience'}
    changed = [key for key in config if key not in free and config[key] != checkpoint['config'].get(key)]
    if changed:
        fail(f'--init_from=resume: {out_dir} was trained with ' + ', '.join(
            f'{key}={checkpoint["config"].get(key)!r}, not {config[key]!r}' for key in changed))
    if checkpoint['mix'] != record:
        fail(f'--init_from=resume: data/{dataset} is not the data that {out_dir} was trained on')
    done = iter_num >= max_iters or patience and iter_num - best_iter >= patience * eval_interval
    if done and auto:
        print(f'{out_dir} is done, after {iter_num:,} of at most {max_iters:,} steps')
        sys.exit(0)
    if done:
        fail(f'{out_dir} is done, after {iter_num:,} steps: nothing to resume (raise --epochs, --max_iters or --patience)')
model.to(device)
decayed = [p for p in model.parameters() if p.dim() >= 2]
others = [p for p in model.parameters() if p.dim() < 2]
optimizer = torch.optim.AdamW([{'params': decayed, 'weight_decay': weight_decay}, {'params': others, 'weight_decay': 0.0}],
                              lr=learning_rate, betas=(beta1, beta2), fused=True)
torch.manual_seed(int(random_stream('dropout', seed, rank, iter_num).integers(2**62)))
if checkpoint:
    optimizer.load_state_dict(checkpoint['optimizer'])
    if rank == 0:  # the checkpoint holds the state of rank 0; the others go on with a stream of their own
        torch.set_rng_state(checkpoint['rng']['cpu'].cpu())
        if device_type == 'cuda' and 'cuda' in checkpoint['rng']:
            torch.cuda.set_rng_state(checkpoint['rng']['cuda'].cpu(), device)
lr = torch.zeros((), device=device)  # filled in before each step: a tensor, so that no kernel waits for the host
for group in optimizer.param_groups:
    group['lr'] = lr
if compile:
    compile_model(model, device, compile_mode)
net = model  # what a training step calls
if world_size > 1:
    dist.init_process_group(backend or ('nccl' if device_type == 'cuda' else 'gloo'))
    net = DistributedDataParallel(model)  # averages the gradient over processes

    def lost(kind, error, trace):
        """What a process does whose partner died, or that fails itself: says so in a line and ends; torchrun ends the others."""
        print(f'train.py: process {rank} of {world_size} cannot go on ({kind.__name__}: {" ".join(str(error).split())[:300]});'
              f' the run goes on from {ckpt_path} by --init_from=resume, with any number of processes', file=sys.stderr, flush=True)
        os._exit(1)
    sys.excepthook = lost


def get_lr(it):
    """The learning rate of step it = 0, 1, ..: linear warm-up, then a cosine from learning_rate to min_lr."""
    if it < warmup_iters:
        return learning_rate * (it + 1) / (warmup_iters + 1)
    if not decay_lr:
        return learning_rate
    done = min(1, (it - warmup_iters) / max(1, lr_decay_iters - warmup_iters))
    return min_lr + (learning_rate - min_lr) * (1 + math.cos(math.pi * done)) / 2


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
    with autocast:
        xe = torch.cat([model(with_first(w, f), w).mean(1) for w, f in zip(val_tokens.split(share), val_first.split(share))])
    model.train()
    total = torch.zeros(k + 1, dtype=torch.float64).index_add_(0, val_component, xe.cpu().double())
    return total_over_processes(total)[:k] / n_val


def save(path):
    """Writes a checkpoint, whole or not at all."""
    rng = {'cpu': torch.get_rng_state()} | ({'cuda': torch.cuda.get_rng_state(device)} if device_type == 'cuda' else {})
    checkpoint = {'model': model.state_dict(), 'optimizer': optimizer.state_dict(), 'model_args': model_args,
                  'iter_num': iter_num, 'best_val_loss': best_val_loss, 'best_iter': best_iter, 'config': config, 'rng': rng,
                  'order': {'seed': seed, 'windows_read': iter_num * windows_per_step}, 'mix': record,
                  'loss_sum': float(loss_sum), 'steps': steps}
    replace_file(path, lambda f: torch.save(checkpoint, f))


def write_row(row):
    """Adds a row to log.csv, and to wandb, with what happened since the last one in its column `event`."""
    row |= {'tokens': row['iter'] * windows_per_step * T, 'seconds': round(seconds_before + time.perf_counter() - began, 2),
            'event': '; '.join(events)}
    events.clear()
    try:
        log.writerow(row)
        log_file.flush()
    except OSError as e:
        fail(f'{log_path} cannot be written ({e}); {ckpt_path} is whole: make room, then --init_from=resume')
    if wandb_log:
        call_wandb('log', row, step=row['iter'])


def call_wandb(function, *args, **kwargs):
    """Calls a function of wandb. Where it fails that is said once, and the run goes on without wandb."""
    global wandb_log
    try:
        getattr(wandb, function)(*args, **kwargs)
    except Exception as e:  # whatever the network, the account or the package gives
        wandb_log = False
        tqdm.write(f'wandb.{function} failed, the run goes on without it: {" ".join(str(e).split())[:200]}')


def stop_not_finite(what, step):
    """Ends the run over a number that is not finite, in step 1, 2, ..: writes that step's windows down, and keeps ckpt.pt."""
    first_window, rate = max(0, step - 1) * windows_per_step, get_lr(max(0, step - 1))
    some = draw_batches(mix, T, windows_per_step, seed, skip=first_window)
    path = os.path.join(out_dir, 'nonfinite.json')
    if master:
        starts, owners = next(some).tolist()
        text = json.dumps({'step': step, 'lr': rate, 'what': what, 'windows': [
            {'component': names[c], 'start': s, 'tokens': mix['tokens'][s:s + T].tolist()} for s, c in zip(starts, owners)]})
        replace_file(path, lambda f: f.write(text.encode()))
        events.append(f'{what} is not finite')
        write_row({'iter': step, 'lr': rate})
    bar.close()
    fail(f'{what} is not finite in step {step}, learning rate {rate:.3g}, windows {first_window} to'
         f' {first_window + windows_per_step - 1} of the order (they are in {path}). {ckpt_path} is of a step before it: resume from it,'
         ' or start anew with a lower --learning_rate or --grad_clip')


# what this run is, written before it starts
master = rank == 0
columns = ['iter', 'tokens', 'seconds', 'lr', 'train_xe', 'val_xe', *(f'val_xe_{name}' for name in names), 'grad_norm',
           'tokens_per_second', 'event']
seconds_before, events = 0.0, []
if master:
    try:
        os.makedirs(out_dir, exist_ok=True)
        if not checkpoint:  # a run that is replaced goes whole, the checkpoint to resume from first
            for pattern in ('ckpt.pt', 'best.pt', 'log.csv', 'step-*.pt', 'losses-*.npz', 'xe_windows.npz', 'nonfinite.json'):
                for path in glob.glob(os.path.join(glob.escape(out_dir), pattern)):
                    os.remove(path)
    except OSError as e:
        fail(f'--out_dir={out_dir} cannot be written ({e})')
    try:
        commit = subprocess.run(['git', '-C', ROOT, 'describe', '--always', '--dirty', '--abbrev=40'],
                                capture_output=True, text=True).stdout.strip()
    except OSError:  # no git here
        commit = ''
    if checkpoint:
        events.append(f'resumed at step {iter_num}' + (f' by commit {commit}' if commit else ''))
    about = {'versions': {'python': platform.python_version(), 'torch': torch.__version__, 'numpy': np.__version__},
             'commit': commit, 'command': [os.path.basename(sys.argv[0]), *sys.argv[1:]],
             'world_size': world_size, 'parameters': sum(p.numel() for p in model.parameters())}
    for name, content in (('config.json', config | about), ('mix.json', record)):
        text = json.dumps(content, indent=1).encode()
        replace_file(os.path.join(out_dir, name), lambda f: f.write(text))
    rows = []
    if checkpoint and os.path.exists(log_path):  # the rows up to the checkpoint stay, but for one that a kill cut in two
        try:
            with open(log_path, newline='') as f:
                rows = [row for row in csv.DictReader(f) if None not in (*row, *row.values()) and int(row['iter']) <= iter_num]
            seconds_before = float(rows[-1]['seconds']) if rows else 0.0
        except (OSError, ValueError, KeyError) as e:
            fail(f'{log_path} cannot be read ({e!r}): move it away, and --init_from=resume starts another')
    text = io.StringIO(newline='')
    log = csv.DictWriter(text, columns, lineterminator='\n', extrasaction='ignore')
    log.writeheader()
    log.writerows(rows)
    replace_file(log_path, lambda f: f.write(text.getvalue().encode()))
    log_file = open(log_path, 'a', newline='')
    log = csv.DictWriter(log_file, columns, lineterminator='\n')
    print(f'K = {k} ({", ".join(names)}): {record["windows"]:,} windows of {T} tokens an epoch, {record["tokens"]:,} tokens\n'
          f'{about["parameters"] / 1e6:.2f} M parameters on {device} in {dtype}: {max_iters:,} steps x {windows_per_step}'
          f' windows x {T} tokens = {max_iters * windows_per_step * T:,} tokens,'
          f' {max_iters * windows_per_step / record["windows"]:.2f} epochs -> {out_dir}', flush=True)
    if wandb_log:
        call_wandb('init', project=wandb_project, name=wandb_run_name or os.path.basename(os.path.normpath(out_dir)), config=config | about)

batches = draw_batches(mix, T, batch_size, seed, skip=iter_num * windows_per_step, device=device)
windows = train_tokens.unfold(0, T, 1)  # (N - T + 1, T), a view: the window that begins at each token
bar = tqdm(total=max_iters, initial=iter_num, unit=' steps', disable=not master, dynamic_ncols=True,
           mininterval=0.1 if sys.stderr.isatty() else 10)
resumed_at, logged = iter_num, iter_num if checkpoint else -1  # logged: the step of log.csv's last row
loss_sum = torch.full((), checkpoint.get('loss_sum', 0.0) if checkpoint else 0.0, device=device)  # since that row
steps = checkpoint.get('steps', 0) if checkpoint else 0  # in loss_sum
bad_step = torch.tensor(-1, device=device)  # the first whose gradient is not finite
signals = []  # that ask the run to end


def ask_to_end(number, frame):
    """Notes the signal; where there is one process, a second one ends it at once. (torchrun sends its processes more than one.)"""
    signals.append(number)
    if world_size == 1:
        signal.signal(number, signal.SIG_DFL)


for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, ask_to_end)
began = t0 = time.perf_counter()
model.train()
while True:
    # a row of log.csv; evaluation at the first step, every eval_interval and at the last
    evaluating = iter_num % eval_interval == 0 or iter_num == max_iters
    due = iter_num != logged and (evaluating or iter_num % log_interval == 0)
    snapshot = snapshots and iter_num > resumed_at and iter_num & (iter_num - 1) == 0  # at 1, 2, 4, 8 ..
    interrupted = signals[0] if signals else 0
    if world_size > 1:  # they all end at the same step, a row's: only there do they talk about anything but gradients
        asked = total_over_processes(torch.tensor(interrupted)) if due else 0
        interrupted = (interrupted or signal.SIGTERM) if asked else 0  # one that was not asked itself goes along
    if (due or snapshot or interrupted) and bad_step >= 0:  # waits for the device
        stop_not_finite('the gradient', int(bad_step))
    row = {'iter': iter_num, 'lr': get_lr(max(0, iter_num - 1))}
    if snapshot:
        events.append(f'snapshot of step {iter_num}')
        if master:
            save(os.path.join(out_dir, f'step-{iter_num:06d}.pt'))
    if due:
        if steps:
            row['train_xe'] = float(total_over_processes(loss_sum)) / steps / world_size
            row['tokens_per_second'] = round((iter_num - logged) * windows_per_step * T / (time.perf_counter() - t0))
            row['grad_norm'] = float(grad_norm)
        loss_sum, steps, logged = torch.zeros((), device=device), 0, iter_num
    if due and evaluating:
        val_xe = evaluate()
        if not np.isfinite(val_xe).all():
            stop_not_finite('the validation XE', iter_num)
        row |= {'val_xe': val_xe.mean()} | {f'val_xe_{name}': xe for name, xe in zip(names, val_xe)}
        if val_xe.mean() < best_val_loss:
            best_val_loss, best_iter = float(val_xe.mean()), iter_num
            events.append('best')
            if master:
                save(best_path)
    ending = ('finished' if iter_num == max_iters else
              'stopped early' if patience and iter_num - best_iter >= patience * eval_interval else
              f'interrupted by {signal.Signals(interrupted).name}' if interrupted else '')
    if ending:
        events.append(ending)
    if master and (due or ending):
        write_row(row)
        train_xe = f'train {row["train_xe"]:.3f}, ' if 'train_xe' in row else ''
        bar.set_postfix_str(f'{train_xe}best val {best_val_loss:.3f}', refresh=False)
        if evaluating or ending:
            save(ckpt_path)
    if ending:
        break
    if due:
        t0 = time.perf_counter()

    # one step
    lr.fill_(get_lr(iter_num))
    for micro_step in range(gradient_accumulation_steps):
        start, component = next(batches)[:, rank * share:(rank + 1) * share]  # this process's windows, (B,) each
        w = windows.index_select(0, start)  # (B, T)
        wait = world_size > 1 and micro_step < gradient_accumulation_steps - 1  # the gradient travels once a step
        with net.no_sync() if wait else nullcontext():
            with autocast:
                loss = net(with_first(w, first[component]), w).mean() / gradient_accumulation_steps
            loss.backward()
        loss_sum += loss.detach()
    grad_norm = torch.nn.utils.clip_grad_norm_(model.parameters(), grad_clip or math.inf)
    bad_step = torch.where((bad_step < 0) & ~torch.isfinite(grad_norm), iter_num + 1, bad_step)
    if device_type == 'cpu' and bad_step >= 0:  # at once where nothing has to be waited for; elsewhere at the next row
        stop_not_finite('the gradient', int(bad_step))
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    iter_num, steps = iter_num + 1, steps + 1
    bar.update()

bar.close()
interrupted = interrupted if ending.startswith('interrupted') else 0
if master:
    log_file.close()
    if interrupted:
        print(f'{ending} after step {iter_num:,} of {max_iters:,}, and saved; the same command with --init_from=resume goes on'
              f' | {ckpt_path}')
    else:
        print(f'best val_xe {best_val_loss:.4f} nats at step {best_iter:,} of {iter_num:,}'
              f' | {iter_num * windows_per_step * T:,} tokens in {seconds_before + time.perf_counter() - began:.0f} s | {best_path}')
    if wandb_log:
        call_wandb('finish')
if world_size > 1:
    # All is written. gloo's threads have been seen to abort the interpreter's shutdown (LOG.md), so there is none.
    dist.barrier()
    sys.stdout.flush()
    os._exit(128 + interrupted if interrupted else 0)
if interrupted:
    sys.exit(128 + interrupted)
