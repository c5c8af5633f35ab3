"""A folder that Vite built, read into memory: hashed assets for a year, pages never from a cache."""

import asyncio
import base64
import gzip
import hashlib
import mimetypes
import re
from dataclasses import dataclass, field
from pathlib import Path

from starlette.responses import Response
from starlette.types import Scope

from datalabs_gateway import pages

ASSETS = "/assets/"
"""Vite puts files with a hash in their name here."""
INDEX = "/index.html"
YEAR = "public, max-age=31536000, immutable"
SMALLEST_ZIPPED = 1024
"""Bytes below which compression gains nothing."""
TEXTS = frozenset({".html", ".js", ".mjs", ".css", ".svg", ".json", ".map", ".txt", ".webmanifest", ".xml"})
_INLINE_SCRIPT = re.compile(rb"<script(?![^>]*\bsrc=)[^>]*>(.*?)</script>", re.DOTALL)


@dataclass(slots=True)
class BuiltFile:
    """One file with its compressed forms."""

    media_type: str
    etag: str
    cache: str
    bodies: dict[str, bytes] = field(default_factory=dict)
    """By content coding; `` is the file itself."""


@dataclass(slots=True)
class Build:
    """One build: its files by path."""

    stamp: tuple[int, int]
    files: dict[str, BuiltFile]

    def script_hashes(self) -> str:
        """Return the sources of the page's inline scripts for a Content-Security-Policy."""
        return "".join(
            f" 'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'"
            for script in _INLINE_SCRIPT.findall(self.files[INDEX].bodies[""])
        )


class BuiltFiles:
    """Keeps a build in memory; one that appears or changes while the gateway runs is taken up."""

    def __init__(self, folder: Path, *, without: frozenset[str] = frozenset()) -> None:
        self._folder = folder
        self._without = without
        self._build: Build | None = None
        self._reading = asyncio.Lock()

    @property
    def in_memory(self) -> Build | None:
        """The build as it was last read."""
        return self._build

    async def current(self) -> Build | None:
        """Return the build in the folder, read again when its page has changed; None when there is none."""
        try:
            stat = (self._folder / INDEX.lstrip("/")).stat()
        except OSError:
            self._build = None
            return None
        stamp = (stat.st_mtime_ns, stat.st_ino)
        async with self._reading:
            if self._build is None or self._build.stamp != stamp:
                self._build = await asyncio.to_thread(_read, self._folder, stamp, self._without)
        return self._build


def _read(folder: Path, stamp: tuple[int, int], without: frozenset[str]) -> Build:
    files: dict[str, BuiltFile] = {}
    for file in sorted(folder.rglob("*")):
        within = file.relative_to(folder)
        if not file.is_file() or file.suffix in {".br", ".gz"} or within.parts[0] in without:
            continue
        path = "/" + within.as_posix()
        body = file.read_bytes()
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        text = file.suffix in TEXTS
        entry = BuiltFile(
            media_type=f"{kind}; charset=utf-8" if text and kind.startswith("text/") else kind,
            etag=f'"{hashlib.sha256(body).hexdigest()[:24]}"',
            cache=YEAR if path.startswith(ASSETS) else "no-cache",
            bodies={"": body},
        )
        for coding, suffix in (("br", ".br"), ("gzip", ".gz")):
            compressed = file.with_name(file.name + suffix)
            if compressed.is_file():
                entry.bodies[coding] = compressed.read_bytes()
        if text and len(body) >= SMALLEST_ZIPPED and "gzip" not in entry.bodies:
            entry.bodies["gzip"] = gzip.compress(body, 6, mtime=0)
        files[path] = entry
    return Build(stamp, files)


def file_response(scope: Scope, file: BuiltFile, policy: str) -> Response:
    """Return a file in the smallest form that the browser takes, or that the one it has still holds."""
    sent = {key: value for key, value in scope["headers"] if key in {b"accept-encoding", b"if-none-match"}}
    headers = {
        "etag": file.etag,
        "cache-control": file.cache,
        "vary": "accept-encoding",
        "content-security-policy": policy,
    }
    if sent.get(b"if-none-match", b"").decode("latin-1") == file.etag:
        return Response(status_code=304, headers=headers)
    accepted = sent.get(b"accept-encoding", b"").decode("latin-1")
    coding = next((name for name in ("br", "gzip") if name in file.bodies and name in accepted), "")
    if coding:
        headers["content-encoding"] = coding
    body = file.bodies[coding]
    if scope["method"] == "HEAD":
        return Response(headers={**headers, "content-length": str(len(body))}, media_type=file.media_type)
    return Response(body, media_type=file.media_type, headers=headers)


def not_built() -> Response:
    """Return the page that stands where the build is missing."""
    body = pages.page(
        title="The dashboard is not built yet",
        text="The platform itself works: its interface answers under /api/v1. Run `make dashboard`, then reload.",
    )
    return Response(body, status_code=503, media_type="text/html; charset=utf-8", headers=pages.HEADERS)
