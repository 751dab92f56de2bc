"""The law of K in effective tokens, step 13's: what components are worth to one another, and what
mixtures of them cost. It makes the tables of docs/results.md and LOG.md (2026-11-28) from losses.

    python studies/effective_tokens.py --results_dir=results/law \\
      --line_from='studies/law/abstracts*.csv.gz' --law_error=0.07 \\
      --results='studies/law/part1.csv.gz,studies/law/cross.csv.gz,studies/law/mixtures*.csv.gz'

f_c(n) is the learning curve of component c: XE of its specialists on n tokens an epoch. The
effective tokens n_c(S) of a mixture S solve f_c(n_c) = XE_c(M_S). A pair of components gives
exchange rates: n_c({c, j}) = (B / 2) (1 + eta_cj), so that a token of j is worth eta_cj of c. The
additive law says n_c(S) = (B / K) (1 + sum over the others j of eta_cj). It and the other LAWS are
fitted to specialists and pairs, and tried on mixtures of K > fit_k. Rates come from

    (a) all pairs, trained    (b) a line through a few pairs, against the XE of j's specialist on c
    (c) the same, against bigram counts    (d) the line of other results (--line_from), no pair

Each component needs specialists at three budgets, the largest B or above. (b) and (d) need results
of eval_xe.py --eval_components=<all>, and (c) the data set that the models read. Four files have

    effective_tokens.csv     each mixture and component: effective tokens, and their share of B
    effective_eta.csv        each way and ordered pair (no names: the mean): its rate, and the gap
    effective_forecasts.csv  each law, way, mixture and component (none: the mean): XE and ΔXE
    effective_scores.csv     each law, way and K (none: all above fit_k): how far it was off

Intervals are 90%, for one run. Draws move each specialist and pair by the spread of seeds, also by
the error of the curves (specialists), of ΔXE over documents (pairs), and of the line ((b) to (d)).
To that comes the spread of one run and, above K = 2, law_error. Arrays have draws first, D = 1 +
DRAWS of them: [0] is the fit, the others are fits to results that were moved by their noise.
"""
# -----------------------------------------------------------------------------
results = 'results/xe_by_component.csv'  # files of eval_xe.py, a pattern; several with commas
results_dir = 'results'  # where the CSV files go
components = ''          # only runs on these and no others, comma separated; '' = all
tagged = False           # True: of mixtures those that are given the component, so no ambiguity
budget = 0               # tokens an epoch of the mixtures; 0 = the most that a mixture has
fit_k = 2                # nothing is fitted to mixtures of a larger K: laws are tried on them
line_from = ''           # results of another data set, whose line (d) takes
data_dir = 'data'        # where (c) finds the tokens, <data_dir>/<dataset>
law_error = 0.03         # sd of ln n_c that a law itself leaves above K = 2: of mixtures in LOG.md
# -----------------------------------------------------------------------------
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from configurator import override

override(globals())

import glob
import itertools
import json
import math
import warnings

import numpy as np
import pandas as pd
import scipy.interpolate
import scipy.optimize

from configurator import fail, looked_in, random_stream, replace_file, safe_name, split_names

DRAWS = 400
N_PAIRS = 8  # pairs that the lines of (b) and (c) are fitted to, drawn at random
LEFT_OUT = ['shuffle_components', 'constant_per_component', 'unfinished']  # runs that are
COLUMNS = [*LEFT_OUT, *'dataset split setting_hash k seed mix_seed components component xe'.split(),
           *'token_budget tag delta_ci_low delta_ci_high bits_per_byte'.split()]
# what no pair shows: from pilots, that of the revised law from 28 mixtures: {law: (name, value)}
CONSTANTS = {'redundant': ('redundancy', 0.15), 'revised': ('overlap', 0.336),
             'shares': ('exponent', 1.06)}
warnings.filterwarnings('ignore', 'Mean of empty slice|All-NaN|Degrees of freedom')

