"""What do components pay in unequal shares? Two forms beside the law, fitted to some mixtures and
tried on others.

    python studies/shares.py 'studies/law/k32-0.csv.gz,studies/law/k32-cross-0.csv.gz' \\
        'studies/law/k32-1.csv.gz,studies/law/k32-cross-1.csv.gz' \\
        'studies/law/shares-1.csv.gz,studies/law/k32-cross-1.csv.gz' \\
        'studies/law/shares-0.csv.gz,studies/law/k32-cross-0.csv.gz'

Each argument is eval_xe.py's files of one seed: mixtures, and specialists that were evaluated on
all components. The last is what is tried; with no mixture in it nothing is. In the law

    exp(-D_c(S) / amplitude) = sum over j in S of weight_j worth_cj
    plain      weight_j = h_j, the share of j, as fit_law.py has it
    stretched  weight_j = h_j^power / sum over i in S of h_i^power: the same in equal shares
    saturated  weight_j = most (1 - exp(-h_j / most)) of each other one, and h_c of c

Prints for each form, by line and by soft minimum, the constants (least squares, every component of
a mixture weighs the same) and the mean absolute error of the fit; then the number of components
tried, the mean absolute error of the forecast, and its mean by the share that the component gives,
nats. Rules and scores are in LOG.md.
"""
import os
import sys

import numpy as np
import pandas as pd
from scipy.optimize import least_squares

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from configurator import fail
from fit_law import cost, law_rows, measure, read_results
from studies.amplitudes import WORTHS

def weigh(form, rows, x):
    """Returns the weight (N, C) of each component, of law_rows' rows; x is the form's constant."""
    h = rows['share']
    if form == 'stretched':
        powers = np.where(h > 0, h, np.nan)**x  # 0^0 is no share
        return np.nan_to_num(powers / np.nansum(powers, 1, keepdims=True))
    if form == 'saturated':
        return np.where(rows['is_own'], h, x * (1 - np.exp(-h / x)))
    return h

STARTS = {'plain': (), 'stretched': (1.3,), 'saturated': (1,)}  # of a form's constant

def predict(form, worth, rows, x):
    """Returns D (N,) in nats of law_rows' rows. Constants are the amplitude, those of the worth and
    the form's."""
    n = len(WORTHS[worth][1]) + 1
    weights = weigh(form, rows, *x[n:] or [None])
    return cost(rows | {'share': weights}, x[0], WORTHS[worth][0](rows['gap'], *x[1:n]))

def read(patterns):
    """Returns law_rows' rows of the mixtures of the largest budget there is, D (N,) in nats, and
    the share (N,) that the component which pays gives."""
    rows = read_results(patterns)
    gaps, xe, table = measure(rows[rows['tokens'] == rows['tokens'].max()])
    found = law_rows(table, gaps, xe, table)
    return found, table['measured'].to_numpy(), (found['share'] * found['is_own']).sum(1)

if __name__ == '__main__':
    if len(sys.argv) < 3:
        fail('name the files of mixtures to fit, of each seed, and last those to try')
    groups = [read(patterns) for patterns in sys.argv[1:]]
    *fitted, (tried, measured, own) = groups
    of_all = {key: np.concatenate([rows[key] for rows, *_ in fitted]) for key in tried}
    D = np.concatenate([values for _, values, _ in fitted])
    found = []
    for worth, (_, start) in WORTHS.items():
        for form, more in STARTS.items():
            x = least_squares(lambda x: predict(form, worth, of_all, [*x]) - D,
                              (0.4, *start, *more)).x
            error = pd.Series(predict(form, worth, tried, [*x]) - measured)
            of_share = error.groupby(own.round(4)).mean()
            found.append({'worth': worth, 'form': form,
                          'constants': ' '.join(f'{c:.3f}' for c in x),
                          'mae of fit': abs(predict(form, worth, of_all, [*x]) - D).mean(),
                          'n': len(error), 'mae': error.abs().mean(),
                          **{f'{h:.3g}': mean for h, mean in of_share.items()}})
    print(pd.DataFrame(found).to_string(index=False, float_format='{:.4f}'.format))
