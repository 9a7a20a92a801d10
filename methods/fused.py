"""Fused metrics: a product of powers of metrics that fail differently, d = d1 * d2^k. Nothing is trained.

    python run.py -dat demo -m "stlpips_alex * psnr^0.5"       # scored in one pass with its factors
    python run.py -dat tid2013 -m fused2                       # a preset: an entry of PRESETS

A factor is named as in its score file. What it enters the product with is its oriented distance, higher = worse: a
distance as it is, a similarity (PSNR) as its reciprocal, by the metric's registry entry and never by the data. A factor
at or below FLOOR is set to FLOOR, so that fused scores stay above zero and identical images stay best. Exponents are
chosen by fuse.py. Importing this file imports neither torch nor NumPy.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from common.errors import UsageError

if TYPE_CHECKING:  # named in annotations only
    import numpy as np
    from numpy.typing import ArrayLike

FLOOR = 1e-6
NAME = re.compile(r"[A-Za-z][\w:.\-]*")


class Preset(NamedTuple):
    """A fused metric with a name of its own."""

    expression: str
    origin: str  # where its exponents come from


PRESETS = {
    "fused2": Preset(
        "dinov1_cos * embed_openclip_vitb32_laion_tecoa4_cos^0.13",
        "chosen on the authors' released scores: 0.13 leaving TID2013 out, and leaving PIPAL out; fuse.py on the "
        "part of the release at hand: 0.13, 0.11, and 0.14 on all of it",
    ),
    "fused3": Preset(
        "dinov1_cos * embed_openclip_vitb32_laion_tecoa4_cos^0.1 * stlpips_alex^0.2",
        "chosen on the authors' released scores of LIVE and TID2013, leaving PIPAL out; fuse.py on the same: 0.12 "
        "and 0.17",
    ),
}


@dataclass(frozen=True)
class Fused:
    """A parsed expression. `name` is what was asked for: a preset or the expression."""

    name: str
    factors: tuple  # names of score columns, as in their files
    exponents: tuple
    origin: str = "given on the command line"

    @property
    def expression(self) -> str:
        """Its factors and exponents as -m takes them: 'dinov1_cos * psnr^0.5'."""
        return " * ".join(f if k == 1 else f"{f}^{k:g}" for f, k in zip(self.factors, self.exponents))

    @property
    def label(self) -> str:
        """Its name in a file name: that of the preset, else one made of the expression, without '*', '^' and spaces."""
        if self.name in PRESETS:
            return self.name
        powers = ("" if k == 1 else f"-{k:g}" for k in self.exponents)
        return "fused-" + "+".join(f.replace(":", "-") + power for f, power in zip(self.factors, powers))


def is_fused(name):
    return name in PRESETS or "*" in name or "^" in name


def split(names):
    """Names after -m -> (those of methods, [Fused])."""
    return [n for n in names if not is_fused(n)], [parse(n) for n in dict.fromkeys(names) if is_fused(n)]


def parse(text: str) -> Fused:
    """'a * b^0.13' or a preset's name -> Fused. UsageError says what is wrong with it;
    that the factors exist is not checked."""
    name = " ".join(text.split())
    expression, origin = PRESETS.get(name, Preset(name, Fused.origin))
    factors, exponents = [], []
    for part in expression.split("*"):
        factor, hat, power = (piece.strip() for piece in part.partition("^"))
        if not NAME.fullmatch(factor):
            raise UsageError(
                f"{name!r}: expected factors named as in score files, as in dinov1_cos * psnr^0.5; found {factor!r}"
            )
        if factor in factors:
            raise UsageError(f"{name!r}: {factor} stands in it twice; add its exponents")
        factors.append(factor)
        exponents.append(exponent(power, f"{name!r}: {factor}") if hat else 1.0)
    if len(factors) < 2:
        raise UsageError(f"{name!r}: expected two factors or more, such as dinov1_cos * psnr^0.5")
    return Fused(name, tuple(factors), tuple(exponents), origin)


def exponent(text, where):
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):  # a negative one would turn a metric's orientation round
        raise UsageError(f"{where}: expected an exponent above 0, found {text!r}")
    return value


def distance(
    values: ArrayLike,
    higher_is: str = "worse",
    floor: float = FLOOR,
    where: Callable = lambda i: f"value {i + 1}",
) -> np.ndarray:
    """A metric's values (N,) -> its oriented distances (N,), higher = worse, none below the floor.

    higher_is: the metric's orientation, of its registry entry; 'better' enters as the reciprocal. Raises UsageError,
    with where(i) of the first one, for a value below -floor. Between -floor and 0 lies the rounding of 1 - cosine in
    float32.
    """
    import numpy as np

    values = np.asarray(values, dtype=float)
    wrong = np.flatnonzero(~(values >= -floor))
    if len(wrong):
        raise UsageError(
            f"{where(wrong[0])}: {values[wrong[0]]:g} is negative ({len(wrong)} such values); a fused metric needs "
            f"distances of 0 and more (rounding down to -{floor:g}, minus the floor, is taken for 0)"
        )
    values = np.maximum(values, floor)
    return np.maximum(1 / values, floor) if higher_is == "better" else values


def product(distances: np.ndarray | Sequence[np.ndarray], exponents: ArrayLike) -> np.ndarray:
    """Oriented distances (F, N), exponents (F,) -> fused scores (N,), higher = worse."""
    import numpy as np

    return np.prod(np.asarray(distances, dtype=float) ** np.asarray(exponents, dtype=float)[:, None], axis=0)


def combine(
    fused: Fused,
    values: dict[str, ArrayLike],
    higher_is: dict[str, str],
    where: Callable = lambda factor, i: f"{factor}: value {i + 1}",
) -> np.ndarray:
    """Scores of the factors {factor: (N,)} and their orientations {factor: 'worse' or 'better'}
    -> fused scores (N,)."""
    return product(
        [distance(values[f], higher_is[f], FLOOR, lambda i, f=f: where(f, i)) for f in fused.factors], fused.exponents
    )
