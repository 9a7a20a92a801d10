"""How fuse.py prints: one function a format, report -> str, entered in FORMATS. No arithmetic.

What was held out comes first; what is in sample comes last and says so.
"""

import csv
import io
import json

from common.text import aligned, count, number, prose
from reports.fuse.cells import cell_name

HEADS = ("held-out cell", "metric", "what it is", "SRCC", "PLCC", "KRCC", "fused minus it", "95 % at once", "verdict")

CONTENT = "held out is the dataset, not its content (--shared-content leaves named references out)"
SAME_PHOTOGRAPHS = (
    ": LIVE and TID2013 show photographs of the same collection (Kodak's), so that neither is new content to what was "
    "chosen on the other"
)


def signed(value):
    return "" if value is None else number(value, sign="+")


def interval(low, high):
    return "" if low is None else f"[{signed(low)}, {signed(high)}]"


def cell_row(line):
    return (
        cell_name(line["dataset"], line["perturbation"], line["pct"]),
        "fused" if line["role"] == "fused" else line["metric"],
        "" if line["role"] == "fused" else line["role"],
        *(f"{line[k]:.3f}" for k in ("srcc", "plcc", "krcc")),
        signed(line["difference"]),
        interval(line["low"], line["high"]),
        line["verdict"] or "",
    )


def intervals_note(report):
    """What the intervals hold for, how many standard errors they take, and which differences have none."""
    references = {line["dataset"]: line["references"] for line in report["lines"]}
    without = sum(line["difference"] is not None and line["low"] is None for line in report["lines"])
    compared = sum(line["low"] is not None for line in report["lines"])
    lacking = f"no interval for {count(without, 'line')}: the same without any one reference, so that no error is known"
    if not compared:
        return lacking
    drawn = f"max-t over {report['resamples']} resamples of the " if report["method"] == "max-t" else "Bonferroni; "
    return (
        f"95 % at once: intervals of the paired differences in SRCC that hold for all {compared} lines together "
        f"(+-{report['critical']:.2f} standard errors, {drawn}references: "
        f"{', '.join(f'{d}: {n}' for d, n in references.items())}); few references carry little; better, worse: "
        "the fused metric is" + (f"; {lacking}" if without else "")
    )


def sections(report):
    """[(title, heads or None, rows)] of a report: rows of strings under heads, or lines of text."""
    tried = report["tried"]
    parts: list[tuple[str, tuple | None, list]] = []
    parts.append(
        (
            "Held out: chosen without the dataset it is reported for",
            ("held out", "chosen on", "chosen", "mean SRCC", "best factor", "its mean", "gain"),
            [
                (
                    h["held_out"],
                    ", ".join(h["chosen_on"]),
                    h["expression"],
                    f"{h['mean_srcc']:.3f}",
                    h["best_factor"],
                    f"{h['best_factor_mean_srcc']:.3f}",
                    signed(h["gain"]),
                )
                for h in report["held_out"]
            ],
        )
    )
    parts.append(
        (
            "Held out, cell by cell",
            HEADS,
            [cell_row(line) for line in report["lines"]],
        )
    )
    notes = [
        intervals_note(report),
        CONTENT + (SAME_PHOTOGRAPHS if {"live", "tid2013"} <= {h["held_out"] for h in report["held_out"]} else ""),
        *(f"left out of {d} as shared content: {', '.join(names)}" for d, names in report["shared"].items()),
        "best single: the best method of the folder in that cell, picked on that very cell, which favours it",
        f"cells used: {', '.join(report['used'])}",
        *(f"not used: {cell}, which lacks {', '.join(names)}" for cell, names in report["lacks"].items()),
        f"floor of each factor: {report['floor']:g}",
    ]
    if tried:
        notes += [
            f"tried: {tried['pairs']} pairs, {tried['triples']} triples, {tried['forward']} larger sets by forward "
            f"selection: {tried['combinations']} combinations; for each dataset held out on the others alone, so that "
            "they cost its own intervals nothing",
            *tried["notes"],
        ]
    parts.append(("What this is", None, notes))
    parts += curve_sections(report)
    sample = report["in_sample"]
    means = ", ".join(f"{dataset} {mean:.3f}" for dataset, mean in sample["mean_srcc"].items())
    parts.append(
        (
            "In sample: chosen on all datasets, to be used on others; its numbers here prove nothing",
            None,
            [sample["expression"], f"mean SRCC in sample: {means}"],
        )
    )
    return parts


def curve_sections(report):
    """One table a parameter: the mean over its values, a column for each dataset held out;
    blocks have too many to print."""
    groups = {}
    for curve in report["curves"]:
        groups.setdefault(curve["parameter"], []).append(curve)
    parts = []
    for name, curves in groups.items() if len(groups) <= 4 else ():
        values = sorted({v for c in curves for v in c["values"]})
        heads = (
            f"{'exponent' if report['by'] == 'exponents' else 'weight'} of {name}",
            *(f"without {c['held_out']}" if c["held_out"] else "all" for c in curves),
        )
        rows = []
        for v in values:
            cells = []
            for c in curves:
                mean = dict(zip(c["values"], c["mean_srcc"])).get(v)
                cells.append("" if mean is None else f"{mean:.4f}" + (" *" if v == c["chosen"] else ""))
            rows.append((f"{v:g}", *cells))
        parts.append(("Mean SRCC of the datasets that chose, in sample (*: chosen)", heads, rows))
    return parts


def text(report):
    page = []
    for title, heads, rows in sections(report):
        page += [title, ""]
        if heads is None:
            page += [prose(f"  {row}") for row in rows]
        else:
            previous, lines = [None, *(row[0] for row in [heads, *rows])], [heads, *rows]
            shown = [["", *row[1:]] if row[0] == before else list(row) for row, before in zip(lines, previous)]
            for row, before, line in zip(lines, previous, aligned(shown, left=range(len(heads)))):
                if heads[: len(HEADS)] == HEADS and row[0] != before and before:
                    page.append("")
                page.append("  " + line)
        page.append("")
    return "\n".join(page)


def markdown(report):
    page = []
    for title, heads, rows in sections(report):
        page += [f"**{title}**", ""]
        page += (
            [f"- {row}" for row in rows]
            if heads is None
            else [f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows)]
        )
        page.append("")
    return "\n".join(page)


def as_csv(report):
    """The held-out lines, nothing else."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(report["lines"][0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(report["lines"])
    return out.getvalue()


def as_json(report):
    return json.dumps(report, indent=1) + "\n"


FORMATS = {"text": text, "csv": as_csv, "json": as_json, "markdown": markdown}
