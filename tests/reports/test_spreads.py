"""Spreads of labels: what kind of number they are decides what follows from them,
and a spread of zero stands for none."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from layouts import MAKERS
from places import SHARED
from test_compare import FAST, results, run, table, words, write

import datasets
from agreement.correlations import margin
from loaders.spread import KINDS, Spread

LABELS = SHARED / "data" / "labels"
needs_labels = pytest.mark.skipif(
    not LABELS.is_dir(), reason="the datasets' label files (../shared/data/labels) are not there"
)


def test_standard_errors_and_half_widths_by_hand():
    std = np.array([2.0, 4.0])
    assert Spread("sd", 16).standard_error(std) == pytest.approx([0.5, 1.0])
    assert Spread("se").standard_error(std) == pytest.approx([2.0, 4.0])
    assert Spread("ci95").standard_error(std) == pytest.approx([2 / 1.959964, 4 / 1.959964])
    assert Spread("sd", 16).half_width(std) == pytest.approx(
        [2.131449546 * 0.5, 2.131449546]
    )  # Student's t, 15 degrees
    assert Spread("se").half_width(std) == pytest.approx([1.959964 * 2, 1.959964 * 4])
    assert Spread("ci95").half_width(std) == pytest.approx([2.0, 4.0])
    for unusable in (Spread("unknown"), Spread("unknown", 16), Spread("sd")):
        for function in (unusable.standard_error, unusable.half_width):
            with pytest.raises(ValueError, match="no standard error follows"):
                function(std)


def test_every_dataset_says_what_its_spread_is_or_why_it_has_none():
    for entry in datasets.DATASETS.values():
        assert entry.spread or entry.no_spread, entry.name
        assert entry.spread is None or entry.spread.kind in KINDS and entry.spread.source, entry.name
    kinds = {
        name: entry.spread and (entry.spread.kind, entry.spread.raters) for name, entry in datasets.DATASETS.items()
    }
    assert kinds["tid2013"] == ("se", None) and kinds["kadid10k"] == ("sd", 30) and kinds["csiq"] == ("sd", 6)
    assert kinds["live"] == ("unknown", None) and kinds["livedmos"] is None and kinds["pipal"] is None


def krasula(*arguments):
    return results(*arguments)["groups"][0]["krasula"]


def test_a_column_std_is_not_guessed_at(tmp_path):
    """The same numbers as standard deviations of 16 ratings, as standard errors and as half-widths:
    the right error follows."""
    frame = table(0.1).assign(std=8.0)
    file = write(tmp_path, "toy_m", frame)
    group = results(file)["groups"][0]
    assert (
        "column std of the score file: what kind of number stands behind its spreads is not known"
        in group["krasula"]["refused"]
    )
    assert "--raters N or --std-kind se|ci95" in group["krasula"]["refused"]
    assert (
        group["spread"] == {"refused": group["krasula"]["refused"]}
        and "rmse_star" not in group["fits"]["m"]["logistic4"]
    )
    different = {}
    for options, error in (
        (("--raters", 16), 2.0),
        (("--std-kind", "se"), 8.0),
        (("--std-kind", "ci95"), 8 / 1.959964),
    ):
        label = frame["mos"].to_numpy()
        i, j = np.triu_indices(len(label), 1)
        expected = np.count_nonzero(np.abs(label[i] - label[j]) > 1.959964 * np.sqrt(2) * error)
        different[options] = expected
        assert krasula(file, *options)["different"] == expected
    assert len(set(different.values())) == 3
    fit = results(file, "--raters", 16)["groups"][0]["fits"]["m"]["logistic4"]
    assert 0 < fit["rmse_star"] < fit["rmse"] and margin(8.0, 16) > 4


def test_images_with_a_spread_of_zero_are_left_out_of_what_needs_one_and_of_nothing_else(tmp_path):
    frame = table(0.1).assign(std=8.0)
    whole = results(write(tmp_path, "toy_m", frame), "--std-kind", "se")["groups"][0]
    frame.loc[[3, 17], "std"] = 0.0
    file = write(tmp_path, "toy_m", frame)
    group = results(file, "--std-kind", "se")["groups"][0]
    assert group["spread"]["zero"] == ["r00_3.png", "r01_7.png"] and group["spread"]["images"] == 120
    assert group["krasula"]["pairs"] == 118 * 117 // 2 and whole["krasula"]["pairs"] == 120 * 119 // 2
    without = write(tmp_path, "less_m", frame.drop(index=[3, 17]))
    assert group["krasula"] == krasula(without, "--std-kind", "se")
    for changed in ("spread", "krasula", "ceiling"):
        del group[changed], whole[changed]
    fits, whole_fits = group["fits"]["m"]["logistic4"], whole["fits"]["m"]["logistic4"]
    assert fits.pop("rmse_star") != whole_fits.pop("rmse_star")
    fits.pop("outlier_ratio"), whole_fits.pop("outlier_ratio")
    for name in group["fits"]["m"]:
        for statistic in ("rmse_star", "outlier_ratio"):
            group["fits"]["m"][name].pop(statistic, None), whole["fits"]["m"][name].pop(statistic, None)
    assert group == whole
    page = tmp_path / "page.html"
    text = run(file, "--std-kind", "se", *FAST, "--html", page).stdout
    line = (
        "Zero for 2 of 120 images, which are left out of Krasula's analysis, the noise ceiling, RMSE* and outliers: "
        "r00_3.png, r01_7.png"
    )
    assert line in words(text) and line in page.read_text().replace("&#x27;", "'")
    frame["std"] = 0.0
    assert "refused" in krasula(write(tmp_path, "toy_m", frame), "--std-kind", "se")
    frame.loc[5, "std"] = -1.0
    assert "can't be negative" in run(write(tmp_path, "toy_m", frame), "--std-kind", "se", *FAST).stderr


ZERO = {  # the images whose spread is 0 in the distributed files
    "tid2013": ["i04_11_4.bmp", "i04_21_5.bmp"],
    "kadid10k": ["I02_02_05.png", "I58_04_05.png"],
    "csiq": 22,
}


def true_tree(name, folder):
    """The dataset with its true label files and a stand-in for each image, in the distributed layout -> its folder."""
    folder.mkdir(parents=True)
    for file in (LABELS / name).iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    lines = {"tid2013": "mos_with_names.txt", "kadid10k": "dmos.csv", "csiq": "csiq_label.txt"}[name]
    lines = (folder / lines).read_text().split("\n")
    if name == "tid2013":
        images = ["distorted_images/" + line.split()[1] for line in lines if line.strip()]
        images += [f"reference_images/I{i:02d}.BMP" for i in range(1, 25)] + ["reference_images/i25.bmp"]
    elif name == "kadid10k":
        images = [f"images/{image}" for line in lines[1:] if line.strip() for image in line.split(",")[:2]]
    else:
        names = [line.split()[0] for line in lines if line.strip()]
        images = [f"dst_imgs/{n.rsplit('.', 3)[1].lower()}/{n}" for n in names]
        images += [f"src_imgs/{n.rsplit('.', 3)[0]}.png" for n in names]
    for folder_name in {image.rpartition("/")[0] for image in images}:
        (folder / folder_name).mkdir(parents=True, exist_ok=True)
    for image in set(images):
        (folder / image).touch()
    return folder


def labels_of(name, folder):
    """[(name, label, spread or None)] of the label files by another reader, pandas, in their order."""
    if name == "tid2013":
        rows = pd.read_csv(folder / "mos_with_names.txt", sep=r"\s+", header=None, dtype=str)
        std = pd.read_csv(folder / "mos_std.txt", header=None, dtype=str)[0]
        return list(zip(rows[1], [100 - float(mos) for mos in rows[0]], map(float, std)))
    if name == "kadid10k":
        rows = pd.read_csv(folder / "dmos.csv", dtype=str)
        return list(zip(rows["dist_img"], map(float, rows["dmos"]), map(float, rows["var"])))
    rows = pd.read_csv(folder / "csiq_label.txt", sep=" ", header=None, dtype=str)
    book = pd.read_excel(folder / "csiq.DMOS.xlsx", sheet_name="all_by_image", header=3, usecols="D:I")
    kinds = book["dst_type"].replace({"noise": "AWGN", "jpeg 2000": "jpeg2000"})
    names = book["image"].astype(str) + "." + kinds + "." + book["dst_lev"].astype(str) + ".png"
    spread = dict(zip(names.str.lower(), book["dmos_std"]))
    return [(name, label, spread[name.lower()]) for name, label in zip(rows[0], map(float, rows[1]))]


@needs_labels
@pytest.mark.parametrize("name, pairs", [("tid2013", 3000), ("kadid10k", 10125), ("csiq", 866)])
def test_the_true_label_files(name, pairs, tmp_path):
    """All labels and spreads in the files' order to the last digit;
    then compare.py on a part that holds the zero spreads."""
    folder = true_tree(name, tmp_path / name)
    dataset = datasets.load(name, tmp_path)
    rows = labels_of(name, folder)
    assert len(dataset.pairs) == len(rows) == pairs
    assert [Path(p.dis).name.lower() for p in dataset.pairs] == [row[0].lower() for row in rows]
    assert [p.label for p in dataset.pairs] == [row[1] for row in rows]
    assert [p.std for p in dataset.pairs] == pytest.approx([row[2] for row in rows], rel=1e-14, abs=0)
    zero = [Path(p.dis).name for p in dataset.pairs if p.std == 0]
    assert zero == ZERO[name] if isinstance(ZERO[name], list) else len(zero) == ZERO[name]
    part = [p for i, p in enumerate(dataset.pairs) if p.std == 0 or i % (pairs // 150) == 0]
    noise = np.random.default_rng(0).normal(0, np.std([p.label for p in part]) / 3, len(part))
    sign = 1 if dataset.higher_is == "worse" else -1
    frame = pd.DataFrame(
        {"dis": [p.dis for p in part], "ref": [p.ref for p in part], "mos": [p.label for p in part],
         "pred": [sign * p.label for p in part] + noise}
    )  # fmt: skip
    file = write(tmp_path, f"{name}_m", frame, label_higher_is=dataset.higher_is)
    group = results(file, "--data-root", tmp_path)["groups"][0]
    assert [Path(image).name for image in group["spread"]["zero"]] == zero
    assert group["krasula"]["pairs"] == (len(part) - len(zero)) * (len(part) - len(zero) - 1) // 2
    assert 0.6 < group["krasula"]["metrics"]["m"]["better_worse"]["value"] <= 1
    assert f"Zero for {len(zero)} of {len(part)} images" in run(file, "--data-root", tmp_path, *FAST).stdout


def test_the_json_of_a_score_file_says_what_the_spread_is(tmp_path, capsys):
    from PIL import Image
    from small_dataset import call

    folder = MAKERS["tid2013"](tmp_path / "tid2013")
    for image in [*folder.glob("*_images/*")]:
        Image.fromarray(np.full((8, 8, 3), len(image.name), np.uint8)).save(image, "BMP")
    where = ("-dat", "tid2013", "-m", "psnr", "--data-root", tmp_path)
    for label_spread in (None, {"kind": "standard error of the mean", "raters": None}):
        sdir = tmp_path / f"out{bool(label_spread)}"
        call(capsys, *where, "-sdir", sdir)
        document = json.loads((sdir / "tid2013_psnr.json").read_text())
        if label_spread:
            assert document["label_spread"].pop("source").startswith("mos_std.txt")
        assert document["label_spread"] == label_spread
        (folder / "mos_std.txt").write_text("0.1\n0.2\n0.3\n")
