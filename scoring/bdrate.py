"""Rate-distortion: how much bitrate one codec saves against another at the same score (Bjontegaard delta rate).

    python run_single_img.py --manifest pairs.csv -m st_vgg16 -d l2 --curve rd.png    pairs.csv: ref,dis,codec,bitrate

BD-rate of a test codec against the anchor, image by image: both curves log10(bitrate) as a function of the score, by
piecewise interpolation (PCHIP, Fritsch and Carlson 1980, or Akima 1970), integrated over the scores they have in
common; 10^(mean difference) - 1, in percent. Negative: the test codec needs less. Over images: the mean of the log-rate
differences with Student's interval (images - 1 degrees of freedom), turned into percent; no interval from fewer than 3
images. Sources: Bjontegaard, VCEG-M33, 2001 (with a cubic polynomial) and VCEG-AI11, 2008; PCHIP in its place: ITU-T
HSTP-VID-WPOM, 2020;
Akima: Herglotz et al. 2024, "The Bjontegaard Bible", IEEE Transactions on Image Processing 33.
"""

from collections.abc import Sequence

import numpy as np

from common.errors import UsageError
from common.text import number
from methods.model import Column
from scoring.folders import FilePair

LEAST_POINTS = 4
LEAST_IMAGES = 3  # of an interval: with 2, one degree of freedom says nothing
INTERPOLATIONS = ("pchip", "akima")
SMALL_OVERLAP, LEAST_OVERLAP = 0.25, 0.05  # of the scores of both curves: below, a warning; below, no BD-rate
APART = 2.0  # percent: interpolations that differ by more are both shown


def log_rate_difference(anchor_rates, anchor_scores, test_rates, test_scores, interpolation="pchip"):
    """Mean log10 of test rate / anchor rate at the same score, of one image, and the overlap of the two curves.

    Curves of (points,) bitrates > 0 and scores. The overlap is the range of scores in common over that of both
    together. Raises ValueError: fewer than 4 points, a score that does not rise (or does not fall) with every step of
    the bitrate, scores that overlap in less than LEAST_OVERLAP.
    """
    from scipy.interpolate import Akima1DInterpolator, PchipInterpolator

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
        family = {"pchip": PchipInterpolator, "akima": Akima1DInterpolator}[interpolation]
        curves.append(family(scores[by_score], np.log10(rates[by_score])))
    if rises[0] != rises[1]:
        raise ValueError("the score rises with the bitrate of one codec and falls with the other's")
    ends = np.array([[c.x[0], c.x[-1]] for c in curves])
    low, high = ends[:, 0].max(), ends[:, 1].min()
    overlap = (high - low) / (ends[:, 1].max() - ends[:, 0].min())
    if low >= high:
        raise ValueError("the two codecs have no scores in common")
    if overlap < LEAST_OVERLAP:
        raise ValueError(
            f"the two codecs have {100 * overlap:.2g} % of their scores in common, expected at least "
            f"{100 * LEAST_OVERLAP:g} %: choose bitrates that give like scores"
        )
    a, b = (float(c.integrate(low, high)) / (high - low) for c in curves)
    return b - a, float(overlap)


def bd_rate(anchor_rates, anchor_scores, test_rates, test_scores, interpolation="pchip"):
    """BD-rate in percent of one image: two curves of (points,) bitrates > 0 and scores.
    Raises as log_rate_difference."""
    return percent(log_rate_difference(anchor_rates, anchor_scores, test_rates, test_scores, interpolation)[0])


def percent(log_rate):
    """log10 of a ratio of bitrates -> change in percent."""
    return 100 * (10**log_rate - 1)


def points(pairs, scores) -> dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """{codec: {reference: (bitrates, scores), by rising bitrate}}."""
    by_group = {}
    for pair, score in zip(pairs, scores):
        by_group.setdefault(pair.group, {}).setdefault(pair.reference, []).append((pair.bitrate, score))
    return {
        codec: {reference: curve(measured) for reference, measured in curves.items()}
        for codec, curves in by_group.items()
    }


def curve(measured):
    """[(bitrate, score)] -> (bitrates, scores), by rising bitrate."""
    rates, scores = zip(*sorted(measured))
    return np.array(rates), np.array(scores)


def check(pairs: Sequence[FilePair], anchor: str | None = None) -> None:
    """UsageError, before anything is scored, where curves could not be drawn or compared: an unknown anchor, fewer than
    4 points on a curve, images of one codec with different numbers of points."""
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


