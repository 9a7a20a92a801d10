"""KADID-10k: dmos.csv, whose columns mean other things than their names say."""

import math
import re
from collections.abc import Iterator
from pathlib import Path

from common.errors import UsageError
from common.files import Disk, key, number, read_table, spread
from loaders.pairs import Row

KADID_NAME = r"i\d\d_(\d\d)_\d\d\.png"


def kadid(root: Path) -> Iterator[Row]:
    """KADID-10k (Lin, Hosu, Saupe, QoMEX 2019): dmos.csv with dist_img,ref_img,dmos,var; images/ holds both kinds, or
    distorted_images/ and reference_images/ one each.

    Its `dmos` is the mean of ratings from 1 (very annoying) to 5 (imperceptible): HIGHER IS BETTER, despite the name.
    From the paper and the dataset's page; see `spread_of` for what `var` is."""
    disk = Disk(root)
    file = disk.path("dmos.csv")
    images, refs = disk.index("images", "distorted_images"), disk.index("images", "reference_images")
    rows = []
    for line, fields in read_table(file, ("dist_img", "ref_img", "dmos", "var")):
        where = f"{file}: line {line}"
        if not re.fullmatch(KADID_NAME, fields["dist_img"], re.I):
            raise UsageError(f"{where}: expected a name like I01_01_01.png, found {fields['dist_img']!r}")
        mean, var = number(fields["dmos"], f"{where}, column dmos"), spread(fields["var"], f"{where}, column var")
        rows.append((where, fields, mean, var))
    stds = spread_of([(mean, var) for _, _, mean, var in rows])
    for (where, fields, mean, _), std in zip(rows, stds):
        dis, ref = fields["dist_img"], fields["ref_img"]
        yield Row(where, images.get(key(dis), f"images/{dis}"), refs.get(key(ref), f"images/{ref}"), mean, std)


def spread_of(rows):
    """Standard deviations from KADID's column `var`. rows: (mean, var) pairs.

    The column is named a variance, but the released numbers are standard deviations: mean 1.1 with 0.3 is 27 ones and 3
    twos among 30 ratings, whose variance is 0.09. The rows decide: whole numbers with the mean m spread at least by the
    variance f(1 - f), f the fraction of m. Where the square of some value is less than that, the values are variances
    after all."""

    def least(mean):  # 0.01: the means are rounded to two decimals
        fraction = mean % 1
        return fraction * (1 - fraction) - 0.01

    variances = any(var**2 < least(mean) for mean, var in rows)
    return [math.sqrt(var) if variances else var for _, var in rows]
