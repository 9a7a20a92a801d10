"""How compare.py prints: one function a format, all from the same results (compare.compare). No arithmetic but
rounding.

To add a format, write a function results -> str and enter it in FORMATS.
"""

import json

from common.text import aligned, count, number, prose
from common.text import latex as escaped
from reports.compare.definitions import COLUMNS, DEFINITIONS
from reports.compare.evidence import STATISTICS, TESTED
from reports.compare.longform import csv_text
from reports.compare.reviewers import TESTS

MARKS = {"better": " +", "worse": " -", "equivalent": " =", "not shown different": "", "undecided": " ?"}
MARKS_TEXT = "+ A is better, - B is better, = equivalent, ? undecided, no mark: not shown different"
LETTERS = (
    "Letters, column by column: two metrics with a letter in common are not shown different; two with none are, the "
    "one with the higher coefficient is better."
)
BY_REFERENCE = {
    "per_reference": "Mean of the references' own coefficients",
    "within": "Within references: the same by Fisher's z, weighted by pairs - 3",
}
FEW_OF_A_TYPE = 10  # references
CHECKS = ("reverses", "holds", "equivalent", "not shown different", "undecided")


def bounds(cell, digits=3):
    """The interval of a cell, [low, high], or [-] where no error can be estimated."""
    if cell["interval"] is None:
        return "[-]"
    low, high = cell["interval"]
    return f"[{number(low, digits)}, {number(high, digits)}]"


def shown(cell, digits=3):
    """A cell as text: value [low, high], a difference with its mark behind it, or "-" where it is refused."""
    if "refused" in cell:
        return "-"
    mark = MARKS[cell["verdict"]] if "verdict" in cell else ""
    return f"{number(cell['value'], digits)} {bounds(cell, digits)}{mark}"


def table(head, rows):
    """Aligned columns; the first to the left, the others to the right."""
    return "\n".join(aligned([[str(entry) for entry in row] for row in [head, *rows]]))


def p_text(p, floor=0.0):
    """p for a reader; at the smallest value that the resamples can give, "<=" before it."""
    if p <= floor * (1 + 1e-9):
        return f"<={p:.1g}".replace("0.", ".")
    return "<.001" if p < 0.001 else f"{p:.3f}"


def verdict_text(cell, family=None):
    """A verdict in words, with what it takes to read it: the margin of a tie, the number of resamples of an open
    one."""
    verdict = cell["verdict"]
    if verdict == "undecided":
        return f"undecided at {family['resamples']} resamples" if family else verdict
    if verdict == "not shown different":
        return f"{verdict} (detectable: {number(cell['detectable'])})"
    return verdict


def family_text(group, scope, settings):
    """What the intervals of a table, that of a scope of evidence.SCOPES, hold for together."""
    family = group["families"][scope]
    if family is None:
        return "no difference has an interval"
    metrics = len(group["metrics"])
    pairs = metrics * (metrics - 1) // 2
    of = count(pairs, "pair") + " of metrics"
    if settings["against"]:
        of = count(metrics - 1, "pair") + f" with {settings['against']}"
    text = (
        f"95 % for {count(family['differences'], 'difference')} at once "
        f"({of} x {', '.join(COLUMNS[name] for name in STATISTICS)}): "
        f"+-{family['critical']:.2f} standard errors, by "
    )
    if family["method"] == "Bonferroni":
        text += "Bonferroni and Student's t"
    else:
        text += f"max-t over {family['resamples']} resamples (Monte-Carlo error {family['critical_error']:.2f})"
    return text + (
        f"; {family['undecided']} undecided at {family['resamples']} resamples" if family["undecided"] else ""
    )


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


def places(checks):
    """Where checks were made, in short: 'live: plcc, srcc per reference; tid2013: types 01 02'."""
    parts = []
    for group in dict.fromkeys(check["group"] for check in checks):
        of_group = [check for check in checks if check["group"] == group]
        types = [check["type"] for check in of_group if check["type"]]
        parts.append(
            f"{group}: "
            + ", ".join(
                [check["what"] for check in of_group if not check["type"]]
                + (["types " + " ".join(types)] if types else [])
            )
        )
    return "; ".join(parts)


def audit_line(entry):
    """'A beats B: holds in part. Decided in 5 of 17 checks: holds in 5; 9 could see .012. Not shown different in 12
    (..)'."""
    by = {kind: [check for check in entry["checks"] if check["verdict"] == kind] for kind in CHECKS}
    asked = sum(map(len, by.values()))
    decided = len(by["holds"]) + len(by["reverses"])
    text = f"{entry['a']} beats {entry['b']}: {entry['verdict']}. Decided in {decided} of {asked} checks"
    if by["reverses"]:
        text += f"; reverses in {len(by['reverses'])} ({places(by['reverses'])})"
    text += (
        f"; holds in {len(by['holds'])}; {entry['able']} would as a rule have shown a difference of "
        f"{number(entry['claim'])}"
    )
    for kind in ("equivalent", "not shown different", "undecided"):
        if by[kind]:
            text += f"; {kind} in {len(by[kind])} ({places(by[kind])})"
    return f"{text}. Fitted PLCC: {mappings_text(entry['changes'])}"


def mappings_text(changes):
    """Whether the verdicts of the fitted PLCC hang on the mapping: changes as an audit entry has them."""
    if not changes:
        return "the same under every mapping"
    by = {}
    for change in changes:
        by.setdefault((change["mapping"], change["verdict"] or "no value"), []).append(change)
    parts = [] if any(change["verdict"] for change in changes) else ["the same where it has a value"]
    parts += [f"{verdict} under {mapping} ({places(where)})" for (mapping, verdict), where in by.items()]
    return "; ".join(parts)


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


