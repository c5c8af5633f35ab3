"""How long labs live and what is kept of them: long runs, people's own rules, files after the end."""

from datetime import timedelta
from typing import Any

import pytest

from datalabs_contracts.datalabs import IdlePolicy
from datalabs_contracts.events import LAB_EXPIRING
from datalabs_contracts.labs import LabPolicyBody, LabState, Reason, Seen
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_testing.clock import FakeClock

from .conftest import MakeRig, Rig
from .fake_scheduler import FakeScheduler

READY, STOPPED, FAILED = LabState.READY, LabState.STOPPED, LabState.FAILED
DAY = 86_400.0


class KeepsDisks(FakeScheduler):
    """A cluster that keeps a disk of each lab between its attempts."""

    def __init__(self, now: Any = None) -> None:
        super().__init__(now)
        self.discarded: list[str] = []

    async def discard(self, lab_id: str) -> None:
        self.discarded.append(lab_id)


async def still(make_rig: MakeRig, **settings: Any) -> Rig:
    """A launcher whose time the test moves."""
    clock = FakeClock()
    return await make_rig(KeepsDisks(clock.now), clock=clock, **settings)


async def idle_for(rig: Rig, minutes: int) -> None:
    rig.scheduler.used = False
    for _ in range(minutes // 5):
        await rig.launcher.upkeep.look_for_use()
        await rig.pass_time(300)


# -- long runs -------------------------------------------------------------------------------------------------------


async def test_a_kept_lab_is_not_idle_until_then_and_its_idle_time_begins_after(make_rig: MakeRig) -> None:
    rig = await still(make_rig)
    rig.neighbours.specification = {"idle": IdlePolicy(minutes=60)}
    record = await rig.until((await rig.launch()).id, READY)
    until = rig.clock.now() + timedelta(hours=20)
    kept = await rig.launcher.wishes.keep(record, until, actor="ada")
    assert kept.contract().kept_until == until
    assert kept.expires_at == until, "it would have expired after 12 hours"
    assert (await rig.facts(record.id))[-1] == "extended"
    await idle_for(rig, 300)
    assert (await rig.lab(record.id)).state is READY
    shorter = await rig.launcher.wishes.keep(await rig.lab(record.id), None, actor="ada")
    assert shorter.kept_until is None
    await idle_for(rig, 70)
    assert (await rig.until(record.id, STOPPED)).reason is Reason.IDLE


async def test_a_lab_is_kept_within_the_sites_bound_and_the_persons_own(make_rig: MakeRig) -> None:
    rig = await still(make_rig, max_keep=DAY)
    record = await rig.until((await rig.launch()).id, READY)
    keep, now = rig.launcher.wishes.keep, rig.clock.now()
    with pytest.raises(ProblemError) as refusal:
        await keep(record, now + timedelta(days=2), actor="ada")
    assert (refusal.value.code, refusal.value.extra) == (
        ProblemCode.EXTENSION_TOO_LONG,
        {"longest_seconds": DAY},
    )
    with pytest.raises(ProblemError) as refusal:
        await keep(record, now - timedelta(seconds=1), actor="ada")
    assert refusal.value.code is ProblemCode.INVALID_REQUEST
    await rig.launcher.policies.set("ada", LabPolicyBody(keep_seconds=30 * DAY), actor="admin")
    kept = await keep(await rig.lab(record.id), now + timedelta(days=20), actor="ada")
    assert kept.expires_at == now + timedelta(days=20)
    await rig.launcher.wishes.stop(kept, Reason.STOPPED_BY_USER, actor="ada")
    with pytest.raises(ProblemError) as refusal:
        await keep(await rig.until(record.id, STOPPED), now + timedelta(days=1), actor="ada")
    assert refusal.value.code is ProblemCode.LAB_ENDED


async def test_the_end_is_announced_at_fifteen_and_five_minutes_and_an_extension_takes_it_back(
    make_rig: MakeRig,
) -> None:
    rig = await still(make_rig)
    rig.neighbours.specification = {"lifetime_seconds": 7200}
    record = await rig.until((await rig.launch()).id, READY)
    for _ in range(21):
        await rig.pass_time(300)
    assert (await rig.facts(record.id)).count(LAB_EXPIRING.fact) == 1
    await rig.pass_time(600)
    assert (await rig.facts(record.id)).count(LAB_EXPIRING.fact) == 2
    await rig.launcher.wishes.extend(await rig.lab(record.id), 3600, actor="ada")
    await rig.pass_time(600)
    assert (await rig.lab(record.id)).state is READY


async def test_an_operators_rule_for_a_person_is_felt_at_once_and_by_the_next_launch(
    make_rig: MakeRig,
) -> None:
    rig = await still(make_rig)
    rig.neighbours.specification = {"idle": IdlePolicy(minutes=60)}
    record = await rig.until((await rig.launch()).id, READY)
    assert record.contract().idle_minutes == 60
    await rig.launcher.policies.set("ada", LabPolicyBody(idle_minutes=0, lifetime_seconds=600), actor="admin")
    await rig.launcher.driver.idle()
    assert (await rig.lab(record.id)).idle_minutes == 0
    await idle_for(rig, 120)
    assert (await rig.lab(record.id)).state is READY
    other = await rig.until((await rig.launch()).id, READY)
    assert other.ready_at is not None
    assert other.expires_at == other.ready_at + timedelta(seconds=600)
    await rig.launcher.policies.set("ada", LabPolicyBody(), actor="admin")
    assert (await rig.lab(record.id)).idle_minutes == 60
    assert (await rig.launcher.policies.get("ada")).changed_by == "admin"


async def test_a_browser_on_a_lab_keeps_it(make_rig: MakeRig) -> None:
    rig = await still(make_rig)
    rig.neighbours.specification = {"idle": IdlePolicy(minutes=60)}
    record = await rig.until((await rig.launch()).id, READY)
    rig.scheduler.used = False
    for _ in range(30):
        seen = Seen(lab_id=record.id, at=rig.clock.now())
        await rig.launcher.upkeep.noticed(seen.model_dump_json().encode())
        await rig.launcher.upkeep.noticed(b"not ours")
        await rig.launcher.upkeep.look_for_use()
        await rig.pass_time(300)
    assert (await rig.lab(record.id)).state is READY
    await idle_for(rig, 70)
    assert (await rig.until(record.id, STOPPED)).reason is Reason.IDLE


async def test_nothing_that_is_not_heard_of_is_idle(make_rig: MakeRig) -> None:
    rig = await still(make_rig)
    rig.neighbours.specification = {"idle": IdlePolicy(minutes=60)}
    record = await rig.until((await rig.launch()).id, READY)
    rig.scheduler.lose_node(record.id)
    await rig.until(record.id, LabState.UNREACHABLE)
    rig.scheduler.used = None
    for _ in range(30):
        await rig.launcher.upkeep.look_for_use()
        await rig.pass_time(300)
    assert (await rig.lab(record.id)).state is LabState.UNREACHABLE


# -- files after the end ---------------------------------------------------------------------------------------------


async def test_a_stopped_lab_keeps_its_files_for_a_restart_under_the_same_id(make_rig: MakeRig) -> None:
    rig = await still(make_rig)
    record = await rig.until((await rig.launch()).id, READY)
    await rig.launcher.wishes.stop(record, Reason.STOPPED_BY_USER, actor="ada")
    stopped = (await rig.until(record.id, STOPPED)).contract()
    assert stopped.restartable
    assert stopped.files_kept_until == rig.clock.now() + timedelta(days=7)
    await rig.pass_time(6 * DAY)
    await rig.launcher.upkeep.release_files()
    assert rig.neighbours.gone == set()
    again = await rig.launcher.launches.restart(await rig.lab(record.id), None, actor="ada", traceparent=None)
    ready = await rig.until(record.id, READY)
    assert (again.id, ready.attempt, ready.files_kept_until) == (record.id, 2, None)
    assert not rig.neighbours.prepared[-1].renew
    await rig.pass_time(2 * DAY)
    await rig.launcher.upkeep.release_files()
    assert rig.neighbours.gone == set()


async def test_after_its_time_the_files_are_given_up_and_a_restart_begins_anew(make_rig: MakeRig) -> None:
    rig = await still(make_rig, keep_files=DAY)
    record = await rig.until((await rig.launch()).id, READY)
    rig.scheduler.end(record.id, exit_code=3)
    ended = await rig.until(record.id, FAILED)
    assert ended.restartable, "after a crash the person decides"
    assert rig.scheduler.starts.total() == 1
    await rig.pass_time(2 * DAY)
    await rig.launcher.upkeep.release_files()
    await rig.launcher.upkeep.release_files()
    assert rig.neighbours.gone == {record.id}
    assert isinstance(rig.scheduler, KeepsDisks)
    assert rig.scheduler.discarded == [record.id]
    gone = (await rig.lab(record.id)).contract()
    assert (gone.files_kept_until, gone.restartable) == (None, True)
    await rig.launcher.launches.restart(await rig.lab(record.id), None, actor="ada", traceparent=None)
    await rig.until(record.id, READY)
    assert rig.neighbours.prepared[-1].renew


async def test_a_deleted_labs_files_go_at_once(make_rig: MakeRig) -> None:
    rig = await still(make_rig)
    stopped = await rig.until((await rig.launch()).id, READY)
    await rig.launcher.wishes.stop(stopped, Reason.STOPPED_BY_USER, actor="ada")
    await rig.launcher.wishes.delete(
        await rig.until(stopped.id, STOPPED), Reason.STOPPED_BY_USER, actor="ada"
    )
    running = await rig.until((await rig.launch()).id, READY)
    await rig.launcher.wishes.delete(running, Reason.STOPPED_BY_USER, actor="ada")
    await rig.until(running.id, STOPPED)
    await rig.launcher.upkeep.release_files()
    assert rig.neighbours.gone == {stopped.id, running.id}
    assert not (await rig.lab(running.id)).contract().restartable


async def test_files_stay_while_the_storage_is_away(make_rig: MakeRig) -> None:
    rig = await still(make_rig, keep_files=0)
    record = await rig.until((await rig.launch()).id, READY)
    rig.scheduler.end(record.id)
    await rig.until(record.id, STOPPED)
    rig.neighbours.down.add("storage")
    await rig.launcher.upkeep.release_files()
    assert (await rig.lab(record.id)).files_kept_until is not None
    rig.neighbours.down.clear()
    await rig.launcher.upkeep.release_files()
    assert rig.neighbours.gone == {record.id}


async def test_a_lab_that_never_had_files_keeps_none(make_rig: MakeRig) -> None:
    rig = await still(make_rig)
    rig.resize(0)
    rig.scheduler.cores = 0.5
    first = await rig.until((await rig.launch()).id, READY)
    second = await rig.launch()
    await rig.launcher.wishes.stop(second, Reason.STOPPED_BY_USER, actor="ada")
    assert (await rig.until(second.id, STOPPED)).files_kept_until is None
    assert (await rig.lab(first.id)).state is READY
