"""The state folder: where everything lives, its lock, its layout version, and what it must be to be used."""

import errno
import fcntl
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datalabs_standalone.failures import (
    DiskFullError,
    NewerLayoutError,
    PathTooLongError,
    StateReadOnlyError,
    StateUnusableError,
)
from datalabs_standalone.processes import ProcessRef

LAYOUT_VERSION = 1
"""Raised whenever the folder's layout changes; an older folder is migrated, a newer one refused."""

MIN_FREE_BYTES = 512 * 1024**2
"""Below this the platform does not start: PostgreSQL and NATS must never meet a full disk."""

_SOCKET_PATH_BYTES = 107
"""`sun_path` of a Unix socket has 108 bytes, one of them the closing zero."""

_LONGEST_SOCKET = "run/accounting.health.sock"
_FOLDERS = (
    "run",
    "secrets",
    "secrets/identity",
    "logs",
    "nats",
    "postgres",
    "envoy",
    "volumes",
    "collections",
    "environments",
    "labs",
)


def default_state() -> Path:
    """Return where the state lies when nobody says otherwise (`DATALABS_STATE`, then the XDG state folder)."""
    named = os.environ.get("DATALABS_STATE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "datalabs"


@dataclass(frozen=True)
class StateFolder:
    """Paths under one state folder."""

    root: Path

    @classmethod
    def at(cls, path: Path) -> "StateFolder":
        """Return the folder at a path, made absolute, its links resolved."""
        return cls(path.expanduser().resolve())

    @property
    def settings_file(self) -> Path:
        """`datalabs.toml`."""
        return self.root / "datalabs.toml"

    @property
    def credentials_file(self) -> Path:
        """The accounts of the first start."""
        return self.root / "credentials.json"

    @property
    def run(self) -> Path:
        """Sockets and what the supervisor remembers of running parts."""
        return self.root / "run"

    @property
    def secrets(self) -> Path:
        """Keys."""
        return self.root / "secrets"

    @property
    def logs(self) -> Path:
        """One file a part."""
        return self.root / "logs"

    @property
    def control_socket(self) -> Path:
        """Where the supervisor takes commands."""
        return self.run / "supervisor.sock"

    def log_of(self, part: str) -> Path:
        """Return a part's log."""
        return self.logs / f"{part}.log"

    def health_socket(self, service: str) -> Path:
        """Return where a service answers about its health."""
        return self.run / f"{service}.health.sock"

    def check_and_make(self, *, min_free_bytes: int = MIN_FREE_BYTES) -> bool:
        """Make the folder and what belongs in it; return whether it is new.

        Raises a `StandaloneError` that says what is wrong with the path.
        """
        self._check_path()
        with writing(self.root):
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            new = not (self.root / "version").exists()
            if new:
                self._claim()
            else:
                self._check_version()
            for name in _FOLDERS:
                (self.root / name).mkdir(exist_ok=True, mode=0o700)
            self._try_writing()
        self._check_space(min_free_bytes)
        return new

    def _check_path(self) -> None:
        length = len(os.fsencode(self.root / _LONGEST_SOCKET))
        if length > _SOCKET_PATH_BYTES:
            room = _SOCKET_PATH_BYTES - len(_LONGEST_SOCKET) - 1
            raise PathTooLongError(
                f"the state folder's path has {len(os.fsencode(self.root))} bytes; Unix sockets leave room for {room}. "
                "Choose a shorter one with --state."
            )
        if self.root.exists() and not self.root.is_dir():
            raise StateUnusableError(f"{self.root} is not a folder. Choose another with --state.")
        if self.root.exists() and self.root.stat().st_uid != os.geteuid():
            raise StateUnusableError(f"{self.root} belongs to another user. Choose another with --state.")

    def _claim(self) -> None:
        """Take an empty folder; refuse one with other people's things, whose mode we would otherwise change."""
        others = [entry.name for entry in self.root.iterdir() if entry.name not in {"lock", "version.new"}]
        if others:
            raise StateUnusableError(
                f"{self.root} holds other things ({', '.join(sorted(others)[:3])}) and no platform state. "
                "Choose an empty or a new folder with --state."
            )
        self.root.chmod(0o700)
        write_private(self.root / "version", f"{LAYOUT_VERSION}\n")

    def _check_version(self) -> None:
        text = (self.root / "version").read_text(encoding="utf-8").strip()
        try:
            found = int(text)
        except ValueError:
            raise StateUnusableError(
                f"{self.root / 'version'} says {text[:40]!r}, which is no version."
            ) from None
        if found > LAYOUT_VERSION:
            raise NewerLayoutError(
                f"{self.root} was written by a newer Open Datalabs (layout {found}; this one knows {LAYOUT_VERSION}). "
                "Install that version, or choose another folder with --state."
            )

    def _try_writing(self) -> None:
        """Write and remove a file: permission bits tell root nothing about a read-only file system."""
        probe = self.run / "writable"
        write_private(probe, "")
        probe.unlink()

    def _check_space(self, min_free_bytes: int) -> None:
        room = os.statvfs(self.root)
        free = room.f_bavail * room.f_frsize
        if free < min_free_bytes:
            raise DiskFullError(
                f"{self.root} has {free // 1024**2} MiB free; the platform needs {min_free_bytes // 1024**2} MiB to start. "
                "Free some space, or choose another disk with --state."
            )


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's refusals to write into ours."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.EROFS, errno.EACCES, errno.EPERM}:
            raise StateReadOnlyError(
                f"{error.filename or path} cannot be written ({error.strerror}). Choose a folder of yours with --state."
            ) from error
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise DiskFullError(f"{path}: {error.strerror}. Free some space.") from error
        if error.errno in {errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}:
            raise StateUnusableError(f"{error.filename or path}: {error.strerror}.") from error
        raise


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner reads, whole or not at all."""
    fresh = path.with_name(path.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), stat.S_IRUSR | stat.S_IWUSR)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def take_lock(state: StateFolder) -> int | None:
    """Take the lock of a state folder; None when another supervisor has it. It is held while the number is open."""
    descriptor = os.open(state.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def is_locked(state: StateFolder) -> bool:
    """Tell whether a supervisor holds this folder."""
    if not (state.root / "lock").exists():
        return False
    lock = take_lock(state)
    if lock is not None:
        os.close(lock)
    return lock is None


@dataclass(frozen=True)
class RunningParts:
    """What the supervisor remembers of its processes, so that the next one can clear what a killed one left."""

    file: Path

    def read(self) -> dict[str, ProcessRef]:
        """Return the parts by name; nothing if the file is missing or torn."""
        try:
            stored: dict[str, Any] = json.loads(self.file.read_text(encoding="utf-8"))
            return {name: ProcessRef(**fields) for name, fields in stored.items()}
        except (OSError, ValueError, TypeError):
            return {}

    def write(self, parts: dict[str, ProcessRef]) -> None:
        """Store the parts."""
        write_private(self.file, json.dumps({name: asdict(one) for name, one in parts.items()}, indent=1))
