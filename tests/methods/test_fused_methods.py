"""Fused metrics as methods: their expressions, and real runs of run.py and run_single_img.py on small photographs."""

import contextlib
import csv
import io
import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import ROOT

import run as run_py
import tables
from common.errors import UsageError
from methods import fused
from methods.build import build, factor, with_columns
from methods.model import Options
from reports.fuse.cells import Folder
from reports.fuse.write import score_files
from scorefiles.read import Unusable, parse_name, read, stem
from scoring.engine import Engine

BOTH = "stlpips_alex * psnr^0.5"
LABEL = "fused-stlpips_alex+psnr-0.5"


# ---- expressions


def test_presets_name_factors_that_can_be_scored():
    for name, preset in fused.PRESETS.items():
        fusion = fused.parse(name)
        assert len(fusion.factors) >= 2 and fusion.label == name and preset.origin
        assert all(factor(f) for f in fusion.factors)
        assert fused.parse(fusion.expression).factors == fusion.factors


def test_expression_is_read_and_written_back():
    fusion = fused.parse("  a_l2*b  ^ 0.13 *psnr^2")
    assert (fusion.factors, fusion.exponents) == (("a_l2", "b", "psnr"), (1.0, 0.13, 2.0))
    assert fusion.expression == "a_l2 * b^0.13 * psnr^2" and fused.parse(fusion.expression).factors == fusion.factors


@pytest.mark.parametrize(
    "text, message",
    [
        ("a *", "found ''"),
        ("a * b^", "above 0, found ''"),
        ("a * b^-1", "above 0, found '-1'"),
        ("a * b^0", "above 0"),
        ("a * b^nan", "above 0"),
        ("a * b^inf", "above 0"),
        ("a * a^2", "stands in it twice"),
        ("a^2", "two factors or more"),
        ("a * ../b", "found '../b'"),
        ("a ** b", "found ''"),
        ("a * b c", "found 'b c'"),
        ("a * b^2^3", "above 0, found '2^3'"),
    ],
)
def test_bad_expression_is_refused_with_the_reason(text, message):
    with pytest.raises(UsageError) as error:
        fused.parse(text)
    assert message in str(error.value)


FACTORS = st.lists(
    st.sampled_from(("dinov1_cos", "embed_dinov1_cos", "psnr", "stlpips_alex", "clip_rn50_l2")),
    min_size=2,
    max_size=4,
    unique=True,
)


@given(FACTORS, st.data())
def test_label_is_a_safe_file_name_of_its_own(factors, data):
    powers = [data.draw(st.floats(0.01, 100).map(lambda v: float(f"{v:.3g}"))) for _ in factors]
    text = " * ".join(f"{f}^{k:g}" for f, k in zip(factors, powers))
    label = fused.parse(text).label
    assert not set(label) & set("*^ /\\:;|&<>()[]{}$'\"`?!~#%") and label.isascii()
    for perturbation in ("none", "rot"):
        assert parse_name(stem("tid2013", label, perturbation) + ".csv")[1] == label
    other = " * ".join(f"{f}^{k:g}" for f, k in zip(factors, [powers[0] + 1, *powers[1:]]))
    assert fused.parse(other).label != label


def test_distance_of_a_factor_is_oriented_and_floored():
    values = fused.distance([0, -1e-7, 1e-9, 0.5])
    assert list(values) == [1e-6, 1e-6, 1e-6, 0.5]
    assert list(fused.distance([20, 40, 0], "better")) == [0.05, 0.025, 1e6]
    assert list(fused.distance([0.5, 0.01], floor=0.1)) == [0.5, 0.1]
    for bad in (-0.01, np.nan):
        with pytest.raises(UsageError, match="value 2: .* is negative"):
            fused.distance([1, bad])


