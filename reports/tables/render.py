"""How tables.py prints: one function a format, all from the same Table objects. No arithmetic but "which is best".

To add a format, write a function (tables, cells, summary, terminal) -> str and enter it in FORMATS. Its arguments:
Tables, the flat list of tables.Cell they are made of, tables.summarise's dict, and whether the output goes to a
terminal.
"""

import csv
import html
import io
import json
import shutil
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import NamedTuple

from common.text import latex as escaped

MODELS = {
    "psnr": "PSNR",
    "msssim": "MS-SSIM",
    "fsim": "FSIMc",
    "dists": "DISTS",
    "lpips": "LPIPS (AlexNet)",
    "lpips_vgg": "LPIPS (VGG16)",
    "stlpips_alex": "ST-LPIPS (AlexNet)",
    "stlpips_vgg": "ST-LPIPS (VGG16)",
    "vgg": "VGG",
    "efficientnet": "EfficientNet",
    "clip_vitb32": "CLIP-ViT-B/32",
    "clip_rn50": "CLIP-RN50",
    "clip_convnext": "CLIP-ConvNeXt",
    "rclip_vitb32": "R-CLIP_T",
    "imagenet_vit": "ImageNet-ViT",
    "dinov1": "DINOv1",
    "dinov2": "DINOv2",
}
DISTANCES = {"skld": "SKLD", "jsd": "JSD", "wsd": "WSD", "l2": "L2", "cos": "cosine"}
FEATURES = {"features": "feats.", "embedding": "emb."}
DATASETS = {"live": "LIVE", "tid2013": "TID2013", "pipal": "PIPAL"}
WIDTH = 230  # of text that does not go to a terminal: every table in one panel
LEGEND = "bold is best of those scored, underlined best in its group; n/N: only n of N pairs scored; -: no score file"


