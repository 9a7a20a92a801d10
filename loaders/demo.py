"""The embedded dataset `demo`: photographs that scikit-image carries, distorted in five ways at five strengths.
No download.

Five photographs, cropped to 288 x 288, under Gaussian noise, Gaussian blur, JPEG, JPEG 2000 and loss of contrast:
125 pairs. The label is the strength, 1 (barely visible) to 5 (strong): NOT a human opinion, and one level of two
distortions is not equally visible. Made once into a cache folder as PNG: $IQA_CACHE, else $XDG_CACHE_HOME/iqa-bench,
else ~/.cache/iqa-bench.

    python datasets.py demo     makes it if need be, and prints its pairs
"""

import io
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import UsageError
from common.files import why
from loaders.pairs import Row

if TYPE_CHECKING:
    import numpy as np

SIDE = 288
PHOTOGRAPHS = {  # file, left, top: the crop is central, but for the astronaut, whose face is at the top
    "astronaut": ("astronaut.png", 96, 0),
    "chelsea": ("chelsea.png", 81, 6),
    "coffee": ("coffee.png", 156, 56),
    "rocket": ("rocket.jpg", 176, 69),
    "motorcycle": ("motorcycle_left.png", 226, 106),
}


def noise(pixels: "np.ndarray", sigma: float, seed: int | Sequence[int]) -> "np.ndarray":
    """Pixels (H, W, 3), 0 to 255, with normal noise of that standard deviation; not rounded, not clipped."""
    import numpy as np

    return pixels + np.random.default_rng(seed).normal(0, sigma, pixels.shape)


def blur(pixels, sigma, seed):
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(pixels, (sigma, sigma, 0))


def jpeg(pixels, quality, seed):
    return through_codec(pixels, "JPEG", quality=quality)


def jp2k(pixels, ratio, seed):
    return through_codec(pixels, "JPEG2000", quality_mode="rates", quality_layers=[ratio], irreversible=True)


def contrast(pixels, factor, seed):
    return pixels.mean() + factor * (pixels - pixels.mean())


def through_codec(pixels, codec, **options):
    import numpy as np
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(stream, codec, **options)
    return np.asarray(Image.open(stream).convert("RGB"), dtype=float)


DISTORTIONS = {  # name: the function, and its strength at the levels 1 to 5
    "noise": (noise, (3, 6, 11, 20, 36)),  # standard deviation, of 255
    "blur": (blur, (0.5, 0.9, 1.5, 2.5, 4.0)),  # sigma in pixels
    "jpeg": (jpeg, (80, 45, 22, 11, 5)),  # libjpeg quality
    "jp2k": (jp2k, (10, 22, 45, 90, 170)),  # compression ratio
    "contrast": (contrast, (0.9, 0.78, 0.63, 0.46, 0.28)),  # factor on the deviation from the image's mean
}
NAME = rf"\w+_({'|'.join(DISTORTIONS)})_[1-5]\.png"


def photograph(file: str, left: int, top: int) -> "np.ndarray":
    """A crop from a photograph in scikit-image's wheel -> float array (SIDE, SIDE, 3), 0 to 255."""
    import numpy as np
    import skimage

    from common.images import open_rgb

    img = open_rgb(Path(skimage.__file__).parent / "data" / file)
    return np.asarray(img.crop((left, top, left + SIDE, top + SIDE)), dtype=float)


def folder():
    """Where the dataset is or will be."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("IQA_CACHE") or Path(cache) / "iqa-bench") / "demo-v1"


def build() -> Path:
    """Make the dataset unless it is there -> its folder. It appears under its name only when whole.
    Raises UsageError."""
    home = folder()
    if home.is_dir():
        return home
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(prefix="demo-", dir=home.parent))
    except OSError as error:
        raise UsageError(
            f"dataset demo: cannot write {home.parent} ({why(error)}); name another folder by IQA_CACHE"
        ) from None
    try:
        make(making)
        try:
            making.rename(home)
        except OSError:
            if not home.is_dir():  # else another process was faster, with the same images
                raise
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return home


def make(root):
    import numpy as np
    from PIL import Image

    (root / "reference").mkdir()
    (root / "distorted").mkdir()
    for number, (name, where) in enumerate(PHOTOGRAPHS.items()):
        pixels = photograph(*where)
        Image.fromarray(pixels.astype(np.uint8)).save(root / "reference" / f"{name}.png")
        for kind, (distort, strengths) in DISTORTIONS.items():
            for level, strength in enumerate(strengths, 1):
                changed = distort(pixels, strength, seed=(number, level)).round().clip(0, 255)
                file = root / "distorted" / f"{name}_{kind}_{level}.png"
                Image.fromarray(changed.astype(np.uint8)).save(file, compress_level=1)


def rows(root: Path) -> Iterator[Row]:
    """The 125 pairs -> loaders.pairs.Row, photograph by photograph, distortion by distortion, weak to strong."""
    for name in PHOTOGRAPHS:
        for kind, (_, strengths) in DISTORTIONS.items():
            for level in range(1, len(strengths) + 1):
                yield Row(str(root), f"distorted/{name}_{kind}_{level}.png", f"reference/{name}.png", float(level))
