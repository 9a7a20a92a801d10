"""--align in run.py and run_single_img.py: names, companions, what is computed once, resume, shards, --verify,
--noise-floor."""

import csv
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from places import ROOT
from small_dataset import bytes_of, call, refused, spawn

import compare
import run_single_img
from loaders import demo
from robustness import perturb
from scorefiles.folder import scan
from scoring import Scorer, aligning
from scoring.loading import in_order
from scoring.registration import align

ARGS = ("-pct", 3, "-m", "psnr", "psnr-aligned", "-rob", "none", "tra")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """A CSV dataset of ten noisy versions of two photographs, 128 x 112, and one of an unrelated image."""
    folder = tmp_path_factory.mktemp("photographs")
    lines = ["dis,ref,dmos"]
    for r, name in enumerate(("astronaut", "coffee")):
        photograph = demo.photograph(*demo.PHOTOGRAPHS[name])[60:172, 60:188]
        Image.fromarray(photograph.astype(np.uint8)).save(folder / f"r{r}.png")
        for i in range(5):
            noisy = demo.noise(photograph, 3 + 4 * i, r).round().clip(0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(folder / f"d{r}{i}.png")
            lines.append(f"d{r}{i}.png,r{r}.png,{i + 1}")
    other = demo.photograph(*demo.PHOTOGRAPHS["chelsea"])[60:172, 60:188]
    Image.fromarray(other.astype(np.uint8)).save(folder / "other.png")
    (folder / "photos.csv").write_text("\n".join([*lines, "other.png,r1.png,5"]) + "\n")
    return folder / "photos.csv"


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def preds(path):
    return {row["dis"]: float(row["pred"]) for row in rows(path)}


@pytest.fixture(scope="module")
def scored(dataset, tmp_path_factory):
    """The folder that one whole run leaves."""
    folder = tmp_path_factory.mktemp("results")
    done = spawn("-dat", dataset, *ARGS, "-sdir", folder)
    out, err = done.communicate()
    assert done.returncode == 0, err
    assert "photos_psnr-aligned_tra-3.csv: 10 of 11 pairs aligned; 1 left as they are" in out
    return folder


def test_names_settings_and_companions(scored):
    names = {path.name for path in scored.iterdir() if path.suffix == ".csv"} - {"correlations.csv"}
    stems = {"photos_psnr", "photos_psnr_tra-3", "photos_psnr-aligned", "photos_psnr-aligned_tra-3"}
    assert names == {f"{s}.csv" for s in stems} | {f"{s}.align.csv" for s in stems if "aligned" in s}
    assert set(scan(scored)) == {f"{s}.csv" for s in stems}  # a companion is no score file
    settings = json.loads((scored / "photos_psnr-aligned_tra-3.json").read_text())["settings"]
    assert settings["align"] == "similarity" and settings["method"] == "psnr"
    plain, aligned = (json.loads((scored / f"photos_psnr{a}_tra-3.json").read_text()) for a in ("", "-aligned"))
    assert "align" not in plain["settings"]
    versions = [set(document["environment"]["versions"]) for document in (plain, aligned)]
    assert versions[1] - versions[0] == {"opencv-python-headless", "scipy"}  # what registers and resamples
    companion = rows(scored / "photos_psnr-aligned_tra-3.align.csv")
    assert list(companion[0]) == ["dis", "dx", "dy", "scale", "angle", "corner", "ratio", "done", "why"]
    for row in companion:
        moved = row["dis"] != "other.png"
        assert row["done"] == str(int(moved)) and float(row["dx"]) == (-4 if moved else 0) and bool(row["why"]) != moved


def test_untouched_pairs_score_as_plain_and_moved_ones_as_cropped(dataset, scored):
    plain, aligned = preds(scored / "photos_psnr.csv"), preds(scored / "photos_psnr-aligned.csv")
    assert plain == aligned  # to the last bit: nothing needed anything
    plain, aligned = preds(scored / "photos_psnr_tra-3.csv"), preds(scored / "photos_psnr-aligned_tra-3.csv")
    assert plain["other.png"] == aligned["other.png"]
    score = Scorer("psnr")
    for name in ("d00.png", "d13.png"):
        reference, distorted = (Image.open(dataset.parent / f) for f in (f"r{name[1]}.png", name))
        # both cut by 4 columns on opposite sides, then by the shift of 4: columns 4 to 124 of both are left
        expected = score(*(image.crop((4, 0, 124, 112)) for image in (reference, distorted))).item()
        assert aligned[name] == pytest.approx(expected, abs=1e-5) and aligned[name] > plain[name] + 3


def test_registrations_are_computed_once_whatever_the_methods(capsys, dataset, scored, tmp_path, monkeypatch):
    made = []
    register = aligning.register
    monkeypatch.setattr(aligning, "register", lambda *a: made.append(1) or register(*a))
    both = ("-dat", dataset, "-pct", 3, "-rob", "tra", "--align", "similarity", "-sdir", tmp_path)
    assert call(capsys, *both, "-m", "psnr", "fsim")[0] == 0 and len(made) == 11
    assert call(capsys, *both, "-m", "psnr", "fsim", "--overwrite")[0] == 0 and len(made) == 11
    kept = next((tmp_path / ".align").iterdir())
    kept.write_bytes(kept.read_bytes()[:-20])  # torn by a kill: one row is made anew
    for path in tmp_path.glob("photos_psnr*"):
        path.unlink()
    assert call(capsys, *both, "-m", "psnr")[0] == 0 and len(made) == 12
    name = "photos_psnr-aligned_tra-3"
    for ending in (".csv", ".align.csv"):
        assert (tmp_path / (name + ending)).read_bytes() == (scored / (name + ending)).read_bytes()
    shutil.rmtree(tmp_path / ".align")
    assert call(capsys, *both, "-m", "psnr")[0] == 0 and len(made) == 12  # all is scored: nothing to register for


def test_an_image_written_anew_is_registered_anew(capsys, tmp_path):
    """BMP: the size of the file stays what it was."""
    photograph = demo.photograph(*demo.PHOTOGRAPHS["astronaut"]).astype(np.uint8)
    Image.fromarray(photograph[:128, 8:136]).save(tmp_path / "r.bmp")
    (tmp_path / "one.csv").write_text("dis,ref,dmos\nd.bmp,r.bmp,1\n")
    flags = ("-dat", tmp_path / "one.csv", "-m", "psnr-aligned", "-sdir", tmp_path / "out")
    for shift in (3, 5):
        Image.fromarray(photograph[:128, 8 + shift : 136 + shift]).save(tmp_path / "d.bmp")
        for path in (tmp_path / "out").glob("one*"):
            path.unlink()
        assert call(capsys, *flags)[0] == 0
        assert float(rows(tmp_path / "out/one_psnr-aligned.align.csv")[0]["dx"]) == -shift
        assert preds(tmp_path / "out/one_psnr-aligned.csv") == {"d.bmp": 80.0}


def test_resume_and_shards_give_the_same_files(capsys, dataset, scored, tmp_path):
    for flags in (("--limit", 3), ("--workers", 2)):
        assert call(capsys, "-dat", dataset, *ARGS, "-sdir", tmp_path / "resumed", *flags)[0] == 0
    for i in (2, 1):
        assert call(capsys, "-dat", dataset, *ARGS, "-sdir", tmp_path / "shards", "--shard", f"{i}/2")[0] == 0
    expected = {n: b for n, b in bytes_of(scored).items() if n.endswith(".csv")}
    for folder in ("resumed", "shards"):
        assert {n: b for n, b in bytes_of(tmp_path / folder).items() if n.endswith(".csv")} == expected


def threads_of_opencv(_):
    import cv2

    return cv2.getNumThreads()


def test_processes_are_born_without_threads_of_opencv():
    """Most of those that were born beside such threads waited for them for ever, as they set a number of their own."""
    import cv2

    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        assert list(in_order(threads_of_opencv, range(3), workers=1)) == [1, 1, 1] and cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)


