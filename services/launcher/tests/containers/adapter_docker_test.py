"""The container adapter on a real engine."""

import asyncio
import contextlib
import dataclasses
import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import docker
import docker.errors
import pytest

from datalabs_contracts.datalabs import EnvironmentSpecification, ProcessRuntime, Runtime, Runtimes
from datalabs_contracts.labs import Reason
from datalabs_launcher.containers import bridge
from datalabs_launcher.containers.adapter import ContainerScheduler
from datalabs_launcher.containers.config import ContainerSettings
from datalabs_launcher.containers.specification import PLATFORM_LABEL
from datalabs_launcher.federation import merged
from datalabs_launcher.local.adapter import LocalScheduler
from datalabs_launcher.local.config import LocalSettings
from datalabs_launcher.scheduler import JobState, SchedulerAwayError, SubmitRefusedError

pytestmark = pytest.mark.docker
SERVE = (
    "import http.server, os; http.server.test(http.server.SimpleHTTPRequestHandler,"
    " bind=os.environ['DATALABS_ADDRESS'], port=int(os.environ['DATALABS_PORT']))"
)


async def test_a_lab_answers_at_an_address_of_its_own(bench: Any) -> None:
    job = bench.job("python3", "-c", SERVE)
    seen = await bench.scheduler.submit(job)
    assert (seen.state, seen.port) == (JobState.RUNNING, 20_100)
    assert seen.started_at is not None
    async with aiohttp.ClientSession() as session, asyncio.timeout(10):
        while True:
            try:
                async with session.get(f"http://{seen.address}:{seen.port}/") as answer:
                    assert answer.status == 200
                    break
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.05)
    assert await bench.scheduler.owns_listener(job.job_id) is True


async def test_a_job_runs_once_however_often_it_is_submitted(bench: Any, docker_client: Any) -> None:
    job = bench.job("sleep", "100")
    first, *others = await asyncio.gather(*(bench.scheduler.submit(job) for _ in range(4)))
    assert all(one.started_at == first.started_at for one in others)
    label = f"org.datalabs.job={job.job_id}"
    assert len(docker_client.containers.list(all=True, filters={"label": label})) == 1


async def test_a_second_launcher_adopts_what_runs(bench: Any) -> None:
    job = await bench.running("sleep", "100")
    await bench.scheduler.aclose()
    bench.scheduler = bench.new_scheduler()
    await bench.scheduler.start()
    seen = {one.job_id: one for one in await bench.scheduler.jobs()}
    assert seen[job.job_id].state is JobState.RUNNING
    again = await bench.scheduler.submit(job)
    assert again.started_at == seen[job.job_id].started_at


async def test_a_container_made_by_a_launcher_that_died_then_is_adopted_and_started(
    bench: Any, docker_client: Any
) -> None:
    job = bench.job("sleep", "100")
    record = bench.scheduler._records.of(job.job_id)
    document = await bench.scheduler._house.accept(job, record, running=())
    docker_client.api.create_container_from_config(document, job.job_id)
    seen = await bench.scheduler.submit(job)
    assert seen.state is JobState.RUNNING


async def test_a_foreign_container_of_that_name_is_left_alone(bench: Any, docker_client: Any) -> None:
    job = bench.job("sleep", "100")
    foreign = docker_client.api.create_container_from_config(
        {"Image": bench.image, "Cmd": ["true"]}, job.job_id
    )
    try:
        with pytest.raises(SubmitRefusedError, match="not this lab"):
            await bench.scheduler.submit(job)
        assert docker_client.api.inspect_container(foreign["Id"])["State"]["Status"] == "created"
    finally:
        docker_client.api.remove_container(foreign["Id"], force=True)


async def test_a_lost_folder_does_not_hide_a_running_lab(bench: Any) -> None:
    job = await bench.running("sleep", "100")
    bench.scheduler._records.of(job.job_id).remove()
    await bench.scheduler.aclose()
    bench.scheduler = bench.new_scheduler()
    await bench.scheduler.start()
    (seen,) = await bench.scheduler.jobs()
    assert (seen.lab_id, seen.state) == (job.lab_id, JobState.RUNNING)


async def test_the_person_is_themselves_and_has_a_name(bench: Any) -> None:
    text = await bench.said(
        "sh", "-c", "id -u; id -un; echo $HOME; pwd; touch /media/home/a && ls -n /media/home"
    )
    lines = text.splitlines()
    assert lines[:4] == ["20001", "ada", "/media/home", "/media/home"]
    assert "20001 20001" in lines[-1]


async def test_the_secret_is_in_the_lab_and_not_in_the_engine(bench: Any, docker_client: Any) -> None:
    job = bench.job(
        "sh", "-c", 'cat "$DATALABS_LAB_SECRET_FILE"; stat -c " %a %u" "$DATALABS_LAB_SECRET_FILE"'
    )
    await bench.scheduler.submit(job)
    await bench.until(job.job_id, JobState.ENDED)
    assert await bench.text(job.job_id) == f"{job.lab_secret} 400 20001"
    assert job.lab_secret not in json.dumps(docker_client.api.inspect_container(job.job_id))


