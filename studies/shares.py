"""What do components pay in unequal shares? Forms of the law, fitted to some mixtures and tried on
others.

    python studies/shares.py 'studies/law/k32-0.csv.gz,studies/law/k32-cross-0.csv.gz' \\
        'studies/law/k32-1.csv.gz,studies/law/k32-cross-1.csv.gz' \\
        'studies/law/shares-1.csv.gz,studies/law/k32-cross-1.csv.gz' \\
        'studies/law/shares-0.csv.gz,studies/law/k32-cross-0.csv.gz' \\
        'studies/law/shares-2.csv.gz,studies/law/k32-cross-2.csv.gz'

Each argument is eval_xe.py's files of one seed: mixtures, and specialists that were evaluated on
all components. The last is what is tried. In the law

    exp(-D_c(S) / amplitude) = sum over j in S of weight_j worth_cj
    plain      weight_j = h_j, the share of j
    stretched  weight_j = h_j^power / sum over i in S of h_i^power: the same in equal shares
    saturated  weight_j = most (1 - exp(-h_j / most)) of each other one, and h_c of c
    geometric  weight_j = h_c^(1 - power) h_j^power
    ratio      weight_j = h_j, the gap in worth_cj times (2 h_j / (h_c + h_j))^power
    root       the same with a power of 1/2, which is no constant: fit_law.py has it

Prints for each form whose constants the fitted ones tell (equal shares tell those of plain,
saturated and root), by line and by soft minimum, the constants (least squares, every component of
a mixture weighs the same) and the mean absolute error of the fit; then the number of components
tried, the mean absolute error of the forecast, and its mean by the share that the component gives,
nats. Rules and scores are in LOG.md.
"""
import os
import sys

import numpy as np
import pandas as pd

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from configurator import fail
from fit_law import cost, gap_in, law_rows, least_squares, read_results, spread
from studies.amplitudes import WORTHS
from studies.budgets import budgets_of, measure_at

def weigh(form, rows, constant=0.5):
    """Returns (weight of each component, gap in nats), both (N, C), of law_rows' rows, by the
    form's constant."""
    h, gap = rows['share'], rows['gap']
    share_of_c = (h * rows['is_own']).sum(1, keepdims=True)
    if form in ('stretched', 'geometric'):
        powers = np.power(h, constant, where=h > 0, out=np.zeros_like(h))  # 0^-1 is no share
        return powers * (share_of_c**(1 - constant) if form == 'geometric'
                         else 1 / powers.sum(1, keepdims=True)), gap
    if form == 'saturated':
        return np.where(rows['is_own'], h, constant * (1 - np.exp(-h / constant))), gap
    return h, gap_in(rows, constant) if form in ('ratio', 'root') else gap

STARTS = {'plain': (), 'stretched': (1.3,), 'saturated': (1,), 'geometric': (0.8,),
          'ratio': (0.4,), 'root': ()}  # of a form's constant

def predict(form, worth, rows, x):
    """Returns D (N,) in nats of law_rows' rows. Constants are the amplitude, those of the worth and
    the form's."""
    n = len(WORTHS[worth][1]) + 1
    weights, gap = weigh(form, rows, *x[n:])
    return cost(rows | {'share': weights}, x[0], WORTHS[worth][0](gap, *x[1:n]))

def read(patterns):
    """Returns law_rows' rows of the mixtures of their largest budget, D (N,) in nats, and the share
    (N,) that the component which pays gives. Fails without them or their specialists' losses."""
    rows = read_results(patterns)
    gaps, xe, table = measure_at(rows, budgets_of(rows)[-1], all_gaps=True)
    found = law_rows(table, gaps, xe, table)
    return found, table['measured'].to_numpy(), (found['share'] * found['is_own']).sum(1)

def compare(fitted, tried):
    """Returns a DataFrame with a row for each worth and form: the constants that fit all of
    `fitted`, a list of what read returns, best, and how they forecast `tried`, another."""
    if len({rows['share'].shape[1] for rows, *_ in fitted}) > 1:
        fail('the mixtures to fit must be of one number of components in every seed')
    of_all = {key: np.concatenate([rows[key] for rows, *_ in fitted]) for key in tried[0]}
    D = np.concatenate([measured for _, measured, _ in fitted])
    rows, measured, share_of_c = tried
    found = []
    for worth, (_, start) in WORTHS.items():
        for form, more in STARTS.items():
            moves = predict(form, worth, of_all, (0.4, *start, *more)) - predict(
                form, worth, of_all, (0.4, *start, *(x + 0.1 for x in more)))
            if more and abs(moves).max() < 1e-9:  # equal shares do not tell the form's constant
                continue
            fit = least_squares(lambda x: predict(form, worth, of_all, x) - D,
                                spread((0.4, *start, *more)))
            error = pd.Series(predict(form, worth, rows, fit.x) - measured)
            found.append({'worth': worth, 'form': form,
                          'constants': ' '.join(f'{x:.3f}' for x in fit.x),
                          'mae of fit': abs(fit.fun).mean(), 'n': len(error),
                          'mae': error.abs().mean(), **error.groupby(
                              share_of_c.round(4)).mean()})
    return pd.DataFrame(found)

if __name__ == '__main__':
    if len(sys.argv) < 3:
        fail('name the files of mixtures to fit, of each seed, and last those to try')
    *fitted, tried = [read(patterns) for patterns in sys.argv[1:]]
    print(compare(fitted, tried).to_string(index=False, float_format='{:.4f}'.format))
