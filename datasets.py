"""The datasets: a name -> pairs of images with human labels. One entry in DATASETS adds one;
`load` is what the scripts call.

    python datasets.py                            the registry: name, pairs, label and its direction, usual folder names
    python datasets.py tid2013 --data-root DIR    the pairs that are there, as CSV: dis,ref,label,distortion,std

How each dataset's own files are read stands in loaders/, a file a dataset (METHOD.md section 4); a list of one's own
(any CSV) is read by loaders/lists.py, the photographs that need no download are made by loaders/demo.py.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import UsageError, unknown
from common.files import list_folder, read_text
from common.terminal import Parser, run_main, warn
from loaders import csiq, demo, kadid, lists, live, livemd, pipal, tid
from loaders.pairs import Dataset, Pair, code_in_name, refuse_doubled, spelt_as_on_disk
from loaders.spread import Spread

if TYPE_CHECKING:  # named in annotations only
    import pandas as pd

LISTED = 12  # entries of a folder that an error shows


@dataclass(frozen=True)
class Entry:
    """One dataset of the registry."""

    name: str
    load: Callable  # root -> iterable of loaders.pairs.Row, in the dataset's order
    types: Callable  # names of distorted images -> type codes
    pairs: int | None  # in the full distributed dataset
    higher_is: str  # 'worse' or 'better': what a higher label means
    label: str
    folders: tuple  # usual folder names, in lower case, without spaces, '-' and '_'
    markers: tuple  # names, in lower case, of which one must be in the folder
    layouts: tuple  # what is in the folder, each way that is read; in brackets what need not be there
    source: str  # where to ask for the data
    citation: str
    spread: Spread | None = None  # what the spread of its labels is, where it has one
    no_spread: str = ""  # why there is no per-stimulus spread, where there is none
    note: str = ""  # what must stand beside every table made of it
    label_fault: Callable | None = (
        None  # (names, labels of a score file) -> why these are not this dataset's labels, or None
    )
    make: Callable | None = None  # () -> root, for what is made rather than downloaded


LIVE_FOLDERS = ("live", "databaserelease2", "liveiqa", "live2", "liverelease2", "liveiqarelease2")
LIVE_IMAGES = "refimgs/, jp2k/, jpeg/, wn/, gblur/, fastfading/"
LIVE_CITATION = (
    "Sheikh, Sabir, Bovik: A statistical evaluation of recent full reference image quality assessment algorithms. "
    "IEEE Transactions on Image Processing 15(11), 2006"
)

DATASETS = {
    entry.name: entry
    for entry in (
        Entry(
            "live",
            live.realigned,
            live.types,
            pairs=779,
            higher_is="worse",
            label="DMOS (dmos_new of dmos_realigned.mat)",
            markers=("refnames_all.mat", "dmos_realigned.mat", "dmos.mat"),
            folders=LIVE_FOLDERS,
            layouts=(f"{LIVE_IMAGES}, refnames_all.mat, dmos_realigned.mat (a separate download from the same page)",),
            source=live.PAGE,
            citation=LIVE_CITATION,
            spread=Spread("unknown", source="dmos_std of dmos_realigned.mat"),
            no_spread="dmos_realigned.mat, which holds dmos_std, is not there",
            label_fault=lambda names, labels: live.fault(names, labels, "dmos_new"),
        ),
        Entry(
            "livedmos",
            live.first_release,
            live.types,
            pairs=779,
            higher_is="worse",
            label="DMOS (dmos of dmos.mat)",
            markers=("refnames_all.mat", "dmos.mat"),
            folders=LIVE_FOLDERS,
            layouts=(f"{LIVE_IMAGES}, refnames_all.mat, dmos.mat",),
            source=live.PAGE,
            citation=LIVE_CITATION,
            no_spread="dmos_std belongs to the scale of dmos_new (-dat live)",
            note=f"its label is {live.NOT_THE_PAPERS}",
            label_fault=lambda names, labels: live.fault(names, labels, "dmos"),
        ),
        Entry(
            "tid2013",
            tid.tid,
            code_in_name(tid.TID_NAME, "i01_01_1.bmp"),
            pairs=3000,
            higher_is="worse",
            label="100 - MOS",
            markers=("mos_with_names.txt",),
            folders=("tid2013",),
            layouts=("reference_images/, distorted_images/, mos_with_names.txt (and mos_std.txt)",),
            source="https://www.ponomarenko.info/tid2013.htm",
            citation="Ponomarenko et al.: Image database TID2013: Peculiarities, results and perspectives. "
            "Signal Processing: Image Communication 30, 2015",
            spread=Spread(
                "se", source="mos_std.txt; 2900 of its 3000 values are too small for standard deviations of whole votes"
            ),
            no_spread="mos_std.txt is not there",
        ),
        Entry(
            "pipal",
            pipal.pipal,
            code_in_name(pipal.PIPAL_NAME, "A0001_03_07.bmp"),
            pairs=23200,
            higher_is="better",
            label="Elo",
            markers=("train_label",),
            folders=("pipal", "pipaltrain"),
            layouts=(
                "Train_Ref/, Train_Dis/, Train_Label/*.txt",
                "Train_Ref/, Dist_Imgs/, Train_Label/*.txt",
                "Train_Ref/, Distortion_1/, Distortion_2/, Distortion_3/, Distortion_4/, Train_Label/*.txt",
            ),
            source="https://www.jasongt.com/projectpages/pipal.html",
            citation="Gu et al.: PIPAL: A large-scale image quality assessment dataset for perceptual image "
            "restoration. ECCV 2020",
            no_spread="PIPAL gives Elo ratings alone, no spread of the judgements of an image",
        ),
        Entry(
            "demo",
            demo.rows,
            code_in_name(demo.NAME, "astronaut_noise_3.png"),
            pairs=125,
            higher_is="worse",
            label="strength 1-5, not a human opinion",
            markers=(),
            folders=(),
            make=demo.build,
            layouts=("made on first use from photographs that scikit-image carries",),
            source="scikit-image",
            citation="van der Walt et al.: scikit-image: image processing in Python. PeerJ 2:e453, 2014 (the "
            "photographs)",
            no_spread="its labels are strengths, not opinions",
        ),
        Entry(
            "kadid10k",
            kadid.kadid,
            code_in_name(kadid.KADID_NAME, "I01_01_01.png"),
            pairs=10125,
            higher_is="better",
            label="DMOS (1-5)",
            markers=("dmos.csv",),
            folders=("kadid10k", "kadid"),
            layouts=("images/, dmos.csv", "distorted_images/, reference_images/, dmos.csv"),
            source="https://database.mmsp-kn.de/kadid-10k-database.html",
            citation="Lin, Hosu, Saupe: KADID-10k: A large-scale artificially distorted IQA database. QoMEX 2019",
            spread=Spread("sd", 30, "var of dmos.csv; most of its means are thirtieths"),
        ),
        Entry(
            "csiq",
            csiq.csiq,
            code_in_name(csiq.CSIQ_NAME, "1600.AWGN.1.png"),
            pairs=866,
            higher_is="worse",
            label="DMOS (0-1)",
            markers=("csiq_label.txt", "csiq.dmos.xlsx", "src_imgs"),
            folders=("csiq", "csiqiqa"),
            layouts=tuple(
                f"{images}, {labels}"
                for labels in ("csiq_label.txt", "csiq.DMOS.xlsx")
                for images in (
                    "src_imgs/, dst_imgs/<type>/",
                    "src_imgs/, dst_imgs_all/",
                    "reference_images/, distorted_images/",
                )
            ),
            source="https://s2.smu.edu/~eclarson/csiq.html",
            citation="Larson, Chandler: Most apparent distortion: full-reference image quality assessment and the role "
            "of strategy. Journal of Electronic Imaging 19(1), 2010",
            spread=Spread("sd", 6, "dmos_std of csiq.DMOS.xlsx; 5000 ratings of 866 images by 35 observers"),
            no_spread="csiq_label.txt holds none; the authors' csiq.DMOS.xlsx does, beside it or in its place",
        ),
        Entry(
            "tid2008",
            tid.tid,
            code_in_name(tid.TID_NAME, "i01_01_1.bmp"),
            pairs=1700,
            higher_is="worse",
            label="100 - MOS",
            markers=("mos_with_names.txt",),
            folders=("tid2008",),
            layouts=("reference_images/, distorted_images/, mos_with_names.txt (and mos_std.txt)",),
            source="https://www.ponomarenko.info/tid2008.htm",
            citation="Ponomarenko et al.: TID2008 - A database for evaluation of full-reference visual quality "
            "assessment metrics. Advances of Modern Radioelectronics 10, 2009",
            spread=Spread("unknown", source="mos_std.txt"),
            no_spread="mos_std.txt is not there",
        ),
        Entry(
            "livemd",
            livemd.livemd,
            code_in_name(r"part[ _]([12])/.+", "Part 1/...", with_folders=True),
            pairs=450,
            higher_is="worse",
            label="DMOS",
            markers=("part 1", "part_1"),
            folders=("livemd", "livemultidistortiondatabase", "torelease"),
            layouts=(
                "Part 1/Imagelists.mat, Part 1/Scores.mat, Part 1/blurjpeg/, Part 2/Imagelists.mat, Part "
                "2/Scores.mat, Part 2/blurnoise/",
                "Part_1/Imagelists.mat, Part_1/Scores.mat, Part_1/blurjpeg/, Part_1/Ref_Images/, "
                "Part_2/Imagelists.mat, Part_2/Scores.mat, Part_2/blurnoise/, Part_2/Ref_Images/",
            ),
            source="https://live.ece.utexas.edu/research/Quality/live_multidistortedimage.html",
            citation="Jayaraman, Mittal, Moorthy, Bovik: Objective quality assessment of multiply distorted images. "
            "Asilomar 2012",
            no_spread="only the subjects' z-scores are given, on another scale than the labels",
        ),
    )
}


def squash(name):
    return re.sub(r"[\W_]", "", name.lower())


def parts_of(layout):
    """The names that stand in a layout's folder itself, in their order; without those in brackets."""
    parts = re.sub(r"\(.*?\)", "", layout).split(", ")
    return list(dict.fromkeys(part.strip().split("/")[0] for part in parts))


