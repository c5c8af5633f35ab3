"""Rates: token buckets in memory, one a person or address."""

import time
from collections import OrderedDict
from collections.abc import Callable

from datalabs_contracts.problems import ProblemCode, ProblemError


class Buckets:
    """Token buckets by key: `rate` tokens a second, at most `burst` saved up."""

    def __init__(
        self,
        *,
        rate: float,
        burst: float,
        capacity: int = 50_000,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._capacity = capacity
        self._now = now
        self._buckets: OrderedDict[str, list[float]] = OrderedDict()

    def take(self, key: str) -> None:
        """Take a token.

        Raises ProblemError `rate_limited` with the seconds after which one is there.
        """
        now = self._now()
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = [self._burst, now]
            if len(self._buckets) > self._capacity:
                self._buckets.popitem(last=False)
        tokens = min(self._burst, bucket[0] + (now - bucket[1]) * self._rate)
        bucket[1] = now
        if tokens < 1:
            bucket[0] = tokens
            raise ProblemError(ProblemCode.RATE_LIMITED, retry_after=(1 - tokens) / self._rate)
        bucket[0] = tokens - 1


class Limits:
    """What each person may ask of the interface; operators are exempt."""

    def __init__(
        self,
        *,
        reads: Buckets,
        writes: Buckets,
        launches: Buckets,
        strangers: Buckets,
    ) -> None:
        self.reads = reads
        self.writes = writes
        self.launches = launches
        self.strangers = strangers
