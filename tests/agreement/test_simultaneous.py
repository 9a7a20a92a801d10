"""simultaneous.py: one method for interval, p and verdict, which holds what it promises for a whole table at once."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from places import SHARED
from scipy import stats

from agreement.bootstrap import Resampled, cluster_bootstrap
from agreement.simultaneous import Contrast, jackknife_error, judge, letters, single

SCORES = SHARED / "paper" / "scores"


def made(metrics, clusters=30, size=8, seed=0, better=0.0):
    """Label and predictions with noise shared within clusters; metric 0 is better by so much less noise."""
    rng = np.random.default_rng(seed)
    label = np.repeat(rng.normal(size=clusters), size) + rng.normal(size=clusters * size)
    noise = np.repeat(rng.normal(size=(metrics, clusters)), size, axis=1) + rng.normal(size=(metrics, clusters * size))
    noise[0] *= 1 - better
    return label, label + noise, np.repeat(np.arange(clusters), size)


def all_pairs(resampled, metrics):
    return [Contrast(r, a, b) for r in resampled.values() for a, b in combinations(range(metrics), 2)]


def linear(values, resamples=4000, seed=0):
    """Means of columns (C, M) as a Resampled: what normal theory has exact answers for."""
    from agreement.bootstrap import ratio, resample

    return resample(ratio(values, np.ones((len(values), 1))), len(values), resamples, seed)


def test_interval_p_and_verdict_never_contradict_each_other():
    for seed, better in ((0, 0.0), (1, 0.5), (2, 0.8)):
        family = judge(all_pairs(cluster_bootstrap(*made(6, seed=seed, better=better), resamples=500), 6))
        outside = (family.low > 0) | (family.high < 0)
        np.testing.assert_array_equal(outside, family.p <= 0.05)
        verdicts = family.verdict()
        assert set(verdicts[outside]) <= {"better", "worse", "undecided"} and set(verdicts[~outside]) <= {
            "not shown different",
            "undecided",
        }
        assert (family.p_stepdown <= family.p + 1e-12).all() and (family.p >= family.floor - 1e-15).all()


def test_a_single_difference_is_students_interval_of_the_jackknife():
    values = np.random.default_rng(0).normal(size=(20, 1))
    family = judge([Contrast(linear(values, 20000), 0)])
    students = stats.t.interval(0.95, 19, values.mean(), stats.sem(values[:, 0]))
    np.testing.assert_allclose((family.low[0], family.high[0]), students, rtol=0.02, atol=0.01)
    np.testing.assert_allclose(single(Contrast(linear(values, 100), 0)), students, rtol=1e-12)
    assert family.p[0] == pytest.approx(stats.ttest_1samp(values[:, 0], 0).pvalue, abs=0.01)
    assert jackknife_error(linear(values, 100).jackknife[:, 0]) == pytest.approx(stats.sem(values[:, 0]), rel=1e-12)


def test_all_differences_of_means_are_tukeys():
    """Tukey's studentized range is the exact answer for all pairs of independent normal means of one variance."""
    clusters, metrics = 400, 5
    values = np.random.default_rng(1).normal(size=(clusters, metrics))
    family = judge([Contrast(linear(values, 10000), a, b) for a, b in combinations(range(metrics), 2)])
    tukey = stats.studentized_range.ppf(0.95, metrics, (clusters - 1)) / np.sqrt(2)
    assert family.critical == pytest.approx(tukey, rel=0.02)
    assert abs(family.critical - tukey) < 4 * family.critical_error + 0.02


def test_all_against_one_is_dunnetts():
    clusters, metrics = 400, 5
    values = np.random.default_rng(2).normal(size=(clusters, metrics))
    family = judge([Contrast(linear(values, 10000), 0, b) for b in range(1, metrics)])
    # Dunnett 1964 (Biometrics 20, 482-491), table II: two-sided 5 %, four treatments and a control, infinitely many
    # degrees of freedom: 2.44
    assert family.critical == pytest.approx(2.44, abs=0.05)
    everything = judge([Contrast(linear(values, 10000), a, b) for a, b in combinations(range(metrics), 2)])
    assert family.critical < everything.critical


def test_stepdown_p_against_a_plain_implementation():
    """Romano and Wolf's algorithm written out, with resamples that are compared as they stand (many clusters)."""
    values = np.random.default_rng(3).normal(size=(4000, 4)) + [0.05, 0.03, 0.0, 0.04]
    resampled = linear(values, 2000)
    family = judge([Contrast(resampled, m) for m in range(4)])
    t = np.abs(family.estimate) / family.error
    deviations = np.abs(resampled.values - resampled.values.mean(axis=0)) / resampled.values.std(axis=0)
    order, expected, least = np.argsort(-t), np.empty(4), 0.0
    for k in range(4):
        largest = deviations[:, order[k:]].max(axis=1)
        least = max(least, (1 + np.sum(largest >= t[order[k]])) / 2001)
        expected[order[k]] = least
    np.testing.assert_allclose(family.p_stepdown, expected, atol=0.004)


def test_eleven_metrics_can_be_shown_different():
    """A p after Holm over 55 pairs had its floor at 55 * 2 / 2001 = .055, so that nothing was ever significant."""
    label, predictions, clusters = made(11, clusters=29, better=0.9, seed=5)
    family = judge(all_pairs(cluster_bootstrap(label, predictions, clusters, ("srcc",)), 11))
    assert len(family.p) == 55 and (family.p <= 0.05).sum() >= 8 and family.floor == 1 / 2001


