"""From a lab's job to what the engine is told: pure, so that what runs can be read in a test.

Everything that keeps a container from harming others stands here and in `bridge.py`.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datalabs_contracts.datalabs import ContainerRuntime
from datalabs_launcher.commands import fill_command, fill_environment
from datalabs_launcher.containers import gpus
from datalabs_launcher.inside import PRIVATE, SOURCE, fields_within, temporary_mib, variables_of
from datalabs_launcher.placement import HOME
from datalabs_launcher.scheduler import LabJob

SECRET = "/run/datalabs/lab-secret"  # noqa: S105 - a file's path
PLATFORM_LABEL = "org.datalabs.platform"
JOB_LABEL = "org.datalabs.job"
LAB_LABEL = "org.datalabs.lab"
ATTEMPT_LABEL = "org.datalabs.attempt"
OWNER_LABEL = "org.datalabs.owner"
_MIB = 2**20
_SHARES_PER_CORE = 1024
_BEFORE_THE_PLATFORM = 500
"""A lab goes before the platform when the whole machine runs out of memory."""
_OWN_FILES = ("passwd", "group", "resolv.conf")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where and with what a container lab runs. Memory in MiB, sizes in bytes."""

    platform: str
    folder: Path
    image: str
    exposed: tuple[int, ...]
    network: str
    address: str
    uid: int
    pids: int
    cores: float
    log_bytes: int
    cgroup_parent: str
    files: tuple[str, ...] = _OWN_FILES
    gpus: tuple[str, ...] = ()
    passed: dict[str, str] = field(default_factory=dict)


def labels_of(job: LabJob, platform: str) -> dict[str, str]:
    """Return what identifies a container as this attempt of this platform."""
    return {
        PLATFORM_LABEL: platform,
        JOB_LABEL: job.job_id,
        LAB_LABEL: job.lab_id,
        ATTEMPT_LABEL: str(job.attempt),
        OWNER_LABEL: job.owner,
    }


def port_of(job: LabJob, container: ContainerRuntime, exposed: tuple[int, ...]) -> int:
    """Return the port that the lab listens on: the entry's word, else the image's if it has only one, else ours."""
    if container.port is not None:
        return container.port
    return exposed[0] if len(exposed) == 1 else job.port


def document_of(job: LabJob, place: Place) -> dict[str, Any]:
    """Return the engine's document of an attempt; raises ValueError when the job has no container runtime."""
    container = job.container
    if container is None:
        raise ValueError("a container lab without a container runtime")
    port = port_of(job, container, place.exposed)
    fields = fields_within(job, port=port, address=place.address)
    environment = {
        **_environment(job, place),
        **fill_environment(container.environment, fields),
        **job.environment,
        **job.secret_environment,
        "DATALABS_PORT": str(port),
        "IF_main_port": str(port),
        "DATALABS_ROOT": "",
    }
    document: dict[str, Any] = {
        "Image": place.image,
        "Hostname": job.lab_id,
        "User": f"{place.uid}:{place.uid}",
        "Env": [f"{name}={value}" for name, value in sorted(environment.items())],
        "Labels": labels_of(job, place.platform),
        "StopTimeout": math.ceil(job.stop_seconds),
        "HostConfig": _host(job, container, place),
        "NetworkingConfig": {
            "EndpointsConfig": {place.network: {"IPAMConfig": {"IPv4Address": place.address}}}
        },
    }
    if container.command:
        document["Cmd"] = fill_command(container.command, fields)
    if any(mount.target == HOME for mount in job.mounts):
        document["WorkingDir"] = HOME
    return document


def _environment(job: LabJob, place: Place) -> dict[str, str]:
    environment = {**place.passed, **variables_of(job, address=place.address)}
    if job.lab_secret:
        # Not the secret itself: whoever may ask the engine can read all variables.
        environment["DATALABS_LAB_SECRET_FILE"] = SECRET
    return environment


