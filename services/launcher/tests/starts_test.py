"""The pace of starts: as fast as the machines can, measured, never all at once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import pytest

from datalabs_contracts.labs import LabState
from datalabs_launcher.scheduler import LabJob, Observation, SchedulerAwayError
from datalabs_launcher.starts import FIRST, LEAST, ON_THEIR_WAY, Starts, Window
from datalabs_runtime.clock import SystemClock
from datalabs_testing.clock import FakeClock

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


class Gate(FakeScheduler):
    """Lets nobody start until it is told to; says how often it was away."""

    def __init__(self) -> None:
        super().__init__()
        self.free = self.away = False

    async def may_start(self) -> bool:
        if self.away:
            raise SchedulerAwayError("away")
        return self.free


@pytest.fixture
async def gated() -> AsyncIterator[tuple[Gate, Starts, list[str]]]:
    gate, woken = Gate(), list[str]()
    starts = Starts(scheduler=gate, clock=SystemClock(), wake=woken.append)
    yield gate, starts, woken
    await starts.aclose()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.005)


async def test_who_waits_keeps_its_place_and_is_woken(gated: tuple[Gate, Starts, list[str]]) -> None:
    gate, starts, woken = gated
    for name in ("first", "second", "third"):
        assert not await starts.turn(name, seconds=0.01)
    gate.free = True
    await until(lambda: len(woken) == 3)
    assert woken == ["first", "second", "third"]
    assert await starts.turn("second", seconds=0.01)
    assert await starts.turn("second", seconds=0.01), "a step that was cut short asks again"
    assert not starts.window.full(at(0))


async def test_who_waits_in_its_step_goes_on_at_once(gated: tuple[Gate, Starts, list[str]]) -> None:
    gate, starts, woken = gated
    waiting = asyncio.create_task(starts.turn("one", seconds=5))
    await asyncio.sleep(0.03)
    gate.free = True
    assert await waiting
    assert woken == []


async def test_a_silent_scheduler_is_said_and_the_place_kept(gated: tuple[Gate, Starts, list[str]]) -> None:
    gate, starts, woken = gated
    gate.away = True
    with pytest.raises(SchedulerAwayError):
        await starts.turn("one", seconds=5)
    gate.away, gate.free = False, True
    await until(lambda: woken == ["one"])


async def test_no_more_than_a_few_are_on_their_way_at_once(gated: tuple[Gate, Starts, list[str]]) -> None:
    gate, starts, woken = gated
    gate.free = True
    await asyncio.gather(*(starts.turn(str(number), seconds=0.05) for number in range(ON_THEIR_WAY + 3)))
    starts.over(str(ON_THEIR_WAY))
    assert woken == []
    for number in range(ON_THEIR_WAY):
        starts.handed_over(str(number))
    await until(lambda: len(woken) == 2)
    assert woken == [str(ON_THEIR_WAY + 1), str(ON_THEIR_WAY + 2)], "who has ended is not called"


async def test_who_is_called_and_does_not_come_holds_nobody_up() -> None:
    gate, woken, clock = Gate(), list[str](), FakeClock()
    starts = Starts(scheduler=gate, clock=clock, wake=woken.append)
    gate.free = True
    for number in range(int(FIRST)):
        starts._waiting[str(number)] = ""
        starts._call(str(number))
    assert starts.window.full(clock.now())
    await clock.advance(16)
    assert await starts.turn("one", seconds=1)
    await starts.aclose()
