"""Does the law hold for another model, or another training? Forecasts each setting from its own
specialists, with constants of another, and fits the constants anew.

    python studies/settings.py 96000 'studies/law/budgets*small.csv.gz' studies/law/set-*.csv.gz

After the budget each argument is one setting: eval_xe.py's files, a pattern, or several with commas
between, of mixtures and of specialists that were evaluated on each other's components. A forecast
has level and slope of studies/law/constants-32.csv, and of budgets.py's `ratio` the amplitude
.1039 XE_c(P_c), which came from 12,000 to 192,000 tokens of one setting. Prints two tables: what
mixtures cost and how the forecasts did, in nats, with standard errors over components; and b, A, C
of each setting (amplitude, level, slope), with the jackknife's standard errors over components:
`amplitude` alone, with the others as above, then all three. Five components say little of three
constants.
"""
import os
import sys

import numpy as np
import pandas as pd

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from configurator import fail
from fit_law import fit_law, jackknife, law_rows, measure, read_constants, read_results
from studies.budgets import LAW, costs, fit, predict

RATIO = 0.1039  # amplitude over XE_c(P_c): LOG.md, 2026-11-29, registered before 384,000 tokens
CONSTANTS = 'amplitude', 'level', 'slope'


def plus_minus(mean, se):
    """Returns 'mean ± standard error'."""
    return f'{mean:+.3f} ± {se:.3f}'


def scores(table):
    """Returns of costs' rows of one setting {column: what mixtures cost, how `ratio` forecasts}."""
    error = predict('ratio', [RATIO], table) - table['D']
    row = {'XE of P_c': f'{table.groupby("component")["xe"].mean().mean():.3f}'}
    for K, rows in table.groupby('K'):
        cost, bias = (x[rows.index].groupby(rows['component']).mean() for x in (table['D'], error))
        row |= {f'D, K = {K}': f'{cost.mean():.3f} ± {cost.sem():.3f}',
                f'forecast less D, K = {K}': plus_minus(bias.mean(), bias.sem())}
    return row | {'mae': f'{error.abs().mean():.3f}'}


def constants(rows, table):
    """Returns {column: a constant and its standard error} of read_results' rows of one setting, and
    costs' table of them."""
    components = sorted({*table['component']})
    alone = [fit('constant', table)[0]] + [
        fit('constant', table[table['component'] != c])[0] for c in components]
    of_xe = [b / table['xe'][table['component'] != c].mean()
             for b, c in zip(alone[1:], components)]
    gaps, xe, measured = measure(rows)
    free = fit_law(LAW, law_rows(measured, gaps, xe, measured), measured)
    se = jackknife(free.drop(index='').to_numpy())
    return {'amplitude': f'{alone[0]:.3f} ± {jackknife(np.array(alone[1:])):.3f}',
            '/ XE': f'{alone[0] / table["xe"].mean():.3f} ± {jackknife(np.array(of_xe)):.3f}',
            **{f'{key} of three': f'{x:.2f} ± {error:.2f}'
               for key, x, error in zip(CONSTANTS, free.loc[''], se)}}


if __name__ == '__main__':
    if len(sys.argv) < 3 or not sys.argv[1].isdigit():
        fail('name the tokens of an epoch, then the files of each setting')
    level_and_slope = read_constants(f'{ROOT}/studies/law/constants-32.csv', 1)[LAW].loc[
        '', [*CONSTANTS[1:]]]
    scored, fitted = {}, {}
    for patterns in sys.argv[2:]:
        rows = read_results(patterns)
        rows = rows[rows['tokens'] == int(sys.argv[1])]
        table = costs(rows, *level_and_slope)
        if not len(table):
            fail(f'{patterns} has no mixture on {sys.argv[1]} tokens, with its specialists')
        name = os.path.basename(patterns).partition('.')[0]
        scored[name], fitted[name] = scores(table), constants(rows, table)
    for of_each in (scored, fitted):
        print(pd.DataFrame(of_each).T.to_string() + '\n')
