import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, TCPConnector, UnixConnector, WSServerHandshakeError

from datalabs_testing.edge import LAB, Edge


async def seen_by_lab(edge: Edge, path: str = "/", **headers: str) -> dict[str, Any]:
    async with edge.session.get(
        edge.url(path), headers=edge.headers(token=edge.token(), **headers)
    ) as answer:
        assert answer.status == 200
        seen: dict[str, Any] = await answer.json()
    seen["headers"] = {name.lower(): value for name, value in seen["headers"].items()}
    return seen


async def test_own_token_goes_straight_to_the_lab(edge: Edge) -> None:
    seen = await seen_by_lab(edge, "/tree?x=1")
    assert seen["path"] == "/tree?x=1"
    assert edge.asked == []


async def test_the_lab_gets_its_secret_and_never_the_platforms_cookies(edge: Edge) -> None:
    headers = (await seen_by_lab(edge))["headers"]
    assert headers["x-lab-secret"] == edge.lab_secret()
    assert headers["cookie"] == "a=1; b=2"
    assert "x-lab-upstream" not in headers or headers["x-lab-upstream"].startswith("127.0.0.1:")
    assert not {"x-lab-id", "x-lab-attempt"} & headers.keys()


async def test_what_a_client_sends_never_chooses_the_way(edge: Edge) -> None:
    spoofed = {
        "X-Lab-Upstream": "127.0.0.1:1",
        "X-Lab-Secret": "mine",
        "Authorization": "token x",
        "X-Lab-Id": "zz",
    }
    headers = (await seen_by_lab(edge, **spoofed))["headers"]
    assert headers["x-lab-secret"] == edge.lab_secret()
    assert "authorization" not in headers


async def test_no_token_asks_the_gateway_which_sends_the_reader_away(edge: Edge) -> None:
    async with edge.session.get(edge.url("/lab"), headers=edge.headers(), allow_redirects=False) as answer:
        assert answer.status == 302
    assert [request.path for request in edge.asked] == ["/edge/authorize/lab"]
    assert edge.asked[0].headers["host"] == edge.lab_host


async def test_a_good_session_is_let_in_and_gets_a_fresh_token(edge: Edge) -> None:
    headers = edge.headers()
    headers["Cookie"] = "__Host-lab-session=good"
    async with edge.session.get(edge.url(), headers=headers) as answer:
        assert answer.status == 200
        seen = {name.lower(): value for name, value in (await answer.json())["headers"].items()}
        cookies = answer.headers.getall("set-cookie")
    assert seen["x-lab-secret"] == edge.lab_secret()
    assert not {"cookie", "x-lab-id", "x-lab-attempt"} & seen.keys()
    assert "__Host-lab=forged; Path=/; Secure" not in cookies
    assert [cookie for cookie in cookies if not cookie.startswith("__Host-lab=ey")] == [
        "mine=1; Path=/",
        "also=2; Path=/",
    ]
    assert len(cookies) == 3


@pytest.mark.parametrize("broken", ["other host", "expired", "garbage"])
async def test_a_token_that_does_not_count_asks_the_gateway(edge: Edge, broken: str) -> None:
    token = {
        "other host": edge.token(host="zzzzzzzzzz.localhost"),
        "expired": edge.token(seconds=-30),
        "garbage": "eyJhbGciOiJub25lIn0.e30.",
    }[broken]
    async with edge.session.get(
        edge.url(), headers=edge.headers(token=token), allow_redirects=False
    ) as answer:
        assert answer.status == 302
    assert len(edge.asked) == 1


async def test_a_labs_cookie_stays_on_its_own_origin(edge: Edge) -> None:
    async with edge.session.get(edge.url(), headers=edge.headers(token=edge.token())) as answer:
        cookies = answer.headers.getall("set-cookie")
    assert cookies == ["mine=1; Path=/", "also=2; Path=/"]


@pytest.mark.parametrize(
    ("method", "origin", "status"),
    [
        ("POST", "own", 200),
        ("POST", None, 200),
        ("POST", "http://evil.example", 403),
        ("DELETE", "null", 403),
        ("PUT", "http://zzzzzzzzzz.localhost", 403),
        ("GET", "http://evil.example", 200),
    ],
)
async def test_a_foreign_page_cannot_act(edge: Edge, method: str, origin: str | None, status: int) -> None:
    headers = edge.headers(token=edge.token())
    if origin is not None:
        headers["Origin"] = f"http://{edge.lab_host}" if origin == "own" else origin
    async with edge.session.request(method, edge.url("/api"), headers=headers) as answer:
        assert answer.status == status
        if status == 403:
            assert (await answer.json(content_type=None))["code"] == "foreign_origin"


async def test_a_websocket_needs_the_own_origin(edge: Edge) -> None:
    own = edge.headers(token=edge.token(), Origin=f"http://{edge.lab_host}")
    async with edge.session.ws_connect(edge.url("/ws"), headers=own) as ws:
        await ws.send_str("hello")
        assert await ws.receive_str() == "hello"
    for origin in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {}):
        with pytest.raises(WSServerHandshakeError, match="403"):
            await edge.session.ws_connect(edge.url("/ws"), headers=edge.headers(token=edge.token(), **origin))


