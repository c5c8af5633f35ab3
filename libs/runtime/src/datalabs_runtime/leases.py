"""Leadership: a row with an epoch. A holder that was stopped and goes on finds that its epoch has passed."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import structlog
from sqlalchemy import Float, bindparam, select, text, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from datalabs_runtime.clock import Clock, SystemClock
from datalabs_runtime.database import Database
from datalabs_runtime.tables import ServiceBase

RENEWALS = 3
"""Renewals in the life of a lease."""
LOOK = 1.0
"""Seconds between looks, however long the lease lives, of who waits for it, or for a database that did not answer."""
MARGIN = 0.8
"""Share of its life after which a lease counts as lost here: before anybody else may take it."""

# The database's clock alone decides, so that the clocks of replicas need not agree. The epoch rises whenever the
# holder changes; `dead` names a holder of whose death there is positive evidence.
_ACQUIRE = text(
    """
    INSERT INTO leases AS lease (name, holder, epoch, expires_at)
    VALUES (:name, :holder, 1, now() + make_interval(secs => :ttl))
    ON CONFLICT (name) DO UPDATE SET
        holder = excluded.holder,
        epoch = lease.epoch + CASE WHEN lease.holder = excluded.holder AND lease.epoch = :epoch THEN 0 ELSE 1 END,
        expires_at = excluded.expires_at
    WHERE lease.expires_at < now()
       OR lease.holder = :dead
       OR (lease.holder = excluded.holder AND lease.epoch = :epoch)
    RETURNING epoch
    """
).bindparams(bindparam("ttl", type_=Float))

PROOF: Final = """
    SELECT epoch FROM leases WHERE name = %(lease)s AND epoch = %(epoch)s AND holder = %(holder)s FOR SHARE
"""
"""Has a row while the epoch is ours; as in `Lease.guard` the row stays locked against a new holder until the end."""


class LeaseLostError(Exception):
    """Somebody else leads now; what was to be written must not be."""


class Lease:
    """One lease; a part that tries to hold it as long as it runs.

    `holder` is a word for people; which process it is, is added to it.
    """

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
        self.holder = f"{holder}@{_process()}"
        self._lease = name
        self._table: Any = base.Lease.__table__
        self._database = database
        self._ttl = ttl
        self._clock = clock or SystemClock()
        self._until = 0.0
        self._leading = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._log = structlog.get_logger(__name__)

    @property
    def held(self) -> bool:
        """Whether this process leads, as far as it knows; to write, use `guard`."""
        return _now() < self._until

    async def wait(self) -> None:
        """Wait until this process leads."""
        while not self.held:
            self._leading.clear()
            await self._leading.wait()

    @contextlib.asynccontextmanager
    async def guard(self, session: AsyncSession) -> AsyncIterator[None]:
        """Check in the session's transaction that the epoch is still ours, and keep it so until its end.

        The row stays locked against a new holder until the transaction ends.

        Raises `LeaseLostError`.
        """
        statement = (
            select(self._table.c.epoch, self._table.c.holder)
            .where(self._table.c.name == self._lease)
            .with_for_update(read=True)
        )
        row = (await session.execute(statement)).one_or_none()
        if row is None or (row.epoch, row.holder) != (self.epoch, self.holder):
            self._until = 0.0
            raise LeaseLostError(f"{self.name} has passed to {row.holder if row else 'nobody'}")
        yield

    def proof(self) -> dict[str, Any]:
        """Return the parameters of `PROOF`: what guards a statement that is a transaction by itself."""
        return {"lease": self._lease, "epoch": self.epoch, "holder": self.holder}

    def lost(self) -> "LeaseLostError":
        """Note that a proof failed, and return the error to raise."""
        self._until = 0.0
        return LeaseLostError(f"{self.name} has passed to somebody else")

    async def start(self) -> None:
        """Begin in the background."""
        self._task = asyncio.create_task(self._run(), name=self.name)

    async def aclose(self) -> None:
        """Give the lease back, so that the next holder need not wait."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        if self.held:
            self._until = 0.0
            with contextlib.suppress(SQLAlchemyError, OSError):
                await self._release()

    async def _run(self) -> None:
        while True:
            taken = False
            try:
                taken = await self.acquire()
            except (SQLAlchemyError, OSError) as error:
                self._log.info("lease.waiting", lease=self._lease, reason=type(error).__name__)
            every = self._ttl / RENEWALS
            await self._clock.sleep(every if taken else min(every, LOOK))

    async def acquire(self) -> bool:
        """Take or renew the lease if that is possible now."""
        asked = _now()
        # Each statement is a transaction of its own: a renewal is one round trip.
        async with self._database.reading() as session:
            holder = None if self.held else await self._holder(session)
            row = await session.execute(
                _ACQUIRE,
                {
                    "name": self._lease,
                    "holder": self.holder,
                    "ttl": self._ttl,
                    "epoch": self.epoch,
                    "dead": holder if holder is not None and _is_dead(holder) else "",
                },
            )
            epoch = row.scalar_one_or_none()
        if epoch is None:
            self._until = 0.0
            return False
        if epoch != self.epoch:
            self._log.info("lease.taken", lease=self._lease, epoch=epoch)
        self.epoch = epoch
        # Counted from before the question: the database began the lease's life later than that.
        self._until = asked + self._ttl * MARGIN
        self._leading.set()
        return True

    async def _holder(self, session: AsyncSession) -> str | None:
        statement = select(self._table.c.holder).where(self._table.c.name == self._lease)
        holder: str | None = (await session.execute(statement)).scalar_one_or_none()
        return holder

    async def _release(self) -> None:
        async with self._database.transaction() as session:
            await session.execute(
                update(self._table)
                .where(
                    self._table.c.name == self._lease,
                    self._table.c.epoch == self.epoch,
                    self._table.c.holder == self.holder,
                )
                .values(expires_at=text("now() - interval '1 second'"))
            )


def _now() -> float:
    """Seconds since boot, also those in which the machine or this process slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _started(pid: int) -> str | None:
    """Return when a process of this pid namespace began, in ticks since boot; None for none and for a zombie."""
    try:
        fields = (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        )
    except OSError:
        return None
    return None if fields[0] in {"Z", "X"} else fields[19]


def _machine() -> str:
    """Return this boot and pid namespace: the scope in which a pid means something."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]
    return f"{boot}-{Path('/proc/self/ns/pid').stat().st_ino}"


def _process() -> str:
    pid = os.getpid()
    return f"{_machine()}-{pid}-{_started(pid)}"


def _is_dead(holder: str) -> bool:
    """Whether there is positive evidence that the holder's process has ended: it was of this machine and is gone."""
    machine, _, process = holder.rpartition("@")[2].rpartition("-")[0].rpartition("-")
    if machine != _machine() or not process.isdigit():
        return False
    return _started(int(process)) != holder.rpartition("-")[2]
