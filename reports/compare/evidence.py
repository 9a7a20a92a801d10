"""What can be said of the metrics of a group, with what certainty: grouping.Group -> plain dicts, ready for JSON and the reports.

A number with an interval is a cell: {"value", "percentile": [low, high], "bca": [low, high]}, the intervals from the bootstrap
over references. What cannot be given is {"refused": why}, so that no report shows a number that means nothing.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from agreement.bootstrap import RESAMPLES, cluster_bootstrap, mean_over_clusters
from agreement.correlations import outlier_ratio, plcc, rmse, rmse_star, srcc
from agreement.fits import MAPPINGS, fit
from agreement.krasula import krasula
from agreement.significance import TESTS, holm, zou
from reports.compare.grouping import FEWEST_PAIRS

STATISTICS = ("plcc", "plcc_fit", "srcc", "krcc")
TESTED = {
    "plcc": plcc,
    "srcc": srcc,
}  # coefficients for which the classical tests are derived, or the usual approximation
NEARLY_ONE = 0.99
ALPHA = 0.05


@dataclass(frozen=True)
class Settings:
    """What decides the numbers, recorded with them."""

    resamples: int = RESAMPLES
    seed: int = 0
    interval: str = "percentile"  # which of the two intervals gives the verdicts
    fit: str = "logistic4"  # the mapping before plcc_fit


@dataclass(frozen=True)
class Measured:
    """A group with its fits and resampled coefficients: what the descriptions, the stability measures and the figures draw on."""

    group: object
    fits: list  # [{mapping: Fit}] for each metric
    pooled: dict  # statistic -> Resampled; plcc_fit of a metric that has no monotonic fit is NaN
    types: dict = field(default_factory=dict)  # type -> {statistic -> Resampled} or the reason why not


def measure(group, settings):
    """Fits and bootstraps of a Group -> Measured."""
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:  # the linear algebra lets go of the interpreter's lock
        fits = list(
            pool.map(
                lambda prediction: {name: fit(name, prediction, group.label) for name in MAPPINGS}, group.predictions
            )
        )
    pooled = _bootstrap(group, fits, slice(None), settings)
    types = {}
    for kind in sorted(set(group.types)) if group.types is not None else ():
        rows = group.types == kind
        try:
            if rows.sum() < FEWEST_PAIRS:
                raise ValueError(f"{rows.sum()} pairs, expected at least {FEWEST_PAIRS}")
            types[kind] = _bootstrap(group, fits, rows, settings)
        except ValueError as error:
            types[kind] = str(error)
    return Measured(group, fits, pooled, types)


def _bootstrap(group, fits, rows, settings):
    options = {"resamples": settings.resamples, "seed": settings.seed}
    label, references = group.label[rows], group.references[rows]
    found = cluster_bootstrap(label, group.predictions[:, rows], references, **options)
    usable = [m for m, of in enumerate(fits) if of[settings.fit].monotonic]
    blank = found["plcc"]
    fitted = [np.full_like(v, np.nan) for v in (blank.estimate, blank.values, blank.jackknife, blank.each)]
    if usable:
        mapped = np.stack([fits[m][settings.fit](group.predictions[m, rows]) for m in usable])
        of_usable = cluster_bootstrap(label, mapped, references, ("plcc",), **options)["plcc"]
        for all_metrics, some in zip(
            fitted, (of_usable.estimate, of_usable.values, of_usable.jackknife, of_usable.each)
        ):
            all_metrics[..., usable] = some
    return found | {"plcc_fit": type(blank)(*fitted)}


def cell(resampled, a, b=None):
    """The cell of metric a, or of the difference a - b; {"refused": why} where a resample has no value."""
    value = resampled.estimate[a] - (0 if b is None else resampled.estimate[b])
    if not np.isfinite(value):
        return {"refused": "no monotonic fit"}
    try:
        return {"value": float(value)} | {
            method: list(resampled.interval(a, b, method=method)) for method in ("percentile", "bca")
        }
    except ValueError as error:
        return {"refused": str(error)}


def verdict(cell, settings):
    """'holds' where the difference is above zero with its interval, 'reverses' where below, 'ties' where zero is inside."""
    if "refused" in cell:
        return None
    low, high = cell[settings.interval]
    return "holds" if low > 0 else "reverses" if high < 0 else "ties"


def describe(measured, settings):
    """Everything about one group -> dict of cells (see the header), for the reports."""
    group = measured.group
    per_reference = {name: _per_reference(resampled, settings) for name, resampled in measured.pooled.items()}
    return {
        "name": group.name,
        "dataset": group.dataset,
        "perturbation": group.perturbation,
        "pct": group.pct,
        "pairs": len(group.label),
        "references": len(set(group.references)),
        "metrics": list(group.metrics),
        "notes": list(group.notes),
        "coefficients": {
            metric: {
                "pooled": {name: cell(r, m) for name, r in measured.pooled.items()},
                "per_reference": {name: _cell_of(r, m) for name, r in per_reference.items()},
            }
            for m, metric in enumerate(group.metrics)
        },
        "fits": {metric: _fits(group, m, measured.fits[m], settings) for m, metric in enumerate(group.metrics)},
        "types": {kind: _type(group, kind, found) for kind, found in measured.types.items()},
        "pairwise": pairwise(measured, per_reference, settings),
        "spread": _spread(group),
        "krasula": _krasula(group, settings),
    }


def _per_reference(resampled, settings):
    try:
        return mean_over_clusters(resampled.each, settings.resamples, settings.seed)
    except ValueError:  # one metric without a coefficient in some reference must not cost the others theirs
        columns = np.where(np.isfinite(resampled.each).all(axis=0), 0, np.nan)
        return mean_over_clusters(np.nan_to_num(resampled.each), settings.resamples, settings.seed), columns


def _cell_of(found, a, b=None):
    if isinstance(found, tuple):
        found, columns = found
        if not np.isfinite(columns[[a] if b is None else [a, b]]).all():
            return {
                "refused": "a reference has constant predictions or labels, or one pair, or there is no monotonic fit"
            }
    return cell(found, a, b)


def _fits(group, m, found, settings):
    """Each mapping with its parameters and errors; plcc, rmse, ... withheld where the curve falls somewhere."""
    out = {}
    for name, mapping in found.items():
        out[name] = {
            "formula": MAPPINGS[name].formula,
            "parameters": list(mapping.parameters),
            "converged": mapping.converged,
            "starts": mapping.starts,
            "agreeing": mapping.agreeing,
            "monotonic": mapping.monotonic,
        }
        if not mapping.monotonic:
            out[name]["refused"] = "the fitted curve is not monotonic over the data"
            continue
        mapped, parameters = mapping(group.predictions[m]), MAPPINGS[name].parameters
        out[name] |= {"plcc": plcc(mapped, group.label), "rmse": rmse(mapped, group.label, parameters)}
        if group.std is not None:
            rated = group.std > 0  # see _spread
            if rated.sum() <= parameters:
                continue
            width = group.spread.half_width(group.std[rated])
            out[name] |= {
                "rmse_star": rmse_star(mapped[rated], group.label[rated], width, parameters),
                "outlier_ratio": outlier_ratio(mapped[rated], group.label[rated], width),
            }
    return out


def _type(group, kind, found):
    rows = group.types == kind
    out = {"pairs": int(rows.sum()), "references": len(set(group.references[rows]))}
    if isinstance(found, str):
        return out | {"refused": found}
    return out | {
        "coefficients": {
            metric: {name: cell(r, m) for name, r in found.items()} for m, metric in enumerate(group.metrics)
        }
    }


def pairwise(measured, per_reference, settings):
    """For every pair of metrics: paired differences, classical tests with Holm's correction over all pairs, and warnings."""
    group, rows = measured.group, []
    r1 = {name: [coefficient(p, group.label) for p in group.predictions] for name, coefficient in TESTED.items()}
    for a, b in combinations(range(len(group.metrics)), 2):
        row = {
            "a": group.metrics[a],
            "b": group.metrics[b],
            "tests": {},
            "warnings": [],
            "pooled": {name: cell(r, a, b) for name, r in measured.pooled.items()},
            "per_reference": {name: _cell_of(r, a, b) for name, r in per_reference.items()},
            "types": {
                kind: {name: cell(r, a, b) for name, r in found.items()}
                for kind, found in measured.types.items()
                if not isinstance(found, str)
            },
            "p_bootstrap": {
                name: r.p_value(a, b) for name, r in measured.pooled.items() if "refused" not in cell(r, a, b)
            },
            "p_bootstrap_holm": {},
        }
        for name, coefficient in TESTED.items():
            row["tests"][name] = _tests(
                r1[name][a], r1[name][b], coefficient(group.predictions[a], group.predictions[b]), len(group.label)
            )
        rows.append(row)
    for name in TESTED:
        for test in TESTS:
            tested = [row["tests"][name][test] for row in rows if "refused" not in row["tests"][name]]
            for found, p in zip(tested, holm([found["p"] for found in tested])):
                found["p_holm"] = float(p)
    for name in STATISTICS:
        with_p = [row for row in rows if name in row["p_bootstrap"]]
        for row, p in zip(with_p, holm([row["p_bootstrap"][name] for row in with_p])):
            row["p_bootstrap_holm"][name] = float(p)
    for row in rows:
        row["warnings"] = [text for name in TESTED for text in _warnings(row, name, measured, settings)]
    return rows


