"""Sessions: signing in, whose session a cookie is, signing out, expiry."""

import hashlib
import secrets
import uuid
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from datalabs_auth.brakes import Brakes, keys_of
from datalabs_auth.errors import EndedSessionError, UnknownSessionError, WrongCredentialsError
from datalabs_auth.models import Account, SessionRecord
from datalabs_auth.passwords import Passwords
from datalabs_auth.store import Store
from datalabs_contracts.base import Nothing
from datalabs_contracts.events import SESSION_ENDED, SESSION_STARTED, EventType
from datalabs_contracts.people import (
    EndSession,
    ResolveSession,
    Session,
    SessionFact,
    SignedIn,
    SignInAttempt,
)
from datalabs_runtime.clock import Clock
from datalabs_runtime.database import Database
from datalabs_runtime.identity import Identity
from datalabs_runtime.outbox import Outbox

log = structlog.get_logger()

SECRET_BYTES = 32
"""256 random bits: the cookie cannot be guessed, so that its stored hash needs no salt."""

EXPIRY_BATCH = 200
SELF = "service:auth"


@dataclass(frozen=True, kw_only=True)
class SessionTimes:
    """How long sessions live; see the settings of the same names."""

    lifetime: timedelta
    idle: timedelta
    seen_every: timedelta
    retention: timedelta


class Sessions:
    """Starts, resolves and ends sessions."""

    def __init__(
        self,
        *,
        database: Database,
        outbox: Outbox,
        clock: Clock,
        passwords: Passwords,
        brakes: Brakes,
        times: SessionTimes,
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._clock = clock
        self._passwords = passwords
        self._brakes = brakes
        self._times = times

    async def sign_in(self, attempt: SignInAttempt) -> SignedIn:
        """Check a password and start a session.

        Raises `WrongCredentialsError`, `TooManyAttemptsError`.
        """
        username = attempt.username.strip().lower()
        password = attempt.password.get_secret_value()
        keys = keys_of(username, attempt.address)
        async with self._brakes.turn(keys):
            async with self._database.reading() as session:
                store = Store(session)
                await self._brakes.check(store, keys, self._clock.now())
                account = None if "\0" in username else await store.account(username)
            good = await self._passwords.verify(account.password_hash if account else None, password)
            now = self._clock.now()
            if account is None or not good or not account.person.active:
                async with self._database.transaction() as session:
                    retry_after = await self._brakes.failed(Store(session), keys, now)
                raise WrongCredentialsError(retry_after=retry_after)
            secret = secrets.token_urlsafe(SECRET_BYTES)
            fresh_hash = None
            if self._passwords.outdated(account.password_hash):
                fresh_hash = await self._passwords.hash(password)
            async with self._database.transaction() as session:
                store = Store(session)
                await self._brakes.passed(store, keys, now)
                if fresh_hash:
                    await store.replace_hash(account.person.id, old=account.password_hash, new=fresh_hash)
                record = await self._start(session, account, secret, now)
        return SignedIn(session=self._shown(record), secret=secret)

    async def resolve(self, request: ResolveSession) -> Session:
        """Say whose session it is, by one indexed read.

        Raises `UnknownSessionError`, `EndedSessionError`.
        """
        now = self._clock.now()
        async with self._database.reading() as session:
            record = await Store(session).session_by_secret(request.secret_sha256)
        if record is None:
            raise UnknownSessionError
        over = record.ended_at is not None or record.ends_at(self._times.idle) <= now
        if over or not record.person.active:
            raise EndedSessionError
        seen_before = now - self._times.seen_every
        if record.last_seen_at <= seen_before:
            async with self._database.transaction() as session:
                await Store(session).touch_session(record.id, at=now, seen_before=seen_before)
            record = replace(record, last_seen_at=now)
        return self._shown(record)

    async def end(self, request: EndSession, *, caller: Identity) -> Nothing:
        """End a session; ending it again, or one that is not the caller's, changes nothing."""
        async with self._database.transaction() as session:
            record = await Store(session).session_by_id(request.session_id)
            if record is not None and _may_end(caller, record):
                await self._end(session, record, actor=caller.username)
        return Nothing()

    async def end_due(self) -> None:
        """End the sessions that have expired, so that live pages hear of it, and forget what is long past."""
        now = self._clock.now()
        due = EXPIRY_BATCH
        while due == EXPIRY_BATCH:
            async with self._database.transaction() as session:
                records = await Store(session).due_sessions(
                    now=now, unseen_since=now - self._times.idle, limit=EXPIRY_BATCH
                )
                for record in records:
                    await self._end(session, record, actor=SELF)
            due = len(records)
        async with self._database.transaction() as session:
            store = Store(session)
            forgotten = await store.forget_sessions(ended_before=now - self._times.retention)
            released = await self._brakes.forget(store, now)
        if forgotten or released:
            log.info("session.rows_forgotten", sessions=forgotten, brakes=released)

    async def _start(
        self, session: AsyncSession, account: Account, secret: str, now: datetime
    ) -> SessionRecord:
        record = SessionRecord(
            id=uuid.uuid4().hex,
            secret_sha256=hashlib.sha256(secret.encode()).hexdigest(),
            person=account.person,
            created_at=now,
            expires_at=now + self._times.lifetime,
            last_seen_at=now,
            ended_at=None,
            revision=1,
        )
        await Store(session).add_session(record)
        self._tell(session, SESSION_STARTED, record, actor=account.person.username)
        return record

    async def _end(self, session: AsyncSession, record: SessionRecord, *, actor: str) -> None:
        revision = await Store(session).end_session(record.id, at=self._clock.now())
        if revision is not None:
            self._tell(session, SESSION_ENDED, replace(record, revision=revision), actor=actor)

    def _tell(self, session: AsyncSession, event: EventType, record: SessionRecord, *, actor: str) -> None:
        fact = SessionFact(
            session_id=record.id,
            person_id=record.person.id,
            username=record.person.username,
            revision=record.revision,
            actor=actor,
            expires_at=record.ends_at(self._times.idle),
        )
        self._outbox.add(session, event, record.id, fact, revision=record.revision)

    def _shown(self, record: SessionRecord) -> Session:
        return Session(
            id=record.id,
            person=record.person,
            created_at=record.created_at,
            expires_at=record.ends_at(self._times.idle),
        )


def _may_end(caller: Identity, record: SessionRecord) -> bool:
    """Whether it is the caller's own session; services and operators may end any."""
    return bool(caller.service) or caller.is_operator or caller.person_id == record.person.id
