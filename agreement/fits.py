"""Monotonic mappings from predictions to labels, fitted by least squares: numbers in, numbers out.

    from agreement.fits import fit
    mapping = fit("logistic4", prediction, label)      # Fit: parameters, convergence, monotonicity
    plcc(mapping(prediction), label)

PLCC after such a mapping measures agreement up to the metric's own scale. A mapping that does not rise over the data
would reward disagreement, so `Fit.usable` is checked, and the reports withhold the numbers where it fails.

Every family is linear in all but its place and its width, so only these two are searched and the rest is solved for at
each step (variable projection, Golub and Pereyra 1973). To add a family, write its basis and enter it in MAPPINGS.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from agreement.correlations import checked

RACE = 2000  # pairs, evenly spaced in sorted order, on which the starts compete; the winner is fitted to all
SAME_MINIMUM = 1e-3  # relative difference of residual sums up to which two starts reached the same minimum
ASYMPTOTE = 20  # standard deviations of the label; a coefficient beyond means that the data do not level off
FLAT = 1e-6  # standard deviations of the label; a curve that rises by less says nothing
STARTS = [(place, width) for place in (0.2, 0.5, 0.8) for width in (0.2, 1.0)]  # quantile of x, standard deviations


def _sigmoid(x, place, log_width):
    from scipy.special import expit

    return expit((x - place) * np.exp(-log_width))


def logistic4(x, place, log_width):
    """y = b2 + (b1 - b2) / (1 + exp(-(x - b3) / b4)), b4 > 0.
    VQEG 2003, final report on FRTV phase II (4 parameters)."""
    s = _sigmoid(x, place, log_width)
    return np.stack([s, 1 - s], axis=1)


def logistic5(x, place, log_width):
    """y = b1 (1/2 - 1 / (1 + exp(b2 (x - b3)))) + b4 x + b5. Sheikh, Sabir, Bovik 2006, IEEE TIP 15(11)."""
    return np.stack([_sigmoid(x, place, log_width) - 0.5, x, np.ones_like(x)], axis=1)


def cubic(x):
    """y = b1 + b2 x + b3 x^2 + b4 x^3. ITU-T P.1401, which demands that it be monotonic."""
    return np.stack([np.ones_like(x), x, x**2, x**3], axis=1)


# Parameters as in the formulas, in the data's units, from place, log width and coefficients in standardised x and y.
def _logistic4_units(p, c, xc, xs, yc, ys):
    return yc + ys * c[0], yc + ys * c[1], xc + xs * p[0], xs * np.exp(p[1])


def _logistic5_units(p, c, xc, xs, yc, ys):
    return ys * c[0], np.exp(-p[1]) / xs, xc + xs * p[0], ys * c[1] / xs, yc + ys * (c[2] - c[1] * xc / xs)


def _cubic_units(p, c, xc, xs, yc, ys):
    polynomial = yc + ys * np.polynomial.Polynomial(c)(np.polynomial.Polynomial([-xc / xs, 1 / xs]))
    return np.pad(polynomial.coef, (0, 4 - len(polynomial.coef)))


class Mapping(NamedTuple):
    """A family of curves: basis(x, *searched) (N, coefficients), its parameters in the data's units, how many there
    are."""

    basis: Callable
    units: Callable
    searched: int  # 2: place and log width; 0: linear
    parameters: int
    formula: str
    # (x, y) -> the coefficients of the best curve that falls nowhere, where it can be had
    rising: Callable | None = None


MAPPINGS = {
    "logistic4": Mapping(logistic4, _logistic4_units, 2, 4, "b2 + (b1 - b2) / (1 + exp(-(x - b3) / b4))"),
    "logistic5": Mapping(logistic5, _logistic5_units, 2, 5, "b1 (1/2 - 1 / (1 + exp(b2 (x - b3)))) + b4 x + b5"),
    "cubic": Mapping(cubic, _cubic_units, 0, 4, "b1 + b2 x + b3 x^2 + b4 x^3", lambda x, y: _rising_cubic(x, y)),
}


@dataclass(frozen=True)
class Fit:
    """A fitted mapping. Calling it maps predictions (N,) to the label's scale."""

    name: str
    parameters: tuple  # b1, b2, ... of MAPPINGS[name].formula, in the data's units
    converged: bool  # the winning start ended at a minimum; otherwise the curve is not the best one, nor reported
    # at which end ("low", "high", "both") the data do not level off: the curve is good, its parameters arbitrary, as an
    # asymptote or the place is out of sight; "step": it levels off too abruptly for a width; or ""
    unbounded: str
    starts: int  # how many starts were tried ...
    agreeing: int  # ... and how many of them ended at the winner's minimum
    monotonic: bool  # rises between the smallest and the largest prediction, and falls nowhere
    constrained: bool  # the best curve of its family falls somewhere: this is the best one that does not
    place: tuple  # what was searched, and the coefficients solved for, both on the standardised scale
    coefficients: tuple
    scale: tuple  # centre and scale of the predictions, centre and scale of the labels

    @property
    def usable(self) -> bool:
        """Whether numbers after this mapping mean anything."""
        return self.converged and self.monotonic

    def __call__(self, prediction):
        xc, xs, yc, ys = self.scale
        basis = MAPPINGS[self.name].basis((np.asarray(prediction, dtype=float) - xc) / xs, *self.place)
        return yc + ys * (basis @ np.array(self.coefficients))


