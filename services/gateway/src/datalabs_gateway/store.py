"""The gateway's SQL."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TypeVar

import stamina
from sqlalchemy import delete, exc, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from datalabs_gateway.models import Claim, ClaimState, EntryCode, LabSession
from datalabs_gateway.tables import EntryCodeRow, LabSessionRow, RememberedRow
from datalabs_runtime.database import Database, has_no_room, without_database

T = TypeVar("T")
Work = Callable[[AsyncSession], Awaitable[T]]

AWAY = (exc.OperationalError, exc.InterfaceError, exc.TimeoutError, OSError)
PATIENCE = 4.0
"""Seconds for a database that starts again, which takes one or two; the edge waits five for an answer."""


class Store:
    """Entries to labs and remembered requests.

    Every piece of work can be repeated: rows have their keys from outside. While the database is away, work waits a
    little and then raises ProblemError `service_unavailable`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_code(self, code: EntryCode) -> None:
        """Keep a one-time code."""
        row = insert(EntryCodeRow).values(**asdict(code)).on_conflict_do_nothing()
        await self._do_one(lambda session: session.execute(row))

    async def use_code(self, code_sha256: str, lab_id: str, now: datetime) -> EntryCode | None:
        """Take a code out, at most once however many ask; None when it is unknown, used, too old or another lab's."""
        taken = (
            delete(EntryCodeRow)
            .where(
                EntryCodeRow.code_sha256 == code_sha256,
                EntryCodeRow.lab_id == lab_id,
                EntryCodeRow.expires_at > now,
            )
            .returning(EntryCodeRow)
        )
        row = await self._do_one(lambda session: session.scalar(taken))
        if row is None:
            return None
        return EntryCode(
            code_sha256=row.code_sha256,
            lab_id=row.lab_id,
            username=row.username,
            session_id=row.session_id,
            session_sha256=row.session_sha256,
            expires_at=row.expires_at,
        )

    async def add_lab_session(self, entry: LabSession, now: datetime) -> None:
        """Keep a browser's entry to a lab."""
        row = insert(LabSessionRow).values(**asdict(entry), created_at=now).on_conflict_do_nothing()
        await self._do_one(lambda session: session.execute(row))

    async def lab_session(self, secret_sha256: str, now: datetime) -> LabSession | None:
        """Return an entry that has not run out."""
        wanted = select(LabSessionRow).where(
            LabSessionRow.secret_sha256 == secret_sha256, LabSessionRow.expires_at > now
        )
        row = await self._do_one(lambda session: session.scalar(wanted))
        if row is None:
            return None
        return LabSession(
            secret_sha256=row.secret_sha256,
            lab_id=row.lab_id,
            username=row.username,
            session_id=row.session_id,
            session_sha256=row.session_sha256,
            expires_at=row.expires_at,
        )

    async def forget_session(self, session_id: str) -> None:
        """Remove every entry and code that a platform session made."""

        async def forget(session: AsyncSession) -> None:
            await session.execute(delete(LabSessionRow).where(LabSessionRow.session_id == session_id))
            await session.execute(delete(EntryCodeRow).where(EntryCodeRow.session_id == session_id))

        await self._do(forget)

    async def claim(
        self, key_sha256: str, body_sha256: str, *, now: datetime, kept: timedelta, abandoned: timedelta
    ) -> Claim:
        """Take a key for a request, or say what stands in its way; one statement decides between racing requests."""
        take = (
            insert(RememberedRow)
            .values(key_sha256=key_sha256, body_sha256=body_sha256, created_at=now)
            .on_conflict_do_update(
                index_elements=[RememberedRow.key_sha256],
                set_={"created_at": now, "body_sha256": body_sha256, "reply": None},
                where=(RememberedRow.created_at < now - kept)
                | (
                    RememberedRow.reply.is_(None)
                    & (RememberedRow.created_at < now - abandoned)
                    & (RememberedRow.body_sha256 == body_sha256)
                ),
            )
            .returning(RememberedRow.key_sha256)
        )

        async def decide(session: AsyncSession) -> Claim:
            if await session.scalar(take) is not None:
                return Claim(state=ClaimState.NEW)
            row = await session.scalar(select(RememberedRow).where(RememberedRow.key_sha256 == key_sha256))
            # No row: released between the two statements, its holder has failed just now.
            return _claim_on(row, body_sha256) if row is not None else Claim(state=ClaimState.UNDER_WAY)

        return await self._do(decide)

    async def finish(self, key_sha256: str, reply: str) -> None:
        """Keep the answer of a claimed request."""
        kept = update(RememberedRow).where(RememberedRow.key_sha256 == key_sha256).values(reply=reply)
        await self._do_one(lambda session: session.execute(kept))

    async def release(self, key_sha256: str) -> None:
        """Give a key back whose request was refused: a repeat may succeed."""
        gone = delete(RememberedRow).where(
            RememberedRow.key_sha256 == key_sha256, RememberedRow.reply.is_(None)
        )
        await self._do_one(lambda session: session.execute(gone))

    async def prune(self, now: datetime, kept: timedelta) -> None:
        """Remove what has run out."""

        async def prune(session: AsyncSession) -> None:
            await session.execute(delete(EntryCodeRow).where(EntryCodeRow.expires_at <= now))
            await session.execute(delete(LabSessionRow).where(LabSessionRow.expires_at <= now))
            await session.execute(delete(RememberedRow).where(RememberedRow.created_at < now - kept))

        await self._do(prune)

    async def _do(self, work: Work[T]) -> T:
        """Do a piece of work in a transaction."""
        return await self._insist(self._database.transaction, work)

    async def _do_one(self, work: Work[T]) -> T:
        """Do one statement: a transaction by itself, which saves the round trips of its begin and its end."""
        return await self._insist(self._database.reading, work)

    @staticmethod
    async def _insist(sessions: Callable[[], AbstractAsyncContextManager[AsyncSession]], work: Work[T]) -> T:
        """Do a piece of work, again while the database is away."""
        try:
            async for attempt in stamina.retry_context(
                on=_passes, attempts=None, timeout=PATIENCE, wait_initial=0.05, wait_max=0.5, wait_jitter=0.05
            ):
                with attempt:
                    async with sessions() as session:
                        return await work(session)
        except AWAY as error:
            raise without_database("gateway", error) from error
        raise AssertionError("a retry ends with a result or an error")


def _passes(error: Exception) -> bool:
    return isinstance(error, AWAY) and not has_no_room(error)


def _claim_on(row: RememberedRow, body_sha256: str) -> Claim:
    if row.body_sha256 != body_sha256:
        return Claim(state=ClaimState.MISMATCH)
    if row.reply is None:
        return Claim(state=ClaimState.UNDER_WAY)
    return Claim(state=ClaimState.DONE, reply=row.reply)
