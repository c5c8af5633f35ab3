import asyncio
import dataclasses
import ipaddress
import json
import os
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from datalabs_contracts.datalabs import Runtime
from datalabs_contracts.labs import Reason
from datalabs_contracts.volumes import Mount
from datalabs_launcher.local import netlink, processes
from datalabs_launcher.local.config import Isolation
from datalabs_launcher.local.vm import probe
from datalabs_launcher.scheduler import JobState, SubmitRefusedError

SERVE = ("python", "-m", "http.server", "--bind", "{address}", "{port}")


async def test_a_job_runs_is_seen_at_once_and_ends_with_evidence(bench: Any) -> None:
    job = bench.job("sh", "-c", "echo started; sleep 0.2; exit 5")
    watch = bench.scheduler.watch()
    first = asyncio.ensure_future(anext(watch))
    pending = await bench.scheduler.submit(job)
    assert (pending.job_id, pending.lab_id, pending.attempt) == (job.job_id, job.lab_id, 1)
    running = await asyncio.wait_for(first, 10)
    while running.state is not JobState.RUNNING:
        running = await asyncio.wait_for(anext(watch), 10)
    told_after = time.time() - running.started_at.timestamp()
    assert told_after < 0.5
    assert [step.name for step in running.steps] == ["isolate"]
    ended = await asyncio.wait_for(anext(watch), 10)
    assert ended.state is JobState.ENDED
    assert (ended.end.exit_code, ended.end.signal, ended.end.asked) == (5, None, False)
    assert running.started_at < ended.end.ended_at <= datetime.now(tz=UTC)
    assert await bench.scheduler.logs(job.job_id, lines=10) == (["started"], False)


async def test_submitting_again_and_again_runs_it_once(bench: Any) -> None:
    job = bench.job("sh", "-c", "echo $$ >> /media/scratch/runs; sleep 60")
    await asyncio.gather(*(bench.scheduler.submit(job) for _ in range(5)))
    await bench.until(job.job_id, JobState.RUNNING)
    other = bench.new_scheduler()
    await other.start()
    assert (await other.submit(job)).state is JobState.RUNNING
    await asyncio.sleep(0.2)
    runs = bench.volume(f"scratch/{job.lab_id}", job.uid) / "runs"
    assert len(runs.read_text().split()) == 1
    await other.aclose()


async def test_each_launcher_hears_of_changes(bench: Any) -> None:
    job = await bench.running("sleep", "60")
    other = bench.new_scheduler()
    await other.start()
    watches = [bench.scheduler.watch(), other.watch()]
    began = time.monotonic()
    await other.stop(job.job_id, grace=5)
    for watch in watches:
        seen = await asyncio.wait_for(anext(watch), 10)
        while seen.state is not JobState.ENDED:
            seen = await asyncio.wait_for(anext(watch), 10)
    assert time.monotonic() - began < 3
    await other.aclose()


async def test_what_happens_before_the_first_look_is_not_missed(bench: Any) -> None:
    watch = bench.scheduler.watch()
    seen = await bench.ended("true")
    first = await asyncio.wait_for(anext(watch), 1)
    assert (first.job_id, first.state) == (seen.job_id, JobState.ENDED)


async def test_a_lab_outlives_the_launcher_and_is_found_again(bench: Any) -> None:
    job = await bench.running("sleep", "60")
    before = bench.state(job.job_id)
    await bench.scheduler.aclose()
    bench.scheduler = bench.new_scheduler()
    await bench.scheduler.start()
    [seen] = await bench.scheduler.jobs()
    assert seen.state is JobState.RUNNING
    assert bench.state(job.job_id) == before
    assert processes.lives(before["pid"], before["pid_ticks"])
    await bench.scheduler.stop(job.job_id, grace=1)
    assert (await bench.until(job.job_id, JobState.ENDED)).end.asked


async def test_an_end_while_nobody_looked_has_its_true_time_and_code(bench: Any) -> None:
    job = await bench.running("sh", "-c", "sleep 0.3; exit 9")
    await bench.scheduler.aclose()
    await asyncio.sleep(0.8)
    bench.scheduler = bench.new_scheduler()
    await bench.scheduler.start()
    seen = await bench.scheduler.get(job.job_id)
    assert seen.end.exit_code == 9
    assert 0.2 < (seen.end.ended_at - seen.started_at).total_seconds() < 0.8


