"""What can go wrong between a client and the servers, by name."""

import asyncio
from dataclasses import dataclass, field

from aiohttp import web

STREAM = "/v1/event/stream"


@dataclass(kw_only=True)
class Fault:
    """One kind of misfortune: it befalls the next `times` requests that it is about (None: all until it is taken away)."""

    times: int | None = None
    method: str = ""
    path: str = "/v1/"
    met: int = field(default=0, init=False)

    def strikes(self, request: web.Request) -> bool:
        """Return whether it befalls this request, and count it."""
        if self.method and request.method != self.method:
            return False
        if not request.path.startswith(self.path) or self.times == self.met:
            return False
        self.met += 1
        return True

    async def before(self, request: web.Request) -> web.StreamResponse | None:
        """Do harm before the request is worked on; an answer ends it there."""
        del request
        return None

    async def after(self, request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
        """Do harm when the work is done and committed."""
        del request
        return answer


class NoLeader(Fault):
    """The servers are electing: nothing is written, nothing read consistently."""

    async def before(self, request: web.Request) -> web.StreamResponse | None:
        """Answer as a server without a leader does."""
        del request
        return web.Response(status=500, text="No cluster leader")


class TooManyConnections(Fault):
    """The limit of connections of one client address is reached."""

    async def before(self, request: web.Request) -> web.StreamResponse | None:
        """Answer as the connection limiter does."""
        del request
        return web.Response(
            status=429,
            text="Your IP is issuing too many concurrent connections, please rate limit your calls\n",
        )


class Denied(Fault):
    """The token is not good for it (any more)."""

    async def before(self, request: web.Request) -> web.StreamResponse | None:
        """Refuse."""
        del request
        return web.Response(status=403, text="Permission denied")


class Breaks(Fault):
    """A server fails with something that nobody foresaw."""

    async def before(self, request: web.Request) -> web.StreamResponse | None:
        """Answer with an error of no known text."""
        del request
        return web.Response(status=500, text="rpc error: something unforeseen")


@dataclass(kw_only=True)
class Slow(Fault):
    """The work begins late. Seconds of the machine's time."""

    seconds: float = 1.0

    async def before(self, request: web.Request) -> web.StreamResponse | None:
        """Wait."""
        del request
        await asyncio.sleep(self.seconds)
        return None


@dataclass(kw_only=True)
class LateReply(Fault):
    """The work is done at once, and its answer comes late. Seconds of the machine's time."""

    seconds: float = 1.0

    async def after(self, request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
        """Wait."""
        del request
        await asyncio.sleep(self.seconds)
        return answer


@dataclass(kw_only=True)
class LosesReply(Fault):
    """The work is done and committed, and the connection dies before the answer is sent."""

    times: int | None = 1
    method: str = "POST"
    path: str = "/v1/jobs"

    async def after(self, request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
        """Cut the connection."""
        if request.transport is not None:
            request.transport.abort()
        return answer


@dataclass(kw_only=True)
class LosesRequest(LosesReply):
    """The connection dies before any work is done."""

    async def before(self, request: web.Request) -> web.StreamResponse | None:
        """Cut the connection."""
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=500)


@dataclass(kw_only=True)
class HalfWrittenChunk(Fault):
    """The event stream ends in the middle of a line."""

    times: int | None = 1
    path: str = STREAM


@dataclass(kw_only=True)
class SilentStream(Fault):
    """The event stream stays open and says nothing any more: neither events nor heartbeats."""

    path: str = STREAM


class Faults:
    """The faults of the moment."""

    def __init__(self) -> None:
        self._now: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        """Let something go wrong from now on."""
        self._now.append(fault)
        return fault

    def remove(self, fault: Fault) -> None:
        """Let that go right again."""
        if fault in self._now:
            self._now.remove(fault)

    def clear(self) -> None:
        """Let everything go right again."""
        self._now.clear()

    def striking(self, request: web.Request) -> list[Fault]:
        """Return what befalls this request."""
        return [fault for fault in list(self._now) if not _of_stream(fault) and fault.strikes(request)]

    def of_stream(self, request: web.Request, kind: type[Fault]) -> bool:
        """Return whether a fault of that kind befalls the next line of an event stream."""
        return any(isinstance(fault, kind) and fault.strikes(request) for fault in list(self._now))


def _of_stream(fault: Fault) -> bool:
    return isinstance(fault, HalfWrittenChunk | SilentStream)


NAMED: dict[str, type[Fault]] = {
    kind.__name__: kind
    for kind in (
        NoLeader,
        TooManyConnections,
        Denied,
        Breaks,
        Slow,
        LateReply,
        LosesReply,
        LosesRequest,
        HalfWrittenChunk,
        SilentStream,
    )
}
