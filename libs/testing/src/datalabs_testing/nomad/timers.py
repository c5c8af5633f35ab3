"""Time in the emulated cluster: as fast as the machine's, faster, or only when a test moves it."""

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from datetime import UTC, datetime


class Timer:
    """Something that is going to happen, unless it is cancelled."""

    __slots__ = ("call", "due")

    def __init__(self, due: float, call: Callable[[], None]) -> None:
        self.due = due
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Let it not happen."""
        self.call = None


class Timers:
    """Runs calls at their time; `scale` seconds pass here for each of the machine's, none by themselves at 0."""

    def __init__(self, *, scale: float = 1.0) -> None:
        self._scale = scale
        self._began = time.time()
        self._origin = time.monotonic()
        self._skipped = 0.0
        self._moment: float | None = None
        self._heap: list[tuple[float, int, Timer]] = []
        self._count = itertools.count()
        self._wake: asyncio.TimerHandle | None = None
        self._wake_at = float("inf")

    def now(self) -> float:
        """Return seconds since 1970, here."""
        if self._moment is not None:
            return self._moment
        return self._began + (time.monotonic() - self._origin) * self._scale + self._skipped

    def now_ns(self) -> int:
        """Return nanoseconds since 1970, here."""
        return int(self.now() * 1e9)

    def after(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Call something later."""
        timer = Timer(self.now() + max(0.0, seconds), call)
        heapq.heappush(self._heap, (timer.due, next(self._count), timer))
        self._arm()
        return timer

    async def sleep(self, seconds: float) -> None:
        """Wait in this time."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self.after(seconds, lambda: None if done.done() else done.set_result(None))
        try:
            await done
        finally:
            timer.cancel()

    async def advance(self, seconds: float) -> None:
        """Let so much time pass now; what falls due happens in its order and at its own moment."""
        target = self.now() + seconds
        while self._heap and self._heap[0][0] <= target:
            due, _, timer = heapq.heappop(self._heap)
            self._moment = max(due, self.now())
            self._run(timer)
            await asyncio.sleep(0)
        self._moment = None
        self._skipped += max(0.0, target - self.now())
        self._arm()
        await asyncio.sleep(0)

    def close(self) -> None:
        """Let nothing happen any more."""
        self._heap.clear()
        if self._wake is not None:
            self._wake.cancel()

    def _arm(self) -> None:
        if not self._heap or self._scale <= 0 or self._moment is not None:
            return
        due = self._heap[0][0]
        if self._wake is not None:
            if self._wake_at <= due:
                return
            self._wake.cancel()
        self._wake_at = due
        delay = max(0.0, due - self.now()) / self._scale
        self._wake = asyncio.get_running_loop().call_later(delay, self._tick)

    def _tick(self) -> None:
        self._wake, self._wake_at = None, float("inf")
        now = self.now()
        while self._heap and self._heap[0][0] <= now:
            self._run(heapq.heappop(self._heap)[2])
        self._arm()

    @staticmethod
    def _run(timer: Timer) -> None:
        call, timer.call = timer.call, None
        if call is not None:
            call()


def rfc3339(ns: int) -> str:
    """Return a moment as Nomad writes those that are not integers."""
    seconds, rest = divmod(ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, tz=UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
