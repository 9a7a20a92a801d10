"""Every line of the table in images.py, and what broken files give.
The check before the work must agree with the reading."""

import errno
import io
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from places import ROOT

from common import images
from common.errors import UsageError

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (24, 32, 3), dtype=np.uint8)
GREY = COLOUR[..., 0]


def save(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


def pixels(path):
    """What open_rgb gives, once check has said the same size."""
    img = images.open_rgb(path)
    assert img.mode == "RGB" and images.check(path) == img.size
    return np.asarray(img)


def refused(path):
    """The one line with which both open_rgb and check refuse a file."""
    messages = []
    for call in (images.open_rgb, images.check):
        with pytest.raises(images.ImageError) as caught:
            call(path)
        messages.append(str(caught.value))
        assert messages[-1].startswith(f"{path}: ") and "\n" not in messages[-1]
    return messages[1]


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(path, samples, bits=16):
    """A PNG from its definition, independent of Pillow: samples (H, W, channels), unsigned."""
    height, width, channels = samples.shape
    header = struct.pack(">IIBBBBB", width, height, bits, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(f">u{bits // 8}").tobytes() for row in samples)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    return path


# --- the table


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "ppm", "tga", "pcx"])
def test_8_bit_rgb_is_itself(ending, tmp_path):
    assert (pixels(save(tmp_path / f"x.{ending}", COLOUR)) == COLOUR).all()


@pytest.mark.parametrize("ending", ["jpg", "webp", "jp2", "gif"])
def test_lossy_formats_are_what_pillow_decodes(ending, tmp_path):
    path = save(tmp_path / f"x.{ending}", COLOUR)
    assert (pixels(path) == np.asarray(Image.open(path).convert("RGB"))).all()


def test_grey_bilevel_and_palette(tmp_path):
    assert (pixels(save(tmp_path / "grey.png", GREY)) == GREY[..., None]).all()
    assert (pixels(save(tmp_path / "grey.bmp", GREY)) == GREY[..., None]).all()
    assert (pixels(save(tmp_path / "two.png", GREY > 127)) == 255 * (GREY > 127)[..., None]).all()
    colours = RNG.integers(0, 256, (256, 3), dtype=np.uint8)
    img = Image.frombytes("P", (32, 24), GREY.tobytes())
    img.putpalette(colours.ravel().tolist())
    for ending in ("png", "bmp", "gif"):
        img.save(tmp_path / f"palette.{ending}")
        assert (pixels(tmp_path / f"palette.{ending}") == colours[GREY]).all()


def test_cmyk(tmp_path):
    ink = np.concatenate([COLOUR, GREY[..., None]], axis=2)
    Image.fromarray(ink, "CMYK").save(tmp_path / "x.tif")
    want = (
        (255 - ink[..., :3].astype(float)) * (255 - ink[..., 3:].astype(float)) / 255
    )  # light that neither ink takes away
    assert np.abs(pixels(tmp_path / "x.tif") - want).max() <= 1


def test_opaque_alpha_is_dropped(tmp_path):
    opaque = np.dstack([COLOUR, np.full_like(GREY, 255)])
    assert (pixels(save(tmp_path / "x.png", opaque)) == COLOUR).all()


def test_transparent_pixels_lie_on_white(tmp_path):
    want = COLOUR * (GREY[..., None] / 255) + 255 * (1 - GREY[..., None] / 255)
    assert np.abs(pixels(save(tmp_path / "rgba.png", np.dstack([COLOUR, GREY]))) - want).max() <= 1
    want = GREY * (GREY / 255) + 255 * (1 - GREY / 255)
    assert np.abs(pixels(png(tmp_path / "la.png", np.dstack([GREY, GREY]), bits=8)) - want[..., None]).max() <= 1
    key = COLOUR.copy()
    key[:5] = 7
    Image.fromarray(key).save(tmp_path / "key.png", transparency=(7, 7, 7))  # one colour stands for transparent
    assert (pixels(tmp_path / "key.png")[:5] == 255).all() and (pixels(tmp_path / "key.png")[5:] == key[5:]).all()
    img = Image.fromarray(COLOUR).quantize(8)
    img.save(tmp_path / "palette.png", transparency=0)
    clear = np.asarray(img) == 0
    assert clear.any() and (pixels(tmp_path / "palette.png")[clear] == 255).all()


def test_16_bit_grey_is_scaled_and_rounded(tmp_path):
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    want = np.round(values / 257)[..., None]
    assert want.max() == 255
    assert (pixels(png(tmp_path / "x.png", values[..., None])) == want).all()
    assert (pixels(save(tmp_path / "x.tif", values)) == want).all()
    assert (pixels(save(tmp_path / "x.pgm", values)) == want).all()


