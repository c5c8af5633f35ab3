"""The inbox: an event's effect happens once, because its id is written in the transaction of the effect."""

from datetime import datetime
from typing import Any

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from datalabs_runtime.tables import ServiceBase


class Inbox:
    """The inbox table of a service."""

    def __init__(self, base: type[ServiceBase]) -> None:
        self._table: Any = base.Inbox.__table__

    async def first_time(self, session: AsyncSession, event_id: str, consumer: str) -> bool:
        """Whether this consumer sees the event for the first time; call it in the transaction of the effect.

        Of two transactions that ask at once one waits for the other, and gets False when that one commits.
        """
        statement = (
            insert(self._table)
            .values(event_id=event_id, consumer=consumer)
            .on_conflict_do_nothing()
            .returning(self._table.c.event_id)
        )
        return (await session.execute(statement)).first() is not None

    async def prune(self, session: AsyncSession, before: datetime) -> None:
        """Forget what was handled before that moment."""
        await session.execute(delete(self._table).where(self._table.c.handled_at < before))
