"""Folders that belong to a person, made inside folders that belong to the platform."""

import contextlib
import os
import stat
from pathlib import Path

from datalabs_storage.errors import StrangeFolderError

OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""Never follows a symbolic link in the last place, fails at once on pipes and devices."""
PLATFORM_MODE = 0o711
"""Of the folders above: labs may pass through, nobody may look around."""
OWN_MODE = 0o700


def is_root() -> bool:
    """Whether this process can give files to people; without it everything belongs to the platform's user."""
    return os.geteuid() == 0


def make_own(parent: Path, name: str, *, uid: int) -> Path:
    """Make the folder `name` for this uid, private to it; repeating it changes nothing.

    Raises `StrangeFolderError` when something else lies there, `OSError` when the disk refuses.
    """
    parent.mkdir(mode=PLATFORM_MODE, parents=True, exist_ok=True)
    above = os.open(parent, OPEN_FOLDER)
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, OWN_MODE, dir_fd=above)
        try:
            own = os.open(name, OPEN_FOLDER, dir_fd=above)
        except OSError as error:
            raise StrangeFolderError(f"{parent / name} is no folder: {error.strerror}") from error
    finally:
        os.close(above)
    try:
        give(own, uid=uid, what=str(parent / name))
    finally:
        os.close(own)
    return parent / name


def give(folder: int, *, uid: int, what: str) -> None:
    """Give an open folder to a uid, if it is still the platform's own from being made.

    Raises `StrangeFolderError` when it is somebody else's.
    """
    status = os.fstat(folder)
    wanted = uid if is_root() else os.geteuid()
    if status.st_uid == wanted:
        return
    if status.st_uid != os.geteuid():
        raise StrangeFolderError(f"{what} belongs to uid {status.st_uid}, not to {wanted}")
    os.fchown(folder, uid, uid)


def is_real_folder(path: Path) -> bool:
    """Whether a folder, and not a link to one, is there."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False
