"""Starting a shim and knowing at once when it is gone, whether we are its parent or not."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import structlog

from datalabs_launcher.local import processes
from datalabs_launcher.local.interpreter import Interpreter

PROGRAM = Path(__file__).with_name("shim.py")
NEST = Path(__file__).with_name("nest.py")
NEST_SECONDS = 2.0
"""A nest that does not answer within so long is given up; shims are started without it then."""
_LONGEST = 4096


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
        self.reap()
        self.over.set()
        tell()

    def reap(self) -> None:
        """Take note of its end, where we are its parent."""
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


class Nest:
    """Forks shims from an interpreter that has all that they need; without it each is started by itself."""

    def __init__(self, interpreter: Interpreter) -> None:
        self._interpreter = interpreter
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._log = structlog.get_logger(__name__)

    def warm(self) -> None:
        """Start the interpreter, if it does not run."""
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        here.settimeout(NEST_SECONDS)
        with there:
            try:
                self._process = subprocess.Popen(
                    [self._interpreter.executable, "-I", "-S", "-E", NEST, str(there.fileno())],
                    stdin=subprocess.DEVNULL,
                    cwd="/",
                    env={},
                    pass_fds=[there.fileno()],
                    start_new_session=True,
                )
            except OSError as error:
                here.close()
                self._log.warning("nest.not_started", reason=str(error))
                return
        self._socket = here

    def shim(self, folder: Path) -> Shim:
        """Start the shim of an attempt; raises OSError."""
        self.warm()
        if self._socket is not None:
            try:
                return self._hatched(self._socket, folder)
            except OSError as error:
                self._log.warning("nest.failed", reason=str(error))
                self.close()
        # Should the nest have begun one after all: the attempt's lock lets one of the two go on.
        return Shim.start(folder, self._interpreter)

    @staticmethod
    def _hatched(control: socket.socket, folder: Path) -> Shim:
        control.send(os.fsencode(folder))
        words, fds, _, _ = socket.recv_fds(control, _LONGEST, 1, socket.MSG_CMSG_CLOEXEC)
        if not fds:
            raise OSError(words.decode(errors="replace") or "it is gone")
        return Shim(int(words), fds[0], None)

    def close(self) -> None:
        """End the interpreter; the shims live on."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            try:
                self._process.wait(NEST_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
