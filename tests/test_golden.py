"""The authors' method with the seeded checkpoints of ../shared, through run.py and --weights-dir.
Skips, saying so, without them.

One backbone by default, all of them with --slow (2 GB of checkpoints are written).
"""

import subprocess
import sys

import pytest
from places import ROOT, SHARED

pytestmark = [
    pytest.mark.numeric,
    pytest.mark.skipif(
        not SHARED.is_dir(), reason="the golden scores and TID2013 pairs lie in ../shared, which is not here"
    ),
]
OTHERS = ("dinov1", "dinov2", "imagenet_vit", "clip_vitb32", "clip_rn50", "openclip_convnext_base")


def check(folder, weights, *methods):
    tools = SHARED / "tools"
    subprocess.run([sys.executable, tools / "make_checkpoints.py", folder, *weights], check=True, capture_output=True)
    done = subprocess.run(
        [
            sys.executable,
            tools / "check_scores.py",
            SHARED / "golden" / "scores.csv",
            "--project",
            ROOT,
            "--weights-dir",
            folder,
            "--only",
            *methods,
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_r_clip_equals_the_golden_scores(tmp_path):
    name = "openclip_vitb32_laion_tecoa4"
    assert "2 of 2 methods agree" in check(tmp_path, [name], name, f"embed_{name}")


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_backbones_equal_the_golden_scores(tmp_path, name):
    assert "FAIL" not in check(tmp_path, [name], name, *([f"embed_{name}"] if name != "imagenet_vit" else []))
