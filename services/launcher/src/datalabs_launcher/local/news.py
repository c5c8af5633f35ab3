"""News of jobs, from the shims' datagrams to whoever watches."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from datalabs_launcher.scheduler import Observation

_LONGEST = 256


class Mailbox:
    """A datagram socket that shims poke with a job's id after each change of state."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket: socket.socket | None = None

    def open(self, loop: asyncio.AbstractEventLoop, tell: Callable[[str], None]) -> None:
        """Begin to listen; an earlier launcher's socket is replaced."""
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        listener.setblocking(False)
        # The folder by descriptor: a socket's path has room for 107 bytes only (unix(7)).
        folder = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            listener.bind(f"/proc/self/fd/{folder}/{self._path.name}")
        finally:
            os.close(folder)
        self._socket = listener
        loop.add_reader(listener, self._read, tell)

    def _read(self, tell: Callable[[str], None]) -> None:
        assert self._socket is not None
        with contextlib.suppress(BlockingIOError):
            while True:
                tell(self._socket.recv(_LONGEST).decode(errors="replace"))

    def close(self, loop: asyncio.AbstractEventLoop) -> None:
        """Stop to listen."""
        if self._socket is not None:
            loop.remove_reader(self._socket)
            self._socket.close()
            self._path.unlink(missing_ok=True)
            self._socket = None


class Watchers:
    """Hands observations to each watcher; of a job that changed twice before it was read, the newest."""

    def __init__(self) -> None:
        self._boxes: set[_Box] = set()

    def tell(self, observation: Observation) -> None:
        """Hand an observation to all."""
        for box in self._boxes:
            box.waiting[observation.job_id] = observation
            box.filled.set()

    def close(self) -> None:
        """End all watches."""
        for box in self._boxes:
            box.open = False
            box.filled.set()

    async def watch(self) -> AsyncIterator[Observation]:
        """Yield observations as they come."""
        box = _Box()
        self._boxes.add(box)
        try:
            while box.open:
                await box.filled.wait()
                box.filled.clear()
                while box.waiting:
                    yield box.waiting.pop(next(iter(box.waiting)))
        finally:
            self._boxes.discard(box)


class _Box:
    def __init__(self) -> None:
        self.waiting: dict[str, Observation] = {}
        self.filled = asyncio.Event()
        self.open = True
