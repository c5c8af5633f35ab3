"""The dashboard's files, read into memory once they are built: hashed assets for a year, pages never from a cache."""

import asyncio
import base64
import gzip
import hashlib
import mimetypes
import re
from dataclasses import dataclass, field
from pathlib import Path

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_gateway import pages
from datalabs_gateway.refusals import problem_response

ASSETS = "/assets/"
"""Vite puts files with a hash in their name here."""
NEVER_PAGES = ("/api/", "/edge/", "/health/", "/.datalabs/")
YEAR = "public, max-age=31536000, immutable"
SMALLEST_ZIPPED = 1024
"""Bytes below which compression gains nothing."""
TEXTS = frozenset({".html", ".js", ".mjs", ".css", ".svg", ".json", ".map", ".txt", ".webmanifest", ".xml"})
_INLINE_SCRIPT = re.compile(rb"<script(?![^>]*\bsrc=)[^>]*>(.*?)</script>", re.DOTALL)


@dataclass(slots=True)
class _File:
    media_type: str
    etag: str
    cache: str
    bodies: dict[str, bytes] = field(default_factory=dict)
    """By content coding; `` is the file itself."""


@dataclass(slots=True)
class _Built:
    """One build: its files by path and the policy of its pages."""

    stamp: tuple[int, int]
    files: dict[str, _File]
    policy: str


class Dashboard:
    """Serves the built dashboard; a build that appears or changes while the gateway runs is taken up."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._built: _Built | None = None
        self._reading = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            response = await self._response(scope)
        except ProblemError as error:
            response = problem_response(error, scope)
        await response(scope, receive, send)

    async def _response(self, scope: Scope) -> Response:
        path: str = scope["path"]
        if scope["method"] not in {"GET", "HEAD"}:
            raise ProblemError(ProblemCode.METHOD_NOT_ALLOWED, allow="GET, HEAD")
        if path.startswith(NEVER_PAGES):
            raise ProblemError(ProblemCode.NOT_FOUND, "There is nothing at this address.")
        built = self._built
        is_page = not path.startswith(ASSETS) and "." not in path.rpartition("/")[2]
        if built is None or is_page or path == "/index.html":
            built = await self._current()
        if built is None:
            return _not_built()
        file = built.files.get("/index.html" if is_page else path)
        if file is None:
            raise ProblemError(ProblemCode.NOT_FOUND, "The dashboard has no such file.")
        return _file_response(scope, file, built.policy)

    async def _current(self) -> _Built | None:
        """Return the build in the folder, read again when its page has changed."""
        index = self._folder / "index.html"
        try:
            stat = index.stat()
        except OSError:
            self._built = None
            return None
        stamp = (stat.st_mtime_ns, stat.st_ino)
        async with self._reading:
            if self._built is None or self._built.stamp != stamp:
                self._built = await asyncio.to_thread(_read, self._folder, stamp)
        return self._built


def _read(folder: Path, stamp: tuple[int, int]) -> _Built:
    files: dict[str, _File] = {}
    for file in sorted(folder.rglob("*")):
        if not file.is_file() or file.suffix in {".br", ".gz"}:
            continue
        path = "/" + file.relative_to(folder).as_posix()
        body = file.read_bytes()
        hashed = path.startswith(ASSETS)
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        text = file.suffix in TEXTS
        entry = _File(
            media_type=f"{kind}; charset=utf-8" if text and kind.startswith("text/") else kind,
            etag=f'"{hashlib.sha256(body).hexdigest()[:24]}"',
            cache=YEAR if hashed else "no-cache",
            bodies={"": body},
        )
        for coding, suffix in (("br", ".br"), ("gzip", ".gz")):
            compressed = file.with_name(file.name + suffix)
            if compressed.is_file():
                entry.bodies[coding] = compressed.read_bytes()
        if text and len(body) >= SMALLEST_ZIPPED and "gzip" not in entry.bodies:
            entry.bodies["gzip"] = gzip.compress(body, 6, mtime=0)
        files[path] = entry
    return _Built(stamp, files, _policy(files["/index.html"].bodies[""]))


def _policy(index: bytes) -> str:
    """Return the Content-Security-Policy of the dashboard: its own assets only, and scripts of its page by hash.

    Styles may be inline because component libraries set them from scripts.
    """
    hashes = "".join(
        f" 'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'"
        for script in _INLINE_SCRIPT.findall(index)
    )
    return (
        f"default-src 'self'; script-src 'self'{hashes}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
        "object-src 'none'; base-uri 'none'; form-action 'self'; frame-src 'none'; frame-ancestors 'none'"
    )


def _file_response(scope: Scope, file: _File, policy: str) -> Response:
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


def _not_built() -> Response:
    body = pages.page(
        title="The dashboard is not built yet",
        text="The platform itself works: its interface answers under /api/v1. Run `make dashboard`, then reload.",
    )
    return Response(body, status_code=503, media_type="text/html; charset=utf-8", headers=pages.HEADERS)
