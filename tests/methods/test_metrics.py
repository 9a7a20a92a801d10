"""methods/metrics.py: published scores, piq, slow references written from the formulas, and properties that every
metric must have."""

import csv
import importlib.metadata
import subprocess
import sys

import numpy as np
import pytest
import torch
from made_photographs import pair
from places import ROOT, SHARED
from rounding import steps
from scipy.signal import convolve2d
from scipy.special import rel_entr, softmax

import distances
import robustness
from methods import metrics
from methods.metrics import FEATURES, METRICS
from networks.weights import package_file

pytestmark = pytest.mark.numeric
EFFICIENT = [name for name in METRICS if name.endswith("_eff")]
ONE_MINUS = ("fsim", "dists")  # 1 minus something near 1, in float32 (msssim is, too, in float64)
NAMES = list(METRICS)
OF_PIQ = {
    "ssim": "ssim",
    "vsi": "vsi",
    "gmsd": "gmsd",
    "mdsi": "mdsi",
    "haarpsi": "haarpsi",
    "vif": "vif_p",
    "srsim": "srsim",
    "dss": "dss",
}


@pytest.fixture(scope="module")
def features():
    """features(metric) -> its (random) features, built once."""
    built = {}

    def of(name, protocol="paper"):
        key = METRICS[name].features, protocol
        if key not in built:
            built[key] = FEATURES[key[0]](protocol=protocol, random_seed=0)
        return built[key]

    return of


def score(features, name, distorted, reference, protocol="paper"):
    f = features(name, protocol)
    return METRICS[name].distance(f(distorted), f(reference), protocol)


# ---- the registry


def test_every_metric_of_the_tables_is_there():
    tables = {
        "psnr",
        "msssim",
        "fsim",
        "lpips",
        "lpips_vgg",
        "dists",
        "stlpips_alex",
        "stlpips_vgg",
        *(f"deep_{d}_{net}" for net in ("vgg", "eff") for d in ("kld", "jsd", "wsd")),
    }
    assert tables | set(OF_PIQ) | {"deepdc", "deepssim"} <= set(METRICS)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_entries_are_whole(metric):
    assert (
        metric.features in FEATURES and metric.licence and metric.citation and metric.higher_is in ("worse", "better")
    )
    for weights in metric.weights:
        assert weights.licence and weights.citation
        assert all(
            s.url.startswith("https://") and s.sha256[:8] in s.url and len(s.sha256) in (8, 64) for s in weights.sources
        )
    assert all(package_file(name).is_file() for name in metric.carried)
    for package in metric.packages:
        importlib.metadata.version(package)  # the name serves to record its version


def test_notes_say_what_the_printed_rows_are():
    assert all("training mode" in METRICS[name].caveat for name in EFFICIENT)
    assert all("[0, 1]" in METRICS[name].note and "[-1, 1]" in METRICS[name].note for name in ("lpips", "lpips_vgg"))
    assert METRICS["dists"].short_side == {"corrected": 256}
    better = {name for name in ("psnr", *OF_PIQ) if METRICS[name].higher_is == "better"}
    assert better == {"psnr", "ssim", "vsi", "haarpsi", "vif", "srsim", "dss"}
    assert {METRICS[name].identical for name in better - {"psnr"}} == {1} and METRICS["psnr"].identical == 80
    assert not METRICS["mdsi"].symmetric and not METRICS["vif"].symmetric


def test_psnr_and_msssim_load_no_other_package():
    code = (
        "import sys, torch; from methods import metrics; x = torch.rand(1, 3, 170, 170); "
        "f = metrics.FEATURES['pixels'](); "
        "[metrics.METRICS[m].distance(f(x), f(x)) for m in ('psnr', 'msssim')]; "
        "sys.exit(bool({'torchvision', 'timm', 'piq', 'lpips', 'skimage'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


# ---- properties


@pytest.mark.parametrize("name", NAMES)
def test_a_pair_scores_alike_in_every_batch_and_more_noise_scores_worse(features, name):
    side = max(METRICS[name].min_side, 72)
    x, y = pair(side, side + 5)
    worse, _ = pair(side, side + 5, strength=60)
    single = [score(features, name, a, y) for a in (x, worse)]
    batch = score(features, name, torch.cat([x, worse]), torch.cat([y, y]))
    assert batch.shape == (2,) and torch.isfinite(batch).all()
    atol = steps(4) if name in ONE_MINUS else 0
    torch.testing.assert_close(batch, torch.cat(single), rtol=1e-6, atol=atol)
    assert torch.equal(single[0], score(features, name, x, y))
    sign = 1 if METRICS[name].higher_is == "worse" else -1
    assert sign * batch[1] > sign * batch[0] > sign * METRICS[name].identical and (batch > 0).all()


@pytest.mark.parametrize("name", [n for n in NAMES if n not in EFFICIENT])
def test_identical_images(features, name):
    _, y = pair(171, 176)
    one = METRICS[name].identical
    error = steps(2, 80) if name == "psnr" else 5e-6 if name in OF_PIQ else 1e-6
    assert float(score(features, name, y, y)) == pytest.approx(one, abs=error)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in EFFICIENT])
