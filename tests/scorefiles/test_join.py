"""scorefiles/join.py: joining two score files of one dataset, and `tables.py --check DIR1 DIR2`."""

import json
import re

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_scores import PAIRS, labelled, put, run, scores
from places import SHARED
from scipy import stats

import tables
from common.errors import UsageError
from reports.tables.check import check
from scorefiles import join
from scorefiles.read import ScoreFile

RELEASED = SHARED / "paper" / "scores"


def test_check_finds_the_largest_differences(tmp_path, capsys):
    a = scores("tid2013", 1)
    b = a.sample(frac=1, random_state=0).reset_index(drop=True)  # another order and other folders: joined by name
    b["dis"] = "distorted_images/" + b["dis"].str.upper()
    worst = b.index[b["dis"].str.contains("I07_03_2")][0]
    b.loc[worst, "pred"] *= 1.5
    put(tmp_path / "a", "tid2013_x_l2.csv", a)
    put(tmp_path / "b", "tid2013_x_l2.csv", b)
    put(tmp_path / "a", "live_x_l2.csv.partial", scores("live", 1, rows=40))  # part of a run against a whole one
    put(tmp_path / "b", "live_x_l2.csv", scores("live", 1))
    put(tmp_path / "a", "only_here.csv", a)
    put(tmp_path / "a", "correlations.csv", a)
    record = json.loads(run(capsys, "--check", tmp_path / "a", tmp_path / "b", "--format", "json")[1])
    live, tid = record["files"]
    assert (live["pairs"], live["absolute"], live["relative"], live["spearman"]) == (40, 0, 0, pytest.approx(1))
    assert (live["expected"], tid["expected"]) == (779, 3000)
    joined = b.assign(key=b["dis"].str[17:].str.lower()).merge(a.assign(key=a["dis"].str.lower()), on="key")
    assert tid["pairs"] == 3000 and tid["relative"] == pytest.approx(1 / 3)
    assert tid["absolute"] == pytest.approx(abs(b["pred"][worst]) / 3)
    assert tid["spearman"] == pytest.approx(stats.spearmanr(joined["pred_x"], joined["pred_y"]).statistic, abs=1e-12)
    assert record["worst_pairs"][0]["dis"].lower() == "i07_03_2.bmp" and len(record["worst_pairs"]) == 10
    out = run(capsys, "--check", tmp_path / "a", tmp_path / "b")[1]
    assert "2 common files, 3040 common pairs" in out and "0.333 relative" in out
    assert re.search(r"^ *live_x_l2.csv +40/779 ", out, re.M) and re.search(r"^ *tid2013_x_l2.csv +3000 ", out, re.M)
    table = run(capsys, "--check", tmp_path / "a", tmp_path / "b", "--format", "csv")[1]
    assert table.startswith("file,pairs,expected,absolute,relative,spearman\n") and table.count("\n") == 3


def test_check_refuses(tmp_path):
    put(tmp_path / "a", "tid2013_x_l2.csv", scores("tid2013", 1))
    put(tmp_path / "b", "tid2013_x_l2.csv", labelled(scores("tid2013", 1), 12, 3.5))
    put(tmp_path / "c", "tid2013_y_l2.csv", scores("tid2013", 1))
    for other, message in (
        ("b", r"a/tid2013_x_l2.csv: line 12: the label"),
        ("c", "no score file of the same name"),
        ("d", "d: no such folder"),
    ):
        with pytest.raises(UsageError, match=message):
            tables.main(["--check", str(tmp_path / "a"), str(tmp_path / other)])
    with pytest.raises(UsageError, match="--check prints text, csv, json"):
        tables.main(["--check", str(tmp_path / "a"), str(tmp_path / "a"), "--format", "html"])


