"""When may another lab start? While the machine has CPU to give: a start costs it half a second of a core.

Too many starts at once make each slow and none earlier (8 JupyterLabs at once on 2 cores: 2.0 s each instead of 0.5);
too few leave the CPU idle. So starts go on as long as few processes wait for a core, and never slower than one a core
and second, whatever else the machine does.
"""

import os
from collections import deque
from collections.abc import Callable
from pathlib import Path

WAITING_PER_CORE = 2
"""So many runnable processes a core keep it busy without making the starting ones wait long."""
BURST_SECONDS = 0.05
"""A lab that was submitted so lately has not begun to compute: it does not show among the runnable."""
MOST_PER_CORE = 8
"""Starts a core within `busy_seconds`, at most: the count of runnable processes is only a glimpse."""


def runnable() -> int:
    """Return how many processes run or wait for a core now, but for the one that asks."""
    with Path("/proc/stat").open() as file:
        for line in file:
            if line.startswith("procs_running"):
                return int(line.split()[1]) - 1
    return 0


class Pace:
    """Counts recent starts and looks at who waits for the CPU."""

    def __init__(
        self,
        *,
        cores: int,
        busy_seconds: float,
        now: Callable[[], float],
        waiting: Callable[[], int] = runnable,
    ) -> None:
        self._cores, self._busy, self._now, self._waiting = cores, busy_seconds, now, waiting
        self._starts: deque[float] = deque()

    def started(self) -> None:
        """Note a start."""
        self._starts.append(self._now())

    def may_start(self) -> bool:
        """Return whether another start would find CPU."""
        now = self._now()
        while self._starts and now - self._starts[0] > self._busy:
            self._starts.popleft()
        if len(self._starts) < self._cores:
            return True
        just_now = sum(1 for start in self._starts if now - start < BURST_SECONDS)
        return (
            just_now < self._cores
            and len(self._starts) < MOST_PER_CORE * self._cores
            and self._waiting() < WAITING_PER_CORE * self._cores
        )


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
            limit = Path(path).read_text().strip()
        except OSError:
            continue
        if limit.isdigit():
            total = min(total, int(limit) // 2**20)
    return total
