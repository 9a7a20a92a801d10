"""Every layout that the registry says is read: small folders, and the datasets' own label files with placeholders."""

import csv
import os
import re
from pathlib import Path

import pytest
from layouts import LAYOUTS, MAKERS, PIPAL_NAMES, fails, make_csiq, make_kadid, make_livemd, make_pipal, touch, write
from places import ROOT, SHARED

import datasets
from common.files import same_content
from loaders import lists

LABELS = SHARED / "data/labels"
EACH = [
    (name, i, make) for name in MAKERS if name in datasets.DATASETS
    for i, make in enumerate(LAYOUTS.get(name, (MAKERS[name],)))
]  # fmt: skip


# ---- small folders


@pytest.mark.parametrize("name, i, make", EACH, ids=[f"{name}-{i}" for name, i, _ in EACH])
def test_each_layout_of_the_registry_is_read(name, i, make, tmp_path):
    entry = datasets.DATASETS[name]
    assert len(entry.layouts) == len(LAYOUTS.get(name, (None,)))
    folder = make(tmp_path / name)
    assert {part.lower() for part in datasets.parts_of(entry.layouts[i])} <= {
        there.lower() for there in os.listdir(folder)
    }
    assert datasets.nearest_layout(entry.layouts, os.listdir(folder)) == entry.layouts[i]
    dataset, plain = datasets.load(name, folder), datasets.load(name, MAKERS[name](tmp_path / "plain" / name))
    assert all(dataset.path(rel).is_file() for pair in dataset.pairs for rel in (pair.dis, pair.ref))

    def named(pairs):
        return {(Path(p.dis).name, Path(p.ref).name, p.label, p.distortion) for p in pairs}

    assert named(dataset.pairs) == named(plain.pairs)


def test_references_of_livemd_beside_its_parts(tmp_path):
    dataset = datasets.load(
        "livemd", make_livemd(tmp_path / "LIVE_MD/To_Release", "Part_{}", "Ref_Images").parent / "To_Release"
    )
    assert {pair.ref for pair in dataset.pairs} == {"Ref_Images/caps.bmp", "Ref_Images/bikes.bmp"}
    assert [pair.distortion for pair in dataset.pairs] == ["1", "1", "2", "2"]


def test_merged_and_split_folders_side_by_side(tmp_path):
    folder = make_pipal(tmp_path / "PIPAL", lambda i: f"Distortion_{i % 4 + 1}")
    make_pipal(folder, lambda i: "Dist_Imgs")
    assert {Path(pair.dis).parent.name for pair in datasets.load("pipal", folder).pairs} == {"Dist_Imgs"}
    make_pipal(folder)
    assert {Path(pair.dis).parent.name for pair in datasets.load("pipal", folder).pairs} == {"Train_Dis"}
    write(folder / f"Distortion_1/{PIPAL_NAMES[4]}", "an imagE")  # of the same size
    message = fails(datasets.load, "pipal", folder)
    assert f"{PIPAL_NAMES[4]} is there twice and the two files differ" in message
    assert "Train_Dis" in message and "Distortion_1" in message


def test_csiq_in_folders_by_type_and_in_one(tmp_path):
    folder = make_csiq(tmp_path / "CSIQ")
    make_csiq(folder, nested=False, dis="dst_imgs_all")
    assert [pair.dis for pair in datasets.load("csiq", folder).pairs] == [
        "dst_imgs/awgn/1600.AWGN.1.png", "dst_imgs/jpeg2000/log_seaside.jpeg2000.5.png"]  # fmt: skip
    write(folder / "dst_imgs_all/1600.AWGN.1.png", "another")
    assert "1600.AWGN.1.png is there twice and the two files differ" in fails(datasets.load, "csiq", folder)


