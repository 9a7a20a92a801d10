"""Score files -> groups that can be compared: one dataset under one perturbation, the same pairs for every metric.

Whatever does not fit together is refused, with the file and what to do: labels or names that differ, part of a dataset,
scores of different protocols. Nothing is dropped to make files fit.
"""

from dataclasses import dataclass, field

import numpy as np

from common.errors import UsageError
from scorefiles.read import FLOOR, is_floor, read

FEWEST_PAIRS = 10
SAME_LABEL = 1e-5  # relative: the authors stored LIVE's labels as float32


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
    spread: object = None  # loaders.spread.Spread: what kind of number std is, None with it
    no_std: str = ""  # why it is unknown
    floors: dict = field(
        default_factory=dict
    )  # metric -> (references (F,), predictions (F,)) of references against themselves
    no_floors: dict = field(default_factory=dict)  # metric -> why it has none

    @property
    def name(self):
        return self.dataset + ("" if self.perturbation == "none" else f" {self.perturbation}-{self.pct:g}")


def base(names):
    """File names without folder and in lower case: what our files and the authors' have in common."""
    return names.str.lower().str.replace(r".*[/\\]", "", regex=True)


def no_spread(dataset, table):
    """Why there is no spread when none was given."""
    from datasets import DATASETS

    known = DATASETS[dataset].no_spread if dataset in DATASETS else ""
    return "no spread of the labels was given (a column std, --std or --data-root)" + (f"; {known}" if known else "")


def read_groups(paths, columns=None, higher_is=None, similarity=(), spread=no_spread):
    """Read score files and put them into Groups, in order of first appearance.

    columns: as scorefiles.read, for foreign files, whose dataset is then "data" and whose metric is the file's name.
    higher_is: worse or better, what a higher label means where neither the registry nor the file's JSON knows. similarity:
    metrics whose higher score means better, where neither knows. spread(dataset, table) -> (std (N,), Spread), or why not.
    """
    files = {}
    for path in paths:
        if is_floor(path):  # caught by a wildcard; read with the score file that it belongs to
            continue
        file = read(path, columns)
        key = (file.dataset or "data", file.perturbation, file.pct)
        if file.method in files.setdefault(key, {}):
            raise UsageError(
                f"{path}: {file.method} under the same dataset and perturbation is already given by "
                f"{files[key][file.method].path}; give one of them"
            )
        files[key][file.method] = file
    template = {}  # dataset -> its first file: all files of the dataset get its rows, in its order
    for key, members in files.items():
        template.setdefault(key[0], next(iter(members.values())))
    return [
        _group(key, list(members.values()), template[key[0]], higher_is, set(similarity), spread)
        for key, members in files.items()
    ]


def _group(key, files, template, higher_is, similarity, spread):
    labelled = _label_direction(key[0], files, higher_is)
    own, _ = _without_floor(template)
    predictions, floors, no_floors, better = [], {}, {}, []
    for file in files:
        table, floor = _without_floor(file)
        _refuse(file, table, template)
        higher = "better" if file.method in similarity else file.pred_higher_is
        better += [file.method] * (higher == "better")
        sign = 1 if higher == labelled else -1
        predictions.append(sign * table["pred"].to_numpy()[_same_rows(template, own, file, table)])
        floor = floor if floor is not None else _floor_file(file)
        if isinstance(floor, str):
            no_floors[file.method] = floor
        else:  # higher = worse, whatever the label's direction
            floors[file.method] = (
                base(floor["ref"]).to_numpy(dtype=str),
                floor["pred"].to_numpy() * (1 if higher == "worse" else -1),
            )
    references = base(own["ref"]).to_numpy(dtype=str)
    if len(set(references)) < 2:
        raise UsageError(
            f"{template.path}: all pairs are of one reference ({references[0]}); intervals resample references, "
            "so at least 2 are needed"
        )
    from datasets import dataset_note

    types, std = _types(key[0], own), spread(key[0], own)
    notes = [
        f"labels: higher is {labelled}",
        f"predictions: higher is worse{', but better for ' + ', '.join(better) if better else ''}",
    ] + ([types] if isinstance(types, str) else [])
    notes += [note] if (note := dataset_note(key[0])) else []
    return Group(
        *key,
        tuple(file.method for file in files),
        own["mos"].to_numpy(),
        np.stack(predictions),
        references,
        None if isinstance(types, str) else types,
        labelled,
        tuple(notes),
        tuple(own["dis"]),
        *((None, None, std) if isinstance(std, str) else (*std, "")),
        floors,
        no_floors,
    )


