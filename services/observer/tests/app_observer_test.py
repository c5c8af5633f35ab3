import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from datalabs_contracts import rpc
from datalabs_contracts.base import Nothing
from datalabs_contracts.events import LAB_READY
from datalabs_contracts.labs import Lab, LabFact
from datalabs_contracts.observations import DeadLetterRef, DeadLettersQuery, DeadLetterState, EventsQuery
from datalabs_contracts.people import Person, Role
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_contracts.streams import ACCOUNTING_LEDGER, EVENTS
from datalabs_observer.app import build
from datalabs_runtime.facts import Event, MalformedFactError, headers_of, new_event_id
from datalabs_runtime.messaging import Messaging

LAB = "abcdefghjk"
BEGAN = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)


@pytest.fixture
async def gateway(platform: Any) -> AsyncIterator[Messaging]:
    await asyncio.to_thread(platform.add_database, "observer")
    service = build(platform.config)
    await service.start()
    messaging: Messaging = platform.messaging("gateway")
    await messaging.start()
    yield messaging
    await messaging.aclose()
    await service.aclose()


@pytest.fixture
async def launcher(platform: Any) -> AsyncIterator[Messaging]:
    messaging: Messaging = platform.messaging("launcher")
    await messaging.start()
    yield messaging
    await messaging.aclose()


def assertion(gateway: Messaging, role: Role = Role.OPERATOR) -> str:
    return gateway.signer.for_person(
        Person(id="p1", username="admin", roles=[role], uid=1, revision=1, created_at=BEGAN)
    )


async def tell(launcher: Messaging, **changes: Any) -> str:
    """Publish a fact as the launcher's relay does and return its id."""
    lab = Lab.model_validate(
        {
            "id": LAB, "name": "Mine", "owner": "hypatia", "datalab": "jupyterlab", "version": "4", "kind": "notebook",
            "size": "small", "state": "ready", "attempt": 1, "revision": 2, "created_at": BEGAN,
        } | changes
    )  # fmt: skip
    event_id = new_event_id()
    headers = headers_of(event_id=event_id, event=LAB_READY, entity_id=LAB, source="launcher", moment=BEGAN)
    fact = LabFact(lab=lab, revision=2, owner=lab.owner, actor="service:launcher")
    await launcher.jetstream.publish(
        LAB_READY.subject(LAB), fact.model_dump_json().encode(), stream=EVENTS.name, headers=headers
    )
    return event_id


async def until(ask: Any) -> list[Any]:
    """Ask until there is an answer."""
    for _ in range(1500):
        items: list[Any] = (await ask()).items
        if items:
            return items
        await asyncio.sleep(0.02)
    raise AssertionError("nothing came")


async def test_every_fact_is_in_the_history(gateway: Messaging, launcher: Messaging) -> None:
    ids = [await tell(launcher, name=f"Lab {number}") for number in range(20)]
    operator = assertion(gateway)
    query = EventsQuery(entity="lab", owner="hypatia", limit=200)
    for _ in range(1500):
        items = (await gateway.rpc.call(rpc.LIST_EVENTS, query, identity=operator)).items
        if len(items) == len(ids):
            break
        await asyncio.sleep(0.02)
    assert {one.id for one in items} == set(ids)
    assert {one.data["lab"]["name"] for one in items} == {f"Lab {number}" for number in range(20)}


async def test_a_dead_letter_is_kept_and_given_back_to_its_consumer_alone(
    gateway: Messaging, launcher: Messaging, platform: Any
) -> None:
    handled: list[str] = []
    refuses = True

    async def handle(event: Event) -> None:
        if refuses:
            raise MalformedFactError("not yet")
        handled.append(event.id)

    accounting: Messaging = platform.messaging("accounting")
    accounting.consume(ACCOUNTING_LEDGER, handle)
    await accounting.start()
    operator = assertion(gateway)
    event_id = await tell(launcher)
    (letter,) = await until(
        lambda: gateway.rpc.call(rpc.LIST_DEAD_LETTERS, DeadLettersQuery(), identity=operator)
    )
    assert (letter.consumer, letter.subject) == ("accounting-ledger", f"events.lab.{LAB}.ready")
    assert letter.error == "MalformedFactError: not yet"
    assert letter.headers["ce-id"] == event_id
    ref = DeadLetterRef(id=letter.id)
    with pytest.raises(ProblemError) as refusal:
        await gateway.rpc.call(rpc.REPLAY_DEAD_LETTER, ref, identity=operator)
    assert refusal.value.code is ProblemCode.CONFLICT
    refuses = False
    replayed = await gateway.rpc.call(rpc.REPLAY_DEAD_LETTER, ref, identity=operator)
    assert replayed.state is DeadLetterState.REPLAYED
    assert handled == [event_id]
    (stored,) = (await gateway.rpc.call(rpc.LIST_DEAD_LETTERS, DeadLettersQuery(), identity=operator)).items
    assert stored == replayed
    history = await until(lambda: gateway.rpc.call(rpc.LIST_EVENTS, EventsQuery(), identity=operator))
    assert [one.id for one in history] == [event_id]
    with pytest.raises(ProblemError) as refusal:
        await gateway.rpc.call(rpc.REPLAY_DEAD_LETTER, DeadLetterRef(id="none"), identity=operator)
    assert refusal.value.code is ProblemCode.NOT_FOUND


async def test_only_operators_look(gateway: Messaging) -> None:
    with pytest.raises(ProblemError) as refusal:
        await gateway.rpc.call(rpc.LIST_EVENTS, EventsQuery(), identity=assertion(gateway, Role.USER))
    assert refusal.value.code is ProblemCode.FORBIDDEN


async def test_the_parts_are_told(gateway: Messaging) -> None:
    health = await gateway.rpc.call(rpc.GET_HEALTH, Nothing(), identity=assertion(gateway))
    states = {part.name: part.state for part in health.items}
    assert states["observer"] == "ready"
    assert states["postgres"] == "ready"
    assert states["launcher"] == "away"