@pytest.mark.parametrize("size", [0, 1, 8192, 12288, 12289, 100_000])
def test_same_content(size, tmp_path):
    data = bytes(i * 7 % 251 for i in range(size))
    one, two = write(tmp_path / "one", data), write(tmp_path / "two", data)
    assert same_content(one, two) and same_content(one, one)
    assert not same_content(one, write(tmp_path / "longer", data + b"x"))
    places = range(size) if size == 1 else [0, size // 2, size - 1][: min(size, 3)]
    for at in places:
        changed = bytearray(data)
        changed[at] ^= 1
        assert not same_content(one, write(tmp_path / "changed", bytes(changed))), at


def test_a_layout_that_is_not_known_shows_what_is_there_and_the_nearest(tmp_path):
    folder = make_kadid(tmp_path / "kadid10k", dis="distorted", ref="references")
    message = fails(datasets.load, "kadid10k", tmp_path)
    assert "3 of 3 images" in message and f"{folder} holds distorted/, dmos.csv, references/; " in message
    assert "the nearest known layout of kadid10k is distorted_images/, reference_images/, dmos.csv" in message
    touch(tmp_path / "PIPAL", *(f"entry{i:02d}" for i in range(20)), "Train_Lable/A0001.txt")
    message = fails(datasets.load, "pipal", tmp_path)
    assert (
        "PIPAL holds Train_Lable/, entry00, entry01" in message
        and "entry10 and 9 more; the nearest known layout" in message
    )


def test_one_image_that_is_missing_is_no_unknown_layout(tmp_path):
    folder = make_pipal(tmp_path / "PIPAL")
    (folder / f"Train_Dis/{PIPAL_NAMES[0]}").unlink()
    message = fails(datasets.load, "pipal", folder)
    assert "1 of 10 images" in message and "layout" not in message


# ---- the true label files


def placeholders(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def linked(folder, source):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / source.name).symlink_to(source)


needs_labels = pytest.mark.skipif(not LABELS.is_dir(), reason="../shared/data/labels is not there")


@needs_labels
@pytest.mark.parametrize("dis, ref", [("images", "images"), ("distorted_images", "reference_images")])
def test_kadid_from_its_label_file(dis, ref, tmp_path):
    linked(tmp_path / "kadid10k", LABELS / "kadid10k/dmos.csv")
    with open(LABELS / "kadid10k/dmos.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    placeholders(
        tmp_path / "kadid10k",
        *{f"{ref}/{row['ref_img']}" for row in rows},
        *(f"{dis}/{row['dist_img']}" for row in rows),
    )
    pairs = datasets.load("kadid10k", tmp_path).pairs
    assert len(pairs) == 10125
    assert [(p.dis, p.ref, p.label) for p in pairs] == [
        (f"{dis}/{row['dist_img']}", f"{ref}/{row['ref_img']}", float(row["dmos"])) for row in rows]  # fmt: skip


@needs_labels
@pytest.mark.parametrize("folders, ref", [
    (("dst_imgs/{}",), "src_imgs"), (("dst_imgs_all",), "src_imgs"), (("dst_imgs_all", "dst_imgs/{}"), "src_imgs"),
    (("distorted_images",), "reference_images")])  # fmt: skip
def test_csiq_from_its_label_file(folders, ref, tmp_path):
    linked(tmp_path / "CSIQ", LABELS / "csiq/csiq_label.txt")
    rows = [line.split() for line in (LABELS / "csiq/csiq_label.txt").read_text().splitlines()]
    for name, _ in rows:
        source, kind, _, _ = name.rsplit(".", 3)
        placeholders(
            tmp_path / "CSIQ", f"{ref}/{source}.png", *(f"{folder.format(kind.lower())}/{name}" for folder in folders)
        )
    pairs = datasets.load("csiq", tmp_path).pairs
    assert len(pairs) == 866 and [(Path(p.dis).name, p.label) for p in pairs] == [
        (name, float(dmos)) for name, dmos in rows
    ]
    assert {p.dis.split("/")[0] for p in pairs} == {folders[-1].split("/")[0]} and {
        p.ref.split("/")[0] for p in pairs
    } == {ref}


@needs_labels
def test_tid2013_from_its_label_file(tmp_path):
    linked(tmp_path / "tid2013", LABELS / "tid2013/mos_with_names.txt")
    rows = [line.split() for line in (LABELS / "tid2013/mos_with_names.txt").read_text().splitlines()]
    references = [*(f"reference_images/I{i:02d}.BMP" for i in range(1, 25)), "reference_images/i25.bmp"]
    placeholders(tmp_path / "tid2013", *references, *(f"distorted_images/{name.lower()}" for _, name in rows))
    pairs = datasets.load("tid2013", tmp_path).pairs
    assert len(pairs) == 3000 and {p.ref for p in pairs if "i25" in p.dis} == {"reference_images/i25.bmp"}
    assert [(Path(p.dis).name, p.label) for p in pairs] == [(name.lower(), 100 - float(mos)) for mos, name in rows]


@pytest.mark.skipif(not (SHARED / "paper/scores").is_dir(), reason="../shared/paper/scores is not there")
@pytest.mark.parametrize("folders", [("Dist_Imgs",), ("Train_Dis", "Distortion_{}"), ("Distortion_{}",)])
def test_pipal_with_its_names_and_labels(folders, tmp_path):
    with open(SHARED / "paper/scores/pipal_psnr.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["ref"] < "A0030"]
    by_reference = {}
    for i, row in enumerate(rows):
        by_reference.setdefault(row["ref"], []).append(f"{row['dis']},{row['mos']}\n")
        placeholders(
            tmp_path / "PIPAL",
            f"Train_Ref/{row['ref']}",
            *(f"{folder.format(i % 4 + 1)}/{row['dis']}" for folder in folders),
        )
    for ref, lines in by_reference.items():
        write(tmp_path / f"PIPAL/Train_Label/{ref.removesuffix('.bmp')}.txt", "".join(lines))
    pairs = datasets.load("pipal", tmp_path).pairs
    assert len(pairs) == len(rows) > 500
    assert len({p.dis.split("/")[0] for p in pairs}) == (4 if folders == ("Distortion_{}",) else 1)
    want = sorted(rows, key=lambda row: row["ref"])
    assert [(Path(p.dis).name, p.ref, p.label) for p in pairs] == [
        (row["dis"], f"Train_Ref/{row['ref']}", float(row["mos"])) for row in want]  # fmt: skip


# ---- docs/datasets.md


def table():
    """The rows of its table of layouts, as the registry has them."""
    for entry in datasets.DATASETS.values():
        for i, layout in enumerate(entry.layouts):
            layout = re.sub(r"([<>*])", r"\\\1", layout)
            label = f"| {entry.label} | {entry.higher_is} |" if i == 0 else "| | |"
            yield (f"| {entry.name} | {', '.join(entry.folders) or '-'} " if i == 0 else "| | ") + f"| {layout} {label}"


def test_the_page_repeats_the_registry():
    text = (ROOT / "docs/datasets.md").read_text(encoding="utf-8")
    rows = [line for line in text.split("## Lists")[0].splitlines() if line.startswith("| ")][1:]
    assert rows == list(table()), "put into docs/datasets.md:\n" + "\n".join(table())


def test_the_page_names_every_column_of_a_list():
    text = (ROOT / "docs/datasets.md").read_text(encoding="utf-8").split("## Lists")[1]
    columns = {*lists.DISTORTED, *lists.REFERENCE, *lists.LABEL, *lists.TYPE, *lists.SPREAD, *lists.DIRECTION}
    cells = [line.split("|")[2] for line in text.splitlines() if line.startswith("| ")][1:]
    assert {name for cell in cells for name in re.findall(r"`(\w+)`", cell)} == columns
