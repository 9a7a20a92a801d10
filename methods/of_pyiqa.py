"""Any full-reference metric of the package pyiqa as a method: -m pyiqa:ssim. It is never a requirement: whoever wants
its rows installs it, and its licence (PolyForm Noncommercial 1.0.0) allows no commercial use.

One pair at a time, since several of its metrics look at the whole batch. Images go in as they are; the direction is
that of its registry; trained weights are downloaded by it when a metric is loaded, and are not named in the score file:
its version is.
"""

import importlib.metadata
from dataclasses import dataclass

from common.errors import UsageError, WorkError, one_line, unknown
from distances import Features
from methods.model import Column, Model

PREFIX = "pyiqa:"


@dataclass
class PyiqaModel(Model):
    """A Model that is known by the version of the package."""

    def files(self):
        return [{"name": self.name, "version": importlib.metadata.version("pyiqa")}]


def registry():
    """pyiqa's metrics {name: settings}. UsageError where the package is missing or cannot be imported."""
    try:
        from pyiqa.default_model_configs import DEFAULT_CONFIGS
    except ImportError as error:
        raise UsageError(
            f"-m {PREFIX}NAME: the package pyiqa cannot be imported ({one_line(error)}); install it yourself "
            "(pip install pyiqa), if its licence, which allows no commercial use, suits you"
        ) from None
    return DEFAULT_CONFIGS


def pyiqa_model(key, names, distances, options):
    """A maker of build.MAKERS: 'pyiqa:ssim' -> Model.
    UsageError for a metric that pyiqa has not, or that takes no reference."""
    name, known = key.removeprefix(PREFIX), registry()
    full = [n for n, settings in known.items() if settings["metric_mode"] == "FR"]
    if name not in known:
        raise unknown("metric of pyiqa", name, full)
    if name not in full:
        raise UsageError(f"-m {key}: {name} takes no reference; full-reference metrics of pyiqa: {', '.join(full)}")
    label = f"pyiqa-{name}"
    higher_is = "worse" if known[name].get("lower_better", False) else "better"

    metric = PyiqaMetric(key)
    return PyiqaModel(label, options, [Column(label, key, None, "metric", metric, higher_is)], None, loader=metric.load)


class PyiqaMetric:
    """A metric of pyiqa by its name on the command line; built by `load`, then compare(f, g) of a score column."""

    def __init__(self, key):
        self.key, self.function = key, None

    def load(self, model):
        """-> features(x): the images themselves."""
        import pyiqa
        import torch

        name, device = self.key.removeprefix(PREFIX), torch.device(model.options.device)
        try:  # as_loss: with gradients, and without its own check of the range
            self.function = pyiqa.create_metric(name, as_loss=True, loss_reduction="none", device=device)
        except Exception as error:  # a download that fails, a package that it lacks: anything may happen in there
            cause = f"{type(error).__name__}: {one_line(error)[:200]}"
            raise UsageError(f"-m {self.key}: pyiqa cannot build it ({cause})") from None
        return lambda x: Features([x])

    def __call__(self, f, g):
        import torch

        pairs = zip(f.blocks[0].split(1), g.blocks[0].split(1))
        try:
            return torch.cat([self.function(distorted, reference).reshape(1) for distorted, reference in pairs])
        except Exception as error:
            raise WorkError(f"{self.key} failed: {type(error).__name__}: {one_line(error)[:200]}") from None