# -----------------------------------------------------------------------------
# results

def read_results(patterns, only=''):
    """Returns ({(members, tokens an epoch, component): (XE of each run in nats (n,), the standard
    error of their ΔXE over documents, 0 if unknown)}, the most tokens that mixtures have, the data
    set, {component: bytes a token}) of eval_xe.py's files. members are the components of the runs,
    sorted. Tagged mixtures (with the key `tagged` the others), controls, unfinished runs and those
    in unequal shares or on other components than `only` names are left out. A run that is there
    twice counts once."""
    paths = sorted({path for name in patterns.split(',') for path in glob.glob(name.strip())})
    if not paths:
        fail(f'{patterns}: no such file {looked_in(patterns)}: write it with python eval_xe.py')
    try:
        rows = pd.concat([pd.read_csv(path, usecols=lambda name: name in {*COLUMNS, 'shares'})
                          for path in paths], ignore_index=True)
        rows = rows[rows.reindex(columns=['shares'])['shares'].isna()][COLUMNS]
    except (ValueError, KeyError, EOFError) as e:
        fail(f'{patterns} cannot be read ({e}): write it with python eval_xe.py')
    rows = rows[(rows['tag'] == (tagged & (rows['k'] > 1))) & ~rows[LEFT_OUT].any(axis=1)]
    if not len(rows):
        fail(f'{patterns}: no finished run is there')
    if len(rows.drop_duplicates(['dataset', 'split', 'setting_hash'])) != 1:
        fail(f'{patterns} must have runs of one data set and setting')
    rows['members'] = [tuple(sorted(names.split('+'))) for names in rows['components']]
    rows['docs'] = ((rows['delta_ci_high'] - rows['delta_ci_low']) / 3.92).fillna(0)
    chosen = {*split_names(only)} or {*rows['component']}
    rows = rows[[chosen.issuperset((*S, c)) for S, c in zip(rows['members'], rows['component'])]]
    runs = ['members', 'token_budget', 'component', 'seed', 'mix_seed']  # whatever they are called
    if rows.groupby(runs)['xe'].agg(np.ptp).max() > 1e-3:  # rounding moves it less
        fail(f'{patterns}: a run is there twice, with two values of XE')
    rows = rows.sort_values('docs', ascending=False, kind='stable').drop_duplicates(runs)
    cells = {key: (group['xe'].to_numpy(), group['docs'].mean())
             for key, group in rows.groupby(['members', 'token_budget', 'component'])}
    measured = (rows['xe'] / math.log(2) / rows['bits_per_byte']).groupby(rows['component']).mean()
    most = max((n for S, n, _ in cells if len(S) > 1), default=None)
    if not most:
        fail(f'{patterns}: no mixture is there')
    return cells, most, rows['dataset'].iloc[0], dict(measured)

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
    but the ends, of points, {c: (n (P,), xe (P,), _)}. A power needs five points."""
    errors = {}
    for n, xe, _ in points.values():
        for i in range(1, len(n) - 1):
            for form in ('power', 'pchip') if len(n) > 4 else ('pchip',):
                rest = np.arange(len(n)) != i
                left = curve_values(form, n[rest], xe[None, rest], [n[i]])[0, 0]
                errors.setdefault(form, []).append(left - xe[i])
    return {form: math.sqrt(np.mean(np.square(x))) for form, x in errors.items()}

def xe_at(fit, c, n):
    """Returns f_c(n) in nats, (D,), at n (D,) tokens; nan outside the specialists' range."""
    ln_n, values = fit['curves'][c]
    place = np.nan_to_num((np.log(np.maximum(n, 1)) - ln_n[0]) / (ln_n[-1] - ln_n[0]), nan=-1)
    inside, place = np.abs(place - 0.5) < 0.5 + 1e-6, place.clip(0, 1) * (len(ln_n) - 1)
    i, d = np.minimum(place.astype(int), len(ln_n) - 2), np.arange(len(values))
    xe = values[d, i] + (place - i) * (values[d, i + 1] - values[d, i])
    return np.where(inside, xe, np.nan)

