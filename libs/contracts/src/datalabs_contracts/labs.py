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


DEFAULT_PRIORITY = 50
"""Priority of a launch that names none; from 0 to 100."""


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
    disk_mib: int = 0
    gpus: int = 0
    gpu_name: str | None = None
    node: str | None = Field(default=None, description="The machine that it runs on, or ran on.")
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
    expected_start_at: Instant | None = Field(
        default=None, description="When a queued lab may get its turn, judged by past runs."
    )
    priority: int = Field(default=DEFAULT_PRIORITY, description="The higher, the sooner; operators set it.")
    attempt: int = Field(ge=1)
    revision: int
    created_at: Instant
    started_at: Instant | None = Field(
        default=None, description="When its process began, by the scheduler's clock."
    )
    ready_at: Instant | None = None
    ended_at: Instant | None = None
    expires_at: Instant | None = None
    idle_minutes: int | None = Field(
        default=None, description="Minutes without use after which it ends; 0 means never."
    )
    kept_until: Instant | None = Field(default=None, description="Until then it is never idle.")
    files_kept_until: Instant | None = Field(
        default=None,
        description="An ended lab's own files (scratch, a VM's disk) can be had back until then.",
    )
    restartable: bool = Field(default=False, description="It has ended and its owner may start it again.")
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
    priority: int | None = Field(default=None, ge=0, le=100, description="For operators; 50 unless given.")


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
    expected_start_at: Instant | None = Field(
        default=None, description="When it may get its turn in the queue, judged by past runs."
    )
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


class KeepBody(Body):
    """`POST /labs/{id}/keep`: until when it must not end, however idle it looks; nothing ends the wish."""

    until: Instant | None = None


class KeepLab(Contract):
    """Keep a lab for a long run until a moment, or no longer."""

    lab_id: LabId
    until: Instant | None = None


class PriorityBody(Body):
    """`POST /labs/{id}/priority`; 0 to 100."""

    priority: int = Field(ge=0, le=100)


class PrioritiseLab(Contract):
    """Give a lab another priority in the queue."""

    lab_id: LabId
    priority: int = Field(ge=0, le=100)


class LabPolicyBody(Body):
    """`PUT /people/{username}/lab-policy`: a person's own rules; what is missing follows datalab and site."""

    idle_minutes: int | None = Field(
        default=None, ge=0, le=525_600, description="Minutes without use after which labs end; 0: never."
    )
    lifetime_seconds: float | None = Field(
        default=None, gt=0, le=31_536_000, description="How long a lab runs from ready."
    )
    keep_seconds: float | None = Field(
        default=None, gt=0, le=31_536_000, description="How far ahead labs may be kept or extended."
    )


class LabPolicy(Contract):
    """The rules of one person's labs that differ from the site's."""

    owner: Username
    idle_minutes: int | None = None
    lifetime_seconds: float | None = None
    keep_seconds: float | None = None
    changed_at: Instant | None = None
    changed_by: str = ""


class LabPolicyQuery(Contract):
    """Whose rules."""

    owner: Username


class SetLabPolicy(Contract):
    """Give a person's labs rules of their own; running labs follow at once."""

    owner: Username
    policy: LabPolicyBody


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

    What is taken counts this platform's labs and whatever else the cluster knows to run there. Of the disk each lab takes
    `lab_disk_mib` beside what was asked for it (its logs, say).
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
    lab_disk_mib: int = 0
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


class Nodes(Contract):
    """All machines of the site; `away` names the clusters that do not answer."""

    items: list[Node]
    away: list[str] = Field(default_factory=list)


class WaitReason(StrEnum):
    """Why a lab waits in the queue."""

    CAPACITY = "capacity"
    OWN_LIMIT = "own_limit"
    RESERVED = "reserved"
    NO_MACHINE = "no_machine"
    CLUSTER_AWAY = "cluster_away"
    ACCOUNTING_AWAY = "accounting_away"
    TURN = "turn"


class QueuedLab(Contract):
    """A lab that waits: its place, why, since when; `node` is kept free for it."""

    lab_id: LabId
    name: str
    owner: Username
    datalab: Slug
    version: VersionName
    size: SizeName
    runtime: Runtime | None = None
    cores: float
    memory_mib: int
    disk_mib: int
    gpus: int = 0
    gpu_name: str | None = None
    node_class: str | None = None
    priority: int
    position: int
    reason: WaitReason
    text: str
    since: Instant
    expected_start_at: Instant | None = None
    passed: int = Field(default=0, description="How many labs behind it have started before it.")
    node: str | None = None


class Queue(Contract):
    """A page of the queue in the order in which it is served, and how many wait."""

    items: list[QueuedLab]
    next: str | None = None
    total: int


class Interest(Contract):
    """Core NATS `live.interest`: somebody looks at what these people's labs, or these labs, use; holds a few seconds."""

    owners: list[Username] = Field(default_factory=list)
    labs: list[LabId] = Field(default_factory=list)
    everybody: bool = False


class Seen(Contract):
    """Core NATS `live.lab.<id>.seen`: requests of its owner's browser reach a lab."""

    lab_id: LabId
    at: Instant


class LabFact(Contract):
    """Data of `events.lab.<id>.<fact>`: the whole lab as it was right after the change."""

    lab: Lab
    revision: int
    owner: Username
    actor: str
    detail: dict[str, Any] = Field(default_factory=dict)
