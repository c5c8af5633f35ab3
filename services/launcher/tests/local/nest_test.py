"""Shims that are forked from a warm interpreter: as good as those that are started by themselves."""

import os
import select
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from datalabs_launcher.local import processes
from datalabs_launcher.local.shims import Nest, Shim

SLEEP = ("/bin/sleep", "600")


@pytest.fixture
def nest(shims: Any) -> Iterator[Nest]:
    nest = Nest(shims.interpreter)
    nest.warm()
    yield nest
    nest.close()


def _end(shim: Shim) -> None:
    fd = os.pidfd_open(shim.pid)
    shim.ask()
    assert select.select([fd], [], [], 10)[0]
    os.close(fd)
    shim.reap()


def _nest_of(shim: int) -> int:
    return int(processes.stat_of(shim)[1])


def test_a_forked_shim_runs_its_lab_in_a_session_of_its_own_and_records_its_end(
    shims: Any, nest: Nest
) -> None:
    place = shims.attempt(*shims.python("print('hello')"))
    shim = nest.shim(place)
    state = shims.until(place, "ended")
    assert (state["shim"], state["exit"]) == (shim.pid, 0)
    assert (place / "log").read_text() == "hello\n"
    assert (place / "shim.log").read_text() == ""


def test_shims_outlive_the_nest(shims: Any, nest: Nest) -> None:
    place = shims.attempt(*SLEEP)
    shim = nest.shim(place)
    state = shims.until(place, "running")
    assert os.getsid(shim.pid) == shim.pid
    nest.close()
    assert processes.lives(state["shim"], state["shim_ticks"])
    assert processes.lives(state["pid"], state["pid_ticks"])
    _end(shim)
    assert shims.state(place)["phase"] == "ended"


def test_a_dead_nest_is_made_anew(shims: Any, nest: Nest) -> None:
    first = shims.attempt(*SLEEP)
    shim = nest.shim(first)
    shims.until(first, "running")
    dead = _nest_of(shim.pid)
    os.kill(dead, signal.SIGKILL)
    while processes.lives(dead, processes.started_ticks(dead)):
        time.sleep(0.001)
    second = shims.attempt(*SLEEP)
    other = nest.shim(second)
    shims.until(second, "running")
    assert _nest_of(other.pid) != dead
    for one in (shim, other):
        _end(one)


def test_a_nest_that_hangs_is_given_up_and_the_lab_starts_once(shims: Any, nest: Nest) -> None:
    first = shims.attempt(*SLEEP)
    shim = nest.shim(first)
    shims.until(first, "running")
    os.kill(_nest_of(shim.pid), signal.SIGSTOP)
    second = shims.attempt(*SLEEP)
    other = nest.shim(second)
    state = shims.until(second, "running")
    assert state["shim"] == other.pid
    for one in (shim, other):
        _end(one)


def test_a_folder_that_is_not_there_is_an_error(shims: Any, nest: Nest) -> None:
    with pytest.raises(OSError, match="No such file"):
        nest.shim(shims.folder / "nowhere")


def test_forking_takes_next_to_no_time(shims: Any, nest: Nest) -> None:
    took = []
    for _ in range(5):
        place = shims.attempt(*SLEEP)
        began = time.perf_counter()
        shim = nest.shim(place)
        took.append(time.perf_counter() - began)
        shims.until(place, "running")
        _end(shim)
    assert min(took) < 0.05
