"""A real Nomad agent of a test run's own: server and client in one, on loopback, in a folder of its own.

Nothing of Nomad ships with the project; the binary is what `NOMAD_BINARY` names, else the `nomad` on PATH.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import aiohttp
import pytest

from datalabs_testing.ports import free_port

START_TIMEOUT = 60.0
"""Seconds until the agent has a leader and a node that takes work."""
STOP_TIMEOUT = 15.0
MOUNTS = Path("/proc/self/mounts")


class NomadUnavailableError(Exception):
    """No real agent can run here; the text says why."""


def binary() -> Path:
    """Return the Nomad binary.

    Raises `NomadUnavailableError` where there is none.
    """
    named = os.environ.get("NOMAD_BINARY")
    if named:
        if not os.access(named, os.X_OK):
            raise NomadUnavailableError(f"NOMAD_BINARY={named} cannot be run")
        return Path(named)
    found = shutil.which("nomad")
    if found is None:
        raise NomadUnavailableError("there is no `nomad` on PATH and NOMAD_BINARY names none")
    return Path(found)


@dataclass(kw_only=True)
class NomadAgent:
    """An agent that can be killed and started again on the same ports and files.

    `folder` must have a short path: sockets below it have 108 bytes at most.
    """

    folder: Path
    image_paths: Sequence[Path] = ()
    first_port: int = 20_000
    last_port: int = 31_999
    event_buffer: int = 10_000
    acl: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    meta: dict[str, str] = field(default_factory=dict)
    """What the node says of itself."""
    ports: tuple[int, int, int] = (0, 0, 0)
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where its HTTP API is."""
        return f"http://127.0.0.1:{self.ports[0]}"

    async def start(self, *, node: bool = True) -> Self:
        """Start and wait until it leads and, unless told otherwise, until its node takes work.

        Raises `NomadUnavailableError` with what it said when it does not come up.
        """
        program = binary()
        if not self.ports[0]:
            self.ports = (free_port(), free_port(), free_port())
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "agent.json"
        file.write_text(json.dumps(self._configuration(), indent=1))
        with (self.folder / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
                [program, "agent", f"-config={file}"], stdout=log, stderr=log, start_new_session=True
            )
        await self._until_up(node=node)
        return self

    def kill(self) -> None:
        """End it without warning; what its tasks do goes on."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it; what its tasks do goes on."""
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """Let it hang."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    async def request(self, method: str, path: str, body: object = None) -> Any:
        """Return the answer's JSON. Raises `aiohttp.ClientResponseError` for another status than 200."""
        async with (
            aiohttp.ClientSession(raise_for_status=True) as session,
            session.request(method, self.address + path, json=body) as answer,
        ):
            return await answer.json(content_type=None)

    async def purge_all(self) -> None:
        """End and forget every job, so that no task outlives the agent."""
        jobs = await self.request("GET", "/v1/jobs?namespace=*")
        for job in jobs:
            await self.request("DELETE", f"/v1/job/{job['ID']}?namespace={job['Namespace']}&purge=true")
        deadline = time.monotonic() + STOP_TIMEOUT
        while time.monotonic() < deadline:
            allocations = await self.request("GET", "/v1/allocations?namespace=*")
            if all(one["ClientStatus"] in {"complete", "failed", "lost"} for one in allocations):
                return
            await asyncio.sleep(0.1)

    async def aclose(self) -> None:
        """End all jobs, then the agent, then what it left: processes of its own, and what it mounted."""
        if self.process is None:
            await asyncio.to_thread(self._clean)
            return
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
            async with asyncio.timeout(STOP_TIMEOUT):
                await self.purge_all()
        helpers = _helpers(self.process.pid)
        self._end(signal.SIGTERM)
        for pid in (
            helpers & _programs()
        ):  # those that read tasks' logs live on when there was no time to end all tasks
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(self._clean)

    def _clean(self) -> None:
        for line in reversed(MOUNTS.read_text().splitlines()):
            target = line.split()[1]
            if target.startswith(f"{self.folder}/"):
                subprocess.run(["umount", "-l", target], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self, number: signal.Signals) -> None:
        if self.process is None:
            return
        self.process.send_signal(number)
        try:
            self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    async def _until_up(self, *, node: bool) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            with contextlib.suppress(aiohttp.ClientError, OSError):
                nodes = await self.request("GET", "/v1/nodes") if not self.acl else []
                if not node or any(self._takes_work(one) for one in nodes):
                    if self.acl:
                        await self._until_leader()
                    return
            assert self.process is not None
            if self.process.poll() is not None or time.monotonic() > deadline:
                said = (self.folder / "agent.log").read_text(errors="replace")[-2000:]
                self._end(signal.SIGKILL)
                raise NomadUnavailableError(f"the Nomad agent did not come up: {said}")
            await asyncio.sleep(0.1)

    async def _until_leader(self) -> None:
        async with asyncio.timeout(START_TIMEOUT):
            while not await self.request("GET", "/v1/status/leader"):  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.1)

    @staticmethod
    def _takes_work(node: dict[str, Any]) -> bool:
        drivers = node.get("Drivers") or {}
        healthy = {name for name, driver in drivers.items() if driver["Healthy"]}
        return node["Status"] == "ready" and "raw_exec" in healthy

    def _configuration(self) -> dict[str, Any]:
        http, rpc, serf = self.ports
        loopback = "127.0.0.1"
        return {
            "data_dir": str(self.folder / "d"),
            "bind_addr": loopback,
            "advertise": {"http": loopback, "rpc": loopback, "serf": loopback},
            "ports": {"http": http, "rpc": rpc, "serf": serf},
            "disable_update_check": True,
            "leave_on_interrupt": False,
            "leave_on_terminate": False,
            "limits": {"http_max_conns_per_client": 0, "rpc_max_conns_per_client": 0},
            "server": {
                "enabled": True,
                "bootstrap_expect": 1,
                "event_buffer_size": self.event_buffer,
                "default_scheduler_config": {"memory_oversubscription_enabled": True},
            },
            "client": {
                "enabled": True,
                "network_interface": "lo",
                "host_network": [{"loopback": {"cidr": "127.0.0.0/8"}}],
                "max_kill_timeout": "2m",
                "gc_max_allocs": 500,
                "gc_disk_usage_threshold": 99,
                "gc_inode_usage_threshold": 99,
                "min_dynamic_port": self.first_port,
                "max_dynamic_port": self.last_port,
                "cpu_total_compute": 1_000_000,
                "meta": self.meta,
                "options": {"fingerprint.denylist": "env_aws,env_gce,env_azure,env_digitalocean"},
            },
            "plugin": [
                {
                    "docker": {
                        "config": {
                            "allow_privileged": False,
                            "volumes": {"enabled": True},
                            "gc": {"image": False, "container": True},
                        }
                    }
                },
                {"raw_exec": {"config": {"enabled": True}}},
                {"qemu": {"config": {"image_paths": [str(path) for path in self.image_paths]}}},
            ],
            "telemetry": {"publish_allocation_metrics": True, "publish_node_metrics": True},
            "acl": {"enabled": self.acl},
            **self.settings,
        }


