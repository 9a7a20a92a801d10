"""Files of other people: names looked up on the disk in any case, text, tables and numbers read with the place of an error.

Nothing here knows a dataset.
"""
import csv
import io
import math
import os
import re
import unicodedata
from pathlib import Path

from common.errors import UsageError, one_line

NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)
LISTED = 20   # how many names an error lists before "and N more"


def file_size(path):
    try:
        return path.stat().st_size
    except (OSError, ValueError):   # ValueError: a name that holds a null byte
        return None


def some(names):
    """'a; b; c' for a few names, '...; and 80 more' for many."""
    names = list(names)
    return "; ".join(names[:LISTED]) + (f"; and {len(names) - LISTED} more" if len(names) > LISTED else "")


def key(name):
    """What two spellings of one file name have in common: case and Unicode composition (macOS decomposes) left out."""
    return unicodedata.normalize("NFC", name).casefold()


class Disk:
    """The files under a root, found by names in any case. Raises UsageError for folders that can't be read."""

    def __init__(self, root):
        self.root, self.listings = Path(root), {}

    def listing(self, folder="."):
        """{key(name): [spellings on the disk]} of one folder, read once."""
        if folder not in self.listings:
            found = {}
            for name in list_folder(self.root / folder):
                found.setdefault(key(name), []).append(name)
            self.listings[folder] = found
        return self.listings[folder]

    def find(self, rel):
        """The spelling on the disk of a relative name, None if there is no such file. The same spelling wins over others."""
        here = ""
        for part in rel.split("/"):
            if part not in (".", ".."):
                spellings = self.listing(here or ".").get(key(part), [])
                if part not in spellings:
                    if len(spellings) > 1:
                        raise UsageError(f"{self.root / here}: {part!r} could be any of {', '.join(sorted(spellings))}; keep one")
                    if not spellings:
                        return None
                    part = spellings[0]
            here = f"{here}/{part}" if here else part
        return here

    def path(self, rel):
        """The path of a file or folder that must be there."""
        found = self.find(rel)
        if found is None:
            there = ", ".join(sorted(list_folder(self.root))[:8]) or "nothing"
            raise UsageError(f"{self.root / rel}: not there (looked for in any case); {self.root} holds {there}")
        return self.root / found

    def index(self, folders, files=r".*\.(bmp|png)", depth=3):
        """{key(file name): relative path} of the files (a regex) in the top-level folders that match the regex `folders`, and
        in their subfolders. Each folder is entered once, whatever links lead to it; a name in two places is a UsageError."""
        found, seen = {}, set()
        todo = [(name, 1) for name in sorted(list_folder(self.root)) if re.fullmatch(folders, name, re.I)]
        while todo:
            rel, level = todo.pop(0)
            folder = self.root / rel
            real = os.path.realpath(folder)
            if real in seen:
                continue
            seen.add(real)
            for name, is_folder in sorted(list_folder(folder).items()):
                inside = f"{rel}/{name}"
                if is_folder and level < depth:
                    todo.append((inside, level + 1))
                elif not is_folder and re.fullmatch(files, name, re.I) and found.setdefault(key(name), inside) != inside:
                    raise UsageError(f"{self.root}: {name} is there twice: {found[key(name)]} and {inside}; keep one")
        return found


def why(error):
    """The reason of an OSError or ValueError without the path, which the message has already."""
    return "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else getattr(error, "strerror", None) or one_line(error)


def list_folder(folder):
    """{name: whether it is a folder} of what is in a folder, hidden files left out (macOS puts ._copies of all names into
    archives). Raises UsageError when the folder is missing, unreadable or a loop of links."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name: os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()   # a link may lead nowhere
                    for entry in entries if not entry.name.startswith(".")}
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder}: this folder cannot be read ({why(error)})") from None


def read_text(path):
    """A text file as str: UTF-8, with or without a byte-order mark. UsageError if it can't be read or is no text."""
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: this file cannot be read ({why(error)})") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_fields(path, count, separator=None):
    """Lines of `count` fields -> [(line number, [fields])]; blank lines are skipped. UsageError naming file and line."""
    lines = read_text(path).split("\n")
    rows = [(i, [field.strip() for field in line.split(separator)]) for i, line in enumerate(lines, 1) if line.strip()]
    for line, fields in rows:
        if len(fields) != count or not all(fields):
            raise UsageError(f"{path}: line {line}: expected {count} fields, found {lines[line - 1]!r:.80}")
    if not rows:
        raise UsageError(f"{path}: empty, expected lines of {count} fields")
    return rows


