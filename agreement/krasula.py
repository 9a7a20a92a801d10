"""Krasula's analysis: does a metric tell which images differ, and which of two is better? Numbers in, numbers out.

It looks at pairs of images whose subjective scores are, or are not, significantly different, so it needs the
uncertainty of each subjective score, and needs no mapping between the scales of the metric and of people.

Source: Krasula, Fliegel, Le Callet, Klima 2016 (QoMEX), On the accuracy of objective image and video quality models.
There, areas and rates are compared by tests that take the pairs of images as independent. Each image is in thousands of
pairs, so here they are functions of the references drawn (bootstrap.Resampled), and judged as all others are
(simultaneous.py).
"""

from collections.abc import Iterator

import numpy as np

from agreement.bootstrap import RESAMPLES, resample
from agreement.correlations import checked

BINS = 512  # of |difference of predictions|, by quantiles: areas without a reference or of a resample are binned
BLOCK = 2_000_000  # pairs of images taken at a time; KADID-10k has 51 million
STATISTICS = ("different_similar", "better_worse", "correct")
KINDS = SIMILAR, RIGHT, WRONG, EQUAL = range(4)  # of a pair: not different, or different and judged so


def pairs_of_images(images: int, block: int = BLOCK) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """All pairs i < j of so many images, about `block` of them at a time, but at least those of one i.

    Yields (their places in the list of all pairs, i (P,), j (P,)).
    """
    row, start = 0, 0
    while row < images - 1:
        lengths = np.arange(images - 1 - row, 0, -1)  # how many pairs there are of each i
        lengths = lengths[: max(1, np.searchsorted(np.cumsum(lengths), block, side="right"))]
        i = np.repeat(np.arange(row, row + len(lengths)), lengths)
        j = np.arange(len(i)) - np.repeat(np.cumsum(lengths) - lengths, lengths) + i + 1
        yield slice(start, start + len(i)), i, j
        row, start = row + len(lengths), start + len(i)


def different(label: np.ndarray, error: np.ndarray, i: np.ndarray, j: np.ndarray, level: float = 0.95) -> np.ndarray:
    """Whether the scores of images i (P,) and j (P,) differ, and which is higher -> (P,) in {-1, 0, 1}.

    label (N,), error (N,): standard error of each mean score (its standard deviation over raters / sqrt(raters)).
    The sign of label_i - label_j where the two-sided z-test says that they differ, 0 where it does not ("similar").
    """
    from scipy import stats

    difference = label[i] - label[j]
    known = np.abs(difference) > stats.norm.ppf((1 + level) / 2) * np.sqrt(error[i] ** 2 + error[j] ** 2)
    return np.where(known, np.sign(difference), 0).astype(np.int8)


