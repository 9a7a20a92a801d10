"""What decides a run of run.py or score_dataset besides its datasets and models, and what it hands on.
Imports no torch."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from common.errors import UsageError, unknown
from loaders.pairs import Dataset
from methods.model import Column
from robustness import PERTURBATIONS
from scorefiles import write
from scorefiles.read import PERTURBATION


@dataclass(frozen=True)
class Run:
    """What decides a run besides its datasets and models.
    The fields are run.py's flags, and their defaults are its own."""

    perturbations: tuple[tuple[str, float], ...] = (("none", 0.0),)  # (name, pct) each
    data_root: str = field(default_factory=lambda: os.environ.get("IQA_DATA", "data"))
    savedir: str = "results"
    saveas: str | None = None  # the score file's name in place of the method's
    resizeHW: int | None = None  # resize both images to N x N first
    higher_is: str | None = None  # what a higher label of a CSV dataset means
    limit: int | None = None  # only the first N pairs
    skip_bad: bool = False  # leave out pairs whose image is missing or unreadable
    noise_floor: bool = False  # each reference against its own perturbed self
    overwrite: bool = False  # drop files made with other settings
    keep_going: bool = False  # carry on past what cannot be had
    dry_run: bool = False  # say what would be computed, and compute nothing
    shard: tuple | None = None  # (i, n): the i-th of n parts of the references
    batch_size: int | None = None  # windows at once; None: by device
    workers: int | None = None  # processes that read images; None: by device
    progress: bool | None = None  # a bar on stderr; None: on a terminal, elsewhere a line every 30 s

    def __post_init__(self):
        name = self.saveas
        if name is not None and (not name.isprintable() or not name or "/" in name or PERTURBATION.search(name)):
            raise UsageError(
                f"-s {name!r}: expected a name for a file, without '/' and without a perturbation at its end"
            )


def perturbations(names: Sequence[str], magnitudes: Sequence[float] = (1.0,)) -> tuple[tuple[str, float], ...]:
    """Names of PERTURBATIONS and magnitudes -> ((name, pct), ...), 'none' once, in the order given.
    Raises UsageError."""
    for name in names:
        if name not in PERTURBATIONS:
            raise unknown("perturbation", name, PERTURBATIONS)
    if wrong := [pct for pct in magnitudes if not 0 < pct < 50]:
        raise UsageError(f"-pct {wrong[0]}: expected a number above 0 and below 50")
    return tuple(
        dict.fromkeys(("none", 0.0) if name == "none" else (name, float(pct)) for name in names for pct in magnitudes)
    )


@dataclass
class Prepared:
    """A dataset whose images were found readable: the pairs to score, their image sizes, what was left out and why."""

    dataset: Dataset
    chosen: list  # indices of the pairs to be scored now
    sizes: dict  # path -> (width, height)
    left_out: dict  # dis -> reason


@dataclass
class TableRow:
    """One line of the final table."""

    output: write.Output
    dataset: Dataset
    column: Column
    perturbation: tuple
