"""simultaneous.py: one method for interval, p and verdict, which holds what it promises for a whole table at once."""

import dataclasses
from itertools import combinations

import numpy as np
import pytest
from scipy import optimize, stats

from agreement.bootstrap import cluster_bootstrap, draw, multiplicities, ratio, resample
from agreement.simultaneous import Contrast, decided, jackknife_error, judge, letters, single


def made(metrics, clusters=30, size=8, seed=0, better=0.0):
    """Label and predictions with noise shared within clusters; metric 0 is better by so much less noise."""
    rng = np.random.default_rng(seed)
    label = np.repeat(rng.normal(size=clusters), size) + rng.normal(size=clusters * size)
    noise = np.repeat(rng.normal(size=(metrics, clusters)), size, axis=1) + rng.normal(size=(metrics, clusters * size))
    noise[0] *= 1 - better
    return label, label + noise, np.repeat(np.arange(clusters), size)


def all_pairs(resampled, metrics):
    return [Contrast(r, a, b) for r in resampled.values() for a, b in combinations(range(metrics), 2)]


def linear(values, seed=0):
    """Means of columns (C, M) as a Resampled: what normal theory has exact answers for."""
    return resample(ratio(values, np.ones((len(values), 1))), len(values), seed=seed)


def test_interval_p_and_verdict_never_contradict_each_other():
    methods = set()
    for clusters, seed, better in ((30, 0, 0.0), (30, 1, 0.5), (60, 2, 0.8), (5, 3, 0.95), (9, 4, 0.95)):
        data = made(6, clusters, seed=seed, better=better)
        family = judge(all_pairs(cluster_bootstrap(*data, resamples=500), 6))
        methods.add(family.method)
        outside = (family.low > 0) | (family.high < 0)
        np.testing.assert_array_equal(outside, family.p <= 0.05)
        verdicts = family.verdict()
        assert set(verdicts[outside]) <= {"better", "worse", "undecided"} and set(verdicts[~outside]) <= {
            "not shown different",
            "undecided",
        }
        assert (family.p_stepdown <= family.p + 1e-12).all() and (family.p >= family.floor - 1e-15).all()
    assert methods == {"max-t", "Bonferroni"}


def test_a_single_difference_is_students_interval_of_the_jackknife():
    values = np.random.default_rng(0).normal(size=(20, 1))
    family = judge([Contrast(linear(values), 0)], 20000)
    students = stats.t.interval(0.95, 19, values.mean(), stats.sem(values[:, 0]))
    np.testing.assert_allclose((family.low[0], family.high[0]), students, rtol=0.02, atol=0.01)
    np.testing.assert_allclose(single(Contrast(linear(values), 0)), students, rtol=1e-12)
    assert family.p[0] == pytest.approx(stats.ttest_1samp(values[:, 0], 0).pvalue, abs=0.01)
    assert jackknife_error(linear(values).jackknife[:, 0]) == pytest.approx(stats.sem(values[:, 0]), rel=1e-12)


def test_all_differences_of_means_are_tukeys():
    """Tukey's studentized range is the exact answer for all pairs of independent normal means of one variance."""
    clusters, metrics = 400, 5
    values = np.random.default_rng(1).normal(size=(clusters, metrics))
    family = judge([Contrast(linear(values), a, b) for a, b in combinations(range(metrics), 2)], 10000)
    tukey = stats.studentized_range.ppf(0.95, metrics, (clusters - 1)) / np.sqrt(2)
    assert family.critical == pytest.approx(tukey, rel=0.02)
    assert abs(family.critical - tukey) < 4 * family.critical_error + 0.02


def equicorrelated(count, two_sided=True):
    """The 95 % quantile of the largest of so many normal variables that correlate by 1/2, by SciPy's integration."""
    normal = stats.multivariate_normal(cov=0.5 + 0.5 * np.eye(count))

    def beyond(c):
        return normal.cdf(np.full(count, c), lower_limit=np.full(count, -c if two_sided else -np.inf)) - 0.95

    return optimize.brentq(beyond, 1, 4)


def test_all_against_one_is_dunnetts():
    values = np.random.default_rng(2).normal(size=(1000, 5))
    family = judge([Contrast(linear(values), 0, b) for b in range(1, 5)], 10000)
    assert family.method == "max-t" and abs(family.critical - equicorrelated(4)) < 4 * family.critical_error + 0.02
    everything = judge(all_pairs({"m": linear(values)}, 5), 10000)
    assert family.critical < everything.critical - 0.2