def test_check_names_and_leaves_out_what_is_of_no_use(tmp_path, capsys):
    for side in "ab":
        put(tmp_path / side, "tid2013_x_l2.csv", scores("tid2013", 1))
        put(tmp_path / side, "tid2013_y_l2.csv", scores("tid2013", 2))
    argv = ["--check", str(tmp_path / "a"), str(tmp_path / "b")]
    assert tables.main(argv) == 0
    put(tmp_path / "a", "tid2013_z_l2.csv", scores("tid2013", 2))
    put(tmp_path / "b", "tid2013_z_l2.csv.partial.2of4", scores("tid2013", 2, rows=40))
    (tmp_path / "a" / "tid2013_y_l2.csv").write_text("")
    capsys.readouterr()
    assert tables.main(argv) == 1  # not all that was asked for was done
    out, err = capsys.readouterr()
    assert "1 common files, 3000 common pairs" in out
    assert err.count("\n") == 2 and f"left out: {tmp_path}/a/tid2013_y_l2.csv: empty" in err
    assert f"left out: {tmp_path}/b/tid2013_z_l2.csv.partial.2of4: one shard of an unfinished run" in err
    (tmp_path / "b" / "tid2013_x_l2.csv").write_text("")
    with pytest.raises(UsageError, match="b/tid2013_x_l2.csv: empty"):  # none is left
        tables.main(["--check", str(tmp_path / "a"), str(tmp_path / "b")])


def score_file(tmp_path, name, table):
    return ScoreFile(tmp_path / name, "toy", name, "none", None, table)


@pytest.mark.parametrize("scale", (1e-3, 1.0, 1e4))
def test_one_tolerance_of_labels_whatever_their_scale(tmp_path, scale):
    table = pd.DataFrame({"dis": list("abcd"), "ref": "r", "mos": [0.0, 0.1 * scale, 0.5 * scale, scale], "pred": 1.0})
    rounded = table.assign(mos=table["mos"] + [0, 0.9e-5 * scale, 0, 0])  # as float32 or few decimals would
    i, j = join.join(score_file(tmp_path, "x", table), score_file(tmp_path, "y", rounded[::-1].reset_index(drop=True)))
    assert i.tolist() == [0, 1, 2, 3] and j.tolist() == [3, 2, 1, 0]
    other = table.assign(mos=table["mos"] + [0, 1.1e-5 * scale, 0, 0])
    with pytest.raises(UsageError, match=r"x: line 3: the label of b is .* in .*y, line 3.*\(1 such lines\)"):
        join.join(score_file(tmp_path, "x", table), score_file(tmp_path, "y", other))


def test_a_row_keeps_its_line_where_rows_before_it_are_left_out(tmp_path):
    table = pd.DataFrame({"dis": list("abcd"), "ref": "r", "mos": [1.0, 2, 3, 4], "pred": 1.0})
    other = table.assign(mos=[1.0, 2, 3, 5])
    with pytest.raises(UsageError, match="x: line 5: the label of d"):
        join.order_of(score_file(tmp_path, "x", table[2:]), score_file(tmp_path, "y", other[2:]))
    with pytest.raises(UsageError, match=r"x: 2 pairs, .*y has 4"):
        join.order_of(score_file(tmp_path, "x", table[2:]), score_file(tmp_path, "y", table))


@pytest.mark.skipif(not RELEASED.is_dir(), reason="the authors' released score files are not beside the project")
def test_check_of_released_files(tmp_path):
    for file in RELEASED.glob("*_psnr_tra-1.csv"):
        (tmp_path / file.name).symlink_to(file)
    files, worst, _ = check(tmp_path, RELEASED)
    assert len(files) == 3 and set(files["pairs"]) == set(PAIRS.values()) and (files["absolute"] == 0).all()


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 99), min_size=1, unique=True), st.lists(st.integers(0, 99), min_size=1, unique=True))
def test_align_joins_by_name(a, b):
    first = pd.DataFrame({"dis": [f"Folder/I{i}.bmp" for i in a], "ref": "R.BMP"})
    second = pd.DataFrame({"dis": [f"i{i}.BMP" for i in b], "ref": "Folder\\r.bmp"})
    i, j = join.align_tables(first, second)
    assert [a[k] for k in i] == [b[k] for k in j] and {a[k] for k in i} == set(a) & set(b)
