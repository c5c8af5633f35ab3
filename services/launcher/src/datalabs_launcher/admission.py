"""Lets queued labs in: capacity and the owner's limits are taken in one step, places are told when they change."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from datalabs_contracts.labs import Capacity, LabState
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_launcher import metrics
from datalabs_launcher.crash_points import CrashPoints
from datalabs_launcher.errors import LabMovedError
from datalabs_launcher.journal import Change, Journal
from datalabs_launcher.models import QUEUED, VOLUMES, LabRecord, Taken
from datalabs_launcher.neighbours import Holding, Neighbours
from datalabs_launcher.queueing import Plan, can_fit, needs, plan
from datalabs_launcher.scheduler import Scheduler, SchedulerAwayError
from datalabs_launcher.store import labs
from datalabs_runtime.clock import Clock
from datalabs_runtime.database import Database

CAPACITY_SECONDS = 1.0
"""How long the scheduler's answer is believed."""
ROUNDS = 5
"""Reserve, look again: after so many times the rest waits for the next wake."""
OVER_LIMIT = "Waits until one of your other labs ends: you are at your limit"
UNCOUNTED = "Waits for the accounting, which does not answer"
TOO_LARGE = "Needs more than this site has now"
AWAY = "The cluster does not answer; it starts when the cluster is back"


class Admission:
    """The queue; `wake` it whenever something was queued or freed."""

    def __init__(
        self,
        *,
        database: Database,
        journal: Journal,
        scheduler: Scheduler,
        neighbours: Neighbours,
        crash_points: CrashPoints,
        clock: Clock,
        admitted: Callable[[str], None],
    ) -> None:
        self._database = database
        self._journal = journal
        self._scheduler = scheduler
        self._neighbours = neighbours
        self._crash_points = crash_points
        self._clock = clock
        self._admitted = admitted
        self._capacity: tuple[datetime, Capacity] | None = None
        self._log = structlog.get_logger(__name__)
        self.wake = asyncio.Event()

    async def capacity(self) -> Capacity:
        """Return what the cluster has.

        Raises `SchedulerAwayError`.
        """
        now = self._clock.now()
        if self._capacity is None or (now - self._capacity[0]).total_seconds() >= CAPACITY_SECONDS:
            self._capacity = (now, await self._scheduler.capacity())
        return self._capacity[1]

    async def round(self) -> None:
        """Admit all that fits now and tell the others their places."""
        try:
            capacity = await self.capacity()
        except SchedulerAwayError:
            await self._tell_away()
            return
        granted: dict[str, LabRecord] = {}
        held: dict[str, str] = {}
        for _ in range(ROUNDS):
            wanting = await self._give(capacity, granted, held)
            if not wanting:
                break
            await asyncio.gather(*(self._reserve(record, granted, held) for record in wanting))
        await self._release(granted.values())

    async def _give(
        self, capacity: Capacity, granted: dict[str, LabRecord], held: dict[str, str]
    ) -> list[LabRecord]:
        """Admit what fits and has its reservation; return what fits but has none yet.

        Those in `held` wait for a reason of their own, its text; what was granted and not used stays in `granted`.
        """
        async with self._database.transaction() as session:
            await labs.lock_admission(session)
            queued = {record.id: record for record in await labs.queue(session)}
            if not queued:
                metrics.QUEUED.set(0)
                return []
            held |= {
                lab_id: TOO_LARGE
                for lab_id, record in queued.items()
                if not can_fit(record.cores, record.memory_mib, capacity)
            }
            taken = await labs.taken(session)
            decided = plan([labs.waiting(record) for record in queued.values()], capacity, taken, held=held)
            chosen = [queued[lab_id] for lab_id in decided.admitted]
            let_in = [record for record in chosen if record.reserved or record.id in granted]
            admitted = [written for record in let_in if (written := await self._let_in(session, record))]
            freed = await self._tell_places(session, queued, decided, held)
        metrics.QUEUED.set(len(decided.positions))
        for record in admitted:
            granted.pop(record.id, None)
            await self._crash_points.reached("admitted", record.id)
            self._admitted(record.id)
        await self._release(freed)
        done = {record.id for record in let_in}
        return [record for record in chosen if record.id not in done]

    async def _let_in(self, session: AsyncSession, record: LabRecord) -> LabRecord | None:
        now = self._clock.now()
        try:
            return await self._journal.write_in(
                session,
                record,
                Change(
                    at=now,
                    state=LabState.PREPARING,
                    phase=VOLUMES,
                    values={"queue_position": None, "reserved": True, "due_at": now},
                ),
            )
        except LabMovedError:
            return None

    async def _tell_places(
        self, session: AsyncSession, queued: dict[str, LabRecord], decided: Plan, held: Mapping[str, str]
    ) -> list[LabRecord]:
        """Store the places that changed; a lab that has to wait gives its reservation back: return those."""
        freed: list[LabRecord] = []
        for lab_id, position in decided.positions.items():
            record = queued[lab_id]
            text = held.get(lab_id) or f"Waits for {needs(record.cores, record.memory_mib)}"
            if (record.queue_position, record.progress_text) == (position, text) and not record.reserved:
                continue
            if record.reserved:
                freed.append(record)
            values = {"queue_position": position, "reserved": False}
            try:
                await self._journal.write_in(
                    session,
                    record,
                    Change(at=self._clock.now(), phase=QUEUED, text=text, values=values),
                )
            except LabMovedError:
                continue
        return freed

    async def _reserve(self, record: LabRecord, granted: dict[str, LabRecord], held: dict[str, str]) -> None:
        try:
            await self._neighbours.reserve(Holding.of(record))
        except ProblemError as problem:
            over = problem.code is ProblemCode.QUOTA_EXCEEDED
            held[record.id] = OVER_LIMIT if over else UNCOUNTED
            return
        granted[record.id] = record

    async def _release(self, records: Iterable[LabRecord]) -> None:
        for record in records:
            try:
                await self._neighbours.release(Holding.of(record))
            except ProblemError as problem:  # accounting compares its reservations with our labs by itself
                self._log.warning("release.failed", lab=record.id, code=problem.code)

    async def _tell_away(self) -> None:
        async with self._database.reading() as session:
            queued = await labs.queue(session)
        for record in queued:
            if record.progress_text == AWAY:
                continue
            try:
                await self._journal.write(record, Change(at=self._clock.now(), phase=QUEUED, text=AWAY))
            except LabMovedError:
                continue

    async def taken(self) -> tuple[Taken, int]:
        """Return what admitted labs hold, and how many labs wait."""
        async with self._database.reading() as session:
            return await labs.taken(session), len(await labs.queue(session))