def krasula(
    label: np.ndarray,
    predictions: np.ndarray,
    error: np.ndarray,
    clusters: np.ndarray,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict:
    """{"different_similar", "better_worse", "correct"}: Resampled each, plus "pairs" and "different" (counts).

    label (N,), predictions (M, N), both with the same direction (higher agrees with higher), error (N,) as for
    `different`, clusters (N,) references. different_similar: area of |difference of predictions| as a detector of pairs
    that differ.
    better_worse: area of the signed difference as a detector of the better one, pairs that differ only. correct: share
    of these whose order the metric gets right (equal predictions are wrong). Raises ValueError when all pairs differ or
    none do.
    """
    predictions = np.atleast_2d(np.asarray(predictions, dtype=float))
    for prediction in predictions:
        _, label = checked(prediction, label)
    error = np.asarray(error, dtype=float)
    if error.shape != label.shape or not (np.isfinite(error).all() and (error > 0).all()):
        raise ValueError(
            f"expected {len(label)} positive standard errors, found {np.sum(~(error > 0))} that are not, of "
            f"{error.size}"
        )
    names, member = np.unique(np.asarray(clusters), return_inverse=True)
    better = np.concatenate([different(label, error, i, j) for _, i, j in pairs_of_images(len(label))])
    if not better.any() or better.all():
        raise ValueError(
            f"expected pairs that differ and pairs that are similar, found that {np.count_nonzero(better)} of "
            f"{len(better)} differ"
        )
    first, second = np.triu_indices(len(names))  # which two references a pair of images is from
    cell = np.empty((len(names), len(names)), dtype=np.int64)
    cell[first, second] = cell[second, first] = np.arange(len(first))
    columns = [_one(prediction, better, cell[member], member, first, second) for prediction in predictions]

    def of_all(name):
        return lambda W: np.stack([column(W)[name] for column in columns], axis=1)

    out = {name: resample(of_all(name), len(names), resamples, seed) for name in STATISTICS}
    return out | {"pairs": len(better), "different": int(np.count_nonzero(better))}


def _one(prediction, better, cells, member, first, second):
    """statistic(W (K, references)) -> {name: (K,)} of one metric. On the data (all multiplicities 1) it is exact; the
    areas of resamples are binned, and shifted by what binning did to those of the data.

    cells (N, references): which cell a pair of an image is in, by the other image's reference, `member` (N,); first,
    second (cells,): the references of a cell."""
    size, kind = np.empty(len(better)), np.empty(len(better), dtype=np.int8)
    for place, i, j in pairs_of_images(len(prediction)):
        difference = prediction[i] - prediction[j]
        size[place] = np.abs(difference)
        judged = np.select([difference * better[place] > 0, difference * better[place] < 0], [RIGHT, WRONG], EQUAL)
        kind[place] = np.where(better[place] == 0, SIMILAR, judged)
    similar, right, wrong, equal = (np.sort(size[kind == k]) for k in KINDS)
    size.sort()
    ends = -(-np.arange(1, BINS) * len(size) // BINS)
    edges = np.where(ends < len(size), size[np.minimum(ends, len(size) - 1)], np.inf)
    del size
    counts = np.zeros(len(KINDS) * len(first) * BINS)
    for place, i, j in pairs_of_images(len(prediction)):
        bins = np.searchsorted(edges, np.abs(prediction[i] - prediction[j]), side="right")
        where = (kind[place] * np.int64(len(first)) + cells[i, member[j]]) * BINS + bins
        counts += np.bincount(where, minlength=len(counts))
    counts = counts.reshape(len(KINDS), -1, BINS).astype(np.float32)  # exact: a cell and bin holds far below 2^24 pairs
    binned = _binned_statistics(*counts.sum(axis=1, dtype=float))
    above_similar = sum(_above(of_kind, similar) for of_kind in (right, wrong, equal))
    exact = _statistics(len(similar), len(right), len(wrong), len(equal), above_similar, _above(right, wrong))

    def statistic(W):
        copies = W[:, first] * W[:, second]  # (K, cells) of a pair in each resample
        drawn = _binned_statistics(*(copies @ of_kind for of_kind in counts))
        return {name: values - binned[name] + exact[name] for name, values in drawn.items()}

    return statistic


def _above(high, low):
    """Number of pairs of a value of `high` (A,) and a smaller one of `low` (B,), equal ones counted half; both
    sorted."""
    parts = np.array_split(high, len(high) // BLOCK + 1)
    return sum(float(np.searchsorted(low, part, side).sum()) for part in parts for side in ("left", "right")) / 2


def _binned_statistics(similar, right, wrong, equal):
    """_statistics from counts (..., B) of pairs by |difference| in rising order."""

    def above(high, low):
        return np.sum(high * (np.cumsum(low, axis=-1) - low / 2), axis=-1)

    different_ones = right + wrong + equal
    n_similar, n_right, n_wrong, n_equal = (counts.sum(axis=-1) for counts in (similar, right, wrong, equal))
    return _statistics(n_similar, n_right, n_wrong, n_equal, above(different_ones, similar), above(right, wrong))


def _statistics(similar, right, wrong, equal, above_similar, above_wrong):
    """From the numbers of pairs: similar ones, and different ones judged right, wrong, equal; and of pairs of pairs
    whose first has the larger |difference|, equal ones counted half: different above similar, right above wrong.

    A pair that differs stands twice in the better/worse area, as (i, j) and as (j, i), with opposite signs. So a right
    pair is above every mirrored right or equal one, and above a mirrored wrong one where its |difference| is larger.
    """
    n = right + wrong + equal
    with np.errstate(invalid="ignore"):
        return {
            "different_similar": np.divide(above_similar, similar * n),
            "better_worse": np.divide(right**2 + 2 * above_wrong + 2 * right * equal + equal**2 / 2, n**2),
            "correct": np.divide(right, n),
        }
