"""Who dies, when, how: each life is harmed once while it begins and once while it ends, and comes out right.

`make test-chaos` takes a selection that has every pair of who, when and how; `make test-chaos-full` takes all;
DATALABS_CHAOS_LIVES=n takes the first n lives only.
"""

import asyncio
import os
import random
import uuid

import httpx2
import pytest

from datalabs_client.client import LaunchedLab
from datalabs_contracts.ids import lab_id_of
from datalabs_contracts.labs import Lab, LabState, Reason
from datalabs_contracts.problems import ProblemCode, ProblemError
from tests.chaos import verdict
from tests.chaos.conftest import SEED, Stage
from tests.chaos.holds import Hold
from tests.chaos.matrix import AT_RANDOM, Cell, How, Life, every_cell, lives, pairwise

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="session")]

FULL = os.environ.get("DATALABS_CHAOS_FULL") == "1"
CELLS = every_cell() if FULL else pairwise(every_cell(), SEED)
LIVES = lives(CELLS, SEED)[: int(os.environ.get("DATALABS_CHAOS_LIVES") or 0) or None]
RANDOM_SECONDS = 0.6
"""A launch of the stub takes about so long, its end half of it."""
LAUNCH_SECONDS = 60.0
TRUE_REASONS = {Reason.STOPPED_BY_USER}


async def harmed(stage: Stage, cell: Cell, lab_id: str, hold: Hold | None) -> str:
    """Wait for the cell's moment, do the harm, let the lab go on."""
    if hold is None:
        await asyncio.sleep(random.Random(f"{SEED} {cell}").uniform(0, RANDOM_SECONDS))
        return await stage.harm.do(cell, lab_id)
    try:
        if not await hold.reached():
            return "never came there"
        return await stage.harm.do(cell, lab_id)
    finally:
        hold.release()


def held(stage: Stage, cell: Cell | None, lab_id: str) -> Hold | None:
    return stage.holds.at(cell.when, lab_id) if cell is not None and cell.when != AT_RANDOM else None


async def launched(stage: Stage, key: str) -> LaunchedLab:
    """Launch as a person does who clicks again while nothing answers: the same key, the same lab."""
    async with asyncio.timeout(LAUNCH_SECONDS):
        while True:
            try:
                return await stage.ada.launch("stub", idempotency_key=key)
            except httpx2.TransportError:
                await asyncio.sleep(verdict.PAUSE)
            except ProblemError as problem:
                if problem.code not in {ProblemCode.SERVICE_UNAVAILABLE, ProblemCode.DEADLINE_EXCEEDED}:
                    raise
                await asyncio.sleep(verdict.PAUSE)


async def begin(stage: Stage, cell: Cell | None) -> tuple[LaunchedLab, Lab, str]:
    """Launch a lab, with the harm of its first act."""
    key = str(uuid.uuid4())
    lab_id = lab_id_of("ada", key)
    hold = held(stage, cell, lab_id)
    launching = asyncio.create_task(launched(stage, key))
    said = await harmed(stage, cell, lab_id, hold) if cell else ""
    lab = await launching
    assert lab.id == lab_id
    return lab, await verdict.settled(lab), said


async def finish(stage: Stage, lab: LaunchedLab, cell: Cell | None) -> tuple[Lab, str]:
    """Stop the lab, with the harm of its second act."""
    hold = held(stage, cell, lab.id)
    stopping = asyncio.create_task(verdict.until("stop is accepted", lab.stop, seconds=LAUNCH_SECONDS))
    said = await harmed(stage, cell, lab.id, hold) if cell else ""
    await stopping
    return await verdict.ended(lab), said


@pytest.mark.parametrize("life", LIVES, ids=str)
async def test_a_life_with_harms(stage: Stage, life: Life) -> None:
    lab, settled, said = await begin(stage, life.launch)
    print(f"{life.launch}: {said} -> {settled.state} {settled.reason or ''}")
    killed = life.launch is not None and (life.launch.who, life.launch.how) == ("lab", How.KILLED)
    if killed:
        final = await verdict.ended(lab)
        assert final.reason is Reason.CRASHED, final
    else:
        assert settled.state is LabState.READY, settled
        assert stage.records.jobs(lab.id) == [f"lab-{lab.id}-01"]
        final, said = await finish(stage, lab, life.end)
        print(f"{life.end}: {said} -> {final.state} {final.reason}")
        harmed_lab = life.end is not None and (life.end.who, life.end.how) == ("lab", How.KILLED)
        assert final.reason in ({Reason.STOPPED_BY_USER, Reason.CRASHED} if harmed_lab else TRUE_REASONS), (
            final
        )
    await verdict.shown(stage.page, final)
    await verdict.accounted(stage.ada, final, stage.records)
    await verdict.gone(lab.id, stage.records)
    await stage.harm.over()


async def test_nothing_is_left_of_all_lives(stage: Stage) -> None:
    """Nothing runs that the database does not know, nothing is known that does not run, nothing is still reserved."""

    async def nothing_used() -> bool:
        used = (await stage.ada.me())["limits"]["used"]
        return bool(used["labs"] == 0 and used["cores"] == 0)

    await verdict.until("all reservations are given back", nothing_used, seconds=90)
    assert [one.id for one in await stage.ada.labs() if not one.lab.state.ended] == []
    assert sorted((stage.platform.state / "labs").glob("lab-*")) == []
    print(f"messages: {stage.harm.messages}; records of the scheduler compared: {len(stage.records.ended)}")
    assert stage.records.ended
    assert stage.harm.messages["harmed"] > 0 or not stage.harm.messages["none came"]
