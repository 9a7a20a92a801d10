"""The page docs/demo.md: every method that runs without a download on the photographs of demo, plain and aligned.

    python scripts/demo_page.py > docs/demo.md        # an hour or more on a CPU, half of it the VGG16's of ST-LPIPS
    python scripts/demo_page.py -m psnr st_alexnet    # some of the methods
    python scripts/demo_page.py --aligned psnr        # which are aligned before scoring, too; --aligned alone: none

Scores go to results/demo (-sdir), where a run that was stopped goes on.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from common.terminal import KEPT, Parser, run_main  # noqa: E402
from distances import of_blocks  # noqa: E402
from methods.metrics import METRICS  # noqa: E402
from methods.model import ALIGNED  # noqa: E402
from models import BACKBONES  # noqa: E402

PERTURBATIONS = ("none", "tra", "sca", "rot")
PAGE = """# The methods on demo

Made by `{command} > docs/demo.md`

Spearman's rank correlation of methods that need no download with the **strength** (1 to 5) of five kinds of damage to
five photographs, 125 pairs, plain (none) and perturbed by 1 %: shifted (tra), scaled (sca), turned (rot); on the right
scored after `--align similarity` ([align.md](align.md)). Strengths are not opinions: what the table shows is that a
method runs here, which direction its scores have, and what a small change of geometry does to it. Which method agrees
best with people is a question for the datasets of [datasets.md](datasets.md), with intervals (`compare.py`).
ST-AlexNet and ST-VGG16 are the trunks of ST-LPIPS, trained for such shifts.

| method | none | tra | sca | rot | aligned: none | tra | sca | rot |
|---|---|---|---|---|---|---|---|---|"""


def without_download():
    """Names of the metrics and of the backbones whose weights are none or come inside a required package."""
    return [n for n, m in METRICS.items() if not m.weights] + [n for n, b in BACKBONES.items() if b.weights is None]


def columns_of(names):
    """The score columns of methods: a metric is one, a backbone has one a distance; columns as they are."""
    return [c for n in names for c in ([f"{n}_{d}" for d in of_blocks()] if n in BACKBONES else [n])]


def main(argv):
    from scoring import score_dataset

    parser = Parser(__doc__)
    parser.add_argument("-m", "--model", nargs="+", default=without_download(), metavar="NAME", help="default: all")
    parser.add_argument(
        "--aligned", nargs="*", metavar="NAME", help="methods or score columns that are aligned, too; default: all"
    )
    parser.add_argument("-sdir", "--savedir", default=str(ROOT / "results" / "demo"), metavar="DIR")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args(argv)
    columns = columns_of(args.model)
    aligned = [column + ALIGNED for column in columns_of(args.model if args.aligned is None else args.aligned)]
    result = score_dataset("demo", methods=[*columns, *aligned], perturbations=PERTURBATIONS, savedir=args.savedir)
    srcc = {(line["method"], line["perturbation"]): f"{line['srcc']:.3f}".replace("0.", ".") for line in result.lines}
    command = ["python scripts/demo_page.py"]
    command += [] if args.model == without_download() else ["-m", *args.model]
    command += [] if args.aligned is None else ["--aligned", *args.aligned]
    print(PAGE.format(command=" ".join(command)))
    for column in columns:
        cells = [srcc.get((name, p), "-") for name in (column, column + ALIGNED) for p in PERTURBATIONS]
        print(f"| {column} | {' | '.join(cells)} |")


if __name__ == "__main__":
    run_main(main, note=KEPT)
