"""Statistics of the evaluation, on numbers whose answer is known."""
import math

import numpy as np

from eval_xe import interval, mean_by_document, resamples, simultaneous_band, t_interval


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
