"""The border: bodies, origins, rates, headers, traces."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_gateway.limits import Buckets
from datalabs_runtime import telemetry
from datalabs_runtime.settings import TelemetrySettings

LAB = "k3v9x2mnpq"
LAUNCH = {"datalab": "jupyterlab"}


@pytest.fixture
def fakes(fakes: Any, a_lab: Any) -> Any:
    fakes.labs = {LAB: a_lab(LAB), "kbbbbbbbbb": a_lab("kbbbbbbbbb", "bob")}
    return fakes


async def raw(stage: Any, head: str, body: bytes = b"") -> str:
    """Send bytes as they are; return the answer once the connection was ended."""
    reader, writer = await asyncio.open_unix_connection(str(stage.folder / "run" / "gateway.sock"))
    answer = b""
    try:
        writer.write(head.replace("\n", "\r\n").encode() + b"\r\n" + body)
        async with asyncio.timeout(5):
            while part := await reader.read(1000):
                answer += part
    except ConnectionResetError:
        pass  # what was sent and never read
    finally:
        writer.close()
    return answer.decode()


async def test_a_body_of_ten_megabytes_is_refused_unread(stage: Any) -> None:
    client = await stage.signed_in("ada")
    cookie = client.headers["cookie"]
    # Ten megabytes are announced, none is sent: the answer comes all the same, and the connection ends.
    head = (
        f"POST /api/v1/labs HTTP/1.1\nHost: localhost:8080\nCookie: {cookie}\n"
        "Content-Type: application/json\nContent-Length: 10485760\n"
    )
    answer = await raw(stage, head)
    assert answer.startswith("HTTP/1.1 413")
    assert '"code":"body_too_large"' in answer
    chunked = head.replace("Content-Length: 10485760", "Transfer-Encoding: chunked")
    piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    answer = await raw(stage, chunked, piece * 20)
    assert answer.startswith("HTTP/1.1 413")


async def test_ten_megabytes_by_an_ordinary_client(stage: Any, fakes: Any) -> None:
    client = await stage.signed_in("ada")
    answer = await client.post("/api/v1/labs", json={**LAUNCH, "name": "x" * 10_000_000})
    assert answer.status_code == 413
    assert answer.json()["code"] == "body_too_large"
    assert fakes.times("launch_lab") == 0
    assert (await client.post("/api/v1/labs", json=LAUNCH)).status_code == 202


OWN_PAGES: list[dict[str, str]] = [
    {},
    {"origin": "http://localhost:8080"},
    {"origin": "http://localhost:8080", "sec-fetch-site": "same-origin"},
    {"sec-fetch-site": "same-origin"},
    {"sec-fetch-site": "none"},
    {"origin": "http://localhost:9000", "host": "localhost:9000"},
]
OTHER_PAGES: list[dict[str, str]] = [
    {"origin": "http://localhost:9000"},
    {"origin": f"http://{LAB}.localhost:8080"},
    {"origin": "http://localhost.evil.example:8080"},
    {"origin": "http://evil.example", "host": "evil.example"},
    {"origin": "http://["},
    {"origin": "null"},
    {"origin": ""},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "cross-site"},
]


async def test_changes_come_from_the_platforms_own_pages(stage: Any, fakes: Any) -> None:
    client = await stage.signed_in("ada")
    for headers in OWN_PAGES:
        for method, path in (("POST", "/labs"), ("DELETE", f"/labs/{LAB}")):
            answer = await client.request(method, "/api/v1" + path, json=LAUNCH, headers=headers)
            assert answer.status_code == 202, headers
    asked = len(fakes.asked)
    for headers in OTHER_PAGES:
        for method, path in (("POST", "/labs"), ("DELETE", f"/labs/{LAB}"), ("POST", f"/labs/{LAB}/open")):
            answer = await client.request(method, "/api/v1" + path, json=LAUNCH, headers=headers)
            assert answer.status_code == 403, headers
            assert answer.json()["code"] == "foreign_origin"
        assert (await client.get("/api/v1/labs", headers=headers)).status_code == 200
    assert len(fakes.asked) == asked


async def test_signing_in_is_guarded_by_origin_too(stage: Any) -> None:
    answer = await stage.client().post(
        "/api/v1/session",
        json={"username": "ada", "password": "x"},
        headers={"origin": "http://evil.example"},
    )
    assert answer.json()["code"] == "foreign_origin"


async def test_a_bearer_token_takes_the_cookie_out_of_play(stage: Any) -> None:
    client = await stage.signed_in("ada")
    headers = {"authorization": "Bearer nonsense", "origin": "http://evil.example"}
    for answer in (
        await client.post("/api/v1/labs", json=LAUNCH, headers=headers),
        await client.get("/api/v1/labs", headers=headers),
    ):
        assert answer.status_code == 401


@pytest.mark.parametrize("gateway_settings", [{"reads_per_second": 1.0, "launches_per_ten_seconds": 3.0}])
async def test_rates_are_bounded_for_each_person(stage: Any) -> None:
    ada, bob, admin = [await stage.signed_in(name) for name in ("ada", "bob", "admin")]
    answers = await asyncio.gather(*(ada.get("/api/v1/labs") for _ in range(60)))
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert refused[0].json()["code"] == "rate_limited"
    assert int(refused[0].headers["retry-after"]) >= 1
    launches = await asyncio.gather(*(ada.post("/api/v1/labs", json=LAUNCH) for _ in range(20)))
    codes = [answer.status_code for answer in launches]
    assert codes.count(202) >= 3
    assert 429 in codes
    assert (await bob.get("/api/v1/labs")).status_code == 200
    assert all(
        answer.status_code == 200
        for answer in await asyncio.gather(*(admin.get("/api/v1/labs") for _ in range(60)))
    )


async def test_the_default_rates_allow_what_was_promised(stage: Any) -> None:
    client = await stage.signed_in("ada")
    launches = await asyncio.gather(*(client.post("/api/v1/labs", json=LAUNCH) for _ in range(100)))
    assert {answer.status_code for answer in launches} == {202}
    launches = await asyncio.gather(*(client.post("/api/v1/labs", json=LAUNCH) for _ in range(100)))
    assert 429 in {answer.status_code for answer in launches}


def test_a_bucket_refills() -> None:
    now = [0.0]
    buckets = Buckets(rate=10, burst=2, now=lambda: now[0])
    waits: list[float | None] = []

    def taken(count: int) -> int:
        done = 0
        for _ in range(count):
            try:
                buckets.take("ada")
                done += 1
            except ProblemError as error:
                waits.append(error.retry_after)
        return done

    assert taken(5) == 2
    now[0] = 0.1
    assert taken(5) == 1
    now[0] = 100.0
    assert taken(5) == 2
    assert all(0 < (wait or 0) <= 0.1 for wait in waits)


async def test_every_answer_has_the_security_headers(stage: Any) -> None:
    client = await stage.signed_in("ada")
    for path in ("/api/v1/labs", f"/api/v1/labs/{LAB}", "/api/v1/me", "/api/v1/nowhere", "/", "/health/live"):
        for answer in (await client.get(path), await client.get(path)):
            headers = answer.headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "same-origin"
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert headers["cross-origin-opener-policy"] == "same-origin"
            assert headers["cross-origin-resource-policy"] == "same-origin"
            assert "server" not in headers


async def test_a_mistake_of_ours_is_a_problem_without_its_text(stage: Any) -> None:
    client = await stage.signed_in("ada")

    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("the secret is xyzzy")

    stage.parts.gateway.people.me = broken
    answer = await client.get("/api/v1/me")
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal_error"
    assert "xyzzy" not in answer.text


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    pipeline = telemetry.setup("gateway", TelemetrySettings(), exporter=exporter)
    pipeline.flush()
    exporter.flush = pipeline.flush  # type: ignore[attr-defined]
    yield exporter
    pipeline.shutdown()
    telemetry.setup("gateway", TelemetrySettings(enabled=False))


async def test_the_clicks_trace_goes_through(spans: InMemorySpanExporter, stage: Any, fakes: Any) -> None:
    trace_id, click = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    client = await stage.signed_in("ada")
    answer = await client.post(
        "/api/v1/labs", json=LAUNCH, headers={"traceparent": f"00-{trace_id}-{click}-00"}
    )
    assert answer.headers["x-trace-id"] == trace_id
    refused = await client.post("/api/v1/labs", json={}, headers={"traceparent": f"00-{trace_id}-{click}-01"})
    assert refused.json()["trace_id"] == trace_id
    assert fakes.times("launch_lab") == 1
    spans.flush()  # type: ignore[attr-defined]
    ours = [span for span in spans.get_finished_spans() if f"{span.context.trace_id:032x}" == trace_id]
    names = [span.name for span in ours]
    assert names.count("POST /api/v1/labs") == 2
    server = next(span for span in ours if span.name == "POST /api/v1/labs")
    assert f"{server.parent.span_id:016x}" == click
    call = next(span for span in ours if span.name == "launcher.launch_lab")
    assert call.context.trace_id == server.context.trace_id


async def test_reads_are_recorded_only_when_asked_and_seldom(spans: InMemorySpanExporter, stage: Any) -> None:
    client = await stage.signed_in("ada")
    for _ in range(5):
        await client.get("/api/v1/sizes")
    await client.get("/api/v1/sizes", headers={"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"})
    for _ in range(200):
        await client.get("/api/v1/volumes", headers={"traceparent": f"00-{'c' * 32}-{'b' * 16}-01"})
    spans.flush()  # type: ignore[attr-defined]
    names = [span.name for span in spans.get_finished_spans()]
    assert names.count("GET /api/v1/sizes") == 1
    assert 1 <= names.count("GET /api/v1/volumes") < 200


@pytest.mark.parametrize("gateway_settings", [{"strangers_per_second": 2.0}])
async def test_who_may_not_come_in_cannot_wear_the_door_out(stage: Any) -> None:
    client = stage.client()
    answers = [
        await client.get("/api/v1/me", headers={"cookie": f"__Host-datalabs-session={number}"})
        for number in range(60)
    ]
    codes = [answer.json()["code"] for answer in answers]
    assert codes[0] == ProblemCode.SESSION_EXPIRED
    assert ProblemCode.RATE_LIMITED in codes
    # Somebody else's address is not touched by it.
    other = stage.client(**{"x-forwarded-for": "198.51.100.7"})
    assert (await other.get("/api/v1/me")).json()["code"] == ProblemCode.NOT_SIGNED_IN


async def test_websockets_are_not_ours(stage: Any) -> None:
    head = (
        "GET /api/v1/events HTTP/1.1\nHost: localhost:8080\nConnection: Upgrade\nUpgrade: websocket\n"
        "Sec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nConnection: close\n"
    )
    answer = await raw(stage, head)
    assert answer.startswith("HTTP/1.1 401")
    assert json.loads(answer.partition("\r\n\r\n")[2])["code"] == "not_signed_in"
