"""fuse.py on score files made up for it, where the best exponents are known, and on the authors' where they are there."""
import csv
import io
import itertools
import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

import fuse
from cli import UsageError
from exponents import EQUAL, Agreement, choose, srccs, unit_ranks
from fuse_cells import Folder
from fuse_choice import agreement_of, leaving_one_out

ROOT = Path(__file__).parents[1]
RELEASED = ROOT.parent / "shared" / "paper" / "scores"
PAIRS, REFERENCES = 240, 12


def names(dataset, n=PAIRS):
    dis = [f"{dataset}_{i % REFERENCES:02d}_{i // REFERENCES:03d}.png" for i in range(n)]
    return dis, [f"r{i % REFERENCES:02d}.png" for i in range(n)]


def put(folder, name, pred, mos, settings=None, **columns):
    """One score file; settings: what its JSON holds, none without."""
    dis, ref = names(name.partition("_")[0], len(pred))
    pd.DataFrame({"dis": dis, "ref": ref, "mos": mos, "pred": pred, **columns}).to_csv(folder / f"{name}.csv", index=False)
    if settings is not None:
        (folder / f"{name}.json").write_text(json.dumps(settings))


def made(folder, power, datasets=("alpha", "beta", "gamma"), perturbations=("", "_rot-1"), noise=0.05):
    """Files of the factors a and b, in which power[dataset] is the exponent of b that fits the labels best (0 if not given)."""
    for i, dataset in enumerate(datasets):
        label = np.random.default_rng(100 + i).normal(size=PAIRS)      # the dataset's, so the same under each perturbation
        for j, perturbation in enumerate(perturbations):
            a, b, rest = np.random.default_rng(10 * i + j).normal(size=(3, PAIRS))
            fit = np.argsort(a + power.get(dataset, 0) * b + noise * rest)[np.argsort(np.argsort(label))]
            put(folder, f"{dataset}_a{perturbation}", np.exp(a[fit]), label)
            put(folder, f"{dataset}_b{perturbation}", np.exp(b[fit]), label)


def report(folder, *argv):
    """fuse.py's JSON."""
    out = folder / "report.json"
    assert not fuse.main([str(folder), *argv, "--resamples", "100", "--format", "json", "-o", str(out)])
    return json.loads(out.read_text())


def held_out(found, dataset):
    return next(h for h in found["held_out"] if h["held_out"] == dataset)


# ---- SRCC, and choosing

@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(*[st.integers(-5, 5)] * 3), min_size=3, max_size=40))
def test_srcc_of_combinations_is_scipys_with_ties_too(rows):
    x, y, label = np.array(rows, dtype=float).T
    if len(set(label)) < 2:
        return
    for combination, found in zip((x, y, x + y), srccs(np.stack([x, y, x + y]), unit_ranks(label))):
        if len(set(combination)) < 2:
            assert np.isnan(found)
        else:
            assert found == pytest.approx(spearmanr(combination, label).statistic, abs=1e-12)


def cells(power, n=2000, noise=0.05, datasets=("alpha", "beta")):
    rng = np.random.default_rng(3)
    X = [rng.normal(size=(2, n)) for _ in datasets]
    return [(d, x, x[0] + power * x[1] + noise * rng.normal(size=n)) for d, x in zip(datasets, X)]


@pytest.mark.parametrize("power", (0.02, 0.13, 0.5, 3, 40))
def test_a_known_exponent_is_found(power):
    agreement = Agreement(cells(power))
    found = choose(agreement, ["alpha", "beta"], (1.0, 0.0), [1])
    assert found[0] == 1 and found[1] == pytest.approx(power, rel=0.15, abs=0.01)
    assert agreement.mean([found], ["alpha"])[0] > agreement.mean([(1, 0)], ["alpha"])[0] + EQUAL


def test_a_factor_that_gains_nothing_stays_out_exactly():
    assert choose(Agreement(cells(0)), ["alpha", "beta"], (1.0, 0.0), [1]) == (1.0, 0.0)


