"""Paces starts: labs are handed to the scheduler in their order, only as fast as it can start them.

Two things say how fast that is: the scheduler itself (`may_start`), and how long the last starts took. While they take
what such labs take alone, more are let go at once; when they take much longer, fewer: the window of TCP, with starts for
packets (V. Jacobson, "Congestion Avoidance and Control", SIGCOMM 1988).
"""

import asyncio
from collections import deque
from datetime import datetime, timedelta

from datalabs_launcher.scheduler import Scheduler
from datalabs_runtime.clock import Clock

PAUSE_SECONDS = 0.02
"""Pause before the scheduler is asked again whether it can start one more."""
ON_THEIR_WAY = 4
"""Labs that have their turn and are not handed over yet: the scheduler cannot count what it has not seen."""
FORGOTTEN = timedelta(seconds=2)
"""A lab that has not been handed over so long after its turn does not hold the others up."""
FIRST, LEAST, MOST = 16.0, 2.0, 512.0
"""Starts under way at once: at the beginning, at the least, at the most."""
SLOW = 3.0
"""A start that takes so many times what one of its kind takes at best says that there are too many."""
BEARABLE = 2.0
"""Seconds that a start may take in any case: what a busy launcher adds to a quick start is no crowd on the machines."""
LESS = 0.7
KINDS = 200
RECENT = 20
"""Starts of a kind whose best is what it takes alone."""
LONGEST = timedelta(seconds=120)
"""A start that takes longer has trouble of its own, and makes no others wait."""


class Window:
    """How many starts may be under way at once; pure but for what it remembers."""

    def __init__(self) -> None:
        self.size = FIRST
        self._under_way: dict[str, tuple[datetime, str]] = {}
        self._best: dict[str, deque[float]] = {}
        self._narrowed: datetime | None = None

    def full(self, now: datetime) -> bool:
        """Whether the next start has to wait for one to end."""
        oldest = now - LONGEST
        counted = sum(since > oldest for since, _ in self._under_way.values())
        return counted >= int(self.size)

    def begin(self, lab_id: str, kind: str, now: datetime) -> None:
        """Count a start."""
        self._under_way[lab_id] = (now, kind)

    def ready(self, lab_id: str, now: datetime) -> None:
        """Take in that a lab answers, and how long that took."""
        since, kind = self._under_way.pop(lab_id, (None, ""))
        if since is None:
            return
        seconds = (now - since).total_seconds()
        recent = self._best.get(kind)
        if recent is None:
            if len(self._best) >= KINDS:
                self._best.clear()
            recent = self._best[kind] = deque(maxlen=RECENT)
        usual = min(recent, default=seconds)
        recent.append(seconds)
        if seconds <= max(SLOW * usual, BEARABLE):
            self.size = min(MOST, self.size + 1 / self.size)
        elif self._narrowed is None or since >= self._narrowed:  # once for all that were under way together
            self.size = max(LEAST, self.size * LESS)
            self._narrowed = now

    def over(self, lab_id: str) -> None:
        """Forget a start that came to nothing: why is its own matter."""
        self._under_way.pop(lab_id, None)


class Starts:
    """A queue of labs that are ready to be started; the lock serves them in the order in which they came."""

    def __init__(self, *, scheduler: Scheduler, clock: Clock) -> None:
        self._scheduler = scheduler
        self._clock = clock
        self._lock = asyncio.Lock()
        self._on_their_way: dict[str, datetime] = {}
        self.window = Window()

    async def turn(self, lab_id: str, kind: str = "") -> None:
        """Wait until it is this lab's turn and another one can be started; `kind` says with which it compares.

        Raises `SchedulerAwayError` when the scheduler does not answer.
        """
        async with self._lock:
            while (
                self._crowded()
                or self.window.full(self._clock.now())
                or not await self._scheduler.may_start()
            ):
                await self._clock.sleep(PAUSE_SECONDS)
            self._on_their_way[lab_id] = self._clock.now()
            self.window.begin(lab_id, kind, self._clock.now())

    def handed_over(self, lab_id: str) -> None:
        """Note that a lab was handed to the scheduler, or never will be."""
        self._on_their_way.pop(lab_id, None)

    def ready(self, lab_id: str) -> None:
        """Note that a lab answers."""
        self.window.ready(lab_id, self._clock.now())

    def over(self, lab_id: str) -> None:
        """Note that a lab has ended, whether it ever answered or not."""
        self.window.over(lab_id)

    def _crowded(self) -> bool:
        oldest = self._clock.now() - FORGOTTEN
        return sum(since > oldest for since in self._on_their_way.values()) >= ON_THEIR_WAY
