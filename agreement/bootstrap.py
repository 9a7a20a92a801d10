"""Cluster bootstrap: how sure a correlation, or a difference of two, is when only the references count as independent.

    from agreement.bootstrap import cluster_bootstrap
    srcc = cluster_bootstrap(label, predictions, reference)["srcc"]   # predictions (M, N): M metrics, N pairs
    srcc.estimate, srcc.values      # on the data, on every resample
    srcc.interval(0, 1)             # quantiles of the difference, metric 0 minus 1; for verdicts: simultaneous.py

A resample draws as many references as there are, with replacement, and takes all pairs of each one drawn, the same for
every metric (so differences are paired). It is therefore nothing but a multiplicity w_c for each reference c, and every
statistic here is a function of W (K, C), K resamples at a time. They are exact on the expanded resample, ties included,
without expanding it. With w_i the multiplicity of the reference of pair i:

- plcc   from sums over references of 1, x, y, xx, yy, xy, weighted by W.
- srcc   Pairs are sorted once. With A_i = sum of w over smaller values, B_i = over smaller or equal ones, the mid-rank
         is (A_i + B_i + 1) / 2, so a cumulative sum of w in sorted order, read at the ends of the groups of ties, ranks
         a resample: once for the label and once for every metric.
- krcc   Concordant minus discordant pairs: sum over (i, j) of w_i w_j s_ij / 2, s_ij = sgn(x_i - x_j) sgn(y_i - y_j).
         Summed within references that is w' K w / 2, K (C, C) counted once; copies of a pair tie with each other in
         both variables, s = 0, as they should. Pairs untied in x: w' U w / 2, counted alike; tau-b = w'Kw / sqrt(w'Ux w
         w'Uy w).

Sources: Field & Welsh 2007 (JRSS B 69, bootstrapping clustered data); Efron 1987 (JASA 82, BCa intervals).
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

import numpy as np

from agreement.correlations import COEFFICIENTS, checked

CHUNK = 800_000  # pairs times resamples ranked at a time: bounds memory at a few times 8 * CHUNK bytes
RESAMPLES = 2000


@dataclass(frozen=True)
class Resampled:
    """A statistic of M metrics over C clusters: on the data, without each cluster (jackknife), on each cluster alone,
    and on every resample."""

    estimate: np.ndarray  # (M,)
    jackknife: np.ndarray  # (C, M)
    each: np.ndarray  # (C, M), in the order of np.unique of the clusters' names
    clusters: int  # that hold any data: where a statistic is of a part of the data, fewer than C
    statistic: Callable = field(repr=False, compare=False)  # (K, C) multiplicities -> (K, M)
    resamples: int = RESAMPLES
    seed: int | tuple[int, ...] = 0

    @cached_property
    def values(self) -> np.ndarray:
        """(resamples, M), computed when first asked for: verdicts need the jackknife alone (simultaneous.py)."""
        return self.statistic(multiplicities(len(self.jackknife), self.resamples, self.seed))

    def placed(self, columns: Sequence[int], count: int) -> "Resampled":
        """The same with the M metrics as `columns` of `count`, the others NaN:
        metrics that the statistic is not given for."""

        def wide(values):
            out = np.full((*values.shape[:-1], count), np.nan)
            out[..., columns] = values[..., : len(columns)]
            return out

        statistic, parts = self.statistic, ("estimate", "jackknife", "each")
        return replace(
            self, statistic=lambda W: wide(statistic(W)), **{part: wide(getattr(self, part)) for part in parts}
        )

    def interval(
        self, a: int, b: int | None = None, level: float = 0.95, method: str = "percentile"
    ) -> tuple[float, float]:
        """(low, high) of metric a, or of the difference a - b, from quantiles. Raises ValueError as `interval`.

        Intervals that verdicts may rest on, where clusters are few or differences many, are simultaneous.py's.
        """
        parts = (self.estimate, self.values, self.jackknife)
        estimate, values, jackknife = (v[..., a] - (0 if b is None else v[..., b]) for v in parts)
        return interval(values, estimate, jackknife, level, method)


def interval(values, estimate, jackknife=None, level=0.95, method="percentile"):
    """Bootstrap interval (low, high) from resampled values (R,).

    method "percentile": the quantiles of the values. "bca": these, corrected for bias and for an error that changes
    with the value (acceleration), which takes the leave-one-cluster-out values (C,). Raises ValueError when a resample
    has no value: all its predictions or labels were equal. Source: Efron 1987, the acceleration from the jackknife.
    """
    from scipy.special import ndtr, ndtri

    if not np.isfinite(values).all():
        raise ValueError(
            f"{np.sum(~np.isfinite(values))} of {len(values)} resamples hold constant predictions or labels: "
            "too few different references for an interval"
        )
    tail = np.array([(1 - level) / 2, (1 + level) / 2])
    if method == "bca":
        below = (np.sum(values < estimate) + np.sum(values == estimate) / 2) / len(values)
        bias = ndtri(np.clip(below, 0.5 / len(values), 1 - 0.5 / len(values)))  # finite also when all lie on one side
        spread = np.mean(jackknife) - jackknife
        squares = np.sum(spread**2)
        acceleration = np.sum(spread**3) / (6 * squares**1.5) if squares > 0 else 0.0
        z = bias + ndtri(tail)
        tail = ndtr(bias + z / (1 - acceleration * z))
    elif method != "percentile":
        raise ValueError(f"expected the method percentile or bca, found {method!r}")
    low, high = np.quantile(values, tail)
    return float(low), float(high)


@lru_cache(maxsize=4)
def multiplicities(clusters: int, resamples: int = RESAMPLES, seed: int | tuple[int, ...] = 0) -> np.ndarray:
    """(resamples, clusters), read-only: how often each cluster is drawn;
    the same for the same seed, whatever is resampled."""
    drawn = draw(np.random.default_rng(seed), clusters, resamples)
    drawn.setflags(write=False)
    return drawn


def draw(generator: np.random.Generator, clusters: int, resamples: int) -> np.ndarray:
    """The next (resamples, clusters) multiplicities of a generator: drawn in parts, they are those of one draw."""
    return generator.multinomial(clusters, np.full(clusters, 1 / clusters), size=resamples).astype(float)


def resample(
    statistic: Callable,
    clusters: int,
    resamples: int = RESAMPLES,
    seed: int | tuple[int, ...] = 0,
    present: int | None = None,
) -> Resampled:
    """Bootstrap any statistic(W (K, C)) -> (K, M) over C clusters -> Resampled.

    present: how many of the clusters the statistic looks at, where not all. Raises ValueError for fewer than 2
    clusters.
    """
    present = clusters if present is None else present
    if present < 2:
        raise ValueError(f"expected pairs of at least 2 references, found {present}: no bootstrap over references")
    W = np.concatenate([np.ones((1, clusters)), 1 - np.eye(clusters), np.eye(clusters)])
    estimate, jackknife, each = np.split(statistic(W), [1, 1 + clusters])
    return Resampled(estimate[0], jackknife, each, present, statistic, resamples, seed)


def mean_over_clusters(each: np.ndarray, resamples: int = RESAMPLES, seed: int | tuple[int, ...] = 0) -> Resampled:
    """Bootstrap the mean over clusters of a statistic of each (C, M), such as Resampled.each -> Resampled.

    Raises ValueError where a cluster has no value: its predictions or labels are all equal, or it holds one pair.
    """
    if not np.isfinite(each).all():
        raise ValueError(
            f"{np.sum(~np.isfinite(each).all(axis=1))} of {len(each)} references have no coefficient of their own: "
            "constant predictions or labels, or a single pair"
        )
    return resample(ratio(each, np.ones((len(each), 1))), len(each), resamples, seed)


def within(each: np.ndarray, sizes: np.ndarray) -> Callable:
    """statistic(W) -> (K, M): mean of clusters' own coefficients each (C, M) by Fisher's z, weighted by size - 3.

    sizes (C,). Clusters of 3 pairs or fewer have no weight; a coefficient of 1 has no z, and its metric then no value.
    Source: Hedges, Olkin 1985, Statistical methods for meta-analysis, chapter 11.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.arctanh(each)
    weight = np.maximum(0, np.asarray(sizes, dtype=float) - 3)[:, None]
    z = np.where(np.isfinite(z).all(axis=0), z, np.nan)
    mean = ratio(z * weight, weight)
    return lambda W: np.tanh(mean(W))


