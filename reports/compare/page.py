"""compare.py's page: one self-contained HTML file, no script, every number one click from its definition and reference.

The words and numbers are those of words.py, the figures figures.py's; here they are put together.
"""

from html import escape
from pathlib import Path

from agreement.significance import TESTS
from common.text import number
from reports.compare import figures
from reports.compare.definitions import COLUMNS, DEFINITIONS
from reports.compare.evidence import SCOPES, STATISTICS, TESTED, Measured, Settings
from reports.compare.reviewers import TESTS as REVIEWER_TESTS
from reports.compare.words import (
    FEW_DATASETS,
    LETTERS,
    READING,
    REVIEWERS,
    UNBOUNDED_NOTE,
    audit_line,
    bounds,
    check_text,
    effect_text,
    family_text,
    fisher_text,
    floor_refusal,
    kurtosis_text,
    mappings_text,
    p_text,
    parameters_text,
    spread_lines,
    test_text,
    times_text,
    type_notes,
)

INTERVALS = {"t": "interval", "percentile": "percentile", "bca": "bca"}  # Settings.interval -> its definition
# A verdict -> the class of page.css that colours it
COLOURS = {
    "holds": "holds",
    "better": "holds",
    "holds in part": "part",
    "reverses": "reverses",
    "worse": "reverses",
    "equivalent": "equivalent",
    "undecided": "undecided",
}
SCOPE_TITLES = {"pooled": "all pairs", "per_reference": "mean of references", "within": "within references"}
CSS = Path(__file__).with_name("page.css")


def link(key, text=None):
    """A name that leads to its definition and reference on the page."""
    return f'<a href="#def-{key}">{escape(text or DEFINITIONS[key].name)}</a>'


def cell_html(cell, wrapped=False):
    """A cell as HTML; wrapped: the interval on a line of its own, so that many columns fit."""
    if "refused" in cell:
        return f'<span title="{escape(cell["refused"])}">refused</span>'
    why = ' title="the same without any one reference: no error can be estimated"' if cell["interval"] is None else ""
    return f"{number(cell['value'])}{'<br>' if wrapped else ' '}<small{why}>{bounds(cell)}</small>"


def judged_html(cell, wrapped=False):
    """A difference as (class, HTML): coloured by its verdict, with what could have been seen where none was shown."""
    verdict = cell.get("verdict")
    text = cell_html(cell, wrapped)
    if verdict in ("not shown different", "undecided"):
        text += (
            f"<br><small>{'undecided; ' if verdict == 'undecided' else ''}detectable "
            f"{number(cell['detectable'])}</small>"
        )
    elif verdict == "equivalent":
        text += "<br><small>equivalent</small>"
    return COLOURS.get(verdict, "ties" if verdict else ""), text


def table(head, rows, style=""):
    """head: ready HTML; rows of (class, HTML) or HTML."""
    body = []
    for row in rows:
        cells = [entry if isinstance(entry, tuple) else ("", entry) for entry in row]
        body.append(
            "<tr>"
            + "".join(f'<td class="{kind}">{text}</td>' if kind else f"<td>{text}</td>" for kind, text in cells)
            + "</tr>"
        )
    head = "".join(f"<th>{entry}</th>" for entry in head)
    return (
        '<div class="scroll"><table '
        f'class="{style}"><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'
    )


def drawn(figure, caption):
    return f"<figure>{figure}<figcaption>{caption}</figcaption></figure>" if figure else ""


