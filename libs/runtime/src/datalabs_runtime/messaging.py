"""NATS for a service: requests served and made, facts consumed and followed, all on one connection."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import structlog
from faststream.nats import NatsBroker
from faststream.nats.security import NatsUserPassword
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from prometheus_client import Counter, Gauge

from datalabs_contracts.base import Contract
from datalabs_contracts.problems import Problem, ProblemCode, ProblemError
from datalabs_contracts.rpc import HEADER_PROBLEM, Operation
from datalabs_contracts.streams import Consumer
from datalabs_runtime.batches import GATHER, MOST, BatchHandler, BatchReader
from datalabs_runtime.clock import Clock
from datalabs_runtime.consuming import (
    HEADER_DEAD_CONSUMER,
    HEADER_DEAD_SUBJECT,
    WORKERS,
    Intake,
    one_line,
)
from datalabs_runtime.facts import Event, Handler
from datalabs_runtime.following import Follower
from datalabs_runtime.guard import ConsumerGuard
from datalabs_runtime.health import Health
from datalabs_runtime.identity import Signer, Verifier
from datalabs_runtime.permissions import inbox_of, replay_subject
from datalabs_runtime.pulling import PatientPull
from datalabs_runtime.rpc import RpcClient
from datalabs_runtime.rpc_server import Call, RpcServer
from datalabs_runtime.service import Loop
from datalabs_runtime.settings import NatsSettings

__all__ = ["Call", "Event", "Handler", "Messaging"]

RequestT = TypeVar("RequestT", bound=Contract)
ReplyT = TypeVar("ReplyT", bound=Contract)

RECONNECT_PAUSE = 0.25
"""Seconds between attempts to reconnect; a restarted server answers within 20 ms."""
GRACE = 5.0
"""Seconds for running handlers when the service stops."""
GUARD_EVERY = 30.0
"""Seconds between looks at the consumers; the server's advisories tell of a deletion at once."""
REPLAY_TIMEOUT = 30.0
PENDING_BYTES = 8 * 1024**2
"""Bytes that may wait for a lost connection."""

ERRORS = Counter("datalabs_nats_errors_total", "Errors that the NATS server reported.")
CONNECTED = Gauge("datalabs_nats_connected", "Whether the connection stands.")


