"""Lists of one's own (loaders/lists.py): the columns of others, the label's direction, where the images may be."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import small_dataset
from layouts import fails, touch, write
from places import ROOT, SHARED
from small_dataset import call, refused

import datasets

LABELS = SHARED / "data/labels"
PLAIN = "dis,ref,mos\na.png,r.png,1\n"

# the header and the first line of the files as they are passed on
PYIQA = {
    "csiq": ("ref_name,dist_name,dmos,ratio802_seed123_split_01", "1600.png,1600.AWGN.1.png,0.061989,train"),
    "livemd": (
        "ref_name,dist_name,dmos",
        "Part 1/blurjpeg/babygirl.bmp,Part 1/blurjpeg/babygirl_blur1.bmp,21.57894736842105",
    ),
    "pipal": ("hq_name,dist_name,elo_score", "A0001.bmp,A0001_00_00.bmp,1520.0648"),
    "tid2013": ("ref_name,dist_name,mos,std", "I01.BMP,I01_01_1.bmp,5.51429,0.13013"),
    "kadid10k": ("ref_name,dist_name,dmos,std", "I01.png,I01_01_01.png,4.57,0.496"),
}
IQA_DATASET = {
    "livemd": "LIVE_MD/To_Release/Part_1/blurjpeg/babygirl_blur1.bmp,Multiply Dist.,"
    "LIVE_MD/To_Release/Ref_Images/babygirl.bmp,21.5789",
    "csiq": "CSIQ/dst_imgs/AWGN/1600.AWGN.1.png,AWGN,CSIQ/src_imgs/1600.png,0.061989",
}


# ---- the columns of others


@pytest.mark.parametrize("name, places, result, direction", [
    ("csiq", ("src_imgs/1600.png", "dst_imgs/awgn/1600.AWGN.1.png"), (0.061989, None), None),
    ("livemd", ("Part 1/blurjpeg/babygirl.bmp", "Part 1/blurjpeg/babygirl_blur1.bmp"), (21.57894736842105, None), None),
    ("pipal", ("Train_Ref/A0001.bmp", "Dist_Imgs/A0001_00_00.bmp"), (1520.0648, None), "better"),
    ("tid2013", ("reference_images/I01.BMP", "distorted_images/i01_01_1.bmp"), (5.51429, 0.13013), "better"),
    ("kadid10k", ("images/I01.png", "images/I01_01_01.png"), (4.57, 0.496), "better")])  # fmt: skip
def test_meta_files_of_pyiqa(name, places, result, direction, tmp_path):
    touch(tmp_path / "images of it", *places)
    file = write(tmp_path / f"meta/meta_info_{name}.csv", "\n".join(PYIQA[name]))
    if direction:
        assert "--higher-is" in fails(datasets.load, file, tmp_path / "images of it")
    dataset = datasets.load(file, tmp_path / "images of it", direction)
    [pair] = dataset.pairs
    assert (pair.ref, pair.dis) == places and (pair.label, pair.std) == result and pair.distortion == "all"
    assert dataset.root == tmp_path / "images of it" and dataset.higher_is == (direction or "worse")


@pytest.mark.parametrize("name", IQA_DATASET)
@pytest.mark.parametrize("ending", [".csv", ".txt"])
def test_lists_of_iqa_dataset(name, ending, tmp_path):
    dis, kind, ref, score = IQA_DATASET[name].split(",")
    touch(tmp_path / "data", dis, ref)
    file = write(tmp_path / f"a list{ending}", f"dis_img_path,dis_type,ref_img_path,score\n{IQA_DATASET[name]}\n")
    assert "what does a higher label mean (score of a list" in fails(datasets.load, file, tmp_path / "data")
    dataset = datasets.load(file, tmp_path / "data", "worse")
    assert [(p.dis, p.ref, p.label, p.distortion) for p in dataset.pairs] == [(dis, ref, float(score), kind)]
    assert dataset.name == "a-list" and dataset.label == f"score of a list{ending}"


@pytest.mark.skipif(not LABELS.is_dir(), reason="../shared/data/labels is not there")
def test_a_meta_file_of_all_of_csiq_is_the_dataset(tmp_path):
    rows = [line.split() for line in (LABELS / "csiq/csiq_label.txt").read_text().splitlines()]
    touch(tmp_path / "CSIQ", *{f"src_imgs/{name.rsplit('.', 3)[0]}.png" for name, _ in rows},
          *(f"dst_imgs/{name.rsplit('.', 3)[1].lower()}/{name}" for name, _ in rows))  # fmt: skip
    write(tmp_path / "CSIQ/csiq_label.txt", (LABELS / "csiq/csiq_label.txt").read_bytes())
    text = "".join(f"{name.rsplit('.', 3)[0]}.png,{name},{dmos}\n" for name, dmos in rows)
    file = write(tmp_path / "meta_info_CSIQDataset.csv", "ref_name,dist_name,dmos\n" + text)
    listed, known = datasets.load(file, tmp_path), datasets.load("csiq", tmp_path)
    assert listed.higher_is == known.higher_is and len(listed.pairs) == 866
    assert [(f"CSIQ/{p.dis}", f"CSIQ/{p.ref}", p.label) for p in known.pairs] == [
        (p.dis, p.ref, p.label) for p in listed.pairs
    ]


@pytest.mark.parametrize("header, expected", [
    ("dis,ref,mos,dmos", "twice: mos, dmos"), ("dis,dist_name,ref,mos", "twice: dis, dist_name"),
    ("dis,ref,label", "expected a header with the columns dis (or dist_name, dis_img_path), ref (or ")])  # fmt: skip
def test_two_columns_of_a_kind_and_none(header, expected, tmp_path):
    assert expected in fails(datasets.load, write(tmp_path / "x.csv", header + "\n1,2,3,4\n"), None)


def test_a_bare_name_in_two_folders_is_not_guessed(tmp_path):
    touch(tmp_path, "one/a.png", "two/a.png", "one/r.png", "one/other.png")
    file = write(tmp_path / "x.csv", PLAIN)
    assert datasets.load(file, None, "worse").pairs[0].dis == "one/a.png"  # the same file twice
    write(tmp_path / "two/a.png", "something else")
    assert "a.png is there twice and the two files differ: one/a.png and two/a.png" in fails(
        datasets.load, file, None, "worse"
    )
    write(tmp_path / "two/other.png", "something else")  # not in the list
    touch(tmp_path, "a.png")
    assert datasets.load(file, None, "worse").pairs[0].dis == "a.png"  # beside the list


# ---- what a higher label means


def test_the_direction_is_stated_or_asked_for(tmp_path):
    touch(tmp_path, "a.png", "b.png", "r.png")
    file = write(tmp_path / "x.csv", PLAIN)
    message = fails(datasets.load, file, None)
    assert (
        "x.csv: what does a higher label mean (mos of x.csv)? Say it by --higher-is better or --higher-is worse"
        in message
    )
    for direction in ("worse", "better"):
        assert datasets.load(file, None, direction).higher_is == direction
    write(file, PLAIN.replace("mos", "DMOS"))
    assert datasets.load(file, None).higher_is == datasets.load(file, None, "worse").higher_is == "worse"
    assert "means worse (dmos of x.csv), not better" in fails(datasets.load, file, None, "better")
    write(file, "dis,ref,mos,higher_is\na.png,r.png,1,better\nb.png,r.png,2,Better\n")
    assert datasets.load(file, None).higher_is == "better"
    assert "not worse" in fails(datasets.load, file, None, "worse")
    for cell in ("worse", "", "up"):
        write(file, f"dis,ref,mos,higher_is\na.png,r.png,1,better\nb.png,r.png,2,{cell}\n")
        assert "expected better or worse, the same in each row" in fails(datasets.load, file, None)


def study(folder, header="dis,ref,mos"):
    """The small dataset with a label that is better when higher."""
    file = small_dataset.make(folder)
    lines = [line.split(",") for line in file.read_text().splitlines()[1:]]
    file.write_text(header + "\n" + "".join(f"{dis},{ref},{10 - float(label)}\n" for dis, ref, label in lines))
    return file


def test_a_real_mos_has_the_right_sign(tmp_path, capsys):
    file = study(tmp_path / "data")
    flags = ["-dat", file, "-m", "psnr", "-sdir", tmp_path / "out"]
    assert "what does a higher label mean (mos of tiny.csv)? Say it by --higher-is" in refused(capsys, *flags)
    assert not (tmp_path / "out").exists()
    code, printed, _ = call(capsys, *flags, "--higher-is", "better")
    row = next(line for line in printed.splitlines() if "psnr" in line)
    assert code == 0 and float(row.split()[-1]) > 0.8, printed  # KRCC
    code, _, errors = call(
        capsys, "-dat", "demo", file, "-m", "psnr", "-sdir", tmp_path / "both", "--higher-is", "better", "--limit", "3"
    )
    assert code == 0, errors  # the flag is the list's, the registry knows its own


# ---- where the images may be


@pytest.fixture
def places(tmp_path):
    """study/ with a list's folder study/list, data/ and elsewhere/; a.png and r.png in each but study."""
    for folder in ("study/list", "data", "elsewhere"):
        touch(tmp_path / folder, "a.png", "r.png", f"{Path(folder).name}.png")
    return tmp_path


