"""fuse.py on score files made up for it, where the best exponents are known,
and on the authors' where they are there."""

import csv
import io
import itertools
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from made_factors import REFERENCES, describe, held_out, made, put, report
from places import ROOT, SHARED
from scipy.stats import spearmanr

import fuse
from agreement import correlations
from agreement.exponents import EQUAL
from common.errors import UsageError
from reports.fuse.cells import Folder
from reports.fuse.choice import agreement_of, leaving_one_out

RELEASED = SHARED / "paper" / "scores"


# ---- leaving one dataset out


def test_gain_on_one_dataset_alone_is_not_reported_for_it(tmp_path):
    made(tmp_path, {"alpha": 1.0})
    result = report(tmp_path, "--factors", "a", "b")
    alpha = held_out(result, "alpha")
    assert alpha["parameters"] == {"a": 1.0, "b": 0.0} and alpha["gain"] <= 0
    assert alpha["chosen_on"] == ["beta", "gamma"]
    for dataset in ("beta", "gamma"):  # chosen with alpha's help, b does harm there, and that is what is said
        assert held_out(result, dataset)["parameters"]["b"] > 0 and held_out(result, dataset)["gain"] < 0
    # it is there to be found: fitted in sample alpha gains much, and so a tool that does not leave it out would say so
    assert result["in_sample"]["mean_srcc"]["alpha"] > alpha["mean_srcc"] + 0.05


def test_choice_for_a_dataset_does_not_see_its_labels(tmp_path):
    made(tmp_path, {"alpha": 0.3, "beta": 0.5, "gamma": 1.0})
    before = report(tmp_path, "--factors", "a", "b")
    for path in tmp_path.glob("alpha_*.csv"):
        table = pd.read_csv(path)
        table.assign(mos=-table["mos"]).to_csv(path, index=False)
    after = report(tmp_path, "--factors", "a", "b")
    assert held_out(after, "alpha")["parameters"] == held_out(before, "alpha")["parameters"]
    assert held_out(after, "alpha")["mean_srcc"] == pytest.approx(-held_out(before, "alpha")["mean_srcc"])
    assert held_out(after, "beta")["parameters"] != held_out(before, "beta")["parameters"]


def test_a_factor_that_helps_everywhere_is_found_and_gains(tmp_path):
    made(tmp_path, {"alpha": 0.5, "beta": 0.5, "gamma": 0.5})
    result = report(tmp_path, "--factors", "a", "b")
    for h in result["held_out"]:
        assert h["parameters"]["b"] == pytest.approx(0.5, rel=0.1) and h["gain"] > 0.05
    for line in result["lines"]:
        if line["role"].startswith("factor"):
            assert (
                line["low"] < line["difference"] < line["high"] and line["low"] > 0 and line["references"] == REFERENCES
            )


def test_scores_and_coefficients_are_those_of_the_product(tmp_path):
    made(tmp_path, {"alpha": 0.5, "beta": 0.5, "gamma": 0.5})
    result = report(tmp_path, "--factors", "a", "b")
    k = held_out(result, "alpha")["parameters"]["b"]
    a, b = (pd.read_csv(tmp_path / f"alpha_{m}_rot-1.csv") for m in "ab")
    line = next(r for r in result["lines"] if (r["dataset"], r["perturbation"], r["role"]) == ("alpha", "rot", "fused"))
    assert line["srcc"] == pytest.approx(spearmanr(a["pred"] * b["pred"] ** k, a["mos"]).statistic, abs=1e-12)
    assert line["plcc"] == pytest.approx(np.corrcoef(a["pred"] * b["pred"] ** k, a["mos"])[0, 1], abs=1e-12)


def test_kendalls_tau_is_computed_once_a_printed_line(tmp_path, monkeypatch):
    made(tmp_path, {"alpha": 0.5, "beta": 0.5, "gamma": 0.5})
    columns, krcc = [], correlations.krcc
    monkeypatch.setattr(correlations, "krcc", lambda x, y: columns.append((x.tobytes(), y.tobytes())) or krcc(x, y))
    result = report(tmp_path, "--factors", "a", "b")
    assert len(columns) == len(set(columns)) == len(result["lines"])


def test_curve_goes_through_the_choice_and_in_sample_comes_last(tmp_path, capsys):
    made(tmp_path, {"alpha": 0.5, "beta": 0.5, "gamma": 0.5})
    result = report(tmp_path, "--factors", "a", "b")
    for curve in result["curves"]:
        means = dict(zip(curve["values"], curve["mean_srcc"]))
        assert (
            means[curve["chosen"]] > max(means.values()) - 2 * EQUAL
            and min(means.values()) < means[curve["chosen"]] - 0.05
        )
    fuse.main([str(tmp_path), "--factors", "a", "b", "--resamples", "100"])
    text = capsys.readouterr().out
    assert text.startswith("Held out") and "in sample" not in text[: text.index("What this is")].lower()
    assert text.rstrip().splitlines()[-1].lstrip().startswith("mean SRCC in sample")


