import asyncio
import json
from pathlib import Path

import pytest

from datalabs_contracts.datalabs import IdlePolicy, Runtime
from datalabs_contracts.labs import Interest, LabState, Reason
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_launcher.placement import SCRATCH, TOKEN_NAME
from datalabs_launcher.scheduler import EnvironmentProgress
from datalabs_launcher.store import attempts, labs
from datalabs_testing.clock import FakeClock

from .conftest import SITE, MakeRig, Rig
from .fake_scheduler import (
    Breaks,
    CrashesAtOnce,
    FakeScheduler,
    LosesReply,
    NeverAnswers,
    NeverStarts,
    Refuses,
)

QUEUED, PREPARING, STARTING = LabState.QUEUED, LabState.PREPARING, LabState.STARTING
READY, STOPPED, FAILED = LabState.READY, LabState.STOPPED, LabState.FAILED


async def test_a_launch_becomes_ready_and_is_told_step_by_step(rig: Rig) -> None:
    record = await rig.launch()
    assert record.state is QUEUED
    ready = await rig.until(record.id, READY)
    assert ready.host == "127.0.0.1"
    assert ready.started_at is not None
    assert ready.expires_at is not None
    assert await rig.facts(record.id) == ["queued", "preparing", "starting", "progressed", "ready"]
    assert [lab.revision for lab in await rig.told(record.id)] == [1, 2, 3, 4, 5]


async def test_the_phases_of_the_timeline_are_the_launch(rig: Rig) -> None:
    ready = await rig.until((await rig.launch()).id, READY)
    timeline = await rig.launcher.views.timeline(ready, None)
    names = [phase.name for phase in timeline.phases]
    assert names == ["queued", "volumes", "environment", "placing", "starting", "probing"]
    assert sum(phase.seconds for phase in timeline.phases) == pytest.approx(timeline.seconds, rel=0.01)
    assert timeline.trace_id == "0af7651916cd43dd8448eb211c80319c"
    starting = timeline.phases[4]
    assert [step.name for step in starting.steps] == ["sandbox"]


async def test_the_job_carries_what_a_lab_gets(rig: Rig) -> None:
    ready = await rig.until((await rig.launch(parameters={"of": "moon"}, collections=["iers"])).id, READY)
    job = rig.scheduler.newest(ready.id).job
    assert job.job_id == f"lab-{ready.id}-01"
    assert job.environment["DATALABS_LAB_ID"] == ready.id
    assert job.environment["DATALABS_API_URL"] == "http://localhost:8080/api/v1"
    assert job.environment["DATALABS_TOKEN_FILE"] == f"{SCRATCH}/{TOKEN_NAME}"
    assert job.environment["IF_main_port"] == job.environment["DATALABS_PORT"] == str(job.port)
    assert job.environment["TRACEPARENT"].startswith("00-0af7651916cd43dd8448eb211c80319c-")
    assert job.origin == f"http://{ready.id}.localhost:8080"
    assert job.lab_secret == SITE.lab_secret(ready.id, 1)
    assert rig.launcher.views.route(ready).open_path == "/lab?of=moon"


async def test_the_token_file_is_the_labs_alone(rig: Rig, tmp_path: Path) -> None:
    ready = await rig.until((await rig.launch()).id, READY)
    file = tmp_path / ready.id / "scratch" / TOKEN_NAME
    assert file.stat().st_mode & 0o777 == 0o600
    header, payload, signature = file.read_text().split(".")
    assert all((header, payload, signature))


async def test_a_batch_lab_is_ready_when_it_runs_and_completes(rig: Rig) -> None:
    record = await rig.launch("report")
    ready = await rig.until(record.id, READY)
    assert ready.ready_at == ready.started_at
    rig.scheduler.end(record.id, exit_code=0)
    ended = await rig.until(record.id, STOPPED)
    assert (ended.reason, ended.exit_code) == (Reason.COMPLETED, 0)
    assert ended.last_lines == ["starting", "listening"]


async def test_a_batch_lab_that_fails_has_its_exit_code(rig: Rig) -> None:
    record = await rig.launch("report")
    await rig.until(record.id, READY)
    rig.scheduler.end(record.id, exit_code=7)
    ended = await rig.until(record.id, FAILED)
    assert (ended.reason, ended.exit_code) == (Reason.CRASHED, 7)


