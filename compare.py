"""Which metric agrees better with people, and with what certainty: from score files alone, no images, weights or GPU.

    python compare.py results/tid2013_{dinov1_l2,psnr,fsim}*.csv --html report.html
    python compare.py mine.csv theirs.csv --columns pred=score,mos=dmos --higher-is worse

Files are grouped by dataset and perturbation; the metrics of a group are compared on the same pairs, groups side by
side in the audit, perturbed files with their plain ones. Verdicts come from intervals that hold for a whole table at
once, from a bootstrap over references (agreement/simultaneous.py); docs/compare.md explains every one of them.
"""

import argparse
from dataclasses import replace

from common.terminal import need

if __name__ == "__main__":
    need("numpy")  # before the imports that fail without

import numpy as np

from agreement.fits import MAPPINGS
from common.errors import UsageError
from common.files import number, read_table
from common.terminal import Parser, check_writable, deliver, run_main
from datasets import DATASETS, distortion_types
from loaders import lists
from loaders.spread import KINDS, Spread
from reports.compare import Settings, compare
from reports.compare.grouping import no_spread, read_groups
from reports.compare.report import FORMATS
from scorefiles.join import align, base_names


def column_pairs(text):
    """'pred=score,mos=dmos' -> {'pred': 'score', 'mos': 'dmos'}; ours on the left."""
    renamed = dict(part.split("=", 1) for part in text.split(",") if "=" in part)
    unknown = set(renamed) - {"dis", "ref", "mos", "pred", "type", "std"}
    if not renamed or unknown or len(renamed) != len(text.split(",")):
        raise argparse.ArgumentTypeError(
            f"expected ours=theirs,... with ours of dis, ref, mos, pred, type, std; found {text!r}"
        )
    return renamed


def by_name(values, table, source, what):
    """(N,) values of a score file's images from {dis: value}, whatever the folders before the names."""
    import pandas as pd

    names, wanted = base_names(pd.Series(list(values), dtype=str)), base_names(table["dis"])
    rows, images = np.arange(len(wanted)), wanted
    if names.is_unique:  # an image may stand in several pairs; LIVE's names repeat between its folders
        rows, images = pd.factorize(wanted)
    i, j = align(images, names)
    missing = np.setdiff1d(np.arange(len(images)), i)
    if len(missing):
        first = table["dis"].iloc[int(np.argmax(rows == missing[0]))]
        raise UsageError(f"{source}: no {what} for {len(missing)} of {len(images)} images, first {first}")
    return np.array(list(values.values()))[j][rows]


def read_list(file):
    """({dis: std}, {dis: type}) of the list that --std names, {} for a column that is not there. UsageError."""
    rows = read_table(file, (lists.DISTORTED,), (lists.SPREAD, lists.TYPE))
    dis, std, kind = (
        next((n for n in names if n in rows[0][1]), "") for names in (lists.DISTORTED, lists.SPREAD, lists.TYPE)
    )
    if not std and not kind:
        raise UsageError(f"--std {file}: expected a column std or type, found neither")
    stds, types = {}, {}
    for line, row in rows:
        where = f"{file}: line {line}"
        if row[dis] in stds or row[dis] in types:
            raise UsageError(f"{where}: {row[dis]} stands there twice")
        if std:
            stds[row[dis]] = number(row[std], f"{where}, column std")
        if kind:
            types[row[dis]] = row[kind] or "all"
    return stds, types


def type_reader(listed, source):
    """A function(dataset, table) -> (N,) distortion types, for grouping.read_groups: what the names or a column of the
    score file say, else listed, {dis: type}."""

    def types(dataset, table):
        if not listed or dataset in DATASETS or "type" in table:
            return distortion_types(dataset, table)
        return by_name(listed, table, source, "type")

    return types


def spread_reader(listed, source, data_root, given):
    """A function(dataset, table) -> (std (N,), Spread) or why not, for grouping.read_groups: a column std, listed {dis:
    std}, the dataset's files. given: the Spread that --raters and --std-kind describe, None without them; a kind that
    the registry knows stands."""

    def settled(std, kind):
        if (std < 0).any():
            raise UsageError(f"{kind.source}: a spread can't be negative, found {std.min():g}")
        if kind.usable:
            return std, kind
        if given is None:
            what = "how many ratings" if kind.kind == "sd" else "what kind of number"
            return (
                f"{kind.source}: {what} stands behind its spreads is not known; say so by --raters N or --std-kind "
                "se|ci95"
            )
        return std, replace(given, source=kind.source)

    def spread(dataset, table):
        if "std" in table:
            return settled(table["std"].to_numpy(), Spread("unknown", source="column std of the score file"))
        if listed:
            return settled(by_name(listed, table, source, "std"), Spread("unknown", source=source))
        if data_root:
            from datasets import load_spread

            try:
                spreads, kind = load_spread(dataset, data_root)
                return settled(by_name(spreads, table, data_root, "std"), kind)
            except UsageError as error:  # PIPAL has no spread, and not every dataset compared need be on this disk
                return str(error)
        return no_spread(dataset, table)

    return spread


