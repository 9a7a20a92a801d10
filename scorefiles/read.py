"""Score files: their names, and how they are read and checked.

`<dataset>_<method>[_<distance>][_<perturbation>-<pct>].csv` with the header dis,ref,mos,pred, and a JSON of the same
name beside it with everything that decided the scores. A run in progress writes `.csv.partial`, `.json.partial` and
`.sha256.partial` (a shard: `.csv.partial.1of4`).

That the rows are those that were written is seen by a sha256: of a finished file it stands in its JSON, of a partial
one in the `.sha256.partial`, a line for each unit of work: the bytes up to the unit's end, and their sha256.
"""

import codecs
import csv
import hashlib
import io
import json
import re
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import UsageError, one_line
from common.files import number
from robustness import PERTURBATIONS

if TYPE_CHECKING:  # named in annotations only
    import pandas as pd

COLUMNS = ("dis", "ref", "mos", "pred")
PERTURBATION = re.compile(
    rf"_({'|'.join(name for name in PERTURBATIONS if name != 'none')})-(\d+(?:\.\d+)?)$", re.ASCII
)
FLOOR = ".floor"  # ends the stem of a noise floor (run.py --noise-floor)
COMPANION = ".align.csv"  # ends the name of what was aligned, beside a score file (run.py --align)
UNIT = re.compile(rb"(\d{1,18}) ([0-9a-f]{64})\n")  # a line of a partial file's digests
ENDING = re.compile(r"\.csv((?:\.partial(?:\.\d+of\d+)?)?)$", re.ASCII)


def stem(dataset: str, method: str, perturbation: str = "none", pct: float = 1.0, floor: bool = False) -> str:
    """The file name without its ending: ('tid2013', 'dinov1_l2', 'rot', 1) -> 'tid2013_dinov1_l2_rot-1'."""
    plain = f"{Decimal(repr(float(pct))):f}".removesuffix(".0")  # 1, 0.5, 0.00001: never 1e-05
    return f"{dataset}_{method}" + ("" if perturbation == "none" else f"_{perturbation}-{plain}") + FLOOR * floor


def is_floor(path: Path | str) -> bool:
    """Whether a file's name is that of a noise floor."""
    return Path(path).name.endswith(f"{FLOOR}.csv")


def is_companion(path: Path | str) -> bool:
    """Whether a file is the companion that --align leaves beside a score file."""
    return Path(path).name.endswith(COMPANION)


def is_partial(path: Path | str) -> bool:
    """Whether a file's name is that of an unfinished score file."""
    ending = ENDING.search(Path(path).name)
    return bool(ending and ending[1])


@cache
def parse_name(path: Path | str) -> tuple[str, str, str, float | None]:
    """(dataset, method, perturbation, pct) from a score file's name; UsageError if it is no such name.

    Dataset names hold no underscore, so the first one ends it. Plain files have perturbation 'none' and pct None.
    """
    name = ENDING.sub("", Path(path).name)
    match = PERTURBATION.search(name)
    perturbation, pct = (match[1], float(match[2])) if match else ("none", None)
    dataset, _, method = (name[: match.start()] if match else name).partition("_")
    if not dataset or not method:
        raise UsageError(f"{path}: expected a name like tid2013_dinov1_l2_rot-1.csv (dataset, method, perturbation)")
    return dataset, method, perturbation, pct


def of_random_weights(document: dict) -> bool:
    """Whether a score file was made with seeded random weights, by the JSON beside it.
    Older files lack the entry: their weights say it."""
    weights = document.get("settings", {}).get("weights") or ()
    return document.get("random_weights", any(w.get("name") == "random" for w in weights))


def of_noise_floor(document: dict) -> bool:
    """Whether a score file holds references against their own perturbed selves.
    Older files lack the entry: their label says it."""
    return document.get("noise_floor", document.get("label", "").endswith("(noise floor)"))


class Unusable(UsageError):
    """A score file that is of no use by itself, whatever else is there: empty, torn, interrupted, damaged, of labels
    that are not its dataset's.

    Who has other files names it and goes on without it; who was asked for this one stops. `reason` is the message
    without the path, `path` the file.
    """

    def __init__(self, path: Path | str, reason: str):
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = Path(path), reason


