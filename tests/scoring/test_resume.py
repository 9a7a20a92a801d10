"""run.py on folders in every state: full, read-only, begun, finished, of other settings,
with images that are missing."""

import errno
import json
import os
import resource
import shutil
import subprocess

import pytest
from small_dataset import bytes_of, call, finished, make, refused, spawn

from scoring import engine


@pytest.fixture
def tiny(tmp_path):
    """run.py's arguments that score 8 pairs with PSNR into tmp_path/out, in a fraction of a second."""
    return ["-dat", make(tmp_path / "data"), "-m", "psnr", "--batch-size", "1", "-sdir", tmp_path / "out"]


def limit_file_size(most):
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def test_a_disk_that_takes_no_more_of_a_file(tiny, tmp_path, capsys):
    """The system cuts a write short in the middle of a line, as a full disk does."""
    make(tmp_path / "data", pairs=40)
    process = spawn(*tiny, preexec_fn=lambda: limit_file_size(1100))  # the JSON is smaller, the 40 rows are not
    printed, message = process.communicate()
    assert process.returncode == 1 and printed == "" and len(message.splitlines()) == 1, message
    assert "cannot be written: File too large" in message and "start again" in message
    assert not (tmp_path / "out/tiny_psnr.csv").exists()
    assert call(capsys, *tiny)[0] == 0
    assert call(capsys, *tiny[:-1], tmp_path / "undisturbed")[0] == 0
    assert finished(tmp_path / "out") == finished(tmp_path / "undisturbed")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 24 KiB in memory; only root can mount one."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24k", "tmpfs", place]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs is not allowed here")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_small_file_system(tiny, small_disk, capsys):
    tiny[-1] = small_disk / "out"
    free = os.statvfs(small_disk)
    (small_disk / "filler").write_bytes(
        bytes(free.f_bavail * free.f_frsize - 4096)
    )  # one page for all the files to come
    assert "No space left on device" in refused(capsys, *tiny, code=1)
    (small_disk / "filler").unlink()
    assert call(capsys, *tiny)[0] == 0 and "tiny_psnr.csv" in finished(small_disk / "out")


