"""Score datasets with metrics and print how well they agree with people.

    python run.py -dat tid2013 -m dinov1 -d l2                          one method, plain
    python run.py -dat live pipal -m dinov1 psnr -d l2 cos -rob none tra sca rot
    python run.py -dat demo -m psnr msssim fsim stlpips_alex            photographs that come with a dependency
    python run.py --list                                                every dataset, method and distance

Writes <savedir>/<dataset>_<method>[_<distance>][_<perturbation>-<pct>].csv with dis,ref,mos,pred, a JSON beside each
with everything that decides the scores, and <savedir>/correlations.csv. What is there and complete is used, what is
partial is continued. Exit code 0 only if all that was asked for is there.
"""

import argparse
import os
import sys
from dataclasses import replace
from functools import partial

import datasets
from common import torchrun
from common.errors import UsageError
from common.terminal import KEPT, Parser, flags_of, number_type, positive, processes, run_main, say, whole
from distances import of_blocks
from loaders import lists
from methods import options
from methods.build import on_device
from methods.model import Options
from scoring.settings import Run, perturbations


def arguments(argv):
    parser = Parser(__doc__)
    usual, what = Run(), parser.add_argument_group("what to score")
    what.add_argument(
        "-dat", "--dataset", nargs="+", default=[], metavar="NAME", help="live tid2013 pipal demo ..., or a CSV file"
    )
    what.add_argument(
        "-rob", "--robustness", nargs="+", default=["none"], metavar="NAME", help="none tra sca rot (default: none)"
    )
    what.add_argument(
        "-pct",
        "--percent",
        nargs="+",
        type=magnitude,
        default=[1.0],
        metavar="P",
        help="magnitude of the perturbation (default: 1)",
    )
    what.add_argument("--limit", type=positive, metavar="N", help="only the first N pairs; the files stay partial")
    what.add_argument(
        "--higher-is",
        choices=("better", "worse"),
        help="what a higher label means in a CSV dataset (not needed where its column is called dmos)",
    )
    what.add_argument(
        "--skip-bad", action="store_true", help="leave out pairs whose image is missing or unreadable, and say so"
    )
    what.add_argument(
        "--noise-floor",
        action="store_true",
        help="score each reference against its own perturbed self instead, into <name>.floor.csv (see compare.py)",
    )
    options.add_arguments(parser)
    where = parser.add_argument_group("where things are")
    where.add_argument("--data-root", default=usual.data_root, metavar="DIR", help="default: $IQA_DATA, else data")
    where.add_argument("-sdir", "--savedir", default=usual.savedir, metavar="DIR", help="default: results")
    where.add_argument(
        "-s", "--saveas", metavar="NAME", help="file name instead of the method's; one method and distance only"
    )
    how = parser.add_argument_group("how to run")
    how.add_argument(
        "--per-layer", action="store_true", help=f"also write one column a block ({' '.join(of_blocks())})"
    )
    how.add_argument(
        "--workers",
        type=processes,
        default=None,
        metavar="N",
        help="processes that read images (default: 0 on a CPU, up to 8 with CUDA)",
    )
    how.add_argument("--overwrite", action="store_true", help="drop files made with other settings and score anew")
    how.add_argument(
        "--keep-going", action="store_true", help="carry on past what cannot be had and name it at the end"
    )
    how.add_argument(
        "--plot",
        action="store_true",
        help="draw prediction against label by distortion type, a PNG a finished score file",
    )
    how.add_argument(
        "--shard",
        type=shard,
        metavar="I/N",
        help="only the I-th of N parts of the references; joined when all are there",
    )
    also = parser.add_argument_group("instead of scoring")
    also.add_argument(
        "--list", action="store_true", help="every dataset, method and distance, with its weights, licence and citation"
    )
    also.add_argument(
        "--dry-run", action="store_true", help="what would be computed: pairs, windows, forward passes, disk, time"
    )
    also.add_argument(
        "--table",
        nargs="+",
        choices=("1", "2", "3", "all"),
        help="score what these tables of the paper need and print them; -m: only these rows; with --verify N: then "
        "score N pairs of each file again",
    )
    also.add_argument("--fetch-weights", metavar="DIR", help="download what the methods of -m need into DIR")
    also.add_argument(
        "--verify",
        type=whole,
        metavar="N",
        help="recompute N random pairs of each finished FILE and compare; 0: only see whether rows were altered",
    )
    also.add_argument("files", nargs="*", metavar="FILE", help="score files for --verify")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args(argv)


