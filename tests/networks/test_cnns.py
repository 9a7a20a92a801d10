"""networks/cnns.py and the metrics on it give what the authors' packages give with the same weights,
and read the published files."""

import io
import sys
import types
from contextlib import redirect_stdout

import pytest
import torch
from made_photographs import pair
from rounding import steps

from common.errors import UsageError
from methods import metrics
from networks import cnns, weights

pytestmark = pytest.mark.numeric


def score(name, distorted, reference, protocol="paper", **options):
    metric = metrics.METRICS[name]
    features = metrics.FEATURES[metric.features](protocol=protocol, **options)
    with torch.no_grad():
        return metric.distance(features(distorted), features(reference), protocol)


def close(value, expected, rel=0.0, abs=0.0):
    torch.testing.assert_close(value.double().flatten(), expected.double().flatten(), rtol=rel, atol=abs)


@pytest.fixture(scope="module")
def trunks(tmp_path_factory):
    """A --weights-dir with torchvision's AlexNet, VGG16 and VGG19 as torchvision lays them out (without the
    classifiers), seeded, and the networks themselves."""
    from torchvision.models import alexnet
    from torchvision.models.vgg import cfgs, make_layers

    folder = tmp_path_factory.mktemp("weights")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        nets = {
            "alexnet": alexnet(weights=None).features,
            "vgg16": make_layers(cfgs["D"]),
            "vgg19": make_layers(cfgs["E"]),
        }
        for name, net in nets.items():
            for layer in net:
                if isinstance(layer, torch.nn.Conv2d):
                    torch.nn.init.kaiming_normal_(layer.weight)
                    torch.nn.init.normal_(layer.bias, std=0.1)
            torch.save({f"features.{k}": v for k, v in net.state_dict().items()}, folder / f"{name}.pth")
    return types.SimpleNamespace(folder=folder, **nets)


# ---- against the authors' packages


@pytest.mark.parametrize("protocol, normalize", [("paper", False), ("corrected", True)])
@pytest.mark.parametrize("name, net, trunk", [("lpips", "alex", "alexnet"), ("lpips_vgg", "vgg", "vgg16")])
def test_lpips_equals_its_package(trunks, name, net, trunk, protocol, normalize):
    import lpips

    package = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    layers = dict(getattr(trunks, trunk).named_children())
    for stage in (package.net.slice1, package.net.slice2, package.net.slice3, package.net.slice4, package.net.slice5):
        for index, layer in stage.named_children():
            layer.load_state_dict(layers[index].state_dict())
    x, y = pair(96, 80)
    with torch.no_grad():
        close(score(name, x, y, protocol, weights_dir=trunks.folder), package(x, y, normalize=normalize), 1e-5)


