"""What every dataset loader gives: rows as its label files have them, pairs as they lie on the disk,
and the dataset they make.

Nothing here knows a dataset. datasets.py holds the registry and `load`, which is what the scripts call.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from common.errors import UsageError
from common.files import Disk, file_size, key, some
from loaders.spread import Spread


@dataclass(frozen=True)
class Pair:
    """One rated image. dis and ref are relative to the dataset's root, with '/', spelt as on the disk."""

    dis: str
    ref: str
    label: float
    distortion: str  # the dataset's own type code or folder
    std: float | None = None  # spread of the label, where the dataset gives it; Dataset.spread says of what kind


@dataclass(frozen=True)
class Dataset:
    """A dataset on the disk; `pairs` in the dataset's own order."""

    name: str
    root: Path
    pairs: list
    higher_is: str  # 'worse' or 'better': what a higher label means
    label: str  # what the label is: '100 - MOS', 'Elo', 'strength 1-5, not a human opinion'
    expected: int  # how many pairs its label file has
    spread: Spread | None = None  # what kind of number each Pair's std is; None where a pair has none
    note: str = ""  # what must stand beside every table made of it

    def path(self, rel: str) -> Path:
        """The file of a Pair's `dis` or `ref`."""
        return self.root / rel

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over all names, labels (to the last digit) and file sizes:
        the same only if a partial run may go on."""
        sizes = {rel: file_size(self.path(rel)) for rel in {rel for pair in self.pairs for rel in (pair.dis, pair.ref)}}
        rows = [[p.dis, p.ref, repr(p.label), sizes[p.dis], sizes[p.ref]] for p in self.pairs]
        return hashlib.sha256(json.dumps([self.name, self.higher_is, rows]).encode()).hexdigest()


class Row(NamedTuple):
    """What a loader reads about one rated image, before its names are looked up on the disk."""

    where: str  # 'FILE: line N', for error messages
    dis: str
    ref: str
    label: float
    std: float | None = None
    distortion: str | None = None  # None: the registry's `types` tells it from the name


def refuse_doubled(rows: Iterable[Row]) -> None:
    """UsageError naming both places if a distorted image is rated twice."""
    first = {}
    for row in rows:
        known = first.setdefault(key(row.dis), row)
        if known is not row:
            raise UsageError(f"{row.where}: {row.dis} stands there a second time (first: {known.where}); keep one")


def spelt_as_on_disk(
    root: Path, rows: Sequence[Row], keep_missing: bool = False, layout: Callable = lambda: ""
) -> list[Row]:
    """The rows with dis and ref as they are spelt on the disk. UsageError counting and listing the images that are not
    there, and, where that is half of them or more, with the text that `layout` returns; with keep_missing their rows
    stay as they are."""
    disk, spelt, missing = Disk(root), {}, {}
    for row in rows:
        for rel in (row.dis, row.ref):
            if rel not in spelt and rel not in missing:
                spelling = disk.find(rel)
                if spelling is None:
                    missing[rel] = row.where
                else:
                    spelt[rel] = spelling
    if missing and not keep_missing:
        hint = f"; {layout()}" if len(missing) >= len(spelt) else ""
        raise UsageError(
            f"{root}: {len(missing)} of {len(spelt) + len(missing)} images named in the label files are not there: "
            f"{some(missing)} (the first in {next(iter(missing.values()))}){hint}"
        )
    return [row._replace(dis=spelt.get(row.dis, row.dis), ref=spelt.get(row.ref, row.ref)) for row in rows]


def code_in_name(pattern: str, example: str, with_folders: bool = False) -> Callable:
    """A function: names of distorted images -> type codes, group 1 of `pattern` in each name,
    its folder left out or not."""

    def types(names):
        matches = [re.fullmatch(pattern, name if with_folders else name.rsplit("/", 1)[-1], re.I) for name in names]
        for line, (name, match) in enumerate(zip(names, matches), 2):
            if match is None:
                raise UsageError(
                    f"line {line}: can't tell the distortion type of {name!r:.80}; expected a name like {example}"
                )
        return [match[1].lower() for match in matches]

    return types
