"""The gateway as it runs, on real NATS and PostgreSQL, with the other services played by stateful fakes."""

import asyncio
import hashlib
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from joserfc.jwk import ECKey
from sqlalchemy import create_engine, text

from datalabs_contracts import events, rpc
from datalabs_contracts.base import Contract, Nothing, Page
from datalabs_contracts.cursors import decode_cursor, encode_cursor
from datalabs_contracts.datalabs import (
    Collection,
    Datalab,
    DatalabDetail,
    DatalabIcon,
    DatalabPage,
    Kind,
    Size,
    Version,
)
from datalabs_contracts.labs import (
    Amounts,
    Capacity,
    Fit,
    Lab,
    LabFact,
    LabPolicy,
    LabState,
    Limits,
    Logs,
    Metrics,
    Nodes,
    Preflight,
    Queue,
    Route,
    Timeline,
)
from datalabs_contracts.observations import (
    DeadLetter,
    DeadLetterState,
    PlatformHealth,
)
from datalabs_contracts.people import CreatedPerson, Person, Role, Session, SessionFact, SignedIn
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_contracts.usage import LimitsBody, PersonLimits, UsagePage, UsageRow
from datalabs_contracts.volumes import Volumes
from datalabs_gateway.app import Parts, build_parts
from datalabs_runtime import migrations, topology
from datalabs_runtime.facts import headers_of, new_event_id
from datalabs_runtime.identity import Signer, Verifier, make_keys, write_secret
from datalabs_runtime.messaging import Call, Messaging
from datalabs_runtime.settings import NatsSettings, PostgresSettings, load
from datalabs_testing.servers import RunningNats, RunningPostgres, running_nats, running_postgres

SERVICES = ("auth", "catalogue", "storage", "launcher", "accounting", "observer")
PASSWORD = "correct horse battery"
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def a_person(username: str, *roles: Role) -> Person:
    return Person(
        id=f"id-{username}",
        username=username,
        roles=list(roles or (Role.USER,)),
        uid=20000 + len(username),
        revision=1,
        created_at=NOW,
    )


def make_lab(lab_id: str = "k3v9x2mnpq", owner: str = "ada", **change: Any) -> Lab:
    known: dict[str, Any] = {
        "id": lab_id,
        "name": "JupyterLab",
        "owner": owner,
        "datalab": "jupyterlab",
        "version": "4.6",
        "kind": Kind.NOTEBOOK,
        "size": "small",
        "state": LabState.READY,
        "attempt": 1,
        "revision": 5,
        "created_at": NOW,
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    }
    return Lab(**(known | change))


A_DATALAB = Datalab(
    slug="jupyterlab",
    title="JupyterLab",
    abstract="Notebooks.",
    kind=Kind.NOTEBOOK,
    domain="astronomy",
    icon_url="/api/v1/datalabs/jupyterlab/icon",
    latest_version="4.6",
    revision=1,
)
A_SIZE = Size(name="small", title="Small", cores=0.5, memory_mib=768)


