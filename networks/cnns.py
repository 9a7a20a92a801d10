"""The convolutional networks behind the metrics: AlexNet and VGG16 (LPIPS, ST-LPIPS, DISTS, DeepSSIM), VGG19 (DeepDC)
and EfficientNet-B7.

Each network is a list of stages whose outputs are all kept: (B, 3, H, W) in [0, 1] -> [(B, C, H', W'), ...]. They are
written out here, layer by layer, because the packages that carry the trained files download at construction, print, or
need packages that they do not name; the files themselves are read where those packages put them.
methods/metrics.py says which metric uses what; models.py takes `stlpips_trunk` as a backbone.
"""

import math
from functools import lru_cache, reduce

import torch
import torch.nn.functional as F
from torch import nn

from networks import weights as files
from networks.download import resolve

WIDTHS = (64, 128, 256, 512, 512)  # of VGG's five stages
VGG16, VGG19 = (2, 2, 3, 3, 3), (2, 2, 4, 4, 4)  # convolutions in each
LPIPS_SHIFT, LPIPS_SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of images in [-1, 1]
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of images in [0, 1]


# ---- layers


class Binomial(nn.Module):
    """Each channel filtered with [1 2 1] x [1 2 1] / 16 and halved. `pad`:
    2 mirrored (ST-LPIPS) or 1 zero (L2 pooling)."""

    kernel: torch.Tensor

    def __init__(self, channels, pad, mode):
        super().__init__()
        self.pad, self.mode = (pad,) * 4, mode
        line = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("kernel", torch.outer(line, line).repeat(channels, 1, 1, 1), persistent=False)

    def forward(self, x):
        return F.conv2d(F.pad(x, self.pad, self.mode), self.kernel, stride=2, groups=x.shape[1])


class BlurredConv(nn.Conv2d):
    """A convolution and the mirrored `Binomial` after it. Nothing stands between the two, so they are one convolution
    of stride 2 with a kernel wider by 2: a third of the products, and the large map between is never made.

    Mirrored, the first row (column) of the outcome is its second once more; the last is the one before it once more
    where the map between has an odd side, and else the mean of that map's last two rows.
    """

    padding: tuple[int, int]
    whole, end = torch.tensor([1.0, 2.0, 1.0]) / 4, torch.tensor([1.0, 1.0]) / 2

    def forward(self, x):
        x = F.pad(x, (self.padding[0],) * 4)
        side = self.kernel_size[0]
        odd_height, odd_width = ((length - side + 1) % 2 for length in x.shape[2:])
        bands = [(x, self.whole)] if odd_height else [(x, self.whole), (x[:, :, -side - 1 :], self.end)]
        rows = [self.row(band, weights, side, odd_width) for band, weights in bands]
        return F.pad(torch.cat(rows, 2), (1, odd_width, 1, odd_height), "replicate")

    def row(self, band, weights, side, odd_width):
        parts = [self.blurred(band, weights, self.whole)]
        if not odd_width:
            parts.append(self.blurred(band[..., -side - 1 :], weights, self.end))
        return torch.cat(parts, 3)

    def blurred(self, x, down, across):
        """The convolution with a kernel blurred by these weights of rows and columns, stride 2."""
        taps = torch.outer(down, across).to(self.weight)[None, None]
        planes = self.weight.flatten(0, 1)[:, None]  # (out x in, 1, side, side)
        kernel = F.conv2d(planes, taps, padding=(len(down) - 1, len(across) - 1))
        return F.conv2d(x, kernel[:, 0].unflatten(0, self.weight.shape[:2]), self.bias, stride=2)


class MaxPoolDense(nn.MaxPool2d):
    """MaxPool2d of stride 1. On a CPU maxima of shifted maps, first along one axis, then along the other: the same
    numbers, to the bit, in a ninth to a twelfth of the time. With a gradient PyTorch's own, which gives it to one of
    equal maxima, not in parts."""

    kernel_size: int

    def __init__(self, side):
        super().__init__(side, 1)

    def forward(self, x):
        if x.is_cuda or x.requires_grad:
            return super().forward(x)
        for axis in (3, 2):
            length = x.shape[axis] - self.kernel_size + 1
            x = reduce(torch.maximum, (x.narrow(axis, shift, length) for shift in range(self.kernel_size)))
        return x


class L2Pool(Binomial):
    """sqrt of the blurred squares (Henaff and Simoncelli 2016): DISTS, and the VGG of Liao et al. 2024."""

    def __init__(self, channels):
        super().__init__(channels, 1, "constant")

    def forward(self, x):
        return (super().forward(x.square()) + 1e-12).sqrt()