def tokens_at(fit, c, xe):
    """Returns the n (D,) with f_c(n) = xe (D,); nan outside the specialists' range."""
    ln_n, values = fit['curves'][c]
    return np.exp([np.interp(-x, -f, ln_n, left=np.nan, right=np.nan) for x, f in zip(xe, values)])

# -----------------------------------------------------------------------------
# laws: functions of (fit, S, c), fit_rates' dict, a list S of components, by number, and c one of
# it, which return XE_c(M_S) in nats, (D,), nan where they have none. SHARES return n_c(S) / B

def of_share(share):
    """Returns the law of XE of one for n_c(S) / B."""
    return lambda fit, S, c: xe_at(fit, c, fit['B'] * share(fit, S, c))

def pairs_of(fit, key, S, c):
    """Returns eta or xe2 of c with the others in S, (D, K - 1)."""
    return fit[key][:, c, [j for j in S if j != c]]

def log_above(xe, limit):
    """Returns ln(xe - limit), nan where the curve's limit is above."""
    return np.log(np.where(xe > limit, xe - limit, np.nan))

def overlapping(fit, S, c, r, power):
    """Returns n_c(S) / B: additive, but j's rate is less by r (1 - eta_cj)^power x like_j, its mean
    rate with the other others. With power 1 it is less so the more of j is shared with c: tokens
    like c's own add up."""
    rest = [j for j in S if j != c]
    like = [fit['eta'][:, j, [i for i in rest if i != j]].sum(1) / max(1, len(rest) - 1)
            for j in rest]
    eta = fit['eta'][:, c, rest]
    return (1 + (eta * (1 - r * (1 - eta)**power * np.stack(like, axis=1))).sum(1)) / len(S)

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
    """f_c(B / K) + kappa_c (1 - 1 / K): own tokens, and a shared capacity to first order (Dai and
    Zheng, 2606.08167, where kappa >= 0; here it may be below, so that others help)."""
    kappa = 2 * (np.nanmean(fit['xe2'][:, c], axis=1) - xe_at(fit, c, fit['B'] / 2))
    return xe_at(fit, c, fit['B'] / len(S)) + kappa * (1 - 1 / len(S))

def logarithm(fit, S, c):
    """f_c(B) + a ln K, a of all pairs."""
    one = np.stack([xe_at(fit, i, fit['B']) for i in range(len(fit['names']))], axis=1)
    a = np.nanmean(fit['xe2'] - one[:, :, None], axis=(1, 2)) / math.log(2)
    return one[:, c] + a * math.log(len(S))

SHARES = {
    'additive': lambda fit, S, c: (1 + pairs_of(fit, 'eta', S, c).sum(1)) / len(S),
    'redundant': lambda fit, S, c: overlapping(fit, S, c, fit['redundancy'], 0),
    'revised': lambda fit, S, c: overlapping(fit, S, c, fit['overlap'], 1),
    # others' tokens are worth eta h^exponent (exponents of shares: Shukor et al., 2507.09404)
    'shares': lambda fit, S, c: (
        1 / len(S) + pairs_of(fit, 'eta', S, c).sum(1) / 2 * (2 / len(S))**fit['exponent']),
    'one eta each': lambda fit, S, c: (
        1 + (len(S) - 1) * np.nanmean(fit['eta'][:, c], axis=1)) / len(S),
    'one eta': lambda fit, S, c: (1 + (len(S) - 1) * np.nanmean(fit['eta'], (1, 2))) / len(S),
    # n_c = B K^-gamma, 2^-gamma = (1 + eta) / 2: the pairs of c in S, or all (ATLAS's form in K)
    'power': lambda fit, S, c: len(S)**np.log2((1 + pairs_of(fit, 'eta', S, c)) / 2).mean(1),
    'one power': lambda fit, S, c: len(S)**np.nanmean(np.log2((1 + fit['eta']) / 2), (1, 2)),
    '1.66 a doubling': lambda fit, S, c: len(S)**-math.log2(1.66),  # as ATLAS found for languages
    'dilution': lambda fit, S, c: 1 / len(S)}
