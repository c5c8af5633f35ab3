"""A node that falls silent and comes back: on the emulated cluster, and on a real server with a client of its own."""

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from datalabs_testing.nomad import FakeNomad, Node, NomadUnavailableError, Pace, new_agent
from datalabs_testing.waiting import eventually

from .conftest import SECOND, Cluster

PATIENCE = 60.0


class Split:
    """A cluster whose one node can fall silent."""

    def __init__(self, cluster: Cluster, silence: Callable[[], None], revive: Callable[[], None]) -> None:
        self.cluster = cluster
        self.silence = silence
        self.revive = revive

    async def allocation(self, job: dict[str, Any], status: str) -> dict[str, Any]:
        """Wait until an allocation of the job is in that state."""

        async def there() -> Any:
            found = await self.cluster.get(f"/v1/job/{job['ID']}/allocations")
            return next((one for one in found if one["ClientStatus"] == status), None)

        return dict(await eventually(there, seconds=PATIENCE, pause=0.1))

    async def node(self, status: str) -> dict[str, Any]:
        """Wait until the node is in that state."""

        async def there() -> Any:
            [node] = await self.cluster.get("/v1/nodes")
            return node if node["Status"] == status else None

        return dict(await eventually(there, seconds=PATIENCE, pause=0.1))


@contextlib.asynccontextmanager
async def real() -> AsyncIterator[Split]:
    """Run a server that soon misses its client, and the client, in processes of their own."""
    soon = {"heartbeat_grace": "1s", "min_heartbeat_ttl": "1s", "max_heartbeats_per_second": 1000.0}
    base = {"enabled": True, "bootstrap_expect": 1, "event_buffer_size": 1000}
    server = new_agent(settings={"server": {**base, **soon}, "client": {"enabled": False}})
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(server.aclose)
        try:
            await server.start(node=False)
            await eventually(lambda: server.request("GET", "/v1/status/leader"), seconds=PATIENCE)
            own = {"enabled": True, "network_interface": "lo", "servers": [f"127.0.0.1:{server.ports[1]}"]}
            networks = {"host_network": [{"loopback": {"cidr": "127.0.0.0/8"}}]}
            options = {"options": {"fingerprint.denylist": "env_aws,env_gce,env_azure,env_digitalocean"}}
            client = new_agent(
                settings={"server": {"enabled": False}, "client": {**own, **networks, **options}}
            )
            stack.push_async_callback(client.aclose)
            await client.start()
        except NomadUnavailableError as error:
            pytest.fail(f"THE NOMAD TIER CANNOT RUN: {error}", pytrace=False)
        stack.callback(client.resume)
        cluster = Cluster(server.address, fake=None, prefix="silence")
        stack.push_async_callback(cluster.aclose)
        yield Split(cluster, client.pause, client.resume)


@contextlib.asynccontextmanager
async def emulated() -> AsyncIterator[Split]:
    pace = Pace(sync=0.2, urgent_sync=0.05, heartbeat_ttl=1.5)
    async with FakeNomad(nodes=[Node(name="one")], pace=pace) as fake:
        cluster = Cluster(fake.address, fake=fake, prefix="silence")
        yield Split(cluster, fake.node_down, fake.node_up)
        await cluster.aclose()


@pytest_asyncio.fixture(params=["fake", pytest.param("real", marks=pytest.mark.nomad)])
async def split(request: pytest.FixtureRequest) -> AsyncIterator[Split]:
    async with (real if request.param == "real" else emulated)() as made:
        yield made


def patient(seconds: float) -> Callable[[dict[str, Any]], None]:
    """Return a change of a job: a batch that is waited for so long and never placed anew, if Nomad keeps its word."""

    def change(job: dict[str, Any]) -> None:
        job["Type"] = "batch"
        job.pop("Update")
        lost = {"LostAfter": int(seconds * SECOND), "Replace": False, "Reconcile": "keep_original"}
        job["TaskGroups"][0]["Disconnect"] = lost

    return change


async def test_a_node_that_comes_back_in_time_brings_its_allocation_back(split: Split) -> None:
    job = await split.cluster.run(patient(600))
    before = await split.allocation(job, "running")
    split.silence()
    await split.node("disconnected")
    unknown = await split.allocation(job, "unknown")
    assert unknown["ID"] == before["ID"]
    whole = await split.cluster.get(f"/v1/allocation/{before['ID']}")
    assert whole["AllocStates"][-1]["Value"] == "unknown"
    assert (await split.cluster.get(f"/v1/job/{job['ID']}"))["Status"] == "running"
    split.revive()
    await split.node("ready")
    back = await split.allocation(job, "running")
    assert back["ID"] == before["ID"]
    assert back["TaskStates"]["main"]["StartedAt"] == before["TaskStates"]["main"]["StartedAt"]
    assert len(await split.cluster.get(f"/v1/job/{job['ID']}/allocations")) == 1


async def test_a_node_that_stays_away_loses_its_allocation_and_another_is_wanted_all_the_same(
    split: Split,
) -> None:
    job = await split.cluster.run(patient(3))
    before = await split.allocation(job, "running")
    split.silence()
    lost = await split.allocation(job, "lost")
    assert (lost["ID"], lost["DesiredStatus"]) == (before["ID"], "stop")
    await split.node("down")

    async def blocked() -> bool:
        found = await split.cluster.get(f"/v1/job/{job['ID']}/evaluations")
        return any(one["Status"] == "blocked" for one in found)

    await eventually(blocked, seconds=PATIENCE, pause=0.1)
    split.revive()
    again = await split.allocation(job, "running")
    assert again["ID"] != before["ID"], "`Replace: false` does not hold for what is lost"


async def test_a_stop_reaches_a_node_when_it_is_back(split: Split) -> None:
    job = await split.cluster.run(patient(600))
    before = await split.allocation(job, "running")
    split.silence()
    await split.node("disconnected")
    await split.cluster.ask("DELETE", f"/v1/job/{job['ID']}")
    split.revive()
    ended = await split.allocation(job, "complete")
    assert ended["ID"] == before["ID"]
