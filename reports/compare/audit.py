"""Does "A beats B" survive? From evidence.py's findings: robustness measures, and one audit entry for each pair."""

from agreement.stability import flip_rate, floor_percentile
from reports.compare.evidence import STATISTICS, cell, verdict

CLAIM = "srcc"  # the coefficient in which A beats B, and the one looked at by distortion type


def stability(measured, settings):
    """For every perturbed group with its plain one: change of each coefficient, rank flips, noise floor -> list of dicts.

    measured: {group name: evidence.Measured}. Both groups were resampled by the same seed over the same references, so the
    resamples are paired and a change is a difference of resampled values.
    """
    import numpy as np

    from agreement.bootstrap import Resampled

    rows, plain = [], {m.group.dataset: m for m in measured.values() if m.group.perturbation == "none"}
    for found in measured.values():
        group, base = found.group, plain.get(found.group.dataset)
        if group.perturbation == "none":
            continue
        for m, metric in enumerate(group.metrics):
            row = {
                "dataset": group.dataset,
                "perturbation": group.perturbation,
                "pct": group.pct,
                "metric": metric,
                "references": len(set(group.references)),
            }
            rows.append(row)
            if base is None or metric not in base.group.metrics:
                row["refused"] = f"the unperturbed file {group.dataset}_{metric}.csv was not given"
                continue
            b = base.group.metrics.index(metric)
            row["plain"] = {name: cell(base.pooled[name], b) for name in STATISTICS}
            row["perturbed"] = {name: cell(found.pooled[name], m) for name in STATISTICS}
            row["change"] = {}
            for name in STATISTICS:
                parts = [
                    [getattr(r, part)[..., i] for r, i in ((found.pooled[name], m), (base.pooled[name], b))]
                    for part in ("estimate", "values", "jackknife", "each")
                ]
                row["change"][name] = cell(Resampled(*(np.stack(two, axis=-1) for two in parts)), 0, 1)
            before, after = base.group.predictions[b], group.predictions[m]
            row["flips"] = _or_refused(flip_rate, before, after, group.references, settings.resamples, settings.seed)
            if metric in group.floors:
                references, floor = group.floors[metric]
                worse = 1 if group.label_higher_is == "worse" else -1
                row["floor"] = _or_refused(
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
    return rows


def _or_refused(function, *arguments):
    try:
        return cell(function(*arguments), 0)
    except ValueError as error:
        return {"refused": str(error)}


def audit(groups, settings):
    """One entry for each pair of metrics that some group has: A, B and every check of "A beats B".

    A is the better one by the mean pooled difference in CLAIM over the unperturbed groups (all, where none is). Checks: raw and
    fitted PLCC, SRCC, KRCC, pooled and as the mean over references, in every group; CLAIM within every distortion type.
    Each holds, ties (zero is inside the interval) or reverses. groups: descriptions by evidence.describe.
    """
    found = {}
    for group in groups:
        for row in group["pairwise"]:
            key = tuple(sorted((row["a"], row["b"])))
            found.setdefault(key, []).append((group, row, 1 if row["a"] == key[0] else -1))
    return [_audited(key, rows, settings) for key, rows in found.items()]


def _audited(key, rows, settings):
    plain = [entry for entry in rows if entry[0]["perturbation"] == "none"] or rows
    claims = [sign * row["pooled"][CLAIM]["value"] for _, row, sign in plain if "value" in row["pooled"][CLAIM]]
    turn = 1 if sum(claims) >= 0 else -1
    checks = []
    for group, row, sign in rows:
        found = [
            (statistic + scope, "", cells[statistic])
            for scope, cells in (("", row["pooled"]), (" per reference", row["per_reference"]))
            for statistic in STATISTICS
        ] + [(f"{CLAIM} of type {kind}", kind, cells[CLAIM]) for kind, cells in row["types"].items()]
        for what, kind, difference in found:
            difference = turned_round(difference, sign * turn)
            checks.append(
                {"group": group["name"], "what": what, "type": kind, "verdict": verdict(difference, settings)}
                | difference
            )
    verdicts = {check["verdict"] for check in checks}
    overall = next((kind for kind in ("reverses", "ties", "holds") if kind in verdicts), "refused")
    return {"a": key[0 if turn > 0 else 1], "b": key[1 if turn > 0 else 0], "verdict": overall, "checks": checks}


def turned_round(cell, sign):
    """The cell of b - a from that of a - b where sign is -1, itself where +1."""
    if sign > 0 or "refused" in cell:
        return cell
    return {"value": -cell["value"]} | {
        method: [-cell[method][1], -cell[method][0]] for method in ("percentile", "bca")
    }
