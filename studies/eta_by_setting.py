"""Compares exchange rates of several settings, from what effective_tokens.py wrote for each.

    python studies/eta_by_setting.py results/law5 results/law5-half results/law5-wide

The first folder is the reference. A row has the mean η over the rates of (a); over those that the
reference has too, its mean, the difference, the correlation and the root mean square difference of
the rates; and for the largest mixtures n / B as measured, by the additive law with the folder's own
rates, and with the reference's. The 90% interval of the difference combines those of both means, of
all rates of each, as if the two settings' errors were independent.
"""
import os
import sys

import numpy as np
import pandas as pd

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from configurator import fail
from plot_xe import read_csv

def read_rates(folder):
    """Returns (rates, indexed by component and other; [mean, low, high]) of a folder's (a)."""
    rows = read_csv(folder, 'effective_eta', ['way', 'component', 'eta'])
    rows = rows[rows['way'] == 'a']
    mean = rows[rows['component'].isna()][['eta', 'eta_low', 'eta_high']].to_numpy()[0]
    return rows.dropna(subset=['component', 'eta']).set_index(['component', 'other'])['eta'], mean

def additive_share(eta, c, members):
    """Returns n_c(S) / B by the additive law; nan where a rate is not known."""
    return (1 + sum(eta.get((c, j), np.nan) for j in members if j != c)) / len(members)

if __name__ == '__main__':
    if len(sys.argv) < 2:
        fail('name the folders that effective_tokens.py wrote, the reference first')
    reference, (_, low, high) = read_rates(sys.argv[1])
    rows = []
    for folder in sys.argv[1:]:
        eta, (mean, *ends) = read_rates(folder)
        both = pd.concat([eta, reference], axis=1, keys=['here', 'there']).dropna()
        half = np.hypot(ends[1] - ends[0], high - low) / 2
        tokens = read_csv(folder, 'effective_tokens').dropna(subset='share')
        tokens = tokens[(tokens['k'] == tokens['k'].max()) & (tokens['k'] > 2)]
        shares = [[row['share'], *(additive_share(x, row['component'],
                                                  row['components'].split('+'))
                                   for x in (eta, reference))] for row in tokens.to_dict('records')]
        rows.append({'setting': os.path.basename(os.path.normpath(folder)), 'rates': len(eta),
                     'η': f'{mean:.3f} [{ends[0]:.3f}, {ends[1]:.3f}]',
                     'reference': f'{both["there"].mean():.3f}',
                     'difference': f'{both["here"].mean() - both["there"].mean():+.3f}'
                                   f' ± {half:.3f}',
                     'r': both.corr().iloc[0, 1],
                     'rms': both.diff(axis=1).pow(2).mean().iloc[1]**0.5,
                     'K': tokens['k'].max(),
                     **dict(zip(('n / B', 'own rates', "reference's"),
                                np.mean(shares, axis=0) if shares else ()))})
    print(pd.DataFrame(rows).to_string(index=False, float_format='{:.3f}'.format, na_rep='-'))
