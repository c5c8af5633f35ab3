"""Real questions to real parts: does it answer as itself? Each probe is cheap enough to be asked every few seconds."""

import asyncio
import json
import shutil
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

PROBE_SECONDS = 3.0
"""A part that has not answered after this long does not answer."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a part said: whether it is ready, whether it said anything at all, and its words if it is not ready.

    `only_restart` tells why nothing but a new start helps.
    """

    ready: bool
    heard: bool = True
    text: str = ""
    only_restart: str = ""


SILENCE = Answer(ready=False, heard=False, text="does not answer")

Probe = Callable[[], Awaitable[Answer]]


def quiet(probe: Probe) -> Probe:
    """Turn refused connections, broken answers and time-outs into silence."""

    async def ask() -> Answer:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                return await probe()
        except (OSError, EOFError, TimeoutError, ValueError, LookupError, struct.error):
            return SILENCE

    return ask


async def http_get(socket: Path, path: str) -> tuple[int, bytes]:
    """Return status and body of a GET over a Unix socket."""
    reader, writer = await asyncio.open_unix_connection(str(socket))
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        answer = await reader.read(65_536)
        while answer and (more := await reader.read(65_536)):
            answer += more
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(maxsplit=2)[1]), body


def service_ready(socket: Path) -> Probe:
    """Ask a service's own health endpoint."""

    async def ask() -> Answer:
        status, body = await http_get(socket, "/health/ready")
        if status == 200:  # noqa: PLR2004
            return Answer(ready=True)
        return Answer(ready=False, text=_why(body))

    return quiet(ask)


ROOM_BYTES = 32 * 2**20
"""So much must be free before NATS is started again after a full disk."""


def nats_writing(probe: Probe, *, log: Path, folder: Path, room_bytes: int = ROOM_BYTES) -> Probe:
    """Ask NATS, and read in its log whether it has given a stream up.

    A stream that met a full disk refuses to store until the server is started anew, though there is room again and the
    server answers (seen with 2.15.1): so it is started anew as soon as there is room.
    """
    seen = _WriteErrors(log)

    async def ask() -> Answer:
        answer = await probe()
        if not answer.ready or not seen.any():
            return answer
        free = shutil.disk_usage(folder).free
        if free < room_bytes:
            return Answer(ready=False, text="its disk is full: nothing new is stored")
        return Answer(ready=False, text="its disk was full", only_restart="could not write to a full disk")

    return ask


class _WriteErrors:
    """Whether a running server has said that it could not write; reads only what is new in its log."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._offset = 0
        self._found = False

    def any(self) -> bool:
        try:
            with self._log.open("rb") as file:
                size = file.seek(0, 2)
                file.seek(self._offset if size >= self._offset else 0)
                text = file.read()
                self._offset = file.tell()
        except OSError:
            return self._found
        _, started, after = text.rpartition(b"Starting nats-server")
        self._found = (self._found and not started) or b"ritical write error" in after
        return self._found


def _why(body: bytes) -> str:
    """Return in a few words which checks of a service are not passed yet."""
    try:
        document = json.loads(body[body.index(b"{") : body.rindex(b"}") + 1])
    except ValueError:
        return body.decode(errors="replace").strip()[:120]
    checks = document.get("checks", document)
    if isinstance(checks, dict):
        bad = [f"{name}: {value}" for name, value in checks.items() if value not in {"ok", True, "ready"}]
        return "; ".join(bad)[:160]
    return ""


def envoy_ready(admin: Path) -> Probe:
    """Ask Envoy's admin socket."""

    async def ask() -> Answer:
        status, body = await http_get(admin, "/ready")
        return Answer(ready=status == 200, text=body.decode(errors="replace").strip()[:80])  # noqa: PLR2004

    return quiet(ask)


def postgres_ready(socket: Path) -> Probe:
    """Ask for a connection as `pg_isready` does: a server that wants to authenticate us accepts connections.

    The start-up message and its answers: PostgreSQL documentation, "Message Formats".
    """
    parameters = b"user\0datalabs_probe\0database\0postgres\0\0"
    start_up = struct.pack("!ii", 8 + len(parameters), 3 << 16) + parameters

    async def ask() -> Answer:
        reader, writer = await asyncio.open_unix_connection(str(socket))
        try:
            writer.write(start_up)
            await writer.drain()
            kind = await reader.readexactly(1)
            (length,) = struct.unpack("!i", await reader.readexactly(4))
            body = await reader.readexactly(length - 4)
        finally:
            writer.close()
        if kind == b"R":
            return Answer(ready=True)
        fields = {part[:1]: part[1:].decode(errors="replace") for part in body.split(b"\0") if part}
        starting = fields.get(b"C", "").startswith("57P")  # operator intervention: starting up, shutting down
        return Answer(ready=not starting, text=fields.get(b"M", "") if starting else "")

    return quiet(ask)


def nats_ready(host: str, port: int, user: str, password: str) -> Probe:
    """Sign in and wait for the answer to a ping, so that a server that only listens does not count."""
    connect = json.dumps(
        {"verbose": False, "pedantic": False, "user": user, "pass": password, "name": "probe"}
    )

    async def ask() -> Answer:
        reader, writer = await asyncio.open_connection(host, port)
        try:
            info = json.loads((await reader.readline()).removeprefix(b"INFO "))
            writer.write(f"CONNECT {connect}\r\nPING\r\n".encode())
            await writer.drain()
            line = (await reader.readline()).strip()
        finally:
            writer.close()
        if line != b"PONG":
            return Answer(ready=False, text=line.decode(errors="replace")[:120])
        return Answer(
            ready=bool(info.get("jetstream")), text="" if info.get("jetstream") else "no JetStream yet"
        )

    return quiet(ask)
