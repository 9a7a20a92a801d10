"""A CSV dataset of small images made on the spot, and run.py in this process or in one of its own."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from places import ROOT

import run
from common import terminal


def make(folder, pairs=8, references=2, size=(72, 64)):
    """`pairs` noisy versions of `references` random images, width x height `size` -> the CSV file,
    dataset name 'tiny'."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    photographs = [
        rng.integers(0, 256, (size[1] // 8, size[0] // 8, 3)).repeat(8, 0).repeat(8, 1) for _ in range(references)
    ]
    for r, photograph in enumerate(photographs):
        Image.fromarray(photograph.astype(np.uint8)).save(folder / f"r{r}.png")
    lines = ["dis,ref,dmos"]
    for i in range(pairs):
        r = i * references // pairs
        noisy = photographs[r] + rng.normal(0, 4 + i, photographs[r].shape)
        Image.fromarray(noisy.round().clip(0, 255).astype(np.uint8)).save(folder / f"d{i}.png")
        lines.append(f"d{i}.png,r{r}.png,{i + 0.5}")
    (folder / "tiny.csv").write_text("\n".join(lines) + "\n")
    return folder / "tiny.csv"


def call(capsys, *argv, main=run.main):
    """A script's main as the terminal runs it -> (exit code, stdout, stderr). A traceback fails the test."""
    capsys.readouterr()
    try:
        terminal.run_main(main, [str(a) for a in argv])
    except SystemExit as left:
        code = left.code
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return code, out, err


def refused(capsys, *argv, code=2, main=run.main):
    """The one line on stderr with which a script leaves; warnings aside."""
    result, out, err = call(capsys, *argv, main=main)
    lines = [line for line in err.splitlines() if not line.startswith("warning: ")]
    assert result == code and len(lines) == 1 and out == "" and ": error: " in lines[0], (result, out, err)
    return lines[0]


def spawn(*argv, script="run.py", **options):
    """The script in a process of its own, single-threaded."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | options.pop("env", {})
    return subprocess.Popen(
        [sys.executable, ROOT / script, *map(str, argv)],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def bytes_of(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.is_file()}


def finished(folder):
    """{name: bytes} of all that a run leaves, its locks aside; nothing may be left of the way there."""
    result = {p.name: p.read_bytes() for p in Path(folder).iterdir() if p.is_file()}
    left = [name for name in result if ".partial" in name or name.endswith(".tmp")]
    assert not left
    return result
