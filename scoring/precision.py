"""run.py --precision auto: `paper`, or another precision that a timed trial found faster and near enough.

A backbone is loaded in each precision that is worth a trial on the device and scores the first pairs of the run in it.
A precision is taken where it is GAIN times as fast as `paper` and none of those scores lies further from `paper`'s than
what 16 bits are allowed (scoring/tolerance.py). Score files that are there already are continued in their precision.
What was seen is one line on stderr; the score files state the precision itself, never `auto`.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from common.errors import WorkError, one_line
from methods.build import models_name
from methods.model import Model
from models import backbone
from scorefiles.read import read_document, stem
from scoring.engine import score_plan
from scoring.plan import Plan, runs_of
from scoring.settings import Prepared, Run
from scoring.tolerance import COARSE, relative

USUAL = "paper"
TRIED = {"cpu": ("bf16",), "cuda": ("tf32", "fp16", "bf16")}  # and fp32, where `paper` is float16
GAIN = 1.2  # below it a timing says little, and paper's scores are those of the paper
BATCHES = 2  # batches of distorted images in a trial
ROUNDS = 2  # timed, after one that is not


@dataclass(frozen=True)
class Trial:
    """What a precision gave: the least seconds of a round, and its scores (all pairs, all columns); or why none."""

    seconds: float
    scores: tuple
    failed: str = ""


def settled(model: Model, begun: str | None, plan_of: Callable, clock: Callable = time.perf_counter) -> Model:
    """A model of the precision AUTO in the one that it is to be scored in.

    begun: the precision of its score files that are there (`of_files`). plan_of(model) -> the Plan of the run, of which
    the first pairs are tried. Metrics of the whole image have no precision: they stay with `paper`.
    """
    usual = in_precision(model, USUAL)
    if not model.columns[0].distance:
        return usual
    if begun:
        precision, why = begun, "as the score files that are there"
    else:
        precision, why = choice(trials(usual, plan_of(usual), clock))
    print(f"{model.name}: --precision auto: {precision}, {why}", file=sys.stderr, flush=True)
    return in_precision(model, precision)


def in_precision(model: Model, precision: str) -> Model:
    """The model with another precision; nothing is loaded."""
    return replace(model, options=replace(model.options, precision=precision))


def of_files(model: Model, prepared: Prepared, run: Run) -> str | None:
    """The precision of the run's first score file that is there, finished or not; None without one, or to overwrite."""
    for column in model.columns if not run.overwrite else ():
        for perturbation in run.perturbations:
            name = stem(prepared.dataset.name, run.saveas or column.name, *perturbation, floor=run.noise_floor)
            for ending in (".csv", ".csv.partial"):
                settings = read_document(Path(run.savedir, name + ending)).get("settings", {})
                if precision := settings.get("precision"):
                    return precision
    return None


def trials(model: Model, plan: Plan, clock: Callable) -> dict[str, Trial]:
    """{precision: Trial} of a model in USUAL and in what its device offers besides, on the first pairs of its plan."""
    first = runs_of(plan.pairs, [plan.weight(distorted) for distorted, _ in plan.pairs], BATCHES * plan.batch)[0]
    half = backbone(models_name(model)).half and model.options.protocol == "paper"
    offered = TRIED["cuda" if model.options.device.startswith("cuda") else "cpu"]
    names = [USUAL, *(["fp32"] if half else []), *offered]
    return {name: trial(in_precision(model, name), first, plan, clock) for name in names}


def trial(model, pairs, plan, clock):
    """The Trial of one precision."""
    try:
        features = model.load()
        loaded = replace(model, loader=lambda _: features)  # loading is not timed
        work = Plan(loaded, pairs, [("none", 0.0)], plan.resize, plan.batch)
        seconds = []
        for _ in range(1 + ROUNDS):
            start = clock()
            results = list(score_plan(work, lambda perturbation, unit: model.columns))
            seconds.append(clock() - start)
    except (RuntimeError, WorkError) as error:  # an operation that this precision has not, a number that it cannot hold
        return Trial(float("inf"), (), one_line(error))
    scores = [float(v) for _, _, values in results for numbers in values.values() for v in numbers.ravel()]
    return Trial(min(seconds[1:]), tuple(scores))


def choice(tried: dict[str, Trial]) -> tuple[str, str]:
    """Of {precision: Trial} the fastest that is near enough to USUAL, or USUAL -> (precision, why, in words)."""
    usual, allowed, said = tried[USUAL], {USUAL: 1.0}, []
    if usual.failed:
        raise WorkError(usual.failed)
    largest = max(map(abs, usual.scores), default=0.0)
    for name, of_name in tried.items():
        if name == USUAL:
            continue
        if of_name.failed:
            said.append(f"{name} fails ({of_name.failed})")
            continue
        gain = usual.seconds / of_name.seconds
        gap = max((relative(a, b, largest) for a, b in zip(usual.scores, of_name.scores, strict=True)), default=0.0)
        if gain >= GAIN and gap <= COARSE:
            allowed[name] = gain
        said.append(f"{name} {gain:.2f} times as fast as {USUAL}, scores {gap:.1%} apart at most")
    return max(allowed, key=allowed.get), f"by a trial: {'; '.join(said)} (taken from {GAIN:g} times and {COARSE:.0%})"
