"""Fetches a version's image to all machines ahead of its first lab: a system batch job that runs once on each.

The job is named after the image, so asking twice asks once; what it ran is kept by Nomad for a day, then it is asked
again, which costs nothing where the image is.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from datalabs_launcher.nomad import words
from datalabs_launcher.nomad.client import NomadClient
from datalabs_launcher.nomad.config import NomadSettings
from datalabs_launcher.nomad.errors import JobExistsError, NomadRejectedError
from datalabs_launcher.nomad.tasks import MAIN, SECOND
from datalabs_launcher.scheduler import EnvironmentProgress

Document = Mapping[str, Any]
PREFIX = "image-"
PAUSE = 0.3
PULL_SECONDS = 1800
PRESENT = ("executable file not found", "no such file or directory", "exec format error", "permission denied")
"""The container could not run its one command: then its image is there, which is all that was wanted."""


def fetch_job(image: str, platform: str, settings: NomadSettings) -> dict[str, Any]:
    """Return the job that fetches an image; `true` is all that runs in it."""
    job_id = fetch_id(image)
    made: dict[str, Any] = {
        "ID": job_id,
        "Name": job_id,
        "Namespace": settings.namespace,
        "Type": "sysbatch",
        "Priority": settings.nomad_priority,
        "Datacenters": ["*"],
        "Meta": {"datalabs_platform": platform, "datalabs_image": image},
        "TaskGroups": [
            {
                "Name": "fetch",
                "Count": 1,
                "RestartPolicy": {"Attempts": 0, "Interval": 600 * SECOND, "Delay": SECOND, "Mode": "fail"},
                "EphemeralDisk": {"SizeMB": 10},
                "Tasks": [
                    {
                        "Name": MAIN,
                        "Driver": "docker",
                        "User": "65534:65534",
                        "Config": {
                            "image": image,
                            "entrypoint": ["/bin/true"],
                            "network_mode": "none",
                            "cap_drop": ["all"],
                            "image_pull_timeout": f"{PULL_SECONDS}s",
                        },
                        "Resources": {"CPU": 1, "MemoryMB": 16},
                        "LogConfig": {"MaxFiles": 1, "MaxFileSizeMB": 1},
                    }
                ],
            }
        ],
    }
    if settings.nomad_volume:
        made["TaskGroups"][0]["Volumes"] = {
            "files": {"Name": "files", "Type": "host", "Source": settings.nomad_volume, "ReadOnly": True}
        }
    if settings.nomad_node_pool:
        made["NodePool"] = settings.nomad_node_pool
    return made


def fetch_id(image: str) -> str:
    """Return the id of the job that fetches an image."""
    return PREFIX + hashlib.sha256(image.encode()).hexdigest()[:16]


class Images:
    """Fetches images."""

    def __init__(self, *, client: NomadClient, settings: NomadSettings, platform: str) -> None:
        self._client, self._settings, self._platform = client, settings, platform

    async def fetch(self, image: str, *, machines: int) -> AsyncIterator[EnvironmentProgress]:
        """Fetch an image to all machines, telling of progress; a fetch that failed before is tried anew.

        Raises `SchedulerAwayError`.
        """
        job_id = fetch_id(image)
        before = _count(await self._client.allocations_of(job_id), image)
        if before.failed and not before.present and not before.waiting:
            await self._client.deregister(job_id, purge=True)
        try:
            await self._client.register(fetch_job(image, self._platform, self._settings))
        except JobExistsError:
            pass
        except NomadRejectedError as error:
            yield _failed(f"Nomad does not take a job that fetches {image}: {error}")
            return
        told: tuple[int, int] | None = None
        while True:
            counted = _count(await self._of_this_job(job_id), image)
            done, whole = counted.present + len(counted.failed), max(machines, counted.whole, 1)
            over = counted.whole > 0 and not counted.waiting
            if over and counted.present:
                left_out = f"; not on {', '.join(sorted(counted.failed))}" if counted.failed else ""
                yield EnvironmentProgress(
                    ready=True,
                    fraction=1.0,
                    text=f"On {counted.present} of {counted.whole} machines{left_out}",
                )
                return
            if over and counted.failed:
                yield _failed(next(iter(counted.failed.values())))
                return
            if told != (done, whole):
                told = (done, whole)
                yield EnvironmentProgress(
                    ready=False,
                    fraction=done / whole,
                    text=f"Fetching the image {image}: on {counted.present} of {whole} machines",
                )
            await asyncio.sleep(PAUSE)

    async def _of_this_job(self, job_id: str) -> list[Document]:
        """Return the allocations of the job as it is now, none of one that was purged before."""
        job = await self._client.job(job_id)
        created = (job or {}).get("CreateIndex", 0)
        return [
            one for one in await self._client.allocations_of(job_id) if one.get("CreateIndex", 0) >= created
        ]


def _failed(text: str) -> EnvironmentProgress:
    return EnvironmentProgress(ready=False, failed=True, fraction=0, text=text)


class _Counted:
    def __init__(self) -> None:
        self.present, self.waiting = 0, 0
        self.failed: dict[str, str] = {}

    @property
    def whole(self) -> int:
        return self.present + self.waiting + len(self.failed)


def _count(allocations: Sequence[Document], image: str) -> _Counted:
    """Count the machines: with the image, without, not yet."""
    counted = _Counted()
    newest: dict[str, Document] = {}
    for one in sorted(allocations, key=lambda one: one.get("CreateIndex", 0)):
        newest[str(one.get("NodeID"))] = one
    for one in newest.values():
        failure = _failure(one)
        if one.get("ClientStatus") == "complete" or (failure and any(text in failure for text in PRESENT)):
            counted.present += 1
        elif failure or one.get("ClientStatus") in {"failed", "lost"}:
            _, text = words.failure_of(failure or "the machine was lost", image=image)
            counted.failed[str(one.get("NodeName"))] = text
        else:
            counted.waiting += 1
    return counted


def _failure(allocation: Document) -> str:
    task = (allocation.get("TaskStates") or {}).get(MAIN) or {}
    for event in task.get("Events") or []:
        if event.get("Type") in {"Driver Failure", "Setup Failure"}:
            return str(event.get("DisplayMessage"))
    return ""
