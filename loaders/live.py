"""LIVE IQA release 2 (Sheikh, Sabir, Bovik, IEEE TIP 2006):
its images, its two label scales, and how to tell them apart.

The label that the published results rest on is `dmos_new` of dmos_realigned.mat, a separate download. `dmos` of
dmos.mat is an earlier scale: its SRCC with dmos_new is .957, and DINOv1 l2 has SRCC .934 with it instead of .964.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from common.errors import UsageError
from common.files import Disk, cell_strings, mat_numbers, number, read_mat, spread
from loaders.pairs import Row, code_in_name

PAGE = "https://live.ece.utexas.edu/research/Quality/subjective.htm"
ALL = {"jp2k": 227, "jpeg": 233, "wn": 174, "gblur": 174, "fastfading": 174}  # columns of the .mat files, in this order
RATED = {"jp2k": 169, "jpeg": 175, "wn": 145, "gblur": 145, "fastfading": 145}  # of these, those that are no references
NOT_THE_PAPERS = "the dmos of dmos.mat, not the label that the paper used (dmos_new of dmos_realigned.mat, -dat live)"

# Image -> (dmos, dmos_new) of 20 images, 4 of each type: enough to tell which of the two scales a list of labels is on.
# At each of them the scales lie at least 4 apart, 400 times TOLERANCE, which leaves room for float32 and for labels
# rounded to two decimals; and all that are there must agree. So chance, rounding or one damaged value cannot pass for a
# scale.
KNOWN = {
    "jp2k/img2.bmp": (28.0038, 15.5130), "jp2k/img3.bmp": (34.0107, 24.0903),
    "jp2k/img126.bmp": (24.6248, 10.7127), "jp2k/img227.bmp": (60.7617, 70.8803),
    "jpeg/img2.bmp": (42.1861, 33.2832), "jpeg/img4.bmp": (79.6320, 87.8267),
    "jpeg/img128.bmp": (41.5000, 52.3239), "jpeg/img233.bmp": (58.2268, 87.7808),
    "wn/img2.bmp": (48.8623, 64.7619), "wn/img3.bmp": (37.3577, 44.7819),
    "wn/img77.bmp": (65.6539, 94.2049), "wn/img145.bmp": (67.9544, 98.2707),
    "gblur/img5.bmp": (66.8406, 72.8294), "gblur/img10.bmp": (81.3908, 89.7237),
    "gblur/img88.bmp": (60.8332, 65.5828), "gblur/img144.bmp": (66.3322, 72.0704),
    "fastfading/img1.bmp": (60.2040, 75.6983), "fastfading/img2.bmp": (58.2782, 72.3892),
    "fastfading/img69.bmp": (68.3092, 89.7961), "fastfading/img144.bmp": (48.9436, 56.3412),
}  # fmt: skip
TOLERANCE = 0.01


def scale(labels):
    """'dmos', 'dmos_new', or None where it is neither. labels: {'jp2k/img2.bmp': label, ...}, those of KNOWN decide."""
    known = [(labels[name], KNOWN[name]) for name in KNOWN.keys() & labels.keys()]
    for i, title in enumerate(("dmos", "dmos_new")):
        if known and all(abs(label - values[i]) <= TOLERANCE for label, values in known):
            return title
    return None


def fault(names: Sequence[str], labels: Sequence[float], expected: str) -> str | None:
    """Why the labels of a score file are not those of the scale `expected` ('dmos' or 'dmos_new'), or None if nothing
    speaks against it. names: of distorted images, with folders or, if all 779 are there, without; labels: floats."""
    if in_released_order(names):
        names = [f"{folder}/{name}" for folder, name in zip(types(names), names)]
    actual = scale(dict(zip(map(str.lower, names), labels)))  # None, too, of a part of LIVE without folders
    if actual in (None, expected):
        return None
    other = "live" if actual == "dmos_new" else "livedmos"
    return (
        f"its labels are LIVE's {actual}, but a score file of this dataset holds {expected}, which is another "
        f"scale and gives other coefficients; score it again, or with -dat {other} if {actual} is meant"
    )


def types(names: Sequence[str]) -> list[str]:
    """By folder; by position in the authors' files, which name LIVE's images without folders (METHOD.md section 4)."""
    if in_released_order(names):
        return [folder for folder, count in RATED.items() for _ in range(count)]
    return code_in_name(f"({'|'.join(ALL)})/.+", "jp2k/img1.bmp, or all 779 rows in LIVE's order", with_folders=True)(
        names
    )


def in_released_order(names):
    """Whether these are the 779 rows of the authors' files, which name LIVE's images without folders."""
    return len(names) == sum(RATED.values()) and not any("/" in name for name in names)


def names():
    """The 982 distorted images in the order of the .mat files, references among them."""
    return [f"{folder}/img{i}.bmp" for folder, count in ALL.items() for i in range(1, count + 1)]


def realigned(root: Path) -> Iterable[Row]:
    """The label of the paper: `dmos_new` of dmos_realigned.mat, whose `dmos_std` is its spread; entries with orgs = 1
    are the references and are left out. A dmos.mat whose dmos holds these values is recognised by them, and used (it
    has no spread)."""
    disk = Disk(root)
    if disk.find("dmos_realigned.mat"):
        file = disk.path("dmos_realigned.mat")
        labels, std, orgs = variables(file, "dmos_new", "dmos_std", "orgs")
        if scale(dict(zip(names(), labels))) == "dmos":
            raise UsageError(
                f"{file}: its dmos_new holds the dmos of dmos.mat, an earlier scale; get the file from {PAGE}"
            )
        return rows(disk, file, labels, std, orgs)
    if disk.find("dmos.mat"):
        file = disk.path("dmos.mat")
        labels, orgs = variables(file, "dmos", "orgs")
        if scale(dict(zip(names(), labels))) == "dmos_new":
            return rows(disk, file, labels, None, orgs)
    raise UsageError(
        f"{disk.root / 'dmos_realigned.mat'}: not there; it holds LIVE's label (dmos_new) and is a separate "
        f"download from {PAGE}; the dmos of dmos.mat is another scale, on which coefficients are not the "
        "published ones (DINOv1 l2: SRCC .934 for .964); -dat livedmos uses it"
    )


def first_release(root: Path) -> Iterable[Row]:
    """`dmos` of dmos.mat, which is not the label of the paper. No spread: dmos_std belongs to the scale of dmos_new."""
    disk = Disk(root)
    file = disk.path("dmos.mat")
    labels, orgs = variables(file, "dmos", "orgs")
    if scale(dict(zip(names(), labels))) == "dmos_new":
        raise UsageError(
            f"{file}: its dmos holds the realigned values (dmos_new), not the earlier scale; use -dat live"
        )
    return rows(disk, file, labels, None, orgs)


def variables(file, *wanted):
    """Vectors of a .mat file as lists of floats."""
    return [mat_numbers(array, file, ", ".join(wanted)) for array in read_mat(file, *wanted)]


def rows(disk, file, labels, std, orgs):
    """Rows in LIVE's order. labels, std (or None), orgs: one for each of the 982 columns of `file`."""
    names_file = disk.path("refnames_all.mat")
    refs = cell_strings(read_mat(names_file, "refnames_all")[0], names_file)
    std = [None] * len(labels) if std is None else std
    want = sum(ALL.values())
    if not len(labels) == len(orgs) == len(refs) == len(std) == want or set(orgs) - {0.0, 1.0}:
        raise UsageError(
            f"{file}: expected {want} entries of the labels, their spread if there, orgs (0 or 1) and "
            f"refnames_all, as in release 2; found {len(labels)}, {len(std)}, {len(orgs)}, {len(refs)}"
        )
    for column, name in enumerate(names()):
        if orgs[column] == 0:
            where = f"{file}: entry {column + 1}"
            deviation = None if std[column] is None else spread(repr(std[column]), where + " of dmos_std")
            yield Row(where, name, f"refimgs/{refs[column]}", number(repr(labels[column]), where), deviation)
