"""Spans of browsers and labs: who may send them, what is written over them, where they go."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from joserfc import jwt
from joserfc.jwk import ECKey
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from datalabs_gateway import otlp

LAB = "k3v9x2mnpq"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def a_body(**attributes: str) -> dict[str, Any]:
    given = [{"key": name, "value": {"stringValue": value}} for name, value in attributes.items()]
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "gateway"}}]},
                "scopeSpans": [
                    {
                        "spans": [
                            {
                                "traceId": TRACE,
                                "spanId": "00f067aa0ba902b7",
                                "parentSpanId": "",
                                "name": "click",
                                "kind": 3,
                                "startTimeUnixNano": "1700000000000000000",
                                "endTimeUnixNano": "1700000000010000000",
                                "attributes": given,
                            }
                        ]
                    }
                ],
            }
        ]
    }


def lab_token(identities: Path, signed_by: str = "launcher", **change: Any) -> str:
    key = ECKey.import_key((identities / "identity" / f"{signed_by}.key").read_text())
    now = int(time.time())
    claims = {
        "iss": "launcher", "aud": "datalabs-lab", "sub": f"lab:{LAB}", "lab": LAB, "attempt": 1, "owner": "ada",
        "iat": now, "exp": now + 3600,
    }  # fmt: skip
    return jwt.encode({"alg": "ES256", "kid": signed_by}, {**claims, **change}, key)


@pytest.fixture
async def collected(stage: Any) -> AsyncIterator[list[ExportTraceServiceRequest]]:
    """The observer's door."""
    found: list[ExportTraceServiceRequest] = []

    async def take(request: web.Request) -> web.Response:
        found.append(ExportTraceServiceRequest.FromString(await request.read()))
        return web.Response()

    app = web.Application()
    app.router.add_post("/v1/traces", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(stage.folder / "run" / "observer.sock")).start()
    yield found
    await runner.cleanup()


def resource_of(request: ExportTraceServiceRequest) -> dict[str, str]:
    return {pair.key: pair.value.string_value for pair in request.resource_spans[0].resource.attributes}


async def test_a_pages_span_reaches_the_observer_under_the_servers_marks(stage: Any, collected: Any) -> None:
    client = await stage.signed_in("ada")
    answer = await client.post(
        "/api/v1/telemetry", json=a_body(**{"datalabs.lab.id": "stolen", "page": "/catalogue"})
    )
    assert answer.status_code == 202
    await stage.until(lambda: len(collected) == 1)
    assert resource_of(collected[0]) == {"service.name": "dashboard", "enduser.id": "ada"}
    span = collected[0].resource_spans[0].scope_spans[0].spans[0]
    assert span.trace_id.hex() == TRACE
    assert [pair.key for pair in span.attributes] == ["page"]


async def test_a_labs_span_carries_its_lab(stage: Any, collected: Any, identities: Path) -> None:
    body = ExportTraceServiceRequest()
    body.resource_spans.add().scope_spans.add().spans.add(name="start", trace_id=bytes.fromhex(TRACE))
    answer = await stage.client().post(
        "/api/v1/telemetry/v1/traces",
        content=body.SerializeToString(),
        headers={
            "authorization": f"Bearer {lab_token(identities)}",
            "content-type": "application/x-protobuf",
        },
    )
    assert answer.status_code == 200
    await stage.until(lambda: len(collected) == 1)
    assert resource_of(collected[0]) == {
        "service.name": "lab",
        "datalabs.lab.id": LAB,
        "enduser.id": "ada",
    }


async def test_strangers_and_forged_tokens_are_refused(stage: Any, identities: Path) -> None:
    client = stage.client()
    tokens = [
        "nonsense",
        lab_token(identities, signed_by="storage"),
        lab_token(identities, aud="other"),
        lab_token(identities, exp=int(time.time()) - 1),
        lab_token(identities, lab=None),
    ]
    for token in tokens:
        answer = await client.post(
            "/api/v1/telemetry", json=a_body(), headers={"authorization": f"Bearer {token}"}
        )
        assert answer.json()["code"] == "not_signed_in", token
    assert (await client.post("/api/v1/telemetry", json=a_body())).json()["code"] == "not_signed_in"
    foreign = await client.post("/api/v1/telemetry", json=a_body(), headers={"origin": "http://evil.example"})
    assert foreign.json()["code"] == "foreign_origin"
    own = await client.post("/api/v1/telemetry", json=a_body(), headers={"origin": "http://localhost:8080"})
    assert own.status_code == 202


async def test_bodies_of_another_form_or_size_are_refused(stage: Any) -> None:
    client = await stage.signed_in("ada")
    for content, kind in (
        (b"{broken", "application/json"),
        (b'{"resourceSpans": 3}', "application/json"),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": 5}]}]}]}', "application/json"),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "xyz"}]}]}]}', "application/json"),
        (b"[" * 5000 + b"]" * 5000, "application/json"),
        (b"\xff\xff\xff", "application/x-protobuf"),
        (b"x=1", "application/x-www-form-urlencoded"),
    ):
        answer = await client.post("/api/v1/telemetry", content=content, headers={"content-type": kind})
        assert answer.json()["code"] == "invalid_request", content[:40]
    big = b'{"x": "' + b"x" * 300_000 + b'"}'
    answer = await client.post("/api/v1/telemetry", content=big, headers={"content-type": "application/json"})
    assert answer.json()["code"] == "body_too_large"


async def test_an_absent_observer_costs_nothing_and_rates_hold(stage: Any) -> None:
    client = await stage.signed_in("ada")
    begun = time.perf_counter()
    answers = await asyncio.gather(*(client.post("/api/v1/telemetry", json=a_body()) for _ in range(70)))
    assert time.perf_counter() - begun < 2
    codes = [answer.status_code for answer in answers]
    assert codes.count(202) >= 50
    assert 429 in codes


def test_too_many_spans_are_cut_off() -> None:
    body = ExportTraceServiceRequest()
    scope = body.resource_spans.add().scope_spans.add()
    for _ in range(otlp.SPANS + 5):
        scope.spans.add(name="x")
    body.resource_spans.add().scope_spans.add().spans.add(name="y")
    assert otlp.mark(body, {"service.name": "lab"}) == otlp.SPANS
    assert len(body.resource_spans[1].scope_spans[0].spans) == 0
