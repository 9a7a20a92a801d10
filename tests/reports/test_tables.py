"""tables.py: the published numbers, what fills a cell and what is refused, the commands, the marks, the exit codes."""

import csv
import json
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from made_scores import labelled, put, run, scores
from places import ROOT, SHARED
from scipy import stats

import tables
from common.errors import UsageError
from reports.tables import cells as paper_cells
from scorefiles.read import parse_name, stem

PAPER = SHARED / "paper"
released = pytest.mark.skipif(not PAPER.is_dir(), reason="the authors' released score files are not beside the project")


def result(capsys, *argv):
    """{(scores_file, statistic): cell} and the summary, through --format json."""
    code, out = run(capsys, *argv, "--format", "json")
    record = json.loads(out)
    return code, {(c["scores_file"], c["statistic"]): c for c in record["cells"]}, record["summary"]


@pytest.fixture
def paper(tmp_path, monkeypatch):
    """A small paper: returns f({(dataset, perturbation, method): printed SRCC}, ...) that replaces the paper's
    tables.csv."""

    def write(numbers, note="", recomputable="yes"):
        file = tmp_path / "paper.csv"
        columns = [c.strip() for c in (ROOT / "reports/tables/paper" / "tables.csv").open().readline().split(",")]
        with file.open("w", newline="") as out:
            writer = csv.DictWriter(out, columns)
            writer.writeheader()
            for (dataset, perturbation, method), value in numbers.items():
                model, distance = method.rsplit("_", 1) if "_" in method else (method, "")
                writer.writerow(
                    {
                        "table": "3",
                        "dataset": dataset,
                        "perturbation": perturbation,
                        "statistic": "srcc",
                        "model": model,
                        "distance": distance,
                        "feature": "features" if distance else "metric",
                        "value": f"{value:.3f}",
                        "note": note,
                        "recomputable": recomputable,
                        "scores_file": stem(dataset, method, paper_cells.PERTURBATIONS[perturbation]) + ".csv",
                    }
                )
        monkeypatch.setattr(paper_cells, "PAPER", file)

    return write


# ---- the published numbers


def test_the_published_numbers():
    cells = tables.published("123")
    assert [sum(c.table == t for c in cells) for t in "123"] == [80, 256, 420]
    assert (
        len({(c.table, c.dataset, c.perturbation, c.model, c.distance, c.feature, c.statistic) for c in cells}) == 756
    )
    assert sum("swapped" in c.note for c in cells) == 32  # Table 1: the labels of CLIP-RN50 and CLIP-ConvNeXt
    assert sum(not c.recomputable and c.model != "efficientnet" for c in cells) == 3  # Table 3, ImageNet-ViT, original
    assert all(not c.recomputable and c.note for c in cells if c.model == "efficientnet")
    assert all(c.note for c in cells if c.model.startswith("lpips"))
    for c in cells:
        dataset, method, perturbation, pct = parse_name(c.scores_file)
        assert (dataset, perturbation) == (c.dataset, paper_cells.PERTURBATIONS[c.perturbation]) and pct in (None, 1)
        assert (c.feature == "embedding") == method.startswith("embed_")
        assert -1 <= c.published <= 1
    values = {
        (c.table, c.dataset, c.perturbation, c.model, c.distance, c.feature, c.statistic): c.published for c in cells
    }
    # three numbers read off the paper's Tables 1-3
    assert values["1", "pipal", "translation", "dinov2", "cos", "features", "srcc"] == 0.523
    assert values["2", "live", "original", "dinov1", "wsd", "features", "plcc"] == 0.954
    assert values["3", "pipal", "rotation", "psnr", "", "metric", "krcc"] == -0.028


@released
def test_published_numbers_are_those_of_the_source():
    carried, source = (
        pd.read_csv(folder / "tables.csv", dtype=str, keep_default_na=False)
        for folder in (ROOT / "reports/tables/paper", PAPER)
    )
    columns = list(source.columns[:-1])  # all but the note, which is worded here
    pd.testing.assert_frame_equal(carried[columns], source[columns])
    assert (carried["note"] != "")[source["note"] != ""].all()


