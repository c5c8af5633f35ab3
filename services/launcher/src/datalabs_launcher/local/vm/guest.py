# pathlib alone takes a shim as long to import as all else that it needs:
# ruff: noqa: PTH123
"""A virtual machine as its shim sees it: asked to end by its power button, heard when it speaks. Standard library only.

Two socket pairs reach QEMU by descriptor, so nothing else can speak on them: QMP, and the serial port by which the guest
says `ready` and how busy it is. The guest is anybody's: what it says is bounded and believed in nothing else.
"""

from __future__ import annotations

import _socket
import os
import time

from datalabs_launcher.local import quick_json

TYPE_CHECKING = False  # `typing` and what it imports cost the shim 8 ms
if TYPE_CHECKING:
    from typing import Any

CONTROL_FD, SAID_FD = 200, 201
"""QEMU's ends of the pairs, as its arguments name them."""
BUSY = "busy"
"""The file with how busy the guest says it is, in thousandths; its age says when that was."""
BUSY_EVERY = 5.0
_LONGEST_LINE, _LONGEST_MESSAGE = 256, 65_536
_CHUNK = 4096
_DISK = "the machine's disk"


class Guest:
    """One virtual machine; `end` is QEMU's side until it runs."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        kind = _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC
        self._control, control_end = _socket.socketpair(_socket.AF_UNIX, kind)
        self._said, said_end = _socket.socketpair(_socket.AF_UNIX, kind)
        self._ends = {CONTROL_FD: control_end, SAID_FD: said_end}
        self._pending: dict[int, bytes] = {self._control.fileno(): b"", self._said.fileno(): b""}
        self._busy_at = 0.0
        self.full: list[str] = []
        self.error = ""
        for side in (self._control, self._said):
            side.setblocking(False)
        self._tell({"execute": "qmp_capabilities"})

    def pass_on(self) -> None:
        """Put QEMU's ends where its arguments expect them; in the child, before the exec."""
        for number, end in self._ends.items():
            os.dup2(end.fileno(), number, inheritable=True)

    def started(self) -> None:
        """Let go of QEMU's ends, so that its death is seen."""
        for end in self._ends.values():
            end.close()
        self._ends = {}

    def descriptors(self) -> list[int]:
        """Return what to wait for."""
        return list(self._pending)

    def power_down(self) -> None:
        """Press the power button; a guest that is not up yet does not feel it, so it may be pressed again."""
        self._tell({"execute": "system_powerdown"})

    def _tell(self, command: dict[str, Any]) -> None:
        try:
            self._control.send(quick_json.dumps(command).encode() + b"\n")
        except OSError:
            return  # it is gone, or has not read what it was told long ago: it will be killed

    def heard(self, fd: int) -> tuple[bool, dict[str, Any]]:
        """Take in what is there: whether more can come, and what of it belongs into the lab's state."""
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            return True, {}
        except OSError:
            return False, {}
        control = fd == self._control.fileno()
        pending = self._pending[fd] + data
        *lines, rest = pending.split(b"\n")
        self._pending[fd] = rest if len(rest) <= (_LONGEST_MESSAGE if control else _LONGEST_LINE) else b""
        news: dict[str, Any] = {}
        for line in lines:
            news.update(self._event(line) if control else self._word(line[:_LONGEST_LINE]))
        return bool(data), news

    def _word(self, line: bytes) -> dict[str, Any]:
        word, _, value = line.decode("ascii", "replace").strip().partition(" ")
        if word == "ready":
            return {"ready": time.time()}
        if word == BUSY and value.isdigit() and time.time() - self._busy_at >= BUSY_EVERY:
            self._busy_at = time.time()
            self._note(str(min(1000, int(value))))
        return {}

    def _note(self, value: str) -> None:
        try:
            with open(f"{self._folder}/{BUSY}", "w") as file:
                file.write(value)
        except OSError:
            return  # a full disk loses a sign of life, never the lab

    def _event(self, line: bytes) -> dict[str, Any]:
        try:
            message = quick_json.loads(line.decode())
        except (ValueError, StopIteration):
            return {}
        if not isinstance(message, dict):
            return {}
        data = message.get("data") or {}
        match message.get("event"):
            case "GUEST_PANICKED":
                self.error = "The machine's kernel panicked."
            case "BLOCK_IO_ERROR" if data.get("nospace"):
                self.full = [_DISK]
            case "SHUTDOWN":
                return {"shutdown": str(data.get("reason"))}
            case _:
                pass
        return {}
