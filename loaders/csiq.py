"""CSIQ: csiq_label.txt and the authors' workbook csiq.DMOS.xlsx."""

import re
from collections.abc import Iterator
from pathlib import Path

from common.errors import UsageError, one_line
from common.files import Disk, key, number, read_fields, refuse_irregular, spread
from loaders.pairs import Row

CSIQ_NAME = r".+\.(\w+)\.\d\.png"
CSIQ_CODES = {"noise": "AWGN", "jpeg 2000": "jpeg2000"}  # the spreadsheet's dst_type where the file names say otherwise


def csiq(root: Path) -> Iterator[Row]:
    """CSIQ (Larson, Chandler, JEI 2010). DMOS from 0 to 1, higher is worse. Labels: csiq_label.txt ("1600.AWGN.1.png
    0.062" a line), as it is commonly passed on, and the authors' workbook csiq.DMOS.xlsx, whose sheet all_by_image has
    the columns image, dst_type, dst_lev, dmos_std, dmos; either will do. Where both are there they must agree to the
    list's last digit: order and labels are the list's, the spread is the workbook's. Images: dst_imgs/<type>/,
    dst_imgs_all/ or distorted_images/, and src_imgs/ or reference_images/."""
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
    """The rows of csiq_label.txt with the spreads of the workbook. UsageError naming both places where the two do not
    hold the same images, or a label differs by more than half a unit of the list's last digit."""
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
