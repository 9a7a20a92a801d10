"""One experiment, run.py's middle part: a dataset and a model -> score files, and the table of correlations.

Images are loaded and checked before anything is scored; what is there is used; what is missing is scored and written unit
by unit (scorefiles/write.py), under a lock.
"""
import csv
import io
from dataclasses import dataclass, replace
from pathlib import Path

from agreement import correlations
import datasets
from common import images
from scorefiles import write
from scoring.engine import score_plan
from scoring.plan import ImageFile, Plan, check_sizes, default_batch, tiles
from common.errors import UsageError, WorkError, one_line
from common.terminal import progress, warn
from methods.model import known_by
from scorefiles.read import is_floor, stem

TABLE = ("dataset", "method", "perturbation", "pct", "plcc", "srcc", "krcc", "n", "expected", "file")


@dataclass
class Prepared:
    """A dataset whose images were found readable: the pairs to score, their image sizes, what was left out and why."""
    dataset: object
    chosen: list            # indices of the pairs to be scored now
    sizes: dict             # path -> (width, height)
    left_out: dict          # dis -> reason


@dataclass
class Row:
    """One line of the final table."""
    output: write.Output
    dataset: object
    column: object
    perturbation: tuple


def load(name, args):
    """The dataset; with --noise-floor its references, each against its own perturbed self."""
    higher_is = None if name in datasets.DATASETS else args.higher_is   # the registry knows its own
    dataset = datasets.load(name, args.data_root, higher_is, keep_missing=args.skip_bad)
    if args.noise_floor:
        own = [replace(p, dis=p.ref, label=0.0, std=None) for p in {p.ref: p for p in dataset.pairs}.values()]
        dataset = replace(dataset, pairs=own, expected=len(own), label="none (noise floor)")
    return dataset


def prepare(name, args):
    """Load a dataset and check every image of the pairs asked for (with --skip-bad of all, since what is left out is a setting,
    which --limit must not change). UsageError lists all that is missing or unreadable."""
    dataset = load(name, args)
    chosen = list(range(len(dataset.pairs)))[:args.limit]
    files = {i: [dataset.path(rel) for rel in (dataset.pairs[i].dis, dataset.pairs[i].ref)]
             for i in (range(len(dataset.pairs)) if args.skip_bad else chosen)}
    paths = dict.fromkeys(path for two in files.values() for path in two)
    sizes, bad = images.check_all(paths, skip_bad=True) if args.skip_bad else (images.check_all(paths), {})
    left_out = {dataset.pairs[i].dis: next(bad[p] for p in two if p in bad).replace(f"{dataset.root}/", "")
                for i, two in files.items() if any(p in bad for p in two)}
    chosen = [i for i in chosen if dataset.pairs[i].dis not in left_out]
    if left_out:
        warn(f"{dataset.name}: {len(left_out)} of {len(dataset.pairs)} pairs left out, first {next(iter(left_out.values()))}")
    if not chosen:
        raise UsageError(f"{dataset.root}: no pair of {dataset.name} can be scored")
    return Prepared(dataset, chosen, sizes, left_out)


