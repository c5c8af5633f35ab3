"""Does to a part of a running platform what a cell says."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.chaos.clusters import ClusterHarm
from tests.chaos.matrix import SCHEDULER, Cell, How
from tests.chaos.nats_proxy import Fault, NatsProxy
from tests.chaos.nomad_proxy import NomadProxy
from tests.running import RunningPlatform

STOPPED_SECONDS = 15.0
WAIT_FOR_MESSAGE = 3.0
"""How long a fault of messages waits for one to happen to; a step need not cause one for each service."""
FIND_SECONDS = 20.0


class Harm:
    """Harms one platform."""

    def __init__(
        self, platform: RunningPlatform, proxy: NatsProxy, cluster: ClusterHarm | None = None
    ) -> None:
        self._platform = platform
        self._proxy = proxy
        self._cluster = cluster
        self._stopped: set[asyncio.Task[None]] = set()
        self.messages = {"harmed": 0, "none came": 0}

    @property
    def line(self) -> NomadProxy:
        """The line to the cluster."""
        assert self._cluster is not None
        return self._cluster.proxy

    async def do(self, cell: Cell, lab_id: str) -> str:
        """Do it, and say what happened. What takes time goes on behind the caller's back."""
        if cell.who == SCHEDULER:
            assert self._cluster is not None
            said, task = await self._cluster.do(cell.how)
            self._goes_on(task)
            return said
        match cell.how:
            case How.KILLED:
                return await self._signal(cell.who, lab_id, signal.SIGKILL)
            case How.STOPPED:
                return await self._signal(cell.who, lab_id, signal.SIGSTOP)
            case How.CUT:
                return await self._cut(cell.who)
            case _:
                fault = self._proxy.arm(cell.who, cell.how)
                self._goes_on(asyncio.create_task(self._give_up(fault)))
                return "armed"

    def _goes_on(self, task: asyncio.Task[None]) -> None:
        self._stopped.add(task)

    async def over(self) -> None:
        """Wait until what goes on has ended."""
        while self._stopped:
            await self._stopped.pop()

    async def _give_up(self, fault: Fault) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(fault.done.wait(), WAIT_FOR_MESSAGE)
        self._proxy.disarm(fault)
        self.messages["harmed" if fault.done.is_set() else "none came"] += 1

    async def _signal(self, who: str, lab_id: str, sent: signal.Signals) -> str:
        pids = await self._pids(who, lab_id)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sent)
        if sent is signal.SIGSTOP and pids:
            self._goes_on(asyncio.create_task(self._wake(pids)))
        return f"{sent.name} to {pids}"

    @staticmethod
    async def _wake(pids: list[int]) -> None:
        await asyncio.sleep(STOPPED_SECONDS)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    async def _pids(self, who: str, lab_id: str) -> list[int]:
        if who == "lab":
            return list(lab_processes(self._platform.state, lab_id))
        async with asyncio.timeout(FIND_SECONDS):
            while (pid := await asyncio.to_thread(self._platform.running_pid_of, who)) is None:  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.1)  # it is being started again after an earlier harm
        return [pid]

    async def _cut(self, who: str) -> str:
        if who != "postgres":
            return f"cut {self._proxy.cut(None if who == 'nats' else who)}"
        [pid] = await self._pids(who, "")
        found = 0
        for child in psutil.Process(pid).children():
            with contextlib.suppress(psutil.Error):
                if "datalabs_" in " ".join(child.cmdline()):
                    child.terminate()  # PostgreSQL's own way to end one session
                    found += 1
        return f"cut {found}"


def lab_processes(state: Path, lab_id: str) -> Iterator[int]:
    """Yield the processes of a lab itself, without its shim."""
    for folder in (state / "labs").glob(f"lab-{lab_id}-*"):
        with contextlib.suppress(OSError, ValueError, KeyError, psutil.Error):
            shim = psutil.Process(json.loads((folder / "state.json").read_text())["shim"])
            yield from (child.pid for child in shim.children(recursive=True))
