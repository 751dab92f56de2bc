"""How does the law's amplitude change with the budget B? It takes worths from another fit, fits
the amplitude to the smaller budgets, and forecasts the larger ones from their specialists.

    python studies/budgets.py 'studies/law/budgets*.csv.gz' 96000
    python studies/budgets.py 'studies/law/budgets-[csl]*; studies/law/long-384*' 96000

The files are eval_xe.py's, patterns with commas between, and ; between those of different settings:
at each budget mixtures, and specialists that were evaluated on each other's components. Level and
slope of the line cut at 0 are those of studies/law/constants-32.csv, and the amplitude in D_c(S) =
-amplitude ln(sum of h_j worth_cj) is

    constant   b                     what another text costs does not depend on B
    ratio      b XE_c(P_c)           D is a share of the specialist's XE
    mixture    b sum of h_j XE_j     of the mean over the mixture (added before 384,000 was known)
    between    b XE_c(P_c)^p
    power      b (B / 96,000)^p

fitted by least squares to all (S, c) of the budgets up to the one that is named. Beside them stands

    n / B      D is what c's learning curve loses from B to n tokens, n / B the same at all budgets

the law of studies/effective_tokens.py: of each K the mean n / B over those budgets, by curves that
are drawn through the specialists' XE against ln n (smaller n than they have are left out). Prints
the mean D at each budget and K, the amplitude of each budget by itself, and of each form its
constants, the mean absolute error over (S, c) of the larger budgets, and the bias at each budget
and K with its standard error over components, all in nats.
"""
import math
import os
import sys

import numpy as np
import pandas as pd

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from configurator import fail
from fit_law import LAWS, law_rows, least_squares, measure, read_constants, read_results, spread

LAW = 'line cut at 0'
FORMS = {  # {name: (amplitude from rows of `costs` and constants, where the search starts)}
    'constant': (lambda rows, b: b, (0.4,)),
    'ratio': (lambda rows, b: b * rows['xe'], (0.1,)),
    'mixture': (lambda rows, b: b * rows['mean_xe'], (0.1,)),
    'between': (lambda rows, b, p: b * rows['xe']**p, (0.2, 0.5)),
    'power': (lambda rows, b, p: b * (rows['B'] / 96_000)**p, (0.4, 0.0))}

def budgets_of(rows):
    """Returns the budgets that mixtures have, tokens an epoch, sorted; fails without a mixture."""
    found = sorted({*rows['tokens'][rows['mixture'].map(len) > 1]})
    return found or fail('no mixture on that budget is among the results')

def measure_at(rows, B, all_gaps=False):
    """Returns what fit_law.py's measure does, of read_results' rows on B tokens an epoch. Fails
    where a component of a mixture has no specialist there, and with all_gaps where a specialist was
    not evaluated on another component."""
    gaps, xe, table = measure(rows[rows['tokens'] == B])
    if lacking := sorted({c for S in table['mixture'] for c, _ in S} - {*gaps}):
        fail(f'{lacking[0]} is in a mixture, and has no specialist on {B:,.0f} tokens there')
    if all_gaps and gaps.isna().to_numpy().any():
        fail('evaluate the specialists by eval_xe.py --eval_components=all, and name that file too')
    return gaps, xe, table

def costs(rows, level, slope):
    """Returns a DataFrame of what mixtures cost at all budgets of read_results' rows: B, K,
    mixture, component, D (nats), xe (XE_c(P_c), nats), mean_xe (its mean over the mixture) and
    `unit`, D by the law for an amplitude of 1. Left out is what a gap is not known of. Fails
    without mixtures."""
    found = []
    for B in budgets_of(rows):
        gaps, xe, table = measure_at(rows, B)
        of_law = law_rows(table, gaps, xe, table)
        found.append(pd.DataFrame({
            'B': B, 'K': table['mixture'].map(len), 'mixture': table['mixture'],
            'component': table['component'],
            'D': table['measured'], 'xe': of_law['xe'],
            'mean_xe': of_law['share'] @ xe.reindex(gaps.columns).to_numpy(),
            'unit': LAWS[LAW][0](of_law, 1.0, level, slope)}))
    return pd.concat(found, ignore_index=True).dropna()

