"""How compare.py prints: one function a format, all from the same results (compare.compare). No arithmetic but rounding.

To add a format, write a function results -> str and enter it in FORMATS.
"""

import json

from common.text import aligned
from common.text import latex as escaped
from reports.compare.definitions import COLUMNS
from reports.compare.evidence import STATISTICS
from reports.compare.longform import csv_text


def number(value, digits=3):
    return (
        f"{value:.{digits}f}".replace("-0." + "0" * digits, "0." + "0" * digits)
        if abs(value) < 10000
        else f"{value:.4g}"
    )


def shown(cell, settings, digits=3):
    """A cell as text: value [low, high], or "-" where it is refused."""
    if "refused" in cell:
        return "-"
    low, high = cell[settings["interval"]]
    return f"{number(cell['value'], digits)} [{number(low, digits)}, {number(high, digits)}]"


def table(head, rows):
    """Aligned columns; the first to the left, the others to the right."""
    return "\n".join(aligned([[str(entry) for entry in row] for row in [head, *rows]]))


def p_text(p):
    return "<.001" if p < 0.001 else f"{p:.3f}"


def text(results):
    """What is printed by default: per group the coefficients, fits and pairwise differences; then robustness; then the audit."""
    settings = results["settings"]
    parts = [
        f"Intervals: 95 %, {settings['interval']}, bootstrap over references, "
        f"{settings['resamples']} resamples, seed {settings['seed']}. "
        f"plcc_fit: after {settings['fit']}. -: refused, the reason is in --format json and on the page."
    ]
    for group in results["groups"]:
        parts.append("\n".join(_group(group, settings)))
    if results["stability"]:
        parts.append("\n".join(_stability(results["stability"], settings)))
    if results["audit"]:
        parts.append(
            "\n".join(
                [
                    'Audit: does "A beats B" survive? Every coefficient, pooled and per reference, and every distortion type [..]'
                ]
                + ["  " + audit_line(entry) for entry in results["audit"]]
            )
        )
    return "\n\n".join(parts) + "\n"


def places(checks):
    """Where checks were made, in short: 'live: plcc, srcc per reference; tid2013: types 01 02'."""
    parts = []
    for group in dict.fromkeys(check["group"] for check in checks):
        own = [check for check in checks if check["group"] == group]
        types = [check["type"] for check in own if check["type"]]
        parts.append(
            f"{group}: "
            + ", ".join(
                [check["what"] for check in own if not check["type"]] + (["types " + " ".join(types)] if types else [])
            )
        )
    return "; ".join(parts)


def audit_line(entry):
    """'A beats B: ties. Holds in n of N; ties in k (where)'."""
    by = {
        kind: [check for check in entry["checks"] if check["verdict"] == kind] for kind in ("holds", "ties", "reverses")
    }
    where = [f"; {kind} in {len(by[kind])} ({places(by[kind])})" for kind in ("reverses", "ties") if by[kind]]
    return (
        f"{entry['a']} beats {entry['b']}: {entry['verdict']}. Holds in {len(by['holds'])} of {sum(map(len, by.values()))}"
        + "".join(where)
    )


def _group(group, settings):
    yield f"== {group['name']}: {group['pairs']} pairs of {group['references']} references; {'; '.join(group['notes'])}"
    order = sorted(
        group["metrics"], key=lambda metric: -group["coefficients"][metric]["pooled"]["srcc"].get("value", -2)
    )
    of = group["coefficients"]
    yield table(
        ["metric"] + [COLUMNS[name] for name in STATISTICS] + ["SRCC, mean of references"],
        [
            [metric]
            + [shown(of[metric]["pooled"][name], settings) for name in STATISTICS]
            + [shown(of[metric]["per_reference"]["srcc"], settings)]
            for metric in order
        ],
    )
    yield "Fits:"
    yield table(
        ["  metric", "mapping", "PLCC", "RMSE", "RMSE*", "outliers", "starts agree", "parameters"],
        [
            [f"  {metric}", name]
            + [number(fit[key]) if key in fit else "-" for key in ("plcc", "rmse", "rmse_star", "outlier_ratio")]
            + [
                f"{fit['agreeing']}/{fit['starts']}" + ("" if fit["converged"] else ", not converged"),
                " ".join(f"{b:.4g}" for b in fit["parameters"])
                + ("" if fit["monotonic"] else " (not monotonic: withheld)"),
            ]
            for metric in order
            for name, fit in group["fits"][metric].items()
        ],
    )
    if group["types"]:
        yield "SRCC by distortion type:"
        yield table(
            ["  type", "pairs", "references"] + order,
            [
                [f"  {kind}", found["pairs"], found["references"]]
                + [
                    shown(found["coefficients"][metric]["srcc"], settings, 2) if "coefficients" in found else "-"
                    for metric in order
                ]
                for kind, found in group["types"].items()
            ],
        )
    if group["pairwise"]:
        yield "Differences A - B (p: Williams on SRCC and the bootstrap, both after Holm over all pairs):"
        yield table(
            ["  A - B"] + [COLUMNS[name] for name in STATISTICS] + ["p Williams", "p bootstrap"],
            [
                [f"  {row['a']} - {row['b']}"]
                + [shown(row["pooled"][name], settings) for name in STATISTICS]
                + [
                    p_text(row["tests"]["srcc"]["williams"]["p_holm"]) if "williams" in row["tests"]["srcc"] else "-",
                    p_text(row["p_bootstrap_holm"]["srcc"]) if "srcc" in row["p_bootstrap_holm"] else "-",
                ]
                for row in group["pairwise"]
            ],
        )
        for row in group["pairwise"]:
            for warning in row["warnings"]:
                yield f"  warning: {row['a']} - {row['b']}: {warning}"
    krasula = group["krasula"]
    yield from spread_lines(group["spread"])
    if "refused" in krasula:
        yield f"Krasula's analysis: refused: {krasula['refused']}"
    else:
        names = ("different_similar", "better_worse", "correct")
        yield f"Krasula's analysis ({krasula['different']} of {krasula['pairs']} pairs of images differ significantly):"
        yield table(
            ["  metric"] + [COLUMNS[name] for name in names],
            [
                [f"  {metric}"] + [shown(krasula["metrics"][metric][name], settings) for name in names]
                for metric in order
            ],
        )
        for row in krasula["pairwise"]:
            yield f"  {row['a']} - {row['b']}: " + ", ".join(
                f"{COLUMNS[name]} {shown(row[name], settings)} p {p_text(row[name]['p_holm'])}" for name in names
            )


