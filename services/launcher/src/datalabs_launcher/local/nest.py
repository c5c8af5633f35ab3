# pathlib alone takes a shim as long to import as all else that it needs:
# ruff: noqa: PTH100, PTH120
"""Where shims come from: `python3 -I -S -E nest.py FD` forks one for each folder that is sent to the socket FD.

An interpreter that is started for each lab costs 12 ms of processor time; one that is forked costs 1 ms and shares its
memory. Standard library only. It ends with its launcher, by the end of the socket; the shims live on.

A message is the folder of an attempt; the answer is the shim's pid with a pidfd, or the reason why there is none.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # the `signal` module imports enum: 4 ms
import _socket
import gc
import os
import struct
import sys

TYPE_CHECKING = False  # `typing` and what it imports cost 8 ms
if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST = 4096


def _hatch(folder: str, control: _socket.socket, run: Callable[[str], int]) -> int:
    """Fork a shim and return its pid; it waits until a pidfd is taken, so the pid cannot be another's by then."""
    log = os.open(f"{folder}/shim.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    waits, begin = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            control.close()
            os.close(begin)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setsid()
            nothing = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
            for source, target in ((nothing, 0), (log, 1), (log, 2)):
                os.dup2(source, target)
            os.read(waits, 1)
            os.close(waits)
            os.close(log)
            os.close(nothing)
            code = run(folder)
        except BaseException as error:  # noqa: BLE001 - its last words
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(code)
    os.close(waits)
    os.close(log)
    try:
        _answer(control, pid)
    finally:
        os.close(begin)
    return pid


def _answer(control: _socket.socket, pid: int) -> None:
    fd = os.pidfd_open(pid)
    try:
        ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("=i", fd))]
        control.sendmsg([str(pid).encode()], ancillary)
    finally:
        os.close(fd)


def main(descriptor: int, run: Callable[[str], int]) -> int:
    """Fork shims until the launcher is gone."""
    control = _socket.socket(fileno=descriptor)
    os.set_inheritable(descriptor, False)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries them
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    gc.freeze()
    while True:
        folder = control.recv(LONGEST).decode()
        if not folder:
            return 0
        try:
            _hatch(folder, control, run)
        except OSError as error:
            control.send(f"{error.strerror or error}".encode())


if __name__ == "__main__":
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    from datalabs_launcher.local import supervisor, veth  # noqa: F401 - what every shim needs

    sys.exit(main(int(sys.argv[1]), supervisor.main))
