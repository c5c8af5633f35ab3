"""What holds for a job's life on every scheduler: it runs once, outlives its launcher, ends as it is asked to."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from datalabs_contracts.labs import Reason
from datalabs_launcher.scheduler import JobState, SchedulerAwayError, SubmitRefusedError

from .conftest import Try
from .target import LIVES, Does

STUBBORN = Does(ignores=True)


async def test_a_job_runs_and_says_where(lab: Try) -> None:
    before = datetime.now(tz=UTC)
    job = lab.target.job()
    pending = await lab.scheduler.submit(job)
    assert (pending.job_id, pending.lab_id, pending.attempt) == (job.job_id, job.lab_id, 1)
    seen = await lab.until(job, JobState.RUNNING)
    assert seen.address
    assert seen.port == job.port
    assert seen.node or lab.target.name in {"process", "container", "vm"}
    assert seen.started_at is not None
    assert before <= seen.started_at <= datetime.now(tz=UTC)
    assert seen.end is None
    assert all(step.started_at >= before for step in seen.steps)


async def test_it_runs_on_the_machine_on_which_room_was_counted(lab: Try) -> None:
    for node in (await lab.scheduler.capacity()).nodes:
        job = await lab.running(node=node.name)
        seen = await lab.scheduler.get(job.job_id)
        assert seen is not None
        assert seen.node in {node.name, None}


async def test_submitting_again_and_again_runs_it_once(lab: Try) -> None:
    job = lab.target.job()
    found = await asyncio.gather(*(lab.scheduler.submit(job) for _ in range(5)))
    assert {seen.job_id for seen in found} == {job.job_id}
    await lab.until(job, JobState.RUNNING)
    assert (await lab.scheduler.submit(job)).state is JobState.RUNNING
    await lab.eventually(lambda: _said(lab.target.starts(job) > 0))
    await asyncio.sleep(0.3)
    assert lab.target.starts(job) == 1
    assert len([seen for seen in await lab.scheduler.jobs() if seen.lab_id == job.lab_id]) == 1


async def test_another_launcher_adopts_what_runs(lab: Try) -> None:
    job = await lab.running()
    before = await lab.scheduler.get(job.job_id)
    await lab.start()
    adopted = await lab.scheduler.submit(job)
    assert adopted.state in {JobState.RUNNING, JobState.PENDING}
    after = await lab.until(job, JobState.RUNNING)
    assert before is not None
    assert after.started_at == before.started_at
    await asyncio.sleep(0.3)
    assert lab.target.starts(job) == 1


async def test_a_lab_outlives_its_launcher_and_is_found_again(lab: Try) -> None:
    job = await lab.running()
    await lab.restart()
    found = {seen.job_id: seen for seen in await lab.scheduler.jobs()}
    assert found[job.job_id].state is JobState.RUNNING
    assert lab.target.starts(job) == 1
    await lab.scheduler.stop(job.job_id, grace=5)
    ended = await lab.until(job, JobState.ENDED)
    assert ended.end is not None
    assert ended.end.asked


async def test_a_stop_is_asked_for_politely(lab: Try) -> None:
    lab.needs("button")
    job = await lab.running()
    began = datetime.now(tz=UTC)
    await lab.scheduler.stop(job.job_id, grace=30)
    ended = await lab.until(job, JobState.ENDED)
    assert ended.end is not None
    assert ended.end.asked
    assert not ended.end.out_of_memory
    assert (ended.end.ended_at - began).total_seconds() < 5


async def test_who_ignores_a_stop_is_killed_when_the_grace_is_over(lab: Try) -> None:
    lab.needs("kills")
    job = await lab.running(STUBBORN, stop_seconds=2)
    began = datetime.now(tz=UTC)
    await lab.scheduler.stop(job.job_id, grace=2)
    assert (datetime.now(tz=UTC) - began).total_seconds() < 1.5, "stop waits for nothing"
    ended = await lab.until(job, JobState.ENDED)
    assert ended.end is not None
    assert ended.end.asked
    assert ended.end.signal == 9
    assert 1.5 < (ended.end.ended_at - began).total_seconds() < 6


async def test_a_shorter_grace_than_the_labs_own_is_kept(lab: Try) -> None:
    lab.needs("grace")
    job = await lab.running(STUBBORN, stop_seconds=30)
    began = datetime.now(tz=UTC)
    await lab.scheduler.stop(job.job_id, grace=0.5)
    ended = await lab.until(job, JobState.ENDED)
    assert ended.end is not None
    assert ended.end.asked
    assert (ended.end.ended_at - began).total_seconds() < 8


async def test_a_stop_right_after_the_submit_leaves_nothing(lab: Try) -> None:
    job = lab.target.job(STUBBORN)
    await lab.scheduler.submit(job)
    await lab.scheduler.stop(job.job_id, grace=0.2)
    ended = await lab.until(job, JobState.ENDED)
    assert ended.end is not None
    assert ended.end.asked


async def test_stop_of_what_has_ended_or_never_was_does_nothing(lab: Try) -> None:
    job, before = await lab.ended(Does(seconds=0))
    await lab.scheduler.stop(job.job_id, grace=1)
    await lab.scheduler.stop("lab-nnnnnnnnnn-01", grace=1)
    after = await lab.scheduler.get(job.job_id)
    assert after is not None
    assert after.end is not None
    assert before.end is not None
    assert (after.state, after.end.exit_code, after.end.asked) == (
        JobState.ENDED,
        before.end.exit_code,
        False,
    )
    assert await lab.scheduler.get("lab-nnnnnnnnnn-01") is None


async def test_what_never_was_is_not_there(lab: Try) -> None:
    assert await lab.scheduler.get("lab-mmmmmmmmmm-01") is None
    assert await lab.scheduler.logs("lab-mmmmmmmmmm-01", lines=10) == ([], False)
    assert await lab.scheduler.sample("lab-mmmmmmmmmm-01") is None
    await lab.scheduler.purge("lab-mmmmmmmmmm-01")


async def test_all_jobs_are_listed_whatever_their_state(lab: Try) -> None:
    lives = await lab.running()
    over, _ = await lab.ended(Does(seconds=0, code=4))
    found = {seen.job_id: seen.state for seen in await lab.scheduler.jobs()}
    assert found == {lives.job_id: JobState.RUNNING, over.job_id: JobState.ENDED}


async def test_a_purged_job_is_gone_for_good(lab: Try) -> None:
    job, _ = await lab.ended(Does(seconds=0))
    lives = await lab.running()
    await lab.scheduler.purge(job.job_id)
    assert await lab.eventually(lambda: _gone(lab, job.job_id))
    assert [seen.job_id for seen in await lab.scheduler.jobs()] == [lives.job_id]
    await lab.restart()
    assert [seen.job_id for seen in await lab.scheduler.jobs()] == [lives.job_id]
    assert await lab.scheduler.get(job.job_id) is None


async def test_each_change_is_told(lab: Try) -> None:
    lab.needs("commands")
    heard = lab.listen()
    await asyncio.sleep(0)
    # a second and more: Nomad tells of a shorter life only when it is over
    job, _ = await lab.ended(Does(seconds=2.5, code=3))

    async def complete() -> bool:
        states = [seen.state for seen in heard if seen.job_id == job.job_id]
        return JobState.RUNNING in states and states[-1:] == [JobState.ENDED]

    await lab.eventually(complete)
    last = [seen for seen in heard if seen.job_id == job.job_id][-1]
    assert last.end is not None
    assert last.end.exit_code == 3


async def test_what_happens_between_subscribing_and_reading_is_not_missed(lab: Try) -> None:
    watch = lab.scheduler.watch()
    job, ended = await lab.ended(Does(seconds=0))
    async with asyncio.timeout(lab.target.seconds):
        async for seen in watch:
            if seen.job_id == job.job_id and seen.state is JobState.ENDED:
                assert seen.end == ended.end
                break


async def test_what_happened_while_nobody_looked_is_found_by_the_next_list(lab: Try) -> None:
    lab.needs("commands")
    job = await lab.running(Does(seconds=1.5, code=9))
    began = await lab.scheduler.get(job.job_id)
    await lab.adapters.pop().aclose()
    await asyncio.sleep(3.5)
    looked = datetime.now(tz=UTC)
    await lab.start()
    seen = await lab.until(job, JobState.ENDED)
    assert seen.end is not None
    assert began is not None
    assert began.started_at is not None
    assert seen.end.exit_code == 9
    lived = (seen.end.ended_at - began.started_at).total_seconds()
    assert 1.0 < lived < 3.0, "the end has the scheduler's own time"
    assert seen.end.ended_at < looked


async def test_silence_is_never_taken_for_an_end(lab: Try) -> None:
    lab.needs("away")
    job = await lab.running()
    heard = lab.listen()
    await lab.target.cut()
    with pytest.raises(SchedulerAwayError):
        await lab.scheduler.get(job.job_id)
    with pytest.raises(SchedulerAwayError):
        await lab.scheduler.jobs()
    other = lab.target.job(LIVES)
    with pytest.raises(SchedulerAwayError):
        await lab.scheduler.submit(other)
    with pytest.raises(SchedulerAwayError):
        await lab.eventually(lambda: _asked(lab))
    await lab.target.heal()
    seen = await lab.eventually(lambda: _answered(lab, job.job_id))
    assert seen.state is JobState.RUNNING
    assert lab.target.starts(job) == 1
    assert not [one for one in heard if one.state is JobState.ENDED]
    again = await lab.scheduler.submit(other)
    assert again.job_id == other.job_id
    await lab.until(other, JobState.RUNNING)
    await lab.eventually(lambda: _said(lab.target.starts(other) > 0))
    assert lab.target.starts(other) == 1


async def test_a_stop_while_the_scheduler_is_away_is_refused_or_kept(lab: Try) -> None:
    lab.needs("away")
    job = await lab.running()
    await lab.target.cut()
    with pytest.raises(SchedulerAwayError):
        await lab.eventually(lambda: _asked(lab))
    kept = True
    try:
        await lab.scheduler.stop(job.job_id, grace=1)
    except SchedulerAwayError:
        kept = False
    assert kept or "keeps" in lab.target.lacks
    await lab.target.heal()
    if kept:
        ended = await lab.eventually(lambda: _over(lab, job.job_id))
        assert ended.end.asked
    else:
        seen = await lab.eventually(lambda: _answered(lab, job.job_id))
        assert seen.state is JobState.RUNNING


async def test_a_kept_stop_is_carried_out_by_the_next_launcher(lab: Try) -> None:
    lab.needs("away")
    lab.needs("keeps")
    job = await lab.running()
    await lab.target.cut()
    with pytest.raises(SchedulerAwayError):
        await lab.eventually(lambda: _asked(lab))
    await lab.scheduler.stop(job.job_id, grace=1)
    await lab.adapters.pop().aclose()
    await lab.target.heal()
    await lab.start()
    ended = await lab.eventually(lambda: _over(lab, job.job_id))
    assert ended.end.asked


async def test_a_launcher_starts_while_the_scheduler_is_away(lab: Try) -> None:
    lab.needs("away")
    job = await lab.running()
    await lab.adapters.pop().aclose()
    await lab.target.cut()
    await lab.start()
    with pytest.raises(SchedulerAwayError):
        await lab.scheduler.jobs()
    await lab.target.heal()
    seen = await lab.eventually(lambda: _answered(lab, job.job_id))
    assert seen.state is JobState.RUNNING


async def test_a_missing_image_or_environment_is_the_reason(lab: Try) -> None:
    lab.needs("image")
    job = await lab.target.missing(lab.target.job())
    try:
        await lab.scheduler.submit(job)
    except SubmitRefusedError as error:
        assert error.reason is Reason.IMAGE_UNAVAILABLE  # noqa: PT017 - either is right: refused or ended
        return
    ended = await lab.until(job, JobState.ENDED)
    assert ended.end is not None
    assert ended.end.image_unavailable
    assert ended.end.text


async def test_a_runtime_that_it_has_not_got_is_refused(lab: Try) -> None:
    job = lab.target.job()
    with pytest.raises(SubmitRefusedError):
        await lab.scheduler.submit(replace(job, process=None, container=None, vm=None))


async def _said(value: Any) -> Any:
    return value


async def _gone(lab: Try, job_id: str) -> bool:
    return await lab.scheduler.get(job_id) is None


async def _over(lab: Try, job_id: str) -> Any:
    seen = await _answered(lab, job_id)
    return seen if seen is not None and seen.state is JobState.ENDED else None


async def _asked(lab: Try) -> None:
    await lab.scheduler.capacity()


async def _answered(lab: Try, job_id: str) -> Any:
    try:
        await lab.scheduler.capacity()
        return await lab.scheduler.get(job_id)
    except SchedulerAwayError:
        return None
