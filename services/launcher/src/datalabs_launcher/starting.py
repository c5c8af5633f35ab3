"""`starting`: the job is handed over once, watched, and asked until it answers."""

import asyncio
import contextvars
from datetime import datetime, timedelta
from typing import Any

from datalabs_contracts.datalabs import Kind
from datalabs_contracts.labs import LabState, Reason
from datalabs_contracts.problems import ProblemError
from datalabs_launcher.commands import fill
from datalabs_launcher.ending import Ending
from datalabs_launcher.expiry import lifetime_of
from datalabs_launcher.journal import Change
from datalabs_launcher.life import Life
from datalabs_launcher.models import PLACING, PROBING, STARTING, LabRecord
from datalabs_launcher.placement import fields_of, job_of
from datalabs_launcher.readiness import Target
from datalabs_launcher.scheduler import JobState, Observation, SchedulerAwayError, SubmitRefusedError
from datalabs_launcher.steps import Result, moved, waiting
from datalabs_launcher.timeline import step_documents

INTENT_AGE = timedelta(hours=24)
"""The cluster keeps ended jobs at least so long: an older intent without a job may have run already, so it never will."""
RETRY = timedelta(seconds=0.5)
LOOK_AGAIN = timedelta(seconds=5)
"""Without news of a job that is starting we ask after so long; news come by `watch`."""


