"""What README.md and docs/*.md show is what commands print: blocks with `$ ` commands are run, their lines compared.

    ```
    $ python run_single_img.py -ref a.png -dis b.png -m psnr
    b.png  psnr  33.6307
    ...
    ```

Lines after a command are its stdout, all of it: `...` stands for any text within a line, a line of `...` for any lines.
After a command without such lines only its exit code is looked at. Numbers agree to one step of their last printed
digit, for they may come from another CPU, and so does text, however many spaces it has. Commands run in a folder with
the project's files and with `examples/` of scripts/examples.py. <!-- slow --> in the line before a block: it takes more
than a minute, and runs with --slow. Blocks of bench.py are times of one machine and are not compared. RELEASED stands
for the authors' score files.
"""

import importlib
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass

import pytest
from places import ROOT, SHARED

import datasets
from methods import options
from methods.model import Options

RELEASED = SHARED / "paper/scores"
NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?![\w])")


@dataclass(frozen=True)
class Block:
    where: str  # file:line of its first command
    commands: tuple  # (command, its expected lines)
    slow: bool


def blocks(path):
    """The Blocks of a Markdown file."""
    lines, start, previous = path.read_text(encoding="utf-8").splitlines(), None, ""
    for number, line in enumerate(lines):
        if not line.startswith("```"):
            previous = line if start is None and line.strip() else previous
        elif start is None:
            start = number + 1
        else:
            commands = commands_of(lines[start:number])
            if commands:
                yield Block(f"{path.name}:{start + 1}", commands, previous.strip() == "<!-- slow -->")
            start, previous = None, ""


def commands_of(lines):
    commands = []
    for line in lines:
        if line.startswith("$ "):
            commands.append((line[2:], []))
        elif commands:
            commands[-1][1].append(line)
    return tuple((command, tuple(output)) for command, output in commands)


def difference(expected, printed):
    """'expected ..., printed ...' of the first line that does not fit, None where all do."""
    expected, printed = list(expected), list(printed)
    while expected:
        line = expected.pop(0)
        if line.strip() == "...":
            if not expected:
                return None
            while printed and not fits(expected[0], printed[0]):
                printed.pop(0)
            continue
        if not printed or not fits(line, printed[0]):
            return f"expected {line!r}, printed {printed[0] if printed else 'no more'!r}"
        printed.pop(0)
    return f"printed more: {printed[0]!r}" if printed else None


def fits(expected, printed):
    """Whether a printed line is the one expected, but for spaces, `...` and the last digit of numbers."""
    pieces = re.split(r"(\.\.\.)", " ".join(expected.split()))
    pattern = "".join(".*" if piece == "..." else as_pattern(piece) for piece in pieces)
    match = re.fullmatch(pattern, " ".join(printed.split()))
    numbers = [number for piece in pieces if piece != "..." for number in NUMBER.findall(piece)]
    return match is not None and all(map(close, numbers, match.groups()))


def as_pattern(text):
    fixed = map(re.escape, NUMBER.split(text))
    return r"([-+]?[\d.]+(?:e[-+]?\d+)?)".join(fixed)


def close(expected, printed):
    """Whether two numbers, as printed, are the same to one step of the expected one's last digit."""
    mantissa, _, exponent = expected.partition("e")
    step = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    whole = "." not in expected and not exponent
    return expected == printed if whole else abs(float(expected) - float(printed)) <= 1.001 * step


ALL = [block for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) for block in blocks(path)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder that looks like the project, where what the commands write is in nobody's way."""
    home = tmp_path_factory.mktemp("docs")
    for path in ROOT.iterdir():
        if path.name not in ("examples", "results", "data") and not path.name.startswith("."):
            (home / path.name).symlink_to(path)
    run(home, "python scripts/examples.py examples")
    return home


def run(folder, command):
    words = shlex.split(command.replace("RELEASED", str(RELEASED)))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHON": sys.executable}
    words = [sys.executable if word == "python" else word for word in words]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: exit code {done.returncode}: {done.stderr[-2000:]}"
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    "block",
    [pytest.param(b, marks=[pytest.mark.slow] * b.slow, id=b.where) for b in ALL if "bench.py" not in b.commands[0][0]],
)
def test_docs_show_what_is_printed(block, folder):
    for command, expected in block.commands:
        if "RELEASED" in command and not RELEASED.exists():
            pytest.skip("the authors' score files are not here")
        printed = run(folder, command)
        wrong = difference(expected, printed) if expected else None
        assert wrong is None, f"{block.where}: $ {command}\n{wrong}\nall of it:\n" + "\n".join(printed)


def test_the_readmes_python_runs_without_a_warning(tmp_path):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for code in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S):
        done = subprocess.run(
            [sys.executable, "-W", "error:Converting a tensor:UserWarning", "-c", code],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0 and "Warning" not in done.stderr, done.stderr[-2000:]


def readme_calls():
    """The words after `python run.py` and `python run_single_img.py` of README.md, in blocks that no test runs: they
    take datasets, weights or images that nobody has here."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    calls = re.findall(r"^python (run|run_single_img)\.py (.*?)(?: +#.*)?$", text, re.M)
    return [pytest.param(script, shlex.split(words), id=f"{script}.py {words}") for script, words in calls]


@pytest.mark.parametrize("script, words", readme_calls())
def test_what_the_readme_calls_is_understood(script, words):
    """Its flags, datasets, methods and distances; weights are not looked for."""
    args = importlib.import_module(script).arguments(words)
    for name in getattr(args, "dataset", ()):
        datasets.check_name(name)
    if not getattr(args, "list", False):
        models, _ = options.models_of(args.model, args.distance, Options(device="cpu"))
        assert models


def test_there_are_blocks_to_run():
    assert any(block.where.startswith("README.md") for block in ALL)


@pytest.mark.parametrize(
    "expected, printed, same",
    [
        (["a 1.25 (0.5 to 2)"], ["a   1.25 (0.5 to 2)"], True),
        (["a 1.25"], ["a 1.26"], True),  # a step of the last digit
        (["a 1.25"], ["a 1.27"], False),
        (["a -1.25"], ["a 1.25"], False),
        (["mean 1.2e-05"], ["mean 1.3e-05"], True),
        (["mean 1.2e-05"], ["mean 1.4e-05"], False),
        (["5 images"], ["6 images"], False),  # whole numbers are counts
        (["...", "b 2"], ["a 1", "x", "b 2"], True),
        (["a", "..."], ["a"], True),
        (["a ... c"], ["a b c"], True),
        (["a ... c"], ["a b d"], False),
        (["a"], ["a", "b"], False),
        (["a", "b"], ["a"], False),
    ],
)
def test_the_comparison(expected, printed, same):
    assert (difference(expected, printed) is None) == same
