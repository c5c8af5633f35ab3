"""Health and metrics of a service, as HTTP on a Unix socket under the platform's run folder."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

Check = Callable[[], Awaitable[str | None]]
"""Returns None when all is well, else one sentence about what is wrong."""

CHECK_TIMEOUT = 2.0
"""Seconds after which a check counts as failed."""
REQUEST_TIMEOUT = 5.0


class Health:
    """Named checks, served as `/health/live`, `/health/ready` and `/metrics`; a part of the service."""

    name = "health"

    def __init__(self, service: str, socket: Path | None = None, *, port: int = 0) -> None:
        """Serve on a Unix socket and, unless it is 0, on a port of all addresses."""
        self.service = service
        self._socket = socket
        self._port = port
        self._checks: dict[str, Check] = {}
        self._server: asyncio.Server | None = None
        self._public: asyncio.Server | None = None
        self._log = structlog.get_logger(__name__)
        self.started = False

    def add(self, name: str, check: Check) -> None:
        """Add a check that readiness depends on."""
        self._checks[name] = check

    async def report(self) -> dict[str, str]:
        """Run all checks at once; the value is `ok` or what is wrong."""
        names = list(self._checks)
        results = await asyncio.gather(*(self._checked(self._checks[name]) for name in names))
        report = dict(zip(names, results, strict=True))
        if not self.started:
            report["started"] = "still starting"
        return report

    async def start(self) -> None:
        """Open the socket."""
        if self._port:
            self._public = await asyncio.start_server(self._answer, port=self._port)
        if self._socket is None:
            return
        self._socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._socket.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._answer, path=str(self._socket))
        self._socket.chmod(0o600)

    async def aclose(self) -> None:
        """Close the socket."""
        if self._public is not None:
            self._public.close()
            self._public = None
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._socket is not None:
            self._socket.unlink(missing_ok=True)

    @staticmethod
    async def _checked(check: Check) -> str:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT):
                return await check() or "ok"
        except TimeoutError:
            return f"no answer within {CHECK_TIMEOUT:g} s"
        except Exception as error:  # noqa: BLE001 - a check that fails is the finding, whatever its error
            return f"{type(error).__name__}: {error}"

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                request = await reader.readuntil(b"\r\n\r\n")
                path = request.split(b" ", 2)[1].decode()
                status, content_type, body = await self._response(path.split("?", 1)[0])
                writer.write(
                    f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\n"
                    f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                    + body
                )
                await writer.drain()
        except (OSError, TimeoutError, IndexError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            self._log.debug("health.request_dropped")
        finally:
            writer.close()

    async def _response(self, path: str) -> tuple[str, str, bytes]:
        if path == "/health/live":
            return "200 OK", "application/json", b'{"status":"ok"}'
        if path == "/health/ready":
            report = await self.report()
            good = all(value == "ok" for value in report.values())
            body = json.dumps({"status": "ok" if good else "degraded", "checks": report}).encode()
            return "200 OK" if good else "503 Service Unavailable", "application/json", body
        if path == "/metrics":
            return "200 OK", CONTENT_TYPE_LATEST, generate_latest()
        return "404 Not Found", "application/json", b'{"status":"not found"}'
