"""How often intervals hold the truth, and how often equal metrics are called different, on the authors' released score
files. Long, but for the helpers."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from places import SHARED
from scipy import stats

from agreement.bootstrap import cluster_bootstrap
from agreement.simultaneous import Contrast, judge, single

SCORES = SHARED / "paper" / "scores"


def released(dataset, methods):
    """label (N,), predictions (M, N) oriented, references (N,) of the authors' released files, joined by name."""
    tables = [pd.read_csv(SCORES / f"{dataset}_{m}.csv") for m in methods]
    tables = [t.assign(dis=t["dis"].str.lower()).sort_values("dis").reset_index(drop=True) for t in tables]
    sign = [1 if m == "psnr" else -1 for m in methods]
    label = tables[0]["mos"].to_numpy() * (1 if dataset == "pipal" else -1)
    return (
        label,
        np.stack([s * t["pred"].to_numpy() for s, t in zip(sign, tables)]),
        tables[0]["ref"].str.lower().to_numpy(),
    )


needs_scores = pytest.mark.skipif(not SCORES.is_dir(), reason="the authors' released score files are not there")


@needs_scores
@pytest.mark.slow
@pytest.mark.parametrize("references, simulations", [(5, 200), (10, 200), (25, 300), (50, 200)])
def test_coverage_with_some_of_pipals_references(references, simulations):
    """What docs/compare-method.md states: references drawn from PIPAL's 200, 40 images each, six metrics; the truth is
    what all 23,200 pairs give. All 15 differences of a coefficient at once, and the 45 of three coefficients."""
    methods = ("dinov1_l2", "clip_vitb32_l2", "fsim", "psnr", "stlpips_alex", "embed_dinov1_cos")
    label, predictions, names = released("pipal", methods)
    truth = {name: r.estimate for name, r in cluster_bootstrap(label, predictions, names).items()}
    label, predictions = label.reshape(200, 116), predictions.reshape(-1, 200, 116)
    pairs = list(combinations(range(len(methods)), 2))
    rng, alone, together = np.random.default_rng(1), {}, {}
    for simulation in range(simulations):
        drawn = rng.integers(200, size=references)
        images = np.array([rng.choice(116, 40, replace=False) for _ in drawn])
        y, x = label[drawn[:, None], images].ravel(), predictions[:, drawn[:, None], images].reshape(len(methods), -1)
        resampled = cluster_bootstrap(y, x, np.repeat(np.arange(references), 40), seed=simulation)
        for family in [{name: resampled[name]} for name in resampled] + [resampled]:
            contrasts = [Contrast(r, a, b) for r in family.values() for a, b in pairs]
            true = np.array([truth[name][a] - truth[name][b] for name in family for a, b in pairs])
            judged = judge(contrasts)
            together.setdefault(" ".join(family), []).append(((judged.low <= true) & (true <= judged.high)).all())
            ends = np.array([single(contrast) for contrast in contrasts])
            if len(family) == 1:
                alone.setdefault(*family, []).append((ends[:, 0] <= true) & (true <= ends[:, 1]))
    together = {name: np.mean(hits) for name, hits in together.items()}
    print(references, "alone", np.mean(list(alone.values())), "all at once", together)
    assert 0.92 < np.mean(list(alone.values())) < 0.965
    assert all(0.92 < share < 0.98 for share in together.values())


@needs_scores
@pytest.mark.slow
def test_percentile_intervals_are_too_short():
    """Why they are not the default: differences with 25 references, as above."""
    methods = ("dinov1_l2", "clip_vitb32_l2", "psnr")
    label, predictions, names = released("pipal", methods)
    truth = {name: r.estimate for name, r in cluster_bootstrap(label, predictions, names).items()}
    label, predictions = label.reshape(200, 116), predictions.reshape(-1, 200, 116)
    rng, hits = np.random.default_rng(2), {"percentile": [], "t": []}
    for simulation in range(200):
        drawn = rng.integers(200, size=25)
        images = np.array([rng.choice(116, 40, replace=False) for _ in drawn])
        y, x = label[drawn[:, None], images].ravel(), predictions[:, drawn[:, None], images].reshape(3, -1)
        for name, r in cluster_bootstrap(y, x, np.repeat(np.arange(25), 40), ("plcc", "srcc"), 500, simulation).items():
            for a, b in combinations(range(3), 2):
                true = truth[name][a] - truth[name][b]
                for method, (low, high) in (("percentile", r.interval(a, b)), ("t", single(Contrast(r, a, b)))):
                    hits[method].append(low <= true <= high)
    shares = {method: np.mean(some) for method, some in hits.items()}
    print(shares)
    assert shares["percentile"] < shares["t"] and shares["percentile"] < 0.93


@needs_scores
@pytest.mark.slow
def test_exchangeable_metrics_are_rarely_called_different():
    """TID2013, the predictions of two metrics swapped by reference at random: neither can be better. 100
    simulations."""
    import dataclasses

    from reports.compare import Settings, compare
    from reports.compare.grouping import read_groups

    [group] = read_groups([SCORES / "tid2013_dinov1_l2.csv", SCORES / "tid2013_clip_vitb32_l2.csv"])
    names = np.unique(group.references)
    rng, reversals, different = np.random.default_rng(0), 0, 0
    settings = Settings(resamples=500, most_resamples=500)
    ranked = np.stack([stats.rankdata(p) for p in group.predictions])  # one scale, so that swapping mixes nothing else
    for _ in range(100):
        swap = np.isin(group.references, names[rng.random(len(names)) < 0.5])
        mixed = np.where(swap, ranked[::-1], ranked)
        results, _ = compare([dataclasses.replace(group, predictions=mixed)], settings)
        [entry], [row] = results["audit"], results["groups"][0]["pairwise"]
        reversals += entry["verdict"] == "reverses"
        different += row["pooled"]["srcc"]["verdict"] in ("better", "worse")
    print(f"reverses in {reversals} of 100, pooled SRCC called different in {different} of 100")
    assert reversals <= 5 and different <= 5