@given(st.lists(st.floats(0, 1e3), min_size=2, max_size=20))
def test_identical_images_stay_best_and_scores_finite(values):
    score = fused.combine(
        fused.parse("a * b^0.13"), {"a": [0, *values], "b": [0, *values[::-1]]}, {"a": "worse", "b": "worse"}
    )
    assert np.isfinite(score).all() and (score > 0).all() and score[0] == score.min()


# ---- models and passes


def columns(*names):
    plain, fusions = fused.split(names)
    models = with_columns(build(plain, [], Options()), [f for fusion in fusions for f in fusion.factors], Options())
    return [(m.name, [c.name for c in m.columns]) for m in models]


def test_factors_share_a_pass_and_each_column_is_there_once():
    assert columns("dinov1_cos * embed_dinov1_cos * dinov1_l2^2") == [
        ("dinov1", ["dinov1_cos", "embed_dinov1_cos", "dinov1_l2"])
    ]
    assert columns("psnr", "psnr * stlpips_alex", "stlpips_alex * msssim") == [
        ("pixels", ["psnr", "msssim"]),
        ("stlpips_alex", ["stlpips_alex"]),
    ]


@pytest.mark.parametrize("factor", ("dinov1", "dinov9_cos", "cos", "embed_cos", "fused2", "psnr_l2", "dinov1_cosine"))
def test_unknown_factor_is_named(factor):
    with pytest.raises(UsageError, match=f"unknown factor '{factor}'"):
        columns(f"psnr * {factor}")


def test_factor_that_is_not_defined_is_refused():
    with pytest.raises(UsageError, match="takes the distance cos only"):
        columns("psnr * embed_dinov1_l2")
    with pytest.raises(UsageError, match="not defined for the maps of a CNN"):
        columns("psnr * clip_rn50_jsd")


# ---- real runs


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A CSV dataset of two references and three degrees of noise and of blur each; 64 x 48 pixels, labels made up."""
    from PIL import Image, ImageFilter

    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    rows = ["dis,ref,dmos,type"]
    for r in range(2):
        pixels = np.kron(rng.integers(0, 256, (6, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        reference = Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(1))
        reference.save(folder / f"r{r}.png")
        for level in (1, 2, 3):
            noisy = np.clip(np.asarray(reference) + rng.normal(scale=12 * level, size=pixels.shape), 0, 255)
            Image.fromarray(noisy.astype(np.uint8)).save(folder / f"r{r}_noise_{level}.png")
            reference.filter(ImageFilter.GaussianBlur(level)).save(folder / f"r{r}_blur_{level}.png")
            rows += [f"r{r}_{kind}_{level}.png,r{r}.png,{level + 0.1 * r},{kind}" for kind in ("noise", "blur")]
    (folder / "mine.csv").write_text("\n".join(rows) + "\n")
    return folder


def start(script, *argv):
    return subprocess.run([sys.executable, *script.split(), *map(str, argv)], capture_output=True, text=True, cwd=ROOT)


def run(photographs, results, *argv):
    """(exit code, stdout) of run.py, called in this process: torch is imported once."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = run_py.main(
            [
                "-dat",
                str(photographs / "mine.csv"),
                "--higher-is",
                "worse",
                "-sdir",
                str(results),
                "--device",
                "cpu",
                *map(str, argv),
            ]
        )
    return code, out.getvalue()


