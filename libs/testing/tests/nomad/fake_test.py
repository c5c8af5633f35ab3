"""What only the emulated Nomad has: misfortunes by name, its own time, machines that come and go, labs that do as told."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from datalabs_testing.nomad import Behaviour, Device, FakeNomad, Listening, Node, Pace
from datalabs_testing.nomad.faults import (
    Denied,
    HalfWrittenChunk,
    LosesReply,
    LosesRequest,
    NoLeader,
    SilentStream,
    TooManyConnections,
)
from datalabs_testing.waiting import eventually

from .conftest import SECOND, Cluster

MINUTE = 60.0


def docker(image: str = "labs/a:1") -> Any:
    """Return a change of a job: a batch container that asks for no ports."""

    def change(job: dict[str, Any]) -> None:
        job["Type"] = "batch"
        job.pop("Update")
        group = job["TaskGroups"][0]
        group.pop("Networks")
        group["Disconnect"] = {"LostAfter": 600 * SECOND, "Replace": False, "Reconcile": "keep_original"}
        group["Tasks"][0] |= {"Driver": "docker", "Config": {"image": image}, "KillTimeout": 20 * SECOND}

    return change


@contextlib.asynccontextmanager
async def fresh(**settings: Any) -> AsyncIterator[Cluster]:
    async with FakeNomad(**{"pace": Pace.at_once(), **settings}) as fake:
        made = Cluster(fake.address, fake=fake, prefix="fake")
        yield made
        await made.aclose()


@pytest_asyncio.fixture
async def still() -> AsyncIterator[Cluster]:
    """A cluster whose time only passes when the test says so."""
    async with fresh(scale=0, pace=Pace()) as made:
        yield made


def fake_of(cluster: Cluster) -> FakeNomad:
    assert cluster.fake is not None
    return cluster.fake


async def test_a_lost_reply_is_committed_and_a_lost_request_is_not() -> None:
    async with fresh() as cluster:
        for fault, there in ((LosesReply(), 200), (LosesRequest(), 404)):
            job = cluster.job()
            with fake_of(cluster).suffering(fault), pytest.raises(aiohttp.ClientError):
                await cluster.register(job)
            assert (await cluster.ask("GET", f"/v1/job/{job['ID']}")).status == there


@pytest.mark.parametrize(
    ("fault", "status", "text"),
    [
        (NoLeader(), 500, "No cluster leader"),
        (TooManyConnections(), 429, "rate limit"),
        (Denied(), 403, "Permission denied"),
    ],
)
async def test_misfortunes_have_their_texts(fault: Any, status: int, text: str) -> None:
    async with fresh() as cluster:
        with fake_of(cluster).suffering(fault):
            answer = await cluster.ask("GET", "/v1/jobs")
        assert answer.status == status
        assert text in answer.body
        assert (await cluster.ask("GET", "/v1/jobs")).status == 200


async def test_nobody_is_there_and_then_somebody_is_again() -> None:
    async with fresh() as cluster:
        job = await cluster.run()
        await fake_of(cluster).refuse()
        with pytest.raises(aiohttp.ClientError):
            await cluster.ask("GET", "/v1/jobs")
        await fake_of(cluster).accept()
        assert (await cluster.get(f"/v1/job/{job['ID']}"))["ID"] == job["ID"]


async def test_a_stream_may_end_in_the_middle_of_a_line() -> None:
    async with fresh() as cluster, cluster.stream("topic=Job&index=0") as lines:
        assert await lines.next() == {}
        fake_of(cluster).faults.add(HalfWrittenChunk())
        await cluster.run()
        with pytest.raises((aiohttp.ClientError, asyncio.IncompleteReadError, ValueError)):
            await lines.next()


async def test_a_stream_may_fall_silent(still: Cluster) -> None:
    async with still.stream("topic=Job&index=0") as lines:
        assert await lines.next() == {}
        await fake_of(still).advance(31)
        assert await lines.next() == {}, "a sign of life each thirty seconds"
        fake_of(still).faults.add(SilentStream())
        await still.run()
        await fake_of(still).advance(300)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(lines.next(), 0.2)


async def test_a_restart_forgets_events_and_nothing_else() -> None:
    async with fresh() as cluster:
        job = await cluster.run()
        await cluster.allocation(job, "running")
        index = await cluster.index()
        await fake_of(cluster).restart()
        assert await cluster.index() == index
        async with cluster.stream("topic=Job&index=0") as lines:
            assert await lines.next() == {}
            other = await cluster.run()
            line = await lines.next()
        assert line["Events"][0]["Key"] == other["ID"]


async def test_who_reads_too_slowly_is_cut_off() -> None:
    async with fresh(event_buffer=4) as cluster:
        cursor = fake_of(cluster).state.events.start(0)
        for _ in range(4):
            await cluster.run()
        assert cursor.ended


async def test_another_cluster_begins_at_the_beginning() -> None:
    async with fresh() as cluster:
        for _ in range(3):
            await cluster.allocation(await cluster.run(), "running")
        before = fake_of(cluster).state.index
        await fake_of(cluster).reset()
        assert fake_of(cluster).state.index < before
        assert await cluster.get("/v1/jobs") == []
        await cluster.allocation(await cluster.run(), "running")


async def test_what_has_ended_may_be_forgotten_early() -> None:
    async with fresh() as cluster:
        job = await cluster.run(run_for="1ms")
        await cluster.allocation(job, "failed")
        fake_of(cluster).collect_job(job["ID"])
        assert (await cluster.ask("GET", f"/v1/job/{job['ID']}")).status == 404


async def test_time_passes_only_when_told_and_in_order(still: Cluster) -> None:
    job = await still.run(docker())
    fake_of(still).behave(job["ID"], Behaviour(runs_for=10 * MINUTE, exit_code=4))
    await fake_of(still).advance(5)
    allocation = await still.allocation(job, "running")
    started = allocation["TaskStates"]["main"]["Events"][-1]["Time"]
    await fake_of(still).advance(11 * MINUTE)
    allocation = await still.allocation(job, "failed")
    ended = next(one for one in allocation["TaskStates"]["main"]["Events"] if one["Type"] == "Terminated")
    assert ended["ExitCode"] == 4
    assert (ended["Time"] - started) / SECOND == pytest.approx(10 * MINUTE, abs=0.01)


async def test_a_silent_machine_is_unknown_comes_back_or_is_lost(still: Cluster) -> None:
    fake = fake_of(still)
    job = await still.run(docker())
    await fake.advance(5)
    await still.allocation(job, "running")
    fake.node_down()
    await fake.advance(15)
    await still.allocation(job, "running")
    await fake.advance(10)
    [node] = await still.get("/v1/nodes")
    assert node["Status"] == "disconnected"
    unknown = await still.allocation(job, "unknown")
    whole = await still.get(f"/v1/allocation/{unknown['ID']}")
    assert whole["AllocStates"][-1]["Value"] == "unknown"
    fake.node_up()
    await fake.advance(2)
    back = await still.allocation(job, "running")
    assert (back["ID"], back["TaskStates"]["main"]["Events"][-1]["Type"]) == (unknown["ID"], "Reconnected")
    fake.node_down()
    await fake.advance(30 + 601)
    await still.allocation(job, "lost")


async def test_what_a_dead_machine_ran_has_failed_when_it_comes_back(still: Cluster) -> None:
    fake = fake_of(still)
    job = await still.run(docker())
    await fake.advance(5)
    fake.node_lost()
    await fake.advance(60)
    fake.node_up()
    await fake.advance(2)
    allocation = await still.allocation(job, "failed")
    assert allocation["TaskStates"]["main"]["State"] == "dead"
    assert fake.starts[job["ID"]] == 1


async def test_devices_are_given_by_name_and_waited_for() -> None:
    nodes = [Node(name="plain"), Node(name="fast", devices=(Device(model="L40S", count=2),))]

    def two(job: dict[str, Any]) -> None:
        job["TaskGroups"][0]["Tasks"][0]["Resources"]["Devices"] = [{"Name": "nvidia/gpu/L40S", "Count": 2}]

    async with fresh(nodes=nodes) as cluster:
        first, second = await cluster.run(two), await cluster.run(two)
        allocation = await cluster.allocation(first, "running")
        assert allocation["NodeName"] == "fast"
        whole = await cluster.get(f"/v1/allocation/{allocation['ID']}")
        [device] = whole["AllocatedResources"]["Tasks"]["main"]["Devices"]
        assert device == {
            "DeviceIDs": ["L40S-0", "L40S-1"],
            "Name": "L40S",
            "Type": "gpu",
            "Vendor": "nvidia",
        }
        _, answered = await cluster.evaluations(second, 2)
        metrics = answered["FailedTGAllocs"]["lab"]
        assert metrics["ConstraintFiltered"] == {"missing devices": 1}
        assert metrics["DimensionExhausted"] == {"devices: no devices match request": 1}
        await cluster.ask("DELETE", f"/v1/job/{first['ID']}")
        await cluster.allocation(second, "running")


async def test_images_are_there_or_not() -> None:
    async with fresh(
        images={"labs/a:1": Behaviour(runs_for=0.05, out_of_memory=True, exit_code=137)}
    ) as cluster:
        hungry = await cluster.ended(docker())
        assert hungry["TaskStates"]["main"]["Events"][-2]["Details"]["oom_killed"] == "true"
        for image in ("labs/b:1", "labs/a:latest", "labs/a"):
            missing = await cluster.ended(docker(image))
            kinds = [one["Type"] for one in missing["TaskStates"]["main"]["Events"]]
            assert kinds == ["Received", "Task Setup", "Driver", "Driver Failure", "Not Restarting"]


async def test_who_ignores_a_stop_is_killed_after_its_time(still: Cluster) -> None:
    job = await still.run(docker())
    fake_of(still).behave(job["ID"], Behaviour(ignores_stop=True))
    await fake_of(still).advance(5)
    await still.ask("DELETE", f"/v1/job/{job['ID']}")
    await fake_of(still).advance(18)
    await still.allocation(job, "running")
    await fake_of(still).advance(5)
    allocation = await still.allocation(job, "complete")
    terminated = next(
        one for one in allocation["TaskStates"]["main"]["Events"] if one["Type"] == "Terminated"
    )
    assert (terminated["Details"]["exit_code"], terminated["Details"]["signal"]) == ("137", "0")


async def test_tokens_may_do_what_they_may() -> None:
    tokens = {"all": {"management"}, "some": {"list-jobs"}}
    async with fresh(tokens=tokens) as cluster, aiohttp.ClientSession() as session:
        for token, status in (("", 403), ("wrong", 403), ("some", 200), ("all", 200)):
            headers = {"X-Nomad-Token": token} if token else {}
            async with session.get(f"{cluster.address}/v1/jobs", headers=headers) as answer:
                assert answer.status == status
        url = f"{cluster.address}/v1/nodes"
        async with session.get(url, headers={"Authorization": "Bearer some"}) as answer:
            assert (answer.status, await answer.text()) == (403, "Permission denied")


async def test_somebody_answers_on_the_port_as_long_as_it_runs() -> None:
    async with fresh(listening=Listening.HTTP) as cluster:
        job = await cluster.run()
        allocation = await cluster.allocation(job, "running")
        whole = await cluster.get(f"/v1/allocation/{allocation['ID']}")
        [port] = whole["AllocatedResources"]["Shared"]["Ports"]
        address = f"{port['HostIP']}:{port['Value']}"

        async def answers() -> bool:
            with contextlib.suppress(aiohttp.ClientError):
                async with aiohttp.ClientSession() as session, session.get(f"http://{address}/") as answer:
                    return answer.status == 200
            return False

        await eventually(answers)
        async with aiohttp.ClientSession() as session, session.ws_connect(f"ws://{address}/") as screen:
            assert (await screen.receive()).data == b"RFB 003.008\n"
        await cluster.ask("DELETE", f"/v1/job/{job['ID']}")

        async def silent() -> bool:
            return not await answers()

        await eventually(silent)


async def test_a_thousand_jobs_on_a_hundred_machines() -> None:
    nodes = [Node(name=f"n{number}", cores=16, cpu=32_000) for number in range(100)]
    async with fresh(nodes=nodes, event_buffer=100) as cluster:
        for _ in range(20):
            await asyncio.gather(*(cluster.run() for _ in range(50)))
        fake = fake_of(cluster)
        await eventually(
            lambda: sum(one.client_status == "running" for one in fake.state.allocations.values()) == 1000,
            seconds=30,
        )
        assert len(await cluster.get("/v1/jobs")) == 1000
        assert len({port for node in nodes for port in node.ports_taken}) <= 1000
        await asyncio.gather(*(cluster.ask("DELETE", f"/v1/job/{name}?purge=true") for name in cluster.made))
        await eventually(lambda: not any(node.cpu_taken or node.memory_taken for node in nodes), seconds=30)
        assert fake.state.allocations == {}


async def test_it_runs_as_a_process_that_is_steered_from_outside() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "datalabs_testing.nomad", "--nodes", "2", "--instant", "--gpu", "L40S:2"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        address = (await asyncio.wait_for(process.stdout.readline(), 20)).decode().strip()
        cluster = Cluster(address, fake=None, prefix="process")
        job = await cluster.run(docker())
        await cluster.allocation(job, "running")
        assert (await cluster.get("/_fake"))["running"] == 1
        fault = {"name": "NoLeader", "times": 1}
        assert (await cluster.ask("POST", "/_fake/faults", fault)).status == 200
        assert (await cluster.ask("GET", "/v1/jobs")).status == 500
        assert (await cluster.ask("POST", "/_fake/faults", {"name": "Nonsense"})).status == 400
        assert (await cluster.ask("POST", "/_fake/end", {"job": job["ID"], "exit_code": 9})).status == 200
        allocation = await cluster.allocation(job, "failed")
        assert json.dumps(allocation).count('"exit_code": "9"') == 1
        assert (await cluster.ask("POST", "/_fake/node/down", {"name": "node-1"})).status == 200
        await cluster.ask("POST", "/_fake/advance", {"seconds": 60})
        states = {one["Name"]: one["Status"] for one in await cluster.get("/v1/nodes")}
        assert states == {"node-1": "down", "node-2": "ready"}
        await cluster.aclose()
    finally:
        process.terminate()
        await process.wait()
