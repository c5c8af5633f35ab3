"""What the launcher's modules hand to one another."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from datalabs_contracts.datalabs import (
    EnvironmentSpecification,
    Kind,
    LaunchSpecification,
    Readiness,
    ReadinessState,
    Runtime,
)
from datalabs_contracts.labs import (
    DEFAULT_PRIORITY,
    Lab,
    LabState,
    Progress,
    Reason,
    WaitReason,
    execution_broker_phase,
)

QUEUED, VOLUMES, ENVIRONMENT = "queued", "volumes", "environment"
PLACING, STARTING, PROBING = "placing", "starting", "probing"
LAUNCH_PHASES = (QUEUED, VOLUMES, ENVIRONMENT, PLACING, STARTING, PROBING)
"""The phases of a launch, in their order; their names are part of the public timeline."""

MOST_ATTEMPTS = 99
"""Job ids number attempts with two digits, so that none is a prefix of another."""

NOT_WAITING: dict[str, Any] = {
    "queue_position": None,
    "reserved_place": None,
    "wait_reason": None,
    "expected_start_at": None,
    "passes": 0,
}
"""What a lab that is not in the queue says of it."""

PHASE_TEXTS = {
    QUEUED: "Waiting for its turn",
    VOLUMES: "Making your files ready",
    ENVIRONMENT: "Making the software ready",
    PLACING: "Finding a place to run",
    STARTING: "Starting",
    PROBING: "Waiting for the application to answer",
}


@dataclass(frozen=True, kw_only=True)
class LabRecord:
    """A lab as it is stored, with its newest attempt; memory and disk in MiB."""

    id: str
    owner: str
    owner_uid: int
    unlimited: bool
    name: str
    datalab: str
    datalab_title: str
    version: str
    kind: Kind
    runtime: Runtime | None
    size: str
    cores: float
    memory_mib: int
    disk_mib: int
    parameters: dict[str, Any]
    collections: list[str]
    volumes: list[str]
    specification_document: dict[str, Any]
    idempotency_key: str | None
    body_hash: str
    state: LabState
    phase: str
    progress_fraction: float | None
    progress_text: str
    reason: Reason | None
    message: str
    exit_code: int | None
    signal: int | None
    last_lines: list[str]
    queue_position: int | None
    attempt: int
    revision: int
    reserved: bool
    created_at: datetime
    requested_at: datetime
    started_at: datetime | None
    ready_at: datetime | None
    ended_at: datetime | None
    expires_at: datetime | None
    last_active_at: datetime | None
    noticed_minutes: int | None
    traceparent: str | None
    job_id: str | None
    port: int | None
    intended_at: datetime | None
    submitted_at: datetime | None
    host: str | None
    host_port: int | None
    node: str | None
    state_since: datetime
    phase_since: datetime
    due_at: datetime | None
    delete_requested: bool
    deleted_at: datetime | None
    gpus: int = 0
    gpu_name: str | None = None
    node_class: str | None = None
    priority: int = DEFAULT_PRIORITY
    place: str | None = None
    reserved_place: str | None = None
    passes: int = 0
    wait_reason: WaitReason | None = None
    expected_start_at: datetime | None = None
    idle_minutes: int = 0
    lifetime_seconds: float | None = None
    kept_until: datetime | None = None
    files_kept_until: datetime | None = None
    files_released: bool = False

    @cached_property
    def specification(self) -> LaunchSpecification:
        """All that the catalogue said of this version."""
        return LaunchSpecification.model_validate(self.specification_document)

    @property
    def trace_id(self) -> str | None:
        """The trace of the click that asked for this attempt."""
        return trace_id_of(self.traceparent)

    @property
    def batch(self) -> bool:
        """Whether it ends by itself."""
        return self.kind is Kind.BATCH

    @property
    def restartable(self) -> bool:
        """Whether its owner may start it again; nobody else ever does."""
        return self.state.ended and not self.delete_requested and self.attempt < MOST_ATTEMPTS

    def contract(self) -> Lab:
        """Return the lab as everybody sees it."""
        launching = self.state in {LabState.QUEUED, LabState.PREPARING, LabState.STARTING}
        launching = launching or (self.state is LabState.STOPPING and self.progress_text != "")
        return Lab(
            id=self.id,
            name=self.name,
            owner=self.owner,
            datalab=self.datalab,
            datalab_title=self.datalab_title,
            version=self.version,
            kind=self.kind,
            runtime=self.runtime,
            size=self.size,
            cores=self.cores,
            memory_mib=self.memory_mib,
            disk_mib=self.disk_mib,
            gpus=self.gpus,
            gpu_name=self.gpu_name,
            node=self.node,
            parameters=self.parameters,
            collections=self.collections,
            state=self.state,
            phase=execution_broker_phase(self.state, self.reason),
            reason=self.reason,
            message=self.message,
            exit_code=self.exit_code,
            signal=self.signal,
            last_lines=self.last_lines,
            progress=Progress(phase=self.phase, fraction=self.progress_fraction, text=self.progress_text)
            if launching
            else None,
            queue_position=self.queue_position if self.state is LabState.QUEUED else None,
            expected_start_at=self.expected_start_at if self.state is LabState.QUEUED else None,
            priority=self.priority,
            attempt=self.attempt,
            revision=self.revision,
            created_at=self.created_at,
            started_at=self.started_at,
            ready_at=self.ready_at,
            ended_at=self.ended_at,
            expires_at=self.expires_at,
            idle_minutes=self.idle_minutes,
            kept_until=self.kept_until,
            files_kept_until=self.files_kept_until,
            restartable=self.restartable,
            trace_id=self.trace_id,
            deleted=self.deleted_at is not None,
        )


def trace_id_of(traceparent: str | None) -> str | None:
    """Return the trace id of a W3C traceparent."""
    parts = (traceparent or "").split("-")
    return parts[1] if len(parts) == 4 else None  # noqa: PLR2004 - the four fields of the W3C header


@dataclass(frozen=True, kw_only=True)
class Moment:
    """One stored transition: from here on the lab was in this state and phase."""

    at: datetime
    state: LabState
    phase: str
    text: str = ""
    reason: Reason | None = None
    actor: str = ""


@dataclass(frozen=True, kw_only=True)
class AttemptRecord:
    """One attempt of a lab: what it took, how it went."""

    lab_id: str
    attempt: int
    job_id: str | None
    requested_at: datetime
    started_at: datetime | None = None
    ready_at: datetime | None = None
    ended_at: datetime | None = None
    traceparent: str | None = None
    steps: list[dict[str, Any]] = field(default_factory=list)
    log_lines: list[str] = field(default_factory=list)
    log_truncated: bool = False
    traced: bool = False


@dataclass(frozen=True, kw_only=True)
class Amount:
    """What a lab needs or a machine has; memory and disk in MiB, devices by name, `""` for any."""

    cores: float = 0.0
    memory_mib: int = 0
    disk_mib: int = 0
    gpus: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A queued lab as the ordering sees it; `passes` counts labs behind it that started before it."""

    lab_id: str
    owner: str
    requested_at: datetime
    cores: float
    memory_mib: int
    disk_mib: int = 0
    gpus: int = 0
    gpu_name: str | None = None
    node_class: str | None = None
    runtime: Runtime | None = None
    priority: int = DEFAULT_PRIORITY
    passes: int = 0
    reserved_place: str | None = None
    kind_of_run: tuple[str, str, str] = ("", "", "")


