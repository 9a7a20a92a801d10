"""Runs that are killed, stopped, crowded or robbed of their files end in the very bytes of an undisturbed one,
or in an error.

The runs are real processes. Most are forked from a server that has imported PyTorch already, so that the time goes into
the scoring; some are started as a person starts them.
"""

import itertools
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
from small_dataset import ROOT, finished, make, spawn

import run
from common import terminal

KILLS = 20
WHAT = "-m st_alexnet psnr -d l2 cos -rob none tra --window 64 --batch-size 1 --device cpu".split()
PRELOAD = ["torch", "run", "scoring.experiment", "scoring.engine", "distances", "trunks", "cnns", "stlpips_pytorch"]


def child(argv, log, prepare):
    """What runs in a forked process: run.py, its output into a file."""
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.argv = ["run.py", *argv]
    prepare()
    terminal.run_main(run.main, argv)


def nothing():
    pass


def slowly():
    """A pause after each unit that is written, so that the run does not end before it can be killed."""
    from scorefiles import write

    append = write.Output.append

    def paused(*arguments):
        append(*arguments)
        time.sleep(0.01)

    write.Output.append = paused


def jumping_clock():
    """The clock is set back and forth, by years, each time someone looks."""
    jumps = itertools.cycle([4e9, 0.0, 1.7e9, 1e9, 1.7e9 + 3600])
    time.time = lambda: next(jumps)


@pytest.fixture(scope="module")
def server():
    """multiprocessing's fork server, started with one thread and everything imported."""
    before = {key: os.environ.get(key) for key in ("OMP_NUM_THREADS", "PYTHONPATH")}
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    yield context
    for key, value in before.items():
        os.environ.pop(key) if value is None else os.environ.update({key: value})


@pytest.fixture
def start(server, tmp_path):
    """start(folder, *more) -> a process that scores into the folder; .log() is what it said."""
    started = []

    def begin(folder, *more, dataset=None, prepare=nothing):
        log = tmp_path / f"log{len(started)}"
        argv = [*argv_of(dataset or tmp_path / "data/tiny.csv", folder), *more]
        process = server.Process(target=child, args=(argv, str(log), prepare))
        process.start()
        process.log = lambda: log.read_text() if log.exists() else ""
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.join()


def argv_of(dataset, folder):
    return ["-dat", str(dataset), *WHAT, "-sdir", str(folder)]


def scores_of(files):
    return [name for name in files if name.startswith("tiny_") and name.endswith(".csv")]


@pytest.fixture(scope="module")
def whole(server, tmp_path_factory):
    """(dataset's folder, the files of an undisturbed run)."""
    home = tmp_path_factory.mktemp("whole")
    make(home / "data", pairs=40, references=4)
    process = server.Process(
        target=child, args=(argv_of(home / "data/tiny.csv", home / "out"), str(home / "log"), nothing)
    )
    process.start()
    process.join()
    assert process.exitcode == 0, (home / "log").read_text()
    files = finished(home / "out")
    assert len(files) == 13 and all(len(files[name].splitlines()) == 41 for name in scores_of(files))
    return home / "data", files


@pytest.fixture
def data(whole, tmp_path):
    return shutil.copytree(whole[0], tmp_path / "data")


def rows(folder):
    """Bytes of rows written so far, finished or not."""
    return sum(p.stat().st_size for p in Path(folder).glob("tiny_*.csv*") if p.exists()) if Path(folder).exists() else 0


def wait_for(process, ready, seconds=120):
    """Until ready() or the process has ended -> whether it was ready."""
    end = time.monotonic() + seconds
    while not ready():
        if (process.poll() if hasattr(process, "poll") else process.exitcode) is not None:
            return False
        assert time.monotonic() < end, "nothing happens"
        time.sleep(0.0005)
    return True


