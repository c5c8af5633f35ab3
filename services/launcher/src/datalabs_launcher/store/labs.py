"""Labs in the database."""

from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import datetime
from typing import Any, cast

from sqlalchemy import (
    ARRAY,
    String,
    Table,
    and_,
    bindparam,
    case,
    delete,
    func,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from datalabs_contracts.datalabs import Kind, Runtime
from datalabs_contracts.labs import LabState, Reason, WaitReason
from datalabs_launcher.errors import LabMovedError
from datalabs_launcher.models import Held, LabRecord, Taken, Waiting
from datalabs_launcher.nodes import amount
from datalabs_launcher.tables import LabRow
from datalabs_runtime.direct import Direct, Plain

LABS = cast(Table, LabRow.__table__)
"""The table itself: statements on it skip the object layer, which costs more than the database does (measured)."""
COLUMNS = [LABS.c[item.name] for item in fields(LabRecord)]
WORDS = {
    "kind": Kind,
    "runtime": Runtime,
    "state": LabState,
    "reason": Reason,
    "wait_reason": WaitReason,
}
"""Columns whose texts are words of an enumeration."""
CHANNEL = "labs"
"""NOTIFY channel: `<lab id> <instance>` after each change."""
ALIVE = text("labs.state NOT IN ('stopped', 'failed')")
"""Written as in the partial index: the planner recognises literals only."""
ENDED = text("labs.state IN ('stopped', 'failed')")
HOLDING = text("labs.state IN ('preparing', 'starting', 'ready', 'unreachable', 'stopping')")
"""States in which a lab holds cores and memory; a queued lab holds none."""
ADMISSION_LOCK = 4_110_001
"""Key of the transaction-level lock under which capacity is given away."""


# Statements that run often are built once: with so many columns, building costs more than running.
GET = select(*COLUMNS).where(LABS.c.id == bindparam("lab_id"))
_KEYS = (
    func.unnest(bindparam("owners", type_=ARRAY(String)), bindparam("keys", type_=ARRAY(String)))
    .table_valued("owner", "key")
    .render_derived()
)
OF_KEYS = Plain(
    select(*COLUMNS).join(_KEYS, and_(LABS.c.owner == _KEYS.c.owner, LABS.c.idempotency_key == _KEYS.c.key))
)
QUEUE = select(*COLUMNS).where(LABS.c.state == LabState.QUEUED).order_by(LABS.c.requested_at, LABS.c.id)
TAKEN = select(
    func.coalesce(func.sum(LABS.c.cores), 0.0), func.coalesce(func.sum(LABS.c.memory_mib), 0)
).where(HOLDING)
HELD = select(
    LABS.c.id,
    LABS.c.owner,
    LABS.c.runtime,
    LABS.c.datalab,
    LABS.c.version,
    LABS.c.size,
    LABS.c.cores,
    LABS.c.memory_mib,
    LABS.c.disk_mib,
    LABS.c.gpus,
    LABS.c.gpu_name,
    LABS.c.place,
    LABS.c.node,
    LABS.c.job_id,
    LABS.c.started_at,
    LABS.c.expires_at,
).where(HOLDING)
_ONE_BY_ONE = case((LABS.c.gpus > 0, LABS.c.id))
_TOGETHER = (
    LABS.c.owner,
    LABS.c.runtime,
    LABS.c.gpu_name,
    LABS.c.place,
    LABS.c.node,
    LABS.c.job_id.is_not(None),
    _ONE_BY_ONE,
)
HELD_TOGETHER = (
    select(
        LABS.c.owner,
        LABS.c.runtime,
        LABS.c.gpu_name,
        LABS.c.place,
        LABS.c.node,
        LABS.c.job_id.is_not(None).label("handed_over"),
        func.sum(LABS.c.cores).label("cores"),
        func.sum(LABS.c.memory_mib).label("memory_mib"),
        func.sum(LABS.c.disk_mib).label("disk_mib"),
        func.sum(LABS.c.gpus).label("gpus"),
        func.count().label("labs"),
    )
    .where(HOLDING)
    .group_by(*_TOGETHER)
)
WAITING = (text("labs.state = 'queued'"), LABS.c.queue_position.is_not(None))
"""Labs that have been told to wait; one on its way through the queue does not count."""


def record_of(row: Any) -> LabRecord:
    """Return a stored lab, from a row with its columns as attributes."""
    values = row._asdict()
    for name, words in WORDS.items():
        if values[name] is not None:
            values[name] = words(values[name])
    return LabRecord(**values)


def vars_of(record: LabRecord) -> dict[str, Any]:
    """Return the stored fields of a lab."""
    return {item.name: getattr(record, item.name) for item in fields(record)}


async def get(session: AsyncSession, lab_id: str) -> LabRecord | None:
    """Return one lab."""
    row = (await session.execute(GET, {"lab_id": lab_id})).first()
    return record_of(row) if row else None


async def of_keys(
    where: AsyncSession | Direct, keys: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], LabRecord]:
    """Return the labs that belong to idempotency keys, by owner and key."""
    values = {"owners": [owner for owner, _ in keys], "keys": [key for _, key in keys]}
    found = [record_of(row) for row in await OF_KEYS.on(where, values)] if keys else []
    return {(record.owner, record.idempotency_key or ""): record for record in found}


