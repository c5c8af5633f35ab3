"""A lean HTTP/1.1 load on loopback: keep-alive connections that each ask again as soon as they have an answer.

`wrk` makes the load where it is installed: it costs a tenth of the processor time that Python's own load does, so that
what is measured is the server. Where the two share two cores, that shows.
"""

import asyncio
import re
import shutil
import subprocess
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
    limited: int = 0
    """Answers 429, counted apart from failures."""

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
        self.limited = 0
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
        if head.startswith(b"http/1.1 429"):
            self.limited += 1
        elif not head.startswith(b"http/1.1 2"):
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
        limited=sum(asker.limited for asker in askers),
    )


def get(path: str, host: str, cookie: str = "") -> bytes:
    """Return the bytes of a GET."""
    cookies = f"Cookie: {cookie}\r\n" if cookie else ""
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{cookies}Accept: application/json\r\n\r\n".encode()


def load(host: str, port: int, request: bytes, *, connections: int = 32, seconds: float = 4) -> Load:
    """Ask for some seconds and return what was measured."""
    return uvloop.run(_run(host, port, request, connections, seconds))


_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


def wrk(
    host: str, port: int, headers: dict[str, str], *, path: str = "/", connections: int = 32, seconds: int = 4
) -> Load:
    """Let `wrk` ask for some seconds; where it is not installed, ask as `load` does.

    Of the latencies only the median is known, given once. wrk counts answers of 400 and above as failures.
    """
    program = shutil.which("wrk")
    if program is None:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        request = f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode()
        return load(host, port, request, connections=connections, seconds=seconds)
    command = [program, "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    shown = subprocess.run(
        [*command, f"http://{host}:{port}{path}"], capture_output=True, text=True, check=True
    ).stdout
    counted = re.search(r"(\d+) requests in ([\d.]+)(m?s)", shown)
    middle = re.search(r"50%\s+([\d.]+)(us|ms|s)", shown)
    assert counted is not None, shown
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", shown)
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", shown)
    failures = int(bad[1]) if bad else 0
    failures += sum(map(int, errors.groups())) if errors else 0
    return Load(
        requests=int(counted[1]),
        seconds=float(counted[2]) * _UNITS[counted[3]],
        failures=failures,
        latencies=[float(middle[1]) * _UNITS[middle[2]]] if middle else [],
    )
