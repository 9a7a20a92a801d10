"""Scorer: the scores of run_single_img.py for images in memory, what it refuses and why, and its gradients."""

import re

import numpy as np
import pytest
import torch
from photographs import astronaut, printed, saved
from PIL import Image, ImageFilter

import distances
from common.errors import UsageError
from common.images import open_rgb
from methods import metrics
from scoring import Scorer, scorer

pytestmark = pytest.mark.numeric
TINY = "timm:vit_tiny_patch16_224"  # a transformer with seeded random weights


def pair(width=224, height=224):
    image = astronaut(width, height)
    return image, image.filter(ImageFilter.GaussianBlur(1))


def tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255


@pytest.mark.parametrize(
    "method, distance, size",
    [
        ("psnr", None, (90, 70)),
        ("msssim", None, (180, 170)),
        ("stlpips_alex", None, (90, 70)),
        ("st_alexnet", "l2", (250, 224)),
        ("st_alexnet", "cos", (224, 224)),
        (TINY, "jsd", (250, 224)),
        ("embed_" + TINY, None, (224, 224)),
    ],
)
def test_it_scores_as_the_terminal_does(tmp_path, capsys, method, distance, size):
    reference, distorted = pair(*size)
    files = ["-ref", saved(tmp_path, "r.png", reference), "-dis", saved(tmp_path, "d.png", distorted)]
    options = ["-d", distance or "cos"] if distance or method.startswith("embed") else []
    text = printed(capsys, *files, "-m", method, *options, "--weights", "random")
    result = Scorer(method, distance, weights="random")(reference, distorted)
    assert result.shape == () and float(result) == pytest.approx(float(text.split()[-1]), rel=1e-5, abs=1e-9)


def test_every_kind_of_input_gives_the_same_score():
    reference, distorted = pair(90, 70)
    score = Scorer("psnr")
    expected = float(score(reference, distorted))
    arrays = [np.asarray(i) / 255 for i in (reference, distorted)]
    assert float(score(*arrays)) == pytest.approx(expected, rel=1e-6)
    assert float(score(*(a.astype(np.float32) for a in arrays))) == pytest.approx(expected, rel=1e-6)
    assert float(score(*(a[:, ::-1] for a in arrays))) == pytest.approx(expected, rel=1e-5)  # negative strides
    assert float(score(tensor(reference), tensor(distorted))) == pytest.approx(expected, rel=1e-6)
    assert float(score(tensor(reference).double(), tensor(distorted).double())) == pytest.approx(expected, rel=1e-6)
    assert float(score(reference, tensor(distorted))) == pytest.approx(expected, rel=1e-6)
    eight_bits = [np.asarray(i) for i in (reference, distorted)]
    assert float(score(*eight_bits)) == expected
    assert float(score(*(torch.from_numpy(i.copy()) for i in eight_bits))) == expected
    assert float(score(*(torch.from_numpy(i.copy()).movedim(-1, 0) for i in eight_bits))) == expected
    opaque = [np.dstack([i, np.full(i.shape[:2], 255, np.uint8)]) for i in eight_bits]
    assert float(score(*opaque)) == pytest.approx(expected, rel=1e-6)
    assert score(eight_bits, eight_bits[::-1]).tolist() == pytest.approx([expected, expected], rel=1e-6)


def test_files_and_images_of_any_mode_are_read_as_run_py_reads_them(tmp_path):
    reference, distorted = pair(90, 70)
    score, files = Scorer("psnr"), []
    for name, image in (("r.png", reference), ("d.png", distorted.convert("LA")), ("p.png", distorted.convert("P"))):
        image.save(tmp_path / name)
        files.append(tmp_path / name)
    for file in files[1:]:
        with Image.open(file) as image:
            image.load()
            from_memory = score(reference, image)
        assert score(files[0], str(file)) == from_memory == score(open_rgb(files[0]), open_rgb(file))
    clear = Image.new("RGBA", (90, 70), (10, 20, 30, 0))
    assert score(Image.new("RGB", (90, 70), "white"), clear) == score(reference, reference)
    assert score(np.ones((70, 90)), np.asarray(clear)) == score(reference, reference)
    with pytest.raises(UsageError, match="none.png"):
        score(files[0], tmp_path / "none.png")


def test_grey_is_three_equal_channels():
    reference, distorted = (i.convert("L") for i in pair(90, 70))
    score = Scorer("psnr")
    assert score(*(np.asarray(i) for i in (reference, distorted))) == score(reference, distorted)
    assert score(*(np.asarray(i) / 255 for i in (reference, distorted))) == pytest.approx(
        float(score(reference, distorted)), rel=1e-6
    )


def test_gradients_pass_through_every_layout():
    score, last = Scorer("psnr"), X.movedim(0, -1)
    for reference, image in (
        (X, X + 0.1),
        (last, last + 0.1),
        (last, torch.cat([last * 0.9, torch.ones(40, 30, 1)], -1)),
        (X[0], X[0] * 0.9),
    ):
        image = image.clamp(0, 1).requires_grad_()
        score(reference, image).backward()
        assert torch.isfinite(image.grad).all() and image.grad.abs().sum() > 0


