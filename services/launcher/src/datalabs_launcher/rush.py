"""A rush of launches: they are taken in first, and started when it is over.

Taking a launch in costs some milliseconds, starting a lab ten times as much. When fifty people click at once each
of them shall hear at once that the lab is queued, instead of waiting for the labs of the others to start.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator

LONGEST = 0.5
"""Seconds that a launch waits at most for those behind it."""
LULL = 0.03
"""Seconds without a launch that end a rush."""
WINDOW = 0.2
RUSH = 4
"""So many launches within the window are a rush; fewer wait for nobody."""
LOOK = 0.005


class Rush:
    """Knows whether launches are coming in; `taking_in` goes around each."""

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._inside = 0
        self._lately: deque[float] = deque(maxlen=RUSH)

    @contextlib.contextmanager
    def taking_in(self) -> Iterator[None]:
        """Take one launch in."""
        self._inside += 1
        self._lately.append(self._now())
        try:
            yield
        finally:
            self._inside -= 1

    @property
    def on(self) -> bool:
        """Whether launches come in close together just now."""
        now = self._now()
        if len(self._lately) < RUSH or now - self._lately[0] > WINDOW:
            return False
        return self._inside > 0 or now - self._lately[-1] < LULL

    async def over(self) -> None:
        """Wait until a rush is over, for a short time at most."""
        end = self._now() + LONGEST
        while self.on and self._now() < end:  # noqa: ASYNC110 - time alone ends a rush
            await asyncio.sleep(LOOK)
