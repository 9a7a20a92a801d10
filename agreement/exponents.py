"""Which exponents agree best with people: numbers in, numbers out; no files, no names of metrics.

A combination is a line of parameters p (F,) times factors X (F, N): with X = log distances it is the logarithm of a
product and p are exponents; with X = distances it is a weighted sum and p are weights. Ranks are all that SRCC sees of
either.

What is maximised is the mean over datasets of the mean SRCC over a dataset's cells (perturbations), so that a dataset
with few score files counts as much as one with many. That mean is a step function of a parameter, flat and jagged at
its top: the parameter taken is the middle of all those whose mean is within EQUAL of the best, to two digits, and it
stays where it stands (at 0: the factor is left out) unless that gains more than EQUAL.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import ArrayLike

EQUAL = 1e-4
COARSE = np.array([0, *np.geomspace(0.01, 100, 17)])  # 4 a decade
FINE = np.geomspace(1 / 1.8, 1.8, 25)  # around the best coarse one
ROUNDS = 8


def two_digits(values: ArrayLike) -> np.ndarray:
    """The values rounded to two significant digits, each once, rising."""
    return np.unique([float(f"{v:.2g}") for v in np.atleast_1d(values)])


def unit_ranks(values):
    """Mid-ranks (N,), centred, of length 1: their scalar product is SRCC."""
    from scipy.stats import rankdata

    ranks = rankdata(values)
    ranks -= ranks.mean()
    return ranks / np.sqrt(ranks @ ranks)


def srccs(combinations: np.ndarray, label_ranks: np.ndarray) -> np.ndarray:
    """SRCC of each row of combinations (P, N) with a label given by its unit_ranks -> (P,); NaN for a constant row."""
    n = combinations.shape[1]
    order = np.argsort(combinations, axis=1)
    correlations = label_ranks[order] @ (np.arange(n) - (n - 1) / 2) / np.sqrt(n * (n * n - 1) / 12)
    ordered = np.take_along_axis(combinations, order, axis=1)
    for p in np.flatnonzero((np.diff(ordered, axis=1) == 0).any(axis=1)):  # ties: the ranks in order are wrong there
        constant = ordered[p, 0] == ordered[p, -1]
        correlations[p] = np.nan if constant else unit_ranks(combinations[p]) @ label_ranks
    return correlations


def rough_srccs(combinations: np.ndarray, label_ranks: np.ndarray) -> np.ndarray:
    """srccs of many rows (P, n) in float32, for a first look:
    equal values of a row count in the order they stand in."""
    order = np.argsort(combinations.astype(np.float32), axis=1)
    places = np.arange(combinations.shape[1], dtype=np.float32)
    places -= places.mean()
    return label_ranks.astype(np.float32)[order] @ (places / np.sqrt(places @ places))


class Agreement:
    """agreement(parameters (P, F)) -> (P, D) mean SRCC of each dataset's cells; each combination is computed once.

    cells: [(dataset, X (F, N), badness (N,))], badness a label of which higher means worse. srccs: the function above
    that is asked. The cells are computed side by side, on all cores.
    """

    def __init__(self, cells: Sequence[tuple[str, np.ndarray, np.ndarray]], srccs: Callable = srccs):
        self.srccs = srccs
        self.datasets = list(dict.fromkeys(dataset for dataset, _, _ in cells))
        self.cells = [(dataset, X, unit_ranks(badness)) for dataset, X, badness in cells]
        self.known = {}

    def __call__(self, parameters):
        parameters = [tuple(float(v) for v in p) for p in parameters]
        new = [p for p in dict.fromkeys(parameters) if p not in self.known]
        if new:
            self.known.update(zip(new, self.fresh(np.array(new))))
        return np.array([self.known[p] for p in parameters])

    def fresh(self, parameters: np.ndarray) -> np.ndarray:
        """(P, F) -> (P, D), computed anew; a combination that is constant in a cell has -1 there."""

        def of_cell(cell):
            _, X, ranks = cell
            return self.srccs(parameters @ X, ranks)

        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            values = list(pool.map(of_cell, self.cells))
        by_dataset = {d: [] for d in self.datasets}
        for (dataset, _, _), value in zip(self.cells, values):
            by_dataset[dataset].append(value)
        means = np.stack([np.mean(by_dataset[d], axis=0) for d in self.datasets], axis=1)
        return np.where(np.isnan(means), -1, means)

    def mean(self, parameters: Sequence, datasets: Sequence[str]) -> np.ndarray:
        """(P,) mean over the given datasets."""
        return self(parameters)[:, [self.datasets.index(d) for d in datasets]].mean(axis=1)


def choose(
    agreement: Agreement, datasets: Sequence[str], start: Sequence[float], free: Sequence[int]
) -> tuple[float, ...]:
    """The parameters, one after the other until none moves, that agree best with people on the given datasets -> tuple.

    start (F,): where to begin; free: indices of the parameters that may move. Raises ValueError without datasets.
    """
    if not datasets:
        raise ValueError("expected at least one dataset to choose parameters on, found none")
    best = tuple(start)
    for _ in range(ROUNDS):
        before = best
        for i in free:
            best = along(agreement, datasets, best, i)
        if best == before:
            break
    return best


def along(agreement, datasets, at, i):
    """`at` with its i-th parameter moved to the middle of the best ones, or `at` itself where that gains too little."""

    def line(values):
        return [(*at[:i], v, *at[i + 1 :]) for v in values]

    top = COARSE[np.argmax(agreement.mean(line(COARSE), datasets))]
    values = two_digits(top * FINE)
    means = agreement.mean(line(values), datasets)
    level = values[means >= means.max() - EQUAL]
    middle = two_digits(np.sqrt(level[0] * level[-1]))
    here, there = agreement.mean([*line(middle), at], datasets)
    return line(middle)[0] if here > there + EQUAL else at
