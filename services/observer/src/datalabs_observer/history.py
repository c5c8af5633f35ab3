"""The event history: every fact of the platform, kept as it was on the stream."""

import asyncio
import contextlib
import hashlib
import json
from datetime import UTC, timedelta
from typing import Any

import structlog
from prometheus_client import Counter

from datalabs_contracts.base import Page
from datalabs_contracts.cursors import decode_cursor, encode_cursor
from datalabs_contracts.events import HEADER_TRACEPARENT
from datalabs_contracts.observations import EventsQuery, StoredEvent
from datalabs_observer.models import KeptEvent, Shelf, storable
from datalabs_observer.store import AWAY, Store
from datalabs_observer.times import microseconds, moment
from datalabs_runtime.clock import Clock
from datalabs_runtime.database import Database
from datalabs_runtime.messaging import Event

log = structlog.get_logger()

BATCH = 500
GATHER_SECONDS = 0.05
"""How long the first event of a batch waits for others: a transaction for each costs more than the events (measured)."""
AT_ONCE = 256
"""Events that wait to be written at once; so many make a batch."""
EVENTS_AT_ONCE = 2000
ROW_BYTES = 500
"""What a row and its index entries take beside its data, about."""
TRACEPARENT_PARTS = 4
ID_LENGTH = 64

stored = Counter("observer_events_stored", "Events written to the history.")

Waiting = tuple[KeptEvent, asyncio.Future[None]]


class History:
    """Keeps events in batches and gives pages of them; a part of the service."""

    name = "history"

    def __init__(self, *, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._waiting: asyncio.Queue[Waiting] = asyncio.Queue()
        self._writer: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to write in the background."""
        self._writer = asyncio.create_task(self._write(), name="history writer")

    async def aclose(self) -> None:
        """End; what is not written was not acknowledged either, and comes again."""
        if self._writer is not None:
            self._writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._writer
            self._writer = None

    async def keep(self, event: Event) -> None:
        """Return when the event is stored, together with others that came at the same time.

        Its id is the table's key: the same event again changes nothing, so no inbox is needed.
        """
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await self._waiting.put((kept(event), written))
        await written

    async def page(self, query: EventsQuery) -> Page[StoredEvent]:
        """Return events, newest first."""
        after = None
        if query.cursor:
            at, event_id = decode_cursor("events", query.cursor, int, str)
            after = (moment(at), event_id)
        async with self._database.reading() as session:
            found = await Store(session).events(query, after=after, limit=query.limit + 1)
        items = found[: query.limit]
        more = len(found) > query.limit
        cursor = encode_cursor("events", microseconds(items[-1].time), items[-1].id) if more else None
        return Page[StoredEvent](items=items, next=cursor)

    async def tidy(self, *, max_age: timedelta, max_bytes: int) -> int:
        """Delete events that are too old, and the oldest beyond the size; return how many."""
        before = self._clock.now() - max_age
        deleted = 0
        while True:
            async with self._database.transaction() as session:
                store = Store(session)
                full = await store.shelf(Shelf.EVENTS) > max_bytes
                gone = await store.delete_events(before=None if full else before, limit=EVENTS_AT_ONCE)
            deleted += gone
            if gone == 0:
                return deleted

    async def _write(self) -> None:
        while True:
            batch = [await self._waiting.get()]
            await asyncio.sleep(GATHER_SECONDS)
            while len(batch) < BATCH and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            try:
                await self._store([event for event, _ in batch])
            except AWAY as error:
                # Nothing is wrong with the events: each goes back and is delivered again later.
                _fail(batch, error)
            except Exception:
                log.exception("history.batch_refused", events=len(batch))
                await self._one_by_one(batch)
            else:
                stored.inc(len(batch))
                for _, written in batch:
                    if not written.done():
                        written.set_result(None)

    async def _one_by_one(self, batch: list[Waiting]) -> None:
        for event, written in batch:
            try:
                await self._store([event])
            except Exception as error:  # noqa: BLE001 - the handler that waits reports and dead-letters it
                _fail([(event, written)], error)
            else:
                stored.inc()
                if not written.done():
                    written.set_result(None)

    async def _store(self, events: list[KeptEvent]) -> None:
        async with self._database.transaction() as session:
            store = Store(session)
            await store.shelve(Shelf.EVENTS, await store.add_events(events))


def kept(event: Event) -> KeptEvent:
    """Return an event as it is stored; unknown types and odd data are kept like any other."""
    data = _data(event.raw)
    owner = data.get("owner") or data.get("username")
    stored_event = StoredEvent(
        id=event.id if len(event.id) <= ID_LENGTH else hashlib.sha256(event.id.encode()).hexdigest(),
        type=event.type_name,
        subject=event.subject,
        source=event.source,
        time=event.time if event.time.tzinfo else event.time.replace(tzinfo=UTC),
        sequence=event.sequence,
        trace_id=_trace_id(event.headers.get(HEADER_TRACEPARENT, "")),
        data=data,
    )
    return KeptEvent(
        event=stored_event,
        entity=event.entity,
        entity_id=event.entity_id,
        fact=event.fact,
        owner=str(owner) if owner else None,
        bytes=ROW_BYTES + len(event.raw),
    )


def _data(raw: bytes) -> dict[str, Any]:
    try:
        data = storable(json.loads(raw))
    except (ValueError, RecursionError):
        data = storable(raw.decode("utf-8", "replace"))
    return data if isinstance(data, dict) else {"value": data}


def _trace_id(traceparent: str) -> str | None:
    """Return the trace id of a W3C `traceparent`: version, trace, span, flags."""
    parts = traceparent.split("-")
    good = len(parts) >= TRACEPARENT_PARTS and len(parts[1]) == 32  # noqa: PLR2004 - hexadecimal digits
    return parts[1] if good else None


def _fail(batch: list[Waiting], error: BaseException) -> None:
    for _, written in batch:
        if not written.done():
            written.set_exception(error)
