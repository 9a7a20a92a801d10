"""Backbones: a name -> weights -> windows (B, 3, S, S) in [0, 1] -> Features.

    backbone = load_backbone("dinov1", weights_dir="weights")
    features = backbone(torch.rand(8, 3, 224, 224), embedding=True)   # .blocks: 12 x (8, 197, 768), .embedding

One entry of BACKBONES adds a backbone. `timm:NAME` stands for any timm model that offers intermediates. Nothing is
imported or built before a backbone is loaded. Pixels go in as they are, without mean and std: so did the authors'
(METHOD.md section 1), and it decides every number.
"""

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import UsageError, unknown
from common.terminal import warn
from networks import weights as files
from networks.download import resolve
from networks.weights import STLPIPS_FILES, Source, Weights

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
PRECISIONS = ("paper", "fp32", "tf32", "fp16", "bf16")


@dataclass(frozen=True)
class Backbone:
    """A registry entry. `build(window, state)` gives a trunk (networks/trunks.py), state None: seeded at random."""

    what: str
    kind: str  # "tokens" (transformer) or "maps" (CNN)
    build: Callable
    weights: Weights | None = None  # None: they come inside an installed package, and `build` finds them
    statistics: tuple | None = IMAGENET  # mean and std for --normalize model; None: the trunk normalises by itself
    half: bool = False  # float16 for the authors, model and features (METHOD.md section 5)
    embedding: bool = True
    note: str = ""
    carried: tuple = ()  # trained files inside installed packages (weights.package_file)


def timm_backbone(tag, trunk="TimmTrunk", prepare=None, stretch=None, **options):
    """trunk, prepare, stretch: names in networks/trunks.py, which is imported when a backbone is built."""

    def build(window, state):
        from networks import trunks

        parts = {
            name: getattr(trunks, part)
            for name, part in (("trunk", trunk), ("prepare", prepare), ("stretch", stretch))
            if part
        }
        return trunks.build_timm(tag, window, state, **parts, **options)

    return build


def clip_backbone(trunk, embed_dim, layers, width, patch):
    def build(window, state):
        from networks import trunks

        return trunks.build_clip(getattr(trunks, trunk), embed_dim, layers, width, patch, window, state)

    return build


def stlpips_backbone(net):
    def build(window, state):
        from networks import cnns, trunks

        return trunks.StageTrunk(cnns.stlpips_trunk(net), layers=5)

    return build


# what an image tower of open_clip's may be called on the hub, in the order in which it is asked for
OPEN_CLIP = ("open_clip_model.safetensors", "model.safetensors", "open_clip_pytorch_model.bin")


def openai(name, file, sha256, hub, licence):
    """OpenAI's own file from the address it was published at (gone, by all reports), then from the storage behind it;
    then the same tensors, some under other keys, from the hub."""
    hosts = ("https://openaipublic.azureedge.net", "https://openaipublic.blob.core.windows.net")
    archives = [Source(f"{host}/clip/models/{sha256}/{file}", sha256=sha256, torchscript=True) for host in hosts]
    return Weights(
        name,
        (*archives, Source(hub=hub, files=OPEN_CLIP)),
        licence,
        "Radford et al., ICML 2021",
    )


DINO = Weights(
    "dinov1",
    (
        Source(
            hub="timm/vit_base_patch16_224.dino",
            sha256="93181583427d6de3e18ab0e6ee4df35736cfc51a3c1bf9ae0e9b53b1316598dc",
        ),
        Source("https://dl.fbaipublicfiles.com/dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth"),
    ),
    "Apache-2.0",
    "Caron et al., ICCV 2021",
)
DINOV2 = Weights(
    "dinov2",
    (
        Source(hub="timm/vit_base_patch14_dinov2.lvd142m"),
        Source("https://dl.fbaipublicfiles.com/dinov2/dinov2_vitb14/dinov2_vitb14_pretrain.pth"),
    ),
    "Apache-2.0",
    "Oquab et al., TMLR 2024",
)
VIT = Weights(
    "imagenet_vit",
    (Source(hub="timm/vit_base_patch16_224.orig_in21k_ft_in1k"),),
    "Apache-2.0",
    "Dosovitskiy et al., ICLR 2021",
)
CONVNEXT = Weights(
    "openclip_convnext_base",
    (Source(hub="timm/convnext_base.clip_laion2b", files=("model.safetensors", "open_clip_model.safetensors")),),
    "Apache-2.0; LAION's original: MIT",
    "Cherti et al., CVPR 2023",
)


