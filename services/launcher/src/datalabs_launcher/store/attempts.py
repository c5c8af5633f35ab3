"""Attempts, their transitions, their addresses and how long they took."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, cast

from pydantic_core import to_json
from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Integer,
    Row,
    String,
    Table,
    TableValuedAlias,
    bindparam,
    column,
    delete,
    func,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy import cast as cast_to
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.dml import ReturningInsert

from datalabs_contracts.labs import LabState, Reason
from datalabs_launcher.models import AttemptRecord, Moment
from datalabs_launcher.store.labs import LABS
from datalabs_launcher.tables import (
    ADDRESS_RING,
    AddressRow,
    AttemptRow,
    LaunchTimeRow,
    TransitionRow,
)
from datalabs_runtime.direct import Direct, Plain

ATTEMPTS, TRANSITIONS = cast(Table, AttemptRow.__table__), cast(Table, TransitionRow.__table__)
ADDRESSES, LAUNCH_TIMES = cast(Table, AddressRow.__table__), cast(Table, LaunchTimeRow.__table__)
COLUMNS = [ATTEMPTS.c[item.name] for item in fields(AttemptRecord)]
GET = select(*COLUMNS).where(
    ATTEMPTS.c.lab_id == bindparam("of_lab"), ATTEMPTS.c.attempt == bindparam("of_attempt")
)
MOMENTS = (
    select(*(TRANSITIONS.c[item.name] for item in fields(Moment)))
    .where(TRANSITIONS.c.lab_id == bindparam("of_lab"), TRANSITIONS.c.attempt == bindparam("of_attempt"))
    .order_by(TRANSITIONS.c.id)
)
Key = tuple[str, int]
"""Lab and attempt."""
TOLD = [item.name for item in fields(AttemptRecord) if not item.name.startswith("log_")]


def _wanted() -> TableValuedAlias:
    """Return attempts given as two arrays, as rows: one text for any number."""
    return (
        func.unnest(bindparam("lab_ids", type_=ARRAY(String)), bindparam("attempts", type_=ARRAY(Integer)))
        .table_valued("lab_id", "attempt")
        .render_derived()
    )


def _among(table: Table) -> ColumnElement[bool]:
    """Return the condition that a row is of one of the attempts that were given."""
    wanted = _wanted()
    return tuple_(table.c.lab_id, table.c.attempt).in_(select(wanted.c.lab_id, wanted.c.attempt))


def _take_ports() -> ReturningInsert[Any]:
    """Give each attempt that has none the next port of the ring, where that one is free and rested."""
    wanted = _wanted()
    taken = (
        select(ADDRESSES.c.port)
        .where(ADDRESSES.c.lab_id == wanted.c.lab_id, ADDRESSES.c.attempt == wanted.c.attempt)
        .exists()
    )
    next_port = bindparam("first", type_=BigInteger) + ADDRESS_RING.next_value() % bindparam(
        "length", type_=BigInteger
    )
    rows = select(cast_to(next_port, Integer), wanted.c.lab_id, wanted.c.attempt).where(~taken)
    insertion = insert(ADDRESSES).from_select(["port", "lab_id", "attempt"], rows)
    new = insertion.excluded
    return insertion.on_conflict_do_update(
        index_elements=[ADDRESSES.c.port],
        set_={"lab_id": new.lab_id, "attempt": new.attempt, "released_at": None},
        where=ADDRESSES.c.released_at < bindparam("rested", type_=ADDRESSES.c.released_at.type),
    ).returning(ADDRESSES.c.port, ADDRESSES.c.lab_id, ADDRESSES.c.attempt)


TAKE_PORTS = Plain(_take_ports())
PORTS_OF = Plain(select(ADDRESSES.c.port, ADDRESSES.c.lab_id, ADDRESSES.c.attempt).where(_among(ADDRESSES)))
_TIMES = (
    func.jsonb_to_recordset(cast_to(bindparam("given"), JSONB))
    .table_valued(*(column(name, kind.type) for name, kind in LAUNCH_TIMES.c.items()))
    .render_derived(name="g", with_types=True)
)
ADD_LAUNCH_TIMES = Plain(
    insert(LAUNCH_TIMES).from_select(list(LAUNCH_TIMES.c.keys()), select(_TIMES)).on_conflict_do_nothing()
)
FINISHED = Plain(
    select(
        *(ATTEMPTS.c[name] for name in TOLD),
        LABS.c.datalab,
        LABS.c.version,
        LABS.c.size,
        LABS.c.attempt.label("newest"),
        LABS.c.reason,
    )
    .join(LABS, LABS.c.id == ATTEMPTS.c.lab_id)
    .where(_among(ATTEMPTS))
)
MOMENTS_OF = Plain(
    select(
        TRANSITIONS.c.lab_id, TRANSITIONS.c.attempt, *(TRANSITIONS.c[item.name] for item in fields(Moment))
    )
    .where(_among(TRANSITIONS))
    .order_by(TRANSITIONS.c.id)
)
MARK_TRACED = update(ATTEMPTS).where(_among(ATTEMPTS)).values(traced=True)
RECENT = 20
"""Launches of one version and size that the expectation is made of."""
KEPT = 200
"""Launch times kept for one version and size."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """An attempt whose launch is over; `newest`: its lab has no later one, and then `reason` is its end's."""

    attempt: AttemptRecord
    moments: list[Moment]
    datalab: str
    version: str
    size: str
    newest: bool
    reason: Reason | None


