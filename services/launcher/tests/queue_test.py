import asyncio

import pytest

from datalabs_contracts.labs import Fit, LabState, LaunchBody, Reason
from datalabs_contracts.problems import ProblemCode, ProblemError

from .conftest import ADA, ADMIN, MakeRig, Rig

READY, QUEUED = LabState.READY, LabState.QUEUED


async def test_what_does_not_fit_waits_with_its_place_and_without_its_quota(make_rig: MakeRig) -> None:
    rig = await make_rig()
    rig.resize(1.0)
    running = [await rig.launch() for _ in range(2)]
    for record in running:
        await rig.until(record.id, READY)
    waiting = [await rig.launch() for _ in range(2)]
    await rig.eventually(lambda: _position(rig, waiting[1].id, 2))
    first = await rig.lab(waiting[0].id)
    assert (first.state, first.queue_position) == (QUEUED, 1)
    assert first.progress_text == "Needs 0.5 cores on one node; the largest free is 0"
    await rig.eventually(lambda: _reserved(rig, {record.id for record in running}))
    rig.scheduler.end(running[0].id, exit_code=0)
    await rig.until(waiting[0].id, READY)
    await rig.eventually(lambda: _position(rig, waiting[1].id, 1))
    assert (waiting[0].id, 1) in rig.neighbours.reserved


async def test_places_are_told_only_when_they_change(rig: Rig) -> None:
    rig.resize(0.5)
    await rig.until((await rig.launch()).id, READY)
    record = await rig.launch()
    await rig.eventually(lambda: _position(rig, record.id, 1))
    before = await rig.facts(record.id)
    for _ in range(3):
        await rig.launcher.admission.round()
    assert await rig.facts(record.id) == before


async def test_quota_is_refused_at_once_and_leaves_nothing(rig: Rig) -> None:
    rig.neighbours.max_labs = 1
    await rig.launch()
    with pytest.raises(ProblemError) as refusal:
        await rig.launch()
    assert refusal.value.code is ProblemCode.QUOTA_EXCEEDED
    assert len([fact for fact in await rig.facts() if fact == "queued"]) == 1
    await rig.launch(owner=ADMIN)


async def test_a_queued_lab_over_its_owners_limit_waits_and_stops_nobody(rig: Rig) -> None:
    rig.resize(0.5)
    await rig.until((first := await rig.launch()).id, READY)
    second = await rig.launch()
    await rig.eventually(lambda: _position(rig, second.id, 1))
    rig.neighbours.max_labs = 0
    rig.neighbours.reserved.clear()
    other = await rig.launch(owner=ADMIN)
    rig.scheduler.end(first.id, exit_code=0)
    await rig.until(other.id, READY)
    waiting = await rig.lab(second.id)
    assert waiting.state is QUEUED
    assert "limit" in waiting.progress_text


async def test_only_so_many_labs_of_one_person_wait(make_rig: MakeRig) -> None:
    rig = await make_rig(max_queued=2)
    rig.resize(0.5)
    await rig.until((await rig.launch()).id, READY)
    for place in (1, 2):
        record = await rig.launch()
        await rig.eventually(lambda record=record, place=place: _position(rig, record.id, place))
    with pytest.raises(ProblemError) as refusal:
        await rig.launch()
    assert refusal.value.code is ProblemCode.TOO_MANY_QUEUED
    assert len(rig.neighbours.reserved) == 1


async def test_the_queue_has_a_deadline(make_rig: MakeRig) -> None:
    rig = await make_rig(queue_timeout=0.3)
    rig.resize(0.5)
    await rig.until((await rig.launch()).id, READY)
    ended = await rig.until((await rig.launch()).id, LabState.FAILED)
    assert ended.reason is Reason.NO_CAPACITY


async def test_two_clicks_are_one_lab(rig: Rig) -> None:
    clicks = await asyncio.gather(*(rig.launch(key="click") for _ in range(6)))
    assert len({record.id for record in clicks}) == 1
    await rig.until(clicks[0].id, READY)
    assert rig.scheduler.starts.total() == 1
    assert len(rig.neighbours.reserved) == 1
    assert (await rig.facts()).count("queued") == 1
    again = await rig.launch(key="click")
    assert again.id == clicks[0].id


async def test_a_key_belongs_to_one_body_and_one_person(rig: Rig) -> None:
    record = await rig.launch(key="click")
    with pytest.raises(ProblemError) as refusal:
        await rig.launch(key="click", size="large")
    assert refusal.value.code is ProblemCode.IDEMPOTENCY_MISMATCH
    other = await rig.launch(key="click", owner=ADMIN)
    assert other.id != record.id


async def test_a_silent_cluster_means_wait(rig: Rig) -> None:
    rig.resize(32)
    rig.scheduler.away = True
    record = await rig.launch()
    await rig.eventually(lambda: _text(rig, record.id, "does not answer"))
    rig.scheduler.away = False
    rig.launcher.admission.wake.set()
    await rig.until(record.id, READY)


async def test_preflight_says_what_a_launch_would_meet(rig: Rig) -> None:
    preflight = rig.launcher.launches.preflight
    before = await preflight(LaunchBody(datalab="stub"), ADA)
    assert (before.fit, before.expected_seconds) == (Fit.NOW, None)
    assert before.notices == ["process labs share this machine"]
    record = await rig.until((await rig.launch()).id, READY)
    await rig.launcher.background.idle()
    after = await preflight(LaunchBody(datalab="stub"), ADA)
    assert after.expected_seconds is not None
    assert record.ready_at is not None
    timeline = await rig.launcher.views.timeline(record, None)
    queued = next(phase.seconds for phase in timeline.phases if phase.name == "queued")
    took = (record.ready_at - record.requested_at).total_seconds()
    assert after.expected_seconds == pytest.approx(took - queued, abs=0.01), "it would not wait now"
    assert set(after.expected_phases) >= {"starting", "probing"}
    assert not {"queued", "environment"} & set(after.expected_phases)
    assert (await preflight(LaunchBody(datalab="stub", size="huge"), ADA)).fit is Fit.NEVER
    rig.neighbours.max_labs = 1
    assert (await preflight(LaunchBody(datalab="stub"), ADA)).fit is Fit.OVER_LIMIT
    rig.neighbours.down.add("accounting")
    assert (await preflight(LaunchBody(datalab="stub"), ADA)).limits is None


async def _position(rig: Rig, lab_id: str, place: int) -> bool:
    return (await rig.lab(lab_id)).queue_position == place


async def _reserved(rig: Rig, lab_ids: set[str]) -> bool:
    return {lab_id for lab_id, _ in rig.neighbours.reserved} == lab_ids


async def _text(rig: Rig, lab_id: str, words: str) -> bool:
    return words in (await rig.lab(lab_id)).progress_text
