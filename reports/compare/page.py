"""compare.py's page: one self-contained HTML file, no script, every number one click from its definition and reference.

The words and numbers are report.py's, the figures figures.py's; here they are put together.
"""

from html import escape
from pathlib import Path

from agreement.significance import TESTS
from reports.compare import figures
from reports.compare.definitions import COLUMNS, DEFINITIONS
from reports.compare.evidence import STATISTICS, TESTED, Settings, verdict
from reports.compare.report import audit_line, floor_refusal, number, p_text, spread_lines

INTERVALS = {"percentile": "interval", "bca": "bca"}  # Settings.interval -> its definition
CSS = Path(__file__).with_name("page.css")


def link(key, text=None):
    """A name that leads to its definition and reference on the page."""
    return f'<a href="#def-{key}">{escape(text or DEFINITIONS[key].name)}</a>'


def cell_html(cell, settings, method=None):
    if "refused" in cell:
        return f'<span title="{escape(cell["refused"])}">refused</span>'
    low, high = cell[method or settings["interval"]]
    return f"{number(cell['value'])} <small>[{number(low)}, {number(high)}]</small>"


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
    return f'<div class="scroll"><table class="{style}"><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'


def drawn(figure, caption):
    return f"<figure>{figure}<figcaption>{caption}</figcaption></figure>" if figure else ""


def page(results, measured):
    """results, measured: as compare.compare returns them -> the HTML text."""
    settings, options = results["settings"], Settings(**results["settings"])
    interval = INTERVALS[settings["interval"]]
    parts = [
        f"<h1>Which metric agrees with people: {escape(', '.join(group['name'] for group in results['groups']))}</h1>",
        f"<p>{link(interval, 'Intervals')}: 95 %, {settings['interval']}, {settings['resamples']} resamples of the "
        f"references, seed {settings['seed']}. "
        f"{link('plcc_fit')}: after {link(settings['fit'])}. Every column's name leads to its definition and reference.</p>",
    ]
    if results["audit"]:
        parts += _audit(results["audit"], settings)
    for group in results["groups"]:
        parts += _group(group, measured[group["name"]], settings, options)
    if results["stability"]:
        parts += _stability(results["stability"], settings, options)
    parts.append("<h2>Definitions and references</h2><dl>")
    parts += [
        f'<dt id="def-{key}">{escape(d.name)}</dt><dd>{escape(d.meaning)} <span class="source">{escape(d.source)}</span></dd>'
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


def _audit(entries, settings):
    """Pooled verdicts as a table of colours; every check, in words, one tap below it."""
    columns = list(
        dict.fromkeys(
            (check["group"], check["what"])
            for entry in entries
            for check in entry["checks"]
            if check["what"] in STATISTICS
        )
    )
    yield f"<h2>{link('audit', 'Audit')}: does “A beats B” survive?</h2>"
    yield (
        f"<p>A is the metric with the higher {link('srcc')}, averaged over the unperturbed groups. Each cell: "
        f"the difference with its {link('interval', 'interval')}; "
        "<span class='tag holds'>holds</span> above zero, <span class='tag ties'>ties</span> around it, "
        "<span class='tag reverses'>reverses</span> below.</p>"
    )
    rows = []
    for entry in entries:
        by = {(check["group"], check["what"]): check for check in entry["checks"]}
        rows.append(
            [f"{escape(entry['a'])} beats {escape(entry['b'])}", (entry["verdict"], entry["verdict"])]
            + [(by[key]["verdict"] or "", cell_html(by[key], settings)) if key in by else "" for key in columns]
        )
    yield table(["claim", "over all checks"] + [f"{escape(group)} {link(what)}" for group, what in columns], rows)
    yield "<details><summary>Every check: per reference and by distortion type too</summary><ul class='audit'>"
    yield "".join(f"<li>{escape(audit_line(entry))}</li>" for entry in entries) + "</ul></details>"


def _group(group, found, settings, options):
    of, metrics = group["coefficients"], group["metrics"]
    order = sorted(metrics, key=lambda metric: -of[metric]["pooled"]["srcc"].get("value", -2))
    yield f"<h2>{escape(group['name'])}</h2>"
    notes = escape("; ".join(group["notes"]))
    references = f"<b>{group['references']} {link('pairs', 'references')}</b>"
    yield f"<p>{group['pairs']} {link('pairs', 'pairs')} of {references}; {notes}.</p>"
    yield "<h3>Coefficients</h3>"
    yield table(
        ["metric"]
        + [link(name) for name in STATISTICS]
        + [link("per_reference", f"{COLUMNS[name]}, mean of references") for name in STATISTICS],
        [
            [escape(metric)]
            + [
                cell_html(of[metric][scope][name], settings)
                for scope in ("pooled", "per_reference")
                for name in STATISTICS
            ]
            for metric in order
        ],
    )
    other = "percentile" if settings["interval"] == "bca" else "bca"
    yield f"<details><summary>The same with the other interval ({DEFINITIONS[INTERVALS[other]].name}), differences too</summary>"
    yield (
        table(
            [link(INTERVALS[other])] + [link(name) for name in STATISTICS],
            [
                [escape(metric)] + [cell_html(of[metric]["pooled"][name], settings, other) for name in STATISTICS]
                for metric in order
            ]
            + [
                [f"{escape(row['a'])} − {escape(row['b'])}"]
                + [cell_html(row["pooled"][name], settings, other) for name in STATISTICS]
                for row in group["pairwise"]
            ],
        )
        + "</details>"
    )
    yield '<div class="figures">' + drawn(
        figures.forest(group, order, options),
        f"Coefficients with their {link('interval', '95 % intervals')} over references.",
    )
    yield (
        "".join(
            drawn(
                figures.scatter(found, metrics.index(metric), options),
                f"Curve: {link(options.fit)}; band: {link('interval', '95 % over references')}; dotted: not monotonic.",
            )
            for metric in order
        )
        + "</div>"
    )
    if group["pairwise"]:
        yield from _pairwise(group, order, settings, options)
    if group["types"]:
        yield f"<h3>By {link('types', 'distortion type')}</h3>"
        yield (
            '<div class="figures">'
            + "".join(
                drawn(
                    figures.bars(group, metric, options),
                    f"{link('srcc')} with {link('interval', '95 % intervals')}; in brackets: {link('pairs', 'references')}.",
                )
                for metric in order
            )
            + "</div>"
        )
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
                f"{fit['agreeing']}/{fit['starts']}" + ("" if fit["converged"] else ", not converged"),
                ", ".join(f"{b:.4g}" for b in fit["parameters"])
                + ("" if fit["monotonic"] else " (not monotonic: withheld)"),
            ]
            for metric in order
            for name, fit in group["fits"][metric].items()
        ],
    )
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
        [
            [escape(metric)] + [cell_html(krasula["metrics"][metric][name], settings) for name in names]
            for metric in order
        ],
    )
    yield table(
        ["A − B"] + [text for name in names for text in (link(name), link("p_bootstrap", "p"))],
        [
            [f"{escape(row['a'])} − {escape(row['b'])}"]
            + [text for name in names for text in (cell_html(row[name], settings), p_text(row[name]["p_holm"]))]
            for row in krasula["pairwise"]
        ],
    )


