"""What every script of this project shares at the terminal: exit codes, signals, progress bars, types of arguments.

`run_main` prints an error as one line on stderr and leaves with its exit code; a traceback is shown only with --debug.
"""

import argparse
import contextlib
import importlib.util
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from common.errors import UsageError, WorkError, missing_package, one_line, unknown

if TYPE_CHECKING:
    from tqdm import tqdm


def need(*packages: str) -> None:
    """Leave with exit code 2 and one line if a package is missing:
    called by a command above the imports that would fail."""
    for name in packages:
        if importlib.util.find_spec(name) is None:
            print(f"{os.path.basename(sys.argv[0])}: error: {one_line(missing_package(name))}", file=sys.stderr)
            sys.exit(2)


def warn(text: str) -> None:
    """One line on stderr that does not tear a progress bar."""
    from tqdm import tqdm

    tqdm.write(f"warning: {one_line(text)}", file=sys.stderr)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, as all others are: --help has the usage. Flags are whole words."""

    def __init__(self, description: str):
        super().__init__(
            description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
        )

    def parse_args(self, args: Any = None, namespace: Any = None) -> argparse.Namespace:  # type: ignore[override]
        """As argparse's; UsageError with the nearest flags where one is not known, before argparse, to which -methods
        would be -m ethods."""
        args = sys.argv[1:] if args is None else list(args)
        flags = self._option_string_actions
        for entry in args[: args.index("--")] if "--" in args else args:
            flag = entry.partition("=")[0]
            if re.fullmatch(r"--?[a-zA-Z][\w-]*", flag) and flag not in flags and not re.fullmatch(r"-[a-z]\d+", flag):
                raise unknown("flag", flag, flags, "--help lists all")
        namespace, rest = self.parse_known_args(args, namespace)
        if rest:
            raise UsageError(f"expected flags, found {' '.join(rest)}; --help has the usage")
        return namespace

    def error(self, message: str) -> NoReturn:
        """Raises UsageError, which run_main prints as one line."""
        if message.startswith("the following arguments are required"):  # where a flag has not taken them
            message += "; put them before flags that take several values"
        raise UsageError(message)


EVERY = 30.0  # seconds between two lines of progress where stderr is no terminal


class Lines:
    """Progress as plain lines on stderr, one every EVERY seconds,
    so that a log tells whether the work goes on and how long."""

    def __init__(self, total, desc):
        self.total, self.desc, self.n = total, desc, 0
        self.start = self.said = time.monotonic()

    def update(self, n=1):
        self.n += n
        now = time.monotonic()
        if now - self.said >= EVERY and 0 < self.n < self.total:
            self.said, left = now, (now - self.start) * (self.total / self.n - 1)
            about = (
                f"{left / 3600:.1f} h" if left >= 3600 else f"{left / 60:.0f} min" if left >= 90 else f"{left:.0f} s"
            )
            share = f"{self.n} of {self.total} ({self.n / self.total:.0%})"
            print(f"{self.desc}: {share}, about {about} left", file=sys.stderr, flush=True)

    def reset(self):  # pooch does, after a download
        self.n = 0

    def close(self):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def progress(total: int, unit: str, desc: str, shown: bool | None = None) -> "Lines | tqdm":
    """A tqdm bar with an ETA on stderr; shown: True or False, None for a bar on a terminal and `Lines` elsewhere."""
    if shown is None and sys.stderr is not None and not sys.stderr.isatty():
        return Lines(total, desc)
    from tqdm import tqdm

    if shown is None:
        shown = sys.stderr is not None
    return tqdm(
        total=total, unit=unit, desc=desc, file=sys.stderr, disable=not shown, dynamic_ncols=True, smoothing=0.05
    )


def say(text: str) -> None:
    """Print a result at once. A reader that has left (head, less) does not end the work that is still to be done."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        to_nowhere(sys.stdout)


