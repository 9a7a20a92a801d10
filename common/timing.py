"""Seconds, for bench.py: of functions in turn, and of whole processes."""

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from common.errors import UsageError


def interleaved(
    functions: dict[str, Callable], rounds: int, device: str = "cpu", clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Median seconds of each function {name: f}, run in turn `rounds` times after one untimed turn."""
    seconds = {name: [] for name in functions}
    for turn in range(rounds + 1):
        for name, function in functions.items():
            start = clock()
            function()
            if device.startswith("cuda"):
                import torch

                torch.cuda.synchronize()
            if turn:
                seconds[name].append(clock() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def of_core() -> float:
    """Seconds of one core that this process's finished child processes have taken: others' work does not count."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def of_process(arguments: Sequence[str], **environment: str) -> float:
    """Seconds of `python ARGUMENTS`. UsageError, with the last line that it printed, where it fails."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=os.environ | environment)
    if done.returncode:
        raise UsageError(f"{' '.join(arguments[:3])} ... failed: {(done.stderr.strip().splitlines() or [''])[-1]}")
    return time.perf_counter() - start
