"""Pictures by matplotlib: difference maps, rate-distortion curves, predictions against labels.
Each function writes one file.

    python -m scoring.plots results/demo_psnr.csv ...

Prediction against label by distortion type, a PNG beside each score file.

The other pictures come from run_single_img.py --map and --curve, and the same as above from run.py --plot.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import UsageError, one_line
from common.terminal import Parser, check_writable, run_main

if TYPE_CHECKING:  # named in annotations only
    import numpy as np
    from matplotlib.figure import Figure

    from scoring.maps import DistanceMap

# Okabe and Ito 2008: told apart by colour-blind readers
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000")
MARKERS = "osD^vP"
SHOWN = 0.995  # share of a map's pixels within the colour scale


def figure(width: float, height: float) -> Figure:
    """A Figure of its own (no pyplot: no global state, no display needed)."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError(
            f"pictures need matplotlib ({one_line(error)}); install it with: pip install matplotlib"
        ) from None
    return Figure((width, height), layout="constrained")


def check_target(path: str, option: str, inputs: Iterable[str] = ()) -> None:
    """UsageError before the work starts where a picture could not or must not be written: unknown ending, no such
    folder, a file that is read (inputs)."""
    kinds = sorted(figure(1, 1).canvas.get_supported_filetypes())
    path = Path(path)
    if path.suffix.lstrip(".").lower() not in kinds:
        raise UsageError(
            f"{option} {path}: expected a file name that ends in one of {', '.join('.' + k for k in kinds)}"
        )
    check_writable(option, path, inputs)


def save(fig, path, dpi=100):
    options = {"pil_kwargs": {"optimize": True}} if str(path).lower().endswith(".png") else {}
    fig.savefig(path, dpi=dpi, **options)


# ---- maps


