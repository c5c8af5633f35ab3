"""Real NATS and PostgreSQL for a test run, in folders of their own, started once and quickly."""

import contextlib
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import psycopg
from psycopg import sql

from datalabs_contracts.rpc import SERVICES
from datalabs_runtime.permissions import USERS
from datalabs_standalone import nats, postgres

START_TIMEOUT = 20.0
"""Seconds until a server must answer."""
STOP_TIMEOUT = 10.0
POLL = 0.01


class ServerFailedError(Exception):
    """A server of the harness did not come up; the text has what it said."""


@dataclass(kw_only=True)
class RunningNats:
    """A NATS server that can be killed and started again on the same port and files."""

    server: nats.NatsServer
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address for clients."""
        return self.server.url

    @property
    def passwords(self) -> Mapping[str, str]:
        """Passwords by user."""
        return self.server.passwords

    def start(self) -> None:
        """Start and wait until it listens."""
        nats.prepare(self.server)
        log = self.server.folder / "log"
        with log.open("ab") as output:
            self.process = subprocess.Popen(nats.command(self.server), stdout=output, stderr=output)
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            port = nats.announced_port(self.server, self.process.pid)
            if port is not None:
                self.server = replace(self.server, port=port)
                return
            _expect_alive(self.process, log, deadline)

    def kill(self) -> None:
        """End it without warning."""
        _end(self.process, signal.SIGKILL)
        self.process = None

    def stop(self) -> None:
        """End it."""
        _end(self.process, signal.SIGTERM)
        self.process = None


@dataclass(kw_only=True)
class RunningPostgres:
    """A PostgreSQL server with a role for each service; test databases are copied from migrated templates."""

    server: postgres.PostgresServer
    superuser_password: str
    passwords: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    templates: set[str] = field(default_factory=set)

    def start(self) -> None:
        """Start and wait until it accepts connections."""
        postgres.prepare(self.server, superuser_password=self.superuser_password)
        log = self.server.folder / "log"
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            if self.process is None or self.process.poll() is not None:
                # The children of a killed server hold its shared memory for a moment: the first restart may fail.
                with log.open("ab") as output:
                    self.process = subprocess.Popen(
                        postgres.command(self.server), stdout=output, stderr=output
                    )
            try:
                postgres.declare(
                    self.server, superuser_password=self.superuser_password, passwords=self.passwords
                )
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise ServerFailedError(log.read_text(errors="replace")[-2000:]) from None
                time.sleep(POLL)
            else:
                return

    def kill(self) -> None:
        """End it without warning, its children too."""
        _end(self.process, signal.SIGKILL)
        self.process = None

    def stop(self) -> None:
        """End it at once, without waiting for clients and without a checkpoint."""
        _end(self.process, signal.SIGQUIT)
        self.process = None

    def create(self, database: str, *, owner: str, template: str | None = None) -> None:
        """Make a database for a service, perhaps as a copy of another."""
        with self._connect() as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}").format(
                    sql.Identifier(database),
                    sql.Identifier(f"datalabs_{owner}"),
                    sql.Identifier(template or "template0"),
                )
            )
            connection.execute(
                sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(database))
            )

    def drop(self, database: str) -> None:
        """Remove a database, whoever is still connected."""
        with self._connect() as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database))
            )

    def execute(self, statement: str) -> None:
        """Run a statement as the superuser."""
        with self._connect() as connection:
            connection.execute(statement.encode())

    def _connect(self) -> "psycopg.Connection[tuple[object, ...]]":
        return postgres.connect(self.server, password=self.superuser_password)


@contextlib.contextmanager
def running_nats(folder: Path) -> Iterator[RunningNats]:
    """Run a NATS server in a folder, on a free port."""
    passwords = {user: secrets.token_hex(8) for user in USERS}
    running = RunningNats(server=nats.NatsServer(folder=folder, passwords=passwords, port=-1, durable=False))
    running.start()
    try:
        yield running
    finally:
        running.stop()


@contextlib.contextmanager
def running_postgres(folder: Path, socket_folder: Path) -> Iterator[RunningPostgres]:
    """Run a PostgreSQL server in a folder; the socket's folder must have a short path."""
    running = RunningPostgres(
        server=postgres.PostgresServer(folder=folder, socket_folder=socket_folder, durable=False),
        superuser_password=secrets.token_hex(8),
        passwords={service: secrets.token_hex(8) for service in SERVICES},
    )
    running.start()
    try:
        yield running
    finally:
        running.stop()


def _expect_alive(process: subprocess.Popen[bytes], log: Path, deadline: float) -> None:
    if process.poll() is not None or time.monotonic() > deadline:
        raise ServerFailedError(log.read_text(errors="replace")[-2000:])
    time.sleep(POLL)


def _end(process: subprocess.Popen[bytes] | None, number: signal.Signals) -> None:
    if process is None:
        return
    process.send_signal(number)
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