LAWS = {law: of_share(share) for law, share in SHARES.items()} | {
    'ATLAS': atlas, 'exponential': exponential, 'shared head': shared_head,
    'shared capacity': shared_capacity, 'a ln K': logarithm}

# -----------------------------------------------------------------------------
# the fit

def noise(sd, *name):
    """Returns draws of a number's error, (D,), the first 0; `name` seeds them."""
    return np.append(0, sd * random_stream('law', *name).standard_normal(DRAWS))

def seed_spread(cells, tokens=None):
    """Returns (sd of XE from seed to seed, in nats, its degrees of freedom) of runs of K <= fit_k
    on so many tokens, or on any; (0, 0) where none is repeated."""
    repeated = [runs for (S, n, c), (runs, _) in cells.items()
                if c in S and len(S) <= fit_k and n == (tokens or n)]
    df = sum(len(runs) - 1 for runs in repeated)
    return math.sqrt(sum(np.var(x) * len(x) for x in repeated) / max(df, 1)), df

def fit_rates(cells, B):
    """Fits the curves, and the rates of the pairs of B tokens, of read_results' cells. Returns a
    dict:

        B, names       tokens of a mixture; the C components, which laws know by their number
        curves         [(ln n (G,), XE in nats (D, G))] of each component
        limit, scale, alpha   (D, C): XE = limit + scale (n / B)^-alpha, fitted to its specialists
        xe2, eta       (D, C, C): XE of c in the pair {c, j}, and eta_cj; nan where not known
        sd, df         of XE from seed to seed on B tokens, in nats, and its degrees of freedom
        errors, form   leave_one_out; the form with the least error
        redundancy, overlap, exponent   of laws
        gaps, line     (C, C), (a, b): of rates by a line, else nan"""
    names = sorted({c for S, n, _ in cells if n == B for c in S})
    points = {c: np.array([(n, runs.mean(), len(runs)) for (S, n, of), (runs, _) in sorted(
        cells.items()) if S == (c,) and of == c]).reshape(-1, 3).T for c in names}
    if not names or any(len(n) < 3 or n[-1] < B for n, _, _ in points.values()):
        fail(f'{", ".join(names) or results}: too few specialists for curves to {B:,} tokens')
    errors = leave_one_out(points)
    form = min(errors, key=errors.get)

    # spreads: of seeds on so many tokens, and what curves add to it
    spreads = {None: seed_spread(cells)}
    for tokens in {B, *(int(x) for n, _, _ in points.values() for x in n)}:
        spreads[tokens] = seed_spread(cells, tokens)
        if spreads[tokens][1] < 5:  # too few runs to say
            spreads[tokens] = spreads[None] if spreads[None][1] else (errors[form], 0)
    variances = {c: [spreads[int(x)][0]**2 / runs for x, runs in zip(n, m)]
                 for c, (n, _, m) in points.items()}
    curve_sd = math.sqrt(max(0, errors[form]**2 - np.mean(np.concatenate([*variances.values()]))))
    sd, df = spreads[B]
    unknown = np.full((1 + DRAWS, len(names), len(names)), np.nan)
    fit = {'B': B, 'names': names, 'sd': sd, 'df': df, 'errors': errors, 'form': form,
           'curves': [], 'xe2': unknown, 'eta': unknown.copy(), 'gaps': unknown[0].copy(),
           'line': (np.nan, np.nan), **dict(CONSTANTS.values())}
    powers = []
    for c, (n, xe, _) in points.items():
        drawn = xe + np.stack([noise(math.sqrt(variance + curve_sd**2), c, int(x))
                               for x, variance in zip(n, variances[c])], axis=1)
        ln_n = np.linspace(*np.log(n[[0, -1]]), 400)
        values = np.minimum.accumulate(curve_values(form, n, drawn, np.exp(ln_n)), axis=1)
        fit['curves'].append((ln_n, values - 1e-9 * np.arange(len(ln_n))))  # it can be inverted
        a, b, alpha = fit_power(n, drawn)
        powers.append((a, b * (B / n[-1])**-alpha, alpha))
    fit |= dict(zip(('limit', 'scale', 'alpha'), np.transpose(powers, (1, 2, 0))))
    for (S, n, of), (runs, docs) in cells.items():
        if len(S) == 2 and n == B and of in S:
            c, j = names.index(of), names.index(S[S[0] == of])
            z = noise(math.hypot(sd / math.sqrt(len(runs)), docs), of, S)
            fit['xe2'][:, c, j] = runs.mean() + z
            fit['eta'][:, c, j] = 2 * tokens_at(fit, c, fit['xe2'][:, c, j]) / B - 1
    return fit | fit_constants(fit, cells)

