"""Statistics of the evaluation, on numbers whose answer is known."""
import math

import numpy as np
import pytest

from eval_xe import (add_differences, average, fit_decay, holm, interval, mean_by_document, resamples,
                     simultaneous_band, t_interval)
from processes import build_processes, component_losses, mixture_losses, sample_process


def clustered(n_docs=400, per_doc=5, seed=0):
    """Windows whose documents differ with variance 1 and that differ within one by .25: (xe (N, 3), doc (N,))."""
    rng = np.random.default_rng(seed)
    doc = np.repeat(np.arange(n_docs), per_doc)
    return 5 + rng.normal(size=(n_docs, 1))[doc] + 0.5 * rng.normal(size=(len(doc), 3)), doc


def test_mean_is_over_windows_and_its_error_is_over_documents():
    xe, doc = clustered()
    mean, boot = mean_by_document(xe, doc, 'a')
    np.testing.assert_allclose(mean, xe.mean(0))
    expected = math.sqrt((1 + 0.25 / 5) / 400)  # not sqrt(1.25 / 2000), as if windows were independent
    np.testing.assert_allclose(boot.std(0), expected, rtol=0.15)
    low, high = interval(boot)
    np.testing.assert_allclose(high - low, 2 * 1.96 * expected, rtol=0.2)


def test_windows_weigh_the_same_in_documents_of_any_length():
    xe, doc = np.array([[1.0], [1.0], [1.0], [5.0]]), np.array([7, 7, 7, 9])
    mean, boot = mean_by_document(xe, doc, 'a')
    assert mean == 2.0
    assert {round(float(b), 5) for b in boot[:, 0]} == {1.0, 2.0, 5.0}  # the documents 7 7, 7 9, 9 9


def test_one_document_gives_no_interval():
    mean, boot = mean_by_document(np.array([[1.0], [2.0]]), np.array([3, 3]), 'a')
    assert mean == 1.5 and np.isnan(interval(boot)).all()


def test_resamples_are_paired():
    """Two runs on the same windows: the constant between them has an interval of no width."""
    xe, doc = clustered()
    (a, boot_a), (b, boot_b) = (mean_by_document(x, doc, 'a') for x in (xe, xe + 0.5))
    low, high = interval(boot_b - boot_a)
    np.testing.assert_allclose([b - a, low, high], 0.5, atol=1e-5)
    assert (boot_a.std(0) > 0.03).all()


def test_resamples_are_the_same_in_every_process_and_others_for_every_component():
    once, other = resamples(9, 'a'), resamples(9, 'b')
    resamples.cache_clear()
    assert np.array_equal(once, resamples(9, 'a')) and not np.array_equal(once, other)
    assert (once.sum(1) == 9).all()


def test_t_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = [low < 0 < high for low, high in (t_interval(rng.normal(size=4)) for _ in range(4000))]
    assert abs(np.mean(covered) - 0.95) < 0.012


def test_simultaneous_band_holds_whole_curves():
    """Of the resampled curves 95% lie inside at every position; of a pointwise band it is far fewer."""
    rng = np.random.default_rng(0)
    boot = rng.normal(size=(1000, 50))
    low, high = simultaneous_band(np.zeros(50), boot)
    assert abs(((boot > low) & (boot < high)).all(1).mean() - 0.95) < 0.01
    assert (high > 1.5 * interval(boot)[1]).all()


def test_intervals_cover_as_often_as_they_say():
    """1,000 experiments on 80 documents of 1 to 8 windows, whose mean is known: 95% intervals hold it 93 to 97 times in 100."""
    rng, covered = np.random.default_rng(0), []
    for _ in range(1000):
        doc = np.repeat(np.arange(80), rng.integers(1, 9, 80))
        xe = 5 + rng.normal(size=(80, 1))[doc] + 0.7 * rng.normal(size=(len(doc), 1))
        low, high = interval(mean_by_document(xe, doc, 'coverage')[1])
        covered.append(low < 5 < high)
    assert 0.93 <= np.mean(covered) <= 0.97


def noisy(curve):
    return curve + 1e-4 * np.random.default_rng(0).normal(size=(200, len(curve)))


