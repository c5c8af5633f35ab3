"""What the launcher tells of labs: lists, timelines, logs, routes, capacity."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from datalabs_contracts.base import Page, PageQuery
from datalabs_contracts.cursors import decode_cursor, encode_cursor
from datalabs_contracts.datalabs import Readiness
from datalabs_contracts.labs import (
    Capacity,
    Lab,
    LabsQuery,
    LabState,
    Logs,
    Nodes,
    Queue,
    QueuedLab,
    Route,
    Timeline,
    WaitReason,
)
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_launcher.admission import Admission
from datalabs_launcher.ends import kept_lines
from datalabs_launcher.models import AttemptRecord, LabRecord
from datalabs_launcher.nodes import Machine, homes_of, key_of, machines_of
from datalabs_launcher.placement import Site, open_path
from datalabs_launcher.scheduler import Scheduler, SchedulerAwayError
from datalabs_launcher.store import attempts, labs
from datalabs_launcher.store import environments as readiness
from datalabs_launcher.timeline import timeline_of
from datalabs_runtime.clock import Clock
from datalabs_runtime.database import Database

LOG_SECONDS = 4.0
PAGE_BYTES = 600_000
LOG_BYTES = 400_000
"""A NATS message holds 1 MiB; text grows when it is escaped."""


class Views:
    """Answers questions; changes nothing."""

    def __init__(
        self, *, database: Database, scheduler: Scheduler, admission: Admission, clock: Clock, site: Site
    ) -> None:
        self._database = database
        self._scheduler = scheduler
        self._admission = admission
        self._clock = clock
        self._site = site

    async def page(self, query: LabsQuery, owner: str | None) -> Page[Lab]:
        """Return a page of labs, newest first."""
        after: tuple[datetime, str] | None = None
        if query.cursor is not None:
            micros, lab_id = decode_cursor("labs", query.cursor, int, str)
            after = (_moment(micros), lab_id)
        async with self._database.reading() as session:
            found = await labs.listed(
                session,
                owner=owner,
                include_ended=query.include_ended,
                limit=query.limit + 1,
                after=after,
            )
        items = within([record.contract() for record in found[: query.limit]], PAGE_BYTES)
        more = len(found) > len(items)
        last = encode_cursor("labs", _micros(items[-1].created_at), items[-1].id) if more else None
        return Page[Lab](items=items, next=last)

    async def timeline(self, record: LabRecord, attempt: int | None) -> Timeline:
        """Return the timeline of an attempt.

        Raises `ProblemError` (not_found) for an attempt that never was.
        """
        known = await self._attempt(record, attempt)
        async with self._database.reading() as session:
            moments = await attempts.moments(session, record.id, known.attempt)
            recent = await attempts.launch_times(
                session, record.datalab, record.version, record.size, beside=record.id
            )
        return timeline_of(known, moments, now=self._clock.now(), recent=recent)

    async def logs(self, record: LabRecord, attempt: int | None, lines: int) -> Logs:
        """Return the last log lines: of a living attempt from the scheduler, of an ended one from the store."""
        known = await self._attempt(record, attempt)
        alive = known.attempt == record.attempt and not record.state.ended and known.job_id is not None
        if alive and known.job_id is not None:
            try:
                async with asyncio.timeout(LOG_SECONDS):
                    found, older = await self._scheduler.logs(known.job_id, lines=lines)
            except (SchedulerAwayError, TimeoutError):
                raise ProblemError(
                    ProblemCode.SERVICE_UNAVAILABLE, "The cluster does not answer.", retry_after=2
                ) from None
            shown, cut = kept_lines(found, lines=lines, size=LOG_BYTES)
            return Logs(lab_id=record.id, attempt=known.attempt, lines=shown, truncated=older or cut)
        kept = known.log_lines[-lines:]
        cut = known.log_truncated or len(kept) < len(known.log_lines)
        return Logs(lab_id=record.id, attempt=known.attempt, lines=kept, truncated=cut)

    def route(self, record: LabRecord) -> Route:
        """Return where a live lab answers.

        Raises `ProblemError` (lab_ended, lab_not_ready).
        """
        if record.state.ended or record.state is LabState.STOPPING:
            raise ProblemError(ProblemCode.LAB_ENDED)
        if record.state not in {LabState.READY, LabState.UNREACHABLE} or record.host is None:
            raise ProblemError(ProblemCode.LAB_NOT_READY)
        if record.batch:
            raise ProblemError(ProblemCode.LAB_NOT_READY, "A batch lab has no page to open.")
        return Route(
            lab_id=record.id,
            attempt=record.attempt,
            owner=record.owner,
            state=record.state,
            host=record.host,
            port=record.host_port or record.port or 0,
            open_path=open_path(record, site=self._site),
            trace_id=record.trace_id,
            revision=record.revision,
        )

    async def capacity(self) -> Capacity:
        """Return what the cluster has and what labs hold.

        Raises `ProblemError` (service_unavailable) when the cluster does not answer.
        """
        try:
            whole = await self._admission.capacity()
        except SchedulerAwayError:
            raise ProblemError(ProblemCode.SERVICE_UNAVAILABLE, "The cluster does not answer.") from None
        taken, queued = await self._admission.taken()
        changes = {"cores_taken": taken.cores, "memory_taken_mib": taken.memory_mib, "queued": queued}
        return whole.model_copy(update=changes)

    async def nodes(self) -> Nodes:
        """Return all machines, with what is promised of them beside what the clusters see.

        Raises `ProblemError` (service_unavailable) when no cluster answers.
        """
        try:
            whole = await self._admission.capacity()
        except SchedulerAwayError:
            raise ProblemError(ProblemCode.SERVICE_UNAVAILABLE, "The cluster does not answer.") from None
        async with self._database.reading() as session:
            held = await labs.held(session)
        machines = {machine.key: machine for machine in machines_of(whole, held)}
        living = Counter(key for key, _ in homes_of(whole, held))
        items = [
            node.model_copy(update={**_taken(machines[key_of(node)]), "labs": living[key_of(node)]})
            for node in sorted(whole.nodes, key=key_of)
        ]
        return Nodes(items=items, away=whole.away)

    async def queue(self, query: PageQuery) -> Queue:
        """Return a page of the queue in its order; who has no place yet stands last.

        Raises `ProblemError` (invalid_cursor).
        """
        start = max(0, decode_cursor("queue", query.cursor, int)[0]) if query.cursor else 0
        async with self._database.reading() as session:
            found = await labs.queue(session)
        found.sort(key=lambda record: (record.queue_position or len(found) + 1, record.requested_at))
        end = start + query.limit
        items = [_queued(record, place) for place, record in enumerate(found[start:end], start=start + 1)]
        return Queue(
            items=items,
            next=encode_cursor("queue", end) if end < len(found) else None,
            total=len(found),
        )

    async def readiness(self, query: PageQuery) -> Page[Readiness]:
        """Return a page of environments."""
        after: tuple[str, str] | None = None
        if query.cursor is not None:
            datalab, version = decode_cursor("readiness", query.cursor, str, str)
            after = (datalab, version)
        async with self._database.reading() as session:
            found = await readiness.listed(session, limit=query.limit + 1, after=after)
        items = found[: query.limit]
        more = len(found) > query.limit
        last = encode_cursor("readiness", items[-1].datalab, items[-1].version) if more else None
        return Page[Readiness](items=[record.contract() for record in items], next=last)

    async def _attempt(self, record: LabRecord, attempt: int | None) -> AttemptRecord:
        async with self._database.reading() as session:
            known = await attempts.get(session, record.id, attempt or record.attempt)
        if known is None:
            raise ProblemError(ProblemCode.NOT_FOUND, "There is no such attempt.")
        return known


def _queued(record: LabRecord, place: int) -> QueuedLab:
    return QueuedLab(
        lab_id=record.id,
        name=record.name,
        owner=record.owner,
        datalab=record.datalab,
        version=record.version,
        size=record.size,
        runtime=record.runtime,
        cores=record.cores,
        memory_mib=record.memory_mib,
        disk_mib=record.disk_mib,
        gpus=record.gpus,
        gpu_name=record.gpu_name,
        node_class=record.node_class,
        priority=record.priority,
        position=record.queue_position or place,
        reason=record.wait_reason or WaitReason.TURN,
        text=record.progress_text,
        since=record.requested_at,
        expected_start_at=record.expected_start_at,
        passed=record.passes,
        node=record.reserved_place.partition("/")[2] if record.reserved_place else None,
    )


def _taken(machine: Machine) -> dict[str, object]:
    """Return what is taken of a machine, what was promised included."""
    whole = machine.whole
    return {
        "cores_taken": round(max(0.0, whole.cores - machine.cores), 6),
        "memory_taken_mib": max(0, whole.memory_mib - machine.memory_mib),
        "disk_taken_mib": max(0, whole.disk_mib - machine.disk_mib),
        "gpus_taken": {name: max(0, count - machine.gpus.get(name, 0)) for name, count in whole.gpus.items()},
    }


def within(items: Sequence[Lab], size: int) -> list[Lab]:
    """Return as many of the first items as fit in so many bytes, one at least: a short page has a next one."""
    fitting: list[Lab] = []
    for item in items:
        size -= len(item.model_dump_json())
        if fitting and size < 0:
            break
        fitting.append(item)
    return fitting


def _micros(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond


def _moment(micros: int) -> datetime:
    """Return the moment of a cursor.

    Raises `ProblemError` (invalid_cursor) for one that no calendar has.
    """
    seconds, rest = divmod(micros, 1_000_000)
    try:
        return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)
    except (ValueError, OverflowError, OSError):
        raise ProblemError(ProblemCode.INVALID_CURSOR) from None
