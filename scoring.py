"""The engine: a model, pairs of images, perturbations -> scores. The one place that knows windows, batches and caching.

Each distinct perturbed image passes through the model once: the references of a block of references first, kept until the
last of their pairs is done, then their distorted images, unit by unit. Windows of many images share a batch. Where blocks,
units and batches are cut depends on the pairs, their sizes and the batch size alone, so that an interrupted run that goes on
at a unit gives the very bytes of an undisturbed one.
"""
from dataclasses import dataclass, field

import numpy as np
import torch

from common.errors import UsageError, WorkError
from common.terminal import warn
from distances import Features
from loading import images_of
from robustness import PERTURBATIONS
from scorer import Scorer  # noqa: F401  (scores of images in memory: from scoring import Scorer)

BATCHES = 4   # batches in a block of references, and in a unit of distorted images: enough to fill them, little to lose


def default_batch(device):
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
    return [(y, x, side, side) for y in starts(height, side, model.options.stride) for x in starts(width, side, model.options.stride)]


def split(n, most):
    """n items into the fewest runs of at most `most`, as even as can be: split(10, 4) -> [4, 3, 3]."""
    runs = -(-n // most)
    return [n // runs + (i < n % runs) for i in range(runs)]


@dataclass(frozen=True)
class Image:
    """One image to be scored: its file, and the pixels it will have (before any perturbation, after --resizeHW)."""
    path: str
    width: int
    height: int


@dataclass
class Plan:
    """What is to be computed: images of the pairs, blocks of references, units of pairs. Cut once, before anything runs."""
    model: object
    pairs: list                     # [(distorted Image, reference Image)]
    perturbations: list             # [(name, pct)]
    resize: int | None
    batch: int
    blocks: list = field(default_factory=list)   # [(references, [units of pair indices])]

    def __post_init__(self):
        limit = BATCHES * self.batch
        groups = {}
        for i, (_, reference) in enumerate(self.pairs):
            groups.setdefault(reference.path, (reference, []))[1].append(i)
        for run in runs_of(groups.values(), [self.weight(r) for r, _ in groups.values()], limit):
            members = [i for _, indices in run for i in indices]
            units = runs_of(members, [self.weight(self.pairs[i][0]) for i in members], limit)
            self.blocks.append(([reference for reference, _ in run], units))

    def weight(self, image):
        """Batch places an image takes: its windows, or its area in windows of 224 where it is seen whole."""
        found = tiles(image.width, image.height, self.model)
        return len(found) if self.model.window else -(-image.width * image.height // 224 ** 2)

    def windows(self, todo=lambda perturbation, unit: True):
        """(windows of references, windows of distorted images) that `todo` leaves to compute."""
        count = [0, 0]
        for references, units in self.blocks:
            wanted = [(p, u) for u in units for p in self.perturbations if todo(p, u)]
            variants = {variant(p) for p, _ in wanted}
            count[0] += len(variants) * sum(len(tiles(r.width, r.height, self.model)) for r in references)
            count[1] += sum(len(tiles(d.width, d.height, self.model)) for _, u in wanted for d, _ in (self.pairs[i] for i in u))
        return tuple(count)


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


def check_sizes(model, pairs, names, perturbations):
    """UsageError for a pair whose images differ in size or are too small for the model after the perturbation."""
    import math
    for (distorted, reference), name in zip(pairs, names):
        if (distorted.width, distorted.height) != (reference.width, reference.height):
            raise UsageError(f"{name}: the distorted image is {distorted.width} x {distorted.height}, its reference {reference.path} "
                             f"{reference.width} x {reference.height}; expected equal sizes (or -r N, which resizes both)")
        for perturbation, pct in perturbations:
            shift = PERTURBATIONS[perturbation].reference is not None
            width = distorted.width - (math.ceil(pct / 100 * distorted.width) if shift else 0)
            if min(width, distorted.height) < model.min_side:
                least = model.min_side
                while shift and least - math.ceil(pct / 100 * least) < model.min_side:
                    least += 1
                what = model.name if model.window else ", ".join(c.name for c in model.columns)
                raise UsageError(f"{name}: {width} x {distorted.height} pixels under {perturbation}, too small for {what}, which "
                                 f"needs {model.min_side} a side; the smallest -r that works is {least}")


class Engine:
    """A model in memory that turns images into scores, a batch at a time."""

    def __init__(self, model, batch, bar=None):
        self.model, self.batch, self.bar = model, batch, bar
        self.most = float("inf")   # windows at once that memory holds, once it has been seen to hold no more
        self.device = torch.device(model.options.device)
        if self.device.type == "cpu":
            keep_memory()
        self.features = model.load()

    def cut(self, images):
        """Images (3, H, W) uint8 -> batches [[(image index, y, x, h, w)]]: runs of equal shape, cut evenly."""
        flat = [(i, *t) for i, image in enumerate(images) for t in tiles(image.shape[2], image.shape[1], self.model)]
        batches, run = [], []
        for tile in [*flat, None]:
            if run and (tile is None or tile[3:] != run[-1][3:]):
                most = self.batch if self.model.window else max(1, self.batch * 224 ** 2 // (run[0][3] * run[0][4]))
                for n in split(len(run), most):
                    batches.append(run[:n])
                    run = run[n:]
            if tile:
                run.append(tile)
        return batches

    def pixels(self, images, batch):
        x = torch.stack([images[i][:, y:y + h, x:x + w] for i, y, x, h, w in batch])
        return x.to(torch.float32).div_(255)

    def smaller(self, compute, batch):
        """compute(batch) in one piece, or in halves where the device's memory does not hold it; what did not fit is not tried
        again."""
        if len(batch) <= self.most:
            try:
                return [compute(batch)]
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
            if len(batch) == 1:
                raise WorkError(f"{self.model.name}: out of memory on {self.device} with a single window; choose "
                                "another --device or --precision, or a smaller -r")
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            self.most = -(-len(batch) // 2)
            warn(f"out of memory on {self.device}: batches of {len(batch)} are halved to {self.most}; scores stay within 1e-5")
        half = -(-len(batch) // 2)
        return self.smaller(compute, batch[:half]) + self.smaller(compute, batch[half:])

    def references(self, images):
        """-> for each image the [(Features, index)] of its tiles, on the device."""
        kept = [[] for _ in images]

        def compute(batch):
            return batch, self.features(self.pixels(images, batch))
        for batch in self.cut(images):
            for part, features in self.smaller(compute, batch):
                finite = all_finite(features).cpu()
                for j, tile in enumerate(part):
                    if not finite[j]:
                        raise NotFinite(tile[0])
                    kept[tile[0]].append((features, j))
            self.tick(len(batch))
        return kept

    def compare(self, images, references, columns):
        """Scores of distorted images against their references' tiles, not yet waited for: call the result for
        {column name: float64 (images, values)}."""
        found, owners = [], []
        position = [0] * len(images)

        def compute(part):
            f = self.features(self.pixels(images, [tile for tile, _ in part]))
            g = Features.gather([r for _, r in part])
            values = self.model.compare(f, g, columns)
            return torch.cat([all_finite(f).double()[:, None], *values], 1), [v.shape[1] for v in values]
        for batch in self.cut(images):
            pairs = []
            for tile in batch:
                pairs.append((tile, references[tile[0]][position[tile[0]]]))
                position[tile[0]] += 1
            for values, widths in self.smaller(compute, pairs):
                found.append(values)
            owners += [tile[0] for tile in batch]
            self.tick(len(batch))

        def wait():
            values, owner = torch.cat(found).cpu().numpy(), np.array(owners)
            means = np.stack([values[owner == i].mean(0) for i in range(len(images))])
            if (means[:, 0] < 1).any():
                raise NotFinite(int(np.argmin(means[:, 0])))
            cuts = np.cumsum([1, *widths])
            return {c.name: means[:, a:b] for c, a, b in zip(columns, cuts, cuts[1:])}
        return wait

    def tick(self, n):
        if self.bar is not None:
            self.bar.update(n)


def keep_memory():
    """Let glibc reuse freed memory instead of handing it back to the system after each large tensor: up to twice as fast."""
    import ctypes
    import sys
    if sys.platform.startswith("linux"):
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)   # musl has none
        for option in (-3, -1) if mallopt else ():              # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
            mallopt(option, 1 << 30)


def out_of_memory(error):
    """PyTorch has a type for CUDA's own allocator only; the CPU's and the libraries' are told by their text."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(
        text in str(error) for text in ("DefaultCPUAllocator", "_ALLOC_FAILED"))


class NotFinite(Exception):
    """The features of image number args[0] hold NaN or infinity."""


def all_finite(features):
    """(B,) bool, without a copy of the features: a sum is finite only where all of its terms are."""
    sums = [t.flatten(1).sum(1, dtype=torch.float32) for t in features.tensors()]
    return torch.isfinite(torch.stack(sums, 1)).all(1)


def score(plan, wanted, batch_bar=None, workers=0):
    """Run a plan -> yields (perturbation, unit, {column name: float64 (pairs of the unit, values)}) in order.

    wanted(perturbation, unit) -> the columns to compute there, [] for what is done. Raises WorkError with the pair's name
    when an image cannot be read or a feature or score is not finite.
    """
    model = plan.model
    jobs, requests = [], []
    for references, units in plan.blocks:
        todo = [(u, [(p, c) for p in plan.perturbations if (c := wanted(p, u))]) for u in units]
        todo = [(u, ps) for u, ps in todo if ps]
        if todo:
            variants = sorted({variant(p) for _, ps in todo for p, _ in ps})
            jobs.append((references, variants, todo))
            requests += [request(plan, r, "reference", variants) for r in references]
            requests += [request(plan, plan.pairs[i][0], "distorted", [p for p, _ in ps]) for u, ps in todo for i in u]
    if not jobs:
        return
    engine = Engine(model, plan.batch, batch_bar)
    stream = images_of(requests, plan.resize, model.short_side, engine.device, workers)
    with torch.inference_mode():
        waiting = None   # one unit's results stay on the device while the next unit's batches are queued
        for references, variants, todo in jobs:
            loaded = [next(stream) for _ in references]
            position = {r.path: i for i, r in enumerate(references)}
            kept = {}
            for k, v in enumerate(variants):
                try:
                    kept[v] = engine.references([images[k] for images in loaded])
                except NotFinite as error:
                    raise not_finite(model, references[error.args[0]].path, v) from None
            for unit, columns in todo:
                loaded = [next(stream) for _ in unit]
                for k, (perturbation, some) in enumerate(columns):
                    theirs = [kept[variant(perturbation)][position[plan.pairs[i][1].path]] for i in unit]
                    ready = engine.compare([images[k] for images in loaded], theirs, some)
                    if waiting:
                        yield finish(plan, *waiting)
                    waiting = perturbation, unit, ready
        yield finish(plan, *waiting)


def request(plan, image, role, perturbations):
    size = () if plan.resize else ((image.width, image.height),)
    return image.path, role, perturbations, *size


def finish(plan, perturbation, unit, ready):
    try:
        values = ready()
    except NotFinite as error:
        raise not_finite(plan.model, plan.pairs[unit[error.args[0]]][0].path, perturbation) from None
    for name, numbers in values.items():
        bad = np.flatnonzero(~np.isfinite(numbers).all(1))
        if len(bad):
            raise not_finite(plan.model, plan.pairs[unit[bad[0]]][0].path, perturbation, f"the score {name}")
    return perturbation, unit, values


def not_finite(model, path, perturbation, what="a feature"):
    half = model.options.precision in ("paper", "fp16")   # float16 ends at 65504
    advice = "use --precision fp32 (with --overwrite), or check the weights" if half else "check the weights"
    return WorkError(f"{path} under {perturbation[0]}: {what} of {model.name} is NaN or infinite in precision "
                     f"{model.options.precision}; {advice}")
