"""A photograph that scikit-image carries and a distorted version of it, made the same on every machine."""

import numpy as np
import torch


def pair(height, width, seed=0, name="astronaut", strength=20):
    """(distorted, reference), each (1, 3, H, W) float32 in [0, 1] with 8-bit values:
    a crop, and it with uniform noise."""
    from skimage import data

    photograph = getattr(data, name)()[20 : 20 + height, 150 : 150 + width]
    noise = np.random.default_rng(seed).integers(-strength, strength + 1, photograph.shape)
    distorted = np.clip(photograph.astype(int) + noise, 0, 255)
    return tuple(
        torch.from_numpy(a.astype(np.float32) / np.float32(255)).permute(2, 0, 1)[None].contiguous()
        for a in (distorted, photograph)
    )
