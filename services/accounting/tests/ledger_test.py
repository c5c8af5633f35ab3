import asyncio
import random
from datetime import datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import DataError, OperationalError

from datalabs_contracts.labs import LabState
from datalabs_contracts.usage import UsageBy, UsageQuery
from datalabs_runtime.identity import Identity

HYPATIA = Identity(username="hypatia")


async def usage(books: Any, owner: str = "hypatia", by: UsageBy = UsageBy.LAB) -> Any:
    return await books.usage.page(UsageQuery(owner=owner, by=by), caller=Identity(username=owner))


async def test_an_end_is_entered_from_the_schedulers_own_times(books: Any) -> None:
    lab = books.ended(books.clock.now() - timedelta(hours=1), 90.25)
    await books.take(lab)
    page = await usage(books)
    (row,) = page.items
    assert (row.lab, row.seconds, row.core_seconds, row.gib_seconds) == (lab.id, 90.25, 45.125, 67.6875)
    assert (row.attempts, row.running, row.size, row.datalab) == (1, False, "small", "jupyterlab")
    assert (row.started_at, row.ended_at) == (lab.started_at, lab.ended_at)
    assert await books.facts() == [f"events.usage.{lab.id}.recorded"]


async def test_a_running_lab_counts_up_to_now(books: Any) -> None:
    lab = books.lab(started_at=books.clock.now())
    await books.take(lab)
    for seconds in (0, 10, 20):
        page = await usage(books)
        assert page.items[0].seconds == seconds
        assert page.items[0].running
        assert page.items[0].ended_at is None
        await books.clock.advance(10)


async def test_a_start_after_its_end_does_not_open_it_again(books: Any) -> None:
    lab = books.ended(books.clock.now(), 60)
    await books.take(lab)
    await books.take(lab.model_copy(update={"state": LabState.READY, "ended_at": None, "revision": 3}))
    await books.clock.advance(3600)
    assert (await usage(books)).total.seconds == 60


async def test_what_never_ran_used_nothing(books: Any) -> None:
    await books.take(books.lab(LabState.STARTING))
    await books.take(books.lab(LabState.FAILED, ended_at=books.clock.now()))
    page = await usage(books)
    assert page.items == []
    assert page.total.seconds == 0
    assert await books.facts() == []


async def test_an_end_before_the_start_counts_as_no_time(books: Any) -> None:
    await books.take(books.ended(books.clock.now(), -5))
    page = await usage(books)
    assert page.total.seconds == 0
    assert page.total.labs == 1


async def test_a_later_revision_corrects_a_running_start(books: Any) -> None:
    lab = books.lab(LabState.STARTING, started_at=books.clock.now() - timedelta(seconds=9), revision=5)
    await books.take(lab)
    await books.take(lab.model_copy(update={"started_at": books.clock.now(), "revision": 6}))
    await books.take(lab.model_copy(update={"revision": 4}))
    assert (await usage(books)).total.seconds == 0


async def test_a_restart_is_a_second_attempt_of_one_lab(books: Any) -> None:
    lab = books.ended(books.clock.now(), 60)
    await books.take(lab)
    again = books.ended(
        books.clock.now() + timedelta(hours=1),
        30,
        id=lab.id,
        attempt=2,
        size="large",
        name="Renamed",
        cores=2,
    )
    await books.take(again)
    page = await usage(books)
    (row,) = page.items
    assert (row.seconds, row.core_seconds, row.attempts, row.labs) == (90, 90, 2, 1)
    assert (row.name, row.size) == ("Renamed", "large")
    sizes = (await usage(books, by=UsageBy.SIZE)).items
    assert [(one.size, one.seconds) for one in sizes] == [("large", 30), ("small", 60)]


