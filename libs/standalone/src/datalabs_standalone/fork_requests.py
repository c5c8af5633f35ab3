"""The supervisor's side of the nursery: start it, ask it for services and tasks."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from datalabs_standalone import logs
from datalabs_standalone.children import Children, how_it_ended
from datalabs_standalone.failures import StartFailedError
from datalabs_standalone.parts import CannotStartError
from datalabs_standalone.probes import SILENCE, Answer
from datalabs_standalone.processes import adopt_orphans, run_program

ALL = "all"
"""What the nursery says when it has imported everything."""
SAYS = "> "
"""Begins the lines of a task that are for the operator; the others are for its log."""

_MESSAGE_BYTES = 65_536
_LINE_BYTES = 1024**2


class Nursery:
    """One nursery process at a time; a new one may follow when it died."""

    def __init__(
        self,
        *,
        environment: Mapping[str, str],
        log: Path,
        cwd: Path,
        command: Sequence[str] = (sys.executable, "-m", "datalabs_standalone.nursery"),
    ) -> None:
        self._command = command
        self._environment = environment
        self._log = log
        self._cwd = cwd
        self._control: socket.socket | None = None
        self._tasks = asyncio.Event()
        self._imported = asyncio.Event()
        self._answers: asyncio.Queue[bytes] = asyncio.Queue()
        self._turn = asyncio.Lock()
        self._early: int | None = None

    async def start_early(self) -> int:
        """Start it before anybody keeps it; the keeper's first `start` then only takes it over."""
        self._early = await self.start()
        return self._early

    def kill(self) -> None:
        """End one that was started early and is not needed."""
        if self._early is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._early, signal.SIGKILL)
        self._hang_up()

    async def start(self) -> int:
        """Start the nursery and return its pid; it imports in the background."""
        if self._early is not None:
            early, self._early = self._early, None
            return early
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        log = logs.open_log(self._log)
        try:
            pid = run_program(
                self._command,
                environment=self._environment,
                log=log,
                death_signal=signal.SIGTERM,
                cwd=self._cwd,
                stdin=theirs.fileno(),
            )
        finally:
            theirs.close()
            os.close(log)
        self._hang_up()
        self._control = ours
        self._tasks.clear()
        self._imported.clear()
        asyncio.get_running_loop().add_reader(ours.fileno(), self._receive, ours)
        return pid

    def _hang_up(self) -> None:
        """Forget the nursery that was; who waits for its answer is told that it went away."""
        if self._control is None:
            return
        asyncio.get_running_loop().remove_reader(self._control.fileno())
        self._control.close()
        self._control = None
        self._answers.put_nowait(b"")

    def _receive(self, control: socket.socket) -> None:
        """Take a message: news of what is imported, or the answer to a request."""
        try:
            data = control.recv(_MESSAGE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._hang_up()
            return
        news = json.loads(data).get("imported")
        if news is None:
            self._answers.put_nowait(data)
            return
        self._tasks.set()
        if news == ALL:
            self._imported.set()

    async def probe(self) -> Answer:
        """Tell whether it has imported everything."""
        if self._control is None:
            return SILENCE
        try:
            async with asyncio.timeout(1):
                await self._imported.wait()
        except TimeoutError:
            return Answer(ready=False, text="importing")
        return Answer(ready=True)

    async def fork(self, kind: str, name: str, *, log: int, environment: Mapping[str, str]) -> int:
        """Return the pid of a new child of ours that is a service or does a task; it writes to `log`.

        A task is done as soon as tasks are imported, services wait until they share all imports.
        Raises `CannotStartError`.
        """
        await (self._tasks if kind == "task" else self._imported).wait()
        request = {
            "kind": kind,
            "name": name,
            "environment": dict(environment),
            "supervisor": os.getpid(),
        }
        async with self._turn:
            answer = await self._ask(request, log)
        if "error" in answer:
            raise CannotStartError(answer["error"])
        return int(answer["pid"])

    async def _ask(self, request: Mapping[str, Any], log: int) -> dict[str, Any]:
        control = self._control
        if control is None:
            raise CannotStartError("the nursery is not there")
        while not self._answers.empty():  # of who was cancelled while it waited
            self._answers.get_nowait()
        adopt_orphans(adopt=True)  # only meanwhile: labs' shims are to fall to init, not to us
        try:
            socket.send_fds(control, [json.dumps(request).encode()], [log])
            data = await self._answers.get()
        except OSError as error:
            raise CannotStartError(f"the nursery went away: {error.strerror}") from error
        finally:
            adopt_orphans(adopt=False)
        if not data:
            raise CannotStartError("the nursery went away")
        answer: dict[str, Any] = json.loads(data)
        return answer


class TaskRunner:
    """Runs one short task at a time in a fork of the nursery and passes on what it prints."""

    def __init__(self, *, nursery: Nursery, children: Children, log: Path) -> None:
        self._nursery = nursery
        self._children = children
        self._log = log

    async def run(self, name: str, say: Callable[[str], None]) -> None:
        """Run a task to its end; all that it prints goes to the log, what it says is passed on.

        Raises `StartFailedError` when the task fails.
        """
        reading, writing = os.pipe()
        try:
            pid = await self._nursery.fork("task", name, log=writing, environment={})
        except CannotStartError as error:
            os.close(reading)
            raise StartFailedError(str(error)) from error
        finally:
            os.close(writing)
        exited = self._children.exit_of(pid)
        last = ""
        log = logs.open_log(self._log)
        try:
            async for line in lines_of(reading):
                os.write(log, f"{line}\n".encode())
                last = line or last
                if line.startswith(SAYS):
                    say(line.removeprefix(SAYS))
        finally:
            os.close(log)
        code = await exited
        if code != 0:
            raise StartFailedError(f"{name} {how_it_ended(code)}: {last}; see {self._log}")


async def lines_of(descriptor: int) -> AsyncIterator[str]:
    """Yield the lines of a pipe to its end, and close it."""
    reader = asyncio.StreamReader(limit=_LINE_BYTES)
    with os.fdopen(descriptor, "rb") as pipe:
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        try:
            while line := await reader.readline():
                yield line.decode(errors="replace").rstrip("\n")
        finally:
            transport.close()
