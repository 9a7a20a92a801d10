"""The tests that reviewers ask for by name, and how far data with clusters breaks them: numbers in, numbers out.

    test = variance_test(residual_a, residual_b, clusters)   # Sheikh's F-test; F above 1: a fits better
    test.p, test.p_clusters, test.times

All of them take the pairs of images as independent draws, and the two metrics as if they were seen on different
images. Neither is so: pairs of one reference go together, and both metrics see the same pairs. So each comes with
`times`, the standard error of its statistic as it varies between clusters (jackknife) over the one that its formula
assumes, and with p_clusters, the p that follows from the former. times above 1: the formula promises more certainty
than there is; below 1: it sees less than there is. The F-tests also take the residuals as normal: `kurtosis`.

Sources: Sheikh, Sabir, Bovik 2006 (IEEE TIP 15(11), 3440-3451; residual variances, kurtosis between 2 and 4); ITU-T
P.1401 (2020), 7.6.2 (outlier ratios), 7.6.4 and 7.7 (RMSE, RMSE*); Bonett, Wright 2000 (Psychometrika 65, 23-28; the
standard error of Spearman's z).
"""

from typing import NamedTuple

import numpy as np

from agreement.simultaneous import jackknife_error

GAUSSIAN = 2.0, 4.0  # Sheikh, Sabir, Bovik 2006: residuals with a kurtosis between these count as Gaussian


class Outcome(NamedTuple):
    """A test of a against b; the larger the statistic, the smaller are a's errors beside b's."""

    statistic: float  # F, b's mean square over a's, or z
    p: float  # two-sided, pairs taken as independent
    estimate: float  # ln F, or the outlier ratio of b minus that of a
    p_clusters: float  # two-sided, Student's t with clusters - 1 degrees of freedom on estimate / jackknife error
    times: float  # standard error of the estimate between clusters / the one that the formula assumes


def kurtosis(residual: np.ndarray) -> float:
    """Fourth central moment over the squared variance (N,) -> float, 3 for a normal distribution.

    Raises ValueError for fewer than 4 residuals or residuals that do not differ.
    """
    residual = np.asarray(residual, dtype=float)
    if len(residual) < 4 or np.ptp(residual) == 0:
        raise ValueError(f"expected at least 4 residuals that differ, found {len(residual)}")
    centred = residual - residual.mean()
    return float(np.mean(centred**4) / np.mean(centred**2) ** 2)


def gaussian(kurtosis: float) -> bool:
    """Sheikh's criterion: whether residuals of this kurtosis count as Gaussian."""
    return GAUSSIAN[0] < kurtosis < GAUSSIAN[1]


def variance_test(residual_a: np.ndarray, residual_b: np.ndarray, clusters: np.ndarray) -> Outcome:
    """F-test of the variances of two metrics' residuals (N,), mapped prediction minus label, clusters (N,) -> Outcome.

    N - 1 degrees of freedom each. Raises as mean_square_test. Source: Sheikh, Sabir, Bovik 2006.
    """
    a, b = (np.asarray(r, dtype=float) - np.mean(r) for r in (residual_a, residual_b))
    return mean_square_test(a, b, clusters, 1)


def mean_square_test(error_a: np.ndarray, error_b: np.ndarray, clusters: np.ndarray, parameters: int) -> Outcome:
    """F-test of RMSE, or of RMSE* where the errors are what exceeds the label's interval, (N,) each -> Outcome.

    parameters: of the fitted mapping, degrees of freedom that each of the mean squares has lost. P.1401 compares the
    larger over the smaller with a one-sided quantile; p here is two-sided, as which is larger is not known before.
    Raises ValueError for lengths that differ, fewer than 2 clusters, no more pairs than parameters, or a metric
    without errors (also: without those of one cluster). Source: ITU-T P.1401 (2020), 7.6.4 and 7.7.
    """
    from scipy import stats

    squares = _side_by_side(error_a, error_b, clusters) ** 2
    freedom = len(squares) - parameters
    if freedom < 1:
        raise ValueError(f"expected more than {parameters} pairs, found {len(squares)}")
    left_out = _without_each(squares, clusters)
    if not (left_out > 0).all():
        raise ValueError("a metric without any error, or none but in one reference, has no variance to compare")
    estimate = float(np.diff(np.log(squares.mean(axis=0)))[0])
    ratio = float(np.exp(estimate))
    assumed = np.sqrt(4 / freedom)  # of ln F for normal errors: 2 / freedom each
    error = jackknife_error(np.log(left_out[:, 1]) - np.log(left_out[:, 0]))
    p = min(1.0, 2 * float(stats.f.sf(np.exp(abs(estimate)), freedom, freedom)))
    return Outcome(ratio, p, estimate, *_between(estimate, error, assumed, len(left_out)))


