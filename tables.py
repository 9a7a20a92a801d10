"""Score files -> Tables 1-3 of the paper, each cell beside the published number, and what differs or is missing.

    python tables.py --table all                             # from the score files in results/
    python tables.py --table 3 --scores results authors --format html -o table3.html
    python tables.py --table 3 --commands                    # the run.py calls that make the table's score files
    python tables.py --check results authors                 # two sets of score files, pair by pair

Which score file fills a cell is said by reports/tables/paper/tables.csv, and by nothing else. Rendering is in reports/tables/render.py.
"""

import argparse
import csv
import sys
from dataclasses import dataclass
from pathlib import Path

from common.terminal import need

if __name__ == "__main__":
    need("numpy")  # before the imports that fail without

from common.errors import UsageError, unknown
from common.terminal import check_writable, run_main
from reports.tables.check import CHECK_FORMATS, check
from reports.tables.render import DISTANCES, FORMATS, Table, label
from scorefiles.folder import Folders
from scorefiles.read import parse_name, stem

PAPER = Path(__file__).resolve().parent / "reports" / "tables" / "paper" / "tables.csv"
PERTURBATIONS = {"original": "none", "translation": "tra", "dilation": "sca", "rotation": "rot"}  # printed name -> -rob
TITLES = {
    "1": "Embeddings against features, cosine distance",
    "2": "Distances between features, LIVE and TID2013",
    "3": "All metrics on PIPAL",
}
EXTRA = "beyond the paper"


@dataclass
class Cell:
    """One number of a table: the columns of reports/tables/paper/tables.csv, and what the score files say."""

    table: str
    dataset: str
    perturbation: str
    model: str
    distance: str
    feature: str
    statistic: str
    published: float | None
    scores_file: str
    note: str = ""
    recomputable: bool = True
    score: float | None = None
    state: str = "missing"  # equal, differs, scored (nothing published), partial, missing
    pairs: int = 0
    expected: int | None = None
    reason: str = ""  # why a score file that is there could not fill the cell

    @property
    def method(self):
        return parse_name(self.scores_file)[1]

    @property
    def distance_flag(self):
        """run.py's -d; '' for a metric that takes none, such as the paper's "VGG, SKLD" (deep_kld_vgg)."""
        return self.distance if self.distance and self.method.endswith(f"_{self.distance}") else ""

    @property
    def model_flag(self):
        """run.py's -m: the method without its distance."""
        return self.method.removesuffix(f"_{self.distance_flag}")

    @property
    def difference(self):
        return None if self.score is None or self.published is None else self.score - self.published


def published(tables):
    """The cells of the given tables in printed order, still without scores."""
    with open(PAPER, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["table"] in tables]
    return [
        Cell(published=float(row.pop("value")), recomputable=row.pop("recomputable") == "yes", **row) for row in rows
    ]


def extra_cells(cells, methods):
    """Cells for methods the paper does not have, in the columns of the tables of `cells`."""
    columns = dict.fromkeys((c.table, c.dataset, c.perturbation, c.statistic) for c in cells)
    return [
        Cell(
            table,
            dataset,
            perturbation,
            method,
            "",
            EXTRA,
            statistic,
            None,
            stem(dataset, method, PERTURBATIONS[perturbation]) + ".csv",
        )
        for method in methods
        for table, dataset, perturbation, statistic in columns
    ]


def commands(cells):
    """The fewest run.py calls that make the cells' score files: one a dataset and backbone; metrics without -d share one."""
    calls = {}
    for cell in cells:
        backbone = cell.model_flag.removeprefix("embed_") if cell.distance_flag else None
        call = calls.setdefault((cell.dataset, backbone), {"-dat": [cell.dataset], "-m": [], "-d": [], "-rob": []})
        for flag, value in (
            ("-m", cell.model_flag),
            ("-d", cell.distance_flag),
            ("-rob", PERTURBATIONS[cell.perturbation]),
        ):
            if value and value not in call[flag]:
                call[flag].append(value)
    for call in calls.values():
        call["-rob"].sort(key=list(PERTURBATIONS.values()).index)
    return [
        " ".join(f"{flag} {' '.join(values)}" for flag, values in call.items() if values) for call in calls.values()
    ]


