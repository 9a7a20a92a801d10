"""Agreement between a metric's predictions and people's labels: numbers in, numbers out; no files, no model names.

    from correlations import coefficients
    coefficients(prediction, label)      # {"plcc": ..., "srcc": ..., "krcc": ...}

Every function takes predictions already oriented (ScoreFile.sign), so a positive coefficient means "agrees with people".
A sign is never dropped. Bad input raises ValueError, so a caller never gets a coefficient that means nothing.
"""
import numpy as np

COEFFICIENTS = ("plcc", "srcc", "krcc")


def checked(prediction, label, least=2):
    """Both as float64 vectors of one length >= least, finite and not constant; ValueError says what was found instead."""
    x, y = np.asarray(prediction, dtype=float), np.asarray(label, dtype=float)
    if x.ndim != 1 or y.ndim != 1 or len(x) != len(y):
        raise ValueError(f"expected two vectors of one length, found shapes {x.shape} and {y.shape}")
    if len(x) < least:
        raise ValueError(f"expected at least {least} pairs, found {len(x)}")
    for name, values in (("predictions", x), ("labels", y)):
        if not np.isfinite(values).all():
            raise ValueError(f"expected finite {name}, found {np.sum(~np.isfinite(values))} that are NaN or infinite")
        if (values == values[0]).all():
            raise ValueError(f"expected {name} that differ, found {len(values)} times {values[0]:g}: a constant has no correlation")
    return x, y


def plcc(prediction, label):
    """Pearson's linear correlation coefficient of two vectors (N,) -> float in [-1, 1], without any fitted mapping.

    Raises ValueError for NaN, unequal lengths, fewer than 2 values, or a constant input. Source: Pearson 1895; scipy.stats.pearsonr.
    """
    from scipy import stats
    return float(stats.pearsonr(*checked(prediction, label)).statistic)


def srcc(prediction, label):
    """Spearman's rank correlation (N,), (N,) -> float in [-1, 1]; ties get mid-ranks. Raises as plcc. Source: Spearman 1904."""
    from scipy import stats
    return float(stats.spearmanr(*checked(prediction, label)).statistic)


def krcc(prediction, label):
    """Kendall's tau-b (N,), (N,) -> float in [-1, 1], corrected for ties. Raises as plcc. Source: Kendall 1945; scipy's default."""
    from scipy import stats
    return float(stats.kendalltau(*checked(prediction, label)).statistic)


def coefficients(prediction, label):
    """{"plcc": ..., "srcc": ..., "krcc": ...} of two vectors (N,). Raises as plcc."""
    return {"plcc": plcc(prediction, label), "srcc": srcc(prediction, label), "krcc": krcc(prediction, label)}