# ---- what a factor enters with


def test_orientation_is_the_registrys_and_never_the_datas(tmp_path):
    """PSNR enters as its reciprocal, labels may be better or worse; a metric that is wrong stays wrong."""
    made(tmp_path, {d: 0.5 for d in ("alpha", "beta", "gamma")}, perturbations=("",))
    plain = report(tmp_path, "--factors", "a", "b")
    for dataset in ("alpha", "beta", "gamma"):
        tables = {m: pd.read_csv(tmp_path / f"{dataset}_{m}.csv") for m in "ab"}
        better = {"label_higher_is": "better"}
        put(tmp_path, f"{dataset}_psnr", 1 / tables["b"]["pred"], -tables["b"]["mos"], better)
        put(tmp_path, f"{dataset}_a", tables["a"]["pred"], -tables["a"]["mos"], better)
        (tmp_path / f"{dataset}_b.csv").unlink()
    turned = report(tmp_path, "--factors", "a", "psnr")
    for one, other in zip(plain["held_out"], turned["held_out"]):
        assert list(one["parameters"].values()) == list(other["parameters"].values())
        assert one["mean_srcc"] == pytest.approx(other["mean_srcc"], abs=1e-12)
    for dataset in (
        "alpha",
        "beta",
        "gamma",
    ):  # the reciprocal named as a distance points the wrong way: left out, not turned
        (tmp_path / f"{dataset}_psnr.csv").rename(tmp_path / f"{dataset}_wrong.csv")
        (tmp_path / f"{dataset}_psnr.json").rename(tmp_path / f"{dataset}_wrong.json")
    assert all(h["parameters"]["wrong"] == 0 for h in report(tmp_path, "--factors", "a", "wrong")["held_out"])


def test_zeros_and_the_rounding_of_a_cosine_go_to_the_floor(tmp_path):
    made(tmp_path, {"alpha": 0.5, "beta": 0.5, "gamma": 0.5}, perturbations=("",))
    path = tmp_path / "alpha_b.csv"
    table = pd.read_csv(path)
    best = table["mos"].nsmallest(5).index
    table.loc[best, "pred"] = [0, 0, -1.2e-7, 1e-9, 1e-6]
    table.to_csv(path, index=False)
    result = report(tmp_path, "--factors", "a", "b")
    a, b = pd.read_csv(tmp_path / "alpha_a.csv"), table
    k = held_out(result, "alpha")["parameters"]["b"]
    expected = spearmanr(a["pred"] * b["pred"].clip(lower=1e-6) ** k, a["mos"]).statistic
    assert next(r for r in result["lines"] if r["dataset"] == "alpha")["srcc"] == pytest.approx(expected, abs=1e-12)
    assert result["floor"] == 1e-6


# ---- joining files


def test_rows_are_joined_by_name_whatever_their_order_and_case(tmp_path):
    made(tmp_path, {"alpha": 0.5, "beta": 0.5, "gamma": 0.5}, perturbations=("",))
    before = report(tmp_path, "--factors", "a", "b")
    table = pd.read_csv(tmp_path / "beta_b.csv").sample(frac=1, random_state=1)
    table.assign(dis="folder/" + table["dis"].str.upper()).to_csv(tmp_path / "beta_b.csv", index=False)
    assert report(tmp_path, "--factors", "a", "b")["held_out"] == before["held_out"]


def test_rows_whose_names_repeat_are_joined_by_order(tmp_path):
    made(tmp_path, {"alpha": 0.5, "beta": 0.5, "gamma": 0.5}, perturbations=("",))
    before = report(tmp_path, "--factors", "a", "b")
    for m in "ab":
        table = pd.read_csv(tmp_path / f"beta_{m}.csv")
        table.assign(dis=[f"img{i % 20}.bmp" for i in range(len(table))]).to_csv(
            tmp_path / f"beta_{m}.csv", index=False
        )
    assert report(tmp_path, "--factors", "a", "b")["held_out"] == before["held_out"]
    table = pd.read_csv(tmp_path / "beta_b.csv")
    table[::-1].to_csv(tmp_path / "beta_b.csv", index=False)
    with pytest.raises(UsageError, match=r"beta_b.csv: line \d+"):
        report(tmp_path, "--factors", "a", "b")


def test_cells_that_lack_a_factor_are_named(tmp_path):
    made(tmp_path, {"alpha": 0.5, "beta": 0.5, "gamma": 0.5})
    (tmp_path / "gamma_b_rot-1.csv").unlink()
    result = report(tmp_path, "--factors", "a", "b")
    assert result["lacks"] == {"gamma rot-1": ["b"]} and "gamma none" in result["used"] and len(result["used"]) == 5