def test_16_bit_colour_gives_the_high_byte(tmp_path):
    values = RNG.integers(0, 65536, (24, 32, 3), dtype=np.uint16)
    assert (pixels(png(tmp_path / "x.png", values)) == values // 256).all()
    opaque = np.dstack([values, np.full((24, 32), 65535, dtype=np.uint16)])
    assert (pixels(png(tmp_path / "alpha.png", opaque)) == values // 256).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp"])
def test_exif_orientation_is_applied(ending, orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    block = np.zeros((24, 32, 3), dtype=np.uint8)
    block[:8, :8] = 255  # a white corner: upper left as stored
    Image.fromarray(block).save(tmp_path / f"x.{ending}", exif=exif)
    seen = pixels(tmp_path / f"x.{ending}")
    assert seen.shape == ((24, 32, 3) if orientation < 5 else (32, 24, 3))
    # where the first stored row and column are, seen upright (EXIF 2.3, table of tag 274)
    row, column = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}[
        orientation
    ]
    corners = {(r, c): seen[r, c].mean() for r in (0, -1) for c in (0, -1)}
    assert corners.pop((row, column)) > 200 and max(corners.values()) < 50


def test_content_decides_not_the_ending(tmp_path):
    path = save(tmp_path / "x.png", COLOUR, format="BMP")
    assert (pixels(path) == COLOUR).all()
    assert (pixels(save(tmp_path / "noending", COLOUR, format="PNG")) == COLOUR).all()


def test_odd_paths(tmp_path):
    path = tmp_path / "Größe 日本" / "with space\t'\".png"
    path.parent.mkdir()
    assert (pixels(save(path, COLOUR)) == COLOUR).all()


# --- what is refused


@pytest.mark.parametrize("ending, many", [("gif", "3"), ("png", "3"), ("webp", "3"), ("tif", "3")])
def test_several_pictures(ending, many, tmp_path):
    frames = [Image.fromarray(np.roll(COLOUR, 5 * i, axis=1)) for i in range(3)]
    frames[0].save(tmp_path / f"x.{ending}", save_all=True, append_images=frames[1:])
    assert f"holds {many} pictures" in refused(tmp_path / f"x.{ending}")


def test_float_and_32_bit(tmp_path):
    assert "float samples" in refused(save(tmp_path / "f.tif", GREY.astype(np.float32)))
    assert "32-bit samples" in refused(save(tmp_path / "i.tif", GREY.astype(np.int32)))


@pytest.mark.parametrize(
    "width, height", [(9460, 9460), (20000, 20000), (70000, 70000)]
)  # over the limit, and twice and more
def test_decompression_bomb(width, height, tmp_path):
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    path = tmp_path / "bomb.png"
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    message = refused(path)
    limit = Image.MAX_IMAGE_PIXELS
    assert str(width * height) in message and (str(limit) in message or str(2 * limit) in message)
    done = subprocess.run([sys.executable, "-m", "common.images", path], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == message + "\n"  # no warning of Pillow's beside it


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "tif", "webp", "jp2", "gif", "ppm", "tga"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.98])
def test_truncated(ending, share, tmp_path):
    whole = save(tmp_path / f"whole.{ending}", RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)).read_bytes()
    cut = tmp_path / f"cut.{ending}"
    cut.write_bytes(whole[: int(len(whole) * share)])
    refused(cut)


