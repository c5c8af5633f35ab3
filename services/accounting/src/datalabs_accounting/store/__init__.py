"""All of accounting's SQL. A store works within the transaction of the session that it is given."""

from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Date,
    Interval,
    Numeric,
    Select,
    String,
    Table,
    and_,
    cast,
    delete,
    func,
    literal,
    or_,
    select,
    tuple_,
    union_all,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from datalabs_accounting.models import (
    After,
    Attempt,
    Override,
    Reservation,
    UsageGroup,
    Window,
)
from datalabs_accounting.tables import ledger, overrides, reservations, running
from datalabs_contracts.usage import UsageBy

KEYS = ("lab_id", "attempt")
LIFE = ("lab_id", "attempt", "name", "datalab", "size", "cores", "memory_mib", "started_at")
"""What the ledger and the running attempts have in common, as far as usage needs it."""
MIB_PER_GIB = 1024
DAY = timedelta(days=1)


class Store:
    """The ledger, the running attempts, reservations and limits."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def lock(self, what: str) -> None:
        """Let transactions that lock the same word go one after the other; freed when this one ends."""
        await self._session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(what, 0))))

    async def close(self, lab_id: str, attempt: int) -> None:
        """Forget that an attempt runs."""
        await self._session.execute(
            delete(running).where(running.c.lab_id == lab_id, running.c.attempt == attempt)
        )

    async def enter(self, attempt: Attempt) -> bool:
        """Enter an ended attempt in the ledger; return whether it was not there before."""
        statement = (
            upsert(ledger)
            .values(**_columns(attempt, ledger))
            .on_conflict_do_nothing()
            .returning(ledger.c.attempt)
        )
        return (await self._session.execute(statement)).first() is not None

    async def release(self, lab_id: str, attempt: int) -> None:
        """Free the reservation of an attempt."""
        await self._session.execute(
            delete(reservations).where(reservations.c.lab_id == lab_id, reservations.c.attempt == attempt)
        )

    async def reservations(self, *, confirmed_before: datetime) -> set[Reservation]:
        """Return the reservations that are no longer fresh."""
        statement = select(reservations.c.lab_id, reservations.c.attempt).where(
            reservations.c.confirmed_at < confirmed_before
        )
        return {
            Reservation(lab_id=row.lab_id, attempt=row.attempt)
            for row in await self._session.execute(statement)
        }

    async def release_all(self, gone: set[Reservation], *, confirmed_before: datetime) -> int:
        """Free these unless they were confirmed meanwhile; return how many."""
        if not gone:
            return 0
        keys = [(one.lab_id, one.attempt) for one in gone]
        statement = (
            delete(reservations)
            .where(tuple_(reservations.c.lab_id, reservations.c.attempt).in_(keys))
            .where(reservations.c.confirmed_at < confirmed_before)
            .returning(reservations.c.lab_id)
        )
        return len((await self._session.execute(statement)).all())

    async def set_override(self, owner: str, override: Override) -> None:
        """Set one person's limits where they differ from the site's."""
        columns = {
            "unlimited": override.unlimited,
            "max_labs": override.labs,
            "max_cores": override.cores,
            "max_memory_mib": override.memory_mib,
        }
        statement = upsert(overrides).values(owner=owner, **columns)
        await self._session.execute(
            statement.on_conflict_do_update(index_elements=[overrides.c.owner], set_=columns)
        )

    async def usage(
        self, window: Window, by: UsageBy, *, after: After | None, limit: int
    ) -> list[UsageGroup]:
        """Return groups of usage: labs and days newest first, sizes and datalabs by name."""
        groups = _groups(window, by).subquery()
        key = groups.c.key
        statement = select(groups).limit(limit)
        if by is UsageBy.LAB:
            statement = statement.order_by(groups.c.started_at.desc(), key.desc())
            if after:
                behind = tuple_(literal(after.started_at), literal(after.key))
                statement = statement.where(tuple_(groups.c.started_at, key) < behind)
        elif by is UsageBy.DAY:
            statement = statement.order_by(key.desc())
            statement = statement.where(key < after.key) if after else statement
        else:
            statement = statement.order_by(key)
            statement = statement.where(key > after.key) if after else statement
        return [_group(row, by) for row in await self._session.execute(statement)]

    async def total(self, window: Window) -> UsageGroup:
        """Return the sums over all groups."""
        pieces = _pieces(window, by=None)
        statement = select(literal("").label("key"), *_sums(pieces))
        return _group((await self._session.execute(statement)).one(), None)


def _columns(attempt: Attempt, table: Table) -> dict[str, Any]:
    return {column.name: getattr(attempt, column.name) for column in table.columns}


def _lives(window: Window) -> CTE:
    """Return the attempts that overlap the window, running ones up to now."""
    ended_by_now = func.greatest(running.c.started_at, literal(window.now))
    sides = []
    for table, ended_at, runs in ((ledger, ledger.c.ended_at, False), (running, ended_by_now, True)):
        side = select(
            *(table.c[name] for name in LIFE), ended_at.label("ended_at"), literal(runs).label("running")
        )
        if window.owner is not None:
            side = side.where(table.c.owner == window.owner)
        if window.until is not None:
            side = side.where(table.c.started_at < window.until)
        if window.since is not None:
            at_once = and_(ended_at == table.c.started_at, table.c.started_at >= window.since)
            side = side.where(or_(ended_at > window.since, at_once))
        sides.append(side)
    return union_all(*sides).cte("lives")


def _pieces(window: Window, by: UsageBy | None) -> CTE:
    """Return the attempts cut to the window and, by day, at each UTC midnight; `seconds` is exact."""
    lives = _lives(window)
    begin: ColumnElement[datetime] = lives.c.started_at
    end: ColumnElement[datetime] = lives.c.ended_at
    if window.since is not None:
        begin = func.greatest(begin, literal(window.since))
    if window.until is not None:
        end = func.least(end, literal(window.until))
    # Without a zone (in UTC) the arithmetic of days knows no summer time, whatever the server's zone is.
    begin, end = func.timezone("UTC", begin), func.timezone("UTC", end)
    cut = select(*lives.c, begin.label("begin_at"), end.label("end_at")).cte("cut")
    if by is not UsageBy.DAY:
        return select(*cut.c, _seconds(cut.c.end_at - cut.c.begin_at)).cte("pieces")
    midnights = func.generate_series(
        func.date_trunc("day", cut.c.begin_at), cut.c.end_at, cast(DAY, Interval)
    )
    days = select(*cut.c, midnights.label("midnight")).cte("days")
    from_at = func.greatest(days.c.begin_at, days.c.midnight)
    to_at = func.least(days.c.end_at, days.c.midnight + cast(DAY, Interval))
    return (
        select(*days.c, cast(days.c.midnight, Date).label("day"), _seconds(to_at - from_at))
        .where(or_(to_at > from_at, days.c.begin_at == days.c.end_at))
        .cte("pieces")
    )


def _seconds(interval: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.extract("epoch", interval).cast(Numeric).label("seconds")


def _groups(window: Window, by: UsageBy) -> Select[Any]:
    pieces = _pieces(window, by)
    keys: dict[UsageBy, ColumnElement[Any]] = {
        UsageBy.LAB: pieces.c.lab_id,
        UsageBy.SIZE: pieces.c.size,
        UsageBy.DATALAB: pieces.c.datalab,
    }
    key = keys[by] if by in keys else cast(pieces.c.day, String)
    columns = [key.label("key"), *_sums(pieces)]
    if by is UsageBy.LAB:
        columns += [_newest(pieces, name) for name in ("name", "size", "datalab")]
    return select(*columns).group_by(key)


def _sums(pieces: CTE) -> list[ColumnElement[Any]]:
    seconds = func.coalesce(func.sum(pieces.c.seconds), 0)
    cores = func.coalesce(func.sum(pieces.c.seconds * cast(pieces.c.cores, Numeric)), 0)
    mib = func.coalesce(func.sum(pieces.c.seconds * pieces.c.memory_mib), 0)
    return [
        func.count(pieces.c.lab_id.distinct()).label("labs"),
        func.count(tuple_(pieces.c.lab_id, pieces.c.attempt).distinct()).label("attempts"),
        func.coalesce(func.bool_or(pieces.c.running), False).label("running"),
        seconds.label("seconds"),
        cores.label("core_seconds"),
        (mib / MIB_PER_GIB).label("gib_seconds"),
        func.min(pieces.c.started_at).label("started_at"),
        func.max(pieces.c.ended_at).label("ended_at"),
    ]


def _newest(pieces: CTE, name: str) -> ColumnElement[Any]:
    """Return what holds in the newest attempt: a restart may change name and size."""
    return func.array_agg(aggregate_order_by(pieces.c[name], pieces.c.attempt.desc()))[1].label(name)


def _group(row: Any, by: UsageBy | None) -> UsageGroup:
    return UsageGroup(
        key=row.key,
        labs=row.labs,
        attempts=row.attempts,
        running=row.running,
        seconds=row.seconds,
        core_seconds=row.core_seconds,
        gib_seconds=row.gib_seconds,
        started_at=row.started_at,
        ended_at=None if row.running else row.ended_at,
        day=date.fromisoformat(row.key) if by is UsageBy.DAY else None,
        name=row.name if by is UsageBy.LAB else None,
        size={UsageBy.LAB: getattr(row, "size", None), UsageBy.SIZE: row.key}.get(by) if by else None,
        datalab={UsageBy.LAB: getattr(row, "datalab", None), UsageBy.DATALAB: row.key}.get(by)
        if by
        else None,
    )
