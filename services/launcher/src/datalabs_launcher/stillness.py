"""Whether no lab lives: then nobody need look every second for one that is due, or for room in the queue."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

LOOK = 15.0
"""Seconds between looks while no lab lives, should the news of the first one be lost."""
ASK_AGAIN = timedelta(seconds=10)


class Stillness:
    """Begins when the database has no living lab, ends with the first news of one, whoever has it.

    News that come while the database is being asked count: `begin` takes what `news` was before the question.
    """

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self.news = 0
        self._still = False
        self._asked: datetime | None = None
        self._told: list[Callable[[], None]] = [self.over.set]

    def tell(self, callback: Callable[[], None]) -> None:
        """Have something called when it is over."""
        self._told.append(callback)

    def worth_asking(self, now: datetime) -> bool:
        """Return whether the database should be asked again for living labs: not at each look."""
        if not self._still and self._asked is not None and now - self._asked < ASK_AGAIN:
            return False
        self._asked = now
        return True

    def begin(self, news: int) -> None:
        """No lab lived when the database was asked."""
        self._still = news == self.news

    def end(self) -> None:
        """There is news of a lab."""
        self.news += 1
        if self._still:
            self._still = False
            for callback in self._told:
                callback()

    def rest(self, usual: float) -> float:
        """Return the seconds until the next look."""
        return max(usual, LOOK) if self._still else usual
