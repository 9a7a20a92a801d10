"""The page docs/demo.md: every method that runs without a download on the photographs of demo, plain and perturbed.

    python scripts/demo_page.py > docs/demo.md        # an hour or more on a CPU, most of it st_vgg16's
    python scripts/demo_page.py -m psnr st_alexnet    # some of the methods

Scores go to results/demo (-sdir), where a run that was stopped goes on; what run.py prints goes to stderr.
"""

import argparse
import csv
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from common.errors import WorkError  # noqa: E402
from common.terminal import run_main  # noqa: E402
from distances import of_blocks  # noqa: E402
from methods.metrics import METRICS  # noqa: E402
from models import BACKBONES  # noqa: E402

PERTURBATIONS = ("none", "tra", "sca", "rot")
PAGE = """# The methods on demo

Made by `{command} > docs/demo.md`

Spearman's rank correlation of methods that need no download with the **strength** (1 to 5) of five kinds of damage to
five photographs, 125 pairs, plain (none) and perturbed by 1 %: shifted (tra), scaled (sca), turned (rot). Strengths
are not opinions: what the table shows is that a method runs here, which direction its scores have, and what a small
change of geometry does to it. Which method agrees best with people is a question for the datasets of
[datasets.md](datasets.md), with intervals (`compare.py`).

| method | none | tra | sca | rot |
|---|---|---|---|---|"""


def without_download():
    """Names of the metrics and of the backbones whose weights are none or come inside a required package."""
    return [n for n, m in METRICS.items() if not m.weights] + [n for n, b in BACKBONES.items() if b.weights is None]


def columns_of(names):
    """The score columns of methods: a metric is one, a backbone has one a distance."""
    return [c for n in names for c in ([n] if n in METRICS else [f"{n}_{d}" for d in of_blocks()])]


def score(names, folder):
    """run.py on demo under all perturbations, its metrics and its backbones; what it prints goes to stderr."""
    for chosen, more in (
        ([n for n in names if n in METRICS], []),
        ([n for n in names if n not in METRICS], ["-d", *of_blocks()]),
    ):
        command = [sys.executable, str(ROOT / "run.py"), "-dat", "demo", "-m", *chosen, *more]
        if chosen and subprocess.run([*command, "-rob", *PERTURBATIONS, "-sdir", folder], stdout=sys.stderr).returncode:
            raise WorkError(f"run.py -m {' '.join(chosen)} failed (its message stands above); what was scored is kept")


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", nargs="+", default=without_download(), metavar="NAME", help="default: all")
    parser.add_argument("-sdir", "--savedir", default=str(ROOT / "results" / "demo"), metavar="DIR")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args(argv)
    score(args.model, args.savedir)
    with open(Path(args.savedir) / "correlations.csv", newline="") as file:
        rows = {(row["method"], row["perturbation"]): float(row["srcc"]) for row in csv.DictReader(file)}
    some = [] if args.model == without_download() else ["-m", *args.model]
    print(PAGE.format(command=" ".join(["python", "scripts/demo_page.py", *some])))
    for column in columns_of(args.model):
        print(f"| {column} | " + " | ".join(f"{rows[column, p]:.3f}".replace("0.", ".") for p in PERTURBATIONS) + " |")


if __name__ == "__main__":
    run_main(main)
