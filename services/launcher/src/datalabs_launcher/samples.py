"""What running labs use: measured every few seconds, published, kept for ten minutes."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import timedelta

from datalabs_contracts.events import LIVE_SAMPLE
from datalabs_contracts.labs import Metrics, Sample
from datalabs_launcher.scheduler import Scheduler, SchedulerAwayError
from datalabs_launcher.watching import Sightings
from datalabs_runtime.clock import Clock

KEPT = timedelta(minutes=10)
AT_ONCE = 8


class Samples:
    """The recent samples of running labs."""

    def __init__(
        self,
        *,
        scheduler: Scheduler,
        sightings: Sightings,
        publish: Callable[[str, bytes], Awaitable[None]],
        clock: Clock,
    ) -> None:
        self._scheduler = scheduler
        self._sightings = sightings
        self._publish = publish
        self._clock = clock
        self._rings: dict[str, deque[Sample]] = {}

    async def measure(self) -> None:
        """Measure all running labs and publish what they use."""
        running = {seen.lab_id: seen.job_id for seen in self._sightings.running()}
        limit = asyncio.Semaphore(AT_ONCE)

        async def _one(lab_id: str, job_id: str) -> None:
            async with limit:
                try:
                    sample = await self._scheduler.sample(job_id)
                except SchedulerAwayError:
                    return
            if sample is not None:
                self._keep(lab_id, sample)
                await self._publish(LIVE_SAMPLE.format(lab_id=lab_id), sample.model_dump_json().encode())

        await asyncio.gather(*(_one(*pair) for pair in running.items()))
        self._drop_old()

    def of(self, lab_id: str) -> Metrics:
        """Return the recent samples of a lab, oldest first."""
        return Metrics(lab_id=lab_id, samples=list(self._rings.get(lab_id, ())))

    def _keep(self, lab_id: str, sample: Sample) -> None:
        self._rings.setdefault(lab_id, deque(maxlen=1000)).append(sample)

    def _drop_old(self) -> None:
        oldest = self._clock.now() - KEPT
        for lab_id, ring in list(self._rings.items()):
            while ring and ring[0].at < oldest:
                ring.popleft()
            if not ring:
                del self._rings[lab_id]
