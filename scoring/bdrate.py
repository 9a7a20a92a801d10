"""Rate-distortion: how much bitrate one codec saves against another at the same score (Bjontegaard delta rate).

    python run_single_img.py --manifest pairs.csv -m st_vgg16 -d l2 --curve rd.png       pairs.csv: ref,dis,codec,bitrate

BD-rate of a test codec against the anchor, image by image: both curves log10(bitrate) as a function of the score, by
piecewise cubic Hermite interpolation (PCHIP, Fritsch and Carlson 1980), integrated over the scores they have in common;
10^(mean difference) - 1, in percent. Negative: the test codec needs less. Then the mean over images, with a bootstrap
interval over images. Sources: Bjontegaard, VCEG-M33, 2001 (with a cubic polynomial) and VCEG-AI11, 2008; PCHIP in its place:
ITU-T HSTP-VID-WPOM, 2020.
"""

import numpy as np

from common.errors import UsageError

LEAST_POINTS = 4


def bd_rate(anchor_rates, anchor_scores, test_rates, test_scores):
    """BD-rate in percent of one image: two curves of (points,) bitrates > 0 and scores.

    Raises ValueError: fewer than 4 points, a score that does not rise (or does not fall) with every step of the bitrate,
    scores that do not overlap.
    """
    from scipy.interpolate import PchipInterpolator

    curves, rises = [], []
    for rates, scores in ((anchor_rates, anchor_scores), (test_rates, test_scores)):
        rates, scores = np.asarray(rates, dtype=float), np.asarray(scores, dtype=float)
        if len(rates) < LEAST_POINTS:
            raise ValueError(f"{len(rates)} points on a curve, expected at least {LEAST_POINTS}")
        order = np.argsort(rates, kind="stable")
        steps = np.diff(scores[order])
        if not (np.diff(rates[order]) > 0).all() or not ((steps > 0).all() or (steps < 0).all()):
            raise ValueError("the score does not change in one direction with the bitrate")
        rises.append(bool(steps[0] > 0))
        by_score = np.argsort(scores)
        curves.append(PchipInterpolator(scores[by_score], np.log10(rates[by_score])))
    if rises[0] != rises[1]:
        raise ValueError("the score rises with the bitrate of one codec and falls with the other's")
    low, high = max(c.x[0] for c in curves), min(c.x[-1] for c in curves)
    if low >= high:
        raise ValueError("the two codecs have no scores in common")
    a, b = (float(c.integrate(low, high)) / (high - low) for c in curves)
    return 100 * (10 ** (b - a) - 1)


def points(pairs, scores):
    """{codec: {reference: (bitrates, scores), by rising bitrate}}."""
    found = {}
    for pair, score in zip(pairs, scores):
        found.setdefault(pair.group, {}).setdefault(pair.reference, []).append((pair.bitrate, score))
    return {
        codec: {reference: tuple(map(np.array, zip(*sorted(some)))) for reference, some in curves.items()}
        for codec, curves in found.items()
    }


def check(pairs, anchor=None):
    """UsageError, before anything is scored, where curves could not be drawn or compared: an unknown anchor, fewer than 4
    points on a curve, images of one codec with different numbers of points."""
    counts = {
        codec: {reference: len(rates) for reference, (rates, _) in images.items()}
        for codec, images in points(pairs, [0.0] * len(pairs)).items()
    }
    if anchor and anchor not in counts:
        raise UsageError(f"--anchor {anchor}: expected one of the codecs {', '.join(counts)}")
    for codec, images in counts.items():
        least, most = min(images, key=images.get), max(images, key=images.get)
        if images[least] < LEAST_POINTS:
            raise UsageError(
                f"codec {codec}: {images[least]} bitrates of {least}, expected at least {LEAST_POINTS} of every image; "
                "for means without bitrates, leave that column out"
            )
        if images[least] < images[most]:
            raise UsageError(
                f"codec {codec}: {images[least]} bitrates of {least}, but {images[most]} of {most}; "
                "expected every image at the same settings"
            )


def compare(pairs, scores, anchor=None):
    """BD-rate of every codec against the anchor (default: the first) -> [{codec, anchor, bd_rate, low, high, images, left_out}].

    bd_rate: mean over images in percent; low, high: 95 % bootstrap interval over images (BCa, 2000 resamples), None with one
    image; left_out: {reference: why it has no BD-rate}. Raises UsageError for a codec without one image that has a BD-rate.
    """
    from agreement.bootstrap import ratio, resample

    found = points(pairs, scores)
    anchor = anchor or next(iter(found))
    lines = []
    for codec, curves in found.items():
        if codec == anchor:
            continue
        values, left_out = [], {}
        for reference in dict.fromkeys([*found[anchor], *curves]):
            try:
                if reference not in curves or reference not in found[anchor]:
                    raise ValueError(f"there is no curve of {anchor if reference in curves else codec}")
                values.append(bd_rate(*found[anchor][reference], *curves[reference]))
            except ValueError as error:
                left_out[reference] = str(error)
        if not values:
            raise UsageError(
                f"BD-rate of {codec} against {anchor}: none of {len(left_out)} images has one; the first, "
                f"{next(iter(left_out))}: {next(iter(left_out.values()))}"
            )
        low = high = None
        if len(values) > 1:
            low, high = resample(ratio(np.array(values)[:, None], np.ones((len(values), 1))), len(values)).interval(0)
        lines.append(
            {
                "codec": codec,
                "anchor": anchor,
                "bd_rate": float(np.mean(values)),
                "low": low,
                "high": high,
                "images": len(values),
                "left_out": left_out,
            }
        )
    return lines


def mean_curves(pairs, scores):
    """{codec: (bitrates, scores)}: the k-th lowest bitrate of every image averaged, geometrically, and its score."""
    curves = {}
    for codec, images in points(pairs, scores).items():
        rates, values = (np.array(some) for some in zip(*images.values()))
        curves[codec] = np.exp(np.log(rates).mean(0)), values.mean(0)
    return curves


def report(pairs, scores, column, anchor=None):
    """What is printed of one score column: the mean curve of each codec, and the BD-rates."""
    text = [f"{column.name}: higher is {column.higher_is}; mean curves (bitrate: score)"]
    curves = mean_curves(pairs, scores)
    wide = max(map(len, curves))
    text += [
        f"{codec:{wide}}  " + "  ".join(f"{r:.4g}: {s:.5g}" for r, s in zip(*curve)) for codec, curve in curves.items()
    ]
    for e in compare(pairs, scores, anchor):
        interval = "no interval from one image" if e["low"] is None else f"{e['low']:+.1f} to {e['high']:+.1f} %"
        tie = "" if e["low"] is None or not e["low"] <= 0 <= e["high"] else ", a tie"
        text.append(
            f"BD-rate of {e['codec']} against {e['anchor']}: {e['bd_rate']:+.1f} % ({interval}{tie}), "
            f"{e['images']} images"
        )
        text += [f"  without {reference}: {why}" for reference, why in e["left_out"].items()]
    return "\n".join(text)
