"""The bridge between a browser and a screen, with a stub for the screen."""

import asyncio
import contextlib
import os
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from datalabs_lab.desktop import Bridge, names, screen_command
from datalabs_lab.websocket import BINARY, CLOSE, PING, PONG, frame, unmasked

MASK = b"\x11\x22\x33\x44"
ASK = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: binary\r\n"
    b"X-Lab-Secret: s3\r\n\r\n"
)


def masked(code: int, payload: bytes) -> bytes:
    length = len(payload)
    head = (
        bytes((0x80 | code, 0x80 | length))
        if length < 126
        else struct.pack(">BBH", 0x80 | code, 0xFE, length)
    )
    return head + MASK + unmasked(payload, MASK)


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    first, length = await reader.readexactly(2)
    if length == 126:
        (length,) = struct.unpack(">H", await reader.readexactly(2))
    elif length == 127:
        (length,) = struct.unpack(">Q", await reader.readexactly(8))
    return first & 0x0F, await reader.readexactly(length)


class Desk:
    """A bridge on a port, before a screen that says its banner and sends back what it hears."""

    port = 0

    def __init__(self) -> None:
        self.heard = b""

    async def screen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"RFB 003.008\n")
        while data := await reader.read(65_536):
            self.heard += data
            writer.write(data)
        writer.close()

    async def open(self, request: bytes = ASK) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        return reader, writer, await reader.readuntil(b"\r\n\r\n")


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    made = Desk()
    path = str(tmp_path / "screen")
    async with contextlib.AsyncExitStack() as servers:
        await servers.enter_async_context(await asyncio.start_unix_server(made.screen, path))
        front = await asyncio.start_server(Bridge(path, "s3").serve, "127.0.0.1", 0)
        await servers.enter_async_context(front)
        made.port = front.sockets[0].getsockname()[1]
        yield made
        for _ in range(20):  # connections end on both sides before their servers do
            await asyncio.sleep(0)


async def test_a_browser_gets_the_screen(desk: Desk) -> None:
    reader, writer, head = await desk.open()
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head  # RFC 6455 section 1.3
    assert b"Sec-WebSocket-Protocol: binary" in head
    assert await read_frame(reader) == (BINARY, b"RFB 003.008\n")
    for payload in (b"k", b"y" * 125, b"z" * 126, b"w" * 60_000):
        writer.write(masked(BINARY, payload))
        back = b""
        while len(back) < len(payload):
            back += (await read_frame(reader))[1]
        assert back == payload
    writer.write(masked(PING, b"?"))
    assert await read_frame(reader) == (PONG, b"?")
    writer.write(masked(CLOSE, b"\x03\xe8"))
    assert await read_frame(reader) == (CLOSE, b"\x03\xe8")
    assert await reader.read() == b""
    writer.close()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (ASK.replace(b"X-Lab-Secret: s3", b"X-Lab-Secret: no"), b"403"),
        (ASK.replace(b"X-Lab-Secret: s3\r\n", b""), b"403"),
        (ASK.replace(b"GET / ", b"GET /other "), b"404"),
        (b"GET / HTTP/1.1\r\nX-Lab-Secret: s3\r\n\r\n", b"426"),
        (b"GET /health HTTP/1.1\r\nX-Lab-Secret: s3\r\n\r\n", b"200"),
    ],
)
async def test_others_get_an_answer_and_no_screen(desk: Desk, request_: bytes, status: bytes) -> None:
    reader, writer, head = await desk.open(request_)
    assert head.split(b" ")[1] == status
    await reader.read()
    writer.close()
    assert desk.heard == b""


@pytest.mark.parametrize(
    "bad",
    [
        frame(BINARY, b"not masked"),
        b"\xf2\x80" + MASK,
        b"\x82\xff" + b"\x7f" + b"\xff" * 7 + MASK,
        masked(PING, b"x" * 126),
    ],
)
async def test_who_breaks_the_protocol_is_shown_the_door(desk: Desk, bad: bytes) -> None:
    reader, writer, _ = await desk.open()
    await read_frame(reader)
    writer.write(bad)
    code, payload = await read_frame(reader)
    assert code == CLOSE
    assert struct.unpack(">H", payload)[0] in {1002, 1009}
    await reader.read()
    writer.close()


async def test_many_browsers_share_the_screen(desk: Desk) -> None:
    opened = [await desk.open() for _ in range(5)]
    for reader, writer, _ in opened:
        assert (await read_frame(reader))[1] == b"RFB 003.008\n"
        writer.write(masked(CLOSE, b"\x03\xe8"))
        await reader.read()
        writer.close()


def test_the_screen_listens_on_no_network() -> None:
    command = screen_command("/run/lab/screen", geometry="800x600", title="T")
    assert command[command.index("-rfbport") + 1] == "-1"
    assert command[command.index("-nolisten") + 1] == "tcp"
    assert command[command.index("-rfbunixmode") + 1] == "0600"


def test_who_has_a_name_needs_none(tmp_path: Path) -> None:
    assert names(tmp_path, dict(os.environ)) == {}