def fill(cells, folders):
    """Put the coefficients of the folders' score files into the cells."""
    for cell in cells:
        file, cell.pairs, cell.expected = folders.look_up(cell.scores_file)
        if file is None:
            cell.state, cell.reason = "partial" if cell.pairs else "missing", folders.reasons.get(cell.scores_file, "")
            continue
        cell.score = folders.coefficient(file, cell.statistic)
        if cell.published is None:
            cell.state = "scored"
        else:  # half a printed digit either way; the rest is the rounding of the subtraction
            cell.state = "equal" if abs(cell.difference) <= 0.0005 + 1e-9 else "differs"


def group(cell):
    """Heading of the group of rows a cell belongs to."""
    if cell.feature == EXTRA:
        return EXTRA
    if cell.table == "1":
        return label(cell.model)
    if cell.distance:
        return DISTANCES[cell.distance]
    return "low-level metrics" if cell.model in ("psnr", "msssim", "fsim") else "learned metrics"


def tables_of(cells):
    """Cells -> render.Table, one a table, rows and columns in printed order."""
    tables = {}
    for cell in cells:
        table = tables.setdefault(cell.table, Table(f"Table {cell.table}. {TITLES[cell.table]}"))
        table.add(group(cell), (cell.model, cell.distance, cell.feature), cell)
    return list(tables.values())


def summarise(cells, folders):
    """What equals the print, what differs (largest first), what is missing and the commands that make it."""
    paper = [c for c in cells if c.published is not None]
    differs = sorted((c for c in paper if c.state == "differs"), key=lambda c: -abs(c.difference))
    missing = [c for c in paper if c.state in ("missing", "partial")]
    return {
        "cells": len(paper),
        "equal": sum(c.state == "equal" for c in paper),
        "differs": [c for c in differs if c.recomputable],
        "errata": [c for c in differs if not c.recomputable],
        "missing": missing,
        "commands": commands(missing),
        "ignored": folders.ignored,
        "unusual": folders.unusual,
        "protocol": folders.protocol[0] if folders.protocol else "paper",
    }


def select(cells, only):
    """The cells of some methods, given as run.py's -m (dinov1) or as in a score file's name (dinov1_l2)."""
    names = {name for c in cells for name in (c.model_flag, c.method)}
    for name in only:
        if name not in names:
            raise unknown("method", name, sorted(names), "of the chosen tables")
    return [c for c in cells if {c.model_flag, c.method} & set(only)] if only else cells


def main(argv):
    parser = argparse.ArgumentParser(
        description="Tables 1-3 of the paper from score files, each cell beside the printed number."
    )
    parser.add_argument(
        "--table", nargs="+", choices=[*TITLES, "all"], default=["all"], help="which tables (default: all)"
    )
    parser.add_argument(
        "--scores",
        nargs="+",
        metavar="DIR",
        help="folders of score files; the first that has a file is used (default: results)",
    )
    parser.add_argument(
        "--only", nargs="+", metavar="METHOD", default=[], help="only these rows, e.g. dinov1 or dinov1_l2"
    )
    parser.add_argument(
        "--extra",
        nargs="+",
        metavar="METHOD",
        default=[],
        help=f"rows {EXTRA}, named as in their score files, e.g. dinov2_jsd",
    )
    parser.add_argument("--format", choices=FORMATS, default="text", help="default: text")
    parser.add_argument("-o", "--output", metavar="FILE", help="write there, not to stdout")
    parser.add_argument(
        "--strict", action="store_true", help="exit 1 while a cell is missing or differs beyond the known errata"
    )
    parser.add_argument(
        "--commands", action="store_true", help="only print the run.py arguments that make all the score files"
    )
    parser.add_argument(
        "--check", nargs=2, metavar="DIR", help="compare two folders of score files pair by pair instead"
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    args = parser.parse_args(argv)
    check_writable("-o", args.output)
    code = 0
    if args.check:
        if args.format not in CHECK_FORMATS:
            raise UsageError(f"--check prints {', '.join(CHECK_FORMATS)}; found --format {args.format}")
        text = CHECK_FORMATS[args.format](*check(*args.check))
    else:
        cells = select(published(TITLES if "all" in args.table else args.table), args.only)
        if args.commands:
            text = "".join(f"{line}\n" for line in commands(cells))
        else:
            folders = Folders(args.scores or [d for d in ("results",) if Path(d).is_dir()])
            cells += extra_cells(cells, args.extra)
            fill(cells, folders)
            summary = summarise(cells, folders)
            text = FORMATS[args.format](
                tables_of(cells), cells, summary, terminal=not args.output and sys.stdout.isatty()
            )
            code = int(args.strict and bool(summary["missing"] or summary["differs"]))
    if args.output:
        Path(args.output).write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    return code


if __name__ == "__main__":
    run_main(main)
