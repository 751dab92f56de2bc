"""The law of K: what a mixture costs each of its components, from what their specialists know.

    python fit_law.py                                     # from results/xe_by_component.csv
    python fit_law.py --results='studies/law/k32-*.csv.gz' --results_dir=results/law
    python fit_law.py --forecast='cs.DS,math.ST,cs.PL; cs.DS,math.ST shares=3,1'

With P_j the specialist of component j and M_S a mixture, both trained on B tokens an epoch, and h_j
the share of j in the mixture S, 1 / K unless shares say otherwise, the law is, in nats a token:

    D_c(S) = XE_c(M_S) - XE_c(P_c)                               what S costs c
    exp(-D_c(S) / amplitude) = sum over j in S of h_j worth_cj,  worth_cc = 1
    worth_cj = max(0, level - slope r_cj gap_cj)                 what a token of j is worth to c
    gap_cj = XE_c(P_j) - XE_c(P_c)                               what j's specialist lacks of c
    r_cj = (2 h_j / (h_c + h_j))^(1/2)                           1 in equal shares

Its three constants are fitted to the mixtures in the results, or taken from another fit: then
specialists suffice, evaluated on all components, and the amplitude goes with their mean XE. LAWS
has this law, others and rivals; add yours. Intervals are 90%, from the law's errors in the fit;
constants have standard errors, by the jackknife over components. CSV columns: docs/outputs.md.
"""
# -----------------------------------------------------------------------------
results = 'results/xe_by_component.csv'  # files of eval_xe.py, a pattern; several with commas
results_dir = 'results'  # where the CSV files and pictures go
tagged = False           # True: of mixtures those that are given the component
budget = 0               # tokens an epoch of mixtures and specialists; 0 = the most there are
law = 'line cut at 0'    # of LAWS, for pictures and --forecast; in unequal shares 'soft minimum'
fit_k = 0                # constants are fitted to mixtures of so many components or fewer; 0 = all
constants = ''           # a law_constants.csv in place of a fit; '' = a fit, or constants-32.csv
forecast = ''            # mixtures to forecast: names with commas, shares=.., with ; between
# -----------------------------------------------------------------------------
from configurator import override

override(globals())

import glob
import inspect
import itertools
import math
import os
import shlex

import numpy as np
import pandas as pd
import scipy.optimize

import plot_law
from configurator import ROOT, fail, join_names, looked_in, replace_file, split_names, split_sets
from sample_mix import read_shares

WORDS = 'dataset split components component setting setting_hash'.split()
NUMBERS = 'k seed mix_seed xe token_budget'.split()
SWITCHES = 'tag shuffle_components constant_per_component unfinished'.split()
FORECASTS = ('law k components shares component forecast low high measured sd n_runs error covered'
             ' xe').split()
ERRORS = ['error', 'error_of_mean']
SCORES = 'law k n measured measured_se mae bias bias_se coverage'.split()

# ---- laws --------------------------------------------------------------------

# what mixtures cost, D (N,) in nats, from constants and `rows`, a dict of
#     share    (N, C)  h_j of each component j in the mixture, 0 where it is not in it
#     is_own   (N, C)  True where j is c, the component that pays
#     gap      (N, C)  gap_cj in nats
#     pair     (N, C)  D_c({c, j}) of the pair in equal shares; nan where that is not known
#     xe       (N,)    XE_c(P_c)

def cost(rows, amplitude, worth):
    """Returns D (N,), of what a token of each component is worth to the one that pays, (N, C)."""
    worth = np.where(rows['is_own'], 1, worth)
    total = np.where(rows['share'] > 0, rows['share'] * worth, 0).sum(1)
    return -amplitude * np.log(np.maximum(total, 1e-6))  # a line can fall below 0

def gap_in(rows, power=0.5):
    """Returns the gaps (N, C) as they count: the more of j beside c, the less is a token worth."""
    share_of_c = (rows['share'] * rows['is_own']).sum(1, keepdims=True)
    return rows['gap'] * (2 * rows['share'] / (share_of_c + rows['share']))**power

