# pathlib alone takes a shim as long to import as all else that it needs:
# ruff: noqa: PTH103, PTH106, PTH110, PTH120, PTH123
"""Control groups of one lab, version 1 or 2: limits, evidence, use. Standard library only: the shim imports it.

A lab's groups are given as a mapping from controller to folder: version 1 has `memory, pids, cpu, cpuacct`, version 2
the one folder `unified`. A missing controller is simply not enforced; the caller knows what then takes its place.
"""

import os
import time

from datalabs_launcher.local import processes

ROOT = "/sys/fs/cgroup"
V1 = ("memory", "pids", "cpu", "cpuacct")
SHARES_PER_CORE = 1024
WEIGHT_PER_CORE = 100
_ALL_LABS = 4 * (os.cpu_count() or 1)
"""All labs together weigh as much as so many busy processes of the platform; by default it would be one."""
_SIGKILL = 9

Groups = dict[str, str]


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def _counter(path: str, name: str) -> int:
    for line in _read(path).splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0


def bases(name: str, root: str = ROOT) -> Groups:
    """Return the folders under which this machine lets us make groups, made; empty when none may be made.

    They lie at the top of each hierarchy, not under our own group: labs outlive the platform's session.
    """
    if os.path.exists(f"{root}/cgroup.controllers"):
        return _unified_base(name, root)
    found: Groups = {}
    for controller in V1:
        folder = f"{root}/{controller}/{name}"
        try:
            os.makedirs(folder, exist_ok=True)
            if os.access(f"{root}/{controller}/cgroup.procs", os.W_OK):
                found[controller] = folder
        except OSError:
            continue
    if folder := found.get("cpu", ""):
        _write(f"{folder}/cpu.shares", str(_ALL_LABS * SHARES_PER_CORE))
    return found


def _unified_base(name: str, root: str) -> Groups:
    own = _read("/proc/self/cgroup").strip().rpartition("::")[2].strip("/")
    for parent in (root, f"{root}/{own}", os.path.dirname(f"{root}/{own}")):
        try:
            if "memory" not in _read(f"{parent}/cgroup.subtree_control").split():
                _write(f"{parent}/cgroup.subtree_control", "+memory +pids")
            folder = f"{parent}/{name}"
            os.makedirs(folder, exist_ok=True)
            for controllers in ("+memory +pids", "+cpu"):
                try:
                    _write(f"{folder}/cgroup.subtree_control", controllers)
                except OSError:
                    if controllers != "+cpu":
                        raise
            if os.path.exists(f"{folder}/cpu.weight"):
                _write(f"{folder}/cpu.weight", str(min(10_000, _ALL_LABS * WEIGHT_PER_CORE)))
            # Moving our children in asks for write access at the common ancestor too.
            if os.access(f"{parent}/cgroup.procs", os.W_OK):
                return {"unified": folder}
        except OSError:
            continue
    return {}


def make(groups: Groups, *, memory_mib: int, pids: int, cores: float) -> None:
    """Make a lab's groups anew, with its limits; cores are shares, not a quota."""
    for folder in groups.values():
        os.makedirs(folder, exist_ok=True)
    limit = str(memory_mib * 2**20)
    if folder := groups.get("memory", ""):
        _write(f"{folder}/memory.limit_in_bytes", limit)
        if os.path.exists(f"{folder}/memory.memsw.limit_in_bytes"):
            _write(f"{folder}/memory.memsw.limit_in_bytes", limit)
    if folder := groups.get("pids", ""):
        _write(f"{folder}/pids.max", str(pids))
    if folder := groups.get("cpu", ""):
        _write(f"{folder}/cpu.shares", str(max(2, round(cores * SHARES_PER_CORE))))
    if folder := groups.get("unified", ""):
        _write(f"{folder}/memory.max", limit)
        if os.path.exists(f"{folder}/memory.swap.max"):
            _write(f"{folder}/memory.swap.max", "0")
        _write(f"{folder}/pids.max", str(pids))
        if os.path.exists(f"{folder}/cpu.weight"):
            _write(f"{folder}/cpu.weight", str(min(10_000, max(1, round(cores * WEIGHT_PER_CORE)))))