@released
def test_released_files_give_the_printed_digits(capsys):
    code, out = run(capsys, "--scores", PAPER / "scores", "--format", "csv")
    cells = list(csv.DictReader(out.splitlines()))
    there = {file.name for file in (PAPER / "scores").iterdir()}
    assert code == 0 and len(cells) == 756
    assert {c["state"] for c in cells if c["scores_file"] in there} == {"equal"}
    assert {c["state"] for c in cells if c["scores_file"] not in there} == {"missing"}
    assert sum(c["state"] == "equal" for c in cells) == 341


@released
def test_released_files_with_broken_ones_among_them(tmp_path):
    """As the authors' folder is: empty files and interrupted ones beside good ones.
    Every other cell is filled as without them."""
    empty = [
        "live_dinov1_l2.csv",
        "live_dinov1_l2_rot-1.csv",
        "live_clip_vitb32_cos.csv",
        "tid2013_clip_vitb32_cos.csv",
    ]
    interrupted = {"live_dinov1_wsd.csv": 6, "tid2013_clip_vitb32_cos_tra-1.csv": 296}
    (tmp_path / "s").mkdir()
    there = []
    for file in (PAPER / "scores").glob("[lt]i*.csv"):
        if file.name not in (*empty, *interrupted):
            (tmp_path / "s" / file.name).symlink_to(file)
            there.append(file.name)
    for name in empty:
        (tmp_path / "s" / name).touch()
    for name, rows in interrupted.items():
        lines = (PAPER / "scores" / name).read_text().splitlines(keepends=True)
        (tmp_path / "s" / name).write_text("".join(lines[: rows + 1]))

    def tables_py(*argv):
        command = [sys.executable, ROOT / "tables.py", "--table", "2", "--scores", tmp_path / "s", *argv]
        return subprocess.run(command, capture_output=True, text=True)

    done = tables_py("--format", "csv")
    cells = list(csv.DictReader(done.stdout.splitlines()))
    assert done.returncode == 0 and len(cells) == 256
    assert {c["state"] for c in cells if c["scores_file"] in there} == {"equal"}
    assert {c["state"] for c in cells if c["scores_file"] not in there} == {"missing"}
    broken = {c["scores_file"] for c in cells} & {*empty, *interrupted}
    assert len(broken) == 6
    assert {c["scores_file"] for c in cells if c["reason"]} == broken
    assert done.stderr.count("\n") == len(broken) and all(done.stderr.count(f"/{name}:") == 1 for name in broken)
    text = tables_py("--strict")
    assert text.returncode == 1 and re.search(
        r"^\[\w+\] tid2013_clip_vitb32_cos_tra-1.csv: 296 of 3000 pairs$", text.stdout, re.M
    )


# ---- cells


def test_cells_against_scipy_and_their_states(tmp_path, capsys, paper):
    files = {
        ("tid2013", "original", "dinov1_l2"): 1,
        ("tid2013", "rotation", "dinov1_l2"): 2,
        ("pipal", "original", "psnr"): 3,
    }
    truth = {}
    for (dataset, perturbation, method), seed in files.items():
        table = scores(dataset, seed)
        sense = {"tid2013": 1, "pipal": -1}[dataset]
        if method == "psnr":  # higher is better: negated once more
            table["pred"], sense = -table["pred"], 1
        put(tmp_path / "s", stem(dataset, method, paper_cells.PERTURBATIONS[perturbation]) + ".csv", table)
        truth[dataset, perturbation, method] = stats.spearmanr(sense * table["pred"], table["mos"]).statistic
    printed = dict(truth)
    printed["tid2013", "rotation", "dinov1_l2"] += 0.1
    printed["pipal", "translation", "psnr"] = 0.2
    paper(printed)
    code, cells, summary = result(capsys, "--table", "3", "--scores", tmp_path / "s")
    assert code == 0 and all(value > 0.5 for value in truth.values())
    equal, differs = cells["tid2013_dinov1_l2.csv", "srcc"], cells["tid2013_dinov1_l2_rot-1.csv", "srcc"]
    assert (
        equal["score"] == pytest.approx(truth["tid2013", "original", "dinov1_l2"], abs=1e-12)
        and equal["state"] == "equal"
    )
    assert differs["state"] == "differs" and differs["difference"] == pytest.approx(-0.1, abs=0.0006)
    assert cells["pipal_psnr.csv", "srcc"]["state"] == "equal"
    assert (
        cells["pipal_psnr_tra-1.csv", "srcc"] | {"state": "missing", "score": None}
        == cells["pipal_psnr_tra-1.csv", "srcc"]
    )
    assert (summary["cells"], summary["equal"], summary["differs"], summary["missing"]) == (4, 2, 1, 1)
    assert summary["commands"] == ["-dat pipal -m psnr -rob tra"]


