"""The rows of the tables that are metrics of their own: a registry, and the arithmetic of each.

A metric is features of the whole image (no windows) and a distance between those of two images:

    features = FEATURES[metric.features](weights_dir, device, protocol, random_seed)    # weights_dir may be None
    score = metric.distance(features(distorted), features(reference), protocol)                 # (B,) tensor

Images are (B, 3, H, W) float32 RGB in [0, 1]. Metrics with the same `features` share one pass over each image. Sources:
METHOD.md. Add a metric by adding an entry to METRICS. Importing this file imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from distances import (
    EPSILON,
    Features,
    compare,
    jensen_shannon,
    squash,
    symmetric_kl,
    wasserstein,
    with_euclid,
)
from networks.weights import STLPIPS_FILES, Source, Weights

if TYPE_CHECKING:  # named in annotations only
    import torch


def torchvision(name, file, citation, licence="BSD-3-Clause (torchvision)", sha256=""):
    """Weights of torchvision, whose file names end in the first digits of their sha256."""
    source = Source(
        f"https://download.pytorch.org/models/{file}", sha256=sha256 or file.rpartition("-")[2].removesuffix(".pth")
    )
    return Weights(name, (source,), f"{licence}; trained on ImageNet, non-commercial research terms", citation)


ALEXNET = torchvision("alexnet", "alexnet-owt-7be5be79.pth", "Krizhevsky, arXiv:1404.5997, 2014")
VGG16 = torchvision("vgg16", "vgg16-397923af.pth", "Simonyan and Zisserman, ICLR 2015")
VGG19 = torchvision("vgg19", "vgg19-dcbb9e9d.pth", VGG16.citation)
EFFICIENTNET_B7 = torchvision(
    "efficientnet_b7",
    "efficientnet_b7_lukemelas-c5b4e57e.pth",
    "Tan and Le, ICML 2019",
    "see the model card",
    "c5b4e57e0da1a10bb4f8a5b410dd3b7b6e7461f9b757209be29409707c3d87dd",
)


@dataclass(frozen=True)
class Metric:
    """One row. `distance(distorted, reference, protocol) -> (B,)` compares two lists of feature tensors,
    batch first."""

    name: str
    features: str  # key of FEATURES
    distance: Callable
    citation: str
    higher_is: str = "worse"  # what a higher stored score means: 'worse' or 'better'
    identical: float = 0.0  # the score of an image against itself
    symmetric: bool = True  # the same score where the two images change places
    min_side: int = 1  # smallest width and height it is defined for
    weights: tuple = ()  # Weights that are downloaded
    packages: tuple = ()
    carried: tuple = ()  # trained files that come inside a package: weights.package_file(name) -> path
    licence: str = "MIT (this project)"
    note: str = ""  # for the list of methods
    caveat: str = ""  # what must stand beside every score, too
    short_side: dict = field(default_factory=dict, compare=False)  # protocol -> bring the short side down to this first


# ---- metrics of the pixels


def psnr(distorted: list, reference: list, protocol: str = "paper") -> torch.Tensor:
    """10 log10(1 / (mse + 1e-8)) in dB, mse over the three channels."""
    mse = (distorted[0] - reference[0]).square().mean((1, 2, 3))
    return 10 * (1 / (mse + 1e-8)).log10()


def rounded_luma(image):
    """Y of YIQ in whole steps of 255, (B, 1, H, W). Summed in float32 from red to blue, each product and sum rounded
    once (a fused multiply-add), as the published scores were: 299 R + 587 G + 114 B meets ties, which the last digit
    decides. Its gradient is that of the luma before the rounding, whose own is 0."""
    y = image.new_zeros(1)
    for channel, weight in zip(image.split(1, 1), image.new_tensor([0.299, 0.587, 0.114]).double()):
        y = (y + channel.double() * weight).float()
    y = y * 255
    # exactly y.round(): the difference of a number and its nearest integer is exact
    return y + (y.round() - y).detach()


def msssim(distorted, reference, protocol="paper"):
    """(1 - MS-SSIM) / 2 of the rounded luma (Wang, Simoncelli, Bovik 2003), as the published scores have it.

    Against common packages: luma rounded to integers, the contrast-structure map clipped at 0 pixel by pixel, 2 x 2
    pooling with zeros on both sides where a side is odd, no first downsampling. float64. Sides of 161 and more.
    """
    import torch
    import torch.nn.functional as F

    size = 11
    x, y = (rounded_luma(images[0]).double() for images in (distorted, reference))
    line = torch.exp(-((torch.arange(size, device=x.device) - size // 2).double() ** 2) / (2 * 1.5**2))
    window = torch.outer(line, line)
    window = (window / window.sum()).float().double()  # the window and the weights were rounded to float32 once
    weights = torch.tensor([0.0448, 0.2856, 0.3001, 0.2363, 0.1333]).tolist()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    product = 1

    def blur(
        z, kernel
    ):  # the window's sum at each place it fits, by FFT: exact to 1e-12, 50 times faster than conv2d in float64
        return torch.fft.irfft2(torch.fft.rfft2(z) * kernel, s=z.shape[2:])[..., size - 1 :, size - 1 :]

    for scale, weight in enumerate(weights):
        kernel = torch.fft.rfft2(window, s=x.shape[2:])
        mx, my, xx, yy, xy = (blur(z, kernel) for z in (x, y, x * x, y * y, x * y))
        similarity = ((2 * (xy - mx * my) + c2) / (xx - mx * mx + yy - my * my + c2)).relu()
        if scale == len(weights) - 1:
            similarity = similarity * (2 * mx * my + c1) / (mx * mx + my * my + c1)
        product = product * similarity.mean((1, 2, 3)) ** weight
        odd = (x.shape[2] % 2, x.shape[3] % 2)
        x, y = (F.avg_pool2d(z, 2, padding=odd) for z in (x, y))
    return (1 - product) / 2


def fsim(distorted, reference, protocol="paper"):
    """(1 - FSIMc) / 2 of the maps of cnns.phases, by the steps of piq 0.8.0 (Zhang et al., TIP 2011). Its slope is
    infinite where an image is flat: the gradient is that beside the images."""
    from piq.functional import similarity_map

    (phase_x, gradient_x, i_x, q_x, x), (phase_y, gradient_y, i_y, q_y, y) = distorted, reference
    weight = phase_x.maximum(phase_y)
    chroma = (similarity_map(i_x, i_y, 200) * similarity_map(q_x, q_y, 200)).abs() ** 0.03
    score = similarity_map(gradient_x, gradient_y, 160) * similarity_map(phase_x, phase_y, 0.85) * weight * chroma
    value = (1 - score.sum((1, 2, 3)) / weight.sum((1, 2, 3))) / 2
    return sloped_beside(value, lambda x, y: (1 - alone("fsim", x, y)) / 2, x, y)


# ---- metrics of piq


def classical(name, distorted, reference, protocol="paper"):
    """piq's metric of that name at its defaults, one pair at a time:
    in piq the other pairs of a batch change srsim and dss."""
    x, y = distorted[0], reference[0]
    return sloped_beside(alone(name, x.detach(), y.detach()), partial(alone, name), x, y)


def alone(name, distorted, reference):
    """A metric of piq of images (B, 3, H, W) in [0, 1], each pair alone -> (B,)."""
    import piq
    import torch

    metric = getattr(piq, name)
    scores = [
        metric(x, y, data_range=1.0, reduction="none").reshape(1)
        for x, y in zip(distorted.split(1), reference.split(1))
    ]
    return torch.cat(scores)


def sloped_beside(value, function, x, y):
    """`value` of the images x and y, with the slope that function(x, y) has beside them, where it is defined on flat
    and equal images, too: both mixed with 100 EPSILON of the same noise. Where it is not even there, as for gmsd and
    mdsi of equal images, whose best value is a cusp, the slope is 0."""
    import torch

    if not torch.is_grad_enabled() or not (x.requires_grad or y.requires_grad):
        return value
    noise = torch.rand(x.shape[1:], generator=torch.Generator().manual_seed(0)).to(x).expand_as(x)
    mixed = [torch.lerp(image, noise, 100 * EPSILON) for image in (x, y)]
    for image in mixed:
        if image.requires_grad:
            image.register_hook(lambda slope: slope.nan_to_num(0, 0, 0))
    beside = function(*mixed)
    return beside + (value - beside).detach()


# ---- metrics of a network's maps


def statistic(distance, distorted, reference, protocol="paper"):
    """DeepDC and DeepSSIM: a distance of distances.py between the statistics of a network's maps."""
    return compare([distance], Features(distorted), Features(reference), protocol)[distance]


