"""Distances between the features of two windows: pure functions, two feature stacks -> one number a window.

A stack is a `Features`: blocks of tokens (B, T, C) or of maps (B, C, H, W), and/or an embedding. Argument order is
(distorted, reference). Formulas: METHOD.md; Ghildyal et al., ICASSP 2025, and Liao et al., IEEE TIP 2024
(skld, jsd, wsd). Add a distance by adding an entry to DISTANCES.
"""
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F

EPSILON = 1e-7   # in the gradient, never in the value, of distances that end in log(s + 1)^0.25: about a step of s + 1 in float32
ROWS = 64  # Liao et al. compare distributions of 64 samples; the flat memory is cut into that many rows


class Features:
    """What a backbone gives for B windows: `blocks`, a list of (B, T, C) or (B, C, H, W), and `embedding`, (B, T, C)."""

    def __init__(self, blocks=(), embedding=None):
        self.blocks, self.embedding = list(blocks), embedding

    def map(self, function):
        """The same stack with every tensor replaced by function(tensor)."""
        return Features(map(function, self.blocks), None if self.embedding is None else function(self.embedding))

    @staticmethod
    def gather(parts):
        """One batch from [(features, index), ...]: the index-th window of each, in order."""
        def pick(tensors):
            return torch.stack([t[i] for t, i in tensors])
        blocks = [pick([(f.blocks[b], i) for f, i in parts]) for b in range(len(parts[0][0].blocks))]
        embedded = parts[0][0].embedding is not None
        return Features(blocks, pick([(f.embedding, i) for f, i in parts]) if embedded else None)

    def tensors(self):
        return self.blocks + ([] if self.embedding is None else [self.embedding])

    @cached_property
    def columns(self):
        """The token blocks as (B, 64, M): tokens padded with zeros or cropped to T' = 8 round(T / 8), then the flat
        memory of (L, T', C) cut into 64 rows (METHOD.md section 6: no spatial patches are formed)."""
        (batch, tokens, channels), kept = self.blocks[0].shape, 8 * round(self.blocks[0].shape[1] / 8)
        stack = self.blocks[0].new_empty(batch, len(self.blocks), kept, channels)
        stack[:, :, tokens:] = 0
        for b, block in enumerate(self.blocks):
            stack[:, b, :tokens] = block[:, :kept]
        return stack.view(batch, ROWS, -1)

    @cached_property
    def weights(self):
        """(B, 64, M) float32: the softmax of `columns` along M, of which wsd takes its columns (METHOD.md section 6)."""
        return self.columns.softmax(2, dtype=torch.float32)


# ---- block by block ---------------------------------------------------------------------------------------------

def l2_blocks(f, g, protocol="paper"):
    """(B, L): mean squared difference of each block, over tokens and channels."""
    return torch.stack([(a - b).square().flatten(1).mean(1) for a, b in zip(f.blocks, g.blocks)], 1)


def cos_blocks(f, g, protocol="paper"):
    """(B, L): mean of 1 - cosine of each block, along channels; of maps under `paper` along the width, as published.

    In float16 the eps of the cosine vanishes and a pair with an all-zero row is 0/0: it is left out of the mean, as the
    released code does. In float32 such a pair counts 1.
    """
    def block(a, b):
        axis = 1 if a.ndim == 4 and protocol == "corrected" else -1
        if a.dtype == torch.float16:
            distance = 1 - F.cosine_similarity(a, b, dim=axis)
            return torch.nan_to_num(distance, nan=torch.nan, posinf=0, neginf=0).flatten(1).nanmean(1)
        one, other = (torch.linalg.vector_norm(t, dim=axis) for t in (a, b))
        distance = 1 - (a * b).sum(axis) / (one.clamp_min(1e-8) * other.clamp_min(1e-8))
        if protocol == "corrected":
            distance = torch.where((one == 0) & (other == 0), 0, distance)   # nothing there in either: no difference
        return distance.flatten(1).mean(1)
    return torch.stack([block(a, b) for a, b in zip(f.blocks, g.blocks)], 1)


# ---- distributions: u, v are (B, 64, M), results (B, M) ------------------------------------------------------------

def kl(p, q, log_eps=0.0):
    """sum_k p log(p / q). A term whose p is 0 counts 0, a column whose sum is infinite counts 0 (METHOD.md section 6)."""
    alive, q = p > 0, q + log_eps
    none = q == 0
    infinite = (alive & none).any(1)
    # Ones inside the logs of what is left out: a gradient through a log of 0 is NaN, even where nothing depends on it
    ratio = torch.where(alive, p + log_eps, 1).log() - torch.where(none, 1, q).log()
    return torch.where(infinite, 0, torch.where(alive, p * ratio, 0).sum(1))


