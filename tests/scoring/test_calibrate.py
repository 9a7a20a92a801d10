"""A single score as a predicted opinion:
the map is recovered, the interval covers, and what does not fit together is refused."""

import json

import numpy as np
import pandas as pd
import pytest
from photographs import astronaut, printed, saved
from PIL import Image

import run_single_img
from common.errors import UsageError
from scoring import calibrate

SETTINGS = {"psnr": {"protocol": "paper", "precision": "paper", "resizeHW": None, "weights": []}}


def truth(score):
    return 80 - 70 / (1 + np.exp(-(score - 30) / 4))  # DMOS from PSNR: 80 for bad images, 10 for good ones


def made(seed=0, references=40, each=10, noise=5.0):
    """PSNR and DMOS; half of the noise belongs to the reference."""
    rng = np.random.default_rng(seed)
    ref = np.repeat(np.arange(references), each)
    pred = rng.uniform(18, 44, len(ref))
    mos = truth(pred) + rng.normal(0, noise / 2**0.5, references)[ref] + rng.normal(0, noise / 2**0.5, len(ref))
    names = {"dis": [f"d{i}.png" for i in range(len(ref))], "ref": [f"r{r}.png" for r in ref]}
    return pd.DataFrame(names | {"mos": mos, "pred": pred})


def put(folder, table, name="mine_psnr.csv", **settings):
    table.to_csv(folder / name, index=False)
    document = {
        "label": "DMOS",
        "label_higher_is": "worse",
        "pred_higher_is": "better",
        "pairs_expected": len(table),
        "settings": SETTINGS["psnr"] | settings,
    }
    (folder / name.replace(".csv", ".json")).write_text(json.dumps(document))
    return folder / name


def test_the_map_is_recovered(tmp_path):
    result = calibrate.calibration(put(tmp_path, made(noise=0.5)), ["psnr"], SETTINGS)
    for score in (20, 27, 30, 36, 43):
        message = result(score)
        assert (
            message["label"] == pytest.approx(truth(score), abs=0.6) and message["low"] < truth(score) < message["high"]
        )
    assert not message["extrapolated"] and result(50)["extrapolated"] and result(10)["extrapolated"]


def test_the_interval_covers_new_references(tmp_path):
    """95 % of 400 labels of references that were not there. Half of the noise is shared by the ten labels of a
    reference, so the share itself varies: five datasets, in which it averages 95 % within 3."""
    shares = []
    for seed in range(5):
        result = calibrate.calibration(put(tmp_path, made(seed)), ["psnr"], SETTINGS)
        new = made(seed + 100)
        message = [result(score) for score in new["pred"]]
        shares.append(np.mean([t["low"] <= label <= t["high"] for t, label in zip(message, new["mos"])]))
        assert 15 < np.mean([t["high"] - t["low"] for t in message]) < 27  # 2 * 1.96 * 5 = 19.6
    assert np.mean(shares) == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(name="mine_fsim.csv"), "scores of fsim, but psnr is scored here"),
        (dict(name="mine_psnr_rot-1.csv"), "unperturbed"),
        (dict(protocol="corrected"), "protocol: corrected there, paper here"),
        (dict(resizeHW=256), "resizeHW: 256 there, None here"),
        (dict(weights=[{"name": "random", "seed": 0}]), "weights: .* there"),
    ],
)
def test_files_of_other_scores_are_refused(tmp_path, change, message):
    with pytest.raises(UsageError, match=message):
        calibrate.calibration(put(tmp_path, made(), **change), ["psnr"], SETTINGS)


def test_tables_without_a_map_are_refused(tmp_path):
    table = made()
    with pytest.raises(UsageError, match="does not rise"):
        calibrate.calibration(put(tmp_path, table.assign(mos=-table["mos"])), ["psnr"], SETTINGS)
    with pytest.raises(UsageError, match="2 references, expected at least 3"):
        calibrate.calibration(put(tmp_path, made(references=2)), ["psnr"], SETTINGS)
    with pytest.raises(UsageError, match="no such"):
        calibrate.calibration(tmp_path / "none_psnr.csv", ["psnr"], SETTINGS)
    path = put(tmp_path, table)
    path.write_text("\n".join(path.read_text().splitlines()[:100]) + "\n")
    with pytest.raises(UsageError, match="99 of 400 pairs; finish the run"):
        calibrate.calibration(path, ["psnr"], SETTINGS)


