# pathlib alone takes a shim as long to import as all else that it needs:
# ruff: noqa: PTH104, PTH208
"""What a shim writes: its lab's output, bounded, and its state, atomically. Standard library only.

`state.json` is the whole truth about an attempt; who watches is poked by a datagram after each change.
"""

from __future__ import annotations

import _socket
import os

from datalabs_launcher.local import quick_json

STARTING, RUNNING, ENDED = "starting", "running", "ended"

TYPE_CHECKING = False  # `typing` and what it imports cost the shim 8 ms
if TYPE_CHECKING:
    from typing import Any


class Log:
    """The lab's output, bounded: `log` is turned over to `log.1` when it is full."""

    def __init__(self, folder: str, limit: int) -> None:
        self._path = f"{folder}/log"
        self._limit = limit
        self._open()

    def _open(self) -> None:
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._fd).st_size

    def write(self, data: bytes) -> None:
        """Append; a full disk loses output, never the lab."""
        try:
            os.write(self._fd, data)
        except OSError:
            return
        self._size += len(data)
        if self._size >= self._limit:
            os.close(self._fd)
            os.rename(self._path, f"{self._path}.1")
            self._open()


class State:
    """`state.json` and those who want to know of its changes."""

    def __init__(self, folder: str, poke: str | None, job: str) -> None:
        self._folder, self._poke, self._job = folder, poke, job
        self.values: dict[str, Any] = {}

    def save(self, **values: Any) -> None:
        """Write atomically, tell the launchers that listen, then sync to the disk.

        The news does not wait for the disk: what a power cut takes back was of a lab that it ended too.
        """
        self.values.update(values)
        temporary = f"{self._folder}/state.tmp"
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, quick_json.dumps(self.values).encode())
            os.rename(temporary, f"{self._folder}/state.json")
            poke(self._poke, self._job)
            if self.values["phase"] != STARTING:  # a disk under load would hold the start up for nothing
                os.fsync(fd)
        finally:
            os.close(fd)


def poke(folder: str | None, job: str) -> None:
    """Tell each launcher that listens in the folder that a job has news; by descriptor, as socket paths are short."""
    if not folder:
        return
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return
    sender = _socket.socket(
        _socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC
    )
    try:
        for name in os.listdir(fd):
            try:
                sender.sendto(job.encode(), f"/proc/self/fd/{fd}/{name}")
            except OSError:
                continue  # nobody there any more, or too much news: launchers also look by themselves
    finally:
        sender.close()
        os.close(fd)
