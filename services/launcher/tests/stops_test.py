import asyncio
import time

import pytest

from datalabs_contracts.labs import LabState, Reason
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_launcher.scheduler import EnvironmentProgress

from .conftest import MakeRig, Rig
from .fake_scheduler import IgnoresStop, NeverAnswers, NeverStarts, SlowScheduler

READY, STOPPED, FAILED = LabState.READY, LabState.STOPPED, LabState.FAILED
QUICK = 2.0
"""Seconds within which the end of a lab takes effect in every state (DESIGN: a cancel that works)."""


async def stop_in_time(rig: Rig, lab_id: str) -> None:
    """Stop a lab and see that it ends in time, that nothing of it runs, and that it says why."""
    began = time.monotonic()
    await rig.launcher.wishes.stop(await rig.lab(lab_id), Reason.STOPPED_BY_USER, actor="ada")
    ended = await rig.until(lab_id, STOPPED)
    assert time.monotonic() - began < QUICK
    assert ended.reason is Reason.STOPPED_BY_USER
    assert rig.scheduler.running() == []
    facts = await rig.facts(lab_id)
    assert facts[-2:] == ["stopping", "stopped"]


async def test_stop_while_queued(rig: Rig) -> None:
    await rig.launcher.admission.round()  # the launcher's first look at the cluster is over
    rig.resize(1.0)
    first = await rig.launch()
    second = await rig.launch()
    third = await rig.launch()
    await rig.until(first.id, READY)
    await rig.until(second.id, READY)
    await rig.eventually(lambda: _waits(rig, third.id))
    await rig.launcher.wishes.stop(await rig.lab(third.id), Reason.STOPPED_BY_USER, actor="ada")
    ended = await rig.until(third.id, STOPPED)
    assert ended.started_at is None
    assert rig.scheduler.starts.total() == 2


async def test_stop_while_storage_prepares(rig: Rig) -> None:
    hang = asyncio.Event()

    async def before(operation: str) -> None:
        if operation == "prepare_volumes":
            await hang.wait()

    rig.neighbours.before = before
    record = await rig.launch()
    await rig.until(record.id, LabState.PREPARING)
    await stop_in_time(rig, record.id)
    assert rig.scheduler.starts.total() == 0


async def test_stop_while_the_environment_is_made(rig: Rig) -> None:
    rig.scheduler.gates["report"] = asyncio.Event()
    rig.scheduler.environments["report"] = [
        EnvironmentProgress(ready=False, fraction=0.1, text="Installing"),
        EnvironmentProgress(ready=True, fraction=1, text="Ready"),
    ]
    record = await rig.launch("report")
    await rig.until(record.id, LabState.PREPARING)
    await stop_in_time(rig, record.id)
    rig.scheduler.gates["report"].set()
    await asyncio.sleep(0.05)
    assert rig.scheduler.starts.total() == 0


async def test_stop_while_waiting_for_a_turn(rig: Rig) -> None:
    rig.scheduler.startable = False
    record = await rig.launch()
    await rig.until(record.id, LabState.PREPARING)
    await stop_in_time(rig, record.id)
    rig.scheduler.startable = True
    other = await rig.launch()
    await rig.until(other.id, READY)


async def test_stop_while_being_submitted_ends_what_the_submission_starts(make_rig: MakeRig) -> None:
    rig = await make_rig(SlowScheduler())
    assert isinstance(rig.scheduler, SlowScheduler)
    record = await rig.launch()
    await rig.scheduler.submitting.wait()
    await rig.launcher.wishes.stop(await rig.lab(record.id), Reason.STOPPED_BY_USER, actor="ada")
    rig.scheduler.go.set()
    await rig.until(record.id, STOPPED)
    assert rig.scheduler.running() == []
    assert rig.scheduler.starts.total() == 1


