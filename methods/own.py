"""One's own metric in a benchmark without editing a file: -m my_metric.py:function.

    def function(reference, distorted):      # tensors (3, H, W), float32 RGB in [0, 1], on the run's device
        return (reference - distorted).abs().mean()      # a number: float, 0-dim tensor or array
    function.higher_is = "worse"             # what a higher score means: "worse" (the default, a distance) or "better"

Scores stand under the name my_metric-function. The file's sha256 is recorded with them, so that a changed file is not
taken for the same metric; what the file itself imports is not covered. It sees whole images, no windows.
"""

import hashlib
import importlib.util
import traceback
from dataclasses import dataclass
from pathlib import Path

from common.errors import UsageError, WorkError, one_line
from methods.model import Column, Model


@dataclass
class OwnModel(Model):
    """A Model whose only file is the metric's own."""

    path: Path = None

    def files(self):
        return [
            {"name": self.name, "sha256": hashlib.sha256(self.path.read_bytes()).hexdigest(), "file": self.path.name}
        ]


def own_model(key, names, distances, options):
    """A maker of build.MAKERS: 'my_metric.py:function' -> Model. Runs the file. Raises UsageError for a missing or
    broken file or function."""
    file, _, function_name = key.rpartition(":")
    path = Path(file)
    label = f"{path.stem}-{function_name}"
    function = load(path, function_name)
    higher_is = getattr(function, "higher_is", "worse")
    if higher_is not in ("worse", "better"):
        raise UsageError(f"{key}: expected {function_name}.higher_is = 'worse' or 'better', found {higher_is!r}")

    def compare(f, g):
        import torch

        values = [call(function, key, reference, distorted) for distorted, reference in zip(f.blocks[0], g.blocks[0])]
        return torch.stack(values)

    return OwnModel(
        label, options, [Column(label, label, None, "own", compare, higher_is)], None, loader=pixels, path=path
    )


def load(path, name):
    """The function `name` of a Python file. Raises UsageError."""
    if not path.is_file():
        raise UsageError(f"-m {path}:{name}: there is no file {path}")
    spec = importlib.util.spec_from_file_location(f"own_metric_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the file is foreign code: anything may happen in it
        raise UsageError(f"-m {path}:{name}: {path} cannot be imported: {cause(error, path)}") from error
    function = getattr(module, name, None)
    if not callable(function):
        there = [n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == module.__name__]
        raise UsageError(f"-m {path}:{name}: {path} has no function {name!r}; it has {', '.join(there) or 'none'}")
    return function


def cause(error, path):
    """'ValueError: text (line 12)', the line that of the metric's file."""
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).name == path.name
    ]
    return f"{type(error).__name__}: {one_line(error)}" + (f" (line {lines[-1]})" if lines else "")


def call(function, key, reference, distorted):
    """The function's value as a 0-dim float64 tensor on the images' device (Scorer needs its gradient).
    Raises WorkError."""
    import torch

    try:
        value = function(reference, distorted)
    except Exception as error:
        raise WorkError(f"{key} failed: {cause(error, Path(key.rpartition(':')[0]))}") from error
    if isinstance(value, torch.Tensor) and value.numel() == 1 and not value.is_complex():
        return value.reshape(()).double().to(reference.device)
    try:
        return torch.tensor(float(value), dtype=torch.float64, device=reference.device)
    except (TypeError, ValueError):
        raise WorkError(f"{key}: expected a number, found {type(value).__name__} {str(value)[:60]!r}") from None


def pixels(model):
    from distances import Features

    return lambda x: Features([x])
