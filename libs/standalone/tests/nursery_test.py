import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from datalabs_standalone import logs
from datalabs_standalone.assembly import service_environment
from datalabs_standalone.children import Children
from datalabs_standalone.failures import StartFailedError
from datalabs_standalone.fork_requests import Nursery, TaskRunner
from datalabs_standalone.parts import CannotStartError
from datalabs_standalone.processes import adopt_orphans
from datalabs_standalone.state import StateFolder
from datalabs_standalone.testing import until

TASKS = """
import os, sys, time

def tell():
    print("> for the operator")
    print("for the log", os.getppid())
    open("told", "w").close()

def fail():
    print("> trying")
    sys.exit("no database")

def wait():
    time.sleep(600)

TASKS = {"tell": tell, "fail": fail, "wait": wait}
"""


@pytest.fixture
async def children() -> AsyncIterator[Children]:
    made = Children()
    made.watch()
    yield made
    made.close()


def nursery_of(state: StateFolder, **modules: str) -> Nursery:
    (state.root / "few_tasks.py").write_text(TASKS)
    program = f"from datalabs_standalone import nursery\nnursery._MODULES = {modules!r}\nnursery.main()\n"
    return Nursery(
        environment={**service_environment(state), "PYTHONPATH": str(state.root)},
        log=state.log_of("nursery"),
        cwd=state.root,
        command=[sys.executable, "-c", program],
    )


@pytest.fixture
async def nursery(state: StateFolder, children: Children) -> AsyncIterator[Nursery]:
    """A nursery whose only module are the tasks above."""
    made = nursery_of(state, tasks="few_tasks", broken="no_such_module")
    pid = await made.start_early()
    while not (await made.probe()).ready:
        pass
    yield made
    made.kill()
    await children.exit_of(pid)


def runner(nursery: Nursery, state: StateFolder, children: Children) -> TaskRunner:
    return TaskRunner(nursery=nursery, children=children, log=state.log_of("standalone"))


async def test_a_task_is_our_child_and_what_it_says_is_passed_on(
    nursery: Nursery, state: StateFolder, children: Children
) -> None:
    said: list[str] = []
    await runner(nursery, state, children).run("tell", said.append)
    assert said == ["for the operator"]
    assert f"for the log {os.getpid()}" in logs.last_lines(state.log_of("standalone"), 5)


async def test_a_task_that_fails_is_told_with_its_last_line(
    nursery: Nursery, state: StateFolder, children: Children
) -> None:
    said: list[str] = []
    with pytest.raises(StartFailedError, match=r"fail ended with exit code 1: .*no database"):
        await runner(nursery, state, children).run("fail", said.append)
    assert said == ["trying"]


UNTIL_ASKED = """
import os, select, stat

def asked():
    sockets = [int(one) for one in os.listdir("/proc/self/fd") if is_socket(int(one))]
    return select.select(sockets, [], [], .01)[0]

def is_socket(descriptor):
    try:
        return stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    except OSError:
        return False  # of the listing itself

while not asked() and not os.path.exists("told"):
    pass
"""
"""The import of a service that ends when a task is asked for, or was done at once, before the import began."""


async def test_a_task_need_not_wait_for_the_services_imports(state: StateFolder, children: Children) -> None:
    """The first task declares the topology on one core while the nursery imports the services on another."""
    waiting = f"import os, time\nwhile not os.path.exists('{state.root}/go'): time.sleep(.01)\n"
    (state.root / "slow_service.py").write_text(waiting)
    (state.root / "first_service.py").write_text(UNTIL_ASKED)
    nursery = nursery_of(state, tasks="few_tasks", first="first_service", slow="slow_service")
    pid = await nursery.start_early()
    try:
        said: list[str] = []
        running = asyncio.create_task(runner(nursery, state, children).run("tell", said.append))
        service = asyncio.create_task(start(nursery, state, "service", "slow"))
        await running
        assert said == ["for the operator"]
        assert not (await nursery.probe()).ready
        assert not service.done()
        (state.root / "go").touch()
        await until(service.done)
        assert (await nursery.probe()).ready
        await children.exit_of(await service)
    finally:
        nursery.kill()
        await children.exit_of(pid)


async def start(nursery: Nursery, state: StateFolder, kind: str, name: str) -> int:
    log = logs.open_log(state.log_of(name))
    try:
        return await nursery.fork(kind, name, log=log, environment={})
    finally:
        os.close(log)


async def test_a_fork_outlives_the_nursery(nursery: Nursery, state: StateFolder, children: Children) -> None:
    pid = await start(nursery, state, "task", "wait")
    exited = children.exit_of(pid)
    nursery.kill()
    with pytest.raises(CannotStartError):
        await start(nursery, state, "task", "wait")
    assert not exited.done()
    os.kill(pid, signal.SIGKILL)
    assert await exited == -signal.SIGKILL


async def test_what_cannot_be_imported_says_so_in_its_own_log(
    nursery: Nursery, state: StateFolder, children: Children
) -> None:
    pid = await start(nursery, state, "service", "broken")
    assert await children.exit_of(pid) == 1
    assert "No module named 'no_such_module'" in logs.last_lines(state.log_of("broken"), 1)[0]


async def test_an_unknown_service_is_refused(nursery: Nursery, state: StateFolder) -> None:
    with pytest.raises(CannotStartError, match="is not known: nobody"):
        await start(nursery, state, "service", "nobody")


async def test_orphans_of_a_service_do_not_fall_to_the_supervisor(tmp_path: Path) -> None:
    """A lab's shim leaves its parent; only while a fork is under way would the supervisor be given it."""
    adopt_orphans(adopt=True)
    adopt_orphans(adopt=False)
    file = tmp_path / "ppid"
    shim = f"import os, time; time.sleep(.3); open('{file}.new', 'w').write(str(os.getppid())); os.rename('{file}.new', '{file}')"
    parent = f"import subprocess, sys; subprocess.Popen([sys.executable, '-I', '-S', '-c', {shim!r}])"
    done = await asyncio.create_subprocess_exec(sys.executable, "-I", "-S", "-c", parent)
    await done.wait()
    exists: Callable[[], bool] = file.exists
    await until(exists)
    assert int(file.read_text()) != os.getpid()
