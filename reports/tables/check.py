"""Two folders of score files, pair by pair: how far their scores differ.

python tables.py --check DIR1 DIR2        # is the command for it
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from common.errors import UsageError
from scorefiles.folder import name_left_out, scan
from scorefiles.join import join
from scorefiles.read import Unusable, parse_name, read

if TYPE_CHECKING:  # named in annotations only
    import pandas as pd


def one_path_a_name(folder):
    """{name: path} of a folder's score files, finished or in one unfinished part (those of shards are left out)."""
    return {name: paths[0] for name, paths in scan(folder).items() if paths[0].name in (name, f"{name}.partial")}


def check(first: str, second: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two folders of score files -> (DataFrame with a row a file, DataFrame of the ten worst pairs, by relative
    difference).

    A relative difference is one to the larger of the two absolute values. Raises UsageError where the folders share no
    score file, or two files of one name do not hold the same pairs and labels. Files that are of no use are named on
    stderr and left out, unless none remains.
    """
    import numpy as np
    import pandas as pd

    from agreement.correlations import srcc

    sides = [one_path_a_name(folder) for folder in (first, second)]
    common = sorted(sides[0].keys() & sides[1].keys())
    if not common:
        raise UsageError(
            f"--check: no score file of the same name in {first} ({len(sides[0])} of them) and {second} "
            f"({len(sides[1])}); expected names like tid2013_dinov1_l2.csv in both"
        )
    files, worst, unusable = [], [], []
    for name in common:
        try:
            a, b = (read(side[name]) for side in sides)
        except Unusable as error:
            unusable.append(error)
            continue
        i, j = join(a, b)
        x, y = a.table["pred"].to_numpy()[i], b.table["pred"].to_numpy()[j]
        pairs = pd.DataFrame({"file": name, "dis": a.table["dis"].to_numpy()[i], "first": x, "second": y})
        pairs["absolute"] = np.abs(x - y)
        pairs["relative"] = pairs["absolute"] / np.maximum(np.maximum(np.abs(x), np.abs(y)), np.finfo(float).tiny)
        constant = (x == x[0]).all() or (y == y[0]).all()
        files.append(
            {
                "file": name,
                "pairs": len(i),
                "absolute": pairs["absolute"].max(),
                "relative": pairs["relative"].max(),
                "spearman": None if constant else srcc(x, y),
            }
        )
        worst.append(pairs.nlargest(10, "relative"))
    if not files:
        raise unusable[0]
    for error in unusable:
        name_left_out(error)
    return pd.DataFrame(files), pd.concat(worst).nlargest(10, "relative")


def check_text(files, worst):
    """The result of check() for a person."""
    from datasets import dataset_note

    named = dict.fromkeys(parse_name(name)[0] for name in files["file"])
    notes = "".join(f"{name}: {note}\n" for name in named if (note := dataset_note(name)))
    return notes + (
        f"{files.to_string(index=False)}\n\n{len(files)} common files, {files['pairs'].sum()} common pairs; "
        f"largest difference {files['absolute'].max():.3g} absolute, {files['relative'].max():.3g} relative; "
        f"lowest Spearman {files['spearman'].min():.6f}\n\nthe ten worst pairs, by relative difference:\n"
        f"{worst.to_string(index=False)}\n"
    )


def check_json(files, worst):
    """The result of check() as JSON; the Spearman of constant scores is null."""
    files = files.astype(object).where(files.notna(), None)
    return json.dumps({"files": files.to_dict("records"), "worst_pairs": worst.to_dict("records")}, indent=1) + "\n"


CHECK_FORMATS = {"text": check_text, "csv": lambda files, worst: files.to_csv(index=False), "json": check_json}
