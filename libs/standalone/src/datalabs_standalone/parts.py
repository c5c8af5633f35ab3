"""The parts of the platform, and the keeper that holds one of them alive."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from datalabs_standalone import logs
from datalabs_standalone.backoff import RestartPolicy, Restarts
from datalabs_standalone.children import Children, how_it_ended
from datalabs_standalone.probes import Answer, Probe

_FIRST_PROBES_SECONDS = 0.05
_SLOWEST_FIRST_PROBE_SECONDS = 0.5
_STEADY_PROBES_SECONDS = 10.0
_SILENT_PROBES_SECONDS = 2.0
_SILENT_PROBES = 2
_HUNG_PROBES = 3
"""So often at least a part is asked in vain before it counts as hung: one late answer is the machine's fault."""
_SHOWN_LINES = 12


class CannotStartError(Exception):
    """A part could not even be started; the text says why."""


class PartState(StrEnum):
    """What a part is doing."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    UNREADY = "unready"
    SILENT = "silent"
    RESTARTING = "restarting"
    FAILING = "failing"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True, kw_only=True)
class PartPlan:
    """How one part is started, asked and stopped; `start` returns the pid of a child of the supervisor.

    One that was ready and has not answered for `hung_after` seconds is killed and started again.
    """

    name: str
    start: Callable[[], Awaitable[int]]
    probe: Probe
    log: Path
    policy: RestartPolicy = field(default_factory=RestartPolicy)
    stop_signal: int = signal.SIGTERM
    stop_within: float = 10.0
    hung_after: float | None = None


@dataclass(kw_only=True)
class PartStatus:
    """What is known of one part; `took` is the seconds of its last start until it was ready."""

    name: str
    state: PartState = PartState.WAITING
    pid: int | None = None
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    took: float | None = None
    restarts: int = 0
    text: str = ""

    def document(self) -> dict[str, Any]:
        """Return it as JSON knows it."""
        return {
            "name": self.name,
            "state": str(self.state),
            "pid": self.pid,
            "since": self.since.isoformat(),
            "took": self.took,
            "restarts": self.restarts,
            "text": self.text,
        }

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> "PartStatus":
        """Return what a document tells of."""
        known = {name: document[name] for name in ("name", "pid", "took", "restarts", "text")}
        return cls(
            **known, state=PartState(document["state"]), since=datetime.fromisoformat(document["since"])
        )


class Listener(Protocol):
    """Who is told what happens to the parts."""

    def changed(self, part: PartStatus) -> None:
        """Take note that a part's state, process or words changed."""

    def failing(self, part: PartStatus, last_lines: list[str]) -> None:
        """Take note that a part dies again and again."""


