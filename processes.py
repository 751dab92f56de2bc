"""
Synthetic components: hidden Markov chains, their documents, and what theory says of them.

A process is an array T[v, i, j] = P(emit v and go to state j | in state i), float64, (V, S, S). Its
documents begin in the stationary state distribution. The least possible XE, of a reader who knows
the process or knows that it is one of several, comes from the forward algorithm.
"""
import math
import os

import numpy as np
import scipy.sparse.csgraph
import scipy.special

from configurator import fail, random_stream, safe_name

MESS3_X = (0.05, 0.15, 0.30, 0.45, 0.10, 0.20, 0.25, 0.40)

# -----------------------------------------------------------------------------
# builders: each returns a process, (V, S, S)


def coin(p):
    """Independent tosses: 1 with probability p. (2, 1, 1)."""
    return np.array([[[1 - p]], [[p]]])


def mess3(x, a=0.85):
    """
    Three states and symbols, (3, 3, 3). The chain stays with probability 1 - 2x and goes to each
    other state with x. It emits the new state's symbol with probability a, each other symbol with
    (1 - a) / 2. From Marzen and Crutchfield 2017, Entropy 19, 214.
    """
    move = np.full((3, 3), x) + (1 - 3 * x) * np.eye(3)
    emit = np.full((3, 3), (1 - a) / 2) + (a - (1 - a) / 2) * np.eye(3)  # [j, v]
    return np.einsum('ij,jv->vij', move, emit)


def markov(vocab, rng):
    """
    A sparse Markov chain whose state is its last symbol, (vocab, vocab, vocab). Four permutations
    that never collide give each symbol four successors, of probability 1/2, 1/4, 1/8 and 1/8. So
    symbols are uniform, and the entropy rate is 1.75 ln 2.
    """
    symbols, permutations = np.arange(vocab), []
    while len(permutations) < 4:
        p = rng.permutation(vocab)
        if all((p != other).all() for other in permutations):
            permutations.append(p)
    process = np.zeros((vocab, vocab, vocab))
    for p, weight in zip(permutations, (1 / 2, 1 / 4, 1 / 8, 1 / 8)):
        process[p, symbols, p] = weight
    return process


def edges(*rows):
    """A process of two symbols, (2, S, S), from its edges (v, i, j, probability)."""
    process = np.zeros((2, *[1 + max(max(i, j) for _, i, j, _ in rows)] * 2))
    for v, i, j, probability in rows:
        process[v, i, j] = probability
    return process


SINGLE = {
    'golden_mean': edges((1, 0, 0, 1 / 2), (0, 0, 1, 1 / 2), (1, 1, 0, 1)),  # no two 0s in a row
    'even': edges((0, 0, 0, 1 / 2), (1, 0, 1, 1 / 2), (1, 1, 0, 1)),  # 1s in runs of even length
    'z1r': edges((0, 0, 1, 1), (1, 1, 2, 1), (0, 2, 0, 1 / 2), (1, 2, 0, 1 / 2))}  # 0, 1, random


def build_family(item, markov_vocab, data_seed):
    """Returns {component: process} of 'coins:4', 'even' or 'mine.npy'; fails on any other item."""
    family, colon, number = item.partition(':')
    if colon and not (number.isdigit() and int(number) > 0):
        fail(f'--processes: {item}: write {family}:4 for four of them')
    n = int(number or 1)
    if family == 'coins' and n <= 900:  # more have no names of their own
        return {f'coin-{p:.3g}': coin(p) for p in np.linspace(0.05, 0.95, n)}
    if family == 'mess3' and n <= len(MESS3_X):
        return {f'mess3-{x:.2f}': mess3(x) for x in MESS3_X[:n]}
    if family == 'markov' and 8 <= markov_vocab <= 1000:
        return {f'markov-{i}': markov(markov_vocab, random_stream('markov', data_seed, i))
                for i in range(n)}
    if family in SINGLE and n == 1:
        return {family: SINGLE[family]}
    if item.endswith('.npy') and os.path.isfile(item):
        try:
            return {os.path.basename(item)[:-len('.npy')]: np.load(item).astype(np.float64)}
        except (ValueError, EOFError) as e:
            fail(f'--processes: {item} is not an array of numbers ({e})')
    fail(f'--processes: cannot make {item!r}: choose from coins:N (N <= 900), mess3:N'
         f' (N <= {len(MESS3_X)}), markov:N (--markov_vocab 8 to 1000), {", ".join(SINGLE)}, or the'
         ' path of an array T[v, i, j] in a .npy file')


def normalised(name, process):
    """
    Returns the process (V, S, S) with T[:, i, :] summing to exactly 1, also where it came rounded.
    Fails unless it is a process, has at most 65,534 symbols, and is ergodic.
    """
    if process.ndim != 3 or process.shape[1] != process.shape[2]:
        fail(f'process {name} has the shape {process.shape}: it must be T[v, i, j], (V, S, S)')
    if len(process) > 65534:
        fail(f'process {name} has {len(process)} symbols; uint16 holds 65,534 and BOS')
    if not (process >= 0).all():
        fail(f'process {name} has an entry that is no probability: {process[~(process >= 0)][0]}')
    rows = process.sum((0, 2))  # (S,)
    worst = abs(rows - 1).argmax()
    if abs(rows[worst] - 1) > 1e-6:
        fail(f'process {name}: the row T[:, i, :] of each state must sum to 1; that of state'
             f' {worst} sums to {rows[worst]}')
    n, group = scipy.sparse.csgraph.connected_components(process.sum(0) > 0, connection='strong')
    left = {group[i] for _, i, j in np.argwhere(process > 0) if group[i] != group[j]}
    if n - len(left) > 1:
        fail(f'process {name} is not ergodic: {n - len(left)} groups of states are never left;'
             ' make each its own component')
    return process / rows[:, None]