def page(results: dict, measured: dict[str, Measured]) -> str:
    """results, measured: as compare.compare returns them -> the HTML text."""
    settings, options = results["settings"], Settings(**results["settings"])
    parts = [
        f"<h1>Which metric agrees with people: {escape(', '.join(group['name'] for group in results['groups']))}</h1>",
        f"<p>Of a coefficient: its own {link(INTERVALS[settings['interval']], '95 % interval')} "
        f"({settings['interval']}). Of a "
        f"difference: {link('simultaneous', 'intervals of a whole table at once')}, which decide every "
        f"{link('verdict', 'verdict')}. The references are resampled {settings['resamples']} times or more, seed "
        f"{settings['seed']}. "
        f"{link('plcc_fit')}: after {link(settings['fit'])}. Every column's name leads to its definition and "
        f"reference.</p>",
    ]
    if results["audit"]:
        parts += _audit(results["audit"])
    if "refused" not in results["across"]:
        parts += _across(results["across"])
    for group in results["groups"]:
        parts += _group(group, measured[group["name"]], settings, options)
    if results["stability"]:
        parts += _stability(results["stability"], options)
    parts.append("<h2>Definitions and references</h2><dl>")
    parts += [
        f'<dt id="def-{key}">{escape(d.name)}</dt><dd>{escape(d.meaning)} <span '
        f'class="source">{escape(d.source)}</span></dd>'
        for key, d in DEFINITIONS.items()
    ]
    parts.append("</dl>")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Comparison of metrics</title><style>{CSS.read_text(encoding='utf-8')}</style></head><body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _audit(entries):
    """A row for each claim and group: pooled verdicts as colours, the other checks counted; every check in words
    below."""
    yield f"<h2>{link('audit', 'Audit')}: does “A beats B” survive?</h2>"
    yield (
        f"<p>A is the metric with the higher {link('srcc')}, averaged over the unperturbed groups. Each cell: the "
        f"difference "
        f"with its {link('simultaneous', 'interval')}; <span class='tag holds'>holds</span> above zero, "
        "<span class='tag ties'>not shown different</span> around it, <span class='tag reverses'>reverses</span> "
        "below. "
        "The verdict over all checks is red where any cell of its rows is.</p>"
    )
    rows = []
    for entry in entries:
        groups = list(dict.fromkeys(check["group"] for check in entry["checks"]))
        for k, group in enumerate(groups):
            checks = [check for check in entry["checks"] if check["group"] == group]
            by = {check["what"]: check for check in checks}
            claim = f"{escape(entry['a'])} beats {escape(entry['b'])}"
            rows.append(
                [claim if k == 0 else "", (COLOURS.get(entry["verdict"], "ties"), _over(entry)) if k == 0 else ""]
                + [escape(group)]
                + [judged_html(by[name], True) for name in STATISTICS]
                + [
                    _counted([check for check in checks if check["what"] not in STATISTICS and not check["type"]]),
                    _counted([check for check in checks if check["type"]]),
                    _changed([change for change in entry["changes"] if change["group"] == group]),
                ]
            )
    yield table(
        ["claim", "over all checks", "group"]
        + [link(name) for name in STATISTICS]
        + [link("per_reference", "by reference"), link("types", "by type"), link("mappings")],
        rows,
        "wide",
    )
    yield "<details><summary>Every check in words</summary><ul class='audit'>"
    yield "".join(f"<li>{escape(audit_line(entry))}</li>" for entry in entries) + "</ul></details>"


def _over(entry):
    """The verdict over all checks and how many decided it."""
    kinds = [check["verdict"] for check in entry["checks"]]
    asked = sum(kind is not None for kind in kinds)
    return (
        f"{escape(entry['verdict'])}<br><small>holds in {kinds.count('holds')},<br>reverses in "
        f"{kinds.count('reverses')} of "
        f"{asked}</small>"
    )


def _counted(checks):
    """Checks that are too many to show each, as (class, HTML): how many hold, and where one reverses."""
    kinds = [check["verdict"] for check in checks if check["verdict"]]
    if not kinds:
        return "–"
    reverses = [check["type"] or check_text(check) for check in checks if check["verdict"] == "reverses"]
    text = f"holds in {kinds.count('holds')} of {len(kinds)}"
    if reverses:
        text += f"<br><small>reverses: {escape(', '.join(reverses))}</small>"
    colour = "reverses" if reverses else "holds" if set(kinds) == {"holds"} else "part" if "holds" in kinds else "ties"
    return f"{colour} words", text


def _changed(changes):
    """Whether the fitted PLCC's verdicts are others under another mapping, as (class, HTML)."""
    verdicts = {change["verdict"] for change in changes if change["verdict"]}
    colour = "reverses" if "reverses" in verdicts else "part" if verdicts else "ties"
    return f"{colour} words", f"<small>{escape(mappings_text(changes))}</small>"


