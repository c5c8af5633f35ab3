"""Durable consumption in batches, for those that only take note of what passes.

FastStream works message by message: a task, six middlewares and an acknowledgement each cost more than the row that
comes of a fact. Here what came meanwhile is handled in one call. A batch that fails is handled again fact by fact by the
rules of `consuming`: nothing is lost, and one bad fact spoils no other.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from time import perf_counter

import structlog
from faststream.exceptions import NackMessage, RejectMessage
from nats.aio.client import Client
from nats.errors import Error as NatsError
from opentelemetry.trace import SpanKind

from datalabs_contracts.streams import Consumer
from datalabs_runtime import telemetry
from datalabs_runtime.consuming import (
    AWAY,
    HANDLED,
    PULL_WAIT,
    Delivery,
    Intake,
    kept_alive,
    span_of,
    traced,
)
from datalabs_runtime.facts import Event
from datalabs_runtime.pulling import REST, PatientPull

GATHER = 0.25
"""Seconds between the beginnings of two batches: a fact alone waits for nobody, in a rush they gather."""
MOST = 512
"""Facts in a batch."""
STOP = 5.0
"""Seconds for the batch that is being handled when the service stops."""

BatchHandler = Callable[[list[Event]], Awaitable[None]]
"""Handles facts in their order, in no trace; after an error each comes again, also those that were handled."""


class BatchReader:
    """Reads one durable consumer in batches."""

    def __init__(
        self,
        consumer: Consumer,
        handler: BatchHandler,
        intake: Intake,
        *,
        most: int = MOST,
        gather: float = GATHER,
        parsed: bool = False,
    ) -> None:
        self._consumer = consumer
        self._handler = handler
        self._intake = intake
        self._most = min(most, consumer.max_ack_pending)
        self._gather = gather
        self._parsed = parsed
        self._consumption = intake.declare(consumer, lambda event: handler([event]))
        self._pull: PatientPull | None = None
        self._task: asyncio.Task[None] | None = None
        self._next: float | None = None
        self._busy = False
        self._closing = False
        self._log = structlog.get_logger(__name__)

    async def start(self, client: Client, refused: Callable[[], Awaitable[None]]) -> PatientPull:
        """Begin to read; `refused` is awaited when the server says no, for the consumer may be gone."""
        self._pull = PatientPull(client, self._consumer, refused, self._most)
        self._task = asyncio.create_task(self._run(self._pull), name=f"{self._consumer.name} reader")
        return self._pull

    async def aclose(self) -> None:
        """Let the batch in work end, give back what was not begun."""
        if self._task is None or self._pull is None:
            return
        self._closing = True
        if self._busy:
            await asyncio.wait({self._task}, timeout=STOP)
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._task = None
        await self._pull.unsubscribe()

    async def _run(self, pull: PatientPull) -> None:
        while not self._closing:
            try:
                await self._collect(pull)
                # Nothing comes between: what was taken is in work.
                if batch := pull.take():
                    self._busy = True
                    await self._work([self._intake.delivery(message) for message in batch], pull)
            except (NatsError, OSError) as error:
                # The connection is away; what was not acknowledged is delivered again.
                self._log.info("batch.interrupted", consumer=self._consumer.name, reason=repr(error))
                await asyncio.sleep(REST)
            except Exception:  # noqa: BLE001 - it is reported, and the reader goes on
                self._log.exception("batch.failed", consumer=self._consumer.name)
                await asyncio.sleep(REST)
            finally:
                self._busy = False

    async def _collect(self, pull: PatientPull) -> None:
        """Wait for a first fact, and for others while it is not yet time for the next batch."""
        await pull.arrival(PULL_WAIT)
        if not pull.ready:
            return
        now = asyncio.get_running_loop().time()
        # What waited while nobody read comes together: the first batch gathers, too.
        await pull.company(now + self._gather if self._next is None else self._next)
        self._next = asyncio.get_running_loop().time() + self._gather

    async def _work(self, batch: list[Delivery], pull: PatientPull) -> None:
        began, began_ns = perf_counter(), time.time_ns()
        try:
            with kept_alive(self._consumer, lambda: [*(one.message for one in batch), *pull.ready]):
                await self._handle(batch)
        except Exception as error:  # noqa: BLE001 - each fact of the batch is reported and retried by itself
            for delivery in batch:
                await self._alone(delivery, error)
            return
        seconds = HANDLED.labels(self._consumer.name, "ok")
        took = perf_counter() - began
        for delivery in batch:
            seconds.observe(took)
            _tell(delivery, began_ns)
            await delivery.message.ack()

    async def _handle(self, batch: Sequence[Delivery]) -> None:
        events = [delivery.event(parsed=self._parsed) for delivery in batch]
        if wanted := [event for event in events if self._consumption.takes(event)]:
            await self._handler(wanted)

    async def _alone(self, delivery: Delivery, error: Exception) -> None:
        """Settle one fact of a batch that failed: while what the handler needs is away it is not even tried."""

        async def again() -> None:
            if isinstance(error, AWAY):
                raise error
            await self._handle([delivery])

        try:
            await self._intake.retry(partial(traced, again, delivery), delivery)
        except NackMessage as nack:
            await delivery.message.nak(**nack.extra_options)
        except RejectMessage:
            await delivery.message.term()
        else:
            await delivery.message.ack()


def _tell(delivery: Delivery, began_ns: int) -> None:
    """Record the span of a fact that was handled with its batch, in the trace of its own cause."""
    said = span_of(delivery)
    if said is not None:
        name, attributes = said
        parent = telemetry.extract(delivery.headers)
        telemetry.tracer().start_span(
            name, parent, kind=SpanKind.CONSUMER, attributes=attributes, start_time=began_ns
        ).end()
