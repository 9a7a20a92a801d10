"""TID2013 and TID2008, which are laid out alike."""

import re
from collections.abc import Iterator
from pathlib import Path

from common.errors import UsageError
from common.files import Disk, number, read_fields, spread
from loaders.pairs import Row

TID_NAME = r"i\d\d_(\d\d)_\d\.bmp"


def tid(root: Path) -> Iterator[Row]:
    """TID2013 (Ponomarenko et al., Signal Processing: Image Communication 2015) and TID2008, which is laid out alike.
    Label: 100 - MOS. mos_std.txt, a number a line in the order of mos_with_names.txt, is optional. TID2013's layout and
    the mixed case of its names were seen on real files; mos_std.txt and TID2008 are from their documentation."""
    disk = Disk(root)
    file = disk.path("mos_with_names.txt")
    lines = read_fields(file, 2)
    std = [None] * len(lines)
    if disk.find("mos_std.txt"):
        std_file = disk.path("mos_std.txt")
        std = [spread(fields[0], f"{std_file}: line {line}") for line, fields in read_fields(std_file, 1)]
        if len(std) != len(lines):
            raise UsageError(f"{std_file}: expected as many lines as {file.name} has ({len(lines)}), found {len(std)}")
    for (line, (mos, name)), deviation in zip(lines, std):
        where = f"{file}: line {line}"
        if not re.fullmatch(TID_NAME, name, re.I):
            raise UsageError(f"{where}: expected a name like i01_01_1.bmp, found {name!r}")
        ref = f"reference_images/{name[:3].upper()}.BMP"
        yield Row(where, f"distorted_images/{name}", ref, 100 - number(mos, where), deviation)
