"""Score files: their names, and how they are read and checked.

`<dataset>_<method>[_<distance>][_<perturbation>-<pct>].csv` with the header dis,ref,mos,pred, and a JSON of the same
name beside it with everything that decided the scores. A run in progress writes `.csv.partial` and `.json.partial`.
"""
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from cli import UsageError

COLUMNS = ("dis", "ref", "mos", "pred")
PERTURBATION = re.compile(r"_(tra|sca|rot)-(\d+(?:\.\d+)?)$")


def stem(dataset, method, perturbation="none", pct=1.0):
    """The file name without its ending: ('tid2013', 'dinov1_l2', 'rot', 1) -> 'tid2013_dinov1_l2_rot-1'."""
    return f"{dataset}_{method}" + ("" if perturbation == "none" else f"_{perturbation}-{pct:g}")


def parse_name(path):
    """(dataset, method, perturbation, pct) from a score file's name; UsageError if it is no such name.

    Dataset names hold no underscore, so the first one ends it. Plain files have perturbation 'none' and pct None.
    """
    name = Path(path).name.removesuffix(".partial").removesuffix(".csv")
    found = PERTURBATION.search(name)
    perturbation, pct = (found[1], float(found[2])) if found else ("none", None)
    dataset, _, method = (name[:found.start()] if found else name).partition("_")
    if not dataset or not method:
        raise UsageError(f"{path}: expected a name like tid2013_dinov1_l2_rot-1.csv (dataset, method, perturbation)")
    return dataset, method, perturbation, pct


@dataclass(frozen=True)
class ScoreFile:
    """One score file in memory. `table` has the columns dis, ref, mos, pred (and any others the file has), in file order."""
    path: Path
    dataset: str
    method: str           # as in the file name: dinov1_l2, embed_dinov1_cos, psnr
    perturbation: str     # none, tra, sca, rot
    pct: float | None
    table: object         # pandas.DataFrame
    settings: dict = field(default_factory=dict)   # the JSON beside it; {} where there is none

    @property
    def expected(self):
        """Number of pairs in the dataset: from the JSON, else from the dataset's registry entry, else None."""
        from datasets import DATASETS
        known = DATASETS.get(self.dataset)
        return self.settings.get("pairs_expected") or (known.pairs if known else None)

    @property
    def complete(self):
        return not self.path.name.endswith(".partial") and self.expected in (None, len(self.table))

    @property
    def protocol(self):
        return self.settings.get("settings", {}).get("protocol", "paper")

    @property
    def label_higher_is(self):
        """'worse' or 'better': what a higher label means, by the JSON, else the dataset's registry entry."""
        from datasets import DATASETS
        return self.settings.get("label_higher_is") or (DATASETS[self.dataset].higher_is if self.dataset in DATASETS else "worse")

    @property
    def pred_higher_is(self):
        """'worse' or 'better': what a higher prediction means, by the JSON, else the metric's registry entry."""
        from metrics import METRICS
        return self.settings.get("pred_higher_is") or (METRICS[self.method].higher_is if self.method in METRICS else "worse")

    @property
    def sign(self):
        """+1 or -1: pred * sign correlates positively with mos when the metric agrees with people (METHOD.md section 4)."""
        return 1 if self.label_higher_is == self.pred_higher_is else -1


def read(path, columns=None):
    """Read and check one score file -> ScoreFile.

    columns: {'pred': 'score', 'mos': 'dmos', ...} renames a foreign file's columns first. Raises UsageError naming file
    and line for a missing column, an empty file, a value that is no finite number, or rows that repeat (authors' LIVE
    files name their images without folders, so there names repeat, and only identical whole rows are refused).
    """
    import numpy as np
    import pandas as pd
    path = Path(path)
    try:
        table = pd.read_csv(path, dtype={"dis": str, "ref": str}, skip_blank_lines=True, encoding="utf-8-sig",
                            keep_default_na=False, float_precision="round_trip")
    except FileNotFoundError:
        raise UsageError(f"{path}: no such score file") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not a score file (expected CSV with the header {','.join(COLUMNS)}): {error}") from None
    table = table.rename(columns={theirs: ours for ours, theirs in (columns or {}).items()})
    missing = [c for c in COLUMNS if c not in table.columns]
    if missing:
        raise UsageError(f"{path}: line 1: expected the columns {', '.join(COLUMNS)}; missing {', '.join(missing)}; "
                         f"found {', '.join(map(str, table.columns))}")
    if table.empty:
        raise UsageError(f"{path}: no rows under the header")
    for column in [c for c in table.columns if c in ("mos", "pred", "std") or c.startswith("pred_")]:
        values = pd.to_numeric(table[column], errors="coerce")
        bad = np.flatnonzero(~np.isfinite(values.to_numpy(dtype=float)))
        if len(bad):
            raise UsageError(f"{path}: line {bad[0] + 2}: {column} is {table[column].iloc[bad[0]]!r}, expected a finite number"
                             + (f" ({len(bad)} such lines)" if len(bad) > 1 else ""))
        table[column] = values.astype(float)
    repeated = np.flatnonzero(table.duplicated(list(COLUMNS)))
    if len(repeated):
        raise UsageError(f"{path}: line {repeated[0] + 2}: the row of {table['dis'].iloc[repeated[0]]} stands in the file twice")
    dataset, method, perturbation, pct = parse_name(path) if columns is None else ("", path.stem, "none", None)
    return ScoreFile(path, dataset, method, perturbation, pct, table, read_settings(path))


def read_settings(path):
    """The JSON beside a score file, {} where there is none (the authors' files have none)."""
    name = Path(path).name
    beside = Path(path).with_name(name.replace(".csv", ".json") if ".csv" in name else name + ".json")
    try:
        return json.loads(beside.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, UnicodeDecodeError) as error:
        raise UsageError(f"{beside}: not the JSON of a score file ({error}); delete it together with its CSV, or use --overwrite") from None