def nearest_layout(layouts, names):
    """The layout most of whose names are, or nearly are, among those of a folder."""

    def likeness(layout):
        nearest = [
            max((difflib.SequenceMatcher(None, part.lower(), name.lower()).ratio() for name in names), default=0)
            for part in parts_of(layout)
        ]
        return sum(nearest) / len(nearest)

    return max(layouts, key=likeness)


def layout_text(entry, folder):
    """What a folder holds and the nearest known layout, for an error."""
    there = list_folder(folder)
    names = [f"{name}/" if is_folder else name for name, is_folder in sorted(there.items())]
    holds = ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
    return (
        f"{folder} holds {holds or 'nothing'}; the nearest known layout of {entry.name} is "
        f"{nearest_layout(entry.layouts, there)}"
    )


def locate(entry, data_root):
    """The dataset's folder in data_root, or data_root itself. UsageError with what is there, the nearest known layout
    and where to ask for the data."""
    if entry.make:
        return entry.make()
    data_root = Path(data_root)
    hint = (
        f"; expected a folder named {' or '.join(entry.folders[:3])} (in any case) with "
        f"{' or '.join(entry.markers)} in it; give its place by --data-root or IQA_DATA (else it is data); ask for "
        f"the data at {entry.source}"
    )
    if not os.path.isdir(data_root):
        raise UsageError(f"dataset {entry.name}: there is no folder {data_root}" + hint)

    def holds_it(folder):
        return os.path.isdir(folder) and any(name.lower() in entry.markers for name in list_folder(folder))

    named = [data_root / name for name in sorted(list_folder(data_root)) if squash(name) in entry.folders]
    folders = [folder for folder in named if holds_it(folder)]
    folders = folders or [
        folder / name
        for folder in named
        if os.path.isdir(folder)
        for name in list_folder(folder)
        if holds_it(folder / name)
    ]
    others = {name for other in DATASETS.values() for name in other.folders} - set(entry.folders)
    if not folders and holds_it(data_root) and squash(os.path.basename(os.path.realpath(data_root))) not in others:
        folders = [data_root]
    if len({os.path.realpath(folder) for folder in folders}) > 1:
        raise UsageError(
            f"dataset {entry.name} is there more than once: {', '.join(map(str, folders))}; "
            "give the one you mean by --data-root"
        )
    if not folders:
        folder = next((folder for folder in named if os.path.isdir(folder)), data_root)
        raise UsageError(f"dataset {entry.name} not found in {data_root}: {layout_text(entry, folder)}{hint}")
    return folders[0]


