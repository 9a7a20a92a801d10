"""ceiling.py: what the truth itself reaches on noisy labels, in models where it is known."""

import numpy as np
import pytest
from scipy import stats

from agreement.ceiling import noise_ceiling


@pytest.mark.parametrize("noise", [0.2, 0.5, 1.0])
def test_it_is_what_the_truth_reaches(noise):
    rng = np.random.default_rng(0)
    truth = rng.normal(size=4000)
    label = truth + noise * rng.normal(size=4000)
    result = noise_ceiling(label, np.full(4000, noise), draws=30)
    rho = 1 / np.sqrt(1 + noise**2)
    # of bivariate normal variables: Pearson 1907 for Spearman's, Greiner 1909 for Kendall's coefficient
    expected = {"plcc": rho, "srcc": 6 / np.pi * np.arcsin(rho / 2), "krcc": 2 / np.pi * np.arcsin(rho)}
    for name, function in (("plcc", stats.pearsonr), ("srcc", stats.spearmanr), ("krcc", stats.kendalltau)):
        assert result[name] == pytest.approx(expected[name], abs=0.025)
        assert result[name] == pytest.approx(function(truth, label).statistic, abs=0.025)
    assert result["reliability"] == pytest.approx(rho**2, abs=0.02)


def test_unequal_errors_and_none():
    rng = np.random.default_rng(1)
    error = rng.uniform(0, 1, 3000)
    truth = rng.uniform(0, 4, 3000)
    label = truth + error * rng.normal(size=3000)
    result = noise_ceiling(label, error, draws=30)
    assert result["srcc"] == pytest.approx(stats.spearmanr(truth, label).statistic, abs=0.01)
    assert noise_ceiling(truth, np.zeros(3000), draws=2)["krcc"] == 1


def test_what_has_no_ceiling():
    with pytest.raises(ValueError, match="no more than their standard errors"):
        noise_ceiling([1.0, 2, 3], [5, 5, 5])
    with pytest.raises(ValueError, match="standard errors of 0 or more"):
        noise_ceiling([1.0, 2, 3], [1, -1, 1])
