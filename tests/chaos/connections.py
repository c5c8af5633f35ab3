"""Many connections to the edge that do nothing: WebSockets that idle, tabs that stopped reading, tabs that vanished."""

import asyncio
import base64
import ctypes
import os
import socket
import struct
from dataclasses import dataclass

HEAD_SECONDS = 20.0
SMALL_BUFFER = 4096
TEXT, MASKED = 0x81, 0x80


class _Instruction(ctypes.Structure):
    _fields_ = [("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint)]  # fmt: skip


@dataclass
class Connection:
    """One connection whose head was answered."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    status: int

    def stall(self) -> None:
        """Read no more, as a tab that a browser has frozen: what comes fills the buffers."""
        self.writer.transport.pause_reading()  # type: ignore[attr-defined]

    def vanish(self) -> None:
        """Hear nothing and say nothing from now on, as a notebook whose lid was closed: the other side is not told.

        A socket filter that keeps no byte drops every packet before TCP sees it, so nothing is acknowledged either.
        """
        nothing = _Instruction(0x06, 0, 0, 0)  # BPF_RET | BPF_K, 0 bytes
        program = struct.pack("HL", 1, ctypes.addressof(nothing))
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, 26, program)  # SO_ATTACH_FILTER

    async def echoes(self, text: bytes) -> bool:
        """Return whether a short text comes back over the WebSocket."""
        mask = os.urandom(4)
        hidden = bytes(byte ^ mask[at % 4] for at, byte in enumerate(text))
        self.writer.write(bytes([TEXT, MASKED | len(text)]) + mask + hidden)
        try:
            async with asyncio.timeout(HEAD_SECONDS):
                return await self.reader.readexactly(2 + len(text)) == bytes([TEXT, len(text)]) + text
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return False

    def close(self) -> None:
        """Leave."""
        self.writer.transport.abort()


async def connect(port: int, path: str, headers: dict[str, str], *, buffer: int = 0) -> Connection:
    """Ask the edge for something and read the head of its answer. `buffer`: bytes that the kernel takes in for us."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setblocking(False)
    if buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=2**14)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
    async with asyncio.timeout(HEAD_SECONDS):
        head = await reader.readuntil(b"\r\n\r\n")
    return Connection(reader, writer, int(head.split(b" ", 2)[1]))


async def web_socket(port: int, host: str, cookie: str) -> Connection:
    """Open a WebSocket to a lab's `/ws`."""
    headers = {
        "Host": host,
        "Cookie": cookie,
        "Origin": f"http://{host}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
    }
    return await connect(port, "/ws", headers)


async def tab(port: int, cookie: str) -> Connection:
    """Open a page's live events."""
    headers = {"Host": f"localhost:{port}", "Cookie": cookie, "Accept": "text/event-stream"}
    return await connect(port, "/api/v1/events", headers, buffer=SMALL_BUFFER)
