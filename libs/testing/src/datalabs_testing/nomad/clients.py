"""The emulated nodes' clients: they take allocations, let tasks behave, and tell the servers in batches."""

from collections.abc import Callable, Mapping
from typing import Any

from datalabs_testing.nomad.behaviour import Behaviour
from datalabs_testing.nomad.nodes import Node
from datalabs_testing.nomad.records import COMPLETE, FAILED, LOST, PENDING, RUNNING, UNKNOWN, Allocation, Job
from datalabs_testing.nomad.runs import Run
from datalabs_testing.nomad.scheduler import Pace, Planner
from datalabs_testing.nomad.state import ALLOCATIONS, EVALUATIONS, NODES, State
from datalabs_testing.nomad.timers import Timer

DESCRIPTIONS = {
    PENDING: "No tasks have started",
    RUNNING: "Tasks are running",
    COMPLETE: "All tasks have completed",
    FAILED: "Failed tasks",
}
Behaves = Callable[[Allocation, Mapping[str, Any]], Behaviour]


class Clients:
    """All nodes' clients. What a client knows and the servers do not yet stands in its `Run`."""

    def __init__(self, state: State, planner: Planner, pace: Pace, behaves: Behaves) -> None:
        self.state = state
        self.pace = pace
        self.behaves = behaves
        self.runs: dict[str, Run] = {}
        self.logs: dict[str, dict[str, list[str]]] = {}
        self.started: Callable[[Run, str], None] = lambda _run, _task: None
        self.over: Callable[[Run], None] = lambda _run: None
        self._planner = planner
        self._changed: dict[str, Run] = {}
        self._sync: Timer | None = None
        self._deadlines: dict[str, Timer] = {}
        planner.placed = self.take
        planner.stopped = self.stop

    # -- allocations -------------------------------------------------------------------------------------------------

    def take(self, allocation: Allocation) -> None:
        """Begin to run an allocation, if its node is there."""
        run = Run(self, allocation)
        self.runs[allocation.id] = run
        self.logs[allocation.id] = run.lines
        if self.reachable(allocation):
            run.begin()

    def stop(self, allocation: Allocation) -> None:
        """End an allocation that is not wanted any more, when its node hears of it."""
        run = self.runs.get(allocation.id)
        if run is not None and self.reachable(allocation):
            run.stop()

    def changed(self, run: Run, *, urgent: bool) -> None:
        """Tell the servers soon."""
        self._changed[run.allocation.id] = run
        acknowledged = run.allocation.tasks is not None
        wait = self.pace.urgent_sync if urgent and acknowledged else self.pace.sync
        now = self.state.timers.now()
        due = now + (wait - now % wait if wait else 0.0)
        if self._sync is not None:
            if self._sync.due <= due and self._sync.call is not None:
                return
            self._sync.cancel()
        self._sync = self.state.timers.after(due - now, self._tell)

    def reachable(self, allocation: Allocation) -> bool:
        """Return whether an allocation's node is heard of."""
        node = self.state.nodes.get(allocation.node_id)
        return node is not None and node.id not in self._deadlines and node.status == "ready"

    def _tell(self) -> None:
        self._sync = None
        told = [run for run in self._changed.values() if self.reachable(run.allocation)]
        for run in told:
            del self._changed[run.allocation.id]
        known = [run for run in told if run.allocation.id in self.state.allocations]
        if known:
            self._commit(known)
        for run in told:
            if run.over:
                self.runs.pop(run.allocation.id, None)
                self._planner.release(run.allocation)
        self._reschedule([run.allocation for run in known if run.allocation.client_status == FAILED])

    def _commit(self, runs: list[Run]) -> None:
        state = self.state
        with state.write("AllocationUpdated", ALLOCATIONS) as change:
            jobs: dict[tuple[str, str], Job] = {}
            nodes: dict[str, Node] = {}
            for run in runs:
                allocation = run.allocation
                allocation.tasks = {name: task.copied() for name, task in run.tasks.items()}
                if allocation.client_status == UNKNOWN:
                    allocation.turn(run.status(), "", state.timers.now_ns())
                allocation.client_status = run.status()
                allocation.client_description = DESCRIPTIONS[allocation.client_status]
                if run.healthy is not None and run.healthy != allocation.healthy:
                    allocation.healthy = run.healthy
                    allocation.health_index, allocation.health_time = change.index, state.timers.now_ns()
                state.put_allocation(change, allocation, by_client=True)
                job = state.jobs.get((allocation.namespace, allocation.job_id))
                if job is not None:
                    jobs[job.key] = job
                nodes[allocation.node_id] = state.nodes[allocation.node_id]
            for job in jobs.values():
                self._planner.settle(change, job)
            for node in nodes.values():
                change.event("Node", node.id, "", {"Node": node.full()})

    def _reschedule(self, failed: list[Allocation]) -> None:
        for allocation in failed:
            job = self.state.jobs.get((allocation.namespace, allocation.job_id))
            if job is None or job.stop or allocation.desired_status != "run" or allocation.followup_eval:
                continue
            group = next(one for one in job.spec["TaskGroups"] if one["Name"] == allocation.group)
            policy = group["ReschedulePolicy"]
            before = sum(1 for one in job.allocations.values() if one.next)
            if policy["Unlimited"] or before < policy["Attempts"]:
                self._evaluate_later(job, allocation, policy["Delay"] / 1e9)

    def _evaluate_later(self, job: Job, allocation: Allocation, seconds: float) -> None:
        evaluation = self._planner.new(job, "alloc-failure", previous=allocation.eval_id)
        with self.state.write("EvaluationUpdated", EVALUATIONS) as change:
            self.state.put_evaluation(change, evaluation)
            allocation.followup_eval = evaluation.id
            self._planner.settle(change, job)
        self.state.timers.after(seconds, lambda: self._planner.enqueue(evaluation))

    # -- nodes -------------------------------------------------------------------------------------------------------

    def node_down(self, node: Node) -> None:
        """Let a node fall silent; what runs there goes on, and the servers notice when its heartbeat is overdue."""
        if node.id not in self._deadlines:
            self._deadlines[node.id] = self.state.timers.after(
                self.pace.heartbeat_ttl, lambda: self._missed(node)
            )

    def node_up(self, node: Node) -> None:
        """Let a node be heard again: it tells what became of its allocations, and ends those that are not wanted."""
        deadline = self._deadlines.pop(node.id, None)
        if deadline is not None:
            deadline.cancel()
        with self.state.write("NodeStatusUpdate", NODES) as change:
            node.status = "ready"
            self.state.put_node(change, node)
        for run in [one for one in self.runs.values() if one.allocation.node_id == node.id]:
            if run.allocation.id not in self.state.allocations or run.allocation.finished:
                run.stop()
            elif run.allocation.client_status == UNKNOWN:
                run.reconnected()
            elif not run.begun:
                run.begin()
            self.changed(run, urgent=True)
        self._planner.forget_nodes()
        self._planner.unblock()

    def node_lost(self, node: Node) -> None:
        """Let a machine die: nothing of it goes on, whether or not it comes back."""
        for run in [one for one in self.runs.values() if one.allocation.node_id == node.id]:
            run.vanish()
        self.node_down(node)

    def _missed(self, node: Node) -> None:
        waiting: list[tuple[Allocation, float]] = []
        jobs: dict[tuple[str, str], Job] = {}
        with self.state.write("NodeStatusUpdate", NODES, ALLOCATIONS) as change:
            for allocation in list(node.allocations.values()):
                if allocation.id not in self.state.allocations or allocation.terminal:
                    continue
                job = self.state.jobs.get((allocation.namespace, allocation.job_id))
                group = next(one for one in allocation.spec["TaskGroups"] if one["Name"] == allocation.group)
                patience = (group["Disconnect"] or {}).get("LostAfter") or 0
                if patience and allocation.client_status == RUNNING and allocation.desired_status == "run":
                    text = "alloc is unknown since its node is disconnected"
                    allocation.turn(UNKNOWN, text, self.state.timers.now_ns())
                    waiting.append((allocation, patience / 1e9))
                else:
                    self._lose(allocation)
                self.state.put_allocation(change, allocation)
                if job is not None:
                    jobs[job.key] = job
            node.status = "disconnected" if waiting else "down"
            self.state.put_node(change, node)
            for job in jobs.values():
                self._planner.settle(change, job)
        self._planner.forget_nodes()
        for allocation, seconds in waiting:
            self.state.timers.after(seconds, lambda one=allocation: self._give_up(one))  # type: ignore[misc]
        for job in jobs.values():
            self._node_update(job)

    def _give_up(self, allocation: Allocation) -> None:
        if allocation.client_status != UNKNOWN or allocation.id not in self.state.allocations:
            return
        job = self.state.jobs.get((allocation.namespace, allocation.job_id))
        node = self.state.nodes[allocation.node_id]
        with self.state.write("PlanResult", ALLOCATIONS, NODES) as change:
            self._lose(allocation)
            self.state.put_allocation(change, allocation)
            if node.status == "disconnected" and not any(
                one.client_status == UNKNOWN for one in node.allocations.values()
            ):
                node.status = "down"
                self.state.put_node(change, node)
            if job is not None:
                self._planner.settle(change, job)
        if job is not None:
            self._node_update(job)

    def _lose(self, allocation: Allocation) -> None:
        allocation.turn(LOST, "alloc is lost since its node is down", self.state.timers.now_ns())
        allocation.desired_status = "stop"
        allocation.desired_description = "alloc is lost since its node is down"

    def _node_update(self, job: Job) -> None:
        evaluation = self._planner.new(job, "node-update")
        with self.state.write("EvaluationUpdated", EVALUATIONS) as change:
            self.state.put_evaluation(change, evaluation)
        self._planner.enqueue(evaluation)