def difference(
    path: str,
    reference: np.ndarray,
    distorted: np.ndarray,
    score_map: DistanceMap,
    with_layers: bool = False,
    caption: str = "",
) -> None:
    """Reference, distorted image and map side by side;
    below them, if asked for, the map of every block on its own scale.

    reference, distorted: uint8 (H, W, 3); score_map: maps.DistanceMap.
    """
    height, width = score_map.total.shape
    across = min(6, max(3, len(score_map.layers))) if with_layers else 3
    rows = -(-len(score_map.layers) // across) if with_layers else 0
    top, below = 2.4 * height / width + 0.4, (5.6 / across * height / width + 0.4) * rows
    fig = figure(8, top + below)
    upper, lower = fig.subfigures(2, 1, squeeze=False, height_ratios=[top, below]).ravel() if rows else (fig, None)
    axes = upper.subplots(1, 3)
    for ax, image, title in zip(axes, (reference, distorted), ("reference", "distorted")):
        ax.imshow(image)
        ax.set_title(title, fontsize="small")
    mean = f", mean of the map ({score_map.mean_is}) {score_map.total.mean():.3g}"
    mean = "" if score_map.mean_is == "the score" else mean
    heat(upper, axes[2], score_map.total, f"{score_map.column}  {score_map.score:.4g}{mean}")
    for ax in axes:
        ax.set_axis_off()
    if caption:
        fig.supxlabel(caption, fontsize="small")
    if rows:
        axes = lower.subplots(rows, across, squeeze=False).ravel()
        whole = score_map.total.mean() or 1.0
        for ax, number, layer in zip(axes, score_map.blocks, score_map.layers):
            share = layer.mean(dtype=float) / whole
            heat(lower, ax, layer, f"block {number}: {100 * share:.1f} %")
        for ax in axes:
            ax.set_axis_off()
    save(fig, path, dpi=min(250, max(100, width / 3)))  # large images get a larger picture


def heat(fig, ax, values, title):
    """A map on its own scale, from 0, in a perceptually uniform colour map (matplotlib's inferno), with its colour bar.
    The few largest values share the last colour, lest a single pixel darken all others; a tip on the bar says so."""
    import numpy as np

    most, top = float(values.max()) or 1.0, float(np.quantile(values, SHOWN)) or float(values.max()) or 1.0
    shown = ax.imshow(values, cmap="inferno", vmin=0, vmax=top)
    ax.set_title(title, fontsize="small")
    bar = fig.colorbar(shown, ax=ax, fraction=0.045, pad=0.02, extend="max" if most > top else "neither")
    bar.formatter.set_powerlimits((-2, 3))
    bar.ax.tick_params(labelsize="x-small")
    bar.ax.yaxis.get_offset_text().set_fontsize("x-small")


# ---- rate-distortion


def curves(path: str, column: str, higher_is: str, curves_of: dict[str, tuple]) -> None:
    """Mean curve of each codec: curves_of {codec: (bitrates (points,), scores (points,))}."""
    fig = figure(6, 4.2)
    from matplotlib.ticker import LogLocator

    ax = fig.subplots()
    for (codec, (rates, scores)), (colour, marker) in zip(curves_of.items(), styles()):
        ax.plot(rates, scores, color=colour, marker=marker, label=codec)
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter("")
    ax.set_xlabel("bitrate, as in the manifest (geometric mean over images)")
    ax.set_ylabel(f"{column} (higher is {higher_is})")
    ax.grid(alpha=0.3)
    ax.legend()
    save(fig, path)


def styles():
    """(colour, marker) without end, no two alike among the first 48."""
    n = 0
    while True:
        yield COLOURS[n % len(COLOURS)], MARKERS[n // len(COLOURS) % len(MARKERS)]
        n += 1


# ---- runs


def scatter(score_file, path, types_of=None):
    """Prediction against label by distortion type of a scorefiles.ScoreFile.

    types_of: {(dis, ref): type}, where it is known; else they are told from the names, or all are of one.
    """
    import numpy as np

    from agreement.correlations import coefficients
    from datasets import DATASETS, distortion_types

    table = score_file.table
    if types_of:
        types = [types_of[pair] for pair in zip(table["dis"], table["ref"])]
    elif score_file.dataset in DATASETS or "type" in table:
        types = distortion_types(score_file.dataset, table)
    else:
        types = ["all"] * len(table)
    types = np.array(types)
    names = sorted(set(types))
    fig = figure(6.4 + 1.3 * math.ceil(len(names) / 20), 4.8)
    ax = fig.subplots()
    size = float(np.clip(4000 / len(table), 3, 24))
    for name, (colour, marker) in zip(names, styles()):
        some = table[types == name]
        ax.scatter(some["pred"], some["mos"], s=size, color=colour, marker=marker, alpha=0.7, linewidths=0, label=name)
    known = DATASETS.get(score_file.dataset)
    label = score_file.document.get("label") or (known.label if known else "label")
    ax.set_xlabel(f"{score_file.method} (higher is {score_file.pred_higher_is})")
    ax.set_ylabel(f"{label} (higher is {score_file.label_higher_is})")
    values = coefficients(score_file.sign * table["pred"], table["mos"])
    text = ", ".join(f"{name.upper()} {value:.3f}" for name, value in values.items())
    ax.set_title(f"{score_file.path.name.removesuffix('.csv')}: {text}", fontsize="medium")
    fig.legend(
        loc="outside right upper", fontsize="small", title="type", ncols=math.ceil(len(names) / 20), markerscale=1.5
    )
    save(fig, path)


def score_files(paths: Sequence[Path | str], types: Mapping[Path | str, dict] | None = None) -> list[Path]:
    """Draw each finished score file into a PNG of its name, beside it -> the PNGs. UsageError for a partial file.

    types: {path: {(dis, ref): distortion type}}, where it is known.
    """
    from scorefiles.read import read

    drawn = []
    for path in paths:
        score_file = read(path)
        if not score_file.complete:
            raise UsageError(
                f"{path}: {len(score_file.table)} of {score_file.promised} pairs: "
                "finish it with the command that started it"
            )
        drawn.append(Path(path).with_suffix(".png"))
        try:
            scatter(score_file, drawn[-1], (types or {}).get(path))
        except ValueError as error:
            raise UsageError(f"{path}: {error}") from None
    return drawn


def main(argv=None):

    parser = Parser(__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE", help="finished score files")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    for path in score_files(parser.parse_args(argv).files):
        print(path)


if __name__ == "__main__":
    run_main(main)
