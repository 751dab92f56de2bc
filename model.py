"""
A GPT-2 that returns its loss at every position.

Parameter names and shapes are those of nanoGPT's model.py (and so of GPT-2), so a checkpoint of one
loads in the other. Letters in shape comments: B windows, T tokens in each, C = n_embd channels,
V = vocab_size.
"""
import ctypes
import glob
import math
import os
import timeit
import warnings
from contextlib import nullcontext

import torch
import torch.nn as nn
import torch.nn.functional as F

from configurator import (
    NOT_PART_OF_A_SETTING,
    cause,
    check_parts,
    check_ranges,
    checked,
    code_hash,
    cpu_cores,
    fail,
    is_count,
    looked_in,
    train_defaults,
)

# The most logits that exist at one time, by device: 67 MB in float32 on a CPU; on a GPU, where
# small products are slow, as many as 32-bit indices reach, 4.3 GB in bfloat16. See TokenXE.
HEAD_LOGITS = {'cpu': 2**24, 'mps': 2**24, 'cuda': 2**31 - 1}
# The same for a compiled training step on a CPU, .5 GB in bfloat16: to write them and read them
# again costs less than to compute them twice (LOG.md 2026-11-25).
KEPT_LOGITS = 2**28


class Attention(torch.autograd.Function):
    """
    Causal attention of q, k, v, (B, heads, T, D) each, with dropout of its weights; (B, heads, T,
    D). For CPUs: the backward pass needs no exponential and no row sum over T, as what is kept is
    e = exp(scores - their maximum), and the sum over j of P_ij dP_ij is that of dy_i y_i over D
    (Dao et al. 2205.14135, appendix B).
    """

    @staticmethod
    def forward(ctx, q, k, v, dropout):
        T, D = q.shape[2:]
        is_future = torch.ones(T, T, dtype=torch.bool, device=q.device).triu(1)
        scores = (q @ k.transpose(2, 3)).float() / math.sqrt(D)  # (B, heads, T, T)
        scores = scores.masked_fill(is_future, -math.inf)
        e = (scores - scores.amax(3, keepdim=True)).exp()
        total, e = e.sum(3, keepdim=True), e.to(v.dtype)
        keep = F.dropout(torch.ones_like(e), dropout) if dropout else None
        y = ((e * keep if dropout else e) @ v / total).to(v.dtype)  # (B, heads, T, D)
        ctx.save_for_backward(q, k, v, e, total, y, keep)
        return y

    @staticmethod
    def backward(ctx, grad):  # (B, heads, T, D)
        q, k, v, e, total, y, keep = ctx.saved_tensors
        grad = grad / total
        shift = (grad * y).sum(3, keepdim=True)
        grad, kept = grad.to(v.dtype), e if keep is None else e * keep
        grad_p = grad @ v.transpose(2, 3)  # (B, heads, T, T)
        grad_p = grad_p if keep is None else grad_p * keep
        grad_scores = (e * (grad_p - shift) / math.sqrt(q.shape[3])).to(v.dtype)
        return (grad_scores @ k, grad_scores.transpose(2, 3) @ q, kept.transpose(2, 3) @ grad,
                None)


class Block(nn.Module):
    """One transformer layer: x + attention(LayerNorm(x)), then x + MLP(LayerNorm(x))."""

    def __init__(self, n_head, n_embd, dropout, bias):
        super().__init__()
        self.n_head, self.dropout = n_head, dropout
        self.ln_1 = nn.LayerNorm(n_embd, bias=bias)
        self.attn = nn.ModuleDict({'c_attn': nn.Linear(n_embd, 3 * n_embd, bias=bias),
                                   'c_proj': nn.Linear(n_embd, n_embd, bias=bias)})
        self.ln_2 = nn.LayerNorm(n_embd, bias=bias)
        self.mlp = nn.ModuleDict({'c_fc': nn.Linear(n_embd, 4 * n_embd, bias=bias),
                                  'c_proj': nn.Linear(4 * n_embd, n_embd, bias=bias)})

    def drop(self, x):
        return F.dropout(x, self.dropout, self.training)

    def forward(self, x):  # (B, T, C) -> (B, T, C)
        qkv = self.attn['c_attn'](self.ln_1(x))  # (B, T, 3 C)
        q, k, v = qkv.unflatten(2, (3, self.n_head, -1)).permute(2, 0, 3, 1, 4)
        # each (B, heads, T, C / heads)
        dropout = self.dropout if self.training else 0.0
        if x.device.type == 'cpu':  # where that of PyTorch is slow (LOG.md 2026-11-25)
            y = Attention.apply(q, k, v, dropout)
        else:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=dropout)
        x = x + self.drop(self.attn['c_proj'](y.transpose(1, 2).flatten(2)))
        return x + self.drop(self.mlp['c_proj'](F.gelu(self.mlp['c_fc'](self.ln_2(x)))))