def test_dists_equals_its_package(trunks, monkeypatch):
    import torchvision

    monkeypatch.setattr(torchvision.models, "vgg16", lambda pretrained: types.SimpleNamespace(features=trunks.vgg16))
    from DISTS_pytorch import DISTS

    package = DISTS(load_weights=False)
    carried = weights.read_state(weights.package_file("DISTS_pytorch/weights.pt"))
    package.alpha.data, package.beta.data = carried["alpha"], carried["beta"]
    for side in (96, 67):
        x, y = pair(side, 80)
        close(
            score("dists", x, y, weights_dir=trunks.folder), package(x, y), abs=steps(4)
        )  # a dozen subtractions from 1


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_stlpips_equals_its_package(net, monkeypatch):
    monkeypatch.setitem(
        sys.modules, "IPython", types.SimpleNamespace(embed=None)
    )  # imported there, and used for nothing
    monkeypatch.setitem(sys.modules, "torchsummary", types.SimpleNamespace(summary=None))
    with redirect_stdout(io.StringIO()):
        from stlpips_pytorch import stlpips

        package = stlpips.LPIPS(net=net, variant="shift_tolerant")
    x, y = pair(97, 80)
    with torch.no_grad():
        close(score(f"stlpips_{net}", x, y), package(x, y, normalize=True), 1e-6)
        expected = package.net(package.scaling_layer(2 * x - 1))
        maps = cnns.stlpips_trunk(net)(x)
    assert len(maps) == 5
    for ours, map in zip(maps, expected):
        torch.testing.assert_close(ours, map, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("height, width", [(40, 40), (41, 40), (40, 41), (41, 41), (14, 57)])
def test_a_convolution_and_its_blur_are_one(height, width):
    """To a rounding the same as one after the other, at the mirrored borders, too; and so are the slopes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        one = cnns.BlurredConv(3, 5, 11, padding=2).double()
        x = torch.rand(2, 3, height, width, dtype=torch.float64, requires_grad=True)
    two = torch.nn.Conv2d(3, 5, 11, padding=2).double()
    two.load_state_dict(one.state_dict())
    expected = cnns.Binomial(5, 2, "reflect").double()(two(x))
    result = one(x)
    torch.testing.assert_close(result, expected, rtol=1e-12, atol=1e-12)
    slopes = [torch.autograd.grad(y.square().sum(), x)[0] for y in (result, expected)]
    torch.testing.assert_close(*slopes, rtol=1e-11, atol=1e-11)


def test_stlpips_prints_nothing_and_needs_no_undeclared_package(monkeypatch, capsys):
    for name in ("IPython", "torchsummary"):
        monkeypatch.setitem(sys.modules, name, None)  # importing it would raise
    x, y = pair(64, 64)
    assert 0 < float(score("stlpips_alex", x, y)) < 1
    assert capsys.readouterr() == ("", "")


def test_vgg19_levels_are_the_published_stages(trunks):
    """Ending at ReLU 1_2, 2_2, 3_4, 4_4, 5_4, the pools replaced by the L2 pooling that DISTS' package has."""
    from DISTS_pytorch.DISTS_pt import L2pooling

    x, _ = pair(75, 66)
    h, expected = x, [x]
    for start, end in ((0, 3), (5, 8), (10, 17), (19, 26), (28, 35)):
        h = h if start == 0 else L2pooling(channels=h.shape[1])(h)
        for layer in trunks.vgg19[start : end + 1]:
            h = layer(h)
        expected.append(h.detach().clone())
    levels = metrics.FEATURES["vgg19"](trunks.folder)(x)
    assert len(levels) == 6
    # Each of sixteen convolutions rounds by a few steps at the size of the largest values, where a sum cancels too
    for level, stage in zip(levels, expected):
        torch.testing.assert_close(level, stage, rtol=1e-5, atol=steps(64, float(stage.abs().max())))


def test_efficientnet_levels_are_the_published_stages(tmp_path):
    from torchvision.models import efficientnet_b7

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = efficientnet_b7(weights=None)
    torch.save(net.state_dict(), tmp_path / "efficientnet_b7.pth")
    x, _ = pair(64, 64)
    levels = metrics.FEATURES["efficientnet_b7"](tmp_path)(x)
    h, expected = net.eval().features[0](x), [x]
    with torch.no_grad():
        for layer in net.features[1:8]:  # level 1 ends after features[1]
            h = layer(h)
            expected.append(h)
    assert len(levels) == len(expected) == 8
    for level, stage in zip(levels, expected):
        torch.testing.assert_close(level, stage, rtol=1e-5, atol=1e-6)


# ---- weights


@pytest.mark.parametrize(
    "features, file",
    [
        ("lpips_alex", "alexnet"),
        ("lpips_vgg", "vgg16"),
        ("dists", "vgg16"),
        ("vgg19", "vgg19"),
        ("efficientnet_b7", "efficientnet_b7"),
    ],
)
def test_missing_weights_are_one_error(tmp_path, features, file):
    with pytest.raises(
        UsageError, match=rf"{file}\.pth: no such file.*https://download\.pytorch\.org/models/{file}.*--fetch"
    ):
        metrics.FEATURES[features](tmp_path)


def test_the_wrong_architecture_is_named(trunks, tmp_path):
    (tmp_path / "vgg16.pth").write_bytes((trunks.folder / "vgg19.pth").read_bytes())
    with pytest.raises(
        UsageError, match=r"vgg16\.pth: not the weights of this architecture; missing: features\.17\.weight"
    ):
        metrics.FEATURES["dists"](tmp_path)
    (tmp_path / "alexnet.pth").write_bytes((trunks.folder / "vgg19.pth").read_bytes())
    with pytest.raises(
        UsageError, match=r"alexnet\.pth: .*shape: features\.0\.weight \(64, 3, 3, 3\) instead of \(64, 3, 11"
    ):
        metrics.FEATURES["lpips_alex"](tmp_path)


@pytest.mark.parametrize("features", ["lpips_alex", "vgg19"])
def test_random_weights_follow_the_seed_and_nothing_else(features):
    x, _ = pair(64, 64)

    def last(seed):
        torch.rand(3)  # the global generator has moved on
        return metrics.FEATURES[features](random_seed=seed)(x)[-1]

    assert torch.equal(last(0), last(0)) and not torch.equal(last(0), last(1))
    assert last(0).count_nonzero() > 0


def test_scores_have_gradients():
    x, y = pair(64, 64)
    x.requires_grad_()
    features = metrics.FEATURES["stlpips_alex"]()
    metrics.METRICS["stlpips_alex"].distance(features(x), features(y)).sum().backward()
    assert torch.isfinite(x.grad).all() and x.grad.abs().sum() > 0


def test_feature_vectors_of_length_zero_have_a_gradient():
    maps = [torch.zeros(1, width, 2, 2, requires_grad=True) for width in (64, 192, 384, 256, 256)]
    sum(
        m.sum() for m in cnns.calibrated(weights.package_file("lpips/weights/v0.1/alex.pth"), "cpu")(None, maps)
    ).backward()
    assert all(torch.isfinite(m.grad).all() for m in maps)


@pytest.mark.parametrize("side", [2, 3])
def test_a_dense_pool_is_the_pool_of_torch(side):
    """To the bit, NaN and infinity included; with a gradient it is that of torch itself."""
    x = torch.randn(2, 5, 17, 12, generator=torch.Generator().manual_seed(side)).relu()
    x[0, 0, 3, 3], x[0, 1, 5, 5], x[1, 2, 0, 0] = float("nan"), float("inf"), -float("inf")
    expected = torch.nn.functional.max_pool2d(x, side, 1)
    dense = cnns.MaxPoolDense(side)
    torch.testing.assert_close(dense(x), expected, rtol=0, atol=0, equal_nan=True)
    flat = torch.ones(1, 1, 4, 4, requires_grad=True)  # all are equal: the gradient goes to one of each window
    dense(flat).sum().backward()
    assert flat.grad.sum() == (5 - side) ** 2 and set(flat.grad.flatten().tolist()) <= {0.0, 1.0}


@pytest.mark.numeric
@pytest.mark.parametrize("height, width", [(288, 288), (255, 256), (192, 171), (40, 64)])
def test_phase_congruency_is_piqs(height, width):
    """In float64, where the two orders of adding differ by 1e-14 of a map near 1."""
    from piq.fsim import _construct_filters, _phase_congruency

    y = 255 * torch.rand(2, 1, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.nn.functional.avg_pool2d(y, 3, 1, 1)
    expected = _phase_congruency(y, _construct_filters(y))
    got = cnns.phase_congruency(y, *cnns.log_gabor(height, width, y.dtype, y.device))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-11)