def letters(number):
    """The mark of a footnote by its number from 0: a, b, ..., z, aa, ab, ..."""
    before = letters(number // 26 - 1) if number >= 26 else ""
    return before + chr(ord("a") + number % 26)


def label(model, distance="", feature=""):
    """What a row is: ('dinov1', 'l2', 'features') -> 'DINOv1 L2 feats.'"""
    return " ".join(
        filter(None, (MODELS.get(model, model), DISTANCES.get(distance, distance), FEATURES.get(feature, "")))
    )


class Shown(NamedTuple):
    """What is printed of one cell."""

    score: str = ""
    sign: str = ""  # = or ≠ between score and print, | where there is no score
    printed: str = ""
    letter: str = ""  # of the cell's own footnote
    best: bool = False
    group_best: bool = False
    state: str = ""

    def marked(self, bold, underline):
        """The score with the given format strings around it where it is best, or best in its group."""
        score = underline.format(self.score) if self.group_best else self.score
        return bold.format(score) if self.best else score

    @property
    def against(self):
        """The printed number for formats that set it apart: '0.657', or '≠0.657' where it differs."""
        return self.sign.strip("=|") + self.printed


@dataclass
class Table:
    """Rows in groups; columns are (dataset, perturbation, statistic)."""

    title: str
    groups: dict = field(default_factory=dict)  # heading -> {row key: {column: tables.Cell}}
    columns: dict = field(default_factory=dict)  # an ordered set
    notes: dict = field(default_factory=dict)  # note -> its letter

    def add(self, heading, key, cell):
        column = cell.dataset, cell.perturbation, cell.statistic
        self.columns[column] = None
        self.groups.setdefault(heading, {}).setdefault(key, {})[column] = cell
        for note in filter(None, (cell.note, cell.reason)):
            self.notes.setdefault(note, letters(len(self.notes)))

    def best(self, groups):
        """{id(cell)} of each column's best among the rows of the groups; scores equal in print share it."""
        chosen = set()
        for column in self.columns:
            cells = [
                row[column]
                for rows in groups
                for row in rows.values()
                if column in row and row[column].score is not None
            ]
            top = max((round(cell.score, 3) for cell in cells), default=None)
            chosen |= {id(cell) for cell in cells if round(cell.score, 3) == top}
        return chosen

    def lines(self):
        """[(heading, [(row label, letter of the row's footnote, [Shown a column])])], in printed order."""
        best, sections = self.best(self.groups.values()), []
        for heading, rows in self.groups.items():
            group_best, lines = self.best([rows]) if len(rows) > 1 else set(), []
            for key, row in rows.items():
                notes = {cell.note for cell in row.values()}
                note = notes.pop() if len(notes) == 1 else ""  # one that all cells share stands at the row's label
                shown = [self.shown(row[c], note, best, group_best) if c in row else Shown() for c in self.columns]
                lines.append((label(*key), self.notes.get(note, ""), shown))
            sections.append((heading, lines))
        return sections

    def shown(self, cell, row_note, best, group_best):
        score = {"missing": "-", "partial": f"{cell.pairs}/{cell.expected}"}.get(cell.state) or f"{cell.score:.3f}"
        printed = "" if cell.published is None else f"{cell.published:.3f}"
        sign = {"equal": "=", "differs": "≠"}.get(cell.state, "|" if printed else "")
        cell_note = "" if row_note else cell.note  # a footnote of the row stands at its label
        letter = ",".join(self.notes[note] for note in (cell_note, cell.reason) if note)
        return Shown(score, sign, printed, letter, id(cell) in best, id(cell) in group_best, cell.state)


def spans(columns, level):
    """Neighbouring columns under one heading: [(name, how many)];
    level 0 is the dataset, 1 perturbation, 2 statistic."""
    runs = [list(run) for _, run in groupby(columns, key=lambda column: column[: level + 1])]
    return [((DATASETS.get(run[0][0], run[0][0]), run[0][1], run[0][2].upper())[level], len(run)) for run in runs]


def summary_lines(summary):
    """The summary of tables.summarise as plain lines."""

    def line(cell):
        row = label(cell.model, cell.distance, cell.feature)
        return (
            f"  Table {cell.table} {DATASETS[cell.dataset]} {cell.perturbation}, {row}, {cell.statistic.upper()}: "
            f"{cell.score:.4f}, printed {cell.published:.3f} ({cell.difference:+.4f})  {cell.scores_file}"
        )

    differs, errata, missing = summary["differs"], summary["errata"], summary["missing"]
    partial = {
        c.scores_file: f"  {c.scores_file}: {c.pairs}/{c.expected} pairs" for c in missing if c.state == "partial"
    }
    lines = [
        f"{summary['cells']} printed numbers: {summary['equal']} equal to the printed digit, {len(differs)} differ, "
        f"{len(errata)} differ where the print cannot be recomputed (see the footnotes), {len(missing)} missing"
    ]
    if summary["protocol"] != "paper":
        lines.append(f"scored under protocol {summary['protocol']}, not the paper's: differences are expected")
    for heading, details in (
        ("differ, largest first:", map(line, differs)),
        ("differ where the print cannot be recomputed:", map(line, errata)),
        ("partly scored, so not used:", partial.values()),
        ("not used:", (f"  {line}" for line in summary["ignored"])),
        ("scored with other settings than the paper's:", (f"  {line}" for line in summary["unusual"])),
        ("missing; these commands make them:", (f"  python run.py {call}" for call in summary["commands"])),
    ):
        details = list(details)
        lines += [heading, *details] if details else []
    return lines


def text(tables, cells, summary, terminal):
    """Fixed-width text, in panels of whole column groups that fit the terminal;
    bold and underline only on a terminal."""
    width, page = shutil.get_terminal_size().columns if terminal else WIDTH, []
    bold, underline = ("\033[1m{}\033[0m", "\033[4m{}\033[0m") if terminal else ("{}", "{}")
    for table in tables:
        groups, columns = table.lines(), list(table.columns)
        rows = [row for _, lines in groups for row in lines]
        left = 6 + max(len(name) for name, _, _ in rows)
        heads = [
            -(-(len(name) + 1) // n) for level in range(3) for name, n in spans(columns, level)
        ]  # of one column's share
        wide = max(1 + max(sum(map(len, cell[:4])) for _, _, shown in rows for cell in shown), *heads)
        panels = [[]]  # of column numbers
        for _, run in groupby(range(len(columns)), key=lambda number: columns[number][:2]):
            run = list(run)
            if panels[-1] and left + wide * (len(panels[-1]) + len(run)) > width:
                panels.append([])
            panels[-1] += run
        page += [table.title, ""]
        for panel in panels:
            heads = [columns[number] for number in panel]
            for level in range(3):
                page.append(" " * left + "".join(f"{name:<{wide * n}}" for name, n in spans(heads, level)).rstrip())
            for heading, lines in groups:
                page.append(f"-- {heading} ".ljust(left + wide * len(panel) - 1, "-"))
                for name, letter, shown in lines:
                    row = [
                        cell.marked(bold, underline) + "".join(cell[1:4]).ljust(wide - len(cell.score))
                        for cell in (shown[number] for number in panel)
                    ]
                    page.append((f"{name}{f' [{letter}]' if letter else ''}".ljust(left) + "".join(row)).rstrip())
            page.append("")
        page += [f"[{letter}] {note}" for note, letter in table.notes.items()] + [""]
    return "\n".join([*page, f"score=printed, or score≠printed; {LEGEND}", "", *summary_lines(summary)]) + "\n"


def as_csv(tables, cells, summary, terminal):
    """One line a cell: the columns of reports/tables/paper/tables.csv and what was found."""
    out = io.StringIO()
    writer = csv.DictWriter(out, [*asdict(cells[0]), "difference"], lineterminator="\n")
    writer.writeheader()
    writer.writerows({**asdict(cell), "difference": cell.difference} for cell in cells)
    return out.getvalue()


def as_json(tables, cells, summary, terminal):
    """The cells, and the summary with its cells counted."""
    record = {key: len(value) if key in ("differs", "errata", "missing") else value for key, value in summary.items()}
    return (
        json.dumps({"cells": [{**asdict(c), "difference": c.difference} for c in cells], "summary": record}, indent=1)
        + "\n"
    )


def markdown(tables, cells, summary, terminal):
    """GitHub's tables: **bold** is best, <u>underlined</u> best in its group."""
    page = []
    for table in tables:
        heads = [" ".join(spans([column], level)[0][0] for level in range(3)) for column in table.columns]
        page += [f"### {table.title}", "", f"| | {' | '.join(heads)} |", "|---|" + "---|" * len(heads)]
        for heading, lines in table.lines():
            page.append(f"| *{heading}* |" + " |" * len(table.columns))
            for name, letter, shown in lines:
                row = [
                    c.marked("**{}**", "<u>{}</u>")
                    + (f" ({c.against})" if c.printed else "")
                    + (f" [{c.letter}]" if c.letter else "")
                    for c in shown
                ]
                page.append("| " + " | ".join([name + (f" [{letter}]" if letter else ""), *row]) + " |")
        page += ["", *(f"[{letter}] {note}  " for note, letter in table.notes.items()), ""]
    return (
        "\n".join(
            [
                *page,
                f"In brackets the printed number, with ≠ where it differs; {LEGEND}.",
                "",
                "```",
                *summary_lines(summary),
                "```",
            ]
        )
        + "\n"
    )


def latex(tables, cells, summary, terminal):
    """A document that compiles as it is (with booktabs, graphicx, geometry); each tabular can be lifted out of it."""
    page = [
        *(f"% {line}" for line in summary_lines(summary)),
        r"\documentclass[a4paper,landscape]{article}",
        r"\usepackage[margin=10mm]{geometry}",
        r"\usepackage{booktabs,graphicx}",
        r"\pagestyle{empty}",
        r"\newcommand{\fit}[1]{\sbox0{\resizebox{\textwidth}{!}{#1}}%   as wide as the page, unless that is too "
        r"high for it",
        r"  \ifdim\dimexpr\ht0+\dp0\relax>.85\textheight\resizebox*{!}{.85\textheight}{#1}\else\usebox0\fi}",
        r"\begin{document}",
    ]
    for table in tables:
        groups, count = table.lines(), len(table.columns)
        page += [
            r"\begin{table}[p]\centering",
            rf"{escaped(table.title)}. Small: the printed number; {escaped(LEGEND)}.\par\medskip",
            r"\fit{\begin{tabular}{l" + "r" * count + "}",
            r"\toprule",
        ]
        page += [
            "".join(rf" & \multicolumn{{{n}}}{{c}}{{{escaped(name)}}}" for name, n in spans(table.columns, level))
            + r" \\"
            for level in range(3)
        ]
        for heading, lines in groups:
            page += [r"\midrule", rf"\multicolumn{{{count + 1}}}{{l}}{{\textit{{{escaped(heading)}}}}} \\"]
            for name, letter, shown in lines:
                row = [
                    c.marked(r"\textbf{{{}}}", r"\underline{{{}}}")
                    + (rf" {{\scriptsize {escaped(c.against)}}}" if c.printed else "")
                    + (f"$^{{{c.letter}}}$" if c.letter else "")
                    for c in shown
                ]
                page.append(" & ".join([escaped(name) + (f"$^{{{letter}}}$" if letter else ""), *row]) + r" \\")
        notes = [rf"\par\footnotesize $^{{{letter}}}$ {escaped(note)}" for note, letter in table.notes.items()]
        page += [r"\bottomrule", r"\end{tabular}}", *notes, r"\end{table}"]
    return "\n".join([*page, r"\end{document}"]) + "\n"


STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.45 system-ui, sans-serif; margin: 1rem auto; padding: 0 .8rem; max-width: 90rem }
h1 { font-size: 1.4rem }
h2 { font-size: 1.1rem; margin-top: 2rem }
.scroll, pre { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
td, th { padding: .2rem .45rem; text-align: center; white-space: nowrap; font-weight: 400; \
border-bottom: 1px solid #8884 }
thead th, .group th { font-weight: 600 }
thead th[colspan] { border-left: 1px solid #8884 }
thead tr:first-child th { text-align: left }
tbody th { position: sticky; left: 0; background: Canvas; text-align: left; white-space: normal; min-width: 6.5rem }
.group th { padding-top: .8rem }
.group th { white-space: nowrap }
sup { line-height: 0 }
small { display: block; opacity: .7 }
.differs { background: #f803 }
pre { white-space: pre-wrap; background: #8882; padding: .6rem }
"""


def as_html(tables, cells, summary, terminal):
    """One self-contained page; on a narrow screen the tables scroll sideways under row names that stay."""
    e = html.escape
    page = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>The paper's tables, scored and printed</title><style>{STYLE}</style></head><body>",
        "<h1>The paper's tables, scored and printed</h1>",
        "<p>Above, from score files; below, as printed in the paper, with ≠ and a tint where it differs; "
        f"{LEGEND}.</p>",
    ]
    for table in tables:
        page += [f'<h2>{e(table.title)}</h2><div class="scroll"><table><thead>']
        for level in range(3):
            heads = [f'<th colspan="{n}">{e(name)}</th>' for name, n in spans(table.columns, level)]
            page.append(f"<tr><th></th>{''.join(heads)}</tr>")
        page.append("</thead><tbody>")
        for heading, lines in table.lines():
            page.append(f'<tr class="group"><th>{e(heading)}</th><td colspan="{len(table.columns)}"></td></tr>')
            for name, letter, shown in lines:
                row = [
                    f'<td class="{c.state}">'
                    + c.marked("<b>{}</b>", "<u>{}</u>")
                    + f"<sup>{c.letter}</sup><small>{c.against}</small></td>"
                    for c in shown
                ]
                page.append(f"<tr><th>{e(name)} <sup>{letter}</sup></th>{''.join(row)}</tr>")
        page += [
            "</tbody></table></div>",
            *(f"<p><sup>{letter}</sup> {e(note)}</p>" for note, letter in table.notes.items()),
        ]
    return "\n".join([*page, "<h2>Summary</h2><pre>", *map(e, summary_lines(summary)), "</pre></body></html>"]) + "\n"


FORMATS = {"text": text, "csv": as_csv, "json": as_json, "latex": latex, "markdown": markdown, "html": as_html}