def outlier_test(outlier_a: np.ndarray, outlier_b: np.ndarray, clusters: np.ndarray) -> Outcome:
    """Difference of two outlier ratios, by the pooled normal approximation of two binomials; booleans (N,) -> Outcome.

    Raises ValueError for lengths that differ, fewer than 2 clusters, or where none or all pairs are outliers of both.
    Source: ITU-T P.1401 (2020), 7.6.2.
    """
    from scipy import stats

    outliers = _side_by_side(outlier_a, outlier_b, clusters)
    share = outliers.mean()
    if share in (0, 1):
        raise ValueError(f"{'all' if share else 'no'} pairs are outliers of both metrics: nothing to compare")
    estimate = float(outliers[:, 1].mean() - outliers[:, 0].mean())
    assumed = np.sqrt(share * (1 - share) * 2 / len(outliers))
    left_out = _without_each(outliers, clusters)
    error = jackknife_error(left_out[:, 1] - left_out[:, 0])
    z = estimate / assumed
    return Outcome(
        float(z), 2 * float(stats.norm.sf(abs(z))), estimate, *_between(estimate, error, assumed, len(left_out))
    )


def fisher_interval(r: float, n: int, ranks: bool = False, level: float = 0.95) -> tuple[float, float]:
    """(low, high) of a correlation of n independent pairs, on Fisher's z; ranks: r is Spearman's.

    Raises ValueError for |r| = 1 or fewer than 4 pairs. Source: ITU-T P.1401 (2020), 7.6.1; Bonett, Wright 2000.
    """
    from scipy import stats

    wide = stats.norm.ppf((1 + level) / 2) * fisher_error(r, n, ranks)
    return float(np.tanh(np.arctanh(r) - wide)), float(np.tanh(np.arctanh(r) + wide))


def fisher_error(r: float, n: int, ranks: bool = False) -> float:
    """Standard error of Fisher's z: 1 / sqrt(n - 3), for ranks sqrt((1 + r^2 / 2) / (n - 3)). As fisher_interval."""
    if not abs(r) < 1 or n < 4:
        raise ValueError(f"expected |r| < 1 and at least 4 pairs, found {r:g} and {n}")
    return float(np.sqrt((1 + r**2 / 2 if ranks else 1.0) / (n - 3)))


def _side_by_side(a, b, clusters):
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if not a.shape == b.shape == np.shape(clusters) or a.ndim != 1:
        raise ValueError(f"expected vectors of one length, found {a.shape}, {b.shape} and {np.shape(clusters)}")
    return np.stack([a, b], axis=1)


def _without_each(values, clusters):
    """Means of values (N, 2) without each cluster in turn (C, 2)."""
    names, member = np.unique(clusters, return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"expected at least 2 clusters, found {len(names)}")
    sums = np.stack([np.bincount(member, column) for column in values.T], axis=1)
    return (values.sum(axis=0) - sums) / (len(values) - np.bincount(member))[:, None]


def _between(estimate, error, assumed, clusters):
    """(p between clusters, times)."""
    from scipy import stats

    p = 2 * stats.t.sf(abs(estimate) / error, clusters - 1) if error > 0 else float(estimate == 0)
    return float(p), float(error / assumed)
