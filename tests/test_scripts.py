"""scripts/*.sh: which calls of run.py they make, how they go on past what is missing, and a table end to end, twice."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from made_scores import put, scores
from PIL import Image
from places import ROOT
from small_dataset import call, refused

import run
from common.errors import UsageError
from reports.tables import cells as paper
from scorefiles.read import digest
from scoring import experiment

SCRIPTS = ROOT / "scripts"

STUB = """#!/usr/bin/env bash
# Stands for python: run.py is only noted down and answers as the test wants
shift
echo "$*" >> "$CALLS"
echo "a table of correlations"
printf '%s' "$ANSWER"
exit "$CODE"
"""


@pytest.fixture
def script(tmp_path):
    """f(name, *flags, answer=, code=, **environment) -> (finished process, run.py's arguments, a list a call); run.py
    is a stub that prints `answer` and leaves with `code`."""
    stub = tmp_path / "python"
    stub.write_text(STUB)
    stub.chmod(0o755)
    calls = tmp_path / "calls"

    def run(name, *flags, answer="", code=0, **environment):
        calls.unlink(missing_ok=True)
        environment = (
            os.environ | {"PYTHON": str(stub), "CALLS": str(calls), "ANSWER": answer, "CODE": str(code)} | environment
        )
        done = subprocess.run(
            [SCRIPTS / name, *map(str, flags)], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        return done, calls.read_text().splitlines() if calls.exists() else []

    return run


@pytest.mark.parametrize(
    "name, asked", [("table1.sh", "1"), ("table2.sh", "2"), ("table3.sh", "3"), ("all.sh", "all --verify 2")]
)
def test_the_scripts_only_name_their_table(script, name, asked):
    done, calls = script(name, "--limit", 4, "--data-root", "a folder", code=130)
    assert calls == [f"--table {asked} --limit 4 --data-root a folder"] and done.returncode == 130
    _, calls = script(name, "--limit", 4, METHODS="psnr fsim")
    assert calls == [f"--table {asked} -m psnr fsim --limit 4"]


class Recorded:
    """Stands for experiment.execute: notes the calls down, and answers as the test wants where dinov1 is asked for."""

    def __init__(self, missing=(), error=None):
        self.calls, self.missing, self.error = [], list(missing), error

    def __call__(self, names, models, fusions, run, say=None):
        self.calls.append((names, [c.name for m in models for c in m.columns], run))
        asked = any(c.method == "dinov1" for m in models for c in m.columns)
        if asked and self.error:
            raise self.error
        return experiment.Result([], [], self.missing if asked else [], [])


def table(monkeypatch, capsys, recorded, *argv):
    """run.py --table with a stand-in for the scoring -> (exit code, stdout, stderr)."""
    monkeypatch.setattr(experiment, "execute", recorded)
    monkeypatch.setattr(run.datasets, "check_there", lambda *_: None)
    return call(capsys, "--device", "cpu", *argv)


@pytest.mark.parametrize("which, cells", [("1", "1"), ("2", "2"), ("3", "3"), ("all", "123")])
def test_one_call_a_dataset_and_backbone(monkeypatch, capsys, tmp_path, which, cells):
    recorded = Recorded()
    code, out, err = table(monkeypatch, capsys, recorded, "--table", which, "--limit", "4", "-sdir", tmp_path / "none")
    expected = paper.calls(paper.published(cells))
    assert [names for names, _, _ in recorded.calls] == [[c.dataset] for c in expected]
    assert [line for line in err.splitlines() if line.startswith("run.py")] == [f"run.py {c}" for c in expected]
    assert [[name for name, _ in run.perturbations] for _, _, run in recorded.calls] == [
        c.perturbations for c in expected
    ]
    assert all(run.keep_going and run.limit == 4 for _, _, run in recorded.calls)
    assert code == 0 and f"{len(paper.published(cells))} missing" in out


def test_what_is_missing_is_named_once_at_the_end_and_the_rest_is_done(monkeypatch, capsys, tmp_path):
    recorded = Recorded([("dinov1", "no weights for dinov1; use --weights-dir")])
    code, out, err = table(monkeypatch, capsys, recorded, "--table", "all", "-sdir", tmp_path / "none")
    assert len(recorded.calls) == len(paper.calls(paper.published("123"))) and code == 1 and "756 missing" in out
    expected = "not everything could be scored:\nmissing: dinov1: no weights for dinov1; use --weights-dir\n"
    assert err.endswith(expected)  # once, though three calls said it


def test_wrong_flags_and_ctrl_c_end_it(monkeypatch, capsys, tmp_path):
    for error, expected in ((UsageError("wrong"), 2), (KeyboardInterrupt(), 130)):
        recorded = Recorded(error=error)
        code, out, _ = table(monkeypatch, capsys, recorded, "--table", "2", "-sdir", tmp_path / "none")
        assert code == expected and not out and len(recorded.calls) < len(paper.calls(paper.published("2")))
    assert "-dat, -d: --table says itself" in refused(capsys, "--table", "2", "-dat", "live", "-d", "l2")


def test_savedir_and_methods(monkeypatch, capsys, tmp_path):
    put(tmp_path / "my scores", "pipal_psnr.csv", scores("pipal"))
    recorded = Recorded()
    asked = ["--table", "3", "-sdir", tmp_path / "my scores", "-m", "psnr", "fsim"]
    code, out, _ = table(monkeypatch, capsys, recorded, *asked)
    assert len(recorded.calls) == 1 and recorded.calls[0][:2] == (["pipal"], ["psnr", "fsim"])
    assert code == 0 and "3 differ" in out and "21 missing" in out
    assert "unknown method 'psrn'; nearest known: psnr" in refused(capsys, "--table", "3", "-m", "psrn")


def test_demo_is_one_call_whose_flags_can_be_replaced(script):
    done, calls = script("demo.sh", "--limit", 4, "-rob", "rot")
    assert done.returncode == 0 and done.stdout == "a table of correlations\n"
    asked = "-dat demo -m psnr msssim fsim stlpips_alex st_alexnet -d l2 cos -rob none tra --limit 4 -rob rot"
    assert calls == [asked]
    assert run.arguments(asked.split()).robustness == ["rot"]  # the last one wins
    assert script("demo.sh", "-m", "dinov1", code=130)[0].returncode == 130


def pipal(root, side=288):
    """PIPAL's layout with two references of two distorted images each."""
    rng = np.random.default_rng(0)
    for folder in ("Train_Ref", "Train_Dis", "Train_Label"):
        (root / "PIPAL" / folder).mkdir(parents=True)
    for name in ("A0001", "A0002"):
        image = np.kron(rng.integers(30, 220, (side // 8, side // 8, 3)), np.ones((8, 8, 1)))
        Image.fromarray(image.astype(np.uint8)).save(root / "PIPAL" / "Train_Ref" / f"{name}.bmp")
        for level in (0, 1):
            noisy = np.clip(image + rng.normal(0, 10 + 20 * level, image.shape), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(root / "PIPAL" / "Train_Dis" / f"{name}_00_{level:02d}.bmp")
        lines = [f"{name}_00_{level:02d}.bmp,{1500 - 100 * level + rng.normal():.4f}\n" for level in (0, 1)]
        (root / "PIPAL" / "Train_Label" / f"{name}.txt").write_text("".join(lines))


def table3(folder, *flags, **environment):
    return subprocess.run(
        [SCRIPTS / "table3.sh", "--data-root", ".", "--weights", "random", *flags],
        cwd=folder,
        env=os.environ | {"PYTHON": sys.executable} | environment,
        capture_output=True,
        text=True,
    )


def files(folder):
    """{name: (content, when written)} of the score files."""
    return {f.name: (f.read_bytes(), f.stat().st_mtime_ns) for f in folder.glob("pipal_*")}


def twice(folder, expected, **environment):
    """table3.sh on the small PIPAL in `folder`, and again: the second time nothing is scored."""
    first = table3(folder, "--limit", "4", **environment)
    there = files(folder / "results")
    assert first.returncode == 0, first.stderr[-2000:]
    assert sorted(there) == sorted(f"{name}.{ending}" for name in expected for ending in ("csv", "json"))
    assert all(content.count(b"\n") == 5 for name, (content, _) in there.items() if name.endswith(".csv"))
    again = table3(folder, "--limit", "4", **environment)
    assert (again.returncode, again.stdout) == (0, first.stdout) and files(folder / "results") == there
    assert "4/23200" in first.stdout and " 0 equal" in first.stdout and "random weights" in first.stderr


def test_a_table_end_to_end_twice(tmp_path):
    perturbations = ("", "_tra-1", "_sca-1", "_rot-1")
    names = ("psnr", "embed_openclip_vitb32_laion_tecoa4-random_cos")
    pipal(tmp_path)
    twice(
        tmp_path,
        [f"pipal_{name}{p}" for name in names for p in perturbations],
        METHODS="psnr embed_openclip_vitb32_laion_tecoa4",
    )


@pytest.mark.slow
def test_the_whole_of_table_3_twice(tmp_path):
    from methods.metrics import METRICS

    expected = set()
    for cell in paper.published("3"):
        method = cell.method
        if cell.distance_flag:
            method = f"{cell.model_flag}-random_{cell.distance_flag}"
        elif METRICS[method].weights:
            method += "-random"
        suffix = {"original": "", "translation": "_tra-1", "dilation": "_sca-1", "rotation": "_rot-1"}[
            cell.perturbation
        ]
        expected.add(f"pipal_{method}{suffix}")
    pipal(tmp_path)
    half = table3(tmp_path, "--limit", "2")  # is continued by the next run
    assert half.returncode == 0, half.stderr[-2000:]
    assert sorted(files(tmp_path / "results")) == sorted(
        f"{name}.{e}.partial" for name in expected for e in ("csv", "json", "sha256")
    )
    twice(tmp_path, expected)


def test_all_scores_some_pairs_of_each_file_again_at_its_end(tmp_path):
    pipal(tmp_path)

    def all_(**more):
        environment = os.environ | {"PYTHON": sys.executable, "METHODS": "psnr"} | more
        return subprocess.run(
            [SCRIPTS / "all.sh", "--data-root", ".", "-sdir", "results"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )

    done = all_(VERIFY="0")
    assert done.returncode == 0 and "verified" not in done.stderr
    done = all_()
    assert done.returncode == 0 and "verified" not in done.stdout
    assert done.stderr.endswith("4 of 4 score files verified: 2 pairs of each scored again, and they agree\n")
    score = tmp_path / "results/pipal_psnr_rot-1.csv"
    lines = score.read_text().splitlines()
    score.write_text("\n".join([lines[0], *(line.rpartition(",")[0] + ",99.5" for line in lines[1:])]) + "\n")
    about = json.loads(score.with_suffix(".json").read_text()) | {"rows_sha256": digest(score.read_bytes())}
    score.with_suffix(".json").write_text(json.dumps(about))  # as if these scores had been computed
    done = all_()
    assert done.returncode == 1 and "3 of 4 score files verified" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("results/pipal_psnr_rot-1.csv: DIFFERS: Train_Dis/A000")


def test_a_dataset_that_is_missing_is_the_one_line(tmp_path):
    for root, reason in (
        (".", "dataset pipal not found in ."),
        ("nowhere", "dataset pipal: there is no folder nowhere"),
    ):
        done = table3(tmp_path, "--data-root", root, METHODS="psnr")
        assert done.returncode == 2 and done.stdout == "", done
        assert done.stderr.startswith(f"run.py: error: {reason}") and done.stderr.count("\n") == 1, done.stderr


def test_one_dataset_of_two_that_is_missing_is_named_at_the_end(tmp_path):
    pipal(tmp_path)
    command = [SCRIPTS / "table1.sh", "--data-root", ".", "--weights", "random", "--limit", "1", "-sdir", "results"]
    environment = os.environ | {"PYTHON": sys.executable, "METHODS": "embed_clip_vitb32"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "missing" in done.stdout and "Traceback" not in done.stderr
    last = done.stderr.split("not everything could be scored:\n")[1]
    assert last.startswith("missing: tid2013: ") and last.count("\n") == 1