@pytest.fixture(scope="module")
def finished(photographs, tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    done = start(
        "run.py",
        "-dat",
        photographs / "mine.csv",
        "--higher-is",
        "worse",
        "-sdir",
        results,
        "-m",
        BOTH,
        "stlpips_alex",
        "-rob",
        "none",
        "rot",
        "--device",
        "cpu",
    )
    assert done.returncode == 0, done.stderr
    return results, done.stdout


def expected(results, suffix=""):
    psnr, stlpips = (read(results / f"mine_{m}{suffix}.csv").table["pred"] for m in ("psnr", "stlpips_alex"))
    return stlpips.clip(lower=1e-6) * (1 / psnr) ** 0.5


@pytest.mark.parametrize("suffix", ("", "_rot-1"))
def test_run_writes_the_product_of_its_factors_beside_them(finished, suffix):
    results, stdout = finished
    file = read(results / f"mine_{LABEL}{suffix}.csv")
    np.testing.assert_allclose(file.table["pred"], expected(results, suffix), rtol=1e-12)
    assert file.complete and file.sign == 1 and file.document["pred_higher_is"] == "worse"
    settings = file.settings
    assert (settings["fused"], settings["floor"], settings["protocol"]) == (BOTH, 1e-6, "paper")
    for name in ("psnr", "stlpips_alex"):
        assert settings["factors"][name] == read(results / f"mine_{name}{suffix}.csv").settings
    assert settings["perturbation"] == ("rot" if suffix else "none")
    assert sum(line.split()[1:2] == [LABEL] for line in stdout.splitlines()) == 2
    with open(results / "correlations.csv") as lines:
        assert f"mine_{LABEL}{suffix}.csv" in [line["file"] for line in csv.DictReader(lines)]


def test_second_run_uses_what_is_there(photographs, finished):
    results, stdout = finished
    before = {p.name: p.stat().st_mtime_ns for p in results.glob("mine_*")}
    assert run(photographs, results, "-m", BOTH, "stlpips_alex", "-rob", "none", "rot") == (0, stdout)
    assert {p.name: p.stat().st_mtime_ns for p in results.glob("mine_*")} == before


def test_fused_file_is_complete_only_when_its_factors_are(photographs, finished, tmp_path):
    assert (
        run(photographs, tmp_path, "-m", BOTH, "--limit", 5)[0] == 0 and not (tmp_path / f"mine_{LABEL}.csv").exists()
    )
    assert len((tmp_path / f"mine_{LABEL}.csv.partial").read_text().splitlines()) == 6
    assert run(photographs, tmp_path, "-m", BOTH)[0] == 0
    assert (tmp_path / f"mine_{LABEL}.csv").read_bytes() == (finished[0] / f"mine_{LABEL}.csv").read_bytes()
    assert not list(tmp_path.glob("*.partial"))


def test_a_fused_file_made_of_other_factors_is_not_taken_for_this_one(photographs, finished, tmp_path):
    for path in finished[0].glob("mine_*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    document = json.loads((tmp_path / f"mine_{LABEL}.json").read_text())
    document["settings"]["factors"]["psnr"]["protocol"] = "corrected"
    (tmp_path / f"mine_{LABEL}.json").write_text(json.dumps(document))
    with pytest.raises(UsageError, match="factors.psnr.protocol"):
        run(photographs, tmp_path, "-m", BOTH)


def test_factor_that_cannot_be_had_is_missing_with_keep_going(photographs, tmp_path):
    mixed = "stlpips_alex * lpips^0.5"
    argv = ["-m", mixed, "--weights-dir", tmp_path]  # holds no trunk for LPIPS; ST-LPIPS carries its own
    with pytest.raises(UsageError, match="alexnet"):
        run(photographs, tmp_path / "all", *argv)
    code, stdout = run(photographs, tmp_path / "some", *argv, "--keep-going")
    assert code == 1 and (tmp_path / "some" / "mine_stlpips_alex.csv").exists()
    assert f"missing: {mixed} on mine: {mixed}: cannot be had without its factors lpips" in stdout


def test_random_weights_show_in_the_name(photographs, tmp_path):
    code, stdout = run(photographs, tmp_path, "-m", "stlpips_alex * lpips^0.5", "--weights", "random", "--limit", 2)
    assert code == 0 and "numbers mean nothing" in stdout
    assert [p.name for p in tmp_path.glob("mine_fused*.csv.partial")] == [
        "mine_fused-stlpips_alex+lpips-0.5-random.csv.partial"
    ]


def test_one_pass_costs_what_its_factors_cost(photographs, tmp_path, monkeypatch):
    """Tiles that go through a model: two factors of one backbone take no more than one of them."""
    seen, counts = [], {}
    monkeypatch.setattr(Engine, "tick", lambda self, n: seen.append(n))
    for name, argv in (
        ("cos", ["st_alexnet", "-d", "cos"]),
        ("fused", ["st_alexnet_cos * st_alexnet_l2^0.3 * psnr^0.2"]),
        ("psnr", ["psnr"]),
    ):
        assert run(photographs, tmp_path / name, "-r", 224, "-m", *argv)[0] == 0
        counts[name] = sum(seen)
        seen.clear()
    assert counts["fused"] == counts["cos"] + counts["psnr"] > 0


def test_single_pair_equals_the_product_of_its_factors(photographs):
    done = start(
        "run_single_img.py",
        "-ref",
        photographs / "r0.png",
        "-dis",
        photographs / "r0_blur_2.png",
        photographs / "r0.png",
        "-m",
        BOTH,
        "--device",
        "cpu",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    output = json.loads(done.stdout)
    pair, same = output["scores"]
    assert pair[LABEL] == pytest.approx(pair["stlpips_alex"] * (1 / pair["psnr"]) ** 0.5, rel=1e-9)
    assert 0 < same[LABEL] < pair[LABEL] and output["settings"]["higher_is"][LABEL] == "worse"


@pytest.mark.numeric
def test_single_pair_is_scored_as_in_run(photographs, finished):
    done = start(
        "run_single_img.py",
        "-ref",
        photographs / "r1.png",
        "-dis",
        photographs / "r1_noise_3.png",
        "-m",
        BOTH,
        "--json",
    )
    table = read(finished[0] / f"mine_{LABEL}.csv").table.set_index("dis")
    assert json.loads(done.stdout)["scores"][0][LABEL] == pytest.approx(table.loc["r1_noise_3.png", "pred"], rel=1e-6)


# ---- from a folder of score files, and in the tables


def test_files_made_of_score_files_are_those_of_a_run(finished, tmp_path):
    done = start("fuse.py", finished[0], "--write", BOTH, "-sdir", tmp_path)
    assert done.returncode == 0, done.stderr
    for suffix in ("", "_rot-1"):
        made, of_run = (read(folder / f"mine_{LABEL}{suffix}.csv") for folder in (tmp_path, finished[0]))
        assert made.path.read_bytes() == of_run.path.read_bytes()
        assert made.document == of_run.document


def test_files_that_cannot_be_made_are_named(finished, tmp_path):
    (tmp_path / "mine_psnr.csv").write_bytes((finished[0] / "mine_psnr.csv").read_bytes())
    (tmp_path / "mine_stlpips_alex_rot-1.csv").write_bytes((finished[0] / "mine_stlpips_alex_rot-1.csv").read_bytes())
    done = start("fuse.py", tmp_path, "--write", BOTH)
    assert done.returncode == 2 and "no dataset and perturbation has the files of all factors" in done.stderr
    assert "mine none, which lacks stlpips_alex" in done.stdout and "mine rot-1, which lacks psnr" in done.stdout


def test_tables_have_a_fused_metric_as_a_row_beyond_the_paper(tmp_path, capsys):
    from made_scores import put, scores

    for method, seed in (("psnr", 1), ("stlpips_alex", 2)):
        table = scores("live", seed)
        sign = -1 if method == "psnr" else 1
        put(tmp_path, f"live_{method}.csv", table.assign(pred=np.exp(sign * table["pred"] / 100)))
    written, _ = score_files(fused.parse(BOTH), Folder(tmp_path), tmp_path)
    assert [path.name for path in written] == [f"live_{LABEL}.csv"]
    tables.main(["--table", "2", "--scores", str(tmp_path), "--extra", LABEL, "--only", "dinov1", "--format", "csv"])
    rows = [
        row for row in csv.DictReader(capsys.readouterr().out.splitlines()) if row["model"] == LABEL and row["score"]
    ]
    table = read(written[0]).table
    result = [float(row["score"]) for row in rows if row["statistic"] == "srcc"]
    assert result == [pytest.approx(table["pred"].corr(table["mos"], method="spearman"), abs=1e-9)] and result[0] > 0.5


def test_settings_that_factors_do_not_share_are_not_the_fused_files(tmp_path, capsys):
    from made_scores import put, scores

    for method, seed, precision in (("psnr", 1, "paper"), ("stlpips_alex", 2, "fp32")):
        table = scores("live", seed).assign(pred=lambda t: np.exp(t["pred"] / 100))
        put(tmp_path, f"live_{method}.csv", table, settings={"precision": precision, "protocol": "paper"})
    written, _ = score_files(fused.parse(BOTH), Folder(tmp_path), tmp_path)
    settings = read(written[0]).settings
    assert "precision" not in settings and settings["protocol"] == "paper"
    assert {name: s["precision"] for name, s in settings["factors"].items()} == {
        "psnr": "paper",
        "stlpips_alex": "fp32",
    }
    tables.main(["--table", "2", "--scores", str(tmp_path), "--extra", LABEL, "--only", "dinov1"])
    assert f"{LABEL}.csv: precision fp32" in capsys.readouterr().out
    for factors in (["psnr"], {"psnr": None}):
        written[0].with_suffix(".json").write_text(json.dumps({"settings": {"factors": factors}}))
        with pytest.raises(Unusable, match="expected the settings of each factor"):
            read(written[0])


def test_blocks_of_a_run_per_layer_are_weighed(photographs, tmp_path):
    import fuse

    rows = (photographs / "mine.csv").read_text().splitlines()
    (photographs / "other.csv").write_text("\n".join([rows[0], *rows[:0:-1]]) + "\n")
    for dataset in ("mine.csv", "other.csv"):
        argv = [
            "--higher-is",
            "worse",
            "-m",
            "st_alexnet",
            "-d",
            "cos",
            "--per-layer",
            "-r",
            "64",
            "--window",
            "64",
            "--device",
            "cpu",
        ]
        assert run_py.main(["-dat", str(photographs / dataset), "-sdir", str(tmp_path), *argv]) == 0
    [method] = {parse_name(path)[1] for path in tmp_path.glob("mine_*.csv")}
    fuse.main(
        [
            str(tmp_path),
            "--blocks",
            method,
            "--by",
            "weights",
            "--resamples",
            "100",
            "--format",
            "json",
            "-o",
            str(tmp_path / "out"),
        ]
    )
    result = json.loads((tmp_path / "out").read_text())
    assert [list(h["parameters"]) for h in result["held_out"]] == [[f"pred_{b}" for b in range(5)]] * 2
    assert all(h["mean_srcc"] > 0.3 for h in result["held_out"])


# ---- bad input at the terminal


@pytest.mark.parametrize(
    "script, argv, message",
    [
        ("run.py", ["-dat", "demo", "-m", "psnr * dinov9_cos"], "unknown factor 'dinov9_cos'"),
        ("run.py", ["-dat", "demo", "-m", "psnr *"], "expected factors named as in score files"),
        ("run.py", ["-dat", "demo", "-m", BOTH, "-d", "l2"], "-d l2: score columns and fused metrics take no distance"),
        ("run.py", ["-dat", "demo", "-m", BOTH, "-s", "mine"], "-s/--saveas names one file"),
        ("run_single_img.py", ["-ref", "a.png", "-dis", "b.png", "-m", "psnr * psnr^2"], "stands in it twice"),
        ("fuse.py", ["nowhere", "--write", BOTH], "nowhere: no such folder"),
    ],
)
def test_bad_input_is_one_line_and_code_2(script, argv, message):
    done = start(script, *argv)
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1, done.stderr
