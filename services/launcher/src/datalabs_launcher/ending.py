"""The end of a lab: asked for, repeated until there is evidence that nothing of it remains, then recorded."""

import asyncio
import contextlib
from datetime import datetime, timedelta
from typing import Any

import structlog

from datalabs_contracts.datalabs import Runtime
from datalabs_contracts.events import LAB_DELETED
from datalabs_contracts.labs import LabState, Reason
from datalabs_launcher import metrics
from datalabs_launcher.ends import Verdict, judge, kept_lines, last_lines, verdict
from datalabs_launcher.journal import ACTOR, Change
from datalabs_launcher.life import Life
from datalabs_launcher.models import NOT_WAITING, LabRecord
from datalabs_launcher.scheduler import JobState, Observation, SchedulerAwayError
from datalabs_launcher.steps import Result, moved, waiting
from datalabs_launcher.store import attempts, runs
from datalabs_launcher.timeline import step_documents

SUBMIT_SECONDS = 1.5
"""How long the end of a lab waits for a submission that is still on its way; reconciling finds a later one."""
STUCK = timedelta(seconds=30)
STUCK_TEXT = "Its machine does not say that it has ended; it is asked again until it does"
LOG_LINES = 400
"""Lines asked of the scheduler; what is stored is less."""
LOG_SECONDS = 5.0