@pytest.mark.parametrize("method, distance", [("psnr", None), (TINY, "l2")])
def test_a_batch_is_its_images_one_by_one(method, distance):
    images = [astronaut(250, 224).filter(ImageFilter.GaussianBlur(r)) for r in (0, 1, 3)]
    score = Scorer(method, distance, weights="random", batch_size=4)
    batch = score([images[0]] * 3, images)
    assert batch.shape == (3,)
    assert batch.tolist() == pytest.approx([float(score(images[0], i)) for i in images], rel=1e-5, abs=1e-8)
    stacked = torch.stack([tensor(i) for i in images])
    assert score(stacked[:1].expand(3, -1, -1, -1), stacked).tolist() == pytest.approx(batch.tolist(), rel=1e-6)
    as_array = stacked.permute(0, 2, 3, 1).numpy()
    assert score(as_array[[0, 0, 0]], as_array).tolist() == pytest.approx(batch.tolist(), rel=1e-6)


X = torch.rand(3, 40, 30, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "image, message",
    [
        (X * 255, r"found 0\.\d+ to 25\d.*: in \[0, 255\]\? Divide by 255"),
        ((X * 255).long(), "a tensor of int64: which range"),
        ((X.numpy() * 1000).astype(np.uint16), "a numpy array of uint16: which range"),
        (X > 0.5, "a tensor of bool"),
        (2 * X - 1, r"in \[-1, 1\]\? Use \(x \+ 1\) / 2"),
        (X[:, :, :3], r"\(3, 40, 3\) could be channels first or channels last"),
        (X[:2], r"found \(2, 40, 30\): which axis"),
        (X[:1], r"found \(1, 40, 30\): grey with a channel of its own"),
        (X[0, 0], "neither an image nor a batch"),
        ((X - 0.45) / 0.22, "normalised by mean and std"),
        (X * float("nan"), "NaN"),
        (X.movedim(0, -1).numpy() * 255, "Divide by 255"),
        ({}, "found dict"),
        ([Image.new("RGB", (30, 40)), Image.new("RGB", (30, 41))], "one size in a batch"),
        (X[:, 1:], "images of one size"),
        (X[None].expand(2, -1, -1, -1), "images of one size"),
        ([], "found list"),
    ],
)
def test_what_is_refused_is_named(image, message):
    with pytest.raises(ValueError, match=message):
        Scorer("psnr")(X, image)


def test_too_small_and_unknown():
    with pytest.raises(ValueError, match="30 x 40 pixels, too small for st_alexnet_l2, which needs 224"):
        Scorer("st_alexnet", "l2")(X, X)
    with pytest.raises(UsageError, match="nearest known: psnr"):
        Scorer("pnsr")
    with pytest.raises(UsageError, match="needs a distance"):
        Scorer("dinov1")


def test_the_check_of_the_range_can_be_left_out():
    assert torch.isfinite(Scorer("psnr", check=False)(X, X + 0.1))
    assert torch.isfinite(Scorer("psnr")(X, X + 1e-5))


# ---- gradients

EVERY = (
    [(name, None) for name in metrics.METRICS]
    + [("st_alexnet", d) for d in distances.of_blocks()]
    + [(TINY, d) for d in distances.DISTANCES]
    + [("embed_" + TINY, "cos")]
)
LONG = {
    "deep_kld_vgg",
    "deep_jsd_vgg",
    "deep_wsd_vgg",
    "deep_kld_eff",
    "deep_jsd_eff",
    "deep_wsd_eff",
    "lpips_vgg",
    "stlpips_vgg",
    "deepssim",
}


