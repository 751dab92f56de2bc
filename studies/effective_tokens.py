"""The law of K: what components are worth to one another, and what mixtures of them will cost.

    python fit_law.py                                        # from results/xe_by_component.csv
    python fit_law.py --results='studies/law/part1*,studies/law/mix*' --results_dir=results/law
    python fit_law.py --forecast=cs.DS,math.ST,cs.PL --budget=84000

f_c(n) is the learning curve of component c: XE of its specialists on n tokens an epoch. The
effective tokens n_c(S) of a mixture S solve f_c(n_c) = XE_c(M_S). A pair of components gives
exchange rates: n_c({c, j}) = (B / 2) (1 + eta_cj), so that a token of j is worth eta_cj of c. The
additive law says n_c(S) = (B / K) (1 + sum over the others j of eta_cj). It and the others of
laws.py are fitted to specialists and pairs, and tried on mixtures of K > fit_k. Rates come from

    (a) all pairs, trained    (b) a line through a few pairs, against the XE of j's specialist on c
    (c) the same, against bigram counts    (d) the line of other results (--line_from), no pair

(b) and (d) need results of eval_xe.py --eval_components=<all>. docs/outputs.md says what is written
and what the intervals hold; plot_law.py draws. Arrays have draws first, D = 1 + DRAWS of them: [0]
is the fit, the others are fits to results that were moved by their noise.
"""
# -----------------------------------------------------------------------------
results = 'results/xe_by_component.csv'  # files of eval_xe.py, a pattern; several with commas
results_dir = 'results'  # where the CSV files and pictures go
setting = ''             # 'key=value ..' that the runs must have, where results have several
components = ''          # only runs on these and no others, comma separated; '' = all
tagged = False           # True: of mixtures those that are given the component, so no ambiguity
law = 'revised'          # of laws.py: what --forecast takes, and the column law_share
budget = 0               # tokens an epoch of the mixtures; 0 = the most that a mixture has
forecast = ''            # components of a mixture to forecast, comma separated
fit_k = 2                # nothing is fitted to mixtures of a larger K: laws are tried on them
n_pairs = 8              # pairs that the lines of (b) and (c) are fitted to, drawn at random
pairs_draw = 0           # which draw of those pairs
line_from = ''           # results of another data set, whose line (d) takes
data_dir = 'data'        # where (c) finds the tokens, <data_dir>/<dataset>
law_error = 0.03         # sd of ln n_c that a law itself leaves above K = 2: of mixtures in LOG.md
redundancy = 0.15        # of the redundant law: from pilots, as no pair shows it, or by fit_k > 2
overlap = 0.336          # of the revised law: of the same mixtures, or by fit_k > 2
exponent = 1.06          # of the shares in Shukor et al.'s law; likewise
# -----------------------------------------------------------------------------
from configurator import override

override(globals())

import glob
import itertools
import json
import math
import os
import shlex
import sys
import warnings

import numpy as np
import pandas as pd
import scipy.optimize

import plot_law
from configurator import (fail, join_names, looked_in, random_stream, replace_file, safe_name,
                          split_names)
from laws import LAWS, curve_values, fit_power, leave_one_out, tokens_at, xe_at

DRAWS = 400
PARTS = (1, 2, 3, 4, 6, 8)  # the specialists of a curve have B / 1, B / 2 .. tokens
CONTROLS = ('shuffle_components', 'constant_per_component')
SWITCHES = 'tag', *CONTROLS, 'unfinished'
NUMBERS = 'k seed mix_seed xe token_budget'.split()
MAY_BE_EMPTY = 'delta_ci_low delta_ci_high bits_per_byte'.split()
WORDS = 'dataset split components component setting setting_hash'.split()
CONSTANTS = {'redundant': 'redundancy', 'revised': 'overlap', 'shares': 'exponent'}  # of laws
warnings.filterwarnings('ignore', 'Mean of empty slice|All-NaN|Degrees of freedom')

# -----------------------------------------------------------------------------
# results


