"""Spans reach a collector over HTTP and over a Unix socket; without one nobody notices."""

import asyncio
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from datalabs_contracts.base import Page
from datalabs_contracts.labs import Lab, LabsQuery
from datalabs_contracts.rpc import LIST_LABS
from datalabs_runtime import telemetry
from datalabs_runtime.export import REST, OtlpExporter
from datalabs_runtime.settings import TelemetrySettings
from datalabs_testing.platform import Platform
from datalabs_testing.stubs import RpcStub

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


class UnixHTTPServer(socketserver.UnixStreamServer):
    def get_request(self) -> tuple[object, tuple[str, int]]:
        request, _ = super().get_request()
        return request, ("local", 0)


@contextmanager
def collector(address: object) -> Iterator[tuple[list[ExportTraceServiceRequest], str]]:
    received: list[ExportTraceServiceRequest] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/v1/traces"
            received.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    kind = UnixHTTPServer if isinstance(address, str) else HTTPServer
    with kind(address, Handler) as server:  # type: ignore[arg-type]
        where = (
            f"unix:{address}" if isinstance(address, str) else f"http://127.0.0.1:{server.server_address[1]}"
        )
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield received, where
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    running = telemetry.setup("test", TelemetrySettings(), exporter=exporter)
    yield exporter
    running.shutdown()
    telemetry.setup("test", TelemetrySettings(enabled=False))


def names(request: ExportTraceServiceRequest) -> list[str]:
    return [span.name for one in request.resource_spans for scope in one.scope_spans for span in scope.spans]


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_spans_reach_a_collector(kind: str, harness_folder: Path) -> None:
    address = str(harness_folder / "otlp.sock") if kind == "unix" else ("127.0.0.1", 0)
    with collector(address) as (received, where):
        running = telemetry.setup("launcher", TelemetrySettings(endpoint=where))
        with telemetry.span("one"), telemetry.span("two"):
            pass
        running.flush()
        with telemetry.span("three"):
            pass
        running.shutdown()
        telemetry.setup("x", TelemetrySettings(enabled=False))
    assert [sorted(names(one)) for one in received] == [["one", "two"], ["three"]]
    resource = {
        item.key: item.value.string_value for item in received[0].resource_spans[0].resource.attributes
    }
    assert resource["service.name"] == "datalabs-launcher"


def test_an_unreachable_collector_costs_nothing_visible() -> None:
    running = telemetry.setup("launcher", TelemetrySettings(endpoint="http://127.0.0.1:9"))
    began = time.perf_counter()
    for _ in range(5000):
        with telemetry.span("lost"):
            pass
    assert (time.perf_counter() - began) / 5000 < 0.001
    began = time.perf_counter()
    running.shutdown()
    assert time.perf_counter() - began < 3
    telemetry.setup("x", TelemetrySettings(enabled=False))


def test_after_a_failure_the_exporter_rests_and_then_tries_again(harness_folder: Path) -> None:
    now = [0.0]
    path = str(harness_folder / "late.sock")
    exporter = OtlpExporter(f"unix:{path}", now=lambda: now[0])
    assert exporter.export([]) is SpanExportResult.FAILURE
    with collector(path) as (received, _):
        assert exporter.export([]) is SpanExportResult.FAILURE
        assert received == []
        now[0] += REST
        assert exporter.export([]) is SpanExportResult.SUCCESS
        exporter.shutdown()


def test_a_finished_span_has_the_ids_it_was_given_however_often(spans: InMemorySpanExporter) -> None:
    start = datetime(2026, 11, 2, 9, 0, 0, 123456, tzinfo=UTC)
    span_id = telemetry.deterministic_span_id("k3v9x2mmpq", 1, "starting")
    assert len(span_id) == 16
    assert span_id == telemetry.deterministic_span_id("k3v9x2mmpq", 1, "starting")
    assert span_id != telemetry.deterministic_span_id("k3v9x2mmpq", 2, "starting")
    assert len(telemetry.deterministic_trace_id("x")) == 32
    for _ in range(2):
        telemetry.span_at(
            "starting",
            start,
            start + timedelta(seconds=1.5),
            TRACE,
            span_id,
            PARENT,
            {"lab": "k3"},
            error="slow",
        )
    running = telemetry._Current.telemetry
    assert running is not None
    running.flush()
    first, second = spans.get_finished_spans()
    assert f"{first.context.trace_id:032x}" == TRACE
    assert f"{first.context.span_id:016x}" == f"{second.context.span_id:016x}" == span_id
    assert first.parent is not None
    assert f"{first.parent.span_id:016x}" == PARENT
    assert first.start_time == 1793610000123456000
    assert first.end_time is not None
    assert first.end_time - first.start_time == 1_500_000_000
    assert first.status.description == "slow"


@pytest.mark.parametrize(
    "value", [None, "", "x", "00-0-0-01", f"00-{'0' * 32}-{PARENT}-01", f"00-{'g' * 32}-{PARENT}-01"]
)
def test_a_wrong_traceparent_is_no_trace(value: str | None) -> None:
    assert telemetry.parse_traceparent(value) is None
    with telemetry.continued({"traceparent": value} if value else {}):
        assert telemetry.trace_id() is None


async def test_a_trace_goes_through_a_request(
    spans: InMemorySpanExporter, platform: Platform, rpc_stub: RpcStub
) -> None:
    seen: list[str | None] = []

    def answer(_: LabsQuery) -> Page[Lab]:
        seen.append(telemetry.trace_id())
        return Page[Lab](items=[])

    await rpc_stub.answer(LIST_LABS, answer)
    gateway = platform.messaging("gateway")
    await gateway.start()
    with telemetry.continued({"traceparent": f"00-{TRACE}-{PARENT}-01"}), telemetry.span("GET /labs"):
        await gateway.rpc.call(LIST_LABS, LabsQuery())
    await gateway.rpc.call(LIST_LABS, LabsQuery())  # outside any trace: no spans, no new trace
    running = telemetry._Current.telemetry
    assert running is not None
    await asyncio.to_thread(running.flush)
    finished = {(span.name, span.kind.name): span for span in spans.get_finished_spans()}
    assert sorted(finished) == [
        ("GET /labs", "INTERNAL"),
        ("launcher.list_labs", "CLIENT"),
        ("launcher.list_labs", "SERVER"),
    ]
    client, server = finished["launcher.list_labs", "CLIENT"], finished["launcher.list_labs", "SERVER"]
    assert server.parent is not None
    assert client.parent is not None
    assert server.parent.span_id == client.context.span_id
    assert f"{server.context.trace_id:032x}" == TRACE
    assert server.attributes is not None
    assert server.attributes["messaging.system"] == "nats"
    assert seen == [TRACE, None]


async def test_an_unsampled_trace_is_followed_without_spans(
    spans: InMemorySpanExporter, platform: Platform, rpc_stub: RpcStub
) -> None:
    seen: list[str | None] = []

    def answer(_: LabsQuery) -> Page[Lab]:
        seen.append(telemetry.trace_id())
        return Page[Lab](items=[])

    await rpc_stub.answer(LIST_LABS, answer)
    gateway = platform.messaging("gateway")
    await gateway.start()
    with telemetry.continued({"traceparent": f"00-{TRACE}-{PARENT}-00"}):
        await gateway.rpc.call(LIST_LABS, LabsQuery())
    assert seen == [TRACE]
    assert spans.get_finished_spans() == ()