def test_p_against_a_plain_implementation():
    """Resamples written out, each with its own standard error, and Romano and Wolf's algorithm step by step; the
    smaller of theirs and of Bonferroni's and Holm's, as statsmodels has them."""
    from statsmodels.stats.multitest import multipletests

    values = np.random.default_rng(3).normal(size=(30, 4)) + [0.6, 0.45, 0.0, 0.5]
    family = judge([Contrast(linear(values), m) for m in range(4)], 1000)
    t = values.mean(axis=0) / stats.sem(values)
    np.testing.assert_allclose(family.estimate / family.error, t)
    drawn = [values[np.repeat(np.arange(30), w.astype(int))] for w in multiplicities(30, 1000, 0)]
    deviations = np.array([np.abs(x.mean(axis=0) - values.mean(axis=0)) / stats.sem(x) for x in drawn])
    order, stepdown, least = np.argsort(-t), np.empty(4), 0.0
    for k in range(4):
        largest = deviations[:, order[k:]].max(axis=1)
        least = max(least, (1 + np.sum(largest >= t[order[k]])) / 1001)
        stepdown[order[k]] = least
    largest = deviations.max(axis=1)
    single_step = [(1 + np.sum(largest >= x)) / 1001 for x in t]
    alone = 2 * stats.t.sf(t, 29)
    for p, shares, method in ((family.p, single_step, "bonferroni"), (family.p_stepdown, stepdown, "holm")):
        expected = np.maximum(1 / 1001, np.minimum(shares, multipletests(alone, method=method)[1]))
        np.testing.assert_allclose(p, expected)
    assert len(set(family.p)) > 2


def test_bonferroni_where_clusters_are_few_or_a_difference_hangs_on_one_of_them():
    """A resample's own errors are hardly known from 5 clusters; and where two metrics differ in a single reference,
    those of a third of the resamples are zero: that must not widen all other intervals."""
    values = np.random.default_rng(4).normal(size=(5, 3))
    family = judge(all_pairs({"m": linear(values)}, 3))
    assert family.method == "Bonferroni" and family.critical == pytest.approx(stats.t.isf(0.025 / 3, 4))
    assert family.critical_error == 0 and not family.undecided.any()
    values = np.random.default_rng(5).normal(size=(40, 3))
    values[:, 2] = values[:, 1] + np.eye(40)[0]
    family = judge(all_pairs({"m": linear(values)}, 3))
    assert family.method == "Bonferroni" and family.critical == pytest.approx(stats.t.isf(0.025 / 3, 39))


@pytest.mark.parametrize("name", ["plcc", "srcc", "krcc"])
def test_errors_to_first_order_are_those_of_a_jackknife_in_every_resample(name):
    """The bootstrap-t written out: every coefficient of a resample anew, and again without a copy of each cluster."""
    label, predictions, clusters = made(4, clusters=25, size=20, seed=11)
    resampled = cluster_bootstrap(label, predictions, clusters, (name,))[name]
    pairs = np.array(list(combinations(range(4), 2)))

    def differences(W):
        values = resampled.statistic(W)
        return values[:, pairs[:, 0]] - values[:, pairs[:, 1]]

    [estimate], largest = differences(np.ones((1, 25))), []
    for w in multiplicities(25, 400, 0):
        present = np.flatnonzero(w)
        without = differences(w - np.eye(25)[present])
        deviations = without - np.average(without, axis=0, weights=w[present])
        error = np.sqrt(24 / 25 * (w[present] @ deviations**2))
        largest.append(np.max(np.abs(differences(w[None])[0] - estimate) / error))
    family = judge(all_pairs({name: resampled}, 4), 8000)
    assert family.method == "max-t" and family.critical == pytest.approx(np.quantile(largest, 0.95), rel=0.12)


def test_eleven_metrics_can_be_shown_different():
    """A p after Holm over 55 pairs had its floor at 55 * 2 / 2001 = .055, so that nothing was ever significant."""
    label, predictions, clusters = made(11, clusters=29, better=0.9, seed=5)
    family = judge(all_pairs(cluster_bootstrap(label, predictions, clusters, ("srcc",)), 11))
    assert len(family.p) == 55 and (family.p <= 0.05).sum() >= 8 and family.floor == 1 / 2001


def test_monte_carlo_error_of_an_end_is_what_seeds_give():
    families = []
    values = np.random.default_rng(7).normal(size=(60, 3))
    for seed in range(40):  # the same differences twice: max-t, which knows so, is far below Bonferroni's
        contrasts = all_pairs({"m": linear(values, seed), "twice": linear(2 * values, seed)}, 3)
        families.append(judge(contrasts, 400))
    assert {family.method for family in families} == {"max-t"}
    spread = np.std([family.critical for family in families], ddof=1)
    assert 0.7 < np.mean([family.critical_error for family in families]) / spread < 1.4


def test_more_resamples_begin_with_the_same_ones():
    generator = np.random.default_rng(3)
    parts = [draw(generator, 7, count) for count in (100, 150)]
    np.testing.assert_array_equal(np.concatenate(parts), multiplicities(7, 250, 3))


