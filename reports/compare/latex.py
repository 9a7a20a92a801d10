"""The results of compare.py as tables of LaTeX."""

from common.text import count, number
from common.text import latex as escaped
from reports.compare.definitions import COLUMNS
from reports.compare.evidence import STATISTICS
from reports.compare.words import (
    BY_REFERENCE,
    READING,
    REVIEWERS,
    bounds,
    ceiling_row,
    family_text,
    reviewers_metrics,
    reviewers_pairs,
    shown,
    times_text,
)


def latex(results):
    """Tables of each group: coefficients with intervals and letters, bold where no other metric is shown better; those
    by reference; the tests that reviewers ask for. Needs booktabs."""
    parts = []
    for group in results["groups"]:
        parts += [
            _latex_coefficients(group, results["settings"]),
            *_latex_by_reference(group),
            *_latex_reviewers(group),
        ]
    return "% needs \\usepackage{booktabs}\n" + "\n\n".join(parts) + "\n"


def latex_table(head, rows, caption, foot=()):
    """A table whose first column stands to the left; head, rows, foot of cells that are LaTeX already."""
    sections = [[head], rows, foot] if foot else [[head], rows]
    body = [line for section in sections for line in (r"\midrule", *(" & ".join(row) + r" \\" for row in section))]
    lines = [
        r"\begin{table}",
        r"\centering",
        r"\begin{tabular}{l" + "c" * (len(head) - 1) + "}",
        r"\toprule",
        *body[1:],
    ]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", rf"\caption{{{caption}}}", r"\end{table}"])


def _latex_coefficients(group, settings):
    def cell(metric, name):
        of, share = group["coefficients"][metric]["pooled"][name], group["letters"][name].get(metric, "")
        if "refused" in of:
            return "--"
        value = number(of["value"])
        value = rf"\textbf{{{value}}}" if metric in group["best"][name] else value
        return value + (rf"\textsuperscript{{{share}}}" if share else "") + rf" {{\scriptsize {bounds(of)}}}"

    bold = " Bold: no other metric is shown to be better." if any(group["best"].values()) else ""
    lettered = " Metrics that share a letter are not shown different." if any(group["letters"].values()) else ""
    return latex_table(
        ["Metric"] + [COLUMNS[name] for name in STATISTICS],
        [[escaped(metric)] + [cell(metric, name) for name in STATISTICS] for metric in group["metrics"]],
        f"{escaped(group['name'])}: {group['pairs']} pairs of {count(group['references'], 'reference')}."
        f"{bold}{lettered} Verdicts: {escaped(family_text(group, 'pooled', settings))}. "
        r"Brackets: 95\,\% intervals of each coefficient over references.",
        ceiling_row(group, "Noise ceiling"),
    )


def _latex_by_reference(group):
    for scope, title in BY_REFERENCE.items():
        of = {metric: scopes[scope] for metric, scopes in group["coefficients"].items()}
        yield latex_table(
            ["Metric"] + [COLUMNS[name] for name in STATISTICS],
            [[escaped(m)] + [escaped(shown(cells[name])) for name in STATISTICS] for m, cells in of.items()],
            rf"{escaped(group['name'])}. {escaped(title)}. Brackets: 95\,\% intervals over references.",
        )


def _latex_reviewers(group):
    name, head = escaped(group["name"]), "each as if pairs of images were independent; no verdict rests on it"
    times = f"{escaped(REVIEWERS)}: {escaped(times_text(group['reviewers']))}"
    heads, rows = reviewers_metrics(group, group["metrics"])
    yield latex_table(
        list(map(escaped, heads)),
        [list(map(escaped, row)) for row in rows],
        f"{name}: Fisher's intervals, {head}. {times}",
    )
    heads, rows = reviewers_pairs(group)
    if rows:
        reading = f"A $-$ B; {escaped(READING)} !: the two p decide differently."
        yield latex_table(
            list(map(escaped, heads)), [list(map(escaped, row)) for row in rows], f"{name}: {head}. {reading}"
        )
