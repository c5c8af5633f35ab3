"""A platform for one test: settings file, secrets, topology, and databases copied from migrated templates."""

import gc
import itertools
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nats
from nats.js.errors import NotFoundError
from sqlalchemy import URL, NullPool, create_engine

from datalabs_contracts.rpc import SERVICES, STANDALONE
from datalabs_contracts.streams import STREAMS
from datalabs_runtime import migrations, topology
from datalabs_runtime.health import Health
from datalabs_runtime.identity import Signer, Verifier, make_keys, write_secret
from datalabs_runtime.messaging import Messaging
from datalabs_runtime.permissions import TOPOLOGY, inbox_of
from datalabs_runtime.settings import NatsSettings, PlatformSettings, PostgresSettings, load
from datalabs_runtime.tables import ServiceBase
from datalabs_testing.servers import RunningNats, RunningPostgres

EDGE_KEY = bytes(range(32))
_NUMBERS = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class TestKeys:
    """Identity keys of all services."""

    __test__ = False

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> "TestKeys":
        """Make the keys."""
        make_keys(folder, (*SERVICES, STANDALONE))
        return cls(folder=folder)

    def signer(self, service: str) -> Signer:
        """Return a service's signer."""
        return Signer.read(service, self.folder)

    def verifier(self) -> Verifier:
        """Return a verifier with all public keys."""
        return Verifier.read(self.folder)


@dataclass(kw_only=True)
class Platform:
    """What a service under test is configured with; `config` is the settings file."""

    folder: Path
    nats: RunningNats
    postgres: RunningPostgres
    keys: TestKeys
    suffix: str
    values: dict[str, dict[str, Any]] = field(default_factory=dict)
    databases: list[str] = field(default_factory=list)
    connections: list[Messaging] = field(default_factory=list)

    @classmethod
    async def make(
        cls, *, folder: Path, nats: RunningNats, postgres: RunningPostgres, keys: TestKeys
    ) -> "Platform":
        """Make the folder and empty the streams."""
        await fresh_streams(nats)
        made = cls(folder=folder, nats=nats, postgres=postgres, keys=keys, suffix=f"_t{next(_NUMBERS)}")
        for name in ("run", "secrets", "volumes", "collections", "environments", "labs"):
            (folder / name).mkdir(mode=0o700)
        shutil.copytree(keys.folder, folder / "secrets" / "identity")
        write_secret(folder / "secrets" / "edge.key", EDGE_KEY)
        made.configure("platform", state_folder=str(folder))
        made.configure("nats", servers=[nats.url], passwords=dict(nats.passwords))
        made.configure(
            "postgres",
            host=str(postgres.server.socket_folder),
            port=postgres.server.port,
            passwords=dict(postgres.passwords),
            database_suffix=made.suffix,
        )
        made.configure("telemetry", enabled=False)
        return made

    @property
    def config(self) -> Path:
        """The settings file."""
        return self.folder / "datalabs.toml"

    def configure(self, section: str, **values: Any) -> None:
        """Set values of a section and write the file."""
        self.values.setdefault(section, {}).update(values)
        lines = []
        for name, content in self.values.items():
            lines.append(f"[{name}]")
            lines.extend(f"{key} = {_toml(value)}" for key, value in content.items())
        self.config.write_text("\n".join(lines) + "\n")

    def add_database(self, service: str, base: type[ServiceBase] | None = None) -> URL:
        """Make the service's database of this test, migrated, or with the tables of a base."""
        url = self.url(service)
        name = str(url.database)
        if name in self.databases:
            return url
        template = None if base is not None else self._template(service)
        self.postgres.create(name, owner=service, template=template)
        self.databases.append(name)
        if base is not None:
            engine = create_engine(url, poolclass=NullPool)
            base.metadata.create_all(engine)
        return url

    def empty_database(self, service: str) -> URL:
        """Make the service's database of this test without any tables, for tests of migrations."""
        url = self.url(service)
        self.postgres.create(str(url.database), owner=service)
        self.databases.append(str(url.database))
        return url

    def url(self, service: str) -> URL:
        """Return the address of the service's database of this test."""
        return load(PostgresSettings, self.config).url(service)

    def settings(self) -> PlatformSettings:
        """Return the platform's settings."""
        return load(PlatformSettings, self.config)

    def messaging(
        self, service: str, *, servers: list[str] | None = None, health: Health | None = None
    ) -> Messaging:
        """Return a service's messaging, not started; `servers` may name a proxy."""
        settings = NatsSettings(
            servers=servers or [self.nats.url], passwords=load(NatsSettings, self.config).passwords
        )
        made = Messaging(
            service,
            settings,
            signer=self.keys.signer(service),
            verifier=self.keys.verifier(),
            health=health,
        )
        self.connections.append(made)
        return made

    async def aclose(self) -> None:
        """Close what a failed test left open: a forgotten service would take the next test's requests."""
        for messaging in self.connections:
            await messaging.aclose()

    def remove(self) -> None:
        """Remove the databases and the folder.

        A connection that was cut while it signed in is closed by the collector only, and DROP DATABASE waits for it.
        """
        gc.collect()
        for name in self.databases:
            self.postgres.drop(name)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _template(self, service: str) -> str:
        name = f"template_{service}"
        if name not in self.postgres.templates:
            self.postgres.create(name, owner=service)
            url = load(PostgresSettings, self.config).url(service).set(database=name)
            migrations.upgrade(service, url)
            self.postgres.templates.add(name)
        return name


async def fresh_streams(running: RunningNats) -> None:
    """Declare all streams and consumers anew, empty."""
    password = running.passwords[TOPOLOGY]
    client = await nats.connect(
        running.url, user=TOPOLOGY, password=password, inbox_prefix=inbox_of(TOPOLOGY).encode()
    )
    try:
        for stream in STREAMS:
            try:
                await client.jetstream().delete_stream(stream.name)
            except NotFoundError:
                continue
    finally:
        await client.close()
    await topology.declare([running.url], password=password)


def _toml(value: Any) -> str:
    """Return a value as TOML; JSON is the same but for tables."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f'"{key}" = {_toml(inner)}' for key, inner in value.items()) + " }"
    if isinstance(value, Path):
        return json.dumps(str(value))
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(inner) for inner in value) + "]"
    return json.dumps(value)
