"""Stands between the launcher and a cluster's HTTP API and loses, holds or doubles what the cluster says."""

import asyncio
import contextlib
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

from tests.chaos.matrix import How

STREAM = "/v1/event/stream"
LATE_REPLY_SECONDS = 5.0
"""Longer than the launcher waits in these tests (`WAIT_SECONDS`)."""
WAIT_SECONDS = 3.0
LATE_EVENT_SECONDS = 3.0
CUT_SECONDS = 5.0
READS = {"GET", "HEAD"}
DROPPED = {"transfer-encoding", "content-length", "content-encoding", "connection", "host"}


@dataclass
class Fault:
    """What is to happen, and whether it has.

    Replies: all of them until the first one to something that changes the cluster. Events: to the first line of a stream.
    """

    how: How
    met: int = 0
    done: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def of_replies(self) -> bool:
        return self.how in {How.REPLY_LOST, How.REPLY_LATE}


class NomadProxy:
    """Passes everything on until a fault is armed, the line is cut or held."""

    def __init__(self, port: int, *, upstream: str) -> None:
        self.port = port
        self._upstream = upstream
        self._fault: Fault | None = None
        self._flows = asyncio.Event()
        self._flows.set()
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None
        self._session: aiohttp.ClientSession | None = None

    @property
    def address(self) -> str:
        """Where the launcher finds it."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
        self._session = aiohttp.ClientSession(timeout=timeout, auto_decompress=True, read_bufsize=2**20)
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{path:.*}", self._pass)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await self._accept()

    async def aclose(self) -> None:
        """Stop."""
        self._flows.set()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    # -- harm ----------------------------------------------------------------------------------------------------------

    def arm(self, how: How) -> Fault:
        """Do that from now on."""
        self._fault = Fault(how)
        return self._fault

    def disarm(self, fault: Fault) -> None:
        """Do it no more."""
        if self._fault is fault:
            self._fault = None

    def hold(self) -> None:
        """Take connections and requests, and let nothing through: the cluster is silent."""
        self._flows.clear()

    def let_go(self) -> None:
        """Let everything through again, first what was held."""
        self._flows.set()

    async def cut(self) -> int:
        """Cut every connection and refuse new ones until `mend`; return how many those were."""
        if self._site is not None:
            await self._site.stop()
            self._site = None
        server = self._runner.server if self._runner is not None else None
        open_ones = list(server.connections) if server is not None else []
        for connection in open_ones:
            if isinstance(connection.transport, asyncio.Transport):
                connection.transport.abort()
        return len(open_ones)

    async def mend(self) -> None:
        """Take connections again."""
        await self._accept()

    async def _accept(self) -> None:
        assert self._runner is not None
        if self._site is None:
            self._site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
            await self._site.start()

    # -- passing on ----------------------------------------------------------------------------------------------------

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        assert self._session is not None
        body = await request.read()
        await self._flows.wait()
        headers = {name: value for name, value in request.headers.items() if name.lower() not in DROPPED}
        try:
            async with self._session.request(
                request.method, f"{self._upstream}{request.raw_path}", data=body or None, headers=headers
            ) as answer:
                if request.path == STREAM and answer.status == 200:
                    return await self._stream(request, answer)
                text = await answer.read()
                await self._flows.wait()
                kept = {name: value for name, value in answer.headers.items() if name.lower() not in DROPPED}
                reply = web.Response(status=answer.status, body=text, headers=kept)
        except (aiohttp.ClientError, OSError):
            self._abort(request)
            return web.Response(status=502)
        return await self._harmed(request, reply)

    async def _harmed(self, request: web.Request, reply: web.Response) -> web.Response:
        fault = self._fault
        if fault is None or not fault.of_replies:
            return reply
        fault.met += 1
        if request.method not in READS:
            self.disarm(fault)
            fault.done.set()
        if fault.how is How.REPLY_LOST:
            self._abort(request)
        else:
            await asyncio.sleep(LATE_REPLY_SECONDS)
        return reply

    async def _stream(self, request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        """Pass lines on as they come; each is what one write in the cluster told."""
        out = web.StreamResponse(headers={"content-type": "application/json"})
        await out.prepare(request)
        rest = b""
        with contextlib.suppress(aiohttp.ClientError, OSError):
            async for piece in answer.content.iter_any():
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    await self._flows.wait()
                    await self._say(out, line + b"\n")
        self._abort(request)
        return out

    async def _say(self, out: web.StreamResponse, line: bytes) -> None:
        fault = self._fault
        if fault is not None and not fault.of_replies and b'"Events"' in line:
            self.disarm(fault)
            fault.met += 1
            fault.done.set()
            if fault.how is How.EVENT_LATE:
                await asyncio.sleep(LATE_EVENT_SECONDS)  # and all that comes after it: it is one connection
            else:
                await out.write(line)
        await out.write(line)

    @staticmethod
    def _abort(request: web.Request) -> None:
        if request.transport is not None:
            request.transport.abort()