def _record(row: Row[Any]) -> AttemptRecord:
    return AttemptRecord(**row._mapping)  # noqa: SLF001 - public, in spite of its name


async def add(session: AsyncSession, attempt: AttemptRecord) -> None:
    """Store a new attempt; one that exists stays as it is."""
    await session.execute(insert(ATTEMPTS).values(**asdict(attempt)).on_conflict_do_nothing())


async def get(session: AsyncSession, lab_id: str, attempt: int) -> AttemptRecord | None:
    """Return one attempt."""
    row = (await session.execute(GET, {"of_lab": lab_id, "of_attempt": attempt})).first()
    return _record(row) if row else None


async def add_moments(session: AsyncSession, lab_id: str, attempt: int, moments: Iterable[Moment]) -> None:
    """Append transitions."""
    rows = [{"lab_id": lab_id, "attempt": attempt, **asdict(moment)} for moment in moments]
    if rows:
        await session.execute(insert(TRANSITIONS).values(rows))


async def moments(session: AsyncSession, lab_id: str, attempt: int) -> list[Moment]:
    """Return an attempt's transitions in their order."""
    rows = await session.execute(MOMENTS, {"of_lab": lab_id, "of_attempt": attempt})
    return [Moment(**row._mapping) for row in rows]  # noqa: SLF001 - public, in spite of its name


async def finished(where: AsyncSession | Direct, keys: Sequence[Key]) -> list[Finished]:
    """Return these attempts (without their logs) with what is said of their launches, as far as they exist."""
    rows = await FINISHED.on(where, _keys(keys))
    moments: dict[Key, list[Moment]] = {}
    for row in await MOMENTS_OF.on(where, _keys(keys)):
        values = {item.name: getattr(row, item.name) for item in fields(Moment)}
        reason = Reason(row.reason) if row.reason else None
        moment = Moment(**{**values, "state": LabState(row.state), "reason": reason})
        moments.setdefault((row.lab_id, row.attempt), []).append(moment)
    return [
        Finished(
            attempt=AttemptRecord(**{name: getattr(row, name) for name in TOLD}),
            moments=moments.get((row.lab_id, row.attempt), []),
            datalab=row.datalab,
            version=row.version,
            size=row.size,
            newest=row.newest == row.attempt,
            reason=Reason(row.reason) if row.reason else None,
        )
        for row in rows
    ]


async def traced(session: AsyncSession, keys: Sequence[Key]) -> None:
    """Note that the spans of these attempts are sent."""
    if keys:
        await session.execute(MARK_TRACED, _keys(keys))


def _keys(keys: Sequence[Key]) -> dict[str, list[Any]]:
    return {"lab_ids": [lab_id for lab_id, _ in keys], "attempts": [attempt for _, attempt in keys]}


async def untraced(session: AsyncSession, limit: int) -> list[Key]:
    """Return attempts that became ready or ended and whose spans are not known to be sent."""
    found = (
        select(ATTEMPTS.c.lab_id, ATTEMPTS.c.attempt)
        .where(
            text("NOT attempts.traced"),
            ATTEMPTS.c.ready_at.is_not(None) | ATTEMPTS.c.ended_at.is_not(None),
        )
        .limit(limit)
    )
    return [(row.lab_id, row.attempt) for row in await session.execute(found)]


