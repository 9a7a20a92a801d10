"""Does "A beats B" survive? From evidence.py's findings: robustness measures, and one audit entry for each pair."""

from itertools import combinations

import numpy as np

from agreement.across import friedman_nemenyi, random_effects
from agreement.bootstrap import Resampled
from agreement.stability import flip_rate, floor_percentile
from reports.compare.evidence import CLAIM, SCOPES, STATISTICS, coefficient, settled

# What a verdict on A - B says of "A beats B"
OF_CLAIM = {"better": "holds", "worse": "reverses"}
FITTED = "plcc_fit"  # the coefficient that takes a mapping, and is looked at under the others too
NAMES = {"pooled": "", "per_reference": " per reference", "within": " within references"}


def stability(measured, settings):
    """For every perturbed group with its plain one:
    change of each coefficient, rank flips, noise floor -> list of dicts.

    measured: {group name: evidence.Measured}. Both groups have the same references, so a change is a difference of two
    coefficients over the same references drawn; the changes of one perturbed group are a family.
    """
    rows, plain = [], {m.group.dataset: m for m in measured.values() if m.group.perturbation == "none"}
    for measurement in measured.values():
        if measurement.group.perturbation != "none":
            rows += _changes(measurement, plain.get(measurement.group.dataset), settings)
    return rows


def _changes(measurement, base, settings):
    group, known = measurement.group, base.group.metrics if base else ()
    rows, sources = [], {}
    for m, metric in enumerate(group.metrics):
        row = {
            "dataset": group.dataset,
            "perturbation": group.perturbation,
            "pct": group.pct,
            "metric": metric,
            "references": len(set(group.references)),
        }
        rows.append(row)
        if metric not in known:
            row["refused"] = f"the unperturbed file {group.dataset}_{metric}.csv was not given"
            continue
        b = known.index(metric)
        row["plain"] = {name: coefficient(base.pooled[name], b, settings.interval) for name in STATISTICS}
        row["perturbed"] = {name: coefficient(measurement.pooled[name], m, settings.interval) for name in STATISTICS}
        for name in STATISTICS:
            sources[metric, name] = _side_by_side(measurement.pooled[name], m, base.pooled[name], b)
        before, after = base.group.predictions[b], group.predictions[m]
        row["flips"] = _or_refused(
            (0, 1), flip_rate, before, after, group.references, settings.resamples, settings.seed
        )
        if metric in group.floors:
            references, floor = group.floors[metric]
            worse = 1 if group.label_higher_is == "worse" else -1
            row["floor"] = _or_refused(
                (0, 100),
                floor_percentile,
                floor,
                references,
                worse * before,
                group.references,
                settings.resamples,
                settings.seed,
            )
        else:
            row["floor"] = {"refused": group.no_floors[metric]}
    changes, _ = settled([(0, 1, source) for source in sources], sources, settings)
    for row in rows:
        if "refused" not in row:
            row["change"] = {name: changes[0, 1, (row["metric"], name)] for name in STATISTICS}
    return rows


def _side_by_side(first, a, second, b):
    """Two metrics of two Resampled of the same references as the two of one."""

    def both(x, y):
        return np.stack([x[..., a], y[..., b]], axis=-1)

    return Resampled(
        both(first.estimate, second.estimate),
        both(first.jackknife, second.jackknife),
        both(first.each, second.each),
        min(first.clusters, second.clusters),
        lambda W: both(first.statistic(W), second.statistic(W)),
        first.resamples,
        first.seed,
    )


def _or_refused(limits, function, *arguments):
    try:
        return coefficient(function(*arguments), 0, scale=None, limits=limits)
    except ValueError as error:
        return {"refused": str(error)}


def audit(groups):
    """One entry for each pair of metrics that some group has: A, B and every check of "A beats B".

    A is the better one by the mean pooled difference in CLAIM over the unperturbed groups (all, where none is). Checks:
    raw and fitted PLCC, SRCC, KRCC, pooled, as the mean over references and within references, in every group; CLAIM
    within every distortion type. A check holds or reverses where its own interval, simultaneous over its table, leaves
    zero out; able counts the checks that would as a rule have seen a difference of the size of the claim; changes lists
    where the fitted PLCC's verdict is another one under another mapping (None: it has no value there). groups:
    descriptions by evidence.describe.
    """
    by_pair = {}
    for group in groups:
        for row in group["pairwise"]:
            key = tuple(sorted((row["a"], row["b"])))
            by_pair.setdefault(key, []).append((group, row, 1 if row["a"] == key[0] else -1))
    return [_audited(key, rows) for key, rows in by_pair.items()]


