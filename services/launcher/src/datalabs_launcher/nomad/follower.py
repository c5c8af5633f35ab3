"""Keeps the view of the cluster true: subscribes first, then lists everything, then takes the events; again and again.

Whenever the stream breaks, whoever watches is told that nothing is known until it stands again.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import structlog

from datalabs_launcher.nomad.client import NomadClient
from datalabs_launcher.nomad.observing import Known, observe
from datalabs_launcher.nomad.stream import Event, EventStream
from datalabs_launcher.nomad.view import View
from datalabs_launcher.scheduler import JobState, Observation, SchedulerAwayError

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
"""Seconds between attempts to subscribe, growing while Nomad is away."""
LOOK_SECONDS = 2.0
"""Pause between looks for machines that have been silent for too long."""


class Follower:
    """Follows one cluster; tells each observation that is news."""

    def __init__(
        self,
        *,
        client: NomadClient,
        stream: EventStream,
        view: View,
        prefix: str,
        lost_after: timedelta,
        pulse: float,
        must_stop: Callable[[Known], None],
        seen: Callable[[Observation], None],
        look: Callable[[], None],
    ) -> None:
        self._client, self._stream, self._view, self._prefix = client, stream, view, prefix
        self._lost_after, self._pulse = lost_after, pulse
        self._heard = 0
        self._must_stop, self._seen, self._look_too = must_stop, seen, look
        self._told: dict[str, Observation] = {}
        self._boxes: set[_Box] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._compared = asyncio.Lock()
        self.fault: SchedulerAwayError | None = SchedulerAwayError("Nomad has not been asked yet.")
        self._up = asyncio.Event()
        self._log = structlog.get_logger(__name__)

    # -- life ------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin; a cluster that is away keeps nobody waiting for long."""
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._follow(), name="nomad events"),
            loop.create_task(self._look(), name="nomad lost machines"),
        ]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._up.wait(), LOOK_SECONDS)

    async def aclose(self) -> None:
        """End; watchers end too."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for box in self._boxes:
            box.end(None)

    async def _follow(self) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                async with self._stream.open(await self._client.index()) as events:
                    await self.compare(anew=True)
                    self._log.info("nomad.following", jobs=len(self._view.jobs), nodes=len(self._view.nodes))
                    self.fault, pause = None, FIRST_PAUSE
                    self._up.set()
                    await self._take(events)
            except SchedulerAwayError as error:
                self._away(error)
            except Exception as error:  # noqa: BLE001 - the edge of a loop
                self._log.exception("nomad.follow_failed")
                self._away(SchedulerAwayError(f"What Nomad said could not be read: {error!r}"))
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 2)

    async def _take(self, events: AsyncIterator[Event]) -> None:
        """Take events until the stream breaks; in a lull the cluster is asked whether it is there.

        By itself it says something each 30 s only, and labs shall be told unreachable before two of those are missed.
        """
        taking = asyncio.create_task(self._apply(events), name="nomad news")
        try:
            while not taking.done():
                heard = self._heard
                await asyncio.wait({taking}, timeout=self._pulse)
                if self._heard == heard and not taking.done():
                    await self._client.index()
            taking.result()
        finally:
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)

    async def _apply(self, events: AsyncIterator[Event]) -> None:
        async for event in events:
            self._heard += 1
            job_id = self._view.apply(event)
            if job_id is not None:
                self.tell(job_id)

    def _away(self, error: SchedulerAwayError) -> None:
        if self.fault is None or str(self.fault) != str(error):
            self._log.warning("nomad.away", reason=str(error))
        self.fault = error
        self._up.clear()
        for box in self._boxes:
            box.end(error)

    async def _look(self) -> None:
        """Tell of jobs on machines that have been silent for too long: no event comes of that."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self.fault is None:
                self._look_too()
            for job_id, told in list(self._told.items()):
                if told.state is JobState.UNKNOWN and job_id in self._view.jobs:
                    self.tell(job_id)

    # -- what is true ----------------------------------------------------------------------------------------------

    async def compare(self, *, anew: bool = False) -> list[Observation]:
        """List everything and put the view right; return all jobs of this platform.

        `anew`: no news were taken since the event stream was opened.

        Raises `SchedulerAwayError`.
        """
        async with self._compared:
            jobs, index = await self._client.jobs(self._prefix)
            allocations, _ = await self._client.allocations(self._prefix)
            blocked = await self._client.blocked()
            others = await self._client.other_allocations(self._prefix)
            nodes = await self._client.nodes()
            unknown = [
                str(node["ID"]) for node in nodes if "Meta" not in self._view.nodes.get(str(node["ID"]), {})
            ]
            details = [await self._client.node(node_id) for node_id in unknown]
        self._view.replace(
            jobs=jobs, allocations=allocations, blocked=blocked, others=others, index=index, anew=anew
        )
        listed = {str(node["ID"]) for node in nodes}
        for node_id in [one for one in self._view.nodes if one not in listed]:
            del self._view.nodes[node_id]
        for node in [*nodes, *(one for one in details if one is not None)]:
            self._view.note_node(node)
        for job_id in [one for one in self._told if one not in self._view.jobs]:
            del self._told[job_id]
        return [
            seen
            for job_id, known in list(self._view.jobs.items())
            if self._view.ours(known) and (seen := self.tell(job_id)) is not None
        ]

    def tell(self, job_id: str) -> Observation | None:
        """Return what is true of a job, and tell the watchers when it is news."""
        known = self._view.jobs.get(job_id)
        if known is None:
            return None
        seen = observe(known, now=datetime.now(tz=UTC), lost_after=self._lost_after, early=self._view.early)
        before = self._told.get(job_id)
        lost = seen.end is not None and seen.end.node_lost
        if (known.placed_again or lost) and not known.stop:
            self._must_stop(known)
        if before == seen:
            return seen
        self._told[job_id] = seen
        self._seen(seen)
        for box in self._boxes:
            box.put(seen)
        return seen

    def forget(self, job_id: str) -> None:
        """Drop a job that was purged."""
        self._view.forget(job_id)
        self._told.pop(job_id, None)

    # -- watching --------------------------------------------------------------------------------------------------

    def watch(self) -> AsyncIterator[Observation]:
        """Yield observations from this call on; raises `SchedulerAwayError` when the events stop coming."""
        box = _Box()
        self._boxes.add(box)
        return self._news(box)

    async def _news(self, box: "_Box") -> AsyncIterator[Observation]:
        try:
            # the stream may stand in a moment (a start, a reconnect): a short wait saves the watcher a turn
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._up.wait(), LOOK_SECONDS)
            if self.fault is not None:
                raise self.fault
            box.ended = False
            while True:
                await box.filled.wait()
                box.filled.clear()
                while box.waiting:
                    yield box.waiting.pop(next(iter(box.waiting)))
                if box.ended:
                    if box.error is not None:
                        raise box.error
                    return
        finally:
            self._boxes.discard(box)


class _Box:
    """One watcher's news: of a job that changed twice before it was read, the newest."""

    def __init__(self) -> None:
        self.waiting: dict[str, Observation] = {}
        self.filled = asyncio.Event()
        self.ended = False
        self.error: SchedulerAwayError | None = None

    def put(self, seen: Observation) -> None:
        self.waiting[seen.job_id] = seen
        self.filled.set()

    def end(self, error: SchedulerAwayError | None) -> None:
        self.ended, self.error = True, error
        self.filled.set()
