"""The scheduler's agent dies, hangs, is cut off, loses and repeats itself, at each step of labs' lives.

On an emulated cluster always; on a real Nomad agent where a binary is. A killed real agent finds its labs again. The
emulated one, killed, is a cluster that has lost everything: its labs have ended, and the launcher must find that out.
"""

import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from datalabs_client.client import LaunchedLab
from datalabs_contracts.labs import Lab, LabState, Reason
from tests.chaos import verdict
from tests.chaos.clusters import EmulatedAgent, Jobs, NomadUnavailableError, RealAgent
from tests.chaos.lives import begin, finish
from tests.chaos.matrix import SCHEDULER, Cell, How, Life, lives, selected
from tests.chaos.stage import FULL, SEED, Stage, cluster_stage

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400), pytest.mark.asyncio(loop_scope="module")]

CELLS = [cell for cell in selected(SEED, full=FULL) if cell.who == SCHEDULER]
LIVES = lives(CELLS, SEED)[: int(os.environ.get("DATALABS_CHAOS_LIVES") or 0) or None]
AGENT_ITSELF = {How.KILLED, How.STOPPED}
REAL_LIVES = (
    LIVES
    if FULL
    else sorted(LIVES, key=lambda life: -sum(cell.how in AGENT_ITSELF for cell in life.cells))[:3]
)
"""A real agent takes half a minute to start: in a selection only lives in which it is killed or hangs."""
FORGOTTEN = "The scheduler knows nothing of this lab any more."


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def emulated() -> AsyncIterator[Stage]:
    async with cluster_stage(EmulatedAgent()) as stage:
        yield stage


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def real() -> AsyncIterator[Stage]:
    try:
        agent = RealAgent()
    except NomadUnavailableError as error:
        pytest.skip(f"CHAOS ON A REAL NOMAD AGENT IS NOT TRIED: {error}")
    async with cluster_stage(agent) as stage:
        yield stage


async def serves(stage: Stage, lab: LaunchedLab) -> bool:
    """Return whether the lab answers through the edge: what is known to run runs."""
    async with stage.person.visit(await lab.open()) as browser:
        return (await browser.get("/")).text == "ok"


def forgotten(cell: Cell | None, *, forgets: bool) -> bool:
    """Return whether the cluster may have lost the lab."""
    return forgets and cell is not None and cell.how is How.KILLED


async def through(stage: Stage, life: Life, *, forgets: bool) -> None:
    lab, settled, said = await begin(stage, life.launch)
    print(f"{life.launch}: {said} -> {settled.state} {settled.reason or ''}")
    lost = forgotten(life.launch, forgets=forgets)
    await stage.harm.over()
    if lost:
        settled = await _known_again(stage, lab)
    if settled.state.ended:
        assert lost, settled
        final = settled
    else:
        assert settled.state is LabState.READY, settled
        await verdict.until(f"{lab.id} serves", lambda: serves(stage, lab), seconds=verdict.RECOVERY_SECONDS)
        assert stage.records.jobs(lab.id) == [f"lab-{lab.id}-01"]
        assert isinstance(stage.records, Jobs)
        assert len(stage.records.allocations(f"lab-{lab.id}-01")) == 1
        final, said = await finish(stage, lab, life.end)
        print(f"{life.end}: {said} -> {final.state} {final.reason}")
        assert final.reason is Reason.STOPPED_BY_USER, final
    if final.reason is not Reason.STOPPED_BY_USER:
        assert (final.reason, final.message) == (Reason.LAUNCHER_ERROR, FORGOTTEN)
    await stage.harm.over()
    await verdict.shown(stage.page, final)
    await verdict.accounted(stage.person, final, stage.records)
    await verdict.gone(lab.id, stage.records)


async def _known_again(stage: Stage, lab: LaunchedLab) -> Lab:
    """Return the lab when the launcher and the cluster that forgot say the same of it."""

    async def look() -> Lab | None:
        now, runs = await lab.refresh(), bool(stage.records.jobs(lab.id))
        return now if now.state.ended or (now.state is LabState.READY and runs) else None

    found: Lab = await verdict.until(f"{lab.id} runs or has ended", look, seconds=verdict.RECOVERY_SECONDS)
    return found


@pytest.mark.parametrize("life", LIVES, ids=str)
async def test_a_life_on_an_emulated_cluster(emulated: Stage, life: Life) -> None:
    await through(emulated, life, forgets=True)


async def test_nothing_is_left_on_the_emulated_cluster(emulated: Stage) -> None:
    await _nothing_left(emulated)


@pytest.mark.parametrize("life", REAL_LIVES, ids=str)
async def test_a_life_on_a_real_agent(real: Stage, life: Life) -> None:
    await through(real, life, forgets=False)


async def test_nothing_is_left_on_the_real_agent(real: Stage) -> None:
    await _nothing_left(real)


async def _nothing_left(stage: Stage) -> None:
    """Nothing runs that the database does not know, nothing is known that does not run, nothing is still reserved."""

    async def nothing_used() -> bool:
        used = (await stage.person.me())["limits"]["used"]
        return bool(used["labs"] == 0 and used["cores"] == 0)

    await verdict.until("all reservations are given back", nothing_used, seconds=90)
    assert [one.id for one in await stage.person.labs() if not one.lab.state.ended] == []
    assert isinstance(stage.records, Jobs)
    assert stage.records.all_jobs() == []
    print(f"records of the cluster compared: {len(stage.records.ended)}")
    assert stage.records.ended
