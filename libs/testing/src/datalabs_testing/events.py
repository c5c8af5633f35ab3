"""Events in tests: recorded as they are published, made by hand, delivered doubled and shuffled."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from datalabs_contracts.base import Contract
from datalabs_contracts.events import EventType
from datalabs_runtime.facts import Event, headers_of, new_event_id, read_fact
from datalabs_runtime.permissions import SUBSCRIBER, inbox_of
from datalabs_testing.servers import RunningNats


class EventRecorder:
    """Remembers every event that was published since it was started."""

    def __init__(self) -> None:
        self.seen: list[Event] = []
        self._client: Client | None = None
        self._news = asyncio.Condition()

    async def start(self, running: RunningNats) -> None:
        """Begin to listen, as the read-only subscriber."""
        self._client = await nats.connect(
            running.url,
            user=SUBSCRIBER,
            password=running.passwords[SUBSCRIBER],
            inbox_prefix=inbox_of(SUBSCRIBER).encode(),
        )
        await self._client.subscribe("events.>", cb=self._record)
        await self._client.flush()

    async def aclose(self) -> None:
        """Stop listening."""
        if self._client is not None:
            await self._client.close()

    def of(self, entity: str, entity_id: str | None = None) -> list[Event]:
        """Return the events of an entity, or of all of its kind, in the order of publication."""
        return [
            event
            for event in self.seen
            if event.entity == entity and (entity_id is None or event.entity_id == entity_id)
        ]

    def facts(self, entity: str, entity_id: str | None = None) -> list[str]:
        """Return only the facts' words."""
        return [event.fact for event in self.of(entity, entity_id)]

    async def wait(self, entity: str, entity_id: str | None, fact: str, *, seconds: float = 5.0) -> Event:
        """Return the first such event, now or within some seconds.

        Raises `AssertionError` with what came instead.
        """
        try:
            async with asyncio.timeout(seconds), self._news:
                while True:
                    for event in self.of(entity, entity_id):
                        if event.fact == fact:
                            return event
                    await self._news.wait()
        except TimeoutError:
            came = [event.subject for event in self.seen]
            raise AssertionError(f"no {entity} {entity_id} {fact} in {seconds} s; came: {came}") from None

    async def _record(self, message: Msg) -> None:
        self.seen.append(read_fact(message.subject, message.headers, message.data, lenient=True))
        async with self._news:
            self._news.notify_all()


def make_event(
    event: EventType,
    entity_id: str,
    data: Contract,
    *,
    source: str = "test",
    moment: datetime | None = None,
    event_id: str | None = None,
    sequence: int = 1,
) -> Event:
    """Return an event as a handler would get it, for tests without a server."""
    headers = headers_of(
        event_id=event_id or new_event_id(),
        event=event,
        entity_id=entity_id,
        source=source,
        moment=moment or datetime.now(UTC),
    )
    body = data.model_dump_json().encode()
    return read_fact(event.subject(entity_id), headers, body, sequence=sequence)


async def deliver_doubled_and_shuffled(
    events: Sequence[Event], handler: Callable[[Event], Awaitable[None]], *, seed: int = 1
) -> None:
    """Hand every event to the handler twice, in an order that the seed decides.

    A handler that is insensitive to order and repetition ends in the same state for every seed.
    """
    doubled = [*events, *events]
    random.Random(seed).shuffle(doubled)  # noqa: S311 - reproducible on purpose
    for event in doubled:
        await handler(event)
