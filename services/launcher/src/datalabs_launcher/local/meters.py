"""What an attempt uses: CPU and memory from its control groups, else from its processes."""

from dataclasses import dataclass

from datalabs_launcher.local import cgroups, processes


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
