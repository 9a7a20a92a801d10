"""Fused metrics as score files: made of their factors' rows, in a run of run.py or from a folder of score files.

    python -m scoring.fused_files results fused2                                        # the cells whose factors' files are there
    python -m scoring.fused_files results "dinov1_cos * stlpips_alex^0.3" -sdir fused   # into another folder

Writes <dataset>_<label>[_<perturbation>].csv and its JSON, which holds the expression, the floor and the factors' settings. A
fused file is complete only when all of its factors are. `python tables.py --extra fused2` then has it as a row.
"""

import argparse
import csv
import io
from pathlib import Path

from common.errors import UsageError
from common.terminal import run_main
from methods import fused
from methods.build import factor
from methods.model import Column
from scorefiles import write
from scorefiles.read import COLUMNS, stem

COMMON = (
    "scoring",
    "dataset",
    "dataset_sha256",
    "perturbation",
    "pct",
    "resizeHW",
    "protocol",
    "precision",
    "left_out",
)


def document(fusion, factors):
    """The JSON of a fused score file from those of its factors {name: document}; settings they share stand at the top."""
    settings = [d["settings"] for d in factors.values()]
    shared = {key: settings[0][key] for key in COMMON if key in settings[0]}
    first = next(iter(factors.values()))
    own = {
        "method": fusion.name,
        "distance": None,
        "feature": "fused",
        "fused": fusion.expression,
        "floor": fused.FLOOR,
        "weights": each_once(s.get("weights", []) for s in settings),
        "factors": dict(zip(factors, settings)),
    }
    return {
        "settings": shared | own,
        "label": first["label"],
        "label_higher_is": first["label_higher_is"],
        "label_spread": first.get("label_spread"),
        "pred_higher_is": "worse",
        "pairs_expected": first["pairs_expected"],
        "environment": {},
        "note": f"{fusion.expression}; exponents {fusion.origin}",
    }


def each_once(lists):
    """The weight files of several factors, each once."""
    found = []
    for weight in (weight for some in lists for weight in some):
        found += [] if weight in found else [weight]
    return found


# ---- in a run


def factors_of(fusion, found):
    """{factor: its Column} among the columns found. UsageError names the factors that are not there."""
    known = {(c.method, c.distance): c for c in found}
    lacks = [f for f in fusion.factors if factor(f) not in known]
    if lacks:
        raise UsageError(f"{fusion.name}: cannot be had without its factors {', '.join(lacks)}")
    return {f: known[factor(f)] for f in fusion.factors}


def column(fusion, factors):
    """Its own Column, named as in a file name, with what its factors' names say of other settings: fused2-random."""

    def said(name):
        method, distance = factor(name)
        return factors[name].name.removeprefix(method.replace(":", "-")).removesuffix(f"_{distance}")

    return Column(fusion.label + max(map(said, fusion.factors), key=len), fusion.name, None, "fused", None)


def scores(fusion, factors, values, where=lambda factor, i: f"{factor}: pair {i + 1}"):
    """Fused scores (N,) from {factor: its scores (N,)}; factors: {factor: Column}. Raises as fused.combine."""
    return fused.combine(fusion, values, {f: c.higher_is for f, c in factors.items()}, where=where)


def of_run(fusion, rows, prepared, run):
    """Write the fused score files of a dataset from the rows of its factors -> [experiment.Row] for the report.

    rows: those of the run. Only pairs that all factors have are fused; the file stays partial
    until these are all.
    """
    from scoring.experiment import Row

    found = []
    for perturbation in run.perturbations:
        there = {
            row.column: row.output
            for row in rows
            if row.perturbation == perturbation and row.dataset is prepared.dataset
        }
        factors = factors_of(fusion, there)
        own, outputs = column(fusion, factors), {f: there[c] for f, c in factors.items()}
        made = write.Output(
            Path(run.savedir),
            stem(prepared.dataset.name, own.name, *perturbation, floor=run.noise_floor),
            document(fusion, {f: o.document for f, o in outputs.items()}),
            prepared.dataset.pairs,
        )
        with write.locked(made.final.parent, [made.partial.name, made.final.name]):
            made.open(run.overwrite)
            todo = sorted(set.intersection(*(set(o.done) for o in outputs.values())) - set(made.done))
            if todo and not made.complete:
                values = scores(
                    fusion,
                    factors,
                    {f: [float(o.done[i][3]) for i in todo] for f, o in outputs.items()},
                    lambda f, i: f"{outputs[f].final}: {prepared.dataset.pairs[todo[i]].dis}",
                )
                made.append(todo, values[:, None])
            made.finish()
        found.append(Row(made, prepared.dataset, own, perturbation))
    return found


# ---- from a folder


def factor_document(file):
    """The JSON beside a factor's file; of the authors' files, which have none, what their names say."""
    from datasets import DATASETS

    known = DATASETS.get(file.dataset)
    named = {
        "dataset": file.dataset,
        "perturbation": file.perturbation,
        "pct": file.pct or 0.0,
        "protocol": file.protocol,
    }
    return {
        "settings": named | {"weights": []} | file.settings,
        "label": file.document.get("label", known.label if known else "mos"),
        "label_higher_is": file.label_higher_is,
        "pairs_expected": file.expected or len(file.table),
    }


def of_folder(fusion, folder, target):
    """Write fused score files of the cells of a fuse_cells.Folder that have all factors -> ([path], {cell: what it lacks})."""
    cells, lacking = folder.load(fusion.factors)
    written = []
    Path(target).mkdir(parents=True, exist_ok=True)
    for cell in cells:
        table = folder.rows(cell)
        path = Path(target) / (stem(cell.dataset, fusion.label, cell.perturbation, cell.pct or 0.0) + ".csv")
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        values = fused.product(cell.distances, fusion.exponents)
        writer.writerows([r.dis, r.ref, repr(float(r.mos)), repr(float(v))] for r, v in zip(table.itertuples(), values))
        described = document(fusion, {f: factor_document(file) for f, file in zip(fusion.factors, cell.files)})
        write.write_atomically(path.with_suffix(".json"), write.as_json(described | {"pairs_used": len(table)}))
        write.write_atomically(path, text.getvalue())
        written.append(path)
    return written, lacking


def main(argv):
    from reports.fuse.cells import Folder

    parser = argparse.ArgumentParser(
        description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", metavar="DIR", help="folder of score files")
    parser.add_argument(
        "metric", metavar="EXPRESSION", help=f"such as 'dinov1_cos * psnr^0.5', or {', '.join(fused.PRESETS)}"
    )
    parser.add_argument("-sdir", "--savedir", metavar="DIR", help="where to write (default: the folder itself)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args(argv)
    written, lacking = of_folder(fused.parse(args.metric), Folder(args.folder), args.savedir or args.folder)
    for path in written:
        print(path)
    for cell, names in lacking.items():
        print(f"not written: {cell}, which lacks {', '.join(names)}")
    if not written:
        raise UsageError(f"{args.folder}: no dataset and perturbation has the files of all factors of {args.metric}")


if __name__ == "__main__":
    run_main(main)
