"""From a transaction to a handler: outbox, relay, durable consumer, retries, dead letters."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
import pytest_asyncio
from nats.aio.client import Client
from sqlalchemy import text

from datalabs_contracts import events as types
from datalabs_contracts.ids import new_lab_id
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_contracts.streams import ACCOUNTING_LEDGER, OBSERVER_DEAD_LETTERS, OBSERVER_HISTORY
from datalabs_runtime import consuming, outbox, telemetry
from datalabs_runtime.database import Database
from datalabs_runtime.inbox import Inbox
from datalabs_runtime.messaging import Event, Messaging
from datalabs_runtime.outbox import Outbox, OutboxRelay
from datalabs_runtime.tables import ServiceBase
from datalabs_testing.events import EventRecorder, deliver_doubled_and_shuffled, make_event
from datalabs_testing.facts import lab_fact
from datalabs_testing.platform import Platform
from datalabs_testing.plugin import MakeDatabase, MakeProxy
from datalabs_testing.waiting import eventually


class Base(ServiceBase):
    """Tables of a service that has only what all have."""


@dataclass
class Producer:
    database: Database
    messaging: Messaging
    relay: OutboxRelay

    async def say(self, lab_id: str, revision: int, event: types.EventType = types.LAB_READY) -> str:
        async with self.database.transaction() as session:
            return Outbox(Base, "launcher").add(
                session, event, lab_id, lab_fact(lab_id, revision=revision), revision=revision
            )


@pytest_asyncio.fixture
async def launcher(platform: Platform, database: MakeDatabase) -> AsyncIterator[Producer]:
    own = await database("launcher", base=Base)
    messaging = platform.messaging("launcher")
    await messaging.start()
    relay = OutboxRelay(own, Base, messaging)
    await relay.start()
    await relay.lease.wait()
    yield Producer(own, messaging, relay)
    await relay.aclose()
    await messaging.aclose()


async def ledger(platform: Platform, handler: Callable[[Event], Awaitable[None]]) -> Messaging:
    messaging = platform.messaging("accounting")
    messaging.consume(ACCOUNTING_LEDGER, handler)
    await messaging.start()
    return messaging


async def test_a_committed_event_is_published_at_once(launcher: Producer, events: EventRecorder) -> None:
    lab = new_lab_id()
    event_id = await launcher.say(lab, 1)
    event = await events.wait("lab", lab, "ready", seconds=2)
    assert event.id == event_id == event.headers["Nats-Msg-Id"]
    assert event.subject == f"events.lab.{lab}.ready"
    assert event.type is types.LAB_READY
    assert event.data == lab_fact(lab, revision=1)
    assert event.headers["ce-specversion"] == "1.0"
    assert event.headers["ce-type"] == "org.datalabs.lab.ready.v1"
    assert event.headers["ce-source"] == "/services/launcher"
    assert event.headers["correlationid"]


async def test_a_relay_tells_together_what_gathered_until_it_was_calm(
    platform: Platform, database: MakeDatabase, events: EventRecorder
) -> None:
    own, messaging = await database("launcher", base=Base), platform.messaging("launcher")
    await messaging.start()
    asked, calm = asyncio.Event(), asyncio.Event()

    async def until_calm() -> None:
        asked.set()
        await calm.wait()

    relay = OutboxRelay(own, Base, messaging, calm=until_calm)
    await relay.start()
    try:
        producer = Producer(own, messaging, relay)
        await asked.wait()
        labs = [new_lab_id() for _ in range(3)]
        for lab in labs:
            await producer.say(lab, 1)
        assert not any(events.of("lab", lab) for lab in labs)
        calm.set()
        for lab in labs:
            await events.wait("lab", lab, "ready", seconds=2)
        await until_marked(producer)
    finally:
        await relay.aclose()
        await messaging.aclose()


async def until_marked(launcher: Producer) -> None:
    async def marked() -> bool:
        async with launcher.database.reading() as session:
            return not (await session.execute(text("SELECT 1 FROM outbox WHERE published_at IS NULL"))).all()

    await eventually(marked)


async def test_what_is_rolled_back_is_never_published(launcher: Producer, events: EventRecorder) -> None:
    async def fail() -> None:
        async with launcher.database.transaction() as session:
            Outbox(Base, "launcher").add(
                session, types.LAB_READY, "aaaaaaaaaa", lab_fact("aaaaaaaaaa"), revision=1
            )
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    lab = new_lab_id()
    await launcher.say(lab, 1)
    await events.wait("lab", lab, "ready")
    assert events.of("lab", "aaaaaaaaaa") == []


async def test_trace_correlation_and_cause_travel_with_the_event(
    launcher: Producer, events: EventRecorder
) -> None:
    lab = new_lab_id()
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    telemetry.causation.set("cause")
    with telemetry.continued({"traceparent": parent, "correlationid": "together"}):
        await launcher.say(lab, 1)
    headers = (await events.wait("lab", lab, "ready")).headers
    assert headers["traceparent"] == parent
    assert (headers["correlationid"], headers["causationid"]) == ("together", "cause")


async def test_late_commits_with_low_ids_are_published(launcher: Producer, events: EventRecorder) -> None:
    early, late = new_lab_id(), new_lab_id()
    async with launcher.database.transaction() as session:
        Outbox(Base, "launcher").add(session, types.LAB_READY, late, lab_fact(late), revision=1)
        await session.flush()  # takes the lower id, commits second
        await launcher.say(early, 1)
        await events.wait("lab", early, "ready")
    await events.wait("lab", late, "ready")


async def test_one_entitys_events_are_published_in_the_order_of_revisions(
    launcher: Producer, events: EventRecorder
) -> None:
    labs = [new_lab_id() for _ in range(5)]
    async with launcher.database.transaction() as session:
        for revision in (3, 1, 4, 2):
            for lab in labs:
                Outbox(Base, "launcher").add(
                    session, types.LAB_PROGRESSED, lab, lab_fact(lab, revision=revision), revision=revision
                )
    await eventually(lambda: len(events.seen) == 20)
    for lab in labs:
        assert [event.revision for event in events.of("lab", lab)] == [1, 2, 3, 4]


async def test_an_event_published_but_not_marked_is_stored_once(
    launcher: Producer, events: EventRecorder, topology: Client
) -> None:
    lab = new_lab_id()
    await launcher.say(lab, 1)
    await events.wait("lab", lab, "ready")
    async with launcher.database.transaction() as session:  # as after a kill between publishing and marking
        await session.execute(text("UPDATE outbox SET published_at = NULL"))
    await launcher.relay.publish_waiting()
    assert (await topology.jetstream().stream_info("EVENTS")).state.messages == 1


async def test_events_wait_for_the_server_and_none_is_lost(
    platform: Platform, launcher: Producer, topology: Client
) -> None:
    labs = [new_lab_id() for _ in range(20)]
    for lab in labs[:10]:
        await launcher.say(lab, 1)
    await asyncio.to_thread(platform.nats.kill)
    for lab in labs[10:]:
        await launcher.say(lab, 1)
    await asyncio.to_thread(platform.nats.start)

    async def stored() -> bool:
        return (
            topology.is_connected and (await topology.jetstream().stream_info("EVENTS")).state.messages == 20
        )

    await eventually(stored, seconds=20)


async def test_the_relay_goes_on_after_the_database_was_killed(
    platform: Platform, launcher: Producer, events: EventRecorder
) -> None:
    before, after = new_lab_id(), new_lab_id()
    await launcher.say(before, 1)
    await events.wait("lab", before, "ready")
    await asyncio.to_thread(platform.postgres.kill)
    await asyncio.to_thread(platform.postgres.start)
    await launcher.say(after, 1)
    await events.wait("lab", after, "ready", seconds=15)


async def test_only_the_right_model_and_size_get_into_the_outbox(launcher: Producer) -> None:
    async with launcher.database.transaction() as session:
        box = Outbox(Base, "launcher")
        with pytest.raises(TypeError, match="carries PersonFact"):
            box.add(session, types.PERSON_CREATED, "x", lab_fact("aaaaaaaaaa"), revision=1)
        large = lab_fact("aaaaaaaaaa").model_copy(update={"detail": {"text": "x" * outbox.LONGEST_BODY}})
        with pytest.raises(ValueError, match="bytes of data"):
            box.add(session, types.LAB_READY, "aaaaaaaaaa", large, revision=1)


async def test_published_rows_and_old_inbox_entries_are_pruned(
    launcher: Producer, events: EventRecorder
) -> None:
    lab = new_lab_id()
    await launcher.say(lab, 1)
    await events.wait("lab", lab, "ready")
    await until_marked(launcher)
    async with launcher.database.transaction() as session:
        assert await Inbox(Base).first_time(session, "old", "ledger")
        assert await Inbox(Base).first_time(session, "new", "ledger")
        await session.execute(
            text("UPDATE inbox SET handled_at = now() - interval '16 days' WHERE event_id='old'")
        )
        await session.execute(text("UPDATE outbox SET published_at = now() - interval '4 days'"))
        Outbox(Base, "launcher").add(session, types.LAB_READY, lab, lab_fact(lab, revision=2), revision=2)
    await launcher.relay.prune()
    async with launcher.database.reading() as session:
        assert (await session.execute(text("SELECT event_id FROM inbox"))).scalars().all() == ["new"]
        assert (await session.execute(text("SELECT revision FROM outbox"))).scalars().all() == [2]


async def test_the_inbox_lets_an_effect_happen_once(database: MakeDatabase) -> None:
    own = await database("accounting", base=Base)
    effects: list[str] = []

    async def handle(event: Event) -> None:
        async with own.transaction() as session:
            if await Inbox(Base).first_time(session, event.id, "ledger"):
                effects.append(event.id)

    facts = [make_event(types.LAB_READY, lab, lab_fact(lab)) for lab in (new_lab_id() for _ in range(10))]
    for seed in range(3):
        await deliver_doubled_and_shuffled(facts, handle, seed=seed)
    assert sorted(effects) == sorted(event.id for event in facts)


async def test_a_fact_reaches_its_durable_consumer(platform: Platform, launcher: Producer) -> None:
    handled: list[Event] = []

    async def handle(event: Event) -> None:
        handled.append(event)

    lab = new_lab_id()
    await launcher.say(lab, 1)  # before the consumer is there
    accounting = await ledger(platform, handle)
    await launcher.say(lab, 2, types.LAB_PROGRESSED)  # not among its subjects
    await launcher.say(lab, 3, types.LAB_STOPPED)
    await eventually(lambda: len(handled) == 2)
    assert [(event.fact, event.revision, event.deliveries) for event in handled] == [
        ("ready", 1, 1),
        ("stopped", 3, 1),
    ]
    assert await accounting.check() is None


@pytest.mark.usefixtures("quick")
async def test_a_failing_handler_is_tried_again_with_delays(platform: Platform, launcher: Producer) -> None:
    deliveries: list[int] = []

    async def handle(event: Event) -> None:
        deliveries.append(event.deliveries)
        if event.deliveries < 4:
            raise ValueError("not yet")

    await ledger(platform, handle)
    await launcher.say(new_lab_id(), 1)
    await eventually(lambda: len(deliveries) == 4)
    assert deliveries == [1, 2, 3, 4]


@pytest.mark.usefixtures("quick")
async def test_a_hopeless_fact_becomes_a_dead_letter_that_can_be_replayed(
    platform: Platform, launcher: Producer
) -> None:
    handled: list[Event] = []
    letters: list[Event] = []
    broken = True

    async def handle(event: Event) -> None:
        handled.append(event)
        if broken:
            raise ValueError("no such\ncolumn")

    async def keep(letter: Event) -> None:
        letters.append(letter)

    await ledger(platform, handle)
    observer = platform.messaging("observer")
    observer.consume(OBSERVER_DEAD_LETTERS, keep)
    await observer.start()
    lab = new_lab_id()
    event_id = await launcher.say(lab, 1)
    await eventually(lambda: letters)
    assert len(handled) == 6
    (letter,) = letters
    assert letter.id == event_id
    assert letter.type is types.LAB_READY
    assert letter.headers[consuming.HEADER_DEAD_CONSUMER] == "accounting-ledger"
    assert letter.headers[consuming.HEADER_DEAD_SUBJECT] == f"events.lab.{lab}.ready"
    assert letter.headers[consuming.HEADER_DEAD_ERROR] == "ValueError: no such column"
    assert letter.headers[consuming.HEADER_DEAD_DELIVERIES] == "6"
    with pytest.raises(ProblemError, match="no such column"):
        await observer.replay(letter.headers, letter.raw)
    broken = False
    await observer.replay(letter.headers, letter.raw)
    assert handled[-1].id == event_id
    assert handled[-1].data == lab_fact(lab)
    await observer.aclose()


async def test_a_replay_to_a_service_that_is_away_says_so(platform: Platform) -> None:
    observer = platform.messaging("observer")
    await observer.start()
    with pytest.raises(ProblemError) as caught:
        await observer.replay({consuming.HEADER_DEAD_CONSUMER: "accounting-ledger"}, b"{}")
    assert caught.value.code is ProblemCode.SERVICE_UNAVAILABLE


async def publish_raw(messaging: Messaging, lab: str, headers: dict[str, str], body: bytes) -> None:
    await messaging.jetstream.publish(f"events.lab.{lab}.ready", body, headers=headers, stream="EVENTS")


async def test_malformed_data_is_a_dead_letter_at_once(platform: Platform, launcher: Producer) -> None:
    handled: list[Event] = []
    letters: list[Event] = []

    async def handle(event: Event) -> None:
        handled.append(event)

    async def keep(letter: Event) -> None:
        letters.append(letter)

    await ledger(platform, handle)
    observer = platform.messaging("observer")
    observer.consume(OBSERVER_DEAD_LETTERS, keep)
    await observer.start()
    known = {"ce-id": "1", "ce-type": types.LAB_READY.type, "ce-time": "2026-11-02T09:00:00Z"}
    await publish_raw(launcher.messaging, "aaaaaaaaaa", known, b'{"lab": 1}')
    await publish_raw(launcher.messaging, "aaaaaaaaaa", known | {"ce-id": "2"}, b"{torn")
    await publish_raw(launcher.messaging, "aaaaaaaaaa", {}, b"{}")
    await eventually(lambda: len(letters) == 3)
    assert handled == []
    assert {letter.headers[consuming.HEADER_DEAD_DELIVERIES] for letter in letters} == {"1"}


async def test_unknown_types_are_acknowledged_and_given_only_to_who_reads_everything(
    platform: Platform, launcher: Producer
) -> None:
    handled: list[Event] = []
    history: list[Event] = []

    async def handle(event: Event) -> None:
        handled.append(event)

    async def keep(event: Event) -> None:
        history.append(event)

    accounting = await ledger(platform, handle)
    observer = platform.messaging("observer")
    observer.consume(OBSERVER_HISTORY, keep)
    await observer.start()
    headers = {"ce-id": "1", "ce-type": "org.datalabs.lab.ready.v9", "ce-time": "2026-11-02T09:00:00Z"}
    await publish_raw(launcher.messaging, "aaaaaaaaaa", headers, b'{"revision": 7, "new": true}')
    await eventually(lambda: history)
    assert (history[0].type, history[0].type_name) == (None, "org.datalabs.lab.ready.v9")
    assert (history[0].entity, history[0].fact, history[0].revision) == ("lab", "ready", 7)
    assert history[0].data == {"revision": 7, "new": True}
    await until_acknowledged(accounting)
    assert handled == []


async def until_acknowledged(accounting: Messaging) -> None:
    async def acknowledged() -> bool:
        info = await accounting.jetstream.consumer_info("EVENTS", "accounting-ledger")
        return info.num_pending == 0 and info.num_ack_pending == 0

    await eventually(acknowledged)


@pytest.mark.usefixtures("quick")
async def test_a_fault_of_the_database_is_no_dead_letter(platform: Platform, launcher: Producer) -> None:
    deliveries = 0

    async def handle(_: Event) -> None:
        nonlocal deliveries
        deliveries += 1
        if deliveries < 12:
            raise ProblemError(ProblemCode.SERVICE_UNAVAILABLE)

    await ledger(platform, handle)
    await launcher.say(new_lab_id(), 1)
    await eventually(lambda: deliveries == 12)


async def test_a_deleted_consumer_is_made_again_and_nothing_is_missed(
    platform: Platform, launcher: Producer, topology: Client
) -> None:
    handled: list[int] = []

    async def handle(event: Event) -> None:
        handled.append(event.revision)

    accounting = await ledger(platform, handle)
    lab = new_lab_id()
    await launcher.say(lab, 1)
    await eventually(lambda: 1 in handled)
    await topology.jetstream().delete_consumer("EVENTS", "accounting-ledger")
    await launcher.say(lab, 2)
    await eventually(lambda: 2 in handled)
    assert await accounting.check() is None


async def test_facts_of_a_rush_cost_hardly_more_messages_than_their_acknowledgements(
    platform: Platform, launcher: Producer
) -> None:
    handled: list[int] = []

    async def handle(event: Event) -> None:
        handled.append(event.revision)

    accounting = await ledger(platform, handle)
    lab, facts = new_lab_id(), 60
    before = accounting.client.stats["out_msgs"]
    for revision in range(1, facts + 1):
        await launcher.say(lab, revision)
    await eventually(lambda: len(handled) == facts)
    await until_acknowledged(accounting)
    assert sorted(handled) == list(range(1, facts + 1))
    assert accounting.client.stats["out_msgs"] - before < 1.5 * facts


async def test_a_missing_stream_is_seen_by_readiness(platform: Platform, topology: Client) -> None:
    async def handle(_: Event) -> None: ...

    accounting = await ledger(platform, handle)
    await topology.jetstream().delete_stream("EVENTS")

    async def seen() -> bool:
        return "accounting-ledger" in (await accounting.check() or "")

    await eventually(seen)  # the server tells of it a moment after its answer


async def test_consumption_goes_on_at_once_after_the_server_was_killed(
    platform: Platform, launcher: Producer
) -> None:
    handled: list[str] = []

    async def handle(event: Event) -> None:
        handled.append(event.entity_id)

    await ledger(platform, handle)
    await asyncio.to_thread(platform.nats.kill)
    await asyncio.to_thread(platform.nats.start)
    lab = new_lab_id()
    await launcher.say(lab, 1)
    await eventually(lambda: lab in handled, seconds=10)  # far below the pull's own 20 s


async def test_a_slow_handler_is_not_started_twice(
    platform: Platform, launcher: Producer, topology: Client
) -> None:
    started: list[int] = []
    js = topology.jetstream()
    config = (await js.consumer_info("EVENTS", "accounting-ledger")).config
    await js.add_consumer("EVENTS", config.evolve(ack_wait=0.5))

    async def handle(event: Event) -> None:
        started.append(event.deliveries)
        await asyncio.sleep(1.2)

    accounting = platform.messaging("accounting")
    accounting.consume(replace(ACCOUNTING_LEDGER, ack_wait=timedelta(seconds=0.5)), handle)
    await accounting.start()
    await launcher.say(new_lab_id(), 1)
    await until_acknowledged(accounting)
    await eventually(lambda: started)
    await until_acknowledged(accounting)
    assert started == [1]


async def test_followers_read_in_order_across_a_kill(platform: Platform, launcher: Producer) -> None:
    seen: list[int] = []
    resets = 0

    async def handle(event: Event) -> None:
        seen.append(event.revision)

    async def reset() -> None:
        nonlocal resets
        resets += 1

    lab = new_lab_id()
    await launcher.say(lab, 1)
    await asyncio.sleep(0.2)
    gateway = platform.messaging("gateway")
    gateway.follow(["events.lab.*.*", "events.volume.*.*"], handle, on_reset=reset)
    await gateway.start()
    for revision in (2, 3, 4):
        await launcher.say(lab, revision)
    await eventually(lambda: len(seen) == 3)
    await asyncio.to_thread(platform.nats.kill)
    await asyncio.to_thread(platform.nats.start)
    for revision in (5, 6):
        await launcher.say(lab, revision)
    await eventually(lambda: len(seen) == 5, seconds=15)
    assert seen == [2, 3, 4, 5, 6]
    assert resets == 0


async def test_followers_say_when_facts_are_gone(
    platform: Platform, launcher: Producer, topology: Client, chaos_proxy: MakeProxy
) -> None:
    seen: list[int] = []
    was_reset = asyncio.Event()

    async def handle(event: Event) -> None:
        seen.append(event.revision)

    async def reset() -> None:
        was_reset.set()

    proxy = await chaos_proxy(platform.nats.url)
    gateway = platform.messaging("gateway", servers=[f"nats://{proxy.host}:{proxy.port}"])
    gateway.follow(["events.lab.*.*"], handle, on_reset=reset)
    await gateway.start()
    lab = new_lab_id()
    await launcher.say(lab, 1)
    await eventually(lambda: seen == [1])
    proxy.refuse()
    for revision in (2, 3):
        await launcher.say(lab, revision)
    await until_stored(topology, 3)
    await topology.jetstream().purge_stream("EVENTS")
    proxy.heal()
    async with asyncio.timeout(15):
        await was_reset.wait()
    await launcher.say(lab, 4)
    await eventually(lambda: 4 in seen)


async def until_stored(topology: Client, count: int) -> None:
    async def stored() -> bool:
        return (await topology.jetstream().stream_info("EVENTS")).state.last_seq >= count

    await eventually(stored)


async def test_messages_that_are_not_stored(platform: Platform, launcher: Producer) -> None:
    samples: list[tuple[str, bytes]] = []

    async def take(subject: str, payload: bytes) -> None:
        samples.append((subject, payload))

    gateway = platform.messaging("gateway")
    gateway.subscribe_core("live.lab.*.sample", take)
    await gateway.start()

    async def heard() -> (
        bool
    ):  # core NATS promises no single message: a sample is sent again every few seconds
        await launcher.messaging.publish_core("live.lab.aaaaaaaaaa.sample", json.dumps({"cpu": 1}).encode())
        return bool(samples)

    await eventually(heard)
    assert set(samples) == {("live.lab.aaaaaaaaaa.sample", b'{"cpu": 1}')}


async def test_a_running_handler_ends_before_the_service_does(platform: Platform, launcher: Producer) -> None:
    begun = asyncio.Event()
    ended: list[str] = []

    async def handle(event: Event) -> None:
        begun.set()
        await asyncio.sleep(0.3)
        ended.append(event.entity_id)

    accounting = await ledger(platform, handle)
    lab = new_lab_id()
    await launcher.say(lab, 1)
    async with asyncio.timeout(5):
        await begun.wait()
    await accounting.aclose()
    assert ended == [lab]
    again: list[int] = []

    async def count(event: Event) -> None:
        again.append(event.revision)

    await ledger(platform, count)
    await launcher.say(lab, 2)
    await eventually(lambda: again)
    assert again == [2]  # the first was acknowledged before the connection closed


async def test_a_message_without_any_headers_still_reaches_who_reads_everything(
    platform: Platform, launcher: Producer
) -> None:
    history: list[Event] = []

    async def keep(event: Event) -> None:
        history.append(event)

    observer = platform.messaging("observer")
    observer.consume(OBSERVER_HISTORY, keep)
    await observer.start()
    await publish_raw(launcher.messaging, "aaaaaaaaaa", {}, b"\xff not json")
    await eventually(lambda: history)
    assert history[0].raw == b"\xff not json"
    assert (history[0].data, history[0].type) == ({}, None)