class GPT(nn.Module):
    """Learned positions, LayerNorm before each sub-layer, GELU, tied input and output weights."""

    def __init__(self, vocab_size, block_size, n_layer, n_head, n_embd, dropout=0.0, bias=False):
        super().__init__()
        seed = int(torch.randint(2**62, ()))  # before the layers below draw what is overwritten
        self.block_size, self.dropout = block_size, dropout
        self.transformer = nn.ModuleDict({
            'wte': nn.Embedding(vocab_size, n_embd),
            'wpe': nn.Embedding(block_size, n_embd),
            'h': nn.ModuleList([Block(n_head, n_embd, dropout, bias) for _ in range(n_layer)]),
            'ln_f': nn.LayerNorm(n_embd, bias=bias)})
        self.lm_head = nn.Linear(n_embd, vocab_size, bias=False)
        self.lm_head.weight = self.transformer['wte'].weight
        self.init_weights(n_layer, torch.Generator().manual_seed(seed))

    @torch.no_grad()
    def init_weights(self, n_layer, generator):
        """
        GPT-2's: normal(0, .02), what projects to the residual stream 1/sqrt(2 n_layer) of it. The
        embedding of tokens comes last, so that models that differ in vocab_size alone, as M and
        M_tag do, start from the same weights wherever they share them.
        """
        for name, p in reversed(list(self.named_parameters())):
            if p.dim() == 2:
                is_projection = name.endswith('c_proj.weight')
                std = 0.02 / math.sqrt(2 * n_layer) if is_projection else 0.02
                p.normal_(0, std, generator=generator)
            else:  # LayerNorm scales are 1, every bias is 0
                p.fill_(float('ln_' in name and name.endswith('weight')))

    def hidden(self, idx):
        """Token ids (B, T) to the final hidden states (B, T, C)."""
        x = self.transformer['wte'](idx) + self.transformer['wpe'].weight[:idx.shape[1]]
        x = F.dropout(x, self.dropout, self.training)
        for block in self.transformer['h']:
            x = block(x)
        return self.transformer['ln_f'](x)

    def logits(self, idx):
        """Token ids (B, T) to the logits of the token that follows each, (B, T, V)."""
        return self.lm_head(self.hidden(idx))

    def forward(self, idx, targets):
        """
        Returns the cross entropy of each target in nats, (B, T) float32: losses[b, t] is
        -ln p(targets[b, t] | idx[b, 0..t]). idx and targets are integer token ids, (B, T),
        T <= block_size.

        The logits of a large batch, (B * T, V), never exist as a whole: see TokenXE.
        """
        h = self.hidden(idx).flatten(0, 1)  # (B * T, C)
        y = targets.flatten().long()  # (B * T,)
        is_step = torch.compiler.is_compiling() and torch.is_grad_enabled()
        kind = h.device.type
        max_logits = KEPT_LOGITS if is_step and kind == 'cpu' else HEAD_LOGITS[kind]
        return TokenXE.apply(h, self.lm_head.weight, y, max_logits).view(targets.shape)


