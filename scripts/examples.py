"""Images for the examples of docs/own-images.md, made from the embedded photographs: damaged pictures, moved ones, and
three codecs at six bitrates.

    python scripts/examples.py DIR

DIR/damage: astronaut.png (the reference), and it with a local blur, a local block artefact (JPEG at quality 5) and a
shift by 4 pixels. DIR/moved: it coded as JPEG (quality 60), as it is and after what happens to a decoder's output:
half a pixel to the right (half.png; chroma.png: the colour planes alone), cut off by one (crop.png), resized by 1 %
(resize.png). DIR/codecs: originals/, jpeg/, webp/, jp2k/ (five photographs at about half a bit per pixel), and
pairs.csv with ref,dis,codec,bitrate: every photograph with every codec at six qualities in all/, bits per pixel by
the file's size."""

import csv
import filecmp
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(
    0, str(Path(__file__).resolve().parents[1])
)  # as `python scripts/examples.py`, the rooms are not on the path

from common.errors import UsageError  # noqa: E402
from common.terminal import Parser, run_main  # noqa: E402

BOX = (88, 72, 184, 168)  # left, top, right, bottom of the local damage: the astronaut's face
CODECS = {  # folder: ending, Pillow's options at six qualities from low to high, which of them is for the folder
    "jpeg": (".jpg", [dict(quality=q) for q in (5, 10, 20, 35, 60, 85)], 2),
    "webp": (".webp", [dict(quality=q, method=6) for q in (1, 10, 30, 55, 80, 93)], 2),
    "jp2k": (
        ".jp2",
        [dict(quality_mode="rates", quality_layers=[r], irreversible=True) for r in (90, 50, 30, 18, 11, 6)],
        1,
    ),
}


def local(image, change, box=BOX):
    """The image with change(crop) in the box."""
    changed = image.copy()
    changed.paste(change(image.crop(box)), box[:2])
    return changed


def blurred(image):
    from PIL import ImageFilter

    return image.filter(ImageFilter.GaussianBlur(3))


def blocky(image):
    import io

    from PIL import Image

    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=5)
    return Image.open(stream).convert("RGB")


def shifted(image, pixels=4):
    """The image moved to the right; the columns that come in repeat the first."""
    from PIL import Image

    moved = Image.new("RGB", image.size)
    for x in range(pixels):
        moved.paste(image.crop((0, 0, 1, image.height)), (x, 0))
    moved.paste(image.crop((0, 0, image.width - pixels, image.height)), (pixels, 0))
    return moved


DAMAGE = {"blur": lambda image: local(image, blurred), "blocks": lambda image: local(image, blocky), "shift": shifted}


def coded(image, quality=60):
    """Through JPEG."""
    import io

    from PIL import Image

    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def chroma_half_right(image):
    """The two colour planes half a pixel to the right of the luma, as after a chroma position taken for another."""
    from PIL import Image

    luma, *colours = image.convert("YCbCr").split()
    half = (1, 0, -0.5, 0, 1, 0)
    colours = [c.transform(c.size, Image.Transform.AFFINE, half, Image.Resampling.BILINEAR) for c in colours]
    for moved, plane in zip(colours, image.convert("YCbCr").split()[1:]):
        moved.paste(plane.crop((0, 0, 1, plane.height)), (0, 0))
    return Image.merge("YCbCr", (luma, *colours)).convert("RGB")


def half_right(image):
    """The whole image half a pixel to the right, as after a resize that took corners for centres."""
    from PIL import Image

    moved = image.transform(image.size, Image.Transform.AFFINE, (1, 0, -0.5, 0, 1, 0), Image.Resampling.BICUBIC)
    moved.paste(image.crop((0, 0, 1, image.height)), (0, 0))
    return moved


def cut_one_off(image):
    """The image cut one pixel further to the right and down than its reference."""
    moved = image.copy()
    moved.paste(image.crop((1, 1, *image.size)), (0, 0))
    return moved


def one_percent(image):
    """Resized by 1 % and cut to the size it had."""
    from PIL import Image

    larger = image.resize([round(1.01 * side) for side in image.size], Image.Resampling.BICUBIC)
    return larger.crop((0, 0, *image.size))


MOVED = {"half": half_right, "chroma": chroma_half_right, "crop": cut_one_off, "resize": one_percent}


def moved(folder, photograph):
    from common.images import open_rgb

    folder.mkdir(parents=True, exist_ok=True)
    image = open_rgb(photograph)
    image.save(folder / photograph.name)
    coded(image).save(folder / "coded.png")
    for name, change in MOVED.items():
        coded(change(image)).save(folder / f"{name}.png")


def damage(folder, photograph):
    from common.images import open_rgb

    folder.mkdir(parents=True, exist_ok=True)
    image = open_rgb(photograph)
    image.save(folder / photograph.name)
    for name, change in DAMAGE.items():
        change(image).save(folder / f"{name}.png")


def codecs(folder, photographs):
    from common.images import open_rgb

    for name in ("originals", "all", *CODECS):
        (folder / name).mkdir(parents=True, exist_ok=True)
    lines = []
    for photograph in photographs:
        shutil.copyfile(photograph, folder / "originals" / photograph.name)
        image = open_rgb(photograph)
        for codec, (ending, qualities, chosen) in CODECS.items():
            for number, options in enumerate(qualities):
                coded = folder / "all" / f"{photograph.stem}_{codec}_{number}{ending}"
                image.save(coded, **options)
                bits = 8 * coded.stat().st_size / (image.width * image.height)
                lines.append([f"originals/{photograph.name}", f"all/{coded.name}", codec, f"{bits:.4f}"])
                if number == chosen:
                    shutil.copyfile(coded, folder / codec / f"{photograph.stem}{ending}")
    with open(folder / "pairs.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([["ref", "dis", "codec", "bitrate"], *lines])


def main(argv):
    from loaders import demo

    parser = Parser(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    folder = parser.parse_args(argv).folder
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: expected a folder, or a name that is free")
    photographs = sorted((demo.build() / "reference").glob("*.png"))
    with tempfile.TemporaryDirectory() as made:
        damage(Path(made, "damage"), photographs[0])
        moved(Path(made, "moved"), photographs[0])
        codecs(Path(made, "codecs"), photographs)
        files = {path: folder / path.relative_to(made) for path in sorted(Path(made).rglob("*")) if path.is_file()}
        for path, place in files.items():
            if place.exists() and not filecmp.cmp(path, place, shallow=False):
                raise UsageError(f"{place}: another file stands there and would be overwritten; name another folder")
        for path, place in files.items():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
    print(folder)


if __name__ == "__main__":
    run_main(main)
