"""Reads what collections there are: `<content>/collections/<id>.yml`."""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import structlog
import yaml
from pydantic import ValidationError

from datalabs_contracts.metadata import CollectionMeta
from datalabs_storage.models import Description

LARGEST = 8 * 1024 * 1024
"""Bytes of a description; one with 50,000 files is about that large."""

log = structlog.get_logger(__name__)


def signature(roots: Iterable[Path]) -> tuple[tuple[str, int, int], ...]:
    """Return what changes whenever a description does: path, size and time of each."""
    found: list[tuple[str, int, int]] = []
    for path in _files(roots):
        try:
            status = path.stat()
        except OSError:
            continue
        found.append((str(path), status.st_size, status.st_mtime_ns))
    return tuple(found)


def read_descriptions(roots: Iterable[Path]) -> dict[str, Description]:
    """Return the descriptions by collection id; a broken one is reported and hurts no other.

    Of two with one id the first counts, in the order of the roots.
    """
    found: dict[str, Description] = {}
    for path in _files(roots):
        try:
            description = _read(path)
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            log.warning("collections.broken_description", file=str(path), reason=_reason(error))
            continue
        if description.meta.id in found:
            log.warning("collections.described_twice", file=str(path), collection=description.meta.id)
            continue
        found[description.meta.id] = description
    return found


def _files(roots: Iterable[Path]) -> list[Path]:
    return [path for root in roots for path in sorted((root / "collections").glob("*.yml"))]


def _read(path: Path) -> Description:
    if path.stat().st_size > LARGEST:
        raise ValueError(f"larger than {LARGEST} bytes")
    meta = CollectionMeta.model_validate(yaml.safe_load(path.read_bytes()))
    if meta.id != path.stem:
        raise ValueError(f"the id {meta.id!r} is not the file's name")
    names = [file.path for file in meta.files]
    if len(set(names)) != len(names):
        raise ValueError("two files have one path")
    for file in meta.files:
        if (file.package is None) == (file.folder is None):
            raise ValueError(f"{file.path}: either a package or a folder must be named")
        for name in (file.path, file.member):
            if not _inside(name):
                raise ValueError(f"{name!r} leads elsewhere")
    folders = {str(parent) for name in names for parent in PurePosixPath(name).parents}
    if folders & {str(PurePosixPath(name)) for name in names}:
        raise ValueError("a path is both a file and a folder")
    return Description(meta=meta, folder=path.parent)


def _inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\0" not in name


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(f"{'/'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()[:5])
    return " ".join(str(error).split())[:500]
