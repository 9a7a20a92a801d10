"""A single score as a predicted opinion: the logistic map of a finished run on a dataset with human labels.

    python run.py -dat tid2013 -m psnr
    python run_single_img.py -ref a.png -dis b.png -m psnr --calibrate results/tid2013_psnr.csv

The map is the 4-parameter logistic of the VQEG (agreement/fits.py), fitted to the file's scores and labels. The
interval
is where the labels of images with such a score lie: of the errors among the n nearest scores, made by maps fitted
without the
reference that they are tried on, the ceil((n + 1) 0.95)-th smallest on either side of the map. For a new reference
like the
dataset's that is a conformal interval (Vovk, Gammerman, Shafer 2005, Algorithmic learning in a random world; Lei et
al. 2018,
JASA 113, 1094-1111), which the plain 95 % quantile of few errors is not: it is too short. It holds for images like the
dataset's, distorted like the dataset's.
"""

from dataclasses import dataclass

import numpy as np

from agreement.fits import Fit
from common.errors import UsageError
from common.text import count
from scorefiles.read import ScoreFile, read

LEVEL = 0.95
NEAREST = 50  # errors that make an interval: at least so many, and at least a fifth of the dataset
MAPPING = "logistic4"
UNBOUNDED = {
    "low": "the labels do not level off at the low end of the scores",
    "high": "the labels do not level off at the high end of the scores",
    "both": "the labels do not level off",
    "step": "the curve is a step",
}
DECIDES = ("protocol", "precision", "resizeHW", "weights")  # settings that must be those of the scores to be mapped


@dataclass(frozen=True)
class Calibration:
    """A score column's map to a dataset's label. Calling it with a score gives {label, low, high, extrapolated}."""

    column: str
    file: ScoreFile
    fit: Fit  # of oriented predictions
    scores: np.ndarray  # (N,) oriented, sorted
    errors: np.ndarray  # (N,) label minus prediction of the map fitted without the reference, in the order of `scores`
    references: np.ndarray  # (N,) which reference, in the order of `scores`

    def __call__(self, score):
        x = score * self.file.sign
        near = self.errors[nearest(self.scores, x)]
        label = float(self.fit([x])[0])
        half = conformal(near)
        low, high = label - half, label + half
        outside = not self.scores[0] <= x <= self.scores[-1]
        return {"label": label, "low": float(low), "high": float(high), "extrapolated": bool(outside)}

    @property
    def labels(self) -> tuple[float, float]:
        """The lowest and the highest label of the dataset: an interval may leave them."""
        return float(self.file.table["mos"].min()), float(self.file.table["mos"].max())

    def coverage(self, most=1000):
        """Share of labels that the intervals hold when their own reference's errors take no part in them: of all
        pairs, or of `most` evenly spaced in the score."""
        places = np.unique(np.linspace(0, len(self.scores) - 1, most).astype(int))
        covered = []
        for i in places:
            others = self.references != self.references[i]
            near = self.errors[others][nearest(self.scores[others], self.scores[i])]
            covered.append(abs(self.errors[i]) <= conformal(near))
        return float(np.mean(covered))

    def statement(self):
        """Which dataset, which fit, how good: the line that stands under calibrated scores."""
        from agreement.correlations import plcc
        from agreement.fits import MAPPINGS

        table = self.file.table
        label = self.file.document.get("label") or known(self.file.dataset, "label") or "its label"
        parameters = ", ".join(f"b{i} {v:.5g}" for i, v in enumerate(self.fit.parameters, 1))
        if self.fit.unbounded:
            parameters += f" (arbitrary: {UNBOUNDED[self.fit.unbounded]}; the curve is good)"
        mapped = self.fit(self.file.sign * table["pred"].to_numpy())
        rmse = np.sqrt(np.mean(self.errors**2))
        pairs = f"{len(table)}" if self.file.expected in (None, len(table)) else f"{len(table)} of {self.file.expected}"
        return (
            f"predicted from {self.column}: the label of {self.file.dataset} ({label}; higher is "
            f"{self.file.label_higher_is}) "
            f"by {MAPPING} {MAPPINGS[MAPPING].formula}, x = {'' if self.file.sign > 0 else '-'}{self.column}, "
            f"{parameters}, "
            f"fitted to {pairs} pairs of {self.file.path.name}: PLCC {plcc(mapped, table['mos']):.3f}, RMSE {rmse:.3g} "
            f"on references not fitted to; interval: {100 * LEVEL:.0f} % of the labels at such a score (held "
            f"{100 * self.coverage():.1f} "
            f"% of the labels of references left out)"
            + ("" if self.file.document else "; the file has no JSON, so its protocol and weights were not checked")
        )


