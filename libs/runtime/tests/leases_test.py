"""Leadership on the real PostgreSQL."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from sqlalchemy import text

from datalabs_runtime.database import Database
from datalabs_runtime.leases import Lease, LeaseLostError, _is_dead
from datalabs_runtime.tables import ServiceBase
from datalabs_testing.platform import Platform
from datalabs_testing.plugin import MakeDatabase
from datalabs_testing.waiting import eventually

HOLDER_IN_ANOTHER_PROCESS = """
    import asyncio, logging, sys
    import structlog
    from sqlalchemy import make_url, text
    from datalabs_runtime.database import Database
    from datalabs_runtime.leases import Lease, LeaseLostError
    from datalabs_runtime.tables import ServiceBase

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))

    class Base(ServiceBase):
        "Tables."

    async def main():
        database = Database(make_url(sys.argv[1]))
        await database.start()
        lease = Lease(database, Base, "cluster", "first", ttl=float(sys.argv[2]))
        assert await lease.acquire()
        print("leading", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        try:
            async with database.transaction() as session, lease.guard(session):
                await session.execute(text("CREATE TABLE stale ()"))
        except LeaseLostError:
            print("lost", lease.held, flush=True)
        else:
            print("wrote", flush=True)

    asyncio.run(main())
"""


class Base(ServiceBase):
    """Tables."""


@pytest_asyncio.fixture
async def launcher(database: MakeDatabase) -> AsyncIterator[Database]:
    yield await database("launcher", base=Base)


def lease(database: Database, holder: str, ttl: float = 10.0) -> Lease:
    made = Lease(database, Base, "cluster", holder, ttl=ttl)
    made.holder = f"{holder}@elsewhere-1-1-1"  # as from another machine
    return made


def holder(url: str, *, ttl: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLDER_IN_ANOTHER_PROCESS), url, ttl],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


async def expire(database: Database) -> None:
    async with database.transaction() as session:
        await session.execute(text("UPDATE leases SET expires_at = now() - interval '1 second'"))


async def test_one_holds_the_others_wait(launcher: Database) -> None:
    first, second = lease(launcher, "first"), lease(launcher, "second")
    assert await first.acquire()
    assert not await second.acquire()
    assert (first.held, second.held, first.epoch) == (True, False, 1)


async def test_renewing_keeps_the_epoch_and_taking_over_raises_it(launcher: Database) -> None:
    first, second = lease(launcher, "first"), lease(launcher, "second")
    await first.acquire()
    await first.acquire()
    assert first.epoch == 1
    await expire(launcher)
    assert await second.acquire()
    assert second.epoch == 2
    assert not await first.acquire()
    assert not first.held


async def test_a_holder_that_comes_back_under_its_name_has_a_new_epoch(launcher: Database) -> None:
    first, again = lease(launcher, "first"), lease(launcher, "first")
    await first.acquire()
    assert not await again.acquire()
    await expire(launcher)
    assert await again.acquire()
    assert again.epoch == 2


async def test_what_a_past_holder_writes_is_refused(launcher: Database) -> None:
    first, second = lease(launcher, "first"), lease(launcher, "second")
    await first.acquire()
    await expire(launcher)
    await second.acquire()
    with pytest.raises(LeaseLostError, match="second"):
        async with launcher.transaction() as session, first.guard(session):
            pytest.fail("the guard let a past holder in")
    async with launcher.transaction() as session, second.guard(session):
        pass


async def test_nobody_takes_over_while_a_guarded_transaction_runs(launcher: Database) -> None:
    first, second = lease(launcher, "first"), lease(launcher, "second")
    await first.acquire()
    await expire(launcher)
    async with launcher.transaction() as session, first.guard(session):
        taking = asyncio.create_task(second.acquire())
        done, _ = await asyncio.wait({taking}, timeout=0.2)
        assert not done
    assert await taking


async def test_giving_back_lets_the_next_one_lead_at_once(launcher: Database) -> None:
    first, second = lease(launcher, "first"), lease(launcher, "second")
    await first.start()
    await asyncio.wait_for(first.wait(), 5)
    await first.aclose()
    assert await second.acquire()


async def test_a_holder_stopped_by_the_kernel_finds_its_epoch_passed(
    launcher: Database, platform: Platform
) -> None:
    url = platform.url("launcher").render_as_string(hide_password=False)
    process = holder(url, ttl="1.0")
    try:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "leading\n"
        process.send_signal(signal.SIGSTOP)
        second = lease(launcher, "second")
        await eventually(second.acquire)
        process.send_signal(signal.SIGCONT)
        said, _ = await asyncio.to_thread(process.communicate, "go on\n", 20)
        assert said == "lost False\n"
    finally:
        process.kill()
        process.communicate()


async def test_a_dead_holder_of_this_machine_is_replaced_without_waiting(
    launcher: Database, platform: Platform
) -> None:
    url = platform.url("launcher").render_as_string(hide_password=False)
    process = holder(url, ttl="3600")
    try:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "leading\n"
        second = Lease(launcher, Base, "cluster", "second")
        assert not await second.acquire()
    finally:
        process.kill()
        process.communicate()
    assert await second.acquire()
    assert second.epoch == 2


def test_only_positive_evidence_counts_as_death() -> None:
    alive = Lease(Database.__new__(Database), Base, "x", "me").holder
    assert not _is_dead(alive)
    assert _is_dead(alive.rpartition("-")[0] + "-1")  # the pid lives, but began at another time
    assert not _is_dead("me@othermachine-1-2-3")
    assert not _is_dead("me")
    assert not _is_dead(f"me@x-{os.getpid()}-y")


async def test_who_waits_looks_each_second_however_long_the_lease_lives(launcher: Database) -> None:
    first, second = lease(launcher, "first", ttl=600), lease(launcher, "second", ttl=600)
    await first.start()
    await eventually(lambda: first.held)
    await second.start()
    await first.aclose()
    try:
        await eventually(lambda: second.held, seconds=5)
    finally:
        await second.aclose()
