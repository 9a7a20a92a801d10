"""Pairs of image files -> scores, maps and predicted opinions: what run_single_img.py does, for a notebook too.

models, fusions = models_of(["psnr", "st_vgg16_l2"], [], Options())
scores = score_pairs([FilePair("original.png", "coded.jpg")], models, fusions)     # [{"psnr": ..., "st_vgg16_l2": ...}]
"""

from collections.abc import Sequence

from common import images
from common.terminal import progress
from methods.model import Model, known_by
from scorefiles.document import each_once
from scoring import fused_files
from scoring.engine import score_plan
from scoring.folders import FilePair
from scoring.plan import ImageFile, Plan, check_same_size, check_sizes, default_batch

PLAIN = [("none", 0.0)]


def checked(pairs, resizeHW=None):
    """[FilePair] -> [(distorted, reference)] as ImageFile, every file checked.
    Raises UsageError listing all that can't be read."""
    sizes = images.check_all(dict.fromkeys(path for pair in pairs for path in (pair.reference, pair.distorted)))
    side = (resizeHW,) * 2 if resizeHW else None
    return [
        tuple(ImageFile(path, *(side or sizes[path])) for path in (pair.distorted, pair.reference)) for pair in pairs
    ]


def score_pairs(
    pairs: list[FilePair],
    models: list[Model],
    fusions: Sequence = (),
    *,
    resizeHW: int | None = None,
    batch_size: int | None = None,
    shown: bool | None = None,
    aligned: list | None = None,
) -> list[dict]:
    """Scores of pairs of files -> [{column name: score}], in order, fused ones last.

    models, fusions: methods.options.models_of. resizeHW, batch_size: as run.py's flags. shown: a bar on stderr, None
    for one on a terminal and a line every 30 s elsewhere. aligned: what `registrations` gave for these pairs, where a
    model is scored aligned. Raises UsageError for files that cannot be read or do not fit a model, WorkError for a
    failure at work.
    """
    work, scores, plans = checked(pairs, resizeHW), [{} for _ in pairs], []
    for model in models:
        check_sizes(model, work, [pair.distorted for pair in pairs], PLAIN)
        batch = batch_size or default_batch(model.options.device)
        plans.append(Plan(model, work, PLAIN, resizeHW, batch, to_align(model, pairs, aligned, resizeHW)))
    for model, plan in zip(models, plans):
        with progress(sum(plan.windows()), "window" if model.window else "image", model.name, shown) as bar:
            for _, unit, values in score_plan(plan, lambda p, u, model=model: model.columns, bar):
                for column, numbers in values.items():
                    for i, v in zip(unit, numbers):
                        scores[i][column] = float(v[0])
    for name, (fusion, factors) in fused_files.columns_of(models, fusions)[1].items():
        values = {f: [of_pair[c.name] for of_pair in scores] for f, c in factors.items()}
        products = fused_files.scores(fusion, factors, values, lambda f, i: f"{pairs[i].distorted}: {f}")
        for of_pair, value in zip(scores, products):
            of_pair[name] = float(value)
    return scores


def registrations(
    pairs: Sequence[FilePair], mode: str | None, *, resizeHW: int | None = None, shown: bool | None = None
) -> list:
    """[FilePair] -> [registration.Registration], what --align finds of each pair of files.
    Raises UsageError and WorkError."""
    from scoring import aligning

    checked_pairs = checked(pairs, resizeHW)
    check_same_size(checked_pairs, [pair.distorted for pair in pairs])
    files = [(distorted.path, reference.path) for distorted, reference in checked_pairs]
    return [registration for [registration] in aligning.registrations(files, PLAIN, mode, resizeHW, shown=shown)]


def to_align(model, pairs, aligned, resizeHW):
    """Plan.aligned of a model: of the registrations that are there, or are made now, those that it is scored under."""
    from scoring import aligning

    mode = model.options.align
    if mode == "none":
        return {}
    registrations_of = aligned or registrations(pairs, mode, resizeHW=resizeHW)
    return {(i, PLAIN[0]): r for i, r in enumerate(registrations_of) if aligning.fits(r, model)}


def not_aligned(models: Sequence[Model], aligned: list) -> dict[str, list[str]]:
    """{name of a column that is scored aligned: why each of the pairs is left as it is, "" where it is not}, of what
    `registrations` gave."""
    from scoring import aligning

    return {
        column.name: [aligning.why_not(registration, model, column.method) for registration in aligned]
        for model in models
        for column in model.columns
        if column.align != "none"
    }


def map_pair(
    pair: FilePair,
    model: Model,
    *,
    resizeHW: int | None = None,
    batch_size: int | None = None,
    aligned: list | None = None,
) -> tuple:
    """Where a pair of files differs according to the model's one score -> (reference, distorted, maps.DistanceMap).

    Of the aligned pair, where the model is scored so (aligned: as in score_pairs). The images are uint8 (3, H, W)
    tensors as the model sees them. Raises UsageError, too, where the score has no map.
    """
    import torch

    from scoring import loading, maps

    maps.terms_of(model, model.columns[0])  # no map for this score: said before anything is loaded
    check_sizes(model, checked([pair], resizeHW), [pair.distorted], PLAIN)
    requests = [(pair.distorted, "distorted", PLAIN), (pair.reference, "reference", PLAIN)]
    device = model.options.device
    if to_undo := to_align(model, [pair], aligned, resizeHW):
        requests = [loading.AlignedPair(pair.distorted, pair.reference, PLAIN[0], to_undo[0, PLAIN[0]])]
        [(reference, distorted)] = loading.images_of(requests, resizeHW, model.short_side, torch.device(device), 0)
    else:
        (distorted,), (reference,) = loading.images_of(requests, resizeHW, model.short_side, torch.device(device), 0)
    batch = batch_size or default_batch(device)
    drawn = maps.distance_map(model, model.columns[0], distorted, reference, batch)
    return reference, distorted, drawn


def calibrations(
    paths: Sequence[str], models: Sequence[Model], fusions: Sequence = (), *, resizeHW: int | None = None
) -> dict:
    """{column name: calibrate.Calibration} fitted to finished score files of the same methods. Raises UsageError."""
    from scoring import calibrate

    settings = {}
    for model in models:
        of_model = (
            {
                "protocol": model.options.protocol,
                "precision": model.options.precision,
                "resizeHW": resizeHW,
                "weights": known_by(model.files()),
            }
            if paths
            else {}
        )
        settings |= {column.name: of_model for column in model.columns}
    for name, (_, factors) in fused_files.columns_of(models, fusions)[1].items() if paths else ():
        factor_settings = [settings[c.name] for c in factors.values()]
        settings[name] = factor_settings[0] | {"weights": each_once(s["weights"] for s in factor_settings)}
    fitted = [calibrate.calibration(path, list(settings), settings) for path in paths]
    return {c.column: c for c in fitted}


def predictions(scores: dict[str, float], opinions: dict) -> dict[str, object]:
    """{psnr_predicted_label: ..., _low, _high, _extrapolated} of the calibrated scores
    {column name: score} of one pair."""
    return {
        f"{column}_predicted_{what}": value
        for column, opinion in opinions.items()
        for what, value in opinion(scores[column]).items()
    }