class Altered(Unusable):
    """A score file whose rows are not those that were written, by the digest beside it."""


def digest(data: bytes) -> str:
    """What a finished file's JSON holds of its bytes, as rows_sha256."""
    return hashlib.sha256(data).hexdigest()


def check_digest(path: Path, data: bytes, document: dict) -> None:
    """Altered where a finished score file holds other bytes than when it was written. Older files carry no digest."""
    expected = document.get("rows_sha256")
    if expected is not None and digest(data) != expected:
        raise Altered(
            path,
            "its rows were altered after they were written "
            f"(sha256 {digest(data)[:12]}..., not {str(expected)[:12]}...)",
        )


def whole_lines(path: Path) -> bytes:
    """The bytes of a file up to its last line's end; b"" where there is no file."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return b""
    return data[: data.rfind(b"\n") + 1]


def recorded(path: Path, data: bytes) -> tuple[int, int]:
    """How much of a partial file counts -> (bytes of its rows, bytes of the digests that they were held against).

    data: the partial file's whole lines. Its rows count up to the last unit that is all there; what follows is of a
    unit that a kill cut short. Files of earlier versions have no digests: all of their whole lines count. Raises
    Altered, naming file and lines, where the rows are not those that were written. Read the rows first: a unit's digest
    is written before its rows, so that of another process's file no row is met without its digest.
    """
    if not data:
        return 0, 0
    digests = beside(path, ".sha256")
    first = size = 0
    running = hashlib.sha256()
    for where, line in enumerate(whole_lines(digests).splitlines(keepends=True), 1):
        unit = UNIT.fullmatch(line)
        if not unit:
            raise Altered(digests, f"line {where}: expected the bytes up to a unit's end and their sha256")
        end = int(unit[1])
        if end > len(data):
            break
        running.update(data[first:end])
        if running.hexdigest() != unit[2].decode():
            from_line, to_line = (data.count(b"\n", 0, at) + 1 for at in (first, max(end - 1, 0)))
            raise Altered(
                path,
                f"lines {from_line} to {to_line}: altered after they were written "
                f"(sha256 {running.hexdigest()[:12]}..., not {unit[2].decode()[:12]}...)",
            )
        first, size = end, size + len(line)
    return (first, size) if size else (len(data), 0)


@dataclass(frozen=True)
class ScoreFile:
    """One score file in memory. `table` has the columns dis, ref, mos, pred (and any others the file has),
    in file order."""

    path: Path
    dataset: str
    method: str  # as in the file name: dinov1_l2, embed_dinov1_cos, psnr
    perturbation: str  # none, tra, sca, rot
    pct: float | None
    table: "pd.DataFrame"
    document: dict = field(default_factory=dict)  # the JSON beside it; {} where there is none

    @property
    def random(self) -> bool:
        """Whether its scores come of random weights, and mean nothing."""
        return of_random_weights(self.document)

    @property
    def settings(self) -> dict:
        """What decided the scores, by the JSON; {} where there is none, as beside the authors' files."""
        return self.document.get("settings", {})

    @property
    def expected(self) -> int | None:
        """Number of pairs in the dataset: from the JSON, else from the dataset's registry entry, else None."""
        from datasets import DATASETS

        known = DATASETS.get(self.dataset)
        return self.document.get("pairs_expected") or (known.pairs if known else None)

    @property
    def promised(self) -> int | None:
        """Number of rows of the finished file: those that --skip-bad left out are not expected."""
        return self.document.get("pairs_used") or self.expected

    @property
    def complete(self) -> bool:
        """Whether it has its final name and all rows that it should have."""
        return self.path.name.endswith(".csv") and self.promised in (None, len(self.table))

    def require_whole(self) -> None:
        """Unusable where pairs are missing that the dataset, or the JSON, promises: an interrupted file."""
        if self.promised not in (None, len(self.table)):
            raise Unusable(self.path, f"{len(self.table)} of {self.promised} pairs")

    @property
    def protocol(self) -> str:
        """'paper' or 'corrected', by the JSON; files without one, the authors', are of the paper's."""
        return self.settings.get("protocol", "paper")

    @property
    def label_higher_is(self) -> str | None:
        """'worse' or 'better': what a higher label means, by the JSON, else the dataset's registry entry."""
        from datasets import DATASETS

        return self.document.get("label_higher_is") or (
            DATASETS[self.dataset].higher_is if self.dataset in DATASETS else "worse"
        )

    @property
    def pred_higher_is(self) -> str:
        """'worse' or 'better': what a higher prediction means, by the JSON, else the metric's registry entry."""
        from methods.metrics import METRICS

        return self.document.get("pred_higher_is") or (
            METRICS[self.method].higher_is if self.method in METRICS else "worse"
        )

    @property
    def sign(self) -> int:
        """+1 or -1: pred * sign correlates positively with mos when the metric agrees with people
        (METHOD.md section 4)."""
        return 1 if self.label_higher_is == self.pred_higher_is else -1


