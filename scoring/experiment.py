"""One experiment: datasets and models -> score files, and the table of correlations.
run.py and score_dataset only call `execute`.

Images are loaded and checked before anything is scored; what is there is used; what is missing is scored and written
unit by unit (scorefiles/write.py), under a lock.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import datasets
from common import images, torchrun
from common.errors import UsageError, WorkError, one_line
from common.terminal import progress, warn
from common.text import count
from methods.fused import Fused
from methods.model import AUTO, Model, known_by
from scorefiles import write
from scorefiles.document import document
from scorefiles.read import stem
from scoring import aligning, fused_files, precision
from scoring.aligning import fits
from scoring.engine import score_plan
from scoring.plan import ImageFile, Plan, check_sizes, default_batch, tiles
from scoring.registration import VERSION
from scoring.settings import Prepared, Run, TableRow
from scoring.table import TABLE, Printer, check_ours, columns_to_come, correlate, notes


def load(name, run):
    """The dataset; with --noise-floor its references, each against its own perturbed self."""
    higher_is = None if name in datasets.DATASETS else run.higher_is  # the registry knows its own
    dataset = datasets.load(name, run.data_root, higher_is, keep_missing=run.skip_bad)
    if run.noise_floor:
        references = [replace(p, dis=p.ref, label=0.0, std=None) for p in {p.ref: p for p in dataset.pairs}.values()]
        dataset = replace(dataset, pairs=references, expected=len(references), label="none (noise floor)", spread=None)
    return dataset


def prepare(name, run):
    """Load a dataset and check every image of the pairs asked for (with --skip-bad of all, since what is left out is a
    setting, which --limit must not change). UsageError lists all that is missing or unreadable."""
    dataset = load(name, run)
    chosen = list(range(len(dataset.pairs)))[: run.limit]
    files = {
        i: [dataset.path(rel) for rel in (dataset.pairs[i].dis, dataset.pairs[i].ref)]
        for i in (range(len(dataset.pairs)) if run.skip_bad else chosen)
    }
    paths = dict.fromkeys(path for two in files.values() for path in two)
    sizes, bad = images.check_all(paths, skip_bad=True) if run.skip_bad else (images.check_all(paths), {})
    left_out = {
        dataset.pairs[i].dis: next(bad[p] for p in two if p in bad).replace(f"{dataset.root}/", "")
        for i, two in files.items()
        if any(p in bad for p in two)
    }
    chosen = [i for i in chosen if dataset.pairs[i].dis not in left_out]
    if left_out:
        warn(
            f"{dataset.name}: {len(left_out)} of {len(dataset.pairs)} pairs left out, first "
            f"{next(iter(left_out.values()))}"
        )
    if not chosen:
        raise UsageError(f"{dataset.root}: no pair of {dataset.name} can be scored")
    return Prepared(dataset, chosen, sizes, left_out)


def plan(model, prepared, run, batch):
    """-> (Plan, indices of its pairs in the dataset): sizes checked, and only the shard's references where there is
    one; nothing is aligned yet (`align`)."""
    dataset, chosen = prepared.dataset, prepared.chosen
    if run.shard:
        part, parts = run.shard
        references = list(dict.fromkeys(dataset.pairs[i].ref for i in chosen))
        references_of_part = set(references[(part - 1) * len(references) // parts : part * len(references) // parts])
        chosen = [i for i in chosen if dataset.pairs[i].ref in references_of_part]

    def image(rel):
        path = dataset.path(rel)
        return ImageFile(str(path), *((run.resizeHW,) * 2 if run.resizeHW else prepared.sizes[path]))

    pairs = [(image(dataset.pairs[i].dis), image(dataset.pairs[i].ref)) for i in chosen]
    check_sizes(model, pairs, [dataset.pairs[i].dis for i in chosen], run.perturbations)
    return Plan(model, pairs, list(run.perturbations), run.resizeHW, batch), chosen


def align(work, chosen, prepared, run, folder=None):
    """Enter in a plan of the pairs `chosen` what is undone before they are scored; it is kept in the folder."""
    registered = registrations(work.model, prepared, chosen, run, folder)
    work.aligned = {
        (k, p): r
        for k, i in enumerate(chosen)
        for p in run.perturbations
        if fits(r := registered.get((i, p)), work.model)
    }


def registrations(model, prepared, chosen, run, folder):
    """{(pair index, perturbation): Registration} of a model that is scored aligned, else {}."""
    mode = model.options.align
    if mode == "none":
        return {}
    return aligning.of_pairs(
        prepared.dataset,
        chosen,
        run.perturbations,
        mode,
        resize=run.resizeHW,
        workers=workers(run, model),
        shown=run.progress,
        folder=folder,
        shard=run.shard,
    )


def document_of(model, weights, column, prepared, perturbation, run):
    """What the JSON beside a score file holds, the environment aside (scorefiles.write.Output)."""
    o, dataset = model.options, prepared.dataset
    settings = {
        "scoring": write.SCORING,
        "dataset": dataset.name,
        "dataset_sha256": dataset.fingerprint,
        "method": column.method,
        "distance": column.distance,
        "feature": column.feature,
        "perturbation": perturbation[0],
        "pct": perturbation[1],
        "resizeHW": run.resizeHW,
        "protocol": o.protocol,
        "weights": known_by(weights),
        "precision": o.precision,
    }
    if column.distance:  # of a backbone
        layers = None if o.layers is None or column.feature == "embedding" else list(o.layers)
        settings |= {
            "window": o.window,
            "stride": o.stride,
            "normalize": o.normalize,
            "layers": layers,
            "per_layer": o.per_layer,
        }
    if column.align != "none":
        settings |= {"align": column.align, "registration": VERSION}
    if prepared.left_out:
        settings["left_out"] = list(prepared.left_out)
    more = {"weight_files": [w["file"] for w in weights if "file" in w]} if weights else {}
    more |= {"left_out": prepared.left_out} if prepared.left_out else {}  # with the reasons
    return document(
        settings,
        label=dataset.label,
        label_higher_is=dataset.higher_is,
        label_spread=dataset.spread.document if dataset.spread else None,
        pred_higher_is=column.higher_is,
        pairs_expected=dataset.expected,
        random_weights=model.random,
        noise_floor=run.noise_floor,
        note=model.note,
        **more,
    )


def settled(model, prepared, run):
    """The model in the precision that --precision auto takes on this dataset; itself where another was asked for."""
    if model.options.precision != AUTO:
        return model
    batch = run.batch_size or default_batch(model.options.device)
    begun = precision.of_files(model, prepared, run)
    return precision.settled(model, begun, lambda usual: plan(usual, prepared, run, batch)[0])


def open_outputs(model, weights, prepared, run: Run):
    """-> ({(column name, perturbation): Output}, batch size): the batch size asked for, else that of a partial file
    that is to be continued, else the device's default."""
    folder, outputs = Path(run.savedir), {}
    for column in model.columns:
        for perturbation in run.perturbations:
            name = stem(prepared.dataset.name, run.saveas or column.name, *perturbation, floor=run.noise_floor)
            outputs[column.name, perturbation] = write.Output(
                folder,
                name,
                document_of(model, weights, column, prepared, perturbation, run),
                prepared.dataset.pairs,
                run.shard,
                model.options.layers,
            )
    batch = run.batch_size or next((b for o in outputs.values() if not run.overwrite and (b := o.batch_begun())), None)
    batch = batch or default_batch(model.options.device)
    environment = write.environment(model, batch)
    for output in outputs.values():
        output.document["environment"] = environment
    return outputs, batch


