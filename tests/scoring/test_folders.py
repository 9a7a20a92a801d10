"""Folders and manifests: what is paired with what, what is said about each folder,
and that the cost is linear in the pairs."""

import csv
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from photographs import printed
from PIL import Image

import run_single_img
from common.errors import UsageError
from scoring import folders
from scoring.folders import FilePair


def image(folder, name, value=0, side=16):
    folder.mkdir(exist_ok=True)
    pixels = np.random.default_rng(value).integers(0, 255, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / name)
    return folder / name


@pytest.fixture
def two(tmp_path):
    """originals/ and two folders of six images; b differs from the originals more than a does."""
    for i in range(6):
        Image.fromarray(np.full((16, 16, 3), 40 * i, np.uint8)).save(image(tmp_path / "originals", f"im{i}.png"))
        for folder, change in (("a", 2), ("b", 9)):
            image(tmp_path / folder, f"IM{i}.bmp")
            Image.fromarray(np.full((16, 16, 3), 40 * i + change + i % 2, np.uint8)).save(
                tmp_path / folder / f"IM{i}.bmp"
            )
    return tmp_path


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_pairing_is_by_name_alone(tmp_path_factory, data):
    """Any subset on either side, in any case, with any extension, each file marked by its number."""
    root = tmp_path_factory.mktemp("f")
    sides = {}
    for side in ("ref", "dis"):
        (root / side).mkdir()
        sides[side] = data.draw(st.sets(st.integers(0, 20), min_size=1))
        for n in sides[side]:
            stem = "".join(c.upper() if data.draw(st.booleans()) else c for c in f"frame.v{n}")
            Image.new("RGB", (1 + n, 1)).save(
                root / side / (stem + data.draw(st.sampled_from([".png", ".BMP", ".tif"])))
            )
    common = sides["ref"] & sides["dis"]
    if not common:
        with pytest.raises(UsageError, match="no file has the name"):
            folders.pair_folders(root / "ref", [root / "dis"])
        return
    pairs, alone = folders.pair_folders(root / "ref", [root / "dis"])
    width = {Image.open(p.reference).width: Image.open(p.distorted).width for p in pairs}
    assert width == {1 + n: 1 + n for n in common} and len(pairs) == len(common)
    assert sum(map(len, alone.values())) == len(sides["ref"] ^ sides["dis"])


def test_unmatched_and_foreign_files_are_listed(two, capsys):
    image(two / "a", "extra.png")
    (two / "a" / "notes.txt").write_text("x")
    (two / "b" / "IM3.bmp").unlink()
    document = json.loads(
        printed(capsys, "-ref", two / "originals", "-dis", two / "a", two / "b", "-m", "psnr", "--json")
    )
    assert {tuple(files) for files in document["unmatched"].values()} == {("extra.png",), ("im3.png",)}
    assert document["summary"]["psnr"]["references_in_common"] == 5 and len(document["scores"]) == 11


def test_warnings_name_what_is_left_out(two, capsys):
    image(two / "a", "extra.png")
    (two / "a" / "notes.txt").write_text("x")
    (two / "a" / "sub").mkdir()
    run_single_img.main(["-ref", str(two / "originals"), "-dis", str(two / "a"), "-m", "psnr"])
    message = capsys.readouterr().err
    assert "left out: notes.txt; sub/" in message and "1 without a partner: extra.png" in message


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda two: image(two / "a", "im1.png"), "differ in extension or case alone"),
        (lambda two: [f.unlink() for f in (two / "a").iterdir()], "no images in this folder"),
        (lambda two: [f.rename(f.with_name("x" + f.name)) for f in sorted((two / "a").iterdir())], "use --manifest"),
    ],
)
def test_folders_that_cannot_be_paired(two, make, message):
    make(two)
    with pytest.raises(UsageError, match=message):
        folders.pair_folders(two / "originals", [two / "a"])


def test_folders_and_files_do_not_mix(two):
    with pytest.raises(UsageError, match="files only or folders only"):
        run_single_img.main(["-ref", str(two / "originals"), "-dis", str(two / "a" / "IM0.bmp"), "-m", "psnr"])
    with pytest.raises(UsageError, match="given twice"):
        run_single_img.main(["-ref", str(two / "originals"), "-dis", str(two / "a"), f"{two}/a/", "-m", "psnr"])


# ---- manifests


def manifest(two, text):
    (two / "pairs.csv").write_text(text)
    return two / "pairs.csv"


def test_a_manifest_pairs_anything(two):
    rows = ["dis,ref,codec,bitrate", "a/IM0.bmp,originals/im5.png,x,0.5", "b\\IM1.bmp,originals/im5.png,,2", ""]
    result = folders.read_manifest(manifest(two, "\n".join(rows)))
    assert [(p.group, p.bitrate) for p in result] == [("x", 0.5), ("b", 2.0)]
    assert {p.reference for p in result} == {str(two / "originals/im5.png")}