def go_on(start, folder, whole, code=0):
    """The same command once more: it ends well, with the bytes of the undisturbed run."""
    process = start(folder)
    process.join()
    assert process.exitcode == code, process.log()
    assert finished(folder) == whole[1]


def test_killed_at_20_random_moments(start, whole, data, tmp_path):
    out, rng = tmp_path / "out", random.Random(6)
    size = sum(len(whole[1][name]) for name in scores_of(whole[1]))
    killed, moments = 0, []
    while killed < KILLS:
        target = max(rows(out) + 1, size * (killed + rng.random()) / (KILLS + 1))  # one in each part of the work
        as_typed = killed in (3, 7, 10)
        process = spawn(*argv_of(data / "tiny.csv", out)) if as_typed else start(out, prepare=slowly)
        alive = wait_for(process, lambda target=target: rows(out) >= target)
        time.sleep(rng.random() * 0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate() if as_typed else process.join()
        assert alive, f"ended before it could be killed: {killed} kills"
        killed += 1
        moments.append(rows(out))
        partial = list(out.glob("*.csv.partial"))
        if partial and killed % 3 == 0:  # what a power failure leaves besides: the end of a file lost
            torn = rng.choice(sorted(partial))
            os.truncate(torn, max(0, torn.stat().st_size - rng.randrange(1, 60)))
    assert len(set(moments)) > KILLS // 2 and max(moments) > 0.8 * size, (
        moments,
        size,
    )  # they were spread over the work
    go_on(start, out, whole)


@pytest.mark.parametrize("number, code, group", [(signal.SIGINT, 130, True), (signal.SIGTERM, 143, False)])
def test_signals_end_cleanly_and_say_how_to_go_on(number, code, group, start, whole, data, tmp_path):
    """Ctrl-C reaches the whole process group, workers too; a batch system's SIGTERM the process alone."""
    out = tmp_path / "out"
    process = spawn(*argv_of(data / "tiny.csv", out), *["--workers", "2"] * group, start_new_session=True)
    assert wait_for(process, lambda: rows(out) > 500)
    os.killpg(process.pid, number) if group else process.send_signal(number)
    printed, message = process.communicate(timeout=60)
    assert process.returncode == code and printed == ""
    assert message.splitlines() == [
        "run.py: stopped; nothing scored is lost: start again with the same command to go on"
    ]
    go_on(start, out, whole)


def children(pid):
    """Processes whose parent is pid."""
    result = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            result.append(int(stat.parent.name))
    return result


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="tells processes by /proc")


@needs_proc
def test_a_worker_that_dies(start, whole, data, tmp_path):
    out = tmp_path / "out"
    process = spawn(*argv_of(data / "tiny.csv", out), "--workers", "2")
    assert wait_for(process, lambda: rows(out) > 500)
    os.kill(max(children(process.pid)), signal.SIGKILL)
    _, message = process.communicate(timeout=60)
    line = message.strip()
    assert "\n" not in line, message
    assert process.returncode == 1 and line.startswith("run.py: error: a process that reads images died;"), message
    assert "start again to go on" in line
    go_on(start, out, whole)


@needs_proc
def test_a_killed_run_with_workers_leaves_no_lasting_lock(start, whole, data, tmp_path):
    """The locks that its workers inherited go with them."""
    out = tmp_path / "out"
    process = start(out, "--workers", "2")
    assert wait_for(process, lambda: rows(out) > 500)
    process.kill()
    process.join()
    go_on(start, out, whole)


