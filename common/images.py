"""How an image file becomes 8-bit RGB, and how files are checked before the work starts.
The one way this project reads images.

    python -m common.images FILE...     width x height of each, or what is wrong with it

    in the file                            becomes
    8-bit RGB                              itself
    grey, palette, bilevel, CMYK, YCbCr    Pillow's convert("RGB"), colour profiles not applied
    transparency                           opaque: dropped; else laid on white, as a page shows it
    16-bit grey                            round(v / 257)
    16-bit colour                          the high byte of each sample, v // 256: Pillow decodes no more
    EXIF orientation                       applied: upright, as a viewer shows it
    several pictures (animation, pages)    an error: which one was rated?
    float or 32-bit samples                an error: their range is not known
    more pixels than PIL.Image's limit     an error (a decompression bomb)
What a file holds is told from its content, never from its name.
"""

from __future__ import annotations

import functools
import queue
import re
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal, overload

from common.errors import UsageError, one_line
from common.files import check_regular, some, why
from common.terminal import Parser, progress, run_main

if TYPE_CHECKING:  # named in annotations only
    from PIL import Image

WIDE = ("I;16", "I;16L", "I;16B", "I;16N")  # Pillow's modes for 16-bit grey


class ImageError(UsageError):
    """An image that can't be used; says which and why."""


@functools.cache
def pillow() -> ModuleType:
    """PIL.Image, its warning about large images silenced: `header` raises at the same limit."""
    import warnings

    from PIL import Image

    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    return Image


@contextmanager
def reading(path):
    """Turns all that can go wrong while a file is read and decoded into an ImageError that names the file; what is no
    regular file is not opened."""
    try:
        check_regular(path)
        yield
    except ImageError:
        raise
    except Exception as error:  # decoders meet broken files with a dozen types of exception
        raise ImageError(f"{path}: {reason(path, error)}") from error


def reason(path, error):
    from PIL import UnidentifiedImageError

    if isinstance(
        error, pillow().DecompressionBombError
    ):  # more than twice the limit: Pillow itself stops, and names twice
        pixels = re.search(r"\((\d+) pixels\)", str(error))
        return f"{pixels[1] if pixels else 'its'} pixels, over the limit of {pillow().MAX_IMAGE_PIXELS}"
    if isinstance(error, UnidentifiedImageError):
        with open(path, "rb") as file:
            return kind_of_file(file.read(512))
    if isinstance(error, OSError) and error.errno:
        return f"cannot be read ({why(error)})"
    return f"broken image ({one_line(error)})"


