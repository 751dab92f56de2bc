"""Does the law hold for another model, or another training? Forecasts each setting from its own
specialists, with constants of another, and fits the constants anew.

    python studies/settings.py 96000 'studies/law/budgets*small.csv.gz' studies/law/set-*.csv.gz

After the budget each argument is one setting: eval_xe.py's files, a pattern, or several with commas
between, of mixtures and of specialists that were evaluated on each other's components. A forecast
has level and slope of studies/law/constants-32.csv, and of budgets.py's `ratio` the amplitude
.1039 XE_c(P_c), which came from 12,000 to 192,000 tokens of the first setting above: that one's row
is no forecast.

Prints two tables. What mixtures cost, and forecast less measured, in nats, at each K, with standard
errors over components; the same error less that of the first setting, mixture by mixture, which
tells what the setting changes, where both have the same mixtures; and the error with a slope that
goes with the setting: in shares of XE (half the XE, twice the slope), or in nats a byte (half the
bytes of a token, twice the slope). Then the amplitude of each setting and its share of XE_c(P_c),
with level and slope as above, and all three constants fitted together, of which five components say
little; standard errors are the jackknife's, over components.
"""
import glob
import math
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
CONSTANTS = ['amplitude', 'level', 'slope']

def over_components(values, table):
    """Returns (mean, standard error) over components of a number of each row of costs' table."""
    means = values.groupby(table['component']).mean()
    return means.mean(), means.sem()

def read_bytes(patterns):
    """Returns the bytes of a token of each component, a Series, of eval_xe.py's files."""
    paths = [path for name in patterns.split(',') for path in glob.glob(name.strip())]
    try:
        rows = pd.concat([pd.read_csv(path, keep_default_na=False) for path in paths])
        rows = rows[~rows['shuffle_components']]
        rows['bits_per_byte']
    except KeyError as e:
        fail(f'{patterns} lacks a column {e}: write it with python eval_xe.py')
    return (rows['xe'] / math.log(2) / rows['bits_per_byte']).groupby(rows['component']).mean()

def unit_means(of_token, table):
    """Returns what a slope may go with, of read_bytes' bytes and costs' table of one setting: means
    over components of XE_c(P_c) in nats, and of the bytes of a token."""
    xe = table.groupby('component')['xe'].mean()
    return {'in shares': xe.mean(), 'in bytes': of_token[xe.index].mean()}

def scores(table, others, first):
    """Returns {column: (mean, standard error)} in nats of costs' rows of a setting, of those with
    another slope, {name: rows}, and of those of the first one: XE, D, how `ratio` forecasts D, how
    it did so less than there, and how it does with the other slopes."""
    def error(rows):
        return predict('ratio', [RATIO], rows) - rows['D']
    found = {'XE of P_c': over_components(table['xe'], table)}
    for K, rows in table.groupby('K'):
        keys = ['K', 'mixture', 'component']
        paired = rows.assign(error=error(rows)).merge(
            first.assign(of_first=error(first))[[*keys, 'of_first']], on=keys)
        found |= {f'D at {K}': over_components(rows['D'], rows),
                  f'error at {K}': over_components(error(rows), rows),
                  f'less first {K}': over_components(paired['error'] - paired['of_first'], paired)}
        found |= {f'{name} {K}': over_components(error(other).loc[rows.index], rows)
                  for name, other in others.items()}
    return found | {'mae': (error(table).abs().mean(), np.nan)} | {
        f'mae {name}': (error(other).abs().mean(), np.nan) for name, other in others.items()}

def constants(rows, table):
    """Returns {column: (a constant, its standard error)} of read_results' rows of one setting, and
    costs' table of them. Fails with fewer than three components."""
    gaps, xe, measured = measure(rows)
    free = fit_law(LAW, law_rows(measured, gaps, xe, measured), measured)
    if not len(free):
        fail('mixtures of three components or more tell the constants, and not fewer')
    components = sorted({*table['component']})
    found = {}
    for name, form in (('amplitude', 'constant'), ('amplitude / XE', 'ratio')):
        without = [fit(form, table[table['component'] != c]) for c in components]
        found[name] = fit(form, table)[0], jackknife(np.array(without))[0]
    errors = jackknife(free.drop(index='')[CONSTANTS].to_numpy())
    return found | {f'{name} of three': (free[name][''], se) for name, se in zip(CONSTANTS, errors)}

if __name__ == '__main__':
    if len(sys.argv) < 3 or not sys.argv[1].isdigit():
        fail('name the tokens of an epoch, then the files of each setting')
    level, slope = read_constants(f'{ROOT}/studies/law/constants-32.csv', 1)[LAW].loc[
        '', CONSTANTS[1:]]
    tables, units, scored, fitted = {}, {}, {}, {}
    for patterns in sys.argv[2:]:
        rows = read_results(patterns)
        rows = rows[rows['tokens'] == int(sys.argv[1])]
        tables[patterns] = costs(rows, level, slope)
        units[patterns] = unit_means(read_bytes(patterns), tables[patterns])
        first = units[sys.argv[2]]
        others = {name: costs(rows, level, slope * first[name] / x)
                  for name, x in units[patterns].items()}
        scored[patterns] = scores(tables[patterns], others, tables[sys.argv[2]])
        fitted[patterns] = constants(rows, tables[patterns])
    for title, of_each in (('nats a token, with standard errors', scored),
                           ('constants, with standard errors', fitted)):
        shown = pd.DataFrame({name: {key: f'{x:.4f}' + f' ± {se:.4f}' * (not np.isnan(se))
                                     for key, (x, se) in row.items()}
                              for name, row in of_each.items()})
        print(f'{title}\n{shown.to_string()}\n')
