"""Without the required packages every command says in one line what is missing and what to do,
and leaves with exit code 2."""

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
