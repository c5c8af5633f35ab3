"""Drives labs: one step after another, woken at once by whoever knows of news, by a slow poll when nobody does."""

import asyncio
import contextlib
import contextvars
from datetime import datetime, timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError

from datalabs_contracts.labs import LabState, Reason
from datalabs_launcher.errors import LabMovedError
from datalabs_launcher.lifecycle import Lifecycle
from datalabs_launcher.models import LabRecord
from datalabs_launcher.scheduler import JobState
from datalabs_launcher.stepping import SteppedClock
from datalabs_launcher.steps import Interrupts, StepInterruptedError
from datalabs_launcher.stillness import Stillness
from datalabs_launcher.store import claims, labs
from datalabs_launcher.tracing import in_trace_of
from datalabs_launcher.watching import Sightings
from datalabs_runtime.clock import Clock
from datalabs_runtime.database import Database, of_one
from datalabs_runtime.direct import Direct
from datalabs_runtime.together import Together

DUE_AT_ONCE = 100
DUE_AGAIN = timedelta(seconds=5)
"""A due lab that nobody got to is due again so soon."""
STEPS_IN_A_ROW = 50
"""More steps in one go than a life has mean a mistake: let others have a turn."""
DATABASE_REST = 1.0
"""Seconds after which a lab is looked at again whose step the database did not take."""
HELD_ELSEWHERE = 0.25
"""Seconds after which a lab is looked at again that another instance was just taking a step of."""
GRACE_SECONDS = 0.5
"""Most steps are shorter; the others are repeated by whoever starts next."""
LISTEN_SECONDS = 5.0
"""How long the start waits for the listening connection; without it the poll does its work."""
BACK_OFF = (0.2, 0.5, 1, 2, 5, 10)
"""Seconds before a step that failed is tried again."""


