"""CONTRIBUTING.md's promise: one entry in a registry adds a backbone, a distance, a dataset or a metric everywhere.

A copy of the project gets one toy entry of each kind and is asked, as a person would: does it know them? The lines that
are added to it are those that CONTRIBUTING.md shows, where it shows them.
"""

import os
import re
import shutil
import subprocess
import sys

import pytest
from places import ROOT

ROOMS = ("common", "agreement", "networks", "loaders", "methods", "scorefiles", "scoring", "reports")
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def shown(function):
    """The definition of a function and its registry's entry, as CONTRIBUTING.md shows them."""
    block = next(block for block in re.findall(r"```python\n(.*?)```", PAGE, re.S) if f"def {function}(" in block)
    definition, entry = re.fullmatch(r"(def .*?)\n\n\w+ = \{\.\.\. (.*), \.\.\.\}.*\n", block, re.S).groups()
    return definition, entry


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the project with the toys: mae, l1, toy_vit, toys."""
    root = tmp_path_factory.mktemp("copy")
    for name in ROOMS:
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.glob("*.py"):
        shutil.copy(path, root)

    def add(file, before, text, registry, entry):
        source = (root / file).read_text(encoding="utf-8")
        assert source.count(before) == 1 and source.count(registry) == 1, file
        source = source.replace(registry, f"{registry}\n        {entry},").replace(before, f"{text}\n\n\n{before}")
        (root / file).write_text(source, encoding="utf-8")

    mae, entry = shown("mae")
    add("methods/metrics.py", "\nMETRICS = {", mae, "    for metric in (", entry)
    l1, entry = shown("l1")
    add("distances.py", "\nDISTANCES = {", l1, "DISTANCES = {", entry)
    add(
        "models.py",
        "\nBACKBONES = {",
        "",
        "BACKBONES = {",
        '"toy_vit": Backbone("a ViT of two blocks", "tokens", timm_backbone("test_vit.r160_in1k"), DINO)',
    )
    add(
        "datasets.py",
        "\nDATASETS = {",
        'def toys(root):\n    from loaders.pairs import Row\n\n    yield Row(str(root), "d.png", "r.png", 1.0)',
        "    for entry in (",
        'Entry("toys", toys, code_in_name("(d).png", "d.png"), 1, "worse", "a toy", ("toys",), ("d.png",), '
        '("d.png, r.png",), "nowhere", "-", no_spread="none")',
    )
    return root


def ask(copy, *argv, cwd=None):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *map(str, argv)], cwd=cwd or copy, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    return done.stdout


def test_list_and_the_docs_table_know_them(copy):
    listed, page = ask(copy, "run.py", "--list"), ask(copy, "-m", "scoring.listing")
    for name in ("mae", "l1", "toy_vit", "embed_toy_vit"):
        assert re.search(rf"^  {name}\b", listed, re.M), name
        assert f"`{name}`" in page, name
    assert re.search(r"^  toys\b", listed, re.M) and "toys" in ask(copy, "datasets.py")
    assert re.search(r"`dinov1` \| [^|]*\bl1\b", page) and re.search(r"`clip_rn50` \| [^|]*\bl1\b", page)


def test_the_command_line_knows_them(copy, tmp_path):
    import numpy as np
    from PIL import Image

    (tmp_path / "toys").mkdir()
    for name, value in (("r", 100), ("d", 110)):
        Image.fromarray(np.full((224, 224, 3), value, np.uint8)).save(tmp_path / "toys" / f"{name}.png")
    run = ("run.py", "-dat", "toys", "--data-root", tmp_path, "-sdir", tmp_path / "out", "--device", "cpu")
    out = ask(copy, *run, "-m", "mae", "toy_vit", "-d", "l1", "--weights", "random")
    assert "toys     mae" in out and "toy_vit-random_l1" in out and "label is a toy" in out
    score = (tmp_path / "out/toys_mae.csv").read_text().splitlines()[1].rpartition(",")[2]
    assert float(score) == pytest.approx(10 / 255, rel=1e-5)
    assert "-d" in ask(copy, "run.py", "--help") and "l1" in ask(copy, "run.py", "--help")
    assert "mae" in ask(
        copy, "tables.py", "--table", "3", "--only", "psnr", "--extra", "mae", "--scores", tmp_path / "out"
    )
    wrong = subprocess.run(
        [sys.executable, "run.py", "-dat", "toys", "-m", "mea"], cwd=copy, capture_output=True, text=True
    )
    assert wrong.returncode == 2 and "nearest known" in wrong.stderr and "mae" in wrong.stderr


def test_the_tests_know_them(copy):
    """The registries are what the property tests run over: their parametrisation has the toys. (Of a dataset
    test_datasets.py asks for a folder in its layout, and fails until layouts.MAKERS has one.)"""
    shutil.copytree(ROOT / "scripts", copy / "scripts", dirs_exist_ok=True)
    shutil.copytree(ROOT / "tests", copy / "tests", ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    for name in ("pyproject.toml", "CONTRIBUTING.md"):
        shutil.copy(ROOT / name, copy)
    collected = ask(
        copy,
        "-m",
        "pytest",
        "-q",
        "--co",
        "-n",
        "0",
        "-p",
        "no:cacheprovider",
        *(
            f"tests/{name}.py"
            for name in ("methods/test_metrics", "test_distances", "scoring/test_scorer", "test_placement")
        ),
    )
    for name in ("mae", "l1", "toy_vit"):
        assert re.search(rf"::test_\w+\[([^\]]*-)?{name}(-[^\]]*)?\]", collected), name
    pytest_of = ("-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider")
    ask(copy, *pytest_of, "tests/methods/test_metrics.py", "-k", "mae or is_there or notes_say")
    ask(copy, *pytest_of, "tests/test_distances.py", "-k", "[l1] or -l1] or [l1-")