magnitude = number_type(float, lambda v: 0 < v < 50, "a number above 0 and below 50")


def shard(text):
    try:
        i, n = (int(part) for part in text.split("/"))
    except ValueError:
        i = n = 0
    if not 1 <= i <= n:
        raise argparse.ArgumentTypeError(f"expected I/N with 1 <= I <= N, such as 2/4, found {text!r}")
    return i, n


def main(argv):
    args = arguments(argv)
    if args.list:
        from scoring import listing

        return listing.show()
    if args.fetch_weights:
        from networks import download

        for _, path, what in download.fetch(options.needed_weights(args.model), args.fetch_weights):
            print(f"{path}: {what}")
        return
    if args.table:
        return make_tables(args)
    if args.verify is not None:
        return verify(args)
    if args.files:
        raise UsageError(f"{args.files[0]}: files go with --verify only")
    if args.noise_floor and args.plot:
        raise UsageError("--plot: a noise floor has no label to draw; leave --plot or --noise-floor out")
    wanted = perturbations(args.robustness, args.percent)
    if args.percent != [1.0] and not any(pct for _, pct in wanted):
        raise UsageError("-pct: expected a perturbation of that size, -rob tra, sca or rot")
    if not args.dataset:
        raise UsageError(f"-dat: expected one or more of {', '.join(datasets.DATASETS)}, or a CSV file (see --list)")
    for name in args.dataset:
        datasets.check_name(name)
    called = [name if name in datasets.DATASETS else lists.name_of(name, datasets.DATASETS) for name in args.dataset]
    if twice := [name for name, known_as in zip(args.dataset, called) if called.count(known_as) > 1]:
        raise UsageError(f"-dat {' '.join(twice)}: their score files would have the same names; score them one by one")
    if args.higher_is and all(name in datasets.DATASETS for name in args.dataset):
        raise UsageError("--higher-is better or worse is for CSV files; leave it out")
    if not args.savedir:
        raise UsageError("-sdir: expected the name of a folder, found an empty one")
    run = Run(perturbations=wanted, **flags_of(vars(args), Run))
    if args.plot:
        from scoring import plots

        plots.figure(1, 1)  # no matplotlib: better said before the work
    options.check_device(args.device)
    settings = Options(**flags_of(vars(args), Options) | {"device": "auto"})
    models, fusions = options.models_of(args.model, args.distance, settings)
    for name in args.dataset if not args.keep_going else ():
        datasets.check_there(name, args.data_root)
    # what is above says a wrong command line at once; this imports torch
    device = torchrun.start(options.pick_device(args.device))
    models = [on_device(model, device) for model in models]

    from scoring import experiment

    result = experiment.execute(args.dataset, models, fusions, run, say=say)
    if torchrun.first():
        show(result, args)
    torchrun.stop()
    return 1 if result.missing else 0


def show(result, args):
    """Print what a run gave besides its table: the table's notes, and what is missing."""
    for line in result.estimates:
        print(line)
    for note in result.notes if result.lines else ():
        print(note)
    if args.noise_floor:
        for row in result.rows:
            print(f"noise floor: {row.output.final}")
    if args.plot:
        from scoring import plots

        finished = [row for row in result.rows if row.output.complete]
        types = {row.output.final: {(p.dis, p.ref): p.distortion for p in row.dataset.pairs} for row in finished}
        for path in plots.score_files(result.files, types):
            print(f"plot: {path}")
        for row in result.rows:
            if not row.output.complete:
                print(f"plot: {row.output.partial.name} is not drawn before all of its pairs are scored")
    for what, why in result.missing:
        print(f"missing: {what}: {why}")


