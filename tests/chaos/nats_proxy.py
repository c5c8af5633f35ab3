"""Stands between the services and NATS, knows who speaks, and loses, holds or doubles what they say.

Understands as much of NATS's client protocol as that needs: control lines end with CRLF, PUB, HPUB, MSG and HMSG are
followed by as many bytes as their last word says and a CRLF.
"""

import asyncio
import contextlib
import json
from dataclasses import dataclass, field

from tests.chaos.matrix import How

LATE_EVENT_SECONDS = 3.0
LATE_REPLY_SECONDS = 7.0
"""Longer than any deadline that the gateway gives: 5 s."""
PUBLISHES, DELIVERS = {b"PUB", b"HPUB"}, {b"MSG", b"HMSG"}


@dataclass
class Frame:
    """One piece of the protocol: its control line, and what follows it."""

    line: bytes
    payload: bytes = b""

    @property
    def words(self) -> list[bytes]:
        return self.line.split()

    @property
    def verb(self) -> bytes:
        return self.words[0].upper() if self.words else b""

    @property
    def subject(self) -> str:
        return self.words[1].decode() if len(self.words) > 1 else ""

    @property
    def raw(self) -> bytes:
        return self.line + self.payload


async def read_frame(reader: asyncio.StreamReader) -> Frame:
    """Read one piece."""
    frame = Frame(await reader.readuntil(b"\r\n"))
    if frame.verb in PUBLISHES | DELIVERS:
        frame.payload = await reader.readexactly(int(frame.words[-1]) + 2)
    return frame


@dataclass
class Fault:
    """What is to happen to the next fitting piece, and whether it has."""

    who: str
    how: How
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def fits(self, user: str, frame: Frame) -> bool:
        if user != self.who or self.done.is_set():
            return False
        if self.how in {How.REPLY_LOST, How.REPLY_LATE}:
            return frame.verb in PUBLISHES and frame.subject.startswith("_INBOX")
        return frame.verb in DELIVERS and frame.subject.startswith("events.")


class NatsProxy:
    """Passes everything on until a fault is armed."""

    def __init__(self, port: int, *, upstream: int) -> None:
        self.port = port
        self._upstream = upstream
        self._faults: list[Fault] = []
        self._open: dict[str, set[asyncio.StreamWriter]] = {}
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=2**21)

    async def aclose(self) -> None:
        """Stop."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def arm(self, who: str, how: How) -> Fault:
        """Do that to the next fitting piece of that service."""
        fault = Fault(who, how)
        self._faults.append(fault)
        return fault

    def disarm(self, fault: Fault) -> None:
        """Nothing fitting came."""
        with contextlib.suppress(ValueError):
            self._faults.remove(fault)

    def cut(self, who: str | None) -> int:
        """Cut the connections of one service, or of all; return how many those were."""
        found = [writer for user, writers in self._open.items() if who in {user, None} for writer in writers]
        for writer in found:
            writer.transport.abort()
        return len(found)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        ends: list[asyncio.StreamWriter] = [writer]
        user = ""
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream, limit=2**21)
            ends.append(up_writer)
            writer.write((await read_frame(up_reader)).raw)  # INFO comes first
            hello = await read_frame(reader)
            if hello.verb == b"CONNECT":
                user = json.loads(hello.line.split(b" ", 1)[1]).get("user", "")
            up_writer.write(hello.raw)
            self._open.setdefault(user, set()).add(writer)
            pumps = [
                asyncio.create_task(self._pump(user, reader, up_writer)),
                asyncio.create_task(self._pump(user, up_reader, writer)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._open.get(user, set()).discard(writer)
            for end in ends:
                end.transport.abort()
            self._tasks.discard(task)

    async def _pump(self, user: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            while True:
                frame = await read_frame(reader)
                fault = next((one for one in self._faults if one.fits(user, frame)), None)
                if fault is None:
                    writer.write(frame.raw)
                else:
                    self._faults.remove(fault)
                    fault.done.set()
                    self._harm(fault.how, frame, writer)
                await writer.drain()

    def _harm(self, how: How, frame: Frame, writer: asyncio.StreamWriter) -> None:
        if how is How.REPLY_LOST:
            return
        if how is How.EVENT_DOUBLED:
            writer.write(frame.raw + frame.raw)
            return
        seconds = LATE_REPLY_SECONDS if how is How.REPLY_LATE else LATE_EVENT_SECONDS
        asyncio.get_running_loop().call_later(seconds, self._send, writer, frame.raw)

    @staticmethod
    def _send(writer: asyncio.StreamWriter, raw: bytes) -> None:
        if not writer.is_closing():
            writer.write(raw)
