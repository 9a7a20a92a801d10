"""Difference maps: their mean is the score, they lie where the damage is, windows leave no seams,
and what has no map says so."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from photographs import HERE, astronaut, printed, saved
from PIL import Image, ImageFilter
from torchvision.transforms.functional import pil_to_tensor

import models
import run_single_img
from common.errors import UsageError
from common.terminal import flags_of
from distances import Features
from methods import options
from methods.build import build
from methods.model import Column, Model, Options
from scoring import maps, single
from scripts import examples

MARKS = {"clip_vitb32": [], "st_alexnet": pytest.mark.numeric}  # quick; CLIP is float16, slow where a CPU has none


def result(image, changed, method, distance=None, **options):
    (model,) = build([method], [distance] if distance else [], Options(**options))
    return maps.distance_map(model, model.columns[0], pil_to_tensor(changed), pil_to_tensor(image))


def score(folder, image, changed, *argv):
    """The score that run_single_img.py gives without --map."""
    files = [saved(folder, name, i) for name, i in (("r.png", image), ("d.png", changed))]
    args = run_single_img.arguments(["-ref", files[0], "-dis", files[1], *argv])
    settings = Options(**flags_of(vars(args), Options) | {"device": "cpu"})
    (scores,) = single.score_pairs(
        run_single_img.pairs_of(args)[0], *options.models_of(args.model, args.distance, settings)
    )
    return next(iter(scores.values()))


@pytest.mark.parametrize("distance", ["l2", "cos"])
@pytest.mark.parametrize("name", [pytest.param(n, marks=MARKS.get(n, pytest.mark.slow)) for n in models.BACKBONES])
def test_the_mean_is_the_score(tmp_path, name, distance):
    """To 1e-6 of it, over overlapping windows (250 wide: two), in the precision of the paper (float16 for CLIP)."""
    image = astronaut(250)
    changed = examples.local(image, examples.blurred, (120, 40, 200, 120))
    protocol = "corrected" if models.BACKBONES[name].kind == "maps" and distance == "cos" else "paper"
    m = result(image, changed, name, distance, weights="random", protocol=protocol)
    expected = score(
        tmp_path, image, changed, "-m", name, "-d", distance, "--weights", "random", "--protocol", protocol
    )
    assert m.score == expected > 1e-7
    assert m.total.mean() == pytest.approx(expected, rel=1e-6)
    assert m.layers.sum(0).mean(dtype=float) == pytest.approx(expected, rel=1e-5)
    assert m.total.shape == (224, 250) and (m.total >= 0).all()


@pytest.mark.numeric
def test_blocks_of_choice(tmp_path):
    """--layers: the maps of those blocks, with their numbers, and the score of run_single_img.py."""
    image = astronaut(250)
    changed = examples.local(image, examples.blurred, (120, 40, 200, 120))
    whole, some = result(image, changed, "st_alexnet", "l2"), result(image, changed, "st_alexnet", "l2", layers=(1, 3))
    assert whole.blocks == (0, 1, 2, 3, 4) and some.blocks == (1, 3)
    np.testing.assert_allclose(some.layers, whole.layers[[1, 3]], rtol=1e-5, atol=1e-6)
    assert (
        score(tmp_path, image, changed, "-m", "st_alexnet", "-d", "l2", "--layers", "1,3") == some.score < whole.score
    )


@pytest.mark.numeric
@pytest.mark.parametrize("distance", ["l2", "cos"])
def test_identical_images_have_an_empty_map(distance):
    m = result(astronaut(), astronaut(), "st_alexnet", distance, protocol="corrected")
    assert abs(m.total).max() < 1e-5 and m.total.mean() == pytest.approx(m.score, abs=1e-6)


@pytest.mark.parametrize(
    "method, distance", [("st_vgg16", "l2"), ("st_vgg16", "cos"), ("psnr", None), ("stlpips_alex", None)]
)
@pytest.mark.parametrize(
    "damage", [examples.blurred, examples.blocky, examples.shifted], ids=["blur", "blocks", "shift"]
)
def test_the_map_lies_where_the_damage_is(damage, method, distance):
    image, box = astronaut(), (64, 56, 160, 152)
    m = result(image, examples.local(image, damage, box), method, distance, protocol="corrected")
    inside = m.total[box[1] : box[3], box[0] : box[2]].sum() / m.total.sum()
    assert inside > 0.6


@pytest.mark.numeric
def test_psnr_is_the_squared_error():
    image = astronaut(120, 90)
    changed = image.filter(ImageFilter.GaussianBlur(1))
    m = result(image, changed, "psnr")
    squares = ((np.asarray(image, float) - np.asarray(changed, float)) / 255) ** 2
    assert np.allclose(m.total, squares.mean(2), atol=1e-7) and m.mean_is == "mse"
    assert m.score == pytest.approx(10 * np.log10(1 / (squares.mean() + 1e-8)), rel=1e-6)


@pytest.mark.numeric
def test_stlpips_adds_up(tmp_path):
    image, changed = astronaut(100, 90), astronaut(100, 90).filter(ImageFilter.GaussianBlur(1))
    m = result(image, changed, "stlpips_alex")
    assert m.total.mean() == pytest.approx(score(tmp_path, image, changed, "-m", "stlpips_alex"), rel=1e-6)


# ---- a backbone whose tokens are known

GRID = 4


@pytest.fixture
def toy(monkeypatch):
    """windows of 8, stride 6 -> a class token (the window's first pixel) and 4 x 4 tokens (means of 2 x 2 pixels)."""

    def features(x):
        patches = torch.nn.functional.avg_pool2d(x, 2).flatten(2).transpose(1, 2)
        return Features([torch.cat([x[:, :, :1, 0].transpose(1, 2), patches], 1)])

    monkeypatch.setitem(models.BACKBONES, "toy", models.Backbone("toy", "tokens", None))
    options = Options(window=8, stride=6)
    column = Column("toy_l2", "toy", "l2", "features")
    return Model("toy", options, [column], 8, loader=lambda model: features)


def toy_map(toy, distorted):
    distorted = torch.as_tensor(distorted, dtype=torch.uint8).expand(3, *distorted.shape).contiguous()
    return maps.distance_map(toy, toy.columns[0], distorted, torch.zeros_like(distorted))


@pytest.mark.numeric
def test_the_class_token_is_spread_evenly(toy):
    corner = np.zeros((8, 8))
    corner[0, 0] = 255  # the class token is 1, the token in the corner 1/4
    m = toy_map(toy, corner)
    assert m.score == pytest.approx((1 + 1 / 16) / 17, rel=1e-6)
    assert m.total.mean() == pytest.approx(m.score, rel=1e-9)
    far = m.total[4:, 4:]  # only the class token's share reaches here
    assert np.allclose(far, far[0, 0]) and far[0, 0] == pytest.approx(1 / 17, rel=1e-3)


def test_a_token_has_its_place(toy):
    one = np.zeros((8, 8))
    one[4:6, 2:4] = 255  # token (2, 1)
    m = toy_map(toy, one)
    assert m.score == pytest.approx(1 / 17, rel=1e-6)
    assert np.unravel_index(m.total.argmax(), m.total.shape) in {(4, 2), (4, 3), (5, 2), (5, 3)}
    assert m.total[:2].max() == 0 and m.total[:, 6:].max() == 0


@pytest.mark.numeric
def test_overlapping_windows_are_cross_faded(toy):
    """Two windows of 8 in a width of 14, 6 apart, with uniform maps, 0 and 1.
    Between them the weights fall linearly."""
    uniform = Model(
        "toy",
        toy.options,
        toy.columns,
        8,
        loader=lambda model: lambda x: Features([x[:, :, 4:5, 7:].transpose(1, 2).flatten(2).expand(-1, 17, -1)]),
    )
    m = toy_map(uniform, np.repeat([[0] * 8 + [255] * 6], 8, 0))
    steps = m.total[0] / m.total[0].max()
    weights = np.minimum(np.arange(8) + 0.5, 7.5 - np.arange(8))
    expected = [weights[k] / (weights[k] + weights[6 + k]) for k in range(2)]  # columns 6 and 7 lie in both
    assert (
        steps[:6] == pytest.approx(0)
        and steps[6:8] == pytest.approx(expected, rel=1e-5)
        and steps[8:] == pytest.approx(1)
    )
    assert m.score == pytest.approx(0.5) and m.total.mean() == pytest.approx(0.5)


# ---- at the terminal


@pytest.fixture
def files(tmp_path):
    image = astronaut()
    changed = examples.local(image, examples.blocky, (64, 56, 160, 152))
    return ["-ref", saved(tmp_path, "r.png", image), "-dis", saved(tmp_path, "d.png", changed)]


def test_picture_and_raw_map(tmp_path, files, capsys):
    text = printed(capsys, *files, "-m", "st_alexnet", "-d", "l2", "--map", tmp_path / "m.png", "--map-layers", "--npy")
    plain = printed(capsys, *files, "-m", "st_alexnet", "-d", "l2")
    assert text.splitlines()[0] == plain.strip()
    raw, layers = np.load(tmp_path / "m.npy"), np.load(tmp_path / "m-layers.npy")
    assert raw.shape == (224, 224) and layers.shape == (5, 224, 224)
    assert raw.mean() == pytest.approx(float(plain.split()[-1]), rel=1e-5) and np.allclose(
        layers.sum(0), raw, rtol=1e-4
    )
    picture = np.asarray(Image.open(tmp_path / "m.png").convert("RGB"))
    assert picture.shape[1] > picture.shape[0] > 300 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 1000


@pytest.mark.parametrize(
    "argv, message",
    [
        (["-m", "st_alexnet", "-d", "cos"], "--protocol corrected"),
        (["-m", "dinov1", "-d", "skld", "--weights", "random"], "l2 or cos, and for psnr, lpips"),
        (["-m", "msssim"], "have no place"),
        (["-m", "psnr", "fsim"], "found 1 pair, 2 scores"),
        (["-m", "psnr", "--map", "m.xyz"], "expected a file name that ends in"),
        (["-m", "psnr", "--json"], "not together"),
        (["-m", "psnr", "--map", "nowhere/m.png"], "no folder nowhere"),
        (["-m", "embed_clip_vitb32", "-d", "cos", "--weights", "random"], "no square grid"),
    ],
)
def test_what_has_no_map_says_so(tmp_path, files, argv, message):
    with pytest.raises(UsageError, match=message):
        run_single_img.main([*files, *(["--map", str(tmp_path / "m.png")] if "--map" not in argv else []), *argv])
    assert not (tmp_path / "m.png").exists()


def test_wrong_input_is_one_line_and_exit_2(files):
    command = [sys.executable, HERE / "run_single_img.py", *files, "-m", "psnr", "--npy"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1


def test_a_psnr_run_imports_little(files):
    code = f"import sys, run_single_img; run_single_img.main({[*files, '-m', 'psnr']!r}); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=HERE, check=True)
    assert not {"timm", "torchvision", "piq", "matplotlib", "scipy", "pandas"} & set(eval(done.stdout.splitlines()[-1]))
