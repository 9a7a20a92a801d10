"""The one join: which rows of two score files are the same pair, and whether the files agree on the labels.

A pair is known by the file names of its distorted image and its reference, without folders and case. Where names repeat
(the authors' LIVE files name the images of five folders alike) rows are the same pair if they stand in the same place
under the same name. Labels agree within LABEL_TOLERANCE of the largest label: the authors stored LIVE's as float32 and
PIPAL's with four decimals, while two datasets' labels differ by far more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.errors import UsageError
from scorefiles.read import ScoreFile

if TYPE_CHECKING:  # named in annotations only
    import numpy as np
    import pandas as pd

LABEL_TOLERANCE = 1e-5  # share of the largest absolute label of the two files


def base_names(names: pd.Series) -> pd.Series:
    """File names (a pandas Series of text) without folder and in lower case:
    what files of different authors have in common."""
    import pandas as pd

    # a plain loop: steps of names.str are slower
    bare = [name.replace("\\", "/").rsplit("/", 1)[-1].lower() for name in names]
    return pd.Series(bare, index=names.index, dtype=names.dtype)


def pair_names(table):
    """(N,) name of each row's pair: 'i01_01_1.bmp of i01.bmp'."""
    return base_names(table["dis"]) + " of " + base_names(table["ref"])


def align(first: pd.Series, second: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers (i, j) of what two lists of names (pandas Series) share, i rising.

    By name where no name repeats in either; else by position, where the names there are the same.
    """
    import numpy as np
    import pandas as pd

    a, b = pd.Index(first), pd.Index(second)
    if a.is_unique and b.is_unique:
        j = b.get_indexer(a)
        return np.flatnonzero(j >= 0), j[j >= 0]
    n = min(len(a), len(b))
    same = np.flatnonzero(np.asarray(a[:n]) == np.asarray(b[:n]))
    return same, same


def join(file: ScoreFile, other: ScoreFile) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers (i, j) of the pairs that two ScoreFiles of one dataset share: all pairs of the shorter one, i rising.

    Raises UsageError, with file and line, for a pair of the shorter file that the other does not have, and for labels
    that differ by more than LABEL_TOLERANCE. Line numbers are those of files without blank lines.
    """
    import numpy as np

    i, j = align_tables(file.table, other.table)
    if len(i) < min(len(file.table), len(other.table)):
        short, long, rows = (file, other, i) if len(file.table) <= len(other.table) else (other, file, j)
        missing = np.setdiff1d(np.arange(len(short.table)), rows)
        raise UsageError(
            f"{short.path}: line {line(short, missing[0])}: {short.table['dis'].iloc[missing[0]]} is not where it "
            f"should be among the pairs of {long.path} ({len(missing)} such lines); both should hold the pairs of "
            "one dataset, in the same order where names repeat"
        )
    a, b = file.table["mos"].to_numpy()[i], other.table["mos"].to_numpy()[j]
    largest = max(np.abs(a).max(initial=0), np.abs(b).max(initial=0))
    wrong = np.flatnonzero(np.abs(a - b) > LABEL_TOLERANCE * largest)
    if len(wrong):
        k = wrong[0]
        raise UsageError(
            f"{file.path}: line {line(file, i[k])}: the label of {file.table['dis'].iloc[i[k]]} is {a[k]:g}, but "
            f"{b[k]:g} in {other.path}, line {line(other, j[k])}; one of them is not the dataset's ({len(wrong)} "
            "such lines)"
        )
    return i, j


def order_of(file: ScoreFile, template: ScoreFile) -> np.ndarray:
    """(N,) row numbers that put the rows of `file` into the order of `template`: the same pairs, no fewer and no more.

    Raises UsageError as join, and where one of the two has more pairs.
    """
    import numpy as np

    if len(file.table) != len(template.table):
        raise UsageError(
            f"{file.path}: {len(file.table)} pairs, {template.path} has {len(template.table)}; expected the same pairs"
        )
    rows, places = join(file, template)
    order = np.empty(len(rows), dtype=int)
    order[places] = rows
    return order


def align_tables(first, second):
    """align() of two score tables' pairs; tables of the same rows, as nearly all are, take no look at the names."""
    import numpy as np

    if same_rows(first, second):
        rows = np.arange(len(first))
        return rows, rows
    return align(pair_names(first), pair_names(second))


def same_rows(first: pd.DataFrame, second: pd.DataFrame) -> bool:
    """Whether two score tables name the same pairs in the same order, to the letter."""
    import numpy as np

    return len(first) == len(second) and all(
        np.array_equal(first[c].to_numpy(), second[c].to_numpy()) for c in ("dis", "ref")
    )


def line(file, row):
    """The line of a row in its file, also where rows were left out of the table (they keep their index)."""
    return file.table.index[row] + 2
