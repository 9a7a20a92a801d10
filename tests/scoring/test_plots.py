"""Pictures: a file of the kind asked for, with the points, types and direction that the score file has."""

import numpy as np
import pandas as pd
import pytest
from made_scores import put, scores
from PIL import Image

from common.errors import UsageError
from scorefiles.read import read
from scoring import plots


def drawn(monkeypatch, path):
    """The Axes that plots.scatter drew."""
    kept = []
    monkeypatch.setattr(plots, "save", lambda fig, path: kept.append(fig))
    plots.scatter(read(path), path.with_suffix(".png"))
    return kept[0]


def test_every_pair_is_a_point_of_its_type(tmp_path, monkeypatch):
    path = put(tmp_path, "tid2013_psnr.csv", scores("tid2013"))
    fig = drawn(monkeypatch, path)
    clouds = fig.axes[0].collections
    assert len(clouds) == 24 and sum(len(c.get_offsets()) for c in clouds) == 3000
    assert [t.get_text() for t in fig.legends[0].get_texts()] == [f"{i:02}" for i in range(1, 25)]
    looks = {(tuple(c.get_facecolor()[0]), c.get_paths()[0].vertices.tobytes()) for c in clouds}
    assert len(looks) == 24  # no two types alike
    table = pd.read_csv(path)
    first = table[table["dis"].str.contains("_01_")]
    assert np.allclose(np.sort(clouds[0].get_offsets()[:, 0]), np.sort(first["pred"]))
    assert (
        fig.axes[0].get_xlabel() == "psnr (higher is better)"
        and "100 - MOS (higher is worse)" in fig.axes[0].get_ylabel()
    )


def test_files_are_drawn_beside_themselves(tmp_path, capsys):
    path = put(tmp_path, "live_psnr.csv", scores("live"))
    plots.main([str(path)])
    assert capsys.readouterr().out.strip() == str(tmp_path / "live_psnr.png")
    assert min(Image.open(tmp_path / "live_psnr.png").size) > 400


def test_what_cannot_be_drawn(tmp_path):
    with pytest.raises(UsageError, match="100 of 779 pairs"):
        plots.main([str(put(tmp_path, "live_psnr.csv", scores("live", rows=100)))])
    with pytest.raises(UsageError, match="no folder"):
        plots.check_target(tmp_path / "none" / "m.png", "--map")
    with pytest.raises(UsageError, match=r"ends in one of .*\.png"):
        plots.check_target(tmp_path / "m", "--map")


def test_formats(tmp_path):
    result = {"a": (np.array([1, 2.0]), np.array([30, 31.0])), "b": (np.array([1, 3.0]), np.array([29, 33.0]))}
    for name in ("c.png", "c.svg", "c.pdf"):
        plots.curves(tmp_path / name, "psnr", "better", result)
    assert (tmp_path / "c.svg").read_text().lstrip().startswith("<?xml") and (tmp_path / "c.pdf").read_bytes()[
        :4
    ] == b"%PDF"
