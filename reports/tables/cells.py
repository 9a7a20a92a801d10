"""The cells of Tables 1-3: what is printed in each, which score file fills it, which calls of run.py make that file.

Which score file fills a cell is said by paper/tables.csv, and by nothing else. Rendering is in render.py.
"""

import csv
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from common.errors import unknown
from reports.tables.render import DISTANCES, Table, label
from scorefiles.folder import Folders
from scorefiles.read import parse_name, stem

PAPER = Path(__file__).resolve().parent / "paper" / "tables.csv"
PERTURBATIONS = {"original": "none", "translation": "tra", "dilation": "sca", "rotation": "rot"}  # printed name -> -rob
TITLES = {
    "1": "Embeddings against features, cosine distance",
    "2": "Distances between features, LIVE and TID2013",
    "3": "All metrics on PIPAL",
}
EXTRA = "beyond the paper"


@dataclass
class Cell:
    """One number of a table: the columns of paper/tables.csv, and what the score files say."""

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


def published(tables: Collection[str]) -> list[Cell]:
    """The cells of the given tables in printed order, still without scores."""
    with open(PAPER, newline="", encoding="utf-8") as file:
        rows: list[dict[str, Any]] = [row for row in csv.DictReader(file) if row["table"] in tables]
    return [
        Cell(published=float(row.pop("value")), recomputable=row.pop("recomputable") == "yes", **row) for row in rows
    ]


def extra_cells(cells: Sequence[Cell], methods: Sequence[str]) -> list[Cell]:
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


class Call(NamedTuple):
    """One call of run.py: the arguments after -dat, -m, -d and -rob."""

    dataset: str
    methods: list
    distances: list
    perturbations: list

    def __str__(self):
        flags = {"-dat": [self.dataset], "-m": self.methods, "-d": self.distances, "-rob": self.perturbations}
        return " ".join(f"{flag} {' '.join(values)}" for flag, values in flags.items() if values)


def calls(cells: Sequence[Cell]) -> list[Call]:
    """The fewest Calls that make the cells' score files: one a dataset and backbone; metrics without -d share one."""
    made = {}
    for cell in cells:
        backbone = cell.model_flag.removeprefix("embed_") if cell.distance_flag else None
        call = made.setdefault((cell.dataset, backbone), Call(cell.dataset, [], [], []))
        wanted = (cell.model_flag, cell.distance_flag, PERTURBATIONS[cell.perturbation])
        for values, value in zip(call[1:], wanted):
            if value and value not in values:
                values.append(value)
    for call in made.values():
        call.perturbations.sort(key=list(PERTURBATIONS.values()).index)
    return list(made.values())


def fill(cells: Sequence[Cell], folders: Folders) -> None:
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


def tables_of(cells: Sequence[Cell]) -> list[Table]:
    """Cells -> render.Table, one a table, rows and columns in printed order."""
    tables = {}
    for cell in cells:
        table = tables.setdefault(cell.table, Table(f"Table {cell.table}. {TITLES[cell.table]}"))
        table.add(group(cell), (cell.model, cell.distance, cell.feature), cell)
    return list(tables.values())


def summarise(cells: Sequence[Cell], folders: Folders) -> dict:
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
        "commands": [str(call) for call in calls(missing)],
        "ignored": folders.ignored,
        "unusual": folders.unusual,
        "protocol": folders.protocol[0] if folders.protocol else "paper",
    }


def select(cells: list[Cell], only: Sequence[str]) -> list[Cell]:
    """The cells of some methods, given as run.py's -m (dinov1) or as in a score file's name (dinov1_l2)."""
    names = {name for c in cells for name in (c.model_flag, c.method)}
    for name in only:
        if name not in names:
            raise unknown("method", name, sorted(names), "of the chosen tables")
    return [c for c in cells if {c.model_flag, c.method} & set(only)] if only else cells