def given_spread(args, needed):
    """The Spread that --raters and --std-kind describe, None without them. UsageError where they say too little."""
    kind = args.std_kind or ("sd" if args.raters is not None else None)
    if kind == "sd" and args.raters is None:
        raise UsageError("--std-kind sd: expected --raters N too, the number of ratings behind each standard deviation")
    if kind in ("se", "ci95") and args.raters is not None:
        raise UsageError(
            f"--raters {args.raters}: a {KINDS[kind]} needs no number of raters; leave it or --std-kind out"
        )
    if needed and kind is None:
        raise UsageError(
            f"--std {args.std}: what its column std is must be said, by --raters N (standard deviations over N "
            "ratings) or --std-kind se|ci95"
        )
    return kind and Spread(kind, args.raters)


def parse(argv):
    parser = Parser(__doc__)
    parser.add_argument("files", nargs="+", help="score files; perturbed ones together with their plain ones")
    parser.add_argument("--format", choices=FORMATS, default="text", help="of what is printed (default text)")
    parser.add_argument("-o", "--output", metavar="FILE", help="write it to FILE instead")
    parser.add_argument(
        "--html", metavar="FILE", help="also write one self-contained page with figures and definitions"
    )
    parser.add_argument(
        "--columns",
        type=column_pairs,
        metavar="OURS=THEIRS,...",
        help="names of a foreign file's columns, as pred=score,mos=dmos",
    )
    parser.add_argument(
        "--higher-is", choices=("worse", "better"), help="what a higher label means, where the dataset is not known"
    )
    parser.add_argument(
        "--similarity",
        nargs="+",
        default=(),
        metavar="METRIC",
        help="metrics of foreign files whose higher score is better",
    )
    parser.add_argument(
        "--std",
        metavar="FILE",
        help="CSV with dis and std (the spread of each label), type (of distortion) or both: the list that was scored",
    )
    parser.add_argument("--data-root", metavar="DIR", help="the datasets, for the spread of their labels")
    parser.add_argument(
        "--raters",
        type=int,
        metavar="N",
        help="std of --std, of a column or of an unknown kind: standard deviation of N ratings",
    )
    parser.add_argument(
        "--std-kind",
        choices=[kind for kind in KINDS if kind != "unknown"],
        help="what such a std is: "
        f"{'; '.join(f'{kind}: {what}' for kind, what in KINDS.items() if kind != 'unknown')}".replace("%", "%%"),
    )
    parser.add_argument(
        "--resamples", type=int, default=Settings.resamples, help="of the bootstrap (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=Settings.seed)
    parser.add_argument(
        "--most-resamples",
        type=int,
        metavar="N",
        help=f"drawn where a verdict is too near zero for --resamples (default {Settings.most_resamples}, or "
        "--resamples)",
    )
    parser.add_argument(
        "--margin",
        type=float,
        metavar="X",
        help="call differences below X equivalent where both one-sided tests say so",
    )
    parser.add_argument(
        "--against", metavar="METRIC", help="compare all others with METRIC only: fewer differences at once"
    )
    parser.add_argument(
        "--interval",
        choices=("t", "percentile", "bca"),
        default=Settings.interval,
        help="of single coefficients (default %(default)s); verdicts come from simultaneous intervals",
    )
    parser.add_argument(
        "--fit", choices=MAPPINGS, default=Settings.fit, help="mapping before the fitted PLCC (default %(default)s)"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args(argv)
    if args.resamples < 100:
        raise UsageError(f"--resamples {args.resamples}: expected at least 100 for a 95 % interval")
    if args.most_resamples is None:
        args.most_resamples = max(Settings.most_resamples, args.resamples)
    if args.most_resamples < args.resamples:
        raise UsageError(f"--most-resamples {args.most_resamples}: expected at least --resamples, {args.resamples}")
    if args.margin is not None and not 0 < args.margin < 1:
        raise UsageError(f"--margin {args.margin:g}: expected a difference of coefficients between 0 and 1, as .01")
    if args.seed < 0:
        raise UsageError(f"--seed {args.seed}: expected 0 or more")
    if args.raters is not None and args.raters < 2:
        raise UsageError(f"--raters {args.raters}: expected at least 2")
    inputs = [*args.files, *filter(None, [args.std])]
    check_writable("-o", args.output, inputs)
    if args.html and not args.html.lower().endswith((".html", ".htm")):
        raise UsageError(f"--html {args.html}: expected the name of a page that ends in .html or .htm")
    check_writable("--html", args.html, inputs)
    return args


def main(argv=None):
    args = parse(argv)
    settings = Settings(
        args.resamples, args.seed, args.interval, args.fit, args.most_resamples, args.margin, args.against
    )
    source = f"--std {args.std}"
    stds, types = read_list(args.std) if args.std else ({}, {})
    groups = read_groups(
        args.files,
        args.columns,
        args.higher_is,
        args.similarity,
        spread_reader(stds, source, args.data_root, given_spread(args, stds and not types)),
        type_reader(types, source),
    )
    metrics = list(dict.fromkeys(metric for group in groups for metric in group.metrics))
    unknown = sorted(set(args.similarity) - set(metrics))
    if unknown:
        raise UsageError(f"--similarity {' '.join(unknown)}: no such metric among {', '.join(metrics)}")
    results, measured = compare(groups, settings)
    text = FORMATS[args.format](results)
    deliver(text, args.output)
    if args.html:
        from reports.compare.page import page

        deliver(page(results, measured), args.html)


if __name__ == "__main__":
    run_main(main)