FORMATS = (  # how files begin that are met in the place of images
    (b"version https://git-lfs", "a Git LFS pointer, whose image was not downloaded"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"MATLAB ", "a MATLAB file"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x7fELF", "a program"),
)


def kind_of_file(start):
    """What a file that is no image is, from its first bytes, none of which are shown:
    a list can name any file of this disk."""
    if not start:
        return "an empty file (0 bytes)"
    known = next((kind for magic, kind in FORMATS if start.startswith(magic)), None)
    if known is None and start.lstrip()[:1] == b"<":
        known = "an HTML or XML page"
    if known is None:
        text = start.decode("utf-8", errors="ignore")
        is_text = len(text.encode()) >= len(start) - 3 and all(c.isprintable() or c.isspace() for c in text)
        known = "a text file" if is_text else "a file of another format"
    return f"not an image ({known})"


def header(img, path):
    """Refuse, by the file's header alone, what has no one meaning as 8-bit RGB, or is too large. Raises ImageError."""
    limit = pillow().MAX_IMAGE_PIXELS
    if limit and img.width * img.height > limit:
        raise ImageError(
            f"{path}: {img.width} x {img.height} = {img.width * img.height} pixels, over the limit of {limit}"
        )
    if getattr(img, "n_frames", 1) > 1:
        raise ImageError(f"{path}: holds {img.n_frames} pictures ({img.format}); save the one that is meant")
    if img.mode == "F" or (img.mode == "I" and img.format not in ("PNG", "PPM")):  # those two hold 16 bits in mode I
        kind = "float" if img.mode == "F" else "32-bit"
        raise ImageError(f"{path}: {kind} samples, whose range is not known; save it with 8 or 16 bits")


def open_rgb(path: Path | str) -> Image.Image:
    """Read an image file -> PIL.Image in mode RGB, by the table above. Raises ImageError with a one-line reason."""
    from PIL import ImageOps

    with reading(path), pillow().open(path) as img:
        header(img, path)
        img.load()
        return to_rgb(ImageOps.exif_transpose(img))


def to_rgb(img: Image.Image) -> Image.Image:
    """A PIL image of any mode -> RGB, by the table above."""
    if img.mode in WIDE or img.mode == "I":
        return from_16_bits(img)
    if img.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in img.info:
        return on_white(img.convert("RGBA"))
    return img.convert("RGB")


def from_16_bits(img):
    """16-bit grey -> RGB, each sample round(v / 257), so that 65535 becomes 255 (Pillow's own convert clips at 255)."""
    import numpy as np

    wide = np.asarray(img).astype(np.int64)
    return pillow().fromarray(((wide + 128) // 257).astype(np.uint8)).convert("RGB")


def on_white(img):
    """RGBA -> RGB: the colours as they are where the image is opaque, white shining through elsewhere."""
    if img.getchannel("A").getextrema() == (255, 255):
        return img.convert("RGB")
    return pillow().alpha_composite(pillow().new("RGBA", img.size, "white"), img).convert("RGB")


def check(path: Path | str) -> tuple[int, int]:
    """(width, height) of open_rgb(path), or an ImageError. Decodes no pixel where the container tells that the file is
    whole (BMP by its length, PNG by its checksums, JPEG by its end mark); other files are decoded."""
    with reading(path), pillow().open(path) as img:
        header(img, path)
        if img.format == "PNG" and not has_exif(path):
            img.verify()
            return img.size
        if not is_whole(img, path):
            return open_rgb(path).size
        on_its_side = img.getexif().get(0x0112, 1) >= 5  # EXIF orientations 5 to 8
        return img.size[::-1] if on_its_side else img.size


def has_exif(path):
    """Whether a PNG may hold EXIF data; Pillow finds that by decoding it all."""
    data = Path(path).read_bytes()
    return b"eXIf" in data or b"Raw profile type exif" in data


def is_whole(img, path):
    """Whether the container tells, without decoding, that nothing is cut off."""
    size = Path(path).stat().st_size
    if img.format == "BMP" and img.tile[0].codec_name == "raw":
        _, stride, _ = img.tile[0].args
        return size >= img.tile[0].offset + stride * img.height
    if img.format == "JPEG":
        with open(path, "rb") as file:
            file.seek(max(0, size - 64))
            return b"\xff\xd9" in file.read()
    return False


READ_LIMIT = 120.0  # seconds that reading one file may take while files are checked: a disk that answers needs far less


@overload
def check_all(
    paths: Iterable, workers: int = 8, skip_bad: Literal[False] = False, limit: float = READ_LIMIT
) -> dict: ...
@overload
def check_all(
    paths: Iterable, workers: int = 8, *, skip_bad: Literal[True], limit: float = READ_LIMIT
) -> tuple[dict, dict]: ...
def check_all(
    paths: Iterable, workers: int = 8, skip_bad: bool = False, limit: float = READ_LIMIT
) -> dict | tuple[dict, dict]:
    """Check files in threads -> {path: (width, height)}. Raises one UsageError that counts and lists the bad ones;
    with skip_bad returns (sizes, {bad path: reason}) instead. A file that takes more than `limit` seconds is a
    UsageError that names it, with skip_bad too: its disk does not answer, so nothing can be said of the image."""
    paths = list(dict.fromkeys(paths))
    pillow().init()  # Pillow registers its formats here: once, not in every thread
    results = {}
    with progress(len(paths), "image", "checking") as bar:
        for path, size_or_fault in in_threads(size_or_error, paths, workers, limit):
            results[path] = size_or_fault
            bar.update()
    bad = {path: str(results[path]) for path in paths if isinstance(results[path], ImageError)}
    sizes = {path: results[path] for path in paths if path not in bad}
    if skip_bad:
        return sizes, bad
    if bad:
        raise UsageError(f"{len(bad)} of {len(paths)} images can't be used: {some(bad.values())}")
    return sizes


def size_or_error(path):
    try:
        return check(path)
    except ImageError as error:
        return error


def in_threads(function, paths, workers, limit):
    """Yields (path, function(path)) in the order in which they are done. UsageError naming a path that takes more than
    `limit` seconds. The threads are daemons: one that waits for a disk that does not answer can't be ended, and must
    not keep the process alive (a ThreadPoolExecutor's would)."""
    waiting, done, began, stop = queue.SimpleQueue(), queue.SimpleQueue(), {}, threading.Event()
    for path in paths:
        waiting.put(path)

    def work():
        while not stop.is_set():
            try:
                path = waiting.get_nowait()
            except queue.Empty:
                return
            began[path] = time.monotonic()
            try:
                done.put((path, function(path), None))
            except BaseException as error:  # raised again where it is seen
                done.put((path, None, error))
            del began[path]

    for _ in range(max(1, min(workers, len(paths)))):
        threading.Thread(target=work, daemon=True).start()
    try:
        for _ in paths:
            path, result, error = next_of(done, began, limit)
            if error is not None:
                raise error
            yield path, result
    finally:
        stop.set()  # on Ctrl-C, leave at once


def next_of(done, began, limit):
    while True:
        try:
            return done.get(timeout=min(1.0, limit))
        except queue.Empty:
            late = [path for path, start in began.copy().items() if time.monotonic() - start > limit]
            if late:
                raise UsageError(
                    f"{late[0]}: reading it took more than {limit:g} s; does its disk or network mount still answer?"
                ) from None


def main(argv=None):

    parser = Parser(__doc__)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--debug", action="store_true")
    sizes, bad = check_all(parser.parse_args(argv).files, skip_bad=True)
    for path, (width, height) in sizes.items():
        print(f"{path}: {width} x {height}")
    for fault in bad.values():
        print(fault, file=sys.stderr)
    return 2 if bad else 0


if __name__ == "__main__":
    run_main(main)
