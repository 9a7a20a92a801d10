"""A list of one's own as a dataset: a CSV file that names pairs of images and how people rated them (docs/datasets.md).

    dis,ref,mos                                 the plain one; type (of distortion) and std may be there too
    ref_name,dist_name,dmos                     the meta files of pyiqa; their columns of splits are left out
    dis_img_path,dis_type,ref_img_path,score    the lists of IQA-Dataset

What a higher label means is never guessed: the column is called `dmos`, or a column `higher_is` says it, or the caller
does. An image is looked for beside the list, then in the data root; its path, links resolved, may not leave these two
folders.
"""

import functools
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from common.errors import UsageError
from common.files import Disk, key, number, read_table, spread
from loaders.pairs import Row

ENDINGS = (".csv", ".txt")  # IQA-Dataset's lists are CSV under the name .txt
DISTORTED = ("dis", "dist_name", "dis_img_path")
REFERENCE = ("ref", "ref_name", "hq_name", "ref_img_path")
LABEL = ("mos", "dmos", "score", "elo_score")
TYPE = ("type", "dis_type")
SPREAD = ("std",)
DIRECTION = ("higher_is",)
KADID_NAME = re.compile(r"i\d\d_\d\d_\d\d\.png", re.I)


class Listed(NamedTuple):
    """What a list says. higher_is is None where it does not say what a higher label means."""

    root: Path  # the folder that the rows' paths are relative to
    rows: list  # of loaders.pairs.Row
    column: str  # of the label: 'mos', 'dmos', ...
    higher_is: str | None  # 'worse' or 'better'


def is_list(name: str) -> bool:
    """Whether a dataset's name is the path of a list."""
    return str(name).lower().endswith(ENDINGS)


def name_of(file: Path | str, taken: Iterable[str]) -> str:
    """The dataset name of a list: its stem in lower case, all but letters and digits turned into '-'.

    UsageError if it is one of `taken`, or nothing."""
    name = re.sub(r"[\W_]", "-", Path(file).name[:-4].lower())
    if name in taken or not name.strip("-"):
        known = "is the name of a known dataset" if name in taken else "is no name for a dataset"
        raise UsageError(f"{file}: {name!r} {known}; rename the file")
    return name


def read(file: Path | str, data_root: Path | str | None = None) -> Listed:
    """A list -> Listed. file: its path. data_root: a second folder for its images, or None.

    Raises UsageError naming file and line for what is missing or broken, and for a path out of both folders. Images
    that are not there keep their path as it stands in the list.
    """
    lines = read_table(file, (DISTORTED, REFERENCE, LABEL), (TYPE, SPREAD, DIRECTION))
    header = lines[0][1]
    dis, ref, label, kind, std, says = (
        next((name for name in names if name in header), None)
        for names in (DISTORTED, REFERENCE, LABEL, TYPE, SPREAD, DIRECTION)
    )
    rows = []
    for line, fields in lines:
        where = f"{file}: line {line}"
        deviation = spread(fields[std], f"{where}, column {std}") if std else None
        distortion = (fields[kind] if kind else "") or "all"
        mos = number(fields[label], f"{where}, column {label}")
        rows.append(Row(where, fields[dis], fields[ref], mos, deviation, distortion))
    root, rows = located(Path(file), data_root, rows)
    return Listed(root, rows, label, stated_direction(file, lines, says, label, rows))


def stated_direction(file, lines, says, label, rows):
    """'worse', 'better', or None where the list does not say what a higher label means."""
    if says:
        stated = {fields[says].lower() for _, fields in lines}
        if len(stated) > 1 or not stated <= {"worse", "better"}:
            raise UsageError(f"{file}: expected better or worse, the same in each row of the column {says}")
        return stated.pop()
    # KADID-10k's ratings are called dmos by their authors, and by others after them, but a higher one is better
    is_kadid = any(KADID_NAME.fullmatch(row.dis.rsplit("/", 1)[-1]) for row in rows)
    return "worse" if label == "dmos" and not is_kadid else None


# ---- where its images are


def located(file, data_root, rows):
    """-> (root, the rows with paths relative to it, spelt as on the disk where they are there)."""
    folders = [file.parent]
    if data_root is not None and os.path.isdir(data_root):
        folders.append(Path(data_root))
    places = {}  # path in the list -> (folder, relative path there), None if it is nowhere
    disks = [Disk(folder) for folder in folders]
    for row in rows:
        for path in (row.dis, row.ref):
            if path not in places:
                places[path] = place(path, disks)
    by_name(places, disks)
    judge(file, folders, rows, places)
    used = {folder for folder, _ in filter(None, places.values())}
    root = folders[-1] if used == {folders[-1]} else folders[0]

    def path_in_root(path):
        if places[path] is None:
            return slashes(path)
        folder, rel = places[path]
        return rel if folder == root else slashes(os.path.relpath(real(folder / rel), real(root)))

    return root, [row._replace(dis=path_in_root(row.dis), ref=path_in_root(row.ref)) for row in rows]


def slashes(path):
    return path.replace("\\", "/")


def place(path, disks):
    """The first folder that has the image -> (folder, its path there, spelt as on the disk), or None."""
    path = slashes(path)
    for disk in disks:
        rel = os.path.relpath(path, real(disk.root)) if os.path.isabs(path) else path
        spelling = disk.find(rel)
        if spelling is not None:
            return disk.root, without_detours(disk.root, spelling)
    return None


def without_detours(root, rel):
    """A relative path with '..' in it, its folder's links resolved: '../list/a.png' from list/ is 'a.png'."""
    if ".." not in rel.split("/"):
        return rel
    folder, name = os.path.split(os.path.join(root, rel))
    return slashes(os.path.relpath(os.path.join(real(folder), name), real(root)))


def by_name(places, disks):
    """Bare names that are not beside the list, looked for in the folders below: pyiqa's meta files name images so."""
    bare = {key(path): path for path, known in places.items() if known is None and "/" not in slashes(path)}
    for disk in disks:
        wanted = {name for name, path in bare.items() if places[path] is None}
        for name, rel in disk.index(".*", files=".*", names=wanted).items() if wanted else ():
            places[bare[name]] = disk.root, rel


def judge(file, folders, rows, places):
    """UsageError for a path that leaves the list's folder and the data root, links resolved."""
    allowed = [real(folder) for folder in folders]
    real_folder = functools.cache(real)
    for row in rows:
        for path in (row.dis, row.ref):
            folder, rel = places[path] or (folders[0], slashes(path))
            target = resolved(os.path.join(folder, rel), real_folder)
            if not any(target == base or target.startswith(base.rstrip("/") + "/") for base in allowed):
                raise UsageError(
                    f"{row.where}: {path} leads out of the list's folder, to {target}; put the images into "
                    f"{folders[0]}, or name the folder that holds them by --data-root"
                )


def resolved(path, real_folder):
    """real(path), its folder resolved once for all its files."""
    folder, name = os.path.split(path)
    if name in ("", ".", "..") or "\0" in path:
        return real(path)
    path = os.path.join(real_folder(folder or "."), name)
    return real(path) if os.path.islink(path) else path


def real(path):
    """The absolute path, links resolved; a name that no file can have counts as a file of that name."""
    return os.path.realpath(str(path).replace("\0", "?"))
