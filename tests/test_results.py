"""Score files in every state a run can leave or meet: torn, of other settings, of shards, on a full disk, without their JSON."""
import errno
import json
import os
import resource
import shutil
import subprocess
import threading

import pytest

import experiment
import results
from cli import UsageError, WorkError
from labels import Pair
from small_dataset import call, finished, make, refused, spawn

PAIRS = [Pair("größe 1.png", "r.png", 1.0, ""), Pair('a "b",c.png', "r.png", 0.1, ""), Pair("d.png", "日本.png", -2.5, ""),
         Pair("e.png", "r.png", 1e-300, "")]
SCORES = [[0.1], [1 / 3], [2e-7], [12345.678901234567]]


def document(environment=(), **settings):
    same = {"scoring": 1, "dataset": "x", "dataset_sha256": "aa", "method": "m", "protocol": "paper", "precision": "paper",
            "weights": [{"name": "m", "sha256": "bb"}]}
    return {"settings": same | settings, "environment": {"batch_size": 8, "device": "cpu"} | dict(environment), "label": "mos"}


def output(folder, shard=None, environment=(), **settings):
    return results.Output(folder, "x_m", document(environment, **settings), PAIRS, shard)


def filled(folder, n=len(PAIRS), shard=None, first=0, **settings):
    """An Output with the rows first ... first + n - 1, opened and written one by one."""
    one = output(folder, shard, **settings).open()
    for i in range(first, first + n):
        one.append([i], [SCORES[i]])
    return one


def bytes_of(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.is_file()}


@pytest.fixture
def tiny(tmp_path):
    """run.py's arguments that score 8 pairs with PSNR into tmp_path/out, in a fraction of a second."""
    return ["-dat", make(tmp_path / "data"), "-m", "psnr", "--batch-size", "1", "-sdir", tmp_path / "out"]


# ---- whole lines

def test_every_cut_of_a_partial_file_ends_in_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda file: None)   # 160 cuts, 7 waits for the disk each
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    assert filled(whole).finish()
    cut.mkdir()
    filled(cut)
    partial = cut / "x_m.csv.partial"
    data = partial.read_bytes()
    assert data.count(b"\n") == 5
    for end in range(len(data) + 1):   # also within a header, a quoted name, a character of two bytes
        filled(cut) if not partial.exists() else None
        partial.write_bytes(data[:end])
        again = output(cut).open()
        assert len(again.done) == max(0, data[:end].count(b"\n") - 1)
        again.append(range(len(PAIRS)), SCORES)   # a unit of which some rows may be there
        assert again.finish() and finished(cut) == finished(whole)
        (cut / "x_m.csv").unlink()


def test_order_of_rows_is_the_dataset_s(tmp_path):
    one = output(tmp_path).open()
    for i in (2, 0, 3, 1):
        one.append([i], [SCORES[i]])
    assert one.finish()
    lines = (tmp_path / "x_m.csv").read_text().splitlines()
    assert lines[0] == "dis,ref,mos,pred" and [line.split(",")[-1] for line in lines[1:]] == [repr(s) for [s] in SCORES]


@pytest.mark.parametrize("change", [
    lambda t: t.replace(b"0.3333", b"nan"), lambda t: t.replace(b"12345.678901234567", b"inf"), lambda t: t.replace(b"d.png", b"f.png"),
    lambda t: t.replace(b",-2.5,", b",2.5,"), lambda t: t.replace(b",2e-07", b""), lambda t: t.replace(b",2e-07", b",2e-07,1"),
    lambda t: t + t.splitlines(True)[1].replace(b"0.1", b"0.2"), lambda t: t[:40] + bytes(20) + t[60:], lambda t: b"\xff" + t,
    lambda t: t.replace(b"dis,ref", b"ref,dis"), lambda t: t[:-2], lambda t: b"".join(t.splitlines(True)[:-1]), lambda t: b""])
def test_a_finished_file_that_was_changed_is_not_used(change, tmp_path):
    filled(tmp_path).finish()
    path = tmp_path / "x_m.csv"
    path.write_bytes(change(path.read_bytes()))
    before = bytes_of(tmp_path)
    with pytest.raises(UsageError, match="x_m.csv: "):
        output(tmp_path).open()
    assert bytes_of(tmp_path) == before


def test_a_finished_file_is_used_and_nothing_is_written(tmp_path):
    filled(tmp_path).finish()
    before = bytes_of(tmp_path)
    again = output(tmp_path, environment={"device": "cuda"}).open()   # another device: finished files are used all the same
    assert again.complete and again.has(range(4)) and again.finish() and bytes_of(tmp_path) == before


def test_remains_beside_a_finished_file_are_cleared(tmp_path):
    """Killed between the rename and the removal of the partial file."""
    filled(tmp_path)
    partial = bytes_of(tmp_path)
    output(tmp_path).open().finish()
    for name, data in partial.items():
        (tmp_path / name).write_bytes(data)
    assert output(tmp_path).open().finish() and set(finished(tmp_path)) == {"x_m.csv", "x_m.json"}


# ---- other settings