def _programs() -> set[int]:
    """Return the processes of this machine that run Nomad's binary."""
    return {pid for pid, (_, program) in _processes().items() if program == str(binary())}


def _helpers(agent: int) -> set[int]:
    """Return the processes that an agent started, and those started by them."""
    processes = _processes()
    found, looked_at = set[int](), {agent}
    while looked_at:
        looked_at = {pid for pid, (parent, _) in processes.items() if parent in looked_at} - found
        found |= looked_at
    return found


def _processes() -> dict[int, tuple[int, str]]:
    """Return parent and program of each process of this machine."""
    found: dict[int, tuple[int, str]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                found[int(entry.name)] = parent, (entry / "cmdline").read_text().partition("\0")[0]
    return found


def new_agent(**settings: Any) -> NomadAgent:
    """Return an agent in a new folder, not yet started. Raises `NomadUnavailableError` where none can run."""
    binary()
    return NomadAgent(folder=Path(tempfile.mkdtemp(prefix="nt-", dir="/tmp")), **settings)


@contextlib.asynccontextmanager
async def running_agent(**settings: Any) -> AsyncIterator[NomadAgent]:
    """Run an agent in a new folder. Raises `NomadUnavailableError` where none can run."""
    agent = new_agent(**settings)
    try:
        yield await agent.start()
    finally:
        await agent.aclose()


@contextlib.contextmanager
def agent_or_fail(**settings: Any) -> Iterator[NomadAgent]:
    """Run an agent for the tests of a module, which fail, loudly, where none can run."""
    try:
        agent = new_agent(**settings)
    except NomadUnavailableError as error:
        pytest.fail(str(error))
    asyncio.run(agent.start())
    try:
        yield agent
    finally:
        asyncio.run(agent.aclose())


def import_image(name: str, files: bytes) -> str:
    """Give the container engine an image of one layer, a tar archive; tests fail, loudly, where no engine answers."""
    made = subprocess.run(["docker", "import", "-", name], input=files, capture_output=True, check=False)
    if made.returncode:
        pytest.fail(f"no container engine answers: {made.stderr.decode()}")
    return name
