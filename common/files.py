"""Files of other people: names looked up on the disk in any case, text,
tables and numbers read with the place of an error.

Nothing here knows a dataset.
"""

from __future__ import annotations

import csv
import errno
import io
import math
import os
import re
import stat
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import UsageError, one_line

if TYPE_CHECKING:  # named in annotations only
    import numpy as np

NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)
LISTED = 20  # how many names an error lists before "and N more"


def file_size(path: Path) -> int | None:
    """Bytes of a file, None where there is none that can be asked for its size."""
    try:
        return path.stat().st_size
    except (OSError, ValueError):  # ValueError: a name that holds a null byte
        return None


def changed_at(path: Path) -> int | None:
    """When a file was last written, in nanoseconds; None where there is none that can be asked."""
    try:
        return path.stat().st_mtime_ns
    except (OSError, ValueError):
        return None


def some(names: Iterable[str]) -> str:
    """'a; b; c' for a few names, '...; and 80 more' for many."""
    names = list(names)
    return "; ".join(names[:LISTED]) + (f"; and {len(names) - LISTED} more" if len(names) > LISTED else "")


def key(name: str) -> str:
    """What two spellings of one file name have in common: case and Unicode composition (macOS decomposes) left out."""
    return unicodedata.normalize("NFC", name).casefold()


class Disk:
    """The files under a root, found by names in any case. Raises UsageError for folders that can't be read."""

    def __init__(self, root: Path | str):
        self.root, self.listings = Path(root), {}

    def listing(self, folder: str = ".") -> dict[str, list[str]]:
        """{key(name): [spellings on the disk]} of one folder, read once."""
        if folder not in self.listings:
            spellings = {}
            for name in list_folder(self.root / folder):
                spellings.setdefault(key(name), []).append(name)
            self.listings[folder] = spellings
        return self.listings[folder]

    def find(self, rel: str) -> str | None:
        """The spelling on the disk of a relative name, None if there is no such file.
        The same spelling wins over others."""
        here = ""
        for part in rel.split("/"):
            if part not in (".", ".."):
                spellings = self.listing(here or ".").get(key(part), [])
                if part not in spellings:
                    if len(spellings) > 1:
                        raise UsageError(
                            f"{self.root / here}: {part!r} could be any of {', '.join(sorted(spellings))}; keep one"
                        )
                    if not spellings:
                        return None
                    part = spellings[0]
            here = f"{here}/{part}" if here else part
        return here

    def path(self, rel: str) -> Path:
        """The path of a file or folder that must be there."""
        spelling = self.find(rel)
        if spelling is None:
            there = ", ".join(sorted(list_folder(self.root))[:8]) or "nothing"
            raise UsageError(f"{self.root / rel}: not there (looked for in any case); {self.root} holds {there}")
        return self.root / spelling

    def index(
        self, *folders: str, files: str = r".*\.(bmp|png)", names: set[str] | None = None, depth: int = 3
    ) -> dict[str, str]:
        """{key(file name): relative path} of the files (a regex) in the top-level folders that match one of the regexes
        `folders`, and in their subfolders. Each folder is entered once, whatever links lead to it. A name in two places
        is taken from the folder whose regex stands first where both files are `same_content`, else a UsageError.

        names: a set of keys; other files are left out. depth: 1 for the folders themselves, 2 for their subfolders too.
        """
        paths, seen = {}, set()
        top = sorted(list_folder(self.root))
        todo = [(name, 1) for pattern in folders for name in top if re.fullmatch(pattern, name, re.I)]
        while todo:
            rel, level = todo.pop(0)
            folder = self.root / rel
            real = os.path.realpath(folder)
            if real in seen or not folder.is_dir():
                continue
            seen.add(real)
            below = []
            for name, is_folder in sorted(list_folder(folder).items()):
                inside = f"{rel}/{name}"
                if is_folder and level < depth:
                    below.append((inside, level + 1))
                elif not is_folder and re.fullmatch(files, name, re.I) and (names is None or key(name) in names):
                    first = paths.setdefault(key(name), inside)
                    if first != inside and not same_content(self.root / first, self.root / inside):
                        raise UsageError(
                            f"{self.root}: {name} is there twice and the two files differ: {first} and {inside}; "
                            "keep one"
                        )
            todo = below + todo  # a folder's subfolders before the next folder, whose regex stands later
        return paths


