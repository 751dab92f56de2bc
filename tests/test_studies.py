"""Studies: what their numbers are made of, numbers of docs/results.md, and mistakes of users."""
import itertools
import math
import re

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, run

from curves import Curve, cluster_bootstrap, log_bins
from processes import build_processes, component_losses, sample_process
from studies import budgets, efficiency, manpages, parts, programs, public_runs, settings, shares
from studies.amplitudes import compare
from studies.decay import fit_columns, fit_decay, fold_means, holm, p_values
from studies.doubling import doublings
from studies.known_answer import summarise
from studies.manpages import documents
from studies.positions import costs_by_position, held_out_errors, shape
from studies.posterior import specialist_mixture

def noisy(curve):
    """A Curve that is all but known, and its folds, which no documents have."""
    boot = curve + 1e-4 * np.random.default_rng(0).normal(size=(200, len(curve)))
    return Curve(curve, boot), np.full((10, len(curve)), np.nan)

def test_holm_by_hand():
    """Sorted .005, .01, .03, .04, times 4, 3, 2, 1, and none less than the one before."""
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.7, 0.6]), [1, 1])

def test_fits_recover_what_made_the_curve():
    n = np.arange(100)
    power, exponential = 2 + 0.7 * np.maximum(n, 1.0)**-0.8, 2 + 0.7 * np.exp(-n / 9)
    for curve, better, c in ((power, 'power', 0.8), (exponential, 'exponential', 9)):
        fits = fit_decay(*noisy(curve))
        assert min(fits, key=lambda form: fits[form][3][0]) == better
        assert [fits[better][i][0] for i in range(3)] == pytest.approx([2, 0.7, c], rel=0.06)
        other, = fits.keys() - {better}
        assert (fits[better][3] < fits[other][3]).all()

def coins_xe(K, T=100):
    """The exact Bayes XE (T,) of the mixture of K coins, minus its limit, the mean entropy rate."""
    p = np.linspace(0.05, 0.95, K)[:, None]
    loss = np.empty(T)
    for t in range(T):  # after t tosses of which m were ones, P(one) is the posterior mean of p
        m = np.arange(t + 1)
        choose = np.array([math.lgamma(t + 1) - math.lgamma(i + 1) - math.lgamma(t - i + 1)
                           for i in m])
        joint = np.exp(choose + m * np.log(p) + (t - m) * np.log(1 - p)) / K  # (K, t + 1)
        one = (joint * p).sum(0) / joint.sum(0)
        loss[t] = joint.sum(0) @ -(one * np.log(one) + (1 - one) * np.log(1 - one))
    return loss + np.mean(p * np.log(p) + (1 - p) * np.log(1 - p))

def test_many_coins_decay_as_a_power_and_two_exponentially():
    """Many coins are one unknown parameter, which costs 1 / (2 n) nats in the end (Riechers et al.
    2505.18373); few are told apart exponentially fast. From n = 1 on the power is lower than 1, for
    n XE(n) rises all the way: .11, .34, .46, .49 at n = 1, 8, 64, 399.
    """
    many, two = coins_xe(200, 400), coins_xe(2)
    limits = [n * many[n] for n in (1, 8, 64, 399)]
    assert limits == pytest.approx([0.114, 0.335, 0.456, 0.486], abs=1e-3)
    assert two[::8][:4] == pytest.approx([0.693147 - 0.198515, 0, 0, 0], abs=1e-3)
    for curve, better in ((many[:100], 'power'), (two[:60], 'exponential')):
        fits = fit_decay(*noisy(curve))
        errors = {form: fits[form][3] for form in fits}
        other, = errors.keys() - {better}
        assert (errors[better] < 0.4 * errors[other]).all()

def experiment(curve, seed, n_docs=400):
    """The Curve and folds of documents that differ in their level much more than in their form."""
    rng = np.random.default_rng(seed)
    xe = curve + rng.normal(size=(n_docs, 1)) + 0.5 * rng.normal(size=(n_docs, len(curve)))
    return (cluster_bootstrap(xe, np.arange(n_docs), 'fits'),
            fold_means(xe, np.arange(n_docs), 'fits'))

def test_fits_weigh_bins_by_their_covariance_and_held_out_documents_decide():
    """A true form's error is a chi-squared of bins - 3 degrees of freedom. Documents that were held
    out tell a power from an exponential where they differ, and say so where they do not.
    """
    n = np.arange(100)
    power, flat = 2 + 1.2 * np.maximum(n, 1.0)**-0.8, np.full(100, 2.0)
    exponential = 2 + 1.2 * np.exp(-n / 9)
    dof = log_bins(100, 2).max() + 1 - 2 - 3  # bins 0 and 2 are empty or left out
    errors, verdicts = [], {'power': [], 'exponential': [], 'flat': []}
    for seed in range(20):
        for name, curve in (('power', power), ('exponential', exponential), ('flat', flat)):
            row = fit_columns(*experiment(curve, seed))
            verdicts[name].append(row['better_fit'])
            errors += [row[f'{name}_error']] if name != 'flat' else []
    assert np.mean(errors) == pytest.approx(dof, rel=0.25)
    assert verdicts['power'].count('power') >= 18, verdicts
    assert verdicts['exponential'].count('exponential') >= 18, verdicts
    assert verdicts['flat'].count('not decided') >= 16, verdicts

