"""Score one pair of images, several distorted ones, or folders, from the terminal: the very code path of run.py.

    python run_single_img.py -ref original.png -dis coded.jpg -m dinov1 -d l2
    python run_single_img.py -ref original.png -dis a.jpg b.jpg -m psnr st_vgg16 -d l2 cos --json
    python run_single_img.py -ref original.png -dis coded.jpg -m st_vgg16 -d l2 --map m.png  where they differ (maps.py)
    python run_single_img.py -ref DIR -dis DIR DIR -m st_vgg16 -d l2 -o scores.csv           paired by name (folders.py)
    python run_single_img.py --manifest pairs.csv -m psnr --curve rd.png  rate-distortion, of bitrates (bdrate.py)
    python run_single_img.py -ref a.png -dis b.jpg -m psnr --calibrate tid2013_psnr.csv  as an opinion (calibrate.py)

Prints one line a distorted image and score; of folders a summary. The images need not come from a dataset; any format
that Pillow reads will do (common/images.py says what happens to 16-bit, grey, palette and transparent ones).
"""

import json
import os
from pathlib import Path
from typing import Any

from common import images
from common.errors import UsageError
from common.terminal import Parser, check_writable, flags_of, run_main
from common.text import count
from methods import options
from methods.build import on_device
from methods.model import RANDOM, Options, refuse_auto
from scoring import folders
from scoring.fused_files import columns_of


def arguments(argv):
    parser = Parser(__doc__)
    what = parser.add_argument_group("which images")
    what.add_argument("-ref", "--reference", metavar="FILE|DIR")
    what.add_argument("-dis", "--distorted", nargs="+", default=[], metavar="FILE|DIR")
    what.add_argument(
        "--manifest", metavar="FILE.csv", help="pairs by name instead: columns ref, dis and, optionally, codec, bitrate"
    )
    out = parser.add_argument_group("what to show")
    out.add_argument("--json", action="store_true", help="scores and settings as JSON")
    out.add_argument("-o", "--output", metavar="FILE.csv", help="the scores of every pair")
    out.add_argument("--map", metavar="FILE.png", help="draw where the two images differ (one pair, one score)")
    out.add_argument("--map-layers", action="store_true", help="draw the blocks one by one, too")
    out.add_argument(
        "--npy",
        nargs="?",
        const="",
        metavar="FILE.npy",
        help="save the raw map (default name: that of --map); with --map-layers its blocks, too: FILE-layers.npy",
    )
    out.add_argument("--curve", metavar="FILE.png", help="draw score against bitrate, a curve a codec (one score)")
    out.add_argument("--anchor", metavar="CODEC", help="codec that BD-rates refer to (default: the manifest's first)")
    out.add_argument(
        "--interpolation", choices=("pchip", "akima"), default="pchip", help="of the curves of BD-rates (default pchip)"
    )
    out.add_argument(
        "--calibrate",
        nargs="+",
        default=[],
        metavar="FILE.csv",
        help="finished run of the same method on a dataset: adds the predicted opinion",
    )
    options.add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args(argv)


def pairs_of(args):
    """-> ([folders.FilePair], {folder: files without a partner}) of -ref and -dis, or of --manifest.
    Raises UsageError."""
    if args.manifest:
        if args.reference or args.distorted:
            raise UsageError("--manifest names the images; leave -ref and -dis out")
        return folders.read_manifest(args.manifest), {}
    if not args.reference or not args.distorted:
        raise UsageError("expected -ref and -dis (files or folders), or --manifest FILE.csv")
    if folders.is_folder_job(args.reference, args.distorted):
        return folders.pair_folders(args.reference, args.distorted)
    return [folders.FilePair(args.reference, d) for d in args.distorted], {}


def check_there(pairs):
    """UsageError that names the images that are not there."""
    paths = dict.fromkeys(path for pair in pairs for path in (pair.reference, pair.distorted))
    if missing := [path for path in paths if not os.path.exists(path)]:
        images.check_all(missing)


