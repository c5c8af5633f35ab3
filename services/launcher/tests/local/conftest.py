"""A bench for labs: a state folder, environments without packages, jobs, and shims to look at."""

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from services.launcher.tests.lab_bench import ADA, API_PORT, LabBench

from datalabs_contracts.datalabs import ProcessRuntime, Runtime
from datalabs_launcher.local import cgroups, processes
from datalabs_launcher.local.adapter import LocalScheduler
from datalabs_launcher.local.config import LocalSettings
from datalabs_launcher.local.environments import MARK
from datalabs_launcher.local.interpreter import find
from datalabs_launcher.local.shims import PROGRAM
from datalabs_launcher.scheduler import JobState, LabJob, Observation

SECONDS = 20.0


class Bench(LabBench):
    """Process labs of two people."""

    scheduler: LocalScheduler

    def __init__(self, folder: Path, **settings: Any) -> None:
        super().__init__(folder, patience=SECONDS)
        self.settings = LocalSettings(**settings)
        self.scheduler = self.new_scheduler()

    def new_scheduler(self, **more: Any) -> LocalScheduler:
        return LocalScheduler(
            state_folder=self.state_folder, settings=self.settings, api_port=API_PORT, **more
        )

    def process(self, *command: str) -> ProcessRuntime:
        return ProcessRuntime(command=list(command))

    def environment(self, process: ProcessRuntime) -> Path:
        """Make an environment that has an interpreter and nothing else: no network, no seconds."""
        environments = self.scheduler._machine.environments
        path = environments.path_of("stub", "1", process)
        if not path.exists():
            python = self.scheduler._machine.interpreter
            (path / "bin").mkdir(parents=True)
            (path / python.site).mkdir(parents=True)
            (path / "bin" / "python").symlink_to(python.executable)
            (path / "pyvenv.cfg").write_text(f"home = {python.executable.parent}\n")
            (path / MARK).write_text("{}")
        return path

    def job(self, *command: str, owner: str = "ada", **changes: Any) -> LabJob:
        process = self.process(*command)
        self.environment(process)
        values = {"runtime": Runtime.PROCESS, "process": process, "environment": {}}
        return self.job_of(owner, **{**values, **changes})

    async def running(self, *command: str, **changes: Any) -> LabJob:
        job = self.job(*command, **changes)
        await self.scheduler.submit(job)
        await self.until(job.job_id, JobState.RUNNING, JobState.ENDED)
        return job

    async def ended(self, *command: str, **changes: Any) -> Observation:
        """Run a command to its end."""
        job = self.job(*command, **changes)
        await self.scheduler.submit(job)
        return await self.until(job.job_id, JobState.ENDED)

    async def said(self, *command: str, **changes: Any) -> str:
        """Return what a command wrote."""
        end = await self.ended(*command, **changes)
        lines, _ = await self.scheduler.logs(end.job_id, lines=500)
        return "\n".join(lines)

    def state(self, job_id: str) -> dict[str, Any]:
        return dict(json.loads((self.state_folder / "labs" / job_id / "state.json").read_text()))

    def living(self, job_id: str) -> set[int]:
        """Return what of a job runs: by its control groups and its recorded processes."""
        spec = json.loads((self.state_folder / "labs" / job_id / "spec.json").read_text())
        found = cgroups.members(spec["cgroups"])
        with contextlib.suppress(FileNotFoundError):
            state = self.state(job_id)
            for name in ("keeper", "pid"):
                if processes.lives(state.get(name), state.get(f"{name}_ticks")):
                    found.add(state[name])
        return found

    async def sweep(self) -> None:
        """End whatever the test left, and let go."""
        await self.clear()
        await self.scheduler.aclose()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path / "state")
    await made.scheduler.start()
    yield made
    await made.sweep()


@pytest.fixture
async def benches(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Make benches with settings of their own."""
    made: list[Bench] = []
    numbers = itertools.count()

    async def make(**settings: Any) -> Bench:
        one = Bench(tmp_path / f"state{next(numbers)}", **settings)
        made.append(one)
        await one.scheduler.start()
        return one

    yield make
    for one in made:
        await one.sweep()


class Shims:
    """Attempts' folders run by shims directly, without a scheduler."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[bytes]] = []
        self.interpreter = find(None, copies=folder)
        self._groups = cgroups.bases(f"datalabs-test-{os.getpid()}") if os.geteuid() == 0 else {}
        self._numbers = itertools.count()

    def attempt(self, *command: str, **changes: Any) -> Path:
        name = f"lab-{next(self._numbers)}"
        place = self.folder / name
        for part in ("root", "etc"):
            (place / part).mkdir(parents=True)
        root = os.geteuid() == 0
        uid = ADA if root else os.geteuid()
        spec = {
            "job": name,
            "argv": list(command),
            "env": {"PATH": "/usr/bin:/bin"},
            "cwd": "/",
            "uid": uid,
            "gid": uid,
            "grace": 5.0,
            "isolation": "root" if root else "user",
            "root": str(place / "root"),
            "settings": str(place / "etc"),
            "hostname": "lab",
            "tmp_mib": 64,
            "binds": [[source, target, "ro"] for source, target in self.interpreter.binds],
            "limits": {"memory_mib": 128, "pids": 64, "cores": 0.5},
            "cgroups": {controller: f"{base}/{name}" for controller, base in self._groups.items()},
            "network": None,
            "log_bytes": 1_000_000,
            "packages": {},
            "poke": None,
            "about": {},
            **changes,
        }
        (place / "spec.json").write_text(json.dumps(spec))
        return place

    def start(self, place: Path) -> subprocess.Popen[bytes]:
        with (place / "shim.log").open("ab") as log:
            shim = subprocess.Popen(
                [self.interpreter.executable, "-I", "-S", "-E", PROGRAM, place],
                env={},
                start_new_session=True,
                stderr=log,
            )
        self.started.append(shim)
        return shim

    def state(self, place: Path) -> dict[str, Any]:
        try:
            return dict(json.loads((place / "state.json").read_text()))
        except FileNotFoundError:
            return {}

    def until(self, place: Path, phase: str) -> dict[str, Any]:
        deadline = time.monotonic() + SECONDS
        while (state := self.state(place)).get("phase") != phase:
            assert time.monotonic() < deadline, f"{state}\n{(place / 'shim.log').read_text()}"
            time.sleep(0.01)
        return state

    def run(self, *command: str, **changes: Any) -> tuple[dict[str, Any], str]:
        """Run a command to its end; return the state and the log."""
        place = self.attempt(*command, **changes)
        self.start(place).wait(SECONDS)
        return self.state(place), (place / "log").read_text()

    def python(self, code: str) -> list[str]:
        return [str(self.interpreter.executable), "-I", "-S", "-u", "-c", code]

    def sweep(self) -> None:
        for shim in self.started:
            if shim.poll() is None:
                shim.send_signal(signal.SIGTERM)
                try:
                    shim.wait(10)
                except subprocess.TimeoutExpired:
                    shim.kill()
                    shim.wait()
        for base in self._groups.values():
            for group in Path(base).glob("lab-*"):
                group.rmdir()
        cgroups.remove(self._groups)


@pytest.fixture
def shims(tmp_path: Path) -> Iterator[Shims]:
    made = Shims(tmp_path / "labs")
    yield made
    made.sweep()
    shutil.rmtree(tmp_path, ignore_errors=True)
