"""The server's half of a WebSocket (RFC 6455) that carries bytes: what a desktop needs, with the standard library only."""

import asyncio
import base64
import contextlib
import hashlib
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
NORMAL, PROTOCOL_ERROR, TOO_BIG = 1000, 1002, 1009
LONGEST_HEAD = 16_384
LONGEST_FRAME = 2**24
"""A client sends keys, pointer moves and its clipboard: 16 MiB is far more than any of them."""
_SHORT, _MEDIUM = 126, 127
_FINAL, _MASKED, _CODE, _LENGTH = 0x80, 0x80, 0x0F, 0x7F
_RESERVED = 0x70
_SMALLEST_CONTROL = 0x8


class ProtocolError(Exception):
    """The peer does not speak WebSocket as it should; `code` goes into the closing frame."""

    def __init__(self, text: str, code: int = PROTOCOL_ERROR) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True)
class Request:
    """The head of an HTTP request; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]

    @property
    def upgrade(self) -> bool:
        """Whether it asks for a WebSocket."""
        words = [word.strip().lower() for word in self.headers.get("connection", "").split(",")]
        return (
            self.method == "GET"
            and self.headers.get("upgrade", "").lower() == "websocket"
            and "upgrade" in words
            and "sec-websocket-key" in self.headers
        )


async def read_request(reader: asyncio.StreamReader) -> Request:
    """Read the head of a request; raises `ProtocolError` for one that is none."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise ProtocolError("no HTTP request") from error
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):  # noqa: PLR2004 - method, path, protocol
        raise ProtocolError("no HTTP request")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    return Request(method=words[0], path=words[1], headers=headers)


def accept(request: Request) -> bytes:
    """Return the answer that begins the WebSocket; of the offered subprotocols only `binary` is known."""
    key = hashlib.sha1(  # noqa: S324 - the protocol's own digest, not a protection
        (request.headers["sec-websocket-key"] + GUID).encode()
    ).digest()
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {base64.b64encode(key).decode()}",
    ]
    offered = [word.strip() for word in request.headers.get("sec-websocket-protocol", "").split(",")]
    if "binary" in offered:
        lines.append("Sec-WebSocket-Protocol: binary")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def frame(code: int, payload: bytes) -> bytes:
    """Return one whole frame as a server sends it."""
    return head_of(code, len(payload)) + payload


def head_of(code: int, length: int) -> bytes:
    """Return the head of a frame whose payload follows."""
    if length < _SHORT:
        return bytes((_FINAL | code, length))
    if length < 2**16:
        return struct.pack(">BBH", _FINAL | code, _SHORT, length)
    return struct.pack(">BBQ", _FINAL | code, _MEDIUM, length)


def unmasked(payload: bytes, mask: bytes) -> bytes:
    """Return a client's payload as it was meant; one big number instead of a loop over bytes."""
    length = len(payload)
    repeated = (mask * (length // 4 + 1))[:length]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(length, "big")


class WebSocket:
    """An accepted connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._closed = False

    async def messages(self) -> AsyncIterator[bytes]:
        """Yield what the client sends until it closes; pings are answered here.

        Frames are passed on as they come: RFB is a stream and does not mind where a message is cut.
        """
        while True:
            try:
                code, payload = await self._frame()
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            if code == CLOSE:
                await self.close(NORMAL)
                return
            if code == PING:
                await self._send(PONG, payload)
            elif code in {BINARY, CONTINUATION, TEXT} and payload:
                yield payload

    async def _frame(self) -> tuple[int, bytes]:
        first, second = await self._reader.readexactly(2)
        code, length = first & _CODE, second & _LENGTH
        if first & _RESERVED or not second & _MASKED:
            raise ProtocolError("a client's frames are masked and have no reserved bits")
        if length == _SHORT:
            (length,) = struct.unpack(">H", await self._reader.readexactly(2))
        elif length == _MEDIUM:
            (length,) = struct.unpack(">Q", await self._reader.readexactly(8))
        if length > LONGEST_FRAME or (code >= _SMALLEST_CONTROL and length >= _SHORT):
            raise ProtocolError("too long a frame", TOO_BIG)
        mask = await self._reader.readexactly(4)
        return code, unmasked(await self._reader.readexactly(length), mask)

    async def send(self, payload: bytes) -> None:
        """Send bytes; waits while the client is slower than the screen."""
        await self._send(BINARY, payload)

    async def ping(self) -> None:
        """Ask whether the client is still there."""
        await self._send(PING, b"")

    async def _send(self, code: int, payload: bytes) -> None:
        if self._closed:
            return
        self._writer.write(head_of(code, len(payload)))
        if payload:
            self._writer.write(payload)
        await self._writer.drain()

    async def close(self, code: int) -> None:
        """Say goodbye, once."""
        if self._closed:
            return
        with contextlib.suppress(ConnectionError):
            await self._send(CLOSE, struct.pack(">H", code))
        self._closed = True
