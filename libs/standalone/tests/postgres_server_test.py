"""The PostgreSQL of one machine: settings, cluster, roles."""

import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from datalabs_standalone import postgres
from datalabs_standalone.postgres import PostgresFailedError, PostgresServer
from datalabs_testing.servers import RunningPostgres


@pytest.fixture
def folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="dlpg-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_settings_are_pure_and_safe_for_the_disk(tmp_path: Path) -> None:
    server = PostgresServer(folder=tmp_path, socket_folder=tmp_path / "it's")
    text = postgres.settings_text(server)
    assert "listen_addresses = ''\n" in text
    assert f"unix_socket_directories = '{tmp_path}/it''s'\n" in text
    assert "fsync" not in text  # the default is on
    assert postgres.access_text() == "local all all scram-sha-256\n"


def test_a_cluster_is_made_once_in_private_folders(folder: Path) -> None:
    server = PostgresServer(folder=folder / "pg", socket_folder=folder / "run", durable=False)
    postgres.prepare(server, superuser_password="first")
    made = (server.data / "PG_VERSION").stat().st_mtime_ns
    postgres.prepare(server, superuser_password="second")
    assert (server.data / "PG_VERSION").stat().st_mtime_ns == made
    assert stat.S_IMODE(server.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(server.data.stat().st_mode) == 0o700
    assert not list(server.folder.glob("*.new"))


def test_what_a_killed_initdb_left_is_cleared(folder: Path) -> None:
    server = PostgresServer(folder=folder / "pg", socket_folder=folder / "run", durable=False)
    (server.folder / "data.new").mkdir(parents=True)
    (server.folder / "data.new" / "half").write_text("x")
    postgres.prepare(server, superuser_password="x")
    assert (server.data / "PG_VERSION").exists()


def test_somebody_elses_folder_is_left_alone(folder: Path) -> None:
    server = PostgresServer(folder=folder / "pg", socket_folder=folder / "run")
    server.data.mkdir(parents=True)
    (server.data / "thesis.tex").write_text("x")
    with pytest.raises(PostgresFailedError, match="no PostgreSQL cluster"):
        postgres.prepare(server, superuser_password="x")
    assert (server.data / "thesis.tex").exists()


def test_what_initdb_says_is_passed_on(folder: Path) -> None:
    (folder / "pg").mkdir()
    (folder / "pg" / "password.new").mkdir()
    server = PostgresServer(folder=folder / "pg", socket_folder=folder / "run")
    with pytest.raises((PostgresFailedError, OSError)):
        postgres.prepare(server, superuser_password="x")


def test_declaring_again_keeps_passwords_and_every_role_needs_one(postgres_server: RunningPostgres) -> None:
    server, secret = postgres_server.server, postgres_server.superuser_password
    postgres.declare(server, superuser_password=secret, passwords={"auth": "another"})
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        login(postgres_server, "another")
    login(postgres_server, postgres_server.passwords["auth"]).close()
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        login(postgres_server, postgres_server.passwords["auth"], database="datalabs_launcher")


def login(running: RunningPostgres, password: str, database: str = "datalabs_auth") -> psycopg.Connection:
    return psycopg.connect(
        host=str(running.server.socket_folder), user="datalabs_auth", password=password, dbname=database
    )
