"""pyiqa:NAME: its metrics equal pyiqa called alone, in every batch, with its direction; where it is missing, one line
says so.

The package is no requirement (its licence allows no commercial use), so most of this is skipped where it is not
installed.
"""

import importlib.util
import sys

import pytest
import torch
from made_photographs import pair

from common.errors import UsageError
from methods.build import build
from methods.model import Options
from scoring import Scorer

THERE = pytest.mark.skipif(
    importlib.util.find_spec("pyiqa") is None, reason="needs the package pyiqa, which is no requirement"
)
NO_DOWNLOAD = {
    "psnr": "better",
    "ssim": "better",
    "ms_ssim": "better",
    "fsim": "better",
    "vsi": "better",
    "gmsd": "worse",
}


def test_a_missing_package_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    monkeypatch.setitem(sys.modules, "pyiqa.default_model_configs", None)
    with pytest.raises(UsageError, match="the package pyiqa cannot be imported .*pip install pyiqa"):
        build(["pyiqa:psnr"], [], Options())


@THERE
@pytest.mark.parametrize("name", NO_DOWNLOAD)
def test_it_scores_as_pyiqa_alone(name):
    import pyiqa

    (x, y), (worse, _) = pair(180, 170), pair(180, 170, strength=60)
    metric, score = pyiqa.create_metric(name, device=torch.device("cpu")), Scorer(f"pyiqa:{name}")
    alone = [float(metric(image, y)) for image in (x, worse)]
    assert score(torch.cat([y, y]), torch.cat([x, worse])).tolist() == pytest.approx(alone, rel=1e-7)
    assert (score.column, score.higher_is) == (f"pyiqa-{name}", NO_DOWNLOAD[name])
    assert (alone[1] > alone[0]) == (score.higher_is == "worse")


@THERE
def test_what_is_refused():
    with pytest.raises(UsageError, match="unknown metric of pyiqa 'smis'.*ssim"):
        build(["pyiqa:smis"], [], Options())
    with pytest.raises(UsageError, match="niqe takes no reference"):
        build(["pyiqa:niqe"], [], Options())
    with pytest.raises(UsageError, match="takes? no distance"):
        build(["pyiqa:ssim"], ["l2"], Options())
