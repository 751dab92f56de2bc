"""
The model: causal, exact losses, GPT-2's parameters, and a training step that does not change
unnoticed.
"""
import math

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import machine
import model as model_module
from model import GPT

ARGS = dict(vocab_size=37, block_size=12, n_layer=2, n_head=2, n_embd=16)

def new_model(**args):
    torch.manual_seed(0)
    return GPT(**ARGS | args)

def draw_tokens(b=4, t=12):
    return torch.randint(37, (2, b, t), generator=torch.Generator().manual_seed(1))

def test_no_loss_depends_on_a_later_token():
    """By gradient: the loss at position t moves with the embeddings of inputs 0 .. t alone."""
    net, (idx, targets) = new_model(), draw_tokens(b=1)
    kept = {}

    def keep(module, inputs, output):
        kept['x'] = output.detach().requires_grad_()
        return kept['x']
    net.transformer['wte'].register_forward_hook(keep)
    losses = net(idx, targets)[0]  # (T,)
    for t in range(12):
        grad, = torch.autograd.grad(losses[t], kept['x'], retain_graph=True)
        moved = grad[0].abs().sum(1) > 0  # (T,)
        assert moved[:t + 1].all() and not moved[t + 1:].any()

def direct_losses(net, idx, targets, n_head=2):
    """GPT-2 written out in float64 from the state dict alone: explicit mask, softmax and log."""
    p = {name: x.double() for name, x in net.state_dict().items()}
    B, T = idx.shape

    def norm(x, name):
        variance = x.var(-1, unbiased=False, keepdim=True)
        x = (x - x.mean(-1, keepdim=True)) / torch.sqrt(variance + 1e-5)
        return x * p[name + '.weight'] + p.get(name + '.bias', 0)

    def linear(x, name):
        return x @ p[name + '.weight'].T + p.get(name + '.bias', 0)
    x = p['transformer.wte.weight'][idx] + p['transformer.wpe.weight'][:T]
    mask = torch.ones(T, T, dtype=torch.bool).tril()
    for i in range(2):
        h = f'transformer.h.{i}.'
        q, key, v = linear(norm(x, h + 'ln_1'), h + 'attn.c_attn').chunk(3, dim=-1)
        heads = []
        for j in range(n_head):
            part = slice(j * 16 // n_head, (j + 1) * 16 // n_head)
            att = q[..., part] @ key[..., part].transpose(1, 2) / math.sqrt(16 / n_head)
            heads.append(att.masked_fill(~mask, -math.inf).softmax(-1) @ v[..., part])
        x = x + linear(torch.cat(heads, -1), h + 'attn.c_proj')
        u = linear(norm(x, h + 'ln_2'), h + 'mlp.c_fc')
        x = x + linear(u * 0.5 * (1 + torch.erf(u / math.sqrt(2))), h + 'mlp.c_proj')
    log_p = (norm(x, 'transformer.ln_f') @ p['lm_head.weight'].T).log_softmax(-1)
    return -log_p.gather(2, targets[..., None])[..., 0]

def plain_losses(net, idx, targets):
    """Those of PyTorch from all logits at once."""
    logits = net.logits(idx).float()
    return F.cross_entropy(logits.transpose(1, 2), targets, reduction='none')

@pytest.mark.parametrize('bias', [False, True])
def test_losses_are_those_of_a_direct_float64_computation(bias, monkeypatch):
    # chunks of 7 do not divide B * T
    monkeypatch.setattr(model_module, 'CHUNK', {'cpu': 7 * 37})
    net, (idx, targets) = new_model(bias=bias), draw_tokens()
    with torch.no_grad():
        for p in net.parameters():  # large weights, so that the losses differ from ln V
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())) * 0.3)
    losses, expected = net(idx, targets), direct_losses(net, idx, targets)
    assert losses.shape == (4, 12) and losses.dtype == torch.float32 and expected.std() > 1
    torch.testing.assert_close(losses.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(net.eval()(idx, targets), plain_losses(net, idx, targets))

@pytest.mark.parametrize('chunk', [7 * 37, 2**24])  # computed again, or kept
def test_gradients_of_the_chunked_head_are_those_of_the_plain_loss(monkeypatch, chunk):
    monkeypatch.setattr(model_module, 'CHUNK', {'cpu': chunk})
    net, (idx, targets) = new_model(), draw_tokens()
    weight = torch.rand(4, 12)
    grads = []
    for losses in (net(idx, targets), plain_losses(net, idx, targets)):
        net.zero_grad()
        (losses * weight).sum().backward()
        grads.append([p.grad.clone() for p in net.parameters()])
    for a, b in zip(*grads):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)