class Driver:
    """Runs the life cycle of all labs of this instance; a part."""

    name = "driver"

    def __init__(
        self,
        *,
        database: Database,
        direct: Direct,
        lifecycle: Lifecycle,
        sightings: Sightings,
        interrupts: Interrupts,
        stillness: Stillness,
        clock: Clock,
        instance: str,
        claim_seconds: float,
    ) -> None:
        self._database = database
        self._direct = direct
        self._lifecycle = lifecycle
        self._sightings = sightings
        self._interrupts = interrupts
        self._stillness = stillness
        self._clock = clock
        self._instance = instance
        self._claim = timedelta(seconds=claim_seconds)
        self._claiming = Together(self._claim_all, apart=of_one)
        self._releasing = Together(self._release_all, apart=of_one)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self._failures: dict[str, int] = {}
        self._listener: asyncio.Task[None] | None = None
        self._listening = asyncio.Event()
        self._open = False
        self._steps_seen = 0
        self._log = structlog.get_logger(__name__)

    async def start(self) -> None:
        """Begin to listen for the other instances' changes, and look at all labs that are on their way.

        Those that simply run are compared with the cluster by the watcher, and looked at when they are due.
        """
        self._open = True
        self._listener = asyncio.create_task(self._listen(), name="labs listener")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._listening.wait(), LISTEN_SECONDS)

    async def aclose(self) -> None:
        """Let steps that are under way end, then let go of all labs; whoever starts next goes on with them."""
        self._open = False
        if self._tasks:
            await asyncio.wait(set(self._tasks.values()), timeout=GRACE_SECONDS)
        tasks = [*self._tasks.values(), *([self._listener] if self._listener else [])]
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task

    def wake(self, lab_id: str) -> None:
        """Look at a lab now, or once more when it is being looked at."""
        if not self._open:
            return
        self._stillness.end()
        if lab_id in self._tasks:
            self._again.add(lab_id)
            return
        self._tasks[lab_id] = asyncio.get_running_loop().create_task(
            self._drive(lab_id), name=f"lab {lab_id}", context=contextvars.Context()
        )

    def interrupt(self, lab_id: str) -> None:
        """Let a lab's current step leave what it waits for: somebody wants something else."""
        self._interrupts.interrupt(lab_id)
        self.wake(lab_id)

    async def poll(self) -> None:
        """Wake the labs whose time has come: the fallback for news that were lost."""
        now = self._clock.now()
        if isinstance(self._clock, SteppedClock) and self._clock.count != self._steps_seen:
            await self._wake_all(settled=True)  # what is due may be an hour away by the clock as it is now
            self._steps_seen = self._clock.count
        async with self._database.reading() as session:  # one statement is a transaction by itself
            due = await claims.claim_due(
                session,
                instance=self._instance,
                now=now,
                until=now + self._claim,
                again=now + DUE_AGAIN,
                limit=DUE_AT_ONCE,
            )
            if not due and self._stillness.worth_asking(now):
                news = self._stillness.news
                if not await labs.any_alive(session):
                    self._stillness.begin(news)
        for lab_id in due:
            self.wake(lab_id)

    async def idle(self) -> None:
        """Wait until no lab is being driven; for tests and a graceful end."""
        while self._tasks:
            await asyncio.wait(set(self._tasks.values()))

    async def _listen(self) -> None:
        async for payload in self._database.listen(labs.CHANNEL):
            if not payload:  # connected, perhaps again: what was said before was missed
                await self._wake_all()
                self._listening.set()
                continue
            lab_id, _, instance = payload.partition(" ")
            if instance != self._instance:
                self.interrupt(lab_id)

    async def _wake_all(self, *, settled: bool = False) -> None:
        try:
            async with self._database.reading() as session:
                for lab_id in await labs.ids_alive(session, settled=settled):
                    self.wake(lab_id)
        except SQLAlchemyError as error:  # the poll finds what is due
            self._log.warning("labs.not_read", reason=type(error).__name__)

    async def _drive(self, lab_id: str) -> None:
        try:
            while True:
                self._again.discard(lab_id)
                async with self._interrupts.slots:
                    await self._take_steps(lab_id)
                if lab_id not in self._again or not self._open:
                    break
        finally:
            del self._tasks[lab_id]

    async def _take_steps(self, lab_id: str) -> None:
        """Claim a lab, take steps until it waits, and give it back with the time to look again."""
        try:
            record = await self._claiming(lab_id)
            if record is None:
                await self._perhaps_later(lab_id)
                return
            with (
                in_trace_of(record),
                structlog.contextvars.bound_contextvars(
                    lab=lab_id, user=record.owner, trace_id=record.trace_id
                ),
            ):
                revision, due_at = await self._steps(record)
            await self._releasing((lab_id, revision, due_at))
        except SQLAlchemyError as error:
            self._log.warning("lab.database_away", lab=lab_id, reason=type(error).__name__)
            asyncio.get_running_loop().call_later(DATABASE_REST, self.wake, lab_id)

    async def _claim_all(self, lab_ids: list[str]) -> list[LabRecord | None]:
        now = self._clock.now()
        claimed = await claims.claim(
            self._direct, lab_ids, instance=self._instance, now=now, until=now + self._claim
        )
        return [claimed.get(lab_id) for lab_id in lab_ids]

    async def _release_all(self, given_back: list[tuple[str, int, datetime | None]]) -> list[None]:
        await claims.release(self._direct, given_back, instance=self._instance)
        return [None] * len(given_back)

    async def _perhaps_later(self, lab_id: str) -> None:
        """Look again at a lab that another instance holds when we know more of its job than is stored."""
        async with self._database.reading() as session:
            current = await labs.get(session, lab_id)
        if current is None or current.state.ended or not self._open:
            return
        seen = self._sightings.latest(current.job_id)
        if seen is None:
            return
        begun = seen.state is JobState.RUNNING and current.started_at is None
        if begun or seen.state is JobState.ENDED:
            asyncio.get_running_loop().call_later(HELD_ELSEWHERE, self.wake, lab_id)

    async def _steps(self, record: LabRecord) -> tuple[int, datetime | None]:
        """Take steps until the lab waits; return the revision it has then and when to look again."""
        try:
            for _ in range(STEPS_IN_A_ROW):
                seen = self._sightings.latest(record.job_id)
                away = self._sightings.away_seconds()
                result = await self._lifecycle.advance(record, seen, away_seconds=away)
                record = result.record
                if not result.moved:
                    self._failures.pop(record.id, None)
                    return record.revision, result.due_at
        except (LabMovedError, StepInterruptedError):
            self._again.add(record.id)
        except SQLAlchemyError:
            raise
        except Exception as error:  # noqa: BLE001 - one lab's trouble must not end the others
            return record.revision, await self._failed(record, error)
        return record.revision, self._clock.now()

    async def _failed(self, record: LabRecord, error: Exception) -> datetime:
        """Try a failed step again, later each time; a launch that fails for good is ended with the error."""
        failures = self._failures[record.id] = self._failures.get(record.id, 0) + 1
        self._log.exception("lab.step_failed", state=record.state, failures=failures)
        if failures > len(BACK_OFF) and record.state in {LabState.PREPARING, LabState.STARTING}:
            del self._failures[record.id]
            with contextlib.suppress(LabMovedError):
                await self._lifecycle.ending.ask(record, Reason.LAUNCHER_ERROR, f"The launch failed: {error}")
            self._again.add(record.id)
            return self._clock.now()
        return self._clock.now() + timedelta(seconds=BACK_OFF[min(failures, len(BACK_OFF)) - 1])
