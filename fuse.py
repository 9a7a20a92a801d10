"""Exponents of fused metrics from score files alone, held out by dataset: d = A * B^k, nothing trained.

    python fuse.py results --factors dinov1_cos stlpips_alex          # the exponents of one product
    python fuse.py results --search                                   # every pair and triple of the folder's methods
    python fuse.py results --blocks dinov1_cos --by weights           # the blocks of a backbone (run.py --per-layer)
    python fuse.py results --write "dinov1_cos * stlpips_alex^0.3"    # its score files, made of those of its factors

What is reported for a dataset was chosen on the other datasets, over all their perturbations at once; numbers of data
that took part in the choice stand at the end and are labelled "in sample". How exponents are chosen is said in
agreement/exponents.py, what a factor enters the product with in methods/fused.py. Intervals are of paired differences,
over references, and hold for all lines at once (agreement/simultaneous.py).
"""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from common.terminal import need

if __name__ == "__main__":
    need("numpy")  # before the imports that fail without

import numpy as np

from agreement.correlations import coefficients, srcc
from common.errors import UsageError, unknown
from common.terminal import Parser, check_writable, deliver, progress, run_main
from methods import fused
from reports.fuse.cells import Folder, enough, shared_content
from reports.fuse.choice import KINDS, agreement_of, curves, leaving_one_out
from reports.fuse.report import FORMATS


def beside(choice, cell, folder, kind, others):
    """[(role, name, prediction (N,), higher = worse)]: the fused metric first, then what it is compared with."""
    metrics = [("fused", choice.expression(kind), choice.scores(cell, kind))]
    if cell.files[0].method in cell.factors:
        metrics += [("factor", n, folder.prediction(cell, n)) for n in choice.names]
    else:  # blocks
        metrics += [("all blocks", cell.files[0].method, folder.prediction(cell, cell.files[0].method))]
        metrics += [("block", n, d) for n, d in zip(cell.factors, cell.distances)]
    singles = {n: folder.prediction(cell, n) for n in folder.singles(cell)}
    best = max(singles, key=lambda n: asked_of(srcc, n, singles[n], cell), default=None)
    metrics += [("asked for", n, singles[n]) for n in others if n in singles and n not in [f[1] for f in metrics]]
    if best in [f[1] for f in metrics]:
        metrics = [(f"{role}, best single" if n == best else role, n, p) for role, n, p in metrics]
    elif best is not None:
        metrics.append(("best single", best, singles[best]))
    return metrics


def asked_of(statistic, name, prediction, cell):
    """statistic(prediction, label) of a metric in a cell; UsageError that names both where it is not defined."""
    try:
        return statistic(prediction, cell.badness)
    except ValueError as error:
        raise UsageError(f"{name} in {cell.name}: {error}") from None


def lines(choice, cell, folder, args):
    """The lines of one cell, each metric's coefficients,
    and the resampled SRCC of all (agreement.bootstrap.Resampled)."""
    from agreement.bootstrap import cluster_bootstrap

    metrics = beside(choice, cell, folder, args.by, args.beside)
    table = []
    for role, name, prediction in metrics:
        table.append(
            {
                "dataset": cell.dataset,
                "perturbation": cell.perturbation,
                "pct": cell.pct,
                "role": role,
                "metric": name,
                **asked_of(coefficients, name, prediction, cell),
                "difference": None,
                "low": None,
                "high": None,
                "p": None,
                "verdict": None,
                "pairs": len(cell.badness),
                "references": len(np.unique(cell.references)),
            }
        )
    predictions = np.stack([prediction for _, _, prediction in metrics])
    seed = (args.seed, folder.datasets.index(cell.dataset))  # datasets are resampled apart, cells of one together
    try:
        drawn = cluster_bootstrap(cell.badness, predictions, cell.references, ("srcc",), args.resamples, seed)["srcc"]
    except ValueError as error:
        raise UsageError(f"{cell.name}: {error}") from None
    return table, drawn


