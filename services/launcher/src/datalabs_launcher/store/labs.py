"""Labs in the database."""

from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, case, delete, func, or_, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from datalabs_contracts.labs import LabState
from datalabs_launcher.errors import LabMovedError
from datalabs_launcher.models import LabRecord, Taken, Waiting
from datalabs_launcher.tables import LabRow

COLUMNS = [getattr(LabRow, item.name) for item in fields(LabRecord)]
CHANNEL = "labs"
"""NOTIFY channel: `<lab id> <instance>` after each change."""
ALIVE = text("labs.state NOT IN ('stopped', 'failed')")
"""Written as in the partial index: the planner recognises literals only."""
HOLDING = text("labs.state IN ('preparing', 'starting', 'ready', 'unreachable', 'stopping')")
"""States in which a lab holds cores and memory; a queued lab holds none."""
ADMISSION_LOCK = 4_110_001
"""Key of the transaction-level lock under which capacity is given away."""


def _record(row: Row[Any]) -> LabRecord:
    return LabRecord(**row._mapping)  # noqa: SLF001 - public, in spite of its name


async def add(session: AsyncSession, record: LabRecord) -> bool:
    """Insert a new lab; False when its id or key is taken."""
    statement = insert(LabRow).values(**asdict(record)).on_conflict_do_nothing().returning(LabRow.id)
    return (await session.execute(statement)).first() is not None


async def get(session: AsyncSession, lab_id: str) -> LabRecord | None:
    """Return one lab."""
    row = (await session.execute(select(*COLUMNS).where(LabRow.id == lab_id))).first()
    return _record(row) if row else None


async def of_key(session: AsyncSession, owner: str, key: str) -> LabRecord | None:
    """Return the lab that belongs to an idempotency key."""
    found = select(*COLUMNS).where(LabRow.owner == owner, LabRow.idempotency_key == key)
    row = (await session.execute(found)).first()
    return _record(row) if row else None


async def change(session: AsyncSession, record: LabRecord, **values: Any) -> LabRecord:
    """Change a lab and raise its revision.

    Raises `LabMovedError` when the lab is not at the record's revision any more.
    """
    statement = (
        update(LabRow)
        .where(LabRow.id == record.id, LabRow.revision == record.revision)
        .values(revision=record.revision + 1, **values)
        .returning(*COLUMNS)
    )
    row = (await session.execute(statement)).first()
    if row is None:
        raise LabMovedError(record.id)
    return _record(row)


async def touch(session: AsyncSession, lab_id: str, **values: Any) -> None:
    """Change what nobody outside sees (signs of use, when to look again), without a new revision."""
    await session.execute(update(LabRow).where(LabRow.id == lab_id).values(**values))


async def notify(session: AsyncSession, lab_id: str, instance: str) -> None:
    """Wake the other instances when this transaction commits."""
    await session.execute(select(func.pg_notify(CHANNEL, f"{lab_id} {instance}")))


def _claimable(instance: str, now: datetime) -> ColumnElement[bool]:
    return or_(LabRow.claimed_by.is_(None), LabRow.claimed_by == instance, LabRow.claimed_until < now)


async def claim(
    session: AsyncSession, lab_id: str, *, instance: str, now: datetime, until: datetime
) -> LabRecord | None:
    """Take one lab for the next step; None when it has ended, is gone, or another instance has it."""
    await session.execute(text("SET LOCAL synchronous_commit = off"))  # a lost claim costs nothing
    statement = (
        update(LabRow)
        .where(LabRow.id == lab_id, ALIVE, _claimable(instance, now))
        .values(claimed_by=instance, claimed_until=until)
        .returning(*COLUMNS)
    )
    row = (await session.execute(statement)).first()
    return _record(row) if row else None


