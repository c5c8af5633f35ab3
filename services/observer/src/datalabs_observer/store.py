"""All of the observer's SQL. A store works within the transaction of the session that it is given."""

import json
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, delete, literal, or_, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncSession

from datalabs_contracts.observations import (
    DeadLetter,
    DeadLetterState,
    EventsQuery,
    Span,
    StoredEvent,
    TracesQuery,
    TraceSummary,
)
from datalabs_observer.models import LAB_ID, KeptEvent, KeptSpan, Letter, Shelf
from datalabs_observer.tables import dead_letters, events, shelves, spans, traces
from datalabs_observer.times import NANOSECONDS, from_nanoseconds

AWAY = (OperationalError, InterfaceError, PoolTimeoutError, OSError, TimeoutError)
"""What is raised while the database is away."""

# One parameter holds the whole batch: a statement with thousands of parameters takes longer to build than to run. And
# one statement does all that belongs to a batch: each further one costs a round trip and the rows' way there and back.
ADD_EVENTS = text(
    """
    WITH fresh AS (
        INSERT INTO events (id, type, entity, entity_id, fact, subject, source, owner, time, sequence, trace_id, data,
            bytes)
        SELECT id, type, entity, entity_id, fact, subject, source, owner, time, sequence, trace_id, data, bytes
        FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(id text, type text, entity text, entity_id text, fact text,
            subject text, source text, owner text, time timestamptz, sequence bigint, trace_id text, data jsonb,
            bytes int)
        ON CONFLICT DO NOTHING RETURNING bytes
    )
    INSERT INTO shelves AS old (name, bytes) SELECT :shelf, sum(bytes) FROM fresh HAVING count(*) > 0
    ON CONFLICT (name) DO UPDATE SET bytes = old.bytes + EXCLUDED.bytes
    """
)
ADD_SPANS = text(
    """
    WITH fresh AS (
        INSERT INTO spans (trace_id, span_id, joins, parent_id, name, kind, service, start_ns, end_ns, status,
            status_message, attributes, events, bytes)
        SELECT trace_id, span_id, joins, parent_id, name, kind, service, start_ns, end_ns, status, status_message,
            attributes, events, bytes
        FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(trace_id text, span_id text, joins text, parent_id text,
            name text, kind text, service text, start_ns bigint, end_ns bigint, status text, status_message text,
            attributes jsonb, events jsonb, bytes int)
        ON CONFLICT DO NOTHING
        RETURNING trace_id, span_id, parent_id IS NULL AS root, name, service, start_ns, end_ns, status, bytes,
            NULLIF(left(attributes ->> :lab_id, 64), '') AS lab_id
    ), parts AS (
        INSERT INTO traces AS old (trace_id, name, service, rooted, start_ns, end_ns, spans, errors, lab_id, bytes)
        SELECT trace_id, (array_agg(name ORDER BY root DESC, start_ns, span_id))[1],
            (array_agg(service ORDER BY root DESC, start_ns, span_id))[1], bool_or(root), min(start_ns), max(end_ns),
            count(*), count(*) FILTER (WHERE status = 'error'), max(lab_id), sum(bytes)
        FROM fresh GROUP BY trace_id ORDER BY trace_id
        ON CONFLICT (trace_id) DO UPDATE SET
            (name, service) = (
                SELECT (CASE WHEN better THEN EXCLUDED.name ELSE old.name END),
                    (CASE WHEN better THEN EXCLUDED.service ELSE old.service END)
                FROM (SELECT (EXCLUDED.rooted AND NOT old.rooted)
                    OR (EXCLUDED.rooted = old.rooted AND EXCLUDED.start_ns < old.start_ns) AS better) AS choice
            ),
            rooted = EXCLUDED.rooted OR old.rooted,
            start_ns = LEAST(EXCLUDED.start_ns, old.start_ns),
            end_ns = GREATEST(EXCLUDED.end_ns, old.end_ns),
            spans = old.spans + EXCLUDED.spans,
            errors = old.errors + EXCLUDED.errors,
            lab_id = COALESCE(old.lab_id, EXCLUDED.lab_id),
            bytes = old.bytes + EXCLUDED.bytes
    )
    INSERT INTO shelves AS old (name, bytes) SELECT :shelf, sum(bytes) FROM fresh HAVING count(*) > 0
    ON CONFLICT (name) DO UPDATE SET bytes = old.bytes + EXCLUDED.bytes
    """
)
SPAN_COLUMNS = tuple(column.name for column in spans.columns)