def fit_constants(fit, cells):
    """Returns the constants of laws that no pair shows, {name: least squares}, if fit_k > 2."""
    tried = [([fit['names'].index(c) for c in S], fit['names'].index(of), runs.mean())
             for (S, n, of), (runs, _) in cells.items()
             if 2 < len(S) <= fit_k and n == fit['B'] and of in S]

    def error(x, law, key):
        return np.nanmean([(LAWS[law](fit | {key: x}, S, c)[0] - xe)**2 for S, c, xe in tried])
    return {key: scipy.optimize.minimize_scalar(error, bounds=(-1, 3), args=(law, key),
                                                method='bounded').x
            for law, (key, _) in CONSTANTS.items() if tried}

# -----------------------------------------------------------------------------
# rates without all pairs: lines

def cross_gaps(cells, names, B):
    """Returns XE_c(P_j) - XE_c(P_c), nats, of specialists on B tokens, (C, C); nan if unknown."""
    xe = {(S[0], c): runs.mean() for (S, n, c), (runs, _) in cells.items() if (len(S), n) == (1, B)}
    gaps = [[xe.get((j, c), np.nan) - xe.get((c, c), np.nan) for j in names] for c in names]
    return np.where(np.eye(len(names)), np.nan, gaps)

def bigram_gaps(dataset, names, B, measured):
    """Returns H_c(j) - H_c(c), nats a token, (C, C): H_c(j) is the cross entropy of c's test tokens
    under bigrams of the first B training tokens of j, which j's unigrams join as one count more.
    All nan where data_dir has no such data set. Fails where bytes a token are not as measured."""
    folder = os.path.join(data_dir, dataset)
    H = np.full((len(names), len(names)), np.nan)
    if not os.path.exists(os.path.join(folder, 'meta.json')):
        return H
    with open(os.path.join(folder, 'meta.json'), encoding='utf-8') as f:
        meta = json.load(f)
    V, facts = meta['vocab_size'], {c: meta['components'][c]['test'] for c in names}
    if any(abs(x['bytes'] / x['tokens'] / measured[c] - 1) > 0.01 for c, x in facts.items()):
        fail(f'{folder} is of other data than {results}: name those, or none, by --data_dir')
    train, test = ([np.fromfile(os.path.join(folder, safe_name(c), f'{split}.bin'), '<u2', B)
                    .astype(int) for c in names] for split in ('train', 'test'))
    for (j, x), (c, y) in itertools.product(enumerate(train), enumerate(test)):
        pairs, n = np.unique(x[:-1] * V + x[1:], return_counts=True)
        asked, ones = y[:-1] * V + y[1:], np.bincount(x, minlength=V)
        i = np.minimum(np.searchsorted(pairs, asked), len(pairs) - 1)
        unigram = (ones[y[1:]] + 0.5) / (len(x) + V / 2)
        H[c, j] = -np.log((np.where(pairs[i] == asked, n[i], 0) + unigram)
                          / (ones[y[:-1]] + 1)).mean()
    return np.where(np.eye(len(names)), np.nan, H - np.diag(H)[:, None])

