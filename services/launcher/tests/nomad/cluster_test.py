"""The adapter on real agents as a cluster has them: with ACL, and with a machine that is lost and comes back."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from datalabs_launcher.nomad.errors import NomadDeniedError
from datalabs_launcher.scheduler import JobState
from datalabs_testing.nomad.agent import NomadAgent, new_agent
from datalabs_testing.waiting import eventually

from .conftest import MakeScheduler
from .jobs import ended, real_job, runs, until

POLICY = Path(__file__).parents[4] / "compose" / "nomad" / "launcher.hcl"
SLEEP = "import time; print('here', flush=True); time.sleep(60)"
pytestmark = [pytest.mark.nomad, pytest.mark.timeout(150)]


async def call(agent: NomadAgent, token: str, method: str, path: str, body: object = None) -> Any:
    async with (
        aiohttp.ClientSession(raise_for_status=True, headers={"X-Nomad-Token": token}) as session,
        session.request(method, agent.address + path, json=body) as answer,
    ):
        return await answer.json(content_type=None)


@pytest.fixture
async def guarded() -> AsyncIterator[tuple[NomadAgent, str, str]]:
    """An agent with ACL; the operator's token, and one with the policy that ships for the launcher."""
    agent = new_agent(acl=True)
    await agent.start(node=False)
    master = (await agent.request("POST", "/v1/acl/bootstrap"))["SecretID"]
    await call(agent, master, "POST", "/v1/namespace/labs", {"Name": "labs"})
    policy = {"Name": "datalabs-launcher", "Rules": POLICY.read_text()}
    await call(agent, master, "POST", "/v1/acl/policy/datalabs-launcher", policy)
    wanted = {"Name": "launcher", "Type": "client", "Policies": ["datalabs-launcher"]}
    token = (await call(agent, master, "POST", "/v1/acl/token", wanted))["SecretID"]

    async def works() -> bool:
        return any(NomadAgent._takes_work(one) for one in await call(agent, master, "GET", "/v1/nodes"))

    await eventually(works, seconds=60, pause=0.2)
    yield agent, master, token
    await agent.aclose()


async def test_the_policy_that_ships_is_enough_and_no_more(
    guarded: tuple[NomadAgent, str, str], scheduler: MakeScheduler, image: str, tmp_path: Path
) -> None:
    agent, master, token = guarded
    file = tmp_path / "token"
    file.write_text(f"{token}\n")
    cluster = await scheduler(agent.address, nomad_namespace="labs", nomad_token_file=file)
    job = real_job(
        image,
        "import time, signal; signal.signal(15, signal.SIG_IGN); print('here', flush=True); time.sleep(60)",
    )
    await cluster.submit(job)
    seen = await until(cluster, job.job_id, runs)
    assert (await cluster.capacity()).nodes[0].labs == 1
    async with asyncio.timeout(20):
        while await cluster.sample(job.job_id) is None:  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.2)
        while not (await cluster.logs(job.job_id, lines=5))[0]:  # noqa: ASYNC110 - the same
            await asyncio.sleep(0.2)
    assert seen.state is JobState.RUNNING
    await cluster.stop(job.job_id, grace=1)
    end = (await until(cluster, job.job_id, ended)).end
    assert end is not None
    assert (end.signal, end.asked) == (9, True)
    await cluster.purge(job.job_id)
    assert await cluster.get(job.job_id) is None
    for path in ("/v1/jobs?namespace=default", "/v1/acl/tokens", "/v1/operator/scheduler/configuration"):
        with pytest.raises(aiohttp.ClientResponseError, match="403"):
            await call(agent, token, "GET", path)
    assert await call(agent, master, "GET", "/v1/acl/tokens")


