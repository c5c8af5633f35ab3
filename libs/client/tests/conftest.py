"""A stand-in for the platform: sign-in, labs, live events and one lab's origin, on a real socket."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

LAB_ID = "k3v9x2mmpq"


@dataclass
class StandIn:
    """What the stand-in answers with, and what it was asked."""

    port: int = 0
    lab: dict[str, Any] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    last_ids: list[str | None] = field(default_factory=list)
    streams: list[asyncio.Queue[bytes | None]] = field(default_factory=list)
    refuse_launches: int = 0
    followed: asyncio.Event = field(default_factory=asyncio.Event)
    number: int = 0

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    def become(self, state: str, *, tell: bool = True, **more: Any) -> None:
        """Change the lab, and tell those who follow."""
        self.lab = {**self.lab, "state": state, "revision": self.lab["revision"] + 1, **more}
        if tell:
            self.number += 1
            event = {"entity": "lab", "entity_id": LAB_ID, "fact": state, "data": {"lab": self.lab}}
            self.send(f"id: e-{self.number}\nevent: lab\ndata: {json.dumps(event)}\n\n".encode())

    def send(self, frame: bytes | None) -> None:
        for stream in self.streams:
            stream.put_nowait(frame)


def _refusal(status: int, code: str) -> web.Response:
    document = {"type": "about:blank", "title": code, "status": status, "code": code}
    return web.json_response(document, status=status, content_type="application/problem+json")


def _signed_in(request: web.Request) -> bool:
    return "__Host-datalabs-session=s3cret" in request.headers.get("cookie", "")


class _Routes:
    """The stand-in's side of the public interface."""

    def __init__(self, platform: StandIn) -> None:
        self.platform = platform

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/api/v1/session", self.sign_in)
        app.router.add_get("/api/v1/events", self.events)
        app.router.add_get("/api/v1/labs", self.list_labs)
        app.router.add_post("/api/v1/labs", self.launch)
        app.router.add_route("*", "/api/v1/labs/{id}", self.one)
        app.router.add_post("/api/v1/labs/{id}/{action}", self.act)
        app.router.add_route("*", "/{path:.*}", self.lab_origin)
        return app

    async def sign_in(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body != {"username": "ada", "password": "good"}:
            return _refusal(401, "wrong_credentials")
        response = web.json_response({})
        cookie = "__Host-datalabs-session=s3cret; Path=/; Secure; HttpOnly; SameSite=Lax"
        response.headers.add("Set-Cookie", cookie)
        return response

    async def launch(self, request: web.Request) -> web.Response:
        if not _signed_in(request):
            return _refusal(401, "not_signed_in")
        assert request.headers["origin"] == f"http://localhost:{self.platform.port}"
        self.platform.keys.append(request.headers["idempotency-key"])
        if self.platform.refuse_launches:
            self.platform.refuse_launches -= 1
            return _refusal(503, "service_unavailable")
        return web.json_response(self.platform.lab, status=202)

    async def one(self, request: web.Request) -> web.Response:
        if request.match_info["id"] != LAB_ID:
            return _refusal(404, "not_found")
        self.platform.asked.append(request.method)
        return web.json_response(self.platform.lab)

    async def act(self, request: web.Request) -> web.Response:
        action = request.match_info["action"]
        self.platform.asked.append(action)
        if action == "open":
            host = f"{LAB_ID}.localhost:{self.platform.port}"
            return web.json_response({"url": f"http://{host}/.datalabs/enter?code=once"})
        if action == "stop":
            self.platform.become("stopping")
        return web.json_response(self.platform.lab)

    async def list_labs(self, request: web.Request) -> web.Response:
        if request.query.get("cursor") == "more":
            return web.json_response({"items": [self.platform.lab]})
        return web.json_response({"items": [self.platform.lab], "next": "more"})

    async def events(self, request: web.Request) -> web.StreamResponse:
        if not _signed_in(request):
            return _refusal(401, "not_signed_in")
        self.platform.last_ids.append(request.headers.get("last-event-id"))
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        frames: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.platform.streams.append(frames)
        self.platform.followed.set()
        await response.write(b"retry: 1000\n\nid: e-0\nevent: hello\ndata: {}\n\n: comment\n\n")
        try:
            while (frame := await frames.get()) is not None:
                await response.write(frame)
        finally:
            self.platform.streams.remove(frames)
        return response

    async def lab_origin(self, request: web.Request) -> web.Response:
        if not request.host.startswith(LAB_ID):
            return _refusal(404, "not_found")
        if request.path == "/.datalabs/enter":
            response = web.Response(status=302, headers={"location": "/lab"})
            response.headers.add("Set-Cookie", "__Host-lab=token; Path=/; Secure")
            return response
        return web.json_response({"host": request.host, "cookie": request.headers.get("cookie", "")})


@pytest.fixture
async def platform() -> AsyncIterator[StandIn]:
    stand_in = StandIn(
        lab={
            "id": LAB_ID,
            "name": "mine",
            "owner": "ada",
            "datalab": "jupyterlab",
            "version": "4.6",
            "kind": "notebook",
            "size": "small",
            "state": "queued",
            "attempt": 1,
            "revision": 1,
            "created_at": datetime.now(UTC).isoformat(),
        }
    )
    runner = web.AppRunner(_Routes(stand_in).app(), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    stand_in.port = runner.addresses[0][1]
    yield stand_in
    stand_in.send(None)
    await runner.cleanup()