def fit_line(gaps, eta, limit=None):
    """Fits eta_cj = a + b gap_cj to at most `limit` pairs {c, j}, drawn at random: gaps (C, C), eta
    (D, C, C). Returns ((a, b) (D, 2), sd of the residuals); each draw but the first draws the pairs
    with replacement. Returns None where there are fewer than three pairs."""
    known, rng = np.isfinite(gaps + eta[0]), random_stream('pairs', 0)
    pairs = rng.permutation(np.argwhere(np.triu(known & known.T)))[:limit]
    if len(pairs) < 3:
        return None
    lines, errors = [], []
    for d in range(len(eta)):
        c, j = pairs[rng.integers(len(pairs), size=len(pairs)) if d else slice(None)].T
        x, y = np.append(gaps[c, j], gaps[j, c]), np.append(eta[d, c, j], eta[d, j, c])
        X, ok = np.stack([np.ones(len(x)), x], axis=1), np.isfinite(y)
        lines.append(np.linalg.lstsq(X[ok], y[ok])[0])
        errors.append(y - X @ lines[-1])
    return np.array(lines), math.sqrt(np.sum(errors[0]**2) / (2 * len(pairs) - 2))

def with_line(fit, gaps, line, way):
    """Returns the fit with the rates that a line of fit_line tells, its residuals drawn, and with
    the gaps and the line's (a, b)."""
    (ab, sd), names = line, fit['names']
    eta = ab[:, :1, None] + ab[:, 1:, None] * gaps
    for c, j in itertools.permutations(range(len(names)), 2):
        eta[:, c, j] += noise(sd, way, names[c], names[j])
    return fit | {'eta': eta, 'gaps': gaps, 'line': ab[0]}

def fit_ways(fit, cells, dataset, measured):
    """Returns {way: the fit with its rates}, (a) and those of (b) to (d) that the results allow."""
    names, B = fit['names'], fit['B']
    cross, bigrams = cross_gaps(cells, names, B), bigram_gaps(dataset, names, B, measured)
    lines = {'b': (cross, fit_line(cross, fit['eta'], N_PAIRS)),
             'c': (bigrams, fit_line(bigrams, fit['eta'], N_PAIRS))}
    if line_from:
        cells, most, *_ = read_results(line_from)
        others = fit_rates(cells, most)
        of_others = cross_gaps(cells, others['names'], most)
        lines['d'] = cross, fit_line(of_others, others['eta'])
    return {'a': fit} | {way: with_line(fit, gaps, line, way)
                         for way, (gaps, line) in lines.items()
                         if line and np.isfinite(gaps).any()}

# -----------------------------------------------------------------------------
# forecasts and their scores

def interval(draws, *names):
    """Returns {names[0]: low, names[1]: high}, the 90% interval of draws (D,); nan if [0] is."""
    ends = np.nanquantile(draws, (0.05, 0.95)) if np.isfinite(draws[0]) else (np.nan, np.nan)
    return dict(zip(names, ends))

def forecast_draws(fit, law, S):
    """Returns {c: (XE (D,), ΔXE (D,))} of one run of a mixture S, names: the law's, with the noise
    of a run, and the law's own error, which its components share. '' is their mean."""
    draws, ids = {}, [fit['names'].index(name) for name in S]
    for name, c in zip(S, ids):
        ln_n, values = fit['curves'][c]
        slope = (values[0, 0] - values[0, -1]) / (ln_n[-1] - ln_n[0])  # nats for 1 of ln n
        error = noise(fit['sd'], 'run', name, S)
        error += slope * noise(law_error, 'law', S) * (len(S) > 2)  # pairs are what it is fitted to
        xe = LAWS[law](fit, ids, c) + error
        draws[name] = xe, xe - xe_at(fit, c, fit['B'])
    return draws | {'': np.mean([*draws.values()], axis=0)}

