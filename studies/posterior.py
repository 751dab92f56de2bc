"""Finding the component out with specialists alone: Q, the Bayes mixture of the diluted models D_c.

    python studies/posterior.py     # of the runs of K > 1 under out/ that have all their D_c there
    python studies/posterior.py --runs='out/demo*' --results_dir=results/demo
    python studies/posterior.py --part=specialist    # of the P_c, which read the whole budget

Q predicts by Bayes' rule with the K diluted specialists D_c of a run, as if each were the truth,
from the window's own context. `specialist_gap` is Q's loss minus that of the component's own D_c,
nats a token: summed over any window it is at most ln K, whatever the models are, as Q is at least
1 / K of each D_c. `posterior` is the probability that Q gives to the true component. The gap is no
estimate of ambiguity, for averaging weak models helps by itself. posterior.csv, or that of the P_c,
posterior-specialist.csv, has both for each run, as decomposition.csv has the terms of ΔXE; the
pictures have the means over runs.
"""
# -----------------------------------------------------------------------------
runs = 'out/*'                # folders of the runs and of their D_c, a pattern, as in eval_xe.py
part = 'diluted'              # of which models: diluted, the D_c, or specialist, the P_c
split = 'test'                # train, val or test
ckpt = 'best'                 # best, last or a snapshot
windows_per_component = 4096  # evaluation windows of each component; 0 = all
results_dir = 'results'       # where posterior.csv and the pictures go
device = ''                   # cuda, mps or cpu; '' = the best there is
compile = True                # torch.compile: some 10 s at first, then faster
# -----------------------------------------------------------------------------
import os
import shlex
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from configurator import override

settings = override(globals())

import math

import numpy as np
import pandas as pd
import scipy.special
from tqdm import tqdm

import eval_xe
from configurator import fail, replace_file, safe_name
from curves import (average, by_set, cluster_bootstrap, curve_rows, set_of, setting_words,
                    term_rows)
from machine import choose_device
from plot_xe import draw_curves, figure, plt
from processes import loss_so_far, mixture_losses
from runs import match_parts, read_runs

QUANTITIES = {'posterior': 'probability of the true component',
              'specialist_gap': 'loss of the mixture minus that of the\ntrue specialist'
                                ' (nats per token)'}

def specialist_mixture(losses, i):
    """Returns (specialist_gap, posterior), (N, T) each, of windows of the i-th component: losses
    are those of the K specialists on them, (K, N, T) float64.
    """
    gap = mixture_losses(losses) - losses[i]  # (N, T)
    assert gap.sum(1).max() <= math.log(len(losses)) + 1e-6, 'more than ln K in a window'
    pieces = np.array_split(losses, 1 + losses.shape[1] // 1024, axis=1)  # as softmax copies
    posterior = [scipy.special.softmax(-loss_so_far(piece)[:, :, :-1], axis=0)[i]
                 for piece in pieces]
    return gap, np.concatenate(posterior)

def mixture_curves(run, specialists):
    """Returns {component: {quantity: Curve}} of a run on K components, given its specialists {c:
    run}; {} where another model.py than today's has trained them.
    """
    components, curves = run['mix']['components'], {}
    by_model = [eval_xe.run_losses(specialists[c], components) for c in components]
    if None in by_model:
        tqdm.write(f'left out: specialists of {run["folder"]} were trained with another model.py')
        return {}
    for i, c in enumerate(components):
        losses = np.stack([losses[c] for losses in by_model]).astype(np.float64)  # (K, N, T)
        gap, posterior = specialist_mixture(losses, i)
        windows = eval_xe.run_windows(run, c)
        curves[c] = {name: cluster_bootstrap(x, windows['document'], *windows['name'])
                     for name, x in (('specialist_gap', gap), ('posterior', posterior))}
    return curves

def draw(title, by_k):
    """Draws {k: (number of runs, {quantity: Curve})} against context position; the figure."""
    rows = [row for k, (n, curves) in by_k.items()
            for row in curve_rows({'k': k, 'n_runs': n}, curves, QUANTITIES)]
    tokens = {'diluted': 'B / K', 'specialist': 'B'}[part]
    fig, axes = figure(title, f'the Bayes mixture of the specialists trained on {tokens}; bands:'
                       ' 95%, simultaneous over positions', 2, 4.5)
    for ax, (name, label) in zip(axes, QUANTITIES.items()):
        draw_curves(ax, pd.DataFrame(rows), name, label)
    axes[0].set_ylim(0, 1)
    return fig

if __name__ == '__main__':
    if part not in ('diluted', 'specialist'):
        fail(f'--part={part}: choose diluted or specialist')
    if split not in ('train', 'val', 'test') or windows_per_component < 0:
        fail('--split must be train, val or test, --windows_per_component at least 0')
    vars(eval_xe).update(settings, device=choose_device(device))
    all_runs = read_runs(runs, which=ckpt)
    parts = {folder: {c: run for (kind, c), run in found.items() if kind == part}
             for folder, found in match_parts(all_runs).items()}
    mixtures = [run for run in all_runs if run['k'] > 1 and not run['tag']
                and len(parts[run['folder']]) == run['k']]
    if not mixtures:
        fail(f'--runs={runs}: no run of K > 1 that has all its {part} runs there (sweep.py'
             ' --parts_of= trains them)')
    words, rows, groups = setting_words(mixtures), [], {}
    for run in tqdm(mixtures, 'evaluating', leave=False):
        by_component = mixture_curves(run, parts[run['folder']])
        if by_component:
            mean = average([*by_component.values()])
            setting = run['dataset'], *words[run['folder']]
            words_of_run = {'split': split, 'setting': shlex.join(setting[1:])}
            rows += term_rows(run | words_of_run, by_component, mean, QUANTITIES)
            groups.setdefault(setting, {}).setdefault(run['k'], []).append((mean, set_of(run)))
    if not rows:
        fail(f'--runs={runs}: no run that this model.py can evaluate')
    stem = os.path.join(results_dir, 'posterior' + '-specialist' * (part == 'specialist'))
    replace_file(f'{stem}.csv', pd.DataFrame(rows).to_csv(index=False))
    for setting, of_setting in groups.items():
        by_k = {k: (len(found), average([average(group) for group in by_set(*zip(*found))]))
                for k, found in sorted(of_setting.items())}
        fig = draw(', '.join((*setting, f'{split} split')), by_k)
        path = f'{stem}-{safe_name("-".join(setting))}.png'
        replace_file(path, lambda f: fig.savefig(f, format='png'))
        plt.close(fig)
        print(path)
    table = pd.DataFrame([row for row in rows if row['position'] == ''])
    columns = [f'{name}{end}' for name in QUANTITIES for end in ('', '_ci_low', '_ci_high')]
    print(table[['run', 'k', 'component', *columns]].to_string(
        index=False, float_format='{:+.4f}'.format))