LAWS = {  # {name: (law, where the search for its constants starts)}
    # nobody does harm: components that share nothing cost amplitude x ln K
    'line cut at 0': (lambda rows, amplitude, level, slope: cost(
        rows, amplitude, np.maximum(0, level - slope * gap_in(rows))), (0.4, 0.7, 0.3)),
    'line': (lambda rows, amplitude, level, slope: cost(
        rows, amplitude, level - slope * gap_in(rows)), (0.4, 0.7, 0.3)),
    # two constants, and no exception for c itself: D is a soft minimum of gaps
    'soft minimum': (lambda rows, amplitude, scale: cost(
        rows, amplitude, np.exp(-gap_in(rows) / scale)), (0.5, 1.2)),
    'pairs': (lambda rows, amplitude: cost(
        rows, amplitude, 2 * np.exp(-rows['pair'] / amplitude) - 1), (0.4,)),
    # rivals that do not know who the others are; in equal shares c's own is 1 / K
    'one worth': (lambda rows, amplitude, worth: cost(rows, amplitude, worth), (0.4, 0.3)),
    'a ln K': (lambda rows, a: -a * np.log((rows['share'] * rows['is_own']).sum(1)), (0.15,)),
    'power of K': (lambda rows, power: rows['xe'] * (
        (rows['share'] * rows['is_own']).sum(1)**-power - 1), (0.03,))}

def constant_names(name):
    """Returns the names of a law's constants, a list."""
    return [*inspect.signature(LAWS[name][0]).parameters][1:]

# ---- results -----------------------------------------------------------------

def read_results(patterns):
    """Returns the runs' losses, a DataFrame with the columns mixture, a sorted tuple of (component,
    share), tokens (of an epoch), component, seed, mix_seed and xe (nats). Left out are controls,
    unfinished runs, and tagged mixtures (with `tagged` the others). Fails at several settings."""
    paths = sorted({path for name in split_names(patterns) for path in glob.glob(name) or
                    fail(f'{name}: no such file {looked_in(name)}: python eval_xe.py writes it')})
    try:
        files = [pd.read_csv(path, keep_default_na=False, dtype=str) for path in paths]
        rows = pd.concat([of_file[WORDS + NUMBERS + SWITCHES].assign(
            shares=of_file.get('shares', '')) for of_file in files], ignore_index=True)  # if it has
        for name in NUMBERS + SWITCHES:  # a spreadsheet may have saved TRUE
            rows[name] = rows[name].str.lower().replace({'true': '1', 'false': '0'}).astype(float)
    except (OSError, ValueError, KeyError, EOFError) as e:  # pandas' own errors are ValueErrors
        fail(f'{patterns} cannot be read ({e}): write it with python eval_xe.py')
    rows = rows[(rows['tag'] == (tagged & (rows['k'] > 1))) & ~rows[SWITCHES[1:]].any(axis=1)]
    if not len(rows):
        fail(f'{patterns}: no finished run is there')
    kinds = rows.drop_duplicates(['dataset', 'split', 'setting_hash'])
    if len(kinds) > 1:
        one, other, *_ = kinds['dataset'] + ' ' + kinds['split'] + ' ' + kinds['setting']
        fail(f'{patterns} has runs of {len(kinds)} settings, or of other code, such as "{one}" and'
             f' "{other}": evaluate those of one setting by eval_xe.py --runs=..')

    rows = rows.rename(columns={'token_budget': 'tokens'})
    sets = [x.split('+') if k > 1 else [x] for x, k in zip(rows['components'], rows['k'])]
    if any(len(S) != k for S, k in zip(sets, rows['k'])):
        fail(f'{patterns}: a component with a + in its name: prepare the data with other labels')
    rows['mixture'] = [tuple(sorted(zip(S, map(float, read_shares(shares, len(S))[0]))))
                       for S, shares in zip(sets, rows['shares'])]
    run = ['mixture', 'tokens', 'component', 'seed', 'mix_seed']
    twice = rows.groupby(run)['xe'].transform(np.ptp) > 1e-3  # rounding moves it less
    if twice.any():
        fail(f'{patterns}: a run on {rows["components"][twice].iloc[0]} is there twice, with two'
             ' values of XE: leave one of the files out')
    return rows.drop_duplicates(run)[[*run, 'xe']]

