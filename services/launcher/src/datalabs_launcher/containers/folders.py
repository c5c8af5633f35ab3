"""What is kept of each container attempt beside the engine: enough to know what it was when the engine does not.

labs/.containers/<job id>/   0700
  about.json    what the adapter noted when it took the job on; written last, it makes the job accepted
  created       the engine has made the container
  asked         when it must have ended at the latest, in seconds since 1970: it was asked to end
  evidence.json why it will end or has ended, as seen while it ran
  gone          when the engine was first seen without it
  secret passwd group resolv.conf   mounted into the lab
"""

import json
import os
import shutil
import time
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from datalabs_launcher.scheduler import LabJob

ABOUT = "about.json"


@dataclass(frozen=True, kw_only=True)
class About:
    """A job as the adapter needs to know it later. Memory and disk in MiB; `scratch` are folders that count."""

    job_id: str
    lab_id: str
    attempt: int
    address: str
    port: int
    batch: bool = False
    cores: float = 0.0
    memory_mib: int = 0
    disk_mib: int = 0
    pids: int = 0
    stop_seconds: float = 10.0
    activity: str = ""
    read_only: bool = True
    scratch: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()


@dataclass(kw_only=True)
class Evidence:
    """What was seen of a lab while it ran; `text` says in plain words why it was ended by us."""

    oom_kills: int = 0
    refused_forks: int = 0
    disk_full: bool = False
    pids_exceeded: bool = False
    text: str = ""


@dataclass(frozen=True)
class Record:
    """One attempt's folder."""

    folder: Path

    @property
    def job_id(self) -> str:
        """The job's id."""
        return self.folder.name

    @cached_property
    def about(self) -> About:
        """What the job was."""
        found: dict[str, Any] = json.loads((self.folder / ABOUT).read_text())
        for name in ("scratch", "writable", "gpus"):
            found[name] = tuple(found.get(name, ()))
        return About(**found)

    @property
    def accepted(self) -> bool:
        """Whether the job was taken on."""
        return (self.folder / ABOUT).exists()

    @property
    def created(self) -> bool:
        """Whether the engine is known to have made the container."""
        return (self.folder / "created").exists()

    def note_created(self) -> None:
        """Remember that the engine made it."""
        (self.folder / "created").touch()

    @property
    def asked(self) -> float | None:
        """When it must have ended; None when nobody asked."""
        try:
            return float((self.folder / "asked").read_text())
        except (OSError, ValueError):
            return None

    def ask(self, deadline: float) -> None:
        """Remember that it was asked to end."""
        _write(self.folder / "asked", str(deadline))

    @cached_property
    def evidence(self) -> Evidence:
        """What was seen of it; changes are kept by `note`."""
        try:
            return Evidence(**json.loads((self.folder / "evidence.json").read_text()))
        except (OSError, ValueError, TypeError):
            return Evidence()

    def note(self) -> None:
        """Keep the evidence."""
        if self.folder.is_dir():
            _write(self.folder / "evidence.json", json.dumps(asdict(self.evidence)))

    def gone_at(self) -> float:
        """Return when the engine was first seen without the container."""
        path = self.folder / "gone"
        try:
            return float(path.read_text())
        except (OSError, ValueError):
            now = time.time()
            _write(path, str(now))
            return now

    @property
    def secret(self) -> str:
        """What the edge sends to this lab."""
        try:
            return (self.folder / "secret").read_text()
        except OSError:
            return ""

    def accept(self, about: About, files: dict[str, str], *, secret: str, uid: int) -> None:
        """Take a job on."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, content in files.items():
            path = self.folder / name
            path.write_text(content)
            path.chmod(0o644)
        _private(self.folder / "secret", secret, uid)
        _write(self.folder / ABOUT, json.dumps(asdict(about)))

    def remove(self) -> None:
        """Forget it."""
        shutil.rmtree(self.folder, ignore_errors=True)


def about_of(
    job: LabJob,
    *,
    address: str,
    port: int,
    pids: int,
    read_only: bool,
    scratch: str,
    gpus: tuple[str, ...] = (),
) -> About:
    """Return what is noted of a job; what lies at the path `scratch` counts as its disk."""
    return About(
        job_id=job.job_id,
        lab_id=job.lab_id,
        attempt=job.attempt,
        address=address,
        port=port,
        batch=job.batch,
        cores=job.cores,
        memory_mib=job.memory_mib,
        disk_mib=job.disk_mib,
        pids=pids,
        stop_seconds=job.stop_seconds,
        activity=job.activity,
        read_only=read_only,
        scratch=tuple(one.source for one in job.mounts if one.target == scratch and not one.read_only),
        writable=tuple(one.source for one in job.mounts if not one.read_only),
        gpus=gpus,
    )


class Records:
    """All attempts' folders."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def make(self) -> None:
        """Make the folder."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def of(self, job_id: str) -> Record:
        """Return the folder of a job, accepted or not."""
        return Record(self._folder / job_id)

    def all(self) -> list[Record]:
        """Return all jobs that were taken on."""
        try:
            found = [Record(path) for path in sorted(self._folder.iterdir())]
        except OSError:
            return []
        return [one for one in found if one.accepted]


def _write(path: Path, content: str) -> None:
    draft = path.with_name(f"{path.name}.tmp{os.getpid()}")
    with draft.open("w") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)


def _private(path: Path, content: str, uid: int) -> None:
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    with os.fdopen(fd, "w") as file:
        file.write(content)
    if os.geteuid() == 0:
        os.chown(path, uid, uid)
