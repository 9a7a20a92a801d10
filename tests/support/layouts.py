"""Small folders in each dataset's distributed layout, for the tests. Their images are empty of meaning:
loaders open none."""

import functools

import numpy as np
import pytest

from common.errors import UsageError
from loaders import live

REFS = ("bikes", "caps")  # references of the small LIVE


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"an image")


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def make_tid(folder, text="5.51429 i01_01_1.bmp\n3.25 I01_11_2.BMP\n0.5 i25_24_5.bmp\n"):
    touch(
        folder,
        "distorted_images/I01_01_1.bmp",
        "distorted_images/i01_11_2.bmp",
        "distorted_images/i25_24_5.BMP",
        "reference_images/I01.BMP",
        "reference_images/i25.bmp",
    )
    write(folder / "mos_with_names.txt", text)
    return folder


def make_live(folder, realigned=True, version="5", columns=982, **changed):
    """All 982 columns, but every tenth alone is a distorted image:
    the rest is marked as reference, whose DMOS is no number."""
    from scipy.io import savemat

    columns = np.arange(columns)
    orgs = (columns % 10 != 0).astype(float)
    dmos = np.where(orgs == 1, np.nan, columns / 8 + 0.125)
    names = np.array([f"{REFS[i % 2]}.bmp" for i in columns], dtype=object)[None]
    start = 0
    for kind, count in live.ALL.items():
        touch(folder, *(f"{kind}/img{i + 1}.bmp" for i in range(count) if (start + i) % 10 == 0))
        start += count
    touch(folder, *(f"refimgs/{name}.bmp" for name in REFS))
    save = {"do_compression": version == "7"}
    savemat(folder / "dmos.mat", {"dmos": dmos[None], "orgs": orgs[None], **changed}, **save)
    savemat(folder / "refnames_all.mat", {"refnames_all": names}, **save)
    if realigned:
        again = {"dmos_new": dmos[None] + 1, "dmos_std": columns[None] / 100, "orgs": orgs[None]}
        savemat(folder / "dmos_realigned.mat", again, **save)
    return folder


PIPAL_NAMES = [f"A000{i}_{kind}_{level}.bmp" for i in (1, 2) for kind in ("00", "06") for level in ("00", "01")]


def make_pipal(folder, place=lambda i: "Train_Dis"):
    """place: index of an image -> its folder."""
    touch(
        folder,
        *(f"{place(i)}/{name}" for i, name in enumerate(PIPAL_NAMES)),
        "Train_Ref/A0001.bmp",
        "Train_Ref/A0002.bmp",
    )
    for image in ("A0002", "A0001"):
        lines = [f"{name},{1400 + i}.25\n" for i, name in enumerate(PIPAL_NAMES) if name.startswith(image)]
        write(folder / f"Train_Label/{image}.txt", "".join(reversed(lines)))
    return folder


def make_kadid(
    folder, rows="I01_01_01.png,I01.png,4.57,0.496\nI01_25_05.png,I01.png,1.1,0.3\n", dis="images", ref="images"
):
    touch(folder, f"{ref}/I01.png", f"{dis}/I01_01_01.png", f"{dis}/I01_25_05.png")
    write(folder / "dmos.csv", "dist_img,ref_img,dmos,var\n" + rows)
    return folder


CSIQ_ROWS = (
    (1600, "noise", 1, 0.05, 0.062),
    ("log_seaside", "jpeg 2000", 5, 0.11, 0.75),
)  # as in the authors' workbook


def make_csiq(folder, nested=True, dis="dst_imgs", ref="src_imgs", workbook=False):
    inside = {kind: f"{dis}/{kind}" if nested else dis for kind in ("awgn", "jpeg2000")}
    touch(
        folder,
        f"{inside['awgn']}/1600.AWGN.1.png",
        f"{inside['jpeg2000']}/log_seaside.jpeg2000.5.png",
        f"{ref}/1600.png",
        f"{ref}/log_seaside.png",
    )
    if workbook:
        make_workbook(folder / "csiq.DMOS.xlsx")
    else:
        write(folder / "csiq_label.txt", "1600.AWGN.1.png 0.062\nlog_seaside.jpeg2000.5.png 0.75\n")
    return folder


def make_workbook(path, rows=CSIQ_ROWS):
    import openpyxl

    book = openpyxl.Workbook()
    sheet = book.create_sheet("all_by_image")
    sheet.append(["CSIQ"])
    sheet.append([None, "image", "dst_idx", "dst_type", "dst_lev", "dmos_std", "dmos"])
    for image, kind, level, std, dmos in rows:
        sheet.append([None, image, 1, kind, level, std, dmos])
    book.save(path)


def make_livemd(folder, part="Part {}", refs="Part {}/{}"):
    """part, refs: names of the folders of a part and of its references; {} are the number of the part and its kind."""
    from scipy.io import savemat

    for number, kind in ((1, "blurjpeg"), (2, "blurnoise")):
        here = folder / part.format(number)
        touch(here, f"{kind}/caps_{kind}_1.bmp", f"{kind}/bikes_{kind}_2.bmp")
        touch(folder / refs.format(number, kind), "bikes.bmp", "caps.bmp")
        images, names = [[f"caps_{kind}_1.bmp"], [f"bikes_{kind}_2.bmp"]], [["bikes.bmp"], ["caps.bmp"]]
        savemat(
            here / "Imagelists.mat",
            {
                "distimgs": np.array(images, dtype=object),
                "refimgs": np.array(names, dtype=object),
                "ref4dist": [[2], [1]],
            },
        )
        savemat(here / "Scores.mat", {"DMOSscores": [[10.5 * number, 70.25]]})
    return folder


MAKERS = {
    "live": make_live,
    "livedmos": make_live,
    "tid2013": make_tid,
    "tid2008": make_tid,
    "pipal": make_pipal,
    "kadid10k": make_kadid,
    "csiq": make_csiq,
    "livemd": make_livemd,
}
LAYOUTS = {  # what makes each of an entry's `layouts`, in their order, where there is more than one
    "pipal": (
        make_pipal,
        lambda folder: make_pipal(folder, lambda i: "Dist_Imgs"),
        lambda folder: make_pipal(folder, lambda i: f"Distortion_{i % 4 + 1}"),
    ),
    "kadid10k": (make_kadid, lambda folder: make_kadid(folder, dis="distorted_images", ref="reference_images")),
    "csiq": tuple(
        functools.partial(make_csiq, nested=nested, dis=dis, ref=ref, workbook=workbook)
        for workbook in (False, True)
        for nested, dis, ref in (
            (True, "dst_imgs", "src_imgs"),
            (False, "dst_imgs_all", "src_imgs"),
            (False, "distorted_images", "reference_images"),
        )
    ),
    "livemd": (make_livemd, lambda folder: make_livemd(folder, "Part_{}", "Part_{}/Ref_Images")),
}


def fails(call, *args, **kwargs):
    """The message of the UsageError that the call must raise: one line."""
    with pytest.raises(UsageError) as caught:
        call(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message
