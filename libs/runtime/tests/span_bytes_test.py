"""The bytes of spans say what OpenTelemetry's own encoder says."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from datalabs_runtime import telemetry
from datalabs_runtime.settings import TelemetrySettings
from datalabs_runtime.span_bytes import request_of

RESOURCE = Resource({"service.name": "datalabs-launcher"})


@pytest.fixture
def made() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    running = telemetry.setup("test", TelemetrySettings(), exporter=exporter)
    yield exporter
    running.shutdown()
    telemetry.setup("test", TelemetrySettings(enabled=False))


def by_id(request: ExportTraceServiceRequest) -> dict[bytes, tuple[Any, Any, Any]]:
    """Return each span by its id with the resource and the scope that it is under."""
    return {
        span.span_id: (span, scope.scope, one.resource)
        for one in request.resource_spans
        for scope in one.scope_spans
        for span in scope.spans
    }


def check(spans: list[ReadableSpan]) -> None:
    read = by_id(ExportTraceServiceRequest.FromString(request_of(spans)))
    assert len(read) == len(spans)
    assert read == by_id(encode_spans(spans))


def context(number: int, *, is_remote: bool = False) -> SpanContext:
    return SpanContext(number, number, is_remote=is_remote, trace_flags=TraceFlags(1))


def id_of(span: ReadableSpan) -> int:
    made = span.get_span_context()
    assert made is not None
    return made.span_id


words = some.text(max_size=200)
values = some.one_of(
    words,
    some.booleans(),
    some.integers(-(2**63), 2**63 - 1),
    some.floats(allow_nan=False),
    some.lists(some.integers(0, 9), max_size=2),
)
whole_spans = some.builds(
    ReadableSpan,
    name=words,
    context=some.builds(context, some.integers(1, 2**64 - 1)),
    parent=some.none() | some.builds(context, some.integers(1, 2**64 - 1), is_remote=some.booleans()),
    resource=some.just(RESOURCE),
    attributes=some.dictionaries(words, values, max_size=5),
    links=some.lists(some.builds(Link, some.just(context(7))), max_size=1),
    kind=some.sampled_from(SpanKind),
    status=some.just(Status()) | some.builds(Status, some.just(StatusCode.ERROR), words),
    start_time=some.integers(0, 2**64 - 1),
    end_time=some.integers(0, 2**64 - 1),
)


@given(some.lists(whole_spans, max_size=5, unique_by=id_of))
def test_whatever_a_span_holds_is_said(spans: list[ReadableSpan]) -> None:
    check(spans)


def test_what_our_telemetry_makes_is_said(made: InMemorySpanExporter) -> None:
    now = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
    with telemetry.span("outer", kind=SpanKind.SERVER, attributes={"rpc.method": "launch_lab", "n": 1}):
        with telemetry.span("inner", kind=SpanKind.CLIENT, attributes={"ok": True, "share": 0.5}):
            pass
        with pytest.raises(ValueError, match="no"), telemetry.span("broken"):
            raise ValueError("no")
    telemetry.span_at("launch", now, now, "ab" * 16, "cd" * 8, "ef" * 8, {"n": True}, error="why")
    running = telemetry.setup("test", TelemetrySettings(), exporter=made)
    running.shutdown()
    check(list(made.get_finished_spans()))


def test_half_a_character_costs_no_span() -> None:
    span = ReadableSpan(
        name="a\ud800", context=context(1), resource=RESOURCE, attributes={"k": "\udfff", "n": 1}
    )
    ((read, _, _),) = by_id(ExportTraceServiceRequest.FromString(request_of([span]))).values()
    assert read.name == "a?"
    assert {pair.key: pair.value.string_value for pair in read.attributes} == {"k": "?", "n": ""}


def test_nothing_is_nothing() -> None:
    assert request_of([]) == b""