def test_symmetric_where_the_registry_says_so(features, name):
    x, y = pair(171, 176)
    there, back = float(score(features, name, x, y)), float(score(features, name, y, x))
    assert (there == pytest.approx(back, rel=1e-5, abs=1e-6)) == METRICS[name].symmetric


@pytest.mark.parametrize("name", [n for n in NAMES if METRICS[n].min_side > 1 and n not in EFFICIENT])
def test_min_side_is_the_smallest_that_works(features, name):
    side = METRICS[name].min_side
    assert torch.isfinite(score(features, name, *pair(side, side))).all()
    try:
        below = score(features, name, *pair(side - 1, side - 1))
    except (RuntimeError, ValueError):
        return
    assert not torch.isfinite(below).all() or float(below) == METRICS[name].identical  # too few places to differ in


# ---- figures


def published(path, names, perturbations):
    if not path.is_file():
        return []
    with open(path, newline="") as file:
        return [r for r in csv.DictReader(file) if r["method"] in names and r["perturbation"] in perturbations]


def image(name, role, perturbation):
    from PIL import Image

    result = next(p for p in (SHARED / "data" / "TID2013").rglob("*") if p.name.lower() == name.lower())
    pixels = np.array(robustness.perturb(Image.open(result).convert("RGB"), role, perturbation, 1))
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255


def check_figures(rows, features, abs=0.0, rel=0.0):
    for row in rows:
        x = image(row["dis"], "distorted", row["perturbation"])
        y = image(row["dis"][:3] + ".bmp", "reference", row["perturbation"])
        value = float(METRICS[row["method"]].distance(features(x), features(y), "paper"))
        assert value == pytest.approx(float(row["pred"]), abs=abs, rel=rel), (
            row["method"],
            row["dis"],
            row["perturbation"],
        )


@pytest.mark.parametrize(
    "name, most", [("psnr", 12), ("msssim", 12), ("fsim", 12), ("stlpips_alex", 2), ("stlpips_vgg", 1)]
)
def test_published_scores(name, most):
    """The authors' released scores of real TID2013 pairs (golden/published.csv), as they stored them."""
    rows = published(SHARED / "golden" / "published.csv", (name,), ("none", "tra", "sca", "rot"))[:most]
    if not rows:
        pytest.skip("needs ../shared: real TID2013 images and the authors' scores")
    built = FEATURES[METRICS[name].features]()
    check_figures(rows, built, abs=1e-12 if name == "msssim" else 1e-5)


@pytest.mark.slow
def test_distribution_metrics_equal_the_authors_code(tmp_path):
    """golden/scores.csv: the authors' code run with the seeded VGG19 that make_checkpoints.py writes."""
    names = [n for n in NAMES if n.endswith("_vgg") and n.startswith("deep_")]
    rows = published(SHARED / "golden" / "scores.csv", names, ("none",))
    if not rows:
        pytest.skip("needs ../shared: real TID2013 images and make_checkpoints.py")
    subprocess.run([sys.executable, SHARED / "tools" / "make_checkpoints.py", tmp_path, "vgg19"], check=True)
    built = FEATURES["vgg19"](tmp_path)
    check_figures(rows, built, rel=1e-4)


def test_psnr_and_fsim_equal_piq(features):
    import piq

    x, y = pair(150, 131)
    assert float(score(features, "psnr", x, y)) == pytest.approx(float(piq.psnr(x, y, data_range=1.0)), rel=steps(2))
    assert float(score(features, "fsim", x, y)) == pytest.approx(
        (1 - float(piq.fsim(x, y, data_range=1.0))) / 2, abs=steps(2)
    )


@pytest.mark.parametrize("name", OF_PIQ)
def test_the_classical_rows_equal_piq(features, name):
    """piq at its defaults, called alone: on noise, and where there is one on real TID2013 pairs."""
    import piq

    pairs = [pair(150, 131), pair(300, 390, strength=40)]
    if (SHARED / "data" / "TID2013").is_dir():
        pairs += [
            (image(dis, "distorted", "none"), image(dis[:3] + ".bmp", "reference", "none"))
            for dis in ("i03_11_5.bmp", "i04_18_5.bmp", "i06_18_3.bmp", "i08_15_3.bmp", "i19_10_5.bmp")
        ]
    for x, y in pairs:
        assert float(score(features, name, x, y)) == pytest.approx(
            float(getattr(piq, OF_PIQ[name])(x, y, data_range=1.0)), abs=1e-6
        )