def test_verify_and_another_mode_in_the_same_folder(capsys, dataset, scored):
    code, out, _ = call(capsys, "-dat", dataset, "--verify", 11, *sorted(scored.glob("*.csv")))
    assert code == 0 and out.count("agrees, 11 of 11 pairs") == 4
    line = refused(capsys, "-dat", dataset, "-m", "psnr", "--align", "shift", "-sdir", scored)
    assert 'align: "similarity" there, "shift" now' in line


def test_compare_takes_the_aligned_score_as_a_method_of_its_own(capsys, scored):
    files = sorted(scored.glob("photos*_tra-3*.csv"))
    assert len(files) == 3  # the companion is given, too, as a shell's * gives it
    flags = ("--resamples", 100, "--format", "json")
    code, out, err = call(capsys, *files, *flags, main=compare.main)
    assert code == 0, err
    (group,) = json.loads(out)["groups"]
    assert group["metrics"] == ["psnr-aligned", "psnr"] and (group["perturbation"], group["pct"]) == ("tra", 3)
    values = {name: group["coefficients"][name]["pooled"]["srcc"]["value"] for name in group["metrics"]}
    assert values["psnr-aligned"] > values["psnr"] + 0.2


def test_noise_floor_and_fused(capsys, dataset, tmp_path):
    flags = ("-dat", dataset, "-rob", "tra", "-pct", 3, "-sdir", tmp_path)
    assert call(capsys, *flags, "-m", "psnr-aligned", "--noise-floor")[0] == 0
    floor = preds(tmp_path / "photos_psnr-aligned_tra-3.floor.csv")
    assert set(floor.values()) == {80.0}  # a shift undone leaves nothing
    code, out, _ = call(capsys, *flags, "-m", "psnr-aligned * fsim^0.5")
    assert code == 0 and "fused-psnr-aligned+fsim-0.5" in out
    code, out, _ = call(capsys, "-dat", dataset, "--verify", 3, *tmp_path.glob("photos_fused*.csv"))
    assert code == 0 and "agrees" in out
    assert call(capsys, *flags, "-m", "psnr * fsim^0.5", "--align", "similarity")[0] == 0
    fused = tmp_path / "photos_fused-psnr+fsim-0.5-aligned_tra-3.csv"
    assert fused.exists() and call(capsys, "-dat", dataset, "--verify", 3, fused)[0] == 0


