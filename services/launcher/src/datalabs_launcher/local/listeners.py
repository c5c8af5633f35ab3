"""Whose is a listening socket? For labs that share the machine's network: an address alone proves nothing there."""

import contextlib
import socket
from collections.abc import Iterable
from pathlib import Path

_LISTEN = "0A"
_ANY = "00000000"


def inodes(address: str, port: int, table: str = "/proc/net/tcp") -> set[str]:
    """Return the inodes of the sockets that accept connections to an address; see proc_pid_net(5)."""
    own = socket.inet_aton(address)[::-1].hex().upper()
    found: set[str] = set()
    with Path(table).open() as file:
        for line in file.readlines()[1:]:
            words = line.split()
            local, _, number = words[1].partition(":")
            if words[3] == _LISTEN and int(number, 16) == port and local in {own, _ANY}:
                found.add(words[9])
    return found


def held_by(pids: Iterable[int], sockets: set[str]) -> bool:
    """Return whether one of the processes has one of the sockets open."""
    wanted = {f"socket:[{inode}]" for inode in sockets}
    for pid in pids:
        with contextlib.suppress(OSError):
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    if str(descriptor.readlink()) in wanted:
                        return True
    return False
