"""robustness.py: torchvision as the independent implementation, the released hashes,
and what each perturbation leaves alone."""

import csv
import hashlib
import math

import numpy as np
import pytest
from PIL import Image
from places import SHARED
from torchvision.transforms import InterpolationMode, functional

from robustness import PERTURBATIONS, perturb

SIZES = [(512, 384), (288, 288), (301, 255)]


def photograph(width, height):
    from skimage import data

    return Image.fromarray(data.astronaut()).crop((0, 0, 512, 512)).resize((width, height))


@pytest.mark.parametrize("width, height", SIZES)
@pytest.mark.parametrize("pct", [1, 2.5])
def test_translation_crops_the_two_on_opposite_sides(width, height, pct):
    image, shift = photograph(width, height), math.ceil(pct / 100 * width)
    pixels = np.asarray(image)
    assert np.array_equal(np.asarray(perturb(image, "reference", "tra", pct)), pixels[:, : width - shift])
    assert np.array_equal(np.asarray(perturb(image, "distorted", "tra", pct)), pixels[:, shift:])


@pytest.mark.parametrize("width, height", SIZES)
@pytest.mark.parametrize("pct", [1, 3])
def test_dilation_is_resize_and_centre_crop(width, height, pct):
    image = photograph(width, height)
    grown = [side + 2 * math.ceil(pct * side / 200) for side in (height, width)]
    large = functional.resize(image, grown, InterpolationMode.BILINEAR)
    want = functional.resize(
        functional.center_crop(large, [2 * math.ceil(height / 2), 2 * math.ceil(width / 2)]),
        [height, width],
        InterpolationMode.BILINEAR,
    )
    result = perturb(image, "distorted", "sca", pct)
    assert result.size == image.size
    if width % 2 == height % 2 == 0:  # where a side is odd torchvision rounds the crop's corner another way
        assert np.array_equal(np.asarray(result), np.asarray(want))


@pytest.mark.parametrize("width, height", SIZES)
def test_rotation_is_clockwise_nearest_and_black_outside(width, height):
    image = photograph(width, height)
    result = np.asarray(perturb(image, "distorted", "rot", 1))
    assert np.array_equal(result, np.asarray(functional.rotate(image, -1, InterpolationMode.NEAREST)))
    assert not result[0, -1].any() or not result[0, 0].any()


def test_what_a_quarter_of_a_percent_does_to_288_pixels():
    """docs/align.md: a dilation is by two pixels, as at 0.5 %; a rotation leaves 63 % of the pixels where they were."""
    numbers = Image.fromarray(np.arange(288 * 288, dtype=np.int32).reshape(288, 288))
    same = np.asarray(perturb(numbers, "distorted", "rot", 0.25)) == np.asarray(numbers)
    assert round(100 * same.mean()) == 63
    assert len({perturb(numbers, "distorted", "sca", pct).tobytes() for pct in (0.25, 0.5)}) == 1


def test_what_is_left_alone():
    image = photograph(64, 48)
    assert all(perturb(image, "reference", name, 1) is image for name in ("none", "sca", "rot"))
    assert perturb(image, "distorted", "none", 1) is image
    assert set(PERTURBATIONS) == {"none", "tra", "sca", "rot"}


@pytest.mark.skipif(
    not SHARED.is_dir(), reason="the TID2013 images and their hashes lie in ../shared, which is not here"
)
def test_released_images_to_the_byte():
    folders = {"reference": "reference_images", "distorted": "distorted_images"}
    with open(SHARED / "golden" / "perturbations.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        image = Image.open(SHARED / "data" / "TID2013" / folders[row["role"]] / row["image"]).convert("RGB")
        result = perturb(image, row["role"], row["perturbation"], float(row["pct"]))
        assert result.size == (int(row["width"]), int(row["height"]))
        assert hashlib.sha256(result.tobytes()).hexdigest() == row["sha256_rgb"], row
    assert len(rows) >= 28