def video_luma(image):
    """RGB in [0, 1] -> Y of ITU-R BT.601 in whole steps from 16 to 235, over 255, as three equal channels."""
    y = 16 + 65.481 * image[:, :1] + 128.553 * image[:, 1:2] + 24.966 * image[:, 2:]
    return (y.round() / 255).expand_as(image)


@pytest.mark.parametrize(
    "name, figure",
    [("i03_11_5", 0.0723), ("i04_18_5", 1.0), ("i06_18_3", 1.0), ("i08_15_3", 0.9265), ("i19_10_5", 0.2136)],
)
def test_vif_is_the_published_figure_of_tid2013_images(features, name, figure):
    """metrics_values/VIFP.txt of TID2013 as it is distributed, lines 295, 450, 688, 913 and 2210. Those values are of
    the luma of video; of the colour images themselves ours differ by up to .017, since piq's luma is another. Its
    SSIM.txt is of the same luma and of the images at full size, where piq's default averages down first. For the other
    rows of piq's no published figure of one of these images is known to us."""
    if not (SHARED / "data" / "TID2013").is_dir():
        pytest.skip("needs ../shared: real TID2013 images")
    x, y = image(f"{name}.bmp", "distorted", "none"), image(f"{name[:3]}.bmp", "reference", "none")
    assert float(score(features, "vif", video_luma(x), video_luma(y))) == pytest.approx(figure, abs=6e-5)
    assert float(score(features, "vif", x, y)) == pytest.approx(figure, abs=0.02)


def slow_msssim(x, y):
    """MS-SSIM with scipy's direct convolution, on integer luma; METHOD.md section 7."""
    a, b = (np.floor(((i[0].permute(1, 2, 0) * 255).numpy().round() @ [299, 587, 114] + 500) / 1000) for i in (x, y))
    line = np.exp(-(np.arange(-5, 6) ** 2) / 4.5)
    window = np.outer(line, line) / np.outer(line, line).sum()
    terms = []
    for scale in range(5):
        ma, mb, aa, bb, ab = (convolve2d(z, window, mode="valid") for z in (a, b, a * a, b * b, a * b))
        cs = np.maximum((2 * (ab - ma * mb) + 58.5225) / (aa - ma**2 + bb - mb**2 + 58.5225), 0)
        terms.append(np.mean(cs * (2 * ma * mb + 6.5025) / (ma**2 + mb**2 + 6.5025) if scale == 4 else cs))
        odd = [(s % 2, s % 2) for s in a.shape]
        a, b = (np.pad(z, odd) for z in (a, b))
        a, b = (
            z[: z.shape[0] // 2 * 2, : z.shape[1] // 2 * 2].reshape(z.shape[0] // 2, 2, -1, 2).mean((1, 3))
            for z in (a, b)
        )
    return (1 - np.prod(np.array(terms) ** [0.0448, 0.2856, 0.3001, 0.2363, 0.1333])) / 2


@pytest.mark.parametrize("height, width, inverted", [(161, 176, False), (170, 163, False), (164, 164, True)])
def test_msssim_equals_a_slow_reference(features, height, width, inverted):
    x, y = pair(height, width, strength=50)
    x = 1 - x if inverted else x  # opposed structure: the contrast-structure map is clipped at 0
    assert float(score(features, "msssim", x, y)) == pytest.approx(slow_msssim(x, y), abs=2e-6)  # ties of the luma


# ---- distribution metrics, one level, column by column


def slow_columns(level):
    """(C, H, W) array -> (64, M): zeros added (or values dropped) at the left and at the bottom, element by element."""
    c, h, w = level.shape
    rows, cols = 8 * round(h / 8), 8 * round(w / 8)
    padded = np.zeros((c, rows, cols))
    for i in range(min(rows, h)):
        for j in range(cols):
            if j - (cols - w) >= 0:
                padded[:, i, j] = level[:, i, j - (cols - w)]
    return padded.reshape(64, -1)


def slow_wasserstein(u, v, p):
    """The integral of |Qu - Qv|^p over t, step by step, for the unnormalised weights u, v on 0..63."""
    U, V = np.cumsum(u), np.cumsum(v)
    steps = np.sort(np.concatenate([[0], U, V]))
    total = 0.0
    for a, b in zip(steps, steps[1:]):
        t = (a + b) / 2
        if a < t < b:
            total += (b - a) * abs(min(63, (U < t).sum()) - min(63, (V < t).sum())) ** p
    return total


def slow_level(name, x, y, protocol):
    x, y = slow_columns(x), slow_columns(y)
    along_64, whole = (softmax(x, 0), softmax(y, 0)), (softmax(x, 1), softmax(y, 1))
    share = [z * z / (z.sum() + 1e-6) for z in (x, y)]
    values = []
    for m in range(x.shape[1]):
        (p, q), e = (z[:, m] for z in along_64), np.sum((x[:, m] - y[:, m]) ** 2)
        if "kld" in name:
            d = (rel_entr(p, q).sum() + rel_entr(q, p).sum()) / 2
        elif "jsd" in name:
            d = (rel_entr(p, (p + q) / 2).sum() + rel_entr(q, (p + q) / 2).sum()) / 2
        else:
            weights = along_64 if protocol == "corrected" else share if "vgg" in name else whole
            d = slow_wasserstein(weights[0][:, m], weights[1][:, m], 2 if "vgg" in name else 1)
        values.append(d if name == "deep_jsd_eff" else d + e / (np.sqrt(np.exp(-1 / (d + 10))) * (d + 10) ** 2))
    return np.log(np.mean(values) + 1) ** 0.25


@pytest.mark.parametrize("protocol", ["paper", "corrected"])
@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("deep_")])
@pytest.mark.parametrize("shape", [(4, 16, 24), (3, 13, 21), (5, 9, 12)])  # padded; cropped below and padded left
def test_distribution_metrics_equal_a_slow_reference(name, protocol, shape):
    rng = np.random.default_rng(0)
    x, y = np.abs(rng.normal(1, 1, shape)), np.abs(rng.normal(1, 2, shape))
    level = [[torch.from_numpy(z)[None]] for z in (x, y)]
    assert float(METRICS[name].distance(*level, protocol)) == pytest.approx(slow_level(name, x, y, protocol), rel=1e-6)
    float32 = [[torch.from_numpy(z)[None].float()] for z in (x, y)]
    assert float(METRICS[name].distance(*float32, protocol)) == pytest.approx(
        slow_level(name, x, y, protocol), rel=1e-4
    )


