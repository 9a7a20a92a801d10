"""How well predictions agree with people, and how sure that is: numbers in, numbers out. Knows no file and no image.

    from agreement import cluster_bootstrap, coefficients
    coefficients(prediction, label)                                  # {"plcc": ..., "srcc": ..., "krcc": ...}
    cluster_bootstrap(label, predictions, reference)["srcc"]         # intervals, differences: see bootstrap.py

correlations  PLCC, SRCC, KRCC, RMSE, RMSE*, outlier ratio        krasula     better-or-worse areas under the curve
fits          monotonic mappings from predictions to labels       stability   rank flips, noise floor
bootstrap     resamples of references                             exponents   exponents of a product of scores
simultaneous  intervals, p and verdicts of many differences       ceiling     what labels of that noise allow
significance  classical tests of dependent correlations           reviewers   F-tests, outliers, Fisher's intervals
across        ranks and mean differences over datasets
"""

from agreement.bootstrap import Resampled, cluster_bootstrap, mean_over_clusters, ratio, resample
from agreement.ceiling import noise_ceiling
from agreement.correlations import COEFFICIENTS, coefficients, krcc, margin, outlier_ratio, plcc, rmse, rmse_star, srcc
from agreement.fits import MAPPINGS, Fit, fit
from agreement.significance import TESTS, holm, meng, steiger, williams, zou
from agreement.simultaneous import Contrast, Family, judge, letters, single
from agreement.stability import flip_rate, floor_percentile

__all__ = [
    "COEFFICIENTS",
    "Contrast",
    "Family",
    "Fit",
    "MAPPINGS",
    "Resampled",
    "TESTS",
    "cluster_bootstrap",
    "coefficients",
    "fit",
    "flip_rate",
    "floor_percentile",
    "holm",
    "judge",
    "krcc",
    "letters",
    "margin",
    "mean_over_clusters",
    "meng",
    "noise_ceiling",
    "outlier_ratio",
    "plcc",
    "ratio",
    "resample",
    "rmse",
    "rmse_star",
    "single",
    "srcc",
    "steiger",
    "williams",
    "zou",
]