def check_name(name: str) -> None:
    """UsageError unless it is a name of the registry or that of a list."""
    if name not in DATASETS and not lists.is_list(name):
        if os.path.isdir(name):
            raise UsageError(
                f"-dat {name}: expected the name of a dataset ({', '.join(DATASETS)}) or a CSV file, found a folder; "
                "a dataset's folder is given by --data-root"
            )
        raise unknown(
            "dataset", str(name), DATASETS, f"or the path of a CSV file ({', '.join(lists.ENDINGS)}) with dis,ref,mos"
        )


def check_there(name: str, data_root: Path | str) -> None:
    """UsageError where the folder of a dataset, or the file of a list, is not there. Nothing else is read."""
    if name not in DATASETS:
        read_text(name)
    elif not DATASETS[name].make:
        locate(DATASETS[name], data_root)


def load(name: str, data_root: Path | str, higher_is: str | None = None, keep_missing: bool = False) -> Dataset:
    """The dataset `name` -> Dataset. name: of the registry, or the path of a list (a CSV file, loaders.lists).

    data_root: the folder that holds the dataset's folder under a usual name in any case, or that folder itself; of a
    list, a second folder for its images. higher_is: 'worse' or 'better', for a list that does not say it itself.
    keep_missing: pairs whose image is not there stay in, spelt as in the label file, and images.check_all finds them
    (--skip-bad). Raises UsageError for all that is missing or broken.
    """
    dataset = read(name, data_root, keep_missing)
    if higher_is not in (None, "worse", "better"):
        raise UsageError(f"dataset {dataset.name}: a higher label means better or worse, not {higher_is!r}")
    if dataset.higher_is is None and higher_is is None:
        raise UsageError(
            f"{name}: what does a higher label mean ({dataset.label})? Say it by --higher-is better or --higher-is "
            "worse; it is never guessed (docs/datasets.md)"
        )
    if None not in (dataset.higher_is, higher_is) and dataset.higher_is != higher_is:
        raise UsageError(
            f"dataset {dataset.name}: a higher label means {dataset.higher_is} ({dataset.label}), not {higher_is}; "
            "--higher-is better or worse is for CSV files that do not say it"
        )
    return replace(dataset, higher_is=dataset.higher_is or higher_is)


