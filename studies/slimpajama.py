"""Laws of mixtures on runs that others made: 60 mixtures of seven domains of SlimPajama, whose
shares are unequal, at 122 million parameters and 10 billion tokens, and 40 at 680 million.

    python studies/slimpajama.py dmsl_llm_slimpajama.csv
    python studies/slimpajama.py dmsl_llm_slimpajama.csv additive 'in nats, one amplitude each'

The file is data/dmsl_llm_slimpajama.csv of github.com/meiqwq/Explaining-Data-Mixing-Scaling-Laws.
For each domain c a law gives the loss from the shares h, (n, 7); it is fitted to 80% of the
mixtures by least squares and tried on the rest, five times: all laws, or those that are named (of
others the random starts are others).
LOG.md has what came out.
"""
import os
import sys

import numpy as np
import pandas as pd
from scipy.optimize import least_squares
from tqdm import tqdm

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from configurator import fail

DOMAINS = 'arxiv book c4 github commoncrawl stackexchange wikipedia'.split()
SPLITS, STARTS = 5, 12

def power(limit, scale, tokens, alpha):
    """limit + scale x tokens^-alpha; scale and alpha by their logarithms, so that both are > 0."""
    return limit + np.exp(scale - np.exp(alpha) * np.log(np.maximum(tokens, 1e-4)))

def others(h, c):
    """The shares of the domains other than c, (n, 6)."""
    return np.delete(h, c, axis=1)

def nats(limit, scale, worth, h, c):
    """fit_law.py's law in shares: limit - amplitude ln(sum of h_j worth_j), the own one's worth 1,
    those of others (6,) or (n, 6); the amplitude by its logarithm."""
    total = h[:, c] + (others(h, c) * worth).sum(1)
    return limit - np.exp(scale) * np.log(np.maximum(total, 1e-6))

def by_ratio(worth, h, c):
    """What tokens of the others are worth (n, 6) in shares h, from their worth (6,) in equal ones:
    the gap, minus its logarithm, counts times (2 h_j / (h_c + h_j))^(1/2) (studies/shares.py)."""
    return np.maximum(worth, 1e-6)**np.sqrt(2 * others(h, c) / (others(h, c) + h[:, [c]]))

def stretched(h, exponent):
    """The shares in proportion to h^exponent, (n, 7); the exponent by its logarithm."""
    powers = h**np.exp(exponent)
    return powers / powers.sum(1, keepdims=True)

# {law: (what its parameters are, loss of c (n,) from parameters p and shares h (n, 7))}. A search
# starts from f, the limit: up to a nat below the least loss; l, a logarithm: normal(-1, 1);
# w, what a token of another is worth: 0 to .5; g, the logarithm of an exponent: normal(0, .3);
# s, a slope: -1 to 1
LAWS = {
    'own tokens alone': ('fll', lambda p, h, c: power(p[0], p[1], h[:, c], p[2])),
    'own tokens, shared capacity (Dai and Zheng, first order)': (
        'flls', lambda p, h, c: power(p[0], p[1], h[:, c], p[2]) + p[3] * (1 - h[:, c])),
    'additive': ('fll' + 6 * 'w', lambda p, h, c: power(
        p[0], p[1], h[:, c] + others(h, c) @ p[3:], p[2])),
    'additive, one exponent of the shares': ('fllg' + 6 * 'w', lambda p, h, c: power(
        p[0], p[1], h[:, c] + others(h, c)**np.exp(p[3]) @ p[4:], p[2])),
    'additive, an exponent for each': ('fll' + 6 * 'g' + 6 * 'w', lambda p, h, c: power(
        p[0], p[1], h[:, c] + others(h, c)**np.exp(p[3:9]) @ p[9:], p[2])),
    'in nats, one amplitude each': (
        'fl' + 6 * 'w', lambda p, h, c: nats(p[0], p[1], p[2:], h, c)),
    'in nats, worths by the ratio of shares': (
        'fl' + 6 * 'w', lambda p, h, c: nats(p[0], p[1], by_ratio(p[2:], h, c), h, c)),
    'in nats, shares stretched': (
        'flg' + 6 * 'w', lambda p, h, c: nats(p[0], p[1], p[3:], stretched(h, p[2]), c)),
    'exponential in the shares (Ye et al.)': (
        'fl' + 7 * 's', lambda p, h, c: p[0] + np.exp(p[1] + h @ p[2:])),
    'E + 1 / sum of C_j h_j^gamma_j (Shukor et al.)': ('f' + 7 * 'l' + 7 * 'g', lambda p, h, c: (
        p[0] + 1 / np.exp(p[1:8] + np.log(h) * np.exp(p[8:])).sum(1))),
}

@np.errstate(all='ignore')  # where a search goes astray
def fit(law, h, loss, c, rng):
    """Returns the parameters of a law with the least squared error of `STARTS` starts."""
    kinds, function = LAWS[law]
    draw = {'f': lambda: loss.min() - rng.uniform(0, 1), 'l': lambda: rng.normal(-1, 1),
            'w': lambda: rng.uniform(0, 0.5), 'g': lambda: rng.normal(0, 0.3),
            's': lambda: rng.uniform(-1, 1)}
    fits = [least_squares(lambda p: function(p, h, c) - loss, [draw[kind]() for kind in kinds],
                          x_scale='jac', max_nfev=400) for _ in range(STARTS)]
    return min(fits, key=lambda found: found.cost).x

if __name__ == '__main__':
    if len(sys.argv) < 2:
        fail('name the file dmsl_llm_slimpajama.csv')
    path, *names = sys.argv[1:]
    laws = {name: LAWS[name] for name in LAWS if name in names or not names}
    if not {*names} <= {*laws}:
        fail(f'there are the laws {"; ".join(LAWS)}')
    runs = pd.read_csv(path).drop_duplicates()
    sizes = {122e6: 9998e6, 680e6: 10366e6}  # {parameters: tokens}
    errors = []
    with tqdm(total=len(sizes) * SPLITS * len(laws), leave=False) as bar:
        for size, tokens in sizes.items():
            of_size = runs[(runs['model_size'] == size) & (runs['n_tokens'] == tokens)]
            h = of_size[[f'weight_{name}' for name in DOMAINS]].to_numpy()
            for split in range(SPLITS):
                rng = np.random.default_rng(split)
                rest = rng.permutation(len(h)) < len(h) // 5  # held out
                for law, (kinds, function) in laws.items():
                    for c, name in enumerate(DOMAINS):
                        loss = of_size[f'{name}_loss'].to_numpy()
                        p = fit(law, h[~rest], loss[~rest], c, rng)
                        error = np.abs(function(p, h[rest], c) - loss[rest])
                        facts = {'law': law, 'parameters': len(kinds), 'split': split,
                                 'size': f'{size / 1e6:.0f} M'}
                        errors += [facts | {'error': x} for x in error]
                    bar.update()
    table = pd.DataFrame(errors).groupby(['law', 'parameters', 'size', 'split'])['error'].mean()
    table = table.groupby(['law', 'parameters', 'size']).agg(['mean', 'min', 'max'])
    print('mean absolute error on held-out mixtures, nats; mean, least and most of '
          f'{SPLITS} splits\n{table.unstack().to_string(float_format="{:.4f}".format)}')
