"""Score files being written: nothing lost, nothing mixed.

While a file is unfinished its rows stand in `<stem>.csv.partial` (a shard: `.csv.partial.2of4`), appended in whole
lines a unit at a time, its settings in `<stem>.json.partial` (`.json.partial.2of4`), a digest for each unit in
`<stem>.sha256.partial`. When the last row is there the rows are put in the dataset's order and the file appears under
its own name, at once. Before anything is appended the settings are compared: a changed setting, dataset, weight file or
protocol is an error that names it, and so are rows that are not those that were written.
"""

from __future__ import annotations

import csv
import errno
import glob
import hashlib
import io
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import UsageError, WorkError, one_line
from common.terminal import check_stopped, warn
from methods.model import Model
from scorefiles.read import COLUMNS, Altered, Unusable, beside, check_digest, digest, is_partial, recorded, whole_lines

if TYPE_CHECKING:  # named in annotations only
    import numpy as np

    from loaders.pairs import Pair

SCORING = 1  # raised when the same settings would give other scores than before


def write_atomically(path: Path, text: str) -> None:
    """The file appears complete or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise WorkError(f"{path}: cannot be written: {error.strerror or error}") from None


def as_json(document: dict) -> str:
    """The text of a score file's JSON: sorted keys, so that equal documents are equal bytes."""
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def as_csv(rows: Iterable[Sequence]) -> str:
    """The text of a CSV file with these rows, lines ended by a line feed."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def write_finished(path: Path, header: Sequence[str], rows: Sequence[Sequence], document: dict) -> None:
    """A score file under its final name, and before it the JSON beside it, which promises the number of its rows and
    their sha256."""
    text = as_csv([header, *rows])
    promised = {"pairs_used": len(rows), "rows_sha256": digest(text.encode())}
    write_atomically(beside(path), as_json(document | promised))
    write_atomically(path, text)


def append_at(path: Path, end: int, data: bytes) -> int:
    """Put data behind the first `end` bytes of a file, in place of whatever followed, and see it on the disk -> the new
    end."""
    try:
        with open(path, "ab") as file:  # opened for each unit: thousands of files may be under way
            file.truncate(end)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise WorkError(f"{path}: cannot be written: {error.strerror or error}") from None
    return end + len(data)


def size_of(path: Path) -> int:
    """Bytes of a file, 0 where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def companions(path: Path) -> list[Path]:
    """What belongs to a score file, finished or partial: the digests of a partial one, the JSON of both."""
    return [*([beside(path, ".sha256")] if is_partial(path) else []), beside(path)]


def differences(old: dict, new: dict, prefix: str = "") -> list[str]:
    """['precision: fp32 there, paper now'] of two nested dicts."""
    changes = []
    for key in sorted({*old, *new}):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            changes += differences(a, b, f"{prefix}{key}.")
        elif a != b:
            changes.append(f"{prefix}{key}: {short(a)} there, {short(b)} now")
    return changes


def short(value):
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) < 90 else text[:87] + "..."


