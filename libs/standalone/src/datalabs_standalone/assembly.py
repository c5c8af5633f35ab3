"""What the platform of one machine is made of: the only place that puts its parts together."""

import contextlib
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from datalabs_standalone import logs, probes
from datalabs_standalone.background import watch_progress
from datalabs_standalone.backoff import DATABASE_POLICY, RestartPolicy
from datalabs_standalone.blueprint import Blueprint, ProgramPlan
from datalabs_standalone.children import Children
from datalabs_standalone.fork_requests import Nursery, TaskRunner
from datalabs_standalone.options import LOOPBACK
from datalabs_standalone.parts import PartPlan
from datalabs_standalone.processes import run_program
from datalabs_standalone.state import StateFolder
from datalabs_standalone.supervisor import PlatformPlan, Say

NURSERY = "nursery"
_TASK_LOG = "standalone"
_PROBE_USER = "standalone"
_SERVICE_STOP_SECONDS = 20.0
_PROGRAM_STOP_SECONDS = 15.0


@dataclass(frozen=True, kw_only=True)
class Program:
    """A third-party part, executed as its own binary."""

    plan: ProgramPlan
    environment: Mapping[str, str]
    log: Path
    death_signal: int

    async def start(self) -> int:
        """Start it and return the pid."""
        for path in self.plan.stale:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)  # noqa: PTH108 - a local folder; nothing waits for it
        log = logs.open_log(self.log)
        try:
            return run_program(
                self.plan.argv,
                environment=self.environment,
                log=log,
                death_signal=self.death_signal,
                cwd=Path(self.plan.folder),
            )
        finally:
            os.close(log)


def make_nursery(state: StateFolder) -> Nursery:
    """Return the nursery, to be started before anything else: it takes the longest."""
    return Nursery(environment=service_environment(state), log=state.log_of(NURSERY), cwd=state.root)


def assemble(
    state: StateFolder, blueprint: Blueprint, *, nursery: Nursery, children: Children
) -> PlatformPlan:
    """Return the plan of the whole platform."""
    tasks = TaskRunner(nursery=nursery, children=children, log=state.log_of(_TASK_LOG))

    async def prepare(say: Say) -> None:
        await tasks.run("foundation", say)

    async def stop_labs(say: Say) -> None:
        await tasks.run("stop-labs", say)

    async def watch(say: Say) -> None:
        await watch_progress(port=blueprint.nats_port, password=blueprint.subscriber_password, say=say)

    programs = blueprint.programs
    nats_probe = probes.nats_writing(
        probes.nats_ready(LOOPBACK, blueprint.nats_port, _PROBE_USER, blueprint.nats_password),
        log=state.log_of("nats"),
        folder=Path(programs["nats"].folder),
    )
    return PlatformPlan(
        address=blueprint.address,
        nursery=PartPlan(
            name=NURSERY,
            start=nursery.start,
            probe=nursery.probe,
            log=state.log_of(NURSERY),
            stop_within=2.0,
        ),
        foundation=(
            _program(state, programs["nats"], nats_probe),
            _program(
                state,
                programs["envoy"],
                probes.envoy_ready(Path(blueprint.envoy_admin)),
                death_signal=signal.SIGKILL,
            ),
            _program(
                state,
                programs["postgres"],
                probes.postgres_ready(Path(blueprint.postgres_socket)),
                policy=DATABASE_POLICY,
                stop_signal=signal.SIGINT,  # "fast" shutdown: sessions are ended, no recovery is needed afterwards
            ),
        ),
        services=tuple(
            _service(name, state, nursery, hung_after=blueprint.hung_seconds or None)
            for name in blueprint.services
        ),
        prepare=prepare,
        stop_labs=stop_labs,
        watch=watch,
        notices=blueprint.notices,
    )


def service_environment(state: StateFolder) -> dict[str, str]:
    """Return the environment of our own processes: the operator's, with the settings file named."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "NOTIFY_SOCKET"))}
    return {**kept, "DATALABS_CONFIG": str(state.settings_file), "DATALABS_STATE": str(state.root)}


def program_environment() -> dict[str, str]:
    """Return the environment of third-party parts: nothing of the operator's shell but where programs lie."""
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LANG": "C.UTF-8", "TZ": "UTC"}


def _service(name: str, state: StateFolder, nursery: Nursery, *, hung_after: float | None) -> PartPlan:
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
        hung_after=hung_after,
    )


def _program(
    state: StateFolder,
    plan: ProgramPlan,
    probe: probes.Probe,
    *,
    stop_signal: int = signal.SIGTERM,
    death_signal: int | None = None,
    policy: RestartPolicy | None = None,
) -> PartPlan:
    log = state.log_of(plan.name)
    program = Program(
        plan=plan,
        environment=program_environment(),
        log=log,
        death_signal=death_signal or stop_signal,
    )
    return PartPlan(
        name=plan.name,
        start=program.start,
        probe=probe,
        log=log,
        policy=policy or RestartPolicy(),
        stop_signal=stop_signal,
        stop_within=_PROGRAM_STOP_SECONDS,
    )
