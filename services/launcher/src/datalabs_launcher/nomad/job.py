"""From a lab's job to the job that Nomad gets: pure, so that what we register can be read in a golden file.

Nothing is ever started again behind our back: no restart, no rescheduling, and a machine that is out of sight is waited
for. Labs are `batch` jobs: one that ends with code 0 is complete, while Nomad calls the same end of a `service` failed.
Durations are nanoseconds, memory and disk MiB, CPU MHz, as Nomad has them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

from datalabs_contracts.datalabs import Runtime
from datalabs_launcher.nomad import docker_task, process_task, vm_task
from datalabs_launcher.nomad.config import NomadSettings
from datalabs_launcher.nomad.tasks import GROUP, MAIN, PORT, SECOND, Task, parted, variable_path
from datalabs_launcher.scheduler import LabJob

PREFIX = "lab-"
"""What the ids of all labs' jobs begin with."""
NEVER_LOST = 365 * 24 * 3600 * SECOND
"""Nomad places a lost allocation anew, whatever `Replace` and the reschedule policy say (tried on 2.0.5), so it never
gets to call one lost: the launcher does, after its own time, and stops the job so that nothing comes back."""
LOG_ROOM_MIB = 300
"""Room on a node for a container's own logs and small files; its scratch is a volume."""


class Group(TypedDict):
    """A task group: all of a lab, on one node."""

    Name: str
    Count: int
    RestartPolicy: dict[str, Any]
    ReschedulePolicy: dict[str, Any]
    Disconnect: dict[str, Any]
    EphemeralDisk: dict[str, Any]
    Networks: list[dict[str, Any]]
    Tasks: list[Task]
    Volumes: NotRequired[dict[str, Any]]


class NomadJob(TypedDict):
    """What is registered."""

    ID: str
    Name: str
    Namespace: str
    Type: str
    Priority: int
    Datacenters: list[str]
    Meta: dict[str, str]
    Constraints: list[dict[str, str]]
    TaskGroups: list[Group]
    NodePool: NotRequired[str]
    Region: NotRequired[str]


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What labs are told of the site: settings, and limits that hold in every runtime."""

    platform: str
    settings: NomadSettings
    processes_per_lab: int
    log_mib: int


NODE, SAYS = "datalabs_node", "datalabs_says_ready"
"""Meta that names the node to which a job is bound; that there is a guest that says itself when it is ready."""
BOUND = "${node.unique.id}"


def meta_of(job: LabJob, platform: str) -> dict[str, str]:
    """Return what tells a job of ours from any other, and an attempt from another; no secrets: many may read it."""
    return {
        "datalabs_platform": platform,
        "datalabs_lab": job.lab_id,
        "datalabs_attempt": str(job.attempt),
        "datalabs_owner": job.owner,
        "datalabs_datalab": job.datalab,
        "datalabs_version": job.version,
        "datalabs_runtime": job.runtime.value,
        "datalabs_port": str(job.port),
        "datalabs_cores": f"{job.cores:g}",
        "datalabs_memory_mib": str(job.memory_mib),
        "datalabs_disk_mib": str(job.disk_mib),
        "datalabs_activity": job.activity,
        "datalabs_image": _image(job),
    }


def _image(job: LabJob) -> str:
    """Return what is fetched for it, by its name."""
    if job.runtime is Runtime.CONTAINER and job.container is not None:
        return job.container.image
    return job.vm.disk if job.runtime is Runtime.VM and job.vm is not None else ""


def job_of(
    job: LabJob, cluster: Cluster, *, disk: vm_task.Disk | None = None, node_id: str | None = None
) -> NomadJob:
    """Return Nomad's job of an attempt; `disk` is the image of a virtual machine, `node_id` the one node that may run it.

    Raises `ValueError` when the job lacks what its runtime needs.
    """
    settings = cluster.settings
    listens = not job.batch
    made: NomadJob = {
        "ID": job.job_id,
        "Name": job.job_id,
        "Namespace": settings.namespace,
        "Type": "batch",
        "Priority": settings.nomad_priority,
        "Datacenters": ["*"],
        "Meta": {
            **meta_of(job, cluster.platform),
            **({NODE: node_id} if node_id else {}),
            **({SAYS: "true"} if disk is not None and disk.about.says_ready else {}),
        },
        "Constraints": _constraints(job, node_id),
        "TaskGroups": [
            {
                "Name": GROUP,
                "Count": 1,
                "RestartPolicy": {
                    "Attempts": 0,
                    "Interval": 600 * SECOND,
                    "Delay": SECOND,
                    "Mode": "fail",
                },
                "ReschedulePolicy": {"Attempts": 0, "Unlimited": False},
                "Disconnect": {
                    "LostAfter": NEVER_LOST,
                    "Replace": False,
                    "Reconcile": "keep_original",
                },
                "EphemeralDisk": {"SizeMB": _disk(job, cluster), "Migrate": False, "Sticky": False},
                "Networks": [_network(job, settings)] if listens else [],
                "Tasks": _tasks(job, cluster, disk),
            }
        ],
    }
    if settings.nomad_volume:
        made["TaskGroups"][0]["Volumes"] = {
            "files": {"Name": "files", "Type": "host", "Source": settings.nomad_volume, "ReadOnly": False}
        }
    if settings.nomad_node_pool:
        made["NodePool"] = settings.nomad_node_pool
    if settings.region:
        made["Region"] = settings.region
    return made


def freed(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return a registered job, bound to no node any more."""
    kept = [one for one in job.get("Constraints") or [] if one.get("LTarget") != BOUND]
    meta = {name: value for name, value in (job.get("Meta") or {}).items() if name != NODE}
    return {**job, "Constraints": kept, "Meta": meta}


