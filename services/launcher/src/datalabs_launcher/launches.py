"""Launch, launch again, and would it fit: from a person's wish to a stored lab that is never forgotten."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import structlog

from datalabs_contracts.datalabs import LaunchSpecification, Runtime
from datalabs_contracts.ids import lab_id_of, new_lab_id
from datalabs_contracts.labs import (
    DEFAULT_PRIORITY,
    Fit,
    LabState,
    LaunchBody,
    LaunchLab,
    Limits,
    Preflight,
)
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_launcher.admission import Admission
from datalabs_launcher.beginnings import (
    hash_of,
    never_fits,
    of_rules,
    of_specification,
    over_limit,
    untouched,
)
from datalabs_launcher.config import LauncherSettings
from datalabs_launcher.crash_points import CrashPoints
from datalabs_launcher.journal import Change, Journal
from datalabs_launcher.models import (
    ENVIRONMENT,
    MOST_ATTEMPTS,
    QUEUED,
    AttemptRecord,
    LabRecord,
    Moment,
    Policy,
    Waiting,
)
from datalabs_launcher.neighbours import Holding, Neighbours
from datalabs_launcher.placement import choose_runtime
from datalabs_launcher.rush import Rush
from datalabs_launcher.scheduler import Scheduler, SchedulerAwayError
from datalabs_launcher.store import attempts, labs, runs
from datalabs_launcher.timeline import TOTAL, usual
from datalabs_runtime.clock import Clock
from datalabs_runtime.database import Database, of_one
from datalabs_runtime.direct import Direct
from datalabs_runtime.together import Together

CANDIDATE = "candidate"
"""Stands for the lab of a preflight, which has no id."""


@dataclass(frozen=True, kw_only=True)
class Owner:
    """For whom a lab runs; operators have no limits."""

    username: str
    uid: int
    unlimited: bool


class Launches:
    """Takes wishes for labs."""

    def __init__(
        self,
        *,
        database: Database,
        direct: Direct,
        journal: Journal,
        scheduler: Scheduler,
        neighbours: Neighbours,
        admission: Admission,
        crash_points: CrashPoints,
        clock: Clock,
        settings: LauncherSettings,
        rush: Rush,
        prepared: Callable[[str, str], bool],
        queued: Callable[[LabRecord], None],
    ) -> None:
        self._database = database
        self._direct = direct
        self._journal = journal
        self._scheduler = scheduler
        self._neighbours = neighbours
        self._admission = admission
        self._crash_points = crash_points
        self._clock = clock
        self._settings = settings
        self._rush = rush
        self._prepared = prepared
        self._queued = queued
        self._look_up = Together(self._look_up_all, apart=of_one)
        self._log = structlog.get_logger(__name__)

    async def launch(self, request: LaunchLab, owner: Owner, traceparent: str | None) -> LabRecord:
        """Store a new lab, or return the one that belongs to the request's key.

        Raises `ProblemError`: what the catalogue refuses, never_fits, quota_exceeded, too_many_queued,
        idempotency_mismatch, forbidden.
        """
        with self._rush.taking_in():
            return await self._launch(request, owner, traceparent)

    async def _launch(self, request: LaunchLab, owner: Owner, traceparent: str | None) -> LabRecord:
        body, key = request.body, request.idempotency_key
        body_hash = hash_of(body)
        known, policy = await self._known_and_policy(owner.username, key, body_hash)
        if known is not None:
            return known
        _check_priority(body, owner)
        specification = await self._neighbours.specification(body)
        runtime = await self._runtime(specification, owner.unlimited)
        await self._refuse_never(specification, runtime)
        record = self._record(
            lab_id_of(owner.username, key) if key else new_lab_id(),
            request,
            owner,
            specification,
            runtime,
            policy=policy,
            body_hash=body_hash,
            traceparent=traceparent,
        )
        await self._neighbours.reserve(Holding.of(record))
        await self._crash_points.reached("reserved", record.id)
        stored = await self._store(record)
        if not stored:  # two clicks raced: the other one's lab is the lab, under the same id and reservation
            known, _ = await self._known_and_policy(owner.username, key, body_hash)
            if known is None:
                raise ProblemError(ProblemCode.CONFLICT, "This key's lab is being removed; use another key.")
            return known
        await self._crash_points.reached("queued", record.id)
        self._queued(record)
        return record

    async def restart(
        self, record: LabRecord, size: str | None, *, actor: str, traceparent: str | None
    ) -> LabRecord:
        """Run an ended lab again as a new attempt.

        Raises `ProblemError` as a launch, and lab_still_running; `LabMovedError`.
        """
        if not record.state.ended:
            raise ProblemError(ProblemCode.LAB_STILL_RUNNING)
        if record.attempt >= MOST_ATTEMPTS:
            raise ProblemError(ProblemCode.CONFLICT, "This lab was restarted too often; launch a new one.")
        body = LaunchBody(
            datalab=record.datalab,
            version=record.version,
            size=size or record.size,
            parameters=record.parameters,
            volumes=record.volumes,
            collections=record.collections,
        )
        specification = await self._neighbours.specification(body)
        runtime = await self._runtime(specification, record.unlimited)
        await self._refuse_never(specification, runtime)
        fresh = replace(
            record,
            attempt=record.attempt + 1,
            cores=specification.size.cores,
            memory_mib=specification.size.memory_mib,
        )
        await self._neighbours.reserve(Holding.of(fresh))
        await self._crash_points.reached("reserved", record.id)
        record = await self._store_attempt(record, specification, runtime, actor, traceparent)
        await self._crash_points.reached("queued", record.id)
        self._queued(record)
        return record

    async def preflight(self, body: LaunchBody, owner: Owner) -> Preflight:
        """Return what a launch would meet; storing nothing.

        Raises `ProblemError` as the catalogue refuses.
        """
        _check_priority(body, owner)
        specification = await self._neighbours.specification(body)
        size = specification.size
        runtime = await self._runtime(specification, owner.unlimited)
        limits = await self._limits(owner)
        candidate = self._candidate(specification, runtime, owner.username, body.priority)
        outlook = await self._fit(candidate, size.title, limits)
        async with self._database.reading() as session:
            recent = await attempts.launch_times(
                session, specification.datalab, specification.version, size.name
            )
        spared = {QUEUED} if outlook.fit is Fit.NOW else set[str]()
        if self._prepared(specification.datalab, specification.version):
            spared.add(ENVIRONMENT)  # the first launches may have waited for it, this one will not
        expected = usual(recent, without=spared)
        total = expected.pop(TOTAL, None)
        return Preflight(
            fit=outlook.fit,
            text=outlook.text,
            size=size,
            runtime=runtime,
            queue_position=outlook.position,
            expected_start_at=outlook.starts_at,
            expected_seconds=total,
            expected_phases=expected,
            limits=limits,
            notices=await self._notices(runtime),
        )

    def _candidate(
        self, specification: LaunchSpecification, runtime: Runtime, owner: str, priority: int | None
    ) -> Waiting:
        size = specification.size
        return Waiting(
            lab_id=CANDIDATE,
            owner=owner,
            requested_at=self._clock.now(),
            cores=size.cores,
            memory_mib=size.memory_mib,
            disk_mib=size.disk_mib,
            gpus=size.gpus,
            gpu_name=size.gpu_name,
            node_class=size.node_class,
            runtime=runtime,
            priority=DEFAULT_PRIORITY if priority is None else priority,
            kind_of_run=(specification.datalab, specification.version, size.name),
        )

    async def _policy(self, owner: str) -> Policy:
        async with self._database.reading() as session:
            return await runs.policy(session, owner)

    async def _known_and_policy(
        self, owner: str, key: str | None, body_hash: str
    ) -> tuple[LabRecord | None, Policy]:
        """Return the lab that belongs to a key already, and the rules of the owner's labs."""
        known, policy = await self._look_up((owner, key))
        if known is not None and known.body_hash != body_hash:
            raise ProblemError(ProblemCode.IDEMPOTENCY_MISMATCH)
        return known, policy

    async def _look_up_all(
        self, asked: list[tuple[str, str | None]]
    ) -> list[tuple[LabRecord | None, Policy]]:
        keys = [(owner, key) for owner, key in asked if key is not None]
        known = await labs.of_keys(self._direct, keys)
        policies = await runs.policies(self._direct, [owner for owner, _ in asked])
        return [(known.get((owner, key or "")), policies[owner]) for owner, key in asked]

    async def _runtime(self, specification: LaunchSpecification, operator: bool) -> Runtime:  # noqa: FBT001
        """Return the first of the version's runtimes that runs here; of a silent cluster the best is hoped.

        Raises `ProblemError` (runtime_unavailable, forbidden).
        """
        try:
            offered = await self._scheduler.runtimes()
            runtime = choose_runtime(specification.runtimes, offered, gpus=specification.size.gpus)
            refusal = await self._scheduler.refuses(runtime, operator=operator) if runtime else None
        except SchedulerAwayError:
            return specification.runtimes.order[0]
        if runtime is None:
            wanted = ", ".join(specification.runtimes.order)
            raise ProblemError(
                ProblemCode.RUNTIME_UNAVAILABLE, f"It runs as {wanted}, which this site does not offer."
            )
        if refusal is not None:
            raise ProblemError(ProblemCode.FORBIDDEN, refusal)
        return runtime

    async def _refuse_never(self, specification: LaunchSpecification, runtime: Runtime) -> None:
        try:
            capacity = await self._admission.capacity()
        except SchedulerAwayError:
            return
        candidate = self._candidate(specification, runtime, "", None)
        text = never_fits(candidate, specification.size.title, capacity)
        if text is not None:
            raise ProblemError(ProblemCode.NEVER_FITS, text)

    async def _store(self, record: LabRecord) -> bool:
        """Insert the lab with its first attempt, its first transition and its event; False when it exists."""
        stored = await self._journal.enter(
            record,
            _attempt_of(record),
            _first_moment(record, record.owner),
            max_queued=self._settings.max_queued,
        )
        if stored is None:
            await self._release(record)
            raise ProblemError(
                ProblemCode.TOO_MANY_QUEUED,
                f"{self._settings.max_queued} of your labs wait for a free place already.",
                max_queued=self._settings.max_queued,
            )
        return stored

    async def _add_attempt(self, session: Any, record: LabRecord, actor: str) -> None:
        await attempts.add(session, _attempt_of(record))
        await attempts.add_moments(session, record.id, record.attempt, [_first_moment(record, actor)])

    async def _store_attempt(
        self,
        record: LabRecord,
        specification: LaunchSpecification,
        runtime: Runtime,
        actor: str,
        traceparent: str | None,
    ) -> LabRecord:
        now = self._clock.now()
        policy = await self._policy(record.owner)
        values = {
            **of_specification(specification, runtime),
            **of_rules(specification, policy),
            **untouched(now),
            "attempt": record.attempt + 1,
            "traceparent": traceparent,
        }
        async with self._database.transaction() as session:
            fresh = await labs.change(session, record, self._settings.instance, **values)
            await self._add_attempt(session, fresh, actor)
            self._journal.tell(session, fresh, Change(at=now, state=LabState.QUEUED, actor=actor))
        return fresh

    async def _release(self, record: LabRecord) -> None:
        try:
            await self._neighbours.release(Holding.of(record))
        except ProblemError as problem:  # accounting compares its reservations with our labs by itself
            self._log.warning("release.failed", lab=record.id, code=problem.code)

    async def _limits(self, owner: Owner) -> Limits | None:
        """Return the limits; a launch panel without them is better than none."""
        try:
            return await self._neighbours.limits(owner.username, unlimited=owner.unlimited)
        except ProblemError as problem:
            self._log.info("limits.unknown", code=problem.code)
            return None

    async def _fit(self, candidate: Waiting, title: str, limits: Limits | None) -> "Outlook":
        try:
            text = never_fits(candidate, title, await self._admission.capacity())
            if text is not None:
                return Outlook(fit=Fit.NEVER, text=text)
            over = over_limit(limits, candidate.cores, candidate.memory_mib) if limits else ""
            if over:
                return Outlook(fit=Fit.OVER_LIMIT, text=over)
            machine, position, wait, starts_at = await self._admission.look_ahead(candidate)
        except SchedulerAwayError:
            return Outlook(
                fit=Fit.QUEUE, text="The cluster does not answer; it would start when the cluster is back."
            )
        if machine is not None or wait is None:
            return Outlook(fit=Fit.NOW, text="It would start now.")
        return Outlook(
            fit=Fit.QUEUE, text=f"It would wait. {wait.text}.", position=position, starts_at=starts_at
        )

    async def _notices(self, runtime: Runtime) -> list[str]:
        try:
            return await self._scheduler.notices(runtime)
        except SchedulerAwayError:
            return ["The cluster does not answer at the moment."]

    def _record(
        self,
        lab_id: str,
        request: LaunchLab,
        owner: Owner,
        specification: LaunchSpecification,
        runtime: Runtime,
        *,
        policy: Policy,
        body_hash: str,
        traceparent: str | None,
    ) -> LabRecord:
        now, body = self._clock.now(), request.body
        return LabRecord(
            id=lab_id,
            owner=owner.username,
            owner_uid=owner.uid,
            unlimited=owner.unlimited,
            name=body.name or specification.title[:80],
            volumes=body.volumes,
            idempotency_key=request.idempotency_key,
            body_hash=body_hash,
            attempt=1,
            revision=1,
            created_at=now,
            traceparent=traceparent,
            delete_requested=False,
            deleted_at=None,
            priority=DEFAULT_PRIORITY if body.priority is None else body.priority,
            **of_specification(specification, runtime),
            **of_rules(specification, policy),
            **untouched(now),
        )


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What a launch would meet in the queue."""

    fit: Fit
    text: str
    position: int | None = None
    starts_at: datetime | None = None


def _check_priority(body: LaunchBody, owner: Owner) -> None:
    if body.priority is not None and not owner.unlimited:
        raise ProblemError(ProblemCode.FORBIDDEN, "Only operators may give a launch a priority.")


def _attempt_of(record: LabRecord) -> AttemptRecord:
    return AttemptRecord(
        lab_id=record.id,
        attempt=record.attempt,
        job_id=None,
        requested_at=record.requested_at,
        traceparent=record.traceparent,
    )


def _first_moment(record: LabRecord, actor: str) -> Moment:
    return Moment(at=record.requested_at, state=LabState.QUEUED, phase=QUEUED, actor=actor)
