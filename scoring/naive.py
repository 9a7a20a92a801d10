"""The authors' order of work, as slow as it is plain: the oracle of the tests and the yardstick of bench.py.

One window at a time, the reference recomputed for every distorted image, every distance and every perturbation, each
number fetched at once. The formulas are written out again from METHOD.md section 6, with loops and with POT's
wasserstein_1d, so that a mistake in distances.py cannot hide here.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from common.images import open_rgb
from robustness import perturb


def l2(f, g):
    return sum(((a - b) ** 2).mean().item() for a, b in zip(f, g))


def cos(f, g):
    return sum((1 - F.cosine_similarity(a, b, dim=-1)).mean().item() for a, b in zip(f, g))


def columns(blocks):
    """(L, T, C) -> (64, M)"""
    stack = torch.stack(list(blocks))
    rows = 8 * round(stack.shape[1] / 8)
    if rows > stack.shape[1]:
        stack = torch.cat([stack, torch.zeros(len(stack), rows - stack.shape[1], stack.shape[2])], 1)
    return stack[:, :rows].reshape(64, -1)


def euclid(d, x, y):
    return d + 1 / (torch.sqrt(torch.exp(-1 / (d + 10))) * (d + 10) ** 2) * ((x - y) ** 2).sum(0)


def final(s):
    return (torch.log(s.mean() + 1) ** 0.25).item()


def skld(f, g):
    x, y = columns(f), columns(g)
    p, q = F.softmax(x, 0) + 1e-10, F.softmax(y, 0) + 1e-10
    d = (F.kl_div(q.log(), p, reduction="none").sum(0) + F.kl_div(p.log(), q, reduction="none").sum(0)) / 2
    return final(euclid(d, x, y))


def jsd(f, g):
    x, y = columns(f), columns(g)
    p, q = F.softmax(x, 0) + 1e-10, F.softmax(y, 0) + 1e-10
    m = (p + q) / 2
    return final((F.kl_div(m.log(), p, reduction="none").sum(0) + F.kl_div(m.log(), q, reduction="none").sum(0)) / 2)


def wsd(f: list, g: list) -> float:
    """The distance wsd of one window. f, g: its blocks, L tensors (T, C)."""
    import ot

    x, y = columns(f), columns(g)
    support = torch.arange(64, dtype=x.dtype)[:, None].expand_as(x).contiguous()
    d = ot.wasserstein_1d(support, support, F.softmax(x, 1), F.softmax(y, 1), p=1, require_sort=False)
    return final(euclid(d, x, y))


DISTANCES = {"l2": l2, "cos": cos, "skld": skld, "jsd": jsd, "wsd": wsd}


def windows(image):
    """PIL image -> (n, 3, 224, 224), starts as in METHOD.md section 2."""
    pixels = torch.from_numpy(np.array(image, dtype=np.float32) / np.float32(255)).permute(2, 0, 1)
    cuts = []
    for length in pixels.shape[1:]:
        start, along = 0, []
        while start < length - 224:
            along.append(start)
            start += 200
        cuts.append([*along, length - 224])
    return torch.stack([pixels[:, y : y + 224, x : x + 224] for y in cuts[0] for x in cuts[1]])


def score(
    features: Callable,
    distorted: Path | str,
    reference: Path | str,
    distance: str,
    perturbation: str,
    pct: float = 1.0,
) -> float:
    """One score: features(x) -> list of blocks of one window (1, 3, 224, 224); the two paths;
    names as on the command line."""
    f, g = (
        windows(perturb(open_rgb(path), role, perturbation, pct))
        for path, role in ((distorted, "distorted"), (reference, "reference"))
    )
    scores = []
    with torch.inference_mode():
        for a, b in zip(f, g):
            one, other = features(a[None]), features(b[None])
            scores.append(DISTANCES[distance]([t[0] for t in one], [t[0] for t in other]))
    return sum(scores) / len(scores)
