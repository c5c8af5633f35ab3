"""Waiting for what a real server does in its own time."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable

PAUSE = 0.01


async def eventually(condition: Callable[[], object | Awaitable[object]], *, seconds: float = 10) -> None:
    """Return as soon as the condition (plain or async) holds.

    Raises `TimeoutError` when it does not within some seconds.
    """
    async with asyncio.timeout(seconds):
        while True:
            held = condition()
            if inspect.isawaitable(held):
                held = await held
            if held:
                return
            await asyncio.sleep(PAUSE)
