"""Coefficients equal SciPy's, fits recover what made the data, errors follow ITU-T P.1401,
and nothing comes from bad input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from agreement.correlations import coefficients, krcc, margin, outlier_ratio, plcc, rmse, rmse_star, srcc
from agreement.fits import MAPPINGS, fit


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 200), st.sampled_from([3, 10, 10**6]))
def test_coefficients_equal_scipy_with_ties(seed, n, values):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, values, (2, n)).astype(float)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return
    expected = stats.pearsonr(x, y).statistic, stats.spearmanr(x, y).statistic, stats.kendalltau(x, y).statistic
    assert tuple(coefficients(x, y).values()) == pytest.approx(expected, abs=1e-12)


def test_the_sign_is_kept():
    x = np.array([1.0, 2, 3, 5])
    assert [f(-x, x) for f in (plcc, srcc, krcc)] == pytest.approx([-1, -1, -1])


@pytest.mark.parametrize("function", [plcc, srcc, krcc, coefficients, lambda x, y: fit("logistic4", x, y)])
@pytest.mark.parametrize(
    "x, y, message",
    [
        ([1, 2, np.nan, 4, 5, 6], [1, 2, 3, 4, 5, 6], "finite predictions, found 1"),
        ([1, 2, 3, 4, 5, 6], [1, 2, np.inf, 4, 5, 6], "finite labels, found 1"),
        ([1, 2, 3], [1, 2], "one length, found shapes"),
        ([1], [1], "at least . pairs, found 1"),
        ([2, 2, 2, 2, 2, 2], [1, 2, 3, 4, 5, 6], "predictions that differ, found 6 times 2"),
        ([1, 2, 3, 4, 5, 6], [3, 3, 3, 3, 3, 3], "labels that differ, found 6 times 3"),
    ],
)
def test_bad_input_gives_no_number(function, x, y, message):
    with pytest.raises(ValueError, match=message):
        function(x, y)


def test_importing_costs_nothing_heavy():
    import subprocess
    import sys

    code = "import sys, compare; sys.exit(bool({'torch', 'pandas', 'scipy', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


TRUE = {"logistic4": (90.0, 10.0, 3.0, 0.7), "logistic5": (40.0, 1.5, 4.0, 3.0, 30.0), "cubic": (5.0, 3.0, 0.4, 0.05)}


@pytest.mark.parametrize("name", MAPPINGS)
@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_fits_recover_known_parameters(name, noise):
    x = np.random.default_rng(0).uniform(0, 8, 3000)
    b = TRUE[name]
    y = {
        "logistic4": lambda: b[1] + (b[0] - b[1]) / (1 + np.exp(-(x - b[2]) / b[3])),
        "logistic5": lambda: b[0] * (0.5 - 1 / (1 + np.exp(b[1] * (x - b[2])))) + b[3] * x + b[4],
        "cubic": lambda: b[0] + b[1] * x + b[2] * x**2 + b[3] * x**3,
    }[name]()
    result = fit(name, x, y + noise * np.random.default_rng(1).normal(size=len(x)))
    assert result.parameters == pytest.approx(b, rel=1e-4 if noise == 0 else 0.08)
    assert result.converged and result.monotonic and result.agreeing >= 1
    assert rmse(result(x), y) < (1e-4 if noise == 0 else 0.1)


def test_a_fit_is_no_worse_than_scipys_from_the_true_start():
    """scipy.optimize.curve_fit, started at the truth and free of bounds, is the independent implementation."""
    from scipy.optimize import curve_fit

    rng = np.random.default_rng(3)
    x = rng.gamma(2, 1, 500)
    y = 80 / (1 + np.exp(-(x - 1) / 0.8)) + 8 * rng.normal(size=500)

    def formula(x, b1, b2, b3, b4):
        return b2 + (b1 - b2) / (1 + np.exp(-(x - b3) / b4))

    scipys, _ = curve_fit(formula, x, y, p0=(80, 0, 1, 0.8), maxfev=20000)
    ours = fit("logistic4", x, y)
    assert rmse(ours(x), y) <= rmse(formula(x, *scipys), y) * (1 + 1e-6)
    assert ours.parameters == pytest.approx(scipys, rel=1e-2)


def test_units_do_not_matter():
    rng = np.random.default_rng(4)
    x = rng.uniform(0, 1, 300)
    y = np.tanh(3 * x - 1) + 0.1 * rng.normal(size=300)
    for name in MAPPINGS:
        a, b = fit(name, x, y)(x), fit(name, 1e-4 * x + 7, 1e5 * y - 3)(1e-4 * x + 7)
        np.testing.assert_allclose((b + 3) / 1e5, a, atol=1e-5)


def test_a_curve_that_falls_is_said_to():
    rng = np.random.default_rng(5)
    x = rng.uniform(-1, 1, 300)
    assert not fit("logistic5", x, x**2 + 0.05 * rng.normal(size=300)).monotonic
    assert not fit("cubic", x, -x + 0.05 * rng.normal(size=300)).monotonic  # the best that rises is flat
    assert not fit("logistic4", x, -x + 0.05 * rng.normal(size=300)).monotonic  # a metric that disagrees with people
    assert fit("cubic", x, x + 0.05 * rng.normal(size=300)).monotonic


@pytest.mark.parametrize("curve", [lambda x: x**2, lambda x: np.sin(4 * x), lambda x: x**3 - 0.5 * x, lambda x: x])
def test_a_cubic_is_the_best_one_that_rises(curve):
    """scipy's SLSQP under a slope of 0 or more at 200 places is the independent implementation."""
    from scipy.optimize import minimize

    rng = np.random.default_rng(6)
    x = rng.uniform(-0.4, 1, 400)
    y = curve(x) + 0.05 * rng.normal(size=400)
    result, places = fit("cubic", x, y), np.linspace(x.min(), x.max(), 200)
    slopes = np.stack([0 * places, 1 + 0 * places, 2 * places, 3 * places**2], axis=1)
    basis = np.stack([np.ones_like(x), x, x**2, x**3], axis=1)
    best = minimize(
        lambda b: np.mean((basis @ b - y) ** 2),
        np.polynomial.polynomial.polyfit(x, y, 1).tolist() + [0, 0],
        jac=lambda b: 2 * basis.T @ (basis @ b - y) / len(x),
        constraints={"type": "ineq", "fun": lambda b: slopes @ b, "jac": lambda b: slopes},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    free = np.polynomial.polynomial.polyfit(x, y, 3)
    assert result.monotonic and result.constrained == bool((slopes @ free < -1e-6).any())
    assert np.mean((result(x) - y) ** 2) == pytest.approx(best.fun, rel=2e-3)


def test_data_that_do_not_level_off_are_said_to_be_unbounded():
    x = np.linspace(0, 3, 400)
    for y, end in ((-np.exp(-x), "low"), (np.exp(x), "high"), (x + 1e-3 * np.sin(x), "both")):
        result = fit("logistic4", x, y)  # an exponential: one asymptote is out of sight; a line: both are
        assert result.converged and result.unbounded == end and rmse(result(x), y) < 1e-2 * np.std(y)
    bend = 1 / (1 + np.exp(-3 * (x - 1.5)))
    assert fit("logistic4", x, bend).unbounded == "" and fit("logistic4", x, x > 1.5).unbounded == "step"


def test_errors_by_hand():
    """Errors 0, 1, 2, 3 with half widths 1.5: 0, 0, 0.5, 1.5 remain; P.1401 divides by N - d."""
    label, mapped, half = np.array([1.0, 2, 3, 4]), np.array([1.0, 3, 5, 7]), np.full(4, 1.5)
    assert rmse(mapped, label) == pytest.approx(np.sqrt(14 / 4))
    assert rmse(mapped, label, parameters=2) == pytest.approx(np.sqrt(14 / 2))
    assert rmse_star(mapped, label, half) == pytest.approx(np.sqrt((0.25 + 2.25) / 4))
    assert outlier_ratio(mapped, label, half) == 0.5
    assert margin(np.array([2.0]), raters=16) == pytest.approx(
        2.131449546 * 2 / 4
    )  # Student's t, 15 degrees of freedom
    assert margin(np.array([0.5])) == pytest.approx(0.979982)
    with pytest.raises(ValueError, match="more than 4 pairs"):
        rmse(mapped, label, parameters=4)
