"""The emulated scheduler: evaluations in, placements and blocked evaluations out."""

import bisect
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from datalabs_testing.nomad import feasibility, room
from datalabs_testing.nomad.feasibility import Demand, Metrics, demand_of
from datalabs_testing.nomad.nodes import Node
from datalabs_testing.nomad.records import (
    COMPLETE,
    DEAD,
    FAILED,
    LOST,
    PENDING,
    RUNNING,
    Allocation,
    Evaluation,
    Job,
    new_id,
)
from datalabs_testing.nomad.state import ALLOCATIONS, EVALUATIONS, JOBS, Change, State

BLOCKED = "blocked"
ON_EVERY_NODE = frozenset({"system", "sysbatch"})
NOT_NEEDED = "alloc not needed due to job update"
Key = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How long the cluster takes, in seconds of its own time; the defaults are those of one agent on one machine."""

    evaluation: float = 0.004
    receive: float = 0.012
    setup: float = 0.006
    pull: float = 0.5
    urgent_sync: float = 0.2
    sync: float = 1.0
    max_kill_timeout: float = 120.0
    heartbeat_ttl: float = 20.0
    instant: bool = False

    @classmethod
    def at_once(cls) -> "Pace":
        """Return a cluster that takes no time of its own."""
        return cls(evaluation=0, receive=0, setup=0, pull=0, urgent_sync=0, sync=0, instant=True)


class Planner:
    """Answers evaluations one after the other, the more important and then the older ones first."""

    def __init__(self, state: State, pace: Pace) -> None:
        self._state = state
        self._pace = pace
        self._queue: list[tuple[int, int, Evaluation]] = []
        self._count = itertools.count()
        self._working = False
        self._unblocking = False
        self._statically: dict[tuple[object, str], str | None] = {}
        self.blocked: dict[Key, Evaluation] = {}
        self.never_places = False
        self.placed: Callable[[Allocation], None] = lambda _: None
        self.stopped: Callable[[Allocation], None] = lambda _: None

    # -- evaluations -------------------------------------------------------------------------------------------------

    def new(self, job: Job, triggered_by: str, **more: Any) -> Evaluation:
        """Return an evaluation of a job, not yet written."""
        return Evaluation(
            id=new_id(),
            namespace=job.key[0],
            job_id=job.key[1],
            job_type=job.spec["Type"],
            priority=job.spec["Priority"],
            triggered_by=triggered_by,
            job_modify_index=job.job_modify_index,
            create_time=self._state.timers.now_ns(),
            **more,
        )

    def enqueue(self, evaluation: Evaluation) -> None:
        """Let an evaluation be answered soon."""
        bisect.insort(
            self._queue, (-evaluation.priority, next(self._count), evaluation), key=lambda one: one[:2]
        )
        self._work_soon()

    def unblock(self) -> None:
        """Look at all that waits: room was made."""
        if self.blocked and not self._unblocking:
            self._unblocking = True
            self._state.timers.after(self._pace.evaluation, self._unblock)

    def forget_nodes(self) -> None:
        """Forget what was found of nodes: they changed."""
        self._statically.clear()

    def _unblock(self) -> None:
        self._unblocking = False
        waiting = sorted(self.blocked.values(), key=lambda one: (-one.priority, one.create_index))
        hopeless: set[object] = set()
        for evaluation in waiting:
            job = self._state.jobs.get((evaluation.namespace, evaluation.job_id))
            if job is None:
                self.blocked.pop((evaluation.namespace, evaluation.job_id), None)
                continue
            wishes = tuple(demand_of(job.spec, group) for group in job.spec["TaskGroups"])
            if wishes in hopeless:
                continue
            if any(self._choose(wish, Metrics(wish.pool)) is None for wish in wishes):
                hopeless.add(wishes)
                continue
            del self.blocked[job.key]
            evaluation.status = PENDING
            self._answer(evaluation)

    def _work_soon(self) -> None:
        if self._queue and not self._working:
            self._working = True
            self._state.timers.after(self._pace.evaluation, self._work)

    def _work(self) -> None:
        self._working = False
        if self._queue:
            self._answer(self._queue.pop(0)[2])
        self._work_soon()

    # -- an answer ---------------------------------------------------------------------------------------------------

    def _answer(self, evaluation: Evaluation) -> None:
        key = (evaluation.namespace, evaluation.job_id)
        job = self._state.jobs.get(key)
        old = self.blocked.pop(key, None)
        if job is None:
            self._conclude(evaluation, None, {}, {}, old)
            return
        surplus, missing = self._differences(job)
        failures: dict[str, Metrics] = {}
        placed: list[Allocation] = []
        for group, count, previous in missing:
            demand = demand_of(job.spec, group)
            metrics = Metrics(demand.pool)
            for node in self._nodes_for(job, demand, metrics, count):
                if node is None:
                    failures[group["Name"]] = metrics
                    break
                one = self._allocate(
                    job, group, demand=demand, node=node, metrics=metrics, evaluation=evaluation
                )
                if previous is not None:
                    one.previous, previous.next = previous.id, one.id
                placed.append(one)
        if surplus or placed:
            self._commit_plan(evaluation, job, surplus, placed)
        self._conclude(evaluation, job, failures, dict.fromkeys((one["Name"] for one, *_ in missing), 0), old)
        for allocation in surplus:
            self.stopped(allocation)
        for allocation in placed:
            self.placed(allocation)

    def _differences(
        self, job: Job
    ) -> tuple[list[Allocation], list[tuple[Mapping[str, Any], int, Allocation | None]]]:
        mine = list(job.allocations.values())
        if job.stop:
            return [one for one in mine if not one.finished], []
        surplus: list[Allocation] = []
        missing: list[tuple[Mapping[str, Any], int, Allocation | None]] = []
        for group in job.spec["TaskGroups"]:
            held = [one for one in mine if one.group == group["Name"] and one.desired_status == "run"]
            surplus += [one for one in held if not one.terminal and one.spec["Version"] != job.version]
            kept = [one for one in held if one.spec["Version"] == job.version and not _to_be_replaced(one)]
            previous = next((one for one in reversed(held) if _to_be_replaced(one) and not one.next), None)
            missing.append((group, max(0, group["Count"] - len(kept)), previous))
        return surplus, missing

    def _commit_plan(
        self, evaluation: Evaluation, job: Job, surplus: Iterable[Allocation], placed: Iterable[Allocation]
    ) -> None:
        state = self._state
        with state.write("PlanResult", ALLOCATIONS, EVALUATIONS, JOBS) as change:
            state.put_evaluation(change, evaluation)
            for allocation in surplus:
                allocation.desired_status, allocation.desired_description = "stop", NOT_NEEDED
                state.put_allocation(change, allocation)
            for allocation in placed:
                replaced = job.allocations.get(allocation.previous)
                if replaced is not None:
                    state.put_allocation(change, replaced)
                state.put_allocation(change, allocation)
            self.settle(change, job)

    def _conclude(
        self,
        evaluation: Evaluation,
        job: Job | None,
        failures: dict[str, Metrics],
        queued: dict[str, int],
        old: Evaluation | None,
    ) -> None:
        state = self._state
        waits = None
        if failures and job is not None:
            failed = {name: metrics.json() for name, metrics in failures.items()}
            queued |= dict.fromkeys(failures, 1)
            evaluation.failed = failed
            if evaluation.triggered_by == "queued-allocs":
                waits = evaluation
                evaluation.status = BLOCKED
            else:
                waits = self._block(evaluation, job, failed)
        with state.write("EvaluationUpdated", EVALUATIONS) as change:
            if waits is not evaluation:
                evaluation.status = COMPLETE
            evaluation.queued = queued or None
            state.put_evaluation(change, evaluation)
            if old is not None and old is not evaluation and old.status == BLOCKED:
                old.status = "canceled"
                state.put_evaluation(change, old)
            if job is not None:
                if waits is not None:
                    self.blocked[job.key] = waits
                if job.queued != {name: count for name, count in queued.items() if count}:
                    job.queued = {name: count for name, count in queued.items() if count}
                    state.put_summary(change, job)
                self.settle(change, job)

    def _block(self, evaluation: Evaluation, job: Job, failed: dict[str, Any]) -> Evaluation:
        waits = self.new(job, "queued-allocs", previous=evaluation.id, status=BLOCKED)
        waits.description = "created to place remaining allocations"
        waits.failed = failed
        evaluation.blocked = waits.id
        with self._state.write("EvaluationUpdated", EVALUATIONS) as change:
            self._state.put_evaluation(change, waits)
        return waits

    def settle(self, change: Change, job: Job) -> None:
        """Write a job's status if it follows from its allocations and evaluations that it is another."""
        status = self.status_of(job)
        if status != job.status and self._state.jobs.get(job.key) is job:
            job.status = status
            self._state.tables[JOBS] = change.index
            self._state.put_job(change, job)

    def status_of(self, job: Job) -> str:
        """Return what a job's status is by its allocations and evaluations."""
        if any(not one.terminal for one in job.allocations.values()):
            return RUNNING
        if job.spec["ParameterizedJob"] or job.spec["Periodic"]:
            return DEAD if job.stop else RUNNING
        waiting = any(one.status in {PENDING, BLOCKED} for one in self._state.evaluations_of.get(job.key, ()))
        if waiting or (not job.allocations and not job.stop):
            return PENDING
        return DEAD

    # -- placing -----------------------------------------------------------------------------------------------------

    def _nodes_for(self, job: Job, demand: Demand, metrics: Metrics, count: int) -> Iterator[Node | None]:
        """Yield where to place so many; None where there is no room. Jobs of the system go to every node that fits."""
        if job.spec["Type"] not in ON_EVERY_NODE:
            for _ in range(count):
                yield self.would_fit(demand, metrics)
            return
        there = {one.node_id for one in job.allocations.values() if one.spec["Version"] == job.version}
        for _, node in list(self._fitting(demand, metrics)):
            if node.id not in there and not self.never_places:
                yield node
        if metrics.nodes_exhausted:
            yield None

    def would_fit(self, demand: Demand, metrics: Metrics) -> Node | None:
        """Return where a group would be placed now."""
        return None if self.never_places else self._choose(demand, metrics)

    def _choose(self, demand: Demand, metrics: Metrics) -> Node | None:
        best = max(self._fitting(demand, metrics), key=lambda one: one[0], default=None)
        if best is None:
            return None
        metrics.scores = [{"NodeID": best[1].id, "NormScore": best[0], "Scores": {"binpack": best[0]}}]
        return best[1]

    def _fitting(self, demand: Demand, metrics: Metrics) -> Iterator[tuple[float, Node]]:
        """Yield the nodes that fit with their scores, and count why the others do not."""
        spread = self._state.scheduler["SchedulerAlgorithm"] == "spread"
        fixed = (
            demand.constraints,
            demand.drivers,
            demand.volumes,
            demand.devices,
            tuple(one[2] for one in (*demand.reserved_ports, *demand.dynamic_ports)),
        )
        for node in self._state.nodes.values():
            if node.status != "ready" or not node.eligible or node.drain:
                continue
            if demand.pool not in {node.pool, "all"} or not feasibility.in_datacenter(node, demand):
                continue
            metrics.in_pool += 1
            metrics.available[node.datacenter] = metrics.available.get(node.datacenter, 0) + 1
            metrics.evaluated += 1
            known = (fixed, node.id)
            if known not in self._statically:
                self._statically[known] = feasibility.filtered(node, demand)
            reason = self._statically[known]
            dimension = feasibility.exhausted(node, demand) if reason is None else None
            if reason is not None:
                metrics.filter(reason)
            elif dimension is not None:
                metrics.exhaust(dimension)
            else:
                used = (node.cpu_taken + demand.cpu) / node.cpu
                used += (node.memory_taken + demand.memory) / node.memory_mib
                yield (2 - used if spread else used), node

    def _allocate(
        self,
        job: Job,
        group: Mapping[str, Any],
        *,
        demand: Demand,
        node: Node,
        metrics: Metrics,
        evaluation: Evaluation,
    ) -> Allocation:
        allocation = Allocation(
            id=new_id(),
            namespace=job.key[0],
            job_id=job.key[1],
            group=group["Name"],
            spec=job.full(),
            node_id=node.id,
            node_name=node.name,
            eval_id=evaluation.id,
            resources=room.taken(node, group, demand),
            metrics=metrics.json(),
            create_time=self._state.timers.now_ns(),
        )
        node.allocations[allocation.id] = allocation
        return allocation

    def release(self, allocation: Allocation) -> None:
        """Give back what an allocation had of its node, once."""
        node = self._state.nodes.get(allocation.node_id)
        if node is None or allocation.released:
            return
        allocation.released = True
        room.give_back(node, allocation)
        self.unblock()


def _to_be_replaced(allocation: Allocation) -> bool:
    """Return whether the scheduler makes another one in place of this: of a lost one always, whatever `Replace` says."""
    if allocation.next:
        return True
    if allocation.client_status == LOST:
        return True
    return allocation.client_status == FAILED and bool(allocation.followup_eval)
