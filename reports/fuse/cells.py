"""A folder of score files -> cells in which metrics can be fused: one dataset under one perturbation, rows aligned.

Used by fuse.py and reports/fuse/write.py. What does not fit together is refused with the file and the reason; a cell
that lacks a factor's file is left out and named.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.errors import UsageError, unknown
from common.terminal import warn
from datasets import DATASETS
from methods import fused
from robustness import PERTURBATIONS
from scorefiles.folder import name_left_out, scan
from scorefiles.join import base_names, order_of
from scorefiles.read import ScoreFile, Unusable, parse_name, read

if TYPE_CHECKING:  # named in annotations only
    import pandas as pd

BLOCK = re.compile(r"pred_\d+")


@dataclass(frozen=True)
class FactorCell:
    """F factors on the N pairs of one dataset under one perturbation."""

    dataset: str
    perturbation: str
    pct: float | None
    factors: tuple  # (F,) names
    distances: np.ndarray  # (F, N) oriented, higher = worse, none below the floor
    badness: np.ndarray  # (N,) label, higher = worse
    references: np.ndarray  # (N,) names: the clusters
    files: tuple  # the ScoreFiles, rows as in the file

    @property
    def name(self):
        return cell_name(self.dataset, self.perturbation, self.pct)


def cell_name(dataset, perturbation, pct):
    return f"{dataset} {perturbation}" + ("" if pct is None else f"-{pct:g}")


class Folder:
    """The score files of a folder: {(dataset, perturbation, pct): {method: path}}, each read and checked once."""

    def __init__(
        self,
        path: Path | str,
        datasets: Sequence[str] = (),
        floor: float = fused.FLOOR,
        shared: dict[str, set[str]] | None = None,
    ):
        """shared: {dataset: {references}} whose pairs are left out, from `shared_content`."""
        self.path, self.floor, self.cells, self.first, self.known = Path(path), floor, {}, {}, {}
        self.shared = shared or {}
        for name, [file, *_] in scan(self.path).items():
            if file.name == name:  # finished
                dataset, method, perturbation, pct = parse_name(name)
                self.cells.setdefault((dataset, perturbation, pct), {})[method] = file
        for name in datasets:
            if name not in self.datasets:
                raise UsageError(
                    f"--datasets {name}: no score file of it in {path}; found {', '.join(self.datasets) or 'none'}"
                )
        chosen = [key for key in self.cells if not datasets or key[0] in datasets]
        order = list(PERTURBATIONS)
        self.cells = {
            key: self.cells[key] for key in sorted(chosen, key=lambda key: (key[0], order.index(key[1]), key[2] or 0))
        }

    @property
    def datasets(self) -> list[str]:
        """Names of the datasets of the cells, each once."""
        return list(dict.fromkeys(dataset for dataset, _, _ in self.cells))

    @property
    def methods(self) -> list[str]:
        """Names of all methods of the cells, sorted."""
        return sorted({method for files in self.cells.values() for method in files})

    def read(self, key: tuple, method: str) -> tuple[ScoreFile, np.ndarray]:
        """-> (ScoreFile, order): table.iloc[order] has the rows of the dataset's first file.
        UsageError for what does not fit."""
        path = self.cells[key][method]
        if path not in self.known:
            self.known[path] = self._read(path, key)
        return self.known[path]

    def _read(self, path, key):
        file = read(path)
        file.require_whole()
        settings = file.settings
        stated = settings.get("perturbation", key[1])
        stated = stated, None if stated == "none" else settings.get("pct", key[2])
        if stated != key[1:]:
            by_json, by_name = (cell_name("", *which).strip() for which in (stated, key[1:]))
            raise UsageError(
                f"{path}: scored under {by_json} by its JSON, {by_name} by its name; "
                "factors must be of one perturbation"
            )
        if file.dataset not in self.first and file.dataset in DATASETS and file.expected is not None:
            pairs = DATASETS[file.dataset].pairs
            if file.expected < pairs:
                warn(f"{path}: {file.expected} of the {pairs} pairs of {file.dataset}; what they choose may not last")
        template = self.first.setdefault(file.dataset, file)
        return file, self.without_shared(file, order_of(file, template))

    def without_shared(self, file: ScoreFile, order: np.ndarray) -> np.ndarray:
        """The rows `order` of a file, less those of references left out. UsageError for one that the file has not."""
        leave = self.shared.get(file.dataset, set())
        if not leave:
            return order
        references = base_names(file.table["ref"]).to_numpy(dtype=str)[order]
        unknown_names = sorted(leave - set(references))
        if unknown_names:
            raise UsageError(f"--shared-content: {file.path} has no reference {', '.join(unknown_names)}")
        return order[~np.isin(references, list(leave))]

    def usable(self, key: tuple, method: str) -> bool:
        """Whether a cell has a method's file. One that is of no use by itself is named on stderr, once,
        and leaves the cell."""
        if method not in self.cells[key]:
            return False
        try:
            self.read(key, method)
        except Unusable as error:
            name_left_out(error)
            del self.cells[key][method]
            return False
        return True

    def load(self, factors: Sequence[str]) -> tuple[list[FactorCell], dict[str, list[str]]]:
        """-> ([Cell] that have all factors, {cell name: [factors it lacks]}). UsageError for an unknown factor, or
        files of different protocols or sizes."""
        for name in factors:
            if name not in self.methods:
                raise unknown("factor", name, self.methods, f"factors are named as in the score files of {self.path}")
        cells, lacking = [], {}
        for key in self.cells:
            lacks = [name for name in factors if not self.usable(key, name)]
            if lacks:
                lacking[cell_name(*key)] = lacks
            else:
                cells.append(self.cell(key, factors))
        same(cells, lambda file: file.protocol, "under protocol")
        same(cells, lambda file: file.settings.get("resizeHW"), "with --resizeHW")
        return cells, lacking

    def cell(self, key: tuple, factors: Sequence[str]) -> FactorCell:
        """The FactorCell of (dataset, perturbation, pct) with these factors, each as its oriented distance."""
        files = [self.read(key, name) for name in factors]
        distances = [
            fused.distance(file.table["pred"], file.pred_higher_is, self.floor, line(file.path))[order]
            for file, order in files
        ]
        return self.made(key, factors, distances, [file for file, _ in files])

    def made(
        self,
        key: tuple[str, str, float | None],
        names: Sequence[str],
        distances: Sequence[np.ndarray],
        files: Sequence[ScoreFile],
    ) -> FactorCell:
        """A FactorCell of distances (F, N) in the order of the dataset's first file, with its labels,
        higher = worse."""
        file, order = self.read(key, files[0].method)
        label = file.table["mos"].to_numpy()[order]
        label = label if file.label_higher_is == "worse" else -label
        references = base_names(file.table["ref"]).to_numpy(dtype=str)[order]
        return FactorCell(*key, tuple(names), np.stack(distances), label, references, tuple(files))

    def blocks(self, method: str) -> tuple[list[FactorCell], dict[str, list[str]]]:
        """-> ([Cell] whose factors are the blocks of a method, pred_0 ..., of a --per-layer run, {cell name: what it
        lacks})."""
        if method not in self.methods:
            raise unknown("method", method, self.methods, f"methods are named as in the score files of {self.path}")
        cells, lacking, names = [], {}, None
        for key in self.cells:
            if not self.usable(key, method):
                lacking[cell_name(*key)] = [method]
                continue
            file, order = self.read(key, method)
            columns = [c for c in file.table.columns if BLOCK.fullmatch(c)]
            names = names or columns
            if len(columns) < 2 or columns != names:
                raise UsageError(
                    f"{file.path}: expected the columns pred_0, pred_1, ... of two blocks or more, the same in each "
                    f"file; found {', '.join(columns) or 'none'}; score it with run.py --per-layer"
                )
            distances = [fused.distance(file.table[c], "worse", self.floor, line(file.path))[order] for c in columns]
            cells.append(self.made(key, columns, distances, [file]))
        same(cells, lambda file: file.protocol, "under protocol")
        return cells, lacking

    def prediction(self, cell: FactorCell, method: str) -> np.ndarray:
        """A method's own predictions (N,) in a cell, higher = worse (PSNR negated, not its reciprocal),
        in the cell's order."""
        file, order = self.read((cell.dataset, cell.perturbation, cell.pct), method)
        return (1 if file.pred_higher_is == "worse" else -1) * file.table["pred"].to_numpy()[order]

    def rows(self, cell: FactorCell) -> pd.DataFrame:
        """The table of the cell's first file, in the cell's order."""
        file, order = self.read((cell.dataset, cell.perturbation, cell.pct), cell.files[0].method)
        return file.table.iloc[order]

    def singles(self, cell: FactorCell) -> list[str]:
        """Methods that can be set beside those of a cell: not fused, not of random weights, of the same protocol."""
        methods, key = [], (cell.dataset, cell.perturbation, cell.pct)
        for method in [method for method in list(self.cells[key]) if self.usable(key, method)]:
            file, _ = self.read(key, method)
            if not file.random and "fused" not in file.settings and file.protocol == cell.files[0].protocol:
                methods.append(method)
        return methods