def tecoa(name, hub, licence):
    return Weights(
        name,
        (Source(hub=hub, files=OPEN_CLIP),),
        licence,
        "Croce et al., Adversarially robust CLIP models, 2024; Mao et al., ICLR 2023 (TeCoA)",
    )


STLPIPS = "inside the package stlpips-pytorch; fed as that package feeds them"

BACKBONES = {
    "dinov1": Backbone("DINO ViT-B/16", "tokens", timm_backbone("vit_base_patch16_224.dino", eps=1e-12), DINO),
    "dinov2": Backbone(
        "DINOv2 ViT-B/14",
        "tokens",
        timm_backbone("vit_base_patch14_dinov2.lvd142m", prepare="resize_dinov2", stretch="stretched_dinov2"),
        DINOV2,
    ),
    "imagenet_vit": Backbone(
        "ViT-B/16, ImageNet-21k then 1k",
        "tokens",
        timm_backbone("vit_base_patch16_224.orig_in21k_ft_in1k", eps=1e-12, prepare="with_head"),
        VIT,
        HALF,
    ),
    "clip_vitb32": Backbone(
        "OpenAI CLIP ViT-B/32",
        "tokens",
        clip_backbone("ClipViT", 512, 12, 768, 32),
        openai(
            "clip_vitb32",
            "ViT-B-32.pt",
            "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
            "timm/vit_base_patch32_clip_224.openai",
            "MIT; the hub's copy: Apache-2.0",
        ),
        CLIP,
        half=True,
    ),
    "clip_rn50": Backbone(
        "OpenAI CLIP ResNet-50",
        "maps",
        clip_backbone("ClipResNet", 1024, (3, 4, 6, 3), 64, None),
        openai(
            "clip_rn50",
            "RN50.pt",
            "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762",
            "timm/resnet50_clip.openai",
            "MIT",
        ),
        CLIP,
        half=True,
    ),
    "openclip_convnext_base": Backbone(
        "open_clip convnext_base_w, LAION-2B",
        "maps",
        timm_backbone("convnext_base.clip_laion2b", "ConvNextTrunk", projected=True),
        CONVNEXT,
        CLIP,
    ),
    "openclip_vitb32_laion_tecoa4": Backbone(
        "R-CLIP_T of Table 3: TeCoA4 ViT-B/32, LAION-2B",
        "tokens",
        timm_backbone("vit_base_patch32_clip_224.laion2b", projected=True),
        tecoa("openclip_vitb32_laion_tecoa4", "chs20/TeCoA4-ViT-B-32-laion2B-s34B-b79K", "MIT"),
        CLIP,
    ),
    "openclip_convnext_laion_tecoa4": Backbone(
        "TeCoA4 convnext_base_w, LAION-2B (in no table)",
        "maps",
        timm_backbone("convnext_base.clip_laion2b", "ConvNextTrunk", projected=True),
        tecoa(
            "openclip_convnext_laion_tecoa4",
            "chs20/TeCoA4-convnext_base_w-laion2B-s13B-b82K-augreg",
            "see the model card",
        ),
        CLIP,
    ),
    "st_alexnet": Backbone(
        "ST-LPIPS AlexNet trunk, 5 ReLU stages",
        "maps",
        stlpips_backbone("alex"),
        embedding=False,
        note=STLPIPS,
        statistics=None,
        carried=(STLPIPS_FILES["alex"],),
    ),
    "st_vgg16": Backbone(
        "ST-LPIPS VGG16 trunk, 5 ReLU stages",
        "maps",
        stlpips_backbone("vgg"),
        embedding=False,
        note=STLPIPS,
        statistics=None,
        carried=(STLPIPS_FILES["vgg"],),
    ),
}


