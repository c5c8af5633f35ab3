"""Packages from a small index on this machine, in both forms that indexes have."""

import asyncio
import hashlib
import io
import json
import os
import tarfile
import time
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from datalabs_storage.errors import PackageError
from datalabs_storage.index import Archive, Index, choose, default_index
from datalabs_storage.packages import Packages

WHEEL = "some_data-1.2.0-py3-none-any.whl"
SDIST = "some-data-1.2.0.tar.gz"


def wheel() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("some_data/table.dat", "1 2 3")
        archive.writestr("../../escape", "x")
    return buffer.getvalue()


def sdist() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in (("some-data-1.2.0/tests/data/a.rnx", b"rinex"), ("/etc/escape", b"x")):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        link = tarfile.TarInfo("some-data-1.2.0/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return buffer.getvalue()


class Site:
    """An index that speaks HTTP/1.0; what it answers can be changed."""

    def __init__(self) -> None:
        self.files = {WHEEL: wheel(), SDIST: sdist()}
        self.form = "json"
        self.digests = {name: hashlib.sha256(content).hexdigest() for name, content in self.files.items()}
        self.requests: list[str] = []
        self.address = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        path = request.split(b" ")[1].decode()
        self.requests.append(path)
        status, kind, body = self._page(path)
        writer.write(
            f"HTTP/1.0 {status} x\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        await writer.drain()
        writer.close()

    def _page(self, path: str) -> tuple[int, str, bytes]:
        name = path.rpartition("/")[2]
        if path == "/simple/some-data/" and self.form == "json":
            files = [
                {"filename": file, "url": f"../../files/{file}", "hashes": {"sha256": self.digests[file]}}
                for file in self.files
            ]
            return 200, "application/vnd.pypi.simple.v1+json", json.dumps({"files": files}).encode()
        if path == "/simple/some-data/":
            links = [
                f'<a href="../../files/{file}#sha256={self.digests[file]}">{file}</a>' for file in self.files
            ]
            return 200, "text/html; charset=utf-8", f"<html><body>{''.join(links)}</body></html>".encode()
        if path.startswith("/files/") and name in self.files:
            return 200, "application/octet-stream", self.files[name]
        return 404, "text/plain", b""


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    server = await asyncio.start_server(site.answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    site.address = f"http://user:secret@127.0.0.1:{port}/simple"
    async with server:
        yield site


def parents_in(folder: Path) -> set[Path]:
    return {path.parent for path in folder.rglob("*")}


def written(file: Path) -> int:
    """Wait until a process has written its number."""
    while not file.exists() or not file.read_text().endswith("\n"):
        time.sleep(0.01)
    return int(file.read_text())


def packages(site: Site, *, uv: Path | None = None, largest: int = 1_000_000) -> Packages:
    return Packages(index=Index(url=site.address, largest=largest), uv=uv)


@pytest.mark.parametrize("form", ["json", "html"])
@pytest.mark.parametrize(
    "kind", [("wheel", "some_data/table.dat", b"1 2 3"), ("sdist", "tests/data/a.rnx", b"rinex")]
)
async def test_members_of_both_kinds_of_archive(
    site: Site, tmp_path: Path, form: str, kind: tuple[str, str, bytes]
) -> None:
    site.form = form
    archive, member, content = kind
    found = await packages(site).fetch("Some.Data==1.2.0", archive, [member], tmp_path)
    assert found[member].read_bytes() == content
    assert parents_in(tmp_path) == {tmp_path}, "nothing else was unpacked"


@pytest.mark.parametrize(
    "case",
    [
        ("some-data==9.9", "wheel", "x", "has no wheel"),
        ("some-data==1.2.0", "wheel", "gone", "has no file"),
        ("some-data==1.2.0", "sdist", "gone", "has no file"),
        ("some-data==1.2.0", "sdist", "link", "has no file"),
        ("other==1", "wheel", "x", "status 404"),
        ("some-data", "wheel", "x", "does not name one version"),
        ("some-data>=1", "wheel", "x", "does not name one version"),
        ("--index-url=http://x", "wheel", "x", "does not name one version"),
    ],
)
async def test_what_cannot_be_had_is_told_without_secrets(
    site: Site, tmp_path: Path, case: tuple[str, str, str, str]
) -> None:
    package, archive, member, words = case
    with pytest.raises(PackageError, match=words) as caught:
        await packages(site).fetch(package, archive, [member], tmp_path)
    assert "secret" not in str(caught.value)


async def test_half_an_archive_is_refused(site: Site, tmp_path: Path) -> None:
    site.files[WHEEL] = site.files[WHEEL][:50]
    with pytest.raises(PackageError, match="did not arrive whole"):
        await packages(site).fetch("some-data==1.2.0", "wheel", ["some_data/table.dat"], tmp_path)


async def test_an_archive_that_is_none_is_refused(site: Site, tmp_path: Path) -> None:
    for name in site.files:
        site.files[name] = b"no archive"
        site.digests[name] = hashlib.sha256(b"no archive").hexdigest()
    for archive in ("wheel", "sdist"):
        into = tmp_path / archive
        into.mkdir()
        with pytest.raises(PackageError, match="cannot be read"):
            await packages(site).fetch("some-data==1.2.0", archive, ["x"], into)


async def test_too_large_is_refused(site: Site, tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="larger"):
        await packages(site, largest=10).fetch("some-data==1.2.0", "wheel", ["x"], tmp_path)


async def test_nobody_there(tmp_path: Path) -> None:
    index = Index(url="http://127.0.0.1:9/simple", largest=10)
    with pytest.raises(PackageError, match=r"127\.0\.0\.1"):
        await Packages(index=index, uv=None).fetch("some-data==1.2.0", "wheel", ["x"], tmp_path)


async def test_what_is_installed_here_is_taken_from_here(site: Site, tmp_path: Path) -> None:
    version = pytest.__version__
    found = await packages(site).fetch(f"pytest=={version}", "wheel", ["pytest/py.typed"], tmp_path)
    assert found["pytest/py.typed"].is_file()
    assert site.requests == []


@pytest.mark.parametrize("script", ["exit 3", "sleep 0; exit 0"])
async def test_a_uv_that_fails_is_made_up_for_by_the_index(site: Site, tmp_path: Path, script: str) -> None:
    uv = tmp_path / "uv"
    uv.write_text(f"#!/bin/sh\n{script}\n")
    uv.chmod(0o755)
    into = tmp_path / "into"
    into.mkdir()
    found = await packages(site, uv=uv).fetch("some-data==1.2.0", "wheel", ["some_data/table.dat"], into)
    assert found["some_data/table.dat"].read_bytes() == b"1 2 3"


async def test_uv_is_ended_with_the_work_that_asked_for_it(site: Site, tmp_path: Path) -> None:
    uv = tmp_path / "uv"
    uv.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 600\n")
    uv.chmod(0o755)
    task = asyncio.create_task(packages(site, uv=uv).fetch("some-data==1.2.0", "wheel", ["x"], tmp_path))
    pid = tmp_path / "pid"
    number = await asyncio.to_thread(written, pid)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


def test_the_best_wheel_is_a_pure_one() -> None:
    names = [
        "x-1.0-cp312-cp312-manylinux_2_28_x86_64.whl",
        "x-1.0-py3-none-any.whl",
        "x-1.0.1-py3-none-any.whl",
    ]
    files = [Archive(name=name, url="", sha256=None) for name in names]
    assert choose(files, "X", "1.0", "wheel") == files[1]
    assert choose(files[:1], "x", "1.0", "wheel") == files[0]
    assert choose(files, "x", "1.0", "sdist") is None


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("UV_DEFAULT_INDEX", "https://a.example/simple", "https://a.example/simple"),
        ("UV_DEFAULT_INDEX", "mirror=https://a.example/simple", "https://a.example/simple"),
        ("PIP_INDEX_URL", "https://b.example/simple", "https://b.example/simple"),
    ],
)
def test_the_index_is_the_one_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str, expected: str
) -> None:
    for variable in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL", "PIP_CONFIG_FILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "uv").mkdir()
    (tmp_path / "uv" / "uv.toml").write_text('[[index]]\nurl = "https://c.example/simple"\ndefault = true\n')
    assert default_index() == "https://c.example/simple"
    (tmp_path / "uv" / "uv.toml").unlink()
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "pip.conf").write_text("[global]\nindex-url = https://d.example/simple\n")
    assert default_index() == "https://d.example/simple"
    monkeypatch.setenv(name, value)
    assert default_index() == expected
