"""What an attempt uses: CPU and memory from its control groups, else from its processes; its disk and its network."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from datalabs_launcher.local import cgroups, disk, processes


@dataclass(frozen=True, kw_only=True)
class Use:
    """CPU seconds used since the start, and memory in MiB used now."""

    cpu_seconds: float
    memory_mib: float


def measure(groups: cgroups.Groups, shim: int) -> Use:
    """Return what a running attempt has used; `shim` is its supervisor's process."""
    cpu, memory = cgroups.cpu_used(groups), cgroups.memory_used_mib(groups)
    if cpu is None or memory is None:
        pids = processes.descendants_of(shim)
        cpu = processes.cpu_seconds(pids) if cpu is None else cpu
        memory = processes.resident_mib(pids) if memory is None else memory
    return Use(cpu_seconds=cpu, memory_mib=memory)


@dataclass
class Rate:
    """Cores in use between two looks; each kind of look keeps its own."""

    at: float
    cpu_seconds: float

    def cores(self, now: float, cpu_seconds: float, *, shortest: float = 0.05) -> float | None:
        """Return the cores in use since the last look, and remember this one; None when it was too short ago."""
        span = now - self.at
        if span < shortest:
            return None
        used = max(0.0, cpu_seconds - self.cpu_seconds) / span
        self.at, self.cpu_seconds = now, cpu_seconds
        return used


MOST_ENTRIES = 20_000
LONGEST_LOOK = 0.2
"""Seconds and entries after which a folder is too large to be counted while somebody waits."""
LOOK_AGAIN = 30.0


def used_mib(folder: Path) -> float | None:
    """Return what the files of a folder take of the disk; None when counting them would take too long."""
    if not folder.is_dir():
        return None
    found = disk.written([str(folder)], most_files=MOST_ENTRIES, longest=LONGEST_LOOK)
    return None if found.more else found.bytes / disk.MIB


class Scratch:
    """What a lab's scratch holds, counted anew now and then."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._looked = float("-inf")
        self._used: float | None = None

    async def used_mib(self, now: float) -> float | None:
        """Return the last count; None when there are too many files."""
        if now - self._looked >= LOOK_AGAIN:
            self._looked = now
            self._used = await asyncio.to_thread(used_mib, self._folder)
        return self._used


def traffic(interface: str) -> tuple[int, int] | None:
    """Return the bytes that a lab received and sent, from the host's end of its pair: there they are the other way."""
    folder = Path("/sys/class/net") / interface / "statistics"
    try:
        received, sent = (int((folder / name).read_text()) for name in ("tx_bytes", "rx_bytes"))
    except (OSError, ValueError):
        return None
    return received, sent