async def test_a_killed_shim_ends_its_lab_and_says_so(bench: Any) -> None:
    job = await bench.running("sh", "-c", "trap '' HUP TERM; setsid sleep 100 & sleep 100")
    state = bench.state(job.job_id)
    inside = processes.descendants_of(state["shim"])
    os.kill(state["shim"], signal.SIGKILL)
    ended = await bench.until(job.job_id, JobState.ENDED)
    assert "supervisor was killed" in ended.end.text
    assert not ended.end.asked
    assert [pid for pid in inside if _runs(pid)] == []
    assert bench.living(job.job_id) == set()


async def test_a_shim_killed_while_the_launcher_was_away_is_found_out(bench: Any) -> None:
    job = await bench.running("sleep", "100")
    await bench.scheduler.aclose()
    state = bench.state(job.job_id)
    os.kill(state["shim"], signal.SIGKILL)
    bench.scheduler = bench.new_scheduler()
    await bench.scheduler.start()
    seen = await bench.scheduler.get(job.job_id)
    assert seen.state is JobState.ENDED
    assert bench.living(job.job_id) == set()


async def test_after_a_restart_of_the_machine_it_ended_when_it_was_last_alive(bench: Any) -> None:
    job = await bench.running("sleep", "100")
    await bench.scheduler.aclose()
    state = bench.state(job.job_id)
    os.kill(state["shim"], signal.SIGKILL)
    folder = bench.state_folder / "labs" / job.job_id
    while processes.lives(state["keeper"], state["keeper_ticks"]):  # noqa: ASYNC110 - the other side tells nobody
        await asyncio.sleep(0.01)
    (folder / "state.json").write_text(json.dumps({**state, "boot": "another-boot"}))
    alive = time.time() - 1000
    for name in ("state.json", "spec.json", "lock"):
        os.utime(folder / name, (alive, alive))
    bench.scheduler = bench.new_scheduler()
    await bench.scheduler.start()
    seen = await bench.scheduler.get(job.job_id)
    assert seen.end.exit_code is None
    assert abs(seen.end.ended_at.timestamp() - alive) < 2
    assert "restarted" in seen.end.text


async def test_an_accepted_job_is_started_by_the_next_launcher(bench: Any) -> None:
    job = bench.job("sh", "-c", "echo ran")
    bench.scheduler._write(job)  # the launcher died between writing it down and starting it
    await bench.scheduler.aclose()
    bench.scheduler = bench.new_scheduler()
    await bench.scheduler.start()
    assert (await bench.until(job.job_id, JobState.ENDED)).end.exit_code == 0


async def test_one_accepted_long_ago_is_not_started_any_more(bench: Any) -> None:
    job = bench.job("sh", "-c", "echo ran")
    bench.scheduler._write(job)
    spec = bench.state_folder / "labs" / job.job_id / "spec.json"
    noted = json.loads(spec.read_text())
    noted["about"]["accepted"] -= 3600
    spec.write_text(json.dumps(noted))
    await bench.scheduler.aclose()
    bench.scheduler = bench.new_scheduler()
    await bench.scheduler.start()
    seen = await bench.scheduler.get(job.job_id)
    assert seen.state is JobState.ENDED
    assert "could not be started" in seen.end.text
    assert await bench.scheduler.logs(job.job_id, lines=5) == ([], False)


async def test_one_accepted_just_now_is_started_though_the_clock_was_set_meanwhile(bench: Any) -> None:
    job = bench.job("sh", "-c", "echo ran")
    bench.scheduler._write(job)
    spec = bench.state_folder / "labs" / job.job_id / "spec.json"
    os.utime(spec, (time.time() - 3600, time.time() - 3600))  # what an hour ahead makes of its age
    await bench.scheduler.aclose()
    bench.scheduler = bench.new_scheduler()
    await bench.scheduler.start()
    assert (await bench.until(job.job_id, JobState.ENDED)).end.exit_code == 0


