"""Two score tables of one dataset, pair by pair: joined, their labels checked, their scores compared.

    python tables.py --check DIR1 DIR2        # is the command for it
"""
import json
from pathlib import Path

from common.errors import UsageError
from scorefiles import is_floor, read


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
        raise UsageError(f"{file.path}: line {stray + 2}: {file.table['dis'][stray]} is not where it should be among the "
                         f"pairs of {other.path}; both should hold the pairs of one dataset, LIVE's in the dataset's order")
    a, b = file.table["mos"].to_numpy()[i], other.table["mos"].to_numpy()[j]
    bad = np.flatnonzero(~np.isclose(a, b, rtol=1e-6, atol=1e-6))   # the released files carry 4 decimals or more
    if len(bad):
        k = bad[0]
        raise UsageError(f"{file.path}: line {i[k] + 2}: the label of {file.table['dis'][i[k]]} is {a[k]:g}, but {b[k]:g} in "
                         f"{other.path}, line {j[k] + 2}; one of them is not the dataset's ({len(bad)} such lines)")
    return i, j


def score_paths(folder):
    """{name: path} of a folder's score files; a partial one goes by its final name, and gives way to a complete one."""
    if not Path(folder).is_dir():
        raise UsageError(f"{folder}: no such folder; expected one with score files")
    paths = [path for ending in ("*_*.csv.partial", "*_*.csv") for path in sorted(Path(folder).glob(ending))
             if not is_floor(path.name.removesuffix(".partial"))]
    return {path.name.removesuffix(".partial"): path for path in paths}


def check(first, second):
    """Two folders of score files -> (DataFrame with a row a file, DataFrame of the ten worst pairs, by relative difference).

    A relative difference is one to the larger of the two absolute values. Raises UsageError where the folders share no
    score file, or two files of one name do not hold the same pairs and labels.
    """
    import numpy as np
    import pandas as pd
    from agreement.correlations import srcc
    found = [score_paths(folder) for folder in (first, second)]
    common = sorted(found[0].keys() & found[1].keys())
    if not common:
        raise UsageError(f"--check: no score file of the same name in {first} ({len(found[0])} of them) and {second} "
                         f"({len(found[1])}); expected names like tid2013_dinov1_l2.csv in both")
    files, worst = [], []
    for name in common:
        a, b = (read(side[name]) for side in found)
        i, j = check_labels(a, b)
        x, y = a.table["pred"].to_numpy()[i], b.table["pred"].to_numpy()[j]
        pairs = pd.DataFrame({"file": name, "dis": a.table["dis"].to_numpy()[i], "first": x, "second": y})
        pairs["absolute"] = np.abs(x - y)
        pairs["relative"] = pairs["absolute"] / np.maximum(np.maximum(np.abs(x), np.abs(y)), np.finfo(float).tiny)
        constant = (x == x[0]).all() or (y == y[0]).all()
        files.append({"file": name, "pairs": len(i), "absolute": pairs["absolute"].max(), "relative": pairs["relative"].max(),
                      "spearman": None if constant else srcc(x, y)})
        worst.append(pairs.nlargest(10, "relative"))
    return pd.DataFrame(files), pd.concat(worst).nlargest(10, "relative")


def check_text(files, worst):
    """The result of check() for a person."""
    return (f"{files.to_string(index=False)}\n\n{len(files)} common files, {files['pairs'].sum()} common pairs; "
            f"largest difference {files['absolute'].max():.3g} absolute, {files['relative'].max():.3g} relative; "
            f"lowest Spearman {files['spearman'].min():.6f}\n\nthe ten worst pairs, by relative difference:\n"
            f"{worst.to_string(index=False)}\n")


def check_json(files, worst):
    """The result of check() as JSON; the Spearman of constant scores is null."""
    files = files.astype(object).where(files.notna(), None)
    return json.dumps({"files": files.to_dict("records"), "worst_pairs": worst.to_dict("records")}, indent=1) + "\n"


CHECK_FORMATS = {"text": check_text, "csv": lambda files, worst: files.to_csv(index=False), "json": check_json}
