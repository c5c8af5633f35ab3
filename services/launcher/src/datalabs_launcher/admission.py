"""Lets queued labs in: room on a machine and the owner's limits are taken in one step; places are told at a pace."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from datalabs_contracts.labs import Capacity, LabState, WaitReason
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_launcher import metrics
from datalabs_launcher.crash_points import CrashPoints
from datalabs_launcher.errors import LabMovedError
from datalabs_launcher.journal import Change, Journal
from datalabs_launcher.models import NOT_WAITING, QUEUED, VOLUMES, Amount, Held, LabRecord, Taken, Waiting
from datalabs_launcher.neighbours import Holding, Neighbours
from datalabs_launcher.nodes import all_at_home, homes_of, machines_of, total
from datalabs_launcher.queueing import Plan, Rules, Wait, lapsed, order, plan
from datalabs_launcher.scheduler import Scheduler, SchedulerAwayError
from datalabs_launcher.store import labs, runs
from datalabs_launcher.waits import RunTimes, expected
from datalabs_launcher.words import at_limit
from datalabs_runtime.clock import Clock
from datalabs_runtime.database import Database

CAPACITY_SECONDS = 1.0
"""How long the scheduler's answer is believed."""
ROUNDS = 5
"""Reserve, look again: after so many times the rest waits for the next wake."""
RESERVED_AT_ONCE = 16
"""Questions to accounting under way at once: a burst must not fill its queue."""
FRONT = 10
"""The first of the queue hear of every change; the others at a pace, or each admission would write a row for all."""
TELL_AGAIN = timedelta(seconds=10)
EXPECT_AGAIN = timedelta(seconds=60)
"""A guess of the time that moved by less is not told."""
USUAL_SECONDS = 60.0
RUNS_KEPT = timedelta(days=90)
UNCOUNTED = Wait(reason=WaitReason.ACCOUNTING_AWAY, text="Waits for the accounting, which does not answer")
AWAY = "The cluster does not answer; it starts when the cluster is back"
AWAY_OF = "The cluster {names} does not answer; it starts when the cluster is back"


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
        rules: Rules,
        admitted: Callable[[str], None],
    ) -> None:
        self._database = database
        self._journal = journal
        self._scheduler = scheduler
        self._neighbours = neighbours
        self._crash_points = crash_points
        self._clock = clock
        self._rules = rules
        self._admitted = admitted
        self._capacity: tuple[datetime, Capacity] | None = None
        self._usual: tuple[datetime, RunTimes] | None = None
        self._told: dict[str, datetime] = {}
        self._asking = asyncio.Semaphore(RESERVED_AT_ONCE)
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
        held: dict[str, Wait] = {}
        for _ in range(ROUNDS):
            wanting = await self._give(capacity, granted, held)
            if not wanting:
                break
            await asyncio.gather(*(self._reserve(record, granted, held) for record in wanting))
        await self._release(granted.values())

    async def look_ahead(self, candidate: Waiting) -> tuple[str | None, int, Wait | None, datetime | None]:
        """Return what would become of one more lab: its machine, or its place in the queue, why, and till when.

        Raises `SchedulerAwayError`.
        """
        capacity = await self.capacity()
        async with self._database.reading() as session:
            queued = [labs.waiting(record) for record in await labs.queue(session)]
            decided, holds = await self._decide(session, [*queued, candidate], capacity, {})
            machine = decided.admitted.get(candidate.lab_id)
            if machine is not None:
                return machine, 0, None, None
            guesses = await self._expected(session, [*queued, candidate], decided, capacity, holds)
        wait = self._named(capacity, decided.waits[candidate.lab_id])
        return None, decided.positions[candidate.lab_id], wait, guesses.get(candidate.lab_id)

    async def _decide(
        self, session: AsyncSession, queued: Sequence[Waiting], capacity: Capacity, held: Mapping[str, Wait]
    ) -> tuple[Plan, Sequence[Held]]:
        """Return the plan and what it was made from: sums while all fit, each single lab when some have to wait.

        When labs end matters to those that wait only; reading ten thousand for each launch costs more than the launch.
        """
        together = await labs.held_together(session)
        if all_at_home(capacity, together):
            decided = self._plan(queued, capacity, together, held)
            if not decided.positions:
                return decided, together
        each = await labs.held(session)
        return self._plan(queued, capacity, each, held), each

    def _plan(
        self,
        queued: Sequence[Waiting],
        capacity: Capacity,
        holds: Sequence[Held],
        held: Mapping[str, Wait],
    ) -> Plan:
        return plan(
            queued,
            machines_of(capacity, holds),
            holding=shares_of(holds),
            now=self._clock.now(),
            rules=self._rules,
            held=held,
        )

    async def _give(
        self, capacity: Capacity, granted: dict[str, LabRecord], held: dict[str, Wait]
    ) -> list[LabRecord]:
        """Admit what fits and has its reservation; return what fits but has none yet.

        Those in `held` wait for a reason of their own; what was granted and not used stays in `granted`.
        """
        async with self._database.transaction() as session:
            await labs.lock_admission(session)
            queued = {record.id: record for record in await labs.queue(session)}
            if not queued:
                metrics.QUEUED.set(0)
                self._told.clear()
                return []
            waiting = [labs.waiting(record) for record in queued.values()]
            decided, holds = await self._decide(session, waiting, capacity, held)
            chosen = [queued[lab_id] for lab_id in decided.admitted]
            let_in = [record for record in chosen if record.reserved or record.id in granted]
            admitted = await self._let_in(session, let_in, decided.admitted)
            await self._note(session, queued, waiting, decided, {record.id for record in admitted})
            told = self._to_tell(queued, decided, capacity)
            guesses = await self._expected(session, waiting, decided, capacity, holds) if told else {}
            freed = await self._tell_places(session, queued, decided, told, guesses)
        metrics.QUEUED.set(len(decided.positions))
        for record in admitted:
            granted.pop(record.id, None)
            self._told.pop(record.id, None)
            await self._crash_points.reached("admitted", record.id)
            self._admitted(record.id)
        await self._release(freed)
        done = {record.id for record in let_in}
        return [record for record in chosen if record.id not in done]

    async def _let_in(
        self, session: AsyncSession, records: Sequence[LabRecord], machines: Mapping[str, str]
    ) -> list[LabRecord]:
        """Give labs their machines; return those that nobody changed meanwhile."""
        now = self._clock.now()
        changes = [
            Change(
                at=now,
                state=LabState.PREPARING,
                phase=VOLUMES,
                values={**NOT_WAITING, "place": machines[record.id], "reserved": True, "due_at": now},
            )
            for record in records
        ]
        return await self._journal.write_all_in(session, list(zip(records, changes, strict=True)))

    async def _note(
        self,
        session: AsyncSession,
        queued: Mapping[str, LabRecord],
        waiting: Sequence[Waiting],
        decided: Plan,
        admitted: set[str],
    ) -> None:
        """Store who was passed, and for whom a machine is kept: nobody sees these but the queue itself."""
        for lab_id in lapsed(waiting, decided):
            await labs.touch(session, lab_id, reserved_place=decided.reserved.get(lab_id))
            self._log.info("queue.kept_free", lab=lab_id, place=decided.reserved.get(lab_id))
        for lab_id, passing in decided.passed.items():
            times = len(passing & admitted)
            if times and lab_id in decided.positions:
                await labs.touch(session, lab_id, passes=queued[lab_id].passes + times)

    def _named(self, capacity: Capacity, wait: Wait) -> Wait:
        """Return why a lab waits, with the silent cluster's name when that is why no machine is there."""
        if wait.reason is not WaitReason.NO_MACHINE or not capacity.away:
            return wait
        text = AWAY_OF.format(names=", ".join(capacity.away))
        return Wait(reason=WaitReason.CLUSTER_AWAY, text=text)

    def _to_tell(self, queued: Mapping[str, LabRecord], decided: Plan, capacity: Capacity) -> dict[str, Wait]:
        """Return the labs that hear of their place now, with why they wait."""
        now = self._clock.now()
        found: dict[str, Wait] = {}
        for lab_id, position in decided.positions.items():
            record, wait = queued[lab_id], self._named(capacity, decided.waits[lab_id])
            same = (record.queue_position, record.progress_text) == (position, wait.text)
            lately = self._told.get(lab_id)
            if not record.reserved:
                if same and (lately is None or now - lately < EXPECT_AGAIN):
                    self._told.setdefault(lab_id, now)
                    continue
                behind = position > FRONT and record.queue_position is not None
                if behind and lately is not None and now - lately < TELL_AGAIN:
                    continue
            found[lab_id] = wait
        return found

    async def _tell_places(
        self,
        session: AsyncSession,
        queued: Mapping[str, LabRecord],
        decided: Plan,
        told: Mapping[str, Wait],
        guesses: Mapping[str, datetime],
    ) -> list[LabRecord]:
        """Store the places that changed; a lab that has to wait gives its reservation back: return those."""
        news: list[tuple[LabRecord, Change]] = []
        now = self._clock.now()
        for lab_id, wait in told.items():
            record, position, guess = queued[lab_id], decided.positions[lab_id], guesses.get(lab_id)
            self._told[lab_id] = now
            if not _is_news(record.expected_start_at, guess):
                guess = record.expected_start_at
            known = (record.queue_position, record.progress_text, record.expected_start_at)
            if known == (position, wait.text, guess) and not record.reserved:
                continue
            values = {
                "queue_position": position,
                "wait_reason": wait.reason,
                "expected_start_at": guess,
                "reserved": False,
            }
            news.append((record, Change(at=now, phase=QUEUED, text=wait.text, values=values)))
        written = await self._journal.write_all_in(session, news)
        return [queued[one.id] for one in written if queued[one.id].reserved]

    async def _expected(
        self,
        session: AsyncSession,
        waiting: Sequence[Waiting],
        decided: Plan,
        capacity: Capacity,
        holds: Sequence[Held],
    ) -> dict[str, datetime]:
        """Return when the first of those that wait may start."""
        now = self._clock.now()
        machines = machines_of(capacity, holds)
        ordered = order(
            [lab for lab in waiting if lab.lab_id in decided.positions],
            holding=shares_of(holds),
            whole=total(machine.whole for machine in machines),
            now=now,
            rules=self._rules,
        )
        kinds = {one.kind_of_run for one in holds} | {lab.kind_of_run for lab in ordered}
        usual = await self._usual_runs(session, kinds)
        return expected(ordered, machines, homes_of(capacity, holds), now=now, usual=usual)

    async def _usual_runs(self, session: AsyncSession, kinds: Iterable[tuple[str, str, str]]) -> RunTimes:
        now = self._clock.now()
        if self._usual is None or (now - self._usual[0]).total_seconds() >= USUAL_SECONDS:
            self._usual = (now, await runs.usual(session, kinds, since=now - RUNS_KEPT))
        return self._usual[1]

    async def _reserve(self, record: LabRecord, granted: dict[str, LabRecord], held: dict[str, Wait]) -> None:
        async with self._asking:
            try:
                await self._neighbours.reserve(Holding.of(record))
            except ProblemError as problem:
                over = problem.code is ProblemCode.QUOTA_EXCEEDED
                text = at_limit(problem.extra)
                held[record.id] = Wait(reason=WaitReason.OWN_LIMIT, text=text) if over else UNCOUNTED
                return
        granted[record.id] = record

    async def _release(self, records: Iterable[LabRecord]) -> None:
        for record in list(records):
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
            values = {"wait_reason": WaitReason.CLUSTER_AWAY, "expected_start_at": None}
            change = Change(at=self._clock.now(), phase=QUEUED, text=AWAY, values=values)
            try:
                await self._journal.write(record, change)
            except LabMovedError:
                continue

    async def taken(self) -> tuple[Taken, int]:
        """Return what admitted labs hold, and how many labs wait."""
        async with self._database.reading() as session:
            return await labs.taken(session), len(await labs.queue(session))


def shares_of(holds: Sequence[Held]) -> dict[str, Amount]:
    """Return what each owner's labs hold."""
    owned: dict[str, list[Amount]] = {}
    for one in holds:
        owned.setdefault(one.owner, []).append(one.need)
    return {owner: total(amounts) for owner, amounts in owned.items()}


def _is_news(before: datetime | None, guess: datetime | None) -> bool:
    if before is None or guess is None:
        return before is not guess
    return abs(guess - before) >= EXPECT_AGAIN
