"""This machine's Docker engine; a proxy stands before its socket, so that it can be away."""

import asyncio
import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from datalabs_contracts.datalabs import ContainerRuntime, Runtime
from datalabs_launcher.containers.adapter import ContainerScheduler
from datalabs_launcher.containers.config import ContainerSettings
from datalabs_launcher.local.config import LocalSettings
from datalabs_launcher.scheduler import LabJob

from .images import IMAGE, image_present
from .process_target import shown_to_anybody
from .target import Does, Target, Unable

ENGINE = "/var/run/docker.sock"
CHUNK = 65_536


class ContainerTarget(Target):
    """Containers of the local engine."""

    name = "container"
    runtime = Runtime.CONTAINER
    marks = ("docker",)
    seconds = 45.0

    async def open(self, ground: Any) -> None:
        del ground
        reason = image_present()
        if reason:
            raise Unable(reason)
        self._proxy = UnixProxy(self.folder / "engine.sock", ENGINE)
        await self._proxy.start()

    def adapter(self) -> ContainerScheduler:
        return ContainerScheduler(
            state_folder=self.folder / "state",
            settings=LocalSettings(),
            containers=ContainerSettings(engine_socket=self._proxy.path),
            api_port=18_123,
        )

    async def close(self) -> None:
        await self._proxy.aclose()

    async def cut(self) -> None:
        await self._proxy.refuse()

    async def heal(self) -> None:
        self._proxy.heal()

    def runs(self, job: LabJob, does: Does) -> LabJob:
        return replace(job, container=ContainerRuntime(image=IMAGE, command=["sh", "-c", does.script()]))

    def starts(self, job: LabJob) -> int:
        return self.noted(job)

    async def missing(self, job: LabJob) -> LabJob:
        return replace(job, container=ContainerRuntime(image="contract/absent:1"))

    async def shown(self, job: LabJob) -> str:
        """Return the command lines of everything, and what anybody may read of the job's folder."""
        return shown_to_anybody(self.folder / "state", job)


class UnixProxy:
    """Passes bytes between a Unix socket of its own and another; while it refuses, whoever connects is cut off at once."""

    def __init__(self, path: Path, upstream: str) -> None:
        self.path = path
        self._upstream = upstream
        self._server: asyncio.Server | None = None
        self._refusing = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def refuse(self) -> None:
        self._refusing = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def heal(self) -> None:
        self._refusing = False

    async def aclose(self) -> None:
        assert self._server is not None
        self._server.close()
        await self.refuse()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        ends = [writer]
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                if not self._refusing:
                    there, thither = await asyncio.open_unix_connection(self._upstream)
                    ends.append(thither)
                    await asyncio.gather(_pump(reader, thither), _pump(there, writer))
        finally:
            self._tasks.discard(task)
            for end in ends:
                end.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(CHUNK):
        writer.write(piece)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