def cluster_bootstrap(
    label: np.ndarray,
    predictions: np.ndarray,
    clusters: np.ndarray,
    statistics: Sequence[str] = COEFFICIENTS,
    resamples: int = RESAMPLES,
    seed: int | tuple[int, ...] = 0,
    among: np.ndarray | None = None,
) -> dict[str, Resampled]:
    """Bootstrap correlations of M metrics with the label over clusters (references), paired across metrics.

    label (N,), predictions (M, N) oriented so that positive = agrees with people, clusters (N,) any labels (names).
    Returns {statistic: Resampled} for the names in `statistics` (keys of STATISTICS). The estimates are the
    coefficients of the data. among: names of all clusters to resample, where these pairs are of some of them only: so
    that parts of one data set are resampled together. Raises ValueError for NaN, lengths that differ, constant input,
    fewer than 2 clusters.
    """
    predictions = np.atleast_2d(np.asarray(predictions, dtype=float))
    for prediction in predictions:
        _, label = checked(prediction, label)
    names, member = np.unique(np.asarray(clusters), return_inverse=True)
    if len(member) != len(label):
        raise ValueError(f"expected a cluster for each of {len(label)} pairs, found {len(member)}")
    everyone = names if among is None else np.unique(np.asarray(among))
    columns = np.searchsorted(everyone, names)
    order = np.argsort(member, kind="stable")
    data = label[order], predictions[:, order], np.bincount(member)

    def of_some(statistic):
        return statistic if len(names) == len(everyone) else lambda W: statistic(W[:, columns])

    return {
        name: resample(of_some(STATISTICS[name](*data)), len(everyone), resamples, seed, len(names))
        for name in statistics
    }