def test_a_reversed_sign_shows(tmp_path, capsys, paper):
    table = scores("tid2013")
    put(tmp_path / "s", "tid2013_dinov1_l2.csv", table.assign(pred=-table["pred"]))
    paper({("tid2013", "original", "dinov1_l2"): 0.8})
    assert result(capsys, "--scores", tmp_path / "s")[1]["tid2013_dinov1_l2.csv", "srcc"]["score"] < -0.5


@pytest.mark.parametrize(
    "score, state",
    [
        (0.5004, "equal"),
        (0.5005, "equal"),
        (0.4995, "equal"),
        (0.50051, "differs"),
        (0.49949, "differs"),
        (-0.5, "differs"),
    ],
)
def test_equal_to_the_printed_digit(score, state, paper):
    class OneScore:
        def look_up(self, name):
            return "the file", 3000, 3000

        def coefficient(self, file, statistic):
            return {("the file", "srcc"): score}[file, statistic]

    paper({("tid2013", "original", "psnr"): 0.5})
    cells = tables.published("3")
    tables.fill(cells, OneScore())
    assert cells[0].state == state


def test_strict(tmp_path, capsys, paper):
    put(tmp_path / "s", "tid2013_psnr.csv", scores("tid2013"))
    value = -stats.spearmanr(*scores("tid2013")[["pred", "mos"]].T.to_numpy()).statistic
    key = ("tid2013", "original", "psnr")
    paper({key: value})
    assert run(capsys, "--scores", tmp_path / "s", "--strict")[0] == 0
    paper({key: value + 0.1})
    assert run(capsys, "--scores", tmp_path / "s", "--strict")[0] == 1
    assert run(capsys, "--scores", tmp_path / "s")[0] == 0
    paper({key: value + 0.1}, note="printed from another run", recomputable="no")
    code, out = run(capsys, "--scores", tmp_path / "s", "--strict")
    assert (
        code == 0 and "[a] printed from another run" in out and "1 differ where the print cannot be recomputed" in out
    )
    paper({key: value, ("tid2013", "rotation", "psnr"): 0.1})
    assert run(capsys, "--scores", tmp_path / "s", "--strict")[0] == 1


def test_an_empty_folder_says_what_to_run(tmp_path, capsys, monkeypatch):
    code, out = run(capsys, "--scores", tmp_path)
    assert code == 0 and "756 missing" in out
    assert "\n  python run.py -dat pipal -m imagenet_vit -d l2 cos -rob none tra sca rot\n" in out
    monkeypatch.chdir(tmp_path)  # nor is the default folder there
    assert run(capsys)[1] == out
    assert run(capsys, "--strict")[0] == 1
    with pytest.raises(UsageError, match="nowhere: no such folder"):
        tables.main(["--scores", str(tmp_path / "nowhere")])


def test_partial_files_never_fill_a_cell(tmp_path, capsys, paper):
    paper(
        {
            ("tid2013", "original", "psnr"): 0.1,
            ("tid2013", "rotation", "psnr"): 0.1,
            ("tid2013", "dilation", "psnr"): 0.1,
        }
    )
    put(tmp_path / "s", "tid2013_psnr.csv.partial", scores("tid2013", rows=4))
    # complete for a folder that holds seven of the pairs, but not the dataset of the paper
    put(tmp_path / "s", "tid2013_psnr_rot-1.csv", scores("tid2013", rows=7), pairs_expected=7)
    put(tmp_path / "s", "tid2013_psnr_sca-1.csv", scores("tid2013"))
    put(tmp_path / "s", "tid2013_psnr_sca-1.csv.partial", scores("tid2013", rows=4))
    _, cells, summary = result(capsys, "--scores", tmp_path / "s")
    states = [(c["state"], c["pairs"], c["expected"], c["score"] is None) for c in cells.values()]
    assert states == [("partial", 4, 3000, True), ("partial", 7, 3000, True), ("differs", 3000, 3000, False)]
    assert summary["commands"] == ["-dat tid2013 -m psnr -rob none rot"]
    out = run(capsys, "--scores", tmp_path / "s")[1]
    assert "4/3000|0.100" in out and "7/3000|0.100" in out and "tid2013_psnr.csv: 4/3000 pairs" in out