def measure(rows):
    """Returns, of read_results' rows of one budget, the specialists' gaps in nats, a DataFrame with
    row c and column j (nan where P_j was not evaluated on c); their XE, a Series; and of mixtures a
    DataFrame with mixture, component, n_runs, and the mean and sd over runs of D_c(S) in nats. A
    run is compared with the specialist of its own seeds, else with the mean of those there are."""
    is_alone = rows['mixture'].map(len) == 1
    of = rows['mixture'].map(lambda mixture: mixture[0][0])
    seeds = ['component', 'seed', 'mix_seed']
    of_c = rows[is_alone & (of == rows['component'])].set_index(seeds)['xe']
    means = of_c.groupby('component').mean()
    same = pd.Series(of_c.reindex(pd.MultiIndex.from_frame(rows[seeds])).to_numpy(), rows.index)
    rows = rows.assign(of=of, cost=rows['xe'] - same.fillna(rows['component'].map(means)))
    gaps = rows[is_alone].pivot_table('cost', 'component', 'of')
    paid = [c in dict(mixture) for c, mixture in zip(rows['component'], rows['mixture'])]
    table = rows[~is_alone & np.array(paid)].groupby(['mixture', 'component'])['cost'].agg(
        n_runs='count', measured='mean', sd='std').reset_index()
    return gaps.reindex(index=gaps.columns), means, table

def law_rows(table, gaps, xe, measured, with_own_pair=False):
    """Returns what LAWS take, of a table's N rows; the others are what measure returns. What a pair
    cost says nothing of that pair itself, unless with_own_pair."""
    number = {name: i for i, name in enumerate(gaps)}
    share, pair = np.zeros((len(table), len(gaps))), np.full(gaps.shape, np.nan)
    for row, mixture in zip(share, table['mixture']):
        row[[number[name] for name, _ in mixture]] = [h for _, h in mixture]
    for mixture, c, D in zip(measured['mixture'], measured['component'], measured['measured']):
        others = [name for name, h in mixture if name != c and h == 0.5]
        if len(mixture) == 2 and others:
            pair[number[c], number[others[0]]] = D
    c = table['component'].map(number).to_numpy(dtype=int)
    is_pair = (np.sort(share)[:, -2:] == 0.5).all(1, keepdims=True)
    return {'share': share, 'is_own': np.arange(len(gaps)) == c[:, None],
            'pair': np.where(is_pair & (not with_own_pair), np.nan, pair[c]),
            'gap': gaps.to_numpy()[c], 'xe': xe[table['component']].to_numpy()}

# ---- constants ---------------------------------------------------------------

def jackknife(values):
    """Returns a standard error from values (n, ..), each without one component (Tukey 1958)."""
    n = len(values)
    return np.sqrt((n - 1) / n * ((values - np.mean(values, 0))**2).sum(0))

def spread(start):
    """Returns half, once and one and a half of each constant, in all combinations."""
    return [*itertools.product(*((x / 2, x, 1.5 * x) for x in start))]

@np.errstate(all='ignore')  # where a search tries an amplitude of 0
def least_squares(residuals, starts):
    """Returns scipy's result with the least squares of residuals(x), over searches from several
    starts: one may end where a worth is cut at 0."""
    return min((scipy.optimize.least_squares(residuals, x) for x in map(np.array, starts)
                if np.isfinite(residuals(x)).all()), key=lambda found: found.cost)

def fit_law(name, rows, table):
    """Fits a law to measure's table by least squares; each (S, c) weighs the same. Returns a
    DataFrame of its constants, and of ERRORS, root mean squares in nats: of a component in a run,
    of the mean over a mixture. The row '' is the fit, others leave out what a component pays; there
    is none where the law forecasts fewer than three components."""
    law, start = LAWS[name]
    known = np.isfinite(law(rows, *start)) & (table['mixture'].map(len) <= (fit_k or np.inf))
    paying, found = sorted({*table['component'][known]}), {}
    for without in ['', *paying] if len(paying) > 2 else []:
        chosen = (known & (table['component'] != without)).to_numpy()
        part, of_part = {key: x[chosen] for key, x in rows.items()}, table[chosen]
        starts = [start, found[''][:len(start)]] if found else spread(start)
        best = least_squares(lambda x: law(part, *x) - of_part['measured'], starts)
        noise = (1 - 1 / of_part['n_runs']) * of_part['sd'].fillna(0)**2  # of one run of several
        off = pd.DataFrame({'mean': best.fun, 'noise': noise}).groupby(of_part['mixture'])
        squares = best.fun**2 + noise, off['mean'].mean()**2 + off['noise'].mean() / off.size()
        found[without] = [*best.x, *(math.sqrt(of_each.mean()) for of_each in squares)]
    return pd.DataFrame.from_dict(found, 'index', columns=[*constant_names(name), *ERRORS])