def _refuse(file, table, first):
    if len(table) < FEWEST_PAIRS:
        raise UsageError(
            f"{file.path}: {len(table)} pairs, expected at least {FEWEST_PAIRS}: too few to compare metrics on"
        )
    if not file.path.name.endswith(".csv") or file.expected not in (None, len(table), len(file.table)):
        rest = (
            "the others were left out by --skip-bad" if file.complete else "finish it with the command that started it"
        )
        raise UsageError(
            f"{file.path}: {len(table)} of {file.expected or '?'} pairs of {file.dataset}: a part of a dataset is not compared; {rest}"
        )
    if file.protocol != first.protocol:
        raise UsageError(
            f"{file.path}: scored under the protocol {file.protocol}, {first.path} under {first.protocol}; "
            "compare files of one protocol"
        )
    for column, what in (("mos", "labels"), ("pred", "predictions")):
        if np.ptp(table[column].to_numpy()) == 0:
            raise UsageError(
                f"{file.path}: all {len(table)} {what} are {table[column].iloc[0]:g}; a constant has no correlation"
            )


def _same_rows(first, own, file, table):
    """Order of `table`'s rows that makes them those of `own`. By name where names are unique, else by position."""
    if len(table) != len(own):
        raise UsageError(f"{file.path}: {len(table)} pairs, {first.path} has {len(own)}; expected the same pairs")
    order = np.arange(len(table))
    names, theirs = (base(t["dis"]) + " of " + base(t["ref"]) for t in (own, table))
    if list(names) != list(theirs):
        import pandas as pd

        index = pd.Index(theirs)
        order = index.get_indexer(names) if index.is_unique and names.is_unique else order
        wrong = np.flatnonzero((order < 0) | (theirs.to_numpy()[order] != names.to_numpy()))
        if len(wrong):
            raise UsageError(
                f"{file.path}: {len(wrong)} pairs of {first.path} are not there under the same name, first "
                f"{names.iloc[wrong[0]]} (line {wrong[0] + 2}); expected the same pairs"
            )
    label, other = own["mos"].to_numpy(), table["mos"].to_numpy()[order]
    wrong = np.flatnonzero(np.abs(label - other) > SAME_LABEL * np.maximum(np.abs(label), np.abs(other)))
    if len(wrong):
        raise UsageError(
            f"{file.path}: line {order[wrong[0]] + 2}: the label of {own['dis'].iloc[wrong[0]]} is {other[wrong[0]]:g}, in "
            f"{first.path} {label[wrong[0]]:g} ({len(wrong)} labels differ); expected the same labels"
        )
    return order


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
            f"{files[0].path}: the dataset {dataset!r} is not known; say what a higher label means by --higher-is better|worse"
        )
    return known.pop() if known else higher_is


def _types(dataset, table):
    """(N,) distortion types, or why they are not known."""
    from datasets import distortion_types

    try:
        return np.array(distortion_types(dataset, table), dtype=str)
    except UsageError as error:
        return str(error)


def _without_floor(file):
    """The table without its rows of a reference against itself, and these rows (None where there are none)."""
    own = base(file.table["dis"]) == base(file.table["ref"])
    return (file.table[~own].reset_index(drop=True), file.table[own]) if own.any() else (file.table, None)


def _floor_file(file):
    """The table (ref, pred) of <stem>.floor.csv beside a perturbed score file, or the reason why there is none."""
    path = file.path.with_name(file.path.name.removesuffix(".csv") + f"{FLOOR}.csv")
    if not path.is_file():
        return f"{path.name} is not there: make it with run.py --noise-floor"
    return numbers_by_name(path, "ref", "pred")


def numbers_by_name(path, name, value):
    """A small CSV of a name and a number a line -> its table; UsageError with file and line for anything else."""
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype={name: str}, encoding="utf-8-sig", keep_default_na=False)
    except (OSError, ValueError) as error:  # ValueError: pandas' parser and decoding errors
        raise UsageError(f"{path}: expected a CSV file with the columns {name}, {value}: {error}") from None
    if not {name, value} <= set(table.columns) or table.empty:
        raise UsageError(
            f"{path}: expected the columns {name}, {value} and at least one row; found {', '.join(map(str, table.columns))}"
        )
    values = pd.to_numeric(table[value], errors="coerce").to_numpy(dtype=float)
    for wrong, what in (
        (~np.isfinite(values), f"{value} is no finite number"),
        (table[name].duplicated().to_numpy(), f"this {name} stands there twice"),
    ):
        if wrong.any():
            raise UsageError(f"{path}: line {np.argmax(wrong) + 2}: {what}")
    return table.assign(**{value: values})
