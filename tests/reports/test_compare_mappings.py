"""The audit under the mappings that --fit does not name."""

import csv
import io

import numpy as np
import pytest
from test_compare import FAST, results, run, table, write

from reports.compare.evidence import SCOPES
from reports.compare.words import mappings_text


def stretched(noise, seed):
    """A metric that sees the label well, and stretches its ends: a logistic turns that back, a cubic does not."""
    frame = table(0.0)
    seen = frame["mos"] / 100 + noise * np.random.default_rng(seed).normal(size=len(frame))
    centred = 2 * np.clip(seen, 0.004, 0.996) - 1
    return frame.assign(pred=centred / (1 - np.abs(centred)))


@pytest.fixture
def files(tmp_path):
    frames = {"plain": table(0.2, seed=1), "stretched": stretched(0.03, 2)}
    return [write(tmp_path, f"toy_{name}", frame) for name, frame in frames.items()]


def test_another_mapping_has_the_values_that_fit_gives_it(files):
    """Each mapping's cells under --fit logistic4 against the table that --fit prints for it."""
    [row] = results(*files)["groups"][0]["pairwise"]
    for mapping in ("logistic5", "cubic"):
        [with_fit] = results(*files, "--fit", mapping)["groups"][0]["pairwise"]
        assert set(with_fit["mappings"]["pooled"]) == {"logistic4", "logistic5", "cubic"} - {mapping}
        for scope in SCOPES:
            cell, printed = row["mappings"][scope][mapping], with_fit[scope]["plcc_fit"]
            if "refused" in printed:
                assert "refused" in cell
                continue
            assert [cell[key] for key in ("value", "error")] == pytest.approx(
                [printed[key] for key in ("value", "error")], abs=1e-12
            )
            wide = np.diff(row[scope]["plcc_fit"]["interval"])[0] / row[scope]["plcc_fit"]["error"]
            assert np.diff(cell["interval"])[0] / cell["error"] == pytest.approx(wide)  # the printed table's


def test_a_verdict_that_hangs_on_the_mapping_is_named_everywhere(files, tmp_path):
    [entry] = results(*files)["audit"]
    [check] = [check for check in entry["checks"] if check["what"] == "plcc_fit"]
    cubic = check["mappings"]["cubic"]
    assert entry["a"] == "stretched" and check["verdict"] == check["mappings"]["logistic5"]["verdict"] == "holds"
    assert cubic["verdict"] == "reverses" and cubic["interval"][1] < 0
    assert {"group": "toy", "what": "plcc_fit", "type": "", "mapping": "cubic", "verdict": "reverses"} in entry[
        "changes"
    ]
    result = run(*files, *FAST, "--html", tmp_path / "out.html")
    for shown in (result.stdout, (tmp_path / "out.html").read_text()):
        assert "reverses under cubic (toy: PLCC fitted" in shown
    lines = csv.DictReader(io.StringIO(run(*files, *FAST, "--format", "csv").stdout))
    [row] = [row for row in lines if row["scope"] == "toy plcc_fit after cubic"]
    assert row["statistic"] == "reverses" and float(row["high"]) == cubic["interval"][1]


def test_verdicts_that_do_not_hang_on_it_are_the_same(tmp_path):
    files = [write(tmp_path, f"toy_m{k}", table(noise, seed=k)) for k, noise in enumerate((0.1, 0.2))]
    [entry] = results(*files)["audit"]
    assert not entry["changes"]
    assert "Fitted PLCC: the same under every mapping" in run(*files, *FAST).stdout


def test_a_mapping_without_a_value_is_said(tmp_path):
    changes = [{"group": "toy", "what": "plcc_fit", "type": "", "mapping": "cubic", "verdict": None}]
    assert mappings_text(changes) == "the same where it has a value; no value under cubic (toy: PLCC fitted)"
    frames = {"up": table(0.1), "down": table(0.1, seed=3).assign(pred=lambda t: -t["pred"])}
    [entry] = results(*(write(tmp_path, f"toy_{name}", frame) for name, frame in frames.items()))["audit"]
    [check] = [check for check in entry["checks"] if check["what"] == "plcc_fit"]
    assert check["verdict"] is None and all("refused" in cell for cell in check["mappings"].values())
