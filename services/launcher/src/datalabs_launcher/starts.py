"""Paces starts: labs are handed to the scheduler in their order, only as fast as it can start them."""

import asyncio

from datalabs_launcher.scheduler import Scheduler
from datalabs_runtime.clock import Clock

PAUSE_SECONDS = 0.05
"""Pause before the scheduler is asked again whether it can start one more."""


class Starts:
    """A queue of labs that are ready to be started; the lock serves them in the order in which they came."""

    def __init__(self, *, scheduler: Scheduler, clock: Clock) -> None:
        self._scheduler = scheduler
        self._clock = clock
        self._lock = asyncio.Lock()

    async def turn(self) -> None:
        """Wait until it is one's turn and the scheduler can start another lab.

        Raises `SchedulerAwayError` when it does not answer.
        """
        async with self._lock:
            while not await self._scheduler.may_start():
                await self._clock.sleep(PAUSE_SECONDS)