async def test_a_batch_lab_that_is_over_before_anybody_looked_was_ready_all_the_same(
    make_rig: MakeRig,
) -> None:
    rig = await make_rig(CrashesAtOnce())
    record = await rig.launch("report")
    ended = await rig.until(record.id, FAILED)
    assert ended.ready_at is not None
    assert "ready" in await rig.facts(record.id)


async def test_a_lab_that_exits_at_once_crashed(make_rig: MakeRig) -> None:
    rig = await make_rig(CrashesAtOnce())
    ended = await rig.until((await rig.launch()).id, FAILED)
    assert (ended.reason, ended.exit_code) == (Reason.CRASHED, 3)
    assert ended.last_lines == ["Traceback", "ImportError: nothing there"]
    assert "exit code 3" in ended.message


async def test_out_of_memory_is_told_from_a_crash(rig: Rig) -> None:
    record = await rig.launch()
    await rig.until(record.id, READY)
    rig.scheduler.end(record.id, exit_code=None, signal=9, out_of_memory=True)
    ended = await rig.until(record.id, FAILED)
    assert (ended.reason, ended.signal) == (Reason.OUT_OF_MEMORY, 9)


async def test_an_interactive_lab_shut_down_from_inside_completed(rig: Rig) -> None:
    record = await rig.launch()
    await rig.until(record.id, READY)
    rig.scheduler.end(record.id, exit_code=0)
    assert (await rig.until(record.id, STOPPED)).reason is Reason.COMPLETED


async def test_a_lab_that_never_answers_ends_with_its_last_lines(make_rig: MakeRig) -> None:
    clock = FakeClock()
    rig = await make_rig(NeverAnswers(clock.now), clock=clock)
    record = await rig.launch()
    await rig.until(record.id, STARTING)
    await rig.eventually(lambda: _phase_is(rig, record.id, "probing"))
    await rig.pass_time(31)
    ended = await rig.until(record.id, FAILED)
    assert ended.reason is Reason.START_TIMEOUT
    assert ended.last_lines == [f"line {number}" for number in range(280, 300)]
    logs = await rig.launcher.views.logs(ended, None, 1000)
    assert len(logs.lines) == 200
    assert logs.truncated
    assert rig.scheduler.running() == []


async def test_a_job_that_never_starts_times_out(make_rig: MakeRig) -> None:
    clock = FakeClock()
    rig = await make_rig(NeverStarts(clock.now), clock=clock)
    record = await rig.launch()
    await rig.until(record.id, STARTING)
    await rig.pass_time(31)
    assert (await rig.until(record.id, FAILED)).reason is Reason.START_TIMEOUT


async def test_another_process_on_the_labs_port_does_not_make_it_ready(rig: Rig) -> None:
    rig.scheduler.owned = False
    record = await rig.launch()
    await rig.eventually(lambda: _phase_is(rig, record.id, "probing"))
    await asyncio.sleep(0.1)
    assert (await rig.lab(record.id)).state is STARTING
    rig.scheduler.owned = True
    await rig.until(record.id, READY)


async def test_a_lost_reply_makes_no_second_lab(make_rig: MakeRig) -> None:
    rig = await make_rig(LosesReply())
    record = await rig.launch()
    await rig.until(record.id, READY)
    assert rig.scheduler.starts == {f"lab-{record.id}-01": 1}


async def test_what_the_scheduler_refuses_fails_with_its_reason(make_rig: MakeRig) -> None:
    rig = await make_rig(Refuses())
    ended = await rig.until((await rig.launch()).id, FAILED)
    assert (ended.reason, ended.message) == (Reason.IMAGE_UNAVAILABLE, "its environment is broken")


async def test_a_bug_of_ours_ends_a_launch_in_the_end(make_rig: MakeRig) -> None:
    clock = FakeClock()
    rig = await make_rig(Breaks(clock.now), clock=clock)
    record = await rig.launch()
    await rig.until(record.id, LabState.STARTING)
    for _ in range(9):
        await rig.pass_time(11)
    ended = await rig.until(record.id, FAILED)
    assert ended.reason in {Reason.LAUNCHER_ERROR, Reason.START_TIMEOUT}


