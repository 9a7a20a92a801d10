"""Where two images differ according to a score: its terms put back on the pixels that they were computed from.

    python run_single_img.py -ref a.png -dis b.png -m st_vgg16 -d l2 --map out.png --map-layers --npy

A block's score is a mean over tokens (class token included) or over the positions of its maps, so each term has a
place; a class token has none, and its share is spread evenly. Each block is interpolated to the pixels (bilinear),
overlapping windows are cross-faded by weights that fall linearly to their borders, and the result is scaled so that its
mean is the score: the mean over windows counts pixels where they overlap twice, the map once.
"""

from dataclasses import dataclass
from math import isqrt
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import models
from common.errors import UsageError
from distances import Features
from methods import metrics
from methods.build import parse
from scoring.engine import Engine, all_finite, not_finite

MOST_PREFIX = 16  # class and register tokens; more means that the tokens form no square grid


@dataclass
class DistanceMap:
    """`layers` (L, H, W): float32, a map a block, whose means add up to the score. `total` (H, W):
    float64, their sum."""

    column: str
    score: float  # as printed without --map
    mean_is: str  # what the mean of `total` is: "the score", or "mse" for psnr
    layers: np.ndarray
    total: np.ndarray
    blocks: tuple  # (L,) the blocks' numbers


# ---- terms: two batches of features of one block -> (B, T) or (B, h, w), whose mean is the block's score


def channels(a):
    """The axis of the channels: last of tokens (B, T, C), second of maps (B, C, H, W)."""
    return 1 if a.ndim == 4 else -1


def mean_square(a, b):
    return (a.float() - b.float()).square().mean(channels(a))


def summed_square(a, b):
    return (a - b).square().sum(channels(a))


def one_minus_cosine(a, b):
    return torch.nan_to_num(1 - F.cosine_similarity(a.float(), b.float(), dim=channels(a))).clamp(min=0)


BACKBONE_TERMS = {"l2": mean_square, "cos": one_minus_cosine}
METRIC_TERMS = {metrics.psnr: mean_square, metrics.squared: summed_square}  # by the distance of the metric
MEANS = {metrics.psnr: "mse"}  # what the mean is where it is not the score


def terms_of(model, column):
    """(terms, what the map's mean is) of a score column.
    UsageError where its terms have no place, listing what has one."""
    if column.feature == "metric" and column.method in metrics.METRICS:
        distance = metrics.METRICS[column.method].distance
        if distance in METRIC_TERMS:
            return METRIC_TERMS[distance], MEANS.get(distance, "the score")
    elif column.feature in ("features", "embedding") and column.distance in BACKBONE_TERMS:
        refuse_width(column, model.options.protocol, models.backbone(parse(column.method)[0]).kind == "maps")
        return BACKBONE_TERMS[column.distance], "the score"
    have = [name for name, metric in metrics.METRICS.items() if metric.distance in METRIC_TERMS]
    raise UsageError(
        f"--map: the terms of {column.name} have no place in the image; maps are there for every backbone with -d "
        f"{' or '.join(BACKBONE_TERMS)}, and for {', '.join(have)}"
    )


def refuse_width(column, protocol, is_cnn):
    """UsageError for the published cosine of a CNN. timm's backbones are known to be CNNs only once they are loaded."""
    if is_cnn and column.distance == "cos" and column.feature == "features" and protocol == "paper":
        raise UsageError(
            f"--map: {column.name} takes its cosine along the width of the image, as published, so its terms have no "
            "place in a row; use --protocol corrected (the cosine along the channels) or -d l2"
        )


# ---- places


def on_grid(terms, name):
    """Terms of a block -> (B, h, w) with the same mean. Tokens (B, T) are a square grid after the class (and register)
    tokens, whose share is spread evenly."""
    if terms.ndim == 3:
        return terms
    tokens = terms.shape[1]
    side = isqrt(tokens)
    prefix = tokens - side * side
    if side < 2 or prefix > MOST_PREFIX:
        raise UsageError(f"--map: the {tokens} tokens of {name} form no square grid in the window; use another method")
    spread = terms[:, :prefix].sum(1) / tokens
    return (terms[:, prefix:] * (side * side / tokens) + spread[:, None]).unflatten(1, (side, side))


def ramp(length):
    """Weight of each pixel of a window along one axis: rises linearly from the borders to the middle."""
    place = torch.arange(length) + 0.5
    return torch.minimum(place, length - place) / length


def distance_map(model, column, distorted, reference, batch=8):
    """Images uint8 (3, H, W) on the model's device -> DistanceMap. Loads the model.

    Raises UsageError where the column has no map, WorkError for features that are NaN or infinite.
    """
    terms, mean_is = terms_of(model, column)
    engine = Engine(model, batch)
    height, width = distorted.shape[1:]
    canvas, weights, means, scores = None, torch.zeros(height, width), [], []

    def compute(part):
        f, g = (engine.features(engine.pixels([image], part)) for image in (distorted, reference))
        # in the memory layout of the engine: the same last digit
        g = Features.gather([(g, j) for j in range(len(part))])
        if not (all_finite(f) & all_finite(g)).all():
            raise not_finite(model, "the pair", ("none", 0.0))
        blocks = [(f.embedding, g.embedding)] if column.feature == "embedding" else list(zip(f.blocks, g.blocks))
        refuse_width(column, model.options.protocol, blocks[0][0].ndim == 4)
        if model.window is None and blocks[0][0].ndim == 3:
            raise UsageError(f"--map: the tokens of {column.name} form no square grid; leave --whole out")
        return part, [on_grid(terms(a, b), column.name) for a, b in blocks], model.compare(f, g, [column])[0][:, 0]

    with torch.inference_mode():
        for tiles in engine.cut([distorted]):
            for part, blocks, values in engine.smaller(compute, tiles):
                scores.append(values.cpu())
                means.append(torch.stack([block.double().mean((1, 2)) for block in blocks], 1).cpu())
                canvas = torch.zeros(len(blocks), height, width) if canvas is None else canvas
                for j, (_, y, x, h, w) in enumerate(part):
                    weight = torch.outer(ramp(h), ramp(w))
                    weights[y : y + h, x : x + w] += weight
                    for layer, block in zip(canvas, blocks):
                        pixels = F.interpolate(block[j][None, None], size=(h, w), mode="bilinear", align_corners=False)
                        layer[y : y + h, x : x + w] += weight * pixels[0, 0].cpu()
    layers = (canvas / weights).numpy()
    wanted = torch.cat(means).mean(0).numpy()  # the score of each block
    score = float(torch.cat(scores).mean())
    if mean_is == "the score" and wanted.sum() > 0:
        wanted = wanted * (max(score, 0.0) / wanted.sum())  # float16 features were averaged in float16
    for layer, target in zip(layers, wanted):
        mean = layer.mean(dtype=np.float64)
        layer *= target / mean if mean > 0 else 1.0
    total = layers.sum(0, dtype=np.float64)
    total *= wanted.sum() / total.mean() if total.mean() > 0 else 1.0  # the last digits, lost in float32
    chosen = model.options.layers if column.feature == "features" else None
    return DistanceMap(column.name, score, mean_is, layers, total, chosen or tuple(range(len(layers))))


def save(score_map: DistanceMap, path: Path | str, with_layers: bool = False) -> None:
    """The raw map as (H, W) float64 in path.npy; with_layers: also path-layers.npy, (L, H, W) float32.
    Raises OSError."""
    path = Path(path)
    np.save(path.with_suffix(".npy"), score_map.total)
    if with_layers:
        np.save(path.with_name(path.stem + "-layers.npy"), score_map.layers)
