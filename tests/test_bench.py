"""bench.py: what it compares is what it says, and the sections that docs/speed.md names are there."""

import argparse
import copy
import re

import pytest
import torch
from places import ROOT

import bench
from models import load_backbone

SMALL = "timm:test_vit.r160_in1k"


def test_every_section_that_the_page_names_is_there():
    page = (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")
    named = set(re.findall(r"--only ([a-z]+)", page))
    assert named <= set(bench.SECTIONS) and {"forward", "variants", "startup", "ranks", "memory", "fuse"} <= named


@pytest.fixture
def args():
    flags = {"backbones": [SMALL], "weights_dir": None, "precision": "fp32", "batches": [2], "rounds": 1}
    return argparse.Namespace(device="cpu", **flags)


@pytest.mark.parametrize(
    "name, expected",
    [
        (SMALL, {"without SDPA", "channels_last", "torch.compile", "int8"}),
        ("st_alexnet", {"contiguous, not channels_last", "torch.compile"}),  # int8 has no linear layer to quantise
    ],
)
def test_the_variants_are_those_that_a_backbone_has(name, expected, args, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda trunk: trunk)
    usual = load_backbone(name, weights="random")
    before = copy.deepcopy(usual.trunk.state_dict())
    assert set(bench.variants(usual.trunk, args)) == expected
    assert all(torch.equal(value, before[key]) for key, value in usual.trunk.state_dict().items())


def test_a_variant_is_held_against_the_usual_forward_pass(args, monkeypatch):
    def made(trunk, args):
        other = copy.deepcopy(trunk)
        for parameter in other.parameters():
            parameter.mul_(1.01)

        def broken(x, last, embedding):
            raise RuntimeError("no compiler")

        return {"the same": copy.deepcopy(trunk), "another": other, "broken": broken}

    monkeypatch.setattr(bench, "variants", made)
    measured = {what.removesuffix(f" {SMALL}"): (text, numbers) for what, text, numbers in bench.each_variant(args)}
    _, same = measured["the same"]
    assert same["ratio"] > 0 and same["srcc"] == pytest.approx(1) and same["difference"] == 0
    assert measured["another"][1]["difference"] > 1e-3
    assert measured["broken"] == ("fails: no compiler", {"failed": "no compiler"})


def test_registration_is_timed_on_the_cpu_whatever_the_device_and_its_precision(args, monkeypatch):
    monkeypatch.setattr("scoring.registration.align", lambda *pair: pair)
    args.device, args.precision = "cuda", "tf32"
    [(_, _, numbers)] = bench.registering(args)
    assert numbers["of_backbone"] > 0
