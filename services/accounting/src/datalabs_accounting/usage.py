"""What was used: the ledger and the running labs, grouped and paged."""

from datetime import UTC, datetime, timedelta

from datalabs_accounting.errors import NobodysUsageError
from datalabs_accounting.models import After, UsageGroup, Window
from datalabs_accounting.reservations import Reservations
from datalabs_accounting.store import Store
from datalabs_contracts.cursors import decode_cursor, encode_cursor
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_contracts.usage import LimitsQuery, UsagePage, UsageQuery, UsageRow
from datalabs_runtime.clock import Clock
from datalabs_runtime.database import Database
from datalabs_runtime.identity import Identity

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class Usage:
    """Answers questions about the ledger."""

    def __init__(self, *, database: Database, clock: Clock, reservations: Reservations) -> None:
        self._database = database
        self._clock = clock
        self._reservations = reservations

    async def page(self, query: UsageQuery, *, caller: Identity) -> UsagePage:
        """Return one page of groups and the totals of the whole query.

        People see their own; operators and services anybody's, or without an owner everybody's. All pages of a list
        count running labs up to the moment of the first, so that the groups add up to the total.

        Raises `NobodysUsageError`, `ProblemError` (invalid_cursor).
        """
        sees_all = caller.is_operator or caller.service is not None
        owner = query.owner or (None if sees_all else caller.username)
        if owner is not None and not caller.may_see(owner):
            raise NobodysUsageError
        now, after = self._clock.now(), None
        if query.cursor is not None:
            now, after = _read_cursor(query)
        window = Window(owner=owner, since=query.since, until=query.until, now=now)
        async with self._database.reading() as session:
            store = Store(session)
            groups = await store.usage(window, query.by, after=after, limit=query.limit + 1)
            total = await store.total(window)
        items = groups[: query.limit]
        limits = None
        if owner is not None and owner == caller.username:
            limits = await self._reservations.limits(
                LimitsQuery(owner=owner, unlimited=caller.is_operator), caller=caller
            )
        return UsagePage(
            items=[_row(group, lab=group.key if query.by == "lab" else None) for group in items],
            next=_cursor(query, now, items[-1]) if len(groups) > query.limit else None,
            total=_row(total, lab=None),
            limits=limits,
        )


def _row(group: UsageGroup, *, lab: str | None) -> UsageRow:
    return UsageRow(
        labs=group.labs,
        seconds=float(group.seconds),
        core_seconds=float(group.core_seconds),
        gib_seconds=float(group.gib_seconds),
        lab=lab,
        name=group.name,
        attempts=group.attempts,
        running=group.running,
        day=group.day,
        size=group.size,
        datalab=group.datalab,
        started_at=group.started_at if lab else None,
        ended_at=group.ended_at if lab else None,
    )


def _cursor(query: UsageQuery, now: datetime, last: UsageGroup) -> str:
    started_at = last.started_at or EPOCH
    return encode_cursor(f"usage-{query.by}", _microseconds(now), _microseconds(started_at), last.key)


def _read_cursor(query: UsageQuery) -> tuple[datetime, After]:
    now, started_at, key = decode_cursor(f"usage-{query.by}", query.cursor or "", int, int, str)
    return _moment(now), After(key=key, started_at=_moment(started_at))


def _microseconds(moment: datetime) -> int:
    return (moment - EPOCH) // MICROSECOND


def _moment(microseconds: int) -> datetime:
    try:
        return EPOCH + timedelta(microseconds=microseconds)
    except OverflowError as error:
        raise ProblemError(ProblemCode.INVALID_CURSOR) from error
