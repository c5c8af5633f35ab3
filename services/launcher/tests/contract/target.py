"""What the contract suite asks of a scheduler under test: a ground on which adapters come and go, and labs that do as told."""

import itertools
import os
import secrets
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from datalabs_contracts.datalabs import Kind, Runtime
from datalabs_contracts.volumes import Mount
from datalabs_launcher.placement import HOME, SCRATCH
from datalabs_launcher.scheduler import LabJob, Scheduler
from datalabs_testing.ports import free_port

LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
UID = 20_001
OUTPUT = "DATALABS_CONTRACT_RUNS"
SECRET_NAME = "CONTRACT_SECRET"


@dataclass(frozen=True, kw_only=True)
class Does:
    """What a lab does: print lines, then live on, exit, die of a signal or of hunger.

    `silent` is how long it waits before its first line, `seconds` how long before its end; None: it lives until it is
    stopped. `braces`: it says `home %{x}`, told to do so with braces that mean something to its own shell only. `says`: a
    variable that it tells the value of.
    """

    lines: int = 0
    width: int = 8
    seconds: float | None = None
    code: int = 0
    signal: int = 0
    eats: bool = False
    ignores: bool = False
    braces: bool = False
    silent: float = 0.0
    says: str = ""

    def line(self, number: int) -> str:
        """Return one of its lines."""
        return f"line {number} ".ljust(self.width, "x")

    def script(self) -> str:
        """Return it as a program of any POSIX shell; it notes each start in the file that `OUTPUT` names."""
        parts = [f'echo run >> "${OUTPUT}"']
        if self.ignores:
            parts.append("trap '' TERM INT")
        if self.silent:
            parts.append(f"sleep {self.silent}")
        if self.lines:
            filler = "x" * self.width
            text = f'printf "%.{self.width}s\\n" "line $i {filler}"'
            parts.append(f"i=0; while [ $i -lt {self.lines} ]; do {text}; i=$((i+1)); done")
        parts.append(f'echo "secret of $(printf %s "${SECRET_NAME}" | wc -c)"')
        if self.braces:
            parts.append('echo "${HOME:+home} %{x}"')
        if self.says:
            parts.append(f"printf '%s is %s\\n' {self.says} \"${self.says}\"")
        if self.seconds is not None:
            parts.append(f"sleep {self.seconds}")
        if self.eats:
            parts.append("x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done")
        elif self.signal:
            parts.append(f"kill -{self.signal} $$")
        elif self.seconds is not None:
            parts.append(f"exit {self.code}")
        else:
            parts.append("while :; do sleep 0.2; done")
        return "; ".join(parts)


LIVES = Does()
"""A lab that lives until somebody ends it."""


class Unable(Exception):  # noqa: N818 - a reason, not a failure
    """The target cannot be tried here; the text says why."""


class Target(ABC):
    """A scheduler under test. Adapters are made by `adapter()`; what they find outlives them."""

    name: ClassVar[str]
    runtime: ClassVar[Runtime]
    marks: ClassVar[tuple[str, ...]] = ()
    lacks: ClassVar[dict[str, str]] = {}
    """Abilities that it has not got, and why: `memory`, `signals`, `away`, `secrets`, `image`, `commands`, `sample`,
    `instant` (the whole log of what ends at once), `keeps` (a stop that is asked for while it is away)."""
    memory_mib: ClassVar[int] = 128
    runs_programs: ClassVar[bool] = True
    seconds: ClassVar[float] = 20.0
    """How long the slowest thing may take."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._numbers = itertools.count()

    # -- the ground ------------------------------------------------------------------------------------------------

    @classmethod  # noqa: B027 - few share anything
    async def ground(cls) -> Any:
        """Make what all tests of this target share. Raises `Unable`."""

    @classmethod  # noqa: B027 - few share anything
    async def raze(cls, ground: Any) -> None:
        """Take it away again."""

    @abstractmethod
    async def open(self, ground: Any) -> None:
        """Begin a test on the shared ground. Raises `Unable`."""

    @abstractmethod
    def adapter(self) -> Scheduler:
        """Return a new adapter on the same ground."""

    async def close(self) -> None:  # noqa: B027 - few have something to do
        """Leave nothing behind that is not a job."""

    async def cut(self) -> None:  # noqa: B027 - not all can be away
        """Let the scheduler be away."""

    async def heal(self) -> None:  # noqa: B027 - not all can be away
        """Let it be there again."""

    async def warm(self, adapter: Scheduler) -> None:  # noqa: B027 - few need anything
        """Let an adapter that was just started make ready what the labs under test need."""

    async def up(self, adapter: Scheduler, job: LabJob) -> bool:
        """Return whether the lab inside is up, where that takes longer than its job's start."""
        del adapter, job
        return True

    # -- jobs ------------------------------------------------------------------------------------------------------

    @abstractmethod
    def runs(self, job: LabJob, does: Does) -> LabJob:
        """Return the job, made to do that."""

    @abstractmethod
    def starts(self, job: LabJob) -> int:
        """Return how often the lab itself was started."""

    async def shown(self, job: LabJob) -> str:
        """Return all that the scheduler shows of a job to those who may look at jobs."""
        del job
        return ""

    async def missing(self, job: LabJob) -> LabJob:
        """Return the job with an image or environment that there is not."""
        return replace(job, datalab="nowhere")

    def job(self, does: Does = LIVES, **changes: Any) -> LabJob:
        """Return a new job that does that."""
        lab = "".join(secrets.choice(LETTERS) for _ in range(10))
        made = LabJob(
            job_id=f"lab-{lab}-01",
            lab_id=lab,
            attempt=1,
            owner="ada",
            uid=UID if os.geteuid() == 0 else os.geteuid(),
            datalab="stub",
            version="1",
            kind=Kind.WEB,
            runtime=self.runtime,
            source="",
            cores=0.5,
            memory_mib=self.memory_mib,
            disk_mib=64,
            port=free_port(),
            ready_path="/",
            ready_secret=False,
            batch=False,
            activity="",
            mounts=(self._mount("home/ada", HOME), self._mount(f"scratch/{lab}", SCRATCH)),
            environment={OUTPUT: f"{SCRATCH}/runs"},
            secret_environment={SECRET_NAME: f"hush-{secrets.token_hex(8)}"},
            lab_secret=f"lab-{secrets.token_hex(8)}",
            origin=f"http://{lab}.localhost:8080",
            stop_seconds=5,
        )
        return self.runs(replace(made, **changes), does)

    def noted(self, job: LabJob) -> int:
        """Return how many starts a lab noted in its scratch."""
        file = self.folder / "volumes" / "scratch" / job.lab_id / "runs"
        return len(file.read_text().split()) if file.exists() else 0

    def _mount(self, name: str, target: str) -> Mount:
        folder = self.folder / "volumes" / name
        folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            os.chown(folder, UID, UID)
        folder.chmod(0o700)
        return Mount(source=str(folder), target=target, read_only=False)
