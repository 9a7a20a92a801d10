"""Whatever it is given, run.py ends with one clear line and exit 2 (1 where work failed), or with the right table.

Label files, score files, arguments and small images, made up by hypothesis. What is right is computed here from the
definition (PSNR), or read by pandas. The long run: python -m pytest --slow tests/test_fuzz.py
"""

import csv
import io
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from PIL import Image
from small_dataset import call, make

import run_single_img
from common import terminal
from scorefiles.read import read

SPICE = st.sampled_from(
    [
        "",
        "nan",
        "-inf",
        "1e999",
        "1_0",
        "١",
        "\x00",
        '"',
        '""',
        ",",
        ";",
        "\r",
        "\n",
        "\r\n",
        "\ufeff",
        " ",
        "\u2028",
        "../x",
        "/",
        "é",
        "日本",
        "%s",
        "{}",
        "-1",
        "0",
        "1e-320",
        "9" * 400,
        "x" * 300,
        "\t",
        "d0.png",
    ]
)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder to work in, with the dataset data/tiny.csv and what stands in the way:
    an empty folder, a broken image."""
    make(tmp_path / "data", pairs=4)
    (tmp_path / "empty").mkdir()
    (tmp_path / "data/broken.png").write_bytes(b"\x89PNG")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.fsync", lambda file: None)  # thousands of runs: the disk need not hear of them
    return tmp_path


def clear(code, printed, message):
    """The promise: an exit code of ours, a clear line, no number that is none."""
    lines = [line for line in message.splitlines() if not line.startswith(("warning: ", "usage: ", " "))]
    assert code in (0, 1, 2) and "unexpected" not in message, message
    output = "missing: " in printed or "cannot be verified: " in printed  # --keep-going and --verify tell it on stdout
    assert len(lines) == (0 if code == 0 or output else 1), message
    assert code == 0 or output or ": error: " in lines[0], message
    event(f"exit code {code}")
    assert "nan" not in printed.lower().replace("nan'", "") and "inf\n" not in printed


def psnr(distorted, reference):
    """From the definition, on 8-bit RGB arrays."""
    error = ((distorted.astype(float) - reference.astype(float)) / 255) ** 2
    return 10 * np.log10(1 / (error.mean() + 1e-8))


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB"))


def right(folder, data):
    """All finished files of a run are whole; PSNR of images as they are equals the definition. -> number of files."""
    files = [
        path
        for path in folder.glob("*.csv")
        if path.name != "correlations.csv" and not path.name.endswith(".floor.csv")
    ]
    for path in files:
        about = json.loads(path.with_suffix(".json").read_text())["settings"]
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert rows and all(np.isfinite(float(row["pred"])) for row in rows)
        if about["method"] == "psnr" and about["perturbation"] == "none" and about["resizeHW"] is None:
            for row in rows:
                assert float(row["pred"]) == pytest.approx(
                    psnr(pixels(data / row["dis"]), pixels(data / row["ref"])), abs=1e-4
                )
    return len(files)


def fuzzing(examples):
    return settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))


# ---- arguments

METHODS = [
    "psnr",
    "fsim",
    "msssim",
    "st_alexnet",
    "dinov1",
    "embed_dinov1",
    "embed_st_alexnet",
    "clip_rn50",
    "nothing.py:f",
    "timm:x",
    "psnr * fsim^0.5",
    "st_alexnet_l2 * psnr",
    "fused2",
    "*",
    "psnr^2",
]
VALUES = {  # flag: values that make sense, and some that do not; all flags also meet SPICE
    "-dat": ["data/tiny.csv", "data/tiny.csv data/tiny.csv", "tid2013", "data", "data/broken.png", "none.csv"],
    "-m": METHODS,
    "-d": ["l2", "cos", "l2 cos", "skld", "l3"],
    "-rob": ["none", "tra", "sca rot", "none tra sca rot", "tra tra", "up"],
    "-pct": ["1", "0.5", "49.9", "1e-9", "50", "0", "1 2"],
    "-r": ["64", "1", "33", "0", "99999"],
    "--limit": ["1", "3", "99"],
    "--higher-is": ["better", "worse", "x"],
    "--data-root": ["empty", "data", "nowhere"],
    "-s": ["name", "a/b", "x_tra-1", "*"],
    "--weights": ["pretrained", "x"],
    "--device": ["cpu", "auto", "cuda:99", "cuda:x", "mps", "meta"],
    "--shard": ["1/1", "1/2", "5/9", "3/2"],
    "--precision": ["paper", "fp32", "fp16", "bf16", "tf32"],
    "--workers": ["0", "-1"],
    "--protocol": ["paper", "corrected"],
    "--normalize": ["imagenet", "model"],
    "--window": ["64", "63", "7", "99999"],
    "--stride": ["8", "200", "0"],
    "--layers": ["0-2", "4", "5", "3-1", "0,0"],
    "--batch-size": ["auto", "1", "3", "0", "999999"],
    "--verify": ["1", "0", "2 data/tiny.csv", "2 empty"],
}
SWITCHES = ["--skip-bad", "--per-layer", "--overwrite", "--keep-going", "--dry-run", "--list", "--noise-floor"]
WITH_VALUE = st.sampled_from(sorted(VALUES)).flatmap(
    lambda flag: st.tuples(st.just(flag), st.one_of(*[st.sampled_from(VALUES[flag])] * 6, SPICE))
)
FLAG = st.one_of(WITH_VALUE, st.sampled_from(SWITCHES).map(lambda switch: (switch,)))
SOUND = st.sampled_from(
    [
        text.split()
        for text in (
            "-dat data/tiny.csv -m psnr",
            "-dat data/tiny.csv -m st_alexnet -d l2 --window 64",
            "-dat data/tiny.csv",
            "",
        )
    ]
)


def words(flag, value=None):
    """('-d', 'l2 cos') -> ['-d', 'l2', 'cos']: as a shell would; names with spaces of a fused metric stay one."""
    return (
        [flag] if value is None else [flag, value] if flag == "-m" or not value.strip() else [flag, *value.split(" ")]
    )


def any_arguments(home, capsys, start, flags):
    out = Path(tempfile.mkdtemp(dir=home))
    given = [*start, *(word for flag in flags for word in words(*flag))]
    pinned = ["--weights-dir", "empty", "-sdir", out / "out"]  # downloads nothing, writes nowhere else
    code, printed, message = call(capsys, *given, *pinned)
    clear(code, printed, message)
    if code == 0 and (out / "out").exists():
        result = right(out / "out", home / "data")
        again = call(capsys, *given, *pinned)  # a second time: the same, from the files
        assert again[0] == 0 and right(out / "out", home / "data") == result
    shutil.rmtree(out)


ARGUMENTS = given(start=SOUND, flags=st.lists(FLAG, max_size=5))


@fuzzing(200)
@ARGUMENTS
def test_arguments(home, capsys, start, flags):
    any_arguments(home, capsys, start, flags)


@pytest.mark.slow
@fuzzing(2000)
@ARGUMENTS
def test_arguments_long(home, capsys, start, flags):
    any_arguments(home, capsys, start, flags)


# ---- label files

LABELS = [
    "dis,ref,mos\n",
    "dis,ref,mos,std,type\n",
    "d0.png,r0.png,1.5\n",
    "d1.png,r0.png,2\n",
    "d2.png,r1.png,-3e-2\n",
    "\n",
    "D3.PNG,r1.png,4\n",
    "r0.png,r0.png,0\n",
    "r1.png,r1.png,1e3\n",
    "broken.png,r0.png,5\n",
    "gone.png,r0.png,6\n",
    "d0.png,r0.png,1.5,0.1,a\n",
    "d1.png,r0.png,2,0.2,b\n",
]


def lines_of(known, sound):
    """Lines of a file: in one of two cases some that are sound, each once; else anything."""
    return st.one_of(
        st.lists(st.sampled_from(sound), unique=True, min_size=1, max_size=6),
        st.lists(st.one_of(*[st.sampled_from(known)] * 5, SPICE, st.text(max_size=12)), max_size=8),
    )


LINES = lines_of(LABELS, LABELS[2:9])
LABEL_FILES = given(first=st.sampled_from(LABELS[:2] * 4 + [""]), lines=LINES, skip=st.booleans())


def any_label_file(home, capsys, first, lines, skip):
    text = first + "".join(lines)
    (home / "data/fuzz.csv").write_bytes(text.encode("utf-8", "surrogatepass"))
    out = Path(tempfile.mkdtemp(dir=home))
    code, printed, message = call(
        capsys, "-dat", "data/fuzz.csv", "--higher-is", "worse", "-m", "psnr", "-sdir", out, *["--skip-bad"] * skip
    )
    clear(code, printed, message)
    if code == 0:
        assert right(out, home / "data") == 1
        with open(out / "fuzz_psnr.csv", newline="", encoding="utf-8") as file:
            rows = [(row["dis"].lower(), row["ref"], float(row["mos"])) for row in csv.DictReader(file)]
        plain = text.lower().lstrip("\ufeff").replace("\r", "\n").replace('"', "").replace("\\", "/")
        meant = [line.split(",") for line in plain.split("\n")]
        meant = [[field.strip() for field in line] for line in meant if "".join(line).strip()][1:]
        left_out = json.loads((out / "fuzz_psnr.json").read_text()).get("left_out", {})
        assert rows == [
            (dis, ref, float(mos)) for dis, ref, mos, *_ in meant if dis not in {name.lower() for name in left_out}
        ]
    shutil.rmtree(out)


@fuzzing(100)
@LABEL_FILES
def test_label_files(home, capsys, first, lines, skip):
    any_label_file(home, capsys, first, lines, skip)


@pytest.mark.slow
@fuzzing(2000)
@LABEL_FILES
def test_label_files_long(home, capsys, first, lines, skip):
    any_label_file(home, capsys, first, lines, skip)


# ---- score files

ROWS = [
    "dis,ref,mos,pred\n",
    "a.png,r.png,1,0.5\n",
    "a.png,r.png,1,0.5\n",
    "b.png,r.png,2,0.25\n",
    "c.png,s.png,3,1e-3\n",
    "d.png,s.png,4,-7\n",
    '"e,1.png",r.png,5,1\n',
    "f.png,r.png,6,1e-320\n",
    "\n",
    "g.png,r.png,7,nan\n",
    "h.png,r.png,7\n",
    "i.png,r.png,8,9,10\n",
]
KEYS = st.sampled_from(["settings", "label_higher_is", "pairs_expected", "weights", "protocol"])
DOCUMENTS = st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(), st.text(max_size=5)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner),
)
JSONS = st.one_of(
    st.none(),
    st.sampled_from(["{}", '{"settings": {}}', '{"pairs_expected": 9}']),
    DOCUMENTS.map(json.dumps),
    st.text(max_size=20),
)
SCORE_FILES = given(first=st.sampled_from([ROWS[0]] * 5 + [""]), about=JSONS, lines=lines_of(ROWS, ROWS[2:9]))


def any_score_file(home, first, about, lines):
    text = first + "".join(lines)
    path = home / "tid2013_psnr.csv"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    path.with_suffix(".json").unlink(missing_ok=True)
    if about is not None:
        path.with_suffix(".json").write_bytes(about.encode("utf-8", "surrogatepass"))
    try:
        result = read(path)
    except terminal.UsageError as error:
        event("refused")
        assert len(terminal.one_line(error)) < 4000 and path.stem in str(error)
        return
    import pandas as pd

    table = pd.read_csv(io.StringIO(text.lstrip("\ufeff")), keep_default_na=False, dtype=str)  # another reader
    table = table[[any(field.strip() for field in row) for row in table.itertuples(index=False)]]
    meant = [[float(a), float(b)] for a, b in zip(table.mos, table.pred)]
    assert result.table[["mos", "pred"]].to_numpy().tolist() == meant
    assert list(result.table.dis) == list(table.dis) and np.isfinite(result.table[["mos", "pred"]].to_numpy()).all()


@fuzzing(200)
@SCORE_FILES
def test_score_files(home, first, about, lines):
    any_score_file(home, first, about, lines)


@pytest.mark.slow
@fuzzing(2000)
@SCORE_FILES
def test_score_files_long(home, first, about, lines):
    any_score_file(home, first, about, lines)


# ---- small images

SIDES = st.one_of(st.integers(1, 12), st.integers(13, 70))
SMALL_IMAGES = given(
    width=SIDES,
    height=SIDES,
    other=st.sampled_from([(0, 0)] * 6 + [(1, 0), (0, 1)]),
    flat=st.booleans(),
    mode=st.sampled_from(["RGB", "RGB", "L", "RGBA", "1"]),
    seed=st.integers(0, 99),
    argv=st.sampled_from(["psnr", "psnr", "fsim", "stlpips_alex", "msssim", "lpips", "deep_jsd_vgg"]),
)


def any_images(home, capsys, width, height, other, flat, mode, seed, argv):
    rng = np.random.default_rng(seed)
    for name, size in (("a.png", (width, height)), ("b.png", (width + other[0], height + other[1]))):
        values = np.full((size[1], size[0], 3), seed) if flat else rng.integers(0, 256, (size[1], size[0], 3))
        Image.fromarray(values.astype(np.uint8)).convert(mode).save(home / name)
    more = ["--weights", "random"] if argv in ("lpips", "deep_jsd_vgg") and seed < 5 else ["--weights-dir", "empty"]
    code, printed, message = call(
        capsys, "-ref", "a.png", "-dis", "b.png", "-m", argv, *more, "--json", main=run_single_img.main
    )
    clear(code, "" if code == 0 else printed, message)
    assert code != 0 or other == (0, 0)
    if code == 0:
        [value] = [v for k, v in json.loads(printed)["scores"][0].items() if k not in ("distorted", "reference")][:1]
        assert np.isfinite(value)
        if argv == "psnr":
            assert value == pytest.approx(psnr(pixels(home / "a.png"), pixels(home / "b.png")), abs=1e-4)
    elif other == (0, 0) and argv in ("psnr", "stlpips_alex", "fsim"):
        assert "too small for" in message and min(width, height) < 31


@fuzzing(100)
@SMALL_IMAGES
def test_small_images(home, capsys, **drawn):
    any_images(home, capsys, **drawn)


@pytest.mark.slow
@fuzzing(2000)
@SMALL_IMAGES
def test_small_images_long(home, capsys, **drawn):
    any_images(home, capsys, **drawn)
