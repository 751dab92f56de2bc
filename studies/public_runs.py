"""Laws of mixtures on runs that others made, in unequal shares.

    python studies/public_runs.py dmsl_llm_slimpajama.csv
    python studies/public_runs.py dmsl_llm_slimpajama.csv additive 'in nats, one amplitude each'
    python studies/public_runs.py regmix/data 'in nats, one amplitude each'

The file is data/dmsl_llm_slimpajama.csv of github.com/meiqwq/Explaining-Data-Mixing-Scaling-Laws:
60 mixtures of seven domains of SlimPajama at 122 million parameters and 10 billion tokens, and 40
at 680 million. The folder is data/ of github.com/sail-sg/regmix: mixtures of 17 domains of the
Pile, 768 at 1 million parameters and 256 at 60 million, with the losses of 13 domains.

For each domain c a law gives the loss from the shares h, (n, C); it is fitted to 80% of the
mixtures by least squares and tried on the rest, five times, but RegMix's 1 M once, to the 512 and
on the 256 that are kept apart there: all laws, or those that are named (of others the random starts
are others). LOG.md has what came out.
"""
import os
import sys

import numpy as np
import pandas as pd
from scipy.optimize import least_squares
from tqdm import tqdm

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from configurator import fail

SPLITS, STARTS = 5, 24

def power(limit, scale, tokens, alpha):
    """limit + scale x tokens^-alpha; scale and alpha by their logarithms, so that both are > 0."""
    return limit + np.exp(scale - np.exp(alpha) * np.log(np.maximum(tokens, 1e-4)))

def others(h, c):
    """The shares of the domains other than c, (n, C - 1)."""
    return np.delete(h, c, axis=1)

def nats(limit, scale, worth, h, c):
    """fit_law.py's law in shares: limit - amplitude ln(sum of h_j worth_j), the own one's worth 1,
    those of others (C - 1,) or (n, C - 1); the amplitude by its logarithm."""
    total = h[:, c] + (others(h, c) * worth).sum(1)
    return limit - np.exp(scale) * np.log(np.maximum(total, 1e-6))

def by_ratio(worth, h, c):
    """What tokens of the others are worth (n, C - 1) in shares h, from their worth (C - 1,) in
    equal ones: the gap, minus its logarithm, counts times (2 h_j / (h_c + h_j))^(1/2)
    (studies/shares.py)."""
    total = others(h, c) + h[:, [c]]
    ratio = np.divide(2 * others(h, c), total, where=total > 0, out=np.zeros_like(total))
    return np.maximum(worth, 1e-6)**np.sqrt(ratio)

def stretched(h, exponent):
    """The shares in proportion to h^exponent, (n, C); the exponent by its logarithm."""
    powers = h**np.exp(exponent)
    return powers / powers.sum(1, keepdims=True)

def laws_of(C):
    """Returns {law of C domains: (what its parameters are, loss of c (n,) from parameters p and
    shares h (n, C))}. A search starts from f, the limit: up to a nat below the least loss; l, a
    logarithm: normal(-1, 1); w, what a token of another is worth: 0 to .5; g, the logarithm of an
    exponent: normal(0, .3); s, a slope: -1 to 1."""
    w = (C - 1) * 'w'
    return {
        'own tokens alone': ('fll', lambda p, h, c: power(p[0], p[1], h[:, c], p[2])),
        'own tokens, shared capacity (Dai and Zheng, first order)': (
            'flls', lambda p, h, c: power(p[0], p[1], h[:, c], p[2]) + p[3] * (1 - h[:, c])),
        'additive': ('fll' + w, lambda p, h, c: power(
            p[0], p[1], h[:, c] + others(h, c) @ p[3:], p[2])),
        'additive, one exponent of the shares': ('fllg' + w, lambda p, h, c: power(
            p[0], p[1], h[:, c] + others(h, c)**np.exp(p[3]) @ p[4:], p[2])),
        'additive, an exponent for each': ('fll' + (C - 1) * 'g' + w, lambda p, h, c: power(
            p[0], p[1], h[:, c] + others(h, c)**np.exp(p[3:C + 2]) @ p[C + 2:], p[2])),
        'in nats, one amplitude each': (
            'fl' + w, lambda p, h, c: nats(p[0], p[1], p[2:], h, c)),
        'in nats, worths by the ratio of shares': (
            'fl' + w, lambda p, h, c: nats(p[0], p[1], by_ratio(p[2:], h, c), h, c)),
        'in nats, shares stretched': (
            'flg' + w, lambda p, h, c: nats(p[0], p[1], p[3:], stretched(h, p[2]), c)),
        'exponential in the shares (Ye et al.)': (
            'fl' + C * 's', lambda p, h, c: p[0] + np.exp(p[1] + h @ p[2:])),
        'E + 1 / sum of C_j h_j^gamma_j (Shukor et al.)': (
            'f' + C * 'l' + C * 'g', lambda p, h, c: p[0] + 1 / np.exp(
                p[1:C + 1] + np.log(h) * np.exp(p[C + 1:])).sum(1))}

