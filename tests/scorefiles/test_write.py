"""Score files in every state a run can leave or meet: torn, changed, of other settings, of shards, on a full disk."""

import errno
import json
import os
import threading
from types import SimpleNamespace

import pytest
from places import ROOT
from small_dataset import bytes_of, finished

from common.errors import UsageError, WorkError
from loaders.pairs import Pair
from scorefiles import write
from scorefiles.read import Altered, read
from scoring import settings, table

PAIRS = [
    Pair("größe 1.png", "r.png", 1.0, ""),
    Pair('a "b",c.png', "r.png", 0.1, ""),
    Pair("d.png", "日本.png", -2.5, ""),
    Pair("e.png", "r.png", 1e-300, ""),
]
SCORES = [[0.1], [1 / 3], [2e-7], [12345.678901234567]]


def document(environment=(), **settings):
    same = {
        "scoring": 1,
        "dataset": "x",
        "dataset_sha256": "aa",
        "method": "m",
        "protocol": "paper",
        "precision": "paper",
        "weights": [{"name": "m", "sha256": "bb"}],
    }
    return {
        "settings": same | settings,
        "environment": {"batch_size": 8, "device": "cpu"} | dict(environment),
        "label": "mos",
    }


def output(folder, shard=None, environment=(), **settings):
    return write.Output(folder, "x_m", document(environment, **settings), PAIRS, shard)


def filled(folder, n=None, shard=None, first=0, **settings):
    """An Output with the rows first ... first + n - 1 (all), opened and written one by one."""
    n = len(PAIRS) if n is None else n
    one = output(folder, shard, **settings).open()
    for i in range(first, first + n):
        one.append([i], [SCORES[i]])
    return one


# ---- whole lines


def test_every_cut_of_a_partial_file_ends_in_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda file: None)  # 160 cuts, 7 waits for the disk each
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    assert filled(whole).finish()
    cut.mkdir()
    filled(cut)
    partial = cut / "x_m.csv.partial"
    data = partial.read_bytes()
    assert data.count(b"\n") == 5
    for end in range(len(data) + 1):  # also within a header, a quoted name, a character of two bytes
        filled(cut) if not partial.exists() else None
        partial.write_bytes(data[:end])
        again = output(cut).open()
        assert len(again.done) == max(0, data[:end].count(b"\n") - 1)
        again.append(range(len(PAIRS)), SCORES)  # a unit of which some rows may be there
        assert again.finish() and finished(cut) == finished(whole)
        (cut / "x_m.csv").unlink()


# ---- digests of a partial file, a line a unit


def test_a_score_altered_in_a_partial_file_is_refused_with_its_lines(tmp_path):
    one = filled(tmp_path, 1)
    one.append([1, 2], SCORES[1:3])
    one.append([3], [SCORES[3]])
    path = tmp_path / "x_m.csv.partial"
    rows = path.read_bytes()
    for score, other, lines in (
        (b",0.1\n", b",0.5\n", "lines 1 to 2"),
        (b",2e-07\n", b",2e-05\n", "lines 3 to 4"),
        (b",0.3333333333333333\n", b",0.5\n", "lines 3 to 5"),  # the unit's bytes end in the next line now
        (b",12345.678901234567\n", b",12345.678901234566\n", "lines 5 to 5"),
        (b",12345.678901234567\n", b",12345.6789012345678\n", "lines 5 to 5"),
    ):
        assert rows.count(score) == 1
        path.write_bytes(rows.replace(score, other))
        before = bytes_of(tmp_path)
        with pytest.raises(UsageError, match=f"x_m.csv.partial: {lines}: altered after .*use --overwrite") as caught:
            output(tmp_path).open()
        assert "\n" not in str(caught.value) and bytes_of(tmp_path) == before
        with pytest.raises(Altered, match=lines):
            read(path)
    path.write_bytes(rows)
    assert output(tmp_path).open().has(range(4))


