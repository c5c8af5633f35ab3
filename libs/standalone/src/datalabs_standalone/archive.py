"""Back up a platform's databases, keys and settings into one folder, and make a platform from such a folder.

What people keep in their homes are plain files below `volumes/`, which the site's own tool copies. NATS is transport:
its streams are not kept. After a restore every fact that the outboxes still hold is told again; who has handled one
before knows it by its inbox, so telling twice does no harm.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from datalabs_contracts.rpc import SERVICES
from datalabs_standalone import postgres, settings_file
from datalabs_standalone.failures import StandaloneError
from datalabs_standalone.state import LAYOUT_VERSION, StateFolder, write_private

MANIFEST = "manifest.json"
_FILES = ("datalabs.toml", "credentials.json", "version")
_START_SECONDS = 30.0
_BLOCK = 2**20


class BackupError(StandaloneError):
    """A backup could not be made, or cannot be restored here."""

    code = "backup_failed"


def back_up(
    state: StateFolder,
    folder: Path,
    *,
    server: postgres.PostgresServer,
    passwords: Mapping[str, str],
    now: datetime | None = None,
) -> Path:
    """Write a backup of a running platform and return its folder, which must not exist yet.

    Each database is dumped as it is at one moment, one after the other; services heal what lies between two moments
    as they do after a crash.

    Raises `BackupError`.
    """
    folder = folder.expanduser().resolve()
    if folder.exists():
        raise BackupError(f"{folder} exists; name a folder that does not.")
    draft = folder.with_name(folder.name + ".new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700, parents=True)
    for service in SERVICES:
        _dump(server, service, passwords[service], draft / f"{service}.dump")
    for name in _FILES:
        if (state.root / name).exists():
            shutil.copy2(state.root / name, draft / name)
    shutil.copytree(state.secrets, draft / "secrets")
    write_private(
        draft / MANIFEST, json.dumps(_manifest(draft, now or datetime.now(tz=UTC)), indent=1) + "\n"
    )
    draft.rename(folder)
    return folder


def restore(folder: Path, state: StateFolder) -> None:
    """Make a new platform's state folder from a backup; `datalabs up` on it goes on where the backup was made.

    Raises `BackupError` for a damaged backup and for a state folder that is in use.
    """
    folder = folder.expanduser().resolve()
    check(folder)
    if (state.root / "postgres" / "data").exists() or state.settings_file.exists():
        raise BackupError(f"{state.root} has a platform already; restore into a new folder (--state).")
    state.check_and_make()
    for name in _FILES:
        if (folder / name).exists():
            shutil.copy2(folder / name, state.root / name)
    shutil.copytree(folder / "secrets", state.secrets, dirs_exist_ok=True)
    words = settings_file.read(state.settings_file)["postgres"]["passwords"]
    server = postgres.PostgresServer(folder=state.root / "postgres", socket_folder=state.run)
    postgres.prepare(server, superuser_password=words[postgres.SUPERUSER])
    with _running(server, words[postgres.SUPERUSER]):
        fill(folder, server, passwords=words)


def fill(folder: Path, server: postgres.PostgresServer, *, passwords: Mapping[str, str]) -> None:
    """Fill the empty databases of a running server from a backup.

    Raises `BackupError`.
    """
    check(folder)
    words = {name: word for name, word in passwords.items() if name != postgres.SUPERUSER}
    postgres.declare(server, superuser_password=passwords[postgres.SUPERUSER], passwords=words)
    for service in SERVICES:
        name = f"datalabs_{service}"
        _run(
            "pg_restore",
            [*_where(server, name), "--exit-on-error", "--single-transaction", "--no-owner"],
            [str(folder / f"{service}.dump")],
            password=words[service],
        )
        with psycopg.connect(
            host=str(server.socket_folder), port=server.port, user=name, password=words[service], dbname=name
        ) as connection:
            if connection.execute("SELECT to_regclass('outbox')").fetchone() != (None,):
                connection.execute("UPDATE outbox SET published_at = NULL")


def check(folder: Path) -> None:
    """Compare every file of a backup with its manifest.

    Raises `BackupError`.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files: dict[str, str] = manifest["files"]
    except (OSError, ValueError, KeyError) as error:
        raise BackupError(f"{folder} is no backup: {error}") from error
    if manifest["layout"] > LAYOUT_VERSION:
        raise BackupError(f"{folder} was made by a newer version.")
    for name, digest in files.items():
        try:
            found = _digest(folder / name)
        except OSError as error:
            raise BackupError(f"{folder / name} is missing: {error}") from error
        if found != digest:
            raise BackupError(f"{folder / name} is not what was backed up: its SHA-256 is {found}.")


def _manifest(folder: Path, now: datetime) -> dict[str, object]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {
        "made_at": now.isoformat(),
        "layout": LAYOUT_VERSION,
        "files": {str(file.relative_to(folder)): _digest(file) for file in files},
    }


def _digest(file: Path) -> str:
    found = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            found.update(block)
    return found.hexdigest()


def _dump(server: postgres.PostgresServer, service: str, password: str, file: Path) -> None:
    _run(
        "pg_dump",
        [*_where(server, f"datalabs_{service}"), "--format=custom", f"--file={file}"],
        [],
        password=password,
    )
    file.chmod(0o600)


def _where(server: postgres.PostgresServer, name: str) -> list[str]:
    return [
        f"--host={server.socket_folder}",
        f"--port={server.port}",
        f"--username={name}",
        f"--dbname={name}",
    ]


def _run(program: str, options: list[str], arguments: list[str], *, password: str) -> None:
    done = subprocess.run(
        [str(postgres.binaries() / program), *options, "--no-password", *arguments],
        capture_output=True,
        check=False,
        text=True,
        env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "PGPASSWORD": password},
    )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise BackupError(f"{program} failed: {said[-1] if said else f'code {done.returncode}'}")


@contextmanager
def _running(server: postgres.PostgresServer, password: str) -> Iterator[None]:
    """Run a server that nobody else uses until the block ends."""
    process = subprocess.Popen(
        postgres.command(server), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=server.folder
    )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                postgres.connect(server, password=password).close()
                break
            except psycopg.OperationalError as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise BackupError(f"PostgreSQL does not start: {error}") from error
                time.sleep(0.1)
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()