@pytest.mark.parametrize('dropout', [0.0, 0.4])
def test_attention_and_its_gradients_are_those_of_a_masked_softmax(dropout):
    torch.manual_seed(0)
    *qkv, grad = torch.randn(4, 3, 2, 17, 8)
    is_future = torch.ones(17, 17, dtype=torch.bool).triu(1)

    def plain(q, k, v):
        keep = F.dropout(torch.ones(3, 2, 17, 17), dropout)
        scores = (q @ k.transpose(2, 3) / math.sqrt(8)).masked_fill(is_future, -math.inf)
        return scores.softmax(3) * keep @ v
    results = []
    for attention in (plain, lambda *qkv: model_module.Attention.apply(*qkv, dropout)):
        torch.manual_seed(1)  # the same weights are dropped
        leaves = [x.clone().requires_grad_() for x in qkv]
        y = attention(*leaves)
        results.append([y, *torch.autograd.grad(y, leaves, grad)])
    for a, b in zip(*results):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)

def test_gradients_in_bfloat16_are_within_its_rounding():
    """
    Against float64, TokenXE errs no more than the plain computation under the same autocast, give
    or take a fifth.
    """
    net, (idx, targets) = new_model(n_embd=64), draw_tokens(b=16)
    F.cross_entropy(net.double().logits(idx).transpose(1, 2), targets).backward()
    exact = [p.grad.clone() for p in net.parameters()]
    net.float()
    errors = []
    for losses_of in (net, lambda *batch: plain_losses(net, *batch)):
        net.zero_grad()
        with torch.autocast('cpu', torch.bfloat16):
            loss = losses_of(idx, targets).mean()
        assert loss.dtype == torch.float32
        loss.backward()
        errors.append(max(float((p.grad - g).norm() / g.norm())
                          for p, g in zip(net.parameters(), exact)))
    ours, plain = errors
    assert 1e-4 < ours < 1.2 * plain < 0.05

@pytest.mark.parametrize('autocast', [False, True])
def test_the_logits_of_a_whole_batch_never_exist_in_float32(monkeypatch, autocast):
    monkeypatch.setattr(model_module, 'CHUNK', {'cpu': 12 * 3000})
    net, (idx, targets) = new_model(vocab_size=3000), draw_tokens(b=16)  # 192 tokens, chunks of 12

    class Largest(TorchDispatchMode):
        numel = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **kwargs or {})
            for x in out if isinstance(out, (tuple, list)) else [out]:
                if isinstance(x, torch.Tensor) and x.dtype == torch.float32:
                    self.numel = max(self.numel, x.numel())
            return out
    with Largest() as seen, torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        net(idx, targets).mean().backward()
    assert seen.numel == max(12 * 3000, 3000 * 16)  # a chunk of logits, or the embedding's gradient

