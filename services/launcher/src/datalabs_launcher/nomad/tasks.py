"""What the tasks of all drivers have in common."""

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

from datalabs_launcher.nomad.config import NomadSettings
from datalabs_launcher.scheduler import LabJob

SECOND = 10**9
GROUP, MAIN, PORT = "lab", "main", "lab"
"""Names of the task group, of the task that is the lab, and of its port."""


class Task(TypedDict):
    """One task of a group."""

    Name: str
    Driver: str
    Config: dict[str, Any]
    Env: dict[str, str]
    Resources: dict[str, Any]
    KillTimeout: int
    KillSignal: NotRequired[str]
    User: NotRequired[str]
    Leader: NotRequired[bool]
    Templates: NotRequired[list[dict[str, Any]]]
    Lifecycle: NotRequired[dict[str, Any]]
    LogConfig: NotRequired[dict[str, Any]]


def variable_path(job_id: str) -> str:
    """Return the path of the variable that a job's own identity may read, and no other job's."""
    return f"nomad/jobs/{job_id}"


def resources_of(job: LabJob, settings: NomadSettings, *, memory_mib: int | None = None) -> dict[str, Any]:
    """Return what a node gives to the lab; GPUs are asked for by the device's name."""
    found: dict[str, Any] = {
        "CPU": max(1, round(job.cores * settings.nomad_core_mhz)),
        "MemoryMB": memory_mib or job.memory_mib,
    }
    if job.gpus:
        found["Devices"] = [{"Name": job.gpu_name or "gpu", "Count": job.gpus}]
    return found


def literal(text: str) -> str:
    """Return a text that reads as it is wherever Nomad takes a driver's settings for templates.

    A shell's `${HOME:-x}`, or a person's parameter, would else be an expression that fails the job or tells of the node.
    """
    return text.replace("${", "$${").replace("%{", "%%{")


def parted(environment: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the variables that a job may name as they are, and those that Nomad would read references in.

    In a task's `Env` Nomad fills in whatever `${…}` it knows, and has no way to say that it should not; what it takes from
    the job's own variable it leaves alone.
    """
    plain = {name: value for name, value in environment.items() if "${" not in value}
    return plain, {name: value for name, value in environment.items() if name not in plain}


def nanoseconds(seconds: float) -> int:
    """Return a duration as Nomad's JSON has it."""
    return int(seconds * SECOND)
