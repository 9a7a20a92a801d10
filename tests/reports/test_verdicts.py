"""What compare.py says of differences: one family a table, words that fit the intervals,
more resamples where needed."""

import json

import numpy as np
import pytest
from places import ROOT
from test_compare import FAST, results, run, table, write

from agreement.bootstrap import cluster_bootstrap
from agreement.simultaneous import VERDICTS
from common.text import number
from reports.compare import Settings
from reports.compare.audit import overall
from reports.compare.evidence import coefficients_of
from reports.compare.words import p_text, verdict_text


@pytest.fixture
def four(tmp_path):
    """One clearly worse metric and three of equal noise."""
    return [write(tmp_path, f"toy_m{k}", table(noise, seed=k)) for k, noise in enumerate((0.1, 0.1, 0.1, 0.6))]


def rows(*arguments):
    return results(*arguments)["groups"][0]["pairwise"]


def test_verdict_p_interval_and_letters_agree_everywhere(four):
    group = results(*four)["groups"][0]
    for row in group["pairwise"]:
        for scope in ("pooled", "per_reference", "within"):
            for name, cell in row[scope].items():
                if (
                    scope == "within" and "refused" in cell
                ):  # a reference whose ten images are in perfect order has no z
                    continue
                low, high = cell["interval"]
                assert (cell["p"] <= 0.05) == (low > 0 or high < 0)
                shared = set(group["letters"][name][row["a"]]) & set(group["letters"][name][row["b"]])
                if scope == "pooled":
                    assert bool(shared) == (cell["verdict"] not in ("better", "worse"))
    assert group["best"]["srcc"] == ["m0", "m1", "m2"] and group["families"]["pooled"]["differences"] == 24


def test_against_one_metric_takes_fewer_differences_and_shorter_intervals(four):
    def width(differences, a, b):
        [row] = [row for row in differences if {row["a"], row["b"]} == {a, b}]
        return np.ptp(row["pooled"]["srcc"]["interval"])

    everything, one = rows(*four), rows(*four, "--against", "m3")
    assert len(one) == 3 and width(one, "m0", "m3") < width(everything, "m0", "m3")
    assert "it is not among m0, m1, m2, m3" in run(*four, *FAST, "--against", "m9").stderr


def test_the_best_is_not_named_where_not_all_pairs_were_compared(four):
    """One that no other was set beside is not shown worse either: that makes it no best one."""
    group = results(*four, "--against", "m3")["groups"][0]
    assert not any(group["best"].values()) and not any(group["letters"].values())
    assert "As good as the best" not in run(*four, *FAST, "--against", "m3").stdout
    latex = run(*four, *FAST, "--against", "m3", "--format", "latex").stdout
    assert "Bold" not in latex and r"\textbf" not in latex


def test_equivalent_within_a_margin(four):
    verdicts = {(row["a"], row["b"]): row["pooled"]["srcc"]["verdict"] for row in rows(*four, "--margin", ".1")}
    assert verdicts["m0", "m1"] == "equivalent" and verdicts["m0", "m3"] == "better"
    assert rows(*four)[0]["pooled"]["srcc"]["verdict"] == "not shown different"
    assert "between 0 and 1" in run(*four, "--margin", "2").stderr


def test_resamples_are_raised_until_the_verdict_stands_or_the_limit_is_said(four, tmp_path):
    """A metric so much noisier than another that the interval's end is nearly zero. 60 references: with few of them
    Bonferroni's interval is the smaller, which hangs on no resample."""
    one = write(tmp_path, "toy_one", table(0.1, 60))
    families = []
    for noise in np.linspace(0.11, 0.2, 10):
        pair = one, write(tmp_path, "toy_near", table(noise, 60, seed=5))
        done = json.loads(run(*pair, *FAST, "--most-resamples", 1600, "--format", "json").stdout)
        family = done["groups"][0]["families"]["pooled"]
        families.append((family["resamples"], family["undecided"]))
        assert family["resamples"] in (200, 400, 800, 1600)
        assert not family["undecided"] or family["resamples"] == 1600  # given up only at the limit
    assert {resamples for resamples, _ in families} - {200}
    assert "expected at least --resamples" in run(*four, "--resamples", 500, "--most-resamples", 200).stderr


