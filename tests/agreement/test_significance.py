"""Tests of dependent correlations against worked examples from the literature;
Krasula's analysis against a case by hand."""

import numpy as np
import pytest

from agreement.bootstrap import multiplicities
from agreement.krasula import different, krasula, pairs_of_images
from agreement.significance import TESTS, holm, meng, steiger, williams, zou
from agreement.stability import flip_rate, floor_percentile


def test_williams_reproduces_steigers_case_a():
    """Steiger 1980, case A: r12 = .4, r13 = .5, r23 = .1, N = 103. Revelle's R package psych 2.2.9, r.test(n=103,
    r12=.4, r13=.5, r23=.1), whose help page works this example, gives t = -0.8912799048, p = 0.3749185175."""
    assert williams(0.4, 0.5, 0.1, 103) == pytest.approx((-0.8912799048, 0.3749185175), abs=1e-9)


def test_williams_reproduces_psych_on_zous_example():
    """psych 2.2.9: r.test(n=66, r12=.396, r13=.179, r23=.088) gives t = 1.380949163, p = 0.17217382."""
    assert williams(0.396, 0.179, 0.088, 66) == pytest.approx((1.380949163, 0.17217382), abs=1e-8)


def test_steiger_reproduces_case_a():
    """The formula for two pairs of variables, where they share one, at the pooled r = .45: psych 2.2.9,
    r.test(n=103, r12=.4, r34=.5, r13=1, r14=.45, r23=.45, r24=.1) gives z = -0.88871847, and so
    do the tests of R's cocor (Diedenhofen, Musch 2015); the paper, which rounds on the way, has -.8913."""
    assert steiger(0.4, 0.5, 0.1, 103)[0] == pytest.approx(-0.88871847, abs=1e-8)


def test_meng_reproduces_its_papers_example():
    """Meng, Rosenthal, Rubin 1992, example 1: r = .63 and -.03 with N = 15 and -.19 between the predictors:
    Z = 1.68, one-sided p = .047 (also in the tests of R's cocor)."""
    z, p = meng(0.63, -0.03, -0.19, 15)
    assert z == pytest.approx(1.68, abs=0.005) and p / 2 == pytest.approx(0.047, abs=5e-4)


def test_zou_reproduces_its_papers_example():
    """Zou 2007, overlapping dependent correlations: r12 = .396, r13 = .179, r23 = .088, N = 66:
    interval (-.093, .517) (also in the tests of R's cocor)."""
    assert zou(0.396, 0.179, 0.088, 66) == pytest.approx((-0.093, 0.517), abs=5e-4)


@pytest.mark.parametrize("name", TESTS)
def test_the_tests_keep_their_level_and_find_differences(name):
    """On independent normal data, where their assumptions hold:
    5 % false alarms, and antisymmetric in the two metrics."""
    rng, alarms = np.random.default_rng(1), []
    for _ in range(1500):
        label, shared, a, b = rng.normal(size=(4, 80))
        x, y = label + shared + a, label + shared + b
        r = np.corrcoef([label, x, y])
        alarms.append(TESTS[name](r[0, 1], r[0, 2], r[1, 2], 80)[1] < 0.05)
    assert 0.035 < np.mean(alarms) < 0.066
    statistic, p = TESTS[name](0.8, 0.6, 0.5, 100)
    assert statistic > 0 and p < 0.01 and TESTS[name](0.6, 0.8, 0.5, 100) == pytest.approx((-statistic, p))


def test_zous_interval_covers():
    rng, hits = np.random.default_rng(2), []
    for _ in range(1000):
        label, a, b = rng.normal(size=(3, 60))
        r = np.corrcoef([label, label + a, label + 2 * b])
        low, high = zou(r[0, 1], r[0, 2], r[1, 2], 60)
        hits.append(low <= 1 / np.sqrt(2) - 1 / np.sqrt(5) <= high)
    assert 0.93 < np.mean(hits) < 0.97


def test_impossible_correlations_give_no_number():
    for function in (*TESTS.values(), zou):
        with pytest.raises(ValueError, match="one up to scale"):
            function(0.5, 0.5, 1.0, 50)
        with pytest.raises(ValueError, match="cannot be correlations"):
            function(0.9, -0.9, 0.9, 50)
        with pytest.raises(ValueError, match="at least 4"):
            function(0.5, 0.4, 0.3, 3)