def test_truncated_photograph_with_a_thumbnail(tmp_path):
    """The end mark of the thumbnail in the EXIF data is not taken for that of the photograph."""
    stream = io.BytesIO()
    Image.fromarray(COLOUR).save(stream, "JPEG")
    big = Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    big.save(tmp_path / "x.jpg", comment=stream.getvalue())
    data = (tmp_path / "x.jpg").read_bytes()
    assert images.check(tmp_path / "x.jpg") == (64, 64)
    (tmp_path / "x.jpg").write_bytes(data[: len(data) // 2])
    assert "truncated" in refused(tmp_path / "x.jpg")


def test_empty_no_image_missing_folder_loop(tmp_path):
    (tmp_path / "empty.png").write_bytes(b"")
    assert "an empty file (0 bytes)" in refused(tmp_path / "empty.png")
    (tmp_path / "text.png").write_text("version https://git-lfs.github.com/spec/v1")
    assert "not an image (a Git LFS pointer, whose image was not downloaded)" in refused(tmp_path / "text.png")
    assert "No such file" in refused(tmp_path / "none.png")
    assert "Is a directory" in refused(tmp_path)
    (tmp_path / "loop.png").symlink_to("loop.png")
    assert "symbolic links" in refused(tmp_path / "loop.png")


@pytest.mark.parametrize(
    "start, kind",
    [
        (b"root:x:0:0:root:/root:/bin/bash\n", "a text file"),
        ("Größe\n".encode(), "a text file"),
        (b"%PDF-1.7 secret", "a PDF document"),
        (b"\n<!DOCTYPE html><p>secret", "an HTML or XML page"),
        (b"PK\x03\x04secret", "a ZIP archive"),
        (b"\x00\xffsecret", "a file of another"),
    ],
)
def test_what_is_no_image_is_named_by_its_kind_and_never_quoted(tmp_path, start, kind):
    path = tmp_path / "x.png"
    path.write_bytes(start * 100)
    line = refused(path).replace(str(path), "")
    assert f"not an image ({kind}" in line and not any(word in line for word in ("secret", "root", "b'", "Gr"))


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to("pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    assert "pipe.png: cannot be read (a named pipe, not a file)" in refused(tmp_path / "pipe.png")
    assert "link.png: cannot be read (a named pipe, not a file)" in refused(tmp_path / "link.png")
    assert "zero.png: cannot be read (a device, not a file)" in refused(tmp_path / "zero.png")
    good = save(tmp_path / "good.png", COLOUR)
    sizes, bad = images.check_all([good, tmp_path / "pipe.png"], skip_bad=True)
    assert list(sizes) == [good] and "named pipe" in bad[tmp_path / "pipe.png"]


STUCK = """
import sys, threading
from common import images, terminal
real = images.check
def check(path):
    if "stuck" in path:
        threading.Event().wait()   # a disk that never answers
    return real(path)
images.check = check
terminal.run_main(lambda argv: images.check_all(argv, workers=2, skip_bad=True, limit=0.2), sys.argv[1:])
"""


def test_a_disk_that_does_not_answer_is_named_and_the_process_ends(tmp_path):
    paths = [save(tmp_path / f"{name}.png", COLOUR) for name in ("a", "stuck", "b", "c")]
    done = subprocess.run(
        [sys.executable, "-c", STUCK, *map(str, paths)], cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert f"{paths[1]}: reading it took more than 0.2 s" in done.stderr


def test_an_error_in_a_thread_is_raised_where_the_files_are_checked(tmp_path, monkeypatch):
    def fail(path):
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(images, "check", fail)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        images.check_all([save(tmp_path / "x.png", COLOUR)])


def test_unreadable(tmp_path, monkeypatch):
    def refuse(path, *_):  # permissions do not hold for root, so the refusal is played
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Image, "open", refuse)
    assert "cannot be read (Permission denied)" in refused(save(tmp_path / "x.png", COLOUR))


def test_flipped_bits_in_a_png(tmp_path):
    path = save(tmp_path / "x.png", COLOUR)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert "broken image" in refused(path)


def test_read_only_file(tmp_path):
    path = save(tmp_path / "x.png", COLOUR)
    path.chmod(0o444)
    assert (pixels(path) == COLOUR).all()


# --- many files


def test_check_all_lists_every_bad_file(tmp_path):
    good = [save(tmp_path / f"good{i}.png", COLOUR[: 20 - i]) for i in range(5)]
    bad = [tmp_path / f"bad{i}.png" for i in range(25)]
    assert images.check_all([*good, *good], workers=3) == {path: (32, 20 - i) for i, path in enumerate(good)}
    with pytest.raises(UsageError) as caught:
        images.check_all([*good[:2], *bad, *good[2:], bad[0]], workers=3)
    message = str(caught.value)
    assert (
        message.startswith("25 of 30 images can't be used: ")
        and message.endswith("; and 5 more")
        and "\n" not in message
    )
    assert [path.name in message for path in bad] == [True] * 20 + [False] * 5
    sizes, left_out = images.check_all([*good, *bad], workers=3, skip_bad=True)
    assert list(sizes) == good and list(left_out) == bad and "No such file" in left_out[bad[24]]


def test_check_decodes_nothing_where_the_container_tells(tmp_path, monkeypatch):
    paths = [save(tmp_path / f"x.{ending}", COLOUR) for ending in ("png", "bmp", "jpg")]
    monkeypatch.setattr(images, "open_rgb", None)
    monkeypatch.setattr(Image.Image, "convert", None)
    assert set(images.check_all(paths).values()) == {(32, 24)}


def test_script(tmp_path):
    good, bad = save(tmp_path / "good.png", COLOUR), tmp_path / "bad.png"
    done = subprocess.run([sys.executable, "-m", "common.images", good, bad], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == f"{good}: 32 x 24\n"
    assert done.stderr == f"{bad}: cannot be read (No such file or directory)\n"


# --- fuzz: damaged files give an image or one line, and nothing that check lets pass is refused for being cut

WHOLE = {}
for ending in ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "TGA"):
    stream = io.BytesIO()
    Image.fromarray(COLOUR).save(stream, ending)
    WHOLE[ending] = stream.getvalue()


def damaged(path, kind, cut, changes):
    data = bytearray(WHOLE[kind])
    for place, value in changes:
        data[int(place * (len(data) - 1))] = value
    path.write_bytes(data[: round(cut * len(data))])
    for call in (images.open_rgb, images.check):
        try:
            call(path)
        except images.ImageError as error:
            assert "\n" not in str(error) and str(path) in str(error)


DAMAGE = given(
    kind=st.sampled_from(sorted(WHOLE)),
    cut=st.one_of(st.just(1.0), st.floats(0, 1)),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4),
)


def fuzzing(examples):
    return settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))


@fuzzing(200)
@DAMAGE
def test_fuzz_images(tmp_path, kind, cut, changes):
    damaged(tmp_path / "x", kind, cut, changes)


@pytest.mark.slow
@fuzzing(2000)
@DAMAGE
def test_fuzz_images_long(tmp_path, kind, cut, changes):
    damaged(tmp_path / "x", kind, cut, changes)
