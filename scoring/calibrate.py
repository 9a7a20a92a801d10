"""A single score as a predicted opinion: the logistic map of a finished run on a dataset with human labels.

    python run.py -dat tid2013 -m psnr
    python run_single_img.py -ref a.png -dis b.png -m psnr --calibrate results/tid2013_psnr.csv

The map is the 4-parameter logistic of the VQEG (agreement/fits.py), fitted to the file's scores and labels. The interval is where the
labels of images with such a score lie: 95 % of the errors, among the nearest scores, of maps fitted without the reference
that they were tried on (ten folds of references). It holds for images like the dataset's, distorted like the dataset's.
"""

from dataclasses import dataclass

import numpy as np

from common.errors import UsageError
from scorefiles.read import read

FOLDS = 10
LEVEL = 0.95
NEAREST = 50  # errors that make an interval: at least so many, and at least a fifth of the dataset
MAPPING = "logistic4"
DECIDES = ("protocol", "precision", "resizeHW", "weights")  # settings that must be those of the scores to be mapped


@dataclass(frozen=True)
class Calibration:
    """A score column's map to a dataset's label. Calling it with a score gives {label, low, high, extrapolated}."""

    column: str
    file: object  # scorefiles.ScoreFile
    fit: object  # fits.Fit of oriented predictions
    scores: np.ndarray  # (N,) oriented, sorted
    errors: np.ndarray  # (N,) label minus prediction of the map fitted without the reference, in the order of `scores`

    def __call__(self, score):
        x = score * self.file.sign
        n = min(len(self.scores), max(NEAREST, len(self.scores) // 5))
        near = self.errors[np.argsort(np.abs(self.scores - x), kind="stable")[:n]]
        label = float(self.fit([x])[0])
        low, high = label + np.quantile(near, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        outside = not self.scores[0] <= x <= self.scores[-1]
        return {"label": label, "low": float(low), "high": float(high), "extrapolated": bool(outside)}

    def statement(self):
        """Which dataset, which fit, how good: the line that stands under calibrated scores."""
        from agreement.correlations import plcc
        from agreement.fits import MAPPINGS

        table = self.file.table
        label = self.file.document.get("label") or known(self.file.dataset, "label") or "its label"
        parameters = ", ".join(f"b{i} {v:.5g}" for i, v in enumerate(self.fit.parameters, 1))
        parameters += "" if self.fit.converged else " (arbitrary: the data do not level off; the curve is good)"
        mapped = self.fit(self.file.sign * table["pred"].to_numpy())
        rmse = np.sqrt(np.mean(self.errors**2))
        count = f"{len(table)}" if self.file.expected in (None, len(table)) else f"{len(table)} of {self.file.expected}"
        return (
            f"predicted from {self.column}: the label of {self.file.dataset} ({label}; higher is {self.file.label_higher_is}) "
            f"by {MAPPING} {MAPPINGS[MAPPING].formula}, x = {'' if self.file.sign > 0 else '-'}{self.column}, {parameters}, "
            f"fitted to {count} pairs of {self.file.path.name}: PLCC {plcc(mapped, table['mos']):.3f}, RMSE {rmse:.3g} "
            f"on references not fitted to; interval: {100 * LEVEL:.0f} % of the labels at such a score"
            + ("" if self.file.document else "; the file has no JSON, so its protocol and weights were not checked")
        )


def known(dataset, what):
    from datasets import DATASETS

    return getattr(DATASETS[dataset], what) if dataset in DATASETS else None


def calibration(path, columns, settings):
    """Fit the map of a finished score file to one of the score columns -> Calibration.

    columns: names of what is being scored; settings: {column: what decides its scores}, compared with the file's. Raises
    UsageError: a partial or perturbed file, another method, other settings, fewer than 3 references, a fit that does not rise.
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
    theirs = file.settings
    differ = [
        f"{k}: {theirs[k]} there, {settings[file.method][k]} here"
        for k in DECIDES
        if k in theirs and theirs[k] != settings[file.method][k]
    ]
    if differ:
        raise UsageError(f"--calibrate {path}: made with other settings ({'; '.join(differ)}); score with the same")
    x, y = file.sign * file.table["pred"].to_numpy(), file.table["mos"].to_numpy()
    references = np.unique(file.table["ref"], return_inverse=True)[1]
    if references.max() < 2:
        raise UsageError(f"--calibrate {path}: {references.max() + 1} references, expected at least 3 for an interval")
    errors = np.empty(len(x))
    for fold in range(min(FOLDS, references.max() + 1)):
        out = references % FOLDS == fold
        errors[out] = y[out] - fitted(x[~out], y[~out], path)(x[out])
    order = np.argsort(x, kind="stable")
    return Calibration(file.method, file, fitted(x, y, path, strict=True), x[order], errors[order])


def fitted(x, y, path, strict=False):
    from agreement.fits import fit

    try:
        found = fit(MAPPING, x, y)
    except ValueError as error:
        raise UsageError(f"--calibrate {path}: {error}") from None
    if strict and not found.monotonic:
        raise UsageError(
            f"--calibrate {path}: the fitted curve does not rise with the score, so it predicts no opinion: this "
            "metric does not agree with the labels of this dataset"
        )
    return found
