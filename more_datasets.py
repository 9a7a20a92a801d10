"""More datasets: KADID-10k, CSIQ and LIVE-MD. Their entries stand in datasets.py.

Each function takes the dataset's folder and yields loaders.pairs.Row in the dataset's order; names are looked up on the disk by
datasets.load. None of the three layouts was verified on real files: what each rests on is said in its docstring.
"""

import math
import re

from common.errors import UsageError, one_line
from common.files import (
    Disk,
    cell_strings,
    key,
    mat_numbers,
    number,
    read_fields,
    read_mat,
    read_table,
    refuse_irregular,
    spread,
)
from loaders.pairs import Row

KADID_NAME = r"i\d\d_(\d\d)_\d\d\.png"
CSIQ_NAME = r".+\.(\w+)\.\d\.png"
CSIQ_CODES = {"noise": "AWGN", "jpeg 2000": "jpeg2000"}  # the spreadsheet's dst_type where the file names say otherwise


def kadid(root):
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
        rows.append((where, fields, number(fields["dmos"], where), spread(fields["var"], where)))
    stds = spread_of([(mean, var) for _, _, mean, var in rows])
    for (where, fields, mean, _), std in zip(rows, stds):
        dis, ref = fields["dist_img"], fields["ref_img"]
        yield Row(where, images.get(key(dis), f"images/{dis}"), refs.get(key(ref), f"images/{ref}"), mean, std)


def spread_of(rows):
    """Standard deviations from KADID's column `var`. rows: (mean, var) pairs.

    The column is named a variance, but the released numbers are standard deviations: mean 1.1 with 0.3 is 27 ones and 3 twos
    among 30 ratings, whose variance is 0.09. The rows decide: whole numbers with the mean m spread at least by the variance
    f(1 - f), f the fraction of m. Where the square of some value is less than that, the values are variances after all."""

    def least(mean):  # 0.01: the means are rounded to two decimals
        fraction = mean % 1
        return fraction * (1 - fraction) - 0.01

    variances = any(var**2 < least(mean) for mean, var in rows)
    return [math.sqrt(var) if variances else var for _, var in rows]


def csiq(root):
    """CSIQ (Larson, Chandler, JEI 2010). DMOS from 0 to 1, higher is worse. Labels: csiq_label.txt ("1600.AWGN.1.png 0.062" a
    line), as it is commonly passed on, and the authors' workbook csiq.DMOS.xlsx, whose sheet all_by_image has the columns
    image, dst_type, dst_lev, dmos_std, dmos; either will do. Where both are there they must agree to the list's last digit:
    order and labels are the list's, the spread is the workbook's. Images: dst_imgs/<type>/, dst_imgs_all/ or
    distorted_images/, and src_imgs/ or reference_images/."""
    disk = Disk(root)
    images, refs = disk.index("dst_imgs", "dst_imgs.*", "distorted_images"), disk.index("src_imgs", "reference_images")
    sheet = csiq_sheet(disk) if disk.find("csiq.DMOS.xlsx") else None
    if disk.find("csiq_label.txt"):
        file = disk.path("csiq_label.txt")
        rated = [(f"{file}: line {line}", name, dmos, None) for line, (name, dmos) in read_fields(file, 2)]
        rated = rated if sheet is None else with_spreads(rated, sheet)
    elif sheet is None:
        raise UsageError(f"{disk.root}: expected the labels csiq_label.txt or csiq.DMOS.xlsx, found neither")
    else:
        rated = sheet
    for where, name, dmos, std in rated:
        if not re.fullmatch(CSIQ_NAME, name, re.I):
            raise UsageError(f"{where}: expected a name like 1600.AWGN.1.png, found {name!r}")
        source, kind, _, _ = name.rsplit(".", 3)
        yield Row(
            where,
            images.get(key(name), f"dst_imgs/{kind.lower()}/{name}"),
            refs.get(key(f"{source}.png"), f"src_imgs/{source}.png"),
            number(dmos, where),
            None if std is None else spread(std, where),
        )


def with_spreads(listed, sheet):
    """The rows of csiq_label.txt with the spreads of the workbook. UsageError naming both places where the two do not hold the
    same images, or a label differs by more than half a unit of the list's last digit."""
    spreads = {key(name): (where, dmos, std) for where, name, dmos, std in sheet}
    rows = []
    for where, name, dmos, _ in listed:
        if key(name) not in spreads:
            raise UsageError(f"{where}: {name} is not in csiq.DMOS.xlsx beside it; both should list the same images")
        there, exact, std = spreads.pop(key(name))
        half_digit = 0.5 * 10.0 ** -len(dmos.partition(".")[2])
        if abs(number(dmos, where) - number(exact, there)) > half_digit * (1 + 1e-6):
            raise UsageError(
                f"{where}: the label of {name} is {dmos}, but {exact} in {there}; one of the two is not CSIQ's"
            )
        rows.append((where, name, dmos, std))
    if spreads:
        raise UsageError(
            f"{next(iter(spreads.values()))[0]}: this image is not in csiq_label.txt beside it ({len(spreads)} such); "
            "both should list the same images"
        )
    return rows


def csiq_sheet(disk):
    """The rows of csiq.DMOS.xlsx -> [(where, name, DMOS, std)], the last two as text. Needs openpyxl."""
    file = disk.path("csiq.DMOS.xlsx")
    refuse_irregular(file)
    try:
        import openpyxl
    except ImportError:
        raise UsageError(f"{file}: reading it needs openpyxl (pip install openpyxl)") from None
    try:
        sheet = [
            list(row)
            for row in openpyxl.load_workbook(file, data_only=True)["all_by_image"].iter_rows(values_only=True)
        ]
    except Exception as error:  # openpyxl raises many types on a broken file
        raise UsageError(f"{file}: not a spreadsheet with a sheet all_by_image ({one_line(error)})") from None
    wanted = ("image", "dst_type", "dst_lev", "dmos_std", "dmos")
    header = next((i for i, row in enumerate(sheet) if set(wanted) <= set(row)), None)
    if header is None:
        raise UsageError(f"{file}: sheet all_by_image: expected the columns {', '.join(wanted)}, found none such")
    columns = [sheet[header].index(name) for name in wanted]
    rows = []
    for line, cells in enumerate(sheet[header + 1 :], header + 2):
        image, kind, level, std, dmos = ("" if cells[i] is None else str(cells[i]).strip() for i in columns)
        if image or dmos:
            rows.append((f"{file}: row {line}", f"{image}.{CSIQ_CODES.get(kind.lower(), kind)}.{level}.png", dmos, std))
    return rows


def livemd(root):
    """LIVE Multiply Distorted (Jayaraman et al., Asilomar 2012): DMOS, higher is worse. In `Part 1` (blur then JPEG) and `Part 2`
    (blur then noise), also spelt `Part_1`: Imagelists.mat with the cells distimgs and refimgs and the numbers ref4dist (1 for
    the first reference), Scores.mat with DMOSscores, and the images in folders below; references may also lie in Ref_Images
    beside the parts. From documentation and other loaders."""
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
