"""What the observer's store gives and takes."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

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
    """An event on its way into the history: the columns of its row, and its data as JSON text."""

    row: dict[str, Any]
    data: str


@dataclass(slots=True, kw_only=True)
class KeptSpan:
    """A span on its way into the store; its fields are the columns of its row, times nanoseconds since 1970.

    `joins` is the other trace that it also belongs to, `bytes` what it takes on disk, about. No contract's model:
    there are dozens a launch, and what comes was bounded as it was read.
    """

    trace_id: str
    span_id: str
    parent_id: str | None
    joins: str | None
    name: str
    kind: str
    service: str
    start_ns: int
    end_ns: int
    status: str
    status_message: str
    attributes: dict[str, Any]
    events: list[dict[str, Any]]
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