def test_intervals_hold_for_all_lines_at_once(tmp_path):
    """Wider than the same cells alone: the family is all cells and comparators of the report."""
    made(tmp_path, {"alpha": 0.5, "beta": 0.5, "gamma": 0.5}, perturbations=("", "_rot-1", "_tra-1", "_sca-1"))
    many = report(tmp_path, "--factors", "a", "b")
    for path in list(tmp_path.glob("*_*-1.csv")):
        path.unlink()
    few = report(tmp_path, "--factors", "a", "b")

    def widths(result):
        return np.array(
            [r["high"] - r["low"] for r in result["lines"] if r["role"].startswith("factor") and not r["pct"]]
        )

    assert len(widths(many)) == len(widths(few)) and np.mean(widths(many) / widths(few)) > 1.05
    assert {r["verdict"] for r in many["lines"]} <= {None, "better", "worse", "not shown different", "undecided"}
    for r in many["lines"]:
        if r["verdict"] in ("better", "worse"):
            assert r["p"] <= 0.05


def test_shared_content_is_left_out(tmp_path, capsys):
    made(tmp_path, {"alpha": 0.5, "beta": 0.5, "gamma": 0.5}, perturbations=("",))
    shared = tmp_path / "shared.txt"
    shared.write_text("dataset,ref\nalpha,R03.png\nalpha,r07.png\n")
    result = report(tmp_path, "--factors", "a", "b", "--shared-content", shared)
    assert {(r["dataset"], r["references"]) for r in result["lines"]} == {("alpha", 10), ("beta", 12), ("gamma", 12)}
    assert result["shared"] == {"alpha": ["r03.png", "r07.png"]}
    fuse.main([str(tmp_path), "--factors", "a", "b", "--resamples", "100"])
    out = capsys.readouterr().out
    assert "held out is the dataset, not its content" in out and "Kodak" not in out  # that is LIVE's and TID2013's
    shared.write_text("dataset,ref\nalpha,r99.png\n")
    with pytest.raises(UsageError, match="alpha_a.csv has no reference r99.png"):
        report(tmp_path, "--factors", "a", "b", "--shared-content", shared)
    shared.write_text("x\n1\n")
    with pytest.raises(UsageError, match="expected the columns dataset, ref"):
        report(tmp_path, "--factors", "a", "b", "--shared-content", shared)


# ---- bad input

UNUSABLE = {
    "empty": (lambda f: (f / "beta_b.csv").write_text(""), r"beta_b.csv: empty; expected a header"),
    "not a number": (lambda f: spoil("pred", 7, np.nan)(f), r"beta_b.csv: line 9: pred"),
    "interrupted": (
        lambda f: (f / "beta_b.json").write_text('{"pairs_expected": 500}'),
        r"beta_b.csv: 240 of 500 pairs",
    ),
    "JSON": (lambda f: (f / "beta_b.json").write_text("{"), r"beta_b.json: not the JSON of a score file"),
}


@pytest.mark.parametrize("case", UNUSABLE)
@pytest.mark.parametrize("flags", (["--factors", "a", "b"], ["--search", "2"]))
def test_a_file_of_no_use_leaves_its_cell_only(tmp_path, capsys, case, flags):
    change, message = UNUSABLE[case]
    made(tmp_path, {"alpha": 0.5, "beta": 0.5, "gamma": 0.5})
    change(tmp_path)
    if flags[0] == "--search":  # its pool holds methods with plain files of every dataset: beta's are left out by hand
        flags = [*flags, "--datasets", "alpha", "gamma"]
    result = report(tmp_path, *flags)
    err = capsys.readouterr().err
    if "--datasets" in flags:
        assert "left out" not in err  # nothing needed it
    else:
        assert result["lacks"] == {"beta none": ["b"]} and "beta rot-1" in result["used"]
        assert len(re.findall(rf"left out: .*{message}", err)) == 1, err


def spoil(column, row, value):
    def change(folder):
        table = pd.read_csv(folder / "beta_b.csv")
        table.loc[row, column] = value
        table.to_csv(folder / "beta_b.csv", index=False)

    return change


