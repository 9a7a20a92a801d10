"""Does this run on a GPU as on a CPU, and how fast? The parts of scripts/gpu.sh, in the order of PARTS.

Each part yields (what, text, numbers); numbers["ok"] is False where a check did not hold. A part is small enough to be
run on a CPU: --rehearse runs them all there, and writes no file. What is measured is measured by bench.py.
"""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from common.terminal import need  # noqa: E402

if __name__ == "__main__":
    need("torch")  # before the imports that fail without

import torch  # noqa: E402

import distances  # noqa: E402
import models  # noqa: E402
from common.errors import UsageError, WorkError  # noqa: E402
from common.terminal import Parser, run_main  # noqa: E402
from methods.metrics import METRICS  # noqa: E402
from scoring import score_dataset  # noqa: E402
from scoring.tolerance import COARSE, FINE  # noqa: E402

GOLDEN = ROOT / "tests" / "golden" / "demo.csv"
GOALS = {  # of bench.py's measurements, by the beginning of their names: which number, the least it should be, in words
    "forward": ("share", 0.6, "60 % of the matrix rate"),
    "pipeline": ("share", 0.9, "90 % of bare forward passes"),
    "one distance": ("ratio", 10, "10 times naive"),
}
MINUTES = 8  # after which nothing more is begun
SMALL = "timm:test_vit.r160_in1k"  # stands for every transformer in a rehearsal


def scores(args, methods, names, limit=2, perturbations=("none",), device=None, **flags):
    """{(column, perturbation, distorted image): score} of the first pairs of demo."""
    with tempfile.TemporaryDirectory() as folder:
        weights = {"weights_dir": args.weights_dir} if args.weights_dir else {"weights": "random"}
        result = score_dataset(
            "demo",
            methods=methods,
            distances=names,
            perturbations=perturbations,
            limit=limit,
            device=device or args.device,
            savedir=folder,
            progress=False,
            **(weights | {"precision": "fp32"} | flags),
        )
        values = {}
        for row in result.rows:
            for line in row.output.done.values():
                values[row.column.name, row.perturbation[0], line[0]] = float(line[3])
        return values


def worst(one, other):
    """The largest relative difference of two dicts of scores of the same keys, and where it is."""
    if one.keys() != other.keys():
        raise WorkError(f"expected the same scores twice, found {sorted(one.keys() ^ other.keys())[:3]} once")
    # of .01 at least: many columns have a single score here, and so no largest (scoring/tolerance.py) to go by
    gaps = {key: abs(one[key] - other[key]) / max(abs(one[key]), abs(other[key]), 1e-2) for key in one}
    key = max(gaps, key=gaps.get)
    return gaps[key], " ".join(key)


def compared(what, one, other, limit):
    gap, where = worst(one, other)
    text = f"{len(one)} scores, the largest difference {gap:.1e} ({where}), expected {limit:g} at most"
    return what, text, {"ok": gap <= limit, "difference": gap, "scores": len(one)}


# ---- (a) the same scores


