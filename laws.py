"""Learning curves, and laws of what a mixture of components costs. fit_law.py fits and tries them.

A curve f_c(n) is XE of component c on n tokens, through specialists. A law is a function of
(fit, S, c): fit_law.fit_rates' dict, a list S of components, by number, and c one of it. It returns
XE_c(M_S) in nats, (D,), nan where it has none. Add yours to LAWS.
"""
import math

import numpy as np
import scipy.interpolate

# -----------------------------------------------------------------------------
# learning curves


def fit_power(n, xe):
    """Fits a + b (n / n_max)^-alpha to xe (D, P) at n (P,). Returns a, b, alpha, (D,) each."""
    alpha = np.geomspace(0.02, 3, 300)  # (A,); a and b are exact for each
    X = np.stack([np.ones((300, len(n))), (n / n[-1])**-alpha[:, None]], axis=2)  # (A, P, 2)
    ab = np.linalg.pinv(X) @ xe.T  # (A, 2, D)
    best, d = ((X @ ab - xe.T)**2).sum(1).argmin(0), np.arange(len(xe))
    return ab[best, 0, d], ab[best, 1, d], alpha[best]


def curve_values(form, n, xe, at):
    """Returns the curve of a form, 'power' or 'pchip', through xe (D, P), at tokens `at` (G,)."""
    if form == 'power':
        a, b, alpha = (x[:, None] for x in fit_power(n, xe))
        return a + b * (np.asarray(at) / n[-1])**-alpha
    falling = np.minimum.accumulate(xe, axis=1)
    return scipy.interpolate.PchipInterpolator(np.log(n), falling, axis=1)(np.log(at))


def leave_one_out(points):
    """Returns {form: root mean square error in nats} of curves at a budget that was left out, any
    but the ends, of points, {c: (n (P,), xe (P,))}. A power has three parameters: it needs five
    points."""
    errors = {}
    for n, xe in points.values():
        for i in range(1, len(n) - 1):
            for form in ('power', 'pchip') if len(n) > 4 else ('pchip',):
                rest = np.arange(len(n)) != i
                left = curve_values(form, n[rest], xe[None, rest], [n[i]])[0, 0]
                errors.setdefault(form, []).append(left - xe[i])
    return {form: math.sqrt(np.mean(np.square(x))) for form, x in errors.items()}


def xe_at(fit, c, n):
    """Returns f_c(n) in nats, (D,), at n (D,) tokens; nan outside the specialists' range."""
    ln_n, values = fit['curves'][c]
    place = (np.log(np.maximum(n, 1)) - ln_n[0]) / (ln_n[-1] - ln_n[0])
    place = np.nan_to_num(place, nan=-1)
    inside, place = np.abs(place - 0.5) < 0.5 + 1e-6, place.clip(0, 1) * (len(ln_n) - 1)
    i, d = np.minimum(place.astype(int), len(ln_n) - 2), np.arange(len(values))
    xe = values[d, i] + (place - i) * (values[d, i + 1] - values[d, i])
    return np.where(inside, xe, np.nan)


def tokens_at(fit, c, xe):
    """Returns the n (D,) with f_c(n) = xe (D,); nan outside the specialists' range."""
    ln_n, values = fit['curves'][c]
    return np.exp([np.interp(-x, -f, ln_n, left=np.nan, right=np.nan) for x, f in zip(xe, values)])


# -----------------------------------------------------------------------------
# laws


def of_share(share):
    """Returns the law of XE of one for n_c(S) / B."""
    return lambda fit, S, c: xe_at(fit, c, fit['B'] * share(fit, S, c))


def pairs_of(fit, key, S, c):
    """Returns eta or xe2 of c with the others in S, (D, K - 1)."""
    return fit[key][:, c, [j for j in S if j != c]]


def log_above(xe, limit):
    """Returns ln(xe - limit), nan where the curve's limit is above."""
    return np.log(np.where(xe > limit, xe - limit, np.nan))


def likeness(fit, S, c):
    """Returns eta_cj, and j's mean rate with the other others, (D, K - 1) each, of the others j."""
    rest = [j for j in S if j != c]
    like = [fit['eta'][:, j, [i for i in rest if i != j]].sum(1) / max(1, len(rest) - 1)
            for j in rest]
    return fit['eta'][:, c, rest], np.stack(like, axis=1)


