"""The platform from containers, as compose/ has it: started for real, on an emulated cluster, and parts of it ended."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import httpx2
import pytest

from datalabs_client import Datalabs
from datalabs_contracts.labs import Lab, LabState
from datalabs_contracts.problems import ProblemError
from datalabs_testing.edge import free_port
from tests.running import REPOSITORY

pytestmark = [pytest.mark.compose, pytest.mark.timeout(400)]

FILES = ("compose.yml", "compose.loopback.yml")
PARTS = (
    *("prepared", "foundation", "nats-1", "nats-2", "nats-3", "postgres", "envoy"),
    *("auth", "catalogue", "storage", "accounting", "observer", "launcher-1", "launcher-2"),
    *("gateway-1", "gateway-2"),
)
START_SECONDS = 180
RECOVERY_SECONDS = 60
LEASE_SECONDS = 20
"""The lease moves within five seconds; the rest is the lab's own start on a busy machine."""


@dataclass
class Deployment:
    """A running deployment."""

    project: str
    port: int
    environment: dict[str, str]

    def compose(self, *words: str, seconds: float = 300) -> str:
        """Run docker-compose on it and return what it says."""
        files = [word for name in FILES for word in ("-f", str(REPOSITORY / "compose" / name))]
        done = subprocess.run(
            ["docker-compose", "-p", self.project, *files, *words],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def client(self) -> Datalabs:
        """Return the demo user's client."""
        text = self.compose("exec", "-T", "gateway-2", "cat", "/var/lib/datalabs/credentials.json")
        password = json.loads(text)["ada"]["password"]
        return Datalabs(f"http://localhost:{self.port}", username="ada", password=password)


@contextlib.contextmanager
def emulated_cluster() -> Iterator[str]:
    """An emulated Nomad on loopback whose labs answer HTTP."""
    command = [sys.executable, "-m", "datalabs_testing.nomad", "--port", "0", "--listen"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    with emulated_cluster() as address:
        port = free_port()
        found = Deployment(
            project=f"datalabs{os.getpid()}",
            port=port,
            environment={
                "DATALABS_PORT": str(port),
                "DATALABS_PUBLIC_URL": f"http://localhost:{port}",
                "NOMAD_ADDR": address,
            },
        )
        try:
            found.compose("up", "-d", *PARTS)
            yield found
        except AssertionError:
            print(found.compose("logs", "--tail=15"))
            raise
        finally:
            found.compose("down", "-v", "-t", "5")


@pytest.fixture
async def ada(deployment: Deployment) -> AsyncIterator[Datalabs]:
    async with asyncio.timeout(START_SECONDS):
        while True:
            try:
                datalabs = await deployment.client().__aenter__()
                break
            except (AssertionError, ProblemError, httpx2.TransportError) as error:
                print(f"not yet: {error}")
                await asyncio.sleep(1)
    yield datalabs
    await datalabs.aclose()


async def launched(ada: Datalabs) -> Lab:
    """Launch JupyterLab, in a container as this cluster has it, and wait for it."""
    async with asyncio.timeout(RECOVERY_SECONDS):
        while True:
            try:
                lab = await ada.launch("jupyterlab")
                break
            except (ProblemError, httpx2.TransportError) as error:
                print(f"not yet: {error}")
                await asyncio.sleep(0.5)
    return await lab.ready(timeout=RECOVERY_SECONDS)


async def test_a_lab_runs_on_the_cluster_and_is_reached_through_the_edge(ada: Datalabs) -> None:
    lab = await launched(ada)
    assert lab.runtime == "container"
    found = await ada.lab(lab.id)
    async with ada.visit(await found.open()) as browser:
        assert (await browser.get("/")).status_code == httpx2.codes.OK
    await found.stop()
    assert (await found.ended(timeout=RECOVERY_SECONDS)).state is LabState.STOPPED


@pytest.mark.parametrize("gateway", ["gateway-1", "gateway-2"])
async def test_a_gateway_dies_and_the_other_one_goes_on(
    deployment: Deployment, ada: Datalabs, gateway: str
) -> None:
    deployment.compose("stop", "-t", "0", gateway)
    try:
        async with asyncio.timeout(RECOVERY_SECONDS):
            while True:
                with contextlib.suppress(ProblemError, httpx2.TransportError):
                    assert (await ada.me())["username"] == "ada"
                    break
                await asyncio.sleep(0.3)
    finally:
        deployment.compose("start", gateway)


@pytest.mark.parametrize("launcher", ["launcher-1", "launcher-2"])
async def test_a_launcher_is_only_stopped_and_wakes_up_later(
    deployment: Deployment, ada: Datalabs, launcher: str
) -> None:
    deployment.compose("pause", launcher)
    try:
        async with asyncio.timeout(LEASE_SECONDS + RECOVERY_SECONDS):
            lab = await launched(ada)
    finally:
        deployment.compose("unpause", launcher)
    found = await ada.lab(lab.id)
    await asyncio.sleep(2)  # what the sleeper still wanted to write has been refused by now
    assert (await found.refresh()).state is LabState.READY
    assert (await found.refresh()).attempt == 1
    await found.delete()