def _across(across):
    count = len(across["datasets"])
    yield (
        f"<h2>Across {count} datasets</h2><p>{escape(', '.join(across['datasets']))}. {FEW_DATASETS.format(count)}.</p>"
    )
    given = {name: ranking for name, ranking in across["ranks"].items() if "refused" not in ranking}
    yield '<div class="figures">'
    yield "".join(
        drawn(
            figures.ranks(ranking, name),
            f"{link('ranks')}; p of {link('ranks', 'Friedman')}: {escape(p_text(ranking['p']))}.",
        )
        for name, ranking in given.items()
    )
    yield "</div>"
    yield table(
        ["A − B", link("effect", "mean difference in SRCC")],
        [[f"{escape(row['a'])} − {escape(row['b'])}", escape(effect_text(row))] for row in across["differences"]],
    )


def _group(group, measurement, settings, options):
    of, metrics = group["coefficients"], group["metrics"]
    order = sorted(metrics, key=lambda metric: -of[metric]["pooled"]["srcc"].get("value", -2))
    yield f"<h2>{escape(group['name'])}</h2>"
    notes = escape("; ".join(group["notes"]))
    references = f"<b>{group['references']} {link('pairs', 'references')}</b>"
    yield f"<p>{group['pairs']} {link('pairs', 'pairs')} of {references}; {notes}.</p>"
    yield "<h3>Coefficients</h3>"
    yield table(
        ["metric"] + [link(name) for name in STATISTICS],
        [[escape(metric)] + [_with_letters(group, name, metric) for name in STATISTICS] for metric in order]
        + _ceiling(group),
    )
    yield "<h3>Coefficients by reference</h3>"
    yield table(
        ["metric"]
        + [link("per_reference", f"{COLUMNS[name]}, mean of references") for name in STATISTICS]
        + [link("within", f"{COLUMNS[name]} within references") for name in STATISTICS],
        [
            [escape(metric)]
            + [cell_html(of[metric][scope][name], True) for scope in ("per_reference", "within") for name in STATISTICS]
            for metric in order
        ],
        "wide",
    )
    if "refused" in group["ceiling"]:
        yield f"<p>{link('ceiling', 'Noise ceiling')} refused: {escape(group['ceiling']['refused'])}.</p>"
    if any(group["letters"].values()):
        yield (
            f"<p>{link('letters', 'Letters')}{escape(LETTERS.removeprefix('Letters'))} "
            + " ".join(
                f"{link('best', 'As good as the best')} in {COLUMNS[name]}: {escape(', '.join(group['best'][name]))}."
                for name in STATISTICS
            )
            + "</p>"
        )
    yield '<div class="figures">' + drawn(
        figures.forest(group, order),
        f"Coefficients. Thick: {link(INTERVALS[options.interval], '95 % of each alone')}; thin: "
        f"{link('simultaneous', '95 % of all at once')}; "
        f"{link('letters', 'letters')} as in the table"
        + (f"; dashed: {link('ceiling')}." if "refused" not in group["ceiling"] else "."),
    )
    yield (
        "".join(
            drawn(
                figures.scatter(measurement, metrics.index(metric), options),
                f"Curve: {link(options.fit)}; band: {link('percentile', '95 % over references')}; dotted: not "
                "monotonic.",
            )
            for metric in order
        )
        + "</div>"
    )
    if group["pairwise"]:
        yield from _pairwise(group, order, settings)
    yield from _reviewers(group["reviewers"], order)
    if group["types"]:
        yield f"<h3>By {link('types', 'distortion type')}</h3>"
        yield (
            '<div class="figures">'
            + "".join(
                drawn(
                    figures.bars(group, metric),
                    f"{link('srcc')} with {link(INTERVALS[options.interval], '95 % intervals')}; in brackets: "
                    f"{link('pairs', 'references')}.",
                )
                for metric in order
            )
            + "</div>"
        )
        yield "".join(f'<p class="warning">{escape(note)}.</p>' for note in type_notes(group))
    yield "<h3>Fitted mappings</h3>"
    yield table(
        ["metric", "mapping"]
        + [
            link("plcc", "PLCC after it"),
            link("rmse"),
            link("rmse_star"),
            link("outlier_ratio"),
            link("convergence"),
            "parameters b1, b2, …",
        ],
        [
            [escape(metric), link(name)]
            + [number(fit[key]) if key in fit else "–" for key in ("plcc", "rmse", "rmse_star", "outlier_ratio")]
            + [
                f"{fit['agreeing']}/{fit['starts']}",
                escape(parameters_text(fit)),
            ]
            for metric in order
            for name, fit in group["fits"][metric].items()
        ],
    )
    if any(fit["unbounded"] for fits in group["fits"].values() for fit in fits.values()):
        yield f"<p>{escape(UNBOUNDED_NOTE)}</p>"
    yield "<h3>Different or similar, better or worse</h3>"
    yield "".join(f"<p>{escape(line)}.</p>" for line in spread_lines(group["spread"]))
    krasula, names = group["krasula"], ("different_similar", "better_worse", "correct")
    if "refused" in krasula:
        yield f"<p>Refused: {escape(krasula['refused'])}.</p>"
        return
    differ = link("different_similar", "differ significantly")
    yield f"<p>{krasula['different']} of {krasula['pairs']} pairs of images {differ}.</p>"
    yield table(
        ["metric"] + [link(name) for name in names],
        [[escape(metric)] + [cell_html(krasula["metrics"][metric][name]) for name in names] for metric in order],
    )
    yield table(
        ["A − B"] + [text for name in names for text in (link(name), link("p_bootstrap", "p"))],
        [
            [f"{escape(row['a'])} − {escape(row['b'])}"]
            + [
                text
                for name in names
                for text in (judged_html(row[name]), p_text(row[name]["p"]) if "p" in row[name] else "–")
            ]
            for row in krasula["pairwise"]
        ],
    )


