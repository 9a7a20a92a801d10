"""Text for people: aligned columns on the terminal, and LaTeX."""

import textwrap
from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> list[str]:
    """Rows of cells (the heads among them, if there are any) -> lines with two spaces between columns.

    left: the columns that stand to the left, the others stand to the right. No line ends in spaces.
    """
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [aligned_row(row, widths, left) for row in rows]


def aligned_row(row: Sequence[str], widths: Sequence[int], left: Sequence[int] = (0,)) -> str:
    """One line of `aligned`, for rows that are printed as they come. A cell to the right that is wider than its column,
    by a minus sign say, takes the room between the columns first."""
    cells = [
        "  " + cell.ljust(width) if i in left else cell.rjust(width + 2)
        for i, (cell, width) in enumerate(zip(row, widths))
    ]
    return "".join(cells)[2:].rstrip()


def count(n: int, one: str, many: str = "") -> str:
    """A number and what it counts: '1 pair', '2 pairs', '1 forward pass', '2 forward passes'."""
    return f"{n} {one if n == 1 else many or one + 's'}"


def prose(line: str, width: int = 100) -> str:
    """A line of words wrapped, what follows indented by two more than it is; tables are as wide as they are."""
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.fill(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def number(value: float, digits: int = 3, sign: str = "") -> str:
    """A number with so many decimals; sign "+": with its sign. What rounds to zero has no minus."""
    if abs(value) >= 10000:
        return f"{value:{sign}.4g}"
    text = f"{value:{sign}.{digits}f}"
    return text if float(text) else text.replace("-", sign)


LATEX = {
    "\\": r"\textbackslash{}",
    "≠": r"$\neq$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
} | {c: f"\\{c}" for c in "&%$#_{}"}


def latex(text: str) -> str:
    """A text with LaTeX's special characters escaped; "--" stays two hyphens."""
    return "".join(LATEX.get(c, c) for c in text).replace("--", "-{}-")
