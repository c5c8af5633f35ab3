"""The pace of starts: as fast as the machines can, measured, never all at once."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from datalabs_contracts.labs import LabState
from datalabs_launcher.scheduler import LabJob, Observation
from datalabs_launcher.starts import FIRST, LEAST, Window

from .conftest import ADMIN, MakeRig
from .fake_scheduler import FakeScheduler

START = datetime(2026, 11, 2, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def starts(window: Window, count: int, *, began: float, seconds: float) -> None:
    for number in range(count):
        window.begin(f"{began}-{number}", "stub", at(began))
    for number in range(count):
        window.ready(f"{began}-{number}", at(began + seconds))


def test_quick_starts_open_the_window_slow_ones_close_it_once_a_round() -> None:
    window = Window()
    for number in range(20):
        starts(window, 10, began=number, seconds=0.5)
    opened = window.size
    assert opened > FIRST
    starts(window, 10, began=50, seconds=5)
    assert window.size == pytest.approx(opened * 0.7)
    for number in range(20):
        starts(window, 4, began=100 + 10 * number, seconds=5)
        starts(window, 1, began=105 + 10 * number, seconds=0.5)
    assert window.size >= LEAST


def test_a_full_window_waits_but_not_for_one_that_hangs() -> None:
    window = Window()
    for number in range(int(FIRST)):
        assert not window.full(at(0))
        window.begin(str(number), "stub", at(0))
    assert window.full(at(1))
    window.over("0")
    assert not window.full(at(1))
    window.begin("0", "stub", at(1))
    assert not window.full(at(121))


def test_kinds_are_compared_with_their_own() -> None:
    window = Window()
    for number in range(5):
        window.begin(f"n{number}", "notebook", at(number))
        window.ready(f"n{number}", at(number + 0.5))
        window.begin(f"v{number}", "vm", at(number))
        window.ready(f"v{number}", at(number + 60))
    assert window.size > FIRST


class StartsOneAfterTheOther(FakeScheduler):
    """Each start takes 5 ms of the one core that all share; counts how many were under way at once."""

    def __init__(self) -> None:
        super().__init__()
        self.cores, self.memory_mib = 1000, 1_000_000
        self.core = asyncio.Lock()
        self.under_way = self.most = 0

    async def submit(self, job: LabJob) -> Observation:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            async with self.core:
                await asyncio.sleep(0.005)
                return await super().submit(job)
        finally:
            self.under_way -= 1


async def test_a_burst_of_a_hundred_is_no_herd(make_rig: MakeRig) -> None:
    rig = await make_rig(StartsOneAfterTheOther())
    assert isinstance(rig.scheduler, StartsOneAfterTheOther)
    records = await asyncio.gather(*(rig.launch(owner=ADMIN, key=str(number)) for number in range(100)))
    for record in records:
        await rig.until(record.id, LabState.READY)
    assert rig.scheduler.starts.total() == 100
    assert rig.scheduler.most <= FIRST