def squared(distorted: list, reference: list, protocol: str = "paper") -> torch.Tensor:
    """LPIPS: sum over stages of the squared difference of the calibrated maps, summed over channels,
    mean over positions."""
    return sum((a - b).square().sum(1).mean((1, 2)) for a, b in zip(distorted, reference))


def dists(distorted, reference, protocol="paper"):
    """1 - sum of alpha * similarity of means + beta * similarity of variations,
    of 1475 channels (Ding et al., eq. 6-8)."""
    from networks import cnns

    score, c = 1, 1e-6
    levels = [level.shape[1] for level in distorted]
    alpha, beta = (w.to(distorted[0].device).split(levels) for w in cnns.dists_weights())
    for x, y, a, b in zip(distorted, reference, alpha, beta):
        mx, my = x.mean((2, 3)), y.mean((2, 3))
        vx, vy = ((z - m[..., None, None]).square().mean((2, 3)) for z, m in ((x, mx), (y, my)))
        covariance = (x * y).mean((2, 3)) - mx * my
        texture, structure = (2 * mx * my + c) / (mx**2 + my**2 + c), (2 * covariance + c) / (vx + vy + c)
        score = score - (a * texture).sum(1) - (b * structure).sum(1)
    return score


# ---- distributions of a network's maps (Liao et al., TIP 2024; METHOD.md section 7): the same steps, these choices


