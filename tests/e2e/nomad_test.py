"""The whole platform with its labs on a real Nomad agent: launched, opened through the edge, and kept while Nomad is away."""

import asyncio
import io
import shutil
import subprocess
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from datalabs_client import Datalabs
from datalabs_contracts.labs import LabState, Reason
from datalabs_testing.nomad.agent import NomadAgent, agent_or_fail, import_image
from datalabs_testing.waiting import eventually
from tests.running import TEST_CONTENT, RunningPlatform, running

pytestmark = [pytest.mark.nomad, pytest.mark.e2e, pytest.mark.timeout(200)]

IMAGE = "datalabs-test/python:1"
PYTHON = Path("/usr/bin/python3")
META = """\
title: Stub
abstract: "The smallest lab, in a container."
contactPoint: {{email: tests@example.org}}
creator: {{name: Tests}}
version: "1.0"
domain: Tests
keywords: [test]
x-datalabs:
  kind: {kind}
  runtimes: [container]
  container:
    image: {image}
    command: [/usr/bin/python3, -I, -S, {command}]
    read_only: true
  sizes: [small]
  default_size: small
"""


def _libraries(program: Path) -> list[str]:
    listed = subprocess.run(["ldd", str(program)], capture_output=True, check=True, text=True)
    words = [word for line in listed.stdout.splitlines() for word in line.split()]
    return [word for word in words if word.startswith("/")]


def _python_image() -> bytes:
    """Return an image with this machine's own Python and nothing else."""
    program = PYTHON.resolve()
    home = Path("/usr/lib") / program.name
    needed = {
        *_libraries(program),
        *(one for each in home.glob("lib-dynload/*.so") for one in _libraries(each)),
    }
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", dereference=True) as tar:
        for folder in (
            "tmp",
            "etc",
            "sbin",
            "var/tmp",
            "run",
            "media/home",
            "media/scratch",
            "data",
            "dev",
            "proc",
        ):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for path in sorted(needed):
            tar.add(path)
        tar.add(program, arcname=str(PYTHON))
        tar.add(home, filter=lambda one: None if "__pycache__" in one.name or "/test" in one.name else one)
    return file.getvalue()


@pytest.fixture(scope="module")
def image() -> str:
    there = subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True, check=False)
    return import_image(IMAGE, _python_image()) if there.returncode else IMAGE


@pytest.fixture(scope="module")
def agent() -> Iterator[NomadAgent]:
    with agent_or_fail() as agent:
        yield agent


@pytest.fixture(scope="module")
def platform(
    agent: NomadAgent, image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningPlatform]:
    """A platform that was told of the agent, with the stub and a batch lab as containers."""
    content = tmp_path_factory.mktemp("content")
    for slug, kind, command in (
        ("stub", "web", '"{source}/stub.py", "{address}", "{port}"'),
        ("batch", "batch", "-c, \"print('reduced'); raise SystemExit(0)\""),
    ):
        folder = content / "datalabs" / slug
        folder.mkdir(parents=True)
        (folder / "datalab-meta.yml").write_text(META.format(kind=kind, image=image, command=command))
        shutil.copy(TEST_CONTENT / "datalabs" / "stub" / "stub.py", folder)
    with running(content=[content], settings={"NOMAD_ADDR": agent.address}) as platform:
        yield platform


@pytest.fixture
async def ada(platform: RunningPlatform) -> AsyncIterator[Datalabs]:
    async with platform.client("ada") as datalabs:
        yield datalabs
        for lab in await datalabs.labs():
            await lab.delete()


async def test_a_container_lab_on_nomad_through_the_edge(agent: NomadAgent, ada: Datalabs) -> None:
    lab = await ada.launch("stub")
    ready = await lab.ready(timeout=90)
    job = await agent.request("GET", f"/v1/job/lab-{lab.id}-01")
    assert job["Meta"]["datalabs_owner"] == "ada"
    [port] = job["TaskGroups"][0]["Networks"][0]["ReservedPorts"]
    assert 20_000 <= port["Value"] < 32_000
    async with ada.visit(await lab.open()) as browser:
        environment = (await browser.get("/environment")).json()
        assert "x-lab-secret: " in (await browser.get("/headers")).text.lower()
    assert (environment["DATALABS_LAB_ID"], environment["DATALABS_PORT"]) == (lab.id, str(port["Value"]))
    timeline = await ada.call("GET", f"/labs/{lab.id}/timeline")
    [starting] = [phase for phase in timeline["phases"] if phase["name"] == "starting"]
    texts = [step["text"] for step in starting["steps"]]
    assert texts[0] == "Finding a machine"
    assert texts[1] == f"{ready.node} took it"
    assert ready.node is not None

    async def started() -> str | None:
        """Return when Nomad says that it started; a purged job says nothing any more."""
        [placed] = await agent.request("GET", f"/v1/job/lab-{lab.id}-01/allocations?all=true")
        at: str | None = placed["TaskStates"]["main"]["StartedAt"]
        return at

    at = await eventually(started, seconds=10, pause=0.1)
    await lab.stop()
    ended = await lab.until(lambda lab: lab.state.ended, timeout=30)
    assert (ended.state, ended.reason) == (LabState.STOPPED, Reason.STOPPED_BY_USER)
    assert ended.started_at is not None
    assert at.startswith(f"{ended.started_at:%Y-%m-%dT%H:%M:%S.%f}"[:-1])


async def test_a_batch_lab_on_nomad(ada: Datalabs) -> None:
    lab = await ada.launch("batch")
    ended = await lab.until(lambda lab: lab.state.ended, timeout=60)
    assert (ended.state, ended.reason, ended.exit_code) == (LabState.STOPPED, Reason.COMPLETED, 0)
    assert "reduced" in ended.last_lines


async def test_labs_serve_while_nomad_is_dead(agent: NomadAgent, ada: Datalabs) -> None:
    lab = await ada.launch("stub")
    await lab.ready(timeout=90)
    async with ada.visit(await lab.open()) as browser:
        await asyncio.to_thread(agent.kill)
        await lab.until(lambda lab: lab.state is LabState.UNREACHABLE, timeout=40)
        assert (await browser.get("/")).text == "ok"
        await agent.start()
        await lab.until(lambda lab: lab.state is LabState.READY, timeout=60)
        assert (await browser.get("/")).text == "ok"
    await lab.stop()
    ended = await lab.until(lambda lab: lab.state.ended, timeout=60)
    assert ended.reason is Reason.STOPPED_BY_USER
