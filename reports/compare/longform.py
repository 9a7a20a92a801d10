"""The results of compare.py in long form, for --format csv and for notebooks:
every number with its place, one dict a row.

pandas.DataFrame(longform.flat(results))
"""

import csv
import io

from reports.compare.evidence import SCOPES


def flat(results):
    """Yields a dict for every number in `results` (compare.compare);
    all have the same keys, empty where they do not apply."""

    def row(group, scope, metric, other, statistic, cell, **more):
        low, high = cell.get("interval") or ["", ""]
        all_low, all_high = cell.get("simultaneous", ["", ""])
        return {
            "group": group,
            "scope": scope,
            "metric": metric,
            "minus": other,
            "statistic": statistic,
            "value": cell.get("value", ""),
            "low": low,
            "high": high,
            "simultaneous_low": all_low,
            "simultaneous_high": all_high,
            "error": cell.get("error", ""),
            "references": more.get("references", ""),
            "p": cell.get("p", ""),
            "p_stepdown": cell.get("p_stepdown", ""),
            "p_holm": cell.get("p_holm", ""),
            "p_references": cell.get("p_references", ""),
            "times": cell.get("times", ""),
            "verdict": cell.get("verdict", "") or "",
            "detectable": cell.get("detectable", ""),
            "end_error": cell.get("end_error", ""),
            "letters": more.get("letters", ""),
            "refused": cell.get("refused", ""),
        }

    for group in results["groups"]:
        name, references = group["name"], group["references"]
        for metric, scopes in group["coefficients"].items():
            for scope, cells in scopes.items():
                for statistic, cell in cells.items():
                    share = group["letters"][statistic].get(metric, "") if scope == "pooled" else ""
                    yield row(name, scope, metric, "", statistic, cell, references=references, letters=share)
        for statistic, value in group["ceiling"].items():
            cell = {"refused": value} if statistic == "refused" else {"value": value}
            yield row(name, "noise ceiling", "", "", "" if statistic == "refused" else statistic, cell)
        for kind, of_type in group["types"].items():
            for metric, cells in of_type.get("coefficients", {}).items():
                yield from (
                    row(name, f"type {kind}", metric, "", statistic, cell, references=of_type["references"])
                    for statistic, cell in cells.items()
                )
        for metric, fits in group["fits"].items():
            for mapping, fit in fits.items():
                yield from (
                    row(
                        name,
                        mapping,
                        metric,
                        "",
                        key,
                        {"value": fit[key]} if key in fit else {"refused": fit.get("refused", "no spread")},
                    )
                    for key in ("plcc", "rmse", "rmse_star", "outlier_ratio")
                )
                yield from (
                    row(name, mapping, metric, "", f"b{k}", {"value": b}) for k, b in enumerate(fit["parameters"], 1)
                )
        for pair in group["pairwise"]:
            a, b = pair["a"], pair["b"]
            for scope in SCOPES:
                yield from (
                    row(name, scope, a, b, statistic, cell, references=references)
                    for statistic, cell in pair[scope].items()
                )
            for kind, cells in pair["types"].items():
                yield from (row(name, f"type {kind}", a, b, statistic, cell) for statistic, cell in cells.items())
            for statistic, tests in pair["tests"].items():
                yield from (
                    row(name, test, a, b, statistic, {"value": outcome["statistic"]} | outcome)
                    for test, outcome in tests.items()
                    if isinstance(outcome, dict)
                )
        for metric, of in group["reviewers"]["metrics"].items():
            yield from (row(name, "pairs independent", metric, "", key, cell) for key, cell in of.items())
        for pair in group["reviewers"]["pairwise"]:
            yield from (
                row(name, "pairs independent", pair["a"], pair["b"], key, {"value": cell.get("statistic", "")} | cell)
                for key, cell in pair.items()
                if key not in ("a", "b")
            )
        if "metrics" in group["krasula"]:
            for metric, cells in group["krasula"]["metrics"].items():
                yield from (
                    row(name, "krasula", metric, "", statistic, cell, references=references)
                    for statistic, cell in cells.items()
                )
            for pair in group["krasula"]["pairwise"]:
                yield from (
                    row(name, "krasula", pair["a"], pair["b"], statistic, cell, references=references)
                    for statistic, cell in pair.items()
                    if statistic not in ("a", "b")
                )
        else:
            yield row(name, "krasula", "", "", "", group["krasula"])
    for change in results["stability"]:
        name = f"{change['dataset']} {change['perturbation']}-{change['pct']:g}"
        cells = {f"change of {key}": cell for key, cell in change.get("change", {}).items()} | {
            key: change[key] for key in ("flips", "floor") if key in change
        }
        yield from (
            row(name, "robustness", change["metric"], "", key, cell, references=change["references"])
            for key, cell in cells.items()
        )
    for statistic, ranking in results["across"].get("ranks", {}).items():
        for metric, rank in ranking.get("mean", {}).items():
            yield row("across", "mean rank", metric, "", statistic, {"value": rank, "p": ranking["p"]})
    for effect in results["across"].get("differences", ()):
        cell = (
            effect
            if "refused" in effect
            else {"value": effect["estimate"], "interval": [effect["low"], effect["high"]]}
        )
        yield row("across", "random effects", effect["a"], effect["b"], "srcc", cell)
    for entry in results["audit"]:
        yield from (
            row(
                "audit",
                f"{check['group']} {check['what']}",
                entry["a"],
                entry["b"],
                check["verdict"] or "refused",
                check,
            )
            for check in entry["checks"]
        )
        yield from (
            row(
                "audit",
                f"{check['group']} {check['what']} after {mapping}",
                entry["a"],
                entry["b"],
                cell["verdict"] or "refused",
                cell,
            )
            for check in entry["checks"]
            for mapping, cell in check.get("mappings", {}).items()
        )


def csv_text(results):
    out, rows = io.StringIO(), list(flat(results))
    writer = csv.DictWriter(out, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()