async def test_a_submission_that_arrives_long_after_its_lab_was_stopped_is_ended_by_reconciling(
    make_rig: MakeRig,
) -> None:
    rig = await make_rig(SlowScheduler())
    assert isinstance(rig.scheduler, SlowScheduler)
    record = await rig.launch()
    await rig.scheduler.submitting.wait()
    await rig.launcher.wishes.stop(await rig.lab(record.id), Reason.STOPPED_BY_USER, actor="ada")
    await rig.until(record.id, STOPPED)
    rig.scheduler.go.set()
    await asyncio.sleep(0.05)
    await rig.launcher.watcher.reconcile()
    assert rig.scheduler.running() == []
    assert (await rig.lab(record.id)).state is STOPPED


@pytest.mark.parametrize("kind", [NeverStarts, NeverAnswers])
async def test_stop_while_starting(make_rig: MakeRig, kind: type) -> None:
    rig = await make_rig(kind())
    record = await rig.launch()
    await rig.until(record.id, LabState.STARTING)
    await rig.eventually(lambda: _submitted(rig, record.id))
    await stop_in_time(rig, record.id)
    assert rig.scheduler.graces[f"lab-{record.id}-01"] <= 1.0


async def test_stop_when_ready(rig: Rig) -> None:
    record = await rig.launch()
    ready = await rig.until(record.id, READY)
    await stop_in_time(rig, record.id)
    ended = await rig.lab(record.id)
    assert ended.started_at == ready.started_at
    assert ended.last_lines == ["starting", "listening"]


async def test_stop_is_repeated_until_nothing_remains(make_rig: MakeRig) -> None:
    rig = await make_rig(IgnoresStop())
    rig.neighbours.specification = {"stop_seconds": 0.3}
    record = await rig.launch()
    await rig.until(record.id, READY)
    await rig.launcher.wishes.stop(await rig.lab(record.id), Reason.STOPPED_BY_USER, actor="ada")
    await rig.eventually(lambda: _stops(rig, record.id, 2))
    await rig.until(record.id, STOPPED)
    assert rig.scheduler.running() == []


async def test_stopping_waits_for_a_cluster_that_is_away(rig: Rig) -> None:
    record = await rig.launch()
    await rig.until(record.id, READY)
    rig.scheduler.away = True
    await rig.launcher.wishes.stop(await rig.lab(record.id), Reason.STOPPED_BY_USER, actor="ada")
    await asyncio.sleep(0.2)
    assert (await rig.lab(record.id)).state is LabState.STOPPING
    rig.scheduler.away = False
    await rig.until(record.id, STOPPED)


async def test_stop_of_an_ended_lab_changes_nothing(rig: Rig) -> None:
    record = await rig.launch()
    await rig.until(record.id, READY)
    await stop_in_time(rig, record.id)
    ended = await rig.lab(record.id)
    again = await rig.launcher.wishes.stop(ended, Reason.STOPPED_BY_OPERATOR, actor="admin")
    assert again == ended


async def test_delete_stops_then_hides(rig: Rig) -> None:
    record = await rig.launch()
    await rig.until(record.id, READY)
    await rig.launcher.wishes.delete(await rig.lab(record.id), Reason.STOPPED_BY_USER, actor="ada")
    await rig.until(record.id, STOPPED)
    assert (await rig.facts(record.id))[-3:] == ["stopping", "stopped", "deleted"]
    deleted = await rig.lab(record.id)
    assert deleted.deleted_at is not None
    assert await rig.launcher.wishes.delete(deleted, Reason.STOPPED_BY_USER, actor="ada") == deleted


async def test_delete_of_an_ended_lab_hides_it(rig: Rig) -> None:
    record = await rig.launch()
    await rig.until(record.id, READY)
    await stop_in_time(rig, record.id)
    await rig.launcher.wishes.delete(await rig.lab(record.id), Reason.STOPPED_BY_USER, actor="ada")
    assert (await rig.facts(record.id))[-1] == "deleted"