def test_savedirs_that_cannot_be_written(tiny, tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    for place in (tmp_path / "file", tmp_path / "file/out", tmp_path / "loop", tmp_path / ("x" * 300)):
        tiny[-1] = place
        assert f"-sdir {place}: cannot be written to" in refused(capsys, *tiny)
    from filelock import FileLock

    def forbidden(*_, **__):  # permissions do not hold for root, so the refusal is played
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def without_locks(*_, **__):
        raise NotImplementedError("FileSystem does not appear to support flock")

    tiny[-1] = tmp_path / "out"
    for refusal, message in ((forbidden, "Permission denied"), (without_locks, "support flock")):
        monkeypatch.setattr(FileLock, "acquire", refusal)
        assert message in refused(capsys, *tiny)


def test_limit_is_continued_and_finished_files_are_used(tiny, tmp_path, capsys, monkeypatch):
    assert call(capsys, *tiny[:-1], tmp_path / "whole")[0] == 0
    code, printed, _ = call(capsys, *tiny, "--limit", "3")
    assert code == 0 and "3/8" in printed and "never taken for that of the whole dataset" in printed
    partial = {f"tiny_psnr.{ending}.partial" for ending in ("csv", "json", "sha256")}
    assert set(bytes_of(tmp_path / "out")) == {"correlations.csv", *partial}
    assert call(capsys, *tiny, "--limit", "2")[0] == 0
    assert call(capsys, *tiny)[0] == 0 and finished(tmp_path / "out") == finished(tmp_path / "whole")
    monkeypatch.setattr(engine, "Engine", None)  # nothing is computed again
    code, printed, _ = call(capsys, *tiny, "--overwrite")
    assert code == 0 and "psnr" in printed and finished(tmp_path / "out") == finished(tmp_path / "whole")


def test_a_score_altered_in_an_unfinished_file(tiny, tmp_path, capsys):
    """One score replaced: the same command does not go on from it, and --overwrite scores it again."""
    assert call(capsys, *tiny[:-1], tmp_path / "whole")[0] == 0
    assert call(capsys, *tiny, "--limit", "5")[0] == 0
    path = tmp_path / "out/tiny_psnr.csv.partial"
    rows = path.read_text().splitlines()
    rows[2] = rows[2].rpartition(",")[0] + ",0.5"
    path.write_text("\n".join(rows) + "\n")
    before = bytes_of(tmp_path / "out")
    assert "tiny_psnr.csv.partial: lines 1 to 6: altered after they were written" in refused(capsys, *tiny)
    assert bytes_of(tmp_path / "out") == before
    assert call(capsys, *tiny, "--overwrite")[0] == 0
    assert finished(tmp_path / "out") == finished(tmp_path / "whole")


def test_refused_files_are_kept_and_named(tiny, tmp_path, capsys):
    assert call(capsys, *tiny)[0] == 0
    before = bytes_of(tmp_path / "out")
    line = refused(capsys, *tiny, "-r", "48")
    assert "tiny_psnr.csv: made with other settings (resizeHW: null there, 48 now); use --overwrite" in line
    (tmp_path / "data/tiny.csv").write_text((tmp_path / "data/tiny.csv").read_text().replace("7.5", "7.25"))
    assert "dataset_sha256: " in refused(capsys, *tiny)
    assert bytes_of(tmp_path / "out") == before
    assert call(capsys, *tiny, "--overwrite")[0] == 0 and ",7.25," in (tmp_path / "out/tiny_psnr.csv").read_text()


def test_a_changed_metric_file_is_noticed_by_its_sha(tiny, tmp_path, capsys):
    metric = tmp_path / "mine.py"
    metric.write_text("def far(reference, distorted):\n    return (reference - distorted).abs().mean()\n")
    tiny[tiny.index("psnr")] = f"{metric}:far"
    assert call(capsys, *tiny, "--limit", "3")[0] == 0
    metric.write_text(metric.read_text().replace("mean", "max"))
    before = bytes_of(tmp_path / "out")
    assert "tiny_mine-far.csv.partial: made with other settings (weights: " in refused(capsys, *tiny)
    assert bytes_of(tmp_path / "out") == before


def test_a_finished_file_without_its_json(tiny, tmp_path, capsys):
    assert call(capsys, *tiny)[0] == 0
    (tmp_path / "out/tiny_psnr.json").unlink()
    before = bytes_of(tmp_path / "out")
    assert "there is no tiny_psnr.json beside it that says how it was made" in refused(capsys, *tiny)
    assert bytes_of(tmp_path / "out") == before
    assert call(capsys, *tiny, "--overwrite")[0] == 0 and "tiny_psnr.json" in finished(tmp_path / "out")


def test_skip_bad_scores_the_rest_and_lists_what_was_left_out(tiny, tmp_path, capsys):
    (tmp_path / "data/d2.png").write_bytes(b"")
    (tmp_path / "data/d7.png").unlink()
    assert "2 of 10 images can't be used" in refused(capsys, *tiny) or "d7.png" in refused(capsys, *tiny)
    assert call(capsys, *tiny, "--skip-bad", "--limit", "3")[0] == 0
    code, printed, message = call(
        capsys, *tiny, "--skip-bad"
    )  # what is left out does not depend on --limit: it goes on
    assert code == 0 and "6/8" in printed and "2 pairs left out (--skip-bad), named in the JSON" in printed
    assert "2 of 8 pairs left out" in message
    about = json.loads((tmp_path / "out/tiny_psnr.json").read_text())
    assert (
        about["settings"]["left_out"] == ["d2.png", "d7.png"]
        and about["pairs_used"] == 6
        and about["pairs_expected"] == 8
    )
    assert about["left_out"] == {
        "d2.png": "d2.png: an empty file (0 bytes)",
        "d7.png": "d7.png: cannot be read (No such file or directory)",
    }
    with open(tmp_path / "out/correlations.csv") as file:
        assert ",6,8,tiny_psnr.csv" in file.read()


@pytest.mark.parametrize("broken", [b"\xff\xfe", b"", b"nonsense", b"file\n\x00\n", b'"'])
def test_a_broken_correlations_file(broken, tiny, tmp_path, capsys):
    """It is made anew from the score files of the run, or refused by name."""
    assert call(capsys, *tiny)[0] == 0
    good = (tmp_path / "out/correlations.csv").read_bytes()
    (tmp_path / "out/correlations.csv").write_bytes(broken)
    code, _, message = call(capsys, *tiny)
    if code == 0:
        assert (tmp_path / "out/correlations.csv").read_bytes() == good
    else:
        assert (
            code == 2 and "correlations.csv: " in message and "delete it" in message and len(message.splitlines()) == 1
        )


def test_noise_floors_keep_to_their_own_names(tiny, tmp_path, capsys):
    flags = [
        *tiny[:2],
        "-m",
        "psnr * st_alexnet_l2^0.5",
        "--window",
        "64",
        "-rob",
        "tra",
        "-sdir",
        tmp_path / "floors",
        "--device",
        "cpu",
    ]
    assert call(capsys, *flags, "--noise-floor")[0] == 0
    names = {p.name for p in (tmp_path / "floors").glob("*.csv")}
    assert len(names) == 3 and all(name.endswith("_tra-1.floor.csv") for name in names)
    assert call(capsys, *flags)[0] == 0
    assert "no label to draw" in refused(capsys, *flags, "--noise-floor", "--plot")


def test_what_is_left_out_may_be_drawn(tiny, tmp_path, capsys):
    (tmp_path / "data/d2.png").write_bytes(b"")
    assert call(capsys, *tiny, "--skip-bad", "--plot")[0] == 0