def _audited(key, rows):
    plain = [entry for entry in rows if entry[0]["perturbation"] == "none"] or rows
    claims = [sign * row["pooled"][CLAIM]["value"] for _, row, sign in plain if "value" in row["pooled"][CLAIM]]
    turn = 1 if sum(claims) >= 0 else -1
    checks = []
    for group, row, sign in rows:
        differences = [(name + NAMES[scope], "", row[scope][name]) for scope in SCOPES for name in STATISTICS]
        differences += [(f"{CLAIM} of type {kind}", kind, cells[CLAIM]) for kind, cells in row["types"].items()]
        for what, kind, difference in differences:
            difference = turned_round(difference, sign * turn)
            verdict = difference.get("verdict")
            checks.append(
                {"group": group["name"], "what": what, "type": kind}
                | difference
                | {"verdict": OF_CLAIM.get(verdict, verdict)}
            )
        for scope in SCOPES:
            [check] = [
                check for check in checks if (check["group"], check["what"]) == (group["name"], FITTED + NAMES[scope])
            ]
            turned = {mapping: turned_round(cell, sign * turn) for mapping, cell in row["mappings"][scope].items()}
            check["mappings"] = {
                mapping: cell | {"verdict": OF_CLAIM.get(cell.get("verdict"), cell.get("verdict"))}
                for mapping, cell in turned.items()
            }
    size = abs(float(np.mean(claims))) if claims else 0.0
    return {
        "a": key[0 if turn > 0 else 1],
        "b": key[1 if turn > 0 else 0],
        "claim": size,
        "verdict": overall([check["verdict"] for check in checks]),
        "able": sum(check["detectable"] <= size for check in checks if "detectable" in check),
        "changes": [
            {"group": check["group"], "what": check["what"], "type": "", "mapping": mapping, "verdict": cell["verdict"]}
            for check in checks
            for mapping, cell in check.get("mappings", {}).items()
            if cell["verdict"] != check["verdict"]
        ],
        "checks": checks,
    }


def overall(verdicts):
    """One word for all checks of a claim; verdicts of refused checks are None."""
    given = {verdict for verdict in verdicts if verdict}
    if not given:
        return "refused"
    if "reverses" in given:
        return "reverses"
    if given == {"holds"}:
        return "holds"
    if "holds" in given:
        return "holds in part"
    return given.pop() if len(given) == 1 else "not shown"


def across(groups):
    """What the unperturbed groups say together of the metrics that all of them have -> dict, or {"refused": why}.

    Mean ranks with Nemenyi's critical difference for every coefficient, and the mean difference of each pair in CLAIM
    with every dataset taken as a draw from datasets like these. groups: descriptions by evidence.describe.
    """
    plain = [group for group in groups if group["perturbation"] == "none"]
    common = [m for m in plain[0]["metrics"] if all(m in group["metrics"] for group in plain)] if plain else []
    if len(plain) < 2 or len(common) < 2:
        return {
            "refused": f"{len(plain)} unperturbed datasets with {len(common)} metrics in common, expected 2 of each"
        }
    ranks = {}
    for name in STATISTICS:
        cells = [[group["coefficients"][m]["pooled"][name] for m in common] for group in plain]
        try:
            ranking = friedman_nemenyi([[cell.get("value", np.nan) for cell in row] for row in cells])
            ranks[name] = ranking._asdict() | {"mean": dict(zip(common, ranking.mean.tolist()))}
        except ValueError as error:
            ranks[name] = {"refused": str(error)}
    differences = []
    for a, b in combinations(common, 2):
        judged = []
        for group in plain:
            for row in group["pairwise"]:
                if {row["a"], row["b"]} == {a, b}:
                    judged.append(turned_round(row["pooled"][CLAIM], 1 if row["a"] == a else -1))
        if not judged:  # not asked for: --against leaves out the differences between two others
            continue
        given = [cell for cell in judged if "value" in cell]
        try:
            effect = random_effects([cell["value"] for cell in given], [cell["error"] for cell in given])
            differences.append({"a": a, "b": b} | effect._asdict())
        except ValueError as error:
            differences.append({"a": a, "b": b, "refused": str(error)})
    return {"datasets": [group["name"] for group in plain], "ranks": ranks, "differences": differences}


def turned_round(cell, sign):
    """The cell of b - a from that of a - b where sign is -1, itself where +1."""
    if sign > 0 or "refused" in cell:
        return cell
    low, high = cell["interval"]
    turned = {"better": "worse", "worse": "better"}
    return cell | {
        "value": -cell["value"],
        "interval": [-high, -low],
        "verdict": turned.get(cell["verdict"], cell["verdict"]),
    }
