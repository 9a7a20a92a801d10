"""Score datasets with metrics and print how well they agree with people.

    python run.py -dat tid2013 -m dinov1 -d l2                          one method, plain
    python run.py -dat live pipal -m dinov1 psnr -d l2 cos -rob none tra sca rot
    python run.py -dat demo -m psnr msssim fsim stlpips_alex            photographs that come with a dependency
    python run.py --list                                                every dataset, method and distance

Writes <savedir>/<dataset>_<method>[_<distance>][_<perturbation>-<pct>].csv with dis,ref,mos,pred, a JSON beside each with
everything that decides the scores, and <savedir>/correlations.csv. What is there and complete is used, what is partial is
continued. Exit code 0 only if all that was asked for is there.
"""
import argparse
import os
from pathlib import Path

import datasets
from distances import of_blocks
from common import torchrun
from scoring import fused_files
from methods import fused
from methods.build import build, parse, with_factors
from methods.metrics import METRICS
from methods.model import Options
from methods import options
from common.errors import UsageError, WorkError, one_line, unknown
from common.terminal import number_type, positive, processes, run_main
from robustness import PERTURBATIONS
from scorefiles.read import PERTURBATION


def arguments(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    what = parser.add_argument_group("what to score")
    what.add_argument("-dat", "--dataset", nargs="+", default=[], metavar="NAME", help="live tid2013 pipal demo ..., or a CSV file")
    what.add_argument("-rob", "--robustness", nargs="+", default=["none"], metavar="NAME", help="none tra sca rot (default: none)")
    what.add_argument("-pct", "--percent", nargs="+", type=magnitude, default=[1.0], metavar="P", help="magnitude of the perturbation (default: 1)")
    what.add_argument("--limit", type=positive, metavar="N", help="only the first N pairs; the files stay partial")
    what.add_argument("--higher-is", choices=("better", "worse"), help="what a higher label means in a CSV dataset (not needed where its column is called dmos)")
    what.add_argument("--skip-bad", action="store_true", help="leave out pairs whose image is missing or unreadable, and say so")
    what.add_argument("--noise-floor", action="store_true",
                      help="score each reference against its own perturbed self instead, into <name>.floor.csv (see compare.py)")
    options.add_arguments(parser)
    where = parser.add_argument_group("where things are")
    where.add_argument("--data-root", default=os.environ.get("IQA_DATA", "data"), metavar="DIR", help="default: $IQA_DATA, else data")
    where.add_argument("-sdir", "--savedir", default="results", metavar="DIR", help="default: results")
    where.add_argument("-s", "--saveas", metavar="NAME", help="file name instead of the method's; one method and distance only")
    how = parser.add_argument_group("how to run")
    how.add_argument("--per-layer", action="store_true", help=f"also write one column a block ({' '.join(of_blocks())})")
    how.add_argument("--workers", type=processes, default=None, metavar="N", help="processes that read images (default: 0 on a CPU, up to 8 with CUDA)")
    how.add_argument("--overwrite", action="store_true", help="drop files made with other settings and score anew")
    how.add_argument("--keep-going", action="store_true", help="carry on past what cannot be had and name it at the end")
    how.add_argument("--plot", action="store_true", help="draw prediction against label by distortion type, a PNG a finished score file")
    how.add_argument("--shard", type=shard, metavar="I/N", help="only the I-th of N parts of the references; joined when all are there")
    also = parser.add_argument_group("instead of scoring")
    also.add_argument("--list", action="store_true", help="every dataset, method and distance, with its weights, licence and citation")
    also.add_argument("--dry-run", action="store_true", help="what would be computed: pairs, windows, forward passes, disk, time")
    also.add_argument("--fetch-weights", metavar="DIR", help="download what the methods of -m need into DIR")
    also.add_argument("--verify", type=positive, metavar="N", help="recompute N random pairs of each finished FILE and compare")
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


def check_arguments(args):
    for name in args.robustness:
        if name not in PERTURBATIONS:
            raise unknown("perturbation", name, PERTURBATIONS)
    if not args.dataset:
        raise UsageError(f"-dat: expected one or more of {', '.join(datasets.DATASETS)}, or a CSV file (see --list)")
    for name in args.dataset:
        datasets.check_name(name)
    if args.higher_is and all(name in datasets.DATASETS for name in args.dataset):
        raise UsageError("--higher-is better or worse is for CSV files; leave it out")
    options.check_model(args)
    if args.noise_floor and args.plot:
        raise UsageError("--plot: a noise floor has no label to draw; leave --plot or --noise-floor out")
    if args.files:
        raise UsageError(f"{args.files[0]}: files go with --verify only")
    if args.saveas is not None and (not args.saveas or "/" in args.saveas or PERTURBATION.search(args.saveas)):
        raise UsageError(f"-s {args.saveas!r}: expected a name for a file, without '/' and without a perturbation at its end")


def perturbations(args):
    """[(name, pct)] asked for, 'none' once, in the order given."""
    return list(dict.fromkeys(("none", 0.0) if name == "none" else (name, pct) for name in args.robustness for pct in args.percent))


def main(argv):
    args = arguments(argv)
    if args.list:
        from scoring import listing
        return listing.show()
    if args.fetch_weights:
        from networks import download
        for _, path, what in download.fetch(needed_weights(args), args.fetch_weights):
            print(f"{path}: {what}")
        return
    if args.verify:
        from scoring import verify
        return verify.main(args)
    check_arguments(args)
    from scoring import experiment
    missing = []

    def attempt(what, function, *arguments):
        """Its result; with --keep-going None, remembered as missing, when it fails."""
        try:
            return function(*arguments)
        except (UsageError, WorkError) as error:
            if not args.keep_going:
                raise
            missing.append((what, one_line(error)))

    if args.plot:
        from scoring import plots
        plots.figure(1, 1)   # no matplotlib: better said before the work
    device = torchrun.start(options.pick_device(args.device))
    rank, ranks = torchrun.world()
    if ranks > 1 and args.shard:
        raise UsageError("--shard: torchrun makes the shards itself; leave one of the two out")
    if ranks > 1:
        args.shard = (rank + 1, ranks)
    models, fusions = options.models_of(args, device, args.per_layer)
    if args.saveas and (len(models) > 1 or len(models[0].columns) > 1):
        raise UsageError("-s/--saveas names one file: use it with one method and one distance")
    found = [(model, attempt(asked_as(model), model.files)) for model in models]
    models = [(model, files) for model, files in found if files is not None]
    sets = [attempt(name, experiment.prepare, name, args) for name in args.dataset]
    rows = []
    for prepared in filter(None, sets):
        for model, files in models:
            name = f"{asked_as(model)} on {prepared.dataset.name}"
            done = attempt(name, experiment.run, model, files, prepared, perturbations(args), args) or []
            torchrun.barrier()   # the other processes' shards are written, or given up
            if done and torchrun.first():
                attempt(name, experiment.finish, done, args)
            rows += done
        for fusion in fusions if torchrun.first() and not args.dry_run else ():
            rows += attempt(f"{fusion.name} on {prepared.dataset.name}", fused_files.of_run,
                            fusion, rows, prepared, perturbations(args), args) or []
    if torchrun.first():
        if rows:
            experiment.report(rows, Path(args.savedir))
        if args.plot:
            for path in plots.score_files(row.output.final for row in rows if row.output.complete):
                print(f"plot: {path}")
    missing = torchrun.together(missing)
    for what, why in missing if torchrun.first() else ():
        print(f"missing: {what}: {why}")
    torchrun.stop()
    return 1 if missing else 0


def asked_as(model):
    return ", ".join(dict.fromkeys(column.method for column in model.columns))


def needed_weights(args):
    """The weight files that the methods of -m need, each once."""
    if not args.model:
        raise UsageError("--fetch-weights: expected -m with the methods whose weights are needed (see --list)")
    plain, fusions = fused.split(args.model)
    takes_distance = any(parse(m)[0] not in METRICS and ".py:" not in m for m in plain)
    default = Options()
    models = with_factors(build(plain, ["cos"] if takes_distance else [], default), fusions, default)
    return list(dict.fromkeys(w for model in models for w in model.weights))


if __name__ == "__main__":
    run_main(main, kept="; what was scored is kept: start again with the same command to go on")
