"""Score files -> Tables 1-3 of the paper, each cell beside the published number, and what differs or is missing.

    python tables.py --table all                             # from the score files in results/
    python tables.py --table 3 --scores results authors --format html -o table3.html
    python tables.py --table 3 --commands                    # the run.py calls that make the table's score files
    python tables.py --check results authors                 # two sets of score files, pair by pair

Which score file fills a cell is said by reports/tables/paper/tables.csv (reports/tables/cells.py). `run.py --table`
makes the score files, too.
"""

import sys
from pathlib import Path

from common.terminal import need

if __name__ == "__main__":
    need("numpy")  # before the imports that fail without

from common.errors import UsageError
from common.terminal import Parser, check_writable, deliver, run_main, warn
from reports.tables.cells import EXTRA, TITLES, calls, extra_cells, fill, published, select, summarise, tables_of
from reports.tables.check import CHECK_FORMATS, check
from reports.tables.render import FORMATS
from scorefiles.folder import Folders


def main(argv):
    parser = Parser(description="Tables 1-3 of the paper from score files, each cell beside the printed number.")
    parser.add_argument(
        "--table", nargs="+", choices=[*TITLES, "all"], default=["all"], help="which tables (default: all)"
    )
    parser.add_argument(
        "--scores",
        nargs="+",
        metavar="DIR",
        help="folders of score files; the first that has a file is used (default: results)",
    )
    parser.add_argument(
        "--only", nargs="+", metavar="METHOD", default=[], help="only these rows, e.g. dinov1 or dinov1_l2"
    )
    parser.add_argument(
        "--extra",
        nargs="+",
        metavar="METHOD",
        default=[],
        help=f"rows {EXTRA}, named as in their score files, e.g. dinov2_jsd",
    )
    parser.add_argument("--format", choices=FORMATS, default="text", help="default: text")
    parser.add_argument("-o", "--output", metavar="FILE", help="write there, not to stdout")
    parser.add_argument(
        "--strict", action="store_true", help="exit 1 while a cell is missing or differs beyond the known errata"
    )
    parser.add_argument(
        "--commands", action="store_true", help="only print the run.py arguments that make all the score files"
    )
    parser.add_argument(
        "--check", nargs=2, metavar="DIR", help="compare two folders of score files pair by pair instead"
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    args = parser.parse_args(argv)
    check_writable("-o", args.output)
    code = 0
    if args.check:
        if args.format not in CHECK_FORMATS:
            raise UsageError(f"--check prints {', '.join(CHECK_FORMATS)}; found --format {args.format}")
        files, worst, left_out = check(*args.check)
        text, code = CHECK_FORMATS[args.format](files, worst), int(bool(left_out))
    else:
        cells = select(published(TITLES if "all" in args.table else args.table), args.only)
        if args.commands:
            text = "".join(f"{call}\n" for call in calls(cells))
        else:
            folders = Folders(args.scores or [d for d in ("results",) if Path(d).is_dir()])
            cells += extra_cells(cells, args.extra)
            for folder in folders.without(cell.scores_file for cell in cells):
                warn(f"{folder} holds none of the score files of these tables")
            for method in args.extra:
                if folders.paths == folders.without(cell.scores_file for cell in cells if cell.method == method):
                    warn(f"--extra {method}: no score file of this name for these tables")
            fill(cells, folders)
            summary = summarise(cells, folders)
            text = FORMATS[args.format](
                tables_of(cells), cells, summary, terminal=not args.output and sys.stdout.isatty()
            )
            code = int(args.strict and bool(summary["missing"] or summary["differs"]))
    deliver(text, args.output)
    return code


if __name__ == "__main__":
    run_main(main)
