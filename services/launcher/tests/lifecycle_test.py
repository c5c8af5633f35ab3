from datalabs_contracts.labs import LabState

from .conftest import Rig

READY, STOPPED, FAILED = LabState.READY, LabState.STOPPED, LabState.FAILED


async def test_a_launch_becomes_ready_and_is_told_step_by_step(rig: Rig) -> None:
    record = await rig.launch()
    assert record.state is LabState.QUEUED
    ready = await rig.until(record.id, READY)
    assert ready.host == "127.0.0.1"
    assert ready.started_at is not None
    assert ready.expires_at is not None
    assert await rig.facts(record.id) == ["queued", "preparing", "starting", "progressed", "ready"]
    revisions = [lab.revision for lab in await rig.told(record.id)]
    assert revisions == [1, 2, 3, 4, 5]
