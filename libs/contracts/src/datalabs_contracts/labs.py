"""Labs: their states, reasons, requests and facts."""

from enum import StrEnum
from typing import Any

from pydantic import Field

from datalabs_contracts.base import Body, Contract, Instant
from datalabs_contracts.datalabs import Kind, Runtime, Size
from datalabs_contracts.ids import CollectionId, LabId, SizeName, Slug, Username, VersionName


class LabState(StrEnum):
    """The life of a lab (DESIGN section 5)."""

    QUEUED = "queued"
    PREPARING = "preparing"
    STARTING = "starting"
    READY = "ready"
    UNREACHABLE = "unreachable"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """Whether nothing of the lab runs any more."""
        return self in {LabState.STOPPED, LabState.FAILED}


class Reason(StrEnum):
    """Why a lab ended, or why it cannot go on (DESIGN section 5)."""

    COMPLETED = "completed"
    STOPPED_BY_USER = "stopped_by_user"
    STOPPED_BY_OPERATOR = "stopped_by_operator"
    IDLE = "idle"
    EXPIRED = "expired"
    QUOTA_EXCEEDED = "quota_exceeded"
    NO_CAPACITY = "no_capacity"
    IMAGE_UNAVAILABLE = "image_unavailable"
    VOLUME_UNAVAILABLE = "volume_unavailable"
    START_TIMEOUT = "start_timeout"
    OUT_OF_MEMORY = "out_of_memory"
    DISK_FULL = "disk_full"
    PIDS_EXCEEDED = "pids_exceeded"
    CRASHED = "crashed"
    NODE_LOST = "node_lost"
    PREEMPTED = "preempted"
    LAUNCHER_ERROR = "launcher_error"


EXECUTION_BROKER_PHASES: dict[LabState, str] = {
    LabState.QUEUED: "WAITING",
    LabState.PREPARING: "PREPARING",
    LabState.STARTING: "PREPARING",
    LabState.READY: "RUNNING",
    LabState.UNREACHABLE: "RUNNING",
    LabState.STOPPING: "RELEASING",
    LabState.STOPPED: "COMPLETED",
    LabState.FAILED: "FAILED",
}
"""The IVOA Execution Broker phase of each state."""

CANCELLED_REASONS = {Reason.STOPPED_BY_USER, Reason.STOPPED_BY_OPERATOR}


def execution_broker_phase(state: LabState, reason: Reason | None) -> str:
    """Return the IVOA Execution Broker phase of a state and reason."""
    if state is LabState.STOPPED and reason in CANCELLED_REASONS:
        return "CANCELLED"
    if state is LabState.STOPPED and reason is Reason.EXPIRED:
        return "EXPIRED"
    return EXECUTION_BROKER_PHASES[state]


class Progress(Contract):
    """What a lab is doing now: a phase of the timeline, how far (0 to 1, if known), and one plain sentence."""

    phase: str
    fraction: float | None = Field(default=None, ge=0, le=1)
    text: str = ""


class Lab(Contract):
    """One running or ended launch of a datalab version."""

    id: LabId
    name: str
    owner: Username
    datalab: Slug
    datalab_title: str = ""
    version: VersionName
    kind: Kind
    runtime: Runtime | None = None
    size: SizeName
    cores: float = 0
    memory_mib: int = 0
    parameters: dict[str, Any] = Field(default_factory=dict)
    collections: list[CollectionId] = Field(default_factory=list)
    state: LabState
    phase: str = Field(default="", description="The IVOA Execution Broker phase.")
    reason: Reason | None = None
    message: str = ""
    exit_code: int | None = None
    signal: int | None = None
    last_lines: list[str] = Field(
        default_factory=list, description="The last log lines of an ended lab, at most 20."
    )
    progress: Progress | None = None
    queue_position: int | None = None
    attempt: int = Field(ge=1)
    revision: int
    created_at: Instant
    started_at: Instant | None = Field(
        default=None, description="When its process began, by the scheduler's clock."
    )
    ready_at: Instant | None = None
    ended_at: Instant | None = None
    expires_at: Instant | None = None
    trace_id: str | None = None
    deleted: bool = False


class LaunchBody(Body):
    """`POST /labs`; all but `datalab` have sensible defaults. `volumes` names what is mounted beside the collections."""

    datalab: Slug
    version: VersionName | None = None
    size: SizeName | None = None
    name: str | None = Field(default=None, min_length=1, max_length=80)
    parameters: dict[str, Any] = Field(default_factory=dict)
    volumes: list[str] = Field(default_factory=lambda: ["home", "scratch"], max_length=16)
    collections: list[CollectionId] | None = Field(default=None, max_length=64)


class LaunchLab(Contract):
    """Launch for the person of the assertion."""

    body: LaunchBody
    idempotency_key: str | None = Field(default=None, max_length=200)


class Fit(StrEnum):
    """Whether a launch would fit."""

    NOW = "now"
    QUEUE = "queue"
    NEVER = "never"
    OVER_LIMIT = "over_limit"


class Amounts(Contract):
    """Labs, cores and memory: used, reserved or allowed."""

    labs: int
    cores: float
    memory_mib: int


class Limits(Contract):
    """What one person may have at once; a missing maximum means no limit."""

    used: Amounts
    max_labs: int | None = None
    max_cores: float | None = None
    max_memory_mib: int | None = None


