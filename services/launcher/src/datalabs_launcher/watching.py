"""Watches the scheduler: news wake their labs at once; once a minute all is compared with the database."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import datetime

import structlog

from datalabs_contracts.labs import LabState
from datalabs_launcher import stepping
from datalabs_launcher.leading import Leads
from datalabs_launcher.scheduler import JobState, Observation, Scheduler, SchedulerAwayError
from datalabs_launcher.store import labs
from datalabs_runtime.clock import Clock
from datalabs_runtime.database import Database
from datalabs_runtime.leases import Lease

RETRY_SECONDS = 1.0
GRACE_SECONDS = 0.5
ORPHAN_GRACE = 5.0
"""Seconds between the request to end and the kill of a job that no lab knows."""


class Sightings:
    """The newest observation of each job, and since when the scheduler is silent.

    Only who leads hears news: what another instance saw earlier is not believed, its steps ask for themselves.
    """

    def __init__(self, *, clock: Clock, leads: Leads) -> None:
        self._clock = clock
        self._leads = leads
        self._latest: dict[str, Observation] = {}
        self._away_since: datetime | None = None

    def latest(self, job_id: str | None) -> Observation | None:
        """Return the newest observation of a job."""
        return self._latest.get(job_id) if job_id and self._leads() else None

    def note(self, seen: Observation) -> bool:
        """Remember an observation; whether it is news. What has ended stays ended."""
        before = self._latest.get(seen.job_id)
        if before is not None and before.state is JobState.ENDED:
            return False
        self._latest[seen.job_id] = seen
        return before != seen

    def keep_only(self, job_ids: set[str]) -> None:
        """Forget the jobs that are not there any more."""
        self._latest = {job_id: seen for job_id, seen in self._latest.items() if job_id in job_ids}

    def away(self) -> None:
        """Note that the scheduler did not answer."""
        self._away_since = self._away_since or self._clock.now()

    def back(self) -> bool:
        """Note that it answered; whether it had been away."""
        was, self._away_since = self._away_since, None
        return was is not None

    def away_seconds(self) -> float:
        """Return for how long the scheduler has been silent; 0 when it answers."""
        if self._away_since is None or not self._leads():
            return 0.0
        since = stepping.moved(self._clock, self._away_since)
        return max(0.001, (self._clock.now() - since).total_seconds())


class Watcher:
    """Follows the scheduler's news; a part."""

    name = "watcher"

    def __init__(
        self,
        *,
        scheduler: Scheduler,
        database: Database,
        sightings: Sightings,
        lease: Lease,
        clock: Clock,
        wake: Callable[[str], None],
    ) -> None:
        self._scheduler = scheduler
        self._database = database
        self._sightings = sightings
        self._lease = lease
        self._clock = clock
        self._wake = wake
        self._task: asyncio.Task[None] | None = None
        self._comparing = asyncio.Lock()
        self._log = structlog.get_logger(__name__)

    async def start(self) -> None:
        """Begin in the background."""
        self._task = asyncio.create_task(self._watch(), name="watcher")

    async def aclose(self) -> None:
        """End, after a comparison that is under way."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS), self._comparing:
                pass
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _watch(self) -> None:
        while True:
            await self._lease.wait()
            try:
                await self._follow()
            except SchedulerAwayError as error:
                self._sightings.away()
                self._log.warning("scheduler.away", reason=str(error))
            except Exception:  # noqa: BLE001 - the edge of a loop: report, go on
                self._log.exception("watch.failed")
            await self._clock.sleep(RETRY_SECONDS)

    async def _follow(self) -> None:
        """Subscribe first, then compare all, then take the news: nothing falls between."""
        news = self._scheduler.watch()
        first = asyncio.ensure_future(anext(aiter(news)))
        try:
            await self.reconcile()
            self.take(await first)
            async for seen in news:
                if not self._lease.held:
                    self._log.info("watch.passed_on")
                    return
                self.take(seen)
        except StopAsyncIteration:
            return
        finally:
            first.cancel()
            # Its failure is heard, though what came before it ended this: else asyncio reports it as nobody's.
            await asyncio.gather(first, return_exceptions=True)
            close = getattr(news, "aclose", None)
            if close is not None:
                await close()

    def take(self, seen: Observation) -> None:
        """Remember an observation and wake its lab when it is news."""
        self._sightings.back()
        if self._sightings.note(seen):
            self._wake(seen.lab_id)

    async def reconcile_if_leading(self) -> None:
        """Compare all, unless another instance does."""
        if self._lease.held:
            await self.reconcile()

    async def reconcile(self) -> None:
        """Compare all jobs with all labs.

        Jobs are listed before labs are read: an intent is stored before its job exists, so a job without a lab is an
        orphan, never one that is just being made. A lab without a job is woken and decides by itself.
        """
        async with self._comparing:
            await self._compare()

    async def _compare(self) -> None:
        began = time.monotonic()
        try:
            jobs = {seen.job_id: seen for seen in await self._scheduler.jobs()}
        except SchedulerAwayError:
            self._sightings.away()
            await self._wake_all()
            raise
        was_away = self._sightings.back()
        async with self._database.reading() as session:
            alive = await labs.jobs_alive(session)
        self._sightings.keep_only(set(jobs))
        woken = 0
        for job_id, seen in jobs.items():
            if job_id not in alive:
                await self._end_orphan(seen)
                continue
            lab_id, state = alive[job_id]
            # A lab that simply runs has no next step: a thousand of them are not woken to find that out.
            agreed = state is LabState.READY and seen.state is JobState.RUNNING
            if (self._sightings.note(seen) or was_away) and not agreed:
                self._wake(lab_id)
                woken += 1
        for job_id, (lab_id, _) in alive.items():
            if job_id not in jobs:
                self._wake(lab_id)
                woken += 1
        seconds = round(time.monotonic() - began, 3)
        self._log.info("watch.compared", jobs=len(jobs), labs=len(alive), woken=woken, seconds=seconds)

    async def _wake_all(self) -> None:
        async with self._database.reading() as session:
            for lab_id in await labs.ids_alive(session):
                self._wake(lab_id)

    async def _end_orphan(self, seen: Observation) -> None:
        """End a job that belongs to no living attempt; purge it when it has ended.

        Its lab has recorded an end already, or never knew it: a submission that arrived after its lab was stopped.
        """
        if seen.state is JobState.ENDED:
            await self._scheduler.purge(seen.job_id)
            return
        self._log.warning("orphan.stopped", job=seen.job_id, lab=seen.lab_id)
        await self._scheduler.stop(seen.job_id, grace=ORPHAN_GRACE)