@pytest.mark.parametrize(
    "asked",
    [
        ("msssim", "psnr", "--align", "similarity"),
        ("msssim-aligned", "psnr-aligned"),
        ("psnr-aligned * msssim-aligned",),
    ],
)
def test_what_is_left_too_small_for_the_method_stays_as_it_is(capsys, tmp_path, asked):
    """MS-SSIM needs 161: of 166 columns a shift by 6 leaves 160. However methods are asked for, each has its own."""
    photograph = demo.photograph(*demo.PHOTOGRAPHS["astronaut"])[:170, :172].astype(np.uint8)
    Image.fromarray(photograph[:, :166]).save(tmp_path / "r.png")
    Image.fromarray(photograph[:, 6:172]).save(tmp_path / "d.png")
    (tmp_path / "small.csv").write_text("dis,ref,dmos\nd.png,r.png,1\n")
    flags = ("-dat", tmp_path / "small.csv", "-sdir", tmp_path / "out", "-m")
    assert call(capsys, *flags, "msssim")[0] == 0
    code, out, _ = call(capsys, *flags, *asked)
    assert code == 0 and "0 of 1 pairs aligned; 1 left as they are: what is left is too small for msssim" in out
    assert preds(tmp_path / "out/small_msssim.csv") == preds(tmp_path / "out/small_msssim-aligned.csv")
    assert preds(tmp_path / "out/small_psnr-aligned.csv") == {"d.png": 80.0}


def test_single_images_say_for_which_methods_what_is_left_is_too_small(capsys, tmp_path):
    photograph = demo.photograph(*demo.PHOTOGRAPHS["astronaut"])[:170, :172].astype(np.uint8)
    for folder, first in (("ref", 0), ("dis", 6)):
        (tmp_path / folder).mkdir()
        Image.fromarray(photograph[:, first : first + 166]).save(tmp_path / folder / "a.png")
    files = ("-ref", tmp_path / "ref/a.png", "-dis", tmp_path / "dis/a.png", "-m", "msssim-aligned", "psnr-aligned")
    why = "what is left is too small for msssim"
    lines = call(capsys, *files, main=run_single_img.main)[1].splitlines()
    assert "shifted by -6.00" in lines[0] and lines[1].endswith(why) and lines[2].split()[1:] == ["psnr-aligned", "80"]
    (score,) = json.loads(call(capsys, *files, "--json", main=run_single_img.main)[1])["scores"]
    assert score["alignment"]["done"] and score["not_aligned"] == {"msssim-aligned": why}
    asked = ("-ref", tmp_path / "ref", "-dis", tmp_path / "dis", "-o", tmp_path / "o.csv")
    both = call(capsys, *asked, "-m", "msssim-aligned", "psnr-aligned", main=run_single_img.main)[1].splitlines()
    assert [line.split()[-1] for line in both if "dis  " in line] == ["0", "1"]
    assert f"msssim-aligned: 0 of 1 pairs aligned; 1 left as they are: {why}" in both
    assert both[-1] == "psnr-aligned: 1 of 1 pairs aligned"
    (row,) = rows(tmp_path / "o.csv")
    assert float(row["align_done"]) == 1 and float(row["msssim-aligned_done"]) == 0
    one = call(capsys, *asked, "-m", "msssim-aligned", main=run_single_img.main)[1].splitlines()
    assert one[-1] == f"0 of 1 pairs aligned; 1 left as they are: {why}"