def forecast_rows(ways, sets, cells):
    """Returns a DataFrame of the forecasts of mixtures by all laws on (a), and by three on the
    other ways, with what was measured. covered is the share of runs inside the interval."""
    rows = []
    for way, law, S in itertools.product(ways, LAWS, sets):
        if way != 'a' and law not in ('additive', 'redundant', 'revised'):
            continue
        for c, (xe, delta) in forecast_draws(ways[way], law, S).items():
            rows.append({'law': law, 'way': way, 'k': len(S), 'components': '+'.join(S),
                         'component': c, 'forecast': xe[0], **interval(xe, 'low', 'high'),
                         'delta': delta[0], **interval(delta, 'delta_low', 'delta_high')})
            runs, _ = cells.get((S, ways[way]['B'], c), ([], 0))
            if len(runs):
                inside = (rows[-1]['low'] <= runs) & (runs <= rows[-1]['high'])
                rows[-1] |= {'xe': runs.mean(), 'n_runs': len(runs), 'covered': inside.mean(),
                             'error': xe[0] - runs.mean()}
    return pd.DataFrame(rows)

def score(forecasts):
    """Returns a DataFrame: law, way, K ('' = all above fit_k): number, errors in nats, coverage."""
    tried = forecasts[(forecasts['k'] > fit_k) & forecasts['xe'].notna()]
    tried = tried.assign(mae=tried['error'].abs(), is_none=tried['error'].isna(),
                         covered=tried['covered'].where(tried['error'].notna()))
    return pd.concat([tried.assign(k=''), tried]).groupby(['law', 'way', 'k'], sort=False).agg(
        n=('error', 'count'), no_forecast=('is_none', 'sum'), mae=('mae', 'mean'),
        bias=('error', 'mean'), coverage=('covered', 'mean')).reset_index()

def token_rows(fit, cells):
    """Returns a DataFrame of the effective tokens of each mixture and component; nan where XE is
    outside the range of its specialists'."""
    rows, B, names = [], fit['B'], fit['names']
    for (S, n, of), (runs, _) in cells.items():
        if len(S) > 1 and n == B and of in S:
            c, xe = names.index(of), runs.mean()
            tokens = tokens_at(fit, c, [xe])[0]
            rows.append({'k': len(S), 'components': '+'.join(S), 'component': of, 'xe': xe,
                         'delta': xe - xe_at(fit, c, B)[0], 'tokens': tokens, 'share': tokens / B})
    return pd.DataFrame(rows)

def eta_rows(ways):
    """Returns a DataFrame of the rates of each way, and of the gaps that its line starts from. Rows
    without components are of the mean over the rates."""
    rows = []
    for way, fit in ways.items():
        eta, names = fit['eta'], fit['names']
        mean = np.nanmean(eta, axis=(1, 2))
        rows.append({'way': way, 'eta': mean[0], **interval(mean, 'eta_low', 'eta_high')})
        rows += [{'way': way, 'component': names[c], 'other': names[j], 'eta': eta[0, c, j],
                  **interval(eta[:, c, j], 'eta_low', 'eta_high'),
                  'gap': fit['gaps'][c, j]}
                 for c, j in itertools.permutations(range(len(names)), 2)]
    return pd.DataFrame(rows)

# -----------------------------------------------------------------------------
# the work in its order

