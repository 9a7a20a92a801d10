"""networks/unfilled.py: no random values are drawn for what a file fills, and what it does not fill is named."""

import pytest
import timm
import torch

from networks.trunks import ClipResNet, build_clip, build_timm
from networks.unfilled import unfilled

BUILDERS = {
    "vit": lambda state: build_timm("vit_tiny_patch16_224.augreg_in21k_ft_in1k", 224, state),
    "convnext": lambda state: build_timm("convnext_atto.d2_in1k", 224, state),
    "clip": lambda state: build_clip(ClipResNet, 64, (1, 1, 1, 1), 8, None, 224, state),
}


@pytest.mark.parametrize("name", BUILDERS)
def test_a_network_from_a_file_is_the_same_to_the_bit(name):
    torch.manual_seed(0)
    inner = BUILDERS[name](None)
    state = (inner.visual if name == "clip" else inner.model).state_dict()
    with unfilled() as left:
        other = BUILDERS[name](state)
    assert left(other) == []
    mine, others = inner.state_dict(), other.state_dict()
    assert list(mine) == list(others) and all(torch.equal(mine[key], others[key]) for key in mine)


@pytest.mark.parametrize("draw", ("vit_tiny_patch16_224", "resnet18", "convnext_atto", "mixer_s32_224"))
def test_nothing_is_drawn(draw):
    before = torch.random.get_rng_state()
    with unfilled():
        timm.create_model(draw)
    assert torch.equal(before, torch.random.get_rng_state())


def test_what_no_file_filled_is_named():
    with unfilled() as left:
        network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.LayerNorm(2), torch.nn.Linear(2, 2))
        assert left(network) == ["0.weight", "0.bias", "2.weight", "2.bias"]
        network[2].load_state_dict({"weight": torch.ones(2, 2), "bias": torch.ones(2)})
    assert left(network) == ["0.weight", "0.bias"]
    assert torch.equal(network[1].weight, torch.ones(2))  # a constant is no draw


def test_inference_mode_has_no_versions_to_ask():
    with torch.inference_mode(), unfilled() as left:
        assert left(torch.nn.Linear(2, 2)) == []
