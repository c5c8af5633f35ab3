"""What the observer's store gives and takes."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from datalabs_contracts.observations import Span, StoredEvent

LAB_ID = "datalabs.lab.id"
"""Attribute that names the lab a span is about."""
LAUNCH_TRACE = "datalabs.launch_trace_id"
"""Attribute of a visit's span: the trace of the launch that it belongs to (a navigation carries no context)."""


class Shelf(StrEnum):
    """What has a size cap."""

    EVENTS = "events"
    SPANS = "spans"


@dataclass(frozen=True, kw_only=True)
class KeptEvent:
    """An event on its way into the history; `bytes` is what it takes on disk, about."""

    event: StoredEvent
    entity: str
    entity_id: str
    fact: str
    owner: str | None
    bytes: int


@dataclass(frozen=True, kw_only=True)
class KeptSpan:
    """A span on its way into the store; `joins` is the other trace that it also belongs to."""

    span: Span
    joins: str | None
    lab_id: str | None
    bytes: int


@dataclass(frozen=True, kw_only=True)
class TracePart:
    """What some spans of one trace add to its row."""

    trace_id: str
    name: str
    service: str
    rooted: bool
    start_ns: int
    end_ns: int
    spans: int
    errors: int
    lab_id: str | None
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Letter:
    """A dead letter as it came."""

    id: str
    sequence: int
    subject: str
    consumer: str
    error: str
    deliveries: int
    time: datetime
    data: str
    headers: dict[str, str]


def storable(value: Any) -> Any:
    """Return a JSON value that PostgreSQL takes: without NUL, lone surrogates, NaN and infinity."""
    if isinstance(value, str):
        if "\0" in value:
            value = value.replace("\0", "\N{REPLACEMENT CHARACTER}")
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {storable(str(key)): storable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [storable(item) for item in value]
    if isinstance(value, float) and value - value != 0:
        return str(value)
    return value
