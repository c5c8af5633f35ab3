"""A small client of Python package indexes (PEP 503 and 691): finds one archive and downloads it.

For source archives, which uv and pip would build on the way, and for wheels where uv is missing. Nothing of an archive
is ever run.
"""

import hashlib
import html.parser
import logging
import os
import re
import ssl
import tomllib
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import httpx2

from datalabs_storage.errors import PackageError

JSON_TYPE = "application/vnd.pypi.simple.v1+json"
ACCEPT = f"{JSON_TYPE}, text/html;q=0.5"
CHUNK = 1024 * 1024
TIMEOUT = httpx2.Timeout(30.0)
"""Seconds without a byte; a whole download may take as long as it goes on."""


@dataclass(frozen=True, kw_only=True)
class Archive:
    """One file of an index; `sha256` when the index tells it."""

    name: str
    url: str
    sha256: str | None


def default_index() -> str:
    """Return the index that uv or pip use on this machine, else PyPI."""
    for variable in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"):
        if os.environ.get(variable):
            # uv also takes `name=address`.
            return re.sub(r"^[\w.-]+=(?=https?:)", "", os.environ[variable])
    return _from_uv() or _from_pip() or _public()


def _public() -> str:
    """Return the public index, as the library for it knows it."""
    from pypi_simple import PYPI_SIMPLE_ENDPOINT  # noqa: PLC0415 - 10 MB for one word, wanted once in a site's life

    return PYPI_SIMPLE_ENDPOINT


def _from_uv() -> str | None:
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    for file in (home / "uv" / "uv.toml", Path("/etc/uv/uv.toml")):
        try:
            content = tomllib.loads(file.read_text())
        except (OSError, ValueError):
            continue
        for index in content.get("index", []):
            if index.get("default") and isinstance(index.get("url"), str):
                return str(index["url"])
        plain = content.get("index-url") or content.get("pip", {}).get("index-url")
        if isinstance(plain, str):
            return plain
    return None


def _from_pip() -> str | None:
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    named = os.environ.get("PIP_CONFIG_FILE")
    files = [Path(named)] if named else []
    for file in [*files, home / "pip" / "pip.conf", Path.home() / ".pip" / "pip.conf", Path("/etc/pip.conf")]:
        parser = ConfigParser(interpolation=None)
        try:
            parser.read(file)
        except (OSError, ConfigParserError, UnicodeDecodeError):
            continue
        found = parser.get("global", "index-url", fallback=None)
        if found:
            return found
    return None


def normalised(name: str) -> str:
    """Return a distribution's name as indexes write it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


class Index:
    """One simple index."""

    def __init__(self, *, url: str | None = None, largest: int) -> None:
        # At its usual level the library logs whole addresses, and an index's may hold a password.
        logging.getLogger("httpx2").setLevel(logging.WARNING)
        self._given = url
        self._largest = largest

    @cached_property
    def _url(self) -> str:
        """Looked up when it is first needed: most starts of a site install nothing."""
        return (self._given or default_index()).rstrip("/")

    @property
    def host(self) -> str:
        """The index's host, without what may be secret in its address."""
        return urlsplit(self._url).hostname or "the index"

    async def download(self, name: str, version: str, archive: str, into: Path) -> Path:
        """Download the wheel or the sdist of a version into a folder and return the file.

        Raises `PackageError`.
        """
        try:
            async with self._client() as client:
                found = choose(await self._files(client, name), name, version, archive)
                if found is None:
                    raise PackageError(f"{self.host} has no {archive} of {name} {version}")
                return await self._fetch(client, found, into)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            raise PackageError(
                f"{name} {version} could not be had from {self.host}: {_words(error)}"
            ) from error

    @staticmethod
    def _client() -> httpx2.AsyncClient:
        # The system's certificates and SSL_CERT_FILE, so that sites with an authority of their own work.
        return httpx2.AsyncClient(timeout=TIMEOUT, follow_redirects=True, verify=ssl.create_default_context())

    async def _files(self, client: httpx2.AsyncClient, name: str) -> list[Archive]:
        page = await client.get(f"{self._url}/{normalised(name)}/", headers={"Accept": ACCEPT})
        page.raise_for_status()
        if page.headers.get("content-type", "").startswith(JSON_TYPE):
            return [
                Archive(
                    name=str(file["filename"]),
                    url=urljoin(str(page.url), str(file["url"])),
                    sha256=file.get("hashes", {}).get("sha256"),
                )
                for file in page.json().get("files", [])
            ]
        links = _Links()
        links.feed(page.text)
        return [_linked(str(page.url), link) for link in links.found]

    async def _fetch(self, client: httpx2.AsyncClient, archive: Archive, into: Path) -> Path:
        target = into / Path(archive.name).name
        digest = hashlib.sha256()
        size = 0
        async with client.stream("GET", archive.url) as answer:
            answer.raise_for_status()
            with target.open("xb") as file:
                async for chunk in answer.aiter_bytes(CHUNK):
                    size += len(chunk)
                    if size > self._largest:
                        raise PackageError(f"{archive.name} is larger than {self._largest // CHUNK} MiB")
                    digest.update(chunk)
                    file.write(chunk)
        if archive.sha256 is not None and digest.hexdigest() != archive.sha256:
            raise PackageError(f"{archive.name} did not arrive whole: its checksum differs")
        return target


def choose(files: list[Archive], name: str, version: str, archive: str) -> Archive | None:
    """Return the archive of a version that suits best: for data any platform's wheel will do, a pure one first."""
    if archive == "sdist":
        endings = (".tar.gz", ".zip")
        wanted = [
            file
            for file in files
            for ending in endings
            if file.name.endswith(ending)
            and _is(file.name.removesuffix(ending).rpartition("-"), name, version)
        ]
    else:
        wanted = [
            file
            for file in files
            if file.name.endswith(".whl")
            and _is((*file.name.split("-")[:1], "", *file.name.split("-")[1:2]), name, version)
        ]
    return min(wanted, key=lambda file: (not file.name.endswith("-none-any.whl"), file.name), default=None)


def _is(parts: tuple[str, ...], name: str, version: str) -> bool:
    return (normalised(parts[0]), parts[-1]) == (normalised(name), version)


def _linked(page: str, link: str) -> Archive:
    url, fragment = urldefrag(urljoin(page, link))
    digest = fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else None
    return Archive(name=unquote(urlsplit(url).path.rpartition("/")[2]), url=url, sha256=digest)


class _Links(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect where links lead."""
        self.found += [value for key, value in attrs if tag == "a" and key == "href" and value]


def _words(error: Exception) -> str:
    if isinstance(error, httpx2.HTTPStatusError):
        return f"status {error.response.status_code}"
    if isinstance(error, httpx2.HTTPError):
        return type(error).__name__
    return " ".join(str(error).split())[:200]
