"""A score from Python, for images in memory; a torch module with gradients, so that a score can be a loss.

    from scoring import Scorer
    score = Scorer("dinov1", "l2")(reference, distorted)     # a 0-dim tensor; (B,) for batches

reference, distorted: paths, PIL images, numpy arrays or tensors; uint8 is 0 to 255, floats are [0, 1]; (H, W), (H, W,
3), (H, W, 4), (3, H, W), and batches (the table is in scoring/inputs.py). Scores are those of run_single_img.py.
To optimise an image:

    import torch
    from scoring import Scorer

    loss = Scorer("st_vgg16", "l2")     # any backbone or metric of run.py --list, or my_metric.py:function
    torch.manual_seed(0)
    reference = torch.rand(3, 28, 28).repeat_interleave(8, 1).repeat_interleave(8, 2)
    image = torch.full_like(reference, 0.5).requires_grad_()
    optimizer = torch.optim.Adam([image], lr=0.02)
    scores = []
    for step in range(4):
        optimizer.zero_grad()
        score = loss(reference, image)
        score.backward()
        optimizer.step()
        image.data.clamp_(0, 1)
        scores.append(score.item())

Gradients are finite everywhere, identical images included. psnr, msssim, lpips*, stlpips*, dists, deepdc, deepssim, l2,
nl2, cos, dc, gram, swd and the cosine of embeddings are so by themselves. Roots have an infinite slope at 0: that of
skld, jsd, wsd and deep_*_* (log(s + 1)^0.25) and of moments (standard deviations) is taken distances.EPSILON beside it,
their score never (distances.root). The metrics of piq (fsim, ssim, vsi, ...) have none where an image is flat: theirs
is taken beside the images, and is 0 where it is undefined even there (methods.metrics.sloped_beside). The gradient
passes over the rounding of the luma in msssim. Higher is worse unless `higher_is` says "better". A score is the same
number within torch.autocast and from within a network that torch.compile has compiled.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F

from common.errors import UsageError
from methods.build import build
from methods.model import Options
from scoring.inputs import ImageLike, to_tensor


class Scorer(torch.nn.Module):
    """One score of run.py as a function of images: Scorer("dinov1", "l2"), Scorer("embed_dinov1"), Scorer("psnr").

    device, weights ("pretrained" or "random"), weights_dir, precision, protocol, layers: as run.py's options; align,
    too (docs/align.md). check=False leaves out the check of the range, which costs a look at every pixel and stops at
    a network's output that leaves [0, 1]. It stays on `device` (images are brought there) and has no trainable
    parameters. Attributes: column (the score's name), higher_is. Raises UsageError: unknown names, missing weights.
    """

    def __init__(
        self,
        method: str,
        distance: str | None = None,
        device: str = "cpu",
        weights: str = "pretrained",
        weights_dir: str | Path | None = None,
        precision: str = "paper",
        protocol: str = "paper",
        layers: Sequence[int] | None = None,
        batch_size: int = 8,
        check: bool = True,
        align: str = "none",
    ):
        super().__init__()
        blocks = None if layers is None else tuple(layers)
        options = Options(weights, weights_dir, device, precision, protocol, layers=blocks, align=align)
        default = ["cos"] if method.startswith("embed_") else []
        models = build([method], [distance] if distance else default, options)
        if len(models) != 1 or len(models[0].columns) != 1:
            raise UsageError(f"Scorer({method!r}): expected a method with one score")
        self.model, self.batch_size, self.check = models[0], batch_size, check
        self.column, self.higher_is = self.model.columns[0].name, self.model.columns[0].higher_is
        self.features = self.model.load()

    @torch.compiler.disable  # a compiled network calls it as it is: a score is one number, compiled or not
    def forward(self, reference: ImageLike, distorted: ImageLike) -> torch.Tensor:
        """Images as the module's docstring says -> scores, float32: 0-dim for one pair, (B,) for a batch.

        Inside torch.autocast it computes in its own precision all the same, and torch.compile leaves it as it is.
        Raises ValueError naming the likely mistake: two sizes, too small, not in [0, 1], another layout or dtype.
        """
        x, y = (
            to_tensor(image, role, self.check).to(self.model.options.device)
            for image, role in ((distorted, "distorted"), (reference, "reference"))
        )
        if x.shape != y.shape:
            raise ValueError(
                f"expected images of one size, found reference {tuple(y.shape)}, distorted {tuple(x.shape)}"
            )
        height, width = x.shape[-2:]
        if min(height, width) < self.model.min_side:
            raise ValueError(
                f"{width} x {height} pixels, too small for {self.column}, which needs {self.model.min_side} a side"
            )
        single = x.ndim == 3
        if self.model.options.align != "none":
            pairs = [self.aligned(b, a) for a, b in zip(x[None] if single else x, y[None] if single else y)]
            scores = torch.stack([self.score(a[None], b[None])[0] for b, a in pairs])
        else:
            scores = self.score(*(t[None] if single else t for t in (x, y)))
        return scores[0] if single else scores

    def aligned(self, reference: torch.Tensor, distorted: torch.Tensor) -> Sequence[torch.Tensor]:
        """Two images (3, H, W) as --align leaves them; the very tensors given where nothing is done. ValueError for
        images that are to have a gradient: what is undone is found on their 8-bit selves, and where the reference must
        be resampled, its 8-bit self is."""
        from PIL import Image

        from scoring.aligning import fits
        from scoring.registration import inverse, register, resampled

        if torch.is_grad_enabled() and (reference.requires_grad or distorted.requires_grad):
            raise ValueError(f"{self.column} gives no gradient: it is aligned before it is scored")
        a, b = (
            Image.fromarray(t.mul(255).round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy())
            for t in (reference, distorted)
        )
        registration = register(a, b, self.model.options.align)
        if not fits(registration, self.model):
            return reference, distorted
        if not registration.whole:
            reference = to_tensor(resampled(a, inverse(registration.map)), "aligned", False).to(reference.device)
        boxes = (reference, registration.reference_box), (distorted, registration.box)
        return [image[:, top:bottom, left:right] for image, (left, top, right, bottom) in boxes]

    def score(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Batches of distorted images and references (B, 3, H, W) -> scores (B,), float32."""
        from scoring.plan import tiles

        x, y = (self.short_side(t) for t in (x, y))
        windows = tiles(x.shape[-1], x.shape[-2], self.model)
        x, y = (torch.stack([t[..., r : r + h, c : c + w] for r, c, h, w in windows], 1).flatten(0, 1) for t in (x, y))
        with torch.autocast(x.device.type, enabled=False):
            values = [
                self.model.compare(self.features(a), self.features(b), self.model.columns)[0][:, 0]
                for a, b in zip(x.split(self.batch_size), y.split(self.batch_size))
            ]
        scores = torch.cat(values).unflatten(0, (-1, len(windows))).mean(1).float()
        if (x.requires_grad or y.requires_grad) and torch.is_grad_enabled() and not scores.requires_grad:
            raise ValueError(f"{self.column} gives no gradient: it leaves torch on the way to its number")
        return scores

    def short_side(self, x: torch.Tensor) -> torch.Tensor:
        """Brought down as the protocol wants it (DISTS, corrected); to within a rounding to 8 bits as for files."""
        short = self.model.short_side
        if not short or min(x.shape[2:]) <= short:
            return x
        size = [int(short * side / min(x.shape[2:])) for side in x.shape[2:]]
        return F.interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=True)