def test_each_fold_has_a_tenth_of_the_documents_and_few_documents_have_no_folds():
    doc = np.repeat(np.arange(50), 3)
    xe = np.stack((doc, doc % 10), axis=1).astype(float)
    folds = fold_means(xe, doc, 'a')
    assert folds.shape == (10, 2)
    np.testing.assert_allclose(folds.mean(0), xe.mean(0))  # all of five documents
    assert np.isnan(fold_means(xe[:27], doc[:27], 'a')).all()

def test_p_values_are_over_sets_or_over_the_runs_of_one():
    ab, ac, bc = ('a', 'b'), ('a', 'c'), ('b', 'c')
    p = p_values({1: [0.0] * 3, 2: [1.0, 1.2, 0.9, 1.1], 3: [0.5, 0.6, math.nan]},
                 {1: [('a',)] * 3, 2: [ab, ab, ac, bc], 3: [('a', 'b', 'c')] * 3})
    t = np.mean([1.1, 0.9, 1.1]) / (np.std([1.1, 0.9, 1.1], ddof=1) / math.sqrt(3))
    assert p.keys() == {2}
    assert p[2] == pytest.approx(2 * (1 - (1 / 2 + t / (2 * math.sqrt(2 + t * t)))))  # t of 2

def test_the_specialists_mixture_loses_at_most_ln_K_in_every_window():
    """On processes, where it is Bayes' own mixture, and on losses of no model at all."""
    processes, rng = list(build_processes('markov:3', 8, 0).values()), np.random.default_rng(0)
    for i, process in enumerate(processes):
        tokens = sample_process(process, 100, 64, rng)
        losses = np.stack([component_losses(p, tokens) for p in processes])
        gap, posterior = specialist_mixture(np.minimum(losses, 50), i)
        assert gap.shape == posterior.shape == (100, 64)
        assert gap.sum(1).max() <= math.log(3) + 1e-9
        np.testing.assert_allclose(posterior[:, 0], 1 / 3)
        assert posterior[:, -1].mean() > 0.99
        assert gap.sum(1).mean() == pytest.approx(math.log(3), abs=0.03)
    losses = rng.exponential(size=(4, 1000, 20))
    gaps = [specialist_mixture(losses, i)[0].sum(1) for i in range(4)]
    assert np.max(gaps) <= math.log(4) + 1e-9 and np.mean(gaps) < math.log(4)

def test_costs_by_position_go_by_what_runs_are_not_by_their_names(tmp_path, capsys):
    """A mixture called -tag counts, a tagged one does not; P_c has the budget of M, D_c has not."""
    runs = [('my-tag', 'a+b', 100, False, 3.0), ('other', 'a+b', 100, True, 9.0),
            ('unequal', 'a+b', 100, False, 9.0),
            ('Pa', 'a', 100, False, 2.5), ('Pb', 'b', 100, False, 2.0), ('Da', 'a', 50, False, 7.0)]
    facts = pd.DataFrame([{
        'run': run, 'k': len(names.split('+')), 'components': names, 'component': c, 'seed': 0,
        'mix_seed': 0, 'dataset': 'd', 'setting': '', 'setting_hash': 'h', 'token_budget': budget,
        'tag': tag, 'shuffle_components': False, 'constant_per_component': False,
        'unfinished': False, 'in_training': True, 'xe': xe,
        'shares': '3,1' if run == 'unequal' else ''}
        for run, names, budget, tag, xe in runs for c in names.split('+')])
    columns = 'run dataset k components component seed mix_seed setting in_training xe'.split()
    by_position = pd.concat([facts[columns].assign(position=t) for t in (0, 1)])
    for name, rows in (('xe_by_component', facts), ('xe_by_position', by_position)):
        rows.to_csv(tmp_path / f'{name}.csv', index=False)
    D = costs_by_position(tmp_path)
    assert [*D.index.get_level_values('run')] == ['my-tag', 'my-tag']
    np.testing.assert_allclose(D, [[0.5, 0.5], [1.0, 1.0]])
    pd.concat([facts, facts]).to_csv(tmp_path / 'xe_by_component.csv', index=False)
    with pytest.raises(SystemExit):
        costs_by_position(tmp_path)
    assert 'evaluate the runs that are compared' in capsys.readouterr().err

def test_one_shape_over_positions_is_told_from_two():
    """Halves of D(t) = size g(t) + noise: rank 1 is best, or rank 2 where there are two shapes."""
    rng, weight = np.random.default_rng(0), np.array([1, 1, 2, 4, 8, 16, 32, 36.0])
    g = np.array([0.2, 0.5, 0.8, 1, 1.1, 1.1, 1, 1])
    one = rng.uniform(0.1, 0.6, (60, 1)) * g
    two = one + rng.choice([0, 0.3], (60, 1)) * np.linspace(1, -1, 8)
    for truth, best in ((one, 'rank 1'), (two, 'rank 2')):
        halves = [truth + 0.02 * rng.standard_normal(truth.shape) for _ in range(2)]
        errors = held_out_errors(*halves, weight)
        assert min(errors, key=errors.get) == best, errors
    np.testing.assert_allclose(shape(one, weight), g / (g @ weight / 100), rtol=1e-9)

def test_means_over_bins_of_context_have_their_names():
    means = parts.bin_means(pd.DataFrame(np.arange(20.0).reshape(2, 10)))
    assert [*means] == ['0', '1', '2-3', '4-7', '8-9']
    np.testing.assert_allclose(means, [[0, 1, 2.5, 5.5, 8.5], [10, 11, 12.5, 15.5, 18.5]])