def predict(form, x, table):
    """Returns D (N,) in nats of costs' rows, by a form with the constants x."""
    return FORMS[form][0](table, *x) * table['unit']

def fit(form, table):
    """Returns the constants of a form that fit costs' rows best by least squares."""
    return least_squares(lambda x: predict(form, x, table) - table['D'], spread(FORMS[form][1])).x

def by_tokens(table, is_small):
    """Returns (n / B of each K, a Series; D (N,) in nats by it) of costs' rows; the shares are the
    means over the rows is_small (N,)."""
    means = table.groupby(['component', 'B'])['xe'].mean()
    curve = means.groupby('component').cummin()  # more tokens do not raise it
    worth = [np.interp(-xe, -curve[c], np.log(curve[c].index), left=np.nan) for c, xe in zip(
        table['component'], table['xe'] + table['D'])]
    share = (np.exp(worth) / table['B'])[is_small].groupby(table['K']).mean()
    ln_n = np.log(table['B'] * table['K'].map(share))
    return share, [np.interp(x, np.log(curve[c].index), curve[c], left=np.nan) for c, x in zip(
        table['component'], ln_n)] - table['xe']

def compare(table, largest):
    """Returns a DataFrame with a row for each form: its constants from budgets up to `largest`, and
    how it forecasts what is larger."""
    is_small, forecasts, found = table['B'] <= largest, {}, []
    for form in FORMS:
        x = fit(form, table[is_small])
        forecasts[form] = x, predict(form, x, table)
    forecasts['n / B'] = by_tokens(table, is_small)
    large = table[~is_small]
    for form, (x, D) in forecasts.items():
        below, error = (D - table['D'])[is_small], (D - table['D'])[~is_small]
        row = {'amplitude': form, 'constants': ' '.join(f'{v:.3f}' for v in x),
               'rmse below': math.sqrt((below**2).mean()), 'mae above': error.abs().mean()}
        for (B, K), errors in error.groupby([large['B'], large['K']]):
            means = errors.groupby(large['component']).mean()
            row[f'{B:,.0f}, K = {K}'] = f'{means.mean():+.4f} ± {means.sem():.4f}'
        found.append(row)
    return pd.DataFrame(found)

if __name__ == '__main__':
    if len(sys.argv) < 2 or not all(word.isdigit() for word in sys.argv[2:]):
        fail('name the files in one argument, then the largest budget to fit, in tokens')
    constants = read_constants(f'{ROOT}/studies/law/constants-32.csv', 1)[LAW]
    rows = pd.concat(map(read_results, sys.argv[1].split(';')))
    if rows.duplicated(['mixture', 'tokens', 'component', 'seed', 'mix_seed']).any():
        fail(f'{sys.argv[1]}: a run is there in two settings, or in two files')
    table = costs(rows, *constants.loc['', ['level', 'slope']])
    means = table.pivot_table('D', 'B', 'K').add_prefix('D at K = ')
    means['XE of P_c'] = table.groupby('B')['xe'].mean()
    means['amplitude'] = [fit('constant', of_budget)[0] for _, of_budget in table.groupby('B')]
    print(f'nats a token, by tokens an epoch\n{means.to_string(float_format="{:.4f}".format)}\n')
    largest = int(sys.argv[2]) if len(sys.argv) > 2 else int(np.median(means.index))
    if not (table['B'] <= largest).any():
        fail(f'{sys.argv[1]} has no mixture on {largest:,} tokens or fewer, with its specialists')
    if (table['B'] > largest).any():
        print(f'constants from {largest:,} tokens and fewer; forecast less measured at more')
        print(compare(table, largest).to_string(index=False, float_format='{:.4f}'.format))
