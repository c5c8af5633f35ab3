"""This machine, labs as processes."""

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from datalabs_contracts.datalabs import ProcessRuntime, Runtime
from datalabs_launcher.local.adapter import LocalScheduler
from datalabs_launcher.local.config import LocalSettings
from datalabs_launcher.local.environments import MARK
from datalabs_launcher.scheduler import LabJob

from .target import Does, Target

NO_ROOT = "control groups of one's own need root here"


class ProcessTarget(Target):
    """The local scheduler's processes."""

    name = "process"
    runtime = Runtime.PROCESS
    lacks: ClassVar[dict[str, str]] = {
        "away": "there is nothing between the launcher and its own machine",
        **({} if os.geteuid() == 0 else {"memory": NO_ROOT, "sample": NO_ROOT}),
    }

    async def open(self, ground: Any) -> None:
        del ground
        self._settings = LocalSettings()

    def adapter(self) -> LocalScheduler:
        self._scheduler = LocalScheduler(state_folder=self.folder, settings=self._settings, api_port=18_123)
        return self._scheduler

    def runs(self, job: LabJob, does: Does) -> LabJob:
        process = ProcessRuntime(command=["sh", "-c", does.script()])
        self._environment(process)
        return replace(job, process=process)

    def starts(self, job: LabJob) -> int:
        return self.noted(job)

    async def shown(self, job: LabJob) -> str:
        """Return the command lines of everything, and what anybody may read of the job's folder."""
        return shown_to_anybody(self.folder, job)

    def _environment(self, process: ProcessRuntime) -> None:
        """Make an environment that has an interpreter and nothing else: no network, no seconds."""
        machine = self._scheduler._machine
        path = machine.environments.path_of("stub", "1", process)
        if not path.exists():
            python = machine.interpreter
            (path / "bin").mkdir(parents=True)
            (path / python.site).mkdir(parents=True)
            (path / "bin" / "python").symlink_to(python.executable)
            (path / "pyvenv.cfg").write_text(f"home = {python.executable.parent}\n")
            (path / MARK).write_text("{}")


def shown_to_anybody(state_folder: Path, job: LabJob) -> str:
    """Return the command lines of all processes, and what any user of the machine may read of a job's folder."""
    found: list[str] = [job.job_id]
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            found.append((process / "cmdline").read_text(errors="replace"))
    for path in state_folder.rglob(f"*{job.job_id}*/**/*"):
        parents = [one for one in path.parents if one.is_relative_to(state_folder)]
        if (
            path.is_file()
            and path.stat().st_mode & 0o004
            and all(one.stat().st_mode & 0o001 for one in parents)
        ):
            found.append(path.read_text(errors="replace"))
    return "\n".join(found)
