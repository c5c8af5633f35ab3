"""From a lab's job to what its shim is told: pure, so that what runs can be read in a test.

The result is DIR/spec.json; `supervisor.py` and `isolation.py` read it. `about` is for the adapter's own later reading.
"""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from datalabs_launcher.commands import Fields, fill_command, fill_environment
from datalabs_launcher.local import processes
from datalabs_launcher.local.config import Isolation
from datalabs_launcher.local.interpreter import Interpreter
from datalabs_launcher.scheduler import LabJob

if TYPE_CHECKING:
    from datalabs_launcher.local.vm.host import VmPlace

HOME, SCRATCH, DATA = "/media/home", "/media/scratch", "/data"
RUN = "/run/datalabs"
"""The lab's folder of the platform's own files: a kernelspec."""
PRIVATE = "/run/lab"
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
PACKAGES = ".datalabs/packages"
SMALLEST_TMP_MIB = 64


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network namespace of the lab's own (`veth.py`)."""

    interface: str
    gateway: str
    group: int
    forward: bool


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where and with what an attempt runs on this machine. Memory in MiB, sizes in bytes."""

    folder: Path
    environment: Path
    interpreter: Interpreter
    isolation: Isolation
    address: str
    network: Network | None
    cgroups: dict[str, str]
    pids: int
    log_bytes: int
    poke: Path
    uid: int
    passed: dict[str, str] = field(default_factory=dict)
    machine: "VmPlace | None" = None

    @property
    def private(self) -> bool:
        """Whether the lab sees real paths in a view of its own."""
        return self.isolation is not Isolation.NONE

    @property
    def root(self) -> str:
        """What stands before the paths of the lab contract; empty where they are real."""
        return "" if self.private else str(self.folder / "tree")


def passed_environment(names: list[str], environment: dict[str, str]) -> dict[str, str]:
    """Return the platform's variables that labs get too, without those that carry a password."""
    found = {name: environment[name] for name in names if environment.get(name)}
    return {
        name: value
        for name, value in found.items()
        if not any(urlsplit(word).password for word in value.split())
    }


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What of an attempt's specification depends on its runtime; `software` is the folder that must stay while it runs."""

    argv: list[str]
    environment: dict[str, str]
    cwd: str
    binds: list[list[str]]
    packages: dict[str, str]
    software: str


def spec_of(job: LabJob, place: Place) -> dict[str, Any]:
    """Return the specification of a process; raises ValueError when the job has no process runtime."""
    if job.process is None:
        raise ValueError("a process lab without a process runtime")
    packages = _packages(job, place)
    fields = Fields(
        port=job.port,
        address=place.address,
        lab_id=job.lab_id,
        home=place.root + HOME,
        scratch=place.root + SCRATCH,
        data=place.root + DATA,
        source=job.source,
        origin=job.origin,
        python=f"{place.environment}/bin/python",
        environment=str(place.environment),
        packages=packages.get("folder", ""),
        parameters=job.parameters,
    )
    environment = {
        **_environment(job, place, packages),
        **fill_environment(job.process.environment, fields),
        **job.environment,
        **job.secret_environment,
    }
    environment["DATALABS_ROOT"] = place.root
    if not place.private and (token := environment.get("DATALABS_TOKEN_FILE")):
        environment["DATALABS_TOKEN_FILE"] = place.root + token
    home = any(mount.target == HOME for mount in job.mounts)
    frame = Frame(
        argv=_argv(fill_command(job.process.command, fields), place),
        environment=environment,
        cwd=place.root + HOME if home else place.root or "/",
        binds=_binds(job, place),
        packages=packages,
        software=str(place.environment),
    )
    return frame_of(job, place, frame)


