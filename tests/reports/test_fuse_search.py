"""fuse.py --search and --blocks on files made up for them."""

import itertools
import resource
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from made_factors import PAIRS, describe, put, report
from places import ROOT

from agreement.exponents import Agreement, rough_srccs
from reports.fuse import search


def three(folder, n=PAIRS):
    """Factors f0 ... f4, of which f1, f2 and f4 together make the label, in every dataset."""
    for i, dataset in enumerate(("alpha", "beta", "gamma")):
        rng = np.random.default_rng(i)
        f = rng.normal(size=(5, n))
        label = f[1] + 0.7 * f[2] + 0.5 * f[4] + 0.02 * rng.normal(size=n)
        for m in range(5):
            put(folder, f"{dataset}_f{m}", np.exp(f[m]), label)


def test_search_finds_the_triple_and_counts_what_it_tried(tmp_path):
    three(tmp_path)
    result = report(tmp_path, "--search")
    tried = result["tried"]
    assert (tried["pairs"], tried["triples"], tried["forward"]) == (10, 10, 2) and tried["combinations"] == 22
    for h in result["held_out"]:
        assert set(h["parameters"]) == {"f1", "f2", "f4"} and h["gain"] > 0.1
        powers = np.array([h["parameters"][m] for m in ("f1", "f2", "f4")])
        assert powers / powers[0] == pytest.approx([1, 0.7, 0.5], rel=0.15)


def test_a_search_costs_the_dataset_held_out_nothing(tmp_path):
    """A loss of the fused metric on a dataset that took no part in the choice is as sure after 22 looks as after
    one."""
    three(tmp_path)
    for dataset in ("alpha", "beta", "gamma"):  # in alpha the third factor of the others is noise
        if dataset == "alpha":
            table = pd.read_csv(tmp_path / "alpha_f4.csv")
            table.assign(pred=table["pred"].sample(frac=1, random_state=0).to_numpy()).to_csv(
                tmp_path / "alpha_f4.csv", index=False
            )
    searched = report(tmp_path, "--search", "--beside", "f1", "f2")
    plain = report(tmp_path, "--factors", "f1", "f2", "f4", "--beside", "f1", "f2")
    for one, other in zip(searched["lines"], plain["lines"]):
        if one["dataset"] == "alpha" and one["role"] != "fused" and one["metric"] == other["metric"]:
            width, other_width = one["high"] - one["low"], other["high"] - other["low"]
            assert width == pytest.approx(other_width, rel=0.25)
    assert "low_corrected" not in searched["lines"][0]


def test_the_sample_of_pairs_reaches_every_distortion():
    """PIPAL has 116 images a reference, in order; every 8th pair met 29 of them."""
    from reports.fuse.search import sample

    rows = sample(200 * 116, 0)
    assert len(rows) == len(set(rows)) == 3000 and set(rows % 116) == set(range(116))
    np.testing.assert_array_equal(rows, sample(200 * 116, 0))
    assert len(set(np.arange(0, 23200, 8) % 116)) == 29 and len(sample(100, 0)) == 100


def test_search_of_pairs_alone_and_of_a_pool(tmp_path):
    three(tmp_path)
    assert report(tmp_path, "--search", "2")["tried"]["combinations"] == 10
    result = report(tmp_path, "--search", "--factors", "f0", "f1", "f3")
    assert result["tried"]["pool"] == ["f0", "f1", "f3"] and result["tried"]["combinations"] == 4
    assert all(h["best_factor"] == "f1" and h["gain"] < 0.01 for h in result["held_out"])  # two of the three are noise


def test_search_says_what_is_not_in_its_pool(tmp_path):
    three(tmp_path)
    (tmp_path / "beta_f3.csv").unlink()
    spoiled = pd.read_csv(tmp_path / "beta_f0.csv")
    spoiled.assign(pred=spoiled["pred"] - 1).to_csv(tmp_path / "beta_f0.csv", index=False)
    describe("alpha_f2", fused="f1 * f4")(tmp_path)
    result = report(tmp_path, "--search")["tried"]
    assert result["pool"] == ["f1", "f4"]
    assert result["notes"][1:] == [
        "not in the pool, with negative values: f0",
        "not in the pool, fused: f2",
        "not in the pool, lacking beta: f3",
    ]


# ---- blocks


def blocks(folder, power):
    """Four blocks whose sum is `pred`; the label follows block 2 (power 0), or a product of blocks."""
    for i, dataset in enumerate(("alpha", "beta", "gamma")):
        rng = np.random.default_rng(i)
        b = np.exp(rng.normal(size=(4, PAIRS)))
        label = b[2] if power == "sum" else np.log(b[2]) + 0.5 * np.log(b[0])
        put(folder, f"{dataset}_net_cos", b.sum(0), label, **{f"pred_{n}": v for n, v in enumerate(b)})