@dataclass(frozen=True, kw_only=True)
class Held:
    """What an admitted lab holds, and where: `place` was counted on, `node` is what the cluster says.

    `handed_over` once the cluster may know its job. It may stand for several labs of one owner on one machine.
    """

    lab_id: str
    owner: str
    need: Amount
    runtime: Runtime | None
    place: str | None
    node: str | None
    handed_over: bool
    started_at: datetime | None = None
    expires_at: datetime | None = None
    kind_of_run: tuple[str, str, str] = ("", "", "")
    labs: int = 1


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What admitted labs hold."""

    cores: float
    memory_mib: int


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The rules of one person's labs that differ from the site's."""

    owner: str
    idle_minutes: int | None = None
    lifetime_seconds: float | None = None
    keep_seconds: float | None = None
    changed_at: datetime | None = None
    changed_by: str = ""


@dataclass(frozen=True, kw_only=True)
class EnvironmentRecord:
    """How far the environment of one version is."""

    datalab: str
    version: str
    runtime: Runtime | None
    state: ReadinessState
    fraction: float
    text: str
    revision: int
    withdrawn: bool
    specification_document: dict[str, Any]

    @cached_property
    def specification(self) -> EnvironmentSpecification:
        """What the catalogue said."""
        return EnvironmentSpecification.model_validate(self.specification_document)

    def contract(self) -> Readiness:
        """Return the readiness as everybody sees it."""
        return Readiness(
            datalab=self.datalab,
            version=self.version,
            state=self.state,
            fraction=self.fraction,
            text=self.text,
            revision=self.revision,
        )
