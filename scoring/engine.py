"""The engine: a plan -> scores. The one place that knows batches and caching.

Each distinct perturbed image passes through the model once: the references of a block of references first, kept until
the last of their pairs is done, then their distorted images, unit by unit. Windows of many images share a batch.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from common.errors import WorkError
from common.terminal import warn
from distances import Features
from scoring.loading import AlignedPair, images_of
from scoring.plan import Plan, split, tiles, variant


class Engine:
    """A model in memory that turns images into scores, a batch at a time."""

    def __init__(self, model, batch, bar=None):
        self.model, self.batch, self.bar = model, batch, bar
        self.most = float("inf")  # windows at once that memory holds, once it has been seen to hold no more
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
                most = self.batch if self.model.window else max(1, self.batch * 224**2 // (run[0][3] * run[0][4]))
                for n in split(len(run), most):
                    batches.append(run[:n])
                    run = run[n:]
            if tile:
                run.append(tile)
        return batches

    def pixels(self, images, batch):
        x = torch.stack([images[i][:, y : y + h, x : x + w] for i, y, x, h, w in batch])
        return x.to(torch.float32).div_(255)

    def smaller(self, compute, batch):
        """compute(batch) in one piece, or in halves where the device's memory does not hold it; what did not fit is not
        tried again."""
        if len(batch) <= self.most:
            try:
                return [compute(batch)]
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
            if len(batch) == 1:
                raise WorkError(
                    f"{self.model.name}: out of memory on {self.device} with a single window; choose "
                    "another --device or --precision, or a smaller -r"
                )
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            self.most = -(-len(batch) // 2)
            warn(
                f"out of memory on {self.device}: batches of {len(batch)} are halved to {self.most}; scores stay "
                "within 1e-5"
            )
        half = -(-len(batch) // 2)
        return self.smaller(compute, batch[:half]) + self.smaller(compute, batch[half:])

    def references(self, images):
        """-> for each image the [(Features, index)] of its tiles, on the device."""
        tiles_of = [[] for _ in images]

        def compute(batch):
            return batch, self.features(self.pixels(images, batch))

        for batch in self.cut(images):
            for part, features in self.smaller(compute, batch):
                finite = fetch(all_finite(features))
                for j, tile in enumerate(part):
                    if not finite[j]:
                        raise NotFinite(tile[0])
                    tiles_of[tile[0]].append((features, j))
            self.tick(len(batch))
        return tiles_of

    def compare(self, images, references, columns):
        """Scores of distorted images against their references' tiles, not yet waited for: call the result for
        {column name: float64 (images, values)}."""
        results, owners = [], []
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
            results += self.smaller(compute, pairs)
            owners += [tile[0] for tile in batch]
            self.tick(len(batch))

        def wait():
            values, owner = fetch(torch.cat([values for values, _ in results])), np.array(owners)
            means = np.stack([values[owner == i].mean(0) for i in range(len(images))])
            if (means[:, 0] < 1).any():
                raise NotFinite(int(np.argmin(means[:, 0])))
            _, widths = results[-1]  # of the columns, alike in all batches
            cuts = np.cumsum([1, *widths])
            return {c.name: means[:, a:b] for c, a, b in zip(columns, cuts, cuts[1:])}

        return wait

    def tick(self, n):
        if self.bar is not None:
            self.bar.update(n)


def fetch(tensor):
    """A tensor of the device as a numpy array: the one place where the engine waits for the device."""
    return tensor.cpu().numpy()


def keep_memory() -> None:
    """Let glibc reuse freed memory instead of handing it back to the system after each large tensor:
    up to twice as fast."""
    import ctypes
    import sys

    if sys.platform.startswith("linux"):
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
        for option in (-3, -1) if mallopt else ():  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
            mallopt(option, 1 << 30)


def out_of_memory(error):
    """PyTorch has a type for CUDA's own allocator only; the CPU's and the libraries' are told by their text."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(
        text in str(error) for text in ("DefaultCPUAllocator", "_ALLOC_FAILED")
    )


class NotFinite(Exception):
    """The features of image number args[0] hold NaN or infinity."""


def all_finite(features):
    """(B,) bool, without a copy of the features: a sum is finite only where all of its terms are."""
    sums = [t.flatten(1).sum(1, dtype=torch.float32) for t in features.tensors()]
    return torch.isfinite(torch.stack(sums, 1)).all(1)


