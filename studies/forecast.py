"""
Predicts ΔXE of mixtures from runs on one component alone, and scores the prediction once the mixtures are trained.

    python eval_xe.py --eval_components=cs.DS,cs.IT,cs.PL,math.GR,math.ST --results_dir=results/cross  # every run on all components
    python -m studies.forecast                            # from the K = 1 runs: results/cross/forecast.csv
    python eval_xe.py ... && python -m studies.forecast   # after the mixtures are trained: with the score

It needs the specialists P_c (trained on B tokens of component c) and D_c (on B / K), each evaluated on every component. The prediction
supposes that a token of component j is worth rho_cj tokens of c to what a model learns about c, so that everything falls on one learning curve
of c's in N effective tokens:

    XE on c of a specialist of c trained on n tokens     f_c(n)
    XE on c of a specialist of j trained on m tokens     f_c(rho_cj m)
    XE on c of a mixture of K components                 f_c(B/K + sum over the others of rho_cj B/K) + ln K / T

f_c is a + b N^-alpha, fitted to the first two (least squares, all seeds together), which gives rho. The prediction is the third line
minus f_c(B); there N lies between B / K and B, where f_c was measured, and is read off between the means over seeds (linear in ln N).
ln K / T is what a Bayes mixture that ends up certain of the component pays, spread over the window's T tokens. rho from models that
never saw c may be wrong for models that did: the interval lets every rho be three times as large or as small, and adds (in quadrature)
the noise of two runs, from how runs of different seeds scatter.

The data-mixing law (Ye et al. 2024, arXiv 2403.16952) is fitted to the same runs for comparison: XE_c(r) = a_c + k_c exp(t_c . r), r the
shares of the components. The specialists P_j give its values at the corners; a_c, which corners do not tell, is the a of f_c.
"""
import csv
import json
import math
import os
from collections import defaultdict

import numpy as np
import scipy.optimize
import scipy.stats

from configurator import fail, override, write_csv

# -----------------------------------------------------------------------------
table = 'results/cross/xe_by_component.csv'      # eval_xe.py's, of runs evaluated on every component
runs_dir = 'out'                                 # the folder of those runs
forecast_csv = 'results/cross/forecast.csv'      # what is written
# -----------------------------------------------------------------------------
override(globals())


def fit_curve(points, own):
    """
    Fits one component's learning curve. points: {trained on: (tokens (n,), XE (n,))}, `own` the component itself, whose rho is 1.

    Returns (f, rho, a): f takes effective tokens, of the range that was measured on `own`, to nats; rho is {trained on: exchange rate}; a
    is the fitted curve's limit.
    """
    others = [j for j in sorted(points) if j != own]

    def curve(x, N):
        return x[0] + np.exp(x[1] - np.exp(x[2]) * np.log(N / B))

    def residuals(x):
        rates = dict(zip(others, np.exp(x[3:]))) | {own: 1.0}
        return np.concatenate([curve(x, rates[j] * tokens) - xe for j, (tokens, xe) in points.items()])
    at_most = min(xe.min() for _, xe in points.values())
    fit = scipy.optimize.least_squares(residuals, [max(at_most - 1, at_most / 2), 0.0, math.log(0.5), *[math.log(0.1)] * len(others)],
                                       bounds=([0, -9, -4, *[-9] * len(others)], [at_most, 5, 1, *[0] * len(others)]))
    n, place = np.unique(points[own][0], return_inverse=True)
    measured = np.bincount(place, points[own][1]) / np.bincount(place)
    return lambda N: np.interp(np.log(N), np.log(n), measured), dict(zip(others, np.exp(fit.x[3:]))), fit.x[0]


def read_table():
    """
    Returns {(seed, trained on, its tokens): {component: XE in nats}} of the runs on one component, {(seed, *components): {component: XE}} of
    the mixtures, and the block size. Tagged runs and those of the controls are left out.
    """
    of_one, of_many, T = defaultdict(dict), defaultdict(dict), set()
    try:
        with open(table, encoding='utf-8') as f:
            for row in csv.DictReader(f):
                with open(os.path.join(runs_dir, row['run'], 'mix.json')) as g, open(os.path.join(runs_dir, row['run'], 'config.json')) as h:
                    mix, run = json.load(g), json.load(h)
                if run['tag'] or run['shuffle_components'] or run['constant_per_component']:
                    continue
                T.add(run['block_size'])
                names, seed = sorted(row['components'].split('+')), int(row['seed'])
                runs, key = (of_one, (seed, *names, mix['tokens'])) if len(names) == 1 else (of_many, (seed, *names))
                if row['component'] in runs[key]:
                    fail(f'{table} holds two runs of seed {seed} on {row["components"]}: leave one of them out of --runs of eval_xe.py')
                runs[key][row['component']] = float(row['xe'])
    except (OSError, ValueError, KeyError) as e:
        fail(f'{table}, or a run of it under {runs_dir}/, cannot be read ({e!r}): write it with eval_xe.py --eval_components=... as --help says')
    if len(T) != 1 or not of_one:
        fail(f'{table} must hold runs on one component, all of one block_size')
    return of_one, of_many, T.pop()


