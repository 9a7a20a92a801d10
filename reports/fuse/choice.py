"""Parameters of a fused metric chosen on some datasets' cells and held out from another:
the choices that fuse.py reports."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agreement.exponents import Agreement, choose
from reports.fuse.cells import FactorCell

KINDS = {"exponents": (np.log, np.exp), "weights": (np.positive, np.positive)}  # distances -> X; p @ X -> fused score
CURVE = (0, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1, 2, 5, 10, 20, 50, 100)


@dataclass(frozen=True)
class Choice:
    """A combination and the datasets it was chosen on. held_out: the dataset left out, None for none."""

    held_out: str | None
    chosen_on: tuple
    names: tuple
    parameters: tuple
    free: tuple  # names of the parameters that could move

    def vector(self, factors):
        """Parameters (F,) of all factors, 0 for those that are not in it."""
        known = dict(zip(self.names, self.parameters))
        return tuple(known.get(name, 0.0) for name in factors)

    def scores(self, cell, kind):
        """Fused scores (N,) in a cell, higher = worse."""
        features, final = KINDS[kind]
        return final(np.array(self.vector(cell.factors)) @ features(cell.distances))

    def expression(self, kind):
        """'a * b^0.13' of exponents, 'a + 0.5 b' of weights; factors with 0 are left out."""
        left = [(n, p) for n, p in zip(self.names, self.parameters) if p]
        if kind == "exponents":
            return " * ".join(n if p == 1 else f"{n}^{p:g}" for n, p in left)
        return " + ".join(n if p == 1 else f"{p:g} {n}" for n, p in left)


def agreement_of(cells: Sequence[FactorCell], kind: str) -> Agreement:
    """The exponents.Agreement of cells.FactorCells."""
    return Agreement([(c.dataset, KINDS[kind][0](c.distances), c.badness) for c in cells])


def leaving_one_out(
    agreement: Agreement, names: Sequence[str], start: Sequence[float], free: Sequence[int]
) -> list[Choice]:
    """[Choice] for each dataset held out, and a last one chosen on all. start (F,), free: indices that may move."""
    choices = []
    for left_out in [*agreement.datasets, None]:
        on = tuple(d for d in agreement.datasets if d != left_out)
        choices.append(
            Choice(left_out, on, tuple(names), choose(agreement, on, start, free), tuple(names[i] for i in free))
        )
    return choices


def curves(choices: Sequence[Choice], agreement: Agreement, factors: Sequence[str]) -> list[dict]:
    """How flat the top is: mean SRCC of the datasets a choice was made on, along each free parameter,
    the others as chosen."""
    lines = []
    for choice in choices:
        for name in choice.free:
            at, i = choice.vector(factors), factors.index(name)
            values = sorted({*CURVE, *(other.vector(factors)[i] for other in choices)})
            means = agreement.mean([(*at[:i], v, *at[i + 1 :]) for v in values], choice.chosen_on)
            lines.append(
                {
                    "held_out": choice.held_out,
                    "chosen_on": list(choice.chosen_on),
                    "parameter": name,
                    "chosen": at[i],
                    "values": values,
                    "mean_srcc": [None if m == -1 else float(m) for m in means],
                }
            )
    return lines
