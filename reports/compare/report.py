"""How compare.py prints: one function a format, all from the same results (compare.compare), in the words of words.py.

To add a format, write a function results -> str and enter it in FORMATS.
"""

import json

from common.text import aligned, count, number, prose
from reports.compare.definitions import COLUMNS, DEFINITIONS
from reports.compare.evidence import STATISTICS
from reports.compare.latex import latex
from reports.compare.longform import csv_text
from reports.compare.reviewers import TESTS
from reports.compare.words import (
    BY_REFERENCE,
    FEW_DATASETS,
    LETTERS,
    MARKS_TEXT,
    READING,
    REVIEWERS,
    UNBOUNDED_NOTE,
    audit_line,
    ceiling_row,
    effect_text,
    family_text,
    floor_refusal,
    p_text,
    parameters_text,
    reviewers_metrics,
    reviewers_pairs,
    shown,
    spread_lines,
    times_text,
    type_notes,
    verdict_text,
)


def table(head, rows):
    """Aligned columns; the first to the left, the others to the right."""
    return "\n".join(aligned([[str(entry) for entry in row] for row in [head, *rows]]))


def text(results):
    """What is printed by default: per group coefficients, fits and differences; then robustness; then the audit."""
    settings = results["settings"]
    head = (
        f"Coefficients: 95 % intervals of each alone ({settings['interval']}). Differences: 95 % intervals of a table "
        f"at once; {MARKS_TEXT}. References resampled {settings['resamples']} times or more, seed {settings['seed']}. "
        f"PLCC fitted: after {settings['fit']}. -: refused, the reason is in --format json and on the page; [-]: the "
        "same without any one reference, so that no error can be estimated."
    )
    parts = [[prose(head)]] + [list(_group(group, settings)) for group in results["groups"]]
    if results["stability"]:
        parts.append(list(_stability(results["stability"])))
    if "refused" not in results["across"]:
        parts.append(list(_across(results["across"])))
    if results["audit"]:
        question = 'Audit: does "A beats B" survive? Every coefficient, pooled, per and within references, every type'
        parts.append([prose(question), *(prose(f"  {audit_line(entry)}") for entry in results["audit"])])
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _group(group, settings):
    size = f"{group['pairs']} pairs of {count(group['references'], 'reference')}"
    yield prose(f"== {group['name']}: {size}; {'; '.join(group['notes'])}")
    order = sorted(
        group["metrics"], key=lambda metric: -group["coefficients"][metric]["pooled"]["srcc"].get("value", -2)
    )
    of = group["coefficients"]
    yield table(
        ["metric"] + [COLUMNS[name] for name in STATISTICS],
        [
            [metric] + [f"{shown(of[metric]['pooled'][name])}{_lettered(group, name, metric)}" for name in STATISTICS]
            for metric in order
        ]
        + ceiling_row(group, "(noise ceiling)"),
    )
    if any(group["letters"].values()):
        yield prose(f"  {LETTERS}")
    for name in STATISTICS if settings["against"] is None else ():
        best = ", ".join(group["best"][name]) or "-"
        yield prose(f"  As good as the best in {COLUMNS[name]} (no other is shown better): {best}")
    for scope, title in BY_REFERENCE.items():
        yield f"{title}:"
        yield table(
            ["  metric"] + [COLUMNS[name] for name in STATISTICS],
            [[f"  {metric}"] + [shown(of[metric][scope][name]) for name in STATISTICS] for metric in order],
        )
    yield "Fits:"
    yield table(
        ["  metric", "mapping", "PLCC", "RMSE", "RMSE*", "outliers", "starts agree", "parameters"],
        [
            [f"  {metric}", name]
            + [number(fit[key]) if key in fit else "-" for key in ("plcc", "rmse", "rmse_star", "outlier_ratio")]
            + [
                f"{fit['agreeing']}/{fit['starts']}",
                parameters_text(fit),
            ]
            for metric in order
            for name, fit in group["fits"][metric].items()
        ],
    )
    if any(fit["unbounded"] for fits in group["fits"].values() for fit in fits.values()):
        yield prose(f"  {UNBOUNDED_NOTE}")
    if group["types"]:
        yield "SRCC by distortion type:"
        yield table(
            ["  type", "pairs", "references"] + order,
            [
                [f"  {kind}", of_type["pairs"], of_type["references"]]
                + [
                    shown(of_type["coefficients"][metric]["srcc"], 2) if "coefficients" in of_type else "-"
                    for metric in order
                ]
                for kind, of_type in group["types"].items()
            ],
        )
        yield from (prose(f"  {note}") for note in type_notes(group))
    if group["pairwise"]:
        yield prose(f"Differences A - B: {family_text(group, 'pooled', settings)}.")
        floor = group["families"]["pooled"]["p_floor"] if group["families"]["pooled"] else 0.0
        yield table(
            ["  A - B"] + [COLUMNS[name] for name in STATISTICS] + ["p SRCC", "SRCC: verdict", "p Williams"],
            [
                [f"  {row['a']} - {row['b']}"]
                + [shown(row["pooled"][name]) for name in STATISTICS]
                + (
                    [
                        p_text(row["pooled"]["srcc"]["p"], floor),
                        verdict_text(row["pooled"]["srcc"], group["families"]["pooled"]),
                    ]
                    if "p" in row["pooled"]["srcc"]
                    else ["-", "-"]
                )
                + [p_text(row["tests"]["srcc"]["williams"]["p_holm"]) if "williams" in row["tests"]["srcc"] else "-"]
                for row in group["pairwise"]
            ],
        )
        for row in group["pairwise"]:
            for warning in row["warnings"]:
                yield prose(f"  warning: {row['a']} - {row['b']}: {warning}")
    yield from _reviewers(group, order)
    krasula = group["krasula"]
    yield from map(prose, spread_lines(group["spread"]))
    if "refused" in krasula:
        yield prose(f"Krasula's analysis: refused: {krasula['refused']}")
    else:
        names = ("different_similar", "better_worse", "correct")
        yield f"Krasula's analysis ({krasula['different']} of {krasula['pairs']} pairs of images differ significantly):"
        yield table(
            ["  metric"] + [COLUMNS[name] for name in names],
            [[f"  {metric}"] + [shown(krasula["metrics"][metric][name]) for name in names] for metric in order],
        )
        for row in krasula["pairwise"]:
            cells = (
                f"{COLUMNS[n]} {shown(row[n])}" + (f" p {p_text(row[n]['p'])}" if "p" in row[n] else "") for n in names
            )
            yield prose(f"  {row['a']} - {row['b']}: {', '.join(cells)}")


