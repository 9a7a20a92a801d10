"""The registration of a run's pairs: computed once a pair and perturbation, whatever the methods, and kept in the
folder.

In <savedir>/.align/ a file holds the registrations of a dataset under one perturbation and mode, named with a digest
of the dataset and of when its images were written (a shard writes one of its own, and reads all); beside a finished
score file stands <stem>.align.csv, for people."""

import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from common.errors import WorkError, about_file
from common.files import changed_at
from common.images import open_rgb
from common.terminal import check_stopped, progress
from loaders.pairs import Dataset
from methods.model import Model
from scorefiles import write
from scorefiles.read import COMPANION, stem
from scoring.loading import before_alignment, in_order
from scoring.registration import VERSION, Registration, register

COLUMNS = ("dis", "ref", "width", "height", "m00", "m01", "m02", "m10", "m11", "m12", "ratio", "why")
SHOWN = ("dis", "dx", "dy", "scale", "angle", "corner", "ratio", "done", "why")
BESIDE = 32  # pairs between two writes


def register_files(request, perturbations, mode, resize):
    """(distorted path, reference path) -> [Registration], one a perturbation, or the error as text."""
    try:
        images = [open_rgb(path) for path in request]
        outcomes = []
        for perturbation in perturbations:
            distorted, reference = (
                before_alignment(image, role, perturbation, resize)
                for image, role in zip(images, ("distorted", "reference"))
            )
            outcomes.append(register(reference, distorted, mode))
        return outcomes
    except Exception as error:  # it crosses the border of a process as text
        return about_file(error, *request)


def registrations(
    files: Sequence[tuple[str, str]],
    perturbations: Sequence[tuple],
    mode: str | None,
    resize: int | None = None,
    workers: int = 0,
    shown: bool | None = None,
    done: Callable = lambda i, outcome: None,
) -> list[list]:
    """[(distorted path, reference path)] -> [[Registration a perturbation] a pair]; done(i, outcome) is called after
    each.

    Raises WorkError for a file that cannot be read, ModuleNotFoundError where OpenCV is not installed.
    """
    import cv2  # noqa: F401  where it is missing no image is to blame

    results = []
    function = partial(register_files, perturbations=perturbations, mode=mode, resize=resize)
    with progress(len(files), "pair", "aligning", shown) as bar:
        for i, outcome in enumerate(in_order(function, files, workers)):
            if isinstance(outcome, str):
                raise WorkError(outcome)
            results.append(outcome)
            done(i, outcome)
            bar.update()
    return results


def digest(dataset: Dataset) -> str:
    """16 digits, others once an image was written anew. The dataset's fingerprint knows sizes alone, and in BMP all
    images of one width and height have one."""
    names = sorted({rel for pair in dataset.pairs for rel in (pair.dis, pair.ref)})
    written = [changed_at(dataset.path(rel)) for rel in names]
    return hashlib.sha256(json.dumps([dataset.fingerprint, written]).encode()).hexdigest()[:16]


class RegistrationCache:
    """The registrations of a dataset under one perturbation, as far as they are known in a folder."""

    def __init__(self, folder, name, part=""):
        self.folder, self.name, self.path = Path(folder) / ".align", name, Path(folder) / ".align" / (name + part)
        self.known = {}

    def read(self):
        """{(dis, ref): Registration} of all that is there; a torn last line is left out."""
        self.known = {}
        for path in sorted(self.folder.glob(self.name + "*")):
            for row in csv.DictReader(io.StringIO(write.whole_lines(path).decode(), newline="")):
                try:
                    numbers = [float(row[name]) for name in COLUMNS[4:11]]
                    registration = Registration(
                        np.array(numbers[:6]).reshape(2, 3),
                        int(row["width"]),
                        int(row["height"]),
                        numbers[6],
                        not row["why"],
                        row["why"],
                    )
                except (ValueError, TypeError, KeyError):
                    continue  # not a row: it is computed anew
                self.known[row["dis"], row["ref"]] = registration
        return self.known

    def add(self, rows):
        """Append [((dis, ref), Registration)]."""
        lines = [
            [*key, r.width, r.height, *(repr(float(v)) for v in (*r.map.ravel(), r.ratio)), r.why] for key, r in rows
        ]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            end = len(write.whole_lines(self.path))
            with open(self.path, "ab") as file:
                file.truncate(end)
                file.write((write.as_csv([] if end else [COLUMNS]) + write.as_csv(lines)).encode())
        except OSError as error:
            raise WorkError(f"{self.path}: cannot be written: {error.strerror or error}") from None
        self.known |= dict(rows)