def ratio(numerators: np.ndarray, denominators: np.ndarray) -> Callable:
    """statistic(W) for sum of numerators (C, M) / sum of denominators (C, M or C, 1): means over references, rates."""
    numerators, denominators = (np.asarray(v, dtype=float).reshape(len(v), -1) for v in (numerators, denominators))

    def statistic(W):
        with np.errstate(invalid="ignore", divide="ignore"):
            return (W @ numerators) / (W @ denominators)

    return statistic


def pearson(label, predictions, sizes):
    """statistic(W) -> (K, M) of PLCC; label (N,), predictions (M, N) in the order of clusters of these sizes (C,)."""
    starts = np.cumsum(sizes) - sizes
    y, x = ((v - v.mean(-1, keepdims=True)) / v.std(-1, keepdims=True) for v in (label, predictions))
    # (C,) twice, (C, M) three times
    sums = [np.add.reduceat(v, starts, axis=-1).T for v in (y, y * y, x, x * x, x * y)]

    def statistic(W):
        n = W @ sizes
        with np.errstate(invalid="ignore"):
            sy, syy, sx, sxx, sxy = (((W @ s).T / n).T for s in sums)
        return _ratio(sxy - sx * sy[:, None], sxx - sx**2, (syy - sy**2)[:, None])

    return statistic


