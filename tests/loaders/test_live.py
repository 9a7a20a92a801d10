"""LIVE's two label scales: which one `-dat live` takes, how they are told apart,
and what happens to files of the other one."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from layouts import fails, make_live
from PIL import Image
from places import SHARED
from small_dataset import call, refused

import compare
import datasets
import tables
from loaders import live
from scorefiles.read import read

LABELS = SHARED / "data" / "labels" / "live"
needs_labels = pytest.mark.skipif(
    not LABELS.is_dir(), reason="LIVE's label files (../shared/data/labels/live) are not there"
)

# Every 20th `mos` of the live_*.csv files that the paper's authors released, in their order.
RELEASED = [
    15.512954417537026, 63.64493591720355, 51.01138521337987, 44.74511025359578, 43.661388996745465, 60.61338357551887,
    53.281983698504845, 64.20563602792637, 10.13926391720382, 47.28587171756399, 72.81442149222269, 16.917691044533527,
    3.9212125972238567, 91.8585232966015, 27.26197443015057, 90.00784725087408, 28.5502551905385, 90.88434462872809,
    51.40668483117005, 28.61718835941552, 97.69957653577356, 94.20486814584288, 65.70698388517809, 28.79734485795999,
    102.01544839638245, 23.747800588472252, 20.42170138535499, 68.54058128580095, 47.86237098807869, 22.85851059949997,
    29.841330546597327, 64.12525460567022, 51.55241265731182, 10.904306643436376, 99.04090626921534, 73.46184832990366,
    75.4497233129303, 57.32734095341542, 21.24627124932043,
]  # fmt: skip


def true_live(folder, *files):
    """LIVE with its true label files and placeholder images, 8 x 8."""
    folder.mkdir(parents=True)
    for file in ("refnames_all.mat", *files):
        (folder / file).write_bytes((LABELS / file).read_bytes())
    pattern = np.indices((8, 8)).sum(0).astype(np.uint8)
    Image.fromarray(np.stack([pattern] * 3, -1)).save(folder / "a.bmp")
    one, other = (folder / "a.bmp").read_bytes(), bytearray((folder / "a.bmp").read_bytes())
    other[-1] ^= 8
    from scipy.io import loadmat

    references = {str(name[0]) for name in loadmat(LABELS / "refnames_all.mat")["refnames_all"].ravel()}
    for names, data in (([f"refimgs/{name}" for name in references], one), (live.names(), bytes(other))):
        for name in names:
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
    return folder


@needs_labels
def test_the_label_is_the_papers(tmp_path):
    true_live(tmp_path / "databaserelease2", "dmos_realigned.mat")
    dataset = datasets.load("live", tmp_path)
    labels = [pair.label for pair in dataset.pairs]
    assert len(labels) == dataset.expected == 779
    assert labels[::20] == pytest.approx(RELEASED, rel=0, abs=1e-13)
    assert live.types([pair.dis for pair in dataset.pairs]) == live.types([f"img{i}.bmp" for i in range(779)])
    assert all(pair.std > 1 for pair in dataset.pairs) and dataset.spread.kind == "unknown"
    if (SHARED / "paper/scores/live_psnr.csv").is_file():
        released = pd.read_csv(SHARED / "paper/scores/live_psnr.csv")
        assert labels == pytest.approx(list(released["mos"]), rel=0, abs=1e-13)
        assert [Path(p.dis).name for p in dataset.pairs] == list(released["dis"])
        assert [Path(p.ref).name for p in dataset.pairs] == list(released["ref"])


@needs_labels
def test_the_known_values_are_those_of_the_files():
    from scipy.io import loadmat

    dmos, dmos_new = (
        loadmat(LABELS / "dmos.mat")["dmos"].ravel(),
        loadmat(LABELS / "dmos_realigned.mat")["dmos_new"].ravel(),
    )
    place = {name: i for i, name in enumerate(live.names())}
    for name, (old, new) in live.KNOWN.items():
        assert (old, new) == pytest.approx((dmos[place[name]], dmos_new[place[name]]), rel=0, abs=1e-4)


@needs_labels
def test_a_run_over_the_true_labels(tmp_path, capsys):
    true_live(tmp_path / "live", "dmos_realigned.mat", "dmos.mat")
    where = ("--data-root", tmp_path, "-sdir", tmp_path / "out", "-m", "psnr")
    code, out, err = call(capsys, "-dat", "live", "livedmos", *where)
    assert code == 0, err
    assert "livedmos: its label is the dmos of dmos.mat, not the label that the paper used" in out
    assert "live: its label" not in out
    file = read(tmp_path / "out/live_psnr.csv")
    assert len(file.table) == 779 and list(file.table["mos"])[::20] == pytest.approx(RELEASED, rel=0, abs=1e-13)
    assert file.document["label"] == "DMOS (dmos_new of dmos_realigned.mat)"
    assert file.document["label_spread"] == {
        "kind": "of a kind that is documented nowhere", "raters": None, "source": "dmos_std of dmos_realigned.mat"
    }  # fmt: skip
    other = read(tmp_path / "out/livedmos_psnr.csv")
    assert other.table["mos"][0] == pytest.approx(28.00384536) and other.document["label_spread"] is None
    # the same rows under the other name
    for suffix in (".csv", ".json"):
        (tmp_path / f"out/livedmos_psnr{suffix}").rename(tmp_path / f"out/live_psnr{suffix}")
    message = refused(capsys, tmp_path / "out/live_psnr.csv", main=compare.main)
    assert "its labels are LIVE's dmos, but a score file of this dataset holds dmos_new" in message
    message = refused(capsys, "-dat", "live", *where)
    assert 'label: "DMOS (dmos of dmos.mat)" there, "DMOS (dmos_new of dmos_realigned.mat)" now' in message


def known_live(folder, realigned=False, new=1, **options):
    """A small LIVE (layouts.make_live: every tenth column) whose dmos.mat holds the known values of one scale;
    new: which."""
    columns = np.arange(982)
    labels = columns / 8 + 0.125
    place = {name: i for i, name in enumerate(live.names())}
    for name, values in live.KNOWN.items():
        labels[place[name]] = values[new]
    labels = options.pop("change", lambda labels: labels)(labels)
    return make_live(folder, realigned=realigned, dmos=labels[None], **options)


@pytest.mark.parametrize("kept", ["exact", "float32", "two decimals"])
def test_a_dmos_mat_with_the_realigned_values_is_recognised(kept, tmp_path):
    change = {"exact": lambda v: v, "float32": np.float32, "two decimals": lambda v: v.round(2)}[kept]
    folder = known_live(tmp_path / "live", change=change)
    dataset = datasets.load("live", tmp_path)
    assert len(dataset.pairs) == 99 and dataset.spread is None
    assert "dmos_realigned.mat, which holds dmos_std, is not there" in fails(datasets.load_spread, "live", folder)
    assert "holds the realigned values (dmos_new), not the earlier scale; use -dat live" in fails(
        datasets.load, "livedmos", folder
    )


def damaged(labels):
    labels[live.names().index("wn/img77.bmp")] += 0.02
    return labels


@pytest.mark.parametrize("new, change", [(0, lambda v: v), (1, damaged), (1, lambda v: v / 100)])
def test_without_the_realigned_file_a_line_says_what_is_missing(new, change, tmp_path):
    folder = known_live(tmp_path / "live", new=new, change=change)
    message = fails(datasets.load, "live", tmp_path)
    assert str(folder / "dmos_realigned.mat") in message and "not there" in message and live.PAGE in message
    assert "SRCC .934 for .964" in message and "-dat livedmos" in message
    assert len(datasets.load("livedmos", tmp_path).pairs) == 99


def test_a_realigned_file_with_the_earlier_values_is_refused(tmp_path):
    from scipy.io import loadmat, savemat

    folder = known_live(tmp_path / "live", new=0, realigned=True)
    earlier = loadmat(folder / "dmos.mat")
    savemat(
        folder / "dmos_realigned.mat",
        {"dmos_new": earlier["dmos"], "dmos_std": earlier["dmos"], "orgs": earlier["orgs"]},
    )
    assert "its dmos_new holds the dmos of dmos.mat" in fails(datasets.load, "live", tmp_path)


def score_file(path, new, folders):
    """779 rows of a LIVE score file whose known images have the labels of one scale;
    with or without folders in the names."""
    known = {kind: [name for name in live.KNOWN if name.startswith(kind + "/")] for kind in live.RATED}
    rows = []
    for kind, count in live.RATED.items():
        names = known[kind] + [f"{kind}/img{i}.bmp" for i in range(500, 500 + count - len(known[kind]))]
        rows += [
            (name, "r.bmp", live.KNOWN[name][new] if name in live.KNOWN else 50 + i / 8) for i, name in enumerate(names)
        ]
    table = pd.DataFrame(rows, columns=["dis", "ref", "mos"]).assign(pred=np.arange(779.0))
    table["dis"] = table["dis"] if folders else table["dis"].str.replace(r".*/", "", regex=True)
    table.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("folders", [True, False])
def test_score_files_of_the_other_scale_are_refused(folders, tmp_path, capsys):
    for name, right in (("live", 1), ("livedmos", 0)):
        path = score_file(tmp_path / f"{name}_dinov1_l2.csv", right, folders)
        assert len(read(path).table) == 779
        score_file(path, 1 - right, folders)
        titles = ("dmos", "dmos_new")
        assert (
            f"its labels are LIVE's {titles[1 - right]}, but a score file of this dataset holds {titles[right]}"
            in fails(read, path)
        )


def test_a_score_file_of_the_earlier_scale_is_a_missing_cell(tmp_path, capsys):
    """In a folder it stops nothing else; asked for by name it is an error."""
    old = score_file(tmp_path / "live_dinov1_l2.csv", 0, folders=True)
    score_file(tmp_path / "live_dinov1_cos.csv", 1, folders=True)
    code, out, err = call(capsys, "--table", "2", "--scores", tmp_path, main=tables.main)
    reason = "live_dinov1_l2.csv: its labels are LIVE's dmos, but a score file of this dataset holds dmos_new"
    assert code == 0 and out.count(f"] {reason}") == 1
    assert err.count("\n") == 1 and f"left out: {tmp_path}/{reason}" in err
    code, out, _ = call(capsys, "--table", "2", "--scores", tmp_path, "--format", "json", "--strict", main=tables.main)
    cells = {cell["scores_file"]: cell for cell in json.loads(out)["cells"]}
    assert code == 1 and cells[old.name]["state"] == "missing" and cells[old.name]["reason"].startswith(reason)
    assert cells["live_dinov1_cos.csv"]["score"] is not None
    assert reason in refused(capsys, old, main=compare.main)


def test_tables_of_the_earlier_scale_carry_the_note(tmp_path, capsys):
    for side in "ab":
        (tmp_path / side).mkdir()
        score_file(tmp_path / side / "livedmos_psnr.csv", 0, folders=True)
    code, out, _ = call(capsys, "--check", tmp_path / "a", tmp_path / "b", main=tables.main)
    assert code == 0 and "livedmos: its label is the dmos of dmos.mat, not the label that the paper used" in out
    frame = pd.read_csv(tmp_path / "a/livedmos_psnr.csv")
    frame["ref"] = [f"r{i % 29}.bmp" for i in range(len(frame))]
    frame["pred"] = frame["mos"] + np.random.default_rng(0).normal(0, 9, len(frame))
    frame.to_csv(tmp_path / "livedmos_psnr.csv", index=False)
    code, out, err = call(capsys, tmp_path / "livedmos_psnr.csv", "--resamples", "100", main=compare.main)
    assert code == 0 and "not the label that the paper used" in out, err


def test_a_partial_file_without_known_images_is_not_judged():
    assert live.fault(["jp2k/img7.bmp"], [28.0], "dmos_new") is None
    assert live.fault(["img2.bmp"], [28.0038], "dmos_new") is None
    assert "LIVE's dmos," in live.fault(["jp2k/img2.bmp"], [28.0038], "dmos_new")
    assert live.fault(["jp2k/img2.bmp"], [15.513], "dmos_new") is None
