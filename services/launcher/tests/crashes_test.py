"""The launcher dies right after each point of a life; another one takes over and nothing is lost or doubled."""

import asyncio
import contextlib

import pytest

from datalabs_contracts.labs import LabState, Reason
from datalabs_launcher.crash_points import POINTS

from .conftest import DiesAt, Killed, MakeRig, Rig
from .fake_scheduler import FakeScheduler

pytestmark = [  # a launcher that was killed leaves its connections to the collector, as a process to the system
    pytest.mark.filterwarnings("ignore:The garbage collector is trying:sqlalchemy.exc.SAWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

LAUNCH_POINTS = POINTS[: POINTS.index("stop_stored")]
STOP_POINTS = POINTS[POINTS.index("stop_stored") :]


async def test_the_points_are_those_that_a_life_passes(make_rig: MakeRig) -> None:
    watches = DiesAt()
    rig = await make_rig(crash_points=watches)
    record = await rig.launch(key="k")
    await rig.until(record.id, LabState.READY)
    await rig.launcher.wishes.stop(await rig.lab(record.id), Reason.STOPPED_BY_USER, actor="ada")
    await rig.until(record.id, LabState.STOPPED)
    await rig.launcher.driver.idle()
    assert set(POINTS) - set(watches.seen) <= {"submit_stored"}


@pytest.mark.parametrize("point", [point for point in LAUNCH_POINTS if point != "submit_stored"])
async def test_a_launch_survives_the_launchers_death(make_rig: MakeRig, point: str) -> None:
    dies = DiesAt(point)
    rig = await make_rig(crash_points=dies)
    with contextlib.suppress(Killed):
        await rig.launch(key="one click")
    await asyncio.wait_for(dies.died.wait(), 10)
    await rig.restart()
    record = await rig.launch(key="one click")  # the gateway asks again: the same lab
    ready = await rig.until(record.id, LabState.READY)
    assert rig.scheduler.starts == {f"lab-{record.id}-01": 1}
    timeline = await rig.launcher.views.timeline(ready, None)
    assert sum(phase.seconds for phase in timeline.phases) == pytest.approx(timeline.seconds, rel=0.01)
    assert (await rig.facts(record.id)).count("queued") == 1
    assert (await rig.facts(record.id)).count("ready") == 1
    assert list(rig.neighbours.reserved) == [(record.id, 1)]


@pytest.mark.parametrize("point", STOP_POINTS)
async def test_an_end_survives_the_launchers_death(make_rig: MakeRig, point: str) -> None:
    dies = DiesAt(point)
    rig = await make_rig(crash_points=dies)
    record = await rig.launch()
    await rig.until(record.id, LabState.READY)
    with contextlib.suppress(Killed):
        await rig.launcher.wishes.stop(await rig.lab(record.id), Reason.STOPPED_BY_USER, actor="ada")
    await asyncio.wait_for(dies.died.wait(), 10)
    await rig.restart()
    ended = await rig.until(record.id, LabState.STOPPED)
    assert ended.reason is Reason.STOPPED_BY_USER
    assert (await rig.facts(record.id)).count("stopped") == 1
    await rig.launcher.watcher.reconcile()
    assert rig.scheduler.fakes == {}


async def test_what_ended_while_the_launcher_was_away_has_its_true_end(rig: Rig) -> None:
    record = await rig.launch()
    ready = await rig.until(record.id, LabState.READY)
    await rig.instances[-1].kill()
    rig.scheduler.end(record.id, exit_code=None, signal=9, out_of_memory=True)
    end = rig.scheduler.newest(record.id).seen.end
    assert end is not None
    await asyncio.sleep(0.05)
    await rig.start()
    ended = await rig.until(record.id, LabState.FAILED)
    assert (ended.reason, ended.signal, ended.ended_at) == (Reason.OUT_OF_MEMORY, 9, end.ended_at)
    assert ended.started_at == ready.started_at


async def test_labs_are_found_again_and_never_doubled(rig: Rig) -> None:
    records = [await rig.launch() for _ in range(5)]
    for record in records:
        await rig.until(record.id, LabState.READY)
    for _ in range(3):
        await rig.restart()
        await rig.launcher.watcher.reconcile()
    await asyncio.sleep(0.1)
    assert set(rig.scheduler.starts.values()) == {1}
    for record in records:
        assert (await rig.lab(record.id)).state is LabState.READY


async def test_a_job_that_nobody_knows_is_ended(rig: Rig) -> None:
    record = await rig.launch()
    await rig.until(record.id, LabState.READY)
    other = FakeScheduler()
    stranger = rig.scheduler.newest(record.id).job
    job = stranger.__class__(**{**vars(stranger), "job_id": "lab-zzzzzzzzzz-01", "lab_id": "zzzzzzzzzz"})
    await rig.scheduler.submit(job)
    await rig.launcher.watcher.reconcile()
    await rig.launcher.watcher.reconcile()
    assert "lab-zzzzzzzzzz-01" not in rig.scheduler.fakes
    assert (await rig.lab(record.id)).state is LabState.READY
    await other.close_all()


async def test_lost_news_are_found_by_reconciling(rig: Rig) -> None:
    record = await rig.launch()
    await rig.until(record.id, LabState.READY)
    rig.scheduler.lose_news()
    rig.scheduler.end(record.id, exit_code=1)
    await rig.launcher.watcher.reconcile()
    assert (await rig.until(record.id, LabState.FAILED)).reason is Reason.CRASHED


async def test_a_job_that_vanished_fails_its_lab(rig: Rig) -> None:
    record = await rig.launch()
    await rig.until(record.id, LabState.READY)
    rig.scheduler.fakes.clear()
    await rig.launcher.watcher.reconcile()
    assert (await rig.until(record.id, LabState.FAILED)).reason is Reason.LAUNCHER_ERROR


async def test_two_launchers_share_the_work_and_double_nothing(rig: Rig) -> None:
    await rig.start(instance="launcher-2")
    records = []
    for number in range(8):
        launcher = rig.instances[number % 2].launcher
        records.append(await rig.launch())
        launcher.admission.wake.set()
    for record in records:
        await rig.until(record.id, LabState.READY)
    assert set(rig.scheduler.starts.values()) == {1}
    for record in records:
        assert (await rig.facts(record.id)).count("ready") == 1