def read(path: Path | str, columns: dict[str, str] | None = None) -> ScoreFile:
    """Read and check one score file -> ScoreFile.

    columns: {'pred': 'score', 'mos': 'dmos', ...} renames a foreign file's columns first. mos, pred, std and pred_*
    become floats, all other columns stay text. Raises UsageError where there is no such file, and Unusable, naming file
    and line, for a missing or doubled column, an empty file, a line of another length, a value that is no finite
    number, or rows that repeat (authors' LIVE files name their images without folders, so there names repeat, and only
    identical whole rows are refused), or labels that are not the dataset's.
    """
    path = Path(path)
    data = contents(path)
    if not data.strip():
        raise Unusable(path, f"empty; expected a header with the columns {', '.join(COLUMNS)}, and rows")
    renamed = {foreign: name for name, foreign in (columns or {}).items()}
    there = next(lines_of(path, data), (1, []))[1]
    if absent := [foreign for foreign in renamed if foreign not in there]:
        raise Unusable(path, f"line 1: no column {', '.join(absent)}; found {', '.join(there)}")
    header = [renamed.get(name, name) for name in there]
    missing = [c for c in COLUMNS if c not in header]
    if missing or len(set(header)) < len(header):
        raise Unusable(
            path,
            f"line 1: expected the columns {', '.join(COLUMNS)}, each once; "
            f"{'missing ' + ', '.join(missing) + '; ' if missing else ''}found {', '.join(header)}",
        )
    table = table_at_once(data, header)
    if table is None:
        table = table_by_lines(path, data, header)
    dataset, method, perturbation, pct = parse_name(path) if columns is None else ("", path.stem, "none", None)
    check_labels_of_dataset(path, dataset, table)
    document = read_document(path) if columns is None else {}
    check_digest(path, data, document)
    if columns is None and is_partial(path):
        recorded(path, data[: data.rfind(b"\n") + 1])
    return ScoreFile(path, dataset, method, perturbation, pct, table, document)


def check_labels_of_dataset(path, dataset, table):
    """Unusable where the labels of a score file are known to be others than its dataset's (LIVE has two scales)."""
    from datasets import label_fault

    fault = label_fault(dataset, table["dis"].to_numpy(), table["mos"].to_numpy())
    if fault:
        raise Unusable(path, fault)


def contents(path):
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"{path}: no such score file") from None
    except IsADirectoryError:
        raise UsageError(f"{path}: expected a score file, found a folder; name its files: {path}/*.csv") from None
    except (OSError, ValueError) as error:  # ValueError: a name that holds a null byte
        raise not_a_score_file(path, error) from None


def not_a_score_file(path, error):
    return Unusable(
        path,
        f"not a score file (expected CSV with the header {','.join(COLUMNS)}): "
        f"{getattr(error, 'strerror', None) or one_line(error)}",
    )


def numeric(header):
    return [c for c in header if c in ("mos", "pred", "std") or c.startswith("pred_")]


