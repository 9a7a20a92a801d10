"""What can be said of the metrics of a group, with what certainty: grouping.Group -> plain dicts, ready for JSON and
reports.

A coefficient is a cell {"value", "error", "interval": [low, high], "simultaneous": [low, high]}: error is its standard
error (jackknife over references), interval its own 95 % interval, simultaneous that of all coefficients of the table
at once; without an error interval is None, and simultaneous not there. A difference of two metrics is a cell {"value",
"error", "interval", "p", "p_stepdown", "verdict", "detectable", "end_error"}, interval, p and verdict all from one
family: the differences of one table (agreement/simultaneous.py). end_error is the Monte-Carlo standard error of the
interval's ends. What cannot be given is {"refused": why}, so that no report shows a number that means nothing.
"""

from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from agreement.bootstrap import RESAMPLES, cluster_bootstrap, ratio, resample, within
from agreement.ceiling import noise_ceiling
from agreement.correlations import outlier_ratio, plcc, rmse, rmse_star, srcc
from agreement.fits import MAPPINGS, fit
from agreement.krasula import krasula
from agreement.significance import TESTS, holm, zou
from agreement.simultaneous import (
    MOST_RESAMPLES,
    Contrast,
    back,
    checked,
    decided,
    error_of,
    jackknife_error,
    judge,
    letters,
    single,
    verdicts,
)
from reports.compare.grouping import FEWEST_PAIRS, Group

STATISTICS = ("plcc", "plcc_fit", "srcc", "krcc")
# all pairs at once; mean over references; the same by Fisher's z, weighted
SCOPES = ("pooled", "per_reference", "within")
CLAIM = "srcc"  # the coefficient in which A beats B, and the one whose differences are looked at by distortion type
# coefficients for which the classical tests are derived, or the usual approximation
TESTED = {"plcc": plcc, "srcc": srcc}
NEARLY_ONE = 0.99
ALPHA = 0.05


@dataclass(frozen=True)
class Settings:
    """What decides the numbers, recorded with them."""

    resamples: int = RESAMPLES
    seed: int = 0
    # of single coefficients: t (agreement/simultaneous.py), percentile or bca; no verdict rests on it
    interval: str = "t"
    fit: str = "logistic4"  # the mapping before plcc_fit
    most_resamples: int = MOST_RESAMPLES  # drawn where a verdict is too near zero for fewer
    margin: float | None = None  # differences within it are called equivalent where both one-sided tests say so
    against: str | None = None  # the metric that all others are compared with; None: all pairs


@dataclass(frozen=True)
class Measured:
    """A group with its fits, resampled coefficients and judged differences: what descriptions and figures draw on."""

    group: Group
    fits: list  # [{mapping: Fit}] for each metric
    scopes: dict  # scope of SCOPES -> {statistic -> Resampled}; plcc_fit of a metric without a monotonic fit is NaN
    types: dict = field(default_factory=dict)  # type -> {statistic -> Resampled} or the reason why not
    judged: dict = field(default_factory=dict)  # scope or "types" -> ({key: cell of a difference}, what the family was)
    mappings: dict = field(default_factory=dict)  # mapping, not Settings.fit -> {scope -> Resampled of plcc_fit}

    @property
    def pooled(self):
        return self.scopes["pooled"]


def measure(group, settings):
    """Fits, bootstraps and verdicts of a Group -> Measured. Raises ValueError where the group cannot be resampled."""
    # one after the other: side by side they would wait for each other inside the linear algebra's own threads
    fits = [{name: fit(name, prediction, group.label) for name in MAPPINGS} for prediction in group.predictions]
    pooled = _bootstrap(group, fits, slice(None), settings)
    sizes = np.unique(group.references, return_counts=True)[1]
    scopes = {"pooled": pooled, "per_reference": {}, "within": {}}
    for name, resampled in pooled.items():
        for scope, statistic in _by_reference(resampled, sizes):
            scopes[scope][name] = resample(statistic, len(sizes), settings.resamples, settings.seed)
    types = {}
    for kind in sorted(set(group.types)) if group.types is not None else ():
        rows = group.types == kind
        try:
            if rows.sum() < FEWEST_PAIRS:
                raise ValueError(f"{rows.sum()} pairs, expected at least {FEWEST_PAIRS}")
            types[kind] = _bootstrap(group, fits, rows, settings)
        except ValueError as error:
            types[kind] = str(error)
    pairs, judged = compared(group.metrics, settings), {}
    for scope, sources in scopes.items():
        judged[scope] = settled([(a, b, name) for a, b in pairs for name in STATISTICS], sources, settings)
    sources = {kind: of_type[CLAIM] for kind, of_type in types.items() if not isinstance(of_type, str)}
    judged["types"] = settled([(a, b, kind) for a, b in pairs for kind in sources], sources, settings)
    return Measured(group, fits, scopes, types, judged, _other_mappings(group, fits, sizes, settings))