async def test_starts_that_come_together_are_written_once_each_and_none_pays_for_anothers_fault(
    books: Any,
) -> None:
    began = books.clock.now()
    labs = [books.lab(started_at=began) for _ in range(5)]
    ended = books.ended(began, 0, id=labs[0].id)
    await books.take(ended)
    odd = books.lab(started_at=began, revision=2**70)
    facts = [(lab, f"start-{lab.id}") for lab in (*labs, odd, *labs)]
    later = labs[1].model_copy(update={"cores": 2.0, "revision": 7})
    taken = await asyncio.gather(
        *(books.take(lab, event_id) for lab, event_id in facts),
        books.take(later, "later"),
        return_exceptions=True,
    )
    assert [type(one) for one in taken if one is not None] == [DataError]
    await books.clock.advance(10)
    running = {row.lab: (row.running, row.core_seconds) for row in (await usage(books)).items}
    assert running == {
        labs[0].id: (False, 0),
        labs[1].id: (True, 20),
        **{lab.id: (True, 5) for lab in labs[2:]},
    }


async def test_starts_that_met_no_database_are_written_when_they_come_again(
    books: Any, platform: Any
) -> None:
    labs = [books.lab(started_at=books.clock.now()) for _ in range(3)]
    await books.take(labs[0], "first")
    await asyncio.to_thread(platform.postgres.kill)
    lost = await asyncio.gather(*(books.take(lab, lab.id) for lab in labs), return_exceptions=True)
    assert {type(error) for error in lost} == {OperationalError}
    await asyncio.to_thread(platform.postgres.start)
    for _ in range(2):
        assert await asyncio.gather(*(books.take(lab, lab.id) for lab in labs)) == [None] * 3
    assert (await usage(books)).total.labs == 3


LIVES = st.lists(
    st.tuples(
        st.integers(min_value=-400_000, max_value=0).map(lambda ms: ms / 1000 * 3),
        st.floats(min_value=0, max_value=300_000, allow_nan=False).map(lambda s: round(s, 6)),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(lives=LIVES, seed=st.integers(), at_once=st.booleans())
async def test_the_ledger_equals_the_lives_whatever_order_the_events_come_in(
    books: Any, lives: list[tuple[float, float]], seed: int, *, at_once: bool
) -> None:
    owner = f"person-{books.lab_id()}"
    events: list[tuple[str, Any]] = []
    for begin, seconds in lives:
        started_at = books.clock.now() + timedelta(seconds=begin)
        ended = books.ended(started_at, seconds, owner=owner)
        running = {"ended_at": None, "reason": None, "started_at": started_at}
        events += [
            (f"{ended.id}-1", books.lab(LabState.STARTING, id=ended.id, owner=owner, revision=2)),
            (f"{ended.id}-2", ended.model_copy(update={"state": LabState.STARTING, "revision": 3} | running)),
            (f"{ended.id}-3", ended.model_copy(update={"state": LabState.READY, "revision": 4} | running)),
            (f"{ended.id}-4", ended),
        ]
    random.Random(seed).shuffle(twice := events * 2)
    if at_once:
        await asyncio.gather(*(books.take(lab, event_id) for event_id, lab in twice))
    else:
        for event_id, lab in twice:
            await books.take(lab, event_id)
    expected = sum((timedelta(seconds=seconds) for _, seconds in lives), timedelta()).total_seconds()
    for by in UsageBy:
        page = await usage(books, owner, by)
        assert page.total.seconds == expected
        assert sum(timedelta(seconds=row.seconds) / timedelta(microseconds=1) for row in page.items) == (
            round(expected * 1e6)
        )
        assert page.total.core_seconds == expected / 2


async def test_days_are_cut_at_midnight_in_utc(books: Any) -> None:
    began = datetime.fromisoformat("2026-03-28T23:59:59.25+00:00")
    await books.take(books.ended(began, 1.5))
    await books.take(books.ended(began, 2 * 86400 + 0.75))
    await books.take(books.ended(datetime.fromisoformat("2026-03-30T00:00:00+00:00"), 86400))
    rows = (await usage(books, by=UsageBy.DAY)).items
    assert [(row.day.isoformat(), row.seconds, row.labs) for row in rows] == [
        ("2026-03-30", 2 * 86400, 2),
        ("2026-03-29", 86400.75, 2),
        ("2026-03-28", 1.5, 2),
    ]