@pytest.mark.parametrize(
    ("command", "code", "signal"),
    [("exit 0", 0, None), ("exit 3", 3, None), ("kill -SEGV $$", 139, 11)],
)
async def test_ends_tell_how(bench: Any, command: str, code: int, signal: int | None) -> None:
    end = (await bench.ended("bash", "-c", command)).end
    assert (end.exit_code, end.signal, end.asked) == (code, signal, False)


async def test_out_of_memory_is_told_from_a_crash(bench: Any) -> None:
    end = (await bench.python("x = bytearray(400 * 2**20)")).end
    assert (end.out_of_memory, end.signal) == (True, 9)


async def test_memory_that_a_child_ran_out_of_is_no_reason_for_an_end_much_later(bench: Any) -> None:
    end = (await bench.ended("sh", "-c", "python3 -c 'bytearray(400 * 2**20)'; sleep 2; exit 4")).end
    assert (end.exit_code, end.signal) == (4, None)


async def test_a_stop_is_graceful_within_its_time(bench: Any) -> None:
    job = await bench.running(
        "bash", "-c", "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.1; done"
    )
    await bench.spoken(job.job_id, "up")
    await bench.scheduler.stop(job.job_id, grace=5)
    seen = await bench.until(job.job_id, JobState.ENDED)
    assert (seen.end.exit_code, seen.end.asked) == (0, True)
    assert await bench.text(job.job_id) == "up\nbye"