def load(places, dis, data_root=None, **options):
    return datasets.load(write(places / "study/list/x.csv", f"dis,ref,dmos\n{dis},r.png,1\n"), data_root, **options)


def test_beside_the_list_before_the_data_root(places):
    assert load(places, "a.png", places / "data").root == places / "study/list"
    mixed = load(places, "data.png", places / "data")
    assert mixed.root == places / "study/list" and mixed.pairs[0].dis == "../../data/data.png"
    assert mixed.path(mixed.pairs[0].dis).samefile(places / "data/data.png")


@pytest.mark.parametrize(
    "path",
    [
        "../../data/a.png",
        "{root}/data/a.png",
        "link.png",
        "linked/a.png",
        "..\\..\\data\\a.png",
        "../../study/list/../../data/a.png",
        "../../elsewhere/../data/a.png",
    ],
)
def test_a_path_out_of_the_folder_needs_the_data_root(path, places):
    (places / "study/list/link.png").symlink_to(places / "data/a.png")
    (places / "study/list/linked").symlink_to(places / "data")
    path = path.format(root=places)
    for data_root in (None, places / "elsewhere", places / "nowhere"):
        for keep_missing in (False, True):  # --skip-bad does not skip it
            message = fails(load, places, path, data_root, keep_missing=keep_missing)
            assert (
                "x.csv: line 2: " in message
                and f"leads out of the list's folder, to {places.resolve()}/data/a.png" in message
            )
    pair = load(places, path, places / "data").pairs[0]
    assert (places / "study/list" / pair.dis).samefile(places / "data/a.png")


