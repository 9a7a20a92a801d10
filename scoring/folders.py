"""Many pairs at once: which image belongs to which, and what their scores say about each folder (codec, checkpoint).

    python run_single_img.py -ref originals -dis jpeg webp -m st_vgg16 -d l2 -o scores.csv
    python run_single_img.py --manifest pairs.csv -m psnr

Folders are paired by file name, extension and case aside, never by order; what finds no partner is listed. A manifest
is a CSV with the columns ref, dis and, if you like, codec and bitrate; its paths are relative to it. Frames of a video
are a folder.
"""

import csv
import filecmp
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import UsageError
from common.files import key, list_folder, number, read_table, some
from common.terminal import warn
from common.text import aligned, count
from methods.model import Column

LEVEL = 0.95
TIE = "not shown different"


@dataclass(frozen=True)
class FilePair:
    """Two files to compare; `group` is the folder or codec the distorted one belongs to."""

    reference: str
    distorted: str
    group: str = ""
    bitrate: float | None = None


# ---- which belongs to which


def is_folder_job(reference: str, distorted: Sequence[str]) -> bool:
    """Whether folders are given. UsageError for a mixture of files and folders."""
    kinds = {path: Path(path).is_dir() for path in (reference, *distorted)}
    if len(set(kinds.values())) > 1:
        raise UsageError(
            "-ref and -dis: expected files only or folders only, found "
            + ", ".join(f"{path} ({'a folder' if folder else 'no folder'})" for path, folder in kinds.items())
        )
    return kinds[reference]


def images_in(folder):
    """{file name without extension, case aside: path} of the images in a folder, told by their extension; subfolders
    and other files are named in a warning. UsageError where two images differ in extension or case alone."""
    from common.images import pillow

    pillow().init()
    known, paths, others = pillow().registered_extensions(), {}, []
    for name, is_dir in sorted(list_folder(folder).items()):
        path = Path(folder, name)
        if is_dir or path.suffix.lower() not in known:
            others.append(name + ("/" if is_dir else ""))
        elif paths.setdefault(key(path.stem), path) != path:
            raise UsageError(
                f"{folder}: {paths[key(path.stem)].name} and {name} differ in extension or case alone; "
                "keep one, or say what belongs to what by --manifest"
            )
    if not paths:
        raise UsageError(f"{folder}: no images in this folder{f', but {some(others)}' if others else ''}")
    if others:
        warn(f"{folder}: not images by their extension, left out: {some(others)}")
    return paths


def pair_folders(reference: str, distorted: Sequence[str]) -> tuple[list[FilePair], dict[str, list[str]]]:
    """Folder of references, folders of distorted images -> ([FilePair], {folder: [file names without a partner]}).

    Raises UsageError for a folder given twice, without images, or in which nothing finds a partner.
    """
    names = [str(folder).rstrip("/") or "/" for folder in distorted]
    if len(set(names)) < len(names):
        raise UsageError(f"-dis: a folder is given twice among {', '.join(names)}")
    originals = images_in(reference)
    pairs, alone = [], {}
    for folder, name in zip(distorted, names):
        distorted_files = images_in(folder)
        common = [stem for stem in originals if stem in distorted_files]
        if not common:
            there, here = originals[min(originals)].name, distorted_files[min(distorted_files)].name
            raise UsageError(
                f"{folder}: no file has the name of one in {reference}, extension and case aside (there, for "
                f"example, {there}; here {here}); use --manifest"
            )
        pairs += [FilePair(str(originals[stem]), str(distorted_files[stem]), name) for stem in common]
        alone[name] = [distorted_files[stem].name for stem in distorted_files if stem not in originals]
        alone[f"{reference}, for {name}"] = [originals[stem].name for stem in originals if stem not in distorted_files]
    return pairs, {where: files for where, files in alone.items() if files}


