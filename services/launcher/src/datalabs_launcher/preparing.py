"""`preparing`: volumes, environment, a turn to start; then the intent, with job id and address, is stored."""

from datetime import datetime, timedelta

from datalabs_contracts.datalabs import EnvironmentSpecification
from datalabs_contracts.ids import job_id_of
from datalabs_contracts.labs import LabState, Reason
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_launcher.ending import Ending
from datalabs_launcher.environments import Prepared
from datalabs_launcher.errors import NoAddressLeftError
from datalabs_launcher.journal import Change
from datalabs_launcher.life import Life
from datalabs_launcher.models import ENVIRONMENT, PLACING, VOLUMES, LabRecord
from datalabs_launcher.scheduler import SchedulerAwayError
from datalabs_launcher.steps import Result, moved, waiting

PASSING = {
    ProblemCode.SERVICE_UNAVAILABLE,
    ProblemCode.DEADLINE_EXCEEDED,
    ProblemCode.CANCELLED,
    ProblemCode.INTERNAL_ERROR,
    ProblemCode.RATE_LIMITED,
}
"""Answers that may be different the next time."""
CLUSTER_AWAY = "The cluster does not answer; trying again"
RETRY_SECONDS = 1.0
RETRY = timedelta(seconds=RETRY_SECONDS)
ASK_AGAIN = timedelta(seconds=2)
"""An environment whose preparation was cut short (the cluster was away) is begun again after so long."""
TURN_SECONDS = 1.0
"""How long one step waits for its turn; then the lab is let go and woken when its turn comes."""
TURN_AGAIN = timedelta(seconds=60)
"""When a lab that waits for its turn is looked at all the same: who kept its place may have died."""
TURN_WAIT = "Waiting until the machines can start one more"


class Preparing:
    """Steps of labs that were admitted."""

    def __init__(self, life: Life, ending: Ending) -> None:
        self._life = life
        self._ending = ending

    async def step(self, record: LabRecord) -> Result:
        """Go as far as possible towards the stored intent."""
        late = self._late(record)
        if late is not None:
            return await self._ending.give_up(record, late)
        began = self._life.now()
        moments: list[tuple[str, datetime]] = []
        if record.phase == ENVIRONMENT:
            prepared = await self._environment(record)
            if not prepared.ready:
                return await self._environment_not_ready(record, prepared, moments)
        try:
            await self._life.interrupts.unless(record.id, self._life.volumes.of(record))
        except ProblemError as problem:
            return await self._no_volumes(record, problem)
        await self._life.crash_points.reached("volumes_prepared", record.id)
        if record.phase == VOLUMES:
            moments.append((ENVIRONMENT, self._life.now()))
            prepared = await self._environment(record)
            if not prepared.ready:
                return await self._environment_not_ready(record, prepared, moments)
        await self._life.crash_points.reached("environment_ready", record.id)
        if record.phase != PLACING:
            moments.append((PLACING, max(began, self._life.now())))
        return await self._place(record, moments)

    def _late(self, record: LabRecord) -> Reason | None:
        """Return the reason of the phase whose deadline has passed."""
        settings = self._life.settings
        seconds, reason = {
            VOLUMES: (settings.volumes_timeout, Reason.VOLUME_UNAVAILABLE),
            ENVIRONMENT: (settings.environment_timeout, Reason.IMAGE_UNAVAILABLE),
        }.get(record.phase, (settings.placing_timeout, Reason.NO_CAPACITY))
        return (
            reason
            if self._life.now() - self._life.moved(record.phase_since) > timedelta(seconds=seconds)
            else None
        )

    def _deadline(self, record: LabRecord, seconds: float) -> datetime:
        return self._life.moved(record.phase_since) + timedelta(seconds=seconds, milliseconds=1)

    async def _no_volumes(self, record: LabRecord, problem: ProblemError) -> Result:
        if problem.code in PASSING:
            text = f"{str(problem).rstrip('.')}; trying again"
            record = await self._say(record, record.phase, text)
            return waiting(record, self._life.now() + timedelta(seconds=problem.retry_after or RETRY_SECONDS))
        full = problem.code is ProblemCode.DISK_FULL
        reason = Reason.DISK_FULL if full else Reason.VOLUME_UNAVAILABLE
        return await self._ending.give_up(record, reason, str(problem))

    async def _environment(self, record: LabRecord) -> Prepared:
        specification = record.specification
        return await self._life.environments.ensure(
            EnvironmentSpecification(
                datalab=record.datalab,
                version=record.version,
                runtimes=specification.runtimes,
                source=specification.source,
            ),
            lab_id=record.id,
            since=record.requested_at,
        )

    async def _environment_not_ready(
        self, record: LabRecord, prepared: Prepared, moments: list[tuple[str, datetime]]
    ) -> Result:
        if prepared.failed:
            return await self._ending.give_up(record, Reason.IMAGE_UNAVAILABLE, prepared.text)
        record = await self._say(
            record, ENVIRONMENT, prepared.text, fraction=prepared.fraction, moments=moments
        )
        deadline = self._deadline(record, self._life.settings.environment_timeout)
        return waiting(record, min(deadline, self._life.now() + ASK_AGAIN))

    async def _say(
        self,
        record: LabRecord,
        phase: str,
        text: str,
        *,
        fraction: float | None = None,
        moments: list[tuple[str, datetime]] | None = None,
    ) -> LabRecord:
        """Store what the lab waits for, when that is news."""
        known = (record.phase, record.progress_text, record.progress_fraction)
        if known == (phase, text, fraction):
            return record
        return await self._life.journal.write(
            record,
            Change(at=self._life.now(), phase=phase, text=text, fraction=fraction, moments=moments or ()),
        )

    async def _place(self, record: LabRecord, moments: list[tuple[str, datetime]]) -> Result:
        try:
            turn = self._life.starts.turn(record.id, record.datalab, seconds=TURN_SECONDS)
            come, text = await self._life.interrupts.unless(record.id, turn), TURN_WAIT
        except SchedulerAwayError:
            come, text = False, CLUSTER_AWAY
        if come:
            return await self._store_intent(record, moments)
        record = await self._say(record, PLACING, text, moments=moments)
        deadline = self._deadline(record, self._life.settings.placing_timeout)
        return waiting(record, min(deadline, self._life.now() + TURN_AGAIN))

    async def _store_intent(self, record: LabRecord, moments: list[tuple[str, datetime]]) -> Result:
        """Store job id and address: whatever happens from here on, this attempt is that job and no other."""
        now, job_id = self._life.now(), job_id_of(record.id, record.attempt)
        try:
            port = await self._life.addresses.of(record)
        except NoAddressLeftError:
            record = await self._say(record, PLACING, "Waiting for a free address", moments=moments)
            return waiting(record, now + RETRY)
        record = await self._life.journal.write(
            record,
            Change(
                at=now,
                state=LabState.STARTING,
                phase=PLACING,
                moments=moments,
                values={"job_id": job_id, "port": port, "intended_at": now},
                attempt_values={"job_id": job_id},
            ),
        )
        await self._life.crash_points.reached("intent_stored", record.id)
        return moved(record)
