"""Bad input to the scripts: one clear line that says what to do, exit code 2, and nothing written."""

import json
import os
import subprocess
import sys

import pytest
from PIL import Image
from small_dataset import ROOT, call, make, refused, spawn

import run_single_img
from common import terminal


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Small images, images of 224 x 224, an empty folder, and checkpoints that are none."""
    import torch

    home = tmp_path_factory.mktemp("cli")
    make(home / "small")
    make(home / "mid", pairs=2, references=1, size=(224, 224))
    Image.new("RGB", (224, 232)).save(home / "mid/other.png")
    for name in ("empty", "broken", "foreign"):
        (home / name).mkdir()
    (home / "broken/dinov1.pth").write_bytes(b"no checkpoint " * 99)
    torch.save({"fc.weight": torch.zeros(3)}, home / "foreign/dinov1.pth")
    return home


SMALL, MID = ["-dat", "small/tiny.csv"], ["-dat", "mid/tiny.csv"]


@pytest.mark.parametrize(
    "asked, message",
    [
        (["-dat", "tid213", "-m", "psnr"], "unknown dataset 'tid213'; nearest known: tid2013"),
        (["-dat", "small", "-m", "psnr"], "-dat small: expected the name of a dataset (live, "),
        ([*SMALL, "-m", "dinov"], "unknown method 'dinov'; nearest known: dinov"),
        ([*SMALL, "-m", "psnr", "embed_clip_rn5"], "nearest known: embed_clip_rn50"),
        ([*SMALL, "-m", "st_alexnet", "-d", "l3"], "unknown distance 'l3'; nearest known: l2"),
        ([*SMALL, "-m", "psnr", "-rob", "trans"], "unknown perturbation 'trans'; nearest known: tra"),
        (
            [*SMALL, "-m", "timm:vit_base_patch16_22", "-d", "l2"],
            "unknown timm model 'vit_base_patch16_22'; nearest known: vit_",
        ),
        ([], "-dat: expected one or more of live, livedmos, tid2013, pipal"),
        (SMALL, "-m: expected one or more methods"),
        ([*SMALL, "-m", "st_alexnet"], "a backbone needs a distance, -d with one or more of l2, cos"),
        ([*SMALL, "-m", "psnr", "fsim", "-d", "l2"], "-d l2: psnr, fsim take no distance; leave -d out"),
        ([*SMALL, "-m", "embed_dinov1", "-d", "l2"], "an embedding takes the distance cos only, found -d l2"),
        (
            [*SMALL, "-m", "embed_st_alexnet", "-d", "dc"],
            "st_alexnet has no embedding; use -m st_alexnet with -d, one of",
        ),
        ([*SMALL, "-m", "st_alexnet-whole_dc"], "see --list; leave -whole out of the name and add --whole"),
        ([*SMALL, "-m", "st_alexnet-whole_dc * psnr"], "leave -whole out of the name and add --whole"),
        ([*SMALL, "-m", "st_alexnet_dc", "-d", "dc"], "-d dc: score columns and fused metrics take no distance"),
        ([*SMALL, "-m", "clip_rn50", "-d", "skld"], "-d skld: not defined for the maps of a CNN"),
        (
            [*SMALL, "-m", "st_alexnet", "-d", "l2"],
            "72 x 64 pixels under none, too small for st_alexnet, which needs 224 a side; the smallest -r that "
            "works is 224",
        ),
        (
            [*MID, "-m", "st_alexnet", "-d", "l2", "-rob", "none", "tra"],
            "221 x 224 pixels under tra, too small for st_alexnet, which needs 224 a side; the smallest -r that "
            "works is 227",
        ),
        ([*SMALL, "-m", "msssim"], "too small for msssim, which needs 161 a side; the smallest -r that works is 161"),
        (
            [*SMALL, "-m", "st_alexnet", "-d", "l2", "--window", "7"],
            "--window 7: st_alexnet-window7-stride200 cannot take windows of that size",
        ),
        (
            [*SMALL, "-m", "dinov1", "-d", "l2", "--window", "7", "--weights", "random"],
            "cannot take windows of that size",
        ),
        (
            [*SMALL, "-m", "st_alexnet", "-d", "l2", "--window", "64", "--layers", "5"],
            "--layers 5: st_alexnet has the blocks 0 to 4",
        ),
        (
            ["-dat", "tid2013", "-m", "psnr", "--data-root", "empty"],
            "dataset tid2013 not found in empty: empty holds nothing; the nearest known layout of tid2013 is "
            "reference_images/",
        ),
        (["-dat", "live", "-m", "psnr", "--data-root", "nowhere"], "there is no folder nowhere"),
        (["-dat", "nowhere.csv", "-m", "psnr"], "nowhere.csv: this file cannot be read (No such file or directory)"),
        (["-dat", "demo", "-m", "psnr", "--higher-is", "better"], "--higher-is better or worse is for CSV files"),
        (
            [*MID, "-m", "dinov1", "-d", "l2", "--weights-dir", "empty"],
            "empty/dinov1.pth: no such file (nor .pt nor .safetensors); get it from ",
        ),
        ([*MID, "-m", "dinov1", "-d", "l2", "--weights-dir", "nowhere"], "--weights-dir nowhere: no such folder"),
        ([*MID, "-m", "dinov1", "-d", "l2", "--weights-dir", "broken"], "broken/dinov1.pth: refused: no checkpoint"),
        (
            [*MID, "-m", "dinov1", "-d", "l2", "--weights-dir", "foreign"],
            "foreign/dinov1.pth: the checkpoint is not of the arch",
        ),
        ([*MID, "-m", "st_alexnet", "-d", "l2", "--precision", "tf32"], "--precision tf32 needs a CUDA device"),
        ([*MID, "-m", "psnr", "--precision", "tf32", "--device", "cpu"], "--precision tf32 needs a CUDA device"),
        ([*SMALL, "-m", "psnr", "--device", "cuda:99"], "CUDA devices are there; use --device cpu"),
        ([*SMALL, "-m", "psnr", "--device", "gpu"], "--device gpu: expected auto, cpu, cuda or cuda:N"),
        ([*SMALL, "-m", "psnr", "fsim", "-s", "x"], "-s/--saveas names one file"),
        ([*SMALL, "-m", "psnr", "-s", "a/b"], "-s 'a/b': expected a name for a file"),
        ([*SMALL, "-m", "psnr", "-s", "x_tra-1"], "-s 'x_tra-1': expected a name for a file"),
        ([*SMALL, "-m", "psnr", "-s", ""], "-s '': expected a name for a file"),
        ([*SMALL, "-m", "psnr", "-s", "a\0b"], "expected a name for a file"),
        ([*SMALL, "-m", "nowhere.py:far"], "there is no file nowhere.py"),
        ([*SMALL, "-m", "psnr * psnr"], "psnr stands in it twice"),
        ([*SMALL, "-m", "psnr * nothing"], "unknown factor 'nothing'"),
        ([*SMALL, "-m", "psnr", "--", "results/x.csv"], "files go with --verify only"),
        (["--fetch-weights", "empty"], "--fetch-weights: expected -m"),
        (["--fetch-weights", "small/tiny.csv", "-m", "dinov1"], "--fetch-weights small/tiny.csv: no folder for files"),
        ([*SMALL, "-m", "psnr", "-s", "x" * 300], "too long for the name of a file; choose another by -s"),
    ],
)
def test_run_refuses(asked, message, folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    before = sorted(os.listdir(folder))
    assert message in refused(capsys, *asked, *([] if "--" in asked else ["-sdir", tmp_path / "out"]))
    out = tmp_path / "out"
    assert sorted(os.listdir(folder)) == before and not (
        out.exists() and [p for p in out.iterdir() if p.name != ".locks"]
    )


@pytest.mark.parametrize(
    "asked, message",
    [
        (["-r", "0"], "expected a whole number from 1 to 9459, found '0'"),
        (["-r", "1e3"], "found '1e3'"),
        (["--window", "99999"], "expected a whole number from 1 to 9459, found '99999'"),
        (["--layers", "0-99999999"], "expected block numbers such as 0-5,11, found '0-99999999'"),
        (["-pct", "50"], "expected a number above 0 and below 50, found '50'"),
        (["-pct", "nan"], "found 'nan'"),
        (["--limit", "-1"], "found '-1'"),
        (["--shard", "3/2"], "1 <= I <= N"),
        (["--workers", "257"], "from 0 to 256"),
        (["--batch-size", "none"], "found 'none'"),
        (["--layers", "5-2"], "found '5-2'"),
        (["-d"], "at least one argument"),
        (["--precision", "fp8"], "invalid choice: 'fp8'"),
        (["--nothing"], "unknown flag '--nothing'"),
    ],
)
def test_argparse_refuses(asked, message, capsys):
    code, printed, err = call(capsys, "-dat", "demo", "-m", "psnr", *asked)
    assert code == 2 and printed == "" and message in err.splitlines()[-1]


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "an empty file (0 bytes)"),
        (b"<html>", "not an image"),
        (None, "cannot be read (No such file or directory)"),
    ],
)
def test_bad_images_are_all_listed_before_anything_is_scored(content, message, tmp_path, capsys):
    make(tmp_path / "data")
    for name in ("d1.png", "d6.png"):
        (tmp_path / "data" / name).unlink()
        if content is not None:
            (tmp_path / "data" / name).write_bytes(content)
    line = refused(capsys, "-dat", tmp_path / "data/tiny.csv", "-m", "psnr", "-sdir", tmp_path / "out")
    assert line.startswith("2 of 10 images", line.index("2 of 10 images")) and "d1.png" in line and "d6.png" in line
    assert content is None or line.count(message) == 2
    assert not (tmp_path / "out").exists()


def test_pairs_of_different_sizes(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "odd.csv").write_text("dis,ref,dmos\nmid/other.png,mid/r0.png,1\n")
    for script, asked in (
        ("run", ["-dat", "odd.csv", "-m", "psnr", "-sdir", tmp_path / "out"]),
        ("single", ["-ref", "mid/r0.png", "-dis", "mid/other.png", "-m", "psnr"]),
    ):
        line = refused(capsys, *asked, **({} if script == "run" else {"main": run_single_img.main}))
        assert "224 x 232" in line and "224 x 224" in line and "expected equal sizes" in line
    code, printed, _ = call(capsys, *asked, "-r", 224, main=run_single_img.main)
    assert code == 0 and "psnr" in printed
    (folder / "odd.csv").unlink()


@pytest.mark.parametrize(
    "asked, message",
    [
        (["-dis", "mid/d0.png", "-m", "st_alexnet"], "needs a distance"),
        (["-dis", "mid/d0.png", "-m", "psn"], "nearest known: psnr"),
        (["-dis", "no.png", "-m", "psnr"], "no.png: cannot be read"),
        (["-dis", "small/d0.png", "mid/d0.png", "-m", "psnr"], "expected equal sizes"),
        (["-dis", "broken/dinov1.pth", "-m", "psnr"], "not an image"),
        (["-dis", "empty", "-m", "psnr"], "empty"),
        (["-dis", "mid/d0.png", "-m", "psnr", "--precision", "tf32"], "needs a CUDA device"),
    ],
)
def test_single_images_refuse(asked, message, folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    assert message in refused(capsys, "-ref", "mid/r0.png", *asked, main=run_single_img.main)


@pytest.mark.parametrize(
    "text, message",
    [
        ("dis,ref,mos,pred\na,r,1,2\nb,r,2,nan\n", "line 3: pred: expected a finite number, found 'nan'"),
        ("dis,ref,mos,pred\na,r,1,2\nb,r,2,1e999\n", "line 3: pred: expected a finite number"),
        ("dis,ref,mos,pred\na,r,1,\n", "line 2: pred"),
        ("dis,ref,mos,pred\na,r,1,2,3\n", "line 2: expected 4 fields, found 5"),
        ("dis,ref,mos,pred\n\n\na,r,1\n", "line 4: expected 4 fields"),
        ("dis,ref,mos,pred,pred\na,r,1,2,3\n", "each once"),
        ("dis,ref,mos\na,r,1\n", "missing pred"),
        ("", "empty; expected a header with the columns dis, ref, mos, pred, and rows"),
        ("dis,ref,mos,pred\n", "no rows"),
        ("dis,ref,mos,pred\na,r,1,2\na,r,1,2\n", "line 3: the row of a stands in the file twice"),
        ("dis,ref,mos,pred\na,r,1_0,2\n", "line 2: mos"),
        ("dis,ref,mos,pred\na,r,True,2\n", "line 2: mos"),
        ("\x00", "missing dis"),
        ('dis,ref,mos,pred\n"a,r,1,2\n', "not a score file"),
        ("dis,ref,mos,pred\na,r,１,2\n", "line 2: mos"),
    ],
)
def test_broken_score_files_are_named_with_their_line(text, message, tmp_path):
    from scorefiles.read import read

    path = tmp_path / "tid2013_psnr.csv"
    path.write_text(text)
    with pytest.raises(terminal.UsageError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ") and message in str(caught.value)
    path.write_bytes(b'\xef\xbb\xbfdis,ref,mos,pred,type\r\n\r\n "\xc3\xb6",r, 1 ,-2e-3,01\r\n')
    table = read(path).table
    assert table.values.tolist() == [[' "ö"', "r", 1.0, -0.002, "01"]]


def test_names_of_score_files():
    from scorefiles.read import beside, parse_name, stem

    for name in ("tid2013_dinov1_l2.csv", "tid2013_dinov1_l2.csv.partial", "tid2013_dinov1_l2.csv.partial.2of4"):
        assert parse_name(name) == ("tid2013", "dinov1_l2", "none", None)
        assert beside(name).name == name.replace("csv", "json")
    for pct in (1, 0.5, 1e-5, 12.25, 1 / 3):
        name = stem("live", "embed_dinov1_cos", "tra", pct)
        assert parse_name(name + ".csv") == ("live", "embed_dinov1_cos", "tra", pct)
    assert stem("live", "psnr", "rot", 1.0) == "live_psnr_rot-1"


# ---- the terminal


def left_with(main, argv=()):
    with pytest.raises(SystemExit) as left:
        terminal.run_main(main, list(argv))
    return left.value.code


def test_exit_codes_and_one_line(capsys):
    for error, code, message in (
        (terminal.UsageError("a\n b"), 2, "error: a b"),
        (terminal.WorkError("c"), 1, "error: c"),
        (OSError("d"), 1, "error: d"),
        (MemoryError(), 1, "error: MemoryError"),
        (ZeroDivisionError("e"), 1, "unexpected ZeroDivisionError: e"),
    ):

        def main(argv, error=error):
            raise error

        assert left_with(main) == code
        err = capsys.readouterr().err
        assert message in err and len(err.splitlines()) == 1
        with pytest.raises(type(error)):
            terminal.run_main(main, ["--debug"])
    assert left_with(lambda argv: None) == 0 and left_with(lambda argv: 3) == 3


def test_hostile_names_do_not_reach_the_terminal(tmp_path, capsys):
    """Line ends, escape sequences and bytes that are no UTF-8, in a file's name."""
    name = "a\u2028b\x1b[31m\udcff"
    terminal.warn(f"{name} is odd")
    assert capsys.readouterr().err == "warning: a b\\x1b[31m\\udcff is odd\n"
    assert r"a b\x1b[31m\udcff.csv: this file cannot be read" in refused(
        capsys, "-dat", f"{name}.csv", "-m", "psnr", "-sdir", tmp_path
    )


