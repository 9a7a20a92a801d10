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


def read_one(name, paths):
    """The ScoreFile of a name, finished or unfinished. Unusable for the parts of an unfinished run in shards."""
    if paths[0].name not in (name, f"{name}.partial"):
        raise Unusable(paths[0], "one shard of an unfinished run; finish the run to have its files compared")
    return read(paths[0])


def check(first: str, second: str) -> tuple[pd.DataFrame, pd.DataFrame, list[Unusable]]:
    """Two folders of score files -> (DataFrame with a row a file, DataFrame of the ten worst pairs, by relative
    difference, [why a file was left out]).

    A relative difference is one to the larger of the two absolute values; `expected` is the number of pairs of the
    dataset, None where it is not known. Raises UsageError where the folders share no score file, or two files of one
    name do not hold the same pairs and labels. Files that are of no use are named on stderr and left out, unless none
    remains.
    """
    import numpy as np
    import pandas as pd

    from agreement.correlations import srcc

    sides = [scan(folder) for folder in (first, second)]
    common = sorted(sides[0].keys() & sides[1].keys())
    if not common:
        raise UsageError(
            f"--check: no score file of the same name in {first} ({len(sides[0])} of them) and {second} "
            f"({len(sides[1])}); expected names like tid2013_dinov1_l2.csv in both"
        )
    files, worst, unusable = [], [], []
    for name in common:
        try:
            a, b = (read_one(name, side[name]) for side in sides)
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
                "expected": a.expected or b.expected,
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
    table = pd.DataFrame(files).astype({"expected": "Int64"})
    return table, pd.concat(worst).nlargest(10, "relative"), unusable


def check_text(files, worst):
    """The result of check() for a person."""
    import pandas as pd

    from datasets import dataset_note

    named = dict.fromkeys(parse_name(name)[0] for name in files["file"])
    notes = "".join(f"{name}: {note}\n" for name in named if (note := dataset_note(name)))
    of = zip(files["pairs"], files["expected"])
    listed = files.drop(columns="expected").assign(pairs=[f"{n}/{N}" if pd.notna(N) and n < N else n for n, N in of])
    return notes + (
        f"{listed.to_string(index=False)}\n\n{len(files)} common files, {files['pairs'].sum()} common pairs; "
        f"largest difference {files['absolute'].max():.3g} absolute, {files['relative'].max():.3g} relative; "
        f"lowest Spearman {files['spearman'].min():.6f}\n\nthe ten worst pairs, by relative difference:\n"
        f"{worst.to_string(index=False)}\n"
    )


def check_json(files, worst):
    """The result of check() as JSON; the Spearman of constant scores is null."""
    files = files.astype(object).where(files.notna(), None)
    return json.dumps({"files": files.to_dict("records"), "worst_pairs": worst.to_dict("records")}, indent=1) + "\n"


CHECK_FORMATS = {"text": check_text, "csv": lambda files, worst: files.to_csv(index=False), "json": check_json}
