"""The scheduler port: how the launcher sees a cluster (DESIGN section 6).

Typed specifications go in, typed observations come out. Adapters live in `local/` (this machine) and, later, `nomad/`.
Every call may be repeated: `submit` of a job that exists adopts it, `stop` of one that is gone does nothing.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol, runtime_checkable

from datalabs_contracts.datalabs import (
    ContainerRuntime,
    EnvironmentSpecification,
    Kind,
    ProcessRuntime,
    Runtime,
    VmRuntime,
)
from datalabs_contracts.labs import Capacity, Reason, Sample
from datalabs_contracts.volumes import Mount


@dataclass(frozen=True, kw_only=True)
class LabJob:
    """One attempt of one lab, ready to run. Memory and disk in MiB, grace in seconds.

    `account` is the folder with the files that name the person inside a container. `node` is the machine on which room was counted for it: it runs there unless that machine takes nothing any more.
    """

    job_id: str
    lab_id: str
    attempt: int
    owner: str
    uid: int
    datalab: str
    version: str
    kind: Kind
    runtime: Runtime
    process: ProcessRuntime | None = None
    container: ContainerRuntime | None = None
    vm: VmRuntime | None = None
    source: str
    cores: float
    memory_mib: int
    disk_mib: int
    gpus: int = 0
    gpu_name: str | None = None
    node_class: str | None = None
    port: int
    ready_path: str
    ready_secret: bool
    batch: bool
    activity: str
    mounts: tuple[Mount, ...]
    account: str = ""
    environment: dict[str, str]
    secret_environment: dict[str, str] = field(default_factory=dict, repr=False)
    lab_secret: str = field(default="", repr=False)
    parameters: dict[str, object] = field(default_factory=dict)
    origin: str
    stop_seconds: float
    node: str | None = None


class JobState(StrEnum):
    """What the scheduler knows of a job."""

    PENDING = "pending"
    RUNNING = "running"
    ENDED = "ended"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Step:
    """A thing the scheduler did for a job, with its own timestamps: it becomes a progress message and a span."""

    name: str
    started_at: datetime
    ended_at: datetime | None = None
    text: str = ""
    fraction: float | None = None


@dataclass(frozen=True, kw_only=True)
class JobEnd:
    """How a job ended, by positive evidence that no process of it remains.

    `text` is for people: the cause as the cluster tells it; with `image_unavailable` it names the image.
    """

    ended_at: datetime
    exit_code: int | None
    signal: int | None = None
    out_of_memory: bool = False
    disk_full: bool = False
    pids_exceeded: bool = False
    node_lost: bool = False
    image_unavailable: bool = False
    volume_unavailable: bool = False
    preempted: bool = False
    asked: bool = False
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What is true of a job now. `address` and `port` are where it listens, from this machine.

    `ready` is what the lab says of itself: False while it starts, None for a lab that never says; it is asked at its
    address only once it does not deny. `early`: where it is to listen is known and asking there is cheap, though the news
    that it runs may take a second more.
    """

    job_id: str
    lab_id: str
    attempt: int
    state: JobState
    steps: tuple[Step, ...] = ()
    started_at: datetime | None = None
    address: str | None = None
    port: int | None = None
    node: str | None = None
    ready: bool | None = None
    early: bool = False
    end: JobEnd | None = None


@dataclass(frozen=True, kw_only=True)
class EnvironmentProgress:
    """How far a version's environment or image is; `fraction` from 0 to 1."""

    ready: bool
    failed: bool = False
    fraction: float
    text: str


class SubmitRefusedError(Exception):
    """The scheduler will never take this job: why, in plain words, and the reason its lab ends with."""

    def __init__(self, text: str, *, reason: Reason = Reason.LAUNCHER_ERROR) -> None:
        super().__init__(text)
        self.reason = reason


class SchedulerAwayError(Exception):
    """The scheduler does not answer: nothing is known, nothing may be concluded."""


class Scheduler(Protocol):
    """A cluster."""

    async def start(self) -> None:
        """Find what runs already, and begin to watch."""

    async def aclose(self) -> None:
        """Let go; labs live on."""

    async def runtimes(self) -> list[Runtime]:
        """Return what this cluster can run now."""

    async def notices(self, runtime: Runtime) -> list[str]:
        """Return what a person should know before launching in that runtime here, in plain words."""

    async def refuses(self, runtime: Runtime, *, operator: bool) -> str | None:
        """Return why this person may not launch in that runtime here, in plain words; None: nothing speaks against it.

        Where labs cannot be kept apart from one another only operators may launch.
        """

    async def capacity(self) -> Capacity:
        """Return the whole and what is taken.

        `cores` is what may be promised (an adapter that overcommits has multiplied already), `memory_mib` what is there.
        The launcher counts what it has promised itself; `*_taken` is what the adapter sees running. `nodes` has every
        machine that the adapter knows of.
        """

    async def may_start(self) -> bool:
        """Return whether the machines can start another lab right now (starts are paced by free CPU)."""

    def prepare(
        self, specification: EnvironmentSpecification, runtime: Runtime
    ) -> AsyncIterator[EnvironmentProgress]:
        """Make a version's environment, image or disk ready for that runtime, telling of progress; at once when it is."""
        ...

    async def submit(self, job: LabJob) -> Observation:
        """Run the job, once however often this is called."""

    async def stop(self, job_id: str, *, grace: float) -> None:
        """Ask the job to end, kill it after `grace` seconds; returns at once."""

    async def purge(self, job_id: str) -> None:
        """Forget an ended job whose end is recorded."""

    async def get(self, job_id: str) -> Observation | None:
        """Return what is true of one job; None when the scheduler has never seen it or has purged it."""

    async def jobs(self) -> list[Observation]:
        """Return all jobs of this platform, for the reconcile."""

    def watch(self) -> AsyncIterator[Observation]:
        """Yield observations as things change; the consumer resyncs by `jobs` on every (re)start."""
        ...

    async def owns_listener(self, job_id: str) -> bool | None:
        """Return whether the lab's own processes hold the socket at its address; None when that cannot be told.

        An address in a network namespace of the lab's own is its by construction: True.
        """

    async def logs(self, job_id: str, *, lines: int) -> tuple[list[str], bool]:
        """Return the last log lines, and whether older ones exist; also of a job that has ended and is not purged."""

    async def sample(self, job_id: str) -> Sample | None:
        """Return what the job uses now."""

    async def active(self, job_id: str) -> bool | None:
        """Return whether the lab's own signs (CPU, kernels) say it is in use; None when unknown."""


@runtime_checkable
class Keeper(Protocol):
    """A cluster that keeps something of ended labs for their restart: a virtual machine's disk.

    The next attempt of a lab finds it by itself; the launcher says when nobody will come back for it.
    """

    async def discard(self, lab_id: str) -> None:
        """Forget what is kept of a lab; repeated or of a lab that runs it does nothing."""
