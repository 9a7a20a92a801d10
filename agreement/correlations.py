"""Agreement between a metric's predictions and people's labels: numbers in, numbers out; no files, no model names.

    from agreement.correlations import coefficients
    coefficients(prediction, label)      # {"plcc": ..., "srcc": ..., "krcc": ...}

Every function takes predictions already oriented (ScoreFile.sign), so a positive coefficient means "agrees with
people". A sign is never dropped. Bad input raises ValueError, so a caller never gets a coefficient that means nothing.
"""

import numpy as np
from numpy.typing import ArrayLike

COEFFICIENTS = ("plcc", "srcc", "krcc")


def checked(prediction: ArrayLike, label: ArrayLike, least: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 vectors of one length >= least, finite and not constant;
    ValueError says what was found instead."""
    x, y = np.asarray(prediction, dtype=float), np.asarray(label, dtype=float)
    if x.ndim != 1 or y.ndim != 1 or len(x) != len(y):
        raise ValueError(f"expected two vectors of one length, found shapes {x.shape} and {y.shape}")
    if len(x) < least:
        raise ValueError(f"expected at least {least} pairs, found {len(x)}")
    for name, values in (("predictions", x), ("labels", y)):
        if not np.isfinite(values).all():
            raise ValueError(f"expected finite {name}, found {np.sum(~np.isfinite(values))} that are NaN or infinite")
        if (values == values[0]).all():
            raise ValueError(
                f"expected {name} that differ, found {len(values)} times {values[0]:g}: a constant has no correlation"
            )
    return x, y


def plcc(prediction: ArrayLike, label: ArrayLike) -> float:
    """Pearson's linear correlation coefficient of two vectors (N,) -> float in [-1, 1], without any fitted mapping.

    Raises ValueError for NaN, unequal lengths, fewer than 2 values, or a constant input.
    Source: Pearson 1895.
    """
    return _pearson(*checked(prediction, label))


def _pearson(x, y):
    """By sums of NumPy: BLAS's threads, which scipy.stats.pearsonr wakes, take longer to wait than such sums do."""
    x, y = (values - values.mean() for values in (x / np.abs(x).max(), y / np.abs(y).max()))
    x, y = x / np.abs(x).max(), y / np.abs(y).max()  # so that no square is lost
    return float(np.clip((x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum()), -1, 1))


def srcc(prediction: ArrayLike, label: ArrayLike) -> float:
    """Spearman's rank correlation (N,), (N,) -> float in [-1, 1]; ties get mid-ranks. Raises as plcc.
    Source: Spearman 1904."""
    from scipy import stats

    return _pearson(*map(stats.rankdata, checked(prediction, label)))


def krcc(prediction: ArrayLike, label: ArrayLike) -> float:
    """Kendall's tau-b (N,), (N,) -> float in [-1, 1], corrected for ties. Raises as plcc. Source: Kendall 1945."""
    from scipy import stats

    return float(stats.kendalltau(*checked(prediction, label)).statistic)


def coefficients(prediction: ArrayLike, label: ArrayLike) -> dict[str, float]:
    """{"plcc": ..., "srcc": ..., "krcc": ...} of two vectors (N,). Raises as plcc."""
    return {"plcc": plcc(prediction, label), "srcc": srcc(prediction, label), "krcc": krcc(prediction, label)}


def rmse(mapped: np.ndarray, label: np.ndarray, parameters: int = 0) -> float:
    """Root mean squared error of mapped predictions (N,) on the label's scale;
    each fitted parameter costs one degree of freedom.

    Source: ITU-T P.1401, statistical evaluation metrics. Raises ValueError for no more pairs than parameters.
    """
    return _root_mean(np.asarray(mapped, dtype=float) - np.asarray(label, dtype=float), parameters)


def margin(std: np.ndarray, raters: float | None = None) -> np.ndarray:
    """Half width (N,) of the 95 % interval of a mean label:
    from the standard deviation over `raters` raters, by Student's t.

    raters None: std is already the standard error of the mean. Source: ITU-T P.1401.
    """
    from scipy import stats

    std = np.asarray(std, dtype=float)
    return 1.959963984540054 * std if raters is None else stats.t.ppf(0.975, raters - 1) * std / np.sqrt(raters)


def rmse_star(mapped: np.ndarray, label: np.ndarray, half_width: np.ndarray, parameters: int = 0) -> float:
    """Epsilon-insensitive RMSE*: only what an error exceeds the label's own 95 % interval by counts. half_width (N,):
    `margin`.

    Source: ITU-T P.1401. Raises as rmse.
    """
    error = np.abs(np.asarray(mapped, dtype=float) - label)
    return _root_mean(np.maximum(0, error - half_width), parameters)


def outlier_ratio(mapped: np.ndarray, label: np.ndarray, half_width: np.ndarray) -> float:
    """Share of pairs whose error exceeds the label's own 95 % interval, half_width (N,): `margin`.
    Source: ITU-T P.1401."""
    return float(np.mean(np.abs(np.asarray(mapped, dtype=float) - label) > half_width))


def _root_mean(errors, parameters):
    if len(errors) <= parameters:
        raise ValueError(
            f"expected more than {parameters} pairs for {parameters} fitted parameters, found {len(errors)}"
        )
    return float(np.sqrt(np.sum(errors**2) / (len(errors) - parameters)))
