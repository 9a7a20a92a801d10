"""What broken and unusual label files, .mat files, links and folders give:
the right dataset, or one line that says why not."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layouts import MAKERS, fails, make_live, make_pipal, make_tid, touch, write

import datasets
from common import files
from common.errors import UsageError

# --- label files that are broken or unusual


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff5.51429 i01_01_1.bmp\r\n\r\n3.25  I01_11_2.BMP\r\n   \r\n0.5\ti25_24_5.bmp",
        "\n5.51429 i01_01_1.bmp\r3.25 I01_11_2.BMP\r.5 i25_24_5.bmp\r\r",
    ],
)
def test_byte_order_marks_line_ends_and_blank_lines_change_nothing(text, tmp_path):
    plain, unusual = make_tid(tmp_path / "a/tid2013"), make_tid(tmp_path / "b/tid2013", text)
    assert datasets.load("tid2013", unusual).pairs == datasets.load("tid2013", plain).pairs


@pytest.mark.parametrize(
    "text, expected",
    [
        ("5.5 i01_01_1.bmp\n3.2\n", "line 2: expected 2 fields, found '3.2'"),
        ("5.5 i01_01_1.bmp x\n", "line 1: expected 2 fields"),
        ("i01_01_1.bmp 5.5\n", "line 1: expected a name like i01_01_1.bmp, found '5.5'"),
        ("5,5 i01_01_1.bmp\n", "line 1: expected a finite number"),
        ("1e999 i01_01_1.bmp\n", "line 1: expected a finite"),
        ("\n5.5 i01_01_1.bmp\nnan i01_11_2.bmp\n", "line 3: expected a finite number, found 'nan'"),
        ("1_0 i01_01_1.bmp\n", "line 1: expected a finite"),
        ("\u0663 i01_01_1.bmp\n", "line 1: expected a finite"),
        ("", "empty"),
        ("\r\n \n", "empty"),
        (
            "5.5 i01_01_1.bmp\n2.5 I01_01_1.BMP\n",
            "line 2: distorted_images/I01_01_1.BMP stands there a second time (first: ",
        ),
        (
            "5.5 i01_01_1.bmp\n2.5 i02_01_1.bmp\n2 i03_01_1.bmp\n",
            "4 of 6 images named in the label files are not there: distorted_images/i02_01_1.bmp",
        ),
        (b"\xff\xfe5\x00.\x00", "not UTF-8 text"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "not UTF-8 text"),
        ("5.5 ../i01_01_1.bmp\n", "expected a name like"),
    ],
)
def test_broken_label_file_names_file_and_line(text, expected, tmp_path):
    message = fails(datasets.load, "tid2013", make_tid(tmp_path / "tid2013", text))
    assert expected in message and ("mos_with_names.txt" in message or "images named" in message)


def test_pairs_without_image_are_kept_on_request(tmp_path):
    make_tid(tmp_path / "tid2013", "5.5 i01_01_1.bmp\n2.5 i02_01_1.bmp\n")
    dataset = datasets.load("tid2013", tmp_path, keep_missing=True)
    assert [pair.dis for pair in dataset.pairs] == ["distorted_images/I01_01_1.bmp", "distorted_images/i02_01_1.bmp"]
    assert len(dataset.fingerprint) == 64


def test_name_in_two_spellings_is_not_guessed(tmp_path):
    folder = make_tid(tmp_path / "tid2013")
    touch(folder, "distorted_images/I01_11_2.bmp")
    if len(os.listdir(folder / "distorted_images")) < 4:
        pytest.skip("this file system does not tell case apart")
    assert "could be any of I01_11_2.bmp, i01_11_2.bmp" in fails(datasets.load, "tid2013", tmp_path)
    touch(folder, "distorted_images/I01_11_2.BMP")
    assert (
        datasets.load("tid2013", tmp_path).pairs[1].dis == "distorted_images/I01_11_2.BMP"
    )  # the very spelling asked for


def test_composed_and_decomposed_names_are_the_same(tmp_path):
    touch(tmp_path, "u\u0308.png", "r.png")
    file = write(tmp_path / "x.csv", "dis,ref,mos\n\u00fc.png,r.png,1\n")
    assert datasets.load(file, None, "worse").pairs[0].dis == "u\u0308.png"


def test_fingerprint_tells_names_labels_sizes(tmp_path):
    touch(tmp_path, "a.png", "b.png", "r.png")
    seen = set()
    for text, size, higher_is in (
        ("a.png,r.png,1", 8, "worse"),
        ("b.png,r.png,1", 8, "worse"),
        ("a.png,r.png,1", 9, "worse"),
        ("a.png,r.png,1.0000000000000002", 8, "worse"),
        ("a.png,r.png,1", 8, "better"),
    ):
        (tmp_path / "r.png").write_bytes(b"x" * size)
        seen.add(datasets.load(write(tmp_path / "x.csv", "dis,ref,mos\n" + text), None, higher_is).fingerprint)
    assert len(seen) == 5


# --- .mat files


@pytest.mark.parametrize(
    "broken, expected",
    [
        (b"", "not a MATLAB file"),
        (b"not a mat file at all" * 20, "not a MATLAB file"),
        (b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n", "MATLAB 7.3 (HDF5) file"),
    ],
)
@pytest.mark.parametrize(
    "name, file", [("livedmos", "dmos.mat"), ("live", "refnames_all.mat"), ("live", "dmos_realigned.mat")]
)
def test_broken_mat_file(name, file, broken, expected, tmp_path):
    write(make_live(tmp_path / "live") / file, broken)
    message = fails(datasets.load, name, tmp_path)
    assert expected in message and file in message


def test_cut_mat_file(tmp_path):
    file = make_live(tmp_path / "live") / "dmos_realigned.mat"
    write(file, file.read_bytes()[:5000])
    assert "not a MATLAB file" in fails(datasets.load, "live", tmp_path)


@pytest.mark.parametrize(
    "columns, changed, expected",
    [
        (981, {}, "expected 982 entries"),
        (982, {"orgs": np.zeros((1, 900))}, "found 982, 982, 900, 982"),
        (982, {"orgs": np.full((1, 982), 2.0)}, "0 or 1"),
        (982, {"dmos": np.array([["x"]])}, "expected numbers"),
        (982, {"orgs": np.zeros((1, 982))}, "entry 2: expected a finite number, found 'nan'"),
    ],
)
def test_mat_file_of_another_shape(columns, changed, expected, tmp_path):
    make_live(tmp_path / "live", realigned=False, columns=columns, **changed)
    assert expected in fails(datasets.load, "livedmos", tmp_path)


def test_mat_file_without_the_variable(tmp_path):
    from scipy.io import savemat

    folder = make_live(tmp_path / "live")
    savemat(folder / "refnames_all.mat", {"refnames_all": np.zeros((1, 982))})
    assert "cell array of file names" in fails(datasets.load, "live", tmp_path)
    savemat(folder / "dmos.mat", {"scores": np.zeros((1, 982))}, format="4")
    assert "missing dmos, orgs; found scores" in fails(datasets.load, "livedmos", tmp_path)
    savemat(folder / "dmos_realigned.mat", {"dmos": np.zeros((1, 982)), "orgs": np.zeros((1, 982))})
    assert "missing dmos_new, dmos_std; found dmos, orgs" in fails(datasets.load, "live", tmp_path)


# --- folders and links


def test_links_and_loops(tmp_path):
    folder = make_pipal(tmp_path / "far away/PIPAL")
    (folder / "Train_Dis/again").symlink_to(folder / "Train_Dis")  # entered once
    (folder / "Distortion_1").symlink_to(folder / "Train_Dis")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/PIPAL").symlink_to(folder)
    assert len(datasets.load("pipal", tmp_path / "data").pairs) == 8
    (folder / "Train_Dis/loop").symlink_to(folder / "Train_Dis/loop")
    assert len(datasets.load("pipal", tmp_path / "data").pairs) == 8


def test_loop_of_links_in_the_dataset_or_in_its_place(tmp_path):
    make_tid(tmp_path / "a/tid2013")
    for name in os.listdir(tmp_path / "a/tid2013/reference_images"):
        (tmp_path / "a/tid2013/reference_images" / name).unlink()
    (tmp_path / "a/tid2013/reference_images").rmdir()
    (tmp_path / "a/tid2013/reference_images").symlink_to("reference_images")
    assert "symbolic links" in fails(datasets.load, "tid2013", tmp_path / "a")
    (tmp_path / "tid2013").symlink_to("tid2013")
    assert "holds a/, tid2013; the nearest known layout" in fails(datasets.load, "tid2013", tmp_path)
    assert "no folder" in fails(datasets.load, "tid2013", tmp_path / "tid2013")
    (tmp_path / "x.csv").symlink_to("x.csv")
    assert "symbolic links" in fails(datasets.load, tmp_path / "x.csv", None)


def test_unreadable_folder_and_file(tmp_path, monkeypatch):
    folder = make_tid(tmp_path / "tid2013")
    real = os.scandir

    def refuse(path):  # permissions do not hold for root, so the refusal is played
        if Path(path).name == "distorted_images":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path)

    monkeypatch.setattr(files.os, "scandir", refuse)
    assert "distorted_images: this folder cannot be read (Permission denied)" in fails(
        datasets.load, "tid2013", tmp_path
    )
    (folder / "mos_with_names.txt").unlink()
    (folder / "mos_with_names.txt").mkdir()
    assert "this file cannot be read (Is a directory)" in fails(datasets.load, "tid2013", tmp_path)


def test_read_only_dataset(tmp_path):
    folder = make_tid(tmp_path / "tid2013")
    paths = [folder, *folder.rglob("*")]
    try:
        for path in paths:
            path.chmod(0o555 if path.is_dir() else 0o444)
        assert len(datasets.load("tid2013", tmp_path).pairs) == 3
    finally:
        for path in paths:
            path.chmod(0o755)


@pytest.mark.parametrize("root", ["a\0b", "x" * 5000, "", "file"])
def test_impossible_data_roots(root, tmp_path):
    touch(tmp_path, "file")
    assert "no folder" in fails(datasets.load, "live", tmp_path / root / "x")


@pytest.mark.parametrize(
    "text, expected",
    [
        ("dis,ref\na.png,r.png\n", "missing: mos"),
        ("dis,ref,mos,mos\na.png,r.png,1,2\n", "twice: mos"),
        ("", "an empty file"),
        ("dis,ref,mos\n", "no rows"),
        ("dis,ref,mos\na.png,r.png\n", "line 2: expected 3 fields"),
        ("dis,ref,mos\na.png,,2\n", "line 2: an empty"),
        ("dis,ref,mos\n\n/a.png,r.png,1\n", "line 3: /a.png leads out of the list's folder, to /a.png; "),
        ("dis,ref,mos\nC:\\a.png,r.png,1\n", "1 of 2 images named in the label files are not there: C:/a.png"),
        ("dis,ref,mos,std\na.png,r.png,1,-1\n", "line 2, column std: a spread can't be negative"),
        ("dis,ref,mos,std\na.png,r.png,1,\n", "line 2, column std: expected a finite"),
        (
            "dis,ref,mos\na.png,r.png,1\nb.png,r.png,2\nA.PNG,r.png,3\n",
            "line 4: a.png stands there a second time (first: ",
        ),
        ("dis,ref,mos\na.png,r.png/x,3\n", "r.png: this folder cannot be read (Not a directory)"),
        ('dis,ref,mos\n"a.png' + "x" * 140000 + '",r.png,1\n', "not CSV (field larger than field limit"),
    ],
)
def test_broken_csv(text, expected, tmp_path):
    touch(tmp_path, "a.png", "b.png", "r.png")
    assert expected in fails(datasets.load, write(tmp_path / "x.csv", text), None)


# --- fuzz: either a dataset or one line

PIECES = (
    "5.5 i01_01_1.bmp",
    "3 I01_11_2.BMP",
    "nan i25_24_5.bmp",
    "A0001_00_00.bmp,1.5",
    "A0001_06_01.bmp,1e400",
    "dis,ref,mos",
    "dis,ref,mos,std,type",
    "a.png,r.png,1",
    "b.png,../r.png,2,3",
    "../a.png,.,1",
    '"a.png,r.png,1',
    "dist_img,ref_img,dmos,var",
    "I01_01_01.png,I01.png,4.5,0.5",
    "1600.AWGN.1.png 0.5",
    "",
    " ",
    "\0",
    "\x1c",
    "a.png\0,r.png,1",
    "a.png/b,r.png,1",
)
LINES = st.lists(st.one_of(st.text(max_size=30), st.sampled_from(PIECES)), max_size=8)
TEXTS = st.one_of(
    st.binary(max_size=200),
    st.tuples(st.sampled_from(("\n", "\r\n", "\r", "\u2028")), LINES).map(
        lambda drawn: drawn[0].join(drawn[1]).encode("utf-8", "surrogatepass")
    ),
)
TARGETS = {
    "tid2013": "mos_with_names.txt",
    "pipal": "Train_Label/A0001.txt",
    "kadid10k": "dmos.csv",
    "csiq": "csiq_label.txt",
    "livedmos": "dmos.mat",
    "live": "dmos_realigned.mat",
    "x.csv": "x.csv",
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("fuzz")
    touch(root, "a.png", "b.png", "r.png")
    return {name: (MAKERS[name](root / name) if name in MAKERS else root) for name in TARGETS}


def read_as_any_dataset(folders, name, text):
    write(folders[name] / TARGETS[name], text)
    try:
        is_list = name.endswith(".csv")
        dataset = datasets.load(
            str(folders[name] / name) if is_list else name, folders[name], "worse" if is_list else None, True
        )
    except UsageError as error:
        assert len(str(error)) < 5000
        return
    assert dataset.pairs and all(np.isfinite(pair.label) for pair in dataset.pairs)
    assert len({pair.dis.lower() for pair in dataset.pairs}) == len(dataset.pairs) and len(dataset.fingerprint) == 64


def fuzzing(examples):
    return settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))


@given(name=st.sampled_from(sorted(TARGETS)), text=TEXTS)
@fuzzing(200)
def test_fuzz_label_files(folders, name, text):
    read_as_any_dataset(folders, name, text)


@pytest.mark.slow
@given(name=st.sampled_from(sorted(TARGETS)), text=TEXTS)
@fuzzing(2000)
def test_fuzz_label_files_long(folders, name, text):
    read_as_any_dataset(folders, name, text)


@pytest.mark.parametrize(
    "name, file", [("live", "refnames_all.mat"), ("tid2013", "mos_with_names.txt"), ("csiq", "csiq.DMOS.xlsx")]
)
def test_label_files_that_are_named_pipes(name, file, tmp_path):

    folder = MAKERS[name](tmp_path / name)
    (folder / "csiq_label.txt").unlink(missing_ok=True)
    (folder / file).unlink(missing_ok=True)
    os.mkfifo(folder / file)
    assert f"{file}: this file cannot be read (a named pipe, not a file)" in fails(datasets.load, name, folder)
