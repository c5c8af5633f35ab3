"""The pytest plugin of the harness: real servers once a run, a platform of one's own for each test."""

import asyncio
import inspect
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
import structlog

from datalabs_runtime.database import Database
from datalabs_runtime.tables import ServiceBase
from datalabs_testing.chaos import ChaosProxy
from datalabs_testing.clock import FakeClock
from datalabs_testing.events import EventRecorder
from datalabs_testing.platform import Platform, TestKeys
from datalabs_testing.servers import RunningNats, RunningPostgres, running_nats, running_postgres
from datalabs_testing.stubs import RpcStub

MakeDatabase = Callable[..., Awaitable[Database]]
MakeProxy = Callable[..., Awaitable[ChaosProxy]]


@pytest.fixture(scope="session", autouse=True)
def _plain_logs() -> None:
    """Tracebacks as Python prints them: the colourful ones cost a second each."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
        ]
    )


@pytest.fixture(scope="session")
def harness_folder() -> Iterator[Path]:
    """Give this run a short path of its own: Unix sockets allow 107 bytes, and runs go on side by side."""
    folder = Path(tempfile.mkdtemp(prefix="dlt-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def nats_server(harness_folder: Path) -> Iterator[RunningNats]:
    """Run the real NATS server with JetStream and a user for each service."""
    with running_nats(harness_folder / "nats") as running:
        yield running


@pytest.fixture(scope="session")
def postgres_server(harness_folder: Path) -> Iterator[RunningPostgres]:
    """Run the real PostgreSQL server with a role for each service."""
    with running_postgres(harness_folder / "postgres", harness_folder / "pg") as running:
        yield running


@pytest.fixture(scope="session")
def test_keys(harness_folder: Path) -> TestKeys:
    """Identity keys, made once a run."""
    return TestKeys.make(harness_folder / "keys")


@pytest_asyncio.fixture
async def platform(
    nats_server: RunningNats, postgres_server: RunningPostgres, test_keys: TestKeys, harness_folder: Path
) -> AsyncIterator[Platform]:
    """Give a state folder with settings, secrets, empty streams and databases of this test's own."""
    made = await Platform.make(
        folder=Path(tempfile.mkdtemp(prefix="p", dir=harness_folder)),
        nats=nats_server,
        postgres=postgres_server,
        keys=test_keys,
    )
    yield made
    await made.aclose()
    made.remove()


@pytest_asyncio.fixture
async def database(platform: Platform) -> AsyncIterator[MakeDatabase]:
    """Give a function that makes a service's database, migrated, started and empty.

    `await database("launcher")` is the one that the settings of `platform` name. `base=` makes the tables of a base instead of migrating.
    """
    made: list[Database] = []

    async def make(service: str, base: type[ServiceBase] | None = None) -> Database:
        url = await asyncio.to_thread(platform.add_database, service, base)
        database = Database(url)
        await database.start()
        made.append(database)
        return database

    yield make
    for database in made:
        await database.aclose()


@pytest.fixture
def clock() -> FakeClock:
    """Give a clock that the test moves."""
    return FakeClock()


@pytest_asyncio.fixture
async def events(platform: Platform) -> AsyncIterator[EventRecorder]:
    """Record what the platform says from now on."""
    recorder = EventRecorder()
    await recorder.start(platform.nats)
    yield recorder
    await recorder.aclose()


@pytest_asyncio.fixture
async def chaos_proxy() -> AsyncIterator[MakeProxy]:
    """Give a function that puts a proxy before a server, named by URL or by host and port."""
    made: list[ChaosProxy] = []

    async def make(upstream: str, port: int | None = None) -> ChaosProxy:
        address = urlsplit(upstream if "//" in upstream else f"//{upstream}")
        number = port or address.port
        assert number is not None
        proxy = ChaosProxy(address.hostname or "127.0.0.1", number)
        await proxy.start()
        made.append(proxy)
        return proxy

    yield make
    for proxy in made:
        await proxy.aclose()


@pytest_asyncio.fixture
async def rpc_stub(platform: Platform) -> AsyncIterator[RpcStub]:
    """Answers operations in the place of other services: `await rpc_stub.answer(RESERVE, handler)`."""
    stub = RpcStub(platform)
    yield stub
    await stub.aclose()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fail at once on what pytest would quietly call a passed test: a coroutine that nobody awaits."""
    for item in items:
        function = getattr(item, "function", None)
        if function is not None and inspect.isasyncgenfunction(function):
            raise pytest.UsageError(f"{item.nodeid} is an async generator, not a test")