def judged(tables, resamples):
    """The lines of all cells, the fused SRCC minus each other's with intervals that hold for all lines at once, and
    {resamples, method, critical} of the intervals. A difference whose error can't be estimated has none, and all three
    are None where that is every one."""
    from agreement.simultaneous import Contrast, checked, decided

    compared = []
    for table, drawn in tables:
        for i, line in enumerate(table[1:], 1):
            contrast = Contrast(drawn, 0, i)
            line["difference"] = float(contrast.of(drawn.estimate))
            with suppress(ValueError):
                compared.append((line, checked(contrast)))
    rows = [line for table, _ in tables for line in table]
    if not compared:
        return rows, {"resamples": None, "method": None, "critical": None}
    family = decided([contrast for _, contrast in compared], resamples)
    columns = {
        "difference": family.estimate,
        "low": family.low,
        "high": family.high,
        "p": family.p,
        "verdict": family.verdict(),
    }
    for k, (line, _) in enumerate(compared):
        line.update({name: values.tolist()[k] for name, values in columns.items()})
    return rows, {"resamples": family.resamples, "method": family.method, "critical": family.critical}


def summary(choice, table, kind):
    """One line a dataset held out: what was chosen on what, and the mean over its cells against its best factor's."""
    means = {}
    for line in table:
        if line["dataset"] == choice.held_out:
            means.setdefault((line["role"].partition(",")[0], line["metric"]), []).append(line["srcc"])
    means = {key: float(np.mean(v)) for key, v in means.items()}
    mean = next(m for (role, _), m in means.items() if role == "fused")
    factors = {n: m for (role, n), m in means.items() if role in ("factor", "block", "all blocks")}
    best = max(factors, key=factors.get)
    return {
        "held_out": choice.held_out,
        "chosen_on": list(choice.chosen_on),
        "expression": choice.expression(kind),
        "parameters": dict(zip(choice.names, choice.parameters)),
        "mean_srcc": mean,
        "best_factor": best,
        "best_factor_mean_srcc": factors[best],
        "gain": mean - factors[best],
    }


def report(choices, agreement, cells, lacking, folder, args, tried=None):
    """Everything that is printed, as one dict. choices: one a dataset held out, the last chosen on all."""
    *choices_held_out, none = choices
    work = [(choice, cell) for choice in choices_held_out for cell in cells if cell.dataset == choice.held_out]
    tables, factors = [], cells[0].factors
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool, progress(len(work), "cell", "bootstrap") as bar:
        for some in pool.map(lambda w: lines(w[0], w[1], folder, args), work):
            tables.append(some)
            bar.update()
    table, intervals = judged(tables, args.resamples)
    return {
        "by": args.by,
        "floor": args.floor,
        **intervals,
        "shared": {dataset: sorted(references) for dataset, references in folder.shared.items()},
        "used": [c.name for c in cells],
        "lacks": lacking,
        "held_out": [summary(choice, table, args.by) for choice in choices_held_out],
        "lines": table,
        "curves": curves(choices, agreement, factors),
        "in_sample": {
            "expression": none.expression(args.by),
            "parameters": dict(zip(none.names, none.parameters)),
            "mean_srcc": dict(zip(agreement.datasets, map(float, agreement([none.vector(factors)])[0]))),
        },
        "tried": tried,
    }


