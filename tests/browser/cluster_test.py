"""Labs on a real Nomad agent as people see them: a notebook, a desktop, a whole machine, a batch lab, and their traces.

The pictures that are taken on the way lie under build/shown/ afterwards: of the open lab, its page, its launch's trace.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from datalabs_client import Datalabs
from datalabs_contracts.datalabs import Runtime
from datalabs_contracts.labs import Lab, LabState, Reason
from datalabs_testing.nomad.agent import NomadAgent, agent_or_fail
from tests.browser.driving import Person, a_person, arrival, eventually, launch, run_in_a_notebook, settled
from tests.running import CONTENT, REPOSITORY, RunningPlatform, running

pytestmark = [pytest.mark.nomad, pytest.mark.timeout(900), pytest.mark.asyncio(loop_scope="session")]

SHOWN = REPOSITORY / "build" / "shown"
MACHINES = REPOSITORY / "build" / "vm"
DESKTOP = "/.datalabs/desktop$"
PATIENCE = 600.0
"""Seconds in which a machine in software emulation is up, on a busy computer."""
CODE = 'import socket, os\nprint("on", socket.gethostname(), "as", os.environ["USER"])'
COLOURS = """(canvas) => {
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
  const seen = new Set()
  for (let at = 0; at < data.length; at += 400) seen.add(data[at] << 16 | data[at + 1] << 8 | data[at + 2])
  return seen.size
}"""
STEPS = {"placing": "Finding a machine", "setup": "Making its place", "started": "Started"}
"""What Nomad did for every lab, as its timeline tells it."""


@pytest.fixture(scope="module")
def agent() -> Iterator[NomadAgent]:
    """A real agent."""
    with agent_or_fail(image_paths=[MACHINES]) as agent:
        yield agent


@pytest.fixture(scope="module")
def platform(agent: NomadAgent) -> Iterator[RunningPlatform]:
    """What ships, on that agent and nothing else."""
    settings = {
        "NOMAD_ADDR": agent.address,
        "DATALABS_LAUNCHER_NOMAD_IMAGE_DISKS": str(MACHINES),
        "DATALABS_LAUNCHER_NOMAD_ALLOW_RAW_EXEC": "true",
    }
    with running(content=[CONTENT], settings=settings, flags=("--scheduler", "nomad")) as platform:
        yield platform


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Somebody who uses the platform, an operator beside them, and the cluster behind it."""

    agent: NomadAgent
    platform: RunningPlatform
    ada: Datalabs
    admin: Datalabs
    person: Person
    operator: Person

    async def launched(self, page: Page, slug: str, title: str, path: str) -> str:
        """Launch from the catalogue's page, wait for the lab itself, return its id."""
        await self.person.go(page, f"/datalabs/{slug}")
        await launch(page, title)
        return await arrival(page, self.platform, path, seconds=PATIENCE)

    async def told(self, lab_id: str) -> dict[str, datetime]:
        """Return what Nomad itself says happened to a lab, and when."""
        placed = await self.agent.request("GET", f"/v1/job/lab-{lab_id}-01/allocations?all=true")
        tasks = [(one["TaskStates"] or {}).get("main") or {} for one in placed]
        events = [event for task in tasks for event in task.get("Events") or []]
        return {event["Type"]: datetime.fromtimestamp(event["Time"] / 1e9, tz=UTC) for event in events}

    async def spans(self, trace_id: str) -> dict[str, dict[str, Any]] | None:
        """Return a launch's spans by their names, once the cluster's are there."""
        found = {span["name"]: span async for span in self.admin.items(f"/traces/{trace_id}")}
        return found if "scheduler started" in found else None

    async def shown(self, name: str, lab: Lab, cluster: dict[str, datetime]) -> None:
        """Look at the lab's page and its launch's trace: what Nomad did stands in both, with Nomad's own times."""
        page = await self.person.opened(f"/labs/{lab.id}")
        region = page.get_by_role("region", name="Launch")
        for text in (*STEPS.values(), f"{lab.node} took it"):
            await expect(region.get_by_text(text, exact=True).first).to_be_visible()
        await picture(page, f"{name}-page")
        trace_id = str(lab.trace_id)
        spans = await eventually(lambda: self.spans(trace_id))
        for span, event in (("scheduler setup", "Task Setup"), ("scheduler started", "Started")):
            began = spans[span]["start_ns"] / 1e9
            assert abs(began - cluster[event].timestamp()) < 0.001, f"{span} has Nomad's own time"
        page = await self.operator.opened(f"/operations/traces/{trace_id}")
        trace = page.get_by_role("region", name="Trace")
        for step in STEPS:
            await expect(trace.get_by_text(f"scheduler {step}", exact=True).first).to_be_visible()
        await picture(page, f"{name}-trace")
        assert self.person.complaints == []
        assert self.operator.complaints == []


