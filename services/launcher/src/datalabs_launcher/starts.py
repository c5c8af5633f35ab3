"""Paces starts: labs are handed to the scheduler in their order, only as fast as it can start them."""

import asyncio
from datetime import datetime, timedelta

from datalabs_launcher.scheduler import Scheduler
from datalabs_runtime.clock import Clock

PAUSE_SECONDS = 0.02
"""Pause before the scheduler is asked again whether it can start one more."""
ON_THEIR_WAY = 2
"""Labs that have their turn and are not handed over yet: the scheduler cannot count what it has not seen."""
FORGOTTEN = timedelta(seconds=2)
"""A lab that has not been handed over so long after its turn does not hold the others up."""


class Starts:
    """A queue of labs that are ready to be started; the lock serves them in the order in which they came."""

    def __init__(self, *, scheduler: Scheduler, clock: Clock) -> None:
        self._scheduler = scheduler
        self._clock = clock
        self._lock = asyncio.Lock()
        self._on_their_way: dict[str, datetime] = {}

    async def turn(self, lab_id: str) -> None:
        """Wait until it is this lab's turn and the scheduler can start another one.

        Raises `SchedulerAwayError` when it does not answer.
        """
        async with self._lock:
            while self._crowded() or not await self._scheduler.may_start():
                await self._clock.sleep(PAUSE_SECONDS)
            self._on_their_way[lab_id] = self._clock.now()

    def handed_over(self, lab_id: str) -> None:
        """Note that a lab was handed to the scheduler, or never will be."""
        self._on_their_way.pop(lab_id, None)

    def _crowded(self) -> bool:
        oldest = self._clock.now() - FORGOTTEN
        return sum(since > oldest for since in self._on_their_way.values()) >= ON_THEIR_WAY
