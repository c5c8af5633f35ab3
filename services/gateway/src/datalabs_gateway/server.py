"""The HTTP server: uvicorn on a Unix socket that only the edge reaches."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

GRACE = 5
"""Seconds in which requests under way may end."""
BACKLOG = 2048


class _Server(uvicorn.Server):
    """Uvicorn without signal handlers and clock: the service decides when it stops, the edge sets the date."""

    def __init__(self, config: uvicorn.Config) -> None:
        self._leaving = asyncio.Event()
        super().__init__(config)

    @property
    def should_exit(self) -> bool:
        """Whether it was told to end; uvicorn's own is an attribute that nobody can wait for."""
        return self._leaving.is_set()

    @should_exit.setter
    def should_exit(self, value: bool) -> None:
        if value:
            self._leaving.set()
        else:
            self._leaving.clear()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield

    async def main_loop(self) -> None:
        """Wait for the end; uvicorn's own looks ten times a second whether it has come."""
        await self.on_tick(0)
        await self._leaving.wait()


class HttpServer:
    """Listens at DIR/run/gateway.sock; a part, started last and stopped first."""

    name = "http"

    def __init__(self, app: ASGIApp, path: Path, *, on_stop: Callable[[], None]) -> None:
        self._path = path
        self._on_stop = on_stop
        self._server = _Server(
            uvicorn.Config(
                app,
                http="httptools",
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=GRACE,
                timeout_keep_alive=75,
            )
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open the socket; a stale one of a killed gateway is replaced."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(self._path))
        self._path.chmod(0o600)
        listener.listen(BACKLOG)
        listener.setblocking(False)
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]), name="uvicorn")
        while not self._server.started:
            if self._task.done():
                self._task.result()
                raise RuntimeError("the HTTP server ended at its start")
            await asyncio.sleep(0.005)

    async def aclose(self) -> None:
        """End live streams, let requests under way end, then close."""
        self._on_stop()
        self._server.should_exit = True
        if self._task is not None:
            await self._task
            self._task = None
        self._path.unlink(missing_ok=True)