def plan(model, prepared, asked, args, batch):
    """-> (Plan, indices of its pairs in the dataset): sizes checked, and only the shard's references where there is one."""
    dataset, chosen = prepared.dataset, prepared.chosen
    if args.shard:
        part, parts = args.shard
        references = list(dict.fromkeys(dataset.pairs[i].ref for i in chosen))
        mine = set(references[(part - 1) * len(references) // parts:part * len(references) // parts])
        chosen = [i for i in chosen if dataset.pairs[i].ref in mine]

    def image(rel):
        path = dataset.path(rel)
        return ImageFile(str(path), *((args.resizeHW,) * 2 if args.resizeHW else prepared.sizes[path]))
    pairs = [(image(dataset.pairs[i].dis), image(dataset.pairs[i].ref)) for i in chosen]
    check_sizes(model, pairs, [dataset.pairs[i].dis for i in chosen], asked)
    return Plan(model, pairs, asked, args.resizeHW, batch), chosen


def document(model, weights, column, prepared, perturbation, args):
    """What the JSON beside a score file holds, the environment aside (scorefiles.write.Output)."""
    o, dataset = model.options, prepared.dataset
    settings = {"scoring": write.SCORING, "dataset": dataset.name, "dataset_sha256": dataset.fingerprint,
                "method": column.method, "distance": column.distance, "feature": column.feature, "perturbation": perturbation[0],
                "pct": perturbation[1], "resizeHW": args.resizeHW, "protocol": o.protocol, "weights": known_by(weights), "precision": o.precision}
    if model.window:
        layers = None if o.layers is None or column.feature == "embedding" else list(o.layers)
        settings |= {"window": o.window, "stride": o.stride, "normalize": o.normalize, "layers": layers, "per_layer": o.per_layer}
    if prepared.left_out:
        settings["left_out"] = list(prepared.left_out)
    found = {"settings": settings, "label": dataset.label, "label_higher_is": dataset.higher_is, "note": model.note,
             "pred_higher_is": column.higher_is, "pairs_expected": dataset.expected}
    found |= {"weight_files": [w["file"] for w in weights if "file" in w]} if weights else {}
    return found | ({"left_out": prepared.left_out} if prepared.left_out else {})   # with the reasons


def open_outputs(model, weights, prepared, asked, args):
    """-> ({(column name, perturbation): Output}, batch size): the batch size asked for, else that of a partial file that is
    to be continued, else the device's default."""
    folder, found = Path(args.savedir), {}
    for column in model.columns:
        for perturbation in asked:
            name = stem(prepared.dataset.name, args.saveas or column.name, *perturbation, floor=args.noise_floor)
            found[column.name, perturbation] = write.Output(folder, name, document(model, weights, column, prepared, perturbation, args),
                                                              prepared.dataset.pairs, args.shard, model.options.layers)
    batch = args.batch_size or next((b for o in found.values() if not args.overwrite and (b := o.batch_begun())), None)
    return found, batch or default_batch(model.options.device)


def run(model, weights, prepared, asked, args):
    """Score what is not there yet of a model on a dataset -> [Row] for the report, the files still to be finished."""
    outputs, batch = open_outputs(model, weights, prepared, asked, args)
    work, chosen = plan(model, prepared, asked, args, batch)
    environment = write.environment(model, batch)
    for output in outputs.values():
        output.document["environment"] = environment
    rows = [Row(outputs[c.name, p], prepared.dataset, c, p) for c in model.columns for p in asked]
    if args.dry_run:
        return estimate(work, outputs, chosen, args)
    folder = Path(args.savedir)
    with write.locked(folder, [o.partial.name for o in outputs.values()]):
        with write.locked(folder, [o.final.name for o in outputs.values()]):   # nobody is just giving it its name
            for output in outputs.values():
                output.open(args.overwrite)
        wanted = unfinished(model, outputs, chosen)
        total = sum(work.windows(wanted))
        if total:
            what = "window" if model.window else "image"
            try:
                with progress(total, what, f"{prepared.dataset.name} {model.name}") as bar:
                    for perturbation, unit, values in score_plan(work, wanted, bar, workers(args, model)):
                        for name, numbers in values.items():
                            outputs[name, perturbation].append([chosen[i] for i in unit], numbers)
            except WorkError as error:
                raise WorkError(f"{error}; what was scored before is kept, start again to go on") from None
    return rows


def finish(rows, args):
    """Give the files of rows their names, those of which all is there."""
    with write.locked(Path(args.savedir), [row.output.final.name for row in rows]):
        for row in rows:
            row.output.finish()


def unfinished(model, outputs, chosen):
    """wanted(perturbation, unit) for scoring.score: the columns whose files lack a row of the unit."""
    return lambda perturbation, unit: [c for c in model.columns if not outputs[c.name, perturbation].has(chosen[i] for i in unit)]


def workers(args, model):
    """Processes that read images: none on a CPU, which is busy with the features; up to 8 beside a CUDA device."""
    import os
    if args.workers is not None:
        return args.workers
    return min(8, os.cpu_count() or 1) if model.options.device.startswith("cuda") else 0


def estimate(work, outputs, chosen, args):
    """--dry-run: print what would be computed, and the time it would take by a few timed batches. No file is touched."""
    import time

    import torch
    model = work.model
    for output in outputs.values():
        output.open(args.overwrite)
    todo = [(c, p) for c in model.columns for p in work.perturbations]
    references, distorted = work.windows(unfinished(model, outputs, chosen))
    line = f"{model.name}: {len(work.pairs)} pairs, {references + distorted} forward passes ({references} of references, " \
           f"{distorted} of distorted images), {len(todo)} score files of about {len(work.pairs) * 80 / 2**20:.2f} MiB"
    if references + distorted:
        first = work.pairs[0][0]
        tile = tiles(first.width, first.height, model)[0]
        n = work.batch if model.window else 1
        x = torch.rand(n, 3, *tile[2:], device=model.options.device)
        features, times = model.load(), []
        with torch.inference_mode():
            for _ in range(3):
                start = time.perf_counter()
                f = features(x)
                sum(v.sum() for v in model.compare(f, f, model.columns)).item()
                times.append(time.perf_counter() - start)
        seconds = min(times) / n * (references + distorted)
        line += f"; about {seconds / 3600:.1f} h" if seconds > 3600 else f"; about {seconds / 60:.1f} min"
    print(line + f" on {model.options.device}")
    return []


# ---- the table

def coefficients(row):
    """One line of correlations.csv as a dict; coefficients are '' where they are not defined (with the reason under 'why')."""
    output, doc = row.output, row.output.document
    sign = 1 if doc["label_higher_is"] == doc["pred_higher_is"] else -1
    pairs = [(sign * float(r[3]), float(r[2])) for r in (output.done[i] for i in sorted(output.done))]
    line = dict(zip(TABLE, (row.dataset.name, row.column.name, row.perturbation[0],
                            row.perturbation[1], "", "", "", len(pairs), doc["pairs_expected"],
                            output.final.name if output.complete else output.partial.name)))
    try:
        line |= correlations.coefficients(*zip(*pairs)) if pairs else {"why": "no pair scored yet"}
    except ValueError as error:
        line["why"] = str(error)
    return line


def report(rows, folder):
    """Print the table of these rows and merge them into correlations.csv; of noise floors, which have no label, the files."""
    if is_floor(rows[0].output.final):
        print("\n".join(f"noise floor: {row.output.final}" for row in rows))
        return
    lines = [coefficients(row) for row in rows]
    with write.locked(folder, ["correlations.csv"]):
        merge(lines, folder)
    print(text_table(lines))
    for note in dict.fromkeys(notes(rows, lines)):
        print(note)


def merge(lines, folder):
    """correlations.csv: these lines replace those of the same score file; lines of files that are gone leave."""
    path, kept = folder / "correlations.csv", {}
    if path.exists():
        try:
            with open(path, newline="", encoding="utf-8") as file:
                kept = {line["file"]: line for line in csv.DictReader(file) if line.get("file") and (folder / line["file"]).exists()}
        except (ValueError, csv.Error) as error:
            raise UsageError(f"{path}: not readable ({one_line(error)}); delete it, it is made anew") from None
    kept |= {line["file"]: line for line in lines if line["n"]}
    text = io.StringIO()
    writer = csv.DictWriter(text, TABLE, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(kept[name] for name in sorted(kept))
    write.write_atomically(path, text.getvalue())


def text_table(lines):
    heads = ("dataset", "method", "perturbation", "PLCC", "SRCC", "KRCC", "pairs")
    cells = [heads] + [(line["dataset"], line["method"], line["perturbation"] + (f" {line['pct']:g}" if line["pct"] else ""),
                        *(f"{line[k]:.3f}" if line[k] != "" else "-" for k in ("plcc", "srcc", "krcc")),
                        f"{line['n']}" if line["n"] == line["expected"] else f"{line['n']}/{line['expected']}") for line in lines]
    widths = [max(len(row[i]) for row in cells) for i in range(len(heads))]
    return "\n".join("  ".join(cell.ljust(w) if i < 3 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))).rstrip() for row in cells)


def notes(rows, lines):
    """What a reader of the table must know."""
    for row in rows:
        yield f"{row.dataset.name}: label is {row.dataset.label}; positive coefficients agree with it"
        if any(w["name"] == "random" for w in row.output.document["settings"]["weights"]):
            yield f"{row.column.name}: random weights, for trying things out: these numbers mean nothing"
        if row.output.document["settings"].get("left_out"):
            yield f"{row.dataset.name}: {len(row.output.document['settings']['left_out'])} pairs left out (--skip-bad), named in the JSON"
        if row.output.document["note"]:
            yield f"{row.column.name}: {row.output.document['note']}"
    if any(line["n"] < line["expected"] for line in lines):
        yield "n/N: only n of N pairs are scored; such a file is never taken for that of the whole dataset"
    for line in lines:
        if line.get("why"):
            yield f"{line['file']}: no coefficients: {line['why']}"