def make_tables(args):
    """run.py --table: score what the paper's tables need, one dataset and backbone after the other, and print them
    beside the published numbers. stdout has nothing else. What cannot be had is passed by and named at the end (exit
    code 1)."""
    from reports.tables import cells as paper
    from reports.tables.render import FORMATS
    from scorefiles.folder import Folders

    said = {
        "-dat": args.dataset,
        "-d": args.distance,
        "-rob": args.robustness != ["none"],
        "-pct": args.percent != [1.0],
    }
    said |= {"-s": args.saveas, "--noise-floor": args.noise_floor, "--plot": args.plot, "--shard": args.shard}
    if unwanted := [flag for flag, given in said.items() if given]:
        raise UsageError(f"{', '.join(unwanted)}: --table says itself what it needs; leave it out")
    if torchrun.world()[1] > 1:
        raise UsageError(
            "--table runs in one process; under torchrun give -dat, -m and -d (python tables.py --commands)"
        )
    cells = paper.select(paper.published(paper.TITLES if "all" in args.table else args.table), args.model)
    calls = paper.calls(cells)
    check_some_there([call.dataset for call in calls], args.data_root)
    settings = Options(**flags_of(vars(args), Options) | {"device": options.pick_device(args.device)})
    run = Run(**flags_of(vars(args), Run) | {"keep_going": True})

    from scoring import experiment

    missing, files = [], []
    note = partial(print, file=sys.stderr, flush=True)
    for call in calls:
        print(f"run.py {call}", file=sys.stderr)
        models, _ = options.models_of(call.methods, call.distances, settings)
        asked = replace(run, perturbations=perturbations(call.perturbations))
        result = experiment.execute([call.dataset], models, (), asked, say=note)
        note("\n".join([*result.estimates, *(result.notes if result.lines else ()), ""]))
        missing += result.missing
        files += result.files
    folders = Folders([args.savedir] if os.path.isdir(args.savedir) else [])
    paper.fill(cells, folders)
    summary = paper.summarise(cells, folders)
    sys.stdout.write(FORMATS["text"](paper.tables_of(cells), cells, summary, terminal=sys.stdout.isatty()))
    sys.stdout.flush()
    code = 1 if missing else 0
    if args.verify and files:
        said = [f"{path}: {text}" for path, text, exit_code in verified(args, files) if exit_code]
        agree = f"{len(files) - len(said)} of {len(files)} score files verified"
        verdict = f"{agree}: {args.verify} pairs of each scored again"
        print(f"\n{verdict}{'' if said else ', and they agree'}", *said, sep="\n", file=sys.stderr)
        code = 1 if said else code
    if missing:
        print("\nnot everything could be scored:", file=sys.stderr)
    for what, why in dict.fromkeys(missing):
        print(f"missing: {what}: {why}", file=sys.stderr)
    return code


def check_some_there(names, data_root):
    """UsageError where none of these datasets is there: then nothing can be scored."""
    missing = {}
    for name in names:
        try:
            return datasets.check_there(name, data_root)
        except UsageError as error:
            missing[name] = error
    raise UsageError("; ".join(map(str, missing.values())))


def verified(args, files):
    """What run.py --verify says of each score file: (path, text, exit code)."""
    from scoring import verify

    where = {
        "methods": args.model,
        "datasets": args.dataset,
        "data_root": args.data_root,
        "weights_dir": args.weights_dir,
    }
    return verify.score_files(files, args.verify, device=options.pick_device(args.device), **where)


def verify(args):
    """run.py --verify: print a line a score file. Returns the exit code: 1 if any differs, 2 if one can't be told."""
    code = 0
    for path, text, exit_code in verified(args, args.files):
        print(f"{path}: {text}", flush=True)
        code = 1 if 1 in (code, exit_code) else max(code, exit_code)
    return code


if __name__ == "__main__":
    run_main(main, note=KEPT)
