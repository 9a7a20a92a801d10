"""Fused metrics as score files, made of the score files of their factors.

    python fuse.py results --write fused2                                        # cells whose factors' files are there
    python fuse.py results --write "dinov1_cos * stlpips_alex^0.3" -sdir fused   # into another folder

Writes <dataset>_<label>[_<perturbation>].csv and its JSON, as run.py does for a fused metric.
"""

from pathlib import Path

from methods import fused
from reports.fuse.cells import Folder
from scorefiles import write
from scorefiles.document import of_fused
from scorefiles.read import COLUMNS, ScoreFile, stem


def factor_document(file: ScoreFile) -> dict:
    """The JSON beside a factor's file; of the authors' files, which have none, what their names say."""
    from datasets import DATASETS

    known = DATASETS.get(file.dataset)
    named = {
        "dataset": file.dataset,
        "perturbation": file.perturbation,
        "pct": file.pct or 0.0,
        "protocol": file.protocol,
    }
    facts = {
        "label": known.label if known else "mos",
        "label_higher_is": file.label_higher_is,
        "pairs_expected": file.expected or len(file.table),
    }
    return facts | file.document | {"settings": named | {"weights": []} | file.settings}


def score_files(fusion: fused.Fused, folder: Folder, target: Path | str) -> tuple[list[Path], dict]:
    """Write fused score files of the cells of a cells.Folder that have all factors -> ([path], {cell: what it
    lacks})."""
    cells, lacking = folder.load(fusion.factors)
    written = []
    Path(target).mkdir(parents=True, exist_ok=True)
    for cell in cells:
        table = folder.rows(cell)
        path = Path(target) / (stem(cell.dataset, fusion.label, cell.perturbation, cell.pct or 0.0) + ".csv")
        values = fused.product(cell.distances, fusion.exponents)
        rows = [[r.dis, r.ref, repr(float(r.mos)), repr(float(v))] for r, v in zip(table.itertuples(), values)]
        factors = {f: factor_document(file) for f, file in zip(fusion.factors, cell.files)}
        write.write_finished(path, COLUMNS, rows, of_fused(fusion, factors))
        written.append(path)
    return written, lacking
