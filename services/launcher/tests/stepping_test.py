from datetime import UTC, datetime, timedelta

import pytest

from datalabs_launcher.stepping import SteppedClock

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


class Machine:
    """A machine whose wall clock can be set while time passes as ever."""

    def __init__(self) -> None:
        self.wall = NOON
        self.passed = 0.0
        self.clock = SteppedClock(self, steady=lambda: self.passed)

    def now(self) -> datetime:
        return self.wall

    async def sleep(self, seconds: float) -> None:
        self.live(timedelta(seconds=seconds))

    def live(self, time: timedelta) -> None:
        """Let time pass; the clock is read each second, as in service."""
        for _ in range(int(time.total_seconds())):
            self.passed += 1
            self.wall += timedelta(seconds=1)
            self.clock.now()

    def set(self, by: timedelta) -> None:
        self.wall += by


def test_time_that_passes_is_no_step() -> None:
    machine = Machine()
    begun = machine.clock.now()
    machine.live(10 * MINUTE)
    assert machine.clock.now() - machine.clock.moved(begun) == 10 * MINUTE
    assert machine.clock.count == 0


@pytest.mark.parametrize("steps", [[HOUR], [-HOUR], [HOUR, -HOUR], [-HOUR, HOUR], [-HOUR, -HOUR, HOUR]])
def test_what_passed_is_told_whatever_the_clock_was_set_to(steps: list[timedelta]) -> None:
    machine = Machine()
    begun = machine.clock.now()
    for step in steps:
        machine.live(MINUTE)
        machine.set(step)
        machine.live(MINUTE)
    assert machine.clock.count == len(steps)
    assert machine.clock.now() - machine.clock.moved(begun) == 2 * len(steps) * MINUTE


def test_a_moment_after_a_step_is_as_it_is() -> None:
    machine = Machine()
    machine.set(HOUR)
    machine.clock.now()
    after = machine.clock.now()
    machine.live(MINUTE)
    assert machine.clock.moved(after) == after


def test_a_small_correction_is_none() -> None:
    machine = Machine()
    machine.set(timedelta(seconds=3))
    machine.clock.now()
    assert machine.clock.count == 0
