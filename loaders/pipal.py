"""PIPAL's training set."""

import re
from collections.abc import Iterator
from pathlib import Path

from common.errors import UsageError
from common.files import Disk, key, number, read_fields
from loaders.pairs import Row

PIPAL_NAME = r".+_(\d\d)_\d\d\.(?:bmp|png)"


def pipal(root: Path) -> Iterator[Row]:
    """PIPAL's training set (Gu et al., ECCV 2020). Label: Elo. Order: label files by name, lines as they stand. The
    images are looked for in Train_Dis, Dist_Imgs, Distortion_1 ... 4 and their subfolders, of which several may hold
    the same files. From its documentation; the real files were not seen."""
    disk = Disk(root)
    images, refs = disk.index("train_dis.*", "dist_imgs", "distortion.*"), disk.index("train_ref.*")
    labels = [disk.root / rel for rel in disk.index("train_label.*", files=r".*\.txt").values()]
    if not labels:
        raise UsageError(f"{root}: expected label files Train_Label/*.txt, found none")
    for file in sorted(labels, key=lambda file: file.name):
        for line, (name, elo) in read_fields(file, 2, ","):
            where = f"{file}: line {line}"
            if not re.fullmatch(PIPAL_NAME, name, re.I):
                raise UsageError(f"{where}: expected a name like A0001_03_07.bmp, found {name!r}")
            ref = re.sub(r"_\d\d_\d\d(?=\.\w+$)", "", name)
            yield Row(
                where,
                images.get(key(name), f"Train_Dis/{name}"),
                refs.get(key(ref), f"Train_Ref/{ref}"),
                number(elo, where),
            )
