"""Leadership: a row with an epoch. A holder that was stopped and goes on finds that its epoch has passed."""

from contextlib import AbstractAsyncContextManager

from sqlalchemy.ext.asyncio import AsyncSession

from datalabs_runtime.clock import Clock
from datalabs_runtime.database import Database
from datalabs_runtime.tables import ServiceBase


class LeaseLostError(Exception):
    """Somebody else leads now; what was to be written must not be."""


class Lease:
    """One lease; a part that tries to hold it as long as it runs."""

    name = "lease"

    def __init__(
        self,
        database: Database,
        base: type[ServiceBase],
        name: str,
        holder: str,
        ttl: float = 10.0,
        *,
        clock: Clock | None = None,
    ) -> None:
        self.name = f"lease {name}"
        self.epoch = 0

    @property
    def held(self) -> bool:
        """Whether this process leads, as far as it knows."""
        raise NotImplementedError

    async def wait(self) -> None:
        """Wait until this process leads."""
        raise NotImplementedError

    def guard(self, session: AsyncSession) -> AbstractAsyncContextManager[None]:
        """Check in the session's transaction that the epoch is still ours, and keep it so until its end.

        Raises `LeaseLostError`.
        """
        raise NotImplementedError

    async def start(self) -> None:
        """Begin in the background."""

    async def aclose(self) -> None:
        """Give the lease back."""