class Preflight(Contract):
    """What a launch would meet: whether it fits, what it takes, how long it has taken of late."""

    fit: Fit
    text: str
    size: Size
    runtime: Runtime | None = None
    queue_position: int | None = None
    expected_seconds: float | None = None
    expected_phases: dict[str, float] = Field(
        default_factory=dict, description="Median seconds of each phase."
    )
    limits: Limits | None = None
    notices: list[str] = Field(default_factory=list, description="What to know of this runtime on this site.")


class LabRef(Contract):
    """One lab."""

    lab_id: LabId


class LabsQuery(Contract):
    """A page of labs, newest first: of one owner, or of everybody for operators and services."""

    owner: Username | None = None
    include_ended: bool = True
    limit: int = Field(default=50, ge=1, le=200)
    cursor: str | None = None


class StopLab(Contract):
    """Stop a lab; `reason` is set by services that end labs by a rule."""

    lab_id: LabId
    reason: Reason | None = None


class RestartBody(Body):
    """`POST /labs/{id}/restart`; another size if wanted."""

    size: SizeName | None = None


class RestartLab(Contract):
    """Run an ended lab again under the same id, as a new attempt."""

    lab_id: LabId
    size: SizeName | None = None


class ExtendBody(Body):
    """`POST /labs/{id}/extend`: seconds from now; by default the site's step."""

    seconds: float | None = Field(default=None, gt=0)


class ExtendLab(Contract):
    """Move the expiry of a lab."""

    lab_id: LabId
    seconds: float | None = None


class TimelineQuery(Contract):
    """The timeline of one attempt, by default the newest."""

    lab_id: LabId
    attempt: int | None = Field(default=None, ge=1)


class TimelinePhase(Contract):
    """One phase of a launch; `ended_at` is missing while it runs."""

    name: str
    started_at: Instant
    ended_at: Instant | None = None
    seconds: float
    text: str = ""
    steps: list["TimelinePhase"] = Field(
        default_factory=list, description="What the scheduler did in this phase, by its own clock."
    )


class Timeline(Contract):
    """The stored transitions of one attempt; `seconds` runs from the request to ready, or to now or the end."""

    lab_id: LabId
    attempt: int
    trace_id: str | None
    seconds: float
    phases: list[TimelinePhase]
    usual: dict[str, float] = Field(default_factory=dict, description="Median seconds of each phase of late.")


class LogsQuery(Contract):
    """The last lines of an attempt's log."""

    lab_id: LabId
    attempt: int | None = Field(default=None, ge=1)
    lines: int = Field(default=200, ge=1, le=2000)


class Logs(Contract):
    """The last log lines; `truncated` when older ones exist."""

    lab_id: LabId
    attempt: int
    lines: list[str]
    truncated: bool = False


class Sample(Contract):
    """One measurement of a running lab: cores in use, memory and scratch in MiB, and what it may have.

    The bytes received and sent are counted from the start; what cannot be measured is missing.
    """

    lab_id: LabId
    at: Instant
    cores: float
    memory_mib: float
    max_cores: float
    max_memory_mib: int
    disk_mib: float | None = None
    max_disk_mib: int | None = None
    received_bytes: int | None = None
    sent_bytes: int | None = None


class Metrics(Contract):
    """The recent samples of a lab, oldest first."""

    lab_id: LabId
    samples: list[Sample]


class Route(Contract):
    """Where a live lab answers; for the gateway only. `open_path` begins with a slash."""

    lab_id: LabId
    attempt: int
    owner: Username
    state: LabState
    host: str
    port: int
    open_path: str = "/"
    trace_id: str | None = None
    revision: int


class NodeState(StrEnum):
    """Whether a machine takes labs."""

    READY = "ready"
    DRAINING = "draining"
    CLOSED = "closed"
    UNREACHABLE = "unreachable"


class Node(Contract):
    """One machine of the cluster; cores as they may be promised, memory and disk in MiB, devices by their name.

    What is taken counts this platform's labs and whatever else the cluster knows to run there.
    """

    name: str
    cluster: str = Field(examples=["local", "nomad"])
    state: NodeState
    runtimes: list[Runtime]
    node_class: str = ""
    cores: float
    memory_mib: int
    disk_mib: int
    gpus: dict[str, int] = Field(default_factory=dict)
    cores_taken: float = 0.0
    memory_taken_mib: int = 0
    disk_taken_mib: int = 0
    gpus_taken: dict[str, int] = Field(default_factory=dict)
    labs: int = 0


class Capacity(Contract):
    """What the cluster has and what is taken; cores may be overcommitted, memory never is.

    `away` names the clusters that do not answer; their machines are missing.
    """

    cores: float
    memory_mib: int
    cores_taken: float
    memory_taken_mib: int
    queued: int
    runtimes: list[Runtime]
    notices: list[str] = Field(default_factory=list)
    nodes: list[Node] = Field(default_factory=list)
    away: list[str] = Field(default_factory=list)


class LabFact(Contract):
    """Data of `events.lab.<id>.<fact>`: the whole lab as it was right after the change."""

    lab: Lab
    revision: int
    owner: Username
    actor: str
    detail: dict[str, Any] = Field(default_factory=dict)