def check_usage(args, pairs, columns):
    """UsageError for what does not go together, and for what could not be written, before the work starts."""
    one_score = "one score: one method, with one distance where it takes one"
    if args.map_layers and args.map is None and args.npy is None:
        raise UsageError("--map-layers goes with --map or --npy")
    if args.npy == "" and not args.map:
        raise UsageError("--npy: expected a file name, or --map beside it")
    if args.map or args.npy is not None:
        if len(pairs) > 1 or len(columns) > 1:
            raise UsageError(
                f"--map and --npy: expected one pair of files and {one_score}; found "
                f"{count(len(pairs), 'pair')}, {count(len(columns), 'score')}"
            )
        unused = [
            name
            for name, value in (("-o", args.output), ("--calibrate", args.calibrate), ("--json", args.json))
            if value
        ]
        if unused:
            raise UsageError(f"{', '.join(unused)}: not together with --map or --npy")
    if args.calibrate and pairs[0].group and not (args.output or args.json):
        raise UsageError("--calibrate of many pairs: expected -o FILE.csv or --json, for the predicted opinion of each")
    if (args.curve or args.anchor) and pairs[0].bitrate is None:
        raise UsageError("--curve and --anchor: expected a --manifest with the column bitrate")
    if pairs[0].bitrate is not None:
        from scoring import bdrate

        bdrate.check(pairs, args.anchor)
    if args.curve and len(columns) > 1:
        raise UsageError(f"--curve: expected {one_score}; found {', '.join(c.name for c in columns)}")
    inputs = [path for pair in pairs for path in (pair.reference, pair.distorted)]
    inputs += [*filter(None, [args.manifest]), *args.calibrate]
    for option, path in (("--map", args.map), ("--curve", args.curve)):
        if path:
            from scoring import plots

            plots.check_target(path, option, inputs)
    if args.npy and not args.npy.endswith(".npy"):
        raise UsageError(f"--npy {args.npy}: expected a file name that ends in .npy")
    for option, path in (("-o", args.output), ("--npy", args.npy)):
        check_writable(option, path, inputs)


def show_map(pair, model, args):
    """Compute, print, draw and save the map of the model's one score."""
    from scoring import maps, single

    aligned = registered([pair], [model], args)
    reference, distorted, drawn = single.map_pair(
        pair, model, resizeHW=args.resizeHW, batch_size=args.batch_size, aligned=aligned
    )
    note_random([model])
    left = single.not_aligned([model], aligned) if aligned else {}
    print_lines([pair], [{drawn.column: drawn.score}], aligned, left, {})
    print(f"map: mean {drawn.total.mean():.6g} ({drawn.mean_is}), largest {drawn.total.max():.6g}")
    if args.map:
        from scoring import plots

        reference, distorted = (t.permute(1, 2, 0).cpu().numpy() for t in (reference, distorted))
        caption = f"aligned: {aligned[0]}" if aligned and not left[drawn.column][0] else ""
        plots.difference(args.map, reference, distorted, drawn, args.map_layers, caption)
    if args.npy is not None:
        maps.save(drawn, args.npy or Path(args.map).with_suffix(".npy"), args.map_layers)


def registered(pairs, models, args):
    """[Registration of each pair], or None where no model is scored aligned."""
    from scoring import single

    modes = {model.options.align for model in models} - {"none"}
    return single.registrations(pairs, *modes, resizeHW=args.resizeHW) if modes else None


def main(argv):
    args = arguments(argv)
    pairs, alone = pairs_of(args)
    options.check_device(args.device)
    refuse_auto(args.precision)
    settings = Options(**flags_of(vars(args), Options) | {"device": "auto"})
    models, fusions = options.models_of(args.model, args.distance, settings)
    columns = list(columns_of(models, fusions)[0].values())
    check_usage(args, pairs, columns)
    check_there(pairs)
    # what is above says a wrong command line at once; this imports torch
    device = options.pick_device(args.device)
    models = [on_device(model, device) for model in models]
    from scoring import single

    for model in models:
        model.paths()  # a missing weight file: said before the work
    folders.list_alone(alone)
    if args.map or args.npy is not None:
        return show_map(pairs[0], models[0], args)
    opinions = single.calibrations(args.calibrate, models, fusions, resizeHW=args.resizeHW)
    aligned = registered(pairs, models, args)
    scores = single.score_pairs(
        pairs, models, fusions, resizeHW=args.resizeHW, batch_size=args.batch_size, aligned=aligned
    )
    left = single.not_aligned(models, aligned) if aligned else {}
    folders.list_same(pairs)
    predicted = [single.predictions(of_pair, opinions) for of_pair in scores]
    if args.output:
        alignments = alignment_columns(aligned, left) if aligned else [{}] * len(pairs)
        columns_of_pair = [of_pair | opinion | where for of_pair, opinion, where in zip(scores, predicted, alignments)]
        folders.write_csv(args.output, pairs, columns_of_pair)
    if args.curve:
        from scoring import bdrate, plots

        values = [of_pair[columns[0].name] for of_pair in scores]
        plots.curves(args.curve, columns[0].name, columns[0].higher_is, bdrate.mean_curves(pairs, values))
    if args.json:
        printed = document(args, pairs, alone, scores, predicted, aligned, left, models, columns, opinions)
        print(json.dumps(printed, indent=1))
        return
    note_random(models)
    if pairs[0].group:
        print("\n\n".join(reports(pairs, scores, left, columns, args)))
    else:
        print_lines(pairs, scores, aligned, left, opinions)
    for opinion in opinions.values():
        print(opinion.statement())