async def test_an_ended_job_is_forgotten_for_good(bench: Any) -> None:
    seen = await bench.ended("true")
    job = bench.job("true")
    await bench.scheduler.purge(seen.job_id)
    assert await bench.scheduler.get(seen.job_id) is None
    assert not (bench.state_folder / "labs" / seen.job_id).exists()
    with pytest.raises(SubmitRefusedError):
        await bench.scheduler.submit(dataclasses.replace(job, job_id=seen.job_id))


async def test_a_running_job_cannot_be_forgotten(bench: Any) -> None:
    job = await bench.running("sleep", "100")
    await bench.scheduler.purge(job.job_id)
    assert (await bench.scheduler.get(job.job_id)).state is JobState.RUNNING


async def test_stop_of_what_is_gone_or_unknown_does_nothing(bench: Any) -> None:
    seen = await bench.ended("true")
    await bench.scheduler.stop(seen.job_id, grace=1)
    await bench.scheduler.stop("lab-nnnnnnnnnn-01", grace=1)
    assert await bench.scheduler.get("lab-nnnnnnnnnn-01") is None


async def test_a_stop_right_after_the_submit_never_leaves_a_lab(bench: Any) -> None:
    jobs = [bench.job("sh", "-c", "trap '' TERM; sleep 100") for _ in range(6)]
    for number, job in enumerate(jobs):
        await bench.scheduler.submit(job)
        await asyncio.sleep(0.012 * number)
        await bench.scheduler.stop(job.job_id, grace=0.1)
    for job in jobs:
        ended = await bench.until(job.job_id, JobState.ENDED)
        assert ended.end is not None
        assert bench.living(job.job_id) == set()


async def test_a_version_without_its_environment_is_refused_with_that_reason(bench: Any) -> None:
    job = bench.job("true")
    with pytest.raises(SubmitRefusedError) as refused:
        await bench.scheduler.submit(dataclasses.replace(job, version="2"))
    assert refused.value.reason is Reason.IMAGE_UNAVAILABLE


async def test_a_missing_volume_is_refused_with_that_reason(bench: Any) -> None:
    job = bench.job("true", mounts=(Mount(source="/nonexistent/x", target="/media/home", read_only=False),))
    with pytest.raises(SubmitRefusedError) as refused:
        await bench.scheduler.submit(job)
    assert refused.value.reason is Reason.VOLUME_UNAVAILABLE


async def test_it_serves_at_its_own_address(bench: Any) -> None:
    first, second = await bench.running(*SERVE), await bench.running(*SERVE)
    seen = [await bench.scheduler.get(job.job_id) for job in (first, second)]
    assert seen[0].address != seen[1].address
    assert seen[0].port == seen[1].port
    for one in seen:
        assert b"200" in await _get(one.address, one.port)
        assert await bench.scheduler.owns_listener(one.job_id) is True


async def test_on_the_shared_network_the_listener_must_be_the_labs(benches: Any) -> None:
    bench = await benches(own_network=False)
    mine, silent = await bench.running(*SERVE), await bench.running("sleep", "60")
    seen = await bench.scheduler.get(mine.job_id)
    assert seen.address.startswith("127.")
    assert b"200" in await _get(seen.address, seen.port)
    assert await bench.scheduler.owns_listener(mine.job_id) is True
    other = await bench.scheduler.get(silent.job_id)
    server = await asyncio.start_server(lambda _r, w: w.close(), other.address, other.port)
    assert await bench.scheduler.owns_listener(silent.job_id) is False
    server.close()
    await server.wait_closed()
    assert await bench.scheduler.owns_listener("lab-nnnnnnnnnn-01") is None


@pytest.mark.skipif(os.geteuid() != 0, reason="control groups of one's own need root here")
async def test_out_of_memory_is_told_from_a_crash(bench: Any) -> None:
    eater = await bench.ended("python", "-c", "x=[]\nwhile True: x.append(bytearray(10**7))", memory_mib=64)
    assert eater.end.out_of_memory
    assert eater.end.signal == signal.SIGKILL
    crashed = await bench.ended("sh", "-c", "kill -KILL $$")
    assert not crashed.end.out_of_memory
    assert crashed.end.signal == signal.SIGKILL


