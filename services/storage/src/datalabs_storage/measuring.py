"""Measures what a folder holds on disk."""

import os
import stat
import time
from pathlib import Path

BLOCK = 512
"""`st_blocks` counts these, whatever the file system's own block size (stat(2))."""


class TooLargeError(Exception):
    """It could not be measured in the time allowed."""


def measure(folder: Path, *, seconds: float) -> int:
    """Return the bytes on disk of a folder, links not followed, a file with several names counted once.

    What changes or vanishes meanwhile is counted as it was met. Raises `TooLargeError` after so many seconds.
    """
    until = time.monotonic() + seconds
    total = 0
    seen: set[tuple[int, int]] = set()
    pending = [os.fspath(folder)]
    while pending:
        if time.monotonic() > until:
            raise TooLargeError
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except OSError:
                        continue
                    if stat.S_ISDIR(status.st_mode):
                        pending.append(entry.path)
                    elif status.st_nlink > 1:
                        if (status.st_dev, status.st_ino) in seen:
                            continue
                        seen.add((status.st_dev, status.st_ino))
                    total += status.st_blocks * BLOCK
        except OSError:
            continue
    return total
