"""What a run says while it works: a row of its table as soon as it is finished,
and a line of progress now and then in a log."""

import re

import pytest
from small_dataset import call, make, spawn

from common import terminal, text

# A metric that waits for a file before it gives its numbers
SLOW = """
import pathlib, time


def metric(reference, distorted):
    while not pathlib.Path({flag!r}).exists():
        time.sleep(0.01)
    return (distorted - reference).abs().mean()
"""


@pytest.fixture
def slow(tmp_path):
    """(arguments of run.py: psnr, then a metric that waits for a file; that file)."""
    flag = tmp_path / "go"
    (tmp_path / "slow.py").write_text(SLOW.format(flag=str(flag)))
    dataset = make(tmp_path / "data")
    metric = f"{tmp_path / 'slow.py'}:metric"
    return ["-dat", dataset, "-m", "psnr", metric, "-sdir", tmp_path / "out"], flag


def test_a_row_is_printed_when_it_is_finished(slow):
    argv, flag = slow
    process = spawn(*argv)
    early = [process.stdout.readline() for _ in range(2)]  # waits for ever where all is printed at the end
    assert process.poll() is None and not flag.exists()
    assert [line.split()[:2] for line in early] == [["dataset", "method"], ["tiny", "psnr"]]
    flag.touch()
    late, _ = process.communicate(timeout=120)
    again, _ = spawn(*argv).communicate(timeout=120)
    assert process.returncode == 0 and "".join(early) + late == again
    rows = again.splitlines()[:3]
    assert rows == text.aligned([line.split() for line in rows], left=(0, 1, 2))  # as all at once


def test_a_reader_that_leaves_does_not_end_the_work(slow, tmp_path):
    argv, flag = slow
    process = spawn(*argv)
    process.stdout.readline()
    process.stdout.close()
    flag.touch()
    assert process.wait(timeout=120) == 0 and process.stderr.read() == ""
    assert len([*(tmp_path / "out").glob("tiny_*.csv")]) == 2


def test_negative_numbers_take_no_more_room():
    rows = [["name", "0.500", "0.250"], ["a", "-0.500", "-"], ["b", "0.125", "-0.250"]]
    widths = [4, 5, 5]
    assert [text.aligned_row(row, widths) for row in rows] == [
        "name  0.500  0.250",
        "a    -0.500      -",
        "b     0.125 -0.250",
    ]


def test_a_log_gets_a_line_of_progress_every_30_seconds(tmp_path, capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    with terminal.progress(1000, "window", "demo psnr") as bar:
        for _ in range(1000):
            now[0] += 0.125
            bar.update()
    assert capsys.readouterr().err.splitlines() == [
        "demo psnr: 240 of 1000 (24%), about 2 min left",
        "demo psnr: 480 of 1000 (48%), about 65 s left",
        "demo psnr: 720 of 1000 (72%), about 35 s left",
        "demo psnr: 960 of 1000 (96%), about 5 s left",
    ]


def test_a_run_says_how_far_it_is(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(terminal, "EVERY", 0.0)
    argv = ["-dat", make(tmp_path / "data"), "-m", "psnr", "-sdir", tmp_path / "out"]
    code, printed, message = call(capsys, *argv)
    assert code == 0 and "left" not in printed
    assert re.search(r"^tiny pixels: \d+ of 10 \(\d+%\), about \d+ s left$", message, re.M), message
