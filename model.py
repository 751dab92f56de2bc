"""
A GPT-2 that returns its loss at every position.

Parameter names and shapes are those of nanoGPT's model.py (and so of GPT-2), so a checkpoint of one loads in the
other. Letters in shape comments: B windows, T tokens in each, C = n_embd channels, V = vocab_size.
"""
import math
import os
import time
from contextlib import nullcontext

import torch
import torch._functorch.config
import torch.nn as nn
import torch.nn.functional as F

from configurator import fail

HEAD_ROWS = 512  # tokens whose logits exist at one time; 512 x 32,000 in float32 are 66 MB


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
        qkv = self.attn['c_attn'](self.ln_1(x)).unflatten(2, (3, self.n_head, -1))  # (B, T, 3, heads, C / heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, T, C / heads)
        dropout = self.dropout if self.training else 0.0
        if x.device.type == 'cpu':  # its fused attention is slow backwards, and does without dropout (LOG.md)
            T = x.shape[1]
            later = torch.ones(T, T, dtype=torch.bool, device=x.device).triu(1)
            scores = (q @ k.transpose(2, 3)).float() / math.sqrt(q.shape[3])  # (B, heads, T, T)
            y = F.dropout(scores.masked_fill(later, -math.inf).softmax(3), dropout).to(v.dtype) @ v
        else:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=dropout)
        x = x + self.drop(self.attn['c_proj'](y.transpose(1, 2).flatten(2)))
        return x + self.drop(self.mlp['c_proj'](F.gelu(self.mlp['c_fc'](self.ln_2(x)))))