@pytest_asyncio.fixture(loop_scope="session")
async def stage(
    agent: NomadAgent, platform: RunningPlatform, browser: Browser, person: Person, ada: Datalabs
) -> AsyncIterator[Stage]:
    async with (
        a_person(browser, platform, height=1200) as operator,
        platform.client("admin") as admin,
    ):
        await operator.slip_in("admin")
        yield Stage(agent=agent, platform=platform, ada=ada, admin=admin, person=person, operator=operator)


async def picture(page: Page, name: str) -> None:
    """Keep what a page shows."""
    SHOWN.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=SHOWN / f"{name}.png", full_page=True)


async def drawn(page: Page, *, colours: int, seconds: float) -> None:
    """Wait until a desktop shows so many colours and has stood still for a moment."""
    canvas = page.locator("canvas")
    await expect(page.get_by_role("status")).to_have_text("Connected", timeout=seconds * 1000)

    async def still() -> bool:
        before = await canvas.screenshot()
        if await canvas.evaluate(COLOURS) < colours:
            return False
        await asyncio.sleep(2)
        return await canvas.screenshot() == before

    await eventually(still, seconds=seconds)


async def test_a_notebook(stage: Stage) -> None:
    page = await stage.person.sign_in("ada")
    lab_id = await stage.launched(page, "jupyterlab", "JupyterLab", "/lab")
    await run_in_a_notebook(page, CODE, re.compile(r"on [0-9a-f]{12} as ada"))
    await picture(page, "notebook-open")
    lab = await (await stage.ada.lab(lab_id)).refresh()
    assert (lab.runtime, lab.state) == (Runtime.CONTAINER, LabState.READY)
    await stage.shown("notebook", lab, await stage.told(lab_id))


async def test_a_desktop(stage: Stage) -> None:
    page = await stage.person.sign_in("ada")
    lab_id = await stage.launched(page, "topcat", "TOPCAT", DESKTOP)
    await drawn(page, colours=60, seconds=120)
    await picture(page, "topcat-open")
    lab = await (await stage.ada.lab(lab_id)).refresh()
    await stage.shown("topcat", lab, await stage.told(lab_id))


@pytest.mark.vm
@pytest.mark.skipif(
    not (MACHINES / "linux-desktop" / "image.json").exists(),
    reason="needs the disk of the Linux desktop (`make vm-image`)",
)
async def test_a_whole_machine(stage: Stage) -> None:
    page = await stage.person.sign_in("ada")
    lab_id = await stage.launched(page, "linux-desktop", "Linux desktop", DESKTOP)
    await drawn(page, colours=60, seconds=PATIENCE)
    await picture(page, "machine-open")
    here = await stage.ada.lab(lab_id)
    lab = await here.refresh()
    assert lab.runtime is Runtime.VM
    boot = next(one for phase in (await here.timeline()).phases for one in phase.steps if one.name == "boot")
    assert boot.ended_at is not None, "it was ready when its guest said so, not when its screen spoke"
    await stage.shown("machine", lab, await stage.told(lab_id))
    await here.stop()
    stopped = await here.ended(timeout=120)
    assert (stopped.state, stopped.reason) == (LabState.STOPPED, Reason.STOPPED_BY_USER)


async def test_a_batch_lab(stage: Stage) -> None:
    page = await stage.person.sign_in("ada", at="/datalabs/report")
    await settled(page)
    await launch(page, "Notebook Report")
    await page.wait_for_url(re.compile(r"/labs/[a-z0-9]{10}"))
    found = re.search(r"/labs/([a-z0-9]{10})", page.url)
    assert found is not None
    lab = await stage.ada.lab(found[1])

    async def begun() -> dict[str, datetime] | None:
        events = await stage.told(found[1])
        return events if "Started" in events else None

    cluster = await eventually(begun, seconds=120)
    await picture(page, "batch-open")
    ended = await lab.ended(timeout=240)
    assert (ended.state, ended.reason, ended.exit_code) == (LabState.STOPPED, Reason.COMPLETED, 0)
    reports = stage.platform.state / "volumes/home/ada"
    assert list(reports.rglob("*.html")), "it has written its report"
    await stage.shown("batch", ended, cluster)
