"""What the emulated servers know: tables under one index, the waiters of blocking queries, and the events of each write."""

import asyncio
import bisect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from datalabs_testing.nomad.events import Buffer, Entry, Event
from datalabs_testing.nomad.nodes import Node
from datalabs_testing.nomad.quick_json import dumps
from datalabs_testing.nomad.records import Allocation, Evaluation, Job
from datalabs_testing.nomad.timers import Timers

Key = tuple[str, ...]
JOBS, ALLOCATIONS, EVALUATIONS, NODES = "jobs", "allocs", "evals", "nodes"
VARIABLES, NAMESPACES, SCHEDULER, SUMMARIES = "variables", "namespaces", "scheduler_config", "job_summary"
DEPLOYMENTS, VOLUMES = "deployment", "host_volumes"


@dataclass
class Change:
    """One write under way: what it touched, and the lines of its events."""

    index: int
    kind: str
    lines: list[list[Event]] = field(default_factory=lambda: [[]])
    touched: set[Key] = field(default_factory=set)

    def next_line(self) -> None:
        """Let what follows stand on a line of its own."""
        self.lines.append([])

    def touch(self, *key: str) -> None:
        """Wake who waits for it."""
        self.touched.add(key)

    def event(
        self,
        topic: str,
        key: str,
        namespace: str,
        payload: Mapping[str, Any],
        filter_keys: tuple[str, ...] | None = None,
    ) -> None:
        """Tell of something."""
        self.lines[-1].append(
            Event.of(topic, self.kind, key, namespace, payload, index=self.index, filter_keys=filter_keys)
        )


