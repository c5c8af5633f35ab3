"""Where files of Python distributions come from: installed here, fetched by uv, or taken from an index's archives."""

import asyncio
import contextlib
import importlib.metadata
import importlib.util
import re
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

import structlog

from datalabs_storage.errors import PackageError
from datalabs_storage.index import Index, normalised

UV_LIMIT = 600.0
"""Seconds for one package by uv."""
LAST_WORDS = 300
"""Characters of uv's complaint that are kept."""

log = structlog.get_logger(__name__)


class Packages:
    """Gets single files out of pinned distributions without installing or building anything."""

    def __init__(self, *, index: Index, uv: Path | None) -> None:
        self._index = index
        self._uv = uv

    async def fetch(self, package: str, archive: str, members: Iterable[str], into: Path) -> dict[str, Path]:
        """Return a file for each member; some lie in `into`, a folder that the caller removes.

        Raises `PackageError`.
        """
        name, version = _pinned(package)
        wanted = list(members)
        if archive == "wheel":
            installed = await asyncio.to_thread(_installed, name, version, wanted)
            if installed:
                return installed
            if self._uv is not None:
                try:
                    return await self._by_uv(name, version, wanted, into)
                except PackageError as error:
                    log.info("packages.uv_could_not", package=package, reason=str(error))
        file = await self._index.download(name, version, archive, into)
        return await asyncio.to_thread(_extract, file, archive, wanted, into)

    async def _by_uv(self, name: str, version: str, members: list[str], into: Path) -> dict[str, Path]:
        """Let uv unpack the wheel: it knows this machine's indexes, credentials and caches."""
        target = into / "site"
        # Another wheel than this platform's would do, but uv offers only that.
        process = await asyncio.create_subprocess_exec(
            str(self._uv), "pip", "install", "--quiet", "--no-deps", "--no-build", "--link-mode", "copy",
            "--python", sys.executable, "--target", str(target), f"{name}=={version}",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(UV_LIMIT):
                _, complaint = await process.communicate()
        except TimeoutError:
            raise PackageError(f"uv took longer than {UV_LIMIT:g} s for {name} {version}") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode != 0:
            words = " ".join(complaint.decode(errors="replace").split())[:LAST_WORDS]
            raise PackageError(f"uv could not install {name} {version}: {words}")
        return {member: _found(target / member, name) for member in members}


def find_uv() -> Path | None:
    """Return the uv program: on PATH, or from its own package."""
    found = shutil.which("uv")
    if found:
        return Path(found)
    if importlib.util.find_spec("uv") is not None:
        with contextlib.suppress(FileNotFoundError):
            return Path(importlib.import_module("uv").find_uv_bin())
    return None


def _pinned(package: str) -> tuple[str, str]:
    match = re.fullmatch(
        r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)==([A-Za-z0-9][A-Za-z0-9.!+_-]*)", package
    )
    if match is None:
        raise PackageError(f"{package!r} does not name one version as `name==version`")
    return match[1], match[2]


def _installed(name: str, version: str, members: list[str]) -> dict[str, Path]:
    """Return the members from this interpreter's own packages, or nothing."""
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return {}
    if distribution.version != version or normalised(distribution.metadata["Name"]) != normalised(name):
        return {}
    found = {member: Path(str(distribution.locate_file(member))) for member in members}
    return found if all(path.is_file() for path in found.values()) else {}


def _found(path: Path, name: str) -> Path:
    if not path.is_file():
        raise PackageError(f"{name} has no file {path.name}")
    return path


def _extract(file: Path, archive: str, members: list[str], into: Path) -> dict[str, Path]:
    """Copy single members out of an archive under names of our own: nothing in it chooses where it lands."""
    try:
        if file.name.endswith(".tar.gz"):
            return _from_tar(file, members, into)
        return _from_zip(file, members, into, skip_top=archive == "sdist")
    except KeyError as error:
        raise PackageError(f"{file.name} has no file {error.args[0]!r}") from error
    except (OSError, tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise PackageError(f"{file.name} cannot be read: {error}") from error


def _from_tar(file: Path, members: list[str], into: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    with tarfile.open(file, "r:gz") as tar:
        for entry in tar:
            member = entry.name.removeprefix("./").partition("/")[2]
            if member in members and member not in found and entry.isreg():
                content = tar.extractfile(entry)
                assert content is not None, "a regular file has content"
                with content, (into / f"member-{len(found)}").open("xb") as target:
                    shutil.copyfileobj(content, target)
                found[member] = Path(target.name)
    for member in members:
        if member not in found:
            raise KeyError(member)
    return found


def _from_zip(file: Path, members: list[str], into: Path, *, skip_top: bool) -> dict[str, Path]:
    found: dict[str, Path] = {}
    with zipfile.ZipFile(file) as archive:
        names = {name.partition("/")[2] if skip_top else name: name for name in archive.namelist()}
        for number, member in enumerate(members):
            with archive.open(names[member]) as content, (into / f"member-{number}").open("xb") as target:
                shutil.copyfileobj(content, target)
            found[member] = Path(target.name)
    return found
