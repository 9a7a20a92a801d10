"""fuse.py --search: which metrics of a folder to fuse, held out as honestly as their exponents.

For each dataset held out, singles, all pairs and triples, and larger sets by forward selection, are ranked on the other
datasets alone: roughly, with coarse exponents and THIN pairs of images a cell, drawn at random. The best of each size and
the best few of all then get their exponents as agreement/exponents.py chooses them, on all pairs of images, and the best of these is what is reported.
"""

from itertools import combinations

import numpy as np

from agreement.exponents import COARSE, Agreement, choose, two_digits
from common.errors import UsageError
from common.terminal import progress
from reports.fuse.cells import enough
from reports.fuse.choice import KINDS, Choice, agreement_of

THIN = 3000
FINALISTS = 3
WORTH = 1e-3  # of mean SRCC that a larger set has to gain: what does not show in three decimals is not worth another network
POWERS = COARSE[COARSE > 0]


def search(folder, asked, most, seed=0):
    """-> (choices, agreement, cells, lacking, what was tried) over the methods of a fuse_cells.Folder, or those asked for.

    most: the largest number of factors; seed: of the sample of pairs that sets are ranked on. Raises UsageError where there are not two methods and two datasets to work with.
    """
    pool, notes = (tuple(asked), []) if asked else pool_of(folder)
    cells, lacking = folder.load(pool)
    enough(cells, lacking, "--search")
    agreement, features = agreement_of(cells, "exponents"), KINDS["exponents"][0]
    some = [sample(len(c.badness), seed) for c in cells]
    thin = Agreement([(c.dataset, features(c.distances[:, rows]), c.badness[rows]) for c, rows in zip(cells, some)])
    sizes, choices = {}, []
    for held in [*agreement.datasets, None]:
        on = tuple(d for d in agreement.datasets if d != held)
        ranked = rank(thin, len(pool), on, most, f"without {held}" if held else "in sample")
        choices.append(final(agreement, ranked, pool, held, on))
        sizes |= {members: len(members) for members in ranked if len(members) > 1}
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
            "notes": [f"pool: {', '.join(pool)}", *notes],
        },
    )


def sample(pairs, seed, most=THIN):
    """Up to `most` of so many pairs, drawn at random: every n-th one would meet the same few distortions of each reference."""
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
            f"--search: expected two methods or more with plain score files of each of {', '.join(folder.datasets)} "
            f"in {folder.path}, found {', '.join(pool) or 'none'}; choose among the datasets by --datasets"
        )
    return tuple(pool), [f"not in the pool, {why}: {', '.join(methods)}" for why, methods in left.items()]


def rank(agreement, count, on, most, desc):
    """{members: (mean SRCC over the datasets `on`, parameters)} of every set of up to `most` of `count` factors that was tried.

    A set is its best part that is one smaller, exponents as they are, times a power of the factor added.
    """
    found, unit = {}, np.eye(count)

    def attempt(members, lines):
        means = agreement.mean(lines, on)
        found[members] = float(means.max()), lines[int(means.argmax())]

    def best(size):
        return max((members for members in found if len(members) == size), key=lambda members: found[members][0])

    for i in range(count):
        attempt((i,), [tuple(unit[i])])
    for size in range(2, min(most, count) + 1):
        sets = list(combinations(range(count), size))
        if size > 3:
            top = best(size - 1)
            if found[top][0] <= found[best(size - 2)][0] + WORTH:
                break
            sets = [tuple(sorted((*top, i))) for i in range(count) if i not in top]
        with progress(len(sets), "set", f"{desc}, {size} factors") as bar:
            for members in sets:
                part = max((p for p in combinations(members, size - 1) if p in found), key=lambda p: found[p][0])
                [new] = set(members) - set(part)
                attempt(members, [tuple(np.array(found[part][1]) + power * unit[new]) for power in POWERS])
                bar.update()
    return found


def final(agreement, ranked, pool, held, on):
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
    return Choice(held, tuple(on), tuple(names), tuple(chosen[pool.index(n)] for n in names), tuple(names[1:]))
