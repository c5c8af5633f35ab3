"""The task of a container lab, for Nomad's docker driver: hardened, published on its port of the ring and nowhere else."""

from typing import Any

from datalabs_launcher.commands import Fields, fill_command, fill_environment
from datalabs_launcher.nomad.config import NomadSettings
from datalabs_launcher.nomad.tasks import MAIN, PORT, Task, nanoseconds, resources_of
from datalabs_launcher.placement import DATA, HOME, SCRATCH
from datalabs_launcher.scheduler import LabJob

EVERYWHERE = "0.0.0.0"  # noqa: S104 - inside the container's own network
MIB = 2**20
SMALLEST_TMP_MIB = 64
TASK_API = "/secrets/api.sock"
"""Nomad puts its API's socket into every task; it wants a token, and labs have none, but it is none of theirs."""


def task_of(job: LabJob, settings: NomadSettings, *, pids: int) -> Task:
    """Return the container; raises ValueError when the job has no image."""
    if job.container is None:
        raise ValueError("a container lab without an image")
    port = job.container.port or job.port
    fields = Fields(
        port=port,
        address=EVERYWHERE,
        lab_id=job.lab_id,
        home=HOME,
        scratch=SCRATCH,
        data=DATA,
        source=job.source,
        origin=job.origin,
        parameters=job.parameters,
    )
    temporary = max(SMALLEST_TMP_MIB, job.memory_mib // 4) * MIB
    config: dict[str, Any] = {
        "image": job.container.image,
        "init": True,
        "cap_drop": ["all"],
        "security_opt": ["no-new-privileges"],
        "pids_limit": pids,
        "shm_size": job.container.shm_mib * MIB,
        "readonly_rootfs": job.container.read_only,
        "cpu_hard_limit": settings.nomad_cpu_hard_limit,
        "mount": [
            *(_bind(mount.source, mount.target, read_only=mount.read_only) for mount in job.mounts),
            _bind("/dev/null", TASK_API, read_only=True),
            *(_memory(target, temporary) for target in ("/tmp", "/run")),  # noqa: S108 - the container's own
        ],
    }
    if not job.batch:
        config["ports"] = [PORT]
    if job.container.command:
        config["args"] = fill_command(job.container.command, fields)
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
        "Env": {
            **_environment(job),
            **fill_environment(job.container.environment, fields),
            **job.environment,
            "DATALABS_PORT": str(port),
        },
        "Resources": resources_of(job, settings),
        "KillTimeout": nanoseconds(job.stop_seconds),
        "KillSignal": "SIGTERM",
    }


def _bind(source: str, target: str, *, read_only: bool) -> dict[str, Any]:
    return {"type": "bind", "source": source, "target": target, "readonly": read_only}


def _memory(target: str, size: int) -> dict[str, Any]:
    return {"type": "tmpfs", "target": target, "tmpfs_options": {"mode": 0o1777, "size": size}}


def _environment(job: LabJob) -> dict[str, str]:
    return {
        "HOME": HOME,
        "USER": job.owner,
        "LOGNAME": job.owner,
        "DATALABS_USER": job.owner,
        "DATALABS_ADDRESS": EVERYWHERE,
        "DATALABS_ROOT": "",
        "LANG": "C.UTF-8",
    }
