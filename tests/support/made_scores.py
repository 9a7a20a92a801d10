"""Score files for the tests of tables.py: made up, in the authors' format, of the real datasets' sizes."""

import json

import numpy as np
import pandas as pd

import tables

PAIRS = {"live": 779, "tid2013": 3000, "pipal": 23200}


def scores(dataset, seed=0, rows=None, unknown=0.5):
    """A score table as the authors released it:
    seeded labels that are the dataset's, predictions that partly follow them."""
    n = PAIRS[dataset]
    label = np.random.default_rng(len(dataset)).uniform(20, 80, n).round(5)
    rng = np.random.default_rng(seed)
    sense = -1 if dataset == "pipal" else 1  # PIPAL's Elo is higher for better images, a distance is not
    pred = sense * label + unknown * 40 * rng.normal(size=n)
    if dataset == "live":  # names without folders repeat
        names = [f"img{i % 229}.bmp" for i in range(n)]
    elif dataset == "tid2013":
        names = [f"{'Ii'[i % 2]}{i // 120 + 1:02d}_{i // 5 % 24 + 1:02d}_{i % 5 + 1}.bmp" for i in range(n)]
    else:
        names = [f"A{i // 116:04d}_00_{i % 116:02d}.bmp" for i in range(n)]
    table = pd.DataFrame({"dis": names, "ref": "r.bmp", "mos": label, "pred": pred})
    return table if rows is None else table[:rows]


def put(folder, name, table, **settings):
    """Write a score file, and its JSON where there is something to say."""
    folder.mkdir(exist_ok=True)
    table.to_csv(folder / name, index=False)
    if settings:
        (folder / name.replace(".csv", ".json")).write_text(json.dumps(settings))
    return folder / name


def run(capsys, *argv):
    """(exit code, stdout) of tables.py."""
    code = tables.main([str(a) for a in argv])
    return code, capsys.readouterr().out


def labelled(table, line, value):
    """The table with another label in one line of its file."""
    return table.assign(mos=table["mos"].where(table.index != line - 2, value))
