"""scripts/gpu.py: the carried scores hold on a CPU, its parts notice what does not hold, a rehearsal writes nothing."""

import argparse
import importlib.util
import os
import subprocess
import sys

import pytest
from places import ROOT

from common.errors import WorkError

spec = importlib.util.spec_from_file_location("gpu", ROOT / "scripts" / "gpu.py")
gpu = importlib.util.module_from_spec(spec)
spec.loader.exec_module(gpu)


@pytest.mark.numeric
def test_a_cpu_gives_the_carried_scores():
    args = argparse.Namespace(device="cpu", weights_dir=None, rehearse=True)
    what, text, numbers = next(gpu.golden(args))
    assert numbers["ok"] and numbers["scores"] == 36, text


def test_scores_that_differ_are_noticed_and_named():
    one, other = {("psnr", "none", "a.png"): 30.0, ("psnr", "none", "b.png"): 20.0}, {}
    other = one | {("psnr", "none", "b.png"): 20.1}
    assert gpu.compared("x", one, one, 1e-4)[2]["ok"]
    what, text, numbers = gpu.compared("x", one, other, 1e-4)
    assert not numbers["ok"] and "psnr none b.png" in text
    with pytest.raises(WorkError, match="expected the same scores twice"):
        gpu.worst(one, {})


def rehearsed(monkeypatch, capsys, ok):
    monkeypatch.setitem(gpu.PARTS, "two", lambda args: [("a check", "some text", {"ok": ok})])
    before = {p: p.read_bytes() for p in (ROOT / "docs").iterdir() if p.is_file()}
    try:
        gpu.main(["--rehearse", "--only", "two"])
    finally:
        assert before == {p: p.read_bytes() for p in (ROOT / "docs").iterdir() if p.is_file()}
    return capsys.readouterr().out


def test_a_rehearsal_says_that_nothing_was_measured_on_a_gpu(monkeypatch, capsys):
    assert "A rehearsal on a CPU: nothing was measured on a GPU, and no file was written." in rehearsed(
        monkeypatch, capsys, True
    )


@pytest.mark.slow
def test_a_rehearsal_runs_every_part_to_its_end():
    before = {p: p.read_bytes() for p in (ROOT / "docs").iterdir() if p.is_file()}
    command = ["bash", ROOT / "scripts" / "gpu.sh", "--rehearse"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHON": sys.executable})
    assert done.returncode == 0, done.stdout + done.stderr
    *lines, last = done.stdout.splitlines()
    assert {line.split()[2] for line in lines} == set(gpu.PARTS)
    assert last == "A rehearsal on a CPU: nothing was measured on a GPU, and no file was written."
    assert before == {p: p.read_bytes() for p in (ROOT / "docs").iterdir() if p.is_file()}


def test_a_batch_too_large_is_halved_and_the_part_says_how_often():
    args = argparse.Namespace(device="cpu", weights_dir=None, rehearse=True)
    [(what, text, numbers)] = gpu.memory(args)
    assert numbers["ok"] and numbers["halvings"] >= 1 and numbers["scores"] == 6, text


def test_goals_are_said_beside_what_is_measured():
    assert gpu.against_goal("forward dinov1", {"share": 0.6}) == "goal: 60 % of the matrix rate, reached"
    assert gpu.against_goal("pipeline dinov1 l2", {"share": 0.89}) == "goal: 90 % of bare forward passes, missed"
    assert gpu.against_goal("one distance (dinov1 l2) against naive", {"ratio": 11}) == "goal: 10 times naive, reached"


def test_a_measurement_in_words():
    assert gpu.in_words({"ratio": 1.234567, "srcc": 1.0}) == "ratio 1.235, srcc 1"
    assert gpu.in_words({"failed": "no compiler"}) == "failed no compiler"


def test_nothing_is_begun_after_the_last_minute(monkeypatch):
    begun = []

    def part(name):
        return lambda args: (begun.append(name) or ("a check", "some text", {}) for _ in range(2))

    monkeypatch.setattr(gpu, "PARTS", {name: part(name) for name in ("one", "two")})
    args = argparse.Namespace(only=["one", "two"])
    lines = list(gpu.measured(args, end=float("inf")))
    assert begun == ["one", "one", "two", "two"] and len(lines) == 4
    begun.clear()
    *_, (name, what, text, numbers) = gpu.measured(args, end=0)
    assert begun == ["one"] and (name, what, numbers["ok"]) == ("one", "stopped", False)


def test_what_does_not_hold_fails_the_command(monkeypatch, capsys):
    with pytest.raises(WorkError, match="did not hold: a check"):
        rehearsed(monkeypatch, capsys, False)


def test_the_table_goes_between_its_marks(tmp_path, monkeypatch):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/speed.md").write_text("before\n<!-- gpu.sh -->\nold\n<!-- end of gpu.sh -->\nafter\n")
    monkeypatch.setattr(gpu, "ROOT", tmp_path)
    gpu.keep({"machine": {"device": "a GPU"}}, {"a check": "held"})
    assert (tmp_path / "docs/speed.md").read_text() == (
        "before\n<!-- gpu.sh -->\n| on a GPU | |\n|---|---|\n| a check | held |\n<!-- end of gpu.sh -->\nafter\n"
    )
    (tmp_path / "docs/speed.md").write_text((ROOT / "docs/speed.md").read_text())
    gpu.keep({"machine": {"device": "a GPU"}}, {"a check": "held"})
    page = (tmp_path / "docs/speed.md").read_text()
    assert "| a check | held |" in page and "Nothing here was measured" not in page


def test_no_gpu_is_said_in_one_line():
    if gpu.torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    done = subprocess.run([sys.executable, ROOT / "scripts/gpu.py"], capture_output=True, text=True)
    assert done.returncode == 2 and "no CUDA device here; --rehearse" in done.stderr and done.stdout == ""
