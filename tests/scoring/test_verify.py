"""run.py --verify: scores that still follow from the JSON agree, and everything that changed is noticed by name."""

import json

import pytest
from small_dataset import call, make, refused, spawn

import compare
import run
from methods.build import build
from methods.model import Options
from scorefiles.read import digest
from scoring import verify


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A folder with finished files of a backbone, metrics, a fused one and one's own, plain and perturbed."""
    from common import terminal

    home = tmp_path_factory.mktemp("scored")
    make(home / "data")
    (home / "mine.py").write_text("def far(reference, distorted):\n    return (reference - distorted).abs().mean()\n")
    asked = ["-dat", home / "data/tiny.csv", "-sdir", home / "out", "--device", "cpu"]
    for more in (
        ["-m", "psnr", "--noise-floor", "-rob", "tra"],
        ["-m", "psnr", f"{home / 'mine.py'}:far", "-rob", "none", "sca"],
        ["-m", "st_alexnet", "-d", "l2", "cos", "--window", "64", "--per-layer", "-rob", "tra"],
        ["-m", "psnr * st_alexnet_l2^0.5", "--window", "64", "--layers", "0-2"],
        ["-m", "st_alexnet_l2 * msssim^0.5", "-r", "224", "--precision", "fp16"],
    ):
        with pytest.raises(SystemExit) as left:
            terminal.run_main(run.main, [str(a) for a in [*asked, *more]])
        assert left.value.code == 0
    return home


@pytest.fixture
def home(scored, tmp_path):
    import shutil

    return shutil.copytree(scored, tmp_path / "home")


def verified(capsys, home, *files, n=3, more=()):
    """-> (exit code, {file name: what is said of it})"""
    files = files or sorted((home / "out").glob("*.csv"))
    given = [] if more is None else ["-dat", home / "data/tiny.csv", "-m", f"{home / 'mine.py'}:far", *more]
    code, printed, _ = call(capsys, "--verify", n, *files, *given, "--device", "cpu")
    return code, {line.partition(": ")[0].rpartition("/")[2]: line.partition(": ")[2] for line in printed.splitlines()}


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    if path.parent.name == "out" and path.suffix == ".csv":  # as if it had been written so: the digest fits
        about = json.loads(path.with_suffix(".json").read_text()) | {"rows_sha256": digest(path.read_bytes())}
        path.with_suffix(".json").write_text(json.dumps(about))


def test_all_kinds_of_files_agree(home, capsys):
    code, said = verified(capsys, home)
    assert code == 0 and len(said) == 12 and "correlations.csv" not in said
    assert said.pop("tiny_psnr_tra-1.floor.csv").startswith(
        "agrees, 2 of 2 pairs scored again, largest relative difference "
    )
    for (
        name,
        text,
    ) in said.items():  # other batches than the run's, so the last digits may differ; much less than a thing wrong
        start, share = text.rsplit(" ", 1)
        assert start == "agrees, 3 of 8 pairs scored again, largest relative difference"
        assert float(share) < (1e-2 if "fp16" in name else 1e-5), (name, text)
    code, said = verified(capsys, home, home / "out/tiny_psnr.csv", n=99)
    assert code == 0 and "8 of 8 pairs" in said["tiny_psnr.csv"]


def test_a_changed_score_is_found_among_the_pairs_drawn(home, capsys):
    path = home / "out/tiny_psnr.csv"
    row = path.read_text().splitlines()[3].split(",")
    changed = float(row[3])
    for factor, expected in ((1 + 0.5e-4, 0), (1 + 2e-4, 1), (-1, 1)):
        edit(path, f"{changed!r}", f"{float(row[3]) * factor!r}")
        changed = float(row[3]) * factor
        code, said = verified(capsys, home, path, home / "out/tiny_psnr_sca-1.csv", n=8)
        assert code == expected and said["tiny_psnr_sca-1.csv"].startswith("agrees")
    assert said["tiny_psnr.csv"].startswith("DIFFERS: d2.png: -") and said["tiny_psnr.csv"].endswith("(1 of 8 pairs)")