def print_tables(ways, tokens, eta, forecasts, scores):
    """Prints the errors of curves and seeds; of each way the mean rate, its line, how far its rates
    are from those of (a), and the correlation of its gaps with those; by K the mean ΔXE, measured
    and by laws, and the mean share of effective tokens; and the scores of laws, best first."""
    fit = ways['a']
    print('curves, error in nats at a budget that is left out: ' + ', '.join(
        f'{form} {x:.4f}' for form, x in fit['errors'].items()) + f'; taken: {fit["form"]}\nseeds:'
        f' sd of XE {fit["sd"]:.4f} ({fit["df"]} degrees of freedom; 0: the error of curves)')
    if tokens['k'].between(3, fit_k).any():
        print(f'of the mixtures of 2 < K <= {fit_k}: ' + ', '.join(
            f'{key} {fit[key]:.3f}' for key, _ in CONSTANTS.values()))
    pairs = eta.dropna(subset='component').pivot(index=['component', 'other'], columns='way')
    rates = eta[eta['component'].isna()].set_index('way')[['eta', 'eta_low', 'eta_high']]
    rates.insert(0, 'rates', pairs['eta'].count())
    rates[['at gap 0', 'per nat']] = [fit['line'] for fit in ways.values()]
    rates['off'] = pairs['eta'].sub(pairs['eta']['a'], axis=0).abs().mean()
    rates['r of gap'] = pairs['gap'].corrwith(pairs['eta']['a'])
    print(f'\n{rates.to_string(float_format="{:.3f}".format, na_rep="-")}')

    means = forecasts[forecasts['component'] == '']
    trained = means['components'].isin(tokens['components'])
    means = means[trained | ~means['k'].isin(means['k'][trained])]  # where K has some, those alone
    by_k = means.pivot_table('delta', ['law', 'way'], 'k')
    sets = tokens.groupby(['k', 'components'])[['delta', 'share']].mean().groupby('k')
    for name, row in (('measured', sets['delta'].mean()), ('its sd', sets['delta'].std()),
                      ('n / B', sets['share'].mean())):
        by_k.loc[(name, ''), :] = row
    print('\nΔXE in nats by K, mean over the mixtures that were trained, else over all\n'
          + by_k.to_string(float_format='{:+.3f}'.format, na_rep='-'))
    if len(scores):
        n_runs = forecasts.loc[forecasts['k'] > fit_k, 'n_runs'].dropna()
        floor = fit['sd'] * math.sqrt(2 / math.pi) * (n_runs**-0.5).mean()
        whole = scores[scores['k'] == ''].drop(columns='k').set_index(['law', 'way'])
        bias = scores[scores['k'] != ''].pivot(index=['law', 'way'], columns='k', values='bias')
        print(f'\nErrors of XE in nats on K > {fit_k}, each (S, c) a mean over runs: seeds alone'
              f' would leave {floor:.4f}\n' + whole.join(bias.add_prefix('bias K=')).sort_values(
                  'mae').to_string(float_format='{:+.3f}'.format))

if __name__ == '__main__':
    cells, most, dataset, measured = read_results(results, components)
    B = budget or most
    if not any(len(S) > 1 and n == B for S, n, _ in cells):
        fail(f'{results}: no mixture on --budget={B} tokens')
    fit = fit_rates(cells, B)
    ways = fit_ways(fit, cells, dataset, measured)
    tokens, eta = token_rows(fit, cells), eta_rows(ways)
    names = tuple(fit['names'])
    sets = [S for K in range(2, len(names) + 1) for S in itertools.combinations(names, K)]
    if len(sets) > 300:  # those that were trained, and the largest
        sets = [S for S in sets if S == names or (S, B, S[0]) in cells]
    forecasts = forecast_rows(ways, sets, cells)
    scores = score(forecasts[forecasts['component'] != ''])

    tables = {'tokens': tokens, 'eta': eta, 'forecasts': forecasts, 'scores': scores}
    for name, table in tables.items():
        replace_file(os.path.join(results_dir, f'effective_{name}.csv'),
                     table.to_csv(index=False, float_format='%.6g'))
    print_tables(ways, **tables)
    print(f'\n{results_dir}/ has ' + ', '.join(f'effective_{name}.csv' for name in tables))
