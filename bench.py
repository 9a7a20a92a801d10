"""How fast, against what: every number of this page is measured in one run on this machine, with seeded random weights.

    python bench.py                                   all sections, dinov1, float32
    python bench.py --only forward --backbones dinov1 clip_vitb32 --precision bf16
    python bench.py --only variants --backbones st_alexnet dinov1   SDPA, torch.compile, int8: speed, scores
    python bench.py --only pipeline naive --rounds 5 --json
    python bench.py --only memory --pairs 2000        peak memory of a run of so many pairs
    python bench.py --only startup --weights-dir DIR  run_single_img.py, with weights from a file
    python bench.py --only registration               --align: a pair's map, against scoring the pair
    python bench.py --only tables compare fuse        what is made of score files
    python bench.py --only tables --scores DIR        tables.py, the reading of compare.py and fuse.py, against pandas

Speeds are medians of interleaved rounds. "of matmul" is the share of this machine's own matrix rate (the best of a few
large torch products in the same precision), by the floating-point operations that torch counts. Ratios against the
naive path (scoring/naive.py, the authors' order of work) are a pair's time there over a pair's time here.
"""

import copy
import json
import statistics
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path

from common.terminal import need

if __name__ == "__main__":
    need("torch")  # before the imports that fail without

import numpy as np
import torch

import distances
from common.errors import one_line, unknown
from common.terminal import Parser, positive, processes, run_main
from common.timing import interleaved, of_process
from methods.build import build
from methods.model import Options
from methods.options import pick_device
from reports import speed
from scoring import made_up, naive
from scoring.engine import keep_memory, score_plan
from scoring.plan import ImageFile, Plan, default_batch
from scoring.tolerance import relative