class Starting:
    """Steps of labs that were handed to the scheduler, or are about to be."""

    def __init__(self, life: Life, ending: Ending) -> None:
        self._life = life
        self._ending = ending

    async def step(self, record: LabRecord, seen: Observation | None) -> Result:
        """Submit what was not submitted; then bring what runs to ready."""
        now = self._life.now()
        try:
            seen, handed_over = await self._look(record, seen)
        except (SubmitRefusedError, ProblemError, SchedulerAwayError) as error:
            return await self._not_handed_over(record, error)
        if seen is None:
            return await self._ending.finish(record, None)
        record = await self._note(record, seen, handed_over)
        if record.batch and seen.started_at is not None:
            return await self._ready(record, seen, seen.started_at)
        if seen.state is JobState.ENDED:
            return await self._ending.finish(record, seen)
        answered = self._life.prober.answered(record.id, record.attempt)
        if answered is not None:
            return await self._ready(record, seen, answered)
        return await self._or_timeout(record, now + LOOK_AGAIN)

    async def _not_handed_over(self, record: LabRecord, error: Exception) -> Result:
        if isinstance(error, SubmitRefusedError):
            if error.reason is Reason.IMAGE_UNAVAILABLE:
                self._life.environments.distrust(record.datalab, record.version)
            return await self._ending.give_up(record, error.reason, str(error))
        away = isinstance(error, SchedulerAwayError)
        text = "The cluster does not answer; trying again" if away else str(error)
        return await self._or_timeout(record, self._life.now() + RETRY, text)

    async def _look(
        self, record: LabRecord, seen: Observation | None
    ) -> tuple[Observation | None, datetime | None]:
        """Return what is true of the job, and when it was handed over if that was now; None: it will never run."""
        assert record.job_id is not None
        if record.submitted_at is not None:
            return seen or await self._life.scheduler.get(record.job_id), None
        intended = record.intended_at or record.state_since
        if self._life.now() - intended > INTENT_AGE:
            return await self._life.scheduler.get(record.job_id), None
        handed_over = self._life.now()
        return await self._submit(record), handed_over

    async def _submit(self, record: LabRecord) -> Observation:
        """Hand the job over, once however often this is called; a request to end the lab does not cut it."""
        assert record.job_id is not None
        assert record.port is not None
        volumes = await self._life.interrupts.unless(record.id, self._life.volumes.of(record))
        await self._life.tokens.put(record, volumes.mounts)
        job = job_of(record, volumes, port=record.port, site=self._life.site)
        submission = asyncio.get_running_loop().create_task(
            self._life.scheduler.submit(job), name=f"submit {job.job_id}", context=contextvars.copy_context()
        )
        self._ending.submitting(job.job_id, submission)
        submission.add_done_callback(lambda _: self._life.starts.handed_over(record.id))
        seen = await self._life.interrupts.meanwhile(record.id, submission)
        await self._life.crash_points.reached("submitted", record.id)
        return seen

    async def _note(self, record: LabRecord, seen: Observation, handed_over: datetime | None) -> LabRecord:
        """Begin to probe what runs, and store what is new about it."""
        running = seen.state is JobState.RUNNING
        there = running or (seen.early and seen.state is JobState.PENDING)
        host, port = seen.address or record.host or "127.0.0.1", seen.port or record.port
        if there and not record.batch and port is not None and seen.ready is not False:
            self._life.prober.ensure(self._target(record, host, port))
        values: dict[str, Any] = {}
        if record.submitted_at is None:
            values["submitted_at"] = handed_over or self._life.now()
        if seen.started_at is not None and record.started_at != seen.started_at:
            values |= {"started_at": seen.started_at}
        if there and (record.host, record.host_port, record.node) != (host, port, seen.node):
            values |= {"host": host, "host_port": port, "node": seen.node}
        moments: list[tuple[str, datetime]] = []
        if record.phase == PLACING:
            moments.append((STARTING, handed_over or self._life.now()))
        if running and record.phase != PROBING:
            moments.append((PROBING, seen.started_at or self._life.now()))
        text = self._text(seen)
        if not values and not moments and text in {None, record.progress_text}:
            return record
        attempt_values: dict[str, Any] = {"steps": step_documents(seen.steps)} if seen.steps else {}
        if "started_at" in values:
            attempt_values["started_at"] = values["started_at"]
        record = await self._life.journal.write(
            record,
            Change(
                at=self._life.now(),
                phase=moments[-1][0] if moments else record.phase,
                text=text,
                moments=moments,
                values=values,
                attempt_values=attempt_values,
            ),
        )
        await self._life.crash_points.reached("running_stored" if running else "submit_stored", record.id)
        return record

    @staticmethod
    def _text(seen: Observation) -> str | None:
        """Return what the scheduler is doing, in its words."""
        if not seen.steps or (seen.state is not JobState.PENDING and seen.ready is not False):
            return None
        return seen.steps[-1].text or seen.steps[-1].name

    def _target(self, record: LabRecord, host: str, port: int) -> Target:
        site = self._life.site
        fields = fields_of(record, port=port, address=host, site=site)
        return Target(
            lab_id=record.id,
            attempt=record.attempt,
            job_id=record.job_id or "",
            host=host,
            port=port,
            path="/" + fill(record.specification.ready_path, fields).lstrip("/"),
            host_header=site.origin(record.id).split("://", 1)[1],
            secret=site.lab_secret(record.id, record.attempt),
            screen=record.kind is Kind.DESKTOP,
        )

    async def _ready(self, record: LabRecord, seen: Observation, at: datetime) -> Result:
        await self._life.crash_points.reached("answered", record.id)
        attempt_values: dict[str, Any] = {"ready_at": at, "started_at": seen.started_at}
        if seen.steps:
            attempt_values["steps"] = step_documents(seen.steps)
        record = await self._life.journal.write(
            record,
            Change(
                at=at,
                state=LabState.READY,
                phase="",
                text="",
                values={
                    "ready_at": at,
                    "expires_at": at + lifetime_of(record, self._life.settings.lifetime),
                    "last_active_at": at,
                    "noticed_minutes": None,
                    "message": "",
                },
                attempt_values=attempt_values,
            ),
        )
        await self._life.crash_points.reached("ready_stored", record.id)
        self._life.prober.forget(record.id)
        self._life.launched(record.id, record.attempt)
        return moved(record)

    async def _or_timeout(self, record: LabRecord, due_at: datetime, text: str | None = None) -> Result:
        """Wait for news, or end a lab that has had its time."""
        seconds = record.specification.start_timeout_seconds
        deadline = self._life.moved(record.state_since) + timedelta(seconds=seconds)
        if self._life.now() >= deadline:
            message = f"It did not answer within {seconds:g} seconds."
            return await self._ending.asked(record, Reason.START_TIMEOUT, message)
        if text is not None and text != record.progress_text:
            record = await self._life.journal.write(record, Change(at=self._life.now(), text=text))
        return waiting(record, min(due_at, deadline))
