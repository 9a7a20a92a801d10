"""The tests that reviewers ask for against scipy, statsmodels and NIST; what clusters do to them by construction."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportions_ztest

from agreement.correlations import rmse_star
from agreement.reviewers import (
    fisher_interval,
    gaussian,
    kurtosis,
    mean_square_test,
    outlier_test,
    variance_test,
)

ALONE = np.arange(240)  # every pair a cluster of its own


def spread(deviation, seed, n=240):
    """n normal numbers whose standard deviation is exactly this."""
    x = np.random.default_rng(seed).normal(size=n)
    return (x - x.mean()) / x.std(ddof=1) * deviation + 7


def test_the_f_test_reproduces_nists_example():
    """NIST/SEMATECH e-Handbook, 1.3.5.9 (itl.nist.gov/div898/handbook/eda/section3/eda359.htm): ceramic strength, two
    batches of 240, standard deviations 65.54909 and 61.85425: F = 1.123037; two-sided critical values .7756, 1.2894."""
    outcome = variance_test(spread(61.85425, 1), spread(65.54909, 2), ALONE)
    assert outcome.statistic == pytest.approx(1.123037, abs=1e-6) and outcome.p > 0.3
    assert outcome.p == pytest.approx(2 * stats.f(239, 239).sf(1.123037), abs=1e-5)
    for critical in (0.7756, 1.2894):
        assert variance_test(spread(1, 1), spread(np.sqrt(critical), 2), ALONE).p == pytest.approx(0.05, abs=2e-4)
    turned = variance_test(spread(65.54909, 2), spread(61.85425, 1), ALONE)
    assert turned.statistic == pytest.approx(1 / 1.123037, abs=1e-6) and turned.p == pytest.approx(outcome.p)
    assert turned.estimate == pytest.approx(-outcome.estimate) and turned.p_clusters == pytest.approx(
        outcome.p_clusters
    )


def test_the_f_test_of_rmse_star_is_the_ratio_of_its_squares():
    label, rng = np.zeros(240), np.random.default_rng(3)
    a, b = rng.normal(size=(2, 240)) * [[1], [1.5]]
    excess = [np.maximum(0, np.abs(x) - 0.5) for x in (a, b)]
    outcome = mean_square_test(*excess, ALONE, 4)
    ratio = (rmse_star(b, label, 0.5, 4) / rmse_star(a, label, 0.5, 4)) ** 2
    assert outcome.statistic == pytest.approx(ratio) and ratio > 1
    assert outcome.p == pytest.approx(2 * stats.f(236, 236).sf(ratio))


def test_outlier_ratios_equal_statsmodels():
    a, b = np.random.default_rng(4).random(size=(2, 240)) < [[0.3], [0.45]]
    z, p = proportions_ztest([b.sum(), a.sum()], [240, 240])
    outcome = outlier_test(a, b, ALONE)
    assert (outcome.statistic, outcome.p) == pytest.approx((z, p), abs=1e-12)
    assert outcome.estimate == pytest.approx(b.mean() - a.mean())


def test_kurtosis_equals_scipy_and_sheikhs_criterion_knows_a_normal_distribution():
    rng = np.random.default_rng(5)
    for values, normal in ((rng.normal(size=800), True), (rng.laplace(size=800), False), (rng.random(800), False)):
        assert kurtosis(values) == pytest.approx(stats.kurtosis(values, fisher=False), abs=1e-12)
        assert gaussian(kurtosis(values)) == normal


def test_fishers_interval_equals_scipy():
    x, y = np.random.default_rng(6).normal(size=(2, 60))
    low, high = stats.pearsonr(x, x + y).confidence_interval()
    assert fisher_interval(stats.pearsonr(x, x + y).statistic, 60) == pytest.approx((low, high), abs=1e-12)


def test_fishers_interval_of_spearman_covers_where_pairs_are_independent():
    rng, hits, rho = np.random.default_rng(7), 0, 0.8
    truth = 6 / np.pi * np.arcsin(rho / 2)  # Spearman's of a bivariate normal distribution, Pearson 1907
    for _ in range(1000):
        x, e = rng.normal(size=(2, 50))
        ranks = np.argsort(np.argsort([x, rho * x + np.sqrt(1 - rho**2) * e]))
        low, high = fisher_interval(np.corrcoef(ranks)[0, 1], 50, ranks=True)
        hits += low <= truth <= high
    assert 0.93 <= hits / 1000 <= 0.97


def residuals(rng, references, each, shared):
    """Normal residuals of two equal metrics whose sizes go together within references, not between the metrics."""
    size = np.exp(shared * rng.normal(size=(2, references, 1)))
    return (size * rng.normal(size=(2, references, each))).reshape(2, -1)


def test_times_is_one_where_the_assumptions_hold():
    rng = np.random.default_rng(8)
    a, b = rng.normal(size=(2, 4000))
    assert variance_test(a, b, np.arange(4000)).times == pytest.approx(1, abs=0.05)
    assert outlier_test(a > 1, b > 1, np.arange(4000)).times == pytest.approx(1, abs=0.05)


def test_times_is_the_root_of_the_copies_and_below_one_where_both_metrics_err_alike():
    rng = np.random.default_rng(9)
    a, b = rng.normal(size=(2, 1000))
    copied = np.repeat(np.arange(1000), 4)
    once, often = variance_test(a, b, np.arange(1000)), variance_test(a[copied], b[copied], copied)
    assert often.times / once.times == pytest.approx(2, abs=0.01)
    assert often.p_clusters == pytest.approx(once.p_clusters, abs=0.01) and often.p < once.p
    assert variance_test(a, a + 0.1 * b, np.arange(1000)).times < 0.3


def test_the_jackknife_is_that_of_leaving_out():
    rng, clusters = np.random.default_rng(10), np.repeat(np.arange(8), [3, 5, 4, 6, 7, 5, 4, 6])
    a, b = rng.normal(size=(2, 40))
    logs = np.array([np.log(np.mean(b[clusters != c] ** 2) / np.mean(a[clusters != c] ** 2)) for c in range(8)])
    error = np.sqrt(7 / 8 * np.sum((logs - logs.mean()) ** 2))
    outcome = mean_square_test(a, b, clusters, 2)
    assert outcome.times == pytest.approx(error / np.sqrt(4 / 38))
    assert outcome.p_clusters == pytest.approx(2 * stats.t(7).sf(abs(outcome.estimate) / error))


def test_dependence_within_clusters_breaks_the_f_test_and_not_p_clusters():
    """Two equal metrics, 40 references of 20 pairs: the F-test finds a difference far too often."""
    rng, clusters = np.random.default_rng(11), np.repeat(np.arange(40), 20)
    outcomes = [variance_test(*residuals(rng, 40, 20, 0.4), clusters) for _ in range(400)]
    assert np.mean([outcome.p < 0.05 for outcome in outcomes]) > 0.25
    assert 0.02 < np.mean([outcome.p_clusters < 0.05 for outcome in outcomes]) < 0.10
    assert np.median([outcome.times for outcome in outcomes]) > 1.5


def test_what_has_no_answer_is_refused():
    a, b = np.random.default_rng(12).normal(size=(2, 20))
    two = np.arange(20) % 2
    for function, arguments, message in [
        (variance_test, (a, b[:19], two), "one length"),
        (variance_test, (a, b, np.zeros(20)), "at least 2 clusters"),
        (mean_square_test, (a, np.zeros(20), two, 4), "without any error"),
        (mean_square_test, (a[:4], b[:4], two[:4], 4), "more than 4 pairs"),
        (outlier_test, (a > 9, b > 9, two), "no pairs are outliers"),
        (outlier_test, (a < 9, b < 9, two), "all pairs are outliers"),
        (fisher_interval, (1.0, 20), "|r| < 1"),
        (kurtosis, (np.ones(9),), "that differ"),
    ]:
        with pytest.raises(ValueError, match=message.replace("|", r"\|")):
            function(*arguments)