def reviewers_metrics(group, order):
    """(head, rows) of text: Fisher's intervals and the kurtosis of residuals of each metric."""
    of = group["reviewers"]["metrics"]
    head = ["metric", *(f"{COLUMNS[name]}, Fisher" for name in TESTED), "kurtosis of residuals"]
    return head, [[m, *(fisher_text(of[m][name]) for name in TESTED), kurtosis_text(of[m]["kurtosis"])] for m in order]


def reviewers_pairs(group):
    """(head, rows) of text: the tests of each pair of metrics that have a value in any."""
    rows = group["reviewers"]["pairwise"]
    given = [name for name in TESTS if any("p" in row[name] for row in rows)]
    head = ["A - B", *(DEFINITIONS[name].name for name in given)]
    return head, [[f"{row['a']} - {row['b']}", *(test_text(row[name]) for name in given)] for row in rows if given]


def _indented(head, rows):
    return [f"  {head[0]}", *head[1:]], [[f"  {row[0]}", *row[1:]] for row in rows]


READING = (
    "F above 1 and z above 0: A errs less. p: pairs taken as independent; references: with the error between them."
)
REVIEWERS = "Tests that reviewers ask for, which take pairs of images as independent"


def times_text(reviewers):
    """How far the data are from what the tests assume, in one sentence."""
    times = reviewers["times"]
    if times is None:
        return "None has a value here."
    rows = [row[name] for row in reviewers["pairwise"] for name in TESTS if "p" in row[name]]
    text = (
        f"Here the standard errors between references are {times['least']:.2f} to {times['most']:.2f} times those "
        f"assumed (x, median {times['median']:.2f})"
    )
    if rows:
        text += f"; !: with these, {sum(cell['disagrees'] for cell in rows)} of {len(rows)} tests decide otherwise"
    return f"{text}."


def fisher_text(cell):
    """Fisher's interval with how many times its error is seen between references."""
    return "-" if "refused" in cell else f"{shown(cell)} x{cell['times']:.2f}"


def kurtosis_text(cell):
    if "refused" in cell:
        return "-"
    return f"{cell['value']:.2f}" + ("" if cell["gaussian"] else " not Gaussian")


def test_text(cell):
    """Statistic, p, p with the error between references, how many times that is; ! where the two p disagree."""
    if "refused" in cell:
        return "-"
    both = f"p {p_text(cell['p'])}, references {p_text(cell['p_references'])}"
    return f"{number(cell['statistic'], 2)} {both} x{cell['times']:.2f}" + (" !" if cell["disagrees"] else "")


def spread_lines(spread):
    """What the labels' spreads are, and which images were left out of what needs one; nothing where there is none."""
    if "refused" in spread:
        return
    raters = "" if spread["raters"] is None else f", about {spread['raters']:g} ratings an image"
    yield f"Spread of the labels: {spread['kind']}{raters} ({spread['source']})"
    if spread["zero"]:
        yield (
            f"Zero for {len(spread['zero'])} of {spread['images']} images, which are left out of Krasula's analysis, "
            f"the noise ceiling, RMSE* and outliers: {', '.join(name.rsplit('/', 1)[-1] for name in spread['zero'])}"
        )


FEW_DATASETS = (
    "{} datasets carry little: the interval of a mean over so few is wide, and ranks show only what nearly all agree on"
)


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


def effect_text(row):
    """A mean difference over datasets in words."""
    if "refused" in row:
        return f"refused: {row['refused']}"
    interval = f"[{number(row['low'])}, {number(row['high'])}]"
    return f"{number(row['estimate'])} {interval}, between datasets +-{number(row['between'])}"


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


def floor_refusal(rows):
    """One sentence on the noise floors that are not there, or nothing."""
    missing = [row["floor"]["refused"] for row in rows if "refused" in row["floor"]]
    return f"Noise floor refused for {len(missing)} of {len(rows)}: {missing[0]}" if missing else ""


def json_text(results):
    return json.dumps(results, indent=1, allow_nan=False) + "\n"


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


UNBOUNDED = {
    "low": "unbounded at the low end",
    "high": "unbounded at the high end",
    "both": "unbounded at both ends",
    "step": "unbounded: a step",
}
UNBOUNDED_NOTE = (
    "unbounded: at that end of the predictions (low, high) the labels do not level off; the curve is good, its "
    "parameters are arbitrary."
)


def type_notes(group):
    """What the coefficients by type are too few for, in sentences."""
    sizes = {}
    for kind, of_type in group["types"].items():
        if "coefficients" in of_type and of_type["references"] < FEW_OF_A_TYPE:
            sizes.setdefault(of_type["references"], []).append(kind)
    for references, kinds in sizes.items():
        yield (
            f"warning: type{'s' * (len(kinds) > 1)} {', '.join(kinds)}: {count(references, 'reference')} tell little "
            "of others; where all of them agree, [-] stands in place of an interval: that is no certainty"
        )


def parameters_text(fit):
    """The parameters of a fit, or why they say nothing."""
    if "refused" in fit:
        return f"withheld: {fit['refused']}"
    if fit["unbounded"]:
        return UNBOUNDED[fit["unbounded"]]
    return " ".join(f"{b:.4g}" for b in fit["parameters"]) + (" (kept monotonic)" if fit["constrained"] else "")


def ceiling_row(group, name):
    """[one row with what a perfect metric could reach], or none where the labels' spread is not known."""
    if "refused" in group["ceiling"]:
        return []
    return [[name] + [number(group["ceiling"][statistic]) for statistic in STATISTICS]]


def _lettered(group, name, metric):
    share = group["letters"][name].get(metric, "")
    return f" {share}" if share else ""


FORMATS = {"text": text, "csv": csv_text, "json": json_text, "latex": latex}
