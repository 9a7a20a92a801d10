"""Metrics over several datasets: ranks (Friedman, Nemenyi) and the mean difference (random effects). Numbers in,
numbers out.

Three datasets carry little: with three, Friedman's test of four metrics needs nearly the same order in all of them.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Ranks(NamedTuple):
    """Of k metrics on N datasets, 1 the best; metrics whose mean ranks differ by less than critical are not shown
    different."""

    mean: np.ndarray  # (k,)
    statistic: float  # Friedman's chi-square, k - 1 degrees of freedom, corrected for ties
    p: float
    critical: float  # Nemenyi's critical difference of mean ranks


def friedman_nemenyi(scores: ArrayLike, level: float = 0.95) -> Ranks:
    """Ranks of scores (datasets, metrics), higher = better.

    Raises ValueError for fewer than 2 datasets or 3 metrics, or a dataset without a score. Source: Demsar 2006,
    Statistical comparisons of classifiers over multiple data sets, Journal of Machine Learning Research 7, 1-30.
    """
    from scipy import stats

    scores = np.asarray(scores, dtype=float)
    datasets, metrics = scores.shape
    if datasets < 2 or metrics < 3:
        raise ValueError(f"expected at least 2 datasets and 3 metrics, found {datasets} and {metrics}")
    if not np.isfinite(scores).all():
        raise ValueError("expected a score of every metric on every dataset")
    mean = stats.rankdata(-scores, axis=1).mean(axis=0)
    statistic, p = stats.friedmanchisquare(*scores.T)
    quantile = stats.studentized_range.ppf(level, metrics, np.inf) / np.sqrt(2)
    critical = quantile * np.sqrt(metrics * (metrics + 1) / (6 * datasets))
    return Ranks(mean, float(statistic), float(p), float(critical))


class Effect(NamedTuple):
    """A mean difference over datasets, each taken as a draw from datasets like these."""

    estimate: float
    low: float
    high: float
    between: float  # standard deviation of the difference between datasets
    datasets: int


def random_effects(differences: ArrayLike, errors: ArrayLike, level: float = 0.95) -> Effect:
    """Mean of differences (N,) with standard errors (N,) of N datasets -> Effect.

    Between datasets: DerSimonian and Laird 1986 (Controlled Clinical Trials 7, 177-188). Interval: Hartung and Knapp
    2001 (Statistics in Medicine 20, 3875-3889), Student's t with N - 1 degrees of freedom. Raises ValueError for fewer
    than 2, or an error that is 0.
    """
    from scipy import stats

    differences, variances = np.asarray(differences, dtype=float), np.asarray(errors, dtype=float) ** 2
    count = len(differences)
    if count < 2 or not (variances > 0).all():
        raise ValueError(f"expected at least 2 differences with errors above 0, found {np.sum(variances > 0)}")
    weights = 1 / variances
    fixed = np.sum(weights * differences) / weights.sum()
    excess = np.sum(weights * (differences - fixed) ** 2) - (count - 1)
    between = max(0.0, excess / (weights.sum() - np.sum(weights**2) / weights.sum()))
    weights = 1 / (variances + between)
    estimate = np.sum(weights * differences) / weights.sum()
    error = np.sqrt(np.sum(weights * (differences - estimate) ** 2) / ((count - 1) * weights.sum()))
    wide = stats.t.ppf((1 + level) / 2, count - 1) * error
    return Effect(float(estimate), float(estimate - wide), float(estimate + wide), float(np.sqrt(between)), count)
