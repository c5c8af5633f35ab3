"""A clock that knows when it was set: time that a correction skips or repeats is nobody's time.

Deadlines are kept as moments, so that any instance can read them. When the machine's clock is set ahead by an hour, every
lab seems to have been idle, or starting, for an hour more; `moved` tells what the clock now calls a moment of before.
"""

import time
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from datalabs_runtime.clock import Clock

LEAST = timedelta(seconds=20)
"""Smaller corrections make no difference to a deadline."""
REMEMBERED = 20


def since_boot() -> float:
    """Return seconds since the machine's start, asleep or awake; nobody can set them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class SteppedClock:
    """A clock, compared with one that cannot be set each time it is read."""

    def __init__(self, clock: Clock, *, steady: Callable[[], float] = since_boot) -> None:
        self._clock = clock
        self._steady = steady
        self._read, self._read_at = clock.now(), steady()
        self._steps: deque[tuple[datetime, timedelta]] = deque(maxlen=REMEMBERED)
        self.count = 0
        """How often it was set."""
        self._log = structlog.get_logger(__name__)

    def now(self) -> datetime:
        """Return the moment."""
        now, at = self._clock.now(), self._steady()
        step = (now - self._read) - timedelta(seconds=at - self._read_at)
        if abs(step) >= LEAST:
            self._steps.append((now - step, step))
            self.count += 1
            self._log.warning("clock.was_set", seconds=round(step.total_seconds()))
        self._read, self._read_at = now, at
        return now

    async def sleep(self, seconds: float) -> None:
        """Wait that many seconds."""
        await self._clock.sleep(seconds)

    def moved(self, moment: datetime) -> datetime:
        """Return what the clock would have called a moment if it had been then as it is now.

        Set back, it calls two moments by one name; such a one is taken for the later, which ends nothing early.
        """
        now = self.now()
        for before, step in self._steps:
            if moment <= before and (step > timedelta(0) or moment > now):
                moment += step
        return moment


def moved(clock: Clock, moment: datetime) -> datetime:
    """Return what a clock calls a moment of before; one that does not know whether it was set calls it the same."""
    return clock.moved(moment) if isinstance(clock, SteppedClock) else moment
