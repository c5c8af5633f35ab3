"""The outbox: an event is written in the transaction of its cause; the relay publishes it afterwards."""

import asyncio
from typing import Any

from datalabs_contracts.base import Contract
from datalabs_contracts.events import EventType
from sqlalchemy.ext.asyncio import AsyncSession

from datalabs_runtime.clock import Clock
from datalabs_runtime.database import Database
from datalabs_runtime.messaging import Messaging
from datalabs_runtime.tables import ServiceBase


class Outbox:
    """Writes events of one service."""

    def __init__(self, base: type[ServiceBase], source: str, *, clock: Clock | None = None) -> None:
        self._base = base

    def add(
        self, session: AsyncSession, event: EventType, entity_id: str, data: Contract, *, revision: int
    ) -> str:
        """Write an event in the session's transaction and return its id; the commit wakes the relay.

        The trace and the correlation of the caller travel with it.
        """
        raise NotImplementedError


class OutboxRelay:
    """Publishes what is in the outbox, in order, under a lease; a part of the service."""

    name = "outbox-relay"

    def __init__(
        self,
        database: Database,
        base: type[ServiceBase],
        messaging: Messaging,
        *,
        clock: Clock | None = None,
    ) -> None:
        self.wake = asyncio.Event()

    async def start(self) -> None:
        """Begin in the background."""

    async def aclose(self) -> None:
        """End."""


_unused: Any = None