@pytest.fixture
def turned(tmp_path):
    image = Image.fromarray(demo.photograph(*demo.PHOTOGRAPHS["astronaut"]).astype(np.uint8)).crop((0, 0, 240, 232))
    image.save(tmp_path / "a.png")
    perturb(image, "distorted", "rot", 2.0).save(tmp_path / "b.png")
    image.crop((2, 0, 240, 232)).resize((240, 232)).save(tmp_path / "c.png")
    return tmp_path


def measured_angle(folder):
    alignment = align(Image.open(folder / "a.png"), Image.open(folder / "b.png"))
    assert alignment.angle == pytest.approx(2, abs=0.05)
    return alignment.angle


def test_single_images_say_what_was_found(capsys, turned):
    asked = (
        "-ref",
        turned / "a.png",
        "-dis",
        turned / "b.png",
        turned / "a.png",
        "-m",
        "psnr",
        "--align",
        "similarity",
    )
    code, out, _ = call(capsys, *asked, main=run_single_img.main)
    lines = out.splitlines()
    assert (
        code == 0
        and "distorted is shifted by" in lines[0]
        and f"turned by {measured_angle(turned):.2f} degrees" in lines[0]
    )
    assert "not moved: the images are equal" in lines[2] and lines[3].split()[1:] == ["psnr-aligned", "80"]
    code, out, _ = call(capsys, *asked, "--json", main=run_single_img.main)
    document = json.loads(out)
    alignment = align(Image.open(turned / "a.png"), Image.open(turned / "b.png"))
    assert document["scores"][0]["alignment"] == alignment.document and document["settings"]["align"] == "similarity"
    assert Scorer("psnr")(alignment.reference, alignment.distorted).item() == document["scores"][0]["psnr-aligned"]


def test_scorer_aligns_images_in_memory(turned):
    a, b, c = (Image.open(turned / f"{name}.png") for name in "abc")
    alignment, scorer = align(a, b), Scorer("psnr", align="similarity")
    assert scorer.column == "psnr-aligned"
    assert scorer(a, b).item() == Scorer("psnr")(alignment.reference, alignment.distorted).item()
    assert torch.equal(scorer([a, a], [b, a]), torch.stack([scorer(a, b), scorer(a, a)]))
    values = torch.from_numpy(np.array(a)).permute(2, 0, 1) / 255
    finer = (values + 0.004 * torch.rand(values.shape, generator=torch.Generator().manual_seed(0))).clamp(max=1)
    exact = Scorer("psnr")(values[..., 3:-3], finer[..., 3:-3]).item()
    assert scorer(values[..., :-3], finer[..., 3:]).item() == exact  # what is finer than 8 bits is not rounded away
    tensor = torch.rand(3, 64, 64, requires_grad=True)
    with pytest.raises(ValueError, match="no gradient"):
        scorer(tensor, tensor.detach())


def test_folders_count_and_maps_are_of_the_aligned_pair(capsys, turned):
    for folder, source in (("ref", "a"), ("dis", "b")):
        (turned / folder).mkdir()
        for name in ("one", "two"):
            Image.open(turned / f"{source}.png").save(turned / folder / f"{name}.png")
    asked = ("-ref", turned / "ref", "-dis", turned / "dis", "-m", "psnr", "psnr-aligned", "-o", turned / "o.csv")
    code, out, _ = call(capsys, *asked, main=run_single_img.main)
    assert code == 0 and "2 of 2 pairs aligned" in out and out.count("aligned\n") == 2  # head of one table; the summary
    assert float(rows(turned / "o.csv")[0]["align_angle"]) == pytest.approx(2, abs=0.1)
    pair = ("-ref", turned / "a.png", "-dis", turned / "b.png", "-m", "psnr-aligned")
    code, out, _ = call(capsys, *pair, "--map", turned / "m.png", main=run_single_img.main)
    assert code == 0 and f"turned by {measured_angle(turned):.2f} degrees" in out and (turned / "m.png").exists()
    same = ("-ref", turned / "a.png", "-dis", turned / "a.png", "-m", "psnr-aligned")
    code, out, _ = call(capsys, *same, "--map", turned / "n.png", main=run_single_img.main)
    assert code == 0 and "not moved: the images are equal" in out and (turned / "n.png").exists()


def test_without_opencv_one_line_says_what_is_missing(dataset, tmp_path):
    code = (
        "import sys; sys.modules['cv2'] = None; import run; from common.terminal import run_main; "
        f"run_main(run.main, {[str(a) for a in ('-dat', dataset, '-m', 'psnr', '-sdir', tmp_path)]} + sys.argv[1:])"
    )
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 0
    done = subprocess.run([*command, "--align", "shift"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "the package cv2 is missing" in done.stderr and done.stderr.count("\n") == 1
