"""What running container labs use, and whether they are in use."""

import time
from datetime import UTC, datetime
from pathlib import Path

from datalabs_contracts.labs import Sample
from datalabs_launcher.containers import logs
from datalabs_launcher.containers.engine import Engine
from datalabs_launcher.containers.folders import Record
from datalabs_launcher.containers.guard import Guard
from datalabs_launcher.local import activity, meters, processes
from datalabs_launcher.scheduler import Observation

_INTERFACE = "eth0"


class Measuring:
    """Measures from the control groups where they can be read, else by the engine's own counts."""

    def __init__(self, engine: Engine, guard: Guard) -> None:
        self._engine, self._guard = engine, guard
        self._sampled: dict[str, meters.Rate] = {}
        self._judged: dict[str, meters.Rate] = {}
        self._scratch: dict[str, meters.Scratch] = {}

    def forget(self, job_id: str) -> None:
        """Drop what was measured of a job."""
        for known in (self._sampled, self._judged):
            known.pop(job_id, None)
        self._scratch.pop(job_id, None)

    async def _use(self, job_id: str) -> meters.Use | None:
        watched = self._guard.watched(job_id)
        if watched is not None and watched.groups:
            return meters.measure(watched.groups, watched.pid)
        return logs.use_of(await self._engine.usage(job_id))

    async def sample(self, seen: Observation, record: Record) -> Sample | None:
        """Return what a running job uses now; cores since the last sample."""
        use = await self._use(seen.job_id)
        if use is None or seen.started_at is None:
            return None
        now, about = time.monotonic(), record.about
        age = max(0.1, time.time() - seen.started_at.timestamp())
        rate = self._sampled.setdefault(seen.job_id, meters.Rate(now - age, 0.0))
        if about.scratch and seen.job_id not in self._scratch:
            self._scratch[seen.job_id] = meters.Scratch(Path(about.scratch[0]))
        scratch, watched = self._scratch.get(seen.job_id), self._guard.watched(seen.job_id)
        received, sent = (traffic(watched.pid) if watched else None) or (None, None)
        return Sample(
            lab_id=seen.lab_id,
            at=datetime.now(tz=UTC),
            cores=rate.cores(now, use.cpu_seconds) or 0.0,
            memory_mib=use.memory_mib,
            max_cores=about.cores,
            max_memory_mib=about.memory_mib,
            disk_mib=await scratch.used_mib(now) if scratch else None,
            max_disk_mib=about.disk_mib or None,
            received_bytes=received,
            sent_bytes=sent,
        )

    async def active(self, seen: Observation, record: Record) -> bool | None:
        """Return whether a running job's CPU or its kernels say it is in use, since the last time this was asked."""
        use, now = await self._use(seen.job_id), time.monotonic()
        if use is None:
            return None
        before = self._judged.get(seen.job_id)
        if before is None:
            self._judged[seen.job_id] = meters.Rate(now, use.cpu_seconds)
            return None
        if activity.computes(before.cores(now, use.cpu_seconds)):
            return True
        if record.about.activity == "jupyter":
            return await activity.kernels_busy(
                record.about.address, record.about.port, host="localhost", secret=record.secret
            )
        return False


def traffic(pid: int) -> tuple[int, int] | None:
    """Return the bytes received and sent in a process's network; see proc_pid_net(5)."""
    if not processes.lives(pid, processes.started_ticks(pid)):
        return None
    try:
        lines = Path(f"/proc/{pid}/net/dev").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        name, colon, counts = line.partition(":")
        if colon and name.strip() == _INTERFACE:
            words = counts.split()
            return int(words[0]), int(words[8])
    return None
