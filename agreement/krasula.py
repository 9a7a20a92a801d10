"""Krasula's analysis: does a metric tell which images differ, and which of two is better? Numbers in, numbers out.

It looks at pairs of images whose subjective scores are, or are not, significantly different, so it needs the
uncertainty of each subjective score, and needs no mapping between the scales of the metric and of people.

Source: Krasula, Fliegel, Le Callet, Klima 2016 (QoMEX), On the accuracy of objective image and video quality models.
There, areas and rates are compared by tests that take the pairs of images as independent. Each image is in thousands of
pairs, so here the interval and the p-value come from the bootstrap over references instead.
"""

import numpy as np

from agreement.bootstrap import RESAMPLES, Resampled, multiplicities
from agreement.correlations import checked

BINS = (
    512  # of |difference of predictions|, by quantiles: only the resamples' areas are binned, the estimates are exact
)


def different(label, error, level=0.95):
    """Pairs (i < j) of images and whether their scores differ: i (P,), j (P,), better (P,) in {-1, 0, 1}.

    label (N,), error (N,): standard error of each mean score (its standard deviation over raters / sqrt(raters)).
    better is the sign of label_i - label_j where the two-sided z-test says that they differ, 0 where it does not
    ("similar").
    """
    from scipy import stats

    i, j = (index.astype(np.int32) for index in np.triu_indices(len(label), 1))
    difference = label[i] - label[j]
    known = np.abs(difference) > stats.norm.ppf((1 + level) / 2) * np.sqrt(error[i] ** 2 + error[j] ** 2)
    return i, j, np.where(known, np.sign(difference), 0).astype(np.int8)


def area(positive, negative):
    """Area under the ROC curve from counts (..., B) of both classes in rising order:
    P(positive higher) + P(equal) / 2."""
    below = np.cumsum(negative, axis=-1) - negative / 2
    with np.errstate(invalid="ignore"):
        return np.sum(positive * below, axis=-1) / (positive.sum(axis=-1) * negative.sum(axis=-1))


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
    i, j, better = different(label, error)
    if not better.any() or better.all():
        raise ValueError(
            f"expected pairs that differ and pairs that are similar, found that {np.count_nonzero(better)} of "
            f"{len(i)} differ"
        )
    first, second = np.minimum(member[i], member[j]), np.maximum(member[i], member[j])
    cell = first * len(names) + second  # which two references a pair of images is from
    W = np.concatenate(
        [
            np.ones((1, len(names))),
            multiplicities(len(names), resamples, seed),
            1 - np.eye(len(names)),
            np.eye(len(names)),
        ]
    )
    weight = (W[:, :, None] * W[:, None, :]).reshape(len(W), -1)  # (K, cells) copies of a pair in each resample
    parts = np.cumsum([1, resamples, len(names)])
    columns = [_one(prediction[i] - prediction[j], better, cell, weight) for prediction in predictions]
    out = {}
    for name in columns[0]:
        estimate, values, jackknife, each = np.split(np.stack([column[name] for column in columns], axis=1), parts)
        out[name] = Resampled(estimate[0], values, jackknife, each, len(names))
    return out | {"pairs": len(i), "different": int(np.count_nonzero(better))}


def _one(difference, better, cell, weight):
    """The three statistics (K,) of one metric under each row of weights. Those of the first row (all ones) are exact;
    the areas of the others are binned, and shifted by what binning did to the first."""
    kinds = np.stack([better == 0, difference * better > 0, difference * better < 0, (difference == 0) & (better != 0)])
    size = np.abs(difference)
    order = np.argsort(size)
    starts = np.concatenate([[0], np.flatnonzero(np.diff(size[order])) + 1])
    exact = [np.add.reduceat(kind[order], starts, dtype=float) for kind in kinds]
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order)) * BINS // len(order)
    cells = weight.shape[1]
    binned = [
        weight @ np.bincount(cell[kind] * BINS + place[kind], minlength=cells * BINS).reshape(cells, BINS).astype(float)
        for kind in kinds
    ]
    exact, binned = _statistics(*exact), _statistics(*binned)
    return {name: values - values[0] + exact[name] for name, values in binned.items()}


def _statistics(similar, right, wrong, equal):
    """From counts (..., B) of pairs by |difference| in rising order:
    similar ones, and different ones judged right, wrong, equal.

    A pair that differs stands twice in the better/worse area, as (i, j) and as (j, i), with opposite signs. So a right
    pair is above every mirrored right or equal one, and above a mirrored wrong one where its |difference| is larger.
    """
    r, w, e = (counts.sum(axis=-1) for counts in (right, wrong, equal))
    n = r + w + e
    with np.errstate(invalid="ignore"):
        above = np.where(r * w > 0, r * w * area(right, wrong), 0)
        return {
            "different_similar": area(right + wrong + equal, similar),
            "better_worse": (r**2 + 2 * above + 2 * r * e + e**2 / 2) / n**2,
            "correct": r / n,
        }
