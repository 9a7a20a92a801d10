"""BD-rate: against the package bjontegaard's figure, exact cases, and manifests with bitrates from end to end."""

import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from photographs import astronaut, printed
from PIL import Image

import run_single_img
from common.errors import UsageError
from scoring import bdrate
from scoring.folders import FilePair

# Rates (kbit/s) and PSNR of two encodings at four settings, made up in the usual range of the literature
ANCHOR = [686.76, 309.58, 157.11, 85.95], [40.28, 37.18, 34.24, 31.42]
TEST = [893.34, 407.8, 204.93, 112.75], [40.39, 37.21, 34.17, 31.24]


def test_the_figure_of_another_implementation():
    """bjontegaard 1.3.0 from the package index, bd_rate(..., method="pchip"),
    gave 31.379878202397627 for these curves."""
    assert bdrate.bd_rate(*ANCHOR, *TEST) == pytest.approx(31.379878202397627, rel=1e-12)


def test_a_cubic_polynomial_is_near():
    """Bjontegaard's own cubic: log-rate as a cubic polynomial of the score, integrated over the scores in common."""
    integrals = []
    low, high = 31.42, 40.28
    for rates, scores in (ANCHOR, TEST):
        integral = np.polynomial.Polynomial.fit(scores, np.log10(rates), 3).integ()
        integrals.append((integral(high) - integral(low)) / (high - low))
    cubic = 100 * (10 ** (integrals[1] - integrals[0]) - 1)
    assert bdrate.bd_rate(*ANCHOR, *TEST) == pytest.approx(cubic, abs=0.1)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.1, 5), min_size=4, max_size=8), st.floats(0.2, 5), st.booleans(), st.randoms())
def test_a_constant_saving_is_found_exactly(steps, factor, falls, random):
    scores = np.cumsum(steps) * (-1 if falls else 1)
    rates = 2.0 ** np.arange(len(steps))
    order = list(range(len(steps)))
    random.shuffle(order)
    assert bdrate.bd_rate(rates, scores, factor * rates[order], scores[order]) == pytest.approx(
        100 * (factor - 1), abs=1e-6
    )


@pytest.mark.parametrize(
    "rates, scores, message",
    [
        ([1, 2, 3], [1, 2, 3], "3 points"),
        ([1, 2, 3, 4], [1, 3, 2, 4], "one direction"),
        ([1, 2, 2, 4], [1, 2, 3, 4], "one direction"),
        ([1, 2, 3, 4], [51, 52, 53, 54], "no scores in common"),
        ([1, 2, 3, 4], [40, 38, 36, 34], "falls with the other"),
    ],
)
def test_curves_without_a_bd_rate(rates, scores, message):
    with pytest.raises(ValueError, match=message):
        bdrate.bd_rate(*ANCHOR, rates, scores)


def made(savings, images=12, seed=0):
    """Pairs and scores of codecs that need (1 + saving) of the anchor's rate, give or take 5 % an image."""
    rng = np.random.default_rng(seed)
    pairs, scores = [], []
    for i in range(images):
        for codec, saving in {"anchor": 0.0, **savings}.items():
            factor = 1 + saving + (rng.normal(0, 0.05) if codec != "anchor" else 0)
            for rate, score in zip(*ANCHOR):
                pairs.append(FilePair(f"r{i}", f"{codec}{i}-{rate}", codec, rate * factor))
                scores.append(score)
    return pairs, scores


def test_mean_and_interval():
    better, same = bdrate.compare(*made({"better": -0.3, "same": 0.0}))
    assert better["bd_rate"] == pytest.approx(-30, abs=5) and better["high"] < -20 and better["images"] == 12
    assert same["low"] < 0 < same["high"]
    text = bdrate.report(
        *made({"better": -0.3, "same": 0.0}), type("Column", (), {"name": "psnr", "higher_is": "better"})
    )
    assert ["not shown different" in line for line in text.splitlines()[-2:]] == [False, True]


def test_an_image_without_a_bd_rate_is_named():
    pairs, scores = made({"test": 0.1}, images=3)
    spoilt = [i for i, p in enumerate(pairs) if p.reference == "r1" and p.group == "test"]
    scores[spoilt[0]] = 0
    (line,) = bdrate.compare(pairs, scores)
    assert line["images"] == 2 and list(line["left_out"]) == ["r1"]
    with pytest.raises(UsageError, match="none of 3 images has one; the first, r0: the score does not change"):
        bdrate.compare(pairs, [0.0] * len(pairs))


def test_what_has_no_curves_is_said_before_the_work():
    pairs, _ = made({"test": 0.1}, images=3)
    bdrate.check(pairs, "test")
    with pytest.raises(UsageError, match="expected one of the codecs anchor, test"):
        bdrate.check(pairs, "tset")
    with pytest.raises(UsageError, match="codec anchor: 3 bitrates of r0, expected at least 4"):
        bdrate.check(pairs[1:])
    extra = FilePair("r2", "another", "test", 1.0)
    with pytest.raises(UsageError, match="codec test: 4 bitrates of r0, but 5 of r2"):
        bdrate.check([*pairs, extra])


