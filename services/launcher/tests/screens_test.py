"""The question whether a screen speaks, asked of servers that do and of such that do not."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from datalabs_launcher import screens

HEAD = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


@contextlib.asynccontextmanager
async def answering(*parts: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    heard: list[bytes] = []
    served = asyncio.Event()

    async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            heard.append(await reader.readuntil(b"\r\n\r\n"))
            for part in parts:
                writer.write(part)
                await writer.drain()
            await reader.read()
        writer.transport.abort()
        served.set()

    server = await asyncio.start_server(_serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], heard
        await served.wait()


async def ask(port: int) -> bool:
    return await screens.speaks(
        "127.0.0.1", port, host="x.localhost", secret="s3", connect_seconds=1, seconds=0.3
    )


@pytest.mark.parametrize(
    "parts",
    [
        (HEAD, b"\x82\x0cRFB 003.008\n"),
        (HEAD + b"\x82\x04RFB ", b"\x80\x08003.008\n"),
    ],
)
async def test_a_screen_that_speaks_is_ready(parts: tuple[bytes, ...]) -> None:
    async with answering(*parts) as (port, heard):
        assert await ask(port)
    assert b"X-Lab-Secret: s3\r\n" in heard[0]
    assert b"Sec-WebSocket-Protocol: binary\r\n" in heard[0]


@pytest.mark.parametrize(
    "parts",
    [
        (),
        (HEAD,),
        (b"HTTP/1.1 200 OK\r\n\r\nRFB 003.008\n",),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n",),
        (HEAD, b"\x82\x0cSSH-2.0-xyz\n"),
        (HEAD, b"\x88\x02\x03\xe8"),
        (b"RFB 003.008\n",),
    ],
)
async def test_anything_else_is_not(parts: tuple[bytes, ...]) -> None:
    async with answering(*parts) as (port, _):
        assert not await ask(port)


async def test_nobody_is_not_ready() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert not await ask(port)
