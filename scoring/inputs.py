"""What a person has in memory -> RGB in [0, 1], channels first.
What could be read in two ways is an error that says so.

| given | read as |
|---|---|
| a path (str or Path) | the file, as run.py reads it (common/images.py) |
| a PIL image, in any mode that a file may have | as that file |
| uint8, array or tensor | 0 to 255 |
| float16, float32, float64, array or tensor | [0, 1] |
| (H, W) | grey |
| (H, W, 3), (3, H, W) | R, G, B (OpenCV's B, G, R cannot be noticed) |
| (H, W, 4) | R, G, B and opacity, laid on white |
| (B, H, W, 3), (B, H, W, 4), (B, 3, H, W), or a list of images of one size | a batch |
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from common.images import open_rgb, to_rgb

ImageLike = str | Path | Image.Image | np.ndarray | torch.Tensor | Sequence
SLACK = 1e-4  # how far outside [0, 1] rounding may have put a value


def to_tensor(image: ImageLike, role: str, check: bool = True) -> torch.Tensor:
    """Anything of the table above -> float32 (3, H, W), or (B, 3, H, W) of a batch, in [0, 1]; gradients pass.

    role: 'reference' or 'distorted', for messages. check=False leaves out the look at every pixel for values outside
    [0, 1]. Raises ValueError naming the likely mistake, and UsageError for a file that cannot be read.
    """
    if isinstance(image, (list, tuple)) and image:
        parts = [to_tensor(part, role, check) for part in image]
        if len({part.shape for part in parts}) > 1 or parts[0].ndim > 3:
            sizes = sorted({tuple(part.shape) for part in parts})
            raise ValueError(f"{role}: expected images of one size in a batch, found {', '.join(map(str, sizes))}")
        return torch.stack(parts)
    x = channels_first(pixels(image, role), role)
    if check:
        check_range(x, role)
    return x


def pixels(image, role):
    """-> a tensor in whatever layout it came, float32 (uint8 divided by 255)."""
    if isinstance(image, (str, Path)):
        image = open_rgb(image)
    if isinstance(image, Image.Image):
        image = np.array(to_rgb(image))
    if isinstance(image, np.ndarray):
        kind = f"a numpy array of {image.dtype}"
        if image.dtype == np.uint8 or image.dtype.kind == "f":
            image = torch.from_numpy(image.copy())  # negative strides, and arrays that may not be written to
    elif isinstance(image, torch.Tensor):
        kind = f"a tensor of {str(image.dtype).removeprefix('torch.')}"
    else:
        raise ValueError(
            f"{role}: expected a path, a PIL image, a numpy array or a tensor, or a list of them, "
            f"found {type(image).__name__}"
        )
    if isinstance(image, torch.Tensor) and image.dtype == torch.uint8:
        return image.float() / 255
    if isinstance(image, torch.Tensor) and image.is_floating_point():
        return image.float()
    raise ValueError(
        f"{role}: expected uint8 in 0 to 255 or floats in [0, 1], found {kind}: which range? "
        "Divide by its largest value (255, 1023, 65535), or turn it into uint8"
    )


def channels_first(x, role):
    """(H, W), (H, W, 3), (H, W, 4), (3, H, W) and batches of the last three -> (3, H, W) or (B, 3, H, W)."""
    shape = tuple(x.shape)
    if x.ndim == 2:
        return x.expand(3, -1, -1)
    first, last = x.ndim in (3, 4) and shape[-3] == 3, x.ndim in (3, 4) and shape[-1] in (3, 4)
    if first and last:
        raise ValueError(f"{role}: {shape} could be channels first or channels last; give it another side than 3 or 4")
    if first:
        return x
    if not last:
        expected = "(H, W), (H, W, 3), (H, W, 4) or (3, H, W), or a batch (B, H, W, 3) or (B, 3, H, W)"
        raise ValueError(f"{role}: expected {expected}, found {shape}: {likely_layout(shape)}")
    x = x.movedim(-1, -3)
    if shape[-1] == 3:
        return x
    colour, opacity = x.split((3, 1), -3)
    return colour * opacity + (1 - opacity)


def likely_layout(shape):
    if 1 in (shape[-1], shape[0]) and len(shape) == 3:
        return "grey with a channel of its own? Leave that axis out"
    return "neither an image nor a batch" if len(shape) not in (3, 4) else "which axis holds R, G, B?"


def check_range(x, role):
    """ValueError where values lie outside [0, 1], with what they look like."""
    low, high = (float(v) for v in torch.aminmax(x.detach()))
    if not np.isfinite([low, high]).all():
        raise ValueError(f"{role}: expected values in [0, 1], found NaN or infinity")
    if low >= -SLACK and high <= 1 + SLACK:
        return
    if -1 - SLACK <= low < -SLACK and high <= 1 + SLACK:
        likely = "in [-1, 1]? Use (x + 1) / 2"
    elif low >= 0 and high > 2:
        likely = "in [0, 255]? Divide by 255"
    else:
        likely = "normalised by mean and std, or past the range? Undo it, or clamp(0, 1)"
    raise ValueError(f"{role}: expected values in [0, 1], found {low:.4g} to {high:.4g}: {likely}")