def read(name, data_root, keep_missing=False):
    """`load`, but that higher_is is None where a list does not say what a higher label means."""
    check_name(name)
    if name in DATASETS:
        return read_known(DATASETS[name], data_root, keep_missing)
    title = lists.name_of(name, DATASETS)
    listed = lists.read(name, data_root)
    refuse_doubled(listed.rows)
    rows = spelt_as_on_disk(
        listed.root, listed.rows, keep_missing, lambda: f"paths are relative to {Path(name).parent} or {data_root}"
    )
    pairs = [Pair(row.dis, row.ref, row.label, row.distortion, row.std) for row in rows]
    return Dataset(
        title,
        listed.root,
        pairs,
        listed.higher_is,
        f"{listed.column} of {Path(name).name}",
        len(pairs),
        spread_of(pairs, Spread("unknown", source=f"column std of {Path(name).name}")),
    )


def spread_of(pairs, spread):
    """`spread`, or None where a pair has none."""
    return None if any(pair.std is None for pair in pairs) else spread


def read_known(entry, data_root, keep_missing):
    root = locate(entry, data_root)
    rows = list(entry.load(root))
    refuse_doubled(rows)
    rows = spelt_as_on_disk(root, rows, keep_missing, lambda: layout_text(entry, root))
    codes = entry.types([row.dis for row in rows])
    pairs = [Pair(row.dis, row.ref, row.label, code, row.std) for row, code in zip(rows, codes)]
    if len(pairs) != entry.pairs:
        warn(f"{root}: {len(pairs)} pairs, the full {entry.name} has {entry.pairs}")
    return Dataset(
        entry.name, root, pairs, entry.higher_is, entry.label, len(pairs), spread_of(pairs, entry.spread), entry.note
    )


