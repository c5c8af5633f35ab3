import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from datalabs_accounting.app import build
from datalabs_contracts import rpc
from datalabs_contracts.events import LAB_READY, LAB_STOPPED, EventType
from datalabs_contracts.labs import Amounts, Lab, LabFact
from datalabs_contracts.people import Person, Role
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_contracts.streams import EVENTS
from datalabs_contracts.usage import LimitsQuery, Release, Reserve, UsageBy, UsageQuery
from datalabs_runtime.facts import headers_of, new_event_id
from datalabs_runtime.messaging import Messaging

LAB = "abcdefghjk"
BEGAN = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)


@pytest.fixture
async def gateway(platform: Any) -> AsyncIterator[Messaging]:
    await asyncio.to_thread(platform.add_database, "accounting")
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


def person(username: str) -> Person:
    return Person(id="p1", username=username, roles=[Role.USER], uid=1, revision=1, created_at=BEGAN)


def lab(state: str, ended_at: datetime | None = None) -> Lab:
    return Lab.model_validate(
        {
            "id": LAB, "name": "Mine", "owner": "hypatia", "datalab": "jupyterlab", "version": "4", "kind": "notebook",
            "size": "small", "cores": 0.5, "memory_mib": 768, "state": state, "attempt": 1, "revision": 2,
            "created_at": BEGAN, "started_at": BEGAN, "ended_at": ended_at,
        }
    )  # fmt: skip


async def tell(launcher: Messaging, event: EventType, lab: Lab) -> None:
    """Publish a fact as the launcher's relay does, twice."""
    fact = LabFact(lab=lab, revision=lab.revision, owner=lab.owner, actor="service:launcher")
    headers = headers_of(
        event_id=new_event_id(), event=event, entity_id=lab.id, source="launcher", moment=BEGAN
    )
    body = fact.model_dump_json().encode()
    await launcher.jetstream.publish(event.subject(lab.id), body, stream=EVENTS.name, headers=headers)
    again = headers | {"Nats-Msg-Id": new_event_id()}
    await launcher.jetstream.publish(event.subject(lab.id), body, stream=EVENTS.name, headers=again)


async def test_a_lab_is_reserved_counted_and_freed(
    gateway: Messaging, launcher: Messaging, events: Any
) -> None:
    reserve = Reserve(
        lab_id=LAB, attempt=1, owner="hypatia", amounts=Amounts(labs=1, cores=0.5, memory_mib=768)
    )
    assert (await launcher.rpc.call(rpc.RESERVE, reserve)).used.labs == 1
    await tell(launcher, LAB_STOPPED, lab("stopped", BEGAN + timedelta(seconds=61.5)))
    await tell(launcher, LAB_READY, lab("ready"))
    recorded = await events.wait("usage", LAB, "recorded")
    assert recorded.data.entry.seconds == 61.5
    assertion = gateway.signer.for_person(person("hypatia"))
    page = await gateway.rpc.call(rpc.GET_USAGE, UsageQuery(by=UsageBy.DAY), identity=assertion)
    assert [(row.day, row.seconds) for row in page.items] == [(BEGAN.date(), 61.5)]
    assert page.limits is not None
    assert page.limits.used.labs == 0
    limits = await gateway.rpc.call(rpc.GET_LIMITS, LimitsQuery(owner="hypatia"), identity=assertion)
    assert limits.used.labs == 0


async def test_a_refusal_travels_with_its_facts(gateway: Messaging, launcher: Messaging) -> None:
    assert gateway
    amounts = Amounts(labs=99, cores=0.5, memory_mib=768)
    with pytest.raises(ProblemError) as refusal:
        await launcher.rpc.call(rpc.RESERVE, Reserve(lab_id=LAB, attempt=1, owner="hypatia", amounts=amounts))
    assert refusal.value.code is ProblemCode.QUOTA_EXCEEDED
    assert refusal.value.extra["limit"]["labs"] == 6
    await launcher.rpc.call(rpc.RELEASE, Release(lab_id=LAB, attempt=1))


async def test_anothers_usage_is_not_found(gateway: Messaging) -> None:
    assertion = gateway.signer.for_person(person("kepler"))
    with pytest.raises(ProblemError) as refusal:
        await gateway.rpc.call(rpc.GET_USAGE, UsageQuery(owner="hypatia"), identity=assertion)
    assert refusal.value.code is ProblemCode.NOT_FOUND
