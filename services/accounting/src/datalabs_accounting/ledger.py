"""The ledger: what labs used, from the scheduler's own start and end times in the labs' events.

Events come doubled, late and in any order. An end writes the one entry of its attempt and closes the open one; a start
that arrives after its end finds the entry and does nothing.
"""

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from datalabs_accounting.models import Attempt
from datalabs_accounting.store import Store
from datalabs_accounting.store.rush import attempt_word, start_attempts
from datalabs_contracts.events import USAGE_RECORDED
from datalabs_contracts.labs import Lab, LabFact
from datalabs_contracts.streams import ACCOUNTING_LEDGER
from datalabs_contracts.usage import UsageEntry, UsageFact
from datalabs_runtime.database import Database, of_one
from datalabs_runtime.inbox import Inbox
from datalabs_runtime.outbox import Outbox
from datalabs_runtime.together import Together

log = structlog.get_logger()

SELF = "service:accounting"
GATHERING = 0.25
"""Seconds between two writes of starts: one alone is written at once, in a rush they gather and go together."""


class Ledger:
    """Takes labs' events in."""

    def __init__(self, *, database: Database, inbox: Inbox, outbox: Outbox, pause: float = GATHERING) -> None:
        self._database = database
        self._direct = database.direct()
        self._start = Together(self._start_all, apart=of_one, pause=pause)
        self._inbox = inbox
        self._outbox = outbox

    async def take(self, event_id: str, fact: LabFact) -> None:
        """Enter what one event tells of its attempt; the same event again changes nothing."""
        lab = fact.lab
        if lab.state.ended:
            await self._end(event_id, lab)
        elif lab.started_at is not None:
            await self._start((event_id, _attempt(lab)))
        # Otherwise it is on its way up and nothing runs yet: such facts have no effect to make once.

    async def _start_all(self, starts: list[tuple[str, Attempt]]) -> list[None]:
        await start_attempts(self._direct, starts, consumer=ACCOUNTING_LEDGER.name)
        return [None] * len(starts)

    async def _end(self, event_id: str, lab: Lab) -> None:
        async with self._database.transaction() as session:
            if not await self._inbox.first_time(session, event_id, ACCOUNTING_LEDGER.name):
                return
            store = Store(session)
            # Start and end of one attempt may be handled side by side: one after the other, please.
            await store.lock(attempt_word(lab.id, lab.attempt))
            await store.release(lab.id, lab.attempt)
            await self._close(session, lab)

    async def _close(self, session: AsyncSession, lab: Lab) -> None:
        store = Store(session)
        await store.close(lab.id, lab.attempt)
        if lab.started_at is None or lab.ended_at is None:
            # It ended before a process of it ran: nothing was used.
            return
        attempt = _attempt(lab)
        if not await store.enter(attempt):
            return
        entry = UsageEntry(
            lab_id=lab.id,
            attempt=lab.attempt,
            owner=lab.owner,
            datalab=lab.datalab,
            size=lab.size,
            cores=lab.cores,
            memory_mib=lab.memory_mib,
            started_at=attempt.started_at,
            ended_at=attempt.ended_at or attempt.started_at,
            seconds=((attempt.ended_at or attempt.started_at) - attempt.started_at).total_seconds(),
        )
        fact = UsageFact(entry=entry, revision=lab.attempt, owner=lab.owner, actor=SELF)
        self._outbox.add(session, USAGE_RECORDED, lab.id, fact, revision=lab.attempt)
        log.info("usage.recorded", lab=lab.id, attempt=lab.attempt, seconds=entry.seconds)


def _attempt(lab: Lab) -> Attempt:
    """Return the attempt of a lab that has started; an end before the start (two clocks) counts as no time."""
    if lab.started_at is None:
        raise ValueError(f"lab {lab.id} has not started")
    return Attempt(
        lab_id=lab.id,
        attempt=lab.attempt,
        owner=lab.owner,
        name=lab.name,
        datalab=lab.datalab,
        size=lab.size,
        cores=lab.cores,
        memory_mib=lab.memory_mib,
        started_at=lab.started_at,
        ended_at=lab.ended_at and max(lab.ended_at, lab.started_at),
        revision=lab.revision,
    )