def test_random_weights_never_fill_a_cell(tmp_path, capsys, paper):
    paper({("tid2013", "original", "dinov1_l2"): 0.1, ("tid2013", "rotation", "dinov1_l2"): 0.1})
    random = {"weights": [{"name": "random", "seed": 0}]}
    put(tmp_path / "s", "tid2013_dinov1-random_l2.csv", scores("tid2013"), settings=random)
    put(
        tmp_path / "s", "tid2013_dinov1_l2_rot-1.csv", scores("tid2013"), settings=random
    )  # run.py --saveas can do that
    _, cells, summary = result(capsys, "--scores", tmp_path / "s")
    assert {c["state"] for c in cells.values()} == {"missing"}
    assert len(summary["ignored"]) == 1 and "random weights" in summary["ignored"][0]
    put(tmp_path / "t", "tid2013_dinov1_l2_rot-1.csv", scores("tid2013"))  # a later folder may hold the real one
    cells = result(capsys, "--scores", tmp_path / "s", tmp_path / "t")[1]
    assert cells["tid2013_dinov1_l2_rot-1.csv", "srcc"]["state"] == "differs"


def test_live_by_order_and_label(tmp_path, capsys, paper):
    """The authors' names repeat; ours have folders; both fill one table as long as the labels agree in order."""
    paper({("live", "original", "psnr"): 0.1, ("live", "rotation", "psnr"): 0.1})
    carried = scores("live", seed=2)
    carried["dis"] = [f"folder{i // 229}/{name}" for i, name in enumerate(carried["dis"])]
    put(tmp_path / "s", "live_psnr.csv", scores("live"))
    put(tmp_path / "s", "live_psnr_rot-1.csv", carried)
    assert {c["pairs"] for c in result(capsys, "--scores", tmp_path / "s")[1].values()} == {779}
    put(tmp_path / "s", "live_psnr_rot-1.csv", carried[::-1])
    with pytest.raises(UsageError, match=r"live_psnr_rot-1.csv: line 2: folder3/img91.bmp is not where it should be"):
        tables.main(["--scores", str(tmp_path / "s")])


