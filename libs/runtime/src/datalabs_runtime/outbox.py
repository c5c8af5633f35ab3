"""The outbox: an event is written in the transaction of its cause; the relay publishes it afterwards."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

import structlog
from nats.errors import Error as NatsError
from prometheus_client import Counter, Gauge, Histogram
from sqlalchemy import Table, delete
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from datalabs_contracts.base import Contract
from datalabs_contracts.events import HEADER_CAUSATION, HEADER_CORRELATION, EventType
from datalabs_contracts.streams import EVENTS
from datalabs_runtime import telemetry
from datalabs_runtime.clock import Clock, SystemClock
from datalabs_runtime.database import Database
from datalabs_runtime.facts import headers_of, new_event_id
from datalabs_runtime.inbox import Inbox
from datalabs_runtime.leases import PROOF, Lease, LeaseLostError
from datalabs_runtime.messaging import Messaging
from datalabs_runtime.rpc import SECONDS
from datalabs_runtime.tables import OUTBOX_CHANNEL, ServiceBase

LONGEST_BODY = 900_000
"""Bytes; NATS takes messages of 1 MiB, headers included."""
BATCH = 256
"""Rows read at once."""
AT_ONCE = 32
"""Entities whose facts are published at once; those of one entity go one after the other."""
POLL = 30.0
"""Seconds between looks without a notification.

PostgreSQL loses none while the listening connection stands, and each new one begins with a look of its own; the
connection is checked every minute. So this is for faults that nobody has thought of, and costs next to nothing."""
REST = 0.25
"""Seconds after a failure."""
FAULT_REST = 5.0
"""Seconds after a failure that is no neighbour's."""
PUBLISH_TIMEOUT = 5.0
"""Seconds for an acknowledgement. A fact that was stored all the same is dropped by its message id when repeated."""
LEASE_TTL = 30.0
"""Seconds; on one machine a dead holder is replaced at once, whatever its lease says."""
OUTBOX_RETENTION = timedelta(days=3)
"""Published rows are kept that long, to look into what was said."""
INBOX_RETENTION = EVENTS.max_age + timedelta(days=1)
"""Longer than the stream keeps a fact: whatever is delivered again is recognised."""
PRUNE_EVERY = 3600.0

PUBLISHED = Counter("datalabs_outbox_published_total", "Facts published.")
FAILED = Counter("datalabs_outbox_failures_total", "Attempts to publish that failed.")
PENDING = Gauge("datalabs_outbox_pending", "Facts read but not yet published.")
LAG = Histogram("datalabs_outbox_lag_seconds", "From the commit to the stream.", buckets=SECONDS)

_READ = """
    SELECT id, subject, entity, revision, headers, body, created_at FROM outbox
    WHERE published_at IS NULL ORDER BY id LIMIT %(most)s
"""
_MARK = f"""
    WITH proof AS ({PROOF})
    UPDATE outbox SET published_at = now() WHERE id = ANY(%(ids)s) AND EXISTS (SELECT FROM proof) RETURNING id
"""  # noqa: S608 - of constants


class Outbox:
    """Writes the events of one service (`source`)."""

    def __init__(self, base: type[ServiceBase], source: str, *, clock: Clock | None = None) -> None:
        self._base = base
        self._source = source
        self._clock = clock or SystemClock()

    @property
    def table(self) -> Table:
        """The table itself, for a statement that writes an event beside its cause."""
        return cast(Table, self._base.Outbox.__table__)

    def add(
        self, session: AsyncSession, event: EventType, entity_id: str, data: Contract, *, revision: int
    ) -> str:
        """Write an event in the session's transaction and return its id; the commit wakes the relay.

        Raises as `row`.
        """
        row = self.row(event, entity_id, data, revision=revision)
        session.add(self._base.Outbox(**row))
        return str(row["event_id"])

    def row(self, event: EventType, entity_id: str, data: Contract, *, revision: int) -> dict[str, Any]:
        """Return an event's row, for those who write it and its cause in one statement of their own.

        The trace and the correlation of the caller travel with it.

        Raises `TypeError` when the data is of another model than the event's, `ValueError` when it is too large.
        """
        if not isinstance(data, event.data):
            raise TypeError(f"{event.type} carries {event.data.__name__}, not {type(data).__name__}")
        body = data.model_dump_json().encode()
        if len(body) > LONGEST_BODY:
            raise ValueError(f"{event.type} of {entity_id} has {len(body)} bytes of data")
        event_id = new_event_id()
        headers = headers_of(
            event_id=event_id,
            event=event,
            entity_id=entity_id,
            source=self._source,
            moment=self._clock.now(),
        )
        telemetry.inject(headers)
        headers.setdefault(HEADER_CORRELATION, telemetry.trace_id() or event_id)
        cause = telemetry.causation.get()
        if cause is not None:
            headers[HEADER_CAUSATION] = cause
        return {
            "event_id": event_id,
            "subject": event.subject(entity_id),
            "entity": f"{event.entity}/{entity_id}"[:128],
            "revision": revision,
            "headers": headers,
            "body": body,
        }