def _reviewers(group, order):
    yield prose(f"{REVIEWERS}; no verdict rests on them. {times_text(group['reviewers'])}")
    yield table(*_indented(*reviewers_metrics(group, order)))
    head, rows = reviewers_pairs(group)
    if rows:
        yield prose(f"  {READING}")
        yield table(*_indented(head, rows))
    for name in TESTS:
        refused = [row[name].get("refused") for row in group["reviewers"]["pairwise"]]
        if refused and all(refused):
            yield prose(f"  {DEFINITIONS[name].name}: refused: {refused[0]}")


def _indented(head, rows):
    return [f"  {head[0]}", *head[1:]], [[f"  {row[0]}", *row[1:]] for row in rows]


def _across(across):
    datasets = len(across["datasets"])
    yield prose(f"== Across {datasets} datasets: {', '.join(across['datasets'])}. {FEW_DATASETS.format(datasets)}.")
    given = {name: ranking for name, ranking in across["ranks"].items() if "refused" not in ranking}
    if given:
        metrics = list(next(iter(given.values()))["mean"])
        yield table(
            ["mean rank (1: best)"] + [COLUMNS[name] for name in given],
            [[f"  {m}"] + [number(ranking["mean"][m], 2) for ranking in given.values()] for m in metrics]
            + [["  Nemenyi's critical difference"] + [number(ranking["critical"], 2) for ranking in given.values()]]
            + [["  p, Friedman"] + [p_text(ranking["p"]) for ranking in given.values()]],
        )
    yield "Mean difference in SRCC, datasets as random effects (95 %):"
    for row in across["differences"]:
        yield f"  {row['a']} - {row['b']}: {effect_text(row)}"


def _stability(rows):
    yield "== Robustness: perturbed against plain scores of the same metric"
    given = [row for row in rows if "refused" not in row]
    yield table(
        ["dataset", "perturbation", "metric", "references"]
        + [f"{COLUMNS[name]} change" for name in STATISTICS]
        + ["rank flips", "noise floor"],
        [
            [row["dataset"], f"{row['perturbation']}-{row['pct']:g}", row["metric"], row["references"]]
            + [shown(row["change"][name]) for name in STATISTICS]
            + [shown(row["flips"]), shown(row["floor"], 1)]
            for row in given
        ],
    )
    for row in rows:
        if "refused" in row:
            name = f"{row['dataset']} {row['perturbation']}-{row['pct']:g} {row['metric']}"
            yield prose(f"{name}: refused: {row['refused']}")
    if floor_refusal(given):
        yield prose(floor_refusal(given))


def json_text(results):
    return json.dumps(results, indent=1, allow_nan=False) + "\n"


def _lettered(group, name, metric):
    share = group["letters"][name].get(metric, "")
    return f" {share}" if share else ""


FORMATS = {"text": text, "csv": csv_text, "json": json_text, "latex": latex}
