"""Facts in order for readers that keep them in memory: an ephemeral JetStream consumer that is renewed as needed."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Sequence

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from prometheus_client import Counter

from datalabs_contracts.streams import EVENTS
from datalabs_runtime.facts import Handler, MalformedFactError, read_fact

HEARTBEAT = 5.0
"""Seconds after which the server says that it has nothing to say."""
SILENCE = 2.5 * HEARTBEAT
"""Seconds without a sign after which the consumer is taken for dead."""
PAUSE = 0.25
"""Seconds between attempts to make the consumer."""
STATUS_CONTROL = "100"
ACK_TOKENS = 9
"""`$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>`"""

RENEWED = Counter("datalabs_follow_renewed_total", "Ordered consumers that were made anew.")
GAPS = Counter("datalabs_follow_resets_total", "Times at which facts may have been missed.")

Reset = Callable[[], Awaitable[None]]


class Follower:
    """Reads some subjects in order and without gaps, or says that there was one."""

    def __init__(
        self, subjects: Sequence[str], handler: Handler, *, from_now: bool, on_reset: Reset | None
    ) -> None:
        self._subjects = list(subjects)
        self._handler = handler
        self._from_now = from_now
        self._on_reset = on_reset
        self._queue: asyncio.Queue[Msg | None] = asyncio.Queue()
        self._client: Client | None = None
        self._jetstream: JetStreamContext | None = None
        self._subscription: Subscription | None = None
        self._task: asyncio.Task[None] | None = None
        self._last = 0
        self._expected = 1
        self._log = structlog.get_logger(__name__)

    async def start(self, client: Client, jetstream: JetStreamContext) -> None:
        """Begin; when this returns nothing that is published from now on is missed."""
        self._client, self._jetstream = client, jetstream
        state = (await jetstream.stream_info(EVENTS.name)).state
        self._last = state.last_seq if self._from_now else 0
        await self._subscribe()
        self._task = asyncio.create_task(self._run(), name="follower")

    async def aclose(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        await self._unsubscribe()

    def renew(self) -> None:
        """Make the consumer anew, after a reconnection: the server may have forgotten it."""
        self._queue.put_nowait(None)

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(SILENCE):
                    message = await self._queue.get()
            except TimeoutError:
                message = None
            if message is None or not await self._take(message):
                await self._renew()

    async def _take(self, message: Msg) -> bool:
        """Handle one message; False when it shows that something is missing."""
        headers = message.headers or {}
        if headers.get("Status") == STATUS_CONTROL:
            if message.reply:  # flow control: the server waits for this
                await self._reply(message.reply)
            elif stalled := headers.get("Nats-Consumer-Stalled"):
                await self._reply(stalled)
            last = headers.get("Nats-Last-Consumer")
            return last is None or int(last) < self._expected
        tokens = message.reply.split(".")
        if len(tokens) < ACK_TOKENS:
            return True
        stream_sequence, consumer_sequence = int(tokens[-4]), int(tokens[-3])
        if consumer_sequence < self._expected:
            return True
        if consumer_sequence != self._expected:
            return False
        self._expected += 1
        self._last = stream_sequence
        try:
            await self._handler(
                read_fact(message.subject, message.headers, message.data, sequence=stream_sequence)
            )
        except MalformedFactError as error:
            self._log.warning("follow.malformed", subject=message.subject, reason=str(error))
        except Exception:  # noqa: BLE001 - reported; the work goes on
            self._log.exception("follow.handler_failed", subject=message.subject)
        return True

    async def _reply(self, subject: str) -> None:
        if self._client is not None:
            with contextlib.suppress(NatsError, OSError):
                await self._client.publish(subject)

    async def _renew(self) -> None:
        """Make the consumer again after the last fact that was read; tell the reader if some are gone."""
        RENEWED.inc()
        assert self._jetstream is not None
        while True:
            try:
                await self._unsubscribe()
                self._queue = asyncio.Queue()
                state = (await self._jetstream.stream_info(EVENTS.name)).state
                lost = state.last_seq < self._last or state.first_seq > self._last + 1
                if lost:
                    self._last = state.last_seq
                await self._subscribe()
            except (NatsError, TimeoutError, OSError, json.JSONDecodeError) as error:
                self._log.info("follow.waiting", reason=type(error).__name__)
                await asyncio.sleep(PAUSE)
            else:
                break
        if lost:
            GAPS.inc()
            self._log.warning("follow.reset", sequence=self._last)
            await self._reset()

    async def _reset(self) -> None:
        if self._on_reset is None:
            return
        try:
            await self._on_reset()
        except Exception:  # noqa: BLE001 - reported; the work goes on
            self._log.exception("follow.reset_failed")

    async def _subscribe(self) -> None:
        assert self._client is not None
        assert self._jetstream is not None
        inbox = self._client.new_inbox()
        queue = self._queue

        async def put(message: Msg) -> None:
            queue.put_nowait(message)

        self._subscription = await self._client.subscribe(inbox, cb=put)
        self._expected = 1
        await self._jetstream.add_consumer(
            EVENTS.name,
            ConsumerConfig(
                deliver_subject=inbox,
                deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=self._last + 1,
                ack_policy=AckPolicy.NONE,
                filter_subjects=self._subjects,
                idle_heartbeat=HEARTBEAT,
                flow_control=True,
                max_deliver=1,
                mem_storage=True,
                num_replicas=1,
            ),
        )

    async def _unsubscribe(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            with contextlib.suppress(NatsError, OSError):
                await subscription.unsubscribe()