BLOCK = 4096  # bytes that same_content reads at three places


def same_content(one: Path, two: Path) -> bool:
    """Whether two files have the same size and the same bytes at their beginning, in their middle and at their end.

    Three blocks of 4 KiB, so files of up to 12 KiB are compared wholly. Two versions of an image differ nearly
    everywhere, and a dataset that lies there twice has too many gigabytes to be read at each start. Raises UsageError
    for a file that can't be read.
    """
    size = file_size(one)
    if size is None or size != file_size(two):
        return False
    return blocks_of(one, size) == blocks_of(two, size)


def blocks_of(path, size):
    starts = range(0, size, BLOCK) if size <= 3 * BLOCK else (0, (size - BLOCK) // 2, size - BLOCK)
    blocks = []
    try:
        check_regular(path)
        with open(path, "rb") as file:
            for start in starts:
                file.seek(start)
                blocks.append(file.read(BLOCK))
    except OSError as error:
        raise UsageError(f"{path}: this file cannot be read ({why(error)})") from None
    return blocks


KINDS = (
    (stat.S_ISDIR, errno.EISDIR, os.strerror(errno.EISDIR)),
    (stat.S_ISFIFO, errno.EINVAL, "a named pipe, not a file"),
    (stat.S_ISSOCK, errno.EINVAL, "a socket, not a file"),
    (stat.S_ISCHR, errno.EINVAL, "a device, not a file"),
    (stat.S_ISBLK, errno.EINVAL, "a device, not a file"),
)


def check_regular(path: Path | str) -> None:
    """OSError, with the reason, unless path is a regular file or a link to one. To be called before a file is opened:
    opening a named pipe waits for a writer, and reading a device may never end."""
    mode = os.stat(path).st_mode
    for is_kind, number_of_error, reason in KINDS:
        if is_kind(mode):
            raise OSError(number_of_error, reason, str(path))


def refuse_irregular(path: Path | str) -> None:
    """check_regular for readers of other packages, which open the file themselves: UsageError."""
    try:
        check_regular(path)
    except OSError as error:
        raise UsageError(f"{path}: this file cannot be read ({why(error)})") from None


def why(error: Exception) -> str:
    """The reason of an OSError or ValueError without the path, which the message has already."""
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8 text"
    return getattr(error, "strerror", None) or one_line(error)


def leads_to_folder(entry):
    """Whether an entry of os.scandir is a folder, or a link that leads to one (a link may lead nowhere)."""
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()


def list_folder(folder: Path | str) -> dict[str, bool]:
    """{name: whether it is a folder} of what is in a folder, hidden files left out (macOS puts ._copies of all names
    into archives). Raises UsageError when the folder is missing, unreadable or a loop of links."""
    try:
        with os.scandir(folder) as entries:
            shown = [entry for entry in entries if not entry.name.startswith(".")]
            return {entry.name: leads_to_folder(entry) for entry in shown}
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder}: this folder cannot be read ({why(error)})") from None


def read_text(path: Path | str) -> str:
    """A text file as str: UTF-8, with or without a byte-order mark. UsageError if it can't be read or is no text."""
    try:
        check_regular(path)
        text = Path(path).read_bytes().decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: this file cannot be read ({why(error)})") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_fields(path: Path | str, count: int, separator: str | None = None) -> list[tuple[int, list[str]]]:
    """Lines of `count` fields -> [(line number, [fields])]; blank lines are skipped.
    UsageError naming file and line."""
    lines = read_text(path).split("\n")
    rows = [(i, [field.strip() for field in line.split(separator)]) for i, line in enumerate(lines, 1) if line.strip()]
    for line, fields in rows:
        if len(fields) != count or not all(fields):
            raise UsageError(f"{path}: line {line}: expected {count} fields, found {lines[line - 1]!r:.80}")
    if not rows:
        raise UsageError(f"{path}: empty, expected lines of {count} fields")
    return rows


def number(text: str, where: str) -> float:
    """A finite decimal number from a label file,
    or a UsageError that starts with `where` ('nan', '1_0' and '3,5' are none)."""
    value = float(text) if NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise UsageError(f"{where}: expected a finite number, found {text!r:.80}")
    return value