def of_pairs(dataset, chosen, perturbations, mode, *, resize=None, workers=0, shown=None, folder=None, shard=None):
    """Registrations of pairs of a dataset -> {(index of the pair, (perturbation, pct)): Registration}.

    With a folder what is kept there is used, and what is computed is kept there. Raises WorkError.
    """
    part = f".{shard[0]}of{shard[1]}" if shard and shard[1] > 1 else ""
    of_all = f"{f'-r{resize}' if resize else ''}-{VERSION}-{digest(dataset)}.csv"
    caches = [RegistrationCache(folder or ".", stem(dataset.name, mode, *p) + of_all, part) for p in perturbations]
    names = {i: (dataset.pairs[i].dis, dataset.pairs[i].ref) for i in chosen}

    def compute():
        lacking = [i for i in chosen if any(names[i] not in cache.known for cache in caches)]
        waiting = []

        def keep(number, outcome):
            waiting.append((names[lacking[number]], outcome))
            if len(waiting) == BESIDE or number == len(lacking) - 1:
                for column, cache in enumerate(caches):
                    rows = [(name, regs[column]) for name, regs in waiting if name not in cache.known]
                    if rows and folder is not None:
                        cache.add(rows)
                    cache.known |= dict(rows)
                waiting.clear()
                check_stopped()

        files = [(str(dataset.path(dis)), str(dataset.path(ref))) for dis, ref in (names[i] for i in lacking)]
        if files:
            registrations(files, perturbations, mode, resize, workers, shown, keep)

    if folder is None:
        compute()
    else:
        with write.locked(Path(folder), [cache.path.name for cache in caches]):
            for cache in caches:
                cache.read()
            compute()
    return {(i, p): cache.known[names[i]] for p, cache in zip(perturbations, caches) for i in chosen}


def fits(registration: Registration | None, model: Model) -> bool:
    """Whether there is something to undo, and the model can score what is left."""
    return registration is not None and registration.done and min(registration.size) >= model.min_side


def why_not(registration: Registration, model: Model, method: str) -> str:
    """Why a method's score is of the pair as it is; "" where it is of the aligned pair."""
    return "" if fits(registration, model) else registration.why or f"what is left is too small for {method}"


def companion(path):
    """x.csv -> x.align.csv."""
    return Path(path).with_name(Path(path).name.removesuffix(".csv") + COMPANION)


def is_there(path):
    """Whether the companion of a score file is there, and no older than it."""
    other = companion(path)
    return other.exists() and other.stat().st_mtime_ns >= Path(path).stat().st_mtime_ns


def write_companion(path, dataset, indices, registered, model, method):
    """Write what was done to each pair of a finished score file: registered {index: Registration}."""
    rows: list[Sequence] = [SHOWN]
    for i in indices:
        r, why = registered[i], why_not(registered[i], model, method)
        numbers = [f"{value:z.6g}" for value in list(r.document.values())[:6]]
        rows.append([dataset.pairs[i].dis, *numbers, int(not why), why])
    write.write_atomically(companion(path), write.as_csv(rows))


def summary(path: Path) -> str | None:
    """'123 of 125 pairs aligned; left as they are: 2 (...)' by the companion of a score file; None where there is
    none."""
    try:
        with open(companion(path), newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        return None
    return counted([row["why"] for row in rows])


def counted(reasons: Sequence[str]) -> str:
    """[why a pair is left as it is, "" where it is aligned] -> a sentence."""
    left = Counter(why for why in reasons if why)
    unmoved = "".join(f"; {n} left as they are: {why}" for why, n in left.most_common())
    return f"{len(reasons) - left.total()} of {len(reasons)} pairs aligned{unmoved}"
