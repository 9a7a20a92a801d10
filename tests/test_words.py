"""Error messages say what is wrong in the words of who typed the command."""

import re

import pytest
from PIL import Image
from small_dataset import call, make, refused

import compare
import fuse
import run
import run_single_img
import tables
from common import images
from common.errors import UsageError
from common.terminal import SCORE_FILE
from methods.build import build
from methods.model import Options
from scorefiles.read import COLUMNS


def test_pillows_own_limit_is_told_as_ours(tmp_path, monkeypatch):
    """Over twice the limit Pillow stops by itself, and names twice the limit."""
    Image.new("RGB", (50, 50)).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(images.ImageError) as caught:
        images.check(tmp_path / "large.png")
    assert str(caught.value) == f"{tmp_path / 'large.png'}: 2500 pixels, over the limit of 1000"


def test_one_metric_takes_and_two_take():
    for names, expected in ((["psnr"], "psnr takes no distance"), (["psnr", "fsim"], "psnr, fsim take no distance")):
        with pytest.raises(UsageError, match=expected):
            build(names, ["l2"], Options())


def test_all_pairs_of_unequal_size_are_named(tmp_path, capsys):
    dataset = make(tmp_path / "data")
    for name in ("d1.png", "d6.png"):
        Image.new("RGB", (80, 64)).save(tmp_path / "data" / name)
    line = refused(capsys, "-dat", dataset, "-m", "psnr", "-sdir", tmp_path / "out")
    assert "2 of 8 pairs: expected equal sizes" in line
    assert "d1.png is 80 x 64, its reference" in line and "d6.png is 80 x 64" in line and "72 x 64" in line


def test_what_nobody_looked_for_is_not_called_missing(tmp_path, capsys):
    """A spread asks for --data-root; that a file of LIVE's is not there would be a guess."""
    from reports.compare.grouping import no_spread

    assert "not there" not in no_spread("live", None) and "--data-root" in no_spread("live", None)
    assert "PIPAL gives Elo ratings alone" in no_spread("pipal", None)  # known without looking


