"""Small folders in each dataset's distributed layout, for the tests. Their images are empty of meaning: loaders open none."""
import numpy as np
import pytest

import datasets
from common.errors import UsageError

REFS = ("bikes", "caps")   # references of the small LIVE


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"an image")


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def make_tid(folder, text="5.51429 i01_01_1.bmp\n3.25 I01_11_2.BMP\n0.5 i25_24_5.bmp\n"):
    touch(folder, "distorted_images/I01_01_1.bmp", "distorted_images/i01_11_2.bmp", "distorted_images/i25_24_5.BMP",
          "reference_images/I01.BMP", "reference_images/i25.bmp")
    write(folder / "mos_with_names.txt", text)
    return folder


def make_live(folder, realigned=True, version="5", columns=982, **changed):
    """All 982 columns, but every tenth alone is a distorted image: the rest is marked as reference, whose DMOS is no number."""
    from scipy.io import savemat
    columns = np.arange(columns)
    orgs = (columns % 10 != 0).astype(float)
    dmos = np.where(orgs == 1, np.nan, columns / 8 + 0.125)
    names = np.array([f"{REFS[i % 2]}.bmp" for i in columns], dtype=object)[None]
    start = 0
    for kind, count in datasets.LIVE_ALL.items():
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
    touch(folder, *(f"{place(i)}/{name}" for i, name in enumerate(PIPAL_NAMES)), "Train_Ref/A0001.bmp", "Train_Ref/A0002.bmp")
    for image in ("A0002", "A0001"):
        lines = [f"{name},{1400 + i}.25\n" for i, name in enumerate(PIPAL_NAMES) if name.startswith(image)]
        write(folder / f"Train_Label/{image}.txt", "".join(reversed(lines)))
    return folder


def make_kadid(folder, rows="I01_01_01.png,I01.png,4.57,0.496\nI01_25_05.png,I01.png,1.1,0.3\n"):
    touch(folder, "images/I01.png", "images/I01_01_01.png", "images/I01_25_05.png")
    write(folder / "dmos.csv", "dist_img,ref_img,dmos,var\n" + rows)
    return folder


def make_csiq(folder, nested=True):
    place = (lambda kind: f"dst_imgs/{kind}") if nested else (lambda kind: "dst_imgs_all")
    touch(folder, f"{place('awgn')}/1600.AWGN.1.png", f"{place('jpeg2000')}/log_seaside.jpeg2000.5.png", "src_imgs/1600.png",
          "src_imgs/log_seaside.png")
    write(folder / "csiq_label.txt", "1600.AWGN.1.png 0.062\nlog_seaside.jpeg2000.5.png 0.75\n")
    return folder


def make_livemd(folder):
    from scipy.io import savemat
    for part, kind in ((1, "blurjpeg"), (2, "blurnoise")):
        here = folder / f"Part {part}"
        touch(here, f"{kind}/bikes.bmp", f"{kind}/caps.bmp", f"{kind}/caps_{kind}_1.bmp", f"{kind}/bikes_{kind}_2.bmp")
        images, refs = [[f"caps_{kind}_1.bmp"], [f"bikes_{kind}_2.bmp"]], [["bikes.bmp"], ["caps.bmp"]]
        savemat(here / "Imagelists.mat", {"distimgs": np.array(images, dtype=object), "refimgs": np.array(refs, dtype=object),
                                          "ref4dist": [[2], [1]]})
        savemat(here / "Scores.mat", {"DMOSscores": [[10.5 * part, 70.25]]})
    return folder


MAKERS = {"live": make_live, "tid2013": make_tid, "tid2008": make_tid, "pipal": make_pipal, "kadid10k": make_kadid,
          "csiq": make_csiq, "livemd": make_livemd}


def fails(call, *args, **kwargs):
    """The message of the UsageError that the call must raise: one line."""
    with pytest.raises(UsageError) as caught:
        call(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message
