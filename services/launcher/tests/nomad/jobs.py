"""Jobs for the tests of the Nomad adapter."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from datalabs_contracts.datalabs import ContainerRuntime, Kind, ProcessRuntime, Runtime, VmRuntime
from datalabs_contracts.ids import job_id_of, new_lab_id
from datalabs_contracts.volumes import Mount
from datalabs_launcher.nomad.adapter import NomadScheduler
from datalabs_launcher.scheduler import JobState, LabJob, Observation

PYTHON = "/usr/bin/python3"
SERVE = (
    "import http.server as h, os; h.test(h.SimpleHTTPRequestHandler, port=int(os.environ['DATALABS_PORT']))"
)

NOTEBOOK = LabJob(
    job_id="lab-k3v9x2abcd-01",
    lab_id="k3v9x2abcd",
    attempt=1,
    owner="ada",
    uid=20001,
    datalab="jupyterlab",
    version="1.0",
    kind=Kind.NOTEBOOK,
    runtime=Runtime.CONTAINER,
    container=ContainerRuntime(
        image="datalabs/notebook:1.0",
        command=["--ServerApp.base_url={origin}"],
        environment={"GREETING": "{parameters[greeting]}"},
        read_only=True,
    ),
    process=ProcessRuntime(command=["{python}", "-m", "jupyterlab", "--port", "{port}", "--ip", "{address}"]),
    vm=VmRuntime(disk="linux-desktop", environment={"LAB_KIND": "desktop"}),
    source="/srv/datalabs/content/jupyterlab",
    cores=0.5,
    memory_mib=768,
    disk_mib=2048,
    port=20123,
    ready_path="/api/status",
    ready_secret=True,
    batch=False,
    activity="jupyter",
    mounts=(
        Mount(source="/srv/datalabs/volumes/home/ada", target="/media/home", read_only=False),
        Mount(source="/srv/datalabs/volumes/scratch/k3v9x2abcd", target="/media/scratch", read_only=False),
        Mount(source="/srv/datalabs/collections/iers", target="/data/iers", read_only=True),
    ),
    account="/srv/datalabs/volumes/accounts/ada",
    environment={
        "DATALABS_LAB_ID": "k3v9x2abcd",
        "DATALABS_PORT": "20123",
        "DATALABS_API_URL": "https://datalabs.example.org/api/v1",
        "DATALABS_TOKEN_FILE": "/media/scratch/.datalabs-token",
    },
    lab_secret="a-secret-of-this-lab",
    parameters={"greeting": "good morning"},
    origin="https://k3v9x2abcd.labs.example.net",
    stop_seconds=10.0,
    node="node-3",
)


def real_job(image: str, program: str = SERVE, **changes: Any) -> LabJob:
    """Return a small job of its own whose Python program runs in the test image."""
    lab_id = new_lab_id()
    port = random.randrange(25_000, 31_000)
    return replace(
        NOTEBOOK,
        **{
            "job_id": job_id_of(lab_id, 1),
            "lab_id": lab_id,
            "container": ContainerRuntime(image=image, command=[PYTHON, "-u", "-c", program], read_only=True),
            "source": "",
            "cores": 0.1,
            "memory_mib": 64,
            "port": port,
            "activity": "",
            "mounts": (Mount(source="/usr", target="/usr", read_only=True),),
            "account": "",
            "environment": {"DATALABS_LAB_ID": lab_id, "DATALABS_PORT": str(port)},
            "stop_seconds": 5.0,
            "node": None,
            **changes,
        },
    )


async def until(
    scheduler: NomadScheduler, job_id: str, wanted: Callable[[Observation], bool], *, seconds: float = 30.0
) -> Observation:
    """Return the first observation that is as wanted, from news and not from asking."""
    async with asyncio.timeout(seconds):
        news = scheduler.watch()
        known = {seen.job_id: seen for seen in await scheduler.jobs()}.get(job_id)
        if known is not None and wanted(known):
            return known
        async for seen in news:
            if seen.job_id == job_id and wanted(seen):
                return seen
    raise AssertionError(f"{job_id} never was as wanted")


def runs(seen: Observation) -> bool:
    return seen.state is JobState.RUNNING


def ended(seen: Observation) -> bool:
    return seen.state is JobState.ENDED
