"""Distances between the features of two windows: pure functions, two feature stacks -> one number a window.

A stack is a `Features`: blocks of tokens (B, T, C) or of maps (B, C, H, W), and/or an embedding. Argument order is
(distorted, reference). Formulas: METHOD in the README; Ghildyal et al., ICASSP 2025, and Liao et al., IEEE TIP 2024
(skld, jsd, wsd). Add a distance by adding an entry to DISTANCES.
"""
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F

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
        stack = self.blocks[0].new_zeros(batch, len(self.blocks), kept, channels)
        for b, block in enumerate(self.blocks):
            stack[:, b, :tokens] = block[:, :kept]
        return stack.view(batch, ROWS, -1)

    @cached_property
    def distribution(self):
        """softmax of `columns` along the 64, plus 1e-10 (which vanishes in float16, as it did for the authors)."""
        return self.columns.softmax(1) + 1e-10


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
        cosine = F.cosine_similarity(a, b, dim=1 if a.ndim == 4 and protocol == "corrected" else -1)
        return torch.nan_to_num(1 - cosine, nan=torch.nan, posinf=0, neginf=0).flatten(1).nanmean(1)
    return torch.stack([block(a, b) for a, b in zip(f.blocks, g.blocks)], 1)


# ---- distributions: u, v are (B, 64, M), results (B, M) ------------------------------------------------------------

def kl(p, q, log_eps=0.0):
    """sum_k p log(p / q). A term whose p is 0 counts 0, a column whose sum is infinite counts 0 (METHOD.md section 6)."""
    terms = p * ((p + log_eps).log() - (q + log_eps).log()) if log_eps else p * (p.log() - q.log())
    total = terms.sum(1)
    if torch.isfinite(total).all():
        return total
    total = torch.where(p > 0, terms, 0).sum(1)
    return torch.where(torch.isinf(total), 0, total)


def symmetric_kl(p, q, log_eps=0.0):
    """(KL(p||q) + KL(q||p)) / 2 of each column."""
    return (kl(p, q, log_eps) + kl(q, p, log_eps)) / 2


def jensen_shannon(p, q, log_eps=0.0):
    """(KL(p||m) + KL(q||m)) / 2 of each column with m = (p + q) / 2; log_eps is added inside the log of m."""
    m = (p + q) / 2 + log_eps
    return (kl(p, m) + kl(q, m)) / 2


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


def with_euclid(d, x, y):
    """d + w(d) * ||x - y||^2 of each column, w(d) = 1 / (sqrt(exp(-1 / (d + 10))) (d + 10)^2) (Liao et al. 2024)."""
    weight = 1 / ((-1 / (d + 10)).exp().sqrt() * (d + 10) ** 2)
    return d + weight * (x - y).square().sum(1)


def squash(s):
    """log(s + 1)^0.25. log and not log1p, as published: in float32 s has a step of 1.2e-7 here."""
    return (s + 1).log() ** 0.25


# ---- the distances ------------------------------------------------------------------------------------------------

def l2(f, g, protocol="paper"):
    return l2_blocks(f, g, protocol).sum(1)


def cos(f, g, protocol="paper"):
    return cos_blocks(f, g, protocol).sum(1)


def skld(f, g, protocol="paper"):
    d = symmetric_kl(f.distribution, g.distribution)
    return squash(with_euclid(d, f.columns, g.columns).mean(1))


def jsd(f, g, protocol="paper"):
    return squash(jensen_shannon(f.distribution, g.distribution).mean(1))


def wsd(f, g, protocol="paper"):
    x, y = f.columns.float(), g.columns.float()
    axis = 2 if protocol == "paper" else 1   # the released code takes the softmax along M, not along the 64
    return squash(with_euclid(wasserstein(x.softmax(axis), y.softmax(axis)), x, y).mean(1))


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
    """A distance: `compare(distorted, reference, protocol) -> (B,)`; `blocks`, the same as (B, L) where it is a sum."""
    compare: object
    what: str
    tokens_only: bool = False      # defined for transformers, not for the maps of a CNN
    blocks: object = None


DISTANCES = {
    "l2": Distance(l2, "mean squared difference, summed over blocks", blocks=l2_blocks),
    "cos": Distance(cos, "1 - cosine, mean over tokens (CNN: over channels and rows), summed over blocks", blocks=cos_blocks),
    "skld": Distance(skld, "symmetric KL of softmax columns plus a weighted Euclidean term", tokens_only=True),
    "jsd": Distance(jsd, "Jensen-Shannon divergence of softmax columns", tokens_only=True),
    "wsd": Distance(wsd, "1-D Wasserstein cost of softmax columns plus a weighted Euclidean term", tokens_only=True),
    "swd": Distance(swd, "sliced Wasserstein over seeded directions (in no table)", tokens_only=True),
}