def spearman(label, predictions, sizes):
    """statistic(W) -> (K, M) of SRCC, mid-ranks recomputed in every resample, in the order sorted once;
    arguments as for pearson."""
    member = np.repeat(np.arange(len(sizes)), sizes)
    sorts = [_sorted_groups(v) for v in (label, *predictions)]

    def ranks(W, order, ends):  # W (K, C) -> centred mid-ranks times 2 in sorted order (K, N), sum of squares (K,)
        group = np.take(W, member[order], axis=1)  # copies of each sorted place
        up_to = np.cumsum(group, axis=1, dtype=W.dtype)  # pairs at or below it
        if len(ends) < len(order):  # ties: of each distinct value (K, G)
            up_to = np.take(up_to, ends, axis=1)
            group = np.concatenate([up_to[:, :1], up_to[:, 1:] - up_to[:, :-1]], axis=1)
        n, copies = up_to[:, -1:], group.astype(float)
        squares = (n[:, 0].astype(float) ** 3 - np.einsum("kg,kg,kg->k", copies, copies, copies)) / 3
        middle = (2 * up_to - group - n).astype(float)
        return (middle if len(ends) == len(order) else np.repeat(middle, np.diff(ends, prepend=-1), axis=1)), squares

    def some(W):
        y, yy = ranks(W, *sorts[0])
        weighted = np.empty_like(y)
        weighted[:, sorts[0][0]] = y
        weighted *= np.take(W, member, axis=1)
        out = np.empty((len(W), len(predictions)))
        for m, (order, ends) in enumerate(sorts[1:]):
            x, xx = ranks(W, order, ends)
            out[:, m] = _ratio(np.einsum("kn,kn->k", x, np.take(weighted, order, axis=1)), xx, yy)
        return out

    def statistic(W):
        W, rows = W.astype(np.int32), max(1, CHUNK // len(label))  # whole numbers add up faster than floats
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:  # numpy lets go of the interpreter's lock in these
            return np.concatenate(list(pool.map(some, [W[k : k + rows] for k in range(0, len(W), rows)])))

    return statistic


def kendall(label, predictions, sizes):
    """statistic(W) -> (K, M) of tau-b; arguments as for pearson. Counts all pairs of pairs once: N^2 bits a metric."""
    concordance, untied = _pair_counts(label, predictions, sizes)

    def quadratic(W, matrix):
        return np.einsum("kc,kc->k", W @ matrix, W)

    def statistic(W):
        return np.stack(
            [
                _ratio(quadratic(W, k), quadratic(W, u), quadratic(W, untied[0]))
                for k, u in zip(concordance, untied[1:])
            ],
            axis=1,
        )

    return statistic


STATISTICS = {"plcc": pearson, "srcc": spearman, "krcc": kendall}


def _ratio(covariance, *variances):
    """Correlation from its parts; NaN where a variance is zero (up to rounding), which `interval` refuses."""
    product = np.prod(np.broadcast_arrays(*[np.where(v > 1e-14, v, np.nan) for v in variances]), axis=0)
    return covariance / np.sqrt(product)


def _sorted_groups(values):
    """(order, ends): how to sort, and the last sorted place of each group of equal values."""
    order = np.argsort(values, kind="stable")
    return order, np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)


def _pair_counts(label, predictions, sizes):
    """Kendall's counts between clusters: concordance (M, C, C), untied (1 + M, C, C; the label first).

    For every cluster the comparisons "mine is larger" with all pairs are packed into bits, 64 to a word, each cluster
    padded to whole words. `larger in both` minus `larger in x, smaller in y`, plus the transpose (the other half of the
    signs), is K.
    """
    clusters = len(sizes)
    starts = np.cumsum(sizes) - sizes
    words = -(-sizes // 64)  # 64-bit words a cluster takes
    place = np.arange(len(label)) + np.repeat((np.cumsum(words) - words) * 64 - starts, sizes)
    dense = np.stack([np.unique(v, return_inverse=True)[1] for v in (label, *predictions)])
    dense = dense.astype(np.int16 if dense.max() < 2**15 - 1 else np.int32)
    padded = np.full((len(dense), words.sum() * 64), dense.max() + 1, dtype=dense.dtype)  # padding is larger than all
    padded[:, place] = dense

    def packed(bits):
        return np.packbits(bits, axis=1).view(np.uint64)

    def counted(bits):  # (rows, words) -> ones in each cluster (C,)
        return np.add.reduceat(np.bitwise_count(bits).sum(axis=0, dtype=np.int64), np.cumsum(words) - words)

    concordance = np.zeros((len(predictions), clusters, clusters))
    untied = np.zeros((len(dense), clusters, clusters))
    for c, (start, size) in enumerate(zip(starts, sizes)):
        in_cluster = dense[:, start : start + size, None]
        larger_y, smaller_y = packed(in_cluster[0] > padded[0]), packed(in_cluster[0] < padded[0])
        untied[0, c] = counted(larger_y)
        for m in range(len(predictions)):
            larger_x = packed(in_cluster[m + 1] > padded[m + 1])
            untied[m + 1, c] = counted(larger_x)
            concordance[m, c] = counted(larger_x & larger_y) - counted(larger_x & smaller_y)
    return (both + both.transpose(0, 2, 1) for both in (concordance, untied))
