"""The event history: every fact of the platform, kept as it was on the stream."""

import contextlib
import hashlib
import json
import math
from datetime import UTC, timedelta
from typing import Any

from prometheus_client import Counter

from datalabs_contracts.base import Page
from datalabs_contracts.cursors import decode_cursor, encode_cursor
from datalabs_contracts.events import HEADER_TRACEPARENT
from datalabs_contracts.observations import EventsQuery, StoredEvent
from datalabs_observer.models import KeptEvent, Shelf, storable
from datalabs_observer.store import Store
from datalabs_observer.times import microseconds, moment
from datalabs_runtime.clock import Clock
from datalabs_runtime.database import Database
from datalabs_runtime.messaging import Event

EVENTS_AT_ONCE = 2000
ROW_BYTES = 500
"""What a row and its index entries take beside its data, about."""
TRACEPARENT_PARTS = 4
ID_LENGTH = 64

stored = Counter("observer_events_stored", "Events written to the history.")


class History:
    """Keeps events and gives pages of them."""

    def __init__(self, *, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def keep(self, events: list[Event]) -> None:
        """Store events; their ids are the table's key: the same event again changes nothing, so no inbox is needed."""
        rows = [kept(event) for event in events]
        async with self._database.transaction() as session:
            await Store(session).add_events(rows)
        stored.inc(len(events))

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


def kept(event: Event) -> KeptEvent:
    """Return an event as it is stored; unknown types and odd data are kept like any other."""
    data, raw = _data(event.raw)
    owner = data.get("owner") or data.get("username")
    return KeptEvent(
        row={
            "id": event.id if len(event.id) <= ID_LENGTH else hashlib.sha256(event.id.encode()).hexdigest(),
            "type": event.type_name,
            "entity": event.entity,
            "entity_id": event.entity_id,
            "fact": event.fact,
            "subject": event.subject,
            "source": event.source,
            "owner": str(owner) if owner else None,
            "time": (event.time if event.time.tzinfo else event.time.replace(tzinfo=UTC)).isoformat(),
            "sequence": event.sequence,
            "trace_id": _trace_id(event.headers.get(HEADER_TRACEPARENT, "")),
            "bytes": ROW_BYTES + len(event.raw),
        },
        data=raw,
    )


def _data(raw: bytes) -> tuple[dict[str, Any], str]:
    """Return an event's data and a JSON text of it that PostgreSQL takes: mostly the one that came."""
    with contextlib.suppress(ValueError, RecursionError):
        text = raw.decode()
        data = PLAIN.decode(text)
        if isinstance(data, dict) and "\\u" not in text:  # an escape may be of a character that it refuses
            return data, text
    try:
        data = storable(json.loads(raw))
    except (ValueError, RecursionError):
        data = storable(raw.decode("utf-8", "replace"))
    if not isinstance(data, dict):
        data = {"value": data}
    return data, json.dumps(data)


def _number(text: str) -> float:
    """Refuse what JSON does not know: NaN and infinity, also as a number too large."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


PLAIN = json.JSONDecoder(parse_float=_number, parse_constant=_number)


def _trace_id(traceparent: str) -> str | None:
    """Return the trace id of a W3C `traceparent`: version, trace, span, flags."""
    parts = traceparent.split("-")
    good = len(parts) >= TRACEPARENT_PARTS and len(parts[1]) == 32  # noqa: PLR2004 - hexadecimal digits
    return parts[1] if good else None
