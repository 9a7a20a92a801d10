"""Several processes: torchrun and --shard give the scores of a single process;
--noise-floor gives a score a reference."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from places import ROOT

METHOD = ["-m", "timm:test_vit.r160_in1k", "--weights", "random", "-d", "l2", "-rob", "none", "tra"]
FILES = ("made_timm-test_vit.r160_in1k-random_l2.csv", "made_timm-test_vit.r160_in1k-random_l2_tra-1.csv")


def run(*arguments, launcher=()):
    done = subprocess.run(
        [sys.executable, *launcher, ROOT / "run.py", *map(str, arguments)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A CSV dataset of four references with three distorted images each, and its scores by a single process."""
    folder, random = tmp_path_factory.mktemp("made"), np.random.default_rng(0)
    rows = ["dis,ref,dmos"]
    for r in range(4):
        pixels = random.integers(0, 256, (240, 250, 3))
        for d in range(4):
            noisy = pixels + random.normal(0, 20 * d, pixels.shape)
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{r}{d}.png")
            rows += [f"{r}{d}.png,{r}0.png,{d + random.random() / 2}"] if d else []
    random.shuffle(body := rows[1:])  # pairs of one reference are not neighbours
    (folder / "made.csv").write_text("\n".join(rows[:1] + body) + "\n")
    run("-dat", folder / "made.csv", *METHOD, "-sdir", folder / "one")
    return folder


def same(made, other):
    for name in FILES:
        one, two = pd.read_csv(made / "one" / name), pd.read_csv(other / name)
        assert one[["dis", "ref", "mos"]].equals(two[["dis", "ref", "mos"]]) and len(one) == 12
        assert np.allclose(one["pred"], two["pred"], rtol=1e-6)


@pytest.mark.numeric
def test_torchrun_gives_the_scores_of_one_process(made, tmp_path):
    printed = run(
        "-dat",
        made / "made.csv",
        *METHOD,
        "-sdir",
        tmp_path,
        launcher=["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"],
    )
    same(made, tmp_path)
    assert printed.count("PLCC") == 1  # one process speaks


@pytest.mark.numeric
def test_shards_are_joined_when_all_are_there(made, tmp_path):
    run("-dat", made / "made.csv", *METHOD, "-sdir", tmp_path, "--shard", "2/2")
    assert not (tmp_path / FILES[0]).exists()
    run("-dat", made / "made.csv", *METHOD, "-sdir", tmp_path, "--shard", "1/2")
    same(made, tmp_path)
    assert not list(tmp_path.glob("*.partial*"))


def test_the_noise_floor_is_each_reference_against_its_perturbed_self(made, tmp_path):
    run("-dat", made / "made.csv", "-m", "psnr", "-rob", "none", "tra", "-sdir", tmp_path, "--noise-floor")
    plain, moved = (pd.read_csv(tmp_path / f"made_psnr{s}.floor.csv") for s in ("", "_tra-1"))
    assert len(plain) == len(moved) == 4 and (plain["dis"] == plain["ref"]).all()
    assert np.allclose(plain["pred"], 80) and (moved["pred"] < 40).all()