def score(model, weights, prepared, run):
    """Score what is not there yet of a model on a dataset -> [TableRow] for the report,
    the files still to be finished."""
    outputs, batch = open_outputs(model, weights, prepared, run)
    work, chosen = plan(model, prepared, run, batch)
    rows = [TableRow(outputs[c.name, p], prepared.dataset, c, p) for c in model.columns for p in run.perturbations]
    folder = Path(run.savedir)
    with write.locked(folder, [o.partial.name for o in outputs.values()]):
        with write.locked(folder, [o.final.name for o in outputs.values()]):  # nobody is just giving it its name
            for output in outputs.values():
                output.open(run.overwrite)
        wanted = unfinished(model, outputs, chosen)
        if not all(output.has(chosen) for output in outputs.values()):
            align(work, chosen, prepared, run, folder)
        total = sum(work.windows(wanted))
        if total:
            what = "window" if model.window else "image"
            try:
                with progress(total, what, f"{prepared.dataset.name} {model.name}", run.progress) as bar:
                    for perturbation, unit, values in score_plan(work, wanted, bar, workers(run, model)):
                        for name, numbers in values.items():
                            outputs[name, perturbation].append([chosen[i] for i in unit], numbers)
            except WorkError as error:
                raise WorkError(f"{error}; what was scored before is kept, start again to go on") from None
    return rows


