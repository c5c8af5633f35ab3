"""What the benches of the local runtimes have in common: a state folder, two people's volumes, jobs, and waiting for them."""

import asyncio
import contextlib
import os
import secrets
from pathlib import Path
from typing import Any

from datalabs_contracts.datalabs import Kind
from datalabs_contracts.volumes import Mount
from datalabs_launcher.scheduler import JobState, LabJob, Observation, Scheduler

LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
ADA, BOB = 20_001, 20_002
API_PORT = 18_123


def lab_name() -> str:
    return "".join(secrets.choice(LETTERS) for _ in range(10))


class LabBench:
    """A state folder with its scheduler and the jobs of two people."""

    scheduler: Scheduler

    def __init__(self, folder: Path, *, patience: float) -> None:
        """Keep all under a folder; wait so many seconds for a state."""
        self.state_folder = folder
        self._patience = patience
        self._owned = os.geteuid() == 0

    def as_one_user(self) -> None:
        """Let all volumes belong to who runs the platform, as without root."""
        self._owned = False

    def volume(self, name: str, uid: int) -> Path:
        folder = self.state_folder / "volumes" / name
        folder.mkdir(parents=True, exist_ok=True)
        if self._owned:
            os.chown(folder, uid, uid)
        folder.chmod(0o700)
        return folder

    def job_of(self, owner: str, **values: Any) -> LabJob:
        """Return a new job of ada or bob, whose home and scratch are there."""
        lab = lab_name()
        uid = ADA if owner == "ada" else BOB
        home, scratch = self.volume(f"home/{owner}", uid), self.volume(f"scratch/{lab}", uid)
        about: dict[str, Any] = {
            "job_id": f"lab-{lab}-01",
            "lab_id": lab,
            "attempt": 1,
            "owner": owner,
            "uid": uid,
            "datalab": "stub",
            "version": "1",
            "kind": Kind.WEB,
            "source": "",
            "cores": 0.5,
            "memory_mib": 256,
            "disk_mib": 64,
            "port": 20_100,
            "ready_path": "/",
            "ready_secret": False,
            "batch": False,
            "activity": "",
            "mounts": (
                Mount(source=str(home), target="/media/home", read_only=False),
                Mount(source=str(scratch), target="/media/scratch", read_only=False),
            ),
            "environment": {"DATALABS_LAB_ID": lab},
            "origin": f"http://{lab}.localhost:8080",
            "stop_seconds": 5,
        }
        return LabJob(**{**about, **values})

    async def until(
        self,
        job_id: str,
        *states: JobState,
        scheduler: Scheduler | None = None,
        seconds: float | None = None,
    ) -> Observation:
        """Wait for a state, by watching."""
        scheduler = scheduler or self.scheduler
        watch = scheduler.watch()
        async with asyncio.timeout(seconds or self._patience):
            following = asyncio.ensure_future(anext(watch))
            try:
                while True:
                    seen = await scheduler.get(job_id)
                    if seen is not None and seen.state in states:
                        return seen
                    await asyncio.wait({following}, timeout=2)
                    if following.done():
                        following = asyncio.ensure_future(anext(watch))
            finally:
                following.cancel()
                with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration):
                    await following

    async def clear(self) -> None:
        """End whatever the test left."""
        for seen in await self.scheduler.jobs():
            if seen.state is not JobState.ENDED:
                await self.scheduler.stop(seen.job_id, grace=0)
                await self.until(seen.job_id, JobState.ENDED)