def read(path):
    """Returns [(size, shares (n, C), losses (n, C), masks of what is held out)] of mixtures; losses
    of a domain that was not evaluated are nan. Raises what pandas raises, and ValueError where
    mixtures are missing."""
    if os.path.isdir(path):
        def table(name):
            of_file = pd.read_csv(f'{path}/{name}.csv', index_col='index')
            return of_file.rename(columns=lambda x: x.split('the_pile_')[1].split('_val_loss')[0])
        h, loss = ([table(f'{split}_{kind}_1m') for split in ('train', 'test')]
                   for kind in ('mixture', 'pile_loss'))
        found = {'1 M': (pd.concat(h), pd.concat(loss)),
                 '60 M': (table('test_mixture_60m'), table('test_pile_loss_60m'))}
        masks = {'1 M': [np.repeat([False, True], [len(part) for part in h])]}
    else:
        runs = pd.read_csv(path).drop_duplicates()
        names = [x.removeprefix('weight_') for x in runs if x.startswith('weight_')]
        found, masks = {}, {}
        for size, tokens in {122e6: 9998e6, 680e6: 10366e6}.items():  # {parameters: tokens}
            of_size = runs[(runs['model_size'] == size) & (runs['n_tokens'] == tokens)]
            found[f'{size / 1e6:.0f} M'] = [
                of_size[[pattern.format(x) for x in names]].set_axis(names, axis=1)
                for pattern in ('weight_{}', '{}_loss')]
    rows = []
    for size, (h, loss) in found.items():
        held_out = masks.get(size) or [
            np.random.default_rng(split).permutation(len(h)) < len(h) // 5
            for split in range(SPLITS)]
        h = h.div(h.sum(axis=1), axis=0).astype(float)
        if h.empty or h.isna().any(axis=None) or not h.index.equals(loss.index):
            raise ValueError(f'{size}: no mixtures, a share that is no number, or other losses')
        rows.append((size, h.to_numpy(), loss.reindex(columns=h.columns).astype(float).to_numpy(),
                     held_out))
    return rows

@np.errstate(all='ignore')  # where a search goes astray
def fit(law, h, loss, c, rng):
    """Returns the parameters of a law, a pair of laws_of, with the least squared error of `STARTS`
    searches from random starts."""
    kinds, function = law
    draw = {'f': lambda: loss.min() - rng.uniform(0, 1), 'l': lambda: rng.normal(-1, 1),
            'w': lambda: rng.uniform(0, 0.5), 'g': lambda: rng.normal(0, 0.3),
            's': lambda: rng.uniform(-1, 1)}
    fits = [least_squares(lambda p: function(p, h, c) - loss, [draw[kind]() for kind in kinds],
                          x_scale='jac', max_nfev=400) for _ in range(STARTS)]
    return min(fits, key=lambda found: found.cost).x

if __name__ == '__main__':
    if len(sys.argv) < 2 or not os.path.exists(sys.argv[1]):
        fail('name the file dmsl_llm_slimpajama.csv, or the folder data of RegMix')
    path, *names = sys.argv[1:]
    try:
        known, errors = read(path), []
    except (OSError, EOFError, KeyError, IndexError, TypeError, ValueError) as e:
        fail(f'{path} cannot be read ({" ".join(str(e).split())}): name it as it is on GitHub')
    laws = {name: law for name, law in laws_of(known[0][1].shape[1]).items()
            if name in names or not names}
    if not {*names} <= {*laws}:
        fail(f'there are the laws {"; ".join(laws_of(1))}')
    work = [(size, h, losses, split, rest) for size, h, losses, masks in known
            for split, rest in enumerate(masks)]
    with tqdm(total=len(work) * len(laws), leave=False) as bar:
        for size, h, losses, split, rest in work:
            rng = np.random.default_rng(split)
            rng.permutation(len(h))  # starts come after the draw of what is held out, as in read
            for name, law in laws.items():
                for c, loss in enumerate(losses.T):
                    if np.isfinite(loss).all():
                        p = fit(law, h[~rest], loss[~rest], c, rng)
                        with np.errstate(all='ignore'):  # no share may cost without end
                            error = np.abs(law[1](p, h[rest], c) - loss[rest])
                        facts = {'law': name, 'parameters': len(law[0]), 'split': split,
                                 'size': size}
                        errors += [facts | {'error': x} for x in error]
                bar.update()
    if not errors:
        fail(f'{path} has no domain whose loss is there for all mixtures of a size')
    table = pd.DataFrame(errors).groupby(['law', 'parameters', 'size', 'split'])['error'].mean()
    table = table.groupby(['law', 'parameters', 'size']).agg(['mean', 'min', 'max'])
    print('mean absolute error on held-out mixtures, nats; mean, least and most of the splits\n'
          + table.unstack().to_string(float_format="{:.4f}".format))
