"""Real sockets on the allocated ports, so that probes and proxies of the launcher meet somebody."""

import asyncio
import base64
import contextlib
import hashlib
import re
from collections.abc import Mapping
from enum import StrEnum

import structlog

WEBSOCKET = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455
BANNER = b"RFB 003.008\n"
KEY = re.compile(rb"sec-websocket-key:\s*(\S+)", re.IGNORECASE)


class Listening(StrEnum):
    """What answers on the ports of tasks that run."""

    NOTHING = "nothing"
    HTTP = "http"
    """200 to every request, and an RFB banner to whoever asks for a WebSocket."""


class Listeners:
    """One server for each port of each allocation that runs."""

    def __init__(self) -> None:
        self._servers: dict[str, list[asyncio.Server]] = {}
        self._opening: set[asyncio.Task[None]] = set()
        self._status: dict[str, int] = {}
        self._log = structlog.get_logger(__name__)

    def open(self, allocation: str, ports: list[Mapping[str, object]], *, status: int = 200) -> None:
        """Listen on the ports of an allocation."""
        self._servers.setdefault(allocation, [])
        self._status[allocation] = status
        task = asyncio.get_running_loop().create_task(self._open(allocation, ports))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    def close(self, allocation: str) -> None:
        """Listen no more."""
        for server in self._servers.pop(allocation, []):
            server.close()

    async def aclose(self) -> None:
        """Listen nowhere."""
        for task in self._opening:
            task.cancel()
        for allocation in list(self._servers):
            self.close(allocation)

    async def _open(self, allocation: str, ports: list[Mapping[str, object]]) -> None:
        for port in ports:
            host, number = str(port["HostIP"]), int(str(port["Value"]))
            try:
                server = await asyncio.start_server(
                    lambda reader, writer: self._answer(allocation, reader, writer), host, number
                )
            except OSError as error:
                self._log.warning(
                    "no listener for an allocation", allocation=allocation, port=number, error=str(error)
                )
                continue
            if allocation in self._servers:
                self._servers[allocation].append(server)
            else:
                server.close()  # it ended meanwhile

    async def _answer(
        self, allocation: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                key = KEY.search(head)
                if key is not None:
                    await _greet(reader, writer, key[1])
                    break
                status = self._status.get(allocation, 503)
                writer.write(f"HTTP/1.1 {status} Fine\r\nContent-Length: 2\r\n\r\nok".encode())
                await writer.drain()
        writer.close()


async def _greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: bytes) -> None:
    """Speak WebSocket as QEMU's VNC server does: an RFB banner in one binary frame."""
    accept = base64.b64encode(hashlib.sha1(key + WEBSOCKET.encode(), usedforsecurity=False).digest()).decode()
    writer.write(
        f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: binary\r\n\r\n".encode()
    )
    writer.write(bytes([0x82, len(BANNER)]) + BANNER)
    await writer.drain()
    await reader.read(1024)