@dataclass(frozen=True)
class Result:
    """What a run gives. `lines` is its table, a dict a score file with the columns TABLE;
    of noise floors, which have no label, []."""

    rows: list
    lines: list
    missing: list  # [(what, why)]: with keep_going, what could not be had
    estimates: list  # with dry_run, a line a model and dataset, and one in all

    @property
    def files(self):
        """Paths of the finished score files."""
        return [row.output.final for row in self.rows if row.output.complete]

    @property
    def table(self):
        """The lines as a pandas.DataFrame: a row a score file with plcc, srcc, krcc (NaN where they are not defined),
        n, file."""
        import pandas as pd

        table = pd.DataFrame(self.lines, columns=TABLE)
        for name in ("plcc", "srcc", "krcc"):
            table[name] = pd.to_numeric(table[name]).astype(float)  # "", not defined, becomes NaN
        return table

    @property
    def notes(self):
        """What a reader of the table must know, a sentence each."""
        return list(dict.fromkeys(notes(self.rows, self.lines)))


def execute(
    names: Sequence[str],
    models: Sequence[Model],
    fusions: Sequence[Fused],
    run: Run,
    say: Callable[[str], None] | None = None,
) -> Result:
    """Score datasets with models and fused metrics -> Result. The one way that run.py and score_dataset take.

    names: datasets, of the registry or CSV files; models, fusions: methods.options.models_of. Raises UsageError and
    WorkError; with run.keep_going what fails is remembered as missing instead. Under torchrun each process takes a
    shard of the references, and only the first has the whole Result. say: called with each line of the table, as text,
    as soon as it is finished.
    """
    missing = []

    def attempt(what, function, *arguments):
        """Its result; with keep_going None, remembered as missing, when it fails."""
        try:
            return function(*arguments)
        except (UsageError, WorkError) as error:
            if not run.keep_going:
                raise
            missing.append((what, one_line(error)))

    rank, ranks = torchrun.world()
    if ranks > 1 and run.shard:
        raise UsageError("--shard: torchrun makes the shards itself; leave one of the two out")
    if ranks > 1:
        run = replace(run, shard=(rank + 1, ranks))
    if run.shard and any(model.options.precision == AUTO for model in models):
        raise UsageError("--precision auto: the shards of a run must be of one precision; name it")
    if run.saveas and sum(len(model.columns) for model in models) != 1:
        raise UsageError("-s/--saveas names one file: use it with one method and one distance")
    check_ours(Path(run.savedir))
    weights = [(model, attempt(asked_as(model), model.files)) for model in models]
    models = [(model, files) for model, files in weights if files is not None]
    prepared_sets = [prepared for name in names if (prepared := attempt(name, prepare, name, run))]
    rows, lines, estimates = [], [], []
    columns = columns_to_come([model for model, _ in models], fusions)
    printer = Printer(say or (lambda text: None), prepared_sets, columns, run)

    def report(done):
        if done and torchrun.first() and not run.noise_floor:
            lines.extend(correlate(done, Path(run.savedir)))
            printer.show(lines[-len(done) :])

    for prepared in prepared_sets:
        for model, files in models:
            name = f"{asked_as(model)} on {prepared.dataset.name}"
            model = attempt(name, settled, model, prepared, run)
            if model is None:
                continue
            if run.dry_run:
                estimates.append(attempt(name, estimate, model, files, prepared, run))
                continue
            done = attempt(name, score, model, files, prepared, run) or []
            torchrun.barrier()  # the other processes' shards are written, or given up
            if done and torchrun.first():
                attempt(name, finish, done, run)
                attempt(name, write_companions, model, done, prepared, run)
            report(done)
            rows += done
        for fusion in fusions if torchrun.first() and not run.dry_run else ():
            name = f"{fusion.name} on {prepared.dataset.name}"
            done = attempt(name, fused_files.of_run, fusion, rows, prepared, run) or []
            report(done)
            rows += done
    estimates = [estimated for estimated in estimates if estimated]
    texts = [text for text, _ in estimates]
    if len(estimates) > 1:
        texts.append(f"in all {about(sum(seconds for _, seconds in estimates))}")
    return Result(rows, lines, torchrun.together(missing), texts)


