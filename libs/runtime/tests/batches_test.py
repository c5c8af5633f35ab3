"""A durable consumer read in batches: everything once, in order, by the rules of retries and dead letters."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
import pytest_asyncio
from nats.aio.client import Client
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from datalabs_contracts import events as types
from datalabs_contracts.streams import ACCOUNTING_LEDGER, OBSERVER_HISTORY
from datalabs_runtime import consuming, telemetry
from datalabs_runtime.batches import BatchHandler
from datalabs_runtime.facts import Event, MalformedFactError
from datalabs_runtime.messaging import Messaging
from datalabs_runtime.settings import TelemetrySettings
from datalabs_testing.facts import lab_fact
from datalabs_testing.platform import Platform
from datalabs_testing.waiting import eventually

LAB = "aaaaaaaaaa"


@pytest_asyncio.fixture
async def launcher(platform: Platform) -> AsyncIterator[Messaging]:
    messaging = platform.messaging("launcher")
    await messaging.start()
    yield messaging
    await messaging.aclose()


async def tell(launcher: Messaging, *numbers: int) -> None:
    for number in numbers:
        headers = {"ce-id": str(number), "ce-type": types.LAB_READY.type, "ce-time": "2026-11-02T09:00:00Z"}
        await launcher.jetstream.publish(
            f"events.lab.{LAB}.ready", b'{"n": %d}' % number, headers=headers, stream="EVENTS"
        )


async def history(platform: Platform, handler: BatchHandler) -> Messaging:
    observer = platform.messaging("observer")
    observer.consume_batches(OBSERVER_HISTORY, handler)
    await observer.start()
    return observer


async def until_acknowledged(topology: Client) -> None:
    async def acknowledged() -> bool:
        info = await topology.jetstream().consumer_info("EVENTS", OBSERVER_HISTORY.name)
        return (info.num_pending, info.num_ack_pending) == (0, 0)

    await eventually(acknowledged)


class Keeper:
    """Keeps what it is given, batch by batch."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    async def __call__(self, events: list[Event]) -> None:
        self.batches.append([event.id for event in events])

    @property
    def ids(self) -> list[str]:
        return [one for batch in self.batches for one in batch]


def ids(*numbers: int) -> list[str]:
    return [str(number) for number in numbers]


async def test_what_comes_at_the_same_time_is_handled_together_and_acknowledged(
    platform: Platform, launcher: Messaging, topology: Client
) -> None:
    kept = Keeper()
    await tell(launcher, *range(40))
    await history(platform, kept)
    await eventually(lambda: len(kept.ids) == 40)
    await tell(launcher, 40)
    await eventually(lambda: len(kept.ids) == 41)
    assert kept.ids == ids(*range(41))
    assert [len(batch) for batch in kept.batches] == [40, 1]
    await until_acknowledged(topology)


async def test_a_backlog_is_read_in_batches_of_bounded_size(
    platform: Platform, launcher: Messaging, topology: Client
) -> None:
    kept = Keeper()
    observer = platform.messaging("observer")
    observer.consume_batches(OBSERVER_HISTORY, kept, most=16)
    await tell(launcher, *range(70))
    await observer.start()
    await eventually(lambda: len(kept.ids) == 70)
    assert kept.ids == ids(*range(70))
    assert max(len(batch) for batch in kept.batches) == 16
    await until_acknowledged(topology)


async def test_a_fact_is_handed_over_unread_and_whole(platform: Platform, launcher: Messaging) -> None:
    seen: list[Event] = []

    async def keep(events: list[Event]) -> None:
        seen.extend(events)

    await history(platform, keep)
    await launcher.jetstream.publish(f"events.lab.{LAB}.ready", b"\xff not json", stream="EVENTS")
    await tell(launcher, 7)
    await eventually(lambda: len(seen) == 2)
    odd, good = seen
    assert (odd.raw, odd.type, odd.entity, odd.fact) == (b"\xff not json", None, "lab", "ready")
    assert (good.raw, good.data, good.type, good.entity_id) == (b'{"n": 7}', None, types.LAB_READY, LAB)
    assert (good.deliveries, good.sequence) == (1, odd.sequence + 1)


