"""The supervisor killed, stopped and started again: labs are found again, once, or ended with a reason."""

import asyncio
from collections.abc import Iterator

import pytest

from datalabs_contracts.labs import LabState
from tests.chaos import verdict
from tests.running import TEST_CONTENT, RunningPlatform, running

pytestmark = pytest.mark.chaos


@pytest.fixture(scope="module")
def shaken() -> Iterator[RunningPlatform]:
    with running(content=[TEST_CONTENT]) as platform:
        yield platform


def jobs(platform: RunningPlatform, lab_id: str) -> list[str]:
    """The scheduler's own record: one job for each attempt that was ever started."""
    return verdict.Records(platform.state / "labs").jobs(lab_id)


async def settled(platform: RunningPlatform, lab_id: str) -> LabState:
    """Wait until the lab is ready or has ended, as a new visitor sees it."""
    async with platform.client("ada") as datalabs:
        return (await verdict.settled(await datalabs.lab(lab_id))).state


async def cleared(platform: RunningPlatform, lab_id: str) -> None:
    """Delete the lab and wait until it is hidden: it is stopped first."""
    async with platform.client("ada") as datalabs:
        await (await datalabs.lab(lab_id)).delete()
        async with asyncio.timeout(30):
            while lab_id in {lab.id for lab in await datalabs.labs()}:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.2)


async def test_the_supervisor_dies_during_a_launch(shaken: RunningPlatform) -> None:
    async with shaken.client("ada") as datalabs:
        lab = await datalabs.launch("stub")
    shaken.kill_supervisor()
    shaken.up()
    assert await settled(shaken, lab.id) is LabState.READY
    assert len(jobs(shaken, lab.id)) == 1
    await cleared(shaken, lab.id)


async def test_down_keep_labs_and_up_again(shaken: RunningPlatform) -> None:
    async with shaken.client("ada") as datalabs:
        lab = await datalabs.launch("stub")
        before = await lab.ready(timeout=60)
    shaken.down("--keep-labs")
    shaken.up()
    assert await settled(shaken, lab.id) is LabState.READY
    async with shaken.client("ada") as datalabs:
        found = await datalabs.lab(lab.id)
        assert found.lab.started_at == before.started_at
        async with datalabs.visit(await found.open()) as browser:
            assert (await browser.get("/")).text == "ok"
    await cleared(shaken, lab.id)


async def test_down_stops_labs_with_a_reason(shaken: RunningPlatform) -> None:
    async with shaken.client("ada") as datalabs:
        lab = await datalabs.launch("stub")
        await lab.ready(timeout=60)
    shaken.down()
    shaken.up()
    async with shaken.client("ada") as datalabs:
        ended = (await datalabs.lab(lab.id)).lab
    assert (ended.state, ended.reason) == (LabState.STOPPED, "stopped_by_operator")


def test_a_second_up_says_so(shaken: RunningPlatform) -> None:
    answer = shaken.command("up")
    assert answer.returncode == 0
    assert shaken.url in answer.stdout
