"""The versions' own files: hashed, and copied aside, so that a version stays what it was when its folder changes."""

import hashlib
import os
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

from datalabs_catalogue.errors import BrokenEntryError

LEFT_OUT = {".git", ".ipynb_checkpoints", "__pycache__", ".DS_Store", "node_modules"}
MOST_FILES = 5000
MIB = 1024 * 1024
DIGEST_SHOWN = 12
"""Hexadecimal digits of a digest in a folder's name: 48 bits tell an entry's states apart."""


def files_of(folder: Path) -> Iterator[Path]:
    """Give the ordinary files of an entry in a stable order; links, special files and leftovers are no part of it."""
    for path, names, files in os.walk(folder):
        names[:] = sorted(name for name in names if name not in LEFT_OUT)
        for name in sorted(files):
            file = Path(path) / name
            if name not in LEFT_OUT and stat.S_ISREG(file.lstat().st_mode):
                yield file


def signature(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Return what changes whenever a file does: name, size and time of each. Cheap: nothing is read."""
    found: list[tuple[str, int, int]] = []
    for number, file in enumerate(files_of(folder)):
        if number > MOST_FILES:
            break
        status = file.lstat()
        found.append((str(file.relative_to(folder)), status.st_size, status.st_mtime_ns))
    return tuple(found)


def digest_of(folder: Path, *, largest: int) -> str:
    """Return the SHA-256 over names, execute bits and contents of all files.

    Raises `BrokenEntryError` for more than `largest` bytes or too many files.
    """
    total = 0
    digest = hashlib.sha256()
    for number, file in enumerate(files_of(folder)):
        status = file.lstat()
        total += status.st_size
        if number >= MOST_FILES or total > largest:
            raise BrokenEntryError(f"more than {MOST_FILES} files or {largest // MIB} MiB")
        with file.open("rb") as content:
            inner = hashlib.file_digest(content, "sha256").hexdigest()
        # Every part has a fixed form, so that no two different folders make the same text.
        name = file.relative_to(folder).as_posix()
        digest.update(f"{len(name.encode())}:{name}:{int(_is_program(status))}:{inner}\n".encode())
    return digest.hexdigest()


class Sources:
    """Copies of the versions' files under one folder: `<slug>/<version>-<digest>`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def place(self, slug: str, version: str, digest: str) -> Path:
        """Return where the files of a version lie."""
        return self._folder / slug / f"{version}-{digest[:DIGEST_SHOWN]}"

    def keep(self, folder: Path, *, slug: str, version: str, digest: str) -> Path:
        """Copy an entry's files, read-only, unless it was done before; return the copy."""
        place = self.place(slug, version, digest)
        if place.is_dir():
            return place
        place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        draft = place.with_name(f".{place.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o755)
        for file in files_of(folder):
            target = draft / file.relative_to(folder)
            target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            shutil.copyfile(file, target, follow_symlinks=False)
            target.chmod(0o555 if _is_program(file.lstat()) else 0o444)
        if digest_of(draft, largest=sys.maxsize) != digest:
            shutil.rmtree(draft)
            raise BrokenEntryError("its files changed while they were read; they are read again")
        draft.rename(place)
        return place

    def clear(self, needed: Iterable[str], *, before: datetime) -> None:
        """Remove copies that no version has named since a moment; the folders' times remember when one last did."""
        wanted = set(needed)
        if not self._folder.is_dir():
            return
        for place in self._folder.glob("*/*"):
            if str(place) in wanted:
                os.utime(place)
            elif datetime.fromtimestamp(place.lstat().st_mtime, tz=before.tzinfo) < before:
                shutil.rmtree(place, ignore_errors=True)


def _is_program(status: os.stat_result) -> bool:
    return bool(status.st_mode & stat.S_IXUSR)