def _pairwise(group, order, settings, options):
    pairs = {}
    for row in group["pairwise"]:
        pairs[row["a"], row["b"]] = row, 1
        pairs[row["b"], row["a"]] = row, -1
    for name in TESTED:
        yield f"<h3>Row minus column in {link(name)}</h3>"
        yield (
            f"<p>Green: the row is better with its {link('interval', 'interval')}; grey: a tie; red: worse. "
            f"Below the difference: "
            f"{link('p_bootstrap')} and {link('williams')}, both after {link('holm', 'Holm')}; "
            "the colours are of single intervals, not corrected.</p>"
        )
        yield table(
            [""] + [escape(metric) for metric in order],
            [[escape(a)] + [_heat(*pairs[a, b], name, options) if a != b else "" for b in order] for a in order],
            "heat",
        )
    yield "<h3>Paired differences, A − B</h3>"
    yield table(
        ["A − B"] + [link(name) for name in STATISTICS],
        [
            [f"{escape(row['a'])} − {escape(row['b'])}"]
            + [
                (verdict(row["pooled"][name], options) or "", cell_html(row["pooled"][name], settings))
                for name in STATISTICS
            ]
            for row in group["pairwise"]
        ],
    )
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


def _heat(row, sign, name, options):
    cell, tests = row["pooled"][name], row["tests"][name]
    if "refused" in cell:
        return "refused"
    kind = verdict(cell, options)
    kind = {"holds": "reverses", "reverses": "holds"}.get(kind, kind) if sign < 0 else kind
    williams = p_text(tests["williams"]["p_holm"]) if "williams" in tests else "–"
    return kind, f"{sign * cell['value']:+.3f}<br><small>{p_text(row['p_bootstrap_holm'][name])} · {williams}</small>"


def _stability(rows, settings, options):
    yield "<h2>Robustness</h2><p>Perturbed against plain scores of the same metric on the same pairs.</p>"
    given = [row for row in rows if "refused" not in row]
    yield table(
        ["dataset", "perturbation", "metric"]
        + [link("change", f"{COLUMNS[name]} change") for name in STATISTICS]
        + [link("flips"), link("floor")]
        + [link("pairs", "references")],
        [
            [escape(row["dataset"]), f"{row['perturbation']}-{row['pct']:g}", escape(row["metric"])]
            + [cell_html(row["change"][name], settings) for name in STATISTICS]
            + [cell_html(row["flips"], settings), cell_html(row["floor"], settings), str(row["references"])]
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
                figures.curves(rows, dataset, perturbation, options),
                f"{link('srcc')} and {link('flips')} with {link('interval', '95 % intervals')}; 0: plain.",
            )
            for dataset, perturbation in dict.fromkeys((row["dataset"], row["perturbation"]) for row in given)
        )
        + "</div>"
    )