def asked_as(model):
    """The methods of a model, as they were asked for."""
    return ", ".join(dict.fromkeys(column.method for column in model.columns))


def finish(rows, run):
    """Give the files of rows their names, those of which all is there."""
    with write.locked(Path(run.savedir), [row.output.final.name for row in rows]):
        for row in rows:
            row.output.finish()


def write_companions(model, rows, prepared, run):
    """Beside each finished score file that was aligned what was done to each of its pairs (aligning.py)."""
    for row in rows:
        output = row.output
        if row.column.align == "none" or not output.complete or aligning.is_there(output.final):
            continue
        whole = replace(run, perturbations=(row.perturbation,), shard=None)
        registered = registrations(model, prepared, sorted(output.needed), whole, Path(run.savedir))
        of_pair = {i: registration for (i, _), registration in registered.items()}
        aligning.write_companion(
            output.final, prepared.dataset, sorted(output.needed), of_pair, model, row.column.method
        )


def unfinished(model, outputs, chosen):
    """wanted(perturbation, unit) for scoring.score: the columns whose files lack a row of the unit."""
    return lambda perturbation, unit: [
        c for c in model.columns if not outputs[c.name, perturbation].has(chosen[i] for i in unit)
    ]


def workers(run, model):
    """Processes that read images: none on a CPU, which is busy with the features; up to 8 beside a CUDA device."""
    if run.workers is not None:
        return run.workers
    return min(8, os.cpu_count() or 1) if model.options.device.startswith("cuda") else 0


def estimate(model, weights, prepared, run):
    """--dry-run: a line on what would be computed, and the seconds it would take by a few timed batches.
    No file is touched."""
    import time

    import torch

    outputs, batch = open_outputs(model, weights, prepared, run)
    work, chosen = plan(model, prepared, run, batch)
    for output in outputs.values():
        output.open(run.overwrite)
    references, distorted = work.windows(unfinished(model, outputs, chosen))
    if not references + distorted:
        there = count(len(outputs), "score file holds", "score files hold")
        return f"{model.name}: nothing to compute: {there} all of {count(len(work.pairs), 'pair')}", 0.0
    todo = sum(not output.has(chosen) for output in outputs.values())
    network = model.weights or model.window or model.carried
    what = ("forward pass", "forward passes") if network else ("image to look at", "images to look at")
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
    line = (
        f"{model.name}: {count(len(work.pairs), 'pair')}, {count(references + distorted, *what)} "
        f"({references} of references, {distorted} of distorted images), {count(todo, 'score file')} of about "
        f"{megabytes(len(work.pairs) * 80)}; {about(seconds)} on {model.options.device}"
    )
    return line, seconds


def megabytes(n):
    return f"{n / 1e6:.1f} MB" if n >= 1e6 else f"{max(1, round(n / 1e3))} kB"


def about(seconds):
    return f"about {seconds / 3600:.1f} h" if seconds > 3600 else f"about {seconds / 60:.1f} min"
