"""Looks after running container labs: what the engine would forget, and what nothing else bounds.

The kernel refuses processes and memory beyond the limits, and the engine forgets those refusals with the container; what
a lab writes to its scratch and to its own files is bounded by nobody. So both are looked at while the lab runs.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from datalabs_launcher.containers.config import ContainerSettings
from datalabs_launcher.containers.disk import written
from datalabs_launcher.containers.folders import About, Record
from datalabs_launcher.local import cgroups

LOOK_SECONDS = 1.0
_MIB = 2**20
_LAYER_MIB = 1024
"""What a lab may write to its image's own files, where these can be written: most pip and apt installs fit."""


@dataclass
class Watched:
    """A running lab: its control groups, the folder of what it changed in its image, and since when it is at a limit."""

    record: Record
    groups: dict[str, str]
    layer: str | None
    cramped_since: float | None = None
    refused: int = 0
    dirty: bool = field(default=False)


class Guard:
    """Watches labs until they are dropped; `end` kills one."""

    def __init__(self, settings: ContainerSettings, *, end: Callable[[str], Awaitable[None]]) -> None:
        self._settings, self._end = settings, end
        self._watched: dict[str, Watched] = {}

    def watch(self, record: Record, *, groups: dict[str, str], layer: str | None) -> None:
        """Begin to watch a lab; watching it already changes nothing."""
        if record.job_id not in self._watched:
            self._watched[record.job_id] = Watched(record, groups, layer)

    def groups_of(self, job_id: str) -> dict[str, str]:
        """Return the control groups of a lab that is watched."""
        found = self._watched.get(job_id)
        return found.groups if found else {}

    def drop(self, job_id: str) -> None:
        """Watch a lab no more."""
        self._watched.pop(job_id, None)

    async def run(self) -> None:
        """Look at all labs, again and again."""
        disk_at = 0.0
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            now = time.monotonic()
            for one in list(self._watched.values()):
                await self._look(one, now)
            if now - disk_at >= self._settings.disk_check:
                for one in list(self._watched.values()):
                    await self._measure(one)
                disk_at = time.monotonic()

    async def _look(self, one: Watched, now: float) -> None:
        """Keep the kernel's counts, which go with the lab; end a lab that stands at its limit of processes."""
        kills = cgroups.out_of_memory_kills(one.groups)
        refused = cgroups.refused_forks(one.groups)
        evidence = one.record.evidence
        cramped = refused > one.refused
        one.refused = max(refused, one.refused)
        if (kills, refused) != (evidence.oom_kills, evidence.refused_forks) and (kills or refused):
            evidence.oom_kills = max(kills, evidence.oom_kills)
            evidence.refused_forks = max(refused, evidence.refused_forks)
            await asyncio.to_thread(one.record.note)
        if not cramped:
            one.cramped_since = None
        elif one.cramped_since is None:
            one.cramped_since = now
        elif now - one.cramped_since >= self._settings.fork_patience:
            evidence.pids_exceeded = True
            evidence.text = (
                f"It was at its limit of {one.record.about.pids} processes and kept asking for more."
            )
            await self._stop(one)

    async def _measure(self, one: Watched) -> None:
        about = one.record.about
        text = await asyncio.to_thread(over_disk, about, one.layer, self._settings.files_per_mib)
        if text is not None:
            one.record.evidence.disk_full = True
            one.record.evidence.text = text
            await self._stop(one)

    async def _stop(self, one: Watched) -> None:
        self.drop(one.record.job_id)
        await asyncio.to_thread(one.record.note)
        await self._end(one.record.job_id)


def over_disk(about: About, layer: str | None, files_per_mib: int) -> str | None:
    """Return in plain words how a lab is over its disk; None when it is not."""
    most_files = max(10_000, about.disk_mib * files_per_mib)
    if about.disk_mib:
        found = written(about.scratch, most_bytes=about.disk_mib * _MIB, most_files=most_files)
        if found.bytes > about.disk_mib * _MIB:
            return f"Its scratch holds more than its {about.disk_mib} MiB."
        if found.more:
            return f"Its scratch holds more than {most_files} files."
    if layer is not None:
        found = written([layer], most_bytes=_LAYER_MIB * _MIB, most_files=_LAYER_MIB * files_per_mib)
        if found.more:
            return f"It wrote more than {_LAYER_MIB} MiB outside its home and scratch."
    return None
