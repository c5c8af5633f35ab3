"""What holds for ends, logs, secrets, measurements and room on every scheduler."""

import signal
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from datalabs_contracts.labs import NodeState
from datalabs_launcher.ends import KEPT_BYTES, kept_lines
from datalabs_launcher.nomad.readings import MISSED
from datalabs_launcher.scheduler import JobState

from .conftest import Try
from .target import SECRET_NAME, Does

LITERALS = (
    "${attr.unique.hostname}",
    'on ${node.unique.name} in ${NOMAD_TASK_DIR} and ${env["HOME"]}, $${HOME} %{x}',
    "${HOME} <&> \"quoted\" 'too' {{ key }} \\n # é",
)
"""Values that a cluster might read something into."""
FLOOD = 2**20
"""What a launcher is handed at most for 3 MB of log, in characters."""


async def test_an_end_has_its_code_and_the_schedulers_time(lab: Try) -> None:
    lab.needs("commands")
    before = datetime.now(tz=UTC)
    _, good = await lab.ended(Does(seconds=0))
    _, bad = await lab.ended(Does(seconds=0.3, code=7))
    assert good.end is not None
    assert bad.end is not None
    assert (good.end.exit_code, bad.end.exit_code) == (0, 7)
    assert not good.end.asked
    assert not bad.end.asked
    assert not bad.end.out_of_memory
    assert bad.started_at is not None
    assert before < bad.started_at < bad.end.ended_at < datetime.now(tz=UTC)
    assert 0.25 < (bad.end.ended_at - bad.started_at).total_seconds() < 3


async def test_a_batch_job_ends_likewise(lab: Try) -> None:
    lab.needs("batch")
    _, good = await lab.ended(Does(seconds=0.2), batch=True)
    assert good.end is not None
    assert (good.state, good.end.exit_code, good.end.signal) == (JobState.ENDED, 0, None)


async def test_a_signal_is_told(lab: Try) -> None:
    lab.needs("signals")
    _, seen = await lab.ended(Does(seconds=0.1, signal=signal.SIGKILL))
    assert seen.end is not None
    assert seen.end.signal == signal.SIGKILL
    assert not seen.end.out_of_memory
    assert not seen.end.asked


async def test_out_of_memory_is_told_from_a_crash(lab: Try) -> None:
    lab.needs("memory")
    _, seen = await lab.ended(Does(seconds=0.1, eats=True), memory_mib=64)
    assert seen.end is not None
    assert seen.end.out_of_memory
    assert not seen.end.asked


async def test_logs_are_there_after_the_end(lab: Try) -> None:
    lab.needs("commands")
    does = Does(silent=1.2, lines=3, seconds=0)
    job, _ = await lab.ended(does)
    expected = [does.line(number)[: does.width].rstrip() for number in range(3)]

    async def said() -> list[str]:
        lines, more = await lab.scheduler.logs(job.job_id, lines=200)
        assert not more
        return [one.rstrip() for one in lines if one.startswith("line")]

    assert await lab.eventually(said) == expected
    await lab.restart()
    assert await said() == expected


async def test_long_logs_are_cut_to_their_end(lab: Try) -> None:
    lab.needs("commands")
    job, _ = await lab.ended(Does(silent=1.2, lines=1500, width=40, seconds=0))

    async def said() -> Any:
        lines, more = await lab.scheduler.logs(job.job_id, lines=200)
        return (lines, more) if any(one.startswith("line 1499") for one in lines) else None

    lines, more = await lab.eventually(said)
    assert more
    assert len(lines) == 200
    assert [one for one in lines if one.startswith("line 1499")]
    assert not [one for one in lines if one.startswith("line 1200 ")]


async def test_what_ends_at_once_has_its_log_or_says_that_it_may_lack(lab: Try) -> None:
    lab.needs("commands")
    does = Does(lines=1500, width=40, seconds=0)
    job, _ = await lab.ended(does)
    lines, _ = await lab.scheduler.logs(job.job_id, lines=2000)
    whole = [one for one in lines if one.startswith("line")] == [does.line(number) for number in range(1500)]
    assert whole or ("instant" in lab.target.lacks and lines[-1] == MISSED)
    if lab.target.name not in {"nomad-docker", "fake-nomad"}:
        assert MISSED not in lines


