"""Envoy itself, with stand-ins for the gateway, the observer and one lab behind it."""

import asyncio
import hashlib
import hmac
import json
import shutil
import sysconfig
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import ClientSession, ClientTimeout, TCPConnector, UnixConnector, WSMsgType, web
from joserfc import jwt
from joserfc.jwk import ECKey

from datalabs_standalone.edge import EdgeSettings, write_config
from datalabs_testing.ports import free_port as free_port  # noqa: PLC0414 - handed on

LAB = "k3v9x2mmpq"
KEY = bytes(range(32))


@dataclass
class Edge:
    """A running edge and all that its stand-ins saw."""

    port: int
    lab_port: int
    signing_key: ECKey
    folder: Path
    session: ClientSession
    asked: list[web.Request] = field(default_factory=list)
    uploaded: int = 0
    gateway: web.AppRunner | None = None
    envoy_pid: int = 0

    @property
    def lab_host(self) -> str:
        """The lab's host as a browser sends it."""
        return f"{LAB}.localhost:{self.port}"

    def token(self, *, host: str | None = None, seconds: int = 60, upstream: str | None = None) -> str:
        """Return a route token as the gateway would make it."""
        now = int(time.time())
        claims = {
            "iss": "datalabs",
            "aud": host or f"{LAB}.localhost",
            "sub": "ada",
            "upstream": upstream or f"127.0.0.1:{self.lab_port}",
            "lab": LAB,
            "attempt": 1,
            "trace": "0af7651916cd43dd8448eb211c80319c",
            "iat": now,
            "exp": now + seconds,
        }
        return jwt.encode({"alg": "ES256", "kid": "route"}, claims, self.signing_key)

    def url(self, path: str = "/") -> str:
        """Return the address by loopback: Python does not resolve `<lab>.localhost`."""
        return f"http://127.0.0.1:{self.port}{path}"

    def lab_secret(self) -> str:
        """Return what the launcher gives the lab: HMAC-SHA256 of the edge key over `<lab>:<attempt>`."""
        return hmac.new(KEY, f"{LAB}:1".encode(), hashlib.sha256).hexdigest()

    def headers(self, *, token: str | None = None, **more: str) -> dict[str, str]:
        """Return a browser's headers on the lab's origin."""
        cookies = "a=1; b=2" if token is None else f"a=1; __Host-lab={token}; b=2"
        return {"Host": self.lab_host, "Cookie": cookies, **more}


async def _serve(app: web.Application, site_of: object) -> web.AppRunner:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    await site_of(runner).start()  # type: ignore[operator]
    return runner


def _lab_app(edge: Edge) -> web.Application:
    async def echo(request: web.Request) -> web.StreamResponse:
        if request.headers.get("upgrade", "").lower() == "websocket":
            ws = web.WebSocketResponse()
            await ws.prepare(request)
            async for message in ws:
                if message.type == WSMsgType.TEXT:
                    await ws.send_str(message.data)
            return ws
        response = web.json_response({"headers": dict(request.headers), "path": request.path_qs})
        response.headers.add("Set-Cookie", "mine=1; Domain=.localhost; Path=/")
        response.headers.add("Set-Cookie", "also=2; Path=/")
        response.headers.add("Set-Cookie", "__Host-lab=forged; Path=/; Secure")
        return response

    async def upload(request: web.Request) -> web.Response:
        async for chunk in request.content.iter_chunked(1 << 20):
            edge.uploaded += len(chunk)
        return web.Response(text="ok")

    app = web.Application(client_max_size=1 << 40)
    app.router.add_route("*", "/upload", upload)
    app.router.add_route("*", "/{path:.*}", echo)
    return app


def _gateway_app(edge: Edge) -> web.Application:
    async def authorize(request: web.Request) -> web.Response:
        edge.asked.append(request)
        if "__Host-lab-session=good" in request.headers.get("cookie", ""):
            return web.Response(
                headers={
                    "x-lab-upstream": f"127.0.0.1:{edge.lab_port}",
                    "x-lab-id": LAB,
                    "x-lab-attempt": "1",
                    "set-cookie": f"__Host-lab={edge.token()}; Path=/; Secure; HttpOnly",
                }
            )
        return web.Response(status=302, headers={"location": "http://localhost/labs"})

    async def anything(request: web.Request) -> web.Response:
        response = web.json_response(
            {"gateway": True, "headers": dict(request.headers), "path": request.path_qs}
        )
        response.headers.add("Set-Cookie", "__Host-lab=fresh; Path=/; Secure")
        return response

    app = web.Application()
    app.router.add_route("*", "/edge/authorize{path:.*}", authorize)
    app.router.add_route("*", "/{path:.*}", anything)
    return app


async def start_gateway(edge: Edge) -> None:
    """Start, or start again, the stand-in for the gateway."""
    edge.gateway = await _serve(
        _gateway_app(edge), lambda runner: web.UnixSite(runner, str(edge.folder / "gateway.sock"))
    )


async def _until_live(folder: Path) -> None:
    async with ClientSession(connector=UnixConnector(str(folder / "admin.sock"))) as admin:
        for _ in range(400):
            try:
                async with admin.get("http://envoy/ready") as answer:
                    if answer.ok:
                        return
            except OSError:
                pass
            await asyncio.sleep(0.025)
    raise TimeoutError((folder / "envoy.log").read_text()[-2000:])


@pytest.fixture
async def edge() -> AsyncIterator[Edge]:
    """Run a real Envoy with the platform's configuration, and stand-ins behind it."""
    folder = Path(tempfile.mkdtemp(prefix="edge-", dir="/tmp"))
    signing_key = ECKey.generate_key("P-256")
    public = {**signing_key.as_dict(private=False), "kid": "route", "alg": "ES256", "use": "sig"}
    (folder / "jwks.json").write_text(json.dumps({"keys": [public]}))
    session = ClientSession(
        connector=TCPConnector(limit=0), timeout=ClientTimeout(total=20), auto_decompress=False
    )
    edge = Edge(
        port=free_port(), lab_port=free_port(), signing_key=signing_key, folder=folder, session=session
    )
    settings = EdgeSettings(
        port=edge.port,
        public_url=f"http://localhost:{edge.port}",
        gateway_socket=folder / "gateway.sock",
        observer_socket=folder / "observer.sock",
        admin_socket=folder / "admin.sock",
        route_jwks=folder / "jwks.json",
        edge_key=KEY,
    )
    write_config(settings, folder / "envoy.json")
    lab = await _serve(_lab_app(edge), lambda runner: web.TCPSite(runner, "127.0.0.1", edge.lab_port))
    await start_gateway(edge)
    with (folder / "envoy.log").open("wb") as log:
        envoy = await asyncio.create_subprocess_exec(
            str(Path(sysconfig.get_path("scripts")) / "envoy"),
            *(
                "-c",
                str(folder / "envoy.json"),
                "--concurrency",
                "1",
                "--disable-hot-restart",
                "-l",
                "warning",
            ),
            stdout=log,
            stderr=log,
        )
    edge.envoy_pid = envoy.pid
    try:
        await _until_live(folder)
        yield edge
    finally:
        await session.close()
        envoy.terminate()
        await envoy.wait()
        await lab.cleanup()
        if edge.gateway is not None:
            await edge.gateway.cleanup()
        shutil.rmtree(folder)