def plain(total):
    """Whether these sums need none of the rules of `kl`, so that a shorter way to them may be taken. Not asked in float16,
    where the order of operations shows, nor of a CUDA device, which would have to be waited for."""
    return total.dtype != torch.float16 and not total.is_cuda and bool(torch.isfinite(total).all())


def symmetric_kl(p, q, log_eps=0.0, logs=None):
    """(KL(p||q) + KL(q||p)) / 2 of each column; logs: (p.log(), q.log()) where they are there already."""
    if not log_eps:
        log_p, log_q = logs or (p.log(), q.log())
        total = ((p - q) * (log_p - log_q)).sum(1) / 2
        if plain(total):
            return total
    return (kl(p, q, log_eps) + kl(q, p, log_eps)) / 2


def jensen_shannon(p, q, log_eps=0.0, logs=None):
    """(KL(p||m) + KL(q||m)) / 2 of each column with m = (p + q) / 2; log_eps is added inside the log of m."""
    m = (p + q) / 2 + log_eps
    log_p, log_q = logs or (p.log(), q.log())
    log_m = m.log()
    total = (p * (log_p - log_m) + q * (log_q - log_m)).sum(1) / 2
    return total if plain(total) else (kl(p, m) + kl(q, m)) / 2


def wasserstein(u, v, p=1):
    """1-D Wasserstein cost of each column on the support 0..63, weights not normalised, no root (p = 1 or 2).

    As POT's wasserstein_1d gives it: the lighter column receives its missing mass at the last support point, so for
    p = 1 the cost is the sum of |U_k - V_k| over k < 63 with U, V the cumulative sums; otherwise the quantile functions
    are integrated over t from 0 to the larger total.
    """
    if p == 1:
        lower = torch.ones(ROWS - 1, ROWS, dtype=u.dtype, device=u.device).tril()
        return (lower @ (u - v)).abs().sum(1)   # the product is a cumulative sum; a strided cumsum is slower
    U, V = (w.transpose(1, 2).contiguous().cumsum(-1) for w in (u, v))   # (B, M, 64)
    k, cost = torch.arange(ROWS, device=u.device), 0
    # The steps of U and V, merged, cut the integral into pieces: first those that end at a step of U, then at one of V
    for a, b, ties in ((U, V, False), (V, U, True)):
        rank = torch.searchsorted(b, a, right=ties)
        start = torch.maximum(F.pad(b, (1, 0)).gather(-1, rank), F.pad(a, (1, 0))[..., :-1])
        cost = cost + ((a - start).clamp(min=0) * (rank.clamp(max=ROWS - 1) - k).abs() ** p).sum(-1)
    return cost


def with_euclid(d, squares):
    """d + w(d) * squares, w(d) = 1 / (sqrt(exp(-1 / (d + 10))) (d + 10)^2) (Liao et al. 2024); squares: ||x - y||^2 of each
    column."""
    weight = 1 / ((-1 / (d + 10)).exp().sqrt() * (d + 10) ** 2)
    return d + weight * squares


class FourthRoot(torch.autograd.Function):
    """t^0.25 with the slope of (t + EPSILON)^0.25: the slope of the root itself is infinite at 0."""

    @staticmethod
    def forward(context, t):
        context.save_for_backward(t)
        return t ** 0.25

    @staticmethod
    def backward(context, gradient):
        t, = context.saved_tensors
        return gradient * 0.25 * (t + EPSILON) ** -0.75


def squash(s):
    """log(s + 1)^0.25. log and not log1p, as published: in float32 s has a step of 1.2e-7 here. Its gradient is finite."""
    return FourthRoot.apply((s + 1).log())


class Columns:
    """Some of the columns of two windows, x and y (B, 64, m), with what several distances need of them computed once.
    weights: the same columns of either's softmax along all M, where asked for."""

    def __init__(self, x, y, *weights):
        self.x, self.y, self.weights = x, y, weights

    @cached_property
    def distributions(self):
        """softmax along the 64, plus 1e-10 (which vanishes in float16, as it did for the authors)."""
        return self.x.softmax(1) + 1e-10, self.y.softmax(1) + 1e-10

    @cached_property
    def logs(self):
        return tuple(p.log() for p in self.distributions)

    @cached_property
    def squares(self):
        return (self.x - self.y).square().sum(1)

    @cached_property
    def squares_wide(self):
        return (self.x.float() - self.y.float()).square().sum(1) if self.x.dtype == torch.float16 else self.squares


def skld(c, protocol):
    return with_euclid(symmetric_kl(*c.distributions, logs=c.logs), c.squares)


