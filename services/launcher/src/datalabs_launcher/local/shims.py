"""Starting a shim and knowing at once when it is gone, whether we are its parent or not."""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from datalabs_launcher.local import processes
from datalabs_launcher.local.interpreter import Interpreter

PROGRAM = Path(__file__).with_name("shim.py")


class Shim:
    """A running supervisor, held by a pidfd: its number cannot be taken by another process behind our back."""

    def __init__(self, pid: int, fd: int, child: subprocess.Popen[bytes] | None) -> None:
        self.pid = pid
        self.over = asyncio.Event()
        self._fd = fd
        self._child = child

    @classmethod
    def start(cls, folder: Path, interpreter: Interpreter) -> "Shim":
        """Start the shim of an attempt, in a session of its own; raises OSError."""
        with (folder / "shim.log").open("ab") as log:
            child = subprocess.Popen(
                [interpreter.executable, "-I", "-S", "-E", PROGRAM, folder],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={},
                start_new_session=True,
            )
        return cls(child.pid, os.pidfd_open(child.pid), child)

    @classmethod
    def find(cls, pid: int, ticks: int) -> "Shim | None":
        """Return the shim that an earlier launcher started; None when it is gone."""
        try:
            fd = os.pidfd_open(pid)
        except OSError:
            return None
        if not processes.lives(pid, ticks):
            os.close(fd)
            return None
        return cls(pid, fd, None)

    def on_end(self, loop: asyncio.AbstractEventLoop, tell: Callable[[], None]) -> None:
        """Call once when it is gone."""
        loop.add_reader(self._fd, self._ended, loop, tell)

    def _ended(self, loop: asyncio.AbstractEventLoop, tell: Callable[[], None]) -> None:
        loop.remove_reader(self._fd)
        self._reap()
        self.over.set()
        tell()

    def _reap(self) -> None:
        if self._child is not None:
            self._child.wait()

    def ask(self) -> None:
        """Ask it to end its lab; what to grant the lab stands in the attempt's folder."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._fd, signal.SIGTERM)

    def let_go(self, loop: asyncio.AbstractEventLoop) -> None:
        """Forget it; it runs on."""
        loop.remove_reader(self._fd)
        os.close(self._fd)
        if self._child is not None and self._child.returncode is None:
            self._child.returncode = 0  # it outlives us: no warning at its collection