def test_a_column_of_a_block_counts_too(home, capsys):
    path = next((home / "out").glob("*_l2_tra-1.csv"))
    edit(path, path.read_text().splitlines()[1].split(",")[-1], "1.5")
    assert verified(capsys, home, path, n=8)[1][path.name].startswith("DIFFERS: d0.png: 1.5 in the file")


def test_two_percent_in_16_bits():
    row, names = [[1.0]], ["a.png"]
    assert verify.compare_scores(names, row, [[1.015]], True, False, 1.0) == pytest.approx(0.015 / 1.015)
    for loose, score in ((True, 1.025), (False, 1.00015)):
        with pytest.raises(verify.Differs, match="a.png: 1 in the file"):
            verify.compare_scores(names, row, [[score]], loose, False, 1.0)
    options = dict(device="cpu", weights="random")
    for name, precision, protocol, loose in (
        ("clip_rn50", "paper", "paper", True),
        ("clip_rn50", "paper", "corrected", False),
        ("clip_rn50", "fp32", "paper", False),
        ("dinov1", "paper", "paper", False),
        ("dinov1", "bf16", "paper", True),
    ):
        [model] = build([name], ["l2"], Options(precision=precision, protocol=protocol, **options))
        assert verify.coarse([model]) == loose


def test_one_step_of_float32_below_the_fourth_root():
    """0 and 0.0186 are neighbours in log(s + 1)^0.25, and far apart in l2."""
    verify.compare_scores(["a.png"], [[0.0]], [[0.0186]], False, True, 1.0)
    for new, steps in ((0.0186, False), (0.04, True)):
        with pytest.raises(verify.Differs):
            verify.compare_scores(["a.png"], [[0.0]], [[new]], False, steps, 1.0)
    assert verify.rooted({"distance": "wsd"}) and verify.rooted({"distance": None, "method": "deep_kld_vgg"})
    assert not verify.rooted({"distance": "l2"}) and not verify.rooted({"distance": None, "method": "psnr"})


def test_scores_near_zero_are_held_to_the_file_s_largest():
    """1 minus a float32 near 1 comes in steps of 6e-8: 0 and one step are the same score."""
    assert verify.compare_scores(["a.png"], [[0.0]], [[2**-24]], False, False, 0.1) == pytest.approx(2**-24 / 1e-3)
    for new, largest in ((1.1e-7, 0.1), (2**-24, 0.05)):  # more than 1e-6 of the largest
        with pytest.raises(verify.Differs, match="a.png: 0 in the file"):
            verify.compare_scores(["a.png"], [[0.0]], [[new]], False, False, largest)