def _by_reference(resampled, sizes):
    """(scope, statistic) of the means over references of a coefficient. One that a reference lacks (constant
    predictions) is NaN, and costs its own metric alone."""
    yield "per_reference", ratio(resampled.each, np.ones((len(sizes), 1)))
    yield "within", within(resampled.each, sizes)


def _other_mappings(group, fits, sizes, settings):
    """{mapping: {scope: Resampled of plcc_fit}} of all but settings.fit."""
    out = {}
    for name in MAPPINGS:
        if name == settings.fit:
            continue
        pooled = _fitted(group, fits, name, slice(None), {"among": group.references})
        if pooled is not None:
            out[name] = {"pooled": pooled} | {
                scope: resample(statistic, len(sizes)) for scope, statistic in _by_reference(pooled, sizes)
            }
    return out


def compared(metrics, settings):
    """Indices (a, b) of the pairs of metrics whose differences are looked at: all, or all with settings.against."""
    pairs = list(combinations(range(len(metrics)), 2))
    if settings.against is None:
        return pairs
    if settings.against not in metrics:
        raise ValueError(f"--against {settings.against}: it is not among {', '.join(metrics)}")
    k = metrics.index(settings.against)
    return [pair for pair in pairs if k in pair]


def settled(keys, sources, settings):
    """Judge a table of differences as one family, with more resamples until no verdict hangs on their number.

    keys: (a, b, source) each, metric a minus metric b of sources[source], a Resampled. Returns ({key: cell}, what the
    family was). A difference without a value or an error is refused and leaves the family.
    """
    contrasts, refused = {}, {}
    for a, b, source in keys:
        try:
            contrasts[a, b, source] = checked(Contrast(sources[source], a, b))
        except ValueError as error:
            refused[a, b, source] = {"refused": str(error)}
    if not contrasts:
        return refused, None
    family = decided(list(contrasts.values()), settings.resamples, settings.most_resamples)
    return refused | dict(zip(contrasts, cells(family, settings.margin))), described(family)


def cells(family, margin=None):
    """A simultaneous.Family -> its differences as a list of cells."""
    columns = {
        "value": family.estimate,
        "error": family.error,
        "interval": np.stack([family.low, family.high], axis=1),
        "p": family.p,
        "p_stepdown": family.p_stepdown,
        "verdict": family.verdict(margin),
        "detectable": family.detectable,
        "end_error": family.end_error,
    }
    return [dict(zip(columns, row)) for row in zip(*(column.tolist() for column in columns.values()))]


def described(family):
    """What a family of differences was, for the reports."""
    return {
        "differences": len(family.estimate),
        "method": family.method,
        "critical": family.critical,
        "critical_error": family.critical_error,
        "lenient": family.lenient,
        "resamples": family.resamples,
        "p_floor": family.floor,
        "undecided": int(family.undecided.sum()),
    }


def _bootstrap(group, fits, rows, settings):
    """{statistic: Resampled} of the pairs in `rows`; all references are resampled, so that parts of a group are
    paired."""
    label, references = group.label[rows], group.references[rows]
    options = {"resamples": settings.resamples, "seed": settings.seed, "among": group.references}
    correlations = cluster_bootstrap(label, group.predictions[:, rows], references, **options)
    fitted = _fitted(group, fits, settings.fit, rows, options)
    return correlations | {
        "plcc_fit": correlations["plcc"].placed([], len(group.metrics)) if fitted is None else fitted
    }


