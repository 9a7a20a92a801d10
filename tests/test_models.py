"""models.py and networks/trunks.py: layouts, blocks, embeddings, precision, checkpoints in other layouts,
and what is refused."""

import pytest
import torch

import models
from common.errors import UsageError
from methods.build import build
from methods.model import Options
from models import BACKBONES, load_backbone
from networks import trunks

pytestmark = pytest.mark.numeric
SMALL = "timm:test_vit.r160_in1k"


def windows(n=2, seed=0):
    return torch.rand(n, 3, 224, 224, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def small():
    return load_backbone(SMALL, weights="random")


def test_registry_entries_are_whole():
    assert len(BACKBONES) == 10
    for name, entry in BACKBONES.items():
        assert entry.kind in ("tokens", "maps") and entry.what
        assert entry.weights is None or (
            entry.weights.name == name and entry.weights.licence and entry.weights.citation
        )


def test_blocks_are_the_outputs_of_the_blocks_prefix_tokens_first(small):
    caught = []
    hooks = [b.register_forward_hook(lambda m, i, o: caught.append(o)) for b in small.trunk.model.blocks]
    with torch.inference_mode():
        result = small(windows(), embedding=True)
        last = small.trunk.model.forward_features(windows())
    for hook in hooks:
        hook.remove()
    assert all(torch.equal(a, b) for a, b in zip(result.blocks, caught)) and len(result.blocks) == small.layers
    assert torch.allclose(result.embedding, torch.nn.functional.normalize(last, dim=-1), atol=1e-6)


def test_blocks_after_the_last_one_needed_are_not_run(small):
    some = load_backbone(SMALL, weights="random", layers=[0, 2])
    calls = []
    hooks = [b.register_forward_hook(lambda *_, i=i: calls.append(i)) for i, b in enumerate(some.trunk.model.blocks)]
    with torch.inference_mode():
        result, whole = some(windows()), small(windows())
    [hook.remove() for hook in hooks]
    assert calls == [0, 1, 2] and len(result.blocks) == 2
    assert torch.equal(result.blocks[0], whole.blocks[0]) and torch.equal(result.blocks[1], whole.blocks[2])


@pytest.mark.parametrize(
    "name", ["timm:test_resnet.r160_in1k", "timm:test_convnext.r160_in1k", "timm:test_efficientnet.r160_in1k"]
)
def test_any_timm_model_with_intermediates(name):
    backbone = load_backbone(name, weights="random")
    with torch.inference_mode():
        result = backbone(windows(), embedding=True)
    assert backbone.kind == "maps" and len(result.blocks) == backbone.layers > 1
    assert torch.allclose(result.embedding.norm(dim=-1), torch.ones(2, 1), atol=1e-5)


def test_the_seed_decides_random_weights():
    one, again, other = (load_backbone(SMALL, weights="random", seed=s).trunk.state_dict() for s in (0, 0, 1))
    assert all(torch.equal(one[k], again[k]) for k in one) and any(not torch.equal(one[k], other[k]) for k in one)


def test_normalisation_is_off_by_default(small):
    mean, std = (torch.tensor(s).view(1, 3, 1, 1) for s in models.IMAGENET)
    normal = load_backbone(SMALL, weights="random", normalize="imagenet")
    with torch.inference_mode():
        assert torch.allclose(normal(windows()).blocks[0], small((windows() - mean) / std).blocks[0], atol=1e-5)


@pytest.mark.parametrize("precision, most", [("bf16", 0.2), ("fp16", 0.03)])
def test_lower_precision_is_near_and_returns_float32(small, precision, most):
    low = load_backbone(SMALL, weights="random", precision=precision)
    with torch.inference_mode():
        a, b = low(windows()).blocks[-1], small(windows()).blocks[-1]
    assert a.dtype == torch.float32 and 0 < (a - b).abs().max() < most * b.abs().max()


def test_clip_is_rounded_to_float16_and_computes_in_it_only_under_paper():
    paper = load_backbone("clip_rn50", weights="random")
    full = load_backbone("clip_rn50", weights="random", precision="fp32")
    assert (
        paper.trunk.visual.conv1.weight.dtype == torch.float16 and full.trunk.visual.conv1.weight.dtype == torch.float32
    )
    assert torch.equal(paper.trunk.visual.conv1.weight.float(), full.trunk.visual.conv1.weight)
    assert paper.trunk.visual.bn1.weight.dtype == torch.float32
    with torch.inference_mode():
        result = full(windows(1), embedding=True)
    assert [b.shape[1:] for b in result.blocks] == [
        (64, 56, 56),
        (256, 56, 56),
        (512, 28, 28),
        (1024, 14, 14),
        (2048, 7, 7),
    ]
    assert result.embedding.shape == (1, 1, 1024)


def huggingface(state):
    """timm's keys of a ViT as Hugging Face's ViTModel names them, q, k, v apart."""
    result = {}
    for key, value in state.items():
        if ".attn.qkv." in key:
            block, kind = key.split(".")[1], key.split(".")[-1]
            for name, part in zip(("query", "key", "value"), value.chunk(3)):
                result[f"vit.encoder.layer.{block}.attention.attention.{name}.{kind}"] = part
            continue
        for timm_part, huggingface_part in (
            ("cls_token", "embeddings.cls_token"),
            ("pos_embed", "embeddings.position_embeddings"),
            ("patch_embed.proj", "embeddings.patch_embeddings.projection"),
            ("blocks.", "encoder.layer."),
            ("attn.proj", "attention.output.dense"),
            ("mlp.fc1", "intermediate.dense"),
            ("mlp.fc2", "output.dense"),
            ("norm1", "layernorm_before"),
            ("norm2", "layernorm_after"),
        ):
            key = key.replace(timm_part, huggingface_part)
        key = key.replace("norm.", "layernorm.") if key.startswith("norm.") else key
        result[("classifier" + key[4:]) if key.startswith("head") else f"vit.{key}"] = value
    return result


def test_huggingface_checkpoints_are_accepted():
    import timm

    state = timm.create_model("vit_tiny_patch16_224", num_classes=10).state_dict()
    back = trunks.from_huggingface(huggingface(state))
    assert set(back) == set(state) and all(torch.equal(back[k], state[k]) for k in state)
    broken = {k: v for k, v in huggingface(state).items() if "layer.3.attention.attention.key.weight" not in k}
    with pytest.raises(UsageError, match="lacks the key of blocks.3.attn.qkv.weight"):
        trunks.from_huggingface(broken)


def test_dinov2_positions_are_resized_by_the_scale_factor_without_antialias():
    state = {"pos_embed": torch.randn(1, 1 + 37 * 37, 8, generator=torch.Generator().manual_seed(0))}
    result = trunks.resize_dinov2(state, 224)["pos_embed"]
    assert result.shape == (1, 257, 8) and torch.equal(result[:, 0], state["pos_embed"][:, 0])
    grid = state["pos_embed"][0, 1:].T.reshape(1, 8, 37, 37)
    by_size = torch.nn.functional.interpolate(grid, size=(16, 16), mode="bicubic")  # what later libraries do
    assert 1e-3 < (result[0, 1:].T.reshape(1, 8, 16, 16) - by_size).abs().max() < 2


# ---- whole images: position embeddings on other grids


def interpolated(position, side, size):
    """Position embedding (1 + side^2, C) on the grid `size`, the class token's aside."""
    grid = position[1:].T.reshape(1, -1, side, side)
    grid = torch.nn.functional.interpolate(grid, size=size, mode="bicubic", antialias=True).flatten(2)[0].T
    return torch.cat([position[:1], grid])


def test_a_vit_sees_whole_images_by_its_position_embedding_on_their_grid():
    """Of the windows' size: the same features. Other sizes: bicubic interpolation; what fills no patch is left out; the
    order in which images of several sizes come changes nothing."""
    whole, windowed = (load_backbone(SMALL, weights="random", window=window) for window in (None, 160))
    x = torch.rand(2, 3, 200, 250, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        first = whole(x, embedding=True)
        small, want = whole(x[..., :160, :160]), windowed(x[..., :160, :160])
        assert all(torch.equal(a, b) for a, b in zip(small.blocks, want.blocks))
        again, cut = whole(x, embedding=True), whole(x[..., :192, :240])
    for other in (again, cut):
        assert all(torch.equal(a, b) for a, b in zip(first.blocks, other.blocks))
    model = windowed.trunk.model
    prefix = model.pos_embed.shape[1] - 10 * 10
    assert first.blocks[0].shape[1] == 12 * 15 + model.num_prefix_tokens and prefix == 1
    assert torch.allclose(whole.trunk.model.pos_embed[0], interpolated(model.pos_embed[0], 10, (12, 15)), atol=1e-5)


@pytest.mark.parametrize("side", [128, 160, 240])
def test_a_whole_square_is_a_window_of_its_side(side):
    """The same checkpoint, its positions brought to the grid by timm when it is loaded, or here for the image."""
    import timm

    state, x = timm.create_model("test_vit", img_size=160).state_dict(), windows(1)[..., :side, :side]
    x = torch.nn.functional.interpolate(x, size=side)
    with torch.inference_mode():
        windowed, whole = (
            trunks.build_timm("test_vit.r160_in1k", window, dict(state))(x, 1, False).blocks for window in (side, None)
        )
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(windowed, whole))


def test_dinov2_sees_whole_images_as_it_sees_windows():
    """Its 37 x 37 positions come to any grid by its own scale factor: windows of 224 and whole images of 224 agree."""
    import timm

    tag = "vit_small_patch14_dinov2.lvd142m"
    state = timm.create_model(tag).state_dict()
    build = models.timm_backbone(tag, prepare="resize_dinov2", stretch="stretched_dinov2")
    with torch.inference_mode():
        windowed, whole = (build(window, dict(state))(windows(1), 0, False).blocks[0] for window in (224, None))
        oblong = build(None, dict(state))(torch.rand(1, 3, 150, 285), 0, False).blocks[0]
    assert windowed.shape == (1, 257, 384) and torch.allclose(windowed, whole, atol=1e-6)
    assert oblong.shape == (1, 1 + 10 * 20, 384)


def test_clip_sees_whole_images_by_its_position_embedding_on_their_grid():
    trunk = trunks.build_clip(trunks.ClipViT, 32, 2, 64, 8, 32, openai_state("ClipViT", (32, 2, 64, 8), 32)[1]).float()
    x = torch.rand(1, 3, 50, 43, generator=torch.Generator().manual_seed(0))
    embedding = trunk.visual.positional_embedding
    with torch.inference_mode():
        oblong = trunk(x, 1, True)
        same = trunk(x[..., :32, :32], 1, False).blocks[1]
        position = trunks.stretched(embedding[None], (4, 4), (6, 5))[0]
        assert torch.allclose(position, interpolated(embedding, 4, (6, 5)), atol=1e-6)
    assert oblong.blocks[1].shape == (1, 1 + 6 * 5, 64) and same.shape == (1, 17, 64)
    assert oblong.embedding.shape == (1, 1, 32) and torch.isfinite(oblong.embedding).all()


def test_a_checkpoint_of_another_architecture_names_its_keys(tmp_path):
    import timm

    torch.save(timm.create_model("test_vit2").state_dict(), tmp_path / "timm-test_vit.r160_in1k.pth")
    with pytest.raises(
        UsageError, match=r"timm-test_vit.r160_in1k.pth: .*not of the architecture.*(blocks|size mismatch|eys)"
    ):
        load_backbone(SMALL, weights_dir=tmp_path)
    torch.save({"a": torch.zeros(1)}, tmp_path / "clip_rn50.pth")
    with pytest.raises(UsageError, match="not of the architecture OpenAI CLIP; missing: .*unexpected: a"):
        load_backbone("clip_rn50", weights_dir=tmp_path)
    torch.save(timm.create_model("test_vit").state_dict(), tmp_path / "clip_vitb32.pth")  # the keys of DINO's ViT
    with pytest.raises(
        UsageError,
        match=r"clip_vitb32.pth: .*OpenAI CLIP; missing: class_embedding, .*unexpected: cls_token, pos_embed, "
        "patch_embed.proj.weight",
    ):
        load_backbone("clip_vitb32", weights_dir=tmp_path)


SMALL_CLIP = {
    "vit": ("ClipViT", (32, 2, 64, 8), 32),
    "resnet": ("ClipResNet", (32, (1, 1, 2, 1), 8, None), 64),
}  # trunk, size, window


def openai_state(trunk, size, window):
    """Seeded weights of a small CLIP under OpenAI's keys, text tower included -> in float32 as the hub has them, and as
    OpenAI stores them, with those weights in float16 that the package computes in float16."""
    from clip.model import CLIP, convert_weights

    embed_dim, layers, width, patch = size
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = CLIP(embed_dim, window, layers, width, patch, 8, 32, 64, 1, 1)
        for name, tensor in model.state_dict().items():  # in batch norms that do something
            if "bn" in name and tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
    plain = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    convert_weights(model)
    return plain, model.state_dict()


def timm_state(state, kind):
    """The same under timm's keys, by timm's own converter: an independent judge of ours."""
    if kind == "vit":
        from timm.models.vision_transformer import _convert_openai_clip

        return _convert_openai_clip(state, None)
    import types

    import timm
    from timm.models.byobnet import _convert_openai_clip

    head = timm.create_model("resnet50_clip.openai").head
    return {
        k: v
        for k, v in _convert_openai_clip(state, types.SimpleNamespace(head=head)).items()
        if k.startswith(("stem", "stages", "head"))
    }


@pytest.mark.parametrize("kind", SMALL_CLIP)
@pytest.mark.parametrize("layout", ["timm", "open_clip"])
def test_the_hubs_copies_of_clip_give_openais_scores(tmp_path, monkeypatch, kind, layout):
    """A seeded checkpoint in the hub's formats scores as in OpenAI's, to 1e-6 in float32."""
    import distances

    trunk, size, window = SMALL_CLIP[kind]
    state, rounded = openai_state(trunk, size, window)
    visual = {k: v for k, v in state.items() if k.startswith("visual.")}
    converted = timm_state(state, kind) if layout == "timm" else visual
    if layout == "timm":
        back = trunks.from_timm_clip(converted)
        assert back.keys() == visual.keys() and all(torch.equal(back[k], visual[k]) for k in visual)
    entry = models.Backbone("small", "tokens", models.clip_backbone(trunk, *size), models.Weights("small"), half=True)
    monkeypatch.setitem(BACKBONES, "small", entry)
    x, y = windows(2)[..., :window, :window], windows(2).flip(0)[..., :window, :window]
    scores = []
    for name, tensors in (("openai", rounded), ("hub", converted)):
        (tmp_path / name).mkdir()
        torch.save(dict(tensors), tmp_path / name / "small.pth")
        loaded = load_backbone("small", weights_dir=tmp_path / name, precision="fp32", window=window)
        with torch.inference_mode():
            f, g = loaded(x, embedding=True), loaded(y, embedding=True)
            result = distances.compare(["l2", "cos"], f, g, "paper")
        scores.append(
            torch.stack([result["l2"], result["cos"], (f.embedding - g.embedding).square().sum((1, 2))]).double()
        )
    assert (scores[0] - scores[1]).abs().max() <= 1e-6 * scores[0].abs().max() and (scores[0][:2] > 1e-4).all()


def test_a_timm_projection_with_a_bias_is_not_openais():
    state = timm_state(openai_state(*SMALL_CLIP["vit"][:2], 32)[0], "vit")
    state["head.bias"] = torch.ones(32)
    with pytest.raises(UsageError, match="unexpected: head.bias"):
        trunks.build_clip(trunks.ClipViT, *SMALL_CLIP["vit"][1], 32, state)


def test_own_weights_are_loaded_from_the_folder(tmp_path):
    import timm

    model = timm.create_model("test_vit", img_size=224).eval()
    torch.save(model.state_dict(), tmp_path / "timm-test_vit.r160_in1k.pth")
    with torch.inference_mode():
        result = load_backbone(SMALL, weights_dir=tmp_path)(windows(), embedding=True)
        want = torch.nn.functional.normalize(model.forward_features(windows()), dim=-1)
    assert torch.allclose(result.embedding, want, atol=1e-5)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(name="dinov3"), "unknown backbone 'dinov3'; nearest known: dinov"),
        (dict(name="timm:vit_giant_nonsense"), "unknown timm model"),
        (dict(name=SMALL, weights="random", precision="tf32"), "tf32 needs a CUDA device"),
        (dict(name=SMALL, weights="random", layers=[0, 99]), "has the blocks 0 to"),
        (dict(name="dinov1", weights_dir="/nowhere"), "/nowhere"),
    ],
)
def test_what_is_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        load_backbone(**arguments)


@pytest.mark.parametrize("cost, warned", ((3.25, 1), (0.5, 0)))
def test_a_slow_bfloat16_is_warned_of_once_with_what_was_measured(cost, warned, monkeypatch, capsys):
    monkeypatch.setattr(models, "cost_of_bfloat16", lambda: cost)
    models.warn_of_bfloat16.cache_clear()
    for precision in ("fp32", "bf16", "bf16"):
        for name in ("st_alexnet", "dinov1"):
            build([name], ["l2"], Options(precision=precision))
        assert precision == "bf16" or capsys.readouterr().err == ""
    assert capsys.readouterr().err.count("takes 3.2 times as long as in fp32 on this CPU") == warned
    models.warn_of_bfloat16.cache_clear()


def test_the_cost_of_bfloat16_is_the_least_of_its_times_over_the_least_of_float32():
    times = iter([0, 9, 10, 12, 20, 24, 30, 39, 40, 47, 50, 56])  # lasting 9, 2, 4 and 9, 7, 6
    assert models.cost_of_bfloat16(lambda: next(times)) == 3
