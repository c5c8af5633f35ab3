"""The launcher on the wire: real NATS, real permissions, its neighbours answered for."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from datalabs_contracts.base import Nothing, PageQuery
from datalabs_contracts.datalabs import ReadinessState, Runtime
from datalabs_contracts.labs import (
    ExtendLab,
    KeepLab,
    LabPolicyBody,
    LabPolicyQuery,
    LabRef,
    LabsQuery,
    LabState,
    LaunchBody,
    LaunchLab,
    LogsQuery,
    Node,
    NodeState,
    PrioritiseLab,
    Reason,
    RestartLab,
    SetLabPolicy,
    StopLab,
    TimelineQuery,
)
from datalabs_contracts.people import Person, Role
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_contracts.rpc import (
    DELETE_LAB,
    EXTEND_LAB,
    GET_CAPACITY,
    GET_LAB,
    GET_LAB_POLICY,
    GET_LIMITS,
    GET_LOGS,
    GET_METRICS,
    GET_PERSON,
    GET_ROUTE,
    GET_SPECIFICATION,
    GET_TIMELINE,
    KEEP_LAB,
    LAUNCH_LAB,
    LIST_ENVIRONMENTS,
    LIST_LABS,
    LIST_NODES,
    LIST_QUEUE,
    LIST_READINESS,
    PREFLIGHT,
    PREPARE_VOLUMES,
    PRIORITISE_LAB,
    RELEASE,
    RESERVE,
    RESTART_LAB,
    SET_LAB_POLICY,
    STOP_LAB,
    Operation,
)
from datalabs_launcher.assembly import Launcher, assemble
from datalabs_launcher.config import LauncherSettings
from datalabs_launcher.messages import Handlers, register
from datalabs_launcher.tables import Base
from datalabs_launcher.tokens import LabTokens
from datalabs_runtime.clock import SystemClock
from datalabs_runtime.messaging import Messaging
from datalabs_runtime.outbox import Outbox, OutboxRelay
from datalabs_testing.events import EventRecorder
from datalabs_testing.platform import Platform
from datalabs_testing.stubs import RpcStub

from .conftest import SITE
from .fake_neighbours import FakeNeighbours
from .fake_scheduler import FakeScheduler

NEIGHBOURS = (GET_PERSON, GET_SPECIFICATION, LIST_ENVIRONMENTS, PREPARE_VOLUMES, RESERVE, RELEASE, GET_LIMITS)


def answer_of(neighbours: FakeNeighbours, operation: Operation[Any, Any]) -> Callable[[Any], Awaitable[Any]]:
    async def answer(request: Any) -> Any:
        return await neighbours.call(operation, request)

    return answer


@dataclass
class Wire:
    """A launcher behind NATS, and people who ask it through the gateway."""

    launcher: Launcher
    scheduler: FakeScheduler
    gateway: Messaging
    platform: Platform
    events: EventRecorder

    def as_person(self, username: str, *roles: Role) -> str:
        person = Person(
            id=username,
            username=username,
            roles=[Role.USER, *roles],
            uid=200_001,
            revision=1,
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
        )
        return self.platform.keys.signer("gateway").for_person(person, "session")

    async def launch(self, username: str = "ada", **body: object) -> str:
        request = LaunchLab(body=LaunchBody(datalab="stub", **body))  # type: ignore[arg-type]
        lab = await self.gateway.rpc.call(LAUNCH_LAB, request, identity=self.as_person(username))
        return lab.id

    async def until(self, condition: Callable[[], object], work: Callable[[], Awaitable[object]]) -> None:
        """Do the work until something has come back over NATS."""
        async with asyncio.timeout(5):
            while not condition():
                await work()
                await asyncio.sleep(0.02)

    async def ready(self, username: str = "ada") -> str:
        lab_id = await self.launch(username)
        await self.events.wait("lab", lab_id, "ready")
        return lab_id


@pytest_asyncio.fixture
async def wire(
    platform: Platform, database: object, rpc_stub: RpcStub, events: EventRecorder, tmp_path: Path
) -> AsyncIterator[Wire]:
    neighbours = FakeNeighbours(tmp_path)
    for operation in NEIGHBOURS:
        await rpc_stub.answer(operation, answer_of(neighbours, operation))
    made = await database("launcher")  # type: ignore[operator]
    messaging, clock = platform.messaging("launcher"), SystemClock()
    scheduler = FakeScheduler()
    launcher = assemble(
        database=made,
        outbox=Outbox(Base, "launcher", clock=clock),
        scheduler=scheduler,
        rpc=messaging.rpc,
        publish=messaging.publish_core,
        tokens=LabTokens.read(platform.settings().identities, clock),
        site=SITE,
        settings=LauncherSettings(),
        clock=clock,
    )
    handlers = Handlers(
        database=made,
        launches=launcher.launches,
        wishes=launcher.wishes,
        policies=launcher.policies,
        views=launcher.views,
        samples=launcher.samples,
        upkeep=launcher.upkeep,
        environments=launcher.environments,
        rpc=messaging.rpc,
    )
    register(messaging, handlers)
    gateway = platform.messaging("gateway")
    parts = [messaging, OutboxRelay(made, Base, messaging, clock=clock), *launcher.parts(), gateway]
    for part in parts:
        await part.start()
    yield Wire(launcher, scheduler, gateway, platform, events)
    for part in reversed(parts):
        await part.aclose()
    await scheduler.close_all()


async def test_the_life_of_a_lab_over_the_wire(wire: Wire) -> None:
    rpc, ada = wire.gateway.rpc, wire.as_person("ada")
    lab_id = await wire.ready()
    ready = await rpc.call(GET_LAB, LabRef(lab_id=lab_id), identity=ada)
    assert (ready.state, ready.owner) == (LabState.READY, "ada")
    route = await rpc.call(GET_ROUTE, LabRef(lab_id=lab_id))
    assert (route.host, route.owner) == ("127.0.0.1", "ada")
    assert (await rpc.call(GET_LOGS, LogsQuery(lab_id=lab_id), identity=ada)).lines
    timeline = await rpc.call(GET_TIMELINE, TimelineQuery(lab_id=lab_id), identity=ada)
    assert timeline.phases[-1].ended_at is not None
    assert (await rpc.call(GET_METRICS, LabRef(lab_id=lab_id), identity=ada)).samples == []
    await wire.until(lambda: wire.launcher.samples.of(lab_id).samples, wire.launcher.samples.measure)
    assert (await rpc.call(GET_METRICS, LabRef(lab_id=lab_id), identity=ada)).samples
    assert (await rpc.call(GET_CAPACITY, Nothing(), identity=ada)).cores_taken == 0.5
    extended = await rpc.call(EXTEND_LAB, ExtendLab(lab_id=lab_id, seconds=60), identity=ada)
    assert extended.revision > ready.revision
    stopping = await rpc.call(STOP_LAB, StopLab(lab_id=lab_id), identity=ada)
    assert stopping.state is LabState.STOPPING
    stopped = await wire.events.wait("lab", lab_id, "stopped")
    assert stopped.data.lab.reason is Reason.STOPPED_BY_USER
    again = await rpc.call(RESTART_LAB, RestartLab(lab_id=lab_id), identity=ada)
    assert (again.id, again.attempt) == (lab_id, 2)
    await rpc.call(DELETE_LAB, LabRef(lab_id=lab_id), identity=ada)
    await wire.events.wait("lab", lab_id, "deleted")
    with pytest.raises(ProblemError) as refusal:
        await rpc.call(GET_LAB, LabRef(lab_id=lab_id), identity=ada)
    assert refusal.value.code is ProblemCode.NOT_FOUND


async def test_events_come_in_order_and_carry_the_whole_lab(wire: Wire) -> None:
    lab_id = await wire.ready()
    seen = wire.events.of("lab", lab_id)
    assert [event.data.revision for event in seen] == sorted(event.data.revision for event in seen)
    assert seen[-1].data.lab.state is LabState.READY
    assert {event.data.owner for event in seen} == {"ada"}


async def test_a_foreign_lab_does_not_exist(wire: Wire) -> None:
    rpc, bob = wire.gateway.rpc, wire.as_person("bob")
    lab_id = await wire.ready()
    for operation, request in (
        (GET_LAB, LabRef(lab_id=lab_id)),
        (GET_LAB, LabRef(lab_id="aaaaaaaaaa")),
        (STOP_LAB, StopLab(lab_id=lab_id)),
        (DELETE_LAB, LabRef(lab_id=lab_id)),
        (EXTEND_LAB, ExtendLab(lab_id=lab_id)),
        (RESTART_LAB, RestartLab(lab_id=lab_id)),
        (GET_TIMELINE, TimelineQuery(lab_id=lab_id)),
        (GET_LOGS, LogsQuery(lab_id=lab_id)),
        (GET_METRICS, LabRef(lab_id=lab_id)),
        (GET_ROUTE, LabRef(lab_id=lab_id)),
        (KEEP_LAB, KeepLab(lab_id=lab_id)),
        (LIST_LABS, LabsQuery(owner="ada")),
    ):
        with pytest.raises(ProblemError) as refusal:
            await rpc.call(operation, request, identity=bob)  # type: ignore[arg-type]
        assert refusal.value.code is ProblemCode.NOT_FOUND, operation.name
    assert (await rpc.call(LIST_LABS, LabsQuery(), identity=bob)).items == []
    admin = wire.as_person("admin", Role.OPERATOR)
    assert (await rpc.call(GET_LAB, LabRef(lab_id=lab_id), identity=admin)).id == lab_id
    stopped = await rpc.call(STOP_LAB, StopLab(lab_id=lab_id), identity=admin)
    assert stopped.reason is Reason.STOPPED_BY_OPERATOR


async def test_lists_are_paged_newest_first(wire: Wire) -> None:
    rpc, ada = wire.gateway.rpc, wire.as_person("ada")
    launched = [await wire.launch() for _ in range(5)]
    first = await rpc.call(LIST_LABS, LabsQuery(limit=2), identity=ada)
    second = await rpc.call(LIST_LABS, LabsQuery(limit=2, cursor=first.next), identity=ada)
    third = await rpc.call(LIST_LABS, LabsQuery(limit=2, cursor=second.next), identity=ada)
    assert third.next is None
    found = [lab.id for page in (first, second, third) for lab in page.items]
    assert found == launched[::-1]
    with pytest.raises(ProblemError) as refusal:
        await rpc.call(LIST_LABS, LabsQuery(cursor="nonsense"), identity=ada)
    assert refusal.value.code is ProblemCode.INVALID_CURSOR
    readiness = await rpc.call(LIST_READINESS, PageQuery(), identity=ada)
    assert [(item.datalab, item.state) for item in readiness.items] == [("stub", ReadinessState.READY)]


async def test_services_list_and_the_supervisor_stops(wire: Wire) -> None:
    lab_id = await wire.ready()
    for service in ("accounting", "standalone"):
        messaging = wire.platform.messaging(service)
        await messaging.start()
        listed = await messaging.rpc.call(LIST_LABS, LabsQuery(include_ended=False))
        assert [lab.id for lab in listed.items] == [lab_id]
    stopping = await messaging.rpc.call(STOP_LAB, StopLab(lab_id=lab_id))
    assert stopping.reason is Reason.STOPPED_BY_OPERATOR
    await wire.events.wait("lab", lab_id, "stopped")


async def test_operators_see_the_machines_and_the_queue_and_move_labs(wire: Wire) -> None:
    rpc, ada, admin = wire.gateway.rpc, wire.as_person("ada"), wire.as_person("admin", Role.OPERATOR)
    wire.scheduler.nodes = [
        Node(
            name="n1", cluster="test", state=NodeState.READY, runtimes=[Runtime.PROCESS],
            cores=1, memory_mib=8192, disk_mib=10_000,
        )
    ]  # fmt: skip
    wire.launcher.admission._capacity = None
    running = [await wire.ready() for _ in range(2)]
    waiting = await wire.launch()
    await wire.events.wait("lab", waiting, "progressed")
    nodes = await rpc.call(LIST_NODES, Nothing(), identity=admin)
    assert [(node.name, node.labs, node.cores_taken) for node in nodes.items] == [("n1", 2, 1.0)]
    queue = await rpc.call(LIST_QUEUE, PageQuery(limit=1), identity=admin)
    assert (queue.total, queue.next, queue.items[0].lab_id) == (1, None, waiting)
    assert (queue.items[0].reason, queue.items[0].position) == ("capacity", 1)
    assert queue.items[0].text == "Needs 0.5 cores on one node; the largest free is 0"
    moved = await rpc.call(PRIORITISE_LAB, PrioritiseLab(lab_id=waiting, priority=90), identity=admin)
    assert moved.priority == 90
    for operation, request in (
        (LIST_NODES, Nothing()),
        (LIST_QUEUE, PageQuery()),
        (PRIORITISE_LAB, PrioritiseLab(lab_id=waiting, priority=90)),
        (GET_LAB_POLICY, LabPolicyQuery(owner="ada")),
        (SET_LAB_POLICY, SetLabPolicy(owner="ada", policy=LabPolicyBody())),
        (LAUNCH_LAB, LaunchLab(body=LaunchBody(datalab="stub", priority=99))),
    ):
        with pytest.raises(ProblemError) as refusal:
            await rpc.call(operation, request, identity=ada)  # type: ignore[arg-type]
        assert refusal.value.code is ProblemCode.FORBIDDEN, operation.name
    wire.scheduler.end(running[0])
    await wire.events.wait("lab", waiting, "ready")


async def test_a_persons_own_rules_cross_the_wire(wire: Wire) -> None:
    rpc, admin = wire.gateway.rpc, wire.as_person("admin", Role.OPERATOR)
    lab_id = await wire.ready()
    policy = LabPolicyBody(idle_minutes=480, keep_seconds=3600)
    told = await rpc.call(SET_LAB_POLICY, SetLabPolicy(owner="ada", policy=policy), identity=admin)
    assert (told.idle_minutes, told.changed_by) == (480, "admin")
    assert await rpc.call(GET_LAB_POLICY, LabPolicyQuery(owner="ada"), identity=admin) == told
    assert (await rpc.call(GET_LAB, LabRef(lab_id=lab_id), identity=admin)).idle_minutes == 480


async def test_services_launch_nothing(wire: Wire) -> None:
    with pytest.raises(ProblemError) as refusal:
        await wire.gateway.rpc.call(LAUNCH_LAB, LaunchLab(body=LaunchBody(datalab="stub")))
    assert refusal.value.code is ProblemCode.FORBIDDEN


async def test_refusals_cross_the_wire_with_their_code(wire: Wire) -> None:
    rpc, ada = wire.gateway.rpc, wire.as_person("ada")
    for body, code in (
        ({"datalab": "nothing"}, ProblemCode.UNKNOWN_DATALAB),
        ({"datalab": "stub", "size": "huge"}, ProblemCode.NEVER_FITS),
    ):
        with pytest.raises(ProblemError) as refusal:
            await rpc.call(LAUNCH_LAB, LaunchLab(body=LaunchBody.model_validate(body)), identity=ada)
        assert refusal.value.code is code
    preflight = await rpc.call(PREFLIGHT, LaunchLab(body=LaunchBody(datalab="stub")), identity=ada)
    assert preflight.fit == "now"
