# pathlib alone takes a shim as long to import as all else that it needs:
# ruff: noqa: PTH123, PTH208
"""Processes by what cannot be reused: boot id, pid and start time. Standard library only: the shim imports it."""

import os

ZOMBIE = "Z"
_STARTED = 19  # field 22 of proc(5) stat, counted after the name


def boot_id() -> str:
    """Return the id of this boot of the machine."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def stat_of(pid: int) -> list[str]:
    """Return the fields of a process's stat after its name; raises OSError when there is none."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()
    except ProcessLookupError:
        raise FileNotFoundError(pid) from None


def started_ticks(pid: int) -> int:
    """Return when a process started, in clock ticks since boot; raises OSError when it is gone."""
    return int(stat_of(pid)[_STARTED])


def lives(pid: int | None, ticks: int | None) -> bool:
    """Return whether exactly that process runs; a zombie does not."""
    if not pid or ticks is None:
        return False
    try:
        fields = stat_of(pid)
    except OSError:
        return False
    return int(fields[_STARTED]) == ticks and fields[0] != ZOMBIE


def children_of(pid: int) -> list[int]:
    """Return the direct children of a process, zombies included."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children") as file:
                found += [int(word) for word in file.read().split()]
    except OSError:
        return found
    return found


def descendants_of(pid: int) -> list[int]:
    """Return all living descendants of a process, nearest first."""
    found: list[int] = []
    waiting = children_of(pid)
    while waiting:
        child = waiting.pop(0)
        try:
            if stat_of(child)[0] == ZOMBIE:
                continue
        except OSError:
            continue
        found.append(child)
        waiting += children_of(child)
    return found


def kill(pid: int, number: int) -> bool:
    """Send a signal; False when there is nobody to take it."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def resident_mib(pids: list[int]) -> float:
    """Return the resident memory of processes, summed, in MiB (shared pages count for each)."""
    page = os.sysconf("SC_PAGE_SIZE")
    pages = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/statm") as file:
                pages += int(file.read().split()[1])
        except OSError:
            continue
    return pages * page / 2**20


def cpu_seconds(pids: list[int]) -> float:
    """Return the CPU time that processes and their reaped children have used, summed."""
    ticks = 0
    for pid in pids:
        try:
            ticks += sum(int(word) for word in stat_of(pid)[11:15])
        except OSError:
            continue
    return ticks / os.sysconf("SC_CLK_TCK")


def session_of(leader: int, ticks: int) -> set[int]:
    """Return the living processes of the session that this process began.

    While a session has members its number is not given again; if its leader is another process by now, it has none.
    """
    found: set[int] = set()
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            fields = stat_of(int(name))
        except OSError:
            continue
        if int(name) == leader and int(fields[_STARTED]) != ticks:
            return set()
        if int(fields[3]) == leader and fields[0] != ZOMBIE:
            found.add(int(name))
    return found
