"""The tests that reviewers ask for by name, on one group: F-tests, outlier ratios, Fisher's intervals.

They take pairs of images as independent. Every cell carries `times`, the standard error seen between references over
the one assumed; no verdict rests on any of them. See agreement/reviewers.py.
"""

import numpy as np

from agreement.reviewers import (
    fisher_error,
    fisher_interval,
    gaussian,
    kurtosis,
    mean_square_test,
    outlier_test,
    variance_test,
)
from agreement.significance import holm
from agreement.simultaneous import jackknife_error
from reports.compare.evidence import ALPHA, TESTED, compared


def _sheikh(group, a, b):
    return variance_test(a["residual"], b["residual"], group.references)


def _rmse_star(group, a, b):
    return mean_square_test(a["excess"], b["excess"], group.references[a["rated"]], a["parameters"])


def _outliers(group, a, b):
    return outlier_test(a["outlier"], b["outlier"], group.references[a["rated"]])


TESTS = {"sheikh": _sheikh, "rmse_star_test": _rmse_star, "outlier_test": _outliers}  # names as in DEFINITIONS


def reviewed(measured, settings):
    """-> {"metrics": {metric: {"kurtosis", "gaussian", "plcc", "srcc"}}, "pairwise": [{"a", "b", one cell a test}],
    "times": {"least", "median", "most"} over all cells, or None where there is none}.

    A test's cell: statistic, p, p_holm, p_references, times, disagrees (whether the two p fall on two sides of .05).
    What cannot be given is {"refused": why}.
    """
    group = measured.group
    errors = [_errors(group, m, fits[settings.fit]) for m, fits in enumerate(measured.fits)]
    metrics = {metric: _metric(measured, m, errors[m]) for m, metric in enumerate(group.metrics)}
    rows = []
    for a, b in compared(group.metrics, settings):
        cells = {name: _or_refused(TESTS[name], group, errors[a], errors[b]) for name in TESTS}
        rows.append({"a": group.metrics[a], "b": group.metrics[b]} | cells)
    for name in TESTS:
        cells = [row[name] for row in rows if "p" in row[name]]
        for cell, p in zip(cells, holm([cell["p"] for cell in cells])):
            cell["p_holm"] = float(p)
    times = [cell["times"] for row in rows for name, cell in row.items() if name in TESTS and "times" in cell]
    times += [of[name]["times"] for of in metrics.values() for name in TESTED if "times" in of[name]]
    spread = {"least": min(times), "median": float(np.median(times)), "most": max(times)} if times else None
    return {"metrics": metrics, "pairwise": rows, "times": spread}


def _errors(group, m, mapping):
    """{"residual" (N,), "parameters"} and, where spreads are known, {"rated" (N,), "excess", "outlier"} of the rated
    pairs; {"refused": why} where the mapping is of no use."""
    if not mapping.usable:
        return {"refused": "the fitted curve is not monotonic over the data, or the fit did not converge"}
    residual = mapping(group.predictions[m]) - group.label
    out = {"residual": residual, "parameters": len(mapping.parameters)}
    if group.std is None:
        return out | {"no_spread": group.no_std}
    rated = group.std > 0
    beyond = np.abs(residual[rated]) - group.spread.half_width(group.std[rated])
    return out | {"rated": rated, "excess": np.maximum(0, beyond), "outlier": beyond > 0}


def _or_refused(test, group, a, b):
    refused = a.get("refused") or b.get("refused")
    if not refused and test is not _sheikh:
        refused = a.get("no_spread")
    if refused:
        return {"refused": refused}
    try:
        outcome = test(group, a, b)
    except ValueError as error:
        return {"refused": str(error)}
    return {
        "statistic": outcome.statistic,
        "estimate": outcome.estimate,
        "p": outcome.p,
        "p_references": outcome.p_clusters,
        "times": outcome.times,
        "disagrees": (outcome.p <= ALPHA) != (outcome.p_clusters <= ALPHA),
    }


def _metric(measured, m, errors):
    out = {name: _fisher(measured.pooled[name], m, len(measured.group.label), name == "srcc") for name in TESTED}
    if "refused" in errors:
        return out | {"kurtosis": {"refused": errors["refused"]}}
    try:
        value = kurtosis(errors["residual"])
    except ValueError as error:
        return out | {"kurtosis": {"refused": str(error)}}
    return out | {"kurtosis": {"value": value, "gaussian": gaussian(value)}}


def _fisher(resampled, m, pairs, ranks):
    """The cell of a correlation: Fisher's interval, and its error between references over the one assumed."""
    r, left_out = float(resampled.estimate[m]), resampled.jackknife[:, m]
    try:
        low, high = fisher_interval(r, pairs, ranks)
        if not (np.abs(left_out) < 1).all():
            raise ValueError("without one of the references the coefficient is not below 1: no standard error")
    except ValueError as error:
        return {"refused": str(error)}
    times = float(jackknife_error(np.arctanh(left_out))) / fisher_error(r, pairs, ranks)
    return {"value": r, "interval": [low, high], "times": times}
