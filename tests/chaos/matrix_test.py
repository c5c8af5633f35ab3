"""Who dies, when, how: each life is harmed once while it begins and once while it ends, and comes out right.

`make test-chaos` takes a selection that has every pair of who, when and how; `make test-chaos-full` takes all;
DATALABS_CHAOS_LIVES=n takes the first n lives only.
"""

import os

import pytest

from datalabs_contracts.labs import LabState, Reason
from tests.chaos import verdict
from tests.chaos.lives import begin, finish
from tests.chaos.matrix import SCHEDULER, How, Life, lives, selected
from tests.chaos.stage import FULL, SEED, Stage

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="session")]

CELLS = [cell for cell in selected(SEED, full=FULL) if cell.who != SCHEDULER]
LIVES = lives(CELLS, SEED)[: int(os.environ.get("DATALABS_CHAOS_LIVES") or 0) or None]
TRUE_REASONS = {Reason.STOPPED_BY_USER}


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
    await verdict.accounted(stage.person, final, stage.records)
    await verdict.gone(lab.id, stage.records)
    await stage.harm.over()


async def test_nothing_is_left_of_all_lives(stage: Stage) -> None:
    """Nothing runs that the database does not know, nothing is known that does not run, nothing is still reserved."""

    async def nothing_used() -> bool:
        used = (await stage.person.me())["limits"]["used"]
        return bool(used["labs"] == 0 and used["cores"] == 0)

    await verdict.until("all reservations are given back", nothing_used, seconds=90)
    assert [one.id for one in await stage.person.labs() if not one.lab.state.ended] == []
    assert sorted((stage.platform.state / "labs").glob("lab-*")) == []
    print(f"messages: {stage.harm.messages}; records of the scheduler compared: {len(stage.records.ended)}")
    assert stage.records.ended
    assert stage.harm.messages["harmed"] > 0 or not stage.harm.messages["none came"]