class Keeper:
    """Starts one part, asks it whether it is ready, starts it again when it dies, and ends it."""

    def __init__(
        self,
        *,
        plan: PartPlan,
        children: Children,
        listener: Listener,
        steady_probes_seconds: float = _STEADY_PROBES_SECONDS,
    ) -> None:
        self.plan = plan
        self._steady = steady_probes_seconds
        self.status = PartStatus(name=plan.name)
        self.ready = asyncio.Event()
        self.failing = asyncio.Event()
        self._children = children
        self._listener = listener
        self._restarts = Restarts(policy=plan.policy)
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._log_began = 0

    def begin(self) -> None:
        """Start the part, and keep it."""
        self._task = asyncio.create_task(self._keep(), name=f"keeper of {self.plan.name}")

    async def end(self) -> None:
        """End the part: its stop signal first, SIGKILL when it takes too long."""
        self._stopping.set()
        if self._task is None:
            return
        pid = self.status.pid
        if pid is not None:
            self._set(PartState.STOPPING)
            _signal(pid, self.plan.stop_signal)
        _done, late = await asyncio.wait({self._task}, timeout=self.plan.stop_within)
        if late and self.status.pid is not None:
            self.status.text = f"did not stop within {self.plan.stop_within:g} s and was killed"
            _signal(self.status.pid, signal.SIGKILL)
        elif late:  # it waits to be started, by a nursery that will not come back
            self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._set(PartState.STOPPED, self.status.text)

    async def _keep(self) -> None:
        while not self._stopping.is_set():
            began = time.monotonic()
            died = await self._live_once(began)
            self.ready.clear()
            self.status.pid = None
            if self._stopping.is_set():
                break
            await self._wait_to_restart(time.monotonic() - began, died)

    async def _live_once(self, began: float) -> str:
        """Start it and watch it until it ends; return how it ended."""
        self._set(PartState.STARTING)
        if self._restarts.in_a_row == 0:
            self._log_began = logs.size_of(self.plan.log)
        try:
            pid = await self.plan.start()
        except CannotStartError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - the edge of the loop: whatever it is, the part is tried again
            return f"cannot be started: {error!r}"
        exited = self._children.exit_of(pid)
        self.status.pid = pid
        if self._stopping.is_set():  # asked to end while it was being started
            _signal(pid, self.plan.stop_signal)
        self._listener.changed(self.status)
        hung = await self._watch(exited, began)
        return hung or how_it_ended(exited.result())

    async def _wait_to_restart(self, lived: float, died: str) -> None:
        delay = self._restarts.after(lived)
        self.status.restarts += 1
        if self._restarts.failing:
            first = self.status.state is not PartState.FAILING and not self.failing.is_set()
            self._set(PartState.FAILING, died)
            self.failing.set()
            if first:
                self._listener.failing(
                    self.status, logs.last_lines(self.plan.log, _SHOWN_LINES, since=self._log_began)
                )
        else:
            self._set(PartState.RESTARTING, died)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), delay)

    async def _watch(self, exited: asyncio.Future[int], began: float) -> str:
        """Ask the part until it ends, quickly until it is ready, then every few seconds; kill it when it hangs.

        Returns why it was killed, if it was.
        """
        pause, silent, heard = _FIRST_PROBES_SECONDS, 0, time.monotonic()
        while not exited.done():
            asking = asyncio.ensure_future(self.plan.probe())
            either: set[asyncio.Future[Any]] = {asking, exited}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                asking.cancel()
                break
            answer = self._answer_of(asking)
            silent, heard = (0, time.monotonic()) if answer.heard else (silent + 1, heard)
            if not self._stopping.is_set():
                self._take(answer, silent, began)
                if self._hangs(silent, time.monotonic() - heard):
                    _signal(self.status.pid or 0, signal.SIGKILL)
                    await exited
                    return f"did not answer for {time.monotonic() - heard:.0f} s and was killed"
                if answer.only_restart:
                    await self._end_for_restart(exited)
                    return answer.only_restart
            if silent and self.status.took is not None:
                pause = min(_SILENT_PROBES_SECONDS, self._steady)
            elif self.ready.is_set():
                pause = self._steady
            else:
                pause = min(_SLOWEST_FIRST_PROBE_SECONDS, max(pause, (time.monotonic() - began) / 20))
            await asyncio.wait({exited}, timeout=pause)
        return ""

    async def _end_for_restart(self, exited: asyncio.Future[int]) -> None:
        """End a part that only a new start helps: as at the platform's end, and by force when that takes too long."""
        _signal(self.status.pid or 0, self.plan.stop_signal)
        await asyncio.wait({exited}, timeout=self.plan.stop_within)
        if not exited.done():
            _signal(self.status.pid or 0, signal.SIGKILL)
            await exited

    def _hangs(self, silent: int, since: float) -> bool:
        """Tell whether a part that was ready has been silent for too long."""
        after = self.plan.hung_after
        return (
            after is not None
            and self.status.took is not None
            and silent >= _HUNG_PROBES
            and since >= after
            and self.status.pid is not None
        )

    @staticmethod
    def _answer_of(asking: "asyncio.Future[Answer]") -> Answer:
        """Return the answer; a probe that breaks must not end the keeping."""
        try:
            return asking.result()
        except Exception as error:  # noqa: BLE001 - the edge of the loop: shown as the part's words
            return Answer(ready=False, heard=False, text=f"cannot be asked: {error!r}")

    def _take(self, answer: Answer, silent: int, began: float) -> None:
        """Draw the conclusion from one answer."""
        if answer.ready:
            if not self.ready.is_set():
                if self.status.state in {PartState.STARTING, PartState.FAILING}:
                    self.status.took = time.monotonic() - began
                self.failing.clear()
                self.ready.set()
                self._set(PartState.READY)
        elif self.status.took is not None and (answer.heard or silent >= _SILENT_PROBES):
            self.ready.clear()
            self._set(PartState.UNREADY if answer.heard else PartState.SILENT, answer.text)
        elif answer.heard and answer.text != self.status.text:
            self._set(self.status.state, answer.text)

    def _set(self, state: PartState, text: str = "") -> None:
        if state is PartState.STARTING:
            self.status.took = None
        if state is self.status.state and text == self.status.text:
            return
        if state is not self.status.state:
            self.status.since = datetime.now(UTC)
        self.status.state, self.status.text = state, text
        self._listener.changed(self.status)


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
