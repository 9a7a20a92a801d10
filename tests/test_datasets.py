"""The loaders, on small folders in each dataset's distributed layout,
and on the real files of ../shared where they are there."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import (
    MAKERS,
    PIPAL_NAMES,
    fails,
    make_csiq,
    make_kadid,
    make_live,
    make_livemd,
    make_pipal,
    make_tid,
    make_workbook,
    touch,
    write,
)
from places import ROOT, SHARED

import datasets
from loaders import kadid, live

# --- finding a dataset


def test_every_dataset_of_the_registry_is_tested_here():
    assert set(MAKERS) | {"demo"} == set(datasets.DATASETS)


@pytest.mark.parametrize("name", MAKERS)
def test_layout_is_read_from_its_folder_or_the_folder_above(name, tmp_path):
    folder = MAKERS[name](tmp_path / datasets.DATASETS[name].folders[0].upper())
    above, itself = datasets.load(name, tmp_path), datasets.load(name, folder)
    entry = datasets.DATASETS[name]
    assert above == itself and above.fingerprint == itself.fingerprint
    assert above.expected == len(above.pairs) > 0 and (above.higher_is, above.label) == (entry.higher_is, entry.label)
    for pair in above.pairs:
        assert above.path(pair.dis).is_file() and above.path(pair.ref).is_file()
        for rel in (pair.dis, pair.ref):  # spelt as on the disk, which a case-preserving file system would hide
            assert Path(rel).name in os.listdir(above.path(rel).parent)
    table = pd.DataFrame({"dis": [pair.dis for pair in above.pairs]})
    assert datasets.distortion_types(name, table) == [pair.distortion for pair in above.pairs]


@pytest.mark.parametrize("written", ["TID2013", "tid2013", "Tid 2013", "tid_2013", "tid2013/tid2013"])
def test_usual_names_in_any_case(written, tmp_path):
    make_tid(tmp_path / written)
    assert datasets.load("tid2013", tmp_path).root == tmp_path / written


def test_missing_dataset_tells_the_layout_and_where_to_ask(tmp_path):
    for root in (tmp_path, tmp_path / "nowhere"):
        message = fails(datasets.load, "pipal", root)
        assert "train_label" in message and "https://" in message and str(root) in message and "--data-root" in message
    (tmp_path / "PIPAL").mkdir()
    assert "PIPAL holds nothing; the nearest known layout" in fails(datasets.load, "pipal", tmp_path)


def test_a_folder_of_tid2008_is_not_taken_for_tid2013(tmp_path):
    folder = make_tid(tmp_path / "TID2008")
    assert "not found" in fails(datasets.load, "tid2013", folder)


def test_two_candidate_folders_are_not_guessed_between(tmp_path):
    make_tid(tmp_path / "TID2013")
    make_tid(tmp_path / "tid-2013")
    assert "more than once" in fails(datasets.load, "tid2013", tmp_path)


def test_unknown_names_give_the_nearest():
    assert "tid2013" in fails(datasets.load, "tid213", ".")
    assert "column type" in fails(datasets.distortion_types, "mine", pd.DataFrame({"dis": ["a.png"]}))
    assert datasets.distortion_types("mine", pd.DataFrame({"dis": ["a.png"], "type": ["jpeg"]})) == ["jpeg"]


def test_importing_is_light():
    heavy = ("torch", "pandas", "PIL", "numpy", "scipy", "skimage")
    code = f"import sys, datasets, common.images; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_script_prints_pairs_and_one_line_of_error(tmp_path):
    make_tid(tmp_path / "TID2013")
    script = [sys.executable, "datasets.py"]
    done = subprocess.run([*script, "tid2013", "--data-root", tmp_path], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.splitlines()[1] == "distorted_images/I01_01_1.bmp,reference_images/I01.BMP,94.48571,01,"
    assert "3 pairs, the full tid2013 has 3000" in done.stderr
    done = subprocess.run([*script, "live", "--data-root", tmp_path], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and done.stdout == ""


# --- each dataset


def test_tid2013(tmp_path):
    pairs = datasets.load("tid2013", make_tid(tmp_path / "TID2013")).pairs
    assert [(p.dis, p.ref, p.label, p.distortion, p.std) for p in pairs] == [
        ("distorted_images/I01_01_1.bmp", "reference_images/I01.BMP", 94.48571, "01", None),
        ("distorted_images/i01_11_2.bmp", "reference_images/I01.BMP", 96.75, "11", None),
        ("distorted_images/i25_24_5.BMP", "reference_images/i25.bmp", 99.5, "24", None),
    ]
    assert "mos_std.txt is not there" in fails(datasets.load_spread, "tid2013", tmp_path)
    write(tmp_path / "TID2013/MOS_STD.TXT", "0.1\n0.2\n0.3\n")
    spreads, kind = datasets.load_spread("tid2013", tmp_path)
    assert spreads == {pair.dis: std for pair, std in zip(pairs, (0.1, 0.2, 0.3))} and kind.kind == "se"
    (tmp_path / "TID2013/reference_images/I01.BMP").unlink()  # the labels alone will do
    assert list(datasets.load_spread("tid2013", tmp_path)[0].values()) == [0.1, 0.2, 0.3]
    write(tmp_path / "TID2013/MOS_STD.TXT", "0.1\n-0.2\n0.3\n")
    assert "line 2: a spread can't be negative" in fails(datasets.load, "tid2013", tmp_path)
    write(tmp_path / "TID2013/MOS_STD.TXT", "0.1\n0.2\n")
    assert "expected as many lines as mos_with_names.txt has (3), found 2" in fails(datasets.load, "tid2013", tmp_path)


@pytest.mark.skipif(not (SHARED / "data/TID2013").is_dir(), reason="../shared/data is not there")
def test_tid2013_real_files():
    dataset = datasets.load("tid2013", SHARED / "data")
    assert [p.label for p in dataset.pairs] == [
        99.3,
        96.07317,
        96.11111,
        96.71875,
        98.34211,
    ]  # 100 - MOS of the label file
    assert dataset.pairs[0].ref == "reference_images/I03.BMP" and dataset.pairs[0].distortion == "11"


@pytest.mark.parametrize("version", ["5", "7"])
def test_live(version, tmp_path):
    folder = make_live(tmp_path / "databaserelease2", version=version)  # its dmos_new is dmos + 1
    dataset = datasets.load("live", folder.parent)
    assert len(dataset.pairs) == 99
    earlier = datasets.load("livedmos", folder.parent)
    assert [pair.label + 1 for pair in earlier.pairs] == [pair.label for pair in dataset.pairs]
    assert dataset.note == "" and "not the label that the paper used" in earlier.note
    at = {pair.dis: pair for pair in dataset.pairs}
    # column 230 is the fourth of jpeg, after 227 of jp2k; columns 960 = 227 + 233 + 174 + 174 + 152 is fastfading's
    # 153rd
    assert list(at)[:2] == ["jp2k/img1.bmp", "jp2k/img11.bmp"]
    assert at["jpeg/img4.bmp"].label == 230 / 8 + 1.125 and at["jpeg/img4.bmp"].ref == "refimgs/bikes.bmp"
    assert (
        at["fastfading/img153.bmp"].label == 960 / 8 + 1.125 and at["fastfading/img153.bmp"].distortion == "fastfading"
    )
    spreads, kind = datasets.load_spread("live", tmp_path)
    assert spreads["jpeg/img4.bmp"] == 2.3 and kind.kind == "unknown" and not kind.usable
    assert "belongs to the scale of dmos_new" in fails(datasets.load_spread, "livedmos", tmp_path)  # never beside dmos


def test_live_types_by_position():
    rated = {"jp2k": 169, "jpeg": 175, "wn": 145, "gblur": 145, "fastfading": 145}
    table = pd.DataFrame({"dis": [f"img{i}.bmp" for i in range(779)]})
    assert datasets.distortion_types("live", table) == [kind for kind, count in rated.items() for _ in range(count)]
    assert "779" in fails(datasets.distortion_types, "live", table[:-1])
    assert datasets.distortion_types("live", pd.DataFrame({"dis": ["wn/img1.bmp"]})) == ["wn"]
    for maker, entry in ((live.RATED, 779), (live.ALL, 982)):
        assert sum(maker.values()) == entry


@pytest.mark.skipif(not (SHARED / "paper/scores").is_dir(), reason="../shared/paper/scores is not there")
@pytest.mark.parametrize(
    "name, sizes",
    [
        ("tid2013", {f"{i:02d}": 125 for i in range(1, 25)}),
        ("pipal", dict(zip(("00", "01", "02", "03", "04", "05", "06"), (2400, 3200, 2000, 4800, 2600, 2800, 5400)))),
    ],
)
def test_types_of_the_authors_score_files(name, sizes):
    table = pd.read_csv(SHARED / f"paper/scores/{name}_psnr.csv")
    assert pd.Series(datasets.distortion_types(name, table)).value_counts().to_dict() == sizes


@pytest.mark.parametrize(
    "pattern", ["Train_Dis", "train_dis", "Distortion_{}", "Train_Dis/Distortion_{}", "Distortion_{0}/Distortion_{0}"]
)
def test_pipal_layouts(pattern, tmp_path):
    def place(i):
        return pattern.format(i % 4 + 1)

    dataset = datasets.load("pipal", make_pipal(tmp_path / "PIPAL", place).parent)
    # files by name, lines as they stand (here: backwards)
    want = [PIPAL_NAMES[i] for i in (3, 2, 1, 0, 7, 6, 5, 4)]
    assert [pair.dis for pair in dataset.pairs] == [f"{place(PIPAL_NAMES.index(name))}/{name}" for name in want]
    assert [pair.label for pair in dataset.pairs[:2]] == [1403.25, 1402.25]
    assert {pair.ref for pair in dataset.pairs} == {"Train_Ref/A0001.bmp", "Train_Ref/A0002.bmp"}
    assert dataset.pairs[0].distortion == "06" and dataset.higher_is == "better"
    assert "no spread" in fails(datasets.load_spread, "pipal", tmp_path)


def test_pipal_image_in_two_folders(tmp_path):
    folder = make_pipal(tmp_path / "PIPAL")
    touch(
        folder, "Train_Dis/Thumbs.db", "Distortion_1/Thumbs.db", "Distortion_1/._A0001_00_00.bmp"
    )  # what systems leave behind
    assert len(datasets.load("pipal", tmp_path).pairs) == 8
    write(folder / f"Distortion_1/{PIPAL_NAMES[0]}", "another image")
    message = fails(datasets.load, "pipal", tmp_path)
    assert "there twice" in message and "Train_Dis" in message and "Distortion_1" in message


def test_kadid_dmos_is_better_when_higher_and_var_is_a_standard_deviation(tmp_path):
    dataset = datasets.load("kadid10k", make_kadid(tmp_path / "kadid10k"))
    assert dataset.higher_is == "better" and [pair.label for pair in dataset.pairs] == [4.57, 1.1]
    # 17 fives and 13 fours: mean 4.57, standard deviation 0.496; 27 ones and 3 twos: 1.1 and 0.3
    assert np.std([5] * 17 + [4] * 13).round(3) == 0.496 and np.std([1] * 27 + [2] * 3).round(3) == 0.3
    spreads, kind = datasets.load_spread("kadid10k", tmp_path)
    assert list(spreads.values()) == [0.496, 0.3] and (kind.kind, kind.raters) == ("sd", 30)
    make_kadid(
        tmp_path / "kadid10k", "I01_01_01.png,I01.png,4.57,0.2456\nI01_25_05.png,I01.png,1.1,0.09\n"
    )  # variances
    assert list(datasets.load_spread("kadid10k", tmp_path)[0].values()) == pytest.approx([0.496, 0.3], abs=1e-3)


@given(st.lists(st.lists(st.integers(1, 5), min_size=5, max_size=40), min_size=30, max_size=60))
@settings(max_examples=50, deadline=None)
def test_kadid_standard_deviations_are_never_taken_for_variances(ratings):
    rounded = [(round(float(np.mean(r)), 2), round(float(np.std(r)), 3)) for r in ratings]
    assert kadid.spread_of(rounded) == [std for _, std in rounded]


@pytest.mark.parametrize("nested", [True, False])
def test_csiq(nested, tmp_path):
    pairs = datasets.load("csiq", make_csiq(tmp_path / "CSIQ", nested)).pairs
    assert [(p.label, p.distortion, p.ref) for p in pairs] == [
        (0.062, "awgn", "src_imgs/1600.png"),
        (0.75, "jpeg2000", "src_imgs/log_seaside.png"),
    ]
    assert "csiq.DMOS.xlsx" in fails(datasets.load_spread, "csiq", tmp_path)


def test_csiq_list_and_workbook_are_held_against_each_other(tmp_path):
    folder = make_csiq(tmp_path / "CSIQ")  # lists 0.062 and 0.75
    book = folder / "csiq.DMOS.xlsx"
    seaside, noise = ("log_seaside", "jpeg 2000", 5, 0.11, 0.7512), (1600, "noise", 1, 0.0, 0.06249)
    make_workbook(book, (seaside, noise))  # in another order, its labels with more digits
    dataset = datasets.load("csiq", tmp_path)
    assert [(p.label, p.std) for p in dataset.pairs] == [(0.062, 0.0), (0.75, 0.11)]  # the list's labels and order
    assert (dataset.spread.kind, dataset.spread.raters) == ("sd", 6)
    make_workbook(book, (seaside, (*noise[:-1], 0.0626)))
    assert "is 0.062, but 0.0626 in" in fails(datasets.load, "csiq", tmp_path)
    make_workbook(book, (noise,))
    assert "log_seaside.jpeg2000.5.png is not in csiq.DMOS.xlsx" in fails(datasets.load, "csiq", tmp_path)
    make_workbook(book, (seaside, noise, (1600, "noise", 2, 0.1, 0.2)))
    assert "row 5: this image is not in csiq_label.txt beside it (1 such)" in fails(datasets.load, "csiq", tmp_path)


def test_csiq_spreadsheet(tmp_path, monkeypatch):
    folder = make_csiq(tmp_path / "CSIQ")
    (folder / "csiq_label.txt").unlink()
    assert "found neither" in fails(datasets.load, "csiq", tmp_path)
    write(folder / "csiq.DMOS.xlsx", "no spreadsheet")
    assert "not a spreadsheet" in fails(datasets.load, "csiq", tmp_path)
    make_workbook(folder / "csiq.DMOS.xlsx")
    dataset = datasets.load("csiq", tmp_path)
    assert [(p.dis, p.label, p.std) for p in dataset.pairs] == [
        ("dst_imgs/awgn/1600.AWGN.1.png", 0.062, 0.05),
        ("dst_imgs/jpeg2000/log_seaside.jpeg2000.5.png", 0.75, 0.11),
    ]
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    assert "pip install openpyxl" in fails(datasets.load, "csiq", tmp_path)


def test_livemd(tmp_path):
    pairs = datasets.load("livemd", make_livemd(tmp_path / "LIVEmultidistortiondatabase/To_Release").parents[1]).pairs
    assert [(p.dis, p.ref, p.label, p.distortion) for p in pairs] == [
        ("Part 1/blurjpeg/caps_blurjpeg_1.bmp", "Part 1/blurjpeg/caps.bmp", 10.5, "1"),
        ("Part 1/blurjpeg/bikes_blurjpeg_2.bmp", "Part 1/blurjpeg/bikes.bmp", 70.25, "1"),
        ("Part 2/blurnoise/caps_blurnoise_1.bmp", "Part 2/blurnoise/caps.bmp", 21.0, "2"),
        ("Part 2/blurnoise/bikes_blurnoise_2.bmp", "Part 2/blurnoise/bikes.bmp", 70.25, "2"),
    ]


# --- any CSV


def test_csv(tmp_path):
    folder = tmp_path / "Größe und Zahl"
    touch(folder, "b ü/d 1.png", "b ü/d2.PNG", "r.png")
    file = write(
        folder / "My Study_2.csv",
        "mos,ref,dis,std,type\r\n1.5,r.png,b ü/d 1.png,0.5,jpeg\r\n-2,r.png,b ü\\d2.png,0,blur\r\n",
    )
    dataset = datasets.load(str(file), None, higher_is="better")
    assert (dataset.name, dataset.higher_is, dataset.expected) == ("my-study-2", "better", 2)
    assert [(p.dis, p.ref, p.label, p.distortion, p.std) for p in dataset.pairs] == [
        ("b ü/d 1.png", "r.png", 1.5, "jpeg", 0.5),
        ("b ü/d2.PNG", "r.png", -2, "blur", 0),
    ]
    spreads, kind = datasets.load_spread(file, None)
    assert list(spreads.values()) == [0.5, 0] and kind.kind == "unknown"
    write(file, "dis,ref,mos\nb ü/d2.PNG,r.png,3\n")
    assert datasets.load(file, None, "worse").pairs[0].distortion == "all"
    assert "has no column std" in fails(datasets.load_spread, file, None)
    assert "not 'up'" in fails(datasets.load, file, None, higher_is="up")


def test_csv_names(tmp_path):
    assert "is the name of a known dataset" in fails(datasets.load, write(tmp_path / "LIVE.csv", "dis,ref,mos\n"), None)
    assert "is for CSV files" in fails(datasets.load, "pipal", make_pipal(tmp_path / "PIPAL"), higher_is="worse")
    assert "No such file" in fails(datasets.load, tmp_path / "none.csv", None)
