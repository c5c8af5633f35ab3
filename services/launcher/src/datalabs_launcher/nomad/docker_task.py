"""The task of a container lab, for Nomad's docker driver: hardened, published on its port of the ring and nowhere else."""

from typing import Any

from datalabs_contracts.datalabs import ContainerRuntime
from datalabs_launcher.commands import Fields, fill_command, fill_environment
from datalabs_launcher.inside import PRIVATE, SOURCE, fields_within, temporary_mib, variables_of
from datalabs_launcher.nomad.config import NomadSettings
from datalabs_launcher.nomad.tasks import MAIN, PORT, Task, literal, nanoseconds, parted, resources_of
from datalabs_launcher.placement import HOME
from datalabs_launcher.scheduler import LabJob

EVERYWHERE = "0.0.0.0"  # noqa: S104 - inside the container's own network
MIB = 2**20
TASK_API = "/secrets/api.sock"
"""Nomad puts its API's socket into every task; it wants a token, and labs have none, but it is none of theirs."""


def task_of(job: LabJob, settings: NomadSettings, *, pids: int) -> Task:
    """Return the container; raises ValueError when the job has no image."""
    if job.container is None:
        raise ValueError("a container lab without an image")
    fields = _fields(job, job.container)
    plain, _ = parted(environment_of(job))
    config: dict[str, Any] = {
        "image": literal(job.container.image),
        "init": True,
        "cap_drop": ["all"],
        "security_opt": ["no-new-privileges"],
        "pids_limit": pids,
        "shm_size": min(job.container.shm_mib, job.memory_mib) * MIB,
        "readonly_rootfs": job.container.read_only,
        "cpu_hard_limit": settings.nomad_cpu_hard_limit,
        "mount": _mounts(job, job.container),
        "ulimit": [{"core": "0:0"}],
    }
    if not job.batch:
        config["ports"] = [PORT]
    if any(mount.target == HOME for mount in job.mounts):
        config["work_dir"] = HOME
    if job.container.command:
        config["args"] = [literal(one) for one in fill_command(job.container.command, fields)]
    if settings.nomad_network:
        config["network_mode"] = settings.nomad_network
    if job.gpus and settings.nomad_gpu_runtime:
        config["runtime"] = settings.nomad_gpu_runtime
    return {
        "Name": MAIN,
        "Driver": "docker",
        "User": f"{job.uid}:{job.uid}",
        "Leader": True,
        "Config": config,
        "Env": plain,
        "Resources": resources_of(job, settings),
        "KillTimeout": nanoseconds(job.stop_seconds),
        "KillSignal": "SIGTERM",
    }


def environment_of(job: LabJob) -> dict[str, str]:
    """Return all that the container is told by variables, secrets apart; raises ValueError when the job has no image."""
    if job.container is None:
        raise ValueError("a container lab without an image")
    fields = _fields(job, job.container)
    return {
        **variables_of(job, address=EVERYWHERE),
        "DATALABS_ROOT": "",
        **fill_environment(job.container.environment, fields),
        **job.environment,
        "DATALABS_PORT": str(fields.port),
        "IF_main_port": str(fields.port),
    }


def _fields(job: LabJob, container: ContainerRuntime) -> Fields:
    return fields_within(job, port=container.port or job.port, address=EVERYWHERE)


def _mounts(job: LabJob, container: ContainerRuntime) -> list[dict[str, Any]]:
    """Return what the container sees beside its image: volumes, its own files; nothing of Nomad's."""
    found = [_bind(one.source, one.target, read_only=one.read_only) for one in job.mounts]
    wanted = [*container.command, *container.environment.values()]
    if job.source and any("{source}" in text for text in wanted):
        found.append(_bind(job.source, SOURCE, read_only=True))
    if job.account:
        # As templates of the job these two cost Nomad as long as starting a small container does (measured).
        found += [
            _bind(f"{job.account}/{name}", f"/etc/{name}", read_only=True) for name in ("passwd", "group")
        ]
    found += [_bind("/dev/null", TASK_API, read_only=True), _memory(PRIVATE, 8)]
    if container.read_only:
        found += [
            _memory("/tmp", temporary_mib(job)),  # noqa: S108 - the lab's own
            _memory("/var/tmp", 64),  # noqa: S108 - the lab's own
            _memory("/run", 8),
        ]
    return sorted(found, key=lambda mount: str(mount["target"]))


def _bind(source: str, target: str, *, read_only: bool) -> dict[str, Any]:
    return {"type": "bind", "source": literal(source), "target": literal(target), "readonly": read_only}


def _memory(target: str, mib: int) -> dict[str, Any]:
    return {"type": "tmpfs", "target": target, "tmpfs_options": {"mode": 0o1777, "size": mib * MIB}}
