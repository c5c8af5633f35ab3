"""Clusters that labs run on while their agent is harmed: an emulated one as a process of its own, and a real agent."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import httpx2

from datalabs_testing.nomad.agent import NomadUnavailableError, new_agent
from datalabs_testing.ports import free_port
from tests.chaos.matrix import How
from tests.chaos.nomad_proxy import CUT_SECONDS, NomadProxy

STOPPED_SECONDS = 15.0
DOWN_SECONDS = 2.0
"""Who watches over an agent starts it again so soon."""
WAIT_FOR_WORDS = 3.0
START_SECONDS = 20.0


class Agent(Protocol):
    """A cluster's agent as a process; `forgets`: killed, it has lost its jobs, and they have ended."""

    forgets: bool

    @property
    def address(self) -> str:
        """Where its API is."""

    async def start(self) -> None:
        """Start it (again)."""

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; a killed one is waited for."""

    async def aclose(self) -> None:
        """End it and whatever runs on it."""


class EmulatedAgent:
    """FakeNomad in a process of its own; its labs are sockets of that process and answer 200."""

    forgets = True

    def __init__(self) -> None:
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        program = [sys.executable, "-m", "datalabs_testing.nomad", "--port", str(self._port), "--listen"]
        self._process = subprocess.Popen(program, stdout=subprocess.DEVNULL)  # noqa: ASYNC220 - it returns at once
        async with asyncio.timeout(START_SECONDS):
            while not await asyncio.to_thread(self._answers):  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.1)

    def _answers(self) -> bool:
        with contextlib.suppress(httpx2.HTTPError):
            return httpx2.get(f"{self.address}/v1/status/leader", trust_env=False).is_success
        return False

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        if number is signal.SIGKILL:
            self._process.wait()

    async def aclose(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class RealAgent:
    """A real Nomad agent; its labs are processes that outlive it.

    Raises `NomadUnavailableError` where there is no binary.
    """

    forgets = False

    def __init__(self) -> None:
        self._agent = new_agent()

    @property
    def address(self) -> str:
        return self._agent.address

    async def start(self) -> None:
        await self._agent.start(node=self._agent.process is None and not self._agent.ports[0])

    def signal(self, number: signal.Signals) -> None:
        if number is signal.SIGKILL:
            self._agent.kill()
        else:
            assert self._agent.process is not None
            self._agent.process.send_signal(number)

    async def aclose(self) -> None:
        if self._agent.process is not None:
            self._agent.resume()
        await self._agent.aclose()


@dataclass
class Jobs:
    """The cluster's own word on each job, asked of it directly and read before jobs are purged."""

    address: str
    ended: dict[str, dict[str, Any]] = field(default_factory=dict)

    def passed(self, point: str, lab_id: str) -> None:
        """Read what there is of a lab when its end has been stored and nothing is purged yet."""
        if point == "end_stored":
            with contextlib.suppress(
                httpx2.HTTPError
            ):  # it may be away just now: then there is nothing to compare
                self._read(lab_id)

    def _read(self, lab_id: str) -> None:
        for job in self.jobs(lab_id):
            for placed in self.allocations(job):
                task = (placed.get("TaskStates") or {}).get("main") or {}
                if placed["ClientStatus"] in {"complete", "failed"} and task.get("StartedAt"):
                    self.ended[job] = {
                        name: datetime.fromisoformat(_shortened(task[key])).timestamp()
                        for name, key in (("started", "StartedAt"), ("ended", "FinishedAt"))
                    }

    def jobs(self, lab_id: str) -> list[str]:
        """Return the jobs of a lab that are there."""
        return self.all_jobs(f"lab-{lab_id}-")

    def all_jobs(self, prefix: str = "lab-") -> list[str]:
        """Return all jobs of labs that are there."""
        return sorted(one["ID"] for one in self._get(f"/v1/jobs?prefix={prefix}"))

    def allocations(self, job: str) -> list[dict[str, Any]]:
        """Return how often a job was placed."""
        return list(self._get(f"/v1/job/{job}/allocations?all=true"))

    def _get(self, path: str) -> Any:
        return httpx2.get(f"{self.address}{path}", timeout=2, trust_env=False).raise_for_status().json()


def _shortened(text: str) -> str:
    """Return a time of Nomad's, which counts nanoseconds, as Python reads it."""
    whole, _, rest = text.removesuffix("Z").partition(".")
    return f"{whole}.{(rest + '000000')[:6]}+00:00"


class ClusterHarm:
    """Does to a cluster's agent, or to the line to it, what a cell says."""

    def __init__(self, agent: Agent, proxy: NomadProxy) -> None:
        self.agent = agent
        self.proxy = proxy
        self.messages = {"harmed": 0, "none came": 0}

    async def do(self, how: How) -> tuple[str, asyncio.Task[None]]:
        """Do it; return what happened and what goes on until all is as before."""
        match how:
            case How.KILLED:
                self.agent.signal(signal.SIGKILL)
                return "killed", asyncio.create_task(self._start_again())
            case How.STOPPED:
                self.agent.signal(signal.SIGSTOP)
                return "stopped", asyncio.create_task(self._go_on())
            case How.CUT:
                return f"cut {await self.proxy.cut()}", asyncio.create_task(self._mend())
            case _:
                return "armed", asyncio.create_task(self._wait(how))

    async def _start_again(self) -> None:
        await asyncio.sleep(DOWN_SECONDS)
        await self.agent.start()

    async def _go_on(self) -> None:
        await asyncio.sleep(STOPPED_SECONDS)
        self.agent.signal(signal.SIGCONT)

    async def _mend(self) -> None:
        await asyncio.sleep(CUT_SECONDS)
        await self.proxy.mend()

    async def _wait(self, how: How) -> None:
        fault = self.proxy.arm(how)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(fault.done.wait(), WAIT_FOR_WORDS)
        self.proxy.disarm(fault)
        self.messages["harmed" if fault.met else "none came"] += 1


def environments(folder: Path) -> Path:
    """Return a folder of environments of process labs, as an operator keeps it on the nodes: this machine's Python."""
    place = folder / "environments" / "stub-1.0" / "bin"
    place.mkdir(parents=True)
    (place / "python").symlink_to(
        os.path.realpath(shutil.which("python3", path="/usr/bin") or sys.executable)
    )
    return folder / "environments"


__all__ = [
    "Agent",
    "ClusterHarm",
    "EmulatedAgent",
    "Jobs",
    "NomadUnavailableError",
    "RealAgent",
    "environments",
]
