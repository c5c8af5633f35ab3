import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from datalabs_contracts.observations import TraceQuery
from datalabs_observer.ingest import Ingest
from datalabs_observer.spans import Spans
from datalabs_runtime.clock import SystemClock
from datalabs_runtime.database import Database
from datalabs_runtime.export import OtlpExporter

TRACE = "0af7651916cd43dd8448eb211c80319c"
PROTOBUF = {"Content-Type": "application/x-protobuf"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def spans(db: Database) -> AsyncIterator[Spans]:
    part = Spans(database=db, clock=SystemClock(), capacity=10)
    await part.start()
    yield part
    await part.aclose()


@pytest.fixture
async def socket(spans: Spans, platform: Any) -> AsyncIterator[Path]:
    path: Path = platform.folder / "run" / "observer.sock"
    await asyncio.to_thread(path.touch)  # as a killed predecessor leaves it
    ingest = Ingest(
        socket=path, spans=spans, clock=SystemClock(), body_max_bytes=100_000, oldest=timedelta(days=14)
    )
    await ingest.start()
    yield path
    await ingest.aclose()


@pytest.fixture
async def client(socket: Path) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(
        "http://observer", connector=aiohttp.UnixConnector(path=str(socket))
    ) as session:
        yield session


def document(count: int = 1, **changes: Any) -> bytes:
    now = int(SystemClock().now().timestamp() * 1e9)
    spans = [
        {
            "traceId": TRACE,
            "spanId": f"{number + 1:016x}",
            "name": "step",
            "startTimeUnixNano": str(now + number),
            "endTimeUnixNano": str(now + 1000),
        }
        | changes
        for number in range(count)
    ]
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).encode()


async def test_the_runtimes_own_exporter_is_understood(socket: Path, spans: Spans) -> None:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(OtlpExporter(f"unix:{socket}")))

    def work() -> int:
        with provider.get_tracer("test").start_as_current_span("outer") as outer:
            with provider.get_tracer("test").start_as_current_span("inner"):
                pass
            return outer.get_span_context().trace_id

    trace_id = await asyncio.to_thread(work)
    await asyncio.to_thread(provider.shutdown)
    await spans.drain()
    items = (await spans.trace(TraceQuery(trace_id=f"{trace_id:032x}"))).items
    assert [one.name for one in items] == ["outer", "inner"]
    assert items[1].parent_id == items[0].span_id


async def test_json_and_gzip_are_understood(client: aiohttp.ClientSession, spans: Spans) -> None:
    body = gzip.compress(document(3))
    async with client.post("/v1/traces", data=body, headers=JSON | {"Content-Encoding": "gzip"}) as answer:
        assert answer.status == 200
        assert await answer.json() == {}
    await spans.drain()
    assert len((await spans.trace(TraceQuery(trace_id=TRACE))).items) == 3


async def test_a_flood_is_dropped_counted_and_said(client: aiohttp.ClientSession, spans: Spans) -> None:
    async with client.post("/v1/traces", data=document(25), headers=JSON) as answer:
        assert answer.status == 200
        assert await answer.json() == {
            "partialSuccess": {"rejectedSpans": "15", "errorMessage": "15 found no room"}
        }
    await spans.drain()
    async with client.get("/metrics") as answer:
        assert 'observer_spans_dropped_total{reason="full"}' in await answer.text()


async def test_what_is_refused_is_said_in_protobuf_too(client: aiohttp.ClientSession) -> None:
    async with client.post("/v1/traces", data=b"", headers=PROTOBUF) as answer:
        assert answer.status == 200
        assert ExportTraceServiceResponse.FromString(await answer.read()).partial_success.rejected_spans == 0
    async with client.post("/v1/traces", data=document(startTimeUnixNano="1"), headers=JSON) as answer:
        assert (await answer.json())["partialSuccess"]["rejectedSpans"] == "1"


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"\xff\xff", PROTOBUF, 400),
        (b"{", JSON, 400),
        (b"hello", {"Content-Type": "text/plain"}, 415),
        (b"x" * 200_000, PROTOBUF, 413),
        (gzip.compress(b" " * 50_000_000), JSON | {"Content-Encoding": "gzip"}, 413),
        (b"not gzip", JSON | {"Content-Encoding": "gzip"}, 400),
        (gzip.compress(document())[:-20], JSON | {"Content-Encoding": "gzip"}, 400),
    ],
)
async def test_bad_bodies_are_refused(
    client: aiohttp.ClientSession, body: bytes, headers: dict[str, str], status: int
) -> None:
    async with client.post("/v1/traces", data=body, headers=headers) as answer:
        assert answer.status == status
    async with client.post("/v1/traces", data=document(), headers=JSON) as answer:
        assert answer.status == 200
