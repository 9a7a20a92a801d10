"""The two errors that a person at the terminal sees, each in one line, and what makes their text fit for it.

A script raises UsageError for what the person can correct before work starts (exit 2) and WorkError for what failed
while working (exit 1). `common.terminal.run_main` prints them.
"""

import difflib
from collections.abc import Iterable

MOST = 60  # names that an error lists


class UsageError(Exception):
    """Wrong usage or missing input: says what was expected, what was found, where, and what to do. Exit code 2."""


class WorkError(Exception):
    """Something failed at work (a full disk, a file that vanished). Exit code 1."""


def unknown(kind: str, name: str, known: Iterable[str], hint: str = "") -> UsageError:
    """The UsageError for a name that is not in a registry: names the nearest known one, or all when few."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    listed = ", ".join(known[:MOST]) + (f" and {len(known) - MOST} more" if len(known) > MOST else "")
    hint_known = f"nearest known: {', '.join(near)}" if near else f"known: {listed}"
    return UsageError(f"unknown {kind} {name!r}; {hint_known}{'; ' + hint if hint else ''}")


def missing_package(name: str) -> UsageError:
    """The UsageError for a package that is not installed, by the name it is imported under."""
    return UsageError(
        f"the package {name} is missing here: is the virtual environment active? If it is: pip install -r "
        "requirements.txt"
    )


def about_file(error: Exception, *paths: object) -> str:
    """The text of an error in one line, with the first of the paths before it where none of them stands in it."""
    text = one_line(error)
    return text if any(str(path) in str(error) for path in paths) else f"{paths[0]}: {text}"


def one_line(error: object) -> str:
    """The text of an error in one line; what could move the cursor or colour the terminal, in a file's name say,
    is escaped."""
    text = " ".join(str(error).split()) or type(error).__name__
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
