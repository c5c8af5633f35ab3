"""Requests over the real NATS."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import structlog

from datalabs_contracts.base import Nothing, Page
from datalabs_contracts.labs import Lab, LabsQuery, Limits
from datalabs_contracts.people import Person, Role
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_contracts.rpc import GET_LIMITS, LIST_LABS, LIST_READINESS, SIGN_IN, STOP_LAB
from datalabs_contracts.usage import LimitsQuery
from datalabs_runtime import rpc
from datalabs_runtime.identity import Signer
from datalabs_runtime.messaging import Call, Messaging
from datalabs_testing.platform import Platform
from datalabs_testing.plugin import MakeProxy
from datalabs_testing.stubs import RpcStub
from datalabs_testing.waiting import eventually

EMPTY: Page[Lab] = Page[Lab](items=[])


@pytest_asyncio.fixture
async def gateway(platform: Platform) -> AsyncIterator[Messaging]:
    messaging = platform.messaging("gateway")
    await messaging.start()
    yield messaging
    await messaging.aclose()


async def refusal(messaging: Messaging, seconds: float = 2.0) -> ProblemError:
    with pytest.raises(ProblemError) as caught:
        await messaging.rpc.call(LIST_LABS, LabsQuery(), timeout=seconds)
    return caught.value


async def test_a_request_is_answered_and_says_who_asks(gateway: Messaging, rpc_stub: RpcStub) -> None:
    await rpc_stub.answer(LIST_LABS, lambda query: Page[Lab](items=[], next=query.cursor))
    reply = await gateway.rpc.call(LIST_LABS, LabsQuery(cursor="here"), act_for="ada")
    assert reply.next == "here"
    (_, _, call) = rpc_stub.requests[0]
    assert (call.identity.service, call.identity.act_for, call.identity.owner) == ("gateway", "ada", "ada")


async def test_a_persons_assertion_is_passed_on(
    gateway: Messaging, rpc_stub: RpcStub, platform: Platform
) -> None:
    ada = Person(
        id="1", username="ada", roles=[Role.USER], uid=20001, revision=1, created_at="2026-11-02T09:00:00Z"
    )
    await rpc_stub.answer(LIST_LABS, EMPTY)
    token = platform.keys.signer("gateway").for_person(ada, "s1")
    await gateway.rpc.call(LIST_LABS, LabsQuery(), identity=token)
    (_, _, call) = rpc_stub.requests[0]
    assert (call.identity.username, call.identity.uid, call.identity.session) == ("ada", 20001, "s1")
    assert call.assertion == token


async def test_a_refusal_arrives_whole(gateway: Messaging, rpc_stub: RpcStub) -> None:
    await rpc_stub.answer(
        LIST_LABS, ProblemError(ProblemCode.QUOTA_EXCEEDED, "4 of 4 labs", retry_after=3.0, limit=4)
    )
    problem = await refusal(gateway)
    assert problem.code is ProblemCode.QUOTA_EXCEEDED
    assert (problem.detail, problem.retry_after, problem.extra) == ("4 of 4 labs", 3.0, {"limit": 4})


async def test_a_mistake_of_the_handler_is_an_internal_error_without_its_text(
    gateway: Messaging, rpc_stub: RpcStub
) -> None:
    await rpc_stub.answer(LIST_LABS, ValueError("the secret is 42"))
    problem = await refusal(gateway)
    assert problem.code is ProblemCode.INTERNAL_ERROR
    assert "42" not in problem.detail


async def test_a_malformed_request_names_the_wrong_field(gateway: Messaging, rpc_stub: RpcStub) -> None:
    await rpc_stub.answer(LIST_LABS, EMPTY)
    with pytest.raises(ProblemError) as caught:
        await gateway.rpc.call(LIST_LABS, LabsQuery.model_construct(limit=1000))
    assert caught.value.code is ProblemCode.INVALID_REQUEST
    assert caught.value.errors[0].pointer == "/limit"


async def test_nobody_listening_is_unavailable_only_after_the_deadline(gateway: Messaging) -> None:
    began = time.monotonic()
    problem = await refusal(gateway, seconds=0.4)
    assert problem.code is ProblemCode.SERVICE_UNAVAILABLE
    assert 0.3 < time.monotonic() - began < 1.5


async def test_a_service_that_comes_within_the_deadline_is_found(
    gateway: Messaging, rpc_stub: RpcStub
) -> None:
    asking = asyncio.create_task(gateway.rpc.call(LIST_LABS, LabsQuery(), timeout=5))
    await asyncio.sleep(0.1)
    await rpc_stub.answer(LIST_LABS, EMPTY)
    assert await asking == EMPTY


async def test_the_deadline_is_honoured_at_every_hop(
    gateway: Messaging, rpc_stub: RpcStub, platform: Platform
) -> None:
    left: dict[str, float] = {}
    launcher = platform.messaging("launcher")

    async def slow(_: LimitsQuery, call: Call) -> Limits:
        left["accounting"] = call.deadline - time.time()
        await asyncio.sleep(30)
        raise AssertionError

    async def labs(_: LabsQuery, call: Call) -> Page[Lab]:
        left["launcher"] = call.deadline - time.time()
        await launcher.rpc.call(GET_LIMITS, LimitsQuery(owner="ada"), timeout=60)
        return EMPTY

    launcher.serve(LIST_LABS, labs)
    await launcher.start()
    await rpc_stub.answer(GET_LIMITS, slow)
    began = time.monotonic()
    problem = await refusal(gateway, seconds=0.5)
    assert problem.code is ProblemCode.DEADLINE_EXCEEDED
    assert time.monotonic() - began < 1.5
    assert 0 < left["accounting"] <= left["launcher"] <= 0.5
    await launcher.aclose()


async def test_a_request_past_its_deadline_is_not_worked_on(gateway: Messaging, rpc_stub: RpcStub) -> None:
    await rpc_stub.answer(LIST_LABS, EMPTY)
    rpc.deadline.set(time.time() - 1)
    assert (await refusal(gateway)).code is ProblemCode.DEADLINE_EXCEEDED
    await gateway.client.publish(
        LIST_LABS.subject, b"{}", headers={"datalabs-deadline": str(int(time.time() * 1000) - 5)}
    )
    await gateway.client.flush()
    assert rpc_stub.requests == []


async def test_cancelling_the_caller_cancels_the_work(gateway: Messaging, rpc_stub: RpcStub) -> None:
    working, cancelled = asyncio.Event(), asyncio.Event()

    async def work(_: LabsQuery) -> Page[Lab]:
        working.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return EMPTY

    await rpc_stub.answer(LIST_LABS, work)
    asking = asyncio.create_task(gateway.rpc.call(LIST_LABS, LabsQuery(), timeout=20))
    await working.wait()
    asking.cancel()
    async with asyncio.timeout(2):
        await cancelled.wait()
    with contextlib.suppress(asyncio.CancelledError):
        await asking


async def test_a_lost_reply_is_asked_for_again_and_the_work_done_once(
    platform: Platform, rpc_stub: RpcStub, chaos_proxy: MakeProxy
) -> None:
    proxy = await chaos_proxy(platform.nats.url)
    gateway = platform.messaging("gateway", servers=[f"nats://{proxy.host}:{proxy.port}"])
    await gateway.start()
    go_on = asyncio.Event()

    async def work(_: LabsQuery) -> Page[Lab]:
        await go_on.wait()
        return EMPTY

    await rpc_stub.answer(LIST_LABS, work)
    asking = asyncio.create_task(gateway.rpc.call(LIST_LABS, LabsQuery(), timeout=10))
    await eventually(lambda: rpc_stub.requests)
    proxy.reset()
    await asyncio.sleep(1.5)  # the question is repeated after a second of silence
    go_on.set()
    assert await asking == EMPTY
    assert len(rpc_stub.requests) == 1
    await gateway.aclose()


async def test_what_must_not_be_repeated_is_sent_once(gateway: Messaging, rpc_stub: RpcStub) -> None:
    sent = 0

    async def work(_: object) -> None:
        nonlocal sent
        sent += 1
        await asyncio.sleep(30)

    await rpc_stub.answer(SIGN_IN, work)
    with pytest.raises(ProblemError) as caught:
        await gateway.rpc.call(
            SIGN_IN, SIGN_IN.request(username="ada", password="x", address="::1"), timeout=1.6
        )
    assert caught.value.code is ProblemCode.DEADLINE_EXCEEDED
    assert sent == 1


async def test_a_service_may_only_call_what_the_table_allows(platform: Platform, rpc_stub: RpcStub) -> None:
    await rpc_stub.answer(STOP_LAB, EMPTY)
    accounting = platform.messaging("accounting")
    await accounting.start()
    # NATS itself refuses accounting's message to stop_lab: the permission comes from the same table.
    with structlog.testing.capture_logs() as logs, pytest.raises(ProblemError) as caught:
        await accounting.rpc.call(STOP_LAB, STOP_LAB.request(lab_id="k3v9x2mmpq", actor="x"), timeout=0.3)
    assert caught.value.code in {ProblemCode.DEADLINE_EXCEEDED, ProblemCode.SERVICE_UNAVAILABLE}
    assert rpc_stub.requests == []
    assert "rpc.launcher.stop_lab" in next(one["reason"] for one in logs if one["event"] == "nats.error")
    await accounting.aclose()


async def test_a_stolen_connection_does_not_speak_for_people(
    platform: Platform, gateway: Messaging, rpc_stub: RpcStub
) -> None:
    await rpc_stub.answer(LIST_LABS, EMPTY)
    ada = Person(
        id="1", username="ada", roles=[Role.OPERATOR], uid=1, revision=1, created_at="2026-11-02T09:00:00Z"
    )
    forged = platform.keys.signer("observer").for_person(ada, "s1")
    for token in (forged, "nonsense", Signer("gateway", platform.keys.signer("observer")._key).for_service()):
        with pytest.raises(ProblemError) as caught:
            await gateway.rpc.call(LIST_LABS, LabsQuery(), identity=token)
        assert caught.value.code is ProblemCode.FORBIDDEN
    assert rpc_stub.requests == []


async def test_workers_bound_the_work_at_once(platform: Platform, gateway: Messaging) -> None:
    running = highest = 0

    async def work(_: LabsQuery, __: Call) -> Page[Lab]:
        nonlocal running, highest
        running += 1
        highest = max(highest, running)
        await asyncio.sleep(0.02)
        running -= 1
        return EMPTY

    launcher = platform.messaging("launcher")
    launcher.serve(LIST_LABS, work, workers=4)
    await launcher.start()
    await asyncio.gather(*(gateway.rpc.call(LIST_LABS, LabsQuery()) for _ in range(20)))
    assert highest == 4
    await launcher.aclose()


async def test_running_requests_end_before_the_service_does(platform: Platform, gateway: Messaging) -> None:
    begun = asyncio.Event()

    async def work(_: LabsQuery, __: Call) -> Page[Lab]:
        begun.set()
        await asyncio.sleep(0.2)
        return EMPTY

    launcher = platform.messaging("launcher")
    launcher.serve(LIST_LABS, work)
    await launcher.start()
    asking = asyncio.create_task(gateway.rpc.call(LIST_LABS, LabsQuery()))
    await begun.wait()
    await launcher.aclose()
    assert await asking == EMPTY


async def test_requests_go_on_after_the_server_was_killed(platform: Platform, rpc_stub: RpcStub) -> None:
    gateway = platform.messaging("gateway")
    await gateway.start()
    await rpc_stub.answer(LIST_LABS, EMPTY)
    assert await gateway.rpc.call(LIST_LABS, LabsQuery()) == EMPTY
    await asyncio.to_thread(platform.nats.kill)
    asking = asyncio.create_task(gateway.rpc.call(LIST_LABS, LabsQuery(), timeout=10))
    await asyncio.to_thread(platform.nats.start)
    assert await asking == EMPTY
    await gateway.aclose()


async def test_without_a_server_the_start_ends_with_the_address(platform: Platform) -> None:
    messaging = platform.messaging("gateway", servers=["nats://127.0.0.1:9"])
    messaging._settings = messaging._settings.model_copy(update={"connect_timeout": 0.3})
    with pytest.raises(TimeoutError, match=r"127\.0\.0\.1:9"):
        await messaging.start()
    await messaging.aclose()


async def test_an_operation_of_another_service_cannot_be_served(platform: Platform) -> None:
    async def answer(_: Nothing, __: Call) -> Nothing:
        return Nothing()

    with pytest.raises(ValueError, match="not an operation of storage"):
        platform.messaging("storage").serve(LIST_READINESS, answer)  # type: ignore[arg-type]