async def test_one_hopeless_fact_spoils_no_other_and_becomes_a_dead_letter(
    platform: Platform, launcher: Messaging, topology: Client
) -> None:
    kept = Keeper()
    broken = True

    async def keep(events: list[Event]) -> None:
        if broken and any(event.id == "2" for event in events):
            raise MalformedFactError("no such column")
        await kept(events)

    await tell(launcher, 1, 2, 3)
    observer = await history(platform, keep)
    await until_acknowledged(topology)
    assert kept.batches == [["1"], ["3"]]
    letter = await topology.jetstream().get_last_msg("DEAD_LETTERS", "dead.observer-history")
    assert letter.headers is not None
    assert letter.headers[consuming.HEADER_DEAD_ERROR] == "MalformedFactError: no such column"
    broken = False
    await observer.replay(letter.headers, letter.data or b"")
    assert kept.batches[-1] == ["2"]


@pytest.mark.usefixtures("quick")
async def test_what_fails_comes_again(platform: Platform, launcher: Messaging, topology: Client) -> None:
    kept = Keeper()
    failures = 0

    async def keep(events: list[Event]) -> None:
        nonlocal failures
        if failures < 3:
            failures += 1
            raise ValueError("not yet")
        await kept(events)

    await tell(launcher, 1, 2)
    await history(platform, keep)
    await eventually(lambda: sorted(kept.ids) == ["1", "2"])
    await until_acknowledged(topology)


@pytest.mark.usefixtures("quick")
async def test_while_the_database_is_away_batches_come_again_whole(
    platform: Platform, launcher: Messaging, topology: Client
) -> None:
    kept, tried = Keeper(), Keeper()

    async def keep(events: list[Event]) -> None:
        await tried(events)
        if len(tried.batches) < 9:
            raise ConnectionError
        await kept(events)

    await tell(launcher, 1, 2, 3)
    await history(platform, keep)
    await eventually(lambda: sorted(kept.ids) == ["1", "2", "3"])
    assert tried.batches[0] == ["1", "2", "3"]
    assert min(len(batch) for batch in tried.batches[:8]) == 3  # none was tried alone
    await until_acknowledged(topology)


async def test_a_deleted_consumer_is_made_again_and_nothing_is_missed(
    platform: Platform, launcher: Messaging, topology: Client
) -> None:
    kept = Keeper()
    observer = await history(platform, kept)
    await tell(launcher, 1)
    await eventually(lambda: "1" in kept.ids)
    await topology.jetstream().delete_consumer("EVENTS", OBSERVER_HISTORY.name)
    await tell(launcher, 2)
    await eventually(lambda: "2" in kept.ids)
    assert await observer.check() is None


async def test_reading_goes_on_at_once_after_the_server_was_killed(
    platform: Platform, launcher: Messaging
) -> None:
    kept = Keeper()
    await history(platform, kept)
    await asyncio.to_thread(platform.nats.kill)
    await asyncio.to_thread(platform.nats.start)
    await eventually(lambda: launcher.client.is_connected)
    await tell(launcher, 1)
    await eventually(lambda: "1" in kept.ids, seconds=10)  # far below the pull's own 20 s


async def test_a_batch_in_work_ends_before_the_service_does(
    platform: Platform, launcher: Messaging, topology: Client
) -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()
    kept = Keeper()

    async def keep(events: list[Event]) -> None:
        begun.set()
        await may_end.wait()
        await kept(events)

    observer = await history(platform, keep)
    await tell(launcher, 1)
    async with asyncio.timeout(5):
        await begun.wait()
    await tell(launcher, 2)
    closing = asyncio.ensure_future(observer.aclose())
    await asyncio.sleep(0)
    may_end.set()
    await closing
    assert kept.ids == ["1"]
    await history(platform, kept)
    await eventually(lambda: kept.ids == ["1", "2"], seconds=10)
    await until_acknowledged(topology)


