"""Each guess of the emulated Nomad is tried on it and on a real agent: the same tests, the same expectations."""

import asyncio
import contextlib
import copy
import itertools
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from datalabs_testing.nomad import FakeNomad, Node, NomadUnavailableError, Pace, new_agent
from datalabs_testing.nomad.agent import NomadAgent
from datalabs_testing.waiting import eventually

SECOND = 10**9
PATIENCE = 20.0
OVER = {"complete", "failed", "lost"}


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def index(self) -> int:
        return int(self.headers["X-Nomad-Index"])


class Cluster:
    """A Nomad to talk to, emulated or not."""

    def __init__(self, address: str, *, fake: FakeNomad | None, prefix: str) -> None:
        self.address = address
        self.fake = fake
        self._session = aiohttp.ClientSession()
        self._prefix = prefix
        self._numbers = itertools.count()
        self.made: list[str] = []

    async def ask(self, method: str, path: str, body: object = None) -> Answer:
        """Return whatever is answered."""
        sent = body if isinstance(body, str | None) else json.dumps(body)
        async with self._session.request(method, f"{self.address}{path}", data=sent) as answer:
            text = await answer.text()
            with contextlib.suppress(ValueError):
                return Answer(answer.status, json.loads(text), answer.headers)
            return Answer(answer.status, text, answer.headers)

    async def get(self, path: str) -> Any:
        """Return the document that is there."""
        answer = await self.ask("GET", path)
        assert answer.status == 200, answer
        return answer.body

    def job(self, change: Callable[[dict[str, Any]], object] | None = None, **config: Any) -> dict[str, Any]:
        """Return a new job with one task of the mock driver; `change` may put it right."""
        name = f"{self._prefix}-{next(self._numbers)}"
        job = copy.deepcopy(JOB) | {"ID": name, "Name": name}
        job["TaskGroups"][0]["Tasks"][0]["Config"] = {"run_for": "60s", **config}
        if change is not None:
            change(job)
        self.made.append(job["ID"])
        return job

    async def register(self, job: dict[str, Any]) -> Answer:
        """Create a job."""
        return await self.ask("POST", "/v1/jobs", {"Job": job, "EnforceIndex": True, "JobModifyIndex": 0})

    async def run(
        self, change: Callable[[dict[str, Any]], object] | None = None, **config: Any
    ) -> dict[str, Any]:
        """Create a job that is taken."""
        job = self.job(change, **config)
        answer = await self.register(job)
        assert answer.status == 200, answer
        return job

    async def allocation(self, job: dict[str, Any], *statuses: str) -> dict[str, Any]:
        """Wait until the job's one allocation is in one of these states."""

        async def there() -> Any:
            found = await self.get(f"/v1/job/{job['ID']}/allocations")
            return found[0] if found and (not statuses or found[0]["ClientStatus"] in statuses) else None

        return dict(await eventually(there, seconds=PATIENCE, pause=0.05))

    async def ended(
        self, change: Callable[[dict[str, Any]], object] | None = None, **config: Any
    ) -> dict[str, Any]:
        """Return the allocation of a job that ran to its end."""
        return await self.allocation(await self.run(change, **config), *OVER)

    async def evaluations(self, job: dict[str, Any], count: int = 1) -> list[dict[str, Any]]:
        """Return the evaluations of a job, the newest first, once so many are answered."""

        async def answered() -> Any:
            found = await self.get(f"/v1/job/{job['ID']}/evaluations")
            done = [one for one in found if one["Status"] != "pending"]
            return found if len(done) >= count and len(done) == len(found) else None

        return list(await eventually(answered, seconds=PATIENCE, pause=0.05))

    async def index(self) -> int:
        """Return the newest index of jobs."""
        return (await self.ask("GET", "/v1/jobs?per_page=1")).index

    @contextlib.asynccontextmanager
    async def stream(self, query: str) -> AsyncIterator["Lines"]:
        """Follow the event stream."""
        timeout = aiohttp.ClientTimeout(total=None)
        async with self._session.get(f"{self.address}/v1/event/stream?{query}", timeout=timeout) as answer:
            assert answer.status == 200
            yield Lines(answer)

    async def aclose(self) -> None:
        """Forget the jobs that were made."""
        for name in dict.fromkeys(self.made):
            await self.ask("DELETE", f"/v1/job/{name}?purge=true")
        await self._session.close()


class Lines:
    """The lines of an event stream."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def next(self) -> dict[str, Any]:
        """Return the next line."""
        async with asyncio.timeout(PATIENCE):
            line = await self._answer.content.readuntil(b"\n")
        return dict(json.loads(line))

    async def until(self, *types: str) -> list[dict[str, Any]]:
        """Return the lines until one has an event of each of these topics and types, as `Topic.Type`."""
        missing, found = set(types), []
        while missing:
            line = await self.next()
            found.append(line)
            missing -= {f"{event['Topic']}.{event['Type']}" for event in line.get("Events", [])}
        return found


JOB: dict[str, Any] = {
    "Type": "service",
    "Datacenters": ["*"],
    "Meta": {"color": "blue"},
    "Update": {"MaxParallel": 0},
    "TaskGroups": [
        {
            "Name": "lab",
            "Count": 1,
            "RestartPolicy": {"Attempts": 0, "Mode": "fail", "Interval": 600 * SECOND, "Delay": SECOND},
            "ReschedulePolicy": {"Attempts": 0, "Unlimited": False},
            "EphemeralDisk": {"SizeMB": 50},
            "Networks": [{"DynamicPorts": [{"Label": "http", "HostNetwork": "loopback"}]}],
            "Tasks": [
                {
                    "Name": "main",
                    "Driver": "mock_driver",
                    "Leader": True,
                    "Resources": {"CPU": 10, "MemoryMB": 20},
                    "KillTimeout": 2 * SECOND,
                    "LogConfig": {"MaxFiles": 2, "MaxFileSizeMB": 5},
                }
            ],
        }
    ],
}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def agents() -> AsyncIterator[Callable[[], Awaitable[NomadAgent]]]:
    """Give the real agent of the whole run, started when first needed; where there is none its tests fail, loudly."""
    made: list[NomadAgent] = []

    async def the_agent() -> NomadAgent:
        if not made:
            try:
                made.append(await new_agent().start())
            except NomadUnavailableError as error:
                pytest.fail(f"THE NOMAD TIER CANNOT RUN: {error}", pytrace=False)
        nodes = await made[0].request("GET", "/v1/nodes")
        if "mock_driver" not in nodes[0]["Drivers"]:
            pytest.fail(
                "THE NOMAD TIER CANNOT RUN: this Nomad was built without its mock driver", pytrace=False
            )
        return made[0]

    yield the_agent
    for agent in made:
        await agent.aclose()


@pytest_asyncio.fixture(params=["fake", pytest.param("real", marks=pytest.mark.nomad)])
async def cluster(
    request: pytest.FixtureRequest, agents: Callable[[], Awaitable[NomadAgent]]
) -> AsyncIterator[Cluster]:
    """A cluster of one node."""
    # evaluations of a purged job stay listed under its name, so no name comes twice
    prefix = f"{request.node.name.split('[')[0].removeprefix('test_').replace('_', '-')[:50]}-{secrets.token_hex(3)}"
    if request.param == "fake":
        async with FakeNomad(nodes=[Node(name="one")], pace=Pace(sync=0.2, urgent_sync=0.05)) as fake:
            made = Cluster(fake.address, fake=fake, prefix=prefix)
            yield made
            await made.aclose()
        return
    agent = await agents()
    made = Cluster(agent.address, fake=None, prefix=prefix)
    yield made
    await made.aclose()