class Output:
    """One score file, in whatever state it is on the disk.

    document: what its JSON will hold; of it `settings` must agree for a finished file to be used, `environment`
    (versions, device, batch size) too for a partial one to be continued, so that one file holds one environment's
    rounding.
    pairs: the dataset's, in order; settings["left_out"] names those that cannot be scored (--skip-bad).
    """

    def __init__(
        self,
        folder: Path,
        stem: str,
        document: dict,
        pairs: Sequence[Pair],
        shard: tuple[int, int] | None = None,
        layers: tuple[int, ...] | None = None,
    ):
        part = f".{shard[0]}of{shard[1]}" if shard and shard[1] > 1 else ""
        self.final, self.partial = folder / f"{stem}.csv", folder / f"{stem}.csv.partial{part}"
        self.digests = beside(self.partial, ".sha256")
        self.document, self.pairs, self.layers, self.shard = document, pairs, layers, part
        self.index: dict[tuple[str, ...], int] = {(p.dis, p.ref): i for i, p in enumerate(pairs)}
        left_out = document["settings"].get("left_out", ())
        self.needed = {i for i, p in enumerate(pairs) if p.dis not in left_out}
        self.clear()

    def clear(self) -> None:
        """Forget what was read from the disk."""
        self.done, self.complete = {}, False
        self.header: list[str] | None = None
        # where in the partial file its last whole unit ends, where in the digests its line ends, and the sha256 there
        self.end, self.end_of_digests, self.running = 0, 0, hashlib.sha256()
        # files made otherwise, to be dropped (--overwrite) as soon as there are rows to put in their place
        self.doomed = []

    def open(self, overwrite: bool = False) -> Output:
        """Read what is there. UsageError where it was made with other settings or is damaged; with overwrite such a
        file is replaced, and a finished one also where it was made in another environment."""
        self.clear()
        if self.final.exists():
            self.done = self.rows_if_same(self.final, overwrite)
            self.complete = bool(self.done)
        if not self.complete:
            self.read_partials(overwrite)
        return self

    def has(self, indices: Iterable[int]) -> bool:
        """Whether the rows of all these pairs are there."""
        return self.complete or all(i in self.done for i in indices)

    def batch_begun(self) -> int | None:
        """The batch size with which a partial file was begun, None where there is none."""
        try:
            return json.loads(beside(self.partial).read_text(encoding="utf-8"))["environment"]["batch_size"]
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def partials(self) -> list[Path]:
        """The partial files of all shards, sorted by name."""
        return sorted(self.final.parent.glob(glob.escape(self.final.name) + ".partial*"))

    def read_partials(self, overwrite: bool = False) -> None:
        """Take the rows of the partial files, of this shard and of others."""
        for path in self.partials():
            self.done |= self.rows_if_same(path, overwrite)

    def rows_if_same(self, path: Path, overwrite: bool) -> dict[int, list[str]]:
        """The rows of a file that was made as this run makes it; else UsageError, or {} and the file is doomed."""
        try:
            if path != self.final and not whole_lines(path):  # killed, or not yet come, before its first row
                return {}
            self.compare(path, ("settings",) if path == self.final and not overwrite else ("settings", "environment"))
            return self.rows_of(path)
        except UsageError:
            if not overwrite:
                raise
            if not self.shard or path in (self.final, self.partial):  # the other shards' files are theirs to drop
                self.doomed += [path, *companions(path)]
            return {}

    def compare(self, path: Path, sections: Sequence[str]) -> None:
        """UsageError naming what differs between this run and the one that wrote `path`, by the JSON beside it."""
        try:
            document = json.loads(beside(path).read_text(encoding="utf-8"))
            label, there = document.get("label"), {s: dict(document.get(s, {})) for s in sections}
        except FileNotFoundError:
            raise UsageError(
                f"{path}: there is no {beside(path).name} beside it that says how it was made; use --overwrite or "
                "another -sdir"
            ) from None
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            why = one_line(error) if isinstance(error, ValueError) else "not the JSON of a score file"
            raise UsageError(f"{beside(path)}: not readable ({why}); use --overwrite or another -sdir") from None
        changes = [d for s in sections for d in differences(there[s], self.document[s])]
        if changes and label != self.document.get(
            "label"
        ):  # alone it is only worded otherwise; here it may be why all differs
            changes.insert(0, f"label: {short(label)} there, {short(self.document.get('label'))} now")
        if any(change.startswith("dataset_sha256:") for change in changes):
            changes.insert(0, "other names, labels or file sizes in the dataset")
        higher = document.get("label_higher_is"), self.document.get("label_higher_is")
        if changes and None not in higher and higher[0] != higher[1]:
            changes.insert(0, f"a higher label means {higher[0]} there, {higher[1]} now")
        if changes:
            raise UsageError(
                f"{path}: made with other settings ({'; '.join(changes[:4])}{'; ...' if len(changes) > 4 else ''}); "
                "use --overwrite, another -sdir or another -s"
            )
        try:
            check_digest(path, path.read_bytes(), document)
        except Altered as error:
            raise UsageError(f"{error}; move it away or use --overwrite") from None

    def rows_of(self, path: Path) -> dict[int, list[str]]:
        """{pair index: row} of a file. The last unit of a partial file may be torn: it is left out.
        A finished file is whole. Unusable where its rows are not those of the dataset."""
        whole = whole_lines(path)
        if path != self.final:
            whole = whole[: self.end_of_units(path, whole)[0]]
        try:
            header, *rows = list(csv.reader(io.StringIO(whole.decode(), newline=""), strict=True)) or [None]
        except (ValueError, csv.Error) as error:
            raise Unusable(path, f"not readable ({one_line(error)}); move it away or use --overwrite") from None
        if header and (header[:4] != list(COLUMNS) or self.header not in (None, header)):
            raise Unusable(
                path,
                f"line 1: expected {','.join(self.header or COLUMNS)}, found {','.join(header)}; use --overwrite",
            )
        rows_by_pair = {}
        for line, row in enumerate(rows, 2):
            i = self.index.get(tuple(row[:2]))
            if i is None or len(row) != len(header) or not self.sound(i, row) or rows_by_pair.setdefault(i, row) != row:
                raise Unusable(
                    path,
                    f"line {line}: not a row of this dataset ({short(row)}); move the file away or use --overwrite",
                )
        if path == self.final and (len(whole) < path.stat().st_size or set(rows_by_pair) != self.needed):
            raise Unusable(
                path, f"{len(rows_by_pair)} whole rows, expected {len(self.needed)}; move it away or use --overwrite"
            )
        self.header = header or self.header
        return rows_by_pair

    def end_of_units(self, path: Path, whole: bytes) -> tuple[int, int]:
        """What counts of a partial file's whole lines, as `recorded`; UsageError where they were altered."""
        try:
            return recorded(path, whole)
        except Altered as error:
            raise UsageError(f"{error}; move {path.name} away or use --overwrite") from None

    def sound(self, i: int, row: Sequence[str]) -> bool:
        """Whether the numbers of a row are the pair's label and finite scores."""
        try:
            label, *scores = map(float, row[2:])
        except ValueError:
            return False
        return label == self.pairs[i].label and all(map(math.isfinite, scores))

    def append(self, indices: Sequence[int], values: np.ndarray) -> None:
        """Add the rows of these pairs that are not there yet; values: (n, 1) floats, or (n, 1 + L) with one a block."""
        if self.header is None:
            self.header = [*COLUMNS, *(f"pred_{b}" for b in self.layers or range(len(values[0]) - 1))][
                : 4 + len(values[0]) - 1
            ]
        rows = {
            i: [self.pairs[i].dis, self.pairs[i].ref, repr(float(self.pairs[i].label)), *(repr(float(v)) for v in row)]
            for i, row in zip(indices, values)
            if i not in self.done
        }
        self.write(as_csv(rows.values()))
        self.done |= rows
        check_stopped()

    def write(self, text: str) -> None:
        """Append a unit's whole lines to the partial file, after its last whole unit, and see them on the disk.

        The digest comes first, so that a kill between the two leaves a digest without its rows, which the next run
        drops, and never rows without their digest.
        """
        try:
            self.drop()
            if (size_of(self.partial), size_of(self.digests)) != (self.end, self.end_of_digests):
                self.continue_file()  # begun by another run, or taken away
            if not self.end:  # nothing was made by the settings beside it, if there are any
                write_atomically(beside(self.partial), as_json(self.document))
                text = as_csv([self.header]) + text
        except OSError as error:
            raise WorkError(f"{self.partial}: cannot be written: {error.strerror or error}") from None
        rows, running = text.encode(), self.running.copy()
        running.update(rows)
        if rows:
            line = f"{self.end + len(rows)} {running.hexdigest()}\n"
            if not self.end_of_digests:  # what stands there already, of a version without digests, is taken as it is
                line = f"{self.end} {self.running.hexdigest()}\n" + line
            self.end_of_digests = append_at(self.digests, self.end_of_digests, line.encode())
        self.end, self.running = append_at(self.partial, self.end, rows), running

    def continue_file(self) -> None:
        """Find the place in the partial file and in its digests from which to go on."""
        whole = whole_lines(self.partial)
        self.end, self.end_of_digests = self.end_of_units(self.partial, whole)
        self.running = hashlib.sha256(whole[: self.end])

    def drop(self) -> None:
        """Remove the files that were made otherwise (--overwrite), now that there is something in their place."""
        while self.doomed:
            self.doomed.pop(0).unlink(missing_ok=True)  # a CSV before the JSON that says how it was made

    def catch_up(self) -> None:
        """Take the finished file where another run, of another shard say, was faster to give it its name."""
        if not self.complete and self.final.exists() and self.final not in self.doomed:
            self.open()

    def warn_of_divisions(self, missing: int) -> None:
        """Parts 1/3 and 2/2 never make a whole: say so where parts of several divisions lie beside each other."""
        divisions = [match[1] for path in self.partials() if (match := re.search(r"\.(\d+of\d+)$", path.name))]
        if len({division.partition("of")[2] for division in divisions}) > 1:
            parts = ", ".join(division.replace("of", "/") for division in divisions)
            warn(
                f"{self.final}: parts of different divisions ({parts}); "
                f"{missing} of {len(self.needed)} pairs are in none"
            )

    def finish(self) -> bool:
        """Give the file its name if all of its rows are there -> whether it is complete.
        Of several shards, the last to finish joins them."""
        self.catch_up()
        if not self.complete and self.needed - set(self.done):
            self.read_partials()
        if not self.complete:
            if missing := self.needed - set(self.done):
                self.warn_of_divisions(len(missing))
                return False
            self.drop()
            rows = [self.done[i] for i in sorted(self.needed)]
            write_finished(self.final, self.header, rows, self.document)
            self.complete = True
        for path in self.partials():
            for companion in companions(path):  # these first: nothing looks for them alone
                companion.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        return True