@dataclass
class Fakes:
    """The six other services: what they know, what they were asked, and what they refuse."""

    people: dict[str, Person] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)
    labs: dict[str, Lab] = field(default_factory=dict)
    keys: dict[tuple[str, str], tuple[str, Lab]] = field(default_factory=dict)
    datalabs: list[Datalab] = field(default_factory=lambda: [A_DATALAB])
    collections: list[Collection] = field(default_factory=list)
    asked: list[tuple[str, Any, Call]] = field(default_factory=list)
    refuse: dict[str, ProblemError] = field(default_factory=dict)
    route: Callable[[str], tuple[str, int]] = lambda _: ("127.8.3.1", 8888)
    messaging: dict[str, Messaging] = field(default_factory=dict)

    def times(self, name: str) -> int:
        return sum(asked == name for asked, _, _ in self.asked)

    def last(self, name: str) -> tuple[Any, Call]:
        return next((request, call) for asked, request, call in reversed(self.asked) if asked == name)

    def serve(self, operation: rpc.Operation[Any, Any], answer: Callable[[Any, Call], Contract]) -> None:
        async def handle(request: Any, call: Call) -> Any:
            self.asked.append((operation.name, request, call))
            refusal = self.refuse.get(operation.name)
            if refusal is not None:
                raise refusal
            return answer(request, call)

        self.messaging[operation.service].serve(operation, handle)

    def serve_all(self) -> None:
        for operation, answer in (
            (rpc.SIGN_IN, self.sign_in),
            (rpc.RESOLVE_SESSION, self.resolve),
            (rpc.END_SESSION, self.end_session),
            (rpc.CREATE_PERSON, self.create_person),
            (rpc.LIST_PEOPLE, lambda *_: Page[Person](items=list(self.people.values()))),
            (rpc.SEARCH_DATALABS, self.search),
            (rpc.GET_DATALAB, self.datalab),
            (rpc.GET_ICON, lambda q, _: DatalabIcon(slug=q.slug, svg="<svg/>", digest="ab12")),
            (rpc.LIST_SIZES, lambda *_: Page[Size](items=[A_SIZE])),
            (rpc.LIST_COLLECTIONS, lambda *_: Page[Collection](items=self.collections)),
            (rpc.GET_COLLECTION, self.collection),
            (rpc.LIST_VOLUMES, lambda *_: Volumes(items=[])),
            (rpc.LAUNCH_LAB, self.launch),
            (rpc.PREFLIGHT, lambda *_: Preflight(fit=Fit.NOW, text="Fits now.", size=A_SIZE)),
            (rpc.GET_LAB, lambda q, _: self.lab(q.lab_id)),
            (rpc.LIST_LABS, self.list_labs),
            (rpc.STOP_LAB, lambda q, _: self.change(q.lab_id, state=LabState.STOPPING)),
            (rpc.RESTART_LAB, lambda q, _: self.change(q.lab_id, state=LabState.QUEUED, attempt=2)),
            (rpc.EXTEND_LAB, lambda q, _: self.change(q.lab_id, expires_at=NOW + timedelta(hours=9))),
            (rpc.DELETE_LAB, lambda q, _: self.change(q.lab_id, deleted=True, state=LabState.STOPPING)),
            (
                rpc.GET_TIMELINE,
                lambda q, _: Timeline(lab_id=q.lab_id, attempt=1, trace_id=None, seconds=0.5, phases=[]),
            ),
            (rpc.GET_LOGS, lambda q, _: Logs(lab_id=q.lab_id, attempt=1, lines=["ready"])),
            (rpc.GET_METRICS, lambda q, _: Metrics(lab_id=q.lab_id, samples=[])),
            (rpc.GET_ROUTE, self.get_route),
            (
                rpc.GET_CAPACITY,
                lambda *_: Capacity(
                    cores=2,
                    memory_mib=4096,
                    cores_taken=0,
                    memory_taken_mib=0,
                    queued=0,
                    runtimes=["process"],
                ),
            ),
            (rpc.LIST_READINESS, lambda *_: Page(items=[])),
            (rpc.KEEP_LAB, lambda q, _: self.change(q.lab_id, kept_until=q.until)),
            (rpc.PRIORITISE_LAB, lambda q, _: self.change(q.lab_id, priority=q.priority)),
            (rpc.LIST_NODES, lambda *_: Nodes(items=[], away=["nomad"])),
            (rpc.LIST_QUEUE, lambda *_: Queue(items=[], total=0)),
            (rpc.GET_LAB_POLICY, lambda q, _: LabPolicy(owner=q.owner)),
            (
                rpc.SET_LAB_POLICY,
                lambda q, c: LabPolicy(
                    owner=q.owner, changed_by=c.identity.username, **q.policy.model_dump()
                ),
            ),
            (rpc.GET_LIMITS, lambda *_: Limits(used=Amounts(labs=0, cores=0, memory_mib=0), max_labs=4)),
            (rpc.GET_PERSON, self.person),
            (rpc.GET_PERSON_LIMITS, lambda q, _: person_limits(q.owner, LimitsBody(unlimited=q.unlimited))),
            (rpc.SET_LIMITS, lambda q, _: person_limits(q.owner, q.own)),
            (rpc.LIST_IMPORT_PROBLEMS, lambda *_: Page(items=[])),
            (rpc.GET_USAGE, self.usage),
            (rpc.LIST_EVENTS, lambda *_: Page(items=[])),
            (rpc.GET_TRACE, lambda *_: Page(items=[])),
            (rpc.LIST_TRACES, lambda *_: Page(items=[])),
            (rpc.LIST_DEAD_LETTERS, lambda *_: Page(items=[])),
            (rpc.REPLAY_DEAD_LETTER, self.replay),
            (rpc.GET_HEALTH, lambda *_: PlatformHealth(items=[])),
        ):
            self.serve(operation, answer)

    def sign_in(self, request: Any, _: Call) -> SignedIn:
        person = self.people.get(request.username)
        if person is None or request.password.get_secret_value() != PASSWORD:
            raise ProblemError(ProblemCode.WRONG_CREDENTIALS)
        secret = secrets.token_urlsafe(32)
        session = Session(
            id=f"s-{len(self.sessions)}-{secrets.token_hex(4)}",
            person=person,
            created_at=datetime.now(UTC),
            expires_at=datetime.now(UTC) + timedelta(days=7),
        )
        self.sessions[sha256(secret)] = session
        return SignedIn(session=session, secret=secret)

    def resolve(self, request: Any, _: Call) -> Session:
        session = self.sessions.get(request.secret_sha256)
        if session is None:
            raise ProblemError(ProblemCode.SESSION_EXPIRED)
        return session.model_copy(update={"person": self.people[session.person.username]})

    def end_session(self, request: Any, _: Call) -> Nothing:
        for key, session in list(self.sessions.items()):
            if session.id == request.session_id:
                del self.sessions[key]
        return Nothing()

    def person(self, request: Any, _: Call) -> Person:
        if request.username not in self.people:
            raise ProblemError(ProblemCode.NOT_FOUND)
        return self.people[request.username]

    def create_person(self, request: Any, _: Call) -> CreatedPerson:
        if request.username in self.people:
            raise ProblemError(ProblemCode.USERNAME_TAKEN)
        person = self.people[request.username] = a_person(request.username, *request.roles)
        return CreatedPerson(person=person, password=None if request.password else "made-for-you")

    def search(self, request: Any, _: Call) -> DatalabPage:
        items = [entry for entry in self.datalabs if request.q in entry.slug]
        return DatalabPage(items=items, facets={}, total=len(items))

    def datalab(self, request: Any, _: Call) -> DatalabDetail:
        if request.slug != "jupyterlab":
            raise ProblemError(ProblemCode.UNKNOWN_DATALAB)
        version = Version(
            name="4.6", published_at=NOW, runtimes=["process"], sizes=["small"], default_size="small"
        )
        return DatalabDetail(**A_DATALAB.model_dump(), versions=[version], sizes=[A_SIZE])

    def collection(self, request: Any, _: Call) -> Collection:
        for collection in self.collections:
            if collection.id == request.id:
                return collection
        raise ProblemError(ProblemCode.NOT_FOUND)

    def launch(self, request: Any, call: Call) -> Lab:
        owner = call.identity.username
        said = request.body.model_dump_json()
        if request.idempotency_key and (known := self.keys.get((owner, request.idempotency_key))):
            if known[0] != said:
                raise ProblemError(ProblemCode.IDEMPOTENCY_MISMATCH)
            return known[1]
        if request.body.datalab != "jupyterlab":
            raise ProblemError(ProblemCode.UNKNOWN_DATALAB)
        lab = make_lab(_new_id(), owner, state=LabState.QUEUED, revision=1, created_at=datetime.now(UTC))
        self.labs[lab.id] = lab
        if request.idempotency_key:
            self.keys[owner, request.idempotency_key] = (said, lab)
        return lab

    def lab(self, lab_id: str) -> Lab:
        if lab_id not in self.labs:
            raise ProblemError(ProblemCode.NOT_FOUND)
        return self.labs[lab_id]

    def change(self, lab_id: str, **change: Any) -> Lab:
        lab = self.lab(lab_id)
        changed = lab.model_copy(update={"revision": lab.revision + 1, **change})
        self.labs[lab_id] = changed
        return changed

    def list_labs(self, request: Any, _: Call) -> Page[Lab]:
        chosen = [
            lab
            for lab in sorted(self.labs.values(), key=lambda lab: (lab.created_at, lab.id), reverse=True)
            if (request.owner is None or lab.owner == request.owner)
            and (request.include_ended or not lab.state.ended)
        ]
        start = decode_cursor("labs", request.cursor, int)[0] if request.cursor else 0
        end = start + request.limit
        return Page[Lab](
            items=chosen[start:end], next=encode_cursor("labs", end) if end < len(chosen) else None
        )

    def get_route(self, request: Any, _: Call) -> Route:
        lab = self.lab(request.lab_id)
        if lab.state is not LabState.READY:
            raise ProblemError(ProblemCode.LAB_NOT_READY)
        host, port = self.route(lab.id)
        return Route(
            lab_id=lab.id,
            attempt=lab.attempt,
            owner=lab.owner,
            state=lab.state,
            host=host,
            port=port,
            open_path="/lab",
            trace_id=lab.trace_id,
            revision=lab.revision,
        )

    def usage(self, _: Any, __: Call) -> UsagePage:
        row = UsageRow(labs=0, seconds=0, core_seconds=0, gib_seconds=0)
        return UsagePage(items=[], total=row)

    def replay(self, request: Any, _: Call) -> DeadLetter:
        if request.id != "d1":
            raise ProblemError(ProblemCode.NOT_FOUND)
        return DeadLetter(
            id="d1", subject="x", consumer="c", error="e", deliveries=5, time=NOW,
            state=DeadLetterState.REPLAYED, data="{}",
        )  # fmt: skip

    async def tell(self, event: events.EventType, entity_id: str, data: Contract) -> str:
        """Publish a fact as the service that owns the entity."""
        event_id = new_event_id()
        service = events.ENTITY_OWNERS[event.entity]
        headers = headers_of(
            event_id=event_id, event=event, entity_id=entity_id, source=service, moment=datetime.now(UTC)
        )
        await self.messaging[service].jetstream.publish(
            event.subject(entity_id), data.model_dump_json().encode(), headers=headers
        )
        return event_id

    async def tell_lab(self, lab: Lab, event: events.EventType | None = None) -> str:
        known = event or next(kind for kind in events.EVENT_TYPES if kind.fact == lab.state.value)
        return await self.tell(
            known, lab.id, LabFact(lab=lab, revision=lab.revision, owner=lab.owner, actor="service:launcher")
        )

    async def tell_session_ended(self, session: Session) -> None:
        fact = SessionFact(
            session_id=session.id,
            person_id=session.person.id,
            username=session.person.username,
            revision=2,
            actor="admin",
            expires_at=session.expires_at,
        )
        await self.tell(events.SESSION_ENDED, session.id, fact)


