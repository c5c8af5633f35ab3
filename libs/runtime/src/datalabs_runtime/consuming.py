"""Durable consumption of facts through FastStream: retried with delays, then dead-lettered, never lost.

What is done around a handler runs in the order Retry, Telemetry, Prometheus, LogContext: only so does a span record the error itself
and not the decision to try again.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from time import perf_counter
from typing import Any

import structlog
from faststream import AckPolicy, BaseMiddleware
from faststream.exceptions import NackMessage, RejectMessage
from faststream.message import StreamMessage
from faststream.nats import JStream, NatsBroker, PullSub
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from opentelemetry.trace import SpanKind
from prometheus_client import Counter, Histogram
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_contracts.streams import DEAD_LETTERS, Consumer
from datalabs_runtime import telemetry
from datalabs_runtime.facts import Event, Handler, MalformedFactError, read_fact
from datalabs_runtime.permissions import inbox_of
from datalabs_runtime.rpc import SECONDS
from datalabs_runtime.topology import consumer_config

RETRY_DELAYS = (0.5, 2.0, 5.0, 15.0, 30.0)
"""Seconds before each further delivery of a fact whose handler failed; then it is a dead letter."""
AWAY_DELIVERIES = 120
"""Deliveries before a dead letter when the fault lies in what the handler needs (a database, another service):
about an hour at the longest delay."""
PULL_WAIT = 20.0
"""Seconds of one pull; a reconnection ends it early, for pulls in flight die with the server."""
WORKERS = 8
PUBLISH_TIMEOUT = 5.0
"""Seconds for a dead letter; NATS's default of 0.5 s is short for a busy disk."""

HEADER_DEAD_CONSUMER = "datalabs-dead-consumer"
HEADER_DEAD_SUBJECT = "datalabs-dead-subject"
HEADER_DEAD_ERROR = "datalabs-dead-error"
HEADER_DEAD_DELIVERIES = "datalabs-dead-deliveries"
HEADER_DEAD_SEQUENCE = "datalabs-dead-sequence"
HEADER_DEAD_TIME = "datalabs-dead-time"
LONGEST_ERROR = 2000
"""Characters of an error's text that a dead letter carries."""

AWAY = (OperationalError, InterfaceError, PoolTimeoutError, ConnectionError, NatsError)
AWAY_CODES = {ProblemCode.SERVICE_UNAVAILABLE, ProblemCode.DEADLINE_EXCEEDED, ProblemCode.CANCELLED}

HANDLED = Histogram("datalabs_facts_seconds", "Facts handled.", ["consumer", "result"], buckets=SECONDS)
UNKNOWN = Counter(
    "datalabs_facts_unknown_total", "Facts of types that this release does not know.", ["consumer"]
)
RETRIED = Counter("datalabs_facts_retried_total", "Facts given back to be delivered later.", ["consumer"])
DEAD = Counter("datalabs_facts_dead_total", "Facts that a handler gave up on.", ["consumer"])


@dataclass(frozen=True, kw_only=True)
class Consumption:
    """A declared consumer with its handler."""

    consumer: Consumer
    handler: Handler

    @property
    def takes_everything(self) -> bool:
        """Whether it reads whole streams: then unknown types and odd data are handed over, too."""
        return any(subject.endswith(">") for subject in self.consumer.subjects)

    async def handle(self, event: Event) -> None:
        """Hand a fact to the handler; one that it does not take is acknowledged."""
        if self.takes(event):
            telemetry.causation.set(event.id)
            await self.handler(event)

    def takes(self, event: Event) -> bool:
        """Return whether the handler gets a fact: one of an unknown type is counted, for a newer release's sake."""
        if event.type is not None:
            return True
        UNKNOWN.labels(self.consumer.name).inc()
        return self.takes_everything


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One message as the middlewares see it: which consumer's, how often delivered, where on the stream."""

    consumption: Consumption
    message: Msg
    deliveries: int
    sequence: int

    @property
    def consumer(self) -> Consumer:
        """The consumer."""
        return self.consumption.consumer

    @property
    def headers(self) -> Mapping[str, str]:
        """The message's headers."""
        return self.message.headers or {}

    def event(self, *, parsed: bool = True) -> Event:
        """Return the fact, with its data where it is `parsed`.

        Raises `MalformedFactError`.
        """
        return read_fact(
            self.message.subject,
            self.message.headers,
            self.message.data,
            sequence=self.sequence,
            deliveries=self.deliveries,
            lenient=self.consumption.takes_everything,
            parsed=parsed,
        )


Handle = Callable[[], Awaitable[Any]]


