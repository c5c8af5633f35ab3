"""The tail of an attempt's log: read backwards, over the turned-over file too."""

from pathlib import Path

_BLOCK = 65_536
LONGEST_LINE = 8192


def tail(folder: Path, *, lines: int) -> tuple[list[str], bool]:
    """Return the last lines, oldest first, and whether older ones exist."""
    found: list[str] = []
    for name in ("log", "log.1"):
        want = lines + 1 - len(found)
        if want <= 0:
            break
        found = _last(folder / name, want) + found
    more = len(found) > lines
    return found[-lines:] if more else found, more


def _last(path: Path, count: int) -> list[str]:
    try:
        file = path.open("rb")
    except OSError:
        return []
    with file:
        position = file.seek(0, 2)
        data = b""
        while position > 0 and data.count(b"\n") <= count:
            step = min(_BLOCK, position)
            position -= step
            file.seek(position)
            data = file.read(step) + data
    rows = data.split(b"\n")
    if rows and not rows[-1]:
        rows.pop()
    return [row[:LONGEST_LINE].decode(errors="replace").rstrip("\r") for row in rows[-count:]]