def read_file(path):
    """Returns the rows of a file of eval_xe.py, a DataFrame; fails on what it does not write."""
    rows = pd.read_csv(path, keep_default_na=False, na_values=[''], dtype=str,
                       usecols=[*WORDS, *SWITCHES, *NUMBERS, *MAY_BE_EMPTY])
    for column in (*SWITCHES, *NUMBERS, *MAY_BE_EMPTY):
        text = rows[column].fillna('empty')
        if column in SWITCHES:  # a spreadsheet may have saved its own language's words
            rows[column] = text.str.lower().map({'true': True, 'false': False})
            is_right, what = rows[column].notna(), 'True or False'
        else:
            rows[column] = pd.to_numeric(text, errors='coerce')
            is_empty = (text == 'empty') & (column in MAY_BE_EMPTY)
            is_right, what = np.isfinite(rows[column]) | is_empty, 'a number'
        if not is_right.all():
            row = is_right.argmin()
            fail(f'{path}, line {row + 2}: {column} is {text[row]}, not {what}')
    return rows


def read_results(patterns, words='', only=''):
    """Returns ({(members, tokens an epoch, component): (XE of each run in nats (n,), the standard
    error of their ΔXE over documents, 0 if unknown)}, the data set, {(component, split): bytes a
    token}) of eval_xe.py's files. members are the components of the runs, sorted. Tagged mixtures
    (with the key `tagged` the others), controls and unfinished runs are left out, and so are those
    on other components than `only` names, if it does. Fails unless the runs whose setting has all
    `words`, 'key=value', share one setting."""
    paths = sorted({path for name in patterns.split(',') for path in glob.glob(name.strip())})
    if not paths:
        fail(f'{patterns}: no such file {looked_in(patterns)}: write it with python eval_xe.py')
    try:
        rows = pd.concat(map(read_file, paths), ignore_index=True).fillna({'setting': ''})
        keys = [dict(word.partition('=')[::2] for word in shlex.split(x)) for x in rows['setting']]
        rows['kind'] = [frozenset(f'{key}={value}' for key, value in (
            of_row | {'dataset': dataset, 'split': split}).items()
            if key not in ('token_budget', 'tag', *CONTROLS))  # they have columns
            for of_row, dataset, split in zip(keys, rows['dataset'], rows['split'])]
        rows = rows[(rows['tag'] == (tagged & (rows['k'] > 1)))
                    & ~rows[[*CONTROLS, 'unfinished']].any(axis=1)]
        rows = rows[[kind.issuperset(shlex.split(words)) for kind in rows['kind']]]
        kinds = set(rows['kind'])
        if not kinds:
            fail(f'{patterns}: no run that counts is there' + f', with {words}' * bool(words))
        differ = sorted(frozenset.union(*kinds) - frozenset.intersection(*kinds))
        if differ:
            fail(f'{patterns} has runs of several settings ({" ".join(differ)}): choose one by'
                 f" --setting='{differ[0]}'")
        if rows['setting_hash'].nunique() > 1:  # files of one setting each need not name it
            fail(f'{patterns} have runs of several settings, or of other code, and do not say in'
                 ' what they differ: evaluate them together (eval_xe.py --runs=..), which does')
        rows['members'] = [tuple(sorted([names] if k == 1 else names.split('+')))
                           for names, k in zip(rows['components'], rows['k'])]
        rows['tokens'] = rows['token_budget'].astype(int)
        rows['docs'] = ((rows['delta_ci_high'] - rows['delta_ci_low']) / 3.92).fillna(0)
        odd = [names for names, S, k in zip(rows['components'], rows['members'], rows['k'])
               if len(S) != k]
        if odd:
            fail(f'{patterns}: {odd[0]}: a name that has a + in it cannot be told from two: prepare'
                 ' the data with other labels')
        chosen = {*split_names(only)} or {*rows['component']}
        rows = rows[[chosen.issuperset((*S, c))
                     for S, c in zip(rows['members'], rows['component'])]]
        if not len(rows):
            fail(f'--components={only}: {patterns} has no run on these alone')
        runs = ['members', 'tokens', 'component', 'seed', 'mix_seed']  # whatever they are called
        twice = rows.groupby(runs)['xe'].transform(np.ptp) > 1e-3  # rounding moves it less
        if twice.any():
            fail(f'{patterns}: a run on {rows["components"][twice].iloc[0]} is there twice, with'
                 ' two values of XE: leave one of the files out')
        rows = rows.sort_values('docs', ascending=False, kind='stable').drop_duplicates(runs)
        cells = {key: (group['xe'].to_numpy(), group['docs'].mean())
                 for key, group in rows.groupby(['members', 'tokens', 'component'])}
        rows['bytes'] = rows['xe'] / math.log(2) / rows['bits_per_byte']
        measured = rows.dropna(subset='bytes').groupby(['component', 'split'])['bytes'].mean()
        return cells, rows['dataset'].iloc[0], dict(measured)
    except (OSError, ValueError, KeyError, EOFError) as e:  # pandas' own errors are ValueErrors
        fail(f'{patterns} cannot be read ({e}): write it with python eval_xe.py')