def arguments(argv):
    parser = Parser(__doc__)
    parser.add_argument("folder", metavar="DIR", help="folder of score files")
    parser.add_argument(
        "--factors",
        nargs="+",
        default=[],
        metavar="METHOD",
        help="factors, named as in the score files; with --search: its pool",
    )
    parser.add_argument(
        "--search",
        nargs="?",
        type=int,
        const=4,
        metavar="N",
        help="try all pairs and triples, beyond by forward selection up to N factors (default: 4)",
    )
    parser.add_argument(
        "--blocks", metavar="METHOD", help="the blocks of one method, from the files of run.py --per-layer"
    )
    parser.add_argument(
        "--by",
        choices=tuple(KINDS),
        default="exponents",
        help="a product with exponents (default), or for --blocks a weighted sum",
    )
    parser.add_argument(
        "--write",
        metavar="EXPRESSION",
        help=f"write the score files of a fused metric, such as 'dinov1_cos * psnr^0.5' or {', '.join(fused.PRESETS)}, "
        "into DIR",
    )
    parser.add_argument(
        "-sdir", "--savedir", metavar="DIR", help="where --write puts them (default: the folder itself)"
    )
    parser.add_argument("--datasets", nargs="+", default=[], metavar="NAME", help="only these datasets of the folder")
    parser.add_argument(
        "--shared-content",
        metavar="FILE",
        help="CSV of dataset,ref: references whose pairs are left out, because other datasets show the same photograph",
    )
    parser.add_argument(
        "--beside", nargs="+", default=[], metavar="METHOD", help="further methods to print beside the fused one"
    )
    parser.add_argument(
        "--floor",
        type=float,
        default=fused.FLOOR,
        metavar="X",
        help=f"least distance of a factor (default: {fused.FLOOR:g})",
    )
    parser.add_argument("--resamples", type=int, default=2000, metavar="N", help="of the bootstrap (default: 2000)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the bootstrap (default: 0)")
    parser.add_argument("--format", choices=tuple(FORMATS), default="text", help="default: text")
    parser.add_argument("-o", "--output", metavar="FILE", help="write there, not to stdout")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args(argv)
    if bool(args.blocks) + bool(args.write) + bool(args.factors or args.search is not None) != 1:
        raise UsageError("expected one of --factors A B ..., --search, --blocks METHOD and --write EXPRESSION")
    if args.factors and args.search is None and len(args.factors) < 2:
        raise UsageError(f"--factors {' '.join(args.factors)}: expected two factors or more")
    if len(set(args.factors)) < len(args.factors):
        raise UsageError(f"--factors {' '.join(args.factors)}: a factor stands there twice")
    if args.by == "weights" and not args.blocks:
        raise UsageError("--by weights is for --blocks: distances of different metrics have no common unit")
    for name, value, least in (("--search", args.search, 2), ("--resamples", args.resamples, 100)):
        if value is not None and value < least:
            raise UsageError(f"{name} {value}: expected {least} or more")
    if not 0 < args.floor < np.inf:
        raise UsageError(f"--floor {args.floor:g}: expected a number above 0")
    check_writable("-o", args.output)
    return args


def write_files(folder, args):
    """fuse.py --write: the score files of a fused metric, where its factors' are there."""
    from reports.fuse.write import score_files

    written, lacking = score_files(fused.parse(args.write), folder, args.savedir or args.folder)
    for path in written:
        print(path)
    for cell, names in lacking.items():
        print(f"not written: {cell}, which lacks {', '.join(names)}")
    if not written:
        raise UsageError(f"{args.folder}: no dataset and perturbation has the files of all factors of {args.write}")


def main(argv):
    args = arguments(argv)
    shared = shared_content(args.shared_content) if args.shared_content else None
    folder = Folder(args.folder, args.datasets, args.floor, shared)
    if args.write:
        return write_files(folder, args)
    for name in args.beside:
        if name not in folder.methods:
            raise unknown("method", name, folder.methods)
    tried = None
    if args.search is not None:
        from reports.fuse.search import search

        choices, agreement, cells, lacking, tried = search(folder, args.factors, args.search, args.seed)
    else:
        cells, lacking = folder.blocks(args.blocks) if args.blocks else folder.load(args.factors)
        enough(cells, lacking, args.blocks or " ".join(args.factors))
        count = len(cells[0].factors)
        # of factors the first is the unit, and the others start left out; blocks start as they are published, all equal
        start, free = (np.ones(count), range(count)) if args.blocks else (np.eye(count)[0], range(1, count))
        agreement = agreement_of(cells, args.by)
        choices = leaving_one_out(agreement, cells[0].factors, start.tolist(), free)
    result = report(choices, agreement, cells, lacking, folder, args, tried)
    text = FORMATS[args.format](result)
    deliver(text, args.output)


if __name__ == "__main__":
    run_main(main)