async def test_delete_while_it_is_ending(rig: Rig) -> None:
    record = await rig.launch()
    await rig.until(record.id, READY)
    rig.scheduler.away = True
    await rig.launcher.wishes.stop(await rig.lab(record.id), Reason.STOPPED_BY_USER, actor="ada")
    await rig.launcher.wishes.delete(await rig.lab(record.id), Reason.STOPPED_BY_USER, actor="ada")
    rig.scheduler.away = False
    await rig.until(record.id, STOPPED)
    assert (await rig.lab(record.id)).deleted_at is not None


async def test_restart_is_a_new_attempt_of_the_same_lab(rig: Rig) -> None:
    record = await rig.launch()
    first = await rig.until(record.id, READY)
    with pytest.raises(ProblemError) as refusal:
        await rig.launcher.launches.restart(first, None, actor="ada", traceparent=None)
    assert refusal.value.code is ProblemCode.LAB_STILL_RUNNING
    await stop_in_time(rig, record.id)
    ended = await rig.lab(record.id)
    await rig.launcher.launches.restart(ended, "large", actor="ada", traceparent=None)
    again = await rig.until(record.id, READY)
    assert (again.attempt, again.size, again.job_id) == (2, "large", f"lab-{record.id}-02")
    assert (again.reason, again.ended_at, again.exit_code, again.last_lines) == (None, None, None, [])
    assert again.port != first.port
    old = await rig.launcher.views.logs(again, 1, 10)
    assert old.lines == ["starting", "listening"]
    timeline = await rig.launcher.views.timeline(again, 1)
    assert timeline.attempt == 1


async def test_an_address_rests_after_its_lab(make_rig: MakeRig) -> None:
    rig = await make_rig(first_port=20_000, last_port=20_001)
    ports = []
    for _ in range(2):
        ready = await rig.until((await rig.launch()).id, READY)
        ports.append(ready.port)
        await stop_in_time(rig, ready.id)
    assert sorted(port for port in ports if port) == [20_000, 20_001]
    third = await rig.launch()
    await rig.eventually(lambda: _waits_for_address(rig, third.id))
    assert rig.scheduler.starts.total() == 2


async def test_extend_moves_the_expiry(rig: Rig) -> None:
    record = await rig.launch()
    with pytest.raises(ProblemError) as refusal:
        await rig.launcher.wishes.extend(await rig.lab(record.id), None, actor="ada")
    assert refusal.value.code is ProblemCode.LAB_NOT_READY
    ready = await rig.until(record.id, READY)
    longer = await rig.launcher.wishes.extend(ready, 20 * 3600, actor="ada")
    assert longer.expires_at is not None
    assert ready.expires_at is not None
    assert longer.expires_at > ready.expires_at
    with pytest.raises(ProblemError) as refusal:
        await rig.launcher.wishes.extend(ready, 10**9, actor="ada")
    assert refusal.value.code is ProblemCode.EXTENSION_TOO_LONG


async def test_a_lab_ends_when_its_time_is_over(rig: Rig) -> None:
    rig.neighbours.specification = {"lifetime_seconds": 0.3}
    record = await rig.launch()
    await rig.until(record.id, READY)
    ended = await rig.until(record.id, STOPPED)
    assert ended.reason is Reason.EXPIRED
    assert rig.scheduler.running() == []


async def _waits(rig: Rig, lab_id: str) -> bool:
    return (await rig.lab(lab_id)).queue_position == 1


async def _submitted(rig: Rig, lab_id: str) -> bool:
    return (await rig.lab(lab_id)).submitted_at is not None


async def _stops(rig: Rig, lab_id: str, least: int) -> bool:
    return rig.scheduler.stops[f"lab-{lab_id}-01"] >= least


async def _waits_for_address(rig: Rig, lab_id: str) -> bool:
    return "address" in (await rig.lab(lab_id)).progress_text
