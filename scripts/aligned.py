"""What registration before scoring gives: coefficients without and with --align similarity, under each perturbation.

    python scripts/aligned.py                                        demo; psnr msssim fsim stlpips_alex st_alexnet_cos
    python scripts/aligned.py -dat tid2013 -m fsim dinov1_cos --data-root data
    python scripts/aligned.py -pct 0.25 0.5 1 2 3 --picture aligned.png     coefficient over magnitude

Scores what is not there yet (run.py's files, in -sdir) and prints SRCC, "plain aligned", a line a method. The picture
has a line a method, plain dashed, aligned solid."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as `python scripts/...`, the rooms are not on the path

from common.terminal import KEPT, Parser, run_main  # noqa: E402
from common.text import aligned as columns_of  # noqa: E402
from methods.model import ALIGNED  # noqa: E402
from robustness import PERTURBATIONS  # noqa: E402

METHODS = ("psnr", "msssim", "fsim", "stlpips_alex", "st_alexnet_cos")


def coefficients(dataset, methods, magnitudes, statistic="srcc", **flags):
    """{(column, perturbation, pct): coefficient} of a dataset's methods, plain and aligned; and the notes of the run.

    methods: score columns, named as their files. flags: score_dataset's.
    """
    from scoring import score_dataset

    names = [name for method in methods for name in (method, method + ALIGNED)]
    result = score_dataset(dataset, methods=names, perturbations=list(PERTURBATIONS), percent=magnitudes, **flags)
    values = {(line["method"], line["perturbation"], line["pct"]): line[statistic] for line in result.lines}
    return values, result.notes


def table(values, methods, magnitudes):
    """Lines of text: a line a method, 'plain aligned' under each perturbation."""
    columns = [("none", 0.0)] + [(name, pct) for name in PERTURBATIONS if name != "none" for pct in magnitudes]
    rows = [["SRCC, plain and aligned", *(name + (f" {pct:g}" if pct else "") for name, pct in columns)]]
    for method in methods:
        both = [[values[name, *at] for name in (method, method + ALIGNED)] for at in columns]
        rows.append([method, *("  ".join("-" if v == "" else f"{v:.3f}" for v in two) for two in both)])
    return columns_of(rows)


def draw(path, values, methods, magnitudes):
    """A panel a perturbation, coefficient over magnitude; 0 is the unperturbed dataset."""
    from scoring.plots import COLOURS, MARKERS, figure, save

    panels = [name for name in PERTURBATIONS if name != "none"]
    fig = figure(3.2 * len(panels), 3.4)
    axes = fig.subplots(1, len(panels), sharey=True)
    x = [0.0, *magnitudes]
    for ax, name in zip(axes, panels):
        for method, colour, marker in zip(methods, COLOURS, MARKERS):
            for column, line in ((method, "--"), (method + ALIGNED, "-")):
                y = [values[column, "none", 0.0], *(values[column, name, pct] for pct in magnitudes)]
                label = method if line == "-" else None
                ax.plot(x, y, line, color=colour, marker=marker, markersize=3, linewidth=1.2, label=label)
        ax.set_title(PERTURBATIONS[name].what.partition(":")[0].partition(" of ")[0], fontsize="small")
        ax.set_xlabel("magnitude in %" if name != "rot" else "degrees", fontsize="small")
    axes[0].set_ylabel("SRCC with the strength", fontsize="small")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(methods), fontsize="small")
    fig.suptitle("plain dashed, aligned before scoring solid", fontsize="small")
    save(fig, path)


def main(argv):
    parser = Parser(__doc__)
    parser.add_argument("-dat", "--dataset", default="demo", metavar="NAME")
    parser.add_argument(
        "-m", "--model", nargs="+", default=METHODS, metavar="NAME", help="score columns: psnr, dinov1_cos"
    )
    parser.add_argument("-pct", "--percent", nargs="+", type=float, default=[1.0], metavar="P")
    parser.add_argument("--picture", metavar="FILE.png")
    parser.add_argument("-sdir", "--savedir", default="results", metavar="DIR")
    parser.add_argument("--data-root", metavar="DIR")
    parser.add_argument("--weights-dir", metavar="DIR")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, metavar="N")
    parser.add_argument("--limit", type=int, metavar="N")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args(argv)
    if args.picture:
        from scoring import plots

        plots.check_target(args.picture, "--picture")
    flags = {
        name: getattr(args, name) for name in ("savedir", "data_root", "weights_dir", "device", "workers", "limit")
    }
    values, notes = coefficients(
        args.dataset, args.model, args.percent, **{name: value for name, value in flags.items() if value is not None}
    )
    for line in [*table(values, args.model, args.percent), *notes]:
        print(line)
    if args.picture:
        draw(args.picture, values, args.model, args.percent)


if __name__ == "__main__":
    run_main(main, note=KEPT)
