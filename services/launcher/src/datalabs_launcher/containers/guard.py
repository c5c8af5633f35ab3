"""Looks after running container labs: what the engine would forget, and what nothing else bounds.

The kernel refuses processes and memory beyond the limits, and the engine forgets those refusals with the container; what
a lab writes to its scratch and to its own files is bounded by nobody. So both are looked at while the lab runs.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from datalabs_launcher.containers import observing
from datalabs_launcher.containers.folders import Record
from datalabs_launcher.local import bounds, cgroups, disk
from datalabs_launcher.local.config import LocalSettings

LOOK_SECONDS = 1.0
_LAYER_MIB = 1024
"""What a lab may write to its image's own files, where these can be written: most pip and apt installs fit."""


@dataclass
class Watched:
    """A running lab: its main process, its control groups, the folder of what it changed in its image."""

    record: Record
    pid: int
    groups: dict[str, str]
    layer: str | None
    looks: bounds.Looks


class Guard:
    """Watches labs until they are dropped; `end` kills one."""

    def __init__(self, settings: LocalSettings, *, end: Callable[[str], Awaitable[None]]) -> None:
        self._settings, self._end = settings, end
        self._watched: dict[str, Watched] = {}
        self._any = asyncio.Event()

    def watch(self, record: Record, *, pid: int, layer: str | None) -> None:
        """Begin to watch a lab by its main process; watching it already changes nothing."""
        if record.job_id not in self._watched:
            self._watched[record.job_id] = Watched(
                record, pid, observing.cgroups_of(pid), layer, bounds.Looks()
            )
            self._any.set()

    def watched(self, job_id: str) -> Watched | None:
        """Return what is known of a lab that is watched."""
        return self._watched.get(job_id)

    def drop(self, job_id: str) -> None:
        """Watch a lab no more."""
        self._watched.pop(job_id, None)
        if not self._watched:
            self._any.clear()

    async def run(self) -> None:
        """Look at all labs, again and again."""
        disk_at = 0.0
        while True:
            await self._any.wait()
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
        if (kills, refused) != (evidence.oom_kills, evidence.refused_forks) and (kills or refused):
            evidence.oom_kills = max(kills, evidence.oom_kills)
            evidence.refused_forks = max(refused, evidence.refused_forks)
            await asyncio.to_thread(one.record.note)
        pids = one.record.about.pids
        if one.looks.cramped(one.groups, pids=pids, now=now, patience=self._settings.fork_patience):
            evidence.pids_exceeded = True
            evidence.text = bounds.cramped_text(pids)
            await self._stop(one)

    async def _measure(self, one: Watched) -> None:
        about, files = one.record.about, self._settings.files_per_mib
        text = await asyncio.to_thread(
            one.looks.files.over, about.scratch, disk_mib=about.disk_mib, files_per_mib=files
        )
        if text is None and one.layer is not None:
            text = await asyncio.to_thread(_over_layer, one.layer, files)
        if text is not None:
            one.record.evidence.disk_full = True
            one.record.evidence.text = text
            await self._stop(one)

    async def _stop(self, one: Watched) -> None:
        self.drop(one.record.job_id)
        await asyncio.to_thread(one.record.note)
        await self._end(one.record.job_id)


def _over_layer(layer: str, files_per_mib: int) -> str | None:
    found = disk.written([layer], most_bytes=_LAYER_MIB * disk.MIB, most_files=_LAYER_MIB * files_per_mib)
    return f"It wrote more than {_LAYER_MIB} MiB outside its home and scratch." if found.more else None
