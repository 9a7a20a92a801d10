"""Two score tables of one dataset, pair by pair: which rows are the same pair, and whether their labels agree."""

from common.errors import UsageError


def names(table):
    """The distorted images' file names without folder and case."""
    import pandas as pd

    return pd.Index(table["dis"].str.replace("\\", "/").str.rsplit("/", n=1).str[-1].str.lower())


def align(first, second):
    """Row numbers (i, j) of the pairs that two score tables of one dataset share.

    By file name without folder and case; by order where names repeat (LIVE as released), as far as the shorter one goes.
    """
    import numpy as np

    a, b = names(first), names(second)
    if a.is_unique and b.is_unique:
        j = b.get_indexer(a)
        return np.flatnonzero(j >= 0), j[j >= 0]
    n = np.arange(min(len(a), len(b)))
    return n, n


def check_labels(file, other):
    """Row numbers (i, j) of the pairs of two ScoreFiles of one dataset, which must be the same pairs with the same labels.

    Raises UsageError, with file and line, where one is not; one file may hold fewer pairs than the other.
    """
    import numpy as np

    i, j = align(file.table, other.table)
    same = names(file.table)[i] == names(other.table)[j]
    if len(i) < min(len(file.table), len(other.table)) or not same.all():
        stray = i[~same][0] if not same.all() else np.setdiff1d(np.arange(len(file.table)), i)[0]
        raise UsageError(
            f"{file.path}: line {stray + 2}: {file.table['dis'][stray]} is not where it should be among the "
            f"pairs of {other.path}; both should hold the pairs of one dataset, LIVE's in the dataset's order"
        )
    a, b = file.table["mos"].to_numpy()[i], other.table["mos"].to_numpy()[j]
    bad = np.flatnonzero(~np.isclose(a, b, rtol=1e-6, atol=1e-6))  # the released files carry 4 decimals or more
    if len(bad):
        k = bad[0]
        raise UsageError(
            f"{file.path}: line {i[k] + 2}: the label of {file.table['dis'][i[k]]} is {a[k]:g}, but {b[k]:g} in "
            f"{other.path}, line {j[k] + 2}; one of them is not the dataset's ({len(bad)} such lines)"
        )
    return i, j