def test_holm_by_hand():
    """Sorted .005 x 4, .01 x 3, .03 x 2, .04 x 1, each at least its predecessor: .02, .03, .06, .06."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])


def test_krasula_by_hand():
    """Labels 0, 1, 5, 6 with standard error 1: |difference| > 1.96 sqrt 2 = 2.77 for four of the six pairs of images.

    Predictions 0, 3, 2, 8. |Differences| of the pairs that differ: 2 (0-2), 8 (0-3), 1 (1-2, in the wrong order), 5
    (1-3); of the similar: 3 (0-1), 6 (2-3). Different above similar: 2 none, 8 both, 1 none, 5 one of two: 3 of 8.
    Signed differences of the better: 2, 8, -1, 5 against their mirror images -2, -8, 1, -5: 2 is above all 4, 8 above
    4, -1 above 3 (-2, -8, -5), 5 above 4: 15 of 16.
    Three of four in the right order.
    """
    label, prediction, error = np.array([0.0, 1, 5, 6]), np.array([0.0, 3, 2, 8]), np.ones(4)
    better = different(label, error, *np.triu_indices(4, 1))
    assert list(better) == [0, -1, -1, -1, -1, 0]
    shares = krasula(label, prediction, error, ["a", "a", "b", "b"], resamples=100)
    assert (shares["pairs"], shares["different"]) == (6, 4)
    assert [shares[name].estimate[0] for name in ("different_similar", "better_worse", "correct")] == pytest.approx(
        [3 / 8, 15 / 16, 3 / 4]
    )


# the areas of resamples are binned: exact where the predictions' differences have fewer values than there are bins
@pytest.mark.parametrize("step, close", [(2**-40, 1e-3), (2**-3, 1e-12)])
def test_krasulas_resamples_equal_the_resample_written_out(step, close):
    rng = np.random.default_rng(8)
    cluster, label = np.repeat(np.arange(6), 10), rng.normal(size=60)
    prediction, error = ((label + rng.normal(size=60)) / step).round() * step, np.full(60, 0.3)
    shares = krasula(label, prediction, error, cluster, resamples=5, seed=2)

    def area(positive, negative):
        return (np.sign(positive[:, None] - negative).mean() + 1) / 2

    for draw, *values in zip(
        multiplicities(6, 5, 2),
        *(shares[name].values[:, 0] for name in ("different_similar", "better_worse", "correct")),
    ):
        rows = np.repeat(np.arange(60), draw[cluster].astype(int))
        i, j = np.triu_indices(len(rows), 1)
        better = different(label[rows], error[rows], i, j)
        other = rows[i] != rows[j]  # an image is not compared with its own copy
        difference, better = (prediction[rows][i] - prediction[rows][j])[other], better[other]
        known, signed = better != 0, (difference * better)[better != 0]
        expected = (
            area(np.abs(difference)[known], np.abs(difference)[~known]),
            area(signed, -signed),
            np.mean(signed > 0),
        )
        assert values == pytest.approx(expected, abs=close)
        assert values[2] == pytest.approx(expected[2], abs=1e-12)


@pytest.mark.parametrize("images, block", [(2, 1), (5, 1), (5, 4), (5, 7), (5, 100), (60, 50)])
def test_pairs_of_images_in_blocks_are_all_pairs_in_order(images, block):
    parts = list(pairs_of_images(images, block))
    expected = np.triu_indices(images, 1)
    assert [np.concatenate([part[k] for part in parts]).tolist() for k in (1, 2)] == [list(e) for e in expected]
    assert [place.start for place, *_ in parts] == [0, *(place.stop for place, *_ in parts[:-1])]
    assert all(len(i) == place.stop - place.start <= max(block, images - 1) for place, i, _ in parts)


@pytest.mark.parametrize("decimals", [12, 1])  # predictions without and with ties
def test_krasula_in_blocks_is_krasula(decimals, monkeypatch):
    rng = np.random.default_rng(9)
    cluster, label = np.repeat(np.arange(6), 10), rng.normal(size=60)
    prediction, error = (label + rng.normal(size=60)).round(decimals), np.full(60, 0.3)
    whole = krasula(label, prediction, error, cluster, resamples=50)
    monkeypatch.setattr(pairs_of_images, "__defaults__", (100,))
    in_blocks = krasula(label, prediction, error, cluster, resamples=50)
    for name in ("different_similar", "better_worse", "correct"):
        for part in ("estimate", "values", "jackknife", "each"):
            np.testing.assert_array_equal(getattr(whole[name], part), getattr(in_blocks[name], part))


def test_krasula_refuses():
    label, prediction = np.array([0.0, 1, 5, 6]), np.array([0.0, 3, 2, 8])
    with pytest.raises(ValueError, match="6 of 6 differ"):
        krasula(label, prediction, np.full(4, 0.01), list("aabb"))
    with pytest.raises(ValueError, match="positive standard errors"):
        krasula(label, prediction, np.array([1.0, 0, 1, 1]), list("aabb"))


def test_rank_flips_by_hand():
    """Reference a: of three pairs, (1, 2) and (1, 3) keep their order and (2, 3) turns. b's one pair becomes equal:
    no flip."""
    result = flip_rate(np.array([1.0, 2, 3, 5, 6]), np.array([1.0, 9, 8, 4, 4]), list("aaabb"), resamples=100)
    assert result.estimate[0] == pytest.approx(1 / 4)
    assert result.each[:, 0] == pytest.approx([1 / 3, 0])
    with pytest.raises(ValueError, match="no order to flip"):
        flip_rate(np.array([1.0, 1, 3, 5]), np.array([1.0, 9, 8, 4]), list("aabb"))


def test_noise_floor_by_hand():
    """a: floor 2.5 is worse than two of four distortions, 50; b: floor 0 is worse than none, 0;
    mean 25, in any order."""
    plain, cluster = np.array([1.0, 2, 3, 4, 1, 2]), np.array(list("aaaabb"))
    for floor, names in (([2.5, 0.0], ["a", "b"]), ([0.0, 2.5], ["b", "a"])):
        result = floor_percentile(np.array(floor), np.array(names), plain, cluster, resamples=50)
        assert result.estimate[0] == pytest.approx(25) and result.each[:, 0] == pytest.approx([50, 0])
    with pytest.raises(ValueError, match="each of 2 references, found 1"):
        floor_percentile(np.array([2.5]), np.array(["a"]), plain, cluster)
