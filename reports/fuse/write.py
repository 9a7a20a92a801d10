"""Fused metrics as score files, made of the score files of their factors.

    python fuse.py results --write fused2                                        # cells whose factors' files are there
    python fuse.py results --write "dinov1_cos * stlpips_alex^0.3" -sdir fused   # into another folder

Writes <dataset>_<label>[_<perturbation>].csv and its JSON, as run.py does for a fused metric.
"""

import csv
import io
from pathlib import Path

from methods import fused
from reports.fuse.cells import Folder
from scorefiles import write
from scorefiles.fused import document
from scorefiles.read import COLUMNS, digest, stem


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


def score_files(fusion: fused.Fused, folder: Folder, target: Path | str) -> tuple[list[Path], dict]:
    """Write fused score files of the cells of a cells.Folder that have all factors -> ([path], {cell: what it
    lacks})."""
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
        finished = {"pairs_used": len(table), "rows_sha256": digest(text.getvalue().encode())}
        write.write_atomically(path.with_suffix(".json"), write.as_json(described | finished))
        write.write_atomically(path, text.getvalue())
        written.append(path)
    return written, lacking
