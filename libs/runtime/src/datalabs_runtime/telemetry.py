"""Traces: W3C context through HTTP and NATS, spans sent in the background; an absent collector costs nothing."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from functools import lru_cache

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
)

from datalabs_contracts.events import HEADER_CORRELATION, HEADER_TRACEPARENT
from datalabs_runtime.export import OtlpExporter
from datalabs_runtime.settings import TelemetrySettings

SCOPE = "datalabs"
EXPORT_EVERY = 2000
"""Milliseconds between batches."""
QUEUE = 4096
"""Spans that wait at most; more are dropped, nobody waits for them."""
EXPORT_TIMEOUT = 2000
"""Milliseconds for what is left when the process ends."""

correlation: ContextVar[str | None] = ContextVar("correlation", default=None)
"""The correlation id of what is being worked on."""
causation: ContextVar[str | None] = ContextVar("causation", default=None)
"""The id of the event that is being handled."""


class Telemetry:
    """The span pipeline of this process."""

    def __init__(self, service: str, exporter: SpanExporter | None, ratio: float) -> None:
        # Not Resource.create: it looks for detectors in the metadata of every installed package.
        self.resource = Resource(
            {
                "service.name": f"datalabs-{service}",
                "service.instance.id": str(os.getpid()),
                "telemetry.sdk.name": "opentelemetry",
                "telemetry.sdk.language": "python",
            }
        )
        self.provider = TracerProvider(
            resource=self.resource, sampler=ParentBased(TraceIdRatioBased(ratio)), shutdown_on_exit=False
        )
        self.processor: SpanProcessor | None = None
        if exporter is not None:
            self.processor = BatchSpanProcessor(
                exporter,
                max_queue_size=QUEUE,
                schedule_delay_millis=EXPORT_EVERY,
                export_timeout_millis=EXPORT_TIMEOUT,
            )
            self.provider.add_span_processor(self.processor)
        self.tracer = self.provider.get_tracer(SCOPE)

    def flush(self) -> None:
        """Send what is waiting; for tests."""
        self.provider.force_flush(EXPORT_TIMEOUT)

    def shutdown(self) -> None:
        """Send what is left, for a short time only, and stop."""
        self.provider.shutdown()


class _Current:
    """The pipeline that `tracer` and `span_at` use; one a process, replaced in tests."""

    telemetry: Telemetry | None = None


def setup(service: str, settings: TelemetrySettings, *, exporter: SpanExporter | None = None) -> Telemetry:
    """Begin to record spans in this process; call it after a fork, for it starts a thread."""
    if not settings.enabled:
        _Current.telemetry = None
        return Telemetry(service, None, 0.0)
    if exporter is None and settings.endpoint:
        exporter = OtlpExporter(settings.endpoint)
    _Current.telemetry = Telemetry(service, exporter, settings.sample_ratio)
    return _Current.telemetry


def tracer() -> Tracer:
    """Return the tracer of this process; without `setup` it records nothing."""
    current = _Current.telemetry
    return current.tracer if current is not None else trace.NoOpTracer()


def _span_context() -> SpanContext | None:
    context = trace.get_current_span().get_span_context()
    return context if context.is_valid else None


def trace_id() -> str | None:
    """Return the current trace id in hexadecimal, if there is one."""
    context = _span_context()
    return f"{context.trace_id:032x}" if context else None


def traceparent() -> str | None:
    """Return the current trace context as a `traceparent` value, if there is one."""
    context = _span_context()
    if context is None:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & 1:02x}"


def inject(headers: dict[str, str]) -> None:
    """Write the current trace context (`traceparent`) and correlation into headers."""
    value = traceparent()
    if value is not None:
        headers[HEADER_TRACEPARENT] = value
    current = correlation.get()
    if current is not None:
        headers[HEADER_CORRELATION] = current


def parse_traceparent(value: str | None) -> SpanContext | None:
    """Return the span that a `traceparent` value names, or None when it is not a valid one (W3C Trace Context)."""
    fields = (value or "").strip().split("-")
    if len(fields) < 4 or (len(fields[0]), len(fields[1]), len(fields[2])) != (2, 32, 16):  # noqa: PLR2004
        return None
    try:
        context = SpanContext(
            int(fields[1], 16),
            int(fields[2], 16),
            is_remote=True,
            trace_flags=TraceFlags(int(fields[3], 16) & 1),
        )
    except ValueError:
        return None
    return context if context.is_valid else None


def extract(headers: Mapping[str, str]) -> Context:
    """Return the trace context of headers, to begin spans in."""
    context = parse_traceparent(headers.get(HEADER_TRACEPARENT))
    if context is None:
        return Context()
    return trace.set_span_in_context(NonRecordingSpan(context), Context())


@contextmanager
def span(
    name: str,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    parent: Context | None = None,
    attributes: Mapping[str, str | int | float | bool] | None = None,
) -> Iterator[trace.Span]:
    """Record a span around a block, with the error that leaves it."""
    with tracer().start_as_current_span(name, context=parent, kind=kind, attributes=attributes) as current:
        yield current


@contextmanager
def continued(headers: Mapping[str, str]) -> Iterator[None]:
    """Work in the trace and the correlation that headers name, without a span of one's own."""
    context = parse_traceparent(headers.get(HEADER_TRACEPARENT))
    token = correlation.set(headers.get(HEADER_CORRELATION) or correlation.get())
    try:
        if context is None:
            yield
        else:
            with trace.use_span(NonRecordingSpan(context)):
                yield
    finally:
        correlation.reset(token)


def deterministic_trace_id(*parts: object) -> str:
    """Return the trace id (32 hexadecimal digits) that belongs to these words."""
    return _digest(parts)[:32]


@lru_cache(maxsize=4096, typed=True)
def deterministic_span_id(*parts: object) -> str:
    """Return the span id (16 hexadecimal digits) that belongs to these words."""
    return _digest(parts)[:16]


def _digest(parts: tuple[object, ...]) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()


def span_at(  # noqa: PLR0917 - called by keyword but for the first
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
    """Export a finished span whose ids are given; done twice it is the same span.

    For phases that were stored as they happened: the process that began one need not be the one that ends it.
    """
    current = _Current.telemetry
    if current is None or current.processor is None:
        return
    number = int(trace_id, 16)
    sampled = TraceFlags(TraceFlags.SAMPLED)
    parent = (
        SpanContext(number, int(parent_id, 16), is_remote=True, trace_flags=sampled) if parent_id else None
    )
    finished = ReadableSpan(
        name=name,
        context=SpanContext(number, int(span_id, 16), is_remote=False, trace_flags=sampled),
        parent=parent,
        resource=current.resource,
        attributes=dict(attributes or {}),
        kind=SpanKind.INTERNAL,
        status=Status(StatusCode.ERROR, error) if error else Status(StatusCode.UNSET),
        start_time=_nanoseconds(start),
        end_time=_nanoseconds(end),
    )
    current.processor.on_end(finished)


def _nanoseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000) * 1000