def backbone(name: str) -> Backbone:
    """The registry entry of a backbone, made on the spot for timm:NAME. UsageError for an unknown name."""
    if name in BACKBONES:
        return BACKBONES[name]
    if not name.startswith("timm:"):
        raise unknown("backbone", name, BACKBONES)
    import timm

    tag = name.removeprefix("timm:")
    if not timm.is_model(tag.partition(".")[0]):
        raise unknown("timm model", tag, timm.list_models(), "see timm.list_models()")
    try:
        config = timm.get_pretrained_cfg(tag, allow_unregistered=False)
    except RuntimeError:  # a tag that the architecture does not have
        config = None
    if config is None or not (config.hf_hub_id or config.url):
        raise UsageError(
            f"{name}: timm knows no weights of that tag; known: "
            f"{', '.join(timm.list_pretrained(tag.partition('.')[0] + '.*')[:8])}"
        )
    # timm annotates the address as a string or a tuple; no model of its has a tuple
    source = Source(hub=config.hf_hub_id) if config.hf_hub_id else Source(config.url)  # type: ignore[arg-type]
    weights = Weights(
        f"timm:{tag}".replace(":", "-"),
        (source,),
        config.license or "see the model card",
        config.paper_name or "see the model card",
    )
    statistics = (tuple(config.mean), tuple(config.std))
    full = config.architecture + (f".{config.tag}" if config.tag else "")  # a bare name means some tag: say which
    return Backbone(f"timm {full}", "", timm_backbone(full), weights, statistics)


class LoadedBackbone:
    """A backbone in memory: `loaded(x, embedding=False)` gives Features of windows x, float (B, 3, S, S) in [0, 1].

    Attributes: name, kind ("tokens" or "maps"), layers (their number), keep (the blocks that are kept), trunk, device.
    """

    def __init__(self, name, trunk, device, precision, half, statistics, keep):
        import torch

        self.name, self.kind, self.layers, self.device = name, trunk.kind, trunk.layers, torch.device(device)
        self.keep = list(range(trunk.layers)) if keep is None else keep
        if self.keep and max(self.keep) >= trunk.layers:
            raise UsageError(f"--layers {max(self.keep)}: {name} has the blocks 0 to {trunk.layers - 1}")
        self.dtype = {
            "fp16": torch.float16,
            "bf16": torch.bfloat16,
            "paper": torch.float16 if half else torch.float32,
        }.get(precision, torch.float32)
        self.widen = precision != "paper"  # the authors' float16 features stay float16 up to the score
        self.trunk = cast(trunk, self.dtype).to(device).eval().requires_grad_(False)
        if self.kind == "maps":
            self.trunk = self.trunk.to(memory_format=torch.channels_last)
        self.statistics = (
            None if statistics is None else [torch.tensor(s, device=device).view(1, 3, 1, 1) for s in statistics]
        )

    def __call__(self, x, blocks=True, embedding=False):
        if self.statistics:
            x = (x - self.statistics[0]) / self.statistics[1]
        features = self.trunk(x.to(self.dtype), max(self.keep) if blocks else -1, embedding)
        if blocks and len(self.keep) < len(features.blocks):
            features.blocks = [features.blocks[i] for i in self.keep]
        if self.kind == "maps":  # distances run along the width, and memory along the channels would make them strided
            features = features.map(lambda t: t.contiguous())
        return features.map(lambda t: t.float()) if self.widen and self.dtype.itemsize < 4 else features


