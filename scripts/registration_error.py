"""How near align() comes to the true map: on every pair of `demo`, under each perturbation, whose maps are known.

    python scripts/registration_error.py                     none, and tra sca rot at 0.5 1 2 3 %
    python scripts/registration_error.py tra-1 rot-2         these
    python scripts/registration_error.py --others rot-1      on twelve other photographs, for which nothing was chosen
    python scripts/registration_error.py --scores sca-1 rot-1     SRCC of psnr, msssim and fsim under the true map

A line a perturbation: pairs moved; the largest error at a corner, in pixels, of the map found (the identity where
nothing was done): median, 95 %, largest; pairs moved in a wrong way by more than 3 pixels; seconds a pair of one
core."""

import argparse
import math
import re
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as `python scripts/...`, the rooms are not on the path

from common.terminal import need  # noqa: E402

if __name__ == "__main__":
    need("numpy", "cv2")  # before the imports that fail without

import numpy as np  # noqa: E402

from common.images import open_rgb  # noqa: E402
from common.terminal import Parser, run_main  # noqa: E402
from robustness import PERTURBATIONS, perturb  # noqa: E402
from scoring.registration import align, farthest  # noqa: E402

CELLS = ["none-0"] + [f"{name}-{pct}" for name in ("tra", "sca", "rot") for pct in (0.5, 1, 2, 3)]

OTHERS = (
    *("camera.png", "coins.png", "hubble_deep_field.jpg", "brick.png", "grass.png", "gravel.png"),
    *("moon.png", "page.png", "retina.jpg", "ihc.png", "text.png", "clock_motion.png"),
)


def true_map(name, pct, width, height):
    """The map from a pixel of the reference to where robustness.py puts it in the distorted image, (2, 3); pixels are
    counted from the centre of the first. width, height: before the perturbation.

    tra: the two crops are o = ceil(pct/100 W) columns apart. sca: of L pixels, grown to G by a resize whose pixel
    centres go from x to (x + 1/2) G / L - 1/2, the n = 2 ceil(L/2) in the centre; an odd L makes n = L + 1, which
    another resize brings to L. rot: about the middle of the image, (L - 1) / 2; nearest neighbour, whose rounding is
    to both sides alike."""
    if name == "none":
        return np.eye(2, 3)
    if name == "tra":
        return np.array([[1, 0, -math.ceil(pct / 100 * width)], [0, 1, 0]], float)
    if name == "rot":
        cos, sin = math.cos(math.radians(pct)), math.sin(math.radians(pct))
        turned, middle = np.array([[cos, -sin], [sin, cos]]), np.array([(width - 1) / 2, (height - 1) / 2])
        return np.column_stack([turned, middle - turned @ middle])
    matrix = np.zeros((2, 3))
    for axis, side in enumerate((width, height)):
        grown = side + 2 * math.ceil(pct / 100 * side / 2)
        side_kept = 2 * math.ceil(side / 2)
        first = grown // 2 - side_kept // 2
        scale = grown / side * side / side_kept
        matrix[axis, axis] = scale
        matrix[axis, 2] = 0.5 * scale - first * side / side_kept - 0.5
    return matrix


def pairs():
    """[(name, reference, distorted)] of demo."""
    import datasets

    dataset = datasets.load("demo", "data")
    return [(Path(p.dis).stem, open_rgb(dataset.path(p.ref)), open_rgb(dataset.path(p.dis))) for p in dataset.pairs]


def others(width=192, height=160, levels=(2, 4, 5)):
    """The same of the middle of other photographs that scikit-image carries, damaged as demo's."""
    import skimage
    from PIL import Image

    from loaders import demo

    for file in OTHERS:
        photograph = open_rgb(Path(skimage.__file__).parent / "data" / file)
        left, top = (photograph.width - width) // 2, (photograph.height - height) // 2
        reference = photograph.crop((left, top, left + width, top + height))
        for kind, (distort, strengths) in demo.DISTORTIONS.items():
            for level in levels:
                pixels = distort(np.asarray(reference, float), strengths[level - 1], seed=(1, level)).round()
                distorted = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
                yield f"{Path(file).stem}_{kind}_{level}", reference, distorted


def measure(name, pct, images, mode="similarity"):
    """-> [(name, Alignment, error in pixels, seconds)] of the images under a perturbation."""
    rows = []
    for pair, reference, distorted in images:
        truth = true_map(name, pct, *reference.size)
        seen = perturb(reference, "reference", name, pct), perturb(distorted, "distorted", name, pct)
        begin = time.process_time()
        alignment = align(*seen, mode)
        rows.append(
            (
                pair,
                alignment,
                farthest(alignment.map, truth, alignment.width, alignment.height),
                time.process_time() - begin,
            )
        )
    return rows


def scores(name, pct, images):
    """{method: SRCC with the strength} when the true map is undone: what is lost now, the perturbation itself did."""
    from agreement.correlations import srcc
    from scoring import Scorer
    from scoring.registration import Registration

    coefficients = {}
    for method in ("psnr", "msssim", "fsim"):
        scorer, values = Scorer(method), []
        for _, reference, distorted in images:
            truth = true_map(name, pct, *reference.size)
            seen = perturb(reference, "reference", name, pct), perturb(distorted, "distorted", name, pct)
            seen = Registration(truth, *seen[0].size, 1.0, True, "").apply(*seen)
            values.append(scorer(*seen).item() * (-1 if scorer.higher_is == "better" else 1))
        coefficients[method] = srcc(np.array(values), np.array([float(pair[-1]) for pair, _, _ in images]))
    return coefficients


def cell(text):
    """'sca-0.5' or 'none', as they are; anything else is no perturbation with a magnitude."""
    name, _, pct = text.partition("-")
    if text != "none" and not (name in PERTURBATIONS and re.fullmatch(r"\d+(\.\d+)?", pct) and 0 < float(pct) < 50):
        raise argparse.ArgumentTypeError(
            f"expected none, or a perturbation and a magnitude below 50, such as sca-0.5, found {text!r}"
        )
    return text


def main(argv=None):
    import cv2

    cv2.setNumThreads(1)
    parser = Parser(__doc__)
    parser.add_argument(
        "perturbations", nargs="*", type=cell, default=list(CELLS), metavar="NAME-PCT", help="as sca-0.5"
    )
    parser.add_argument("--others", action="store_true", help="photographs that are not among those of demo")
    parser.add_argument("--scores", action="store_true", help="score under the true map instead")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args(argv)
    images = list(others()) if args.others else pairs()
    if args.scores:
        for perturbation in args.perturbations:
            name, _, pct = perturbation.partition("-")
            coefficients = scores(name, float(pct or 0), images)
            print(perturbation, *(f"{method} {value:.3f}" for method, value in coefficients.items()), flush=True)
        return
    print(f"{'':8}{'moved':>9}{'median':>8}{'95 %':>8}{'largest':>9}{'wrong':>7}{'seconds':>9}")
    for perturbation in args.perturbations:
        name, _, pct = perturbation.partition("-")
        rows = measure(name, float(pct or 0), images)
        errors = np.array([error for _, _, error, _ in rows])
        moved = [alignment.done for _, alignment, _, _ in rows]
        wrong = sum(error > 3 for error, done in zip(errors, moved) if done)
        print(
            f"{perturbation:8}{sum(moved):5}/{len(rows)}{np.median(errors):8.2f}{np.percentile(errors, 95):8.2f}"
            f"{errors.max():9.2f}{wrong:7}{np.mean([seconds for *_, seconds in rows]):9.3f}",
            flush=True,
        )


if __name__ == "__main__":
    run_main(main)
