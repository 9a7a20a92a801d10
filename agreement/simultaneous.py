"""Which of many differences are real: intervals that hold all together, and p-values, from one set of resamples.

    family = judge([Contrast(srcc, 0, 1), Contrast(srcc, 0, 2), Contrast(plcc, 0, 1)])  # both: bootstrap.Resampled
    family.low, family.high         # (F,) 95 % that all F intervals hold their differences at once
    family.p                        # (F,) at or below .05 exactly where the interval leaves zero out
    family.verdict(margin=0.01)     # (F,) better, worse, equivalent, not shown different, undecided

One method decides interval, p and verdict. A difference d of two metrics has the standard error s of the jackknife over
clusters, and the interval d -+ c s, with one c for the family: the smaller of two, each of which is made so that all F
intervals hold at once.

- max-t: the clusters are resampled, and in every resample each difference is divided by its own standard error there,
  both to first order, from what leaving each cluster out does to it. c is the 95 % quantile of the largest of the F: it
  knows that differences go together, and that errors are sure of themselves or not. p is the share of resamples whose
  largest is beyond |d| / s, never below 1 / (resamples + 1).
- Bonferroni: c is Student's quantile, clusters - 1 degrees of freedom, at 5 % / F. It does not know that differences
  go together, takes errors as those of normal data, and is the smaller where clusters are few, or where one difference
  of the family hangs on hardly any of them and would widen all.

That the smaller of the two still holds all is no theorem, as the c of max-t hangs on the data. What was seen, with 25
references drawn from PIPAL's, 40 images each: all differences at once in 93 to 96 % of simulations
(tests/agreement/test_coverage.py, --slow; 5 to 50 references in docs/compare-method.md).

p_stepdown is the same among the differences that are not larger (Romano, Wolf; Holm): never larger than p, without an
interval of its own.

Sources: Romano, Wolf 2005 (Econometrica 73, 1237-1282; studentised step-down max-t); Efron 1982 (The jackknife, the
bootstrap and other resampling plans, SIAM, chapter 10; bootstrap-t) and Cameron, Gelbach, Miller 2008 (Review of
Economics and Statistics 90, 414-427; with few clusters); Holm 1979; Piepho 2004 (Journal of Computational and
Graphical Statistics 13, 456-466; letters).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from agreement.bootstrap import RESAMPLES, Resampled, draw
from agreement.significance import holm

LEVEL = 0.95
POWER = 0.8  # of the smallest detectable difference
SURE = 3  # Monte-Carlo standard errors that an end has to be from zero for a verdict
MOST_RESAMPLES = 8000  # drawn where a verdict is too near zero for fewer
CHUNK = 2_000_000  # resamples times differences at a time
VERDICTS = ("better", "worse", "equivalent", "not shown different", "undecided")


class Contrast(NamedTuple):
    """Metric a, or metric a minus metric b, of a resampled statistic.
    scale: np.arctanh for the interval of a coefficient."""

    resampled: Resampled
    a: int
    b: int | None = None
    scale: Callable | None = None

    def of(self, values: np.ndarray) -> np.ndarray:
        """The contrast in values (..., M) -> (...)."""
        value = values[..., self.a] - (0.0 if self.b is None else values[..., self.b])
        return value if self.scale is None else self.scale(value)


@dataclass(frozen=True)
class Family:
    """F differences judged together; every array is (F,)."""

    estimate: np.ndarray
    error: np.ndarray  # standard error, jackknife over clusters; 0 where nothing varies
    critical: float  # c: the intervals are estimate -+ c * error
    critical_error: float  # Monte-Carlo standard error of c; that of an interval's end is critical_error * error
    lenient: float  # c of intervals of 1 - 2 alpha, for both one-sided tests of equivalence
    p: np.ndarray  # single step: at or below alpha exactly where the interval leaves zero out
    p_stepdown: np.ndarray
    method: str  # which of the two c is: max-t or Bonferroni
    resamples: int
    clusters: int  # the fewest that a difference looks at
    level: float = LEVEL
    detect: float = field(default=0.0)  # Student's quantile of POWER

    @property
    def low(self) -> np.ndarray:
        """(F,) lower ends of the intervals."""
        return self.estimate - self.critical * self.error

    @property
    def high(self) -> np.ndarray:
        """(F,) upper ends of the intervals."""
        return self.estimate + self.critical * self.error

    @property
    def floor(self) -> float:
        """The smallest p that so many resamples can give."""
        return 1 / (self.resamples + 1)

    @property
    def end_error(self) -> np.ndarray:
        """Monte-Carlo standard error of an interval's end."""
        return self.critical_error * self.error

    @property
    def detectable(self) -> np.ndarray:
        """The smallest true difference that would have been called better or worse in 80 % of such experiments."""
        return (self.critical + self.detect) * self.error

    @property
    def undecided(self) -> np.ndarray:
        """Whether the nearer end of the interval is within SURE of its Monte-Carlo errors of zero:
        more resamples may turn it."""
        return _undecided(self.estimate, self.error, self.critical, self.critical_error)

    def verdict(self, margin: float | None = None) -> np.ndarray:
        """(F,) of VERDICTS: see `verdicts`."""
        return verdicts(self.estimate, self.error, self.critical, self.critical_error, self.lenient, margin)


