"""Which form has the law's amplitude? One for all components, or one of each: in proportion to the
slope of c's own learning curve, to its XE, or free.

    python studies/amplitudes.py 'studies/law/languages*.csv.gz' 2

The files are eval_xe.py's, patterns with commas between: mixtures and specialists of B tokens an
epoch, the specialists evaluated on all components, and specialists of B / 2. With the law

    D_c(S) = -b_c ln(sum over j in S of h_j worth_cj)
    one      b_c = b
    slope    b_c = b s_c,  s_c = (XE_c(P_c) at B / 2 - XE_c(P_c) at B) / ln 2, nats
    xe       b_c = b XE_c(P_c)
    free     b_c, one for each component

Constants are fitted to mixtures of so many components or fewer (2 above; 4 where it is not named),
and larger ones forecast by them; then all are fitted. Prints for each form and worth: constants
(the mean of free amplitudes), and of the forecasts the mean absolute error, the bias and its
standard error over components, in nats. LOG.md has what came out.
"""
import itertools
import math
import os
import sys

import numpy as np
import pandas as pd

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from configurator import fail
from fit_law import cost, gap_in, law_rows, least_squares, read_results, spread
from studies.budgets import budgets_of, measure_at

FORMS = ('one', 'slope', 'xe', 'free')
WORTHS = {'line cut at 0': (lambda gap, level, slope: np.maximum(0, level - slope * gap),
                            (0.7, 0.3)),
          'soft minimum': (lambda gap, scale: np.exp(-gap / scale), (1.2,))}

def slopes(rows, B):
    """Returns the slope of each component's own learning curve from B / 2 to B tokens, a Series in
    nats for a factor e, over the seeds that have both; nan where there is none."""
    alone = rows[[S == ((c, 1.0),) for S, c in zip(rows['mixture'], rows['component'])]]
    xe = alone.pivot_table('xe', ['component', 'seed', 'mix_seed'], 'tokens').reindex(
        columns=[B // 2, B])
    return ((xe[B // 2] - xe[B]) / math.log(2)).groupby(level='component').mean()

def n_amplitudes(form, slope):
    """Returns how many constants the amplitudes of components have, whose slopes are (C,)."""
    return len(slope) if form == 'free' else 1

def predict(x, form, worth, rows, c, slope):
    """Returns D (N,) in nats from constants x, of law_rows' rows of the components c (N,), which
    are numbers; slope is (C,). The first constants are those of the amplitude."""
    n = n_amplitudes(form, slope)
    scale = {'slope': slope[c], 'xe': rows['xe']}.get(form, 1)
    b = scale * (x[c] if form == 'free' else x[0])  # (N,)
    return cost(rows, b, WORTHS[worth][0](gap_in(rows), *x[n:]))

def fit(form, worth, rows, c, slope, measured):
    """Returns the constants, (n,), that fit D of components c best by least squares."""
    starts = [[amplitude] * n_amplitudes(form, slope) + of_worth
              for amplitude, *of_worth in spread((0.4, *WORTHS[worth][1]))]
    return least_squares(lambda x: predict(x, form, worth, rows, c, slope) - measured, starts).x

def compare(rows, fit_k):
    """Returns a DataFrame with a row for each form and worth, of read_results' rows: its constants
    by mixtures of fit_k or fewer, how it forecasts larger ones, and the rmse of a fit to all."""
    B = int(budgets_of(rows)[-1])
    gaps, xe, table = measure_at(rows, B, all_gaps=True)
    table = table.sort_values('component').reset_index(drop=True)
    slope = slopes(rows, B).reindex(gaps.index).to_numpy()
    c = table['component'].map({name: i for i, name in enumerate(gaps)}).to_numpy()
    of_all, D = law_rows(table, gaps, xe, table), table['measured'].to_numpy()
    K = table['mixture'].map(len).to_numpy()
    is_small, found = K <= fit_k, []
    if is_small.all() or not is_small.any():
        fail(f'mixtures of K <= {fit_k} and larger ones are wanted; these have {sorted({*K})}')
    of_small = {key: value[is_small] for key, value in of_all.items()}
    forms = [form for form in FORMS if form != 'slope' or np.isfinite(slope).all()]
    for form, worth in itertools.product(forms, WORTHS):
        x = fit(form, worth, of_small, c[is_small], slope, D[is_small])
        error = predict(x, form, worth, of_all, c, slope) - D
        best = predict(fit(form, worth, of_all, c, slope, D), form, worth, of_all, c, slope)
        means = pd.Series(error[~is_small]).groupby(c[~is_small]).mean()
        n = n_amplitudes(form, slope)
        found.append({
            'b': form, 'worth': worth, 'constants': len(x),
            'fitted': ' '.join(f'{v:.3f}' for v in (x[:n].mean(), *x[n:])),
            'rmse': math.sqrt(np.mean(error[is_small]**2)),
            'mae above': abs(error[~is_small]).mean(), 'bias': means.mean(),
            'se': means.std() / math.sqrt(len(means)),
            **{f'K = {k}': error[K == k].mean() for k in sorted({*K[~is_small]})},
            'all rmse': math.sqrt(np.mean((best - D)**2))})
    return pd.DataFrame(found)

if __name__ == '__main__':
    if len(sys.argv) < 2 or not all(word.isdigit() for word in sys.argv[2:]):
        fail('name the files in one argument, then the largest K to fit')
    rows = read_results(sys.argv[1])
    B = int(budgets_of(rows)[-1])
    gaps, xe, table = measure_at(rows, B, all_gaps=True)
    costs = table.assign(K=table['mixture'].map(len)).groupby(['component', 'K'])['measured'].mean()
    others = gaps.where(~np.eye(len(gaps), dtype=bool))
    facts = pd.DataFrame({'XE of P_c': xe, 'slope': slopes(rows, B),
                          'least gap': others.min(axis=1), 'mean gap': others.mean(axis=1)})
    facts = facts.join(costs.unstack().add_prefix('D at K = '))
    print(f'{B:,} tokens an epoch, nats a token\n{facts.to_string(float_format="{:.3f}".format)}\n')
    fit_k = int(sys.argv[2]) if len(sys.argv) > 2 else 4
    print(f'constants from K <= {fit_k}')
    print(compare(rows, fit_k).to_string(index=False, float_format='{:.4f}'.format))
