"""The sections of bench.py about what is made of score files. Each yields (what, text, numbers)."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from common.errors import UsageError
from common.timing import interleaved, of_core, of_process
from scorefiles.read import parse_name, stem

ROOT = Path(__file__).resolve().parents[1]
REFERENCES = {"live": 29, "tid2013": 25, "pipal": 200}
CELLS = (("none", 0.0), ("tra", 1.0), ("sca", 1.0), ("rot", 1.0))
Section = Iterator[tuple[str, str, dict]]


def reading(rounds: int, scores: str | None = None) -> Section:
    """What is made of score files, against pandas.read_csv of the same files, in this process's CPU time.

    scores: their folder; None: made-up files of the names that the paper's tables need.
    """
    import pandas as pd

    from reports.compare.grouping import read_groups
    from reports.fuse.cells import Folder
    from reports.tables.cells import TITLES, fill, published
    from scorefiles.folder import Folders, scan

    cells = published(TITLES)
    names = [cell.scores_file for cell in cells]

    def read_cells(folder):
        fused = Folder(folder)
        return [fused.usable(key, method) for key, methods in fused.cells.items() for method in list(methods)]

    with tempfile.TemporaryDirectory() as made:
        folder = scores or made
        if not scores:
            make_files(Path(made), names)
        paths = [path for name, [path, *_] in scan(folder).items() if path.name == name]
        if not paths:
            raise UsageError(f"--scores {folder}: no finished score file in this folder")
        of_tables = [path for path in paths if path.name in set(names)]
        seconds = interleaved(
            {
                "read_csv": lambda: [pd.read_csv(path) for path in paths],
                "read_csv of tables.py's": lambda: [pd.read_csv(path) for path in of_tables],
                "tables.py": lambda: fill(cells, Folders([folder])),
                "compare.py's reading": lambda: read_groups(paths),
                "fuse.py's reading": lambda: read_cells(folder),
            },
            rounds,
            clock=time.process_time,
        )
    for name in list(seconds)[2:]:
        of, files = ("read_csv of tables.py's", of_tables) if name == "tables.py" else ("read_csv", paths)
        ratio = seconds[name] / seconds[of]
        text = f"{ratio:.1f} times pandas.read_csv ({seconds[name]:.2f} s of CPU for {len(files)} files)"
        yield f"{name} of score files", text, {"ratio": ratio, "seconds": seconds[name], "files": len(files)}


def comparing() -> Section:
    """compare.py on 11 metrics of LIVE's size and on 20 of PIPAL's: whole processes on made-up files."""
    for dataset, metrics in (("live", 11), ("pipal", 20)):
        with tempfile.TemporaryDirectory() as folder:
            files = make_files(Path(folder), [f"{stem(dataset, f'm{k}')}.csv" for k in range(metrics)])
            page = str(Path(folder, "page.html"))
            seconds, core = whole([str(ROOT / "compare.py"), *files, "--resamples", "2000", "-o", page])
        numbers = {"seconds": seconds, "core_seconds": core}
        text = f"{seconds:.0f} s, {core:.0f} s of one core"
        yield f"compare.py, {dataset}, {metrics} metrics, 2,000 resamples", text, numbers


def searching(methods: int) -> Section:
    """fuse.py --search over so many methods and 12 cells of the sizes of LIVE, TID2013 and PIPAL: a whole process."""
    names = [f"{stem(dataset, f'm{k}', *cell)}.csv" for dataset in REFERENCES for cell in CELLS for k in range(methods)]
    with tempfile.TemporaryDirectory() as folder:
        make_files(Path(folder), names)
        seconds, core = whole([str(ROOT / "fuse.py"), folder, "--search"])
    cells = len(REFERENCES) * len(CELLS)
    text = f"{seconds:.0f} s, {core:.0f} s of one core, for {methods} methods in {cells} cells"
    yield "fuse.py --search", text, {"seconds": seconds, "core_seconds": core, "methods": methods}


def whole(arguments):
    """(seconds by the clock, seconds of one core) of `python ARGUMENTS`."""
    before = of_core()
    return of_process(arguments), of_core() - before


def make_files(folder, names):
    """Paths of made-up score files of these names, of their datasets' sizes: seeded labels, and metrics that follow
    them better or worse (in the order of the names, the best first) and share a part of their errors."""
    import numpy as np
    import pandas as pd

    from datasets import DATASETS

    random, paths, methods, labels = np.random.default_rng(0), [], {}, {}
    for name in dict.fromkeys(names):
        dataset, method, *_ = parse_name(name)
        methods.setdefault(dataset, []).extend([] if method in methods.get(dataset, ()) else [method])
        paths.append(str(folder / name))
    for dataset in methods:
        labels[dataset] = random.normal(size=(2, DATASETS[dataset].pairs))
    for path in paths:
        dataset, method, *_ = parse_name(path)
        label, shared = labels[dataset]
        share = methods[dataset].index(method) / len(methods[dataset])
        error = (0.3 + share) * (random.normal(size=len(label)) + shared / 2)
        sign = 1 if DATASETS[dataset].higher_is == "worse" else -1
        rows = {
            "dis": [f"distorted/{i:05d}.bmp" for i in range(len(label))],
            "ref": [f"{i * REFERENCES[dataset] // len(label):03d}.bmp" for i in range(len(label))],
            "mos": (50 + 10 * label).round(5),
            "pred": np.exp(sign * label + error),
        }
        pd.DataFrame(rows).to_csv(path, index=False)
    return paths
