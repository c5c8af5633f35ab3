"""A real agent for these tests: one a module, in a folder with a short path, ended by its process id."""

import contextlib
import io
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from datalabs_launcher.nomad.adapter import NomadScheduler
from datalabs_launcher.nomad.config import NomadSettings
from datalabs_launcher.scheduler import SchedulerAwayError
from datalabs_testing.nomad.agent import NomadAgent, agent_or_fail, import_image

IMAGE = "datalabs-test/host:1"
"""An image without programs: labs in it use those of this machine, mounted read-only."""
MakeScheduler = Callable[..., Awaitable[NomadScheduler]]


def host_image() -> bytes:
    """Return the image's files: empty folders, and links to where this machine's programs are mounted."""
    folders = ["usr", "etc", "tmp", "var", "var/tmp", "run", "sbin", "dev", "proc", "sys", "data"]
    folders += ["media", "media/home", "media/scratch"]
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name in folders:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for name in ("bin", "lib", "lib64"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, f"usr/{name}"
            tar.addfile(entry)
    return file.getvalue()


@pytest.fixture(scope="session")
def image() -> str:
    """Give the engine the image."""
    return import_image(IMAGE, host_image())


@pytest.fixture(scope="module")
def agent() -> Iterator[NomadAgent]:
    """Run a real agent."""
    with agent_or_fail() as agent:
        yield agent


@pytest.fixture
async def scheduler(agent: NomadAgent) -> AsyncIterator[MakeScheduler]:
    """Give a function that makes and starts a scheduler for the agent, or for a proxy before it."""
    made: list[NomadScheduler] = []

    async def _make(address: str | None = None, *, platform: str = "test", **settings: Any) -> NomadScheduler:
        one = NomadScheduler(
            settings=NomadSettings(nomad_address=address or agent.address, **settings), platform=platform
        )
        await one.start()
        made.append(one)
        return one

    yield _make
    for one in made:
        with contextlib.suppress(SchedulerAwayError):  # its proxy is gone; the agent ends all jobs at its end
            for seen in await one.jobs():
                await one.stop(seen.job_id, grace=0)
        await one.aclose()
