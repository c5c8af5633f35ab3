"""Paces starts: labs are handed to the scheduler in their order, only as fast as it can start them.

Two things say how fast that is: the scheduler itself (`may_start`), and how long the last starts took. While they take
what such labs take alone, more are let go at once; when they take much longer, fewer: the window of TCP, with starts for
packets (V. Jacobson, "Congestion Avoidance and Control", SIGCOMM 1988).
"""

import asyncio
import contextlib
import contextvars
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from datalabs_launcher.scheduler import Scheduler, SchedulerAwayError
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
MISSED = timedelta(seconds=15)
"""A lab that was called and did not come (another instance has it, say) is forgotten after so long."""
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
    """A queue of labs that are ready to be started, served in the order in which they came; a part.

    A lab that waits costs nothing: its place is kept here, and it is woken when its turn has come. (When each waited in
    a step of its own and asked again after a while, a burst of two thousand spent the launcher's time on asking.)
    """

    name = "starts"

    def __init__(self, *, scheduler: Scheduler, clock: Clock, wake: Callable[[str], None]) -> None:
        self._scheduler = scheduler
        self._clock = clock
        self._wake = wake
        self._waiting: dict[str, str] = {}
        self._news: dict[str, asyncio.Event] = {}
        self._called: dict[str, datetime] = {}
        self._going: set[str] = set()
        self._on_their_way: dict[str, datetime] = {}
        self._away: SchedulerAwayError | None = None
        self._serving: asyncio.Task[None] | None = None
        self._log = structlog.get_logger(__name__)
        self.window = Window()

    async def start(self) -> None:
        """Nothing to do: labs come by themselves."""

    async def aclose(self) -> None:
        """Serve nobody any more."""
        if self._serving is not None:
            self._serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._serving

    async def turn(self, lab_id: str, kind: str = "", *, seconds: float) -> bool:
        """Wait so long for this lab's turn; whether it has come. `kind` says with which it compares.

        Its place is kept when it has not come, and the lab is woken then. Asked again, a turn that came still holds.

        Raises `SchedulerAwayError` when the scheduler does not answer.
        """
        if not self._has_come(lab_id):
            self._waiting.setdefault(lab_id, kind)
            if self._serving is None:
                self._serving = asyncio.get_running_loop().create_task(
                    self._serve(), name="turns", context=contextvars.Context()
                )
            news = self._news.setdefault(lab_id, asyncio.Event())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await news.wait()
            self._news.pop(lab_id, None)
            if not self._has_come(lab_id):
                if self._away is not None:
                    raise self._away
                return False
        self._called.pop(lab_id, None)
        self._going.add(lab_id)
        return True

    def handed_over(self, lab_id: str) -> None:
        """Note that a lab was handed to the scheduler, or never will be."""
        self._on_their_way.pop(lab_id, None)
        self._going.discard(lab_id)

    def ready(self, lab_id: str) -> None:
        """Note that a lab answers."""
        self.window.ready(lab_id, self._clock.now())

    def over(self, lab_id: str) -> None:
        """Note that a lab has ended, whether it ever answered or not."""
        self._waiting.pop(lab_id, None)
        self._called.pop(lab_id, None)
        self.handed_over(lab_id)
        self.window.over(lab_id)

    def _has_come(self, lab_id: str) -> bool:
        return lab_id in self._called or lab_id in self._going

    async def _serve(self) -> None:
        """Call one after the other until nobody waits."""
        try:
            while self._waiting:
                if not await self._room():
                    await self._clock.sleep(PAUSE_SECONDS)
                elif self._waiting:
                    self._call(next(iter(self._waiting)))
        finally:
            self._serving = None

    async def _room(self) -> bool:
        """Return whether another lab can be started now."""
        now = self._clock.now()
        for lab_id in [one for one, since in self._called.items() if since < now - MISSED]:
            del self._called[lab_id]
            self.over(lab_id)
        if self._crowded() or self.window.full(now):
            return False
        try:
            free = await self._scheduler.may_start()
        except SchedulerAwayError as error:
            self._away = error
            for news in self._news.values():
                news.set()
            return False
        except Exception:  # noqa: BLE001 - one fault must not leave all others waiting for ever
            self._log.exception("starts.not_asked")
            return False
        self._away = None
        return free

    def _call(self, lab_id: str) -> None:
        kind, now = self._waiting.pop(lab_id), self._clock.now()
        self._called[lab_id] = self._on_their_way[lab_id] = now
        self.window.begin(lab_id, kind, now)
        news = self._news.get(lab_id)
        if news is not None:
            news.set()
        else:
            self._wake(lab_id)

    def _crowded(self) -> bool:
        oldest = self._clock.now() - FORGOTTEN
        return sum(since > oldest for since in self._on_their_way.values()) >= ON_THEIR_WAY
