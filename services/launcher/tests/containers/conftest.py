"""A bench for container labs: a state folder of its own on the machine's engine, a small image, jobs of two people."""

import asyncio
import io
import shutil
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import docker
import docker.errors
import pytest
from services.launcher.tests.lab_bench import API_PORT, LabBench

from datalabs_contracts.datalabs import ContainerRuntime, Runtime
from datalabs_launcher.containers.adapter import ContainerScheduler
from datalabs_launcher.containers.config import ContainerSettings
from datalabs_launcher.local.config import LocalSettings
from datalabs_launcher.scheduler import JobState, LabJob, Observation

SECONDS = 40.0
IMAGE = "open-datalabs/bench:2"
BASE = "debian:12-slim"
DOCKERFILE = f"""
FROM {BASE}
RUN apt-get update && apt-get install -y --no-install-recommends python3 && rm -rf /var/lib/apt/lists/*
CMD ["sleep", "1000"]
"""


@pytest.fixture(scope="session")
def docker_client() -> Iterator[Any]:
    """The engine; without one these tests fail, they are never passed over in silence."""
    try:
        client = docker.from_env()
        client.ping()
    except docker.errors.DockerException as error:
        pytest.fail(f"THE CONTAINER TIER CANNOT RUN: no Docker engine answers ({error})")
    yield client
    client.close()


@pytest.fixture(scope="session")
def image(docker_client: Any) -> str:
    """An image with a Python and nothing else, made once; its base comes from `make base-image`."""
    try:
        docker_client.images.get(IMAGE)
    except docker.errors.ImageNotFound:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            entry = tarfile.TarInfo("Dockerfile")
            entry.size = len(DOCKERFILE)
            archive.addfile(entry, io.BytesIO(DOCKERFILE.encode()))
        packed.seek(0)
        docker_client.images.build(
            fileobj=packed, custom_context=True, tag=IMAGE, rm=True, network_mode="host"
        )
    return IMAGE


class Bench(LabBench):
    """Container labs of two people."""

    scheduler: ContainerScheduler

    def __init__(self, folder: Path, image: str, **settings: Any) -> None:
        super().__init__(folder, patience=SECONDS)
        self.image = image
        own = set(ContainerSettings.model_fields)
        self.containers = ContainerSettings(**{name: one for name, one in settings.items() if name in own})
        self.settings = LocalSettings(**{name: one for name, one in settings.items() if name not in own})
        self.scheduler = self.new_scheduler()

    def new_scheduler(self) -> ContainerScheduler:
        return ContainerScheduler(
            state_folder=self.state_folder,
            settings=self.settings,
            containers=self.containers,
            api_port=API_PORT,
        )

    def job(self, *command: str, owner: str = "ada", **changes: Any) -> LabJob:
        about = {name: changes.pop(name) for name in ("read_only", "shm_mib") if name in changes}
        values = {
            "datalab": "bench",
            "runtime": Runtime.CONTAINER,
            "container": ContainerRuntime(image=self.image, command=list(command), **about),
            "memory_mib": 128,
            "lab_secret": "a-secret-of-the-edge",
        }
        return self.job_of(owner, **{**values, **changes})

    async def running(self, *command: str, **changes: Any) -> LabJob:
        job = self.job(*command, **changes)
        await self.scheduler.submit(job)
        return job

    async def ended(self, *command: str, **changes: Any) -> Observation:
        """Run a command to its end."""
        job = self.job(*command, **changes)
        await self.scheduler.submit(job)
        return await self.until(job.job_id, JobState.ENDED)

    async def python(self, program: str, **changes: Any) -> Observation:
        return await self.ended("python3", "-c", program, **changes)

    async def text(self, job_id: str) -> str:
        lines, _ = await self.scheduler.logs(job_id, lines=400)
        return "\n".join(lines)

    async def spoken(self, job_id: str, word: str) -> None:
        """Wait until a lab has written a word."""
        async with asyncio.timeout(SECONDS):
            while word not in await self.text(job_id):  # noqa: ASYNC110 - a log has no event
                await asyncio.sleep(0.05)

    async def said(self, *command: str, **changes: Any) -> str:
        """Return what a command wrote."""
        return await self.text((await self.ended(*command, **changes)).job_id)

    async def sweep(self) -> None:
        """End whatever the test left, and take the network back."""
        await self.clear()
        for seen in await self.scheduler.jobs():
            await self.scheduler.purge(seen.job_id)
        await self.scheduler.aclose()
        shutil.rmtree(self.state_folder, ignore_errors=True)


@pytest.fixture
async def bench(tmp_path: Path, image: str) -> AsyncIterator[Bench]:
    made = Bench(tmp_path / "state", image)
    await made.scheduler.start()
    yield made
    await made.sweep()


@pytest.fixture
async def impatient(tmp_path: Path, image: str) -> AsyncIterator[Bench]:
    """A bench that looks often at what labs write, and bears a lab at its limit of processes only for a moment."""
    made = Bench(
        tmp_path / "state", image, disk_check=0.5, fork_patience=2.0, processes_per_lab=48, files_per_mib=200
    )
    await made.scheduler.start()
    yield made
    await made.sweep()


@pytest.fixture
async def cloistered(tmp_path: Path, image: str) -> AsyncIterator[Bench]:
    """A bench whose operator lets labs reach nothing but the platform."""
    made = Bench(tmp_path / "state", image, egress=False)
    await made.scheduler.start()
    yield made
    await made.sweep()
