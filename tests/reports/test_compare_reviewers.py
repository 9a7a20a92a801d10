"""compare.py's section of the tests that reviewers ask for: in every format, with what the data do to them."""

import csv
import io
import json

import numpy as np
import pandas as pd
import pytest
from places import ROOT, SHARED
from scipy import stats
from test_compare import FAST, results, run, table, write

from agreement.bootstrap import cluster_bootstrap
from agreement.fits import fit
from reports.compare import Settings
from reports.compare.evidence import Measured
from reports.compare.grouping import read_groups
from reports.compare.reviewers import reviewed


def test_the_section_equals_scipy_and_needs_a_spread_for_two_of_the_tests(tmp_path):
    files = [write(tmp_path, f"toy_m{k}", table(noise, seed=k)) for k, noise in enumerate((0.1, 0.3))]
    [row] = results(*files)["groups"][0]["reviewers"]["pairwise"]
    frames = [pd.read_csv(file) for file in files]
    residuals = [fit("logistic4", f.pred, f.mos)(f.pred) - f.mos for f in frames]
    ratio = np.var(residuals[1]) / np.var(residuals[0])
    assert row["sheikh"]["statistic"] == pytest.approx(ratio, rel=1e-6) and ratio > 3
    assert row["sheikh"]["p"] == pytest.approx(2 * stats.f(119, 119).sf(ratio), rel=1e-4)
    assert all("--std" in row[name]["refused"] for name in ("rmse_star_test", "outlier_test"))
    pd.DataFrame({"dis": frames[0]["dis"], "std": 10.0}).to_csv(tmp_path / "std.csv", index=False)
    group = results(*files, "--std", tmp_path / "std.csv", "--raters", 16)["groups"][0]
    [row], fits = group["reviewers"]["pairwise"], group["fits"]
    a, b = (fits[metric]["logistic4"] for metric in ("m0", "m1"))
    assert row["rmse_star_test"]["statistic"] == pytest.approx((b["rmse_star"] / a["rmse_star"]) ** 2)
    assert row["outlier_test"]["estimate"] == pytest.approx(b["outlier_ratio"] - a["outlier_ratio"])
    of = group["reviewers"]["metrics"]["m0"]
    low, high = stats.pearsonr(frames[0].pred, frames[0].mos).confidence_interval()
    assert of["plcc"]["interval"] == pytest.approx([low, high])
    assert of["kurtosis"]["value"] == pytest.approx(stats.kurtosis(residuals[0], fisher=False), rel=1e-6)


def copies(noise, seed, references=12, each=10):
    """Each reference holds one image, copied ten times hardly changed: 12 independent pairs that look like 120."""
    frame, rng = table(noise, references, each, seed), np.random.default_rng(seed + 100)
    label, pred = (np.repeat(frame[name].to_numpy()[::each], each) for name in ("mos", "pred"))
    shaken = np.random.default_rng(99).normal(size=len(label))
    return frame.assign(mos=label + 0.01 * shaken, pred=pred + 1e-3 * rng.normal(size=len(pred)))


def test_dependence_is_marked_in_every_format(tmp_path):
    files = [
        write(tmp_path, f"toy_{name}", copies(noise, seed)) for name, noise, seed in (("a", 0.2, 1), ("b", 0.3, 2))
    ]
    [row] = results(*files)["groups"][0]["reviewers"]["pairwise"]
    assert row["sheikh"]["p"] < 0.05 < row["sheikh"]["p_references"] and row["sheikh"]["disagrees"]
    assert row["sheikh"]["times"] > 1.5
    result = run(*files, *FAST, "--html", tmp_path / "out.html")
    text, page = result.stdout, (tmp_path / "out.html").read_text()
    for shown in (text, page):
        assert "Tests that reviewers ask for, which take pairs of images as independent" in shown
        assert "with these, 1 of 1 tests decide otherwise" in shown
        assert "F-test of RMSE*" in shown and "kurtosis of residuals" in shown
    [line] = [line for line in text.splitlines() if line.startswith("  a - b") and line.endswith("!")]
    assert f"x{row['sheikh']['times']:.2f}" in line
    assert '<td class="undecided">' in page
    lines = list(csv.DictReader(io.StringIO(run(*files, *FAST, "--format", "csv").stdout)))
    [cell] = [r for r in lines if (r["scope"], r["statistic"]) == ("pairs independent", "sheikh")]
    assert float(cell["p_references"]) == row["sheikh"]["p_references"] and float(cell["times"]) > 1.5
    assert json.loads(run(*files, *FAST, "--format", "json").stdout)["groups"][0]["reviewers"]["times"]["most"] > 1.5


def test_a_metric_that_disagrees_with_people_is_refused_and_not_the_others(tmp_path):
    frames = {"up": table(0.1), "more": table(0.2, seed=3), "down": table(0.1).assign(pred=lambda t: -t["pred"])}
    group = results(*(write(tmp_path, f"toy_{name}", frame) for name, frame in frames.items()))["groups"][0][
        "reviewers"
    ]
    given = {(row["a"], row["b"]): row["sheikh"] for row in group["pairwise"]}
    assert "p" in given["up", "more"] and "not monotonic" in given["up", "down"]["refused"]
    assert "refused" in group["metrics"]["down"]["kurtosis"] and "value" in group["metrics"]["down"]["plcc"]


METRICS = ("clip_vitb32_l2", "clip_vitb32_wsd", "deep_wsd_eff", "deep_wsd_vgg", "dinov1_l2", "dinov1_wsd")
PIPAL = ("clip_vitb32_l2", "dinov1_l2", "fsim", "psnr", "stlpips_alex")


def test_what_docs_compare_method_says_of_the_released_scores():
    """The errors of reviewers' tests on the authors' score files, as docs/compare-method.md states them."""
    scores = SHARED / "paper" / "scores"
    if not scores.is_dir():
        pytest.skip(f"{scores} is not there: the authors' score files")
    said, disagree, tests = [], 0, 0
    for dataset, title, metrics in (
        ("live", "LIVE", METRICS),
        ("tid2013", "TID2013", METRICS),
        ("pipal", "PIPAL", PIPAL),
    ):
        [group] = read_groups([str(scores / f"{dataset}_{metric}.csv") for metric in metrics])
        fits = [{"logistic4": fit("logistic4", prediction, group.label)} for prediction in group.predictions]
        pooled = cluster_bootstrap(group.label, group.predictions, group.references, ("plcc", "srcc"), resamples=1)
        reviewers = reviewed(Measured(group, fits, {"pooled": pooled}), Settings())
        said.append(f"{reviewers['times']['least']:.1f} to {reviewers['times']['most']:.1f} on {title}")
        disagree += sum(row["sheikh"]["disagrees"] for row in reviewers["pairwise"])
        tests += len(reviewers["pairwise"])
    text = " ".join((ROOT / "docs" / "compare-method.md").read_text(encoding="utf-8").split())
    assert ", ".join(said) in text and f"{disagree} of {tests} of Sheikh's tests decide otherwise" in text
