"""Folders of score files: which there are, and each found by name, read, checked and correlated once."""

import json
from pathlib import Path

from agreement.correlations import coefficients
from common.errors import UsageError
from scorefiles.join import check_labels
from scorefiles.read import is_floor, parse_name, read

USUAL = {"resizeHW": None, "precision": "paper"}  # settings that change scores but not the name of their file


def score_paths(folder):
    """{name: path} of a folder's score files; a partial one goes by its final name, and gives way to a complete one."""
    if not Path(folder).is_dir():
        raise UsageError(f"{folder}: no such folder; expected one with score files")
    paths = [
        path
        for ending in ("*_*.csv.partial", "*_*.csv")
        for path in sorted(Path(folder).glob(ending))
        if not is_floor(path.name.removesuffix(".partial"))
    ]
    return {path.name.removesuffix(".partial"): path for path in paths}


class Folders:
    """The score files of some folders: each found by name, then read, checked and correlated once."""

    def __init__(self, folders):
        self.folders = [Path(folder) for folder in folders]
        for folder in self.folders:
            if not folder.is_dir():
                raise UsageError(
                    f"{folder}: no such folder; --scores expects folders of score files, as run.py --savedir makes"
                )
        self.found, self.labels, self.ignored, self.unusual, self.protocol = {}, {}, [], [], None

    def look_up(self, name):
        """(coefficients or None, pairs scored, pairs in the dataset) by a score file's name; (None, 0, N) where there is none."""
        if name not in self.found:
            self.found[name] = self._look_up(name)
        return self.found[name]

    def _look_up(self, name):
        from datasets import DATASETS

        whole = DATASETS[parse_name(name)[0]].pairs
        for path in filter(Path.exists, (folder / name for folder in self.folders)):
            file = read(path)
            n, promised = len(file.table), file.promised
            if '"random"' in json.dumps(file.settings.get("weights")):
                self.ignored.append(f"{path}: scored with random weights")
            elif n != (promised or n):
                raise UsageError(
                    f"{path}: line {n + 1}: the file ends after {n} pairs, expected {promised} of {file.dataset}; "
                    "delete it and score again"
                )
            elif whole and n < whole:  # pairs left out, or all pairs of a folder that does not hold the whole dataset
                return None, n, whole
            else:
                return self.coefficients(file), n, whole
        for folder in self.folders:
            parts = [path for path in folder.glob(f"{name}.partial*")]  # one, or a part a shard
            if parts:
                return None, sum(max(0, path.read_bytes().count(b"\n") - 1) for path in parts), whole
        return None, 0, whole

    def coefficients(self, file):
        table = file.table
        released_live = (
            file.dataset == "live" and not table["dis"].str.contains("/").any()
        )  # no folders, so names repeat
        repeated = table.duplicated(["dis", "ref", "mos"] if released_live else ["dis"]).to_numpy().nonzero()[0]
        if len(repeated):
            raise UsageError(
                f"{file.path}: line {repeated[0] + 2}: {table['dis'][repeated[0]]} stands in an earlier line, too"
            )
        check_labels(file, self.labels.setdefault(file.dataset, file))
        self.protocol = self.protocol or (file.protocol, file.path)
        if file.protocol != self.protocol[0]:
            raise UsageError(
                f"{file.path}: line 1: scored under protocol {file.protocol}, but {self.protocol[1]} under "
                f"{self.protocol[0]}; a table holds one protocol: give --scores folders of one"
            )
        other = [f"{key} {value}" for key, usual in USUAL.items() if (value := file.settings.get(key, usual)) != usual]
        if other:
            self.unusual.append(f"{file.path}: {', '.join(other)}")
        try:
            return coefficients(table["pred"] * file.sign, table["mos"])
        except ValueError as error:
            raise UsageError(f"{file.path}: {error}") from None
