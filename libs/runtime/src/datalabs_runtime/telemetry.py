"""Traces: W3C context through HTTP and NATS, spans sent in the background; an absent collector costs nothing."""

from collections.abc import Mapping
from contextvars import ContextVar
from datetime import datetime

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Tracer

from datalabs_runtime.settings import TelemetrySettings

correlation: ContextVar[str | None] = ContextVar("correlation", default=None)
"""The correlation id of what is being worked on."""
causation: ContextVar[str | None] = ContextVar("causation", default=None)
"""The id of the event that is being handled."""


class Telemetry:
    """The running export of this process."""

    def shutdown(self) -> None:
        """Send what is left, for a short time only."""


def setup(service: str, settings: TelemetrySettings) -> Telemetry:
    """Begin to record spans in this process."""
    del service, settings
    return Telemetry()


def tracer() -> Tracer:
    """Return the tracer of this process."""
    return trace.get_tracer("datalabs")


def inject(headers: dict[str, str]) -> None:
    """Write the current trace context (`traceparent`) and correlation into headers."""


def extract(headers: Mapping[str, str]) -> Context:
    """Read the trace context of headers."""
    raise NotImplementedError


def trace_id() -> str | None:
    """Return the current trace id in hexadecimal, if there is one."""
    return None


def traceparent() -> str | None:
    """Return the current trace context as a `traceparent` value, if there is one."""
    return None


def deterministic_trace_id(*parts: object) -> str:
    """Return the trace id (32 hexadecimal digits) that belongs to these words."""
    raise NotImplementedError


def deterministic_span_id(*parts: object) -> str:
    """Return the span id (16 hexadecimal digits) that belongs to these words."""
    raise NotImplementedError


def span_at(
    name: str,
    start: datetime,
    end: datetime,
    trace_id: str,
    span_id: str,
    parent_id: str | None = None,
    attributes: Mapping[str, str | int | float | bool] | None = None,
    *,
    error: str | None = None,
) -> None:
    """Export a finished span whose ids are given; done twice it is the same span."""
