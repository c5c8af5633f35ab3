"""The gateway's SQL."""

from dataclasses import asdict
from datetime import datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert

from datalabs_gateway.models import Claim, ClaimState, EntryCode, LabSession
from datalabs_gateway.tables import EntryCodeRow, LabSessionRow, RememberedRow
from datalabs_runtime.database import Database


class Store:
    """Entries to labs and remembered requests."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_code(self, code: EntryCode) -> None:
        """Keep a one-time code."""
        async with self._database.transaction() as session:
            session.add(EntryCodeRow(**asdict(code)))

    async def use_code(self, code_sha256: str, lab_id: str, now: datetime) -> EntryCode | None:
        """Take a code out, at most once however many ask; None when it is unknown, used, too old or another lab's."""
        async with self._database.transaction() as session:
            row = await session.scalar(
                delete(EntryCodeRow)
                .where(
                    EntryCodeRow.code_sha256 == code_sha256,
                    EntryCodeRow.lab_id == lab_id,
                    EntryCodeRow.expires_at > now,
                )
                .returning(EntryCodeRow)
            )
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
        async with self._database.transaction() as session:
            session.add(LabSessionRow(**asdict(entry), created_at=now))

    async def lab_session(self, secret_sha256: str, now: datetime) -> LabSession | None:
        """Return an entry that has not run out."""
        async with self._database.reading() as session:
            row = await session.scalar(
                select(LabSessionRow).where(
                    LabSessionRow.secret_sha256 == secret_sha256, LabSessionRow.expires_at > now
                )
            )
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
        async with self._database.transaction() as session:
            await session.execute(delete(LabSessionRow).where(LabSessionRow.session_id == session_id))
            await session.execute(delete(EntryCodeRow).where(EntryCodeRow.session_id == session_id))

    async def claim(
        self, key_sha256: str, body_sha256: str, *, now: datetime, kept: timedelta, abandoned: timedelta
    ) -> Claim:
        """Take a key for a request, or say what stands in its way; one statement decides between racing requests."""
        async with self._database.transaction() as session:
            taken = await session.scalar(
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
            if taken is not None:
                return Claim(state=ClaimState.NEW)
            row = await session.scalar(select(RememberedRow).where(RememberedRow.key_sha256 == key_sha256))
        if row is None:  # released between the two statements: its holder failed just now
            return Claim(state=ClaimState.UNDER_WAY)
        if row.body_sha256 != body_sha256:
            return Claim(state=ClaimState.MISMATCH)
        if row.reply is None:
            return Claim(state=ClaimState.UNDER_WAY)
        return Claim(state=ClaimState.DONE, reply=row.reply)

    async def finish(self, key_sha256: str, reply: str) -> None:
        """Keep the answer of a claimed request."""
        async with self._database.transaction() as session:
            await session.execute(
                update(RememberedRow).where(RememberedRow.key_sha256 == key_sha256).values(reply=reply)
            )

    async def release(self, key_sha256: str) -> None:
        """Give a key back whose request was refused: a repeat may succeed."""
        async with self._database.transaction() as session:
            await session.execute(
                delete(RememberedRow).where(
                    RememberedRow.key_sha256 == key_sha256, RememberedRow.reply.is_(None)
                )
            )

    async def prune(self, now: datetime, kept: timedelta) -> None:
        """Remove what has run out."""
        async with self._database.transaction() as session:
            await session.execute(delete(EntryCodeRow).where(EntryCodeRow.expires_at <= now))
            await session.execute(delete(LabSessionRow).where(LabSessionRow.expires_at <= now))
            await session.execute(delete(RememberedRow).where(RememberedRow.created_at < now - kept))
