"""Jobs, allocations, evaluations and nodes, and how each is written as JSON."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from datalabs_testing.nomad.timers import rfc3339

KEPT_EVENTS = 10
"""A task keeps no more of its events."""

PENDING, RUNNING, COMPLETE = "pending", "running", "complete"
FAILED, LOST, UNKNOWN, DEAD = "failed", "lost", "unknown", "dead"
TERMINAL = frozenset({COMPLETE, FAILED, LOST})

NO_TRANSITION = dict.fromkeys(
    ("ForceReschedule", "Migrate", "MigrateDisablePlacement", "NoShutdownDelay", "Reschedule")
)
OLD_EVENT_FIELDS: dict[str, Any] = {
    "DiskLimit": 0,
    "DownloadError": "",
    "DriverError": "",
    "DriverMessage": "",
    "FailedSibling": "",
    "GenericSource": "",
    "KillError": "",
    "KillReason": "",
    "KillTimeout": 0,
    "RestartReason": "",
    "SetupError": "",
    "StartDelay": 0,
    "TaskSignal": "",
    "TaskSignalReason": "",
    "ValidationError": "",
    "VaultError": "",
}
COLUMNS = ("Complete", "Failed", "Lost", "Queued", "Running", "Starting", "Unknown")


def new_id() -> str:
    """Return an identifier."""
    return str(uuid.uuid4())


@dataclass(frozen=True)
class TaskEvent:
    """Something that happened to a task."""

    type: str
    time: int
    display: str
    details: Mapping[str, str] = field(default_factory=dict)
    exit_code: int = 0
    signal: int = 0
    fails: bool = False
    message: str = ""

    def json(self) -> dict[str, Any]:
        """Return it as Nomad writes it."""
        return {
            **OLD_EVENT_FIELDS,
            "Type": self.type,
            "Time": self.time,
            "DisplayMessage": self.display,
            "Details": dict(self.details),
            "ExitCode": self.exit_code,
            "Signal": self.signal,
            "FailsTask": self.fails,
            "Message": self.message,
        }


@dataclass
class TaskState:
    """Where a task is."""

    state: str = PENDING
    failed: bool = False
    restarts: int = 0
    last_restart: int = 0
    started_at: int = 0
    finished_at: int = 0
    events: list[TaskEvent] = field(default_factory=list)

    def add(self, event: TaskEvent) -> None:
        """Keep an event, and forget the oldest."""
        self.events.append(event)
        del self.events[:-KEPT_EVENTS]

    def json(self) -> dict[str, Any]:
        """Return it as Nomad writes it."""
        return {
            "Events": [event.json() for event in self.events],
            "Failed": self.failed,
            "FinishedAt": rfc3339(self.finished_at) if self.finished_at else None,
            "LastRestart": rfc3339(self.last_restart) if self.last_restart else None,
            "Paused": "",
            "Restarts": self.restarts,
            "StartedAt": rfc3339(self.started_at) if self.started_at else None,
            "State": self.state,
        }

    def copied(self) -> "TaskState":
        """Return a copy that stays as it is."""
        return TaskState(**{**self.__dict__, "events": list(self.events)})


@dataclass(kw_only=True, eq=False)
class Allocation:
    """One placement of one group; `spec` is its job as it was when it was placed."""

    id: str
    namespace: str
    job_id: str
    group: str
    spec: dict[str, Any]
    node_id: str
    node_name: str
    eval_id: str
    resources: dict[str, Any]
    metrics: dict[str, Any]
    create_time: int
    create_index: int = 0
    modify_index: int = 0
    modify_time: int = 0
    client_index: int = 0
    client_status: str = PENDING
    client_description: str = ""
    desired_status: str = "run"
    desired_description: str = ""
    healthy: bool | None = None
    health_index: int = 0
    health_time: int = 0
    deployment_id: str = ""
    previous: str = ""
    next: str = ""
    followup_eval: str = ""
    preempted_by: str = ""
    tasks: dict[str, TaskState] | None = None
    released: bool = False
    states: list[dict[str, str]] = field(default_factory=list)
    text: str = ""
    text_with_resources: str = ""

    def turn(self, status: str, description: str, now: int) -> None:
        """Note what the servers, not the client, make of it."""
        self.client_status, self.client_description = status, description
        self.states.append({"Field": "ClientStatus", "Value": status, "Time": rfc3339(now)})

    @property
    def terminal(self) -> bool:
        """Whether the client is done with it."""
        return self.client_status in TERMINAL

    @property
    def finished(self) -> bool:
        """Whether it counts no more for its job."""
        return self.terminal or self.desired_status in {"stop", "evict"}

    def stub(self) -> dict[str, Any]:
        """Return it as lists have it."""
        return {**self.brief(), "TaskStates": self._tasks()}

    def brief(self) -> dict[str, Any]:
        """Return it as lists have it, without its tasks: cheap enough to look at thousands."""
        return {
            "ClientDescription": self.client_description,
            "ClientStatus": self.client_status,
            "CreateIndex": self.create_index,
            "CreateTime": self.create_time,
            "DeploymentStatus": self._health(),
            "DesiredDescription": self.desired_description,
            "DesiredStatus": self.desired_status,
            "DesiredTransition": NO_TRANSITION,
            "EvalID": self.eval_id,
            "FollowupEvalID": self.followup_eval,
            "ID": self.id,
            "JobID": self.job_id,
            "JobType": self.spec["Type"],
            "JobVersion": self.spec["Version"],
            "ModifyIndex": self.modify_index,
            "ModifyTime": self.modify_time,
            "Name": f"{self.job_id}.{self.group}[0]",
            "Namespace": self.namespace,
            "NextAllocation": self.next,
            "NodeID": self.node_id,
            "NodeName": self.node_name,
            "PreemptedAllocations": None,
            "PreemptedByAllocation": self.preempted_by,
            "RescheduleTracker": None,
            "TaskGroup": self.group,
            "TaskStates": None,
        }

    def full(self) -> dict[str, Any]:
        """Return it with everything but its job."""
        shared = self.resources["Shared"]
        found = {
            "AllocModifyIndex": self.client_index,
            "AllocatedResources": self.resources,
            "ClientDescription": self.client_description,
            "ClientStatus": self.client_status,
            "CreateIndex": self.create_index,
            "CreateTime": self.create_time,
            "DesiredStatus": self.desired_status,
            "EvalID": self.eval_id,
            "ID": self.id,
            "JobID": self.job_id,
            "Metrics": self.metrics,
            "ModifyIndex": self.modify_index,
            "ModifyTime": self.modify_time,
            "Name": f"{self.job_id}.{self.group}[0]",
            "Namespace": self.namespace,
            "NodeID": self.node_id,
            "NodeName": self.node_name,
            "SharedResources": {"DiskMB": shared["DiskMB"], "Networks": shared["Networks"]},
            "TaskGroup": self.group,
        }
        optional = {
            "AllocStates": list(self.states),
            "DesiredDescription": self.desired_description,
            "DeploymentID": self.deployment_id,
            "DeploymentStatus": self._health(),
            "FollowupEvalID": self.followup_eval,
            "NextAllocation": self.next,
            "PreviousAllocation": self.previous,
            "PreemptedByAllocation": self.preempted_by,
            "TaskStates": self._tasks(),
        }
        return found | {name: value for name, value in optional.items() if value}

    def _health(self) -> dict[str, Any] | None:
        if self.healthy is None:
            return None
        return {
            "Canary": False,
            "Healthy": self.healthy,
            "ModifyIndex": self.health_index,
            "Timestamp": rfc3339(self.health_time),
        }

    def _tasks(self) -> dict[str, Any] | None:
        return None if self.tasks is None else {name: task.json() for name, task in self.tasks.items()}


@dataclass(kw_only=True, eq=False)
class Evaluation:
    """A question to the scheduler, and its answer."""

    id: str
    namespace: str
    job_id: str
    job_type: str
    priority: int
    triggered_by: str
    job_modify_index: int
    create_time: int
    create_index: int = 0
    modify_index: int = 0
    modify_time: int = 0
    status: str = PENDING
    description: str = ""
    blocked: str = ""
    previous: str = ""
    next: str = ""
    failed: dict[str, Any] | None = None
    queued: dict[str, int] | None = None
    node_id: str = ""

    def json(self) -> dict[str, Any]:
        """Return it as Nomad writes it: what is empty is left out."""
        found = {
            "CreateIndex": self.create_index,
            "CreateTime": self.create_time,
            "ID": self.id,
            "JobID": self.job_id,
            "JobModifyIndex": self.job_modify_index,
            "ModifyIndex": self.modify_index,
            "ModifyTime": self.modify_time,
            "Namespace": self.namespace,
            "Priority": self.priority,
            "Status": self.status,
            "TriggeredBy": self.triggered_by,
            "Type": self.job_type,
        }
        optional = {
            "BlockedEval": self.blocked,
            "FailedTGAllocs": self.failed,
            "NextEval": self.next,
            "NodeID": self.node_id,
            "PreviousEval": self.previous,
            "QueuedAllocations": self.queued,
            "StatusDescription": self.description,
        }
        return found | {name: value for name, value in optional.items() if value}


@dataclass(kw_only=True, eq=False)
class Job:
    """A job and what became of it."""

    spec: dict[str, Any]
    create_index: int
    modify_index: int
    job_modify_index: int
    version: int = 0
    status: str = PENDING
    stop: bool = False
    submit_time: int = 0
    queued: dict[str, int] = field(default_factory=dict)
    summary_index: int = 0
    allocations: dict[str, Allocation] = field(default_factory=dict)
    text: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and identifier."""
        return self.spec["Namespace"], self.spec["ID"]

    def full(self) -> dict[str, Any]:
        """Return the whole job."""
        return {
            **self.spec,
            "CreateIndex": self.create_index,
            "ModifyIndex": self.modify_index,
            "JobModifyIndex": self.job_modify_index,
            "Version": self.version,
            "Status": self.status,
            "Stop": self.stop,
            "SubmitTime": self.submit_time,
        }

    def stub(self, *, meta: bool = False) -> dict[str, Any]:
        """Return it as lists have it."""
        spec = self.spec
        found = {
            "CreateIndex": self.create_index,
            "Datacenters": spec["Datacenters"],
            "ID": spec["ID"],
            "JobModifyIndex": self.job_modify_index,
            "JobSummary": self.summary(),
            "ModifyIndex": self.modify_index,
            "Multiregion": None,
            "Name": spec["Name"],
            "Namespace": spec["Namespace"],
            "NodePool": spec["NodePool"],
            "ParameterizedJob": spec["ParameterizedJob"] is not None,
            "ParentID": spec["ParentID"],
            "Periodic": spec["Periodic"] is not None,
            "Priority": spec["Priority"],
            "Status": self.status,
            "StatusDescription": "",
            "Stop": self.stop,
            "SubmitTime": self.submit_time,
            "Type": spec["Type"],
        }
        return found | ({"Meta": spec["Meta"]} if meta else {})

    def summary(self) -> dict[str, Any]:
        """Return how many allocations are in which state."""
        groups = {one["Name"]: dict.fromkeys(COLUMNS, 0) for one in self.spec["TaskGroups"]}
        for allocation in self.allocations.values():
            column = {PENDING: "Starting"}.get(allocation.client_status, allocation.client_status.title())
            groups.setdefault(allocation.group, dict.fromkeys(COLUMNS, 0))[column] += 1
        for name, count in self.queued.items():
            groups[name]["Queued"] = count
        return {
            "Children": {"Dead": 0, "Pending": 0, "Running": 0},
            "CreateIndex": self.create_index,
            "JobID": self.spec["ID"],
            "ModifyIndex": self.summary_index or self.modify_index,
            "Namespace": self.spec["Namespace"],
            "Summary": groups,
        }