def to_nowhere(stream):
    """What is written to it from now on is dropped, and what it still holds as well."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def flags_of(flags: dict[str, Any], kind: type) -> dict[str, Any]:
    """Those of some flags {name: value} that a dataclass has a field of the same name for: {field: value}."""
    return {field.name: flags[field.name] for field in fields(kind) if field.name in flags}


def number_type(kind: type, sound: Callable, what: str) -> Callable:
    """A `type` for argparse: a number of that kind for which sound(value) holds; `what` is told otherwise."""

    def convert(text):
        try:
            value = kind(text)
        except (ValueError, OverflowError):
            value = None
        if value is None or not sound(value):
            raise argparse.ArgumentTypeError(f"expected {what}, found {text!r}")
        return value

    return convert


positive = number_type(int, lambda v: v > 0, "a whole number above 0")
whole = number_type(int, lambda v: v >= 0, "a whole number, 0 or more")
# 9459 squared: the most pixels that Pillow reads
side = number_type(int, lambda v: 0 < v <= 9459, "a whole number from 1 to 9459")
processes = number_type(int, lambda v: 0 <= v <= 256, "a whole number from 0 to 256")


SCORE_FILE = b"dis,ref,mos,pred"  # how scorefiles.write begins one


def check_writable(option: str, path: Path | str | None, inputs: Iterable[Path | str] = ()) -> None:
    """UsageError, before the work, for a file (if any) that could not be written for want of its folder, and for one
    that must not be: a file that is read (inputs), or a score file."""
    if not path:
        return
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise UsageError(f"{option} {path}: there is no folder {folder}; make it first")
    if os.path.isdir(path):
        raise UsageError(f"{option} {path}: expected the name of a file, found a folder")
    if not os.path.exists(path):
        return
    if any(os.path.exists(other) and os.path.samefile(path, other) for other in inputs):
        raise UsageError(f"{option} {path}: this file is read here and would be overwritten; name another")
    if os.path.isfile(path):
        with open(path, "rb") as file:
            if file.read(len(SCORE_FILE)) == SCORE_FILE:
                raise UsageError(f"{option} {path}: a score file stands there and would be overwritten; name another")


def deliver(text: str, output: str | None) -> None:
    """A command's result: to the file that -o names, else to stdout. WorkError where it cannot be written."""
    if not output:
        sys.stdout.write(text)
        return
    try:
        Path(output).write_text(text, encoding="utf-8")
    except OSError as error:
        raise WorkError(f"{output}: cannot be written ({error.strerror or error})") from None


def flush_stdout() -> None:
    """See our results written; where that fails, leave nothing behind that would fail once more when Python ends."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        to_nowhere(sys.stdout)
        raise


KEPT = "; nothing scored is lost: start again with the same command to go on"  # a note of run_main
STOPPED = []  # signals that asked this process to stop
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE = 4.0  # seconds from the first of them to the end of the process, whatever its threads and worker processes do


def check_stopped() -> None:
    """KeyboardInterrupt again, where the first was lost:
    Python drops one that is raised inside a destructor or a callback."""
    if STOPPED:
        raise KeyboardInterrupt(signal.Signals(STOPPED[0]).name)


@contextlib.contextmanager
def stopped_in_time(leave):
    """Inside, a signal that asks the process to stop is a KeyboardInterrupt; where that has not ended it within GRACE
    seconds, leave(number) is called in a thread of its own: a disk that does not answer holds the main thread, or
    Python's end.

    Python tells the thread of the signal through a pipe at once, while the main thread may be busy in a library for
    minutes.
    """

    def stop(number, _):
        STOPPED.append(number)
        raise KeyboardInterrupt(signal.Signals(number).name)

    def watch():
        number = os.read(receive, 1)
        if number:
            time.sleep(GRACE)
            leave(number[0])
        os.close(receive)

    receive, send = os.pipe()
    os.set_blocking(send, False)
    threading.Thread(target=watch, daemon=True).start()
    STOPPED.clear()
    descriptor_before = signal.set_wakeup_fd(send, warn_on_full_buffer=False)
    under_nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    previous = {n: signal.signal(n, stop) for n in SIGNALS if not (n == signal.SIGHUP and under_nohup)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(descriptor_before)
        os.close(send)  # no signal has come: the thread ends


def run_main(main: Callable, argv: list[str] | None = None, note: str = "") -> None:
    """Run main(argv) -> int|None as a script and leave with its exit code.

    UsageError or a missing package -> 2, WorkError -> 1, SIGINT (Ctrl-C), SIGTERM or SIGHUP -> 128 + signal within 5
    seconds (and `note` is printed), anything unforeseen -> 1; always one line on stderr, the traceback only when
    --debug is among the arguments.
    """
    argv = sys.argv[1:] if argv is None else argv
    program, stopped_said = os.path.basename(sys.argv[0]), []

    def say_stopped():
        with contextlib.suppress(OSError):  # the terminal may have hung up
            if not stopped_said:
                stopped_said.append(True)
                print(f"{program}: stopped{note}", file=sys.stderr, flush=True)

    def leave(number):
        say_stopped()
        os._exit(128 + number)

    with stopped_in_time(leave):
        try:
            code = main(argv) or 0
            flush_stdout()
        except BrokenPipeError:  # the reader of our output (head, less) has left
            code = 0
        except KeyboardInterrupt:
            say_stopped()
            code = 128 + (STOPPED[0] if STOPPED else signal.SIGINT)
        except (UsageError, WorkError, OSError, MemoryError, ModuleNotFoundError) as error:
            if "--debug" in argv:
                raise
            if isinstance(error, ModuleNotFoundError):
                error = missing_package(error.name or str(error))
            print(f"{program}: error: {one_line(error)}", file=sys.stderr)
            code = 2 if isinstance(error, UsageError) else 1
        except Exception as error:
            if "--debug" in argv:
                raise
            what = f"unexpected {type(error).__name__}: {one_line(error)}"
            print(f"{program}: {what} (run again with --debug for the traceback)", file=sys.stderr)
            code = 1
        finally:
            with contextlib.suppress(OSError):
                flush_stdout()
    sys.exit(code)
