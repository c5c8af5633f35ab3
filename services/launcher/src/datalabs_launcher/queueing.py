"""Who may start now and where, who waits, in which place and why: pure, the same answer for the same question.

The order: priority; then those who have waited beyond all patience, oldest first; then the owner whose labs hold the
least of the site (the largest of its shares of cores, memory and devices: A. Ghodsi et al., "Dominant Resource
Fairness", NSDI 2011), counted on as labs are let in; then age. What fits may pass what does not; a lab that was passed
too often, or has waited too long, gets a machine to itself: nobody of its own or a lower priority is let onto it.
"""

import heapq
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from datalabs_contracts.datalabs import Runtime
from datalabs_contracts.labs import WaitReason
from datalabs_launcher.models import Amount, Waiting
from datalabs_launcher.nodes import ROUNDING, Machine, devices_fit, need_of, total
from datalabs_launcher.words import why_blocked


@dataclass(frozen=True, kw_only=True)
class Rules:
    """When a lab that does not fit gets a machine kept free, and when age goes before fairness."""

    passes: int = 20
    reserve_after: timedelta = timedelta(minutes=10)
    patience: timedelta = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class Wait:
    """Why a lab waits, as a word and in plain words."""

    reason: WaitReason
    text: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What becomes of the queue.

    `admitted` maps labs to machines, in their order; `positions` are the places of all others, 1 is next; `reserved`
    are the machines kept free, by lab; `passed` says which admitted labs went past a lab that leads its kind.
    """

    admitted: dict[str, str]
    positions: dict[str, int]
    waits: dict[str, Wait]
    reserved: dict[str, str]
    passed: dict[str, set[str]] = field(default_factory=dict)


def share(held: Amount, whole: Amount) -> float:
    """Return the dominant share: the largest part of anything of the site."""
    devices, all_devices = sum(held.gpus.values()), sum(whole.gpus.values())
    return max(
        held.cores / whole.cores if whole.cores else 0.0,
        held.memory_mib / whole.memory_mib if whole.memory_mib else 0.0,
        devices / all_devices if all_devices else 0.0,
    )


def order(
    waiting: Sequence[Waiting],
    *,
    holding: Mapping[str, Amount],
    whole: Amount,
    now: datetime,
    rules: Rules,
) -> list[Waiting]:
    """Return the queue in the order in which it is served."""
    by_priority: defaultdict[int, list[Waiting]] = defaultdict(list)
    for lab in waiting:
        by_priority[lab.priority].append(lab)
    shares = {owner: share(amount, whole) for owner, amount in holding.items()}
    served: list[Waiting] = []
    for priority in sorted(by_priority, reverse=True):
        labs = sorted(by_priority[priority], key=_age)
        old = [lab for lab in labs if now - lab.requested_at >= rules.patience]
        for lab in old:
            shares[lab.owner] = shares.get(lab.owner, 0.0) + share(need_of(lab), whole)
        served += old
        served += _fairly([lab for lab in labs if now - lab.requested_at < rules.patience], shares, whole)
    return served


def _fairly(labs: Sequence[Waiting], shares: dict[str, float], whole: Amount) -> list[Waiting]:
    """Return labs of one priority, each time the oldest of the owner with the least; `shares` is carried on."""
    by_owner: defaultdict[str, list[Waiting]] = defaultdict(list)
    for lab in reversed(labs):
        by_owner[lab.owner].append(lab)
    heap = [(shares.get(owner, 0.0), _age(own[-1]), owner) for owner, own in by_owner.items()]
    heapq.heapify(heap)
    served: list[Waiting] = []
    while heap:
        held, _, owner = heap[0]
        lab = by_owner[owner].pop()
        served.append(lab)
        held += share(need_of(lab), whole)
        shares[owner] = held
        if by_owner[owner]:
            heapq.heapreplace(heap, (held, _age(by_owner[owner][-1]), owner))
        else:
            heapq.heappop(heap)
    return served


def _age(lab: Waiting) -> tuple[datetime, str]:
    return lab.requested_at, lab.lab_id


Kind = tuple[Runtime | None, str | None, str | None]
"""Labs that compete for the same machines: runtime, class and device."""


def plan(
    waiting: Sequence[Waiting],
    machines: Sequence[Machine],
    *,
    holding: Mapping[str, Amount],
    now: datetime,
    rules: Rules,
    held: Mapping[str, Wait] | None = None,
) -> Plan:
    """Return who is admitted now and where; what is given is taken from `machines`.

    Those in `held` (over their owner's own limits, say) keep their place and stop nobody.
    """
    whole = total(machine.whole for machine in machines)
    ordered = order(waiting, holding=holding, whole=whole, now=now, rules=rules)
    return _Planning(ordered, machines, now=now, rules=rules, held=held or {}).result()


class _Planning:
    """One plan in the making."""

    def __init__(
        self,
        ordered: Sequence[Waiting],
        machines: Sequence[Machine],
        *,
        now: datetime,
        rules: Rules,
        held: Mapping[str, Wait],
    ) -> None:
        self._ordered, self._machines = ordered, machines
        self._now, self._rules, self._held = now, rules, held
        self._open = [machine for machine in machines if machine.takes]
        self._blocked: set[tuple[object, ...]] = set()
        self._leaders: dict[Kind, Waiting] = {}
        self._plan = Plan(admitted={}, positions={}, waits={}, reserved={})
        self._keepers: dict[str, Waiting] = {}
        self._keep_what_was_kept()

    def result(self) -> Plan:
        """Return the plan."""
        plan = self._plan
        for lab in self._ordered:
            known = self._held.get(lab.lab_id)
            if known is None:
                machine = self._find(lab)
                if machine is not None:
                    self._admit(lab, machine)
                    continue
                self._reserve(lab)
            plan.positions[lab.lab_id] = len(plan.positions) + 1
            plan.waits[lab.lab_id] = known or self._why(lab)
        return plan

    def _keep_what_was_kept(self) -> None:
        by_key = {machine.key: machine for machine in self._open}
        for lab in self._ordered:
            machine = by_key.get(lab.reserved_place or "")
            if machine is None or lab.lab_id in self._held or machine.key in self._keepers:
                continue
            if self._could_ever(lab, machine):
                self._keep(lab, machine)

    def _keep(self, lab: Waiting, machine: Machine) -> None:
        self._keepers[machine.key] = lab
        self._plan.reserved[lab.lab_id] = machine.key

    def _may_use(self, lab: Waiting, machine: Machine) -> bool:
        keeper = self._keepers.get(machine.key)
        return keeper is None or keeper.lab_id == lab.lab_id or lab.priority > keeper.priority

    @staticmethod
    def _could_ever(lab: Waiting, machine: Machine) -> bool:
        return machine.suits(lab.runtime, lab.node_class) and holds(machine, need_of(lab))

    def _find(self, lab: Waiting) -> Machine | None:
        """Return the machine that the lab fills best: large rooms are left for large labs, devices for who needs them."""
        own = lab.lab_id in self._plan.reserved
        shape = (*_kind(lab), lab.cores, lab.memory_mib, lab.disk_mib, lab.gpus, lab.priority)
        if shape in self._blocked and not own:
            return None
        need = need_of(lab)
        best: tuple[bool, float, str] | None = None
        found: Machine | None = None
        for machine in self._open:
            if not machine.has_free(need) or not machine.suits(lab.runtime, lab.node_class):
                continue
            if self._keepers and not self._may_use(lab, machine):
                continue
            score = (bool(machine.gpus) and not lab.gpus, _left(machine, need), machine.key)
            if best is None or score < best:
                best, found = score, machine
        if found is None and not own:
            self._blocked.add(shape)
        return found

    def _admit(self, lab: Waiting, machine: Machine) -> None:
        machine.give(need_of(lab))
        self._plan.admitted[lab.lab_id] = machine.key
        kept = self._plan.reserved.pop(lab.lab_id, None)
        if kept is not None:
            del self._keepers[kept]
            self._blocked.clear()
        for leader in self._leaders.values():
            if machine.suits(leader.runtime, leader.node_class):
                self._plan.passed.setdefault(leader.lab_id, set()).add(lab.lab_id)

    def _reserve(self, lab: Waiting) -> None:
        """Note who leads its kind, and keep a machine free for it when it has been passed or has waited enough."""
        kind = _kind(lab)
        if self._leaders.setdefault(kind, lab) is not lab or lab.lab_id in self._plan.reserved:
            return
        waited = self._now - lab.requested_at
        if lab.passes < self._rules.passes and waited < self._rules.reserve_after:
            return
        free = [
            machine
            for machine in self._open
            if machine.key not in self._keepers and self._could_ever(lab, machine)
        ]
        if free:
            self._keep(lab, min(free, key=lambda machine: _promise(machine, lab)))

    def _why(self, lab: Waiting) -> Wait:
        kept = self._plan.reserved.get(lab.lab_id)
        keeper = next((machine.name for machine in self._open if machine.key == kept), None)
        usable = [machine for machine in self._open if self._may_use(lab, machine)]
        reason, text = why_blocked(lab, self._machines, usable, keeper)
        return Wait(reason=reason, text=text)


def _kind(lab: Waiting) -> Kind:
    return lab.runtime, lab.node_class or None, lab.gpu_name if lab.gpus else None


def _left(machine: Machine, need: Amount) -> float:
    """Return what would be left of a machine, from 0 (full) to 2."""
    return (machine.cores - need.cores) / max(machine.whole.cores, 1e-9) + (
        machine.memory_mib - need.memory_mib
    ) / max(machine.whole.memory_mib, 1)


def _promise(machine: Machine, lab: Waiting) -> tuple[bool, bool, float, float, str]:
    """Return how soon a machine should have room, the soonest first: by the ends that are known, then by what lacks."""
    at = machine.roomy_at(need_of(lab))
    missing = max(0.0, lab.cores - machine.cores) / max(machine.whole.cores, 1e-9) + max(
        0, lab.memory_mib - machine.memory_mib
    ) / max(machine.whole.memory_mib, 1)
    wanted_by_others = bool(machine.gpus) and not lab.gpus
    return wanted_by_others, at is None, at.timestamp() if at else 0.0, missing, machine.key


def holds(machine: Machine, need: Amount) -> bool:
    """Whether so much fits on a machine when nothing else runs there."""
    whole = machine.whole
    return (
        need.memory_mib <= whole.memory_mib
        and need.cores <= whole.cores + ROUNDING
        and need.disk_mib + machine.lab_disk_mib <= whole.disk_mib
        and devices_fit(need.gpus, whole.gpus)
    )


def can_ever_fit(
    need: Amount, runtime: Runtime | None, node_class: str | None, machines: Sequence[Machine]
) -> bool:
    """Whether any machine could hold so much when nothing else runs there, also one that takes nothing now."""
    return any(machine.suits(runtime, node_class) and holds(machine, need) for machine in machines)


def lapsed(waiting: Sequence[Waiting], decided: Plan) -> Collection[str]:
    """Return the labs whose kept machine is kept no more, or another one now."""
    return {
        lab.lab_id
        for lab in waiting
        if lab.reserved_place != decided.reserved.get(lab.lab_id) and lab.lab_id not in decided.admitted
    }
