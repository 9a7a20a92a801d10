"""Images off the disk: read, resized, perturbed, in worker processes when asked -> uint8 tensors on the device."""

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from queue import SimpleQueue

import numpy as np
import torch
from PIL import Image

from common.errors import WorkError, about_file
from common.images import ImageError, open_rgb
from common.terminal import SIGNALS, check_stopped
from robustness import perturb
from scoring.registration import Registration


@dataclass(frozen=True)
class AlignedPair:
    """A request for both images of a pair, aligned."""

    distorted: str  # paths
    reference: str
    perturbation: tuple
    registration: Registration


def prepare(image, role, perturbation, resize=None, short_side=None):
    """A PIL RGB image as the model will see it: resized to (resize, resize), perturbed, short side brought down
    (never up)."""
    return brought_down(before_alignment(image, role, perturbation, resize), short_side)


def before_alignment(image, role, perturbation, resize=None):
    """A PIL RGB image resized to (resize, resize) and perturbed: what is registered."""
    if resize:
        image = image.resize((resize, resize), Image.Resampling.BILINEAR)
    return perturb(image, role, *perturbation)


def brought_down(image, short_side):
    if short_side and min(image.size) > short_side:
        image = image.resize(
            [int(short_side * side / min(image.size)) for side in image.size], Image.Resampling.BILINEAR
        )
    return image


def read(request: AlignedPair | tuple, resize: int | None, short_side: int | None) -> list[np.ndarray] | str:
    """(path, role, [(perturbation, pct)]) -> the image in each perturbation as uint8 (H, W, 3), or the error as text
    (so that it crosses the process boundary whole). A fourth item is the (width, height) that the file had when it
    was checked, and must have."""
    if isinstance(request, AlignedPair):
        return read_aligned(request, resize, short_side)
    path, role, perturbations, *size = request
    try:
        image = open_rgb(path)
        if size and image.size != size[0]:
            raise ImageError(
                f"{path}: {image.width} x {image.height} pixels, {size[0][0]} x {size[0][1]} when the run began"
            )
        return [np.array(prepare(image, role, p, resize, short_side)) for p in perturbations]
    except Exception as error:
        return about_file(error, path)


def read_aligned(request, resize, short_side):
    """AlignedPair -> [reference, distorted] as uint8 (H, W, 3), or the error as text."""
    path = request.reference
    try:
        reference = before_alignment(open_rgb(path), "reference", request.perturbation, resize)
        path = request.distorted
        distorted = before_alignment(open_rgb(path), "distorted", request.perturbation, resize)
        size = request.registration.width, request.registration.height
        if not reference.size == distorted.size == size:
            raise ImageError(
                f"{path}: {distorted.width} x {distorted.height} pixels, {size[0]} x {size[1]} when aligned"
            )
        return [np.array(brought_down(i, short_side)) for i in request.registration.apply(reference, distorted)]
    except Exception as error:
        return about_file(error, path)


def images_of(requests, resize, short_side, device, workers):
    """Yields, in order, for each request a list of uint8 (3, H, W) tensors on the device. WorkError for what can't be
    read."""
    for images in in_order(partial(read, resize=resize, short_side=short_side), requests, workers):
        if isinstance(images, str):
            raise WorkError(images)
        yield [on_device(torch.from_numpy(image).permute(2, 0, 1), device) for image in images]


def on_device(image, device):
    if device.type == "cuda":
        image = image.pin_memory()  # so that the copy does not hold up what the device is doing
    return image.to(device, non_blocking=True)


def in_order(function, items, workers):
    """Yields function(item) for each item, in order; worker processes, if there are any, keep a few items ahead."""
    if not workers:
        yield from map(function, items)
        return
    items, team = iter(items), []
    try:
        with signals_blocked(), opencv_without_threads():
            team.extend(Worker(function) for _ in range(workers))
        for worker in team:  # after the last process was born: none is born beside a thread
            threading.Thread(target=worker.collect, daemon=True).start()
        ahead = deque(least_busy(team).submit(item) for item in islice(items, 4 * workers))
        while ahead:
            result, error = ahead.popleft().answers.get()
            if error:
                check_stopped()  # what stops this process may have met that one first
                raise error
            ahead.extend(least_busy(team).submit(item) for item in islice(items, 1))
            yield result
    finally:
        for worker in team:
            worker.process.terminate()


def least_busy(team):
    return min(team, key=lambda worker: worker.submitted - worker.answered)


class Worker:
    """A process that answers items with function(item), in their order.

    Each has a pipe of its own, for a process that is killed in the midst of an answer (as it is where memory ends)
    then ends that pipe. A pool's processes share one and its lock, and all wait for ever for one that died with it.
    """

    def __init__(self, function):
        self.connection, far_end = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=answer, args=(function, far_end), daemon=True)
        self.process.start()
        far_end.close()  # the process holds the only one left
        self.answers, self.submitted, self.answered = SimpleQueue(), 0, 0

    def submit(self, item):
        """Send an item; self, of whose answers one is now for this item."""
        with suppress(OSError):  # it has died: collect says so
            self.connection.send(item)
        self.submitted += 1
        return self

    def collect(self):
        """In a thread: put (result, error) into answers as they come, so that the process can go on."""
        died = WorkError("a process that reads images died; if memory is short, use fewer --workers")
        while True:
            try:
                reply = self.connection.recv()
            except (EOFError, OSError):
                self.answers.put((None, died))
                return
            except Exception as error:  # one that cannot be put together again from its arguments
                reply = None, error
            self.answers.put(reply)
            self.answered += 1


def answer(function, connection):
    """In a worker: (function(item), None) or (None, its exception) for every item that comes, until the end."""
    begin_worker()
    with suppress(EOFError, OSError):
        while True:
            item = connection.recv()
            try:
                connection.send((function(item), None))
            except Exception as error:
                error.add_note(traceback.format_exc())
                connection.send((None, error))


@contextmanager
def opencv_without_threads():
    """Processes that are born in here can use OpenCV: born beside its threads, they wait for ever for those."""
    cv2 = sys.modules.get("cv2")  # who has not imported it has none
    threads = cv2.getNumThreads() if cv2 else 1
    if threads > 1:
        cv2.setNumThreads(1)
    try:
        yield
    finally:
        if threads > 1:
            cv2.setNumThreads(threads)


@contextmanager
def signals_blocked():
    """Processes that are born in here meet no Ctrl-C before begin_worker has told them what to make of it."""
    mask(signal.SIG_BLOCK)
    try:
        yield
    finally:
        mask(signal.SIG_UNBLOCK)


def mask(how):
    signal.pthread_sigmask(how, SIGNALS)


def begin_worker():
    """In a worker: a Ctrl-C or a hang-up is the main process's to answer, an order to end needs no handler, and when
    the main process is gone (kill -9), so is the worker, and with it the locks it was born with."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.SIG_IGN)
    mask(signal.SIG_UNBLOCK)

    def leave_with_parent():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=leave_with_parent, daemon=True).start()
