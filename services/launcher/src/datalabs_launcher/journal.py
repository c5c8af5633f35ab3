"""One transition, one transaction: the lab at its next revision, its timeline, its event, and who is woken."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from datalabs_contracts.events import (
    LAB_FAILED,
    LAB_PREPARING,
    LAB_PROGRESSED,
    LAB_QUEUED,
    LAB_READY,
    LAB_STARTING,
    LAB_STOPPED,
    LAB_STOPPING,
    LAB_UNREACHABLE,
    EventType,
)
from datalabs_contracts.labs import LabFact, LabState
from datalabs_launcher.errors import LabMovedError
from datalabs_launcher.models import PHASE_TEXTS, AttemptRecord, LabRecord, Moment
from datalabs_launcher.store import transitions
from datalabs_launcher.tracing import in_trace_of
from datalabs_runtime.database import of_one
from datalabs_runtime.direct import Direct
from datalabs_runtime.outbox import Outbox
from datalabs_runtime.together import Together

ACTOR = "service:launcher"

STATE_EVENTS: dict[LabState, EventType] = {
    LabState.QUEUED: LAB_QUEUED,
    LabState.PREPARING: LAB_PREPARING,
    LabState.STARTING: LAB_STARTING,
    LabState.READY: LAB_READY,
    LabState.UNREACHABLE: LAB_UNREACHABLE,
    LabState.STOPPING: LAB_STOPPING,
    LabState.STOPPED: LAB_STOPPED,
    LabState.FAILED: LAB_FAILED,
}
ALLOWED: dict[LabState, frozenset[LabState]] = {
    LabState.QUEUED: frozenset({LabState.PREPARING, LabState.STOPPING, LabState.FAILED}),
    LabState.PREPARING: frozenset({LabState.STARTING, LabState.STOPPING, LabState.FAILED}),
    LabState.STARTING: frozenset({LabState.READY, LabState.STOPPING, LabState.STOPPED, LabState.FAILED}),
    LabState.READY: frozenset({LabState.UNREACHABLE, LabState.STOPPING, LabState.STOPPED, LabState.FAILED}),
    LabState.UNREACHABLE: frozenset({LabState.READY, LabState.STOPPING, LabState.STOPPED, LabState.FAILED}),
    LabState.STOPPING: frozenset({LabState.STOPPED, LabState.FAILED}),
    LabState.STOPPED: frozenset({LabState.QUEUED}),
    LabState.FAILED: frozenset({LabState.QUEUED}),
}
"""The life of a lab; from an end only a new attempt leads on."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """What becomes of a lab. `moments` are phases that passed since the last change, oldest first, with their times."""

    at: datetime
    state: LabState | None = None
    phase: str | None = None
    text: str | None = None
    fraction: float | None = None
    moments: Sequence[tuple[str, datetime]] = ()
    values: dict[str, Any] = field(default_factory=dict)
    attempt_values: dict[str, Any] = field(default_factory=dict)
    event: EventType | None = None
    actor: str = ACTOR
    detail: dict[str, Any] = field(default_factory=dict)


class Journal:
    """Writes transitions; those of many labs at the same time with one statement."""

    def __init__(self, *, direct: Direct, outbox: Outbox, instance: str) -> None:
        self._direct = direct
        self._outbox = outbox
        self._instance = instance
        self._change = Together(self._change_all, apart=of_one)
        self._enter = Together(self._enter_all, apart=of_one)

    async def write(self, record: LabRecord, change: Change) -> LabRecord:
        """Make the change in a transaction of its own, or one shared with other labs' changes.

        Raises `LabMovedError` when the lab is not what the record says any more.
        """
        transition, written = self._transition(record, change)
        if not await self._change(transition):
            raise LabMovedError(record.id)
        return written

    async def write_in(self, session: AsyncSession, record: LabRecord, change: Change) -> LabRecord:
        """Make the change in the caller's transaction.

        Raises `LabMovedError` when the lab is not what the record says any more.
        """
        written = await self.write_all_in(session, [(record, change)])
        if not written:
            raise LabMovedError(record.id)
        return written[0]

    async def write_all_in(
        self, session: AsyncSession, changes: Sequence[tuple[LabRecord, Change]]
    ) -> list[LabRecord]:
        """Make changes of several labs in the caller's transaction; return those labs that had not moved."""
        if not changes:
            return []
        made = [self._transition(record, change) for record, change in changes]
        done = await transitions.change_all(session, [one for one, _ in made], self._instance)
        return [written for number, (_, written) in enumerate(made) if number in done]

    async def enter(
        self, record: LabRecord, attempt: AttemptRecord, first: Moment, *, max_queued: int
    ) -> bool | None:
        """Write a new lab down; False when its id or key is taken, None when too many of its owner's labs wait."""
        change = Change(at=record.created_at, state=record.state, actor=record.owner)
        return await self._enter(
            transitions.Entry(
                record=record,
                attempt=attempt,
                first=first,
                event=self._event(record, change),
                max_queued=max_queued,
            )
        )

    async def _change_all(self, changes: list[transitions.Transition]) -> list[bool]:
        done = await transitions.change_all(self._direct, changes, self._instance)
        return [number in done for number in range(len(changes))]

    async def _enter_all(self, entries: list[transitions.Entry]) -> list[bool | None]:
        return await transitions.enter_all(self._direct, entries)

    def _transition(self, record: LabRecord, change: Change) -> tuple[transitions.Transition, LabRecord]:
        values = self._values(record, change)
        written = replace(record, **values, revision=record.revision + 1)
        transition = transitions.Transition(
            record=record,
            values=values,
            moments=self._moments(record, change),
            attempt_values=change.attempt_values,
            event=self._event(written, change),
        )
        return transition, written

    def tell(self, session: AsyncSession, written: LabRecord, change: Change) -> None:
        """Write the event of a change that has been made in this transaction."""
        event, fact = self._fact(written, change)
        with in_trace_of(written):
            self._outbox.add(session, event, written.id, fact, revision=written.revision)

    def _event(self, written: LabRecord, change: Change) -> dict[str, Any]:
        event, fact = self._fact(written, change)
        with in_trace_of(written):
            return self._outbox.row(event, written.id, fact, revision=written.revision)

    @staticmethod
    def _fact(written: LabRecord, change: Change) -> tuple[EventType, LabFact]:
        event = change.event or (STATE_EVENTS[written.state] if change.state else LAB_PROGRESSED)
        return event, LabFact(
            lab=written.contract(),
            revision=written.revision,
            owner=written.owner,
            actor=change.actor,
            detail=change.detail,
        )

    @staticmethod
    def _values(record: LabRecord, change: Change) -> dict[str, Any]:
        values = dict(change.values)
        if change.state is not None:
            if change.state not in ALLOWED[record.state]:
                raise ValueError(f"a lab cannot go from {record.state} to {change.state}")
            values |= {"state": change.state, "state_since": change.at}
        phase = change.phase if change.phase is not None else record.phase
        if phase != record.phase:
            since = change.moments[-1][1] if change.moments else change.at
            values |= {"phase": phase, "phase_since": since}
        if change.text is not None or phase != record.phase:
            values["progress_text"] = change.text if change.text is not None else PHASE_TEXTS.get(phase, "")
            values["progress_fraction"] = change.fraction
        return values

    @staticmethod
    def _moments(record: LabRecord, change: Change) -> list[Moment]:
        moments = [
            Moment(at=at, state=record.state, phase=name, actor=change.actor) for name, at in change.moments
        ]
        phase = change.phase if change.phase is not None else record.phase
        last = change.moments[-1][0] if change.moments else record.phase
        if change.state is not None or phase != last:
            moments.append(
                Moment(
                    at=change.at,
                    state=change.state or record.state,
                    phase=phase,
                    text=change.text or "",
                    reason=change.values.get("reason"),
                    actor=change.actor,
                )
            )
        return moments