def compare(
    pairs: Sequence[FilePair], scores: Sequence[float], anchor: str | None = None, interpolation: str = "pchip"
) -> list[dict]:
    """BD-rate of every codec against the anchor (default: the first) -> [{codec, anchor, bd_rate, low, high, ...}].

    bd_rate: of the mean log-rate difference over images, in percent; low, high: 95 % interval, Student's t on the
    images' log-rate differences, None below LEAST_IMAGES; images: how many; left_out: {reference: why it has no
    BD-rate};
    small_overlap: {reference: share of scores in common, below SMALL_OVERLAP}; interpolation, and other: the mean by
    the other one. Raises UsageError for a codec without one image that has a BD-rate.
    """
    from scipy import stats

    points_of = points(pairs, scores)
    anchor = anchor or next(iter(points_of))
    [another] = set(INTERPOLATIONS) - {interpolation}
    lines = []
    for codec, curves in points_of.items():
        if codec == anchor:
            continue
        values, others, left_out, small = [], [], {}, {}
        for reference in dict.fromkeys([*points_of[anchor], *curves]):
            try:
                if reference not in curves or reference not in points_of[anchor]:
                    raise ValueError(f"there is no curve of {anchor if reference in curves else codec}")
                both = (*points_of[anchor][reference], *curves[reference])
                value, overlap = log_rate_difference(*both, interpolation)
                values.append(value)
                others.append(log_rate_difference(*both, another)[0])
                if overlap < SMALL_OVERLAP:
                    small[reference] = overlap
            except ValueError as error:
                left_out[reference] = str(error)
        if not values:
            raise UsageError(
                f"BD-rate of {codec} against {anchor}: none of {len(left_out)} images has one; the first, "
                f"{next(iter(left_out))}: {next(iter(left_out.values()))}"
            )
        low = high = None
        if len(values) >= LEAST_IMAGES:
            half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
            low, high = (float(percent(np.mean(values) + sign * half)) for sign in (-1, 1))
        lines.append(
            {
                "codec": codec,
                "anchor": anchor,
                "bd_rate": float(percent(np.mean(values))),
                "low": low,
                "high": high,
                "images": len(values),
                "left_out": left_out,
                "small_overlap": small,
                "interpolation": interpolation,
                "other": {another: float(percent(np.mean(others)))},
            }
        )
    return lines


def mean_curves(pairs: Sequence[FilePair], scores: Sequence[float]) -> dict[str, tuple]:
    """{codec: (bitrates, scores)}: the k-th lowest bitrate of every image averaged, geometrically, and its score."""
    curves = {}
    for codec, images in points(pairs, scores).items():
        rates, values = (np.array(some) for some in zip(*images.values()))
        curves[codec] = np.exp(np.log(rates).mean(0)), values.mean(0)
    return curves


def report(
    pairs: Sequence[FilePair],
    scores: Sequence[float],
    column: Column,
    anchor: str | None = None,
    interpolation: str = "pchip",
) -> str:
    """What is printed of one score column: the mean curve of each codec, and the BD-rates."""
    text = [f"{column.name}: higher is {column.higher_is}; mean curves (bitrate: score)"]
    curves = mean_curves(pairs, scores)
    wide = max(map(len, curves))
    text += [
        f"{codec:{wide}}  " + "  ".join(f"{r:.4g}: {s:.5g}" for r, s in zip(*curve)) for codec, curve in curves.items()
    ]
    for e in compare(pairs, scores, anchor, interpolation):
        if e["low"] is None:
            interval = f"no interval from {e['images']} image{'s' if e['images'] > 1 else ''}"
        else:
            interval = f"{number(e['low'], 1, '+')} to {number(e['high'], 1, '+')} %"
            interval += ", not shown different" if e["low"] <= 0 <= e["high"] else ""
        images = f"{e['images']} image{'s' if e['images'] > 1 else ''}"
        rate = number(e["bd_rate"], 1, "+")
        text.append(f"BD-rate of {e['codec']} against {e['anchor']}: {rate} % ({interval}), {images}")
        [(another, other)] = e["other"].items()
        if abs(other - e["bd_rate"]) > APART:
            apart = f"{number(other, 1, '+')} %; give more bitrates for a surer figure"
            text.append(f"  by {another} in place of {interpolation}: {apart}")
        text += [
            f"  warning: {reference}: the codecs have only {100 * overlap:.0f} % of their scores in common"
            for reference, overlap in e["small_overlap"].items()
        ]
        text += [f"  without {reference}: {why}" for reference, why in e["left_out"].items()]
    return "\n".join(text)