def spread_lines(spread):
    """What the labels' spreads are, and which images were left out of what needs one; nothing where there is none."""
    if "refused" in spread:
        return
    raters = "" if spread["raters"] is None else f", about {spread['raters']:g} ratings an image"
    yield f"Spread of the labels: {spread['kind']}{raters} ({spread['source']})"
    if spread["zero"]:
        yield (
            f"Zero for {len(spread['zero'])} of {spread['images']} images, which are left out of Krasula's analysis, RMSE* and "
            f"outliers: {', '.join(name.rsplit('/', 1)[-1] for name in spread['zero'])}"
        )


def _stability(rows, settings):
    yield "== Robustness: perturbed against plain scores of the same metric"
    given = [row for row in rows if "refused" not in row]
    yield table(
        ["dataset", "perturbation", "metric", "references"]
        + [f"{COLUMNS[name]} change" for name in STATISTICS]
        + ["rank flips", "noise floor"],
        [
            [row["dataset"], f"{row['perturbation']}-{row['pct']:g}", row["metric"], row["references"]]
            + [shown(row["change"][name], settings) for name in STATISTICS]
            + [shown(row["flips"], settings), shown(row["floor"], settings, 1)]
            for row in given
        ],
    )
    for row in rows:
        if "refused" in row:
            yield f"{row['dataset']} {row['perturbation']}-{row['pct']:g} {row['metric']}: refused: {row['refused']}"
    yield floor_refusal(given)


def floor_refusal(rows):
    """One sentence on the noise floors that are not there, or nothing."""
    missing = [row["floor"]["refused"] for row in rows if "refused" in row["floor"]]
    return f"Noise floor refused for {len(missing)} of {len(rows)}: {missing[0]}" if missing else ""


def json_text(results):
    return json.dumps(results, indent=1, allow_nan=False) + "\n"


def latex(results):
    """A table a group: coefficients with intervals, bold where not significantly different from the best. Needs booktabs."""
    settings, parts = results["settings"], []
    for group in results["groups"]:
        best = {name: _not_worse(group, name, settings) for name in STATISTICS}
        lines = [
            r"\begin{table}",
            r"\centering",
            r"\begin{tabular}{l" + "c" * len(STATISTICS) + "}",
            r"\toprule",
            " & ".join(["Metric"] + [COLUMNS[name] for name in STATISTICS]) + r" \\",
            r"\midrule",
        ]
        for metric in group["metrics"]:
            cells = []
            for name in STATISTICS:
                cell = group["coefficients"][metric]["pooled"][name]
                value = "--" if "refused" in cell else number(cell["value"])
                interval = (
                    ""
                    if "refused" in cell
                    else " {{\\scriptsize [{}, {}]}}".format(*map(number, cell[settings["interval"]]))
                )
                cells.append((rf"\textbf{{{value}}}" if metric in best[name] else value) + interval)
            lines.append(" & ".join([escaped(metric)] + cells) + r" \\")
        lines += [
            r"\bottomrule",
            r"\end{tabular}",
            rf"\caption{{{escaped(group['name'])}: {group['pairs']} pairs of {group['references']} references. Bold: not "
            rf"significantly different "
            rf"from the best. Brackets: 95\,\% intervals of a bootstrap over references ({settings['resamples']} resamples).}}",
            r"\end{table}",
        ]
        parts.append("\n".join(lines))
    return "% needs \\usepackage{booktabs}\n" + "\n\n".join(parts) + "\n"


def _not_worse(group, name, settings):
    """The best metric in a statistic, and those whose difference from it holds zero in its interval."""
    values = {
        metric: of["pooled"][name]["value"]
        for metric, of in group["coefficients"].items()
        if "value" in of["pooled"][name]
    }
    if not values:
        return set()
    best = max(values, key=values.get)
    ties = {best}
    for row in group["pairwise"]:
        if best in (row["a"], row["b"]) and "value" in row["pooled"][name]:
            low, high = row["pooled"][name][settings["interval"]]
            if low <= 0 <= high:
                ties |= {row["a"], row["b"]}
    return ties


FORMATS = {"text": text, "csv": csv_text, "json": json_text, "latex": latex}