class Scale(nn.Module):
    """Images in [0, 1] as a network wants them: (x - mean) / std, or (2x - 1 - mean) / std when `signed`."""

    def __init__(self, mean, std, signed=False):
        super().__init__()
        self.signed = signed
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, x):
        return ((2 * x - 1 if self.signed else x) - self.mean) / self.std


class Stages(nn.Module):
    """Stages one after the other, the output of each kept: (B, 3, H, W) in [0, 1] -> list of (B, C, H', W')."""

    def __init__(self, stages, scale=None):
        super().__init__()
        self.scale = scale or nn.Identity()
        self.stages = nn.ModuleList(nn.Sequential(*layers) for layers in stages)

    def forward(self, x):
        maps, x = [], self.scale(x)
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def tensors(self, keys):
        """{name in the file: tensor here} of the convolutions, whose names in the file are `keys`, in order."""
        convolutions = [m for m in self.modules() if isinstance(m, nn.Conv2d)]
        return {
            f"{key}.{part}": getattr(layer, part)
            for key, layer in zip(keys, convolutions, strict=True)
            for part in ("weight", "bias")
        }


def vgg(depths, pool, scale=None):
    """VGG's five stages, each ending at its last ReLU; `pool(channels)` -> the layers between two stages."""
    stages, inputs = [], 3
    for width, depth in zip(WIDTHS, depths):
        layers = pool(inputs) if stages else []
        for _ in range(depth):
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU(inplace=True)]
            inputs = width
        stages.append(layers)
    return Stages(stages, scale)


def vgg_keys(depths, pool_layers=1, key="features.{index}"):
    """Names of VGG's convolutions in a file that numbers all its layers (ReLUs and `pool_layers` a pool included)."""
    keys, index = [], 0
    for stage, depth in enumerate(depths, 1):
        keys += [key.format(stage=stage, index=index + 2 * i) for i in range(depth)]
        index += 2 * depth + pool_layers
    return keys