def golden(args):
    """Carried scores of a CPU; every backbone, distance, embedding and metric against a CPU here; CLIP in float16."""
    with open(GOLDEN, newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    carried = {(line["column"], line["perturbation"], line["dis"]): float(line["pred"]) for line in lines}
    methods = ["psnr", "msssim", "fsim", "stlpips_alex", "st_alexnet"]
    computed = scores(args, methods, ["l2", "cos"], limit=3, perturbations=("none", "tra"))
    yield compared("carried scores", {key: computed[key] for key in carried}, carried, FINE)
    tokens = [name for name, entry in models.BACKBONES.items() if entry.kind == "tokens"]
    maps = [name for name, entry in models.BACKBONES.items() if entry.kind == "maps"]
    embedded = [f"embed_{name}" for name, entry in models.BACKBONES.items() if entry.embedding]
    metrics = list(METRICS)
    if args.rehearse:
        tokens, maps, embedded, metrics = [SMALL], ["st_alexnet"], [f"embed_{SMALL}"], ["psnr", "stlpips_alex", "vif"]
    kinds = {
        "transformers": (tokens, list(distances.DISTANCES)),
        "CNNs": (maps, distances.of_blocks()),
        "embeddings": (embedded, ["cos"]),
        "metrics": (metrics, []),
    }
    for kind, (methods, names) in kinds.items():
        on_device, on_cpu = (scores(args, methods, names, limit=1, device=device) for device in (args.device, "cpu"))
        yield compared(f"{kind} against the CPU", on_device, on_cpu, FINE)
    half = [SMALL] if args.rehearse else ["clip_vitb32", "clip_rn50"]
    precision = "fp16" if args.rehearse else "paper"
    on_device, on_cpu = (
        scores(args, half, ["l2", "cos"], limit=1, device=d, precision=precision) for d in (args.device, "cpu")
    )
    yield compared("float16 against the CPU", on_device, on_cpu, COARSE)


# ---- (b) out of memory


def memory(args):
    """A batch that memory does not hold is halved, and the scores stay. On a GPU the allocator is given 3 GiB."""
    from scoring import engine

    name = SMALL if args.rehearse else "dinov1"
    expected, warned = scores(args, [name], ["l2"], limit=6), []
    warn, pixels = engine.warn, engine.Engine.pixels
    engine.warn = warned.append
    try:
        if args.rehearse:  # the error is made by hand: a CPU's memory is not to be filled

            def of_few(self, images, batch):
                if len(batch) > 2:
                    raise torch.OutOfMemoryError("made by hand")
                return pixels(self, images, batch)

            engine.Engine.pixels = of_few
            computed = scores(args, [name], ["l2"], limit=6, batch_size=8)
        else:
            torch.cuda.empty_cache()
            total = torch.cuda.get_device_properties(args.device).total_memory
            torch.cuda.set_per_process_memory_fraction(3 * 2**30 / total)
            computed = scores(args, [name], ["l2"], limit=60, batch_size=512)
            computed = {key: computed[key] for key in expected}
    finally:
        engine.warn, engine.Engine.pixels = warn, pixels
        if not args.rehearse:
            torch.cuda.set_per_process_memory_fraction(1.0)
    what, text, numbers = compared("out of memory", computed, expected, FINE)
    text = f"{len(warned)} halvings ({warned[0] if warned else 'none'}); {text}"
    yield what, text, numbers | {"ok": numbers["ok"] and bool(warned), "halvings": len(warned)}


# ---- (c) killed and resumed


def resume(args):
    """kill -9 in the middle of a run, and the same command again, against an undisturbed run."""
    name = "st_alexnet" if args.rehearse else "st_vgg16"
    command = [
        sys.executable,
        ROOT / "run.py",
        "-dat",
        "demo",
        "-m",
        name,
        "-d",
        "l2",
        "--batch-size",
        "1",
        "--limit",
        "16",
    ]
    with tempfile.TemporaryDirectory() as folder:
        calls = {where: [*command, "--device", args.device, "-sdir", f"{folder}/{where}"] for where in ("a", "b")}
        process = subprocess.Popen(calls["a"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        rows = 0
        while process.poll() is None and not rows:
            rows = sum(len(path.read_text().splitlines()) - 1 for path in Path(folder).glob("a/*.csv.partial"))
            time.sleep(0.01)
        killed = process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        for call in calls.values():
            done = subprocess.run(call, capture_output=True, text=True)
            if done.returncode:
                raise WorkError(f"run.py failed: {done.stderr.strip()[-300:]}")
        [a], [b] = (list(Path(folder, w).glob("*.csv.partial")) for w in calls)  # --limit ends there
        same = a.read_bytes() == b.read_bytes()
    text = f"killed after {rows} rows, finished by a second call, " + ("the same bytes" if same else "OTHER BYTES")
    yield (
        "killed and resumed",
        text if killed else "NOT KILLED: it had ended before",
        {"ok": same and killed, "rows": rows},
    )


# ---- (d) how fast


def bench(args, *flags, wait=True):
    """bench.py's results as a dict, or the process where it is not waited for."""
    weights = ["--weights-dir", args.weights_dir] if args.weights_dir else []
    command = [sys.executable, ROOT / "bench.py", "--device", args.device, "--json", *weights, *flags]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return finished(process) if wait else process


def finished(process):
    out, err = process.communicate()
    if process.returncode:
        raise WorkError(f"bench.py failed: {err.strip()[-300:]}")
    return json.loads(out)["results"]


def shape(args):
    """bench.py's flags for the backbone that is measured, and how much of it."""
    if args.rehearse:
        return ["--backbones", SMALL, "--batches", "2", "--distorted", "2", "--rounds", "1"]
    return ["--backbones", "dinov1", "--batches", "16", "64", "128", "256", "--distorted", "40", "--rounds", "2"]


def speed(args):
    """Bare forward passes, the pipeline and naive.py, in each precision, and what the precision does to the scores."""
    name = SMALL if args.rehearse else "dinov1"
    exact = scores(args, [name], ["l2", "cos"], limit=2 if args.rehearse else 10)
    for precision in ("bf16",) if args.rehearse else ("fp32", "tf32", "fp16", "bf16"):
        flags = [*shape(args), "--precision", precision, "--workers", 2 if args.rehearse else 8]
        for what, numbers in bench(args, "--only", "forward", "pipeline", *flags).items():
            text = in_words(numbers)
            goal = "" if args.rehearse else f"; {against_goal(what, numbers)}"  # the goals are a GPU's
            yield f"{what} {precision}", text + goal, numbers
        gap, where = worst(
            scores(args, [name], ["l2", "cos"], limit=2 if args.rehearse else 10, precision=precision), exact
        )
        yield f"effect of {precision} on scores", f"{gap:.1e} at most ({where})", {"difference": gap}


def in_words(numbers):
    """'ratio 1.23, srcc 0.9998' of a measurement; of one that failed 'failed ...'."""
    return ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in numbers.items())


def against_goal(what, numbers):
    """'goal: 10 times naive, reached' of one of bench.py's measurements."""
    key, least, words = next(goal for begin, goal in GOALS.items() if what.startswith(begin))
    return f"goal: {words}, {'reached' if numbers[key] >= least else 'missed'}"


def variants(args):
    """The forward pass computed otherwise (bench.py): what it gains, and what it does to the scores."""
    for precision in ("fp32",) if args.rehearse else ("fp32", "fp16"):
        for what, numbers in bench(args, "--only", "variants", *shape(args), "--precision", precision).items():
            yield f"{what} {precision}", in_words(numbers), numbers


def readers(args):
    """Is reading images the limit? The pipeline with more and more processes that read, from BMP and from PNG."""
    for kind in ("png",) if args.rehearse else ("bmp", "png"):
        for workers in (2,) if args.rehearse else (0, 4, 8, 16):
            flags = [*shape(args), "--precision", "fp32" if args.rehearse else "fp16", "--workers", workers]
            results = bench(args, "--only", "pipeline", "--images", kind, *flags)
            numbers = next(numbers for what, numbers in results.items() if what.startswith("pipeline"))
            text = f"{numbers['windows_per_s']:.1f} windows/s, {numbers['share']:.0%} of bare forward passes"
            yield f"{workers} workers, {kind}", text, numbers


def two(args):
    """Two processes on one device at once, against one."""
    flags = ["--only", "pipeline", *shape(args)]
    one = next(iter(bench(args, *flags).values()))["windows_per_s"]
    both = [bench(args, *flags, wait=False) for _ in range(2)]
    together = sum(next(iter(finished(process).values()))["windows_per_s"] for process in both)
    yield "two processes at once", f"{together / one:.2f} times the windows/s of one", {"ratio": together / one}


PARTS = {
    "golden": golden,
    "memory": memory,
    "resume": resume,
    "speed": speed,
    "readers": readers,
    "two": two,
    "variants": variants,
}


def measured(args, end):
    """Yields (part, what, text, numbers) of the parts asked for, until the clock passes `end`."""
    for name in args.only:
        for what, text, numbers in PARTS[name](args):
            yield name, what, text, numbers
            if time.perf_counter() > end:
                yield name, "stopped", f"{MINUTES} minutes are over; what should follow is missing", {"ok": False}
                return


# ---- (e) what is kept


def machine(args):
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        flags = set(re.search(r"^flags\s*:(.*)$", file.read(), re.M)[1].split())
    sets = [name for name in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8") if name in flags]
    facts = {"torch": torch.__version__, "cores": os.cpu_count(), "instruction_sets": sets}
    if not args.rehearse:
        properties = torch.cuda.get_device_properties(args.device)
        facts |= {"device": properties.name, "memory_gib": round(properties.total_memory / 2**30, 1)}
        facts |= {"capability": f"{properties.major}.{properties.minor}", "cuda": torch.version.cuda}
    return facts


def keep(result, texts):
    """docs/gpu.json, and the table of docs/speed.md."""
    (ROOT / "docs" / "gpu.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    page = ROOT / "docs" / "speed.md"
    device = result["machine"]["device"]
    table = f"| on {device} | |\n|---|---|\n" + "".join(f"| {what} | {text} |\n" for what, text in texts.items())
    begin, end = "<!-- gpu.sh -->\n", "<!-- end of gpu.sh -->"
    before, after = page.read_text(encoding="utf-8").split(begin)
    page.write_text(before + begin + table + end + after.partition(end)[2], encoding="utf-8")


def main(argv):
    parser = Parser(__doc__)
    parser.add_argument("--weights-dir", metavar="DIR", help="weight files (default: seeded random weights)")
    parser.add_argument("--rehearse", action="store_true", help="on a CPU, with small networks; nothing is written")
    parser.add_argument(
        "--only", nargs="+", choices=tuple(PARTS), default=list(PARTS), help="default: all; else no file"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args(argv)
    args.device = "cpu" if args.rehearse else "cuda"
    if not args.rehearse and not torch.cuda.is_available():
        raise UsageError("no CUDA device here; --rehearse runs every part on a CPU with small networks")
    start, result, texts = time.perf_counter(), {"machine": machine(args), "parts": {}}, {}
    for name, what, text, numbers in measured(args, float("inf") if args.rehearse else start + 60 * MINUTES):
        result["parts"].setdefault(name, {})[what] = numbers
        texts[what] = text
        failed = "" if numbers.get("ok", True) else "FAILED "
        print(f"{time.perf_counter() - start:4.0f} s  {name:8} {failed}{what}: {text}", flush=True)
    if args.rehearse:
        print("A rehearsal on a CPU: nothing was measured on a GPU, and no file was written.")
    elif args.only == list(PARTS):
        keep(result, texts)
        print("written: docs/gpu.json and the table of docs/speed.md")
    failed = [what for part in result["parts"].values() for what, n in part.items() if not n.get("ok", True)]
    if failed:
        raise WorkError(f"did not hold: {', '.join(failed)}")


if __name__ == "__main__":
    run_main(main)
