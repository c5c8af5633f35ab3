"""The NATS configuration, and what each user may really do on the server."""

import asyncio
import json
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import nats as client
import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.errors import NotFoundError

from datalabs_contracts.rpc import SERVICES, STANDALONE
from datalabs_contracts.streams import CONSUMERS, STREAMS
from datalabs_runtime import topology
from datalabs_runtime.permissions import USERS, inbox_of, permissions_of
from datalabs_runtime.rpc_server import RpcServer
from datalabs_standalone import nats
from datalabs_testing.platform import Platform

Connect = Callable[[str], Client]


@pytest_asyncio.fixture
async def connect(platform: Platform) -> AsyncIterator[object]:
    """A function: connect as a user; what the server forbids is in the connection's `forbidden`."""
    made: list[Client] = []

    async def connect(user: str, *, inbox: str | None = None) -> tuple[Client, list[str]]:
        forbidden: list[str] = []

        async def remember(error: Exception) -> None:
            forbidden.append(str(error))

        connection = await client.connect(
            platform.nats.url,
            user=user,
            password=platform.nats.passwords[user],
            inbox_prefix=(inbox or inbox_of(user)).encode(),
            error_cb=remember,
        )
        made.append(connection)
        return connection, forbidden

    yield connect
    for connection in made:
        await connection.close()


def test_the_configuration_is_a_pure_function_with_every_user(tmp_path: Path) -> None:
    server = nats.NatsServer(folder=tmp_path, passwords={user: f"secret-{user}" for user in USERS}, port=4300)
    made = nats.configuration(server)
    assert made["jetstream"]["sync_interval"] == "always"
    users = {one["user"]: one for one in made["accounts"]["DATALABS"]["users"]}
    assert set(users) == set(USERS)
    assert users["launcher"]["password"] == "secret-launcher"
    assert json.loads(json.dumps(made)) == made
    assert server.url == "nats://127.0.0.1:4300"


def test_the_files_are_private(tmp_path: Path) -> None:
    server = nats.NatsServer(folder=tmp_path / "nats", passwords=dict.fromkeys(USERS, "x"))
    nats.prepare(server)
    assert stat.S_IMODE(server.configuration_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(server.folder.stat().st_mode) == 0o700
    assert nats.command(server)[1:] == ["--config", str(server.configuration_file)]


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_publishes_only_its_own_and_reads_only_its_own_inbox(service: str) -> None:
    permissions = permissions_of(service)
    assert f"rpc.{service}.>" in permissions.subscribe
    assert not [one for one in permissions.subscribe if one.startswith("_INBOX") and service not in one]
    assert ">" not in permissions.publish
    assert "events.>" not in permissions.publish
    assert not [one for one in permissions.publish if one.startswith(f"rpc.{service}.")]


async def test_a_service_cannot_say_another_services_facts(connect: Connect) -> None:
    storage, forbidden = await connect("storage")
    await storage.jetstream().publish("events.volume.v1.created", b"{}")
    with pytest.raises(NatsTimeoutError):
        await storage.jetstream().publish("events.lab.k3v9x2mmpq.ready", b"{}", timeout=0.3)
    assert "events.lab.k3v9x2mmpq.ready" in forbidden[0]


async def test_nobody_listens_to_another_services_replies_or_requests(connect: Connect) -> None:
    storage, forbidden = await connect("storage")
    for subject in ("rpc.launcher.>", "_INBOX_gateway.>", "_INBOX.>", ">", "events.>"):
        await storage.subscribe(subject)
    await storage.flush()
    await asyncio.sleep(0.05)
    assert len(forbidden) == 5


async def test_the_subscriber_reads_all_facts_and_changes_nothing(connect: Connect) -> None:
    storage, _ = await connect("storage")
    await storage.jetstream().publish("events.volume.v1.created", b"1")
    outsider, forbidden = await connect("subscriber", inbox="_INBOX")
    ordered = await outsider.jetstream().subscribe("events.>", stream="EVENTS", ordered_consumer=True)
    assert (await ordered.next_msg(timeout=3)).data == b"1"
    await ordered.unsubscribe()
    pulled = await outsider.jetstream().pull_subscribe("events.volume.>", stream="EVENTS")
    (message,) = await pulled.fetch(1, timeout=3)
    await message.ack()
    assert forbidden == []
    for subject in ("events.volume.v1.created", "rpc.launcher.list_labs", "dead.x", "replay.storage"):
        await outsider.publish(subject, b"{}")
    stealing = await outsider.jetstream().pull_subscribe_bind("observer-history", stream="EVENTS")
    with pytest.raises(NatsTimeoutError):
        await stealing.fetch(1, timeout=0.3)
    with pytest.raises(NatsTimeoutError):
        await outsider.jsm(timeout=0.3).delete_consumer("EVENTS", "observer-history")
    with pytest.raises(NatsTimeoutError):
        await outsider.jsm(timeout=0.3).purge_stream("EVENTS")
    assert len(forbidden) == 7
    assert (await storage.jetstream().stream_info("EVENTS")).state.messages == 1


async def test_a_wrong_password_is_refused(platform: Platform) -> None:
    stranger = Client()
    with pytest.raises(Exception, match="Authorization Violation"):
        await stranger.connect(platform.nats.url, user="launcher", password="x", allow_reconnect=False)
    await stranger.close()


async def test_the_topology_is_declared_as_the_contracts_say_and_again(
    platform: Platform, connect: Connect
) -> None:
    await topology.declare([platform.nats.url], password=platform.nats.passwords["topology"])
    admin, _ = await connect("topology")
    for stream in STREAMS:
        config = (await admin.jetstream().stream_info(stream.name)).config
        assert config.subjects == list(stream.subjects)
        assert config.max_age == stream.max_age.total_seconds()
        assert config.max_bytes == stream.max_bytes
        assert config.duplicate_window == stream.duplicates.total_seconds()
    for consumer in CONSUMERS:
        config = (await admin.jetstream().consumer_info(consumer.stream, consumer.name)).config
        assert sorted(config.filter_subjects or [config.filter_subject]) == sorted(consumer.subjects)
        assert config.ack_wait == consumer.ack_wait.total_seconds()


async def test_a_changed_declaration_is_brought_to_the_server(platform: Platform, connect: Connect) -> None:
    admin, _ = await connect("topology")
    config = (await admin.jetstream().consumer_info("EVENTS", "accounting-ledger")).config
    await admin.jetstream().add_consumer("EVENTS", config.evolve(ack_wait=99))
    await admin.jetstream().delete_consumer("EVENTS", "observer-history")
    await topology.declare([platform.nats.url], password=platform.nats.passwords["topology"])
    assert (await admin.jetstream().consumer_info("EVENTS", "accounting-ledger")).config.ack_wait == 15
    await admin.jetstream().consumer_info("EVENTS", "observer-history")
    with pytest.raises(NotFoundError):
        await admin.jetstream().stream_info("OTHER")


async def test_without_a_server_the_topology_step_says_so() -> None:
    with pytest.raises(topology.TopologyError):
        await topology.declare(["nats://127.0.0.1:9"], password="x", within=0.3)


async def test_who_serves_nothing_asks_for_nothing_that_is_forbidden(
    connect: Connect, platform: Platform
) -> None:
    """The task that stops the labs speaks as `standalone`, which has no operations of its own."""
    connection, forbidden = await connect(STANDALONE)
    server = RpcServer(service=STANDALONE, verifier=platform.keys.verifier())
    await server.start(connection)
    await connection.flush()
    await server.aclose()
    assert forbidden == []
