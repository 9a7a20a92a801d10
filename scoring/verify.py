"""Recompute some pairs of finished score files and compare: is what stands in them still what this program computes?

    python run.py --verify 5 results/*.csv --data-root data --weights-dir weights

N pairs a file, drawn at random with a fixed seed, are scored again from what the JSON beside the file says. A changed
dataset or weight file is noticed by its sha256 before anything is scored. A score agrees within a relative 1e-4, or 2 %
where it was computed in 16 bits or TF32; the share is never taken of less than a hundredth of the file's largest score,
for a score that is 1 minus something has no digits left near zero. docs/reproducibility.md says what this promises
between two machines.

Prints one line a file. Exit code 1 if any differs, 2 if any can't be verified. A CSV dataset is named by -dat FILE.csv,
one's own metric by -m FILE.py:FUNCTION. --verify 0 scores nothing: it only looks whether the rows are those that were
written.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import datasets
from common import images
from common.errors import UsageError, WorkError, one_line
from common.terminal import progress
from loaders import lists
from methods import fused, metrics
from methods.build import build, factor, models_name, with_columns
from methods.model import ALIGNED, PROTOCOLS, Options
from models import PRECISIONS, backbone
from robustness import PERTURBATIONS
from scorefiles import write
from scorefiles.read import Altered, Unusable, beside, is_companion, of_noise_floor, of_random_weights, read
from scoring import experiment, fused_files
from scoring.engine import score_plan
from scoring.plan import default_batch
from scoring.settings import Run
from scoring.tolerance import COARSE, FINE, relative

SEED = 0
STEP = 3e-7  # a step or two of s in float32, in scores log(s + 1)^0.25 (METHOD.md section 6)
KNOWN = {"perturbation": tuple(PERTURBATIONS), "precision": PRECISIONS, "protocol": PROTOCOLS}


class Differs(Exception):
    """What a file holds is not what this program computes now; the text says where."""


def score_files(
    files: Iterable[Path | str],
    pairs: int,
    *,
    methods: Sequence[str] = (),
    datasets: Sequence[str] = (),
    data_root: str | None = None,
    weights_dir: str | None = None,
    device: str = "cpu",
) -> Iterator[tuple[Path, str, int]]:
    """Recompute `pairs` random pairs of each finished score file -> yields (path, what is said of it, exit code).

    methods: one's own metrics (FILE.py:FUNCTION); datasets: CSV datasets (FILE.csv). Exit code 0: it agrees; 1: it
    differs or the work failed; 2: it cannot be verified. Raises UsageError where there is no file to verify.
    """
    paths = [path for path in map(Path, files) if path.name != "correlations.csv" and not is_companion(path)]
    if not paths:
        raise UsageError(
            "--verify: expected one or more finished score files, such as results/*.csv, before -dat and -m"
        )
    where = Where(tuple(methods), tuple(datasets), data_root or Run().data_root, weights_dir, device)
    with progress(len(paths), "file", "verifying") as bar:
        for path in paths:
            try:
                yield path, f"agrees, {verify(path, pairs, where)}", 0
            except Differs as error:
                yield path, f"DIFFERS: {one_line(error)}", 1
            except (UsageError, WorkError) as error:
                yield path, f"cannot be verified: {one_line(error)}", 2 if isinstance(error, UsageError) else 1
            bar.update()


@dataclass(frozen=True)
class Where:
    """Where things are that the JSON beside a score file cannot say; `loaded` keeps the datasets, each loaded once."""

    methods: tuple
    datasets: tuple
    data_root: str
    weights_dir: str | None
    device: str
    loaded: dict = field(default_factory=dict)


def verify(path, pairs, where):
    """Recompute `pairs` pairs of one file -> 'N of M pairs ...'; 0: only whether its rows are those that were written.
    Raises Differs, UsageError, WorkError."""
    try:
        file = read(path)
    except Altered as error:
        raise Differs(error.reason) from None
    if not file.document:
        raise UsageError(f"there is no {beside(path).name} beside it that says how it was made")
    if not pairs:
        if "rows_sha256" not in file.document:
            raise UsageError(f"{beside(path).name} is of an older version, without a digest of the rows")
        return f"{len(file.table)} rows as they were written"
    try:
        settings, environment = file.document["settings"], file.document["environment"]
        options = options_of(settings, of_random_weights(file.document), where.weights_dir, where.device)
        models, combine = recipe(settings, where.methods, options)
        perturbation, left_out = (settings["perturbation"], float(settings["pct"])), list(settings.get("left_out", ()))
        for key, known in KNOWN.items():
            if settings[key] not in known:
                raise ValueError(f"{key} {settings[key]!r}")
        if settings["resizeHW"] is not None and not 0 < int(settings["resizeHW"]):
            raise ValueError(f"resizeHW {settings['resizeHW']!r}")
        run = Run(perturbations=(perturbation,), resizeHW=settings["resizeHW"])
        batch = int(environment.get("batch_size") or default_batch(where.device))
        dataset = dataset_of(settings["dataset"], file.document, where)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        cause = f"{type(error).__name__}: {one_line(error)}"
        raise UsageError(f"{beside(path)}: not a JSON of run.py's ({cause})") from None
    prepared = experiment.Prepared(dataset, [], {}, dict.fromkeys(left_out))
    compare_settings(file.document, models, prepared, perturbation, run)
    rows = rows_of(path, file.document, dataset)
    prepared.chosen = sorted(random.Random(SEED).sample(sorted(rows), min(pairs, len(rows))))
    prepared.sizes = images.check_all(
        dict.fromkeys(
            dataset.path(rel) for i in prepared.chosen for rel in (dataset.pairs[i].dis, dataset.pairs[i].ref)
        )
    )
    scores = {}
    for model in models:
        work, chosen = experiment.plan(model, prepared, run, batch)
        experiment.align(work, chosen, prepared, run)
        for _, unit, values in score_plan(work, lambda p, u, columns=model.columns: columns):
            for name, numbers in values.items():
                scores.setdefault(name, {}).update(zip([chosen[i] for i in unit], numbers))
    now = combine({name: [numbers[i] for i in prepared.chosen] for name, numbers in scores.items()})
    then = [list(map(float, rows[i][3:])) for i in prepared.chosen]
    names, largest = [dataset.pairs[i].dis for i in prepared.chosen], max(abs(float(row[3])) for row in rows.values())
    share = compare_scores(names, then, now, coarse(models), rooted(settings), largest)
    return f"{len(then)} of {len(rows)} pairs scored again, largest relative difference {share:.1g}"


# ---- from the JSON to what is to be computed


def options_of(settings, random, weights_dir, device):
    """Options from a file's settings; those of a fused file are its factors', of which metrics have no windows and
    embeddings no layers."""
    named = settings.get("factors", {"": settings})
    parts = named.values()
    # a factor named -aligned is aligned anyhow: what the run said is in the others, where there are any
    align = [p for name, p in named.items() if not name.endswith(ALIGNED)] or list(parts)
    windows = {
        key: part[key] for part in parts for key in ("normalize", "window", "stride", "per_layer") if key in part
    }
    layers = next((tuple(part["layers"]) for part in parts if part.get("layers") is not None), None)
    return Options(
        "random" if random else "pretrained",
        weights_dir,
        device,
        settings["precision"],
        settings["protocol"],
        layers=layers,
        align=align[0].get("align", "none"),
        **windows,
    )


def recipe(settings, methods, options):
    """-> (models, function {column: [scores of a pair]} -> [scores of a pair] of the file's own method)."""
    if "fused" in settings:
        fusion = fused.parse(settings["method"])
        models = with_columns([], fusion.factors, options)
        factors = fused_files.factors_of(fusion, [c for m in models for c in m.columns])

        def product(scores):
            of_factors = {f: [values[0] for values in scores[c.name]] for f, c in factors.items()}
            return fused_files.scores(fusion, factors, of_factors)[:, None]

        return models, product
    name = settings["method"]
    if settings["feature"] == "own":
        parts = [(method, *method.rpartition(":")) for method in methods]
        by_name = {f"{Path(file).stem}-{function}": method for method, file, _, function in parts}
        if name not in by_name:
            raise UsageError(f"{name} is one's own metric: name it by -m FILE.py:FUNCTION")
        name = by_name[name]
    [model] = build([name], [settings["distance"]] if settings["distance"] else [], options)
    return [model], lambda scores: scores[model.columns[0].name]


def dataset_of(name, document, where):
    """The dataset of that name, loaded once; a CSV dataset is the one of -dat that has it."""
    files = [path for path in where.datasets if lists.is_list(path)]
    lists_of_name = [path for path in files if lists.name_of(path, datasets.DATASETS) == name]
    if name not in datasets.DATASETS and not lists_of_name:
        raise UsageError(f"its dataset {name} is none of those known; name its file by -dat {name}.csv")
    key = name, "left_out" in document["settings"], of_noise_floor(document)
    if key not in where.loaded:
        run = Run(
            data_root=where.data_root,
            skip_bad=key[1],
            noise_floor=key[2],
            higher_is=document["label_higher_is"] if lists_of_name else None,
        )
        where.loaded[key] = experiment.load(lists_of_name[0] if lists_of_name else name, run)
    return where.loaded[key]


# ---- comparing


def compare_settings(document, models, prepared, perturbation, run):
    """Differs where the dataset, a weight file or anything else that decides the scores is not what the JSON says."""
    documents = {}
    for model in models:
        weights = model.files()
        for column in model.columns:
            documents[column.method, column.distance, column.align != "none"] = experiment.document_of(
                model, weights, column, prepared, perturbation, run
            )
    settings = document["settings"]
    parts = (
        {(*factor(name)[:2], "align" in part): part for name, part in settings["factors"].items()}
        if "factors" in settings
        else {key: settings for key in documents}
    )
    changes = [d for key, part in parts.items() for d in write.differences(part, documents[key]["settings"])]
    if changes:
        raise Differs(f"{'; '.join(changes[:3])}{'; ...' if len(changes) > 3 else ''}")


def rows_of(path, document, dataset):
    """{pair index: row}; Differs where the file's rows are not those of the dataset."""
    try:
        return write.Output(path.parent, path.name.removesuffix(".csv"), document, dataset.pairs).rows_of(path)
    except Unusable as error:
        raise Differs(error.reason) from None


def coarse(models):
    """Whether any of the models computes in fewer than float32's digits."""

    def half(model):
        precision, protocol = model.options.precision, model.options.protocol
        if precision == protocol == "paper" and model.columns[0].distance:
            return backbone(models_name(model)).half
        return precision not in ("paper", "fp32")

    return any(map(half, models))


def rooted(settings):
    """Whether the score is log(s + 1)^0.25 of an s that has float32's steps, which the root makes large near zero."""
    import distances

    if settings["distance"]:
        return distances.DISTANCES[settings["distance"]].columns is not None
    metric = metrics.METRICS.get(settings["method"])
    return metric is not None and getattr(metric.distance, "func", None) is metrics.distribution


def compare_scores(names, then, now, loose, steps, largest):
    """Largest relative difference of scores (then, now: a list a pair). Raises Differs naming the pair furthest off."""
    tolerance = COARSE if loose else FINE
    worst, wrong = 0.0, []  # (share, pair, text)
    for i, (old, new) in enumerate(zip(then, now)):
        for a, b in zip(old, map(float, new), strict=True):
            share = relative(a, b, largest)
            worst = max(worst, share)
            if share > tolerance and not (steps and abs(a**4 - b**4) <= STEP):
                wrong.append((share, i, f"{a:.9g} in the file, {b:.9g} now"))
    if wrong:
        _, i, text = max(wrong)
        raise Differs(f"{names[i]}: {text} ({len({i for _, i, _ in wrong})} of {len(names)} pairs)")
    return worst