def spread(text: str, where: str) -> float:
    """A standard deviation or variance: a number that is not negative."""
    value = number(text, where)
    if value < 0:
        raise UsageError(f"{where}: a spread can't be negative, found {text!r}")
    return value


def read_table(path: Path | str, required: Sequence, optional: Sequence = ()) -> list[tuple[int, dict[str, str]]]:
    """A CSV file with a header -> [(line number, {column: text})]; columns in any case and order, others are ignored.

    required, optional: names of columns, or tuples of names of which one may stand for all. UsageError naming file and
    line for a missing column, one that stands there twice, a line with another number of fields, or an empty required
    field.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""))
    try:
        rows = [(reader.line_num, [field.strip() for field in row]) for row in reader]
    except csv.Error as error:
        raise UsageError(f"{path}: line {reader.line_num}: not CSV ({error})") from None
    rows = [(line, fields) for line, fields in rows if any(fields)]
    header = [column.lower() for column in rows[0][1]] if rows else []
    required = [(names,) if isinstance(names, str) else names for names in required]
    optional = [(names,) if isinstance(names, str) else names for names in optional]
    there = {names: [column for column in header if column in names] for names in (*required, *optional)}
    missing = [names for names in required if not there[names]]
    doubled = [column for columns in there.values() if len(columns) > 1 for column in dict.fromkeys(columns)]
    if missing or doubled:
        fault = f"missing: {', '.join(names[0] for names in missing)}" if missing else f"twice: {', '.join(doubled)}"
        wanted = ", ".join(names[0] + (f" (or {', '.join(names[1:])})" if names[1:] else "") for names in required)
        raise UsageError(
            f"{path}: line 1: expected a header with the columns {wanted}, divided by commas; {fault}; "
            f"found {', '.join(header) or 'an empty file':.80}"
        )
    needed = [there[names][0] for names in required]
    for line, fields in rows[1:]:
        if len(fields) != len(header):
            raise UsageError(
                f"{path}: line {line}: expected {len(header)} fields as in the header, found {len(fields)}"
            )
        if not all(field for column, field in zip(header, fields) if column in needed):
            raise UsageError(f"{path}: line {line}: an empty field among {', '.join(needed)}")
    if len(rows) < 2:
        raise UsageError(f"{path}: no rows under the header")
    return [(line, dict(zip(header, fields))) for line, fields in rows[1:]]


def read_mat(path: Path | str, *wanted: str) -> list[np.ndarray]:
    """The named variables of a MATLAB file (version 4, 5 or 7; by scipy, no code runs). Raises UsageError."""
    from scipy.io import loadmat

    refuse_irregular(path)
    try:
        variables = loadmat(path)
    except NotImplementedError:
        raise UsageError(
            f"{path}: this is a MATLAB 7.3 (HDF5) file; load it in MATLAB and save it with '-v7'"
        ) from None
    except Exception as error:  # scipy's reader raises many types on a broken file
        raise UsageError(
            f"{path}: not a MATLAB file of version 4 to 7 ({type(error).__name__}: {one_line(error)})"
        ) from None
    missing = [name for name in wanted if name not in variables]
    if missing:
        there = ", ".join(sorted(name for name in variables if not name.startswith("__"))) or "nothing"
        raise UsageError(
            f"{path}: expected the variables {', '.join(wanted)}; missing {', '.join(missing)}; found {there}"
        )
    return [variables[name] for name in wanted]


def cell_strings(cell: np.ndarray, path: Path | str) -> list[str]:
    """A MATLAB cell array of strings, flattened -> list[str]."""
    import numpy as np

    items = [np.asarray(item).ravel() for item in np.asarray(cell).ravel()]
    if any(item.dtype.kind != "U" or item.size != 1 for item in items):
        raise UsageError(f"{path}: expected a cell array of file names")
    return [str(item[0]).strip() for item in items]


def mat_numbers(array: np.ndarray, path: Path | str, name: str) -> list[float]:
    """A MATLAB vector -> list[float], NaN and infinity included (the caller knows which entries count)."""
    import numpy as np

    array = np.asarray(array)
    if array.dtype.kind not in "iufb":
        raise UsageError(f"{path}: expected numbers in {name}, found {array.dtype}")
    return [float(v) for v in array.ravel()]