async def release(
    session: AsyncSession, lab_id: str, *, instance: str, revision: int, due_at: datetime | None
) -> None:
    """Give a claimed lab back, and say when somebody should look at it again.

    A lab that moved meanwhile keeps the time that was set when it moved: it is earlier.
    """
    await session.execute(text("SET LOCAL synchronous_commit = off"))
    unmoved = LabRow.revision == revision
    await session.execute(
        update(LabRow)
        .where(LabRow.id == lab_id, LabRow.claimed_by == instance)
        .values(claimed_by=None, claimed_until=None, due_at=case((unmoved, due_at), else_=LabRow.due_at))
    )


async def claim_due(
    session: AsyncSession, *, instance: str, now: datetime, until: datetime, limit: int
) -> list[str]:
    """Claim labs whose time has come; those that another instance is looking at are passed over."""
    due = (
        select(LabRow.id)
        .where(ALIVE, LabRow.due_at <= now, _claimable(instance, now))
        .order_by(LabRow.due_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    rows = await session.execute(
        update(LabRow)
        .where(LabRow.id.in_(due.scalar_subquery()))
        .values(claimed_by=instance, claimed_until=until, due_at=until)
        .returning(LabRow.id)
    )
    return list(rows.scalars())


async def alive(session: AsyncSession) -> list[LabRecord]:
    """Return all labs that have not ended."""
    return [_record(row) for row in await session.execute(select(*COLUMNS).where(ALIVE))]


async def known_jobs(session: AsyncSession, job_ids: Sequence[str]) -> dict[str, LabRecord]:
    """Return the labs whose newest attempt has one of these job ids, by job id."""
    found = select(*COLUMNS).where(LabRow.job_id.in_(job_ids))
    records = [_record(row) for row in await session.execute(found)]
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
    found = select(*COLUMNS).where(LabRow.deleted_at.is_(None))
    if owner is not None:
        found = found.where(LabRow.owner == owner)
    if not include_ended:
        found = found.where(ALIVE)
    if after is not None:
        found = found.where(tuple_(LabRow.created_at, LabRow.id) < after)
    rows = await session.execute(found.order_by(LabRow.created_at.desc(), LabRow.id.desc()).limit(limit))
    return [_record(row) for row in rows]


async def lock_admission(session: AsyncSession) -> None:
    """Let one transaction at a time give capacity away; the lock ends with the transaction."""
    await session.execute(select(func.pg_advisory_xact_lock(ADMISSION_LOCK)))


async def queue(session: AsyncSession) -> list[LabRecord]:
    """Return the queued labs, oldest request first."""
    found = select(*COLUMNS).where(LabRow.state == LabState.QUEUED).order_by(LabRow.requested_at, LabRow.id)
    return [_record(row) for row in await session.execute(found)]


async def taken(session: AsyncSession) -> Taken:
    """Return what admitted labs hold."""
    sums = select(
        func.coalesce(func.sum(LabRow.cores), 0.0), func.coalesce(func.sum(LabRow.memory_mib), 0)
    ).where(HOLDING)
    cores, memory = (await session.execute(sums)).one()
    return Taken(cores=float(cores), memory_mib=int(memory))


async def waiting_of(session: AsyncSession, owner: str) -> int:
    """Return how many labs of one person wait for capacity; a lab on its way through the queue does not count."""
    found = select(func.count()).where(
        LabRow.owner == owner, LabRow.state == LabState.QUEUED, LabRow.queue_position.is_not(None)
    )
    return int((await session.execute(found)).scalar_one())


async def prune(session: AsyncSession, *, ended_before: datetime, deleted_before: datetime) -> list[str]:
    """Remove labs that ended, or were deleted, long ago; return their ids."""
    rows = await session.execute(
        delete(LabRow)
        .where(
            text("labs.state IN ('stopped', 'failed')"),
            or_(LabRow.ended_at < ended_before, LabRow.deleted_at < deleted_before),
        )
        .returning(LabRow.id)
    )
    return list(rows.scalars())


def waiting(record: LabRecord) -> Waiting:
    """Return what the ordering of the queue needs of a lab."""
    return Waiting(
        lab_id=record.id,
        owner=record.owner,
        requested_at=record.requested_at,
        cores=record.cores,
        memory_mib=record.memory_mib,
    )
