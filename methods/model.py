"""A Model is one forward pass (a backbone, or the features of one or more metrics) and the score columns read off it:
`dinov1` with l2, cos and its embedding is one Model with the columns dinov1_l2, dinov1_cos and embed_dinov1_cos.

Options is what decides a score besides the method and the images. Nothing is loaded before `Model.load`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import distances
import models
from common.errors import UsageError
from distances import Features
from networks import weights as files
from networks.download import resolve

if TYPE_CHECKING:  # named in annotations only
    import torch

PROTOCOLS = ("paper", "corrected")
ALIGN = ("none", "shift", "similarity")  # what is undone before scoring (scoring/registration.py)
AUTO = "auto"  # a precision that run.py chooses by a trial (scoring/precision.py)
ALIGNED = "-aligned"  # ends the name of a score column that was scored so


@dataclass(frozen=True)
class Options:
    """What decides a score besides the method and the images; one place for the defaults."""

    weights: str = "pretrained"  # or "random"
    weights_dir: Path | str | None = None
    device: str = "cpu"
    precision: str = "paper"  # of models.PRECISIONS, or AUTO
    protocol: str = "paper"
    normalize: str = "none"
    window: int | None = 224  # a side; None: the whole image
    stride: int = 200
    layers: tuple[int, ...] | None = None  # block indices, None: all
    per_layer: bool = False
    align: str = "none"  # of ALIGN


RANDOM = "random weights, for trying things out: these numbers mean nothing"  # said beside such scores


@dataclass(frozen=True)
class Column:
    """One score: `compare(distorted, reference) -> (B,)`; None between the blocks of a backbone, whose distances
    Model.compare computes together, and of fused scores."""

    name: str  # as in the file name: dinov1_l2, embed_dinov1_cos, psnr
    method: str
    distance: str | None
    feature: str  # "features", "embedding", "metric", "own" or "fused"
    compare: Callable | None = field(default=None, repr=False)
    higher_is: str = "worse"
    align: str = "none"


@dataclass
class Model:
    """One forward pass over windows (`window` a side, `stride` apart) or whole images (window None),
    with its columns."""

    name: str
    options: Options
    columns: list
    window: int | None
    weights: tuple = ()
    min_side: int = 1
    short_side: int | None = None
    note: str = ""
    loader: Callable | None = field(default=None, repr=False)
    carried: tuple = ()  # trained files inside installed packages

    @property
    def random(self) -> bool:
        """Whether its weights are seeded at random, so that its scores mean nothing."""
        return self.options.weights == "random" and bool(self.weights)

    def paths(self) -> dict[str, Path]:
        """{name: Path} of the weight files; UsageError when one cannot be had. Nothing is read."""
        names = " ".join(dict.fromkeys(column.method for column in self.columns))
        trained = {} if self.random else {w.name: resolve(w, self.options.weights_dir, names) for w in self.weights}
        return trained | {name: files.package_file(name) for name in self.carried}

    def files(self) -> list[dict]:
        """[{name, sha256, file}] of the weight files; UsageError when one cannot be had. Nothing is loaded."""
        entries: list[dict] = [{"name": "random", "seed": 0}] if self.random else []
        for name, path in self.paths().items():
            entries.append(
                {"name": name, "sha256": files.sha256(path)} | ({} if name in self.carried else {"file": path.name})
            )
        return entries

    def load(self) -> Callable:
        """-> features(x): float (B, 3, H, W) in [0, 1] on the device -> distances.Features."""
        refuse_auto(self.options.precision)
        models.allow_tf32(self.options.precision == "tf32")
        return self.loader(self)

    def compare(self, f: Features, g: Features, columns: Sequence[Column]) -> list[torch.Tensor]:
        """[float64 (B, 1 or more)] of some of its columns; distances between the same features share what they can."""
        together = distances.compare_with_blocks if self.options.per_layer else distances.compare
        names = [c.distance for c in columns if c.feature == "features"]
        scores = together(names, f, g, self.options.protocol) if names else {}
        values = [scores[c.distance] if c.feature == "features" else c.compare(f, g) for c in columns]
        return [v.double().reshape(len(v), -1) for v in values]


def refuse_auto(precision: str) -> None:
    """UsageError for AUTO, where there is no dataset to make a trial on."""
    if precision == AUTO:
        raise UsageError(
            "--precision auto: only a run over a dataset makes the trial that chooses; name one of "
            f"{', '.join(models.PRECISIONS)}"
        )


def known_by(files: Sequence[dict]) -> list[dict]:
    """What Model.files() tells, without the names: a renamed weight file is the same file."""
    return [{k: v for k, v in w.items() if k != "file"} for w in files]