async def test_a_flood_of_log_is_bounded_and_its_end_is_kept(lab: Try) -> None:
    lab.needs("commands")
    job, _ = await lab.ended(Does(lines=60, width=50_000, seconds=0))

    async def said() -> Any:
        lines, more = await lab.scheduler.logs(job.job_id, lines=200)
        return (lines, more) if lines else None

    lines, more = await lab.eventually(said)
    assert sum(len(one) for one in lines) <= FLOOD
    kept, cut = kept_lines(lines, lines=200, size=KEPT_BYTES)
    assert cut or more
    assert 0 < sum(len(one) for one in kept) <= KEPT_BYTES


async def test_secrets_are_the_labs_alone(lab: Try) -> None:
    job = await lab.running()
    shown = await lab.target.shown(job)
    assert job.job_id in shown
    assert job.secret_environment[SECRET_NAME] not in shown
    assert job.lab_secret not in shown
    assert job.secret_environment[SECRET_NAME] not in repr(job)


async def test_the_lab_itself_has_its_secrets(lab: Try) -> None:
    lab.needs("secrets")
    job = await lab.running()
    length = len(job.secret_environment[SECRET_NAME])

    async def said() -> bool:
        lines, _ = await lab.scheduler.logs(job.job_id, lines=50)
        return f"secret of {length}" in lines

    assert await lab.eventually(said)


async def test_the_braces_of_a_command_are_its_own(lab: Try) -> None:
    lab.needs("commands")
    job, seen = await lab.ended(Does(braces=True, seconds=0))
    assert seen.end is not None
    assert seen.end.exit_code == 0, seen.end
    if not lab.target.runs_programs:
        return

    async def said() -> bool:
        lines, _ = await lab.scheduler.logs(job.job_id, lines=50)
        return "home %{x}" in lines

    assert await lab.eventually(said)


@pytest.mark.parametrize("text", LITERALS)
async def test_a_variable_reaches_the_lab_as_it_is(lab: Try, text: str) -> None:
    lab.needs("commands")
    job = lab.target.job(does := Does(says="MARK", silent=1.2, seconds=0))
    job = lab.target.runs(replace(job, environment={**job.environment, "MARK": text}), does)
    await lab.scheduler.submit(job)
    seen = await lab.until(job, JobState.ENDED)
    assert seen.end is not None
    assert seen.end.exit_code == 0, seen.end

    async def said() -> list[str]:
        lines, _ = await lab.scheduler.logs(job.job_id, lines=50)
        return [one.rstrip() for one in lines if one.startswith("MARK is ")]

    assert await lab.eventually(said) == [f"MARK is {text}"]


async def test_what_a_lab_uses_is_measured(lab: Try) -> None:
    lab.needs("sample")
    job = await lab.running()

    async def measured() -> Any:
        sample = await lab.scheduler.sample(job.job_id)
        return sample if sample is not None and sample.memory_mib > 0 else None

    sample = await lab.eventually(measured)
    assert sample.lab_id == job.lab_id
    assert (sample.max_cores, sample.max_memory_mib) == (job.cores, job.memory_mib)
    assert 0 <= sample.cores < 4
    assert sample.memory_mib <= job.memory_mib * 2


async def test_machines_and_what_is_taken_of_them_are_known(lab: Try) -> None:
    before = await lab.scheduler.capacity()
    assert before.nodes
    assert before.away == []
    assert lab.target.runtime in before.runtimes
    assert lab.target.runtime in await lab.scheduler.runtimes()
    assert any(node.state is NodeState.READY for node in before.nodes)
    await lab.running()

    async def taken() -> Any:
        now = await lab.scheduler.capacity()
        return now if now.memory_taken_mib > before.memory_taken_mib else None

    after = await lab.eventually(taken)
    assert after.cores_taken - before.cores_taken == 0.5
    assert after.memory_taken_mib - before.memory_taken_mib == lab.target.memory_mib
    assert (after.cores, after.memory_mib) == (before.cores, before.memory_mib)
    assert sum(node.labs for node in after.nodes) == sum(node.labs for node in before.nodes) + 1


async def test_a_start_is_allowed_sooner_or_later(lab: Try) -> None:
    assert await lab.eventually(lab.scheduler.may_start)
    assert isinstance(await lab.scheduler.notices(lab.target.runtime), list)