def test_wsd_vgg_weights_of_faint_levels():
    x = torch.rand(1, 64, 5) * 1e-8  # the 1e-6 under the fraction counts
    torch.testing.assert_close(metrics.energy(x, "paper"), x * x / (x.sum() + 1e-6), rtol=1e-5, atol=0)


def test_wasserstein_2_where_cumulative_sums_tie():
    rng = np.random.default_rng(0)
    u, v = rng.integers(0, 3, (64, 50)), rng.integers(0, 3, (64, 50))
    ours = distances.wasserstein(*(torch.from_numpy(z.astype(float))[None] for z in (u, v)), p=2)[0]
    assert ours.tolist() == pytest.approx([slow_wasserstein(u[:, m], v[:, m], 2) for m in range(50)])


def test_levels_weigh_alike_before_the_logarithm():
    rng = torch.Generator().manual_seed(0)
    x, y = ([torch.rand(1, 4, 8 * n, 16, generator=rng) for n in (1, 2)] for _ in "xy")
    distance = METRICS["deep_kld_vgg"].distance
    whole, *levels = (float(distance(a, b)) for a, b in ((x, y), (x[:1], y[:1]), (x[1:], y[1:])))
    s = np.mean([np.expm1(level**4) for level in levels])
    assert whole == pytest.approx(np.log1p(s) ** 0.25, rel=1e-6)


def test_underflowing_softmax_counts_nothing_in_vgg_and_is_bounded_in_eff():
    """METHOD.md section 7: without an epsilon an infinite sum of a column counts 0; with 1e-17 in the log it is
    finite."""
    x, y = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    x[0, 0, 0, 0], y[0, 0, 0, 1] = 300, 300  # one column of 64: p and q underflow to 0 at each other's peak
    euclid = 2 * 300**2
    assert float(METRICS["deep_kld_vgg"].distance([x], [y])) == pytest.approx(
        np.log1p(euclid / (np.exp(-1 / 10) ** 0.5 * 100)) ** 0.25, rel=1e-5
    )
    d = -np.log(1e-17)  # 1 * log(1 / 1e-17), in each direction
    assert float(METRICS["deep_kld_eff"].distance([x], [y])) == pytest.approx(
        np.log1p(d + euclid / (np.exp(-1 / (d + 10)) ** 0.5 * (d + 10) ** 2)) ** 0.25, rel=1e-5
    )