def _tests(r12, r13, r23, n):
    try:
        return {"r12": r12, "r13": r13, "r23": r23, "zou": list(zou(r12, r13, r23, n))} | {
            name: dict(zip(("statistic", "p"), test(r12, r13, r23, n))) for name, test in TESTS.items()
        }
    except ValueError as error:
        return {"r12": r12, "r13": r13, "r23": r23, "refused": str(error)}


def _warnings(row, name, measured, settings):
    """Where the classical tests mislead: predictions that are nearly one, and another verdict than the bootstrap's."""
    tests, group = row["tests"][name], measured.group
    if tests["r23"] > NEARLY_ONE:
        yield (
            f"{name}: the two predictions correlate by {tests['r23']:.4f} > {NEARLY_ONE}: the tests divide by what little "
            "they do not share, and call the smallest difference significant"
        )
    difference = row["pooled"][name]
    if "refused" in tests or "refused" in difference:
        return
    p = tests["williams"]["p"]
    by_test, by_bootstrap = p < ALPHA, verdict(difference, settings) != "ties"
    if by_test == by_bootstrap:
        return
    a, b = (group.metrics.index(row[key]) for key in "ab")
    values, (low, high) = measured.pooled[name].values, tests["zou"]
    ratio = np.std(values[:, a] - values[:, b]) / ((high - low) / (2 * 1.96))
    references = len(set(group.references))
    if by_test:
        yield (
            f"{name}: Williams's test finds a difference (p = {p:.2g}), the bootstrap over references does not: the test takes "
            f"{len(group.label)} pairs as independent, but they come from {references} references, and between references the "
            f"difference varies {ratio:.1f} times as much as the test's formula allows for"
        )
    else:
        yield (
            f"{name}: the bootstrap over references finds a difference, Williams's test does not (p = {p:.2g}): the test's "
            f"formula for normal data allows for {1 / ratio:.1f} times the variation seen between the {references} references"
        )