def nearest(scores, x):
    """Indices of the scores (N,) nearest to x whose errors make an interval."""
    n = min(len(scores), max(NEAREST, len(scores) // 5))
    return np.argsort(np.abs(scores - x), kind="stable")[:n]


def conformal(errors, level=LEVEL):
    """Half width that holds a new error with probability `level`, from n exchangeable errors: the ceil((n + 1)
    level)-th
    smallest absolute one; infinite where n is too small for the level (below 19 for 95 %)."""
    rank = int(np.ceil((len(errors) + 1) * level - 1e-9))
    return float(np.sort(np.abs(errors))[rank - 1]) if rank <= len(errors) else np.inf


def known(dataset, what):
    from datasets import DATASETS

    return getattr(DATASETS[dataset], what) if dataset in DATASETS else None


def calibration(path, columns, settings):
    """Fit the map of a finished score file to one of the score columns -> Calibration.

    columns: names of what is being scored; settings: {column: what decides its scores}, compared with the file's.
    Raises
    UsageError: a partial or perturbed file, another method, other settings, fewer than 3 references, a fit that does
    not rise.
    """
    file = read(path)
    if file.method not in columns:
        raise UsageError(
            f"--calibrate {path}: scores of {file.method}, but {', '.join(columns)} is scored here; "
            "give the run of the same method and distance"
        )
    if not file.complete:
        raise UsageError(f"--calibrate {path}: {len(file.table)} of {file.promised or '?'} pairs; finish the run first")
    if file.perturbation != "none":
        raise UsageError(
            f"--calibrate {path}: scores under {file.perturbation}-{file.pct:g}; give the unperturbed file"
        )
    stored = file.settings
    differ = [
        f"{k}: {stored[k]} there, {settings[file.method][k]} here"
        for k in DECIDES
        if k in stored and stored[k] != settings[file.method][k]
    ]
    if differ:
        raise UsageError(f"--calibrate {path}: made with other settings ({'; '.join(differ)}); score with the same")
    x, y = file.sign * file.table["pred"].to_numpy(), file.table["mos"].to_numpy()
    references = np.unique(file.table["ref"], return_inverse=True)[1]
    if references.max() < 2:
        there = count(int(references.max()) + 1, "reference")
        raise UsageError(f"--calibrate {path}: {there}, expected at least 3 for an interval")
    least = int(np.ceil(LEVEL / (1 - LEVEL) - 1e-9))
    if len(x) < least:
        raise UsageError(
            f"--calibrate {path}: {len(x)} pairs, expected at least {least} for an interval of {LEVEL:.0%}"
        )
    whole = fitted(x, y, path, strict=True)
    errors = np.empty(len(x))
    for reference in range(references.max() + 1):
        out = references == reference
        errors[out] = y[out] - fitted(x[~out], y[~out], path, near=whole)(x[out])
    order = np.argsort(x, kind="stable")
    return Calibration(file.method, file, whole, x[order], errors[order], references[order])


def fitted(x, y, path, strict=False, near=None):
    from agreement.fits import fit

    try:
        mapping = fit(MAPPING, x, y, near)
    except ValueError as error:
        raise UsageError(f"--calibrate {path}: {error}") from None
    if strict and not mapping.usable:
        raise UsageError(
            f"--calibrate {path}: the fitted curve does not rise with the score, so it predicts no opinion: this "
            "metric does not agree with the labels of this dataset"
        )
    return mapping
