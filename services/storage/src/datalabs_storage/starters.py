"""Copies a datalab's starter files into a home: once, never over anything, and never through a link.

The home belongs to its person, who may put links and pipes there while this runs (perhaps as root). So every step goes
through an open folder, no link is followed, and a finished file takes its name in one step that fails if it is taken.
"""

import contextlib
import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import structlog

from datalabs_storage.errors import StrangeFolderError
from datalabs_storage.folders import OPEN_FOLDER, give, is_root

FILE_MODE = 0o644
FOLDER_MODE = 0o755
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
LONGEST_NAME = 255
"""Bytes of one name on Linux."""

log = structlog.get_logger(__name__)


def copy_starters(
    home: Path, folder: str, sources: Iterable[Path], *, given: set[str], uid: int
) -> list[str]:
    """Copy files and folders into `home/folder`; return the names that are new there, relative to it.

    What stands in `given` was copied before and is left out, unless the folder itself is gone: removing it is how a
    person asks for fresh copies. A home without room gets what fits. Raises `StrangeFolderError` when the folder's
    place is taken by something else, `ValueError` for a folder name that leads elsewhere.
    """
    parts = _parts(folder)
    wanted = dict(_expanded(sources))
    if not wanted:
        return []
    with contextlib.ExitStack() as stack:
        inside = stack.enter_context(_opened(home))
        fresh = False
        for part in parts:
            inside, made = stack.enter_context(_folder(inside, part, uid=uid))
            fresh = fresh or made
        copied: list[str] = []
        for name, source in wanted.items():
            if name in given and not fresh:
                continue
            try:
                _copy(inside, PurePosixPath(name), source, uid=uid)
            except OSError as error:
                log.warning("starters.not_copied", file=name, home=home.name, reason=error.strerror)
                if error.errno in NO_ROOM:
                    break
                continue
            copied.append(name)
    return copied


def _parts(folder: str) -> list[str]:
    parts = folder.split("/")
    if any(part in {"", ".", ".."} or "\0" in part or len(part.encode()) > LONGEST_NAME for part in parts):
        raise ValueError(f"{folder!r} is no folder inside a home")
    return parts


def _expanded(sources: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    """Give (name in the home, file) of each starter; a folder gives its files. Links and special files are left out."""
    for source in sources:
        if not source.is_absolute():
            log.warning("starters.not_absolute", file=str(source))
            continue
        try:
            mode = source.lstat().st_mode
        except OSError as error:
            log.warning("starters.missing", file=str(source), reason=error.strerror)
            continue
        if stat.S_ISREG(mode):
            yield source.name, source
        elif stat.S_ISDIR(mode):
            for found in sorted(source.rglob("*")):
                if not found.is_symlink() and found.is_file() and "__pycache__" not in found.parts:
                    yield found.relative_to(source.parent).as_posix(), found


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    folder = os.open(path, OPEN_FOLDER)
    try:
        yield folder
    finally:
        os.close(folder)


@contextlib.contextmanager
def _folder(above: int, name: str, *, uid: int) -> Iterator[tuple[int, bool]]:
    """Open a folder of the home, made if it is missing; tells whether it was."""
    made = True
    try:
        os.mkdir(name, FOLDER_MODE, dir_fd=above)
    except FileExistsError:
        made = False
    try:
        folder = os.open(name, OPEN_FOLDER, dir_fd=above)
    except OSError as error:
        raise StrangeFolderError(f"{name!r} in the home is no folder: {error.strerror}") from error
    try:
        give(folder, uid=uid, what=f"{name!r} in the home")
        yield folder, made
    finally:
        os.close(folder)


def _copy(folder: int, name: PurePosixPath, source: Path, *, uid: int) -> None:
    with contextlib.ExitStack() as stack:
        for part in name.parts[:-1]:
            folder, _ = stack.enter_context(_folder(folder, part, uid=uid))
        reading = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        origin = stack.enter_context(os.fdopen(reading, "rb"))
        draft = f".{secrets.token_hex(8)}.starter"
        writing = os.open(
            draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder
        )
        stack.callback(_unlink, draft, folder)
        with os.fdopen(writing, "wb") as target:
            shutil.copyfileobj(origin, target)
            target.flush()
            os.fchmod(target.fileno(), FILE_MODE)
            if is_root():
                os.fchown(target.fileno(), uid, uid)
        with contextlib.suppress(FileExistsError):  # the person's own file of this name stays
            os.link(draft, name.name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)


def _unlink(name: str, folder: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