def columns(level):
    """(B, C, H, W) -> (B, 64, M): W padded with zeros (or cropped) on the left, H at the bottom, to multiples of 8;
    then the flat memory cut into 64 rows."""
    import torch.nn.functional as F

    rows, cols = (8 * round(side / 8) for side in level.shape[2:])
    return F.pad(level, (cols - level.shape[3], 0, 0, rows - level.shape[2])).reshape(len(level), 64, -1)


def softmax(axis):
    return lambda x, protocol: x.softmax(1 if protocol == "corrected" else axis)  # corrected: along the 64 for all


def energy(x, protocol):
    """x times its share of the sum of all x; under `corrected` the softmax along the 64."""
    return x.softmax(1) if protocol == "corrected" else x * (x / (x.sum((1, 2), keepdim=True) + 1e-6))


def distribution(
    weigh: Callable, divergence: Callable, euclid: bool, distorted: list, reference: list, protocol: str = "paper"
) -> torch.Tensor:
    """log(mean over levels of s + 1)^0.25, s the mean over columns of the divergence between the weighed columns, with
    the Euclidean term if `euclid`. divergence: (p, q) -> (B, M)."""
    levels: list = []
    for a, b in zip(distorted, reference):
        x, y = columns(a), columns(b)
        d = divergence(weigh(x, protocol), weigh(y, protocol))
        levels.append((with_euclid(d, (x - y).square().sum(1)) if euclid else d).mean(1))
    return squash(sum(levels) / len(levels))


SOFTMAX_64, SOFTMAX_M = softmax(1), softmax(2)
KLD_VGG = partial(distribution, SOFTMAX_64, symmetric_kl, True)
JSD_VGG = partial(distribution, SOFTMAX_64, jensen_shannon, True)
WSD_VGG = partial(distribution, energy, partial(wasserstein, p=2), True)
KLD_EFF = partial(distribution, SOFTMAX_64, partial(symmetric_kl, log_eps=1e-17), True)
JSD_EFF = partial(distribution, SOFTMAX_64, partial(jensen_shannon, log_eps=1e-17), False)
WSD_EFF = partial(distribution, SOFTMAX_M, wasserstein, True)


# ---- the registries


def network(builder, *arguments):
    """The builder of cnns.py of that name, imported when called."""

    def build(weights_dir=None, device="cpu", protocol="paper", random_seed=None):
        from networks import cnns
        from networks.unfilled import unfilled

        with unfilled():
            return getattr(cnns, builder)(*arguments, weights_dir, device, protocol, random_seed)

    return build


