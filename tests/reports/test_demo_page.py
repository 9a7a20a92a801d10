"""docs/demo.md: its rows are methods that run without a download, and its figures are what a run gives."""

import csv
import re

import pytest
from places import ROOT

import run
from methods.model import ALIGNED
from scripts import demo_page
from scripts.demo_page import PERTURBATIONS, columns_of, without_download

PAGE = (ROOT / "docs" / "demo.md").read_text()


def figures(page):
    """{score column: {perturbation: SRCC}} of a page, of those that are there."""
    numbers = {}
    for line in re.findall(r"^\| (\w+ \|(?: (?:-?[.\d]+|-) \|){8})$", page, re.MULTILINE):
        name, *values = line.rstrip(" |").split(" | ")
        for column, cells in ((name, values[:4]), (name + ALIGNED, values[4:])):
            if cells != ["-"] * 4:
                numbers[column] = dict(zip(PERTURBATIONS, map(float, cells)))
    return numbers


def check(names, distances, perturbations, folder):
    flags = ["-m", *names, *(["-d", *distances] if distances else []), "-rob", *perturbations]
    assert not run.main(["-dat", "demo", *flags, "-sdir", str(folder)])
    with open(folder / "correlations.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(names) * max(1, len(distances)) * len(perturbations)
    for row in rows:
        printed = figures(PAGE)[row["method"]][row["perturbation"]]
        assert float(row["srcc"]) == pytest.approx(printed, abs=6e-4), row["file"]


def test_its_rows_are_those_of_the_command_that_made_it():
    command = re.search(r"`python scripts/demo_page.py(?: -m ([\w ]+))?(?: --aligned([\w ]*))? > docs/demo.md`", PAGE)
    names = command[1].split() if command[1] else without_download()
    aligned = names if command[2] is None else command[2].split()
    assert set(names) <= set(without_download()) and set(columns_of(aligned)) <= set(columns_of(names))
    assert {"psnr", "gmsd", "st_alexnet"} <= set(names)
    assert set(figures(PAGE)) == {*columns_of(names), *(column + ALIGNED for column in columns_of(aligned))}


def test_the_cheapest_rows_are_what_a_run_gives(tmp_path):
    check(["psnr", "gmsd"], [], ["none", "tra"], tmp_path)


@pytest.mark.slow
def test_the_page_is_what_its_command_prints(tmp_path, capsys):
    demo_page.main(["-m", "psnr", "gmsd", "--aligned", "psnr", "-sdir", str(tmp_path)])
    page = capsys.readouterr().out
    assert "`python scripts/demo_page.py -m psnr gmsd --aligned psnr > docs/demo.md`" in page
    assert set(figures(page)) == {"psnr", "gmsd", "psnr-aligned"}
    for column, row in figures(page).items():
        assert row == pytest.approx(figures(PAGE)[column], abs=1.1e-3), column


@pytest.mark.slow
def test_statistics_over_positions_hold_under_every_perturbation(tmp_path):
    """Less than .02 of SRCC is lost by dc and moments, where l2 loses more than .2."""
    check(["st_alexnet"], ["l2", "dc", "moments"], PERTURBATIONS, tmp_path)
    for name, most in (("st_alexnet_dc", 0.02), ("st_alexnet_moments", 0.02)):
        row = figures(PAGE)[name]
        assert all(row["none"] - row[p] < most for p in PERTURBATIONS)
    row = figures(PAGE)["st_alexnet_l2"]
    assert all(row["none"] - row[p] > 0.2 for p in PERTURBATIONS[1:])