@pytest.mark.parametrize(
    "path", ["{root}/study/list/a.png", "../list/a.png", "./a.png", "{root}/study/other/a.png", "inner.png"]
)
def test_a_path_that_stays_inside_is_read(path, places):
    (places / "study/other").symlink_to("list")  # another way to the list's own folder
    (places / "study/list/inner.png").symlink_to("a.png")
    [pair] = load(places, path.format(root=places)).pairs
    assert pair.dis == ("inner.png" if path == "inner.png" else "./a.png" if path == "./a.png" else "a.png")
    assert (places / "study/list" / pair.dis).samefile(places / "study/list/a.png")


def test_one_image_under_two_paths_is_rated_once(places):
    file = write(places / "study/list/x.csv", "dis,ref,dmos\na.png,r.png,1\n../list/a.png,r.png,2\n")
    assert "line 3: a.png stands there a second time" in fails(datasets.load, file, None)


def test_a_folder_that_begins_with_the_same_letters_is_another(places):
    touch(places / "study/list2", "a.png")
    assert "leads out" in fails(load, places, "../list2/a.png")


def test_a_foreign_file_that_is_missing_is_refused_like_one_that_is_there(places):
    assert "leads out" in fails(load, places, "../gone.png")
    assert "leads out" in fails(load, places, ".hidden/../../../gone.png", keep_missing=True)


def test_a_foreign_file_is_never_quoted(places, capsys):
    secret = write(places / "data/secret.png", "root:x:0:0:root:/root:/bin/bash\n")
    file = write(places / "study/list/x.csv", f"dis,ref,dmos\n{secret},r.png,1\n")
    flags = ["-dat", file, "-m", "psnr", "-sdir", places / "out"]
    assert "leads out of the list's folder" in refused(capsys, *flags, "--data-root", places / "elsewhere")
    line = refused(capsys, *flags, "--data-root", places / "data")
    assert "secret.png: not an image (a text file)" in line and "root:x" not in line


# ---- only regular files


@pytest.mark.parametrize("where", ["image", "list", "label file"])
def test_a_named_pipe_is_refused_at_once(where, tmp_path):
    file = small_dataset.make(tmp_path / "data")
    path = {"image": tmp_path / "data/d3.png", "list": file, "label file": tmp_path / "tid2013/mos_with_names.txt"}[
        where
    ]
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    name = "tid2013" if where == "label file" else file
    flags = ["-dat", name, "--data-root", tmp_path, "-m", "psnr", "-sdir", tmp_path / "out"]
    done = subprocess.run([sys.executable, ROOT / "run.py", *flags], capture_output=True, text=True, timeout=100)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert f"{path}: " in done.stderr and "cannot be read (a named pipe, not a file)" in done.stderr