UNUSABLE = {  # what is done to a good file, why it then fills no cell
    "NaN": (
        lambda t: t.assign(pred=t["pred"].where(t.index != 5)),
        r"line 7: pred: expected a finite number, found ''",
    ),
    "column": (lambda t: t.drop(columns="mos"), r"line 1: expected the columns .* missing mos.*"),
    "empty": (lambda t: pd.DataFrame(), r"empty; expected a header with the columns dis, .*"),
    "no rows": (lambda t: t[:0], r"no rows under the header"),
    "interrupted": (lambda t: t[:296], r"296 of 3000 pairs"),
    "too few": (lambda t: t[:2999], r"2999 of 3000 pairs"),
    "too many": (lambda t: pd.concat([t, t[:1].assign(dis="i99_01_1.bmp")]), r"3001 of 3000 pairs"),
    "twice": (
        lambda t: pd.concat([t[:2999], t[8:9].assign(pred=1.0)]),
        r"line 3001: .* stands in an earlier line, too",
    ),
    "constant": (lambda t: t.assign(pred=1.0), r"expected predictions that differ, .*"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
@pytest.mark.parametrize("first", (True, False))  # whether the broken file is the first that is read
def test_a_file_of_no_use_is_a_missing_cell_with_a_footnote(kind, first, tmp_path, capsys, paper):
    change, reason = UNUSABLE[kind]
    broken, good = ("original", "rotation") if first else ("rotation", "original")
    names = {"original": "tid2013_psnr.csv", "rotation": "tid2013_psnr_rot-1.csv"}
    table = scores("tid2013", seed=1)
    value = -stats.spearmanr(table["pred"], table["mos"]).statistic
    put(tmp_path / "s", names[good], table)
    put(tmp_path / "s", names[broken], change(scores("tid2013")))
    paper({("tid2013", "original", "psnr"): value, ("tid2013", "rotation", "psnr"): value})
    assert tables.main(["--scores", str(tmp_path / "s")]) == 0
    out, err = capsys.readouterr()
    assert re.search(rf"^\[a\] {names[broken]}: {reason}$", out, re.M), out
    assert "1 equal to the printed digit, 0 differ" in out and "1 missing" in out
    assert re.search(rf" -\|{value:.3f}a\b", out), out
    assert err.count("\n") == 1 and re.search(rf"left out: {tmp_path}/s/{names[broken]}: {reason}", err), err
    code, cells, summary = result(capsys, "--scores", tmp_path / "s", "--strict")
    assert code == 1 and summary["missing"] == 1 and cells[names[good], "srcc"]["state"] == "equal"
    assert cells[names[broken], "srcc"]["reason"].startswith(names[broken])
    put(tmp_path / "t", names[broken], table)  # a later folder may hold a good one
    assert result(capsys, "--scores", tmp_path / "s", tmp_path / "t", "--strict")[0] == 0


BAD = {  # what is done to a good file, its settings, the error after the file's name: files that contradict each other
    "label": (
        lambda t: labelled(t, 12, 3.5),
        {},
        r"line 12: the label of I01_03_1.bmp is 3.5, but [\d.]+ in .*csv, line 12",
    ),
    "stranger": (
        lambda t: t.assign(dis=t["dis"].where(t.index != 3, "x.bmp")),
        {},
        r"line 5: x.bmp is not where it should be",
    ),
    "protocol": (
        lambda t: t,
        {"protocol": "corrected"},
        r"line 1: scored under protocol corrected, but .*psnr.csv under paper",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_files_that_contradict_each_other_are_named_with_the_line(kind, tmp_path, paper):
    change, settings, message = BAD[kind]
    paper({("tid2013", "original", "psnr"): 0.1, ("tid2013", "rotation", "psnr"): 0.1})
    put(tmp_path / "s", "tid2013_psnr.csv", scores("tid2013", seed=1))
    put(tmp_path / "s", "tid2013_psnr_rot-1.csv", change(scores("tid2013")), settings=settings)
    with pytest.raises(UsageError) as error:
        tables.main(["--scores", str(tmp_path / "s")])
    assert re.search("psnr_rot-1.csv: " + message, str(error.value)), error.value


def test_tid2013_in_another_order_is_the_same(tmp_path, capsys, paper):
    paper({("tid2013", "original", "psnr"): 0.1, ("tid2013", "rotation", "psnr"): 0.1})
    put(tmp_path / "s", "tid2013_psnr.csv", scores("tid2013"))
    put(tmp_path / "s", "tid2013_psnr_rot-1.csv", scores("tid2013").sample(frac=1, random_state=0))
    one, two = result(capsys, "--scores", tmp_path / "s")[1].values()
    assert one["score"] == pytest.approx(two["score"], abs=1e-12)


def test_settings_that_no_file_name_shows_are_said(tmp_path, capsys, paper):
    paper({("tid2013", "original", "psnr"): 0.1, ("tid2013", "rotation", "psnr"): 0.1})
    put(tmp_path / "s", "tid2013_psnr.csv", scores("tid2013"), settings={"resizeHW": 224, "precision": "paper"})
    put(tmp_path / "s", "tid2013_psnr_rot-1.csv", scores("tid2013"), settings={"resizeHW": None, "precision": "paper"})
    out = run(capsys, "--scores", tmp_path / "s")[1]
    assert "tid2013_psnr.csv: resizeHW 224\n" in out and "psnr_rot-1.csv:" not in out


# ---- commands and rows


@pytest.mark.parametrize("which", ["1", "2", "3", "123"])
def test_commands_make_exactly_what_the_tables_need(which):
    """One call a dataset and backbone; what run.py makes of each call covers every score file; none is made twice."""
    from methods.build import build
    from methods.model import Options

    cells, made, backbones = tables.published(which), [], []
    for call in map(str, tables.calls(cells)):
        flags = {part.split()[0]: part.split()[1:] for part in re.split(r" (?=-)", call)}
        models = build(flags["-m"], flags.get("-d", []), Options())
        made += [
            f"{stem(dataset, column.name, rob)}.csv"
            for dataset in flags["-dat"]
            for model in models
            for column in model.columns
            for rob in flags["-rob"]
        ]
        backbones.append((*flags["-dat"], flags["-m"][-1].removeprefix("embed_") if "-d" in flags else ""))
    assert len(made) == len(set(made)) and len(backbones) == len(set(backbones))
    assert {c.scores_file for c in cells} == set(made)


def test_only_and_extra(tmp_path, capsys):
    put(tmp_path / "s", "pipal_fused2.csv", scores("pipal"))
    out = run(capsys, "--table", "3", "--only", "psnr", "dinov1_l2", "--extra", "fused2", "--scores", tmp_path / "s")[1]
    rows = [line.split("  ")[0] for line in out.splitlines()]
    assert {"PSNR", "DINOv1 L2 feats.", "fused2"} <= set(rows) and "FSIMc" not in out and "-- beyond the paper -" in out
    assert f"{-stats.pearsonr(*scores('pipal')[['pred', 'mos']].T.to_numpy()).statistic:.3f} " in out
    assert run(capsys, "--table", "2", "--only", "dinov1", "--commands")[1].splitlines() == [
        f"-dat {dataset} -m dinov1 -d skld jsd wsd l2 cos -rob none tra sca rot" for dataset in ("live", "tid2013")
    ]
    with pytest.raises(UsageError, match="unknown method 'dinov3'; nearest known: dinov2, dinov1"):
        tables.main(["--only", "dinov3"])


def test_an_aligned_score_is_a_row_beside_its_plain_one(tmp_path, capsys):
    for seed, name in enumerate(("psnr", "psnr_tra-1", "psnr-aligned", "psnr-aligned_tra-1")):
        put(tmp_path / "s", f"pipal_{name}.csv", scores("pipal", seed))
    (tmp_path / "s" / "pipal_psnr-aligned_tra-1.align.csv").write_text("dis,dx,dy,scale,angle,corner,ratio,done,why\n")
    flags = ("--table", "3", "--only", "psnr", "--extra", "psnr-aligned", "--scores", tmp_path / "s")
    lines = [line for line in run(capsys, *flags)[1].splitlines() if line.startswith(("PSNR ", "psnr-aligned "))]
    assert [line.split()[0] for line in lines] == ["PSNR", "psnr-aligned"]
    for seed in (2, 3):  # its own files, without and with the shift
        r = stats.pearsonr(*scores("pipal", seed)[["pred", "mos"]].T.to_numpy()).statistic
        assert f"{-r:.3f}" in lines[1] or f"{r:.3f}" in lines[1]


def test_best_marks_against_brute_force():
    rng = np.random.default_rng(3)
    cells = tables.published("3")
    for cell in cells:
        cell.score, cell.state = rng.uniform(-1, 1), "differs"
    (table,) = tables.tables_of(cells)
    top = max((c for c in cells if (c.perturbation, c.statistic) == ("dilation", "plcc")), key=lambda c: c.score)
    column = list(table.columns).index(("pipal", "dilation", "plcc"))
    lines = [(heading, shown[column]) for heading, rows in table.lines() for _, _, shown in rows]
    assert [shown.score for _, shown in lines if shown.best] == [f"{top.score:.3f}"]
    for heading in dict.fromkeys(heading for heading, _ in lines):
        numbers = [float(shown.score) for h, shown in lines if h == heading]
        assert [float(shown.score) for h, shown in lines if h == heading and shown.group_best] == [max(numbers)]
    headings = ["low-level metrics", "learned metrics", "SKLD", "JSD", "WSD", "L2", "cosine"]
    assert [heading for heading, _ in table.lines()] == headings


# ---- the terminal


def test_as_a_script(tmp_path):
    def tables_py(*argv):
        return subprocess.run([sys.executable, ROOT / "tables.py", *argv], cwd=tmp_path, capture_output=True, text=True)

    bad = tables_py("--scores", "nowhere")
    assert (
        bad.returncode == 2
        and bad.stderr.count("\n") == 1
        and "nowhere: no such folder" in bad.stderr
        and not bad.stdout
    )
    assert tables_py("--table", "4").returncode == 2
    good = tables_py("--table", "1", "-o", "t.txt")
    assert good.returncode == 0 and not good.stdout and "80 missing" in (tmp_path / "t.txt").read_text()
    unwritable = tables_py("-o", "no/such/t.txt")
    assert unwritable.returncode == 2 and unwritable.stderr.count("\n") == 1
