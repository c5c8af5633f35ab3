"""`datalabs up`: check what can be checked, then supervise; in the foreground or detached."""

import asyncio
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable

from datalabs_standalone import control, credentials
from datalabs_standalone.children import Children
from datalabs_standalone.configuration import (
    Configuration,
    check_port,
    configure,
    with_free_nats_port,
)
from datalabs_standalone.failures import (
    NotRunningError,
    PartFailingError,
    StandaloneError,
    StartFailedError,
    StartTimeoutError,
)
from datalabs_standalone.options import UpOptions
from datalabs_standalone.parts import PartStatus
from datalabs_standalone.processes import end
from datalabs_standalone.reporting import PipeReporter, PlainReporter, Reporter, TableReporter, never_block
from datalabs_standalone.state import RunningParts, StateFolder, take_lock

_CLEARING_SECONDS = 8.0
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
    _clear_what_was_left(state)
    configuration = with_free_nats_port(state, configure(state, options))
    check_port(configuration)
    from datalabs_standalone.assembly import check_programs  # noqa: PLC0415 - not needed by a second `up`

    check_programs()
    new = not state.credentials_file.exists()
    credentials.make_keys(state)
    credentials.make_accounts(
        state,
        nats_url=f"nats://127.0.0.1:{configuration.nats_port}",
        subscriber_password=configuration.nats_passwords[credentials.SUBSCRIBER],
    )
    if not detach:
        never_block(sys.stdout)
        reporter: Reporter = TableReporter() if sys.stdout.isatty() else PlainReporter()
        _introduce(reporter, state, new=new)
        return _supervise(state, configuration, reporter, began)
    return _detached(state, configuration, new=new, began=began)


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


def _clear_what_was_left(state: StateFolder) -> None:
    """End the parts that a killed supervisor left, before their ports are asked for."""
    remembered = RunningParts(state.run / "parts.json")
    left = [one for one in remembered.read().values() if one.alive()]
    if left:
        print(f"clearing {len(left)} parts that an earlier start left")  # noqa: T201 - progress
        end(left, within=_CLEARING_SECONDS)
    remembered.write({})


def _introduce(reporter: Reporter, state: StateFolder, *, new: bool) -> None:
    if new:
        reporter.line(f"first start: a new platform in {state.root}")
    reporter.line(f"accounts and passwords are in {state.credentials_file}")


def _supervise(state: StateFolder, configuration: Configuration, reporter: Reporter, began: float) -> int:
    from datalabs_standalone.assembly import assemble  # noqa: PLC0415
    from datalabs_standalone.supervisor import Supervisor  # noqa: PLC0415

    assert threading.active_count() == 1, "the supervisor forks, so it has no threads"

    async def run() -> int:
        children = Children()
        plan = assemble(state, configuration, children)
        supervisor = Supervisor(state=state, plan=plan, reporter=reporter, children=children, began=began)
        return await supervisor.run()

    return asyncio.run(run())


def _detached(state: StateFolder, configuration: Configuration, *, new: bool, began: float) -> int:
    """Supervise in a child of its own session and relay what it says until it is ready."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reading)
        status = 1
        try:
            status = _in_background(state, configuration, writing, began)
        finally:
            os._exit(status)
    os.close(writing)
    reporter: Reporter = TableReporter() if sys.stdout.isatty() else PlainReporter()
    _introduce(reporter, state, new=new)
    signal.signal(signal.SIGALRM, _too_late)
    signal.alarm(_DETACHED_SECONDS)
    try:
        with os.fdopen(reading, encoding="utf-8") as lines:
            return relay(lines, reporter)
    finally:
        signal.alarm(0)
        reporter.close()


def _in_background(state: StateFolder, configuration: Configuration, pipe: int, began: float) -> int:
    os.setsid()
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    log = os.open(state.log_of("supervisor"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for descriptor in (null, log):
        os.close(descriptor)
    os.set_inheritable(pipe, False)
    reporter = PipeReporter(os.fdopen(pipe, "w", encoding="utf-8"), sys.stderr)
    return _supervise(state, configuration, reporter, began)


def _too_late(_signal: int, _frame: object) -> None:
    raise StartTimeoutError(
        f"the platform is not ready after {_DETACHED_SECONDS} s; it goes on starting. See `datalabs status`."
    )


class RelayedError(StandaloneError):
    """A failure of the supervisor, told by the process that waited for it."""


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
            error = RelayedError(message["failed"])
            error.code, error.exit_status = message["code"], message["exit_status"]  # type: ignore[misc]
            raise error
    raise StartFailedError(
        "the supervisor ended before the platform was ready; see `datalabs logs supervisor`."
    )