@pytest.mark.parametrize(
    "rows, message",
    [
        ("ref,dis\noriginals/im0.png,a/none.bmp\n", "line 2: there is no file"),
        ("ref\nx\n", "missing: dis"),
        ("ref,dis\n", "no rows"),
        ("ref,dis\n" + 2 * "originals/im0.png,a/IM0.bmp\n", "line 3: this pair .*first: line 2"),
        ("ref,dis,bitrate\noriginals/im0.png,a/IM0.bmp,0\n", "above 0"),
        ("ref,dis,bitrate\noriginals/im0.png,a/IM0.bmp,\n", "finite number"),
        ("ref,dis,bitrate\noriginals/im0.png,a/IM0.bmp,nan\n", "finite number"),
    ],
)
def test_broken_manifests(two, rows, message):
    with pytest.raises(UsageError, match=message):
        folders.read_manifest(manifest(two, rows))


# ---- what is said


def test_the_summary_is_that_of_the_scores(two, capsys):
    text = printed(capsys, "-ref", two / "originals", "-dis", two / "a", two / "b", "-m", "psnr", "-o", two / "s.csv")
    with open(two / "s.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12 and list(rows[0]) == ["dis", "ref", "group", "psnr"]
    expected = {
        (f"IM{i}.bmp", name): 10 * np.log10(1 / (((change + i % 2) / 255) ** 2 + 1e-8))
        for i in range(6)
        for name, change in (("a", 2), ("b", 9))
    }
    for row in rows:
        path = row["dis"].rsplit("/", 2)
        assert float(row["psnr"]) == pytest.approx(expected[path[2], path[1]], abs=1e-3)
    scores = [float(row["psnr"]) for row in rows]
    pairs, _ = folders.pair_folders(two / "originals", [two / "a", two / "b"])
    a, b = folders.summary(pairs, scores)
    assert a["mean"] == pytest.approx(np.mean(scores[:6])) and b["median"] == pytest.approx(np.median(scores[6:]))
    assert f"{a['mean']:.6g}" in text and text.rstrip().splitlines()[-3].endswith("/a is better")


def made(groups, seed=0, references=60):
    """Scores of each reference in each group: a shared part, and the group's own mean and noise."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(0, 10, references)
    pairs = [FilePair(f"r{i}", f"{g}{i}", g) for g in groups for i in range(references)]
    scores = [shared[i] + mean + rng.normal(0, 1) for mean in groups.values() for i in range(references)]
    return pairs, scores


def test_intervals_agree_with_scipy():
    from scipy import stats

    pairs, scores = made({"a": 0.0, "b": 0.4})
    values = np.array(scores).reshape(2, 60)
    expected = stats.bootstrap((values[0],), np.mean, n_resamples=20000, rng=1).confidence_interval
    line = folders.summary(pairs, scores)[0]
    assert (line["low"], line["high"]) == pytest.approx(
        (expected.low, expected.high), abs=0.25
    )  # of an interval 5 wide
    expected = stats.bootstrap((values[0] - values[1],), np.mean, n_resamples=20000, rng=1).confidence_interval
    _, (line,) = folders.comparisons(pairs, scores, "worse")
    assert (line["low"], line["high"]) == pytest.approx((expected.low, expected.high), abs=0.05)  # of 0.7


@pytest.mark.parametrize("higher_is, better", [("worse", "a"), ("better", "b")])
def test_decided_and_undecided(higher_is, better):
    """The shared part is ten times the noise: only a paired comparison sees a difference of one."""
    _, (line,) = folders.comparisons(*made({"a": 0.0, "b": 1.0}), higher_is)
    assert line["better"] == better and line["high"] < 0
    _, (line,) = folders.comparisons(*made({"a": 0.0, "b": 0.0}), higher_is)
    assert line["better"] == folders.TIE


def test_equal_folders_tie_nearly_always():
    """Three equal folders, three comparisons: about 5 % of experiments may decide one. Binomial:
    P(more than 7 of 40) < 1 %."""
    experiments = [folders.comparisons(*made(dict.fromkeys("abc", 0.0), seed), "worse")[1] for seed in range(40)]
    wrong = sum(any(line["better"] != folders.TIE for line in lines) for lines in experiments)
    assert wrong <= 7


def test_one_reference_has_no_interval():
    pairs, scores = made({"a": 0.0, "b": 1.0}, references=1)
    assert folders.summary(pairs, scores)[0]["low"] is None and folders.comparisons(pairs, scores, "worse") == (1, [])


# ---- cost


def test_two_hundred_pairs_are_read_once_each(tmp_path, capsys, monkeypatch):
    """Linear in the pairs: every image is decoded once, however many folders share a reference."""
    from common import images
    from scoring import loading

    for i in range(200):
        for folder in ("originals", "a", "b"):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.new("RGB", (8, 8), (i, 0, len(folder))).save(tmp_path / folder / f"{i:03}.bmp")
    read = []
    monkeypatch.setattr(loading, "open_rgb", lambda path: read.append(path) or images.open_rgb(path))
    printed(capsys, "-ref", tmp_path / "originals", "-dis", tmp_path / "a", tmp_path / "b", "-m", "psnr")
    assert len(read) == len(set(read)) == 600


def test_references_among_the_distorted_are_named(two, capsys):
    """A copy of the original in a codec's folder scores as a perfect image, and moves the codec's mean."""
    (two / "a" / "IM2.bmp").unlink()
    (two / "a" / "im2.png").write_bytes((two / "originals" / "im2.png").read_bytes())
    run_single_img.main(["-ref", str(two / "originals"), "-dis", str(two / "a"), str(two / "b"), "-m", "psnr"])
    said = capsys.readouterr().err
    assert f"byte for byte the reference itself: 1 distorted image ({two / 'a' / 'im2.png'})" in said
