"""The one step that declares streams and durable consumers, from the contracts; safe to repeat."""

import asyncio
from collections.abc import Sequence

import nats
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from datalabs_contracts.streams import CONSUMERS, STREAMS, Consumer, Stream
from datalabs_runtime.permissions import TOPOLOGY, inbox_of

DECLARE_TIMEOUT = 20.0
"""Seconds for the whole step."""


class TopologyError(Exception):
    """Streams or consumers could not be declared."""


def stream_config(stream: Stream, *, replicas: int = 1) -> StreamConfig:
    """Return the JetStream form of a declared stream."""
    return StreamConfig(
        name=stream.name,
        description=stream.summary,
        subjects=list(stream.subjects),
        retention=RetentionPolicy.LIMITS,
        max_age=stream.max_age.total_seconds(),
        max_bytes=stream.max_bytes,
        duplicate_window=stream.duplicates.total_seconds(),
        storage=StorageType.FILE,
        num_replicas=replicas,
        allow_direct=True,
    )


def consumer_config(consumer: Consumer) -> ConsumerConfig:
    """Return the JetStream form of a declared consumer.

    It begins with the oldest stored fact: after a loss of the consumer all is handed over again, and the inbox
    tells what was handled. Deliveries are not bounded here: the retry middleware ends them with a dead letter.
    """
    return ConsumerConfig(
        name=consumer.name,
        durable_name=consumer.name,
        filter_subjects=list(consumer.subjects),
        ack_policy=AckPolicy.EXPLICIT,
        deliver_policy=DeliverPolicy.ALL,
        ack_wait=consumer.ack_wait.total_seconds(),
        max_ack_pending=consumer.max_ack_pending,
        max_deliver=-1,
    )


async def declare(
    servers: Sequence[str],
    *,
    password: str,
    user: str = TOPOLOGY,
    replicas: int = 1,
    streams: Sequence[Stream] = STREAMS,
    consumers: Sequence[Consumer] = CONSUMERS,
    within: float = DECLARE_TIMEOUT,
) -> None:
    """Make or update every stream and consumer; a server that is just starting is waited for.

    Raises `TopologyError`.
    """
    try:
        async with asyncio.timeout(within):
            client = await nats.connect(
                list(servers),
                user=user,
                password=password,
                name="datalabs-topology",
                inbox_prefix=inbox_of(user).encode(),
                allow_reconnect=False,
            )
            try:
                context = client.jetstream()
                for stream in streams:
                    await _upsert_stream(context, stream_config(stream, replicas=replicas))
                for consumer in consumers:
                    await context.add_consumer(consumer.stream, consumer_config(consumer))
            finally:
                await client.close()
    except (NatsError, OSError, TimeoutError) as error:
        raise TopologyError(f"streams and consumers could not be declared: {error!r}") from error


async def _upsert_stream(context: JetStreamContext, config: StreamConfig) -> None:
    try:
        await context.stream_info(str(config.name))
    except NotFoundError:
        await context.add_stream(config)
    else:
        await context.update_stream(config)