@pytest.mark.numeric
@pytest.mark.parametrize(
    "instructions",
    [
        {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
        {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    ],
    ids=["sse", "avx2"],
)
def test_files_of_another_cpu_agree(instructions, scored):
    """Those in float32: float16 is emulated there, a hundred times slower."""
    files = [
        path
        for path in sorted((scored / "out").glob("tiny_*.csv"))
        if "fp16" not in path.with_suffix(".json").read_text()
    ]
    process = spawn(
        "--verify",
        8,
        *files,
        "-dat",
        scored / "data/tiny.csv",
        "-m",
        f"{scored / 'mine.py'}:far",
        "--device",
        "cpu",
        env=instructions,
    )
    printed, errors = process.communicate()
    assert process.returncode == 0 and printed.count(": agrees, ") == len(printed.splitlines()) == len(files), (
        printed + errors
    )
    assert len(files) >= 9


@pytest.mark.parametrize(
    "change, expected",
    [
        (lambda home: edit(home / "data/tiny.csv", "7.5", "7.25"), "DIFFERS: dataset_sha256: "),
        (lambda home: edit(home / "mine.py", "mean", "max"), "DIFFERS: weights: "),
        (
            lambda home: edit(home / "out/tiny_mine-far.json", '"scoring": 1', '"scoring": 0'),
            "DIFFERS: scoring: 0 there, 1 now",
        ),
        (
            lambda home: edit(home / "out/tiny_mine-far.csv", ",0.5,", ",0.25,"),
            "DIFFERS: line 2: not a row of this dataset",
        ),
        (
            lambda home: edit(home / "out/tiny_mine-far.csv", "d0.png", "d9.png"),
            "DIFFERS: line 2: not a row of this dataset",
        ),
        (lambda home: edit(home / "out/tiny_mine-far.csv", "d0.png,r0.png,0.5,", ""), "cannot be verified: "),
        (lambda home: (home / "data/d3.png").write_bytes((home / "data/d4.png").read_bytes()), "DIFFERS: "),
        (
            lambda home: (home / "out/tiny_mine-far.json").unlink(),
            "cannot be verified: there is no tiny_mine-far.json beside it",
        ),
        (lambda home: (home / "out/tiny_mine-far.json").write_text('{"settings": {}}'), "cannot be verified: "),
        (lambda home: (home / "out/tiny_mine-far.json").write_text("{"), "cannot be verified: "),
        (lambda home: (home / "data/tiny.csv").unlink(), "cannot be verified: "),
        (lambda home: (home / "data/d5.png").unlink(), "cannot be verified: "),
        (lambda home: (home / "out/tiny_mine-far.csv").unlink(), "cannot be verified: "),
    ],
)
def test_what_changed_is_said(change, expected, home, capsys):
    change(home)
    code, said = verified(capsys, home, home / "out/tiny_mine-far.csv", n=8)
    assert said["tiny_mine-far.csv"].startswith(expected) and code == (1 if expected.startswith("DIFFERS") else 2), said


def test_every_other_value_in_the_json_gives_one_line(home, capsys):
    """A JSON is input: whatever stands in it, no traceback."""
    path = home / "out/tiny_psnr.json"
    whole = json.loads(path.read_text())
    for key in whole["settings"]:
        for value in (None, "x", [], 7, {"a": 1}):
            path.write_text(json.dumps(whole | {"settings": whole["settings"] | {key: value}}))
            code, said = verified(capsys, home, home / "out/tiny_psnr.csv")
            harmless = value == whole["settings"][key] or (key, value) == ("pct", 7)  # no perturbation, no magnitude
            assert len(said) == 1 and code in ((0,) if harmless else (1, 2)), (key, value, said)


def test_usage(home, capsys):
    assert "expected one or more finished score files" in refused(capsys, "--verify", 2)
    assert "files go with --verify only" in refused(
        capsys, "-dat", "demo", "-m", "psnr", "--", home / "out/tiny_psnr.csv"
    )
    code, said = verified(capsys, home, home / "out/tiny_psnr.csv", more=None)
    assert code == 2 and "name its file by -dat tiny.csv" in said["tiny_psnr.csv"]
    (home / "out/tiny_psnr.csv").rename(home / "out/tiny_psnr.csv.partial")
    code, said = verified(capsys, home, home / "out/tiny_psnr.csv.partial")
    assert code == 2 and said["tiny_psnr.csv.partial"].startswith("cannot be verified: ")


def test_a_score_that_was_altered_is_noticed_everywhere(tmp_path, capsys):
    """One digit of one score: --verify 0 says so without the dataset, and no command takes the file."""
    argv = ["-dat", make(tmp_path / "data"), "-m", "psnr", "-sdir", tmp_path / "out"]
    assert call(capsys, *argv)[0] == 0
    path = tmp_path / "out/tiny_psnr.csv"
    code, out, _ = call(capsys, "--verify", "0", path)
    assert code == 0 and out == f"{path}: agrees, 8 rows as they were written\n"
    whole = path.read_text()
    lines = whole.splitlines()
    lines[3] = lines[3].rpartition(",")[0] + ",0.5"
    path.write_text("\n".join(lines) + "\n")
    code, out, _ = call(capsys, "--verify", "0", path)
    assert code == 1 and out.startswith(f"{path}: DIFFERS: its rows were altered after they were written (sha256 ")
    for main, command in ((run.main, argv), (compare.main, [path, path])):
        assert "its rows were altered after they were written" in refused(capsys, *command, main=main)
    assert call(capsys, *argv, "--overwrite")[0] == 0 and path.read_text() == whole
    document = json.loads(path.with_suffix(".json").read_text())
    del document["rows_sha256"]  # a file of an older version
    path.with_suffix(".json").write_text(json.dumps(document))
    assert call(capsys, *argv)[0] == 0
    code, out, _ = call(capsys, "--verify", "0", path)
    assert code == 2 and "of an older version, without a digest of the rows" in out
