"""The spread of a mean label: what kind of number it is, and what follows for the label's uncertainty.
Numbers in, numbers out.

Datasets call very different things "std". A standard error of the mean taken for a standard deviation of the ratings
makes labels seem several times as certain as they are (or the other way round), so the kind travels with the numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # named in annotations only
    import numpy as np

KINDS = {
    "sd": "standard deviation of the ratings",
    "se": "standard error of the mean",
    "ci95": "half-width of the mean's 95 % interval",
    "unknown": "of a kind that is documented nowhere",
}


@dataclass(frozen=True)
class Spread:
    """kind: a key of KINDS. raters: ratings behind each label (an average will do), None where unknown;
    only sd needs them.
    source: where the numbers stand and how their kind is known."""

    kind: str
    raters: float | None = None
    source: str = ""

    @property
    def usable(self) -> bool:
        """Whether standard errors follow from it."""
        return self.kind in ("se", "ci95") or self.kind == "sd" and self.raters is not None

    def half_width(self, std: np.ndarray) -> np.ndarray:
        """Half width (N,) of the 95 % interval of each mean label, from its spread std (N,).
        ValueError if not `usable`."""
        from agreement.correlations import margin  # numpy, which datasets.py can do without

        self._check()
        if self.kind == "ci95":
            return std
        return margin(std, self.raters if self.kind == "sd" else None)

    def standard_error(self, std: np.ndarray) -> np.ndarray:
        """Standard error (N,) of each mean label, from its spread std (N,). ValueError if not `usable`."""
        self._check()
        return std / {"sd": math.sqrt(self.raters or 1), "se": 1.0, "ci95": 1.959963984540054}[self.kind]

    def _check(self):
        if not self.usable:
            raise ValueError(f"no standard error follows from a spread that is: {self}")

    def __str__(self):
        raters = "" if self.raters is None else f", about {self.raters:g} an image"
        return f"{KINDS[self.kind]}{raters}" + (f" ({self.source})" if self.source else "")

    @property
    def document(self) -> dict:
        """For a JSON: what kind of number the spread is, in words, and the number of raters (None: unknown)."""
        return {"kind": KINDS[self.kind], "raters": self.raters, "source": self.source}
