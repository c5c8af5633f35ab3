"""The cluster says nothing for ten minutes: its labs serve all along, are called unreachable, and are ready again after.

DATALABS_CHAOS_MINUTES sets how long.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable

import httpx2
import pytest

from datalabs_client.client import LaunchedLab
from datalabs_contracts.labs import Lab, LabState, Reason
from tests.chaos import verdict
from tests.chaos.clusters import Agent, EmulatedAgent, Jobs, NomadUnavailableError, RealAgent
from tests.chaos.stage import Stage, cluster_stage

MINUTES = float(os.environ.get("DATALABS_CHAOS_MINUTES") or 10)
pytestmark = [pytest.mark.chaos, pytest.mark.long, pytest.mark.timeout(MINUTES * 60 + 400)]

LABS = 3
NOTICED_SECONDS = 60 + 10 + 15 + 35
"""A silence is noticed by the comparison once a minute, that waits for an answer, and told after a while; and a bit."""
NEW_VISIT_SECONDS = 60.0
PAUSE = 1.0


@contextlib.asynccontextmanager
async def visitors(stage: Stage, labs: list[LaunchedLab]) -> AsyncIterator[dict[str, int]]:
    """Visit all labs through the edge until the block ends: in tabs that were open before, and in new ones each minute."""
    served = {"answers": 0, "visits": 0}

    async def _visit(lab: LaunchedLab) -> None:
        while True:
            async with stage.person.visit(await lab.open()) as browser:
                served["visits"] += 1
                until = time.monotonic() + NEW_VISIT_SECONDS
                while time.monotonic() < until:
                    assert (await browser.get("/", timeout=httpx2.Timeout(5))).text == "ok"
                    served["answers"] += 1
                    await asyncio.sleep(PAUSE)

    visits = [asyncio.create_task(_visit(lab)) for lab in labs]
    try:
        yield served
        for visit in visits:
            assert not visit.done(), visit.exception()
    finally:
        for visit in visits:
            visit.cancel()
        await asyncio.gather(*visits, return_exceptions=True)


async def all_are(labs: list[LaunchedLab], state: LabState, *, seconds: float) -> float:
    """Wait until all labs are in that state; return how long it took."""
    began = time.monotonic()

    async def look() -> bool:
        return all([(await lab.refresh()).state is state for lab in labs])

    await verdict.until(f"all labs {state}", look, seconds=seconds)
    return time.monotonic() - began


async def test_an_emulated_cluster_is_silent_and_its_labs_serve() -> None:
    async with cluster_stage(EmulatedAgent()) as stage:
        await _through(stage, stage.harm.line.hold, stage.harm.line.let_go)


async def test_a_real_agent_hangs_and_its_labs_serve() -> None:
    try:
        agent: Agent = RealAgent()
    except NomadUnavailableError as error:
        pytest.skip(f"SILENCE OF A REAL NOMAD AGENT IS NOT TRIED: {error}")
    async with cluster_stage(agent) as stage:
        await _through(stage, lambda: agent.signal(signal.SIGSTOP), lambda: agent.signal(signal.SIGCONT))


async def _through(stage: Stage, silence: Callable[[], None], speak: Callable[[], None]) -> None:
    labs = [await stage.person.launch("stub") for _ in range(LABS)]
    before: list[Lab] = [await lab.ready(timeout=60) for lab in labs]
    async with visitors(stage, labs) as served:
        silence()
        began = time.monotonic()
        try:
            noticed = await all_are(labs, LabState.UNREACHABLE, seconds=NOTICED_SECONDS)
            while time.monotonic() - began < MINUTES * 60:
                states = {(await lab.refresh()).state for lab in labs}
                assert states == {LabState.UNREACHABLE}
                await asyncio.sleep(PAUSE)
        finally:
            speak()
        again = await all_are(labs, LabState.READY, seconds=verdict.RECOVERY_SECONDS)
    print(
        f"silent for {time.monotonic() - began - again:.0f} s: unreachable after {noticed:.1f} s,"
        f" ready {again:.1f} s after its end; {served['answers']} answers in {served['visits']} visits, none failed"
    )
    assert isinstance(stage.records, Jobs)
    for lab, was in zip(labs, before, strict=True):
        assert (lab.lab.attempt, lab.lab.started_at) == (1, was.started_at)
        assert stage.records.jobs(lab.id) == [f"lab-{lab.id}-01"]
        assert len(stage.records.allocations(f"lab-{lab.id}-01")) == 1
        await lab.stop()
        final = await verdict.ended(lab)
        assert final.reason is Reason.STOPPED_BY_USER
        await verdict.shown(stage.page, final)
        await verdict.accounted(stage.person, final, stage.records)
        await verdict.gone(lab.id, stage.records)