def test_parameters_have_the_names_and_shapes_of_gpt2():
    shapes = {name: tuple(p.shape) for name, p in new_model(bias=True).state_dict().items()}
    block = {'ln_1.weight': (16,), 'ln_1.bias': (16,),
             'attn.c_attn.weight': (48, 16), 'attn.c_attn.bias': (48,),
             'attn.c_proj.weight': (16, 16), 'attn.c_proj.bias': (16,),
             'ln_2.weight': (16,), 'ln_2.bias': (16,),
             'mlp.c_fc.weight': (64, 16), 'mlp.c_fc.bias': (64,),
             'mlp.c_proj.weight': (16, 64), 'mlp.c_proj.bias': (16,)}
    assert shapes == {
        'transformer.wte.weight': (37, 16), 'transformer.wpe.weight': (12, 16),
        'transformer.ln_f.weight': (16,), 'transformer.ln_f.bias': (16,),
        'lm_head.weight': (37, 16),
        **{f'transformer.h.{i}.{name}': shape for i in (0, 1) for name, shape in block.items()}}
    net = new_model()
    assert net.lm_head.weight is net.transformer['wte'].weight

def test_an_untrained_model_knows_nothing():
    idx, targets = draw_tokens(b=64)
    assert abs(new_model()(idx, targets).mean().item() - math.log(37)) < 0.02

def test_models_of_two_vocabularies_start_alike_where_they_can():
    """M_tag has a row of the embedding for each tag more than M, and is else the same model."""
    small, large = new_model().state_dict(), new_model(vocab_size=40).state_dict()
    for name, x in small.items():
        assert torch.equal(x, large[name][:len(x)]), name

def test_golden_step():
    """
    Losses and gradient norm of two AdamW steps from a fixed start. If a change to the model or to
    PyTorch's initialisation moves them on purpose, put the new numbers here, and say in the commit
    why they moved.
    """
    net, (idx, targets) = new_model(), draw_tokens()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2, betas=(0.9, 0.95), weight_decay=0.1)
    seen = []
    for _ in range(2):
        loss = net(idx, targets).mean()
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        seen += [loss.item(), norm.item()]
    assert seen == pytest.approx(GOLDEN, abs=2e-5)

GOLDEN = [3.621891, 0.866159, 3.448515, 0.745853]  # loss, gradient norm; loss, gradient norm

def test_one_batch_is_learnt_by_heart():
    net, (idx, targets) = new_model(n_embd=32), draw_tokens()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        loss = net(idx, targets).mean()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05  # from ln 37 = 3.6

def test_a_compiled_model_gives_the_same_losses_and_gradients():
    """One graph, without a break. The code generator is left out: it takes a minute."""
    net, (idx, targets) = new_model(), draw_tokens()
    results = []
    for _ in range(2):
        net.zero_grad()
        losses = net(idx, targets)
        losses.mean().backward()
        results.append([losses, *(p.grad.clone() for p in net.parameters())])
        net.compile(fullgraph=True, dynamic=False, backend='aot_eager')
    assert all('_orig_mod' not in name for name in net.state_dict())
    for a, b in zip(*results):
        torch.testing.assert_close(a, b)

@pytest.mark.parametrize('chunks', [1, 4])
@pytest.mark.parametrize('compiled', [False, True])
def test_backward_keeps_the_logits_of_one_chunk_and_of_no_more(monkeypatch, chunks, compiled):
    """
    Compiled, autograd once removed common subexpressions over forward and backward: the logits that
    backward was to recompute were those of forward, and all of them were kept.
    """
    most = 192 * 3000 // chunks
    monkeypatch.setattr(model_module, 'CHUNK', {'cpu': most})
    monkeypatch.setattr(model_module, 'COMPILED_CHUNK', {'cpu': most})
    monkeypatch.setattr(machine, 'try_compiler', lambda device: None)
    net, (idx, targets) = new_model(vocab_size=3000), draw_tokens(b=16)  # 192 tokens
    if compiled:
        compile = torch.nn.Module.compile  # the compiler's graphs, without its code generator
        monkeypatch.setattr(torch.nn.Module, 'compile', lambda self, mode, **more: compile(
            self, backend='aot_eager_decomp_partition', **more))
        torch._dynamo.reset()
        machine.compile_model(net, 'cpu')
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: (kept.append(x.numel()), x)[1],
                                                  lambda x: x):
        net(idx, targets)
    logits = [n for n in kept if n >= 192 * 3000 // chunks]
    assert logits == ([192 * 3000] if chunks == 1 else [])