async def test_volumes_that_cannot_be_made_end_the_launch(rig: Rig) -> None:
    rig.neighbours.volumes_problem = ProblemError(ProblemCode.DISK_FULL, "The disk is full.")
    ended = await rig.until((await rig.launch()).id, FAILED)
    assert (ended.reason, ended.message) == (Reason.DISK_FULL, "The disk is full.")
    rig.neighbours.volumes_problem = ProblemError(ProblemCode.UNKNOWN_COLLECTION, "no such thing")
    assert (await rig.until((await rig.launch()).id, FAILED)).reason is Reason.VOLUME_UNAVAILABLE


async def test_a_storage_that_is_away_is_waited_for(rig: Rig) -> None:
    rig.neighbours.down.add("storage")
    record = await rig.launch()
    await rig.eventually(lambda: _text_has(rig, record.id, "storage"), lambda: rig.lab(record.id))
    rig.neighbours.down.clear()
    await rig.until(record.id, READY)


async def test_a_launch_waits_for_its_environment_and_says_how_far_it_is(rig: Rig) -> None:
    rig.scheduler.gates["report"] = asyncio.Event()
    rig.scheduler.environments["report"] = [
        EnvironmentProgress(ready=False, fraction=0.4, text="Installing 40 of 100 packages"),
        EnvironmentProgress(ready=True, fraction=1.0, text="Ready"),
    ]
    record = await rig.launch("report")
    await rig.eventually(lambda: _text_has(rig, record.id, "40 of 100"))
    waiting = await rig.lab(record.id)
    assert (waiting.state, waiting.phase, waiting.progress_fraction) == (PREPARING, "environment", 0.4)
    rig.scheduler.gates["report"].set()
    ready = await rig.until(record.id, READY)
    timeline = await rig.launcher.views.timeline(ready, None)
    assert {phase.name for phase in timeline.phases} >= {"volumes", "environment", "placing"}


async def test_an_environment_that_fails_ends_its_launch_and_the_next_one_tries_again(rig: Rig) -> None:
    rig.scheduler.environments["report"] = [
        EnvironmentProgress(ready=False, failed=True, fraction=0.2, text="no such package: x")
    ]
    ended = await rig.until((await rig.launch("report")).id, FAILED)
    assert (ended.reason, ended.message) == (Reason.IMAGE_UNAVAILABLE, "no such package: x")
    del rig.scheduler.environments["report"]
    await rig.until((await rig.launch("report")).id, READY)


async def test_silence_is_unreachable_never_dead(make_rig: MakeRig) -> None:
    clock = FakeClock()
    rig = await make_rig(FakeScheduler(clock.now), clock=clock)
    record = await rig.launch()
    await rig.until(record.id, READY)
    rig.scheduler.away = True
    with pytest.raises(Exception, match="took it away"):
        await rig.launcher.watcher.reconcile()
    await clock.advance(20)
    with pytest.raises(Exception, match="took it away"):
        await rig.launcher.watcher.reconcile()
    await rig.until(record.id, LabState.UNREACHABLE)
    await clock.advance(600)
    rig.scheduler.away = False
    await rig.launcher.watcher.reconcile()
    await rig.until(record.id, READY)
    assert rig.scheduler.starts.total() == 1


async def test_a_lost_node_is_unreachable_until_it_is_heard_again(rig: Rig) -> None:
    record = await rig.launch()
    ready = await rig.until(record.id, READY)
    rig.scheduler.lose_node(record.id)
    await rig.until(record.id, LabState.UNREACHABLE)
    rig.scheduler.find_node(record.id)
    assert (await rig.until(record.id, READY)).ready_at == ready.ready_at


async def test_only_operators_launch_where_labs_cannot_be_kept_apart(rig: Rig) -> None:
    rig.scheduler.refusal = "Labs are not kept apart here."
    with pytest.raises(ProblemError, match="not kept apart") as refusal:
        await rig.launch()
    assert refusal.value.code is ProblemCode.FORBIDDEN