def test_at_the_terminal(tmp_path, capsys):
    image = astronaut(64, 64)
    files = ["-ref", saved(tmp_path, "r.png", image), "-dis", saved(tmp_path, "d.jpg", image)]
    path = put(tmp_path, made())
    line, statement = printed(capsys, *files, "-m", "psnr", "--calibrate", path).splitlines()
    score, label, low, high = (float(v.strip("()")) for v in np.array(line.split())[[2, 4, 5, 7]])
    assert label == pytest.approx(truth(score), abs=3) and low < label < high
    assert "the label of mine (DMOS; higher is worse) by logistic4" in statement
    assert "400 pairs of mine_psnr.csv: PLCC 0.9" in statement
    document = json.loads(printed(capsys, *files, "-m", "psnr", "--calibrate", path, "--json"))
    assert document["scores"][0]["psnr_predicted_label"] == pytest.approx(label, rel=1e-3)
    with pytest.raises(UsageError, match="scores of psnr, but stlpips_alex"):
        run_single_img.main([*files, "-m", "stlpips_alex", "--calibrate", str(path)])


def test_an_interval_that_leaves_the_labels_is_remarked_upon(tmp_path, capsys):
    table = made()
    path, image = put(tmp_path, table), astronaut(64, 64)
    reference, pixels = saved(tmp_path, "r.png", image), np.asarray(image, float)
    remark = f"  beyond the dataset's labels, {table['mos'].min():.4g} to {table['mos'].max():.4g}"
    seen = set()
    for noise in (1, 4, 8, 16, 60):
        noisy = pixels + np.random.default_rng(0).normal(0, noise, pixels.shape)
        distorted = saved(tmp_path, "d.png", Image.fromarray(noisy.clip(0, 255).astype(np.uint8)))
        argv = ["-ref", reference, "-dis", distorted, "-m", "psnr", "--calibrate", path]
        line = printed(capsys, *argv).splitlines()[0]
        low, high = (float(v.strip("()")) for v in np.array(line.split())[[5, 7]])
        beyond = low < table["mos"].min() or high > table["mos"].max()
        assert (remark in line) == beyond, line
        seen.add(beyond)
    assert seen == {True, False}


def test_a_renamed_weight_file_is_the_same(tmp_path, capsys, monkeypatch):
    from methods.model import Model

    message = {"name": "w", "sha256": "5ec"}
    monkeypatch.setattr(Model, "files", lambda model: [message | {"file": "w.pth"}])
    image = saved(tmp_path, "r.png", astronaut(48, 40))
    argv = ["-ref", image, "-dis", image, "-m", "psnr", "--calibrate", str(put(tmp_path, made(), weights=[message]))]
    assert "predicted" in printed(capsys, *argv)


def test_the_rank_is_conformal_where_a_plain_quantile_is_too_short():
    """19 exchangeable errors are the fewest for 95 %; of 50 the 49th, which holds a new one in 49 / 51 of cases."""
    errors = np.arange(1.0, 51)
    assert calibrate.conformal(errors) == 49 and np.quantile(errors, 0.95) < 48
    assert calibrate.conformal(-errors[:19]) == 19 and calibrate.conformal(errors[:18]) == np.inf
    rng = np.random.default_rng(0)
    drawn = np.abs(rng.normal(size=(4000, 51)))
    assert np.mean(drawn[:, 50] <= [calibrate.conformal(row[:50]) for row in drawn]) > 0.945
    signed = rng.normal(size=(4000, 51))
    low, high = np.quantile(signed[:, :50], [0.025, 0.975], axis=1)  # what an interval of plain quantiles would hold
    assert np.mean((low <= signed[:, 50]) & (signed[:, 50] <= high)) < 0.94


def test_small_datasets_are_covered(tmp_path):
    """8 references of 12 images: labels of references that were not there, over 40 datasets."""
    shares = []
    for seed in range(40):
        result = calibrate.calibration(put(tmp_path, made(seed, 8, 12)), ["psnr"], SETTINGS)
        new = made(seed + 500, 8, 12)
        message = [result(score) for score in new["pred"]]
        shares.append(np.mean([t["low"] <= label <= t["high"] for t, label in zip(message, new["mos"])]))
    assert 0.93 < np.mean(shares) < 0.99


def test_the_coverage_reached_is_stated(tmp_path):
    result = calibrate.calibration(put(tmp_path, made()), ["psnr"], SETTINGS)
    assert 0.92 < result.coverage() < 0.99
    assert f"(held {100 * result.coverage():.1f} % of the labels of references left out)" in result.statement()
    with pytest.raises(UsageError, match="18 pairs, expected at least 19"):
        calibrate.calibration(put(tmp_path, made(0, 3, 6)), ["psnr"], SETTINGS)
