"""A service as a list of parts: started in order, stopped in reverse, its loops kept alive."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

import setproctitle
import structlog
import uvloop

from datalabs_runtime import logging, telemetry
from datalabs_runtime.clock import Clock, SystemClock
from datalabs_runtime.health import Health
from datalabs_runtime.settings import SettingsError, TelemetrySettings, load

STOP_TIMEOUT = 10.0
"""Seconds that one part may take to stop before the next is stopped anyway."""
LOOP_GRACE = 1.0
"""Seconds in which a loop's work may finish when the service stops; what is cut in a transaction is repeated later."""
EXIT_SETTINGS = 78
"""Exit code for settings that cannot be used (EX_CONFIG of sysexits.h)."""


class Part(Protocol):
    """Something that a service starts and stops."""

    @property
    def name(self) -> str:
        """What it is called in logs."""
        ...

    async def start(self) -> None:
        """Begin; return when it works."""
        ...

    async def aclose(self) -> None:
        """End; must be harmless when it never started."""
        ...


class Service:
    """One service: its parts in the order in which they start.

    `niceness`, as of nice(1): how far its process steps back when the machine's processors are busy.
    """

    def __init__(
        self, name: str, parts: Sequence[Part], health: Health | None = None, *, niceness: int = 0
    ) -> None:
        self._niceness = niceness
        self.name = name
        self.parts = list(parts)
        self.health = health
        self._log = structlog.get_logger(__name__)

    async def start(self) -> None:
        """Start all parts in order; when one fails, stop those that run and raise its error."""
        started: list[Part] = []
        try:
            for part in self.parts:
                started.append(part)
                await part.start()
        except BaseException:
            await self._stop(started)
            raise
        if self.health is not None:
            self.health.started = True
        self._log.info("service.started", service=self.name, parts=[part.name for part in self.parts])

    async def aclose(self) -> None:
        """Stop all parts in reverse."""
        if self.health is not None:
            self.health.started = False
        await self._stop(self.parts)
        self._log.info("service.stopped", service=self.name)

    async def run(self, until: asyncio.Event | None = None) -> None:
        """Run until the event is set or SIGTERM or SIGINT comes, then stop gracefully."""
        if os.getpriority(os.PRIO_PROCESS, 0) < self._niceness:
            os.setpriority(os.PRIO_PROCESS, 0, self._niceness)
        stop = until or asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await self.start()
        try:
            await stop.wait()
        finally:
            await self.aclose()

    async def _stop(self, parts: list[Part]) -> None:
        for part in reversed(parts):
            try:
                async with asyncio.timeout(STOP_TIMEOUT):
                    await part.aclose()
            except Exception:  # noqa: BLE001 - the other parts must still be stopped
                self._log.exception("service.part_did_not_stop", part=part.name)


class Loop:
    """A periodic worker: runs `work` every so many seconds, earlier when `wake` is set; errors are reported.

    `every` may be asked for anew after each time, for work that may rest longer while there is none.
    """

    def __init__(
        self,
        name: str,
        every: float | Callable[[], float],
        work: Callable[[], Awaitable[object]],
        *,
        wake: asyncio.Event | None = None,
        clock: Clock | None = None,
        at_once: bool = True,
    ) -> None:
        self.name = name
        self._every = every
        self._work = work
        self._wake = wake
        self._clock = clock or SystemClock()
        self._at_once = at_once
        self._task: asyncio.Task[None] | None = None
        self._resting = asyncio.Event()
        self._resting.set()
        self._closing = False
        self._log = structlog.get_logger(__name__)
        self.failures = 0

    async def start(self) -> None:
        """Begin in the background."""
        self._closing = False
        self._task = asyncio.create_task(self._run(), name=f"loop {self.name}")

    async def aclose(self) -> None:
        """End; work that is under way may finish, or is cancelled after a short time."""
        if self._task is not None:
            self._closing = True
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._resting.wait(), LOOP_GRACE)
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _run(self) -> None:
        if not self._at_once:
            await self._rest()
        while not self._closing:
            self._resting.clear()
            try:
                await self._work()
                self.failures = 0
            except Exception:  # noqa: BLE001 - reported; the work goes on
                self.failures += 1
                self._log.exception("loop.failed", loop=self.name, failures=self.failures)
            finally:
                self._resting.set()
            await self._rest()

    async def _rest(self) -> None:
        every = self._every() if callable(self._every) else self._every
        if self._wake is None:
            await self._clock.sleep(every)
            return
        sleeping = asyncio.ensure_future(self._clock.sleep(every))
        waking = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait({sleeping, waking}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            waking.cancel()
            self._wake.clear()


Build = Callable[[Path | None], Service]


def run_service(name: str, build: Build, config: Path | None = None) -> int:
    """Run a service in this process until it is told to stop; return the exit code.

    Also for a child that was just forked from an interpreter with everything imported: all threads, sockets and
    loops are made here, nothing is taken from the parent.
    """
    setproctitle.setproctitle(f"python -m datalabs_{name}")
    try:
        settings = load(TelemetrySettings, config)
        logging.setup(name, settings)
        spans = telemetry.setup(name, settings)
    except SettingsError as error:
        sys.stderr.write(f"{name}: {error}\n")
        return EXIT_SETTINGS
    log = structlog.get_logger(__name__)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(build, config))
    except SettingsError as error:
        log.error("service.bad_settings", reason=str(error))  # noqa: TRY400 - the reason says it all
        return EXIT_SETTINGS
    except KeyboardInterrupt:
        return 130
    except Exception:
        log.exception("service.failed")
        return 1
    finally:
        spans.shutdown()
    return 0


async def _run(build: Build, config: Path | None) -> None:
    await build(config).run()


def main(name: str, build: Build) -> None:
    """Run a service as a program of its own: `python -m datalabs_<name> [SETTINGS FILE]`."""
    arguments = sys.argv[1:]
    config = Path(arguments[0]) if arguments else None
    sys.exit(run_service(name, build, config))