def number(text, where):
    """A finite decimal number from a label file, or a UsageError that starts with `where` ('nan', '1_0' and '3,5' are none)."""
    value = float(text) if NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise UsageError(f"{where}: expected a finite number, found {text!r:.80}")
    return value


def spread(text, where):
    """A standard deviation or variance: a number that is not negative."""
    value = number(text, where)
    if value < 0:
        raise UsageError(f"{where}: a spread can't be negative, found {text!r}")
    return value


def read_table(path, required, optional=()):
    """A CSV file with a header -> [(line number, {column: text})]; columns in any case and order, others are ignored.

    UsageError naming file and line for a missing column, a line with another number of fields, or an empty required field.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""))
    try:
        rows = [(reader.line_num, [field.strip() for field in row]) for row in reader if any(field.strip() for field in row)]
    except csv.Error as error:
        raise UsageError(f"{path}: line {reader.line_num}: not CSV ({error})") from None
    header = [column.lower() for column in rows[0][1]] if rows else []
    missing = [column for column in required if column not in header]
    doubled = [column for column in (*required, *optional) if header.count(column) > 1]
    if missing or doubled:
        fault = f"missing: {', '.join(missing)}" if missing else f"twice: {', '.join(doubled)}"
        raise UsageError(f"{path}: line 1: expected a header with the columns {', '.join(required)}; {fault}; "
                         f"found {', '.join(header) or 'an empty file':.80}")
    for line, fields in rows[1:]:
        if len(fields) != len(header):
            raise UsageError(f"{path}: line {line}: expected {len(header)} fields as in the header, found {len(fields)}")
        if not all(field for column, field in zip(header, fields) if column in required):
            raise UsageError(f"{path}: line {line}: an empty field among {', '.join(required)}")
    if len(rows) < 2:
        raise UsageError(f"{path}: no rows under the header")
    return [(line, dict(zip(header, fields))) for line, fields in rows[1:]]


def read_mat(path, *wanted):
    """The named variables of a MATLAB file (version 4, 5 or 7; by scipy, no code runs). Raises UsageError."""
    from scipy.io import loadmat
    try:
        found = loadmat(path)
    except NotImplementedError:
        raise UsageError(f"{path}: this is a MATLAB 7.3 (HDF5) file; load it in MATLAB and save it with '-v7'") from None
    except Exception as error:  # scipy's reader raises many types on a broken file
        raise UsageError(f"{path}: not a MATLAB file of version 4 to 7 ({type(error).__name__}: {one_line(error)})") from None
    missing = [name for name in wanted if name not in found]
    if missing:
        there = ", ".join(sorted(name for name in found if not name.startswith("__"))) or "nothing"
        raise UsageError(f"{path}: expected the variables {', '.join(wanted)}; missing {', '.join(missing)}; found {there}")
    return [found[name] for name in wanted]


def cell_strings(cell, path):
    """A MATLAB cell array of strings, flattened -> list[str]."""
    import numpy as np
    items = [np.asarray(item).ravel() for item in np.asarray(cell).ravel()]
    if any(item.dtype.kind != "U" or item.size != 1 for item in items):
        raise UsageError(f"{path}: expected a cell array of file names")
    return [str(item[0]).strip() for item in items]


def mat_numbers(array, path, name):
    """A MATLAB vector -> list[float], NaN and infinity included (the caller knows which entries count)."""
    import numpy as np
    array = np.asarray(array)
    if array.dtype.kind not in "iufb":
        raise UsageError(f"{path}: expected numbers in {name}, found {array.dtype}")
    return [float(v) for v in array.ravel()]