def verdicts(
    estimate: np.ndarray,
    error: np.ndarray,
    critical: float,
    critical_error: float,
    lenient: float,
    margin: float | None = None,
) -> np.ndarray:
    """(F,) of VERDICTS on differences (F,) with their standard errors, by the critical values of a Family.

    equivalent: both one-sided tests place |difference| below the margin (in units of the estimate).
    """
    out = np.full(len(estimate), "not shown different", dtype=object)
    if margin is not None:
        out[np.abs(estimate) + lenient * error < margin] = "equivalent"
    out[estimate - critical * error > 0], out[estimate + critical * error < 0] = "better", "worse"
    out[_undecided(estimate, error, critical, critical_error)] = "undecided"
    return out


def _undecided(estimate, error, critical, critical_error):
    return (error > 0) & (np.abs(np.abs(estimate) - critical * error) <= SURE * critical_error * error)


def judge(contrasts: Sequence[Contrast], resamples: int = RESAMPLES, level: float = LEVEL) -> Family:
    """Simultaneous intervals and p-values of Contrasts -> Family.

    Contrasts of the same number of clusters and the same seed see the same resamples: they must be of the same
    clusters, or of such that have nothing in common. Raises ValueError for an empty family, or a difference without a
    value or without an error (`checked`).
    """
    from scipy import stats

    if not contrasts:
        raise ValueError("expected at least one difference to judge, found none")
    if resamples + 1 < 1 / (1 - level):
        raise ValueError(f"expected at least {1 / (1 - level) - 1:.0f} resamples for {level:.0%}, found {resamples}")
    for contrast in contrasts:
        checked(contrast)
    clusters = min(c.resampled.clusters for c in contrasts)
    estimate = np.array([c.of(c.resampled.estimate) for c in contrasts])
    error = np.array([error_of(c) for c in contrasts])
    varies, floor, alpha = error > 0, 1 / (resamples + 1), 1 - level
    detect = float(stats.t.ppf(POWER, clusters - 1))
    p, p_stepdown = np.ones((2, len(contrasts)))
    if not varies.any():
        return Family(estimate, error, 0.0, 0.0, 0.0, p, p, "max-t", resamples, clusters, level, detect)
    t = np.abs(estimate[varies]) / error[varies]
    largest, shares, stepdown = _max_t([c for c, v in zip(contrasts, varies) if v], t, resamples)
    alone = 2 * stats.t.sf(t, clusters - 1)
    p[varies] = np.clip(np.minimum(shares, len(t) * alone), floor, 1)
    p_stepdown[varies] = np.clip(np.minimum(stepdown, holm(alone)), floor, 1)

    def smaller(alpha):
        bonferroni = float(stats.t.isf(alpha / 2 / len(t), clusters - 1))
        return bonferroni, np.minimum(_quantiles(largest, alpha), bonferroni)

    bonferroni, (critical, up, down) = smaller(alpha)
    return Family(
        estimate,
        error,
        float(critical),
        float(up - down) / 2,
        float(smaller(2 * alpha)[1][0]),
        p,
        p_stepdown,
        "max-t" if critical < bonferroni else "Bonferroni",
        resamples,
        clusters,
        level,
        detect,
    )


def decided(contrasts: Sequence[Contrast], resamples: int, most: int = MOST_RESAMPLES) -> Family:
    """`judge` with more and more resamples, until none is undecided or there are `most`."""
    family = judge(contrasts, resamples)
    while family.undecided.any() and resamples < most:
        resamples = min(2 * resamples, most)
        family = judge(contrasts, resamples)
    return family


def error_of(contrast: Contrast) -> float:
    """Standard error of a contrast, by the jackknife; 0 where it varies by no more than rounding does."""
    error = float(jackknife_error(contrast.of(contrast.resampled.jackknife)))
    return error if error > 1e-12 * max(1.0, abs(float(contrast.of(contrast.resampled.estimate)))) else 0.0


def checked(contrast: Contrast) -> Contrast:
    """The contrast, if it has a value and, unless it is 0, a standard error; ValueError otherwise."""
    estimate = contrast.of(contrast.resampled.estimate)
    if not np.isfinite(estimate):
        raise ValueError(
            "no value: constant predictions or labels in a reference, a reference of a single pair, or no monotonic fit"
        )
    if not np.isfinite(contrast.of(contrast.resampled.jackknife)).all():
        raise ValueError("without one of the references the predictions or labels are constant: no standard error")
    if abs(estimate) > 1e-12 and error_of(contrast) == 0:
        raise ValueError(
            f"the same without any one of {contrast.resampled.clusters} references: no standard error can be estimated"
        )
    return contrast


