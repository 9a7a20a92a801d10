"""How much a metric's verdicts change when the images move by a pixel:
measures from perturbed and plain scores of one metric.

SRCC alone is no such measure: it can rise under a rotation while most images change their order. Numbers in, numbers
out:

- the change of each coefficient: put plain and perturbed predictions through bootstrap.cluster_bootstrap as two
  metrics;
- flip_rate: share of pairs of distorted images of one reference that swap their order;
- floor_percentile: how bad the metric finds a reference against its own perturbed self, among the real distortions.
"""

import numpy as np

from agreement.bootstrap import RESAMPLES, Resampled, mean_over_clusters, ratio, resample


def flip_rate(
    plain: np.ndarray, perturbed: np.ndarray, clusters: np.ndarray, resamples: int = RESAMPLES, seed: int = 0
) -> Resampled:
    """Share of pairs of images of one reference whose order by plain (N,) is reversed by perturbed (N,) -> Resampled (M
    = 1).

    Only pairs that differ in `plain` count; one that merely becomes equal has not flipped. 0.5 is what chance would
    give. Raises ValueError when no reference has two images of different score, or for fewer than 2 references.
    """
    names, member = np.unique(np.asarray(clusters), return_inverse=True)
    flips, pairs = np.zeros(len(names)), np.zeros(len(names))
    for c in range(len(names)):
        a, b = (np.sign(v[member == c][:, None] - v[member == c]) for v in (plain, perturbed))
        flips[c], pairs[c] = np.sum(a * b < 0) / 2, np.sum(a != 0) / 2
    if not pairs.all():
        raise ValueError(
            f"{np.sum(pairs == 0)} of {len(names)} references have no two images of different score: no order to flip"
        )
    return resample(ratio(flips, pairs), len(names), resamples, seed)


def floor_percentile(
    floor: np.ndarray,
    floor_clusters: np.ndarray,
    plain: np.ndarray,
    clusters: np.ndarray,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Resampled:
    """Where a reference against its own perturbed self stands among its real distortions, mean over references,
    in 0 ... 100.

    floor (F,): score of a reference against its perturbed self, floor_clusters (F,) which one; plain (N,), clusters
    (N,): the unperturbed scores of the distorted images. Both oriented alike, higher = worse. The percentile of a
    reference is the share of its distorted images that the metric finds less distorted than the reference's own
    perturbed self (equal ones count half): 0 is a metric that the perturbation does not touch. -> Resampled (M = 1).
    Raises ValueError when a reference has no floor, or more than one, or for fewer than 2 references.
    """
    names, member = np.unique(np.asarray(clusters), return_inverse=True)
    present, counts = np.unique(np.asarray(floor_clusters), return_counts=True)
    if list(present) != list(names) or (counts != 1).any():
        raise ValueError(
            f"expected one noise-floor score for each of {len(names)} references, found {len(floor)} for {len(present)}"
        )
    floor = np.asarray(floor, dtype=float)[np.argsort(floor_clusters, kind="stable")][:, None]
    shares = [np.mean((np.sign(floor[c] - plain[member == c]) + 1) / 2) * 100 for c in range(len(names))]
    return mean_over_clusters(np.array(shares)[:, None], resamples, seed)
