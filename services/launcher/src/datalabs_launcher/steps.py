"""What one step of a lab's life gives back, and how a step is left early."""

import asyncio
import contextlib
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from datalabs_launcher.errors import LauncherError
from datalabs_launcher.models import LabRecord

T = TypeVar("T")
STEPS_AT_ONCE = 48
"""Steps at once: what they write at the same time goes to the database together, on few connections."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """The lab after a step. `moved`: take the next step at once; else look again at `due_at`, or when woken."""

    record: LabRecord
    moved: bool
    due_at: datetime | None = None


def moved(record: LabRecord) -> Result:
    """Say that the lab is one step further."""
    return Result(record=record, moved=True)


def waiting(record: LabRecord, due_at: datetime | None) -> Result:
    """Say that there is nothing to do before that moment, unless somebody wakes the lab."""
    return Result(record=record, moved=False, due_at=due_at)


class StepInterruptedError(LauncherError):
    """Somebody wants something else of this lab: read it again."""


class Interrupts:
    """Lets a request to end a lab cut short what its current step waits for.

    A step is taken in one of `slots`, so that a crowd of labs does not hold up requests; while it
    waits for others it gives its slot away.
    """

    def __init__(self) -> None:
        self._events: dict[str, asyncio.Event] = {}
        self.slots = asyncio.Semaphore(STEPS_AT_ONCE)

    def interrupt(self, lab_id: str) -> None:
        """End what the lab's current step waits for."""
        event = self._events.get(lab_id)
        if event is not None:
            event.set()

    async def unless(self, lab_id: str, work: Coroutine[Any, Any, T]) -> T:
        """Do this work, or cancel it when the lab is interrupted.

        Raises `StepInterruptedError`.
        """
        task = asyncio.ensure_future(work)
        try:
            await self._first(lab_id, task)
        finally:
            if not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task
        return task.result()

    async def meanwhile(self, lab_id: str, task: "asyncio.Future[T]") -> T:
        """Wait for work that must not be cut, or let go of it when the lab is interrupted: it goes on alone.

        Raises `StepInterruptedError`.
        """
        await self._first(lab_id, task)
        return task.result()

    async def _first(self, lab_id: str, task: "asyncio.Future[Any]") -> None:
        event = self._events.setdefault(lab_id, asyncio.Event())
        interrupted = asyncio.ensure_future(event.wait())
        self.slots.release()
        try:
            await asyncio.wait({task, interrupted}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            interrupted.cancel()
            self._events.pop(lab_id, None)
            await self.slots.acquire()
        if not task.done():
            raise StepInterruptedError(lab_id)