def test_an_altered_partial_file_is_begun_anew_with_overwrite(tmp_path):
    whole = tmp_path / "whole"
    whole.mkdir()
    filled(whole).finish()
    filled(tmp_path, 3)
    path = tmp_path / "x_m.csv.partial"
    path.write_bytes(path.read_bytes().replace(b",0.1\n", b",0.5\n"))
    again = output(tmp_path).open(overwrite=True)
    assert not again.done
    again.append([0], [SCORES[0]])
    assert output(tmp_path).open().has([0])
    again.append([1, 2, 3], SCORES[1:])
    assert again.finish() and finished(tmp_path) == finished(whole)


@pytest.mark.parametrize("at", ["before", "digest torn", "digest", "row torn", "first row", "rows"])
def test_a_kill_at_any_point_of_a_unit_costs_that_unit_at_most(at, tmp_path, monkeypatch):
    """A unit of two rows: first its digest is written, then its rows."""
    one = filled(tmp_path, 2)
    before = bytes_of(tmp_path)
    one.append([2, 3], SCORES[2:])
    after = bytes_of(tmp_path)
    rows, digests = "x_m.csv.partial", "x_m.sha256.partial"
    added = after[rows][len(before[rows]) :]
    killed = {  # what of the two files is there
        "before": (before[rows], before[digests]),
        "digest torn": (before[rows], after[digests][:-9]),
        "digest": (before[rows], after[digests]),
        "row torn": (before[rows] + added[:7], after[digests]),
        "first row": (before[rows] + added[: added.index(b"\n") + 1], after[digests]),
        "rows": (after[rows], after[digests]),
    }[at]
    for name, data in zip((rows, digests), killed, strict=True):
        (tmp_path / name).write_bytes(data)
    again = output(tmp_path).open()
    assert set(again.done) == ({0, 1, 2, 3} if at == "rows" else {0, 1})
    again.append([2], [SCORES[2]])  # units of another size than before
    again.append([3], [SCORES[3]])
    once_more = output(tmp_path).open()
    assert once_more.has(range(4)) and (tmp_path / rows).read_bytes() == after[rows]
    assert once_more.finish() and set(finished(tmp_path)) == {"x_m.csv", "x_m.json"}


def test_the_digest_of_a_unit_is_on_the_disk_before_its_rows(tmp_path, monkeypatch):
    """So that no kill, and no process that reads the parts of others, meets rows without their digest."""
    synced, fsync = [], os.fsync

    def seen(file):
        synced.append(os.readlink(f"/proc/self/fd/{file}").rpartition("/")[2])
        fsync(file)

    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("tells files by /proc")
    one = filled(tmp_path, 1)
    monkeypatch.setattr(os, "fsync", seen)
    one.append([1], [SCORES[1]])
    assert synced == ["x_m.sha256.partial", "x_m.csv.partial"]


def test_a_partial_file_of_a_version_without_digests_is_continued(tmp_path):
    """Its rows are taken as they are, and from then on held against the digest; also where a kill comes at once."""
    filled(tmp_path, 2)
    rows, digests = tmp_path / "x_m.csv.partial", tmp_path / "x_m.sha256.partial"
    digests.unlink()
    earlier = rows.read_bytes()
    assert read(rows).table["pred"].tolist() == [0.1, 1 / 3]
    one = output(tmp_path).open()
    assert set(one.done) == {0, 1}
    one.append([2], [SCORES[2]])
    rows.write_bytes(earlier)  # killed after the digest, before the row
    assert set(output(tmp_path).open().done) == {0, 1}
    rows.write_bytes(earlier[:-3])  # torn within what came before the digests
    assert set(output(tmp_path).open().done) == {0}
    rows.write_bytes(earlier.replace(b",0.1\n", b",0.5\n"))
    with pytest.raises(UsageError, match="lines 1 to 3: altered"):
        output(tmp_path).open()


