"""The rules of one person's labs that differ from those of the datalabs and the site: set by operators, felt at once."""

from collections.abc import Callable

from datalabs_contracts.labs import LabPolicy, LabPolicyBody, LabState
from datalabs_launcher.errors import LabMovedError
from datalabs_launcher.journal import Change, Journal
from datalabs_launcher.models import LabRecord, Policy
from datalabs_launcher.store import labs, runs
from datalabs_runtime.clock import Clock
from datalabs_runtime.database import Database

TRIES = 20
"""A lab that moves while its rules change is read again."""


class Policies:
    """People's own rules."""

    def __init__(
        self, *, database: Database, journal: Journal, clock: Clock, interrupt: Callable[[str], None]
    ) -> None:
        self._database = database
        self._journal = journal
        self._clock = clock
        self._interrupt = interrupt

    async def get(self, owner: str) -> LabPolicy:
        """Return somebody's rules; empty ones when none were set."""
        async with self._database.reading() as session:
            return _contract(await runs.policy(session, owner))

    async def set(self, owner: str, body: LabPolicyBody, *, actor: str) -> LabPolicy:
        """Store somebody's rules, all of them, and let their labs follow."""
        policy = Policy(owner=owner, changed_at=self._clock.now(), changed_by=actor, **body.model_dump())
        async with self._database.transaction() as session:
            await runs.set_policy(session, policy)
            mine = await labs.alive_of(session, owner)
        for record in mine:
            await self._follow(record, policy, actor)
        return _contract(policy)

    async def _follow(self, record: LabRecord, policy: Policy, actor: str) -> None:
        """Let a living lab follow; one that was launched meanwhile has read the new rules itself."""
        current: LabRecord | None = record
        for _ in range(TRIES):
            if current is None or current.state.ended or current.state is LabState.STOPPING:
                return
            try:
                await self._journal.write(current, self._change(current, policy, actor))
            except LabMovedError:
                async with self._database.reading() as session:
                    current = await labs.get(session, record.id)
                continue
            self._interrupt(record.id)
            return

    def _change(self, record: LabRecord, policy: Policy, actor: str) -> Change:
        specification, now = record.specification, self._clock.now()
        own_idle, own_life = policy.idle_minutes, policy.lifetime_seconds
        values: dict[str, object] = {
            "idle_minutes": specification.idle.minutes if own_idle is None else own_idle,
            "lifetime_seconds": specification.lifetime_seconds if own_life is None else own_life,
            "noticed_minutes": None,
        }
        if record.state is not LabState.QUEUED:  # a queued lab is looked at when its turn comes
            values["due_at"] = now
        return Change(at=now, actor=actor, values=values)


def _contract(policy: Policy) -> LabPolicy:
    return LabPolicy(
        owner=policy.owner,
        idle_minutes=policy.idle_minutes,
        lifetime_seconds=policy.lifetime_seconds,
        keep_seconds=policy.keep_seconds,
        changed_at=policy.changed_at,
        changed_by=policy.changed_by,
    )