async def change(session: AsyncSession, record: LabRecord, instance: str, **values: Any) -> LabRecord:
    """Change a lab, raise its revision, and wake the other instances when this transaction commits.

    Raises `LabMovedError` when the lab is not at the record's revision any more.
    """
    told = func.pg_notify(CHANNEL, f"{record.id} {instance}")
    statement = (
        update(LABS)
        .where(LABS.c.id == record.id, LABS.c.revision == record.revision)
        .values(revision=record.revision + 1, **values)
        .returning(told)
    )
    if (await session.execute(statement)).first() is None:
        raise LabMovedError(record.id)
    return replace(record, revision=record.revision + 1, **values)


async def touch(session: AsyncSession, lab_id: str, **values: Any) -> None:
    """Change what nobody outside sees (signs of use, what was told), without a new revision."""
    await session.execute(update(LABS).where(LABS.c.id == lab_id).values(**values))


async def alive_of(session: AsyncSession, owner: str) -> list[LabRecord]:
    """Return somebody's labs that have not ended."""
    found = select(*COLUMNS).where(ALIVE, LABS.c.owner == owner)
    return [record_of(row) for row in await session.execute(found)]


async def any_alive(session: AsyncSession) -> bool:
    """Return whether any lab has not ended."""
    return bool((await session.execute(select(select(LABS.c.id).where(ALIVE).exists()))).scalar_one())


async def jobs_alive(session: AsyncSession) -> dict[str, tuple[str, LabState]]:
    """Return lab and state of each job that should be there: all labs may be many, so no more than that."""
    columns = LABS.c.job_id, LABS.c.id, LABS.c.state
    rows = await session.execute(select(*columns).where(ALIVE, LABS.c.job_id.is_not(None)))
    return {job_id: (lab_id, state) for job_id, lab_id, state in rows}


async def ids_alive(session: AsyncSession, *, settled: bool = True) -> list[str]:
    """Return the labs that have not ended; those that simply run only if `settled`."""
    found = select(LABS.c.id).where(ALIVE)
    if not settled:
        found = found.where(LABS.c.state != LabState.READY)
    return list((await session.execute(found)).scalars())


async def known_jobs(session: AsyncSession, job_ids: Sequence[str]) -> dict[str, LabRecord]:
    """Return the labs whose newest attempt has one of these job ids, by job id."""
    found = select(*COLUMNS).where(LABS.c.job_id.in_(job_ids))
    records = [record_of(row) for row in await session.execute(found)]
    return {record.job_id: record for record in records if record.job_id}


async def listed(
    session: AsyncSession,
    *,
    owner: str | None,
    include_ended: bool,
    limit: int,
    after: tuple[datetime, str] | None,
) -> list[LabRecord]:
    """Return labs that were not deleted, newest first, after a sort key."""
    found = select(*COLUMNS).where(LABS.c.deleted_at.is_(None))
    if owner is not None:
        found = found.where(LABS.c.owner == owner)
    if not include_ended:
        found = found.where(ALIVE)
    if after is not None:
        found = found.where(tuple_(LABS.c.created_at, LABS.c.id) < after)
    rows = await session.execute(found.order_by(LABS.c.created_at.desc(), LABS.c.id.desc()).limit(limit))
    return [record_of(row) for row in rows]


async def lock_admission(session: AsyncSession) -> None:
    """Let one transaction at a time give capacity away; the lock ends with the transaction."""
    await session.execute(select(func.pg_advisory_xact_lock(ADMISSION_LOCK)))


async def queue(session: AsyncSession) -> list[LabRecord]:
    """Return the queued labs, oldest request first."""
    return [record_of(row) for row in await session.execute(QUEUE)]


async def taken(session: AsyncSession) -> Taken:
    """Return what admitted labs hold."""
    cores, memory = (await session.execute(TAKEN)).one()
    return Taken(cores=float(cores), memory_mib=int(memory))


async def ended_before(session: AsyncSession, moment: datetime, *, limit: int) -> list[LabRecord]:
    """Return labs that ended long ago and were not deleted."""
    found = select(*COLUMNS).where(ENDED, LABS.c.ended_at < moment, LABS.c.deleted_at.is_(None)).limit(limit)
    return [record_of(row) for row in await session.execute(found)]


