"""Pulls of durable consumers: many facts for one request, and patience with a server that refuses.

nats-py 2.16 asks for each message by itself, or waits until a batch is full or its time is over: a request to the server,
and a wake-up on both sides, for every fact of a rush. Here one request stands until so many facts came, each handed over
as soon as it is there.
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from datalabs_contracts.streams import Consumer

REST = 0.5
"""Seconds between pulls that the server refuses."""
LATE = 1.0
"""Seconds after a request's end in which the server should have said that it is over."""
STOP = 2.0
"""Seconds for what is on its way when the pull ends."""
STATUS_CONTROL = "100"
ENDED = frozenset({"404", "408"})
"""Statuses of a request that found nothing in its time; all others are refusals."""


class PatientPull:
    """One request for facts of a durable consumer that stands until it is answered in full, or its time is over.

    It stands in the place of nats-py's subscription in FastStream's pull loop, too: FastStream 0.7.8 asks again at once
    when the server refuses a pull (a consumer is gone, JetStream is still starting), thousands of times a second. And a
    request dies unseen with the server or its consumer (nats-py 2.16 waits on after "409 Consumer Deleted"): it is given
    up, so that the next one begins at once.
    """

    def __init__(
        self,
        client: Client,
        consumer: Consumer,
        refused: Callable[[], Awaitable[None]],
        most: int,
        *,
        instead_of: Any = None,
    ) -> None:
        """Pull for a consumer, at most so many facts ahead; `refused` is awaited when the server says no.

        `instead_of` is the subscription whose place this takes; it ends with it.
        """
        self._client = client
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{consumer.stream}.{consumer.name}"
        self._instead_of = instead_of
        self._refused = refused
        self._most = min(most, consumer.max_ack_pending)
        self._inbox = client.new_inbox()
        self._request = 0
        self._subscription: Subscription | None = None
        self._ready: list[Msg] = []
        self._owed = 0
        self._until = 0.0
        self._refusal = False
        self._news = asyncio.Event()

    @property
    def ready(self) -> Sequence[Msg]:
        """What came and was not taken yet."""
        return self._ready

    def renew(self) -> None:
        """Give up the request that stands."""
        self._owed = 0
        self._news.set()

    async def arrival(self, seconds: float) -> None:
        """Return when something is there; also when nothing came in this time, or the pull was refused."""
        try:
            if self._subscription is None:
                self._subscription = await self._client.subscribe(f"{self._inbox}.*", cb=self._receive)
            while not self._ready:
                self._news.clear()
                if self._refusal:
                    self._refusal = False
                    await self._refused()
                    await asyncio.sleep(REST)
                    return
                if self._owed <= 0:
                    await self._ask(seconds)
                async with asyncio.timeout_at(self._until + LATE):
                    await self._news.wait()
        except TimeoutError:
            self._owed = 0
        except NatsError:
            self._owed = 0
            await asyncio.sleep(REST)

    async def company(self, until: float) -> None:
        """Return at this time of the loop's clock, or when the request that stands brings no more."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                while self._owed > 0:
                    self._news.clear()
                    await self._news.wait()

    def take(self) -> list[Msg]:
        """Hand over what is there."""
        messages, self._ready = self._ready, []
        return messages

    async def fetch(self, batch: int = 1, timeout: float = 20.0) -> list[Msg]:  # noqa: ARG002, ASYNC109 - nats-py's
        """Return what is there, or came first within these seconds; none when the pull was refused or is over."""
        await self.arrival(timeout)
        return self.take()

    async def unsubscribe(self) -> None:
        """End; what was not handed over is given back."""
        with contextlib.suppress(NatsError, OSError, TimeoutError):
            if self._instead_of is not None:
                await self._instead_of.unsubscribe()
            if self._subscription is not None:
                async with asyncio.timeout(STOP):
                    await self._subscription.drain()  # type: ignore[no-untyped-call]
            for message in self.take():
                await message.nak()

    @property
    def _reply(self) -> str:
        return f"{self._inbox}.{self._request}"

    async def _ask(self, seconds: float) -> None:
        self._request += 1
        self._owed = self._most
        self._until = asyncio.get_running_loop().time() + seconds
        request = {"batch": self._most, "expires": int(seconds * 1e9)}
        await self._client.publish(self._subject, json.dumps(request).encode(), self._reply)

    async def _receive(self, message: Msg) -> None:
        status = (message.headers or {}).get("Status") if not message.data else None
        if status is None:
            self._ready.append(message)
            self._owed -= 1
        elif message.subject != self._reply:
            return  # of a request that was given up
        elif status in ENDED:
            self._owed = 0
        elif status != STATUS_CONTROL:
            self._owed = 0
            self._refusal = True
        self._news.set()