def distortion_types(name: str, table: pd.DataFrame) -> list[str]:
    """The distortion type of each row of a score file -> list of str. table: DataFrame with the column dis, named as we
    or as the authors do (without folders); a column `type` decides where the dataset is not in the registry. Raises
    UsageError."""
    if name in DATASETS:
        return DATASETS[name].types(list(table["dis"]))
    if "type" in table:
        return [str(code) for code in table["type"]]
    raise UsageError(
        f"dataset {name!r}: its distortion types can't be told from the names; compare.py --std LIST.csv "
        "takes them from the column type of the list that was scored"
    )


def load_spread(name: str, data_root: Path | str) -> tuple[dict[str, float], Spread]:
    """({dis: spread of its label}, loaders.spread.Spread: what kind of number that is), in the dataset's order; the
    images need not be there (then the names are spelt as in the label files). UsageError with the reason where there is
    none."""
    dataset = read(name, data_root, keep_missing=True)
    if dataset.spread is None:
        known = DATASETS.get(dataset.name)
        why = known.no_spread if known else f"{name} has no column std"
        raise UsageError(f"dataset {dataset.name} has no per-stimulus spread: {why}")
    return {pair.dis: pair.std for pair in dataset.pairs}, dataset.spread


def dataset_note(name: str) -> str:
    """What must stand beside every table made of the dataset of this name, "" for most."""
    return DATASETS[name].note if name in DATASETS else ""


def label_fault(dataset: str, names: Iterable[str], labels: Iterable[float]) -> str | None:
    """Why the labels (floats) of a score file's images (names) are not those of the dataset of this name, or None."""
    entry = DATASETS.get(dataset)
    return entry.label_fault(list(names), list(labels)) if entry and entry.label_fault else None


def main(argv=None):
    import csv
    import sys

    parser = Parser(__doc__)
    parser.add_argument("name", nargs="?", help="a dataset or the path of a CSV file")
    parser.add_argument("--data-root", default=os.environ.get("IQA_DATA", "data"))
    parser.add_argument("--debug", action="store_true")
    args = parser.parse_args(argv)
    if not args.name:
        for e in DATASETS.values():
            print(
                f"{e.name:9s} {e.pairs:6d} pairs  {e.label}, higher is {e.higher_is}; spread: "
                f"{e.spread or e.no_spread}; folder {' or '.join(e.folders) or '(made)'}: "
                f"{' | '.join(e.layouts)}; from {e.source}"
            )
        return
    pairs = read(args.name, args.data_root).pairs
    writer = csv.writer(sys.stdout)
    writer.writerow(["dis", "ref", "label", "distortion", "std"])
    writer.writerows([p.dis, p.ref, p.label, p.distortion, p.std] for p in pairs)


if __name__ == "__main__":
    run_main(main)
