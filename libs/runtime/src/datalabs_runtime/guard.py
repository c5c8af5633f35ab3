"""Durable consumers that somebody deleted are noticed and made again."""

import asyncio
from collections.abc import Callable

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError
from prometheus_client import Counter, Gauge

from datalabs_contracts.streams import Consumer
from datalabs_runtime.permissions import DELETED_ADVISORY, STREAM_DELETED_ADVISORY
from datalabs_runtime.topology import consumer_config

REMADE = Counter(
    "datalabs_consumers_remade_total", "Consumers that were missing and made again.", ["consumer"]
)
PENDING = Gauge("datalabs_facts_pending", "Facts that wait for a consumer.", ["consumer"])
LOOKED_LATELY = 30.0
"""Seconds for which a look counts; the server tells of a deletion, and a reconnection is a reason to look again."""


class ConsumerGuard:
    """Watches over the durable consumers of one service."""

    def __init__(
        self, consumers: list[Consumer], jetstream: JetStreamContext, remade: Callable[[], None]
    ) -> None:
        self._consumers = consumers
        self._remade = remade
        self._jetstream = jetstream
        self._missing: dict[str, str] = {}
        self._looked: float | None = None
        self._lock = asyncio.Lock()
        self._log = structlog.get_logger(__name__)

    async def watch(self, client: Client) -> None:
        """Hear at once when the server deletes one, or a whole stream."""
        for stream in {consumer.stream for consumer in self._consumers}:
            await client.subscribe(f"{STREAM_DELETED_ADVISORY}.{stream}", cb=self._deleted)
        for consumer in self._consumers:
            await client.subscribe(f"{DELETED_ADVISORY}.{consumer.stream}.{consumer.name}", cb=self._deleted)

    async def ensure(self) -> None:
        """Make what is missing; remember what could not be made."""
        async with self._lock:
            for consumer in self._consumers:
                try:
                    await self._ensure(consumer)
                    self._missing.pop(consumer.name, None)
                except (NatsError, TimeoutError, OSError) as error:
                    self._missing[consumer.name] = type(error).__name__
            self._looked = None if self._missing else asyncio.get_running_loop().time()

    def doubt(self) -> None:
        """Look again at the next opportunity: the connection was lost, the server may have been another one."""
        self._looked = None

    async def look(self) -> None:
        """As `ensure`, unless all were there a short while ago."""
        if self._looked is None or asyncio.get_running_loop().time() - self._looked >= LOOKED_LATELY:
            await self.ensure()

    async def check(self) -> str | None:
        """For readiness: None when every consumer is there; one that is missing is made again."""
        await self.look()
        if not self._missing:
            return None
        return "; ".join(f"consumer {name}: {why}" for name, why in sorted(self._missing.items()))

    async def _ensure(self, consumer: Consumer) -> None:
        try:
            info = await self._jetstream.consumer_info(consumer.stream, consumer.name)
        except NotFoundError:
            await self._jetstream.add_consumer(consumer.stream, consumer_config(consumer))
            REMADE.labels(consumer.name).inc()
            self._remade()
            self._log.warning("consumer.made", consumer=consumer.name, stream=consumer.stream)
        else:
            PENDING.labels(consumer.name).set((info.num_pending or 0) + (info.num_ack_pending or 0))

    async def _deleted(self, _advisory: Msg) -> None:
        await self.ensure()
