"""One lab's life with its harms, as a person sees it: launched, settled, stopped, ended."""

import asyncio
import random
import uuid

import httpx2

from datalabs_client.client import LaunchedLab
from datalabs_contracts.ids import lab_id_of
from datalabs_contracts.labs import Lab
from datalabs_contracts.problems import ProblemCode, ProblemError
from tests.chaos import verdict
from tests.chaos.holds import Hold
from tests.chaos.matrix import AT_RANDOM, Cell
from tests.chaos.stage import SEED, Stage

RANDOM_SECONDS = 0.6
"""A launch of the stub takes about so long, its end half of it."""
LAUNCH_SECONDS = 60.0


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
                return await stage.person.launch("stub", idempotency_key=key)
            except httpx2.TransportError:
                await asyncio.sleep(verdict.PAUSE)
            except ProblemError as problem:
                if problem.code not in {ProblemCode.SERVICE_UNAVAILABLE, ProblemCode.DEADLINE_EXCEEDED}:
                    raise
                await asyncio.sleep(verdict.PAUSE)


async def begin(stage: Stage, cell: Cell | None) -> tuple[LaunchedLab, Lab, str]:
    """Launch a lab, with the harm of its first act."""
    key = str(uuid.uuid4())
    lab_id = lab_id_of(stage.username, key)
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
