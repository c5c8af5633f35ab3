"""Work that nobody waits for, kept until it is done; a part, so that it ends with the service."""

import asyncio
import contextlib
import contextvars
from collections.abc import Coroutine
from typing import Any

import structlog

GRACE_SECONDS = 0.5


class Background:
    """Runs coroutines apart from whoever asks for them: in no trace, under no deadline of theirs."""

    name = "background"

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger(__name__)

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Do this work some time soon."""
        task = asyncio.get_running_loop().create_task(self._guarded(work), context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception:  # noqa: BLE001 - nobody is there to hear it but the log
            self._log.exception("background.failed")

    async def idle(self) -> None:
        """Wait until all is done."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def start(self) -> None:
        """Nothing to do: work begins when it comes."""

    async def aclose(self) -> None:
        """Wait a little, then cancel what is not done; regular upkeep does it again."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=GRACE_SECONDS)
        for task in list(self._tasks):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
