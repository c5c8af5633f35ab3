"""News of jobs, from the shims' datagrams to whoever watches."""

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from datalabs_launcher.scheduler import Observation

_LONGEST = 256


class Mailbox:
    """A datagram socket that shims poke with a job's id after each change of state; each launcher has its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / f"{os.getpid()}-{secrets.token_hex(4)}.sock"
        self._socket: socket.socket | None = None

    def open(self, loop: asyncio.AbstractEventLoop, tell: Callable[[str], None]) -> None:
        """Begin to listen; what dead launchers left is removed."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        for path in self._folder.iterdir():
            if not self._answers(path):
                path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        listener.setblocking(False)
        with _short(self._path) as short:
            listener.bind(short)
        self._socket = listener
        loop.add_reader(listener, self._read, tell)

    @staticmethod
    def _answers(path: Path) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as tried, _short(path) as short:
            try:
                tried.connect(short)
            except OSError:
                return False
            return True

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


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """Name a socket by its folder's descriptor: a socket's path has room for 107 bytes only (unix(7))."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


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

    def watch(self) -> AsyncIterator[Observation]:
        """Yield observations as they come, from this call on."""
        box = _Box()
        self._boxes.add(box)
        return self._follow(box)

    async def _follow(self, box: "_Box") -> AsyncIterator[Observation]:
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
