"""What is to be computed, cut once before anything runs:
images of pairs, windows, blocks of references, units of pairs.

Where blocks, units and batches are cut depends on the pairs, their sizes and the batch size alone, so that an
interrupted run that goes on at a unit gives the very bytes of an undisturbed one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from common.errors import UsageError
from common.files import some
from methods.model import Model
from robustness import PERTURBATIONS
from scoring.registration import Registration

BATCHES = 4  # batches in a block of references, and in a unit of distorted images: enough to fill them, little to lose


def default_batch(device: str) -> int:
    """Windows a batch: 8 on a CPU, where more gains nothing; on CUDA what half of the device's memory holds at 100 MB a
    window (ViT-B/16 with all distances), 256 at most. The same device always gives the same number."""
    if not device.startswith("cuda"):
        return 8
    memory = torch.cuda.get_device_properties(device).total_memory
    return max(1, min(256, 2 ** int(np.log2(memory / 2 / 100e6))))


def starts(length, window, stride):
    """Window starts along an axis: 0, stride, 2 stride, ... while below length - window, then length - window."""
    return [*range(0, length - window, stride), length - window]


def tiles(width, height, model):
    """[(y, x, height, width)] of the windows of an image, or of the whole image where the model has none."""
    if model.window is None:
        return [(0, 0, height, width)]
    side = model.window
    return [
        (y, x, side, side)
        for y in starts(height, side, model.options.stride)
        for x in starts(width, side, model.options.stride)
    ]


def split(n, most):
    """n items into the fewest runs of at most `most`, as even as can be: split(10, 4) -> [4, 3, 3]."""
    runs = -(-n // most)
    return [n // runs + (i < n % runs) for i in range(runs)]


@dataclass(frozen=True)
class ImageFile:
    """One image to be scored: its file, and the pixels it will have (before any perturbation, after --resizeHW)."""

    path: str
    width: int
    height: int


@dataclass
class Plan:
    """What is to be computed: images of the pairs, blocks of references, units of pairs.
    Cut once, before anything runs."""

    model: Model
    pairs: list  # [(distorted ImageFile, reference ImageFile)]
    perturbations: list  # [(name, pct)]
    resize: int | None
    batch: int
    # {(pair index, perturbation): what is undone}
    aligned: dict[tuple[int, tuple[str, float]], Registration] = field(default_factory=dict)
    blocks: list = field(default_factory=list)  # [(references, [units of pair indices])]

    def __post_init__(self):
        limit = BATCHES * self.batch
        groups = {}
        for i, (_, reference) in enumerate(self.pairs):
            groups.setdefault(reference.path, (reference, []))[1].append(i)
        for run in runs_of(groups.values(), [self.weight(r) for r, _ in groups.values()], limit):
            members = [i for _, indices in run for i in indices]
            units = runs_of(members, [self.weight(self.pairs[i][0]) for i in members], limit)
            self.blocks.append(([reference for reference, _ in run], units))

    def weight(self, image: ImageFile) -> int:
        """Batch places an image takes: its windows, or its area in windows of 224 where it is seen whole."""
        windows = tiles(image.width, image.height, self.model)
        return len(windows) if self.model.window else -(-image.width * image.height // 224**2)

    def windows(self, todo: Callable = lambda perturbation, unit: True) -> tuple[int, int]:
        """(windows of references, windows of distorted images) that `todo` leaves to compute."""
        of_references, of_distorted = 0, 0
        for references, units in self.blocks:
            wanted = [(p, u) for u in units for p in self.perturbations if todo(p, u)]
            plain = [(p, u) for p, u in wanted if self.as_it_is(p, u)]
            variants = {variant(p) for p, _ in plain}
            of_references += len(variants) * sum(len(tiles(r.width, r.height, self.model)) for r in references)
            of_distorted += sum(
                len(tiles(d.width, d.height, self.model)) for _, u in plain for d, _ in (self.pairs[i] for i in u)
            )
            moved = sum(len(tiles(*self.aligned[i, p].size, self.model)) for p, u in wanted for i in self.moved(p, u))
            of_references += moved
            of_distorted += moved
        return of_references, of_distorted

    def moved(self, perturbation: tuple, unit: Sequence[int]) -> list[int]:
        """The pairs of a unit that are scored aligned."""
        return [i for i in unit if (i, perturbation) in self.aligned]

    def as_it_is(self, perturbation: tuple, unit: Sequence[int]) -> bool:
        """Whether a pair of the unit is scored as it is. Then the whole unit is, so that the pair shares its batches,
        and with them its last bits, with the same neighbours as in a run that aligns nothing."""
        return len(self.moved(perturbation, unit)) < len(unit)


def runs_of(items, weights, limit):
    """Consecutive items in runs that are closed once their weights reach `limit`."""
    runs, load = [], limit
    for item, weight in zip(items, weights):
        if load >= limit:
            runs.append([])
            load = 0
        runs[-1].append(item)
        load += weight
    return runs


def variant(perturbation):
    """The reference that a perturbation needs: the plain one, shared, or one of its own."""
    return perturbation if PERTURBATIONS[perturbation[0]].reference else ("none", 0.0)


def check_same_size(pairs, names):
    """UsageError that names the pairs whose images differ in size."""
    unequal = [
        f"{name} is {distorted.width} x {distorted.height}, its reference {reference.path} "
        f"{reference.width} x {reference.height}"
        for (distorted, reference), name in zip(pairs, names)
        if (distorted.width, distorted.height) != (reference.width, reference.height)
    ]
    if unequal:
        count = f"{len(unequal)} of {len(names)} pairs: " if len(unequal) > 1 else ""
        raise UsageError(f"{count}expected equal sizes (or -r N, which resizes both): {some(unequal)}")


def check_sizes(model, pairs, names, perturbations):
    """UsageError for a pair whose images differ in size or are too small for the model after the perturbation."""
    import math

    check_same_size(pairs, names)
    for (distorted, _), name in zip(pairs, names):
        for perturbation, pct in perturbations:
            shift = PERTURBATIONS[perturbation].reference is not None
            width = distorted.width - (math.ceil(pct / 100 * distorted.width) if shift else 0)
            if min(width, distorted.height) < model.min_side:
                least = model.min_side
                while shift and least - math.ceil(pct / 100 * least) < model.min_side:
                    least += 1
                what = model.name if model.window else ", ".join(c.name for c in model.columns)
                raise UsageError(
                    f"{name}: {width} x {distorted.height} pixels under {perturbation}, too small for {what}, which "
                    f"needs {model.min_side} a side; the smallest -r that works is {least}"
                )