class Store:
    """Events, spans, traces and dead letters."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add_events(self, kept: list[KeptEvent]) -> None:
        """Insert events that are not there yet, and count what they take."""
        rows = ",".join(f'{json.dumps(one.row)[:-1]}, "data": {one.data}}}' for one in kept)
        await self._session.execute(ADD_EVENTS, {"rows": f"[{rows}]", "shelf": Shelf.EVENTS})

    async def events(
        self, query: EventsQuery, *, after: tuple[datetime, str] | None, limit: int
    ) -> list[StoredEvent]:
        """Return events, newest first, from behind this one."""
        statement = select(events).order_by(events.c.time.desc(), events.c.id.desc()).limit(limit)
        for name in ("entity", "entity_id", "fact", "owner", "trace_id"):
            wanted = getattr(query, name)
            if wanted is not None:
                statement = statement.where(events.c[name] == wanted)
        if query.since is not None:
            statement = statement.where(events.c.time >= query.since)
        if query.until is not None:
            statement = statement.where(events.c.time < query.until)
        if after is not None:
            statement = statement.where(tuple_(events.c.time, events.c.id) < _key(*after))
        rows = await self._session.execute(statement)
        return [StoredEvent.model_validate(dict(row._mapping)) for row in rows]  # noqa: SLF001 - its public API

    async def delete_events(self, *, before: datetime | None, limit: int) -> int:
        """Delete the oldest events, at most `limit`, with `before` only older ones; return how many."""
        oldest = select(events.c.id).order_by(events.c.time, events.c.id).limit(limit)
        if before is not None:
            oldest = oldest.where(events.c.time < before)
        statement = delete(events).where(events.c.id.in_(oldest)).returning(events.c.bytes)
        gone = (await self._session.execute(statement)).scalars().all()
        await self.shelve(Shelf.EVENTS, -sum(gone))
        return len(gone)

    async def add_spans(self, kept: list[KeptSpan]) -> None:
        """Insert spans that are not there yet, add them to the rows of their traces, and count what they take.

        A trace has the name of its root span, before one is there the earliest span's.
        """
        rows = json.dumps([{name: getattr(one, name) for name in SPAN_COLUMNS} for one in kept])
        await self._session.execute(ADD_SPANS, {"rows": rows, "shelf": Shelf.SPANS, "lab_id": LAB_ID})

    async def trace(self, trace_id: str, *, after: tuple[int, str] | None, limit: int) -> list[Span]:
        """Return spans of a trace and those that join it, oldest first, from behind this one."""
        statement = (
            select(spans)
            .where(or_(spans.c.trace_id == trace_id, spans.c.joins == trace_id))
            .order_by(spans.c.start_ns, spans.c.span_id)
            .limit(limit)
        )
        if after is not None:
            statement = statement.where(tuple_(spans.c.start_ns, spans.c.span_id) > _key(*after))
        rows = await self._session.execute(statement)
        return [Span.model_validate(dict(row._mapping)) for row in rows]  # noqa: SLF001 - its public API

    async def traces(
        self, query: TracesQuery, *, after: tuple[int, str] | None, limit: int
    ) -> list[tuple[int, TraceSummary]]:
        """Return traces with the sort key of each, newest first, from behind this one."""
        statement = select(traces).order_by(traces.c.start_ns.desc(), traces.c.trace_id.desc()).limit(limit)
        if query.lab_id is not None:
            statement = statement.where(traces.c.lab_id == query.lab_id)
        if query.service is not None or query.name is not None:
            statement = statement.where(_has_span(service=query.service, name=query.name))
        if query.errors_only:
            statement = statement.where(traces.c.errors > 0)
        if query.min_seconds is not None:
            least = min(query.min_seconds, 1e9) * NANOSECONDS
            statement = statement.where(traces.c.end_ns - traces.c.start_ns >= int(least))
        if after is not None:
            statement = statement.where(tuple_(traces.c.start_ns, traces.c.trace_id) < _key(*after))
        return [(row.start_ns, _summary(row)) for row in await self._session.execute(statement)]

    async def delete_traces(self, *, before_ns: int | None, limit: int) -> int:
        """Delete the oldest traces with their spans, at most `limit`; return how many."""
        oldest = select(traces.c.trace_id).order_by(traces.c.start_ns, traces.c.trace_id).limit(limit)
        if before_ns is not None:
            oldest = oldest.where(traces.c.start_ns < before_ns)
        statement = (
            delete(traces).where(traces.c.trace_id.in_(oldest)).returning(traces.c.trace_id, traces.c.bytes)
        )
        gone = (await self._session.execute(statement)).all()
        if gone:
            ids = [row.trace_id for row in gone]
            await self._session.execute(delete(spans).where(spans.c.trace_id.in_(ids)))
            await self.shelve(Shelf.SPANS, -sum(row.bytes for row in gone))
        return len(gone)

    async def shelf(self, shelf: Shelf) -> int:
        """Return how many bytes lie on a shelf."""
        statement = select(shelves.c.bytes).where(shelves.c.name == shelf)
        return int((await self._session.execute(statement)).scalar_one_or_none() or 0)

    async def shelve(self, shelf: Shelf, more: int) -> None:
        """Count bytes that came to a shelf, or with a negative number went."""
        if more:
            statement = upsert(shelves).values(name=shelf, bytes=more)
            await self._session.execute(
                statement.on_conflict_do_update(
                    index_elements=[shelves.c.name], set_={"bytes": shelves.c.bytes + more}
                )
            )

    async def add_letter(self, letter: Letter) -> None:
        """Insert a dead letter unless it is there."""
        statement = upsert(dead_letters).values(
            id=letter.id,
            sequence=letter.sequence,
            subject=letter.subject,
            consumer=letter.consumer,
            error=letter.error,
            deliveries=letter.deliveries,
            time=letter.time,
            state=DeadLetterState.OPEN,
            data=letter.data,
            headers=letter.headers,
        )
        await self._session.execute(statement.on_conflict_do_nothing())

    async def letters(self, *, after: tuple[datetime, str] | None, limit: int) -> list[DeadLetter]:
        """Return dead letters, newest first, from behind this one."""
        statement = (
            select(dead_letters).order_by(dead_letters.c.time.desc(), dead_letters.c.id.desc()).limit(limit)
        )
        if after is not None:
            statement = statement.where(tuple_(dead_letters.c.time, dead_letters.c.id) < _key(*after))
        return [_letter(row) for row in await self._session.execute(statement)]

    async def letter(self, letter_id: str) -> DeadLetter | None:
        """Return one dead letter."""
        statement = select(dead_letters).where(dead_letters.c.id == letter_id)
        row = (await self._session.execute(statement)).one_or_none()
        return _letter(row) if row else None

    async def mark_replayed(self, letter_id: str) -> None:
        """Note that a dead letter was published again."""
        statement = update(dead_letters).where(dead_letters.c.id == letter_id)
        await self._session.execute(statement.values(state=DeadLetterState.REPLAYED))

    async def delete_letters(self, *, before: datetime) -> int:
        """Delete dead letters that are too old; return how many."""
        statement = delete(dead_letters).where(dead_letters.c.time < before).returning(dead_letters.c.id)
        return len((await self._session.execute(statement)).all())


def _has_span(*, service: str | None, name: str | None) -> ColumnElement[bool]:
    """Return the condition that one span of the trace has this service and this name, as far as they are given."""
    found = select(spans.c.span_id).where(spans.c.trace_id == traces.c.trace_id)
    if service is not None:
        found = found.where(spans.c.service == service)
    if name is not None:
        found = found.where(spans.c.name == name)
    return found.exists()


def _key(*parts: Any) -> ColumnElement[Any]:
    return tuple_(*(literal(part) for part in parts))


def _summary(row: Any) -> TraceSummary:
    return TraceSummary(
        trace_id=row.trace_id,
        name=row.name,
        service=row.service,
        started_at=from_nanoseconds(row.start_ns),
        seconds=(row.end_ns - row.start_ns) / NANOSECONDS,
        spans=row.spans,
        errors=row.errors,
        lab_id=row.lab_id,
    )


def _letter(row: Any) -> DeadLetter:
    return DeadLetter(
        id=row.id,
        subject=row.subject,
        consumer=row.consumer,
        error=row.error,
        deliveries=row.deliveries,
        time=row.time,
        state=DeadLetterState(row.state),
        data=row.data,
        headers=row.headers,
    )