def read_manifest(path: str) -> list[FilePair]:
    """CSV with ref,dis[,codec][,bitrate] -> [FilePair]; without a codec, the distorted image's folder stands for it.

    Raises UsageError naming file and line: a missing column or file, a bitrate that is no positive number, a pair
    twice.
    """
    pairs, seen = [], {}
    for line, row in read_table(path, ("ref", "dis"), ("codec", "bitrate")):
        where = f"{path}: line {line}"
        reference, distorted = (Path(path).parent / row[column].replace("\\", "/") for column in ("ref", "dis"))
        for file in (reference, distorted):
            if not file.is_file():
                raise UsageError(f"{where}: there is no file {file} (paths are relative to the manifest)")
        rate = number(row["bitrate"], f"{where}: bitrate") if "bitrate" in row else None
        if rate is not None and rate <= 0:
            raise UsageError(f"{where}: expected a bitrate above 0, found {row['bitrate']}")
        pair = FilePair(str(reference), str(distorted), row.get("codec") or distorted.parent.name or ".", rate)
        first = seen.setdefault((pair.reference, pair.distorted), line)
        if first != line:
            raise UsageError(f"{where}: this pair stands there a second time (first: line {first}); keep one")
        pairs.append(pair)
    return pairs


def list_alone(alone: dict[str, list[str]]) -> None:
    """Warn of files without a partner, folder by folder."""
    for where, files in alone.items():
        warn(f"{where}: {len(files)} without a partner: {some(files)}")


def list_same(pairs: Sequence[FilePair]) -> None:
    """Warn of distorted images of folders that are their references, byte for byte: they tell nothing of a codec."""
    same = [p.distorted for p in pairs if p.group and filecmp.cmp(p.reference, p.distorted, shallow=False)]
    if same:
        warn(f"byte for byte the reference itself: {count(len(same), 'distorted image')} ({some(same)})")


# ---- what the scores say


def groups_of(pairs):
    """{group: indices of its pairs}, in order of appearance."""
    groups = {}
    for i, pair in enumerate(pairs):
        groups.setdefault(pair.group, []).append(i)
    return groups


def by_reference(pairs, scores, groups, references):
    """(sums, counts), each (references, groups): what bootstrap.ratio takes for the groups' means."""
    import numpy as np

    place = {reference: i for i, reference in enumerate(references)}
    sums, counts = (np.zeros((len(references), len(groups))) for _ in range(2))
    for g, indices in enumerate(groups.values()):
        for i in indices:
            if pairs[i].reference in place:
                sums[place[pairs[i].reference], g] += scores[i]
                counts[place[pairs[i].reference], g] += 1
    return sums, counts


def summary(pairs: Sequence[FilePair], scores: Sequence[float]) -> list[dict]:
    """-> [{group, images, mean, median, low, high}], low and high the 95 % interval of the mean (Student's t with
    references - 1 degrees of freedom, standard error by a jackknife over references), None with a single reference."""
    import numpy as np

    from agreement.bootstrap import ratio, resample
    from agreement.simultaneous import Contrast, error_of, single

    lines = []
    for group, indices in groups_of(pairs).items():
        references = list(dict.fromkeys(pairs[i].reference for i in indices))
        low = high = None
        if len(references) > 1:
            means = ratio(*by_reference(pairs, scores, {group: indices}, references))
            mean = Contrast(resample(means, len(references)), 0)
            # where the scores are the same on every image, so is the interval
            low, high = single(mean) if error_of(mean) else 2 * (float(mean.resampled.estimate[0]),)
        values = [scores[i] for i in indices]
        lines.append(
            {
                "group": group,
                "images": len(values),
                "mean": float(np.mean(values)),
                "median": float(np.median(values)),
                "low": low,
                "high": high,
            }
        )
    return lines


