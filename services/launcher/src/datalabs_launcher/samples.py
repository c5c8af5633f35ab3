"""What running labs use: measured while somebody looks, published, kept for ten minutes.

Whoever shows figures says so every few seconds (`live.interest`); when nobody does any more, nothing is measured. All
instances of the launcher hear the interest and the figures; the one that leads measures.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import structlog
from pydantic import ValidationError

from datalabs_contracts.events import LIVE_INTEREST, LIVE_SAMPLE
from datalabs_contracts.labs import Interest, Metrics, Sample
from datalabs_launcher.scheduler import Scheduler, SchedulerAwayError
from datalabs_launcher.store import labs
from datalabs_runtime.clock import Clock
from datalabs_runtime.database import Database

KEPT = timedelta(minutes=10)
AT_ONCE = 8
MOST = 500
"""Labs measured in one round; an operator who looks at all of a large site sees the figures of so many."""
HOLDS = timedelta(seconds=15)
"""So long an interest lasts that nobody renews."""
EVERYBODY = "*"


class Interests:
    """Whose labs somebody looks at, and until when."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._owners: dict[str, datetime] = {}
        self._labs: dict[str, datetime] = {}

    def note(self, interest: Interest) -> bool:
        """Remember an interest; whether it is one that was not there."""
        until = self._clock.now() + HOLDS
        owners = [*interest.owners, *([EVERYBODY] if interest.everybody else [])]
        fresh = any(name not in self._owners for name in owners) or any(
            lab_id not in self._labs for lab_id in interest.labs
        )
        self._owners |= dict.fromkeys(owners, until)
        self._labs |= dict.fromkeys(interest.labs, until)
        return fresh

    def now(self) -> Interest:
        """Return what holds now."""
        now = self._clock.now()
        self._owners = {name: until for name, until in self._owners.items() if until > now}
        self._labs = {lab_id: until for lab_id, until in self._labs.items() if until > now}
        return Interest(
            owners=sorted(self._owners.keys() - {EVERYBODY}),
            labs=sorted(self._labs),
            everybody=EVERYBODY in self._owners,
        )


class Samples:
    """The recent samples of running labs."""

    def __init__(
        self,
        *,
        scheduler: Scheduler,
        database: Database,
        publish: Callable[[str, bytes], Awaitable[None]],
        leads: Callable[[], bool],
        clock: Clock,
    ) -> None:
        self._scheduler = scheduler
        self._database = database
        self._publish = publish
        self._leads = leads
        self._clock = clock
        self._interests = Interests(clock=clock)
        self._rings: dict[str, deque[Sample]] = {}
        self._log = structlog.get_logger(__name__)
        self.wanted = asyncio.Event()

    async def interest(self, payload: bytes) -> None:
        """Take note that somebody looks."""
        try:
            interest = Interest.model_validate_json(payload)
        except ValidationError:
            self._log.warning("interest.not_understood")
            return
        if self._interests.note(interest):
            self.wanted.set()

    async def ask_for(self, lab_id: str) -> None:
        """Say that somebody looks at one lab, to all instances."""
        await self._publish(LIVE_INTEREST, Interest(labs=[lab_id]).model_dump_json().encode())

    async def measure(self) -> None:
        """Measure the running labs that somebody looks at and publish what they use."""
        self._drop_old()
        interest = self._interests.now()
        if not self._leads() or not (interest.owners or interest.labs or interest.everybody):
            return
        async with self._database.reading() as session:
            running = await labs.owned_and_running(
                session, owners=interest.owners, lab_ids=interest.labs, everybody=interest.everybody
            )
        limit = asyncio.Semaphore(AT_ONCE)

        async def _one(lab_id: str, job_id: str) -> None:
            async with limit:
                try:
                    sample = await self._scheduler.sample(job_id)
                except SchedulerAwayError:
                    return
            if sample is not None:
                await self._publish(LIVE_SAMPLE.format(lab_id=lab_id), sample.model_dump_json().encode())

        await asyncio.gather(*(_one(*pair) for pair in sorted(running.items())[:MOST]))

    async def heard(self, payload: bytes) -> None:
        """Keep a sample, whichever instance took it."""
        try:
            sample = Sample.model_validate_json(payload)
        except ValidationError:
            self._log.warning("sample.not_understood")
            return
        self._rings.setdefault(sample.lab_id, deque(maxlen=1000)).append(sample)

    def of(self, lab_id: str) -> Metrics:
        """Return the recent samples of a lab, oldest first."""
        return Metrics(lab_id=lab_id, samples=list(self._rings.get(lab_id, ())))

    def _drop_old(self) -> None:
        oldest = self._clock.now() - KEPT
        for lab_id, ring in list(self._rings.items()):
            while ring and ring[0].at < oldest:
                ring.popleft()
            if not ring:
                del self._rings[lab_id]
