"""The parts' logs: rotated by size, read from the end, followed."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

MAX_BYTES = 10 * 1024**2
KEPT = 2
_BLOCK = 64 * 1024
_FOLLOW_SECONDS = 0.2


def open_log(path: Path) -> int:
    """Open a log for appending and return its descriptor, to be handed to a part."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def rotate(path: Path, *, max_bytes: int = MAX_BYTES, kept: int = KEPT) -> bool:
    """Copy a log that has grown too large to `<log>.1` and empty it; return whether that was done.

    Parts write to the file themselves, in append mode, so no process stands between a part and its log; the price is
    that lines written between copying and emptying are lost.
    """
    try:
        if path.stat().st_size < max_bytes:
            return False
    except FileNotFoundError:
        return False
    for number in range(kept, 1, -1):
        older = path.with_name(f"{path.name}.{number - 1}")
        if older.exists():
            older.replace(path.with_name(f"{path.name}.{number}"))
    copy = path.with_name(f"{path.name}.1")
    shutil.copyfile(path, copy)
    copy.chmod(0o600)
    os.truncate(path, 0)
    return True


def size_of(path: Path) -> int:
    """Return how many bytes a log has."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def last_lines(path: Path, count: int, *, since: int = 0) -> list[str]:
    """Return the last lines of a log, none of them before byte `since`; none if there is no log."""
    try:
        with path.open("rb") as file:
            position = file.seek(0, os.SEEK_END)
            since = since if since <= position else 0
            data = b""
            while position > since and data.count(b"\n") <= count:
                step = min(_BLOCK, position - since)
                position = file.seek(position - step)
                data = file.read(step) + data
                file.seek(position)
    except FileNotFoundError:
        return []
    return data.decode("utf-8", errors="replace").splitlines()[-count:] if count else []


def follow(path: Path, *, pause: float = _FOLLOW_SECONDS) -> Iterator[str]:
    """Yield what is appended from now on, for ever; a rotation in between does not end it."""
    position = size_of(path)
    rest = b""
    while True:
        size = size_of(path)
        if size < position:
            position = 0
        if size == position:
            time.sleep(pause)
            continue
        with path.open("rb") as file:
            file.seek(position)
            data = file.read(size - position)
        position += len(data)
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", errors="replace")


def readable(line: str, *, width: int = 400) -> str:
    """Return a service's JSON log line in the words of its event, and any other line as it is, cut to a width."""
    try:
        entry = json.loads(line)
        event, level = entry.pop("event"), entry.pop("level", "")
    except (ValueError, KeyError, AttributeError, TypeError):
        return line[:width]
    stamp = str(entry.pop("timestamp", ""))
    clock = stamp[11:23] if len(stamp) > 23 else stamp  # noqa: PLR2004 - the time of day of an ISO stamp
    exception = str(entry.pop("exception", "")).strip()
    entry.pop("service", None)
    facts = " ".join(f"{name}={value}" for name, value in entry.items())
    cause = f": {exception.splitlines()[-1]}" if exception else ""
    return f"{clock} {level} {event}{cause} {facts}".strip()[:width]