def test_output_that_cannot_be_written():
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, ROOT / "run.py", "--list"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1 and done.stderr == "run.py: error: [Errno 28] No space left on device\n"


def test_a_reader_that_leaves_and_closed_streams():
    process = spawn("--list")
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait() == 0
    command = f'"{sys.executable}" run.py --list >&- && "{sys.executable}" run.py --list 2>&- | tail -1'
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "" and done.stdout


def test_help_names_every_flag_of_the_issue_and_starts_fast():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", ROOT / "run.py", "--help"], capture_output=True, text=True
    )
    flags = (
        "-dat -m --model -d --distance -rob -pct -r --resizeHW -s --saveas -sdir --savedir --data-root --weights-dir "
        "--device --precision --batch-size --workers --limit --dry-run --overwrite --protocol --list --debug --weights "
        "--skip-bad --verify"
    ).split()
    assert done.returncode == 0 and not [flag for flag in flags if flag not in done.stdout]
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "argparse" in imported and not imported & {"torch", "timm", "pandas", "matplotlib", "PIL", "numpy", "scipy"}


def test_settings_of_a_pair_are_json(folder, capsys):
    asked = ["-ref", folder / "mid/r0.png", "-dis", folder / "mid/d0.png", "-m", "psnr", "--json"]
    code, printed, _ = call(capsys, *asked, main=run_single_img.main)
    assert code == 0 and "psnr" in json.dumps(json.loads(printed))


