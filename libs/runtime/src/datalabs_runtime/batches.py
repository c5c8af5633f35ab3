"""Durable consumption in batches, for those that only take note of what passes.

FastStream works message by message: a pull, a task, six middlewares and an acknowledgement each cost more than the row
that comes of a fact. Here one pull waits for the first fact, what came meanwhile is fetched in one go, handled in one
call and acknowledged with one write. A batch that fails is handled again fact by fact by the rules of `consuming`:
nothing is lost, and one bad fact spoils no other.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from time import perf_counter

import structlog
from faststream.exceptions import NackMessage, RejectMessage
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from opentelemetry.trace import SpanKind

from datalabs_contracts.streams import Consumer
from datalabs_runtime import telemetry
from datalabs_runtime.consuming import (
    AWAY,
    HANDLED,
    PULL_WAIT,
    UNKNOWN,
    Delivery,
    Intake,
    span_of,
    traced,
)
from datalabs_runtime.facts import Event, read_fact

GATHER = 0.25
"""Seconds that the first fact of a batch waits for others."""
MOST = 512
"""Facts in a batch."""
ANSWER = 2.0
"""Seconds beyond its own for the server's word about a pull; then it is given up and asked again."""
REST = 0.5
"""Seconds between pulls that the server refuses."""
STOP = 5.0
"""Seconds for the batch that is being handled when the service stops."""
NOTHING_THERE = frozenset({"404", "408"})
"""Statuses of a pull that came to its ordinary end: no message, or the time is over (NATS ADR-13)."""

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
        self._client: Client | None = None
        self._subscription: Subscription | None = None
        self._refused: Callable[[], Awaitable[None]] | None = None
        self._task: asyncio.Task[None] | None = None
        self._working = asyncio.Lock()
        self._closing = False
        self._inbox = ""
        self._pulls = 0
        self._wanted = 0
        self._arrived: list[Msg] = []
        self._ended = asyncio.Event()
        self._status = ""
        self._full = False
        self._log = structlog.get_logger(__name__)

    async def start(self, client: Client, refused: Callable[[], Awaitable[None]]) -> None:
        """Begin to read; `refused` is awaited when the server says no, for the consumer may be gone."""
        self._client, self._refused = client, refused
        self._inbox = client.new_inbox()
        self._subscription = await client.subscribe(f"{self._inbox}.*", cb=self._receive)
        self._task = asyncio.create_task(self._run(), name=f"{self._consumer.name} reader")

    async def aclose(self) -> None:
        """Let the batch in work end, give back what was not begun."""
        if self._task is None:
            return
        self._closing = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._working.acquire(), STOP)
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._task = None
        with contextlib.suppress(NatsError, OSError, TimeoutError):
            if self._subscription is not None:
                async with asyncio.timeout(ANSWER):
                    await self._subscription.drain()  # type: ignore[no-untyped-call]  # what is on its way arrives yet
            for message in self._arrived:
                await message.nak()

    def renew(self) -> None:
        """Give up the pull in flight: it died with the server or the consumer."""
        self._ended.set()

    async def _receive(self, message: Msg) -> None:
        if not message.subject.startswith(self._inbox):
            self._arrived.append(message)
            if len(self._arrived) >= self._wanted:
                self._ended.set()
        elif message.subject == f"{self._inbox}.{self._pulls}":  # not about a pull that was given up
            self._status = (message.headers or {}).get("Status", "")
            self._ended.set()

    async def _run(self) -> None:
        while not self._closing:
            try:
                await self._collect()
                async with self._working:
                    batch, self._arrived = self._arrived[: self._most], self._arrived[self._most :]
                    if batch:
                        await self._work([self._delivery(message) for message in batch])
            except (NatsError, OSError) as error:
                # The connection is away; what was not acknowledged is delivered again.
                self._log.info("batch.interrupted", consumer=self._consumer.name, reason=repr(error))
                await asyncio.sleep(REST)
            except Exception:  # noqa: BLE001 - it is reported, and the reader goes on
                self._log.exception("batch.failed", consumer=self._consumer.name)
                await asyncio.sleep(REST)

    async def _collect(self) -> None:
        """Wait for a first fact, then fetch what else there is; behind a full batch there surely is more."""
        if not self._full and not self._arrived:
            await self._pull(1, wait=PULL_WAIT)
            if not self._arrived:
                return
            await asyncio.sleep(self._gather)
        await self._pull(self._most - len(self._arrived))
        self._full = len(self._arrived) >= self._most

    async def _pull(self, batch: int, *, wait: float | None = None) -> None:
        """Ask for so many facts, with `wait` in seconds also for those that are yet to come."""
        if batch <= 0:
            return
        assert self._client is not None
        assert self._refused is not None
        self._pulls += 1
        self._wanted = len(self._arrived) + batch
        self._status = ""
        self._ended.clear()
        ask = (
            {"batch": batch, "no_wait": True}
            if wait is None
            else {"batch": batch, "expires": int(wait * 1e9)}
        )
        await self._client.publish(
            f"$JS.API.CONSUMER.MSG.NEXT.{self._consumer.stream}.{self._consumer.name}",
            json.dumps(ask).encode(),
            f"{self._inbox}.{self._pulls}",
        )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout((wait or 0.0) + ANSWER):
                await self._ended.wait()
        if self._status and self._status not in NOTHING_THERE:
            await self._refused()
            await asyncio.sleep(REST)

    def _delivery(self, message: Msg) -> Delivery:
        metadata = message.metadata
        return Delivery(
            consumption=self._consumption,
            message=message,
            deliveries=metadata.num_delivered,
            sequence=metadata.sequence.stream,
        )

    async def _work(self, batch: list[Delivery]) -> None:
        began, began_ns = perf_counter(), time.time_ns()
        handling = asyncio.ensure_future(self._handle(batch))
        try:
            await self._kept_alive(handling, batch)
            await handling
        except Exception as error:  # noqa: BLE001 - each fact of the batch is reported and retried by itself
            for delivery in batch:
                await self._alone(delivery, error)
            return
        finally:
            handling.cancel()
        seconds = HANDLED.labels(self._consumer.name, "ok")
        took = perf_counter() - began
        for delivery in batch:
            seconds.observe(took)
            _tell(delivery, began_ns)
            await delivery.message.ack()

    async def _handle(self, batch: Sequence[Delivery]) -> None:
        events = [self._event(delivery) for delivery in batch]
        unknown = sum(event.type is None for event in events)
        if unknown:
            UNKNOWN.labels(self._consumer.name).inc(unknown)
            if not self._consumption.takes_everything:
                events = [event for event in events if event.type is not None]
        if events:
            await self._handler(events)

    async def _kept_alive(self, handling: "asyncio.Future[None]", batch: Sequence[Delivery]) -> None:
        """Tell the server every third of `ack_wait` that the work goes on."""
        every = self._consumer.ack_wait.total_seconds() / 3
        while not (await asyncio.wait({handling}, timeout=every))[0]:
            with contextlib.suppress(NatsError, OSError):
                for delivery in batch:
                    await delivery.message.in_progress()

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

    def _event(self, delivery: Delivery) -> Event:
        message = delivery.message
        return read_fact(
            message.subject,
            message.headers,
            message.data,
            sequence=delivery.sequence,
            deliveries=delivery.deliveries,
            lenient=self._consumption.takes_everything,
            parsed=self._parsed,
        )


def _tell(delivery: Delivery, began_ns: int) -> None:
    """Record the span of a fact that was handled with its batch, in the trace of its own cause."""
    said = span_of(delivery)
    if said is not None:
        name, attributes = said
        parent = telemetry.extract(delivery.headers)
        telemetry.tracer().start_span(
            name, parent, kind=SpanKind.CONSUMER, attributes=attributes, start_time=began_ns
        ).end()
