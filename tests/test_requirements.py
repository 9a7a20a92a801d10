"""Without the required packages every command says in one line what is missing and what to do,
and leaves with exit code 2."""

import json
import os
import re
import subprocess
import sys

import pytest
from places import ROOT

COMMANDS = {
    "run.py": (["-dat", "demo", "-m", "psnr"], ["--fetch-weights", ".", "-m", "dinov1"], ["--verify", "2", "x.csv"]),
    "run_single_img.py": (["-ref", "a.png", "-dis", "b.png", "-m", "psnr"], ["-ref", ".", "-dis", ".", "-m", "psnr"]),
    "datasets.py": (["demo"],),
    "tables.py": (["--table", "all"],),
    "compare.py": (["a.csv", "b.csv"],),
    "fuse.py": (["."],),
    "bench.py": (["--only", "forward"],),
}


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """An interpreter of a new virtual environment, into which nothing was installed."""
    home = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    return home / "bin/python"


def run_bare(bare, *command):
    environment = os.environ | {"IQA_CACHE": str(bare.parent)}  # where there is no demo yet
    return subprocess.run([bare, "-E", *command], cwd=ROOT, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("script, argv", [(script, argv) for script, calls in COMMANDS.items() for argv in calls])
def test_a_missing_package_is_one_line(bare, script, argv):
    done = run_bare(bare, ROOT / script, *argv)
    assert done.returncode == 2 and done.stdout == "", done
    line = (
        rf"{re.escape(script)}: error: the package [a-zA-Z]\w* is missing here: is the virtual environment active\? "
        r"If it is: pip install -r requirements\.txt\n"
    )
    assert re.fullmatch(line, done.stderr), done.stderr


SCRIPTS = sorted(path.name for path in (ROOT / "scripts").glob("*.py"))


@pytest.mark.parametrize("script", ["bench.py", *(f"scripts/{name}" for name in SCRIPTS)])
def test_help_is_there_or_says_what_is_missing(bare, script):
    done = run_bare(bare, ROOT / script, "--help")
    if done.returncode:
        assert done.returncode == 2 and "is missing here" in done.stderr and done.stderr.count("\n") == 1, done.stderr
    else:
        assert "usage:" in done.stdout and done.stderr == ""


WRONG = {
    "run.py": (
        (["-dat", "demo", "-m", "pnsr"], "unknown method 'pnsr'"),
        (["-dat", "dmeo", "-m", "psnr"], "unknown dataset 'dmeo'"),
        (["-dat", "nosuch.csv", "-m", "psnr"], "nosuch.csv: this file cannot be read"),
        (["-dat", "live", "-m", "psnr", "--data-root", "nowhere"], "there is no folder nowhere"),
        (["-dat", "demo", "-m", "psnr", "-d", "l2"], "psnr takes no distance"),
        (["-dat", "demo", "-m", "dinov1"], "a backbone needs a distance"),
        (["-dat", "demo", "-m", "psnr", "--device", "quda"], "--device quda: expected auto"),
        (["-dat", "demo", "-m", "psnr", "--precision", "fp23"], "--precision"),
        (["-dat", "demo", "-m", "nosuch.py:f"], "there is no file nosuch.py"),
        (["-dat", "demo", "-m", "psnr * pnsr"], "pnsr"),
        (["--table", "3", "--data-root", "nowhere"], "there is no folder nowhere"),
    ),
    "run_single_img.py": (
        (["-ref", "nosuch.png", "-dis", "README.md", "-m", "psnr"], "nosuch.png: cannot be read"),
        (["-ref", "README.md", "-dis", "README.md", "-m", "pnsr"], "unknown method 'pnsr'"),
        (["-ref", "README.md", "-dis", "README.md", "-m", "psnr", "fsim", "--map", "m.png"], "found 1 pair, 2 scores"),
        (["-ref", "README.md", "-dis", "README.md", "-m", "psnr", "-d", "l2"], "psnr takes no distance"),
    ),
}


@pytest.mark.parametrize("script", WRONG)
def test_wrong_usage_is_told_before_pytorch_is_imported(script):
    """That costs seconds, and many on a slow disk."""
    code = (
        "import importlib, json, sys\n"
        "command, calls = importlib.import_module(sys.argv[1]), json.loads(sys.argv[2])\n"
        "for argv in calls:\n"
        "    try: command.main(argv)\n"
        "    except Exception as error: print(type(error).__name__, error)\n"
        "print(sorted({'torch', 'timm', 'torchvision', 'matplotlib', 'scipy', 'pandas'} & set(sys.modules)))\n"
    )
    calls, said = zip(*WRONG[script])
    done = subprocess.run(
        [sys.executable, "-c", code, script[:-3], json.dumps(calls)], cwd=ROOT, capture_output=True, text=True
    )
    *lines, imported = done.stdout.splitlines()
    assert imported == "[]" and len(lines) == len(said), done
    for line, text in zip(lines, said):
        assert line.startswith("UsageError") and text in line, line


def test_all_commands_are_tried():
    scripts = {path.name for path in ROOT.glob("*.py") if "run_main(" in path.read_text(encoding="utf-8")}
    assert scripts == set(COMMANDS)


def test_debug_shows_where_it_is_missing(bare):
    done = run_bare(bare, ROOT / "run.py", "--verify", "2", "x.csv", "--debug")
    assert done.returncode == 1 and "Traceback" in done.stderr and "ModuleNotFoundError" in done.stderr


@pytest.mark.parametrize(
    "script, flag",
    [("run.py", "--help"), ("run.py", "--list"), ("run_single_img.py", "--help"), ("datasets.py", "--help")],
)
def test_help_needs_no_package(bare, script, flag):
    done = run_bare(bare, ROOT / script, flag)
    assert done.returncode == 0 and done.stderr == "" and len(done.stdout.splitlines()) > 10