def table_at_once(data, header):
    """The table as pandas' C reader gives it; None where anything is not as plain as it should be, or is wrong.

    Never more lenient than table_by_lines, which then finds the place: pandas has no strict mode for quotes, fills
    short lines up and takes True for 1.
    """
    import numpy as np
    import pandas as pd

    if b'"' in data or b"\0" in data:
        return None
    floats = numeric(header)
    types = {column: float if column in floats else str for column in header}
    # older converters of text to float are off by a last digit unless asked to be exact; newer ones are exact, and warn
    exact = {} if tuple(map(int, pd.__version__.split(".")[:2])) >= (3, 1) else {"float_precision": "round_trip"}
    try:
        table = pd.read_csv(
            io.BytesIO(data.removeprefix(codecs.BOM_UTF8)),
            header=0,
            names=header,
            dtype=types,
            na_filter=False,
            **exact,
        )
    except (ValueError, OverflowError):
        return None
    if not len(table) or data.count(b",") != (len(header) - 1) * (len(table) + 1):
        return None
    numbers = [table[column].to_numpy() for column in floats]
    if not all(np.isfinite(values).all() for values in numbers):
        return None
    if any(((values == 0) | (values == 1)).any() for values in numbers) and re.search(b"(?i)true|false", data):
        return None
    return None if repeated(table).any() else table


def table_by_lines(path, data, header):
    """The table, line by line: slow, and names the line of what is wrong."""
    import pandas as pd

    lines = lines_of(path, data)
    next(lines)
    where, rows = [], []
    for line, row in lines:
        if len(row) != len(header):
            raise Unusable(path, f"line {line}: expected {len(header)} fields, found {len(row)}")
        where.append(line)
        rows.append(row)
    if not rows:
        raise Unusable(path, "no rows under the header")
    values = dict(zip(header, zip(*rows)))
    for column in numeric(header):
        try:
            values[column] = [
                number(text.strip(), f"line {line}: {column}") for line, text in zip(where, values[column])
            ]
        except UsageError as error:
            raise Unusable(path, str(error)) from None
    table = pd.DataFrame(values)
    twice = repeated(table).nonzero()[0]
    if len(twice):
        raise Unusable(path, f"line {where[twice[0]]}: the row of {table['dis'][twice[0]]} stands in the file twice")
    return table


def repeated(table):
    """(N,) whether a row stands in the table before, all of its COLUMNS alike."""
    import pandas as pd

    # rows that differ in a number differ: quickly seen, and hardly any are left whose names must be looked at
    numbers = pd.Series(table["pred"].to_numpy() + 1j * table["mos"].to_numpy())
    twice = numbers.duplicated(keep=False).to_numpy(copy=True)
    if twice.any():
        twice[twice] = table.loc[twice, list(COLUMNS)].duplicated().to_numpy()
    return twice


def lines_of(path, data):
    """Yields (line number, fields) of the lines that are not blank. Unusable for what is no CSV file."""
    reader = csv.reader(io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline=""), strict=True)
    try:
        for row in reader:
            if len(row) > 1 or row and row[0].strip():
                yield reader.line_num, row
    except (ValueError, csv.Error) as error:
        raise not_a_score_file(path, error) from None


def beside(path: Path | str, ending: str = ".json") -> Path:
    """The JSON of a score file: x.csv -> x.json, x.csv.partial.1of2 -> x.json.partial.1of2. With ".sha256" the digests
    of a partial one: x.csv.partial -> x.sha256.partial."""
    name = Path(path).name
    return Path(path).with_name(ENDING.sub(rf"{ending}\1", name) if ENDING.search(name) else name + ending)


def read_document(path: Path) -> dict:
    """The JSON beside a score file, {} where there is none (the authors' files have none)."""
    try:
        document = json.loads(beside(path).read_text(encoding="utf-8"))
        settings = document.get("settings", {}) if isinstance(document, dict) else None
        if not isinstance(settings, dict):
            raise ValueError("expected an object with settings")
        factors = settings.get("factors", {})
        if not isinstance(factors, dict) or not all(isinstance(factor, dict) for factor in factors.values()):
            raise ValueError("expected the settings of each factor")
        return document
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise Unusable(
            beside(path),
            f"not the JSON of a score file ({one_line(error)}); delete it together with its CSV, or use --overwrite",
        ) from None