def jsd(c, protocol):
    return jensen_shannon(*c.distributions, logs=c.logs)


def wsd(c, protocol):
    """The released code takes the softmax along M, not along the 64."""
    u, v = c.weights if protocol == "paper" else (t.softmax(1, dtype=torch.float32) for t in (c.x, c.y))
    return with_euclid(wasserstein(u, v), c.squares_wide)


def over_columns(functions, f, g, protocol):
    """{name: (B,)} of the distances between columns, log(mean over columns + 1)^0.25, all in one pass. On a CPU a piece of
    the columns at a time, so that what is made of it stays in the cache: several times as fast."""
    x, y = f.columns, g.columns
    count, stacks = x.shape[2], [x, y]
    if wsd in functions.values() and protocol == "paper":
        stacks += [f.weights, g.weights]
    size = count if x.is_cuda else max(64, 2 ** 18 // (len(x) * ROWS))
    totals, kinds = dict.fromkeys(functions, 0), {}
    for pieces in zip(*(stack.split(size, 2) for stack in stacks)):
        piece = Columns(*pieces)
        for name, function in functions.items():
            d = function(piece, protocol)
            kinds[name], totals[name] = d.dtype, totals[name] + d.sum(1, dtype=torch.float32 if d.itemsize < 4 else d.dtype)
    return {name: squash((totals[name] / count).to(kinds[name])) for name in functions}


# ---- the distances ------------------------------------------------------------------------------------------------

def swd(f, g, protocol="paper", directions=12, seed=0):
    """Sliced Wasserstein-2 between the L-dimensional points of all (token, channel): mean over seeded random unit
    directions, sum over points. The authors' code draws other directions in each call; here they are the same for all."""
    total = 0
    n = len(f.blocks)
    units = F.normalize(torch.randn(directions, n, generator=torch.Generator().manual_seed(seed)), dim=1)
    a, b = (torch.stack([t.flatten(1).float() for t in x.blocks], 1) for x in (f, g))   # (B, L, T * C)
    for unit in units.to(a.device):
        u, v = (torch.einsum("l,bln->bn", unit, x).sort(-1).values for x in (a, b))
        total = total + (u - v).square().sum(1) / directions
    return total


def embedding_cos(f, g, protocol="paper"):
    """Mean over tokens of 1 - cosine of the embeddings, in float64: nearly equal ones agree to 1e-7, where float32 has
    no digits left. The authors' float16 embeddings (CLIP, precision paper) keep float16, steps of 4.9e-4 and all."""
    a, b = (e if e.dtype == torch.float16 else e.double() for e in (f.embedding, g.embedding))
    return (1 - F.cosine_similarity(a, b, dim=-1)).double().flatten(1).mean(1)


@dataclass(frozen=True)
class Distance:
    """A distance: `blocks(f, g, protocol) -> (B, L)`, summed over the blocks; or `columns(piece, protocol) -> (B, m)`, put
    together by over_columns; or `whole(f, g, protocol) -> (B,)`."""
    what: str
    blocks: object = None
    columns: object = None
    whole: object = None

    @property
    def tokens_only(self):
        """Defined for transformers, not for the maps of a CNN."""
        return self.blocks is None


DISTANCES = {
    "l2": Distance("mean squared difference, summed over blocks", blocks=l2_blocks),
    "cos": Distance("1 - cosine, mean over tokens (CNN: over channels and rows), summed over blocks", blocks=cos_blocks),
    "skld": Distance("symmetric KL of softmax columns plus a weighted Euclidean term", columns=skld),
    "jsd": Distance("Jensen-Shannon divergence of softmax columns", columns=jsd),
    "wsd": Distance("1-D Wasserstein cost of softmax columns plus a weighted Euclidean term", columns=wsd),
    "swd": Distance("sliced Wasserstein over seeded directions (in no table)", whole=swd),
}


def compare(names, f, g, protocol="paper"):
    """Distances between the windows of f (distorted) and g (reference) -> {name: (B,)}; what they share is computed once.

    Raises ValueError for a distance between tokens of the maps of a CNN.
    """
    entries = {name: DISTANCES[name] for name in names}
    for name, entry in entries.items():
        if entry.tokens_only and f.blocks[0].ndim != 3:
            raise ValueError(f"{name}: not defined for the maps of a CNN; it takes l2 and cos")
    found = {name: entry.blocks(f, g, protocol).sum(1) for name, entry in entries.items() if entry.blocks}
    found |= {name: entry.whole(f, g, protocol) for name, entry in entries.items() if entry.whole}
    between_columns = {name: entry.columns for name, entry in entries.items() if entry.columns}
    if between_columns:
        found |= over_columns(between_columns, f, g, protocol)
    return found