class State:
    """The tables. Every write has the next index; a read has its table's."""

    def __init__(self, timers: Timers, *, event_buffer: int) -> None:
        self.timers = timers
        self.events = Buffer(event_buffer)
        self.index = 0
        self.tables: dict[str, int] = {}
        self.jobs: dict[tuple[str, str], Job] = {}
        self.job_keys: list[tuple[str, str]] = []
        self.allocations: dict[str, Allocation] = {}
        self.evaluations: dict[str, Evaluation] = {}
        self.evaluations_of: dict[tuple[str, str], list[Evaluation]] = {}
        self.nodes: dict[str, Node] = {}
        self.variables: dict[tuple[str, str], dict[str, Any]] = {}
        self.volumes: dict[str, dict[str, Any]] = {}
        self.namespaces: dict[str, dict[str, Any]] = {}
        self.pools: dict[str, dict[str, Any]] = {"default": {"Name": "default"}, "all": {"Name": "all"}}
        self.scheduler: dict[str, Any] = {}
        self.on_release: Callable[[], None] = lambda: None
        self._waiters: dict[Key, set[asyncio.Future[None]]] = {}
        self.bootstrap()

    def bootstrap(self) -> None:
        """Make what a new cluster has."""
        with self.write("Bootstrap", NAMESPACES) as change:
            self.namespaces["default"] = namespace("default", "Default shared namespace", change.index)
        with self.write("SchedulerConfig", SCHEDULER) as change:
            self.scheduler = scheduler_config({}, created=change.index, modified=change.index)

    # -- writing -----------------------------------------------------------------------------------------------------

    def write(self, kind: str, *tables: str) -> "Writing":
        """Begin a write: one index, one or more lines of events."""
        return Writing(self, Change(self.index + 1, kind), tables)

    def finish(self, change: Change, tables: Iterable[str]) -> None:
        """End a write."""
        self.index = change.index
        for table in tables:
            self.tables[table] = change.index
            change.touch(table)
        self.events.add(Entry(change.index, tuple(line)) for line in change.lines)
        for key in change.touched:
            for waiter in self._waiters.pop(key, ()):
                if not waiter.done():
                    waiter.set_result(None)

    def put_job(self, change: Change, job: Job, *, tell: bool = True) -> None:
        """Write a job."""
        if job.key not in self.jobs:
            bisect.insort(self.job_keys, job.key)
        self.jobs[job.key] = job
        job.modify_index = change.index
        job.text = ""
        change.touch(JOBS, *job.key)
        if tell:
            change.event("Job", job.key[1], job.key[0], {"Job": job.full()})

    def drop_job(self, change: Change, job: Job) -> None:
        """Forget a job and, as Nomad 2.0 does, its allocations with it."""
        change.event("Job", job.key[1], job.key[0], {"Deleted": True, "Job": job.full()})
        del self.jobs[job.key]
        del self.job_keys[bisect.bisect_left(self.job_keys, job.key)]
        for allocation in job.allocations.values():
            self.allocations.pop(allocation.id, None)
            change.touch(ALLOCATIONS, allocation.id)
        change.touch(JOBS, *job.key)
        change.touch(ALLOCATIONS, *job.key)
        change.touch(ALLOCATIONS)
        self.tables[ALLOCATIONS] = change.index

    def put_allocation(self, change: Change, allocation: Allocation, *, by_client: bool = False) -> None:
        """Write an allocation that its job still has."""
        now = self.timers.now_ns()
        if allocation.id not in self.allocations:
            allocation.create_index = change.index
            self.allocations[allocation.id] = allocation
        allocation.modify_index = change.index
        allocation.modify_time = now
        if not by_client:
            allocation.client_index = change.index
        allocation.text = allocation.text_with_resources = ""
        key = (allocation.namespace, allocation.job_id)
        job = self.jobs.get(key)
        if job is not None:
            job.allocations[allocation.id] = allocation
            self.put_summary(change, job)
        change.touch(ALLOCATIONS, *key)
        change.touch(ALLOCATIONS, allocation.id)
        change.event(
            "Allocation",
            allocation.id,
            allocation.namespace,
            {"Allocation": allocation.full()},
            (allocation.job_id, allocation.deployment_id),
        )

    def put_summary(self, change: Change, job: Job) -> None:
        """Note that a job's counts changed."""
        job.summary_index = change.index
        job.text = ""
        self.tables[SUMMARIES] = change.index
        change.touch(SUMMARIES)
        change.touch(JOBS)

    def put_evaluation(self, change: Change, evaluation: Evaluation) -> None:
        """Write an evaluation."""
        if not evaluation.create_index:
            evaluation.create_index = change.index
            self.evaluations[evaluation.id] = evaluation
            self.evaluations_of.setdefault((evaluation.namespace, evaluation.job_id), []).append(evaluation)
        evaluation.modify_index = change.index
        evaluation.modify_time = self.timers.now_ns()
        change.touch(EVALUATIONS, evaluation.id)
        change.touch(EVALUATIONS, evaluation.namespace, evaluation.job_id)
        change.event(
            "Evaluation",
            evaluation.id,
            evaluation.namespace,
            {"Evaluation": evaluation.json()},
            (evaluation.job_id, ""),
        )

    def drop_evaluations(self, key: tuple[str, str]) -> None:
        """Forget the evaluations of a job; nobody is told."""
        for evaluation in self.evaluations_of.pop(key, ()):
            self.evaluations.pop(evaluation.id, None)

    def put_node(self, change: Change, node: Node) -> None:
        """Write a node."""
        if node.id not in self.nodes:
            node.create_index = change.index
            self.nodes[node.id] = node
        node.modify_index = change.index
        change.touch(NODES, node.id)
        change.event("Node", node.id, "", {"Node": node.full()})

    # -- reading -----------------------------------------------------------------------------------------------------

    def index_of(self, *tables: str) -> int:
        """Return the index of the newest write to these tables."""
        return max((self.tables.get(table, 0) for table in tables), default=0)

    def jobs_by(self, prefix: str, namespaces: frozenset[str]) -> Iterable[Job]:
        """Return jobs in order of namespace and identifier."""
        for name in sorted(namespaces or self.namespaces):
            at = bisect.bisect_left(self.job_keys, (name, prefix))
            for key in self.job_keys[at:]:
                if key[0] != name or not key[1].startswith(prefix):
                    break
                yield self.jobs[key]

    async def wait(self, key: Key, seconds: float) -> None:
        """Wait until something is touched, that long at most in the cluster's time."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(key, set()).add(waiter)
        timer = self.timers.after(seconds, lambda: None if waiter.done() else waiter.set_result(None))
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiters.get(key, set()).discard(waiter)


class Writing:
    """The block of a write: `with state.write(…) as change:`; what raises in it changes no index."""

    def __init__(self, state: State, change: Change, tables: tuple[str, ...]) -> None:
        self._state = state
        self._change = change
        self._tables = tables

    def __enter__(self) -> Change:
        return self._change

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._state.finish(self._change, self._tables)


def namespace(name: str, description: str, index: int) -> dict[str, Any]:
    """Return a namespace as Nomad writes it."""
    return {
        "Capabilities": None,
        "ConsulConfiguration": None,
        "CreateIndex": index,
        "Description": description,
        "Hash": "",
        "Meta": None,
        "ModifyIndex": index,
        "Name": name,
        "NodePoolConfiguration": None,
        "Quota": "",
        "VaultConfiguration": None,
    }


def scheduler_config(given: Mapping[str, Any], *, created: int, modified: int) -> dict[str, Any]:
    """Return a whole configuration: what is not given falls back, as each PUT does."""
    kinds = ("Batch", "Service", "SysBatch", "System")
    preemption = given.get("PreemptionConfig") or {}
    return {
        "CreateIndex": created,
        "MemoryOversubscriptionEnabled": bool(given.get("MemoryOversubscriptionEnabled")),
        "ModifyIndex": modified,
        "NodeLimitForFeasibilityChecks": 0,
        "PauseEvalBroker": bool(given.get("PauseEvalBroker")),
        "PreemptionConfig": {
            f"{kind}SchedulerEnabled": bool(preemption.get(f"{kind}SchedulerEnabled")) for kind in kinds
        },
        "RejectJobRegistration": bool(given.get("RejectJobRegistration")),
        "SchedulerAlgorithm": given.get("SchedulerAlgorithm") or "binpack",
    }


def listed(texts: Iterable[str]) -> str:
    """Return a JSON list of what is JSON already."""
    return f"[{','.join(texts)}]"


def job_text(job: Job, *, meta: bool) -> str:
    """Return a job of a list, written once for as long as it stays the same."""
    if meta:
        return dumps(job.stub(meta=True))
    if not job.text:
        job.text = dumps(job.stub())
    return job.text


def allocation_text(allocation: Allocation, *, resources: bool = False) -> str:
    """Return an allocation of a list, written once for as long as it stays the same."""
    if resources:
        if not allocation.text_with_resources:
            more = {"AllocatedResources": allocation.resources}
            allocation.text_with_resources = dumps({**allocation.stub(), **more})
        return allocation.text_with_resources
    if not allocation.text:
        allocation.text = dumps(allocation.stub())
    return allocation.text