@pytest.mark.parametrize(
    "method, distance", [pytest.param(*e, marks=[pytest.mark.slow] if e[0] in LONG else []) for e in EVERY]
)
def test_gradients_are_finite_everywhere(method, distance):
    """At zero (identical images, flat black ones too) and away from it, where they are not all zero."""
    side = 224 if distance else 176
    score = Scorer(method, distance, weights="random", precision="fp32")
    reference = tensor(astronaut(side, side))
    noisy = (reference + 0.02 * torch.randn(reference.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    for image, against in ((reference, reference), (torch.zeros_like(reference),) * 2, (noisy, reference)):
        image = image.clone().requires_grad_()
        score(against, image).backward()
        assert torch.isfinite(image.grad).all()
    assert image.grad.abs().max() > 0


@pytest.mark.parametrize(
    "method, distance", [("psnr", None), ("stlpips_alex", None), ("st_alexnet", "l2"), (TINY, "skld")]
)
def test_gradients_are_the_slope(method, distance):
    """Along a random direction, against a difference of two scores in float32."""
    score = Scorer(method, distance, weights="random", precision="fp32")
    side = 224 if distance else 64
    reference = 0.25 + 0.5 * tensor(astronaut(side, side))
    generator = torch.Generator().manual_seed(1)
    image = (reference + 0.1 * (torch.rand(reference.shape, generator=generator) - 0.5)).requires_grad_()
    score(reference, image).backward()
    direction = image.grad.sign()  # where the slope is steepest, so that rounding matters least
    step = 2e-3
    with torch.no_grad():
        difference = (score(reference, image + step * direction) - score(reference, image - step * direction)) / (
            2 * step
        )
    assert float((image.grad * direction).sum()) == pytest.approx(float(difference), rel=0.05)


def test_the_epsilon_is_in_the_slope_alone():
    s = torch.tensor([0.0, 1e-6, 0.01, 3.0], requires_grad=True)
    value = distances.squash(s)
    assert torch.equal(value, (s + 1).log() ** 0.25)
    value.sum().backward()
    t = (s.detach().double() + 1).log()
    assert s.grad[0] == pytest.approx(0.25 * distances.EPSILON**-0.75, rel=1e-5)
    assert s.grad[2:].tolist() == pytest.approx((0.25 * t**-0.75 / (s.detach() + 1))[2:].tolist(), rel=1e-4)


@pytest.mark.parametrize("scale", [1, 40, 200])
def test_kl_has_a_finite_gradient_where_softmax_underflows(scale):
    generator = torch.Generator().manual_seed(0)
    x, y = (scale * torch.randn(1, 64, 50, generator=generator) for _ in range(2))
    x.requires_grad_()
    distances.kl(x.softmax(1), y.softmax(1)).sum().backward()
    assert torch.isfinite(x.grad).all()


def test_the_gradient_passes_over_the_rounding_of_the_luma():
    x = torch.rand(1, 3, 20, 20, generator=torch.Generator().manual_seed(0)).requires_grad_()
    luma = metrics.rounded_luma(x)
    assert torch.equal(luma, luma.round())
    luma.sum().backward()
    assert torch.allclose(x.grad[0, :, 0, 0], 255 * torch.tensor([0.299, 0.587, 0.114]))


@pytest.mark.parametrize("distance", ["dc", "nl2"])
def test_a_training_step_lowers_the_loss(distance):
    """A network of one convolution that is to undo the blur of one of demo's photographs: three steps, each better."""
    reference = tensor(astronaut(224, 224))[None]
    blurred = tensor(astronaut(224, 224).filter(ImageFilter.GaussianBlur(1.5)))[None]
    network = torch.nn.Conv2d(3, 3, 5, padding=2, padding_mode="reflect", groups=3, bias=False)
    with torch.no_grad():
        network.weight.zero_()[:, :, 2, 2] = 1
    loss, optimizer = Scorer("st_alexnet", distance, check=False), torch.optim.Adam(network.parameters(), lr=1e-3)
    scores = []
    for _ in range(4):
        optimizer.zero_grad()
        score = loss(reference, network(blurred)).mean()
        score.backward()
        optimizer.step()
        scores.append(score.item())
    assert scores == sorted(scores, reverse=True) and scores[-1] < 0.96 * scores[0]


@pytest.mark.parametrize("distance", ["l2", "dc"])
def test_autocast_and_compile_leave_the_score_as_it_is(distance):
    reference, distorted = (tensor(image) for image in pair(224, 224))
    loss = Scorer("st_alexnet", distance)
    score = float(loss(reference, distorted))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert float(loss(reference, distorted)) == score
        image = torch.nn.functional.conv2d(distorted[None], torch.eye(3)[..., None, None])  # what a network gives there
        assert image.dtype == torch.bfloat16
        assert loss(reference[None], image).item() == loss(reference[None], image.float()).item()
    network = torch.compile(lambda x: loss(reference, x * 1.0) * 2, backend="eager")
    image = distorted.clone().requires_grad_()
    result = network(image)
    result.backward()
    assert result.item() == pytest.approx(2 * score, rel=1e-6)
    assert torch.isfinite(image.grad).all() and image.grad.abs().max() > 0


def test_the_example_of_the_docstring_runs():
    """The indented block after 'To optimise an image:', as it stands, of at most 15 lines."""
    block = re.search(r"To optimise an image:\n\n((?:    .*\n|\n)+)", scorer.__doc__)[1]
    assert 10 < len([line for line in block.splitlines() if line.strip()]) <= 15
    space = {}
    exec(re.sub("(?m)^    ", "", block), space)
    assert len(space["scores"]) == 4 and space["scores"][-1] < 0.9 * space["scores"][0]


def test_it_is_a_module_without_parameters():
    loss = Scorer("psnr")
    assert isinstance(loss, torch.nn.Module) and not list(loss.parameters())
    assert (loss.column, loss.higher_is) == ("psnr", "better")


def test_no_gradient_is_said(tmp_path):
    (tmp_path / "m.py").write_text(
        "def f(reference, distorted):\n    return (reference - distorted).abs().mean().item()\n"
        "def g(reference, distorted):\n    return (reference - distorted).abs().mean()\n"
    )
    with pytest.raises(ValueError, match="m-f gives no gradient"):
        Scorer(f"{tmp_path}/m.py:f")(X, X.clone().requires_grad_())
    image = (X * 0.5).requires_grad_()
    Scorer(f"{tmp_path}/m.py:g")(X, image).backward()
    assert image.grad.abs().max() > 0
