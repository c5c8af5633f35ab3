"""Who a person is, as programs inside a lab look it up: `passwd` and `group`, one folder a person.

They lie apart from the person's own volumes: what a lab's start mounts must not be theirs to replace by a link.
"""

import os
import secrets
from pathlib import Path

from datalabs_storage.folders import PLATFORM_MODE

FOLDER_MODE, FILE_MODE = 0o755, 0o444


def keep_account(parent: Path, owner: str, *, uid: int, home: str) -> Path:
    """Have a person's files, and return their folder; repeating it changes nothing.

    Raises `OSError` when the disk refuses.
    """
    folder = parent / owner
    for name, text in (("passwd", _passwd(owner, uid, home)), ("group", _group(owner, uid))):
        file = folder / name
        if not _says(file, text):
            _write(file, text)
    return folder


def _says(file: Path, text: str) -> bool:
    try:
        return file.read_text() == text
    except (FileNotFoundError, NotADirectoryError):
        return False


def _write(file: Path, text: str) -> None:
    """Put a file in place whole: a lab that starts meanwhile has the old one or the new one."""
    file.parent.parent.mkdir(mode=PLATFORM_MODE, parents=True, exist_ok=True)
    file.parent.mkdir(mode=FOLDER_MODE, exist_ok=True)
    draft = file.with_name(f".{file.name}-{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    with os.fdopen(descriptor, "w") as writing:
        os.fchmod(writing.fileno(), FILE_MODE)
        writing.write(text)
    draft.rename(file)


def _passwd(owner: str, uid: int, home: str) -> str:
    return (
        f"{owner}:x:{uid}:{uid}:{owner}:{home}:/bin/bash\n"
        "root:x:0:0:root:/root:/usr/sbin/nologin\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    )


def _group(owner: str, uid: int) -> str:
    return f"{owner}:x:{uid}:\nroot:x:0:\ntty:x:5:\nnogroup:x:65534:\n"