def frame_of(job: LabJob, place: Place, frame: Frame) -> dict[str, Any]:
    """Return the specification of an attempt, whatever its runtime."""
    return {
        "job": job.job_id,
        "argv": frame.argv,
        "env": frame.environment,
        "cwd": frame.cwd,
        "uid": place.uid,
        "gid": place.uid,
        "grace": job.stop_seconds,
        "isolation": place.isolation.value,
        "root": str(place.folder / "root"),
        "settings": str(place.folder / "etc"),
        "hostname": job.lab_id,
        "tmp_mib": max(SMALLEST_TMP_MIB, job.memory_mib // 4),
        "binds": frame.binds,
        "limits": {"memory_mib": job.memory_mib, "pids": place.pids, "cores": job.cores},
        "cgroups": place.cgroups,
        "network": _network(place),
        "log_bytes": place.log_bytes,
        "packages": frame.packages,
        "poke": str(place.poke),
        "about": {
            "boot": processes.boot_id(),
            "accepted": time.clock_gettime(time.CLOCK_BOOTTIME),
            "lab_id": job.lab_id,
            "attempt": job.attempt,
            "owner": job.owner,
            "datalab": job.datalab,
            "version": job.version,
            "address": place.address,
            "port": job.port,
            "batch": job.batch,
            "activity": job.activity,
            "lab_secret": job.lab_secret,
            "cores": job.cores,
            "memory_mib": job.memory_mib,
            "disk_mib": job.disk_mib,
            "environment": frame.software,
            "own_network": place.network is not None,
        },
    }


def _argv(command: list[str], place: Place) -> list[str]:
    """Return the command with its program found: in the environment first, then in the system."""
    program = command[0]
    if "/" not in program:
        for folder in (f"{place.environment}/bin", *SYSTEM_PATH.split(":")):
            if os.access(f"{folder}/{program}", os.X_OK):
                program = f"{folder}/{program}"
                break
        else:
            raise ValueError(f"the environment has no program {program}")
    return [program, *command[1:]]


def _packages(job: LabJob, place: Place) -> dict[str, str]:
    """Return where the person's own packages for this version lie, and over what; nothing without a home."""
    if not any(mount.target == HOME and not mount.read_only for mount in job.mounts):
        return {}
    home = HOME if place.private else next(mount.source for mount in job.mounts if mount.target == HOME)
    return {
        "folder": f"{home}/{PACKAGES}/{job.datalab}-{job.version}",
        "environment": str(place.environment),
        "interpreter": str(place.interpreter.executable),
        "version": place.interpreter.version,
        "site": place.interpreter.site,
    }


def _environment(job: LabJob, place: Place, packages: dict[str, str]) -> dict[str, str]:
    folders = [f"{place.environment}/bin", *SYSTEM_PATH.split(":")]
    if packages:
        folders.insert(0, f"{packages['folder']}/bin")
    run = RUN if place.private else str(place.folder / "run")
    private = PRIVATE if place.private else str(place.folder / "private")
    environment = {
        **place.passed,
        "PATH": ":".join(folders),
        "HOME": place.root + HOME,
        "USER": job.owner,
        "LOGNAME": job.owner,
        "DATALABS_USER": job.owner,
        "SHELL": "/bin/bash",
        "LANG": "C.UTF-8",
        "XDG_RUNTIME_DIR": private,
        "JUPYTER_RUNTIME_DIR": f"{private}/jupyter",
        "JUPYTER_PATH": f"{run}/jupyter",
        "DATALABS_ADDRESS": place.address,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    if job.lab_secret:
        environment["DATALABS_LAB_SECRET"] = job.lab_secret
    if packages:
        environment["PYTHONPATH"] = f"{packages['folder']}/{packages['site']}"
        environment["VIRTUAL_ENV"] = packages["folder"]
        environment["JUPYTER_PATH"] += f":{packages['folder']}/share/jupyter"
    return environment


def _binds(job: LabJob, place: Place) -> list[list[str]]:
    binds = [[mount.source, mount.target, "ro" if mount.read_only else "rw"] for mount in job.mounts]
    if place.private:
        binds += [[source, target, "ro"] for source, target in place.interpreter.binds]
        binds.append([str(place.environment), str(place.environment), "ro"])
        binds.append([str(place.folder / "run"), RUN, "ro"])
        if job.source:
            binds.append([job.source, job.source, "ro"])
    return binds


def _network(place: Place) -> dict[str, Any] | None:
    if place.network is None:
        return None
    return {
        "interface": place.network.interface,
        "address": place.address,
        "gateway": place.network.gateway,
        "group": place.network.group,
        "forward": place.network.forward,
    }


def kernelspec(original: dict[str, Any], packages: dict[str, str]) -> dict[str, Any]:
    """Return the environment's Python kernel, run by the interpreter that knows the person's own packages."""
    argv = list(original["argv"])
    argv[0] = f"{packages['folder']}/bin/python"
    return {**original, "argv": argv}


def settings_files(job: LabJob, place: Place, resolver: str | None) -> dict[str, str]:
    """Return the files of the lab's /etc that are its own."""
    files = {
        "passwd": (
            "root:x:0:0:root:/root:/usr/sbin/nologin\n"
            f"{job.owner}:x:{place.uid}:{place.uid}:{job.owner}:{HOME}:/bin/bash\n"
            "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
        ),
        "group": f"root:x:0:\ntty:x:5:\n{job.owner}:x:{place.uid}:\nnogroup:x:65534:\n",
        "hostname": f"{job.lab_id}\n",
        "hosts": (
            f"127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n{place.address} {job.lab_id}\n"
        ),
        "profile": _PROFILE,
    }
    if place.network is not None:
        files["resolv.conf"] = resolver or "# no name server of this machine can be reached from here\n"
    return files


_PROFILE = """\
# A login shell keeps the lab's PATH: Debian's own profile would reset it.
lab_path=$PATH
for file in /etc/profile.d/*.sh; do [ -r "$file" ] && . "$file"; done
[ -n "$BASH_VERSION" ] && [ -n "$PS1" ] && [ -r /etc/bash.bashrc ] && . /etc/bash.bashrc
export PATH=$lab_path
unset file lab_path
"""