def enter(groups: Groups) -> None:
    """Move the calling process in; it must have one thread only.

    Version 1 lets a thread that moves itself in at once, where a move of a process waits 10 ms for all processors
    (cgroup_procs_write_start in the kernel's cgroup.c, Linux 5.13).
    """
    for controller, folder in groups.items():
        _write(f"{folder}/{'cgroup.procs' if controller == 'unified' else 'tasks'}", "0")


def members(groups: Groups) -> set[int]:
    """Return the processes inside; zombies are not."""
    found: set[int] = set()
    for folder in groups.values():
        found.update(int(word) for word in _read(f"{folder}/cgroup.procs").split())
    return found


def end(groups: Groups, *, seconds: float = 5.0) -> bool:
    """Kill all inside until nobody is; False when somebody still is after `seconds`."""
    deadline = time.monotonic() + seconds
    while inside := members(groups) - {os.getpid()}:
        for pid in inside:
            processes.kill(pid, _SIGKILL)
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def remove(groups: Groups) -> None:
    """Remove the groups; the kernel may need a moment after the last process, then they stay for the next try."""
    for folder in groups.values():
        try:
            os.rmdir(folder)
        except OSError:
            continue


def remove_all(bases_of_labs: Groups) -> None:
    """Remove the groups of labs that are gone, and the folders of all when none is left."""
    for base in bases_of_labs.values():
        try:
            names = [entry.name for entry in os.scandir(base) if entry.is_dir()]
        except OSError:
            continue
        for name in names:
            remove({"": f"{base}/{name}"})
    remove(bases_of_labs)


def out_of_memory_kills(groups: Groups) -> int:
    """Return how many processes the kernel killed here because the memory limit was reached.

    `failcnt` is no signal: page cache raises it too (reference/process-labs.md section 3).
    """
    if folder := groups.get("memory", ""):
        return _counter(f"{folder}/memory.oom_control", "oom_kill")
    if folder := groups.get("unified", ""):
        return _counter(f"{folder}/memory.events", "oom_kill")
    return 0


def refused_forks(groups: Groups) -> int:
    """Return how many new processes or threads the limit refused."""
    folder = groups.get("pids") or groups.get("unified")
    return _counter(f"{folder}/pids.events", "max") if folder else 0


def tasks(groups: Groups) -> int:
    """Return how many processes and threads there are now; 0 when nobody counts."""
    folder = groups.get("pids") or groups.get("unified")
    text = _read(f"{folder}/pids.current").strip() if folder else ""
    return int(text) if text else 0


def cpu_used(groups: Groups) -> float | None:
    """Return the CPU seconds used here; None when nobody counts."""
    if folder := groups.get("cpuacct", ""):
        text = _read(f"{folder}/cpuacct.usage").strip()
        return int(text) / 1e9 if text else None
    if folder := groups.get("unified", ""):
        return _counter(f"{folder}/cpu.stat", "usage_usec") / 1e6
    return None


def memory_used_mib(groups: Groups) -> float | None:
    """Return the memory in use in MiB, without page cache that can be dropped; None when nobody counts."""
    if folder := groups.get("memory", ""):
        text, inactive = _read(f"{folder}/memory.usage_in_bytes").strip(), "total_inactive_file"
    elif folder := groups.get("unified", ""):
        text, inactive = _read(f"{folder}/memory.current").strip(), "inactive_file"
    else:
        return None
    if not text:
        return None
    return max(0, int(text) - _counter(f"{folder}/memory.stat", inactive)) / 2**20


def memory_peak_mib(groups: Groups) -> float | None:
    """Return the highest memory use in MiB, page cache included; None when nobody counts."""
    for controller, name in (("memory", "memory.max_usage_in_bytes"), ("unified", "memory.peak")):
        if folder := groups.get(controller, ""):
            text = _read(f"{folder}/{name}").strip()
            return int(text) / 2**20 if text else None
    return None
