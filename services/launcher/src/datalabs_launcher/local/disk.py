"""How much a lab has written: counted file by file, no further than its limit, and politely."""

import contextlib
import math
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass

MIB = 2**20
SHARE = 0.05
"""Counting one lab's files may take this part of the time: one with a million of them is looked at less often."""
FEWEST_FILES = 10_000
"""So many files are let to the smallest lab."""
_BLOCK = 512
_PAUSE_AFTER = 2000
_PAUSE_SECONDS = 0.002


@dataclass(frozen=True)
class Written:
    """Bytes on disk and files; `more` when counting was ended at a limit."""

    bytes: int
    files: int
    more: bool = False


@dataclass
class Counter:
    """Looks at one lab's scratch, the less often the longer a look takes."""

    again_at: float = 0.0

    def over(self, folders: Iterable[str], *, disk_mib: int, files_per_mib: int) -> str | None:
        """Return what `over_its_size` says, or None when it is too early for another look."""
        began = time.monotonic()
        if began < self.again_at:
            return None
        text = over_its_size(folders, disk_mib=disk_mib, files_per_mib=files_per_mib)
        ended = time.monotonic()
        self.again_at = ended + (ended - began) / SHARE
        return text


def written(
    folders: Iterable[str], *, most_bytes: float = math.inf, most_files: int, longest: float = math.inf
) -> Written:
    """Count what lies in the folders; hard links count once. Ends as soon as a limit is passed, so it is bounded by it.

    Links are not followed and other file systems not entered: the folders are a stranger's to fill. `longest` is in
    seconds.
    """
    size = files = 0
    seen: set[int] = set()
    end = time.monotonic() + longest
    waiting = [(folder, device) for folder in folders if (device := _device(folder)) is not None]
    while waiting:
        folder, device = waiting.pop()
        try:
            entries = os.scandir(folder)
        except OSError:
            continue  # gone meanwhile
        with entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    about = entry.stat(follow_symlinks=False)
                    if about.st_nlink > 1 and not entry.is_dir(follow_symlinks=False):
                        if about.st_ino in seen:
                            continue
                        seen.add(about.st_ino)
                    size += about.st_blocks * _BLOCK
                    files += 1
                    if entry.is_dir(follow_symlinks=False) and about.st_dev == device:
                        waiting.append((entry.path, device))
                if size > most_bytes or files > most_files or time.monotonic() > end:
                    return Written(size, files, more=True)
                if files % _PAUSE_AFTER == 0:
                    time.sleep(_PAUSE_SECONDS)  # a lab with many files must not cost the platform a core
    return Written(size, files)


def _device(folder: str) -> int | None:
    try:
        return os.lstat(folder).st_dev
    except OSError:
        return None


def over_its_size(folders: Iterable[str], *, disk_mib: int, files_per_mib: int) -> str | None:
    """Return in plain words how what lies in a lab's scratch is more than it may be; None when it is not.

    Files count too: ten million empty ones would take the file system from everybody else.
    """
    if not disk_mib:
        return None
    most_files = max(FEWEST_FILES, disk_mib * files_per_mib)
    found = written(folders, most_bytes=disk_mib * MIB, most_files=most_files)
    if found.bytes > disk_mib * MIB:
        return f"Its scratch holds more than its {disk_mib} MiB."
    return f"Its scratch holds more than {most_files} files." if found.more else None
