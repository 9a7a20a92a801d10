"""LIVE Multiply Distorted."""

import re
from collections.abc import Iterator
from pathlib import Path

from common.errors import UsageError
from common.files import Disk, cell_strings, key, mat_numbers, number, read_mat
from loaders.pairs import Row


def livemd(root: Path) -> Iterator[Row]:
    """LIVE Multiply Distorted (Jayaraman et al., Asilomar 2012): DMOS, higher is worse. In `Part 1` (blur then JPEG)
    and `Part 2` (blur then noise), also spelt `Part_1`: Imagelists.mat with the cells distimgs and refimgs and the
    numbers ref4dist (1 for the first reference), Scores.mat with DMOSscores, and the images in folders below;
    references may also lie in Ref_Images beside the parts. From documentation and other loaders."""
    disk = Disk(root)
    for plain in ("Part 1", "Part 2"):
        part = disk.find(plain) or disk.find(plain.replace(" ", "_")) or plain
        lists, scores = disk.path(f"{part}/Imagelists.mat"), disk.path(f"{part}/Scores.mat")
        images = disk.index(re.escape(part), "ref_images")
        distorted, refs, of = read_mat(lists, "distimgs", "refimgs", "ref4dist")
        distorted, refs = cell_strings(distorted, lists), cell_strings(refs, lists)
        of = mat_numbers(of, lists, "ref4dist")
        dmos = mat_numbers(read_mat(scores, "DMOSscores")[0], scores, "DMOSscores")
        if not len(distorted) == len(of) == len(dmos) or set(of) - set(range(1, len(refs) + 1)):
            raise UsageError(
                f"{lists}: expected as many distimgs as ref4dist (1 to {len(refs)}) and DMOSscores; "
                f"found {len(distorted)}, {len(of)}, {len(dmos)}"
            )
        for i, name in enumerate(distorted):
            where, ref = f"{lists}: entry {i + 1}", refs[int(of[i]) - 1]
            yield Row(
                where,
                images.get(key(name), f"{part}/{name}"),
                images.get(key(ref), f"{part}/{ref}"),
                number(repr(dmos[i]), where + " of DMOSscores"),
            )
