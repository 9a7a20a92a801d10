"""across.py: Demsar's worked example, and statsmodels for the random effects."""

import numpy as np
import pytest
from scipy import stats

from agreement.across import friedman_nemenyi, random_effects

# Demsar 2006, table 6: AUC of C4.5, C4.5+m, C4.5+cf, C4.5+m+cf on 14 data sets; of the two that are printed as 0.975 in
# one row the first is ranked 2 there, the second 3
DEMSAR = np.array([
    [0.763, 0.768, 0.771, 0.798], [0.599, 0.591, 0.590, 0.569], [0.954, 0.971, 0.968, 0.967],
    [0.628, 0.661, 0.654, 0.657], [0.882, 0.888, 0.886, 0.898], [0.936, 0.931, 0.916, 0.931],
    [0.661, 0.668, 0.609, 0.685], [0.583, 0.583, 0.563, 0.625], [0.775, 0.838, 0.866, 0.875],
    [1.000, 1.000, 1.000, 1.000], [0.940, 0.962, 0.965, 0.962], [0.619, 0.666, 0.614, 0.669],
    [0.972, 0.981, 0.9752, 0.9748], [0.957, 0.978, 0.946, 0.970],
])  # fmt: skip


def test_demsars_example():
    """Section 3.2.2: mean ranks 3.143, 2.000, 2.893, 1.964 and CD 1.25; his chi-square, 9.28, leaves the correction for
    ties out. Orange, his own program, draws its example of a critical-difference diagram from the same ranks."""
    ranks = friedman_nemenyi(DEMSAR)
    assert ranks.mean == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)
    assert ranks.critical == pytest.approx(1.25, abs=5e-3)
    uncorrected = 12 * 14 / (4 * 5) * (np.sum(ranks.mean**2) - 4 * 5**2 / 4)
    assert uncorrected == pytest.approx(9.28, abs=0.01)
    assert ranks.statistic >= uncorrected and ranks.p == pytest.approx(stats.chi2.sf(ranks.statistic, 3))


def test_random_effects_are_statsmodels():
    from statsmodels.stats.meta_analysis import combine_effects

    rng = np.random.default_rng(0)
    for spread in (0.02, 0.05):  # where nothing is between datasets, theirs goes below zero
        differences = 0.03 + spread * rng.normal(size=5) + 0.01 * rng.normal(size=5)
        errors = rng.uniform(0.008, 0.02, 5)
        expected = combine_effects(differences, errors**2, method_re="dl", use_t=True)
        effect = random_effects(differences, errors)
        assert effect.between**2 == pytest.approx(max(0, expected.tau2), abs=1e-12)
        assert effect.estimate == pytest.approx(expected.mean_effect_re, abs=1e-9)
        half = stats.t.ppf(0.975, 4) * expected.sd_eff_w_re_hksj
        assert (effect.low, effect.high) == pytest.approx((effect.estimate - half, effect.estimate + half), abs=1e-9)


def test_too_little():
    with pytest.raises(ValueError, match="2 datasets and 3 metrics"):
        friedman_nemenyi([[1, 2, 3]])
    with pytest.raises(ValueError, match="at least 2 differences"):
        random_effects([0.1], [0.1])
