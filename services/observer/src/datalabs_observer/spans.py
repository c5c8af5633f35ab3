"""Spans: a bounded queue before the store, so that a slow database never slows whoever sends."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterable
from datetime import timedelta

import structlog
from prometheus_client import Counter, Gauge

from datalabs_contracts.base import Page
from datalabs_contracts.cursors import decode_cursor, encode_cursor
from datalabs_contracts.observations import Span, TraceQuery, TracesQuery, TraceSummary
from datalabs_observer.errors import UnknownTraceError
from datalabs_observer.models import KeptSpan, Shelf
from datalabs_observer.store import AWAY, Store
from datalabs_runtime.clock import Clock
from datalabs_runtime.database import Database

log = structlog.get_logger()

BATCH = 1000
RETRY_PAUSE = 1.0
"""Seconds before a batch is tried again while the database is away."""
GATHER = 0.5
"""Seconds between batches: the spans of one launch come from several services, and meet in one."""
TRACES_AT_ONCE = 200

stored = Counter("observer_spans_stored", "Spans written to the store.")
dropped = Counter("observer_spans_dropped", "Spans that were not kept.", ["reason"])
waiting = Gauge("observer_spans_waiting", "Spans that wait to be written.")


class Spans:
    """Takes spans in, gives traces out; a part of the service."""

    name = "spans"

    def __init__(self, *, database: Database, clock: Clock, capacity: int) -> None:
        self._database = database
        self._clock = clock
        self._capacity = capacity
        self._queue: deque[KeptSpan] = deque()
        self._filled = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()
        self._hurry = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to write in the background."""
        self._writer = asyncio.create_task(self._write(), name="span writer")

    async def aclose(self) -> None:
        """Write what waits, for a short time, and end."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.drain(), timeout=2.0)
        if self._writer is not None:
            self._writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._writer
            self._writer = None

    def take(self, spans: Iterable[KeptSpan]) -> int:
        """Queue spans, without waiting; return how many found no room and were dropped."""
        lost = 0
        for span in spans:
            if len(self._queue) < self._capacity:
                self._queue.append(span)
            else:
                lost += 1
        if lost:
            dropped.labels("full").inc(lost)
        if self._queue:
            self._drained.clear()
            self._filled.set()
        waiting.set(len(self._queue))
        return lost

    async def drain(self) -> None:
        """Have everything written that was taken, without gathering more."""
        self._hurry.set()
        await self._drained.wait()

    async def trace(self, query: TraceQuery) -> Page[Span]:
        """Return spans of one trace, oldest first, with the visits that join it. Raises `UnknownTraceError`."""
        after = None
        if query.cursor:
            start_ns, span_id = decode_cursor("spans", query.cursor, int, str)
            after = (start_ns, span_id)
        else:
            await self._catch_up()
        async with self._database.reading() as session:
            found = await Store(session).trace(query.trace_id, after=after, limit=query.limit + 1)
        if not found and after is None:
            raise UnknownTraceError
        items = found[: query.limit]
        more = len(found) > query.limit
        cursor = encode_cursor("spans", items[-1].start_ns, items[-1].span_id) if more else None
        return Page[Span](items=items, next=cursor)

    async def traces(self, query: TracesQuery) -> Page[TraceSummary]:
        """Return traces, newest first."""
        after = None
        if query.cursor:
            start_ns, trace_id = decode_cursor("traces", query.cursor, int, str)
            after = (start_ns, trace_id)
        else:
            await self._catch_up()
        async with self._database.reading() as session:
            found = await Store(session).traces(query, after=after, limit=query.limit + 1)
        items = found[: query.limit]
        more = len(found) > query.limit
        cursor = encode_cursor("traces", items[-1][0], items[-1][1].trace_id) if more else None
        return Page[TraceSummary](items=[summary for _, summary in items], next=cursor)

    async def tidy(self, *, max_age: timedelta, max_bytes: int) -> int:
        """Delete traces that are too old, and the oldest beyond the size; return how many."""
        before_ns = int((self._clock.now() - max_age).timestamp() * 1_000_000_000)
        deleted = 0
        while True:
            async with self._database.transaction() as session:
                store = Store(session)
                full = await store.shelf(Shelf.SPANS) > max_bytes
                gone = await store.delete_traces(before_ns=None if full else before_ns, limit=TRACES_AT_ONCE)
            deleted += gone
            if gone == 0:
                return deleted

    async def _catch_up(self) -> None:
        """Who asks is told of all that came so far, unless it takes long to write it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GATHER):
                await self.drain()

    async def _write(self) -> None:
        while True:
            await self._filled.wait()
            batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
            if not batch:
                self._filled.clear()
                self._hurry.clear()
                self._drained.set()
                continue
            await self._keep(batch)
            waiting.set(len(self._queue))
            if len(self._queue) < BATCH:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(GATHER):
                        await self._hurry.wait()

    async def _keep(self, batch: list[KeptSpan]) -> None:
        """Write a batch; while the database is away try again, and let the queue take and drop meanwhile."""
        while True:
            try:
                async with self._database.transaction() as session:
                    await Store(session).add_spans(batch)
            except AWAY as error:
                log.warning("spans.waiting", spans=len(batch), reason=type(error).__name__)
                await self._clock.sleep(RETRY_PAUSE)
            except Exception:
                # A batch that the database refuses must not stop all that follow.
                log.exception("spans.refused", spans=len(batch))
                dropped.labels("refused").inc(len(batch))
                return
            else:
                stored.inc(len(batch))
                return