class TokenXE(torch.autograd.Function):
    """
    Cross entropy in nats, float32 (N,), of targets y (N,) under softmax(h weight^T); h is (N, C),
    weight (V, C). Products are in autocast's type where that is on, the softmax is in float32.

    A chunk of tokens has at most max_logits logits. Where a batch fits in one chunk its logits are
    kept for the backward pass, in the products' type. Where it does not, backward recomputes them
    chunk by chunk: one more matmul, and no (N, V) tensor (LOG.md 2026-11-25 has the measurements).
    """

    @staticmethod
    def forward(ctx, h, weight, y, max_logits):
        kind = h.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else h.dtype
        h, weight, types = h.to(dtype), weight.to(dtype), (h.dtype, weight.dtype)
        rows = max(1, max_logits // len(weight))
        losses, lse = [], []
        for h_chunk, y_chunk in zip(h.split(rows), y.split(rows)):
            logits = h_chunk @ weight.T  # (rows, V)
            lse.append(logits.float().logsumexp(1))
            losses.append(lse[-1] - logits.gather(1, y_chunk[:, None])[:, 0].float())
        kept = [logits] if len(losses) == 1 else []
        ctx.save_for_backward(h, weight, y, torch.cat(lse), *kept)
        ctx.rows, ctx.types = rows, types
        return torch.cat(losses)

    @staticmethod
    def backward(ctx, grad):  # (N,)
        h, weight, y, lse, *kept = ctx.saved_tensors
        ids = torch.arange(len(weight), device=y.device)  # (V,)
        grad_h, grad_weight = [], 0.0
        chunks = zip(*(x.split(ctx.rows) for x in (h, y, lse, grad)))
        for h_chunk, y_chunk, lse_chunk, grad_chunk in chunks:
            logits = kept[0] if kept else h_chunk @ weight.T  # (rows, V)
            p = (logits.float() - lse_chunk[:, None]).exp()
            one_hot = (ids == y_chunk[:, None]).float()
            grad_logits = ((p - one_hot) * grad_chunk[:, None]).to(weight.dtype)
            grad_h.append(grad_logits @ weight)
            grad_weight = grad_weight + (grad_logits.T @ h_chunk).float()
        return torch.cat(grad_h).to(ctx.types[0]), grad_weight.to(ctx.types[1]), None, None


# -----------------------------------------------------------------------------
# the machine


def choose_device(device=''):
    """
    Returns the device asked for, or where none is, the best there is: 'cpu', 'mps', or 'cuda:0'
    with its number, which becomes the current one. Of several processes each takes the GPU of its
    LOCAL_RANK, or the only one that it sees.

    Fails where the device is not on this machine, and where there is an NVIDIA GPU that torch
    cannot use, unless it was hidden or the CPU was asked for.
    """
    is_there = {'cuda': torch.cuda.is_available(), 'mps': torch.backends.mps.is_available(),
                'cpu': True}
    is_hidden = os.environ.get('CUDA_VISIBLE_DEVICES', '0') in ('', '-1')
    if device[:4] in ('', 'cuda') and not (is_there['cuda'] or is_hidden) and (
            glob.glob('/proc/driver/nvidia/gpus/*') or glob.glob('/dev/nvidia[0-9]*')):
        cause = 'was built without CUDA'
        if torch.version.cuda:
            cause = f'wants a driver for CUDA {torch.version.cuda} (for 13.0 that is 580 or newer)'
        fail(f'there is an NVIDIA GPU here that torch {torch.__version__} cannot use: it {cause}.'
             ' Update the driver (nvidia-smi shows yours), or install the torch that fits it from'
             ' pytorch.org, or go on without the GPU: --device=cpu')
    kinds = [kind for kind in is_there if is_there[kind]]  # the best first
    kind, _, number = (device or kinds[0]).partition(':')
    if kind not in kinds or (number and kind != 'cuda'):
        fail(f'--device={device}: this machine has {", ".join(kinds)}')
    if kind == 'cpu':
        keep_freed_memory()
    if kind != 'cuda':
        return kind
    count, local_rank = torch.cuda.device_count(), int(os.environ.get('LOCAL_RANK', 0))
    if not number:  # srun --gpus-per-task=1 shows each process a single GPU, torchrun all of them
        alone = count == 1 and 'TORCHELASTIC_RUN_ID' not in os.environ
        number = '0' if alone else str(local_rank)
    if not number.isdigit() or int(number) >= count:
        fail(f'--device=cuda:{number}: this machine has {count} GPU{"s" * (count > 1)} for'
             f' {os.environ.get("LOCAL_WORLD_SIZE", 1)} process(es)')
    torch.cuda.set_device(int(number))
    # cuDNN's attention refuses dropout: one kernel, flash, for training and for evaluation
    torch.backends.cuda.enable_cudnn_sdp(False)
    return f'cuda:{number}'


def keep_freed_memory():
    """
    Has glibc keep what is freed for the next step. By default it gives large blocks back to the
    system, which clears every page when it is asked for them again: up to a third of a small step
    (LOG.md 2026-11-25). Where there is no glibc nothing happens.
    """
    try:
        mallopt = ctypes.CDLL('libc.so.6').mallopt
    except (OSError, AttributeError):
        return
    mallopt(-3, 2**30)  # M_MMAP_THRESHOLD: smaller blocks come from the heap,
    mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: whose end stays with the process


def product_seconds(dtype, tokens, n_embd):
    """
    Returns the seconds that the CPU takes for the product of an MLP, (tokens, n_embd) by
    (n_embd, 4 n_embd): the least of five times.
    """
    x, weight = torch.ones(tokens, n_embd, dtype=dtype), torch.ones(n_embd, 4 * n_embd, dtype=dtype)
    return min(timeit.repeat(lambda: x @ weight, number=1, repeat=6)[1:])


def choose_dtype(dtype, device, tokens=1600, n_embd=128):
    """
    Returns (the number type of matrix products, float32 or bfloat16; the context that a forward
    pass runs in). '' stands for bfloat16 where the device is faster with it; on a CPU that is
    measured on products of the run's shapes: n_embd channels, and its tokens in a batch. Weights,
    and the softmax of TokenXE, are float32 in either. float32 is float32 on a GPU too, not TF32.
    On CUDA the question is put to the current device: call choose_device first.
    """
    kind = device.partition(':')[0]
    if not dtype:
        fast = kind == 'cuda' and torch.cuda.is_bf16_supported(including_emulation=False)
        if kind == 'cpu':  # some have instructions for it and take twice as long (LOG.md)
            fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
            shape = min(tokens, 4096), n_embd
            fast = fast and (product_seconds(torch.bfloat16, *shape)
                             < 0.8 * product_seconds(torch.float32, *shape))
        dtype = 'bfloat16' if fast else 'float32'
    if dtype not in ('float32', 'bfloat16'):
        fail(f'--dtype={dtype}: choose float32 or bfloat16')
    return dtype, torch.autocast(kind, torch.bfloat16) if dtype == 'bfloat16' else nullcontext()


def try_compiler(device):
    """Compiles and runs something small on the device; raises what that raises."""
    if device.startswith('mps'):  # whose compiler lacks operations: try those of the model
        model = GPT(16, 4, 1, 1, 16).to(device)
        ids = torch.zeros(1, 4, dtype=torch.int32, device=device)
        model.compile(fullgraph=True, dynamic=False)
        model(ids, ids).sum().backward()
    else:
        torch.compile(torch.exp)(torch.zeros(64, device=device))  # by vector instructions


def compile_model(model, device, mode='default'):
    """
    Compiles a model's forward in place, as one graph for one shape, so that its parameters keep
    their names. Where torch.compile does not work (no C++ compiler, say) a CPU goes on without it,
    which one line says; on a GPU, where a run would take days, it fails and names the remedy.
    """
    import torch._dynamo  # they take a second, which a script that does not compile need not wait
    import torch._functorch.config
    import torch._inductor.config
    # without this a start takes 3 s more (LOG.md)
    torch._functorch.config.autograd_cache_allow_custom_autograd_functions = True
    # with common subexpressions removed, the logits that TokenXE recomputes would be kept instead
    torch._functorch.config.cse = False
    torch._dynamo.config.recompile_limit = 10_000  # one for each shape of model
    torch._dynamo.config.accumulated_recompile_limit = 10_000
    torch._dynamo.config.optimize_ddp = False  # one graph, the same for one process and for several
    cores = cpu_cores()
    processes = int(os.environ.get('LOCAL_WORLD_SIZE', 1))  # on this machine
    torch._inductor.config.compile_threads = int(os.environ.get(
        'TORCHINDUCTOR_COMPILE_THREADS', max(1, min(32, cores // processes))))
    warnings.filterwarnings('ignore', message='TensorFloat32')  # left off on purpose
    # torch's own test of vector instructions takes a second at each start, ours uses them
    torch._inductor.config.cpp.vec_isa_ok = True
    try:
        try:
            try_compiler(device)
        except Exception:  # whatever a compiler that is missing, old or broken gives
            torch._inductor.config.cpp.vec_isa_ok = None
            torch._inductor.cpu_vec_isa.valid_vec_isa_list.cache_clear()
            try_compiler(device)
    except Exception as e:
        cause = ' '.join(str(e).split())[:150]
        if device.startswith('cuda'):
            fail(f'torch.compile does not work here ({cause}): install gcc, or go on without it,'
                 ' 2 to 3 times slower, by --compile=False')
        if os.environ.get('RANK', '0') == '0':
            print(f'torch.compile does not work here, going on without it, slower: {cause}')
        return
    model.compile(fullgraph=True, dynamic=False, mode=mode)


# -----------------------------------------------------------------------------
# checkpoints


def read_checkpoint(path, device='cpu', mmap=True):
    """
    Returns a checkpoint of train.py as a dict, or None where there is no such file. With mmap its
    tensors stay on the disk (milliseconds, whatever its size). Fails on what is not a checkpoint,
    or has a setting or number of another type or range. Tensors and plain values are read and
    nothing else, so a file that was made to run code is refused too.
    """
    if not os.path.exists(path):
        return None
    try:
        checkpoint = torch.load(path, map_location=device, weights_only=True, mmap=mmap)
        missing = {'model', 'model_args', 'optimizer', 'iter_num', 'best_val_loss', 'best_iter',
                   'config', 'rng', 'mix'} - checkpoint.keys()
        if missing:
            raise KeyError(min(missing))
        check_parts(path, checkpoint_parts(checkpoint), 'train the run again')
    except Exception as e:  # torch, pickle and zipfile each raise their own types
        fail(cause(e) or f'{path} is not a checkpoint of train.py ({type(e).__name__}): delete it,'
             ' and train the run again')
    config = checkpoint['config']
    for key, default in train_defaults().items():
        if key in config:
            checked(key, config[key], default, f'{path}: ')
    check_ranges(config, f'{path}: ')
    return checkpoint


def checkpoint_parts(checkpoint):
    """Yields (name, value, whether it is right) of what a checkpoint says of its run."""
    config, mix, code = checkpoint['config'], checkpoint['mix'], checkpoint.get('code', {})
    for name in ('iter_num', 'best_iter'):
        yield name, checkpoint[name], is_count(checkpoint[name])
    yield 'best_val_loss', checkpoint['best_val_loss'], type(checkpoint['best_val_loss']) is float
    yield 'code', code, all(type(x) is str for pair in code.items() for x in pair)
    T, max_iters, names = config['block_size'], config['max_iters'], mix['components']
    yield 'block_size', T, is_count(T) and T > 1
    yield 'max_iters', max_iters, is_count(max_iters) and max_iters > 0
    is_list = type(names) is list and len(names) == config['k'] > 0
    yield 'components', names, is_list and all(type(name) is str for name in names)
    for key in ('tokens', 'windows', 'token_budget'):
        yield key, mix[key], is_count(mix[key])
    for name in names:
        for key in ('documents', 'windows', 'tokens'):
            x = mix['of_each'][name][key]
            yield f'{key} of {name}', x, is_count(x)


def load_checkpoint(path, device='cpu'):
    """Returns (the model in evaluation mode on the device, the checkpoint). Fails without one."""
    checkpoint = read_checkpoint(path, device, mmap=False)
    if not checkpoint:
        fail(f'{path} is not there: train the run first {looked_in(path)}')
    try:
        model = GPT(**checkpoint['model_args'])
        model.load_state_dict(checkpoint['model'])
    except Exception as e:  # the model is another one, or its parts are of other shapes
        fail(cause(e) or f'{path} does not fit model.py ({type(e).__name__}): train the run again')
    return model.to(device).eval(), checkpoint


def run_state(checkpoint):
    """
    Returns 'finished', 'stopped early' or 'unfinished', as a run's ckpt.pt says: the checkpoint of
    the last step is written when all else is.
    """
    config, step = checkpoint['config'], checkpoint['iter_num']
    if step >= config['max_iters']:
        return 'finished'
    patience = config.get('patience', 0) * config['eval_interval']
    return 'stopped early' if 0 < patience <= step - checkpoint['best_iter'] else 'unfinished'


def why_not_resume(checkpoint, config, defaults, components, mix=None, may_change=frozenset()):
    """
    Returns why train.py with the settings `config`, all of them, cannot go on from a checkpoint of
    a run: a clause ('was trained with seed=0, not 1'), or '' where it can.

    `components` are those of its mixture, which say more than the keys that choose them. `mix` is
    the record of sample_mix.draw_mix, which is left uncompared where it is None. `may_change` are
    the keys that may differ besides NOT_PART_OF_A_SETTING. A key that the checkpoint does not know
    had its default, of {key: default}. dtype '' is the checkpoint's.
    """
    before = defaults | checkpoint['config'] | {'components': checkpoint['mix']['components']}
    now = config | {'components': components}
    ignored = NOT_PART_OF_A_SETTING | may_change | {'candidates', 'k'}
    changed = [f'{key}={before[key]!r}, not {now[key]!r}' for key in sorted(now.keys() - ignored)
               if now[key] != before[key] and (key, now[key]) != ('dtype', '')]
    if changed:
        return f'was trained with {", ".join(changed)}'
    if mix is not None and mix != checkpoint['mix']:
        return f'was trained on other data than data/{config["dataset"]} holds now'
    code_before, today = checkpoint.get('code', {}).get('model.py', ''), code_hash('model.py')
    if code_before and not code_before.endswith(today) and not config['any_code']:
        return (f'was trained with another model.py ({code_before}, now {today}; where it computes'
                ' the same, --any_code=True)')
    return ''