def _ceiling(group):
    """[a row with what a perfect metric could reach], or none where the labels' spread is not known."""
    if "refused" in group["ceiling"]:
        return []
    values = [number(group["ceiling"][name]) for name in STATISTICS]
    return [[link("ceiling")] + [("equivalent", value) for value in values]]


def _with_letters(group, name, metric):
    share = group["letters"][name].get(metric, "")
    return cell_html(group["coefficients"][metric]["pooled"][name]) + (f" <b>{share}</b>" if share else "")


def _pairwise(group, order, settings):
    pairs = {}
    for row in group["pairwise"]:
        pairs[row["a"], row["b"]] = row, 1
        pairs[row["b"], row["a"]] = row, -1
    floor = group["families"]["pooled"]["p_floor"] if group["families"]["pooled"] else 0.0
    yield "<h3>Differences of metrics</h3>"
    yield f"<p>{link('simultaneous', 'Intervals')}: {escape(family_text(group, 'pooled', settings))}.</p>"
    for name in TESTED:
        yield f"<h3>Row minus column in {link(name)}</h3>"
        yield (
            f"<p>Green: the row is better; red: worse; grey: {link('verdict', 'not shown different')}, with the "
            f"{link('detectable', 'detectable difference')} in brackets; blue: {link('verdict', 'equivalent')}; "
            f"yellow: "
            f"{link('verdict', 'undecided')}. Below the difference: {link('p_bootstrap')}, of the same family as the "
            f"colours, "
            f"and {link('williams')} after {link('holm', 'Holm')}.</p>"
        )
        yield table(
            [""] + [escape(metric) for metric in order],
            [[escape(a)] + [_heat(pairs.get((a, b)), name, floor) for b in order] for a in order],
            "heat",
        )
    yield "<h3>Paired differences, A − B</h3>"
    for scope in SCOPES:
        rows = [
            [f"{escape(row['a'])} − {escape(row['b'])}"] + [judged_html(row[scope][name]) for name in STATISTICS]
            for row in group["pairwise"]
        ]
        shown = table([SCOPE_TITLES[scope]] + [link(name) for name in STATISTICS], rows)
        title = f"<summary>{SCOPE_TITLES[scope]}: {escape(family_text(group, scope, settings))}</summary>"
        yield shown if scope == "pooled" else f"<details>{title}{shown}</details>"
    yield "<h3>Tests for dependent correlations</h3>"
    rows = [(row, name, row["tests"][name]) for row in group["pairwise"] for name in TESTED]
    yield table(
        ["A − B", "of", link("r12")] + [link(test) for test in TESTS] + [link("zou")],
        [
            [f"{escape(row['a'])} − {escape(row['b'])}", link(name), number(tests["r23"], 4)]
            + (
                [p_text(tests[test]["p_holm"]) for test in TESTS]
                + [f"[{number(tests['zou'][0])}, {number(tests['zou'][1])}]"]
                if "zou" in tests
                else [f"refused: {escape(tests['refused'])}"] + [""] * len(TESTS)
            )
            for row, name, tests in rows
        ],
    )
    yield "".join(
        f'<p class="warning">{escape(row["a"])} − {escape(row["b"])}: {escape(text)}.</p>'
        for row in group["pairwise"]
        for text in row["warnings"]
    )


