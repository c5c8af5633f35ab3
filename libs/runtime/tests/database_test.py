"""Transactions, reads and notifications on the real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import String, text
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Mapped, mapped_column

from datalabs_contracts.problems import ProblemCode
from datalabs_runtime.database import VANISHED, Database, has_no_room, without_database
from datalabs_runtime.tables import ServiceBase, make_base
from datalabs_testing.platform import Platform
from datalabs_testing.plugin import MakeDatabase


class Base(ServiceBase):
    """Tables."""


class Note(Base):
    """A note."""

    __tablename__ = "notes"

    id: Mapped[str] = mapped_column(String(8), primary_key=True)


@pytest_asyncio.fixture
async def own(database: MakeDatabase) -> AsyncIterator[Database]:
    yield await database("storage", base=Base)


async def notes(own: Database) -> list[str]:
    async with own.reading() as session:
        return list((await session.execute(text("SELECT id FROM notes ORDER BY id"))).scalars())


async def test_transactions_commit_or_leave_nothing(own: Database) -> None:
    async with own.transaction() as session:
        session.add(Note(id="a"))

    async def fail() -> None:
        async with own.transaction() as session:
            session.add(Note(id="b"))
            await session.flush()
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await notes(own) == ["a"]


async def test_reads_see_each_commit_and_hold_no_transaction(own: Database) -> None:
    async with own.reading() as session:
        await session.execute(text("SELECT 1"))
        async with own.transaction() as writing:
            writing.add(Note(id="a"))
        count = await session.execute(text("SELECT count(*) FROM notes"))
        assert count.scalar_one() == 1
        state = await session.execute(
            text("SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'")
        )
        assert state.scalar_one() == 0


async def test_pooled_connections_to_a_server_that_was_killed_are_replaced(
    own: Database, platform: Platform
) -> None:
    await asyncio.gather(*(notes(own) for _ in range(5)))
    await asyncio.to_thread(platform.postgres.kill)
    assert "database" in (await own.check() or "")
    await asyncio.to_thread(platform.postgres.start)
    for _ in range(6):
        assert await notes(own) == []
    assert await own.check() is None


async def test_a_terminated_connection_is_replaced(own: Database, platform: Platform) -> None:
    await notes(own)
    await asyncio.to_thread(
        platform.postgres.execute,
        f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{own.url.database}'",
    )
    assert await notes(own) == []


async def test_a_full_pool_makes_callers_wait(own: Database) -> None:
    async def slow() -> None:
        async with own.transaction() as session:
            await session.execute(text("SELECT pg_sleep(0.02)"))

    await asyncio.gather(*(slow() for _ in range(20)))


async def test_notifications_arrive_and_after_a_restart_one_is_told_to_look(
    own: Database, platform: Platform
) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def listen() -> None:
        async for payload in own.listen("news"):
            heard.put_nowait(payload)

    listening = asyncio.create_task(listen())
    async with asyncio.timeout(20):
        assert await heard.get() == ""
        async with own.transaction() as session:
            await session.execute(text("NOTIFY news, 'first'"))
        assert await heard.get() == "first"
        await asyncio.to_thread(platform.postgres.kill)
        await asyncio.to_thread(platform.postgres.start)
        assert await heard.get() == ""
        async with own.transaction() as session:
            await session.execute(text("NOTIFY news, 'second'"))
        assert await heard.get() == "second"
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


async def test_another_services_database_is_closed(own: Database, platform: Platform) -> None:
    foreign = Database(platform.url("auth").set(database=own.url.database))
    with pytest.raises(OperationalError, match="permission denied"):
        await foreign.start()
    await foreign.aclose()


async def test_a_wrong_password_is_refused(own: Database) -> None:
    wrong = Database(own.url.set(password="wrong"))
    with pytest.raises(OperationalError, match="password authentication failed"):
        await wrong.start()
    await wrong.aclose()


def test_each_base_has_its_own_tables() -> None:
    first, second = make_base(), make_base()
    assert sorted(first.metadata.tables) == ["inbox", "leases", "outbox"]
    assert first.Outbox is not second.Outbox
    assert "notes" not in first.metadata.tables


async def test_a_database_without_room_is_told_from_one_that_is_away(own: Database) -> None:
    refuse = text("DO $$ BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = '53100'; END $$")
    with pytest.raises(OperationalError) as refused:
        async with own.transaction() as session:
            await session.execute(refuse)
    assert has_no_room(refused.value)
    assert without_database("launcher", refused.value).code is ProblemCode.DISK_FULL
    away = OperationalError("SELECT 1", {}, ConnectionError("server closed the connection"))
    assert not has_no_room(away)
    assert without_database("launcher", away).code is ProblemCode.SERVICE_UNAVAILABLE


async def test_direct_statements_are_transactions_of_their_own_and_several_can_be_one(own: Database) -> None:
    direct = own.direct()
    assert await direct.run("INSERT INTO notes VALUES (%(id)s)", {"id": "a"}) == []
    with pytest.raises(IntegrityError):
        await direct.run("INSERT INTO notes VALUES (%(id)s)", {"id": "a"})

    async def half() -> None:
        async with direct.connection() as connection, connection.transaction():
            await connection.execute("INSERT INTO notes VALUES ('b')")
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        await half()
    assert [row.id for row in await direct.run("SELECT id FROM notes")] == ["a"]


async def test_who_gives_up_a_direct_statement_leaves_a_connection_that_works(own: Database) -> None:
    direct = own.direct()
    slow = asyncio.create_task(direct.run("SELECT pg_sleep(30)"))
    waiting = asyncio.create_task(direct.run("SELECT 1 AS one"))
    while not await direct_activity(own):  # noqa: ASYNC110 - the server tells nobody
        await asyncio.sleep(0.01)
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow
    assert (await waiting)[0].one == 1


async def direct_activity(own: Database) -> bool:
    async with own.reading() as session:
        statement = text("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'")
        return bool((await session.execute(statement)).scalar_one())


async def test_a_direct_connection_to_a_server_that_was_killed_is_replaced(
    own: Database, platform: Platform
) -> None:
    direct = own.direct()
    await direct.run("SELECT 1")
    running = asyncio.create_task(direct.run("SELECT pg_sleep(30)"))
    while not await direct_activity(own):  # noqa: ASYNC110 - the server tells nobody
        await asyncio.sleep(0.01)
    await asyncio.to_thread(platform.postgres.kill)
    with pytest.raises(OperationalError):
        await running
    with pytest.raises(OperationalError):
        await direct.run("SELECT 1")
    await asyncio.to_thread(platform.postgres.start)
    assert (await direct.run("SELECT 1 AS one"))[0].one == 1


async def test_no_connection_waits_for_a_server_that_vanished_without_a_word(own: Database) -> None:
    wanted = {name: str(value) for name, value in VANISHED.items()}
    async with own.direct().connection() as connection:
        assert connection.info.get_parameters().items() >= wanted.items()
    async with own.engine.connect() as pooled:
        raw: Any = (await pooled.get_raw_connection()).driver_connection
        assert raw.info.get_parameters().items() >= wanted.items()