@pytest.mark.parametrize("by, truth", (("weights", "sum"), ("exponents", "product")))
def test_blocks_of_a_backbone_are_weighed_held_out(tmp_path, by, truth):
    blocks(tmp_path, truth)
    result = report(tmp_path, "--blocks", "net_cos", "--by", by)
    for h in result["held_out"]:
        p = np.array([h["parameters"][f"pred_{n}"] for n in range(4)])
        p /= p[2]
        assert h["mean_srcc"] > 0.99 and h["chosen_on"] == [d for d in ("alpha", "beta", "gamma") if d != h["held_out"]]
        assert p[0] == pytest.approx(0 if truth == "sum" else 0.5, abs=0.05) and p[[1, 3]] == pytest.approx(0, abs=0.05)
    roles = [line["role"].partition(",")[0] for line in result["lines"] if line["dataset"] == "alpha"]
    assert roles == ["fused", "all blocks", "block", "block", "block", "block"]


# ---- speed


@pytest.mark.slow
def test_all_pairs_of_20_methods_of_the_papers_size_within_3_minutes(tmp_path):
    for dataset, n, references in (("live", 779, 29), ("tid2013", 3000, 25), ("pipal", 23200, 200)):
        rng = np.random.default_rng(n)
        label = rng.normal(size=n)
        rows = {
            "dis": [f"i{i}.bmp" for i in range(n)],
            "ref": [f"r{i % references}.bmp" for i in range(n)],
            "mos": label,
        }
        for m, perturbation in itertools.product(range(20), ("", "_tra-1", "_sca-1", "_rot-1")):
            sign = -1 if dataset == "pipal" else 1
            pd.DataFrame(rows | {"pred": np.exp(sign * label + rng.normal(size=n))}).to_csv(
                tmp_path / f"{dataset}_m{m}{perturbation}.csv", index=False
            )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, ROOT / "fuse.py", tmp_path, "--search", "2"], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime  # of a core: others' work does not count
    print(f"{took:.0f} s")
    assert done.returncode == 0 and "190 pairs" in done.stdout, done.stderr
    assert took < 180


# ---- the first look


@pytest.mark.parametrize("seed", range(3))
def test_a_first_look_that_leaves_few_of_many_triples_loses_none_of_the_best(seed, monkeypatch):
    rng = np.random.default_rng(seed)
    cells = []
    for dataset in ("alpha", "beta"):
        label = rng.normal(size=900)
        quality = rng.uniform(0.5, 3, 12)[:, None]
        cells.append((dataset, label + quality * rng.normal(size=(12, 900)), label))
    thin = Agreement(cells)
    look = Agreement([(d, X[:, :300], label[:300]) for d, X, label in cells], rough_srccs)
    whole = search.Ranking(thin, look, 12, ("alpha", "beta"), "").up_to(3)
    monkeypatch.setattr(search, "MANY", 100)
    monkeypatch.setattr(search, "KEPT", 40)
    ranking = search.Ranking(thin, look, 12, ("alpha", "beta"), "")
    few = ranking.up_to(3)
    assert len(whole) == 12 + 66 + 220 and len(few) == 12 + 66 + 40 and len(ranking.tried) == 66 + 220
    order = sorted(whole, key=lambda members: -whole[members][0])
    assert all(few[members] == whole[members] for members in order[:3])
    assert 0 < ranking.gaps[3] < 0.2 and search.looked((3, [ranking.gaps[3]])).startswith("sets of 3: a first look")


def test_any_score_column_is_a_factor(tmp_path):
    """Distances and metrics by the names of their files; a similarity enters by its direction, not by the data."""
    for i, dataset in enumerate(("alpha", "beta", "gamma")):
        f = np.random.default_rng(i).normal(size=(4, PAIRS))
        label = f[0] + 0.6 * f[1] + 0.02 * np.random.default_rng(10 + i).normal(size=PAIRS)
        for column, values in (("st_alexnet_dc", f[0]), ("dinov1_nl2", f[2]), ("clip_rn50_moments", f[3])):
            put(tmp_path, f"{dataset}_{column}", np.exp(values), label)
        put(tmp_path, f"{dataset}_ssim", np.exp(-f[1]), label, {"settings": {}, "pred_higher_is": "better"})
    result = report(tmp_path, "--search")
    assert result["tried"]["pairs"] == 6
    for h in result["held_out"]:
        assert set(h["parameters"]) == {"st_alexnet_dc", "ssim"}
        assert h["parameters"]["ssim"] / h["parameters"]["st_alexnet_dc"] == pytest.approx(0.6, rel=0.15)