def secrets_of(job: LabJob, cluster: Cluster) -> dict[str, str]:
    """Return what goes to the job's own variable and never into the job: what only this lab may know.

    So does what Nomad would not leave as it is.

    Raises `ValueError` for what the lab cannot be told.
    """
    match job.runtime:
        case Runtime.VM:
            return {vm_task.SEED_ITEM: vm_task.seed_of(job)}
        case Runtime.CONTAINER:
            _, literally = parted(docker_task.environment_of(job))
        case Runtime.PROCESS:
            _, literally = parted(process_task.environment_of(job, cluster.settings))
    own = {"DATALABS_LAB_SECRET": job.lab_secret} if job.lab_secret else {}
    return {**literally, **own, **job.secret_environment}


def _tasks(job: LabJob, cluster: Cluster, disk: vm_task.Disk | None) -> list[Task]:
    match job.runtime:
        case Runtime.CONTAINER:
            tasks = [docker_task.task_of(job, cluster.settings, pids=cluster.processes_per_lab)]
        case Runtime.VM:
            tasks = vm_task.tasks_of(job, cluster.settings, disk)
        case Runtime.PROCESS:
            tasks = [process_task.task_of(job, cluster.settings)]
    for task in tasks:
        task["LogConfig"] = {"MaxFiles": 2, "MaxFileSizeMB": cluster.log_mib}
        if task["Name"] == MAIN and job.runtime is not Runtime.VM and secrets_of(job, cluster):
            task["Templates"] = [_secrets_template(job)]
    return tasks


def _secrets_template(job: LabJob) -> dict[str, Any]:
    """Return the template that makes the job's variable its environment; a later change disturbs nothing."""
    each = "{{ range $name, $value := . }}{{ $name }}={{ $value | toJSON }}\n{{ end }}"
    return {
        "EmbeddedTmpl": f'{{{{ with nomadVar "{variable_path(job.job_id)}" }}}}{each}{{{{ end }}}}',
        "DestPath": "secrets/lab.env",
        "Envvars": True,
        "ChangeMode": "noop",
        "Perms": "0400",
    }


def _network(job: LabJob, settings: NomadSettings) -> dict[str, Any]:
    """Return the reservation of the lab's port of the ring, published as itself."""
    inside = job.container.port if job.runtime is Runtime.CONTAINER and job.container else None
    port: dict[str, Any] = {"Label": PORT, "Value": job.port, "To": inside or job.port}
    if settings.nomad_host_network:
        port["HostNetwork"] = settings.nomad_host_network
    return {"Mode": "host", "ReservedPorts": [port]}


def _constraints(job: LabJob, node_id: str | None) -> list[dict[str, str]]:
    """Return what a node must have: an affinity for the one on which room was counted would weigh less than the packing."""
    found = [{"LTarget": "${attr.kernel.name}", "RTarget": "linux", "Operand": "="}]
    if job.node_class:
        found.append({"LTarget": "${node.class}", "RTarget": job.node_class, "Operand": "="})
    if node_id:
        found.append({"LTarget": BOUND, "RTarget": node_id, "Operand": "="})
    return found


def room_mib(log_mib: int) -> int:
    """Return what each job takes of its node's disk beside the lab's own: for logs, and what Nomad puts there."""
    return LOG_ROOM_MIB + 2 * 2 * log_mib


def _disk(job: LabJob, cluster: Cluster) -> int:
    """Return the room on a node: the disk of a virtual machine lies there, that of a container on its volumes."""
    room = room_mib(cluster.log_mib)
    return room + job.disk_mib if job.runtime is Runtime.VM else room