async def test_who_does_not_heed_is_killed_at_the_end_of_the_grace(bench: Any) -> None:
    job = await bench.running("bash", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done")
    await bench.spoken(job.job_id, "up")
    await bench.scheduler.stop(job.job_id, grace=60)
    await bench.scheduler.stop(job.job_id, grace=0.5)
    seen = await bench.until(job.job_id, JobState.ENDED, seconds=8)
    assert (seen.end.signal, seen.end.asked) == (9, True)


async def test_a_stop_outlives_the_launcher(bench: Any) -> None:
    job = await bench.running("bash", "-c", "trap '' TERM; while :; do sleep 0.1; done")
    await bench.scheduler.stop(job.job_id, grace=1)
    await bench.scheduler.aclose()
    bench.scheduler = bench.new_scheduler()
    await bench.scheduler.start()
    seen = await bench.until(job.job_id, JobState.ENDED, seconds=10)
    assert seen.end.asked


async def test_a_container_removed_by_somebody_has_ended(bench: Any, docker_client: Any) -> None:
    job = await bench.running("sleep", "100")
    docker_client.api.remove_container(job.job_id, force=True)
    seen = await bench.until(job.job_id, JobState.ENDED)
    assert not seen.end.asked


async def test_watchers_hear_of_an_end_by_itself(bench: Any) -> None:
    watch = bench.scheduler.watch()
    job = await bench.running("sleep", "0.5")
    async with asyncio.timeout(15):
        async for seen in watch:
            if seen.job_id == job.job_id and seen.state is JobState.ENDED:
                break


async def test_a_purged_job_never_runs_again(bench: Any) -> None:
    job = bench.job("true")
    await bench.scheduler.submit(job)
    await bench.until(job.job_id, JobState.ENDED)
    await bench.scheduler.purge(job.job_id)
    assert await bench.scheduler.get(job.job_id) is None
    with pytest.raises(SubmitRefusedError, match="forgotten"):
        await bench.scheduler.submit(job)


async def test_a_command_that_is_not_there_is_refused_in_the_engines_words(bench: Any) -> None:
    job = bench.job("there-is-no-such-program")
    seen = await bench.scheduler.submit(job)
    if seen.state is not JobState.ENDED:
        seen = await bench.until(job.job_id, JobState.ENDED)
    assert seen.end.exit_code == 127


async def test_a_missing_volume_is_refused_with_its_reason(bench: Any) -> None:
    job = bench.job("true")
    mounts = tuple(dataclasses.replace(job, mounts=()).mounts)
    gone = job.mounts[0].model_copy(update={"source": "/nowhere/at/all"})
    with pytest.raises(SubmitRefusedError) as refused:
        await bench.scheduler.submit(dataclasses.replace(job, mounts=(*mounts, gone)))
    assert refused.value.reason is Reason.VOLUME_UNAVAILABLE


async def test_an_image_that_cannot_be_had_is_named_with_the_cause(bench: Any) -> None:
    name = "registry.invalid/no-such-image:1"
    job = bench.job("true")
    job = dataclasses.replace(job, container=job.container.model_copy(update={"image": name}))
    runtimes = Runtimes(order=[Runtime.CONTAINER], container=job.container)
    specification = EnvironmentSpecification(datalab="x", version="1", runtimes=runtimes, source="")
    *_, last = [one async for one in bench.scheduler.prepare(specification, Runtime.CONTAINER)]
    assert last.failed
    assert name in last.text
    assert "registry.invalid" in last.text.replace(name, "")
    with pytest.raises(SubmitRefusedError) as refused:
        await bench.scheduler.submit(job)
    assert refused.value.reason is Reason.IMAGE_UNAVAILABLE


async def test_an_image_that_is_here_is_ready_at_once(bench: Any) -> None:
    runtimes = Runtimes(order=[Runtime.CONTAINER], container=bench.job("true").container)
    specification = EnvironmentSpecification(datalab="x", version="1", runtimes=runtimes, source="")
    assert [one.ready async for one in bench.scheduler.prepare(specification, Runtime.CONTAINER)] == [True]


async def test_samples_tell_what_a_lab_uses(bench: Any) -> None:
    program = "x = bytearray(60 * 2**20); print('up', flush=True)\nwhile True: pass"
    job = await bench.running("python3", "-c", program)
    await bench.spoken(job.job_id, "up")
    await bench.scheduler.sample(job.job_id)
    await asyncio.sleep(1)
    sample = await bench.scheduler.sample(job.job_id)
    assert sample.cores > 0.02
    assert 60 < sample.memory_mib < 128
    await bench.scheduler.active(job.job_id)
    await asyncio.sleep(0.3)
    assert await bench.scheduler.active(job.job_id) is True


async def test_the_machine_counts_once_beside_process_labs(bench: Any) -> None:
    await bench.running("sleep", "100")
    local = LocalScheduler(state_folder=bench.state_folder, settings=bench.settings, api_port=18_123)
    await local.start()
    try:
        both = [*(await local.capacity()).nodes, *(await bench.scheduler.capacity()).nodes]
        (node,) = merged(both)
        assert node.labs == 1
        assert node.memory_taken_mib == 128
        assert node.memory_mib == both[0].memory_mib
        assert {Runtime.PROCESS, Runtime.CONTAINER} <= set(node.runtimes)
    finally:
        await local.aclose()


async def test_without_an_engine_nothing_is_offered_and_nothing_is_concluded(
    bench: Any, tmp_path: Path
) -> None:
    job = await bench.running("sleep", "100")
    blind = bench.new_scheduler()
    blind._engine._socket = tmp_path / "nobody.sock"
    await blind.start()
    try:
        for question in (
            blind.jobs(),
            blind.get(job.job_id),
            blind.runtimes(),
            blind.submit(bench.job("true")),
        ):
            with pytest.raises(SchedulerAwayError):
                await question
        assert await blind.get("lab-somebodyelse-01") is None
    finally:
        await blind.aclose()


async def test_a_platform_that_never_saw_an_engine_has_none(tmp_path: Path) -> None:
    lone = ContainerScheduler(
        state_folder=tmp_path / "lone",
        settings=LocalSettings(),
        containers=ContainerSettings(engine_socket=tmp_path / "nobody.sock"),
        api_port=18_123,
    )
    await lone.start()
    assert await lone.runtimes() == []
    assert await lone.jobs() == []
    assert (await lone.capacity()).runtimes == []
    await lone.aclose()


async def test_a_process_job_is_refused(bench: Any) -> None:
    job = dataclasses.replace(
        bench.job("true"), runtime=Runtime.PROCESS, container=None, process=ProcessRuntime(command=["true"])
    )
    with pytest.raises(SubmitRefusedError, match="containers only"):
        await bench.scheduler.submit(job)


def test_settings_are_described() -> None:
    assert all(field.description for field in ContainerSettings.model_fields.values())


async def test_the_network_of_a_platform_that_is_gone_is_taken_back(
    bench: Any, docker_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not that of one which has containers left, nor one just made: its first container may be on its way."""
    names = {word: f"{word}-{uuid4().hex[:8]}" for word in ("gone", "used")}
    for name in names.values():
        docker_client.networks.create(f"datalabs-{name}", labels={PLATFORM_LABEL: name})
    lab = docker_client.containers.create(bench.image, "true", labels={PLATFORM_LABEL: names["used"]})

    def there() -> set[str]:
        found = {network.name for network in docker_client.networks.list(filters={"label": PLATFORM_LABEL})}
        return found & {f"datalabs-{name}" for name in names.values()}

    engine = bench.scheduler._engine
    try:
        await bridge.take_back_lapsed(engine)
        assert len(there()) == 2
        monkeypatch.setattr(bridge, "YOUNG", timedelta(0))
        await bridge.take_back_lapsed(engine)
        assert there() == {f"datalabs-{names['used']}"}
        lab.remove()
        await bridge.take_back_lapsed(engine)
        assert there() == set()
    finally:
        with contextlib.suppress(docker.errors.NotFound):
            lab.remove()
        for left in there():
            docker_client.networks.get(left).remove()
