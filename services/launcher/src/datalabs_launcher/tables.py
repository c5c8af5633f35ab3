"""The launcher's tables; imported by the store and the migrations only."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, DateTime, Enum, Identity, Index, Sequence, String, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from datalabs_contracts.datalabs import Kind, ReadinessState, Runtime
from datalabs_contracts.labs import LabState, Reason, WaitReason
from datalabs_runtime.tables import ServiceBase


class Base(ServiceBase):
    """Base of the launcher's tables."""


def _words(words: type[Any]) -> Enum:
    """Return a text column type for an enumeration: new words need no migration."""
    return Enum(
        words, native_enum=False, length=32, values_callable=lambda names: [item.value for item in names]
    )


STATE, REASON = _words(LabState), _words(Reason)
MOMENT = DateTime(timezone=True)
ADDRESS_RING = Sequence("address_ring", metadata=Base.metadata)
"""Where the ring stands; the port is the number modulo the ring's length."""


class LabRow(Base):
    """One row a lab, with its newest attempt."""

    __tablename__ = "labs"
    __table_args__ = (
        Index("labs_idempotency", "owner", "idempotency_key", unique=True),
        Index("labs_newest", text("created_at DESC"), text("id DESC")),
        Index("labs_of_owner", "owner", text("created_at DESC"), text("id DESC")),
        Index(
            "labs_alive",
            "state",
            "due_at",
            postgresql_where=text("state NOT IN ('stopped', 'failed')"),
        ),
        Index(
            "labs_with_files",
            "files_kept_until",
            postgresql_where=text("files_kept_until IS NOT NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    owner: Mapped[str] = mapped_column(String(64))
    owner_uid: Mapped[int]
    unlimited: Mapped[bool]
    name: Mapped[str] = mapped_column(String(80))
    datalab: Mapped[str] = mapped_column(String(64))
    datalab_title: Mapped[str] = mapped_column(String(255))
    version: Mapped[str] = mapped_column(String(64))
    kind: Mapped[Kind] = mapped_column(_words(Kind))
    runtime: Mapped[Runtime | None] = mapped_column(_words(Runtime))
    size: Mapped[str] = mapped_column(String(32))
    cores: Mapped[float]
    memory_mib: Mapped[int]
    disk_mib: Mapped[int]
    parameters: Mapped[dict[str, Any]] = mapped_column(JSONB)
    collections: Mapped[list[str]] = mapped_column(JSONB)
    volumes: Mapped[list[str]] = mapped_column(JSONB)
    specification_document: Mapped[dict[str, Any]] = mapped_column(JSONB)
    idempotency_key: Mapped[str | None] = mapped_column(String(200))
    body_hash: Mapped[str] = mapped_column(String(64))
    state: Mapped[LabState] = mapped_column(STATE)
    phase: Mapped[str] = mapped_column(String(32))
    progress_fraction: Mapped[float | None]
    progress_text: Mapped[str]
    reason: Mapped[Reason | None] = mapped_column(REASON)
    message: Mapped[str]
    exit_code: Mapped[int | None]
    signal: Mapped[int | None]
    last_lines: Mapped[list[str]] = mapped_column(JSONB)
    queue_position: Mapped[int | None]
    attempt: Mapped[int]
    revision: Mapped[int] = mapped_column(BigInteger)
    reserved: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(MOMENT)
    requested_at: Mapped[datetime] = mapped_column(MOMENT)
    started_at: Mapped[datetime | None] = mapped_column(MOMENT)
    ready_at: Mapped[datetime | None] = mapped_column(MOMENT)
    ended_at: Mapped[datetime | None] = mapped_column(MOMENT)
    expires_at: Mapped[datetime | None] = mapped_column(MOMENT)
    last_active_at: Mapped[datetime | None] = mapped_column(MOMENT)
    noticed_minutes: Mapped[int | None]
    traceparent: Mapped[str | None] = mapped_column(String(64))
    job_id: Mapped[str | None] = mapped_column(String(64))
    port: Mapped[int | None]
    intended_at: Mapped[datetime | None] = mapped_column(MOMENT)
    submitted_at: Mapped[datetime | None] = mapped_column(MOMENT)
    host: Mapped[str | None] = mapped_column(String(64))
    host_port: Mapped[int | None]
    node: Mapped[str | None] = mapped_column(String(128))
    state_since: Mapped[datetime] = mapped_column(MOMENT)
    phase_since: Mapped[datetime] = mapped_column(MOMENT)
    due_at: Mapped[datetime | None] = mapped_column(MOMENT)
    delete_requested: Mapped[bool]
    deleted_at: Mapped[datetime | None] = mapped_column(MOMENT)
    gpus: Mapped[int]
    gpu_name: Mapped[str | None] = mapped_column(String(128))
    node_class: Mapped[str | None] = mapped_column(String(128))
    priority: Mapped[int]
    place: Mapped[str | None] = mapped_column(String(255))
    reserved_place: Mapped[str | None] = mapped_column(String(255))
    passes: Mapped[int]
    wait_reason: Mapped[WaitReason | None] = mapped_column(_words(WaitReason))
    expected_start_at: Mapped[datetime | None] = mapped_column(MOMENT)
    idle_minutes: Mapped[int]
    lifetime_seconds: Mapped[float | None]
    kept_until: Mapped[datetime | None] = mapped_column(MOMENT)
    files_kept_until: Mapped[datetime | None] = mapped_column(MOMENT)
    files_released: Mapped[bool]
    claimed_by: Mapped[str | None] = mapped_column(String(128))
    claimed_until: Mapped[datetime | None] = mapped_column(MOMENT)


class AttemptRow(Base):
    """One attempt of a lab; outlives the lab's next attempts."""

    __tablename__ = "attempts"
    __table_args__ = (
        Index("attempts_untraced", "lab_id", postgresql_where=text("NOT traced")),
        Index("attempts_job", "job_id", unique=True),
    )

    lab_id: Mapped[str] = mapped_column(String(16), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[str | None] = mapped_column(String(64))
    requested_at: Mapped[datetime] = mapped_column(MOMENT)
    started_at: Mapped[datetime | None] = mapped_column(MOMENT)
    ready_at: Mapped[datetime | None] = mapped_column(MOMENT)
    ended_at: Mapped[datetime | None] = mapped_column(MOMENT)
    traceparent: Mapped[str | None] = mapped_column(String(64))
    steps: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    log_lines: Mapped[list[str]] = mapped_column(JSONB)
    log_truncated: Mapped[bool]
    traced: Mapped[bool]


class TransitionRow(Base):
    """One transition of an attempt: the timeline is made of these."""

    __tablename__ = "transitions"
    __table_args__ = (Index("transitions_of_attempt", "lab_id", "attempt", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    lab_id: Mapped[str] = mapped_column(String(16))
    attempt: Mapped[int]
    at: Mapped[datetime] = mapped_column(MOMENT)
    state: Mapped[LabState] = mapped_column(STATE)
    phase: Mapped[str] = mapped_column(String(32))
    text: Mapped[str]
    reason: Mapped[Reason | None] = mapped_column(REASON)
    actor: Mapped[str] = mapped_column(String(128))


class AddressRow(Base):
    """A port of the ring and the attempt that has it, or had it last."""

    __tablename__ = "addresses"
    __table_args__ = (Index("addresses_of_attempt", "lab_id", "attempt", unique=True),)

    port: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    lab_id: Mapped[str] = mapped_column(String(16))
    attempt: Mapped[int]
    released_at: Mapped[datetime | None] = mapped_column(MOMENT)


class EnvironmentRow(Base):
    """How far the environment of one version is."""

    __tablename__ = "environments"

    datalab: Mapped[str] = mapped_column(String(64), primary_key=True)
    version: Mapped[str] = mapped_column(String(64), primary_key=True)
    runtime: Mapped[Runtime | None] = mapped_column(_words(Runtime))
    state: Mapped[ReadinessState] = mapped_column(_words(ReadinessState))
    fraction: Mapped[float]
    text: Mapped[str]
    revision: Mapped[int] = mapped_column(BigInteger)
    withdrawn: Mapped[bool]
    specification_document: Mapped[dict[str, Any]] = mapped_column(JSONB)


class LaunchTimeRow(Base):
    """How long a launch took, by phase: what the launch panel expects of the next."""

    __tablename__ = "launch_times"
    __table_args__ = (Index("launch_times_recent", "datalab", "version", "size", text("ready_at DESC")),)

    lab_id: Mapped[str] = mapped_column(String(16), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    datalab: Mapped[str] = mapped_column(String(64))
    version: Mapped[str] = mapped_column(String(64))
    size: Mapped[str] = mapped_column(String(32))
    ready_at: Mapped[datetime] = mapped_column(MOMENT)
    phases: Mapped[dict[str, float]] = mapped_column(JSONB)


class RunTimeRow(Base):
    """How long an attempt ran: what the queue expects of others of its kind."""

    __tablename__ = "run_times"
    __table_args__ = (Index("run_times_recent", "datalab", "version", "size", text("ended_at DESC")),)

    lab_id: Mapped[str] = mapped_column(String(16), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    datalab: Mapped[str] = mapped_column(String(64))
    version: Mapped[str] = mapped_column(String(64))
    size: Mapped[str] = mapped_column(String(32))
    ended_at: Mapped[datetime] = mapped_column(MOMENT)
    seconds: Mapped[float]


class PolicyRow(Base):
    """The rules of one person's labs that differ from the site's."""

    __tablename__ = "policies"

    owner: Mapped[str] = mapped_column(String(64), primary_key=True)
    idle_minutes: Mapped[int | None]
    lifetime_seconds: Mapped[float | None]
    keep_seconds: Mapped[float | None]
    changed_at: Mapped[datetime] = mapped_column(MOMENT)
    changed_by: Mapped[str] = mapped_column(String(64))
