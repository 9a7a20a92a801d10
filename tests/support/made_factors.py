"""Score files for the tests of fuse.py: made up, with known best exponents."""

import json

import numpy as np
import pandas as pd

import fuse

PAIRS, REFERENCES = 240, 12


def names(dataset, n=PAIRS):
    dis = [f"{dataset}_{i % REFERENCES:02d}_{i // REFERENCES:03d}.png" for i in range(n)]
    return dis, [f"r{i % REFERENCES:02d}.png" for i in range(n)]


def put(folder, name, pred, mos, settings=None, **columns):
    """One score file; settings: what its JSON holds, none without."""
    dis, ref = names(name.partition("_")[0], len(pred))
    pd.DataFrame({"dis": dis, "ref": ref, "mos": mos, "pred": pred, **columns}).to_csv(
        folder / f"{name}.csv", index=False
    )
    if settings is not None:
        (folder / f"{name}.json").write_text(json.dumps(settings))


def made(folder, power, datasets=("alpha", "beta", "gamma"), perturbations=("", "_rot-1"), noise=0.05):
    """Files of the factors a and b, in which power[dataset] is the exponent of b that fits the labels best (0 if not
    given)."""
    for i, dataset in enumerate(datasets):
        label = np.random.default_rng(100 + i).normal(size=PAIRS)  # the dataset's, so the same under each perturbation
        for j, perturbation in enumerate(perturbations):
            a, b, rest = np.random.default_rng(10 * i + j).normal(size=(3, PAIRS))
            fit = np.argsort(a + power.get(dataset, 0) * b + noise * rest)[np.argsort(np.argsort(label))]
            put(folder, f"{dataset}_a{perturbation}", np.exp(a[fit]), label)
            put(folder, f"{dataset}_b{perturbation}", np.exp(b[fit]), label)


def report(folder, *argv):
    """fuse.py's JSON."""
    out = folder / "report.json"
    assert not fuse.main([str(folder), *map(str, argv), "--resamples", "100", "--format", "json", "-o", str(out)])
    return json.loads(out.read_text())


def held_out(result, dataset):
    return next(h for h in result["held_out"] if h["held_out"] == dataset)


def describe(name, **settings):
    return lambda folder: (folder / f"{name}.json").write_text(json.dumps({"settings": settings}))