@pytest.mark.parametrize("settings, told", [
    ({"precision": "fp32"}, 'precision: "paper" there, "fp32" now'), ({"protocol": "corrected"}, 'protocol: "paper" there'),
    ({"dataset_sha256": "ab"}, 'dataset_sha256: "aa" there, "ab" now'), ({"scoring": 2}, "scoring: 1 there, 2 now"),
    ({"weights": [{"name": "m", "sha256": "bc"}]}, "weights: "), ({"resizeHW": 224}, "resizeHW: null there, 224 now"),
    ({"left_out": ["e.png"]}, 'left_out: null there, ["e.png"] now')])
def test_changed_settings_are_noticed_before_anything_is_written(settings, told, tmp_path):
    for finish in (False, True):
        one = filled(tmp_path, 4 if finish else 2) if not finish else output(tmp_path).open()
        if finish:
            one.append(range(4), SCORES)
            one.finish()
        before = bytes_of(tmp_path)
        with pytest.raises(UsageError, match="made with other settings") as caught:
            output(tmp_path, **settings).open()
        assert told in str(caught.value) and "\n" not in str(caught.value) and bytes_of(tmp_path) == before


def test_a_partial_file_of_another_machine_is_not_continued(tmp_path):
    filled(tmp_path, 2)
    with pytest.raises(UsageError, match='device: "cpu" there, "cuda" now'):
        output(tmp_path, environment={"device": "cuda"}).open()
    assert output(tmp_path).batch_begun() == 8


def test_settings_without_rows_bind_nobody(tmp_path):
    """Killed between the JSON and the first row, then started with other settings: the JSON must be theirs."""
    results.write_atomically(tmp_path / "x_m.json.partial", results.as_json(document()))
    filled(tmp_path, 1, precision="fp32")
    assert output(tmp_path, precision="fp32").open().has([0])
    with pytest.raises(UsageError, match="precision"):
        output(tmp_path).open()


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"settings": 3}', '{"settings": []}', "[" * 100000, "\x00"])
def test_a_json_that_is_none(text, tmp_path):
    filled(tmp_path).finish()
    (tmp_path / "x_m.json").write_text(text)
    before = bytes_of(tmp_path)
    with pytest.raises(UsageError):
        output(tmp_path).open()
    assert bytes_of(tmp_path) == before


def test_overwrite_drops_what_was_made_otherwise_once_there_is_something_to_keep(tmp_path):
    filled(tmp_path).finish()
    before = bytes_of(tmp_path)
    other = output(tmp_path, precision="fp32").open(overwrite=True)
    assert bytes_of(tmp_path) == before and not other.has([0])   # nothing is lost if the run fails before its first score
    other.append([0], [SCORES[0]])
    assert set(bytes_of(tmp_path)) == {"x_m.csv.partial", "x_m.json.partial"}
    again = output(tmp_path, precision="fp32").open(overwrite=True)   # killed, and started with the same command: it goes on
    assert again.has([0]) and not again.has([1])
    again.append([1, 2, 3], SCORES[1:])
    assert again.finish() and json.loads((tmp_path / "x_m.json").read_text())["settings"]["precision"] == "fp32"
    same = output(tmp_path, precision="fp32").open(overwrite=True)
    assert same.complete
    elsewhere = output(tmp_path, environment={"device": "cuda"}, precision="fp32").open(overwrite=True)
    assert not elsewhere.complete and not elsewhere.done


# ---- shards

def test_shards_are_joined_by_the_last(tmp_path):
    whole = tmp_path / "whole"
    whole.mkdir()
    filled(whole).finish()
    first, second = filled(tmp_path, 3, (1, 2)), filled(tmp_path, 1, (2, 2), first=3)
    assert (tmp_path / "x_m.json.partial.1of2").exists() and (tmp_path / "x_m.csv.partial.2of2").exists()
    assert second.finish() and finished(tmp_path) == finished(whole)
    assert first.finish() and first.has(range(4)) and finished(tmp_path) == finished(whole)


def test_a_shard_of_other_settings_is_not_joined(tmp_path):
    filled(tmp_path, 3, (1, 2), precision="fp32")
    second = output(tmp_path, (2, 2)).open(overwrite=True)
    second.append([3], [SCORES[3]])
    assert (tmp_path / "x_m.csv.partial.1of2").exists()   # another process may be writing it
    with pytest.raises(UsageError, match='1of2: made with other settings .precision: "fp32" there'):
        second.finish()
    assert not (tmp_path / "x_m.csv").exists()


# ---- the disk

