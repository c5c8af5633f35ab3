"""The life of a lab, one step at a time: every step may be repeated after a crash at any point."""

from datetime import timedelta

from datalabs_contracts.events import LAB_EXPIRING
from datalabs_contracts.labs import LabState, Reason
from datalabs_launcher.ending import Ending
from datalabs_launcher.ends import TEXTS
from datalabs_launcher.expiry import Outlook, outlook
from datalabs_launcher.journal import Change
from datalabs_launcher.life import Life
from datalabs_launcher.models import LabRecord
from datalabs_launcher.preparing import Preparing
from datalabs_launcher.scheduler import JobState, Observation, SchedulerAwayError
from datalabs_launcher.starting import Starting
from datalabs_launcher.steps import Result, moved, waiting
from datalabs_launcher.store import labs
from datalabs_launcher.timeline import step_documents

LOOK_AGAIN = timedelta(minutes=5)
"""A ready lab is looked at so often without any news; reconciling does it more often for all at once."""


class Lifecycle:
    """Takes a lab from state to state."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self.ending = Ending(life)
        self._preparing = Preparing(life, self.ending)
        self._starting = Starting(life, self.ending)

    async def advance(
        self, record: LabRecord, seen: Observation | None = None, *, away_seconds: float = 0
    ) -> Result:
        """Take the next step of a lab; `seen` is the newest observation of its job, if there is one.

        Raises `LabMovedError` and `StepInterruptedError` when the lab has to be read again.
        """
        match record.state:
            case LabState.QUEUED:
                return await self._queued(record)
            case LabState.PREPARING:
                return await self._preparing.step(record)
            case LabState.STARTING:
                return await self._starting.step(record, seen)
            case LabState.READY | LabState.UNREACHABLE:
                return await self._running(record, seen, away_seconds)
            case LabState.STOPPING:
                return await self.ending.step(record, seen)
            case _:
                return waiting(record, None)

    async def _queued(self, record: LabRecord) -> Result:
        """Admission moves it on; here is only its deadline."""
        waited_from = self._life.moved(record.state_since)
        deadline = waited_from + timedelta(seconds=self._life.settings.queue_timeout)
        if self._life.now() >= deadline:
            return await self.ending.give_up(record, Reason.NO_CAPACITY)
        return waiting(record, deadline)

    async def _running(self, record: LabRecord, seen: Observation | None, away_seconds: float) -> Result:
        try:
            seen = await self._heard(record, seen, away=away_seconds > 0)
        except SchedulerAwayError:
            if record.state is LabState.READY and away_seconds >= self._life.settings.unreachable_after:
                record = await self._unreachable(record, "The cluster does not answer; the lab may well run.")
            return await self._by_rule(record)
        if seen is None or seen.state is JobState.ENDED:
            return await self.ending.finish(record, seen)
        if seen.started_at is not None and record.started_at is None:
            record = await self._started(record, seen)
        if seen.state is JobState.UNKNOWN and record.state is LabState.READY:
            record = await self._unreachable(record, "Nothing is heard of its machine; the lab may well run.")
        elif seen.state is JobState.RUNNING and record.state is LabState.UNREACHABLE:
            change = Change(at=self._life.now(), state=LabState.READY, values={"message": ""})
            record = await self._life.journal.write(record, change)
        return await self._by_rule(record)

    async def _heard(self, record: LabRecord, seen: Observation | None, *, away: bool) -> Observation | None:
        """Return what is true of the job; while the scheduler is away only an end is still believed."""
        assert record.job_id is not None
        if seen is None:
            return await self._life.scheduler.get(record.job_id)
        if away and seen.state is not JobState.ENDED:
            raise SchedulerAwayError
        return seen

    async def _started(self, record: LabRecord, seen: Observation) -> LabRecord:
        """Store when a lab started that answered before its cluster said so."""
        attempt: dict[str, object] = {"started_at": seen.started_at, "steps": step_documents(seen.steps)}
        change = Change(at=self._life.now(), values={"started_at": seen.started_at}, attempt_values=attempt)
        return await self._life.journal.write(record, change)

    async def _unreachable(self, record: LabRecord, message: str) -> LabRecord:
        change = Change(at=self._life.now(), state=LabState.UNREACHABLE, values={"message": message})
        return await self._life.journal.write(record, change)

    async def _by_rule(self, record: LabRecord) -> Result:
        """End a lab whose time is over or that nobody uses, and tell of it before."""
        now = self._life.now()
        rules = outlook(record, now, moved=self._life.moved)
        if rules.end and rules.reason is not None:
            return moved(await self.ending.ask(record, rules.reason, TEXTS[rules.reason]))
        if rules.minutes is not None:
            return moved(await self._announce(record, rules))
        if rules.reset:
            async with self._life.database.transaction() as session:
                await labs.touch(session, record.id, noticed_minutes=None)
        due_at = now + LOOK_AGAIN
        return waiting(record, min(due_at, rules.due_at) if rules.due_at else due_at)

    async def _announce(self, record: LabRecord, rules: Outlook) -> LabRecord:
        detail = {
            "minutes": rules.minutes,
            "reason": rules.reason,
            "ends_at": f"{rules.ends_at:%Y-%m-%dT%H:%M:%SZ}",
        }
        return await self._life.journal.write(
            record,
            Change(
                at=self._life.now(),
                event=LAB_EXPIRING,
                values={"noticed_minutes": rules.minutes},
                detail=detail,
            ),
        )
