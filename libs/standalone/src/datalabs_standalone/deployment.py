"""The same platform from containers: what its parts need before they start, and how a container becomes one of them.

`python -m datalabs_standalone.deployment WORD` is every container's entrance; compose/compose.yml says who is what.
`datalabs_standalone.health` is what their health checks run.

| word | does |
|---|---|
| `prepare` | makes settings, keys, accounts and the third-party parts' configuration in the state folder, once |
| `nats NAME`, `postgres`, `envoy` | becomes that part |
| `foundation` | declares streams, makes databases, migrates; repeatable, before any service starts |
| `backup FOLDER`, `restore FOLDER` | writes the databases, keys and settings there; fills empty databases from there |
| `service NAME` | becomes that service, its sockets in a folder of this container's own |

Services find one another through NATS only. The edge reaches the gateways, the observer takes spans, and everybody
reaches PostgreSQL by Unix sockets in one volume, so that none of them has an address on a network.
"""

import asyncio
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pydantic import Field, SecretStr

from datalabs_contracts.rpc import SERVICES
from datalabs_runtime import topology
from datalabs_runtime.settings import NatsSettings, PostgresSettings, Settings, SettingsError, load
from datalabs_standalone import archive, credentials, nats, postgres
from datalabs_standalone.configuration import Configuration, configure
from datalabs_standalone.edge import write_config
from datalabs_standalone.failures import StandaloneError
from datalabs_standalone.options import UpOptions
from datalabs_standalone.preparation import edge_settings, envoy_binary
from datalabs_standalone.state import StateFolder, default_state, write_private, writing
from datalabs_standalone.tasks import migrations_of

CLUSTER_PORT, CLIENT_PORT = 6222, 4222


class DeploymentSettings(Settings):
    """What a deployment from containers is made of; from the environment of the Compose file."""

    section: ClassVar[str] = "deployment"

    public_url: str = Field(default="http://localhost:8080", description="The address people type.")
    labs_domain: str = Field(default="localhost", description="Labs answer at <lab>.<labs_domain>.")
    nats_nodes: list[str] = Field(
        default_factory=lambda: ["nats-1", "nats-2", "nats-3"], description="Host names of the NATS servers."
    )
    nats_cluster_password: SecretStr | None = Field(
        default=None, description="Password between the NATS servers; made up when missing."
    )
    sockets: Path = Field(
        default=Path("/run/datalabs"), description="The volume of Unix sockets, shared by all containers."
    )
    gateways: list[str] = Field(
        default_factory=lambda: ["gateway-1", "gateway-2"], description="Host names of the gateways."
    )
    edge_host: str = Field(default="0.0.0.0", description="Address that the edge listens on.")  # noqa: S104
    edge_port: int = Field(default=8080, description="Port that the edge listens on.")


@dataclass(frozen=True)
class Deployment:
    """One deployment: its state folder and what the Compose file says."""

    state: StateFolder
    settings: DeploymentSettings

    @classmethod
    def here(cls) -> "Deployment":
        """Return the deployment that this container belongs to."""
        return cls(StateFolder.at(default_state()), load(DeploymentSettings))

    def sockets_of(self, host: str) -> Path:
        """Return the folder of one container's sockets."""
        return self.settings.sockets / host

    @property
    def postgres_server(self) -> postgres.PostgresServer:
        """Return the database server; its socket is for every container."""
        return postgres.PostgresServer(
            folder=self.state.root / "postgres", socket_folder=self.sockets_of("postgres")
        )

    def nats_server(self, name: str, configuration: Configuration) -> nats.NatsServer:
        """Return one of the NATS servers."""
        return nats.NatsServer(
            folder=self.state.root / "nats" / name,
            passwords=configuration.nats_passwords,
            host="0.0.0.0",  # noqa: S104 - the deployment's own network
            port=CLIENT_PORT,
            cluster=nats.Cluster(
                server=name,
                nodes=tuple(self.settings.nats_nodes),
                port=CLUSTER_PORT,
                password=self._cluster_password(),
            ),
        )

    def _cluster_password(self) -> str:
        given = self.settings.nats_cluster_password
        if given is not None:
            return given.get_secret_value()
        file = self.state.secrets / "nats-cluster"
        if not file.exists():
            write_private(file, credentials.new_password())
        return file.read_text(encoding="utf-8").strip()

    def configured(self) -> Configuration:
        """Return the settings, written at the first time."""
        options = UpOptions(
            port=self.settings.edge_port,
            host=self.settings.edge_host,
            public_url=self.settings.public_url,
            labs_domain=self.settings.labs_domain,
        )
        return configure(self.state, options, one_machine=False)