def _fitted(group, fits, name, rows, options):
    """Resampled PLCC after the mapping `name`, NaN for a metric without a usable fit; None where no metric has one."""
    mapped = {m: of[name](group.predictions[m, rows]) for m, of in enumerate(fits) if of[name].usable}
    usable = [m for m, values in mapped.items() if np.ptp(values) > 0]
    if not usable:
        return None
    values, label, references = np.stack([mapped[m] for m in usable]), group.label[rows], group.references[rows]
    fitted = cluster_bootstrap(label, values, references, ("plcc",), **options)["plcc"]
    return fitted.placed(usable, len(group.metrics))


def coefficient(resampled, m, method="t", scale=np.arctanh, limits=(-1, 1)):
    """The cell of one coefficient with its own interval, None where it is the same without any one of the references;
    {"refused": why} where it has no value."""
    contrast = Contrast(resampled, m)
    estimate = float(resampled.estimate[m])
    if np.isfinite([estimate, *resampled.jackknife[:, m]]).all() and error_of(contrast) == 0:
        return {"value": estimate, "error": 0.0, "interval": None}
    try:
        checked(contrast)
        if method == "t":
            low, high = single(Contrast(resampled, m, scale=scale_of(resampled, m, scale)))
        else:
            low, high = resampled.interval(m, method=method)
    except ValueError as error:
        return {"refused": str(error)}
    return {"value": estimate, "error": error_of(contrast), "interval": [max(low, limits[0]), min(high, limits[1])]}


def scale_of(resampled, m, scale=np.arctanh):
    """The scale of a coefficient's interval: Fisher's z, but none where one without a reference is 1 and has no z."""
    values = (resampled.estimate[m], resampled.jackknife[:, m])
    return scale if scale is not None and all(np.all(np.abs(v) < 1) for v in values) else None


def coefficients_of(scopes, count, settings):
    """{scope: {statistic: [cell of each metric]}}, the simultaneous intervals of a scope over all its coefficients."""
    out = {}
    for scope, sources in scopes.items():
        out[scope] = {
            name: [coefficient(resampled, m, settings.interval) for m in range(count)]
            for name, resampled in sources.items()
        }
        whole = [
            (out[scope][name][m], Contrast(resampled, m, scale=scale_of(resampled, m)))
            for name, resampled in sources.items()
            for m in range(count)
            if out[scope][name][m].get("interval")
        ]
        if whole:
            family = judge([contrast for _, contrast in whole], settings.resamples)
            for (cell, contrast), low, high in zip(whole, family.low, family.high):
                low, high = back(contrast, low, high)
                cell["simultaneous"] = [max(low, -1.0), min(high, 1.0)]
    return out


def describe(measured, settings):
    """Everything about one group -> dict of cells (see the header), for the reports."""
    group, metrics = measured.group, measured.group.metrics
    of = coefficients_of(measured.scopes, len(metrics), settings)
    rows = pairwise(measured, settings)
    return {
        "name": group.name,
        "dataset": group.dataset,
        "perturbation": group.perturbation,
        "pct": group.pct,
        "pairs": len(group.label),
        "references": len(set(group.references)),
        "metrics": list(metrics),
        "notes": list(group.notes),
        "coefficients": {
            metric: {scope: {name: cells_[m] for name, cells_ in of_scope.items()} for scope, of_scope in of.items()}
            for m, metric in enumerate(metrics)
        },
        "families": {scope: family for scope, (_, family) in measured.judged.items()},
        "letters": {name: _letters(metrics, of["pooled"][name], rows, name, settings) for name in STATISTICS},
        "best": {name: _best(metrics, of["pooled"][name], rows, name, settings) for name in STATISTICS},
        "fits": {metric: _fits(group, m, measured.fits[m], settings) for m, metric in enumerate(metrics)},
        "types": {kind: _type(group, kind, of_type, settings) for kind, of_type in measured.types.items()},
        "pairwise": rows,
        "spread": _spread(group),
        "ceiling": _ceiling(group, settings),
        "krasula": _krasula(group, settings),
    }


def _letters(metrics, of, rows, name, settings):
    """{metric: letters}: metrics that share one are not shown to differ. Empty where not all pairs were compared."""
    order = sorted((m for m in range(len(metrics)) if "value" in of[m]), key=lambda m: -of[m]["value"])
    if settings.against is not None:
        return {}
    places = {metrics[m]: k for k, m in enumerate(order)}
    different = np.zeros((len(order), len(order)), dtype=bool)
    for row in rows:
        if row["pooled"][name].get("verdict") in ("better", "worse"):
            a, b = places[row["a"]], places[row["b"]]
            different[a, b] = different[b, a] = True
    return dict(zip(places, letters(different)))


