"""docs/demo.md: its rows are methods that run without a download, and its figures are what a run gives."""

import csv
import re

import pytest
from places import ROOT

import run
from scripts.demo_page import columns_of, without_download

PAGE = ROOT / "docs" / "demo.md"
PERTURBATIONS = ("none", "tra", "sca", "rot")


def figures():
    """{method: {perturbation: SRCC}} of the page."""
    rows = re.findall(
        r"^\| (\w+) \| (-?[.\d]+) \| (-?[.\d]+) \| (-?[.\d]+) \| (-?[.\d]+) \|$", PAGE.read_text(), re.MULTILINE
    )
    return {name: dict(zip(PERTURBATIONS, map(float, values))) for name, *values in rows}


def check(names, distances, perturbations, folder):
    flags = ["-m", *names, *(["-d", *distances] if distances else []), "-rob", *perturbations]
    assert not run.main(["-dat", "demo", *flags, "-sdir", str(folder)])
    with open(folder / "correlations.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(names) * max(1, len(distances)) * len(perturbations)
    for row in rows:
        assert float(row["srcc"]) == pytest.approx(figures()[row["method"]][row["perturbation"]], abs=6e-4), row["file"]


def test_its_rows_are_those_of_the_command_that_made_it():
    command = re.search(r"`python scripts/demo_page.py(?: -m ([\w ]+))? > docs/demo.md`", PAGE.read_text())
    names = command[1].split() if command[1] else without_download()
    assert list(figures()) == columns_of(names)
    assert set(names) <= set(without_download()) and {"psnr", "gmsd", "st_alexnet"} <= set(names)


def test_the_cheapest_rows_are_what_a_run_gives(tmp_path):
    check(["psnr", "gmsd"], [], ["none", "tra"], tmp_path)


@pytest.mark.slow
def test_statistics_over_positions_hold_under_every_perturbation(tmp_path):
    """Less than .02 of SRCC is lost by dc and moments, where l2 loses more than .2."""
    check(["st_alexnet"], ["l2", "dc", "moments"], PERTURBATIONS, tmp_path)
    for name, most in (("st_alexnet_dc", 0.02), ("st_alexnet_moments", 0.02)):
        row = figures()[name]
        assert all(row["none"] - row[p] < most for p in PERTURBATIONS)
    row = figures()["st_alexnet_l2"]
    assert all(row["none"] - row[p] > 0.2 for p in PERTURBATIONS[1:])
