"""Distances between the features of two windows: pure functions, two feature stacks -> one number a window.

A stack is a `Features`: blocks of tokens (B, T, C) or of maps (B, C, H, W), and/or an embedding. Argument order is
(distorted, reference). Formulas: docs/METHOD.md. Add a distance by adding an entry to DISTANCES, the one place that the
command line, --list, the table of the docs and the tests read: importing this file imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # named in annotations only
    import torch

EPSILON = 1e-7  # in the gradient, never in the value, of roots that may be taken at 0: about a step of s + 1 in float32
ROWS = 64  # Liao et al. compare distributions of 64 samples; the flat memory is cut into that many rows


class Features:
    """What a backbone gives for B windows: `blocks`, a list of (B, T, C) or (B, C, H, W), and `embedding`, (B, T,
    C)."""

    def __init__(self, blocks: Iterable[torch.Tensor] = (), embedding: torch.Tensor | None = None):
        self.blocks, self.embedding = list(blocks), embedding

    def map(self, function: Callable) -> Features:
        """The same stack with every tensor replaced by function(tensor)."""
        return Features(map(function, self.blocks), None if self.embedding is None else function(self.embedding))

    @staticmethod
    def gather(parts: Sequence[tuple[Features, int]]) -> Features:
        """One batch from [(features, index), ...]: the index-th window of each, in order."""
        import torch

        def pick(tensors):
            return torch.stack([t[i] for t, i in tensors])

        blocks = [pick([(f.blocks[b], i) for f, i in parts]) for b in range(len(parts[0][0].blocks))]
        embedded = parts[0][0].embedding is not None
        return Features(blocks, pick([(f.embedding, i) for f, i in parts]) if embedded else None)

    def tensors(self) -> list[torch.Tensor]:
        """All tensors: the blocks, then the embedding if there is one."""
        return self.blocks + ([] if self.embedding is None else [self.embedding])

    @cached_property
    def columns(self) -> torch.Tensor:
        """The token blocks as (B, 64, M): tokens padded with zeros or cropped to T' = 8 round(T / 8), then the flat
        memory of (L, T', C) cut into 64 rows (METHOD.md section 6: no spatial patches are formed)."""
        (batch, tokens, channels), rows = self.blocks[0].shape, 8 * round(self.blocks[0].shape[1] / 8)
        stack = self.blocks[0].new_empty(batch, len(self.blocks), rows, channels)
        stack[:, :, tokens:] = 0
        for b, block in enumerate(self.blocks):
            stack[:, b, :tokens] = block[:, :rows]
        return stack.view(batch, ROWS, -1)

    @cached_property
    def weights(self) -> torch.Tensor:
        """(B, 64, M) float32: the softmax of `columns` along M, of which wsd takes its columns (METHOD.md section
        6)."""
        import torch

        return self.columns.softmax(2, dtype=torch.float32)


# ---- block by block: the same block of two stacks -> (B,) ----------------------------------------------


class BlockPair:
    """The same block of two stacks, a and b, (B, T, C) or (B, C, H, W), with what several distances need of it computed
    once."""

    def __init__(self, a, b):
        self.a, self.b = a, b

    @cached_property
    def wide(self):
        """a and b in float32 at least: float16 features stay float16 for the published distances alone."""
        return tuple(x if x.itemsize >= 4 else x.float() for x in (self.a, self.b))

    @cached_property
    def grams(self):
        """(B, C, C) float64, the products of the channels, summed over positions. In float64 since what is made of them
        is 1 minus something near 1."""
        rows = [channels_by_positions(x).double() for x in (self.a, self.b)]
        return tuple(x @ x.mT for x in rows)


def channels_by_positions(x):
    """Tokens (B, T, C) or maps (B, C, H, W) -> (B, C, M)."""
    return x.mT if x.ndim == 3 else x.flatten(2)


def l2(pair, protocol="paper"):
    """Mean squared difference over tokens and channels."""
    return (pair.a - pair.b).square().flatten(1).mean(1)


def nl2(pair, protocol="paper"):
    """l2 over the mean square of both, so that no block outweighs the others by its scale: 0 to 2 for features of one
    sign, 4 at most. Two blocks of zeros are 0 apart."""
    a, b = pair.wide
    squares = (a.square() + b.square()).flatten(1).mean(1) / 2
    return (a - b).square().flatten(1).mean(1) / squares.clamp_min(1e-12)


def cos(pair, protocol="paper"):
    """Mean of 1 - cosine along channels; of maps under `paper` along the width, as published.

    In float16 the eps of the cosine vanishes and a pair with an all-zero row is 0/0: it is left out of the mean, as the
    released code does. In float32 such a pair counts 1.
    """
    import torch

    a, b = pair.a, pair.b
    axis = 1 if a.ndim == 4 and protocol == "corrected" else -1
    if a.dtype == torch.float16:
        distance = 1 - torch.cosine_similarity(a, b, dim=axis)
        return torch.nan_to_num(distance, nan=torch.nan, posinf=0, neginf=0).flatten(1).nanmean(1)
    one, other = (torch.linalg.vector_norm(t, dim=axis) for t in (a, b))
    distance = 1 - (a * b).sum(axis) / (one.clamp_min(1e-8) * other.clamp_min(1e-8))
    if protocol == "corrected":
        distance = torch.where((one == 0) & (other == 0), 0, distance)  # nothing there in either: no difference
    return distance.flatten(1).mean(1)


# ---- statistics over positions, not positions: what a shift of the image leaves nearly as it is. (B,), of one block


def dc(pair, protocol="paper"):
    """1 - squared distance correlation of the channels, each a point in the space of positions (Zhu et al.,
    arXiv:2211.04927).

    Distances between channels sqrt(d^2 / C^2 + 1e-5), double-centred: A, B; 1 - (sum AB + 1e-6) / (sqrt(sum AA sum BB)
    + 1e-6). 0 to 1 but for rounding; 0 where the channels of either block
    are all the same.
    """
    (a, rows_a), (b, rows_b) = (channel_distances(products) for products in pair.grams)

    def product(x, y, rows_x, rows_y):
        """Sum of the products of two double-centred matrices, without centring them: rows are the means of their
        rows."""
        count = x.shape[-1]
        means = rows_x.mean(1) * rows_y.mean(1)
        return (x * y).sum((1, 2)) - 2 * count * (rows_x * rows_y).sum(1) + count**2 * means

    ab = product(a, b, rows_a, rows_b)
    scale = (product(a, a, rows_a, rows_a) * product(b, b, rows_b, rows_b)).clamp_min(1e-40).sqrt()
    return 1 - (ab + 1e-6) / (scale + 1e-6)


def channel_distances(products):
    """(B, C, C) products of channels -> their distances (B, C, C), and the means of the rows (B, C)."""
    count = products.shape[-1]
    squares = products.diagonal(dim1=1, dim2=2) / count**2
    distances = products * (-2 / count**2)
    distances += squares[:, :, None]  # in place: passes over these matrices are what the time goes into
    distances += squares[:, None]
    distances = distances.clamp_min_(0).add_(1e-5).sqrt_()
    return distances, distances.mean(2)


def gram(pair, protocol="paper"):
    """1 - structural similarity of the Gram matrices over blocks of 4 x 4 (Zhang et al., DeepSSIM, IEEE TPAMI 2025).

    Of each block (2 cov + 1e-6) / (var + var + 1e-6), biased; a last block is filled up with zeros. 0 to 2.
    """
    from torch.nn.functional import avg_pool2d, pad

    def centred(x):  # before the squares are taken: a Gram matrix may be large and nearly flat
        means, side = avg_pool2d(x, 4), x.shape[-1] // 4
        blocks = x.view(-1, side, 4, side, 4) - means[:, :, None, :, None]
        return blocks.view_as(x)

    more = -pair.grams[0].shape[-1] % 4
    a, b = (centred(pad(x, (0, more, 0, more)) if more else x) for x in pair.grams)
    similarity = (2 * avg_pool2d(a * b, 4) + 1e-6) / (avg_pool2d(a * a, 4) + avg_pool2d(b * b, 4) + 1e-6)
    return 1 - similarity.mean((1, 2))


def moments(pair, protocol="paper"):
    """The two terms of DISTS as distances (Ding et al., IEEE TPAMI 2022, eq. 6 and 7): of a channel with means m, n and
    standard deviations s, t over positions (m - n)^2 / (m^2 + n^2 + 1e-6) + (s - t)^2 / (s^2 + t^2 + 1e-6), mean over
    channels. 0 to 3."""

    def mean_and_variance(x):
        positions = 1 if x.ndim == 3 else (2, 3)
        mean = x.mean(positions, keepdim=True)
        return mean.flatten(1), (x - mean).square().mean(positions)

    (m, v), (n, w) = map(mean_and_variance, pair.wide)
    spread = (root(v, 0.5) - root(w, 0.5)).square() / (v + w + 1e-6)
    return ((m - n).square() / (m.square() + n.square() + 1e-6) + spread).mean(1)


# ---- distributions: u, v are (B, 64, M), results (B, M) ------------------------------------------------------------


def kl(p, q, log_eps=0.0):
    """sum_k p log(p / q). A term whose p is 0 counts 0, a column whose sum is infinite counts 0 (METHOD.md section
    6)."""
    import torch

    alive, q = p > 0, q + log_eps
    none = q == 0
    infinite = (alive & none).any(1)
    # Ones inside the logs of what is left out: a gradient through a log of 0 is NaN, even where nothing depends on it
    ratio = torch.where(alive, p + log_eps, 1).log() - torch.where(none, 1, q).log()
    return torch.where(infinite, 0, torch.where(alive, p * ratio, 0).sum(1))


def plain(total):
    """Whether these sums need none of the rules of `kl`, so that a shorter way to them may be taken. Not asked in
    float16, where the order of operations shows, nor of a CUDA device, which would have to be waited for."""
    import torch

    return total.dtype != torch.float16 and not total.is_cuda and bool(torch.isfinite(total).all())


def symmetric_kl(p: torch.Tensor, q: torch.Tensor, log_eps: float = 0.0, logs: tuple | None = None) -> torch.Tensor:
    """(KL(p||q) + KL(q||p)) / 2 of each column; logs: (p.log(), q.log()) where they are there already."""
    if not log_eps:
        log_p, log_q = logs or (p.log(), q.log())
        total = ((p - q) * (log_p - log_q)).sum(1) / 2
        if plain(total):
            return total
    return (kl(p, q, log_eps) + kl(q, p, log_eps)) / 2


def jensen_shannon(p: torch.Tensor, q: torch.Tensor, log_eps: float = 0.0, logs: tuple | None = None) -> torch.Tensor:
    """(KL(p||m) + KL(q||m)) / 2 of each column with m = (p + q) / 2; log_eps is added inside the log of m."""
    m = (p + q) / 2 + log_eps
    log_p, log_q = logs or (p.log(), q.log())
    log_m = m.log()
    total = (p * (log_p - log_m) + q * (log_q - log_m)).sum(1) / 2
    return total if plain(total) else (kl(p, m) + kl(q, m)) / 2


def wasserstein(u: torch.Tensor, v: torch.Tensor, p: int = 1) -> torch.Tensor:
    """1-D Wasserstein cost of each column on the support 0..63, weights not normalised, no root (p = 1 or 2).

    As POT's wasserstein_1d gives it: the lighter column receives its missing mass at the last support point, so for
    p = 1 the cost is the sum of |U_k - V_k| over k < 63 with U, V the cumulative sums; otherwise the quantile functions
    are integrated over t from 0 to the larger total.
    """
    import torch
    from torch.nn.functional import pad

    if p == 1:
        lower = torch.ones(ROWS - 1, ROWS, dtype=u.dtype, device=u.device).tril()
        return (lower @ (u - v)).abs().sum(1)  # the product is a cumulative sum; a strided cumsum is slower
    U, V = (w.transpose(1, 2).contiguous().cumsum(-1) for w in (u, v))  # (B, M, 64)
    k, cost = torch.arange(ROWS, device=u.device), torch.zeros_like(U[..., 0])
    # The steps of U and V, merged, cut the integral into pieces: first those that end at a step of U, then at one of V
    for a, b, ties in ((U, V, False), (V, U, True)):
        rank = torch.searchsorted(b, a, right=ties)
        start = torch.maximum(pad(b, (1, 0)).gather(-1, rank), pad(a, (1, 0))[..., :-1])
        cost = cost + ((a - start).clamp(min=0) * (rank.clamp(max=ROWS - 1) - k).abs() ** p).sum(-1)
    return cost


def with_euclid(d: torch.Tensor, squares: torch.Tensor) -> torch.Tensor:
    """d + w(d) * squares, w(d) = 1 / (sqrt(exp(-1 / (d + 10))) (d + 10)^2) (Liao et al. 2024); squares: ||x - y||^2 of
    each column."""
    weight = 1 / ((-1 / (d + 10)).exp().sqrt() * (d + 10) ** 2)
    return d + weight * squares


def root(t, power):
    """t ** power with the slope of (t + EPSILON) ** power: the slope of the root itself is infinite at 0."""
    sloped = (t + EPSILON) ** power
    return (t**power).detach() + (sloped - sloped.detach())  # adds exactly 0


def squash(s: torch.Tensor) -> torch.Tensor:
    """log(s + 1)^0.25. log and not log1p, as published: in float32 s has a step of 1.2e-7 here. Its gradient is
    finite."""
    return root((s + 1).log(), 0.25)


class Columns:
    """Some of the columns of two windows, x and y (B, 64, m), with what several distances need of them computed once.
    weights: the same columns of either's softmax along all M, where asked for."""

    def __init__(self, x, y, *weights):
        self.x, self.y, self.weights = x, y, weights

    @cached_property
    def distributions(self) -> tuple[torch.Tensor, torch.Tensor]:
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
        import torch

        return (self.x.float() - self.y.float()).square().sum(1) if self.x.dtype == torch.float16 else self.squares


def skld(c: Columns, protocol):
    return with_euclid(symmetric_kl(*c.distributions, logs=c.logs), c.squares)


def jsd(c: Columns, protocol):
    return jensen_shannon(*c.distributions, logs=c.logs)


def wsd(c, protocol):
    """The released code takes the softmax along M, not along the 64."""
    import torch

    u, v = c.weights if protocol == "paper" else (t.softmax(1, dtype=torch.float32) for t in (c.x, c.y))
    return with_euclid(wasserstein(u, v), c.squares_wide)


def over_columns(functions, f, g, protocol):
    """{name: (B,)} of the distances between columns, log(mean over columns + 1)^0.25, all in one pass. On a CPU a piece
    of the columns at a time, so that what is made of it stays in the cache: several times as fast."""
    import torch

    x, y = f.columns, g.columns
    count, stacks = x.shape[2], [x, y]
    if wsd in functions.values() and protocol == "paper":
        stacks += [f.weights, g.weights]
    size = count if x.is_cuda else max(64, 2**18 // (len(x) * ROWS))
    totals, kinds = dict.fromkeys(functions, 0), {}
    for pieces in zip(*(stack.split(size, 2) for stack in stacks)):
        piece = Columns(*pieces)
        for name, function in functions.items():
            d = function(piece, protocol)
            kinds[name], totals[name] = (
                d.dtype,
                totals[name] + d.sum(1, dtype=torch.float32 if d.itemsize < 4 else d.dtype),
            )
    return {name: squash((totals[name] / count).to(kinds[name])) for name in functions}


# ---- the distances ------------------------------------------------------------------------------------------------


def swd(f, g, protocol="paper", directions=12, seed=0):
    """Sliced Wasserstein-2 between the L-dimensional points of all (token, channel): mean over seeded random unit
    directions, sum over points. The authors' code draws other directions in each call; here they are the same for
    all."""
    import torch

    total = 0
    n = len(f.blocks)
    units = torch.nn.functional.normalize(
        torch.randn(directions, n, generator=torch.Generator().manual_seed(seed)), dim=1
    )
    a, b = (torch.stack([t.flatten(1).float() for t in x.blocks], 1) for x in (f, g))  # (B, L, T * C)
    for unit in units.to(a.device):
        u, v = (torch.einsum("l,bln->bn", unit, x).sort(-1).values for x in (a, b))
        total = total + (u - v).square().sum(1) / directions
    return total


def embedding_cos(f: Features, g: Features, protocol: str = "paper") -> torch.Tensor:
    """Mean over tokens of 1 - cosine of the embeddings, in float64: nearly equal ones agree to 1e-7, where float32 has
    no digits left. The authors' float16 embeddings (CLIP, precision paper) keep float16, steps of 4.9e-4 and all."""
    import torch

    a, b = (e if e.dtype == torch.float16 else e.double() for e in (f.embedding, g.embedding))
    return (1 - torch.cosine_similarity(a, b, dim=-1)).double().flatten(1).mean(1)


@dataclass(frozen=True)
class Distance:
    """A distance: `block(pair, protocol) -> (B,)` of each block, their sum or mean; or `columns(piece, protocol) -> (B,
    m)`, put together by over_columns; or `whole(f, g, protocol) -> (B,)`. All are 0 or more but for rounding, and
    symmetric."""

    what: str
    block: Callable | None = None
    columns: Callable | None = None
    whole: Callable | None = None
    mean: bool = False  # of the blocks' numbers, not their sum
    citation: str = ""  # of its idea, where that is not the paper's

    @property
    def tokens_only(self):
        """Defined for transformers, not for the maps of a CNN."""
        return self.block is None

    def total(self, blocks):
        """The numbers of the blocks (B, L) -> the score (B,)."""
        return blocks.mean(1) if self.mean else blocks.sum(1)


DISTANCES = {
    "l2": Distance("mean squared difference, summed over blocks", l2),
    "cos": Distance(
        "1 - cosine, mean over tokens, summed over blocks; of CNNs under --protocol paper over channels and rows, "
        "where in float32 rows of zeros count 1: identical images need not score 0",
        cos,
    ),
    "skld": Distance("symmetric KL of softmax columns plus a weighted Euclidean term", columns=skld),
    "jsd": Distance("Jensen-Shannon divergence of softmax columns", columns=jsd),
    "wsd": Distance("1-D Wasserstein cost of softmax columns plus a weighted Euclidean term", columns=wsd),
    "swd": Distance("sliced Wasserstein over seeded directions (in no table)", whole=swd),
    "nl2": Distance("l2 of each block over its mean square, summed over blocks (in no table)", nl2),
    "dc": Distance(
        "1 - distance correlation of the channels, mean over blocks (in no table)",
        dc,
        mean=True,
        citation="Zhu et al., DeepDC, arXiv:2211.04927, 2022",
    ),
    "gram": Distance(
        "1 - structural similarity of Gram matrices, mean over blocks (in no table)",
        gram,
        mean=True,
        citation="Zhang et al., DeepSSIM, IEEE TPAMI 2025",
    ),
    "moments": Distance(
        "differences of the channels' means and deviations, summed over blocks (in no table)",
        moments,
        citation="Ding et al., DISTS, IEEE TPAMI 2022",
    ),
}


def of_blocks() -> list[str]:
    """The names of the distances that are made of a number a block: defined for the maps of a CNN, and for
    --per-layer."""
    return [name for name, entry in DISTANCES.items() if entry.block]


def block_by_block(names: Sequence[str], f: Features, g: Features, protocol: str = "paper") -> dict[str, torch.Tensor]:
    """Distances of_blocks between the windows of f and g -> {name: (B, L)}; what they share of a block is computed
    once."""
    import torch

    values = {name: [] for name in names}
    for a, b in zip(f.blocks, g.blocks):
        pair = BlockPair(a, b)
        for name in names:
            values[name].append(DISTANCES[name].block(pair, protocol))
    return {name: torch.stack(blocks, 1) for name, blocks in values.items()}


def compare_with_blocks(
    names: Sequence[str], f: Features, g: Features, protocol: str = "paper"
) -> dict[str, torch.Tensor]:
    """Distances of_blocks between the windows of f and g -> {name: (B, 1 + L)}: that of `compare`, then one a block."""
    import torch

    blocks = block_by_block(names, f, g, protocol)
    return {name: torch.cat([DISTANCES[name].total(values)[:, None], values], 1) for name, values in blocks.items()}


def compare(names: Sequence[str], f: Features, g: Features, protocol: str = "paper") -> dict[str, torch.Tensor]:
    """Distances between the windows of f (distorted) and g (reference) -> {name: (B,)}; what they share is computed
    once.

    Raises ValueError for a distance between tokens of the maps of a CNN.
    """
    entries = {name: DISTANCES[name] for name in names}
    for name, entry in entries.items():
        if entry.tokens_only and f.blocks[0].ndim != 3:
            raise ValueError(f"{name}: not defined for the maps of a CNN; it takes {', '.join(of_blocks())}")
    blocks = block_by_block([name for name, entry in entries.items() if entry.block], f, g, protocol)
    scores = {name: entries[name].total(values) for name, values in blocks.items()}
    scores |= {name: entry.whole(f, g, protocol) for name, entry in entries.items() if entry.whole}
    between_columns = {name: entry.columns for name, entry in entries.items() if entry.columns}
    if between_columns:
        scores |= over_columns(between_columns, f, g, protocol)
    return scores