def as_json(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event's row as a JSON document can carry it: its body as text."""
    return {**row, "body": row["body"].decode()}


@dataclass(frozen=True, kw_only=True)
class _Waiting:
    id: int
    subject: str
    entity: str
    revision: int
    headers: dict[str, str]
    body: bytes
    created_at: datetime


class OutboxRelay:
    """Publishes what is in the outbox, in order, under a lease; a part of the service.

    It selects what is unpublished, never "ids above the last": serial ids commit out of order.
    """

    name = "outbox-relay"

    def __init__(
        self,
        database: Database,
        base: type[ServiceBase],
        messaging: Messaging,
        *,
        clock: Clock | None = None,
        calm: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Relay what a service's outbox holds; `calm` is awaited before each look and returns soon, whatever is going on.

        In a burst it lets requests be answered first, and many facts be told together.
        """
        self.wake = asyncio.Event()
        self._calm = calm
        self._database = database
        self._direct = database.direct()
        self._table: Any = base.Outbox.__table__
        self._inbox = Inbox(base)
        self._messaging = messaging
        self._clock = clock or SystemClock()
        self.lease = Lease(database, base, "outbox", messaging.service, LEASE_TTL)
        self._tasks: list[asyncio.Task[None]] = []
        self._log = structlog.get_logger(__name__)

    async def start(self) -> None:
        """Begin in the background."""
        await self.lease.start()
        self._tasks = [
            asyncio.create_task(work(), name=f"{self.name} {work.__name__}")
            for work in (self._relay, self._listen, self._housekeep)
        ]

    async def aclose(self) -> None:
        """End; what is unpublished is published by the next holder of the lease."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        await self.lease.aclose()

    async def publish_waiting(self) -> int:
        """Publish one batch and return how many facts it had.

        Raises the first failure after marking what was published.
        """
        waiting = await self._read()
        PENDING.set(len(waiting))
        if not waiting:
            return 0
        by_entity: dict[str, list[_Waiting]] = defaultdict(list)
        for row in sorted(waiting, key=lambda row: (row.revision, row.id)):
            by_entity[row.entity].append(row)
        slots = asyncio.Semaphore(AT_ONCE)
        published: list[int] = []
        results = await asyncio.gather(
            *(self._publish(rows, published, slots) for rows in by_entity.values()), return_exceptions=True
        )
        if published:
            await self._mark(published)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return len(published)

    async def _relay(self) -> None:
        while True:
            await self.lease.wait()
            if self._calm is not None:
                await self._calm()
            self.wake.clear()
            try:
                while await self.publish_waiting() == BATCH:
                    pass
            except LeaseLostError:
                self._log.warning("outbox.lease_lost")
            except (NatsError, SQLAlchemyError, TimeoutError, OSError, RuntimeError) as error:
                FAILED.inc()
                self._log.warning("outbox.failed", reason=f"{type(error).__name__}: {error}")
                await asyncio.sleep(REST)
                continue
            except Exception:  # noqa: BLE001 - reported; the work goes on
                self._log.exception("outbox.failed")
                await asyncio.sleep(FAULT_REST)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL):
                    await self.wake.wait()

    async def _listen(self) -> None:
        async for _ in self._database.listen(OUTBOX_CHANNEL):
            self.wake.set()

    async def _read(self) -> list[_Waiting]:
        rows = await self._direct.run(_READ, {"most": BATCH})
        return [_Waiting(**row._asdict()) for row in rows]

    async def _publish(self, rows: list[_Waiting], published: list[int], slots: asyncio.Semaphore) -> None:
        """Publish one entity's facts in the order of their revisions; the first failure ends it."""
        jetstream = self._messaging.jetstream
        async with slots:
            for row in rows:
                if not self.lease.held:
                    raise LeaseLostError("the relay was stopped for longer than its lease lives")
                await jetstream.publish(
                    row.subject,
                    row.body,
                    timeout=PUBLISH_TIMEOUT,
                    stream=EVENTS.name,
                    headers=row.headers,
                )
                published.append(row.id)
                PUBLISHED.inc()
                LAG.observe(max(0.0, (self._clock.now() - row.created_at).total_seconds()))

    async def _mark(self, ids: list[int]) -> None:
        """Note what was published, if we still lead: one statement, a transaction by itself."""
        if not await self._direct.run(_MARK, {"ids": ids, **self.lease.proof()}):
            raise self.lease.lost()

    async def _housekeep(self) -> None:
        while True:
            try:
                if self.lease.held:
                    await self.prune()
            except (SQLAlchemyError, OSError) as error:
                self._log.warning("outbox.not_pruned", reason=type(error).__name__)
            await self._clock.sleep(PRUNE_EVERY)

    async def prune(self) -> None:
        """Remove what was published and handled longer ago than the retention."""
        now = self._clock.now()
        async with self._database.transaction() as session:
            await session.execute(
                delete(self._table).where(self._table.c.published_at < now - OUTBOX_RETENTION)
            )
            await self._inbox.prune(session, now - INBOX_RETENTION)
