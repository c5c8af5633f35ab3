"""How long labs ran, and the rules of people's labs."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import cast

from sqlalchemy import ARRAY, String, Table, any_, bindparam, delete, func, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from datalabs_launcher.models import Policy
from datalabs_launcher.tables import PolicyRow, RunTimeRow
from datalabs_runtime.direct import Direct, Plain

RUN_TIMES, POLICIES = cast(Table, RunTimeRow.__table__), cast(Table, PolicyRow.__table__)
POLICIES_OF = Plain(
    select(*(POLICIES.c[item.name] for item in fields(Policy))).where(
        POLICIES.c.owner == any_(bindparam("owners", type_=ARRAY(String)))
    )
)
FEWEST = 3
"""Runs of one kind from which a usual time is read."""


async def add(
    session: AsyncSession,
    lab_id: str,
    attempt: int,
    *,
    of: tuple[str, str, str],
    ended_at: datetime,
    seconds: float,
) -> None:
    """Remember how long an attempt of (datalab, version, size) ran."""
    datalab, version, size = of
    await session.execute(
        insert(RUN_TIMES)
        .values(
            lab_id=lab_id,
            attempt=attempt,
            datalab=datalab,
            version=version,
            size=size,
            ended_at=ended_at,
            seconds=seconds,
        )
        .on_conflict_do_nothing()
    )


async def usual(
    session: AsyncSession, kinds: Iterable[tuple[str, str, str]], *, since: datetime
) -> dict[tuple[str, str, str], float]:
    """Return the median seconds of runs since a moment, for kinds that ran often enough."""
    wanted = sorted(set(kinds))
    if not wanted:
        return {}
    of = (RUN_TIMES.c.datalab, RUN_TIMES.c.version, RUN_TIMES.c.size)
    median = func.percentile_cont(0.5).within_group(RUN_TIMES.c.seconds)
    found = (
        select(*of, median.label("seconds"))
        .where(tuple_(*of).in_(wanted), RUN_TIMES.c.ended_at >= since)
        .group_by(*of)
        .having(func.count() >= FEWEST)
    )
    return {(row.datalab, row.version, row.size): float(row.seconds) for row in await session.execute(found)}


async def prune(session: AsyncSession, before: datetime) -> None:
    """Forget old runs."""
    await session.execute(delete(RUN_TIMES).where(RUN_TIMES.c.ended_at < before))


async def policy(session: AsyncSession, owner: str) -> Policy:
    """Return the rules of one person's labs; nothing of their own when none were set."""
    return (await policies(session, [owner]))[owner]


async def policies(where: AsyncSession | Direct, owners: Sequence[str]) -> dict[str, Policy]:
    """Return the rules of some people's labs, by owner."""
    rows = await POLICIES_OF.on(where, {"owners": sorted(set(owners))})
    found = [Policy(**row._asdict()) for row in rows]
    return {**{owner: Policy(owner=owner) for owner in owners}, **{one.owner: one for one in found}}


async def set_policy(session: AsyncSession, rules: Policy) -> None:
    """Store the rules of one person's labs."""
    values = asdict(rules)
    statement = insert(POLICIES).values(values)
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=[POLICIES.c.owner],
            set_={name: value for name, value in values.items() if name != "owner"},
        )
    )
