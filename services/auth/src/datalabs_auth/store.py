"""All of auth's SQL. A store works within the transaction of the session that it is given."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, delete, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from datalabs_auth.errors import NoUidLeftError, UsernameTakenError
from datalabs_auth.models import Account, Brake, SessionRecord
from datalabs_auth.tables import brakes, people, sessions, uids
from datalabs_contracts.people import Person, Role

PERSON = (
    people.c.id.label("person_id"),
    people.c.username,
    people.c.display_name,
    people.c.roles,
    people.c.uid,
    people.c.active,
    people.c.revision.label("person_revision"),
    people.c.created_at.label("person_created_at"),
)

SESSION = tuple(column for column in sessions.c if column.name != "person_id")


def _person(row: Any) -> Person:
    return Person(
        id=row.person_id,
        username=row.username,
        display_name=row.display_name,
        roles=[Role(role) for role in row.roles],
        uid=row.uid,
        active=row.active,
        revision=row.person_revision,
        created_at=row.person_created_at,
    )


def _session(row: Any) -> SessionRecord:
    return SessionRecord(
        id=row.id,
        secret_sha256=row.secret_sha256,
        person=_person(row),
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_seen_at=row.last_seen_at,
        ended_at=row.ended_at,
        revision=row.revision,
    )


def _sessions() -> Select[Any]:
    return select(*SESSION, *PERSON).join(people, people.c.id == sessions.c.person_id)


class Store:
    """People, sessions and brakes."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def allocate_uid(self, *, first: int, last: int) -> int:
        """Return the next uid of the range; the counter's row is locked until the transaction ends."""
        statement = upsert(uids).values(name="person", next_uid=first + 1)
        statement = statement.on_conflict_do_update(
            index_elements=[uids.c.name],
            set_={"next_uid": func.greatest(uids.c.next_uid, first) + 1},
        )
        uid = int((await self._session.execute(statement.returning(uids.c.next_uid))).scalar_one()) - 1
        if uid > last:
            raise NoUidLeftError(last)
        return uid

    async def add_person(self, person: Person, password_hash: str) -> None:
        """Insert an account. Raises `UsernameTakenError`; the transaction is then lost."""
        values = person.model_dump(mode="python") | {"password_hash": password_hash}
        try:
            await self._session.execute(insert(people).values(**values))
        except IntegrityError as error:
            raise UsernameTakenError(person.username) from error

    async def account(self, username: str) -> Account | None:
        """Return the account of this name."""
        statement = select(*PERSON, people.c.password_hash).where(people.c.username == username)
        row = (await self._session.execute(statement)).one_or_none()
        return Account(person=_person(row), password_hash=row.password_hash) if row else None

    async def people_after(self, username: str, limit: int) -> list[Person]:
        """Return accounts by name, from behind this one."""
        statement = select(*PERSON).where(people.c.username > username).order_by(people.c.username)
        return [_person(row) for row in await self._session.execute(statement.limit(limit))]

    async def replace_hash(self, person_id: str, *, old: str, new: str) -> None:
        """Put a better hash of the same password in place."""
        statement = update(people).where(people.c.id == person_id, people.c.password_hash == old)
        await self._session.execute(statement.values(password_hash=new))

    async def add_session(self, record: SessionRecord) -> None:
        """Insert a session."""
        await self._session.execute(
            insert(sessions).values(
                id=record.id,
                secret_sha256=record.secret_sha256,
                person_id=record.person.id,
                created_at=record.created_at,
                expires_at=record.expires_at,
                last_seen_at=record.last_seen_at,
                ended_at=record.ended_at,
                revision=record.revision,
            )
        )

    async def session_by_secret(self, secret_sha256: str) -> SessionRecord | None:
        """Return the session of this secret: one indexed read."""
        return await self._one_session(sessions.c.secret_sha256 == secret_sha256)

    async def session_by_id(self, session_id: str) -> SessionRecord | None:
        """Return a session, locked until the transaction ends."""
        return await self._one_session(sessions.c.id == session_id, lock=True)

    async def due_sessions(self, *, now: datetime, unseen_since: datetime, limit: int) -> list[SessionRecord]:
        """Return sessions that are over but not marked so, locked; those that another holds are left out."""
        statement = (
            _sessions()
            .where(sessions.c.ended_at.is_(None))
            .where(or_(sessions.c.expires_at <= now, sessions.c.last_seen_at <= unseen_since))
            .limit(limit)
            .with_for_update(of=sessions, skip_locked=True)
        )
        return [_session(row) for row in await self._session.execute(statement)]

    async def end_session(self, session_id: str, *, at: datetime) -> int | None:
        """Mark a session ended; return its new revision, or nothing when it had ended before."""
        statement = (
            update(sessions)
            .where(sessions.c.id == session_id, sessions.c.ended_at.is_(None))
            .values(ended_at=at, revision=sessions.c.revision + 1)
            .returning(sessions.c.revision)
        )
        revision: int | None = (await self._session.execute(statement)).scalar_one_or_none()
        return revision

    async def touch_session(self, session_id: str, *, at: datetime, seen_before: datetime) -> None:
        """Write down that a session is in use, unless another request has just done so."""
        statement = update(sessions).where(
            sessions.c.id == session_id, sessions.c.last_seen_at <= seen_before
        )
        await self._session.execute(statement.values(last_seen_at=at))

    async def forget_sessions(self, *, ended_before: datetime) -> int:
        """Delete sessions that ended long ago; return how many."""
        statement = delete(sessions).where(sessions.c.ended_at < ended_before).returning(sessions.c.id)
        return len((await self._session.execute(statement)).all())

    async def _one_session(self, which: ColumnElement[bool], *, lock: bool = False) -> SessionRecord | None:
        statement = _sessions().where(which)
        if lock:
            statement = statement.with_for_update(of=sessions)
        row = (await self._session.execute(statement)).one_or_none()
        return _session(row) if row else None

    async def brake(self, key: str) -> Brake | None:
        """Return the brake of a key."""
        row = (await self._session.execute(select(brakes).where(brakes.c.key == key))).one_or_none()
        if row is None:
            return None
        return Brake(failures=row.failures, blocked_until=row.blocked_until, trusted_at=row.trusted_at)

    async def count_failure(self, key: str, *, now: datetime, forgotten_before: datetime) -> int:
        """Add a failure to a key, from zero when the last one is long ago; return the count. Locks the row."""
        forgotten = or_(brakes.c.failed_at.is_(None), brakes.c.failed_at < forgotten_before)
        statement = upsert(brakes).values(key=key, failures=1, failed_at=now)
        statement = statement.on_conflict_do_update(
            index_elements=[brakes.c.key],
            set_={"failures": case((forgotten, 1), else_=brakes.c.failures + 1), "failed_at": now},
        )
        return int((await self._session.execute(statement.returning(brakes.c.failures))).scalar_one())

    async def block(self, key: str, *, until: datetime | None) -> None:
        """Let attempts of a key wait."""
        await self._session.execute(update(brakes).where(brakes.c.key == key).values(blocked_until=until))

    async def trust(self, key: str, *, now: datetime) -> None:
        """Forget a key's failures and note the success."""
        cleared = {"failures": 0, "failed_at": None, "blocked_until": None, "trusted_at": now}
        statement = upsert(brakes).values(key=key, **cleared)
        await self._session.execute(
            statement.on_conflict_do_update(index_elements=[brakes.c.key], set_=cleared)
        )

    async def forget_brakes(self, *, failed_before: datetime, trusted_before: datetime) -> int:
        """Delete brakes without effect; return how many."""
        quiet = or_(brakes.c.failed_at.is_(None), brakes.c.failed_at < failed_before)
        strange = or_(brakes.c.trusted_at.is_(None), brakes.c.trusted_at < trusted_before)
        statement = delete(brakes).where(and_(quiet, strange)).returning(brakes.c.key)
        return len((await self._session.execute(statement)).all())
