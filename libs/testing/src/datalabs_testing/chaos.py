"""A TCP proxy that misbehaves on demand, between a client and a real server."""

import asyncio
import contextlib
import socket
import struct
from types import TracebackType
from typing import Self

CHUNK = 65536


class ChaosProxy:
    """Passes bytes between its own port and the upstream until it is told to drop, delay, halve or reset them.

    `async with ChaosProxy(host, port) as proxy:` then connect to `proxy.host`, `proxy.port`.
    """

    def __init__(self, upstream_host: str, upstream_port: int) -> None:
        self.host = "127.0.0.1"
        self.port = 0
        self._upstream = (upstream_host, upstream_port)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._dropping = False
        self._deaf = False
        self._halving = False
        self._refusing = False
        self._delay = 0.0
        self.connections = 0

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def aclose(self) -> None:
        """Stop listening and close all connections."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def drop(self) -> None:
        """Swallow all bytes: connections stay open, nothing arrives any more."""
        self._dropping = True

    def lose_replies(self) -> None:
        """Pass what is asked, swallow what is answered."""
        self._deaf = True

    def delay(self, seconds: float) -> None:
        """Hold back every piece for that long."""
        self._delay = seconds

    def halve(self) -> None:
        """Pass only the first half of the next piece, then close the connection."""
        self._halving = True

    def reset(self) -> None:
        """Reset all connections (RST) and let new ones through."""
        for writer in list(self._writers):
            peer: socket.socket | None = writer.get_extra_info("socket")
            if peer is not None:
                with contextlib.suppress(OSError):
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    def refuse(self) -> None:
        """Reset all connections, and new ones at once."""
        self._refusing = True
        self.reset()

    def heal(self) -> None:
        """Behave again; connections from which bytes were dropped are reset, for their streams are torn."""
        torn = self._dropping or self._deaf
        self._dropping = self._deaf = self._halving = self._refusing = False
        self._delay = 0.0
        if torn:
            self.reset()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        upstream_writer: asyncio.StreamWriter | None = None
        self._writers.add(writer)
        try:
            if self._refusing:
                self.reset()
                return
            upstream_reader, upstream_writer = await asyncio.open_connection(*self._upstream)
            self._writers.add(upstream_writer)
            pumps = (
                asyncio.ensure_future(self._pump(reader, upstream_writer)),
                asyncio.ensure_future(self._pump(upstream_reader, writer, answers=True)),
            )
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for end in (writer, upstream_writer):
                if end is not None:
                    self._writers.discard(end)
                    end.close()
            self._tasks.discard(task)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool = False
    ) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(CHUNK):
                if self._delay:
                    await asyncio.sleep(self._delay)
                if self._dropping or (answers and self._deaf):
                    continue
                if self._halving:
                    self._halving = False
                    writer.write(piece[: len(piece) // 2])
                    await writer.drain()
                    return
                writer.write(piece)
                await writer.drain()