def read_constants(path, xe):
    """Returns {law: fit_law's result} of a law_constants.csv, the amplitude the same share of the
    specialists' mean XE, now xe nats (docs/results.md: Budgets)."""
    try:
        table = pd.read_csv(path, keep_default_na=False, dtype={'value': float})
        fits = table.pivot(index=['law', 'without'], columns='constant', values='value')
        fits['amplitude'] *= xe / fits['xe']
        return {name: fit for name in LAWS if name in fits.index  # a law may have changed
                for fit in [fits.loc[name].dropna(axis=1)]
                if {*constant_names(name), *ERRORS, 'xe'} == {*fit}}
    except (OSError, ValueError, KeyError) as e:
        fail(f'--constants={path} cannot be read ({e}): it is law_constants.csv of fit_law.py')

# ---- forecasts ---------------------------------------------------------------

def forecast_rows(name, rows, table, fit):
    """Returns a DataFrame of a law's forecasts of the rows of a table, and of what was measured.
    The mean over a mixture's components comes after them, as component ''."""
    draws = np.stack([LAWS[name][0](rows, *x) for x in fit[constant_names(name)].to_numpy()])
    table, found = table.assign(row=range(len(table)), xe=rows['xe']), []
    for mixture, of_set in table.groupby('mixture', sort=False):
        mean = of_set[['measured', 'n_runs', 'xe']].mean().to_dict()
        is_unequal = len({h for _, h in mixture}) > 1
        for row, places in [*((row, [row['row']]) for row in of_set.to_dict('records')),
                            (mean | {'component': ''}, of_set['row'].to_list())]:
            means = draws[:, places].mean(1)  # by the fit, then by those without a component
            off = means[0] - row['measured']
            error = fit['error' if row['component'] else 'error_of_mean']['']
            half = 1.645 * math.hypot(error, jackknife(means[1:]))
            found.append(row | {
                'law': name, 'k': len(mixture), 'components': '+'.join(c for c, _ in mixture),
                'shares': ','.join(f'{h:.4g}' for _, h in mixture) if is_unequal else '',
                'forecast': means[0], 'low': means[0] - half, 'high': means[0] + half,
                'error': off, 'covered': np.nan if np.isnan(off) else float(abs(off) <= half)})
    return pd.DataFrame(found, columns=FORECASTS)

def score(forecasts):
    """Returns how laws did at each K in equal shares, in 'unequal' ones, in all (''), a DataFrame:
    the mean D, errors in nats, the share inside intervals; standard errors are over components."""
    scores = []
    tried = forecasts[(forecasts['component'] != '') & forecasts['error'].notna()]
    for name, of_law in tried.groupby('law', sort=False):
        kinds = of_law['k'].astype(object).where(of_law['shares'] == '', 'unequal')
        for k, rows in [('', of_law), *of_law.groupby(kinds)]:
            means = rows.groupby('component')[['measured', 'error']].mean()
            (measured, bias), ses = means.mean(), means.std() / math.sqrt(len(means))
            scores.append((name, k, len(rows), measured, ses['measured'],
                           rows['error'].abs().mean(), bias, ses['error'], rows['covered'].mean()))
    return pd.DataFrame(scores, columns=SCORES)

def worth_rows(gaps, xe, measured, law, fit):
    """Returns a DataFrame of what a token of j is worth to c, by a law, and by the pair of them."""
    cells = [(c, j) for c in gaps for j in gaps if c != j and np.isfinite(gaps.loc[c, j])]
    pairs = pd.DataFrame({'mixture': [((c, 0.5), (j, 0.5)) for c, j in cells],
                          'component': [c for c, _ in cells]})
    rows = law_rows(pairs, gaps, xe, measured, with_own_pair=True)
    D = LAWS[law][0](rows, *fit.loc['', constant_names(law)])
    of_pair = np.where((rows['share'] > 0) & ~rows['is_own'], rows['pair'], 0).sum(1)
    amplitude = fit['amplitude'][''] if 'amplitude' in fit else np.nan
    return pairs[['component']].assign(
        law=law, other=[j for _, j in cells], gap=[gaps.loc[cell] for cell in cells],
        worth=2 * np.exp(-D / amplitude) - 1, worth_of_pair=2 * np.exp(-of_pair / amplitude) - 1)