def shared_content(path: str) -> dict[str, set[str]]:
    """A CSV of dataset,ref -> {dataset: {references, as base_names writes them}}:
    content that other datasets hold too."""
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype=str, encoding="utf-8-sig", keep_default_na=False)
    except (OSError, ValueError) as error:  # ValueError: pandas' parser and decoding errors
        raise UsageError(
            f"--shared-content {path}: expected a CSV file with the columns dataset, ref: {error}"
        ) from None
    if not {"dataset", "ref"} <= set(table.columns) or table.empty:
        raise UsageError(
            f"--shared-content {path}: expected the columns dataset, ref and at least one row; found "
            f"{', '.join(map(str, table.columns))}"
        )
    return {dataset: set(base_names(rows["ref"])) for dataset, rows in table.groupby("dataset")}


def line(path):
    return lambda i: f"{path}: line {i + 2}"


def same(cells, setting, what):
    """UsageError unless all files of all cells have one value of a setting."""
    files = [file for cell in cells for file in cell.files]
    for file in files:
        if setting(file) != setting(files[0]):
            raise UsageError(
                f"{file.path}: scored {what} {setting(file)}, {files[0].path} {what} {setting(files[0])}; "
                "factors must agree in it"
            )


def enough(cells: Sequence[FactorCell], lacking: dict, what: str) -> None:
    """UsageError unless one dataset can be held out."""
    datasets = list(dict.fromkeys(c.dataset for c in cells))
    if len(datasets) < 2:
        lacks = "".join(f"; {cell} lacks {', '.join(names)}" for cell, names in list(lacking.items())[:4])
        raise UsageError(
            f"{what}: leaving one dataset out takes two datasets or more with files of all of them, found "
            f"{', '.join(datasets) or 'none'}{lacks}"
        )