AB = ["--factors", "a", "b"]
BAD = {
    "unknown factor": (None, ["--factors", "a", "c"], r"unknown factor 'c'.*known: a, b"),
    "protocols": (
        describe("beta_b", protocol="corrected"),
        AB,
        r"beta_b.csv: .* under protocol corrected, .* protocol paper",
    ),
    "perturbations": (
        describe("beta_b", perturbation="tra", pct=1.0),
        AB,
        r"beta_b.csv: .*under tra-1 by its JSON, none by",
    ),
    "magnitudes": (
        describe("beta_b_rot-1", perturbation="rot", pct=2.0),
        AB,
        r"b_rot-1.csv: .* rot-2 by its JSON, rot-1 by",
    ),
    "sizes": (describe("beta_b", resizeHW=256), AB, r"beta_b.csv: scored with --resizeHW 256"),
    "other pairs": (spoil("dis", 7, "stranger.png"), AB, r"beta_b.csv: line 9: stranger.png"),
    "other labels": (spoil("mos", 7, 99), AB, r"beta_b.csv: line 9: the label"),
    "negative": (spoil("pred", 7, -0.01), AB, r"beta_b.csv: line 9: -0.01 is negative"),
    "fewer pairs": (
        lambda f: pd.read_csv(f / "beta_b.csv")[1:].to_csv(f / "beta_b.csv", index=False),
        AB,
        "beta_b.csv: 239",
    ),
    "constant": (spoil("pred", slice(None), 1.0), AB, r"b in beta none: expected predictions that differ"),
    "one dataset": (
        None,
        [*AB, "--datasets", "alpha"],
        r"leaving one dataset out takes two datasets or more.*found alpha",
    ),
    "no such dataset": (None, [*AB, "--datasets", "alpha", "omega"], r"omega: no score file of it.*alpha, beta, gamma"),
    "one factor": (None, ["--factors", "a"], "expected two factors or more"),
    "twice": (None, [*AB, "a"], "stands there twice"),
    "nothing asked": (None, ["--datasets", "alpha"], "expected one of --factors"),
    "two things asked": (None, [*AB, "--blocks", "a"], "expected one of --factors"),
    "no blocks": (None, ["--blocks", "a"], r"alpha_a.csv: expected the columns pred_0, .*run.py --per-layer"),
    "weights of metrics": (None, [*AB, "--by", "weights"], "no common unit"),
    "floor": (None, [*AB, "--floor", "0"], "--floor 0: expected a number above 0"),
    "beside": (None, [*AB, "--beside", "x"], "unknown method 'x'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_that_says_so(tmp_path, case):
    change, argv, message = BAD[case]
    made(tmp_path, {"alpha": 0.5, "beta": 0.5, "gamma": 0.5})
    if change:
        change(tmp_path)
    with pytest.raises(UsageError, match=message):
        fuse.main([str(tmp_path), *argv, "--resamples", "100"])


def test_bad_input_ends_with_code_2_and_one_line(tmp_path):
    made(tmp_path, {}, perturbations=("",))
    for folder, factors in ((tmp_path, "ac"), (tmp_path / "nowhere", "ab")):
        done = subprocess.run(
            [sys.executable, ROOT / "fuse.py", folder, "--factors", *factors], capture_output=True, text=True
        )
        assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1, done.stderr


# ---- formats, the released files


def test_formats_say_the_same(tmp_path, capsys):
    made(tmp_path, {"alpha": 0.5, "beta": 0.5, "gamma": 0.5}, perturbations=("",))
    lines = report(tmp_path, "--factors", "a", "b")["lines"]
    shown = {}
    for form in ("csv", "markdown", "text"):
        fuse.main([str(tmp_path), "--factors", "a", "b", "--resamples", "100", "--format", form])
        shown[form] = capsys.readouterr().out
    table = list(csv.DictReader(io.StringIO(shown["csv"])))
    assert [float(row["srcc"]) for row in table] == [line["srcc"] for line in lines]
    for line, form in itertools.product(lines, ("markdown", "text")):
        assert f"{line['srcc']:.3f}" in shown[form]


# SRCC of TID2013 held out, from the issue that asked for this; the authors' released score files it needs are not all
# public here
TID2013 = {"none": 0.832, "tra": 0.785, "sca": 0.838, "rot": 0.841}


@pytest.mark.skipif(
    not (RELEASED / "pipal_dinov1_cos.csv").exists(), reason="no released scores in ../shared/paper/scores"
)
def test_released_scores_give_the_published_fusion():
    folder = Folder(RELEASED)
    cells, lacking = folder.load(["dinov1_cos", "embed_openclip_vitb32_laion_tecoa4_cos"])
    choices = leaving_one_out(agreement_of(cells, "exponents"), cells[0].factors, (1.0, 0.0), [1])
    chosen = next(c for c in choices if c.held_out == "tid2013")
    assert chosen.parameters[1] == pytest.approx(0.13, abs=0.011) and "tid2013" not in chosen.chosen_on
    for cell in cells:
        if cell.dataset == "tid2013":
            result = spearmanr(chosen.scores(cell, "exponents"), cell.badness).statistic
            assert result == pytest.approx(TID2013[cell.perturbation], abs=0.002)
    if not (RELEASED / "pipal_dinov1_cos_tra-1.csv").exists():
        assert set(lacking) >= {"pipal tra-1", "pipal sca-1", "pipal rot-1"}