def parse_sets():
    """Returns the mixtures of --forecast, a DataFrame as measure's with nothing measured."""
    rows = []
    for text in split_sets(forecast):
        words, _, shares = text.partition(' shares=')
        S = split_names(words)
        mixture = tuple(sorted(zip(S, map(float, read_shares(shares, len(S))[0]))))
        rows += [(mixture, c, 0, np.nan, np.nan) for c, _ in mixture]
    return pd.DataFrame(rows, columns=['mixture', 'component', 'n_runs', 'measured', 'sd'])

# ---- the work in its order ---------------------------------------------------

if __name__ == '__main__':
    rows = read_results(results)
    mixed = rows['tokens'][rows['mixture'].map(len) > 1]
    B = int(budget or (mixed if len(mixed) else rows['tokens']).max())
    known = gaps, xe, measured = measure(rows[rows['tokens'] == B])
    table = parse_sets() if forecast else measured
    if not len(table):
        fail(f'{results} has no mixture on {B:,} tokens: name those to forecast by --forecast=')
    lacking = sorted({c for S in [*table['mixture'], *measured['mixture']] for c, _ in S} - {*gaps})
    if lacking:
        fail(f'{len(lacking)} without a specialist on {B:,} tokens: python train.py <config>'
             f' --components={shlex.quote(join_names(lacking[:1]))} --token_budget={B}')
    if gaps.notna().to_numpy().sum() <= len(gaps):
        fail(f'{results} has no losses of specialists on others: name in --results too what python'
             " eval_xe.py --runs='<specialists>' --eval_components=all writes")

    # the constants
    path = constants or ('' if len(measured) else f'{ROOT}/studies/law/constants-32.csv')
    fits = read_constants(path, xe.mean()) if path else {
        name: fit_law(name, law_rows(measured, *known), measured) for name in LAWS}
    fits = {name: fit.assign(xe=xe.mean()) for name, fit in fits.items() if len(fit)}
    if law not in fits:
        fail(f'--law={law!r} is not among {", ".join(fits) or "laws"} that {path or results} tells:'
             ' a fit wants mixtures of three components or more, a file what constants-32.csv has')
    print(f'constants {f"of {os.path.relpath(path)}" if path else "fitted"}, {B:,} tokens an epoch')
    for name, fit in fits.items():
        values = [f'{key} {fit[key][""]:.3f} ± {jackknife(fit[key].drop("").to_numpy()):.3f}'
                  for key in constant_names(name)]
        print(f'{name:14} {", ".join(values)}; off by {{:.4f}}, means by {{:.4f}}'.format(
            *fit.loc['', ERRORS]))

    # the CSV files and pictures; --forecast leaves those of a fit as they are
    forecasts = pd.concat([forecast_rows(name, law_rows(table, *known), table, fit)
                           for name, fit in fits.items()])
    scores = score(forecasts)
    tables = {'asked': forecasts} if forecast else {
        'forecast': forecasts, 'scores': scores,
        'worth': pd.concat(worth_rows(*known, name, fit) for name, fit in fits.items()),
        'constants': pd.concat(fits, names=['law', 'without']).rename_axis(columns='constant')
        .stack().dropna().rename('value').reset_index()}
    for name, of_name in tables.items():
        replace_file(os.path.join(results_dir, f'law_{name}.csv'),
                     of_name.to_csv(index=False, float_format='%.6g'))
    if not forecast:
        plot_law.draw(results_dir, law)

    # the table
    if forecast:
        shown = forecasts[forecasts['law'] == law].replace({'component': {'': 'mean'}})
        shown = shown.assign(xe=shown['xe'] + shown['forecast'])[[*FORECASTS[2:8], 'xe']]
        print(f'\nΔXE in nats by {law}, with 90% intervals of a run, and XE\n'
              + shown.to_string(index=False, float_format='{:.4f}'.format, max_colwidth=40))
    else:
        by_k, shown = scores[scores['k'] != ''], scores[scores['k'] == ''].set_index('law')
        shown = shown[['n', *SCORES[5:]]].join(by_k.pivot(index='law', columns='k', values='bias'))
        print('\nΔXE in nats by K, with standard errors over components\n'
              + by_k[by_k['law'] == law][['k', 'measured', 'measured_se']].to_string(index=False)
              + '\n\nForecast less measured, in nats; the last columns are the bias at K\n'
              + shown.sort_values('mae').to_string(float_format='{:.4f}'.format))
    print(f'\n{results_dir}/law_*.csv: {", ".join(tables)}' + ', and law_*.png' * (not forecast))
