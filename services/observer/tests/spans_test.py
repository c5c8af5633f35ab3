import asyncio
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import pytest

from datalabs_contracts.observations import Span, TraceQuery, TracesQuery
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_observer.models import KeptSpan, Shelf
from datalabs_observer.spans import Spans
from datalabs_observer.store import Store
from datalabs_runtime.database import Database
from datalabs_testing.clock import FakeClock

TRACE = "0af7651916cd43dd8448eb211c80319c"
OTHER = "4bf92f3577b34da6a3ce929d0e0e4736"


def kept(
    number: int, at: datetime, *, trace: str = TRACE, joins: str | None = None, **changes: Any
) -> KeptSpan:
    start_ns = int(at.timestamp() * 1000) * 1_000_000 + number * 1_000_000
    lab_id = changes.pop("lab_id", None)
    whole: dict[str, Any] = {
        "trace_id": trace,
        "span_id": f"{number + 1:016x}",
        "parent_id": f"{number:016x}" if number else None,
        "joins": joins,
        "name": f"step {number}",
        "kind": "internal",
        "service": "launcher",
        "start_ns": start_ns,
        "end_ns": start_ns + 500_000_000,
        "status": "unset",
        "status_message": "",
        "attributes": {"n": number} | ({"datalabs.lab.id": lab_id} if lab_id else {}),
        "events": [],
        "bytes": 1000,
    }
    return KeptSpan(**whole | changes)


async def test_a_trace_is_given_oldest_first_and_page_by_page(spans: Spans, clock: FakeClock) -> None:
    sent = [kept(number, clock.now()) for number in range(7)]
    assert spans.take(reversed(sent)) == 0
    await spans.drain()
    seen: list[Span] = []
    cursor = None
    while True:
        page = await spans.trace(TraceQuery(trace_id=TRACE, limit=3, cursor=cursor))
        seen += page.items
        cursor = page.next
        if cursor is None:
            break
    assert [one.model_dump() for one in seen] == [
        {key: value for key, value in asdict(one).items() if key not in {"joins", "bytes"}} for one in sent
    ]


async def test_who_asks_is_told_of_what_came_just_now(spans: Spans, clock: FakeClock) -> None:
    for number in range(5):
        spans.take([kept(number, clock.now())])
        assert len((await spans.trace(TraceQuery(trace_id=TRACE))).items) == number + 1
        (summary,) = (await spans.traces(TracesQuery())).items
        assert summary.spans == number + 1


async def test_an_unknown_trace_is_not_found(spans: Spans) -> None:
    with pytest.raises(ProblemError) as refusal:
        await spans.trace(TraceQuery(trace_id=OTHER))
    assert refusal.value.code is ProblemCode.NOT_FOUND


async def test_the_same_span_again_changes_nothing(spans: Spans, db: Database, clock: FakeClock) -> None:
    for _ in range(3):
        spans.take([kept(0, clock.now()), kept(0, clock.now()), kept(1, clock.now())])
        await spans.drain()
    assert len((await spans.trace(TraceQuery(trace_id=TRACE))).items) == 2
    (summary,) = (await spans.traces(TracesQuery())).items
    assert summary.spans == 2
    async with db.reading() as session:
        assert await Store(session).shelf(Shelf.SPANS) == 2000


async def test_visits_join_the_trace_of_their_launch(spans: Spans, clock: FakeClock) -> None:
    visit = kept(3, clock.now(), trace=OTHER, joins=TRACE, parent_id=None, service="edge")
    spans.take([kept(0, clock.now()), visit])
    await spans.drain()
    items = (await spans.trace(TraceQuery(trace_id=TRACE))).items
    assert [one.service for one in items] == ["launcher", "edge"]
    assert len((await spans.trace(TraceQuery(trace_id=OTHER))).items) == 1


async def test_the_summary_has_the_root_whenever_it_comes(spans: Spans, clock: FakeClock) -> None:
    late_root = kept(0, clock.now(), name="click", service="dashboard", lab_id="abcdefghjk")
    for one in (kept(2, clock.now(), status="error"), kept(1, clock.now()), late_root, kept(3, clock.now())):
        spans.take([one])
        await spans.drain()
    (summary,) = (await spans.traces(TracesQuery())).items
    assert (summary.name, summary.service, summary.lab_id) == ("click", "dashboard", "abcdefghjk")
    assert (summary.spans, summary.errors, summary.seconds) == (4, 1, 0.503)
    assert summary.started_at == clock.now()


