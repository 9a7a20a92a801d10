"""Made-up images and datasets of them for bench.py: seeded, of the shape of PIPAL's."""

import os
from pathlib import Path

SIDE, WINDOWS = 288, 4  # a PIPAL image and its windows


def images(folder: Path, n: int, kind: str = "bmp") -> list[str]:
    """Paths of n + 1 image files of SIDE x SIDE, a reference first: smooth noise, then with more and more noise.
    kind: the ending of their names, a format."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    base = Image.fromarray(random.integers(0, 256, (36, 36, 3), dtype=np.uint8)).resize(
        (SIDE, SIDE), Image.Resampling.BICUBIC
    )
    pixels, paths = np.asarray(base, dtype=float), []
    for i in range(n + 1):
        noisy = pixels + random.normal(0, i, pixels.shape)
        paths.append(str(folder / f"{i:05d}.{kind}"))
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(paths[-1])
    return paths


def dataset(folder: Path, pairs: int, per_reference: int = 20) -> Path:
    """The CSV file of a dataset of so many pairs, files of their own each, whose pictures repeat."""
    reference, *distorted = images(folder, per_reference)
    lines = ["dis,ref,dmos"]
    for i in range(pairs):
        names = f"d{i}.bmp", f"r{i // per_reference}.bmp"
        os.link(distorted[i % per_reference], folder / names[0])
        if i % per_reference == 0:
            os.link(reference, folder / names[1])
        lines.append(f"{names[0]},{names[1]},{i}")
    path = folder / "made.csv"
    path.write_text("\n".join(lines) + "\n")
    return path