def cast(trunk, dtype):
    """All floating weights in `dtype`, but OpenAI's CLIP as its package does it: only what `convert_weights` made half
    changes, since its layer norms and batch norms compute in float32."""
    import torch

    mixed = any(p.dtype == torch.float16 for p in trunk.parameters())
    for parameter in trunk.parameters():
        if not mixed or parameter.dtype == torch.float16:
            parameter.data = parameter.data.to(dtype)
    if not mixed:
        for module in trunk.modules():
            for name, buffer in module.named_buffers(recurse=False):
                if buffer.is_floating_point():
                    module.register_buffer(
                        name, buffer.to(dtype), persistent=name not in module._non_persistent_buffers_set
                    )
    return trunk


def check_precision(precision: str, device: str) -> None:
    """UsageError for tf32 on a device that has none."""
    if precision == "tf32" and not device.startswith("cuda"):
        raise UsageError("--precision tf32 needs a CUDA device; on a CPU choose fp32, bf16 or fp16")


def cost_of_bfloat16(clock: Callable = time.perf_counter) -> float:
    """How many times as long as in float32 a matrix product of a ViT-B's size takes in bfloat16 on this CPU."""
    import torch

    a, b = torch.ones(2 * 197, 768), torch.ones(768, 3072)
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        x, y, times = a.to(dtype), b.to(dtype), []
        for _ in range(3):
            start = clock()
            x @ y
            times.append(clock() - start)
        seconds[dtype] = min(times)
    return seconds[torch.bfloat16] / seconds[torch.float32]


@functools.cache
def warn_of_bfloat16() -> None:
    """Says once, where bfloat16 on this CPU is the slower of the two, by how much in a measurement just made."""
    if (cost := cost_of_bfloat16()) > 1:
        warn(
            f"--precision bf16: a matrix product takes {cost:.1f} times as long as in fp32 on this CPU (measured just "
            "now; bf16 pays where a CPU has AMX)"
        )


def allow_tf32(allowed: bool) -> None:
    """PyTorch's two switches, of which one is on by default: float32 means float32 unless tf32 is asked for."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed


def filled(entry, window, weights_dir, name):
    """The trunk of a registry entry with the weights of its file, or of the package they come in."""
    from networks.unfilled import unfilled

    path = state = None
    if entry.weights:
        path = resolve(entry.weights, weights_dir, name)
        state = files.read_state(path, entry.weights.trusted)
    with unfilled() as left:
        try:
            trunk = entry.build(window, state)
        except UsageError as error:
            raise UsageError(f"{path}: {error}" if path else str(error)) from None
    if lacking := left(trunk):
        raise UsageError(f"{path}: the checkpoint lacks {', '.join(lacking[:3])}")
    return trunk


def load_backbone(
    name: str,
    weights_dir: Path | str | None = None,
    weights: str = "pretrained",
    device: str = "cpu",
    precision: str = "paper",
    normalize: str = "none",
    window: int | None = 224,
    layers: Sequence[int] | None = None,
    seed: int = 0,
) -> LoadedBackbone:
    """Build a backbone and load its weights -> LoadedBackbone.

    weights: "pretrained" (from weights_dir, else the usual cache, else a download) or "random" (seeded: for trying
    things out; the scores mean nothing). window: the side of the images it will see; None: images of any size, for CNNs
    and for ViTs, whose position embedding is interpolated. precision: one of PRECISIONS; "paper" is float16 for
    OpenAI's CLIP and float32 for all others. normalize: "none" (as published), "imagenet" or "model". layers: list of
    block indices to keep, None for all. Raises UsageError: unknown name, missing or broken or foreign weights, tf32 on
    a CPU, a block that is not there.
    """
    import torch

    entry, device = backbone(name), torch.device(device)
    check_precision(precision, device.type)
    allow_tf32(precision == "tf32")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        trunk = entry.build(window, None) if weights == "random" else filled(entry, window, weights_dir, name)
    if normalize != "none" and entry.statistics is None:
        raise UsageError(f"--normalize {normalize}: {name} normalises its input by itself; leave --normalize out")
    statistics = {"none": None, "imagenet": IMAGENET, "model": entry.statistics}[normalize]
    return LoadedBackbone(name, trunk, device, precision, entry.half, statistics, layers)
