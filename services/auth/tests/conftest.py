from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from datalabs_auth.accounts import Accounts, UidRange
from datalabs_auth.brakes import Brakes, Rule
from datalabs_auth.passwords import Passwords
from datalabs_auth.sessions import Sessions, SessionTimes
from datalabs_auth.tables import Base
from datalabs_contracts.people import CreatePerson, Person, Role, SignInAttempt
from datalabs_runtime.database import Database
from datalabs_runtime.identity import Identity
from datalabs_runtime.outbox import Outbox
from datalabs_testing.clock import FakeClock

OPERATOR = Identity(username="admin", roles=(Role.USER, Role.OPERATOR))
PASSWORD = "correct horse"
HOME = "192.0.2.7"


@pytest.fixture
async def db(database: Any) -> Database:
    started: Database = await database("auth")
    return started


@dataclass(frozen=True, kw_only=True)
class Desk:
    """Auth without its wire."""

    database: Database
    clock: FakeClock
    accounts: Accounts
    sessions: Sessions

    async def person(self, username: str = "hypatia", *, roles: tuple[Role, ...] = (Role.USER,)) -> Person:
        request = CreatePerson(username=username, password=SecretStr(PASSWORD), roles=list(roles))
        return (await self.accounts.create(request, caller=OPERATOR)).person

    def attempt(
        self, username: str = "hypatia", password: str = PASSWORD, address: str = HOME
    ) -> SignInAttempt:
        return SignInAttempt(username=username, password=SecretStr(password), address=address)

    def restarted(self) -> "Desk":
        """The same database after a restart of the service."""
        return make_desk(self.database, self.clock)

    async def facts(self) -> list[str]:
        """Subjects of all events, in the order in which they were written."""
        table = Base.Outbox.__table__
        async with self.database.reading() as session:
            return list(await session.scalars(select(table.c.subject).order_by(table.c.id)))


@pytest.fixture
def desk(db: Database, clock: FakeClock) -> Desk:
    return make_desk(db, clock)


def make_desk(db: Database, clock: FakeClock) -> Desk:
    outbox = Outbox(Base, "auth", clock=clock)
    passwords = Passwords(memory_kib=64, passes=1, at_once=2)
    return Desk(
        database=db,
        clock=clock,
        accounts=Accounts(
            database=db,
            outbox=outbox,
            clock=clock,
            passwords=passwords,
            uids=UidRange(first=200_000, last=200_099),
            password_min_length=8,
        ),
        sessions=Sessions(
            database=db,
            outbox=outbox,
            clock=clock,
            passwords=passwords,
            brakes=Brakes(
                pair=Rule(free=5, longest=timedelta(minutes=2)),
                address=Rule(free=20, longest=timedelta(seconds=30)),
                forget_after=timedelta(minutes=30),
                trust_for=timedelta(days=30),
            ),
            times=SessionTimes(
                lifetime=timedelta(days=7),
                idle=timedelta(hours=24),
                seen_every=timedelta(minutes=1),
                retention=timedelta(days=30),
            ),
        ),
    )
