"""How well a perfect metric could agree with labels that are means of noisy ratings: numbers in, numbers out.

    from agreement.ceiling import noise_ceiling
    noise_ceiling(label, standard_error)["srcc"]       # no metric can be expected above it on these labels

Labels scatter about the true quality, so the truth itself does not correlate with them by 1. A metric below the ceiling
has room; one at it agrees with people as well as these labels can show; one above it has learned their noise, or was
lucky.
"""

import numpy as np

from agreement.correlations import COEFFICIENTS, checked, coefficients

DRAWS = 100


def noise_ceiling(label: np.ndarray, error: np.ndarray, draws: int = DRAWS, seed: int = 0) -> dict[str, float]:
    """{"plcc", "srcc", "krcc": expected coefficient of the true quality with such labels, "reliability":
    share of variance}.

    label (N,), error (N,): standard errors of the labels, in their unit. reliability = 1 - mean(error^2) / var(label)
    is the share of the labels' variance that is quality, and its root the PLCC (Lord, Novick 1968, Statistical theories
    of mental test scores, section 3.4; Spearman 1904). Ranks have no such formula: the labels, drawn together about
    their mean until they have the variance of the true quality, get new errors `draws` times. Raises ValueError for
    NaN, lengths that differ, negative errors, or errors that leave no variance to the quality.
    """
    error = np.asarray(error, dtype=float)
    _, label = checked(label, label)
    if error.shape != label.shape or not (np.isfinite(error).all() and (error >= 0).all()):
        raise ValueError(
            f"expected {len(label)} standard errors of 0 or more, found {error.size} with others among them"
        )
    reliability = 1 - np.mean(error**2) / np.var(label)
    if reliability <= 0:
        raise ValueError("the labels vary no more than their standard errors: no agreement can be expected")
    quality = label.mean() + np.sqrt(reliability) * (label - label.mean())
    rng = np.random.default_rng(seed)
    drawn = [coefficients(quality, quality + error * rng.normal(size=len(label))) for _ in range(draws)]
    means = {name: float(np.mean([one[name] for one in drawn])) for name in COEFFICIENTS}
    return means | {"plcc": float(np.sqrt(reliability)), "reliability": float(reliability)}
