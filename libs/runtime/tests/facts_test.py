"""From a transaction to a handler: outbox, relay, durable consumer, retries, dead letters."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from datalabs_contracts import events as types
from datalabs_contracts.people import Person, PersonFact, Role
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_contracts.streams import Consumer
from datalabs_contracts.usage import UsageFact
from datalabs_runtime import consuming, telemetry
from datalabs_runtime.database import Database
from datalabs_runtime.inbox import Inbox
from datalabs_runtime.messaging import Event, Messaging
from datalabs_runtime.outbox import Outbox, OutboxRelay
from datalabs_runtime.tables import ServiceBase
from datalabs_testing.events import EventRecorder
from datalabs_testing.platform import Platform
from datalabs_testing.plugin import MakeDatabase
from sqlalchemy import text


class Base(ServiceBase):
    """Tables of a service that has only what all have."""


def fact(name: str = "ada", revision: int = 1) -> PersonFact:
    person = Person(
        id=f"id-{name}",
        username=name,
        roles=[Role.USER],
        uid=20001,
        revision=revision,
        created_at=datetime(2026, 11, 2, tzinfo=UTC),
    )
    return PersonFact(person=person, revision=revision, owner=name, actor=name)


@pytest_asyncio.fixture
async def auth(platform: Platform, database: MakeDatabase) -> AsyncIterator[tuple[Database, Messaging, OutboxRelay]]:
    """A service with a database, a connection and a relay."""
    own = await database("auth", base=Base)
    messaging = platform.messaging("auth")
    await messaging.start()
    relay = OutboxRelay(own, Base, messaging)
    await relay.start()
    yield own, messaging, relay
    await relay.aclose()
    await messaging.aclose()


async def test_a_committed_event_is_published_at_once(
    auth: tuple[Database, Messaging, OutboxRelay], events: EventRecorder
) -> None:
    database, _, relay = auth
    await relay.lease.wait()
    outbox = Outbox(Base, "auth")
    async with database.transaction() as session:
        event_id = outbox.add(session, types.PERSON_CREATED, "id-ada", fact(), revision=1)
    event = await events.wait("person", "id-ada", "created", seconds=2)
    assert event.id == event_id
    assert event.subject == "events.person.id-ada.created"
    assert event.type is types.PERSON_CREATED
    assert event.data == fact()
    assert event.headers["ce-specversion"] == "1.0"
    assert event.headers["Nats-Msg-Id"] == event_id
    assert event.headers["correlationid"]