async def test_a_token_can_be_replaced_without_a_restart(
    guarded: tuple[NomadAgent, str, str], scheduler: MakeScheduler, tmp_path: Path
) -> None:
    agent, _, token = guarded
    file = tmp_path / "token"
    file.write_text("00000000-0000-0000-0000-000000000000")
    cluster = await scheduler(agent.address, nomad_namespace="labs", nomad_token_file=file)
    with pytest.raises(NomadDeniedError, match="token"):
        await cluster.jobs()
    file.write_text(token)
    async with asyncio.timeout(20):
        while True:
            try:
                assert await cluster.jobs() == []
                await cluster.capacity()
            except NomadDeniedError:
                await asyncio.sleep(0.2)
            else:
                break


@pytest.fixture
async def parted() -> AsyncIterator[tuple[NomadAgent, NomadAgent]]:
    """A server, and a machine of its own."""
    quick = {"heartbeat_grace": "1s", "min_heartbeat_ttl": "1s"}
    server = new_agent(
        settings={"server": {"enabled": True, "bootstrap_expect": 1, **quick}, "client": {"enabled": False}},
    )
    await server.start(node=False)
    machine = new_agent()
    machine.settings = {
        "name": "machine",
        "server": {"enabled": False},
        "client": {
            **machine._configuration()["client"],
            "servers": [f"127.0.0.1:{server.ports[1]}"],
        },
    }
    await machine.start()
    yield server, machine
    await machine.aclose()
    await server.aclose()


async def test_a_lost_machine_never_makes_a_second_lab(
    parted: tuple[NomadAgent, NomadAgent], scheduler: MakeScheduler, image: str
) -> None:
    server, machine = parted
    cluster = await scheduler(server.address, nomad_lost_after=5.0)
    job = real_job(image, SLEEP)
    await cluster.submit(job)
    seen = await until(cluster, job.job_id, runs)
    await asyncio.to_thread(machine.kill)
    silent = await until(cluster, job.job_id, lambda one: one.state is JobState.UNKNOWN)
    assert silent.started_at == seen.started_at
    lost = await until(cluster, job.job_id, ended)
    assert lost.end is not None
    assert lost.end.node_lost
    assert "machine" in lost.end.text

    placed = await allocations(server, job.job_id)
    assert len(placed) == 1
    await cluster.purge(job.job_id)  # as the launcher does once the end is recorded
    assert await cluster.get(job.job_id) is None
    assert await containers(placed), "the lab goes on on the machine that nobody hears"

    async def gone() -> bool:
        return not await containers(placed)

    await machine.start()
    await eventually(gone, seconds=60, pause=0.2)
    assert await cluster.get(job.job_id) is None
    assert set(await allocations(server, job.job_id)) <= set(placed)


async def test_a_machine_that_comes_back_in_time_has_its_lab_still(
    parted: tuple[NomadAgent, NomadAgent], scheduler: MakeScheduler, image: str
) -> None:
    server, machine = parted
    cluster = await scheduler(server.address)
    job = real_job(image, SLEEP)
    await cluster.submit(job)
    seen = await until(cluster, job.job_id, runs)
    await asyncio.to_thread(machine.kill)
    await until(cluster, job.job_id, lambda one: one.state is JobState.UNKNOWN)
    await machine.start()
    again = await until(cluster, job.job_id, runs, seconds=60)
    assert (again.started_at, again.node, again.port) == (seen.started_at, seen.node, seen.port)
    assert len(await containers(await allocations(server, job.job_id))) == 1
    await cluster.stop(job.job_id, grace=1)
    await until(cluster, job.job_id, ended)


async def allocations(server: NomadAgent, job_id: str) -> list[str]:
    """Return the ids of a job's allocations; a purged job has none any more, whatever still runs."""
    return [one["ID"] for one in await server.request("GET", f"/v1/job/{job_id}/allocations?all=true")]


async def containers(allocated: list[str]) -> list[str]:
    """Return the containers of these allocations that run."""
    names = [f"--filter=name=main-{one}" for one in allocated]
    listed = await asyncio.to_thread(
        subprocess.run, ["docker", "ps", "-q", *names], capture_output=True, check=True, text=True
    )
    return listed.stdout.split()
