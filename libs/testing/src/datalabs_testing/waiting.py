"""Waiting for what a real server does in its own time."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

PAUSE = 0.01


async def eventually(
    condition: Callable[[], object | Awaitable[object]], *, seconds: float = 10, pause: float = PAUSE
) -> Any:
    """Return what the condition (plain or async) gives as soon as it holds; asked again after each pause.

    Raises `TimeoutError` when it does not within some seconds.
    """
    async with asyncio.timeout(seconds):
        while True:
            held = condition()
            if inspect.isawaitable(held):
                held = await held
            if held:
                return held
            await asyncio.sleep(pause)
