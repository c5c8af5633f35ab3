"""The adapter on a real agent: containers by its docker driver, and what becomes of them when things die."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path

import aiohttp
import pytest

from datalabs_contracts.datalabs import ContainerRuntime, EnvironmentSpecification, Runtime, Runtimes
from datalabs_contracts.volumes import Mount
from datalabs_launcher.nomad.adapter import NomadScheduler
from datalabs_launcher.scheduler import (
    JobState,
    LabJob,
    Observation,
    SchedulerAwayError,
    SubmitRefusedError,
)
from datalabs_testing.chaos import ChaosProxy
from datalabs_testing.nomad.agent import NomadAgent

from .conftest import MakeScheduler
from .jobs import NOTEBOOK, ended, real_job, runs, until

pytestmark = [pytest.mark.nomad, pytest.mark.timeout(150)]

DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
SLEEP = "import time; print('here', flush=True); time.sleep(60)"


async def status_of(address: str | None, port: int | None) -> int:
    async with asyncio.timeout(10), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(f"http://{address}:{port}/") as answer:
                    return answer.status
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)


async def test_a_container_lab_from_its_image_to_its_end(scheduler: MakeScheduler, image: str) -> None:
    cluster = await scheduler()
    assert await cluster.runtimes() == [Runtime.CONTAINER]
    node = (await cluster.capacity()).nodes[0]
    assert node.memory_mib > 0
    job = real_job(image)
    began = datetime.now(tz=UTC)
    first = await cluster.submit(job)
    assert first.state is JobState.PENDING
    assert (await cluster.submit(job)).job_id == job.job_id
    seen = await until(cluster, job.job_id, runs)
    assert (seen.lab_id, seen.attempt, seen.port, seen.address) == (job.lab_id, 1, job.port, "127.0.0.1")
    assert seen.node == node.name
    assert seen.started_at is not None
    assert began - timedelta(seconds=1) < seen.started_at < datetime.now(tz=UTC)
    assert [step.name for step in seen.steps] == ["placing", "accepted", "setup", "started"]
    assert await status_of(seen.address, seen.port) == HTTPStatus.OK
    assert await cluster.owns_listener(job.job_id) is True
    taken = (await cluster.capacity()).nodes[0]
    assert (taken.labs, taken.memory_taken_mib) == (1, job.memory_mib)
    await cluster.stop(job.job_id, grace=5)
    seen = await until(cluster, job.job_id, ended)
    assert seen.end is not None
    assert (seen.end.asked, seen.end.exit_code, seen.end.signal) == (True, 143, 15)
    assert seen.end.ended_at >= seen.started_at  # type: ignore[operator]
    lines, older = await cluster.logs(job.job_id, lines=200)
    assert any("GET / HTTP" in line for line in lines)
    assert not older
    await cluster.purge(job.job_id)
    assert await cluster.get(job.job_id) is None
    assert job.job_id not in {one.job_id for one in await cluster.jobs()}


async def test_a_lab_whose_machine_takes_nothing_any_more_is_bound_to_it_no_longer(
    agent: NomadAgent, scheduler: MakeScheduler, image: str
) -> None:
    cluster = await scheduler()
    [node] = await agent.request("GET", "/v1/nodes")
    job = real_job(image, node=node["Name"], memory_mib=100_000_000)
    await cluster.submit(job)
    path = f"/v1/node/{node['ID']}/eligibility"
    registered = await agent.request("GET", f"/v1/job/{job.job_id}")
    assert [one["RTarget"] for one in registered["Constraints"]] == ["linux", node["ID"]]
    try:
        await agent.request("POST", path, {"NodeID": node["ID"], "Eligibility": "ineligible"})
        async with asyncio.timeout(20):
            while len(registered["Constraints"]) > 1:
                await asyncio.sleep(0.2)
                registered = await agent.request("GET", f"/v1/job/{job.job_id}")
    finally:
        await agent.request("POST", path, {"NodeID": node["ID"], "Eligibility": "eligible"})
    seen = await cluster.get(job.job_id)
    assert seen is not None
    assert seen.state is JobState.PENDING
    await cluster.stop(job.job_id, grace=1)
    assert (await until(cluster, job.job_id, ended)).end is not None


async def test_what_a_lab_sees_of_the_cluster(
    agent: NomadAgent, scheduler: MakeScheduler, image: str, tmp_path: Path
) -> None:
    for name, line in (("passwd", f"ada:x:{NOTEBOOK.uid}:1::/:/bin/sh\n"), ("group", "")):
        (tmp_path / name).write_text(line)
    program = (
        "import json, os, stat, socket, time\n"
        "time.sleep(1.2)  # of what ends sooner Nomad may not read everything\n"
        "def mode(path):\n"
        "    try: return stat.S_ISSOCK(os.stat(path).st_mode)\n"
        "    except OSError as error: return str(error)\n"
        "caps = [line.split()[1] for line in open('/proc/self/status') if line.startswith(('CapEff', 'NoNewPrivs'))]\n"
        "print(json.dumps({'uid': os.getuid(), 'caps': caps, 'env': dict(os.environ), 'socket': mode('/secrets/api.sock'),\n"
        "  'name': __import__('pwd').getpwuid(os.getuid()).pw_name, 'first': open('/proc/1/comm').read().strip(),\n"
        "  'writable': os.access('/etc', os.W_OK)}))\n"
    )
    cluster = await scheduler()
    job = real_job(
        image,
        program,
        batch=True,
        account=str(tmp_path),
        secret_environment={"TOKEN": 'a "quoted" $secret\\ with = and #'},
    )
    await cluster.submit(job)
    seen = await until(cluster, job.job_id, ended)
    assert seen.end is not None
    lines, _ = await cluster.logs(job.job_id, lines=50)
    assert seen.end.exit_code == 0, lines
    told = json.loads(lines[-1])
    assert (told["uid"], told["name"], told["writable"]) == (job.uid, job.owner, False)
    assert told["caps"] == ["0000000000000000", "1"]
    assert told["socket"] is False
    assert told["first"] in {"docker-init", "tini"}
    assert told["env"]["DATALABS_LAB_SECRET"] == job.lab_secret
    assert told["env"]["TOKEN"] == 'a "quoted" $secret\\ with = and #'
    assert "NOMAD_TOKEN" not in told["env"]
    document = json.dumps(await agent.request("GET", f"/v1/job/{job.job_id}"))
    assert job.lab_secret not in document
    assert "quoted" not in document
    await cluster.purge(job.job_id)
    with pytest.raises(aiohttp.ClientResponseError, match="404"):
        await agent.request("GET", f"/v1/var/nomad/jobs/{job.job_id}")


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("raise SystemExit(3)", {"exit_code": 3, "signal": None, "out_of_memory": False, "asked": False}),
        ("import os; os.kill(os.getpid(), 11)", {"exit_code": 139, "signal": 11, "asked": False}),
        ("x = bytearray(300 << 20); print(len(x))", {"out_of_memory": True, "asked": False}),
        ("print('done')", {"exit_code": 0, "asked": False}),
    ],
)
async def test_how_labs_end_by_themselves(
    scheduler: MakeScheduler, image: str, program: str, expected: dict[str, object]
) -> None:
    cluster = await scheduler()
    job = real_job(image, program, batch=True)
    await cluster.submit(job)
    end = (await until(cluster, job.job_id, ended)).end
    assert {name: getattr(end, name) for name in expected} == expected


async def test_an_image_that_cannot_be_had(scheduler: MakeScheduler, image: str) -> None:
    cluster = await scheduler()
    job = real_job(image)
    assert job.container is not None
    await cluster.submit(
        replace(job, container=job.container.model_copy(update={"image": "localhost:1/absent:7"}))
    )
    end = (await until(cluster, job.job_id, ended)).end
    assert end is not None
    assert end.image_unavailable
    assert not end.asked
    assert "localhost:1/absent:7" in end.text


async def test_files_that_are_not_on_the_machine(scheduler: MakeScheduler, image: str) -> None:
    cluster = await scheduler()
    job = real_job(image)
    absent = Mount(source="/nonexistent/home/ada", target="/media/home", read_only=False)
    await cluster.submit(replace(job, mounts=(*job.mounts, absent)))
    end = (await until(cluster, job.job_id, ended)).end
    assert end is not None
    assert end.volume_unavailable
    assert "/nonexistent/home/ada" in end.text


async def test_an_image_is_fetched_ahead_once(scheduler: MakeScheduler, image: str) -> None:
    cluster = await scheduler()

    async def prepared(name: str) -> list[tuple[bool, bool, str]]:
        runtimes = Runtimes(order=[Runtime.CONTAINER], container=ContainerRuntime(image=name))
        version = EnvironmentSpecification(datalab="stub", version="1.0", runtimes=runtimes, source="")
        told = cluster.prepare(version, Runtime.CONTAINER)
        return [(one.ready, one.failed, one.text) async for one in told]

    told = await prepared(image)
    assert told[0][2] == f"Fetching the image {image}: on 0 of 1 machines"
    assert told[-1] == (True, False, "On 1 of 1 machines")
    assert await prepared(image) == [(True, False, "On 1 of 1 machines")]
    ready, failed, text = (await prepared("localhost:1/absent:7"))[-1]
    assert (ready, failed) == (False, True)
    assert "localhost:1/absent:7" in text


async def test_a_deaf_lab_is_killed_after_its_grace(scheduler: MakeScheduler, image: str) -> None:
    cluster = await scheduler()
    job = real_job(image, DEAF, stop_seconds=30.0)
    await cluster.submit(job)
    await until(cluster, job.job_id, runs)
    while not (await cluster.logs(job.job_id, lines=5))[0]:  # noqa: ASYNC110 - the lab tells by its log
        await asyncio.sleep(0.05)
    asked = datetime.now(tz=UTC)
    await cluster.stop(job.job_id, grace=1.0)
    end = (await until(cluster, job.job_id, ended)).end
    assert end is not None
    assert (end.asked, end.exit_code, end.signal) == (True, 137, 9)
    assert timedelta(seconds=0.9) < end.ended_at - asked < timedelta(seconds=5)


async def test_a_job_that_fits_nowhere_says_why_and_can_be_taken_back(
    scheduler: MakeScheduler, image: str
) -> None:
    cluster = await scheduler()
    job = real_job(image, memory_mib=900_000, gpus=0)
    await cluster.submit(job)
    seen = await until(cluster, job.job_id, lambda one: "not enough memory" in one.steps[-1].text)
    assert seen.state is JobState.PENDING
    asked = datetime.now(tz=UTC)
    await cluster.stop(job.job_id, grace=1)
    end = (await until(cluster, job.job_id, ended)).end
    assert end is not None
    assert end.asked
    assert end.ended_at - asked < timedelta(seconds=2)


async def test_a_lost_reply_makes_no_second_lab(
    agent: NomadAgent, scheduler: MakeScheduler, image: str
) -> None:
    async with ChaosProxy("127.0.0.1", agent.ports[0]) as proxy:
        cluster = await scheduler(f"http://{proxy.host}:{proxy.port}", nomad_wait=1.0)
        job = real_job(image, SLEEP)
        await cluster._client.put_secrets(job.job_id, {"DATALABS_LAB_SECRET": "x"})
        proxy.lose_replies()
        with pytest.raises(SchedulerAwayError):
            await cluster.submit(job)
        proxy.heal()
        seen = await resubmitted(cluster, job)
        assert seen.job_id == job.job_id
        await until(cluster, job.job_id, runs)
    placed = await agent.request("GET", f"/v1/job/{job.job_id}/allocations?all=true")
    assert len(placed) == 1


async def test_secrets_of_a_job_that_never_came_to_be_are_found(scheduler: MakeScheduler, image: str) -> None:
    cluster = await scheduler()
    client, job = cluster._client, real_job(image, SLEEP)
    await cluster.submit(job)
    await client.put_secrets("lab-k3v9x2zzzz-01", {"DATALABS_LAB_SECRET": "x"})
    now = datetime.now(tz=UTC)
    assert await client.secrets_without_job("lab-", older_than=now - timedelta(minutes=1)) == []
    assert await client.secrets_without_job("lab-", older_than=now + timedelta(minutes=1)) == [
        "lab-k3v9x2zzzz-01"
    ]
    await client.drop_secrets("lab-k3v9x2zzzz-01")
    assert await client.secrets("lab-k3v9x2zzzz-01") == {}
    assert await client.secrets(job.job_id) == {"DATALABS_LAB_SECRET": job.lab_secret}


async def resubmitted(cluster: NomadScheduler, job: LabJob) -> Observation:
    async with asyncio.timeout(20):
        while True:
            try:
                return await cluster.submit(job)
            except SchedulerAwayError:
                await asyncio.sleep(0.1)


async def test_another_platforms_job_is_not_adopted(scheduler: MakeScheduler, image: str) -> None:
    ours, theirs = await scheduler(platform="ours"), await scheduler(platform="theirs")
    job = real_job(image, SLEEP)
    await theirs.submit(job)
    await until(theirs, job.job_id, runs)
    with pytest.raises(SubmitRefusedError, match="another job"):
        await ours.submit(job)
    assert job.job_id not in {seen.job_id for seen in await ours.jobs()}


async def test_a_new_launcher_finds_what_runs(scheduler: MakeScheduler, image: str) -> None:
    before = await scheduler()
    job = real_job(image, SLEEP)
    await before.submit(job)
    seen = await until(before, job.job_id, runs)
    after = await scheduler()
    assert {one.job_id: one for one in await after.jobs()}[job.job_id] == seen
    assert (await after.submit(job)).state is JobState.RUNNING
    sample = await after.sample(job.job_id)
    async with asyncio.timeout(10):
        while sample is None:
            await asyncio.sleep(0.2)
            sample = await after.sample(job.job_id)
    assert sample.lab_id == job.lab_id
    assert 1 < sample.memory_mib < job.memory_mib


async def test_a_broken_stream_loses_nothing(agent: NomadAgent, scheduler: MakeScheduler, image: str) -> None:
    async with ChaosProxy("127.0.0.1", agent.ports[0]) as proxy:
        cluster = await scheduler(f"http://{proxy.host}:{proxy.port}", nomad_wait=1.0)
        job = real_job(image, SLEEP)
        await cluster.submit(job)
        await until(cluster, job.job_id, runs)
        news = cluster.watch()
        following = asyncio.ensure_future(anext(news))
        await asyncio.sleep(0)
        proxy.refuse()
        with pytest.raises(SchedulerAwayError):
            await following
        with pytest.raises(SchedulerAwayError):
            await cluster.capacity()
        with pytest.raises(SchedulerAwayError):
            await cluster.jobs()
        await agent.request("DELETE", f"/v1/job/{job.job_id}")
        proxy.heal()
        end = (await until_back(cluster, job.job_id)).end
        assert end is not None
        assert end.asked


async def until_back(cluster: NomadScheduler, job_id: str) -> Observation:
    async with asyncio.timeout(30):
        while True:
            try:
                return await until(cluster, job_id, ended)
            except SchedulerAwayError:
                await asyncio.sleep(0.1)


async def test_labs_outlive_a_killed_agent(agent: NomadAgent, scheduler: MakeScheduler, image: str) -> None:
    cluster = await scheduler(nomad_wait=2.0)
    job = real_job(image)
    await cluster.submit(job)
    seen = await until(cluster, job.job_id, runs)
    assert await status_of(seen.address, seen.port) == HTTPStatus.OK
    await asyncio.to_thread(agent.kill)
    assert await status_of(seen.address, seen.port) == HTTPStatus.OK
    with pytest.raises(SchedulerAwayError):
        await cluster.get(job.job_id)
    await agent.start(node=False)
    async with asyncio.timeout(60):
        while True:
            try:
                again = await cluster.get(job.job_id)
            except SchedulerAwayError:
                await asyncio.sleep(0.2)
                continue
            if again is not None and again.state is JobState.RUNNING:
                break
            assert again is None or again.state is not JobState.ENDED
            await asyncio.sleep(0.2)
    assert again.started_at == seen.started_at
    assert await status_of(seen.address, seen.port) == HTTPStatus.OK
    placed = await agent.request("GET", f"/v1/job/{job.job_id}/allocations?all=true")
    assert len(placed) == 1
    async with asyncio.timeout(60):  # its node takes work again half a minute later
        while await cluster.sample(job.job_id) is None:  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.5)
    await cluster.stop(job.job_id, grace=2)
    end = (await until_back(cluster, job.job_id)).end
    assert end is not None
    assert end.asked