def _spread(group):
    """What the labels' spreads are, and the images whose spread is zero: no certainty follows from it, so they are left out of
    what needs a spread (Krasula's analysis, RMSE*, the outlier ratio), and of nothing else."""
    if group.std is None:
        return {"refused": group.no_std}
    zero = [image for image, std in zip(group.images, group.std) if std == 0]
    return group.spread.document | {"images": len(group.std), "zero": zero}


def _krasula(group, settings):
    if group.std is None:
        return {"refused": group.no_std}
    rated = group.std > 0
    error = group.spread.standard_error(group.std[rated])
    label, predictions, references = group.label[rated], group.predictions[:, rated], group.references[rated]
    try:
        found = krasula(label, predictions, error, references, settings.resamples, settings.seed)
    except ValueError as refused:
        return {"refused": str(refused)}
    areas = {name: r for name, r in found.items() if name not in ("pairs", "different")}
    pairs = list(combinations(range(len(group.metrics)), 2))
    out = {
        "pairs": found["pairs"],
        "different": found["different"],
        "metrics": {metric: {name: cell(r, m) for name, r in areas.items()} for m, metric in enumerate(group.metrics)},
        "pairwise": [
            {"a": group.metrics[a], "b": group.metrics[b]} | {name: cell(r, a, b) for name, r in areas.items()}
            for a, b in pairs
        ],
    }
    for name, r in areas.items():
        for row, (a, b), p in zip(out["pairwise"], pairs, holm([r.p_value(a, b) for a, b in pairs])):
            row[name] |= {"p": r.p_value(a, b), "p_holm": float(p)}
    return out