def _host(job: LabJob, container: ContainerRuntime, place: Place) -> dict[str, Any]:
    memory = job.memory_mib * _MIB
    devices = {"DeviceRequests": gpus.request_for(place.gpus)} if place.gpus else {}
    return {
        **devices,
        "Mounts": [*_mounts(job, place)],
        "Tmpfs": _tmpfs(job, container, place),
        "NetworkMode": place.network,
        "Memory": memory,
        "MemorySwap": memory,
        "PidsLimit": place.pids,
        "CpuShares": max(2, round(job.cores * _SHARES_PER_CORE)),
        "NanoCpus": round(place.cores * 1e9),
        "CgroupParent": place.cgroup_parent,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true"],
        "Privileged": False,
        "ReadonlyRootfs": container.read_only,
        "Init": True,
        "IpcMode": "private",
        "ShmSize": min(container.shm_mib, job.memory_mib) * _MIB,
        "OomScoreAdj": _BEFORE_THE_PLATFORM,
        "RestartPolicy": {"Name": "no"},
        "AutoRemove": False,
        "LogConfig": {
            "Type": "json-file",
            "Config": {"max-size": str(place.log_bytes), "max-file": "2"},
        },
        # Open files stay at the engine's own limit: it may not be allowed to raise it.
        "Ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}],
    }


def _mounts(job: LabJob, place: Place) -> list[dict[str, Any]]:
    found = [_mount(one.source, one.target, read_only=one.read_only) for one in job.mounts]
    found += [_mount(f"{place.folder}/{name}", f"/etc/{name}", read_only=True) for name in place.files]
    if job.lab_secret:
        found.append(_mount(f"{place.folder}/secret", SECRET, read_only=True))
    if job.source:
        found.append(_mount(job.source, SOURCE, read_only=True))
    return sorted(found, key=lambda mount: str(mount["Target"]))


def _mount(source: str, target: str, *, read_only: bool) -> dict[str, Any]:
    return {
        "Type": "bind",
        "Source": source,
        "Target": target,
        "ReadOnly": read_only,
        "BindOptions": {"Propagation": "rprivate"},
    }


def _tmpfs(job: LabJob, container: ContainerRuntime, place: Place) -> dict[str, str]:
    own = f"rw,nosuid,nodev,noexec,mode=0700,size=8m,nr_inodes=1k,uid={place.uid},gid={place.uid}"
    found = {PRIVATE: own}
    if container.read_only:
        size = temporary_mib(job)
        shared = f"rw,nosuid,nodev,exec,mode=1777,size={size}m,nr_inodes=200k"
        found |= {
            "/tmp": shared,  # noqa: S108 - the lab's own
            "/var/tmp": "rw,nosuid,nodev,exec,mode=1777,size=64m,nr_inodes=10k",  # noqa: S108 - the lab's own
            "/run": "rw,nosuid,nodev,noexec,mode=0755,size=8m,nr_inodes=1k",
        }
    return found


def own_files(job: LabJob, uid: int, image: dict[str, bytes | None], resolver: str | None) -> dict[str, str]:
    """Return the files of /etc that the lab gets: the image's, and the person in them.

    `image` has the image's own passwd and group. With servers of its own the lab does not ask the engine's resolver,
    which would tell it the names of its neighbours.
    """
    passwd, group = (_text(image.get(name)) for name in ("passwd", "group"))
    return {
        "passwd": f"{job.owner}:x:{uid}:{uid}:{job.owner}:{HOME}:/bin/bash\n"
        + _others(passwd, job.owner, uid),
        "group": f"{job.owner}:x:{uid}:\n" + _others(group, job.owner, uid),
        "resolv.conf": resolver or "# no name server of this machine can be reached from here\n",
    }


def _text(content: bytes | None) -> str:
    return (content or b"root:x:0:0:root:/root:/usr/sbin/nologin\n").decode(errors="replace")


def _others(text: str, name: str, number: int) -> str:
    """Return the entries that have neither this name nor this number."""
    kept = [
        line
        for line in text.splitlines()
        if line and line.split(":")[0] != name and line.split(":")[2:3] != [str(number)]
    ]
    return "".join(f"{line}\n" for line in kept)
