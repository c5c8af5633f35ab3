"""When may another lab be handed over? As long as the machines start them about as fast as they would start one alone.

How many starts a machine bears at once is not known beforehand: it depends on disks, images, the container engine. So it
is measured: each start that ends tells how long it took, beside the shortest lately. While starts take no longer for being
many, more are let through; when they begin to queue up on the machine, fewer (the gradient of Netflix's
concurrency-limits: limit * shortest / taken + room for a try).
"""

import math
from collections import deque
from collections.abc import Callable

FIRST_LIMIT = 4.0
"""Starts at once on a machine of which nothing is known yet."""
TOLERANCE = 2.0
"""Starts may take so many times as long as alone before their number is cut: some crowding costs nobody anything."""
SMOOTH = 0.2
ALONE = 2
"""So few starts at once do not disturb one another: what they take is what a start takes."""
REMEMBERED = 20
"""So many undisturbed starts are remembered: an image that grew must not stay measured by the old one."""
HELD_SECONDS = 30.0
"""A start of which nothing is heard for so long (an image is fetched, say) holds nobody up any more."""


class Pace:
    """The pace of one machine."""

    def __init__(self) -> None:
        self.limit = FIRST_LIMIT
        self._alone: deque[float] = deque(maxlen=REMEMBERED)
        self._shortest = math.inf

    def took(self, seconds: float, *, at_once: int) -> None:
        """Learn from one start, `at_once` of which were under way."""
        seconds = max(0.001, seconds)
        self._shortest = min(self._shortest, seconds)
        if at_once <= ALONE:
            self._alone.append(seconds)
            self._shortest = min(self._alone)
        if at_once < self.limit / 2 and seconds <= self._shortest * TOLERANCE:
            return  # nobody pushed: the limit was not tried
        gradient = max(0.5, min(1.0, TOLERANCE * self._shortest / seconds))
        wanted = self.limit * gradient + math.sqrt(self.limit)
        self.limit = max(1.0, self.limit * (1 - SMOOTH) + wanted * SMOOTH)


class Paces:
    """The pace of each machine, and what is under way on it."""

    def __init__(self, *, now: Callable[[], float]) -> None:
        self._now = now
        self._paces: dict[str, Pace] = {}
        self._under_way: dict[str, tuple[str | None, float]] = {}

    def handed_over(self, job_id: str) -> None:
        """Note a job whose machine is not known yet."""
        self._under_way.setdefault(job_id, (None, self._now()))

    def placed(self, job_id: str, node: str) -> None:
        """Note where a job that was handed over is being started."""
        known = self._under_way.get(job_id)
        if known is not None and known[0] is None:
            self._under_way[job_id] = (node, known[1])

    def started(self, job_id: str, node: str | None, seconds: float | None) -> None:
        """Note that a job runs or has ended; `seconds` is how long its start took, where that is known."""
        if self._under_way.pop(job_id, None) is None or node is None or seconds is None:
            return
        self._paces.setdefault(node, Pace()).took(seconds, at_once=self._on(node) + 1)

    def _on(self, node: str) -> int:
        return sum(1 for where, _ in self._under_way.values() if where == node)

    def may_start(self, nodes: list[str]) -> bool:
        """Return whether one of these machines bears another start."""
        oldest = self._now() - HELD_SECONDS
        for job_id in [one for one, (_, since) in self._under_way.items() if since < oldest]:
            del self._under_way[job_id]
        room = sum(max(0.0, self.limit(node) - self._on(node)) for node in nodes)
        unplaced = sum(1 for where, _ in self._under_way.values() if where is None)
        return not nodes or room - unplaced >= 1

    def limit(self, node: str) -> float:
        """Return how many starts a machine bears at once, as far as is known."""
        pace = self._paces.get(node)
        return pace.limit if pace else FIRST_LIMIT