def test_digests_that_are_none(tmp_path):
    filled(tmp_path, 2)
    digests = tmp_path / "x_m.sha256.partial"
    lines = digests.read_bytes().splitlines(keepends=True)
    for broken in (b"nonsense\n", lines[0] + b"\xff\n" + lines[1], lines[0] + lines[1].upper()):
        digests.write_bytes(broken)
        with pytest.raises(UsageError, match=r"x_m.sha256.partial: line [12]: expected .*use --overwrite"):
            output(tmp_path).open()
    (tmp_path / "x_m.csv.partial").unlink()  # moved away, as the line says
    assert filled(tmp_path).finish() and set(finished(tmp_path)) == {"x_m.csv", "x_m.json"}


def test_each_shard_has_its_own_digests(tmp_path):
    filled(tmp_path, 3, (1, 2))
    filled(tmp_path, 1, (2, 2), first=3)
    assert (tmp_path / "x_m.sha256.partial.1of2").exists() and (tmp_path / "x_m.sha256.partial.2of2").exists()
    path = tmp_path / "x_m.csv.partial.1of2"
    path.write_bytes(path.read_bytes().replace(b",0.1\n", b",0.5\n"))
    with pytest.raises(UsageError, match="x_m.csv.partial.1of2: lines 1 to 2: altered"):
        output(tmp_path, (2, 2)).open()
    assert not (tmp_path / "x_m.csv").exists()


def test_order_of_rows_is_the_dataset_s(tmp_path):
    one = output(tmp_path).open()
    for i in (2, 0, 3, 1):
        one.append([i], [SCORES[i]])
    assert one.finish()
    lines = (tmp_path / "x_m.csv").read_text().splitlines()
    assert lines[0] == "dis,ref,mos,pred" and [line.split(",")[-1] for line in lines[1:]] == [repr(s) for [s] in SCORES]


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.replace(b"0.3333", b"nan"),
        lambda t: t.replace(b"12345.678901234567", b"inf"),
        lambda t: t.replace(b"d.png", b"f.png"),
        lambda t: t.replace(b",-2.5,", b",2.5,"),
        lambda t: t.replace(b",2e-07", b""),
        lambda t: t.replace(b",2e-07", b",2e-07,1"),
        lambda t: t + t.splitlines(True)[1].replace(b"0.1", b"0.2"),
        lambda t: t[:40] + bytes(20) + t[60:],
        lambda t: b"\xff" + t,
        lambda t: t.replace(b"dis,ref", b"ref,dis"),
        lambda t: t[:-2],
        lambda t: b"".join(t.splitlines(True)[:-1]),
        lambda t: b"",
    ],
)
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
    again = output(
        tmp_path, environment={"device": "cuda"}
    ).open()  # another device: finished files are used all the same
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


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"precision": "fp32"}, 'precision: "paper" there, "fp32" now'),
        ({"protocol": "corrected"}, 'protocol: "paper" there'),
        ({"dataset_sha256": "ab"}, 'dataset_sha256: "aa" there, "ab" now'),
        ({"scoring": 2}, "scoring: 1 there, 2 now"),
        ({"weights": [{"name": "m", "sha256": "bc"}]}, "weights: "),
        ({"resizeHW": 224}, "resizeHW: null there, 224 now"),
        ({"left_out": ["e.png"]}, 'left_out: null there, ["e.png"] now'),
    ],
)
def test_changed_settings_are_noticed_before_anything_is_written(settings, message, tmp_path):
    for finish in (False, True):
        one = filled(tmp_path, 4 if finish else 2) if not finish else output(tmp_path).open()
        if finish:
            one.append(range(4), SCORES)
            one.finish()
        before = bytes_of(tmp_path)
        with pytest.raises(UsageError, match="made with other settings") as caught:
            output(tmp_path, **settings).open()
        assert message in str(caught.value) and "\n" not in str(caught.value) and bytes_of(tmp_path) == before


def test_a_partial_file_of_another_machine_is_not_continued(tmp_path):
    filled(tmp_path, 2)
    with pytest.raises(UsageError, match='device: "cpu" there, "cuda" now'):
        output(tmp_path, environment={"device": "cuda"}).open()
    assert output(tmp_path).batch_begun() == 8


