"""docs/demo.md: its rows are methods that run without a download, and its figures are what a run gives."""

import csv
import re
from pathlib import Path

import pytest

import run
from distances import of_blocks
from methods.metrics import METRICS
from models import BACKBONES

PAGE = Path(__file__).parents[1] / "docs" / "demo.md"
PERTURBATIONS = ("none", "tra", "sca", "rot")


def figures():
    """{method: {perturbation: SRCC}} of the page."""
    rows = re.findall(
        r"^\| (\w+) \| (-?[.\d]+) \| (-?[.\d]+) \| (-?[.\d]+) \| (-?[.\d]+) \|$", PAGE.read_text(), re.MULTILINE
    )
    return {name: dict(zip(PERTURBATIONS, map(float, values))) for name, *values in rows}


def check(names, distances, perturbations, folder):
    asked = ["-m", *names, *(["-d", *distances] if distances else []), "-rob", *perturbations]
    assert not run.main(["-dat", "demo", *asked, "-sdir", str(folder)])
    with open(folder / "correlations.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(names) * max(1, len(distances)) * len(perturbations)
    for row in rows:
        assert float(row["srcc"]) == pytest.approx(figures()[row["method"]][row["perturbation"]], abs=6e-4), row["file"]


def test_every_metric_that_needs_no_download_is_there():
    there, without = set(figures()), {name for name, metric in METRICS.items() if not metric.weights}
    backbones = {f"{name}_{d}" for name, entry in BACKBONES.items() if entry.weights is None for d in of_blocks()}
    assert without <= there <= without | backbones and {f"st_alexnet_{d}" for d in of_blocks()} <= there


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
