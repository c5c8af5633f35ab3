"""`datalabs up`: check what can be checked, then supervise; in the foreground or detached."""

import asyncio
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable
from functools import partial
from itertools import pairwise

from datalabs_standalone import blueprint, control
from datalabs_standalone import logs as part_logs
from datalabs_standalone.assembly import assemble, make_nursery
from datalabs_standalone.children import Children
from datalabs_standalone.failures import (
    NotRunningError,
    PartFailingError,
    RelayedError,
    StandaloneError,
    StartFailedError,
    StartTimeoutError,
)
from datalabs_standalone.fork_requests import lines_of
from datalabs_standalone.options import UpOptions
from datalabs_standalone.parts import PartStatus
from datalabs_standalone.processes import end
from datalabs_standalone.reporting import PipeReporter, PlainReporter, Reporter, TableReporter, never_block
from datalabs_standalone.state import RunningParts, StateFolder, take_lock
from datalabs_standalone.supervisor import Supervisor

_CLEARING_SECONDS = 4.0
_DETACHED_SECONDS = 300


def start(*, state: StateFolder, options: UpOptions, detach: bool) -> int:
    """Bring the platform up and return the exit status; detached, return when it is ready.

    Raises a `StandaloneError` for what is known not to work before anything was started.
    """
    began = time.monotonic()
    options.check()
    state.check_and_make()
    lock = take_lock(state)
    if lock is None:
        print(_already_running(state))  # noqa: T201 - the command's answer
        return 0
    try:
        if detach:
            return _detached(state, options, lock=lock, began=began)
        never_block(sys.stdout)
        return _supervise(state, options, _reporter(), began)
    finally:
        os.close(lock)


def _reporter() -> Reporter:
    return TableReporter() if sys.stdout.isatty() else PlainReporter()


def _already_running(state: StateFolder) -> str:
    """Return what a second `up` says."""
    try:
        status = next(control.ask(state.control_socket, command="status", memory=False), {})
    except NotRunningError:
        status = {}
    if not status:
        return f"Open Datalabs is just starting or stopping in {state.root}."
    words = "already runs" if status["ready"] else "is already starting"
    return f"Open Datalabs {words} at {status['address']} (state {state.root})"


def _clear_what_was_left(state: StateFolder, reporter: Reporter) -> None:
    """End the parts that a killed supervisor left, before their ports are asked for."""
    remembered = RunningParts(state.run / "parts.json")
    left = [one for one in remembered.read().values() if one.alive()]
    if left:
        reporter.line(f"clearing {len(left)} parts that an earlier start left")
        end(left, within=_CLEARING_SECONDS)
    remembered.write({})


def _supervise(state: StateFolder, options: UpOptions, reporter: Reporter, began: float) -> int:
    """Prepare and supervise until the end.

    Raises a `StandaloneError` when the preparation fails.
    """
    assert threading.active_count() == 1, "the supervisor forks, so it has no threads"
    _clear_what_was_left(state, reporter)
    drawing = blueprint.draw(partial(_prepare, state, options))

    async def run() -> int:
        children = Children()
        children.watch()
        drawn = children.exit_of(drawing.pid)
        nursery = make_nursery(state)
        early = await nursery.start_early()
        try:
            plan = blueprint.read("\n".join([line async for line in lines_of(drawing.pipe)]))
            await drawn
        except StandaloneError:
            nursery.kill()
            await children.exit_of(early)
            children.close()
            raise
        if plan.new:
            reporter.line(f"first start: a new platform in {state.root}")
        reporter.line(f"accounts and passwords are in {state.credentials_file}")
        supervisor = Supervisor(
            state=state,
            plan=assemble(state, plan, nursery=nursery, children=children),
            reporter=reporter,
            children=children,
            began=began,
        )
        return await supervisor.run()

    return asyncio.run(run())


def _prepare(state: StateFolder, options: UpOptions) -> blueprint.Blueprint:
    from datalabs_standalone.preparation import prepare  # noqa: PLC0415 - heavy; in the child only

    return prepare(state, options)


def _detached(state: StateFolder, options: UpOptions, *, lock: int, began: float) -> int:
    """Supervise in a child of its own session and relay what it says until it is ready."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = _in_background(state, options, pipe=writing, lock=lock, began=began)
        finally:
            os._exit(status)
    os.close(writing)
    reporter = _reporter()
    signal.signal(signal.SIGALRM, _too_late)
    signal.alarm(_DETACHED_SECONDS)
    try:
        with os.fdopen(reading, encoding="utf-8") as lines:
            return relay(lines, reporter)
    finally:
        signal.alarm(0)
        reporter.close()


def _in_background(state: StateFolder, options: UpOptions, *, pipe: int, lock: int, began: float) -> int:
    """Become the supervisor: a session of its own, its log for output, nothing else of the caller's open."""
    os.setsid()
    os.chdir("/")
    for begin, finish in pairwise([2, *sorted((pipe, lock)), os.sysconf("SC_OPEN_MAX")]):
        os.closerange(begin + 1, finish)
    null = os.open(os.devnull, os.O_RDONLY)
    log = part_logs.open_log(state.log_of("supervisor"))
    for descriptor, place in ((null, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, place)
    os.close(null)
    os.close(log)
    reporter = PipeReporter(os.fdopen(pipe, "w", encoding="utf-8"), sys.stderr)
    try:
        return _supervise(state, options, reporter, began)
    except StandaloneError as error:
        reporter.failed(error)
        return error.exit_status


def _too_late(_signal: int, _frame: object) -> None:
    raise StartTimeoutError(
        f"the platform is not ready after {_DETACHED_SECONDS} s; it goes on starting. See `datalabs status`."
    )


def relay(lines: Iterable[str], reporter: Reporter) -> int:
    """Show what the supervisor says; return when it is ready.

    Raises the failure that it tells of.
    """
    for line in lines:
        message = json.loads(line)
        if "changed" in message:
            reporter.changed(PartStatus.from_document(message["changed"]))
        elif "line" in message:
            reporter.line(message["line"])
        elif "ready" in message:
            reporter.ready(message["ready"], message["seconds"])
            return 0
        elif "failing" in message:
            part = PartStatus.from_document(message["failing"])
            reporter.failing(part, message["lines"])
            raise PartFailingError(
                f"{part.name} {part.text}; the platform goes on trying. See `datalabs status`."
            )
        elif "failed" in message:
            reporter.close()
            raise RelayedError(message["failed"], code=message["code"], exit_status=message["exit_status"])
    raise StartFailedError(
        "the supervisor ended before the platform was ready; see `datalabs logs supervisor`."
    )