def alexnet(first, pool, scale=None):
    """AlexNet's five convolutions, each with its ReLU; `first`: the layers before the first ReLU, `pool` as for vgg."""

    def conv(inputs, width, side):
        return [nn.Conv2d(inputs, width, side, padding=side // 2), nn.ReLU(inplace=True)]

    return Stages(
        [
            [*first, nn.ReLU(inplace=True)],
            pool(64) + conv(64, 192, 5),
            pool(192) + conv(192, 384, 3),
            conv(384, 256, 3),
            conv(256, 256, 3),
        ],
        scale,
    )


# ---- weights


def fill(tensors, state, what):
    """Copy a checkpoint into a model's tensors, both under the file's names;
    more in the file (a classifier) is left."""
    known = {key: state[key] for key in tensors if key in state}
    files.match(tensors, known, what)
    with torch.no_grad():
        for key, value in known.items():
            tensors[key].copy_(value)


def initialise(net, tensors, weights, weights_dir, random_seed):
    """Fill `tensors` of `net` from the file of `weights`, or from a seed (He scale, so that activations stay alive)."""
    net.eval().requires_grad_(False)
    if random_seed is None:
        path = resolve(weights, weights_dir)
        return fill(tensors, files.read_state(path), path)
    generator = torch.Generator().manual_seed(random_seed)
    for key, tensor in tensors.items():
        if tensor.ndim == 4:
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * (2 / tensor[0].numel()) ** 0.5)
        elif key.endswith("bias"):
            tensor.zero_()


# ---- what the metrics see


class ImageFeatures:
    """`features(x)`: images (B, 3, H, W) in [0, 1] -> list of tensors, batch first.

    Image by image, so that an image's features do not depend on what else is in the batch, and memory stays that of
    one.
    """

    def __init__(self, net, device, after):
        self.net, self.after = net.to(device, memory_format=torch.channels_last), after

    def __call__(self, x):
        parts = [
            [
                level.contiguous()
                for level in self.after(image, self.net(image.contiguous(memory_format=torch.channels_last)))
            ]
            for image in x.split(1)
        ]
        return [torch.cat(level) if len(level) > 1 else level[0] for level in zip(*parts)]


def with_image(x, maps):
    """The image is level 0 (DISTS, Liao et al.)."""
    return [x, *maps]


def calibrated(path, device):
    """LPIPS' maps: unit length along the channels, times the square root of the linear layer's weights (all >= 0), so
    that the metric is a sum of squared differences (Zhang et al., CVPR 2018, eq. 1)."""
    linear = files.read_state(path)
    roots = [linear[f"lin{i}.model.1.weight"].sqrt().to(device) for i in range(5)]

    def after(x, maps):
        return [m / (torch.linalg.vector_norm(m, dim=1, keepdim=True) + 1e-10) * root for m, root in zip(maps, roots)]

    return after


def lpips(net, weights, weights_dir, device, protocol, random_seed):
    """LPIPS v0.1 on torchvision's AlexNet ('alex') or VGG16 ('vgg').
    paper: fed [0, 1] as published; corrected: [-1, 1]."""
    scale = Scale(LPIPS_SHIFT, LPIPS_SCALE, signed=protocol == "corrected")
    if net == "alex":
        trunk = alexnet([nn.Conv2d(3, 64, 11, stride=4, padding=2)], lambda channels: [nn.MaxPool2d(3, 2)], scale)
        keys = [f"features.{i}" for i in (0, 3, 6, 8, 10)]
    else:
        trunk, keys = vgg(VGG16, lambda channels: [nn.MaxPool2d(2)], scale), vgg_keys(VGG16)
    initialise(trunk, trunk.tensors(keys), weights, weights_dir, random_seed)
    return ImageFeatures(trunk, device, calibrated(files.package_file(f"lpips/weights/v0.1/{net}.pth"), device))


def stlpips_trunk(net: str, device: str = "cpu") -> nn.Module:
    """The trained anti-aliased trunk of ST-LPIPS ('alex' or 'vgg') from the package's wheel,
    fed as the package feeds it.

    A module: (B, 3, H, W) in [0, 1] -> the five ReLU stages' maps (Ghildyal and Liu, ECCV 2022).
    """
    scale = Scale(LPIPS_SHIFT, LPIPS_SCALE, signed=True)
    if net == "alex":
        trunk = alexnet(
            [BlurredConv(3, 64, 11, padding=2)],
            lambda channels: [MaxPoolDense(3), Binomial(channels, 2, "reflect")],
            scale,
        )
        keys = [f"net.slice{stage}.{i}" for stage, i in enumerate((0, 5, 9, 11, 13), 1)]
    else:
        trunk = vgg(VGG16, lambda channels: [MaxPoolDense(2), Binomial(channels, 2, "reflect")], scale)
        keys = vgg_keys(VGG16, 2, "net.slice{stage}.{index}")
    fill(trunk.tensors(keys), files.read_state(stlpips_file(net)), stlpips_file(net))
    return trunk.eval().requires_grad_(False).to(device)


def stlpips_file(net):
    return files.package_file(files.STLPIPS_FILES[net])


def stlpips(net, weights_dir, device, protocol, random_seed):
    """ST-LPIPS' calibrated maps; trained weights always, they come with the package."""
    return ImageFeatures(stlpips_trunk(net), device, calibrated(stlpips_file(net), device))


def dists(weights, weights_dir, device, protocol, random_seed):
    """DISTS: the image and the five stages of VGG16 with L2 pooling (Ding et al., TPAMI 2022)."""
    trunk = vgg(VGG16, lambda channels: [L2Pool(channels)], Scale(IMAGENET_MEAN, IMAGENET_STD))
    initialise(trunk, trunk.tensors(vgg_keys(VGG16)), weights, weights_dir, random_seed)
    return ImageFeatures(trunk, device, with_image)


def dists_weights() -> tuple[torch.Tensor, torch.Tensor]:
    """DISTS' trained alpha and beta, for the 1475 channels of its six levels, divided by their sum -> two (1475,)."""
    state = files.read_state(files.package_file("DISTS_pytorch/weights.pt"))
    alpha, beta = state["alpha"].flatten(), state["beta"].flatten()
    total = alpha.sum() + beta.sum()
    return alpha / total, beta / total


def vgg19(weights, weights_dir, device, protocol, random_seed):
    """The image and the five stages of VGG19 with L2 pooling, input in [0, 1] (Liao et al., TIP 2024)."""
    trunk = vgg(VGG19, lambda channels: [L2Pool(channels)])
    initialise(trunk, trunk.tensors(vgg_keys(VGG19)), weights, weights_dir, random_seed)
    return ImageFeatures(trunk, device, with_image)


def deepdc(weights, weights_dir, device, protocol, random_seed):
    """The five stages of VGG19, input in [0, 1], the last before its ReLU (Zhu et al., arXiv:2211.04927)."""
    trunk = vgg(VGG19, lambda channels: [nn.MaxPool2d(2)])
    initialise(trunk, trunk.tensors(vgg_keys(VGG19)), weights, weights_dir, random_seed)
    trunk.stages[-1] = trunk.stages[-1][:-1]
    return ImageFeatures(trunk, device, lambda x, maps: maps)


def deepssim(weights, weights_dir, device, protocol, random_seed):
    """ReLU 5_1 of VGG16, input with mean and std (Zhang et al., IEEE TPAMI 2025)."""
    trunk = vgg(VGG16, lambda channels: [nn.MaxPool2d(2)], Scale(IMAGENET_MEAN, IMAGENET_STD))
    initialise(trunk, trunk.tensors(vgg_keys(VGG16)), weights, weights_dir, random_seed)
    trunk.stages[-1] = trunk.stages[-1][:3]  # the pool, the convolution, its ReLU
    return ImageFeatures(trunk, device, lambda x, maps: maps[-1:])


def efficientnet_b7(weights, weights_dir, device, protocol, random_seed):
    """The image and `features` 0-1, 2, ..., 7 of torchvision's EfficientNet-B7, in eval mode, input in [0, 1]."""
    from torchvision.models import efficientnet_b7 as build

    layers = build(weights=None).features
    trunk = Stages([layers[0:2], *([layer] for layer in layers[2:8])])
    tensors = {f"features.{key}": value for key, value in layers[:8].state_dict().items()}
    initialise(trunk, tensors, weights, weights_dir, random_seed)
    return ImageFeatures(trunk, device, with_image)


def pixels(weights_dir, device, protocol, random_seed):
    """The image itself, for the metrics that look at nothing else."""
    return lambda x: [x]


ORIENTATIONS = SCALES = 4  # of FSIM's filters
# of Rayleigh's parameter: mean plus two standard deviations, by the factor of Kovesi's code for this measure
NOISE_LEVEL = (math.sqrt(math.pi / 2) + 2 * math.sqrt(2 - math.pi / 2)) / 1.7


def log_gabor(height, width, dtype, device):
    """piq's filters, for real transforms: complex (2, orientations, scales, H, W // 2 + 1), the even parts and the odd;
    and the power (orientations, 1, 1, 1) of white noise that passes one orientation, over that at its finest scale.

    A filter has a real response of its even part beside an imaginary one of its odd part: as two real transforms they
    cost what the complex one does, and leave their values side by side.
    """
    from piq.fsim import _construct_filters

    with torch.inference_mode(False), torch.no_grad():  # kept for images with a gradient and without
        whole = _construct_filters(torch.empty(1, 1, height, width, dtype=dtype, device=device))
        opposite = whole.flip((2, 3)).roll((1, 1), (2, 3))  # at the negative frequencies
        parts = torch.cat([torch.complex(whole + opposite, 0 * whole), torch.complex(0 * whole, opposite - whole)]) / 2
        kernels = torch.fft.ifft2(whole).real.unflatten(1, (ORIENTATIONS, SCALES)) * math.sqrt(height * width)
        passed = kernels.sum(2, keepdim=True).square().sum((0, 3, 4))
        finest = whole.unflatten(1, (ORIENTATIONS, SCALES))[0, :, :1].square().sum((2, 3))
        noise = (passed / finest)[..., None, None]
        return parts.unflatten(1, (ORIENTATIONS, SCALES))[..., : width // 2 + 1].contiguous(), noise


def phase_congruency(y, filters, noise):
    """Phase congruency (B, 1, H, W) of luma y (B, 1, H, W), 0 to 255. filters, noise: of `log_gabor`.

    Source: Kovesi, Image features from phase congruency (Videre 1999), as Zhang et al. (FSIM, TIP 2011) and piq use it.
    """
    spectrum = torch.fft.rfft2(y)[:, None, None]
    even, odd = torch.fft.irfft2(spectrum * filters, s=y.shape[2:]).unbind(1)  # (B, orientations, scales, H, W)
    amplitude, tiny = (even.square() + odd.square()).sqrt(), torch.finfo(y.dtype).eps
    sum_even, sum_odd = even.sum(2, keepdim=True), odd.sum(2, keepdim=True)
    squared = sum_even.square() + sum_odd.square()
    length = squared.sqrt() + tiny
    across = (even * sum_odd - odd * sum_even).abs().sum(2, keepdim=True)
    median = amplitude[:, :, :1].flatten(3).square().median(-1).values[..., None, None]
    threshold = NOISE_LEVEL * (median / math.log(2) * noise).sqrt()
    energy = ((squared - across) / length - threshold).relu()
    return (energy.sum((1, 2)) + tiny)[:, None] / (amplitude.sum((1, 2)) + tiny)[:, None]


def phases(weights_dir, device, protocol, random_seed):
    """FSIMc's maps of one image, so that a reference's are made once:
    phase congruency, gradient, chroma I and Q, the image."""
    from piq.functional import gradient_map, rgb2yiq, scharr_filter

    filters = lru_cache(maxsize=4)(log_gabor)  # a dataset's images are of few sizes

    def maps(x):
        small = F.avg_pool2d(x * 255, max(1, round(min(x.shape[2:]) / 256)))
        y, i, q = rgb2yiq(small).split(1, 1)
        scharr = scharr_filter(device=x.device, dtype=x.dtype)
        phase = phase_congruency(y, *filters(*y.shape[2:], y.dtype, y.device))
        return [phase, gradient_map(y, torch.stack([scharr, scharr.mT])), i, q, x]

    return maps
