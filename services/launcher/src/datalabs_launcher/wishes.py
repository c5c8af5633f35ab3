"""What people want of a lab that is there: stop it, delete it, keep it longer."""

from collections.abc import Awaitable, Callable

from datalabs_contracts.events import LAB_DELETED, LAB_EXTENDED
from datalabs_contracts.labs import LabState, Reason
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_launcher.config import LauncherSettings
from datalabs_launcher.ending import Ending
from datalabs_launcher.errors import LabMovedError
from datalabs_launcher.expiry import extended
from datalabs_launcher.journal import Change, Journal
from datalabs_launcher.models import LabRecord
from datalabs_launcher.store import labs
from datalabs_runtime.clock import Clock
from datalabs_runtime.database import Database

TRIES = 20
"""A lab that moves while somebody wants something is read again; so often in a row means a mistake."""


class Wishes:
    """Changes of labs on request. A wish never waits for a lab's step: it is stored, and the step gives way."""

    def __init__(
        self,
        *,
        database: Database,
        journal: Journal,
        ending: Ending,
        clock: Clock,
        settings: LauncherSettings,
        interrupt: Callable[[str], None],
    ) -> None:
        self._database = database
        self._journal = journal
        self._ending = ending
        self._clock = clock
        self._settings = settings
        self._interrupt = interrupt

    async def stop(self, record: LabRecord, reason: Reason, *, actor: str) -> LabRecord:
        """End a lab in whatever state it is; one that has ended or is ending stays as it is."""

        async def _stop(current: LabRecord) -> LabRecord:
            if current.state.ended or current.state is LabState.STOPPING:
                return current
            return await self._ending.ask(current, reason, actor=actor)

        record = await self._insist(record, _stop)
        self._interrupt(record.id)
        return record

    async def delete(self, record: LabRecord, reason: Reason, *, actor: str) -> LabRecord:
        """End a lab if need be, then hide it; doing it again changes nothing."""

        async def _delete(current: LabRecord) -> LabRecord:
            now = self._clock.now()
            if current.deleted_at is not None or (current.delete_requested and not current.state.ended):
                return current
            if current.state.ended:
                values = {"deleted_at": now, "delete_requested": True}
                return await self._journal.write(
                    current, Change(at=now, event=LAB_DELETED, actor=actor, values=values)
                )
            if current.state is LabState.STOPPING:
                return await self._journal.write(
                    current, Change(at=now, actor=actor, values={"delete_requested": True})
                )
            return await self._ending.ask(current, reason, actor=actor, delete_requested=True)

        record = await self._insist(record, _delete)
        self._interrupt(record.id)
        return record

    async def extend(self, record: LabRecord, seconds: float | None, *, actor: str) -> LabRecord:
        """Move the expiry of a running lab; that counts as a sign of use.

        Raises `ProblemError` (lab_ended, lab_not_ready, extension_too_long).
        """

        async def _extend(current: LabRecord) -> LabRecord:
            if current.state.ended or current.state is LabState.STOPPING:
                raise ProblemError(ProblemCode.LAB_ENDED)
            if current.ready_at is None:
                raise ProblemError(ProblemCode.LAB_NOT_READY, "Its time begins when it is ready.")
            now, settings = self._clock.now(), self._settings
            expires_at = extended(
                current, seconds, now=now, step=settings.extension, longest=settings.max_lifetime
            )
            values = {"expires_at": expires_at, "last_active_at": now, "noticed_minutes": None, "due_at": now}
            return await self._journal.write(
                current, Change(at=now, event=LAB_EXTENDED, actor=actor, values=values)
            )

        record = await self._insist(record, _extend)
        self._interrupt(record.id)
        return record

    async def _insist(
        self, record: LabRecord, change: Callable[[LabRecord], Awaitable[LabRecord]]
    ) -> LabRecord:
        """Make a change although the lab may move meanwhile."""
        for _ in range(TRIES):
            try:
                return await change(record)
            except LabMovedError:
                async with self._database.reading() as session:
                    current = await labs.get(session, record.id)
                if current is None:
                    raise ProblemError(ProblemCode.NOT_FOUND) from None
                record = current
        raise ProblemError(ProblemCode.CONFLICT, "The lab changes too quickly; try again.")
