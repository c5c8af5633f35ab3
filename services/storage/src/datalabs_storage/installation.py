"""A collection's files on disk: checked, put together aside, moved into place in one step."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from datalabs_contracts.metadata import CollectionMeta, CollectionSource
from datalabs_storage.errors import InstallationError
from datalabs_storage.folders import is_real_folder
from datalabs_storage.models import Layout

FILE_MODE = 0o444
FOLDER_MODE = 0o755
STAMP = "%Y%m%dT%H%M%S"


def is_intact(layout: Layout, meta: CollectionMeta) -> bool:
    """Whether what was installed is what the description asks for and looks untouched: sizes and times only."""
    place = layout.collections / meta.id
    try:
        record: dict[str, Any] = json.loads(_record(layout, meta.id).read_text())
    except (OSError, ValueError):
        return False
    if {path: entry[0] for path, entry in record.items()} != {file.path: file.sha256 for file in meta.files}:
        return False
    for path, entry in record.items():
        try:
            status = (place / path).lstat()
        except OSError:
            return False
        if [status.st_size, status.st_mtime_ns] != entry[1:]:
            return False
    return True


def damaged(place: Path, meta: CollectionMeta) -> list[CollectionSource]:
    """Return the files that are missing or differ from the description, by reading all of them."""
    return [file for file in meta.files if not is_file_good(place / file.path, file)]


def is_file_good(path: Path, file: CollectionSource) -> bool:
    """Whether a file has the size and the SHA-256 of its description."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size != file.bytes:
        return False
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest() == file.sha256


def assemble(folder: Path, meta: CollectionMeta, sources: Mapping[str, Path]) -> None:
    """Copy every file to its path in a fresh folder, read-only, and check it on the way.

    Raises `InstallationError` for a file that is not what the description says, `OSError`.
    """
    folder.mkdir(mode=FOLDER_MODE, parents=True)
    for file in meta.files:
        target = folder / file.path
        target.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        with sources[file.path].open("rb") as content, target.open("xb") as copy:
            shutil.copyfileobj(content, copy)
            copy.flush()
            os.fsync(copy.fileno())
            os.fchmod(copy.fileno(), FILE_MODE)
        if not is_file_good(target, file):
            raise InstallationError(
                f"{file.path} from {file.package or file.folder} has another size or checksum than described"
            )


def put_in_place(layout: Layout, meta: CollectionMeta, folder: Path, *, now: datetime) -> None:
    """Make an assembled folder the collection; former files stay aside for labs that have them mounted."""
    place = layout.collections / meta.id
    if place.is_symlink() or (place.exists() and not is_real_folder(place)):
        place.unlink()
    if place.exists():
        layout.replaced.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The name tells since when; a second replacement within a second gets a name of its own.
        former = layout.replaced / f"{meta.id}@{now.strftime(STAMP)}"
        while former.exists():
            former = former.with_name(former.name + "+")
        place.rename(former)
    folder.rename(place)
    note(layout, meta)


def note(layout: Layout, meta: CollectionMeta) -> None:
    """Write down sizes and times of a collection whose content was just checked."""
    place = layout.collections / meta.id
    entries: dict[str, list[str | int]] = {}
    for file in meta.files:
        status = (place / file.path).lstat()
        entries[file.path] = [file.sha256, status.st_size, status.st_mtime_ns]
    record = _record(layout, meta.id)
    record.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = record.with_suffix(".draft")
    draft.write_text(json.dumps(entries))
    draft.rename(record)


def forget(layout: Layout, collection_id: str) -> None:
    """Remove the record, so that the next check reads everything."""
    _record(layout, collection_id).unlink(missing_ok=True)


def replaced_before(layout: Layout, moment: datetime) -> list[Path]:
    """Return former files that were replaced before a moment."""
    old: list[Path] = []
    if layout.replaced.is_dir():
        for folder in layout.replaced.iterdir():
            stamp = folder.name.rpartition("@")[2].rstrip("+")
            with contextlib.suppress(ValueError):
                if datetime.strptime(stamp, STAMP).replace(tzinfo=moment.tzinfo) < moment:
                    old.append(folder)
    return old


@contextlib.contextmanager
def workshop(layout: Layout, name: str) -> Iterator[Path]:
    """Give a fresh folder on the collections' file system that is gone afterwards, whatever is left in it."""
    folder = layout.installing / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _record(layout: Layout, collection_id: str) -> Path:
    return layout.records / f"{collection_id}.json"