def person_limits(owner: str, own: LimitsBody) -> PersonLimits:
    limits = Limits(used=Amounts(labs=0, cores=0, memory_mib=0), max_labs=own.max_labs)
    return PersonLimits(username=owner, own=own, site=limits, limits=limits)


def _new_id() -> str:
    return "k" + "".join(secrets.choice("abcdefghjk") for _ in range(9))


class Client(httpx2.AsyncClient):
    """A browser on the platform's origin, or a program without one."""

    async def sign_in(self, username: str) -> "Client":
        answer = await self.post("/api/v1/session", json={"username": username, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        # httpx keeps Secure cookies from plain HTTP; browsers take localhost for secure.
        self.headers["cookie"] = answer.headers["set-cookie"].partition(";")[0]
        return self


@dataclass
class Stage:
    """A running gateway with everything around it."""

    folder: Path
    config: Path
    fakes: Fakes
    parts: Parts
    nats: RunningNats
    clients: list[Client] = field(default_factory=list)

    def client(self, host: str = "localhost:8080", **headers: str) -> Client:
        transport = httpx2.AsyncHTTPTransport(uds=str(self.folder / "run" / "gateway.sock"))
        client = Client(transport=transport, base_url=f"http://{host}", headers=headers, timeout=15)
        self.clients.append(client)
        return client

    async def signed_in(self, username: str = "ada", **headers: str) -> Client:
        return await self.client(**headers).sign_in(username)

    async def until(self, condition: Callable[[], bool], seconds: float = 5) -> None:
        """Wait for something that another task brings about; every turn looks again."""
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - what is awaited here has no event of its own
                await asyncio.sleep(0.002)

    def lab_client(self, lab_id: str, **headers: str) -> Client:
        return self.client(f"{lab_id}.localhost:8080", **headers)


@pytest.fixture(scope="session")
def servers() -> Iterator[tuple[RunningNats, RunningPostgres]]:
    with tempfile.TemporaryDirectory(prefix="gw") as name:
        folder = Path(name)
        with running_nats(folder / "nats") as nats, running_postgres(folder / "pg", folder / "s") as postgres:
            yield nats, postgres


SETTINGS = """
[platform]
state_folder = "{folder}"
[gateway]
dashboard_folder = "{folder}/dashboard"
{gateway}
[nats]
servers = ["{nats}"]
[nats.passwords]
{nats_passwords}
[postgres]
host = "{postgres}"
port = {port}
[postgres.passwords]
{postgres_passwords}
[telemetry]
endpoint = "unix:{folder}/run/observer.sock"
"""


def _passwords(table: Any) -> str:
    return "\n".join(f'{name} = "{value}"' for name, value in table.items())


@pytest.fixture(scope="session")
def identities(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("secrets")
    make_keys(folder / "identity")
    write_secret(folder / "route.key", ECKey.generate_key("P-256").as_pem(private=True))
    return folder


@pytest.fixture
def gateway_settings() -> dict[str, Any]:
    """What a test changes of the gateway's settings."""
    return {}


@pytest.fixture
async def config(
    servers: tuple[RunningNats, RunningPostgres],
    identities: Path,
    gateway_settings: dict[str, Any],
) -> AsyncIterator[Path]:
    nats, postgres = servers
    with tempfile.TemporaryDirectory(prefix="gw") as name:
        folder = Path(name)
        (folder / "run").mkdir()
        (folder / "secrets").symlink_to(identities)
        config = folder / "datalabs.toml"
        config.write_text(
            SETTINGS.format(
                folder=folder,
                gateway="\n".join(f"{key} = {value!r}" for key, value in gateway_settings.items()),
                nats=nats.url,
                nats_passwords=_passwords(nats.passwords),
                postgres=postgres.server.socket_folder,
                port=load(PostgresSettings, None).port,
                postgres_passwords=_passwords(postgres.passwords),
            )
        )
        url = load(PostgresSettings, config).url("gateway")
        migrations.upgrade("gateway", url)
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.execute(text("TRUNCATE lab_sessions, entry_codes, remembered_requests"))
        engine.dispose()
        await topology.declare([nats.url], password=nats.passwords["topology"])
        yield config


@asynccontextmanager
async def playing(config: Path, identities: Path, fakes: Fakes) -> AsyncIterator[None]:
    for service in SERVICES:
        fakes.messaging[service] = Messaging(
            service,
            load(NatsSettings, config),
            signer=Signer.read(service, identities / "identity"),
            verifier=Verifier.read(identities / "identity"),
        )
    fakes.serve_all()
    for messaging in fakes.messaging.values():
        await messaging.start()
    try:
        yield
    finally:
        for messaging in fakes.messaging.values():
            await messaging.aclose()


@pytest.fixture
def a_lab() -> Callable[..., Lab]:
    return make_lab


@pytest.fixture
def fakes() -> Fakes:
    known = (a_person("ada"), a_person("bob"), a_person("admin", Role.OPERATOR, Role.USER))
    return Fakes(people={person.username: person for person in known})


@pytest.fixture
async def stage(
    servers: tuple[RunningNats, RunningPostgres], config: Path, identities: Path, fakes: Fakes
) -> AsyncIterator[Stage]:
    async with playing(config, identities, fakes):
        parts = build_parts(config)
        await parts.service.start()
        made = Stage(config.parent, config, fakes, parts, servers[0])
        try:
            await parts.feed.settled()
            yield made
        finally:
            for client in made.clients:
                await client.aclose()
            await parts.service.aclose()