def _best(metrics, of, rows, name, settings):
    """The metrics that no other is shown to be better than: with 95 % certainty the truly best is among them. Empty
    where not all pairs were compared."""
    if settings.against is not None:
        return []
    beaten = {row["b"] for row in rows if row["pooled"][name].get("verdict") == "better"}
    beaten |= {row["a"] for row in rows if row["pooled"][name].get("verdict") == "worse"}
    return [metric for m, metric in enumerate(metrics) if "value" in of[m] and metric not in beaten]


def _fits(group, m, mappings, settings):
    """Each mapping with its parameters and errors; plcc, rmse, ... withheld where the curve falls somewhere."""
    out = {}
    for name, mapping in mappings.items():
        out[name] = {
            "formula": MAPPINGS[name].formula,
            "parameters": list(mapping.parameters),
            "converged": mapping.converged,
            "bounded": not mapping.unbounded,
            "unbounded": mapping.unbounded,
            "constrained": mapping.constrained,
            "starts": mapping.starts,
            "agreeing": mapping.agreeing,
            "monotonic": mapping.monotonic,
        }
        if not mapping.usable:
            why = "the fitted curve is not monotonic over the data" if mapping.converged else "the fit did not converge"
            out[name]["refused"] = why
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


def _type(group, kind, resampled, settings):
    rows = group.types == kind
    out = {"pairs": int(rows.sum()), "references": len(set(group.references[rows]))}
    if isinstance(resampled, str):
        return out | {"refused": resampled}
    return out | {
        "coefficients": {
            metric: {name: coefficient(r, m, settings.interval) for name, r in resampled.items()}
            for m, metric in enumerate(group.metrics)
        }
    }


def pairwise(measured, settings):
    """For every pair of metrics compared: judged differences, classical tests with Holm's correction, and warnings."""
    group, rows = measured.group, []
    judged = {scope: cells_of for scope, (cells_of, _) in measured.judged.items()}
    r1 = {name: [correlation(p, group.label) for p in group.predictions] for name, correlation in TESTED.items()}
    for a, b in compared(group.metrics, settings):
        rows.append(
            {"a": group.metrics[a], "b": group.metrics[b], "tests": {}, "warnings": []}
            | {scope: {name: judged[scope][a, b, name] for name in STATISTICS} for scope in SCOPES}
            | {"types": {kind: {CLAIM: cell} for (i, j, kind), cell in judged["types"].items() if (i, j) == (a, b)}}
            | {"mappings": {scope: _under_other_mappings(measured, scope, a, b, settings) for scope in SCOPES}}
        )
        for name, correlation in TESTED.items():
            rows[-1]["tests"][name] = _tests(
                r1[name][a], r1[name][b], correlation(group.predictions[a], group.predictions[b]), len(group.label)
            )
    for name in TESTED:
        for test in TESTS:
            tested = [row["tests"][name][test] for row in rows if "refused" not in row["tests"][name]]
            for outcome, p in zip(tested, holm([outcome["p"] for outcome in tested])):
                outcome["p_holm"] = float(p)
    for row in rows:
        row["warnings"] = [text for name in TESTED for text in _warnings(row, name, group)]
    return rows


def _under_other_mappings(measured, scope, a, b, settings):
    """{mapping: cell of the difference of plcc_fit} under the mappings that are not settings.fit, judged by the
    critical values of the table that is printed: so only the mapping differs."""
    family = measured.judged[scope][1]
    out: dict[str, dict] = {}
    for name in MAPPINGS:
        if name == settings.fit:
            continue
        scopes = measured.mappings.get(name)
        contrast = scopes and Contrast(scopes[scope], a, b)
        estimate = contrast.of(scopes[scope].estimate) if contrast else np.nan
        error = jackknife_error(contrast.of(scopes[scope].jackknife)) if contrast else np.nan
        if family is None or not (np.isfinite(estimate) and np.isfinite(error)):
            out[name] = {"refused": "no value: no monotonic fit, or constant predictions or labels in a reference"}
            continue
        critical, critical_error, lenient = (family[key] for key in ("critical", "critical_error", "lenient"))
        [verdict] = verdicts(
            np.array([estimate]), np.array([error]), critical, critical_error, lenient, settings.margin
        )
        wide = critical * error
        out[name] = {
            "value": float(estimate),
            "error": float(error),
            "interval": [float(estimate - wide), float(estimate + wide)],
            "verdict": verdict,
        }
    return out