def prepare(deployment: Deployment) -> None:
    """Make everything that is the same for all containers; what is there stays as it is."""
    state, settings = deployment.state, deployment.settings
    state.check_and_make()
    configuration = deployment.configured()
    with writing(state.root):
        credentials.make_keys(state)
        credentials.make_accounts(
            state,
            nats_url=f"nats://{settings.nats_nodes[0]}:{CLIENT_PORT}",
            subscriber_password=configuration.nats_passwords[credentials.SUBSCRIBER],
        )
        for name in settings.nats_nodes:
            nats.prepare(deployment.nats_server(name, configuration))
        first, *others = (deployment.sockets_of(host) / "gateway.sock" for host in settings.gateways)
        edge = edge_settings(
            state,
            configuration,
            admin=deployment.sockets_of("envoy") / "envoy-admin.sock",
            gateways=(first, *others),
            observer=deployment.sockets_of("observer") / "observer.sock",
        )
        write_config(edge, state.root / "envoy" / "envoy.json")
    for host in ("postgres", "envoy", *settings.gateways):
        deployment.sockets_of(host).mkdir(mode=0o700, parents=True, exist_ok=True)


def foundation(deployment: Deployment) -> None:
    """Declare streams and consumers, one copy a server, make the databases and migrate them; safe to repeat."""
    settings = load(NatsSettings, deployment.state.settings_file)
    _, password = settings.model_copy(update={"user": "topology"}).credentials("topology")
    nodes = len(deployment.settings.nats_nodes)
    asyncio.run(topology.declare(settings.servers, password=password, replicas=nodes))
    databases = load(PostgresSettings, deployment.state.settings_file)
    words = {name: word.get_secret_value() for name, word in databases.passwords.items()}
    superuser = words.pop(postgres.SUPERUSER)
    if not databases.urls:
        postgres.declare(deployment.postgres_server, superuser_password=superuser, passwords=words)
    from datalabs_runtime import migrations  # noqa: PLC0415 - only here

    for service in SERVICES:
        migrations.upgrade(service, databases.url(service))
        sys.stdout.write(f"{service}: {migrations_of(service)}\n")


def back_up(deployment: Deployment, folder: Path) -> None:
    """Back up the running databases, with keys and settings."""
    words = {
        name: word.get_secret_value()
        for name, word in load(PostgresSettings, deployment.state.settings_file).passwords.items()
    }
    made = archive.back_up(deployment.state, folder, server=deployment.postgres_server, passwords=words)
    sys.stdout.write(f"backed up to {made}\n")


def restore(deployment: Deployment, folder: Path) -> None:
    """Fill the empty databases of a new deployment, whose state volume holds the backup's keys and settings."""
    words = {
        name: word.get_secret_value()
        for name, word in load(PostgresSettings, deployment.state.settings_file).passwords.items()
    }
    archive.fill(folder, deployment.postgres_server, passwords=words)


def become(argv: list[str]) -> None:
    """Replace this process: the container's first one is the part itself."""
    os.execvpe(argv[0], argv, dict(os.environ))  # noqa: S606 - no shell is wanted


def become_nats(deployment: Deployment, name: str) -> None:
    """Become one of the NATS servers."""
    become(nats.command(deployment.nats_server(name, deployment.configured())))


def become_postgres(deployment: Deployment) -> None:
    """Become the database server; its cluster is made at the first time."""
    configuration = deployment.configured()
    server = deployment.postgres_server
    postgres.prepare(server, superuser_password=configuration.postgres_superuser_password)
    become(postgres.command(server))


def become_envoy(deployment: Deployment) -> None:
    """Become the edge."""
    (deployment.sockets_of("envoy") / "envoy-admin.sock").unlink(missing_ok=True)
    file = deployment.state.root / "envoy" / "envoy.json"
    become([str(envoy_binary()), "-c", str(file), "--disable-hot-restart", "-l", "warning"])


def become_service(deployment: Deployment, name: str) -> None:
    """Become a service; its sockets lie in a folder of this container's own, so replicas do not meet."""
    folder = deployment.sockets_of(socket.gethostname())
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.environ["DATALABS_CONFIG"] = str(deployment.state.settings_file)
    os.environ["DATALABS_PLATFORM_SOCKETS"] = str(folder)
    become([sys.executable, "-m", f"datalabs_{name}"])


def main(words: list[str]) -> int:
    """Do what the words say; 2 for words that mean nothing."""
    try:
        match words:
            case ["prepare"]:
                prepare(Deployment.here())
            case ["foundation"]:
                foundation(Deployment.here())
            case ["nats", name]:
                become_nats(Deployment.here(), name)
            case ["postgres"]:
                become_postgres(Deployment.here())
            case ["envoy"]:
                become_envoy(Deployment.here())
            case ["backup", folder]:
                back_up(Deployment.here(), Path(folder))
            case ["restore", folder]:
                restore(Deployment.here(), Path(folder))
            case ["service", name] if name in SERVICES:
                become_service(Deployment.here(), name)
            case _:
                sys.stderr.write(f"{__doc__}\n")
                return 2
    except (StandaloneError, SettingsError) as error:
        sys.stderr.write(f"datalabs: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