def redundant(fit, S, c):
    """Additive, but j's rate is less by redundancy x its mean rate with the other others."""
    eta, like = likeness(fit, S, c)
    return (1 + (eta * (1 - fit['redundancy'] * like)).sum(1)) / len(S)


def revised(fit, S, c):
    """The same, but the less so the more of j is shared with c: tokens like c's own add up."""
    eta, like = likeness(fit, S, c)
    return (1 + (eta * (1 - fit['overlap'] * (1 - eta) * like)).sum(1)) / len(S)


def atlas(fit, S, c):
    """a + b (B / K)^-alpha K^psi, psi of all pairs (Longpre et al., 2510.22037, at one size)."""
    a, b, alpha = (fit[key][:, :, None] for key in ('limit', 'scale', 'alpha'))
    psi = np.nanmean(log_above(fit['xe2'], a) / math.log(2) - np.log2(b) - alpha, axis=(1, 2))
    return a[:, c, 0] + b[:, c, 0] * len(S)**(alpha[:, c, 0] + psi)


def exponential(fit, S, c):
    """a + exp(sum of t_j h_j), h = 1 / K, a the curve's limit (Ye et al., 2403.16952)."""
    a = fit['limit'][:, c]
    alone = log_above(xe_at(fit, c, fit['B']), a)
    pairs = log_above(pairs_of(fit, 'xe2', S, c), a[:, None]).sum(1)
    return a + np.exp((2 * pairs - (len(S) - 2) * alone) / len(S))


def shared_head(fit, S, c):
    """f_c(B) + w_c (f_c(B / K) - f_c(B)): the head is shared, the tail has own tokens alone."""
    one, two, many = (xe_at(fit, c, fit['B'] / K) for K in (1, 2, len(S)))
    return one + (np.nanmean(fit['xe2'][:, c], axis=1) - one) / (two - one) * (many - one)


def shared_capacity(fit, S, c):
    """f_c(B / K) + kappa_c (1 - 1 / K): own tokens in the noise term, and a shared capacity to
    first order (Dai and Zheng, 2606.08167, where kappa >= 0; here it may be below, so that others
    help)."""
    kappa = 2 * (np.nanmean(fit['xe2'][:, c], axis=1) - xe_at(fit, c, fit['B'] / 2))
    return xe_at(fit, c, fit['B'] / len(S)) + kappa * (1 - 1 / len(S))


def logarithm(fit, S, c):
    """f_c(B) + a ln K, a of all pairs."""
    one = np.stack([xe_at(fit, i, fit['B']) for i in range(len(fit['names']))], axis=1)
    a = np.nanmean(fit['xe2'] - one[:, :, None], axis=(1, 2)) / math.log(2)
    return one[:, c] + a * math.log(len(S))


LAWS = {
    'additive': of_share(lambda fit, S, c: (1 + pairs_of(fit, 'eta', S, c).sum(1)) / len(S)),
    'redundant': of_share(redundant), 'revised': of_share(revised),
    # others' tokens are worth eta h^exponent (exponents of shares: Shukor et al., 2507.09404)
    'shares': of_share(lambda fit, S, c: 1 / len(S) + pairs_of(fit, 'eta', S, c).sum(1) / 2
                       * (2 / len(S))**fit['exponent']),
    'one eta each': of_share(lambda fit, S, c: (
        1 + (len(S) - 1) * np.nanmean(fit['eta'][:, c], axis=1)) / len(S)),
    'one eta': of_share(lambda fit, S, c: (
        1 + (len(S) - 1) * np.nanmean(fit['eta'], axis=(1, 2))) / len(S)),
    # n_c = B K^-gamma, 2^-gamma = (1 + eta) / 2: the pairs of c in S, or all (ATLAS's form in K)
    'power': of_share(lambda fit, S, c: len(S)**np.mean(
        np.log2((1 + pairs_of(fit, 'eta', S, c)) / 2), axis=1)),
    'one power': of_share(lambda fit, S, c: len(S)**np.nanmean(
        np.log2((1 + fit['eta']) / 2), axis=(1, 2))),
    '1.66 a doubling': of_share(lambda fit, S, c: np.full(  # what ATLAS found for languages
        len(fit['alpha']), len(S)**-math.log2(1.66))),
    'ATLAS': atlas, 'exponential': exponential, 'shared head': shared_head,
    'shared capacity': shared_capacity, 'a ln K': logarithm,
    'dilution': of_share(lambda fit, S, c: np.full(len(fit['alpha']), 1 / len(S)))}