async def remove_deleted(session: AsyncSession, moment: datetime, *, limit: int) -> list[str]:
    """Remove labs that were deleted long ago; return their ids."""
    old = select(LABS.c.id).where(ENDED, LABS.c.deleted_at < moment).limit(limit).scalar_subquery()
    rows = await session.execute(delete(LABS).where(LABS.c.id.in_(old)).returning(LABS.c.id))
    return list(rows.scalars())


async def held(session: AsyncSession) -> list[Held]:
    """Return what each admitted lab holds, and where."""
    return [
        Held(
            lab_id=row.id,
            owner=row.owner,
            need=amount(row.cores, row.memory_mib, row.disk_mib, row.gpus, row.gpu_name),
            runtime=row.runtime,
            place=row.place,
            node=row.node,
            handed_over=row.job_id is not None,
            started_at=row.started_at,
            expires_at=row.expires_at,
            kind_of_run=(row.datalab, row.version, row.size),
        )
        for row in await session.execute(HELD)
    ]


async def held_together(session: AsyncSession) -> list[Held]:
    """Return what is held by all labs of one owner on one machine as if one lab held it, however many there are.

    Labs with devices stand alone: which of a machine's they take depends on what the others took.
    """
    return [
        Held(
            lab_id="",
            owner=row.owner,
            need=amount(row.cores, row.memory_mib, row.disk_mib, row.gpus, row.gpu_name),
            runtime=row.runtime,
            place=row.place,
            node=row.node,
            handed_over=row.handed_over,
            labs=row.labs,
        )
        for row in await session.execute(HELD_TOGETHER)
    ]


async def to_look_at(session: AsyncSession) -> list[tuple[str, str, int, datetime | None]]:
    """Return the labs that end when nobody uses them: each with its job, after how many minutes, when last used."""
    columns = LABS.c.id, LABS.c.job_id, LABS.c.idle_minutes, LABS.c.last_active_at
    found = select(*columns).where(
        text("labs.state IN ('ready', 'unreachable')"),
        LABS.c.idle_minutes > 0,
        LABS.c.kind != Kind.BATCH,
        LABS.c.job_id.is_not(None),
    )
    return [
        (row.id, row.job_id, row.idle_minutes, row.last_active_at) for row in await session.execute(found)
    ]


async def ready_after(session: AsyncSession, lab_id: str, *, limit: int) -> list[LabRecord]:
    """Return the next labs that are ready, by their ids: page by page, all at once may be very many."""
    found = select(*COLUMNS).where(LABS.c.state == LabState.READY, LABS.c.id > lab_id)
    return [record_of(row) for row in await session.execute(found.order_by(LABS.c.id).limit(limit))]


async def used_now(session: AsyncSession, seen: Sequence[tuple[str, datetime]]) -> None:
    """Note when labs were seen in use; what is known already to be later stays."""
    statement = (
        update(LABS)
        .where(
            LABS.c.id == bindparam("of_lab"),
            ALIVE,
            or_(LABS.c.last_active_at.is_(None), LABS.c.last_active_at < bindparam("at")),
        )
        .values(last_active_at=bindparam("at"))
    )
    if seen:
        await session.execute(statement, [{"of_lab": lab_id, "at": at} for lab_id, at in seen])


async def owned_and_running(
    session: AsyncSession, *, owners: Sequence[str], lab_ids: Sequence[str], everybody: bool
) -> dict[str, str]:
    """Return the jobs of running labs of these people, or with these ids, by lab."""
    found = select(LABS.c.id, LABS.c.job_id).where(
        text("labs.state IN ('starting', 'ready', 'unreachable')"), LABS.c.job_id.is_not(None)
    )
    if not everybody:
        found = found.where(or_(LABS.c.owner.in_(owners), LABS.c.id.in_(lab_ids)))
    return {row.id: row.job_id for row in await session.execute(found)}


async def with_old_files(session: AsyncSession, moment: datetime, *, limit: int) -> list[str]:
    """Return ended labs whose files have been kept long enough."""
    found = select(LABS.c.id).where(ENDED, LABS.c.files_kept_until <= moment).limit(limit)
    return list((await session.execute(found)).scalars())


async def locked(session: AsyncSession, lab_id: str) -> LabRecord | None:
    """Return a lab that nobody else changes until this transaction ends."""
    row = (await session.execute(GET.with_for_update(), {"lab_id": lab_id})).first()
    return record_of(row) if row else None


def waiting(record: LabRecord) -> Waiting:
    """Return what the ordering of the queue needs of a lab."""
    return Waiting(
        lab_id=record.id,
        owner=record.owner,
        requested_at=record.requested_at,
        cores=record.cores,
        memory_mib=record.memory_mib,
        disk_mib=record.disk_mib,
        gpus=record.gpus,
        gpu_name=record.gpu_name,
        node_class=record.node_class,
        runtime=record.runtime,
        priority=record.priority,
        passes=record.passes,
        reserved_place=record.reserved_place,
        kind_of_run=(record.datalab, record.version, record.size),
    )