def test_resamples_are_raised_until_no_verdict_hangs_on_them():
    """A difference whose interval just leaves zero out: 100 resamples leave it open, so more are drawn."""
    values = np.random.default_rng(6).normal(size=(40, 3))
    contrasts = all_pairs({"m": linear(values)}, 3)
    critical = judge(contrasts, 20000).critical
    first = judge(contrasts).error[0]
    values[:, 0] += (critical + 0.3) * first - judge(contrasts).estimate[0]
    contrasts = all_pairs({"m": linear(values)}, 3)
    assert judge(contrasts, 100).verdict()[0] == "undecided"
    family = decided(contrasts, 100, 20000)
    assert family.verdict()[0] == "better" and 100 < family.resamples < 20000
    assert decided(contrasts, 100, 150).resamples == 150


def test_equivalence_needs_both_one_sided_tests():
    """Against statsmodels' two one-sided tests on means."""
    from statsmodels.stats.weightstats import ttost_paired

    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 1)) + 0.3 * rng.normal(size=(40, 2))
    for margin in (0.05, 0.1, 0.15, 0.2, 0.3):
        p = ttost_paired(x[:, 0], x[:, 1], -margin, margin)[0]
        verdict = judge([Contrast(linear(x), 0, 1)]).verdict(margin)[0]
        assert (verdict == "equivalent") == (p < 0.05), (margin, p, verdict)
    assert judge([Contrast(linear(x), 0, 1)]).verdict()[0] == "not shown different"


def test_the_detectable_difference_is_detected_four_times_in_five():
    rng, result, error = np.random.default_rng(0), 0, 1 / np.sqrt(30)
    wide = judge([Contrast(linear(np.random.default_rng(1).normal(size=(30, 1))), 0)])
    difference = wide.detectable[0] / wide.error[0] * error
    for _ in range(400):
        x = rng.normal(size=30) + difference
        result += abs(x.mean()) > wide.critical * stats.sem(x)
    assert 0.74 < result / 400 < 0.86


def test_equal_metrics_and_refused_ones():
    label, predictions, clusters = made(2)
    twice = cluster_bootstrap(label, np.stack([predictions[0], 3 * predictions[0]]), clusters, ("srcc",), 200)["srcc"]
    family = judge([Contrast(twice, 0, 1)])
    assert (family.low[0], family.high[0], family.p[0]) == (0, 0, 1) and family.verdict()[0] == "not shown different"
    for part, message in (("estimate", "no value"), ("jackknife", "no standard error")):
        broken = dataclasses.replace(twice, **{part: np.full_like(getattr(twice, part), np.nan)})
        with pytest.raises(ValueError, match=message):
            judge([Contrast(broken, 0, 1)])
    certain = linear(np.ones((12, 1)))  # a difference that is the same in every reference is not certain
    with pytest.raises(ValueError, match="the same without any one of 12 references"):
        judge([Contrast(certain, 0)])
    with pytest.raises(ValueError, match="at least 19 resamples"):
        judge([Contrast(twice, 0, 1)], 10)
    with pytest.raises(ValueError, match="at least one"):
        judge([])


def test_the_metrics_as_good_as_the_best():
    """Those that no other is shown better than, on independent means of one variance: by Tukey's test, with
    SciPy's quantile, the same. They include those of Hsu 1996 (Multiple comparisons, chapter 4), whose
    one-sided quantile is smaller, and the truly best one nineteen times in twenty."""
    rng, pairs, kept, different = np.random.default_rng(8), list(combinations(range(4), 2)), [], 0
    tukey, one_sided = stats.studentized_range.ppf(0.95, 4, 4 * 59) / np.sqrt(2), equicorrelated(3, False)
    for _ in range(150):
        values = rng.normal(size=(60, 4)) + [0.2, 0.15, 0.0, -0.3]
        verdicts = judge(all_pairs({"m": linear(values)}, 4), 500).verdict()
        verdicts = dict(zip(pairs, verdicts))
        best = set(range(4)) - {b for (a, b), v in verdicts.items() if v == "better"}
        best -= {a for (a, b), v in verdicts.items() if v == "worse"}
        means, error = values.mean(axis=0), np.sqrt(2 * values.var(axis=0, ddof=1).mean() / 60)
        different += best != {m for m in range(4) if means[m] > means.max() - tukey * error}
        assert {m for m in range(4) if means[m] > np.delete(means, m).max() - one_sided * error} <= best
        kept.append(0 in best)
    assert different / 150 < 0.15 and np.mean(kept) >= 0.95


def test_letters():
    # The example of the help page of multcompLetters in R's multcompView: of A, B and C only B and C differ, and one
    # display has no letter too many
    assert letters([[0, 0, 0], [0, 0, 1], [0, 1, 0]]) == ["ab", "a", "b"]
    assert letters(np.ones((3, 3)) - np.eye(3)) == ["a", "b", "c"] and letters(np.zeros((3, 3))) == ["a", "a", "a"]
    rng = np.random.default_rng(0)
    for _ in range(50):
        different = np.triu(rng.random((7, 7)) < 0.5, 1)
        different = different | different.T
        marks = letters(different)
        assert all(marks)
        for i, j in combinations(range(7), 2):
            assert bool(set(marks[i]) & set(marks[j])) != different[i, j]
