"""What people want of a lab that is there: stop it, delete it, keep it longer, serve it sooner."""

from collections.abc import Awaitable, Callable
from datetime import datetime

from datalabs_contracts.events import LAB_DELETED, LAB_EXTENDED
from datalabs_contracts.labs import LabState, Reason
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_launcher.config import LauncherSettings
from datalabs_launcher.ending import Ending
from datalabs_launcher.errors import LabMovedError
from datalabs_launcher.expiry import extended, kept
from datalabs_launcher.journal import Change, Journal
from datalabs_launcher.models import LabRecord
from datalabs_launcher.store import labs, runs
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
        queue_changed: Callable[[], None],
        files_freed: Callable[[], None],
    ) -> None:
        self._database = database
        self._journal = journal
        self._ending = ending
        self._clock = clock
        self._settings = settings
        self._interrupt = interrupt
        self._queue_changed = queue_changed
        self._files_freed = files_freed

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
                values: dict[str, object] = {"deleted_at": now, "delete_requested": True}
                if current.files_kept_until is not None:
                    values["files_kept_until"] = now
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
        self._files_freed()
        return record

    async def extend(self, record: LabRecord, seconds: float | None, *, actor: str) -> LabRecord:
        """Move the expiry of a running lab; that counts as a sign of use.

        Raises `ProblemError` (lab_ended, lab_not_ready, extension_too_long).
        """
        own = await self._own_bound(record)

        async def _extend(current: LabRecord) -> LabRecord:
            _check_running(current)
            now, settings = self._clock.now(), self._settings
            expires_at = extended(
                current, seconds, now=now, step=settings.extension, longest=own or settings.max_lifetime
            )
            values = {"expires_at": expires_at, "last_active_at": now, "noticed_minutes": None, "due_at": now}
            return await self._journal.write(
                current, Change(at=now, event=LAB_EXTENDED, actor=actor, values=values)
            )

        record = await self._insist(record, _extend)
        self._interrupt(record.id)
        return record

    async def keep(self, record: LabRecord, until: datetime | None, *, actor: str) -> LabRecord:
        """Let a lab run until a moment, however idle it looks; None ends that wish and leaves the expiry.

        Raises `ProblemError` (lab_ended, lab_not_ready, invalid_request, extension_too_long).
        """
        longest = await self._own_bound(record) or self._settings.max_keep

        async def _keep(current: LabRecord) -> LabRecord:
            _check_running(current)
            now = self._clock.now()
            values: dict[str, object] = {"kept_until": until, "noticed_minutes": None, "due_at": now}
            if until is not None:
                values |= {"expires_at": kept(current, until, now=now, longest=longest)}
            else:
                values |= {"last_active_at": now}
            detail = {"kept_until": f"{until:%Y-%m-%dT%H:%M:%SZ}" if until else None}
            change = Change(at=now, event=LAB_EXTENDED, actor=actor, values=values, detail=detail)
            return await self._journal.write(current, change)

        record = await self._insist(record, _keep)
        self._interrupt(record.id)
        return record

    async def prioritise(self, record: LabRecord, priority: int, *, actor: str) -> LabRecord:
        """Move a lab in the queue.

        Raises `ProblemError` (lab_ended).
        """

        async def _prioritise(current: LabRecord) -> LabRecord:
            if current.state.ended or current.state is LabState.STOPPING:
                raise ProblemError(ProblemCode.LAB_ENDED)
            if current.priority == priority:
                return current
            change = Change(at=self._clock.now(), actor=actor, values={"priority": priority})
            return await self._journal.write(current, change)

        record = await self._insist(record, _prioritise)
        self._queue_changed()
        return record

    async def _own_bound(self, record: LabRecord) -> float | None:
        """Return how far ahead this owner's labs may be kept, if an operator has set that."""
        async with self._database.reading() as session:
            return (await runs.policy(session, record.owner)).keep_seconds

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


def _check_running(record: LabRecord) -> None:
    if record.state.ended or record.state is LabState.STOPPING:
        raise ProblemError(ProblemCode.LAB_ENDED)
    if record.ready_at is None:
        raise ProblemError(ProblemCode.LAB_NOT_READY, "Its time begins when it is ready.")