@pytest.mark.skipif(os.geteuid() != 0, reason="control groups of one's own need root here")
async def test_memory_and_cpu_are_measured(bench: Any) -> None:
    job = await bench.running("python", "-c", "x=b'x'*50_000_000\nwhile True: pass")
    await asyncio.sleep(0.5)
    await bench.scheduler.sample(job.job_id)
    await asyncio.sleep(0.3)
    sample = await bench.scheduler.sample(job.job_id)
    assert sample.memory_mib > 45
    assert sample.cores > 0.05
    assert (sample.max_cores, sample.max_memory_mib, sample.lab_id) == (0.5, 256, job.lab_id)


async def test_computing_is_activity_and_sleeping_is_none(bench: Any) -> None:
    busy, idle = await bench.running("python", "-c", "while True: pass"), await bench.running("sleep", "60")
    for job in (busy, idle):
        await bench.scheduler.active(job.job_id)
    await asyncio.sleep(0.3)
    assert await bench.scheduler.active(busy.job_id) is True
    assert await bench.scheduler.active(idle.job_id) is False


async def test_capacity_counts_what_runs(bench: Any) -> None:
    before = await bench.scheduler.capacity()
    await bench.running("sleep", "60")
    after = await bench.scheduler.capacity()
    assert (before.cores_taken, before.memory_taken_mib) == (0, 0)
    assert (after.cores_taken, after.memory_taken_mib) == (0.5, 256)
    assert after.cores == len(os.sched_getaffinity(0)) * 16
    assert after.runtimes == [Runtime.PROCESS, *([Runtime.VM] if probe.tools() else [])]


async def test_addresses_rest_after_their_lab(bench: Any) -> None:
    seen = [await bench.ended("true") for _ in range(3)]
    assert len({one.address for one in seen}) == 3
    await bench.scheduler.aclose()
    bench.scheduler = bench.new_scheduler()
    await bench.scheduler.start()
    again = await bench.ended("true")
    assert again.address not in {one.address for one in seen}


async def test_where_nothing_keeps_labs_apart_it_says_so(benches: Any) -> None:
    bench = await benches(isolation=Isolation.NONE, own_network=False)
    bench.as_one_user()
    assert bench.scheduler.operators_only
    assert "not kept apart" in " ".join(await bench.scheduler.notices(Runtime.PROCESS))
    said = await bench.said(
        "sh", "-c", "echo in $DATALABS_ROOT; ls $DATALABS_ROOT/media; touch $HOME/kept; pwd"
    )
    assert "home" in said
    assert "scratch" in said
    assert (bench.volume("home/ada", 20_001) / "kept").exists()


async def test_the_insecure_setting_lets_everybody_in(benches: Any) -> None:
    bench = await benches(isolation=Isolation.NONE, own_network=False, insecure_process_labs=True)
    assert not bench.scheduler.operators_only


@pytest.mark.skipif(os.geteuid() != 0, reason="networks and control groups of one's own need root here")
async def test_nothing_is_left_on_the_machine_when_no_lab_lives(benches: Any) -> None:
    bench = await benches()
    await bench.ended("true")
    machine = bench.scheduler._machine
    folders = [Path(folder) for folder in machine.means.groups.values()]
    assert _routed(machine.plan)
    await bench.scheduler.aclose()
    assert not _routed(machine.plan)
    assert not any(folder.exists() for folder in folders)
    await bench.scheduler.start()


async def test_two_platforms_on_one_machine_do_not_meet(benches: Any) -> None:
    first, second = await benches(), await benches()
    one, two = await first.running(*SERVE), await second.running(*SERVE)
    seen = [await first.scheduler.get(one.job_id), await second.scheduler.get(two.job_id)]
    assert seen[0].address != seen[1].address
    assert first.scheduler.api_address != second.scheduler.api_address
    assert await first.scheduler.get(two.job_id) is None


def _routed(plan: Any) -> bool:
    with netlink.Netlink() as socket:
        return any(ipaddress.IPv4Address(address) in plan.network for address, _ in netlink.taken(socket))


async def _get(address: str, port: int) -> bytes:
    async with asyncio.timeout(15):
        while True:
            try:
                reader, writer = await asyncio.open_connection(address, port)
            except OSError:
                await asyncio.sleep(0.02)
                continue
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            answer = await reader.read(100)
            writer.close()
            await writer.wait_closed()
            return answer


def _runs(pid: int) -> bool:
    try:
        return processes.stat_of(pid)[0] != processes.ZOMBIE
    except OSError:
        return False
