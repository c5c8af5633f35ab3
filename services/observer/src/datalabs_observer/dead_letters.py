"""Dead letters: facts that a handler gave up on, kept with their error and given back to that handler alone."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta

import structlog
from prometheus_client import Counter

from datalabs_contracts.base import Page
from datalabs_contracts.cursors import decode_cursor, encode_cursor
from datalabs_contracts.observations import DeadLetter, DeadLetterRef, DeadLettersQuery, DeadLetterState
from datalabs_observer.errors import UnknownDeadLetterError
from datalabs_observer.models import Letter, storable
from datalabs_observer.store import Store
from datalabs_observer.times import microseconds, moment
from datalabs_runtime.clock import Clock
from datalabs_runtime.consuming import (
    HEADER_DEAD_CONSUMER,
    HEADER_DEAD_DELIVERIES,
    HEADER_DEAD_ERROR,
    HEADER_DEAD_SEQUENCE,
    HEADER_DEAD_SUBJECT,
    HEADER_DEAD_TIME,
)
from datalabs_runtime.database import Database
from datalabs_runtime.messaging import Event

log = structlog.get_logger()

stored = Counter("observer_dead_letters_stored", "Dead letters that came in.", ["consumer"])

PREFIX = "dead."

GiveBack = Callable[[Mapping[str, str], bytes], Awaitable[None]]
"""Hands headers and body of a dead letter to its consumer; see `Messaging.replay`."""


class DeadLetters:
    """Keeps, lists and replays dead letters."""

    def __init__(self, *, database: Database, clock: Clock, give_back: GiveBack) -> None:
        self._database = database
        self._clock = clock
        self._give_back = give_back

    async def keep(self, event: Event) -> None:
        """Store a dead letter; the same one again changes nothing."""
        letter = letter_of(event)
        async with self._database.transaction() as session:
            await Store(session).add_letter(letter)
        stored.labels(letter.consumer).inc()
        log.warning("dead_letter.stored", letter=letter.id, consumer=letter.consumer, subject=letter.subject)

    async def page(self, query: DeadLettersQuery) -> Page[DeadLetter]:
        """Return dead letters, newest first."""
        after = None
        if query.cursor:
            at, letter_id = decode_cursor("dead-letters", query.cursor, int, str)
            after = (moment(at), letter_id)
        async with self._database.reading() as session:
            found = await Store(session).letters(after=after, limit=query.limit + 1)
        items = found[: query.limit]
        more = len(found) > query.limit
        cursor = encode_cursor("dead-letters", microseconds(items[-1].time), items[-1].id) if more else None
        return Page[DeadLetter](items=items, next=cursor)

    async def replay(self, request: DeadLetterRef) -> DeadLetter:
        """Give a dead letter back to the consumer that gave up on it, and to no other.

        Raises `UnknownDeadLetterError`, and `ProblemError` when the letter stays open: `conflict` with the error when
        the handler fails again, `service_unavailable` when its service is away. Handlers are idempotent, so it
        may be done again.
        """
        async with self._database.reading() as session:
            letter = await Store(session).letter(request.id)
        if letter is None:
            raise UnknownDeadLetterError
        await self._give_back(letter.headers, letter.data.encode())
        async with self._database.transaction() as session:
            await Store(session).mark_replayed(letter.id)
        log.info("dead_letter.replayed", letter=letter.id, consumer=letter.consumer)
        return letter.model_copy(update={"state": DeadLetterState.REPLAYED})

    async def tidy(self, *, max_age: timedelta) -> int:
        """Delete dead letters that are too old; return how many."""
        async with self._database.transaction() as session:
            return await Store(session).delete_letters(before=self._clock.now() - max_age)


def letter_of(event: Event) -> Letter:
    """Return the dead letter that a message of the dead-letter stream is."""
    headers = {key: str(storable(value)) for key, value in event.headers.items()}
    consumer = headers.get(HEADER_DEAD_CONSUMER) or event.subject.removeprefix(PREFIX)
    died_at = headers.get(HEADER_DEAD_TIME, "")
    return Letter(
        id=hashlib.sha256(f"{consumer}\0{event.id}\0{died_at}".encode()).hexdigest()[:32],
        sequence=_number(headers.get(HEADER_DEAD_SEQUENCE), event.sequence),
        subject=headers.get(HEADER_DEAD_SUBJECT, event.subject),
        consumer=consumer,
        error=headers.get(HEADER_DEAD_ERROR, ""),
        deliveries=_number(headers.get(HEADER_DEAD_DELIVERIES), 1),
        time=_time(died_at) or event.time,
        data=storable(event.raw.decode("utf-8", "replace")),
        headers=headers,
    )


def _number(text: str | None, default: int) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() else default


def _time(text: str) -> datetime | None:
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return None
    return parsed if parsed.tzinfo else None
