"""Is a lab ready? It is when it answers through its own protocol, at its own address, from its own socket."""

import asyncio
import contextlib
import contextvars
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog

from datalabs_launcher import screens
from datalabs_launcher.scheduler import Scheduler, SchedulerAwayError
from datalabs_runtime.clock import Clock

PAUSES = ((0.25, 0.005), (1.0, 0.02), (10.0, 0.05))
"""Until so many seconds after the start, so long a pause: most labs answer soon, or only after long."""
LATE_PAUSE = 0.1
PROBES_A_SECOND = 400
"""Of all labs together: a crowd of probes takes the processor from the labs that it waits for."""
CONNECT_SECONDS = 0.2
"""A connection that takes longer met a network that was not up yet; the kernel would try again only after 1 s."""
STATUS_LINE_LIMIT = 1024
OK = 200


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where and how a lab is asked; a desktop (`screen`) is asked for its screen, not for a path."""

    lab_id: str
    attempt: int
    job_id: str
    host: str
    port: int
    path: str
    host_header: str
    secret: str
    screen: bool = False


async def ask(target: Target, *, seconds: float) -> int | None:
    """Return the HTTP status of the ready path, or None when nobody answered in time; redirects are not followed.

    A screen that speaks counts as 200.
    """
    if target.screen:
        spoken = await screens.speaks(
            target.host,
            target.port,
            host=target.host_header,
            secret=target.secret,
            connect_seconds=CONNECT_SECONDS,
            seconds=seconds,
        )
        return OK if spoken else None
    writer = None
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(target.host, target.port, limit=STATUS_LINE_LIMIT)
        async with asyncio.timeout(seconds):
            writer.write(
                f"GET {target.path} HTTP/1.1\r\nHost: {target.host_header}\r\nX-Lab-Secret: {target.secret}\r\n"
                "Accept: */*\r\nUser-Agent: datalabs-launcher\r\nConnection: close\r\n\r\n".encode()
            )
            words = (await reader.readuntil(b"\r\n")).split(b" ", 2)
    except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return None
    finally:
        if writer is not None:
            writer.transport.abort()
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():  # noqa: PLR2004
        return None
    return int(words[1])


class Prober:
    """Asks labs that have started until they answer; a part."""

    name = "prober"

    def __init__(
        self, *, scheduler: Scheduler, clock: Clock, wake: Callable[[str], None], answer_seconds: float
    ) -> None:
        self._scheduler = scheduler
        self._clock = clock
        self._wake = wake
        self._answer_seconds = answer_seconds
        self._tasks: dict[str, tuple[Target, asyncio.Task[None]]] = {}
        self._answered: dict[str, tuple[int, datetime]] = {}
        self._log = structlog.get_logger(__name__)

    async def start(self) -> None:
        """Nothing to do: probes begin with their labs."""

    async def aclose(self) -> None:
        """End all probes."""
        tasks = [task for _, task in self._tasks.values()]
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def answered(self, lab_id: str, attempt: int) -> datetime | None:
        """Return when this attempt first answered."""
        known = self._answered.get(lab_id)
        return known[1] if known and known[0] == attempt else None

    def ensure(self, target: Target) -> None:
        """Ask this lab until it answers; asking already changes nothing."""
        running = self._tasks.get(target.lab_id)
        if running is not None:
            if running[0] == target and not running[1].done():
                return
            running[1].cancel()
        task = asyncio.get_running_loop().create_task(
            self._probe(target), name=f"probe {target.lab_id}", context=contextvars.Context()
        )
        self._tasks[target.lab_id] = (target, task)

    def forget(self, lab_id: str) -> None:
        """Ask no more: the lab is ready or has ended."""
        self._answered.pop(lab_id, None)
        running = self._tasks.pop(lab_id, None)
        if running is not None:
            running[1].cancel()

    async def _probe(self, target: Target) -> None:
        began = self._clock.now()
        while True:
            status = await ask(target, seconds=self._answer_seconds)
            if status == OK and await self._is_its_own(target):
                self._answered[target.lab_id] = (target.attempt, self._clock.now())
                self._wake(target.lab_id)
                return
            waited = (self._clock.now() - began).total_seconds()
            await asyncio.sleep(self._pause(waited))

    async def _is_its_own(self, target: Target) -> bool:
        """Another process may have taken the lab's port on a shared network: its answer counts for nothing."""
        try:
            owned = await self._scheduler.owns_listener(target.job_id)
        except SchedulerAwayError:
            return False
        if owned is False:
            self._log.warning("probe.foreign_listener", lab=target.lab_id, port=target.port)
        return owned is not False

    def _pause(self, waited: float) -> float:
        eager = next((pause for until, pause in PAUSES if waited < until), LATE_PAUSE)
        return min(LATE_PAUSE, max(eager, len(self._tasks) / PROBES_A_SECOND))
