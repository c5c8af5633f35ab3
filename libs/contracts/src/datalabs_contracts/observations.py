"""What operators watch: stored events, spans, dead letters."""

from enum import StrEnum
from typing import Any

from pydantic import Field

from datalabs_contracts.base import Contract, Instant


class StoredEvent(Contract):
    """One event as it was on the stream."""

    id: str
    type: str
    subject: str
    source: str
    time: Instant
    sequence: int
    trace_id: str | None = None
    data: dict[str, Any]


class EventsQuery(Contract):
    """A page of stored events, newest first."""

    entity: str | None = None
    entity_id: str | None = None
    fact: str | None = None
    owner: str | None = None
    trace_id: str | None = None
    since: Instant | None = None
    until: Instant | None = None
    limit: int = Field(default=50, ge=1, le=200)
    cursor: str | None = None


class Span(Contract):
    """One span; times in nanoseconds since 1970, ids in hexadecimal."""

    trace_id: str
    span_id: str
    parent_id: str | None = None
    name: str
    kind: str
    service: str
    start_ns: int
    end_ns: int
    status: str = "unset"
    status_message: str = ""
    attributes: dict[str, Any] = Field(default_factory=dict)
    events: list[dict[str, Any]] = Field(default_factory=list)


class TraceQuery(Contract):
    """The spans of one trace, oldest first."""

    trace_id: str = Field(pattern=r"^[0-9a-f]{32}$")
    limit: int = Field(default=200, ge=1, le=200)
    cursor: str | None = None


class TraceSummary(Contract):
    """One trace of the list."""

    trace_id: str
    name: str
    service: str
    started_at: Instant
    seconds: float
    spans: int
    errors: int
    lab_id: str | None = None


class TracesQuery(Contract):
    """A page of traces, newest first."""

    lab_id: str | None = None
    service: str | None = Field(default=None, description="One that took part.")
    name: str | None = Field(default=None, description="The name of one of its spans; a launch has `launch`.")
    errors_only: bool = False
    min_seconds: float | None = None
    limit: int = Field(default=50, ge=1, le=200)
    cursor: str | None = None


class DeadLetterState(StrEnum):
    """What became of a dead letter."""

    OPEN = "open"
    REPLAYED = "replayed"


class DeadLetter(Contract):
    """A message that a handler gave up on, with its error."""

    id: str
    subject: str
    consumer: str
    error: str
    deliveries: int
    time: Instant
    state: DeadLetterState = DeadLetterState.OPEN
    data: str = Field(description="The message's text.")
    headers: dict[str, str] = Field(default_factory=dict)


class DeadLettersQuery(Contract):
    """A page of dead letters, newest first."""

    limit: int = Field(default=50, ge=1, le=200)
    cursor: str | None = None


class DeadLetterRef(Contract):
    """One dead letter."""

    id: str


class PartHealth(Contract):
    """One part of the platform as the observer sees it."""

    name: str
    state: str
    text: str = ""
    seen_at: Instant | None = None


class PlatformHealth(Contract):
    """All parts."""

    items: list[PartHealth]
