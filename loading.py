"""Images off the disk: read, resized, perturbed, in worker processes when asked -> uint8 tensors on the device."""
from contextlib import contextmanager

import numpy as np
import torch
from PIL import Image

from cli import WorkError, one_line
from images import ImageError, open_rgb
from robustness import perturb


def prepare(image, role, perturbation, resize=None, short_side=None):
    """A PIL RGB image as the model will see it: resized to (resize, resize), perturbed, short side brought down (never up)."""
    if resize:
        image = image.resize((resize, resize), Image.Resampling.BILINEAR)
    image = perturb(image, role, *perturbation)
    if short_side and min(image.size) > short_side:
        image = image.resize([int(short_side * side / min(image.size)) for side in image.size], Image.Resampling.BILINEAR)
    return image


def to_tensor(image):
    """PIL RGB -> uint8 (3, H, W)."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


class Requests(torch.utils.data.Dataset):
    """[(path, role, [(perturbation, pct)])] -> the image in each perturbation, or the error as text (so that it crosses the
    process boundary whole). A fourth item is the (width, height) that the file had when it was checked, and must have."""

    def __init__(self, requests, resize, short_side):
        self.requests, self.resize, self.short_side = requests, resize, short_side

    def __len__(self):
        return len(self.requests)

    def __getitem__(self, index):
        path, role, perturbations, *size = self.requests[index]
        try:
            image = path if isinstance(path, Image.Image) else open_rgb(path)
            if size and image.size != size[0]:
                raise ImageError(f"{path}: {image.width} x {image.height} pixels, {size[0][0]} x {size[0][1]} when the run began")
            return [to_tensor(prepare(image, role, p, self.resize, self.short_side)) for p in perturbations]
        except Exception as error:
            return f"{path}: {one_line(error)}" if str(path) not in str(error) else one_line(error)


def obey_the_main_process(_):
    """In a worker: a Ctrl-C is the main process's to answer, and its order to end (SIGTERM) is not an exception to be caught, as
    the handlers that a fork inherits from cli.run_main would have it."""
    import signal
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def images_of(requests, resize, short_side, device, workers):
    """Yields, in order, for each request a list of uint8 (3, H, W) tensors on the device. WorkError for what can't be read."""
    cuda = device.type == "cuda"
    loader = torch.utils.data.DataLoader(Requests(requests, resize, short_side), batch_size=None, num_workers=workers,
                                         pin_memory=cuda, prefetch_factor=4 if workers else None, worker_init_fn=obey_the_main_process)
    for images in loader:
        if isinstance(images, str):
            raise WorkError(f"{images}; what was scored before is kept, start again to go on")
        yield [image.to(device, non_blocking=True) for image in images]


@contextmanager
def workers_named():
    """A process that reads images and dies becomes a WorkError. PyTorch raises its own error by a signal handler: anywhere in
    the main process, so this stands around all that happens while images are read."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise WorkError(f"a process that reads images died ({one_line(error)[:150]}); what was scored is kept, start again to go "
                        "on, with fewer --workers if memory is short") from None