def test_holm_by_hand():
    """Sorted .005, .01, .03, .04, times 4, 3, 2, 1, and none less than the one before."""
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.7, 0.6]), [1, 1])


def test_fits_recover_what_made_the_curve():
    n = np.arange(100)
    power, exponential = 2 + 0.7 * np.maximum(n, 1.0)**-0.8, 2 + 0.7 * np.exp(-n / 9)
    for curve, better, c in ((power, 'power', 0.8), (exponential, 'exponential', 9)):
        fits = fit_decay(curve, noisy(curve))
        assert min(fits, key=lambda form: fits[form][3][0]) == better
        assert [fits[better][i][0] for i in range(3)] == pytest.approx([2, 0.7, c], rel=0.06)
        assert np.mean(fits[better][3] < fits[{'power': 'exponential', 'exponential': 'power'}[better]][3]) == 1


def coins_xe(K, T=100):
    """The exact Bayes XE (T,) of the mixture of K coins, minus its limit, the mean entropy rate."""
    p = np.linspace(0.05, 0.95, K)[:, None]
    loss = np.empty(T)
    for t in range(T):  # after t tosses of which m were ones, P(one) is the posterior mean of p
        m = np.arange(t + 1)
        choose = np.array([math.lgamma(t + 1) - math.lgamma(i + 1) - math.lgamma(t - i + 1) for i in m])
        joint = np.exp(choose + m * np.log(p) + (t - m) * np.log(1 - p)) / K  # (K, t + 1)
        one = (joint * p).sum(0) / joint.sum(0)
        loss[t] = joint.sum(0) @ -(one * np.log(one) + (1 - one) * np.log(1 - one))
    return loss + np.mean(p * np.log(p) + (1 - p) * np.log(1 - p))


def test_many_coins_decay_as_a_power_and_two_exponentially():
    """
    Many coins are one unknown parameter, which costs 1 / (2 n) nats in the end (Riechers et al. 2505.18373); few are told apart
    exponentially fast. From n = 1 on the power is lower than 1, for n XE(n) rises all the way: .11, .34, .46, .49 at n = 1, 8, 64, 399.
    """
    many, two = coins_xe(200, 400), coins_xe(2)
    assert [n * many[n] for n in (1, 8, 64, 399)] == pytest.approx([0.114, 0.335, 0.456, 0.486], abs=1e-3)
    assert two[::8][:4] == pytest.approx([0.693147 - 0.198515, 0, 0, 0], abs=1e-3)
    for curve, better in ((many[:100], 'power'), (two[:60], 'exponential')):
        fits = fit_decay(curve, noisy(curve))
        errors = {form: fits[form][3] for form in fits}
        other, = errors.keys() - {better}
        assert (errors[better] < 0.4 * errors[other]).all()


def test_parts_on_known_predictors():
    """Where every model is the optimum for what it knows, nothing is diluted or transferred and all ambiguity is Bayes' own."""
    processes, rng = list(build_processes('markov:4', 8, 0).values()), np.random.default_rng(0)
    cells, summed = {}, []
    for i, process in enumerate(processes):
        w = sample_process(process, 300, 64, rng)
        losses = np.stack([component_losses(p, w) for p in processes])
        mixture, unit = mixture_losses(losses), np.arange(300)
        own, best = mean_by_document(losses[i], unit, 'p'), mean_by_document(mixture, unit, 'p')
        cells[str(i)] = {'xe': best, 'bayes': best, 'base': own, 'diluted': own, 'told': own,
                         'bayes_ambiguity': mean_by_document(mixture - losses[i], unit, 'p')}
        add_differences(cells[str(i)])
        summed.append((mixture - losses[i]).sum(1))
    curves = average(list(cells.values()))
    assert not curves['dilution'][0].any() and not curves['transfer'][0].any()
    np.testing.assert_allclose(curves['ambiguity'][0], curves['bayes_ambiguity'][0], atol=1e-12)
    np.testing.assert_allclose(curves['delta'][0], sum(curves[term][0] for term in ('dilution', 'transfer', 'ambiguity')), atol=1e-12)
    assert np.max(summed) <= math.log(4) + 1e-9  # in every window
    assert curves['ambiguity'][0].sum() == pytest.approx(math.log(4), abs=0.02)
