"""Removes a folder that strangers filled: no link followed, no other file system entered, no depth too deep."""

import os
import secrets
from pathlib import Path

from datalabs_storage.folders import OPEN_FOLDER


class ForeignFileSystemError(Exception):
    """Something is mounted inside what should be removed; it is left alone."""


def remove_tree(root: Path) -> None:
    """Remove a folder and all in it; nothing happens when it is not there.

    Deep folders are moved up to the top, one level a round, so that neither recursion nor open files grow with
    depth. Raises `ForeignFileSystemError`, `OSError`.
    """
    try:
        top = os.open(root, OPEN_FOLDER)
    except FileNotFoundError:
        return
    try:
        device = os.fstat(top).st_dev
        while folders := _clear_files(top):
            for name in folders:
                _hoist(top, name, device)
    finally:
        os.close(top)
    root.rmdir()


def _clear_files(folder: int) -> list[str]:
    """Remove all but folders; return their names."""
    folders: list[str] = []
    for name, is_folder in _entries(folder):
        if is_folder:
            folders.append(name)
        else:
            os.unlink(name, dir_fd=folder)
    return folders


def _hoist(top: int, name: str, device: int) -> None:
    """Remove a folder of `top`, its own folders moved beside it."""
    inner = _open(top, name)
    try:
        if os.fstat(inner).st_dev != device:
            raise ForeignFileSystemError(f"{name!r} is mounted from elsewhere")
        for folder in _clear_files(inner):
            if os.geteuid() != 0:
                os.close(_open(inner, folder))
            os.rename(folder, secrets.token_hex(16), src_dir_fd=inner, dst_dir_fd=top)
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=top)


def _open(above: int, name: str) -> int:
    """Open a folder; without root it must first be made writable for its owner, who is the platform's user too."""
    if os.geteuid() != 0:
        os.chmod(name, 0o700, dir_fd=above)
    return os.open(name, OPEN_FOLDER, dir_fd=above)


def _entries(folder: int) -> list[tuple[str, bool]]:
    with os.scandir(folder) as entries:
        return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
