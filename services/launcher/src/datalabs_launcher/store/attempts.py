"""Attempts, their transitions, their addresses and how long they took."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from datalabs_launcher.errors import NoAddressLeftError
from datalabs_launcher.models import AttemptRecord, Moment
from datalabs_launcher.tables import ADDRESS_RING, AddressRow, AttemptRow, LaunchTimeRow, TransitionRow

COLUMNS = [getattr(AttemptRow, item.name) for item in fields(AttemptRecord)]
MOMENT_COLUMNS = [getattr(TransitionRow, item.name) for item in fields(Moment)]
RECENT = 20
"""Launches of one version and size that the expectation is made of."""
KEPT = 200
"""Launch times kept for one version and size."""


def _record(row: Row[Any]) -> AttemptRecord:
    return AttemptRecord(**row._mapping)  # noqa: SLF001 - public, in spite of its name


async def add(session: AsyncSession, attempt: AttemptRecord) -> None:
    """Store a new attempt; one that exists stays as it is."""
    await session.execute(insert(AttemptRow).values(**asdict(attempt)).on_conflict_do_nothing())


async def get(session: AsyncSession, lab_id: str, attempt: int) -> AttemptRecord | None:
    """Return one attempt."""
    found = select(*COLUMNS).where(AttemptRow.lab_id == lab_id, AttemptRow.attempt == attempt)
    row = (await session.execute(found)).first()
    return _record(row) if row else None


async def change(session: AsyncSession, lab_id: str, attempt: int, **values: Any) -> None:
    """Change an attempt."""
    await session.execute(
        update(AttemptRow).where(AttemptRow.lab_id == lab_id, AttemptRow.attempt == attempt).values(**values)
    )


async def add_moments(session: AsyncSession, lab_id: str, attempt: int, moments: Iterable[Moment]) -> None:
    """Append transitions."""
    rows = [{"lab_id": lab_id, "attempt": attempt, **asdict(moment)} for moment in moments]
    if rows:
        await session.execute(insert(TransitionRow).values(rows))


async def moments(session: AsyncSession, lab_id: str, attempt: int) -> list[Moment]:
    """Return an attempt's transitions in their order."""
    found = (
        select(*MOMENT_COLUMNS)
        .where(TransitionRow.lab_id == lab_id, TransitionRow.attempt == attempt)
        .order_by(TransitionRow.id)
    )
    return [Moment(**row._mapping) for row in await session.execute(found)]  # noqa: SLF001


async def untraced(session: AsyncSession, limit: int) -> list[AttemptRecord]:
    """Return attempts that became ready or ended and whose spans are not known to be sent."""
    found = (
        select(*COLUMNS)
        .where(
            text("NOT attempts.traced"),
            AttemptRow.ready_at.is_not(None) | AttemptRow.ended_at.is_not(None),
        )
        .limit(limit)
    )
    return [_record(row) for row in await session.execute(found)]


async def take_address(
    session: AsyncSession,
    lab_id: str,
    attempt: int,
    *,
    first: int,
    last: int,
    rested_before: datetime,
) -> int:
    """Return a port of the ring for an attempt, the same however often it asks.

    Raises `NoAddressLeftError` after one round of the ring.
    """
    mine = select(AddressRow.port).where(AddressRow.lab_id == lab_id, AddressRow.attempt == attempt)
    port = (await session.execute(mine)).scalar()
    if port is not None:
        return int(port)
    length = last - first + 1
    for _ in range(length):
        port = first + int(await session.scalar(select(ADDRESS_RING.next_value())) or 0) % length
        fresh = insert(AddressRow).values(port=port, lab_id=lab_id, attempt=attempt, released_at=None)
        statement = fresh.on_conflict_do_update(
            index_elements=[AddressRow.port],
            set_={"lab_id": lab_id, "attempt": attempt, "released_at": None},
            where=AddressRow.released_at < rested_before,
        ).returning(AddressRow.port)
        if (await session.execute(statement)).first() is not None:
            return port
    raise NoAddressLeftError(f"all {length} ports of the ring are taken or rest")


async def release_address(session: AsyncSession, lab_id: str, attempt: int, *, at: datetime) -> None:
    """Let an attempt's port rest from this moment on."""
    await session.execute(
        update(AddressRow)
        .where(AddressRow.lab_id == lab_id, AddressRow.attempt == attempt, AddressRow.released_at.is_(None))
        .values(released_at=at)
    )


async def add_launch_time(
    session: AsyncSession,
    lab_id: str,
    attempt: int,
    *,
    of: tuple[str, str, str],
    ready_at: datetime,
    phases: dict[str, float],
) -> None:
    """Remember how long a launch of (datalab, version, size) took."""
    datalab, version, size = of
    await session.execute(
        insert(LaunchTimeRow)
        .values(
            lab_id=lab_id,
            attempt=attempt,
            datalab=datalab,
            version=version,
            size=size,
            ready_at=ready_at,
            phases=phases,
        )
        .on_conflict_do_nothing()
    )


async def launch_times(
    session: AsyncSession, datalab: str, version: str, size: str
) -> list[dict[str, float]]:
    """Return the phases of the most recent launches."""
    found = (
        select(LaunchTimeRow.phases)
        .where(LaunchTimeRow.datalab == datalab, LaunchTimeRow.version == version, LaunchTimeRow.size == size)
        .order_by(LaunchTimeRow.ready_at.desc())
        .limit(RECENT)
    )
    return list((await session.execute(found)).scalars())


async def prune(
    session: AsyncSession, lab_ids: Sequence[str], *, logs_before: datetime, times_before: datetime
) -> None:
    """Remove what belonged to removed labs, the old logs of kept ones, and old launch times."""
    await session.execute(
        update(AttemptRow)
        .where(AttemptRow.ended_at < logs_before, text("attempts.log_lines <> '[]'"))
        .values(log_lines=[], log_truncated=True)
    )
    await session.execute(delete(LaunchTimeRow).where(LaunchTimeRow.ready_at < times_before))
    if lab_ids:
        await session.execute(delete(TransitionRow).where(TransitionRow.lab_id.in_(lab_ids)))
        await session.execute(delete(AttemptRow).where(AttemptRow.lab_id.in_(lab_ids)))