def test_the_form_of_the_amplitude_is_found():
    """Of costs made with amplitudes in proportion to the slopes the other forms are off."""
    names, B, rng = 'abcdef', 1000, np.random.default_rng(0)
    xe, slope = rng.uniform(3, 5, 6), rng.uniform(0.2, 1.5, 6)
    gap = rng.uniform(0.3, 1.5, (6, 6)) * (1 - np.eye(6))
    rows = [((names[c],), B // 2, names[c], xe[c] + math.log(2) * slope[c]) for c in range(6)]
    rows += [((names[j],), B, names[c], xe[c] + gap[c, j]) for c in range(6) for j in range(6)]
    for K in (2, 4):
        for S in itertools.combinations(range(6), K):
            for c in S:
                worth = np.where(np.eye(6, dtype=bool)[c], 1, 0.7 - 0.3 * gap[c])[[*S]]
                cost = -0.9 * slope[c] * np.log(worth.mean())
                rows.append((tuple(names[j] for j in S), B, names[c], xe[c] + cost))
    rows = pd.DataFrame(rows, columns=['mixture', 'tokens', 'component', 'xe'])
    rows['mixture'] = [tuple((c, 1 / len(S)) for c in S) for S in rows['mixture']]
    found = compare(rows.assign(seed=0, mix_seed=0), 2).set_index(['b', 'worth'])
    mae = found['mae above'].xs('line cut at 0', level='worth')
    assert mae['slope'] < 1e-6 and mae['free'] < 1e-6 and min(mae['one'], mae['xe']) > 0.05
    assert found.loc[('slope', 'line cut at 0'), 'fitted'] == '0.900 0.700 0.300'

def test_the_form_that_made_the_amplitudes_forecasts_larger_budgets():
    rng, table = np.random.default_rng(0), []
    for B in (24_000, 48_000, 96_000, 384_000):
        xe = rng.uniform(3, 5, 6) * (B / 96_000)**-0.1
        table += [(B, K, c, xe[c], K / 4 + 0.1 * c) for K in (2, 5) for c in range(6)]
    table = pd.DataFrame(table, columns=['B', 'K', 'component', 'xe', 'unit'])
    table['mean_xe'] = table.groupby(['B', 'K'])['xe'].transform('mean')
    made = table.assign(D=0.1 * table['xe']**1.5 * table['unit'])
    found = budgets.compare(made, 96_000).set_index('amplitude')
    assert found.loc['between', 'constants'] == '0.100 1.500'
    assert found.loc['between', 'mae above'] < 1e-4 < 0.01 < found['mae above'].nsmallest(2).iloc[1]
    assert found.loc['between', '384,000, K = 5'].startswith(('+0.0000', '-0.0000'))
    made = table.assign(D=0.4 * (table['B'] / 96_000)**-0.2 * table['unit'])
    assert budgets.compare(made, 96_000).set_index('amplitude').loc['power', 'mae above'] < 1e-4
    found = budgets.compare(table.assign(D=0.1 * table['mean_xe'] * table['unit']), 96_000)
    assert found.set_index('amplitude').loc['mixture', 'mae above'] < 1e-9

def test_shares_of_tokens_come_back_through_the_learning_curve():
    """XE falls by .5 nats for a factor e; of B tokens .7 are worth something at K = 2, .6 at 5."""
    table = pd.DataFrame([(B, K, c, 9 + 0.1 * c - 0.5 * np.log(B / 12_000), -0.5 * np.log(share))
                          for B in (12_000, 24_000, 48_000, 96_000)
                          for K, share in ((2, 0.7), (5, 0.6)) for c in range(3)],
                         columns=['B', 'K', 'component', 'xe', 'D'])
    for is_small in (table['B'] <= 24_000, table['B'] <= 48_000):
        share, D = budgets.by_tokens(table, is_small)
        np.testing.assert_allclose(share.loc[[2, 5]], [0.7, 0.6])
        known = table['B'] > 12_000  # the curve has no fewer tokens
        np.testing.assert_allclose(D[known], table['D'][known])
        assert D[~known].isna().all()

def costs_made(amplitudes):
    """Rows of read_results: pairs and all five of five components, whose costs have an amplitude
    each, nats, and worths max(0, .7 - .4 gap)."""
    names, rng = 'abcde', np.random.default_rng(0)
    xe, gap = np.linspace(3.5, 4.5, 5), rng.uniform(0.3, 1.2, (5, 5)) * (1 - np.eye(5))
    rows = [((names[j],), names[c], xe[c] + gap[c, j]) for c in range(5) for j in range(5)]
    for S in [*itertools.combinations(range(5), 2), (0, 1, 2, 3, 4)]:
        for c in S:
            worth = np.where(np.eye(5, dtype=bool)[c], 1, 0.7 - 0.4 * gap[c])[[*S]]
            cost = -amplitudes[c] * np.log(worth.mean())
            rows.append((tuple(names[j] for j in S), names[c], xe[c] + cost))
    rows = pd.DataFrame(rows, columns=['mixture', 'component', 'xe'])
    rows['mixture'] = [tuple((c, 1 / len(S)) for c in S) for S in rows['mixture']]
    return rows.assign(seed=0, mix_seed=0, tokens=1000), xe

def test_a_settings_constants_are_found_and_its_forecast_is_scored():
    """Amplitudes of XE / 12, for which .1039 XE is a quarter too high, after a first setting with
    .1039 XE; and one amplitude for all."""
    (rows, xe), (first, _) = (costs_made(a * np.linspace(3.5, 4.5, 5))
                              for a in (1 / 12, settings.RATIO))
    table, first = (budgets.costs(x, 0.7, 0.4) for x in (rows, first))
    found = settings.scores(table, {'in shares': table.assign(unit=2 * table['unit'])}, first)
    too_high = 12 * settings.RATIO - 1
    for K in (2, 5):
        of_K = table[table['K'] == K].groupby('component')['D'].mean()
        assert found[f'D at {K}'] == pytest.approx((of_K.mean(), of_K.sem()))
        for error in (f'error at {K}', f'less first {K}'):  # where it is none
            assert found[error] == pytest.approx((too_high * of_K.mean(), too_high * of_K.sem()))
        assert found[f'in shares {K}'][0] == pytest.approx((2 * too_high + 1) * of_K.mean())
    of_token = pd.Series([*range(1, 6), 99], [*'abcdex'])  # x is in no mixture
    assert settings.unit_means(of_token, table) == pytest.approx(
        {'in shares': 4.0, 'in bytes': 3.0})
    assert found['mae'][0] == pytest.approx(too_high * table['D'].mean())
    assert found['XE of P_c'] == pytest.approx((4.0, np.std(xe, ddof=1) / math.sqrt(5)))
    assert settings.scores(first, {}, first)['mae'][0] < 1e-9
    assert settings.constants(rows, table)['amplitude / XE'] == pytest.approx((1 / 12, 0), abs=1e-6)
    rows, _ = costs_made([0.35] * 5)
    found = settings.constants(rows, budgets.costs(rows, 0.7, 0.4))
    assert found['amplitude'] == pytest.approx((0.35, 0), abs=1e-6)
    for name, x in (('amplitude', 0.35), ('level', 0.7), ('slope', 0.4)):
        assert found[f'{name} of three'] == pytest.approx((x, 0), abs=1e-5)

@pytest.mark.parametrize('form, constants', [
    ('stretched', '0.500 0.900 1.600'), ('geometric', '0.500 0.900 0.700'),
    ('ratio', '0.500 0.900 0.800'), ('root', '0.500 0.900')])
def test_the_form_that_made_the_costs_forecasts_other_shares(form, constants):
    """The worth of c's own is 1, of others exp(-gap / .9): the form is found, and no other."""
    rng = np.random.default_rng(0)
    def made(h):  # what each of the components pays of whom the others are, and h (N, C) is given
        n, is_own = len(h), np.eye(h.shape[1], dtype=bool)[rng.integers(0, h.shape[1], len(h))]
        gap, h_c = np.where(is_own, 0, rng.uniform(0.3, 2, h.shape)), h[is_own][:, None]
        ratio = {'ratio': 0.8, 'root': 0.5}.get(form, 0)
        weights = {'stretched': h**1.6 / (h**1.6).sum(1, keepdims=True),
                   'geometric': h_c**0.3 * h**0.7}.get(form, h)
        worth = np.exp(-gap * (h / ((h_c + h) / 2))**ratio / 0.9)
        D = -0.5 * np.log((weights * worth).sum(1))
        return {'share': h, 'is_own': is_own, 'gap': gap, 'xe': np.ones(n)}, D, h[is_own]
    equal, unequal = made(np.full((40, 3), 1 / 3)), made(rng.dirichlet([2, 2, 2], 60))
    found = shares.compare([equal, unequal], made(rng.dirichlet([1, 2, 3], 50)))
    found = found[found['worth'] == 'soft minimum'].set_index('form')
    right = {form, 'ratio'} if form == 'root' else {form}  # which holds it
    assert found['constants'][form] == constants
    assert found['mae'][[*right]].max() < 1e-5 < 0.003 < found['mae'].drop([*right]).min()
    assert found['mae of fit']['plain'] > 0.01
    by_equal = shares.compare([equal], unequal)['form']  # what they do not tell is left out
    assert {*by_equal} == {'plain', 'saturated', 'root'}

def test_mixtures_of_others_are_read_and_worths_go_with_the_ratio_of_shares(tmp_path):
    """RegMix's layout, with a domain that was not evaluated, and SlimPajama's."""
    for name, ids in (('train_{}_1m', [1, 2, 3]), ('test_{}_1m', [1, 2]), ('test_{}_60m', [1, 2])):
        for kind, columns in (('mixture', ['train_the_pile_a', 'train_the_pile_b']),
                              ('pile_loss', ['metric/the_pile_b_val_loss'])):
            values = np.outer(ids, [3, 5][:len(columns)])
            pd.DataFrame(values, pd.Index(ids, name='index'), columns).to_csv(
                tmp_path / f'{name.format(kind)}.csv')
    (size, h, losses, masks), (_, _, _, splits) = public_runs.read(str(tmp_path))
    assert size == '1 M' and np.allclose(h, [[3 / 8, 5 / 8]] * 5) and len(splits) == 5
    assert [*losses[:, 1]] == [3, 6, 9, 3, 6] and np.isnan(losses[:, 0]).all()
    assert [*masks[0]] == [False] * 3 + [True] * 2
    short = pd.read_csv(tmp_path / 'test_pile_loss_60m.csv')[:1]
    short.to_csv(tmp_path / 'test_pile_loss_60m.csv', index=False)
    with pytest.raises(ValueError, match='60 M: no mixtures'):
        public_runs.read(str(tmp_path))
    slim = pd.DataFrame({'model_size': 122e6, 'n_tokens': 9998e6, 'weight_a': [0.25, 0.5, 0.25],
                         'weight_b': [0.75, 0.5, 0.75], 'a_loss': [3, 4, 3], 'b_loss': [5, 6, 5]})
    pd.concat([slim, slim.assign(model_size=680e6, n_tokens=10366e6)]).to_csv(
        tmp_path / 'slim.csv', index=False)
    (size, h, losses, _), _ = public_runs.read(str(tmp_path / 'slim.csv'))
    assert size == '122 M' and h.tolist() == [[0.25, 0.75], [0.5, 0.5]]  # a row is there twice
    assert losses.tolist() == [[3, 5], [4, 6]]

    h = np.array([[0.5, 0.5], [0, 1], [1, 0], [0.1, 0.9]])
    worth = public_runs.by_ratio(np.array([0.3]), h, 0)
    assert worth[:, 0] == pytest.approx([0.3, 0.3**2**0.5, 1, 0.3**1.8**0.5])
    assert public_runs.nats(3, np.log(0.4), worth, h, 0)[0] == pytest.approx(
        3 - 0.4 * np.log(0.65))

def test_doubling_needs_no_specialist_and_is_a_mean_over_seeds():
    """All four cost .1 and .3 more than pairs in one seed, .4 in the other."""
    pairs = [('a', 'b'), ('c', 'd')]
    xe = {(0, 2): [3, 4, 5, 6], (0, 4): [3.1, 4.3, 5.1, 6.3], (1, 2): [3, 4, 5, 6],
          (1, 4): [3.4, 4.4, 5.4, 6.4]}
    rows = [(tuple((name, 1 / K) for name in (S if K == 2 else 'abcd')), 96, c, seed, seed, value)
            for (seed, K), values in xe.items() for c, value in zip('abcd', values)
            for S in pairs if c in S]
    unequal = ((('a', 0.25), ('b', 0.75)), 96, 'a', 0, 0, 9.0)
    alone = ((('a', 1.0),), 384, 'a', 0, 0, 2.0)  # of a larger budget, which does not count
    columns = 'mixture tokens component seed mix_seed xe'.split()
    found = doublings(pd.DataFrame([*rows, unequal, alone], columns=columns)).to_numpy().tolist()
    assert [row[:4] for row in found] == [[2, 0, 0, 4], [2, 1, 1, 4], [2, '', '', 2]]
    assert [*map(math.isnan, (row[6] for row in found))] == [True, True, False]
    assert [row[4] for row in found] == pytest.approx([0.2, 0.4, 0.3])
    # .1 .3 .1 .3 have a standard deviation of .1155, .2 and .4 a t-interval of 12.706 x .1
    assert [row[5] for row in found] == pytest.approx([0.0577, 0, 0.1], abs=1e-4)
    assert found[2][6] == pytest.approx(1.2706, abs=1e-4)

def test_a_manual_page_becomes_text_without_troff(monkeypatch):
    page = ('.TH LS 1\n.SH NAAM\nls \\- toon de \\fBinhoud\\fP\n.PP\n.BR ls (1)\n'
            '.B "twee  woorden"\n.EX\nprintf("code");\n.EE\n.SH ANDERS\n.\\" niets\n')
    assert [*documents(page)] == ['ls - toon de inhoud\nls(1)\ntwee  woorden\n']
    monkeypatch.setattr(manpages, 'SHORTEST', 10)
    assert [*documents(page)] == ['ls - toon de inhoud\n', 'ls(1)\ntwee  woorden\n']

def test_all_documents_of_a_name_are_in_one_split():
    rows = manpages.deal((f'{name} {i}', 'en', f'page{name}') for name in range(200)
                         for i in range(3))
    split_of = {row['text']: split for split in rows for row in rows[split]}
    assert len(split_of) == 600 and all(
        len({split_of[f'{name} {i}'] for i in range(3)}) == 1 for name in range(200))
    assert all(0.08 < len(rows[split]) / 600 < 0.22 for split in ('val', 'test'))  # 3 twentieths

def test_a_program_becomes_paragraphs_as_they_are():
    text = '\n\n\n'.join(f'def f{i}():\n' + '    # é\n' * 60 for i in range(10)) + '\n   \n\n'
    table = 'x' * (programs.LONGEST + 1)
    pieces = [*programs.documents(f'{table}\n\n{text}')]
    assert ''.join(pieces).rstrip() == re.sub(r'\n\s*\n', '\n\n', text).rstrip()  # no table
    assert all(len(piece) >= manpages.SHORTEST for piece in pieces[:-1])
    assert all(piece.startswith('def f') for piece in pieces)
    assert len(pieces) == 4 and len(pieces[-1]) < manpages.SHORTEST
    assert [*programs.documents('\n \n\n')] == []

ALIKE = {'shares': '', 'tag': False, 'shuffle_components': False, 'constant_per_component': False,
         'setting_hash': 'h'}  # of mixtures in decomposition.csv

def test_efficiency_by_the_tokens_of_a_component(tmp_path):
    """Two seeds of each, whose mean ambiguity makes it a tenth for each doubling of a component's
    tokens, less .02 at K = 8; what is lost lies at two and three tokens of context."""
    rows = []
    for K, B, seed in itertools.product((2, 4, 8), (51_200, 204_800), (0, 1)):
        share = 0.1 * (math.log2(B / K) - 10) - 0.02 * (K == 8)
        lost = 0.01 / share - 0.01 + (-1)**seed * 0.003  # nats, over the window
        rows += [{'dataset': 'd', 'split': 'test', 'k': K, 'run': f'{K} {B} {seed}', 'position': t,
                  **ALIKE, 'token_budget': B, 'mix_seed': seed, 'component': None,
                  'bayes_ambiguity': 0.01, 'ambiguity': 0.01 + 4 * lost * (t in (2, 3))}
                 for t in range(8)]
    path = str(tmp_path / 'decomposition.csv')
    pd.DataFrame(rows).to_csv(path)
    table, above = efficiency.read_runs([path])
    means = efficiency.by_tokens(table)
    assert (means['runs'] == 2).all() and len(means) == 6
    np.testing.assert_allclose(means['least'], 0.01)
    np.testing.assert_allclose(means['sd of a run'], 0.003 * math.sqrt(2))
    assert means.loc[(25_600, 2), 'efficiency'] == pytest.approx(0.1 * math.log2(25))
    pairs = efficiency.compare(means).to_numpy().tolist()
    assert pairs == [[25_600, 2, 8, pytest.approx(-0.02)]]  # 204,800 / 8
    by_context = efficiency.above_by_context(table, above)
    assert [*by_context] == ['0', '1', '2-3', '4-7']
    expected = 4 * (0.01 / (0.1 * math.log2(25)) - 0.01)
    np.testing.assert_allclose(by_context.loc[25_600, 2], [0, 0, expected, 0], atol=1e-12)
    efficiency.draw(table, means, efficiency.fit_curves(means), str(tmp_path / 'efficiency.png'))
    assert (tmp_path / 'efficiency.png').stat().st_size > 10_000

    by_budget = pd.DataFrame(rows)  # budgets may have settings of their own
    by_budget['setting_hash'] += by_budget['token_budget'].astype(str)
    by_budget.to_csv(path)
    pd.testing.assert_frame_equal(efficiency.by_tokens(efficiency.read_runs([path])[0]), means)

    # a run twice, other settings
    for changed in (rows * 2, *(rows + [row | {'run': 'x' + row['run']} | other for row in rows]
                                for other in ({'setting_hash': 'i'}, {'tag': True}, {
                                    'setting_hash': 'i', 'token_budget': 51_201}))):  # same cells
        n = len(changed) // 2
        pd.DataFrame(changed[:n]).to_csv(path)
        pd.DataFrame(changed[n:]).to_csv(str(tmp_path / 'other.csv'))
        with pytest.raises(SystemExit):
            efficiency.read_runs([path, str(tmp_path / 'other.csv')])

def test_curves_of_efficiency():
    """Rows on a curve give its constants back; off it, n0's interval is the linear model's."""
    n = np.array([3_200, 6_400, 12_800, 25_600, 51_200])
    index = pd.MultiIndex.from_arrays([n, [16, 8, 4, 2, 2]], names=['tokens', 'k'])
    for p in (1, 0.8):
        exact = pd.DataFrame({'efficiency': 1 / (1 + (20_000 / n)**p)}, index)
        one, *free, of_2 = efficiency.fit_curves(exact).to_dict('records')
        assert [(row['constant'], row['value']) for row in free] == [
            ('n0', pytest.approx(20_000, rel=1e-4)), ('p', pytest.approx(p, rel=1e-4))]
        assert (one['mean absolute error'] < 1e-6) == (p == 1)
        assert (one['K'], of_2['K']) == ('all', 2)  # a K with one row has no curve
    off = exact['efficiency'] + 0.03 * (-1)**np.arange(5)
    one = efficiency.fit_curves(off.to_frame('efficiency')).iloc[0]
    at = n / (n + one['value'])
    slopes = -at * (1 - at)  # of ln n0
    se = math.sqrt(((off - at)**2).sum() / 4 / (slopes**2).sum())
    assert math.log(one['high'] / one['value']) == pytest.approx(2.7764 * se, rel=1e-3)  # t, 4 d.f.
    assert math.log(one['value'] / one['low']) == pytest.approx(2.7764 * se, rel=1e-3)
    assert one['mean absolute error'] == pytest.approx(np.abs(off - at).mean())
    assert one['largest'] == pytest.approx(np.abs(off - at).max())
    assert efficiency.fit_curves(exact[:1]).empty

def test_how_far_runs_are_from_the_known_answer(tmp_path):
    """Two runs on two components: one is .03 above the optimum at positions 2 and 3 alone."""
    rows = [{'dataset': 'd', 'setting': 'a=1', 'k': 2, 'run': run, 'component': c, 'position': t,
             'bayes_xe': 1.0,
             'xe': 1.0 + run * 0.03 * (t in (2, 3)) + 0.005 * (-1)**c}  # which cancels
            for run in (0, 1) for c in (0, 1) for t in range(8)]
    other = [row | {'setting': 'a=2', 'run': 2, 'xe': 1.5} for row in rows[:16]]
    pd.DataFrame(rows + other).to_csv(tmp_path / 'xe_by_position.csv')
    pd.DataFrame([{'dataset': 'd', 'setting': setting, 'k': 2, 'unigram_xe': 1.5,
                   'entropy_rate': 0.5} for setting in ('a=1', 'a=2')]).to_csv(
        tmp_path / 'xe_vs_k.csv')
    row, other = summarise(str(tmp_path)).reset_index().to_dict('records')
    assert (other['runs'], other['worst bin']) == (1, pytest.approx(0.5))  # is not averaged with it
    assert (row['k'], row['runs'], row['worst bin']) == (2, 2, pytest.approx(0.03))
    assert row['excess'] == pytest.approx(0.03 * 2 / 8 / 2)
    assert row['percent'] == pytest.approx(100 * row['excess'])
    pd.DataFrame(rows).assign(bayes_xe=np.nan).to_csv(tmp_path / 'xe_by_position.csv')
    with pytest.raises(SystemExit):  # nothing is no success
        summarise(str(tmp_path))

def test_parts_are_means_over_mixtures_with_their_interval(tmp_path, capsys):
    """Four mixtures: .04 at 0 and 1 tokens, then nothing, but for what differs between them."""
    rows = [{'dataset': 'd', 'split': 'test', **ALIKE, 'token_budget': 9, 'k': 2, 'run': f'r{i}',
             'mix_seed': i // 2, 'component': None, 'position': t,
             'ambiguity': 0.04 * (t < 2) + 0.001 * (i - 1.5)}
            for i in range(4) for t in [*range(8)]]
    means = [row | {'position': None, 'ambiguity': 9} for row in rows[::8]]
    of_components = [row | {'component': 'c', 'position': None, 'ambiguity': 9} for row in rows]
    pd.DataFrame(rows + means + of_components).to_csv(tmp_path / 'decomposition.csv')
    table = parts.summarise(parts.by_mixture(tmp_path / 'decomposition.csv', 'ambiguity'))
    assert [*table.index] == ['all', '0', '1', '2-3', '4-7']
    np.testing.assert_allclose(table['mean'], [0.01, 0.04, 0.04, 0, 0], atol=1e-12)
    half = 3.1824 * 0.001 * np.sqrt(5 / 3) / 2  # t of 3 degrees, sd of -1.5 .. 1.5 over root 4
    np.testing.assert_allclose(table['high'] - table['mean'], half, rtol=1e-4)
    assert parts.known_from(table) == 2
    later = table.add([0, 0, 0, 0, 0.02], axis=0)
    assert parts.known_from(later) is None
    pd.DataFrame(of_components).to_csv(tmp_path / 'decomposition.csv')
    assert not len(parts.by_mixture(tmp_path / 'decomposition.csv', 'ambiguity'))

    # a file of a control or of another setting is not pooled with this one
    paths = [str(tmp_path / f'{name}.csv') for name in ('one', 'control', 'other')]
    for path, other in zip(paths, ({}, {'shuffle_components': True}, {'setting_hash': 'i'})):
        pd.DataFrame([row | other for row in rows]).assign(dilution=None, transfer=None).to_csv(
            path)
    run('studies/parts.py', *paths)
    lines = [' '.join(line.split()) for line in capsys.readouterr().out.splitlines()]
    found = [line for line in lines if '4 +0.0100 ± 0.0021' in line]
    assert len(found) == 3  # over two mix_seeds, .002 apart: F = 8 of 1 and 2 degrees of freedom
    assert all('+0.0100 ± 0.0127 0.106' in line for line in found)

    # fours, twice as far apart: a difference over mixtures is Welch's, over seeds it is of each
    fours = pd.DataFrame(rows).assign(k=4, ambiguity=lambda x: 0.002 * (x['run'].str[1:].astype(int)
                                                                        - 1.5) + 0.03)
    fours.assign(run=fours['run'] + 'k4', dilution=None, transfer=None).to_csv(paths[2])
    run('studies/parts.py', paths[0], paths[2])
    line, = [line for line in capsys.readouterr().out.splitlines() if 'less K = 2' in line]
    line = ' '.join(line.split())
    assert line.startswith('less K = 2 4 4 +0.0200 ± 0.0039') and '+0.0200 ± 0.0127' in line

    # the control is what the ambiguity is set against: here .01 below zero, and as far apart
    control = pd.DataFrame(rows).assign(ambiguity=lambda x: 0.002 * (x['run'].str[1:].astype(int)
                                                                     - 1.5) - 0.01)
    control.assign(shuffle_components=True, dilution=None, transfer=None).to_csv(paths[1])
    run('studies/parts.py', *paths[:2])
    line, = [line for line in capsys.readouterr().out.splitlines() if 'less control' in line]
    assert '4 +0.0200 ± 0.0039 +0.0500 ± 0.0039' in ' '.join(line.split())
    control.to_csv(tmp_path / 'decomposition.csv')
    values = [parts.by_mixture(path, 'ambiguity')
              for path in (paths[0], tmp_path / 'decomposition.csv')]
    less = parts.difference(*values)
    half = 2.6772 * 0.001 * np.sqrt(5 * 5 / 3) / 2  # Welch: t of 75 / 17 degrees of freedom
    np.testing.assert_allclose(less['high'] - less['mean'], half, rtol=1e-4)
    np.testing.assert_allclose(less['mean'] - less['low'], half, rtol=1e-4)
    np.testing.assert_allclose(less['mean'], [0.02, 0.05, 0.05, 0.01, 0.01], atol=1e-12)

LAW = f'{ROOT}/studies/law'

@pytest.mark.parametrize('command, says', [
    (['doubling', f'{LAW}/k32-[012]*.csv.gz,{LAW}/large.csv.gz'], ' 2 3 0.1787 0.0085 0.0367'),
    (['doubling', f'{LAW}/k32-[012]*.csv.gz,{LAW}/large.csv.gz'], ' 16 6 0.0505 0.0109 0.0279'),
    (['doubling', f'{LAW}/at384.csv.gz,{LAW}/at384-pairs.csv.gz'], ' 2 1 1 32 0.1718 0.0112'),
    (['budgets', f'{LAW}/budgets-[csl]*,{LAW}/second-[!3]*,{LAW}/third-[!3]*,{LAW}/rest-[!3]*;'
      f'{LAW}/long-384*;{LAW}/second-384*,{LAW}/third-384*,{LAW}/rest-384*', '96000'],
     'ratio 0.105 0.0396 0.0197 -0.0094 ± 0.0052 -0.0113 ± 0.0099 -0.0044 ± 0.0062 +0.0038'),
    (['amplitudes', f'{LAW}/languages*.csv.gz', '2'],
     'one soft minimum 2 0.594 1.751 0.0575 0.0622'),
    (['settings', '96000', f'{LAW}/budgets*small.csv.gz', f'{LAW}/set-vocab8192.csv.gz'],
     'mae in bytes 0.0255 0.0485'),
    (['shares', *(f'{LAW}/k32-{i}.csv.gz,{LAW}/k32-cross-{i}.csv.gz' for i in (0, 1)),
      f'{LAW}/shares-2.csv.gz,{LAW}/k32-cross-2.csv.gz'],
     'soft minimum root 0.519 0.963 0.0406 48 0.0439 0.0017 -0.0266'),
    (['parts', *(f'{LAW}/decomposition-{i}.csv.gz' for i in [*range(6), 'control', 'large'])],
     'less control False 8 40 +0.0265 ± 0.0053'),
    (['efficiency', f'{LAW}/efficiency-by-position.csv.gz'],
     '102400 2 2 0.0217 0.0300 0.0027 0.7223'),
    (['efficiency', f'{LAW}/efficiency-epochs12.csv.gz'],
     'all n0 23493.4597 20924.0729 26378.3563 0.0239')])
def test_the_losses_that_are_there_give_the_numbers_of_the_docs(tmp_path, monkeypatch, capsys,
                                                                command, says):
    monkeypatch.chdir(tmp_path)
    run(f'studies/{command[0]}.py', *command[1:])
    assert says in ' '.join(capsys.readouterr().out.split())

LOSSES = f'{LAW}/k32-0.csv.gz,{LAW}/k32-cross-0.csv.gz'

@pytest.mark.parametrize('name, args, says', [
    ('doubling', [], 'name the files'), ('budgets', [], 'name the files'),
    ('amplitudes', [], 'name the files'), ('settings', [], 'name the tokens'),
    ('shares', [], 'name the files'), ('eta_by_setting', [], 'name the folders'),
    ('public_runs', [], 'name the file'), ('parts', [], 'decomposition.csv'),
    ('efficiency', [], 'decomposition.csv'), ('known_answer', [], 'xe_by_position.csv'),
    ('positions', [], 'xe_by_component.csv'), ('eta_by_setting', ['law'], 'effective_eta.csv'),
    ('budgets', [LOSSES, 'many'], 'the largest budget'), ('amplitudes', [LOSSES, 'x'], 'largest K'),
    ('budgets', [f'{LOSSES};{LOSSES}'], 'a run is there in two settings'),
    ('budgets', [f'{LAW}/large.csv.gz'], 'has no specialist on 96,000 tokens'),
    ('settings', ['96000', f'{LAW}/large.csv.gz'], 'has no specialist on 96,000 tokens'),
    ('amplitudes', [f'{LAW}/k32-cross-0.csv.gz'], 'no mixture on that budget'),
    ('amplitudes', [f'{LAW}/k32-0.csv.gz'], '--eval_components=all'),
    ('amplitudes', [LOSSES, '32'], 'and larger ones are wanted'),
    ('amplitudes', [LOSSES, '3'], 'and larger ones are wanted'),
    ('shares', [LOSSES, f'{LAW}/large.csv.gz'], 'has no specialist on 96,000 tokens'),
    ('parts', [f'{LAW}/large.csv.gz'], 'is no decomposition.csv'),
    ('efficiency', [f'{LAW}/large.csv.gz'], 'is no decomposition.csv'),
    ('effective_tokens', [f'--results={LAW}/part1.csv.gz', '--budget=42000'], 'no mixture on'),
    ('effective_tokens', [f'--results={LAW}/k32-cross-0.csv.gz'], 'no mixture is there'),
    ('effective_tokens', [f'--results={LAW}/constants.csv'], 'cannot be read'),
    ('posterior', ['--split=dev'], '--split must be')])
def test_a_mistake_in_a_study_is_one_line(tmp_path, monkeypatch, fails, name, args, says):
    monkeypatch.chdir(tmp_path)
    assert says in fails(f'studies/{name}.py', *args)
    assert not any(tmp_path.iterdir())
