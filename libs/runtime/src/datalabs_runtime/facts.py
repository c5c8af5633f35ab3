"""Facts on the wire: CloudEvents in NATS binary mode, read into `Event` and made from an outbox entry."""

import json
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from datalabs_contracts.events import (
    BY_TYPE,
    HEADER_CONTENT_TYPE,
    HEADER_DEDUPLICATION,
    HEADER_ID,
    HEADER_SOURCE,
    HEADER_SPECVERSION,
    HEADER_SUBJECT,
    HEADER_TIME,
    HEADER_TYPE,
    SOURCE_BASE,
    EventType,
)

TOKENS = 4
"""A fact's subject is `events.<entity>.<id>.<fact>`."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """A fact as a handler gets it; `data` is parsed by the event's type, or a plain dict for an unknown one."""

    id: str
    type: EventType | None
    subject: str
    entity: str
    entity_id: str
    fact: str
    source: str
    time: datetime
    revision: int
    data: Any
    raw: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    sequence: int = 0
    deliveries: int = 1
    type_name: str = ""
    """The `ce-type` header, also of a type that this release does not know."""


Handler = Callable[[Event], Awaitable[None]]


class MalformedFactError(Exception):
    """The message is no fact of ours, or its data does not fit its type: no repetition will help."""


def new_event_id() -> str:
    """Return an id that sorts roughly by time: 12 hexadecimal digits of milliseconds and 80 random bits."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def headers_of(
    *, event_id: str, event: EventType, entity_id: str, source: str, moment: datetime
) -> dict[str, str]:
    """Return the CloudEvents headers of a fact."""
    return {
        HEADER_SPECVERSION: "1.0",
        HEADER_ID: event_id,
        HEADER_TYPE: event.type,
        HEADER_SOURCE: SOURCE_BASE + source,
        HEADER_SUBJECT: entity_id,
        HEADER_TIME: moment.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        HEADER_CONTENT_TYPE: "application/json",
        HEADER_DEDUPLICATION: event_id,
    }


def read_fact(
    subject: str,
    headers: Mapping[str, str] | None,
    body: bytes,
    *,
    sequence: int = 0,
    deliveries: int = 1,
    lenient: bool = False,
    parsed: bool = True,
) -> Event:
    """Return the fact that a message holds; without `parsed` its data is left unread in `raw`.

    Raises `MalformedFactError`; when `lenient`, data that does not fit its type is given as it is instead, and
    an id and a time are made up where there are none.
    """
    given = headers or {}
    tokens = subject.split(".")
    if len(tokens) != TOKENS and not lenient:
        raise MalformedFactError(f"{subject} is no fact's subject")
    entity, token, fact = (*tokens[1:], "", "", "")[:3]
    known = BY_TYPE.get(given.get(HEADER_TYPE, ""))
    data, revision = _data(known, body, lenient=lenient) if parsed else (None, 0)
    if lenient and not (given.get(HEADER_ID) and given.get(HEADER_TIME)):
        made_up = {HEADER_ID: f"{subject}:{sequence}", HEADER_TIME: datetime.now(UTC).isoformat()}
        given = {**made_up, **given}
    try:
        return Event(
            id=given[HEADER_ID],
            type=known,
            type_name=given.get(HEADER_TYPE, ""),
            subject=subject,
            entity=known.entity if known else entity,
            entity_id=given.get(HEADER_SUBJECT, token),
            fact=known.fact if known else fact,
            source=given.get(HEADER_SOURCE, ""),
            time=datetime.fromisoformat(given[HEADER_TIME]),
            revision=revision,
            data=data,
            raw=body,
            headers=given,
            sequence=sequence,
            deliveries=deliveries,
        )
    except (KeyError, ValueError) as error:
        raise MalformedFactError(f"{subject}: the CloudEvents headers are incomplete: {error}") from error


def _data(known: EventType | None, body: bytes, *, lenient: bool) -> tuple[Any, int]:
    try:
        if known is not None:
            parsed = known.data.model_validate_json(body)
            return parsed, int(getattr(parsed, "revision", 0))
    except ValidationError as error:
        if not lenient:
            raise MalformedFactError(f"the data does not fit {known}: {error}") from error
    try:
        loose = json.loads(body)
    except ValueError as error:
        if not lenient:
            raise MalformedFactError(f"the data is not JSON: {error}") from error
        return {}, 0
    revision = loose.get("revision", 0) if isinstance(loose, dict) else 0
    return loose, revision if isinstance(revision, int) else 0
