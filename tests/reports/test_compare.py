"""compare.py as a person runs it: the right verdicts from score files, and one line and no number from bad ones."""

import contextlib
import csv
import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from places import ROOT, SHARED
from scipy import stats
from small_dataset import call

from common.terminal import run_main
from compare import main

SCORES = SHARED / "paper" / "scores"
FAST = ("--resamples", "200")


def run_alone(*arguments):
    return subprocess.run(
        [sys.executable, str(ROOT / "compare.py"), *map(str, arguments)], capture_output=True, text=True
    )


def run(*arguments):
    """As run_alone, in this process: the same output and exit code without starting Python each time."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as left:
        run_main(main, list(map(str, arguments)))
    return subprocess.CompletedProcess(arguments, left.value.code, out.getvalue(), err.getvalue())


def results(*arguments):
    result = run(*arguments, *FAST, "--format", "json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def table(noise, references=12, each=10, seed=0, shift=0.0):
    """A score file whose predictions follow the label up to noise;
    the images and labels are the same for every noise."""
    rng = np.random.default_rng(1)
    label = np.round(rng.uniform(0, 100, references * each), 3)
    pred = label / 100 + noise * np.random.default_rng(seed).normal(size=len(label)) + shift
    names = [f"r{k // each:02d}_{k % each}.png" for k in range(len(label))]
    return pd.DataFrame(
        {
            "dis": names,
            "ref": [name[:3] + ".png" for name in names],
            "mos": label,
            "pred": pred,
            "type": [str(k % 2) for k in range(len(label))],
        }
    )


def write(folder, name, frame, **settings):
    frame.to_csv(folder / f"{name}.csv", index=False)
    (folder / f"{name}.json").write_text(
        json.dumps({"pairs_expected": len(frame), "label_higher_is": "worse", "pred_higher_is": "worse"} | settings)
    )
    return folder / f"{name}.csv"


@pytest.fixture
def two(tmp_path):
    return write(tmp_path, "toy_good", table(0.05, seed=1)), write(tmp_path, "toy_poor", table(0.5, seed=2))


def words(text):
    """A text as one line."""
    return " ".join(text.split())


def test_text_names_the_better_one_and_the_number_of_references(two):
    result = run_alone(*two, *FAST)
    assert result.returncode == 0 and result.stderr == ""
    assert "== toy: 120 pairs of 12 references" in result.stdout and "12 references carry little" in words(
        result.stdout
    )
    assert "good beats poor: holds" in result.stdout


def test_json_equals_scipy_and_is_complete(two):
    group = results(*two)["groups"][0]
    for path, metric in zip(two, ("good", "poor")):
        frame = pd.read_csv(path)
        pooled = group["coefficients"][metric]["pooled"]
        for name, function in (("plcc", stats.pearsonr), ("srcc", stats.spearmanr), ("krcc", stats.kendalltau)):
            assert pooled[name]["value"] == pytest.approx(function(frame.pred, frame.mos).statistic, abs=1e-12)
            mean = np.mean([function(part.pred, part.mos).statistic for _, part in frame.groupby("ref")])
            assert group["coefficients"][metric]["per_reference"][name]["value"] == pytest.approx(mean, abs=1e-12)
            for kind, part in frame.groupby("type"):
                assert group["types"][str(kind)]["coefficients"][metric][name]["value"] == pytest.approx(
                    function(part.pred, part.mos).statistic, abs=1e-12
                )
            (low, high), (all_low, all_high) = pooled[name]["interval"], pooled[name]["simultaneous"]
            assert all_low < low < pooled[name]["value"] < high < all_high
        assert set(group["fits"][metric]) == {"logistic4", "logistic5", "cubic"}
        assert all(
            {"parameters", "converged", "monotonic", "agreeing"} <= set(fit) for fit in group["fits"][metric].values()
        )
    tests = group["pairwise"][0]["tests"]["srcc"]
    assert all(
        tests[test]["p_holm"] == tests[test]["p"] < 1e-6 for test in ("williams", "steiger", "meng")
    )  # one pair: Holm changes nothing


def test_the_seed_decides(two):
    first, again, other = (run(*two, *FAST, "--format", "json", "--seed", seed).stdout for seed in (0, 0, 1))
    assert first == again != other


def test_csv_and_latex(two, tmp_path):
    rows = list(csv.DictReader(io.StringIO(run(*two, *FAST, "--format", "csv").stdout)))
    pooled = [row for row in rows if (row["group"], row["scope"], row["statistic"]) == ("toy", "pooled", "srcc")]
    assert [(row["metric"], row["minus"], row["references"]) for row in pooled] == [
        ("good", "", "12"),
        ("poor", "", "12"),
        ("good", "poor", "12"),
    ]
    assert float(pooled[0]["value"]) - float(pooled[1]["value"]) == pytest.approx(float(pooled[2]["value"]), abs=1e-12)
    run(*two, *FAST, "--format", "latex", "-o", tmp_path / "t.tex")
    latex = (tmp_path / "t.tex").read_text()
    assert (
        re.search(r"^good & \\textbf\{", latex, re.M)
        and re.search(r"^poor & 0\.", latex, re.M)
        and "12 references" in latex
    )


def test_across_datasets(two, tmp_path):
    other = [write(tmp_path, f"more_{name}", table(noise, seed=9)) for name, noise in (("good", 0.06), ("poor", 0.6))]
    third = [write(tmp_path, f"{d}_fair", table(0.2, seed=4)) for d in ("toy", "more")]
    files = (*two, *other, *third)
    across = results(*files)["across"]
    assert across["ranks"]["srcc"]["mean"] == {"good": 1, "poor": 3, "fair": 2}
    [row] = [row for row in across["differences"] if (row["a"], row["b"]) == ("good", "poor")]
    assert row["low"] < row["estimate"] < row["high"] and row["estimate"] > 0.2
    against = results(*files, "--against", "poor")["across"]["differences"]
    assert [{row["a"], row["b"]} for row in against] == [{"good", "poor"}, {"poor", "fair"}]
    assert all("estimate" in row for row in against)
    text = run(*files, *FAST, "--html", tmp_path / "out.html").stdout
    assert "Across 2 datasets" in text and "2 datasets carry little" in text
    assert "critical difference" in (tmp_path / "out.html").read_text()
    assert "refused" in results(*two)["across"]


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.fetched, self.tags = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        self.ids += [attributes["id"]] if "id" in attributes else []
        for key in ("href", "xlink:href", "src"):
            target = attributes.get(key, "")
            (self.links if target.startswith("#") else self.fetched).append(target)


def test_the_page_stands_alone_and_every_link_arrives(two, tmp_path):
    perturbed = write(tmp_path, "toy_good_rot-1", table(0.2, seed=3))
    result = run(*two, perturbed, *FAST, "--html", tmp_path / "out.html")
    assert result.returncode == 0, result.stderr
    text = (tmp_path / "out.html").read_text()
    page = Page(text)
    assert {target.split(":")[0] for target in page.fetched if target} <= {"data"}  # nothing comes from elsewhere
    assert "script" not in page.tags and "link" not in page.tags and 'name="viewport"' in text
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert page.tags.count("svg") == 2 + 3 + 3 + 1  # forests, scatters, bars, curves; the heat map is a table
    heads = re.findall(r"<th>(.*?)</th>", text)
    unlinked = {head for head in heads if "href" not in head}
    assert unlinked <= {
        "metric",
        "mapping",
        "claim",
        "over all checks",
        "group",
        "by reference",
        "A − B",
        "of",
        "",
        "good",
        "poor",
        "dataset",
        "perturbation",
        "parameters b1, b2, …",
        "all pairs",
        "mean of references",
        "within references",
    }, unlinked  # every column of numbers leads to its definition


def test_robustness_from_perturbed_files(tmp_path):
    """A metric that keeps its order, one that loses it; a floor beside one file, none beside the other."""
    files = [write(tmp_path, "toy_stable", table(0.1, seed=1)), write(tmp_path, "toy_shaky", table(0.1, seed=2))]
    for pct, noise in ((1, 0.3), (3, 2.0)):
        files.append(write(tmp_path, f"toy_stable_rot-{pct}", table(0.1, seed=1, shift=0.2 * pct)))
        files.append(write(tmp_path, f"toy_shaky_rot-{pct}", table(noise, seed=4)))
    references = sorted(set(table(0)["ref"]))
    pd.DataFrame({"ref": references, "pred": -100.0}).to_csv(tmp_path / "toy_stable_rot-1.floor.csv", index=False)
    result = run(*files, *FAST, "--format", "json")
    rows = {(row["metric"], row["pct"]): row for row in json.loads(result.stdout)["stability"]}
    assert rows["stable", 1]["flips"]["value"] == 0 and rows["stable", 3]["change"]["srcc"]["value"] == pytest.approx(
        0, abs=1e-12
    )
    assert 0 < rows["shaky", 1]["flips"]["value"] < rows["shaky", 3]["flips"]["value"]
    assert rows["shaky", 3]["change"]["srcc"]["interval"][1] < 0
    assert rows["stable", 1]["floor"]["value"] == 0
    assert "toy_shaky_rot-1.floor.csv is not there" in rows["shaky", 1]["floor"]["refused"]
    only = results(files[2])["stability"]
    assert "toy_stable.csv was not given" in only[0]["refused"]


def test_a_reference_against_itself_in_the_file_is_the_floor(tmp_path):
    frame = table(0.1)
    references = pd.DataFrame(
        {"dis": sorted(set(frame["ref"])), "ref": sorted(set(frame["ref"])), "mos": 0.0, "pred": 99.0, "type": "0"}
    )
    files = (
        write(tmp_path, "toy_m", frame),
        write(tmp_path, "toy_m_tra-1", pd.concat([frame, references]), pairs_expected=120),
    )
    row = results(*files)["stability"][0]
    assert row["floor"]["value"] == 100


def test_krasula_needs_a_spread_and_says_so(two, tmp_path):
    refused = results(*two)["groups"][0]["krasula"]
    assert "--std" in refused["refused"]
    pd.DataFrame({"dis": table(0)["dis"], "std": 10.0}).to_csv(tmp_path / "std.csv", index=False)
    group = results(*two, "--std", tmp_path / "std.csv", "--raters", 16)["groups"][0]
    good, poor = (group["krasula"]["metrics"][metric]["better_worse"]["value"] for metric in ("good", "poor"))
    assert good > 0.99 > poor and group["krasula"]["pairwise"][0]["better_worse"]["p"] < 0.05
    assert group["fits"]["good"]["logistic4"]["rmse_star"] < group["fits"]["good"]["logistic4"]["rmse"]
    assert 0 < group["fits"]["poor"]["logistic4"]["outlier_ratio"] < 1


def test_foreign_columns_and_directions(tmp_path):
    frame = table(0.1).rename(columns={"pred": "score", "mos": "dmos"})
    similar = frame.assign(score=-table(0.2, seed=5)["pred"])
    frame.to_csv(tmp_path / "mine.csv", index=False)
    similar.to_csv(tmp_path / "likeness.csv", index=False)
    options = (
        tmp_path / "mine.csv",
        tmp_path / "likeness.csv",
        "--columns",
        "pred=score,mos=dmos",
        *FAST,
        "--format",
        "json",
    )
    flags = run(*options)
    assert flags.returncode == 2 and "--higher-is" in flags.stderr
    coefficients = json.loads(run(*options, "--higher-is", "worse").stdout)["groups"][0]["coefficients"]
    assert (
        coefficients["mine"]["pooled"]["srcc"]["value"] > 0.8
        and coefficients["likeness"]["pooled"]["srcc"]["value"] < -0.5
    )  # a reversed sign shows
    coefficients = json.loads(run(*options, "--higher-is", "worse", "--similarity", "likeness").stdout)["groups"][0][
        "coefficients"
    ]
    assert coefficients["likeness"]["pooled"]["srcc"]["value"] > 0.5


def test_files_in_another_order_and_with_folders_are_joined_by_name(tmp_path):
    frame = table(0.1, seed=3)
    shuffled = frame.sample(frac=1, random_state=0).assign(dis=lambda t: "folder/" + t["dis"].str.upper())
    a, b = write(tmp_path, "toy_a", frame), write(tmp_path, "toy_b", shuffled)
    row = results(a, b)["groups"][0]["pairwise"][0]
    assert row["pooled"]["srcc"]["interval"] == [0, 0] and "one up to scale" in row["tests"]["srcc"]["refused"]


def test_nearly_equal_metrics_are_warned_of(tmp_path):
    frame = table(0.2, seed=3)
    nearly = frame.assign(pred=frame["pred"] + 0.003 * np.random.default_rng(9).normal(size=len(frame)))
    result = run(write(tmp_path, "toy_a", frame), write(tmp_path, "toy_b", nearly), *FAST)
    assert "> 0.99" in result.stdout and "smallest difference" in result.stdout


BAD = {
    "nan": (lambda t: t.assign(pred=t["pred"].where(t.index != 3)), "line 5: pred"),
    "constant": (lambda t: t.assign(pred=1.0), "all 120 predictions are 1"),
    "constant label": (lambda t: t.assign(mos=1.0), "all 120 labels are 1"),
    "few": (lambda t: t[::15], "8 pairs, expected at least 10"),
    "labels": (lambda t: t.assign(mos=t["mos"] + (t.index == 4)), "line 6: the label of"),
    "names": (lambda t: t.assign(dis=t["dis"].where(t.index != 7, "other.png")), "line 9"),
    "fewer": (lambda t: t[:100], "100 pairs, "),
    "column": (lambda t: t.drop(columns="pred"), "missing pred"),
    "double": (lambda t: pd.concat([t, t[:1]]), "stands in the file twice"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_give_one_line_and_no_number(two, tmp_path, case):
    spoil, message = BAD[case]
    result = (run_alone if case == "nan" else run)(two[0], write(tmp_path, "toy_bad", spoil(table(0.1))), *FAST)
    assert result.returncode == 2 and result.stdout == ""
    assert message in result.stderr and "toy_bad.csv" in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.parametrize("case", ["nan", "constant", "few", "column", "double"])
def test_a_file_of_no_use_among_several_is_named_and_left_out(two, tmp_path, case):
    spoil, message = BAD[case]
    broken = write(tmp_path, "toy_bad", spoil(table(0.1)))
    result = run(*two, broken, *FAST)
    assert result.returncode == 0 and result.stdout == run(*two, *FAST).stdout
    assert result.stderr.count("\n") == 1 and "left out: " in result.stderr
    assert "toy_bad.csv" in result.stderr and message in result.stderr
    assert run(broken, *FAST).returncode == 2  # asked for by name
    assert run(*two, tmp_path / "toy_absent.csv", *FAST).returncode == 2  # no wildcard gives a file that is not there


def test_other_refusals(two, tmp_path):
    frame = table(0.1)
    single = write(tmp_path, "one_m", frame.assign(ref="r.png"))
    partial = write(tmp_path, "toy_part", frame, pairs_expected=500)
    corrected = write(tmp_path, "toy_corrected", frame, settings={"protocol": "corrected"})
    spreads = tmp_path / "spreads.csv"
    spreads.write_text("dis,std\na.png,1\n")
    for arguments, message in [
        ((single,), "all pairs are of one reference"),
        ((partial,), "120 of 500 pairs"),
        ((two[0], corrected), "compare files of one protocol"),
        ((two[0], two[0]), "already given"),
        ((tmp_path / "no_such.csv",), "no such score file"),
        ((tmp_path,), "found a folder; name its files"),
        ((two[0], "--similarity", "goood"), "no such metric"),
        ((two[0], "--resamples", "10"), "at least 100"),
        ((two[0], "--html", tmp_path / "no" / "x.html"), "no folder"),
        ((two[0], "--higher-is", "better"), "not better"),
        ((two[0], "--std", tmp_path / "x.csv", "--raters", "9"), "x.csv"),
        ((two[0], "--std", spreads), "what its column std is must be said, by --raters N"),
        ((two[0], "--std-kind", "sd"), "expected --raters N too"),
        ((two[0], "--std-kind", "se", "--raters", "9"), "needs no number of raters"),
    ]:
        result = run(*arguments, *FAST) if "--resamples" not in arguments else run(*arguments)
        assert result.returncode == 2 and result.stdout == "" and message in result.stderr, (arguments, result.stderr)


@pytest.mark.skipif(not SCORES.is_dir(), reason="the authors' released score files are not there")
def test_the_verdicts_on_the_released_scores(tmp_path):
    """DINOv1 l2 and CLIP l2 are not shown to differ on LIVE and TID2013, also not in PLCC, where a single interval of
    the difference on LIVE leaves zero out; FSIMc beats DINOv1 l2 on TID2013 in SRCC, not in PLCC."""
    files = [
        SCORES / f"{dataset}_{metric}.csv"
        for dataset in ("live", "tid2013")
        for metric in ("dinov1_l2", "clip_vitb32_l2", "psnr", "fsim")
    ]
    result = run(*files, "--html", tmp_path / "out.html", "--format", "json")
    assert result.returncode == 0, result.stderr
    groups = {group["name"]: group for group in json.loads(result.stdout)["groups"]}
    interval = {
        (name, row["a"], row["b"], statistic): row["pooled"][statistic]["interval"]
        for name, group in groups.items()
        for row in group["pairwise"]
        for statistic in ("srcc", "plcc")
    }
    for name in ("live", "tid2013"):
        low, high = interval[name, "dinov1_l2", "clip_vitb32_l2", "srcc"]
        assert low < 0 < high
    low, high = interval["live", "dinov1_l2", "clip_vitb32_l2", "plcc"]  # CLIP is ahead by .010 -+ .013
    assert -0.03 < low < -0.02 and 0 < high < 0.01
    assert interval["tid2013", "dinov1_l2", "fsim", "srcc"][1] < 0  # FSIMc is ahead
    low, high = interval["tid2013", "dinov1_l2", "fsim", "plcc"]
    assert low < 0 < high
    assert (groups["live"]["references"], groups["tid2013"]["references"]) == (29, 25)
    assert (
        set(groups["live"]["types"]) == {"jp2k", "jpeg", "wn", "gblur", "fastfading"}
        and groups["live"]["types"]["jp2k"]["pairs"] == 169
    )
    assert groups["tid2013"]["coefficients"]["psnr"]["pooled"]["srcc"]["value"] == pytest.approx(
        0.687, abs=5e-4
    )  # Table 3 of the paper
    text = (tmp_path / "out.html").read_text()
    assert "fsim beats dinov1_l2" in text and "clip_vitb32_l2 beats dinov1_l2" in text


def test_a_difference_that_has_no_interval_is_shown_without_a_p(tmp_path, capsys):
    """Two references, and a metric that is constant on one of them: in some resamples it has no correlation."""
    rng = np.random.default_rng(0)
    for name, constant in (("a", False), ("b", True)):
        lines = ["dis,ref,mos,pred"]
        for i in range(40):
            lines.append(
                f"d{i}.png,r{i // 20}.png,{i % 20},{1.0 if constant and i < 20 else i % 20 + rng.normal():.3f}"
            )
        (tmp_path / f"mine_{name}.csv").write_text("\n".join(lines) + "\n")
    assert call(capsys, tmp_path / "mine_a.csv", tmp_path / "mine_b.csv", "--higher-is", "worse", main=main)[0] == 0