def jackknife_error(leave_one_out: np.ndarray) -> np.ndarray:
    """Standard error of a statistic from its values without each cluster in turn (C, ...) -> (...).

    sqrt((C - 1) / C * sum of squares about their mean). Source: Efron, Stein 1981 (Annals of Statistics 9, 586-596).
    """
    clusters = len(leave_one_out)
    deviations = leave_one_out - leave_one_out.mean(axis=0)
    return np.sqrt((clusters - 1) / clusters * np.sum(deviations**2, axis=0))


def single(contrast: Contrast, level: float = LEVEL) -> tuple[float, float]:
    """(low, high) of one contrast alone, on the statistic's own scale:
    estimate -+ Student's t(clusters - 1) times error."""
    from scipy import stats

    checked(contrast)
    estimate = contrast.of(contrast.resampled.estimate)
    wide = stats.t.ppf((1 + level) / 2, contrast.resampled.clusters - 1)
    wide = wide * jackknife_error(contrast.of(contrast.resampled.jackknife))
    return back(contrast, estimate - wide, estimate + wide)


def back(contrast: Contrast, low: float, high: float) -> tuple[float, float]:
    """An interval on the scale of the contrast -> on that of the statistic."""
    return (float(np.tanh(low)), float(np.tanh(high))) if contrast.scale is np.arctanh else (float(low), float(high))


def letters(different: np.ndarray) -> list[str]:
    """Compact letter display: different (M, M) symmetric booleans -> M strings;
    two metrics share a letter unless different.

    Metrics are taken in the order given (best first), so the best has an "a". By insertion and absorption: Piepho 2004.
    """
    different = np.asarray(different, dtype=bool)
    columns = [frozenset(range(len(different)))]
    for i in range(len(different)):
        for j in range(i + 1, len(different)):
            if not different[i, j]:
                continue
            split = []
            for column in columns:
                split += [column - {i}, column - {j}] if {i, j} <= column else [column]
            maximal = []
            for column in sorted(set(split), key=lambda c: (-len(c), sorted(c))):
                if not any(column <= other for other in maximal):
                    maximal.append(column)
            columns = maximal
    columns = sorted(sorted(column) for column in columns)
    names = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    marks = [names[k] if k < len(names) else f"({k + 1})" for k in range(len(columns))]
    return ["".join(mark for mark, column in zip(marks, columns) if m in column) for m in range(len(different))]


def _max_t(contrasts, t, resamples):
    """Of F contrasts that vary, with their t: the largest |t| of each resample (R,), falling; and the share of
    resamples whose largest reaches t (F,), among all differences and, step by step, among those that are not larger."""
    rising = np.argsort(t, kind="stable")
    of_key = {}  # clusters and seed, which decide the resamples -> places among the rising, deviations
    for place, contrast in enumerate(contrasts[k] for k in rising):
        deviations = contrast.of(contrast.resampled.jackknife)
        deviations = deviations - deviations.mean()
        places, columns = of_key.setdefault((len(deviations), contrast.resampled.seed), ([], []))
        places.append(place)
        columns.append(deviations / np.sqrt(deviations @ deviations))
    drawing = [
        (np.random.default_rng(seed), np.array(places), np.array(columns))
        for (_, seed), (places, columns) in of_key.items()
    ]
    largest, reached = np.empty(resamples), np.zeros(len(t))
    rows = max(1, CHUNK // max(len(t), *(clusters for clusters, _ in of_key)))
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        drawn = np.empty((count, len(t)))
        for generator, places, deviations in drawing:
            drawn[:, places] = studentised(draw(generator, deviations.shape[1], count), deviations.T)
        drawn = np.maximum.accumulate(drawn, axis=1)
        largest[start : start + count] = drawn[:, -1]
        reached += (drawn >= t[rising]).sum(axis=0)
    largest = np.sort(largest)[::-1]
    shares, stepdown = np.empty((2, len(t)))
    shares[:] = np.searchsorted(-largest, -t, side="right")
    # Successive maxima from the most significant down, as in Romano and Wolf
    stepdown[rising] = np.maximum.accumulate(reached[::-1])[::-1]
    return largest, (1 + shares) / (resamples + 1), (1 + stepdown) / (resamples + 1)


def studentised(W: np.ndarray, deviations: np.ndarray) -> np.ndarray:
    """|t| (K, F) of differences in resamples W (K, C), to first order: deviations (C, F) of their leave-one-out values
    from the mean, of length 1 each. Infinite where a resample holds no two clusters that tell the metrics apart."""
    clusters = len(deviations)
    total = W @ deviations
    squares = W @ deviations**2 - total**2 / clusters
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(squares > 1e-12, np.abs(total) * np.sqrt((clusters - 1) / clusters / squares), np.inf)


def _quantiles(falling, alpha):
    """c of values (R,), and what it is a Monte-Carlo standard error of its rank up and down: |t| > c exactly where
    fewer than alpha of the resamples, itself counted, reach |t|."""
    rank = int(alpha * (len(falling) + 1) + 1e-9)
    off = int(np.ceil(np.sqrt(len(falling) * alpha * (1 - alpha))))
    return falling[[rank - 1, max(rank - 1 - off, 0), min(rank - 1 + off, len(falling) - 1)]]