class GPT(nn.Module):
    """Learned positions, LayerNorm before each sub-layer, GELU, output weights tied to the token embedding."""

    def __init__(self, vocab_size, block_size, n_layer, n_head, n_embd, dropout=0.0, bias=False):
        super().__init__()
        self.block_size, self.dropout = block_size, dropout
        self.transformer = nn.ModuleDict({
            'wte': nn.Embedding(vocab_size, n_embd),
            'wpe': nn.Embedding(block_size, n_embd),
            'h': nn.ModuleList([Block(n_head, n_embd, dropout, bias) for _ in range(n_layer)]),
            'ln_f': nn.LayerNorm(n_embd, bias=bias)})
        self.lm_head = nn.Linear(n_embd, vocab_size, bias=False)
        self.lm_head.weight = self.transformer['wte'].weight
        self.init_weights(n_layer)

    @torch.no_grad()
    def init_weights(self, n_layer):
        """GPT-2's: normal(0, .02), the projections back into the residual stream by a further 1/sqrt(2 n_layer)."""
        for name, p in self.named_parameters():
            if p.dim() == 2:
                p.normal_(0, 0.02 / math.sqrt(2 * n_layer) if name.endswith('c_proj.weight') else 0.02)
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
        -ln p(targets[b, t] | idx[b, 0..t]). idx and targets are integer token ids, (B, T), T <= block_size.

        The logits of the whole batch, (B * T, V), never exist: see TokenXE.
        """
        h, y = self.hidden(idx).flatten(0, 1), targets.flatten().long()  # (B * T, C), (B * T,)
        return TokenXE.apply(h, self.lm_head.weight, y).view(targets.shape)


class TokenXE(torch.autograd.Function):
    """
    Cross entropy in nats, float32 (N,), of targets y (N,) under softmax(h weight^T); h is (N, C), weight (V, C).

    The logits exist for HEAD_ROWS tokens at a time (more where a batch has over 16 times as many). The backward pass makes them
    anew: a third matrix product more, but no memory and no pass over it. Products are in autocast's type where that is on, the softmax
    is in float32.
    """

    @staticmethod
    def forward(ctx, h, weight, y):
        kind = h.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else h.dtype
        h16, w16, rows, losses, lse = h.to(dtype), weight.to(dtype), max(HEAD_ROWS, -(-len(h) // 16)), [], []
        for h_some, y_some in zip(h16.split(rows), y.split(rows)):
            logits = (h_some @ w16.T).float()  # (rows, V)
            lse.append(logits.logsumexp(1))
            losses.append(lse[-1] - logits.gather(1, y_some[:, None])[:, 0])
        ctx.save_for_backward(h16, w16, y, torch.cat(lse))
        ctx.rows, ctx.dtypes = rows, (h.dtype, weight.dtype)
        return torch.cat(losses)

    @staticmethod
    def backward(ctx, grad):  # (N,)
        h16, w16, y, lse = ctx.saved_tensors
        grad_h, grad_w, ids = [], 0.0, torch.arange(len(w16), device=y.device)
        for h_some, y_some, lse_some, g in zip(*(x.split(ctx.rows) for x in (h16, y, lse, grad))):
            p = ((h_some @ w16.T).float() - lse_some[:, None]).exp()  # (rows, V)
            by_logits = ((p - (ids == y_some[:, None]).float()) * g[:, None]).to(w16.dtype)  # of softmax: p minus one-hot
            grad_h.append(by_logits @ w16)
            grad_w = grad_w + (by_logits.T @ h_some).float()
        return torch.cat(grad_h).to(ctx.dtypes[0]), grad_w.to(ctx.dtypes[1]), None


def compile_model(model, device, mode='default'):
    """
    Compiles a model's forward in place, as one graph for one shape, so that its parameters keep their names. Where
    torch.compile does not work (no C++ compiler, say) it says so in one line and the model stays as it is.
    """
    torch._functorch.config.autograd_cache_allow_custom_autograd_functions = True  # TokenXE: starts again 3 s faster (LOG.md)
    try:
        torch.compile(lambda x: x + 1)(torch.zeros(1, device=device))
    except Exception as e:  # whatever a compiler that is missing, old or broken gives
        if os.environ.get('RANK', '0') == '0':
            print(f'torch.compile does not work here, going on without it, slower: {" ".join(str(e).split())[:150]}')
        return
    model.compile(fullgraph=True, dynamic=False, mode=mode)


def product_seconds(dtype):
    """Returns how long the CPU takes for a product of two matrices of 256 x 256: the least of ten times, in seconds."""
    a, times = torch.ones(256, 256, dtype=dtype), []
    for _ in range(10):
        began = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - began)
    return min(times)


def choose_dtype(dtype, device):
    """
    Returns (the number type of matrix products, float32 or bfloat16; the context that a forward pass runs in). '' stands for
    bfloat16 where the device is faster with it. Weights, and the softmax of TokenXE, are float32 in either.
    """
    kind = device.partition(':')[0]
    if not dtype:
        if kind == 'cuda':
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
        else:  # some CPUs that have instructions for it take twice as long all the same (LOG.md)
            fast = kind == 'cpu' and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()) and (
                product_seconds(torch.bfloat16) < 0.8 * product_seconds(torch.float32))
        dtype = 'bfloat16' if fast else 'float32'
    if dtype not in ('float32', 'bfloat16'):
        fail(f'--dtype={dtype}: choose float32 or bfloat16')
    return dtype, torch.autocast(kind, torch.bfloat16) if dtype == 'bfloat16' else nullcontext()


def load_checkpoint(path, device='cpu'):
    """
    Returns (the model in evaluation mode on the device, the checkpoint as a dict). Fails on what is not one: tensors and plain values
    are read and nothing else, so that a file that was made to run code is refused too.
    """
    if not os.path.isfile(path):
        fail(f'{path} is not there: train the run first')
    try:
        checkpoint = torch.load(path, map_location=device, weights_only=True)
        [checkpoint[key] for key in ('optimizer', 'iter_num', 'best_val_loss', 'best_iter', 'config', 'rng', 'mix')]
        model = GPT(**checkpoint['model_args'])
        model.load_state_dict(checkpoint['model'])
    except Exception as e:  # torch, pickle and zipfile each raise their own kinds
        fail(f'{path} is not a checkpoint of train.py ({type(e).__name__}): train the run again')
    return model.to(device).eval(), checkpoint


def choose_device(device=''):
    """Returns the device asked for, or where none is, the best there is; fails where it is not on this machine."""
    there = {'cuda': torch.cuda.is_available(), 'mps': torch.backends.mps.is_available(), 'cpu': True}
    device = device or next(name for name, is_there in there.items() if is_there)
    kind, _, number = device.partition(':')
    if not there.get(kind) or (number and not (kind == 'cuda' and number in map(str, range(torch.cuda.device_count())))):
        fail(f'--device={device}: this machine has {", ".join(name for name in there if there[name])}')
    return device