def no_space(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call_name", ["fsync", "replace"])
def test_a_full_disk_at_the_end_keeps_what_was_scored(call_name, tmp_path, monkeypatch):
    one = filled(tmp_path)
    before = bytes_of(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, call_name, no_space)
        with pytest.raises(WorkError, match="x_m.json: cannot be written: No space left on device"):
            one.finish()
        if call_name == "fsync":
            with pytest.raises(WorkError, match="x_m.csv.partial: cannot be written: No space left on device"):
                one.append([0], [SCORES[0]])
    assert bytes_of(tmp_path) == before
    assert output(tmp_path).open().finish()


def limit_file_size(most):
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def test_a_disk_that_takes_no_more_of_a_file(tiny, tmp_path, capsys):
    """The system cuts a write short in the middle of a line, as a full disk does."""
    make(tmp_path / "data", pairs=40)
    process = spawn(*tiny, preexec_fn=lambda: limit_file_size(1100))   # the JSON is smaller, the 40 rows are not
    printed, told = process.communicate()
    assert process.returncode == 1 and printed == "" and len(told.splitlines()) == 1, told
    assert "cannot be written: File too large" in told and "start again" in told
    assert not (tmp_path / "out/tiny_psnr.csv").exists()
    assert call(capsys, *tiny)[0] == 0
    assert call(capsys, *tiny[:-1], tmp_path / "undisturbed")[0] == 0
    assert finished(tmp_path / "out") == finished(tmp_path / "undisturbed")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 16 KiB in memory; only root can mount one."""
    place = tmp_path / "small"
    place.mkdir()
    if not shutil.which("mount") or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs is not allowed here")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_small_file_system(tiny, small_disk, capsys):
    tiny[-1] = small_disk / "out"
    free = os.statvfs(small_disk)
    (small_disk / "filler").write_bytes(bytes(free.f_bavail * free.f_frsize - 4096))   # one page for all the files to come
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

    def forbidden(*_, **__):   # permissions do not hold for root, so the refusal is played
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def without_locks(*_, **__):
        raise NotImplementedError("FileSystem does not appear to support flock")
    tiny[-1] = tmp_path / "out"
    for refusal, told in ((forbidden, "Permission denied"), (without_locks, "support flock")):
        monkeypatch.setattr(FileLock, "acquire", refusal)
        assert told in refused(capsys, *tiny)


def test_a_partial_file_taken_away_while_scoring_is_begun_anew(tmp_path):
    one = filled(tmp_path, 2)
    (tmp_path / "x_m.csv.partial").unlink()
    one.append([2, 3], SCORES[2:])
    assert (tmp_path / "x_m.csv.partial").read_bytes().count(b"\n") == 3
    assert one.finish() and len((tmp_path / "x_m.csv").read_text().splitlines()) == 5   # the first two were still in memory


# ---- locks

def test_a_second_run_waits_and_says_so(tmp_path, capsys):
    order, held = [], threading.Event()

    def second():
        held.wait()
        with results.locked(tmp_path, ["b", "a"]):
            order.append("second")
    thread = threading.Thread(target=second)
    thread.start()
    with results.locked(tmp_path, ["a"]):
        held.set()
        thread.join(0.5)
        assert thread.is_alive()
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert f"another run is writing {tmp_path / 'a'}; waiting for it to end" in capsys.readouterr().err


# ---- run.py

def test_limit_is_continued_and_finished_files_are_used(tiny, tmp_path, capsys, monkeypatch):
    assert call(capsys, *tiny[:-1], tmp_path / "whole")[0] == 0
    code, printed, _ = call(capsys, *tiny, "--limit", "3")
    assert code == 0 and "3/8" in printed and "never taken for a complete one" in printed
    assert set(bytes_of(tmp_path / "out")) == {"correlations.csv", "tiny_psnr.csv.partial", "tiny_psnr.json.partial"}
    assert call(capsys, *tiny, "--limit", "2")[0] == 0
    assert call(capsys, *tiny)[0] == 0 and finished(tmp_path / "out") == finished(tmp_path / "whole")
    monkeypatch.setattr(experiment.scoring, "Engine", None)   # nothing is computed again
    code, printed, _ = call(capsys, *tiny, "--overwrite")
    assert code == 0 and "psnr" in printed and finished(tmp_path / "out") == finished(tmp_path / "whole")


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
    code, printed, told = call(capsys, *tiny, "--skip-bad")   # what is left out does not depend on --limit: it goes on
    assert code == 0 and "6/8" in printed and "2 pairs left out (--skip-bad), named in the JSON" in printed
    assert "2 of 8 pairs left out" in told
    about = json.loads((tmp_path / "out/tiny_psnr.json").read_text())
    assert about["settings"]["left_out"] == ["d2.png", "d7.png"] and about["pairs_used"] == 6 and about["pairs_expected"] == 8
    assert about["left_out"] == {"d2.png": "d2.png: an empty file (0 bytes)", "d7.png": "d7.png: cannot be read (No such file or directory)"}
    with open(tmp_path / "out/correlations.csv") as file:
        assert ",6,8,tiny_psnr.csv" in file.read()


@pytest.mark.parametrize("broken", [b"\xff\xfe", b"", b"nonsense", b"file\n\x00\n", b'"'])
def test_a_broken_correlations_file(broken, tiny, tmp_path, capsys):
    """It is made anew from the score files of the run, or refused by name."""
    assert call(capsys, *tiny)[0] == 0
    good = (tmp_path / "out/correlations.csv").read_bytes()
    (tmp_path / "out/correlations.csv").write_bytes(broken)
    code, _, told = call(capsys, *tiny)
    if code == 0:
        assert (tmp_path / "out/correlations.csv").read_bytes() == good
    else:
        assert code == 2 and "correlations.csv: " in told and "delete it" in told and len(told.splitlines()) == 1