def test_what_an_unfinished_file_is_bound_to_is_what_the_docs_promise(tmp_path):
    """The keys of docs/reproducibility.md, and no other:
    each of them another, the file is refused and the line names it."""
    from methods.build import build
    from methods.model import Options

    now = write.environment(build(["psnr"], [], Options(device="cpu"))[0], 8)
    assert set(now) == {"python", "device", "batch_size", "cpu", "versions"} and {"torch", "numpy"} <= set(
        now["versions"]
    )
    page = (ROOT / "docs" / "reproducibility.md").read_text()
    assert all(f"`{key}`" in page for key in now if key != "versions")
    one = output(tmp_path, environment=now).open()
    one.append([0], [SCORES[0]])
    assert output(tmp_path, environment=now).open().has([0])
    changed = {"python": "3.0", "device": "cuda", "batch_size": 4, "cpu": "aarch64", "versions": {"torch": "1.0"}}
    for key, other in changed.items():
        with pytest.raises(UsageError, match=f"made with other settings \\({key}"):
            output(tmp_path, environment=now | {key: other}).open()


def test_settings_without_rows_bind_nobody(tmp_path):
    """Killed between the JSON and the first row, then started with other settings: the JSON must be theirs."""
    write.write_atomically(tmp_path / "x_m.json.partial", write.as_json(document()))
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
    (tmp_path / "x_m.sha256").write_text("somebody's own\n")
    before = bytes_of(tmp_path)
    other = output(tmp_path, precision="fp32").open(overwrite=True)
    assert bytes_of(tmp_path) == before and not other.has(
        [0]
    )  # nothing is lost if the run fails before its first score
    other.append([0], [SCORES[0]])
    (tmp_path / "x_m.sha256").unlink()
    assert set(bytes_of(tmp_path)) == {"x_m.csv.partial", "x_m.json.partial", "x_m.sha256.partial"}
    again = output(tmp_path, precision="fp32").open(
        overwrite=True
    )  # killed, and started with the same command: it goes on
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


def test_shards_that_end_together_leave_no_row_of_a_part_that_is_gone(tmp_path):
    """The first shard ends while the second still writes,
    and comes to the table after the second has joined the file."""
    directions = {"label_higher_is": "worse", "pred_higher_is": "worse", "pairs_expected": 4}
    shards = filled(tmp_path, 3, (1, 2)), filled(tmp_path, 1, (2, 2), first=3)
    named = SimpleNamespace(name="x")
    rows = [settings.TableRow(shard, named, named, ("none", 0.0)) for shard in shards]
    for row in rows:
        row.output.document |= directions
    assert rows[1].output.finish() and not rows[0].output.complete
    for row in (rows[1], rows[0]):
        [line] = table.correlate([row], tmp_path)
        assert line["file"] == "x_m.csv" and line["n"] == 4
    lines = (tmp_path / "correlations.csv").read_text().splitlines()
    assert len(lines) == 2 and lines[1].endswith(",4,4,x_m.csv")


def test_a_shard_of_other_settings_is_not_joined(tmp_path):
    filled(tmp_path, 3, (1, 2), precision="fp32")
    second = output(tmp_path, (2, 2)).open(overwrite=True)
    second.append([3], [SCORES[3]])
    assert (tmp_path / "x_m.csv.partial.1of2").exists()  # another process may be writing it
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


def test_a_partial_file_taken_away_while_scoring_is_begun_anew(tmp_path):
    one = filled(tmp_path, 2)
    (tmp_path / "x_m.csv.partial").unlink()
    one.append([2, 3], SCORES[2:])
    assert (tmp_path / "x_m.csv.partial").read_bytes().count(b"\n") == 3
    assert (
        one.finish() and len((tmp_path / "x_m.csv").read_text().splitlines()) == 5
    )  # the first two were still in memory


# ---- locks


def test_a_second_run_waits_and_says_so(tmp_path, capsys):
    order, taken = [], threading.Event()

    def second():
        taken.wait()
        with write.locked(tmp_path, ["b", "a"]):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with write.locked(tmp_path, ["a"]):
        taken.set()
        thread.join(0.5)
        assert thread.is_alive()
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert f"another run is writing {tmp_path / 'a'}; waiting for it to end" in capsys.readouterr().err
