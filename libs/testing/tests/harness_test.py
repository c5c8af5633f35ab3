"""The harness itself: a clock, a proxy that misbehaves, recorded events."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from sqlalchemy import text

from datalabs_contracts.events import LAB_READY
from datalabs_contracts.labs import LabsQuery
from datalabs_contracts.rpc import LIST_LABS
from datalabs_testing.chaos import ChaosProxy
from datalabs_testing.clock import FakeClock
from datalabs_testing.events import EventRecorder, deliver_doubled_and_shuffled, make_event
from datalabs_testing.facts import lab_fact
from datalabs_testing.platform import Platform
from datalabs_testing.plugin import MakeDatabase, MakeProxy
from datalabs_testing.stubs import RpcStub

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def test_sleepers_wake_in_order_each_at_its_moment(clock: FakeClock) -> None:
    woken: list[tuple[str, float]] = []
    start = clock.now()

    async def sleep(name: str, *seconds: float) -> None:
        for one in seconds:
            await clock.sleep(one)
            woken.append((name, (clock.now() - start).total_seconds()))

    tasks = [asyncio.create_task(sleep("a", 3, 3)), asyncio.create_task(sleep("b", 5))]
    await clock.advance(2)
    assert (woken, clock.sleepers) == ([], 2)
    await clock.advance(10)
    assert woken == [("a", 3), ("b", 5), ("a", 6)]
    assert (clock.now() - start).total_seconds() == 12
    await asyncio.gather(*tasks)


async def test_a_cancelled_sleeper_is_forgotten(clock: FakeClock) -> None:
    task = asyncio.create_task(clock.sleep(5))
    await clock.advance(1)
    task.cancel()
    await clock.advance(10)
    assert clock.sleepers == 0


@pytest_asyncio.fixture
async def echo() -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(1000):
                writer.write(piece)
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def opened(proxy: ChaosProxy) -> Stream:
    return await asyncio.open_connection(proxy.host, proxy.port)


async def asked(stream: Stream, text: bytes, seconds: float = 2) -> bytes:
    stream[1].write(text)
    async with asyncio.timeout(seconds):
        return await stream[0].read(1000)


async def test_a_well_behaved_proxy_passes_everything(echo: int, chaos_proxy: MakeProxy) -> None:
    proxy = await chaos_proxy("127.0.0.1", echo)
    stream = await opened(proxy)
    assert await asked(stream, b"hello") == b"hello"
    stream[1].close()


async def test_dropped_bytes_never_come_and_healing_tears_the_connection(
    echo: int, chaos_proxy: MakeProxy
) -> None:
    proxy = await chaos_proxy(f"tcp://127.0.0.1:{echo}")
    stream = await opened(proxy)
    proxy.drop()
    with pytest.raises(TimeoutError):
        await asked(stream, b"lost", seconds=0.2)
    proxy.heal()
    with pytest.raises(ConnectionError):
        await asked(stream, b"")
    again = await opened(proxy)
    assert await asked(again, b"hello") == b"hello"
    again[1].close()
    stream[1].close()


async def test_halves_delays_resets_and_refusals(echo: int, chaos_proxy: MakeProxy) -> None:
    proxy = await chaos_proxy("127.0.0.1", echo)
    stream = await opened(proxy)
    proxy.delay(0.15)
    began = asyncio.get_running_loop().time()
    assert await asked(stream, b"slow") == b"slow"
    assert asyncio.get_running_loop().time() - began >= 0.3
    proxy.heal()
    proxy.halve()
    assert await asked(stream, b"12345678") in {b"1234", b""}
    stream[1].close()
    stream = await opened(proxy)
    assert await asked(stream, b"x") == b"x"
    proxy.reset()
    with pytest.raises(ConnectionError):
        await asked(stream, b"")
    stream[1].close()
    proxy.refuse()
    with contextlib.suppress(ConnectionError):
        assert await asked(await opened(proxy), b"x") == b""  # an orderly end counts as well
    proxy.heal()
    stream = await opened(proxy)
    assert await asked(stream, b"y") == b"y"
    stream[1].close()
    with socket.socket() as probe:
        assert probe.connect_ex((proxy.host, proxy.port)) == 0


async def test_events_are_recorded_and_waited_for(platform: Platform, events: EventRecorder) -> None:
    launcher = platform.messaging("launcher")
    await launcher.start()
    waiting = asyncio.create_task(events.wait("lab", "k3v9x2mmpq", "ready"))
    made = make_event(LAB_READY, "k3v9x2mmpq", lab_fact(revision=4))
    await launcher.jetstream.publish(made.subject, made.raw, headers=dict(made.headers))
    assert (await waiting).revision == 4
    assert events.facts("lab") == ["ready"]
    with pytest.raises(AssertionError, match=r"came: .*ready"):
        await events.wait("lab", None, "failed", seconds=0.05)


async def test_doubled_and_shuffled_means_every_event_twice_by_seed() -> None:
    facts = [make_event(LAB_READY, "k3v9x2mmpq", lab_fact(revision=number)) for number in range(1, 6)]
    orders = []
    for seed in (1, 1, 2):
        seen: list[int] = []

        async def handle(event: object, seen: list[int] = seen) -> None:
            seen.append(event.revision)  # type: ignore[attr-defined]

        await deliver_doubled_and_shuffled(facts, handle, seed=seed)
        assert sorted(seen) == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
        orders.append(seen)
    assert orders[0] == orders[1] != orders[2]


async def test_each_test_has_its_own_migrated_database(platform: Platform, database: MakeDatabase) -> None:
    own = await database("auth")
    async with own.reading() as session:
        assert (await session.execute(text("SELECT count(*) FROM outbox"))).scalar_one() == 0
        names = (await session.execute(text("SELECT version_num FROM alembic_version"))).scalars().all()
    assert names
    assert own.url.database == f"datalabs_auth{platform.suffix}"


async def test_a_stub_answers_by_value_function_or_error(platform: Platform, rpc_stub: RpcStub) -> None:
    gateway = platform.messaging("gateway")
    await gateway.start()
    await rpc_stub.answer(LIST_LABS, LIST_LABS.reply(items=[], next="a"))
    assert (await gateway.rpc.call(LIST_LABS, LabsQuery())).next == "a"
    await rpc_stub.answer(LIST_LABS, lambda _, call: LIST_LABS.reply(items=[], next=call.identity.service))
    assert (await gateway.rpc.call(LIST_LABS, LabsQuery(limit=7))).next == "gateway"
    assert [query.limit for query in rpc_stub.of(LIST_LABS)] == [50, 7]
