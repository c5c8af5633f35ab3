"""Group commit: what is asked at the same time is done in one go, one transaction for all."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")
ReplyT = TypeVar("ReplyT")

MOST = 64
"""Items done in one go."""


class Together(Generic[ItemT, ReplyT]):
    """Collects what comes while the last batch is being worked on; alone, an item waits for nobody.

    `work` takes the items of a batch in their order and returns for each its reply or the error to raise. Errors that
    `apart` says are one item's fault do not end the batch: then each item is tried by itself. Where nobody waits for the
    reply, batches begin `pause` seconds apart and gather company meanwhile.
    """

    def __init__(
        self,
        work: Callable[[list[ItemT]], Awaitable[Sequence[ReplyT | Exception]]],
        *,
        most: int = MOST,
        apart: Callable[[Exception], bool] | None = None,
        pause: float = 0.0,
    ) -> None:
        self._work = work
        self._most = most
        self._apart = apart
        self._pause = pause
        self._next = 0.0
        self._waiting: list[tuple[ItemT, asyncio.Future[ReplyT]]] = []
        self._task: asyncio.Task[None] | None = None

    async def __call__(self, item: ItemT) -> ReplyT:
        """Have an item done with its batch; raises its error, or the one that ended the whole batch."""
        future: asyncio.Future[ReplyT] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._task is None:
            # In no caller's trace and under no caller's deadline: it works for several.
            self._task = asyncio.get_running_loop().create_task(
                self._run(), name="together", context=contextvars.Context()
            )
        return await future

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        try:
            while self._waiting:
                early = self._next - clock()
                if early > 0 and len(self._waiting) < self._most:
                    await asyncio.sleep(early)
                self._next = clock() + self._pause
                batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                await self._do([(item, future) for item, future in batch if not future.cancelled()])
        finally:
            self._task = None
            for _, future in self._waiting:  # only when cancelled from outside
                future.cancel()
            self._waiting = []

    async def _do(self, batch: list[tuple[ItemT, "asyncio.Future[ReplyT]"]]) -> None:
        if not batch:
            return
        replies: Sequence[ReplyT | Exception]
        try:
            replies = await self._work([item for item, _ in batch])
        except Exception as error:  # noqa: BLE001 - it is raised where the items came from
            if len(batch) > 1 and self._apart is not None and self._apart(error):
                for one in batch:
                    await self._do([one])
                return
            replies = [error] * len(batch)
        for (_, future), reply in zip(batch, replies, strict=True):
            if future.done():
                continue
            if isinstance(reply, Exception):
                future.set_exception(reply)
            else:
                future.set_result(reply)