@pytest.fixture
def manifest(tmp_path):
    """Two crops through JPEG at four qualities, and the same files as a codec that spends twice the bits."""
    lines = []
    for n, left in enumerate((0, 40)):
        image = astronaut().crop((left, 40, left + 96, 136))
        image.save(tmp_path / f"r{n}.png")
        for quality in (10, 25, 50, 80):
            file = tmp_path / f"r{n}-{quality}.jpg"
            image.save(file, quality=quality)
            twin = tmp_path / f"twin-{n}-{quality}.jpg"
            twin.write_bytes(file.read_bytes())
            size = file.stat().st_size
            lines += [(f"r{n}.png", file.name, "jpeg", size), (f"r{n}.png", twin.name, "twice", 2 * size)]
    with open(tmp_path / "pairs.csv", "w", newline="") as file:
        csv.writer(file).writerows([("ref", "dis", "codec", "bitrate"), *lines])
    return tmp_path / "pairs.csv"


@pytest.mark.parametrize("method", ["psnr", "stlpips_alex"])
def test_twice_the_bits_is_plus_100_percent(manifest, method, capsys):
    text = printed(capsys, "--manifest", manifest, "-m", method, "--curve", manifest.with_suffix(".png"))
    assert "BD-rate of twice against jpeg: +100.0 % (no interval from 2 images), 2 images" in text
    assert Image.open(manifest.with_suffix(".png")).width == 600
    assert "BD-rate of jpeg against twice: -50.0 %" in printed(
        capsys, "--manifest", manifest, "-m", method, "--anchor", "twice"
    )


@pytest.mark.parametrize(
    "argv, message",
    [
        (["-ref", "x", "--manifest"], "leave -ref and -dis out"),
        (["--curve", "rd.xyz", "--manifest"], "ends in one of"),
        (["--anchor", "x264", "--manifest"], "expected one of the codecs jpeg, twice"),
    ],
)
def test_what_does_not_go_together(manifest, argv, message):
    with pytest.raises(UsageError, match=message):
        run_single_img.main([*argv, str(manifest), "-m", "psnr"])


def test_the_figures_of_the_package_bjontegaard():
    import bjontegaard

    for interpolation in bdrate.INTERPOLATIONS:
        expected = bjontegaard.bd_rate(*ANCHOR, *TEST, method=interpolation)
        assert bdrate.bd_rate(*ANCHOR, *TEST, interpolation) == pytest.approx(expected, rel=1e-10)


def test_akimas_figure():
    """bjontegaard 1.3.0, bd_rate(..., method="akima"), for these curves."""
    assert bdrate.bd_rate(*ANCHOR, *TEST, "akima") == pytest.approx(31.38398898434116, rel=1e-10)


def test_the_interval_holds_the_truth_from_few_images():
    """95 % from 3 and 5 images, where resampled images covered 70 and 83 %; none from 2."""
    for images in (3, 5):
        hits = []
        for seed in range(300):
            pairs, scores = made({"test": 0.0}, images=images, seed=seed)
            (line,) = bdrate.compare(pairs, scores)
            hits.append(line["low"] <= 0 <= line["high"])
        assert 0.91 < np.mean(hits) < 0.985
    (line,) = bdrate.compare(*made({"test": 0.0}, images=2))
    assert line["low"] is None and line["high"] is None


def test_the_order_of_the_images_changes_nothing():
    pairs, scores = made({"test": -0.1}, images=5)
    (line,), (turned,) = bdrate.compare(pairs, scores), bdrate.compare(pairs[::-1], scores[::-1], "anchor")
    assert line["low"] == pytest.approx(turned["low"], abs=1e-9) and line["bd_rate"] == pytest.approx(turned["bd_rate"])


def test_curves_that_hardly_overlap():
    rates, scores = ANCHOR
    ends = np.array(scores) + 0.9983 * (max(scores) - min(scores))
    with pytest.raises(ValueError, match="0.085 % of their scores in common, expected at least 5 %"):
        bdrate.bd_rate(rates, scores, rates, ends)
    pairs = [FilePair("r", f"{codec}{rate}", codec, rate) for codec in ("a", "b") for rate in rates]
    shifted = np.array(scores) + 0.7 * (max(scores) - min(scores))
    text = bdrate.report(pairs, [*scores, *shifted], type("Column", (), {"name": "psnr", "higher_is": "better"}))
    assert "warning: r: the codecs have only 18 % of their scores in common" in text


def test_interpolations_that_differ_are_both_shown():
    rates, scores = [100, 110, 800, 900], [30, 34, 34.4, 40]
    pairs = [FilePair("r", f"{codec}{rate}", codec, rate) for codec in ("a", "b") for rate in rates]
    other = [30, 30.5, 39, 40]
    text = bdrate.report(pairs, [*scores, *other], type("Column", (), {"name": "psnr", "higher_is": "better"}))
    assert "by akima in place of pchip" in text
