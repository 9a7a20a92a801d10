"""What floating point allows two ways to one number to differ by."""

import torch


def steps(n, size=1.0, dtype=torch.float32):
    """n steps of `dtype` (its eps) at numbers of about `size`, an absolute bound. For a score that is 1 minus
    something, `size` is 1 however small the score is: what the subtraction lost does not come back, and no share of the
    score can bound it."""
    return n * torch.finfo(dtype).eps * size