def _reviewers(reviewers, order):
    of = reviewers["metrics"]
    yield f"<h3>{escape(REVIEWERS)}</h3>"
    yield (
        f"<p>No {link('verdict')} rests on them. {link('independent', 'What that assumption costs')}: "
        f"{escape(times_text(reviewers))} Yellow: not as assumed.</p>"
    )
    yield table(
        ["metric"] + [f"{link('fisher', f'{COLUMNS[name]}, Fisher')}" for name in TESTED] + [link("kurtosis")],
        [
            [escape(metric)]
            + [escape(fisher_text(of[metric][name])) for name in TESTED]
            + [
                (
                    "undecided" * (not of[metric]["kurtosis"].get("gaussian", True)),
                    kurtosis_text(of[metric]["kurtosis"]),
                )
            ]
            for metric in order
        ],
    )
    rows = [
        [f"{escape(row['a'])} − {escape(row['b'])}"] + [_marked(row[name]) for name in REVIEWER_TESTS]
        for row in reviewers["pairwise"]
    ]
    if rows:
        yield f"<p>{escape(READING)}</p>"
        yield table(["A − B"] + [link(name) for name in REVIEWER_TESTS], rows)


def _marked(cell):
    if "refused" in cell:
        return f'<span title="{escape(cell["refused"])}">refused</span>'
    return "undecided" * cell["disagrees"], escape(test_text(cell))


def _heat(pair, name, floor):
    if pair is None:  # the metric itself, or a pair that was not asked for
        return ""
    row, sign = pair
    cell, tests = row["pooled"][name], row["tests"][name]
    if "refused" in cell:
        return "refused"
    verdict = cell["verdict"]
    if sign < 0:
        verdict = {"better": "worse", "worse": "better"}.get(verdict, verdict)
    williams = p_text(tests["williams"]["p_holm"]) if "williams" in tests else "–"
    difference = number(sign * cell["value"], sign="+")
    tie = f" ({number(cell['detectable'])})" if verdict in ("not shown different", "undecided") else ""
    return (
        COLOURS.get(verdict, "ties"),
        f"{difference}{tie}<br><small>{escape(p_text(cell['p'], floor))} · {escape(williams)}</small>",
    )


def _stability(rows, options):
    yield "<h2>Robustness</h2><p>Perturbed against plain scores of the same metric on the same pairs.</p>"
    given = [row for row in rows if "refused" not in row]
    yield table(
        ["dataset", "perturbation", "metric"]
        + [link("change", f"{COLUMNS[name]} change") for name in STATISTICS]
        + [link("flips"), link("floor")]
        + [link("pairs", "references")],
        [
            [escape(row["dataset"]), f"{row['perturbation']}-{row['pct']:g}", escape(row["metric"])]
            + [judged_html(row["change"][name], True) for name in STATISTICS]
            + [cell_html(row["flips"], True), cell_html(row["floor"], True), str(row["references"])]
            for row in given
        ],
    )
    yield f"<p>{escape(floor_refusal(given))}</p>"
    yield "".join(
        f"<p>{escape(row['dataset'])} {row['perturbation']}-{row['pct']:g} {escape(row['metric'])}: "
        f"refused: {escape(row['refused'])}.</p>"
        for row in rows
        if "refused" in row
    )
    yield (
        '<div class="figures">'
        + "".join(
            drawn(
                figures.curves(rows, dataset, perturbation),
                f"{link('srcc')} and {link('flips')} with {link(INTERVALS[options.interval], '95 % intervals')}; 0: "
                "plain.",
            )
            for dataset, perturbation in dict.fromkeys((row["dataset"], row["perturbation"]) for row in given)
        )
        + "</div>"
    )
