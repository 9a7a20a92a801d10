"""`score_dataset`: run.py from Python, through the same function."""

from collections.abc import Sequence
from pathlib import Path

from methods.model import Options
from methods.options import models_of, pick_device
from scoring.experiment import Result, execute
from scoring.settings import Run
from scoring.settings import perturbations as pairs_of


def score_dataset(
    dataset: str | Path | Sequence[str | Path],
    *,
    methods: Sequence[str],
    distances: Sequence[str] = (),
    perturbations: Sequence[str] = ("none",),
    percent: Sequence[float] = (1.0,),
    device: str = "auto",
    **flags,
) -> Result:
    """Score a dataset, or several, and say how well the scores agree with people:
    what run.py does, with the same files.

    dataset: names of the registry or CSV files. methods: as -m takes them, and score columns as their files are named
    ("st_alexnet_cos"). distances: as -d, for the backbones among the methods. perturbations, percent: as -rob and -pct.
    flags: any other flag of run.py that decides a run, under its long name with underscores and with run.py's default:
    savedir, data_root, resizeHW, limit, higher_is, skip_bad, noise_floor, overwrite, keep_going, shard, batch_size,
    workers, progress (of settings.Run); weights, weights_dir, precision, protocol, normalize, window, stride, layers,
    per_layer, align (of methods.model.Options).

    Returns a Result: `table`, a DataFrame with a row a score file (plcc, srcc, krcc; positive: agrees with people),
    `files`, the finished score files, `notes`, what a reader of the table must know, `missing`. What is there and
    complete is used, what is partial is continued. Raises UsageError for what is wrong with the input, WorkError for a
    failure at work, TypeError for a flag that is not known.
    """
    known = {
        kind: {name: flags.pop(name) for name in kind.__dataclass_fields__ if name in flags} for kind in (Options, Run)
    }
    if flags:
        raise TypeError(f"score_dataset() got an unexpected keyword argument {next(iter(flags))!r}")
    options = Options(**known[Options], device=pick_device(device))
    run = Run(**known[Run], perturbations=pairs_of(perturbations, percent))
    models, fusions = models_of(methods, distances, options)
    names = [dataset] if isinstance(dataset, (str, Path)) else dataset
    return execute([str(name) for name in names], models, fusions, run)
