"""The table of a run: PLCC, SRCC and KRCC of its score files, merged into correlations.csv and printed row by row."""

import contextlib
import csv
import io

from agreement import correlations
from common.errors import UsageError, one_line
from common.text import aligned_row
from methods.model import RANDOM
from scorefiles import write
from scorefiles.read import of_random_weights
from scoring import aligning, fused_files

TABLE = ("dataset", "method", "perturbation", "pct", "plcc", "srcc", "krcc", "n", "expected", "file")


def coefficients(row):
    """One line of correlations.csv as a dict;
    coefficients are '' where they are not defined (with the reason under 'why')."""
    output, doc = row.output, row.output.document
    sign = 1 if doc["label_higher_is"] == doc["pred_higher_is"] else -1
    pairs = [(sign * float(r[3]), float(r[2])) for r in (output.done[i] for i in sorted(output.done))]
    line = dict(
        zip(
            TABLE,
            (
                row.dataset.name,
                row.column.name,
                row.perturbation[0],
                row.perturbation[1],
                "",
                "",
                "",
                len(pairs),
                doc["pairs_expected"],
                output.final.name if output.complete else output.partial.name,
            ),
        )
    )
    try:
        line |= correlations.coefficients(*zip(*pairs)) if pairs else {"why": "no pair scored yet"}
    except ValueError as error:
        line["why"] = str(error)
    return line


def correlate(rows, folder):
    """[TableRow] -> their lines of correlations.csv (dicts, see TABLE), merged into that of the folder."""
    with write.locked(folder, ["correlations.csv"]):
        for row in rows:
            row.output.catch_up()
        lines = [coefficients(row) for row in rows]
        merge(lines, folder)
    return lines


def check_ours(folder):
    """UsageError where the folder has a correlations.csv that is not one of ours."""
    path, text = folder / "correlations.csv", b""
    with contextlib.suppress(OSError):  # it is not there; a folder that cannot be used is named where it is made
        text = path.read_bytes()
    if text and not text.startswith(",".join(TABLE[:3]).encode()):
        raise UsageError(f"{path}: not of run.py; move it away or delete it, or choose another -sdir")


def merge(lines, folder):
    """correlations.csv: these lines replace those of the same score file; lines of files that are gone leave."""
    path, lines_by_file = folder / "correlations.csv", {}
    if path.exists():
        try:
            with open(path, newline="", encoding="utf-8") as file:
                lines_by_file = {
                    line["file"]: line
                    for line in csv.DictReader(file)
                    if line.get("file") and (folder / line["file"]).exists()
                }
        except (ValueError, csv.Error) as error:
            raise UsageError(f"{path}: not readable ({one_line(error)}); delete it, it is made anew") from None
    lines_by_file |= {line["file"]: line for line in lines if line["n"]}
    text = io.StringIO()
    writer = csv.DictWriter(text, TABLE, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines_by_file[name] for name in sorted(lines_by_file))
    write.write_atomically(path, text.getvalue())


HEADS = ("dataset", "method", "perturbation", "PLCC", "SRCC", "KRCC", "pairs")


def cells(line):
    """A line of the table as it is printed, a text a column of HEADS."""
    return (
        line["dataset"],
        line["method"],
        line["perturbation"] + (f" {line['pct']:g}" if line["pct"] else ""),
        *(f"{line[k]:.3f}" if line[k] != "" else "-" for k in ("plcc", "srcc", "krcc")),
        f"{line['n']}" if line["n"] == line["expected"] else f"{line['n']}/{line['expected']}",
    )


class Printer:
    """The table of a run, row by row as they are finished: how wide its columns are is known before the first.

    say: what a line of text is given to. prepared_sets: [Prepared]; columns: the score columns to come.
    """

    def __init__(self, say, prepared_sets, columns, run):
        rows = [HEADS]
        for prepared in prepared_sets:
            numbers = dict.fromkeys(("plcc", "srcc", "krcc"), 0.0)
            numbers |= dict(dataset=prepared.dataset.name, n=len(prepared.chosen), expected=prepared.dataset.expected)
            rows += [
                cells(numbers | dict(method=column.name, perturbation=name, pct=pct))
                for column in columns
                for name, pct in run.perturbations
            ]
        self.say, self.begun = say, False
        self.widths = [max(map(len, column)) for column in zip(*rows)]

    def show(self, lines):
        head = [] if self.begun or not lines else [HEADS]
        self.begun |= bool(lines)
        for row in [*head, *map(cells, lines)]:
            self.say(aligned_row(row, self.widths, left=(0, 1, 2)))


def columns_to_come(models, fusions):
    """The score columns of models and of the fused metrics whose factors are among them."""
    columns = [column for model in models for column in model.columns]
    for fusion in fusions:
        with contextlib.suppress(UsageError):  # it is said, or raised, when it is tried
            columns.append(fused_files.column(fusion, fused_files.factors_of(fusion, columns)))
    return columns


def notes(rows, lines):
    """What a reader of the table must know."""
    for row in rows:
        yield f"{row.dataset.name}: label is {row.dataset.label}; positive coefficients agree with it"
        if row.dataset.note:
            yield f"{row.dataset.name}: {row.dataset.note}"
        if of_random_weights(row.output.document):
            yield f"{row.column.name}: {RANDOM}"
        if row.output.document["settings"].get("left_out"):
            yield (
                f"{row.dataset.name}: {len(row.output.document['settings']['left_out'])} pairs left out (--skip-bad), "
                "named in the JSON"
            )
        if row.column.align != "none" and (said := aligning.summary(row.output.final)):
            yield f"{row.output.final.name}: {said}"
        if row.output.document["note"]:
            yield f"{row.column.name}: {row.output.document['note']}"
    if any(line["n"] < line["expected"] for line in lines):
        yield "n/N: only n of N pairs are scored; such a file is never taken for that of the whole dataset"
    for line in lines:
        if line.get("why"):
            yield f"{line['file']}: no coefficients: {line['why']}"
