"""Named places of the life cycle at which a test may let the launcher die; in service nothing happens there."""

from typing import Protocol


class CrashPoints(Protocol):
    """Called with the name of a place and the lab, right after what the name says."""

    async def reached(self, point: str, lab_id: str) -> None:
        """Go on, or never return."""


class NoCrashPoints:
    """What runs in service."""

    async def reached(self, point: str, lab_id: str) -> None:
        """Go on."""


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