if __name__ == '__main__':
    of_one, of_many, T = read_table()
    B = max(tokens for _, _, tokens in of_one)
    trained = sorted({name for _, name, _ in of_one})
    for (_, name, _), xe in of_one.items():
        if not xe.keys() >= set(trained):
            fail(f'{table} lacks the XE of {name} on other components: give eval_xe.py --eval_components={",".join(trained)}')
    curves = {}  # of each component
    for c in trained:
        points = defaultdict(list)
        for (_, j, tokens), xe in of_one.items():
            points[j].append((tokens, xe[c]))
        curves[c] = fit_curve({j: tuple(np.array(some, float).T) for j, some in points.items()}, c)

    rows = []  # of each seed and K: one for each component, then their mean
    for seed, tokens in sorted({(seed, tokens) for seed, _, tokens in of_one if tokens < B}, key=lambda x: (-x[1], x[0])):
        names, K = sorted(name for s, name, n in of_one if (s, n) == (seed, tokens)), round(B / tokens)
        if len(names) != K:
            fail(f'seed {seed}: {len(names)} specialists trained on {tokens:,} tokens, not the {K} of a mixture of {B:,}')
        if any((seed, j, B) not in of_one for j in names):
            fail(f'{table} lacks a specialist of {", ".join(names)} on {B:,} tokens with seed {seed}: train it')
        some = []
        for c in names:
            f, rho, a = curves[c]
            P = {j: of_one[seed, j, B][c] for j in names}
            worth = np.array([rho[j] for j in names if j != c])  # of a token of each of the others
            forecast, low, high = (f(tokens * (1 + np.minimum(1, factor * worth).sum())) - f(B) + math.log(K) / T for factor in (1, 3, 1 / 3))
            law = a + math.exp(np.mean([math.log(max(P[j] - a, 1e-9)) for j in names]))
            some.append({'k': K, 'seed': seed, 'component': c, 'xe_k1': P[c], 'dilution': of_one[seed, c, tokens][c] - P[c],
                         'forecast': forecast, 'forecast_low': low, 'forecast_high': high, 'mixing_law': law - P[c],
                         'effective_tokens': tokens * (1 + worth.sum())})
            if (seed, *names) in of_many:
                some[-1]['delta_xe'] = of_many[seed, *names][c] - P[c]
        rows += [*some, {key: np.mean([row[key] for row in some]) for key in some[0] if key != 'component'} | {'k': K, 'seed': seed, 'component': ''}]

    # the noise of one XE: runs that differ in nothing but the seed
    same = defaultdict(list)
    for (_, name, tokens), xe in of_one.items():
        same[name, tokens].append(xe[name])
    df = sum(len(x) - 1 for x in same.values())
    if not df:
        fail(f'{table} holds runs of one seed, which do not tell how runs of different seeds scatter: train another')
    noise, t = math.sqrt(sum(np.var(x) * len(x) for x in same.values()) / df), scipy.stats.t.ppf(0.975, df)

    for row in rows:  # ΔXE is a difference of two XE's, each the mean of K components', whose noise is taken as independent
        width = t * noise * math.sqrt(2 / (1 if row['component'] else row['k']))
        row['forecast_low'] = row['forecast'] - math.hypot(width, row['forecast'] - row['forecast_low'])
        row['forecast_high'] = row['forecast'] + math.hypot(width, row['forecast_high'] - row['forecast'])

    write_csv(forecast_csv, rows, ['k', 'seed', 'component', 'forecast', 'forecast_low', 'forecast_high', 'dilution', 'effective_tokens',
                                   'mixing_law', 'xe_k1', 'delta_xe'])

    print(f'from {len(of_one)} runs on one component; nats a token; standard deviation of an XE over seeds {noise:.4f} ({df} degrees of freedom)')
    for c, (f, rho, a) in curves.items():
        print(f'{c}: a token of ' + ', '.join(f'{j} is worth {r:.3f}' for j, r in rho.items()) + f'; its curve ends at {a:.2f}')
    print(f'{"K":>2} {"seed":>4}  {"ΔXE, forecast":26} {"dilution":>8} {"mixing law":>10} {"ΔXE":>8}')
    whole = [row for row in rows if not row['component']]
    for row in whole:
        print(f'{row["k"]:2} {row["seed"]:4}  {row["forecast"]:+.4f} [{row["forecast_low"]:+.4f}, {row["forecast_high"]:+.4f}]  {row["dilution"]:+.4f}'
              f'    {row["mixing_law"]:+.4f}  ' + (f'{row["delta_xe"]:+.4f}' if 'delta_xe' in row else '      -'))
    for what, some in (('mixtures', whole), ('components of mixtures', [row for row in rows if row['component']])):
        some = [row for row in some if 'delta_xe' in row]
        if some:
            error, law, dilution = (np.mean([abs(row[key] - row['delta_xe']) for row in some]) for key in ('forecast', 'mixing_law', 'dilution'))
            inside = sum(row['forecast_low'] <= row['delta_xe'] <= row['forecast_high'] for row in some)
            print(f'{len(some)} {what}: mean absolute error {error:.4f}, of the mixing law {law:.4f}, of dilution alone {dilution:.4f};'
                  f' {inside} of {len(some)} inside their interval')
    print(forecast_csv)