def test_wrong_columns_are_one_line(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("dis,ref,mos,pred\n")
    for columns in ("pred", "nonsense=x", "pred:x"):
        line = refused(capsys, tmp_path / "a.csv", "--columns", columns, main=compare.main)
        assert "--columns" in line


def test_heads_do_not_run_together_where_all_cells_are_missing(tmp_path, capsys):
    code, out, _ = call(capsys, "--table", "1", "--scores", tmp_path, main=tables.main)
    assert code == 0
    for line in out.splitlines():
        for head in ("original", "translation", "dilation", "rotation"):
            assert not re.search(rf"\w{head}|{head}\w", line), line


def test_a_dry_run_calls_things_by_their_name_and_adds_up(tmp_path, capsys):
    scored = ["-dat", make(tmp_path / "data"), "-m", "psnr", "st_alexnet", "-d", "l2", "--window", "64"]
    scored += ["-sdir", tmp_path / "out"]
    argv = [*scored, "--dry-run"]
    code, out, _ = call(capsys, *argv)
    pixels, alexnet, total = out.splitlines()
    assert code == 0 and "10 images to look at" in pixels and "forward" not in pixels
    assert "forward passes" in alexnet and re.fullmatch(r"in all about \d+\.\d min", total)
    assert "8 pairs, " in pixels and ", 1 score file of about 1 kB; about 0.0 min on " in pixels

    assert call(capsys, *scored, "--limit", "1")[0] == 0
    [one, _, _] = call(capsys, *argv, "--limit", "1")[1].splitlines()
    assert one == "pixels: nothing to compute: 1 score file holds all of 1 pair"
    rest = call(capsys, *argv, "-rob", "none", "tra", "-pct", "5")[1].splitlines()[0]
    assert ", 2 score files of" in rest
    assert call(capsys, *scored)[0] == 0
    _, done, total = call(capsys, *argv)[1].splitlines()
    assert done.endswith(": nothing to compute: 1 score file holds all of 8 pairs") and total == "in all about 0.0 min"
    rest = call(capsys, *argv, "-rob", "none", "tra", "-pct", "5")[1].splitlines()[0]
    assert ", 1 score file of" in rest and "10 images to look at" in rest  # the plain one is there


def test_parts_that_cannot_make_a_whole_are_told(tmp_path, capsys):
    argv = ["-dat", make(tmp_path / "data", pairs=12, references=6), "-m", "psnr", "-sdir", tmp_path / "out"]
    assert "divisions" not in call(capsys, *argv, "--shard", "1/3")[2]
    errors = call(capsys, *argv, "--shard", "2/2")[2]
    assert "parts of different divisions (1/3, 2/2); 2 of 12 pairs are in none" in errors


@pytest.mark.parametrize(
    "main, argv, nearest",
    [
        (run.main, ["-dat", "demo", "-m", "psnr", "--limits", "3"], "'--limits'; nearest known: --limit"),
        (run.main, ["-dat", "demo", "--aling=shift"], "'--aling'; nearest known: --align"),
        (
            run_single_img.main,
            ["-ref", "a.png", "-dis", "b.png", "--modle", "psnr"],
            "'--modle'; nearest known: --model",
        ),
        (compare.main, ["a.csv", "--resample", "9"], "'--resample'; nearest known: --resamples"),
        (tables.main, ["--scroes", "results"], "'--scroes'; nearest known: --scores"),
        # argparse would take these for -m ethods, -d atasets demo, -h tml, -dis torted
        (run.main, ["-dat", "demo", "-methods", "psnr"], "'-methods'; nearest known: --model"),
        (run.main, ["-dat", "demo", "-methods=psnr"], "'-methods'; nearest known: --model"),
        (run.main, ["-data", "demo"], "'-data'; nearest known: -dat"),
        (compare.main, ["a.csv", "-html", "x.html"], "'-html'; nearest known: --html"),
        (run_single_img.main, ["-ref", "a.png", "-distorted", "b.png"], "'-distorted'; nearest known: --distorted"),
    ],
)
def test_of_a_misspelt_flag_the_nearest_are_named(capsys, main, argv, nearest):
    assert nearest in refused(capsys, *argv, main=main)


def test_what_is_expected_of_a_dataset_is_said_whole(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("IQA_DATA", raising=False)
    assert "(.csv, .txt)" in refused(capsys, "-dat", "scores.md", "-m", "psnr")
    line = refused(capsys, "-dat", "tid2013", "-m", "psnr")
    assert "there is no folder data" in line and "else it is data" in line and "with mos_with_names.txt in it" in line


def test_a_folder_and_a_file_are_not_taken_for_each_other(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("")
    line = refused(capsys, "-dat", tmp_path, "-m", "psnr")
    assert "found a folder" in line and "--data-root" in line
    line = refused(capsys, "--scores", tmp_path / "a.csv", main=tables.main)
    assert f"{tmp_path / 'a.csv'}: a file; expected a folder" in line
    line = refused(capsys, tmp_path, "--search", main=fuse.main)
    assert "of each dataset (there is none)" in line


def test_a_folder_without_the_files_of_a_table_is_named(tmp_path, capsys):
    (tmp_path / "live_mine.csv").write_text("dis,ref,mos,pred\na.bmp,b.bmp,1,2\n")
    assert f"{tmp_path} holds none of the score files" in call(capsys, "--scores", tmp_path, main=tables.main)[2]
    (tmp_path / "pipal_psnr.csv").write_text("")  # there, though of no use
    assert "holds none" not in call(capsys, "--scores", tmp_path, main=tables.main)[2]


def test_of_a_number_that_is_none_the_column_is_named(tmp_path, capsys):
    dataset = make(tmp_path)
    text = dataset.read_text().splitlines()
    dataset.write_text("\n".join([text[0], text[1].rsplit(",", 1)[0] + ",abc", *text[2:]]))
    line = refused(capsys, "-dat", dataset, "-m", "psnr", "-sdir", tmp_path / "out")
    assert "line 2, column dmos: expected a finite number, found 'abc'" in line


@pytest.mark.parametrize(
    "argv, message",
    [
        (["-dat", "demo", "-m", "psnr", "-pct", "5"], "-pct: expected a perturbation of that size"),
        (["-dat", "demo", "-m", "psnr", "--layers", "3"], "--layers: expected a backbone, found psnr"),
        (["-dat", "demo", "-m", "psnr", "--whole"], "--whole: expected a backbone, found psnr"),
        (["-dat", "demo", "demo", "-m", "psnr"], "-dat demo demo: their score files would have the same names"),
        (["-dat", "demo", "-m", "mine.py"], "mine.py:function"),
        (["-dat", "demo", "-m", "timm:nosuch", "-d", "l2"], " more"),
        (["--verify", "1", "-dat", "demo", "a.csv"], "before -dat and -m"),
    ],
)
def test_what_would_be_without_effect_or_out_of_place_is_refused(capsys, argv, message):
    line = refused(capsys, *argv)
    assert message in line and len(line) < 4000


def test_no_command_writes_over_what_it_reads_or_over_scores(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dataset = make(tmp_path / "data", pairs=12, references=3)
    assert call(capsys, "-dat", dataset, "-m", "psnr", "ssim", "-sdir", "out")[0] == 0
    (tmp_path / "list.csv").write_text("ref,dis\ndata/r0.png,data/d0.png\n")
    (tmp_path / "page.html").write_text("dis,ref,mos,pred\n")  # scores under a name of a page
    pair = ("-ref", "data/r0.png", "-dis", "data/d0.png", "-m", "psnr")
    scores = ("out/tiny_psnr.csv", "out/tiny_ssim.csv")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for main, argv in (
        (compare.main, [*scores, "-o", scores[0]]),
        (compare.main, [*scores, "--html", scores[0]]),
        (compare.main, [*scores, "--html", "page.html"]),
        (tables.main, ["--scores", "out", "-o", scores[1]]),
        (fuse.main, ["out", "--factors", "psnr", "ssim", "-o", scores[1]]),
        (run_single_img.main, [*pair, "-o", "data/r0.png"]),
        (run_single_img.main, [*pair, "--map", "data/d0.png"]),
        (run_single_img.main, ["--manifest", "list.csv", "-m", "psnr", "-o", "list.csv"]),
        (run_single_img.main, [*pair, "--map", "m.png", "--npy", "m.csv"]),
    ):
        refused(capsys, *argv, main=main)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/correlations.csv").write_text("mine,1\n")
    assert "not of run.py" in refused(capsys, "-dat", dataset, "-m", "psnr", "-sdir", "other")
    assert {path: path.read_bytes() for path in before} == before and SCORE_FILE.decode() == ",".join(COLUMNS)


def test_columns_that_are_not_there_are_named(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("dis,ref,mos,pred\na.png,r.png,1,2\n")
    line = refused(capsys, tmp_path / "a.csv", "--columns", "pred=scor", "--higher-is", "worse", main=compare.main)
    assert "no column scor; found dis, ref, mos, pred" in line


def test_types_and_spreads_of_ones_own_list_reach_compare(tmp_path, capsys):
    dataset = make(tmp_path / "data", pairs=24, references=4)
    head, *lines = dataset.read_text().splitlines()
    dataset.write_text(
        "\n".join([head + ",type,std", *(f"{line},{'ab'[i % 2]},0.{i % 7 + 1}" for i, line in enumerate(lines))])
    )
    assert call(capsys, "-dat", dataset, "-m", "psnr", "ssim", "-sdir", tmp_path / "out")[0] == 0
    files = [tmp_path / "out/tiny_psnr.csv", tmp_path / "out/tiny_ssim.csv"]
    fast = ["--resamples", "100"]
    out = call(capsys, *files, *fast, main=compare.main)[1]
    assert "--std LIST.csv" in " ".join(out.split())
    out = call(capsys, *files, *fast, "--std", dataset, "--raters", "20", main=compare.main)[1]
    assert "SRCC by distortion type" in out and "about 20 ratings" in out


def test_the_examples_do_not_replace_a_file_of_ones_own(tmp_path, capsys):
    from scripts import examples

    assert call(capsys, tmp_path / "ex", main=examples.main)[0] == 0
    assert call(capsys, tmp_path / "ex", main=examples.main)[0] == 0  # the same files: nothing changes
    (tmp_path / "ex/codecs/pairs.csv").write_text("mine")
    assert "would be overwritten" in refused(capsys, tmp_path / "ex", main=examples.main)
    assert (tmp_path / "ex/codecs/pairs.csv").read_text() == "mine"


def test_rows_and_datasets_of_which_little_or_nothing_is_there_are_named(tmp_path, capsys):
    assert (
        "--extra nosuch: no score file" in call(capsys, "--scores", tmp_path, "--extra", "nosuch", main=tables.main)[2]
    )


def test_what_a_list_says_reaches_the_picture_and_a_change_of_it_the_error(tmp_path, capsys, monkeypatch):
    from scoring import plots

    dataset = make(tmp_path / "data", pairs=12, references=3)
    head, *lines = dataset.read_text().splitlines()
    kinds = [f"{line},{'ab'[i % 2]}" for i, line in enumerate(lines)]
    mos = tmp_path / "data/mine.csv"
    mos.write_text("\n".join([head.replace("dmos", "mos") + ",type", *kinds]))
    drawn = []
    monkeypatch.setattr(plots, "scatter", lambda file, path, types: drawn.append(set(types.values())))
    flags = ["-dat", mos, "-m", "psnr", "-sdir", tmp_path / "out"]
    out = call(capsys, *flags, "--higher-is", "better", "--limit", "5", "--plot")[1]
    assert "demo_psnr.csv" not in out and "mine_psnr.csv.partial is not drawn" in out and not drawn
    assert call(capsys, *flags, "--higher-is", "better", "--plot")[0] == 0 and drawn == [{"a", "b"}]
    line = refused(capsys, *flags, "--higher-is", "worse")
    assert "a higher label means better there, worse now" in line and "other names, labels or file sizes" in line
    (tmp_path / "mine.csv").write_text(mos.read_text())
    line = refused(capsys, "-dat", mos, tmp_path / "mine.csv", "--higher-is", "better", "-m", "psnr")
    assert "the same names" in line
    mos.write_text(mos.read_text().replace("d3.png", "no.png"))
    line = refused(capsys, *flags, "--higher-is", "better")
    assert "no.png (the first in " in line and "mine.csv: line 5)" in line