def comparisons(pairs: Sequence[FilePair], scores: Sequence[float], higher_is: str) -> tuple[int, list[dict]]:
    """Every two groups on the references they all have -> (references in common, [{a, b, difference, low, high,
    better}]).

    Differences are paired: both means over the same references. Intervals hold for all comparisons together in 95 %
    (agreement/simultaneous.py). better: a, b, or TIE where the interval holds zero.
    """
    from itertools import combinations

    from agreement.bootstrap import ratio, resample
    from agreement.simultaneous import Contrast, error_of, judge

    groups = groups_of(pairs)
    references_of = [{pairs[i].reference for i in indices} for indices in groups.values()]
    names = dict.fromkeys(pair.reference for pair in pairs)
    references = [name for name in names if all(name in group for group in references_of)]
    if len(groups) < 2 or len(references) < 2:
        return len(references), []
    drawn = resample(ratio(*by_reference(pairs, scores, groups, references)), len(references))
    contrasts = {(a, b): Contrast(drawn, a, b) for a, b in combinations(range(len(groups)), 2)}
    # what is the same on every image needs no interval, nor any room in those of the others
    differing = {two: contrast for two, contrast in contrasts.items() if error_of(contrast)}
    intervals = {}
    if differing:
        family = judge(list(differing.values()), level=LEVEL)
        intervals = dict(zip(differing, zip(family.low.tolist(), family.high.tolist())))
    lines = []
    for a, b in contrasts:
        difference = float(drawn.estimate[a] - drawn.estimate[b])
        low, high = intervals.get((a, b), (difference, difference))
        names = list(groups)[a], list(groups)[b]
        larger = 0 if low > 0 else 1
        better = TIE if low <= 0 <= high else names[larger if higher_is == "better" else 1 - larger]
        lines.append(
            {
                "a": names[0],
                "b": names[1],
                "difference": difference,
                "low": low,
                "high": high,
                "better": better,
            }
        )
    return len(references), lines


def report(
    pairs: Sequence[FilePair], scores: Sequence[float], column: Column, reasons: Sequence[str] | None = None
) -> str:
    """What is printed of one score column: a line a group, then every two groups side by side. With reasons (why
    a pair is left as it is, "" where not) a line says of how many images a shift, turn or scale was undone."""
    lines, (common, compared) = summary(pairs, scores), comparisons(pairs, scores, column.higher_is)
    head = ("", "images", "mean", "median", "95 % of the mean")
    cells = [head] + [
        (
            e["group"],
            str(e["images"]),
            f"{e['mean']:.6g}",
            f"{e['median']:.6g}",
            "-" if e["low"] is None else f"{e['low']:.6g} to {e['high']:.6g}",
        )
        for e in lines
    ]
    if reasons:
        moved = [str(sum(not reasons[i] for i in indices)) for indices in groups_of(pairs).values()]
        cells = [(*line, last) for line, last in zip(cells, ["aligned", *moved])]
    text = [f"{column.name}: higher is {column.higher_is}", *aligned(cells, left=(0, 4))]
    if len(lines) > 1:
        text += [
            f"{e['a']} - {e['b']}: {e['difference']:+.6g} ({e['low']:+.6g} to {e['high']:+.6g}): "
            + (TIE if e["better"] == TIE else f"{e['better']} is better")
            for e in compared
        ]
        text.append(
            f"paired on {common} references in common, 95 % for the {len(compared)} comparisons together"
            if compared
            else f"not compared: {common} references in common, expected at least 2"
        )
    if 2 <= common < 10:
        text.append(f"only {common} references: such intervals are wide, and rough where scores are far from normal")
    return "\n".join(text)


def write_csv(path: str, pairs: Sequence[FilePair], scores: Sequence[dict]) -> None:
    """dis,ref[,group][,bitrate] and a column a score, a line a pair. Appears at once, when all is scored. A device, a
    pipe or a link is written into, never replaced."""
    from scorefiles.write import write_atomically

    columns = {
        "dis": "distorted",
        "ref": "reference",
        "group": "group",
        "bitrate": "bitrate",
    }  # column: attribute of a FilePair
    columns = {name: attribute for name, attribute in columns.items() if getattr(pairs[0], attribute) not in ("", None)}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*columns, *scores[0]])
    for pair, row in zip(pairs, scores):
        writer.writerow(
            [*(getattr(pair, attribute) for attribute in columns.values()), *(repr(value) for value in row.values())]
        )
    file = Path(path)
    if file.is_symlink() or (file.exists() and not file.is_file()):
        file.write_text(text.getvalue(), encoding="utf-8", newline="")
    else:
        write_atomically(file, text.getvalue())