def note_random(models):
    for model in models:
        if model.random:
            print(f"{model.name}: {RANDOM}")


def too_small_for(left, aligned, i):
    """{column: why} of the columns that are scored on a pair as it is, though there is something to undo."""
    return {name: reasons[i] for name, reasons in left.items() if aligned[i].done and reasons[i]}


def alignment_columns(aligned, left):
    """[{column: number}] of the pairs for -o: what was found, align_done last; then, of a method for which what would
    be left of some pair is too small, <its column>_done."""
    apart = dict.fromkeys(name for i in range(len(aligned)) for name in too_small_for(left, aligned, i))
    return [
        {f"align_{k}": float(v) for k, v in r.document.items() if k != "why"}
        | {f"{name}_done": float(not left[name][i]) for name in apart}
        for i, r in enumerate(aligned)
    ]


def print_lines(pairs, scores, aligned, left, opinions):
    wide = max(len(pair.distorted) for pair in pairs)
    for i, (pair, of_pair) in enumerate(zip(pairs, scores)):
        if aligned:
            print(f"{pair.distorted:{wide}}  {aligned[i]}")
        too_small = too_small_for(left, aligned, i)
        for column, value in of_pair.items():
            line = f"{pair.distorted:{wide}}  {column}  {value:.6g}"
            line += f"  not moved: {too_small[column]}" if column in too_small else ""
            if column in opinions:
                opinion = opinions[column](value)
                line += f"  predicted {opinion['label']:.4g} ({opinion['low']:.4g} to {opinion['high']:.4g})"
                lowest, highest = opinions[column].labels
                if not lowest <= opinion["low"] <= opinion["high"] <= highest:
                    line += f"  beyond the dataset's labels, {lowest:.4g} to {highest:.4g}"
                line += "  outside the range of the dataset's scores" if opinion["extrapolated"] else ""
            print(line)


def reports(pairs, scores, left, columns, args):
    """The summary of each score column of folders; with bitrates, rate-distortion in its place; and how many pairs
    were moved, for all methods at once where it is the same."""
    for column in columns:
        values = [of_pair[column.name] for of_pair in scores]
        if pairs[0].bitrate is None:
            yield folders.report(pairs, values, column, left.get(column.name))
        else:
            from scoring import bdrate

            yield bdrate.report(pairs, values, column, args.anchor, args.interpolation)
    if left:
        from scoring.aligning import counted

        sentences = {name: counted(reasons) for name, reasons in left.items()}
        alike = set(sentences.values())
        yield alike.pop() if len(alike) == 1 else "\n".join(f"{name}: {s}" for name, s in sentences.items())


def document(args, pairs, alone, scores, predicted, aligned, left, models, columns, opinions):
    """What --json prints."""
    from scorefiles import write
    from scorefiles.document import each_once
    from scoring import bdrate

    lines = [
        {"reference": pair.reference, "distorted": pair.distorted}
        | ({"group": pair.group} if pair.group else {})
        | ({} if pair.bitrate is None else {"bitrate": pair.bitrate})
        | of_pair
        | opinion
        | ({"alignment": aligned[i].document} if aligned else {})
        | ({"not_aligned": too_small} if (too_small := too_small_for(left, aligned, i)) else {})
        for i, (pair, of_pair, opinion) in enumerate(zip(pairs, scores, predicted))
    ]
    document: dict[str, Any] = {"scores": lines}
    if pairs[0].group:
        document["unmatched"] = alone
        for column in columns:
            values = [of_pair[column.name] for of_pair in scores]
            summary: dict[str, Any] = {"groups": folders.summary(pairs, values)}
            if pairs[0].bitrate is None:
                summary["references_in_common"], summary["comparisons"] = folders.comparisons(
                    pairs, values, column.higher_is
                )
            else:
                summary["bd_rates"] = bdrate.compare(pairs, values, args.anchor, args.interpolation)
            document.setdefault("summary", {})[column.name] = summary
    if opinions:
        document["calibration"] = {column: opinion.statement() for column, opinion in opinions.items()}
    settings = {
        name: getattr(args, name)
        for name in ("protocol", "precision", "resizeHW", "normalize", "window", "stride", "layers")
    }
    settings |= {"align": next(c.align for c in columns if c.align != "none")} if aligned else {}
    settings["weights"] = each_once(model.files() for model in models)
    settings["higher_is"] = {column.name: column.higher_is for column in columns}
    return document | {"settings": settings, "environment": write.environment(models[0], args.batch_size)}


if __name__ == "__main__":
    run_main(main)
