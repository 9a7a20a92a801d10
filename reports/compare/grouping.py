"""Score files -> groups that can be compared: one dataset under one perturbation, the same pairs for every metric.

Whatever does not fit together is refused, with the file and what to do: labels or names that differ, part of a dataset,
scores of different protocols. Nothing is dropped to make files fit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.errors import UsageError
from datasets import distortion_types
from scorefiles.folder import name_left_out
from scorefiles.join import base_names, order_of, same_rows
from scorefiles.read import FLOOR, ScoreFile, Unusable, is_companion, is_floor, read

if TYPE_CHECKING:  # named in annotations only
    import pandas as pd

    from loaders.spread import Spread

FEWEST_PAIRS = 10


@dataclass(frozen=True)
class Group:
    """M metrics on the N pairs of one dataset under one perturbation; predictions oriented: positive = agrees."""

    dataset: str
    perturbation: str  # none, tra, sca, rot
    pct: float | None
    metrics: tuple  # (M,) names
    label: np.ndarray  # (N,)
    predictions: np.ndarray  # (M, N)
    references: np.ndarray  # (N,) names: the clusters
    types: np.ndarray | None  # (N,) distortion types, None where unknown
    label_higher_is: str  # worse or better
    notes: tuple  # sentences on directions and on what is not known
    images: tuple  # (N,) names of the distorted images
    std: np.ndarray | None = None  # (N,) spread of each label, None where unknown
    spread: Spread | None = None  # what kind of number std is, None with it
    no_std: str = ""  # why it is unknown
    # metric -> (references (F,), predictions (F,)) of references against themselves
    floors: dict = field(default_factory=dict)
    no_floors: dict = field(default_factory=dict)  # metric -> why it has none

    @property
    def name(self):
        return self.dataset + ("" if self.perturbation == "none" else f" {self.perturbation}-{self.pct:g}")


def no_spread(dataset: str, table: pd.DataFrame) -> str:
    """Why there is no spread when none was given. Nobody has looked into the dataset's files:
    nothing is said of them."""
    from datasets import DATASETS

    known = DATASETS[dataset].no_spread if dataset in DATASETS and DATASETS[dataset].spread is None else ""
    return "no spread of the labels was given (a column std, --std or --data-root)" + (f"; {known}" if known else "")


def read_groups(
    paths: Sequence[Path | str],
    columns: dict[str, str] | None = None,
    higher_is: str | None = None,
    similarity: Sequence[str] = (),
    spread: Callable = no_spread,
    types: Callable = distortion_types,
) -> list[Group]:
    """Read score files and put them into Groups, in order of first appearance.

    columns: as scorefiles.read, for foreign files, whose dataset is then "data" and whose metric is the file's name.
    higher_is: worse or better, what a higher label means where neither the registry nor the file's JSON knows.
    similarity: metrics whose higher score means better, where neither knows. spread(dataset, table) -> (std (N,),
    Spread), or why not. types(dataset, table) -> list (N,) of distortion types, or UsageError.
    """
    files = {}
    # a floor and a companion are read with what they belong to
    scored = [path for path in paths if not is_floor(path) and not is_companion(path)]
    for file, pairs, floor in _usable(scored, columns):
        key = (file.dataset or "data", file.perturbation, file.pct)
        if file.method in files.setdefault(key, {}):
            raise UsageError(
                f"{file.path}: {file.method} under the same dataset and perturbation is already given by "
                f"{files[key][file.method][0].path}; give one of them"
            )
        files[key][file.method] = file, pairs, floor
    templates, groups = {}, []
    for key, members in files.items():
        members = list(members.values())
        labelled = _label_direction(key[0], [file for file, _, _ in members], higher_is)
        if key[0] not in templates:
            templates[key[0]] = _template(key[0], members[0][1], spread, types)
        groups.append(_group(key, members, templates[key[0]], labelled, set(similarity)))
    return groups


@dataclass(frozen=True)
class _Template:
    """The first file of a dataset: all its files get the rows of this one, in this order. And what is known of them."""

    file: ScoreFile
    images: tuple  # (N,) names of the distorted images
    references: np.ndarray  # (N,) names
    types: np.ndarray | str  # (N,) distortion types, or why they are not known
    spread: tuple | str  # (std (N,), Spread), or why there is none


def _template(dataset, file, spread, types):
    references = base_names(file.table["ref"]).to_numpy(dtype=str)
    if len(set(references)) < 2:
        raise UsageError(
            f"{file.path}: all pairs are of one reference ({references[0]}); intervals resample references, "
            "so at least 2 are needed"
        )
    return _Template(
        file, tuple(file.table["dis"]), references, _types(types, dataset, file.table), spread(dataset, file.table)
    )


def _group(key: tuple[str, str, float | None], files, template, labelled, similarity):
    predictions, floors, no_floors, better = [], {}, {}, []
    for file, pairs, floor in files:
        if file.protocol != template.file.protocol:
            raise UsageError(
                f"{file.path}: scored under the protocol {file.protocol}, {template.file.path} under "
                f"{template.file.protocol}; compare files of one protocol"
            )
        higher = "better" if file.method in similarity else file.pred_higher_is
        better += [file.method] * (higher == "better")
        sign = 1 if higher == labelled else -1
        predictions.append(sign * pairs.table["pred"].to_numpy()[order_of(pairs, template.file)])
        floor = floor if floor is not None else _floor_file(file)
        if isinstance(floor, str):
            no_floors[file.method] = floor
        else:  # higher = worse, whatever the label's direction
            floors[file.method] = (
                base_names(floor["ref"]).to_numpy(dtype=str),
                floor["pred"].to_numpy() * (1 if higher == "worse" else -1),
            )
    from datasets import dataset_note

    types = template.types
    std, spread, no_std = (None, None, template.spread) if isinstance(template.spread, str) else (*template.spread, "")
    notes = [
        f"labels: higher is {labelled}",
        f"predictions: higher is worse{', but better for ' + ', '.join(better) if better else ''}",
    ] + ([types] if isinstance(types, str) else [])
    notes += [note] if (note := dataset_note(key[0])) else []
    return Group(
        *key,
        tuple(file.method for file, _, _ in files),
        template.file.table["mos"].to_numpy(),
        np.stack(predictions),
        template.references,
        None if isinstance(types, str) else types,
        labelled,
        tuple(notes),
        template.images,
        std,
        spread,
        no_std,
        floors,
        no_floors,
    )


def _usable(paths, columns):
    """[(ScoreFile, the same without rows of a reference against itself, these rows or None)] of paths.

    A file that is of no use by itself is named on stderr and left out, as long as two remain: a wildcard's files cannot
    be told from names. Otherwise it counts as asked for by name, and its Unusable is raised.
    """
    files, unusable, known = [], [], {}
    for path in paths:
        try:
            file = read(path, columns)
            pairs, floor = _without_floor(file, known)
            _require_use(file, pairs.table)
            files.append((file, pairs, floor))
        except Unusable as error:
            unusable.append(error)
    if unusable and len(files) < 2:
        raise unusable[0]
    for error in unusable:
        name_left_out(error)
    return files


def _require_use(file, table):
    """Unusable for a file whose metric cannot be compared: part of a dataset, too few pairs, a constant."""
    if not file.path.name.endswith(".csv") or file.expected not in (None, len(table), len(file.table)):
        rest = (
            "the others were left out by --skip-bad" if file.complete else "finish it with the command that started it"
        )
        raise Unusable(
            file.path,
            f"{len(table)} of {file.expected or '?'} pairs of {file.dataset}: a part of a dataset is not "
            f"compared; {rest}",
        )
    if len(table) < FEWEST_PAIRS:
        raise Unusable(
            file.path, f"{len(table)} pairs, expected at least {FEWEST_PAIRS}: too few to compare metrics on"
        )
    for column, what in (("mos", "labels"), ("pred", "predictions")):
        if np.ptp(table[column].to_numpy()) == 0:
            raise Unusable(
                file.path, f"all {len(table)} {what} are {table[column].iloc[0]:g}; a constant has no correlation"
            )


def _label_direction(dataset, files, higher_is):
    from datasets import DATASETS

    known = {file.document["label_higher_is"] for file in files if "label_higher_is" in file.document}
    known |= {DATASETS[dataset].higher_is} if dataset in DATASETS else set()
    if len(known) > 1:
        raise UsageError(
            f"{files[0].path}: the files of {dataset} disagree on whether a higher label is better or worse"
        )
    if known and higher_is and {higher_is} != known:
        raise UsageError(
            f"{files[0].path}: a higher label of {dataset} means {known.pop()}, not {higher_is}; leave --higher-is out"
        )
    if not known and not higher_is:
        raise UsageError(
            f"{files[0].path}: the dataset {dataset!r} is not known; say what a higher label means by --higher-is "
            "better|worse"
        )
    return known.pop() if known else higher_is


def _types(types, dataset, table):
    """(N,) distortion types, or why they are not known."""
    try:
        return np.array(types(dataset, table), dtype=str)
    except UsageError as error:
        return str(error)


def _without_floor(file, known):
    """The ScoreFile without its rows of a reference against itself, and these rows (None where there are none).

    known: {dataset: (table, which of its rows these are)} of the file before: nearly all files of a dataset have the
    same rows, and names are slow to look at."""
    table, itself = known.get(file.dataset, (None, None))
    if table is None or not same_rows(file.table, table):
        itself = (base_names(file.table["dis"]) == base_names(file.table["ref"])).to_numpy()
        known[file.dataset] = file.table, itself
    return (replace(file, table=file.table[~itself]), file.table[itself]) if itself.any() else (file, None)


def _floor_file(file):
    """The table (ref, pred) of <stem>.floor.csv beside a perturbed score file, or the reason why there is none."""
    path = file.path.with_name(file.path.name.removesuffix(".csv") + f"{FLOOR}.csv")
    if not path.is_file():
        return f"{path.name} is not there: make it with run.py --noise-floor"
    return numbers_by_name(path, "ref", "pred")


def numbers_by_name(path: str, name: str, value: str) -> pd.DataFrame:
    """A small CSV of a name and a number a line -> its table; UsageError with file and line for anything else."""
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype={name: str}, encoding="utf-8-sig", keep_default_na=False)
    except (OSError, ValueError) as error:  # ValueError: pandas' parser and decoding errors
        raise UsageError(f"{path}: expected a CSV file with the columns {name}, {value}: {error}") from None
    if not {name, value} <= set(table.columns) or table.empty:
        raise UsageError(
            f"{path}: expected the columns {name}, {value} and at least one row; found "
            f"{', '.join(map(str, table.columns))}"
        )
    values = pd.to_numeric(table[value], errors="coerce").to_numpy(dtype=float)
    for wrong, what in (
        (~np.isfinite(values), f"{value} is no finite number"),
        (table[name].duplicated().to_numpy(), f"this {name} stands there twice"),
    ):
        if wrong.any():
            raise UsageError(f"{path}: line {np.argmax(wrong) + 2}: {what}")
    return table.assign(**{value: values})
