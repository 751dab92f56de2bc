"""A GPT-2 that returns its loss at every position.

Parameter names and shapes are those of nanoGPT's model.py (and so of GPT-2), so a checkpoint of one
loads in the other. In shapes: B windows, T tokens in each, C = n_embd channels, V = vocab_size.
"""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

# The most logits in a chunk of TokenXE, by device: 67 MB in float32 on a CPU. A compiled step takes
# more at a time: .5 GB in bfloat16 on a CPU, for to write them and read them again costs less than
# to compute them twice (LOG.md 2026-11-25); on a GPU, where small products are slow, as many as
# 32-bit indices reach, 4.3 GB.
CHUNK = {'cpu': 2**24, 'mps': 2**24, 'cuda': 2**28}
COMPILED_CHUNK = {'cpu': 2**28, 'mps': 2**24, 'cuda': 2**31 - 1}
KEPT = 2**32  # the most logits in all that a GPU keeps for the backward pass, 8.6 GB in bfloat16

class Attention(torch.autograd.Function):
    """Causal attention of q, k, v, (B, heads, T, D) each, with dropout of its weights; (B, heads,
    T, D). For CPUs: the backward pass needs no exponential and no row sum over T, as what is kept
    is e = exp(scores - their maximum), and the sum over j of P_ij dP_ij is that of dy_i y_i over D
    (Dao et al. 2205.14135, appendix B)."""

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
        """GPT-2's: normal(0, .02), what projects to the residual stream 1/sqrt(2 n_layer) of it.
        The embedding of tokens comes last, so that models that differ in vocab_size alone, as M and
        M_tag do, start from the same weights wherever they share them."""
        for name, p in reversed(list(self.named_parameters())):
            if p.dim() == 2:
                is_projection = name.endswith('c_proj.weight')
                std = 0.02 / math.sqrt(2 * n_layer) if is_projection else 0.02
                p.normal_(0, std, generator=generator)
            elif 'ln_' in name or name.endswith('.bias'):
                p.fill_(float('ln_' in name and name.endswith('weight')))  # scales 1, biases 0
            else:
                raise ValueError(f'init_weights has no rule for {name}')

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

    @torch.no_grad()
    def generate(self, idx, length, temperature=1.0, top_k=200, generator=None):
        """Returns token ids (B, T) with `length` more sampled behind each row, T + length at most
        block_size + 1, from the top_k likeliest tokens; temperature 0 takes the likeliest."""
        for _ in range(length):
            logits = self.logits(idx)[:, -1].float() / max(temperature, 1e-6)  # (B, V)
            likely, choice = logits.topk(min(top_k if temperature else 1, logits.shape[1]))
            sampled = torch.multinomial(likely.softmax(1), 1, generator=generator)  # (B, 1)
            idx = torch.cat((idx, choice.gather(1, sampled)), dim=1)
        return idx

    def forward(self, idx, targets):
        """Returns the cross entropy of each target in nats, (B, T) float32: losses[b, t] is
        -ln p(targets[b, t] | idx[b, 0..t]). idx and targets are token ids, (B, T), T <= block_size.
        The logits of a large batch, (B * T, V), never exist as a whole: TokenXE."""
        h = self.hidden(idx).flatten(0, 1)  # (B * T, C)
        y = targets.flatten().long()  # (B * T,)
        kind, is_compiled, trains = (
            h.device.type, torch.compiler.is_compiling(), torch.is_grad_enabled())
        chunk = (COMPILED_CHUNK if is_compiled and (trains or kind == 'cuda') else CHUNK)[kind]
        n_logits = len(y) * len(self.lm_head.weight)
        is_kept = trains and n_logits <= (KEPT if kind == 'cuda' else chunk)
        return TokenXE.apply(h, self.lm_head.weight, y, chunk, is_kept).view(targets.shape)

class TokenXE(torch.autograd.Function):
    """Cross entropy in nats, float32 (N,), of targets y (N,) under softmax(h weight^T); h is (N,
    C), weight (V, C). Products are in autocast's type where that is on, the softmax is in float32.

    A chunk of tokens has at most so many logits. Where is_kept, softmax - one_hot is kept for the
    backward pass, in the products' type: the incoming gradient then scales rows of h, and of its
    gradient. Else backward computes it again chunk by chunk: one more matmul, and no (N, V) tensor.
    """

    @staticmethod
    def forward(ctx, h, weight, y, chunk, is_kept):
        kind = h.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else h.dtype
        ctx.types = h.dtype, weight.dtype
        h, weight, ctx.rows = h.to(dtype), weight.to(dtype), max(1, chunk // len(weight))
        losses, lse, kept = [], [], []
        for h_chunk, y_chunk in zip(h.split(ctx.rows), y.split(ctx.rows)):
            logits = (h_chunk @ weight.T).float()  # (rows, V)
            top = logits.amax(1, keepdim=True)  # with exp and sum one pass, where logsumexp is two
            lse.append(top + (logits - top).exp().sum(1, keepdim=True).log())
            losses.append((lse[-1] - logits.gather(1, y_chunk[:, None]))[:, 0])
            if is_kept:
                kept.append(softmax_minus_one_hot(logits, lse[-1], y_chunk).to(dtype))
        ctx.save_for_backward(h, weight, y, torch.cat(lse), *kept)
        return torch.cat(losses)

    @staticmethod
    def backward(ctx, grad):  # (N,)
        h, weight, y, lse, *kept = ctx.saved_tensors
        grad, grad_h, grad_weight = grad[:, None], [], 0.0
        chunks = zip(*(x.split(ctx.rows) for x in (h, y, lse, grad)))
        for i, (h_chunk, y_chunk, lse_chunk, grad_chunk) in enumerate(chunks):
            if kept:
                grad_logits = kept[i]  # (rows, V)
            else:
                logits = (h_chunk @ weight.T).float()
                grad_logits = softmax_minus_one_hot(logits, lse_chunk, y_chunk).to(weight.dtype)
            grad_h.append((grad_logits @ weight) * grad_chunk)
            scaled = (h_chunk * grad_chunk).to(weight.dtype)
            grad_weight = grad_weight + (grad_logits.T @ scaled).float()
        grad_h = torch.cat(grad_h).to(ctx.types[0])
        return grad_h, grad_weight.to(ctx.types[1]), None, None, None

def softmax_minus_one_hot(logits, lse, y):
    """Returns the gradient of the loss in the logits (N, V); lse is (N, 1), y the targets (N,)."""
    ids = torch.arange(logits.shape[1], device=y.device)  # (V,)
    return (logits - lse).exp() - (ids == y[:, None]).float()