def mixture_budget(cells):
    """Returns the tokens of the mixtures: `budget` if there are such, else the most there are."""
    sizes = {n for S, n, _ in cells if len(S) > 1} or {n for _, n, _ in cells}
    return budget if budget in sizes else max(sizes)


# -----------------------------------------------------------------------------
# the fit


def noise(sd, *name):
    """Returns draws of a number's error, (D,), the first 0; `name` seeds them."""
    return np.append(0, sd * random_stream('law', *name).standard_normal(DRAWS))


def check_specialists(points, B):
    """Fails where a component has too few budgets for a curve that ends at B or above."""
    lacking = [(c, B // part) for c, (n, _, _) in points.items() for part in PARTS
               if (len(n) < 3 or n[-1] < B) and B // part not in n]
    if lacking:
        commands = '; '.join(f'python train.py <config> --components={shlex.quote(join_names([c]))}'
                             f' --token_budget={n}' for c, n in lacking[:6])
        fail(f'{lacking[0][0]} has too few specialists for a learning curve up to {B:,} tokens, the'
             f' --budget: train {commands}'
             + f' (and {len(lacking) - 6} more runs, of other components)' * (len(lacking) > 6))


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

        B, names     tokens of a mixture; the C components, which laws know by their number
        curves       [(ln n (G,), XE in nats (D, G))] of each component
        limit, scale, alpha   (D, C): XE = limit + scale (n / B)^-alpha, fitted to its specialists
        xe2, eta     (D, C, C): XE of c in the pair {c, j}, and eta_cj; nan where not known
        sd, df       of XE from seed to seed on B tokens, in nats, and its degrees of freedom
        errors, form, curve_sd   leave_one_out; the form with the least; what it adds to sd
        moves        {(members, tokens): [(what its noise did (D,), sd of a run, runs)]}"""
    names = sorted({c for S, n, _ in cells if n == B for c in S})
    points = {c: tuple(np.array(x) for x in zip(*[
        (n, runs.mean(), len(runs)) for (S, n, of), (runs, _) in sorted(cells.items())
        if S == (c,) and of == c])) or ([], [], []) for c in names}
    check_specialists(points, B)
    errors = leave_one_out({c: (n, xe) for c, (n, xe, _) in points.items()})
    form = min(errors, key=errors.get)
    any_sd, any_df = seed_spread(cells)
    sds, df = {}, any_df
    for tokens in {int(x) for n, _, _ in points.values() for x in n} | {B}:
        sds[tokens], df_there = seed_spread(cells, tokens)
        if df_there < 5:  # too few runs to say
            sds[tokens] = any_sd if any_df else errors[form]
        elif tokens == B:
            df = df_there
    sd = sds[B]
    variance = np.mean([sds[int(x)]**2 / runs
                        for n, _, m in points.values() for x, runs in zip(n, m)])
    curve_sd = math.sqrt(max(0, errors[form]**2 - variance))
    unknown = np.full((1 + DRAWS, len(names), len(names)), np.nan)
    fit = {'B': B, 'names': names, 'sd': sd, 'df': df, 'errors': errors, 'form': form,
           'curve_sd': curve_sd, 'curves': [], 'moves': {}, 'xe2': unknown, 'eta': unknown.copy(),
           'redundancy': redundancy, 'overlap': overlap, 'exponent': exponent}
    powers = []
    for c, (n, xe, m) in points.items():
        moved = [noise(math.sqrt(sds[int(x)]**2 / runs + curve_sd**2), c, int(x))
                 for x, runs in zip(n, m)]
        fit['moves'] |= {((c,), int(x)): [(z, sds[int(x)], runs)]
                         for x, z, runs in zip(n, moved, m)}
        drawn, ln_n = xe + np.stack(moved, axis=1), np.linspace(*np.log(n[[0, -1]]), 400)
        values = np.minimum.accumulate(curve_values(form, n, drawn, np.exp(ln_n)), axis=1)
        fit['curves'].append((ln_n, values - 1e-9 * np.arange(len(ln_n))))  # it can be inverted
        a, b, alpha = fit_power(n, drawn)
        powers.append((a, b * (B / n[-1])**-alpha, alpha))
    fit |= dict(zip(('limit', 'scale', 'alpha'), np.transpose(powers, (1, 2, 0))))
    for (S, n, of), (runs, docs) in cells.items():
        if len(S) == 2 and n == B and of in S:
            c, j = names.index(of), names.index(S[S[0] == of])
            z = noise(math.hypot(sd / math.sqrt(len(runs)), docs), of, S)
            fit['moves'].setdefault((S, B), []).append((z, sd, len(runs)))
            fit['xe2'][:, c, j] = runs.mean() + z
            fit['eta'][:, c, j] = 2 * tokens_at(fit, c, fit['xe2'][:, c, j]) / B - 1
    return fit | fit_constants(fit, cells)


def fit_constants(fit, cells):
    """Returns the constants of laws that no pair shows, {name: least squares}, if fit_k > 2."""
    tried = [([fit['names'].index(c) for c in S], fit['names'].index(of), runs.mean())
             for (S, n, of), (runs, _) in cells.items()
             if 2 < len(S) <= fit_k and n == fit['B'] and of in S]

    def error(x, name, key):
        return np.nanmean([(LAWS[name](fit | {key: x}, S, c)[0] - xe)**2 for S, c, xe in tried])
    return {key: scipy.optimize.minimize_scalar(error, bounds=(-1, 3), args=(name, key),
                                                method='bounded').x
            for name, key in CONSTANTS.items() if tried}


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
    All nan where data_dir has no such data set. Fails where it is of another tokenizer than the
    results, whose bytes a token are read_results'."""
    folder, V = os.path.join(data_dir, dataset), 0
    try:
        with open(os.path.join(folder, 'meta.json'), encoding='utf-8') as f:
            meta = json.load(f)
        there = {(c, split): facts['bytes'] / facts['tokens']
                 for c, splits in meta['components'].items() for split, facts in splits.items()}
        V = int(meta['vocab_size'])
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError):
        there = {}  # no data set there, or a damaged one
    for key in there.keys() & measured.keys():
        if abs(there[key] / measured[key] - 1) > 0.01:
            fail(f'{folder} is of other data than {results}: {key[0]} has {there[key]:.2f} bytes a'
                 f' token there, not {measured[key]:.2f}: name those, or none, by --data_dir')
    H = np.full((len(names), len(names)), np.nan)
    folders = [os.path.join(folder, safe_name(c)) for c in names if V]
    train, test = ([np.fromfile(os.path.join(x, f'{split}.bin'), '<u2', B).astype(int)
                    for x in folders] for split in ('train', 'test'))
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
    (D, C, C). Returns ((a, b) (D, 2), sd of the residuals, pairs (n, 2)); each draw but the first
    draws the pairs with replacement. Returns None where there are fewer than three pairs."""
    known, rng = np.isfinite(gaps + eta[0]), random_stream('pairs', pairs_draw)
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
    return np.array(lines), math.sqrt(np.sum(errors[0]**2) / (2 * len(pairs) - 2)), pairs


def with_line(fit, gaps, line, way):
    """Returns the fit with the rates that a line of fit_line tells, and its residuals drawn."""
    (ab, sd, _), names = line, fit['names']
    eta = ab[:, :1, None] + ab[:, 1:, None] * gaps
    moves = {key: x for key, x in fit['moves'].items() if len(key[0]) == 1}
    for c, j in itertools.permutations(range(len(names)), 2):
        z = noise(sd, way, names[c], names[j])
        eta[:, c, j] += z
        moves.setdefault((tuple(sorted((names[c], names[j]))), fit['B']), []).append((z, sd, 0))
    return fit | {'eta': eta, 'moves': moves}


def fit_ways(fit, cells, dataset, measured):
    """Returns ({way: the fit with its rates}, {way: (gaps, fit_line's line)}), those of (a) to (d)
    that the results allow. Fails where none is."""
    B, names = fit['B'], fit['names']
    gaps = {'b': cross_gaps(cells, names, B), 'c': bigram_gaps(dataset, names, B, measured)}
    lines = {way: (gaps[way], fit_line(gaps[way], fit['eta'], n_pairs)) for way in gaps}
    if line_from:
        others, *_ = read_results(line_from)
        of_others = fit_rates(others, mixture_budget(others))
        lines['d'] = gaps['b'], fit_line(cross_gaps(others, of_others['names'], of_others['B']),
                                         of_others['eta'])
    lines = {way: (x, line) for way, (x, line) in lines.items() if line and np.isfinite(x).any()}
    ways = {'a': fit} if np.isfinite(fit['eta'][0]).any() else {}
    ways |= {way: with_line(fit, x, line, way) for way, (x, line) in lines.items()}
    if not ways:
        fail(f'{results} has no pairs, K = 2 with {B:,} tokens, whose effective tokens are known:'
             ' train them; or name results of another data set by --line_from, and evaluate the'
             ' specialists of both on all components (eval_xe.py --eval_components)')
    return ways, lines


# -----------------------------------------------------------------------------
# forecasts and their scores


def interval(draws, *names):
    """Returns {names[0]: low, names[1]: high}, the 90% interval of draws (D,); nan if [0] is."""
    ends = np.nanquantile(draws, (0.05, 0.95)) if np.isfinite(draws[0]) else (np.nan, np.nan)
    return dict(zip(names, ends))


def forecast_draws(fit, law, S):
    """Returns {c: (XE (D,), ΔXE (D,))} of one run of a mixture S, names: the law's, with the noise
    of a run, and the law's own error, which its components share. '' is their mean."""
    draws, ids = {}, [fit['names'].index(c) for c in S]
    for name, c in zip(S, ids):
        ln_n, values = fit['curves'][c]
        slope = (values[0, 0] - values[0, -1]) / (ln_n[-1] - ln_n[0])  # nats for 1 of ln n
        error = noise(fit['sd'], 'run', name, S)
        error += slope * noise(law_error, 'law', S) * (len(S) > 2)  # pairs are what it is fitted to
        xe = LAWS[law](fit, ids, c) + error
        draws[name] = xe, xe - xe_at(fit, c, fit['B'])
    return draws | {'': np.mean([*draws.values()], axis=0)}


def forecast_rows(ways, sets, cells, dataset):
    """Returns a DataFrame of the forecasts of mixtures by all laws on (a), and by three and `--law`
    on the other ways, with what was measured. covered is the share of runs inside the interval."""
    rows = []
    for way, name, S in itertools.product(ways, LAWS, sets):
        if way != 'a' and name not in ('additive', 'redundant', 'revised', law):
            continue
        for c, (xe, delta) in forecast_draws(ways[way], name, S).items():
            rows.append({'dataset': dataset, 'budget': ways[way]['B'], 'law': name, 'way': way,
                         'k': len(S), 'components': '+'.join(S), 'component': c,
                         'forecast': xe[0], **interval(xe, 'low', 'high'),
                         'delta': delta[0], **interval(delta, 'delta_low', 'delta_high')})
            runs, _ = cells.get((S, ways[way]['B'], c), ([], 0))
            if len(runs):
                inside = (rows[-1]['low'] <= runs) & (runs <= rows[-1]['high'])
                rows[-1] |= {'xe': runs.mean(), 'n_runs': len(runs), 'covered': inside.mean(),
                             'error': xe[0] - runs.mean()}
    return pd.DataFrame(rows, columns=('dataset budget law way k components component forecast low'
                                       ' high delta delta_low delta_high xe n_runs covered error'
                                       ).split())


def score(forecasts):
    """Returns a DataFrame: law, way, K ('' = all above fit_k): number, errors in nats, coverage."""
    scores = []
    tried = forecasts[(forecasts['k'] > fit_k) & forecasts['xe'].notna()]
    for (law, way), of_law in tried.groupby(['law', 'way'], sort=False):
        for K, rows in [('', of_law), *of_law.groupby('k')]:
            known = rows.dropna(subset='error')
            scores.append({'law': law, 'way': way, 'k': K, 'n': len(known),
                           'no_forecast': len(rows) - len(known), 'bias': known['error'].mean(),
                           'mae': known['error'].abs().mean(),
                           'coverage': known['covered'].mean()})
    return pd.DataFrame(scores, columns='law way k n no_forecast mae bias coverage'.split())


def token_rows(fit, cells):
    """Returns a DataFrame of the effective tokens of each mixture and component."""
    rows, B, names = [], fit['B'], fit['names']
    for (S, n, of), (runs, docs) in cells.items():
        if len(S) > 1 and n == B and of in S:
            c = names.index(of)
            z = noise(math.hypot(fit['sd'] / math.sqrt(len(runs)), docs), of, S)
            tokens, best = tokens_at(fit, c, runs.mean() + z), fit['curves'][c][1][0, -1]
            by_law = tokens_at(fit, c, LAWS[law](fit, [names.index(j) for j in S], c)[:1])[0]
            side = '' if tokens[0] > 0 else 'above' if runs.mean() < best else 'below'
            rows.append({'k': len(S), 'components': '+'.join(S), 'component': of, 'xe': runs.mean(),
                         'delta': runs.mean() - xe_at(fit, c, B)[0], 'n_runs': len(runs),
                         'tokens': tokens[0], **interval(tokens, 'tokens_low', 'tokens_high'),
                         'share': tokens[0] / B, **interval(tokens / B, 'share_low', 'share_high'),
                         'law': law, 'law_share': by_law / B, 'outside': side})
    return pd.DataFrame(rows, columns=(
        'k components component xe delta n_runs tokens tokens_low tokens_high share share_low'
        ' share_high law law_share outside').split())


def eta_rows(ways, lines):
    """Returns a DataFrame of the rates of each way, and of the gaps that its line starts from. Rows
    without components are of the mean over the rates."""
    rows = []
    for way, fit in ways.items():
        eta, names = fit['eta'], fit['names']
        mean = np.nanmean(eta, axis=(1, 2))
        rows.append({'way': way, 'eta': mean[0], **interval(mean, 'eta_low', 'eta_high')})
        rows += [{'way': way, 'component': names[c], 'other': names[j], 'eta': eta[0, c, j],
                  **interval(eta[:, c, j], 'eta_low', 'eta_high'),
                  'gap': lines[way][0][c, j] if way in lines else np.nan}
                 for c, j in itertools.permutations(range(len(names)), 2)]
    return pd.DataFrame(rows, columns='way component other eta eta_low eta_high gap'.split())


def next_run(fit, S):
    """Returns (members, tokens, share of the variance of the law's mean ΔXE that it removes) of the
    run that would tell most of a mixture S: another seed, or a pair not trained. Shares come from a
    regression of the draws on what moved them."""
    y = forecast_draws(fit, law, S)[''][1]
    moves = [(key, z, sd**2 * (1 / runs - 1 / (runs + 1) if runs else 1))
             for key, of_key in fit['moves'].items() if set(key[0]) <= {*S}
             for z, sd, runs in of_key]
    ok, Z = np.isfinite(y), np.stack([z for _, z, _ in moves], axis=1)
    slopes, gains = np.linalg.lstsq(Z[ok], y[ok] - y[0])[0], {}
    for (key, _, less), slope in zip(moves, slopes):
        gains[key] = gains.get(key, 0) + slope**2 * less / y[ok].var()
    best = max(gains, key=gains.get)
    return *best, min(gains[best], 1)


# -----------------------------------------------------------------------------
# the work in its order


def print_forecast(fit, ways):
    """Prints the law's forecast of the mixture asked for, and the run that would help."""
    S, names, tokens = tuple(sorted(split_names(forecast))), fit['names'], budget or fit['B']
    start = f'--forecast={forecast}:'
    for c in S:
        if c not in names:
            fail(f'{start} {c} has no specialists here; there are {", ".join(names)}')
    if len(S) < 2:
        fail(f'{start} name two components or more')

    # rates of pairs where they are known, else of the first line that tells them
    ids = [names.index(c) for c in S]
    asked = (0, *np.array([*itertools.permutations(ids, 2)]).T)
    for way, of_way in ways.items():
        known = {'eta': np.where(np.isfinite(fit['eta'][0]), fit['eta'], of_way['eta']),
                 'moves': of_way['moves'] | fit['moves'], 'B': tokens}
        if np.isfinite(known['eta'][asked]).all():
            break
    else:
        fail(f'{start} not all pairs of these are there: train them, or have lines tell the rates'
             ' (--help)')
    n_known = int(np.isfinite(fit['eta'][asked]).sum())
    source = '(a)' if way == 'a' else f'({way}), {n_known} of {len(asked[1])} by (a)'
    draws = forecast_draws(fit | known, law, S)
    if np.isnan([xe[0] for xe in draws['']]).any():  # XE or ΔXE
        low, high = (math.exp(max(x[0][0] for x in fit['curves'])), math.exp(
            min(x[0][-1] for x in fit['curves'])))
        fail(f'{start} {tokens:,} tokens, or the effective tokens, are outside what all specialists'
             f' had, {low:,.0f} to {high:,.0f}: train more of them, or choose another --budget')
    print(f'\n{"+".join(S)}, {tokens:,} tokens an epoch: {law} law, rates at {fit["B"]:,} tokens'
          f' from {source}; 90% intervals of one run')
    if law in CONSTANTS and len(S) > 2:  # it says what the others have in common
        key = CONSTANTS[law]
        print(f'{key} {fit[key]:.3g}, ' + (
            'of your mixtures' if fit[key] != globals()[key] else
            'of the mixtures in LOG.md: --fit_k=3 or more fits it to yours of K <= fit_k'))
    print()
    for c, (xe, delta) in draws.items():
        ends = [*interval(xe, 0, 1).values(), *interval(delta, 0, 1).values()]
        print(f'{c or "mean":12} XE {xe[0]:.4f} [{ends[0]:.4f}, {ends[1]:.4f}]   ΔXE'
              f' {delta[0]:+.4f} [{ends[2]:+.4f}, {ends[3]:+.4f}]')
    members, n, share = next_run(fit | known, S)
    print(f'\nThe run that narrows the interval of the mean ΔXE most, by'
          f' {1 - math.sqrt(1 - share):.1%}: python train.py <config> --components='
          f'{shlex.quote(join_names(members))} --token_budget={n}, with a new --seed')


def print_tables(fit, tokens, forecasts, scores):
    """Prints the mean rate; by K the mean ΔXE that was measured and that laws forecast, and the
    mean share of effective tokens; and the scores of laws, best first."""
    mean_eta = np.nanmean(fit['eta'], axis=(1, 2))
    print(f'\nmean eta of {np.isfinite(fit["eta"][0]).sum()} rates: {mean_eta[0]:.3f}, 90% '
          + '[{:.3f}, {:.3f}]'.format(*interval(mean_eta, 0, 1).values()))
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
    if law not in LAWS:
        fail(f'--law={law}: no such law; there are {", ".join(LAWS)}')
    cells, dataset, measured = read_results(results, setting, components)
    B = mixture_budget(cells)
    if budget and not forecast and budget != B:
        fail(f'--budget={budget}: mixtures have {B:,} tokens; another budget is for --forecast=')
    fit = fit_rates(cells, B)
    tokens = token_rows(fit, cells)
    print('curves, error in nats at a budget that is left out: ' + ', '.join(
        f'{form} {x:.4f}' for form, x in fit['errors'].items()) + f'; taken: {fit["form"]}\nseeds:'
        f' sd of XE {fit["sd"]:.4f} ' + (f'({fit["df"]} degrees of freedom)' if fit['df'] else
                                         '(not known: no run is repeated; the error of curves)'))
    for row in tokens[tokens['outside'] != ''].to_dict('records'):
        print(f'{row["component"]} in {row["components"]}: XE {row["xe"]:.4f} is that of'
              f' {"more" if row["outside"] == "above" else "fewer"} tokens than its specialists'
              ' had, so its effective tokens are left out')
    ways, lines = fit_ways(fit, cells, dataset, measured)
    if forecast:
        print_forecast(fit, ways)
        sys.exit()

    # all mixtures where they are few, else those that were trained and the largest
    names, first = fit['names'], next(iter(ways))
    sets = [S for K in range(2, len(names) + 1) for S in itertools.combinations(names, K)]
    trained = {S for S, n, _ in cells if n == fit['B']} | {tuple(names)}
    sets = sets if len(sets) <= 300 else [S for S in sets if S in trained]
    forecasts = forecast_rows(ways, sets, cells, dataset)
    scores = score(forecasts[forecasts['component'] != ''])

    # the CSV files, the pictures, the table
    os.makedirs(results_dir, exist_ok=True)
    tables = {'tokens': tokens, 'eta': eta_rows(ways, lines), 'forecast': forecasts,
              'scores': scores}
    for name, table in tables.items():
        replace_file(os.path.join(results_dir, f'law_{name}.csv'),
                     table.to_csv(index=False, float_format='%.6g'))
    pictures = plot_law.draw(results_dir)
    print_tables(ways[first], tokens, forecasts, scores)
    print(f'\n{results_dir}/ has {", ".join(f"law_{name}.csv" for name in tables)} and'
          f' {len(pictures)} pictures')