async def take_addresses(
    where: AsyncSession | Direct, keys: Sequence[Key], *, first: int, last: int, rested_before: datetime
) -> dict[Key, int]:
    """Return a port of the ring for each attempt, the same however often it asks; none after one round of the ring."""
    length = last - first + 1
    ports: dict[Key, int] = {}
    for _ in range(length):
        missing = [key for key in dict.fromkeys(keys) if key not in ports][
            :length
        ]  # a port a statement, at most
        if not missing:
            break
        rested = {"first": first, "length": length, "rested": rested_before}
        taken = list(await TAKE_PORTS.on(where, {**_keys(missing), **rested}))
        if len(taken) < len(missing):  # the others have one already, or that one is not free
            taken += await PORTS_OF.on(where, _keys(missing))
        ports |= {(lab_id, attempt): port for port, lab_id, attempt in taken}
    return ports


async def release_address(session: AsyncSession, lab_id: str, attempt: int, *, at: datetime) -> None:
    """Let an attempt's port rest from this moment on."""
    await session.execute(
        update(ADDRESSES)
        .where(
            ADDRESSES.c.lab_id == lab_id, ADDRESSES.c.attempt == attempt, ADDRESSES.c.released_at.is_(None)
        )
        .values(released_at=at)
    )


async def release_forgotten(session: AsyncSession, *, at: datetime) -> None:
    """Let ports rest whose lab has ended or went on to another attempt: they were taken when it was just ending."""
    lives = (
        select(LABS.c.id)
        .where(
            LABS.c.id == ADDRESSES.c.lab_id,
            LABS.c.attempt == ADDRESSES.c.attempt,
            text("labs.state NOT IN ('stopped', 'failed')"),
        )
        .exists()
    )
    await session.execute(
        update(ADDRESSES).where(ADDRESSES.c.released_at.is_(None), ~lives).values(released_at=at)
    )


async def add_launch_times(
    where: AsyncSession | Direct, launches: Sequence[tuple[Finished, dict[str, float]]]
) -> None:
    """Remember how long each phase of these launches took."""
    rows = [
        {
            "lab_id": one.attempt.lab_id,
            "attempt": one.attempt.attempt,
            "datalab": one.datalab,
            "version": one.version,
            "size": one.size,
            "ready_at": one.attempt.ready_at,
            "phases": seconds,
        }
        for one, seconds in launches
    ]
    if rows:
        await ADD_LAUNCH_TIMES.on(where, {"given": to_json(rows).decode()})


async def launch_times(
    session: AsyncSession, datalab: str, version: str, size: str, *, beside: str = ""
) -> list[dict[str, float]]:
    """Return the phases of the most recent launches, those of the lab `beside` which others are looked for left out."""
    found = (
        select(LAUNCH_TIMES.c.phases)
        .where(
            LAUNCH_TIMES.c.datalab == datalab,
            LAUNCH_TIMES.c.version == version,
            LAUNCH_TIMES.c.size == size,
            LAUNCH_TIMES.c.lab_id != beside,
        )
        .order_by(LAUNCH_TIMES.c.ready_at.desc())
        .limit(RECENT)
    )
    return list((await session.execute(found)).scalars())


async def prune(
    session: AsyncSession, lab_ids: Sequence[str], *, logs_before: datetime, times_before: datetime
) -> None:
    """Remove what belonged to removed labs, the old logs of kept ones, and old launch times."""
    await session.execute(
        update(ATTEMPTS)
        .where(ATTEMPTS.c.ended_at < logs_before, text("attempts.log_lines <> '[]'"))
        .values(log_lines=[], log_truncated=True)
    )
    await session.execute(delete(LAUNCH_TIMES).where(LAUNCH_TIMES.c.ready_at < times_before))
    if lab_ids:
        await session.execute(delete(TRANSITIONS).where(TRANSITIONS.c.lab_id.in_(lab_ids)))
        await session.execute(delete(ATTEMPTS).where(ATTEMPTS.c.lab_id.in_(lab_ids)))
