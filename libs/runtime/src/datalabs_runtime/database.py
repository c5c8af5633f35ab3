"""One service's PostgreSQL database: short transactions, connections that survive a restart of the server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import structlog
from sqlalchemy import URL, QueuePool, event, exc, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_runtime.clock import Clock, SystemClock
from datalabs_runtime.direct import Direct, is_silent

CONNECT_TIMEOUT = 5
"""Seconds to wait for a connection."""
CLOSE_TIMEOUT = 2.0
"""Seconds to wait at the end for connections that are in use; SQLAlchemy closes a cancelled session apart from it."""
CLOSE_POLL = 0.01
RELISTEN_PAUSE = 0.5
"""Seconds between attempts to listen again after the connection broke."""
KEEPALIVE = 60.0
"""Seconds without a notification after which the listening connection is checked."""

ABANDONED = "-c idle_in_transaction_session_timeout=10s"
"""A process that was stopped within a transaction must not hold its locks against all others for long."""

VANISHED = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
"""A connection whose other end is gone without a word (a cable, a firewall, a moved address) ends after 15 to 25 seconds.

Who works for many at once has no caller whose deadline would end it. A server that is merely stopped still answers to
this: its kernel does. See libpq's connection parameters, in seconds but for the last, in milliseconds."""

DEADLOCK = "40P01"
"""PostgreSQL's `deadlock_detected`."""

NO_ROOM = "53100"
"""PostgreSQL's `disk_full`: it reads on, and stores nothing that needs room."""


class Database:
    """The database of one service; a part that opens its pool at start."""

    name = "database"

    def __init__(self, url: URL, clock: Clock | None = None, pool_size: int = 5) -> None:
        self.url = url
        self.clock = clock or SystemClock()
        self._pool_size = pool_size
        self._engine: AsyncEngine | None = None
        self._reading: AsyncEngine | None = None
        self._directs: list[Direct] = []
        self._log = structlog.get_logger(__name__)

    @property
    def engine(self) -> AsyncEngine:
        """The engine of the running event loop."""
        if self._engine is None:
            raise RuntimeError("the database is not started")
        return self._engine

    async def start(self) -> None:
        """Open the pool and make one connection, so that a wrong address is seen at once."""
        self._engine = create_async_engine(
            self.url,
            pool_size=self._pool_size,
            max_overflow=0,
            pool_timeout=CONNECT_TIMEOUT,
            pool_use_lifo=True,
            connect_args={"connect_timeout": CONNECT_TIMEOUT, "options": ABANDONED, **VANISHED},
        )
        event.listen(self._engine.sync_engine, "checkout", _refuse_dead)
        # A single statement needs no transaction around it: no BEGIN and ROLLBACK for reads.
        self._reading = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        async with self._engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    async def aclose(self) -> None:
        """Close all connections; those whose session was cut short come back to the pool a moment later."""
        engine, self._engine, self._reading = self._engine, None, None
        if engine is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await asyncio.gather(*(direct.aclose() for direct in self._directs))
                while _in_use(engine):  # noqa: ASYNC110 - the pool tells nobody
                    await asyncio.sleep(CLOSE_POLL)
        await engine.dispose()

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """Give a session whose work is committed at the end, or rolled back on any error."""
        async with AsyncSession(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """Give a session for reads only; each statement sees what was committed when it began."""
        if self._reading is None:
            raise RuntimeError("the database is not started")
        async with AsyncSession(self._reading, expire_on_commit=False, autoflush=False) as session:
            yield session

    def direct(self) -> Direct:
        """Return a connection beside the pool for one worker's hot statements; it is opened when it is needed."""
        direct = Direct({**self._conninfo(), "options": ABANDONED})
        self._directs.append(direct)
        return direct

    async def check(self) -> str | None:
        """For readiness: None when the database answers."""
        try:
            async with self.reading() as session:
                await session.execute(text("SELECT 1"))
        except (exc.SQLAlchemyError, OSError, RuntimeError) as error:
            return f"database: {type(error).__name__}"
        return None

    async def listen(self, channel: str) -> AsyncIterator[str]:
        """Give the payload of each notification of a channel, for ever.

        After each (re)connection an empty payload comes first: what was missed meanwhile has to be looked up.
        """
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    **self._conninfo(), autocommit=True
                ) as connection:
                    await connection.execute(f'LISTEN "{channel}"'.encode())
                    yield ""
                    while True:
                        async for notification in connection.notifies(timeout=0):
                            yield notification.payload
                        if not await _readable(connection.fileno()):
                            await connection.execute(b"SELECT 1")
            except (psycopg.Error, OSError) as error:
                self._log.info("database.listen_again", channel=channel, reason=type(error).__name__)
                await asyncio.sleep(RELISTEN_PAUSE)

    def _conninfo(self) -> dict[str, Any]:
        query = {key: value for key, value in self.url.query.items() if isinstance(value, str)}
        given = {
            "host": self.url.host,
            "port": self.url.port,
            "user": self.url.username,
            "password": self.url.password,
            "dbname": self.url.database,
            "connect_timeout": CONNECT_TIMEOUT,
            **VANISHED,
            **query,
        }
        return {key: value for key, value in given.items() if value is not None}


async def _readable(descriptor: int) -> bool:
    """Wait until there is something to read, for some time; psycopg's own wait looks ten times a second."""
    loop = asyncio.get_running_loop()
    news = asyncio.Event()
    loop.add_reader(descriptor, news.set)
    try:
        async with asyncio.timeout(KEEPALIVE):
            return await news.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(descriptor)


def _in_use(engine: AsyncEngine) -> bool:
    pool = engine.pool
    return isinstance(pool, QueuePool) and pool.checkedout() > 0


def _refuse_dead(connection: Any, _record: object, _proxy: object) -> None:
    """Replace pooled connections whose server went away.

    An idle connection has nothing to read, except the end of the stream: a look at the socket costs
    microseconds where SQLAlchemy's pre-ping costs a round trip for each transaction.
    """
    if not is_silent(connection.driver_connection.fileno()):
        raise exc.InvalidatePoolError("the server closed the connection")


def has_no_room(error: BaseException) -> bool:
    """Return whether PostgreSQL refused to store something because its disk is full: soon again is of no use."""
    return getattr(getattr(error, "orig", None), "sqlstate", None) == NO_ROOM


def of_one(error: Exception) -> bool:
    """Return whether one of the rows that a statement wrote together is to blame for its failure, not the database.

    So it is with what does not fit its column, and when two statements held each other's rows.
    """
    if isinstance(error, exc.DataError | exc.IntegrityError):
        return True
    return getattr(getattr(error, "orig", None), "sqlstate", None) == DEADLOCK


def without_database(service: str, error: Exception) -> ProblemError:
    """Return what a caller is told whose request the database of a service did not take."""
    if has_no_room(error):
        text = "Its database has no room left: what is there stays, nothing new is stored until an operator makes some."
        return ProblemError(ProblemCode.DISK_FULL, text, retry_after=10.0)
    return ProblemError(ProblemCode.SERVICE_UNAVAILABLE, f"{service} has lost its database", retry_after=1.0)