@contextmanager
def locked(folder: Path, names: Iterable[str]) -> Iterator[None]:
    """Hold the locks of these files: a second run that writes one of them waits, and says so. The kernel drops the
    locks of a process that dies, so none is ever stale. Taken in sorted order, so that two runs never wait for each
    other."""
    from filelock import FileLock, Timeout

    with ExitStack() as stack:
        where, names = Path(folder, ".locks"), sorted(set(names))
        try:
            where.mkdir(parents=True, exist_ok=True)
            for name in names:
                lock = FileLock(where / f"{name}.lock")
                try:
                    lock.acquire(timeout=0)
                except Timeout:
                    warn(f"another run is writing {Path(folder, name)}; waiting for it to end")
                    lock.acquire()
                stack.callback(lock.release)
        except (OSError, NotImplementedError) as error:  # NotImplementedError: a file system without locks
            kind = WorkError if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) else UsageError
            if getattr(error, "errno", None) == errno.ENAMETOOLONG and os.path.isdir(where):
                raise UsageError(
                    f"{max(names, key=len)}: too long for the name of a file; choose another by -s"
                ) from None
            raise kind(
                f"-sdir {folder}: cannot be written to ({getattr(error, 'strerror', None) or one_line(error)}); "
                "choose another folder"
            ) from None
        yield


def environment(model: Model, batch: int) -> dict:
    """What may change a score's last digits: versions of the packages that computed it, the device, the batch size."""
    import importlib.metadata
    import platform

    def version(package):
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return None

    packages = ("torch", "torchvision", "timm", "clip-anytorch", "clip", "piq", "stlpips-pytorch", "numpy", "pillow")
    if model.options.align != "none":
        packages += ("opencv-python-headless", "scipy")
    device = model.options.device
    if device.startswith("cuda"):
        import torch

        device = torch.cuda.get_device_name(device)
    return {
        "python": platform.python_version(),
        "device": device,
        "batch_size": batch,
        "cpu": platform.machine(),
        "versions": {p: v for p in packages if (v := version(p))},
    }
