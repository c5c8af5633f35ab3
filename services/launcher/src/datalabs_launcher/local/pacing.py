"""When may another lab start? While the machine has CPU to give: a start costs it half a second of a core."""

import os
from collections import deque
from collections.abc import Callable
from pathlib import Path

_IDLE_SHARE = 0.15
_WINDOW = 0.25


class Pace:
    """Counts recent starts and looks at the idle share of the CPU."""

    def __init__(self, *, cores: int, busy_seconds: float, now: Callable[[], float]) -> None:
        self._cores, self._busy, self._now = cores, busy_seconds, now
        self._starts: deque[float] = deque()
        self._last: tuple[float, int, int] | None = None
        self._idle = 1.0

    def started(self) -> None:
        """Note a start."""
        self._starts.append(self._now())

    def may_start(self) -> bool:
        """Return whether fewer labs are starting than there are cores, or the CPU is not all taken."""
        now = self._now()
        while self._starts and now - self._starts[0] > self._busy:
            self._starts.popleft()
        if len(self._starts) < self._cores:
            return True
        return len(self._starts) < 2 * self._cores and self._idle_share(now) >= _IDLE_SHARE

    def _idle_share(self, now: float) -> float:
        if self._last is None or now - self._last[0] >= _WINDOW:
            idle, total = _ticks()
            if self._last is not None and total > self._last[2]:
                self._idle = (idle - self._last[1]) / (total - self._last[2])
            self._last = (now, idle, total)
        return self._idle


def _ticks() -> tuple[int, int]:
    with Path("/proc/stat").open() as file:
        words = [int(word) for word in file.readline().split()[1:9]]
    return words[3] + words[4], sum(words)


def cores_here() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0))


def memory_here_mib() -> int:
    """Return the memory of this machine, or of the container that holds us."""
    with Path("/proc/meminfo").open() as file:
        words = dict(line.split(":", 1) for line in file)
    total = int(words["MemTotal"].split()[0]) // 1024
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            with Path(path).open() as file:
                limit = file.read().strip()
        except OSError:
            continue
        if limit.isdigit():
            total = min(total, int(limit) // 2**20)
    return total
