import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from datalabs_contracts.events import LAB_READY, PERSON_CREATED, EventType
from datalabs_contracts.observations import EventsQuery
from datalabs_contracts.problems import ProblemError
from datalabs_observer.history import History
from datalabs_observer.models import Shelf
from datalabs_observer.store import Store
from datalabs_runtime.database import Database
from datalabs_runtime.messaging import Event
from datalabs_testing.clock import FakeClock

TRACE = "0af7651916cd43dd8448eb211c80319c"


def event(
    number: int, time: datetime, *, of: EventType = LAB_READY, entity_id: str = "abcdefghjk", **data: Any
) -> Event:
    return Event(
        id=f"{number:032x}",
        type=of,
        subject=of.subject(entity_id),
        entity=of.entity,
        entity_id=entity_id,
        fact=of.fact,
        source="/services/launcher",
        time=time,
        revision=1,
        data=None,
        raw=json.dumps({"owner": "hypatia", "revision": number} | data).encode(),
        type_name=of.type,
        headers={"traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "ce-type": of.type},
        sequence=number,
    )


async def all_of(history: History, **filters: Any) -> list[int]:
    found: list[int] = []
    cursor = None
    while True:
        page = await history.page(EventsQuery(limit=3, cursor=cursor, **filters))
        found += [one.sequence for one in page.items]
        cursor = page.next
        if cursor is None:
            return found


async def test_events_are_listed_newest_first_however_they_come(history: History, clock: FakeClock) -> None:
    events = [event(number, clock.now() + timedelta(seconds=number)) for number in range(10)]
    for batch in (events[5:], [*events[:7], *events[3:4]]):
        await history.keep(batch)
    assert await all_of(history) == list(reversed(range(10)))


async def test_an_event_is_kept_whole(history: History, clock: FakeClock) -> None:
    await history.keep([event(7, clock.now(), lab={"last_lines": ["a\0b"]})])
    (stored,) = (await history.page(EventsQuery())).items
    assert stored.type == "org.datalabs.lab.ready.v1"
    assert stored.subject == "events.lab.abcdefghjk.ready"
    assert stored.trace_id == TRACE
    assert stored.time == clock.now()
    assert stored.data["lab"] == {"last_lines": ["a\N{REPLACEMENT CHARACTER}b"]}


@pytest.mark.parametrize(
    ("raw", "data"),
    [
        (b"not json", {"value": "not json"}),
        (b"[1]", {"value": [1]}),
        (b"", {"value": ""}),
        (b"[" * 100_000, {"value": "[" * 100_000}),
        (b"\xff", {"value": "\N{REPLACEMENT CHARACTER}"}),
        (b'{"n": NaN}', {"n": "nan"}),
        (b'{"n": [1e400, 2.5]}', {"n": ["inf", 2.5]}),
        (b'{"t": "\\ud800 \\u00e9 \\u0000"}', {"t": "? \u00e9 \N{REPLACEMENT CHARACTER}"}),
        ('{"t": "\u00e9"}'.encode(), {"t": "\u00e9"}),
    ],
)
async def test_what_no_service_should_say_is_kept_all_the_same(
    history: History, clock: FakeClock, raw: bytes, data: dict[str, Any]
) -> None:
    time = datetime(2026, 11, 2)  # noqa: DTZ001 - that it has no zone is the point
    odd = replace(event(1, clock.now()), id="i" * 300, type=None, type_name="", raw=raw, time=time)
    for _ in range(2):
        await history.keep([odd])
    (stored,) = (await history.page(EventsQuery())).items
    assert stored.data == data
    assert stored.time == datetime(2026, 11, 2, tzinfo=UTC)


async def test_events_of_the_same_moment_are_all_paged(history: History, clock: FakeClock) -> None:
    await history.keep([event(number, clock.now()) for number in range(8)])
    assert sorted(await all_of(history)) == list(range(8))


async def test_filters(history: History, clock: FakeClock) -> None:
    began = clock.now()
    await history.keep([event(1, began)])
    await history.keep([event(2, began + timedelta(hours=1), entity_id="bcdefghjkm", owner="kepler")])
    await history.keep([event(3, began + timedelta(hours=2), of=PERSON_CREATED, entity_id="p1")])
    assert await all_of(history, entity="lab") == [2, 1]
    assert await all_of(history, entity="lab", fact="ready", owner="kepler") == [2]
    assert await all_of(history, entity_id="abcdefghjk") == [1]
    assert await all_of(history, since=began + timedelta(hours=1)) == [3, 2]
    assert await all_of(history, until=began + timedelta(hours=1)) == [1]
    assert await all_of(history, trace_id=TRACE) == [3, 2, 1]
    assert await all_of(history, trace_id="0" * 32) == []


@pytest.mark.parametrize("cursor", ["x", "WyJldmVudHMiLDEwMDAwMDAwMDAwMDAwMDAwMDAsImEiXQ"])
async def test_a_forged_cursor_is_refused(history: History, cursor: str) -> None:
    with pytest.raises(ProblemError) as refusal:
        await history.page(EventsQuery(cursor=cursor))
    assert refusal.value.code == "invalid_cursor"


async def test_old_events_are_deleted(history: History, db: Database, clock: FakeClock) -> None:
    await history.keep([event(1, clock.now())])
    await clock.advance(timedelta(days=2))
    await history.keep([event(2, clock.now())])
    assert await history.tidy(max_age=timedelta(days=1), max_bytes=10**9) == 1
    assert await all_of(history) == [2]
    async with db.reading() as session:
        assert 500 < await Store(session).shelf(Shelf.EVENTS) < 1000


async def test_beyond_the_size_the_oldest_go(history: History, clock: FakeClock) -> None:
    events = [event(number, clock.now() + timedelta(seconds=number)) for number in range(2500)]
    await history.keep(events)
    assert await history.tidy(max_age=timedelta(days=1), max_bytes=1_000_000) == 2000
    assert len(await all_of(history)) == 500
