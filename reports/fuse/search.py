"""fuse.py --search: which metrics of a folder to fuse, held out as honestly as their exponents.

For each dataset held out, singles, all pairs and triples, and larger sets by forward selection, are ranked on the other
datasets alone: roughly, with coarse exponents and THIN pairs of images a cell, drawn at random. Where there are more
than MANY sets of a size, a first look at LOOK pairs a cell leaves KEPT of them, and how far the best of the others
stood below is said. The best of each size and the best few of all then get their exponents as agreement/exponents.py
chooses them, on all pairs of images, and the best of these is what is reported.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from agreement.exponents import COARSE, Agreement, choose, rough_srccs, srccs, two_digits
from common.errors import UsageError
from common.terminal import progress
from reports.fuse.cells import Folder, enough
from reports.fuse.choice import KINDS, Choice, agreement_of

THIN = 3000
MANY, LOOK, KEPT = 1000, 300, 300
BATCH = 64  # sets at a time
FINALISTS = 3
# of mean SRCC that a larger set has to gain: what does not show in three decimals is not worth another network
WORTH = 1e-3
POWERS = COARSE[COARSE > 0]


def search(folder: Folder, methods: Sequence[str], most: int, seed: int = 0) -> tuple:
    """-> (choices, agreement, cells, lacking, what was tried) over the methods of a cells.Folder,
    or those asked for.

    most: the largest number of factors; seed: of the sample of pairs that sets are ranked on. Raises UsageError where
    there are not two methods and two datasets to work with.
    """
    pool, notes = (tuple(methods), []) if methods else pool_of(folder)
    cells, lacking = folder.load(pool)
    enough(cells, lacking, "--search")
    agreement, features = agreement_of(cells, "exponents"), KINDS["exponents"][0]

    def sampled(most, srccs):
        rows = [sample(len(c.badness), seed, most) for c in cells]
        return Agreement(
            [(c.dataset, features(c.distances[:, some]), c.badness[some]) for c, some in zip(cells, rows)], srccs
        )

    thin, look = sampled(THIN, srccs), sampled(LOOK, rough_srccs)
    sizes, choices, gaps = {}, [], {}
    for held_out in [*agreement.datasets, None]:
        on = tuple(d for d in agreement.datasets if d != held_out)
        ranking = Ranking(thin, look, len(pool), on, f"without {held_out}" if held_out else "in sample")
        choices.append(final(agreement, ranking.up_to(most), pool, held_out, on))
        sizes |= {members: len(members) for members in ranking.tried if len(members) > 1}
        for size, gap in ranking.gaps.items():
            gaps.setdefault(size, []).append(gap)
    counts = list(sizes.values())
    return (
        choices,
        agreement,
        cells,
        lacking,
        {
            "pool": list(pool),
            "pairs": counts.count(2),
            "triples": counts.count(3),
            "forward": sum(n > 3 for n in counts),
            "combinations": len(counts),
            "notes": [f"pool: {', '.join(pool)}", *notes, *map(looked, gaps.items())],
        },
    )


def sample(pairs, seed, most=THIN):
    """Up to `most` of so many pairs, drawn at random:
    every n-th one would meet the same few distortions of each reference."""
    if pairs <= most:
        return np.arange(pairs)
    return np.sort(np.random.default_rng(seed).choice(pairs, most, replace=False))


def pool_of(folder):
    """-> (methods whose plain files are there for every dataset, notes on those left out and why)."""
    pool, left = [], {}
    for method in folder.methods:
        keys = [key for key in folder.cells if folder.usable(key, method)]
        lacks = [d for d in folder.datasets if (d, "none", None) not in keys]
        files = [] if lacks else [folder.read(key, method)[0] for key in keys]
        reasons = {
            f"lacking {', '.join(lacks)}": lacks,
            "fused": any("fused" in file.settings for file in files),
            "of random weights": any(file.random for file in files),
            "with negative values": any((file.table["pred"] < -folder.floor).any() for file in files),
        }
        why = next((reason for reason, holds in reasons.items() if holds), None)
        if why:
            left.setdefault(why, []).append(method)
        else:
            pool.append(method)
    if len(pool) < 2:
        raise UsageError(
            f"--search: expected two methods or more with plain score files of each dataset "
            f"({', '.join(folder.datasets) or 'there is none'}) in {folder.path}, found {', '.join(pool) or 'none'}; "
            "choose among the datasets by --datasets"
        )
    return tuple(pool), [f"not in the pool, {why}: {', '.join(methods)}" for why, methods in left.items()]


def looked(item):
    """The note on the sets of one size that a first look left out."""
    size, gaps = item
    below = f"at least {min(gaps):.3f} SRCC below" if min(gaps) > 0 else "level with"
    return (
        f"sets of {size}: a first look at {LOOK} pairs a cell left {KEPT}; the best of the others stood {below} the "
        "best of those"
    )


class Ranking:
    """The sets of up to so many of `count` factors, ranked by their mean SRCC over the datasets `on`.

    thin, look: the Agreements of the sample that ranks and of a smaller one. `best_of` {members: (mean SRCC,
    parameters)} of the sets that were ranked, `tried` all of which anything was computed, `gaps` {size: how far below
    the best of a first look the best set stood that it left out}. A set is its best part that is one smaller, exponents
    as they are, times a power of the factor added.
    """

    def __init__(self, thin, look, count, on, desc):
        self.thin, self.look, self.count, self.on, self.desc = thin, look, count, on, desc
        self.best_of, self.tried, self.gaps = {}, set(), {}

    def up_to(self, most):
        """-> best_of"""
        for i, unit in enumerate(np.eye(self.count)):
            self.best_of[(i,)] = float(self.thin.mean([unit], self.on)[0]), tuple(unit)
        for size in range(2, min(most, self.count) + 1):
            sets = list(combinations(range(self.count), size))
            if size > 3:
                top = self.best(size - 1)
                if self.best_of[top][0] <= self.best_of[self.best(size - 2)][0] + WORTH:
                    break
                sets = [tuple(sorted((*top, i))) for i in range(self.count) if i not in top]
            self.tried.update(sets)
            if len(sets) > MANY:
                sets = self.worth_more(sets, size)
            for members, mean, parameters in self.ranked(sets, self.thin, f"{size} factors"):
                self.best_of[members] = mean, parameters
        return self.best_of

    def best(self, size):
        return max(
            (members for members in self.best_of if len(members) == size), key=lambda members: self.best_of[members][0]
        )

    def worth_more(self, sets, size):
        """The KEPT best sets of a first look."""
        means = {members: mean for members, mean, _ in self.ranked(sets, self.look, f"{size} factors, a first look")}
        order = sorted(sets, key=lambda members: -means[members])
        self.gaps[size] = means[order[0]] - means[order[KEPT]]
        return order[:KEPT]

    def ranked(self, sets, agreement, what):
        """Yields (members, mean SRCC, parameters) of each set at the best of the POWERS of the factor added."""
        columns = [agreement.datasets.index(d) for d in self.on]
        with progress(len(sets), "set", f"{self.desc}, {what}") as bar:
            for start in range(0, len(sets), BATCH):
                some = sets[start : start + BATCH]
                lines = np.concatenate([self.lines(members) for members in some])
                means = agreement.fresh(lines)[:, columns].mean(1).reshape(len(some), -1)
                for members, row, at in zip(some, means, lines.reshape(len(some), len(POWERS), -1)):
                    yield members, float(row.max()), tuple(at[row.argmax()])
                bar.update(len(some))

    def lines(self, members):
        """(POWERS, count) parameters: the best part of a set with each power of the factor that it lacks."""
        parts = [part for part in combinations(members, len(members) - 1) if part in self.best_of]
        part = max(parts, key=lambda part: self.best_of[part][0])
        [new] = set(members) - set(part)
        lines = np.tile(self.best_of[part][1], (len(POWERS), 1))
        lines[:, new] += POWERS
        return lines


def final(agreement, ranked, pool, held_out, on):
    """The Choice among the best of each size and the best few: a larger set has to be WORTH it."""
    order = sorted(ranked, key=lambda members: -ranked[members][0])
    finalists = {*order[:FINALISTS], *(next(m for m in order if len(m) == n) for n in {len(m) for m in order})}
    mean, chosen, unit = -np.inf, None, None
    for members in sorted(finalists, key=lambda members: (len(members), members)):
        exponents = np.array(ranked[members][1])
        first = int(exponents.argmax())  # the unit, to which the others are relative
        start = [float(two_digits(v)[0]) for v in exponents / exponents[first]]
        parameters = choose(agreement, on, start, [i for i in members if i != first])
        reached = float(agreement.mean([parameters], on)[0])
        if reached > mean + WORTH:
            mean, chosen, unit = reached, parameters, first
    names = [pool[i] for i in sorted(range(len(pool)), key=lambda i: i != unit) if chosen[i]]
    return Choice(held_out, tuple(on), tuple(names), tuple(chosen[pool.index(n)] for n in names), tuple(names[1:]))
