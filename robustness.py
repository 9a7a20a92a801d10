"""Imperceptible perturbations of a pair of PIL images: translation, dilation, rotation (paper, section 3.3).

Each works on the 8-bit image, before the conversion to float; magnitude `pct` in percent (degrees for the rotation).
None stands for "this image stays as it is", so that a reference's features serve every perturbation that leaves it
alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # named in annotations only
    from PIL import Image


def crop_right(image, pct):
    """Columns [0, W - o), o = ceil(pct/100 W)."""
    width, height = image.size
    return image.crop((0, 0, width - math.ceil(pct / 100 * width), height))


def crop_left(image, pct):
    """Columns [o, W), o = ceil(pct/100 W)."""
    width, height = image.size
    return image.crop((math.ceil(pct / 100 * width), 0, width, height))


def dilate(image, pct):
    """Resize (bilinear) by pct rounded up to an even number of pixels, crop the centre,
    resize back where odd sizes need it."""
    from PIL.Image import Resampling

    width, height = image.size

    def grown(side):
        return side + 2 * math.ceil(pct / 100 * side / 2)

    def centre(side):
        return grown(side) // 2 - math.ceil(side / 2), grown(side) // 2 + math.ceil(side / 2)

    (left, right), (top, bottom) = centre(width), centre(height)
    image = image.resize((grown(width), grown(height)), Resampling.BILINEAR).crop((left, top, right, bottom))
    return image if image.size == (width, height) else image.resize((width, height), Resampling.BILINEAR)


def rotate(image, pct):
    """Turn by pct degrees clockwise about the centre, nearest neighbour, same size, corners black."""
    from PIL.Image import Resampling

    return image.rotate(-pct, Resampling.NEAREST)


@dataclass(frozen=True)
class Perturbation:
    """What is done to the reference and to the distorted image; None: nothing."""

    what: str
    reference: Callable | None = None
    distorted: Callable | None = None


PERTURBATIONS = {
    "none": Perturbation("as it is"),
    "tra": Perturbation("translation: the two images cropped on opposite sides", crop_right, crop_left),
    "sca": Perturbation("dilation of the distorted image, same size", None, dilate),
    "rot": Perturbation("rotation of the distorted image, same size", None, rotate),
}


def perturb(image: Image.Image, role: str, perturbation: str, pct: float) -> Image.Image:
    """The image in its role ('reference' or 'distorted') under a perturbation of PERTURBATIONS
    with magnitude pct > 0."""
    change = getattr(PERTURBATIONS[perturbation], role)
    return image if change is None else change(image, pct)