class Intake:
    """All durable consumers of one service on one broker."""

    def __init__(self, service: str) -> None:
        self.service = service
        self._consumptions: dict[str, Consumption] = {}
        self._jetstream: JetStreamContext | None = None
        self._log = structlog.get_logger(__name__)

    @property
    def consumers(self) -> list[Consumer]:
        """What was declared."""
        return [one.consumer for one in self._consumptions.values()]

    def middlewares(self) -> list[Callable[..., BaseMiddleware[Any, Any]]]:
        """Return the middleware: the layers are in it, outermost first."""
        return [partial(_Layers, find=self.delivery, around=(self.retry, traced, _measured, _logged))]

    def declare(self, consumer: Consumer, handler: Handler) -> Consumption:
        """Note a consumer of this service, for its guard and its dead letters."""
        if consumer.service != self.service:
            raise ValueError(f"{consumer.name} is not a consumer of {self.service}")
        self._consumptions[consumer.name] = Consumption(consumer=consumer, handler=handler)
        return self._consumptions[consumer.name]

    def consume(
        self, broker: NatsBroker, consumer: Consumer, handler: Handler, workers: int = WORKERS
    ) -> Any:
        """Declare a consumer's handler on the broker, for so many facts at once; return FastStream's subscriber."""
        self.declare(consumer, handler)
        subscriber = broker.subscriber(
            stream=JStream(consumer.stream, declare=False),
            durable=consumer.name,
            config=consumer_config(consumer),
            pull_sub=PullSub(batch_size=1, timeout=PULL_WAIT),
            inbox_prefix=f"{inbox_of(self.service)}.".encode(),
            max_workers=workers,
            # Whatever goes wrong inside the retry itself must not lose the message either.
            ack_policy=AckPolicy.NACK_ON_ERROR,
            no_reply=True,
            decoder=_undecoded,
        )
        subscriber(self._work)
        return subscriber

    def start(self, jetstream: JetStreamContext) -> None:
        """Learn where dead letters go."""
        self._jetstream = jetstream

    async def replay(self, consumer: str, subject: str, headers: Mapping[str, str], body: bytes) -> None:
        """Hand a dead letter to its handler again, now.

        Raises what the handler raises, and `MalformedFactError`.
        """
        consumption = self._consumptions.get(consumer)
        if consumption is None:
            raise MalformedFactError(f"{self.service} has no consumer {consumer}")
        with telemetry.continued(headers):
            await consumption.handle(read_fact(subject, headers, body, lenient=consumption.takes_everything))

    async def _work(self, message: StreamMessage[Msg]) -> None:
        delivery = self.delivery(message.raw_message)
        await delivery.consumption.handle(delivery.event())

    def delivery(self, message: Msg) -> Delivery:
        """Return a message of a declared consumer as a delivery."""
        metadata = message.metadata
        return Delivery(
            consumption=self._consumptions[metadata.consumer],
            message=message,
            deliveries=metadata.num_delivered,
            sequence=metadata.sequence.stream,
        )

    async def retry(self, handle: Handle, delivery: Delivery) -> Any:
        """Give the message back with a delay when its handler fails, or bury it when that is hopeless.

        While a handler runs the server is told so: a slow one is not started a second time.
        """
        try:
            with kept_alive(delivery.consumer, lambda: [delivery.message]):
                return await handle()
        except Exception as error:
            delay = delay_after(error, delivery)
            if delay is None:
                delay = await self._bury(error, delivery)
            if delay is None:
                raise RejectMessage from error
            RETRIED.labels(delivery.consumer.name).inc()
            self._log.warning(
                "fact.retried",
                consumer=delivery.consumer.name,
                subject=delivery.message.subject,
                deliveries=delivery.deliveries,
                delay=delay,
                reason=f"{type(error).__name__}: {error}",
            )
            raise NackMessage(delay=delay) from error

    async def _bury(self, error: Exception, delivery: Delivery) -> float | None:
        """Publish the dead letter; return a delay when that fails: what is not buried is tried again."""
        name = delivery.consumer.name
        headers = {
            **delivery.headers,
            HEADER_DEAD_CONSUMER: name,
            HEADER_DEAD_SUBJECT: delivery.message.subject,
            HEADER_DEAD_ERROR: one_line(error),
            HEADER_DEAD_DELIVERIES: str(delivery.deliveries),
            HEADER_DEAD_SEQUENCE: str(delivery.sequence),
            HEADER_DEAD_TIME: datetime.now(UTC).isoformat(),
            "Nats-Msg-Id": f"{name}:{delivery.sequence}:{delivery.deliveries}",
        }
        assert self._jetstream is not None
        try:
            await self._jetstream.publish(
                f"dead.{name}",
                delivery.message.data,
                timeout=PUBLISH_TIMEOUT,
                stream=DEAD_LETTERS.name,
                headers=headers,
            )
        except (NatsError, TimeoutError, OSError) as failure:
            self._log.error("fact.not_buried", consumer=name, reason=repr(failure))
            return RETRY_DELAYS[-1]
        DEAD.labels(name).inc()
        self._log.error("fact.dead", consumer=name, subject=delivery.message.subject, exc_info=error)
        return None