def test_monte_carlo_error_of_an_end_is_what_seeds_give():
    data = made(4, seed=7)
    families = [judge(all_pairs(cluster_bootstrap(*data, ("plcc",), 400, seed), 4)) for seed in range(40)]
    spread = np.std([family.critical for family in families], ddof=1)
    assert 0.6 < np.mean([family.critical_error for family in families]) / spread < 1.6


def test_more_resamples_begin_with_the_same_ones():
    resampled = cluster_bootstrap(*made(3), ("srcc",), 100)["srcc"]
    more = resampled.extended(250)
    np.testing.assert_array_equal(more.values[:100], resampled.values)
    np.testing.assert_allclose(more.values, cluster_bootstrap(*made(3), ("srcc",), 250)["srcc"].values, atol=1e-12)


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
    broken = Resampled(twice.estimate, np.full_like(twice.values, np.nan), twice.jackknife, twice.each, 30)
    with pytest.raises(ValueError, match="200 of 200 resamples"):
        judge([Contrast(broken, 0, 1)])
    with pytest.raises(ValueError, match="at least one"):
        judge([])


def test_letters():
    # multcompView (R), example of multcompLetters: a-b and a-c not different, b-c different: a "ab", b "a", c "b"
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


def released(dataset, methods):
    """label (N,), predictions (M, N) oriented, references (N,) of the authors' released files, joined by name."""
    tables = [pd.read_csv(SCORES / f"{dataset}_{m}.csv") for m in methods]
    tables = [t.assign(dis=t["dis"].str.lower()).sort_values("dis").reset_index(drop=True) for t in tables]
    sign = [1 if m == "psnr" else -1 for m in methods]
    label = tables[0]["mos"].to_numpy() * (1 if dataset == "pipal" else -1)
    return (
        label,
        np.stack([s * t["pred"].to_numpy() for s, t in zip(sign, tables)]),
        tables[0]["ref"].str.lower().to_numpy(),
    )


needs_scores = pytest.mark.skipif(not SCORES.is_dir(), reason="the authors' released score files are not there")


@needs_scores
@pytest.mark.slow
def test_coverage_with_25_of_pipals_references():
    """What compare.py prints for few references: 25 references drawn from PIPAL's 200, 40 images each, six metrics."""
    methods = ("dinov1_l2", "clip_vitb32_l2", "fsim", "psnr", "stlpips_alex", "embed_dinov1_cos")
    label, predictions, references = released("pipal", methods)
    truth = {name: r.estimate for name, r in cluster_bootstrap(label, predictions, references, resamples=2).items()}
    label, predictions = label.reshape(200, 116), predictions.reshape(-1, 200, 116)
    rng, hits = np.random.default_rng(1), {}
    pairs = list(combinations(range(len(methods)), 2))
    for simulation in range(300):
        drawn = rng.integers(200, size=25)
        images = np.array([rng.choice(116, 40, replace=False) for _ in drawn])
        y, x = label[drawn[:, None], images].ravel(), predictions[:, drawn[:, None], images].reshape(len(methods), -1)
        for name, r in cluster_bootstrap(y, x, np.repeat(np.arange(25), 40), resamples=500, seed=simulation).items():
            for a, b in pairs:
                true = truth[name][a] - truth[name][b]
                low, high = single(Contrast(r, a, b))
                hits.setdefault((name, "t", a, b), []).append(low <= true <= high)
                low, high = r.interval(a, b)
                hits.setdefault((name, "percentile", a, b), []).append(low <= true <= high)
            family = judge([Contrast(r, a, b) for a, b in pairs])
            true = np.array([truth[name][a] - truth[name][b] for a, b in pairs])
            hits.setdefault((name, "all at once"), []).append(((family.low <= true) & (true <= family.high)).all())
    shares = {key: np.mean(value) for key, value in hits.items()}
    t = [share for key, share in shares.items() if key[1] == "t"]
    percentile = [share for key, share in shares.items() if key[1] == "percentile"]
    print("t", min(t), np.mean(t), max(t), "percentile", min(percentile), np.mean(percentile), max(percentile))
    print({key: share for key, share in shares.items() if key[1] == "all at once"})
    assert 0.935 < np.mean(t) < 0.96 and min(t) > 0.9 and np.mean(percentile) < 0.925
    assert all(0.87 < share < 0.97 for key, share in shares.items() if key[1] == "all at once")


@needs_scores
@pytest.mark.slow
def test_exchangeable_metrics_are_rarely_called_different():
    """TID2013, the predictions of two metrics swapped by reference at random: neither can be better. 100
    simulations."""
    import dataclasses

    from reports.compare import Settings, compare
    from reports.compare.grouping import read_groups

    [group] = read_groups([SCORES / "tid2013_dinov1_l2.csv", SCORES / "tid2013_clip_vitb32_l2.csv"])
    names = np.unique(group.references)
    rng, reversals, different = np.random.default_rng(0), 0, 0
    settings = Settings(resamples=500, most_resamples=500)
    ranked = np.stack([stats.rankdata(p) for p in group.predictions])  # one scale, so that swapping mixes nothing else
    for _ in range(100):
        swap = np.isin(group.references, names[rng.random(len(names)) < 0.5])
        mixed = np.where(swap, ranked[::-1], ranked)
        results, _ = compare([dataclasses.replace(group, predictions=mixed)], settings)
        [entry], [row] = results["audit"], results["groups"][0]["pairwise"]
        reversals += entry["verdict"] == "reverses"
        different += row["pooled"]["srcc"]["verdict"] in ("better", "worse")
    print(f"reverses in {reversals} of 100, pooled SRCC called different in {different} of 100")
    assert reversals <= 5 and different <= 5
