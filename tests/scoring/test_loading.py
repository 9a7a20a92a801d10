"""Worker processes: answers in order, and no wait for one that died."""

import multiprocessing
import os
import signal
import time
from multiprocessing.connection import Connection

import numpy as np
import pytest

from common.errors import WorkError
from scoring.loading import in_order


def slow_when_even(item):
    time.sleep(0.02 * (item % 2 == 0))
    return item, os.getpid()


def test_answers_in_order_from_several_processes():
    answers = list(in_order(slow_when_even, range(30), workers=3))
    assert [item for item, _ in answers] == list(range(30))
    assert len({pid for _, pid in answers} - {os.getpid()}) == 3


def no_four(item):
    if item == 4:
        raise ValueError("no four, please")
    return item


def test_an_exception_arrives_with_the_place_where_it_was_raised():
    answers = in_order(no_four, range(9), workers=2)
    assert [next(answers) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="no four, please") as caught:
        next(answers)
    assert "in no_four" in caught.value.__notes__[0]


class Unusual(Exception):
    def __init__(self, what, where):
        super().__init__(f"{what} in {where}")


def one_that_cannot_be_sent(item):
    if item == 4:
        raise Unusual("a fault", "a place")
    return (lambda: item) if item == 6 else item


def test_what_does_not_come_through_a_pipe_is_an_error_and_no_wait_for_ever():
    """An exception that pickle cannot make again from its arguments, a result that it cannot send."""
    with pytest.raises(TypeError, match="Unusual.*where"):
        list(in_order(one_that_cannot_be_sent, range(9), workers=2))
    with pytest.raises(Exception, match="lambda"):
        list(in_order(one_that_cannot_be_sent, range(5, 9), workers=2))


def killed_in_the_midst_of_an_answer(item):
    def half_of_it(connection, buffer):
        os.write(connection.fileno(), buffer[: len(buffer) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

    if item == 3:
        Connection._send = half_of_it
    return np.zeros(10**6, np.uint8)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_process_killed_in_the_midst_of_an_answer_ends_the_run(workers):
    """Memory runs out where most is moved. Processes that share a pipe and its lock waited for ever."""
    with pytest.raises(WorkError, match="a process that reads images died"):
        list(in_order(killed_in_the_midst_of_an_answer, range(12), workers))


def test_what_is_left_unread_leaves_no_processes():
    answers = in_order(slow_when_even, range(1000), workers=2)
    assert next(answers)[0] == 0 and len(multiprocessing.active_children()) >= 2
    answers.close()
    deadline = time.monotonic() + 60
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not multiprocessing.active_children()