def test_lines_of_words_are_wrapped_and_say_what_is_open(tmp_path):
    """Labels rise ever faster with the predictions; in one distortion type all references agree."""
    frames = [table(noise, seed=k) for k, noise in enumerate((0.02, 0.04))]
    for frame in frames:
        one = frame["type"] == frame["type"].iloc[0]
        frame.loc[one, "pred"] = frame.loc[one, "mos"] / 100
        frame["mos"] = np.exp(frame["mos"] / 25)
    text = run(*(write(tmp_path, f"toy_m{k}", frame) for k, frame in enumerate(frames)), *FAST).stdout
    words = [line for line in text.splitlines() if "   " not in line.strip()]
    assert max(map(len, words)) <= 100 and max(map(len, text.splitlines())) > 100
    assert "unbounded at the high end" in text and "1.00 [-]" in text and "-0.000" not in text
    assert "1 pair of metrics" in text and "1 pairs" not in text


def test_words():
    assert [number(x, 2) for x in (-0.001, -0.01, 12345.6)] == ["0.00", "-0.01", "1.235e+04"]
    assert [number(x, 3, "+") for x in (-0.0001, 0.0, 0.5)] == ["+0.000", "+0.000", "+0.500"]
    assert p_text(1 / 2001, 1 / 2001) == "<=.0005" and p_text(0.0004) == "<.001" and p_text(0.03, 1 / 2001) == "0.030"
    tie = {"verdict": "not shown different", "detectable": 0.0123}
    assert verdict_text(tie) == "not shown different (detectable: 0.012)"
    assert verdict_text({"verdict": "undecided"}, {"resamples": 8000}) == "undecided at 8000 resamples"
    assert overall(["holds", "holds"]) == "holds" and overall(["holds", None, "undecided"]) == "holds in part"
    assert overall(["holds", "reverses"]) == "reverses" and overall([None]) == "refused"
    assert overall(["not shown different"] * 3) == "not shown different"


def test_every_format_shows_letters_ceiling_and_detectable_difference(four, tmp_path):
    options = (*four, *FAST, "--html", tmp_path / "out.html")
    for path in four:
        path.write_text("\n".join(f"{line},{8.0 if k else 'std'}" for k, line in enumerate(path.read_text().split())))
    text, latex, flat = (
        run(*options, "--std-kind", "se", "--format", form).stdout for form in ("text", "latex", "csv")
    )
    page = (tmp_path / "out.html").read_text()
    assert "] a" in text and "(noise ceiling)" in text and "detectable" in text
    assert r"\textsuperscript{a}" in latex and "Noise ceiling &" in latex
    assert latex.count(r"\begin{table}") == latex.count(r"\end{table}") == 5  # by reference two, of reviewers two
    assert "Within references" in latex and "kurtosis of residuals" in latex and r"F-test of RMSE*" in latex
    assert "noise ceiling" in flat and ",letters," in flat and ",detectable," in flat
    assert "<b>a</b>" in page and "noise ceiling</a>" in page and "detectable 0." in page


def test_a_metric_that_disagrees_with_people_has_no_fitted_coefficient_but_all_others(four, tmp_path):
    """The best curve that rises is flat then: its correlation was asked for, and the whole group refused."""
    frame = table(0.1, seed=8)
    wrong = write(tmp_path, "toy_wrong", frame.assign(pred=-frame["pred"]))
    coefficients = results(four[0], wrong)["groups"][0]["coefficients"]["wrong"]["pooled"]
    assert coefficients["srcc"]["value"] < -0.8 and "no monotonic fit" in coefficients["plcc_fit"]["refused"]


def test_no_interval_of_a_coefficient_goes_beyond_one():
    """Without one reference the coefficient is 1, which has no Fisher's z: the interval is one of the coefficient."""
    label, references = np.arange(40.0), np.repeat(np.arange(4), 10)
    predictions = np.stack([label, label + 9 * np.sin(7 * label)])
    predictions[0, :10] = predictions[0, :10][::-1]
    pooled = cluster_bootstrap(label, predictions, references)
    assert pooled["srcc"].jackknife[0, 0] == pytest.approx(1)
    cells = coefficients_of({"pooled": {"srcc": pooled["srcc"]}}, 2, Settings())["pooled"]["srcc"]
    for cell in cells:
        (low, high), (all_low, all_high) = cell["interval"], cell["simultaneous"]
        assert -1 <= all_low <= low < cell["value"] < high <= all_high <= 1


def test_the_verdicts_are_explained_in_one_screen():
    text = (ROOT / "docs" / "compare.md").read_text(encoding="utf-8")
    lines = text.splitlines()
    assert len(lines) <= 55 and max(map(len, lines)) <= 140
    assert all(verdict in text for verdict in VERDICTS)
