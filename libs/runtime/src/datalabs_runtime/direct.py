"""A connection of one's own, straight to PostgreSQL, for the few statements that come with every launch.

Through a session of SQLAlchemy a short statement costs 0.45 to 0.6 ms of processor time, through psycopg 0.1 ms
(measured with SQLAlchemy 2.1 and psycopg 3.3). So what runs thousands of times in a rush, and what one worker does
one after the other anyway (see `together`), goes this way; everything else goes through sessions.
"""

import asyncio
import contextlib
import select
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, LiteralString, cast

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import namedtuple_row
from sqlalchemy import CursorResult, Executable, exc
from sqlalchemy.dialects.postgresql.psycopg import dialect
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.compiler import SQLCompiler

Connection = psycopg.AsyncConnection[Any]


class Plain:
    """A statement built with SQLAlchemy that runs in sessions as it is, and directly as the text it comes to.

    Directly nobody converts values: text comes where a column is of an enumeration.
    """

    def __init__(self, statement: Executable) -> None:
        compiled = cast(SQLCompiler, statement.compile(dialect=dialect()))  # type: ignore[no-untyped-call, attr-defined]
        self.statement = statement
        self.text: LiteralString = compiled.string
        self._constants = {name: bound.value for name, bound in compiled.binds.items() if not bound.required}

    async def on(self, where: "AsyncSession | Direct", given: Mapping[str, Any]) -> Sequence[Any]:
        """Run it with these values and return its rows, which have their columns as attributes."""
        if isinstance(where, AsyncSession):
            result = cast(CursorResult[Any], await where.execute(self.statement, given))
            return result.all() if result.returns_rows else ()
        return await where.run(self.text, {**self._constants, **given})


class Direct:
    """One connection in autocommit, opened when it is needed and again when it broke; its users take turns."""

    def __init__(self, conninfo: Mapping[str, Any]) -> None:
        self._conninfo = conninfo
        self._connection: Connection | None = None
        self._turn = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Give the connection; `async with connection.transaction()` makes several statements one.

        Raises SQLAlchemy's errors, as sessions do. A connection that is not at rest afterwards is given up, and with it
        its transaction.
        """
        async with self._turn:
            try:
                connection = await self._ready()
                try:
                    yield connection
                finally:
                    if connection.info.transaction_status != TransactionStatus.IDLE:
                        await self._give_up()
            except psycopg.Error as error:
                raise exc.DBAPIError.instance(None, None, error, psycopg.Error) from error

    async def run(self, statement: LiteralString, parameters: Mapping[str, Any] | None = None) -> list[Any]:
        """Run one statement that is a transaction by itself and return its rows, as named tuples.

        Raises as `connection`.
        """
        async with self.connection() as connection:
            cursor = await connection.execute(statement, parameters)
            return await cursor.fetchall() if cursor.description else []

    async def aclose(self) -> None:
        """Close the connection, when whoever has it is done."""
        async with self._turn:
            await self._give_up()

    async def _ready(self) -> Connection:
        if self._connection is not None and not is_silent(self._connection.fileno()):
            await self._give_up()
        if self._connection is None:
            self._connection = await psycopg.AsyncConnection.connect(
                **self._conninfo, autocommit=True, row_factory=namedtuple_row
            )
        return self._connection

    async def _give_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                await connection.close()


def is_silent(descriptor: int) -> bool:
    """Whether an idle connection has nothing to read: what is read there is the end of the stream.

    A look at the socket costs microseconds, where a ping costs a round trip.
    """
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return not poll.poll(0)