async def test_what_was_fetched_but_not_begun_is_given_back(platform: Platform, launcher: Messaging) -> None:
    kept = Keeper()
    observer = platform.messaging("observer")
    observer.consume_batches(OBSERVER_HISTORY, kept, gather=3600.0)
    await observer.start()
    await tell(launcher, 1)

    async def fetched() -> bool:
        info = await observer.jetstream.consumer_info("EVENTS", OBSERVER_HISTORY.name)
        return bool(info.num_ack_pending)

    await eventually(fetched)
    await observer.aclose()
    assert kept.ids == []
    await history(platform, kept)
    await eventually(lambda: kept.ids == ["1"], seconds=10)  # long before the 30 s of its acknowledgement


async def test_a_slow_batch_is_not_delivered_twice(
    platform: Platform, launcher: Messaging, topology: Client
) -> None:
    js = topology.jetstream()
    config = (await js.consumer_info("EVENTS", OBSERVER_HISTORY.name)).config
    await js.add_consumer("EVENTS", config.evolve(ack_wait=0.5))
    deliveries: list[int] = []

    async def keep(events: list[Event]) -> None:
        await asyncio.sleep(1.2)
        deliveries.extend(event.deliveries for event in events)

    observer = platform.messaging("observer")
    observer.consume_batches(replace(OBSERVER_HISTORY, ack_wait=timedelta(seconds=0.5)), keep)
    await observer.start()
    await tell(launcher, 1, 2)
    await eventually(lambda: deliveries)
    await until_acknowledged(topology)
    assert deliveries == [1, 1]


async def test_a_traced_fact_has_its_span_though_it_is_handled_with_others(
    platform: Platform, launcher: Messaging
) -> None:
    exporter = InMemorySpanExporter()
    running = telemetry.setup("accounting", TelemetrySettings(), exporter=exporter)
    kept = Keeper()
    accounting = platform.messaging("accounting")
    accounting.consume_batches(ACCOUNTING_LEDGER, kept)
    await accounting.start()
    for number, flags in enumerate(("01", "01", "00")):
        headers = {
            "ce-id": str(number),
            "ce-type": types.LAB_READY.type,
            "ce-time": "2026-11-02T09:00:00Z",
            "traceparent": f"00-{number + 1:032x}-{number + 1:016x}-{flags}",
        }
        await launcher.jetstream.publish(f"events.lab.{LAB}.ready", b"{}", headers=headers, stream="EVENTS")
    await eventually(lambda: len(kept.ids) == 3)
    await accounting.aclose()
    running.flush()
    spans = [one for one in exporter.get_finished_spans() if one.name == "accounting-ledger process"]
    running.shutdown()
    telemetry.setup("x", TelemetrySettings(enabled=False))
    assert [(one.context.trace_id, one.parent.span_id) for one in spans if one.context and one.parent] == [
        (1, 1),
        (2, 2),
    ]
    assert [(one.attributes or {})["messaging.message.id"] for one in spans] == ["0", "1"]


async def test_data_that_does_not_fit_is_a_dead_letter_at_once_where_it_is_parsed(
    platform: Platform, launcher: Messaging, topology: Client
) -> None:
    seen: list[Event] = []

    async def keep(events: list[Event]) -> None:
        seen.extend(events)

    accounting = platform.messaging("accounting")
    accounting.consume_batches(ACCOUNTING_LEDGER, keep, parsed=True)
    await accounting.start()
    headers = {"ce-type": types.LAB_READY.type, "ce-time": "2026-11-02T09:00:00Z"}
    good = lab_fact(LAB).model_dump_json().encode()
    for number, body in enumerate((good, b'{"lab": 1}', b"{torn", good)):
        await launcher.jetstream.publish(
            f"events.lab.{LAB}.ready", body, headers=headers | {"ce-id": str(number)}, stream="EVENTS"
        )
    await eventually(lambda: len(seen) == 2)
    assert [event.data for event in seen] == [lab_fact(LAB)] * 2

    async def buried() -> bool:
        return (await topology.jetstream().stream_info("DEAD_LETTERS")).state.messages == 2

    await eventually(buried)