async def test_a_version_without_a_runtime_here_is_refused(rig: Rig) -> None:
    rig.scheduler.offered = [Runtime.CONTAINER]
    with pytest.raises(ProblemError) as refusal:
        await rig.launch()
    assert refusal.value.code is ProblemCode.RUNTIME_UNAVAILABLE


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"datalab": "nothing"}, ProblemCode.UNKNOWN_DATALAB),
        ({"version": "9"}, ProblemCode.UNKNOWN_VERSION),
        ({"size": "immense"}, ProblemCode.UNKNOWN_SIZE),
        ({"parameters": {"bad": 1}}, ProblemCode.INVALID_PARAMETERS),
        ({"size": "huge"}, ProblemCode.NEVER_FITS),
    ],
)
async def test_bad_launches_are_refused_and_leave_nothing(
    rig: Rig, body: dict[str, object], code: ProblemCode
) -> None:
    with pytest.raises(ProblemError) as refusal:
        await rig.launch(**body)  # type: ignore[arg-type]
    assert refusal.value.code is code
    assert await rig.facts() == []
    assert rig.neighbours.reserved == {}


async def test_samples_of_running_labs_are_published_and_kept(rig: Rig) -> None:
    record = await rig.launch()
    await rig.until(record.id, READY)
    samples = rig.launcher.samples
    await samples.measure()
    assert rig.published == [], "nobody looks"
    await samples.interest(Interest(owners=["bob"]).model_dump_json().encode())
    await samples.measure()
    assert rig.published == [], "nobody looks at this person's labs"
    await samples.interest(Interest(owners=["ada"]).model_dump_json().encode())
    await samples.measure()
    subject, payload = rig.published[-1]
    assert subject == f"live.lab.{record.id}.sample"
    assert json.loads(payload)["memory_mib"] == 100
    await samples.heard(payload)
    assert samples.of(record.id).samples[-1].cores == 0.25


async def test_unused_labs_end_as_idle_and_used_ones_stay(make_rig: MakeRig) -> None:
    clock = FakeClock()
    rig = await make_rig(FakeScheduler(clock.now), clock=clock)
    rig.neighbours.specification = {"idle": IdlePolicy(minutes=60)}
    record = await rig.launch()
    await rig.until(record.id, READY)
    for _ in range(10):
        await clock.advance(600)
        await rig.launcher.upkeep.look_for_use()
    assert (await rig.lab(record.id)).state is READY
    rig.scheduler.used = False
    for _ in range(10):
        await rig.pass_time(390)
    ended = await rig.until(record.id, STOPPED)
    assert ended.reason is Reason.IDLE
    assert (await rig.facts(record.id)).count("expiring") == 2


async def _phase_is(rig: Rig, lab_id: str, phase: str) -> bool:
    return (await rig.lab(lab_id)).phase == phase


async def _text_has(rig: Rig, lab_id: str, words: str) -> bool:
    return words in (await rig.lab(lab_id)).progress_text


async def test_old_labs_are_deleted_and_then_removed(make_rig: MakeRig) -> None:
    clock = FakeClock()
    rig = await make_rig(FakeScheduler(clock.now), clock=clock)
    record = await rig.launch("report")
    await rig.until(record.id, READY)
    rig.scheduler.end(record.id, exit_code=0)
    await rig.until(record.id, STOPPED)
    await rig.launcher.upkeep.prune()
    assert (await rig.lab(record.id)).deleted_at is None
    await clock.advance(366 * 86_400)
    await rig.launcher.upkeep.prune()
    assert (await rig.facts(record.id))[-1] == "deleted"
    await clock.advance(8 * 86_400)
    await rig.launcher.upkeep.prune()
    async with rig.database.reading() as session:
        assert await labs.get(session, record.id) is None
        assert await attempts.moments(session, record.id, 1) == []


async def test_spans_are_sent_until_the_exporter_had_its_time(make_rig: MakeRig) -> None:
    clock = FakeClock()
    rig = await make_rig(FakeScheduler(clock.now), clock=clock)
    record = await rig.launch()
    await rig.until(record.id, READY)
    await rig.launcher.background.idle()

    async def untraced() -> int:
        async with rig.database.reading() as session:
            return len(await attempts.untraced(session, 10))

    await rig.launcher.upkeep.account_for_all()
    assert await untraced() == 1
    await rig.restart()
    await rig.launcher.upkeep.account_for_all()
    assert await untraced() == 1
    await clock.advance(20)
    await rig.launcher.upkeep.account_for_all()
    assert await untraced() == 0