def fit(name: str, prediction: np.ndarray, label: np.ndarray, near: Fit | None = None) -> Fit:
    """Least-squares fit of MAPPINGS[name] to predictions (N,) and labels (N,) -> Fit.

    Place is searched within three ranges of the data on either side, width between 1/50 and 50 standard deviations.
    Data that do not level off drive the place there, or an asymptote out of sight: unbounded then says at which end,
    the curve is good, its parameters arbitrary. A cubic that falls somewhere gives way to the best one that does not
    (ITU-T P.1401 demands it).
    near: a Fit to nearly the same data, from whose place and width alone the search then starts: for refits without
    some pairs. Raises ValueError for NaN, lengths that differ, constant input, or no more pairs than parameters.
    """
    family = MAPPINGS[name]
    prediction, label = checked(prediction, label, least=family.parameters + 1)
    scale = prediction.mean(), prediction.std(), label.mean(), label.std()
    x, y = (prediction - scale[0]) / scale[1], (label - scale[2]) / scale[3]
    searched, converged, unbounded, starts, agreeing = (
        _search(family.basis, x, y, near and near.place) if family.searched else ((), True, "", 1, 1)
    )
    coefficients, constrained = _solve(family.basis(x, *searched), y), False
    grid = family.basis(np.linspace(x.min(), x.max(), 2001), *searched)
    if family.rising and (np.diff(grid @ coefficients) < -1e-9).any():
        coefficients, constrained = family.rising(x, y), True
    rising = np.diff(grid @ coefficients)
    parameters = family.units(searched, coefficients, *scale)
    return Fit(
        name,
        tuple(map(float, parameters)),
        converged,
        unbounded,
        starts,
        agreeing,
        bool((rising >= -1e-9).all() and rising.sum() > FLAT),
        constrained,
        tuple(searched),
        tuple(coefficients),
        scale,
    )


def _rising_cubic(x, y):
    """Coefficients of the cubic in standardised x that fits y best among those that fall nowhere between min x and max
    x.

    A slope that is nowhere negative on [0, 1] is a sum of (u - r)^2, r in [0, 1], and u (1 - u), with weights that are
    not negative (Lukacs 1918): a non-negative least squares problem, in four dimensions after a QR decomposition.
    """
    from scipy.optimize import nnls

    low, width = x.min(), np.ptp(x)
    q, r = np.linalg.qr(cubic((x - low) / width))
    roots = np.linspace(0, 1, 1001)
    slopes = np.column_stack([roots**2, -2 * roots, np.ones_like(roots)])
    slopes = np.vstack([slopes, [0, 1, -1]])
    rays = np.column_stack([np.zeros(len(slopes)), slopes / [1, 2, 3]])  # their integrals
    rays = np.vstack([[1, 0, 0, 0], [-1, 0, 0, 0], rays])  # a constant of either sign
    weights, _ = nnls(r @ rays.T, q.T @ y)
    polynomial = np.polynomial.Polynomial(rays.T @ weights)(np.polynomial.Polynomial([-low / width, 1 / width]))
    return np.pad(polynomial.coef, (0, 4 - len(polynomial.coef)))


def _solve(basis, y):
    return np.linalg.lstsq(basis, y, rcond=None)[0]


def _search(basis, x, y, near=None):
    """(place, log width), converged, unbounded, starts, agreeing of the best fit to standardised x, y."""
    from scipy.optimize import least_squares

    reach = 3 * np.ptp(x)
    bounds = [x.min() - reach, np.log(1 / 50)], [x.max() + reach, np.log(50)]

    def fitted(x, y, start):
        def residuals(searched):
            a = basis(x, *searched)
            return a @ _solve(a, y) - y

        return least_squares(residuals, start, bounds=bounds, max_nfev=200, ftol=1e-12, xtol=1e-10, gtol=1e-10)

    some = np.argsort(x, kind="stable")[np.linspace(0, len(x) - 1, min(len(x), RACE)).astype(int)]
    starts = [near] if near else [(np.quantile(x, place), np.log(width)) for place, width in STARTS]
    race = [fitted(x[some], y[some], np.clip(start, *bounds)) for start in starts]
    best = min(race, key=lambda end: end.cost)
    agreeing = sum(bool(end.cost <= best.cost * (1 + SAME_MINIMUM) + 1e-12) for end in race)
    end = fitted(x, y, best.x) if len(some) < len(x) else best
    return end.x, bool(end.status > 0), _open_end(basis, x, y, end.x, *bounds), len(race), agreeing


def _open_end(basis, x, y, searched, low, high):
    """Where a curve with this place and log width does not level off: "low", "high", "both", "step" or ""."""
    edge = 1e-2 * np.subtract(high, low)
    (near_low, narrow), (near_high, wide) = searched <= low + edge, searched >= high - edge
    if narrow:
        return "step"
    levels = np.abs(_solve(basis(x, *searched), y)) >= ASYMPTOTE
    two_levels = len(levels) == 2  # of logistic4: above all data, below all data
    ends = {
        "high": near_high or (levels[0] if two_levels else levels.any()),
        "low": near_low or (levels[1] if two_levels else levels.any()),
    }
    if wide or all(ends.values()):
        return "both"
    return next((end for end, is_open in ends.items() if is_open), "")