def test_an_empty_savedir_is_refused(folder, capsys, monkeypatch):
    """As an unset variable of the shell gives it; it would be the folder one is in."""
    monkeypatch.chdir(folder)
    assert "-sdir: expected the name of a folder" in refused(capsys, *SMALL, "-m", "psnr", "-sdir", "")


@pytest.mark.parametrize("document", ["[1]", '{"settings": null}'])
def test_json_that_is_no_score_files(document, folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    argv = [*SMALL, "-m", "psnr", "-sdir", tmp_path]
    assert call(capsys, *argv)[0] == 0
    (tmp_path / "tiny_psnr.json").write_text(document)
    assert "tiny_psnr.json: not readable (not the JSON of a score file)" in refused(capsys, *argv)


def test_what_is_no_plain_file_is_written_into_never_replaced(folder, tmp_path, capsys):
    """-o of run_single_img.py: as root the name of a device would become that of a file."""
    pair = ["-ref", folder / "small/d0.png", "-dis", folder / "small/d1.png", "-m", "psnr"]
    (tmp_path / "target.csv").write_text("before")
    (tmp_path / "link.csv").symlink_to("target.csv")
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    for name in ("link.csv", "pipe", "new.csv"):
        assert call(capsys, *pair, "-o", tmp_path / name, main=run_single_img.main)[0] == 0
    assert (tmp_path / "link.csv").is_symlink() and (tmp_path / "pipe").is_fifo()
    text = (tmp_path / "new.csv").read_text()
    assert text.startswith("dis,ref,psnr\n") and (tmp_path / "target.csv").read_text() == text
    assert os.read(reader, 9999).decode() == text
    os.close(reader)
