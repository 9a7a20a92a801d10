"""Folders of score files: which there are, and each read, checked and correlated once."""

from collections.abc import Iterable
from pathlib import Path

from agreement import correlations
from common.errors import UsageError
from common.terminal import warn
from scorefiles.join import join, same_rows
from scorefiles.read import ENDING, ScoreFile, Unusable, is_companion, is_floor, parse_name, read

USUAL = {"resizeHW": None, "precision": "paper"}  # settings that change scores but not the name of their file


def scan(folder: Path | str) -> dict[str, list[Path]]:
    """{final name: [paths]} of a folder's score files by name: the finished file alone, else its unfinished parts.

    Noise floors are no score files, nor are hidden files and other files (correlations.csv, the JSONs). Raises
    UsageError for no folder.
    """
    if not Path(folder).is_dir():
        what = "a file" if Path(folder).exists() else "no such folder"
        raise UsageError(f"{folder}: {what}; expected a folder with score files, as run.py --savedir makes")
    files = {}
    for path in sorted(Path(folder).glob("[!._]*_?*.csv*")):
        name = ENDING.sub(".csv", path.name)
        if ENDING.search(path.name) and not is_floor(name) and not is_companion(name):
            files.setdefault(name, []).append(path)
    return {name: [path for path in paths if path.name == name] or paths for name, paths in files.items()}


def name_left_out(error: Exception) -> None:
    """A warning that names a file of no use, which the others go on without."""
    warn(f"left out: {error}")


class Folders:
    """The score files of some folders, by name; the first folder whose file is of use is taken.

    `reasons` {name: why} holds what could not be used, `ignored` and `unusual` lines for the report.
    """

    def __init__(self, folders: Iterable[Path | str]):
        self.paths = list(folders)
        self.folders = [scan(path) for path in self.paths]
        self.files, self.values = {}, {}
        self.templates, self.reasons, self.ignored, self.unusual = {}, {}, [], []
        self.protocol: tuple[str, Path] | None = None  # of the first file, and that file

    def without(self, names: Iterable[str]) -> list[Path | str]:
        """The folders that hold none of the score files of these names."""
        names = set(names)
        return [path for path, files in zip(self.paths, self.folders) if not names & set(files)]

    def look_up(self, name: str) -> tuple[ScoreFile | None, int, int]:
        """(ScoreFile or None, pairs scored, pairs in the dataset) by a score file's name;
        (None, 0, N) where there is none.

        Raises UsageError for files that contradict each other in pairs, labels or protocol: nobody can say which is
        right.
        """
        if name not in self.files:
            self.files[name] = self._look_up(name)
        return self.files[name]

    def _look_up(self, name):
        from datasets import DATASETS

        pairs = DATASETS[parse_name(name)[0]].pairs
        finished = [
            paths[0] for paths in (folder.get(name) for folder in self.folders) if paths and paths[0].name == name
        ]
        for path in finished:
            try:
                file = read(path)
                if file.random:
                    self.ignored.append(f"{path}: scored with random weights")
                    continue
                file.require_whole()
                if (
                    pairs and len(file.table) < pairs
                ):  # left out by --skip-bad, or a folder that does not hold all of it
                    return None, len(file.table), pairs
                self.check(file)
                return file, len(file.table), pairs
            except Unusable as error:
                self.reasons[name] = f"{error.path.name}: {error.reason}"
                name_left_out(error)
        for paths in (folder[name] for folder in self.folders if name in folder):
            if paths[0].name != name:  # one unfinished file, or one a shard
                return None, sum(max(0, path.read_bytes().count(b"\n") - 1) for path in paths), pairs
        return None, 0, pairs

    def check(self, file: ScoreFile) -> None:
        """That a file can stand in a table beside those before it.
        Raises Unusable, or UsageError where they disagree."""
        table, template = file.table, self.templates.get(file.dataset)
        if template is None or not same_rows(table, template.table):
            # no folders, so names repeat
            released_live = file.dataset == "live" and not table["dis"].str.contains("/").any()
            twice = table.duplicated(["dis", "ref", "mos"] if released_live else ["dis"]).to_numpy().nonzero()[0]
            if len(twice):
                raise Unusable(
                    file.path, f"line {twice[0] + 2}: {table['dis'][twice[0]]} stands in an earlier line, too"
                )
        try:
            correlations.checked(table["pred"], table["mos"])
        except ValueError as error:
            raise Unusable(file.path, str(error)) from None
        self.templates.setdefault(file.dataset, file)
        join(file, self.templates[file.dataset])
        self.protocol = self.protocol or (file.protocol, file.path)
        if file.protocol != self.protocol[0]:
            raise UsageError(
                f"{file.path}: line 1: scored under protocol {file.protocol}, but {self.protocol[1]} under "
                f"{self.protocol[0]}; a table holds one protocol: give --scores folders of one"
            )
        stated = [file.settings, *file.settings.get("factors", {}).values()]  # of a fused one, those of its factors too
        other = dict.fromkeys(
            f"{key} {value}" for s in stated for key, usual in USUAL.items() if (value := s.get(key, usual)) != usual
        )
        if other:
            self.unusual.append(f"{file.path}: {', '.join(other)}")

    def coefficient(self, file: ScoreFile, statistic: str) -> float:
        """A file's plcc, srcc or krcc, positive where it agrees with people; computed once."""
        key = file.path, statistic
        if key not in self.values:
            compute = getattr(correlations, statistic)
            self.values[key] = compute(file.table["pred"].to_numpy() * file.sign, file.table["mos"].to_numpy())
        return self.values[key]
