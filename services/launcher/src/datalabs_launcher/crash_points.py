"""Named places of the life cycle at which a test may do harm; in service nothing happens there."""

import asyncio
import contextlib
from pathlib import Path
from typing import Protocol

LONGEST_HOLD = 30.0
"""Seconds after which a launcher goes on though nobody told it to."""


class CrashPoints(Protocol):
    """Called with the name of a place and the lab, right after what the name says."""

    async def reached(self, point: str, lab_id: str) -> None:
        """Go on, or never return."""


class NoCrashPoints:
    """What runs in service."""

    async def reached(self, point: str, lab_id: str) -> None:
        """Go on."""


class HeldPoints:
    """Tells a Unix socket of each place and goes on when it answers: so tests of failures hold a life still.

    One line `<place> <lab id>` out, one line back. Nobody there, or no answer within `LONGEST_HOLD`: it goes on.
    """

    def __init__(self, socket: Path) -> None:
        self._socket = str(socket)

    async def reached(self, point: str, lab_id: str) -> None:
        """Wait until the test lets go."""
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(LONGEST_HOLD):
                reader, writer = await asyncio.open_unix_connection(self._socket)
                try:
                    writer.write(f"{point} {lab_id}\n".encode())
                    await reader.readline()
                finally:
                    writer.close()


POINTS = (
    "reserved",
    "queued",
    "admitted",
    "volumes_prepared",
    "environment_ready",
    "intent_stored",
    "submitted",
    "submit_stored",
    "running_stored",
    "answered",
    "ready_stored",
    "stop_stored",
    "stop_asked",
    "end_seen",
    "end_stored",
    "purged",
)
"""Every place, in the order of a lab's life; the tests die at each."""