def test_a_dataset_with_more_cells_counts_no_more():
    one, other = cells(0.1)[:1], [("beta", *cells(2, datasets=("beta",))[0][1:])]
    once, often = (choose(Agreement(one * k + other), ["alpha", "beta"], (1.0, 0.0), [1]) for k in (1, 5))
    assert once == often != choose(Agreement(one), ["alpha"], (1.0, 0.0), [1])


# ---- leaving one dataset out

def test_gain_on_one_dataset_alone_is_not_reported_for_it(tmp_path):
    made(tmp_path, {"alpha": 1.0})
    found = report(tmp_path, "--factors", "a", "b")
    alpha = held_out(found, "alpha")
    assert alpha["parameters"] == {"a": 1.0, "b": 0.0} and alpha["gain"] <= 0
    assert alpha["chosen_on"] == ["beta", "gamma"]
    for dataset in ("beta", "gamma"):      # chosen with alpha's help, b does harm there, and that is what is said
        assert held_out(found, dataset)["parameters"]["b"] > 0 and held_out(found, dataset)["gain"] < 0
    # it is there to be found: fitted in sample alpha gains much, and so a tool that does not leave it out would say so
    assert found["in_sample"]["mean_srcc"]["alpha"] > alpha["mean_srcc"] + 0.05


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
    found = report(tmp_path, "--factors", "a", "b")
    for h in found["held_out"]:
        assert h["parameters"]["b"] == pytest.approx(0.5, rel=0.1) and h["gain"] > 0.05
    for line in found["lines"]:
        if line["role"].startswith("factor"):
            assert line["low"] < line["difference"] < line["high"] and line["low"] > 0 and line["references"] == REFERENCES


def test_scores_and_coefficients_are_those_of_the_product(tmp_path):
    made(tmp_path, {"alpha": 0.5, "beta": 0.5, "gamma": 0.5})
    found = report(tmp_path, "--factors", "a", "b")
    k = held_out(found, "alpha")["parameters"]["b"]
    a, b = (pd.read_csv(tmp_path / f"alpha_{m}_rot-1.csv") for m in "ab")
    line = next(r for r in found["lines"] if (r["dataset"], r["perturbation"], r["role"]) == ("alpha", "rot", "fused"))
    assert line["srcc"] == pytest.approx(spearmanr(a["pred"] * b["pred"] ** k, a["mos"]).statistic, abs=1e-12)
    assert line["plcc"] == pytest.approx(np.corrcoef(a["pred"] * b["pred"] ** k, a["mos"])[0, 1], abs=1e-12)


def test_curve_goes_through_the_choice_and_in_sample_comes_last(tmp_path, capsys):
    made(tmp_path, {"alpha": 0.5, "beta": 0.5, "gamma": 0.5})
    found = report(tmp_path, "--factors", "a", "b")
    for curve in found["curves"]:
        means = dict(zip(curve["values"], curve["mean_srcc"]))
        assert means[curve["chosen"]] > max(means.values()) - 2 * EQUAL and min(means.values()) < means[curve["chosen"]] - 0.05
    fuse.main([str(tmp_path), "--factors", "a", "b", "--resamples", "100"])
    text = capsys.readouterr().out
    assert text.startswith("Held out") and "in sample" not in text[:text.index("What this is")].lower()
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
    for dataset in ("alpha", "beta", "gamma"):     # the reciprocal named as a distance points the wrong way: left out, not turned
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
    found = report(tmp_path, "--factors", "a", "b")
    a, b = pd.read_csv(tmp_path / "alpha_a.csv"), table
    k = held_out(found, "alpha")["parameters"]["b"]
    expected = spearmanr(a["pred"] * b["pred"].clip(lower=1e-6) ** k, a["mos"]).statistic
    assert next(r for r in found["lines"] if r["dataset"] == "alpha")["srcc"] == pytest.approx(expected, abs=1e-12)
    assert found["floor"] == 1e-6


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
        table.assign(dis=[f"img{i % 20}.bmp" for i in range(len(table))]).to_csv(tmp_path / f"beta_{m}.csv", index=False)
    assert report(tmp_path, "--factors", "a", "b")["held_out"] == before["held_out"]
    table = pd.read_csv(tmp_path / "beta_b.csv")
    table[::-1].to_csv(tmp_path / "beta_b.csv", index=False)
    with pytest.raises(UsageError, match=r"beta_b.csv: line \d+"):
        report(tmp_path, "--factors", "a", "b")


