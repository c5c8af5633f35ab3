"""Labs and machines: who fits where, who waits and why, what an operator can do about it."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from datalabs_contracts.base import PageQuery
from datalabs_contracts.datalabs import Runtime, Size
from datalabs_contracts.labs import Fit, LabState, LaunchBody, Node, NodeState, Reason, WaitReason
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_launcher.admission import shares_of
from datalabs_launcher.nodes import all_at_home, machines_of
from datalabs_launcher.store import labs
from datalabs_testing.clock import FakeClock

from .conftest import ADA, ADMIN, MakeRig, Rig
from .fake_neighbours import SIZES
from .fake_scheduler import FakeScheduler, IgnoresStop

READY, QUEUED, STOPPED = LabState.READY, LabState.QUEUED, LabState.STOPPED


def node(name: str, cores: float, **changes: Any) -> Node:
    given = {
        "name": name,
        "cluster": "test",
        "state": NodeState.READY,
        "runtimes": [Runtime.PROCESS],
        "cores": cores,
        "memory_mib": 65_536,
        "disk_mib": 1_000_000,
    }
    return Node(**{**given, **changes})


async def on(make_rig: MakeRig, *nodes: Node, **settings: Any) -> Rig:
    rig = await make_rig(**settings)
    have(rig, *nodes)
    return rig


def have(rig: Rig, *nodes: Node) -> None:
    rig.scheduler.nodes = list(nodes)
    for instance in rig.instances:
        instance.launcher.admission._capacity = None
        instance.launcher.admission.wake.set()


async def waits(rig: Rig, lab_id: str, reason: WaitReason) -> Any:
    async def told() -> Any:
        record = await rig.lab(lab_id)
        return record if record.wait_reason is reason else None

    return await rig.eventually(told, lambda: rig.lab(lab_id))


async def test_a_lab_runs_where_room_was_counted(make_rig: MakeRig) -> None:
    rig = await on(make_rig, node("small", 1), node("big", 16))
    first = await rig.until((await rig.launch()).id, READY)
    second = await rig.until((await rig.launch(size="large")).id, READY)
    assert (first.place, first.node) == ("test/small", "small")
    assert rig.scheduler.newest(second.id).job.node == "big"
    assert second.contract().node == "big"


async def test_what_is_held_is_summed_by_owner_and_machine(make_rig: MakeRig) -> None:
    rig = await on(make_rig, node("a", 1), node("b", 16))
    for owner in (ADA, ADA, ADMIN, ADA, ADA, ADA):
        await rig.until((await rig.launch(owner=owner)).id, READY)
    async with rig.database.reading() as session:
        each, together = await labs.held(session), await labs.held_together(session)
    assert len(each) == 6
    assert len(together) < 6
    assert {one.node for one in together} == {"a", "b"}
    capacity = await rig.scheduler.capacity()
    assert all_at_home(capacity, together)
    assert shares_of(together) == shares_of(each)
    assert [replace(one, leaving=[]) for one in machines_of(capacity, each)] == machines_of(
        capacity, together
    )
    gone = [replace(one, place="elsewhere/gone", node=None) for one in together]
    assert not all_at_home(capacity, gone), "then each lab is looked at by itself"


async def test_what_no_single_machine_can_hold_is_refused_before_and_at_the_launch(make_rig: MakeRig) -> None:
    rig = await on(make_rig, node("a", 6), node("b", 6))
    preflight = await rig.launcher.launches.preflight(LaunchBody(datalab="stub", size="large"), ADA)
    assert preflight.fit is Fit.NEVER
    with pytest.raises(ProblemError) as refusal:
        await rig.launch(size="large")
    assert refusal.value.code is ProblemCode.NEVER_FITS
    assert str(refusal.value) == preflight.text
    assert preflight.text == "Large needs 8 cores and 8 GiB on one node; the largest has 6 cores and 64 GiB."
    rig.scheduler.silent = ["nomad"]
    have(rig, node("a", 6))
    record = await rig.launch(size="large")
    told = await waits(rig, record.id, WaitReason.CAPACITY)
    assert told.progress_text == "Needs 8 cores on one node; the largest free is 6"


async def test_a_machine_that_drains_takes_nothing_new(make_rig: MakeRig) -> None:
    rig = await on(make_rig, node("a", 4))
    await rig.until((await rig.launch()).id, READY)
    have(rig, node("a", 4, state=NodeState.DRAINING))
    record = await rig.launch()
    await waits(rig, record.id, WaitReason.NO_MACHINE)
    rig.scheduler.silent = ["nomad"]
    have(rig, node("a", 4, state=NodeState.DRAINING))
    told = await waits(rig, record.id, WaitReason.CLUSTER_AWAY)
    assert "nomad does not answer" in told.progress_text
    have(rig, node("a", 4))
    await rig.until(record.id, READY)


async def test_who_was_passed_too_often_has_a_machine_kept_free_also_by_the_next_launcher(
    make_rig: MakeRig,
) -> None:
    rig = await on(make_rig, node("a", 8), queue_passes=2)
    first = await rig.until((await rig.launch()).id, READY)
    large = await rig.launch(size="large")
    await waits(rig, large.id, WaitReason.CAPACITY)
    small = [await rig.until((await rig.launch()).id, READY) for _ in range(2)]

    async def kept() -> bool:
        rig.launcher.admission.wake.set()
        return (await rig.lab(large.id)).reserved_place == "test/a"

    await rig.eventually(kept, lambda: rig.lab(large.id))
    assert (await rig.lab(large.id)).passes == 2
    await rig.restart(queue_passes=2)
    waiting = await rig.launch()
    await waits(rig, waiting.id, WaitReason.RESERVED)
    for record in (first, *small):
        rig.scheduler.end(record.id)
    await rig.until(large.id, READY)
    assert (await rig.lab(waiting.id)).state is QUEUED
    rig.scheduler.end(large.id)
    await rig.until(waiting.id, READY)


async def test_a_small_person_comes_before_a_large_one_and_an_operators_wish_before_all(
    make_rig: MakeRig,
) -> None:
    rig = await on(make_rig, node("a", 1))
    running = [await rig.until((await rig.launch()).id, READY) for _ in range(2)]
    mine = await rig.launch()
    await waits(rig, mine.id, WaitReason.CAPACITY)
    other = await rig.launch(owner=ADMIN)

    async def places(*wanted: int) -> bool:
        return (
            (await rig.lab(mine.id)).queue_position,
            (await rig.lab(other.id)).queue_position,
        ) == wanted

    await rig.eventually(lambda: places(2, 1))
    await rig.launcher.wishes.prioritise(await rig.lab(mine.id), 80, actor="admin")
    await rig.eventually(lambda: places(1, 2))
    queue = await rig.launcher.views.queue(PageQuery())
    assert [(one.lab_id, one.priority) for one in queue.items] == [(mine.id, 80), (other.id, 50)]
    rig.scheduler.end(running[0].id)
    await rig.until(mine.id, READY)
    with pytest.raises(ProblemError) as refusal:
        await rig.launch(priority=60)
    assert refusal.value.code is ProblemCode.FORBIDDEN
    urgent = await rig.launch(owner=ADMIN, priority=60)
    await rig.eventually(lambda: _place(rig, urgent.id, 1))


async def test_the_wait_is_guessed_from_past_runs(make_rig: MakeRig) -> None:
    clock = FakeClock()
    rig = await make_rig(FakeScheduler(clock.now), clock=clock)
    have(rig, node("a", 0.5))
    for _ in range(3):
        record = await rig.until((await rig.launch()).id, READY)
        await rig.pass_time(600)
        rig.scheduler.end(record.id)
        await rig.until(record.id, STOPPED)
    running = await rig.until((await rig.launch()).id, READY)
    await rig.pass_time(120)
    preflight = await rig.launcher.launches.preflight(LaunchBody(datalab="stub"), ADA)
    assert preflight.fit is Fit.QUEUE
    assert preflight.expected_start_at == clock.now() + timedelta(seconds=480)
    assert preflight.text == "It would wait. Needs 0.5 cores on one node; the largest free is 0."
    waiting = await rig.launch()
    told = await waits(rig, waiting.id, WaitReason.CAPACITY)
    assert running.started_at is not None
    assert told.contract().expected_start_at == running.started_at + timedelta(seconds=600)


async def test_devices_of_a_size_reach_the_job(make_rig: MakeRig) -> None:
    gpu = Size(name="gpu", title="GPU", cores=1, memory_mib=1024, gpus=1, gpu_name="A100", node_class="gpu")
    rig = await on(make_rig, node("a", 4), node("g", 4, node_class="gpu", gpus={"A100": 1}))
    rig.neighbours.specification = {"size": gpu}
    record = await rig.until((await rig.launch()).id, READY)
    job = rig.scheduler.newest(record.id).job
    assert (job.gpus, job.gpu_name, job.node_class, job.node) == (1, "A100", "gpu", "g")
    rig.neighbours.specification = {"size": gpu.model_copy(update={"gpus": 2})}
    with pytest.raises(ProblemError) as refusal:
        await rig.launch("report")
    assert refusal.value.code is ProblemCode.NEVER_FITS
    assert "2 of A100" in str(refusal.value)


async def test_memory_is_never_promised_twice_in_a_burst(make_rig: MakeRig) -> None:
    rig = await on(make_rig, *(node(name, 64, memory_mib=2048) for name in "abc"))
    records = [await rig.launch(owner=ADMIN) for _ in range(10)]

    async def settled() -> bool:
        states = [(await rig.lab(record.id)).state for record in records]
        return states.count(READY) == 6 and states.count(QUEUED) == 4

    await rig.eventually(settled)
    for one in (await rig.scheduler.capacity()).nodes:
        assert one.memory_taken_mib <= one.memory_mib


async def test_at_ones_own_limit_the_queue_says_which(make_rig: MakeRig) -> None:
    rig = await on(make_rig, node("a", 0.5))
    first = await rig.until((await rig.launch()).id, READY)
    second = await rig.launch()
    await waits(rig, second.id, WaitReason.CAPACITY)
    rig.neighbours.max_labs = 1
    rig.neighbours.reserved[first.id, 9] = rig.neighbours.reserved[first.id, 1]
    rig.scheduler.end(first.id)
    told = await waits(rig, second.id, WaitReason.OWN_LIMIT)
    assert told.progress_text == "You are at your limit of 1 lab"
    assert SIZES["small"].cores == 0.5


async def test_a_lab_that_does_not_end_says_so(make_rig: MakeRig) -> None:
    clock = FakeClock()
    rig = await make_rig(IgnoresStop(clock.now), clock=clock)
    rig.neighbours.specification = {"stop_seconds": 600}
    record = await rig.until((await rig.launch()).id, READY)
    await rig.launcher.wishes.stop(record, Reason.STOPPED_BY_USER, actor="ada")
    await rig.pass_time(1)
    assert (await rig.lab(record.id)).contract().progress is None
    await rig.pass_time(640)
    assert (await rig.until(record.id, STOPPED)).reason is Reason.STOPPED_BY_USER


async def _place(rig: Rig, lab_id: str, place: int) -> bool:
    return (await rig.lab(lab_id)).queue_position == place