class Messaging:
    """The one connection of a service to NATS; a part: declare everything, then start."""

    name = "messaging"

    def __init__(
        self,
        service: str,
        settings: NatsSettings,
        *,
        signer: Signer,
        verifier: Verifier,
        health: Health | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.service = service
        self.signer = signer
        self.verifier = verifier
        self.rpc = RpcClient(signer, lambda: self.client)
        self._settings = settings
        self._server = RpcServer(service=service, verifier=verifier)
        self._intake = Intake(service)
        self._consumed: list[tuple[Consumer, Handler, int]] = []
        self._readers: list[BatchReader] = []
        self._followers: list[Follower] = []
        self._core: list[tuple[str, Callable[[str, bytes], Awaitable[None]]]] = []
        self._pulls: list[PatientPull] = []
        self._broker: NatsBroker | None = None
        self._client: Client | None = None
        self._guard: ConsumerGuard | None = None
        self._guarding: Loop | None = None
        self._clock = clock
        self._closing = False
        self._log = structlog.get_logger(__name__)
        if health is not None:
            health.add("nats", self.check)

    @property
    def client(self) -> Client:
        """The connection itself, for what this class does not offer."""
        if self._client is None:
            raise RuntimeError("messaging is not started")
        return self._client

    @property
    def jetstream(self) -> JetStreamContext:
        """JetStream on that connection."""
        return self.client.jetstream()

    def serve(
        self,
        operation: Operation[RequestT, ReplyT],
        handler: Callable[[RequestT, Call], Awaitable[ReplyT]],
        *,
        workers: int = 16,
    ) -> None:
        """Answer an operation, at most `workers` requests at once; a `ProblemError` becomes a problem reply."""
        self._server.serve(operation, handler, workers)

    def consume(self, consumer: Consumer, handler: Handler, *, workers: int = WORKERS) -> None:
        """Handle a durable consumer's facts, so many at once: retried with delays, then dead-lettered.

        A type that this release does not know is acknowledged and counted; a consumer of a whole stream (its
        subjects end in `>`) gets it, too, with `type` None.
        """
        self._consumed.append((consumer, handler, workers))

    def consume_batches(
        self,
        consumer: Consumer,
        handler: BatchHandler,
        *,
        most: int = MOST,
        gather: float = GATHER,
        parsed: bool = False,
    ) -> None:
        """Handle a durable consumer's facts many at once, by the same rules; batches begin `gather` seconds apart.

        Only with `parsed` do the facts have their data, else `raw` has it.
        """
        self._readers.append(
            BatchReader(consumer, handler, self._intake, most=most, gather=gather, parsed=parsed)
        )

    def follow(
        self,
        subjects: Sequence[str],
        handler: Handler,
        *,
        from_now: bool = True,
        on_reset: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Read facts in order into memory; `on_reset` is awaited when some may have been missed.

        After `start` nothing new is missed: fetch the snapshot then, and drop what its revisions cover.
        """
        self._followers.append(Follower(subjects, handler, from_now=from_now, on_reset=on_reset))

    def subscribe_core(self, subject: str, handler: Callable[[str, bytes], Awaitable[None]]) -> None:
        """Receive messages that are not stored (subject, payload)."""
        self._core.append((subject, handler))

    async def publish_core(self, subject: str, payload: bytes) -> None:
        """Send a message that is not stored."""
        await self.client.publish(subject, payload)

    async def replay(self, headers: Mapping[str, str], body: bytes) -> None:
        """Give a dead letter, with its headers, back to the consumer that gave up on it (observer only).

        Raises `ProblemError`: `conflict` with the error's text when the handler fails again,
        `service_unavailable` when its service is away.
        """
        consumer = headers.get(HEADER_DEAD_CONSUMER, "")
        subject = replay_subject(consumer.partition("-")[0])
        try:
            reply = await self.client.request(subject, body, timeout=REPLAY_TIMEOUT, headers=dict(headers))
        except NatsError as error:
            raise ProblemError(ProblemCode.SERVICE_UNAVAILABLE, f"{consumer} is away") from error
        if reply.headers and HEADER_PROBLEM in reply.headers:
            raise ProblemError.from_document(Problem.model_validate_json(reply.data))

    async def check(self) -> str | None:
        """For readiness: None when connected and all durable consumers are there."""
        if self._client is None or not self._client.is_connected:
            return "NATS is away"
        return await self._guard.check() if self._guard is not None else None

    async def start(self) -> None:
        """Connect and begin everything that was declared.

        Raises `TimeoutError` when no server answers in time.
        """
        broker = self._make_broker()
        subscribers = [self._intake.consume(broker, *declared) for declared in self._consumed]
        try:
            async with asyncio.timeout(self._settings.connect_timeout):
                self._client = await broker.connect()
                CONNECTED.set(1)
                self._broker = broker
                self._intake.start(self.jetstream)
                await self._start_consuming(broker, subscribers)
        except TimeoutError:
            raise TimeoutError(f"no NATS server at {', '.join(self._settings.servers)} answered") from None
        for follower in self._followers:
            await follower.start(self._client, self.jetstream)
        for subject, handler in self._core:
            await self._client.subscribe(subject, cb=_core(handler, self._log))
        await self._server.start(self._client)
        await self._client.flush()  # from here on the server knows what we listen to

    async def aclose(self) -> None:
        """Stop taking work, let running handlers end, disconnect."""
        if self._client is None:
            return
        self._closing = True
        await self._server.aclose()
        if self._guarding is not None:
            await self._guarding.aclose()
        for reader in self._readers:
            await reader.aclose()
        for follower in self._followers:
            await follower.aclose()
        if self._broker is not None:
            with contextlib.suppress(NatsError, TimeoutError):
                await self._broker.stop()
        if not self._client.is_closed:
            await self._client.close()
        self._client = self._broker = None
        CONNECTED.set(0)

    def _make_broker(self) -> NatsBroker:
        user, password = self._settings.credentials(self.service)
        return NatsBroker(
            list(self._settings.servers),
            name=f"datalabs-{self.service}",
            security=NatsUserPassword(user, password),
            inbox_prefix=inbox_of(user),
            max_reconnect_attempts=-1,
            reconnect_time_wait=RECONNECT_PAUSE,  # type: ignore[arg-type]  # nats-py sleeps it, fractions are fine
            connect_timeout=2,
            pending_size=PENDING_BYTES,
            error_cb=self._on_error,
            disconnected_cb=self._on_disconnected,
            reconnected_cb=self._on_reconnected,
            middlewares=self._intake.middlewares(),
            graceful_timeout=GRACE,
            apply_types=False,
            logger=None,
        )

    async def _start_consuming(self, broker: NatsBroker, subscribers: list[Any]) -> None:
        if not subscribers and not self._readers:
            return
        guard = ConsumerGuard(self._intake.consumers, self.jetstream, self._renew_pulls)
        await guard.watch(self.client)
        await guard.ensure()
        await broker.start()
        for subscriber, (consumer, _, workers) in zip(subscribers, self._consumed, strict=True):
            pull = PatientPull(
                self.client, consumer, guard.ensure, workers, instead_of=subscriber.subscription
            )
            subscriber.subscription = pull
            self._pulls.append(pull)
        for reader in self._readers:
            self._pulls.append(await reader.start(self.client, guard.ensure))
        await self.client.subscribe(replay_subject(self.service), queue=self.service, cb=self._replayed)
        self._guard = guard
        self._guarding = Loop("consumer guard", GUARD_EVERY, guard.look, clock=self._clock, at_once=False)
        await self._guarding.start()

    async def _replayed(self, message: Msg) -> None:
        headers = message.headers or {}
        answer: dict[str, str] | None = None
        body = b""
        try:
            async with asyncio.timeout(REPLAY_TIMEOUT):
                await self._intake.replay(
                    headers.get(HEADER_DEAD_CONSUMER, ""),
                    headers.get(HEADER_DEAD_SUBJECT, ""),
                    headers,
                    message.data,
                )
        except Exception as error:  # noqa: BLE001 - it becomes the answer
            self._log.exception("fact.replay_failed", consumer=headers.get(HEADER_DEAD_CONSUMER))
            problem = ProblemError(ProblemCode.CONFLICT, one_line(error)).document()
            answer, body = {HEADER_PROBLEM: "1"}, problem.model_dump_json().encode()
        await self.client.publish(message.reply, body, headers=answer)

    async def _on_error(self, error: Exception) -> None:
        """Report what the server said; a publication without permission shows nowhere else."""
        ERRORS.inc()
        self._log.error("nats.error", reason=str(error) or type(error).__name__)

    async def _on_disconnected(self) -> None:
        CONNECTED.set(0)
        if not self._closing:
            self._log.warning("nats.disconnected")

    async def _on_reconnected(self) -> None:
        CONNECTED.set(1)
        self._log.info("nats.reconnected")
        if self._guard is not None:
            self._guard.doubt()
        self._renew_pulls()
        for follower in self._followers:
            follower.renew()

    def _renew_pulls(self) -> None:
        for pull in self._pulls:
            pull.renew()


def _core(handler: Callable[[str, bytes], Awaitable[None]], log: Any) -> Callable[[Msg], Awaitable[None]]:
    async def receive(message: Msg) -> None:
        try:
            await handler(message.subject, message.data)
        except Exception:
            log.exception("core.handler_failed", subject=message.subject)

    return receive