def build_processes(spec, markov_vocab, data_seed):
    """
    Returns {component: process} of a specification such as 'coins:4,even,mine.npy'. The markov
    chains have markov_vocab symbols and depend on data_seed. Fails on what cannot be built.
    """
    processes = {}
    for item in filter(None, (item.strip() for item in spec.split(','))):
        for name, process in build_family(item, markov_vocab, data_seed).items():
            if name in processes:
                fail(f'--processes={spec}: two components of the same name')
            processes[name] = normalised(name, process)
    if not processes:
        fail('--processes is empty: name one or more, such as --processes=coins:4')
    return processes


# -----------------------------------------------------------------------------
# documents


def sample_process(process, n_docs, length, rng):
    """
    Returns n_docs documents of the process (V, S, S), (n_docs, length) uint16, each from a state of
    the stationary distribution on. All advance together: one Python step a position.
    """
    V, S, _ = process.shape
    joint = process.transpose(1, 0, 2).reshape(S, V * S)  # P(v, j | i)
    # the M outcomes of a state that can occur, the likeliest first
    outcomes = np.argsort(-joint, axis=1)[:, :(joint > 0).sum(1).max()]  # (S, M)
    reach = np.take_along_axis(joint, outcomes, axis=1).cumsum(1)[:, :-1]  # (S, M - 1)
    state = rng.choice(S, n_docs, p=stationary(process))
    tokens = np.empty((length, n_docs), dtype=np.uint16)
    for t in range(length):
        pick = outcomes[state, (rng.random(n_docs)[:, None] >= reach[state]).sum(1)]
        tokens[t], state = pick // S, pick % S
    return tokens.T


def stationary(process):
    """Returns the stationary state distribution pi (S,) of a process: pi = pi sum_v T[v]."""
    moves = process.sum(0)  # (S, S)
    equations = np.vstack((moves.T - np.eye(len(moves)), np.ones(len(moves))))
    pi = np.linalg.lstsq(equations, np.append(np.zeros(len(moves)), 1.0), rcond=None)[0].clip(0)
    return pi / pi.sum()


def read_process(meta, component):
    """Returns a component's process (V, S, S), V the data set's symbols without BOS."""
    path = os.path.join('data', meta['dataset'], safe_name(component), 'process.npy')
    try:
        process = np.load(path)
    except (OSError, ValueError) as e:
        fail(f'{path} cannot be read ({e}): prepare the data set again with --overwrite=True')
    return np.pad(process, ((0, meta['vocab_size'] - 1 - len(process)), (0, 0), (0, 0)))


# -----------------------------------------------------------------------------
# what theory says


def component_losses(process, tokens):
    """
    Returns -ln P(w_t | w_0 .. w_{t-1}) under the process, (N, T) float64 nats, for windows tokens
    (N, T) of its documents; inf for what it cannot emit there. This is the loss of the best
    predictor that knows the process.

    The forward algorithm (Rabiner 1989, Proc. IEEE 77, 257): alpha is P(state | past), at first the
    stationary distribution, and alpha T[w_t] sums to P(w_t | past).
    """
    (V, S, _), (N, T) = process.shape, tokens.shape
    start, step = stationary(process), process.transpose(1, 0, 2).reshape(S, V * S)
    alpha, losses = np.tile(start, (N, 1)), np.empty((N, T))
    with np.errstate(divide='ignore', invalid='ignore'):
        for t in range(T):
            # P(w_t, next state | past), (N, S)
            joint = (alpha @ step).reshape(N, V, S)[np.arange(N), tokens[:, t]]
            p = joint.sum(1, keepdims=True)
            losses[:, t] = -np.log(p[:, 0])
            # after an impossible token the loss is inf; start again rather than carry nan on
            alpha = np.where(p > 0, joint / p, start)
    return losses


def loss_so_far(losses):
    """Returns the summed losses of the first 0 .. T tokens, (.., T + 1), from losses (.., T)."""
    return np.pad(losses.cumsum(-1), [(0, 0)] * (losses.ndim - 1) + [(1, 0)])


def mixture_losses(losses):
    """
    Returns the loss of the best predictor that knows the K processes but not which one a window is
    from, (N, T) nats, from their component_losses (K, N, T). By Bayes' rule with a uniform prior
    P(w_t | past) = sum_k P_k(w_0 .. w_t) / sum_k P_k(w_0 .. w_{t-1}).
    """
    with np.errstate(invalid='ignore'):  # inf - inf, after what no process can emit
        together = -scipy.special.logsumexp(-loss_so_far(losses), axis=0)  # (N, T + 1)
        return np.nan_to_num(np.diff(together, axis=1), nan=np.inf, posinf=np.inf)


def entropy_rate(process, documents=None):
    """
    Returns (rate, standard error) in nats a token. Where state and symbol determine the next state
    the rate is the entropy of a symbol given the state (Shannon 1948), exact, with error 0.
    Elsewhere it is the mean loss of the forward algorithm over the second half of long documents,
    (D, L) tokens of the process.
    """
    if ((process > 0).sum(2) <= 1).all():
        p = process.sum(2)  # (V, S) P(v | state)
        return float(scipy.special.entr(p).sum(0) @ stationary(process)), 0.0
    losses = component_losses(process, documents)[:, documents.shape[1] // 2:].mean(1)  # (D,)
    return float(losses.mean()), float(losses.std(ddof=1) / math.sqrt(len(losses)))


def unigram_xe(processes):
    """Returns the XE, in nats, of the best predictor of a uniform mixture without context."""
    p = np.stack([process.sum(2) @ stationary(process) for process in processes])  # (K, V)
    return float(scipy.special.entr(p.mean(0)).sum())
