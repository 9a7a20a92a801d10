"""Nothing is left on the wrong device: every backbone, distance, embedding and metric through the engine's batch path
on a fake CUDA device (fake_cuda.py), at full size, since nothing is computed."""

import numpy as np
import pytest
import torch
from fake_cuda import fake_cuda
from PIL import Image

import distances
import models
from methods.build import build
from methods.metrics import METRICS
from methods.model import Options
from scoring import Scorer
from scoring.engine import score_plan
from scoring.plan import ImageFile, Plan

PERTURBATIONS = [("tra", 1.0)]  # its reference is perturbed, too
FEATURES = list(dict.fromkeys(metric.features for metric in METRICS.values()))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A reference and two distorted images of two windows each."""
    folder, random, size = tmp_path_factory.mktemp("images"), np.random.default_rng(0), (260, 224)
    for name in ("r", "d0", "d1"):
        pixels = random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    reference, *distorted = (ImageFile(str(folder / f"{name}.png"), *size) for name in ("r", "d0", "d1"))
    return [(d, reference) for d in distorted]


def scores(model, files):
    """What the engine makes of all pairs under all perturbations, on the model's device."""
    plan = Plan(model, files, PERTURBATIONS, None, 4)
    return list(score_plan(plan, lambda perturbation, unit: model.columns))


def asked_of(name):
    """A backbone's methods and all distances it takes."""
    entry = models.BACKBONES[name]
    names = [d for d, distance in distances.DISTANCES.items() if entry.kind == "tokens" or not distance.tokens_only]
    return [name, *([f"embed_{name}"] if entry.embedding else [])], names


def check(method_names, distance_names, files, monkeypatch, **options):
    with fake_cuda(monkeypatch):
        [model] = build(method_names, distance_names, Options(weights="random", device="cuda", **options))
        result = scores(model, files)
    assert {name for _, _, values in result for name in values} == {column.name for column in model.columns}
    assert sum(len(unit) for _, unit, _ in result) == len(files) * len(PERTURBATIONS)


@pytest.mark.parametrize("name", models.BACKBONES)
def test_a_backbone_with_all_its_distances_stays_on_its_device(name, files, monkeypatch):
    check(*asked_of(name), files, monkeypatch, normalize="none" if name.startswith("st_") else "model")


@pytest.mark.parametrize("options", ({"precision": "fp16"}, {"precision": "bf16"}, {"protocol": "corrected"}))
def test_in_every_precision_and_protocol(options, files, monkeypatch):
    check(*asked_of("clip_vitb32"), files, monkeypatch, **options)


def test_blocks_one_by_one_and_chosen(files, monkeypatch):
    check(["st_alexnet"], distances.of_blocks(), files, monkeypatch, per_layer=True, layers=(0, 2))


@pytest.mark.parametrize("features", FEATURES)
def test_metrics_stay_on_their_device(features, files, monkeypatch):
    check([name for name, m in METRICS.items() if m.features == features], [], files, monkeypatch)


@pytest.mark.parametrize("method", ("lpips", "dists", "deep_wsd_vgg"))
def test_metrics_of_the_corrected_protocol(method, files, monkeypatch):
    check([method], [], files, monkeypatch, protocol="corrected")


def test_a_score_as_a_loss(monkeypatch):
    with fake_cuda(monkeypatch):
        scorer = Scorer("st_alexnet", "l2", device="cuda")
        image = torch.rand(2, 3, 240, 224)
        assert scorer(image, image).device.type == "cuda"


# ---- the test of the test


def on_the_cpu(pair, protocol="paper"):
    return (pair.a * torch.ones(pair.a.shape[-1])).flatten(1).mean(1)


def test_a_tensor_left_on_the_cpu_by_a_distance_is_noticed(files, monkeypatch):
    monkeypatch.setitem(distances.DISTANCES, "planted", distances.Distance("multiplies by a CPU tensor", on_the_cpu))
    with pytest.raises(RuntimeError, match="at least two devices, cuda:0 and cpu"):
        check(["st_alexnet"], ["planted"], files, monkeypatch)


def test_a_tensor_left_on_the_cpu_by_a_backbone_is_noticed(files, monkeypatch):
    from networks import cnns

    class Forgetful(cnns.Scale):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            mean = self._buffers.pop("mean")
            self.mean = mean  # no longer a buffer: .to(device) passes it by

    monkeypatch.setattr(cnns, "Scale", Forgetful)
    with pytest.raises(RuntimeError, match="at least two devices, cuda:0 and cpu"):
        check(["st_alexnet"], ["l2"], files, monkeypatch)


def test_scores_left_on_the_cpu_are_noticed(files, monkeypatch):
    def left(pair, protocol="paper"):
        return torch.zeros(len(pair.a))

    monkeypatch.setitem(distances.DISTANCES, "planted", distances.Distance("stays on the CPU", left))
    with pytest.raises((RuntimeError, AssertionError), match="cpu"):
        check(["st_alexnet"], ["planted"], files, monkeypatch)