class Ending:
    """Steps of labs that end."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._submissions: dict[str, asyncio.Future[Observation]] = {}
        self._log = structlog.get_logger(__name__)

    def submitting(self, job_id: str, submission: "asyncio.Future[Observation]") -> None:
        """Remember a submission under way: the end of its lab has to come after it."""
        self._submissions[job_id] = submission
        submission.add_done_callback(lambda done: self._submitted(job_id, done))

    def _submitted(self, job_id: str, done: "asyncio.Future[Observation]") -> None:
        self._submissions.pop(job_id, None)
        if not done.cancelled() and done.exception() is not None:
            self._log.info("submit.failed", job=job_id, reason=str(done.exception()))

    async def ask(
        self, record: LabRecord, reason: Reason, message: str = "", *, actor: str = ACTOR, **values: Any
    ) -> LabRecord:
        """Store that the lab is to end, and why.

        Raises `LabMovedError`.
        """
        record = await self._life.journal.write(
            record,
            Change(
                at=self._life.now(),
                state=LabState.STOPPING,
                phase="",
                text="",
                actor=actor,
                values={
                    "reason": reason,
                    "message": message,
                    **NOT_WAITING,
                    "due_at": self._life.now(),
                    **values,
                },
            ),
        )
        await self._life.crash_points.reached("stop_stored", record.id)
        return record

    async def step(self, record: LabRecord, seen: Observation | None) -> Result:
        """Ask the scheduler to end the lab's job until there is evidence that it has ended."""
        if record.job_id is None:
            return await self.finish(record, None)
        with contextlib.suppress(KeyError):
            await asyncio.wait({self._submissions[record.job_id]}, timeout=SUBMIT_SECONDS)
        now = self._life.now()
        again = now + timedelta(seconds=self._life.settings.stop_repeat)
        try:
            if seen is None or seen.state is not JobState.ENDED:
                seen = await self._life.scheduler.get(record.job_id)
            if seen is None or seen.state is JobState.ENDED:
                return await self.finish(record, seen)
            await self._life.scheduler.stop(record.job_id, grace=self._grace(record, now))
        except SchedulerAwayError:
            return waiting(await self._say_stuck(record, now), again)
        record = await self._say_stuck(record, now)
        await self._life.crash_points.reached("stop_asked", record.id)
        return waiting(record, again)

    async def _say_stuck(self, record: LabRecord, now: datetime) -> LabRecord:
        """Say so when a lab should have ended long ago: it is asked again until there is evidence, and never given up."""
        late = (
            self._life.moved(record.state_since)
            + timedelta(seconds=record.specification.stop_seconds)
            + STUCK
        )
        if now < late or record.progress_text == STUCK_TEXT:
            return record
        return await self._life.journal.write(record, Change(at=now, text=STUCK_TEXT))

    def _grace(self, record: LabRecord, now: datetime) -> float:
        """Return the seconds left between the request to end and the kill; a lab that never was ready gets few."""
        whole = record.specification.stop_seconds
        if record.ready_at is None:
            whole = min(whole, self._life.settings.start_grace)
        return max(0.0, whole - (now - self._life.moved(record.state_since)).total_seconds())

    async def give_up(self, record: LabRecord, reason: Reason, message: str = "") -> Result:
        """End a lab of which nothing was ever handed to the scheduler."""
        return await self._store(record, None, verdict(reason, message))

    async def finish(self, record: LabRecord, seen: Observation | None) -> Result:
        """Record the end of a lab whose job has ended, or of which the scheduler knows nothing.

        Start and end are the scheduler's own times.
        """
        await self._life.crash_points.reached("end_seen", record.id)
        asked = record.reason if record.state is LabState.STOPPING else None
        if seen is not None and seen.end is not None:
            end = judge(
                seen.end,
                asked=asked,
                message=record.message,
                batch=record.batch,
                was_ready=record.ready_at is not None,
            )
        elif asked is not None:
            end = verdict(asked, record.message)
        else:
            end = verdict(Reason.LAUNCHER_ERROR, "The scheduler knows nothing of this lab any more.")
        return await self._store(record, seen, end)

    async def _store(self, record: LabRecord, seen: Observation | None, end: Verdict) -> Result:
        now = self._life.now()
        lines, truncated = await self._log_of(record) if record.job_id and seen else ([], False)
        ended_at = seen.end.ended_at if seen and seen.end else now
        started_at = (seen.started_at if seen else None) or record.started_at
        change = Change(
            at=now,
            state=end.state,
            phase="",
            text="",
            values={
                "reason": end.reason,
                "message": end.message,
                "exit_code": end.exit_code,
                "signal": end.signal,
                "last_lines": last_lines(lines),
                "started_at": started_at,
                "ended_at": ended_at,
                **NOT_WAITING,
                **self._files(record, now),
                "reserved": False,
                "due_at": None,
            },
            attempt_values={
                "started_at": started_at,
                "ended_at": ended_at,
                "log_lines": lines,
                "log_truncated": truncated,
                **({"steps": step_documents(seen.steps)} if seen else {}),
            },
        )
        async with self._life.database.transaction() as session:
            written = await self._life.journal.write_in(session, record, change)
            await attempts.release_address(session, record.id, record.attempt, at=now)
            if started_at is not None and record.ready_at is not None:
                await runs.add(
                    session,
                    record.id,
                    record.attempt,
                    of=(record.datalab, record.version, record.size),
                    ended_at=ended_at,
                    seconds=max(0.0, (ended_at - started_at).total_seconds()),
                )
            if written.delete_requested:
                written = await self._life.journal.write_in(
                    session, written, Change(at=now, event=LAB_DELETED, values={"deleted_at": now})
                )
        await self._life.crash_points.reached("end_stored", record.id)
        self._life.prober.forget(record.id)
        self._life.starts.handed_over(record.id)
        self._life.volumes.forget(record.id)
        self._life.ended(record.id, record.attempt)
        metrics.ended(end.reason)
        if record.job_id is not None and seen is not None:
            with contextlib.suppress(SchedulerAwayError):  # reconciling purges it later
                await self._life.scheduler.purge(record.job_id)
            await self._life.crash_points.reached("purged", record.id)
        self._log.info("lab.ended", lab=record.id, reason=end.reason, exit_code=end.exit_code)
        return waiting(written, None)

    def _files(self, record: LabRecord, now: datetime) -> dict[str, Any]:
        """Return until when a lab's own files can be had back: those of a deleted one are given up at once."""
        begun = record.place is not None or record.started_at is not None
        begun = begun or (record.attempt > 1 and not record.files_released)
        has_files = "scratch" in record.volumes or record.runtime is Runtime.VM
        if not begun or not has_files:
            return {}
        kept = 0.0 if record.delete_requested else self._life.settings.keep_files
        return {"files_kept_until": now + timedelta(seconds=kept)}

    async def _log_of(self, record: LabRecord) -> tuple[list[str], bool]:
        """Return what is kept of the log; an end is recorded also when there is none to be had."""
        assert record.job_id is not None
        try:
            async with asyncio.timeout(LOG_SECONDS):
                lines, older = await self._life.scheduler.logs(record.job_id, lines=LOG_LINES)
        except (SchedulerAwayError, OSError) as error:  # TimeoutError is an OSError
            self._log.warning("log.not_taken", lab=record.id, reason=str(error))
            return [], True
        kept, cut = kept_lines(lines)
        return kept, older or cut

    async def asked(self, record: LabRecord, reason: Reason, message: str = "") -> Result:
        """Begin to end a lab by a rule of ours and take the next step."""
        return moved(await self.ask(record, reason, message))