def products(args):
    """{shape: (function, FLOP)} of a few large products in the precision that is benchmarked:
    the best is the machine's matrix rate."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(args.precision, torch.float32)
    n = 8192 if args.device.startswith("cuda") else 2048
    operations = {}
    for shape in ((n, n, n), (8 * 197, 768, 3072), (n // 2, n, 2 * n)):
        a, b = (
            torch.randn(shape[0], shape[1], device=args.device).to(dtype),
            torch.randn(shape[1], shape[2], device=args.device).to(dtype),
        )
        flops = 2 * shape[0] * shape[1] * shape[2]
        repeat = max(1, int(2e10 // flops))
        operations[shape] = lambda a=a, b=b, repeat=repeat: [a @ b for _ in range(repeat)], repeat * flops
    return operations


def flops_of(function):
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


def options(args):
    return Options("pretrained" if args.weights_dir else "random", args.weights_dir, args.device, args.precision)


def flags(args):
    """The same for run.py and run_single_img.py."""
    weights = ["--weights-dir", args.weights_dir] if args.weights_dir else ["--weights", "random"]
    return [*weights, "--device", args.device, "--precision", args.precision]


def forward(args):
    """Bare forward passes of each backbone, at the best of a few batch sizes, as a share of the matrix rate,
    timed in turn with them."""
    matrices = products(args)
    for name in args.backbones:
        backbone = build([name], ["l2"], options(args))[0].load()
        with torch.inference_mode():
            flops = flops_of(partial(backbone, torch.rand(1, 3, 224, 224, device=args.device)))
            inputs = {b: torch.rand(b, 3, 224, 224, device=args.device) for b in args.batches}
            seconds = interleaved(
                {shape: product for shape, (product, _) in matrices.items()}
                | {b: partial(backbone, windows) for b, windows in inputs.items()},
                args.rounds,
                args.device,
            )
        rate = max(flop / seconds[shape] for shape, (_, flop) in matrices.items())
        best = max(args.batches, key=lambda b: b / seconds[b])
        fastest = best / seconds[best]
        yield (
            f"forward {name}",
            f"{fastest:.2f} windows/s at batch {best}, {flops / 1e9:.1f} GFLOP a window, {fastest * flops / rate:.0%} "
            f"of matmul's {rate / 1e9:.0f} GFLOP/s ({', '.join(f'{b}: {b / seconds[b]:.2f}' for b in args.batches)})",
            {"windows_per_s": fastest, "share": fastest * flops / rate, "matmul_flop_per_s": rate},
        )


def variants(trunk, args):
    """{what: a copy of a trunk, computed otherwise}; what a trunk or a device has not is left out."""
    from torch import nn

    def attending(trunk):  # timm's attention blocks: through F.scaled_dot_product_attention, or step by step
        for module in trunk.modules():
            if hasattr(module, "fused_attn"):
                module.fused_attn = not module.fused_attn
        return trunk

    def quantised(trunk):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch moves this to a package of its own
            return torch.ao.quantization.quantize_dynamic(trunk, {nn.Linear}, dtype=torch.qint8)

    maps, modules = trunk.kind == "maps", list(trunk.modules())
    other = torch.contiguous_format if maps else torch.channels_last
    made = {}
    if any(hasattr(module, "fused_attn") for module in modules):
        made["without SDPA"] = attending
    made["contiguous, not channels_last" if maps else "channels_last"] = lambda trunk: trunk.to(memory_format=other)
    made["torch.compile"] = torch.compile
    if args.device.startswith("cuda"):
        made["CUDA graphs (torch.compile)"] = partial(torch.compile, mode="reduce-overhead")
    elif any(isinstance(module, nn.Linear) for module in modules):
        made["int8"] = quantised  # of the linear layers; convolutions it leaves as they are
    return {what: function(copy.deepcopy(trunk)) for what, function in made.items()}


def each_variant(args):
    """A forward pass of each backbone computed otherwise, against the one that is used; and what that does to l2
    between the first photograph of demo and its 25 distortions (their middle windows)."""
    import datasets
    import models
    from agreement.correlations import srcc
    from common.images import open_rgb

    demo = datasets.load("demo", None)
    first = [pair for pair in demo.pairs if pair.ref == demo.pairs[0].ref]
    windows = []
    for path in [first[0].ref, *(pair.dis for pair in first)]:
        pixels = torch.from_numpy(np.array(open_rgb(demo.path(path)))).permute(2, 0, 1)
        y, x = ((side - 224) // 2 for side in pixels.shape[1:])
        windows.append(pixels[:, y : y + 224, x : x + 224].to(args.device) / 255)

    def scores(backbone):
        [reference, *distorted] = [backbone(window[None]) for window in windows]
        return [distances.compare(["l2"], f, reference)["l2"].item() for f in distorted]

    clock = time.process_time if args.device == "cpu" else time.perf_counter  # work of others does not count
    for name in args.backbones:
        o = options(args)
        usual = models.load_backbone(name, o.weights_dir, o.weights, o.device, o.precision)
        x = torch.stack(windows[: min(8, max(args.batches))])
        with torch.inference_mode():
            exact = scores(usual)
            for what, trunk in variants(usual.trunk, args).items():
                other = copy.copy(usual)
                other.trunk = trunk
                try:
                    changed = scores(other)
                    seconds = interleaved(
                        {"usual": partial(usual, x), what: partial(other, x)}, args.rounds, o.device, clock
                    )
                except Exception as error:  # a compiler that is not there, an operation that a variant has not
                    yield f"{what} {name}", f"fails: {one_line(error)[:100]}", {"failed": one_line(error)}
                    continue
                ratio = seconds["usual"] / seconds[what]
                gap = max(relative(a, b, max(exact)) for a, b in zip(exact, changed))
                numbers = {"ratio": ratio, "srcc": srcc(changed, exact), "difference": gap}
                text = f"{ratio:.2f} x as fast; SRCC of l2 with the usual one {numbers['srcc']:.4f}, {gap:.1e} apart"
                yield f"{what} {name}", text, numbers


def each_distance(args):
    """Each distance alone, between features of the first backbone, beside its forward pass;
    wsd against POT on the same."""
    torch.manual_seed(0)
    batch, name = 8, args.backbones[0]
    features = build([name], ["l2"], options(args))[0].load()
    x = torch.rand(batch, 3, 224, 224, device=args.device)
    with torch.inference_mode():
        f, g = features(x), features((x + 0.1 * torch.rand_like(x)).clamp(0, 1))
        tokens = f.blocks[0].ndim == 3

        def fresh(*names):
            return distances.compare(names, distances.Features(f.blocks), distances.Features(g.blocks))

        names = [*distances.DISTANCES, "l2 cos skld jsd wsd"] if tokens else distances.of_blocks()
        names += ["dc gram moments"]
        seconds = interleaved(
            {"forward": lambda: features(x)} | {name: lambda name=name: fresh(*name.split()) for name in names},
            args.rounds,
            args.device,
        )
        forward = seconds.pop("forward")
        for distance, s in seconds.items():
            line = f"{batch / s:.1f} windows/s, {s / forward:.0%} of a forward pass of {name}"
            yield f"distance {distance}", line, {"windows_per_s": batch / s, "of_forward": s / forward}
        if tokens:
            one, other = [b[0].cpu() for b in f.blocks], [b[0].cpu() for b in g.blocks]
            both = interleaved({"pot": lambda: naive.wsd(one, other), "ours": lambda: fresh("wsd")}, args.rounds)
            ratio = both["pot"] / (both["ours"] / batch)
            yield "distance wsd against POT", f"{ratio:.1f} x", {"ratio": ratio}


def images(args):
    """Decoding and perturbing a distorted image under all four perturbations, one process."""
    from scoring.loading import read

    with tempfile.TemporaryDirectory() as folder:
        paths = made_up.images(Path(folder), 8)
        requests = [(p, "distorted", [("none", 0.0), ("tra", 1.0), ("sca", 1.0), ("rot", 1.0)]) for p in paths]
        s = interleaved({"": lambda: [read(r, None, None) for r in requests]}, args.rounds)[""]
    yield (
        "decode + 4 perturbations",
        f"{len(paths) / s:.0f} images/s of {made_up.SIDE} x {made_up.SIDE}",
        {"images_per_s": len(paths) / s},
    )


def engine(args, paths, names, perturbations):
    """A function that runs the engine over one reference and its distorted images, loading of the weights aside."""
    model = build([args.backbones[0]], names, options(args))[0]
    loaded = model.load()
    model.loader = lambda _: loaded
    image = [ImageFile(p, made_up.SIDE, made_up.SIDE) for p in paths]
    pairs = [(distorted, image[0]) for distorted in image[1:]]
    plan = Plan(model, pairs, perturbations, None, args.batch_size or default_batch(args.device))

    def run():
        return list(score_plan(plan, lambda p, u: model.columns, workers=args.workers))

    return run, loaded, sum(plan.windows())


def pipeline(args):
    """One distance over a PIPAL-shaped reference and its distorted images,
    against bare forward passes and the naive path."""
    with tempfile.TemporaryDirectory() as folder:
        paths = made_up.images(Path(folder), args.distorted, args.images)
        run, features, windows = engine(args, paths, ["l2"], [("none", 0.0)])
        x = torch.rand(args.batch_size or default_batch(args.device), 3, 224, 224, device=args.device)

        def bare():
            with torch.inference_mode():
                for _ in range(-(-windows // len(x))):
                    features(x)

        def slow():
            naive.score(
                lambda w: features(w.to(args.device)).map(lambda t: t.cpu()).blocks, paths[1], paths[0], "l2", "none"
            )

        seconds = interleaved({"engine": run, "bare": bare, "naive": slow}, args.rounds, args.device)
    share = (windows / seconds["engine"]) / (len(x) * -(-windows // len(x)) / seconds["bare"])
    ratio = seconds["naive"] / (seconds["engine"] / args.distorted)
    yield (
        f"pipeline {args.backbones[0]} l2",
        f"{windows / seconds['engine']:.2f} windows/s, {args.distorted / seconds['engine']:.2f} pairs/s, "
        f"{share:.0%} of bare forward passes",
        {"share": share, "windows_per_s": windows / seconds["engine"]},
    )
    yield f"one distance ({args.backbones[0]} l2) against naive", f"{ratio:.2f} x", {"ratio": ratio}


def registering(args):
    """align() on one core of the CPU, in its time, on a photograph with noise under each perturbation, against scoring
    that pair by psnr and by the first backbone (its l2, in float32; no files are read); and what memory is kept after
    it."""
    import resource

    import cv2
    from PIL import Image

    from loaders import demo
    from robustness import PERTURBATIONS, perturb
    from scoring import Scorer
    from scoring.registration import align

    photograph = demo.photograph(*demo.PHOTOGRAPHS["coffee"])
    images = [Image.fromarray(p.clip(0, 255).astype(np.uint8)) for p in (photograph, demo.noise(photograph, 11, 0))]
    pairs = {
        name: (perturb(images[0], "reference", name, 1.0), perturb(images[1], "distorted", name, 1.0))
        for name in PERTURBATIONS
    }
    psnr = Scorer("psnr", device="cpu")
    backbone = Scorer(args.backbones[0], "l2", "cpu", options(args).weights, args.weights_dir, "fp32")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        with torch.inference_mode():
            seconds = interleaved(
                {name: partial(align, *pair) for name, pair in pairs.items()}
                | {"psnr": partial(psnr, *images), "backbone": partial(backbone, *images)},
                args.rounds,
                clock=time.process_time,
            )
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(20):
            for pair in pairs.values():
                align(*pair)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10
    finally:
        torch.set_num_threads(threads)
        cv2.setNumThreads(-1)
    each = [seconds[name] for name in pairs]
    mean = statistics.mean(each)
    of_psnr, of_backbone = mean / seconds["psnr"], mean / seconds["backbone"]
    yield (
        f"registration of {made_up.SIDE} x {made_up.SIDE}, one core",
        f"{mean:.3f} s a pair ({', '.join(f'{name} {s:.3f}' for name, s in zip(pairs, each))}), "
        f"{of_psnr:.0f} times a psnr pair, {of_backbone:.1%} of a {args.backbones[0]} pair; "
        f"{grown:.0f} MiB more after {20 * len(pairs)} pairs",
        {"seconds": mean, "of_psnr": of_psnr, "of_backbone": of_backbone, "mib": grown},
    )


def all_rows(args):
    """Five distances under four perturbations in one run, against the naive path."""
    names, perturbations = list(naive.DISTANCES), [("none", 0.0), ("tra", 1.0), ("sca", 1.0), ("rot", 1.0)]
    with tempfile.TemporaryDirectory() as folder:
        paths = made_up.images(Path(folder), args.distorted)
        run, features, _ = engine(args, paths, names, perturbations)

        def slow():
            for distance in names:
                for perturbation, _ in perturbations:
                    naive.score(
                        lambda w: features(w.to(args.device)).map(lambda t: t.cpu()).blocks,
                        paths[1],
                        paths[0],
                        distance,
                        perturbation,
                    )

        seconds = interleaved({"engine": run, "naive": slow}, max(1, args.rounds // 2), args.device)
    ratio = seconds["naive"] / (seconds["engine"] / args.distorted)
    yield (
        f"all rows of {args.backbones[0]} (5 distances, 4 perturbations) against naive",
        f"{ratio:.1f} x ({seconds['engine'] / args.distorted:.2f} s a pair)",
        {"ratio": ratio},
    )


def memory(args):
    """Peak memory of run.py (its largest process; on a CPU there is one) on `--pairs` pairs of PIPAL's shape, and on a
    tenth of them: flat where both are the same."""
    import resource

    peak, few = {}, max(1, args.pairs // 10)
    with tempfile.TemporaryDirectory() as folder:
        command = run_command(args, made_up.dataset(Path(folder), args.pairs))
        for pairs in (few, args.pairs):  # the larger run last: what is asked below is the most of all so far
            seconds = of_process([*command, str(Path(folder, str(pairs))), "--limit", str(pairs)])
            peak[pairs] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    yield (
        f"peak memory of {args.pairs} pairs",
        f"{peak[args.pairs]:.3f} GiB, {peak[few]:.3f} GiB of {few} pairs ({seconds:.0f} s)",
        {"gib": peak[args.pairs], "gib_of_a_tenth": peak[few], "seconds": seconds},
    )


def run_command(args, dataset):
    """The arguments of python that score a dataset, but for the folder of its results."""
    here = Path(__file__).parent
    return [
        *(str(here / "run.py"), "-dat", str(dataset), "-m", args.backbones[0], "-d", "l2"),
        *flags(args),
        "-sdir",
    ]


def ranks(args):
    """Two processes of one core each under torchrun, against one process on one core, loading included in both; and
    what no second process can halve: torchrun's own start, and what each process does up to its first pair."""
    with tempfile.TemporaryDirectory() as folder:
        command = run_command(args, made_up.dataset(Path(folder), args.pairs))
        torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29871"]

        def run(launcher=(), limit=args.pairs):
            with tempfile.TemporaryDirectory(dir=folder) as results:  # a run that finds its results has nothing to do
                of_process([*launcher, *command, results, "--limit", str(limit)], OMP_NUM_THREADS="1")

        seconds = interleaved(
            {
                "one": run,
                "two": lambda: run(torchrun),
                "torchrun": lambda: of_process([*torchrun, "--no-python", "true"]),
                "first": lambda: run(limit=1),
            },
            max(1, args.rounds // 2),
        )
    ratio = seconds["two"] / seconds["one"]
    rest = (seconds["two"] - seconds["torchrun"] - seconds["first"]) / (seconds["one"] - seconds["first"])
    yield (
        f"two ranks, a core each, against one, {args.pairs} pairs",
        f"{ratio:.0%} of its time ({seconds['two']:.0f} s, {seconds['one']:.0f} s); torchrun starts in "
        f"{seconds['torchrun']:.1f} s, a process gets to its first score in {seconds['first']:.1f} s, and of the rest "
        f"two take {rest:.0%}",
        {"ratio": ratio, "rest": rest} | seconds,
    )


def startup(args):
    """run_single_img.py: psnr and msssim above `import torch`;
    a backbone above its imports, weights and windows, each timed alone."""
    here, name = Path(__file__).parent, args.backbones[0]
    model = build([name], ["l2"], options(args))[0]
    loaded, x = {}, torch.rand(made_up.WINDOWS, 3, 224, 224, device=args.device)

    def windows():
        with torch.inference_mode():
            model.compare(loaded["features"](x), loaded["features"](x), model.columns)[0].sum().item()

    with tempfile.TemporaryDirectory() as folder:
        a, b = made_up.images(Path(folder), 1)
        single = [str(here / "run_single_img.py"), "-ref", a, "-dis", b, "-m"]
        seconds = interleaved(
            {
                "torch": lambda: of_process(["-c", "import torch"]),
                "metrics": lambda: of_process([*single, "psnr", "msssim", "--device", "cpu"]),
                "imports": lambda: of_process(["-c", "import torch, timm"]),
                "weights": lambda: loaded.update(features=model.load()),
                "windows": windows,
                "backbone": lambda: of_process([*single, name, "-d", "l2", *flags(args)]),
            },
            args.rounds,
            args.device,
        )
    above = seconds["metrics"] - seconds["torch"]
    yield (
        "run_single_img.py psnr msssim",
        f"{above:.2f} s above import torch ({seconds['torch']:.2f} s)",
        {"seconds": above},
    )
    parts = {part: seconds[part] for part in ("imports", "weights", "windows")}
    over = seconds["backbone"] / sum(parts.values()) - 1
    yield (
        f"run_single_img.py {name} l2",
        f"{seconds['backbone']:.2f} s, {over:+.0%} over " + ", ".join(f"{part} {s:.2f}" for part, s in parts.items()),
        {"seconds": seconds["backbone"], "over": over} | parts,
    )


SECTIONS = {
    "forward": forward,
    "variants": each_variant,
    "distances": each_distance,
    "images": images,
    "pipeline": pipeline,
    "naive": all_rows,
    "registration": registering,
    "memory": memory,
    "ranks": ranks,
    "startup": startup,
    "tables": lambda args: speed.reading(args.rounds, args.scores),
    "compare": lambda args: speed.comparing(),
    "fuse": lambda args: speed.searching(args.methods),
}


def main(argv):
    parser = Parser(__doc__)
    parser.add_argument("--only", nargs="+", default=list(SECTIONS), metavar="SECTION", help=" ".join(SECTIONS))
    parser.add_argument("--backbones", nargs="+", default=["dinov1"], metavar="NAME")
    parser.add_argument("--weights-dir", metavar="DIR", help="load these weights instead of random ones: for startup")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", choices=("fp32", "tf32", "fp16", "bf16"), default="fp32")
    parser.add_argument(
        "--batches", nargs="+", type=positive, default=[1, 4, 8, 16], help="batch sizes of bare forward passes"
    )
    parser.add_argument("--batch-size", type=positive, help="of the engine (default: run.py's)")
    parser.add_argument("--workers", type=processes, default=0)
    parser.add_argument("--images", choices=("bmp", "png"), default="bmp", help="of the pipeline")
    parser.add_argument("--distorted", type=positive, default=20, help="distorted images a reference")
    parser.add_argument("--pairs", type=positive, default=80, help="of the memory and ranks sections")
    parser.add_argument(
        "--scores", metavar="DIR", help="of the tables section: a folder of score files (default: made up)"
    )
    parser.add_argument("--methods", type=positive, default=41, help="of the fuse section")
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args(argv)
    for name in args.only:
        if name not in SECTIONS:
            raise unknown("section", name, SECTIONS)
    args.device = pick_device(args.device)
    if args.device == "cpu":
        keep_memory()  # for all that is timed in here, as in a run
    results = {}
    for name in args.only:
        for what, text, numbers in SECTIONS[name](args):
            results[what] = numbers
            if not args.json:
                print(f"{what:50} {text}", flush=True)
    if args.json:
        print(
            json.dumps(
                {
                    "torch": torch.__version__,
                    "device": args.device,
                    "precision": args.precision,
                    "threads": torch.get_num_threads(),
                    "results": results,
                },
                indent=1,
            )
        )


if __name__ == "__main__":
    run_main(main)