def _tests(r12, r13, r23, n):
    try:
        return {"r12": r12, "r13": r13, "r23": r23, "zou": list(zou(r12, r13, r23, n))} | {
            name: dict(zip(("statistic", "p"), test(r12, r13, r23, n))) for name, test in TESTS.items()
        }
    except ValueError as error:
        return {"r12": r12, "r13": r13, "r23": r23, "refused": str(error)}


def _warnings(row, name, group):
    """Where the classical tests mislead: predictions that are nearly one, and another verdict than the bootstrap's."""
    tests, difference = row["tests"][name], row["pooled"][name]
    if tests["r23"] > NEARLY_ONE:
        yield (
            f"{name}: the two predictions correlate by {tests['r23']:.4f} > {NEARLY_ONE}: the tests divide by what "
            "little they do not share, and call the smallest difference significant"
        )
    if "refused" in tests or "refused" in difference:
        return
    p = tests["williams"]["p_holm"]
    by_test, by_bootstrap = p < ALPHA, difference["verdict"] in ("better", "worse")
    if by_test == by_bootstrap:
        return
    low, high = tests["zou"]
    varies = difference["error"] / ((high - low) / (2 * 1.96))
    wide = np.ptp(difference["interval"]) / (2 * difference["error"])
    references = len(set(group.references))
    if by_test:
        yield (
            f"{name}: Williams's test finds a difference (p = {p:.2g} after Holm), the interval over references does "
            f"not: the test takes {len(group.label)} pairs as independent, but they come from {references} references, "
            f"between which the difference varies {varies:.1f} times as much as the test's formula allows for; and "
            f"with so many references and differences an interval takes {wide:.1f} standard errors"
        )
    else:
        yield (
            f"{name}: the interval over references finds a difference, Williams's test does not (p = {p:.2g} after "
            f"Holm): the test's formula for normal data allows for {1 / varies:.1f} times the variation seen between "
            f"the {references} references"
        )


def _spread(group):
    """What the labels' spreads are, and the images whose spread is zero: no certainty follows from it, so they are
    left out of what needs a spread (Krasula's analysis, RMSE*, the outlier ratio, the noise ceiling), and of nothing
    else."""
    if group.std is None:
        return {"refused": group.no_std}
    zero = [image for image, std in zip(group.images, group.std) if std == 0]
    return group.spread.document | {"images": len(group.std), "zero": zero}


def _ceiling(group, settings):
    """What a perfect metric could reach in each coefficient, given the labels' noise; the images of _spread left
    out."""
    if group.std is None:
        return {"refused": group.no_std}
    rated = group.std > 0
    try:
        ceiling = noise_ceiling(group.label[rated], group.spread.standard_error(group.std[rated]), seed=settings.seed)
    except ValueError as refused:
        return {"refused": str(refused)}
    return ceiling | {"plcc_fit": ceiling["plcc"]}


def _krasula(group, settings):
    if group.std is None:
        return {"refused": group.no_std}
    rated = group.std > 0
    error = group.spread.standard_error(group.std[rated])
    label, predictions, references = group.label[rated], group.predictions[:, rated], group.references[rated]
    try:
        analysis = krasula(label, predictions, error, references, settings.resamples, settings.seed)
    except ValueError as refused:
        return {"refused": str(refused)}
    areas = {name: r for name, r in analysis.items() if name not in ("pairs", "different")}
    pairs = compared(group.metrics, settings)
    keys = [(a, b, name) for a, b in pairs for name in areas]
    judged, family = settled(keys, areas, settings)
    return {
        "pairs": analysis["pairs"],
        "different": analysis["different"],
        "family": family,
        "metrics": {
            metric: {name: coefficient(r, m, settings.interval, None, (0, 1)) for name, r in areas.items()}
            for m, metric in enumerate(group.metrics)
        },
        "pairwise": [
            {"a": group.metrics[a], "b": group.metrics[b]} | {name: judged[a, b, name] for name in areas}
            for a, b in pairs
        ],
    }