def test_cells_that_lack_a_factor_are_named(tmp_path):
    made(tmp_path, {"alpha": 0.5, "beta": 0.5, "gamma": 0.5})
    (tmp_path / "gamma_b_rot-1.csv").unlink()
    found = report(tmp_path, "--factors", "a", "b")
    assert found["lacks"] == {"gamma rot-1": ["b"]} and "gamma none" in found["used"] and len(found["used"]) == 5


# ---- bad input

def spoil(column, row, value):
    def change(folder):
        table = pd.read_csv(folder / "beta_b.csv")
        table.loc[row, column] = value
        table.to_csv(folder / "beta_b.csv", index=False)
    return change


def describe(name, **settings):
    return lambda folder: (folder / f"{name}.json").write_text(json.dumps({"settings": settings}))


AB = ["--factors", "a", "b"]
BAD = {
    "unknown factor": (None, ["--factors", "a", "c"], r"unknown factor 'c'.*known: a, b"),
    "protocols": (describe("beta_b", protocol="corrected"), AB, r"beta_b.csv: .* under protocol corrected, .* protocol paper"),
    "perturbations": (describe("beta_b", perturbation="tra", pct=1.0), AB, r"beta_b.csv: .*under tra-1 by its JSON, none by"),
    "magnitudes": (describe("beta_b_rot-1", perturbation="rot", pct=2.0), AB, r"b_rot-1.csv: .* rot-2 by its JSON, rot-1 by"),
    "sizes": (describe("beta_b", resizeHW=256), AB, r"beta_b.csv: scored with --resizeHW 256"),
    "other pairs": (spoil("dis", 7, "stranger.png"), AB, r"beta_b.csv: line 9: stranger.png"),
    "other labels": (spoil("mos", 7, 99), AB, r"beta_b.csv: line 9: the label"),
    "negative": (spoil("pred", 7, -0.01), AB, r"beta_b.csv: line 9: -0.01 is negative"),
    "not a number": (spoil("pred", 7, np.nan), AB, r"beta_b.csv: line 9: pred"),
    "fewer pairs": (lambda f: pd.read_csv(f / "beta_b.csv")[1:].to_csv(f / "beta_b.csv", index=False), AB, "beta_b.csv: 239"),
    "partial": (lambda f: (f / "beta_b.json").write_text('{"pairs_expected": 500}'), AB, r"beta_b.csv: 240 of 500 pairs"),
    "constant": (spoil("pred", slice(None), 1.0), AB, r"b in beta none: expected predictions that differ"),
    "one dataset": (None, [*AB, "--datasets", "alpha"], r"leaving one dataset out takes two datasets or more.*found alpha"),
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
        done = subprocess.run([sys.executable, ROOT / "fuse.py", folder, "--factors", *factors], capture_output=True, text=True)
        assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1, done.stderr


# ---- search

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
    found = report(tmp_path, "--search")
    tried = found["tried"]
    assert (tried["pairs"], tried["triples"], tried["forward"]) == (10, 10, 2) and tried["combinations"] == 22
    for h in found["held_out"]:
        assert set(h["parameters"]) == {"f1", "f2", "f4"} and h["gain"] > 0.1
        powers = np.array([h["parameters"][m] for m in ("f1", "f2", "f4")])
        assert powers / powers[0] == pytest.approx([1, 0.7, 0.5], rel=0.15)
    for line in found["lines"]:
        if line["role"] != "fused":     # corrected for 22 looks, so wider about the same difference
            assert line["low_corrected"] < line["low"] < line["high"] < line["high_corrected"]


def test_search_of_pairs_alone_and_of_a_pool(tmp_path):
    three(tmp_path)
    assert report(tmp_path, "--search", "2")["tried"]["combinations"] == 10
    found = report(tmp_path, "--search", "--factors", "f0", "f1", "f3")
    assert found["tried"]["pool"] == ["f0", "f1", "f3"] and found["tried"]["combinations"] == 4
    assert all(h["best_factor"] == "f1" and h["gain"] < 0.01 for h in found["held_out"])   # two of the three are noise


def test_search_says_what_is_not_in_its_pool(tmp_path):
    three(tmp_path)
    (tmp_path / "beta_f3.csv").unlink()
    spoiled = pd.read_csv(tmp_path / "beta_f0.csv")
    spoiled.assign(pred=spoiled["pred"] - 1).to_csv(tmp_path / "beta_f0.csv", index=False)
    describe("alpha_f2", fused="f1 * f4")(tmp_path)
    found = report(tmp_path, "--search")["tried"]
    assert found["pool"] == ["f1", "f4"]
    assert found["notes"][1:] == ["not in the pool, with negative values: f0", "not in the pool, fused: f2",
                                  "not in the pool, lacking beta: f3"]


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
    found = report(tmp_path, "--blocks", "net_cos", "--by", by)
    for h in found["held_out"]:
        p = np.array([h["parameters"][f"pred_{n}"] for n in range(4)])
        p /= p[2]
        assert h["mean_srcc"] > 0.99 and h["chosen_on"] == [d for d in ("alpha", "beta", "gamma") if d != h["held_out"]]
        assert p[0] == pytest.approx(0 if truth == "sum" else 0.5, abs=0.05) and p[[1, 3]] == pytest.approx(0, abs=0.05)
    roles = [line["role"].partition(",")[0] for line in found["lines"] if line["dataset"] == "alpha"]
    assert roles == ["fused", "all blocks", "block", "block", "block", "block"]


# ---- formats, the released files, speed

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


# SRCC of TID2013 held out, from the issue that asked for this; the authors' released score files it needs are not all public here
TID2013 = {"none": 0.832, "tra": 0.785, "sca": 0.838, "rot": 0.841}


@pytest.mark.skipif(not (RELEASED / "pipal_dinov1_cos.csv").exists(), reason="no released scores in ../shared/paper/scores")
def test_released_scores_give_the_published_fusion():
    folder = Folder(RELEASED)
    cells, lacking = folder.load(["dinov1_cos", "embed_openclip_vitb32_laion_tecoa4_cos"])
    choices = leaving_one_out(agreement_of(cells, "exponents"), cells[0].factors, (1.0, 0.0), [1])
    chosen = next(c for c in choices if c.held == "tid2013")
    assert chosen.parameters[1] == pytest.approx(0.13, abs=0.011) and "tid2013" not in chosen.chosen_on
    for cell in cells:
        if cell.dataset == "tid2013":
            found = spearmanr(chosen.scores(cell, "exponents"), cell.badness).statistic
            assert found == pytest.approx(TID2013[cell.perturbation], abs=0.002)
    if not (RELEASED / "pipal_dinov1_cos_tra-1.csv").exists():
        assert set(lacking) >= {"pipal tra-1", "pipal sca-1", "pipal rot-1"}


@pytest.mark.slow
def test_all_pairs_of_20_methods_of_the_papers_size_within_3_minutes(tmp_path):
    for dataset, n, references in (("live", 779, 29), ("tid2013", 3000, 25), ("pipal", 23200, 200)):
        rng = np.random.default_rng(n)
        label = rng.normal(size=n)
        rows = {"dis": [f"i{i}.bmp" for i in range(n)], "ref": [f"r{i % references}.bmp" for i in range(n)], "mos": label}
        for m, perturbation in itertools.product(range(20), ("", "_tra-1", "_sca-1", "_rot-1")):
            sign = -1 if dataset == "pipal" else 1
            pd.DataFrame(rows | {"pred": np.exp(sign * label + rng.normal(size=n))}).to_csv(
                tmp_path / f"{dataset}_m{m}{perturbation}.csv", index=False)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, ROOT / "fuse.py", tmp_path, "--search", "2"], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime    # of a core: others' work does not count
    print(f"{took:.0f} s")
    assert done.returncode == 0 and "190 pairs" in done.stdout, done.stderr
    assert took < 180