@pytest.mark.parametrize(
    "loss, message",
    [
        (lambda path: path.unlink(), "cannot be read (No such file or directory)"),
        (lambda path: path.write_bytes(path.read_bytes()[:500]), "broken image"),
        (lambda path: shutil.copy(path.with_name("larger.png"), path), "80 x 72 pixels, 72 x 64 when the run began"),
    ],
)
def test_a_file_that_vanishes_or_changes(loss, message, start, whole, data, tmp_path):
    from PIL import Image

    Image.new("RGB", (80, 72)).save(data / "larger.png")
    kept = (data / "d39.png").read_bytes()
    process = start(tmp_path / "out")
    assert wait_for(process, lambda: rows(tmp_path / "out") > 500)
    loss(data / "d39.png")
    process.join()
    [line] = process.log().splitlines()
    assert (
        process.exitcode == 1 and f"{data / 'd39.png'}" in line and message in line and "start again to go on" in line
    ), line
    (data / "d39.png").write_bytes(kept)
    go_on(start, tmp_path / "out", whole)


def test_a_clock_that_jumps(start, whole, data, tmp_path):
    process = start(tmp_path / "out", prepare=jumping_clock)
    assert wait_for(process, lambda: rows(tmp_path / "out") > 2000)
    process.kill()
    process.join()
    for path in (tmp_path / "out").iterdir():
        os.utime(path, (4e9, 4e9))
    process = start(tmp_path / "out", prepare=jumping_clock)
    process.join()
    assert process.exitcode == 0, process.log()
    assert finished(tmp_path / "out") == whole[1]


def test_two_runs_on_one_folder(start, whole, data, tmp_path):
    two = [start(tmp_path / "out"), start(tmp_path / "out")]
    for process in two:
        process.join()
    assert [process.exitcode for process in two] == [0, 0], [process.log() for process in two]
    assert any("waiting for it to end" in process.log() for process in two)
    assert finished(tmp_path / "out") == whole[1]


def test_the_lock_of_a_killed_run_is_not_waited_for(start, whole, data, tmp_path):
    first = start(tmp_path / "out")
    assert wait_for(first, lambda: rows(tmp_path / "out") > 500)
    second = start(tmp_path / "out")
    assert wait_for(second, lambda: "waiting for it to end" in second.log())
    first.kill()
    second.join()
    assert second.exitcode == 0 and finished(tmp_path / "out") == whole[1]


@pytest.mark.numeric
def test_shards_at_once_make_one_file(start, whole, data, tmp_path):
    """Their batches are cut within the shard, so rounding may differ: the rows are the same, the scores to 1e-5."""
    shards = [start(tmp_path / "out", "--shard", f"{i}/3") for i in (1, 2, 3)]
    for process in shards:
        process.join()
    assert [process.exitcode for process in shards] == [0, 0, 0], [process.log() for process in shards]
    result = finished(tmp_path / "out")
    assert set(result) == set(whole[1])
    for name in scores_of(result):
        for a, b in zip(result[name].splitlines()[1:], whole[1][name].splitlines()[1:], strict=True):
            assert a.split(b",")[:3] == b.split(b",")[:3]
            assert float(a.split(b",")[3]) == pytest.approx(float(b.split(b",")[3]), rel=1e-5)


# ---- the soak: python -m pytest --slow -s -k soak


def resident(pid):
    """MB in memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.slow
@needs_proc
def test_soak_of_2000_pairs_in_flat_memory(tmp_path):
    pairs = 2000
    make(tmp_path / "data", pairs=pairs, references=100, size=(128, 128))
    process = spawn(
        "-dat", tmp_path / "data/tiny.csv", *"-m st_alexnet -d l2 --window 128 -sdir".split(), tmp_path / "out"
    )
    partial, seen = tmp_path / "out/tiny_st_alexnet-window128-stride200_l2.csv.partial", []

    def reached(share):
        return partial.exists() and partial.read_bytes().count(b"\n") > pairs * share

    for tenth in range(1, 10):
        if wait_for(process, lambda share=tenth / 10: reached(share), 1800):
            seen.append(resident(process.pid))
    process.communicate()
    print("\nMB in memory at 10, 20 ... 90 %:", *(f"{mb:.0f}" for mb in seen), file=sys.stderr)
    assert process.returncode == 0 and len(seen) == 9
    assert max(seen[2:]) < 1.03 * max(seen[:2])
