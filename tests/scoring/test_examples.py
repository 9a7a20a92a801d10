"""The inputs of the examples in the docs, and the pictures there."""

import csv

import numpy as np
import pytest
from photographs import HERE, astronaut
from PIL import Image

from scoring import folders
from scripts import examples

PICTURES = ("map-blur", "map-blocks", "map-shift", "map-psnr", "rate-distortion", "demo_psnr", "aligned")


def test_local_damage_is_local():
    image = astronaut()
    left, top, right, bottom = box = (64, 56, 160, 152)
    for change in (examples.blurred, examples.blocky, examples.shifted):
        differ = (np.asarray(image) != np.asarray(examples.local(image, change, box))).any(2)
        assert differ[top:bottom, left:right].mean() > 0.5
        differ[top:bottom, left:right] = False
        assert not differ.any()
    moved = np.asarray(examples.shifted(image, 4))
    assert (moved[:, 4:] == np.asarray(image)[:, :-4]).all() and (moved[:, :4] == np.asarray(image)[:, :1]).all()


def test_codecs_make_folders_that_pair_and_a_manifest(tmp_path):
    astronaut(96, 80).save(tmp_path / "photograph.png")
    examples.codecs(tmp_path / "codecs", [tmp_path / "photograph.png"])
    pairs, alone = folders.pair_folders(
        tmp_path / "codecs/originals", [tmp_path / "codecs" / name for name in examples.CODECS]
    )
    assert len(pairs) == 3 and not alone
    pairs = folders.read_manifest(tmp_path / "codecs/pairs.csv")
    assert len(pairs) == 18 and {p.group for p in pairs} == set(examples.CODECS)
    with open(tmp_path / "codecs/pairs.csv", newline="") as file:
        for row in csv.DictReader(file):
            bits = 8 * (tmp_path / "codecs" / row["dis"]).stat().st_size
            assert float(row["bitrate"]) == pytest.approx(bits / (96 * 80), abs=1e-4)


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_small_and_in_the_script(name):
    path = HERE / "docs" / "images" / f"{name}.png"
    assert path.stat().st_size < 300_000 and min(Image.open(path).size) > 200
    assert f"{name}.png" in (HERE / "scripts/pictures.sh").read_text()
