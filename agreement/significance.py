"""Is one correlation with the label larger than another, when both predictions are of the same images? Numbers in,
numbers out.

The classical tests for dependent correlations that share a variable. In all of them 1 is the label, 2 and 3 are the
predictions of two metrics: r12 and r13 are compared, r23 is the correlation of the two predictions, n the number of
pairs.

They take the n pairs as independent draws from a normal distribution. Pairs of one reference are not independent, so
these p-values are too small where metrics differ in the references they favour: lay them beside the bootstrap over
references (bootstrap.py), as compare.py does. They are derived for Pearson's coefficient; for Spearman's they are the
usual approximation (Myers and Sirois 2006), for Kendall's they do not hold.
"""

import numpy as np
from numpy.typing import ArrayLike


def _checked(r12, r13, r23, n):
    for name, r in (("r12", r12), ("r13", r13), ("r23", r23)):
        if not -1 < r < 1:
            raise ValueError(
                f"expected {name} strictly between -1 and 1, found {r}"
                + (": the two metrics are one up to scale" if name == "r23" else "")
            )
    if n < 4:
        raise ValueError(f"expected at least 4 pairs, found {n}")
    if 1 - r12**2 - r13**2 - r23**2 + 2 * r12 * r13 * r23 < -1e-12:
        raise ValueError(f"r12 {r12:g}, r13 {r13:g} and r23 {r23:g} cannot be correlations of three variables")


def williams(r12: float, r13: float, r23: float, n: int) -> tuple[float, float]:
    """(t, two-sided p) of Williams's test, n - 3 degrees of freedom. Positive t: r12 is larger.

    Source: Williams 1959 (JRSS B 21), in the form recommended by Steiger 1980 (Psychological Bulletin 87, T2, eq. 7).
    Raises ValueError for correlations outside (-1, 1), impossible together, or n < 4.
    """
    from scipy import stats

    _checked(r12, r13, r23, n)
    determinant = 1 - r12**2 - r13**2 - r23**2 + 2 * r12 * r13 * r23
    mean = (r12 + r13) / 2
    t = (r12 - r13) * np.sqrt((n - 1) * (1 + r23) / (2 * (n - 1) / (n - 3) * determinant + mean**2 * (1 - r23) ** 3))
    return float(t), float(2 * stats.t.sf(abs(t), n - 3))


def steiger(r12: float, r13: float, r23: float, n: int) -> tuple[float, float]:
    """(z, two-sided p) of Steiger's test on Fisher's z with the pooled correlation. Positive z: r12 is larger.

    Source: Steiger 1980 (Psychological Bulletin 87), eq. 14 (Z1 bar star). Raises as williams.
    """
    from scipy import stats

    _checked(r12, r13, r23, n)
    mean = (r12 + r13) / 2
    covariance = (r23 * (1 - 2 * mean**2) - mean**2 * (1 - 2 * mean**2 - r23**2) / 2) / (1 - mean**2) ** 2
    z = (np.arctanh(r12) - np.arctanh(r13)) * np.sqrt((n - 3) / (2 - 2 * covariance))
    return float(z), float(2 * stats.norm.sf(abs(z)))


def meng(r12: float, r13: float, r23: float, n: int) -> tuple[float, float]:
    """(z, two-sided p) of the test of Meng, Rosenthal and Rubin. Positive z: r12 is larger.

    Source: Meng, Rosenthal, Rubin 1992 (Psychological Bulletin 111). Raises as williams.
    """
    from scipy import stats

    _checked(r12, r13, r23, n)
    square = (r12**2 + r13**2) / 2
    f = min(1.0, (1 - r23) / (2 * (1 - square)))
    h = (1 - f * square) / (1 - square)
    z = (np.arctanh(r12) - np.arctanh(r13)) * np.sqrt((n - 3) / (2 * (1 - r23) * h))
    return float(z), float(2 * stats.norm.sf(abs(z)))


def zou(r12: float, r13: float, r23: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Interval (low, high) of r12 - r13 from the two intervals of Fisher's z and the correlation of r12 with r13.

    Source: Zou 2007 (Psychological Methods 12), overlapping dependent correlations; their correlation from Olkin and
    Siotani 1976. Raises as williams.
    """
    from scipy import stats

    _checked(r12, r13, r23, n)
    margin = stats.norm.ppf((1 + level) / 2) / np.sqrt(n - 3)
    (low2, high2), (low3, high3) = (np.tanh(np.arctanh(r) + np.array([-margin, margin])) for r in (r12, r13))
    c = ((r23 - r12 * r13 / 2) * (1 - r12**2 - r13**2 - r23**2) + r23**3) / ((1 - r12**2) * (1 - r13**2))
    below = (r12 - low2) ** 2 + (high3 - r13) ** 2 - 2 * c * (r12 - low2) * (high3 - r13)
    above = (high2 - r12) ** 2 + (r13 - low3) ** 2 - 2 * c * (high2 - r12) * (r13 - low3)
    return float(r12 - r13 - np.sqrt(max(below, 0))), float(r12 - r13 + np.sqrt(max(above, 0)))


def holm(p_values: ArrayLike) -> np.ndarray:
    """Adjusted p-values (n,) that keep the chance of any false alarm among n tests.
    Source: Holm 1979 (Scand. J. Statist. 6)."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted


TESTS = {"williams": williams, "steiger": steiger, "meng": meng}
