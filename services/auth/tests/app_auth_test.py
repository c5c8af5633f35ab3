import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import SecretStr

from datalabs_auth.app import build
from datalabs_contracts import rpc
from datalabs_contracts.base import Contract
from datalabs_contracts.people import (
    CreatePerson,
    EndSession,
    PeopleQuery,
    Person,
    PersonQuery,
    ResolveSession,
    Role,
    SignedIn,
    SignInAttempt,
)
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_runtime.messaging import Messaging
from datalabs_runtime.rpc import RpcClient


@pytest.fixture
async def gateway(platform: Any) -> AsyncIterator[Messaging]:
    """Auth, seeded as `datalabs up` does it, and the gateway's connection to it."""
    accounts = [
        {"username": "admin", "password": "operators secret", "roles": ["operator"]},
        {"username": "ada", "password": "correct horse", "roles": ["user"]},
    ]
    seed_file = platform.folder / "secrets" / "accounts.json"
    seed_file.write_text(json.dumps({"accounts": accounts}))
    await asyncio.to_thread(platform.add_database, "auth")
    service = build(platform.config)
    await service.start()
    messaging: Messaging = platform.messaging("gateway")
    await messaging.start()
    yield messaging
    await messaging.aclose()
    await service.aclose()


def attempt(username: str, password: str) -> SignInAttempt:
    return SignInAttempt(username=username, password=SecretStr(password), address="192.0.2.7")


async def test_a_person_signs_in_is_known_and_signs_out(gateway: Messaging, events: Any) -> None:
    signed_in: SignedIn = await gateway.rpc.call(rpc.SIGN_IN, attempt("ada", "correct horse"))
    digest = ResolveSession(secret_sha256=hashlib.sha256(signed_in.secret.encode()).hexdigest())
    session = await gateway.rpc.call(rpc.RESOLVE_SESSION, digest)
    assert session.person.username == "ada"
    assertion = gateway.signer.for_person(session.person, session.id)
    person: Person = await gateway.rpc.call(rpc.GET_PERSON, PersonQuery(username="ada"), identity=assertion)
    assert person.roles == [Role.USER]
    await gateway.rpc.call(rpc.END_SESSION, EndSession(session_id=session.id), identity=assertion)
    with pytest.raises(ProblemError) as refusal:
        await gateway.rpc.call(rpc.RESOLVE_SESSION, digest)
    assert refusal.value.code is ProblemCode.SESSION_EXPIRED
    await events.wait("session", session.id, "ended")
    assert events.facts("session", session.id) == ["started", "ended"]
    assert {event.type.fact for event in events.of("person")} <= {"created"}


async def test_an_operator_makes_a_person_who_can_sign_in(gateway: Messaging) -> None:
    admin = (await gateway.rpc.call(rpc.SIGN_IN, attempt("admin", "operators secret"))).session.person
    assertion = gateway.signer.for_person(admin)
    request = CreatePerson(username="hypatia", roles=[Role.USER, Role.PUBLISHER])
    created = await gateway.rpc.call(rpc.CREATE_PERSON, request, identity=assertion)
    assert created.password is not None
    signed_in = await gateway.rpc.call(rpc.SIGN_IN, attempt("hypatia", created.password))
    assert signed_in.session.person == created.person
    page = await gateway.rpc.call(rpc.LIST_PEOPLE, PeopleQuery(), identity=assertion)
    assert [(one.username, one.uid) for one in page.items] == [
        ("ada", 200_001),
        ("admin", 200_000),
        ("hypatia", 200_002),
    ]


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        (rpc.CREATE_PERSON, CreatePerson(username="eve", roles=[Role.OPERATOR])),
        (rpc.LIST_PEOPLE, PeopleQuery()),
    ],
)
async def test_people_without_the_role_are_refused(
    gateway: Messaging, operation: rpc.Operation[Any, Any], request_: Contract
) -> None:
    ada = (await gateway.rpc.call(rpc.SIGN_IN, attempt("ada", "correct horse"))).session.person
    with pytest.raises(ProblemError) as refusal:
        await gateway.rpc.call(operation, request_, identity=gateway.signer.for_person(ada))
    assert refusal.value.code is ProblemCode.FORBIDDEN


async def test_a_wrong_password_says_nothing_more(gateway: Messaging) -> None:
    client: RpcClient = gateway.rpc
    with pytest.raises(ProblemError) as refusal:
        await client.call(rpc.SIGN_IN, attempt("ada", "wrong"))
    assert refusal.value.code is ProblemCode.WRONG_CREDENTIALS
    assert refusal.value.extra == {}