async def test_traces_are_listed_newest_first_with_filters(spans: Spans, clock: FakeClock) -> None:
    began = clock.now()
    for number in range(5):
        trace = f"{number + 1:032x}"
        changes: dict[str, Any] = {"status": "error"} if number == 3 else {}
        lab_id = "abcdefghjk" if number == 2 else None
        if number == 4:
            start_ns = int((began + timedelta(minutes=4)).timestamp()) * 10**9
            changes["end_ns"] = start_ns + 90 * 10**9
        spans.take([kept(0, began + timedelta(minutes=number), trace=trace, lab_id=lab_id, **changes)])
    await spans.drain()

    async def listed(**filters: Any) -> list[int]:
        found: list[int] = []
        cursor = None
        while True:
            page = await spans.traces(TracesQuery(limit=2, cursor=cursor, **filters))
            found += [int(one.trace_id, 16) for one in page.items]
            cursor = page.next
            if cursor is None:
                return found

    assert await listed() == [5, 4, 3, 2, 1]
    assert await listed(errors_only=True) == [4]
    assert await listed(lab_id="abcdefghjk") == [3]
    assert await listed(min_seconds=60) == [5]
    assert await listed(min_seconds=1e300) == []


async def test_traces_are_found_by_a_span_of_theirs(spans: Spans, clock: FakeClock) -> None:
    launch, visits = "1" * 32, ["2" * 32, "3" * 32]
    spans.take(
        [
            kept(0, clock.now(), trace=launch, name="ingress", service="edge"),
            kept(1, clock.now(), trace=launch, name="launch", service="datalabs-launcher"),
            *(kept(0, clock.now(), trace=trace, name="ingress", service="edge") for trace in visits),
        ]
    )
    await spans.drain()

    async def listed(**filters: Any) -> list[str]:
        return sorted(one.trace_id for one in (await spans.traces(TracesQuery(**filters))).items)

    assert await listed() == [launch, *visits]
    assert await listed(name="launch") == [launch]
    assert await listed(service="edge") == [launch, *visits]
    assert await listed(service="datalabs-launcher") == [launch]
    assert await listed(service="edge", name="launch") == []
    assert await listed(name="launc%") == []


async def test_old_traces_are_deleted_with_their_spans(spans: Spans, db: Database, clock: FakeClock) -> None:
    spans.take([kept(0, clock.now()), kept(1, clock.now())])
    await clock.advance(timedelta(days=10))
    spans.take([kept(0, clock.now(), trace=OTHER)])
    await spans.drain()
    await clock.advance(timedelta(days=5))
    assert await spans.tidy(max_age=timedelta(days=14), max_bytes=10**9) == 1
    with pytest.raises(ProblemError):
        await spans.trace(TraceQuery(trace_id=TRACE))
    assert await spans.trace(TraceQuery(trace_id=OTHER))
    async with db.reading() as session:
        assert await Store(session).shelf(Shelf.SPANS) == 1000


async def test_the_oldest_go_when_it_is_too_much(spans: Spans, clock: FakeClock) -> None:
    for number in range(450):
        at = clock.now() + timedelta(seconds=number)
        spans.take([kept(0, at, trace=f"{number + 1:032x}")])
    await spans.drain()
    assert await spans.tidy(max_age=timedelta(days=14), max_bytes=100_000) == 400
    assert await spans.tidy(max_age=timedelta(days=14), max_bytes=100_000) == 0
    newest = (await spans.traces(TracesQuery(limit=1))).items[0]
    assert int(newest.trace_id, 16) == 450


async def test_a_full_queue_drops_and_counts_and_waits_for_nobody(db: Database, clock: FakeClock) -> None:
    spans = Spans(database=db, clock=clock, capacity=10)
    assert spans.take(kept(number, clock.now()) for number in range(25)) == 15
    await spans.start()
    await spans.drain()
    assert len((await spans.trace(TraceQuery(trace_id=TRACE))).items) == 10
    await spans.aclose()


async def test_spans_wait_while_the_database_is_away(db: Database, clock: FakeClock) -> None:
    spans = Spans(database=db, clock=clock, capacity=10)
    await spans.start()
    url, db.url = db.url, db.url.set(query={**db.url.query, "host": "/nowhere"})
    await db.aclose()
    with pytest.raises(Exception, match="nowhere"):
        await db.start()
    spans.take([kept(0, clock.now())])
    for _ in range(500):
        if clock.sleepers:
            break
        await asyncio.sleep(0.01)
    db.url = url
    await db.start()
    await clock.advance(1)
    async with asyncio.timeout(30):
        await spans.drain()
    assert (await spans.trace(TraceQuery(trace_id=TRACE))).items
    await spans.aclose()
