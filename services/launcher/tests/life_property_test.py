"""Whatever people, the cluster and death do, in whatever order: labs keep to their life and nothing is doubled."""

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datalabs_contracts.labs import LabState, Reason
from datalabs_contracts.problems import ProblemError
from datalabs_launcher.errors import LabMovedError
from datalabs_launcher.journal import ALLOWED
from datalabs_launcher.scheduler import JobState

from .conftest import Rig

pytestmark = [  # a launcher that was killed leaves its connections to the collector, as a process to the system
    pytest.mark.filterwarnings("ignore:The garbage collector is trying:sqlalchemy.exc.SAWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

DEEDS = (
    "stop",
    "delete",
    "restart",
    "extend",
    "crash",
    "oom",
    "silence",
    "reconcile",
    "lose_news",
    "kill",
    "rest",
)


async def _run(rig: Rig, lab_id: str, deed: str) -> None:
    launcher, record = rig.launcher, await rig.lab(lab_id)
    running = [
        fake
        for fake in rig.scheduler.fakes.values()
        if fake.job.lab_id == lab_id and fake.seen.state is JobState.RUNNING
    ]
    deeds: dict[str, Callable[[], Awaitable[Any]]] = {
        "stop": lambda: launcher.wishes.stop(record, Reason.STOPPED_BY_USER, actor="ada"),
        "delete": lambda: launcher.wishes.delete(record, Reason.STOPPED_BY_USER, actor="ada"),
        "restart": lambda: launcher.launches.restart(record, None, actor="ada", traceparent=None),
        "extend": lambda: launcher.wishes.extend(record, 3600, actor="ada"),
        "reconcile": launcher.watcher.reconcile,
        "kill": rig.restart,
        "rest": lambda: asyncio.sleep(0.03),
    }
    with contextlib.suppress(ProblemError, LabMovedError):
        if deed in deeds:
            await deeds[deed]()
        elif deed == "lose_news":
            rig.scheduler.lose_news()
        elif deed == "silence":
            rig.scheduler.away = True
            await asyncio.sleep(0.02)
            rig.scheduler.away = False
        elif running:
            rig.scheduler.end(lab_id, exit_code=None, signal=9, out_of_memory=deed == "oom")


async def _check(rig: Rig, lab_id: str) -> None:
    """Nothing runs that is not known, nothing was doubled, every step was one of the life's."""
    record = await rig.lab(lab_id)
    assert record.state.ended
    assert record.reason is not None
    assert record.message
    assert lab_id not in rig.scheduler.running()
    mine = {job: count for job, count in rig.scheduler.starts.items() if lab_id in job}
    assert set(mine.values()) <= {1}
    labs = await rig.told(lab_id)
    revisions = [lab.revision for lab in labs]
    assert revisions == sorted(set(revisions))
    for before, after in itertools.pairwise(labs):
        assert after.state is before.state or after.state in ALLOWED[before.state], (before, after)
        assert after.attempt == before.attempt + (before.state.ended and after.state is LabState.QUEUED)


@settings(
    max_examples=15,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    datalab=st.sampled_from(["stub", "report"]),
    deeds=st.lists(st.sampled_from(DEEDS), min_size=1, max_size=8),
)
async def test_labs_keep_to_their_life(rig: Rig, datalab: str, deeds: list[str]) -> None:
    rig.neighbours.reserved.clear()  # accounting frees them at each end
    record = await rig.launch(datalab)
    for deed in deeds:
        await _run(rig, record.id, deed)
    while not (current := await rig.lab(record.id)).state.ended:
        await rig.launcher.wishes.stop(current, Reason.STOPPED_BY_USER, actor="ada")
        await rig.until(record.id, LabState.STOPPED, LabState.FAILED)
    await rig.launcher.driver.idle()
    await rig.launcher.watcher.reconcile()
    await _check(rig, record.id)
