"""Readiness of environments in the database."""

from collections.abc import Iterable
from dataclasses import asdict, fields
from typing import Any, cast

from sqlalchemy import Row, Table, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from datalabs_launcher.models import EnvironmentRecord
from datalabs_launcher.tables import EnvironmentRow

ENVIRONMENTS = cast(Table, EnvironmentRow.__table__)
COLUMNS = [ENVIRONMENTS.c[item.name] for item in fields(EnvironmentRecord)]


def _record(row: Row[Any]) -> EnvironmentRecord:
    return EnvironmentRecord(**row._mapping)  # noqa: SLF001 - public, in spite of its name


async def put(session: AsyncSession, record: EnvironmentRecord) -> EnvironmentRecord:
    """Store how far an environment is, with a raised revision."""
    values = asdict(record)
    fresh = insert(ENVIRONMENTS).values(**{**values, "revision": 1})
    changed = {key: getattr(fresh.excluded, key) for key in values if key not in {"datalab", "version"}}
    statement = fresh.on_conflict_do_update(
        index_elements=[ENVIRONMENTS.c.datalab, ENVIRONMENTS.c.version],
        set_={**changed, "revision": ENVIRONMENTS.c.revision + 1},
    ).returning(*COLUMNS)
    return _record((await session.execute(statement)).one())


async def get(session: AsyncSession, datalab: str, version: str) -> EnvironmentRecord | None:
    """Return one environment."""
    found = select(*COLUMNS).where(ENVIRONMENTS.c.datalab == datalab, ENVIRONMENTS.c.version == version)
    row = (await session.execute(found)).first()
    return _record(row) if row else None


async def every(session: AsyncSession) -> list[EnvironmentRecord]:
    """Return all environments that are in the catalogue."""
    found = (
        select(*COLUMNS)
        .where(ENVIRONMENTS.c.withdrawn.is_(False))
        .order_by(ENVIRONMENTS.c.datalab, ENVIRONMENTS.c.version)
    )
    return [_record(row) for row in await session.execute(found)]


async def listed(
    session: AsyncSession, *, limit: int, after: tuple[str, str] | None
) -> list[EnvironmentRecord]:
    """Return a page of environments by datalab and version, after a sort key."""
    key = tuple_(ENVIRONMENTS.c.datalab, ENVIRONMENTS.c.version)
    found = select(*COLUMNS).where(ENVIRONMENTS.c.withdrawn.is_(False))
    if after is not None:
        found = found.where(key > after)
    rows = await session.execute(found.order_by(ENVIRONMENTS.c.datalab, ENVIRONMENTS.c.version).limit(limit))
    return [_record(row) for row in rows]


async def withdraw_others(session: AsyncSession, keep: Iterable[tuple[str, str]]) -> None:
    """Mark environments that are in the catalogue no more."""
    kept = list(keep)
    key = tuple_(ENVIRONMENTS.c.datalab, ENVIRONMENTS.c.version)
    statement = update(ENVIRONMENTS).values(withdrawn=True)
    await session.execute(statement.where(key.not_in(kept)) if kept else statement)