def delay_after(error: Exception, delivery: Delivery) -> float | None:
    """Return the seconds after which a failed delivery is tried again, or None when it never should be."""
    if isinstance(error, MalformedFactError):
        return None if delivery.consumer.stream != DEAD_LETTERS.name else RETRY_DELAYS[-1]
    away = isinstance(error, AWAY) or (isinstance(error, ProblemError) and error.code in AWAY_CODES)
    if delivery.consumer.stream == DEAD_LETTERS.name:
        # A dead letter that cannot be stored is never buried again: it waits for its reader.
        return RETRY_DELAYS[min(delivery.deliveries, len(RETRY_DELAYS)) - 1]
    if delivery.deliveries > (AWAY_DELIVERIES if away else len(RETRY_DELAYS)):
        return None
    return RETRY_DELAYS[min(delivery.deliveries, len(RETRY_DELAYS)) - 1]


def one_line(error: Exception) -> str:
    """Return an error as a header's value: no line breaks, not endless."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:LONGEST_ERROR]


class _Layers(BaseMiddleware[Any, Any]):
    """FastStream's shape of a middleware around some functions, which share one look at the message."""

    def __init__(
        self,
        msg: Any,
        /,
        *,
        context: Any,
        find: Callable[[Msg], Delivery],
        around: Sequence[Callable[[Handle, Delivery], Awaitable[Any]]],
    ) -> None:
        super().__init__(msg, context=context)
        self._find = find
        self._around = around

    async def consume_scope(
        self, call_next: Callable[[StreamMessage[Any]], Awaitable[Any]], msg: StreamMessage[Any]
    ) -> Any:
        """Do the functions' work around the rest."""
        delivery = self._find(msg.raw_message)
        handle: Handle = partial(call_next, msg)
        for layer in reversed(self._around):
            handle = partial(layer, handle, delivery)
        return await handle()


async def _undecoded(message: StreamMessage[Msg]) -> StreamMessage[Msg]:
    """Keep FastStream from decoding: an error there would end the message before any middleware sees it."""
    return message


def span_of(delivery: Delivery) -> tuple[str, dict[str, str | int]] | None:
    """Return name and attributes of the span of a delivery; None where its trace is not kept."""
    parent = telemetry.parse_traceparent(delivery.headers.get("traceparent"))
    if parent is None or not parent.trace_flags.sampled or not delivery.consumer.traced:
        return None
    return f"{delivery.consumer.name} process", {
        "messaging.system": "nats",
        "messaging.operation.type": "process",
        "messaging.consumer.group.name": delivery.consumer.name,
        "messaging.destination.name": delivery.consumer.stream,
        "messaging.message.id": delivery.headers.get("ce-id", ""),
        "datalabs.deliveries": delivery.deliveries,
    }


async def traced(handle: Handle, delivery: Delivery) -> Any:
    """Go on in the trace of the fact's cause; a span only where that trace is kept."""
    said = span_of(delivery)
    with telemetry.continued(delivery.headers):
        if said is None:
            return await handle()
        with telemetry.span(said[0], kind=SpanKind.CONSUMER, attributes=said[1]):
            return await handle()


async def _measured(handle: Handle, delivery: Delivery) -> Any:
    began, result = perf_counter(), "ok"
    try:
        return await handle()
    except BaseException:
        result = "failed"
        raise
    finally:
        HANDLED.labels(delivery.consumer.name, result).observe(perf_counter() - began)


async def _logged(handle: Handle, delivery: Delivery) -> Any:
    headers = delivery.headers
    with structlog.contextvars.bound_contextvars(
        consumer=delivery.consumer.name,
        subject=delivery.message.subject,
        event_id=headers.get("ce-id", ""),
        deliveries=delivery.deliveries,
    ):
        return await handle()


@contextlib.contextmanager
def kept_alive(consumer: Consumer, held: Callable[[], Sequence[Msg]]) -> Iterator[None]:
    """Tell the server every third of `ack_wait` that what is held is being worked on."""
    loop = asyncio.get_running_loop()
    every = consumer.ack_wait.total_seconds() / 3
    tasks: set[asyncio.Task[None]] = set()
    timers: list[asyncio.TimerHandle] = []

    def remind() -> None:
        tasks.add(loop.create_task(_say_in_progress(held())))
        timers[:] = [loop.call_later(every, remind)]

    timers.append(loop.call_later(every, remind))
    try:
        yield
    finally:
        timers[0].cancel()
        for task in tasks:
            task.cancel()


async def _say_in_progress(messages: Sequence[Msg]) -> None:
    with contextlib.suppress(NatsError, OSError):
        for message in messages:
            await message.in_progress()