def score_plan(plan: Plan, wanted: Callable, batch_bar: Any = None, workers: int = 0) -> Iterator[tuple]:
    """Run a plan -> yields (perturbation, unit, {column name: float64 (pairs of the unit, values)}) in order.

    wanted(perturbation, unit) -> the columns to compute there, [] for what is done. Raises WorkError with the pair's
    name when an image cannot be read or a feature or score is not finite.
    """
    model = plan.model
    jobs, requests = [], []
    for references, units in plan.blocks:
        todo = [(u, [(p, c) for p in plan.perturbations if (c := wanted(p, u))]) for u in units]
        todo = [(u, ps) for u, ps in todo if ps]
        if todo:
            variants = sorted({variant(p) for u, ps in todo for p, _ in ps if plan.as_it_is(p, u)})
            jobs.append((references, variants, todo))
            requests += [request(plan, r, "reference", variants) for r in references if variants]
            for u, ps in todo:
                plain = [p for p, _ in ps if plan.as_it_is(p, u)]
                requests += [request(plan, plan.pairs[i][0], "distorted", plain) for i in u if plain]
                requests += [aligned_request(plan, i, p) for p, _ in ps for i in plan.moved(p, u)]
    if not jobs:
        return
    engine = Engine(model, plan.batch, batch_bar)
    stream = images_of(requests, plan.resize, model.short_side, engine.device, workers)
    with torch.inference_mode():
        waiting = None  # one unit's results stay on the device while the next unit's batches are queued
        for references, variants, todo in jobs:
            loaded = [next(stream) for _ in references if variants]
            position = {r.path: i for i, r in enumerate(references)}
            reference_features = {}
            for k, v in enumerate(variants):
                try:
                    reference_features[v] = engine.references([images[k] for images in loaded])
                except NotFinite as error:
                    raise not_finite(model, references[error.args[0]].path, v) from None
            for unit, columns in todo:
                plain = [p for p, _ in columns if plan.as_it_is(p, unit)]
                loaded = [next(stream) for _ in unit if plain]
                for perturbation, some in columns:
                    ready = None
                    if perturbation in plain:
                        k = plain.index(perturbation)
                        reference_tiles = [
                            reference_features[variant(perturbation)][position[plan.pairs[i][1].path]] for i in unit
                        ]
                        ready = engine.compare([images[k] for images in loaded], reference_tiles, some)
                    if moved := plan.moved(perturbation, unit):
                        aligned = compare_aligned(engine, plan, perturbation, moved, stream, some)
                        ready = joined(ready, aligned, [unit.index(i) for i in moved])
                    if waiting:
                        yield finish(plan, *waiting)
                    waiting = perturbation, unit, ready
        yield finish(plan, *waiting)


def compare_aligned(engine, plan, perturbation, moved, stream, columns):
    """As Engine.compare, of the pairs of a unit that are aligned: each has a reference of its own."""
    pairs = [next(stream) for _ in moved]
    try:
        references = engine.references([reference for reference, _ in pairs])
    except NotFinite as error:
        raise not_finite(engine.model, plan.pairs[moved[error.args[0]]][1].path, perturbation) from None
    return engine.compare([distorted for _, distorted in pairs], references, columns)


def joined(plain, aligned, places):
    """Two results of Engine.compare as one: of the unit's pairs in these places that of `aligned`,
    else that of `plain`."""

    def wait():
        try:
            new = aligned()
        except NotFinite as error:
            raise NotFinite(places[error.args[0]]) from None
        values = plain() if plain else {name: np.empty_like(numbers) for name, numbers in new.items()}
        for name, numbers in new.items():
            values[name][places] = numbers
        return values

    return wait


def aligned_request(plan, i, perturbation):
    distorted, reference = plan.pairs[i]
    return AlignedPair(distorted.path, reference.path, perturbation, plan.aligned[i, perturbation])


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
    where = f"{path} under {perturbation[0]}: {what} of {model.name} is NaN or infinite"
    if not model.weights and not model.carried:  # a formula that has no value there
        return WorkError(f"{where}; leave out that pair or that method")
    half = model.options.precision in ("paper", "fp16")  # float16 ends at 65504
    advice = "use --precision fp32 (with --overwrite), or check the weights" if half else "check the weights"
    return WorkError(f"{where} in precision {model.options.precision}; {advice}")
