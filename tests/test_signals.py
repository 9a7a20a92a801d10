"""The first SIGINT, SIGTERM or SIGHUP ends a command, whatever its threads and worker processes are waiting for."""

import os
import signal
import subprocess
import sys

import pytest
from places import ROOT

STUCK = {
    # where the work waits for what never comes: the code of a command's main(argv)
    "a library called by the main thread": """
        libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(256)
        libc.pthread_mutex_lock(mutex)
        print("stuck", flush=True)
        libc.pthread_mutex_lock(mutex)  # held already: no signal ends this wait
    """,
    "a thread that Python joins at its end": """
        threading.Thread(target=time.sleep, args=(600,)).start()
        print("stuck", flush=True)
        time.sleep(600)
    """,
    "a thread of a pool": """
        with ThreadPoolExecutor(2) as pool:
            pool.submit(time.sleep, 600)
            print("stuck", flush=True)
    """,
    "a process that reads images": """
        from scoring.loading import in_order

        list(in_order(read_forever, [1], 1))
    """,
}
SCRIPT = """
import ctypes, threading, time
from concurrent.futures import ThreadPoolExecutor
from common.terminal import run_main


def read_forever(item):
    print("stuck", flush=True)
    time.sleep(600)


def main(argv):
{body}

run_main(main, note="; what was scored is kept")
"""


def start(tmp_path, body, *before):
    script = tmp_path / "script.py"
    lines = [line[4:] for line in body.splitlines()]
    script.write_text(SCRIPT.replace("{body}", "\n".join(lines)))
    process = subprocess.Popen(
        [*before, sys.executable, script],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline() == "stuck\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
@pytest.mark.parametrize("where", STUCK)
def test_a_signal_ends_what_is_stuck(where, number, tmp_path):
    process = start(tmp_path, STUCK[where])
    process.send_signal(number)
    try:
        _, message = process.communicate(timeout=60)  # far above the 5 seconds, far below the 600 that it would wait
    finally:
        process.kill()
    assert message == "script.py: stopped; what was scored is kept\n"
    assert process.returncode == 128 + number


def test_under_nohup_a_hang_up_is_survived(tmp_path):
    body = """
        print("stuck", flush=True)
        time.sleep(1)
        print("done")
    """
    process = start(tmp_path, body, "nohup")
    process.send_signal(signal.SIGHUP)
    printed, _ = process.communicate(timeout=60)
    assert printed == "done\n" and process.returncode == 0