async def test_hosts(edge: Edge) -> None:
    async with edge.session.get(
        edge.url("/x"), headers={"Host": "localhost:9999", "X-Lab-Secret": "s"}
    ) as answer:
        body = await answer.json()
        assert body["gateway"]
        assert "x-lab-secret" not in {name.lower() for name in body["headers"]}
    async with edge.session.get(edge.url("/x"), headers={"Host": "evil.example"}) as answer:
        assert answer.status == 421
    host = {"Host": "127.0.0.1:9999"}
    async with edge.session.get(edge.url("/labs?x=1"), headers=host, allow_redirects=False) as answer:
        assert answer.status == 307
        assert answer.headers["location"] == "http://localhost:9999/labs?x=1"


async def test_our_own_paths_on_a_lab_origin_go_to_the_gateway(edge: Edge) -> None:
    async with edge.session.get(edge.url("/.datalabs/enter?code=1"), headers=edge.headers()) as answer:
        body = await answer.json()
        assert body["path"] == "/.datalabs/enter?code=1"
        assert answer.headers.getall("set-cookie") == ["__Host-lab=fresh; Path=/; Secure"]
    assert edge.asked == []


async def test_a_lab_that_does_not_listen_is_a_readable_page(edge: Edge) -> None:
    nowhere = edge.token(upstream="127.0.0.1:9")
    async with edge.session.get(
        edge.url(), headers=edge.headers(token=nowhere, Accept="text/html")
    ) as answer:
        assert answer.status == 503
        assert answer.content_type == "text/html"
        assert "This lab does not answer" in await answer.text()
    async with edge.session.get(edge.url(), headers=edge.headers(token=nowhere)) as answer:
        assert (await answer.json(content_type=None))["code"] == "lab_not_ready"


async def test_without_the_gateway_open_labs_go_on(edge: Edge) -> None:
    assert edge.gateway is not None
    await edge.gateway.cleanup()
    edge.gateway = None
    await seen_by_lab(edge)
    for host in (edge.lab_host, f"localhost:{edge.port}"):
        async with edge.session.get(edge.url(), headers={"Host": host, "Accept": "text/html"}) as answer:
            assert answer.status == 503
            assert "The platform is starting again" in await answer.text()
        async with edge.session.get(edge.url(), headers={"Host": host}) as answer:
            assert (await answer.json(content_type=None))["code"] == "service_unavailable"


async def test_more_than_1024_websockets_at_once(edge: Edge) -> None:
    """Envoy's default circuit breaker lets 1,024 through and hangs the rest."""
    headers = edge.headers(token=edge.token(), Origin=f"http://{edge.lab_host}")
    sockets = await asyncio.gather(
        *(edge.session.ws_connect(edge.url("/ws"), headers=headers) for _ in range(1100))
    )
    await sockets[-1].send_str("last")
    assert await sockets[-1].receive_str() == "last"
    await asyncio.gather(*(ws.close() for ws in sockets))


async def test_an_upload_streams(edge: Edge) -> None:
    """200 MB pass without Envoy growing by a tenth of it: nothing on the way buffers."""
    total = 200 * 1024 * 1024

    def resident() -> int:
        return int(Path(f"/proc/{edge.envoy_pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    async def body() -> Any:
        block = bytes(1 << 20)
        for _ in range(total >> 20):
            yield block

    before = resident()
    async with ClientSession(connector=TCPConnector()) as session:
        headers = edge.headers(token=edge.token())
        async with session.post(edge.url("/upload"), headers=headers, data=body()) as answer:
            assert answer.status == 200
    assert edge.uploaded == total
    assert resident() - before < total / 10


async def counted(edge: Edge, name: str) -> int:
    """Return one of Envoy's own counters."""
    async with (
        ClientSession(connector=UnixConnector(str(edge.folder / "admin.sock"))) as admin,
        admin.get("http://envoy/stats", params={"filter": f"^{name}$"}) as answer,
    ):
        return int((await answer.text()).strip().rpartition(": ")[2])


async def test_one_request_of_a_page_in_a_hundred_is_traced_and_every_visit(edge: Edge) -> None:
    traced = "http.edge.tracing.random_sampling"
    requests = 600
    await asyncio.gather(*(seen_by_lab(edge) for _ in range(requests)))
    assert await counted(edge, traced) <= requests // 20  # of 6 expected, 30 come once in 10^11 runs
    before = await counted(edge, traced)
    for _ in range(20):
        await seen_by_lab(edge, **{"Sec-Fetch-Mode": "navigate"})
    assert await counted(edge, traced) == before + 20


async def test_a_claim_of_ours_on_our_own_paths_is_not_believed(edge: Edge) -> None:
    spoofed = edge.headers(**{"X-Lab-Upstream": "127.0.0.1:1", "X-Lab-Id": LAB, "X-Lab-Secret": "mine"})
    async with edge.session.get(edge.url("/.datalabs/enter"), headers=spoofed) as answer:
        seen = {name.lower() for name in (await answer.json())["headers"]}
    assert not {"x-lab-upstream", "x-lab-id", "x-lab-secret", "authorization"} & seen


async def test_the_configuration_holds_no_lab(edge: Edge) -> None:
    config = json.loads((edge.folder / "envoy.json").read_text())
    assert LAB not in json.dumps(config)
    assert (edge.folder / "envoy.json").stat().st_mode & 0o077 == 0
