"""Launches that come together are taken in before any of them is started."""

import asyncio

from datalabs_launcher.rush import LONGEST, LULL, RUSH, WINDOW, Rush


class Stopwatch:
    """A time that moves by hand."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


async def test_a_single_launch_waits_for_nobody() -> None:
    rush = Rush(now=Stopwatch())
    with rush.taking_in():
        await asyncio.wait_for(rush.over(), 0.001)


async def test_a_rush_is_over_a_lull_after_its_last_launch() -> None:
    watch = Stopwatch()
    rush = Rush(now=watch)
    for _ in range(RUSH):
        with rush.taking_in():
            pass
    waiting = asyncio.create_task(rush.over())
    await asyncio.sleep(0.02)
    assert not waiting.done()
    watch.seconds += LULL
    await asyncio.wait_for(waiting, 1)


async def test_a_rush_without_end_holds_nobody_up_for_long() -> None:
    watch = Stopwatch()
    rush = Rush(now=watch)
    for _ in range(RUSH - 1):
        with rush.taking_in():
            pass
    with rush.taking_in():
        waiting = asyncio.create_task(rush.over())
        await asyncio.sleep(0.02)
        assert not waiting.done()
        watch.seconds += LONGEST
        await asyncio.wait_for(waiting, 1)


async def test_launches_far_apart_are_no_rush() -> None:
    watch = Stopwatch()
    rush = Rush(now=watch)
    for _ in range(2 * RUSH):
        with rush.taking_in():
            pass
        watch.seconds += WINDOW
    with rush.taking_in():
        await asyncio.wait_for(rush.over(), 0.001)
