"""The architectures behind the backbones: build one from a checkpoint (or seeded at random), get its blocks.

A trunk is a torch module; `trunk(x, last, embedding)` takes windows (B, 3, S, S) and gives Features with the outputs of
blocks 0..last (last = -1: none are kept) and, if asked for, the embedding as (B, tokens, channels), each token
L2-normalised. Blocks after the last one needed are not run. Every torch/timm/clip detail of a backbone lives here.
"""

import re
import warnings
from collections.abc import Callable
from functools import partial
from math import isqrt
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from common.errors import UsageError
from distances import Features
from networks.weights import differences


class TimmTrunk(nn.Module):
    """Any timm model that offers intermediates. Transformers give tokens, prefix tokens first; CNNs give maps.

    window None: images of any size. A ViT's position embedding is then brought to the grid of each image's patches by
    stretch(embedding (1, N, C), its grid, the grid wanted); rows and columns of pixels that fill no patch, at the
    bottom and at the right, are left out, as its first convolution does.
    """

    FORMATS = ({"output_fmt": "NLC", "return_prefix_tokens": True}, {"output_fmt": "NLC"}, {"output_fmt": "NCHW"})

    def __init__(self, model, window, projected=False, stretch=None):
        super().__init__()
        self.model, self.projected, self.stretch = model, projected, stretch or stretched
        self.grid = None  # of the position embedding in use; None: it stays that of the windows
        patches, position = getattr(model, "patch_embed", None), getattr(model, "pos_embed", None)
        if window is None and position is not None and position.ndim == 3 and hasattr(patches, "strict_img_size"):
            self.register_buffer("position", position.detach().clone(), persistent=False)
            self.grid, patches.strict_img_size = patches.grid_size, False
            model.dynamic_img_size, patches.flatten = False, True  # one mechanism, of those of timm's that have another
        window = window or model.pretrained_cfg["input_size"][-1]
        for output_format in self.FORMATS:
            self.format = output_format
            try:
                with torch.inference_mode():
                    [first] = self(torch.zeros(1, 3, window, window), 0, False).blocks
                break
            except (AssertionError, TypeError, AttributeError):
                continue
        else:
            raise UsageError(
                f"timm's {type(model).__name__} offers no intermediate features; "
                "choose a model with forward_intermediates"
            )
        self.layers, self.kind = len(model.feature_info), "tokens" if first.ndim == 3 else "maps"

    def fitted(self, x):
        """Images (B, 3, H, W) cut to whole patches; the position embedding is brought to their grid."""
        patches = self.model.patch_embed
        grid = tuple(side // patch for side, patch in zip(x.shape[2:], patches.patch_size))
        if grid != self.grid:
            with torch.inference_mode(False), torch.no_grad():
                position = self.stretch(self.position, patches.grid_size, grid)
                self.model.pos_embed, self.grid = nn.Parameter(position, requires_grad=False), grid
        return x[..., : grid[0] * patches.patch_size[0], : grid[1] * patches.patch_size[1]]

    def forward(self, x, last, embedding):
        wanted = list(range(last + 1))
        if self.grid:
            x = self.fitted(x)
        if not embedding:
            blocks, final = (
                self.model.forward_intermediates(x, wanted, stop_early=True, intermediates_only=True, **self.format),
                None,
            )
        else:
            final, blocks = self.model.forward_intermediates(x, wanted or [0], **self.format)
            if self.projected:
                final = self.model.forward_head(final)[:, None]
            elif self.kind == "maps":
                final = self.model.forward_head(final, pre_logits=True).flatten(1)[:, None]
            final = F.normalize(final, dim=-1)
        blocks = [torch.cat([b[1], b[0]], 1) if isinstance(b, (tuple, list)) else b for b in blocks]
        return Features(blocks if last >= 0 else [], final)


class ConvNextTrunk(nn.Module):
    """timm's ConvNeXt block by block: the output of every block of every stage."""

    kind = "maps"

    def __init__(self, model, window, projected=True, stretch=None):
        super().__init__()
        self.model, self.layers = model, sum(len(s.blocks) for s in model.stages)

    def forward(self, x, last, embedding):
        m = self.model
        blocks: list[torch.Tensor] = []
        last_run = self.layers - 1 if embedding else last
        x = m.stem(x)
        for stage in m.stages:
            if len(blocks) > last_run:
                break
            x = stage.downsample(x)
            for block in stage.blocks[: last_run + 1 - len(blocks)]:
                x = block(x)
                blocks.append(x)
        final = F.normalize(m.forward_head(m.norm_pre(x)), dim=-1)[:, None] if embedding else None
        return Features(blocks[: last + 1], final)


class ClipViT(nn.Module):
    """The image tower of OpenAI's CLIP ViT; blocks are the residual block outputs. Images of another size than its
    windows have its position embedding brought to their grid, as in TimmTrunk."""

    kind = "tokens"

    def __init__(self, visual):
        super().__init__()
        self.visual, self.layers = visual, len(visual.transformer.resblocks)

    def forward(self, x, last, embedding):
        v, blocks = self.visual, []
        x = v.conv1(x)
        grid, position = tuple(x.shape[2:]), v.positional_embedding
        side = isqrt(len(position) - 1)
        if grid != (side, side):
            position = stretched(position[None], (side, side), grid)[0]
        x = x.flatten(2).transpose(1, 2)  # (B, patches, C)
        x = torch.cat([v.class_embedding.to(x.dtype).expand(len(x), 1, -1), x], 1)
        x = v.ln_pre(x + position.to(x.dtype)).transpose(0, 1)  # the package works tokens first
        for block in v.transformer.resblocks[: None if embedding else last + 1]:
            x = block(x)
            blocks.append(x.transpose(0, 1))
        final = v.ln_post(x[0]) @ v.proj if embedding else None
        return Features(blocks[: last + 1], None if final is None else unit(final)[:, None])


class ClipResNet(nn.Module):
    """The image tower of OpenAI's CLIP ResNet: the stem's average-pool output, then layer1 to layer4."""

    kind, layers = "maps", 5

    def __init__(self, visual):
        super().__init__()
        self.visual = visual

    def forward(self, x, last, embedding):
        v, blocks = self.visual, []
        for conv, norm in ((v.conv1, v.bn1), (v.conv2, v.bn2), (v.conv3, v.bn3)):
            x = norm(conv(x)).relu()
        x = v.avgpool(x)
        blocks.append(x)
        for stage in (v.layer1, v.layer2, v.layer3, v.layer4)[: None if embedding else max(last, 0)]:
            x = stage(x)
            blocks.append(x)
        return Features(blocks[: last + 1], unit(v.attnpool(x))[:, None] if embedding else None)


class StageTrunk(nn.Module):
    """A module that returns a list of maps, all at once (the ST-LPIPS trunks)."""

    kind = "maps"

    def __init__(self, stages: nn.Module, layers: int):
        super().__init__()
        self.stages, self.layers = stages, layers

    def forward(self, x: torch.Tensor, last: int, embedding: bool) -> Features:
        """(B, 3, H, W), normalised -> the maps of the stages up to number `last`; it has no embedding."""
        return Features(self.stages(x)[: last + 1])


def stretched(position, old, grid):
    """A position embedding (1, prefix + rows * columns, C) of the grid `old` -> of another grid (rows, columns):
    bicubic, with timm's antialias where it shrinks; prefix tokens as they are."""
    from timm.layers import resample_abs_pos_embed

    return resample_abs_pos_embed(position, list(grid), list(old), position.shape[1] - old[0] * old[1])


def stretched_dinov2(position, old, grid):
    """As `stretched`, as DINOv2's original code does it: bicubic, no antialias, scale factor (n + 0.1) / 37 (METHOD.md
    section 5)."""
    patches = position[:, 1:].float().reshape(1, *old, -1).permute(0, 3, 1, 2)
    scale = [(n + 0.1) / o for n, o in zip(grid, old)]
    patches = F.interpolate(patches, scale_factor=scale, mode="bicubic", antialias=False)
    patches = patches.permute(0, 2, 3, 1).flatten(1, 2)
    return torch.cat([position[:, :1].float(), patches], 1).to(position.dtype)


def unit(x):
    """x / |x|, in the precision of x and without an eps, as CLIP's users do it."""
    return x / x.norm(dim=-1, keepdim=True)


# ---- building -----------------------------------------------------------------------------------------------------


def build_timm(
    tag: str,
    window: int | None,
    state: dict | None = None,
    eps: float | None = None,
    trunk: type = TimmTrunk,
    projected: bool = False,
    prepare: Callable | None = None,
    stretch: Callable | None = None,
) -> nn.Module:
    """timm's model `tag` with the checkpoint `state` (a dict of tensors in any layout timm's filter reads, or Hugging
    Face's ViT/DINOv2 layout), or as timm initialises it when state is None. window: the side of the images it will see;
    None: of its own size, for images of any. stretch: of its position embedding then (TimmTrunk)."""
    import timm

    options: dict[str, Any] = {} if eps is None else {"norm_layer": partial(nn.LayerNorm, eps=eps)}
    if state is not None:
        state = from_huggingface(state) if any("attention.attention.query" in k for k in state) else state
        state = prepare(state, window) if prepare else state
        options |= {"pretrained": True, "pretrained_cfg_overlay": {"state_dict": state}}
    try:
        try:
            sized: dict[str, Any] = options | ({"img_size": window} if window else {})
            model = timm.create_model(tag, **sized)
        except TypeError as error:  # CNNs take any size and know no img_size
            if "img_size" not in str(error):
                raise
            model = timm.create_model(tag, **options)
    except (RuntimeError, KeyError, AttributeError) as error:
        if state is None:
            raise
        raise wrong_architecture(error, tag) from None
    return trunk(model.eval(), window, projected=projected, stretch=stretch)


def build_clip(
    trunk: type,
    embed_dim: int,
    layers: int | tuple[int, ...],
    width: int,
    patch: int | None,
    window: int | None,
    state: dict | None = None,
) -> nn.Module:
    """OpenAI's CLIP image tower through its package, its weights rounded to float16 as clip.load does on every device.

    window None: of 224, its own size (ClipViT then takes images of any).
    embed_dim, layers, width, patch: as the package's CLIP takes them. state: with OpenAI's keys (open_clip's are the
    same) or timm's; its text tower, if any, is left out. UsageError for another architecture's keys or shapes.
    """
    try:
        with warnings.catch_warnings():  # clip-anytorch still imports pkg_resources, which says that it is going away
            warnings.simplefilter("ignore")
            from clip.model import CLIP, convert_weights
    except ImportError as error:
        raise UsageError(
            f"OpenAI's package `clip` cannot be imported ({error}); install it with: "
            "pip install 'setuptools>=77.0.3,<82' clip-anytorch==2.6.0 (the index's own `clip` is another program)"
        ) from None
    window = window or 224
    # the last five: a text tower of the least size
    model = CLIP(embed_dim, window, layers, width, patch, 8, 32, 64, 1, 1)
    convert_weights(model)
    visual = model.visual.eval()
    if state is None:
        return trunk(visual)
    state = from_timm_clip(state)
    state = {key.removeprefix("visual."): value for key, value in state.items() if key.startswith("visual.")} or state
    for name in ("positional_embedding", "attnpool.positional_embedding"):
        if name in state and window != 224:
            from timm.layers import resample_abs_pos_embed

            state[name] = resample_abs_pos_embed(state[name][None].float(), [window // (patch or 32)] * 2)[0]
    if mismatch := differences(visual.state_dict(), state):
        raise UsageError(f"the checkpoint is not of the architecture OpenAI CLIP; {mismatch}")
    visual.load_state_dict(state, strict=False)  # old files lack num_batches_tracked, which nothing here reads
    return trunk(visual)


def wrong_architecture(error, what):
    """The UsageError for a checkpoint whose keys or shapes are another architecture's: names the first that differ."""
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    faults = [line if len(line) < 160 else line[:157] + "..." for line in (lines[1:] or lines)[:3]]
    first = f"lacks {error}" if isinstance(error, KeyError) else "; ".join(faults)
    return UsageError(f"the checkpoint is not of the architecture {what}: {first}")


def from_huggingface(state):
    """Hugging Face's ViTModel, ViTForImageClassification or Dinov2Model keys as timm names them, q, k, v joined."""
    names = [
        (r"^(vit|dinov2)\.", ""),
        (r"^embeddings\.cls_token", "cls_token"),
        (r"^embeddings\.position_embeddings", "pos_embed"),
        (r"^embeddings\.mask_token", "mask_token"),
        (r"^embeddings\.patch_embeddings\.projection", "patch_embed.proj"),
        (r"^encoder\.layer\.", "blocks."),
        (r"attention\.output\.dense", "attn.proj"),
        (r"intermediate\.dense", "mlp.fc1"),
        (r"output\.dense", "mlp.fc2"),
        (r"layernorm_before", "norm1"),
        (r"layernorm_after", "norm2"),
        (r"^layernorm", "norm"),
        (r"^classifier", "head"),
        (r"layer_scale(\d)\.lambda1", r"ls\1.gamma"),
    ]
    renamed, joined = {}, {}
    for key, value in state.items():
        for pattern, name in names:
            key = re.sub(pattern, name, key)
        part = re.fullmatch(r"(blocks\.\d+)\.attention\.attention\.(query|key|value)\.(weight|bias)", key)
        if part:
            joined.setdefault(f"{part[1]}.attn.qkv.{part[3]}", {})[part[2]] = value
        elif not key.startswith("pooler"):
            renamed[key] = value
    for key, parts in joined.items():
        missing = {"query", "key", "value"} - set(parts)
        if missing:
            raise UsageError(f"the checkpoint lacks the {', '.join(sorted(missing))} of {key}")
        renamed[key] = torch.cat([parts["query"], parts["key"], parts["value"]])
    return renamed


TIMM_CLIP_VIT = [
    (r"^cls_token", "class_embedding"),
    (r"^pos_embed", "positional_embedding"),
    (r"^patch_embed\.proj", "conv1"),
    (r"^norm_pre", "ln_pre"),
    (r"^norm\.", "ln_post."),
    (r"^blocks", "transformer.resblocks"),
    (r"\.norm(\d)", r".ln_\1"),
    (r"attn\.qkv\.", "attn.in_proj_"),
    (r"attn\.proj", "attn.out_proj"),
    (r"mlp\.fc1", "mlp.c_fc"),
    (r"mlp\.fc2", "mlp.c_proj"),
    (r"^head\.weight", "proj"),
]
TIMM_CLIP_RESNET = [
    (r"^stem\.conv(\d)\.(conv|bn)", r"\2\1"),
    (r"^stages\.0", "layer1"),
    (r"^stages\.1", "layer2"),
    (r"^stages\.2", "layer3"),
    (r"^stages\.3", "layer4"),
    (r"conv(\d)_(?:1x1|kxk)\.(conv|bn)", r"\2\1"),
    (r"shortcut\.conv\.conv", "downsample.0"),
    (r"shortcut\.conv\.bn", "downsample.1"),
    (r"^head\.pos_embed", "attnpool.positional_embedding"),
    (r"^head\.([qkv])\.", r"attnpool.\1_proj."),
    (r"^head\.proj", "attnpool.c_proj"),
]


def from_timm_clip(state):
    """timm's image towers of OpenAI's CLIP (vit_base_patch32_clip_224.openai, resnet50_clip.openai) under OpenAI's
    keys, "visual." before each; any other state as it is. Activations are in no file: QuickGELU is the package's.
    """
    if "norm_pre.weight" in state and "cls_token" in state:
        names = TIMM_CLIP_VIT
    elif "stem.conv1.conv.weight" in state:
        names = TIMM_CLIP_RESNET
    else:
        return state
    converted = {}
    for key, value in state.items():
        if key == "head.bias" and not value.any():  # OpenAI's projection has none; timm adds zeros
            continue
        for pattern, replacement in names:
            key = re.sub(pattern, replacement, key)
        if key == "class_embedding":
            value = value.reshape(-1)
        elif key == "positional_embedding":
            value = value.squeeze(0)
        elif key == "proj":
            value = value.T
        converted[f"visual.{key}"] = value
    return converted


def with_head(state, window):
    """A ViT checkpoint saved without its classifier loads too: the head is never used here."""
    width = state["cls_token"].shape[-1] if "cls_token" in state else 768
    return {"head.weight": torch.zeros(1000, width), "head.bias": torch.zeros(1000)} | state


def resize_dinov2(state, window):
    """A DINOv2 checkpoint with its 37 x 37 position embedding brought to the window's grid (stretched_dinov2)."""
    grid, old = window and window // 14, 37
    position = state.get("pos_embed")
    if not window or position is None or position.shape[1] != 1 + old * old:
        return state
    return state | {"pos_embed": stretched_dinov2(position.float(), (old, old), (grid, grid))}
