"""A lean HTTP/1.1 load on loopback: keep-alive connections that each ask again as soon as they have an answer."""

import asyncio
import time
from dataclasses import dataclass
from typing import cast

import uvloop


@dataclass(frozen=True, kw_only=True)
class Load:
    """What one load measured; latencies in seconds."""

    requests: int
    seconds: float
    failures: int
    latencies: list[float]

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


class _Asker(asyncio.Protocol):
    def __init__(self, request: bytes, until: float) -> None:
        self._request = request
        self._until = until
        self._buffer = b""
        self._asked = 0.0
        self.latencies: list[float] = []
        self.failures = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none by inheritance
        self._ask()

    def _ask(self) -> None:
        self._asked = time.perf_counter()
        assert self._transport is not None
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = self._buffer[:head_end].lower()
        mark = head.find(b"content-length:")
        if mark >= 0:
            length = int(head[mark + 15 :].split(b"\r\n", 1)[0])
            if len(self._buffer) < head_end + 4 + length:
                return
        elif not self._buffer.endswith(b"0\r\n\r\n"):
            return
        now = time.perf_counter()
        self.latencies.append(now - self._asked)
        if not head.startswith(b"http/1.1 2"):
            self.failures += 1
        self._buffer = b""
        if now < self._until:
            self._ask()
        else:
            assert self._transport is not None
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None:
            self.failures += 1
        if not self.done.done():
            self.done.set_result(None)


async def _run(host: str, port: int, request: bytes, connections: int, seconds: float) -> Load:
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    askers = []
    for _ in range(connections):
        _, asker = await loop.create_connection(lambda: _Asker(request, began + seconds), host, port)
        askers.append(asker)
    await asyncio.gather(*(asker.done for asker in askers))
    latencies = sorted(latency for asker in askers for latency in asker.latencies)
    return Load(
        requests=len(latencies),
        seconds=time.perf_counter() - began,
        failures=sum(asker.failures for asker in askers),
        latencies=latencies,
    )


def get(path: str, host: str, cookie: str = "") -> bytes:
    """Return the bytes of a GET."""
    cookies = f"Cookie: {cookie}\r\n" if cookie else ""
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{cookies}Accept: application/json\r\n\r\n".encode()


def load(host: str, port: int, request: bytes, *, connections: int = 32, seconds: float = 4) -> Load:
    """Ask for some seconds and return what was measured."""
    return uvloop.run(_run(host, port, request, connections, seconds))
