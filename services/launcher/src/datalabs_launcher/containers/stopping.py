"""The end of containers: asked for once, carried out by a deadline that only moves nearer, also after a restart."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

import structlog

from datalabs_launcher.containers.engine import Engine, EngineRefusedError
from datalabs_launcher.scheduler import SchedulerAwayError

KILL_AGAIN = 1.0
AWAY_PAUSE = 1.0
TERM, KILL = "SIGTERM", "SIGKILL"
ENDED = ("exited", "dead", "removing")


class Stopping:
    """One task for each lab that ends; `over` is called when the engine says that it has ended."""

    def __init__(self, engine: Engine, *, over: Callable[[str], Awaitable[None]]) -> None:
        self._engine, self._over = engine, over
        self._deadlines: dict[str, float] = {}
        self._moved: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._log = structlog.get_logger(__name__)

    def begin(self, job_id: str, deadline: float) -> None:
        """Bring a lab to its end by `deadline`; a nearer one takes the place of a later one."""
        known = self._deadlines.get(job_id)
        self._deadlines[job_id] = deadline if known is None else min(known, deadline)
        running = self._tasks.get(job_id)
        if running is None or running.done():
            self._moved[job_id] = asyncio.Event()
            self._tasks[job_id] = asyncio.create_task(self._bring(job_id), name=f"stop {job_id}")
        else:
            self._moved[job_id].set()

    async def aclose(self) -> None:
        """Leave off; the next start goes on."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _bring(self, job_id: str) -> None:
        termed = False
        while True:
            try:
                container = await self._engine.inspect(job_id)
                if container is None or container["State"]["Status"] in ENDED:
                    break
                if container["State"]["Status"] == "created":
                    await self._engine.remove(job_id)
                    continue
                left = self._deadlines[job_id] - time.time()
                if left <= 0:
                    await self._engine.signal(job_id, KILL)
                    await self._wait(job_id, KILL_AGAIN)
                    continue
                if not termed:
                    await self._engine.signal(job_id, container["Config"].get("StopSignal") or TERM)
                    termed = True
                await self._wait(job_id, min(left, KILL_AGAIN))
            except (SchedulerAwayError, EngineRefusedError) as error:
                self._log.info("container.stop_again", job=job_id, reason=str(error))
                await asyncio.sleep(AWAY_PAUSE)
        self._deadlines.pop(job_id, None)
        self._tasks.pop(job_id, None)
        self._moved.pop(job_id, None)
        with contextlib.suppress(SchedulerAwayError):
            await self._over(job_id)

    async def _wait(self, job_id: str, seconds: float) -> None:
        moved = self._moved[job_id]
        moved.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(moved.wait(), seconds)

    def nudge(self, job_id: str) -> None:
        """Look at once: something happened to that container."""
        moved = self._moved.get(job_id)
        if moved is not None:
            moved.set()