FEATURES = {
    "pixels": network("pixels"),
    "fsim": network("phases"),
    "lpips_alex": network("lpips", "alex", ALEXNET),
    "lpips_vgg": network("lpips", "vgg", VGG16),
    "stlpips_alex": network("stlpips", "alex"),
    "stlpips_vgg": network("stlpips", "vgg"),
    "dists": network("dists", VGG16),
    "vgg19": network("vgg19", VGG19),
    "deepdc": network("deepdc", VGG19),
    "deepssim": network("deepssim", VGG16),
    "efficientnet_b7": network("efficientnet_b7", EFFICIENTNET_B7),
}

LPIPS: dict[str, Any] = dict(
    citation="Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, CVPR 2018",
    packages=("lpips",),
    licence="BSD-2-Clause",
    note="paper: fed [0, 1], as for the printed numbers; corrected: [-1, 1]",
)
STLPIPS: dict[str, Any] = dict(
    citation="Ghildyal and Liu, Shift-tolerant Perceptual Similarity Metric, ECCV 2022",
    packages=("stlpips_pytorch",),
    licence="BSD-2-Clause",
    note="trained weights come inside the package",
)
LIAO: dict[str, Any] = dict(
    citation="Liao et al., Measuring Perceptual Degradation via Distribution Measures in Deep Feature Spaces, "
    "IEEE TIP 2024"
)
DEEP_VGG: dict[str, Any] = LIAO | dict(features="vgg19", weights=(VGG19,), min_side=65)
DEEP_EFF: dict[str, Any] = LIAO | dict(
    features="efficientnet_b7",
    weights=(EFFICIENTNET_B7,),
    packages=("torchvision",),
    min_side=129,
    caveat="eval mode; the printed row was made in training mode (batch statistics, random depth): "
    "nobody can recompute it exactly",
)
PIQ: dict[str, Any] = dict(features="pixels", packages=("piq",), licence="Apache-2.0 (piq)")
SIMILARITY: dict[str, Any] = PIQ | dict(higher_is="better", identical=1.0)
POOLED = "first averaged down by max(1, round(short side / 256))"
ALONG_64 = "corrected: softmax along the 64"

METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            "psnr",
            "pixels",
            psnr,
            "-",
            higher_is="better",
            identical=80.0,
            note="dB, with 1e-8 added to the mean squared error: 80 at most",
        ),
        Metric(
            "msssim",
            "pixels",
            msssim,
            "Wang, Simoncelli, Bovik, Multiscale structural similarity for image quality assessment, Asilomar 2003",
            min_side=161,
            note="stored as (1 - value) / 2",
        ),
        Metric(
            "fsim",
            "fsim",
            fsim,
            "Zhang, Zhang, Mou, Zhang, FSIM: A Feature Similarity Index, IEEE TIP 2011",
            min_side=2,
            packages=("piq",),
            licence="Apache-2.0 (piq)",
            note="FSIMc; stored as (1 - value) / 2",
        ),
        Metric(
            "lpips",
            "lpips_alex",
            squared,
            min_side=31,
            weights=(ALEXNET,),
            carried=("lpips/weights/v0.1/alex.pth",),
            **LPIPS,
        ),
        Metric(
            "lpips_vgg",
            "lpips_vgg",
            squared,
            min_side=16,
            weights=(VGG16,),
            carried=("lpips/weights/v0.1/vgg.pth",),
            **LPIPS,
        ),
        Metric("stlpips_alex", "stlpips_alex", squared, min_side=21, carried=(STLPIPS_FILES["alex"],), **STLPIPS),
        Metric("stlpips_vgg", "stlpips_vgg", squared, min_side=18, carried=(STLPIPS_FILES["vgg"],), **STLPIPS),
        Metric(
            "dists",
            "dists",
            dists,
            "Ding et al., Image Quality Assessment: Unifying Structure and Texture Similarity, IEEE TPAMI 2022",
            weights=(VGG16,),
            packages=("DISTS_pytorch",),
            carried=("DISTS_pytorch/weights.pt",),
            licence="MIT",
            short_side={"corrected": 256},
            note="paper: native size; corrected: short side brought down to 256",
        ),
        Metric(
            "ssim",
            distance=partial(classical, "ssim"),
            min_side=11,
            **SIMILARITY,
            citation="Wang, Bovik, Sheikh, Simoncelli, Image quality assessment: from error visibility to structural "
            "similarity, IEEE TIP 2004",
            note=f"{POOLED}, as its authors do; of R, G and B each, then their mean, where its authors take grey "
            "images",
        ),
        Metric(
            "vsi",
            distance=partial(classical, "vsi"),
            min_side=2,
            **SIMILARITY,
            citation="Zhang, Shen, Li, VSI: A Visual Saliency-Induced Index for Perceptual Image Quality Assessment, "
            "IEEE TIP 2014",
            note=f"colour; saliency of the image at 256 x 256, the rest {POOLED}, as its authors do",
        ),
        Metric(
            "gmsd",
            distance=partial(classical, "gmsd"),
            min_side=3,
            **PIQ,
            citation="Xue, Zhang, Mou, Bovik, Gradient Magnitude Similarity Deviation, IEEE TIP 2014",
            note="luma, first averaged down by 2, as its authors do",
        ),
        Metric(
            "mdsi",
            distance=partial(classical, "mdsi"),
            min_side=2,
            symmetric=False,
            **PIQ,
            citation="Nafchi et al., Mean Deviation Similarity Index, IEEE Access 2016",
            note=f"colour, {POOLED}, as its authors do",
        ),
        Metric(
            "haarpsi",
            distance=partial(classical, "haarpsi"),
            min_side=16,
            **SIMILARITY,
            citation="Reisenhofer, Bosse, Kutyniok, Wiegand, A Haar wavelet-based perceptual similarity index, Signal "
            "Processing: Image Communication 2018",
            note="colour, first averaged down by 2, as its authors do; infinite for two all-black images",
        ),
        Metric(
            "vif",
            distance=partial(classical, "vif_p"),
            min_side=41,
            symmetric=False,
            **SIMILARITY,
            citation="Sheikh and Bovik, Image information and visual quality, IEEE TIP 2006",
            note="the form in the pixel domain (VIFp), luma, four scales; above 1 where the distorted image has more "
            "contrast",
        ),
        Metric(
            "srsim",
            distance=partial(classical, "srsim"),
            min_side=40,
            **SIMILARITY,
            citation="Zhang and Li, SR-SIM: A fast and high performance IQA index based on spectral residual, ICIP "
            "2012",
            note=f"luma, {POOLED}, as its authors do",
        ),
        Metric(
            "dss",
            distance=partial(classical, "dss"),
            min_side=32,
            **SIMILARITY,
            citation="Balanov, Schwartz, Moshe, Peleg, Image quality assessment based on DCT subband similarity, ICIP "
            "2015",
            note="luma, native size",
        ),
        Metric(
            "deepdc",
            "deepdc",
            partial(statistic, "dc"),
            "Zhu et al., DeepDC: Deep Distance Correlation as a Perceptual Image Quality "
            "Evaluator, arXiv:2211.04927, 2022",
            min_side=16,
            weights=(VGG19,),
            short_side={"paper": 224, "corrected": 224},
            note="short side first brought down to 224, as its authors do",
        ),
        Metric(
            "deepssim",
            "deepssim",
            partial(statistic, "gram"),
            "Zhang et al., Structural Similarity in Deep Features: Image Quality "
            "Assessment Robust to Geometrically Disparate Reference, IEEE TPAMI 2025",
            min_side=16,
            weights=(VGG16,),
            note="without its calibration by saliency; stored as 1 - value",
        ),
        Metric("deep_kld_vgg", distance=KLD_VGG, **DEEP_VGG),
        Metric("deep_jsd_vgg", distance=JSD_VGG, **DEEP_VGG),
        Metric("deep_wsd_vgg", distance=WSD_VGG, note=ALONG_64, **DEEP_VGG),
        Metric("deep_kld_eff", distance=KLD_EFF, **DEEP_EFF),
        Metric("deep_jsd_eff", distance=JSD_EFF, **DEEP_EFF),
        Metric("deep_wsd_eff", distance=WSD_EFF, note=ALONG_64, **DEEP_EFF),
    )
}
